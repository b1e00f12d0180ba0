//! Withdrawals obey what payments obey: approvals of others, a second key, an undertaking's list.

use q_core::IdentityKind;
use q_runtime::Module;
use q_testkit::{World, identity, on_each_world};
use qwallet_api::{
    ApprovalRule, CancelWithdrawal, CreateWithdrawal, DecideWithdrawal, DecideWithdrawalRequest,
    GetWithdrawal, ListWaitingWithdrawals, ListWaitingWithdrawalsRequest, MakePayouts, RailPath,
    RailWithdrawal, SetApprovals, SetApprovalsRequest, Threshold, UpdateWallet, UpdateWalletRequest,
    Withdrawal, WithdrawalPath, WithdrawalRequest,
    signing::{APPROVAL_TYP, REJECTION_TYP},
};

use crate::{
    bank::{Desk, TO},
    step_up::proven,
    support::{Bank, Person, code, fresh, problem, settings, sign_as},
};

const OTHER: &str = "payto://iban/DE89370400440532013000?receiver-name=Bo";

/// Above 10, two of these.
async fn guard(payer: &Person, approvers: &[&Person]) {
    let rule = ApprovalRule {
        above: vec![Threshold { amount: "10".into(), currency: "QToken".into() }],
        approvers: approvers.iter().map(|approver| approver.did.clone()).collect(),
        required: 2,
    };
    let squid_id = payer.wallet.wallet_ref.clone();
    let request = SetApprovalsRequest { squid_id, replaces: 0, rule, signatures: Vec::new() };
    payer.client.clone().with_key(fresh()).call::<SetApprovals>(&request).await.unwrap();
}

async fn decide(
    bank: &Bank,
    order: &WithdrawalRequest,
    withdrawal: &Withdrawal,
    by: &Person,
    is_approved: bool,
) -> Result<Withdrawal, String> {
    let (decision, typ) = if is_approved { ("APPROVE", APPROVAL_TYP) } else { ("REJECT", REJECTION_TYP) };
    let signature = sign_as(typ, &bank.withdrawal_input(order), &by.did, &by.key);
    let withdrawal_id = withdrawal.withdrawal_id;
    let request = DecideWithdrawalRequest { withdrawal_id, decision: decision.into(), signature };
    let decided = by.client.clone().with_key(fresh()).call::<DecideWithdrawal>(&request).await;
    decided.map_err(|refused| code(Err::<(), _>(refused)))
}

async fn waiting(person: &Person) -> usize {
    let request = ListWaitingWithdrawalsRequest {};
    person.client.call::<ListWaitingWithdrawals>(&request).await.unwrap().items.len()
}

on_each_world!(
    a_large_withdrawal_waits_for_others_and_leaves_with_the_last_approval,
    async |world: World| {
        let desk = Desk::open(world).await;
        let bank = &desk.bank;
        let ann = bank.person("ann", "100").await;
        let (cy, di, ed) =
            (bank.person("cy", "0").await, bank.person("di", "0").await, bank.person("ed", "0").await);
        guard(&ann, &[&cy, &di, &ed]).await;
        assert_eq!(desk.withdraw(&ann, TO, "10").await.unwrap().status, "PENDING", "not above it");
        let order = bank.withdrawal(&ann, "sepa-file", TO, "40");
        let client = ann.client.clone().with_key("once");
        let asked = client.call::<CreateWithdrawal>(&order).await.unwrap();
        assert_eq!(asked.status, "AWAITING_APPROVAL");
        let approvals = asked.approvals.clone().unwrap();
        assert_eq!((approvals.given, approvals.required, approvals.approvers.len()), (0, 2, 3));
        assert_eq!(bank.balance(&ann).await.2, "10.55", "only the first is held");
        let again = client.call::<CreateWithdrawal>(&order).await.unwrap();
        assert_eq!((again.withdrawal_id, again.status.as_str()), (asked.withdrawal_id, "AWAITING_APPROVAL"));
        let other = bank.withdrawal(&ann, "sepa-file", TO, "41");
        assert_eq!(code(client.call::<CreateWithdrawal>(&other).await), "IDEMPOTENCY_KEY_REUSED");

        assert_eq!((waiting(&cy).await, waiting(&ann).await), (1, 0));
        let path = WithdrawalPath { withdrawal_id: asked.withdrawal_id };
        let seen = cy.client.call::<GetWithdrawal>(&path).await.unwrap();
        assert_eq!(seen.signing_input.unwrap().into_bytes(), bank.withdrawal_input(&order));
        let stranger = bank.person("stranger", "0").await;
        assert_eq!(code(stranger.client.call::<GetWithdrawal>(&path).await), "TRANSACTION_NOT_FOUND");
        assert_eq!(decide(bank, &order, &asked, &stranger, true).await.unwrap_err(), "NOT_AN_APPROVER");
        assert_eq!(decide(bank, &order, &asked, &ann, true).await.unwrap_err(), "SELF_APPROVAL");
        assert_eq!(decide(bank, &other, &asked, &cy, true).await.unwrap_err(), "SIGNATURE_INVALID");
        let one = decide(bank, &order, &asked, &cy, true).await.unwrap();
        assert_eq!((one.status.as_str(), one.approvals.unwrap().given), ("AWAITING_APPROVAL", 1));
        assert_eq!(waiting(&cy).await, 0, "who decided has nothing to decide");
        // The same person again is no second person.
        assert_eq!(decide(bank, &order, &asked, &cy, true).await.unwrap().status, "AWAITING_APPROVAL");
        let two = decide(bank, &order, &asked, &di, true).await.unwrap();
        assert_eq!((two.status.as_str(), two.approvals.unwrap().given), ("PENDING", 2));
        assert_eq!(bank.balance(&ann).await.2, "51.25");
        assert_eq!(decide(bank, &order, &asked, &ed, true).await.unwrap_err(), "INVALID_STATE");
        assert_eq!(client.call::<CreateWithdrawal>(&order).await.unwrap().status, "PENDING");
        bank.world.make_operator(&identity("operator").0);
        let file = desk.operator().call::<MakePayouts>(&RailPath { rail: "sepa-file".into() }).await.unwrap();
        assert!(file.document.contains(&asked.withdrawal_id.to_string()), "it leaves as any other");
        desk.close().await;
    }
);

on_each_world!(what_too_many_reject_or_nobody_can_pay_does_not_leave, async |world: World| {
    let desk = Desk::open(world).await;
    let bank = &desk.bank;
    let ann = bank.person("ann", "30").await;
    let (cy, di, ed) =
        (bank.person("cy", "0").await, bank.person("di", "0").await, bank.person("ed", "0").await);
    guard(&ann, &[&cy, &di, &ed]).await;
    let ask = async |order: &WithdrawalRequest| {
        ann.client.clone().with_key(fresh()).call::<CreateWithdrawal>(order).await.unwrap()
    };
    let order = bank.withdrawal(&ann, "sepa-file", TO, "20");
    let asked = ask(&order).await;
    decide(bank, &order, &asked, &cy, false).await.unwrap();
    assert_eq!(decide(bank, &order, &asked, &cy, true).await.unwrap_err(), "INVALID_STATE");
    let over = decide(bank, &order, &asked, &di, false).await.unwrap();
    assert_eq!(over.status, "CANCELLED");
    let events = bank.module.db().events_after(0, 10_000, None).await.unwrap();
    let is_told = events
        .iter()
        .filter_map(|row| row.event.payload::<RailWithdrawal>())
        .any(|told| told.withdrawal_id == asked.withdrawal_id && told.status == "CANCELLED");
    assert!(is_told, "its payer is told");
    assert_eq!(decide(bank, &order, &asked, &ed, true).await.unwrap_err(), "INVALID_STATE");

    // Approved, and the money is not there: it says so, and is tried again when somebody asks again.
    let order = bank.withdrawal(&ann, "sepa-file", TO, "40");
    let asked = ask(&order).await;
    decide(bank, &order, &asked, &cy, true).await.unwrap();
    let poor = decide(bank, &order, &asked, &di, true).await.unwrap();
    assert_eq!(poor.status, "AWAITING_APPROVAL");
    assert!(poor.reason.unwrap().contains("does not hold enough"));
    bank.mint(&ann, "100").await;
    assert_eq!(ask(&order).await.status, "PENDING");

    // An order lapses with its time, approved or not.
    let order = bank.withdrawal(&ann, "sepa-file", TO, "12");
    let asked = ask(&order).await;
    decide(bank, &order, &asked, &cy, true).await.unwrap();
    bank.world.clock.advance(q_core::Span::seconds(601));
    assert_eq!(decide(bank, &order, &asked, &di, true).await.unwrap_err(), "INTENT_EXPIRED");
    let path = WithdrawalPath { withdrawal_id: asked.withdrawal_id };
    assert_eq!(ann.client.call::<GetWithdrawal>(&path).await.unwrap().status, "EXPIRED");
    desk.close().await;
});

on_each_world!(a_payer_takes_back_what_waits_and_nothing_else, async |world: World| {
    let desk = Desk::open(world).await;
    let bank = &desk.bank;
    let ann = bank.person("ann", "100").await;
    let (cy, di) = (bank.person("cy", "0").await, bank.person("di", "0").await);
    guard(&ann, &[&cy, &di]).await;
    let order = bank.withdrawal(&ann, "sepa-file", TO, "40");
    let ask = async || ann.client.clone().with_key(fresh()).call::<CreateWithdrawal>(&order).await.unwrap();
    let asked = ask().await;
    decide(bank, &order, &asked, &cy, true).await.unwrap();
    let path = WithdrawalPath { withdrawal_id: asked.withdrawal_id };
    let cancel =
        async |by: &Person, key: &str| by.client.clone().with_key(key).call::<CancelWithdrawal>(&path).await;
    assert_eq!(code(cancel(&cy, "a").await), "TRANSACTION_NOT_FOUND", "an approver rejects it");
    assert_eq!(code(cancel(&bank.person("bo", "0").await, "b").await), "TRANSACTION_NOT_FOUND");
    let cancelled = cancel(&ann, "c").await.unwrap();
    assert_eq!(
        (cancelled.status.as_str(), cancelled.reason.unwrap().as_str()),
        ("CANCELLED", "its payer took it back")
    );
    assert_eq!(cancel(&ann, "c").await.unwrap().status, "CANCELLED", "the same request again");
    let again = problem(cancel(&ann, "d").await);
    assert_eq!((again.code.as_str(), again.status), ("INVALID_STATE", 409));
    assert!(again.detail.unwrap().contains("sign a new order"));
    let events = bank.module.db().events_after(0, 10_000, None).await.unwrap();
    let told = events.iter().filter_map(|row| row.event.payload::<RailWithdrawal>());
    let told: Vec<String> = told.map(|told| told.status).collect();
    assert_eq!(told, ["AWAITING_APPROVAL", "CANCELLED"]);

    // Its order is worth nothing any more, whoever approves it or hands it in.
    assert_eq!(decide(bank, &order, &asked, &di, true).await.unwrap_err(), "INVALID_STATE");
    assert_eq!(ask().await.status, "CANCELLED");
    assert_eq!((waiting(&di).await, bank.balance(&ann).await.2.as_str()), (0, "0"));
    assert_eq!(ann.client.call::<GetWithdrawal>(&path).await.unwrap().status, "CANCELLED");

    // What is held is on its way, approved or not.
    let order = bank.withdrawal(&ann, "sepa-file", TO, "20");
    let approved = ann.client.clone().with_key(fresh()).call::<CreateWithdrawal>(&order).await.unwrap();
    decide(bank, &order, &approved, &cy, true).await.unwrap();
    decide(bank, &order, &approved, &di, true).await.unwrap();
    let small = desk.withdraw(&ann, TO, "10").await.unwrap();
    for held in [approved.withdrawal_id, small.withdrawal_id] {
        let path = WithdrawalPath { withdrawal_id: held };
        let refused = problem(ann.client.clone().with_key(fresh()).call::<CancelWithdrawal>(&path).await);
        assert_eq!(refused.code, "INVALID_STATE");
        assert!(refused.detail.unwrap().contains("on its way"));
        assert_eq!(ann.client.call::<GetWithdrawal>(&path).await.unwrap().status, "PENDING");
    }

    // What lapsed is not cancelled on top.
    let order = bank.withdrawal(&ann, "sepa-file", TO, "12");
    let lapsed = ann.client.clone().with_key(fresh()).call::<CreateWithdrawal>(&order).await.unwrap();
    bank.world.clock.advance(q_core::Span::seconds(601));
    let path = WithdrawalPath { withdrawal_id: lapsed.withdrawal_id };
    let refused = problem(ann.client.clone().with_key(fresh()).call::<CancelWithdrawal>(&path).await);
    assert!(refused.detail.unwrap().contains("lapsed"));
    assert_eq!(ann.client.call::<GetWithdrawal>(&path).await.unwrap().status, "EXPIRED");
    assert_eq!(bank.module.verify().await.unwrap(), []);
    desk.close().await;
});

on_each_world!(a_large_withdrawal_needs_a_second_key, async |world: World| {
    let text = |text: &'static str| text;
    let bank = Bank::open_with(
        world,
        settings(&[
            ("limit_transaction", "none"),
            ("limit_daily", "none"),
            ("limit_monthly", "none"),
            ("rail_sepa_iban", text("DE75512108001245126199")),
            ("rail_sepa_name", "The House"),
        ]),
    )
    .await;
    let ann = bank.person("ann", "9000").await;
    let order = |amount: &str| {
        let order = bank.withdrawal(&ann, "sepa-file", TO, amount);
        let order = WithdrawalRequest { max_fees: "100".into(), ..order };
        let signature = crate::support::sign(&bank.withdrawal_input(&order), &ann.did, &ann.key);
        WithdrawalRequest { signature, ..order }
    };
    let plain = || ann.client.clone().with_key(fresh());
    assert_eq!(plain().call::<CreateWithdrawal>(&order("1000")).await.unwrap().status, "PENDING");
    let large = order("1000.01");
    let refused = problem(plain().call::<CreateWithdrawal>(&large).await);
    assert_eq!((refused.code.as_str(), refused.status), ("MFA_REQUIRED", 403));
    assert_eq!(proven(&bank, &ann).call::<CreateWithdrawal>(&large).await.unwrap().status, "PENDING");
    // What others have to approve needs it too, and before they are asked.
    let (cy, di) = (bank.person("cy", "0").await, bank.person("di", "0").await);
    guard(&ann, &[&cy, &di]).await;
    let large = order("1500");
    assert_eq!(code(plain().call::<CreateWithdrawal>(&large).await), "MFA_REQUIRED");
    let asked = proven(&bank, &ann).call::<CreateWithdrawal>(&large).await.unwrap();
    assert_eq!(asked.status, "AWAITING_APPROVAL");
    decide(&bank, &large, &asked, &cy, true).await.unwrap();
    assert_eq!(decide(&bank, &large, &asked, &di, true).await.unwrap().status, "PENDING");
    assert_eq!(bank.module.verify().await.unwrap(), []);
    bank.close().await;
});

on_each_world!(money_of_an_undertaking_leaves_only_to_addresses_on_its_list, async |world: World| {
    let desk = Desk::open(world).await;
    let bank = &desk.bank;
    bank.stands("firm", IdentityKind::Enterprise, &[]);
    let (firm, bob) = (bank.person("firm", "100").await, bank.person("bob", "0").await);
    assert_eq!(desk.withdraw(&firm, OTHER, "10").await.unwrap().status, "PENDING", "without a list");
    let allow = async |names: &[&str]| {
        let request = UpdateWalletRequest {
            squid_id: firm.wallet.wallet_ref.clone(),
            allowed_recipients: Some(names.iter().map(|name| (*name).to_owned()).collect()),
            ..UpdateWalletRequest::default()
        };
        firm.client.clone().with_key(fresh()).call::<UpdateWallet>(&request).await
    };
    assert_eq!(code(allow(&["sepa-file:payto://iban/DE00?receiver-name=Bo"]).await), "ADDRESS_INVALID");
    allow(&[bob.wallet.wallet_ref.as_str()]).await.unwrap();
    assert_eq!(desk.withdraw(&firm, TO, "10").await.unwrap_err(), "FORBIDDEN");
    let listed = format!("sepa-file:{TO}");
    let wallet = allow(&[bob.wallet.wallet_ref.as_str(), listed.as_str()]).await.unwrap();
    assert_eq!((wallet.allowed_recipients.unwrap().len(), wallet.allowed_addresses.len()), (1, 1));
    assert_eq!(desk.withdraw(&firm, TO, "10").await.unwrap().status, "PENDING");
    assert_eq!(desk.withdraw(&firm, OTHER, "10").await.unwrap_err(), "FORBIDDEN");
    let everybody = allow(&["*"]).await.unwrap();
    assert!(everybody.allowed_recipients.is_none() && everybody.allowed_addresses.is_empty());
    assert_eq!(desk.withdraw(&firm, OTHER, "10").await.unwrap().status, "PENDING");
    desk.close().await;
});
