//! Invocations: authority used.

use std::collections::BTreeMap;

use ipld_core::ipld::Ipld;
use q_core::{Did, Timestamp};
use q_jose::ed25519::SecretKey;

use crate::{
    Algorithm, Command, Issuer, Refusal, TokenCid, Version,
    chain::LINKS_MAX,
    claims::{Claims, link},
    delegation::seconds,
    envelope::{Kind, Signed},
};

/// A decoded invocation (`ucan-wg/invocation`). Whether it is allowed is judged by [`crate::Verifier`].
#[derive(Debug, Clone, PartialEq)]
pub struct Invocation {
    signed: Signed,
    issuer: Issuer,
    audience: Option<Did>,
    subject: Did,
    command: Command,
    args: Ipld,
    proofs: Vec<TokenCid>,
    nonce: Vec<u8>,
    meta: BTreeMap<String, Ipld>,
    cause: Option<TokenCid>,
    issued_at: Option<Timestamp>,
    not_before: Option<Timestamp>,
    expires_at: Option<Timestamp>,
}

/// What a new invocation shall say.
#[derive(Debug, Clone, PartialEq)]
pub struct InvocationDraft {
    /// Who invokes, and with which key.
    pub issuer: Issuer,
    /// Who shall execute; the subject when absent.
    pub audience: Option<Did>,
    /// Whose authority is used.
    pub subject: Did,
    /// What shall be done.
    pub command: Command,
    /// With which arguments.
    pub args: BTreeMap<String, Ipld>,
    /// The delegations that prove it, root first.
    pub proofs: Vec<TokenCid>,
    /// At least 12 unpredictable bytes.
    pub nonce: Vec<u8>,
    /// When it was made.
    pub issued_at: Option<Timestamp>,
    /// When the validity ends. Whole seconds are kept.
    pub expires_at: Option<Timestamp>,
}

impl InvocationDraft {
    /// Signs with an Ed25519 key, which must be one of the issuer's.
    pub fn sign(self, key: &SecretKey) -> Result<Invocation, Refusal> {
        let proofs = self.proofs.iter().map(|cid| Ipld::Link(cid.to_link())).collect();
        let mut claims = BTreeMap::from([
            ("iss".to_owned(), Ipld::String(self.issuer.to_string())),
            ("sub".to_owned(), Ipld::String(self.subject.to_string())),
            ("cmd".to_owned(), Ipld::String(self.command.to_string())),
            ("args".to_owned(), Ipld::Map(self.args)),
            ("prf".to_owned(), Ipld::List(proofs)),
            ("nonce".to_owned(), Ipld::Bytes(self.nonce)),
            ("exp".to_owned(), seconds(self.expires_at)),
        ]);
        if let Some(audience) = self.audience {
            claims.insert("aud".to_owned(), Ipld::String(audience.to_string()));
        }
        if self.issued_at.is_some() {
            claims.insert("iat".to_owned(), seconds(self.issued_at));
        }
        Invocation::decode(&Signed::sign(Kind::Invocation, Ipld::Map(claims), key).bytes)
    }
}

impl Invocation {
    /// Decodes the bytes of a token.
    pub fn decode(bytes: &[u8]) -> Result<Self, Refusal> {
        let (signed, payload) = Signed::decode(Kind::Invocation, bytes)?;
        let mut claims = Claims::new(payload)?;
        let audience = match claims.take("aud") {
            None => None,
            Some(Ipld::String(text)) => Some(text.parse().map_err(|_| Refusal::Malformed("`aud` is a DID"))?),
            Some(_) => return Err(Refusal::Malformed("`aud` is a DID")),
        };
        let Some(args @ Ipld::Map(_)) = claims.take("args") else {
            return Err(Refusal::Malformed("`args` is a map"));
        };
        let cause = claims.take("cause").map(|value| link(&value)).transpose()?;
        let invocation = Self {
            issuer: claims.issuer()?,
            audience,
            subject: claims.did("sub")?,
            command: claims.command()?,
            args,
            proofs: claims.links("prf", LINKS_MAX)?,
            nonce: claims.nonce()?,
            meta: claims.meta()?,
            cause,
            issued_at: claims.instant("iat")?,
            not_before: claims.instant("nbf")?,
            expires_at: claims.expires_at()?,
            signed,
        };
        claims.finish()?;
        Ok(invocation)
    }

    /// The exact bytes that were decoded.
    pub fn bytes(&self) -> &[u8] {
        &self.signed.bytes
    }

    /// The content identifier; an executor accepts each one once.
    pub fn cid(&self) -> TokenCid {
        self.signed.cid
    }

    /// Who invokes, and with which key.
    pub fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    /// Who shall execute: the audience, or the subject where none is named.
    pub fn executor(&self) -> &Did {
        self.audience.as_ref().unwrap_or(&self.subject)
    }

    /// Whose authority is used.
    pub fn subject(&self) -> &Did {
        &self.subject
    }

    /// What shall be done.
    pub fn command(&self) -> &Command {
        &self.command
    }

    /// With which arguments: always a map.
    pub fn args(&self) -> &Ipld {
        &self.args
    }

    /// The delegations that prove it, root first.
    pub fn proofs(&self) -> &[TokenCid] {
        &self.proofs
    }

    /// The nonce.
    pub fn nonce(&self) -> &[u8] {
        &self.nonce
    }

    /// Signed remarks.
    pub fn meta(&self) -> &BTreeMap<String, Ipld> {
        &self.meta
    }

    /// The token that led to this one.
    pub fn cause(&self) -> Option<TokenCid> {
        self.cause
    }

    /// When it says it was made.
    pub fn issued_at(&self) -> Option<Timestamp> {
        self.issued_at
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

    pub(crate) fn signed(&self) -> &Signed {
        &self.signed
    }
}
