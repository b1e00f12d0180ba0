//! Tools over the Model Context Protocol.

use serde_json::{Value, json};

use crate::echo::{quiet_wall, request, send};

const ALICE: (&str, &str) = ("authorization", "Name did:x:alice");

async fn ask(message: &Value) -> Value {
    let (head, body) = send(&quiet_wall(), request("POST", "/mcp", &[ALICE], &message.to_string())).await;
    assert_eq!(head.status(), 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

fn call(id: u32, method: &str, parameters: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": parameters})
}

#[tokio::test]
async fn lists_tools_with_their_schema() {
    let answer = ask(&call(1, "tools/list", &json!({}))).await;
    let tools = answer["result"]["tools"].as_array().unwrap();
    assert_eq!(tools.len(), 1);
    assert_eq!(tools[0]["name"], "wall.shout");
    assert_eq!(tools[0]["inputSchema"]["properties"]["text"]["type"], "string");
}

#[tokio::test]
async fn calls_a_tool_and_hands_refusals_to_the_model() {
    let said =
        ask(&call(2, "tools/call", &json!({"name": "wall.shout", "arguments": {"text": "hello"}}))).await;
    assert_eq!(said["result"]["structuredContent"]["text"], "hello");
    let refused =
        ask(&call(3, "tools/call", &json!({"name": "wall.shout", "arguments": {"text": "no!"}}))).await;
    assert_eq!(refused["result"]["isError"], true);
    assert!(refused["result"]["content"][0]["text"].as_str().unwrap().contains("TOO_LOUD"));
    let unknown = ask(&call(4, "tools/call", &json!({"name": "wall.fall"}))).await;
    assert_eq!(unknown["error"]["code"], -32602);
}

#[tokio::test]
async fn nobody_gets_no_tools() {
    let message = call(1, "tools/list", &json!({})).to_string();
    let (head, body) = send(&quiet_wall(), request("POST", "/mcp", &[], &message)).await;
    assert_eq!(head.status(), 401);
    assert!(body.contains("q auth headers"), "{body}");
}

/// What a page elsewhere could make its reader's browser send.
#[tokio::test]
async fn a_page_of_another_origin_gets_no_tools() {
    let message = call(1, "tools/list", &json!({})).to_string();
    let ask = async |origin: &str| {
        let headers = [ALICE, ("origin", origin)];
        send(&quiet_wall(), request("POST", "/mcp", &headers, &message)).await.0.status().as_u16()
    };
    assert_eq!(ask("http://wall.test").await, 200);
    for foreign in
        ["http://evil.test", "http://wall.test.evil.test", "http://wall", "https://wall.test", "null", ""]
    {
        assert_eq!(ask(foreign).await, 403, "{foreign}");
    }
}

#[tokio::test]
async fn tools_keep_the_rules_of_writes() {
    let message =
        call(1, "tools/call", &json!({"name": "wall.shout", "arguments": {"text": "hello"}})).to_string();
    let long_key = "k".repeat(256);
    let headers = [ALICE, ("idempotency-key", long_key.as_str())];
    let (_, body) = send(&quiet_wall(), request("POST", "/mcp", &headers, &message)).await;
    assert!(body.contains("INVALID_REQUEST"), "{body}");
}

/// A program that calls tools is no way around what people who call endpoints are held to.
#[tokio::test]
async fn a_tool_call_is_counted_and_shed_like_its_endpoint() {
    let wall = quiet_wall();
    let tool = async |text: &str| {
        let parameters = json!({"name": "wall.shout", "arguments": {"text": text}});
        let message = call(1, "tools/call", &parameters).to_string();
        send(&wall, request("POST", "/mcp", &[ALICE], &message)).await.1
    };
    tool("hello").await;
    tool("hello again").await;
    tool("no!").await;
    let figures = async || send(&wall, request("GET", "/metrics", &[], "")).await.1;
    let told = figures().await;
    for line in [
        r#"http_requests_total{method="POST",route="/shouts",status="201"} 2"#,
        r#"http_requests_total{method="POST",route="/shouts",status="422"} 1"#,
        r#"http_request_duration_seconds_count{method="POST",route="/shouts"} 3"#,
    ] {
        assert!(told.contains(line), "{line} is missing in {told}");
    }
    // Load is shed, and as many as are answered at a time are on their way already: their bodies do not end.
    let order = json!({"actions": ["shedLoad"], "reason": "slow"}).to_string();
    let operator = ("authorization", "Name did:x:operator");
    assert_eq!(send(&wall, request("POST", "/recover", &[operator], &order)).await.0.status(), 200);
    let waiting: Vec<_> = (0..8)
        .map(|_| {
            let body = axum::body::Body::from_stream(futures_util::stream::pending::<
                Result<&[u8], std::io::Error>,
            >());
            let mut endless = request("POST", "/shouts", &[ALICE, ("idempotency-key", "k")], "");
            *endless.body_mut() = body;
            let wall = wall.clone();
            tokio::spawn(async move { send(&wall, endless).await })
        })
        .collect();
    let refused = loop {
        let answer = tool("hello").await;
        if answer.contains("OVERLOADED") {
            break answer;
        }
        tokio::task::yield_now().await;
    };
    assert!(refused.contains(r#""isError":true"#) && refused.contains("retryAfter"), "{refused}");
    let told = figures().await;
    assert!(told.contains(r#"route="/shouts",status="503"} 1"#), "{told}");
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn resources_are_read_as_the_caller() {
    let begun = ask(&call(1, "initialize", &json!({}))).await;
    assert_eq!(begun["result"]["capabilities"], json!({"tools": {}, "resources": {}, "prompts": {}}));
    let listed = ask(&call(2, "resources/list", &json!({}))).await;
    assert_eq!(listed["result"]["resources"][0]["uri"], "wall://mine");
    assert_eq!(listed["result"]["resources"].as_array().unwrap().len(), 1);
    let listed = ask(&call(3, "resources/templates/list", &json!({}))).await;
    assert_eq!(listed["result"]["resourceTemplates"][0]["uriTemplate"], "wall://shouts/{text}");

    let read = async |uri: &str| ask(&call(4, "resources/read", &json!({"uri": uri}))).await;
    let mine = read("wall://mine").await;
    let contents = &mine["result"]["contents"][0];
    assert_eq!(
        (&contents["uri"], &contents["mimeType"]),
        (&json!("wall://mine"), &json!("application/json"))
    );
    assert!(contents["text"].as_str().unwrap().contains("did:x:alice"));
    let shout = read("wall://shouts/good%20day").await;
    assert!(shout["result"]["contents"][0]["text"].as_str().unwrap().contains("good day"));
    // What an endpoint refuses is not read.
    let refused = read("wall://shouts/no%21").await;
    assert_eq!(
        (&refused["error"]["code"], &refused["error"]["data"]["code"]),
        (&json!(-32603), &json!("TOO_LOUD"))
    );
    assert_eq!(read("wall://paint").await["error"]["code"], -32002);
    assert_eq!(ask(&call(5, "resources/read", &json!({}))).await["error"]["code"], -32602);
}

#[tokio::test]
async fn prompts_bring_what_they_are_about() {
    let listed = ask(&call(1, "prompts/list", &json!({}))).await;
    let prompt = &listed["result"]["prompts"][0];
    assert_eq!(prompt["name"], "describe");
    let required: Vec<_> =
        prompt["arguments"].as_array().unwrap().iter().map(|argument| argument["required"].clone()).collect();
    assert_eq!(required, [true, false]);

    let get = async |arguments: Value| {
        ask(&call(2, "prompts/get", &json!({"name": "describe", "arguments": arguments}))).await
    };
    let got = get(json!({"text": "hello", "style": "in verse"})).await;
    let messages = &got["result"]["messages"];
    assert_eq!(messages[0]["content"], json!({"type": "text", "text": "Describe it in verse."}));
    assert_eq!(messages[1]["content"]["resource"]["uri"], "wall://shouts/hello");
    assert!(messages[1]["content"]["resource"]["text"].as_str().unwrap().contains("hello"));
    for wrong in
        [json!({}), json!({"text": 5}), json!({"text": "a", "more": "b"}), json!({"text": "x".repeat(2_000)})]
    {
        assert_eq!(get(wrong.clone()).await["error"]["code"], -32602, "{wrong}");
    }
    let unknown = ask(&call(3, "prompts/get", &json!({"name": "sing"}))).await;
    assert_eq!(unknown["error"]["code"], -32602);
}
