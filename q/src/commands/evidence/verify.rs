//! `q evidence verify`: is the archive what was collected, and who says so.

use std::{collections::BTreeMap, fs::File, io::Read as _, path::Path, process::ExitCode};

use anyhow::Context as _;
use q_core::Env;
use serde_json::json;

use super::{MANIFEST, MANIFEST_TYP, Manifest, SIGNATURE, SIGNER, custody, hash_of, sha256_of};
use crate::{
    cli::{AsArgs, Cli},
    output::{self, exit},
    session::Session,
};

/// The longest of the members that are read whole.
const SMALL_BYTES_MAX: u64 = 16 << 20;

/// What an archive was found to be.
pub struct Checked {
    /// Its manifest, if it could be read.
    pub manifest: Option<Manifest>,
    /// What is wrong; empty when it is sound.
    pub findings: Vec<String>,
}

pub async fn run(cli: &Cli, file: &Path, record: bool, acting: &AsArgs) -> anyhow::Result<ExitCode> {
    let env = Env::system();
    let is_sealed = file.extension().is_some_and(|kind| kind == "age");
    let mut checked =
        if is_sealed { Checked { manifest: None, findings: Vec::new() } } else { check(file, env.now())? };
    let archive_sha256 = sha256_of(file)?;
    // The archive says by itself what was collected, and the chain beside it who had it since. An encrypted one says
    // nothing without the chain.
    let chain_file = custody::path(file);
    let has_chain = is_sealed || chain_file.exists();
    let chain = if has_chain { custody::read(file, env.now()) } else { Ok(Vec::new()) };
    let entries = match chain {
        Ok(entries) if !has_chain => entries,
        Ok(entries) => {
            // The collection says what the archive is, encrypted and decrypted; whoever had it later had the same.
            let first = entries.first();
            let is_known = |sha256: &str| first.is_some_and(|first| first.is_about(sha256));
            let other = entries.iter().find(|entry| !is_known(&entry.archive_sha256));
            if let Some(entry) = other.or_else(|| first.filter(|_| !is_known(&archive_sha256))) {
                let what =
                    format!("the archive is another one than in entry {} of the chain of custody", entry.seq);
                checked.findings.push(what);
            }
            if entries.first().is_none_or(|first| first.action != "collected") {
                checked.findings.push("the chain of custody does not begin with the collection".to_owned());
            }
            entries
        }
        Err(error) => {
            checked.findings.push(format!("chain of custody: {error:#}"));
            Vec::new()
        }
    };
    let is_sound = checked.findings.is_empty();
    if record && is_sound {
        let session = Session::open(&cli.data, &acting.name)?;
        custody::append(&session, file, custody::Act { action: "verified", ..custody::Act::default() })
            .await?;
    }
    let report = json!({
        "file": file, "sha256": archive_sha256, "isSound": is_sound, "findings": checked.findings,
        "manifest": checked.manifest, "custody": has_chain.then_some(&entries),
    });
    output::show(acting.json, &report, |_| {
        output::line(format!(
            "{}: {}",
            file.display(),
            if is_sound { "sound" } else { "NOT what was collected" }
        ));
        output::line(format!("SHA-256 {archive_sha256}"));
        if let Some(manifest) = &checked.manifest {
            output::line(format!(
                "{} files, collected by {} at {}",
                manifest.files.len(),
                manifest.collected_by,
                manifest.collected_at
            ));
            for what in &manifest.missing {
                output::line(format!("not secured: {what}"));
            }
        }
        if is_sealed {
            output::line("encrypted: its content is checked after `age --decrypt`, with the same command");
        }
        if !has_chain {
            output::line(format!("who had it since is not known: {} is not beside it", chain_file.display()));
        }
        for entry in &entries {
            let to = entry.to.as_deref().map(|to| format!(" to {to}")).unwrap_or_default();
            output::line(format!("  {}. {}{to}  {}  {}", entry.seq, entry.action, entry.at, entry.by));
        }
        for finding in &checked.findings {
            output::line(format!("FOUND {finding}"));
        }
    });
    Ok(if is_sound { ExitCode::SUCCESS } else { ExitCode::from(exit::FINDINGS) })
}

/// Reads an archive from its first byte to its last.
pub fn check(file: &Path, now: q_core::Timestamp) -> anyhow::Result<Checked> {
    let source = File::open(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let mut archive = tar::Archive::new(std::io::BufReader::new(source));
    let mut found: BTreeMap<String, (u64, String)> = BTreeMap::new();
    let mut small: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut findings = Vec::new();
    for member in archive.entries().context("not a tar file")? {
        let read = (|| -> anyhow::Result<()> {
            let mut member = member?;
            let name = member.path()?.to_string_lossy().into_owned();
            if [MANIFEST, SIGNATURE, SIGNER].contains(&name.as_str()) {
                let mut bytes = Vec::new();
                member.by_ref().take(SMALL_BYTES_MAX).read_to_end(&mut bytes)?;
                anyhow::ensure!(small.insert(name.clone(), bytes).is_none(), "{name} is there twice");
                return Ok(());
            }
            let hashed = hash_of(&mut member)?;
            anyhow::ensure!(found.insert(name.clone(), hashed).is_none(), "{name} is there twice");
            Ok(())
        })();
        if let Err(error) = read {
            findings.push(format!("the archive cannot be read to its end: {error:#}"));
            break;
        }
    }
    let manifest = manifest(&small, now).map_err(|error| findings.push(format!("{error:#}"))).ok();
    if let Some(manifest) = &manifest {
        for member in &manifest.files {
            match found.remove(&member.path) {
                None => findings.push(format!("{} is missing", member.path)),
                Some((bytes, sha256)) if bytes != member.bytes || sha256 != member.sha256 => {
                    findings.push(format!("{} is not what was collected", member.path));
                }
                Some(_) => {}
            }
        }
        findings.extend(found.keys().map(|path| format!("{path} was added")));
    }
    Ok(Checked { manifest, findings })
}

/// The manifest, if its collector signed it.
fn manifest(small: &BTreeMap<String, Vec<u8>>, now: q_core::Timestamp) -> anyhow::Result<Manifest> {
    let text = |name: &str| -> anyhow::Result<String> {
        let bytes = small.get(name).with_context(|| format!("there is no {name}"))?;
        String::from_utf8(bytes.clone()).with_context(|| format!("{name} is no text"))
    };
    let written = text(MANIFEST)?;
    let (by, payload) = custody::signed(text(SIGNATURE)?.trim(), MANIFEST_TYP, &text(SIGNER)?, now)
        .context("the signature over the manifest")?;
    anyhow::ensure!(payload == written.as_bytes(), "the manifest is not the one that was signed");
    let manifest: Manifest = serde_json::from_str(&written).context("the manifest cannot be read")?;
    let same = q_did::scid_of(&manifest.collected_by).ok() == q_did::scid_of(&by).ok();
    anyhow::ensure!(same, "the manifest names another collector than its signature");
    Ok(manifest)
}
