//! Money set aside for a payee on the command line: taken in parts, into escrow, given up.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use q_tests::Instance;
use serde_json::Value;

#[test]
fn a_hotel_holds_a_deposit_and_takes_what_was_drunk() {
    let Some(mut house) = Instance::demo(&[]) else { return };
    let run = |arguments: &[&str]| {
        let ran = house.q(&[&["wallet"], arguments, &["--json"]].concat());
        assert_eq!(ran.code, Some(0), "{arguments:?}: {}", ran.complained);
        ran.json()
    };
    let balance = |who: &str| run(&["balance", "--as", who])["balances"]["QToken"].clone();
    run(&["faucet", "100", "--as", "bob"]);
    let before = (balance("alice"), balance("bob"));
    let held = run(&["hold", "open", "alice", "50", "--for", "3600", "--purpose", "minibar", "--as", "bob"]);
    let id = held["intentId"].as_str().unwrap();
    assert_eq!((held["status"].as_str(), held["nextAction"].as_str()), (Some("SIGNED"), Some("wait")));
    let waiting = run(&["hold", "list", "--status", "SIGNED", "--as", "alice"]);
    assert_eq!(waiting["items"][0]["intentId"], id);
    assert_eq!(run(&["hold", "list", "--as", "bob"])["items"][0]["intentId"], id);
    assert_eq!(run(&["hold", "list", "--taken", "--as", "bob"])["items"], serde_json::json!([]));

    let taken = run(&["hold", "capture", id, "20", "--as", "alice"]);
    assert_eq!((taken["amount"].as_str(), taken["left"].as_str()), (Some("20"), Some("30")));
    let escrowed = run(&["hold", "capture", id, "5", "--escrow", "lost-key", "--as", "alice"]);
    let escrow = escrowed["escrowId"].as_str().unwrap();
    let too_much = house.q(&["wallet", "hold", "capture", id, "26", "--as", "alice"]);
    assert_eq!(too_much.code, Some(5), "{}", too_much.complained);
    assert!(too_much.complained.contains("more than is left"), "{}", too_much.complained);
    assert!(too_much.complained.contains("leave the amount out"), "{}", too_much.complained);
    let short = house.q(&["wallet", "hold", "open", "alice", "1", "--for", "2", "--as", "bob"]);
    assert_eq!(short.code, Some(2), "{}", short.complained);
    assert!(short.complained.contains("from a minute to 30 days"), "{}", short.complained);
    let not_his = house.q(&["wallet", "hold", "void", id, "--as", "bob"]);
    assert!(not_his.complained.contains("payee"), "{}", not_his.complained);
    let over = run(&["hold", "void", id, "--as", "alice"]);
    assert_eq!((over["status"].as_str(), over["captured"].as_str()), (Some("SETTLED"), Some("25")));
    run(&["escrow", "release", escrow, "--as", "bob"]);
    // Only what moved has a sign.
    let told = house.q(&["wallet", "history", "--as", "bob"]).said;
    for (amount, phase) in
        [(" 50 QToken", "held"), (" -20 QToken", "moved, as held"), (" 25 QToken", "freed")]
    {
        let is_told =
            |line: &str| line.contains(amount) && line.contains(phase) && line.contains("principal");
        assert!(told.lines().any(is_told), "{amount} {phase}: {told}");
    }
    let shown = house.q(&["wallet", "show", held["transactionId"].as_str().unwrap(), "--as", "bob"]).said;
    assert!(shown.contains("20  moved, as held") && shown.contains("25  freed"), "{shown}");

    let posted = |balance: &Value| balance["posted"].as_str().unwrap().parse::<f64>().unwrap();
    let after = (balance("alice"), balance("bob"));
    assert!((posted(&after.0) - posted(&before.0) - 25.0).abs() < 1e-9);
    assert!((posted(&before.1) - posted(&after.1) - 25.15).abs() < 1e-9, "{after:?}");
    assert_eq!(after.1["pendingOut"], "0");
    house.stop();
    let verified = house.q(&["verify", "qwallet"]);
    assert_eq!(verified.code, Some(0), "{} {}", verified.said, verified.complained);
}
