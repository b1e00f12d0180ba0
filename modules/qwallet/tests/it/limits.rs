//! Limits on spending: in one transaction, a day, a month; lowered at once, raised with patience or a second person.

use q_core::Span;
use q_pdp::Resource;
use q_runtime::Module;
use q_testkit::{World, identity, on_each_world};
use qwallet::SETTINGS;
use qwallet_api::{
    CancelIntent, CreateBatch, CreatePayment, GetLimits, IntentPath, LimitList, SetLimits, SpendingLimit,
    WalletPath,
};

use crate::support::{Bank, Person, code, fresh, intend, item, new_limits, problem, settings, sign_it};

async fn set(person: &Person, limits: &[(&str, &str)]) -> LimitList {
    person.client.clone().with_key(fresh()).call::<SetLimits>(&new_limits(person, limits)).await.unwrap()
}

async fn limit(person: &Person, kind: &str) -> SpendingLimit {
    let path = WalletPath { squid_id: person.did.to_string() };
    let limits = person.client.call::<GetLimits>(&path).await.unwrap();
    limits.items.into_iter().find(|limit| limit.kind == kind).unwrap()
}

async fn pay(bank: &Bank, payer: &Person, payee: &Person, amount: &str) -> Result<String, String> {
    let order = bank.signed(bank.order(payer, payee.did.as_str(), amount), payer);
    match payer.client.clone().with_key(fresh()).call::<CreatePayment>(&order).await {
        Ok(paid) => Ok(paid.transaction_id.to_string()),
        refused => Err(code(refused)),
    }
}

on_each_world!(each_limit_refuses_what_goes_beyond_it, async |world: World| {
    let bank = Bank::open_with(world, SETTINGS).await;
    let (ann, bob) = (bank.person("ann", "5000").await, bank.person("bob", "0").await);
    set(&ann, &[("perTransaction", "60"), ("daily", "100"), ("monthly", "130")]).await;
    assert_eq!(pay(&bank, &ann, &bob, "60.1").await, Err("TX_LIMIT_EXCEEDED".into()));
    assert!(pay(&bank, &ann, &bob, "60").await.is_ok());
    assert_eq!(pay(&bank, &ann, &bob, "40.000001").await, Err("DAILY_LIMIT_EXCEEDED".into()));
    assert!(pay(&bank, &ann, &bob, "40").await.is_ok());
    assert_eq!(limit(&ann, "daily").await.used.as_str(), "100");
    bank.world.clock.advance(Span::seconds(86_400));
    assert_eq!(limit(&ann, "daily").await.used.as_str(), "0");
    assert!(pay(&bank, &ann, &bob, "30").await.is_ok());
    let order = bank.signed(bank.order(&ann, bob.did.as_str(), "1"), &ann);
    let refused = problem(ann.client.clone().with_key(fresh()).call::<CreatePayment>(&order).await);
    assert_eq!((refused.code.as_str(), refused.status), ("MONTHLY_LIMIT_EXCEEDED", 403));
    let told = |name: &str| refused.extra[name].as_str().unwrap().to_owned();
    assert_eq!([told("limit"), told("used"), told("attempted")], ["130", "130", "1"]);
    assert!(told("resetsAt").ends_with("-01T00:00:00Z"), "{}", told("resetsAt"));
    // Told once, however often it is tried.
    assert_eq!(pay(&bank, &ann, &bob, "1").await, Err("MONTHLY_LIMIT_EXCEEDED".into()));
    let events = bank.module.db().outbox_after(0, 1_000).await.unwrap();
    let kinds = events.iter().filter(|row| row.event.topic == "q.qwallet.limit.exceeded.v1");
    let kinds: Vec<&str> = kinds.map(|row| row.event.data["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["perTransaction", "daily", "monthly"]);
    bank.close().await;
});

on_each_world!(a_limit_is_checked_before_fees_and_funds_and_after_the_rest, async |world: World| {
    let bank = Bank::open_with(world, settings(&[("step_up", "none")])).await;
    let (ann, bob) = (bank.person("ann", "20").await, bank.person("bob", "0").await);
    set(&ann, &[("daily", "10")]).await;
    let mut order = bank.order(&ann, bob.did.as_str(), "5000000");
    order.max_fees = "0".into();
    // Each step mends the fault that was refused.
    order.recipient = "did:key:zNobody".into();
    let submit = async |order: &qwallet_api::PaymentRequest| {
        let order = bank.signed(order.clone(), &ann);
        ann.client.clone().with_key(fresh()).call::<CreatePayment>(&order).await
    };
    assert_eq!(code(submit(&order).await), "RECIPIENT_UNKNOWN");
    order.recipient = bob.did.to_string();
    assert_eq!(code(submit(&order).await), "TX_LIMIT_EXCEEDED");
    order.amount = "11".into();
    order.nonce = format!("nonce-{}", fresh());
    assert_eq!(code(submit(&order).await), "DAILY_LIMIT_EXCEEDED");
    order.amount = "10".into();
    assert_eq!(code(submit(&order).await), "FEES_EXCEED_MAXIMUM");
    order.max_fees = "1".into();
    submit(&order).await.unwrap();
    bank.close().await;
});

on_each_world!(a_hold_counts_until_it_is_freed, async |world: World| {
    let bank = Bank::open_with(world, SETTINGS).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    set(&ann, &[("daily", "10")]).await;
    let intent = intend(&ann, &bob, "8").await;
    sign_it(&intent, &ann).await.unwrap();
    assert_eq!(pay(&bank, &ann, &bob, "3").await, Err("DAILY_LIMIT_EXCEEDED".into()));
    let path = IntentPath { intent_id: intent.intent_id };
    ann.client.clone().with_key(fresh()).call::<CancelIntent>(&path).await.unwrap();
    assert_eq!(limit(&ann, "daily").await.used.as_str(), "0");
    assert!(pay(&bank, &ann, &bob, "3").await.is_ok());
    bank.close().await;
});

on_each_world!(a_batch_stops_at_the_limit_and_an_atomic_one_counts_nothing, async |world: World| {
    let bank = Bank::open_with(world, SETTINGS).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    set(&ann, &[("daily", "10")]).await;
    let mut batch = bank.batch(&ann, vec![item(bob.did.as_str(), "4"); 3]);
    batch.atomic = true;
    let batch = bank.signed_batch(batch, &ann);
    let paid = ann.client.clone().with_key(fresh()).call::<CreateBatch>(&batch).await.unwrap();
    assert_eq!(paid.committed, 0);
    assert_eq!(limit(&ann, "daily").await.used.as_str(), "0");
    let batch = bank.signed_batch(bank.batch(&ann, vec![item(bob.did.as_str(), "4"); 3]), &ann);
    let paid = ann.client.clone().with_key(fresh()).call::<CreateBatch>(&batch).await.unwrap();
    assert_eq!(paid.committed, 2);
    assert_eq!(paid.results[2].problem.as_ref().unwrap().code, "DAILY_LIMIT_EXCEEDED");
    assert_eq!(limit(&ann, "daily").await.used.as_str(), "8");
    bank.close().await;
});

on_each_world!(raising_takes_a_day_or_an_operator, async |world: World| {
    let bank = Bank::open_with(world, SETTINGS).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let operator = bank.person("operator", "0").await;
    let (instance, key) = identity("instance");
    let resource = Resource::instance(&instance);
    bank.grant(&instance, &key, &operator.did, &resource, "admin").await;
    set(&ann, &[("daily", "10")]).await;
    assert_eq!(limit(&ann, "daily").await.set_by, "owner");
    set(&ann, &[("daily", "50")]).await;
    let waiting = limit(&ann, "daily").await;
    assert_eq!((waiting.amount.as_str(), waiting.pending.unwrap().amount.as_str()), ("10", "50"));
    assert_eq!(pay(&bank, &ann, &bob, "11").await, Err("DAILY_LIMIT_EXCEEDED".into()));
    // Strangers learn nothing; an operator confirms what was asked for and nothing else.
    let asked_for = |amount| new_limits(&ann, &[("daily", amount)]);
    let stranger = bob.client.clone().with_key(fresh()).call::<SetLimits>(&asked_for("1")).await;
    assert_eq!(code(stranger), "WALLET_NOT_FOUND");
    let other = operator.client.clone().with_key(fresh()).call::<SetLimits>(&asked_for("60")).await;
    assert_eq!(code(other), "INVALID_STATE");
    operator.client.clone().with_key(fresh()).call::<SetLimits>(&asked_for("50")).await.unwrap();
    assert!(pay(&bank, &ann, &bob, "11").await.is_ok());
    // Alone, the owner waits a day.
    set(&ann, &[("daily", "70")]).await;
    assert_eq!(pay(&bank, &ann, &bob, "40").await, Err("DAILY_LIMIT_EXCEEDED".into()));
    bank.world.clock.advance(Span::seconds(86_401));
    assert_eq!(pay(&bank, &ann, &bob, "70").await.err(), None);
    assert_eq!(
        code(ann.client.clone().with_key(fresh()).call::<SetLimits>(&new_limits(&ann, &[])).await),
        "INVALID_REQUEST"
    );
    bank.close().await;
});

on_each_world!(the_instances_limits_hold_for_who_chose_nothing, async |world: World| {
    let bank = Bank::open_with(world, SETTINGS).await;
    let (ann, bob) = (bank.person("ann", "10000").await, bank.person("bob", "0").await);
    let daily = limit(&ann, "daily").await;
    assert_eq!((daily.amount.as_str(), daily.set_by.as_str()), ("1000", "instance"));
    assert_eq!(limit(&ann, "monthly").await.amount.as_str(), "10000");
    assert!(pay(&bank, &ann, &bob, "1000").await.is_ok());
    assert_eq!(pay(&bank, &ann, &bob, "0.1").await, Err("DAILY_LIMIT_EXCEEDED".into()));
    // Nobody's own choice goes beyond what one payment may be here.
    set(&ann, &[("perTransaction", "20000")]).await;
    bank.world.clock.advance(Span::seconds(2 * 86_400));
    assert_eq!(limit(&ann, "perTransaction").await.amount.as_str(), "10000");
    bank.close().await;
});
