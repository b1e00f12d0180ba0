//! Days and months of limits in the time zone of the wallet, which lets nobody spend more.

use q_core::{IdentityKind, Span, Timestamp};
use q_runtime::Module;
use q_testkit::{World, on_each_world, oracle};
use qwallet::{SETTINGS, domain::calendar::Zone};
use qwallet_api::{
    CancelIntent, CreateIntentRequest, CreatePayment, GetLimits, IntentPath, LimitList, SetLimits,
    SetLimitsRequest, SpendingLimit, WalletPath,
};
use serde_json::json;

use crate::support::{Bank, Person, ask, code, fresh, intend_as, new_limits, problem, settings, sign_it};

/// Chooses the time zone of a wallet and sets limits.
async fn choose(
    by: &Person,
    of: &Person,
    zone: &str,
    limits: &[(&str, &str)],
) -> Result<LimitList, q_contract::CallError> {
    let request = SetLimitsRequest { timezone: Some(zone.to_owned()), ..new_limits(of, limits) };
    by.client.clone().with_key(fresh()).call::<SetLimits>(&request).await
}

async fn pay(bank: &Bank, payer: &Person, payee: &Person, amount: &str) -> String {
    let order = bank.signed(bank.order(payer, payee.did.as_str(), amount), payer);
    match payer.client.clone().with_key(fresh()).call::<CreatePayment>(&order).await {
        Ok(_) => "SETTLED".to_owned(),
        refused => code(refused),
    }
}

async fn limit(person: &Person, kind: &str, inherited: bool) -> SpendingLimit {
    let path = WalletPath { squid_id: person.did.to_string() };
    let limits = person.client.call::<GetLimits>(&path).await.unwrap();
    let is_it = |limit: &SpendingLimit| {
        limit.kind == kind && limit.inherited == inherited && limit.currency == "QToken"
    };
    limits.items.into_iter().find(is_it).unwrap()
}

/// Its zone, what was used of it, and when it begins anew.
async fn shown(person: &Person, kind: &str, inherited: bool) -> (String, String, String) {
    let limit = limit(person, kind, inherited).await;
    let resets_at = limit.resets_at.unwrap().to_string();
    (limit.timezone.unwrap(), limit.used.as_str().to_owned(), resets_at)
}

fn is(shown: &(String, String, String), zone: &str, used: &str, resets_at: &str) {
    assert_eq!((shown.0.as_str(), shown.1.as_str(), shown.2.as_str()), (zone, used, resets_at));
}

// The clock begins on Saturday, 21 November 2026, at 09:00 UTC.

on_each_world!(days_and_months_begin_at_midnight_of_the_wallets_zone, async |world: World| {
    let bank = Bank::open_with(world, SETTINGS).await;
    let (ann, bob) = (bank.person("ann", "1000").await, bank.person("bob", "0").await);
    let set = choose(&ann, &ann, "europe/berlin", &[("daily", "100"), ("monthly", "250")]).await.unwrap();
    assert!(set.items.iter().any(|limit| limit.timezone.as_deref() == Some("Europe/Berlin")));
    is(&shown(&ann, "daily", false).await, "Europe/Berlin", "0", "2026-11-21T23:00:00Z");
    assert_eq!(limit(&ann, "perTransaction", false).await.timezone, None);
    assert_eq!(pay(&bank, &ann, &bob, "100").await, "SETTLED");
    bank.world.clock.advance(Span::seconds(14 * 3_600 - 1));
    let order = bank.signed(bank.order(&ann, bob.did.as_str(), "1"), &ann);
    let refused = problem(ann.client.clone().with_key(fresh()).call::<CreatePayment>(&order).await);
    assert_eq!(
        (refused.code.as_str(), &refused.extra["resetsAt"]),
        ("DAILY_LIMIT_EXCEEDED", &"2026-11-21T23:00:00Z".into())
    );
    bank.world.clock.advance(Span::seconds(1));
    assert_eq!(pay(&bank, &ann, &bob, "100").await, "SETTLED");
    assert_eq!(bank.findings().await, Vec::<String>::new());

    // The month ends at midnight there, an hour before that of UTC.
    bank.world.clock.advance(Span::seconds(8 * 86_400));
    assert_eq!(pay(&bank, &ann, &bob, "50").await, "SETTLED");
    assert_eq!(pay(&bank, &ann, &bob, "1").await, "MONTHLY_LIMIT_EXCEEDED");
    is(&shown(&ann, "monthly", false).await, "Europe/Berlin", "250", "2026-11-30T23:00:00Z");
    bank.world.clock.advance(Span::seconds(86_400));
    assert_eq!(pay(&bank, &ann, &bob, "100").await, "SETTLED");
    is(&shown(&ann, "monthly", false).await, "Europe/Berlin", "100", "2026-12-31T23:00:00Z");
    assert_eq!(bank.findings().await, Vec::<String>::new());

    for unknown in ["Europe/Nowhere", "+01:00", ""] {
        let refused = problem(choose(&ann, &ann, unknown, &[]).await);
        assert_eq!((refused.code.as_str(), refused.status), ("INVALID_REQUEST", 400), "{unknown}");
        assert!(refused.hint.unwrap().contains("such as Europe/"));
    }
    bank.close().await;
});

on_each_world!(who_changes_zones_every_hour_spends_no_more, async |world: World| {
    let bank = Bank::open_with(world, settings(&[("limit_monthly", "none")])).await;
    let (ann, bob) = (bank.person("ann", "1000").await, bank.person("bob", "0").await);
    choose(&ann, &ann, "UTC", &[("daily", "100")]).await.unwrap();
    assert_eq!(pay(&bank, &ann, &bob, "100").await, "SETTLED");
    let mut paid = Vec::new();
    for hour in 10..=9 + 72 {
        bank.world.clock.advance(Span::seconds(3_600));
        // Where it is midnight at this moment, if it is anywhere.
        let zone = match hour % 24 {
            0 => "UTC".to_owned(),
            behind @ 1..=9 => format!("Etc/GMT+{behind}"),
            of_utc => format!("Etc/GMT-{}", 24 - of_utc),
        };
        choose(&ann, &ann, &zone, &[]).await.unwrap();
        if pay(&bank, &ann, &bob, "100").await == "SETTLED" {
            paid.push(hour);
        }
    }
    assert!(paid.len() <= 3 && paid.windows(2).all(|pair| pair[1] - pair[0] >= 22), "{paid:?}");
    assert_eq!(paid[0], 24, "the day of UTC was not shortened");
    assert_eq!(bank.findings().await, Vec::<String>::new());
    // A month later it is an ordinary day again.
    choose(&ann, &ann, "Asia/Kathmandu", &[]).await.unwrap();
    bank.world.clock.advance(Span::seconds(30 * 86_400));
    let now = bank.world.env.now();
    let ends = Zone::named("Asia/Kathmandu", now).unwrap().window(now).day.to.to_string();
    is(&shown(&ann, "daily", false).await, "Asia/Kathmandu", "0", &ends);
    assert_eq!(pay(&bank, &ann, &bob, "100").await, "SETTLED");
    is(&shown(&ann, "daily", false).await, "Asia/Kathmandu", "100", &ends);
    assert_eq!(bank.findings().await, Vec::<String>::new());

    // A day that somebody moved in the store is found.
    let move_by = |hours: i64| {
        move |tx: &mut q_db::Tx<'_>| {
            const IT: &str = "WHERE timezone IS NOT NULL AND spent IS NOT NULL";
            let row = tx.query_one(&format!("SELECT spent FROM accounts {IT}"), &[])?;
            let mut spent: Vec<u8> = row.try_get(0)?;
            let from = i64::from_be_bytes(*spent[8..].first_chunk().unwrap()) + hours * 3_600_000_000;
            spent[8..16].copy_from_slice(&from.to_be_bytes());
            tx.execute(&format!("UPDATE accounts SET spent = $1 {IT}"), q_db::params![spent])
        }
    };
    assert_eq!(bank.module.db().write(move_by(6)).await.unwrap(), 1);
    let found = bank.findings().await;
    assert!(found.len() == 1 && found[0].contains("spent_mismatch"), "{found:?}");
    bank.module.db().write(move_by(-6)).await.unwrap();
    bank.close().await;
});

on_each_world!(each_of_a_family_counts_in_its_own_zone, async |world: World| {
    let bank = Bank::open_with(world, SETTINGS).await;
    let (ann, bob) = (bank.person("ann", "500").await, bank.person("bob", "0").await);
    let [operator, _] = bank.operators().await;
    bank.stands("robot", IdentityKind::Root, &[&ann]);
    let robot = bank.person("robot", "500").await;
    assert_eq!(code(choose(&robot, &robot, "Asia/Tokyo", &[]).await), "FORBIDDEN", "its parent does");
    assert_eq!(code(choose(&operator, &ann, "Asia/Tokyo", &[]).await), "FORBIDDEN", "it is the owner's");
    assert_eq!(code(choose(&bob, &ann, "Asia/Tokyo", &[]).await), "WALLET_NOT_FOUND");
    choose(&ann, &robot, "Asia/Tokyo", &[("daily", "50")]).await.unwrap();
    choose(&ann, &ann, "America/New_York", &[("daily", "60")]).await.unwrap();
    assert_eq!(pay(&bank, &robot, &bob, "50").await, "SETTLED");
    is(&shown(&robot, "daily", false).await, "Asia/Tokyo", "50", "2026-11-21T15:00:00Z");
    is(&shown(&robot, "daily", true).await, "America/New_York", "50", "2026-11-22T05:00:00Z");
    // In Tokyo it is Sunday; in New York it is Saturday still.
    bank.world.clock.advance(Span::seconds(6 * 3_600));
    assert_eq!(pay(&bank, &robot, &bob, "11").await, "DAILY_LIMIT_EXCEEDED");
    assert_eq!(pay(&bank, &robot, &bob, "10").await, "SETTLED");
    is(&shown(&robot, "daily", false).await, "Asia/Tokyo", "10", "2026-11-22T15:00:00Z");
    is(&shown(&ann, "daily", false).await, "America/New_York", "60", "2026-11-22T05:00:00Z");
    bank.world.clock.advance(Span::seconds(14 * 3_600));
    assert_eq!(pay(&bank, &robot, &bob, "40").await, "SETTLED");
    is(&shown(&robot, "daily", true).await, "America/New_York", "40", "2026-11-23T05:00:00Z");
    assert_eq!(bank.findings().await, Vec::<String>::new());
    bank.close().await;
});

on_each_world!(what_a_hold_frees_is_given_back_to_the_day_it_was_held_on, async |world: World| {
    let bank = Bank::open_with(world, SETTINGS).await;
    let (ann, bob) = (bank.person("ann", "500").await, bank.person("bob", "0").await);
    choose(&ann, &ann, "Europe/Berlin", &[("daily", "100")]).await.unwrap();
    let hold = async |amount: &str| {
        let asked = CreateIntentRequest { expires_in: Some(86_400), ..ask(&bob, amount) };
        let intent = intend_as(&ann, &asked).await;
        sign_it(&intent, &ann).await.unwrap();
        IntentPath { intent_id: intent.intent_id }
    };
    let free = async |path: IntentPath| {
        ann.client.clone().with_key(fresh()).call::<CancelIntent>(&path).await.unwrap();
    };
    let (before, same_day) = (hold("40").await, hold("30").await);
    free(same_day).await;
    is(&shown(&ann, "daily", false).await, "Europe/Berlin", "40", "2026-11-21T23:00:00Z");
    // At 22:30 UTC of the same day; then the day of Berlin is over, and that of UTC is not.
    bank.world.clock.advance(Span::seconds(13 * 3_600 + 1_800));
    let late = hold("20").await;
    choose(&ann, &ann, "UTC", &[]).await.unwrap();
    is(&shown(&ann, "daily", false).await, "UTC", "60", "2026-11-22T00:00:00Z");
    bank.world.clock.advance(Span::seconds(3_600));
    // Its last hour is counted with the day before.
    is(&shown(&ann, "daily", false).await, "UTC", "60", "2026-11-22T00:00:00Z");
    assert_eq!(pay(&bank, &ann, &bob, "41").await, "DAILY_LIMIT_EXCEEDED");
    free(late).await;
    assert_eq!(pay(&bank, &ann, &bob, "41").await, "SETTLED");
    bank.world.clock.advance(Span::seconds(1_800));
    assert_eq!(pay(&bank, &ann, &bob, "100").await, "SETTLED");
    free(before).await;
    is(&shown(&ann, "daily", false).await, "UTC", "100", "2026-11-23T00:00:00Z");
    assert_eq!(limit(&ann, "monthly", false).await.used.as_str(), "141");
    assert_eq!(bank.findings().await, Vec::<String>::new());
    bank.close().await;
});

/// Zones that change their clocks at night, at midnight, by half an hour, south of the equator, or left out a date.
const ZONES: [&str; 12] = [
    "Europe/Berlin",
    "Europe/London",
    "America/New_York",
    "America/Santiago",
    "America/Havana",
    "America/St_Johns",
    "America/Asuncion",
    "Africa/Cairo",
    "Asia/Beirut",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Asia/Kathmandu",
];

#[test]
fn days_begin_when_another_program_says_they_do() {
    let Some(mut other) = oracle::script("python-dateutil", env!("CARGO_MANIFEST_DIR"), "calendar_days.py")
    else {
        return;
    };
    let (mut input, mut ours) = (String::new(), String::new());
    for name in ZONES {
        let zone = Zone::named(name, Timestamp::default()).unwrap();
        input += &json!({ "zone": name, "from": "2008-01-01", "days": 8 * 366 }).to_string();
        input.push('\n');
        let mut at = zone.window("2008-01-01T12:00:00Z".parse().unwrap()).day.from;
        let end: Timestamp = "2015-12-31T00:00:00Z".parse().unwrap();
        let mut starts = Vec::new();
        while at < end {
            starts.push(at.seconds());
            at = zone.window(at).day.to;
        }
        ours += &serde_json::to_string(&starts).unwrap();
        ours.push('\n');
    }
    let said = String::from_utf8(oracle::ask(&mut other, &input).unwrap()).unwrap();
    let mut count = 0;
    for ((name, ours), theirs) in ZONES.iter().zip(ours.lines()).zip(said.lines()) {
        let read = |text: &str| serde_json::from_str::<Vec<i64>>(text).unwrap();
        let (ours, theirs) = (read(ours), read(theirs));
        let differs = ours.iter().zip(&theirs).position(|(ours, theirs)| ours != theirs);
        assert_eq!(differs, None, "{name} on day {differs:?}");
        count += ours.len().min(theirs.len());
    }
    assert!(count > 12 * 2_900, "{count} days compared");
}
