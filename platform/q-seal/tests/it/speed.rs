use std::time::{Duration, Instant};

use q_core::Env;
use q_seal::{DataKey, DataKeyId, Place, Sealer};

use crate::python;

/// Fields of 256 bytes sealed in a second, beside Tink on the same machine in the same minute.
#[test]
#[ignore = "a measurement: cargo test --release -p q-seal -- --ignored --nocapture"]
fn seals_fields_beside_tink() {
    let env = Env::system();
    let sealer = Sealer::new(DataKey::new(DataKeyId([1; 16]), &[2; 32]), vec![]);
    let place = Place { module: "squid", table: "identities", column: "email", row: "idt_1" };
    let (mut count, begun) = (0_u32, Instant::now());
    while begun.elapsed() < Duration::from_secs(1) {
        for _ in 0..1_000 {
            std::hint::black_box(sealer.seal(place, &[0; 256], &env));
        }
        count += 1_000;
    }
    let ours = f64::from(count) / begun.elapsed().as_secs_f64();
    let Some(answer) = python("tink_speed", b"") else { return };
    let theirs: f64 = String::from_utf8(answer).unwrap().trim().parse().unwrap();
    println!("q-seal {ours:.0}/s, Tink {theirs:.0}/s, ratio {:.2}", ours / theirs);
}
