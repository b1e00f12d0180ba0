//! Proofs of possession: bound to method, URL, token, key and minute, and good once.

use q_auth::{
    codes::Refusal,
    dpop::{ProofClaims, ReplaySet},
    prove,
};
use q_core::{Span, Timestamp, hash};
use q_jose::{
    SecretKey, base64url,
    jws::{Header, sign_json},
};

use crate::support::{ORIGIN, world};

#[test]
fn a_proof_counts_for_its_own_request_only() {
    let world = world();
    let token = world.sign(&world.claims());
    let thief = SecretKey::from_seed(&[66; 32]);
    let claims = |change: fn(&mut ProofClaims)| {
        let mut claims = ProofClaims {
            jti: base64url::encode(world.env.random::<16>()),
            htm: "GET".into(),
            htu: format!("{ORIGIN}/qwallet/wallets"),
            iat: world.now(),
            ath: Some(base64url::encode(hash::sha256(token.as_bytes()))),
        };
        change(&mut claims);
        claims
    };
    let key = &world.alice_key;
    let header = || Header::typ("dpop+jwt").jwk(key.public().into());
    let made = |change| sign_json(&header(), &claims(change), key);
    let private = {
        let header = format!(
            r#"{{"alg":"EdDSA","typ":"dpop+jwt","jwk":{{"kty":"OKP","crv":"Ed25519","x":"{}","d":"{}"}}}}"#,
            base64url::encode(key.public().bytes()),
            base64url::encode(key.seed()),
        );
        let payload = serde_json::to_string(&claims(|_| {})).unwrap();
        let input = format!("{}.{}", base64url::encode(header), base64url::encode(payload));
        format!("{input}.{}", base64url::encode(key.sign(input.as_bytes())))
    };
    let rows = [
        ("other method", made(|claims| claims.htm = "POST".into())),
        ("method in lower case", made(|claims| claims.htm = "get".into())),
        ("other path", made(|claims| claims.htu = "http://qnode.localhost:8080/qwallet/wallets/1".into())),
        ("the host of the Host header", made(|claims| claims.htu = "http://evil.example/wallets".into())),
        ("other scheme", made(|claims| claims.htu = "https://qnode.localhost:8080/qwallet/wallets".into())),
        (
            "host with a suffix",
            made(|claims| claims.htu = "http://qnode.localhost:8080.evil/qwallet/wallets".into()),
        ),
        ("61 s old", made(|claims| claims.iat -= 61)),
        ("61 s ahead", made(|claims| claims.iat += 61)),
        ("for another token", made(|claims| claims.ath = Some(base64url::encode(hash::sha256(b"x"))))),
        ("for no token", made(|claims| claims.ath = None)),
        ("no jti", made(|claims| claims.jti = String::new())),
        ("long jti", made(|claims| claims.jti = "j".repeat(129))),
        ("private key inside", private),
        ("other typ", sign_json(&Header::typ("JWT").jwk(key.public().into()), &claims(|_| {}), key)),
        ("no key", sign_json(&Header::typ("dpop+jwt"), &claims(|_| {}), key)),
        ("signed by another key", sign_json(&header(), &claims(|_| {}), &thief)),
        (
            "another's key",
            sign_json(&Header::typ("dpop+jwt").jwk(thief.public().into()), &claims(|_| {}), &thief),
        ),
        ("not a proof", "x".into()),
    ];
    let credential = format!("DPoP {token}");
    for (name, proof) in &rows {
        let problem = world.ask(&[("authorization", &credential), ("dpop", proof)]).unwrap_err();
        assert_eq!((problem.code.as_str(), problem.status), ("invalid_dpop_proof", 401), "{name}");
    }
    let good = made(|_| {});
    for headers in [
        vec![("authorization", credential.as_str())],
        vec![("authorization", &credential), ("dpop", &good), ("dpop", &good)],
        vec![("authorization", &credential[5..])],
    ] {
        assert_eq!(world.ask(&headers).unwrap_err().status, 401);
    }
    // A bound token that is sent as a bearer token is a stolen one.
    let problem = world.ask_with(&token).unwrap_err();
    assert_eq!(problem.code, "invalid_dpop_proof");
    assert!(world.ask(&[("authorization", &credential), ("dpop", &good)]).is_ok());
}

#[test]
fn query_and_second_origin_are_fine_and_replays_are_not() {
    let world = world();
    let token = world.sign(&world.claims());
    let credential = format!("DPoP {token}");
    let url = "http://127.0.0.1:3000/wallets?limit=1#top";
    let proof = prove::dpop_proof(&world.alice_key, "GET", url, Some(&token), &world.env);
    assert!(world.ask(&[("authorization", &credential), ("dpop", &proof)]).is_ok());
    let again = world.ask(&[("authorization", &credential), ("dpop", &proof)]).unwrap_err();
    assert_eq!(again.code, "invalid_dpop_proof");
    let fresh = prove::dpop_proof(&world.alice_key, "GET", url, Some(&token), &world.env);
    assert!(world.ask(&[("authorization", &credential), ("dpop", &fresh)]).is_ok());
}

#[test]
fn used_proofs_are_remembered_as_long_as_they_could_count_and_the_set_is_bounded() {
    let set = ReplaySet::new(10);
    let start = Timestamp::from_seconds(1_780_272_000);
    assert_eq!(set.note("alice", "edge", start), Ok(()));
    for later in (0..=120).step_by(5) {
        assert_eq!(set.note("alice", "edge", start + Span::seconds(later)), Err(Refusal::Proof), "{later} s");
    }
    assert_eq!(set.note("bob", "edge", start + Span::seconds(120)), Ok(()), "another key's jti");
    for jti in 0..9 {
        assert_eq!(set.note("alice", &jti.to_string(), start + Span::seconds(121)), Ok(()));
    }
    assert_eq!(set.note("alice", "eleventh", start + Span::seconds(121)), Err(Refusal::Overloaded));
    assert_eq!(
        set.note("alice", "0", start + Span::seconds(121)),
        Err(Refusal::Proof),
        "full, not forgetful"
    );
    assert_eq!(set.note("alice", "eleventh", start + Span::seconds(500)), Ok(()));
}
