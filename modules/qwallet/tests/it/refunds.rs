//! Refunds: what a payee gives back, never more than the payment, whoever asks at once.

use futures_util::future::join_all;
use q_core::Span;
use q_testkit::{World, on_each_world};
use qwallet_api::{
    CreatePayment, CreateRefund, GetTransaction, ListRefunds, REFUND_TYP, Refund, RefundOrder, RefundRequest,
    Transaction, TransactionId, TransactionPath, signing,
};

use crate::support::{Bank, Person, code, fresh, problem, sign_as};

async fn paid(bank: &Bank, payer: &Person, payee: &Person, amount: &str) -> Transaction {
    let order = bank.signed(bank.order(payer, payee.did.as_str(), amount), payer);
    payer.client.clone().with_key(fresh()).call::<CreatePayment>(&order).await.unwrap()
}

/// A signed wish to give back, with a share of the fees.
pub fn order(bank: &Bank, payee: &Person, payment: TransactionId, amount: Option<&str>) -> RefundRequest {
    let request = asked_of(bank, payment, payee, amount);
    signed(bank, RefundRequest { refund_fees: "proportional".into(), ..request }, payee)
}

pub fn asked(bank: &Bank, payment: &Transaction, payee: &Person, amount: Option<&str>) -> RefundRequest {
    asked_of(bank, payment.transaction_id, payee, amount)
}

fn asked_of(bank: &Bank, payment: TransactionId, payee: &Person, amount: Option<&str>) -> RefundRequest {
    RefundRequest {
        transaction_id: payment,
        amount: amount.map(Into::into),
        reason: "stale".into(),
        refund_fees: "none".into(),
        payee: payee.did.clone(),
        expires_at: (bank.now() + Span::seconds(600)).to_string(),
        nonce: format!("nonce-{}", fresh()),
        signature: String::new(),
    }
}

fn signed(bank: &Bank, request: RefundRequest, payee: &Person) -> RefundRequest {
    let input = signing::signing_input(&RefundOrder {
        amount: request.amount.as_ref().map(q_core::AmountText::as_str),
        aud: bank.world.instance.did.as_str(),
        expires_at: &request.expires_at,
        nonce: &request.nonce,
        payee: request.payee.as_str(),
        reason: &request.reason,
        refund_fees: &request.refund_fees,
        transaction_id: &request.transaction_id.to_string(),
        v: 1,
    });
    RefundRequest { signature: sign_as(REFUND_TYP, &input, &payee.did, &payee.key), ..request }
}

pub async fn refund(bank: &Bank, request: RefundRequest, payee: &Person) -> Result<Refund, String> {
    let request = signed(bank, request, payee);
    match payee.client.clone().with_key(fresh()).call::<CreateRefund>(&request).await {
        Ok(refund) => Ok(refund),
        refused => Err(code(refused)),
    }
}

on_each_world!(a_payment_goes_back_in_parts_and_no_further, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let payment = paid(&bank, &ann, &bob, "50").await;
    let part = refund(&bank, asked(&bank, &payment, &bob, Some("20")), &bob).await.unwrap();
    assert_eq!((part.amount.as_str(), part.remaining.as_str(), part.reason.as_str()), ("20", "30", "stale"));
    assert_eq!(part.fees.total.as_str(), "0");
    let more = refund(&bank, asked(&bank, &payment, &bob, Some("30.1")), &bob).await;
    assert_eq!(more.unwrap_err(), "REFUND_EXCEEDS_PAYMENT");
    let rest = refund(&bank, asked(&bank, &payment, &bob, None), &bob).await.unwrap();
    assert_eq!((rest.amount.as_str(), rest.remaining.as_str()), ("30", "0"));
    let none = refund(&bank, asked(&bank, &payment, &bob, None), &bob).await;
    assert_eq!(none.unwrap_err(), "REFUND_EXCEEDS_PAYMENT");
    // Everything but the fees of 0.3 is the payer's again.
    assert_eq!((bank.balance(&ann).await.1.as_str(), bank.balance(&bob).await.1.as_str()), ("99.7", "0"));
    let path = TransactionPath { transaction_id: payment.transaction_id };
    let list = ann.client.call::<ListRefunds>(&path).await.unwrap();
    let told: Vec<_> =
        list.items.iter().map(|item| (item.amount.as_str(), item.remaining.as_str())).collect();
    assert_eq!(told, [("20", "30"), ("30", "0")]);
    let path = TransactionPath { transaction_id: part.refund_id };
    let transaction = ann.client.call::<GetTransaction>(&path).await.unwrap();
    assert_eq!((transaction.r#type.as_str(), transaction.from.owner), ("refund", Some(bob.did.clone())));
    let behind = (transaction.refund_of, transaction.purpose.as_deref());
    assert_eq!(behind, (Some(payment.transaction_id), Some("stale")));
    bank.close().await;
});

on_each_world!(the_house_gives_back_its_share, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let payment = paid(&bank, &ann, &bob, "50").await;
    let with_fees =
        |amount| RefundRequest { refund_fees: "proportional".into(), ..asked(&bank, &payment, &bob, amount) };
    let part = refund(&bank, with_fees(Some("25")), &bob).await.unwrap();
    assert_eq!((part.fees.platform.as_str(), part.fees.network.as_str()), ("0.125", "0.025"));
    refund(&bank, with_fees(None), &bob).await.unwrap();
    assert_eq!(bank.balance(&ann).await.1, "100");
    bank.close().await;
});

on_each_world!(one_of_many_refunds_at_once_takes_what_is_left, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "1000").await);
    let payment = paid(&bank, &ann, &bob, "10").await;
    let attempts = (0..32).map(|_| refund(&bank, asked(&bank, &payment, &bob, Some("7")), &bob));
    let outcomes = join_all(attempts).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    let refused = outcomes.into_iter().filter_map(Result::err);
    assert!(refused.into_iter().all(|code| code == "REFUND_EXCEEDS_PAYMENT"));
    bank.close().await;
});

on_each_world!(only_who_was_paid_gives_back_and_only_once, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let payment = paid(&bank, &ann, &bob, "10").await;
    // The payer may not refund itself.
    let own = refund(&bank, asked(&bank, &payment, &ann, None), &ann).await;
    assert_eq!(own.unwrap_err(), "INVALID_STATE");
    let forged = RefundRequest { payee: bob.did.clone(), ..asked(&bank, &payment, &ann, None) };
    assert_eq!(refund(&bank, forged, &ann).await.unwrap_err(), "SIGNATURE_INVALID");
    let mut edited = signed(&bank, asked(&bank, &payment, &bob, Some("1")), &bob);
    edited.amount = Some("9".into());
    let edited = bob.client.clone().with_key(fresh()).call::<CreateRefund>(&edited).await;
    assert_eq!(code(edited), "SIGNATURE_INVALID");
    // One order, sent again under its key and under another.
    let order = signed(&bank, asked(&bank, &payment, &bob, Some("1")), &bob);
    let first = bob.client.clone().with_key("refund-1").call::<CreateRefund>(&order).await.unwrap();
    let again = bob.client.clone().with_key("refund-1").call::<CreateRefund>(&order).await.unwrap();
    assert_eq!(first, again);
    let other_key = bob.client.clone().with_key(fresh()).call::<CreateRefund>(&order).await;
    assert_eq!(code(other_key), "SIGNATURE_INVALID");
    assert_eq!(bank.balance(&bob).await.1, "9");
    // A refund is no payment, and what was not settled cannot go back.
    let refund_of_refund =
        RefundRequest { transaction_id: first.refund_id, ..asked(&bank, &payment, &ann, None) };
    assert_eq!(refund(&bank, refund_of_refund, &ann).await.unwrap_err(), "INVALID_STATE");
    bank.world.clock.advance(Span::seconds(181 * 86_400));
    let late = refund(&bank, asked(&bank, &payment, &bob, None), &bob).await;
    assert_eq!(late.unwrap_err(), "REFUND_WINDOW_CLOSED");
    bank.close().await;
});

on_each_world!(who_paid_is_told_that_the_payee_gives_it_back, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let payment = paid(&bank, &ann, &bob, "50").await;
    let own = signed(&bank, asked(&bank, &payment, &ann, None), &ann);
    let told = problem(ann.client.clone().with_key(fresh()).call::<CreateRefund>(&own).await);
    assert_eq!(told.code, "INVALID_STATE");
    assert!(told.detail.unwrap().contains("whoever received it"), "it says who can");
    // Whoever only claims to be a party learns not even that there is such a payment.
    let claimed = signed(&bank, asked(&bank, &payment, &ann, None), &bob);
    let hidden = bob.client.clone().with_key(fresh()).call::<CreateRefund>(&claimed).await;
    assert_eq!(code(hidden), "TRANSACTION_NOT_FOUND");
    bank.close().await;
});
