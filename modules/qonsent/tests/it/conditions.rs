//! Grants that count at some times, or a number of times.

use std::collections::BTreeMap;

use q_core::Timestamp;
use q_db::uses::{Allotment, take};
use q_pdp::{
    Conditions, Counted, Reason, Request, RevocationHead,
    conditions::{META, WindowText},
};
use q_runtime::Module as _;
use q_testkit::{World, identity, on_each_world};
use q_ucan::{DelegationDraft, Ipld, Policy, container, dag_json};
use qonsent_api::{
    IssueGrant, ListPermissions, ListPermissionsRequest, RegisterDelegations, RegisterRequest,
};
use serde_json::{Value, json};

use crate::support::{Setting, code, raise};

const WALLET: &str = "qwallet:wallet:w1";

fn window(start: &str, end: &str, tz: &str, days: &[&str]) -> Conditions {
    let days = days.iter().map(|day| (*day).to_owned()).collect();
    let text = WindowText { start: start.into(), end: end.into(), tz: tz.into(), days };
    Conditions { time_window: Some(text), max_uses: None }
}

fn uses(max: u64) -> Conditions {
    Conditions { time_window: None, max_uses: Some(max) }
}

fn decide(setting: &Setting, who: &str, now: Timestamp) -> Reason {
    let (principal, owner) = (identity(who).0, identity("alice").0);
    let request =
        Request { principal: &principal, action: "read", resource: WALLET, owner: Some(&owner), now };
    setting.pdp.decide(&request).reason
}

fn counting(setting: &Setting, who: &str) -> Counted {
    let (principal, owner) = (identity(who).0, identity("alice").0);
    let now = setting.world.env.now();
    let request =
        Request { principal: &principal, action: "read", resource: WALLET, owner: Some(&owner), now };
    setting.pdp.decide_counting(&request)
}

/// Does what a module does: decides, and takes the uses in the write of the effect.
async fn act(setting: &Setting, who: &str) -> bool {
    let counted = counting(setting, who);
    let allotments: Vec<Allotment> =
        counted.uses.iter().map(|one| Allotment { name: one.name(), most: one.max }).collect();
    let db = setting.module.db().clone();
    counted.decision.allowed && db.write(move |tx| take(tx, &allotments)).await.unwrap()
}

async fn share(setting: &Setting, from: &str, to: &str, conditions: &Conditions) {
    let container = setting.sign_under(from, "alice", to, WALLET, conditions);
    let request = setting.request(to, WALLET, &["read"], Some(container));
    setting.as_(from).call::<IssueGrant>(&request).await.unwrap();
}

/// Lets the projection know that nothing was missed by `at`.
fn prove(setting: &Setting, at: Timestamp) {
    let (epoch, digest) = (setting.pdp.epoch(), setting.pdp.digest());
    setting.pdp.observe(&RevocationHead { epoch, digest, at });
}

on_each_world!(a_grant_for_office_hours, async |world: World| {
    let setting = raise(world).await;
    share(&setting, "alice", "bob", &window("09:00", "17:00", "Europe/Madrid", &["MON"])).await;
    let all = ListPermissionsRequest::default();
    let listed = setting.as_("alice").call::<ListPermissions>(&all).await.unwrap().items;
    assert_eq!(listed[0].conditions[0].conditions, window("09:00", "17:00", "Europe/Madrid", &["MON"]));
    // The frozen clock of a world; the next Monday from it, by the walls of Madrid.
    let now = setting.world.env.now();
    let open_hours = (0..168_i64)
        .map(|hour| now + q_core::Span::seconds(hour * 3_600))
        .filter(|at| {
            prove(&setting, *at);
            decide(&setting, "bob", *at) == Reason::Grant
        })
        .count();
    assert_eq!(open_hours, 8, "eight hours of one day in a week");
    assert_eq!(Reason::OutsideTimeWindow.code(), "OUTSIDE_TIME_WINDOW");
    setting.world.close().await;
});

on_each_world!(a_grant_for_three_times_is_used_three_times, async |world: World| {
    let setting = raise(world).await;
    share(&setting, "alice", "bob", &uses(3)).await;
    let now = setting.world.env.now();
    assert_eq!(decide(&setting, "bob", now), Reason::UsesUncounted, "who does not count is refused");
    let mut tasks = Vec::new();
    for _ in 0..20 {
        tasks.push(act(&setting, "bob"));
    }
    let done = futures_util::future::join_all(tasks).await;
    assert_eq!(done.into_iter().filter(|is_done| *is_done).count(), 3);
    assert!(!act(&setting, "bob").await);
    // A further grant without such terms is taken first, and nothing is used up by it.
    share(&setting, "alice", "bob", &Conditions::default()).await;
    let counted = counting(&setting, "bob");
    assert_eq!((counted.decision.reason, counted.uses.len()), (Reason::Grant, 0));
    assert_eq!(decide(&setting, "bob", now), Reason::Grant);
    setting.world.close().await;
});

on_each_world!(whoever_passes_a_right_on_passes_its_terms_on, async |world: World| {
    let setting = raise(world).await;
    share(&setting, "alice", "bob", &uses(2)).await;
    share(&setting, "bob", "carol", &uses(5)).await;
    share(&setting, "bob", "dave", &Conditions::default()).await;
    let names = counting(&setting, "carol").uses.len();
    assert_eq!(names, 2, "hers and the one above");
    assert!(act(&setting, "carol").await && act(&setting, "dave").await);
    for who in ["carol", "dave", "bob"] {
        assert!(!act(&setting, who).await, "{who}: two for all together");
    }
    setting.world.close().await;
});

on_each_world!(terms_that_cannot_be_kept_are_refused, async |world: World| {
    let setting = raise(world).await;
    let (alice, key) = identity("alice");
    for (name, terms, command) in [
        ("unknown terms", json!({"ipRestrictions": ["10.0.0.0/8"]}), "/qwallet/wallet/read"),
        ("no map", json!("soon"), "/qwallet/wallet/read"),
        ("a list", json!([1]), "/qwallet/wallet/read"),
        ("none at all", json!({"maxUses": 0}), "/qwallet/wallet/read"),
        ("less than none", json!({"maxUses": -1}), "/qwallet/wallet/read"),
        ("a half", json!({"maxUses": 1.5}), "/qwallet/wallet/read"),
        ("as text", json!({"maxUses": "3"}), "/qwallet/wallet/read"),
        ("too many", json!({"maxUses": 1_000_001}), "/qwallet/wallet/read"),
        ("counted everywhere anew", json!({"maxUses": 3}), "/"),
        ("no zone", json!({"timeWindow": {"start": "09:00", "end": "17:00"}}), "/qwallet/wallet/read"),
        (
            "a zone nobody lives in",
            json!({"timeWindow": {"start": "09:00", "end": "17:00", "tz": "Mars/Olympus"}}),
            "/qwallet/wallet/read",
        ),
        (
            "more words",
            json!({"timeWindow": {"start": "09:00", "end": "17:00", "tz": "UTC", "unless": "rain"}}),
            "/qwallet/wallet/read",
        ),
    ] {
        let draft = DelegationDraft {
            issuer: alice.clone().into(),
            audience: identity("bob").0,
            subject: Some(alice.clone()),
            command: command.parse().unwrap(),
            policy: Policy::pins_resource(WALLET),
            nonce: setting.world.env.random::<12>().to_vec(),
            not_before: None,
            expires_at: Some(setting.world.env.now() + q_core::Span::seconds(3_600)),
            meta: meta(&terms),
        };
        let delegation = draft.sign(&key).unwrap();
        let container = container::encode_text([delegation.bytes()]);
        let granting = setting.request("bob", WALLET, &["read"], Some(container.clone()));
        let granted = setting.as_("alice").call::<IssueGrant>(&granting).await;
        assert_eq!(code(granted), "UCAN_INVALID", "{name}");
        let handed_in = RegisterRequest { container };
        let registered = setting.as_("alice").call::<RegisterDelegations>(&handed_in).await;
        assert_eq!(code(registered), "UCAN_INVALID", "{name}");
    }
    setting.world.close().await;
});

fn meta(terms: &Value) -> BTreeMap<String, Ipld> {
    BTreeMap::from([(META.to_owned(), dag_json::from_json(terms).unwrap())])
}
