//! The budget of a check. Run with `--release -- --ignored --nocapture` to see the figure.

use std::{hint::black_box, time::Instant};

use q_pdp::{Change, Request};
use q_ucan::chain::DidKeyOnly;

use crate::support::{NOW, delegate, grant, pdp, person, resource};

fn median_nanos(grants: u64) -> u128 {
    let (alice, bob) = (person(1), person(2));
    let pdp = pdp();
    let resources: Vec<_> = (0..grants).map(|at| resource(&format!("qwallet:wallet:w{at}"))).collect();
    for (epoch, on) in (1..).zip(&resources) {
        let link = delegate(&alice, &bob.did, &alice.did, on, "read", epoch);
        pdp.apply(Change::Issued(grant(epoch, &alice.did, &bob.did, on, &["read"], &[link])), &DidKeyOnly);
    }
    let round = |start: usize| {
        let started = Instant::now();
        for at in 0..1_000 {
            let on = &resources[(start + at * 7_919) % resources.len()];
            let request = Request {
                principal: &bob.did,
                action: "read",
                resource: on.as_str(),
                owner: Some(&alice.did),
                now: NOW,
            };
            assert!(black_box(pdp.decide(&request)).allowed);
        }
        started.elapsed().as_nanos() / 1_000
    };
    let mut rounds: Vec<u128> = (0..101).map(round).collect();
    rounds.sort_unstable();
    rounds[rounds.len() / 2]
}

#[test]
fn a_check_is_a_lookup_and_not_a_search() {
    // Unoptimised and beside other tests: the bound only catches a design that has become another one.
    let nanos = median_nanos(200);
    assert!(nanos < 100_000, "{nanos} ns");
}

#[test]
#[ignore = "a measurement: minutes of signing first"]
fn measures_a_warm_check_among_a_hundred_thousand_grants() {
    eprintln!("median of a warm check among 100,000 grants: {} ns", median_nanos(100_000));
}
