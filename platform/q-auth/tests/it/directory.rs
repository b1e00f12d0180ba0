//! The key directory: verified logs, forgotten on change, usable while squid is down.

use std::{collections::HashMap, sync::Arc};

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use q_auth::{KeyDirectory, LogLoader, Revocations, SignatureRefused, directory::DirectoryError};
use q_core::{Event, Span, event::EventId};
use q_did::{Author, Keyring, Log, Policy, Rotation};
use q_jose::SecretKey;
use serde_json::json;

use crate::support::{World, world};

/// What squid would serve.
#[derive(Default)]
struct Shelf {
    logs: Mutex<HashMap<String, String>>,
    is_down: Mutex<bool>,
    loads: Mutex<u32>,
    /// Holds an answer back after it was read, as a slow network would.
    gate: Option<Arc<tokio::sync::Semaphore>>,
}

impl LogLoader for Shelf {
    fn load<'a>(&'a self, scid: &'a str) -> BoxFuture<'a, Result<Option<String>, DirectoryError>> {
        *self.loads.lock() += 1;
        let answer = if *self.is_down.lock() {
            Err(DirectoryError::Unavailable("down".into()))
        } else {
            Ok(self.logs.lock().get(scid).cloned())
        };
        let gate = self.gate.clone();
        Box::pin(async move {
            if let Some(gate) = gate {
                gate.acquire().await.expect("the gate stays").forget();
            }
            answer
        })
    }
}

struct Case {
    world: World,
    shelf: Arc<Shelf>,
    directory: KeyDirectory,
    revocations: Arc<Revocations>,
    keyring: Keyring,
    log: Log,
}

fn case() -> Case {
    let world = world();
    let (shelf, revocations) = (Arc::new(Shelf::default()), Arc::new(Revocations::new()));
    let (keyring, log, _) = Keyring::create("qnode.localhost:8080", &world.env).unwrap();
    shelf.logs.lock().insert(log.head().scid.clone(), log.to_text());
    let directory = KeyDirectory::new(world.env.clone(), shelf.clone(), revocations.clone());
    Case { world, shelf, directory, revocations, keyring, log }
}

impl Case {
    async fn verify(&self, keyring: &Keyring) -> Result<q_core::Did, SignatureRefused> {
        let signature = keyring.current.sign(b"pay 5");
        self.directory.verify(&keyring.key_id(), b"pay 5", &signature).await
    }

    fn event(&self, topic: &str) -> Event {
        Event {
            id: EventId::new(&self.world.env),
            source: "squid".into(),
            topic: topic.into(),
            subject: self.keyring.did.to_string(),
            time: self.world.env.now(),
            data: json!({"did": self.keyring.did, "versionId": "2-x"}),
        }
    }
}

#[tokio::test]
async fn a_signature_is_its_identitys_until_the_key_is_rotated() {
    let mut case = case();
    assert_eq!(case.verify(&case.keyring).await, Ok(case.keyring.did.clone()));
    assert_eq!(case.verify(&case.keyring).await, Ok(case.keyring.did.clone()));
    assert_eq!(*case.shelf.loads.lock(), 1, "remembered");

    let (rotated, entry) = case.keyring.rotate(&case.log, None, &case.world.env).unwrap();
    case.log.append(entry, case.world.env.now(), Policy::House).unwrap();
    case.shelf.logs.lock().insert(case.log.head().scid.clone(), case.log.to_text());
    case.directory.hear(&case.event("q.squid.identity.updated.v1"));
    assert_eq!(case.verify(&case.keyring).await, Err(SignatureRefused::KeyNotHeld));
    assert_eq!(case.verify(&rotated).await, Ok(rotated.did.clone()));
}

#[tokio::test]
async fn a_key_that_was_replaced_later_stays_one_that_was_held_whatever_date_is_given() {
    let mut case = case();
    let (old, made_at) = (case.keyring.key_id(), case.world.env.now());
    case.world.advance(60);
    let signed_at = case.world.env.now();
    case.world.advance(60);
    let next = SecretKey::from_seed(&[5; 32]).public();
    let (revealed, recovery) = (&case.keyring.next, case.keyring.recovery);
    let rotation = Rotation { revealed, next, recovery, host: None };
    // Dated back, before what the old key signed.
    let entry = Author::rotate(&case.log, &rotation, made_at + Span::seconds(1)).unwrap();
    case.log.append(entry, case.world.env.now(), Policy::House).unwrap();
    case.shelf.logs.lock().insert(case.log.head().scid.clone(), case.log.to_text());
    case.directory.hear(&case.event("q.squid.identity.updated.v1"));
    let did = &case.keyring.did;
    let told = case.directory.resolve_at(did, signed_at).await.unwrap();
    assert!(told.iter().all(|method| method.id != old));
    let new = format!("{did}#{}", case.keyring.next.public().to_multikey());
    let held = async |key: &str, at| case.directory.has_held(did, key, at).await.unwrap();
    assert!(held(&old, signed_at).await && held(&new, signed_at).await);
    // Not before there was one, and never somebody else's.
    assert!(!held(&old, made_at + Span::seconds(-5)).await && !held(&new, made_at).await);
    assert!(!held(&format!("{did}#{}", next.to_multikey()), case.world.env.now()).await);
}

#[tokio::test]
async fn a_signature_of_the_suspended_the_stranger_or_another_message_is_refused() {
    let case = case();
    let mut signature = case.keyring.current.sign(b"pay 5");
    let key_id = case.keyring.key_id();
    let refused = |refusal| Err::<q_core::Did, _>(refusal);
    assert_eq!(
        case.directory.verify(&key_id, b"pay 6", &signature).await,
        refused(SignatureRefused::Signature)
    );
    signature[63] ^= 1;
    assert_eq!(
        case.directory.verify(&key_id, b"pay 5", &signature).await,
        refused(SignatureRefused::Signature)
    );
    let thief = Keyring { current: SecretKey::from_seed(&[66; 32]), ..case.keyring.clone() };
    assert_eq!(case.verify(&thief).await, refused(SignatureRefused::KeyNotHeld));
    assert_eq!(case.directory.verify("no key", b"", b"").await, refused(SignatureRefused::KeyId));

    case.revocations.hear(&case.event("q.squid.identity.suspended.v1"));
    assert_eq!(case.verify(&case.keyring).await, refused(SignatureRefused::Blocked));
}

#[tokio::test]
async fn a_bent_or_swapped_log_gives_no_keys() {
    let case = case();
    let thief = Keyring::create("qnode.localhost:8080", &case.world.env).unwrap().1;
    let scid = case.log.head().scid.clone();
    // Another identity's good log under this name: what a thief of the database would try.
    case.shelf.logs.lock().insert(scid.clone(), thief.to_text());
    assert_eq!(case.directory.resolve(&case.keyring.did).await, Err(DirectoryError::Unknown));
    let bent = case.log.to_text().replace(
        &case.keyring.current.public().to_multikey(),
        &SecretKey::from_seed(&[66; 32]).public().to_multikey(),
    );
    case.shelf.logs.lock().insert(scid, bent);
    let refused = case.directory.resolve(&case.keyring.did).await.unwrap_err();
    assert!(matches!(refused, DirectoryError::LogRefused(_)), "{refused}");
}

#[tokio::test]
async fn known_keys_outlive_a_short_outage_and_did_key_needs_nobody() {
    let case = case();
    assert!(case.verify(&case.keyring).await.is_ok());
    *case.shelf.is_down.lock() = true;
    case.world.advance(600);
    assert!(case.verify(&case.keyring).await.is_ok());
    // Long enough for a restart; after that a key that was taken out meanwhile could go on signing.
    case.world.advance(301);
    assert!(case.verify(&case.keyring).await.is_err());
    *case.shelf.is_down.lock() = false;
    assert!(case.verify(&case.keyring).await.is_ok());
    *case.shelf.is_down.lock() = true;
    let key = SecretKey::from_seed(&[4; 32]);
    let did: q_core::Did = key.public().to_did_key().parse().unwrap();
    assert!(case.directory.resolve(&did).await.unwrap().authenticates_with(&key.public()));
    let unknown = case.directory.resolve(&crate::support::did(5)).await;
    assert_eq!(unknown, Err(DirectoryError::Unavailable("down".into())));
}

/// The owner takes a stolen key out while an answer with the old keys is on its way: the key must not live on.
#[tokio::test]
async fn keys_that_change_while_they_are_fetched_are_not_remembered() {
    let mut case = case();
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let shelf = Shelf { gate: Some(gate.clone()), ..Shelf::default() };
    shelf.logs.lock().insert(case.log.head().scid.clone(), case.log.to_text());
    let shelf = Arc::new(shelf);
    let directory = KeyDirectory::new(case.world.env.clone(), shelf.clone(), case.revocations.clone());

    let (fetching, did) = (directory.clone(), case.keyring.did.clone());
    let on_its_way = tokio::spawn(async move { fetching.resolve(&did).await });
    while *shelf.loads.lock() == 0 {
        tokio::task::yield_now().await;
    }
    let (_, entry) = case.keyring.rotate(&case.log, None, &case.world.env).unwrap();
    case.log.append(entry, case.world.env.now(), Policy::House).unwrap();
    shelf.logs.lock().insert(case.log.head().scid.clone(), case.log.to_text());
    directory.hear(&case.event("q.squid.identity.updated.v1"));
    gate.add_permits(10);
    on_its_way.await.unwrap().unwrap();

    let signature = case.keyring.current.sign(b"pay 5");
    let outcome = directory.verify(&case.keyring.key_id(), b"pay 5", &signature).await;
    assert_eq!(outcome, Err(SignatureRefused::KeyNotHeld), "the key that was taken out");
}
