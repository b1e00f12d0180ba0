//! Money from a chain and back to it, on anvil: deposits, withdrawals, rewritten chains, nodes that stop or lie.

use q_core::Span;
use q_oracle::Anvil;
use q_runtime::Module;
use q_testkit::{World, identity, on_each_world};
use qwallet_api::{
    CreateWithdrawal, DepositAddressRequest, GetDepositAddress, GetQuote, GetWithdrawal, GetWithdrawalQuote,
    ListCurrencies, ListCurrenciesRequest, ListDeposits, ListRails, ListRailsRequest, QuoteRequest,
    RAIL_KEY_TYP, RailKeyOrder, RailPath, RailState, ReconcileRail, SetRailKey, SetRailKeyRequest,
    WalletPath, Withdrawal, WithdrawalPath, WithdrawalQuoteRequest, WithdrawalRequest, signing,
};

use crate::support::{Bank, Person, code, fresh, settings, sign_as};

pub const COIN: u128 = 1_000_000_000_000_000_000;
pub const STRANGER: &str = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";

/// A bank with a rail on a chain of its own.
pub struct Harbour {
    pub bank: Bank,
    pub anvil: Anvil,
    token: Option<String>,
}

impl Harbour {
    /// A harbour for a token, or for the chain's own coin; none without the oracle.
    pub async fn open(world: World, has_token: bool) -> Option<Self> {
        let anvil = Anvil::start()?;
        let token = if has_token { Some(anvil.deploy_token(1_000_000 * COIN)?) } else { None };
        anvil.mine(3);
        let text = |text: String| -> &'static str { text.leak() };
        let settings = settings(&[
            ("limit_transaction", "none"),
            ("limit_daily", "none"),
            ("limit_monthly", "none"),
            ("rail_evm_url", text(anvil.url())),
            ("rail_evm_chain_id", "31337"),
            ("rail_evm_token", text(token.clone().unwrap_or_default())),
            ("rail_evm_confirmations", "3"),
            ("rail_evm_fee", "0.25"),
        ]);
        let bank = Bank::open_with(world, settings).await;
        let harbour = Self { bank, anvil, token };
        let [first, _] = harbour.bank.approvers().await;
        harbour.bank.world.make_operator(&first.0);
        assert_eq!(harbour.state().await.status, "NO_KEY");
        harbour.set_key(1, &["first", "second"]).await.unwrap();
        harbour.visit().await;
        assert_eq!(harbour.state().await.status, "UP");
        Some(harbour)
    }

    pub async fn set_key(&self, generation: u32, signers: &[&str]) -> Result<RailState, String> {
        let expires_at = (self.bank.now() + Span::seconds(600)).to_string();
        let aud = self.bank.world.instance.did.as_str();
        let order = RailKeyOrder { aud, expires_at: &expires_at, generation, rail: "evm", v: 1 };
        let input = signing::signing_input(&order);
        let approvals = signers.iter().map(|name| {
            let (did, key) = identity(name);
            sign_as(RAIL_KEY_TYP, &input, &did, &key)
        });
        let approvals = approvals.collect();
        let request = SetRailKeyRequest { rail: "evm".into(), generation, expires_at, approvals };
        let client = self.bank.world.client("qwallet", &identity("first").0).with_key(fresh());
        client.call::<SetRailKey>(&request).await.map_err(|refused| code(Err::<(), _>(refused)))
    }

    /// Visits the rail once.
    pub async fn visit(&self) {
        self.bank.module.service().tend_rails().await.unwrap();
    }

    pub async fn fails(&self) -> String {
        self.bank.module.service().tend_rails().await.unwrap_err()
    }

    pub async fn state(&self) -> RailState {
        let client = self.bank.world.client("qwallet", &identity("first").0);
        client.call::<ListRails>(&ListRailsRequest {}).await.unwrap().items.remove(0)
    }

    pub async fn reconcile(&self) -> RailState {
        let client = self.bank.world.client("qwallet", &identity("first").0).with_key(fresh());
        client.call::<ReconcileRail>(&RailPath { rail: "evm".into() }).await.unwrap()
    }

    pub async fn address(&self, person: &Person) -> String {
        let squid_id = person.wallet.wallet_ref.clone();
        let request = DepositAddressRequest { squid_id, rail: "evm".into() };
        person.client.call::<GetDepositAddress>(&request).await.unwrap().address
    }

    /// Sends what the rail carries.
    pub fn send(&self, to: &str, units: u128) -> String {
        match &self.token {
            Some(token) => self.anvil.send_token(token, to, units),
            None => self.anvil.send(to, units, "0x"),
        }
    }

    /// Gives the house something to pay out, and what fees are paid in.
    pub async fn fund(&self, units: u128) {
        let house = self.state().await.house_address.unwrap();
        self.send(&house, units);
        if self.token.is_some() {
            self.anvil.send(&house, COIN, "0x");
        }
        self.anvil.mine(3);
        self.visit().await;
    }

    pub async fn balance(&self, person: &Person) -> (String, String, String) {
        let request = qwallet_api::GetBalanceRequest {
            squid_id: person.wallet.wallet_ref.clone(),
            currency: None,
            at: None,
        };
        let report = person.client.call::<qwallet_api::GetBalance>(&request).await.unwrap();
        let balance = &report.balances["QToken"];
        let text = |amount: &q_core::AmountText| amount.as_str().to_owned();
        (text(&balance.available), text(&balance.pending_in), text(&balance.pending_out))
    }

    pub async fn deposits(&self, person: &Person) -> Vec<(String, Option<String>)> {
        let path = WalletPath { squid_id: person.wallet.wallet_ref.clone() };
        let list = person.client.call::<ListDeposits>(&path).await.unwrap();
        let told = list.items.into_iter();
        told.map(|item| (item.status, item.amount.map(|amount| amount.as_str().to_owned()))).collect()
    }

    pub fn order(&self, payer: &Person, to: &str, amount: &str) -> WithdrawalRequest {
        self.bank.withdrawal(payer, "evm", to, amount)
    }

    pub async fn withdraw(&self, payer: &Person, order: &WithdrawalRequest) -> Result<Withdrawal, String> {
        let client = payer.client.clone().with_key(fresh());
        client.call::<CreateWithdrawal>(order).await.map_err(|refused| code(Err::<(), _>(refused)))
    }

    pub async fn withdrawal(&self, payer: &Person, withdrawal: &Withdrawal) -> Withdrawal {
        let path = WithdrawalPath { withdrawal_id: withdrawal.withdrawal_id };
        payer.client.call::<GetWithdrawal>(&path).await.unwrap()
    }

    /// The house's address pays in the token what is known nowhere here, as before its store was put back; gives the hash.
    pub async fn pays_unknown(&self, to: &str, units: u128) -> String {
        let house = self.state().await.house_address.unwrap();
        let token = self.token.as_ref().unwrap();
        let word = to.trim_start_matches("0x").to_lowercase();
        self.anvil.call("anvil_impersonateAccount", &format!(r#"["{house}"]"#));
        let call = format!(
            r#"[{{"from":"{house}","to":"{token}","value":"0x0","data":"0xa9059cbb{word:0>64}{units:064x}"}}]"#
        );
        let hash = self.anvil.call("eth_sendTransaction", &call).trim_matches('"').to_owned();
        self.anvil.call("anvil_stopImpersonatingAccount", &format!(r#"["{house}"]"#));
        self.anvil.wait_for(&hash);
        hash
    }

    pub fn held_by(&self, address: &str) -> u128 {
        let text = match &self.token {
            Some(token) => {
                let word = address.trim_start_matches("0x").to_lowercase();
                let data = format!("0x70a08231{word:0>64}");
                self.anvil.call("eth_call", &format!(r#"[{{"to":"{token}","data":"{data}"}}, "latest"]"#))
            }
            None => self.anvil.call("eth_getBalance", &format!(r#"["{address}", "latest"]"#)),
        };
        u128::from_str_radix(text.trim_matches('"').trim_start_matches("0x"), 16).unwrap()
    }

    /// The topics of the events told so far, of the rails.
    pub async fn told(&self) -> Vec<String> {
        let events = self.bank.module.db().events_after(0, 10_000, None).await.unwrap();
        let topics = events.into_iter().map(|row| row.event.topic);
        topics.filter(|topic| topic.contains(".rail.")).collect()
    }

    /// Nothing is wrong in the store, and books and chain agree.
    pub async fn close(self) {
        let findings = self.bank.module.verify().await.unwrap();
        assert_eq!(findings, []);
        self.bank.close().await;
    }
}

on_each_world!(a_deposit_is_shown_at_once_and_credited_when_it_is_final, async |world: World| {
    let Some(harbour) = Harbour::open(world, true).await else { return };
    let (ann, bob) = (harbour.bank.person("ann", "0").await, harbour.bank.person("bob", "0").await);
    let address = harbour.address(&ann).await;
    assert_eq!(harbour.address(&ann).await, address, "an address stays");
    assert_ne!(harbour.address(&bob).await, address);
    assert_eq!(ann.wallet.rails, ["internal", "evm"]);
    let currencies = ann.client.call::<ListCurrencies>(&ListCurrenciesRequest {}).await.unwrap().items;
    let carried = currencies.iter().filter(|currency| currency.rails == ["internal", "evm"]).count();
    assert_eq!(carried, 1, "a rail carries one currency: {currencies:?}");
    assert!(currencies.iter().all(|currency| currency.rails[0] == "internal"));
    harbour.send(&address, 5 * COIN);
    harbour.visit().await;
    assert_eq!(harbour.balance(&ann).await, ("0".into(), "5".into(), "0".into()));
    harbour.visit().await;
    assert_eq!(harbour.deposits(&ann).await, [("PENDING".into(), Some("5".into()))]);
    harbour.anvil.mine(2);
    harbour.visit().await;
    assert_eq!(harbour.balance(&ann).await, ("5".into(), "0".into(), "0".into()));
    harbour.visit().await;
    assert_eq!(harbour.deposits(&ann).await, [("CREDITED".into(), Some("5".into()))]);
    let state = harbour.reconcile().await;
    let compared = state.reconciled.unwrap();
    assert_eq!((compared.chain.as_str(), compared.difference.as_str()), ("5", "0"));
    assert_eq!(harbour.told().await, ["q.qwallet.rail.deposit.v1"; 2]);
    harbour.close().await;
});

on_each_world!(a_withdrawal_is_held_signed_kept_sent_and_settled_when_final, async |world: World| {
    let Some(harbour) = Harbour::open(world, true).await else { return };
    let ann = harbour.bank.person("ann", "100").await;
    harbour.fund(1_000 * COIN).await;
    let quote =
        WithdrawalQuoteRequest { rail: "evm".into(), amount: "40".into(), recipient: STRANGER.into() };
    let quote = ann.client.call::<GetWithdrawalQuote>(&quote).await.unwrap();
    assert_eq!((quote.fees.network.as_str(), quote.fees.platform.as_str()), ("0.25", "0.2"));
    let asked = QuoteRequest {
        network: Some("evm".into()),
        recipient: Some(STRANGER.into()),
        ..QuoteRequest::of("40", "QToken")
    };
    let told = ann.client.call::<GetQuote>(&asked).await.unwrap();
    assert_eq!((told.network.as_str(), &told.fees), ("evm", &quote.fees));
    assert_eq!(
        (told.quote_id, told.valid_until),
        (None, None),
        "the chain's price is not the house's to hold"
    );
    let other = QuoteRequest { currency: "PI".into(), ..asked };
    assert_eq!(code(ann.client.call::<GetQuote>(&other).await), "CURRENCY_UNSUPPORTED");
    let order = harbour.order(&ann, STRANGER, "40");
    let client = ann.client.clone().with_key("once");
    let withdrawal = client.call::<CreateWithdrawal>(&order).await.unwrap();
    assert_eq!(withdrawal.status, "PENDING");
    assert_eq!(harbour.balance(&ann).await, ("59.55".into(), "0".into(), "40.45".into()));
    let again = client.call::<CreateWithdrawal>(&order).await.unwrap();
    assert_eq!(again.withdrawal_id, withdrawal.withdrawal_id, "a repetition is the same withdrawal");

    harbour.anvil.stop_mining();
    harbour.visit().await;
    let sent = harbour.withdrawal(&ann, &withdrawal).await;
    assert_eq!(sent.status, "BROADCASTING");
    harbour.anvil.mine(1);
    harbour.anvil.wait_for(sent.chain_hash.as_ref().unwrap());
    harbour.visit().await;
    assert_eq!(harbour.withdrawal(&ann, &withdrawal).await.status, "CONFIRMED");
    assert_eq!(harbour.balance(&ann).await.2, "40.45", "still held");
    harbour.anvil.mine(2);
    harbour.visit().await;
    assert_eq!(harbour.withdrawal(&ann, &withdrawal).await.status, "SETTLED");
    assert_eq!(harbour.balance(&ann).await, ("59.55".into(), "0".into(), "0".into()));
    assert_eq!(harbour.held_by(STRANGER), 40 * COIN);
    let compared = harbour.reconcile().await.reconciled.unwrap();
    assert_eq!((compared.books.as_str(), compared.difference.as_str()), ("960", "0"));
    harbour.close().await;
});

on_each_world!(the_chains_own_coin_pays_its_fee_and_the_rest_of_it_goes_back, async |world: World| {
    let Some(harbour) = Harbour::open(world, false).await else { return };
    let ann = harbour.bank.person("ann", "0").await;
    let address = harbour.address(&ann).await;
    harbour.send(&address, 10 * COIN);
    harbour.fund(20 * COIN).await;
    assert_eq!(harbour.balance(&ann).await.0, "10");
    let withdrawal = harbour.withdraw(&ann, &harbour.order(&ann, STRANGER, "4")).await.unwrap();
    let before = harbour.held_by(STRANGER);
    for _ in 0..4 {
        harbour.visit().await;
        harbour.anvil.mine(3);
    }
    harbour.visit().await;
    assert_eq!(harbour.withdrawal(&ann, &withdrawal).await.status, "SETTLED");
    assert_eq!(harbour.held_by(STRANGER) - before, 4 * COIN);
    // What was deposited has been moved to the house, and every fee of the chain is in the books.
    assert!(harbour.held_by(&address) < COIN / 10);
    let compared = harbour.reconcile().await.reconciled.unwrap();
    assert_eq!(compared.difference.as_str(), "0");
    let held: f64 = withdrawal.fees.total.as_str().parse().unwrap();
    let left: f64 = harbour.balance(&ann).await.0.parse().unwrap();
    assert!(left > 6.0 - held && left < 5.98, "{left}: less was taken than was held ({held})");
    harbour.close().await;
});

on_each_world!(a_rewritten_chain_takes_away_what_it_no_longer_shows, async |world: World| {
    let Some(harbour) = Harbour::open(world, true).await else { return };
    let ann = harbour.bank.person("ann", "100").await;
    harbour.fund(1_000 * COIN).await;
    let address = harbour.address(&ann).await;
    harbour.send(&address, 5 * COIN);
    harbour.visit().await;
    assert_eq!(harbour.balance(&ann).await.1, "5");
    harbour.anvil.reorg(1);
    harbour.visit().await;
    assert_eq!(harbour.balance(&ann).await.1, "0");
    assert_eq!(harbour.deposits(&ann).await[0].0, "REMOVED");

    let withdrawal = harbour.withdraw(&ann, &harbour.order(&ann, STRANGER, "10")).await.unwrap();
    harbour.visit().await;
    let sent = harbour.withdrawal(&ann, &withdrawal).await;
    harbour.anvil.wait_for(sent.chain_hash.as_ref().unwrap());
    harbour.visit().await;
    assert_eq!(harbour.withdrawal(&ann, &withdrawal).await.status, "CONFIRMED");
    harbour.anvil.reorg(1);
    harbour.visit().await;
    assert_ne!(harbour.withdrawal(&ann, &withdrawal).await.status, "SETTLED");
    // The same bytes are sent again, and make their block.
    harbour.visit().await;
    let again = harbour.withdrawal(&ann, &withdrawal).await;
    assert_eq!(again.chain_hash, sent.chain_hash);
    harbour.anvil.wait_for(again.chain_hash.as_ref().unwrap());
    harbour.anvil.mine(3);
    harbour.visit().await;
    assert_eq!(harbour.withdrawal(&ann, &withdrawal).await.status, "SETTLED");
    assert_eq!(harbour.held_by(STRANGER), 10 * COIN, "once");
    let told = harbour.told().await;
    assert_eq!(told.iter().filter(|topic| topic.ends_with("reorg.v1")).count(), 2);
    harbour.close().await;
});

on_each_world!(what_was_signed_is_sent_again_after_the_node_forgot_it, async |world: World| {
    let Some(mut harbour) = Harbour::open(world, true).await else { return };
    let ann = harbour.bank.person("ann", "100").await;
    harbour.fund(1_000 * COIN).await;
    let withdrawal = harbour.withdraw(&ann, &harbour.order(&ann, STRANGER, "40")).await.unwrap();
    harbour.anvil.stop_mining();
    harbour.visit().await;
    let sent = harbour.withdrawal(&ann, &withdrawal).await;
    // What waits in a node is lost with it.
    harbour.anvil.stop();
    harbour.fails().await;
    assert_eq!(harbour.state().await.status, "DOWN");
    let health = harbour.bank.module.service().rails.trouble();
    assert!(health.is_some_and(|trouble| trouble.contains("DOWN")));
    harbour.anvil.start_again();
    harbour.visit().await;
    assert_eq!(harbour.state().await.status, "UP");
    let again = harbour.withdrawal(&ann, &withdrawal).await;
    assert_eq!((again.status.as_str(), &again.chain_hash), ("BROADCASTING", &sent.chain_hash));
    harbour.anvil.wait_for(again.chain_hash.as_ref().unwrap());
    harbour.anvil.mine(3);
    harbour.visit().await;
    assert_eq!(harbour.withdrawal(&ann, &withdrawal).await.status, "SETTLED");
    assert_eq!(harbour.held_by(STRANGER), 40 * COIN);
    harbour.close().await;
});

on_each_world!(what_no_block_takes_is_offered_again_for_more_and_made_once, async |world: World| {
    let Some(harbour) = Harbour::open(world, true).await else { return };
    let ann = harbour.bank.person("ann", "100").await;
    harbour.fund(1_000 * COIN).await;
    let withdrawal = harbour.withdraw(&ann, &harbour.order(&ann, STRANGER, "40")).await.unwrap();
    harbour.anvil.stop_mining();
    harbour.visit().await;
    let first = harbour.withdrawal(&ann, &withdrawal).await.chain_hash.unwrap();
    harbour.visit().await;
    assert_eq!(harbour.withdrawal(&ann, &withdrawal).await.chain_hash.as_ref(), Some(&first));
    harbour.bank.world.clock.advance(Span::seconds(601));
    harbour.visit().await;
    let second = harbour.withdrawal(&ann, &withdrawal).await.chain_hash.unwrap();
    assert_ne!(second, first);
    harbour.anvil.mine(3);
    harbour.visit().await;
    let settled = harbour.withdrawal(&ann, &withdrawal).await;
    assert_eq!((settled.status.as_str(), settled.chain_hash), ("SETTLED", Some(second)));
    assert_eq!(harbour.held_by(STRANGER), 40 * COIN, "once");
    harbour.close().await;
});

on_each_world!(what_the_chain_refuses_is_free_again, async |world: World| {
    let Some(harbour) = Harbour::open(world, true).await else { return };
    let ann = harbour.bank.person("ann", "100").await;
    harbour.fund(50 * COIN).await;
    let (house, token) = (harbour.state().await.house_address.unwrap(), harbour.token.clone().unwrap());
    let set = |units: u128| {
        harbour.anvil.call("anvil_dealERC20", &format!(r#"["{house}", "{token}", "{units:#x}"]"#));
    };
    let first = harbour.withdraw(&ann, &harbour.order(&ann, STRANGER, "40")).await.unwrap();
    harbour.anvil.stop_mining();
    harbour.visit().await;
    // By the time it is in a block there is nothing to send.
    set(0);
    harbour.anvil.mine(3);
    set(50 * COIN);
    harbour.anvil.mine(1);
    harbour.visit().await;
    let refused = harbour.withdrawal(&ann, &first).await;
    assert_eq!((refused.status.as_str(), refused.reason.is_some()), ("FAILED", true));
    assert_eq!(harbour.balance(&ann).await, ("100".into(), "0".into(), "0".into()));
    harbour.anvil.go_on_mining();

    let second = harbour.withdraw(&ann, &harbour.order(&ann, STRANGER, "40")).await.unwrap();
    harbour.bank.world.clock.advance(Span::seconds(1));
    let third = harbour.withdraw(&ann, &harbour.order(&ann, STRANGER, "40")).await.unwrap();
    harbour.visit().await;
    harbour.anvil.mine(3);
    harbour.visit().await;
    assert_eq!(harbour.withdrawal(&ann, &second).await.status, "SETTLED");
    // The house lacks money there: the other one waits, says why, and is given up after a day.
    let waiting = harbour.withdrawal(&ann, &third).await;
    assert_eq!((waiting.status.as_str(), waiting.reason.is_some()), ("PENDING", true));
    harbour.bank.world.clock.advance(Span::seconds(86_401));
    harbour.visit().await;
    assert_eq!(harbour.withdrawal(&ann, &third).await.status, "FAILED");
    assert_eq!(harbour.balance(&ann).await, ("59.55".into(), "0".into(), "0".into()));
    harbour.close().await;
});

on_each_world!(
    a_number_somebody_else_used_pauses_the_rail_until_an_operator_reconciles,
    async |world: World| {
        let Some(harbour) = Harbour::open(world, true).await else { return };
        let ann = harbour.bank.person("ann", "100").await;
        harbour.fund(1_000 * COIN).await;
        let house = harbour.state().await.house_address.unwrap();
        let withdrawal = harbour.withdraw(&ann, &harbour.order(&ann, STRANGER, "40")).await.unwrap();
        harbour.anvil.stop_mining();
        harbour.visit().await;
        let sent = harbour.withdrawal(&ann, &withdrawal).await.chain_hash.unwrap();
        // Somebody with the same key was faster.
        harbour.anvil.call("anvil_dropTransaction", &format!(r#"["{sent}"]"#));
        harbour.anvil.call("anvil_impersonateAccount", &format!(r#"["{house}"]"#));
        let other = format!(r#"[{{"from":"{house}","to":"{house}","value":"0x0","nonce":"0x0"}}]"#);
        harbour.anvil.call("eth_sendTransaction", &other);
        harbour.anvil.mine(3);
        for _ in 0..3 {
            assert!(harbour.fails().await.contains("was used for another one"));
        }
        assert_eq!(harbour.state().await.status, "PAUSED");
        assert_eq!(
            harbour.withdrawal(&ann, &withdrawal).await.status,
            "BROADCASTING",
            "nothing ends by itself"
        );
        assert_eq!(harbour.reconcile().await.status, "UP");
        assert_eq!(harbour.withdrawal(&ann, &withdrawal).await.status, "FAILED");
        assert_eq!(harbour.balance(&ann).await, ("100".into(), "0".into(), "0".into()));
        assert_eq!(harbour.held_by(STRANGER), 0);
        // The next one goes out under the next number.
        let next = harbour.withdraw(&ann, &harbour.order(&ann, STRANGER, "10")).await.unwrap();
        harbour.visit().await;
        harbour.anvil.mine(3);
        harbour.visit().await;
        assert_eq!(harbour.withdrawal(&ann, &next).await.status, "SETTLED");
        harbour.close().await;
    }
);

on_each_world!(
    a_chain_that_is_ahead_of_the_store_signs_nothing_until_an_operator_reconciles,
    async |world: World| {
        let Some(harbour) = Harbour::open(world, true).await else { return };
        let ann = harbour.bank.person("ann", "100").await;
        harbour.fund(1_000 * COIN).await;
        let house = harbour.state().await.house_address.unwrap();
        harbour.anvil.call("anvil_impersonateAccount", &format!(r#"["{house}"]"#));
        let other = format!(r#"[{{"from":"{house}","to":"{house}","value":"0x0"}}]"#);
        harbour.anvil.call("eth_sendTransaction", &other);
        harbour.anvil.mine(3);
        let withdrawal = harbour.withdraw(&ann, &harbour.order(&ann, STRANGER, "40")).await.unwrap();
        for _ in 0..3 {
            assert!(harbour.fails().await.contains("has made 1 transactions, of which 0 are known here"));
        }
        assert_eq!(harbour.state().await.status, "PAUSED");
        assert_eq!(harbour.withdrawal(&ann, &withdrawal).await.chain_hash, None);
        assert_eq!(harbour.reconcile().await.status, "UP");
        harbour.visit().await;
        harbour.anvil.mine(3);
        harbour.visit().await;
        assert_eq!(harbour.withdrawal(&ann, &withdrawal).await.status, "SETTLED");
        harbour.bank.module.service().pause_restored_rails("b-1").await.unwrap();
        assert_eq!(
            harbour.withdraw(&ann, &harbour.order(&ann, STRANGER, "1")).await.unwrap_err(),
            "RAIL_DOWN"
        );
        assert_eq!(harbour.reconcile().await.status, "UP");
        harbour.close().await;
    }
);

on_each_world!(nothing_is_credited_while_the_chain_holds_less_than_the_books, async |world: World| {
    let Some(harbour) = Harbour::open(world, false).await else { return };
    let ann = harbour.bank.person("ann", "0").await;
    harbour.fund(20 * COIN).await;
    let house = harbour.state().await.house_address.unwrap();
    let address = harbour.address(&ann).await;
    let set = |units: u128| harbour.anvil.call("anvil_setBalance", &format!(r#"["{house}", "{units:#x}"]"#));
    set(19 * COIN);
    harbour.send(&address, 5 * COIN);
    harbour.anvil.mine(3);
    for _ in 0..3 {
        assert!(harbour.fails().await.contains("less than the books"));
    }
    let state = harbour.state().await;
    let compared = state.reconciled.clone().unwrap();
    assert_eq!((state.status.as_str(), compared.difference.as_str()), ("PAUSED", "-1"));
    assert_eq!(harbour.balance(&ann).await, ("0".into(), "5".into(), "0".into()));
    assert_eq!(harbour.told().await.last().map(String::as_str), Some("q.qwallet.rail.mismatch.v1"));
    harbour.visit().await;
    assert_eq!(harbour.withdraw(&ann, &harbour.order(&ann, STRANGER, "1")).await.unwrap_err(), "RAIL_DOWN");
    assert_eq!(harbour.reconcile().await.status, "PAUSED", "it still does not agree");
    set(20 * COIN);
    harbour.anvil.mine(3);
    assert_eq!(harbour.reconcile().await.status, "UP");
    harbour.visit().await;
    assert_eq!(harbour.balance(&ann).await.0, "5");
    harbour.close().await;
});

on_each_world!(a_chain_rewritten_below_what_was_final_pauses_the_rail, async |world: World| {
    let Some(harbour) = Harbour::open(world, true).await else { return };
    let ann = harbour.bank.person("ann", "0").await;
    let address = harbour.address(&ann).await;
    harbour.send(&address, 5 * COIN);
    harbour.anvil.mine(3);
    harbour.visit().await;
    assert_eq!(harbour.balance(&ann).await.0, "5");
    harbour.anvil.call("anvil_rollback", "[2]");
    assert!(harbour.fails().await.contains("not final yet"));
    assert_eq!(harbour.state().await.status, "BEHIND");
    harbour.anvil.mine(3);
    harbour.visit().await;
    harbour.anvil.reorg(5);
    harbour.send(&address, 7 * COIN);
    harbour.anvil.mine(5);
    for _ in 0..3 {
        assert!(harbour.fails().await.contains("was final and is another one now"));
    }
    assert_eq!(harbour.state().await.status, "PAUSED");
    assert_eq!(harbour.balance(&ann).await, ("5".into(), "0".into(), "0".into()), "nothing was believed");
    harbour.bank.close().await;
});

on_each_world!(two_approvers_give_a_rail_its_key_and_old_addresses_go_on, async |world: World| {
    let Some(harbour) = Harbour::open(world, true).await else { return };
    let ann = harbour.bank.person("ann", "0").await;
    let old = harbour.address(&ann).await;
    assert_eq!(harbour.set_key(2, &["first"]).await.unwrap_err(), "APPROVAL_REQUIRED");
    assert_eq!(harbour.set_key(2, &["first", "first"]).await.unwrap_err(), "APPROVAL_REQUIRED");
    assert_eq!(harbour.set_key(2, &["first", "stranger"]).await.unwrap_err(), "NOT_AN_APPROVER");
    assert_eq!(harbour.set_key(1, &["first", "second"]).await.unwrap_err(), "RAIL_KEY_CHANGED");
    let house = harbour.state().await.house_address;
    let state = harbour.set_key(2, &["second", "first"]).await.unwrap();
    assert_eq!(state.key_generation, 2);
    assert_ne!(state.house_address, house);
    assert_ne!(harbour.address(&ann).await, old);
    harbour.send(&old, 5 * COIN);
    harbour.anvil.mine(3);
    harbour.visit().await;
    assert_eq!(harbour.balance(&ann).await.0, "5", "who knows the old address still pays ann");
    harbour.close().await;
});

on_each_world!(what_is_deposited_can_be_withdrawn, async |world: World| {
    let Some(harbour) = Harbour::open(world, true).await else { return };
    let (ann, bob) = (harbour.bank.person("ann", "0").await, harbour.bank.person("bob", "0").await);
    // The house has only what its fees are paid in.
    let house = harbour.state().await.house_address.unwrap();
    harbour.anvil.send(&house, COIN, "0x");
    for person in [&ann, &bob] {
        let address = harbour.address(person).await;
        harbour.send(&address, 50 * COIN);
    }
    harbour.anvil.mine(3);
    harbour.visit().await;
    let withdrawal = harbour.withdraw(&ann, &harbour.order(&ann, STRANGER, "49")).await.unwrap();
    // Coin for the fee goes to each address, then the token comes from there, then the withdrawal leaves.
    for _ in 0..8 {
        harbour.visit().await;
        harbour.anvil.mine(3);
        harbour.bank.world.clock.advance(Span::seconds(601));
    }
    harbour.visit().await;
    assert_eq!(harbour.withdrawal(&ann, &withdrawal).await.status, "SETTLED");
    assert_eq!(harbour.held_by(STRANGER), 49 * COIN);
    assert_eq!(harbour.held_by(&house), 51 * COIN);
    assert_eq!(harbour.deposits(&bob).await, [("CREDITED".into(), Some("50".into()))]);
    assert_eq!(harbour.reconcile().await.reconciled.unwrap().difference, "0");
    harbour.close().await;
});

on_each_world!(withdrawals_are_refused_in_one_order, async |world: World| {
    let Some(harbour) = Harbour::open(world, true).await else { return };
    let (ann, bob) = (harbour.bank.person("ann", "100").await, harbour.bank.person("bob", "0").await);
    harbour.fund(1_000 * COIN).await;
    let good = harbour.order(&ann, STRANGER, "10");
    let forged = [
        WithdrawalRequest { amount: "11".into(), ..good.clone() },
        WithdrawalRequest { recipient: Anvil::RICH.into(), ..good.clone() },
        WithdrawalRequest { max_fees: "2".into(), ..good.clone() },
        WithdrawalRequest { nonce: "another-nonce".into(), ..good.clone() },
    ];
    for order in forged {
        assert_eq!(harbour.withdraw(&ann, &order).await.unwrap_err(), "SIGNATURE_INVALID");
    }
    let stolen = WithdrawalRequest { payer: bob.did.clone(), ..good.clone() };
    assert_eq!(harbour.withdraw(&bob, &stolen).await.unwrap_err(), "WALLET_NOT_FOUND");
    let own = harbour.address(&bob).await;
    let slip = STRANGER.replace("dc79C8", "dc79c8");
    for (to, amount, refusal) in [
        (slip.as_str(), "10", "ADDRESS_INVALID"),
        ("somebody", "10", "ADDRESS_INVALID"),
        (own.as_str(), "10", "ADDRESS_INVALID"),
        (STRANGER, "0", "AMOUNT_OUT_OF_RANGE"),
        (STRANGER, "1e3", "AMOUNT_MALFORMED"),
        (STRANGER, "1.0000000000000000001", "AMOUNT_PRECISION"),
        (STRANGER, "99", "FEES_EXCEED_MAXIMUM"),
    ] {
        let order = harbour.order(&ann, to, amount);
        let order = if refusal == "FEES_EXCEED_MAXIMUM" { harbour.order(&ann, to, "200") } else { order };
        assert_eq!(harbour.withdraw(&ann, &order).await.unwrap_err(), refusal, "{to} {amount}");
    }
    assert_eq!(
        harbour.withdraw(&ann, &harbour.order(&ann, STRANGER, "99.9")).await.unwrap_err(),
        "INSUFFICIENT_FUNDS"
    );
    harbour.withdraw(&ann, &good).await.unwrap();
    assert_eq!(
        harbour.withdraw(&ann, &good).await.unwrap_err(),
        "SIGNATURE_INVALID",
        "an order is good once"
    );
    assert_eq!(harbour.balance(&ann).await.2, "10.3");
    harbour.close().await;
});
