//! The fee schedule: versions under two approvers, each from an instant on, quotes that hold.

use q_core::Span;
use q_runtime::Module;
use q_testkit::{World, identity, on_each_world};
use qwallet_api::{
    CreatePayment, FeeRate, FeeVersions, GetFees, GetFeesRequest, GetQuote, PaymentRequest, QuoteRequest,
    SetFees, SetFeesRequest,
    fees::{FEES_TYP, FeesOrder},
    signing,
};

use crate::support::{Approver, Bank, Person, code, fresh, intend, sign_as};

fn rate(currency: &str, class: &str, platform: u16) -> FeeRate {
    FeeRate {
        class: class.into(),
        currency: currency.into(),
        network_basis_points: 0,
        platform_basis_points: platform,
    }
}

/// Fees of so many basis points, `ahead` seconds from now, approved by `signers`.
pub fn version(bank: &Bank, platform: u16, ahead: i64, signers: &[&Approver]) -> SetFeesRequest {
    let order = SetFeesRequest {
        approvals: Vec::new(),
        client_ref: "RES-7".into(),
        expires_at: (bank.now() + Span::seconds(600)).to_string(),
        nonce: format!("nonce-{}", fresh()),
        rates: vec![rate("QToken", "p2p", platform), rate("PI", "p2p", 5)],
        valid_from: (bank.now() + Span::seconds(ahead)).to_string(),
    };
    approved(bank, order, signers)
}

fn approved(bank: &Bank, order: SetFeesRequest, signers: &[&Approver]) -> SetFeesRequest {
    let input = signing::signing_input(&FeesOrder {
        aud: bank.world.instance.did.as_str(),
        client_ref: &order.client_ref,
        expires_at: &order.expires_at,
        nonce: &order.nonce,
        rates: &order.rates,
        v: 1,
        valid_from: &order.valid_from,
    });
    let approvals = signers.iter().map(|(did, key)| sign_as(FEES_TYP, &input, did, key)).collect();
    SetFeesRequest { approvals, ..order }
}

pub async fn set(person: &Person, order: &SetFeesRequest) -> Result<FeeVersions, String> {
    match person.client.clone().with_key(fresh()).call::<SetFees>(order).await {
        Ok(versions) => Ok(versions),
        refused => Err(code(refused)),
    }
}

async fn quote(person: &Person) -> (u32, String) {
    let asked = QuoteRequest::of("100", "QToken");
    let quote = person.client.call::<GetQuote>(&asked).await.unwrap();
    (quote.schedule_version, quote.fees.total.as_str().to_owned())
}

async fn pay(bank: &Bank, payer: &Person, payee: &Person, max_fees: &str) -> Result<String, String> {
    let order = PaymentRequest { max_fees: max_fees.into(), ..bank.order(payer, payee.did.as_str(), "100") };
    let order = bank.signed(order, payer);
    match payer.client.clone().with_key(fresh()).call::<CreatePayment>(&order).await {
        Ok(paid) => Ok(paid.fees.total.as_str().to_owned()),
        refused => Err(code(refused)),
    }
}

on_each_world!(two_approvers_set_what_payments_cost_from_an_instant_on, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "5000").await, bank.person("bob", "0").await);
    let [first, second] = bank.approvers().await;
    let stranger = identity("stranger");
    for (signers, refusal) in [
        (vec![], "APPROVAL_REQUIRED"),
        (vec![&first, &first], "APPROVAL_REQUIRED"),
        (vec![&first, &stranger], "NOT_AN_APPROVER"),
    ] {
        assert_eq!(set(&ann, &version(&bank, 100, 60, &signers)).await.unwrap_err(), refusal);
    }
    let edited = SetFeesRequest {
        rates: vec![rate("QToken", "p2p", 1), rate("PI", "p2p", 5)],
        ..version(&bank, 100, 60, &[&first, &second])
    };
    assert_eq!(set(&ann, &edited).await.unwrap_err(), "SIGNATURE_INVALID");
    // Every replica has to know it before it begins, and every currency has a price.
    let soon = version(&bank, 100, 59, &[&first, &second]);
    assert_eq!(set(&ann, &soon).await.unwrap_err(), "INVALID_REQUEST");
    let one = SetFeesRequest { rates: vec![rate("QToken", "p2p", 1)], ..version(&bank, 100, 60, &[]) };
    assert_eq!(set(&ann, &approved(&bank, one, &[&first, &second])).await.unwrap_err(), "INVALID_REQUEST");

    assert_eq!(quote(&ann).await, (1, "0.6".into()));
    let order = version(&bank, 100, 60, &[&first, &second]);
    let versions = set(&ann, &order).await.unwrap();
    assert_eq!((versions.current, versions.items.len(), versions.items[0].version), (1, 2, 2));
    assert_eq!(versions.items[0].approvers, [first.0.clone(), second.0.clone()]);
    assert_eq!(set(&ann, &order).await.unwrap_err(), "SIGNATURE_INVALID");
    assert_eq!(pay(&bank, &ann, &bob, "10").await, Ok("0.6".into()));

    // An intent keeps what it was decided with.
    let intent = intend(&ann, &bob, "100").await;
    bank.world.clock.advance(Span::seconds(60));
    assert_eq!(quote(&ann).await, (2, "1".into()));
    assert_eq!(pay(&bank, &ann, &bob, "10").await, Ok("1".into()));
    // Who was quoted before it began signed no more than that, and is charged no more: for five minutes.
    assert_eq!(pay(&bank, &ann, &bob, "0.6").await, Ok("0.6".into()));
    assert_eq!(pay(&bank, &ann, &bob, "0.5").await, Err("FEES_EXCEED_MAXIMUM".into()));
    bank.world.clock.advance(Span::seconds(300));
    assert_eq!(pay(&bank, &ann, &bob, "0.6").await, Ok("0.6".into()));
    bank.world.clock.advance(Span::seconds(1));
    assert_eq!(pay(&bank, &ann, &bob, "0.6").await, Err("FEES_EXCEED_MAXIMUM".into()));
    let signature = crate::support::sign(intent.signing_input.as_bytes(), &ann.did, &ann.key);
    let request = qwallet_api::SignRequest { intent_id: intent.intent_id, signature };
    ann.client.clone().with_key(fresh()).call::<qwallet_api::SignIntent>(&request).await.unwrap();
    assert_eq!(bank.balance(&ann).await.2, "100.6");

    let shown = bob.client.call::<GetFees>(&GetFeesRequest {}).await.unwrap();
    let classes: Vec<_> =
        shown.items[0].rates.iter().map(|rate| (rate.class.as_str(), rate.platform_basis_points)).collect();
    assert_eq!(classes[..3], [("p2p", 100), ("merchant", 100), ("module", 0)]);
    let rows = bank.module.db().audit_after(0, 1_000).await.unwrap();
    assert_eq!(rows.iter().filter(|row| row.entry.action == "fees.set").count(), 1);
    assert_eq!(bank.module.verify().await.unwrap(), []);
    bank.close().await;
});

on_each_world!(a_later_version_takes_the_place_of_one_that_has_not_begun, async |world: World| {
    let bank = Bank::open(world).await;
    let ann = bank.person("ann", "0").await;
    let [first, second] = bank.approvers().await;
    set(&ann, &version(&bank, 100, 120, &[&first, &second])).await.unwrap();
    set(&ann, &version(&bank, 20, 90, &[&first, &second])).await.unwrap();
    bank.world.clock.advance(Span::seconds(90));
    assert_eq!(quote(&ann).await, (3, "0.2".into()));
    bank.world.clock.advance(Span::seconds(600));
    assert_eq!(quote(&ann).await, (3, "0.2".into()));
    bank.close().await;
});

on_each_world!(verify_computes_what_payments_cost_and_who_signed_the_fees, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "5000").await, bank.person("bob", "0").await);
    let [first, second] = bank.approvers().await;
    assert_eq!(pay(&bank, &ann, &bob, "10").await, Ok("0.6".into()));
    let part = crate::holds::held(&bank, &ann, &bob, "30").await;
    crate::holds::take(&bob, &part, Some("7"), false).await.unwrap();
    let versions = set(&ann, &version(&bank, 100, 60, &[&first, &second])).await.unwrap();
    let events = bank.module.db().outbox_after(0, 10_000).await.unwrap();
    let told: Vec<_> = events.iter().filter(|row| row.event.topic == "q.qwallet.fee.changed.v1").collect();
    assert_eq!((told.len(), &told[0].event.data["version"]), (1, &2.into()));
    assert_eq!(told[0].event.data["validFrom"], versions.items[0].valid_from.to_string());
    bank.world.clock.advance(Span::seconds(61));
    assert_eq!(pay(&bank, &ann, &bob, "10").await, Ok("1".into()));
    assert_eq!(pay(&bank, &ann, &bob, "0.6").await, Ok("0.6".into()));
    let order = crate::escrows::asked(&bank, &ann, &bob, "50", "order-9");
    crate::escrows::fund(&bank, order, &ann).await.unwrap();
    bank.world.clock.advance(Span::seconds(400));
    assert_eq!(pay(&bank, &ann, &bob, "10").await, Ok("1".into()));
    assert_eq!(bank.module.verify().await.unwrap(), []);
    let found = async |sql: &'static str| {
        assert!(bank.module.db().write(move |tx| tx.execute(sql, &[])).await.unwrap() > 0, "{sql}");
        let findings = bank.module.verify().await.unwrap();
        findings.iter().map(|finding| finding.code.clone()).collect::<Vec<_>>()
    };
    // What the settings said then: the first payment and what was held cost something else.
    let settings = found("UPDATE fee_settings SET platform = platform + 1").await;
    assert_eq!(
        settings,
        ["fee_mismatch", "fee_mismatch", "fee_mismatch"],
        "one of them in the time of the quote"
    );
    assert_eq!(found("UPDATE fee_settings SET platform = platform - 1").await, Vec::<String>::new());
    // What operators signed: the payments of its time, the escrow, and the version itself.
    let rates = found("UPDATE fee_versions SET rates = REPLACE(rates, ':100}', ':99}')").await;
    assert_eq!(rates, ["fee_version_mismatch", "fee_mismatch", "fee_mismatch", "fee_mismatch"]);
    found("UPDATE fee_versions SET rates = REPLACE(rates, ':99}', ':100}')").await;
    let lone =
        "UPDATE fee_versions SET signatures = SUBSTR(signatures, 1, LENGTH(signatures) - 8) || 'AAAAAAAA'";
    let forged = found(lone).await;
    assert!(forged.iter().all(|code| code == "fee_version_mismatch") && forged.len() == 2, "{forged:?}");
    bank.world.abandon().await;
});

on_each_world!(a_replica_with_other_settings_leaves_older_payments_right, async |world: World| {
    if world.engine == q_testkit::Engine::Sqlite {
        return;
    }
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "5000").await, bank.person("bob", "0").await);
    assert_eq!(pay(&bank, &ann, &bob, "10").await, Ok("0.6".into()));
    bank.world.clock.advance(Span::seconds(86_400));
    let dearer = crate::support::settings(&[("fee_platform_basis_points", "70"), ("step_up", "none")]);
    let again = crate::replicas::replica_with(&bank, None, dearer).await;
    assert_eq!(again.verify().await.unwrap(), []);
    assert_eq!(bank.module.verify().await.unwrap(), []);
    again.settle().await.unwrap();
    bank.close().await;
});
