//! `q wallet note`: writes beside a transaction, for ever.

use clap::Args;
use qwallet_api::{AddNote, AddNoteRequest};

use crate::{
    cli::AsArgs,
    output::{self, usage},
    session::Session,
};

/// `q wallet note`.
#[derive(Debug, Args)]
pub struct NoteArgs {
    /// The transaction id.
    pub transaction: String,
    /// For people, at most 2,000 characters.
    #[arg(required_unless_present = "json_data")]
    pub text: Option<String>,
    /// For programs: JSON of at most 8 KiB.
    #[arg(long, value_name = "JSON")]
    pub json_data: Option<String>,
    /// Who writes: one of the parties.
    #[command(flatten)]
    pub acting: AsArgs,
}

pub async fn run(session: &Session, args: &NoteArgs) -> anyhow::Result<()> {
    let transaction_id = args.transaction.parse().map_err(|error| {
        usage(format!(
            "{:?} is not a transaction id: {error}; `q wallet history` lists them",
            args.transaction
        ))
    })?;
    let data = args.json_data.as_deref().map(serde_json::from_str).transpose();
    let data = data.map_err(|error| usage(format!("--json-data is not JSON: {error}")))?;
    let request = AddNoteRequest { transaction_id, text: args.text.clone(), data };
    let note = session.client("qwallet")?.with_key(session.fresh_key()).call::<AddNote>(&request).await?;
    output::show(args.acting.json, &note, |note| {
        output::line(format!("note {} beside {transaction_id}", note.number));
    });
    Ok(())
}
