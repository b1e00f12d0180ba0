//! `/intents`, `/`, `/pay`.

use futures_util::future::join_all;
use q_core::{PageLimit, Span};
use q_db::{ModeKind, ModeOrder};
use q_runtime::Module;
use q_testkit::{World, on_each_world};
use qwallet_api::{
    CancelIntent, CreateIntentRequest, GetIntent, Intent, IntentPath, ListIntents, ListIntentsRequest, Pay,
    PayRequest, SignIntent, SignRequest,
};

use crate::support::{Bank, ask, code, fresh, intend, intend_as, signature};

on_each_world!(signing_holds_and_paying_settles, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let asked = CreateIntentRequest { purpose: Some("rent".into()), ..ask(&bob, "10") };
    let intent = intend_as(&ann, &asked).await;
    assert_eq!((intent.status.as_str(), intent.next_action.as_str()), ("PENDING", "sign"));
    assert_eq!(intent.fees.total.as_str(), "0.06");
    assert_eq!(bank.balance(&ann).await.0, "100");
    let request = signature(&intent, &ann);
    let signed = ann.client.clone().with_key("s").call::<SignIntent>(&request).await.unwrap();
    assert_eq!(bank.balance(&ann).await, ("89.94".into(), "100".into(), "10.06".into()));
    assert_eq!(ann.client.clone().with_key("s").call::<SignIntent>(&request).await.unwrap(), signed);
    assert_eq!(code(ann.client.clone().with_key("s2").call::<SignIntent>(&request).await), "INVALID_STATE");
    let pay = PayRequest { transaction_id: signed.transaction_id };
    assert_eq!(code(bob.client.clone().with_key("p").call::<Pay>(&pay).await), "TRANSACTION_NOT_FOUND");
    let paid = ann.client.clone().with_key("p").call::<Pay>(&pay).await.unwrap();
    assert_eq!((paid.status.as_str(), paid.intent_id), ("SETTLED", Some(intent.intent_id)));
    assert_eq!(paid.purpose.as_deref(), Some("rent"));
    assert_eq!(ann.client.clone().with_key("p").call::<Pay>(&pay).await.unwrap(), paid);
    assert_eq!(code(ann.client.clone().with_key("p2").call::<Pay>(&pay).await), "INVALID_STATE");
    assert_eq!(bank.balance(&ann).await, ("89.94".into(), "89.94".into(), "0".into()));
    assert_eq!(bank.balance(&bob).await.0, "10");
    let path = IntentPath { intent_id: intent.intent_id };
    assert_eq!(ann.client.call::<GetIntent>(&path).await.unwrap().status, "SETTLED");
    bank.close().await;
});

on_each_world!(cancelling_frees_what_was_held, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let pending = intend(&ann, &bob, "10").await;
    let path = IntentPath { intent_id: pending.intent_id };
    assert_eq!(code(bob.client.clone().with_key("c").call::<CancelIntent>(&path).await), "INTENT_NOT_FOUND");
    for _ in 0..2 {
        let cancelled = ann.client.clone().with_key("c").call::<CancelIntent>(&path).await.unwrap();
        assert_eq!(cancelled.status, "CANCELLED");
    }
    assert_eq!(
        code(ann.client.clone().with_key("c2").call::<CancelIntent>(&path).await),
        "INTENT_NOT_CANCELLABLE"
    );
    let request = signature(&pending, &ann);
    assert_eq!(code(ann.client.clone().with_key("s").call::<SignIntent>(&request).await), "INVALID_STATE");
    let held = intend(&ann, &bob, "20").await;
    let signed = ann.client.clone().with_key("s3").call::<SignIntent>(&signature(&held, &ann)).await.unwrap();
    let path = IntentPath { intent_id: held.intent_id };
    for _ in 0..2 {
        let cancelled = ann.client.clone().with_key("c3").call::<CancelIntent>(&path).await.unwrap();
        assert_eq!(cancelled.status, "CANCELLED");
    }
    assert_eq!(bank.balance(&ann).await, ("100".into(), "100".into(), "0".into()));
    let pay = PayRequest { transaction_id: signed.transaction_id };
    assert_eq!(code(ann.client.clone().with_key("p").call::<Pay>(&pay).await), "INVALID_STATE");
    bank.close().await;
});

on_each_world!(a_hold_lapses_by_the_executors_clock, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let (held, pending) = (intend(&ann, &bob, "10").await, intend(&ann, &bob, "20").await);
    let signed = ann.client.clone().with_key("s").call::<SignIntent>(&signature(&held, &ann)).await.unwrap();
    bank.module.service().expire().await.unwrap();
    assert_eq!(bank.balance(&ann).await.2, "10.06");
    bank.world.clock.advance(Span::seconds(600));
    let late = ann.client.clone().with_key("s2").call::<SignIntent>(&signature(&pending, &ann)).await;
    assert_eq!(code(late), "INTENT_EXPIRED");
    let pay = PayRequest { transaction_id: signed.transaction_id };
    assert_eq!(code(ann.client.clone().with_key("p").call::<Pay>(&pay).await), "INTENT_EXPIRED");
    bank.module.service().expire().await.unwrap();
    assert_eq!(bank.balance(&ann).await, ("100".into(), "100".into(), "0".into()));
    let list = ListIntentsRequest {
        role: None,
        status: Some("EXPIRED".into()),
        cursor: None,
        limit: PageLimit::default(),
    };
    let lapsed = ann.client.call::<ListIntents>(&list).await.unwrap();
    let ids: Vec<_> = lapsed.items.iter().map(|intent| intent.intent_id).collect();
    assert_eq!(ids.len(), 2);
    assert!(ids.contains(&held.intent_id) && ids.contains(&pending.intent_id));
    bank.close().await;
});

on_each_world!(holds_count_against_the_last_unit, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "10.06").await, bank.person("bob", "0").await);
    let mut requests = Vec::new();
    for _ in 0..8 {
        requests.push(signature(&intend(&ann, &bob, "10").await, &ann));
    }
    let outcomes = join_all(
        requests
            .iter()
            .map(|request| async { ann.client.clone().with_key(fresh()).call::<SignIntent>(request).await }),
    );
    let (held, refused): (Vec<_>, Vec<_>) = outcomes.await.into_iter().partition(Result::is_ok);
    assert_eq!(held.len(), 1);
    assert!(refused.into_iter().all(|outcome| code(outcome) == "INSUFFICIENT_FUNDS"));
    assert_eq!(bank.module.verify().await.unwrap(), []);
    bank.close().await;
});

on_each_world!(an_intent_is_signed_once_by_its_payer, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let intent = intend(&ann, &bob, "10").await;
    let by_bob = SignRequest { ..signature(&intent, &bob) };
    assert_eq!(code(bob.client.clone().with_key("b").call::<SignIntent>(&by_bob).await), "SIGNATURE_INVALID");
    let other = signature(&intend(&ann, &bob, "9").await, &ann);
    let swapped = SignRequest { intent_id: intent.intent_id, ..other };
    assert_eq!(
        code(ann.client.clone().with_key("x").call::<SignIntent>(&swapped).await),
        "SIGNATURE_INVALID"
    );
    assert_eq!(bank.balance(&ann).await.2, "0");
    let request = signature(&intent, &ann);
    let outcomes = join_all(
        (0..16).map(|_| async { ann.client.clone().with_key(fresh()).call::<SignIntent>(&request).await }),
    );
    let signed = outcomes.await.into_iter().flatten().count();
    assert_eq!((signed, bank.balance(&ann).await.2), (1, "10.06".to_owned()));
    bank.close().await;
});

on_each_world!(a_pause_is_added_to_what_a_hold_and_an_intent_have_left, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let (held, lapsing, pending) =
        (intend(&ann, &bob, "10").await, intend(&ann, &bob, "5").await, intend(&ann, &bob, "20").await);
    let sign_one = async |intent: &Intent| {
        let client = ann.client.clone().with_key(fresh());
        client.call::<SignIntent>(&signature(intent, &ann)).await
    };
    let (paid, lapses) = (sign_one(&held).await.unwrap(), sign_one(&lapsing).await.unwrap());
    let db = bank.module.db();
    let order = |kind| ModeOrder { kind, reason: "moving house".into(), ..ModeOrder::default() };
    bank.world.clock.advance(Span::seconds(300));
    db.set_mode(&order(ModeKind::ReadOnly), "operator").await.unwrap();
    bank.world.clock.advance(Span::seconds(400));
    // Their time is over by the calendar, but nobody could have paid: nothing lapses, now or right after.
    bank.module.service().expire().await.unwrap();
    db.set_mode(&order(ModeKind::Normal), "operator").await.unwrap();
    bank.module.service().expire().await.unwrap();
    bank.world.clock.advance(Span::seconds(200));
    let pay = PayRequest { transaction_id: paid.transaction_id };
    ann.client.clone().with_key(fresh()).call::<Pay>(&pay).await.unwrap();
    let late = sign_one(&pending).await.unwrap();
    assert_eq!(late.hold_expires_at, pending.expires_at + Span::seconds(400));
    assert_eq!(bank.balance(&ann).await.2, "25.15");
    bank.world.clock.advance(Span::seconds(101));
    bank.module.service().expire().await.unwrap();
    assert_eq!(bank.balance(&ann).await.2, "0");
    let pay = PayRequest { transaction_id: lapses.transaction_id };
    assert_eq!(code(ann.client.clone().with_key(fresh()).call::<Pay>(&pay).await), "INVALID_STATE");
    bank.close().await;
});

on_each_world!(nothing_lapses_because_a_clock_jumped, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let held = intend(&ann, &bob, "10").await;
    ann.client.clone().with_key("s").call::<SignIntent>(&signature(&held, &ann)).await.unwrap();
    let service = bank.module.service();
    service.expire().await.unwrap();
    let clock = || bank.module.checks().into_iter().find(|check| check.name == "clock").unwrap();
    assert_eq!((clock().run)().await, Ok(()));
    bank.world.clock.jump(Span::seconds(86_400));
    service.expire().await.unwrap();
    assert_eq!(bank.balance(&ann).await.2, "10.06");
    assert!((clock().run)().await.unwrap_err().contains("86400 s ahead"));
    let mut registry = prometheus_client::registry::Registry::default();
    bank.module.metrics(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    assert!(text.contains("qwallet_clock_ahead_seconds 86400\n"), "{text}");
    // The clock is set right, and time passes as it does.
    bank.world.clock.jump(Span::seconds(-86_400));
    assert_eq!((clock().run)().await, Ok(()));
    bank.world.clock.advance(Span::seconds(600));
    service.expire().await.unwrap();
    assert_eq!(bank.balance(&ann).await.2, "0");
    bank.close().await;
});

on_each_world!(the_figures_tell_of_commits_refusals_holds_and_the_books, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let held = intend(&ann, &bob, "10").await;
    ann.client.clone().with_key("s").call::<SignIntent>(&signature(&held, &ann)).await.unwrap();
    let order = bank.signed(bank.order(&ann, bob.did.as_str(), "500"), &ann);
    let poor = ann.client.clone().with_key(fresh()).call::<qwallet_api::CreatePayment>(&order).await;
    assert_eq!(code(poor), "INSUFFICIENT_FUNDS");
    bank.module.service().measure().await.unwrap();
    let mut registry = prometheus_client::registry::Registry::default();
    bank.module.metrics(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    for line in [
        "qwallet_batch_size_bucket{le=\"1.0\"} 3",
        "qwallet_commit_seconds_count 3",
        "qwallet_queue_depth 0",
        "qwallet_refusals_total{code=\"INSUFFICIENT_FUNDS\"} 1",
        "qwallet_holds_open 1",
        "qwallet_trial_balance_difference{currency=\"QToken\"} 0.0",
    ] {
        assert!(text.lines().any(|told| told == line), "{line} is not in\n{text}");
    }
    bank.close().await;
});
