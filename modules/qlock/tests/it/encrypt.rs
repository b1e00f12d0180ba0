use q_contract::{CallError, Client, codes};
use q_testkit::{World, on_each_world};
use qlock_api::{
    CreateKey, CreateKeyRequest, Decrypt, DecryptRequest, Decrypted, Encrypt, EncryptRequest, Encrypted,
    KeyId, KeyRequest, KeyType, PLAINTEXT_BYTES_MAX, Random, RandomRequest, RotateKey, SealContext,
    SealFormat,
    errors::{
        ALGORITHM_UNSUPPORTED, BAD_ENCODING, DECRYPT_FAILED, IDENTITY_MISMATCH, KEY_NOT_FOUND,
        KEY_USAGE_MISMATCH, PAYLOAD_TOO_LARGE, VALIDATION_FAILED,
    },
};

use crate::setting::{Setting, b64, did, refused, unb64};

fn value(plaintext: &[u8]) -> EncryptRequest {
    EncryptRequest { data: b64(plaintext), ..EncryptRequest::default() }
}

fn sealed(text: &str) -> DecryptRequest {
    DecryptRequest {
        encrypted_data: text.to_owned(),
        context: SealContext::new(),
        key_id: None,
        metadata: None,
        identity_id: None,
    }
}

async fn seal(client: &Client, request: &EncryptRequest) -> Encrypted {
    client.call::<Encrypt>(request).await.unwrap()
}

async fn open(client: &Client, text: &str) -> Result<Decrypted, CallError> {
    client.call::<Decrypt>(&sealed(text)).await
}

on_each_world!(a_value_opens_for_its_owner_also_after_rotation_and_restart, async |world: World| {
    let setting = Setting::new(world).await;
    let ada = setting.client("ada");
    let first = seal(&ada, &value(b"pay the rent")).await;
    assert_eq!(
        (first.format, first.algorithm.as_str(), first.key_version),
        (SealFormat::Jwe, "AES-256-GCM", Some(1))
    );
    assert!(first.quantum_resistant);
    let opened = open(&ada, &first.encrypted_data).await.unwrap();
    assert_eq!((unb64(&opened.decrypted_data), opened.verified), (b"pay the rent".to_vec(), true));
    assert_eq!(Some(opened.key_id), first.key_id);
    let request = KeyRequest { key_id: opened.key_id };
    ada.clone().with_key("r").call::<RotateKey>(&request).await.unwrap();
    let second = seal(&ada, &value(b"")).await;
    assert_eq!((second.key_id, second.key_version), (first.key_id, Some(2)));
    assert_eq!(open(&ada, &first.encrypted_data).await.unwrap().key_version, 1);
    assert_eq!(open(&ada, &second.encrypted_data).await.unwrap().decrypted_data, "");
    refused(open(&setting.client("bob"), &first.encrypted_data).await, &DECRYPT_FAILED);
    assert!(setting.restarted().await.is_ok());
    setting.world.close().await;
});

on_each_world!(a_context_must_be_said_again, async |world: World| {
    let setting = Setting::new(world).await;
    let ada = setting.client("ada");
    let context: SealContext = [("order".to_owned(), "17".to_owned())].into();
    let text = seal(&ada, &EncryptRequest { context: context.clone(), ..value(b"x") }).await.encrypted_data;
    assert!(ada.call::<Decrypt>(&DecryptRequest { context, ..sealed(&text) }).await.is_ok());
    refused(open(&ada, &text).await, &DECRYPT_FAILED);
    let other: SealContext = [("order".to_owned(), "18".to_owned())].into();
    refused(ada.call::<Decrypt>(&DecryptRequest { context: other, ..sealed(&text) }).await, &DECRYPT_FAILED);
    setting.world.close().await;
});

on_each_world!(hostile_sealed_texts_fail_alike, async |world: World| {
    let setting = Setting::new(world).await;
    let ada = setting.client("ada");
    let text = seal(&ada, &value(b"x")).await.encrypted_data;
    let parts: Vec<&str> = text.split('.').collect();
    let with_header = |header: &str| [q_jose::base64url::encode(header), parts[1..].join(".")].join(".");
    let flipped = |part: usize| {
        let mut parts: Vec<String> = parts.iter().map(ToString::to_string).collect();
        let other = if parts[part].starts_with('A') { "B" } else { "A" };
        parts[part].replace_range(..1, other);
        parts.join(".")
    };
    let kid = format!("{}#1", KeyId::from_bytes([9; 16]));
    let hostile = [
        String::new(),
        "not a jwe".to_owned(),
        text[..text.len() - 1].to_owned(),
        format!("{text}="),
        flipped(1),
        flipped(2),
        flipped(3),
        flipped(4),
        with_header(r#"{"alg":"none"}"#),
        with_header(r#"{"alg":"dir","enc":"A256GCM"}"#),
        with_header(r#"{"alg":"RSA1_5","enc":"A256GCM"}"#),
        with_header(r#"{"alg":"A256KW","enc":"A256GCM","zip":"DEF"}"#),
        with_header(r#"{"alg":"PBES2-HS512+A256KW","p2c":2147483647,"enc":"A256GCM"}"#),
        with_header(r#"{"alg":"A256KW","alg":"A256KW","enc":"A256GCM"}"#),
        with_header(&format!(r#"{{"alg":"A256KW","enc":"A256GCM","kid":"{kid}"}}"#)),
        with_header(&format!(r#"{{"alg":"A256KW","enc":"A256GCM","x":"{}"}}"#, "x".repeat(100_000))),
        "-----BEGIN AGE ENCRYPTED FILE-----\nAAAA\n-----END AGE ENCRYPTED FILE-----\n".to_owned(),
    ];
    let mut answers = Vec::new();
    for text in hostile {
        let outcome = open(&ada, &text).await;
        let mut problem = outcome.expect_err(&text).problem().cloned().unwrap();
        problem.trace_id = None;
        answers.push(problem);
    }
    assert!(answers.iter().all(|problem| *problem == answers[0]), "the answers tell the causes apart");
    assert_eq!(answers[0].code, DECRYPT_FAILED.code);
    setting.world.close().await;
});

on_each_world!(refusals_of_encrypt, async |world: World| {
    let setting = Setting::new(world).await;
    let ada = setting.client("ada");
    let make = |key_type| CreateKeyRequest { key_type, label: None, owner: None };
    let signer = ada.clone().with_key("s").call::<CreateKey>(&make(KeyType::Ed25519)).await.unwrap().key_id;
    let context: SealContext = [("a".to_owned(), "x".repeat(9_000))].into();
    let small: SealContext = [("a".to_owned(), "b".to_owned())].into();
    let recipient = "age1pq1qqqqqqqqqqqqqqqqqqq".to_owned();
    let table = [
        (EncryptRequest { identity_id: Some(did("bob")), ..value(b"x") }, &IDENTITY_MISMATCH),
        (EncryptRequest { data: "eA".into(), ..value(b"") }, &BAD_ENCODING),
        (EncryptRequest { data: "eB==".into(), ..value(b"") }, &BAD_ENCODING),
        (EncryptRequest { data: "e A==".into(), ..value(b"") }, &BAD_ENCODING),
        (value(&vec![0; PLAINTEXT_BYTES_MAX + 1]), &PAYLOAD_TOO_LARGE),
        (EncryptRequest { context, ..value(b"x") }, &VALIDATION_FAILED),
        (EncryptRequest { algorithm: Some("Falcon-512".into()), ..value(b"x") }, &ALGORITHM_UNSUPPORTED),
        (EncryptRequest { algorithm: Some("Dilithium-3".into()), ..value(b"x") }, &ALGORITHM_UNSUPPORTED),
        (EncryptRequest { format: Some(SealFormat::Age), context: small, ..value(b"x") }, &VALIDATION_FAILED),
        (
            EncryptRequest { format: Some(SealFormat::Jwe), recipients: vec!["age1x".into()], ..value(b"x") },
            &VALIDATION_FAILED,
        ),
        (EncryptRequest { recipients: vec![recipient.clone(); 33], ..value(b"x") }, &VALIDATION_FAILED),
        (EncryptRequest { recipients: vec![recipient], ..value(b"x") }, &ALGORITHM_UNSUPPORTED),
        (EncryptRequest { recipients: vec![did("bob").to_string()], ..value(b"x") }, &KEY_NOT_FOUND),
        (EncryptRequest { key_id: Some(KeyId::from_bytes([1; 16])), ..value(b"x") }, &KEY_NOT_FOUND),
        (EncryptRequest { key_id: Some(signer), ..value(b"x") }, &KEY_USAGE_MISMATCH),
    ];
    for (request, code) in table {
        refused(ada.call::<Encrypt>(&request).await, code);
    }
    let largest = seal(&ada, &value(&vec![7; PLAINTEXT_BYTES_MAX])).await;
    let opened = open(&ada, &largest.encrypted_data).await.unwrap();
    assert_eq!(unb64(&opened.decrypted_data).len(), PLAINTEXT_BYTES_MAX);
    let unknown =
        ada.send("POST", "/encrypt", r#"{"data":"eA==","colour":"red"}"#.into(), "application/json").await;
    assert_eq!(unknown.unwrap().status().as_u16(), codes::INVALID_REQUEST.status);
    setting.world.close().await;
});

on_each_world!(age_files_open_for_each_recipient, async |world: World| {
    let setting = Setting::new(world).await;
    let (ada, bob) = (setting.client("ada"), setting.client("bob"));
    // Bob's own default age key comes to life at its first use.
    let own = seal(&bob, &EncryptRequest { format: Some(SealFormat::Age), ..value(b"mine") }).await;
    assert!(!own.quantum_resistant);
    assert_eq!(unb64(&open(&bob, &own.encrypted_data).await.unwrap().decrypted_data), b"mine");
    let outside = age::x25519::Identity::generate();
    let recipients = vec![did("bob").to_string(), outside.to_public().to_string()];
    let sent = seal(&ada, &EncryptRequest { recipients, ..value(b"for you") }).await;
    assert_eq!((sent.format, sent.key_id), (SealFormat::Age, None));
    let opened = open(&bob, &sent.encrypted_data).await.unwrap();
    assert_eq!((unb64(&opened.decrypted_data), Some(opened.key_id)), (b"for you".to_vec(), own.key_id));
    assert_eq!(age::decrypt(&outside, sent.encrypted_data.as_bytes()).unwrap(), b"for you");
    refused(open(&ada, &sent.encrypted_data).await, &DECRYPT_FAILED);
    // An older version keeps opening.
    let request = KeyRequest { key_id: opened.key_id };
    bob.clone().with_key("r").call::<RotateKey>(&request).await.unwrap();
    assert_eq!(open(&bob, &sent.encrypted_data).await.unwrap().key_version, 1);
    let newer = seal(&bob, &EncryptRequest { format: Some(SealFormat::Age), ..value(b"new") }).await;
    assert_eq!(open(&bob, &newer.encrypted_data).await.unwrap().key_version, 2);
    setting.world.close().await;
});

on_each_world!(one_default_key_though_a_hundred_ask_at_once, async |world: World| {
    let setting = Setting::new(world).await;
    let ada = setting.client("ada");
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let ada = ada.clone();
        asking.spawn(async move { ada.call::<Encrypt>(&value(b"x")).await.unwrap().key_id });
    }
    let key_ids = asking.join_all().await;
    assert!(key_ids.iter().all(|key_id| key_id.is_some() && *key_id == key_ids[0]));
    setting.world.close().await;
});

on_each_world!(random_bytes_within_bounds, async |world: World| {
    let setting = Setting::new(world).await;
    let ada = setting.client("ada");
    let one = ada.call::<Random>(&RandomRequest { bytes: 1024 }).await.unwrap().random;
    let other = ada.call::<Random>(&RandomRequest { bytes: 1024 }).await.unwrap().random;
    assert_eq!(unb64(&one).len(), 1024);
    assert_ne!(one, other);
    for bytes in [0, 1025, u32::MAX] {
        refused(ada.call::<Random>(&RandomRequest { bytes }).await, &VALIDATION_FAILED);
    }
    setting.world.close().await;
});
