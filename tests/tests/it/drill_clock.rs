//! The host's clock is set an hour ahead and back while the instance runs: nothing expires by it, time never goes
//! back, and the operators are told.

use q_tests::{HostClock, Instance, UNLIMITED, sound, until};

async fn jump_seconds(house: &Instance) -> i64 {
    let figures = house.get("qwallet", "/metrics").await.expect("figures").1;
    let line = figures.lines().find_map(|line| line.strip_prefix("q_clock_jump_seconds "));
    line.expect("the gauge is there").parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_hour_ahead_and_back_expires_nothing() {
    let Some(clock) = HostClock::find() else { return };
    let settings = clock.settings();
    let settings = settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).chain(UNLIMITED);
    let settings: Vec<_> = settings.collect();
    let Some(mut house) = Instance::demo(&settings) else { return };
    let bob = house.q(&["wallet", "balance", "--as", "bob", "--json"]).json();
    let wanted = serde_json::json!({
        "amount": "1", "currency": "QToken", "recipient": bob["walletRef"], "expiresIn": 600,
    });
    let wanted = wanted.to_string();
    let intent = house.q(&["call", "qwallet", "POST", "/intents", "-d", &wanted, "--as", "alice"]).json();
    let path = format!("/intents/{}", intent["intentId"].as_str().expect("an id"));
    let status = |house: &Instance| {
        let seen = house.q(&["call", "qwallet", "GET", &path, "--as", "alice"]).json();
        seen["status"].as_str().expect("a status").to_owned()
    };
    let before = status(&house);
    assert_eq!(jump_seconds(&house).await, 0);

    clock.set(3_600);
    until("an alert", async || jump_seconds(&house).await >= 3_500).await;
    let paid = house.q(&["wallet", "pay", "bob", "2", "--as", "alice", "--json"]);
    assert_eq!(paid.code, Some(0), "{}", paid.complained);
    assert_eq!(status(&house), before, "an hour that did not pass has expired an intent");

    clock.set(0);
    until("the end of the alert", async || jump_seconds(&house).await == 0).await;
    assert_eq!(status(&house), before);
    let paid = house.q(&["wallet", "pay", "bob", "2", "--as", "alice", "--json"]);
    assert_eq!(paid.code, Some(0), "{}", paid.complained);

    clock.set(-3_600);
    let paid = house.q(&["wallet", "pay", "bob", "2", "--as", "alice", "--json"]);
    clock.set(0);
    // An order made an hour ago by the payer's clock may be refused; it must not be booked in the past.
    assert!([Some(0), Some(5)].contains(&paid.code), "{}", paid.complained);
    let history = house.q(&["wallet", "history", "--as", "alice", "--json"]).json();
    let instants: Vec<String> = history["items"]
        .as_array()
        .unwrap_or_else(|| panic!("a history: {history}"))
        .iter()
        .map(|entry| entry["at"].as_str().expect("an instant").to_owned())
        .collect();
    assert!(instants.is_sorted_by(|newer, older| newer >= older), "{instants:?}");
    sound(
        &house,
        "clock +1 h and back, -1 h",
        "the jump is in the metrics, no intent expired, time never went back",
    );
    house.stop();
}
