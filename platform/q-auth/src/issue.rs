//! The issuer's side: signing access tokens, reading login assertions.

use q_core::{Did, Span, Timestamp};
use q_jose::{
    SecretKey,
    jws::{Header, Parsed, sign_json},
};
use serde::{Deserialize, Serialize};

use crate::{
    claims::{ACCESS_TOKEN_TYP, Audience, Claims, SKEW_MAX},
    codes::Refusal,
};

/// The longest assertion read, in bytes.
pub const ASSERTION_BYTES_MAX: usize = 8 * 1024;
/// The longest life of a login assertion.
pub const ASSERTION_LIFETIME_MAX: Span = Span::seconds(60);

/// Signs an access token with the issuer's key `kid`.
pub fn access_token(claims: &Claims, kid: &str, key: &SecretKey) -> String {
    sign_json(&Header::typ(ACCESS_TOKEN_TYP).kid(kid), claims, key)
}

/// What a login assertion says (RFC 7523 section 3): the identity speaks for itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssertionClaims {
    /// The identity.
    pub iss: Did,
    /// The identity again.
    pub sub: Did,
    /// The token endpoint or the issuer.
    pub aud: Audience,
    /// When it ends, at most 60 s after it was made.
    pub exp: i64,
    /// When it was made.
    pub iat: i64,
    /// Unique: an assertion logs in once.
    pub jti: String,
}

/// An assertion whose form and times hold and whose signature is still to be checked.
#[derive(Debug)]
pub struct Assertion<'a> {
    /// What it says.
    pub claims: AssertionClaims,
    /// The key it names, `did:squid:…#z6Mk…`.
    pub kid: String,
    parsed: Parsed<'a>,
}

impl<'a> Assertion<'a> {
    /// Reads an assertion meant for one of `audiences`.
    ///
    /// # Errors
    /// [`Refusal::ClockSkew`] when it is dated too far away, else [`Refusal::Token`].
    pub fn parse(text: &'a str, audiences: &[&str], now: Timestamp) -> Result<Self, Refusal> {
        let parsed = Parsed::parse(text, ASSERTION_BYTES_MAX).map_err(|_| Refusal::Token)?;
        // Tokens of other types are not assertions, whoever signed them (RFC 8725 section 3.11).
        if parsed.header.typ.as_ref().is_some_and(|typ| !typ.eq_ignore_ascii_case("jwt")) {
            return Err(Refusal::Token);
        }
        let kid = parsed.header.kid.clone().ok_or(Refusal::Token)?;
        let claims: AssertionClaims = parsed.unverified_claims().map_err(|_| Refusal::Token)?;
        let (made_at, ends_at) = (Timestamp::from_seconds(claims.iat), Timestamp::from_seconds(claims.exp));
        let is_for_us = audiences.iter().any(|audience| claims.aud.includes(audience));
        let is_short = ends_at.since(made_at) <= ASSERTION_LIFETIME_MAX && ends_at > made_at;
        let is_named = !claims.jti.is_empty() && claims.jti.len() <= 128;
        if claims.iss != claims.sub || !is_for_us || !is_short || !is_named {
            return Err(Refusal::Token);
        }
        if made_at > now + SKEW_MAX || ends_at + SKEW_MAX <= now {
            return Err(Refusal::ClockSkew);
        }
        Ok(Self { claims, kid, parsed })
    }

    /// Checks the signature with the key the identity's document holds under [`Self::kid`].
    pub fn verify(self, key: &q_jose::PublicKey) -> Result<AssertionClaims, Refusal> {
        self.parsed.verify(key).map_err(|_| Refusal::Token)?;
        Ok(self.claims)
    }
}
