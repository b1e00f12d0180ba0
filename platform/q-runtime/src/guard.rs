//! What follows from a verification: damage stops a module's writes, soundness lets them go on.
//!
//! **Invariant:** a write stop ends only after a verification found nothing, or by an operator's word.

use std::{sync::Arc, time::Duration};

use q_db::{Db, DbError, ModeKind, ModeOrder, StopCause};
use tokio::sync::watch;

use crate::{Finding, Module};

/// In whose name a verification stops and resumes writes.
const NAME: &str = "verification";
/// The pause before a store whose sync failed is looked at again when it cannot be read yet.
const AGAIN: Duration = Duration::from_secs(1);

/// Stops the writes of `db` when there are findings; ends a write stop when there are none.
///
/// What was stopped for damage opens read-only: whoever mended it lets canaries try, then all.
pub(crate) async fn judge(db: &Db, findings: &[Finding]) -> Result<(), DbError> {
    let own: Vec<_> = findings.iter().filter(|finding| finding.concerns.is_none()).collect();
    if let Some(first) = own.first() {
        let more = if own.len() > 1 { format!(" (and {} more)", own.len() - 1) } else { String::new() };
        db.stop_writes(StopCause::Damage, &format!("{first}{more}"));
        return Ok(());
    }
    let mode = db.mode();
    let Some(stop) = &mode.write_stop else { return Ok(()) };
    let is_mended = stop.cause == StopCause::Damage && mode.kind == ModeKind::Normal;
    let then = is_mended.then(|| ModeOrder {
        kind: ModeKind::ReadOnly,
        reason: "verified sound after a write stop; `q mode` opens it, for canaries first".into(),
        ..ModeOrder::default()
    });
    db.resume_writes(then, NAME).await?;
    tracing::info!(store = db.module(), "verified sound; the write stop is over");
    Ok(())
}

/// Verifies the module whenever a failed sync has stopped its writes, so that they go on by themselves: the store is
/// opened anew by then, and what is on disk is known once everything was read.
pub(crate) async fn keep_watch(module: Arc<dyn Module>, mut stop: watch::Receiver<bool>) {
    let db = module.db().clone();
    let mut changes = db.mode_changes();
    loop {
        let has_failed_sync = {
            let mode = changes.borrow_and_update();
            mode.write_stop.as_ref().is_some_and(|stop| stop.cause == StopCause::FailedSync)
        };
        let mut pause = Duration::MAX;
        if has_failed_sync && let Err(error) = crate::house::verify(&*module).await {
            tracing::warn!(module = module.name(), %error, "the store cannot be verified after a failed sync");
            pause = AGAIN;
        }
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(pause) => {}
            _ = stop.wait_for(|is_stopping| *is_stopping) => return,
        }
    }
}
