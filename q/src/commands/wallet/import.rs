//! `q wallet import`: payout files, read, signed once, executed.

use std::{fs, path::PathBuf};

use anyhow::Context as _;
use clap::Args;
use qwallet_api::{
    BatchResult, CreateImport, ExecuteImport, ExecuteImportRequest, GetImportStatus, GetWallet, Import,
    ImportPath, ImportRequest, WalletPath,
};

use crate::{cli::AsArgs, output, session::Session};

/// `q wallet import`.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// The file: pain.001, or comma-separated values with the columns recipient and amount.
    pub file: PathBuf,
    /// Sign and execute.
    #[arg(long)]
    pub execute: bool,
    /// Write what became of a pain.001 file's payments to this file, as pain.002.
    #[arg(long, value_name = "FILE")]
    pub status: Option<PathBuf>,
    /// Who pays.
    #[command(flatten)]
    pub acting: AsArgs,
}

pub async fn run(session: &Session, args: &ImportArgs) -> anyhow::Result<()> {
    let document =
        fs::read_to_string(&args.file).with_context(|| format!("{} cannot be read", args.file.display()))?;
    let client = session.client("qwallet")?;
    let own = WalletPath { squid_id: session.did().to_string() };
    let wallet = client.call::<GetWallet>(&own).await.map_err(|error| super::hint_to_open(session, error))?;
    // The key follows from the file and the day, so that looking at a file first and executing it then, or
    // trying again after a lost answer, meets the import that is already there. A day, because reports lapse.
    let (day, wallet) = (session.env.now().seconds() / 86_400, wallet.wallet_ref);
    let key = q_core::hash::sha256_of(&[b"q wallet import", &day.to_be_bytes(), document.as_bytes()]);
    let key = q_core::hash::hex(&key[..16]);
    let is_xml = document.trim_start_matches('\u{FEFF}').trim_start().starts_with('<');
    let media_type = if is_xml { "application/xml" } else { "text/csv" };
    let request = ImportRequest { wallet: Some(wallet), document };
    let report = client.clone().with_key(&key).call_with::<CreateImport>(&request, media_type).await?;
    if args.execute {
        if !args.acting.json {
            let (count, refused) = (report.count, report.refused);
            output::progress(format!("{count} payments read, {refused} would be refused; executing"));
        }
        let result = execute(session, &report, &key).await?;
        output::show(args.acting.json, &result, show_batch);
    } else {
        output::show(args.acting.json, &report, show_import);
    }
    if args.status.is_some() {
        let status = client.call::<GetImportStatus>(&ImportPath { import_id: report.import_id }).await?;
        super::write_document(args.status.as_deref(), status.0.as_bytes())?;
    }
    Ok(())
}

async fn execute(session: &Session, report: &Import, key: &str) -> anyhow::Result<BatchResult> {
    let signature = super::sign(session, report.signing_input.as_bytes());
    let request = ExecuteImportRequest { import_id: report.import_id, signature };
    Ok(session.client("qwallet")?.with_key(key).call::<ExecuteImport>(&request).await?)
}

fn show_import(report: &Import) {
    output::line(format!(
        "{} {}: {} payments, {} {} and {} fees; {} would be refused",
        report.import_id,
        report.format,
        report.count,
        report.total.as_str(),
        report.currency,
        report.fees.as_str(),
        report.refused
    ));
    for line in report.lines.iter().filter(|line| line.problem.is_some()) {
        let problem = line.problem.as_ref().map(ToString::to_string).unwrap_or_default();
        output::line(format!("  line {} {}: {problem}", line.line, line.xpath));
    }
    output::line("nothing is paid yet; repeat with --execute to sign once and pay");
}

fn show_batch(result: &BatchResult) {
    output::line(format!(
        "{}: {} of {} payments settled",
        result.batch_id,
        result.committed,
        result.results.len()
    ));
    for (at, item) in result.results.iter().enumerate() {
        if let Some(problem) = &item.problem {
            output::line(format!("  payment {}: {problem}", at + 1));
        }
    }
}
