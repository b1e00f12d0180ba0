//! One commit of the executor: many commands, decided one after the other, written together.
//!
//! Everything read is read at the start in few questions, everything written is written at the end in few
//! statements; in between the books decide in memory.
//!
//! **Invariant:** a refused command leaves no trace; the others stand.

mod guards;
mod held;
mod load;
mod rows;
mod run;

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use parking_lot::RwLock;
use q_contract::Problem;
use q_core::{Amount, Did, Timestamp, hash::Sha256};
use q_db::{DbError, Tx};
use qwallet_api::{BatchId, ImportId, IntentId, TransactionId, WalletId};

use self::run::Run;
pub use super::item::{HoldChange, HoldWish, Item};
use super::{
    recent::{Appended, Recents},
    record::Record,
};
use crate::{
    domain::{
        account::AccountId,
        books::{Books, HoldEnd},
        currency::CurrencyId,
        limits::{Defaults, LimitKind},
        payment::Refusal,
    },
    store::{
        self,
        ledger::{ChainEnd, OrderRow},
        requests::{Nonce, Request},
        writers::Lease,
    },
};

/// The most accounts kept in memory between commits: about 60 MB.
const CACHED_ACCOUNTS_MAX: usize = 300_000;

/// One command for the executor, decided but for what only the books know.
#[derive(Debug)]
pub struct Work {
    /// What makes a repetition recognisable.
    pub request: Option<Request>,
    /// What makes the order executable once.
    pub nonce: Option<Nonce>,
    /// Until when it may be executed.
    pub expires_at: Option<Timestamp>,
    /// The permission to keep as evidence.
    pub order: Option<OrderRow>,
    /// What to do.
    pub action: Action,
}

/// What to do.
#[derive(Debug)]
pub enum Action {
    /// Moves money at once.
    Pay(Item),
    /// Moves money for many at once.
    Batch(Batch),
    /// Holds the money of an intent.
    Sign {
        /// The intent.
        intent: IntentId,
        /// The paying wallet.
        wallet: WalletId,
        /// What to hold.
        item: Item,
        /// Until when.
        hold_until: Timestamp,
        /// Who of those that approve what is beyond the wallet's own limits did.
        guardians: Vec<Did>,
    },
    /// Ends the hold of a signed intent.
    End {
        /// What is held.
        transaction: TransactionId,
        /// The intent it fulfils, if it was held for one.
        intent: Option<IntentId>,
        /// The account that pays, where it is known: it says which lane carries this out.
        payer: Option<AccountId>,
        /// How it ends.
        end: HoldEnd,
    },
    /// Takes or frees what is held for many intents of one payee.
    Holds(HoldBatch),
    /// Moves what the stripes of an account received into it.
    Sweep(AccountId),
    /// Changes what may be spent from an account.
    SetLimits(LimitChange),
    /// Moves money as a record of its own allows.
    Record(Arc<dyn Record>),
}

/// A change of limits on spending.
#[derive(Debug)]
pub struct LimitChange {
    /// The account.
    pub account: AccountId,
    /// Whose it is.
    pub wallet: WalletId,
    /// Who asks.
    pub by: Did,
    /// In which capacity.
    pub authority: Authority,
    /// The new limits.
    pub wanted: Vec<(LimitKind, Amount)>,
    /// The time zone, and all accounts of the wallet, which have one.
    pub zone: Option<(String, Vec<AccountId>)>,
    /// The evidence that others agreed, where it was needed.
    pub approval: Option<serde_json::Value>,
}

/// In which capacity limits are changed. Everybody here may lower them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authority {
    /// The owner of a wallet that draws on nobody else's limits: what it raises holds a day later.
    Owner,
    /// The owner of a wallet below another, which never raises its own.
    Sub,
    /// The parent or guardian of such an owner, who raises at once.
    Parent,
    /// An operator, who raises to what the owner asked for.
    Operator,
    /// Two operators by one signed order, who raise at once.
    TwoOperators,
}

/// Many payments of one payer.
#[derive(Debug)]
pub struct Batch {
    /// Its id.
    pub id: BatchId,
    /// In order: a payment, or why it was refused already.
    pub items: Vec<Result<Item, Refusal>>,
    /// Whether one refusal undoes all.
    pub is_atomic: bool,
    /// The payout file it comes from.
    pub import: Option<ImportId>,
}

/// What a payee does with what is held for many.
#[derive(Debug)]
pub struct HoldBatch {
    /// Its id.
    pub id: BatchId,
    /// Who asks.
    pub by: Did,
    /// In order: a change, or why it was refused already.
    pub changes: Vec<Result<HoldChange, Refusal>>,
    /// Whether one refusal undoes all.
    pub is_atomic: bool,
}

/// What became of a command.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// It was done.
    Done(Done),
    /// It had been done before: the id of what came of it.
    Replayed([u8; 16]),
    /// It changed nothing.
    Refused(Refusal),
}

/// What was done.
#[derive(Debug, Clone)]
pub struct Done {
    /// When.
    pub at: Timestamp,
    /// In which commit.
    pub commit: i64,
    /// The leaf hash of the first transfer.
    pub settlement: Option<Sha256>,
    /// The refused items of a batch.
    pub refusals: Arc<Vec<(u32, Problem)>>,
}

/// The accounts that have stripes, as all lanes know them.
pub type Stripes = Arc<RwLock<Striped>>;

/// The stripes of accounts, by the account they belong to.
#[derive(Debug, Clone, Default)]
pub struct Striped {
    /// Of wallets that are paid by many at once.
    pub wallets: HashMap<AccountId, Vec<AccountId>>,
    /// Of the house's fee accounts: one a writer.
    pub house: HashMap<AccountId, Vec<AccountId>>,
}

impl Striped {
    /// The stripes of an account.
    pub fn of(&self, account: AccountId) -> &[AccountId] {
        let stripes = self.wallets.get(&account).or_else(|| self.house.get(&account));
        stripes.map_or(&[], Vec::as_slice)
    }
}

/// What one lane of the executor remembers between commits.
#[derive(Debug)]
pub struct Ledger {
    books: Books,
    chain: Option<ChainEnd>,
    next_chain: Option<ChainEnd>,
    nonce_hours: Option<BTreeSet<i64>>,
    recents: Recents,
    next_recent: Option<Appended>,
    stripes: Stripes,
    /// Whether others write to the same store, so that no balance that is remembered can be trusted.
    is_shared: bool,
    /// The accounts on whose limits others draw, by those: known beforehand, so that all rows are locked in one order.
    parents: HashMap<AccountId, AccountId>,
    has_learnt: bool,
    /// The right to continue this chain.
    lease: Lease,
    is_lease_lost: bool,
}

impl Ledger {
    /// A ledger that remembers nothing yet, with the instance's limits on spending.
    pub fn new(
        lease: Lease,
        is_shared: bool,
        limits: Vec<(CurrencyId, Defaults)>,
        stripes: Stripes,
        recents: Recents,
    ) -> Self {
        Self {
            books: Books::default().with_limits(limits),
            chain: None,
            next_chain: None,
            nonce_hours: None,
            recents,
            next_recent: None,
            stripes,
            is_shared,
            parents: HashMap::new(),
            has_learnt: false,
            lease,
            is_lease_lost: false,
        }
    }

    /// Whether the last run met an account whose parent was not known and so not locked in its turn; nothing of it was
    /// done then, and the next run knows.
    pub const fn has_learnt(&self) -> bool {
        self.has_learnt
    }

    /// The right to continue this chain.
    pub const fn lease(&self) -> Lease {
        self.lease
    }

    /// Whether the last run found that somebody else continues the chain; nothing of it was done then.
    pub const fn is_lease_lost(&self) -> bool {
        self.is_lease_lost
    }

    /// Continues another chain.
    pub fn begin_chain(&mut self, lease: Lease) {
        self.forget();
        (self.lease, self.is_lease_lost) = (lease, false);
    }

    /// Makes the last run final: its commit is on disk.
    pub fn keep(&mut self) {
        self.books.keep();
        if let Some(appended) = self.next_recent.take() {
            self.recents.keep(&appended);
        }
        self.chain = self.next_chain.take().or(self.chain);
        if self.books.accounts().len() > CACHED_ACCOUNTS_MAX {
            self.books.begin_anew(self.books.next_seq());
        }
    }

    /// Forgets everything: the last run's commit failed, and the store is what counts.
    pub fn forget(&mut self) {
        self.books.begin_anew(0);
        self.chain = None;
        self.nonce_hours = None;
        self.next_chain = None;
        self.next_recent = None;
        if !self.is_shared {
            self.recents.forget();
        }
    }

    /// The commit that the last run wanted to write, and the head it would have.
    pub fn wanted(&self) -> Option<(i64, Sha256)> {
        let end = self.next_chain?;
        Some((store::ledger::commit_id(self.lease.writer, end.number), end.head))
    }

    /// Carries out `works` in this transaction. May run twice: nothing is final before [`Self::keep`].
    pub fn run(&mut self, tx: &mut Tx<'_>, works: &[Work]) -> Result<Vec<Outcome>, DbError> {
        self.books.go_back_wholly();
        (self.next_chain, self.next_recent) = (None, None);
        self.has_learnt = false;
        // The fence: whoever took this number over has raised its epoch, and waits here until we are done.
        if self.is_shared && !store::writers::hold(tx, self.lease)? {
            self.is_lease_lost = true;
            return Err(DbError::Aborted);
        }
        let known = self.chain;
        let chain = known.map_or_else(|| store::ledger::chain_end(tx, self.lease.writer), Ok)?;
        if self.is_shared {
            self.nonce_hours = None;
        } else {
            self.recents.load(tx)?;
        }
        if self.is_shared || known.is_none() {
            self.books.begin_anew(chain.next_seq);
        }
        let lease = self.lease;
        // A copy, so that a payee made hot meanwhile does not change in the middle of a commit.
        let stripes = self.stripes.read().clone();
        let mut run = Run::begin(tx, self, chain, works, &stripes)?;
        let outcomes = works.iter().map(|work| run.decide(tx, work)).collect::<Result<_, _>>()?;
        let mut rows = run.rows;
        rows.write_limits(tx)?;
        rows.write_guards(tx)?;
        let (requests, nonces) = rows.take_requests();
        if self.is_shared {
            store::requests::insert(tx, &requests)?;
            store::requests::insert_nonces(tx, &nonces)?;
        } else {
            self.next_recent = Appended::write(tx, &self.recents, requests, nonces)?;
        }
        if rows.is_empty() {
            self.chain = Some(chain);
            return Ok(outcomes);
        }
        let (end, outcomes) = rows.write(tx, &self.books, lease.writer, chain, outcomes)?;
        self.chain = Some(chain);
        self.next_chain = Some(end);
        Ok(outcomes)
    }
}
