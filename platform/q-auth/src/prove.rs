//! The caller's side: proofs of possession and login assertions.

use q_core::{Did, Env, hash};
use q_jose::{
    SecretKey, base64url,
    jws::{Header, sign_json},
};

use crate::{
    claims::Audience,
    dpop::{PROOF_TYP, ProofClaims},
    issue::{ASSERTION_LIFETIME_MAX, AssertionClaims},
};

/// The grant type of a login by assertion (RFC 7523 section 2.1).
pub const JWT_BEARER_GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// A DPoP proof for one request (RFC 9449 section 4.2); `url` may carry a query, which is left out.
pub fn dpop_proof(key: &SecretKey, method: &str, url: &str, access_token: Option<&str>, env: &Env) -> String {
    let claims = ProofClaims {
        jti: base64url::encode(env.random::<16>()),
        htm: method.to_owned(),
        htu: url.split(['?', '#']).next().unwrap_or_default().to_owned(),
        iat: env.now().seconds(),
        ath: access_token.map(|token| base64url::encode(hash::sha256(token.as_bytes()))),
    };
    sign_json(&Header::typ(PROOF_TYP).jwk(key.public().into()), &claims, key)
}

/// An assertion that logs `did` in at `audience`, the token endpoint or the issuer (RFC 7523 section 3).
pub fn login_assertion(did: &Did, key: &SecretKey, audience: &str, env: &Env) -> String {
    let now = env.now().seconds();
    let claims = AssertionClaims {
        iss: did.clone(),
        sub: did.clone(),
        aud: Audience::One(audience.to_owned()),
        exp: now + ASSERTION_LIFETIME_MAX.as_seconds(),
        iat: now,
        jti: base64url::encode(env.random::<16>()),
    };
    sign_json(&Header::typ("JWT").kid(q_did::key_id(did, &key.public())), &claims, key)
}
