//! Who signs: an identity, and which of its keys when it names one.

use std::{fmt, str::FromStr};

use q_core::Did;

use crate::Refusal;

/// The longest key fragment, in bytes.
const FRAGMENT_BYTES_MAX: usize = 128;

/// The `iss` claim: a DID, optionally with the fragment of the signing key (`ucan-wg/spec`, "Issuer").
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Issuer {
    /// The identity; what audiences and subjects are compared with.
    pub did: Did,
    /// The fragment that names one of the identity's keys, without `#`.
    pub key: Option<String>,
}

impl From<Did> for Issuer {
    fn from(did: Did) -> Self {
        Self { did, key: None }
    }
}

impl FromStr for Issuer {
    type Err = Refusal;
    fn from_str(text: &str) -> Result<Self, Refusal> {
        let refused = Refusal::Malformed("`iss` is a DID, optionally with a key fragment");
        let (did, key) = match text.split_once('#') {
            Some((did, key)) => (did, Some(key)),
            None => (text, None),
        };
        let is_fragment = |key: &str| {
            !key.is_empty()
                && key.len() <= FRAGMENT_BYTES_MAX
                && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:~".contains(&byte))
        };
        if key.is_some_and(|key| !is_fragment(key)) {
            return Err(refused);
        }
        Ok(Self { did: did.parse().map_err(|_| refused)?, key: key.map(Into::into) })
    }
}

impl fmt::Display for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key {
            Some(key) => write!(f, "{}#{key}", self.did),
            None => self.did.fmt(f),
        }
    }
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
