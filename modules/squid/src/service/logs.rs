//! Logs: appended to by their owners, read by everybody.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use q_auth::{LogLoader, Standing, directory::DirectoryError};
use q_core::{AuditEntry, Did, Verdict};
use q_db::{Db, DbError, Tx};
use q_did::{
    Head, Policy, Refused, Rule,
    entry::{ENTRY_BYTES_MAX, Entry},
    log::LOG_BYTES_MAX,
};
use serde_json::Value;
use squid_api::{
    LogHead, Status,
    events::{IdentityDeleted, IdentityUpdated, RemovedKey},
};

use crate::{
    Squid,
    domain::{
        identity::check_place,
        key_change::{self, KeyChange},
    },
    error::Error,
    service::{
        family::standing,
        identities::{end_sessions, here},
    },
    store::{self, identities::Hold},
};

/// An entry that was judged good on top of a head.
struct Accepted {
    did: Did,
    from: String,
    head: Head,
    line: String,
    change: KeyChange,
    compromised: bool,
}

impl Squid {
    /// Appends an entry; its own proof says that it may.
    pub async fn append(&self, did: &Did, entry: &Value, compromised: bool) -> Result<LogHead, Error> {
        let did = here(did)?;
        let lookup = did.clone();
        let found = self
            .db
            .read(move |reader| -> Result<_, DbError> {
                let identity = store::identities::find(reader, &lookup)?;
                let length = store::log_entries::bytes(reader, &lookup)?;
                Ok(identity.zip(store::log_entries::newest(reader, &lookup)?).map(|found| (found, length)))
            })
            .await?;
        let ((identity, newest), length) = found.ok_or(Error::NotFound)?;
        let version = identity.head.version + 1;
        let refused = |rule| Error::Log(Refused { version, rule });
        let entry = Entry::parse(&entry.to_string()).map_err(refused)?;
        let newest = Entry::parse(&newest).map_err(refused)?;
        if entry == newest {
            return Ok(LogHead { version_id: newest.version_id });
        }
        if entry.version().is_some_and(|number| number != version) && !identity.head.deactivated {
            return Err(Error::LogConflict(identity.head.version_id));
        }
        // Judged before the transaction: a signature takes longer than the commit should.
        let head = identity.head.next(&entry, self.env.now(), Policy::House).map_err(refused)?;
        check_place(&head, &self.host).map_err(Error::Log)?;
        let line = entry.to_line();
        // Nobody reads a longer log, its owner's login included; its end always has room.
        let reserve = if head.deactivated { 0 } else { ENTRY_BYTES_MAX };
        if length + (line.len() + 1 + reserve) as u64 > LOG_BYTES_MAX as u64 {
            return Err(refused(Rule::Size));
        }
        let accepted = Accepted {
            change: key_change::between(&newest.state, &entry.state),
            from: identity.head.version_id,
            line,
            did: did.clone(),
            head,
            compromised,
        };
        let version_id = accepted.head.version_id.clone();
        self.db.write(move |tx| keep(tx, &accepted)).await?;
        self.directory.forget(&did);
        Ok(LogHead { version_id })
    }

    /// The content of `did.jsonl`.
    pub async fn log_text(&self, scid: &str) -> Result<String, Error> {
        let did = Did::squid(scid).map_err(|_| Error::NotFound)?;
        let text = self.db.read(move |reader| store::log_entries::text(reader, &did)).await?;
        text.ok_or(Error::NotFound)
    }
}

/// Writes the entry if the log still ends where it was judged: of two that race, one is kept.
fn keep(tx: &mut Tx<'_>, accepted: &Accepted) -> Result<(), Error> {
    let Accepted { did, from, head, line, change, compromised } = accepted;
    if !store::identities::set_head(tx, did, from, head)? {
        let now = store::identities::find(tx, did)?.ok_or(Error::NotFound)?;
        return Err(Error::LogConflict(now.head.version_id));
    }
    store::log_entries::insert(tx, did, head.version, line)?;
    let removed = |kid: &String| RemovedKey { kid: kid.clone(), compromised: *compromised };
    tx.emit(&IdentityUpdated {
        did: did.clone(),
        version_id: head.version_id.clone(),
        keys_added: change.added.clone(),
        keys_removed: change.removed.iter().map(removed).collect(),
    })?;
    let (action, verdict) = match (head.deactivated, compromised) {
        (true, _) => ("IDENTITY_DELETED", Verdict::Allow),
        (false, true) => ("KEY_COMPROMISED", Verdict::Warn),
        (false, false) => ("KEY_ROTATED", Verdict::Allow),
    };
    let details = serde_json::json!({"versionId": head.version_id, "keysRemoved": change.removed});
    tx.audit(AuditEntry::change(action, Some(did), did).verdict(verdict).details(details))?;
    if change.ends_sessions || head.deactivated {
        end_sessions(tx, did)?;
    }
    if head.deactivated {
        if !store::links::children(tx, did, false)?.is_empty() {
            return Err(Error::HasChildren);
        }
        store::second_keys::delete_all(tx, did)?;
        store::identities::set_status(tx, did, Status::Deleted, &Hold::Operator)?;
        store::identities::erase_profile(tx, did)?;
        let by = Some(did.clone());
        tx.emit(&IdentityDeleted { did: did.clone(), reason: "deactivated by its owner".into(), by })?;
    }
    Ok(())
}

/// Gives the key directory of this process the logs of this store.
pub(crate) struct OwnLogs(pub(crate) Db);

impl LogLoader for OwnLogs {
    fn load<'a>(&'a self, scid: &'a str) -> BoxFuture<'a, Result<Option<String>, DirectoryError>> {
        Box::pin(async move {
            let did = Did::squid(scid).map_err(|_| DirectoryError::Unknown)?;
            let text = self.0.read(move |reader| store::log_entries::text(reader, &did)).await;
            text.map_err(|error: DbError| DirectoryError::Unavailable(error.to_string()))
        })
    }

    fn standing<'a>(&'a self, did: &'a Did) -> BoxFuture<'a, Result<Option<Standing>, DirectoryError>> {
        Box::pin(async move {
            let did = did.clone();
            let found = self.0.read(move |reader| standing(reader, &did)).await;
            found.map_err(|error: DbError| DirectoryError::Unavailable(error.to_string()))
        })
    }
}

impl Squid {
    /// The logs of this store, for key directories of the same process.
    pub fn logs(&self) -> Arc<dyn LogLoader> {
        Arc::new(OwnLogs(self.db.clone()))
    }
}

/// A rule that an entry of a stored log breaks, for `verify`.
pub(crate) fn rule_of(refused: Refused) -> (&'static str, u32) {
    let rule: Rule = refused.rule;
    (rule.name(), refused.version)
}
