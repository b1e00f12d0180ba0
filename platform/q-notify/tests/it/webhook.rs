//! Webhooks, verified by the library of the Standard Webhooks specification.

use q_notify::{Channel, Post, Poster, Reach};
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

/// What users may name: a name is judged by the address it leads to, and that address is the one connected to.
#[tokio::test]
async fn a_name_that_leads_home_is_not_followed() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let post = || Post { id: "msg_5".into(), at: 0, signatures: "v1,".into(), body: "{}".into() };
    let poster = Poster::new("".parse::<Reach>().unwrap());
    // 127.0.0.1 also in spellings that only resolvers know, which are no names for a certificate either.
    for (host, why) in [
        ("localhost", "not a public one"),
        ("2130706433", "invalid dns name"),
        ("0x7f.1", "invalid dns name"),
    ] {
        let to = format!("https://{host}:{port}/").parse().unwrap();
        let error = poster.post(&to, post()).await.unwrap_err();
        assert!(error.why.contains(why), "{host}: {error}");
    }
    let mut accepted = tokio::spawn(async move { listener.accept().await.unwrap() });
    tokio::task::yield_now().await;
    assert!(!accepted.is_finished(), "nobody connected");
    // Allowed by name, it is.
    let poster = Poster::new("localhost".parse::<Reach>().unwrap());
    let to = format!("http://localhost:{port}/").parse().unwrap();
    let sending = tokio::spawn(async move { poster.post(&to, post()).await.map_err(|error| error.why) });
    (&mut accepted).await.unwrap();
    sending.abort();
}
