//! Schedules: what was signed once is paid whenever its rule says so, once each time, and never more than was signed.

use futures_util::future::join_all;
use q_core::{Span, Timestamp};
use q_db::{ModeKind, ModeOrder};
use q_runtime::Module;
use q_testkit::{Engine, World, identity, on_each_world};
use qwallet_api::{
    CreateSchedule, CreateScheduleRequest, EndSchedule, GetReceipt, GetSchedule, GetTransaction,
    ListSchedules, ListSchedulesRequest, MANDATE_TYP, NewLimit, Schedule, SchedulePath, SetLimits,
    SetLimitsRequest, TransactionPath, UpdateSchedule, UpdateScheduleRequest, signing,
};

use crate::{
    approvals, refunds,
    replicas::replica,
    step_up::{careful, proven},
    support::{Bank, Person, code, fresh, problem, sign_as},
};

pub fn asked(
    bank: &Bank,
    payer: &Person,
    payee: &Person,
    amount: &str,
    rrule: &str,
) -> CreateScheduleRequest {
    CreateScheduleRequest {
        amount: amount.into(),
        catch_up: "skip".into(),
        client_ref: Some("rent".into()),
        count: None,
        currency: "QToken".into(),
        expires_at: (bank.now() + Span::seconds(600)).to_string(),
        max_amount: None,
        max_fees: "10".into(),
        nonce: format!("nonce-{}", fresh()),
        payer: payer.did.clone(),
        purpose: Some("second floor".into()),
        recipient: payee.did.to_string(),
        rrule: rrule.into(),
        signature: String::new(),
        start: Timestamp::from_seconds(bank.now().seconds()).to_string(),
        timezone: "UTC".into(),
        until: None,
        wallet: payer.wallet.wallet_ref.clone(),
    }
}

pub fn signed(
    bank: &Bank,
    request: CreateScheduleRequest,
    payer: &Person,
    plan: Option<&str>,
) -> CreateScheduleRequest {
    let input = signing::signing_input(&request.order(&bank.world.instance.did, plan));
    CreateScheduleRequest { signature: sign_as(MANDATE_TYP, &input, &payer.did, &payer.key), ..request }
}

async fn create(bank: &Bank, request: CreateScheduleRequest, payer: &Person) -> Result<Schedule, String> {
    let request = signed(bank, request, payer, None);
    match payer.client.clone().with_key(fresh()).call::<CreateSchedule>(&request).await {
        Ok(schedule) => Ok(schedule),
        refused => Err(code(refused)),
    }
}

pub async fn tend(bank: &Bank) {
    bank.module.service().tend_schedules().await.unwrap();
}

/// Lets so much time pass, in which clocks are looked at often enough to be believed.
pub async fn pass(bank: &Bank, span: Span) {
    bank.world.clock.advance(span);
    tend(bank).await;
}

const fn path(schedule: &Schedule) -> SchedulePath {
    SchedulePath { schedule_id: schedule.schedule_id }
}

pub async fn look(person: &Person, schedule: &Schedule) -> Schedule {
    person.client.call::<GetSchedule>(&path(schedule)).await.unwrap()
}

async fn change(
    person: &Person,
    schedule: &Schedule,
    status: Option<&str>,
    amount: Option<&str>,
) -> Result<Schedule, String> {
    let request = UpdateScheduleRequest {
        schedule_id: schedule.schedule_id,
        status: status.map(Into::into),
        amount: amount.map(Into::into),
    };
    match person.client.clone().with_key(fresh()).call::<UpdateSchedule>(&request).await {
        Ok(schedule) => Ok(schedule),
        refused => Err(code(refused)),
    }
}

/// The topics of what was told about schedules and plans, in order.
pub async fn told(bank: &Bank) -> Vec<String> {
    let rows = bank.module.db().events_after(0, 10_000, None).await.unwrap();
    let events = rows.iter().flat_map(q_db::OutboxRow::told);
    let of_ours = events.filter(|event| event.topic.contains(".schedule.") || event.topic.contains(".plan."));
    of_ours
        .map(|event| event.topic.trim_start_matches("q.qwallet.").trim_end_matches(".v1").to_owned())
        .collect()
}

const DAY: Span = Span::seconds(86_400);
const HOUR: Span = Span::seconds(3_600);

on_each_world!(pays_when_its_rule_says_so_and_proves_the_mandate, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let eve = bank.person("eve", "0").await;
    let request = CreateScheduleRequest {
        count: Some(2),
        start: (Timestamp::from_seconds(bank.now().seconds()) + HOUR).to_string(),
        ..asked(&bank, &ann, &bob, "10", "FREQ=DAILY")
    };
    let signed_request = signed(&bank, request, &ann, None);
    let again = ann.client.clone().with_key("mandate");
    let schedule = again.call::<CreateSchedule>(&signed_request).await.unwrap();
    assert_eq!(
        again.call::<CreateSchedule>(&signed_request).await.unwrap(),
        schedule,
        "a repetition is answered"
    );
    let replayed = ann.client.clone().with_key(fresh()).call::<CreateSchedule>(&signed_request).await;
    assert_eq!(code(replayed), "SIGNATURE_INVALID", "a mandate is taken once");
    assert_eq!((schedule.status.as_str(), schedule.next_runs.len(), schedule.runs), ("ACTIVE", 2, 0));
    tend(&bank).await;
    assert_eq!(bank.balance(&bob).await.1, "0", "nothing is paid before its time");
    pass(&bank, HOUR).await;
    tend(&bank).await;
    assert_eq!((bank.balance(&bob).await.1.as_str(), bank.balance(&ann).await.1.as_str()), ("10", "89.94"));
    let seen = look(&ann, &schedule).await;
    assert_eq!((seen.runs, seen.next_runs.len(), seen.last_runs.len()), (1, 1, 1));
    let paid = TransactionPath { transaction_id: seen.last_runs[0].transaction_id };
    let transaction = bob.client.call::<GetTransaction>(&paid).await.unwrap();
    assert_eq!(
        (transaction.r#type.as_str(), transaction.purpose.as_deref(), transaction.client_ref.as_deref()),
        ("charge", Some("second floor"), Some("rent"))
    );
    // The payee's receipt holds the payer's signature.
    let receipt = bob.client.call::<GetReceipt>(&paid).await.unwrap();
    let proven =
        qwallet::domain::receipt::verify(&receipt.jws, |kid, _| qwallet::domain::receipt::key_named(kid));
    let proven = proven.unwrap();
    let order = proven.content.order.unwrap();
    assert!(order.input.contains("FREQ=DAILY") && proven.order_keys[0].starts_with(ann.did.as_str()));
    // Nobody else sees it or changes it.
    for person in [&bob, &eve] {
        assert_eq!(code(person.client.call::<GetSchedule>(&path(&schedule)).await), "SCHEDULE_NOT_FOUND");
        assert_eq!(change(person, &schedule, Some("PAUSED"), None).await.unwrap_err(), "SCHEDULE_NOT_FOUND");
    }
    pass(&bank, DAY).await;
    let seen = look(&ann, &schedule).await;
    assert_eq!((seen.runs, seen.status.as_str(), seen.ended_at.is_some()), (2, "ENDED", true));
    pass(&bank, DAY).await;
    assert_eq!(bank.balance(&bob).await.1, "20");
    assert_eq!(told(&bank).await, ["schedule.ran", "schedule.ran", "schedule.ended"]);
    let all = ListSchedulesRequest {
        status: Some("ENDED".into()),
        cursor: None,
        limit: q_core::PageLimit::default(),
    };
    assert_eq!(ann.client.call::<ListSchedules>(&all).await.unwrap().items.len(), 1);
    assert!(bob.client.call::<ListSchedules>(&all).await.unwrap().items.is_empty());
    assert_eq!(bank.module.verify().await.unwrap(), []);
    bank.close().await;
});

on_each_world!(what_was_signed_is_what_is_taken, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let base = || asked(&bank, &ann, &bob, "10", "FREQ=MONTHLY");
    let sent = async |request: CreateScheduleRequest| {
        code(ann.client.clone().with_key(fresh()).call::<CreateSchedule>(&request).await)
    };
    let good = signed(&bank, base(), &ann, None);
    for wrong in [
        CreateScheduleRequest { amount: "11".into(), ..good.clone() },
        CreateScheduleRequest { max_amount: Some("99".into()), ..good.clone() },
        CreateScheduleRequest { max_fees: "11".into(), ..good.clone() },
        CreateScheduleRequest { rrule: "FREQ=WEEKLY".into(), ..good.clone() },
        // That it never occurs is not counted for somebody who did not sign.
        CreateScheduleRequest { rrule: "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30".into(), ..good.clone() },
        CreateScheduleRequest { timezone: "Europe/Berlin".into(), ..good.clone() },
        CreateScheduleRequest { catch_up: "all".into(), ..good.clone() },
        CreateScheduleRequest { count: Some(9), ..good.clone() },
        CreateScheduleRequest { until: Some("2099-01-01T00:00:00Z".into()), ..good.clone() },
        CreateScheduleRequest { client_ref: None, ..good.clone() },
        CreateScheduleRequest { recipient: bob.wallet.wallet_ref.clone(), ..good.clone() },
        signed(&bank, base(), &bob, None),
        signed(&bank, base(), &ann, Some("plan_00@1")),
    ] {
        assert_eq!(sent(wrong).await, "SIGNATURE_INVALID");
    }
    let refused = async |request| create(&bank, request, &ann).await.unwrap_err();
    assert_eq!(refused(CreateScheduleRequest { amount: "1e3".into(), ..base() }).await, "AMOUNT_MALFORMED");
    assert_eq!(refused(CreateScheduleRequest { catch_up: "some".into(), ..base() }).await, "INVALID_REQUEST");
    assert_eq!(
        refused(CreateScheduleRequest { max_amount: Some("9".into()), ..base() }).await,
        "INVALID_REQUEST"
    );
    let nobody = CreateScheduleRequest { recipient: "did:key:zNobody".into(), ..base() };
    assert_eq!(refused(nobody).await, "RECIPIENT_UNKNOWN");
    assert_eq!(
        refused(CreateScheduleRequest { max_fees: "0.01".into(), ..base() }).await,
        "FEES_EXCEED_MAXIMUM"
    );
    let late = CreateScheduleRequest { expires_at: bank.now().to_string(), ..base() };
    assert_eq!(refused(late).await, "INTENT_EXPIRED");
    let old = CreateScheduleRequest { start: "2001-01-01T00:00:00Z".into(), ..base() };
    assert_eq!(refused(old).await, "INVALID_REQUEST");
    let wrong_rule = signed(
        &bank,
        CreateScheduleRequest { rrule: "FREQ=MONTHLY;BYMONTHDAY=42".into(), ..base() },
        &ann,
        None,
    );
    let said = problem(ann.client.clone().with_key(fresh()).call::<CreateSchedule>(&wrong_rule).await);
    assert_eq!((said.code.as_str(), said.status), ("RRULE_INVALID", 400));
    assert_eq!(serde_json::to_value(&said).unwrap()["part"], "BYMONTHDAY");
    assert_eq!(bank.module.verify().await.unwrap(), []);
    bank.close().await;
});

on_each_world!(a_refused_payment_is_tried_three_times_more, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "5").await, bank.person("bob", "100").await);
    let schedule = create(&bank, asked(&bank, &ann, &bob, "10", "FREQ=MONTHLY"), &ann).await.unwrap();
    tend(&bank).await;
    let seen = look(&ann, &schedule).await;
    let failure = seen.failure.unwrap();
    assert_eq!((failure.code.as_str(), failure.attempts), ("INSUFFICIENT_FUNDS", 1));
    assert_eq!(failure.retry_at, Some(bank.now() + HOUR));
    tend(&bank).await;
    for wait in [1, 6] {
        pass(&bank, Span::seconds(wait * 3_600)).await;
    }
    assert_eq!(look(&ann, &schedule).await.failure.unwrap().attempts, 3);
    // Money came: the third repetition pays what was due long ago.
    let gift = bank.signed(bank.order(&bob, ann.did.as_str(), "50"), &bob);
    bob.client.clone().with_key(fresh()).call::<qwallet_api::CreatePayment>(&gift).await.unwrap();
    pass(&bank, DAY).await;
    let seen = look(&ann, &schedule).await;
    assert_eq!((seen.runs, seen.skipped, seen.failure), (1, 0, None));
    assert_eq!(seen.last_runs[0].due_at, schedule.next_runs[0]);
    // Next month nothing helps: it is paused, and stays so.
    let limits = SetLimitsRequest {
        squid_id: ann.wallet.wallet_ref.clone(),
        limits: vec![NewLimit {
            kind: "perTransaction".into(),
            currency: "QToken".into(),
            amount: "1".into(),
        }],
        timezone: None,
    };
    ann.client.clone().with_key(fresh()).call::<SetLimits>(&limits).await.unwrap();
    let due = seen.next_runs[0].since(bank.now());
    for wait in [due, HOUR, Span::seconds(6 * 3_600), DAY, DAY, DAY] {
        pass(&bank, wait).await;
    }
    let seen = look(&ann, &schedule).await;
    assert_eq!((seen.status.as_str(), seen.runs), ("PAUSED", 1));
    let failure = seen.failure.unwrap();
    assert_eq!((failure.code.as_str(), failure.attempts, failure.retry_at), ("TX_LIMIT_EXCEEDED", 4, None));
    let ran = "schedule.ran";
    let (failed, paused) = ("schedule.failed", "schedule.paused");
    assert_eq!(told(&bank).await, [failed, failed, failed, ran, failed, failed, failed, failed, paused]);
    // It goes on with the next month, not with what was missed.
    let seen = change(&ann, &schedule, Some("ACTIVE"), Some("0.5")).await.unwrap();
    assert_eq!((seen.status.as_str(), seen.skipped, seen.failure), ("ACTIVE", 1, None));
    assert!(seen.next_runs[0] > bank.now());
    pass(&bank, seen.next_runs[0].since(bank.now())).await;
    let seen = look(&ann, &schedule).await;
    assert_eq!((seen.runs, seen.last_runs[0].amount.as_str()), (2, "0.5"));
    assert_eq!(bank.module.verify().await.unwrap(), []);
    bank.close().await;
});

on_each_world!(it_is_changed_within_the_mandate_and_ended, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let request = CreateScheduleRequest {
        max_amount: Some("20".into()),
        ..asked(&bank, &ann, &bob, "10", "FREQ=DAILY")
    };
    let schedule = create(&bank, request, &ann).await.unwrap();
    assert_eq!(change(&ann, &schedule, None, Some("20.1")).await.unwrap_err(), "SCHEDULE_STATE");
    assert_eq!(change(&ann, &schedule, None, Some("0")).await.unwrap_err(), "AMOUNT_OUT_OF_RANGE");
    assert_eq!(change(&ann, &schedule, Some("ENDED"), None).await.unwrap_err(), "INVALID_REQUEST");
    assert_eq!(change(&ann, &schedule, None, Some("20")).await.unwrap().amount.as_str(), "20");
    tend(&bank).await;
    assert_eq!(bank.balance(&bob).await.1, "20");
    assert_eq!(change(&ann, &schedule, Some("PAUSED"), Some("3")).await.unwrap().status, "PAUSED");
    for _ in 0..3 {
        pass(&bank, DAY).await;
    }
    assert_eq!(bank.balance(&bob).await.1, "20", "nothing is paid while it is paused");
    let seen = change(&ann, &schedule, Some("ACTIVE"), None).await.unwrap();
    assert_eq!((seen.skipped, seen.next_runs[0]), (3, schedule.next_runs[4]));
    pass(&bank, DAY).await;
    assert_eq!(bank.balance(&bob).await.1, "23");
    let ended = ann.client.clone().with_key("end").call::<EndSchedule>(&path(&schedule)).await.unwrap();
    let again = ann.client.clone().with_key("end").call::<EndSchedule>(&path(&schedule)).await.unwrap();
    assert_eq!((ended.status.as_str(), ended.next_runs.len(), again), ("ENDED", 0, ended.clone()));
    assert_eq!(change(&ann, &schedule, Some("ACTIVE"), None).await.unwrap_err(), "SCHEDULE_STATE");
    pass(&bank, DAY).await;
    assert_eq!(bank.balance(&bob).await.1, "23");
    let of = |what: &str| format!("schedule.{what}");
    let expected = ["changed", "ran", "paused", "changed", "resumed", "ran", "ended"].map(of);
    assert_eq!(told(&bank).await, expected);
    // A rule that is over ends its schedule too, and so does one that was paused beyond its end.
    let short = create(&bank, asked(&bank, &ann, &bob, "1", "FREQ=DAILY;COUNT=1"), &ann).await.unwrap();
    tend(&bank).await;
    assert_eq!(look(&ann, &short).await.status, "ENDED");
    assert_eq!(told(&bank).await.split_off(expected.len()), ["ran", "ended"].map(of));
    assert_eq!(bank.module.verify().await.unwrap(), []);
    bank.close().await;
});

on_each_world!(one_that_cannot_be_read_hides_no_other, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    for rule in ["FREQ=DAILY", "FREQ=WEEKLY", "FREQ=MONTHLY"] {
        create(&bank, asked(&bank, &ann, &bob, "1", rule), &ann).await.unwrap();
    }
    let sql = "UPDATE schedules SET input = input || '}' WHERE input LIKE '%WEEKLY%'";
    assert_eq!(bank.module.db().write(move |tx| tx.execute(sql, &[])).await.unwrap(), 1);
    let list = ListSchedulesRequest { cursor: None, limit: q_core::PageLimit::default(), status: None };
    let shown = ann.client.call::<ListSchedules>(&list).await.unwrap().items;
    assert_eq!(
        shown.iter().map(|item| item.rrule.as_str()).collect::<Vec<_>>(),
        ["FREQ=MONTHLY", "FREQ=DAILY"]
    );
    bank.world.abandon().await;
});

on_each_world!(verify_finds_what_was_paid_after_the_end, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let until = Some((bank.now() + DAY + HOUR).to_string());
    let request = CreateScheduleRequest { until, ..asked(&bank, &ann, &bob, "1", "FREQ=DAILY") };
    create(&bank, request, &ann).await.unwrap();
    tend(&bank).await;
    pass(&bank, DAY).await;
    assert_eq!(bank.module.verify().await.unwrap(), []);
    // As if a third day had been paid for: the day is one of the rule, and beyond its end.
    let sql = "UPDATE schedule_runs SET wall = wall + 86400, due_at = due_at + 86400000000 \
               WHERE wall = (SELECT MAX(wall) FROM schedule_runs)";
    assert_eq!(bank.module.db().write(move |tx| tx.execute(sql, &[])).await.unwrap(), 1);
    let codes: Vec<_> = bank.module.verify().await.unwrap().into_iter().map(|found| found.code).collect();
    assert_eq!(codes, ["run_outside_rule"]);
    bank.world.abandon().await;
});

on_each_world!(what_the_house_missed_is_treated_as_the_mandate_says, async |world: World| {
    let bank = Bank::open(world).await;
    let ann = bank.person("ann", "1000").await;
    let mut payees = Vec::new();
    for catch_up in ["skip", "once", "all"] {
        let payee = bank.person(catch_up, "0").await;
        let start = (Timestamp::from_seconds(bank.now().seconds()) + HOUR).to_string();
        let request = CreateScheduleRequest {
            catch_up: catch_up.into(),
            start,
            ..asked(&bank, &ann, &payee, "1", "FREQ=DAILY")
        };
        payees.push((payee, create(&bank, request, &ann).await.unwrap()));
    }
    // Five days read-only: nothing is paid, and nothing is lost.
    let order = |kind| ModeOrder { kind, reason: "stocktaking".into(), ..ModeOrder::default() };
    bank.module.db().set_mode(&order(ModeKind::ReadOnly), "test").await.unwrap();
    for _ in 0..5 {
        pass(&bank, DAY).await;
    }
    for (payee, _) in &payees {
        assert_eq!(bank.balance(payee).await.1, "0");
    }
    bank.module.db().set_mode(&order(ModeKind::Normal), "test").await.unwrap();
    tend(&bank).await;
    let mut paid = Vec::new();
    for (payee, schedule) in &payees {
        let seen = look(&ann, schedule).await;
        paid.push((bank.balance(payee).await.1, seen.runs, seen.skipped, seen.next_runs[0]));
    }
    let next = payees[0].1.next_runs[4] + DAY;
    let expected = [("0", 0, 5), ("1", 1, 4), ("5", 5, 0)];
    let expected = expected.map(|(sum, runs, skipped)| (sum.to_owned(), runs, skipped, next));
    assert_eq!(paid, expected);
    assert_eq!(bank.module.verify().await.unwrap(), []);
    bank.close().await;
});

on_each_world!(a_start_in_the_past_is_made_up_for_at_once, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let begun = Timestamp::from_seconds(bank.now().seconds()) - Span::seconds(3 * 86_400 + 60);
    let request = CreateScheduleRequest {
        catch_up: "all".into(),
        start: begun.to_string(),
        ..asked(&bank, &ann, &bob, "1", "FREQ=DAILY")
    };
    let schedule = create(&bank, request, &ann).await.unwrap();
    tend(&bank).await;
    let seen = look(&ann, &schedule).await;
    assert_eq!((seen.runs, bank.balance(&bob).await.1.as_str()), (4, "4"));
    let path = TransactionPath { transaction_id: seen.last_runs[0].transaction_id };
    let paid = bob.client.call::<GetTransaction>(&path).await.unwrap();
    refunds::refund(&bank, refunds::asked(&bank, &paid, &bob, Some("1")), &bob).await.unwrap();
    assert_eq!(bank.balance(&bob).await.1, "3", "what a schedule paid is given back like any payment");
    assert_eq!(bank.module.verify().await.unwrap(), []);
    bank.close().await;
});

on_each_world!(it_follows_the_clocks_of_its_zone, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    // The last Sunday of March of the next year, two days before it.
    let years = (bank.now().seconds() / 31_556_952) + 1_970 + 1;
    let change = jiff::civil::date(i16::try_from(years).unwrap(), 3, 1);
    let change = change.nth_weekday_of_month(-1, jiff::civil::Weekday::Sunday).unwrap();
    let zone = jiff::tz::TimeZone::get("Europe/Berlin").unwrap();
    let at = |days: i64, hour: i8| {
        let day = change.checked_add(jiff::Span::new().days(days)).unwrap().at(hour, 0, 0, 0);
        Timestamp::from_seconds(day.to_zoned(zone.clone()).unwrap().timestamp().as_second())
    };
    let request = CreateScheduleRequest {
        start: at(-2, 9).to_string(),
        timezone: "Europe/Berlin".into(),
        ..asked(&bank, &ann, &bob, "1", "FREQ=DAILY")
    };
    let schedule = create(&bank, request, &ann).await.unwrap();
    let expected: Vec<Timestamp> = (-2..3).map(|day| at(day, 9)).collect();
    assert_eq!(schedule.next_runs, expected, "nine o'clock every day, winter and summer");
    assert_eq!(expected[2].since(expected[1]), Span::seconds(23 * 3_600));
    for due in &expected {
        pass(&bank, due.since(bank.now()) - Span::seconds(1)).await;
        let before = look(&ann, &schedule).await.runs;
        pass(&bank, Span::seconds(1)).await;
        assert_eq!(look(&ann, &schedule).await.runs, before + 1, "{due}");
    }
    assert_eq!(bank.module.verify().await.unwrap(), []);
    bank.close().await;
});

on_each_world!(many_who_try_at_once_pay_once, async |world: World| {
    let engine = world.engine;
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "1000").await, bank.person("bob", "0").await);
    let mut modules = vec![bank.module.clone()];
    if engine == Engine::Postgres {
        for _ in 0..2 {
            modules.push(replica(&bank, None).await);
        }
    }
    let mut schedules = Vec::new();
    for _ in 0..8 {
        schedules
            .push(create(&bank, asked(&bank, &ann, &bob, "1", "FREQ=HOURLY;COUNT=6"), &ann).await.unwrap());
    }
    for hour in 1..=6 {
        let tries = (0..12).map(|number| {
            let module = modules[number % modules.len()].clone();
            async move { module.service().tend_schedules().await }
        });
        assert!(join_all(tries).await.iter().all(Result::is_ok));
        assert_eq!(bank.balance(&bob).await.1, (hour * 8).to_string());
        bank.world.clock.advance(HOUR);
    }
    for schedule in &schedules {
        let seen = look(&ann, schedule).await;
        assert_eq!((seen.status.as_str(), seen.runs, seen.skipped), ("ENDED", 6, 0));
    }
    assert_eq!(bank.module.verify().await.unwrap(), []);
    for replica in &modules[1..] {
        replica.settle().await.unwrap();
        replica.db().close().await;
    }
    drop(modules);
    bank.close().await;
});

on_each_world!(others_say_no_to_a_mandate_too, async |world: World| {
    let bank = careful(world).await;
    let (ann, bob) = (bank.person("ann", "9000").await, bank.person("bob", "0").await);
    // A second key is proved once, for the most that can be paid.
    let large = CreateScheduleRequest {
        max_amount: Some("1001".into()),
        ..asked(&bank, &ann, &bob, "5", "FREQ=MONTHLY")
    };
    let large = signed(&bank, large, &ann, None);
    assert_eq!(
        code(ann.client.clone().with_key(fresh()).call::<CreateSchedule>(&large).await),
        "MFA_REQUIRED"
    );
    let schedule = proven(&bank, &ann).call::<CreateSchedule>(&large).await.unwrap();
    let schedule = change(&ann, &schedule, None, Some("1001")).await.unwrap();
    tend(&bank).await;
    assert_eq!(bank.balance(&bob).await.1, "1001");
    // Who was suspended pays nothing.
    bank.suspends("ann", true);
    pass(&bank, schedule.next_runs[1].since(bank.now())).await;
    assert_eq!(look(&ann, &schedule).await.failure.unwrap().code, "SIGNATURE_INVALID");
    bank.suspends("ann", false);
    pass(&bank, HOUR).await;
    assert_eq!(look(&ann, &schedule).await.runs, 2);
    // Nor does a mandate pay what others have to approve: nobody can be asked.
    let approver = identity("approver");
    approvals::set(&ann, &approvals::change(&ann, 0, approvals::rule(1, &[&approver], "1000"))).await;
    pass(&bank, schedule.next_runs[2].since(bank.now())).await;
    assert_eq!(look(&ann, &schedule).await.failure.unwrap().code, "APPROVAL_REQUIRED");
    change(&ann, &schedule, None, Some("900")).await.unwrap();
    pass(&bank, HOUR).await;
    assert_eq!((look(&ann, &schedule).await.runs, bank.balance(&bob).await.1.as_str()), (3, "2902"));
    assert_eq!(bank.module.verify().await.unwrap(), []);
    bank.close().await;
});

on_each_world!(verify_names_what_somebody_touched, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let schedule = create(&bank, asked(&bank, &ann, &bob, "1", "FREQ=DAILY"), &ann).await.unwrap();
    tend(&bank).await;
    pass(&bank, DAY).await;
    assert_eq!(look(&ann, &schedule).await.runs, 2);
    let found = async |sql: &'static str| {
        assert!(bank.module.db().write(move |tx| tx.execute(sql, &[])).await.unwrap() > 0, "{sql}");
        let findings = bank.module.verify().await.unwrap();
        findings.iter().map(|finding| finding.code.clone()).collect::<Vec<_>>()
    };
    assert_eq!(bank.module.verify().await.unwrap(), []);
    let moved =
        found("UPDATE schedule_runs SET wall = wall + 60 WHERE wall = (SELECT MAX(wall) FROM schedule_runs)");
    assert_eq!(moved.await, ["run_outside_rule"]);
    let back =
        found("UPDATE schedule_runs SET wall = wall - 60 WHERE wall = (SELECT MAX(wall) FROM schedule_runs)");
    assert_eq!(back.await, Vec::<String>::new());
    let forged = found("UPDATE schedules SET input = REPLACE(input, 'DAILY', 'HOURLY')").await;
    assert!(
        forged.contains(&"schedule_mandate".into()) && forged.contains(&"run_order".into()),
        "{forged:?}"
    );
    found("UPDATE schedules SET input = REPLACE(input, 'HOURLY', 'DAILY')").await;
    let gone = found("DELETE FROM schedule_runs WHERE wall = (SELECT MAX(wall) FROM schedule_runs)").await;
    assert_eq!(gone, ["schedule_runs", "run_missing"]);
    let turned = found("UPDATE schedules SET payer = payee, payee = payer").await;
    assert!(turned.contains(&"run_mismatch".into()), "paid by somebody else to somebody else: {turned:?}");
    bank.world.abandon().await;
});

on_each_world!(one_that_cannot_be_tended_keeps_nobody_waiting, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "100").await);
    let stuck = create(&bank, asked(&bank, &ann, &bob, "1", "FREQ=DAILY"), &ann).await.unwrap();
    let spoil = |sql: &'static str| bank.module.db().write(move |tx| tx.execute(sql, &[]));
    spoil("UPDATE schedules SET input = REPLACE(input, 'UTC', 'Sea/Atlantis')").await.unwrap();
    let due = create(&bank, asked(&bank, &bob, &ann, "2", "FREQ=DAILY"), &bob).await.unwrap();
    let tend = async || bank.module.service().tend_schedules().await;
    assert!(tend().await.is_err());
    assert_eq!(look(&bob, &due).await.runs, 1);
    // It stands behind the others, and is tried again a minute later without having used up an attempt.
    tend().await.unwrap();
    bank.world.clock.advance(Span::seconds(60));
    assert!(tend().await.is_err());
    spoil("UPDATE schedules SET input = REPLACE(input, 'Sea/Atlantis', 'UTC')").await.unwrap();
    pass(&bank, Span::seconds(60)).await;
    let seen = look(&ann, &stuck).await;
    assert_eq!((seen.runs, seen.skipped, seen.failure), (1, 0, None));
    assert_eq!(bank.module.verify().await.unwrap(), []);
    bank.close().await;
});
