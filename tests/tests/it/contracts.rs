//! Foreign programs read our descriptions: OpenAPI 3.1 and the Model Context Protocol.

use q_testkit::oracle;
use q_tests::Instance;
use serde_json::Value;

const MODULES: [&str; 5] = ["squid", "qonsent", "qlock", "qerberos", "qwallet"];

#[test]
fn every_module_describes_itself_in_valid_openapi() {
    let Some(house) = Instance::demo(&[]) else { return };
    for module in MODULES {
        let Some(mut validator) = oracle::python("openapi-spec-validator") else { return };
        let file = house.scratch().join(format!("{module}.json"));
        let document = house.q(&["call", module, "GET", "/openapi.json"]);
        assert_eq!(document.code, Some(0), "{}", document.complained);
        std::fs::write(&file, &document.said).unwrap();
        let verdict = validator.args(["-m", "openapi_spec_validator"]).arg(&file).output().unwrap();
        assert!(verdict.status.success(), "{module}: {}", String::from_utf8_lossy(&verdict.stdout));
    }
}

#[test]
fn an_mcp_client_lists_the_tools_and_calls_one() {
    let Some(house) = Instance::demo(&[]) else { return };
    let client = oracle::script("PyPI mcp", env!("CARGO_MANIFEST_DIR"), "mcp_client.py");
    let Some(mut client) = client else { return };
    let token = house.q(&["auth", "token", "--as", "alice", "--json"]).json();
    let alice = house.q(&["wallet", "balance", "--as", "alice", "--json"]).json();
    let arguments = serde_json::json!({"squidId": alice["walletId"]}).to_string();
    let history = house.q(&["wallet", "history", "--as", "alice", "--json"]).json();
    let transaction = history["items"][0]["transactionId"].as_str().unwrap();
    client.arg(format!("{}/mcp", house.url("qwallet"))).arg(token["accessToken"].as_str().unwrap()).args([
        "wallet.balance",
        &arguments,
        transaction,
    ]);
    let answer: Value = serde_json::from_slice(&oracle::ask(&mut client, "").unwrap()).unwrap();
    assert!(answer["tools"].as_array().unwrap().iter().any(|tool| tool == "wallet.pay_once"), "{answer}");
    assert_eq!(answer["result"]["structured_content"]["balances"], alice["balances"]);
    // Nothing among them raises a limit.
    let raises =
        |tool: &Value| tool.as_str().is_some_and(|tool| tool.contains("set") || tool.contains("raise"));
    assert!(!answer["tools"].as_array().unwrap().iter().any(raises), "{answer}");

    let resource =
        |uri: &str| -> Value { serde_json::from_str(answer["resources"][uri].as_str().unwrap()).unwrap() };
    assert_eq!(resource("qwallet://balances")["balances"], alice["balances"]);
    assert_eq!(resource("qwallet://transactions")["items"], history["items"]);
    assert!(resource("qwallet://intents")["items"].is_array());
    let templates = answer["templates"].as_array().unwrap();
    assert!(templates.iter().any(|template| template == "qwallet://transactions/{squidId}"), "{answer}");
    for prompt in ["payment-summary", "transaction-analysis"] {
        let attached = &answer["prompts"][prompt][1]["content"]["resource"]["text"];
        assert!(attached.as_str().unwrap().contains(transaction), "{prompt}: {answer}");
    }
}
