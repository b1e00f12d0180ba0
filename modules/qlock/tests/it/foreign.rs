//! Other people's programs read what qlock answers, and qlock reads theirs.

use std::process::Command;

use q_core::Caller;
use q_testkit::{World, on_each_world, oracle};
use qlock_api::{
    CreateKey, CreateKeyRequest, Decrypt, DecryptRequest, Encrypt, EncryptRequest, GetJwks, JwksRequest,
    KeyType, SealContext, Sign, SignRequest, SignatureFormat,
};
use serde_json::{Value, json};

use crate::setting::{Setting, b64, unb64};

/// What the library behind our script answers; nothing where it is not installed.
fn ask(script: (&str, &str), verb: &str, input: &Value) -> Option<Value> {
    let (what, name) = script;
    let mut script = oracle::script(what, env!("CARGO_MANIFEST_DIR"), name)?;
    let answer = oracle::ask(script.arg(verb), input.to_string()).unwrap();
    Some(serde_json::from_slice(&answer).unwrap())
}

const AGE_ENCRYPTION: (&str, &str) = ("npm age-encryption", "age.mjs");

fn to_recipients(plaintext: &[u8], recipients: Vec<String>) -> EncryptRequest {
    EncryptRequest { data: b64(plaintext), recipients, ..EncryptRequest::default() }
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

/// The lengths around the chunk size of age.
fn plaintexts() -> impl Iterator<Item = Vec<u8>> {
    [0, 1, 65_535, 65_536, 65_537].into_iter().map(|length| vec![0xa5; length])
}

async fn own_recipient(setting: &Setting) -> String {
    let request = CreateKeyRequest { key_type: KeyType::X25519, label: None, owner: None };
    let made = setting.client("ada").with_key("age").call::<CreateKey>(&request).await.unwrap();
    made.versions[0].recipient.clone().unwrap()
}

on_each_world!(npm_age_encryption_and_qlock_open_each_others_files, async |world: World| {
    let setting = Setting::new(world).await;
    if let Some(theirs) = ask(AGE_ENCRYPTION, "identity", &json!({})) {
        let ask = |verb, input| ask(AGE_ENCRYPTION, verb, &input).unwrap();
        let ada = setting.client("ada");
        let recipient = theirs["recipient"].as_str().unwrap().to_owned();
        let own = own_recipient(&setting).await;
        for plaintext in plaintexts() {
            let sent =
                ada.call::<Encrypt>(&to_recipients(&plaintext, vec![recipient.clone()])).await.unwrap();
            let opened = ask("open", json!({"identity": theirs["identity"], "text": sent.encrypted_data}));
            assert_eq!(unb64(opened["plaintext"].as_str().unwrap()), plaintext);
            let file = ask("seal", json!({"recipients": [own, recipient], "plaintext": b64(&plaintext)}));
            let opened = ada.call::<Decrypt>(&sealed(file["text"].as_str().unwrap())).await.unwrap();
            assert_eq!(unb64(&opened.decrypted_data), plaintext);
        }
    }
    setting.world.close().await;
});

fn pipe(command: &mut Command, input: &[u8]) -> Vec<u8> {
    oracle::ask(command, input).unwrap()
}

on_each_world!(debians_age_and_qlock_open_each_others_files, async |world: World| {
    let setting = Setting::new(world).await;
    if let (Some(mut keygen), Some(_)) = (oracle::program("age-keygen"), oracle::program("age")) {
        let ada = setting.client("ada");
        let folder = tempfile::tempdir().unwrap();
        let identity = folder.path().join("identity.txt");
        pipe(keygen.arg("-o").arg(&identity), b"");
        let recipient = pipe(Command::new("age-keygen").arg("-y").arg(&identity), b"");
        let recipient = String::from_utf8(recipient).unwrap().trim().to_owned();
        let own = own_recipient(&setting).await;
        for plaintext in plaintexts() {
            let sent =
                ada.call::<Encrypt>(&to_recipients(&plaintext, vec![recipient.clone()])).await.unwrap();
            let mut open = Command::new("age");
            let opened = pipe(open.arg("-d").arg("-i").arg(&identity), sent.encrypted_data.as_bytes());
            assert_eq!(opened, plaintext);
            let file = pipe(Command::new("age").args(["-a", "-r", &own]), &plaintext);
            let opened = ada.call::<Decrypt>(&sealed(&String::from_utf8(file).unwrap())).await.unwrap();
            assert_eq!(unb64(&opened.decrypted_data), plaintext);
        }
    }
    setting.world.close().await;
});

on_each_world!(jwcrypto_verifies_a_signature_from_the_published_keys, async |world: World| {
    let setting = Setting::new(world).await;
    let request =
        SignRequest { data: b64("deed"), format: Some(SignatureFormat::Jws), ..SignRequest::default() };
    let signed = setting.client("ada").call::<Sign>(&request).await.unwrap();
    setting.client("bob").call::<Sign>(&request).await.unwrap();
    let anybody = setting.world.client_as(qlock::NAME, Caller::Anonymous);
    let jwks = anybody.call::<GetJwks>(&JwksRequest::default()).await.unwrap();
    let input = json!({"jwks": jwks, "text": signed.signature});
    if let Some(answer) = ask(("PyPI jwcrypto", "verify.py"), "verify", &input) {
        assert_eq!(answer["payload"], b64("deed"));
    }
    setting.world.close().await;
});
