//! `POST /issuance`, `POST /faucet`.

use q_runtime::Module;
use q_testkit::{World, identity, on_each_world};
use qwallet_api::{
    CreateWallet, CreateWalletRequest, Faucet, FaucetRequest, GetTrialBalance, IssuanceRequest, Issue,
    TrialBalanceRequest,
};

use crate::support::{Bank, code, fresh, issuance as order};

on_each_world!(two_approvers_issue_and_withdraw, async |world: World| {
    let bank = Bank::open(world).await;
    let ann = bank.person("ann", "0").await;
    let [first, second] = bank.approvers().await;
    let stranger = identity("stranger");
    let issue =
        async |order: &IssuanceRequest| ann.client.clone().with_key(fresh()).call::<Issue>(order).await;
    let table = [
        (vec![], "APPROVAL_REQUIRED"),
        (vec![&first], "APPROVAL_REQUIRED"),
        (vec![&first, &first], "APPROVAL_REQUIRED"),
        (vec![&first, &stranger], "NOT_AN_APPROVER"),
    ];
    for (signers, refusal) in table {
        assert_eq!(code(issue(&order(&bank, &ann, "MINT", "5", &signers)).await), refusal);
    }
    let edited =
        IssuanceRequest { amount: "500".into(), ..order(&bank, &ann, "MINT", "5", &[&first, &second]) };
    assert_eq!(code(issue(&edited).await), "SIGNATURE_INVALID");
    let minted = issue(&order(&bank, &ann, "MINT", "5", &[&first, &second])).await.unwrap();
    assert_eq!((minted.r#type.as_str(), minted.from.wallet_ref.as_str()), ("issuance", "issuance"));
    let burned = order(&bank, &ann, "BURN", "2", &[&second, &first]);
    assert_eq!(issue(&burned).await.unwrap().to.wallet_ref, "issuance");
    assert_eq!(code(issue(&burned).await), "SIGNATURE_INVALID");
    assert_eq!(code(issue(&order(&bank, &ann, "BURN", "4", &[&first, &second])).await), "INSUFFICIENT_FUNDS");
    assert_eq!(bank.balance(&ann).await.0, "3");
    let rows = bank.module.db().audit_after(0, 1_000).await.unwrap();
    let issued = rows.iter().filter(|row| row.entry.action == "money.issue").map(|row| &row.entry.details);
    let told: Vec<_> = issued.map(|facts| (facts["leg"].clone(), facts["units"].clone())).collect();
    let units = |whole: u64| format!("{whole}{}", "0".repeat(18)).into();
    assert_eq!(told, [("mint".into(), units(5)), ("burn".into(), units(2))]);
    let approvers =
        &rows.iter().find(|row| row.entry.action == "money.issue").unwrap().entry.details["approvers"];
    assert_eq!(*approvers, serde_json::json!([first.0, second.0]));
    let for_bob = CreateWalletRequest { owner: Some(identity("bob").0), ..CreateWalletRequest::default() };
    let operator = bank.world.client("qwallet", &first.0).with_key(fresh());
    operator.call::<CreateWallet>(&for_bob).await.unwrap();
    let rows = bank.module.db().audit_after(0, 1_000).await.unwrap();
    let opened = rows.iter().rfind(|row| row.entry.action == "wallet.create").unwrap();
    assert_eq!(opened.entry.actor.as_ref(), Some(&first.0), "who did it, and not for whom");
    bank.world.make_operator(&first.0);
    let operator = bank.world.client("qwallet", &first.0);
    let balance = operator.call::<GetTrialBalance>(&TrialBalanceRequest::default()).await.unwrap();
    let row = &balance.items[0];
    assert_eq!((row.difference.as_str(), row.in_circulation.as_str()), ("0", "3"));
    bank.close().await;
});

on_each_world!(the_faucet_has_a_bound, async |world: World| {
    let bank = Bank::open(world).await;
    let ann = bank.person("ann", "0").await;
    let ask = |amount: &str| FaucetRequest { amount: amount.into(), currency: "QToken".into(), wallet: None };
    let too_much = ann.client.clone().with_key(fresh()).call::<Faucet>(&ask("10000.1")).await;
    assert_eq!(code(too_much), "AMOUNT_OUT_OF_RANGE");
    for _ in 0..2 {
        ann.client.clone().with_key("once").call::<Faucet>(&ask("10000")).await.unwrap();
    }
    assert_eq!(bank.balance(&ann).await.0, "10000");
    bank.close().await;
});

#[tokio::test]
async fn without_a_demonstration_there_is_no_faucet() {
    let Some(mut world) = World::new(q_testkit::Engine::Sqlite, q_testkit::Way::InProcess).await else {
        return;
    };
    world.instance.is_demo = false;
    let bank = Bank::open(world).await;
    let declared: Vec<_> = bank.world.declarations().into_iter().flat_map(|(_, list)| list).collect();
    assert!(declared.iter().all(|declaration| declaration.path != "/faucet"));
    bank.close().await;
}
