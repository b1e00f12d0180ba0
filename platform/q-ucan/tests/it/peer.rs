//! npm `iso-ucan` 0.5.0: our tokens verify there, theirs verify here, and its known hole is closed here.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD};
use q_ucan::{Delegation, Invocation, Ipld, Policy, Refusal, Rules, dag_json, policy::args};
use serde_json::{Value, json};

use crate::support::{draft, invoke, person, verifier};

/// Asks the peer; nothing where it is not installed.
fn peer(request: &Value) -> Option<Value> {
    let mut peer = q_oracle::script("npm iso-ucan", env!("CARGO_MANIFEST_DIR"), "iso_ucan.mjs")?;
    let answer = q_oracle::ask(&mut peer, request.to_string()).unwrap();
    Some(serde_json::from_slice(&answer).unwrap())
}

fn pack(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// What the peer makes of our invocation and proofs: "ok" or its complaint.
fn verdict(invocation: &Invocation, proofs: &[Arc<Delegation>]) -> Option<String> {
    let proofs: Vec<_> = proofs.iter().map(|proof| pack(proof.bytes())).collect();
    let request = json!({"verify": {"invocation": pack(invocation.bytes()), "proofs": proofs}});
    Some(peer(&request)?["verdict"].as_str().unwrap().to_owned())
}

/// The peer has no clock argument for invocations, so these tokens never end.
fn endless_link(from: u8, to: u8, command: &str, policy: Policy) -> Arc<Delegation> {
    let mut draft = draft(&person(from), &person(to).did, Some(&person(1).did), command);
    draft.expires_at = None;
    draft.policy = policy;
    Arc::new(draft.sign(&person(from).key).unwrap())
}

fn endless_invocation(command: &str, proofs: &[Arc<Delegation>]) -> Invocation {
    let cids: Vec<_> = proofs.iter().map(|proof| proof.cid()).collect();
    let carol = person(3);
    let mut draft = invoke(&carol, &person(1), command, &cids);
    draft.expires_at = None;
    draft.args.insert("resource".to_owned(), Ipld::String("qdrive:file:a".to_owned()));
    draft.sign(&carol.key).unwrap()
}

fn ours(invocation: &Invocation, proofs: &[Arc<Delegation>]) -> Result<(), Refusal> {
    let verifier = q_ucan::Verifier { rules: Rules::SPECIFICATION, ..verifier() };
    verifier.invocation(invocation, proofs, &person(1).did, invocation.args()).map(|_| ())
}

#[test]
fn our_tokens_verify_there() {
    let pinned = Policy::pins_resource("qdrive:file:a");
    let proofs = [
        endless_link(1, 2, "/qdrive/file", pinned),
        endless_link(2, 3, "/qdrive/file/read", Policy::default()),
    ];
    let invocation = endless_invocation("/qdrive/file/read", &proofs);
    assert_eq!(ours(&invocation, &proofs), Ok(()));
    let Some(verdict) = verdict(&invocation, &proofs) else { return };
    assert_eq!(verdict, "ok");

    // And it refuses what we refuse.
    let other = [
        endless_link(1, 2, "/qdrive/file", Policy::pins_resource("qdrive:file:b")),
        endless_link(2, 3, "/qdrive/file/read", Policy::default()),
    ];
    let invocation = endless_invocation("/qdrive/file/read", &other);
    assert_eq!(ours(&invocation, &other), Err(Refusal::MatchError));
    assert_ne!(self::verdict(&invocation, &other).unwrap(), "ok");
}

#[test]
fn the_command_prefix_attack_passes_there_and_not_here() {
    let proofs = [endless_link(1, 3, "/crypto", Policy::default())];
    let invocation = endless_invocation("/cryptocurrency", &proofs);
    assert_eq!(ours(&invocation, &proofs), Err(Refusal::InvalidCommand));
    let Some(verdict) = verdict(&invocation, &proofs) else { return };
    assert_eq!(verdict, "ok", "the peer closed its hole: drop the known difference");
}

#[test]
fn their_tokens_verify_here() {
    let request = json!({"make": {
        "seeds": [pack(&[1; 32]), pack(&[2; 32]), pack(&[3; 32])],
        "commands": ["/qdrive/file", "/qdrive/file/read"],
        "policy": [["==", ".resource", "qdrive:file:a"], ["like", ".resource", "qdrive:*"]],
        "args": {"resource": "qdrive:file:a", "size": 3},
    }});
    for alg in ["Ed25519", "ES256", "ES256K"] {
        let mut request = request.clone();
        request["make"]["alg"] = alg.into();
        let Some(answer) = peer(&request) else { return };
        let decode = |value: &Value| STANDARD.decode(value.as_str().unwrap()).unwrap();
        let proofs: Vec<_> = answer["proofs"]
            .as_array()
            .unwrap()
            .iter()
            .map(|proof| Arc::new(Delegation::decode(&decode(&proof["bytes"])).unwrap()))
            .collect();
        for (proof, said) in proofs.iter().zip(answer["proofs"].as_array().unwrap()) {
            assert_eq!(proof.cid().to_string(), said["cid"], "{alg}");
            assert_eq!(proof.algorithm().name(), alg);
        }
        let invocation = Invocation::decode(&decode(&answer["invocation"])).unwrap();
        let subject = invocation.subject().clone();
        let verifier = q_ucan::Verifier { rules: Rules::SPECIFICATION, ..verifier() };
        let judge = |at: &Ipld| verifier.invocation(&invocation, proofs.as_slice(), &subject, at).map(|_| ());
        assert_eq!(judge(invocation.args()), Ok(()), "{alg}");
        let elsewhere = args([("resource", Ipld::String("qdrive:file:b".to_owned()))]);
        assert_eq!(judge(&elsewhere), Err(Refusal::MatchError), "{alg}");
    }
}

#[test]
fn policies_are_judged_alike() {
    // Known differences, left out: a missing key of a map and an optional step (`.l[9]?`) are null in the
    // specification; the peer says "no" to every statement about them.
    let values = [
        json!({"n": 1, "t": "a*b", "l": [1, 2, {"b": 3}], "m": {"x": "bob@example.com", "y": "eve"}}),
        json!({"n": 2.5, "t": "", "l": [], "m": {}}),
        json!({"n": -3, "t": "abba", "l": [[1], [2]], "m": {"x": null}}),
    ];
    let statements = [
        json!(["==", ".n", 1]),
        json!(["!=", ".n", 1]),
        json!([">", ".n", 0]),
        json!(["<=", ".n", 2.5]),
        json!(["<", ".t", 1]),
        json!(["like", ".t", "a*b*"]),
        json!(["like", ".t", "a\\*b"]),
        json!(["like", ".n", "*"]),
        json!(["==", ".l[0]", 1]),
        json!(["==", ".l[-1]", {"b": 3}]),
        json!(["==", ".l[9]", null]),
        json!(["==", ".l[1:]", [2, {"b": 3}]]),
        json!(["any", ".m", ["like", ".", "*@example.com"]]),
        json!(["all", ".m", ["like", ".", "*"]]),
        json!(["and", []]),
        json!(["or", []]),
        json!(["not", ["or", [["==", ".n", 1], [">", ".n", 2]]]]),
    ];
    let request = json!({"policies": {"args": values, "statements": statements}});
    let Some(answer) = peer(&request) else { return };
    for (value, row) in values.iter().zip(answer["verdicts"].as_array().unwrap()) {
        for (statement, theirs) in statements.iter().zip(row.as_array().unwrap()) {
            let policy = Policy::from_ipld(&dag_json::from_json(&json!([statement])).unwrap()).unwrap();
            let holds = policy.check(&dag_json::from_json(value).unwrap()).is_ok();
            assert_eq!(Some(holds), theirs.as_bool(), "{statement} on {value}");
        }
    }
}

#[test]
fn the_second_spelling_of_a_signature_passes_there_and_not_here() {
    let request = json!({"make": {
        "seeds": [pack(&[1; 32]), pack(&[2; 32])],
        "commands": ["/x"],
        "policy": [],
        "args": {},
        "alg": "ES256-high",
    }});
    let Some(answer) = peer(&request) else { return };
    let bytes = STANDARD.decode(answer["proofs"][0]["bytes"].as_str().unwrap()).unwrap();
    let delegation = Delegation::decode(&bytes).unwrap();
    let verifier = q_ucan::Verifier { rules: Rules::SPECIFICATION, ..verifier() };
    assert_eq!(verifier.delegation(&delegation), Err(Refusal::InvalidSignature));
}

/// A small generator, so that every run judges the same chains.
struct Dice(u64);

impl Dice {
    fn below(&mut self, count: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % count
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

#[test]
fn random_chains_are_judged_alike_but_for_what_is_known() {
    const COMMANDS: [&str; 7] = ["/", "/a", "/a/b", "/a/b/c", "/ab", "/a/bc", "/b"];
    let mut dice = Dice(7);
    let mut cases = Vec::new();
    for _ in 0..300 {
        let length = 1 + dice.below(3);
        // Mostly a chain that fits, each time with a chance of something that does not.
        let mut people: Vec<u8> = (1..).take(length + 1).collect();
        people[length] = 3;
        if dice.below(6) == 0 {
            let at = dice.below(length);
            people[at] = dice.one_of(&[1, 2, 4]);
        }
        let proofs: Vec<_> = (0..length)
            .map(|at| {
                let subject = dice.one_of(&[Some(1), Some(1), Some(1), Some(1), Some(2), None]);
                let command = if dice.below(2) == 0 { "/" } else { dice.one_of(&COMMANDS) };
                let to = if dice.below(8) == 0 { 5 } else { people[at + 1] };
                let mut draft = draft(
                    &person(people[at]),
                    &person(to).did,
                    subject.map(|it| person(it).did).as_ref(),
                    command,
                );
                draft.expires_at = None;
                draft.nonce = vec![u8::try_from(at).unwrap(); 12];
                if dice.below(4) == 0 {
                    draft.policy = Policy::pins_resource(dice.one_of(&["qdrive:file:a", "qdrive:file:b"]));
                }
                Arc::new(draft.sign(&person(people[at]).key).unwrap())
            })
            .collect();
        let invocation = endless_invocation(dice.one_of(&COMMANDS), &proofs);
        cases.push((invocation, proofs));
    }
    let request: Vec<Value> = cases
        .iter()
        .map(|(invocation, proofs)| {
            let proofs: Vec<_> = proofs.iter().map(|proof| pack(proof.bytes())).collect();
            json!({"invocation": pack(invocation.bytes()), "proofs": proofs})
        })
        .collect();
    let Some(answer) = peer(&json!({"verifyMany": request})) else { return };
    let (mut accepted, mut known) = (0, 0);
    for ((invocation, proofs), theirs) in cases.iter().zip(answer["verdicts"].as_array().unwrap()) {
        let ours = ours(invocation, proofs);
        let said: Vec<_> =
            proofs.iter().map(|it| (it.issuer(), it.audience(), it.subject(), it.command())).collect();
        match (&ours, theirs == "ok") {
            (Ok(()), true) => accepted += 1,
            (Err(_), false) => {}
            // Compared as text there, by segments here.
            (Err(Refusal::InvalidCommand), true) => known += 1,
            // A chain that comes back to a principal.
            (Err(Refusal::InvalidClaim("a chain does not come back to a principal")), true) => known += 1,
            // A powerline takes the subject of the chain here, of the invocation there; the root's subject decides.
            (Err(Refusal::InvalidSubject), true) if said.iter().any(|it| it.2.is_none()) => known += 1,
            _ => panic!("ours {ours:?}, theirs {theirs}: {said:?} for {}", invocation.command()),
        }
    }
    assert!(accepted > 20, "only {accepted} chains held: the cases say little");
    assert!(known > 0, "the known differences did not appear");
}
