//! `q wallet export`: the whole books for somebody else's program.

use std::path::PathBuf;

use clap::Args;
use qwallet_api::{ExportLedger, ExportRequest};

use crate::{cli::AsArgs, session::Session};

/// `q wallet export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// hledger, ledger, beancount, or ndjson.
    #[arg(value_name = "FORMAT")]
    pub written: Option<String>,
    /// The same.
    #[arg(long, conflicts_with = "written")]
    pub format: Option<String>,
    /// Write it to this file.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Who asks: an operator.
    #[command(flatten)]
    pub acting: AsArgs,
}

pub async fn run(session: &Session, args: &ExportArgs) -> anyhow::Result<()> {
    let format = args.written.as_ref().or(args.format.as_ref());
    let request = ExportRequest { format: format.map_or("hledger", String::as_str).to_owned() };
    let books = session.client("qwallet")?.call::<ExportLedger>(&request).await?;
    super::write_document(args.out.as_deref(), books.0.as_bytes())
}
