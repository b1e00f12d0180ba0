//! Parts that were taken of what is held: each names transfers that moved so much of it.

use q_core::Amount;
use q_db::{DbError, Reader};
use q_runtime::Finding;
use qwallet_api::TransactionId;

use super::{Room, Scope};
use crate::store;

/// What parts say.
#[derive(Default)]
pub(super) struct Captures;

impl Room for Captures {
    fn finish(
        &mut self,
        reader: &mut Reader<'_>,
        _: &Scope<'_>,
        found: &mut Vec<Finding>,
    ) -> Result<(), DbError> {
        let mut last: Option<(TransactionId, Amount)> = None;
        store::captures::for_each(reader, |id, row| {
            let (row, moved) = match row {
                Ok(row) => row,
                Err(error) => {
                    let place = format!("captures of {id}");
                    found.push(Finding::new("capture_unreadable", place, error.to_string()));
                    return Ok(());
                }
            };
            let before = last.filter(|(of, _)| *of == id).map_or(Amount::ZERO, |(_, sum)| sum);
            if moved.and_then(|moved| before.checked_add(moved)) != Some(row.captured) {
                let detail = "it and those before it are not what its transfers moved";
                found.push(Finding::new("capture_mismatch", format!("captures {}", row.id), detail));
            }
            last = Some((id, row.captured));
            Ok(())
        })?;
        for id in store::captures::uncounted(reader)? {
            let detail = "its parts are not what it says was taken";
            found.push(Finding::new("hold_captured", format!("holds {id}"), detail));
        }
        Ok(())
    }
}
