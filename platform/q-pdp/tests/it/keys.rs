//! Proofs signed by identities whose keys come and go.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use q_auth::{KeyDirectory, LogLoader, Revocations, directory::DirectoryError};
use q_core::{Clock, Did, Env, SystemEntropy, Timestamp};
use q_did::{Keyring, Log, Policy};
use q_pdp::{Applied, Change, Pdp, Projector, Request};
use q_ucan::{Delegation, DelegationDraft, Policy as UcanPolicy};

use crate::support::{NOW, authority, grant, person, resource};

struct Ticking(AtomicI64);

impl Clock for Ticking {
    fn now(&self) -> Timestamp {
        Timestamp::from_seconds(self.0.load(Ordering::SeqCst))
    }
}

/// squid, as far as logs go.
#[derive(Default)]
struct Shelf {
    text: Mutex<Option<String>>,
    is_down: Mutex<bool>,
}

impl LogLoader for Shelf {
    fn load<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Option<String>, DirectoryError>> {
        let is_down = *self.is_down.lock();
        let answer = if is_down {
            Err(DirectoryError::Unavailable("down".into()))
        } else {
            Ok(self.text.lock().clone())
        };
        Box::pin(async move { answer })
    }
}

struct Case {
    env: Env,
    clock: Arc<Ticking>,
    shelf: Arc<Shelf>,
    alice: Keyring,
    log: Log,
}

impl Case {
    fn new() -> Self {
        let clock = Arc::new(Ticking(AtomicI64::new(NOW.seconds())));
        let env = Env { clock: clock.clone(), entropy: Arc::new(SystemEntropy) };
        let (alice, log, _) = Keyring::create("qnode.localhost:8080", &env).unwrap();
        let shelf = Arc::new(Shelf::default());
        *shelf.text.lock() = Some(log.to_text());
        Self { env, clock, shelf, alice, log }
    }

    /// A process that has just started.
    fn projector(&self) -> Projector {
        let keys = KeyDirectory::new(self.env.clone(), self.shelf.clone(), Arc::new(Revocations::new()));
        Projector::new(Pdp::new(authority().did, self.env.now()), Arc::new(keys))
    }

    fn shared_by(&self, keyring: &Keyring, epoch: u64) -> Change {
        let file = resource(&format!("qwallet:wallet:w{epoch}"));
        let bob = person(2).did;
        let draft = DelegationDraft {
            issuer: keyring.key_id().parse().unwrap(),
            audience: bob.clone(),
            subject: Some(keyring.did.clone()),
            command: "/qwallet/wallet/read".parse().unwrap(),
            policy: UcanPolicy::pins_resource(file.as_str()),
            nonce: vec![1; 12],
            not_before: None,
            expires_at: Some(NOW + q_core::Span::seconds(86_400)),
            meta: std::collections::BTreeMap::new(),
        };
        let link: Arc<Delegation> = Arc::new(draft.sign(&keyring.current).unwrap());
        let mut issued = grant(epoch, &keyring.did, &bob, &file, &["read"], &[link]);
        issued.granted_at = self.env.now();
        Change::Issued(issued)
    }

    fn may(&self, pdp: &Pdp, epoch: u64) -> bool {
        let (bob, owner): (Did, Did) = (person(2).did, self.alice.did.clone());
        let on = format!("qwallet:wallet:w{epoch}");
        let request = Request {
            principal: &bob,
            action: "read",
            resource: &on,
            owner: Some(&owner),
            now: self.env.now(),
        };
        pdp.decide(&request).allowed
    }
}

#[tokio::test]
async fn a_rotated_key_keeps_what_it_signed_before_and_signs_no_more() {
    let mut case = Case::new();
    let before = case.shared_by(&case.alice, 1);
    case.clock.0.fetch_add(10, Ordering::SeqCst);
    let (rotated, entry) = case.alice.rotate(&case.log, None, &case.env).unwrap();
    case.log.append(entry, case.env.now(), Policy::House).unwrap();
    *case.shelf.text.lock() = Some(case.log.to_text());
    case.clock.0.fetch_add(10, Ordering::SeqCst);
    let by_old_key = case.shared_by(&case.alice, 2);
    let by_new_key = case.shared_by(&rotated, 3);

    let projector = case.projector();
    for change in [before, by_old_key, by_new_key] {
        assert_eq!(projector.take_in(change).await, Ok(Applied::Next));
    }
    let may = |epoch| case.may(projector.pdp(), epoch);
    assert_eq!((may(1), may(2), may(3)), (true, false, true));
}

#[tokio::test]
async fn while_squid_is_down_a_grant_waits_and_a_revocation_does_not() {
    let case = Case::new();
    let issued = case.shared_by(&case.alice, 1);
    let Change::Issued(grant) = &issued else { unreachable!("a share is a grant") };
    let revoked = crate::support::revoke(2, &case.alice.did, &grant.cids);
    let projector = case.projector();
    *case.shelf.is_down.lock() = true;
    assert!(projector.take_in(issued.clone()).await.is_err(), "it is delivered again later");
    assert_eq!(projector.take_in(revoked).await, Ok(Applied::Waiting));
    *case.shelf.is_down.lock() = false;
    assert_eq!(projector.take_in(issued).await, Ok(Applied::Next));
    assert_eq!(projector.pdp().epoch(), 2);
    assert!(!case.may(projector.pdp(), 1));
}

#[tokio::test]
async fn an_identity_nobody_knows_proves_nothing() {
    let case = Case::new();
    let issued = case.shared_by(&case.alice, 1);
    *case.shelf.text.lock() = None;
    let projector = case.projector();
    assert_eq!(projector.take_in(issued).await, Ok(Applied::Next));
    assert!(!case.may(projector.pdp(), 1));
}
