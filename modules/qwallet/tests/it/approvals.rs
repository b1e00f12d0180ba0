//! Payments that others have to approve.

use futures_util::future::join_all;
use q_core::{Did, PageLimit, Span};
use q_runtime::Module;
use q_testkit::{World, identity, on_each_world};
use qwallet_api::{
    ApprovalRule, CreateBatch, CreateEscrow, CreatePayment, CreateSchedule, DecideIntent,
    DecideIntentRequest, GetApprovals, GetIntent, Intent, IntentPath, ListApprovals, ListApprovalsRequest,
    SetApprovals, SetApprovalsRequest, Threshold, WalletApprovals, WalletPath,
    signing::{self, APPROVAL_TYP, APPROVALS_TYP, ApprovalsOrder, REJECTION_TYP},
};

use crate::{
    escrows, schedules,
    support::{Approver, Bank, Person, code, fresh, intend, item, problem, sign_as, sign_it},
};

pub fn rule(required: u8, approvers: &[&Approver], above: &str) -> ApprovalRule {
    let mut approvers: Vec<Did> = approvers.iter().map(|(did, _)| did.clone()).collect();
    approvers.sort();
    ApprovalRule {
        above: vec![Threshold { amount: above.into(), currency: "QToken".into() }],
        approvers,
        required,
    }
}

pub fn change(person: &Person, replaces: u32, rule: ApprovalRule) -> SetApprovalsRequest {
    SetApprovalsRequest { squid_id: person.wallet.wallet_ref.clone(), replaces, rule, signatures: Vec::new() }
}

pub async fn set(person: &Person, asked: &SetApprovalsRequest) -> WalletApprovals {
    person.client.clone().with_key(fresh()).call::<SetApprovals>(asked).await.unwrap()
}

async fn refused(person: &Person, asked: &SetApprovalsRequest) -> String {
    code(person.client.clone().with_key(fresh()).call::<SetApprovals>(asked).await)
}

pub fn decision(intent: &Intent, is_approved: bool, (did, key): &Approver) -> DecideIntentRequest {
    let (decision, typ) = if is_approved { ("APPROVE", APPROVAL_TYP) } else { ("REJECT", REJECTION_TYP) };
    let signature = sign_as(typ, intent.signing_input.as_bytes(), did, key);
    DecideIntentRequest { intent_id: intent.intent_id, decision: decision.into(), signature }
}

pub async fn decide(bank: &Bank, asked: &DecideIntentRequest) -> Result<Intent, String> {
    // Nobody's token: the signature says who decides.
    let client = bank.world.client_as("qwallet", q_core::Caller::Anonymous).with_key(fresh());
    match client.call::<DecideIntent>(asked).await {
        Ok(intent) => Ok(intent),
        refused => Err(code(refused)),
    }
}

on_each_world!(two_of_three_approve_what_is_above_the_amount, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "1000").await, bank.person("bob", "0").await);
    let (one, two, three, stranger) =
        (identity("one"), identity("two"), identity("three"), identity("stranger"));
    let held = set(&ann, &change(&ann, 0, rule(2, &[&one, &two, &three], "100"))).await;
    assert_eq!((held.version, held.rule.required, held.pending), (1, 2, None));
    // Below it everything is as before.
    let small = bank.signed(bank.order(&ann, bob.did.as_str(), "100"), &ann);
    ann.client.clone().with_key(fresh()).call::<CreatePayment>(&small).await.unwrap();
    let large = bank.signed(bank.order(&ann, bob.did.as_str(), "100.01"), &ann);
    let told = problem(ann.client.clone().with_key(fresh()).call::<CreatePayment>(&large).await);
    assert_eq!((told.code.as_str(), told.status), ("APPROVAL_REQUIRED", 409));
    assert_eq!(told.extra["approvals"], serde_json::json!({ "given": 0, "required": 2 }));
    assert!(told.hint.unwrap_or_default().contains("POST /intents"));
    // Nor in pieces.
    let items = vec![item(bob.did.as_str(), "60"), item(bob.did.as_str(), "60")];
    let batch = bank.signed_batch(bank.batch(&ann, items), &ann);
    let in_pieces = ann.client.clone().with_key(fresh()).call::<CreateBatch>(&batch).await;
    assert_eq!(code(in_pieces), "APPROVAL_REQUIRED");
    // Nor as what nobody could approve when it is due, or at all: told is what can be approved.
    let monthly = schedules::asked(&bank, &ann, &bob, "200", "FREQ=MONTHLY");
    let monthly = schedules::signed(&bank, monthly, &ann, None);
    let mandate = problem(ann.client.clone().with_key(fresh()).call::<CreateSchedule>(&monthly).await);
    let escrow = escrows::signed(&bank, escrows::asked(&bank, &ann, &bob, "200", "order-1"), &ann);
    let escrow = problem(ann.client.clone().with_key(fresh()).call::<CreateEscrow>(&escrow).await);
    for (refused, instead) in [(mandate, "when it is due"), (escrow, "`into` escrow")] {
        assert_eq!(refused.code, "APPROVAL_REQUIRED");
        assert!(refused.hint.as_ref().unwrap().contains(instead), "{refused}");
    }

    let intent = intend(&ann, &bob, "200").await;
    assert_eq!(intent.next_action, "approve(2 of 3)");
    let told = problem(sign_it(&intent, &ann).await);
    assert_eq!(told.code, "APPROVAL_REQUIRED");
    let link = told.extra["link"].as_str().unwrap();
    assert!(link.contains(&format!("/qwallet/a/{}/", intent.intent_id)), "{link}");
    assert!(told.hint.unwrap().contains(link), "people see it too");
    assert_eq!(decide(&bank, &decision(&intent, true, &stranger)).await.unwrap_err(), "NOT_AN_APPROVER");
    let by_ann = (ann.did.clone(), ann.key.clone());
    assert_eq!(decide(&bank, &decision(&intent, true, &by_ann)).await.unwrap_err(), "SELF_APPROVAL");
    // A signature to reject does not approve, nor does one for another payment.
    let turned = DecideIntentRequest { decision: "APPROVE".into(), ..decision(&intent, false, &one) };
    assert_eq!(decide(&bank, &turned).await.unwrap_err(), "SIGNATURE_INVALID");
    let other = decision(&intend(&ann, &bob, "300").await, true, &one);
    let moved = DecideIntentRequest { intent_id: intent.intent_id, ..other };
    assert_eq!(decide(&bank, &moved).await.unwrap_err(), "SIGNATURE_INVALID");

    // An approver sees what waits, and who is none does not.
    let list = ListApprovalsRequest { cursor: None, limit: PageLimit::default() };
    let waiting = bank.world.client("qwallet", &one.0).call::<ListApprovals>(&list).await.unwrap();
    assert_eq!(waiting.items.len(), 2);
    let path = IntentPath { intent_id: intent.intent_id };
    bank.world.client("qwallet", &one.0).call::<GetIntent>(&path).await.unwrap();
    assert_eq!(
        code(bank.world.client("qwallet", &stranger.0).call::<GetIntent>(&path).await),
        "INTENT_NOT_FOUND"
    );

    for _ in 0..2 {
        // Twice by one person is still one.
        let approved = decide(&bank, &decision(&intent, true, &one)).await.unwrap();
        assert_eq!(approved.approvals.unwrap().given, 1);
    }
    assert_eq!(problem(sign_it(&intent, &ann).await).extra["approvals"]["given"], 1);
    assert_eq!(bank.balance(&ann).await.2, "0");
    let approved = decide(&bank, &decision(&intent, true, &two)).await.unwrap();
    assert_eq!(approved.approvals.unwrap().given, 2);
    assert_eq!(ann.client.call::<GetIntent>(&path).await.unwrap().next_action, "sign");
    sign_it(&intent, &ann).await.unwrap();
    assert_eq!(bank.balance(&ann).await.2, "201.2");
    assert_eq!(decide(&bank, &decision(&intent, false, &three)).await.unwrap_err(), "INVALID_STATE");
    let events = bank.module.db().outbox_after(0, 1_000).await.unwrap();
    let approvals = events.iter().filter(|row| row.event.topic == "q.qwallet.intent.approved.v1");
    assert_eq!(approvals.count(), 3);
    assert_eq!(bank.module.verify().await.unwrap(), []);
    bank.close().await;
});

on_each_world!(when_too_few_are_left_the_intent_is_cancelled, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "1000").await, bank.person("bob", "0").await);
    let (one, two, three) = (identity("one"), identity("two"), identity("three"));
    set(&ann, &change(&ann, 0, rule(2, &[&one, &two, &three], "100"))).await;
    let intent = intend(&ann, &bob, "200").await;
    assert_eq!(decide(&bank, &decision(&intent, false, &one)).await.unwrap().status, "PENDING");
    // Minds may be changed as long as it waits.
    decide(&bank, &decision(&intent, true, &two)).await.unwrap();
    let rejection = decision(&intent, false, &two);
    let client = bank.world.client_as("qwallet", q_core::Caller::Anonymous);
    for _ in 0..2 {
        let cancelled = client.clone().with_key("once").call::<DecideIntent>(&rejection).await.unwrap();
        assert_eq!((cancelled.status.as_str(), cancelled.next_action.as_str()), ("CANCELLED", "none"));
    }
    assert_eq!(code(sign_it(&intent, &ann).await), "INVALID_STATE");
    assert_eq!(decide(&bank, &decision(&intent, true, &three)).await.unwrap_err(), "INVALID_STATE");
    let late = intend(&ann, &bob, "200").await;
    bank.world.clock.advance(Span::seconds(600));
    assert_eq!(decide(&bank, &decision(&late, true, &three)).await.unwrap_err(), "INTENT_EXPIRED");
    let events = bank.module.db().outbox_after(0, 1_000).await.unwrap();
    let cancelled: Vec<_> =
        events.iter().filter(|row| row.event.topic == "q.qwallet.intent.cancelled.v1").collect();
    assert_eq!((cancelled.len(), &cancelled[0].event.data["reason"]), (1, &"REJECTED".into()));
    assert_eq!(bank.module.verify().await.unwrap(), []);
    bank.close().await;
});

on_each_world!(a_weaker_rule_waits_a_day_or_for_the_approvers, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "1000").await, bank.person("bob", "0").await);
    let (one, two) = (identity("one"), identity("two"));
    let none = || ApprovalRule { above: Vec::new(), approvers: Vec::new(), required: 0 };
    let by_ann = (ann.did.clone(), ann.key.clone());
    assert_eq!(refused(&ann, &change(&ann, 0, rule(1, &[&by_ann], "5"))).await, "SELF_APPROVAL");
    assert_eq!(refused(&ann, &change(&ann, 0, rule(2, &[&one], "5"))).await, "INVALID_REQUEST");
    let strong = rule(2, &[&one, &two], "100");
    assert_eq!(refused(&bob, &change(&ann, 0, strong.clone())).await, "WALLET_NOT_FOUND");
    set(&ann, &change(&ann, 0, strong.clone())).await;
    assert_eq!(refused(&ann, &change(&ann, 0, none())).await, "APPROVALS_CHANGED");
    let asked = set(&ann, &change(&ann, 1, none())).await;
    assert_eq!((&asked.rule, asked.pending.as_ref().unwrap().rule.required), (&strong, 0));
    let pay = async || {
        let order = bank.signed(bank.order(&ann, bob.did.as_str(), "101"), &ann);
        match ann.client.clone().with_key(fresh()).call::<CreatePayment>(&order).await {
            Ok(_) => "PAID".to_owned(),
            refused => code(refused),
        }
    };
    assert_eq!(pay().await, "APPROVAL_REQUIRED");
    bank.world.clock.advance(Span::seconds(86_399));
    assert_eq!(pay().await, "APPROVAL_REQUIRED");
    bank.world.clock.advance(Span::seconds(2));
    assert_eq!(pay().await, "PAID");
    // Stronger at once.
    let again = set(&ann, &change(&ann, 2, strong.clone())).await;
    assert_eq!((again.version, &again.rule, &again.pending), (3, &strong, &None));
    assert_eq!(pay().await, "APPROVAL_REQUIRED");
    // With the approvers at once; each signature is good for this change alone.
    let signed = |replaces: u32, rule: &ApprovalRule, signers: &[&Approver]| {
        let input = signing::signing_input(&ApprovalsOrder {
            above: &rule.above,
            approvers: &rule.approvers,
            aud: bank.world.instance.did.as_str(),
            replaces,
            required: rule.required,
            v: 1,
            wallet: &ann.wallet.wallet_ref,
        });
        let by = signers.iter().map(|(did, key)| sign_as(APPROVALS_TYP, &input, did, key)).collect();
        SetApprovalsRequest { signatures: by, ..change(&ann, replaces, rule.clone()) }
    };
    let stranger = identity("stranger");
    assert_eq!(refused(&ann, &signed(3, &none(), &[&one, &stranger])).await, "NOT_AN_APPROVER");
    let edited = SetApprovalsRequest { rule: none(), ..signed(3, &rule(1, &[&one], "100"), &[&one, &two]) };
    assert_eq!(refused(&ann, &edited).await, "SIGNATURE_INVALID");
    let by_one = set(&ann, &signed(3, &none(), &[&one, &one])).await;
    assert_eq!((&by_one.rule, by_one.version), (&strong, 4));
    let both = signed(4, &none(), &[&one, &two]);
    assert_eq!(set(&ann, &both).await.rule, none());
    assert_eq!(refused(&ann, &both).await, "APPROVALS_CHANGED");
    assert_eq!(pay().await, "PAID");
    let path = WalletPath { squid_id: ann.wallet.wallet_ref.clone() };
    assert_eq!(code(bob.client.call::<GetApprovals>(&path).await), "WALLET_NOT_FOUND");
    assert_eq!(ann.client.call::<GetApprovals>(&path).await.unwrap().version, 5);
    assert_eq!(bank.module.verify().await.unwrap(), []);
    bank.close().await;
});

on_each_world!(approvals_of_a_former_approver_no_longer_count, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "1000").await, bank.person("bob", "0").await);
    let (one, two) = (identity("one"), identity("two"));
    set(&ann, &change(&ann, 0, rule(1, &[&one, &two], "100"))).await;
    let intent = intend(&ann, &bob, "200").await;
    decide(&bank, &decision(&intent, true, &two)).await.unwrap();
    set(&ann, &change(&ann, 1, rule(1, &[&one], "100"))).await;
    assert_eq!(code(sign_it(&intent, &ann).await), "APPROVAL_REQUIRED");
    decide(&bank, &decision(&intent, true, &one)).await.unwrap();
    sign_it(&intent, &ann).await.unwrap();
    bank.close().await;
});

on_each_world!(an_approval_races_with_a_hundred_signatures_and_one_holds, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "1000").await, bank.person("bob", "0").await);
    let one = identity("one");
    set(&ann, &change(&ann, 0, rule(1, &[&one], "100"))).await;
    let intent = intend(&ann, &bob, "200").await;
    let early = join_all((0..20).map(|_| sign_it(&intent, &ann)));
    let approval = decision(&intent, true, &one);
    let (early, approved) = tokio::join!(early, decide(&bank, &approval));
    approved.map(drop).or_else(|code| if code == "INVALID_STATE" { Ok(()) } else { Err(code) }).unwrap();
    let held_early = early.into_iter().flatten().count();
    let held_late = join_all((0..20).map(|_| sign_it(&intent, &ann))).await.into_iter().flatten().count();
    assert_eq!(held_early + held_late, 1);
    assert_eq!(bank.balance(&ann).await.2, "201.2");
    bank.close().await;
});

on_each_world!(a_rejection_stands_and_rules_are_told, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "1000").await, bank.person("bob", "0").await);
    let (one, two, firm) = (identity("one"), identity("two"), identity("firm"));
    // Of an undertaking she is the second owner of, she holds a key too.
    bank.stands("firm", q_core::IdentityKind::Enterprise, &[&bob, &ann]);
    assert_eq!(refused(&ann, &change(&ann, 0, rule(1, &[&firm], "100"))).await, "SELF_APPROVAL");
    set(&ann, &change(&ann, 0, rule(1, &[&one, &two], "100"))).await;
    let intent = intend(&ann, &bob, "200").await;
    let early = decision(&intent, true, &one);
    decide(&bank, &early).await.unwrap();
    assert_eq!(decide(&bank, &decision(&intent, false, &one)).await.unwrap().status, "PENDING");
    // The signature from before, handed in once more by whoever kept it, does not undo the rejection.
    assert_eq!(decide(&bank, &early).await.unwrap_err(), "INVALID_STATE");
    assert_eq!(code(sign_it(&intent, &ann).await), "APPROVAL_REQUIRED");
    decide(&bank, &decision(&intent, true, &two)).await.unwrap();
    sign_it(&intent, &ann).await.unwrap();
    // Approvers hear of a weaker rule before it holds.
    let none = ApprovalRule { above: Vec::new(), approvers: Vec::new(), required: 0 };
    let pending = set(&ann, &change(&ann, 1, none)).await.pending.unwrap();
    let events = bank.module.db().outbox_after(0, 1_000).await.unwrap();
    let told: Vec<_> =
        events.iter().filter(|row| row.event.topic == "q.qwallet.wallet.approvals.v1").collect();
    assert_eq!(told.len(), 2);
    assert_eq!(told[1].event.data["effectiveAt"], pending.effective_at.to_string());
    assert_eq!(told[1].event.data["approvers"].as_array().unwrap().len(), 2);
    assert_eq!(bank.module.verify().await.unwrap(), []);
    for (sql, finding) in [
        ("UPDATE intent_approvals SET is_approved = 1 - is_approved", "approval_mismatch"),
        (
            "UPDATE intent_approvals SET is_approved = 1 - is_approved, \
          signature = SUBSTR(signature, 1, LENGTH(signature) - 8) || 'AAAAAAAA'",
            "approval_mismatch",
        ),
        ("UPDATE accounts SET is_guarded = 0", "approvals_unmarked"),
    ] {
        bank.module.db().write(move |tx| tx.execute(sql, &[])).await.unwrap();
        let findings = bank.module.verify().await.unwrap();
        assert!(findings.iter().any(|found| found.code == finding), "{sql}: {findings:?}");
        if sql.contains("SUBSTR") {
            let is_told = |found: &q_runtime::Finding| found.detail.contains("does not hold");
            assert!(
                findings.iter().all(is_told),
                "it is what was decided, and nobody signed it: {findings:?}"
            );
        }
    }
    bank.world.abandon().await;
});
