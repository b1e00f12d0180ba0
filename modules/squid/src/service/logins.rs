//! Logging in: a self-signed assertion becomes an access token (RFC 7523, RFC 9449).

use q_auth::{
    Claims,
    claims::{Audience, Confirmation, House, LIFETIME_MAX},
    codes::Refusal,
    dpop,
    issue::{self, Assertion},
    prove::JWT_BEARER_GRANT,
};
use q_core::{AuditEntry, Did, Span, Timestamp, Verdict, caller::ACR_ONE_KEY};
use q_db::Tx;
use q_did::multikey_of;
use q_jose::base64url;
use squid_api::{Status, TokenRequest, TokenResponse, VerificationLevel};

use crate::{
    Squid,
    domain::scope,
    error::Error,
    service::{identities::first_second, sessions::end_one},
    store::{self, identities::Stored},
};

/// The path of the token endpoint below the origin.
pub const TOKEN_PATH: &str = "/oauth2/token";
/// The most live sessions of one identity; a further login ends the oldest.
pub const SESSIONS_MAX: usize = 50;
/// The longest `client_id`, in bytes; with the other claims it keeps a token below 1,000 bytes.
const CLIENT_ID_BYTES_MAX: usize = 100;

/// A login whose assertion holds, before the store has had its say.
#[derive(Clone)]
struct Login {
    did: Did,
    /// The version of the log the assertion's key was checked against.
    version_id: String,
    kid: String,
    jti: String,
    assertion_ends_at: Timestamp,
    client_id: String,
    jkt: Option<String>,
    session_id: String,
}

impl Squid {
    /// Answers the token endpoint. `proof` is the content of the `DPoP` header.
    pub async fn issue_token(
        &self,
        request: TokenRequest,
        proof: Option<&str>,
    ) -> Result<TokenResponse, Error> {
        if request.grant_type != JWT_BEARER_GRANT {
            return Err(Error::UnsupportedGrant);
        }
        if request.scope.as_deref().is_some_and(|scope| scope::parse(scope).is_none()) {
            return Err(Error::Scope);
        }
        let jkt = proof.map(|proof| self.check_proof(proof)).transpose()?;
        let assertion = request.assertion.as_deref().ok_or(Error::Grant)?;
        // A key may have been rotated between the look into the directory and the commit: once more, then.
        for _ in 0..2 {
            let login = self.check_assertion(assertion, request.client_id.as_deref(), jkt.clone()).await?;
            let attempt = login.clone();
            match self.db.write(move |tx| keep(tx, &attempt)).await? {
                Kept::As(identity, now) => return Ok(self.token(&login, &identity, request.scope, now)),
                Kept::StaleKeys => self.directory.forget(&login.did),
                Kept::Refused => return Err(Error::Grant),
            }
        }
        Err(Error::Grant)
    }

    fn check_proof(&self, proof: &str) -> Result<String, Error> {
        let request =
            dpop::Request { method: "POST", bases: &self.bases, path: TOKEN_PATH, access_token_sha256: None };
        dpop::check(proof, request, self.env.now(), &self.replays).map_err(|refusal| match refusal {
            Refusal::Overloaded => Error::RateLimited { retry_after: 60 },
            _ => Error::Proof,
        })
    }

    async fn check_assertion(
        &self,
        text: &str,
        client_id: Option<&str>,
        jkt: Option<String>,
    ) -> Result<Login, Error> {
        let now = self.env.now();
        let endpoints: Vec<String> = self.bases.iter().map(|base| format!("{base}{TOKEN_PATH}")).collect();
        let audiences: Vec<&str> =
            std::iter::once(self.origin.as_str()).chain(endpoints.iter().map(String::as_str)).collect();
        let assertion = Assertion::parse(text, &audiences, now).map_err(|refusal| match refusal {
            Refusal::ClockSkew => Error::ClockSkew(now),
            _ => Error::Grant,
        })?;
        let (named, key) = multikey_of(&assertion.kid).ok_or(Error::Grant)?;
        let keys = self.directory.resolve(&named).await.map_err(|_| Error::Grant)?;
        let kid = q_did::key_id(&keys.did, &key);
        if assertion.claims.sub != keys.did || !keys.authenticates_with(&key) {
            return Err(Error::Grant);
        }
        let Ok(claims) = assertion.verify(&key) else {
            self.note_failure(&keys.did, &kid).await?;
            return Err(Error::Grant);
        };
        let client_id = client_id.map_or_else(|| keys.did.to_string(), str::to_owned);
        if client_id.is_empty() || client_id.len() > CLIENT_ID_BYTES_MAX {
            return Err(Error::Grant);
        }
        Ok(Login {
            did: keys.did.clone(),
            version_id: keys.version_id.clone(),
            kid,
            jti: claims.jti,
            assertion_ends_at: Timestamp::from_seconds(claims.exp),
            client_id,
            jkt,
            session_id: base64url::encode(self.env.random::<16>()),
        })
    }

    /// Somebody named a key the identity holds and could not sign with it.
    async fn note_failure(&self, did: &Did, kid: &str) -> Result<(), Error> {
        let (did, kid) = (did.clone(), kid.to_owned());
        let note = move |tx: &mut Tx<'_>| -> Result<(), Error> {
            let entry = AuditEntry::change("AUTH_FAILURE", None, &did)
                .family("authentication")
                .verdict(Verdict::Deny)
                .details(serde_json::json!({"kid": kid}));
            tx.audit(entry)?;
            Ok(())
        };
        self.db.write(note).await
    }

    fn token(
        &self,
        login: &Login,
        identity: &Stored,
        scope: Option<String>,
        now: Timestamp,
    ) -> TokenResponse {
        let made_at = made_at(now, identity.not_before);
        let lifetime_seconds = LIFETIME_MAX.as_seconds();
        let claims = Claims {
            iss: self.origin.clone(),
            sub: login.did.clone(),
            aud: Audience::One(self.origin.clone()),
            exp: made_at + lifetime_seconds,
            iat: made_at,
            nbf: None,
            jti: base64url::encode(self.env.random::<16>()),
            client_id: login.client_id.clone(),
            scope: scope.clone(),
            sid: Some(login.session_id.clone()),
            auth_time: Some(made_at),
            acr: Some(ACR_ONE_KEY.into()),
            amr: vec!["pop".into()],
            cnf: login.jkt.clone().map(|jkt| Confirmation { jkt }),
            q: House {
                typ: Some(identity.kind.as_str().into()),
                lvl: Some(VerificationLevel::Unverified.as_str().into()),
                par: None,
                svc: identity.service.clone(),
            },
        };
        let signers = self.signers.load();
        TokenResponse {
            access_token: issue::access_token(&claims, &signers.active_kid, &signers.active),
            token_type: if login.jkt.is_some() { "DPoP".into() } else { "Bearer".into() },
            expires_in: lifetime_seconds.unsigned_abs(),
            scope,
        }
    }
}

/// The second a token says it was made in.
///
/// Never before the identity's `not_before`, or a login right after a revocation would be dead at birth.
fn made_at(now: Timestamp, not_before: Option<Timestamp>) -> i64 {
    not_before.map_or(now.seconds(), |instant| now.seconds().max(first_second(instant)))
}

/// What became of a login.
enum Kept {
    As(Box<Stored>, Timestamp),
    StaleKeys,
    Refused,
}

fn keep(tx: &mut Tx<'_>, login: &Login) -> Result<Kept, Error> {
    // Tokens are checked by the clocks of hosts, everybody's; rows by the store's, which does not follow a host's jump.
    let (now, told) = (tx.now(), tx.env().now());
    let Some(identity) = store::identities::find(tx, &login.did)? else { return Ok(Kept::Refused) };
    if identity.status != Status::Active {
        return Ok(Kept::Refused);
    }
    if identity.head.version_id != login.version_id {
        return Ok(Kept::StaleKeys);
    }
    if !store::sessions::use_assertion(tx, &login.did, &login.jti, login.assertion_ends_at)? {
        return Ok(Kept::Refused);
    }
    let live = store::sessions::live(tx, &login.did, now)?;
    for oldest in live.iter().skip(SESSIONS_MAX - 1) {
        end_one(tx, oldest)?;
    }
    let session = store::sessions::Stored {
        id: login.session_id.clone(),
        did: login.did.clone(),
        client_id: login.client_id.clone(),
        kid: login.kid.clone(),
        jkt: login.jkt.clone(),
        created_at: now,
        expires_at: now.max(told) + LIFETIME_MAX + Span::seconds(1),
    };
    store::sessions::insert(tx, &session)?;
    let entry = AuditEntry::change("AUTH_SUCCESS", Some(&login.did), format!("session:{}", session.id));
    let details = serde_json::json!({"grant": "jwt-bearer", "isSenderBound": session.jkt.is_some()});
    tx.audit(entry.family("authentication").details(details))?;
    Ok(Kept::As(Box::new(identity), told))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_made_right_after_a_revocation_is_not_dead_at_birth() {
        let at = |micros: i64| Timestamp::from_micros(1_780_272_000_000_000 + micros);
        assert_eq!(made_at(at(500_000), None), 1_780_272_000);
        assert_eq!(made_at(at(500_000), Some(at(400_000))), 1_780_272_001);
        assert_eq!(made_at(at(500_000), Some(at(0))), 1_780_272_000);
        assert_eq!(made_at(at(1_000_001), Some(at(400_000))), 1_780_272_001);
    }
}
