//! The ways that are set up, and sending by one of them.

use std::time::Duration;

use q_core::Env;

use crate::{Channel, Message, Secret, Smtp, SmtpSettings, command, webhook::Webhooks};

/// How long one attempt may take in all.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(40);

/// The settings cannot reach anybody like this.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotUsable(pub String);

/// Why an attempt did not reach anybody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct SendError {
    /// In words.
    pub why: String,
    /// Whether the same attempt would fail again.
    pub is_final: bool,
}

impl SendError {
    pub(crate) fn failed(why: String) -> Self {
        Self { why, is_final: false }
    }

    pub(crate) fn refused(why: String) -> Self {
        Self { why, is_final: true }
    }
}

/// Sends messages.
pub struct Notifier {
    env: Env,
    secret: Option<Secret>,
    smtp: Option<Smtp>,
    webhooks: Webhooks,
}

impl Notifier {
    /// A notifier that signs webhooks with `secret` and sends mail as `smtp` says.
    pub fn new(env: Env, secret: Option<Secret>, smtp: Option<&SmtpSettings>) -> Result<Self, NotUsable> {
        let smtp = smtp.map(Smtp::new).transpose()?;
        Ok(Self { env, secret, smtp, webhooks: Webhooks::default() })
    }

    /// Whether `channel` can be used with what is set up; the error says what is missing.
    pub fn check(&self, channel: &Channel) -> Result<(), NotUsable> {
        match channel {
            Channel::Webhook(_) if self.secret.is_none() => {
                Err(NotUsable(format!("{channel}: there is no secret to sign webhooks with")))
            }
            Channel::Email(_) if self.smtp.is_none() => {
                Err(NotUsable(format!("{channel}: there is no mail server; set smtp and smtp_from")))
            }
            Channel::Command(argv) => match argv.first().map(std::fs::metadata) {
                Some(Ok(data)) if data.is_file() => Ok(()),
                _ => Err(NotUsable(format!("{channel}: there is no such program"))),
            },
            Channel::Webhook(_) | Channel::Email(_) => Ok(()),
        }
    }

    /// Tries once to send `message` by `channel`, and says what the other side said.
    pub async fn send(&self, channel: &Channel, message: &Message) -> Result<String, SendError> {
        let sending = async {
            match channel {
                Channel::Webhook(to) => {
                    let secret =
                        self.secret.as_ref().ok_or_else(|| SendError::failed("there is no secret".into()))?;
                    // The instant of the attempt: receivers refuse what is older than five minutes.
                    self.webhooks.send(to, secret, message, self.env.now().seconds()).await
                }
                Channel::Email(to) => {
                    let smtp = self
                        .smtp
                        .as_ref()
                        .ok_or_else(|| SendError::failed("there is no mail server".into()))?;
                    smtp.send(to, message).await
                }
                Channel::Command(argv) => command::run(argv, message).await,
            }
        };
        let late = || SendError::failed(format!("no answer within {} s", ATTEMPT_TIMEOUT.as_secs()));
        tokio::time::timeout(ATTEMPT_TIMEOUT, sending).await.map_err(|_| late())?
    }
}

impl std::fmt::Debug for Notifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Notifier").field("smtp", &self.smtp).finish_non_exhaustive()
    }
}
