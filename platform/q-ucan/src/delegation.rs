//! Delegations: authority handed on.

use std::collections::BTreeMap;

use ipld_core::ipld::Ipld;
use q_core::{Did, Timestamp};
use q_jose::ed25519::SecretKey;

use crate::{
    Algorithm, Command, Issuer, Policy, Refusal, TokenCid, VerifyingKey, Version,
    claims::Claims,
    envelope::{Kind, Signed},
};

/// A decoded delegation (`ucan-wg/delegation`). Its signature and times are judged by [`crate::Verifier`].
#[derive(Debug, Clone, PartialEq)]
pub struct Delegation {
    signed: Signed,
    issuer: Issuer,
    audience: Did,
    subject: Option<Did>,
    command: Command,
    policy: Policy,
    nonce: Vec<u8>,
    meta: BTreeMap<String, Ipld>,
    not_before: Option<Timestamp>,
    expires_at: Option<Timestamp>,
}

/// What a new delegation shall say.
#[derive(Debug, Clone, PartialEq)]
pub struct DelegationDraft {
    /// Who hands on, and with which key.
    pub issuer: Issuer,
    /// Who receives.
    pub audience: Did,
    /// Whose authority it is; `None` hands on whatever the issuer receives from anybody ("powerline").
    pub subject: Option<Did>,
    /// What may be done, with everything below it.
    pub command: Command,
    /// What the arguments must satisfy.
    pub policy: Policy,
    /// At least 12 unpredictable bytes.
    pub nonce: Vec<u8>,
    /// When the validity begins; at once when absent. Whole seconds are kept.
    pub not_before: Option<Timestamp>,
    /// When it ends; never when absent. Whole seconds are kept.
    pub expires_at: Option<Timestamp>,
    /// Signed remarks that grant nothing.
    pub meta: BTreeMap<String, Ipld>,
}

impl DelegationDraft {
    /// Signs with an Ed25519 key, which must be one of the issuer's.
    ///
    /// Refuses what this crate would refuse to read back.
    pub fn sign(self, key: &SecretKey) -> Result<Delegation, Refusal> {
        let mut claims = BTreeMap::from([
            ("iss".to_owned(), Ipld::String(self.issuer.to_string())),
            ("aud".to_owned(), Ipld::String(self.audience.to_string())),
            ("sub".to_owned(), self.subject.map_or(Ipld::Null, |subject| Ipld::String(subject.to_string()))),
            ("cmd".to_owned(), Ipld::String(self.command.to_string())),
            ("pol".to_owned(), self.policy.to_ipld()),
            ("nonce".to_owned(), Ipld::Bytes(self.nonce)),
            ("exp".to_owned(), seconds(self.expires_at)),
        ]);
        if self.not_before.is_some() {
            claims.insert("nbf".to_owned(), seconds(self.not_before));
        }
        if !self.meta.is_empty() {
            claims.insert("meta".to_owned(), Ipld::Map(self.meta));
        }
        Delegation::decode(&Signed::sign(Kind::Delegation, Ipld::Map(claims), key).bytes)
    }
}

/// The claim form of an instant.
pub(crate) fn seconds(instant: Option<Timestamp>) -> Ipld {
    instant.map_or(Ipld::Null, |instant| Ipld::Integer(instant.seconds().into()))
}

impl Delegation {
    /// Decodes the bytes of a token.
    pub fn decode(bytes: &[u8]) -> Result<Self, Refusal> {
        let (signed, payload) = Signed::decode(Kind::Delegation, bytes)?;
        let mut claims = Claims::new(payload)?;
        let subject = match claims.take("sub") {
            Some(Ipld::Null) => None,
            Some(Ipld::String(text)) => {
                Some(text.parse().map_err(|_| Refusal::Malformed("`sub` is a DID or null"))?)
            }
            _ => return Err(Refusal::Malformed("`sub` is present and is a DID or null")),
        };
        let policy = claims.take("pol").ok_or(Refusal::Malformed("`pol` is present"))?;
        let delegation = Self {
            issuer: claims.issuer()?,
            audience: claims.did("aud")?,
            subject,
            command: claims.command()?,
            policy: Policy::from_ipld(&policy)?,
            nonce: claims.nonce()?,
            meta: claims.meta()?,
            not_before: claims.instant("nbf")?,
            expires_at: claims.expires_at()?,
            signed,
        };
        claims.finish()?;
        Ok(delegation)
    }

    /// The exact bytes that were decoded.
    pub fn bytes(&self) -> &[u8] {
        &self.signed.bytes
    }

    /// The content identifier.
    pub fn cid(&self) -> TokenCid {
        self.signed.cid
    }

    /// Who handed on, and with which key.
    pub fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    /// Who received.
    pub fn audience(&self) -> &Did {
        &self.audience
    }

    /// Whose authority it is; `None` for a powerline.
    pub fn subject(&self) -> Option<&Did> {
        self.subject.as_ref()
    }

    /// What may be done.
    pub fn command(&self) -> &Command {
        &self.command
    }

    /// What the arguments must satisfy.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The nonce.
    pub fn nonce(&self) -> &[u8] {
        &self.nonce
    }

    /// Signed remarks that grant nothing.
    pub fn meta(&self) -> &BTreeMap<String, Ipld> {
        &self.meta
    }

    /// When the validity begins, if not at once.
    pub fn not_before(&self) -> Option<Timestamp> {
        self.not_before
    }

    /// When the validity ends, if ever.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.expires_at
    }

    /// How it is signed.
    pub fn algorithm(&self) -> Algorithm {
        self.signed.algorithm
    }

    /// The version of its tag.
    pub fn version(&self) -> Version {
        self.signed.version
    }

    /// Whether `key` signed it.
    pub fn is_signed_by(&self, key: &VerifyingKey) -> bool {
        key.verifies(self.signed.algorithm, self.signed.message(), self.signed.signature())
    }

    pub(crate) fn signed(&self) -> &Signed {
        &self.signed
    }
}
