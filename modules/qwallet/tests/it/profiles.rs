//! What the kind of an identity means for its wallet, and wallets that draw on the limits of another.

use q_core::{IdentityKind, Span};
use q_testkit::{World, identity, on_each_world};
use qwallet::SETTINGS;
use qwallet_api::{
    AddNote, AddNoteRequest, CancelIntent, CreateBatch, CreatePayment, CreateWallet, CreateWalletRequest,
    Faucet, FaucetRequest, GetLimits, GetWallet, IntentPath, SetLimits, SignIntent, SpendingLimit,
    Transaction, UpdateWallet, UpdateWalletRequest, WalletPath,
};

use crate::support::{
    Bank, Person, code, fresh, intend, item, new_limits, problem, settings, sign_it, signature,
};

async fn set(by: &Person, of: &Person, wanted: &[(&str, &str)]) -> String {
    match by.client.clone().with_key(fresh()).call::<SetLimits>(&new_limits(of, wanted)).await {
        Ok(_) => "SET".into(),
        refused => code(refused),
    }
}

async fn try_pay(
    bank: &Bank,
    payer: &Person,
    payee: &Person,
    amount: &str,
) -> Result<Transaction, q_contract::CallError> {
    let mut order = bank.order(payer, payee.did.as_str(), amount);
    order.purpose = None;
    let order = bank.signed(order, payer);
    payer.client.clone().with_key(fresh()).call::<CreatePayment>(&order).await
}

async fn pay(bank: &Bank, payer: &Person, payee: &Person, amount: &str) -> String {
    match try_pay(bank, payer, payee, amount).await {
        Ok(_) => "SETTLED".to_owned(),
        refused => code(refused),
    }
}

/// The limit of its own beyond which a wallet would pay, which its parent or a guardian is asked about.
async fn beyond(bank: &Bank, payer: &Person, payee: &Person, amount: &str) -> String {
    let refused = problem(try_pay(bank, payer, payee, amount).await);
    assert_eq!((refused.code.as_str(), refused.status), ("APPROVAL_REQUIRED", 409));
    refused.extra["kind"].as_str().unwrap().to_owned()
}

/// What was used of a limit, as `person` sees it: the own or the inherited one.
async fn limit(person: &Person, kind: &str, inherited: bool) -> SpendingLimit {
    let path = WalletPath { squid_id: person.did.to_string() };
    let limits = person.client.call::<GetLimits>(&path).await.unwrap();
    let is_it = |limit: &SpendingLimit| {
        limit.kind == kind && limit.inherited == inherited && limit.currency == "QToken"
    };
    limits.items.into_iter().find(is_it).unwrap()
}

async fn used(person: &Person, kind: &str, inherited: bool) -> String {
    limit(person, kind, inherited).await.used.as_str().to_owned()
}

on_each_world!(a_sub_wallet_draws_on_its_own_and_its_parents_limits, async |world: World| {
    let bank = Bank::open_with(world, SETTINGS).await;
    let (ann, bob) = (bank.person("ann", "1000").await, bank.person("bob", "0").await);
    bank.stands("robot", IdentityKind::Root, &[&ann]);
    bank.stands("other", IdentityKind::Root, &[&ann]);
    let (robot, other) = (bank.person("robot", "0").await, bank.person("other", "0").await);
    assert_eq!((robot.wallet.profile.as_str(), robot.wallet.parent), ("ROOT", Some(ann.wallet.wallet_id)));
    assert_eq!(set(&ann, &ann, &[("daily", "100")]).await, "SET");

    // Within the family nothing is charged and nothing of the parent's limit is used.
    let moved = try_pay(&bank, &ann, &robot, "300").await.unwrap();
    assert_eq!(moved.fees.total.as_str(), "0");
    assert_eq!(used(&ann, "daily", false).await, "0");
    assert_eq!(pay(&bank, &robot, &other, "40").await, "SETTLED");
    assert_eq!(
        (used(&robot, "daily", false).await, used(&robot, "daily", true).await),
        ("40".into(), "0".into())
    );

    // What leaves the family counts once for both, whoever pays.
    assert_eq!(pay(&bank, &robot, &bob, "60").await, "SETTLED");
    assert_eq!(pay(&bank, &other, &bob, "30").await, "SETTLED");
    assert_eq!(
        (used(&ann, "daily", false).await, used(&robot, "daily", true).await),
        ("90".into(), "90".into())
    );
    let refused = problem(try_pay(&bank, &robot, &bob, "11").await);
    assert_eq!((refused.code.as_str(), &refused.extra["inherited"]), ("DAILY_LIMIT_EXCEEDED", &true.into()));
    assert_eq!(pay(&bank, &ann, &bob, "11").await, "DAILY_LIMIT_EXCEEDED");
    assert_eq!(pay(&bank, &ann, &bob, "10").await, "SETTLED");
    assert_eq!(pay(&bank, &robot, &bob, "1").await, "DAILY_LIMIT_EXCEEDED");
    assert_eq!(pay(&bank, &robot, &ann, "1").await, "SETTLED", "money goes back to the parent all the same");

    // A batch stops where the parent's limit does, and an atomic one leaves both as they were.
    bank.world.clock.advance(Span::seconds(86_400));
    let mut batch = bank.batch(&robot, vec![item(bob.did.as_str(), "40"); 3]);
    batch.atomic = true;
    let atomic = bank.signed_batch(batch, &robot);
    let paid = robot.client.clone().with_key(fresh()).call::<CreateBatch>(&atomic).await.unwrap();
    assert_eq!((paid.committed, used(&ann, "daily", false).await.as_str()), (0, "0"));
    let batch = bank.signed_batch(bank.batch(&robot, vec![item(bob.did.as_str(), "40"); 3]), &robot);
    let paid = robot.client.clone().with_key(fresh()).call::<CreateBatch>(&batch).await.unwrap();
    assert_eq!((paid.committed, used(&ann, "daily", false).await.as_str()), (2, "80"));
    assert_eq!(bank.findings().await, Vec::<String>::new());
    bank.close().await;
});

on_each_world!(a_freed_hold_gives_back_to_both, async |world: World| {
    let bank = Bank::open_with(world, SETTINGS).await;
    let (ann, bob) = (bank.person("ann", "500").await, bank.person("bob", "0").await);
    bank.stands("robot", IdentityKind::Root, &[&ann]);
    let robot = bank.person("robot", "100").await;
    set(&ann, &robot, &[("countPerHour", "1"), ("daily", "50")]).await;
    let intent = intend(&robot, &bob, "8").await;
    sign_it(&intent, &robot).await.unwrap();
    let counts = async || {
        [
            used(&robot, "daily", false).await,
            used(&robot, "daily", true).await,
            used(&robot, "countPerHour", false).await,
        ]
    };
    assert_eq!(counts().await, ["8", "8", "1"]);
    assert_eq!(beyond(&bank, &robot, &bob, "1").await, "countPerHour");
    let path = IntentPath { intent_id: intent.intent_id };
    robot.client.clone().with_key(fresh()).call::<CancelIntent>(&path).await.unwrap();
    assert_eq!(counts().await, ["0", "0", "0"]);
    assert_eq!(pay(&bank, &robot, &bob, "1").await, "SETTLED");
    assert_eq!(beyond(&bank, &robot, &bob, "1").await, "countPerHour");
    bank.world.clock.advance(Span::seconds(3_600));
    assert_eq!(pay(&bank, &robot, &bob, "1").await, "SETTLED");
    assert_eq!(bank.findings().await, Vec::<String>::new());
    bank.close().await;
});

on_each_world!(only_its_parent_raises_a_sub_wallets_limits, async |world: World| {
    let bank = Bank::open_with(world, SETTINGS).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let [first, second] = bank.operators().await;
    bank.stands("robot", IdentityKind::Root, &[&ann]);
    let robot = bank.person("robot", "100").await;
    let daily = async || limit(&robot, "daily", false).await.amount.as_str().to_owned();
    assert_eq!(set(&robot, &robot, &[("daily", "10")]).await, "SET", "lower it may itself");
    assert_eq!(set(&robot, &robot, &[("daily", "11")]).await, "FORBIDDEN");
    assert_eq!(set(&robot, &ann, &[("daily", "11")]).await, "WALLET_NOT_FOUND");
    assert_eq!(set(&bob, &robot, &[("daily", "11")]).await, "WALLET_NOT_FOUND");
    assert_eq!(set(&first, &robot, &[("daily", "11")]).await, "INVALID_STATE");
    assert_eq!(daily().await, "10");
    assert_eq!(set(&ann, &robot, &[("daily", "20")]).await, "SET");
    assert_eq!(daily().await, "20");
    let raise = UpdateWalletRequest {
        squid_id: robot.wallet.wallet_ref.clone(),
        limits: new_limits(&robot, &[("daily", "30")]).limits,
        ..UpdateWalletRequest::default()
    };
    let by = |signers: &[&Person]| bank.approved(raise.clone(), signers);
    let alone = first.client.clone().with_key(fresh()).call::<UpdateWallet>(&by(&[&first])).await;
    assert_eq!(code(alone), "APPROVAL_REQUIRED");
    let own = first.client.clone().with_key(fresh()).call::<UpdateWallet>(&by(&[&first, &robot])).await;
    assert_eq!(code(own), "NOT_AN_APPROVER");
    let both = by(&[&first, &second]);
    first.client.clone().with_key(fresh()).call::<UpdateWallet>(&both).await.unwrap();
    assert_eq!(daily().await, "30");
    assert_eq!(set(&robot, &robot, &[("daily", "25")]).await, "SET");
    bank.world.clock.advance(Span::seconds(2 * 86_400));
    assert_eq!(daily().await, "25", "nothing waited to be raised");
    // The parent reads what is spent on its limits; the sub-identity does not read the parent's wallet.
    let path = |person: &Person| WalletPath { squid_id: person.did.to_string() };
    assert_eq!(ann.client.call::<GetWallet>(&path(&robot)).await.unwrap().owner, robot.did);
    assert_eq!(code(robot.client.call::<GetWallet>(&path(&ann)).await), "WALLET_NOT_FOUND");
    bank.close().await;
});

on_each_world!(a_sub_wallet_comes_after_its_parents, async |world: World| {
    let bank = Bank::open(world).await;
    let ann = identity("ann").0;
    let robot = identity("robot").0;
    let nobody = Person {
        did: ann,
        key: identity("ann").1,
        wallet: bank.person("bob", "0").await.wallet,
        client: bank.world.client("qwallet", &robot),
    };
    bank.stands("robot", IdentityKind::Root, &[&nobody]);
    let client = bank.world.client("qwallet", &robot).with_key(fresh());
    let refused = problem(client.call::<CreateWallet>(&CreateWalletRequest::default()).await);
    assert_eq!(refused.code, "WALLET_NOT_FOUND");
    assert!(refused.hint.unwrap().contains("the parent opens one first"));
    bank.close().await;
});

on_each_world!(who_is_in_care_spends_what_a_guardian_gave, async |world: World| {
    let bank = Bank::open_with(world, SETTINGS).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    bank.stands("kid", IdentityKind::Consentida, &[&ann, &bob]);
    let kid = bank.person("kid", "0").await;
    let shop = bank.person("shop", "0").await;
    assert_eq!(kid.wallet.profile, "CONSENTIDA");
    assert_eq!(pay(&bank, &ann, &kid, "50").await, "SETTLED");
    assert_eq!(pay(&bank, &kid, &shop, "1").await, "APPROVAL_REQUIRED");
    assert_eq!(set(&kid, &kid, &[("daily", "5")]).await, "FORBIDDEN");
    assert_eq!(set(&bob, &kid, &[("daily", "5")]).await, "SET", "either guardian");
    assert_eq!(pay(&bank, &kid, &shop, "4").await, "SETTLED");
    assert_eq!(pay(&bank, &kid, &shop, "2").await, "APPROVAL_REQUIRED");
    assert_eq!(used(&kid, "daily", true).await, "4");
    assert_eq!(bank.findings().await, Vec::<String>::new());
    bank.close().await;
});

on_each_world!(a_dao_pays_what_was_delegated_to_it, async |world: World| {
    let bank = Bank::open_with(world, settings(&[("step_up", "none")])).await;
    let (ann, bob) = (bank.person("ann", "0").await, bank.person("bob", "0").await);
    let [first, second] = bank.operators().await;
    bank.stands("dao", IdentityKind::Dao, &[&ann]);
    let dao = bank.person("dao", "10000").await;
    assert_eq!((dao.wallet.profile.as_str(), dao.wallet.parent), ("DAO", None));
    let delegated = limit(&dao, "dao", false).await;
    assert_eq!(delegated.amount.as_str(), "50000");
    assert_eq!(pay(&bank, &dao, &bob, "1500").await, "SETTLED", "more than others pay in a day");
    assert_eq!(set(&dao, &dao, &[("dao", "2000")]).await, "SET");
    let refused = problem(try_pay(&bank, &dao, &bob, "501").await);
    assert_eq!((refused.code.as_str(), refused.status), ("DAO_LIMIT_EXCEEDED", 403));
    assert!(refused.extra["resetsAt"].as_str().unwrap().ends_with("-01T00:00:00Z"));
    assert_eq!(set(&dao, &dao, &[("dao", "3000")]).await, "FORBIDDEN");
    let raise = UpdateWalletRequest {
        squid_id: dao.wallet.wallet_ref.clone(),
        limits: new_limits(&dao, &[("dao", "3000")]).limits,
        ..UpdateWalletRequest::default()
    };
    let raise = bank.approved(raise, &[&first, &second]);
    first.client.clone().with_key(fresh()).call::<UpdateWallet>(&raise).await.unwrap();
    assert_eq!(pay(&bank, &dao, &bob, "501").await, "SETTLED");
    assert_eq!(bank.findings().await, Vec::<String>::new());
    bank.close().await;
});

on_each_world!(nobody_delegates_to_themselves_instead_of_the_limits_of_the_instance, async |world: World| {
    let bank = Bank::open_with(world, settings(&[("step_up", "none")])).await;
    let (ann, bob) = (bank.person("ann", "10000").await, bank.person("bob", "0").await);
    let [first, _] = bank.operators().await;
    bank.stands("robot", IdentityKind::Root, &[&ann]);
    let robot = bank.person("robot", "0").await;
    for owner in [&ann, &robot] {
        assert_eq!(set(owner, owner, &[("dao", "50000")]).await, "FORBIDDEN");
    }
    assert_eq!(set(&first, &ann, &[("dao", "50000")]).await, "INVALID_STATE", "nor does one operator alone");
    assert_eq!(code(try_pay(&bank, &ann, &bob, "1500").await), "DAILY_LIMIT_EXCEEDED");
    bank.close().await;
});

on_each_world!(an_aid_has_one_currency_and_no_texts, async |world: World| {
    let bank = Bank::open(world).await;
    let bob = bank.person("bob", "0").await;
    bank.stands("aid", IdentityKind::Aid, &[]);
    bank.stands("aid-of-pi", IdentityKind::Aid, &[]);
    let aid = bank.person("aid", "100").await;
    assert_eq!(aid.wallet.balances.keys().collect::<Vec<_>>(), ["QToken"]);
    let client = bank.world.client("qwallet", &identity("aid-of-pi").0).with_key(fresh());
    let asked = CreateWalletRequest { currency: Some("PI".into()), ..CreateWalletRequest::default() };
    assert_eq!(
        client.call::<CreateWallet>(&asked).await.unwrap().balances.keys().collect::<Vec<_>>(),
        ["PI"]
    );
    let ann = bank.world.client("qwallet", &identity("ann").0).with_key(fresh());
    assert_eq!(code(ann.call::<CreateWallet>(&asked).await), "INVALID_REQUEST");
    let pi = FaucetRequest { amount: "1".into(), currency: "PI".into(), wallet: None };
    let refused = aid.client.clone().with_key(fresh()).call::<Faucet>(&pi).await;
    assert_eq!(code(refused), "CURRENCY_UNSUPPORTED");
    let order = bank.signed(bank.order(&aid, bob.did.as_str(), "1"), &aid);
    let refused = problem(aid.client.clone().with_key(fresh()).call::<CreatePayment>(&order).await);
    assert_eq!(refused.code, "FORBIDDEN");
    assert!(refused.detail.unwrap().contains("`purpose`"));
    let paid = try_pay(&bank, &aid, &bob, "1").await.unwrap();
    let note = AddNoteRequest { transaction_id: paid.transaction_id, text: Some("x".into()), data: None };
    assert_eq!(code(aid.client.clone().with_key(fresh()).call::<AddNote>(&note).await), "FORBIDDEN");
    assert_eq!(bank.findings().await, Vec::<String>::new());
    bank.close().await;
});

on_each_world!(an_undertaking_pays_whom_it_allowed, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob, eve) =
        (bank.person("ann", "0").await, bank.person("bob", "0").await, bank.person("eve", "0").await);
    bank.stands("firm", IdentityKind::Enterprise, &[&ann, &bob]);
    let firm = bank.person("firm", "100").await;
    assert_eq!((firm.wallet.profile.as_str(), firm.wallet.parent), ("ENTERPRISE", None));
    let allow = |person: &Person, names: &[&str]| UpdateWalletRequest {
        squid_id: person.wallet.wallet_ref.clone(),
        allowed_recipients: Some(names.iter().map(|name| (*name).to_owned()).collect()),
        ..UpdateWalletRequest::default()
    };
    let update = async |by: &Person, asked: UpdateWalletRequest| {
        by.client.clone().with_key(fresh()).call::<UpdateWallet>(&asked).await
    };
    assert_eq!(pay(&bank, &firm, &eve, "1").await, "SETTLED", "everybody where there is no list");
    assert_eq!(code(update(&bob, allow(&bob, &[eve.did.as_str()])).await), "FORBIDDEN");
    assert_eq!(code(update(&firm, allow(&firm, &["did:key:zNobody"])).await), "RECIPIENT_UNKNOWN");
    let wallet = update(&firm, allow(&firm, &[bob.did.as_str()])).await.unwrap();
    assert_eq!(wallet.allowed_recipients, Some(vec![bob.wallet.wallet_id]));
    assert_eq!(pay(&bank, &firm, &bob, "1").await, "SETTLED");
    assert_eq!(pay(&bank, &firm, &eve, "1").await, "FORBIDDEN");
    let items = vec![item(bob.did.as_str(), "1"), item(eve.did.as_str(), "1")];
    let batch = bank.signed_batch(bank.batch(&firm, items), &firm);
    let paid = firm.client.clone().with_key(fresh()).call::<CreateBatch>(&batch).await.unwrap();
    assert_eq!((paid.committed, paid.results[1].problem.as_ref().unwrap().code.as_str()), (1, "FORBIDDEN"));
    update(&firm, allow(&firm, &["*"])).await.unwrap();
    assert_eq!(pay(&bank, &firm, &eve, "1").await, "SETTLED");
    // What was decided before the list was made is asked about again where the money is held.
    let intent = intend(&firm, &eve, "8").await;
    update(&firm, allow(&firm, &[bob.did.as_str()])).await.unwrap();
    let signed = signature(&intent, &firm);
    let refused = firm.client.clone().with_key(fresh()).call::<SignIntent>(&signed).await;
    assert_eq!(code(refused), "FORBIDDEN");
    let escrow = crate::escrows::asked(&bank, &firm, &eve, "1", "order-1");
    assert_eq!(crate::escrows::fund(&bank, escrow, &firm).await.unwrap_err(), "FORBIDDEN");
    let escrow = crate::escrows::asked(&bank, &firm, &bob, "1", "order-1");
    crate::escrows::fund(&bank, escrow, &firm).await.unwrap();
    assert_eq!(bank.findings().await, Vec::<String>::new());
    update(&firm, allow(&firm, &["*"])).await.unwrap();
    firm.client.clone().with_key(fresh()).call::<SignIntent>(&signed).await.unwrap();
    assert_eq!(bank.findings().await, Vec::<String>::new());
    bank.close().await;
});

on_each_world!(a_dao_without_a_limit_of_delegation_has_not_that_of_a_person, async |world: World| {
    let bank = Bank::open_with(world, settings(&[("step_up", "none"), ("limit_dao", "none")])).await;
    let (ann, bob) = (bank.person("ann", "0").await, bank.person("bob", "0").await);
    bank.stands("dao", IdentityKind::Dao, &[&ann]);
    let dao = bank.person("dao", "10000").await;
    let shown = dao.wallet.limits.iter().filter(|limit| limit.currency == "QToken");
    let shown: Vec<&str> = shown.map(|limit| limit.kind.as_str()).collect();
    assert!(!shown.contains(&"dao") && !shown.contains(&"daily"), "{shown:?}");
    assert_eq!(pay(&bank, &dao, &bob, "1600").await, "SETTLED");
    assert_eq!(set(&dao, &dao, &[("dao", "1601")]).await, "SET");
    assert_eq!(pay(&bank, &dao, &bob, "2").await, "DAO_LIMIT_EXCEEDED");
    assert_eq!(bank.findings().await, Vec::<String>::new());
    bank.close().await;
});
