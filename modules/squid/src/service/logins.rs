//! Logging in: a self-signed assertion becomes an access token (RFC 7523, RFC 9449).

use q_auth::{
    Claims,
    claims::{Audience, Confirmation, House, LIFETIME_MAX},
    codes::Refusal,
    dpop,
    issue::{self, Assertion},
    prove::JWT_BEARER_GRANT,
};
use q_core::{
    AuditEntry, Did, Span, Timestamp, Verdict,
    caller::{ACR_ONE_KEY, ACR_TWO_KEYS},
};
use q_db::Tx;
use q_did::multikey_of;
use q_jose::{PublicKey, base64url};
use squid_api::{Status, TokenRequest, TokenResponse, VerificationLevel};

use crate::{
    Squid,
    domain::scope,
    error::Error,
    service::{
        identities::{first_second, here},
        sessions::end_one,
    },
    store::{self, identities::Stored},
};

/// The path of the token endpoint below the origin.
pub const TOKEN_PATH: &str = "/oauth2/token";
/// The most live sessions of one identity; a further login ends the oldest.
pub const SESSIONS_MAX: usize = 50;
/// The longest `client_id`, in bytes; with the other claims it keeps a token below 1,000 bytes.
const CLIENT_ID_BYTES_MAX: usize = 100;

/// A login that is about to begin.
#[derive(Clone)]
pub(crate) struct Login {
    did: Did,
    kid: String,
    client_id: String,
    jkt: Option<String>,
    session_id: String,
}

impl Login {
    pub(crate) fn session_id(&self) -> &str {
        &self.session_id
    }
}

/// How and when whoever acts proved themselves.
pub(crate) struct Proof {
    /// How well.
    pub(crate) acr: Option<String>,
    /// When.
    pub(crate) at: Timestamp,
}

/// A login that was let in.
pub(crate) struct Admitted {
    identity: Stored,
    /// Whose sub-identity it is.
    parent: Option<Did>,
    /// The instant of the host, by which tokens are dated.
    now: Timestamp,
}

/// A login whose assertions hold, before the store has had its say.
#[derive(Clone)]
struct Asserted {
    login: Login,
    /// The version of the log the assertion's key was checked against.
    version_id: String,
    /// The assertion, and that of the second key if one was proved: name and end of each.
    used: Vec<(String, Timestamp)>,
    /// The second key that was proved.
    second_key: Option<String>,
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
        let is_two = request
            .acr_values
            .as_deref()
            .is_some_and(|wanted| wanted.split(' ').any(|acr| acr == ACR_TWO_KEYS));
        // A key may have been rotated between the look into the directory and the commit: once more, then.
        for _ in 0..2 {
            let mut asserted =
                self.check_assertion(assertion, request.client_id.as_deref(), jkt.clone()).await?;
            if is_two {
                let second = request.second_assertion.as_deref().ok_or(Error::Unmet)?;
                self.check_second(second, &mut asserted).await?;
            }
            let attempt = asserted.clone();
            let login = &asserted.login;
            match self.db.write(move |tx| keep(tx, &attempt)).await? {
                Kept::As(admitted) => {
                    let acr = Some(if is_two { ACR_TWO_KEYS } else { ACR_ONE_KEY }.to_owned());
                    let at = admitted.now;
                    return Ok(self.token(login, &admitted, request.scope, &Proof { acr, at }));
                }
                Kept::StaleKeys => self.directory.forget(&login.did),
                Kept::Inactive(status) => return Err(Error::Inactive(status)),
                Kept::Refused => return Err(Error::Grant),
            }
        }
        Err(Error::Grant)
    }

    /// Checks the assertion of a second key. Whether the store knows the key is asked in the login's own write.
    async fn check_second(&self, text: &str, asserted: &mut Asserted) -> Result<(), Error> {
        let (assertion, key) = self.read_assertion(text)?;
        let did = &asserted.login.did;
        // Compared before anything is verified: nobody else's signature is of interest.
        if here(&assertion.claims.sub).ok().as_ref() != Some(did) {
            return Err(Error::Grant);
        }
        let kid = assertion.kid.clone();
        let Ok(claims) = assertion.verify(&key) else {
            self.note_failure(did, &kid).await?;
            return Err(Error::Grant);
        };
        asserted.used.push((claims.jti, Timestamp::from_seconds(claims.exp)));
        asserted.second_key = Some(key.to_multikey());
        Ok(())
    }

    /// Reads an assertion meant for this server, and the key it names; its signature is still to be checked.
    pub(crate) fn read_assertion<'a>(&self, text: &'a str) -> Result<(Assertion<'a>, PublicKey), Error> {
        let now = self.env.now();
        let endpoints: Vec<String> = self.bases.iter().map(|base| format!("{base}{TOKEN_PATH}")).collect();
        let audiences: Vec<&str> =
            std::iter::once(self.origin.as_str()).chain(endpoints.iter().map(String::as_str)).collect();
        let assertion = Assertion::parse(text, &audiences, now).map_err(|refusal| match refusal {
            Refusal::ClockSkew => Error::ClockSkew(now),
            _ => Error::Grant,
        })?;
        let (named, key) = multikey_of(&assertion.kid).ok_or(Error::Grant)?;
        if here(&named).map_err(|_| Error::Grant)? != here(&assertion.claims.sub).map_err(|_| Error::Grant)? {
            return Err(Error::Grant);
        }
        Ok((assertion, key))
    }

    /// A login of `did` with nothing but fresh names.
    pub(crate) fn new_login(&self, did: &Did, kid: &str, client_id: &str, jkt: Option<String>) -> Login {
        Login {
            did: did.clone(),
            kid: kid.to_owned(),
            client_id: client_id.to_owned(),
            jkt,
            session_id: base64url::encode(self.env.random::<16>()),
        }
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
    ) -> Result<Asserted, Error> {
        let (assertion, key) = self.read_assertion(text)?;
        let keys = self.directory.resolve(&assertion.claims.sub).await.map_err(|_| Error::Grant)?;
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
        Ok(Asserted {
            login: self.new_login(&keys.did, &kid, &client_id, jkt),
            version_id: keys.version_id.clone(),
            used: vec![(claims.jti, Timestamp::from_seconds(claims.exp))],
            second_key: None,
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

    pub(crate) fn token(
        &self,
        login: &Login,
        admitted: &Admitted,
        scope: Option<String>,
        proof: &Proof,
    ) -> TokenResponse {
        let identity = &admitted.identity;
        let made_at = made_at(admitted.now, identity.not_before);
        let lifetime_seconds = LIFETIME_MAX.as_seconds();
        let is_two = proof.acr.as_deref() == Some(ACR_TWO_KEYS);
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
            auth_time: Some(if proof.at == admitted.now { made_at } else { proof.at.seconds() }),
            acr: proof.acr.clone(),
            // Two keys are two proofs of possession; that they are two factors is their owner's doing (RFC 8176).
            amr: if is_two { vec!["pop".into(), "pop2".into()] } else { vec!["pop".into()] },
            cnf: login.jkt.clone().map(|jkt| Confirmation { jkt }),
            q: House {
                typ: Some(identity.kind.as_str().into()),
                lvl: Some(VerificationLevel::Unverified.as_str().into()),
                par: admitted.parent.clone(),
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
    As(Box<Admitted>),
    StaleKeys,
    /// The keys are the identity's, which may not log in.
    Inactive(Status),
    Refused,
}

fn keep(tx: &mut Tx<'_>, asserted: &Asserted) -> Result<Kept, Error> {
    let login = &asserted.login;
    let Some(identity) = store::identities::find(tx, &login.did)? else { return Ok(Kept::Refused) };
    if identity.head.version_id != asserted.version_id {
        return Ok(Kept::StaleKeys);
    }
    if identity.status != Status::Active {
        return Ok(Kept::Inactive(identity.status));
    }
    if let Some(second) = &asserted.second_key
        && !store::second_keys::list(tx, &login.did)?.iter().any(|(key, _)| key == second)
    {
        return Ok(Kept::Refused);
    }
    for (jti, ends_at) in &asserted.used {
        if !store::sessions::use_assertion(tx, &login.did, jti, *ends_at)? {
            return Ok(Kept::Refused);
        }
    }
    let admitted = open_session(tx, login, identity, None)?;
    let entry = AuditEntry::change("AUTH_SUCCESS", Some(&login.did), format!("session:{}", login.session_id));
    let details = serde_json::json!({
        "grant": "jwt-bearer", "isSenderBound": login.jkt.is_some(), "hasSecondKey": asserted.second_key.is_some(),
    });
    tx.audit(entry.family("authentication").details(details))?;
    Ok(Kept::As(Box::new(admitted)))
}

/// Begins a session of `identity`, ending the oldest where there are too many; `switched_by` is the parent that takes it.
pub(crate) fn open_session(
    tx: &mut Tx<'_>,
    login: &Login,
    identity: Stored,
    switched_by: Option<&Did>,
) -> Result<Admitted, Error> {
    // Tokens are checked by the clocks of hosts, everybody's; rows by the store's, which does not follow a host's jump.
    let (now, told) = (tx.now(), tx.env().now());
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
        switched_by: switched_by.cloned(),
    };
    store::sessions::insert(tx, &session)?;
    let parent = store::links::of_child(tx, &login.did)?.into_iter().next().map(|link| link.parent);
    Ok(Admitted { identity, parent, now: told })
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
