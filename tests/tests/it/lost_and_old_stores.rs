//! A store that vanished, or an older copy put back in its place, never passes for a sound one.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use q_tests::{Instance, Payer};

const MODULES: [&str; 5] = ["qlock", "squid", "qonsent", "qerberos", "qwallet"];

/// The files of the stores, by name.
type Copy = BTreeMap<String, Vec<u8>>;

fn copy_of(data: &Path, module: &str) -> Copy {
    let names = fs::read_dir(data).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let is_of = |name: &String| name.starts_with(&format!("{module}.sqlite")) && !name.contains(".lock");
    names.filter(is_of).map(|name| (name.clone(), fs::read(data.join(&name)).unwrap())).collect()
}

/// The newest checkpoint, which lies with the secrets.
fn published(data: &Path) -> String {
    let mut file = data.as_os_str().to_owned();
    file.push(".keys/qerberos.checkpoint");
    fs::read_to_string(file).unwrap_or_default()
}

fn remove(data: &Path, module: &str) {
    for name in copy_of(data, module).keys() {
        fs::remove_file(data.join(name)).unwrap();
    }
}

fn put(data: &Path, module: &str, copy: &Copy) {
    remove(data, module);
    for (name, content) in copy {
        fs::write(data.join(name), content).unwrap();
    }
}

#[test]
fn a_vanished_store_is_refused_and_found_and_nothing_is_made_in_its_place() {
    let Some(mut house) = Instance::demo(&[]) else { return };
    house.stop();
    let data = house.data();
    assert_eq!(house.q(&["verify"]).code, Some(0));
    for module in MODULES {
        let copy = copy_of(&data, module);
        remove(&data, module);
        let found = house.q(&["verify"]);
        assert_eq!(found.code, Some(3), "{module}: {}{}", found.said, found.complained);
        assert!(found.said.contains(&format!("store_missing at {module} store")), "{module}: {}", found.said);
        for verb in
            [&["up"][..], &["up", "--demo"], &["serve", "qlock", "squid", "qonsent", "qerberos", "qwallet"]]
        {
            let refused = house.q(verb);
            assert_eq!(refused.code, Some(4), "{module}: {}{}", refused.said, refused.complained);
            let why = &refused.complained;
            assert!(why.contains(&format!("the store of {module} is missing")), "{module}: {why}");
            assert!(why.contains(&format!("{module}.sqlite")) && why.contains("backup"), "{module}: {why}");
        }
        assert!(copy_of(&data, module).is_empty(), "{module}: a store was made");
        put(&data, module, &copy);
        // A file without anything in it is no store either.
        let file = data.join(format!("{module}.sqlite"));
        fs::write(&file, b"").unwrap();
        assert_eq!(house.q(&["up"]).code, Some(4), "{module}");
        assert_eq!(house.q(&["verify"]).code, Some(3), "{module}");
        assert_eq!(fs::read(&file).unwrap(), b"", "{module}: a store was made");
        put(&data, module, &copy);
    }
    let sound = house.q(&["verify"]);
    assert_eq!(sound.code, Some(0), "{}", sound.said);
    house.start(&["up", "--demo"]);
    house.stop();
}

#[test]
fn a_module_that_a_later_version_adds_gets_its_store() {
    let Some(mut house) = Instance::demo(&[]) else { return };
    house.stop();
    // As an earlier version would have left it, which knew of no qwallet.
    let mut keys = house.data().into_os_string();
    keys.push(".keys/stores.json");
    let list: Vec<String> = serde_json::from_slice(&fs::read(&keys).unwrap()).unwrap();
    assert!(MODULES.iter().all(|module| list.iter().any(|listed| listed == module)), "{list:?}");
    let earlier: Vec<_> = list.iter().filter(|module| *module != "qwallet").collect();
    fs::write(&keys, serde_json::to_vec(&earlier).unwrap()).unwrap();
    let copy = copy_of(&house.data(), "qwallet");
    remove(&house.data(), "qwallet");
    let looked = house.q(&["verify"]);
    assert_eq!(looked.code, Some(0), "{}", looked.said);
    assert!(!house.data().join("qwallet.sqlite").exists(), "looking made a store");
    put(&house.data(), "qwallet", &copy);
    house.start(&["up", "--demo"]);
    house.stop();
    let list: Vec<String> = serde_json::from_slice(&fs::read(&keys).unwrap()).unwrap();
    assert!(list.contains(&"qwallet".to_owned()), "{list:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_copy_of_a_store_is_refused_and_found() {
    let Some(mut house) = Instance::demo(&[]) else { return };
    house.stop();
    let data = house.data();
    let older: BTreeMap<_, _> = MODULES.map(|module| (module, copy_of(&data, module))).into();
    house.start(&["up", "--demo"]);
    // Something that each module keeps: an identity and its wallet, a permission, a payment.
    for verb in [
        &["id", "new", "carol"][..],
        &["wallet", "open", "--as", "carol"],
        &["grant", "wallet", "bob", "--as", "carol"],
    ] {
        let done = house.q(verb);
        assert_eq!(done.code, Some(0), "{verb:?}: {}", done.complained);
    }
    let bob = Payer::of(&house, "bob").wallet().to_owned();
    let alice = Payer::of(&house, "alice");
    // qerberos knows its own age from what it has published, which follows its rows within half a second: the first
    // checkpoint after a start may still be about what the older copy holds, the third is not.
    for number in 0..3 {
        let before = published(&data);
        let key = format!("rollback-later-{number}");
        alice.pay(&alice.order(&bob, "0.1", &key), &key).await.expect("a payment");
        let began = Instant::now();
        while published(&data) == before {
            assert!(began.elapsed() < Duration::from_mins(1), "nothing was published");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    house.stop();
    let newest: BTreeMap<_, _> = MODULES.map(|module| (module, copy_of(&data, module))).into();
    assert_eq!(house.q(&["verify"]).code, Some(0));
    let mut recognised = Vec::new();
    for module in MODULES {
        if older[module] == newest[module] {
            continue;
        }
        put(&data, module, &older[module]);
        let found = house.q(&["verify"]);
        assert_eq!(found.code, Some(3), "{module}: {}{}", found.said, found.complained);
        let code = if module == "qerberos" { "rollback_detected" } else { "rolled_back" };
        assert!(found.said.contains(code), "{module}: {}", found.said);
        if module != "qerberos" {
            assert!(found.said.contains(&format!("{module} store")), "{module}: {}", found.said);
            let refused = house.q(&["up"]);
            assert_eq!(refused.code, Some(4), "{module}: {}{}", refused.said, refused.complained);
            let why = &refused.complained;
            assert!(why.contains(&format!("the store of {module}")), "{module}: {why}");
            assert!(why.contains("audit trail") && why.contains("backup"), "{module}: {why}");
        }
        recognised.push(module);
        for (module, copy) in &newest {
            put(&data, module, copy);
        }
    }
    assert_eq!(recognised, MODULES);
    let sound = house.q(&["verify"]);
    assert_eq!(sound.code, Some(0), "{}", sound.said);
    house.start(&["up", "--demo"]);
    // Ended at once, before the last rows were heard: the trail is behind, and nothing is rolled back.
    let (alice, bob) = (Payer::of(&house, "alice"), Payer::of(&house, "bob").wallet().to_owned());
    for number in 0..5 {
        let key = format!("rollback-last-{number}");
        alice.pay(&alice.order(&bob, "0.1", &key), &key).await.expect("a payment");
    }
    house.kill();
    let sound = house.q(&["verify"]);
    assert_eq!(sound.code, Some(0), "{}", sound.said);
    house.start(&["up", "--demo"]);
    house.stop();
}
