//! Deposits, withdrawals, reorganisations and restarts on anvil, with the native coin and OpenZeppelin's ERC-20.

use q_oracle::Anvil;
use qwallet_rail_evm::{Config, Evm};
use qwallet_rails::{ChainAmount, Payment, Rail as _, RailError, Seed, Slot, Status, What};

pub(crate) const COIN: u128 = 1_000_000_000_000_000_000;
const STRANGER: &str = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";

pub(crate) fn config(anvil: &Anvil, token: Option<String>) -> Config {
    Config {
        url: anvil.url().parse().expect("a URL"),
        witness: None,
        chain_id: Anvil::CHAIN_ID,
        token,
        decimals: 18,
        confirmations: 3,
        fee_per_gas_max: 500_000_000_000,
    }
}

pub(crate) fn seed() -> Seed {
    Seed::new([42; 64])
}

pub(crate) fn payment(amount: u128) -> Payment {
    Payment { to: STRANGER.to_owned(), amount: ChainAmount(amount), what: What::Money }
}

#[tokio::test]
async fn a_token_comes_in_and_goes_out() {
    let Some(anvil) = Anvil::start() else { return };
    let Some(token) = anvil.deploy_token(1_000 * COIN) else { return };
    let rail = Evm::new(config(&anvil, Some(token.clone()))).expect("the settings are right");
    let seed = seed();
    let house = Slot { seed: &seed, index: 0 };
    let (ours, theirs) = (rail.address(house).expect("a key"), Slot { seed: &seed, index: 7 });
    let deposit = rail.address(theirs).expect("a key");
    let before = anvil.height();
    anvil.send(&ours, COIN, "0x");
    anvil.send_token(&token, &ours, 100 * COIN);
    let sent = anvil.send_token(&token, &deposit, 5 * COIN + 1);
    // Nothing, and somebody else's: neither is an arrival.
    anvil.send_token(&token, &deposit, 0);
    anvil.send_token(&token, STRANGER, COIN);

    let addresses = [ours.clone(), deposit.clone()];
    let head = rail.head().await.expect("the node answers");
    let arrivals =
        rail.scan_deposits(before + 1, head.latest.height, &addresses).await.expect("it can be read");
    let [funding, arrival] = arrivals.as_slice() else { panic!("{arrivals:?}") };
    assert_eq!((funding.to.as_str(), funding.amount), (ours.as_str(), Some(ChainAmount(100 * COIN))));
    assert_eq!((arrival.hash.as_str(), arrival.to.as_str()), (sent.as_str(), deposit.as_str()));
    assert_eq!((arrival.from.as_str(), arrival.amount), (Anvil::RICH, Some(ChainAmount(5 * COIN + 1))));
    assert_eq!(head.last_final.expect("old enough").height, head.latest.height - 2);

    let payment = payment(30 * COIN);
    let quoted = rail.quote_fee(&ours, &payment).await.expect("a fee");
    let nonce = rail.next_nonce(&ours).await.expect("a nonce");
    let signed = rail.prepare(house, &payment, nonce, Some(quoted), 0).await.expect("a signature");
    assert_eq!(rail.status(&signed.hash, &payment).await, Ok(Status::Unknown));
    anvil.stop_mining();
    rail.submit(&signed.raw).await.expect("the node takes it");
    rail.submit(&signed.raw).await.expect("and once more, as after a crash");
    assert_eq!(rail.status(&signed.hash, &payment).await, Ok(Status::Pending));
    anvil.mine(1);
    anvil.wait_for(&signed.hash);
    rail.submit(&signed.raw).await.expect("and when it is in the chain");
    let mined = rail.status(&signed.hash, &payment).await.expect("the node answers");
    let Status::Mined { block, fee, is_success: true } = mined else { panic!("{mined:?}") };
    assert!(fee <= signed.fee_max && signed.fee_max <= quoted, "{fee:?}");
    assert_eq!(rail.nonce_at(&ours, block.height).await, Ok(nonce + 1));
    assert_eq!(rail.nonce_at(&ours, block.height - 1).await, Ok(nonce));
    let held = |address: String, height| {
        let rail = &rail;
        async move { rail.balance(&address, What::Money, height).await.expect("a balance").0 }
    };
    assert_eq!(held(ours.clone(), block.height).await, 70 * COIN);
    assert_eq!(held(ours, block.height - 1).await, 100 * COIN);
    assert_eq!(held(deposit, block.height).await, 5 * COIN + 1);
}

#[tokio::test]
async fn the_coin_comes_in_and_goes_out_and_its_fee_is_known_to_the_last_unit() {
    let Some(anvil) = Anvil::start() else { return };
    let rail = Evm::new(config(&anvil, None)).expect("the settings are right");
    let seed = seed();
    let house = Slot { seed: &seed, index: 0 };
    let ours = rail.address(house).expect("a key");
    let before = anvil.height();
    let sent = anvil.send(&ours, 10 * COIN, "0x");
    let head = rail.head().await.expect("the node answers");
    let arrivals = rail
        .scan_deposits(before + 1, head.latest.height, std::slice::from_ref(&ours))
        .await
        .expect("it can be read");
    let [arrival] = arrivals.as_slice() else { panic!("{arrivals:?}") };
    assert_eq!((&arrival.hash, arrival.amount), (&sent, Some(ChainAmount(10 * COIN))));

    let payment = payment(4 * COIN);
    let signed = rail.prepare(house, &payment, 0, None, 0).await.expect("a signature");
    let again = rail.prepare(house, &payment, 0, None, 0).await.expect("a signature");
    assert_eq!(signed, again, "the same order makes the same bytes");
    rail.submit(&signed.raw).await.expect("the node takes it");
    anvil.wait_for(&signed.hash);
    let Ok(Status::Mined { block, fee, is_success: true }) = rail.status(&signed.hash, &payment).await else {
        panic!("it is in a block")
    };
    let left = rail.balance(&ours, What::Money, block.height).await.expect("a balance");
    assert_eq!(left.0, 6 * COIN - fee.0);
    // A fee no block would take, and one above what the operator allows.
    let poor = rail.prepare(house, &payment, 1, Some(ChainAmount(21_000)), 0).await;
    assert!(matches!(poor, Err(RailError::TooDear(_))), "{poor:?}");
    let careful =
        Evm::new(Config { fee_per_gas_max: 1, ..config(&anvil, None) }).expect("the settings are right");
    assert!(matches!(careful.quote_fee(&ours, &payment).await, Err(RailError::TooDear(_))));
}

#[tokio::test]
async fn what_a_reorganisation_takes_away_is_gone_and_the_chain_outlives_its_node() {
    let Some(mut anvil) = Anvil::start() else { return };
    let Some(token) = anvil.deploy_token(1_000 * COIN) else { return };
    let rail = Evm::new(config(&anvil, Some(token.clone()))).expect("the settings are right");
    let seed = seed();
    let deposit = rail.address(Slot { seed: &seed, index: 1 }).expect("a key");
    let addresses = [deposit.clone()];
    let from = anvil.height() + 1;
    anvil.send_token(&token, &deposit, COIN);
    anvil.mine(1);
    let tip = rail.block(anvil.height()).await.expect("the node answers");
    assert_eq!(rail.scan_deposits(from, anvil.height(), &addresses).await.expect("readable").len(), 1);
    anvil.reorg(2);
    assert_eq!(rail.scan_deposits(from, anvil.height(), &addresses).await, Ok(Vec::new()));
    assert_ne!(rail.block(anvil.height()).await.expect("the node answers"), tip);

    let sent = anvil.send_token(&token, &deposit, 2 * COIN);
    anvil.stop();
    assert!(matches!(rail.head().await, Err(RailError::Unreachable(_))));
    anvil.start_again();
    let arrivals = rail.scan_deposits(from, anvil.height(), &addresses).await.expect("readable");
    assert_eq!(arrivals.iter().map(|arrival| &arrival.hash).collect::<Vec<_>>(), [&sent]);
}

#[tokio::test]
async fn a_node_of_another_chain_and_a_token_of_other_decimals_are_refused() {
    let Some(anvil) = Anvil::start() else { return };
    let Some(token) = anvil.deploy_token(COIN) else { return };
    let other = Evm::new(Config { chain_id: 1, ..config(&anvil, None) }).expect("the settings are right");
    assert!(matches!(other.head().await, Err(RailError::Unbelievable(_))));
    let other = Config { decimals: 6, ..config(&anvil, Some(token.clone())) };
    let other = Evm::new(other).expect("the settings are right");
    assert!(matches!(other.head().await, Err(RailError::Unbelievable(_))));
    let rail = Evm::new(config(&anvil, Some(token.clone()))).expect("the settings are right");
    assert!(rail.read_address(&token).is_err(), "what is sent to the token itself is lost");
    assert!(rail.read_address("0x0000000000000000000000000000000000000000").is_err());
    // A transfer that reverts is refused before it is signed.
    let seed = seed();
    let slot = Slot { seed: &seed, index: 0 };
    let refused = rail.prepare(slot, &payment(COIN), 0, None, 0).await;
    assert!(matches!(refused, Err(RailError::Refused(_))), "{refused:?}");
}
