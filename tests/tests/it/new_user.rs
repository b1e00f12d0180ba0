//! What somebody new stumbles over, and what is said then.

use q_tests::{Instance, until};

/// What a command complains about that is refused with this exit code.
fn refused(house: &Instance, code: i32, arguments: &[&str]) -> String {
    let outcome = house.q(arguments);
    assert_eq!(outcome.code, Some(code), "{arguments:?}: {}{}", outcome.said, outcome.complained);
    outcome.complained
}

fn said(house: &Instance, arguments: &[&str]) -> String {
    let outcome = house.q(arguments);
    assert_eq!(outcome.code, Some(0), "{arguments:?}: {}", outcome.complained);
    outcome.said
}

#[test]
fn refusals_name_verbs_figures_and_whoever_can_help() {
    let Some(house) = Instance::demo(&[]) else { return };
    said(&house, &["id", "new", "carol"]);
    // A name that nobody has is another mistake than somebody without a wallet.
    let mistyped = refused(&house, 2, &["wallet", "pay", "caroline", "1", "--as", "bob"]);
    assert!(mistyped.contains("no identity named caroline"), "{mistyped}");
    let walletless = refused(&house, 5, &["wallet", "pay", "carol", "1", "--as", "bob"]);
    assert!(walletless.contains("`q wallet open --as carol`"), "{walletless}");
    let hidden = refused(&house, 5, &["wallet", "balance", "alice", "--as", "bob"]);
    assert!(hidden.contains("WALLET_NOT_FOUND") && hidden.contains("`q grant wallet`"), "{hidden}");
    let poor = refused(&house, 5, &["wallet", "pay", "alice", "100", "--as", "bob"]);
    assert!(poor.contains("12.5 QToken are available, and 100.6 are needed"), "{poor}");
    said(&house, &["wallet", "limits", "--set", "daily=2", "--as", "bob"]);
    let large = refused(&house, 5, &["wallet", "pay", "alice", "3", "--as", "bob"]);
    assert!(large.contains("`q wallet limits`") && !large.contains("GET /"), "{large}");
    let foreign = refused(&house, 5, &["wallet", "pay", "alice", "1", "EUR", "--as", "bob"]);
    assert!(foreign.contains("QToken and PI"), "{foreign}");
    // The first payment of the demonstration was alice's; bob received it.
    let history = house.q(&["wallet", "history", "--as", "bob", "--json"]).json();
    let payment = history["items"][0]["transactionId"].as_str().unwrap().to_owned();
    let own = refused(&house, 5, &["wallet", "refund", &payment, "1", "--as", "alice"]);
    assert!(own.contains("whoever received it gives it back"), "{own}");
    let given = ["wallet", "refund", &payment, "1.5", "--reason", "cold soup", "--as", "bob"];
    said(&house, &given);
    let shown = said(&house, &["wallet", "show", &payment, "--as", "alice"]);
    assert!(shown.contains("gave back 1.5 by") && shown.contains(": cold soup"), "{shown}");
    assert!(shown.contains("still to give back 11"), "{shown}");
}

#[test]
fn a_program_reads_refusals_as_json() {
    let Some(mut house) = Instance::demo(&[]) else { return };
    let told = |house: &Instance, code: i32, arguments: &[&str]| {
        let outcome = house.q(&[arguments, &["--json"]].concat());
        assert_eq!((outcome.code, outcome.said.as_str()), (Some(code), ""), "{}", outcome.complained);
        serde_json::from_str::<serde_json::Value>(&outcome.complained).expect(&outcome.complained)
    };
    // As the module gave it, members of its code included.
    let poor = told(&house, 5, &["wallet", "pay", "alice", "100", "--as", "bob"]);
    assert_eq!((poor["code"].as_str(), poor["needed"].as_str()), (Some("INSUFFICIENT_FUNDS"), Some("100.6")));
    assert_eq!((poor["status"].as_u64(), poor["traceId"].is_string()), (Some(422), true), "{poor}");
    said(&house, &["id", "new", "carol"]);
    let walletless = told(&house, 5, &["wallet", "pay", "alice", "1", "--as", "carol"]);
    assert_eq!(walletless["code"], "WALLET_NOT_FOUND");
    assert!(walletless["advice"].as_str().unwrap().contains("q wallet open --as carol"), "{walletless}");
    let called = told(&house, 5, &["call", "qwallet", "GET", "/wallets/nobody", "--as", "bob"]);
    assert_eq!(called["code"], "WALLET_NOT_FOUND");
    // What never reached a module.
    for wrong in [&["wallet", "pay", "alice"][..], &["wallet", "pay", "alice", "-1"], &["wallet"]] {
        assert_eq!(told(&house, 2, wrong)["code"], "CLI_USAGE", "{wrong:?}");
    }
    house.stop();
    let stopped = told(&house, 6, &["wallet", "balance", "--as", "bob"]);
    assert_eq!(
        (stopped["code"].as_str(), &stopped["status"]),
        (Some("CLI_UNREACHABLE"), &serde_json::Value::Null)
    );
}

#[test]
fn what_is_not_known_is_told_with_what_is() {
    let Some(house) = Instance::demo(&[]) else { return };
    let verbs: [&[&str]; 9] = [
        &["wallet", "pay", "carl", "1"],
        &["wallet", "balance", "carl"],
        &["wallet", "freeze", "carl"],
        &["wallet", "hold", "open", "carl", "5"],
        &["wallet", "escrow", "open", "alice", "5", "order-1", "--arbiter", "carl"],
        &["wallet", "approvals", "set", "--above", "5", "--approver", "carl"],
        &["wallet", "allow", "carl"],
        &["wallet", "history", "--counterparty", "carl"],
        &["grant", "pay", "carl"],
    ];
    let wanted = "no identity named carl; known are alice, bob, operator, see `q id list`";
    for verb in verbs {
        let told = refused(&house, 2, &[verb, &["--as", "bob"]].concat());
        assert!(told.contains(wanted), "{verb:?}: {told}");
    }
    for verb in [&["wallet", "quote", "5"][..], &["wallet", "intents", "new", "alice", "5"]] {
        let told = refused(&house, 5, &[verb, &["EUR", "--as", "bob"]].concat());
        assert!(told.contains("QToken and PI"), "{told}");
    }
    let bounded = refused(&house, 5, &["grant", "pay", "alice", "--currency", "EUR", "--as", "bob"]);
    assert!(bounded.contains("QToken and PI"), "{bounded}");
    let module = refused(&house, 2, &["call", "qwalet", "GET", "/currencies"]);
    assert!(module.contains("no module named qwalet") && module.contains("qwallet"), "{module}");
    let rail = refused(&house, 5, &["wallet", "quote", "5", "--network", "sepa", "--as", "bob"]);
    assert!(rail.contains("the rails of this instance are internal"), "{rail}");
    let swapped = refused(&house, 2, &["wallet", "pay", "3", "alice", "--as", "bob"]);
    assert!(swapped.contains("an amount stands after whom it is for"), "{swapped}");
    let own = refused(&house, 2, &["grant", "wallet", "bob", "--as", "bob"]);
    assert!(own.contains("needs no grant"), "{own}");
    let state = refused(&house, 2, &["wallet", "history", "--status", "done", "--as", "bob"]);
    assert!(state.contains("SIGNED, SETTLED, CANCELLED, EXPIRED"), "{state}");
    assert!(said(&house, &["wallet", "history", "--status", "settled", "--as", "bob"]).contains("12.5"));
    let hidden = refused(&house, 5, &["wallet", "history", "alice", "--as", "bob"]);
    assert!(hidden.contains("`q grant wallet`"), "{hidden}");
    let days =
        refused(&house, 2, &["wallet", "schedule", "new", "alice", "5", "--every", "month", "--on", "MO"]);
    assert!(days.contains("1 to 31"), "{days}");
    // Whoever a refusal names has a name here.
    let selfish = ["wallet", "approvals", "set", "--above", "5", "--approver", "bob", "--as", "bob"];
    let selfish = refused(&house, 5, &selfish);
    assert!(selfish.contains("bob (did:"), "{selfish}");
    let kind = refused(&house, 5, &["wallet", "limits", "--set", "weekly=5", "--as", "bob"]);
    assert!(kind.contains("perTransaction, countPerHour, daily, monthly or dao"), "{kind}");
}

#[test]
fn nothing_below_zero_is_an_amount() {
    let Some(house) = Instance::demo(&[]) else { return };
    let verbs: [&[&str]; 8] = [
        &["wallet", "pay", "alice", "-1"],
        &["wallet", "quote", "-0.5"],
        &["wallet", "request", "new", "-1"],
        &["wallet", "hold", "open", "alice", "-1"],
        &["wallet", "limits", "--set", "daily=-1"],
        &["wallet", "approvals", "set", "--above", "-1", "--approver", "alice"],
        &["wallet", "schedule", "new", "alice", "-1", "--every", "month"],
        &["grant", "pay", "alice", "--up-to", "-1"],
    ];
    for verb in verbs {
        let told = refused(&house, 2, &[verb, &["--as", "bob"]].concat());
        assert!(told.contains("amounts are positive"), "{verb:?}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_finished_is_not_begun() {
    let Some(house) = Instance::demo(&[]) else { return };
    let nowhere = house.scratch().join("no/such/place.svg");
    let asking = ["wallet", "request", "new", "1", "--qr", nowhere.to_str().unwrap(), "--as", "alice"];
    let unwritten = refused(&house, 1, &asking);
    assert!(unwritten.contains("nothing was asked for"), "{unwritten}");
    let list = house.q(&["wallet", "request", "list", "--as", "alice", "--json"]).json();
    assert_eq!(list["items"], serde_json::json!([]));
    // One is made at each start.
    until("a first backup", async || house.q(&["backup", "verify", "latest"]).code == Some(0)).await;
    let into = house.scratch().join("restored");
    let ahead = ["backup", "restore", "--to-time", "2999-01-01T00:00:00Z", "--into", into.to_str().unwrap()];
    let ahead = refused(&house, 2, &ahead);
    assert!(ahead.contains("still to come"), "{ahead}");
    assert!(!into.exists());
}

#[test]
fn a_suspended_identity_is_told_what_it_is() {
    let Some(house) = Instance::demo(&[]) else { return };
    said(&house, &["id", "sub", "create", "robot", "--as", "alice"]);
    said(&house, &["id", "sub", "suspend", "robot", "--reason", "R", "--as", "alice"]);
    let stopped = refused(&house, 5, &["wallet", "balance", "--as", "robot"]);
    assert!(stopped.contains("SUSPENDED") && stopped.contains("its parent"), "{stopped}");
}

#[test]
fn an_escrow_shows_its_fees_its_arbiter_and_its_day() {
    let Some(house) = Instance::demo(&[]) else { return };
    said(&house, &["id", "new", "judge"]);
    let opened =
        ["wallet", "escrow", "open", "bob", "20", "order-1", "--arbiter", "judge", "--as", "alice", "--json"];
    let escrow = house.q(&opened).json();
    let shown =
        said(&house, &["wallet", "escrow", "show", escrow["escrowId"].as_str().unwrap(), "--as", "bob"]);
    let judge = escrow["arbiter"].as_str().unwrap();
    assert!(shown.contains("fees 0.1 platform, 0.02 network"), "{shown}");
    assert!(
        shown.contains(&format!("judge ({judge}) decides")) && shown.contains("to the payee by itself on"),
        "{shown}"
    );
    let paid = escrow["transactionId"].as_str().unwrap();
    let transaction = said(&house, &["wallet", "show", paid, "--as", "alice"]);
    assert!(transaction.contains(escrow["escrowId"].as_str().unwrap()), "{transaction}");
}

#[test]
fn a_grant_that_counts_tells_how_often_it_still_counts() {
    let Some(house) = Instance::demo(&[]) else { return };
    said(&house, &["grant", "wallet", "bob", "--max-uses", "2", "--as", "alice"]);
    said(&house, &["wallet", "balance", "alice", "--as", "bob"]);
    for name in ["alice", "bob"] {
        let list = said(&house, &["grant", "list", "--as", name]);
        assert!(list.contains("only 2 times, 1 left"), "{name}: {list}");
    }
}
