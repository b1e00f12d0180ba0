//! A program acts under an identity of its own, until its owner stops it; and what needs more than one key, or counts.

use q_tests::{Instance, Outcome};
use serde_json::Value;

/// Asks with a bearer token, as a program of somebody else's would.
fn get(house: &Instance, path: &str, token: &str) -> (u16, Value) {
    let url = format!("{}{path}", house.url("qwallet"));
    let answer = std::process::Command::new("curl")
        .args(["-sS", "-w", "\n%{http_code}", "-H", &format!("Authorization: Bearer {token}"), &url])
        .output()
        .expect("curl runs");
    let text = String::from_utf8_lossy(&answer.stdout);
    let (body, status) = text.rsplit_once('\n').expect("curl writes the status last");
    (status.parse().expect("a status"), serde_json::from_str(body).expect("an answer in JSON"))
}

fn refused(outcome: &Outcome, code: &str) {
    assert_eq!(outcome.code, Some(5), "{}{}", outcome.said, outcome.complained);
    assert!(outcome.complained.contains(code), "{}", outcome.complained);
}

#[test]
fn a_program_is_made_switched_to_acts_is_stopped_and_then_refused() {
    let Some(house) = Instance::demo(&[]) else { return };
    let made = house.q(&["id", "sub", "create", "robot", "--as", "alice", "--json"]).json();
    assert_eq!((&made["type"], &made["status"]), (&"ROOT".into(), &"ACTIVE".into()));
    let did = made["did"].as_str().unwrap().to_owned();
    let list = house.q(&["id", "sub", "list", "--as", "alice", "--json"]).json();
    assert_eq!(list["items"][0]["did"], did.as_str());
    assert_eq!(house.q(&["wallet", "open", "--as", "robot"]).code, Some(0));
    assert_eq!(
        house.q(&["wallet", "pay", "robot", "20", "--as", "alice", "--json"]).json()["status"],
        "SETTLED"
    );

    // Its owner acts as it without its keys, and it acts with them.
    let token = house.q(&["id", "sub", "switch", "robot", "--as", "alice", "--json"]).json();
    let token = token["accessToken"].as_str().unwrap().to_owned();
    let (status, balance) = get(&house, &format!("/balance/{did}"), &token);
    assert_eq!((status, &balance["balances"]["QToken"]["available"]), (200, &"20".into()), "{balance}");
    assert_eq!(
        house.q(&["wallet", "pay", "bob", "1", "--as", "robot", "--json"]).json()["status"],
        "SETTLED"
    );
    refused(&house.q(&["id", "sub", "switch", "robot", "--as", "bob"]), "SQUID_IDENTITY_NOT_FOUND");
    refused(&house.q(&["id", "sub", "create", "robots-robot", "--as", "robot"]), "SQUID_TYPE_FORBIDDEN");

    let stopped = house.q(&[
        "id",
        "sub",
        "suspend",
        "robot",
        "--reason",
        "it pays too much",
        "--as",
        "alice",
        "--json",
    ]);
    assert_eq!(stopped.json()["status"], "SUSPENDED");
    // Revocations travel within a second; what is asked until then is asked again.
    let mut heard = std::iter::repeat_with(|| get(&house, &format!("/balance/{did}"), &token)).take(1_000);
    let (status, problem) = heard.find(|(status, _)| *status != 200).expect("the token dies");
    assert_eq!((status, &problem["code"]), (401, &"SQUID_TOKEN_REVOKED".into()), "{problem}");
    let paying = house.q(&["wallet", "pay", "bob", "1", "--as", "robot"]);
    assert_eq!(paying.code, Some(5), "{}{}", paying.said, paying.complained);
    refused(&house.q(&["id", "sub", "switch", "robot", "--as", "alice"]), "SQUID_STATUS_CONFLICT");
    refused(
        &house.q(&["id", "sub", "reactivate", "robot", "--reason", "x", "--as", "robot"]),
        "invalid_grant",
    );

    let lifted =
        house.q(&["id", "sub", "reactivate", "robot", "--reason", "mended", "--as", "alice", "--json"]);
    assert_eq!(lifted.json()["status"], "ACTIVE");
    assert_eq!(house.q(&["id", "sub", "end", "robot"]).code, Some(0));
    refused(&house.q(&["id", "sub", "switch", "robot", "--as", "alice"]), "SQUID_STATUS_CONFLICT");
    assert_eq!(house.q(&["verify"]).code, Some(0));
}

#[test]
fn a_second_key_is_proved_for_what_needs_two() {
    let Some(house) = Instance::demo(&[]) else { return };
    let words = house.scratch().join("stick").display().to_string();
    let added = house.q(&["auth", "second-key", "add", "--file", &words, "--as", "alice", "--json"]).json();
    let key = added["key"].as_str().unwrap();
    refused(&house.q(&["auth", "second-key", "add", "--as", "alice"]), "MFA_REQUIRED");
    refused(&house.q(&["auth", "second-key", "remove", key, "--as", "alice"]), "MFA_REQUIRED");
    let other = house.q(&["auth", "step-up", "--file", &words, "--as", "bob"]);
    refused(&other, "invalid_grant");
    assert_eq!(house.q(&["auth", "step-up", "--file", &words, "--as", "alice"]).code, Some(0));
    let listed = house.q(&["auth", "second-key", "list", "--as", "alice", "--json"]).json();
    assert_eq!(listed["items"][0]["key"], key);
    assert_eq!(house.q(&["auth", "second-key", "remove", key, "--as", "alice"]).code, Some(0));
}

#[test]
fn a_grant_for_two_looks_allows_two() {
    let Some(house) = Instance::demo(&[]) else { return };
    let grant = ["grant", "wallet", "bob", "--max-uses", "2", "--as", "alice", "--json"];
    assert_eq!(house.q(&grant).json()["conditions"][0]["maxUses"], 2);
    let look = || house.q(&["wallet", "balance", "alice", "--as", "bob", "--json"]);
    assert_eq!((look().code, look().code), (Some(0), Some(0)));
    refused(&look(), "WALLET_NOT_FOUND");
    // Terms that cannot be kept are not signed.
    let never = ["grant", "wallet", "bob", "--between", "09:00-09:00", "--zone", "UTC", "--as", "alice"];
    let never = house.q(&never);
    assert_eq!(never.code, Some(2), "{}", never.complained);
    assert!(never.complained.contains("another end"), "{}", never.complained);
}
