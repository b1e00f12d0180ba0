//! What two operators set right on a rail: money that came in for nobody, what a restored store has forgotten, a loss.

use q_core::{IdentityKind, Span};
use q_oracle::Anvil;
use q_runtime::Module;
use q_testkit::{World, identity, on_each_world};
use qwallet_api::{
    CorrectRail, CorrectRailRequest, CreditLimit, GetWithdrawal, ListRailCorrections, ListSuspense,
    RAIL_CORRECTION_TYP, RailCorrection, RailCorrectionOrder, RailPath, TransactionId, UpdateWallet,
    UpdateWalletRequest, Withdrawal, WithdrawalPath, signing,
};

use crate::{
    bank::{Desk, TO, entry, statement},
    rails::{COIN, Harbour, STRANGER},
    support::{Approver, Bank, Person, code, fresh, problem, sign_as},
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
    let loss = |amount: &str| {
        let asked = CorrectRailRequest { amount: Some(amount.into()), ..asked("evm", "WRITE_OFF") };
        approved(bank, asked, &both)
    };
    assert_eq!(
        correct(bank, &loss("30")).await.unwrap_err(),
        "INVALID_STATE",
        "that look missed what is booked"
    );
    assert_eq!(correct(bank, &loss("5")).await.unwrap_err(), "INVALID_STATE", "look again first");
    bank.world.clock.advance(Span::seconds(1));
    assert_eq!(harbour.reconcile().await.reconciled.unwrap().difference, "-5");
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

/// A payment that the backup knows as a withdrawal still to be sent.
async fn restored(harbour: &Harbour, sent: &str, withdrawal: &Withdrawal) {
    let bank = &harbour.bank;
    harbour.anvil.mine(3);
    bank.module.service().pause_restored_rails("b-1").await.unwrap();
    let state = harbour.reconcile().await;
    let told = state.reason.unwrap();
    assert_eq!((state.status.as_str(), state.reconciled.unwrap().difference.as_str()), ("PAUSED", "-30"));
    assert!(told.contains(sent) && told.contains(&withdrawal.withdrawal_id.to_string()), "{told}");
}

/// Books it, and sees that it was one payment of one withdrawal.
async fn booked_once(harbour: Harbour, payer: &Person, sent: String, withdrawal: &Withdrawal) {
    let bank = &harbour.bank;
    let both = [identity("first"), identity("second")];
    let both = [&both[0], &both[1]];
    let loss = CorrectRailRequest { amount: Some("30".into()), ..asked("evm", "WRITE_OFF") };
    assert_eq!(
        correct(bank, &approved(bank, loss, &both)).await.unwrap_err(),
        "INVALID_STATE",
        "it is no loss"
    );
    let book = CorrectRailRequest {
        amount: Some("30".into()),
        wallet: Some(payer.wallet.wallet_ref.clone()),
        recipient: Some(STRANGER.into()),
        reference: Some(sent.clone()),
        ..asked("evm", "BOOK_WITHDRAWAL")
    };
    let booked = correct(bank, &approved(bank, book.clone(), &both)).await.unwrap();
    assert_eq!((booked.withdrawal_id, booked.amount.as_str()), (Some(withdrawal.withdrawal_id), "30"));
    let shown = harbour.withdrawal(payer, withdrawal).await;
    assert_eq!((shown.status.as_str(), shown.chain_hash), ("SETTLED", Some(sent)));
    assert_eq!(
        harbour.balance(payer).await,
        ("69.6".into(), "0".into(), "0".into()),
        "what was held is posted"
    );
    assert_eq!(correct(bank, &approved(bank, book, &both)).await.unwrap_err(), "INVALID_STATE", "once");
    bank.world.clock.advance(Span::seconds(1));
    let state = harbour.reconcile().await;
    assert_eq!((state.status.as_str(), state.reconciled.unwrap().difference.as_str()), ("UP", "0"));
    for _ in 0..2 {
        harbour.visit().await;
        harbour.anvil.mine(3);
    }
    assert_eq!(harbour.held_by(STRANGER), 30 * COIN, "the recipient got it once");
    let next = harbour.withdraw(payer, &harbour.order(payer, STRANGER, "10")).await.unwrap();
    harbour.visit().await;
    harbour.anvil.mine(3);
    harbour.visit().await;
    assert_eq!(harbour.withdrawal(payer, &next).await.status, "SETTLED", "under the next number");
    harbour.close().await;
}

on_each_world!(a_withdrawal_that_left_after_the_backup_ends_as_it_left, async |world: World| {
    let Some(harbour) = Harbour::open(world, true).await else { return };
    let ann = harbour.bank.person("ann", "100").await;
    harbour.fund(1_000 * COIN).await;
    // The backup was taken here: it is held, and has no number.
    let withdrawal = harbour.withdraw(&ann, &harbour.order(&ann, STRANGER, "30")).await.unwrap();
    let sent = harbour.pays_unknown(STRANGER, 30 * COIN).await;
    restored(&harbour, &sent, &withdrawal).await;
    booked_once(harbour, &ann, sent, &withdrawal).await;
});

on_each_world!(a_higher_offer_made_after_the_backup_ends_the_withdrawal_it_was_for, async |world: World| {
    let Some(harbour) = Harbour::open(world, true).await else { return };
    let ann = harbour.bank.person("ann", "100").await;
    harbour.fund(1_000 * COIN).await;
    let withdrawal = harbour.withdraw(&ann, &harbour.order(&ann, STRANGER, "30")).await.unwrap();
    harbour.anvil.stop_mining();
    harbour.visit().await;
    // The backup was taken here: another offer under the same number is what a block took.
    let offered = harbour.withdrawal(&ann, &withdrawal).await.chain_hash.unwrap();
    harbour.anvil.call("anvil_dropTransaction", &format!(r#"["{offered}"]"#));
    harbour.anvil.go_on_mining();
    let sent = harbour.pays_unknown(STRANGER, 30 * COIN).await;
    assert_ne!(sent, offered);
    restored(&harbour, &sent, &withdrawal).await;
    assert_eq!(harbour.withdrawal(&ann, &withdrawal).await.status, "BROADCASTING", "nothing is given back");
    booked_once(harbour, &ann, sent, &withdrawal).await;
});

on_each_world!(what_has_left_is_booked_on_a_frozen_wallet_and_on_one_with_credit, async |world: World| {
    let desk = Desk::open(world).await;
    let bank = &desk.bank;
    let ann = bank.person("ann", "30").await;
    let operators = bank.operators().await;
    let [first, second] = [identity("first"), identity("second")];
    let both = [&first, &second];
    let left =
        ["R1", "R2"].map(|name| entry(name, "20.00", "DBIT", "tx_00000000000000000000000000000001", ""));
    assert_eq!(desk.take(statement("S-1", "500.00", "460.00", &left)).await.unwrap().costs, 2);
    let book = |reference: &str| {
        let asked = CorrectRailRequest {
            amount: Some("20".into()),
            wallet: Some(ann.wallet.wallet_ref.clone()),
            recipient: Some(TO.into()),
            reference: Some(reference.into()),
            ..asked("sepa-file", "BOOK_WITHDRAWAL")
        };
        approved(bank, asked, &both)
    };
    let frozen = UpdateWalletRequest {
        squid_id: ann.wallet.wallet_ref.clone(),
        status: Some("FROZEN".into()),
        ..UpdateWalletRequest::default()
    };
    ann.client.clone().with_key(fresh()).call::<UpdateWallet>(&frozen).await.unwrap();
    // What the bank took and what a crash left half booked is not somebody's withdrawal yet.
    let half = |status: i64| {
        bank.module.db().write(move |tx| {
            tx.execute("UPDATE outgoing SET status = $1 WHERE hash = 'R1'", q_db::params![status])
        })
    };
    half(3).await.unwrap();
    assert_eq!(correct(bank, &book("R1")).await.unwrap_err(), "INVALID_STATE");
    half(4).await.unwrap();
    correct(bank, &book("R1")).await.unwrap();
    assert_eq!(bank.balance(&ann).await.0, "10", "a freeze does not bring back what has left");

    let client = bank.world.client("qwallet", &identity("first").0).with_key(fresh());
    let refused = problem(client.call::<CorrectRail>(&book("R2")).await);
    assert_eq!(refused.code, "INSUFFICIENT_FUNDS");
    assert!(refused.detail.unwrap().contains("creditLimit"));
    let credit = UpdateWalletRequest {
        squid_id: ann.wallet.wallet_ref.clone(),
        credit_limit: Some(CreditLimit { currency: "QToken".into(), amount: "10".into() }),
        ..UpdateWalletRequest::default()
    };
    let credit = bank.approved(credit, &[&operators[0], &operators[1]]);
    operators[0].client.clone().with_key(fresh()).call::<UpdateWallet>(&credit).await.unwrap();
    correct(bank, &book("R2")).await.unwrap();
    let (available, ..) = bank.balance(&ann).await;
    assert_eq!(available, "0");
    desk.close().await;
});

on_each_world!(nobody_close_to_a_wallet_corrects_a_rail_in_its_favour, async |world: World| {
    let desk = Desk::open(world).await;
    let bank = &desk.bank;
    let ann = bank.person("ann", "0").await;
    let both = bank.approvers().await;
    let both = [&both[0], &both[1]];
    desk.take(statement("S-1", "0.00", "25.00", &[entry("R1", "25.00", "CRDT", "X", "")])).await.unwrap();
    let assign = CorrectRailRequest {
        deposit_id: Some(suspense(bank, "sepa-file").await[0].0),
        wallet: Some(ann.wallet.wallet_ref.clone()),
        ..asked("sepa-file", "ASSIGN")
    };
    bank.stands("second", IdentityKind::Consentida, &[&ann]);
    let order = approved(bank, assign.clone(), &both);
    assert_eq!(correct(bank, &order).await.unwrap_err(), "NOT_AN_APPROVER");
    let bob = bank.person("bob", "0").await;
    let to_bob = CorrectRailRequest { wallet: Some(bob.wallet.wallet_ref.clone()), ..assign };
    correct(bank, &approved(bank, to_bob, &both)).await.unwrap();
    assert_eq!(bank.module.verify().await.unwrap(), []);
    // Whose it is, two signed: `verify` notices when the rows say it is another's.
    let ann = ann.wallet.wallet_id;
    let touched = bank.module.db().write(move |tx| {
        let ann = ann.bytes();
        tx.execute("UPDATE deposits SET wallet = $1", q_db::params![ann])?;
        tx.execute("UPDATE rail_corrections SET wallet = $1", q_db::params![ann])
    });
    assert_eq!(touched.await.unwrap(), 1);
    let found = bank.module.verify().await.unwrap();
    assert!(found.iter().any(|finding| finding.code == "correction_mismatch"), "{found:?}");
    desk.bank.world.abandon().await;
});
