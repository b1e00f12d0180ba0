//! `q evidence`: secure what an incident left behind, so that strangers can check later that nobody changed it.
//!
//! An archive is a plain tar file. Its last members are `manifest.json`, which lists every other member with its hash,
//! `manifest.jws`, the collector's signature over the manifest, and `signer.jsonl`, the collector's own identity log,
//! from which their keys are verified without asking anybody. Beside it lies the chain of custody: one signed line for
//! every collection, check and handover.
//!
//! **Invariant:** checking needs the files and nothing else: no instance, no network.

mod collect;
mod custody;
mod log_copy;
mod verify;

use std::{
    io::Read,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use aws_lc_rs::digest;
use clap::{Args, Subcommand};
use q_core::{Did, Timestamp, hash};
use serde::{Deserialize, Serialize};

use crate::{
    cli::{AsArgs, Cli},
    output::usage,
};

/// The JOSE type of the signature over a manifest.
const MANIFEST_TYP: &str = "q-evidence+jws";
const MANIFEST: &str = "manifest.json";
const SIGNATURE: &str = "manifest.jws";
const SIGNER: &str = "signer.jsonl";

/// `q evidence`.
#[derive(Debug, Args)]
pub struct EvidenceArgs {
    /// What to do.
    #[command(subcommand)]
    pub verb: EvidenceVerb,
}

/// What `q evidence` can do.
#[derive(Debug, Subcommand)]
pub enum EvidenceVerb {
    /// Secure logs, stores, audit proofs, states of processes and settings in one signed archive.
    Collect {
        /// The incident it is about, or `latest`; noted on its timeline, and its span decides which audit events are proved.
        #[arg(long, value_name = "ID")]
        incident: Option<String>,
        /// The folder to write into.
        #[arg(long, value_name = "FOLDER")]
        to: PathBuf,
        /// Encrypt the archive to this age recipient (age1…); without it the archive holds what the stores hold, readable.
        #[arg(long, value_name = "RECIPIENT")]
        encrypt_to: Option<String>,
        /// From when on audit events are proved when no incident is named: a time ago, such as 24h.
        #[arg(long, default_value = "24h", value_name = "TIME")]
        since: String,
        /// Who collects and signs.
        #[command(flatten)]
        acting: AsArgs,
    },
    /// Check an archive and its chain of custody; needs no instance.
    Verify {
        /// The archive, or the folder of `--to` where it is the only one in it.
        file: PathBuf,
        /// Add a signed line to the chain of custody that says who checked; needs the running instance.
        #[arg(long)]
        record: bool,
        /// Who checks.
        #[command(flatten)]
        acting: AsArgs,
    },
    /// Write into the chain of custody that the archive went to somebody.
    Handover {
        /// The archive, or the folder of `--to` where it is the only one in it.
        file: PathBuf,
        /// To whom: a name, an office, a case number.
        #[arg(long)]
        to: String,
        /// Further words.
        #[arg(long, default_value = "")]
        note: String,
        /// Who hands it over and signs.
        #[command(flatten)]
        acting: AsArgs,
    },
}

/// What an archive holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Manifest {
    /// The version of this form, 1.
    pub v: u8,
    /// The instance.
    pub instance: Did,
    /// Who collected it.
    pub collected_by: Did,
    /// When it was begun.
    pub collected_at: Timestamp,
    /// The incident.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident: Option<String>,
    /// What could not be secured, and why.
    pub missing: Vec<String>,
    /// Every member but the last three, in the order of the archive.
    pub files: Vec<Member>,
}

/// One member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Member {
    /// Its path.
    pub path: String,
    /// Its length.
    pub bytes: u64,
    /// SHA-256 in hexadecimal.
    pub sha256: String,
}

pub async fn run(cli: &Cli, arguments: &EvidenceArgs) -> anyhow::Result<ExitCode> {
    match &arguments.verb {
        EvidenceVerb::Collect { incident, to, encrypt_to, since, acting } => {
            let asked = collect::Asked {
                incident: incident.as_deref(),
                to,
                encrypt_to: encrypt_to.as_deref(),
                since: crate::commands::incident::span(since)?,
            };
            collect::run(cli, &asked, acting).await
        }
        EvidenceVerb::Verify { file, record, acting } => {
            verify::run(cli, &archive_at(file)?, *record, acting).await
        }
        EvidenceVerb::Handover { file, to, note, acting } => {
            custody::hand_over(cli, &archive_at(file)?, to, note, acting).await
        }
    }
}

/// The archive that is named, or the only one in the folder that is.
fn archive_at(path: &Path) -> anyhow::Result<PathBuf> {
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    let mut found = Vec::new();
    for file in path.read_dir().with_context(|| format!("{} cannot be read", path.display()))? {
        let file = file?.path();
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("evidence-") && (name.ends_with(".tar") || name.ends_with(".tar.age")) {
            found.push(file);
        }
    }
    found.sort();
    match found.as_slice() {
        [only] => Ok(only.clone()),
        [] => Err(usage(format!("no archive of `q evidence collect` is in {}", path.display()))),
        several => {
            let names: Vec<String> = several.iter().map(|file| file.display().to_string()).collect();
            Err(usage(format!("{} holds several archives; name one: {}", path.display(), names.join(", "))))
        }
    }
}

/// SHA-256 of a file, in hexadecimal.
fn sha256_of(path: &Path) -> anyhow::Result<String> {
    let file = std::fs::File::open(path).with_context(|| format!("{} cannot be read", path.display()))?;
    Ok(hash_of(file)?.1)
}

/// Length and SHA-256 of whatever is read.
fn hash_of(mut source: impl Read) -> std::io::Result<(u64, String)> {
    let mut context = digest::Context::new(&digest::SHA256);
    let (mut bytes, mut buffer) = (0_u64, vec![0; 1 << 16]);
    loop {
        let count = source.read(&mut buffer)?;
        if count == 0 {
            return Ok((bytes, hash::hex(context.finish().as_ref())));
        }
        context.update(&buffer[..count]);
        bytes += count as u64;
    }
}
