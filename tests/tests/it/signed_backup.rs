//! Somebody who may write to the place where backups lie: what they put there is refused by name, and everything the
//! instance made itself comes back, on this machine and on a new one.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant as Moment},
};

use q_tests::{Instance, Outcome, sound};

fn beside(data: &Path, suffix: &str) -> PathBuf {
    let mut path = data.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// Makes a backup once the one that a start makes by itself is over.
fn made(house: &Instance, more: &[&str]) -> String {
    let verb = [&["backup", "create", "--json"], more].concat();
    let ends_at = Moment::now() + Duration::from_mins(1);
    loop {
        let made = house.q(&verb);
        if made.code == Some(0) {
            return made.json()["id"].as_str().expect("an id").to_owned();
        }
        assert!(made.complained.contains("right now") && Moment::now() < ends_at, "{}", made.complained);
    }
}

fn did(house: &Instance) -> String {
    let about = fs::read(house.data().join("instance.json")).expect("an instance");
    let about: serde_json::Value = serde_json::from_slice(&about).expect("JSON");
    about["did"].as_str().expect("an identity").to_owned()
}

/// What it said, although not all was well.
fn told(outcome: &Outcome) -> serde_json::Value {
    serde_json::from_str(&outcome.said).expect("JSON")
}

fn refused(outcome: &Outcome, words: &[&str]) {
    assert_ne!(outcome.code, Some(0), "{}{}", outcome.said, outcome.complained);
    for word in words {
        assert!(outcome.complained.contains(word), "{word:?} is not in {}", outcome.complained);
    }
}

#[test]
fn a_backup_that_somebody_else_put_into_the_target_is_refused_and_counts_for_nothing() {
    let Some(mut house) = Instance::demo(&[]) else { return };
    let genuine = made(&house, &[]);
    house.stop();
    let target = beside(&house.data(), ".backups");
    let (from, ours) = (target.display().to_string(), did(&house));
    // The key to seal for lies there in the open.
    let public = fs::read_to_string(target.join("made-for.txt")).expect("a public key");
    let settings = [("Q_BACKUP_RECIPIENTS", public.as_str()), ("Q_BACKUP_EVERY_MINUTES", "0")];
    let Some(mut thief) = Instance::demo(&settings) else { return };
    let forged = made(&thief, &["--to", &from]);
    thief.stop();
    let theirs = did(&thief);
    let into = house.scratch().join("restored/q-data");
    let into = into.to_str().expect("a path");
    for verb in [&["backup", "restore", "latest"][..], &["backup", "restore", &forged]] {
        let refusal = house.q(&[verb, &["--into", into]].concat());
        refused(&refusal, &[&forged, &ours, &theirs]);
        assert!(!Path::new(into).join("instance.json").exists(), "something was put back all the same");
    }
    refused(&house.q(&["backup", "verify"]), &[&forged, &theirs]);
    refused(&house.q(&["drill", "restore"]), &[&forged, &theirs]);
    let listed = house.q(&["backup", "list", "--json"]);
    refused(&listed, &[&forged, &theirs]);
    let shown: Vec<String> =
        told(&listed).as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect();
    assert!(shown.contains(&genuine) && !shown.contains(&forged), "{shown:?}");
    let clean = house.q(&["backup", "list", "--clean", "--json"]);
    assert_eq!(told(&clean)[0]["id"], genuine.as_str(), "{}", clean.complained);
    let pruned = house.q(&["backup", "prune", "--keep", "daily=1", "--json"]).json();
    assert!(pruned["kept"].as_array().unwrap().contains(&genuine.as_str().into()), "{pruned}");
    assert!(pruned["refused"][&forged].as_str().unwrap().contains(&theirs), "{pruned}");
    let restored = house.q(&["backup", "restore", &genuine, "--into", into, "--json"]);
    assert_eq!(restored.code, Some(0), "{}", restored.complained);
    assert!(restored.json()["ageSeconds"].as_i64().unwrap() >= 0);
    assert!(restored.complained.contains(" ago"), "{}", restored.complained);
    sound(&thief, "forged backup", "refused with both names by every verb, the genuine one put back");
}

#[test]
fn what_nobody_signed_is_taken_only_when_it_is_asked_for() {
    let Some(mut house) = Instance::demo(&[]) else { return };
    let id = made(&house, &[]);
    house.stop();
    // As versions wrote it that did not sign. What was shipped after it stays away.
    let target = beside(&house.data(), ".backups");
    for folder in ["signatures", "made-by", "changes", "secrets"] {
        fs::remove_dir_all(target.join(folder)).unwrap_or_default();
    }
    let into = house.scratch().join("restored/q-data");
    let restore = ["backup", "restore", "--into", into.to_str().expect("a path")];
    refused(&house.q(&restore), &[&id, "not signed", "--accept-unsigned"]);
    refused(&house.q(&["backup", "list"]), &[&id, "--accept-unsigned", "q backup create"]);
    refused(&house.q(&["backup", "verify"]), &[&id, "--accept-unsigned"]);
    let listed = house.q(&["backup", "list", "--accept-unsigned"]);
    assert_eq!(listed.code, Some(0), "{}", listed.complained);
    assert!(listed.said.contains("UNSIGNED"), "{}", listed.said);
    let restored = house.q(&[&restore[..], &["--accept-unsigned"]].concat());
    assert_eq!(restored.code, Some(0), "{}", restored.complained);
    // A new one is taken without a word, and the old ones are no findings beside it.
    house.start(&["up"]);
    made(&house, &[]);
    let listed = house.q(&["backup", "list"]);
    assert_eq!(listed.code, Some(0), "{}", listed.complained);
    assert!(listed.complained.contains("not signed"), "{}", listed.complained);
    let figures = house.q(&["call", "ops", "GET", "/metrics"]).said;
    for name in ["last_success_timestamp_seconds", "size_bytes", "duration_seconds", "failures_total"] {
        assert!(figures.contains(&format!("ops_backup_{name} ")), "{name} is not in {figures}");
    }
    house.stop();
}

#[test]
fn a_new_machine_believes_whom_the_key_file_or_the_operator_names() {
    let Some(mut house) = Instance::demo(&[]) else { return };
    made(&house, &[]);
    // The signing key is replaced while backups go on; what the old one signed is as good as ever.
    let rotated = house.q(&["id", "rotate", "instance"]);
    assert_eq!(rotated.code, Some(0), "{}", rotated.complained);
    made(&house, &[]);
    let listed = house.q(&["backup", "list", "--json"]);
    assert_eq!(listed.code, Some(0), "{}", listed.complained);
    assert!(listed.json().as_array().unwrap().len() >= 2);
    let (signer, stranger) = (did(&house), "did:squid:QmNbTuugy2LzEX2YpzQc4nDYKVNy889DyRaSJGTqAMcbWn");
    assert!(house.q(&["backup", "schedule"]).said.contains(&signer));
    house.stop();
    let kept = house.scratch().join("kept.key");
    fs::copy(beside(&house.data(), ".keys/backup.key"), &kept).unwrap();
    let older = house.scratch().join("older.key");
    let text = fs::read_to_string(&kept).unwrap();
    let lines: Vec<&str> = text.lines().filter(|line| !line.contains("signed by")).collect();
    assert_eq!(lines.len() + 1, text.lines().count());
    fs::write(&older, lines.join("\n")).unwrap();
    let target = beside(&house.data(), ".backups");
    let gone = house.scratch().join("gone");
    fs::create_dir(&gone).unwrap();
    fs::rename(house.data(), gone.join("q-data")).unwrap();
    fs::rename(beside(&house.data(), ".keys"), gone.join("q-data.keys")).unwrap();
    let restore = |key: &Path, more: &[&str]| {
        let (from, key) = (target.to_str().unwrap(), key.to_str().unwrap());
        house.q(&[&["backup", "restore", "--from", from, "--key", key], more].concat())
    };
    // A copy of the key made before backups were signed says nothing about the signer.
    refused(&restore(&older, &[]), &["--signer", &signer]);
    refused(&restore(&older, &["--signer", stranger]), &[&signer, stranger]);
    refused(&restore(&older, &["--signer", "somebody"]), &["names no signer"]);
    refused(&restore(&kept, &["--signer", stranger]), &[&signer, stranger]);
    let earlier = house.scratch().join("earlier/q-data");
    let told = restore(&older, &["--signer", &signer, "--into", earlier.to_str().unwrap()]);
    assert_eq!(told.code, Some(0), "{}{}", told.said, told.complained);
    let restored = restore(&kept, &[]);
    assert_eq!(restored.code, Some(0), "{}{}", restored.said, restored.complained);
    assert!(!restored.complained.contains("another log"), "{}", restored.complained);
    house.start(&["up"]);
    made(&house, &[]);
    assert_eq!(house.q(&["backup", "list"]).code, Some(0));
    house.stop();
    assert_eq!(house.q(&["verify"]).code, Some(0));
}
