//! One row per rule: a good log bent in one place is refused by the name of the rule.
//!
//! Bent entries are hashed and signed again by their rightful author wherever the rule under test is not
//! about hashes or signatures, so that nothing else can be what refuses them.

use q_core::{Span, Timestamp, hash};
use q_did::{Keyring, Log, Policy, Refused, Rule, entry::key_hash};
use q_jose::SecretKey;
use serde_json::{Value, json};

use crate::support::{HOST, bench};

/// What bends a good entry.
type Bend<'a> = Box<dyn Fn(&mut Value) + 'a>;

struct Case {
    keyring: Keyring,
    log: Log,
    now: Timestamp,
}

/// A log of two entries, and the keyring after them.
fn case() -> Case {
    let (bench, env) = bench();
    let (keyring, mut log, _) = Keyring::create(HOST, &env).unwrap();
    bench.advance(10);
    let (keyring, entry) = keyring.rotate(&log, None, &env).unwrap();
    log.append(entry, env.now(), Policy::House).unwrap();
    bench.advance(10);
    Case { keyring, log, now: env.now() }
}

impl Case {
    /// A good third entry, as JSON to be bent.
    fn third(&self) -> Value {
        let (_, env) = bench();
        let (_, mut entry) = self.keyring.rotate(&self.log, None, &env).unwrap();
        entry.version_time = self.now.to_string();
        serde_json::to_value(self.signed(serde_json::to_value(entry).unwrap())).unwrap()
    }

    /// Hashes and signs `entry` anew as the third one, with the committed next key.
    fn signed(&self, entry: Value) -> Value {
        sign(entry, 3, &self.log.head().version_id, &self.keyring.next)
    }

    fn verify(&self, third: &Value) -> Result<Log, Refused> {
        let text = format!("{}{third}\n", self.log.to_text());
        Log::verify(&text, self.now, Policy::House)
    }
}

/// An independent signer: hashes as the standard says, from the whole JSON value.
fn sign(mut entry: Value, version: u32, previous: &str, key: &SecretKey) -> Value {
    let multihash = |bytes: &[u8]| {
        let mut out = vec![0x12, 0x20];
        out.extend(hash::sha256(bytes));
        bs58::encode(out).into_string()
    };
    entry.as_object_mut().unwrap().remove("proof");
    entry["versionId"] = previous.into();
    let entry_hash = multihash(&hash::canonical_json(&entry).unwrap());
    entry["versionId"] = format!("{version}-{entry_hash}").into();
    let multikey = key.public().to_multikey();
    let mut proof = json!({
        "type": "DataIntegrityProof", "cryptosuite": "eddsa-jcs-2022", "proofPurpose": "assertionMethod",
        "verificationMethod": format!("did:key:{multikey}#{multikey}"), "created": entry["versionTime"],
    });
    let mut message = hash::sha256(&hash::canonical_json(&proof).unwrap()).to_vec();
    message.extend(hash::sha256(&hash::canonical_json(&entry).unwrap()));
    proof["proofValue"] = format!("z{}", bs58::encode(key.sign(&message)).into_string()).into();
    entry["proof"] = json!([proof]);
    entry
}

#[test]
fn the_unbent_entry_is_accepted() {
    let case = case();
    assert_eq!(case.verify(&case.third()).unwrap().head().version, 3);
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table, a row per rule")]
fn bent_entries_are_refused_by_rule_though_signed_by_their_author() {
    let case = case();
    let scid = case.log.head().scid.clone();
    let other = SecretKey::from_seed(&[9; 32]);
    let other_key = other.public().to_multikey();
    let witness = other.public().to_did_key();
    let bend = |path: &'static str, value: Value| -> Bend<'_> {
        Box::new(move |entry| {
            let (parent, name) = path.rsplit_once('/').unwrap();
            entry.pointer_mut(parent).unwrap()[name] = value.clone();
        })
    };
    let rows: Vec<(&str, Bend<'_>, Rule)> = vec![
        ("unknown member", bend("/extra", json!(1)), Rule::EntryShape),
        (
            "time as printed elsewhere",
            bend("/versionTime", json!("2026-06-01T00:00:19+00:00")),
            Rule::VersionTime,
        ),
        ("time not later", bend("/versionTime", json!("2026-06-01T00:00:10Z")), Rule::VersionTimeOrder),
        ("time 61 s ahead", bend("/versionTime", json!("2026-06-01T00:01:21Z")), Rule::VersionTimeFuture),
        ("unknown parameter", bend("/parameters/admin", json!(true)), Rule::UnknownParameter),
        ("parameter of wrong type", bend("/parameters/deactivated", json!("no")), Rule::ParameterValue),
        ("other method", bend("/parameters/method", json!("did:webvh:0.5")), Rule::Method),
        ("scid again", bend("/parameters/scid", json!(scid)), Rule::ScidPlace),
        ("portable off", bend("/parameters/portable", json!(false)), Rule::HousePortable),
        ("no document id", bend("/state/id", json!(7)), Rule::StateId),
        ("IP address", bend("/state/id", json!(format!("did:webvh:{scid}:127.0.0.1"))), Rule::StateId),
        (
            "hidden path",
            bend("/state/id", json!(format!("did:webvh:{scid}:q.example:%2e%2e"))),
            Rule::StateId,
        ),
        (
            "another's SCID",
            bend("/state/id", json!(format!("did:webvh:{}:q.example", key_hash(&other.public())))),
            Rule::StateIdScid,
        ),
        ("update keys emptied", bend("/parameters/updateKeys", json!([])), Rule::UpdateKeysMissing),
        ("key not committed", bend("/parameters/updateKeys", json!([other_key])), Rule::KeyNotCommitted),
        ("key not a key", bend("/parameters/updateKeys", json!(["z6Mk"])), Rule::UpdateKeyMalformed),
        (
            "commitment not a hash",
            bend("/parameters/nextKeyHashes", json!(["x", "y"])),
            Rule::NextKeyHashMalformed,
        ),
        (
            "commitment twice",
            bend("/parameters/nextKeyHashes", json!([key_hash(&other.public()), key_hash(&other.public())])),
            Rule::NextKeyHashMalformed,
        ),
        (
            "one commitment only",
            bend("/parameters/nextKeyHashes", json!([key_hash(&other.public())])),
            Rule::HousePreRotation,
        ),
        ("pre-rotation off", bend("/parameters/nextKeyHashes", json!([])), Rule::HousePreRotation),
        (
            "witness twice",
            bend(
                "/parameters/witness",
                json!({"threshold": 1, "witnesses": [{"id": witness}, {"id": witness}]}),
            ),
            Rule::WitnessDuplicate,
        ),
        (
            "zero threshold",
            bend("/parameters/witness", json!({"threshold": 0, "witnesses": [{"id": witness}]})),
            Rule::WitnessThreshold,
        ),
        (
            "threshold above",
            bend("/parameters/witness", json!({"threshold": 2, "witnesses": [{"id": witness}]})),
            Rule::WitnessThreshold,
        ),
        (
            "witness of another method",
            bend("/parameters/witness", json!({"threshold": 1, "witnesses": [{"id": "did:web:q.example"}]})),
            Rule::WitnessId,
        ),
        (
            "witness proofs needed",
            bend("/parameters/witness", json!({"threshold": 1, "witnesses": [{"id": witness}]})),
            Rule::WitnessUnsupported,
        ),
        ("alias gone", bend("/state/alsoKnownAs", json!([])), Rule::HouseAlias),
        ("personal data", bend("/state/name", json!("Alice")), Rule::HouseDocument),
        (
            "key id that is not the key",
            bend("/state/verificationMethod", json!([{"id": "#a"}])),
            Rule::HouseVerificationMethod,
        ),
        (
            "embedded method",
            bend("/state/authentication", json!([{"id": "#a"}])),
            Rule::HouseVerificationMethod,
        ),
    ];
    for (name, bend, rule) in rows {
        let mut entry = case.third();
        bend(&mut entry);
        let refused = case.verify(&case.signed(entry)).map(|log| log.head().clone());
        assert_eq!(refused, Err(Refused { version: 3, rule }), "{name}");
    }
    for (member, rule) in
        [("updateKeys", Rule::UpdateKeysMissing), ("nextKeyHashes", Rule::NextKeyHashesMissing)]
    {
        let mut entry = case.third();
        entry["parameters"].as_object_mut().unwrap().remove(member);
        assert_eq!(case.verify(&case.signed(entry)).unwrap_err(), Refused { version: 3, rule }, "{member}");
    }
}

#[test]
fn broken_chains_and_proofs_are_refused_by_rule() {
    let case = case();
    let thief = SecretKey::from_seed(&[9; 32]);
    let good = case.third();
    let with = |path: &str, value: Value| {
        let mut entry = good.clone();
        *entry.pointer_mut(path).unwrap() = value;
        entry
    };
    let multikey = case.keyring.next.public().to_multikey();
    let thief_key = thief.public().to_multikey();
    let proof = good["proof"][0].clone();
    let version_hash = good["versionId"].as_str().unwrap().split_once('-').unwrap().1.to_owned();
    let current = &case.keyring.current;
    let rows = [
        (
            "signed by a stranger",
            sign(good.clone(), 3, &case.log.head().version_id, &thief),
            Rule::ProofUnauthorised,
        ),
        (
            "signed by the current key",
            sign(good.clone(), 3, &case.log.head().version_id, current),
            Rule::ProofUnauthorised,
        ),
        ("number skipped", case_sign(&case, &good, 4), Rule::VersionNumber),
        ("number spelled 03", with("/versionId", json!(format!("03-{version_hash}"))), Rule::VersionNumber),
        (
            "other parent",
            sign(good.clone(), 3, &case.log.entries()[0].version_id, &case.keyring.next),
            Rule::EntryHash,
        ),
        ("document changed", with("/state/alsoKnownAs/0", json!("did:squid:x")), Rule::EntryHash),
        ("no proof", with("/proof", json!([])), Rule::ProofCount),
        ("five proofs", with("/proof", json!([proof, proof, proof, proof, proof])), Rule::ProofCount),
        ("other suite", with("/proof/0/cryptosuite", json!("eddsa-rdfc-2022")), Rule::ProofCryptosuite),
        ("other purpose", with("/proof/0/proofPurpose", json!("authentication")), Rule::ProofShape),
        ("other type", with("/proof/0/type", json!("Ed25519Signature2020")), Rule::ProofShape),
        (
            "body is not the fragment",
            with("/proof/0/verificationMethod", json!(format!("did:key:{multikey}#{thief_key}"))),
            Rule::ProofKey,
        ),
        (
            "no fragment",
            with("/proof/0/verificationMethod", json!(format!("did:key:{multikey}"))),
            Rule::ProofKey,
        ),
        (
            "date of proof changed",
            with("/proof/0/created", json!("2026-06-01T00:00:00Z")),
            Rule::ProofSignature,
        ),
        ("signature cut", with("/proof/0/proofValue", json!("z3")), Rule::ProofSignature),
        ("signature in another base", with("/proof/0/proofValue", json!("m3")), Rule::ProofSignature),
        ("null where nothing is meant", with("/proof/0/created", Value::Null), Rule::EntryShape),
    ];
    for (name, entry, rule) in rows {
        let refused = case.verify(&entry).map(|log| log.head().clone());
        assert_eq!(refused, Err(Refused { version: 3, rule }), "{name}");
    }
    let doubled = good.to_string().replacen("\"versionTime\":", "\"versionTime\":\"x\",\"versionTime\":", 1);
    let text = format!("{}{doubled}\n", case.log.to_text());
    assert_eq!(Log::verify(&text, case.now, Policy::House).unwrap_err().rule, Rule::Json);
}

fn case_sign(case: &Case, entry: &Value, version: u32) -> Value {
    sign(entry.clone(), version, &case.log.head().version_id, &case.keyring.next)
}

#[test]
fn a_first_entry_is_its_own_hash() {
    let (_, env) = bench();
    let (_, log, _) = Keyring::create(HOST, &env).unwrap();
    let good = log.to_text();
    let scid = &log.head().scid;
    let other = key_hash(&SecretKey::from_seed(&[9; 32]).public());
    let rows = [
        ("", Rule::EmptyLog),
        (&*good.replace(scid.as_str(), &other), Rule::ScidMismatch),
        (&good.replace("did:webvh:1.0", "did:webvh:0.5"), Rule::Method),
        (&good.replace("\"portable\":true", "\"portable\":false"), Rule::ScidMismatch),
        (&good.replace(&format!("\"scid\":\"{scid}\""), "\"scid\":\"\""), Rule::ScidMismatch),
        (&good.replace(&format!("\"scid\":\"{scid}\","), ""), Rule::ScidPlace),
        (&good.replace("\"proof\":", "\"proofs\":"), Rule::ProofCount),
        (&good.replace(&scid[3..], ""), Rule::ScidMismatch),
        (&format!("{}{}", " ".repeat(40_000), good), Rule::Size),
        (&format!("\n{good}"), Rule::Json),
    ];
    for (text, rule) in rows {
        assert_eq!(Log::verify(text, env.now(), Policy::House).unwrap_err().rule, rule, "{text:.200}");
    }
    let ahead = env.now() - Span::seconds(61);
    assert_eq!(Log::verify(&good, ahead, Policy::House).unwrap_err().rule, Rule::VersionTimeFuture);
    assert!(Log::verify(&good, ahead + Span::seconds(1), Policy::House).is_ok());
}

/// A first entry of another house: no pre-rotation, not portable.
fn unportable() -> (Log, SecretKey, Timestamp) {
    let (_, env) = bench();
    let key = SecretKey::from_seed(&[5; 32]);
    let mut entry = json!({
        "versionId": "{SCID}", "versionTime": env.now().to_string(),
        "parameters": {"method": "did:webvh:1.0", "scid": "{SCID}", "updateKeys": [key.public().to_multikey()]},
        "state": {"id": "did:webvh:{SCID}:node.example"},
    });
    let mut digest = vec![0x12, 0x20];
    digest.extend(hash::sha256(&hash::canonical_json(&entry).unwrap()));
    let scid = bs58::encode(digest).into_string();
    entry = serde_json::from_str(&entry.to_string().replace("{SCID}", &scid)).unwrap();
    let text = sign(entry, 1, &scid, &key).to_string();
    (Log::verify(&text, env.now(), Policy::WebVh).unwrap(), key, env.now())
}

#[test]
fn portability_begins_in_the_first_entry_or_never() {
    let (log, key, now) = unportable();
    let second = |parameters: Value, host: &str| {
        let id = format!("did:webvh:{}:{host}", log.head().scid);
        let entry = json!({
            "versionId": "", "versionTime": (now + Span::seconds(1)).to_string(),
            "parameters": parameters, "state": {"id": id},
        });
        let line = sign(entry, 2, &log.head().version_id, &key);
        let text = format!("{}{line}\n", log.to_text());
        Log::verify(&text, now, Policy::WebVh).map(|log| log.head().version).map_err(|refused| refused.rule)
    };
    assert_eq!(second(json!({}), "node.example"), Ok(2));
    assert_eq!(second(json!({"portable": true}), "node.example"), Err(Rule::PortableLate));
    assert_eq!(second(json!({}), "other.example"), Err(Rule::NotPortable));
    let text = log.to_text();
    assert_eq!(Log::verify(&text, now, Policy::House).unwrap_err().rule, Rule::HousePortable);
}
