//! `cargo xtask openapi`: the committed contracts, written from the endpoint declarations.

use crate::machine;
use anyhow::{Context as _, Result, bail};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Command;

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
    write_to(&machine::root().join("openapi"))
}

/// Refuses if the committed files are not what the code declares.
pub fn compare() -> Result<String> {
    let fresh = tempfile::tempdir()?;
    write_to(fresh.path())?;
    let committed = machine::root().join("openapi");
    let names: BTreeSet<OsString> = names_in(fresh.path())?.union(&names_in(&committed)?).cloned().collect();
    let differs =
        |name: &&OsString| fs::read(fresh.path().join(name)).ok() != fs::read(committed.join(name)).ok();
    let stale: Vec<String> =
        names.iter().filter(differs).map(|name| name.to_string_lossy().into_owned()).collect();
    if !stale.is_empty() {
        bail!(
            "not what the code declares: {} (run `cargo xtask openapi` and review the change)",
            stale.join(", ")
        );
    }
    Ok(format!("{} files as declared", names.len()))
}

fn write_to(folder: &Path) -> Result<()> {
    let q = machine::build_q(false)?;
    machine::quietly(Command::new(q).arg("openapi").arg("--out").arg(folder))
        .context("asking q for its contracts")
}

fn names_in(folder: &Path) -> Result<BTreeSet<OsString>> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let name = entry?.file_name();
        if Path::new(&name).extension().is_some_and(|extension| extension == "json") {
            names.insert(name);
        }
    }
    Ok(names)
}
