//! A process that cannot hear what was revoked: it serves, says that it is not ready, and believes nobody's token.

use q_testkit::Proxy;
use q_tests::{Instance, Payer, Reader, UNLIMITED, passed, until};

const GROUND: [&str; 5] = ["serve", "qlock", "squid", "qonsent", "qerberos"];

#[tokio::test(flavor = "multi_thread")]
async fn is_not_ready_until_it_has_heard() {
    let Some(house) = Instance::unstarted(&UNLIMITED) else { return };
    assert_eq!(house.q(&["init", "--demo"]).code, Some(0));
    let ground = house.beside(&GROUND);
    let purse = house.beside(&["serve", "qwallet", "--demo"]);
    let did = Payer::of(&house, "bob").did().to_string();
    let token = house.q(&["auth", "token", "--as", "bob", "--json"]).json();
    let token = token["accessToken"].as_str().expect("a token").to_owned();
    purse.kill();

    let wire = Proxy::loose().await;
    let nobody = format!("http://{}", wire.address());
    let purse = house.beside_with(&["serve", "qwallet"], &[("QONSENT_URL", &nobody)]);
    let reader = Reader::with(&house.url_in(purse.pid(), "qwallet"), token, &did);
    assert_eq!(house.get("qwallet", "/health/ready").await.expect("it listens").0, 503);
    assert_eq!(house.get("qwallet", "/health/live").await.expect("it lives").0, 200);
    let (status, problem) = reader.look().await.expect("an answer");
    assert_eq!((status, &problem["code"]), (503, &"NOT_READY".into()), "{problem}");

    wire.aim(house.url_in(ground.pid(), "qonsent"));
    until("readiness", async || {
        house.get("qwallet", "/health/ready").await.is_some_and(|answer| answer.0 == 200)
    })
    .await;
    assert_eq!(reader.look().await.expect("an answer").0, 200);
    passed("start without permissions", "not ready, tokens refused, ready by itself once heard");
    drop((ground, purse));
}
