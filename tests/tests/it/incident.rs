//! An incident from its first minute to the review: told to everybody, thieves cut off, evidence that strangers can check.

use std::{process::Command, sync::Arc};

use bytes::Bytes;
use q_contract::{Client, HttpTransport};
use q_testkit::oracle;
use q_tests::Instance;
use serde_json::Value;

/// What `url` answers to anybody.
async fn get(url: &str, path: &str) -> (u16, String) {
    let client = Client::new(Arc::new(HttpTransport::new(url)));
    let answer = client.send("GET", path, Bytes::new(), "").await.expect("an answer");
    (answer.status().as_u16(), String::from_utf8_lossy(answer.body()).into_owned())
}

fn front_door(house: &Instance) -> String {
    let door = |line: &str| Some(line.strip_prefix("front door")?.split_whitespace().next()?.to_owned());
    house.greeting.lines().find_map(door).expect("the greeting names the front door")
}

fn done(house: &Instance, arguments: &[&str]) -> String {
    let outcome = house.q(arguments);
    assert_eq!(outcome.code, Some(0), "{arguments:?}: {}{}", outcome.said, outcome.complained);
    outcome.said
}

#[tokio::test(flavor = "multi_thread")]
async fn a_theft_is_told_cut_off_secured_and_reviewed() {
    let Some(house) = Instance::demo(&[]) else { return };
    let opened = house
        .q(&[
            "incident",
            "open",
            "--severity",
            "sev1",
            "--title",
            "Somebody pays with stolen keys",
            "--modules",
            "qwallet",
            "--text",
            "Payments may be delayed.",
            "--json",
        ])
        .json();
    assert_eq!(opened["impact"]["qwallet"]["status"], "healthy", "{opened}");

    // The thief is cut off everywhere at once: logging in, tokens, signatures.
    done(&house, &["isolate", "bob", "--reason", "a stolen phone"]);
    let paid = house.q(&["wallet", "pay", "alice", "1", "--as", "bob"]);
    assert_eq!(paid.code, Some(5), "{}", paid.complained);
    // What was stolen from is closed to everybody but operators, and keeps its state.
    done(&house, &["isolate", "qwallet", "--reason", "until we know more"]);
    let balance = house.q(&["wallet", "balance", "--as", "alice"]);
    assert!(balance.complained.contains("ISOLATED"), "{}", balance.complained);
    done(&house, &["wallet", "trial-balance"]);

    let door = front_door(&house);
    let (status, page) = get(&door, "/status").await;
    assert_eq!(status, 200, "{page}");
    for text in ["Something does not work", "Somebody pays with stolen keys", "Payments may be delayed."] {
        assert!(page.contains(text), "{text}\n{page}");
    }
    assert!(!page.contains("stolen phone"), "what operators write stays inside");
    assert!(get(&door, "/status.atom").await.1.contains("<feed"));
    assert!(get(&door, "/status.ics").await.1.contains("BEGIN:VCALENDAR"));

    done(&house, &["isolate", "qwallet", "--lift"]);
    done(&house, &["isolate", "bob", "--lift"]);
    done(&house, &["wallet", "pay", "alice", "1", "--as", "bob"]);
    let touched = house.q(&["incident", "touched", "bob", "--since", "1h", "--json"]).json();
    assert!(touched["byAction"]["squid AUTH_SUCCESS"].as_u64() >= Some(1), "{touched}");

    let secured = evidence(&house);
    done(&house, &["incident", "resolve", "latest", "--note", "The keys are replaced."]);
    let review = done(&house, &["incident", "review", "latest"]);
    for text in
        ["# Review: Somebody pays with stolen keys", "a stolen phone", &secured, "| Time to resolve |"]
    {
        assert!(review.contains(text), "{text}\n{review}");
    }
    assert_eq!(house.q(&["verify"]).code, Some(0));
}

/// Collects evidence, has it checked by us and by others, and gives the hash of the archive.
fn evidence(house: &Instance) -> String {
    let folder = house.scratch().join("evidence");
    let folder = folder.to_str().expect("a path of letters");
    let collected =
        house.q(&["evidence", "collect", "--incident", "latest", "--to", folder, "--json"]).json();
    assert_eq!(collected["missing"], serde_json::json!([]), "{collected}");
    let file = collected["file"].as_str().expect("a file").to_owned();
    let sha256 = collected["sha256"].as_str().expect("a hash").to_owned();
    let checked = house.q(&["evidence", "verify", &file, "--record", "--json"]).json();
    assert_eq!(checked["isSound"], true, "{checked}");
    done(house, &["evidence", "verify", folder]);
    done(house, &["evidence", "handover", &file, "--to", "the court"]);

    // Other people's programs read it: the archive, the copy of a store in it, the hash.
    let run = |program: &str, arguments: &[&str]| {
        let mut command: Command = oracle::program(program)?;
        let output = command.args(arguments).output().expect("it runs");
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
        Some(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    if let Some(listed) = run("tar", &["-tf", &file]) {
        for member in [
            "incident.json",
            "config.json",
            "stores/qwallet.sqlite",
            "audit/consistency.json",
            "manifest.jws",
        ] {
            assert!(listed.lines().any(|line| line == member), "{member}\n{listed}");
        }
        assert!(!listed.contains("keyring") && !listed.contains("unseal"), "{listed}");
    }
    let copy = house.scratch().join("copy");
    std::fs::create_dir(&copy).expect("a folder");
    if run("tar", &["-xf", &file, "-C", copy.to_str().expect("a path of letters")]).is_some() {
        let store = copy.join("stores/qwallet.sqlite");
        if let Some(sound) =
            run("sqlite3", &[store.to_str().expect("a path of letters"), "PRAGMA integrity_check"])
        {
            assert_eq!(sound.trim(), "ok");
        }
        let proof = std::fs::read(copy.join("audit/consistency.json")).expect("a proof");
        let proof: Value = serde_json::from_slice(&proof).expect("JSON");
        assert_eq!(proof["holds"], true, "{proof}");
    }
    if let Some(summed) = run("sha256sum", &[&file]) {
        assert!(summed.starts_with(&sha256), "{summed}");
    }

    // One changed byte in the middle is named, wherever it lies; so is a chain of custody that lost a line.
    let mut bytes = std::fs::read(&file).expect("the archive");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let bent = house.scratch().join("bent.tar");
    std::fs::write(&bent, &bytes).expect("a copy");
    let chain = std::fs::read_to_string(format!("{file}.custody.jsonl")).expect("the chain");
    std::fs::write(format!("{}.custody.jsonl", bent.display()), &chain).expect("a copy");
    let bent = bent.to_str().expect("a path of letters");
    let found = house.q(&["evidence", "verify", bent]);
    assert_eq!(found.code, Some(3), "{}", found.said);
    assert!(found.said.contains("is not what was collected"), "{}", found.said);
    let cut: String =
        chain.split_inclusive('\n').enumerate().filter(|(at, _)| *at != 1).map(|(_, line)| line).collect();
    std::fs::write(format!("{file}.custody.jsonl"), cut).expect("a copy");
    let found = house.q(&["evidence", "verify", &file]);
    assert!(
        found.code == Some(3) && found.said.contains("does not follow the line before it"),
        "{}",
        found.said
    );
    sha256
}

#[test]
fn evidence_for_one_pair_of_eyes_is_opened_by_the_reference_program_of_age() {
    let Some(house) = Instance::demo(&[]) else { return };
    let (Some(mut keygen), Some(mut age)) = (oracle::program("age-keygen"), oracle::program("age")) else {
        return;
    };
    let at = |name: &str| house.scratch().join(name).to_str().expect("a path of letters").to_owned();
    let made = keygen.args(["-o", &at("key.txt")]).output().expect("it runs");
    let said = String::from_utf8_lossy(&made.stderr).into_owned();
    let recipient =
        said.split_whitespace().find(|word| word.starts_with("age1")).expect("a recipient").to_owned();
    let collected =
        house.q(&["evidence", "collect", "--to", &at("sealed"), "--encrypt-to", &recipient, "--json"]).json();
    let file = collected["file"].as_str().expect("a file");
    done(&house, &["evidence", "verify", file, "--record"]);
    let opened =
        age.args(["-d", "-i", &at("key.txt"), "-o", &at("open.tar"), file]).status().expect("it runs");
    assert!(opened.success());
    std::fs::copy(format!("{file}.custody.jsonl"), at("open.tar.custody.jsonl")).expect("a copy");
    // What was inside is what was collected, by the same chain of custody.
    let checked = house.q(&["evidence", "verify", &at("open.tar"), "--json"]).json();
    assert_eq!(checked["isSound"], true, "{checked}");
    assert!(checked["manifest"]["files"].as_array().is_some_and(|files| files.len() > 30), "{checked}");
}

#[test]
fn emergency_maintenance_begins_at_once_and_ends_after_its_checks() {
    let Some(house) = Instance::demo(&[]) else { return };
    let emergency = [
        "maintenance",
        "emergency",
        "--modules",
        "qwallet",
        "--mode",
        "full",
        "--for",
        "15m",
        "--reason",
        "Exercise",
    ];
    let refused = house.q(&emergency);
    assert_eq!(refused.code, Some(5), "{}", refused.said);
    assert!(refused.complained.contains("ROLLBACK_PLAN_REQUIRED"), "{}", refused.complained);
    // Alice is no operator, so her signature approves nothing.
    let by_alice =
        [&emergency[..], &["--rollback-plan", "lift the mode again", "--approver", "alice"]].concat();
    let refused = house.q(&by_alice);
    assert!(refused.complained.contains("APPROVAL_REFUSED"), "{}", refused.complained);
    done(&house, &["wallet", "balance", "--as", "alice"]);

    done(&house, &[&emergency[..], &["--rollback-plan", "lift the mode again"]].concat());
    let balance = house.q(&["wallet", "balance", "--as", "alice"]);
    assert!(balance.complained.contains("MAINTENANCE"), "{}", balance.complained);
    let ended = house.q(&["maintenance", "complete", "latest", "--json"]).json();
    assert_eq!(ended["status"], "completed", "{ended}");
    assert!(
        ended["checks"]
            .as_array()
            .is_some_and(|checks| checks.iter().any(|check| check["check"] == "verify"))
    );
    done(&house, &["wallet", "balance", "--as", "alice"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_cut_off_takes_no_work_until_it_is_let_in_again() {
    let Some(mut house) = Instance::unstarted(&[]) else { return };
    done(&house, &["init", "--demo"]);
    house.start(&["serve", "qlock", "squid", "qonsent", "qerberos", "ops"]);
    let purse = house.beside(&["serve", "qwallet", "--demo"]);
    let pid = purse.pid().to_string();
    let url = house.url("qwallet");
    assert_eq!(get(&url, "/health/ready").await.0, 200);
    done(&house, &["isolate", &pid, "--reason", "it behaves oddly"]);
    assert_eq!(get(&url, "/health/ready").await.0, 503);
    assert_eq!(get(&url, "/health/live").await.0, 200, "cut off is not dead");
    let balance = house.q(&["wallet", "balance", "--as", "alice"]);
    assert!(balance.complained.contains("ISOLATED"), "{}", balance.complained);
    let stranger = house.q(&["isolate", "1", "--reason", "not of this instance"]);
    assert_eq!(stranger.code, Some(2), "{}", stranger.complained);
    done(&house, &["isolate", &pid, "--lift"]);
    assert_eq!(get(&url, "/health/ready").await.0, 200);
    done(&house, &["wallet", "balance", "--as", "alice"]);
}
