//! `/log`: read over real HTTP by PyPI `tlog-scales`, which shares no code with us.

use std::process::Command;

use q_core::hash::hex;
use q_testkit::{Engine, Way, World, oracle};
use q_tlog::{Checkpoint, VerifierKey};
use qerberos_api::{
    GetCheckpoint, GetPolicy, GetProofFile, GetProofRequest, LogCheckpointRequest, LogPolicyRequest,
};

use crate::{as_operator, event, raise};

fn answer(mut command: Command) -> String {
    String::from_utf8(oracle::ask(&mut command, "").unwrap()).unwrap()
}

/// Runs `tlog-tiles` beside the server, which needs its threads meanwhile.
async fn tlog_tiles(arguments: &[&str]) -> Option<String> {
    let mut command = oracle::python("PyPI tlog-scales")?;
    command.args(["-m", "tlog_scales.cli"]).args(arguments);
    Some(tokio::task::spawn_blocking(move || answer(command)).await.unwrap())
}

async fn grow(world: &World, trail: &std::sync::Arc<qerberos::Trail>, from: u64, to: u64) {
    let mut left = to - from;
    while left > 0 {
        let count = left.min(5_000);
        let events = (0..count).map(|_| event(world)).collect();
        assert!(trail.record(events).await.unwrap().iter().all(Result::is_ok));
        left -= count;
    }
    assert_eq!(trail.publish().await.unwrap(), to);
}

/// Checks signature, root and consistency with every earlier checkpoint, from what the router serves.
async fn audit(log: &str, key: &VerifierKey, earlier: &[Checkpoint]) -> Option<String> {
    let q_tlog = concat!(env!("CARGO_MANIFEST_DIR"), "/../../platform/q-tlog");
    let mut command = oracle::script("PyPI tlog-scales", q_tlog, "tlog_audit.py")?;
    command.arg(log).arg(key.to_string());
    command.args(earlier.iter().map(|one| format!("{}:{}", one.size, hex(&one.root))));
    Some(tokio::task::spawn_blocking(move || answer(command)).await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_program_verifies_a_running_router_at_every_edge() {
    let mut world = World::new(Engine::Sqlite, Way::Http).await.unwrap();
    let qerberos = raise(&mut world).await;
    let log = format!("{}/log", world.url("qerberos").unwrap());
    let key = qerberos.trail().verifier();
    let mut published: Vec<Checkpoint> = Vec::new();
    for next in [1, 255, 256, 257, 65_535, 65_536, 65_537] {
        let size = published.last().map_or(0, |last| last.size);
        grow(&world, qerberos.trail(), size, next).await;
        let newest = Checkpoint::open(&qerberos.trail().checkpoint().await.unwrap(), key).unwrap();
        let Some(seen) = audit(&log, key, &published).await else { return };
        assert_eq!(seen.trim(), format!("{next} {}", hex(&newest.root)));
        published.push(newest);
        for index in [0, next / 2, next - 1] {
            let index = index.to_string();
            let Some(leaf) = tlog_tiles(&["get-leaf", "-c", &log, &index]).await else { return };
            let leaf: serde_json::Value = serde_json::from_str(&leaf).unwrap();
            assert_eq!((leaf["p"].as_str(), leaf["v"].as_u64()), (Some("qerberos.post"), Some(1)));
            assert_eq!(leaf["s"].as_u64().unwrap(), index.parse::<u64>().unwrap() + 1);
        }
    }
    // Their proof of the newest leaf is, byte for byte, the file we hand out.
    let page = qerberos.trail().search(qerberos_api::SearchEventsRequest::default()).await.unwrap();
    let request = GetProofRequest { id: page.events[0].id, size: None };
    let ours = as_operator(&world).call::<GetProofFile>(&request).await.unwrap().0;
    let Some(theirs) = tlog_tiles(&["gen-proof", &log, "-1"]).await else { return };
    assert_eq!(ours, theirs);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn anybody_reads_what_is_signed_and_nobody_what_is_not() {
    let mut world = World::new(Engine::Sqlite, Way::Http).await.unwrap();
    let qerberos = raise(&mut world).await;
    let nobody = world.client_as("qerberos", q_core::Caller::Anonymous);
    let status = async |path: &str| {
        let answer = nobody.send("GET", path, bytes::Bytes::new(), "").await.unwrap();
        (answer.status().as_u16(), answer.body().len())
    };
    assert_eq!(status("/log/checkpoint").await.0, 404, "nothing was signed yet");
    grow(&world, qerberos.trail(), 0, 300).await;
    let later = vec![event(&world)];
    qerberos.trail().record(later).await.unwrap();

    let policy = nobody.call::<GetPolicy>(&LogPolicyRequest {}).await.unwrap().0;
    let key: VerifierKey = policy.strip_prefix("log ").unwrap().split(' ').next().unwrap().parse().unwrap();
    assert_eq!(key.name(), "qnode.localhost:8080/qerberos/2026");
    assert!(policy.ends_with(" http://qnode.localhost:8080/qerberos/log\nquorum none\n"), "{policy}");
    let note = nobody.call::<GetCheckpoint>(&LogCheckpointRequest {}).await.unwrap().0;
    assert_eq!(Checkpoint::open(&note, &key).unwrap().size, 300);

    assert_eq!(status("/log/tile/0/000").await, (200, 8_192));
    assert_eq!(status("/log/tile/0/001.p/44").await, (200, 44 * 32));
    assert_eq!(status("/log/tile/0/001.p/3").await, (200, 3 * 32), "the tile of a smaller tree");
    assert_eq!(status("/log/tile/1/000.p/1").await, (200, 32));
    assert_eq!(status("/log/tile/entries/001.p/44").await.0, 200);
    for absent in [
        "/log/tile/0/001.p/45",
        "/log/tile/entries/001.p/45",
        "/log/tile/0/001",
        "/log/tile/2/000.p/1",
        "/log/tile/0/x000/000",
        "/log/tile/0/0",
        "/log/tile/64/000",
        "/log/tile/-1/000",
        "/log/tile/entries/",
        "/log/tile/0/..%2F000",
        "/log/tile/0/x999/x999/x999/x999/x999/999",
    ] {
        assert_eq!(status(absent).await.0, 404, "{absent}");
    }
    world.close().await;
}
