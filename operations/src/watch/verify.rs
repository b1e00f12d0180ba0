//! Everything every module keeps, verified once a day by the module itself.

use q_core::Span;

use super::store;
use crate::{Desk, Error};

/// After a start, modules are left alone for so long: whoever just came up has enough to do.
const REST: Span = Span::seconds(60);

impl Desk {
    /// Verifies one module whose verification is due, if there is one.
    pub(super) async fn verify_due(&self) -> Result<(), Error> {
        let Some(every) = self.watch.config.verify_every else { return Ok(()) };
        if self.env.now().since(self.watch.started_at) < REST || !self.watch.memory.lock().await.is_watching()
        {
            return Ok(());
        }
        let known = self.db.read(store::verifications).await.map_err(Error::Db)?;
        let started_at = self.watch.started_at;
        let now = self.env.now();
        // Due is what was not verified since the start, and what was verified long ago.
        let is_due = |module: &&String| {
            known.get(*module).is_none_or(|(at, _)| *at < started_at || now.since(*at) >= every)
        };
        let Some(module) = self.watched.iter().find(is_due).cloned() else { return Ok(()) };
        match self.verify(&module).await {
            Ok(findings) => {
                let first = findings.first().map(ToString::to_string);
                if let Some(first) = &first {
                    tracing::error!(
                        module,
                        findings = findings.len(),
                        first,
                        "a module keeps something that does not verify"
                    );
                }
                let count = findings.len();
                self.db.write(move |tx| store::verified(tx, &module, count, first.as_deref())).await?;
            }
            // A module that cannot be verified is down or busy; others say so.
            Err(error) => tracing::warn!(module, error, "a module could not be verified"),
        }
        Ok(())
    }
}
