//! Notes: gap-free, each under a digest that covers those before it, readable, beside transactions that exist.

use q_core::hash::Sha256;
use q_db::{DbError, Reader};
use q_runtime::Finding;
use q_seal::Place;
use qwallet_api::TransactionId;

use super::{Room, Scope};
use crate::store;

/// What notes say.
#[derive(Default)]
pub(super) struct Notes;

impl Room for Notes {
    fn finish(
        &mut self,
        reader: &mut Reader<'_>,
        scope: &Scope<'_>,
        found: &mut Vec<Finding>,
    ) -> Result<(), DbError> {
        let mut before: Option<(TransactionId, i64, Sha256)> = None;
        store::notes::for_each(reader, |(transaction, number), row| {
            let place = format!("notes {transaction} {number}");
            let (last, digest) = match before {
                Some((of, last, digest)) if of == transaction => (last, digest),
                _ => (0, [0; 32]),
            };
            if number != last + 1 {
                found.push(Finding::new("note_missing", &place, format!("number {number} follows {last}")));
            }
            match row {
                Err(error) => {
                    found.push(Finding::new("note_unreadable", &place, error.to_string()));
                    before = Some((transaction, number, digest));
                }
                Ok((note, stored)) => {
                    if note.digest(&digest) != stored {
                        let detail = "the note, or one before it, is not what was stored";
                        found.push(Finding::new("note_changed", &place, detail));
                    }
                    let sealed =
                        Place { module: "qwallet", table: "notes", column: "body", row: &note.name() };
                    if let Err(error) = scope.sealer.open(sealed, &note.body) {
                        found.push(Finding::new("sealed_field", &place, format!("body: {error}")));
                    }
                    before = Some((transaction, number, stored));
                }
            }
            Ok(())
        })?;
        for transaction in store::notes::of_nothing(reader)? {
            let detail = format!("{transaction} does not exist");
            found.push(Finding::new("note_of_nothing", format!("notes {transaction}"), detail));
        }
        Ok(())
    }
}
