//! Refusals that say what would have been right, to those who may know.

use q_contract::{Client, Problem};
use q_core::Caller;
use q_testkit::{World, on_each_world};
use qwallet_api::{CreatePayment, NewLimit, PaymentRequest, SetLimits, SetLimitsRequest};

use crate::support::{Bank, fresh, problem};

async fn refused(client: &Client, order: &PaymentRequest) -> Problem {
    problem(client.clone().with_key(fresh()).call::<CreatePayment>(order).await)
}

on_each_world!(a_payer_without_enough_reads_the_figures_and_nobody_else_does, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "10").await, bank.person("bob", "0").await);
    let order = bank.signed(bank.order(&ann, bob.did.as_str(), "10"), &ann);
    let told = refused(&ann.client, &order).await;
    assert_eq!(told.code, "INSUFFICIENT_FUNDS");
    let figure = |name: &str| told.extra[name].as_str().unwrap().to_owned();
    assert_eq!(
        (figure("available"), figure("needed"), figure("currency")),
        ("10".into(), "10.06".into(), "QToken".into())
    );
    assert!(told.detail.unwrap().contains("fees included"));
    // Bob was given the order to hand it in himself; what ann has is none of his business.
    for other in [bob.client.clone(), bank.world.client_as("qwallet", Caller::Anonymous)] {
        let told = refused(&other, &order).await;
        assert_eq!(
            (told.code.as_str(), told.detail, told.extra.get("available")),
            ("INSUFFICIENT_FUNDS", None, None)
        );
    }
    let daily = NewLimit { kind: "daily".into(), currency: "QToken".into(), amount: "2".into() };
    let lower =
        SetLimitsRequest { squid_id: ann.wallet.wallet_ref.clone(), limits: vec![daily], timezone: None };
    ann.client.clone().with_key(fresh()).call::<SetLimits>(&lower).await.unwrap();
    let more = bank.signed(bank.order(&ann, bob.did.as_str(), "3"), &ann);
    let told = refused(&ann.client, &more).await;
    assert_eq!(
        (told.code.as_str(), told.extra.contains_key("used")),
        ("DAILY_LIMIT_EXCEEDED", true),
        "{told:?}"
    );
    let told = refused(&bob.client, &more).await;
    assert_eq!(
        (told.code.as_str(), told.extra.contains_key("used")),
        ("DAILY_LIMIT_EXCEEDED", false),
        "{told:?}"
    );
    bank.close().await;
});

on_each_world!(what_is_malformed_is_told_with_its_form, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "10").await, bank.person("bob", "0").await);
    let order = PaymentRequest { nonce: "short".into(), ..bank.order(&ann, bob.did.as_str(), "1") };
    let told = refused(&ann.client, &bank.signed(order, &ann)).await;
    assert_eq!((told.code.as_str(), &told.extra["field"]), ("INVALID_REQUEST", &"nonce".into()));
    assert!(told.hint.unwrap().contains("8 to 64"));
    let order = PaymentRequest { currency: "EUR".into(), ..bank.order(&ann, bob.did.as_str(), "1") };
    let told = refused(&ann.client, &bank.signed(order, &ann)).await;
    assert_eq!(told.code, "CURRENCY_UNSUPPORTED");
    assert!(told.hint.unwrap().contains("QToken and PI"));
    bank.close().await;
});
