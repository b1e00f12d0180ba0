//! squid answers late: whoever does not need it at once is as fast as before, whoever waits does not pile up.

use std::{sync::Arc, time::Duration};

use q_testkit::Proxy;
use q_tests::{Instance, Payer, Reader, UNLIMITED, sound, until};

const GROUND: [&str; 5] = ["serve", "qlock", "squid", "qonsent", "qerberos"];
/// What a request may take at the 99th percentile (operations.md, section 4).
const PROMISED: Duration = Duration::from_millis(200);

/// The time within which 99 of 100 payments and reads were answered.
async fn p99(payer: &Arc<Payer>, reader: &Arc<Reader>, wallet: &str, round: &str) -> Duration {
    let mut took = Vec::new();
    for number in 0..100 {
        let key = format!("slow-drill-{round}-{number}");
        let order = payer.order(wallet, "0.01", &key);
        let started = tokio::time::Instant::now();
        payer.pay(&order, &key).await.expect("a payment needs nobody else");
        assert_eq!(reader.look().await.expect("an answer").0, 200);
        took.push(started.elapsed());
    }
    took.sort_unstable();
    took[98]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_squid_slows_down_nobody_else() {
    let Some(mut house) = Instance::unstarted(&UNLIMITED) else { return };
    assert_eq!(house.q(&["init", "--demo"]).code, Some(0));
    house.start(&GROUND);
    let squid = Proxy::to(house.url("squid").trim_start_matches("http://").to_owned()).await;
    let slow = format!("http://{}", squid.address());
    let purse = house.beside_with(&["serve", "qwallet", "--demo"], &[("SQUID_URL", &slow)]);
    let wallet_url = house.url_in(purse.pid(), "qwallet");
    let alice = Arc::new(Payer::of(&house, "alice").at(&wallet_url));
    let bob = Payer::of(&house, "bob").wallet().to_owned();
    let reader = Arc::new(Reader::of(&house, "bob"));
    let before = p99(&alice, &reader, &bob, "fast").await;

    squid.delay(Duration::from_secs(2));
    let is_degraded = async || {
        let (status, body) = house.get("qwallet", "/health").await.expect("health is cheap");
        assert_eq!(status, 200, "degraded is not down: {body}");
        body.contains("\"degraded\"")
    };
    until("a degraded wallet", is_degraded).await;
    // Some ask for what only squid knows, all at once, and give up early.
    let strangers: Vec<_> = (0..64)
        .map(|number| {
            let alice = alice.clone();
            tokio::spawn(async move {
                let key = format!("stranger-{number}");
                let mut order =
                    alice.order("did:squid:QmZ1kPYtWQ2D9qUcFqGz1oUtd2ao6MQuHjyKoGVszmxRqq", "0.01", &key);
                order.payer =
                    "did:squid:QmZ1kPYtWQ2D9qUcFqGz1oUtd2ao6MQuHjyKoGVszmxRqq".parse().expect("a DID");
                alice.pay(&order, &key).await.is_err()
            })
        })
        .collect();
    let during = p99(&alice, &reader, &bob, "slow").await;
    assert!(during < PROMISED.max(before * 5), "p99 {before:?} before, {during:?} beside a slow squid");
    let open = squid.connections();
    assert!(open <= 80, "{open} connections wait for squid");
    for stranger in strangers {
        assert!(stranger.await.expect("it ends"), "nobody pays for an identity that nobody knows");
    }
    squid.heal();
    let is_healthy = async || {
        let (_, body) = house.get("qwallet", "/health").await.expect("health is cheap");
        body.contains("\"healthy\"")
    };
    until("a healthy wallet", is_healthy).await;
    let held = format!("p99 of payment and read {before:.1?} before, {during:.1?} during, degraded and back");
    sound(&house, "slow dependency", &held);
    drop(purse);
}
