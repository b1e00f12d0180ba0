use std::process::Command;

use q_core::Env;
use q_jose::{
    Jwk, SecretKey, base64url,
    jwe::{self, WrappingKey},
    jws::{self, JWS_BYTES_MAX},
    thumbprint,
};
use serde_json::{Value, json};

const PAYLOAD: &[u8] = "\0\u{1}pay 12.50 to Ada, é".as_bytes();

/// The two foreign libraries, each reached through the same verbs.
fn oracles() -> impl Iterator<Item = Command> {
    let script = |(what, name)| q_oracle::script(what, env!("CARGO_MANIFEST_DIR"), name);
    [("PyPI jwcrypto", "jose.py"), ("npm jose", "jose.mjs")].into_iter().filter_map(script)
}

fn ask(mut oracle: Command, verb: &str, input: &Value) -> Value {
    let answer = q_oracle::ask(oracle.arg(verb), input.to_string()).unwrap();
    serde_json::from_slice(&answer).unwrap()
}

fn bytes(value: &Value) -> Vec<u8> {
    base64url::decode(value.as_str().unwrap()).unwrap()
}

#[test]
fn others_verify_what_we_sign() {
    let key = SecretKey::generate(&Env::system());
    let jwk = Jwk::from(key.public());
    let header = jws::Header::typ("dpop+jwt").kid("did:squid:Qm#k1").jwk(jwk.clone());
    for oracle in oracles() {
        let text = jws::sign(&header, PAYLOAD, &key);
        let answer = ask(oracle, "read_jws", &json!({"jwk": jwk, "text": text}));
        assert_eq!(bytes(&answer["payload"]), PAYLOAD);
        assert_eq!(answer["header"]["typ"], "dpop+jwt");
        assert_eq!(answer["header"]["kid"], "did:squid:Qm#k1");
        assert_eq!(answer["thumbprint"], thumbprint(&key.public()));
    }
}

#[test]
fn we_verify_what_others_sign() {
    let key = SecretKey::generate(&Env::system());
    let asked =
        json!({"seed": base64url::encode(key.seed()), "public": base64url::encode(key.public().bytes())});
    for oracle in oracles() {
        let answer = ask(oracle, "write_jws", &asked);
        let parsed = jws::Parsed::parse(answer["text"].as_str().unwrap(), JWS_BYTES_MAX).unwrap();
        assert_eq!(parsed.header.kid.as_deref(), Some("k1"));
        assert_eq!(parsed.header.jwk.as_ref().map(|jwk| *jwk.public_key()), Some(key.public()));
        assert_eq!(parsed.verify(&key.public()).unwrap().payload, bytes(&answer["payload"]));
    }
}

#[test]
fn others_open_what_we_seal() {
    let env = Env::system();
    let key = env.random();
    let header = jwe::Header { kid: Some("key_1#2".into()), ..jwe::Header::default() };
    for oracle in oracles() {
        let text = jwe::encrypt(&header, PAYLOAD, &WrappingKey::new(&key), &env);
        let answer = ask(oracle, "read_jwe", &json!({"key": base64url::encode(key), "text": text}));
        assert_eq!(bytes(&answer["payload"]), PAYLOAD);
        assert_eq!(answer["header"], json!({"alg": "A256KW", "enc": "A256GCM", "kid": "key_1#2"}));
    }
}

#[test]
fn we_open_what_others_seal() {
    let key = Env::system().random();
    for oracle in oracles() {
        let answer = ask(oracle, "write_jwe", &json!({"key": base64url::encode(key)}));
        let parsed = jwe::Parsed::parse(answer["text"].as_str().unwrap(), 1 << 16).unwrap();
        assert_eq!(parsed.header.extra["ctx"], "c");
        assert_eq!(parsed.decrypt(&WrappingKey::new(&key)).unwrap().as_slice(), bytes(&answer["payload"]));
    }
}
