//! Mail, received by a server by other people.

use std::process::Command;

use q_core::Env;
use q_notify::{Channel, Notifier, Secret, SmtpSettings};
use serde_json::json;

use crate::{message, receivers::Receivers, setting};

#[tokio::test]
async fn a_mail_arrives_with_what_makes_it_recognisable() {
    let Some((mut receivers, notifier)) = setting() else { return };
    let channel: Channel = "email oncall@example.org".parse().unwrap();
    notifier.send(&channel, &message("msg_1")).await.unwrap();
    let came = receivers.next();
    for (field, value) in [
        ("mail", json!(["oncall@example.org"])),
        ("subject", json!("qwallet cannot serve – über")),
        ("messageId", json!("<msg_1@qnode.localhost>")),
        ("inReplyTo", json!("<page_1@qnode.localhost>")),
        ("autoSubmitted", json!("auto-generated")),
        ("date", json!(1_795_251_600.0)),
        ("isEncrypted", json!(false)),
    ] {
        assert_eq!(came[field], value, "{field}");
    }
    assert_eq!(
        came["text"].as_str().unwrap().replace("\r\n", "\n").trim_end(),
        "It does not answer.\n.\nWe know."
    );
}

#[tokio::test]
async fn a_mailbox_that_does_not_exist_is_not_tried_again() {
    let Some((receivers, notifier)) = setting() else { return };
    for (address, is_final) in [("nobody@example.org", true), ("later@example.org", false)] {
        let channel: Channel = format!("email {address}").parse().unwrap();
        let error = notifier.send(&channel, &message("msg_1")).await.unwrap_err();
        assert_eq!(error.is_final, is_final, "{address}: {error}");
    }
    drop(receivers);
    let channel: Channel = "email oncall@example.org".parse().unwrap();
    assert!(!notifier.send(&channel, &message("msg_2")).await.unwrap_err().is_final);
}

#[tokio::test]
async fn a_mail_goes_through_starttls_with_a_password_and_to_no_impostor() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let Some(mut openssl) = q_oracle::program("openssl") else { return };
    let made = openssl
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
        ])
        .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-keyout")
        .arg(path("key"))
        .arg("-out")
        .arg(path("certificate"))
        .output();
    assert!(made.unwrap().status.success());
    let env = Env::system();
    let secret = Secret::generate(&env);
    let files = [path("certificate"), path("key")];
    let arguments: Vec<_> = files.iter().map(|file| file.to_str().unwrap()).collect();
    let Some(mut receivers) = Receivers::start(env!("CARGO_MANIFEST_DIR"), &secret.text(), &arguments) else {
        return;
    };
    std::fs::write(path("password"), "secret\n").unwrap();
    std::fs::write(path("wrong"), "guess\n").unwrap();
    let other = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-subj",
            "/CN=other",
        ])
        .args(["-keyout", path("k2").to_str().unwrap(), "-out", path("c2").to_str().unwrap()])
        .output();
    assert!(other.unwrap().status.success());
    let notifier = |password: &str, ca: &str| {
        let smtp = SmtpSettings {
            url: format!("smtp://me@localhost:{}", receivers.smtp),
            from: "Q <q@qnode.localhost>".into(),
            password_file: Some(path(password)),
            ca_file: Some(path(ca)),
        };
        Notifier::new(env.clone(), None, Some(&smtp)).unwrap()
    };
    let channel: Channel = "email oncall@example.org".parse().unwrap();
    let sent = notifier("password", "certificate").send(&channel, &message("msg_1")).await;
    sent.unwrap();
    let (wrong, impostor) = (notifier("wrong", "certificate"), notifier("password", "c2"));
    let came = receivers.next();
    assert_eq!((&came["isEncrypted"], &came["user"]), (&json!(true), &json!("me")));
    assert!(wrong.send(&channel, &message("msg_2")).await.is_err());
    let error = impostor.send(&channel, &message("msg_3")).await.unwrap_err();
    assert!(!error.is_final, "{error}");
}
