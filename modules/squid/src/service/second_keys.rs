//! Second keys: enrolled, listed, forgotten.

use q_core::{AuditEntry, Caller, Did, Principal, Timestamp, Verdict, caller::STEP_UP_FRESH};
use q_db::{DbError, Tx};
use q_did::entry::key_hash;
use q_jose::PublicKey;
use squid_api::{SecondKey, Status};

use crate::{
    Squid,
    error::Error,
    service::{
        family::alone,
        identities::{check_reason, here},
    },
    store,
};

/// The most second keys of one identity.
pub const SECOND_KEYS_MAX: usize = 5;

impl Squid {
    /// Enrols the key that signed `assertion`. The same key again is answered like the first time.
    pub async fn add_second_key(&self, caller: &Caller, assertion: &str) -> Result<SecondKey, Error> {
        let did = here(&alone(caller)?.did)?;
        let refused = |_| Error::SecondKey("the assertion is not the caller's, signed by the key just now");
        let (asserted, key) = self.read_assertion(assertion).map_err(refused)?;
        let is_own = here(&asserted.claims.sub).is_ok_and(|named| named == did);
        if !is_own || asserted.verify(&key).is_err() {
            return Err(refused(Error::Grant));
        }
        let now = self.env.now();
        let (has_stepped_up, is_fresh) = (caller.has_stepped_up(&did, now), is_fresh(alone(caller)?, now));
        let keys = self.directory.resolve(&did).await.map_err(|_| Error::NotFound)?;
        if keys.methods.iter().any(|method| method.key == key) {
            return Err(Error::SecondKey(
                "the key is one of the identity's own: whoever has that one has both",
            ));
        }
        let keep = move |tx: &mut Tx<'_>| -> Result<SecondKey, Error> {
            let identity = store::identities::find(tx, &did)?.ok_or(Error::NotFound)?;
            if !store::links::of_child(tx, &did)?.is_empty() {
                return Err(Error::TypeForbidden(
                    "a sub-identity has no second key; its parent steps up for it",
                ));
            }
            if identity.status != Status::Active {
                return Err(Error::StatusConflict(identity.status));
            }
            // The next key and the recovery key are known by their hashes.
            if identity.head.next_key_hashes.contains(&key_hash(&key)) {
                return Err(Error::SecondKey("the key is one of the identity's next ones"));
            }
            let known = store::second_keys::list(tx, &did)?;
            let text = key.to_multikey();
            let found = known.iter().find(|(known, _)| *known == text);
            let may = if known.is_empty() { is_fresh } else { has_stepped_up };
            if !may {
                return Err(Error::StepUp("second keys"));
            }
            if let Some((key, created_at)) = found {
                return Ok(SecondKey { key: key.clone(), created_at: *created_at });
            }
            if known.len() >= SECOND_KEYS_MAX {
                return Err(Error::SecondKeyLimit(SECOND_KEYS_MAX));
            }
            store::second_keys::insert(tx, &did, &text)?;
            note(tx, "SECOND_KEY_ADDED", Some(&did), &did, serde_json::json!({"key": text}))?;
            Ok(SecondKey { key: text, created_at: tx.now() })
        };
        self.db.write(keep).await
    }

    /// The second keys of an identity.
    pub async fn second_keys(&self, did: &Did) -> Result<Vec<SecondKey>, Error> {
        let did = here(did)?;
        let list = self.db.read(move |reader| store::second_keys::list(reader, &did)).await?;
        Ok(list.into_iter().map(|(key, created_at)| SecondKey { key, created_at }).collect())
    }

    /// Forgets a second key of the caller.
    pub async fn remove_second_key(&self, caller: &Caller, key: &str) -> Result<(), Error> {
        let did = here(&alone(caller)?.did)?;
        if !caller.has_stepped_up(&did, self.env.now()) {
            return Err(Error::StepUp("second keys"));
        }
        let key = PublicKey::from_multikey(key).map_err(|_| Error::SecondKeyNotFound)?.to_multikey();
        let remove = move |tx: &mut Tx<'_>| -> Result<(), Error> {
            if !store::second_keys::delete(tx, &did, &key)? {
                return Err(Error::SecondKeyNotFound);
            }
            Ok(note(tx, "SECOND_KEY_REMOVED", Some(&did), &did, serde_json::json!({"key": key}))?)
        };
        self.db.write(remove).await
    }

    /// Forgets all second keys of an identity that lost them: an operator's act.
    pub async fn reset_second_keys(&self, by: Option<&Did>, did: &Did, reason: &str) -> Result<(), Error> {
        check_reason(reason)?;
        let (did, by, reason) = (here(did)?, by.cloned(), reason.to_owned());
        let reset = move |tx: &mut Tx<'_>| -> Result<(), Error> {
            store::identities::find(tx, &did)?.ok_or(Error::NotFound)?;
            let count = store::second_keys::delete_all(tx, &did)?;
            let details = serde_json::json!({"count": count, "reason": reason});
            Ok(note(tx, "SECOND_KEYS_RESET", by.as_ref(), &did, details)?)
        };
        self.db.write(reset).await
    }
}

/// A login of the last minutes, by somebody whose token is of no use to a thief.
fn is_fresh(principal: &Principal, now: Timestamp) -> bool {
    principal.is_sender_bound && now.since(principal.authenticated_at) <= STEP_UP_FRESH
}

fn note(
    tx: &mut Tx<'_>,
    action: &str,
    by: Option<&Did>,
    did: &Did,
    details: serde_json::Value,
) -> Result<(), DbError> {
    let entry = AuditEntry::change(action, by, did).family("authentication").verdict(Verdict::Warn);
    tx.audit(entry.details(details))?;
    Ok(())
}
