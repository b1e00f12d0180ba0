//! A program pays under a delegation, by one signature and without a token, as far as its owner allows; and a stranger is sure of
//! it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;

use q_tests::{Instance, Outcome};

fn refused(outcome: &Outcome, code: &str) {
    assert_eq!(outcome.code, Some(5), "{}{}", outcome.said, outcome.complained);
    assert!(outcome.complained.contains(code), "{}", outcome.complained);
}

fn done(outcome: &Outcome) -> serde_json::Value {
    assert_eq!(outcome.code, Some(0), "{}", outcome.complained);
    outcome.json()
}

#[test]
fn a_program_pays_under_a_delegation_until_it_is_taken_back() {
    let Some(house) = Instance::demo(&[]) else { return };
    // Whoever has a wallet pays from it with one signature.
    let own = done(&house.q(&["wallet", "invoke", "alice", "3", "--as", "bob", "--json"]));
    assert_eq!(own["status"], "SETTLED");
    // Somebody without one is allowed to pay from bob's.
    done(&house.q(&["id", "sub", "create", "robot", "--as", "alice", "--json"]));
    let terms = ["--up-to", "5", "--max-uses", "2", "--to", "alice"];
    let asked = [&["grant", "pay", "robot"], &terms[..], &["--as", "bob", "--json"]].concat();
    let given = done(&house.q(&asked));
    let cid = given["cid"].as_str().unwrap();
    let pay = |amount: &str, to: &str, more: &[&str]| {
        house
            .q(&[&["wallet", "invoke", to, amount, "--under", cid, "--as", "robot", "--json"], more].concat())
    };
    let beyond = pay("5", "alice", &[]);
    refused(&beyond, "UCAN_POLICY_VIOLATION");
    let said = "together are over the delegation's 5 QToken (.costMicros <= 5000000";
    assert!(beyond.complained.contains(said), "{}", beyond.complained);
    done(&house.q(&["wallet", "open", "--as", "operator", "--json"]));
    let elsewhere = pay("1", "operator", &[]);
    refused(&elsewhere, "UCAN_POLICY_VIOLATION");
    assert!(elsewhere.complained.contains("is not the delegation's"), "{}", elsewhere.complained);
    let first = pay("4", "alice", &["--idempotency-key", "rent"]);
    let paid = done(&first);
    let id = paid["transactionId"].as_str().unwrap();
    assert_eq!(done(&pay("4", "alice", &["--idempotency-key", "rent"]))["transactionId"], id);
    assert_ne!(pay("3", "alice", &["--idempotency-key", "rent"]).code, Some(0));

    // The delegation as a file, as it is handed from one machine to another.
    let file = house.scratch().join("delegation");
    fs::write(&file, given["delegation"].as_str().unwrap()).unwrap();
    let path = file.to_str().unwrap();
    let from_file = house.q(&["wallet", "invoke", "alice", "1", "--under", path, "--as", "robot", "--json"]);
    assert_eq!(done(&from_file)["status"], "SETTLED");
    refused(&pay("1", "alice", &[]), "UCAN_USED_UP");

    // Proved to a stranger, with the keys of the program and of its principal.
    let receipt = house.scratch().join("receipt.json");
    let written = receipt.to_str().unwrap();
    assert_eq!(house.q(&["receipt", "get", id, "--as", "bob", "--out", written]).code, Some(0));
    let text: serde_json::Value = serde_json::from_str(&fs::read_to_string(&receipt).unwrap()).unwrap();
    let signer = text["signer"].as_str().unwrap();
    let verified = house.q(&["receipt", "verify", written, "--trust", signer, "--json"]);
    let proved = done(&verified).to_string();
    assert_eq!(verified.json()["delegated"]["delegations"][0]["cid"], cid);
    let told = house.q(&["receipt", "verify", written, "--trust", signer]).said;
    assert!(told.contains("in the place of did:") && told.contains(&format!("delegation {cid}")), "{told}");
    let shown = house.q(&["wallet", "show", id, "--as", "alice"]).said;
    assert!(shown.contains("ordered by robot (did:") && shown.contains(cid), "{shown}");
    for who in ["robot", "bob"] {
        let did = done(&house.q(&["id", "show", who, "--json"]))["did"].as_str().unwrap().to_owned();
        assert!(proved.contains(&format!("{did}#z6Mk")), "{who}: {proved}");
    }

    let other = done(&house.q(&["grant", "pay", "robot", "--as", "bob", "--json"]));
    let cid = other["cid"].as_str().unwrap();
    let again = || house.q(&["wallet", "invoke", "alice", "1", "--under", cid, "--as", "robot", "--json"]);
    let packed = house.scratch().join("other");
    fs::write(&packed, other["delegation"].as_str().unwrap()).unwrap();
    assert_eq!(done(&again())["status"], "SETTLED");
    let revoked = house.q(&["grant", "revoke", "--delegation", cid, "--as", "bob", "--json"]);
    assert_eq!(done(&revoked)["cids"][0], cid);
    refused(&again(), "DELEGATION_REVOKED");
    let path = packed.to_str().unwrap();
    let by_file = || house.q(&["wallet", "invoke", "alice", "1", "--under", path, "--as", "robot", "--json"]);
    // Revocations travel within a second; what is asked until then is asked again.
    let heard = std::iter::repeat_with(by_file).take(50).find(|outcome| outcome.code != Some(0));
    refused(&heard.unwrap(), "UCAN_REVOKED");
    // The owner sees who may pay, within which bounds, and takes all of it back by the name.
    let listed = house.q(&["grant", "list", "--as", "bob"]);
    for told in
        ["robot (did:", "only up to 5 at once, fees included", "only to alice (did:", "only 2 times, 0 left"]
    {
        assert!(listed.said.contains(told), "{told}: {}", listed.said);
    }
    let third = done(&house.q(&["grant", "pay", "robot", "--as", "bob", "--json"]));
    let standing = done(&house.q(&["grant", "list", "--as", "robot", "--json"]));
    assert_eq!(standing["payments"][0]["cid"], third["cid"], "{standing}");
    let revoked = done(&house.q(&["grant", "revoke", "robot", "--as", "bob", "--json"]));
    assert_eq!(revoked["revokedPermissions"], serde_json::json!(["pay"]));
    let standing = done(&house.q(&["grant", "list", "--as", "robot", "--json"]));
    assert_eq!(standing["payments"], serde_json::json!([]));
    let under = third["cid"].as_str().unwrap();
    let paid = house.q(&["wallet", "invoke", "alice", "1", "--under", under, "--as", "robot", "--json"]);
    refused(&paid, "DELEGATION_REVOKED");
    // The fees are those of the wallet that pays: between alice and whoever is below her nothing is due, from bob to her it is.
    done(&house.q(&["wallet", "open", "--as", "robot", "--json"]));
    done(&house.q(&["wallet", "faucet", "20", "--as", "bob", "--json"]));
    let given = done(&house.q(&["grant", "pay", "robot", "--as", "bob", "--json"]));
    let under = given["cid"].as_str().unwrap();
    let paid = |to: &str, more: &[&str]| {
        house.q(&[&["wallet", "invoke", to, "2", "--under", under, "--as", "robot", "--json"], more].concat())
    };
    let fees = done(&paid("alice", &[]))["fees"]["total"].clone();
    assert_ne!(fees, "0");
    assert_eq!(done(&paid("robot", &[]))["fees"]["total"], fees, "whoever invokes may be paid");
    assert_eq!(done(&paid("alice", &["--max-fees", "1"]))["fees"]["total"], fees);
    refused(&paid("alice", &["--max-fees", "0"]), "FEES_EXCEED_MAXIMUM");
    let sound = house.q(&["verify", "qwallet"]);
    assert_eq!(sound.code, Some(0), "{}{}", sound.said, sound.complained);
}
