//! Oracle: npm `jose` checks our key set and tokens as any relying party would, and makes proofs we check.

use std::{
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use q_auth::dpop::{self, ReplaySet};
use q_core::hash;
use q_jose::{Jwk, JwkSet, SecretKey, thumbprint};
use serde_json::{Value, json};

use crate::support::{KID, ORIGIN, oracles, world};

fn jose(oracles: &Path, mode: &str, input: &Value) -> Result<Value, String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracles/jose.mjs");
    let mut child = Command::new("node")
        .env("Q_ORACLES", oracles)
        .arg(script)
        .arg(mode)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    if output.status.success() {
        Ok(serde_json::from_slice(&output.stdout).unwrap())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

#[test]
fn jose_accepts_our_tokens_by_our_key_set_and_refuses_a_strangers() {
    let Some(oracles) = oracles("npm jose") else { return };
    let world = world();
    let jwks = JwkSet { keys: vec![Jwk::from(world.issuer.public()).published(KID)] };
    let token = world.sign(&world.claims());
    let input = |token: &str| json!({"jwks": jwks, "token": token, "issuer": ORIGIN, "audience": ORIGIN, "now": world.now()});
    let read = jose(&oracles, "verify", &input(&token)).unwrap();
    assert_eq!(read["payload"]["sub"], world.alice.as_str());
    assert_eq!(read["payload"]["cnf"]["jkt"], thumbprint(&world.alice_key.public()));
    let forged = q_auth::issue::access_token(&world.claims(), KID, &SecretKey::from_seed(&[66; 32]));
    assert!(jose(&oracles, "verify", &input(&forged)).is_err());
}

#[test]
fn we_accept_proofs_made_by_jose() {
    let Some(oracles) = oracles("npm jose") else { return };
    let world = world();
    let bases = [ORIGIN.to_owned()];
    let input =
        json!({"url": format!("{ORIGIN}/oauth2/token"), "method": "POST", "token": "t", "now": world.now()});
    let made = jose(&oracles, "prove", &input).unwrap();
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
