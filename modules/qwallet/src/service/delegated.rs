//! Payments under delegations that count: each use is taken in the commit of the payment.

use std::sync::Arc;

use q_db::{
    DbError, Tx,
    uses::{self, Allotment},
};
use qwallet_api::{IntentId, TransactionId, errors};

use super::{
    commit::{Action, Item},
    record::{Decision, Moment, Record, RecordKey, RecordTable, Step},
};
use crate::domain::{account::AccountId, payment::Refusal};

const USED_UP: Refusal = Refusal::Record {
    code: &errors::UCAN_USED_UP,
    detail: "the delegation was used as often as it allows; whoever gave it gives another",
};

/// The payment, with the uses it takes; as it is where nothing is counted.
pub(super) fn counting(uses: Vec<Allotment>, action: Action) -> Action {
    match action {
        Action::Pay(item) if !uses.is_empty() => {
            Action::Record(Arc::new(Counted { uses, payment: Payment::Plain(item) }))
        }
        Action::Record(record) if !uses.is_empty() => {
            Action::Record(Arc::new(Counted { uses, payment: Payment::Recorded(record) }))
        }
        other => other,
    }
}

/// A payment that takes one of each of `uses`.
#[derive(Debug)]
struct Counted {
    uses: Vec<Allotment>,
    payment: Payment,
}

/// What is paid.
#[derive(Debug)]
enum Payment {
    Plain(Item),
    Recorded(Arc<dyn Record>),
}

impl Record for Counted {
    fn key(&self) -> RecordKey {
        match &self.payment {
            Payment::Recorded(record) => record.key(),
            Payment::Plain(_) => {
                let first = self.uses.iter().map(|one| one.name).min().unwrap_or_default();
                RecordKey(RecordTable::Uses, first.first_chunk().copied().unwrap_or_default())
            }
        }
    }

    fn lock(&self, tx: &mut Tx<'_>) -> Result<(), DbError> {
        match &self.payment {
            Payment::Recorded(record) => record.lock(tx),
            Payment::Plain(_) => Ok(()),
        }
    }

    fn uses(&self) -> &[Allotment] {
        &self.uses
    }

    fn accounts(&self) -> Vec<AccountId> {
        match &self.payment {
            Payment::Recorded(record) => record.accounts(),
            Payment::Plain(item) => item.legs.iter().flat_map(|leg| [leg.debit, leg.credit]).collect(),
        }
    }

    fn holds(&self) -> Vec<TransactionId> {
        match &self.payment {
            Payment::Recorded(record) => record.holds(),
            Payment::Plain(_) => Vec::new(),
        }
    }

    fn intents(&self) -> Vec<IntentId> {
        match &self.payment {
            Payment::Recorded(record) => record.intents(),
            Payment::Plain(_) => Vec::new(),
        }
    }

    fn decide(&self, tx: &mut Tx<'_>, moment: Moment) -> Result<Result<Decision<'_>, Refusal>, DbError> {
        if !uses::are_left(tx, &self.uses)? {
            return Ok(Err(USED_UP));
        }
        let decision = match &self.payment {
            Payment::Recorded(record) => match record.decide(tx, moment)? {
                Ok(decision) => decision,
                Err(refusal) => return Ok(Err(refusal)),
            },
            Payment::Plain(item) => Decision {
                steps: vec![Step::Pay(item.clone())],
                answer: item.id.bytes(),
                write: Box::new(|_, _| Ok(())),
            },
        };
        let Decision { steps, answer, write } = decision;
        let write = move |tx: &mut Tx<'_>, moment: Moment| {
            // Found under the same lock a moment ago.
            if !uses::take(tx, &self.uses)? {
                return Err(DbError::Aborted);
            }
            write(tx, moment)
        };
        Ok(Ok(Decision { steps, answer, write: Box::new(write) }))
    }
}
