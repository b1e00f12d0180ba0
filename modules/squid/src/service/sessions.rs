//! Sessions: listed and ended by their owners, ended by whoever holds their token.

use q_auth::claims::Claims;
use q_core::{AuditEntry, Did};
use q_db::{DbError, Tx};
use q_jose::jws::Parsed;
use squid_api::{Session, events::SessionRevoked};

use crate::{
    Squid,
    error::Error,
    service::identities::{end_sessions, here},
    store::{self, sessions::Stored},
};

impl Squid {
    /// The live sessions of an identity.
    pub async fn sessions(&self, did: &Did) -> Result<Vec<Session>, Error> {
        let (did, now) = (did.clone(), self.env.now());
        let stored = self.db.read(move |reader| store::sessions::live(reader, &did, now)).await?;
        Ok(stored.into_iter().map(session).collect())
    }

    /// Ends one session of an identity.
    pub async fn end_session(&self, did: &Did, id: &str) -> Result<(), Error> {
        let (did, id) = (did.clone(), id.to_owned());
        let end = move |tx: &mut Tx<'_>| -> Result<(), Error> {
            match store::sessions::find(tx, &id)? {
                Some(session) if session.did == did => end_one(tx, &session),
                Some(_) | None => Err(Error::SessionNotFound),
            }
        };
        self.db.write(end).await
    }

    /// Ends all sessions of an identity.
    pub async fn end_all_sessions(&self, did: &Did) -> Result<(), Error> {
        let did = here(did)?;
        let end = move |tx: &mut Tx<'_>| -> Result<(), Error> {
            store::identities::find(tx, &did)?.ok_or(Error::NotFound)?;
            end_sessions(tx, &did)
        };
        self.db.write(end).await
    }

    /// Ends the session of a token; a text that is no token of ours changes nothing.
    pub async fn give_back(&self, token: &str) -> Result<(), Error> {
        let Some(sid) = self.session_of(token) else { return Ok(()) };
        let end = move |tx: &mut Tx<'_>| -> Result<(), Error> {
            match store::sessions::find(tx, &sid)? {
                Some(session) => end_one(tx, &session),
                None => Ok(()),
            }
        };
        self.db.write(end).await
    }

    /// The session a token belongs to, if one of our published keys signed it.
    fn session_of(&self, token: &str) -> Option<String> {
        let parsed = Parsed::parse(token, q_auth::authenticator::TOKEN_BYTES_MAX).ok()?;
        if parsed.header.typ.as_deref() != Some(q_auth::claims::ACCESS_TOKEN_TYP) {
            return None;
        }
        let signers = self.signers.load();
        let key = signers.published.keys.iter().find(|key| key.kid == parsed.header.kid)?;
        let claims: Claims = parsed.verify(key.public_key()).ok()?.claims().ok()?;
        claims.sid
    }

    /// Forgets sessions and assertions that have ended.
    pub(crate) async fn sweep(&self) -> Result<(), Error> {
        // An assertion counts until its end plus the permitted skew; ten minutes are well beyond that.
        let instant = self.env.now() - q_core::Span::seconds(600);
        Ok(self.db.write(move |tx| -> Result<(), DbError> { store::sessions::sweep(tx, instant) }).await?)
    }
}

/// Ends one session, for everybody to hear.
pub(crate) fn end_one(tx: &mut Tx<'_>, session: &Stored) -> Result<(), Error> {
    store::sessions::delete(tx, &session.id)?;
    let epoch = store::epoch::next(tx)?;
    tx.emit(&SessionRevoked { sid: Some(session.id.clone()), epoch, ..SessionRevoked::default() })?;
    let entry = AuditEntry::change("SESSION_REVOKED", Some(&session.did), format!("session:{}", session.id));
    tx.audit(entry.family("authentication"))?;
    Ok(())
}

fn session(stored: Stored) -> Session {
    Session {
        id: stored.id,
        client_id: stored.client_id,
        kid: stored.kid,
        is_sender_bound: stored.jkt.is_some(),
        created_at: stored.created_at,
        expires_at: stored.expires_at,
    }
}
