//! Reading a payload map claim by claim, so that nothing in it is left unread.

use std::collections::BTreeMap;

use ipld_core::ipld::Ipld;
use q_core::{Did, Timestamp};

use crate::{Command, Issuer, Refusal, TokenCid};

/// The greatest integer that every peer can represent: 2^53 - 1.
pub(crate) const INTEGER_MAX: i128 = (1 << 53) - 1;
/// The least number of nonce bytes that makes tokens unique.
const NONCE_BYTES_MIN: usize = 12;
/// The greatest number of nonce bytes.
const NONCE_BYTES_MAX: usize = 256;
/// The deepest nesting of a payload.
pub(crate) const DEPTH_MAX: usize = 32;

/// The claims of a payload that were not read yet.
pub(crate) struct Claims(BTreeMap<String, Ipld>);

impl Claims {
    pub(crate) fn new(payload: Ipld) -> Result<Self, Refusal> {
        check_bounds(&payload, 0)?;
        match payload {
            Ipld::Map(claims) => Ok(Self(claims)),
            _ => Err(Refusal::Malformed("the payload is a map")),
        }
    }

    pub(crate) fn take(&mut self, name: &str) -> Option<Ipld> {
        self.0.remove(name)
    }

    pub(crate) fn issuer(&mut self) -> Result<Issuer, Refusal> {
        self.text("iss")?.parse()
    }

    pub(crate) fn did(&mut self, name: &'static str) -> Result<Did, Refusal> {
        self.text(name)?.parse().map_err(|_| Refusal::Malformed("`aud` and `sub` are DIDs"))
    }

    pub(crate) fn command(&mut self) -> Result<Command, Refusal> {
        let refused = "`cmd` is a lower-case path with no empty segment";
        self.text("cmd")?.parse().map_err(|_| Refusal::Malformed(refused))
    }

    pub(crate) fn nonce(&mut self) -> Result<Vec<u8>, Refusal> {
        match self.take("nonce") {
            Some(Ipld::Bytes(nonce)) if (NONCE_BYTES_MIN..=NONCE_BYTES_MAX).contains(&nonce.len()) => {
                Ok(nonce)
            }
            _ => Err(Refusal::Malformed("`nonce` is 12 to 256 bytes")),
        }
    }

    /// `exp`: must be present; `null` means "never".
    pub(crate) fn expires_at(&mut self) -> Result<Option<Timestamp>, Refusal> {
        match self.take("exp") {
            Some(Ipld::Null) => Ok(None),
            Some(other) => instant(&other).map(Some),
            None => Err(Refusal::Malformed("`exp` is present, if only as null")),
        }
    }

    /// `nbf` or `iat`: may be absent, may not be null.
    pub(crate) fn instant(&mut self, name: &str) -> Result<Option<Timestamp>, Refusal> {
        self.take(name).map(|value| instant(&value)).transpose()
    }

    pub(crate) fn meta(&mut self) -> Result<BTreeMap<String, Ipld>, Refusal> {
        match self.take("meta") {
            None => Ok(BTreeMap::new()),
            Some(Ipld::Map(meta)) => Ok(meta),
            Some(_) => Err(Refusal::Malformed("`meta` is a map")),
        }
    }

    pub(crate) fn links(&mut self, name: &'static str, count_max: usize) -> Result<Vec<TokenCid>, Refusal> {
        let Some(Ipld::List(links)) = self.take(name) else {
            return Err(Refusal::Malformed("`prf` is a list of links"));
        };
        if links.len() > count_max {
            return Err(Refusal::TooLarge("a chain has at most 8 links"));
        }
        links.iter().map(link).collect()
    }

    /// Ends the reading: a claim nobody read might be a restriction, so it is not ignored.
    pub(crate) fn finish(self) -> Result<(), Refusal> {
        if self.0.is_empty() { Ok(()) } else { Err(Refusal::Malformed("the payload holds an unknown claim")) }
    }

    fn text(&mut self, name: &str) -> Result<String, Refusal> {
        match self.take(name) {
            Some(Ipld::String(text)) => Ok(text),
            _ => Err(Refusal::Malformed("`iss`, `aud`, `sub` and `cmd` are present and are strings")),
        }
    }
}

pub(crate) fn link(value: &Ipld) -> Result<TokenCid, Refusal> {
    match value {
        Ipld::Link(link) => {
            TokenCid::from_link(link).map_err(|_| Refusal::Malformed("a link is CIDv1, DAG-CBOR, SHA2-256"))
        }
        _ => Err(Refusal::Malformed("a proof is a link")),
    }
}

fn instant(value: &Ipld) -> Result<Timestamp, Refusal> {
    let refused = Refusal::Malformed("a time is an integer number of seconds");
    match value {
        Ipld::Integer(seconds) => Ok(Timestamp::from_seconds(i64::try_from(*seconds).map_err(|_| refused)?)),
        _ => Err(refused),
    }
}

/// Bounds every number and the depth once, so that no later step has to.
fn check_bounds(value: &Ipld, depth: usize) -> Result<(), Refusal> {
    if depth > DEPTH_MAX {
        return Err(Refusal::TooLarge("a payload nests at most 32 deep"));
    }
    match value {
        Ipld::Integer(number) if number.abs() > INTEGER_MAX => {
            Err(Refusal::Malformed("an integer lies within ±(2^53 - 1)"))
        }
        Ipld::List(items) => items.iter().try_for_each(|item| check_bounds(item, depth + 1)),
        Ipld::Map(members) => members.values().try_for_each(|member| check_bounds(member, depth + 1)),
        _ => Ok(()),
    }
}
