//! Money from a chain and back to it with the real program: an ERC-20 of other authors on a local Ethereum-type chain,
//! which is rewritten on the way, while the program is stopped and started.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use q_testkit::oracle::Anvil;
use q_tests::{Instance, Outcome};
use serde_json::Value;

const COIN: u128 = 1_000_000_000_000_000_000;
/// The second account of the chain's phrase: somebody outside.
const STRANGER: &str = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";

fn said(house: &Instance, arguments: &[&str]) -> String {
    let outcome = house.q(arguments);
    assert_eq!(outcome.code, Some(0), "{arguments:?}: {}{}", outcome.said, outcome.complained);
    outcome.said
}

fn refused(outcome: &Outcome, code: &str) {
    assert_eq!(outcome.code, Some(5), "{}{}", outcome.said, outcome.complained);
    assert!(outcome.complained.contains(code), "{}", outcome.complained);
}

/// Asks until `is_so`: the program looks at its rails every five seconds, and each question takes a process its time.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    assert!((0..2_000).any(|_| is_so()), "{what} does not come to pass");
}

/// The settings an operator writes for a token on the chain.
fn settings(anvil: &Anvil, token: &str) -> [(&'static str, String); 6] {
    [
        ("QWALLET_RAIL_EVM_URL", anvil.url()),
        ("QWALLET_RAIL_EVM_CHAIN_ID", Anvil::CHAIN_ID.to_string()),
        ("QWALLET_RAIL_EVM_TOKEN", token.to_owned()),
        ("QWALLET_RAIL_EVM_CONFIRMATIONS", "3".to_owned()),
        ("QWALLET_RAIL_EVM_FEE", "0.25".to_owned()),
        ("QWALLET_RAIL_EVM_SWEEP_FROM", "1000000".to_owned()),
    ]
}

fn rail(house: &Instance) -> Value {
    house.q(&["wallet", "rail", "list", "--as", "operator", "--json"]).json()["items"][0].clone()
}

fn balance(house: &Instance, name: &str) -> Value {
    house.q(&["wallet", "balance", "--as", name, "--json"]).json()["balances"]["QToken"].clone()
}

fn token_of(anvil: &Anvil, token: &str, address: &str) -> u128 {
    let word = address.trim_start_matches("0x").to_lowercase();
    let data = format!("0x70a08231{word:0>64}");
    let text = anvil.call("eth_call", &format!(r#"[{{"to":"{token}","data":"{data}"}}, "latest"]"#));
    u128::from_str_radix(text.trim_matches('"').trim_start_matches("0x"), 16).expect("a number")
}

/// A house with a rail that is up, and 500 of the token to pay out.
fn harbour() -> Option<(Anvil, String, Instance)> {
    let anvil = Anvil::start()?;
    let token = anvil.deploy_token(1_000_000 * COIN)?;
    anvil.mine(3);
    let settings = settings(&anvil, &token);
    let settings: Vec<(&str, &str)> = settings.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let house = Instance::demo(&settings)?;

    // The operator looks at the rail, and two approvers give it its key.
    let listed = said(&house, &["wallet", "rail", "list", "--as", "operator"]);
    assert!(listed.contains("evm  NO_KEY (QToken)") && listed.contains("q wallet rail key"), "{listed}");
    said(&house, &["id", "new", "warden"]);
    said(&house, &["id", "appoint", "warden"]);
    let approvers = ["--approver", "operator", "--approver", "warden"];
    let key = said(&house, &[&["wallet", "rail", "key", "evm"], &approvers[..]].concat());
    assert!(key.contains("evm  STARTING (QToken)") && key.contains("pays out from 0x"), "{key}");
    until("the rail is up", || rail(&house)["status"] == "UP");
    let address = rail(&house)["houseAddress"].as_str().unwrap().to_owned();
    anvil.send_token(&token, &address, 500 * COIN);
    anvil.send(&address, COIN, "0x");
    anvil.mine(3);
    Some((anvil, token, house))
}

#[test]
fn a_token_comes_in_and_leaves_over_restarts_and_a_rewritten_chain() {
    let Some((anvil, token, mut house)) = harbour() else { return };
    // A user is paid from outside: shown at once, credited when final.
    let before = balance(&house, "bob")["available"].as_str().unwrap().to_owned();
    assert_eq!(before, "12.5");
    let shown = said(&house, &["wallet", "rail", "address", "evm", "--as", "bob"]);
    let mine = shown.split_whitespace().next().unwrap().to_owned();
    assert!(mine.starts_with("0x") && mine.len() == 42, "{shown}");
    assert!(shown.contains("QToken only") && shown.contains("3 blocks"), "{shown}");
    assert_eq!(said(&house, &["wallet", "rail", "deposits", "--as", "bob"]).trim(), "nothing came in yet");
    anvil.send_token(&token, &mine, 40 * COIN);
    until("the deposit is seen", || balance(&house, "bob")["pendingIn"] == "40");
    assert_eq!(balance(&house, "bob")["available"], "12.5");
    let told = said(&house, &["wallet", "rail", "deposits", "--as", "bob"]);
    assert!(told.contains("PENDING") && told.contains("40 QToken"), "{told}");

    // The chain forgets it while nobody looks; what it does not show any more is not pending any more.
    house.stop();
    anvil.reorg(1);
    house.start(&["up"]);
    until("the deposit is gone", || balance(&house, "bob")["pendingIn"] == "0");
    let told = said(&house, &["wallet", "rail", "deposits", "--as", "bob"]);
    assert!(told.contains("REMOVED"), "{told}");
    assert_eq!(balance(&house, "bob")["available"], "12.5");
    anvil.send_token(&token, &mine, 41 * COIN);
    anvil.mine(3);
    until("the deposit is credited", || balance(&house, "bob")["available"] == "53.5");
    assert_eq!(balance(&house, "bob")["pendingIn"], "0");
    let told = said(&house, &["wallet", "rail", "deposits", "--as", "bob"]);
    assert!(told.contains("CREDITED") && told.contains("41 QToken"), "{told}");

    // The user sends money out. The program is killed with the transaction under way, and the chain rewritten.
    refused(
        &house.q(&["wallet", "rail", "withdraw", "evm", "0xnobody", "1", "--as", "bob"]),
        "ADDRESS_INVALID",
    );
    let other = house.q(&["wallet", "rail", "withdraw", "stellar", STRANGER, "1", "--as", "bob"]);
    refused(&other, "RAIL_UNSUPPORTED");
    assert!(other.complained.contains("evm"), "the hint names what there is: {}", other.complained);
    anvil.stop_mining();
    let withdraw = ["wallet", "rail", "withdraw", "evm", STRANGER, "30", "--as", "bob"];
    let asked = said(&house, &withdraw);
    let id = asked.split_whitespace().next().unwrap().to_owned();
    assert!(
        asked.contains(" PENDING\n") && asked.contains(&format!("30 QToken to {STRANGER} over evm")),
        "{asked}"
    );
    // 0.25 for the rail and half a percent for the house.
    assert!(asked.contains("fees 0.4"), "{asked}");
    let status = |house: &Instance| {
        let shown = house.q(&["wallet", "rail", "show", &id, "--as", "bob", "--json"]).json();
        shown["status"].as_str().unwrap().to_owned()
    };
    until("the withdrawal is sent", || status(&house) == "BROADCASTING");
    assert_eq!(balance(&house, "bob")["pendingOut"], "30.4");
    house.kill();
    anvil.mine(1);
    house.start(&["up"]);
    until("the withdrawal is in a block", || status(&house) == "CONFIRMED");
    anvil.reorg(1);
    until("its block is gone", || status(&house) != "CONFIRMED");
    anvil.go_on_mining();
    anvil.mine(1);
    until("the withdrawal is in a block again", || status(&house) == "CONFIRMED");
    assert_eq!(balance(&house, "bob")["pendingOut"], "30.4", "held until nothing can be rewritten");
    anvil.mine(3);
    until("the withdrawal is final", || status(&house) == "SETTLED");
    let ended = said(&house, &["wallet", "rail", "show", &id, "--as", "bob"]);
    assert!(ended.contains(" SETTLED\n") && ended.contains("  0x"), "{ended}");
    let left = balance(&house, "bob");
    assert_eq!((&left["available"], &left["pendingOut"]), (&"23.1".into(), &"0".into()));
    assert_eq!(token_of(&anvil, &token, STRANGER), 30 * COIN, "once");

    // Books and chain agree, the books balance, and the store is whole.
    let agreed = said(&house, &["wallet", "rail", "reconcile", "evm", "--as", "operator"]);
    assert!(agreed.contains("evm  UP") && agreed.contains("difference 0 "), "{agreed}");
    let compared = rail(&house)["reconciled"].clone();
    assert_eq!((&compared["chain"], &compared["books"]), (&"511".into(), &"511".into()));
    balanced(&house);
}

#[test]
fn what_a_restored_store_has_forgotten_is_booked_by_two_operators() {
    let Some((anvil, token, mut house)) = harbour() else { return };
    let suspense = || said(&house, &["wallet", "rail", "suspense", "evm", "--as", "operator"]);
    until("the house's own money is in the books", || suspense().contains("500 QToken"));
    let made = house.q(&["backup", "create", "--json"]).json();
    let backup = made["id"].as_str().unwrap().to_owned();
    let asked = said(&house, &["wallet", "rail", "withdraw", "evm", STRANGER, "10", "--as", "bob"]);
    let id = asked.split_whitespace().next().unwrap().to_owned();
    let show = ["wallet", "rail", "show", id.as_str(), "--as", "bob", "--json"];
    until("the withdrawal is final", || {
        anvil.mine(1);
        house.q(&show).json()["status"] == "SETTLED"
    });
    let hash = house.q(&show).json()["chainHash"].as_str().unwrap().to_owned();
    assert_eq!(balance(&house, "bob")["available"], "2.2");

    // The store is put back from before: bob has the money again, and the chain has not.
    house.stop();
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(house.data().join(format!("qwallet.sqlite{suffix}")));
    }
    said(&house, &["backup", "restore", &backup, "--modules", "qwallet"]);
    house.start(&["up"]);
    assert_eq!(balance(&house, "bob")["available"], "12.5");
    refused(&house.q(&show), "TRANSACTION_NOT_FOUND");
    let paused = rail(&house);
    assert_eq!(paused["status"], "PAUSED");
    assert!(paused["reason"].as_str().unwrap().contains("put back from backup"), "{paused}");
    refused(&house.q(&["wallet", "rail", "withdraw", "evm", STRANGER, "1", "--as", "bob"]), "RAIL_DOWN");
    let reconcile = ["wallet", "rail", "reconcile", "evm", "--as", "operator"];
    let compared = house.q(&reconcile);
    assert_eq!(compared.code, Some(1), "{}", compared.complained);
    assert!(compared.said.contains("difference -10 "), "{}", compared.said);

    // Two operators book what the chain shows, and nothing else.
    let book = |amount: &str, approvers: &[&str]| {
        let order = ["wallet", "rail", "book", "evm", "bob", amount, STRANGER, "--reference", &hash];
        let order = [&order[..], &["--reason", "restored after the fire, ticket 7"], approvers].concat();
        house.q(&order)
    };
    let both = ["--approver", "operator", "--approver", "warden"];
    refused(&book("11", &both), "INVALID_STATE");
    refused(&book("10", &["--approver", "operator", "--approver", "bob"]), "NOT_AN_APPROVER");
    let booked = book("10", &both);
    assert_eq!(booked.code, Some(0), "{}", booked.complained);
    assert!(booked.said.contains(" BOOK_WITHDRAWAL\n  10 QToken on evm"), "{}", booked.said);
    assert_eq!(balance(&house, "bob")["available"], "2.5");
    let agreed = said(&house, &reconcile);
    assert!(agreed.contains("evm  UP") && agreed.contains("difference 0 "), "{agreed}");
    let listed = said(&house, &["wallet", "rail", "corrections", "evm", "--as", "operator"]);
    assert!(
        listed.contains("restored after the fire") && listed.matches("signed by").count() == 2,
        "{listed}"
    );

    // And what came in for nobody is given to somebody.
    let deposit = suspense_of(&house);
    let assign = ["wallet", "rail", "assign", "evm", &deposit, "alice", "--reason", "a gift"];
    said(&house, &[&assign[..], &both].concat());
    let nothing = said(&house, &["wallet", "rail", "suspense", "evm", "--as", "operator"]);
    assert_eq!(nothing.trim(), "nothing is in suspense");

    // Money goes out again, once more to the same address and not twice.
    let asked = said(&house, &["wallet", "rail", "withdraw", "evm", STRANGER, "1", "--as", "bob"]);
    let id = asked.split_whitespace().next().unwrap().to_owned();
    let show = ["wallet", "rail", "show", id.as_str(), "--as", "bob", "--json"];
    until("the next withdrawal is final", || {
        anvil.mine(1);
        house.q(&show).json()["status"] == "SETTLED"
    });
    assert_eq!(token_of(&anvil, &token, STRANGER), 11 * COIN);
    balanced(&house);
}

/// The one deposit in suspense.
fn suspense_of(house: &Instance) -> String {
    let list = house.q(&["wallet", "rail", "suspense", "evm", "--as", "operator", "--json"]).json();
    list["items"][0]["depositId"].as_str().expect("a deposit").to_owned()
}

/// The books balance and nothing is wrong in any store.
fn balanced(house: &Instance) {
    let trial = said(house, &["wallet", "trial-balance", "--as", "operator"]);
    let rows: Vec<&str> = trial.lines().collect();
    assert!(!rows.is_empty() && rows.iter().all(|row| row.contains("  difference 0  ")), "{trial}");
    let verified = house.q(&["verify"]);
    assert_eq!(verified.code, Some(0), "{}{}", verified.said, verified.complained);
}
