//! Registering, reading and changing identities.

use std::net::IpAddr;

use q_core::{AuditEntry, Caller, Did, Timestamp};
use q_db::{DbError, Reader, Tx};
use q_did::{Head, Policy, Refused, entry::Entry, scid_of};
use serde_json::Value;
use squid_api::{
    Custody, Identity, IdentityType, PrivacyLevel, Profile, Status, VerificationLevel,
    events::{IdentityCreated, IdentitySuspended, SessionRevoked},
};

use crate::{
    Squid,
    domain::{
        identity::{Held, Viewer, change_status, check_place},
        profile,
    },
    error::Error,
    service::{
        family::{Place, StatusChange},
        sessions::end_one,
    },
    store::{
        self,
        identities::{Hold, Stored},
    },
};

/// The longest reason of an operator, in characters.
const REASON_CHARS_MAX: usize = 500;

/// What is registered.
#[derive(Debug)]
pub struct Registration {
    /// The first entry of the log.
    pub log_entry: Value,
    /// What the identity says about itself.
    pub profile: Profile,
    /// Who may see that.
    pub privacy_level: PrivacyLevel,
}

/// A change of a profile.
#[derive(Debug)]
pub struct ProfileChange {
    /// The whole new profile.
    pub profile: Profile,
    /// Who may see it; unchanged when `None`.
    pub privacy_level: Option<PrivacyLevel>,
    /// The revision the change was made from.
    pub revision: Option<u64>,
}

impl Squid {
    /// Registers an identity for somebody at `address`: of their own, or one that nobody can tie to them.
    pub async fn register(
        &self,
        new: Registration,
        kind: IdentityType,
        address: Option<IpAddr>,
    ) -> Result<Identity, Error> {
        self.registrations.count(address, self.env.now())?;
        let new = match kind {
            IdentityType::Root => new,
            // Whatever its maker asks for: a profile that anybody may read ties it to somebody.
            IdentityType::Aid => Registration { privacy_level: PrivacyLevel::Anonymous, ..new },
            IdentityType::Dao
            | IdentityType::Enterprise
            | IdentityType::Consentida
            | IdentityType::Service => return Err(Error::TypeForbidden("a parent registers it")),
        };
        self.add(new, Place::Alone(kind)).await
    }

    /// Registers the service identity of `module`: for `q init`, in process; there is no endpoint for it.
    ///
    /// Registering the same entry again is answered like the first time.
    pub async fn register_service(&self, module: &str, log_entry: Value) -> Result<Identity, Error> {
        let profile = Profile { name: module.to_owned(), ..Profile::default() };
        let new = Registration { log_entry: log_entry.clone(), profile, privacy_level: PrivacyLevel::Public };
        match self.add(new, Place::Module(module.to_owned())).await {
            Err(Error::Exists) => {
                let head = self.genesis(&log_entry)?.1;
                let held = self.held(&did_of(&head)).await?;
                let same = held.service.as_deref() == Some(module);
                if same { held.seen_by(Viewer::Itself).ok_or(Error::NotFound) } else { Err(Error::Exists) }
            }
            outcome => outcome,
        }
    }

    pub(crate) async fn add(&self, new: Registration, place: Place) -> Result<Identity, Error> {
        let (entry, head) = self.genesis(&new.log_entry)?;
        check_place(&head, &self.host).map_err(Error::Log)?;
        profile::check(&new.profile)?;
        let did = did_of(&head);
        let sealed = self.seal_profile(&did, &new.profile)?;
        let (privacy_level, line) = (new.privacy_level, entry.to_line());
        let sub_identities_max = self.sub_identities_max;
        let add = move |tx: &mut Tx<'_>| -> Result<Stored, Error> {
            let kind = place.kind();
            let status = place.status();
            let stored = Stored {
                did: did.clone(),
                kind,
                service: place.module().map(str::to_owned),
                status,
                privacy_level,
                profile: Some(sealed.clone()),
                revision: 1,
                head: head.clone(),
                not_before: None,
                created_at: tx.now(),
                updated_at: tx.now(),
                held_by: Hold::Operator,
            };
            if !store::identities::insert(tx, &stored)? {
                return Err(Error::Exists);
            }
            store::log_entries::insert(tx, &did, 1, &line)?;
            tx.emit(&IdentityCreated {
                did: did.clone(),
                kind,
                custody: Custody::Own,
                verification_level: VerificationLevel::Unverified,
                privacy_level,
                version_id: head.version_id.clone(),
            })?;
            match &place {
                Place::Below(family) => family.keep(tx, &did, sub_identities_max)?,
                Place::Alone(_) | Place::Module(_) => {
                    tx.audit(AuditEntry::change("IDENTITY_CREATED", Some(&did), &did))?;
                }
            }
            if status != Status::Active {
                // Whoever checks signatures and permissions hears that it may not act.
                let reason = "waits for an operator's consent".to_owned();
                tx.emit(&IdentitySuspended { did: did.clone(), reason, by: None })?;
            }
            Ok(stored)
        };
        let did = self.db.write(add).await?.did;
        self.held(&did).await?.seen_by(Viewer::Itself).ok_or(Error::NotFound)
    }

    pub(crate) fn genesis(&self, log_entry: &Value) -> Result<(Entry, Head), Error> {
        let refused = |rule| Error::Log(Refused { version: 1, rule });
        let entry = Entry::parse(&log_entry.to_string()).map_err(refused)?;
        let head = Head::genesis(&entry, self.env.now(), Policy::House).map_err(refused)?;
        Ok((entry, head))
    }

    /// The identity as `caller` may see it.
    pub async fn identity(&self, caller: &Caller, did: &Did) -> Result<Identity, Error> {
        let held = self.held(&here(did)?).await?;
        held.seen_by(viewer(caller, &held)).ok_or(Error::NotFound)
    }

    /// Replaces the caller's own profile.
    pub async fn change_profile(
        &self,
        caller: &Caller,
        did: &Did,
        change: ProfileChange,
    ) -> Result<Identity, Error> {
        let did = here(did)?;
        let held = self.held(&did).await?;
        let viewer = viewer(caller, &held);
        if held.seen_by(viewer).is_none() {
            return Err(Error::NotFound);
        }
        if viewer != Viewer::Itself {
            return Err(Error::NotItself);
        }
        profile::check(&change.profile)?;
        if change.revision.is_some_and(|revision| revision != held.revision) {
            return Err(Error::Precondition(held.revision));
        }
        let sealed = self.seal_profile(&did, &change.profile)?;
        let privacy_level = change.privacy_level.unwrap_or(held.privacy_level);
        let revision = i64::try_from(held.revision).unwrap_or(i64::MAX);
        let change = move |tx: &mut Tx<'_>| -> Result<Stored, Error> {
            if !store::identities::set_profile(tx, &did, revision, &sealed, privacy_level)? {
                let now = store::identities::find(tx, &did)?.ok_or(Error::NotFound)?;
                return Err(Error::Precondition(unsigned(now.revision)));
            }
            tx.audit(AuditEntry::change("IDENTITY_UPDATED", Some(&did), &did))?;
            store::identities::find(tx, &did)?.ok_or(Error::NotFound)
        };
        let did = self.db.write(change).await?.did;
        self.held(&did).await?.seen_by(Viewer::Itself).ok_or(Error::NotFound)
    }

    /// Suspends an identity, or lets it act again, and its sub-identities with it. Asking for what is already so
    /// changes nothing, but an operator's suspension takes the place of a parent's.
    ///
    /// Whoever acts suspends others only, so that one operator always remains.
    pub async fn set_status(
        &self,
        by: Option<&Did>,
        did: &Did,
        to: Status,
        reason: &str,
    ) -> Result<Identity, Error> {
        let did = here(did)?;
        check_reason(reason)?;
        let actor = by.and_then(|by| here(by).ok());
        if to == Status::Suspended && actor.as_ref() == Some(&did) {
            return Err(Error::SelfSuspension);
        }
        let (by, reason) = (by.cloned(), reason.to_owned());
        let set = move |tx: &mut Tx<'_>| -> Result<Stored, Error> {
            let stored = store::identities::find(tx, &did)?.ok_or(Error::NotFound)?;
            if stored.status == to && stored.held_by == Hold::Operator {
                return Ok(stored);
            }
            // Two operators who suspend each other at once: the first in line holds, or nobody would be left.
            let acting =
                actor.as_ref().map(|actor| store::identities::find(tx, actor)).transpose()?.flatten();
            if acting.is_some_and(|acting| acting.status == Status::Suspended) {
                return Err(Error::ActorSuspended);
            }
            if stored.status != to {
                change_status(stored.status, to).ok_or(Error::StatusConflict(stored.status))?;
            }
            let change = StatusChange { to, hold: Hold::Operator, reason: &reason, by: by.as_ref() };
            change.make(tx, &stored)?;
            Ok(stored)
        };
        let did = self.db.write(set).await?.did;
        self.directory.forget(&did);
        // The profile is none of an operator's business.
        self.held(&did).await?.seen_by(Viewer::Module).ok_or(Error::NotFound)
    }

    /// The identity with its profile opened.
    pub(crate) async fn held(&self, did: &Did) -> Result<Held, Error> {
        let did = did.clone();
        let read = move |reader: &mut Reader<'_>| -> Result<_, DbError> {
            Ok((store::identities::find(reader, &did)?, store::links::of_child(reader, &did)?))
        };
        let (stored, links) = self.db.read(read).await?;
        let parents = links.into_iter().map(|link| link.parent).collect();
        self.opened(stored.ok_or(Error::NotFound)?, parents)
    }

    /// Opens the profile of a stored identity.
    pub(crate) fn opened(&self, stored: Stored, parents: Vec<Did>) -> Result<Held, Error> {
        let profile = match &stored.profile {
            Some(sealed) => {
                let json = self.sealer.open(profile_place(stored.did.as_str()), sealed)?;
                Some(serde_json::from_slice(&json).map_err(|_| q_seal::OpenError::Malformed)?)
            }
            None => None,
        };
        Ok(Held {
            did: stored.did,
            kind: stored.kind,
            service: stored.service,
            status: stored.status,
            privacy_level: stored.privacy_level,
            profile,
            revision: unsigned(stored.revision),
            head: stored.head,
            not_before: stored.not_before,
            created_at: stored.created_at,
            updated_at: stored.updated_at,
            parents,
        })
    }

    fn seal_profile(&self, did: &Did, profile: &Profile) -> Result<Vec<u8>, Error> {
        let json = serde_json::to_vec(profile).map_err(|error| Error::Db(error.into()))?;
        Ok(self.sealer.seal(profile_place(did.as_str()), &json, &self.env))
    }
}

/// Refuses a reason that says nothing, or too much.
pub(crate) fn check_reason(reason: &str) -> Result<(), Error> {
    let is_reason = !reason.trim().is_empty() && reason.chars().count() <= REASON_CHARS_MAX;
    if is_reason { Ok(()) } else { Err(Error::Reason) }
}

/// Declares every token of the identity made so far dead, for everybody to hear.
pub(crate) fn end_sessions(tx: &mut Tx<'_>, did: &Did) -> Result<(), Error> {
    let before = store::identities::find(tx, did)?.ok_or(Error::NotFound)?.not_before;
    let not_before = dead_before(tx.now(), before);
    store::identities::set_not_before(tx, did, not_before)?;
    store::sessions::delete_all(tx, did)?;
    // What it took of its sub-identities was its own login in other clothes.
    for session in store::sessions::switched_by(tx, did)? {
        end_one(tx, &session)?;
    }
    let epoch = store::epoch::next(tx)?;
    let (sub, not_before) = (Some(did.clone()), Some(not_before));
    tx.emit(&SessionRevoked { sub, not_before, epoch, ..SessionRevoked::default() })?;
    tx.audit(AuditEntry::change("SESSION_REVOKED", Some(did), did).family("authentication"))?;
    Ok(())
}

/// The instant before which every token made so far was made.
///
/// Tokens say the second they were made in: that of now at the latest, or the one after the last such
/// instant (see [`first_second`]).
fn dead_before(now: Timestamp, last: Option<Timestamp>) -> Timestamp {
    let newest = last.map_or(now, |last| now.max(Timestamp::from_seconds(first_second(last))));
    Timestamp::from_micros(newest.micros() + 1)
}

/// The first whole second that is not before `instant`.
pub(crate) const fn first_second(instant: Timestamp) -> i64 {
    let seconds = instant.seconds();
    if Timestamp::from_seconds(seconds).micros() < instant.micros() { seconds + 1 } else { seconds }
}

/// The location-free name behind any name of an identity of this instance.
pub(crate) fn here(did: &Did) -> Result<Did, Error> {
    let scid = scid_of(did).map_err(|_| Error::NotFound)?;
    Did::squid(&scid).map_err(|_| Error::NotFound)
}

pub(crate) fn did_of(head: &Head) -> Did {
    Did::squid(&head.scid).expect("a SCID is base58btc, which a DID may hold")
}

fn viewer(caller: &Caller, held: &Held) -> Viewer {
    match caller {
        Caller::Identity(principal) if here(&principal.did).is_ok_and(|caller| caller == held.did) => {
            Viewer::Itself
        }
        Caller::Identity(principal)
            if here(&principal.did).is_ok_and(|caller| held.parents.contains(&caller)) =>
        {
            Viewer::Parent
        }
        Caller::Service(principal, _) if principal.did == held.did => Viewer::Itself,
        Caller::Service(..) => Viewer::Module,
        Caller::Identity(_) | Caller::Anonymous => Viewer::Other,
    }
}

fn profile_place(did: &str) -> q_seal::Place<'_> {
    q_seal::Place { module: "squid", table: "identities", column: "profile", row: did }
}

fn unsigned(count: i64) -> u64 {
    u64::try_from(count).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_revocations_and_logins_within_one_second_each_kills_what_came_before() {
        let now = Timestamp::from_micros(1_780_272_000_400_000);
        let first = dead_before(now, None);
        assert!(Timestamp::from_seconds(now.seconds()) < first, "a token of before");
        let token = Timestamp::from_seconds(first_second(first));
        assert!(token >= first, "a login after it");
        let second = dead_before(now, Some(first));
        assert!(token < second, "is killed by the next");
        assert!(Timestamp::from_seconds(first_second(second)) >= second);
    }
}
