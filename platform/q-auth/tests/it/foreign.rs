//! Oracle: npm `jose` checks our key set and tokens as any relying party would, and makes proofs we check.

use q_auth::dpop::{self, ReplaySet};
use q_core::hash;
use q_jose::{Jwk, JwkSet, SecretKey, thumbprint};
use serde_json::{Value, json};

use crate::support::{KID, ORIGIN, world};

/// What npm `jose` answers, or its complaint; nothing where it is not installed.
fn jose(mode: &str, input: &Value) -> Option<Result<Value, String>> {
    let mut script = q_oracle::script("npm jose", env!("CARGO_MANIFEST_DIR"), "jose.mjs")?;
    let answer = q_oracle::ask(script.arg(mode), input.to_string());
    Some(answer.map(|answer| serde_json::from_slice(&answer).unwrap()))
}

#[test]
fn jose_accepts_our_tokens_by_our_key_set_and_refuses_a_strangers() {
    let world = world();
    let jwks = JwkSet { keys: vec![Jwk::from(world.issuer.public()).published(KID)] };
    let token = world.sign(&world.claims());
    let input = |token: &str| json!({"jwks": jwks, "token": token, "issuer": ORIGIN, "audience": ORIGIN, "now": world.now()});
    let Some(read) = jose("verify", &input(&token)) else { return };
    let read = read.unwrap();
    assert_eq!(read["payload"]["sub"], world.alice.as_str());
    assert_eq!(read["payload"]["cnf"]["jkt"], thumbprint(&world.alice_key.public()));
    let forged = q_auth::issue::access_token(&world.claims(), KID, &SecretKey::from_seed(&[66; 32]));
    assert!(jose("verify", &input(&forged)).unwrap().is_err());
}

#[test]
fn we_accept_proofs_made_by_jose() {
    let world = world();
    let bases = [ORIGIN.to_owned()];
    let input =
        json!({"url": format!("{ORIGIN}/oauth2/token"), "method": "POST", "token": "t", "now": world.now()});
    let Some(made) = jose("prove", &input) else { return };
    let made = made.unwrap();
    let request = dpop::Request {
        method: "POST",
        bases: &bases,
        path: "/oauth2/token",
        access_token_sha256: Some(&hash::sha256(b"t")),
    };
    let replays = ReplaySet::default();
    let proof = made["proof"].as_str().unwrap();
    let jkt = dpop::check(proof, request, world.env.now(), &replays).unwrap();
    assert_eq!(jkt, made["jkt"].as_str().unwrap(), "both compute the same thumbprint");
    assert!(dpop::check(proof, request, world.env.now(), &replays).is_err());
}
