//! Changing wallets: one person stops one, two let it go on; what is stopped neither pays nor is paid.

use q_core::IdentityKind;
use q_testkit::{World, on_each_world};
use qwallet_api::{
    CreatePayment, CreditLimit, GetEscrow, GetWallet, NewLimit, Pay, PayRequest, ReleaseEscrow, UpdateWallet,
    UpdateWalletRequest, Wallet, WalletPath,
};

use crate::support::{Bank, Person, code, fresh, intend, problem, sign_it};

fn asked(person: &Person, status: &str) -> UpdateWalletRequest {
    UpdateWalletRequest {
        squid_id: person.wallet.wallet_ref.clone(),
        status: Some(status.into()),
        ..UpdateWalletRequest::default()
    }
}

async fn update(by: &Person, asked: &UpdateWalletRequest) -> Result<Wallet, q_contract::CallError> {
    by.client.clone().with_key(fresh()).call::<UpdateWallet>(asked).await
}

async fn pay(bank: &Bank, payer: &Person, payee: &Person, amount: &str) -> String {
    let order = bank.signed(bank.order(payer, payee.did.as_str(), amount), payer);
    match payer.client.clone().with_key(fresh()).call::<CreatePayment>(&order).await {
        Ok(_) => "SETTLED".to_owned(),
        refused => code(refused),
    }
}

on_each_world!(one_person_freezes_and_two_let_it_go_on, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "100").await);
    let [first, second] = bank.operators().await;
    assert_eq!(code(update(&bob, &asked(&ann, "FROZEN")).await), "WALLET_NOT_FOUND");
    assert_eq!(code(update(&ann, &asked(&ann, "SUSPENDED")).await), "FORBIDDEN");
    assert_eq!(code(update(&ann, &asked(&ann, "SLEEPY")).await), "INVALID_REQUEST");
    assert_eq!(update(&ann, &asked(&ann, "FROZEN")).await.unwrap().status, "FROZEN");
    assert_eq!(pay(&bank, &ann, &bob, "1").await, "WALLET_FROZEN");
    assert_eq!(pay(&bank, &bob, &ann, "1").await, "WALLET_FROZEN");

    // Nobody alone, not the owner, not one twice, not for another wallet, not for something else.
    assert_eq!(code(update(&ann, &asked(&ann, "ACTIVE")).await), "APPROVAL_REQUIRED");
    assert_eq!(code(update(&first, &asked(&ann, "ACTIVE")).await), "APPROVAL_REQUIRED");
    for (signers, refusal) in [
        (vec![&first], "APPROVAL_REQUIRED"),
        (vec![&first, &first], "APPROVAL_REQUIRED"),
        (vec![&first, &ann], "NOT_AN_APPROVER"),
        (vec![&first, &bob], "NOT_AN_APPROVER"),
    ] {
        let order = bank.approved(asked(&ann, "ACTIVE"), &signers);
        assert_eq!(code(update(&first, &order).await), refusal);
    }
    let both = [&first, &second];
    let order = bank.approved(asked(&bob, "ACTIVE"), &both);
    let edited = UpdateWalletRequest { squid_id: ann.wallet.wallet_ref.clone(), ..order };
    assert_eq!(code(update(&first, &edited).await), "SIGNATURE_INVALID");
    let order = bank.approved(asked(&ann, "ACTIVE"), &both);
    assert_eq!(update(&first, &order).await.unwrap().status, "ACTIVE");
    assert_eq!(pay(&bank, &ann, &bob, "1").await, "SETTLED");
    assert_eq!(pay(&bank, &bob, &ann, "1").await, "SETTLED");

    // An order that was carried out opens nothing a second time.
    assert_eq!(update(&second, &asked(&ann, "SUSPENDED")).await.unwrap().status, "SUSPENDED");
    assert_eq!(code(update(&first, &order).await), "SIGNATURE_INVALID");
    assert_eq!(pay(&bank, &ann, &bob, "1").await, "WALLET_FROZEN");
    let events = bank.module.service().db.outbox_after(0, 1_000).await.unwrap();
    let told = events.iter().filter(|row| row.event.topic.starts_with("q.qwallet.wallet."));
    let told: Vec<_> =
        told.map(|row| (row.event.topic.as_str(), row.event.data["status"].as_str())).collect();
    assert_eq!(
        told[told.len() - 3..],
        [
            ("q.qwallet.wallet.frozen.v1", Some("FROZEN")),
            ("q.qwallet.wallet.unfrozen.v1", Some("ACTIVE")),
            ("q.qwallet.wallet.frozen.v1", Some("SUSPENDED")),
        ]
    );
    let rows = bank.module.service().db.audit_after(0, 1_000).await.unwrap();
    let opened =
        rows.iter().find(|row| row.entry.details["to"] == "ACTIVE" && row.entry.details["from"] == "FROZEN");
    let evidence = &opened.unwrap().entry.details["approval"];
    assert_eq!(evidence["approvers"], serde_json::json!([first.did, second.did]));
    assert_eq!(evidence["signatures"].as_array().unwrap().len(), 2);
    assert_eq!(bank.findings().await, Vec::<String>::new());
    bank.close().await;
});

on_each_world!(what_was_signed_before_is_not_settled_while_frozen, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let [first, second] = bank.operators().await;
    let intent = intend(&ann, &bob, "8").await;
    let signed = sign_it(&intent, &ann).await.unwrap();
    update(&first, &asked(&bob, "FROZEN")).await.unwrap();
    let request = PayRequest { transaction_id: signed.transaction_id };
    let settle = async || ann.client.clone().with_key(fresh()).call::<Pay>(&request).await;
    assert_eq!(code(settle().await), "WALLET_FROZEN");
    update(&first, &bank.approved(asked(&bob, "ACTIVE"), &[&second, &first])).await.unwrap();
    assert_eq!(settle().await.unwrap().status, "SETTLED");
    bank.close().await;
});

on_each_world!(only_what_is_empty_is_closed, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "0").await, bank.person("bob", "100").await);
    let [first, second] = bank.operators().await;
    assert_eq!(pay(&bank, &bob, &ann, "5").await, "SETTLED");
    assert_eq!(code(update(&ann, &asked(&ann, "CLOSED")).await), "FORBIDDEN");
    let refused = problem(update(&first, &asked(&ann, "CLOSED")).await);
    assert_eq!((refused.code.as_str(), refused.status), ("WALLET_NOT_EMPTY", 409));
    assert_eq!(refused.extra["left"]["balances"]["QToken"]["posted"], "5");
    // Free of fees only within a family, so all of it goes the way of a burn.
    let burned = crate::support::issuance(
        &bank,
        &ann,
        "BURN",
        "5",
        &[&(first.did.clone(), first.key.clone()), &(second.did.clone(), second.key.clone())],
    );
    ann.client.clone().with_key(fresh()).call::<qwallet_api::Issue>(&burned).await.unwrap();
    assert_eq!(update(&first, &asked(&ann, "CLOSED")).await.unwrap().status, "CLOSED");
    assert_eq!(pay(&bank, &bob, &ann, "1").await, "WALLET_FROZEN");
    assert_eq!(code(update(&ann, &asked(&ann, "FROZEN")).await), "INVALID_STATE");
    let path = WalletPath { squid_id: ann.did.to_string() };
    assert_eq!(ann.client.call::<GetWallet>(&path).await.unwrap().status, "CLOSED");
    assert_eq!(bank.findings().await, Vec::<String>::new());
    bank.close().await;
});

on_each_world!(an_escrows_part_waits_while_its_wallet_is_frozen, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let [first, second] = bank.operators().await;
    let order = crate::escrows::asked(&bank, &ann, &bob, "10", "ORDER-1");
    let escrow = crate::escrows::fund(&bank, order, &ann).await.unwrap();
    update(&first, &asked(&bob, "FROZEN")).await.unwrap();
    let refused = problem(update(&first, &asked(&bob, "CLOSED")).await);
    assert_eq!((refused.code.as_str(), &refused.extra["left"]["escrows"]), ("WALLET_NOT_EMPTY", &1.into()));
    let release = crate::escrows::path(&escrow);
    let released = ann.client.clone().with_key(fresh()).call::<ReleaseEscrow>(&release).await.unwrap();
    assert_eq!((released.status.as_str(), released.parts[0].transaction_id), ("RELEASED", None));
    bank.module.service().tend_escrows().await.unwrap();
    assert_eq!(bank.balance(&bob).await.1, "0");
    update(&first, &bank.approved(asked(&bob, "ACTIVE"), &[&first, &second])).await.unwrap();
    bank.module.service().tend_escrows().await.unwrap();
    assert_eq!(bank.balance(&bob).await.1, "10");
    assert!(
        ann.client.call::<GetEscrow>(&crate::escrows::path(&escrow)).await.unwrap().parts[0]
            .transaction_id
            .is_some()
    );
    assert_eq!(bank.findings().await, Vec::<String>::new());
    bank.close().await;
});

on_each_world!(nothing_is_paid_to_who_may_not_act, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    bank.revocations.block(&bob.did, bank.now());
    let order = bank.signed(bank.order(&ann, bob.did.as_str(), "1"), &ann);
    let refused = problem(ann.client.clone().with_key(fresh()).call::<CreatePayment>(&order).await);
    assert_eq!(refused.code, "WALLET_FROZEN");
    assert!(refused.detail.unwrap().contains("identity is suspended"));
    bank.revocations.unblock(&bob.did);
    assert_eq!(pay(&bank, &ann, &bob, "1").await, "SETTLED");
    bank.close().await;
});

on_each_world!(names_are_the_owners_and_credit_two_operators, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "10").await, bank.person("bob", "0").await);
    let [first, second] = bank.operators().await;
    let wallet =
        || UpdateWalletRequest { squid_id: ann.wallet.wallet_ref.clone(), ..UpdateWalletRequest::default() };
    let name = |name: &str| UpdateWalletRequest { label: Some(name.into()), ..wallet() };
    assert_eq!(code(update(&first, &name("theirs")).await), "FORBIDDEN");
    assert_eq!(code(update(&ann, &name(&"x".repeat(101))).await), "INVALID_REQUEST");
    assert_eq!(update(&ann, &name("savings")).await.unwrap().label.as_deref(), Some("savings"));

    let credit = |amount: &str| UpdateWalletRequest {
        credit_limit: Some(CreditLimit { currency: "QToken".into(), amount: amount.into() }),
        ..wallet()
    };
    assert_eq!(pay(&bank, &ann, &bob, "20").await, "INSUFFICIENT_FUNDS");
    assert_eq!(code(update(&ann, &credit("50")).await), "APPROVAL_REQUIRED");
    assert_eq!(code(update(&first, &bank.approved(credit("50"), &[&first])).await), "APPROVAL_REQUIRED");
    let both = [&first, &second];
    let wallet = update(&first, &bank.approved(credit("50"), &both)).await.unwrap();
    let balance = &wallet.balances["QToken"];
    assert_eq!((balance.available.as_str(), balance.credit_limit.as_str()), ("60", "50"));
    assert_eq!(pay(&bank, &ann, &bob, "20").await, "SETTLED");
    assert_eq!(bank.balance(&ann).await.1, "-10.12");
    assert_eq!(pay(&bank, &ann, &bob, "40").await, "INSUFFICIENT_FUNDS");
    // Who owes keeps the credit that is used.
    assert_eq!(code(update(&first, &bank.approved(credit("10"), &both)).await), "INVALID_STATE");
    update(&first, &bank.approved(credit("10.12"), &both)).await.unwrap();
    assert_eq!(bank.balance(&ann).await.0, "0");

    // Limits by the same way, and nothing else beside them.
    let limits = |amount: &str| UpdateWalletRequest {
        squid_id: ann.wallet.wallet_ref.clone(),
        limits: vec![NewLimit { kind: "daily".into(), currency: "QToken".into(), amount: amount.into() }],
        ..UpdateWalletRequest::default()
    };
    update(&first, &bank.approved(limits("70000"), &both)).await.unwrap();
    let mixed = UpdateWalletRequest { status: Some("ACTIVE".into()), ..limits("7") };
    assert_eq!(code(update(&first, &bank.approved(mixed, &both)).await), "INVALID_REQUEST");
    assert_eq!(bank.findings().await, Vec::<String>::new());
    bank.close().await;
});

on_each_world!(a_parent_and_a_guardian_freeze_too, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "0").await, bank.person("bob", "0").await);
    bank.stands("robot", IdentityKind::Root, &[&ann]);
    bank.stands("kid", IdentityKind::Consentida, &[&ann, &bob]);
    let (robot, kid) = (bank.person("robot", "0").await, bank.person("kid", "0").await);
    assert_eq!(code(update(&bob, &asked(&robot, "FROZEN")).await), "WALLET_NOT_FOUND");
    assert_eq!(update(&ann, &asked(&robot, "FROZEN")).await.unwrap().status, "FROZEN");
    assert_eq!(update(&bob, &asked(&kid, "FROZEN")).await.unwrap().status, "FROZEN");
    bank.close().await;
});

on_each_world!(what_an_operator_suspended_stays_suspended, async |world: World| {
    let bank = Bank::open(world).await;
    let ann = bank.person("ann", "100").await;
    let [first, second] = bank.operators().await;
    update(&first, &asked(&ann, "SUSPENDED")).await.unwrap();
    let refused = crate::support::problem(update(&ann, &asked(&ann, "FROZEN")).await);
    assert_eq!(refused.code, "INVALID_STATE");
    assert!(refused.detail.unwrap().contains("SUSPENDED"));
    assert_eq!(update(&second, &asked(&ann, "SUSPENDED")).await.unwrap().status, "SUSPENDED");
    assert_eq!(bank.findings().await, Vec::<String>::new());
    bank.close().await;
});

on_each_world!(nobody_of_the_owners_family_is_one_of_the_two, async |world: World| {
    let bank = Bank::open(world).await;
    let ann = bank.person("ann", "100").await;
    let (instance, key) = q_testkit::identity("instance");
    let resource = q_pdp::Resource::instance(&instance);
    let [first, second] = bank.operators().await;
    bank.stands("robot", IdentityKind::Root, &[&ann]);
    bank.stands("sister", IdentityKind::Root, &[&ann]);
    bank.stands("firm", IdentityKind::Enterprise, &[&first, &ann]);
    let (robot, sister) = (bank.person("robot", "0").await, bank.person("sister", "0").await);
    let firm = bank.person("firm", "0").await;
    for person in [&ann, &robot, &sister, &firm] {
        bank.grant(&instance, &key, &person.did, &resource, "admin").await;
    }
    for (of, by) in [(&ann, &robot), (&robot, &ann), (&robot, &sister), (&ann, &firm), (&firm, &ann)] {
        update(of, &asked(of, "FROZEN")).await.unwrap();
        let order = bank.approved(asked(of, "ACTIVE"), &[&second, by]);
        assert_eq!(code(update(&second, &order).await), "NOT_AN_APPROVER");
        // Of two strangers anything is believed.
        let order =
            bank.approved(asked(of, "ACTIVE"), &[&second, if of.did == firm.did { &robot } else { &first }]);
        assert_eq!(update(&second, &order).await.unwrap().status, "ACTIVE");
    }
    bank.close().await;
});
