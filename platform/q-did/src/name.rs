//! The names of an identity: did:webvh by location, did:squid without one, and its keys under either.

use std::{fmt, str::FromStr};

use q_core::Did;
use q_jose::PublicKey;

use crate::entry::is_multihash;

/// A did:webvh identifier in parts (did:webvh 1.0 section "Method-Specific Identifier").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebName {
    /// The self-certifying id.
    pub scid: String,
    /// The DNS name, without port.
    pub domain: String,
    /// The port, where one is named.
    pub port: Option<u16>,
    /// The path segments after the host.
    pub path: Vec<String>,
}

/// The text is not a did:webvh identifier that is safe to look up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a did:webvh identifier with a DNS name")]
pub struct InvalidDid;

impl WebName {
    /// The name under which this house serves the log of `scid`: `<host>/id/<scid>/did.jsonl`.
    ///
    /// `host` is as in a URL: a DNS name, with `:port` where it is not the scheme's own.
    pub fn at_host(scid: &str, host: &str) -> Result<Self, InvalidDid> {
        let host = host.replace(':', "%3A");
        format!("did:webvh:{scid}:{host}:id:{scid}").parse()
    }

    /// The host as in a URL.
    pub fn host(&self) -> String {
        match self.port {
            Some(port) => format!("{}:{port}", self.domain),
            None => self.domain.clone(),
        }
    }

    /// The location-free name of the same identity.
    pub fn squid(&self) -> Did {
        Did::squid(&self.scid).expect("a SCID is base58btc, which a DID may hold")
    }

    /// Where the log is served (did:webvh 1.0 section "The DID to HTTPS Transformation").
    pub fn log_url(&self) -> String {
        let path = if self.path.is_empty() { ".well-known".into() } else { self.path.join("/") };
        format!("https://{}/{path}/did.jsonl", self.host())
    }

    /// The did:web name of the same place.
    pub fn did_web(&self) -> String {
        self.to_string().replacen(&format!("did:webvh:{}:", self.scid), "did:web:", 1)
    }
}

impl FromStr for WebName {
    type Err = InvalidDid;

    fn from_str(text: &str) -> Result<Self, InvalidDid> {
        // The general rules first: bounded, no percent-encoded dots or slashes, no fragment.
        let did: Did = text.parse().map_err(|_| InvalidDid)?;
        let rest = did.as_str().strip_prefix("did:webvh:").ok_or(InvalidDid)?;
        let mut parts = rest.split(':');
        let scid = parts.next().filter(|scid| is_scid(scid)).ok_or(InvalidDid)?;
        let host = parts.next().ok_or(InvalidDid)?;
        let (domain, port) = match host.split_once("%3A") {
            Some((domain, port)) => (domain, Some(parse_port(port)?)),
            None => (host, None),
        };
        let path: Vec<String> = parts.map(str::to_owned).collect();
        let is_path = path.iter().all(|segment| {
            !segment.is_empty()
                && segment != "."
                && segment != ".."
                && segment
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
        });
        // Everything percent-encoded but the port's colon is refused: it would be decoded before lookup.
        if is_domain(domain) && is_path {
            Ok(Self { scid: scid.into(), domain: domain.into(), port, path })
        } else {
            Err(InvalidDid)
        }
    }
}

impl fmt::Display for WebName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "did:webvh:{}:{}", self.scid, self.domain)?;
        if let Some(port) = self.port {
            write!(f, "%3A{port}")?;
        }
        self.path.iter().try_for_each(|segment| write!(f, ":{segment}"))
    }
}

/// Whether the text can be a SCID: a base58btc sha2-256 multihash.
pub fn is_scid(text: &str) -> bool {
    is_multihash(text)
}

/// The SCID behind a did:squid or did:webvh name.
pub fn scid_of(did: &Did) -> Result<String, InvalidDid> {
    match did.method() {
        "squid" if is_scid(did.specific_id()) => Ok(did.specific_id().to_owned()),
        "webvh" => did.as_str().parse::<WebName>().map(|name| name.scid),
        _ => Err(InvalidDid),
    }
}

/// The canonical id of a key of an identity: `<did>#<multikey>`.
pub fn key_id(did: &Did, key: &PublicKey) -> String {
    format!("{did}#{}", key.to_multikey())
}

/// Splits a key id into the identity's name and the key its fragment spells out.
///
/// That the identity really holds the key is for the identity's document to say.
pub fn multikey_of(key_id: &str) -> Option<(Did, PublicKey)> {
    let (did, fragment) = key_id.split_once('#')?;
    Some((did.parse().ok()?, PublicKey::from_multikey(fragment).ok()?))
}

fn parse_port(text: &str) -> Result<u16, InvalidDid> {
    let is_plain = !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_plain { text.parse().map_err(|_| InvalidDid) } else { Err(InvalidDid) }
}

/// A DNS name of at least two labels whose last is not a number: never an IP address.
fn is_domain(text: &str) -> bool {
    let labels: Vec<&str> = text.split('.').collect();
    let is_label = |label: &&str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    text.len() <= 253
        && labels.len() >= 2
        && labels.iter().all(is_label)
        && labels.last().is_some_and(|label| label.starts_with(|first: char| first.is_ascii_alphabetic()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCID: &str = "QmbnQXj7DhWFrmgjDPKZCybn8fkKW7Wze57SQHpwsSQ7NZ";

    #[test]
    fn reads_and_prints_names() {
        let name = WebName::at_host(SCID, "qnode.localhost:8080").unwrap();
        assert_eq!(name.to_string(), format!("did:webvh:{SCID}:qnode.localhost%3A8080:id:{SCID}"));
        assert_eq!(name.to_string().parse(), Ok(name.clone()));
        assert_eq!(name.log_url(), format!("https://qnode.localhost:8080/id/{SCID}/did.jsonl"));
        assert_eq!(name.did_web(), format!("did:web:qnode.localhost%3A8080:id:{SCID}"));
        assert_eq!(scid_of(&name.squid()).unwrap(), SCID);
    }

    #[test]
    fn refuses_names_that_would_be_looked_up_elsewhere() {
        for host in [
            "q.example%2Fx",
            "q.example:%2e%2e",
            "q.example:..",
            "127.0.0.1",
            "10.0.0.1%3A80",
            "q.example%3a80",
            "q.example%3A0",
            "q.example%3A99999",
            "q.example%3A8080%3A1",
            "q.example#k",
            "localhost",
            "[::1]",
            "q.example:",
            "q.example::x",
            "Q.example",
            "-q.example",
            "",
        ] {
            assert_eq!(format!("did:webvh:{SCID}:{host}").parse::<WebName>(), Err(InvalidDid), "{host}");
        }
        assert!(format!("did:webvh:{}:q.example", &SCID[1..]).parse::<WebName>().is_err());
    }
}
