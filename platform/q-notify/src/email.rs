//! Mail by SMTP (RFC 5321): TLS unless the server is on this host.

use std::{path::PathBuf, time::Duration};

use http::Uri;
use lettre::{
    Address, AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor,
    message::{
        Mailbox, Message as Mail,
        header::{ContentType, HeaderName, HeaderValue},
    },
    transport::smtp::{
        authentication::Credentials,
        client::{Certificate, Tls, TlsParameters},
        extension::ClientId,
    },
};

use crate::{Message, NotUsable, SendError, channel::is_loopback};

/// How mail is sent, as settings say it.
#[derive(Debug, Clone, Default)]
pub struct SmtpSettings {
    /// `smtp://[user@]host[:port]` for STARTTLS, `smtps://…` for TLS from the first byte.
    pub url: String,
    /// The sender, such as `Q <q@example.org>`.
    pub from: String,
    /// The file with the user's password.
    pub password_file: Option<PathBuf>,
    /// A file with the certificate (PEM) of an authority of one's own.
    pub ca_file: Option<PathBuf>,
}

/// A mail server and a sender.
pub struct Smtp {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
}

/// How long one command of the dialogue may take.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);

impl Smtp {
    /// Reads the settings and the files they name; connects to nobody yet.
    pub fn new(settings: &SmtpSettings) -> Result<Self, NotUsable> {
        let bad = |what: &str| NotUsable(format!("{what} (smtp is {:?})", settings.url));
        let uri: Uri =
            settings.url.parse().map_err(|_| bad("this is not a URL such as smtp://mail.example.org:587"))?;
        let host = uri.host().ok_or_else(|| bad("the mail server has no host"))?;
        let is_wrapped = match uri.scheme_str() {
            Some("smtp") => false,
            Some("smtps") => true,
            _ => return Err(bad("a mail server is smtp:// or smtps://")),
        };
        let from = settings.from.parse().map_err(|_| {
            NotUsable(format!("the sender {:?} is not an address such as Q <q@example.org>", settings.from))
        })?;
        let is_here = is_loopback(host) && settings.ca_file.is_none();
        let tls = match (is_wrapped, is_here) {
            (true, _) => Tls::Wrapper(trust(host, settings)?),
            // Nobody listens in on this host, and servers on it rarely have a certificate.
            (false, true) => Tls::None,
            (false, false) => Tls::Required(trust(host, settings)?),
        };
        let port = uri.port_u16().unwrap_or(match (is_wrapped, is_here) {
            (true, _) => 465,
            (false, true) => 25,
            (false, false) => 587,
        });
        let mut builder =
            AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host.trim_matches(['[', ']']))
                .port(port)
                .tls(tls)
                .hello_name(ClientId::Domain("localhost".into()))
                .timeout(Some(COMMAND_TIMEOUT));
        let user = uri.authority().and_then(|authority| authority.as_str().rsplit_once('@'));
        match (user, &settings.password_file) {
            (Some((user, _)), _) if user.contains(':') => {
                return Err(NotUsable(
                    "the password of the mail server belongs into a file, not into the URL".into(),
                ));
            }
            (Some((user, _)), Some(file)) => {
                let password = std::fs::read_to_string(file).map_err(|error| {
                    NotUsable(format!("the password file {} cannot be read: {error}", file.display()))
                })?;
                let password = password.trim_end_matches(['\r', '\n']).to_owned();
                builder = builder.credentials(Credentials::new(user.to_owned(), password));
            }
            (Some(_), None) => return Err(bad("the mail server has a user and no password file")),
            (None, Some(_)) => return Err(bad("there is a password file and no user in the URL")),
            (None, None) => {}
        }
        Ok(Self { transport: builder.build(), from })
    }

    /// Sends once.
    pub(crate) async fn send(&self, to: &Address, message: &Message) -> Result<String, SendError> {
        let mail = self.mail(to, message)?;
        match self.transport.send(mail).await {
            Ok(answer) => Ok(format!("accepted: {}", answer.message().collect::<Vec<_>>().join(" "))),
            // The address does not exist, or the like: the same mail would be refused again.
            Err(error) if error.is_permanent() => Err(SendError::refused(error.to_string())),
            Err(error) => Err(SendError::failed(error.to_string())),
        }
    }

    fn mail(&self, to: &Address, message: &Message) -> Result<Mail, SendError> {
        let domain = self.from.email.domain();
        let micros = u64::try_from(message.at.micros()).unwrap_or_default();
        let mut builder = Mail::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to.clone()))
            .subject(message.line())
            .message_id(Some(format!("<{}@{domain}>", message.id)))
            .date(std::time::UNIX_EPOCH + Duration::from_micros(micros))
            // RFC 3834: no vacation notice answers this.
            .raw_header(HeaderValue::new(
                HeaderName::new_from_ascii_str("Auto-Submitted"),
                "auto-generated".into(),
            ));
        if let Some(thread) = message.thread.as_ref().filter(|thread| **thread != message.id) {
            builder = builder
                .references(format!("<{thread}@{domain}>"))
                .in_reply_to(format!("<{thread}@{domain}>"));
        }
        builder
            .header(ContentType::TEXT_PLAIN)
            .body(message.bounded_text())
            .map_err(|error| SendError::refused(format!("the mail cannot be written: {error}")))
    }
}

fn trust(host: &str, settings: &SmtpSettings) -> Result<TlsParameters, NotUsable> {
    let mut builder = TlsParameters::builder(host.trim_matches(['[', ']']).to_owned());
    if let Some(file) = &settings.ca_file {
        let unreadable =
            |why: String| NotUsable(format!("the certificate {} cannot be used: {why}", file.display()));
        let pem = std::fs::read(file).map_err(|error| unreadable(error.to_string()))?;
        let certificate = Certificate::from_pem(&pem).map_err(|error| unreadable(error.to_string()))?;
        builder = builder.add_root_certificate(certificate);
    }
    builder
        .build_rustls()
        .map_err(|error| NotUsable(format!("TLS to the mail server cannot be set up: {error}")))
}

impl std::fmt::Debug for Smtp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Smtp").field("from", &self.from).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonsense_is_refused_with_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        let password = folder.path().join("password");
        std::fs::write(&password, "secret\n").unwrap();
        let settings = |url: &str, from: &str, with_password: bool| SmtpSettings {
            url: url.into(),
            from: from.into(),
            password_file: with_password.then(|| password.clone()),
            ca_file: None,
        };
        let good = "Q <q@example.org>";
        for (settings, why) in [
            (settings("mail.example.org", good, false), "smtp:// or smtps://"),
            (settings("http://mail.example.org", good, false), "smtp:// or smtps://"),
            (settings("smtp://mail.example.org", "nobody", false), "sender"),
            (settings("smtp://me@mail.example.org", good, false), "no password file"),
            (settings("smtp://mail.example.org", good, true), "no user"),
            (settings("smtp://me:secret@mail.example.org", good, false), "belongs into a file"),
        ] {
            let error = Smtp::new(&settings).unwrap_err().to_string();
            assert!(error.contains(why), "{settings:?}: {error}");
        }
        assert!(Smtp::new(&settings("smtps://me@mail.example.org", good, true)).is_ok());
        assert!(Smtp::new(&settings("smtp://127.0.0.1:2525", "q@example.org", false)).is_ok());
    }
}
