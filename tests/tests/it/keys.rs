//! Keys that are lost, changed, taken back; an instance whose making was cut off.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    path::PathBuf,
    process::Stdio,
    sync::Arc,
};

use q_contract::{Client, HttpTransport};
use q_core::Env;
use q_did::{Keyring, Log, Policy, RecoveryPhrase};
use q_tests::Instance;
use serde_json::{Value, json};

fn keys(house: &Instance) -> PathBuf {
    house.scratch().join("q-data.keys")
}

fn keyring(house: &Instance, name: &str) -> PathBuf {
    keys(house).join("keyring").join(format!("{name}.json"))
}

fn log_text(house: &Instance, did: &str) -> String {
    let client = Client::new(Arc::new(HttpTransport::new(house.url("squid"))));
    let path = format!("/id/{}/did.jsonl", did.trim_start_matches("did:squid:"));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let answer = runtime.block_on(client.send("GET", &path, bytes::Bytes::new(), "text/plain"));
    String::from_utf8(answer.expect("an answer").body().to_vec()).expect("text")
}

/// Runs `arguments` with `input` on standard input.
fn with_input(house: &Instance, arguments: &[&str], input: &str) -> (Option<i32>, String, String) {
    let mut command = house.command(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(input.as_bytes()).expect("it reads");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_making_that_was_cut_off_is_finished_and_shows_its_phrases() {
    let Some(mut house) = Instance::unstarted(&[]) else { return };
    assert_eq!(house.q(&["init", "--demo"]).code, Some(0));
    let phrase = keys(&house).join("keyring/operator.phrase");
    assert!(!phrase.exists(), "a phrase that was shown stays behind");
    // As a run leaves it that dies before it showed the words.
    fs::write(house.data().join("init.unfinished"), "").unwrap();
    fs::write(&phrase, "the words").unwrap();
    let again = house.q(&["init", "--json"]).json();
    assert_eq!(again["recoveryPhrases"], json!({"instance": null, "operator": "the words"}));
    assert!(!phrase.exists());
    let did = again["instance"].clone();

    fs::remove_file(house.data().join("instance.json")).unwrap();
    house.start(&["up", "--demo"]);
    assert!(house.greeting.contains(did.as_str().unwrap()), "{}", house.greeting);
    assert_eq!(house.q(&["verify"]).code, Some(0));
}

#[test]
fn half_an_instance_is_not_made_anew() {
    let Some(house) = Instance::unstarted(&[]) else { return };
    assert_eq!(house.q(&["init"]).code, Some(0));
    let aside = house.scratch().join("aside");

    fs::rename(keys(&house), &aside).unwrap();
    for verb in ["up", "verify"] {
        let refused = house.q(&[verb]);
        assert_ne!(refused.code, Some(0), "{}", refused.said);
        assert!((refused.complained + &refused.said).contains("restore it from the copy"), "{verb}");
    }
    assert!(!keys(&house).exists(), "a new key folder would hide that the old one is missing");
    fs::rename(&aside, keys(&house)).unwrap();

    fs::rename(house.data(), &aside).unwrap();
    let refused = house.q(&["up"]);
    assert_eq!(refused.code, Some(4));
    assert!(refused.complained.contains("whose data"), "{}", refused.complained);
    assert!(!house.data().exists());
}

#[test]
fn a_taken_port_is_refused_before_an_instance_is_made() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap().to_string();
    let Some(house) = Instance::unstarted(&[("QWALLET_LISTEN", &address)]) else { return };
    let refused = house.q(&["up"]);
    assert_eq!(refused.code, Some(4));
    assert!(refused.complained.contains("QWALLET_LISTEN"), "{}", refused.complained);
    assert!(!house.data().exists() && !keys(&house).exists());
}

#[test]
fn a_rotation_cut_off_is_finished_by_the_next_command() {
    let Some(house) = Instance::demo(&[]) else { return };
    let place = keyring(&house, "bob");
    let change = keys(&house).join("keyring/bob.changing");
    let pay = ["wallet", "pay", "alice", "1", "--as", "bob", "--json"];

    // Accepted, and the answer was lost.
    let old = fs::read(&place).unwrap();
    assert_eq!(house.q(&["id", "rotate", "bob"]).code, Some(0));
    let new: Value = serde_json::from_slice(&fs::read(&place).unwrap()).unwrap();
    let text = log_text(&house, new["did"].as_str().unwrap());
    let entry: Value = serde_json::from_str(text.trim_end().lines().last().unwrap()).unwrap();
    fs::write(&place, old).unwrap();
    assert_ne!(house.q(&pay).code, Some(0), "the old key holds no longer");
    fs::write(&change, json!({"keyring": new, "entry": entry}).to_string()).unwrap();
    assert_eq!(house.q(&pay).json()["status"], "SETTLED");
    assert!(!change.exists());

    // Never sent.
    let held: Keyring = serde_json::from_slice(&fs::read(&place).unwrap()).unwrap();
    let env = Env::system();
    let log = Log::verify(&log_text(&house, held.did.as_str()), env.now(), Policy::House).unwrap();
    let (next, entry) = held.rotate(&log, None, &env).unwrap();
    fs::write(&change, json!({"keyring": next, "entry": entry}).to_string()).unwrap();
    let rotated = house.q(&["id", "rotate", "bob"]);
    assert_eq!(rotated.code, Some(0), "{}", rotated.complained);
    assert!(rotated.complained.contains("finished the change of keys of bob"), "{}", rotated.complained);
    assert!(rotated.said.contains("log at 4-"), "{}", rotated.said);
    assert_eq!(house.q(&pay).json()["status"], "SETTLED");
}

#[test]
fn an_identity_whose_keys_are_lost_is_taken_back_with_its_words() {
    let Some(house) = Instance::demo(&[]) else { return };
    let made = house.q(&["id", "new", "carol", "--json"]).json();
    let (did, words) = (made["did"].as_str().unwrap(), made["recoveryPhrase"].as_str().unwrap());
    assert_eq!(house.q(&["wallet", "open", "--as", "carol"]).code, Some(0));
    assert_eq!(house.q(&["wallet", "faucet", "50", "--as", "carol"]).code, Some(0));
    fs::remove_file(keyring(&house, "carol")).unwrap();
    assert_eq!(house.q(&["wallet", "balance", "--as", "carol"]).code, Some(2));

    let recover = ["id", "recover", "carol", "--did", did, "--json"];
    assert_eq!(with_input(&house, &recover, "not the words").0, Some(2));
    let (code, said, complained) = with_input(&house, &recover, &format!("{words}\n"));
    assert_eq!(code, Some(0), "{complained}");
    let recovered: Value = serde_json::from_str(&said).unwrap();
    let new_words = recovered["recoveryPhrase"].as_str().unwrap();
    assert_ne!(new_words, words);
    let paid = house.q(&["wallet", "pay", "alice", "1", "--as", "carol", "--json"]).json();
    assert_eq!(paid["status"], "SETTLED");
    assert!(!keys(&house).join("keyring/carol.changing").exists());

    // The old words are used up; the new ones work.
    assert_ne!(with_input(&house, &recover, words).0, Some(0));
    let (code, said, complained) = with_input(&house, &["id", "recover", "carol", "--json"], new_words);
    assert_eq!(code, Some(0), "{complained}");
    let recovered: Value = serde_json::from_str(&said).unwrap();

    // Cut off before it could show the next words: whatever is done next shows them.
    let words = RecoveryPhrase::parse(recovered["recoveryPhrase"].as_str().unwrap()).unwrap();
    let env = Env::system();
    let log = Log::verify(&log_text(&house, did), env.now(), Policy::House).unwrap();
    let (next, entry, phrase) = Keyring::recover(&log, &words, &env).unwrap();
    let change = json!({"keyring": next, "entry": entry, "phrase": phrase.words().as_str()});
    fs::write(keys(&house).join("keyring/carol.changing"), change.to_string()).unwrap();
    let balance = house.q(&["wallet", "balance", "--as", "carol"]);
    assert_eq!(balance.code, Some(0), "{}", balance.complained);
    assert!(balance.complained.contains(phrase.words().as_str()), "{}", balance.complained);
    assert_eq!(house.q(&["wallet", "balance", "--as", "carol"]).complained, "");
}

#[test]
fn orders_nobody_repeats_any_more_are_let_go() {
    let Some(house) = Instance::demo(&[]) else { return };
    let pay = |key| {
        let arguments = ["wallet", "pay", "bob", "1", "--as", "alice", "--idempotency-key", key];
        assert_eq!(house.q(&arguments).code, Some(0));
    };
    let orders = || -> Vec<PathBuf> {
        let entries = fs::read_dir(keys(&house).join("orders")).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    };
    pay("first");
    let old = orders();
    for path in &old {
        let file = fs::File::options().write(true).open(path).unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    }
    pay("second");
    let now = orders();
    assert_eq!(now.len(), 1);
    assert!(!old.contains(&now[0]));
}

#[test]
fn an_issuance_repeated_is_the_same_issuance() {
    let Some(house) = Instance::demo(&[]) else { return };
    assert_eq!(house.q(&["id", "appoint", "alice"]).code, Some(0));
    let issue = |approvers: [&str; 2], extra: &[&str]| {
        let mut arguments = vec!["wallet", "issue", "100", "bob", "--reference", "resolution-7", "--json"];
        arguments.extend(approvers.iter().flat_map(|name| ["--approver", name]));
        arguments.extend(extra);
        house.q(&arguments)
    };
    // Signed by one who may not: nothing happened, and the right approvers may try again.
    assert_eq!(issue(["operator", "bob"], &[]).code, Some(5));
    let first = issue(["operator", "alice"], &[]).json();
    let second = issue(["alice", "operator"], &[]).json();
    assert_eq!(first["transactionId"], second["transactionId"]);
    let meant = issue(["operator", "alice"], &["--idempotency-key", "another"]).json();
    assert_ne!(first["transactionId"], meant["transactionId"]);
    let bob = house.q(&["wallet", "balance", "--as", "bob", "--json"]).json();
    assert_eq!(bob["balances"]["QToken"]["available"], "212.5");
}

#[test]
fn a_reader_that_has_enough_is_no_failure() {
    let Some(house) = Instance::unstarted(&[]) else { return };
    let mut command = house.command(&["config"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    // Closed before the program has begun to write.
    drop(BufReader::with_capacity(1, child.stdout.take().unwrap()));
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!((child.wait().unwrap().code(), line.as_str()), (Some(0), ""));
}

#[test]
fn headers_of_requests_side_by_side_are_files_of_their_own() {
    let Some(house) = Instance::demo(&[]) else { return };
    let url = format!("{}/health", house.url("squid"));
    let ask = || house.q(&["auth", "headers", "GET", &url, "--as", "alice"]);
    let (first, second) = (ask(), ask());
    assert_ne!(first.said, second.said);
    let file = |said: &str| PathBuf::from(said.trim().rsplit('@').next().unwrap());
    for outcome in [&first, &second] {
        assert!(fs::read_to_string(file(&outcome.said)).unwrap().starts_with("Authorization: DPoP "));
    }
    let old = fs::File::options().write(true).open(file(&first.said)).unwrap();
    old.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    ask();
    assert!(!file(&first.said).exists() && file(&second.said).exists());
}
