//! The chain of custody: who had the archive when, and what it hashed to.
//!
//! One line of JSON each: the signed entry, and the identity log of its signer, from which the signature is checked.
//! Each entry holds the hash of the line before it.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use q_core::{Did, Timestamp, hash};
use q_did::{Log, Policy, multikey_of};
use q_jose::jws;
use serde::{Deserialize, Serialize};
use squid_api::{GetLog, LogRequest};

use super::sha256_of;
use crate::{
    cli::{AsArgs, Cli},
    output,
    session::Session,
};

/// The JOSE type of an entry's signature.
const CUSTODY_TYP: &str = "q-custody+jws";
/// The longest entry, in bytes.
const ENTRY_BYTES_MAX: usize = 64 << 10;

/// What happened to an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Entry {
    /// What: `collected`, `verified` or `handed over`.
    pub action: String,
    /// SHA-256 of the archive at that moment.
    pub archive_sha256: String,
    /// When, by the signer's clock.
    pub at: Timestamp,
    /// Who.
    pub by: Did,
    /// SHA-256 of what the archive holds once it is decrypted; absent where it was never encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_sha256: Option<String>,
    /// In words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// SHA-256 of the line before this one; empty for the first.
    pub previous: String,
    /// Its place, from 1.
    pub seq: u64,
    /// To whom it went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    entry: String,
    signer: String,
}

impl Entry {
    /// Whether a file with this hash is what the entry is about, encrypted or decrypted.
    pub fn is_about(&self, sha256: &str) -> bool {
        self.archive_sha256 == sha256 || self.content_sha256.as_deref() == Some(sha256)
    }
}

/// What is written into the chain.
#[derive(Debug, Clone, Default)]
pub struct Act<'a> {
    /// What: `collected`, `verified` or `handed over`.
    pub action: &'a str,
    /// To whom it went.
    pub to: Option<&'a str>,
    /// In words.
    pub note: &'a str,
    /// The hash of the content, where the archive is encrypted.
    pub content_sha256: Option<String>,
}

/// The file of the chain beside `archive`.
pub fn path(archive: &Path) -> PathBuf {
    let mut name = archive.as_os_str().to_owned();
    name.push(".custody.jsonl");
    name.into()
}

/// The identity log of whoever acts, as squid serves it.
pub async fn signer_log(session: &Session) -> anyhow::Result<String> {
    let scid = q_did::scid_of(session.did()).map_err(|_| anyhow::anyhow!("{} has no log", session.did()))?;
    Ok(session.anonymous("squid")?.call::<GetLog>(&LogRequest { scid }).await?.0)
}

/// The identity behind a compact JWS of type `typ`, checked against `log`, the signer's own; and what it signed.
///
/// A key that the log has replaced since counts: what was signed with it stays signed.
pub fn signed(jws: &str, typ: &str, log: &str, now: Timestamp) -> anyhow::Result<(Did, Vec<u8>)> {
    let parsed = jws::Parsed::parse(jws, 4 << 20).map_err(|_| anyhow::anyhow!("not a compact EdDSA JWS"))?;
    anyhow::ensure!(parsed.header.typ.as_deref() == Some(typ), "signed as something else than {typ}");
    let kid = parsed.header.kid.clone().context("the signature names no key")?;
    let (did, key) = multikey_of(&kid).context("the signature's key id names no key")?;
    let log = Log::verify(log, now, Policy::House)
        .map_err(|refused| anyhow::anyhow!("the signer's identity log does not hold: {refused}"))?;
    let scid = q_did::scid_of(&did).map_err(|_| anyhow::anyhow!("{did} has no log"))?;
    anyhow::ensure!(log.head().scid == scid, "the identity log is not that of {did}");
    let is_held = log.entries().iter().any(|entry| {
        let methods = q_did::Document::new(&entry.state).verification_methods();
        methods.iter().any(|method| method.is_authentication && method.key == key)
    });
    anyhow::ensure!(is_held, "{did} has never held the key that signed");
    let payload = parsed.unverified_payload().to_vec();
    parsed.verify(&key).map_err(|_| anyhow::anyhow!("the signature does not hold"))?;
    Ok((Did::squid(&scid).map_err(|_| anyhow::anyhow!("{did} has no log"))?, payload))
}

/// Adds a signed line to the chain of `archive`.
pub async fn append(session: &Session, archive: &Path, act: Act<'_>) -> anyhow::Result<Entry> {
    let chain = path(archive);
    let before = match fs::read_to_string(&chain) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error).with_context(|| format!("{} cannot be read", chain.display())),
    };
    let previous =
        before.lines().last().map(|line| hash::hex(&hash::sha256(line.as_bytes()))).unwrap_or_default();
    let entry = Entry {
        action: act.action.to_owned(),
        archive_sha256: sha256_of(archive)?,
        at: session.env.now(),
        by: session.did().clone(),
        content_sha256: act.content_sha256,
        note: act.note.to_owned(),
        previous,
        seq: before.lines().count() as u64 + 1,
        to: act.to.map(str::to_owned),
    };
    let header = jws::Header::typ(CUSTODY_TYP).kid(session.keyring.key_id());
    let signature = jws::sign(&header, &serde_json::to_vec(&entry)?, &session.keyring.current);
    let line = serde_json::to_string(&Line { entry: signature, signer: signer_log(session).await? })?;
    let mut file = fs::OpenOptions::new().append(true).create(true).open(&chain)?;
    writeln!(file, "{line}")?;
    file.sync_all()?;
    Ok(entry)
}

/// Every entry of the chain, oldest first; an error names the first line that does not hold.
pub fn read(archive: &Path, now: Timestamp) -> anyhow::Result<Vec<Entry>> {
    let chain = path(archive);
    let text = fs::read_to_string(&chain).with_context(|| format!("{} cannot be read", chain.display()))?;
    let (mut entries, mut previous) = (Vec::new(), String::new());
    for (number, text) in (1_u64..).zip(text.lines()) {
        let entry = (|| -> anyhow::Result<Entry> {
            anyhow::ensure!(text.len() <= 4 << 20, "the line is too long");
            let line: Line = serde_json::from_str(text)?;
            anyhow::ensure!(line.entry.len() <= ENTRY_BYTES_MAX, "the entry is too long");
            let (by, payload) = signed(&line.entry, CUSTODY_TYP, &line.signer, now)?;
            let entry: Entry = serde_json::from_slice(&payload)?;
            anyhow::ensure!(
                q_did::scid_of(&entry.by).ok() == q_did::scid_of(&by).ok(),
                "signed by another than it says"
            );
            anyhow::ensure!(
                entry.seq == number && entry.previous == previous,
                "it does not follow the line before it"
            );
            Ok(entry)
        })();
        entries.push(entry.with_context(|| format!("line {number} of {}", chain.display()))?);
        previous = hash::hex(&hash::sha256(text.as_bytes()));
    }
    Ok(entries)
}

/// `q evidence handover`.
pub async fn hand_over(
    cli: &Cli,
    archive: &Path,
    to: &str,
    note: &str,
    acting: &AsArgs,
) -> anyhow::Result<ExitCode> {
    let session = Session::open(&cli.data, &acting.name)?;
    // Nobody signs for an archive that is not what was collected.
    let entries = read(archive, session.env.now())?;
    let collected = entries.first().context("the chain of custody is empty")?;
    anyhow::ensure!(
        collected.is_about(&sha256_of(archive)?),
        "the archive is not what was collected; `q evidence verify` says more"
    );
    let entry =
        append(&session, archive, Act { action: "handed over", to: Some(to), note, ..Act::default() })
            .await?;
    output::show(acting.json, &entry, |entry| {
        output::line(format!("entry {} of the chain of custody: handed over to {to}", entry.seq));
    });
    Ok(ExitCode::SUCCESS)
}
