//! The official UCAN 1.0.0 fixtures: every case, with the same class of error.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD};
use q_core::Timestamp;
use q_jose::ed25519::SecretKey;
use q_ucan::{
    Delegation, Invocation, Ipld, Policy, Refusal, Rules, Verifier,
    chain::{DidKeyOnly, NoneRevoked},
    dag_json,
};
use serde_json::Value;

use crate::support::vector;

fn bytes_of(value: &Value) -> Vec<u8> {
    match dag_json::from_json(value) {
        Ok(Ipld::Bytes(bytes)) => bytes,
        other => panic!("bytes expected, found {other:?}"),
    }
}

fn judge(case: &Value) -> Result<(), Refusal> {
    let invocation = Invocation::decode(&bytes_of(&case["invocation"]))?;
    let proofs = case["proofs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|proof| Delegation::decode(&bytes_of(proof)).map(Arc::new))
        .collect::<Result<Vec<_>, _>>()?;
    let verifier = Verifier {
        keys: &DidKeyOnly,
        revocations: &NoneRevoked,
        rules: Rules::SPECIFICATION,
        now: Timestamp::from_seconds(case["time"].as_i64().unwrap()),
    };
    let executor = invocation.executor().clone();
    verifier.invocation(&invocation, proofs.as_slice(), &executor, invocation.args()).map(|_| ())
}

#[test]
fn invocations_are_judged_as_published() {
    let Some(text) = vector("invocation.json") else { return };
    let fixtures: Value = serde_json::from_str(&text).unwrap();
    let valid = fixtures["valid"].as_array().unwrap();
    for case in valid {
        assert_eq!(judge(case), Ok(()), "{}", case["name"]);
    }
    let invalid = fixtures["invalid"].as_array().unwrap();
    for case in invalid {
        let refusal = judge(case).expect_err(case["name"].as_str().unwrap());
        assert_eq!(refusal.name(), case["error"]["name"], "{}: {refusal}", case["name"]);
    }
    assert_eq!((valid.len(), invalid.len()), (7, 13));
}

#[test]
fn the_delegation_decodes_and_is_made_again_byte_for_byte() {
    let Some(text) = vector("delegation.json") else { return };
    let fixtures: Value = serde_json::from_str(&text).unwrap();
    let bob = STANDARD.decode(fixtures["principals"]["bob"].as_str().unwrap()).unwrap();
    let bob = SecretKey::from_seed(bob[2..].try_into().unwrap());
    for case in fixtures["valid"].as_array().unwrap() {
        let token = STANDARD.decode(case["token"].as_str().unwrap()).unwrap();
        let delegation = Delegation::decode(&token).unwrap();
        assert_eq!(delegation.cid().to_string(), case["cid"]);
        let said = &case["envelope"]["payload"];
        assert_eq!(delegation.issuer().to_string(), said["iss"]);
        assert_eq!(delegation.audience().to_string(), said["aud"]);
        assert_eq!(delegation.command().as_str(), said["cmd"]);
        assert_eq!(STANDARD.encode(delegation.nonce()), said["nonce"]);

        // Ed25519 is deterministic, so the same claims signed by the same key are the same token.
        let again = q_ucan::DelegationDraft {
            issuer: delegation.issuer().clone(),
            audience: delegation.audience().clone(),
            subject: delegation.subject().cloned(),
            command: delegation.command().clone(),
            policy: delegation.policy().clone(),
            nonce: delegation.nonce().to_vec(),
            not_before: None,
            expires_at: Some(Timestamp::from_seconds(said["exp"].as_i64().unwrap())),
            meta: delegation.meta().clone(),
        };
        assert_eq!(again.sign(&bob).unwrap().bytes(), token);
    }
}

#[test]
fn policies_hold_as_published() {
    let Some(text) = vector("policy.json") else { return };
    // As published the file has one pair of braces too many, around `newsletters`.
    let mut lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[85].trim(), "{", "the stray brace is where it was");
    lines.remove(85);
    let partner = lines.iter().enumerate().skip(85).filter(|(_, line)| line.trim() == "}").nth(1).unwrap().0;
    lines.remove(partner);
    let fixtures: Value = serde_json::from_str(&lines.join("\n")).unwrap();
    let mut count = 0;
    for (group, expected) in [("valid", true), ("invalid", false)] {
        for case in fixtures[group].as_array().unwrap() {
            let args = dag_json::from_json(&case["args"]).unwrap();
            for policy in case["policies"].as_array().unwrap() {
                let read = Policy::from_ipld(&dag_json::from_json(policy).unwrap()).unwrap();
                assert_eq!(read.check(&args).is_ok(), expected, "{policy} on {}", case["args"]);
                assert_eq!(Policy::from_ipld(&read.to_ipld()), Ok(read));
                count += 1;
            }
        }
    }
    assert_eq!(count, 25);
}
