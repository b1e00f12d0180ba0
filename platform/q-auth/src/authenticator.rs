//! The check every request passes.

use std::{collections::HashMap, sync::Arc};

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use http::{HeaderMap, header, request::Parts};
use parking_lot::RwLock;
use q_contract::{Authenticate, Problem, Target, codes};
use q_core::{Caller, Env, Principal, Timestamp, hash};
use q_jose::{JwkSet, PublicKey, jws::Parsed};

use crate::{
    claims::{ACCESS_TOKEN_TYP, Claims, LIFETIME_MAX, SKEW_MAX},
    codes::Refusal,
    dpop::{self, ReplaySet},
    generations::Generations,
    revocations::Revocations,
};

/// The longest access token read, in bytes.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;
/// The header in which a service passes the token of the identity it acts for.
pub const SUBJECT_TOKEN_HEADER: &str = "q-subject-token";
/// Tokens whose signature need not be checked again, per generation.
const CACHE_HALF_MAX: usize = 8 * 1024;
/// Headers of the first design, whose signature covered public data only.
const FORMER_HEADERS: [&str; 4] = ["x-squid-id", "x-sig", "x-subid", "x-qonsent"];

/// What a token must say to be for us.
#[derive(Debug, Clone)]
pub struct Expected {
    /// The issuer: the origin of the instance's login server.
    pub issuer: String,
    /// The audience: the origin of the instance.
    pub audience: String,
}

/// The issuer's keys could not be loaded; what is known stays in use.
#[derive(Debug, thiserror::Error)]
#[error("the issuer's keys could not be loaded: {0}")]
pub struct LoadFailed(pub String);

/// Fetches the issuer's published keys.
pub trait KeyLoader: Send + Sync + 'static {
    /// The set at `/oauth2/jwks`.
    fn load(&self) -> BoxFuture<'_, Result<JwkSet, LoadFailed>>;
}

/// Checks tokens and proofs against keys and revocations that are already here.
pub struct Authenticator {
    env: Env,
    expected: Expected,
    keys: ArcSwap<HashMap<String, PublicKey>>,
    revocations: Arc<Revocations>,
    /// By SHA-256 of the token: its signature held. Times and revocation are checked every time.
    known: RwLock<Generations<hash::Sha256, Arc<Known>>>,
    replays: ReplaySet,
    /// Told when a token names a key that is not known: time to look for new ones.
    wants_keys: tokio::sync::Notify,
}

/// A token whose signature held.
#[derive(Debug)]
struct Known {
    kid: String,
    claims: Claims,
    scopes: Vec<String>,
}

impl Authenticator {
    /// An authenticator that knows no key yet, and so refuses every token.
    pub fn new(env: Env, expected: Expected, revocations: Arc<Revocations>) -> Self {
        Self {
            env,
            expected,
            keys: ArcSwap::default(),
            revocations,
            known: RwLock::new(Generations::new(CACHE_HALF_MAX)),
            replays: ReplaySet::default(),
            wants_keys: tokio::sync::Notify::new(),
        }
    }

    /// Believes these keys, and only these, from now on.
    pub fn set_keys(&self, set: &JwkSet) {
        let named = set.keys.iter().filter_map(|key| Some((key.kid.clone()?, *key.public_key())));
        self.keys.store(Arc::new(named.collect()));
    }

    /// Loads the keys anew; on failure the known ones stay.
    pub async fn refresh(&self, loader: &dyn KeyLoader) -> Result<(), LoadFailed> {
        let set = loader.load().await?;
        self.set_keys(&set);
        Ok(())
    }

    /// Waits until a token has named an unknown key.
    pub async fn keys_wanted(&self) {
        self.wants_keys.notified().await;
    }

    /// What has been revoked.
    pub fn revocations(&self) -> &Arc<Revocations> {
        &self.revocations
    }

    /// Checks a token by itself: signature, times, audience, revocation. Says nothing about its sender.
    pub fn check_token(&self, token: &str) -> Result<Claims, Refusal> {
        self.token(token, self.env.now()).map(|(known, _)| known.claims.clone())
    }

    fn caller(&self, headers: &HeaderMap, target: Target<'_>, now: Timestamp) -> Result<Caller, Refusal> {
        let Some(value) = only(headers, &header::AUTHORIZATION).map_err(|()| Refusal::Token)? else {
            return Ok(Caller::Anonymous);
        };
        let (scheme, token) = value.split_once(' ').ok_or(Refusal::Token)?;
        let (known, digest) = self.token(token, now)?;
        let proof = only(headers, "dpop").map_err(|()| Refusal::Proof)?;
        let is_sender_bound = match &known.claims.cnf {
            Some(confirmation) if scheme.eq_ignore_ascii_case("dpop") => {
                let request = dpop::Request {
                    method: target.method,
                    bases: target.bases,
                    path: target.path,
                    access_token_sha256: Some(&digest),
                };
                let jkt = dpop::check(proof.ok_or(Refusal::Proof)?, request, now, &self.replays)?;
                if jkt != confirmation.jkt {
                    return Err(Refusal::Proof);
                }
                true
            }
            // A bound token without its proof is a stolen one (RFC 9449 section 7.2).
            Some(_) => return Err(Refusal::Proof),
            None if scheme.eq_ignore_ascii_case("bearer") && proof.is_none() => false,
            None => return Err(Refusal::Token),
        };
        let principal = known.principal(is_sender_bound);
        let subject = only(headers, SUBJECT_TOKEN_HEADER).map_err(|()| Refusal::Token)?;
        match (&known.claims.q.svc, subject) {
            (None, None) => Ok(Caller::Identity(principal)),
            (Some(service), None) => Ok(Caller::Service(principal, service.clone())),
            (Some(_), Some(subject)) => {
                // The identity's own proof is not asked for: the service proves itself in its stead.
                let (subject, _) = self.token(subject, now)?;
                let actor = Some(principal.did);
                Ok(Caller::Identity(Principal { actor, ..subject.principal(is_sender_bound) }))
            }
            // Only a service may speak for another.
            (None, Some(_)) => Err(Refusal::Token),
        }
    }

    /// A checked token, and its digest.
    fn token(&self, token: &str, now: Timestamp) -> Result<(Arc<Known>, hash::Sha256), Refusal> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Refusal::Token);
        }
        let digest = hash::sha256(token.as_bytes());
        let known = self.known.read().peek(&digest).map(|(known, is_young)| (known.clone(), is_young));
        let known = match known {
            Some((known, true)) => known,
            Some((known, false)) => {
                self.known.write().insert(digest, known.clone());
                known
            }
            None => {
                let known = Arc::new(self.verified(token)?);
                known.check_times(now)?;
                self.known.write().insert(digest, known.clone());
                known
            }
        };
        known.check_times(now)?;
        // A token must not outlive its key in the cache.
        if !self.keys.load().contains_key(&known.kid) {
            return Err(Refusal::Token);
        }
        if self.revocations.covers(&known.kid, &known.claims) {
            return Err(Refusal::Revoked);
        }
        Ok((known, digest))
    }

    /// The steps whose outcome cannot change: form, type, key, signature, issuer, audience, lifetime.
    fn verified(&self, token: &str) -> Result<Known, Refusal> {
        let parsed = Parsed::parse(token, TOKEN_BYTES_MAX).map_err(|_| Refusal::Token)?;
        if parsed.header.typ.as_deref() != Some(ACCESS_TOKEN_TYP) {
            return Err(Refusal::Token);
        }
        let kid = parsed.header.kid.clone().ok_or(Refusal::Token)?;
        let Some(key) = self.keys.load().get(&kid).copied() else {
            self.wants_keys.notify_one();
            return Err(Refusal::Token);
        };
        let verified = parsed.verify(&key).map_err(|_| Refusal::Token)?;
        let claims: Claims = verified.claims().map_err(|_| Refusal::Token)?;
        let scopes: Vec<String> =
            claims.scope.iter().flat_map(|scope| scope.split(' ')).map(str::to_owned).collect();
        let is_ours = claims.iss == self.expected.issuer && claims.aud.includes(&self.expected.audience);
        let lifetime = claims.expires_at().since(claims.issued_at());
        // An empty scope would read as "every scope" further on.
        let is_scoped = !scopes.iter().any(String::is_empty);
        if is_ours && is_scoped && lifetime <= LIFETIME_MAX {
            Ok(Known { kid, claims, scopes })
        } else {
            Err(Refusal::Token)
        }
    }
}

impl Known {
    fn check_times(&self, now: Timestamp) -> Result<(), Refusal> {
        let claims = &self.claims;
        let begins_at = Timestamp::from_seconds(claims.iat.max(claims.nbf.unwrap_or(claims.iat)));
        if begins_at > now + SKEW_MAX {
            return Err(Refusal::ClockSkew);
        }
        if claims.expires_at() + SKEW_MAX <= now { Err(Refusal::Expired) } else { Ok(()) }
    }

    fn principal(&self, is_sender_bound: bool) -> Principal {
        Principal {
            scopes: self.scopes.clone(),
            client: Some(self.claims.client_id.clone()),
            is_sender_bound,
            acr: self.claims.acr.clone(),
            kind: self.claims.q.typ.as_deref().and_then(|word| word.parse().ok()),
            parent: self.claims.q.par.clone(),
            ..Principal::new(self.claims.sub.clone(), self.claims.authenticated_at())
        }
    }
}

impl Authenticate for Authenticator {
    fn authenticate(&self, head: &Parts, target: Target<'_>) -> Result<Caller, Problem> {
        let now = self.env.now();
        let caller = self.caller(&head.headers, target, now).map_err(|refusal| refusal.problem(now))?;
        let speaks_former =
            caller == Caller::Anonymous && FORMER_HEADERS.iter().any(|name| head.headers.contains_key(*name));
        if speaks_former {
            return Err(Problem::new(&codes::UNAUTHENTICATED)
                .detail("the x-squid-id and x-sig headers are not accepted")
                .hint("send an access token: `q auth headers METHOD URL` prints one bound to your key"));
        }
        Ok(caller)
    }
}

/// The one value of a header; two of them would be read differently by two programs.
fn only(headers: &HeaderMap, name: impl header::AsHeaderName) -> Result<Option<&str>, ()> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| ()),
        (Some(_), Some(_)) => Err(()),
    }
}
