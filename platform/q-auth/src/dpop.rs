//! Proof of possession (RFC 9449): this request was made by the holder of that key.

use std::{collections::HashSet, mem};

use parking_lot::Mutex;
use q_core::{Span, Timestamp, hash};
use q_jose::{
    base64url,
    jws::{JwsError, Parsed},
    thumbprint,
};
use serde::{Deserialize, Serialize};

use crate::{claims::SKEW_MAX, codes::Refusal};

/// The `typ` of a proof (RFC 9449 section 4.2).
pub const PROOF_TYP: &str = "dpop+jwt";
/// The longest proof read, in bytes.
pub const PROOF_BYTES_MAX: usize = 8 * 1024;
/// The longest `jti`, in bytes.
const JTI_BYTES_MAX: usize = 128;

/// What a proof says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProofClaims {
    /// Unique per proof.
    pub jti: String,
    /// The method of the request.
    pub htm: String,
    /// The URL of the request, without query and fragment.
    pub htu: String,
    /// When it was made.
    pub iat: i64,
    /// base64url of SHA-256 of the access token sent along.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ath: Option<String>,
}

/// The request a proof must be for.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The method.
    pub method: &'a str,
    /// The origins under which the server is known from outside; never taken from `Host`.
    pub bases: &'a [String],
    /// The path below them.
    pub path: &'a str,
    /// The token sent along, if one is.
    pub access_token_sha256: Option<&'a hash::Sha256>,
}

impl Request<'_> {
    fn is_at(&self, htu: &str) -> bool {
        let url = htu.split(['?', '#']).next().unwrap_or_default();
        self.bases.iter().any(|base| url.strip_prefix(base.as_str()) == Some(self.path))
    }
}

/// Checks a proof and returns the thumbprint of the key that made it.
///
/// # Errors
/// [`Refusal::Proof`], whatever is wrong with it.
pub fn check(
    proof: &str,
    request: Request<'_>,
    now: Timestamp,
    replays: &ReplaySet,
) -> Result<String, Refusal> {
    let parsed = Parsed::parse(proof, PROOF_BYTES_MAX).map_err(|_| Refusal::Proof)?;
    if parsed.header.typ.as_deref() != Some(PROOF_TYP) {
        return Err(Refusal::Proof);
    }
    let key = *parsed.header.jwk.as_ref().ok_or(Refusal::Proof)?.public_key();
    let claims: ProofClaims = parsed.unverified_claims().map_err(|_| Refusal::Proof)?;
    let is_for_token = match request.access_token_sha256 {
        Some(digest) => claims.ath.as_deref() == Some(base64url::encode(digest).as_str()),
        None => true,
    };
    let age = now.since(Timestamp::from_seconds(claims.iat));
    let is_fresh = age <= SKEW_MAX && age >= Span::seconds(-SKEW_MAX.as_seconds());
    let is_named = !claims.jti.is_empty() && claims.jti.len() <= JTI_BYTES_MAX;
    if claims.htm != request.method || !request.is_at(&claims.htu) || !is_for_token || !is_fresh || !is_named
    {
        return Err(Refusal::Proof);
    }
    // The costly step last, and only proofs that hold are remembered: a forger cannot fill the set.
    parsed.verify(&key).map_err(|_: JwsError| Refusal::Proof)?;
    let jkt = thumbprint(&key);
    replays.note(&jkt, &claims.jti, now)?;
    Ok(jkt)
}

/// The thumbprint of the key that made a proof which [`check`] has accepted for this request already.
///
/// # Errors
/// [`Refusal::Proof`] when it cannot be read: it was not checked.
pub fn thumbprint_of(proof: &str) -> Result<String, Refusal> {
    let parsed = Parsed::parse(proof, PROOF_BYTES_MAX).map_err(|_| Refusal::Proof)?;
    parsed.header.jwk.as_ref().map(|jwk| thumbprint(jwk.public_key())).ok_or(Refusal::Proof)
}

/// The proofs used within the last minutes, by this process.
///
/// Two generations of twice the permitted skew each: a proof dated at the edge of the future is
/// remembered until it is too old by itself.
#[derive(Debug)]
pub struct ReplaySet {
    used: Mutex<Used>,
    generation_max: usize,
}

#[derive(Debug, Default)]
struct Used {
    young: HashSet<[u8; 16]>,
    old: HashSet<[u8; 16]>,
    began_at: Timestamp,
}

impl ReplaySet {
    /// How long a generation lasts.
    const GENERATION: Span = Span::seconds(2 * SKEW_MAX.as_seconds());

    /// A set that takes at most `generation_max` proofs in two minutes.
    pub fn new(generation_max: usize) -> Self {
        Self { used: Mutex::default(), generation_max }
    }

    /// Notes a use.
    pub fn note(&self, owner: &str, jti: &str, now: Timestamp) -> Result<(), Refusal> {
        let digest = hash::sha256_of(&[owner.as_bytes(), b"\0", jti.as_bytes()]);
        let id: [u8; 16] = *digest.first_chunk().expect("a digest has 32 bytes");
        let mut used = self.used.lock();
        if now.since(used.began_at) >= Self::GENERATION {
            let is_long_ago = now.since(used.began_at).as_micros() >= 2 * Self::GENERATION.as_micros();
            let young = mem::take(&mut used.young);
            used.old = if is_long_ago { HashSet::new() } else { young };
            used.began_at = now;
        }
        if used.old.contains(&id) || used.young.contains(&id) {
            return Err(Refusal::Proof);
        }
        // Forgetting early would let replays in; a full set stops newcomers instead.
        if used.young.len() >= self.generation_max {
            return Err(Refusal::Overloaded);
        }
        used.young.insert(id);
        Ok(())
    }
}

impl Default for ReplaySet {
    fn default() -> Self {
        Self::new(1 << 20)
    }
}
