//! Changes of an identity's keys: rotation and recovery, each finished by a later command when it was cut off.
//!
//! **Invariant:** the new keys are on disk before the instance hears of them, and the old ones until it has confirmed.

use std::{
    fs,
    io::{ErrorKind, Read as _},
    sync::Arc,
};

use anyhow::Context as _;
use q_contract::{CallError, Client, HttpTransport};
use q_core::{Did, Env};
use q_did::{Keyring, Log, Policy, RecoveryPhrase};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use squid_api::{
    AppendLog, AppendLogRequest, GetLog, LogRequest,
    errors::{SQUID_IDENTITY_NOT_FOUND, SQUID_LOG_CONFLICT, SQUID_LOG_INVALID},
};

use crate::{
    layout::{Layout, write_private},
    output::{self, usage},
    running::{self, Running},
    session::require_running,
};

/// More than 24 words of any length, so that a wrong file is not read to its end.
const PHRASE_BYTES_MAX: u64 = 4096;

/// A change that was begun: what the keyring will be, and the entry that makes it so.
#[derive(Serialize, Deserialize)]
struct Change {
    keyring: Keyring,
    entry: Value,
    /// The new words after a recovery, until they were shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    phrase: Option<String>,
}

/// Replaces the current key of `name` by the next one.
pub async fn rotate(layout: &Layout, name: &str) -> anyhow::Result<()> {
    let squid = squid(&require_running(layout)?)?;
    let (held, env) = (layout.read_keyring(name)?, Env::system());
    let log = log(&squid, &held.did, &env).await?;
    let (keyring, entry) = held.rotate(&log, None, &env)?;
    let key_id = keyring.key_id();
    let change = Change { keyring, entry: serde_json::to_value(&entry)?, phrase: None };
    let version = make(layout, &squid, name, &change).await?;
    done(layout, name);
    output::line(format!("{name} now signs with {key_id}; log at {version}"));
    Ok(())
}

/// Takes the identity back with the words on standard input.
pub async fn recover(layout: &Layout, name: &str, did: Option<&Did>, as_json: bool) -> anyhow::Result<()> {
    let squid = squid(&require_running(layout)?)?;
    let held = if layout.keyring(name).exists() { Some(layout.read_keyring(name)?.did) } else { None };
    let did = match (did, held) {
        (Some(did), Some(held)) if *did != held => {
            return Err(usage(format!("{name} is {held} in this keyring; choose another name for {did}")));
        }
        (Some(did), _) => did.clone(),
        (None, Some(held)) => held,
        (None, None) => {
            return Err(usage(format!("{name} is not in the keyring; say which identity: --did DID")));
        }
    };
    let phrase = read_phrase()?;
    let env = Env::system();
    let log = log(&squid, &did, &env).await?;
    let (keyring, entry, phrase) = Keyring::recover(&log, &phrase, &env).with_context(|| {
        format!("these words do not take back {did}: perhaps they are another identity's, or old")
    })?;
    let words = phrase.words().to_string();
    // The old words are used up as soon as the entry is accepted.
    let change = Change { keyring, entry: serde_json::to_value(&entry)?, phrase: Some(words.clone()) };
    make(layout, &squid, name, &change).await?;
    let recovered = json!({"name": name, "did": did, "recoveryPhrase": words});
    output::show(as_json, &recovered, |_| {
        output::line(format!("{name} is {did} again"));
        output::line(format!("keys    {}", layout.keyring(name).display()));
        output::line("the old recovery phrase is used up; the new one, shown only now:");
        output::line(format!("\n  {words}\n"));
    });
    done(layout, name);
    Ok(())
}

/// Finishes the changes that earlier commands began, so that nobody acts with keys that hold no longer.
pub async fn finish_all(layout: &Layout) -> anyhow::Result<()> {
    let names = layout.changes();
    if names.is_empty() {
        return Ok(());
    }
    let Some(running) = running::find(layout)? else { return Ok(()) };
    for name in names {
        let place = layout.change(&name);
        let text = match fs::read(&place) {
            // Another command has just finished it.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            read => read?,
        };
        let change: Change =
            serde_json::from_slice(&text).with_context(|| format!("{} is damaged", place.display()))?;
        match hand_in(layout, &squid(&running)?, &name, &change).await {
            Ok(version) => {
                output::progress(format!(
                    "finished the change of keys of {name} that was cut off; log at {version}"
                ));
                if let Some(words) = &change.phrase {
                    let text = "the new recovery phrase, shown only now";
                    output::progress(format!("{text}:\n\n  {words}\n"));
                }
                done(layout, &name);
            }
            // Its keys will never hold.
            Err(error) if is_final(&error) => {
                output::progress(format!(
                    "the change of keys of {name} that was cut off was not accepted: {error}"
                ));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Keeps the change, hands it in and adopts its keyring.
async fn make(layout: &Layout, squid: &Client, name: &str, change: &Change) -> anyhow::Result<String> {
    write_private(&layout.change(name), &serde_json::to_vec_pretty(change)?)?;
    Ok(hand_in(layout, squid, name, change).await?)
}

/// Nothing of the change is left to do or to say. Another command may have finished it at the same time.
fn done(layout: &Layout, name: &str) {
    let _ = fs::remove_file(layout.change(name));
}

/// Has the entry accepted, which squid answers alike however often it is asked, and adopts the keyring. A change that
/// is refused is let go of: the log has moved on without it.
async fn hand_in(layout: &Layout, squid: &Client, name: &str, change: &Change) -> Result<String, CallError> {
    let request =
        AppendLogRequest { did: change.keyring.did.clone(), entry: change.entry.clone(), compromised: false };
    let kept = |error: anyhow::Error| CallError::NotReadable(format!("{error:#}"));
    let head = match squid.call::<AppendLog>(&request).await {
        Ok(head) => head,
        Err(error) => {
            if is_final(&error) {
                done(layout, name);
            }
            return Err(error);
        }
    };
    // First the log, which proves the keys that are used from then on.
    if layout.genesis(name).exists() {
        let request = LogRequest { scid: change.keyring.did.specific_id().to_owned() };
        let text = squid.call::<GetLog>(&request).await?.0;
        write_private(&layout.genesis(name), text.as_bytes()).map_err(kept)?;
    }
    layout.write_keyring(name, &change.keyring).map_err(kept)?;
    Ok(head.version_id)
}

/// Whether the entry was judged and refused. An answer such as "too many requests" says nothing about it.
fn is_final(error: &CallError) -> bool {
    let verdicts = [&SQUID_LOG_CONFLICT, &SQUID_LOG_INVALID, &SQUID_IDENTITY_NOT_FOUND];
    error.problem().is_some_and(|problem| verdicts.iter().any(|code| problem.is(code)))
}

pub(super) async fn log(squid: &Client, did: &Did, env: &Env) -> anyhow::Result<Log> {
    let request = LogRequest { scid: did.specific_id().to_owned() };
    let text = squid.call::<GetLog>(&request).await?.0;
    Ok(Log::verify(&text, env.now(), Policy::House)?)
}

fn squid(running: &Running) -> anyhow::Result<Client> {
    let squid = running.modules.get("squid").context("the instance runs without squid")?;
    Ok(Client::new(Arc::new(HttpTransport::new(squid))))
}

fn read_phrase() -> anyhow::Result<RecoveryPhrase> {
    output::progress("the 24 words of the recovery phrase, on standard input:");
    let mut words = String::new();
    std::io::stdin().take(PHRASE_BYTES_MAX).read_to_string(&mut words)?;
    let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
    RecoveryPhrase::parse(&words).map_err(usage)
}
