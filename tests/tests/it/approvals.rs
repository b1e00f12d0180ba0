//! A payment too large for one person: others approve it, its payer proves a second key, and then it is made.

use q_tests::{Instance, Outcome};

fn refused(outcome: &Outcome, code: &str) {
    assert_eq!(outcome.code, Some(5), "{}{}", outcome.said, outcome.complained);
    assert!(outcome.complained.contains(code), "{}", outcome.complained);
}

#[test]
fn a_large_payment_is_approved_by_two_proved_by_a_second_key_and_made() {
    let roomy = [("QWALLET_STEP_UP", "100 QToken"), ("QWALLET_LIMIT_DAILY", "none")];
    let Some(house) = Instance::demo(&roomy) else { return };
    for name in ["carol", "dora"] {
        assert_eq!(house.q(&["id", "new", name]).code, Some(0));
    }
    assert_eq!(house.q(&["wallet", "faucet", "1000", "--as", "bob"]).code, Some(0));
    let set = ["wallet", "approvals", "set", "--above", "5", "--required", "2", "--approver", "carol"];
    let set = [&set[..], &["--approver", "dora", "--approver", "alice", "--as", "bob", "--json"]].concat();
    assert_eq!(house.q(&set).json()["version"], 1);
    refused(&house.q(&["wallet", "pay", "alice", "120", "--as", "bob"]), "APPROVAL_REQUIRED");
    assert_eq!(house.q(&["wallet", "pay", "alice", "5", "--as", "bob"]).code, Some(0));

    let intent = house.q(&["wallet", "intents", "new", "alice", "120", "--as", "bob", "--json"]).json();
    assert_eq!(intent["nextAction"], "approve(2 of 3)");
    let id = intent["intentId"].as_str().unwrap().to_owned();
    let pay = ["wallet", "intents", "pay", id.as_str(), "--as", "bob", "--json"];
    refused(&house.q(&pay), "APPROVAL_REQUIRED");
    let waiting = house.q(&["wallet", "approvals", "waiting", "--as", "carol", "--json"]).json();
    assert_eq!(waiting["items"][0]["intentId"], id.as_str());
    refused(&house.q(&["wallet", "approve", &id, "--as", "bob"]), "SELF_APPROVAL");
    assert_eq!(house.q(&["wallet", "approve", &id, "--as", "carol"]).code, Some(0));
    refused(&house.q(&pay), "1 of the 2 approvals");
    assert_eq!(house.q(&["wallet", "approve", &id, "--as", "dora"]).code, Some(0));

    let told = house.q(&pay);
    refused(&told, "MFA_REQUIRED");
    assert!(told.complained.contains("q auth step-up"), "{}", told.complained);
    let words = house.scratch().join("stick").display().to_string();
    assert_eq!(house.q(&["auth", "second-key", "add", "--file", &words, "--as", "bob"]).code, Some(0));
    assert_eq!(house.q(&["auth", "step-up", "--file", &words, "--as", "bob"]).code, Some(0));
    assert_eq!(house.q(&pay).json()["status"], "SETTLED");

    // A hold that was approved is signed by its payer alone, and taken by its payee.
    refused(&house.q(&["wallet", "hold", "open", "alice", "20", "--as", "bob"]), "APPROVAL_REQUIRED");
    let waiting = house.q(&["wallet", "approvals", "waiting", "--as", "carol", "--json"]).json();
    let id = waiting["items"][0]["intentId"].as_str().unwrap().to_owned();
    assert_eq!(waiting["items"][0]["capture"], "manual");
    assert_eq!(house.q(&["wallet", "approve", &id, "--as", "carol"]).code, Some(0));
    let next = format!("next: q wallet intents pay {id} --as bob");
    let approved = house.q(&["wallet", "approve", &id, "--as", "dora"]);
    assert!(approved.said.contains(&next), "{}{}", approved.said, approved.complained);
    let not_hers = house.q(&["wallet", "intents", "pay", &id, "--as", "dora"]);
    assert_eq!(not_hers.code, Some(2));
    assert!(not_hers.complained.contains("an intent of bob"), "{}", not_hers.complained);
    let held = house.q(&["wallet", "intents", "pay", &id, "--as", "bob"]);
    assert_eq!(held.code, Some(0), "{}", held.complained);
    let capture = format!("the payee takes it: q wallet hold capture {id} --as alice");
    assert!(held.said.contains(&capture), "{}", held.said);
    assert_eq!(house.q(&["wallet", "hold", "capture", &id, "--as", "alice"]).code, Some(0));

    // What is rejected by too many is over.
    let intent = house.q(&["wallet", "intents", "new", "alice", "121", "--as", "bob", "--json"]).json();
    let id = intent["intentId"].as_str().unwrap().to_owned();
    for name in ["carol", "dora"] {
        assert_eq!(house.q(&["wallet", "reject", &id, "--as", name]).code, Some(0));
    }
    let shown = house.q(&["wallet", "intents", "show", &id, "--as", "bob", "--json"]).json();
    assert_eq!(shown["status"], "CANCELLED");

    // Less protection waits a day, or for the approvers.
    let off = house.q(&["wallet", "approvals", "off", "--as", "bob", "--json"]).json();
    assert!(off["pending"]["effectiveAt"].is_string(), "{off}");
    let signed = ["--signed-by", "carol", "--signed-by", "dora"];
    let off = house.q(&[&["wallet", "approvals", "off", "--as", "bob", "--json"], &signed[..]].concat());
    assert_eq!(off.json()["rule"]["required"], 0);
    assert_eq!(house.q(&["wallet", "pay", "alice", "6", "--as", "bob"]).code, Some(0));
    assert_eq!(house.q(&["verify"]).code, Some(0));
}
