//! Orders under a key that was replaced, or of an identity that is suspended, move nothing and hold nothing.

use q_tests::{Instance, Outcome, Payer, UNLIMITED, sound};
use serde_json::{Value, json};

/// Tries everything that moves or holds alice's money with the keys `payer` has.
async fn is_refused(house: &Instance, payer: &Payer, recipient: &str, run: &str) {
    let before = house.q(&["wallet", "balance", "--as", "alice", "--json"]);
    let order = payer.order(recipient, "1", &format!("payment-{run}"));
    let refused = payer.pay(&order, &format!("payment-{run}")).await.expect_err("the key is worth nothing");
    assert_eq!(refused.problem().expect("a problem").code, "SIGNATURE_INVALID");
    let batch = payer.batch(recipient, "1", 3, &format!("batch-{run}"));
    let refused =
        payer.pay_batch(&batch, &format!("batch-{run}")).await.expect_err("the key is worth nothing");
    assert_eq!(refused.problem().expect("a problem").code, "SIGNATURE_INVALID");
    if before.code == Some(0) {
        let after = house.q(&["wallet", "balance", "--as", "alice", "--json"]);
        assert_eq!(after.json()["balances"], before.json()["balances"]);
    }
}

fn call(house: &Instance, path: &str, body: &Value, name: &str) -> Outcome {
    house.q(&["call", "qwallet", "POST", path, "-d", &body.to_string(), "--as", name])
}

/// What of alice's money is held, as the operator's books tell it.
fn held(house: &Instance) -> Value {
    let books = house.q(&["wallet", "trial-balance", "--json"]).json();
    let rows = books["items"].as_array().unwrap_or_else(|| panic!("rows: {books}"));
    let row = rows.iter().find(|row| row["currency"] == "QToken").expect("money");
    row["debitsPending"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_key_and_a_suspended_identity_sign_nothing() {
    let Some(mut house) = Instance::demo(&UNLIMITED) else { return };
    let bob = Payer::of(&house, "bob").wallet().to_owned();
    let thief = Payer::of(&house, "alice");
    let paid = thief.pay(&thief.order(&bob, "1", "before-the-rotation"), "before-the-rotation").await;
    assert_eq!(paid.expect("the key is current").status, "SETTLED");
    // An intent of alice's, which the replaced key is to sign.
    let wanted = json!({"amount": "7", "currency": "QToken", "recipient": bob});
    let intent = call(&house, "/intents", &wanted, "alice").json();
    let signing = |payer: &Payer| {
        let signature = payer.sign(intent["signingInput"].as_str().expect("a text").as_bytes());
        json!({"intentId": intent["intentId"], "signature": signature})
    };

    assert_eq!(house.q(&["id", "rotate", "alice"]).code, Some(0));
    is_refused(&house, &thief, &bob, "rotated").await;
    let refused = call(&house, "/sign", &signing(&thief), "alice");
    assert!(refused.said.contains("SIGNATURE_INVALID"), "{}{}", refused.said, refused.complained);
    assert_eq!(held(&house), "0", "a forged signature holds nothing");
    let alice = Payer::of(&house, "alice");
    let paid = alice.pay(&alice.order(&bob, "1", "after-the-rotation"), "after-the-rotation").await;
    assert_eq!(paid.expect("the new key is current").status, "SETTLED");

    assert_eq!(house.q(&["isolate", "alice", "--reason", "a stolen phone"]).code, Some(0));
    is_refused(&house, &alice, &bob, "suspended").await;
    let refused = call(&house, "/sign", &signing(&alice), "bob");
    assert!(refused.said.contains("SIGNATURE_INVALID"), "{}{}", refused.said, refused.complained);
    assert_eq!(held(&house), "0", "a suspended identity holds nothing");
    assert_eq!(house.q(&["isolate", "alice", "--lift"]).code, Some(0));
    let paid = alice.pay(&alice.order(&bob, "1", "after-the-lift"), "after-the-lift").await;
    assert_eq!(paid.expect("it is let in again").status, "SETTLED");
    sound(&house, "replaced and suspended keys", "no payment, no batch, no hold");
    house.stop();
}
