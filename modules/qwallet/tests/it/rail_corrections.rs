//! What two operators set right on a rail: money that came in for nobody, what a restored store has forgotten, a loss.

use q_core::Span;
use q_oracle::Anvil;
use q_runtime::Module;
use q_testkit::{World, identity, on_each_world};
use qwallet_api::{
    CorrectRail, CorrectRailRequest, GetWithdrawal, ListRailCorrections, ListSuspense, RAIL_CORRECTION_TYP,
    RailCorrection, RailCorrectionOrder, RailPath, TransactionId, WithdrawalPath, signing,
};

use crate::{
    bank::{Desk, TO, entry, statement},
    rails::{COIN, Harbour, STRANGER},
    support::{Approver, Bank, code, fresh, sign_as},
};

fn asked(rail: &str, action: &str) -> CorrectRailRequest {
    CorrectRailRequest {
        rail: rail.into(),
        action: action.into(),
        amount: None,
        deposit_id: None,
        wallet: None,
        recipient: None,
        reference: None,
        reason: "ticket 12".into(),
        expires_at: String::new(),
        nonce: String::new(),
        approvals: Vec::new(),
    }
}

fn approved(bank: &Bank, asked: CorrectRailRequest, signers: &[&Approver]) -> CorrectRailRequest {
    let expires_at = (bank.now() + Span::seconds(600)).to_string();
    let asked = CorrectRailRequest { expires_at, nonce: format!("nonce-{}", fresh()), ..asked };
    let input = signing::signing_input(&RailCorrectionOrder::of(bank.world.instance.did.as_str(), &asked));
    let sign = |(did, key): &&Approver| sign_as(RAIL_CORRECTION_TYP, &input, did, key);
    CorrectRailRequest { approvals: signers.iter().map(sign).collect(), ..asked }
}

async fn correct(bank: &Bank, asked: &CorrectRailRequest) -> Result<RailCorrection, String> {
    let client = bank.world.client("qwallet", &identity("first").0).with_key(fresh());
    client.call::<CorrectRail>(asked).await.map_err(|refused| code(Err::<(), _>(refused)))
}

/// What is in suspense.
async fn suspense(bank: &Bank, rail: &str) -> Vec<(TransactionId, String)> {
    let client = bank.world.client("qwallet", &identity("operator").0);
    bank.world.make_operator(&identity("operator").0);
    let list = client.call::<ListSuspense>(&RailPath { rail: rail.into() }).await.unwrap();
    let told = list.items.into_iter();
    told.map(|item| (item.deposit_id, item.amount.unwrap().as_str().to_owned())).collect()
}

async fn list(bank: &Bank, rail: &str) -> Vec<RailCorrection> {
    let client = bank.world.client("qwallet", &identity("operator").0);
    client.call::<ListRailCorrections>(&RailPath { rail: rail.into() }).await.unwrap().items
}

async fn audited(bank: &Bank) -> Vec<serde_json::Value> {
    let rows = bank.module.db().audit_after(0, 1_000).await.unwrap();
    let corrections = rows.into_iter().filter(|row| row.entry.action == "rail.correct");
    corrections.map(|row| row.entry.details).collect()
}

on_each_world!(money_of_nobody_is_given_to_a_wallet_or_to_the_house_by_two, async |world: World| {
    let desk = Desk::open(world).await;
    let bank = &desk.bank;
    let ann = bank.person("ann", "0").await;
    let [first, second] = bank.approvers().await;
    let came =
        [entry("R1", "25.00", "CRDT", "X", "who knows"), entry("R2", "3.00", "CRDT", "X", "nobody")].concat();
    desk.take(statement("S-1", "0.00", "28.00", &[came])).await.unwrap();
    let held = suspense(bank, "sepa-file").await;
    let of = |amount: &str| held.iter().find(|(_, held)| held == amount).unwrap().0;
    let (small, large) = (of("3"), of("25"));
    let assign = CorrectRailRequest {
        deposit_id: Some(large),
        wallet: Some(ann.wallet.wallet_ref.clone()),
        ..asked("sepa-file", "ASSIGN")
    };
    let owner = (ann.did.clone(), ann.key.clone());
    for (signers, refusal) in [
        (vec![], "APPROVAL_REQUIRED"),
        (vec![&first, &first], "APPROVAL_REQUIRED"),
        (vec![&first, &owner], "NOT_AN_APPROVER"),
    ] {
        let asked = approved(bank, assign.clone(), &signers);
        assert_eq!(correct(bank, &asked).await.unwrap_err(), refusal);
    }
    let both = [&first, &second];
    let order = approved(bank, assign.clone(), &both);
    let edited = CorrectRailRequest { reason: "another".into(), ..order.clone() };
    assert_eq!(correct(bank, &edited).await.unwrap_err(), "SIGNATURE_INVALID");
    let both_parts = CorrectRailRequest { amount: Some("1".into()), ..assign.clone() };
    assert_eq!(correct(bank, &approved(bank, both_parts, &both)).await.unwrap_err(), "INVALID_REQUEST");
    let other = CorrectRailRequest { rail: "evm".into(), ..assign.clone() };
    assert_eq!(correct(bank, &approved(bank, other, &both)).await.unwrap_err(), "RAIL_UNSUPPORTED");
    let loss = CorrectRailRequest { amount: Some("1".into()), ..asked("sepa-file", "WRITE_OFF") };
    assert_eq!(correct(bank, &approved(bank, loss, &both)).await.unwrap_err(), "INVALID_STATE");

    let given = correct(bank, &order).await.unwrap();
    assert_eq!((given.action.as_str(), given.amount.as_str()), ("ASSIGN", "25"));
    assert_eq!((given.deposit_id, given.wallet_id), (Some(large), Some(ann.wallet.wallet_id)));
    assert_eq!(bank.balance(&ann).await.0, "25");
    assert_eq!(desk.deposits(&ann).await, [("CREDITED".to_owned(), "25".to_owned())]);
    let again = approved(bank, assign, &both);
    assert_eq!(correct(bank, &again).await.unwrap_err(), "INVALID_STATE", "it is somebody's now");
    let off = CorrectRailRequest { deposit_id: Some(small), ..asked("sepa-file", "WRITE_OFF") };
    correct(bank, &approved(bank, off, &both)).await.unwrap();
    assert_eq!(suspense(bank, "sepa-file").await, []);
    let told = list(bank, "sepa-file").await.into_iter().map(|row| (row.action, row.reason));
    let row = |action: &str| (action.to_owned(), "ticket 12".to_owned());
    let told: std::collections::BTreeSet<_> = told.collect();
    assert_eq!(told, [row("ASSIGN"), row("WRITE_OFF")].into());
    let facts = audited(bank).await;
    assert_eq!(facts.len(), 2);
    assert!(facts.iter().all(|facts| facts["reason"] == "ticket 12" && facts["approvers"][1].is_string()));
    desk.close().await;
});

on_each_world!(a_payment_of_the_bank_that_the_books_took_for_a_cost_is_a_withdrawal, async |world: World| {
    let desk = Desk::open(world).await;
    let bank = &desk.bank;
    let ann = bank.person("ann", "100").await;
    let [first, second] = bank.approvers().await;
    let forgotten = [entry("R9", "40.00", "DBIT", "tx_00000000000000000000000000000001", "rent")];
    let taken = desk.take(statement("S-1", "500.00", "460.00", &forgotten)).await.unwrap();
    assert_eq!((taken.settled, taken.costs), (0, 1));
    let book = CorrectRailRequest {
        amount: Some("40".into()),
        wallet: Some(ann.wallet.wallet_ref.clone()),
        recipient: Some(TO.into()),
        reference: Some("R9".into()),
        ..asked("sepa-file", "BOOK_WITHDRAWAL")
    };
    let both = [&first, &second];
    for wrong in [
        CorrectRailRequest { amount: Some("41".into()), ..book.clone() },
        CorrectRailRequest { reference: Some("R8".into()), ..book.clone() },
    ] {
        assert_eq!(correct(bank, &approved(bank, wrong, &both)).await.unwrap_err(), "INVALID_STATE");
    }
    let booked = correct(bank, &approved(bank, book.clone(), &both)).await.unwrap();
    assert_eq!(bank.balance(&ann).await.0, "60");
    let path = WithdrawalPath { withdrawal_id: booked.withdrawal_id.unwrap() };
    let shown = ann.client.call::<GetWithdrawal>(&path).await.unwrap();
    assert_eq!((shown.status.as_str(), shown.amount.as_str()), ("SETTLED", "40"));
    assert_eq!(correct(bank, &approved(bank, book, &both)).await.unwrap_err(), "INVALID_STATE", "once");
    let more = [entry("R10", "1.00", "CRDT", "X", "")];
    assert_eq!(desk.take(statement("S-2", "460.00", "461.00", &more)).await.unwrap().difference, "0");
    desk.close().await;
});

on_each_world!(what_a_chain_shows_and_the_books_have_forgotten_is_booked, async |world: World| {
    let Some(harbour) = Harbour::open(world, true).await else { return };
    let bank = &harbour.bank;
    let ann = bank.person("ann", "100").await;
    harbour.fund(1_000 * COIN).await;
    let both = [identity("first"), identity("second")];
    let both = [&both[0], &both[1]];
    // The house's address pays, as it did before the store was put back: twice, and once nobody knows for whom.
    let sent = harbour.pays_unknown(STRANGER, 30 * COIN).await;
    let lost = harbour.pays_unknown(Anvil::RICH, 5 * COIN).await;
    harbour.anvil.mine(3);
    let paused = harbour.reconcile().await;
    assert_eq!(paused.status, "PAUSED");
    assert_eq!(paused.reconciled.unwrap().difference, "-35");
    let book = CorrectRailRequest {
        amount: Some("30".into()),
        wallet: Some(ann.wallet.wallet_ref.clone()),
        recipient: Some(STRANGER.into()),
        reference: Some(sent.clone()),
        ..asked("evm", "BOOK_WITHDRAWAL")
    };
    for wrong in [
        CorrectRailRequest { amount: Some("31".into()), ..book.clone() },
        CorrectRailRequest { recipient: Some(Anvil::RICH.into()), ..book.clone() },
        CorrectRailRequest { reference: Some(lost), ..book.clone() },
        CorrectRailRequest { reference: Some(harbour.send(STRANGER, 30 * COIN)), ..book.clone() },
    ] {
        harbour.anvil.mine(3);
        assert_eq!(correct(bank, &approved(bank, wrong, &both)).await.unwrap_err(), "INVALID_STATE");
    }
    let booked = correct(bank, &approved(bank, book.clone(), &both)).await.unwrap();
    assert_eq!(harbour.balance(&ann).await.0, "70");
    assert_eq!(correct(bank, &approved(bank, book, &both)).await.unwrap_err(), "INVALID_STATE", "once");
    let path = WithdrawalPath { withdrawal_id: booked.withdrawal_id.unwrap() };
    let shown = ann.client.call::<GetWithdrawal>(&path).await.unwrap();
    assert_eq!((shown.status.as_str(), shown.chain_hash), ("SETTLED", Some(sent)));
    // What nobody can say for whom it was is the house's loss, as far as the chain shows it and no further.
    assert_eq!(harbour.reconcile().await.reconciled.unwrap().difference, "-5");
    let loss = |amount: &str| {
        let asked = CorrectRailRequest { amount: Some(amount.into()), ..asked("evm", "WRITE_OFF") };
        approved(bank, asked, &both)
    };
    assert_eq!(correct(bank, &loss("6")).await.unwrap_err(), "INVALID_STATE");
    correct(bank, &loss("5")).await.unwrap();
    assert_eq!(correct(bank, &loss("5")).await.unwrap_err(), "INVALID_STATE", "not twice after one look");
    let state = harbour.reconcile().await;
    assert_eq!((state.status.as_str(), state.reconciled.unwrap().difference.as_str()), ("UP", "0"));
    let withdrawal = harbour.withdraw(&ann, &harbour.order(&ann, STRANGER, "10")).await.unwrap();
    harbour.visit().await;
    harbour.anvil.mine(3);
    harbour.visit().await;
    assert_eq!(harbour.withdrawal(&ann, &withdrawal).await.status, "SETTLED", "the rail goes on");
    harbour.close().await;
});
