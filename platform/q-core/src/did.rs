//! Decentralised identifiers as names: parsing and comparing, no resolving.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest identifier accepted anywhere, in bytes.
pub const DID_BYTES_MAX: usize = 512;

/// A decentralised identifier (W3C DID Core section 3.1), such as `did:squid:QmX…`.
///
/// Cheap to clone. Holds any method; who accepts which method says so itself. Percent-encoded
/// dots and slashes are refused, because a resolver that decodes them reads another path than the
/// one that was checked.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Did(Arc<str>);

/// The text is not a DID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a decentralised identifier such as did:squid:Qm…")]
pub struct NotADid;

impl Did {
    /// The instance's own name for the self-certifying id `scid`.
    pub fn squid(scid: &str) -> Result<Self, NotADid> {
        format!("did:squid:{scid}").parse()
    }

    /// The whole text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The method name, such as `squid` or `key`.
    pub fn method(&self) -> &str {
        self.0.split(':').nth(1).unwrap_or_default()
    }

    /// What follows the method name.
    pub fn specific_id(&self) -> &str {
        self.0.splitn(3, ':').nth(2).unwrap_or_default()
    }
}

impl FromStr for Did {
    type Err = NotADid;
    fn from_str(text: &str) -> Result<Self, NotADid> {
        if text.len() > DID_BYTES_MAX {
            return Err(NotADid);
        }
        let rest = text.strip_prefix("did:").ok_or(NotADid)?;
        let (method, specific) = rest.split_once(':').ok_or(NotADid)?;
        let is_method = !method.is_empty()
            && method.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        let is_specific = !specific.is_empty()
            && !specific.ends_with(':')
            && specific
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'%'));
        let hides_a_path = specific.bytes().any(|byte| matches!(byte, b'.' | b'%')) && {
            let lower = specific.to_ascii_lowercase();
            lower.contains("%2e") || lower.contains("%2f") || lower.contains("..")
        };
        if is_method && is_specific && !hides_a_path { Ok(Self(text.into())) } else { Err(NotADid) }
    }
}

impl fmt::Display for Did {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Did {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Did {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Did {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl schemars::JsonSchema for Did {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Did".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "pattern": "^did:[a-z0-9]+:.+$", "maxLength": DID_BYTES_MAX})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_methods_we_meet() {
        for text in ["did:squid:QmAbc", "did:key:z6Mk", "did:webvh:Qm1:qnode.localhost%3A8080:id:Qm1"] {
            assert_eq!(text.parse::<Did>().unwrap().as_str(), text);
        }
        assert_eq!("did:squid:QmAbc".parse::<Did>().unwrap().specific_id(), "QmAbc");
    }

    #[test]
    fn refuses_what_is_not_a_name() {
        for text in [
            "",
            "did:",
            "did:squid:",
            "did:Squid:x",
            "did:squid:a/b",
            "did:squid:a#k",
            "did:web:a%2Fb",
            "did:web:%2e%2E",
            "urn:x",
        ] {
            assert_eq!(text.parse::<Did>(), Err(NotADid), "{text}");
        }
    }
}
