//! Money that has a record of its own: a refund, an escrow, a withdrawal, an occurrence of a schedule.
//!
//! Such money must not move unless its record allows it, and the record must not change unless the money moved. So the
//! record is read under a lock, decided and written inside the executor's commit, beside the transfers.
//!
//! **Invariant:** a record remembers nothing between [`Record::lock`] and the commit: a commit may be made anew, and
//! then everything is asked again.

use std::fmt;

use q_core::Timestamp;
use q_db::{DbError, Tx, uses::Allotment};
use qwallet_api::{IntentId, TransactionId};

use super::item::{HoldChange, Item};
use crate::domain::{
    account::AccountId,
    books::{HoldEnd, NewTerms},
    payment::Refusal,
};

/// What is locked for a record: its table's number and its id. Everybody locks in this order, so that nobody waits in
/// a circle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordKey(pub RecordTable, pub [u8; 16]);

/// The tables whose rows change together with money.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordTable {
    /// What was given back of a payment.
    Refunds,
    /// Money held by the house for two parties.
    Escrows,
    /// Requests for money.
    Requests,
    /// Money that leaves over a rail.
    Withdrawals,
    /// Money that came over a rail.
    Deposits,
    /// Payments that come back.
    Schedules,
    /// Which payments of a wallet others have to approve.
    Approvals,
    /// Whether wallets may pay and be paid.
    Wallets,
    /// Money that is held for a payee.
    Holds,
    /// How often delegations were used.
    Uses,
}

/// When and where something is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// The instant of the commit.
    pub at: Timestamp,
    /// Its number in the store.
    pub commit: i64,
}

/// A change of the books that a record allows, and that changes the record.
pub trait Record: fmt::Debug + Send + Sync {
    /// What to lock.
    fn key(&self) -> RecordKey;

    /// Locks its rows against other writers until the commit. Nothing to do where the row is not there yet and its
    /// unique key decides.
    fn lock(&self, tx: &mut Tx<'_>) -> Result<(), DbError>;

    /// Every account its steps may touch; the first one says which lane carries it out.
    fn accounts(&self) -> Vec<AccountId>;

    /// The holds its steps may end.
    fn holds(&self) -> Vec<TransactionId> {
        Vec::new()
    }

    /// The intents that end with those.
    fn intents(&self) -> Vec<IntentId> {
        Vec::new()
    }

    /// The withdrawal whose approvals count for what it spends, where others have to approve that. Its row is locked by
    /// [`Record::lock`].
    fn approved_as(&self) -> Option<TransactionId> {
        None
    }

    /// What of it is counted, which is locked after the rows of all records.
    fn uses(&self) -> &[Allotment] {
        &[]
    }

    /// Reads its rows and decides.
    fn decide(&self, tx: &mut Tx<'_>, moment: Moment) -> Result<Result<Decision<'_>, Refusal>, DbError>;
}

/// Writes what a decision changes besides the books.
pub type Write<'a> = Box<dyn FnOnce(&mut Tx<'_>, Moment) -> Result<(), DbError> + 'a>;

/// What is to be done.
pub struct Decision<'a> {
    /// The movements of money, in order; all of them or none.
    pub steps: Vec<Step>,
    /// The id under which a repetition finds what came of it.
    pub answer: [u8; 16],
    /// Writes the record, its events and its audit row, after the books took every step.
    pub write: Write<'a>,
}

/// One movement.
#[derive(Debug)]
pub enum Step {
    /// Moves money at once.
    Pay(Item),
    /// Holds money until the instant, or for as long as its record says.
    Hold(Item, Option<Timestamp>),
    /// Ends a hold that a record took.
    End(TransactionId, HoldEnd),
    /// Pays what is held for a signed intent, which ends with it.
    Settle(TransactionId, IntentId),
    /// Marks an account as one from which others have to approve payments.
    Guard(AccountId),
    /// Changes what no transfer changes of an account; the record writes it.
    Terms(AccountId, NewTerms),
    /// Takes or frees what is held for an intent.
    Change(HoldChange),
}
