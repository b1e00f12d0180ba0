//! What is kept of webhooks can be read, opened and sent.

use q_db::{DbError, Reader};
use q_runtime::Finding;
use q_seal::Place;

use super::{Room, Scope};
use crate::{
    domain::webhooks::{Progress, Status},
    store,
};

/// The check of webhooks and their deliveries.
#[derive(Default)]
pub(super) struct Webhooks;

impl Room for Webhooks {
    fn finish(
        &mut self,
        reader: &mut Reader<'_>,
        scope: &Scope<'_>,
        found: &mut Vec<Finding>,
    ) -> Result<(), DbError> {
        store::webhooks::for_each(reader, |id, row| {
            let place = format!("webhooks {id}");
            let row = match row {
                Ok(row) => row,
                Err(error) => {
                    found.push(Finding::new("webhook_unreadable", place, error.to_string()));
                    return Ok(());
                }
            };
            let name = id.to_string();
            let mut fields = vec![("url", &row.url), ("secret", &row.secret)];
            fields.extend(row.old_secret.as_ref().map(|(old, _)| ("old_secret", old)));
            for (column, sealed) in fields {
                let at = Place { module: "qwallet", table: "webhooks", column, row: &name };
                if let Err(error) = scope.sealer.open_text(at, sealed) {
                    found.push(Finding::new("webhook_sealed", &*place, format!("{column}: {error}")));
                }
            }
            Ok(())
        })?;
        store::webhooks::for_each_delivery(reader, |id, row, status| {
            let place = format!("deliveries {id}");
            match (row, status) {
                (Err(error), _) => found.push(Finding::new("delivery_unreadable", place, error.to_string())),
                (Ok(_), None) => {
                    found.push(Finding::new("delivery_without_webhook", place, "its webhook does not exist"));
                }
                (Ok(row), Some(Status::Disabled)) if row.progress == Progress::Waiting => {
                    found.push(Finding::new(
                        "delivery_waits",
                        place,
                        "its webhook is disabled, so it waits for ever",
                    ));
                }
                (Ok(_), Some(_)) => {}
            }
            Ok(())
        })
    }
}
