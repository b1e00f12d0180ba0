//! What is beyond limits: it is approved where something can be approved, and whoever is refused reads what can be done
//! and by whom.

use futures_util::future::{join, join_all};
use q_contract::{CallError, Problem};
use q_core::{IdentityKind, Span};
use q_runtime::Module as _;
use q_testkit::{World, on_each_world};
use qwallet::SETTINGS;
use qwallet_api::{
    CancelIntent, Capture, CaptureIntent, CreateEscrow, CreateIntentRequest, CreatePayment, CreateSchedule,
    CreateScheduleRequest, GetRequest, Intent, IntentId, IntentPath, MoneyRequest, Pay, PayRequest,
    PaymentRequest, SetLimits, Transaction, UpdateSchedule, UpdateScheduleRequest,
};

use crate::{
    approvals, escrows,
    guardians::{self, decide, limit, look, told, waiting},
    invocations,
    money_requests::{self, path},
    schedules,
    support::{Bank, Person, ask, code, fresh, intend_as, new_limits, problem, settings, sign_it},
};

async fn try_fulfil(
    bank: &Bank,
    payer: &Person,
    request: &MoneyRequest,
    amount: &str,
) -> Result<Transaction, CallError> {
    let order = money_requests::order(bank, payer, request, amount);
    payer.client.clone().with_key(fresh()).call::<CreatePayment>(&order).await
}

async fn try_escrow(bank: &Bank, payer: &Person, payee: &Person, amount: &str) -> Problem {
    let asked = escrows::signed(bank, escrows::asked(bank, payer, payee, amount, &fresh()), payer);
    problem(payer.client.clone().with_key(fresh()).call::<CreateEscrow>(&asked).await)
}

async fn try_mandate(bank: &Bank, payer: &Person, request: CreateScheduleRequest) -> Result<(), Problem> {
    let asked = schedules::signed(bank, request, payer, None);
    match payer.client.clone().with_key(fresh()).call::<CreateSchedule>(&asked).await {
        Ok(_) => Ok(()),
        refused => Err(problem(refused)),
    }
}

async fn pay_signed(intent: &Intent, payer: &Person) -> Result<Transaction, CallError> {
    let transaction_id = sign_it(intent, payer).await?.transaction_id;
    payer.client.clone().with_key(fresh()).call::<Pay>(&PayRequest { transaction_id }).await
}

fn intent_of(refused: &Problem) -> IntentId {
    told(refused, "intentId").parse().unwrap()
}

/// A family whose program has a limit of 10 a day, and somebody to be paid.
async fn family(bank: &Bank) -> (Person, Person, Person) {
    let (ann, bob) = (bank.person("ann", "1000").await, bank.person("bob", "0").await);
    bank.stands("robot", IdentityKind::Root, &[&ann]);
    let robot = bank.person("robot", "100").await;
    limit(&ann, &robot, "10").await;
    (ann, bob, robot)
}

on_each_world!(what_somebody_asks_for_is_approved_and_settles_the_request, async |world: World| {
    let bank = Bank::open_with(world, SETTINGS).await;
    let (ann, bob, robot) = family(&bank).await;
    let asked = money_requests::request(&bob, Some("25"), true).await;
    let refused = problem(try_fulfil(&bank, &robot, &asked, "25").await);
    assert_eq!((refused.code.as_str(), refused.status), ("APPROVAL_REQUIRED", 409), "{refused}");
    let link = told(&refused, "link");
    assert!(link.contains("/qwallet/a/") && refused.hint.as_ref().unwrap().contains(&link), "{refused}");
    let id = intent_of(&refused);
    let again = problem(try_fulfil(&bank, &robot, &asked, "25").await);
    assert_eq!(intent_of(&again), id, "asking again asks nobody twice");
    // Another request of the same is another payment, and so is the same without a request.
    let other = money_requests::request(&bob, Some("25"), true).await;
    let other_id = intent_of(&problem(try_fulfil(&bank, &robot, &other, "25").await));
    assert_ne!(other_id, id);
    // What is refused for another reason asks nobody.
    assert_eq!(code(try_fulfil(&bank, &robot, &asked, "24").await), "REQUEST_STATE");
    assert_eq!(waiting(&ann).await, [other_id, id]);

    let intent = look(&robot, id).await.unwrap();
    assert_eq!(intent.request_id, Some(asked.request_id));
    let named = format!("\"clientRef\":\"{}\"", asked.request_id);
    assert!(intent.signing_input.contains(&named), "what is signed says what it settles");
    assert_eq!(code(sign_it(&intent, &robot).await), "APPROVAL_REQUIRED");
    decide(&bank, &intent, true, &ann).await.unwrap();
    let paid = pay_signed(&intent, &robot).await.unwrap();
    assert_eq!((paid.status.as_str(), paid.client_ref), ("SETTLED", Some(asked.request_id.to_string())));
    let settled = bob.client.call::<GetRequest>(&path(&asked)).await.unwrap();
    assert_eq!((settled.status.as_str(), settled.payments), ("PAID", 1));
    assert_eq!(settled.transaction_id, Some(paid.transaction_id));
    assert_eq!(bank.balance(&bob).await.1, "25");
    // Paid is paid: by this intent, by another order, by the owner.
    let pay = PayRequest { transaction_id: paid.transaction_id };
    let twice = robot.client.clone().with_key(fresh()).call::<Pay>(&pay).await;
    assert_eq!(code(twice), "INVALID_STATE");
    assert_eq!(code(try_fulfil(&bank, &robot, &asked, "25").await), "REQUEST_STATE");
    assert_eq!(code(try_fulfil(&bank, &ann, &asked, "25").await), "REQUEST_STATE");

    // Whoever is faster settles a request; what was set aside for it moves nothing and is given back.
    let late = look(&robot, other_id).await.unwrap();
    decide(&bank, &late, true, &ann).await.unwrap();
    let signed = sign_it(&late, &robot).await.unwrap();
    assert_eq!(bank.balance(&robot).await.2, "25.15");
    try_fulfil(&bank, &ann, &other, "25").await.unwrap();
    let pay = PayRequest { transaction_id: signed.transaction_id };
    let beaten = problem(robot.client.clone().with_key(fresh()).call::<Pay>(&pay).await);
    assert_eq!((beaten.code.as_str(), beaten.status), ("REQUEST_STATE", 409));
    let cancel = IntentPath { intent_id: other_id };
    robot.client.clone().with_key(fresh()).call::<CancelIntent>(&cancel).await.unwrap();
    assert_eq!((bank.balance(&robot).await.2, bank.balance(&bob).await.1), ("0".into(), "50".into()));
    // Nor is money set aside for what was taken back.
    let third = money_requests::request(&bob, None, false).await;
    let id = intent_of(&problem(try_fulfil(&bank, &robot, &third, "30").await));
    let intent = look(&robot, id).await.unwrap();
    decide(&bank, &intent, true, &ann).await.unwrap();
    bob.client.clone().with_key(fresh()).call::<qwallet_api::CancelRequest>(&path(&third)).await.unwrap();
    assert_eq!(code(sign_it(&intent, &robot).await), "REQUEST_STATE");
    assert_eq!(bank.findings().await, Vec::<String>::new());
    // A request that says nobody paid it, though an intent did, is found.
    let unpaid = "UPDATE money_requests SET payments = 0";
    bank.module.db().write(move |tx| tx.execute(unpaid, &[])).await.unwrap();
    assert!(bank.findings().await.iter().any(|finding| finding.contains("request_unpaid")));
    bank.world.abandon().await;
});

on_each_world!(
    an_intent_for_a_request_lapses_with_it_and_pays_again_where_that_is_meant,
    async |world: World| {
        let bank = Bank::open_with(world, SETTINGS).await;
        let (ann, bob, robot) = family(&bank).await;
        let asked = qwallet_api::CreateRequestRequest {
            amount: None,
            currency: "QToken".into(),
            memo: "lunch".into(),
            expires_at: Some(bank.now() + Span::seconds(900)),
            single_use: false,
        };
        let create = bob.client.clone().with_key(fresh());
        let asked = create.call::<qwallet_api::CreateRequest>(&asked).await.unwrap();
        for (times, amount) in [(1, "11"), (2, "12")] {
            let id = intent_of(&problem(try_fulfil(&bank, &robot, &asked, amount).await));
            let intent = look(&robot, id).await.unwrap();
            assert_eq!(Some(intent.expires_at), asked.expires_at, "not later than what it pays");
            decide(&bank, &intent, true, &ann).await.unwrap();
            pay_signed(&intent, &robot).await.unwrap();
            assert_eq!(bob.client.call::<GetRequest>(&path(&asked)).await.unwrap().payments, times);
        }
        assert_eq!(bank.findings().await, Vec::<String>::new());
        bank.close().await;
    }
);

on_each_world!(of_many_intents_for_one_request_one_is_paid, async |world: World| {
    let bank = Bank::open_with(world, settings(&[("limit_daily", "none"), ("step_up", "none")])).await;
    let (ann, bob, robot) = family(&bank).await;
    let asked = money_requests::request(&bob, Some("11"), true).await;
    let mut held = Vec::new();
    for purpose in 0..6 {
        let order = PaymentRequest {
            client_ref: asked.request_id.to_string(),
            purpose: Some(format!("for {purpose}")),
            ..bank.order(&robot, &asked.wallet_ref, "11")
        };
        let order = bank.signed(order, &robot);
        let client = robot.client.clone().with_key(fresh());
        let intent =
            look(&robot, intent_of(&problem(client.call::<CreatePayment>(&order).await))).await.unwrap();
        decide(&bank, &intent, true, &ann).await.unwrap();
        held.push((intent.intent_id, sign_it(&intent, &robot).await.unwrap().transaction_id));
    }
    // All at once, each twice, and somebody else's payment of the same.
    let settle = held.iter().chain(&held).map(|(_, transaction_id)| {
        let (client, pay) =
            (robot.client.clone().with_key(fresh()), PayRequest { transaction_id: *transaction_id });
        async move { client.call::<Pay>(&pay).await.is_ok() }
    });
    let (settled, other) = join(join_all(settle), try_fulfil(&bank, &ann, &asked, "11")).await;
    let paid = settled.into_iter().filter(|is_paid| *is_paid).count() + usize::from(other.is_ok());
    assert_eq!((paid, bank.balance(&bob).await.1), (1, "11".into()));
    assert_eq!(bob.client.call::<GetRequest>(&path(&asked)).await.unwrap().payments, 1);
    for (intent_id, _) in held {
        let (client, path) = (robot.client.clone().with_key(fresh()), IntentPath { intent_id });
        // The one that was paid is not taken back.
        drop(client.call::<CancelIntent>(&path).await);
    }
    assert_eq!(bank.balance(&robot).await.2, "0", "what was held for nothing is free again");
    assert_eq!(bank.findings().await, Vec::<String>::new());
    bank.close().await;
});

on_each_world!(what_a_rule_asks_to_be_approved_settles_the_request_too, async |world: World| {
    let bank = Bank::open_with(world, settings(&[("step_up", "50 QToken")])).await;
    let (ann, bob) = (bank.person("ann", "1000").await, bank.person("bob", "0").await);
    let approver = (bob.did.clone(), bob.key.clone());
    let rule = approvals::rule(1, &[&approver], "5");
    approvals::set(&ann, &approvals::change(&ann, 0, rule)).await;
    let shop = bank.person("shop", "0").await;
    // Whether or not a second key has to be proved besides: the approval comes first.
    for amount in ["20", "60"] {
        let asked = money_requests::request(&shop, Some(amount), true).await;
        let refused = problem(try_fulfil(&bank, &ann, &asked, amount).await);
        assert_eq!(refused.code, "APPROVAL_REQUIRED");
        assert!(refused.hint.as_ref().unwrap().contains(&told(&refused, "link")), "{refused}");
        let intent = look(&ann, intent_of(&refused)).await.unwrap();
        assert_eq!(intent.request_id, Some(asked.request_id));
        decide(&bank, &intent, true, &bob).await.unwrap();
        let approved = problem(try_fulfil(&bank, &ann, &asked, amount).await);
        assert_eq!(intent_of(&approved), intent.intent_id);
        assert!(approved.hint.unwrap().starts_with("sign intent_"));
        if amount == "20" {
            pay_signed(&intent, &ann).await.unwrap();
            let settled = shop.client.call::<GetRequest>(&path(&asked)).await.unwrap();
            assert_eq!(settled.status, "PAID");
        }
    }
    assert_eq!(bank.findings().await, Vec::<String>::new());
    bank.close().await;
});

on_each_world!(a_refusal_says_what_can_be_done_and_by_whom, async |world: World| {
    let bank = Bank::open_with(world, settings(&[("limit_transaction", "500"), ("step_up", "none")])).await;
    let (ann, bob, robot) = family(&bank).await;
    let hint = |refused: &Problem| refused.hint.clone().unwrap_or_default();
    // An escrow is approved by nobody: what is held for its payee is, and goes into escrow from there.
    let refused = try_escrow(&bank, &robot, &bob, "25").await;
    assert_eq!((refused.code.as_str(), refused.status), ("DAILY_LIMIT_EXCEEDED", 403));
    let said = hint(&refused);
    for part in
        ["the parent raises the limit", "PUT /wallets/{squidId}/limits", "manual", "at most 10 QToken"]
    {
        assert!(said.contains(part), "{said}");
    }
    let asked = CreateIntentRequest { capture: Some("manual".into()), ..ask(&bob, "25") };
    let held = intend_as(&robot, &asked).await;
    decide(&bank, &held, true, &ann).await.unwrap();
    guardians::sign_held(&held, &robot).await;
    let into = qwallet_api::CaptureRequest {
        intent_id: held.intent_id,
        amount: None,
        is_final: true,
        into: Some("escrow".into()),
        order_ref: Some("order-1".into()),
    };
    let taken: Capture = bob.client.clone().with_key(fresh()).call::<CaptureIntent>(&into).await.unwrap();
    assert!(taken.escrow_id.is_some());

    // Over what anybody may pay at once, over the parent's own limit, and under a delegation.
    let refused = try_escrow(&bank, &robot, &bob, "501").await;
    assert_eq!(refused.code, "TX_LIMIT_EXCEEDED");
    assert!(hint(&refused).contains("nothing over 500 QToken is paid at once"), "{refused}");
    let bot = invocations::agent("bot");
    let given = invocations::to_agent(&bank, &robot, &bot).sign(&robot.key).unwrap();
    let order = invocations::order(&bank, &robot, &bob, "26");
    let order = invocations::delegated(&bank, order, &bot, &[&given]);
    let refused = problem(invocations::pay(&bank, &order).await);
    assert_eq!((refused.code.as_str(), waiting(&ann).await), ("DAILY_LIMIT_EXCEEDED", vec![]));
    assert!(hint(&refused).contains("approves one payment that the wallet's owner asks for"), "{refused}");
    assert!(!hint(&refused).contains("at most"), "how much is left is not a delegate's to know: {refused}");
    // Its owner invokes the same, and then it is asked for.
    let order = invocations::order(&bank, &robot, &bob, "26");
    let refused = problem(invocations::pay(&bank, &invocations::own(&bank, order, &robot)).await);
    assert_eq!(
        (refused.code.as_str(), waiting(&ann).await),
        ("APPROVAL_REQUIRED", vec![intent_of(&refused)])
    );
    limit(&ann, &robot, "400").await;
    limit(&ann, &ann, "100").await;
    let refused = try_escrow(&bank, &robot, &bob, "90").await;
    assert_eq!((refused.code.as_str(), &refused.extra["inherited"]), ("DAILY_LIMIT_EXCEEDED", &true.into()));
    let said = hint(&refused);
    assert!(
        said.contains("cannot approve single payments beyond it") && said.contains("at most 75 QToken"),
        "{said}"
    );
    // Whoever is below nobody raises their own.
    let refused = try_escrow(&bank, &ann, &bob, "200").await;
    assert!(hint(&refused).contains("PUT /wallets/{squidId}/limits asks for more"), "{refused}");
    assert_eq!(bank.findings().await, Vec::<String>::new());
    bank.close().await;
});

on_each_world!(a_mandate_that_can_never_be_paid_is_not_taken, async |world: World| {
    let bank = Bank::open_with(world, settings(&[("step_up", "none"), ("limit_transaction", "500")])).await;
    let (ann, bob, robot) = family(&bank).await;
    let daily = |amount: &str| schedules::asked(&bank, &robot, &bob, amount, "FREQ=DAILY");
    let refused = try_mandate(&bank, &robot, daily("10.5")).await.unwrap_err();
    assert_eq!((refused.code.as_str(), refused.status), ("DAILY_LIMIT_EXCEEDED", 403));
    assert_eq!((told(&refused, "limit"), told(&refused, "attempted")), ("10".into(), "10.5".into()));
    let hint = refused.hint.unwrap();
    assert!(
        hint.contains("the parent raises the limit") && hint.contains("No mandate is approved"),
        "{hint}"
    );
    assert!(hint.contains("at most 10 QToken at once"), "{hint}");
    // Whoever was given the mandate to hand it in reads the same, without figures of the wallet.
    let handed = schedules::signed(&bank, daily("10.5"), &robot, None);
    let refused = problem(bob.client.clone().with_key(fresh()).call::<CreateSchedule>(&handed).await);
    assert_eq!((refused.code.as_str(), refused.extra.get("limit")), ("DAILY_LIMIT_EXCEEDED", None));
    assert!(!refused.hint.unwrap().contains("at most"));
    // What may succeed one day is taken, though today nothing is left.
    guardians::spend(&bank, &robot, &bob, "9").await;
    try_mandate(&bank, &robot, daily("10")).await.unwrap();
    // A limit of single payments, the parent's limit, and what anybody may pay at once.
    let set = new_limits(&robot, &[("daily", "400"), ("perTransaction", "20")]);
    ann.client.clone().with_key(fresh()).call::<SetLimits>(&set).await.unwrap();
    assert_eq!(try_mandate(&bank, &robot, daily("21")).await.unwrap_err().code, "TX_LIMIT_EXCEEDED");
    let set = new_limits(&robot, &[("perTransaction", "450")]);
    ann.client.clone().with_key(fresh()).call::<SetLimits>(&set).await.unwrap();
    limit(&ann, &ann, "100").await;
    let refused = try_mandate(&bank, &robot, daily("101")).await.unwrap_err();
    assert_eq!((refused.code.as_str(), &refused.extra["inherited"]), ("DAILY_LIMIT_EXCEEDED", &true.into()));
    let large = schedules::asked(&bank, &ann, &bob, "501", "FREQ=DAILY");
    assert_eq!(try_mandate(&bank, &ann, large).await.unwrap_err().code, "TX_LIMIT_EXCEEDED");
    // A raise that was asked for counts: tomorrow it holds.
    limit(&ann, &ann, "300").await;
    let soon = schedules::asked(&bank, &ann, &bob, "250", "FREQ=DAILY");
    try_mandate(&bank, &ann, soon).await.unwrap();

    // Within the mandate an amount is raised as far as the limits go, and the refusal is the one that the run would get.
    let most = CreateScheduleRequest { max_amount: Some("200".into()), ..daily("50") };
    let most = schedules::signed(&bank, most, &robot, None);
    let schedule = robot.client.clone().with_key(fresh()).call::<CreateSchedule>(&most).await.unwrap();
    limit(&ann, &robot, "60").await;
    let change = async |status: Option<&str>, amount: Option<&str>| {
        let request = UpdateScheduleRequest {
            schedule_id: schedule.schedule_id,
            status: status.map(Into::into),
            amount: amount.map(Into::into),
        };
        robot.client.clone().with_key(fresh()).call::<UpdateSchedule>(&request).await
    };
    assert_eq!(code(change(None, Some("61")).await), "DAILY_LIMIT_EXCEEDED");
    change(Some("PAUSED"), Some("60")).await.unwrap();
    limit(&ann, &robot, "40").await;
    assert_eq!(code(change(Some("ACTIVE"), None).await), "DAILY_LIMIT_EXCEEDED");
    change(Some("ACTIVE"), Some("40")).await.unwrap();
    limit(&ann, &robot, "30").await;
    schedules::pass(&bank, Span::seconds(86_400)).await;
    let failed = schedules::look(&robot, &schedule).await;
    assert_eq!(failed.failure.unwrap().code, "DAILY_LIMIT_EXCEEDED");
    bank.close().await;
});

on_each_world!(beyond_what_a_guardian_gave_nothing_is_free_for_who_is_in_care, async |world: World| {
    let bank = Bank::open_with(world, SETTINGS).await;
    let ann = bank.person("ann", "100").await;
    bank.stands("kid", IdentityKind::Consentida, &[&ann]);
    let (kid, shop) = (bank.person("kid", "50").await, bank.person("shop", "0").await);
    let mandate = |amount: &str| schedules::asked(&bank, &kid, &shop, amount, "FREQ=DAILY");
    // Nothing was given yet.
    let escrow = try_escrow(&bank, &kid, &shop, "1").await;
    let standing = try_mandate(&bank, &kid, mandate("1")).await.unwrap_err();
    for refused in [&escrow, &standing] {
        assert_eq!((refused.code.as_str(), refused.status), ("APPROVAL_REQUIRED", 409), "{refused}");
        assert_eq!((told(refused, "kind"), told(refused, "limit")), ("daily".into(), "0".into()));
        let hint = refused.hint.clone().unwrap();
        assert!(hint.contains("a guardian raises the limit with PUT /wallets/{squidId}/limits"), "{hint}");
    }
    // The fees that were signed are too low as well, and still it is the guardian's to say.
    let low = escrows::asked(&bank, &kid, &shop, "1", "order-low");
    let low = escrows::signed(&bank, qwallet_api::EscrowRequest { max_fees: "0".into(), ..low }, &kid);
    let refused = problem(kid.client.clone().with_key(fresh()).call::<CreateEscrow>(&low).await);
    assert_eq!(refused.code, "APPROVAL_REQUIRED");
    // What somebody asks of the child is approved as what it is.
    let asked = money_requests::request(&shop, Some("3"), true).await;
    let refused = problem(try_fulfil(&bank, &kid, &asked, "3").await);
    assert_eq!(
        (refused.code.as_str(), waiting(&ann).await),
        ("APPROVAL_REQUIRED", vec![intent_of(&refused)])
    );
    let intent = look(&kid, intent_of(&refused)).await.unwrap();
    decide(&bank, &intent, true, &ann).await.unwrap();
    pay_signed(&intent, &kid).await.unwrap();
    assert_eq!(shop.client.call::<GetRequest>(&path(&asked)).await.unwrap().status, "PAID");
    // Under a delegation of the child's, nobody spends what the child may not.
    let bot = invocations::agent("bot");
    let given = invocations::to_agent(&bank, &kid, &bot).sign(&kid.key).unwrap();
    let order = PaymentRequest { purpose: None, ..invocations::order(&bank, &kid, &shop, "1") };
    let order = invocations::delegated(&bank, order, &bot, &[&given]);
    let refused = problem(invocations::pay(&bank, &order).await);
    assert_eq!(refused.code, "APPROVAL_REQUIRED");
    assert!(refused.hint.unwrap().contains("a guardian raises the limit"));

    // Inside what is given everything is free.
    limit(&ann, &kid, "10").await;
    escrows::fund(&bank, escrows::asked(&bank, &kid, &shop, "2", "order-2"), &kid).await.unwrap();
    try_mandate(&bank, &kid, mandate("4")).await.unwrap();
    let small = money_requests::request(&shop, Some("1"), true).await;
    try_fulfil(&bank, &kid, &small, "1").await.unwrap();
    // Three and two and one and four are ten: now the mandate of the next day is refused as it would have been at first.
    schedules::tend(&bank).await;
    assert_eq!(
        code(try_fulfil(&bank, &kid, &money_requests::request(&shop, None, true).await, "1").await),
        "APPROVAL_REQUIRED"
    );
    let schedule = schedules::signed(&bank, mandate("7"), &kid, None);
    let schedule = kid.client.clone().with_key(fresh()).call::<CreateSchedule>(&schedule).await.unwrap();
    schedules::tend(&bank).await;
    assert_eq!(schedules::look(&kid, &schedule).await.failure.unwrap().code, "APPROVAL_REQUIRED");
    assert_eq!(bank.findings().await, Vec::<String>::new());
    bank.close().await;
});
