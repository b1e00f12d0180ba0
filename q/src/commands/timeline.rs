//! Writing on open incidents what a verb did.

use q_ops_api::incidents::{AddToOpen, AddToOpenRequest, EntryKind, IncidentId};
use serde_json::Value;

use crate::{
    layout::{Layout, OPERATOR},
    output,
    session::Session,
};

/// Writes on every open incident what was done. A desk that does not answer is said, and is no failure.
pub async fn note(session: &Session, kind: EntryKind, text: &str, details: &Value) -> Vec<IncidentId> {
    match try_note(session, kind, text, details).await {
        Ok(incidents) => incidents,
        Err(error) => {
            output::progress(format!("done, but not written on any incident: {error:#}"));
            Vec::new()
        }
    }
}

/// Like [`note`] as the operator of this keyring, for verbs that also work where nothing runs or nobody may: then
/// nothing is written and nothing is said.
pub async fn note_if_possible(
    layout: &Layout,
    kind: EntryKind,
    text: &str,
    details: &Value,
) -> Vec<IncidentId> {
    let Ok(session) = Session::open(&layout.data, OPERATOR) else { return Vec::new() };
    try_note(&session, kind, text, details).await.unwrap_or_default()
}

async fn try_note(
    session: &Session,
    kind: EntryKind,
    text: &str,
    details: &Value,
) -> anyhow::Result<Vec<IncidentId>> {
    let request = AddToOpenRequest { kind, text: text.to_owned(), details: details.clone() };
    let client = session.client(q_ops::NAME)?.with_key(session.fresh_key());
    Ok(client.call::<AddToOpen>(&request).await?.incidents)
}
