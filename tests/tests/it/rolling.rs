//! One process follows another while clients go on asking.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, path::Path, time::Duration};

use q_bench::{
    steady::{Record, Steady, SteadyPlan},
    world::House,
};
use q_tests::{Instance, children_of};
use serde_json::Value;

const UNLIMITED: [(&str, &str); 3] = [
    ("Q_LIMITS_PER_ADDRESS_PER_MINUTE", "0"),
    ("Q_LIMITS_PER_IDENTITY_PER_MINUTE", "0"),
    ("SQUID_REGISTRATIONS_PER_HOUR", "0"),
];
/// A load that a debug build carries beside other tests.
const PLAN: SteadyPlan = SteadyPlan { rate: 100.0, clients: 12, payers: 6, span: Duration::from_secs(12) };

fn note(house: &Instance) -> Value {
    let notes: Vec<Value> = fs::read_dir(house.data().join("running"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "json"))
        .map(|path| serde_json::from_slice(&fs::read(path).unwrap()).unwrap())
        .collect();
    assert_eq!(notes.len(), 1, "{notes:?}");
    notes[0].clone()
}

async fn load_on(house: &Instance, plan: SteadyPlan) -> Steady {
    let note = note(house);
    let (door, origin) = (note["frontDoor"].as_str().unwrap(), note["origin"].as_str().unwrap());
    Steady::on(House::at(door, origin).unwrap(), plan).await.unwrap()
}

fn restart(house: &Instance, more: &[&str]) -> Value {
    house.q(&[&["restart", "--rolling", "--json"], more].concat()).json()[0].clone()
}

fn all_answered(record: &Record) {
    assert_eq!(record.failed(), 0, "{:?}", record.failures);
    assert!(record.samples.len() >= 1_000, "{} requests", record.samples.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_and_an_update_fail_no_request() {
    let Some(mut house) = Instance::demo(&UNLIMITED) else { return };
    let load = load_on(&house, PLAN).await;
    let first = house.pid();
    let before = note(&house);
    let loading = tokio::spawn(async move { load.run().await });

    let (second, third) = tokio::task::block_in_place(|| {
        let second = restart(&house, &[]);
        let other = house.scratch().join("q of another version");
        fs::copy(std::env::var_os("Q_BIN").unwrap(), &other).unwrap();
        (second, restart(&house, &["--binary", other.to_str().unwrap()]))
    });
    assert_eq!(second["oldPid"], first);
    assert_eq!(third["oldPid"], second["newPid"]);
    let after = note(&house);
    assert_eq!(after["pid"], third["newPid"]);
    assert_eq!((&after["modules"], &after["frontDoor"]), (&before["modules"], &before["frontDoor"]));
    let program = fs::read_link(format!("/proc/{}/exe", third["newPid"])).unwrap();
    assert!(program.ends_with("q of another version"), "{}", program.display());
    assert!(
        second["connections"].as_u64().unwrap() + third["connections"].as_u64().unwrap() > 0,
        "{second} {third}"
    );

    all_answered(&loading.await.unwrap());
    let verified = house.q(&["verify"]);
    assert_eq!(verified.code, Some(0), "{}{}", verified.said, verified.complained);
    // Whoever started the first process still has it, and it ends when the last one was stopped.
    assert_eq!(house.pid(), first);
    assert!(Path::new(&format!("/proc/{first}")).exists());
    house.stop();
    assert_eq!(house.q(&["verify"]).code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_process_that_cannot_start_leaves_the_old_one_serving() {
    let Some(mut house) = Instance::demo(&UNLIMITED) else { return };
    let load = load_on(&house, PLAN).await;
    let before = note(&house);
    let loading = tokio::spawn(async move { load.run().await });
    tokio::task::block_in_place(|| {
        fs::write(house.data().join("q.toml"), "[qwallet]\nfee_network_basis_points = 70000\n").unwrap();
        let refused = house.q(&["restart", "--rolling"]);
        assert_eq!(refused.code, Some(1), "{}", refused.complained);
        let said = refused.complained;
        assert!(said.contains("fee_network_basis_points") && said.contains("serves on"), "{said}");
        fs::remove_file(house.data().join("q.toml")).unwrap();
        for program in ["/bin/false", "/nowhere/q"] {
            let refused = house.q(&["restart", "--rolling", "--binary", program]);
            assert_eq!(refused.code, Some(1), "{}", refused.complained);
        }
        assert_eq!(note(&house), before);

        // It opens no store that somebody else has open: the old one has let go by then, and takes its stores again.
        let thief = Thief::waiting_for(&house.data().join("qwallet.sqlite.lock"), house.pid());
        let refused = house.q(&["restart", "--rolling"]);
        assert_eq!(refused.code, Some(1), "{}", refused.complained);
        assert!(refused.complained.contains("is in use by process"), "{}", refused.complained);
        thief.join().unwrap();
        assert_eq!(note(&house), before);
    });
    all_answered(&loading.await.unwrap());
    assert_eq!(house.q(&["verify"]).code, Some(0));
    house.stop();
}

/// Takes the lock of a store as soon as it is free, and keeps it from the next process.
struct Thief;

impl Thief {
    fn waiting_for(lock: &Path, old: u32) -> std::thread::JoinHandle<()> {
        let file = fs::File::options().read(true).write(true).open(lock).unwrap();
        std::thread::spawn(move || {
            file.lock().unwrap();
            // Until the process that wanted it has given up.
            while !children_of(old).is_empty() {
                std::thread::yield_now();
            }
        })
    }
}

#[test]
fn a_restart_that_is_not_rolling_keeps_the_process_and_takes_new_settings() {
    let Some(mut house) = Instance::demo(&[]) else { return };
    let before = house.pid();
    fs::write(house.data().join("q.toml"), "[qwallet]\nfee_network_basis_points = 20\n").unwrap();
    let line = house.q(&["restart", "--json"]).json()[0].clone();
    assert_eq!((&line["oldPid"], &line["newPid"]), (&before.into(), &before.into()));
    assert_eq!(house.q(&["wallet", "pay", "alice", "3", "--as", "bob"]).code, Some(0));
    house.stop();
}
