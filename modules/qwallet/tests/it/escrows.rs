//! Escrows: what the house holds for two parties ends once, and its parts are exactly what was paid in.

use futures_util::future::{join, join_all};
use q_core::Span;
use q_runtime::Module;
use q_testkit::{World, identity, on_each_world};
use qwallet_api::{
    CreateEscrow, CreateWallet, CreateWalletRequest, DisputeEscrow, DisputeEscrowRequest, ESCROW_TYP, Escrow,
    EscrowOrder, EscrowPath, EscrowRequest, GetBalance, GetBalanceRequest, GetEscrow, ListEscrows,
    ListEscrowsRequest, RefundEscrow, ReleaseEscrow, ResolveEscrow, ResolveEscrowRequest, Split, signing,
};

use crate::support::{Bank, Person, code, fresh, sign_as};

pub fn asked(bank: &Bank, payer: &Person, payee: &Person, amount: &str, order: &str) -> EscrowRequest {
    EscrowRequest {
        amount: amount.into(),
        arbiter: None,
        auto_release_at: None,
        currency: "QToken".into(),
        expires_at: (bank.now() + Span::seconds(600)).to_string(),
        max_fees: "10".into(),
        nonce: format!("nonce-{}", fresh()),
        order_ref: order.into(),
        payer: payer.did.clone(),
        recipient: payee.did.to_string(),
        signature: String::new(),
        splits: Vec::new(),
        wallet: payer.wallet.wallet_ref.clone(),
    }
}

pub fn signed(bank: &Bank, request: EscrowRequest, payer: &Person) -> EscrowRequest {
    let input = signing::signing_input(&EscrowOrder {
        amount: request.amount.as_str(),
        arbiter: request.arbiter.as_ref().map(q_core::Did::as_str),
        aud: bank.world.instance.did.as_str(),
        auto_release_at: request.auto_release_at.as_deref(),
        currency: &request.currency,
        expires_at: &request.expires_at,
        max_fees: request.max_fees.as_str(),
        nonce: &request.nonce,
        order_ref: &request.order_ref,
        payer: request.payer.as_str(),
        recipient: &request.recipient,
        splits: &request.splits,
        v: 1,
        wallet: &request.wallet,
    });
    EscrowRequest { signature: sign_as(ESCROW_TYP, &input, &payer.did, &payer.key), ..request }
}

pub async fn fund(bank: &Bank, request: EscrowRequest, payer: &Person) -> Result<Escrow, String> {
    let request = signed(bank, request, payer);
    match payer.client.clone().with_key(fresh()).call::<CreateEscrow>(&request).await {
        Ok(escrow) => Ok(escrow),
        refused => Err(code(refused)),
    }
}

fn splits(splits: &[(&str, &str)]) -> Vec<Split> {
    let split = |(recipient, amount): &(&str, &str)| Split {
        amount: (*amount).into(),
        recipient: (*recipient).into(),
    };
    splits.iter().map(split).collect()
}

fn decision(escrow: &Escrow, parts: &[(&str, &str)]) -> ResolveEscrowRequest {
    ResolveEscrowRequest { escrow_id: escrow.escrow_id, splits: splits(parts) }
}

pub const fn path(escrow: &Escrow) -> EscrowPath {
    EscrowPath { escrow_id: escrow.escrow_id }
}

on_each_world!(the_house_holds_until_the_payer_releases, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let eve = bank.person("eve", "0").await;
    let escrow = fund(&bank, asked(&bank, &ann, &bob, "50", "order-1"), &ann).await.unwrap();
    assert_eq!((escrow.status.as_str(), escrow.fees.total.as_str()), ("HELD", "0.3"));
    assert_eq!((bank.balance(&ann).await.1.as_str(), bank.balance(&bob).await.1.as_str()), ("49.7", "0"));
    assert_eq!(bank.module.verify().await.unwrap(), []);
    let twice = fund(&bank, asked(&bank, &ann, &bob, "1", "order-1"), &ann).await;
    assert_eq!(twice.unwrap_err(), "ESCROW_EXISTS");
    // Nobody else sees it, and the payee cannot take it.
    assert_eq!(code(eve.client.call::<GetEscrow>(&path(&escrow)).await), "ESCROW_NOT_FOUND");
    let taken = bob.client.clone().with_key(fresh()).call::<ReleaseEscrow>(&path(&escrow)).await;
    assert_eq!(code(taken), "ESCROW_STATE");
    let back = ann.client.clone().with_key(fresh()).call::<RefundEscrow>(&path(&escrow)).await;
    assert_eq!(code(back), "ESCROW_STATE");
    let given = ann.client.clone().with_key("give").call::<ReleaseEscrow>(&path(&escrow)).await.unwrap();
    let again = ann.client.clone().with_key("give").call::<ReleaseEscrow>(&path(&escrow)).await.unwrap();
    assert_eq!((given.status.as_str(), given.parts.len()), ("RELEASED", 1));
    assert_eq!(given, again);
    assert_eq!(bank.balance(&bob).await.1, "50");
    let late = ann.client.clone().with_key(fresh()).call::<ReleaseEscrow>(&path(&escrow)).await;
    assert_eq!(code(late), "ESCROW_STATE");
    let all = ListEscrowsRequest { status: None, cursor: None, limit: q_core::PageLimit::default() };
    let list = bob.client.call::<ListEscrows>(&all).await.unwrap();
    assert_eq!(list.items.iter().map(|item| item.status.as_str()).collect::<Vec<_>>(), ["RELEASED"]);
    assert!(eve.client.call::<ListEscrows>(&all).await.unwrap().items.is_empty());
    assert_eq!(bank.module.verify().await.unwrap(), []);
    bank.close().await;
});

on_each_world!(parts_are_exactly_the_whole_and_wait_for_wallets, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let (zoe, _) = identity("zoe");
    let try_fund = async |parts: &[(&str, &str)]| {
        let request = EscrowRequest { splits: splits(parts), ..asked(&bank, &ann, &bob, "50", "order-2") };
        fund(&bank, request, &ann).await
    };
    let bob_name = bob.did.as_str();
    assert_eq!(try_fund(&[(bob_name, "49.9")]).await.unwrap_err(), "SPLIT_SUM");
    let more = [(bob_name, "30"), (bob_name, "20.000000000000000001")];
    assert_eq!(try_fund(&more).await.unwrap_err(), "SPLIT_SUM");
    assert_eq!(try_fund(&[("nobody", "50")]).await.unwrap_err(), "RECIPIENT_UNKNOWN");
    let many: Vec<(&str, &str)> = (0..33).map(|_| (bob_name, "1")).collect();
    assert_eq!(try_fund(&many).await.unwrap_err(), "INVALID_REQUEST");
    let escrow = try_fund(&[(bob_name, "40"), (zoe.as_str(), "10")]).await.unwrap();
    let given = ann.client.clone().with_key(fresh()).call::<ReleaseEscrow>(&path(&escrow)).await.unwrap();
    let paid: Vec<bool> = given.parts.iter().map(|part| part.transaction_id.is_some()).collect();
    assert_eq!(paid, [true, false], "who has no wallet is listed, and the house keeps the part");
    assert_eq!(bank.module.verify().await.unwrap(), []);
    bank.module.service().tend_escrows().await.unwrap();
    let client = bank.world.client("qwallet", &zoe);
    let request = CreateWalletRequest::default();
    client.clone().with_key(fresh()).call::<CreateWallet>(&request).await.unwrap();
    bank.module.service().tend_escrows().await.unwrap();
    let asked = GetBalanceRequest { squid_id: zoe.to_string(), currency: None, at: None };
    let balance = client.call::<GetBalance>(&asked).await.unwrap();
    assert_eq!(balance.balances["QToken"].posted.as_str(), "10");
    let ended = ann.client.call::<GetEscrow>(&path(&escrow)).await.unwrap();
    assert!(ended.parts.iter().all(|part| part.transaction_id.is_some()));
    assert_eq!(bank.module.verify().await.unwrap(), []);
    bank.close().await;
});

on_each_world!(the_arbiter_decides_what_is_disputed, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let judge = bank.person("judge", "0").await;
    let request = EscrowRequest { arbiter: Some(judge.did.clone()), ..asked(&bank, &ann, &bob, "40", "o") };
    let escrow = fund(&bank, request, &ann).await.unwrap();
    let early = judge
        .client
        .clone()
        .with_key(fresh())
        .call::<ResolveEscrow>(&decision(&escrow, &[(bob.did.as_str(), "40")]))
        .await;
    assert_eq!(code(early), "ESCROW_STATE");
    let reason = DisputeEscrowRequest { escrow_id: escrow.escrow_id, reason: "broken".into() };
    let disputed = ann.client.clone().with_key(fresh()).call::<DisputeEscrow>(&reason).await.unwrap();
    assert_eq!((disputed.status.as_str(), disputed.dispute.as_deref()), ("DISPUTED", Some("broken")));
    // Neither the payer nor the day decides any more.
    let alone = ann.client.clone().with_key(fresh()).call::<ReleaseEscrow>(&path(&escrow)).await;
    assert_eq!(code(alone), "ESCROW_STATE");
    bank.world.clock.advance(Span::seconds(15 * 86_400));
    bank.module.service().tend_escrows().await.unwrap();
    // Neither for itself nor for a stranger: the money is the parties'.
    for taker in [judge.did.as_str(), bank.person("eve", "0").await.did.as_str()] {
        let unfair = decision(&escrow, &[(taker, "40")]);
        let refused = judge.client.clone().with_key(fresh()).call::<ResolveEscrow>(&unfair).await;
        assert_eq!(code(refused), "SPLIT_SUM");
    }
    let splits = [(ann.did.as_str(), "15"), (bob.did.as_str(), "25")];
    let decided = judge
        .client
        .clone()
        .with_key(fresh())
        .call::<ResolveEscrow>(&decision(&escrow, &splits))
        .await
        .unwrap();
    assert_eq!(decided.status, "RELEASED");
    assert_eq!(bank.balance(&bob).await.1, "25");
    assert_eq!(bank.balance(&ann).await.1, "74.76");
    let without = fund(&bank, asked(&bank, &ann, &bob, "1", "no-judge"), &ann).await.unwrap();
    let reason = DisputeEscrowRequest { escrow_id: without.escrow_id, reason: "why not".into() };
    assert_eq!(
        code(bob.client.clone().with_key(fresh()).call::<DisputeEscrow>(&reason).await),
        "ESCROW_STATE"
    );
    assert_eq!(bank.module.verify().await.unwrap(), []);
    bank.close().await;
});

on_each_world!(the_day_releases_and_the_payee_may_give_back_before, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let day = (bank.now() + Span::seconds(3_600)).to_string();
    let due = EscrowRequest { auto_release_at: Some(day), ..asked(&bank, &ann, &bob, "10", "due") };
    let due = fund(&bank, due, &ann).await.unwrap();
    let kept = fund(&bank, asked(&bank, &ann, &bob, "20", "kept"), &ann).await.unwrap();
    bank.module.service().tend_escrows().await.unwrap();
    assert_eq!(bank.balance(&bob).await.1, "0");
    bank.world.clock.advance(Span::seconds(3_600));
    bank.module.service().tend_escrows().await.unwrap();
    assert_eq!(bank.balance(&bob).await.1, "10");
    assert_eq!(bob.client.call::<GetEscrow>(&path(&due)).await.unwrap().status, "RELEASED");
    // Both at once: one of them gets its wish, and the money moves once.
    let give = ann.client.clone().with_key(fresh());
    let back = bob.client.clone().with_key(fresh());
    let (wish, refund) = (path(&kept), path(&kept));
    let (given, refunded) = join(give.call::<ReleaseEscrow>(&wish), back.call::<RefundEscrow>(&refund)).await;
    assert!(given.is_ok() != refunded.is_ok());
    let bob_has = bank.balance(&bob).await.1;
    assert_eq!(bob_has, if given.is_ok() { "30" } else { "10" });
    assert_eq!(bank.module.verify().await.unwrap(), []);
    bank.close().await;
});

on_each_world!(many_releases_at_once_pay_once, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let escrow = fund(&bank, asked(&bank, &ann, &bob, "5", "once"), &ann).await.unwrap();
    let wish = path(&escrow);
    let attempts = (0..32).map(|_| {
        let client = ann.client.clone().with_key(fresh());
        let wish = &wish;
        async move { client.call::<ReleaseEscrow>(wish).await.is_ok() }
    });
    let given = join_all(attempts).await.into_iter().filter(|is_given| *is_given).count();
    assert_eq!((given, bank.balance(&bob).await.1.as_str()), (1, "5"));
    let mut edited = signed(&bank, asked(&bank, &ann, &bob, "5", "edited"), &ann);
    edited.recipient = ann.wallet.wallet_ref.clone();
    assert_eq!(
        code(ann.client.clone().with_key(fresh()).call::<CreateEscrow>(&edited).await),
        "SIGNATURE_INVALID"
    );
    bank.close().await;
});

on_each_world!(each_part_costs_what_its_recipient_costs, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "1000").await, bank.person("bob", "0").await);
    bank.stands("robot", q_core::IdentityKind::Root, &[&ann]);
    let robot = bank.person("robot", "0").await;
    let zoe = identity("zoe").0;
    let parts = [(bob.did.as_str(), "30"), (robot.did.as_str(), "60"), (zoe.as_str(), "10")];
    let request = EscrowRequest { splits: splits(&parts), ..asked(&bank, &ann, &bob, "100", "order-1") };
    let escrow = fund(&bank, request, &ann).await.unwrap();
    // What stays in the family costs nothing; the rest is 0.6 percent of 40.
    assert_eq!(escrow.fees.total.as_str(), "0.24");
    let alone = [(robot.did.as_str(), "50")];
    let request = EscrowRequest { splits: splits(&alone), ..asked(&bank, &ann, &bob, "50", "order-2") };
    assert_eq!(fund(&bank, request, &ann).await.unwrap().fees.total.as_str(), "0");
    assert_eq!(bank.module.verify().await.unwrap(), []);
    // What was paid in before anybody noted the settings was priced as a whole.
    let change = async |sql: &'static str| {
        assert!(bank.module.db().write(move |tx| tx.execute(sql, &[])).await.unwrap() > 0, "{sql}");
    };
    change("UPDATE fee_settings SET platform = platform + 1").await;
    let codes: Vec<_> = bank.module.verify().await.unwrap().into_iter().map(|found| found.code).collect();
    assert_eq!(codes, ["fee_mismatch"], "the part that costs something");
    change("UPDATE fee_settings SET since = since + 3600000000").await;
    assert_eq!(bank.module.verify().await.unwrap(), []);
    let sql = "UPDATE escrows SET platform_fee = network_fee WHERE platform_fee <> network_fee";
    bank.module.db().write(move |tx| tx.execute(sql, &[])).await.unwrap();
    let codes: Vec<_> = bank.module.verify().await.unwrap().into_iter().map(|found| found.code).collect();
    assert_eq!(codes, ["escrow_fees"]);
    bank.world.abandon().await;
});
