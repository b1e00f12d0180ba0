//! One byte of a file changed behind everybody's back: `q verify` finds it and says where.

use std::fs;

use q_testkit::oracle;
use q_tests::Instance;

/// A module, a value it keeps, and what the report must name.
const VALUES: [(&str, &str, &str); 5] = [
    ("squid", "SELECT hex(line) FROM log_entries LIMIT 1", "log_invalid at did:squid:"),
    ("qonsent", "SELECT hex(token) FROM delegations LIMIT 1", "delegations"),
    ("qlock", "SELECT hex(wrapped) FROM keks LIMIT 1", "keks"),
    ("qerberos", "SELECT hex(record) FROM events LIMIT 1", "events"),
    ("qwallet", "SELECT hex(leaf) FROM transfers LIMIT 1", "transfers"),
];

#[test]
fn a_damaged_byte_is_found_and_named_in_each_store() {
    let Some(mut house) = Instance::demo(&[]) else { return };
    house.stop();
    assert_eq!(house.q(&["verify"]).code, Some(0));
    for (module, query, place) in VALUES {
        let Some(mut sqlite) = oracle::program("sqlite3") else { return };
        let store = house.data().join(format!("{module}.sqlite"));
        let value = sqlite.arg(&store).arg(query).output().unwrap().stdout;
        let value = data_encoding::HEXUPPER.decode(value.trim_ascii()).unwrap();
        let sound = fs::read(&store).unwrap();
        // A long value spills onto further pages; its first bytes stand together in any case. A copy that was
        // left behind on a free page would hide the damage, so every one is damaged.
        let needle = &value[..value.len().min(64)];
        let mut damaged = sound.clone();
        for at in (0..=sound.len() - needle.len()).filter(|at| sound[*at..].starts_with(needle)) {
            damaged[at + needle.len() / 2] ^= 0x01;
        }
        assert_ne!(damaged, sound, "{module}: the value is not in the file");
        fs::write(&store, &damaged).unwrap();
        let verdict = house.q(&["verify"]);
        fs::write(&store, &sound).unwrap();
        assert_eq!(verdict.code, Some(3), "{module}: {}{}", verdict.said, verdict.complained);
        assert!(
            verdict.said.contains("DAMAGED") && verdict.said.contains(place),
            "{module}: {}",
            verdict.said
        );
    }
    assert_eq!(house.q(&["verify"]).code, Some(0));
}
