//! Instances that earlier versions left behind: this one opens, checks and goes on with each.

use std::{path::Path, process::Command};

use q_tests::Instance;

/// Made by `q up --demo` and three payments of bob's; the program of that day knew no desk (`ops`).
const HOUSE_STANDS: &str = "2026-11-house-stands.tgz";

#[test]
fn an_instance_of_the_first_version_goes_on() {
    let Some(mut house) = Instance::unstarted(&[]) else { return };
    let saved = Path::new(env!("CARGO_MANIFEST_DIR")).join("saved").join(HOUSE_STANDS);
    let unpacked = Command::new("tar").arg("-xzf").arg(saved).arg("-C").arg(house.scratch()).status();
    assert!(unpacked.unwrap().success());

    house.start(&["up"]);
    let balance = || house.q(&["wallet", "balance", "--as", "bob", "--json"]).said;
    assert!(balance().contains("\"3.446\""), "what bob held then: {}", balance());
    let paid = house.q(&["wallet", "pay", "alice", "1", "--as", "bob"]);
    assert_eq!(paid.code, Some(0), "{}", paid.complained);
    assert_eq!(house.q(&["call", "ops", "GET", "/overview"]).code, Some(0), "the desk was added");
    let verified = house.q(&["verify"]);
    assert_eq!(verified.code, Some(0), "{}", verified.said);
    house.stop();
    assert_eq!(house.q(&["verify"]).code, Some(0));
}
