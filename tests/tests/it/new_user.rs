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
    assert!(mistyped.contains("no identity called caroline"), "{mistyped}");
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
        shown.contains(&format!("{judge} decides")) && shown.contains("to the payee by itself on"),
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
