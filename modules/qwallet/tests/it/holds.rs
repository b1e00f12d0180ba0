//! `/intents/{id}/capture`, `/intents/{id}/void`, `/holds/batch`.

use futures_util::future::join_all;
use q_contract::CallError;
use q_core::{PageLimit, Span};
use q_pdp::Resource;
use q_runtime::Module;
use q_testkit::{World, on_each_world};
use qwallet::SETTINGS;
use qwallet_api::{
    CancelIntent, Capture, CaptureIntent, CaptureItem, CaptureRequest, ChangeHolds, CreateIntent,
    CreateIntentRequest, CreateRefund, GetEscrow, GetIntent, GetLimits, GetReceipt, GetTransaction, HOLD_TYP,
    HoldBatchRequest, Intent, IntentPath, ListIntents, ListIntentsRequest, ListTransactions,
    ListTransactionsRequest, Pay, PayRequest, ReleaseEscrow, SignIntent, SignRequest, TransactionPath,
    VoidIntent, WalletPath,
};

use crate::support::{Bank, Person, code, fresh, problem, sign, sign_as};

fn ask(payee: &Person, amount: &str, hold_for: Option<u32>) -> CreateIntentRequest {
    CreateIntentRequest {
        amount: amount.into(),
        currency: "QToken".into(),
        recipient: payee.did.to_string(),
        purpose: Some("a room".into()),
        expires_in: Some(600),
        wallet: None,
        capture: Some("manual".into()),
        quote_id: None,
        hold_for,
    }
}

async fn held_for(bank: &Bank, payer: &Person, payee: &Person, amount: &str, hold_for: u32) -> Intent {
    let client = || payer.client.clone().with_key(fresh());
    let intent = client().call::<CreateIntent>(&ask(payee, amount, Some(hold_for))).await.unwrap();
    assert_eq!(intent.signing_type, HOLD_TYP);
    let signature = sign_as(HOLD_TYP, intent.signing_input.as_bytes(), &payer.did, &payer.key);
    let request = SignRequest { intent_id: intent.intent_id, signature };
    let signed = client().call::<SignIntent>(&request).await.unwrap();
    assert_eq!(signed.hold_expires_at, bank.now() + Span::seconds(i64::from(hold_for)));
    let path = IntentPath { intent_id: intent.intent_id };
    payee.client.call::<GetIntent>(&path).await.unwrap()
}

/// Money of `payer` that is held for `payee` for a week.
pub async fn held(bank: &Bank, payer: &Person, payee: &Person, amount: &str) -> Intent {
    held_for(bank, payer, payee, amount, 7 * 86_400).await
}

fn part(intent: &Intent, amount: Option<&str>, is_final: bool) -> CaptureRequest {
    let amount = amount.map(Into::into);
    CaptureRequest { intent_id: intent.intent_id, amount, is_final, into: None, order_ref: None }
}

/// The payee takes a part.
pub async fn take(
    payee: &Person,
    intent: &Intent,
    amount: Option<&str>,
    is_final: bool,
) -> Result<Capture, CallError> {
    payee.client.clone().with_key(fresh()).call::<CaptureIntent>(&part(intent, amount, is_final)).await
}

async fn void(payee: &Person, intent: &Intent) -> Result<Intent, CallError> {
    let path = IntentPath { intent_id: intent.intent_id };
    payee.client.clone().with_key(fresh()).call::<VoidIntent>(&path).await
}

async fn again(person: &Person, intent: &Intent) -> Intent {
    person.client.call::<GetIntent>(&IntentPath { intent_id: intent.intent_id }).await.unwrap()
}

async fn is_sound(bank: &Bank) {
    assert_eq!(bank.module.verify().await.unwrap(), []);
}

on_each_world!(a_payee_takes_parts_and_the_fees_follow, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let intent = held(&bank, &ann, &bob, "30").await;
    assert_eq!((intent.status.as_str(), intent.next_action.as_str()), ("SIGNED", "wait"));
    assert_eq!((intent.capture.as_str(), intent.hold_for), ("manual", Some(604_800)));
    let fees = intent.fees.total.as_str().to_owned();
    assert_eq!(fees, "0.18");
    assert_eq!(bank.balance(&ann).await, ("69.82".into(), "100".into(), "30.18".into()));

    let request = part(&intent, Some("10"), false);
    let first = bob.client.clone().with_key("one").call::<CaptureIntent>(&request).await.unwrap();
    let told =
        (first.amount.as_str(), first.fees.total.as_str(), first.captured.as_str(), first.left.as_str());
    assert_eq!(told, ("10", "0.06", "10", "20"));
    assert!(!first.is_final);
    assert_eq!(bank.balance(&ann).await, ("69.82".into(), "89.94".into(), "20.12".into()));
    assert_eq!(bank.balance(&bob).await.0, "10");
    let second = take(&bob, &intent, Some("5.5"), false).await.unwrap();
    assert_eq!((second.captured.as_str(), second.left.as_str()), ("15.5", "14.5"));
    // The first answer, whatever became of the rest.
    assert_eq!(bob.client.clone().with_key("one").call::<CaptureIntent>(&request).await.unwrap(), first);
    let other = part(&intent, Some("11"), false);
    let reused = bob.client.clone().with_key("one").call::<CaptureIntent>(&other).await;
    assert_eq!(code(reused), "IDEMPOTENCY_KEY_REUSED");
    is_sound(&bank).await;

    let last = take(&bob, &intent, Some("4.5"), true).await.unwrap();
    assert_eq!((last.captured.as_str(), last.left.as_str(), last.is_final), ("20", "0", true));
    // Two thirds of the fees, and nothing is held any more.
    assert_eq!(bank.balance(&ann).await, ("79.88".into(), "79.88".into(), "0".into()));
    assert_eq!(bank.balance(&bob).await.0, "20");
    let over = again(&ann, &intent).await;
    assert_eq!((over.status.as_str(), over.captured.unwrap().as_str()), ("SETTLED", "20"));
    assert_eq!(over.next_action, "none");
    let path = TransactionPath { transaction_id: over.transaction_id.unwrap() };
    let paid = ann.client.call::<GetTransaction>(&path).await.unwrap();
    assert_eq!((paid.status.as_str(), paid.amount.as_str()), ("SETTLED", "20"));
    assert_eq!((paid.fees.total.as_str(), paid.captured.unwrap().as_str()), ("0.12", "20"));
    assert_eq!(paid.settlement_hash.as_deref(), Some(last.settlement_hash.as_str()));
    let phases: Vec<_> = paid.legs.iter().map(|leg| format!("{} {}", leg.phase, leg.leg)).collect();
    assert_eq!(phases.iter().filter(|phase| *phase == "settled principal").count(), 3);
    assert_eq!(phases.iter().filter(|phase| *phase == "voided principal").count(), 1);
    let receipt = bob.client.call::<GetReceipt>(&path).await.unwrap();
    let proven =
        qwallet::domain::receipt::verify(&receipt.jws, |kid, _| qwallet::domain::receipt::key_named(kid));
    assert!(proven.unwrap().content.order.is_some(), "the payee holds the payer's signature");

    let list =
        ListTransactionsRequest { squid_id: ann.did.to_string(), ..ListTransactionsRequest::default() };
    let entries = ann.client.call::<ListTransactions>(&list).await.unwrap().items;
    let settled = entries.iter().filter(|entry| entry.phase == "settled" && entry.leg == "principal");
    let settled: Vec<_> = settled
        .map(|entry| format!("{} {}", entry.amount.as_str(), entry.fees.as_ref().unwrap().total.as_str()))
        .collect();
    assert_eq!(settled, ["-4.5 0.027", "-5.5 0.033", "-10 0.06"], "each part with its own fees");
    is_sound(&bank).await;
    bank.close().await;
});

on_each_world!(nobody_takes_more_than_is_held_or_what_is_not_theirs, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let eve = bank.person("eve", "0").await;
    let intent = held(&bank, &ann, &bob, "30").await;
    for (amount, expected) in [
        ("0", "AMOUNT_OUT_OF_RANGE"),
        ("0.000", "AMOUNT_OUT_OF_RANGE"),
        ("-1", "AMOUNT_MALFORMED"),
        ("1e3", "AMOUNT_MALFORMED"),
        ("01", "AMOUNT_MALFORMED"),
        ("1.0000000000000000001", "AMOUNT_PRECISION"),
        ("30.000000000000000001", "CAPTURE_EXCEEDS_HOLD"),
        ("340282366920938463463.374607431768211455", "CAPTURE_EXCEEDS_HOLD"),
    ] {
        assert_eq!(code(take(&bob, &intent, Some(amount), false).await), expected, "{amount}");
    }
    take(&bob, &intent, Some("12"), false).await.unwrap();
    let refused = problem(take(&bob, &intent, Some("18.1"), false).await);
    let figure = |name: &str| refused.extra[name].as_str().unwrap().to_owned();
    assert_eq!(
        [figure("held"), figure("captured"), figure("left"), figure("attempted")],
        ["30", "12", "18", "18.1"]
    );

    assert_eq!(code(take(&eve, &intent, None, true).await), "INTENT_NOT_FOUND");
    assert_eq!(code(void(&eve, &intent).await), "INTENT_NOT_FOUND");
    let path = IntentPath { intent_id: intent.intent_id };
    assert_eq!(code(eve.client.call::<GetIntent>(&path).await), "INTENT_NOT_FOUND");
    assert_eq!(code(take(&ann, &intent, None, true).await), "INVALID_STATE");
    assert_eq!(code(void(&ann, &intent).await), "INVALID_STATE");
    let client = || ann.client.clone().with_key(fresh());
    assert_eq!(code(client().call::<CancelIntent>(&path).await), "INTENT_NOT_CANCELLABLE");
    let pay = PayRequest { transaction_id: intent.transaction_id.unwrap() };
    assert_eq!(code(client().call::<Pay>(&pay).await), "INVALID_STATE");

    // Whom the payee allowed it takes for the payee.
    let resource: Resource = format!("qwallet:wallet:{}", bob.wallet.wallet_id).parse().unwrap();
    bank.grant(&bob.did, &bob.key, &eve.did, &resource, "read").await;
    assert_eq!(code(take(&eve, &intent, Some("1"), false).await), "INTENT_NOT_FOUND");
    bank.grant(&bob.did, &bob.key, &eve.did, &resource, "capture").await;
    take(&eve, &intent, Some("1"), false).await.unwrap();
    assert_eq!((bank.balance(&bob).await.0, bank.balance(&eve).await.0), ("13".into(), "0".into()));

    // What is not held for a payee is not taken, and what nobody signed neither.
    let unsigned = client().call::<CreateIntent>(&ask(&bob, "5", None)).await.unwrap();
    assert_eq!(code(take(&bob, &unsigned, None, true).await), "INVALID_STATE");
    let path = IntentPath { intent_id: unsigned.intent_id };
    assert_eq!(code(bob.client.call::<GetIntent>(&path).await), "INTENT_NOT_FOUND");
    // A payment's signature is not one for holding: the type is signed too.
    let wrong = sign(unsigned.signing_input.as_bytes(), &ann.did, &ann.key);
    let request = SignRequest { intent_id: unsigned.intent_id, signature: wrong };
    assert_eq!(code(client().call::<SignIntent>(&request).await), "SIGNATURE_INVALID");
    let automatic = CreateIntentRequest { capture: Some("auto".into()), ..ask(&bob, "5", None) };
    let automatic = client().call::<CreateIntent>(&automatic).await.unwrap();
    let signature = sign(automatic.signing_input.as_bytes(), &ann.did, &ann.key);
    let request = SignRequest { intent_id: automatic.intent_id, signature };
    client().call::<SignIntent>(&request).await.unwrap();
    assert_eq!(code(take(&bob, &automatic, None, true).await), "INVALID_STATE");
    assert_eq!(code(void(&bob, &automatic).await), "INVALID_STATE");
    for (capture, hold_for) in
        [("auto", Some(600)), ("manual", Some(59)), ("manual", Some(2_592_001)), ("x", None)]
    {
        let request = CreateIntentRequest { capture: Some(capture.into()), ..ask(&bob, "5", hold_for) };
        assert_eq!(code(client().call::<CreateIntent>(&request).await), "INVALID_REQUEST", "{capture}");
    }
    is_sound(&bank).await;
    bank.close().await;
});

on_each_world!(what_is_freed_is_the_payers_again_and_counts_no_more, async |world: World| {
    let bank = Bank::open_with(world, SETTINGS).await;
    let (ann, bob) = (bank.person("ann", "1000").await, bank.person("bob", "0").await);
    let used = async || {
        let path = WalletPath { squid_id: ann.did.to_string() };
        let limits = ann.client.call::<GetLimits>(&path).await.unwrap().items;
        let daily = limits.into_iter().find(|limit| limit.kind == "daily" && limit.currency == "QToken");
        daily.unwrap().used.as_str().to_owned()
    };
    let (some, all, none) = (
        held(&bank, &ann, &bob, "100").await,
        held(&bank, &ann, &bob, "40").await,
        held(&bank, &ann, &bob, "60").await,
    );
    assert_eq!(used().await, "200");
    take(&bob, &some, Some("25"), false).await.unwrap();
    assert_eq!(used().await, "200");
    let freed = void(&bob, &some).await.unwrap();
    assert_eq!((freed.status.as_str(), used().await.as_str()), ("SETTLED", "125"));
    let whole = take(&bob, &all, None, false).await.unwrap();
    assert!(whole.is_final, "nothing is left");
    assert_eq!((whole.amount.as_str(), used().await.as_str()), ("40", "125"));
    let path = IntentPath { intent_id: none.intent_id };
    for _ in 0..2 {
        let freed = bob.client.clone().with_key("v").call::<VoidIntent>(&path).await.unwrap();
        assert_eq!(freed.status, "CANCELLED");
    }
    assert_eq!(used().await, "65");
    assert_eq!(code(void(&bob, &none).await), "HOLD_VOIDED");
    assert_eq!(code(take(&bob, &none, Some("1"), false).await), "HOLD_VOIDED");
    assert_eq!(code(take(&bob, &some, Some("1"), false).await), "INVALID_STATE");
    assert_eq!(code(take(&bob, &all, Some("1"), false).await), "INVALID_STATE");
    assert_eq!(bank.balance(&bob).await.0, "65");
    assert_eq!(bank.balance(&ann).await.2, "0");
    is_sound(&bank).await;
    bank.close().await;
});

on_each_world!(a_hold_lapses_and_what_was_taken_stays_taken, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let (touched, untouched) =
        (held_for(&bank, &ann, &bob, "30", 3_600).await, held_for(&bank, &ann, &bob, "20", 3_600).await);
    bank.world.clock.advance(Span::seconds(3_599));
    bank.module.service().expire().await.unwrap();
    take(&bob, &touched, Some("7"), false).await.unwrap();
    bank.world.clock.advance(Span::seconds(1));
    // The executor's clock decides, also before anybody swept.
    assert_eq!(code(take(&bob, &touched, Some("7"), false).await), "HOLD_VOIDED");
    bank.module.service().expire().await.unwrap();
    assert_eq!(code(take(&bob, &untouched, None, true).await), "HOLD_VOIDED");
    assert_eq!(again(&bob, &touched).await.status, "SETTLED");
    assert_eq!(again(&bob, &untouched).await.status, "EXPIRED");
    let (available, posted, pending) = bank.balance(&ann).await;
    assert_eq!((available == posted, pending.as_str()), (true, "0"));
    assert_eq!(bank.balance(&bob).await.0, "7");
    let list = |role: &str, status: Option<&str>| ListIntentsRequest {
        role: Some(role.into()),
        status: status.map(Into::into),
        cursor: None,
        limit: PageLimit::default(),
    };
    let seen = bob.client.call::<ListIntents>(&list("payee", None)).await.unwrap().items;
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0].wallet, ann.wallet.wallet_ref);
    let seen = bob.client.call::<ListIntents>(&list("payee", Some("EXPIRED"))).await.unwrap().items;
    assert_eq!(seen.len(), 1);
    assert_eq!(code(bob.client.call::<ListIntents>(&list("king", None)).await), "INVALID_REQUEST");
    is_sound(&bank).await;
    bank.close().await;
});

on_each_world!(sixty_four_takers_take_what_there_is_once, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let intent = held(&bank, &ann, &bob, "10").await;
    let outcomes = join_all((0..64).map(|_| take(&bob, &intent, Some("1"), false))).await;
    let (taken, refused): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert_eq!(taken.len(), 10);
    let codes: Vec<String> = refused.into_iter().map(code).collect();
    assert!(codes.iter().all(|code| code == "CAPTURE_EXCEEDS_HOLD" || code == "INVALID_STATE"), "{codes:?}");
    assert_eq!(bank.balance(&bob).await.0, "10");
    // 10, and the whole fee of it.
    assert_eq!(bank.balance(&ann).await, ("89.94".into(), "89.94".into(), "0".into()));
    is_sound(&bank).await;
    bank.close().await;
});

on_each_world!(taking_freeing_and_lapsing_at_once_end_a_hold_once, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let mut intents = Vec::new();
    for _ in 0..8 {
        intents.push(held_for(&bank, &ann, &bob, "5", 60).await);
    }
    bank.world.clock.advance(Span::seconds(59));
    let service = bank.module.service();
    let work = intents.iter().map(|intent| async {
        let (one, two, freed) = tokio::join!(
            take(&bob, intent, Some("2"), false),
            take(&bob, intent, None, true),
            void(&bob, intent)
        );
        [one.is_ok(), two.is_ok(), freed.is_ok()]
    });
    let (outcomes, ()) = tokio::join!(join_all(work), async {
        bank.world.clock.advance(Span::seconds(1));
        service.expire().await.unwrap();
    });
    service.expire().await.unwrap();
    for (intent, outcome) in intents.iter().zip(&outcomes) {
        let now = again(&bob, intent).await;
        let captured = now.captured.unwrap().as_str().to_owned();
        let expected = match (captured.as_str(), now.status.as_str()) {
            ("0", "CANCELLED") => [false, false, true],
            ("0", "EXPIRED") => [false; 3],
            ("2" | "5", "SETTLED") => *outcome,
            other => panic!("{other:?} {outcome:?}"),
        };
        assert_eq!(*outcome, expected);
        assert!(!(outcome[1] && outcome[2]), "ended twice");
    }
    assert_eq!(bank.balance(&ann).await.2, "0");
    is_sound(&bank).await;
    bank.close().await;
});

on_each_world!(many_holds_are_taken_and_freed_in_one_commit, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "1000").await, bank.person("bob", "0").await);
    let eve = bank.person("eve", "0").await;
    let mut intents = Vec::new();
    for _ in 0..6 {
        intents.push(held(&bank, &ann, &bob, "10").await);
    }
    let foreign = held(&bank, &ann, &eve, "10").await;
    let post = |place: usize, amount: &str| CaptureItem {
        intent_id: intents[place].intent_id,
        amount: Some(amount.into()),
        is_final: false,
    };
    let request = HoldBatchRequest {
        atomic: false,
        post: vec![
            post(0, "4"),
            post(0, "7"),
            post(0, "6"),
            post(1, "0.0000000000000000001"),
            CaptureItem { intent_id: foreign.intent_id, amount: None, is_final: true },
            CaptureItem { is_final: true, ..post(2, "1") },
        ],
        void: vec![intents[3].intent_id, intents[2].intent_id],
    };
    let client = || bob.client.clone().with_key("many");
    let changed = client().call::<ChangeHolds>(&request).await.unwrap();
    let codes: Vec<_> = changed
        .results
        .iter()
        .map(|result| result.problem.as_ref().map_or("ok", |problem| problem.code.as_str()))
        .collect();
    assert_eq!(
        codes,
        [
            "ok",
            "CAPTURE_EXCEEDS_HOLD",
            "ok",
            "AMOUNT_PRECISION",
            "INTENT_NOT_FOUND",
            "ok",
            "ok",
            "INVALID_STATE"
        ]
    );
    assert_eq!((changed.committed, changed.results[0].transaction_id), (4, intents[0].transaction_id));
    assert_eq!(client().call::<ChangeHolds>(&request).await.unwrap(), changed);
    assert_eq!(bank.balance(&bob).await.0, "11");
    assert_eq!(again(&bob, &intents[3]).await.status, "CANCELLED");

    let atomic = HoldBatchRequest {
        atomic: true,
        post: vec![post(4, "4"), post(5, "11")],
        void: vec![intents[1].intent_id],
    };
    let undone = bob.client.clone().with_key(fresh()).call::<ChangeHolds>(&atomic).await.unwrap();
    let codes: Vec<_> = undone.results.iter().map(|result| result.problem.clone().unwrap().code).collect();
    assert_eq!(codes, ["BATCH_ROLLED_BACK", "CAPTURE_EXCEEDS_HOLD", "BATCH_ROLLED_BACK"]);
    assert_eq!((undone.committed, bank.balance(&bob).await.0.as_str()), (0, "11"));
    let done = HoldBatchRequest { post: vec![post(4, "4"), post(5, "10")], ..atomic };
    let done = bob.client.clone().with_key(fresh()).call::<ChangeHolds>(&done).await.unwrap();
    assert_eq!((done.committed, bank.balance(&bob).await.0.as_str()), (3, "25"));
    let empty = HoldBatchRequest { atomic: false, post: Vec::new(), void: Vec::new() };
    let empty = bob.client.clone().with_key(fresh()).call::<ChangeHolds>(&empty).await;
    assert_eq!(code(empty), "BATCH_TOO_LARGE");
    is_sound(&bank).await;
    bank.close().await;
});

on_each_world!(a_part_goes_into_escrow, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let intent = held(&bank, &ann, &bob, "30").await;
    let into = |amount: Option<&str>, order_ref: &str| CaptureRequest {
        into: Some("escrow".into()),
        order_ref: Some(order_ref.into()),
        ..part(&intent, amount, false)
    };
    let client = || bob.client.clone().with_key(fresh());
    let lone = CaptureRequest { into: Some("escrow".into()), ..part(&intent, None, false) };
    assert_eq!(code(client().call::<CaptureIntent>(&lone).await), "INVALID_REQUEST");
    let nowhere = CaptureRequest { into: Some("pocket".into()), ..part(&intent, None, false) };
    assert_eq!(code(client().call::<CaptureIntent>(&nowhere).await), "INVALID_REQUEST");
    take(&bob, &intent, Some("10"), false).await.unwrap();
    assert_eq!(
        code(client().call::<CaptureIntent>(&into(Some("20.5"), "order-1")).await),
        "CAPTURE_EXCEEDS_HOLD"
    );
    let first = client().call::<CaptureIntent>(&into(Some("8"), "order-1")).await.unwrap();
    assert_eq!(bank.balance(&bob).await, ("10".into(), "10".into(), "0".into()));
    let again = client().call::<CaptureIntent>(&into(Some("1"), "order-1")).await;
    assert_eq!(code(again), "ESCROW_EXISTS");
    let rest = client().call::<CaptureIntent>(&into(None, "order-2")).await.unwrap();
    assert_eq!((rest.amount.as_str(), rest.is_final), ("12", true));
    let path = |capture: &Capture| qwallet_api::EscrowPath { escrow_id: capture.escrow_id.unwrap() };
    let escrow = ann.client.call::<GetEscrow>(&path(&first)).await.unwrap();
    assert_eq!((escrow.status.as_str(), escrow.amount.as_str()), ("HELD", "8"));
    assert_eq!(escrow.fees.total, first.fees.total);
    assert_eq!((escrow.payer.owner, escrow.payee.owner), (Some(ann.did.clone()), Some(bob.did.clone())));
    is_sound(&bank).await;
    ann.client.clone().with_key(fresh()).call::<ReleaseEscrow>(&path(&first)).await.unwrap();
    assert_eq!(bank.balance(&bob).await.0, "18");
    bank.world.clock.advance(Span::seconds(14 * 86_400 + 1));
    bank.module.service().tend_escrows().await.unwrap();
    assert_eq!(bank.balance(&bob).await.0, "30");
    is_sound(&bank).await;
    bank.close().await;
});

on_each_world!(what_was_taken_is_refunded_and_no_more, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "50").await);
    let intent = held(&bank, &ann, &bob, "30").await;
    take(&bob, &intent, Some("10"), false).await.unwrap();
    let refund =
        |amount: Option<&str>| crate::refunds::order(&bank, &bob, intent.transaction_id.unwrap(), amount);
    let early = bob.client.clone().with_key(fresh()).call::<CreateRefund>(&refund(None)).await;
    assert_eq!(code(early), "INVALID_STATE", "as long as more may be taken");
    take(&bob, &intent, Some("2"), true).await.unwrap();
    let more = bob.client.clone().with_key(fresh()).call::<CreateRefund>(&refund(Some("12.1"))).await;
    assert_eq!(code(more), "REFUND_EXCEEDS_PAYMENT");
    bob.client.clone().with_key(fresh()).call::<CreateRefund>(&refund(None)).await.unwrap();
    assert_eq!(bank.balance(&ann).await.0, "100");
    assert_eq!(bank.balance(&bob).await.0, "50");
    is_sound(&bank).await;
    bank.close().await;
});

on_each_world!(verification_after_a_commit_knows_what_was_taken_before_it, async |world: World| {
    let bank = Bank::open_with_one_lane(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let intent = held(&bank, &ann, &bob, "30").await;
    take(&bob, &intent, Some("10"), false).await.unwrap();
    let last = bank
        .module
        .db()
        .read(|reader| reader.query_one("SELECT MAX(id) FROM commits", &[])?.try_get::<i64>(0));
    let since = last.await.unwrap();
    bank.world.clock.advance(Span::seconds(1));
    let look = async || bank.module.verify_since(since).await.unwrap().unwrap();
    assert_eq!(look().await, []);
    take(&bob, &intent, Some("5"), false).await.unwrap();
    assert_eq!(look().await, []);
    take(&bob, &intent, Some("5"), true).await.unwrap();
    assert_eq!(look().await, []);
    is_sound(&bank).await;
    // What is told of parts is compared with what moved.
    bank.module.db().write(|tx| tx.execute("UPDATE holds SET captured = NULL", &[])).await.unwrap();
    let findings = bank.module.verify().await.unwrap();
    assert!(findings.iter().any(|finding| finding.code == "hold_captured"), "{findings:?}");
    bank.world.abandon().await;
});

on_each_world!(what_is_left_goes_into_escrow_whatever_the_same_commit_took_before, async |world: World| {
    let bank = Bank::open_with_one_lane(world).await;
    let (ann, bob) = (bank.person("ann", "1000").await, bank.person("bob", "0").await);
    let mut intents = Vec::new();
    for _ in 0..12 {
        intents.push(held(&bank, &ann, &bob, "30").await);
    }
    let both = intents.iter().enumerate().map(async |(place, intent)| {
        let rest = CaptureRequest {
            into: Some("escrow".into()),
            order_ref: Some(format!("order-{place}")),
            ..part(intent, None, false)
        };
        let client = bob.client.clone().with_key(fresh());
        let (first, second, rest) = tokio::join!(
            take(&bob, intent, Some("10"), false),
            take(&bob, intent, Some("5"), false),
            client.call::<CaptureIntent>(&rest)
        );
        let taken =
            [first.is_ok().then_some(10), second.is_ok().then_some(5)].into_iter().flatten().sum::<u32>();
        let rest = rest.unwrap();
        (rest.captured, rest.amount.as_str().parse::<u32>().unwrap() + taken)
    });
    for (captured, sum) in join_all(both).await {
        assert_eq!((captured.as_str(), sum), ("30", 30));
    }
    is_sound(&bank).await;
    bank.close().await;
});
