//! Strangers' programs against a running instance: two resolvers, and a relying party.

use std::process::Command;

use q_testkit::{Engine, Way, World, oracle};
use serde_json::Value;
use squid_api::{AppendLog, AppendLogRequest};

use crate::support::{HOST, House, ORIGIN, entry, house};

fn script(what: &str, name: &str) -> Option<Command> {
    oracle::script(what, env!("CARGO_MANIFEST_DIR"), name)
}

fn run(command: &mut Command) -> Value {
    serde_json::from_slice(&oracle::ask(command, "").unwrap()).unwrap()
}

async fn running() -> Option<House> {
    Some(house(World::new(Engine::Sqlite, Way::Http).await?).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_foreign_resolvers_resolve_an_identity_of_a_running_instance() {
    let Some(mut python) = script("PyPI did-webvh", "resolve.py") else { return };
    let Some(mut node) = script("npm didwebvh-ts", "resolve.mjs") else { return };
    let house = running().await.unwrap();
    let alice = house.owner("Alice").await;
    let (rotated, made) = alice.keyring.rotate(&alice.log, None, &house.world.env).unwrap();
    let request =
        AppendLogRequest { did: alice.keyring.did.clone(), entry: entry(&made), compromised: false };
    house.anonymous().call::<AppendLog>(&request).await.unwrap();
    let (did, url) = (alice.log.head().id.clone(), house.world.url("squid").unwrap());
    let key = rotated.current.public().to_multikey();
    let resolved = tokio::task::spawn_blocking(move || {
        let arguments = [&did, HOST, &url];
        (run(python.args(arguments)), run(node.args(arguments)))
    });
    let (by_python, by_node) = resolved.await.unwrap();
    assert_eq!(by_python["didDocumentMetadata"]["versionId"], made.version_id.as_str(), "{by_python}");
    assert_eq!(by_python["didDocument"]["verificationMethod"][0]["publicKeyMultibase"], key);
    assert_eq!(by_node["versionId"], made.version_id.as_str(), "{by_node}");
    assert_eq!(by_node["doc"]["verificationMethod"][0]["publicKeyMultibase"], key);
    house.world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_relying_party_checks_a_token_by_the_published_keys() {
    let Some(mut node) = script("npm jose", "jose.mjs") else { return };
    let house = running().await.unwrap();
    let alice = house.owner("Alice").await;
    let token = house.token(&alice.keyring).await.unwrap();
    let url = format!("{}/oauth2/jwks", house.world.url("squid").unwrap());
    let now = house.world.env.now().seconds().to_string();
    let checked = tokio::task::spawn_blocking(move || run(node.args([&url, &token, ORIGIN, &now])));
    let checked = checked.await.unwrap();
    assert_eq!(checked["payload"]["sub"], alice.keyring.did.as_str());
    house.world.close().await;
}
