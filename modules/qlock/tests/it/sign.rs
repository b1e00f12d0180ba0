use q_contract::{Client, codes};
use q_core::Caller;
use q_jose::{Jwk, SecretKey, jws};
use q_testkit::{World, on_each_world};
use qlock_api::{
    GetJwks, JwksRequest, KeyId, KeyRequest, KeyState, PLAINTEXT_BYTES_MAX, RotateKey, Sign, SignRequest,
    SignatureFormat, Signed, Verification, Verify, VerifyRequest,
    errors::{
        ALGORITHM_UNSUPPORTED, BAD_ENCODING, IDENTITY_MISMATCH, KEY_NOT_FOUND, PAYLOAD_TOO_LARGE,
        VALIDATION_FAILED,
    },
};

use crate::setting::{Setting, b64, did, refused, unb64};

fn message(data: &[u8], format: SignatureFormat) -> SignRequest {
    SignRequest { data: b64(data), format: Some(format), ..SignRequest::default() }
}

fn claim(signed: &Signed, data: Option<&[u8]>, format: SignatureFormat) -> VerifyRequest {
    VerifyRequest {
        data: data.map(b64),
        signature: signed.signature.clone(),
        key_id: Some(signed.key_id),
        public_key: None,
        format: Some(format),
    }
}

async fn verify(client: &Client, request: &VerifyRequest) -> Verification {
    client.call::<Verify>(request).await.unwrap()
}

on_each_world!(signatures_hold_for_everybody_also_after_rotation, async |world: World| {
    let setting = Setting::new(world).await;
    let (ada, bob) = (setting.client("ada"), setting.client("bob"));
    let raw = ada.call::<Sign>(&message(b"deed", SignatureFormat::Raw)).await.unwrap();
    let jws = ada.call::<Sign>(&message(b"deed", SignatureFormat::Jws)).await.unwrap();
    assert_eq!(unb64(&raw.signature).len(), 64);
    let rotate = KeyRequest { key_id: raw.key_id };
    ada.clone().with_key("r").call::<RotateKey>(&rotate).await.unwrap();
    let newer = ada.call::<Sign>(&message(b"deed", SignatureFormat::Jws)).await.unwrap();
    assert_eq!((newer.key_id, newer.key_version), (raw.key_id, 2));
    for (request, state) in [
        (claim(&raw, Some(b"deed"), SignatureFormat::Raw), KeyState::Deactivated),
        (claim(&jws, None, SignatureFormat::Jws), KeyState::Deactivated),
        (claim(&jws, Some(b"deed"), SignatureFormat::Jws), KeyState::Deactivated),
        (claim(&newer, None, SignatureFormat::Jws), KeyState::Active),
    ] {
        let found = verify(&bob, &request).await;
        assert!(found.valid && found.checks.signature && found.checks.key, "{found:?}");
        assert_eq!(found.key_state, Some(state));
    }
    let by_key = VerifyRequest {
        key_id: None,
        public_key: Some(raw.public_key.clone()),
        ..claim(&raw, Some(b"deed"), SignatureFormat::Raw)
    };
    assert!(verify(&bob, &by_key).await.valid);
    setting.world.close().await;
});

on_each_world!(a_signature_that_does_not_hold_is_an_answer, async |world: World| {
    let setting = Setting::new(world).await;
    let ada = setting.client("ada");
    let raw = ada.call::<Sign>(&message(b"deed", SignatureFormat::Raw)).await.unwrap();
    let jws = ada.call::<Sign>(&message(b"deed", SignatureFormat::Jws)).await.unwrap();
    let other = ada.call::<Sign>(&message(b"dead", SignatureFormat::Raw)).await.unwrap();
    let stranger = SecretKey::from_seed(&[3; 32]);
    let forged = jws::sign(&jws::Header::default(), b"deed", &stranger);
    let good = claim(&raw, Some(b"deed"), SignatureFormat::Raw);
    let stranger_key = serde_json::to_value(Jwk::from(stranger.public())).unwrap();
    for (request, knows_key) in [
        (VerifyRequest { data: Some(b64("dead")), ..good.clone() }, true),
        (VerifyRequest { signature: other.signature, ..good.clone() }, true),
        (VerifyRequest { key_id: Some(KeyId::from_bytes([1; 16])), ..good.clone() }, false),
        (VerifyRequest { key_id: None, public_key: Some(stranger_key), ..good.clone() }, true),
        (claim(&jws, Some(b"dead"), SignatureFormat::Jws), true),
        (VerifyRequest { signature: forged, ..claim(&jws, None, SignatureFormat::Jws) }, true),
    ] {
        let found = verify(&ada, &request).await;
        assert!(!found.valid && !found.checks.signature && found.reason.is_some(), "{found:?}");
        assert_eq!(found.checks.key, knows_key, "{found:?}");
    }
    let weak = serde_json::json!({"kty": "OKP", "crv": "Ed25519", "x": "A".repeat(43)});
    for (request, code) in [
        (VerifyRequest { signature: "AAAA".into(), ..good.clone() }, &BAD_ENCODING),
        (VerifyRequest { signature: "x".into(), ..good.clone() }, &BAD_ENCODING),
        (VerifyRequest { format: Some(SignatureFormat::Jws), ..good.clone() }, &BAD_ENCODING),
        (VerifyRequest { key_id: None, public_key: Some(weak), ..good.clone() }, &BAD_ENCODING),
        (VerifyRequest { data: None, ..good.clone() }, &VALIDATION_FAILED),
        (VerifyRequest { key_id: None, ..good.clone() }, &VALIDATION_FAILED),
        (VerifyRequest { public_key: Some(raw.public_key.clone()), ..good.clone() }, &VALIDATION_FAILED),
    ] {
        refused(ada.call::<Verify>(&request).await, code);
    }
    setting.world.close().await;
});

on_each_world!(refusals_of_sign, async |world: World| {
    let setting = Setting::new(world).await;
    let ada = setting.client("ada");
    let good = message(b"x", SignatureFormat::Raw);
    for (request, code) in [
        (SignRequest { identity_id: Some(did("bob")), ..good.clone() }, &IDENTITY_MISMATCH),
        (SignRequest { data: "x".into(), ..good.clone() }, &BAD_ENCODING),
        (SignRequest { algorithm: Some("Falcon-512".into()), ..good.clone() }, &ALGORITHM_UNSUPPORTED),
        (SignRequest { key_id: Some(KeyId::from_bytes([1; 16])), ..good.clone() }, &KEY_NOT_FOUND),
        (message(&vec![0; PLAINTEXT_BYTES_MAX + 1], SignatureFormat::Raw), &PAYLOAD_TOO_LARGE),
    ] {
        refused(ada.call::<Sign>(&request).await, code);
    }
    setting.world.close().await;
});

on_each_world!(public_keys_are_published_to_everybody, async |world: World| {
    let setting = Setting::new(world).await;
    let signed = setting.client("ada").call::<Sign>(&message(b"x", SignatureFormat::Jws)).await.unwrap();
    setting.client("bob").call::<Sign>(&message(b"x", SignatureFormat::Jws)).await.unwrap();
    let anybody = setting.world.client_as(qlock::NAME, Caller::Anonymous);
    let all = anybody.call::<GetJwks>(&JwksRequest::default()).await.unwrap();
    assert_eq!(all.keys.len(), 2);
    let one = anybody.call::<GetJwks>(&JwksRequest { key_id: Some(signed.key_id) }).await.unwrap();
    assert_eq!(one.keys, std::slice::from_ref(&signed.public_key));
    assert_eq!(one.keys[0]["kid"], format!("{}#1", signed.key_id));
    let jwk: Jwk = serde_json::from_value(one.keys[0].clone()).unwrap();
    let parsed = jws::Parsed::parse(&signed.signature, jws::JWS_BYTES_MAX).unwrap();
    assert_eq!(parsed.verify(jwk.public_key()).unwrap().payload, b"x");
    refused(anybody.call::<Sign>(&message(b"x", SignatureFormat::Raw)).await, &codes::UNAUTHENTICATED);
    setting.world.close().await;
});
