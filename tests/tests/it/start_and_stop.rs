//! Starting, refusing to start, idling, stopping.

use std::{net::TcpListener, time::Instant};

use q_tests::Instance;

#[test]
fn starts_quickly_and_idles_small() {
    let Some(mut house) = Instance::unstarted(&[]) else { return };
    let made = house.q(&["init", "--json"]).json();
    assert_eq!(made["recoveryPhrases"]["operator"].as_str().unwrap().split(' ').count(), 24);
    let started = Instant::now();
    house.start(&["up"]);
    // The promise is 2 s for a release build on a quiet machine; tests run a debug build beside others.
    assert!(started.elapsed().as_secs() < 10, "{:?}", started.elapsed());
    let status = std::fs::read_to_string(format!("/proc/{}/status", house.pid())).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kib: u64 = resident.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kib < 150 * 1024, "{kib} KiB resident");
    house.stop();
}

#[test]
fn a_taken_port_is_refused_by_name() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap().to_string();
    let Some(house) = Instance::unstarted(&[("QWALLET_LISTEN", &address)]) else { return };
    assert_eq!(house.q(&["init"]).code, Some(0));
    let refused = house.q(&["up"]);
    assert_eq!(refused.code, Some(4));
    assert!(
        refused.complained.contains("qwallet cannot listen") && refused.complained.contains("QWALLET_LISTEN")
    );
    let doctor = house.q(&["doctor"]);
    assert_eq!(doctor.code, Some(3));
    assert!(doctor.said.contains("BAD port of qwallet"), "{}", doctor.said);
}

#[test]
fn a_wrong_setting_is_refused_with_the_nearest_name() {
    let Some(house) = Instance::unstarted(&[]) else { return };
    assert_eq!(house.q(&["init"]).code, Some(0));
    std::fs::write(house.data().join("q.toml"), "[qwallet]\nlissten = \"127.0.0.1:1\"\n").unwrap();
    let refused = house.q(&["up"]);
    assert_eq!(refused.code, Some(4));
    assert!(refused.complained.contains("did you mean listen?"), "{}", refused.complained);
}

#[test]
fn a_second_process_on_one_folder_is_refused() {
    let Some(mut house) = Instance::demo(&[]) else { return };
    let second = house.q(&["up"]);
    assert_eq!(second.code, Some(4));
    assert!(second.complained.contains("already runs"), "{}", second.complained);
    house.stop();
    assert_eq!(house.q(&["wallet", "balance"]).code, Some(6));
}

#[test]
fn the_doctor_says_what_a_start_would_refuse() {
    let Some(house) = Instance::unstarted(&[]) else { return };
    assert_eq!(house.q(&["init"]).code, Some(0));
    let sound = house.q(&["doctor"]);
    assert_eq!(sound.code, Some(0), "{}", sound.said);
    assert!(sound.said.contains("store of qwallet"), "{}", sound.said);

    let settings = house.data().join("q.toml");
    for (text, name) in [
        ("[qwallet]\nfee_network_basis_points = 70000\n", "fee_network_basis_points under"),
        ("[limits]\nper_identity_per_minute = \"many\"\n", "per_identity_per_minute under"),
        ("[squid]\ndatabase_url = \"mysql://x/y\"\n", "SQUID_DATABASE_URL"),
        ("[qonsent]\nurl = \"elsewhere\"\n", "url under"),
        ("[instance]\norigin = \"http://Here\"\n", "origin under"),
    ] {
        std::fs::write(&settings, text).unwrap();
        let sick = house.q(&["doctor"]);
        assert_eq!(sick.code, Some(3), "{text}{}", sick.said);
        assert!(sick.said.contains(name), "{text}{}", sick.said);
    }
    std::fs::remove_file(&settings).unwrap();

    std::fs::write(house.data().join("qonsent.sqlite"), "not a store, and longer than any header of one")
        .unwrap();
    let damaged = house.q(&["doctor"]);
    assert_eq!(damaged.code, Some(3), "{}", damaged.said);
    assert!(damaged.said.contains("qonsent"), "{}", damaged.said);
    std::fs::remove_file(house.scratch().join("q-data.keys/unseal.key")).unwrap();
    let locked = house.q(&["doctor"]);
    assert!(locked.said.contains("BAD unseal key"), "{}", locked.said);
}

#[test]
fn wrong_usage_has_an_exit_code_of_its_own() {
    let Some(house) = Instance::unstarted(&[]) else { return };
    for wrong in [&["serve", "qwalet"][..], &["verify", "nothing"], &["openapi"], &["id", "frobnicate"]] {
        assert_eq!(house.q(wrong).code, Some(2), "{wrong:?}");
    }
}
