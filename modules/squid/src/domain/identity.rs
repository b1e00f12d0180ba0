//! An identity and who may see what of it.

use q_core::{Did, Timestamp};
use q_did::{Head, Refused, Rule, WebName};
use squid_api::{Custody, Identity, IdentityType, PrivacyLevel, Profile, Status, VerificationLevel};

/// An identity as it is kept, its profile opened.
#[derive(Debug, Clone, PartialEq)]
pub struct Held {
    /// The location-free name.
    pub did: Did,
    /// What kind it is.
    pub kind: IdentityType,
    /// The module, for a service identity.
    pub service: Option<String>,
    /// Whether it may act.
    pub status: Status,
    /// Who sees the profile.
    pub privacy_level: PrivacyLevel,
    /// What it says about itself; nothing once it has ended.
    pub profile: Option<Profile>,
    /// Counts the changes of the profile.
    pub revision: u64,
    /// The log after its newest entry.
    pub head: Head,
    /// Tokens made before this are dead.
    pub not_before: Option<Timestamp>,
    /// When it was registered.
    pub created_at: Timestamp,
    /// When profile or status last changed.
    pub updated_at: Timestamp,
    /// Its parent, and its other guardians or owners; none when it is nobody's sub-identity.
    pub parents: Vec<Did>,
}

/// Who is looking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Viewer {
    /// The identity itself.
    Itself,
    /// Its parent, a guardian or an owner.
    Parent,
    /// A module of this instance.
    Module,
    /// Somebody else who is logged in.
    Other,
}

impl Held {
    /// What `viewer` sees; `None` where even existence is private.
    pub fn seen_by(&self, viewer: Viewer) -> Option<Identity> {
        let sees_profile = match (viewer, self.privacy_level) {
            (Viewer::Itself | Viewer::Parent, _) | (Viewer::Other | Viewer::Module, PrivacyLevel::Public) => {
                true
            }
            (Viewer::Module, PrivacyLevel::Private | PrivacyLevel::Anonymous)
            | (Viewer::Other, PrivacyLevel::Private) => false,
            (Viewer::Other, PrivacyLevel::Anonymous) => return None,
        };
        Some(Identity {
            did: self.did.clone(),
            webvh: self.head.id.clone(),
            kind: self.kind,
            status: self.status,
            verification_level: VerificationLevel::Unverified,
            privacy_level: self.privacy_level,
            custody: Custody::Own,
            parent: self.parents.first().filter(|_| viewer != Viewer::Other).cloned(),
            profile: if sees_profile { self.profile.clone() } else { None },
            version_id: self.head.version_id.clone(),
            revision: self.revision,
            created_at: self.created_at,
            updated_at: self.updated_at,
        })
    }
}

/// Refuses a log whose did:webvh name does not lead to this instance, where nobody would find it.
pub fn check_place(head: &Head, host: &str) -> Result<(), Refused> {
    let here = WebName::at_host(&head.scid, host).is_ok_and(|name| name.to_string() == head.id);
    if here { Ok(()) } else { Err(Refused { version: head.version, rule: Rule::StateIdPlace }) }
}

/// The status after a change that asks for it, or `None` where there is no such way.
///
/// ACTIVE and SUSPENDED lead to each other and to DELETED, which is final; PENDING_CONSENT leads to all of them and is
/// never returned to.
pub const fn change_status(from: Status, to: Status) -> Option<Status> {
    match (from, to) {
        (Status::Active, Status::Suspended | Status::Deleted)
        | (Status::Suspended, Status::Active | Status::Deleted)
        | (Status::PendingConsent, Status::Active | Status::Suspended | Status::Deleted) => Some(to),
        (Status::Active, Status::Active)
        | (Status::Suspended, Status::Suspended)
        | (_, Status::PendingConsent)
        | (Status::Deleted, Status::Active | Status::Suspended | Status::Deleted) => None,
    }
}

#[cfg(test)]
mod tests {
    use q_core::Env;
    use q_did::Keyring;

    use super::*;

    fn held(privacy_level: PrivacyLevel) -> Held {
        let env = Env::system();
        let (keyring, log, _) = Keyring::create("qnode.localhost:8080", &env).unwrap();
        Held {
            did: keyring.did,
            kind: IdentityType::Root,
            service: None,
            status: Status::Active,
            privacy_level,
            profile: Some(Profile { name: "Ada".into(), ..Profile::default() }),
            revision: 1,
            head: log.head().clone(),
            not_before: None,
            created_at: env.now(),
            updated_at: env.now(),
            parents: vec!["did:squid:QmParent".parse().unwrap()],
        }
    }

    #[test]
    fn who_sees_what() {
        use PrivacyLevel::{Anonymous, Private, Public};
        // Some(true): with profile; Some(false): without; None: not at all. A parent sees what the identity sees.
        for (level, itself, module, other) in [
            (Public, Some(true), Some(true), Some(true)),
            (Private, Some(true), Some(false), Some(false)),
            (Anonymous, Some(true), Some(false), None),
        ] {
            let held = held(level);
            for (viewer, expected) in [
                (Viewer::Itself, itself),
                (Viewer::Parent, itself),
                (Viewer::Module, module),
                (Viewer::Other, other),
            ] {
                let seen = held.seen_by(viewer);
                assert_eq!(
                    seen.as_ref().map(|identity| identity.profile.is_some()),
                    expected,
                    "{level} {viewer:?}"
                );
                let is_known = seen.is_some_and(|identity| identity.parent.is_some());
                assert_eq!(is_known, viewer != Viewer::Other, "whose it is, seen by {viewer:?}");
            }
        }
    }

    #[test]
    fn a_log_must_lead_here() {
        let head = held(PrivacyLevel::Public).head;
        assert_eq!(check_place(&head, "qnode.localhost:8080"), Ok(()));
        for elsewhere in ["qnode.localhost", "qnode.localhost:8081", "node.example", "127.0.0.1:8080"] {
            assert_eq!(check_place(&head, elsewhere).unwrap_err().rule, Rule::StateIdPlace, "{elsewhere}");
        }
    }

    #[test]
    fn statuses_lead_where_they_may() {
        use Status::{Active, Deleted, PendingConsent, Suspended};
        for (from, to, expected) in [
            (Active, Suspended, true),
            (Active, Deleted, true),
            (Suspended, Active, true),
            (Suspended, Deleted, true),
            (Active, Active, false),
            (Suspended, Suspended, false),
            (Deleted, Active, false),
            (Deleted, Suspended, false),
            (Deleted, Deleted, false),
            (PendingConsent, Active, true),
            (PendingConsent, Suspended, true),
            (PendingConsent, Deleted, true),
            (PendingConsent, PendingConsent, false),
            (Active, PendingConsent, false),
            (Deleted, PendingConsent, false),
        ] {
            assert_eq!(change_status(from, to).is_some(), expected, "{from} to {to}");
        }
    }
}
