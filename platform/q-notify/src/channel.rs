//! Where somebody is reached.

use std::{fmt, net::IpAddr, str::FromStr};

use http::Uri;
use lettre::Address;

/// One way to reach somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Channel {
    /// An HTTP POST, signed by the Standard Webhooks specification.
    Webhook(Uri),
    /// A mail.
    Email(Address),
    /// A program with its arguments, started without a shell.
    Command(Vec<String>),
}

/// The text names no channel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?}: {why}")]
pub struct NotAChannel {
    /// The part that cannot be read.
    pub text: String,
    /// Why.
    pub why: &'static str,
}

/// Reads `webhook https://…; email oncall@example.org; command /usr/local/bin/page oncall`.
pub fn channels(text: &str) -> Result<Vec<Channel>, NotAChannel> {
    text.split(';').map(str::trim).filter(|part| !part.is_empty()).map(str::parse).collect()
}

/// Whether `host` is this machine, so that nobody else can listen in.
pub(crate) fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl FromStr for Channel {
    type Err = NotAChannel;
    fn from_str(text: &str) -> Result<Self, NotAChannel> {
        let refused = |why| NotAChannel { text: text.to_owned(), why };
        let (kind, rest) = text.trim().split_once(char::is_whitespace).unwrap_or((text.trim(), ""));
        let rest = rest.trim();
        match kind {
            "webhook" => {
                let uri: Uri = rest.parse().map_err(|_| refused("a webhook needs a URL"))?;
                match (uri.scheme_str(), uri.host()) {
                    (Some("https"), Some(_)) => Ok(Self::Webhook(uri)),
                    (Some("http"), Some(host)) if is_loopback(host) => Ok(Self::Webhook(uri)),
                    (Some("http"), Some(_)) => {
                        Err(refused("http is for receivers on this host; others are told over https"))
                    }
                    _ => Err(refused("a webhook needs a URL such as https://example.org/hook")),
                }
            }
            "email" => rest
                .parse()
                .map(Self::Email)
                .map_err(|_| refused("an e-mail needs an address such as a@example.org")),
            "command" => {
                let argv: Vec<String> = rest.split_whitespace().map(str::to_owned).collect();
                if argv.first().is_some_and(|program| program.starts_with('/')) {
                    Ok(Self::Command(argv))
                } else {
                    Err(refused("a command needs the absolute path of a program; there is no shell"))
                }
            }
            _ => Err(refused("a channel begins with webhook, email or command")),
        }
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Webhook(uri) => write!(f, "webhook {uri}"),
            Self::Email(address) => write!(f, "email {address}"),
            Self::Command(argv) => write!(f, "command {}", argv.join(" ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_prints() {
        let text = "webhook https://example.org/hook?a=b; email oncall@example.org; command /bin/page a b;; \
                    webhook http://127.0.0.1:9/x; webhook http://[::1]:9/";
        let read = channels(text).unwrap();
        assert_eq!(read.len(), 5);
        for channel in read {
            assert_eq!(channel.to_string().parse::<Channel>().unwrap(), channel);
        }
        assert_eq!(channels(" ").unwrap(), []);
    }

    #[test]
    fn nonsense_is_refused_with_the_reason() {
        for (text, why) in [
            ("pager 5", "begins with"),
            ("webhook", "needs a URL"),
            ("webhook /hook", "needs a URL"),
            ("webhook ftp://example.org", "needs a URL"),
            ("webhook http://example.org/hook", "over https"),
            ("email oncall", "needs an address"),
            ("email a@example.org, b@example.org", "needs an address"),
            ("command page", "absolute path"),
            ("command", "absolute path"),
        ] {
            let error = channels(&format!("email a@example.org; {text}")).unwrap_err();
            assert!(error.to_string().contains(why) && error.text == text, "{text}: {error}");
        }
    }
}
