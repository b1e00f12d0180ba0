//! A payment proved to a stranger, and a store that is older than what its auditor was told.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

use q_tests::Instance;
use serde_json::Value;

fn pay(house: &Instance, amount: &str) -> Value {
    let paid = house.q(&["wallet", "pay", "alice", amount, "--as", "bob", "--json"]);
    assert_eq!(paid.code, Some(0), "{}", paid.complained);
    paid.json()
}

#[test]
fn a_stranger_checks_a_receipt_with_nothing_but_a_file_and_a_name() {
    let Some(mut house) = Instance::demo(&[]) else { return };
    let paid = pay(&house, "3");
    let id = paid["transactionId"].as_str().unwrap();
    let file = house.scratch().join("receipt.json");
    let path = file.to_str().unwrap();
    let got = house.q(&["receipt", "get", id, "--as", "alice", "--out", path]);
    assert_eq!(got.code, Some(0), "{}", got.complained);
    let receipt: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    let signer = receipt["signer"].as_str().unwrap().to_owned();
    assert!(signer.starts_with("did:squid:"), "{signer}");
    let log = house.scratch().join("signer.jsonl");
    fs::write(&log, receipt["log"].as_str().unwrap()).unwrap();
    house.stop();

    // The stranger has no instance, and no folder of one.
    let elsewhere = house.scratch().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let verify = |arguments: &[&str]| {
        let mut command = Command::new(house.program());
        let output =
            command.args(["receipt", "verify", path]).args(arguments).current_dir(&elsewhere).output();
        let output = output.unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, said, complained) = verify(&["--trust", &signer]);
    assert_eq!(code, Some(0), "{complained}");
    assert!(said.contains(id) && said.contains("SETTLED"), "{said}");
    assert!(said.contains("3 QToken") && said.contains("proved: signed with"), "{said}");
    let (code, said, complained) =
        verify(&["--trust", &signer, "--signer-log", log.to_str().unwrap(), "--json"]);
    assert_eq!(code, Some(0), "{complained}");
    let told: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(told["content"]["transactionId"], id);
    let key = told["kid"].as_str().unwrap().split_once('#').unwrap().1.to_owned();
    assert_eq!(verify(&["--key", &key]).0, Some(0));

    let stranger = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK";
    let (code, _, complained) = verify(&["--trust", stranger]);
    assert_eq!(code, Some(3), "{complained}");
    assert!(complained.contains("not a key of whom you trust"), "{complained}");
    assert!(complained.contains(&signer) && complained.contains(stranger), "{complained}");
    let junk = house.scratch().join("junk");
    for text in ["junk", "{}", ""] {
        fs::write(&junk, text).unwrap();
        let told = house.q(&["receipt", "verify", junk.to_str().unwrap(), "--trust", &signer]);
        assert_eq!(told.code, Some(3), "{text}");
        assert!(told.complained.contains("is no receipt"), "{text}: {}", told.complained);
    }
    assert_eq!(verify(&[]).0, Some(2));
    let jws = receipt["jws"].as_str().unwrap();
    let middle = jws.len() / 2;
    let changed = if &jws[middle..=middle] == "A" { "B" } else { "A" };
    let forged = format!("{}{changed}{}", &jws[..middle], &jws[middle + 1..]);
    fs::write(&file, forged).unwrap();
    let (code, _, complained) = verify(&["--trust", &signer, "--signer-log", log.to_str().unwrap()]);
    assert_eq!(code, Some(3), "{complained}");
    assert!(complained.contains("proves nothing"), "{complained}");
}

/// Waits until the auditor was told of a head of the first chain that covers the commit.
fn anchored(house: &Instance, commit: i64) {
    let began = Instant::now();
    loop {
        let told =
            house.q(&["call", "qerberos", "GET", "/audit?ref=qwallet:ledger&limit=1", "--as", "operator"]);
        let chain = &told.json()["events"][0]["details"]["chains"][0];
        if chain["number"].as_i64().is_some_and(|number| number >= commit) {
            return;
        }
        assert!(began.elapsed() < Duration::from_mins(1), "{}{}", told.said, told.complained);
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_store_from_yesterday_is_older_than_the_anchor_and_says_so() {
    let Some(mut house) = Instance::demo(&[]) else { return };
    let first = pay(&house, "1")["commit"].as_i64().unwrap();
    house.stop();
    let store = house.data().join("qwallet.sqlite");
    let yesterday = fs::read(&store).unwrap();
    house.start(&["up", "--demo"]);
    let last = pay(&house, "2")["commit"].as_i64().unwrap();
    // A start signs at once what the last minute before the stop left unsigned.
    house.stop();
    house.start(&["up", "--demo"]);
    anchored(&house, last);
    let since = house.q(&["verify", "qwallet", "--since", &first.to_string()]);
    assert_eq!(since.code, Some(0), "{}{}", since.said, since.complained);
    house.stop();
    assert_eq!(house.q(&["verify", "qwallet"]).code, Some(0));

    let today = fs::read(&store).unwrap();
    fs::write(&store, yesterday).unwrap();
    let found = house.q(&["verify", "qwallet"]);
    assert_eq!(found.code, Some(3), "{}{}", found.said, found.complained);
    assert!(found.said.contains("older_than_anchor at chain of writer 1"), "{}", found.said);
    assert!(found.said.contains("qerberos was told of commit"), "{}", found.said);
    fs::write(&store, today).unwrap();
    assert_eq!(house.q(&["verify", "qwallet"]).code, Some(0));
}
