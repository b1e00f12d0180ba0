//! The endpoints and what answers them: the table of contents.
//!
//! **Invariant:** decodes, asks who may, calls the service; decides nothing else.

mod audit;
mod log;

use std::sync::Arc;

use q_core::{AuditEntry, Caller};
use q_http::{Api, IsOperator};
use qerberos_api::{
    GetCheckpoint, GetEvent, GetGaps, GetLogEntries, GetLogTile, GetPolicy, GetProof, GetProofFile,
    RecordBatch, RecordEvent, SearchEvents,
};

use crate::service::Trail;

/// What the handlers share.
pub(crate) struct Desk {
    pub trail: Arc<Trail>,
    pub is_operator: IsOperator,
    /// Where the log is served, for its policy.
    pub log_url: String,
}

impl Desk {
    /// Whether the caller may see and record everything: a module of this instance, or an operator.
    fn is_trusted(&self, caller: &Caller) -> bool {
        caller.is_service() || (self.is_operator)(caller)
    }

    /// Records that an operator looked. Who watches the watchers is part of the trail; a store that takes no writes
    /// now does not keep them from looking.
    async fn looked(
        &self,
        caller: &Caller,
        action: &'static str,
        target: String,
        details: serde_json::Value,
    ) {
        let Caller::Identity(operator) = caller else { return };
        let entry =
            AuditEntry::change(action, Some(&operator.did), target).family("data_access").details(details);
        let kept = self.trail.db().write(move |tx| tx.audit(entry.clone())).await;
        if let Err(error) = kept {
            let error: q_db::DbError = error;
            tracing::error!(%error, action, "an operator's look into the trail could not be recorded");
        }
    }
}

/// Every endpoint.
pub(crate) fn api(desk: Arc<Desk>) -> Api {
    Api::build("qerberos", "the audit trail of an instance, as a transparency log anybody can check", desk)
        .on::<RecordEvent, _, _, _>(audit::record)
        .on::<RecordBatch, _, _, _>(audit::record_batch)
        .on::<SearchEvents, _, _, _>(audit::search)
        .on::<GetGaps, _, _, _>(audit::gaps)
        .on::<GetEvent, _, _, _>(audit::event)
        .on::<GetProof, _, _, _>(audit::proof)
        .on::<GetProofFile, _, _, _>(audit::proof_file)
        .on::<GetCheckpoint, _, _, _>(log::checkpoint)
        .on::<GetPolicy, _, _, _>(log::policy)
        .on::<GetLogEntries, _, _, _>(log::entries)
        .on::<GetLogTile, _, _, _>(log::tile)
        .done()
}
