//! Messages as receivers by other people see them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by stopping")]

mod command;
mod mail;
mod post;
mod receivers;
mod webhook;

use q_core::{Env, Timestamp};
use q_notify::{Message, Notifier, Secret, SmtpSettings};
use receivers::Receivers;
use serde_json::json;

fn message(id: &str) -> Message {
    Message {
        id: id.into(),
        thread: Some("page_1".into()),
        at: Timestamp::from_seconds(1_795_251_600),
        kind: "q.test.said".into(),
        subject: "qwallet cannot serve – über".into(),
        text: "It does not answer.\n.\nWe know.".into(),
        data: json!({"module": "qwallet"}),
    }
}

/// The receivers and a notifier that knows them, or nothing where there is no Python.
fn setting() -> Option<(Receivers, Notifier)> {
    let env = Env::system();
    let secret = Secret::generate(&env);
    let receivers = Receivers::start(env!("CARGO_MANIFEST_DIR"), &secret.text(), &[])?;
    let smtp = SmtpSettings {
        url: format!("smtp://127.0.0.1:{}", receivers.smtp),
        from: "Q <q@qnode.localhost>".into(),
        ..SmtpSettings::default()
    };
    let notifier = Notifier::new(env, Some(secret), Some(&smtp)).unwrap();
    Some((receivers, notifier))
}
