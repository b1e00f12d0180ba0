//! Access tokens: accepted, expired, for others, and the classic forgeries.

use q_auth::{
    Claims,
    claims::{Audience, House},
};
use q_core::{Caller, Timestamp};
use q_jose::{
    Jwk, JwkSet, SecretKey, base64url,
    jws::{Header, sign_json},
};
use serde_json::{Value, json};

use crate::support::{KID, ORIGIN, did, world};

#[test]
fn a_good_token_names_its_identity_and_scopes() {
    let world = world();
    let token = world.sign(&world.claims());
    assert!(token.len() <= 1_000, "{} bytes", token.len());
    let proof = world.proof("GET", "/wallets", &token);
    let caller = world.ask(&[("authorization", &format!("DPoP {token}")), ("dpop", &proof)]).unwrap();
    let principal = caller.principal().unwrap();
    assert_eq!(principal.did, world.alice);
    assert_eq!(principal.scopes, ["wallet:read", "wallet:write"]);
    assert!(principal.is_sender_bound);
    assert_eq!(principal.authenticated_at, Timestamp::from_seconds(world.now()));

    let caller = world.ask_with(&world.sign(&world.bearer_claims())).unwrap();
    assert!(!caller.principal().unwrap().is_sender_bound, "a bearer token proves less");
    let several = Audience::Several(vec!["x".into(), ORIGIN.into()]);
    let token = world.sign(&Claims { aud: several, scope: None, ..world.bearer_claims() });
    assert!(world.ask_with(&token).unwrap().principal().unwrap().scopes.is_empty());
}

#[test]
fn no_credential_is_nobody_and_former_headers_get_directions() {
    let world = world();
    assert_eq!(world.ask(&[]).unwrap(), Caller::Anonymous);
    let problem = world.ask(&[("x-squid-id", "did:squid:x"), ("x-sig", "abc")]).unwrap_err();
    assert_eq!(problem.status, 401);
    assert!(problem.hint.unwrap().contains("q auth"));
}

#[test]
fn every_forgery_is_refused_in_the_same_words() {
    let world = world();
    let thief = SecretKey::from_seed(&[66; 32]);
    let claims = world.bearer_claims();
    let good = world.sign(&claims);
    let [header, payload, signature] = good.split('.').collect::<Vec<_>>().try_into().unwrap();
    let with_header = |header: &str| {
        let input = format!("{}.{payload}", base64url::encode(header));
        format!("{input}.{}", base64url::encode(world.issuer.sign(input.as_bytes())))
    };
    let with_claims = |change: Value| {
        let mut bent = serde_json::to_value(&claims).unwrap();
        bent.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        sign_json(&Header::typ("at+jwt").kid(KID), &bent, &world.issuer)
    };
    let repeated = {
        let text = serde_json::to_string(&claims).unwrap();
        let text = text.replacen('{', &format!("{{\"sub\":\"{}\",", did(9)), 1);
        let input = format!("{header}.{}", base64url::encode(text));
        format!("{input}.{}", base64url::encode(world.issuer.sign(input.as_bytes())))
    };
    let rows = [
        (
            "alg none",
            format!("{}.{payload}.", base64url::encode(r#"{"alg":"none","typ":"at+jwt","kid":"2026-06"}"#)),
        ),
        ("alg HS256", with_header(r#"{"alg":"HS256","typ":"at+jwt","kid":"2026-06"}"#)),
        ("no typ", with_header(r#"{"alg":"EdDSA","kid":"2026-06"}"#)),
        ("ID token", with_header(r#"{"alg":"EdDSA","typ":"JWT","kid":"2026-06"}"#)),
        ("kid is a path", with_header(r#"{"alg":"EdDSA","typ":"at+jwt","kid":"../../dev/null"}"#)),
        ("no kid", with_header(r#"{"alg":"EdDSA","typ":"at+jwt"}"#)),
        ("two kid", with_header(r#"{"alg":"EdDSA","typ":"at+jwt","kid":"2026-06","kid":"2026-06"}"#)),
        ("crit", with_header(r#"{"alg":"EdDSA","typ":"at+jwt","kid":"2026-06","crit":["exp"]}"#)),
        (
            "huge header",
            with_header(&format!(r#"{{"alg":"EdDSA","typ":"at+jwt","kid":"{}"}}"#, "a".repeat(1 << 20))),
        ),
        ("repeated claim", repeated),
        ("stranger's signature", sign_json(&Header::typ("at+jwt").kid(KID), &claims, &thief)),
        (
            "own key in header",
            sign_json(&Header::typ("at+jwt").kid(KID).jwk(thief.public().into()), &claims, &thief),
        ),
        ("signature of another token", format!("{header}.{payload}x.{signature}")),
        ("cut", good[..good.len() - 2].to_owned()),
        ("other issuer", with_claims(json!({"iss": "https://evil.example"}))),
        ("other audience", with_claims(json!({"aud": "https://evil.example"}))),
        ("no expiry", with_claims(json!({"exp": null}))),
        ("lives a year", with_claims(json!({"exp": world.now() + 31_536_000}))),
        ("not a DID", with_claims(json!({"sub": "alice"}))),
        ("empty scope", with_claims(json!({"scope": ""}))),
        ("not a token", "x".to_owned()),
        ("nothing", String::new()),
    ];
    let constant = world.ask_with("x").unwrap_err();
    assert_eq!((constant.code.as_str(), constant.status), ("SQUID_TOKEN_INVALID", 401));
    for (name, token) in rows {
        assert_eq!(world.ask_with(&token).unwrap_err(), constant, "{name}");
    }
    let twice = world.ask(&[("authorization", &format!("Bearer {good}")), ("authorization", "Bearer x")]);
    assert_eq!(twice.unwrap_err(), constant, "two credentials");
    for scheme in ["Basic", "Bearer:", "DPoP"] {
        assert_eq!(
            world.ask(&[("authorization", &format!("{scheme} {good}"))]).unwrap_err(),
            constant,
            "{scheme}"
        );
    }
    assert!(world.ask_with(&good).is_ok(), "the unbent token passes");
}

#[test]
fn a_token_dies_on_time_even_when_it_was_checked_before() {
    let world = world();
    let token = world.sign(&world.bearer_claims());
    assert!(world.ask_with(&token).is_ok());
    world.advance(659);
    assert!(world.ask_with(&token).is_ok(), "within the permitted difference of clocks");
    world.advance(1);
    let problem = world.ask_with(&token).unwrap_err();
    assert_eq!(problem.code, "SQUID_TOKEN_EXPIRED");
    assert_eq!(problem.extra["serverTime"], "2026-06-01T00:11:00Z");
}

#[test]
fn a_clock_ten_minutes_wrong_is_told_the_time() {
    let world = world();
    let token = world.sign(&world.bearer_claims());
    world.advance(-600);
    let problem = world.ask_with(&token).unwrap_err();
    assert_eq!((problem.code.as_str(), problem.status), ("SQUID_CLOCK_SKEW", 401));
    assert_eq!(problem.extra["serverTime"], "2026-05-31T23:50:00Z");
}

#[test]
fn a_key_that_is_withdrawn_takes_its_tokens_along() {
    let world = world();
    let token = world.sign(&world.bearer_claims());
    assert!(world.ask_with(&token).is_ok());
    let next = SecretKey::from_seed(&[8; 32]);
    world.server.set_keys(&JwkSet { keys: vec![Jwk::from(next.public()).published("next")] });
    assert_eq!(world.ask_with(&token).unwrap_err().code, "SQUID_TOKEN_INVALID");
}

#[test]
fn a_service_acts_for_itself_or_for_an_identity_and_nobody_else_may() {
    let world = world();
    let service = did(7);
    let house = House { svc: Some("qwallet".into()), ..House::default() };
    let service_token = world.sign(&Claims { sub: service.clone(), q: house, ..world.claims() });
    let alices_token = world.sign(&world.claims());
    let bearer = world.sign(&world.bearer_claims());
    let with_proof = |token: &str, subject: Option<&str>| {
        let proof = world.proof("GET", "/wallets", token);
        let credential = format!("DPoP {token}");
        let mut headers = vec![("authorization", credential.as_str()), ("dpop", proof.as_str())];
        headers.extend(subject.map(|subject| ("q-subject-token", subject)));
        world.ask(&headers)
    };
    match with_proof(&service_token, None).unwrap() {
        Caller::Service(principal, name) => {
            assert_eq!((principal.did, name.as_str()), (service.clone(), "qwallet"));
        }
        other => panic!("{other:?}"),
    }
    let caller = with_proof(&service_token, Some(&alices_token)).unwrap();
    let principal = caller.principal().unwrap();
    assert_eq!((&principal.did, &principal.actor), (&world.alice, &Some(service)));
    assert!(!caller.is_service());
    assert_eq!(with_proof(&alices_token, Some(&bearer)).unwrap_err().code, "SQUID_TOKEN_INVALID");
    assert_eq!(with_proof(&service_token, Some("x")).unwrap_err().code, "SQUID_TOKEN_INVALID");
}
