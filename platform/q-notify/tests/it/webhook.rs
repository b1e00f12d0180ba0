//! Webhooks, verified by the library of the Standard Webhooks specification.

use q_notify::Channel;
use serde_json::json;

use crate::{message, setting};

fn channel(port: u16, path: &str) -> Channel {
    format!("webhook http://127.0.0.1:{port}{path}").parse().unwrap()
}

#[tokio::test]
async fn a_webhook_verifies_and_carries_its_id() {
    let Some((mut receivers, notifier)) = setting() else { return };
    let channel = channel(receivers.http, "/hook");
    for _ in 0..2 {
        notifier.send(&channel, &message("msg_1")).await.unwrap();
        let came = receivers.next();
        assert_eq!((&came["verified"], &came["id"]), (&json!(true), &json!("msg_1")));
        assert_eq!(came["body"]["type"], "q.test.said");
        assert_eq!(came["body"]["timestamp"], "2026-11-21T09:00:00Z");
        assert_eq!(came["body"]["data"]["details"]["module"], "qwallet");
    }
}

#[tokio::test]
async fn a_refusal_says_whether_another_attempt_makes_sense() {
    let Some((mut receivers, notifier)) = setting() else { return };
    for (path, is_final) in [("/gone", true), ("/moved", false), ("/flaky", false)] {
        let error = notifier.send(&channel(receivers.http, path), &message("msg_2")).await.unwrap_err();
        assert_eq!(error.is_final, is_final, "{path}: {error}");
    }
    notifier.send(&channel(receivers.http, "/flaky"), &message("msg_3")).await.unwrap();
    assert_eq!(receivers.next()["id"], "msg_3");
    // Nobody is there.
    let nowhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let error = notifier.send(&channel(nowhere, "/"), &message("msg_4")).await.unwrap_err();
    assert!(!error.is_final && error.why.contains("refused"), "{error}");
}
