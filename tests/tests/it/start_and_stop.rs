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
    // Its own memory: the pages of the program's file are the system's, and a debug build has four times as many.
    let own = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    let kib: u64 = own.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kib < 80 * 1024, "{kib} KiB of its own");
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
    let holder = format!("(process {})", std::process::id());
    for said in [refused.complained, doctor.said] {
        assert!(said.contains(&holder), "{said}");
    }
}

#[test]
#[expect(clippy::disallowed_types, reason = "a store is looked into from outside")]
fn a_folder_of_a_newer_version_is_refused_and_left_as_it_is() {
    let Some(house) = Instance::unstarted(&[]) else { return };
    assert_eq!(house.q(&["init"]).code, Some(0));
    let store = rusqlite::Connection::open(house.data().join("qonsent.sqlite")).unwrap();
    let sql = "INSERT INTO q_schema SELECT part, 99, name, hash, '99.0.0', applied_at FROM q_schema \
        WHERE part = 'qonsent' LIMIT 1";
    store.execute(sql, []).unwrap();
    drop(store);
    let refused = house.q(&["up"]);
    assert_eq!(refused.code, Some(4));
    assert!(refused.complained.contains("schema 99 (written by version 99.0.0)"), "{}", refused.complained);
    let doctor = house.q(&["doctor"]);
    assert_eq!(doctor.code, Some(3));
    assert!(doctor.said.contains("BAD store of qonsent"), "{}", doctor.said);
}

#[test]
fn the_doctor_looks_at_what_runs() {
    let slip = [("QWALLET_LISTN", "127.0.0.1:1"), ("QONSENT_URL", "")];
    let Some(mut house) = Instance::demo(&slip) else { return };
    let lines = house.q(&["doctor", "--json"]).json();
    let line = |what: &str| {
        let found = lines.as_array().unwrap().iter().find(|line| line["what"] == what);
        found.unwrap_or_else(|| panic!("{what} is not looked at")).clone()
    };
    for (what, state) in [
        ("port of qwallet", "good"),
        ("module squid", "good"),
        ("store of qwallet", "good"),
        ("permissions", "good"),
        ("clock", "unknown"),
    ] {
        assert_eq!(line(what)["state"], state, "{}", line(what));
    }
    let said = lines.to_string();
    assert!(said.contains("QWALLET_LISTN sets nothing; did you mean QWALLET_LISTEN?"), "{said}");
    let partial = house.q(&["stop", "qwallet"]);
    assert_eq!(partial.code, Some(2), "{}", partial.complained);
    house.stop();
}

#[test]
#[expect(clippy::disallowed_types, reason = "a store is looked into from outside")]
fn what_a_stop_leaves_is_under_a_signed_checkpoint() {
    let Some(mut house) = Instance::demo(&[]) else { return };
    assert_eq!(house.q(&["wallet", "pay", "alice", "3", "--as", "bob"]).code, Some(0));
    house.stop();
    let size = |text: String| text.lines().nth(1).unwrap().parse::<i64>().unwrap();
    let signed =
        size(std::fs::read_to_string(house.scratch().join("q-data.keys/qerberos.checkpoint")).unwrap());
    let store =
        |module: &str| rusqlite::Connection::open(house.data().join(format!("{module}.sqlite"))).unwrap();
    let leaves: i64 = store("qerberos").query_row("SELECT size FROM head", [], |row| row.get(0)).unwrap();
    assert_eq!(signed, leaves);
    let written: i64 =
        store("qwallet").query_row("SELECT MAX(position) FROM q_audit", [], |row| row.get(0)).unwrap();
    let heard: i64 = store("qerberos")
        .query_row("SELECT MAX(position) FROM q_cursors WHERE name LIKE '%qwallet%'", [], |row| row.get(0))
        .unwrap();
    assert_eq!(written, heard);
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
