//! The critical path, and back to what ran before.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;

use q_tests::Instance;
use serde_json::Value;

fn failed_step(report: &str) -> Value {
    let report: Value = serde_json::from_str(report).unwrap();
    assert_eq!(report["passed"], false);
    report["steps"].as_array().unwrap().last().unwrap().clone()
}

#[test]
fn the_critical_path_is_walked_on_a_demonstration() {
    let Some(mut house) = Instance::demo(&[]) else { return };
    for _ in 0..2 {
        let walked = house.q(&["smoke", "--json"]);
        assert_eq!(walked.code, Some(0), "{}{}", walked.said, walked.complained);
        let report = walked.json();
        let names: Vec<_> =
            report["steps"].as_array().unwrap().iter().map(|step| step["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["health", "sign in", "wallets", "pay", "read back", "audit", "books"]);
        assert!(report["steps"].as_array().unwrap().iter().all(|step| step["passed"] == true));
    }
    house.stop();
    assert_eq!(house.q(&["smoke"]).code, Some(6));
}

#[test]
fn where_money_is_real_the_critical_path_is_paid_for_once() {
    let Some(mut house) = Instance::unstarted(&[]) else { return };
    assert_eq!(house.q(&["init"]).code, Some(0));
    house.start(&["up"]);
    let broke = house.q(&["smoke", "--json"]);
    assert_eq!(broke.code, Some(3), "{}", broke.complained);
    let step = failed_step(&broke.said);
    assert_eq!(step["name"], "wallets");
    assert!(step["finding"].as_str().unwrap().contains("q wallet pay did:"), "{step}");

    assert_eq!(house.q(&["id", "new", "second"]).code, Some(0));
    assert_eq!(house.q(&["id", "appoint", "second"]).code, Some(0));
    let approvers = ["--approver", "operator", "--approver", "second", "--reference", "smoke tests"];
    let issued = house.q(&[&["wallet", "issue", "0.1", "smoke-one"][..], &approvers].concat());
    assert_eq!(issued.code, Some(0), "{}", issued.complained);
    let walked = house.q(&["smoke"]);
    assert_eq!(walked.code, Some(0), "{}{}", walked.said, walked.complained);
    house.stop();
}

#[test]
fn a_rollback_brings_back_program_and_settings_where_the_stores_allow() {
    let Some(mut house) = Instance::demo(&[]) else { return };
    let kept = |house: &Instance| -> Value { house.q(&["releases", "--json"]).json() };
    let until_kept = |house: &Instance, count: usize| {
        // Kept in the background; each question takes a process its time.
        while kept(house)["releases"].as_array().unwrap().len() < count {}
    };
    until_kept(&house, 1);
    assert_eq!(house.q(&["rollback"]).code, Some(1), "there is nothing before the first");

    let settings = house.data().join("q.toml");
    fs::write(&settings, "[qwallet]\nfee_network_basis_points = 20\n").unwrap();
    let restarted = house.q(&["restart", "--rolling"]);
    assert_eq!(restarted.code, Some(0), "{}", restarted.complained);
    until_kept(&house, 2);
    assert_eq!(kept(&house)["current"], 2);

    let about = house.scratch().join("q-data.releases/0001/release.json");
    let text = fs::read_to_string(&about).unwrap();
    let mut older: Value = serde_json::from_str(&text).unwrap();
    older["schemas"]["qwallet"] = 0.into();
    fs::write(&about, older.to_string()).unwrap();
    let refused = house.q(&["rollback"]);
    assert_eq!(refused.code, Some(1), "{}", refused.said);
    let said = refused.complained;
    assert!(said.contains("the store of qwallet is at") && said.contains("q backup restore"), "{said}");
    assert!(settings.exists(), "a refused rollback changes nothing");

    fs::write(&about, text).unwrap();
    // Edited since it started: no release holds this text.
    let edited = "# for tomorrow\n[qwallet]\nfee_network_basis_points = 30\n";
    fs::write(&settings, edited).unwrap();
    let back = house.q(&["rollback", "--json"]);
    assert_eq!(back.code, Some(0), "{}{}", back.said, back.complained);
    let said = back.complained.clone();
    let back = back.json();
    assert_eq!((&back["from"], &back["to"], &back["smoke"]["passed"]), (&2.into(), &1.into(), &true.into()));
    assert!(!settings.exists(), "the first release had no settings");
    let in_data = fs::read_dir(house.data()).unwrap().map(|entry| entry.unwrap().path());
    let aside =
        in_data.into_iter().find(|path| path.display().to_string().contains("q.toml.before-rollback-"));
    let aside = aside.expect("what was edited is kept aside");
    assert_eq!(fs::read_to_string(&aside).unwrap(), edited);
    assert!(said.contains(&aside.display().to_string()), "{said}");
    while kept(&house)["current"] != 1 {}
    let history = kept(&house)["history"].clone();
    assert_eq!((&history[0]["from"], &history[0]["to"]), (&2.into(), &1.into()), "{history}");
    house.stop();
}
