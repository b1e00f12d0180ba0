//! Reading wallets: by whom, and what they say.

use q_contract::CallError;
use q_core::{PageLimit, Span};
use q_pdp::Resource;
use q_testkit::{World, on_each_world};
use qwallet_api::{
    CreateIntentRequest, CreatePayment, CreateWallet, CreateWalletRequest, GetBalance, GetBalanceRequest,
    GetQuote, GetTransaction, GetWallet, ListCurrencies, ListCurrenciesRequest, ListTransactions,
    ListTransactionsRequest, ListWallets, ListWalletsRequest, PaymentRequest, QuoteRequest, SignIntent,
    TransactionPath, WalletPath,
};

use crate::support::{Bank, Person, ask, code, fresh, intend_as, signature};

fn history(person: &Person, limit: u32) -> ListTransactionsRequest {
    ListTransactionsRequest {
        squid_id: person.wallet.wallet_ref.clone(),
        limit: PageLimit::try_from(limit).unwrap(),
        ..ListTransactionsRequest::default()
    }
}

on_each_world!(a_wallet_is_read_by_whom_its_owner_allows, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "5").await, bank.person("bob", "0").await);
    let path = WalletPath { squid_id: ann.did.to_string() };
    let balance = GetBalanceRequest { squid_id: ann.wallet.wallet_ref.clone(), currency: None, at: None };
    let list = history(&ann, 50);
    let own = ann.client.call::<GetWallet>(&path).await.unwrap();
    assert_eq!((own.label.as_deref(), own.status.as_str()), (Some("ann's"), "ACTIVE"));
    assert_eq!(code(bob.client.call::<GetWallet>(&path).await), "WALLET_NOT_FOUND");
    assert_eq!(code(bob.client.call::<GetBalance>(&balance).await), "WALLET_NOT_FOUND");
    assert_eq!(code(bob.client.call::<ListTransactions>(&list).await), "WALLET_NOT_FOUND");
    let nobody = WalletPath { squid_id: "did:squid:QmNobody".into() };
    assert_eq!(code(bob.client.call::<GetWallet>(&nobody).await), "WALLET_NOT_FOUND");
    let resource: Resource = format!("qwallet:wallet:{}", ann.wallet.wallet_id).parse().unwrap();
    let grant = bank.grant(&ann.did, &ann.key, &bob.did, &resource, "read").await;
    assert_eq!(bob.client.call::<GetWallet>(&path).await.unwrap().wallet_ref, ann.wallet.wallet_ref);
    assert_eq!(
        bob.client.call::<GetBalance>(&balance).await.unwrap().balances["QToken"].posted.as_str(),
        "5"
    );
    bob.client.call::<ListTransactions>(&list).await.unwrap();
    bank.revoke(&grant).await;
    assert_eq!(code(bob.client.call::<GetWallet>(&path).await), "WALLET_NOT_FOUND");
    bank.close().await;
});

on_each_world!(an_identity_has_one_wallet, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "0").await, bank.person("bob", "0").await);
    let again = CreateWalletRequest::default();
    assert_eq!(
        code(ann.client.clone().with_key(fresh()).call::<CreateWallet>(&again).await),
        "WALLET_EXISTS"
    );
    let for_bob = CreateWalletRequest { owner: Some(bob.did.clone()), ..CreateWalletRequest::default() };
    assert_eq!(code(ann.client.clone().with_key(fresh()).call::<CreateWallet>(&for_bob).await), "FORBIDDEN");
    let wallets = ann.client.call::<ListWallets>(&ListWalletsRequest {}).await.unwrap();
    assert_eq!(wallets.items.len(), 1);
    assert_eq!(wallets.items[0].wallet_id, ann.wallet.wallet_id);
    bank.close().await;
});

on_each_world!(history_pages_lose_nothing_and_the_past_stays, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let before = bank.now();
    for number in 1..=5 {
        bank.world.clock.advance(Span::seconds(10));
        let order = bank.signed(bank.order(&ann, bob.did.as_str(), &number.to_string()), &ann);
        ann.client.clone().with_key(fresh()).call::<CreatePayment>(&order).await.unwrap();
    }
    let mut seen = Vec::new();
    let mut request = history(&ann, 4);
    loop {
        let page = ann.client.call::<ListTransactions>(&request).await.unwrap();
        seen.extend(page.items);
        match page.next_cursor {
            Some(cursor) => request.cursor = Some(cursor),
            None => break,
        }
    }
    let versions: Vec<i64> = seen.iter().map(|entry| entry.account_version).collect();
    assert_eq!(versions, (1..=16).rev().collect::<Vec<_>>());
    assert_eq!((seen[0].leg.as_str(), seen[0].amount.as_str()), ("networkFee", "-0.005"));
    assert_eq!(seen[2].counterparty, bob.wallet.wallet_ref);
    assert_eq!(seen[0].balance_after.as_str(), "84.91");
    assert_eq!(seen[0].balance_after.as_str(), bank.balance(&ann).await.1);
    let at = |at| GetBalanceRequest {
        squid_id: ann.wallet.wallet_ref.clone(),
        currency: Some("QToken".into()),
        at: Some(at),
    };
    for (seconds, posted) in
        [(-10, "0"), (0, "100"), (10, "98.994"), (19, "98.994"), (20, "96.982"), (99, "84.91")]
    {
        let report = ann.client.call::<GetBalance>(&at(before + Span::seconds(seconds))).await.unwrap();
        assert_eq!(report.balances["QToken"].posted.as_str(), posted, "after {seconds} s");
    }
    let recent = ListTransactionsRequest { from: Some(before + Span::seconds(50)), ..history(&ann, 50) };
    assert_eq!(ann.client.call::<ListTransactions>(&recent).await.unwrap().items.len(), 3);
    let path = TransactionPath { transaction_id: seen[0].transaction_id };
    assert_eq!(bob.client.call::<GetTransaction>(&path).await.unwrap().amount.as_str(), "5");
    let eve = bank.person("eve", "0").await;
    assert_eq!(code(eve.client.call::<GetTransaction>(&path).await), "TRANSACTION_NOT_FOUND");
    bank.close().await;
});

on_each_world!(a_history_is_searched, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob, eve) =
        (bank.person("ann", "100").await, bank.person("bob", "0").await, bank.person("eve", "0").await);
    let pay = async |to: &Person, amount: &str, purpose: &str| {
        bank.world.clock.advance(Span::seconds(60));
        let order = bank.order(&ann, &to.wallet.wallet_ref, amount);
        let order = PaymentRequest { purpose: Some(purpose.into()), ..order };
        let paid =
            ann.client.clone().with_key(fresh()).call::<CreatePayment>(&bank.signed(order, &ann)).await;
        paid.unwrap().transaction_id
    };
    let bread = pay(&bob, "1", "Bread and butter").await;
    let middle = bank.now();
    let (rent, gift) = (pay(&eve, "20", "Rent").await, pay(&bob, "3", "a GIFT of bread").await);
    let held =
        intend_as(&ann, &CreateIntentRequest { purpose: Some("later".into()), ..ask(&eve, "2") }).await;
    let held = signature(&held, &ann);
    let held = ann.client.clone().with_key(fresh()).call::<SignIntent>(&held).await.unwrap().transaction_id;
    let ask = async |change: &dyn Fn(&mut ListTransactionsRequest)| {
        let mut request = history(&ann, 50);
        change(&mut request);
        let items = ann.client.call::<ListTransactions>(&request).await?.items;
        let principal = items.into_iter().filter(|entry| entry.leg == "principal");
        Ok::<_, CallError>(principal.map(|entry| entry.transaction_id).collect::<Vec<_>>())
    };
    assert_eq!(ask(&|it| it.q = Some("BREAD".into())).await.unwrap(), [gift, bread]);
    assert_eq!(ask(&|it| it.q = Some(rent.to_string())).await.unwrap(), [rent]);
    assert_eq!(ask(&|it| it.counterparty = Some(eve.did.to_string())).await.unwrap(), [held, rent]);
    assert_eq!(ask(&|it| it.min_amount = Some("3".into())).await.unwrap(), [gift, rent]);
    assert_eq!(ask(&|it| it.status = Some("SIGNED".into())).await.unwrap(), [held]);
    assert_eq!(ask(&|it| it.r#type = Some("issuance".into())).await.unwrap(), []);
    assert_eq!(ask(&|it| it.to = Some(middle)).await.unwrap(), []);
    assert_eq!(ask(&|it| it.to = Some(middle + Span::seconds(1))).await.unwrap(), [bread]);
    assert_eq!(ask(&|it| it.from = Some(middle + Span::seconds(1))).await.unwrap(), [held, gift, rent]);
    assert_eq!(code(ask(&|it| it.status = Some("LOST".into())).await), "INVALID_REQUEST");
    assert_eq!(code(ask(&|it| it.r#type = Some("bribe".into())).await), "INVALID_REQUEST");
    assert_eq!(code(ask(&|it| it.min_amount = Some("1e3".into())).await), "AMOUNT_MALFORMED");
    let fees = ListTransactionsRequest { counterparty: Some("fees:platform".into()), ..history(&ann, 50) };
    assert_eq!(ann.client.call::<ListTransactions>(&fees).await.unwrap().items.len(), 4);
    // Page by page the same, and every page says what is held and what it cost.
    let mut request = ListTransactionsRequest { min_amount: Some("1".into()), ..history(&ann, 1) };
    let mut seen = Vec::new();
    loop {
        let page = ann.client.call::<ListTransactions>(&request).await.unwrap();
        seen.extend(page.items);
        request.cursor = page.next_cursor;
        if request.cursor.is_none() {
            break;
        }
    }
    let seen: Vec<_> = seen
        .iter()
        .map(|entry| {
            (
                entry.amount.as_str(),
                entry.status.as_str(),
                entry.fees.as_ref().map(|fees| fees.total.as_str()),
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            ("-2", "SIGNED", Some("0.012")),
            ("-3", "SETTLED", Some("0.018")),
            ("-20", "SETTLED", Some("0.12")),
            ("-1", "SETTLED", Some("0.006")),
            ("100", "SETTLED", None),
        ]
    );
    bank.close().await;
});

on_each_world!(quotes_and_currencies, async |world: World| {
    let bank = Bank::open(world).await;
    let ann = bank.person("ann", "0").await;
    let ask = |amount: &str, currency: &str| QuoteRequest::of(amount, currency);
    let quote = ann.client.call::<GetQuote>(&ask("200", "QToken")).await.unwrap();
    assert_eq!((quote.fees.platform.as_str(), quote.fees.network.as_str()), ("1", "0.2"));
    assert_eq!(code(ann.client.call::<GetQuote>(&ask("1", "EUR")).await), "CURRENCY_UNSUPPORTED");
    assert_eq!(code(ann.client.call::<GetQuote>(&ask("1.123456789", "PI")).await), "AMOUNT_PRECISION");
    let currencies = ann.client.call::<ListCurrencies>(&ListCurrenciesRequest {}).await.unwrap();
    let scales: Vec<_> = currencies.items.iter().map(|it| (it.code.as_str(), it.scale)).collect();
    assert_eq!(scales, [("QToken", 18), ("PI", 8)]);
    bank.close().await;
});

on_each_world!(health_names_what_the_module_depends_on, async |world: World| {
    let bank = Bank::open(world).await;
    let ann = bank.person("ann", "0").await;
    let health = async || {
        let answer = ann.client.send("GET", "/health", Vec::new().into(), "").await.unwrap();
        let body: serde_json::Value = serde_json::from_slice(answer.body()).unwrap();
        let of = |name: &str| body["dependencies"][name]["status"].as_str().unwrap().to_owned();
        assert!(body["dependencies"]["qonsent"]["latency"].is_u64(), "{body}");
        (
            answer.status().as_u16(),
            body["status"].as_str().unwrap().to_owned(),
            ["store", "squid", "qonsent"].map(of),
        )
    };
    // No squid is in this world: payments by known keys go on.
    let (status, word, each) = health().await;
    assert_eq!((status, word.as_str(), each), (200, "degraded", ["up", "down", "up"].map(str::to_owned)));
    bank.world.clock.advance(Span::seconds(60));
    let (status, word, each) = health().await;
    assert_eq!((status, word.as_str(), each), (200, "degraded", ["up", "down", "down"].map(str::to_owned)));
    bank.close().await;
});
