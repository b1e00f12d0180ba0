//! A page of a store is overwritten: the damage is named, writes stop by themselves, reads go on, and the way back
//! leads over a verification, a read-only time and canaries.

use std::fs;

use q_testkit::oracle;
use q_tests::{Instance, Payer, Reader, UNLIMITED, passed, sound};

const MODULES: [&str; 5] = ["squid", "qonsent", "qlock", "qerberos", "qwallet"];
const PAGE_BYTES: usize = 4_096;

fn sqlite(store: &std::path::Path, query: &str) -> Option<String> {
    let output = oracle::program("sqlite3")?.arg(store).arg(query).output().expect("sqlite3 runs");
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[test]
fn an_overwritten_page_of_each_store_is_named() {
    let Some(mut house) = Instance::demo(&[]) else { return };
    house.stop();
    for module in MODULES {
        let store = house.data().join(format!("{module}.sqlite"));
        // The root page of a table that every store has and that holds rows by now.
        let Some(page) = sqlite(&store, "SELECT rootpage FROM sqlite_master WHERE name = 'q_audit'") else {
            return;
        };
        let at = (page.parse::<usize>().expect("a page number") - 1) * PAGE_BYTES;
        let whole = fs::read(&store).expect("a store");
        let mut torn = whole.clone();
        torn[at..at + PAGE_BYTES].fill(0xa5);
        fs::write(&store, &torn).expect("a damaged store");
        let verdict = house.q(&["verify"]);
        fs::write(&store, &whole).expect("the store as it was");
        assert_eq!(verdict.code, Some(3), "{module}: {}{}", verdict.said, verdict.complained);
        let mut said = verdict.said.lines().skip_while(|line| *line != format!("{module}: DAMAGED"));
        assert!(said.next().is_some(), "{module} is not named: {}{}", verdict.said, verdict.complained);
        assert!(said.next().is_some_and(|line| line.starts_with("  ")), "{module}: {}", verdict.said);
    }
    // Looking at damage stopped the writes of what could still be written to; now that it is mended, looking ends it.
    assert_eq!(house.q(&["verify"]).code, Some(0));
    sound(&house, "corrupted page in each store", "the module and the place are named");
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_found_while_serving_stops_writes_until_it_is_mended() {
    let Some(mut house) = Instance::demo(&UNLIMITED) else { return };
    let (alice, bob) = (Payer::of(&house, "alice"), Payer::of(&house, "bob").wallet().to_owned());
    let first = alice.order(&bob, "0.5", "damage-1");
    alice.pay(&first, "damage-1").await.expect("a sound wallet");
    house.stop();
    // One byte of a settled transfer, behind everybody's back.
    let store = house.data().join("qwallet.sqlite");
    let Some(leaf) = sqlite(&store, "SELECT hex(leaf) FROM transfers LIMIT 1") else { return };
    let leaf = data_encoding::HEXUPPER.decode(leaf.as_bytes()).expect("a leaf");
    let needle = &leaf[..leaf.len().min(64)];
    let mut bytes = fs::read(&store).expect("a store");
    let places: Vec<_> =
        (0..=bytes.len() - needle.len()).filter(|at| bytes[*at..].starts_with(needle)).collect();
    assert!(!places.is_empty(), "the transfer is not in the file");
    for at in &places {
        bytes[at + needle.len() / 2] ^= 0x01;
    }
    fs::write(&store, &bytes).expect("a damaged store");
    house.start(&["up", "--demo"]);
    let verdict = house.q(&["verify", "qwallet"]);
    assert_eq!(verdict.code, Some(3), "{}{}", verdict.said, verdict.complained);
    assert!(verdict.said.contains("transfers"), "{}", verdict.said);

    // Nothing is built on it, by whomever; reading goes on; the operators are told.
    let (alice, reader) = (Payer::of(&house, "alice"), Reader::of(&house, "bob"));
    let stopped = async |house: &Instance, what: &str| {
        let order = alice.order(&bob, "0.5", what);
        let refused = Payer::of(house, "alice").pay(&order, what).await.expect_err("writes are stopped");
        let problem = refused.problem().expect("a problem").clone();
        assert_eq!((problem.status, problem.code.as_str()), (503, "WRITE_STOPPED"), "{problem}");
    };
    stopped(&house, "damage-2").await;
    assert_eq!(reader.look().await.expect("an answer").0, 200);
    assert!(house.get("qwallet", "/metrics").await.expect("figures").1.contains("q_write_stopped 1"));
    let shown = house.q(&["mode", "qwallet", "--json"]).json();
    assert_eq!(shown["qwallet"]["state"], "write-stopped");
    assert!(
        shown["qwallet"]["writeStop"]["reason"].as_str().is_some_and(|why| why.contains("transfers")),
        "{shown}"
    );
    // A restart does not make it sound.
    house.kill();
    house.start(&["up"]);
    stopped(&house, "damage-3").await;

    // Mended, verified, read-only, canaries, all.
    house.stop();
    let mut bytes = fs::read(&store).expect("a store");
    for at in (0..=bytes.len() - needle.len())
        .filter(|at| {
            let mut damaged = needle.to_vec();
            damaged[needle.len() / 2] ^= 0x01;
            bytes[*at..].starts_with(&damaged)
        })
        .collect::<Vec<_>>()
    {
        bytes[at + needle.len() / 2] ^= 0x01;
    }
    fs::write(&store, &bytes).expect("the store as it was");
    house.start(&["up"]);
    stopped(&house, "damage-4").await;
    assert_eq!(house.q(&["verify", "qwallet"]).code, Some(0));
    assert_eq!(house.q(&["mode", "qwallet", "--json"]).json()["qwallet"]["state"], "read-only");
    let order = alice.order(&bob, "0.5", "damage-5");
    let refused = Payer::of(&house, "alice").pay(&order, "damage-5").await.expect_err("read-only");
    assert_eq!(refused.problem().expect("a problem").code, "READ_ONLY");
    let opened = house.q(&["mode", "qwallet", "set", "normal"]);
    assert_eq!(opened.code, Some(0), "{}", opened.complained);
    Payer::of(&house, "alice").pay(&order, "damage-5").await.expect("open again");
    passed(
        "damage found while serving",
        "writes stopped at once and over a restart, reads went on, the row was named",
    );
    sound(&house, "reopening after damage", "verified, read-only, then all");
}
