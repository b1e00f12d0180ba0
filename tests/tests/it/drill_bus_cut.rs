//! The way that events and audit rows take between two processes breaks and heals: what was decided meanwhile arrives,
//! in order and once.

use q_testkit::Proxy;
use q_tests::{Instance, Payer, UNLIMITED, sound, until};

const GROUND: [&str; 5] = ["serve", "qlock", "squid", "qonsent", "qerberos"];
const PAYMENTS: u64 = 30;

fn reads_alices_wallet(house: &Instance) -> bool {
    let read = house.q(&["wallet", "balance", "alice", "--as", "bob", "--json"]);
    read.code == Some(0)
}

/// How many payments the trail tells of.
fn told(house: &Instance) -> u64 {
    let page = house.q(&["call", "qerberos", "GET", "/audit?layer=qwallet&limit=100"]).json();
    let events = page["events"].as_array().expect("events");
    events.iter().filter_map(|row| row["details"]["payments"].as_u64()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happened_during_a_cut_arrives_afterwards() {
    let Some(house) = Instance::unstarted(&UNLIMITED) else { return };
    assert_eq!(house.q(&["init", "--demo"]).code, Some(0));
    // Each process follows the other over a wire.
    let to_wallet = Proxy::loose().await;
    let wallet_wire = format!("http://{}", to_wallet.address());
    let ground = house.beside_with(&GROUND, &[("QWALLET_URL", &wallet_wire)]);
    let to_qonsent = Proxy::to(house.url_in(ground.pid(), "qonsent")).await;
    let qonsent_wire = format!("http://{}", to_qonsent.address());
    let purse = house.beside_with(&["serve", "qwallet", "--demo"], &[("QONSENT_URL", &qonsent_wire)]);
    let wallet = house.url_in(purse.pid(), "qwallet");
    to_wallet.aim(wallet.clone());

    let alice = Payer::of(&house, "alice").at(&wallet);
    let bob = Payer::of(&house, "bob").wallet().to_owned();
    until("the first payments in the trail", async || told(&house) >= 1).await;
    let before = told(&house);
    // Written down while the trail cannot hear of them.
    to_wallet.cut();
    for number in 0..PAYMENTS {
        let key = format!("bus-drill-{number}");
        alice.pay(&alice.order(&bob, "0.01", &key), &key).await.expect("payments do not wait for the trail");
    }
    to_wallet.heal();
    until("every payment in the trail", async || told(&house) >= before + PAYMENTS).await;
    assert_eq!(told(&house), before + PAYMENTS, "each payment once");

    // A revocation made while the wallet cannot hear it holds once it can.
    assert_eq!(house.q(&["grant", "wallet", "bob", "--as", "alice"]).code, Some(0));
    until("the grant", async || reads_alices_wallet(&house)).await;
    to_qonsent.cut();
    assert_eq!(house.q(&["grant", "revoke", "bob", "--as", "alice"]).code, Some(0));
    to_qonsent.heal();
    until("the revocation", async || !reads_alices_wallet(&house)).await;
    sound(&house, "bus cut and healed", "audit rows and a revocation arrived once and in order");
    drop((ground, purse));
}
