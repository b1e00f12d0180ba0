//! Plans and subscriptions: the first period is paid with the signature, each other by the mandate, and what a plan grants
//! is told when it begins, is renewed and ends.

use std::collections::BTreeMap;

use q_core::{Event, PageLimit, Span, Timestamp};
use q_runtime::Module;
use q_testkit::{World, on_each_world};
use qwallet_api::{
    CreateScheduleRequest, CreateSubscription, CreateSubscriptionRequest, EndSubscription, GetPlan,
    GetSubscription, ListPlans, ListPlansRequest, ListSubscriptions, ListSubscriptionsRequest, Plan,
    PlanPath, PutPlan, PutPlanRequest, Subscription, SubscriptionPath, UpdateSchedule, UpdateScheduleRequest,
    plan_text,
};

use crate::{
    schedules::{asked, pass, signed, tend, told},
    support::{Bank, Person, code, fresh},
};

const DAY: Span = Span::seconds(86_400);

fn offer(price: &str, entitlement: (&str, u64)) -> PutPlanRequest {
    PutPlanRequest {
        plan_id: None,
        name: "Hundred gigabytes".into(),
        price: price.into(),
        currency: "QToken".into(),
        period: "month".into(),
        entitlements: BTreeMap::from([(entitlement.0.to_owned(), entitlement.1)]),
        offered: true,
    }
}

async fn put(person: &Person, plan: &PutPlanRequest) -> Result<Plan, String> {
    match person.client.clone().with_key(fresh()).call::<PutPlan>(plan).await {
        Ok(plan) => Ok(plan),
        refused => Err(code(refused)),
    }
}

fn mandate(bank: &Bank, payer: &Person, payee: &Person, plan: &Plan) -> CreateScheduleRequest {
    CreateScheduleRequest {
        catch_up: "once".into(),
        client_ref: None,
        ..asked(bank, payer, payee, plan.price.as_str(), "FREQ=MONTHLY")
    }
}

fn request(
    bank: &Bank,
    mandate: CreateScheduleRequest,
    payer: &Person,
    plan: &Plan,
) -> CreateSubscriptionRequest {
    let named = plan_text(plan.plan_id, plan.version);
    CreateSubscriptionRequest {
        plan_id: plan.plan_id,
        plan_version: plan.version,
        mandate: signed(bank, mandate, payer, Some(&named)),
    }
}

async fn subscribe(
    bank: &Bank,
    mandate: CreateScheduleRequest,
    payer: &Person,
    plan: &Plan,
) -> Result<Subscription, String> {
    let request = request(bank, mandate, payer, plan);
    match payer.client.clone().with_key(fresh()).call::<CreateSubscription>(&request).await {
        Ok(subscription) => Ok(subscription),
        refused => Err(code(refused)),
    }
}

const fn path(subscription: &Subscription) -> SubscriptionPath {
    SubscriptionPath { subscription_id: subscription.subscription_id }
}

async fn look(person: &Person, subscription: &Subscription) -> Subscription {
    person.client.call::<GetSubscription>(&path(subscription)).await.unwrap()
}

/// What was told of entitlements, in order: how many bytes, until when.
async fn granted(bank: &Bank) -> Vec<(Option<u64>, Timestamp)> {
    let rows = bank.module.db().events_after(0, 10_000, None).await.unwrap();
    let events: Vec<Event> = rows.iter().flat_map(|row| row.told().cloned().collect::<Vec<_>>()).collect();
    let of_plans = events.iter().filter(|event| event.topic == "q.qwallet.plan.changed.v1");
    let read = |event: &Event| {
        let until = event.data["validUntil"].as_str().unwrap().parse().unwrap();
        (event.data["entitlements"]["qdrive.bytes"].as_u64(), until)
    };
    of_plans.map(read).collect()
}

/// A bank that opens on a day of the month that every month has.
async fn open_on_the_tenth(world: World) -> Bank {
    let now =
        jiff::Timestamp::from_second(world.env.now().seconds()).unwrap().to_zoned(jiff::tz::TimeZone::UTC);
    let next = now.datetime().checked_add(jiff::Span::new().months(1)).unwrap();
    let tenth = next.date().with().day(10).build().unwrap().at(12, 0, 0, 0);
    let tenth = tenth.to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp();
    world.clock.advance(Timestamp::from_micros(tenth.as_microsecond()).since(world.env.now()));
    Bank::open(world).await
}

on_each_world!(a_plan_is_paid_for_renewed_and_ended, async |world: World| {
    let bank = open_on_the_tenth(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    grant_operator(&bank, &bob).await;
    let plan = put(&bob, &offer("10", ("qdrive.bytes", 100))).await.unwrap();
    assert_eq!((plan.version, plan.period.as_str()), (1, "month"));
    let mandate = mandate(&bank, &ann, &bob, &plan);
    let first = request(&bank, mandate, &ann, &plan);
    let again = ann.client.clone().with_key("subscribe");
    let subscription = again.call::<CreateSubscription>(&first).await.unwrap();
    assert_eq!(again.call::<CreateSubscription>(&first).await.unwrap(), subscription);
    assert_eq!((subscription.status.as_str(), bank.balance(&bob).await.1.as_str()), ("ACTIVE", "10"));
    assert_eq!(
        (subscription.schedule.runs, subscription.schedule.next_runs[0]),
        (1, subscription.paid_until)
    );
    let paid_until = subscription.paid_until;
    assert!(paid_until.since(bank.now()) >= Span::seconds(28 * 86_400));
    assert_eq!(granted(&bank).await, [(Some(100), paid_until + Span::seconds(2 * 86_400))]);
    tend(&bank).await;
    pass(&bank, paid_until.since(bank.now())).await;
    let renewed = look(&ann, &subscription).await;
    assert_eq!((renewed.schedule.runs, bank.balance(&bob).await.1.as_str()), (2, "20"));
    assert!(renewed.paid_until > paid_until);
    // A subscription is not paused, and its plan says what it costs.
    let update = UpdateScheduleRequest {
        schedule_id: subscription.subscription_id,
        status: Some("PAUSED".into()),
        amount: None,
    };
    let refused = ann.client.clone().with_key(fresh()).call::<UpdateSchedule>(&update).await;
    assert_eq!(code(refused), "SCHEDULE_STATE");
    assert_eq!(code(bob.client.call::<GetSubscription>(&path(&subscription)).await), "SCHEDULE_NOT_FOUND");
    // It ends when what is paid for is over.
    let ending =
        ann.client.clone().with_key(fresh()).call::<EndSubscription>(&path(&subscription)).await.unwrap();
    assert_eq!((ending.status.as_str(), ending.schedule.next_runs.len()), ("ENDING", 0));
    pass(&bank, DAY).await;
    assert_eq!(look(&ann, &subscription).await.status, "ENDING");
    pass(&bank, renewed.paid_until.since(bank.now())).await;
    assert_eq!(look(&ann, &subscription).await.status, "ENDED");
    assert_eq!(bank.balance(&bob).await.1, "20");
    let granted = granted(&bank).await;
    assert_eq!(granted[2..], [(Some(100), renewed.paid_until), (None, bank.now())]);
    let all = ListSubscriptionsRequest { cursor: None, limit: PageLimit::default() };
    assert_eq!(ann.client.call::<ListSubscriptions>(&all).await.unwrap().items.len(), 1);
    assert_eq!(bank.module.verify().await.unwrap(), []);
    bank.close().await;
});

on_each_world!(a_new_version_waits_for_the_renewal_and_the_mandate, async |world: World| {
    let bank = open_on_the_tenth(world).await;
    let (ann, bob, eve) =
        (bank.person("ann", "1000").await, bank.person("bob", "0").await, bank.person("eve", "1000").await);
    let plan = put(&bob, &offer("10", ("x-bob.seats", 1))).await.unwrap();
    let generous =
        CreateScheduleRequest { max_amount: Some("15".into()), ..mandate(&bank, &ann, &bob, &plan) };
    let generous = subscribe(&bank, generous, &ann, &plan).await.unwrap();
    let strict = subscribe(&bank, mandate(&bank, &eve, &bob, &plan), &eve, &plan).await.unwrap();
    let dearer = PutPlanRequest { plan_id: Some(plan.plan_id), ..offer("12", ("x-bob.seats", 2)) };
    assert_eq!(put(&eve, &dearer).await.unwrap_err(), "PLAN_UNKNOWN", "a plan is its owner's");
    let dearer = put(&bob, &dearer).await.unwrap();
    assert_eq!(dearer.version, 2);
    assert_eq!(look(&ann, &generous).await.plan, plan, "what is paid for stays what it was");
    let stale = subscribe(&bank, mandate(&bank, &ann, &bob, &plan), &ann, &plan).await;
    assert_eq!(stale.unwrap_err(), "SCHEDULE_STATE");
    pass(&bank, generous.paid_until.since(bank.now())).await;
    let (generous, strict) = (look(&ann, &generous).await, look(&eve, &strict).await);
    assert_eq!((generous.plan.version, generous.schedule.amount.as_str()), (2, "12"));
    assert_eq!((strict.plan.version, strict.schedule.amount.as_str()), (1, "10"));
    assert_eq!(bank.balance(&bob).await.1, "42");
    let page = ListPlansRequest { payee: None, cursor: None, limit: PageLimit::default() };
    let offered = ann.client.call::<ListPlans>(&page).await.unwrap().items;
    assert_eq!(offered.iter().map(|plan| plan.version).collect::<Vec<_>>(), [2]);
    let old = PlanPath { plan_id: plan.plan_id, version: Some(1) };
    assert_eq!(ann.client.call::<GetPlan>(&old).await.unwrap(), plan);
    // Withdrawn: nobody new, and it is not in the list.
    let gone =
        PutPlanRequest { plan_id: Some(plan.plan_id), offered: false, ..offer("12", ("x-bob.seats", 2)) };
    let gone = put(&bob, &gone).await.unwrap();
    assert_eq!(
        subscribe(&bank, mandate(&bank, &ann, &bob, &gone), &ann, &gone).await.unwrap_err(),
        "SCHEDULE_STATE"
    );
    assert!(ann.client.call::<ListPlans>(&page).await.unwrap().items.is_empty());
    assert_eq!(bank.module.verify().await.unwrap(), []);
    bank.close().await;
});

on_each_world!(a_subscription_that_is_not_paid_lapses, async |world: World| {
    let bank = open_on_the_tenth(world).await;
    let (ann, bob) = (bank.person("ann", "15").await, bank.person("bob", "0").await);
    grant_operator(&bank, &bob).await;
    let plan = put(&bob, &offer("10", ("qdrive.bytes", 100))).await.unwrap();
    let dear = put(&bob, &offer("100", ("qdrive.bytes", 1_000))).await.unwrap();
    let refused = subscribe(&bank, mandate(&bank, &ann, &bob, &dear), &ann, &dear).await;
    assert_eq!(refused.unwrap_err(), "INSUFFICIENT_FUNDS", "and nothing is subscribed to");
    let all = ListSubscriptionsRequest { cursor: None, limit: PageLimit::default() };
    assert!(ann.client.call::<ListSubscriptions>(&all).await.unwrap().items.is_empty());
    let subscription = subscribe(&bank, mandate(&bank, &ann, &bob, &plan), &ann, &plan).await.unwrap();
    pass(&bank, subscription.paid_until.since(bank.now())).await;
    for hours in [1, 6] {
        pass(&bank, Span::seconds(hours * 3_600)).await;
        assert_eq!(look(&ann, &subscription).await.status, "ACTIVE");
    }
    let valid_until = granted(&bank).await[0].1;
    pass(&bank, DAY).await;
    assert_eq!(look(&ann, &subscription).await.status, "ENDED");
    assert!(bank.now() < valid_until, "the plan held while it was tried again");
    assert_eq!(granted(&bank).await[1..], [(None, bank.now())]);
    let failed = "schedule.failed";
    assert_eq!(
        told(&bank).await,
        ["schedule.ran", "plan.changed", failed, failed, failed, failed, "plan.changed", "schedule.ended"]
    );
    assert_eq!(bank.module.verify().await.unwrap(), []);
    bank.close().await;
});

on_each_world!(a_mandate_says_what_its_plan_says, async |world: World| {
    let bank = open_on_the_tenth(world).await;
    let (ann, bob, eve) =
        (bank.person("ann", "1000").await, bank.person("bob", "0").await, bank.person("eve", "0").await);
    for wrong in [
        PutPlanRequest { period: "decade".into(), ..offer("1", ("x-bob.seats", 1)) },
        PutPlanRequest { name: String::new(), ..offer("1", ("x-bob.seats", 1)) },
        offer("1", ("X.Y", 1)),
        offer("1", ("x-bob.seats", 1 << 53)),
    ] {
        assert_eq!(put(&bob, &wrong).await.unwrap_err(), "INVALID_REQUEST");
    }
    let grabbed = put(&bob, &offer("0.01", ("qdrive.bytes", 1 << 50))).await;
    assert_eq!(grabbed.unwrap_err(), "FORBIDDEN", "what modules give is an operator's to offer");
    let plan = put(&bob, &offer("10", ("x-bob.seats", 1))).await.unwrap();
    let base = || mandate(&bank, &ann, &bob, &plan);
    for wrong in [
        CreateScheduleRequest { amount: "1".into(), ..base() },
        CreateScheduleRequest { recipient: eve.did.to_string(), ..base() },
        CreateScheduleRequest { rrule: "FREQ=YEARLY".into(), ..base() },
        CreateScheduleRequest { count: Some(1), ..base() },
        CreateScheduleRequest { catch_up: "all".into(), ..base() },
        CreateScheduleRequest { start: (bank.now() + DAY).to_string(), ..base() },
    ] {
        assert_eq!(subscribe(&bank, wrong, &ann, &plan).await.unwrap_err(), "INVALID_REQUEST");
    }
    let unknown = Plan { version: 9, ..plan.clone() };
    assert_eq!(subscribe(&bank, base(), &ann, &unknown).await.unwrap_err(), "PLAN_UNKNOWN");
    // The signature covers the plan: one for a schedule is none for a subscription.
    let bare = CreateSubscriptionRequest {
        mandate: signed(&bank, base(), &ann, None),
        ..request(&bank, base(), &ann, &plan)
    };
    let refused = ann.client.clone().with_key(fresh()).call::<CreateSubscription>(&bare).await;
    assert_eq!(code(refused), "SIGNATURE_INVALID");
    assert_eq!(bank.balance(&bob).await.1, "0");
    bank.close().await;
});

/// Lets somebody act as an operator.
async fn grant_operator(bank: &Bank, person: &Person) {
    let (instance, key) = q_testkit::identity("instance");
    let resource = q_pdp::Resource::instance(&instance);
    bank.grant(&instance, &key, &person.did, &resource, "admin").await;
}
