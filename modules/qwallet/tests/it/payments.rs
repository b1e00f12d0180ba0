//! `POST /payments`.

use futures_util::future::join_all;
use q_contract::CallError;
use q_core::Span;
use q_jose::{Jwk, base64url};
use q_runtime::Module as _;
use q_testkit::{World, identity, on_each_world};
use qwallet_api::{CreatePayment, PaymentRequest, Transaction};

use crate::support::{Bank, Person, code, fresh, payment_input, sign, sign_as};

type Mend = fn(&mut PaymentRequest, &Bank, &Person, &Person);

async fn pay(bank: &Bank, payer: &Person, order: PaymentRequest) -> Result<Transaction, CallError> {
    pay_under(bank, payer, order, &fresh()).await
}

async fn pay_under(
    bank: &Bank,
    payer: &Person,
    order: PaymentRequest,
    key: &str,
) -> Result<Transaction, CallError> {
    let _ = payer;
    // Nobody in particular asks: the order is its own credential.
    let anonymous = bank.world.client_as("qwallet", q_core::Caller::Anonymous);
    anonymous.with_key(key).call::<CreatePayment>(&order).await
}

on_each_world!(settles_with_both_fees, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let order = bank.signed(bank.order(&ann, &bob.wallet.wallet_ref, "10.5"), &ann);
    let paid = pay(&bank, &ann, order).await.unwrap();
    assert_eq!(paid.status, "SETTLED");
    let fees: Vec<_> =
        [&paid.fees.platform, &paid.fees.network, &paid.fees.total].map(q_core::AmountText::as_str).into();
    assert_eq!(fees, ["0.0525", "0.0105", "0.063"]);
    assert_eq!(paid.from.wallet_ref, ann.wallet.wallet_ref);
    assert_eq!(paid.purpose.as_deref(), Some("bread"));
    assert_eq!(paid.settlement_hash.as_deref().map(str::len), Some(64));
    assert_eq!(bank.balance(&ann).await.1, "89.437");
    assert_eq!(bank.balance(&bob).await.0, "10.5");
    bank.close().await;
});

on_each_world!(a_repeated_key_answers_as_before, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let order = bank.signed(bank.order(&ann, bob.did.as_str(), "10"), &ann);
    let first = pay_under(&bank, &ann, order.clone(), "k").await.unwrap();
    assert_eq!(pay_under(&bank, &ann, order.clone(), "k").await.unwrap(), first);
    let other = bank.signed(bank.order(&ann, bob.did.as_str(), "11"), &ann);
    assert_eq!(code(pay_under(&bank, &ann, other, "k").await), "IDEMPOTENCY_KEY_REUSED");
    // Idempotency is checked before the signature, and before the order lapses.
    let unsigned = PaymentRequest { amount: "12".into(), ..order.clone() };
    assert_eq!(code(pay_under(&bank, &ann, unsigned, "k").await), "IDEMPOTENCY_KEY_REUSED");
    bank.world.clock.advance(Span::seconds(3_600));
    assert_eq!(pay_under(&bank, &ann, order, "k").await.unwrap(), first);
    assert_eq!(bank.balance(&bob).await.0, "10");
    bank.close().await;
});

on_each_world!(a_thousand_repetitions_at_once_pay_once, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let order = bank.signed(bank.order(&ann, bob.did.as_str(), "1"), &ann);
    let answers = join_all((0..1_000).map(|_| pay_under(&bank, &ann, order.clone(), "same"))).await;
    let first = answers[0].as_ref().unwrap();
    assert!(answers.iter().all(|answer| answer.as_ref().unwrap() == first));
    assert_eq!(bank.balance(&bob).await.0, "1");
    bank.close().await;
});

on_each_world!(the_last_unit_is_spent_once, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "1.006").await, bank.person("bob", "0").await);
    let orders = (0..64).map(|_| bank.signed(bank.order(&ann, bob.did.as_str(), "1"), &ann));
    let orders: Vec<_> = orders.collect();
    let outcomes = join_all(orders.into_iter().map(|order| pay(&bank, &ann, order))).await;
    let (paid, refused): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert_eq!(paid.len(), 1);
    assert!(refused.into_iter().all(|outcome| code(outcome) == "INSUFFICIENT_FUNDS"));
    assert_eq!(bank.balance(&ann).await.1, "0");
    bank.close().await;
});

on_each_world!(refuses_each_hostile_amount_with_its_code, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let forty_digits = "1".repeat(40);
    for (amount, refusal) in [
        ("1e3", "AMOUNT_MALFORMED"),
        ("-1", "AMOUNT_MALFORMED"),
        ("01", "AMOUNT_MALFORMED"),
        ("1.", "AMOUNT_MALFORMED"),
        (" 1", "AMOUNT_MALFORMED"),
        ("", "AMOUNT_MALFORMED"),
        ("NaN", "AMOUNT_MALFORMED"),
        ("٣", "AMOUNT_MALFORMED"),
        ("1.0000000000000000000", "AMOUNT_PRECISION"),
        (forty_digits.as_str(), "AMOUNT_OUT_OF_RANGE"),
        ("340282366920938463463.374607431768211456", "AMOUNT_OUT_OF_RANGE"),
        ("340282366920938463463.374607431768211455", "INSUFFICIENT_FUNDS"),
        ("0", "AMOUNT_OUT_OF_RANGE"),
        ("0.000000000000000000", "AMOUNT_OUT_OF_RANGE"),
    ] {
        let order = PaymentRequest {
            max_fees: "340282366920938463463".into(),
            ..bank.order(&ann, bob.did.as_str(), amount)
        };
        assert_eq!(code(pay(&bank, &ann, bank.signed(order, &ann)).await), refusal, "{amount:?}");
    }
    let order = bank.signed(bank.order(&ann, bob.did.as_str(), "1"), &ann);
    let body = serde_json::to_string(&order).unwrap().replace(r#""amount":"1""#, r#""amount":1"#);
    let client = ann.client.clone().with_key(fresh());
    let answer = client.send("POST", "/payments", body.into(), "application/json").await.unwrap();
    assert_eq!(answer.status(), 400);
    assert!(String::from_utf8_lossy(answer.body()).contains("AMOUNT_MUST_BE_STRING"));
    // Nothing of all that is stored: one transaction, which gave ann her money.
    assert_eq!(bank.balance(&ann).await, ("100".into(), "100".into(), "0".into()));
    let sql = "SELECT (SELECT COUNT(*) FROM transactions) + (SELECT COUNT(*) FROM intents)";
    let stored = bank.module.db().read(move |reader| reader.query_one(sql, &[])?.try_get::<i64>(0));
    assert_eq!(stored.await.unwrap(), 1);
    bank.close().await;
});

on_each_world!(no_forged_signature_moves_or_holds_money, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let order = || bank.order(&ann, bob.did.as_str(), "1");
    let good = bank.signed(order(), &ann);
    let instance = bank.world.instance.did.clone();
    let (mallory, mallory_key) = identity("mallory");
    let mut forged = vec![
        PaymentRequest { amount: "99".into(), ..good.clone() },
        PaymentRequest { recipient: ann.wallet.wallet_ref.clone(), ..good.clone() },
        PaymentRequest { max_fees: "99".into(), ..good.clone() },
        PaymentRequest { currency: "PI".into(), ..good.clone() },
        PaymentRequest { nonce: "another-nonce".into(), ..good.clone() },
        PaymentRequest { client_ref: "INV-2".into(), ..good.clone() },
        PaymentRequest { rail: Some("evm".into()), ..good.clone() },
        PaymentRequest { signature: "longer than ten characters".into(), ..good.clone() },
        PaymentRequest { signature: String::new(), ..good.clone() },
    ];
    let by = |signature: String| PaymentRequest { signature, ..good.clone() };
    let input = payment_input(&instance, &good);
    // Another's key, another's name for the own key, the own name for another's key, another purpose, another house.
    forged.push(by(sign(&input, &mallory, &mallory_key)));
    forged.push(by(sign(&input, &ann.did, &mallory_key)));
    forged.push(by(sign(&input, &mallory, &ann.key)));
    forged.push(by(sign_as("q-issuance+jws", &input, &ann.did, &ann.key)));
    forged.push(by(sign_as("at+jwt", &input, &ann.did, &ann.key)));
    forged.push(by(sign(&payment_input(&mallory, &good), &ann.did, &ann.key)));
    let flipped = if good.signature.ends_with('A') { "B" } else { "A" };
    forged.push(by(format!("{}{flipped}", &good.signature[..good.signature.len() - 1])));
    for (number, forged) in forged.into_iter().enumerate() {
        assert_eq!(code(pay(&bank, &ann, forged).await), "SIGNATURE_INVALID", "forgery {number}");
    }
    assert_eq!(bank.balance(&ann).await, ("100".into(), "100".into(), "0".into()));
    // A nonce is good once, whatever the rest of the order and the key.
    pay(&bank, &ann, good.clone()).await.unwrap();
    assert_eq!(code(pay(&bank, &ann, good.clone()).await), "SIGNATURE_INVALID");
    let same_nonce = PaymentRequest { nonce: good.nonce.clone(), ..order() };
    assert_eq!(code(pay(&bank, &ann, bank.signed(same_nonce, &ann)).await), "SIGNATURE_INVALID");
    let later = (bank.now() + Span::seconds(20_000)).to_string();
    let same_nonce_later = PaymentRequest { nonce: good.nonce.clone(), expires_at: later, ..order() };
    assert_eq!(code(pay(&bank, &ann, bank.signed(same_nonce_later, &ann)).await), "SIGNATURE_INVALID");
    bank.revocations.block(&ann.did, bank.now());
    assert_eq!(code(pay(&bank, &ann, bank.signed(order(), &ann)).await), "SIGNATURE_INVALID");
    bank.close().await;
});

on_each_world!(another_librarys_signature_pays_and_it_knows_ours, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let order = bank.signed(bank.order(&ann, bob.did.as_str(), "1"), &ann);
    let input = String::from_utf8(payment_input(&bank.world.instance.did, &order)).unwrap();
    if let Some(mut node) = q_oracle::script("npm jose", env!("CARGO_MANIFEST_DIR"), "payment.mjs") {
        let asked = serde_json::json!({
            "signature": order.signature, "input": input, "typ": qwallet_api::signing::PAYMENT_TYP,
            "kid": format!("{}#{}", ann.did, ann.key.public().to_multikey()),
            "jwk": Jwk::from(ann.key.public()), "seed": base64url::encode(ann.key.seed()),
        });
        let answer = q_oracle::ask(&mut node, asked.to_string()).unwrap_or_else(|why| panic!("{why}"));
        let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!(answer["isOurs"], true);
        let by = |signature: &serde_json::Value| PaymentRequest {
            signature: signature.as_str().unwrap().to_owned(),
            ..order.clone()
        };
        for refused in answer["refused"].as_array().unwrap() {
            assert_eq!(code(pay(&bank, &ann, by(refused)).await), "SIGNATURE_INVALID");
        }
        assert_eq!(bank.balance(&bob).await.1, "0");
        assert_eq!(pay(&bank, &ann, by(&answer["theirs"])).await.unwrap().status, "SETTLED");
    }
    bank.close().await;
});

on_each_world!(refuses_in_the_documented_order, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "1").await, bank.person("bob", "0").await);
    let used = bank.signed(bank.order(&ann, bob.did.as_str(), "0.1"), &ann);
    pay_under(&bank, &ann, used, "used").await.unwrap();
    let mut order = PaymentRequest {
        amount: "x".into(),
        client_ref: String::new(),
        nonce: "short".into(),
        expires_at: "tomorrow".into(),
        currency: "EUR".into(),
        rail: Some("evm".into()),
        max_fees: "0".into(),
        recipient: "nobody".into(),
        wallet: bob.wallet.wallet_ref.clone(),
        ..bank.order(&ann, bob.did.as_str(), "0")
    };
    let mut key = "used".to_owned();
    let rows: Vec<(&str, Mend)> = vec![
        ("AMOUNT_MALFORMED", |order, _, _, _| order.amount = "0.0000000000000000001".into()),
        ("INVALID_REQUEST", |order, _, _, _| order.client_ref = "INV-1".into()),
        ("INVALID_REQUEST", |order, _, _, _| order.nonce = fresh() + "-long-enough"),
        ("INVALID_REQUEST", |order, bank, _, _| {
            order.expires_at = (bank.now() + Span::seconds(100_000)).to_string();
        }),
        ("INVALID_REQUEST", |order, bank, _, _| order.expires_at = bank.now().to_string()),
        ("IDEMPOTENCY_KEY_REUSED", |_, _, _, _| {}),
        ("WALLET_NOT_FOUND", |order, _, ann, _| order.wallet.clone_from(&ann.wallet.wallet_ref)),
        ("INTENT_EXPIRED", |order, bank, _, _| {
            order.expires_at = (bank.now() + Span::seconds(60)).to_string();
        }),
        ("SIGNATURE_INVALID", |_, _, _, _| {}),
        ("RECIPIENT_UNKNOWN", |order, _, ann, _| order.recipient = ann.wallet.wallet_id.to_string()),
        ("SELF_PAYMENT", |order, _, _, bob| order.recipient = bob.wallet.wallet_id.to_string()),
        ("RAIL_UNSUPPORTED", |order, _, _, _| order.rail = None),
        ("CURRENCY_UNSUPPORTED", |order, _, _, _| order.currency = "QToken".into()),
        ("AMOUNT_PRECISION", |order, _, _, _| order.amount = "0".into()),
        ("AMOUNT_OUT_OF_RANGE", |order, _, _, _| order.amount = "5".into()),
        ("FEES_EXCEED_MAXIMUM", |order, _, _, _| order.max_fees = "1".into()),
        ("INSUFFICIENT_FUNDS", |order, _, _, _| order.amount = "0.5".into()),
    ];
    let mut is_signed = false;
    for (row, (refusal, mend)) in rows.into_iter().enumerate() {
        let sent = if is_signed { bank.signed(order.clone(), &ann) } else { order.clone() };
        assert_eq!(code(pay_under(&bank, &ann, sent, &key).await), refusal, "row {row}");
        mend(&mut order, &bank, &ann, &bob);
        if refusal == "IDEMPOTENCY_KEY_REUSED" {
            key = fresh();
        }
        is_signed |= refusal == "SIGNATURE_INVALID";
    }
    let paid = pay_under(&bank, &ann, bank.signed(order, &ann), &key).await.unwrap();
    assert_eq!(paid.status, "SETTLED");
    bank.close().await;
});
