//! Oracles: PyPI `did-webvh` and npm `didwebvh-ts` read our logs; we read those of `didwebvh-ts`.

use std::{path::Path, process::Command};

use q_core::{Env, Timestamp};
use q_did::{Keyring, Log, Policy, Rule};
use serde_json::Value;

use crate::support::{HOST, bench};

/// A log with one entry of every kind: genesis, rotation, move, recovery, and deactivation if asked for.
fn long_log(is_deactivated: bool) -> Log {
    let (bench, env) = bench();
    let (keyring, mut log, phrase) = Keyring::create(HOST, &env).unwrap();
    let accept = |log: &mut Log, entry| {
        log.append(entry, env.now(), Policy::House).unwrap();
        bench.advance(3_600);
    };
    let (keyring, entry) = keyring.rotate(&log, None, &env).unwrap();
    accept(&mut log, entry);
    let (_, entry) = keyring.rotate(&log, Some("node.example"), &env).unwrap();
    accept(&mut log, entry);
    let (keyring, entry, _) = Keyring::recover(&log, &phrase, &env).unwrap();
    accept(&mut log, entry);
    if is_deactivated {
        let entry = keyring.deactivate(&log, &env).unwrap();
        accept(&mut log, entry);
    }
    log
}

/// What a foreign program answers about a log, or its complaint; nothing where it is not installed.
type Answer = Option<Result<Value, String>>;

fn python(file: &Path, did: &str) -> Answer {
    let mut python = q_oracle::python("PyPI did-webvh")?;
    Some(read(python.args(["-m", "did_webvh.resolver", "-f"]).arg(file).arg(did)))
}

fn node(mode: &str, file: &Path) -> Answer {
    let mut script = q_oracle::script("npm didwebvh-ts", env!("CARGO_MANIFEST_DIR"), "webvh.mjs")?;
    Some(read(script.arg(mode).arg(file)))
}

fn read(command: &mut Command) -> Result<Value, String> {
    q_oracle::ask(command, "").map(|answer| serde_json::from_slice(&answer).unwrap())
}

#[test]
fn the_python_resolver_reads_our_logs() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("did.jsonl");
    for is_deactivated in [false, true] {
        let log = long_log(is_deactivated);
        std::fs::write(&file, log.to_text()).unwrap();
        let Some(resolved) = python(&file, &log.head().id) else { return };
        let resolved = resolved.unwrap();
        let metadata = &resolved["didDocumentMetadata"];
        assert_eq!(metadata["versionId"], log.head().version_id.as_str(), "{resolved}");
        assert_eq!(metadata["deactivated"], is_deactivated);
        assert_eq!(metadata["scid"], log.head().scid.as_str());
        let method = log.document().value().get("verificationMethod");
        assert_eq!(resolved["didDocument"].get("verificationMethod"), method);

        // It is a judge and not a rubber stamp: one changed character and it refuses.
        std::fs::write(&file, log.to_text().replacen("node.example", "zode.example", 1)).unwrap();
        let refused = python(&file, &log.head().id).unwrap().unwrap();
        assert_eq!(refused["didResolutionMetadata"]["error"], "invalidDid", "{refused}");
    }
}

#[test]
fn the_typescript_resolver_reads_our_logs() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("did.jsonl");
    for is_deactivated in [false, true] {
        let log = long_log(is_deactivated);
        std::fs::write(&file, log.to_text()).unwrap();
        let Some(resolved) = node("resolve", &file) else { return };
        let resolved = resolved.unwrap();
        assert_eq!(resolved["versionId"], log.head().version_id.as_str(), "{resolved}");
        assert_eq!(resolved["did"], log.head().id.as_str());
        assert_eq!(resolved["deactivated"], is_deactivated);
        if !is_deactivated {
            let method = &log.document().value()["verificationMethod"];
            assert_eq!(&resolved["doc"]["verificationMethod"], method);
        }

        std::fs::write(&file, log.to_text().replacen("node.example", "zode.example", 1)).unwrap();
        assert!(node("resolve", &file).unwrap().is_err());
    }
}

#[test]
fn we_read_the_logs_of_the_typescript_library() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("did.jsonl");
    for (mode, is_deactivated) in [("write", false), ("write-deactivated", true)] {
        let Some(written) = node(mode, &file) else { return };
        let written = written.unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        let now = Env::system().now();
        let log = Log::verify(&text, now, Policy::WebVh).unwrap();
        assert_eq!(written["versionId"], log.head().version_id.as_str());
        assert_eq!(written["did"], log.head().id.as_str());
        assert_eq!(log.head().deactivated, is_deactivated);
        assert_eq!(log.to_text().lines().count(), text.lines().count());
        assert!(log.head().portable);

        // The first two entries also keep the rules of this house, so such an identity can register here.
        let first_two: Vec<&str> = text.lines().take(2).collect();
        let log = Log::verify(&first_two.join("\n"), now, Policy::House).unwrap();
        assert_eq!(log.head().version, 2);

        // Every single character matters.
        let bent = text.replacen("\"updateKeys\":[\"z6Mk", "\"updateKeys\":[\"z6Mj", 1);
        let refused = Log::verify(&bent, now, Policy::WebVh).unwrap_err();
        assert!(matches!(refused.rule, Rule::ScidMismatch | Rule::UpdateKeyMalformed), "{refused}");
        let early = Timestamp::from_seconds(1_700_000_000);
        assert_eq!(Log::verify(&text, early, Policy::WebVh).unwrap_err().rule, Rule::VersionTimeFuture);
    }
}
