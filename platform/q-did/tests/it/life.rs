//! An identity from its first entry to its last.

use proptest::prelude::*;
use q_did::{Keyring, Log, Policy, RecoveryPhrase, Rule, author::AuthorError, multikey_of, scid_of};

use crate::support::{HOST, bench};

#[test]
fn an_identity_is_made_rotated_recovered_and_ended() {
    let (bench, env) = bench();
    let (keyring, mut log, phrase) = Keyring::create(HOST, &env).unwrap();
    assert_eq!(scid_of(&keyring.did).unwrap(), log.head().scid);
    assert_eq!(log.document().verification_methods()[0].id, keyring.key_id());

    let (rotated, entry) = keyring.rotate(&log, None, &env).unwrap();
    log.append(entry, env.now(), Policy::House).unwrap();
    let methods = log.document().verification_methods();
    assert_eq!(methods.len(), 1, "the old key is gone");
    assert_eq!(methods[0].id, rotated.key_id());
    assert!(methods[0].is_authentication && methods[0].is_assertion);
    assert_ne!(rotated.key_id(), keyring.key_id());

    // A thief of the first keyring holds a current and a next key that are both spent.
    assert!(keyring.rotate(&log, None, &env).is_err());

    let typed: String = phrase.words().split(' ').collect::<Vec<_>>().join(" ");
    let phrase = RecoveryPhrase::parse(&format!(" {typed}\n")).unwrap();
    bench.advance(5);
    let (recovered, entry, new_phrase) = Keyring::recover(&log, &phrase, &env).unwrap();
    log.append(entry, env.now(), Policy::House).unwrap();
    assert_eq!(log.document().verification_methods()[0].id, recovered.key_id());
    assert!(rotated.rotate(&log, None, &env).is_err(), "whoever held the device is out");
    assert!(Keyring::recover(&log, &phrase, &env).is_err(), "a phrase recovers once");
    assert_ne!(*new_phrase.words(), *phrase.words());

    let entry = recovered.deactivate(&log, &env).unwrap();
    log.append(entry, env.now(), Policy::House).unwrap();
    assert!(log.head().deactivated);
    assert!(log.document().verification_methods().is_empty());
    assert_eq!(recovered.deactivate(&log, &env).unwrap_err(), AuthorError::Rule(Rule::Deactivated));

    let again = Log::verify(&log.to_text(), env.now() + q_core::Span::seconds(60), Policy::House).unwrap();
    assert_eq!(again.head(), log.head());
}

#[test]
fn old_versions_stay_readable_and_views_carry_all_names() {
    let (bench, env) = bench();
    let (keyring, mut log, _) = Keyring::create(HOST, &env).unwrap();
    let (first_id, first_at) = (log.head().version_id.clone(), env.now());
    bench.advance(100);
    let (moved, entry) = keyring.rotate(&log, Some("q.example"), &env).unwrap();
    log.append(entry, env.now(), Policy::House).unwrap();

    assert_eq!(log.at_time(first_at).unwrap().version_id, first_id);
    assert_eq!(log.at_version(&first_id).unwrap().version_id, first_id);
    assert!(log.at_time(first_at - q_core::Span::seconds(1)).is_none());
    assert!(log.at_version("9-x").is_none());

    let scid = &log.head().scid;
    let web = log.document().as_did_web().unwrap();
    assert_eq!(web["id"], format!("did:web:q.example:id:{scid}"));
    let aliases = web["alsoKnownAs"].as_array().unwrap();
    for alias in [
        format!("did:squid:{scid}"),
        format!("did:webvh:{scid}:q.example:id:{scid}"),
        format!("did:webvh:{scid}:qnode.localhost%3A8080:id:{scid}"),
    ] {
        assert!(aliases.contains(&alias.clone().into()), "{alias} not in {web}");
    }
    let squid = log.document().as_did_squid().unwrap();
    assert_eq!(squid["id"], moved.did.as_str());
    let key_id = squid["verificationMethod"][0]["id"].as_str().unwrap();
    assert_eq!(key_id, moved.key_id());
    assert_eq!(multikey_of(key_id).unwrap().1, moved.current.public());
}

#[test]
fn a_keyring_file_reads_back_and_never_prints_its_keys() {
    let (_, env) = bench();
    let (keyring, log, phrase) = Keyring::create(HOST, &env).unwrap();
    let text = serde_json::to_string(&keyring).unwrap();
    let read: Keyring = serde_json::from_str(&text).unwrap();
    assert!(read.rotate(&log, None, &env).is_ok());
    let shown = format!("{keyring:?} {phrase:?}");
    let seed = text.split("\"current\":\"").nth(1).unwrap().split('"').next().unwrap();
    assert!(!shown.contains(seed) && !shown.contains(phrase.words().split(' ').next().unwrap()), "{shown}");
    assert!(RecoveryPhrase::parse("abandon abandon abandon").is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever an owner does in whatever order, the log verifies from its first entry to the same head.
    #[test]
    fn every_history_verifies(steps in proptest::collection::vec(0_u8..3, 0..8), pause in 0_i64..3) {
        let (bench, env) = bench();
        let (mut keyring, mut log, mut phrase) = Keyring::create(HOST, &env).unwrap();
        for step in steps {
            bench.advance(pause);
            let entry = match step {
                0 => { let (next, entry) = keyring.rotate(&log, None, &env).unwrap(); keyring = next; entry }
                1 => {
                    let host = format!("h{}.example", log.head().version);
                    let (next, entry) = keyring.rotate(&log, Some(&host), &env).unwrap();
                    keyring = next;
                    entry
                }
                _ => {
                    let (next, entry, words) = Keyring::recover(&log, &phrase, &env).unwrap();
                    (keyring, phrase) = (next, words);
                    entry
                }
            };
            log.append(entry, env.now(), Policy::House).unwrap();
        }
        let again = Log::verify(&log.to_text(), env.now(), Policy::House).unwrap();
        prop_assert_eq!(again.head(), log.head());
        prop_assert_eq!(again.to_text(), log.to_text());
    }
}
