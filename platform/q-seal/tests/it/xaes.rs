use data_encoding::HEXLOWER;
use q_core::Env;
use q_seal::xaes::{KEY_BYTES, Key, NONCE_BYTES};
use serde_json::{Value, json};

use crate::python;

struct Case {
    key: [u8; KEY_BYTES],
    aad: Vec<u8>,
    plaintext: Vec<u8>,
}

fn cases() -> Vec<Case> {
    let env = Env::system();
    [0, 1, 15, 16, 17, 255, 256, 65_537]
        .into_iter()
        .map(|length| Case { key: env.random(), aad: vec![7; length % 40], plaintext: vec![0xa5; length] })
        .collect()
}

fn hex_list(answer: &[u8]) -> Vec<Vec<u8>> {
    let list: Vec<String> = serde_json::from_slice(answer).unwrap();
    list.iter().map(|text| HEXLOWER.decode(text.as_bytes()).unwrap()).collect()
}

#[test]
fn tink_opens_what_we_seal() {
    let cases = cases();
    let rows: Vec<Value> = cases
        .iter()
        .map(|case| {
            let nonce: [u8; NONCE_BYTES] = Env::system().random();
            let sealed = Key::new(&case.key).seal(&nonce, &case.aad, &case.plaintext);
            let sealed = [&nonce[..], &sealed].concat();
            json!({"key": HEXLOWER.encode(&case.key), "aad": HEXLOWER.encode(&case.aad), "sealed": HEXLOWER.encode(&sealed)})
        })
        .collect();
    let Some(opened) = python("tink_open", &serde_json::to_vec(&rows).unwrap()) else { return };
    assert_eq!(hex_list(&opened), cases.into_iter().map(|case| case.plaintext).collect::<Vec<_>>());
}

#[test]
fn we_open_what_tink_seals() {
    let cases = cases();
    let rows: Vec<Value> = cases
        .iter()
        .map(|case| {
            json!({"key": HEXLOWER.encode(&case.key), "aad": HEXLOWER.encode(&case.aad), "plaintext": HEXLOWER.encode(&case.plaintext)})
        })
        .collect();
    let Some(sealed) = python("tink_seal", &serde_json::to_vec(&rows).unwrap()) else { return };
    let sealed = hex_list(&sealed);
    assert_eq!(sealed.len(), cases.len());
    for (case, sealed) in cases.iter().zip(sealed) {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_BYTES>().unwrap();
        let opened = Key::new(&case.key).open(nonce, &case.aad, sealed).unwrap();
        assert_eq!(opened.as_slice(), case.plaintext);
    }
}

/// The specification's 10,000 random messages; Python's hashlib is the generator and the judge.
#[test]
fn the_accumulated_vectors_of_the_specification() {
    let Some(stream) = python("accumulated_inputs", b"") else { return };
    let mut rest = stream.as_slice();
    let mut take = |length: usize| {
        let (taken, left) = rest.split_at(length);
        rest = left;
        taken
    };
    let mut all = Vec::new();
    for _ in 0..10_000 {
        let key = Key::new(take(KEY_BYTES).try_into().unwrap());
        let nonce = take(NONCE_BYTES).try_into().unwrap();
        let plaintext_bytes = take(1)[0];
        let plaintext = take(plaintext_bytes.into());
        let aad_bytes = take(1)[0];
        let aad = take(aad_bytes.into());
        all.extend(key.seal(nonce, aad, plaintext));
    }
    let digest = python("accumulated_digest", &all).unwrap();
    assert_eq!(digest.trim_ascii(), b"e6b9edf2df6cec60c8cbd864e2211b597fb69a529160cd040d56c0c210081939");
}
