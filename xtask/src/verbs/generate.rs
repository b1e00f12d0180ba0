//! `cargo xtask generate`: what is committed and written by the program itself, so that a change of it is reviewed.

use crate::machine;
use anyhow::{Context as _, Result, bail};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Folders of the repository, and the verb of `q` that writes each.
const GENERATED: [(&str, &[&str]); 2] =
    [("openapi", &["openapi", "--out"]), ("docs/runbooks", &["runbook", "render", "--out"])];

/// Whether to write or to compare.
#[derive(clap::Args)]
pub struct Args {
    /// Compare only: refuse if a committed file differs from what the code declares
    #[arg(long)]
    check: bool,
}

/// Writes the files, or compares them.
pub fn run(args: &Args) -> Result<()> {
    if args.check {
        return compare().map(|note| println!("{note}"));
    }
    GENERATED.iter().try_for_each(|(folder, verb)| write_to(&machine::root().join(folder), verb))
}

/// Refuses if the committed files are not what the code declares.
pub fn compare() -> Result<String> {
    let (mut count, mut stale) = (0, Vec::new());
    for (folder, verb) in GENERATED {
        let fresh = tempfile::tempdir()?;
        write_to(fresh.path(), verb)?;
        let committed = machine::root().join(folder);
        let names: BTreeSet<OsString> =
            names_in(fresh.path())?.union(&names_in(&committed)?).cloned().collect();
        let differs =
            |name: &&OsString| fs::read(fresh.path().join(name)).ok() != fs::read(committed.join(name)).ok();
        stale.extend(names.iter().filter(differs).map(|name| format!("{folder}/{}", name.to_string_lossy())));
        count += names.len();
    }
    if !stale.is_empty() {
        bail!(
            "not what the code declares: {} (run `cargo xtask generate` and review the change)",
            stale.join(", ")
        );
    }
    Ok(format!("{count} files as declared"))
}

fn write_to(folder: &Path, verb: &[&str]) -> Result<()> {
    let q = machine::build_q(false)?;
    machine::quietly(Command::new(q).args(verb).arg(folder)).context("asking q for what it generates")
}

fn names_in(folder: &Path) -> Result<BTreeSet<OsString>> {
    let entries = fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    entries.map(|entry| Ok(entry?.file_name())).collect()
}
