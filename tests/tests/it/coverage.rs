//! No endpoint escapes: every operation of every module, tried the ways an author forgets, with real tokens.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use http::{HeaderValue, Request, header};
use q_contract::{CallError, Client, Credential, HttpTransport};
use q_tests::Instance;
use serde_json::Value;

const MODULES: [&str; 5] = ["squid", "qonsent", "qlock", "qerberos", "qwallet"];
const UNLIMITED: [(&str, &str); 2] =
    [("Q_LIMITS_PER_ADDRESS_PER_MINUTE", "0"), ("Q_LIMITS_PER_IDENTITY_PER_MINUTE", "0")];

/// Endpoints that cannot be tried, one per line. May only shrink; it is empty.
const LEFTOVERS: &str = include_str!("../leftovers.txt");

/// A bearer token, as curl would send it.
struct Bearer(String);

impl Credential for Bearer {
    fn attach<'a>(
        &'a self,
        request: &'a mut Request<Bytes>,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<(), CallError>> + Send + 'a>> {
        Box::pin(async move {
            let value = HeaderValue::from_str(&format!("Bearer {}", self.0)).expect("a token is ASCII");
            request.headers_mut().insert(header::AUTHORIZATION, value);
            Ok(())
        })
    }
}

/// One operation of one module.
struct Operation {
    place: String,
    method: String,
    path: String,
    access: String,
    media_type: String,
    has_body: bool,
    needs_key: bool,
}

#[tokio::test(flavor = "multi_thread")]
async fn every_endpoint_was_tried_without_rights_and_with_nonsense() {
    let Some(house) = Instance::demo(&UNLIMITED) else { return };
    let mut complaints = Vec::new();
    let mut untried = BTreeSet::new();
    for module in MODULES {
        let nobody = Client::new(Arc::new(HttpTransport::new(house.url(module))));
        let operations = operations(&nobody, module).await;
        assert!(operations.len() > 4, "{module} declares {} operations", operations.len());
        for operation in operations {
            // A fresh token each time: one of the operations ends the caller's sessions.
            let token = house.q(&["auth", "token", "--as", "bob", "--json"]).json();
            let token = token["accessToken"].as_str().expect("a token").to_owned();
            let stranger = nobody.clone().with_credential(Arc::new(Bearer(token)));
            match try_out(&operation, &nobody, &stranger).await {
                Ok(found) => complaints.extend(found),
                Err(error) => {
                    complaints.push(format!("{}: {error}", operation.place));
                    untried.insert(operation.place);
                }
            }
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    let known: BTreeSet<String> = LEFTOVERS.lines().map(str::to_owned).collect();
    assert_eq!(untried, known, "tests/tests/leftovers.txt may only shrink");
}

async fn operations(client: &Client, module: &str) -> Vec<Operation> {
    let answer = client.send("GET", "/openapi.json", Bytes::new(), "").await.expect("a description");
    let document: Value = serde_json::from_slice(answer.body()).expect("JSON");
    let mut operations = Vec::new();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            let parameters = operation["parameters"].as_array().expect("parameters");
            let key = parameters.iter().find(|parameter| parameter["name"] == "Idempotency-Key");
            let content = operation["requestBody"]["content"].as_object();
            operations.push(Operation {
                place: format!("{module} {} {path}", method.to_uppercase()),
                method: method.to_uppercase(),
                path: concrete(path),
                access: operation["x-q-access"].as_str().expect("an access rule").to_owned(),
                media_type: content
                    .and_then(|content| content.keys().next().cloned())
                    .unwrap_or_else(|| "application/json".to_owned()),
                has_body: content.is_some(),
                needs_key: key.is_some_and(|key| key["required"] == true),
            });
        }
    }
    operations
}

async fn try_out(
    operation: &Operation,
    nobody: &Client,
    stranger: &Client,
) -> Result<Vec<String>, CallError> {
    let mut complaints = Vec::new();
    let mut expect = |what: &str, status: u16, is_right: bool| {
        if !is_right {
            complaints.push(format!("{}: {what} got {status}", operation.place));
        }
    };
    let is_guarded = !operation.access.starts_with("public") && !operation.access.starts_with("the body");
    let is_closed = operation.access.starts_with("modules") || operation.access.starts_with("operators");
    let status = send(operation, &nobody.clone().with_key("walk-1"), "{}").await?.0;
    expect("an anonymous caller", status, if is_guarded { status == 401 } else { status < 500 });
    let status = send(operation, &stranger.clone().with_key("walk-2"), "{}").await?.0;
    expect("a caller without rights", status, if is_closed { status == 403 } else { status < 500 });
    if operation.has_body {
        for body in ["{", "[]", "{\"noSuchField\":1}", "\u{0}", "{\"a\":1,\"a\":2}", "{\"a\":[[[[[[[["] {
            let status = send(operation, &stranger.clone().with_key("walk-3"), body).await?.0;
            expect(&format!("the body {body:?}"), status, (400..500).contains(&status));
        }
    }
    if operation.needs_key && !is_closed {
        let (status, text) = send(operation, stranger, "{}").await?;
        expect("a write without a key", status, text.contains("IDEMPOTENCY_KEY_REQUIRED"));
        let keyed = stranger.clone().with_key("walk-4");
        let (first, _) = send(operation, &keyed, "{}").await?;
        let (second, _) = send(operation, &keyed, "{}").await?;
        expect("a repeated write", second, first == second);
    }
    Ok(complaints)
}

async fn send(operation: &Operation, client: &Client, body: &str) -> Result<(u16, String), CallError> {
    let body = if operation.has_body { Bytes::from(body.to_owned()) } else { Bytes::new() };
    let answer = client.send(&operation.method, &operation.path, body, &operation.media_type).await?;
    Ok((answer.status().as_u16(), String::from_utf8_lossy(answer.body()).into_owned()))
}

/// The path with every parameter replaced by something that does not exist.
fn concrete(path: &str) -> String {
    let parts = path.split(['{', '}']).enumerate();
    parts.map(|(at, part)| if at % 2 == 1 { "no-such-thing" } else { part }).collect()
}
