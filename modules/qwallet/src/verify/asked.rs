//! What payers asked for: intents and payout files can be read, open, and say what the books say.
//!
//! **Invariant:** a sealed field is only opened, never kept or told: that it opens proves that it is what was
//! stored, in the row where it was stored.

use q_db::{DbError, Reader};
use q_seal::{Place, Sealer};

use super::Check;
use crate::{
    domain::{books::HoldEnd, currency::Currency},
    store::{
        self,
        intents::{Held, IntentRow, IntentStatus},
    },
};

impl Check {
    /// Each intent is where its hold is, and each hold has its intent.
    pub(super) fn intents(&mut self, reader: &mut Reader<'_>, sealer: &Sealer) -> Result<(), DbError> {
        store::intents::for_each(reader, |id, row| {
            let place = format!("intents {id}");
            match row {
                Err(error) => {
                    self.unread_intent = true;
                    self.find("intent_unreadable", place, error.to_string());
                }
                Ok((intent, held)) => {
                    if let Some(fault) = fault_of(&intent, held) {
                        self.find("intent_mismatch", place.clone(), fault);
                    }
                    if let Some(purpose) = &intent.purpose {
                        self.opens(sealer, "intents", "purpose", &id.to_string(), purpose);
                    }
                }
            }
            Ok(())
        })?;
        for intent in store::intents::unfulfilled(reader)? {
            let detail = "it was paid for a request that says nobody paid it".to_owned();
            self.find("request_unpaid", format!("intents {intent}"), detail);
        }
        if self.unread_intent {
            // Which hold is whose cannot be told, and the row was named.
            return Ok(());
        }
        for transaction in store::intents::missing(reader)? {
            let detail = format!("holds {transaction} names it");
            self.find("intent_missing", "intents".to_owned(), detail);
        }
        Ok(())
    }

    /// Each payout file opens, and its batch exists if it was executed.
    pub(super) fn imports(&mut self, reader: &mut Reader<'_>, sealer: &Sealer) -> Result<(), DbError> {
        store::imports::for_each(reader, |id, row| {
            let place = format!("imports {id}");
            match row {
                Err(error) => self.find("import_unreadable", place, error.to_string()),
                Ok((import, has_batch)) => {
                    if import.batch.is_some() && !has_batch {
                        self.find("import_mismatch", place, "names a batch that does not exist".to_owned());
                    }
                    let name = id.to_string();
                    self.opens(sealer, "imports", "report", &name, &import.report);
                    self.opens(sealer, "imports", "items", &name, &import.items);
                }
            }
            Ok(())
        })
    }

    fn opens(
        &mut self,
        sealer: &Sealer,
        table: &'static str,
        column: &'static str,
        row: &str,
        sealed: &[u8],
    ) {
        if let Err(error) = sealer.open(Place { module: "qwallet", table, column, row }, sealed) {
            self.find("sealed_field", format!("{table} {row}"), format!("{column}: {error}"));
        }
    }
}

/// What is wrong with an intent of which the holds say `held`.
fn fault_of(intent: &IntentRow, held: Held) -> Option<String> {
    let is_consistent = matches!(
        (intent.status, intent.transaction.is_some(), held),
        (IntentStatus::Pending | IntentStatus::Cancelled | IntentStatus::Expired, false, Held::Never)
            | (IntentStatus::Signed, true, Held::Open)
            | (IntentStatus::Settled, true, Held::Ended(HoldEnd::Settled))
            | (IntentStatus::Cancelled, true, Held::Ended(HoldEnd::Voided))
            | (IntentStatus::Expired, true, Held::Ended(HoldEnd::Expired))
    );
    if !is_consistent {
        return Some(format!("is {}, its hold says {held:?}", intent.status.name()));
    }
    let Some(currency) = Currency::by_id(intent.currency) else {
        return Some(format!("is of the unknown currency {}", intent.currency.0));
    };
    currency.read(&intent.amount).is_err().then(|| "its amount cannot be read".to_owned())
}
