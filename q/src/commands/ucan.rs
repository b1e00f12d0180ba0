//! `q ucan`: what a token says, without believing it.

use std::{fs, io::Read as _, process::ExitCode};

use anyhow::Context as _;
use q_ucan::dag_json;

use crate::{cli::UcanArgs, output};

/// The largest input looked at.
const INPUT_BYTES_MAX: u64 = 1 << 20;

pub fn run(arguments: &UcanArgs) -> anyhow::Result<ExitCode> {
    let mut input = Vec::new();
    match &arguments.file {
        Some(path) => {
            input = fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
        }
        None => {
            std::io::stdin().take(INPUT_BYTES_MAX).read_to_end(&mut input)?;
        }
    }
    for token in dag_json::inspect(&input).context("neither a UCAN token nor a container of tokens")? {
        output::line(serde_json::to_string_pretty(&token)?);
    }
    Ok(ExitCode::SUCCESS)
}
