//! Strangers' programs against a running instance: two resolvers, and a relying party.

use std::process::Command;

use q_testkit::{Engine, Way, World, oracle};
use serde_json::Value;
use squid_api::{AppendLog, AppendLogRequest};

use crate::support::{HOST, House, ORIGIN, entry, house};

fn run(command: &mut Command) -> Result<Value, String> {
    let output = command.output().expect("the foreign program starts");
    if output.status.success() {
        Ok(serde_json::from_slice(&output.stdout).unwrap())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

fn script(name: &str) -> String {
    format!("{}/tests/oracles/{name}", env!("CARGO_MANIFEST_DIR"))
}

async fn running() -> Option<House> {
    Some(house(World::new(Engine::Sqlite, Way::Http).await?).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_foreign_resolvers_resolve_an_identity_of_a_running_instance() {
    let Some(mut python) = oracle::python("PyPI did-webvh") else { return };
    let Some(mut node) = oracle::node("npm didwebvh-ts") else { return };
    let house = running().await.unwrap();
    let alice = house.owner("Alice").await;
    let (rotated, made) = alice.keyring.rotate(&alice.log, None, &house.world.env).unwrap();
    let request =
        AppendLogRequest { did: alice.keyring.did.clone(), entry: entry(&made), compromised: false };
    house.anonymous().call::<AppendLog>(&request).await.unwrap();
    let (did, url) = (alice.log.head().id.clone(), house.world.url("squid").unwrap());
    let key = rotated.current.public().to_multikey();
    let resolved = tokio::task::spawn_blocking(move || {
        let by_python = run(python.arg(script("resolve.py")).args([&did, HOST, &url]));
        let by_node = run(node
            .env("Q_ORACLES", oracle::folder().unwrap())
            .arg(script("resolve.mjs"))
            .args([&did, HOST, &url]));
        (by_python, by_node)
    });
    let (by_python, by_node) = resolved.await.unwrap();
    let (by_python, by_node) = (by_python.unwrap(), by_node.unwrap());
    assert_eq!(by_python["didDocumentMetadata"]["versionId"], made.version_id.as_str(), "{by_python}");
    assert_eq!(by_python["didDocument"]["verificationMethod"][0]["publicKeyMultibase"], key);
    assert_eq!(by_node["versionId"], made.version_id.as_str(), "{by_node}");
    assert_eq!(by_node["doc"]["verificationMethod"][0]["publicKeyMultibase"], key);
    house.world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_relying_party_checks_a_token_by_the_published_keys() {
    let Some(mut node) = oracle::node("npm jose") else { return };
    let house = running().await.unwrap();
    let alice = house.owner("Alice").await;
    let token = house.token(&alice.keyring).await.unwrap();
    let url = format!("{}/oauth2/jwks", house.world.url("squid").unwrap());
    let now = house.world.env.now().seconds().to_string();
    let checked = tokio::task::spawn_blocking(move || {
        let node = node.env("Q_ORACLES", oracle::folder().unwrap()).arg(script("jose.mjs"));
        run(node.args([&url, &token, ORIGIN, &now]))
    });
    let checked = checked.await.unwrap().unwrap();
    assert_eq!(checked["payload"]["sub"], alice.keyring.did.as_str());
    house.world.close().await;
}
