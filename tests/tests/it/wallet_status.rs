//! A wallet is stopped by one person and goes on by two; a program's wallet spends within its owner's limits too.

use q_tests::{Instance, Outcome};

fn refused(outcome: &Outcome, code: &str) {
    assert_eq!(outcome.code, Some(5), "{}{}", outcome.said, outcome.complained);
    assert!(outcome.complained.contains(code), "{}", outcome.complained);
}

#[test]
fn one_freezes_two_unfreeze_and_an_empty_wallet_is_closed() {
    let Some(house) = Instance::demo(&[]) else { return };
    assert_eq!(house.q(&["id", "new", "warden"]).code, Some(0));
    assert_eq!(house.q(&["id", "appoint", "warden"]).code, Some(0));
    assert_eq!(
        house.q(&["wallet", "label", "household", "--as", "alice", "--json"]).json()["label"],
        "household"
    );
    let frozen = house.q(&["wallet", "freeze", "--as", "alice", "--json"]).json();
    assert_eq!(frozen["status"], "FROZEN");
    refused(&house.q(&["wallet", "pay", "bob", "1", "--as", "alice"]), "WALLET_FROZEN");
    refused(&house.q(&["wallet", "pay", "alice", "1", "--as", "bob"]), "WALLET_FROZEN");
    refused(
        &house.q(&["wallet", "unfreeze", "alice", "--approver", "operator", "--approver", "bob"]),
        "NOT_AN_APPROVER",
    );
    let two = ["wallet", "unfreeze", "alice", "--approver", "operator", "--approver", "warden", "--json"];
    assert_eq!(house.q(&two).json()["status"], "ACTIVE");
    assert_eq!(house.q(&["wallet", "pay", "bob", "1", "--as", "alice"]).code, Some(0));

    refused(&house.q(&["wallet", "close", "alice", "--as", "operator"]), "WALLET_NOT_EMPTY");
    assert_eq!(house.q(&["wallet", "open", "--as", "warden"]).code, Some(0));
    let closed = house.q(&["wallet", "close", "warden", "--as", "operator", "--json"]).json();
    assert_eq!(closed["status"], "CLOSED");
    refused(&house.q(&["wallet", "pay", "warden", "1", "--as", "bob"]), "WALLET_FROZEN");

    let credit = ["wallet", "credit", "bob", "5", "--approver", "operator", "--approver", "warden", "--json"];
    assert_eq!(house.q(&credit).json()["balances"]["QToken"]["creditLimit"], "5");
    assert_eq!(house.q(&["verify"]).code, Some(0));
}

#[test]
fn a_program_spends_within_its_own_and_its_owners_limits() {
    let Some(house) = Instance::demo(&[]) else { return };
    assert_eq!(house.q(&["id", "sub", "create", "robot", "--as", "alice"]).code, Some(0));
    let opened = house.q(&["wallet", "open", "--as", "robot", "--json"]).json();
    assert_eq!((&opened["profile"], opened["parent"].is_string()), (&"ROOT".into(), true));
    let moved = house.q(&["wallet", "pay", "robot", "30", "--as", "alice", "--json"]).json();
    assert_eq!(moved["fees"]["total"], "0", "within a family nothing is charged");
    assert_eq!(house.q(&["wallet", "limits", "robot", "--set", "daily=10", "--as", "alice"]).code, Some(0));
    assert_eq!(house.q(&["wallet", "pay", "bob", "6", "--as", "robot"]).code, Some(0));
    refused(&house.q(&["wallet", "pay", "bob", "6", "--as", "robot"]), "APPROVAL_REQUIRED");
    refused(&house.q(&["wallet", "limits", "--set", "daily=50", "--as", "robot"]), "FORBIDDEN");
    assert_eq!(house.q(&["wallet", "limits", "robot", "--set", "daily=50", "--as", "alice"]).code, Some(0));
    assert_eq!(house.q(&["wallet", "limits", "--set", "daily=8", "--as", "alice"]).code, Some(0));
    refused(&house.q(&["wallet", "pay", "bob", "6", "--as", "robot"]), "the parent wallet's daily limit");
    let shown = house.q(&["wallet", "limits", "--as", "robot"]).said;
    assert!(shown.contains(" of 8 QToken used, the parent's"), "{shown}");
    // Its days are those of the zone that its owner chooses for it, and what it spent today it has spent.
    let zone = |name: &str, by: &str| house.q(&["wallet", "limits", "robot", "--timezone", name, "--as", by]);
    refused(&zone("Europe/Berlin", "robot"), "FORBIDDEN");
    refused(&zone("Europe/Atlantis", "alice"), "such as Europe/Madrid");
    let chosen = zone("Europe/Berlin", "alice").said;
    assert!(chosen.contains("by the clocks of Europe/Berlin"), "{chosen}");
    assert!(chosen.contains("6 of 50 QToken used"), "{chosen}");
    assert_eq!(house.q(&["verify"]).code, Some(0));
}
