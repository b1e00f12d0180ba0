//! What checking a credential and a log costs, as ratios to one signature check in the same run.
//!
//! `cargo run --release -p q-auth --example cost`

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a measurement prints, and may stop")]

use std::{hint::black_box, sync::Arc, time::Instant};

use http::Request;
use q_auth::{
    Authenticator, Claims, Expected, Revocations,
    claims::{Audience, Confirmation, House},
    issue, prove,
};
use q_contract::{Authenticate as _, Target};
use q_core::{Env, hash};
use q_did::{Keyring, Log, Policy};
use q_jose::{Jwk, JwkSet, SecretKey, thumbprint};

const ORIGIN: &str = "http://qnode.localhost:8080";
const ENTRIES: u32 = 1_000;

fn main() {
    let env = Env::system();
    let key = SecretKey::generate(&env);
    let message = [7_u8; 700];
    let signature = key.sign(&message);
    let one_check = micros(5_000, || key.public().verify(black_box(&message), &signature).unwrap());
    println!("one Ed25519 check             {one_check:8.2} us");
    report_tokens(&env, &key, one_check);
    report_log(&env, one_check);
}

fn report_tokens(env: &Env, key: &SecretKey, one_check: f64) {
    let expected = Expected { issuer: ORIGIN.into(), audience: ORIGIN.into() };
    let server = Authenticator::new(env.clone(), expected, Arc::new(Revocations::new()));
    server.set_keys(&JwkSet { keys: vec![Jwk::from(key.public()).published("k")] });
    let claims = claims(env, key);
    let bases = [ORIGIN.to_owned()];
    let target = Target { bases: &bases, method: "GET", path: "/wallets", module: "qwallet" };
    let bearer = issue::access_token(&Claims { cnf: None, ..claims.clone() }, "k", key);
    let head = Request::builder().header("authorization", format!("Bearer {bearer}")).body(()).unwrap();
    let (head, ()) = head.into_parts();
    let warm = micros(50_000, || server.authenticate(black_box(&head), target).unwrap());
    println!("warm bearer token             {warm:8.2} us  = {:.3} checks (target 0.05)", warm / one_check);

    let bound = issue::access_token(&claims, "k", key);
    let heads: Vec<_> = (0..5_000)
        .map(|_| {
            let proof = prove::dpop_proof(key, "GET", &format!("{ORIGIN}/wallets"), Some(&bound), env);
            let request =
                Request::builder().header("authorization", format!("DPoP {bound}")).header("dpop", proof);
            request.body(()).unwrap().into_parts().0
        })
        .collect();
    let mut heads = heads.iter();
    let warm = micros(5_000, || server.authenticate(black_box(heads.next().unwrap()), target).unwrap());
    println!("warm DPoP request             {warm:8.2} us  = {:.3} checks (target 1.25)", warm / one_check);
}

fn claims(env: &Env, key: &SecretKey) -> Claims {
    let now = env.now().seconds();
    Claims {
        iss: ORIGIN.into(),
        sub: key.public().to_did_key().parse().unwrap(),
        aud: Audience::One(ORIGIN.into()),
        exp: now + 600,
        iat: now,
        nbf: None,
        jti: "j".into(),
        client_id: "q".into(),
        scope: Some("wallet:read wallet:write".into()),
        sid: Some("s".into()),
        auth_time: Some(now),
        acr: None,
        amr: vec!["pop".into()],
        cnf: Some(Confirmation { jkt: thumbprint(&key.public()) }),
        q: House { typ: Some("ROOT".into()), lvl: Some("UNVERIFIED".into()), ..House::default() },
    }
}

fn report_log(env: &Env, one_check: f64) {
    // Dated into the past, one entry a second.
    let start = env.now() - q_core::Span::seconds(i64::from(ENTRIES) + 60);
    let at_start = Env { clock: Arc::new(Stopped(start)), entropy: env.entropy.clone() };
    let (mut keyring, mut log, _) = Keyring::create("qnode.localhost:8080", &at_start).unwrap();
    for _ in 1..ENTRIES {
        let later = Env { clock: Arc::new(Stopped(log.head().version_time)), entropy: env.entropy.clone() };
        let (next, entry) = keyring.rotate(&log, None, &later).unwrap();
        log.append(entry, env.now(), Policy::House).unwrap();
        keyring = next;
    }
    let text = log.to_text();
    let whole = micros(5, || Log::verify(black_box(&text), env.now(), Policy::House).unwrap());
    let entry = log.entries().last().unwrap();
    let canonical = micros(2_000, || hash::sha256(&hash::canonical_json(black_box(entry)).unwrap()));
    let ideal = f64::from(ENTRIES) * (one_check + canonical);
    println!(
        "log of {ENTRIES} entries, whole     {whole:8.0} us  = {:.2} x the least work (target 1.3)",
        whole / ideal
    );
}

struct Stopped(q_core::Timestamp);

impl q_core::Clock for Stopped {
    fn now(&self) -> q_core::Timestamp {
        self.0
    }
}

/// The mean over `times` runs, in microseconds.
fn micros<T>(times: u32, mut work: impl FnMut() -> T) -> f64 {
    let started = Instant::now();
    for _ in 0..times {
        black_box(work());
    }
    started.elapsed().as_secs_f64() * 1e6 / f64::from(times)
}
