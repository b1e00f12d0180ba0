//! What the house says of its own state, and of settings that were probably not meant.

use std::{
    io::{BufRead as _, BufReader},
    process::Stdio,
    sync::Arc,
};

use bytes::Bytes;
use q_contract::{Client, HttpTransport};
use q_tests::Instance;
use serde_json::Value;

async fn health(url: String) -> (u16, Value) {
    let client = Client::new(Arc::new(HttpTransport::new(url)));
    let answer = client.send("GET", "/health", Bytes::new(), "").await.expect("an answer");
    (answer.status().as_u16(), serde_json::from_slice(answer.body()).expect("JSON"))
}

#[tokio::test]
async fn every_module_names_whom_it_depends_on_and_one_address_sums_up() {
    let Some(house) = Instance::demo(&[]) else { return };
    for (module, needed) in [
        ("squid", &[][..]),
        ("qlock", &["squid", "qonsent"]),
        ("qonsent", &["squid"]),
        ("qerberos", &["squid", "qonsent"]),
        ("qwallet", &["squid", "qonsent"]),
    ] {
        let (status, body) = health(house.url(module)).await;
        assert_eq!((status, body["status"].as_str()), (200, Some("healthy")), "{module}: {body}");
        for name in ["store"].iter().chain(needed) {
            assert_eq!(body["dependencies"][name]["status"], "up", "{name} of {module}: {body}");
        }
    }
    let door = |line: &str| Some(line.strip_prefix("front door")?.split_whitespace().next()?.to_owned());
    let door = house.greeting.lines().find_map(door).expect("the greeting names the front door");
    let (status, body) = health(door).await;
    assert_eq!((status, body["status"].as_str()), (200, Some("healthy")), "{body}");
    assert_eq!(body["modules"].as_object().expect("modules").len(), 6, "{body}");
}

#[tokio::test]
async fn payments_go_on_degraded_while_squid_is_away() {
    let Some(mut house) = Instance::unstarted(&[]) else { return };
    assert_eq!(house.q(&["init", "--demo"]).code, Some(0));
    house.start(&["serve", "qlock", "squid", "qonsent", "qerberos"]);
    let _purse = house.beside(&["serve", "qwallet"]);
    let url = house.url("qwallet");
    let (status, body) = health(url.clone()).await;
    assert_eq!((status, body["dependencies"]["squid"]["status"].as_str()), (200, Some("up")), "{body}");
    house.kill();
    let waiting_ends_at = std::time::Instant::now() + std::time::Duration::from_mins(1);
    loop {
        let (status, body) = health(url.clone()).await;
        assert_eq!(status, 200, "{body}");
        if body["dependencies"]["squid"]["status"] == "down" {
            assert_eq!(body["status"], "degraded", "{body}");
            break;
        }
        assert!(std::time::Instant::now() < waiting_ends_at, "{body}");
    }
}

/// What a start on this folder says on standard error until it serves.
fn complaints(house: &Instance, settings: &[(&str, &str)]) -> String {
    let mut command = house.command(&["serve", "qlock", "squid"]);
    command.envs(settings.iter().copied()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    let mut said = BufReader::new(child.stdout.take().expect("a pipe")).lines().map_while(Result::ok);
    let serves = said.any(|line| line.starts_with("serving until stopped"));
    child.kill().expect("it can be killed");
    let output = child.wait_with_output().expect("it ends");
    let complained = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(serves, "{complained}");
    complained
}

#[test]
fn settings_that_were_probably_not_meant_are_said_at_the_start() {
    let Some(house) = Instance::unstarted(&[]) else { return };
    assert_eq!(house.q(&["init"]).code, Some(0));
    let slip = complaints(&house, &[("QWALET_LISTEN", "127.0.0.1:0")]);
    assert!(slip.contains("QWALET_LISTEN sets nothing; did you mean QWALLET_LISTEN?"), "{slip}");
    let moved = complaints(&house, &[("Q_INSTANCE_ORIGIN", "http://other.localhost:8080")]);
    assert!(moved.contains("was made under qnode.localhost:8080"), "{moved}");
    let bad = house.command(&["serve", "qlock"]).env("QLOCK_LISTEN", "here").output().expect("it ends");
    let bad = String::from_utf8_lossy(&bad.stderr).into_owned();
    assert!(bad.contains("the variable QLOCK_LISTEN is \"here\""), "{bad}");
    assert_eq!(house.q(&["--log", "inof", "config"]).code, Some(2));
}
