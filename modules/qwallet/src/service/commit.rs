//! One commit of the executor: many commands, decided one after the other, written together.
//!
//! Everything read is read at the start in few questions, everything written is written at the end in few
//! statements; in between the books decide in memory. A refused command leaves no trace; the others stand.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use parking_lot::RwLock;
use q_contract::Problem;
use q_core::{Amount, AuditEntry, Did, Env, Timestamp, hash::Sha256};
use q_db::{DbError, Tx};
use qwallet_api::{BatchId, ImportId, IntentId, TransactionId, WalletId, events};

use crate::{
    domain::{
        account::{AccountId, Changed},
        books::{self, Applied, Books, Command, Group, HoldEnd},
        chain::{self, Commit},
        currency::{Currency, CurrencyId},
        limits::{Defaults, LimitKind, OwnLimits},
        order::SignatureFault,
        payment::Refusal,
        transfer::{Leg, Purpose, Transfer},
    },
    store::{
        self,
        intents::IntentStatus,
        ledger::{ChainEnd, HoldRow, NO_ORDER, OrderRow, TransactionKind, TransactionRow},
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
    },
    /// Ends the hold of a signed intent.
    End {
        /// What is held.
        transaction: TransactionId,
        /// The intent it fulfils.
        intent: IntentId,
        /// The account that pays, where it is known: it says which lane carries this out.
        payer: Option<AccountId>,
        /// How it ends.
        end: HoldEnd,
    },
    /// Moves what the stripes of an account received into it.
    Sweep(AccountId),
    /// Changes what may be spent from an account.
    SetLimits(LimitChange),
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
    /// Whether that is an operator, who may confirm at once what the owner asked for, and may lower.
    pub is_operator: bool,
    /// The new limits.
    pub wanted: Vec<(LimitKind, Amount)>,
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

/// One transaction to be.
#[derive(Debug)]
pub struct Item {
    /// Its id.
    pub id: TransactionId,
    /// What it is for.
    pub kind: TransactionKind,
    /// Its transfers, the principal first.
    pub legs: Vec<Leg>,
    /// The intent it fulfils.
    pub intent: Option<IntentId>,
    /// The payer's reference.
    pub client_ref: Option<String>,
    /// The purpose, sealed.
    pub purpose: Option<Vec<u8>>,
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

/// The stripes of wallets' accounts that are paid by many at once, by the account they belong to.
pub type Stripes = Arc<RwLock<HashMap<AccountId, Vec<AccountId>>>>;

/// What one lane of the executor remembers between commits.
#[derive(Debug)]
pub struct Ledger {
    books: Books,
    chain: Option<ChainEnd>,
    next_chain: Option<ChainEnd>,
    nonce_hours: Option<BTreeSet<i64>>,
    stripes: Stripes,
    /// Whether others write to the same store, so that no balance that is remembered can be trusted.
    is_shared: bool,
    /// The right to continue this chain.
    lease: Lease,
    is_lease_lost: bool,
}

impl Ledger {
    /// A ledger that remembers nothing yet, with the instance's limits on spending.
    pub fn new(lease: Lease, is_shared: bool, limits: Vec<(CurrencyId, Defaults)>, stripes: Stripes) -> Self {
        Self {
            books: Books::default().with_limits(limits),
            chain: None,
            next_chain: None,
            nonce_hours: None,
            stripes,
            is_shared,
            lease,
            is_lease_lost: false,
        }
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
    }

    /// The commit that the last run wanted to write, and the head it would have.
    pub fn wanted(&self) -> Option<(i64, Sha256)> {
        let end = self.next_chain?;
        Some((store::ledger::commit_id(self.lease.writer, end.number), end.head))
    }

    /// Carries out `works` in this transaction. May run twice: nothing is final before [`Self::keep`].
    pub fn run(&mut self, tx: &mut Tx<'_>, works: &[Work]) -> Result<Vec<Outcome>, DbError> {
        self.books.go_back_wholly();
        self.next_chain = None;
        // The fence: whoever took this number over has raised its epoch, and waits here until we are done.
        if self.is_shared && !store::writers::hold(tx, self.lease)? {
            self.is_lease_lost = true;
            return Err(DbError::Aborted);
        }
        let known = self.chain;
        let chain = known.map_or_else(|| store::ledger::chain_end(tx, self.lease.writer), Ok)?;
        if self.is_shared {
            self.nonce_hours = None;
        }
        if self.is_shared || known.is_none() {
            self.books.begin_anew(chain.next_seq);
        }
        let lease = self.lease;
        // A copy, so that a payee made hot meanwhile does not change in the middle of a commit.
        let stripes = self.stripes.read().clone();
        let mut run = Run::begin(tx, self, chain, works, &stripes)?;
        let outcomes = works.iter().map(|work| run.decide(work)).collect();
        let rows = run.rows;
        rows.write_limits(tx)?;
        if rows.is_empty() {
            store::requests::insert(tx, &rows.requests)?;
            self.chain = Some(chain);
            return Ok(outcomes);
        }
        let (end, outcomes) = rows.write(tx, &self.books, lease.writer, chain, outcomes)?;
        self.chain = Some(chain);
        self.next_chain = Some(end);
        Ok(outcomes)
    }
}

/// What is known while deciding.
struct Run<'a> {
    books: &'a mut Books,
    stripes: &'a HashMap<AccountId, Vec<AccountId>>,
    env: Env,
    now: Timestamp,
    commit: i64,
    requests: HashMap<[u8; 16], ([u8; 32], [u8; 16])>,
    nonces: HashSet<[u8; 16]>,
    intents: HashMap<IntentId, IntentStatus>,
    last_order: i64,
    rows: Rows,
}

/// A batch that was carried out.
struct BatchRow {
    id: BatchId,
    item_count: u32,
    refusals: Arc<Vec<(u32, Problem)>>,
    import: Option<ImportId>,
}

/// Limits that were changed.
struct LimitsRow {
    account: AccountId,
    wallet: WalletId,
    by: Did,
    limits: OwnLimits,
    /// Each change: what, how much, and whether it waits.
    changes: Vec<(LimitKind, Amount, bool)>,
}

/// What is to be written.
struct Rows {
    at: Timestamp,
    transactions: Vec<TransactionRow>,
    digests: Vec<Sha256>,
    orders: Vec<OrderRow>,
    requests: Vec<(Request, [u8; 16])>,
    nonces: Vec<Nonce>,
    holds: Vec<(HoldRow, WalletId)>,
    ends: Vec<(TransactionId, IntentId, HoldEnd, i64)>,
    batches: Vec<BatchRow>,
    limits: Vec<LimitsRow>,
    payment_count: usize,
    refusal_count: usize,
}

impl Rows {
    fn is_empty(&self) -> bool {
        self.transactions.is_empty() && self.ends.is_empty() && self.batches.is_empty()
    }

    fn write(
        self,
        tx: &mut Tx<'_>,
        books: &Books,
        writer: i64,
        chain: ChainEnd,
        mut outcomes: Vec<Outcome>,
    ) -> Result<(ChainEnd, Vec<Outcome>), DbError> {
        let number = chain.number + 1;
        let commit_id = store::ledger::commit_id(writer, number);
        let journal = books.journal();
        let mut leaves: Vec<Sha256> = journal.iter().map(chain::transfer_leaf).collect();
        let first_seq = chain.next_seq;
        store::ledger::insert_transfers(tx, journal, &leaves, commit_id)?;
        settle_hashes(&mut outcomes, first_seq, &leaves);
        let transaction_leaves: Vec<Sha256> =
            self.transactions.iter().zip(&self.digests).map(|(row, digest)| row.leaf(digest)).collect();
        store::ledger::insert_transactions(tx, &self.transactions, &transaction_leaves)?;
        leaves.extend(transaction_leaves);
        store::ledger::insert_orders(tx, &self.orders)?;
        let changed = Changed { at: self.at, by: writer };
        store::ledger::update_accounts(tx, &books.changed_accounts(), changed)?;
        store::requests::insert(tx, &self.requests)?;
        store::requests::insert_nonces(tx, &self.nonces)?;
        self.write_states(tx, commit_id)?;
        let commit = Commit {
            writer,
            number,
            first_seq,
            transfer_count: count(journal.len()),
            transaction_count: count(self.transactions.len()),
            at: self.at,
            root: chain::root(&leaves),
        };
        let head = commit.head(&chain.head);
        let last_order = self.orders.last().map_or(chain.last_order, |order| order.id);
        store::ledger::insert_commit(tx, &commit, last_order, &head)?;
        let facts = serde_json::json!({
            "transfers": commit.transfer_count,
            "payments": self.payment_count,
            "refused": self.refusal_count,
            "head": q_core::hash::hex(&head),
        });
        self.audit_issuance(tx, journal, first_seq, commit_id)?;
        // One row per commit and not per payment: the payments are in the journal under this head.
        tx.audit(AuditEntry::change("ledger.commit", None, format!("commit {commit_id}")).details(facts))?;
        let end = ChainEnd { number, next_seq: books.next_seq(), last_order, head, at: self.at };
        Ok((end, outcomes))
    }

    fn write_limits(&self, tx: &mut Tx<'_>) -> Result<(), DbError> {
        for row in &self.limits {
            store::ledger::set_limits(tx, row.account, &row.limits)?;
            let changes: Vec<_> = row
                .changes
                .iter()
                .map(|(kind, amount, waits)| {
                    serde_json::json!({"kind": kind.name(), "units": amount.units().to_string(), "waits": waits})
                })
                .collect();
            let facts = serde_json::json!({ "account": row.account.0, "changes": changes });
            tx.audit(AuditEntry::change("wallet.limits", Some(&row.by), row.wallet).details(facts))?;
        }
        Ok(())
    }

    /// Money that comes or goes has an audit row of its own, with whoever approved it.
    fn audit_issuance(
        &self,
        tx: &mut Tx<'_>,
        journal: &[Transfer],
        first_seq: i64,
        commit_id: i64,
    ) -> Result<(), DbError> {
        let is_issuance =
            |row: &&TransactionRow| matches!(row.kind, TransactionKind::Issuance | TransactionKind::Faucet);
        for row in self.transactions.iter().filter(is_issuance) {
            let at = usize::try_from(row.first_seq - first_seq).expect("the transfer is of this commit");
            let leg = &journal[at].leg;
            let order = self.orders.iter().find(|order| order.id == row.order);
            let approvers: Vec<&str> =
                order.map(|order| order.signer.split(' ').collect()).unwrap_or_default();
            let facts = serde_json::json!({
                "kind": row.kind.name(),
                "leg": leg.purpose.name(),
                "units": leg.amount.units().to_string(),
                "debitAccount": leg.debit.0,
                "creditAccount": leg.credit.0,
                "approvers": approvers,
                "commit": commit_id,
            });
            tx.audit(AuditEntry::change("money.issue", None, row.id).details(facts))?;
        }
        Ok(())
    }

    /// The states of intents, holds, batches and imports that follow from the transfers.
    fn write_states(&self, tx: &mut Tx<'_>, commit_id: i64) -> Result<(), DbError> {
        for (hold, wallet) in &self.holds {
            store::ledger::insert_hold(tx, hold)?;
            let (pending, signed) = (IntentStatus::Pending, IntentStatus::Signed);
            store::intents::advance(tx, hold.intent, pending, signed, Some(hold.transaction))?;
            tx.emit(&events::TransactionSigned {
                transaction_id: hold.transaction,
                intent_id: hold.intent,
                wallet_id: *wallet,
                hold_expires_at: hold.expires_at,
            })?;
        }
        for (transaction, intent, end, seq) in &self.ends {
            store::ledger::end_hold(tx, *transaction, *end, *seq, commit_id)?;
            let to = match end {
                HoldEnd::Settled => IntentStatus::Settled,
                HoldEnd::Voided => IntentStatus::Cancelled,
                HoldEnd::Expired => IntentStatus::Expired,
            };
            store::intents::advance(tx, *intent, IntentStatus::Signed, to, None)?;
        }
        for batch in &self.batches {
            let refusals = serde_json::to_string(batch.refusals.as_ref())?;
            store::requests::insert_batch(tx, batch.id.bytes(), batch.item_count, &refusals, commit_id)?;
            if let Some(import) = batch.import {
                store::imports::execute(tx, import, batch.id)?;
            }
        }
        Ok(())
    }
}

impl<'a> Run<'a> {
    /// Reads everything the commands need, in few questions.
    ///
    /// Rows are locked in one order by everybody (intents, holds, accounts; each by its key), so that nobody waits in a
    /// circle. Keys are looked for once the payers' accounts are locked, so that whoever used them first has committed: a
    /// repetition is answered as such, whatever has become of the money. A nonce that is spent meanwhile is refused by
    /// its primary key, and found when the commit is made anew (docs/decisions/0009).
    fn begin(
        tx: &mut Tx<'_>,
        ledger: &'a mut Ledger,
        chain: ChainEnd,
        works: &[Work],
        stripes: &'a HashMap<AccountId, Vec<AccountId>>,
    ) -> Result<Self, DbError> {
        let nonces: Vec<Nonce> = works.iter().filter_map(|work| work.nonce).collect();
        let hours = match &mut ledger.nonce_hours {
            Some(hours) => hours,
            unknown => unknown.insert(store::requests::nonce_hours(tx)?),
        };
        let spent = store::requests::spent(tx, &nonces, hours)?;
        // Remembered although the commit may fail: an hour without nonces costs one look-up, no more.
        hours.extend(nonces.iter().map(|nonce| nonce.hour));
        let forgotten_before = Nonce::hour_of(tx.now().max(chain.at)) - 1;
        hours.retain(|hour| *hour >= forgotten_before);
        let books = &mut ledger.books;
        let intents = lock_intents(tx, works)?;
        lock_holds(tx, books, works)?;
        load_accounts(tx, books, works, stripes)?;
        // The time of a writer never goes back, whatever the host's clock does.
        let mut now = tx.now().max(chain.at);
        if ledger.is_shared {
            // Nor does it along an account, whoever wrote to it: what follows another writer's commit is later.
            let writer = ledger.lease.writer;
            let later = books.accounts().map(|account| match account.changed {
                Changed { at, by } if by == writer => at,
                Changed { at, .. } => Timestamp::from_micros(at.micros() + 1),
            });
            now = later.max().map_or(now, |later| later.max(now));
        }
        books.set_now(now);
        let keys: Vec<[u8; 16]> = works.iter().filter_map(|work| Some(work.request?.key)).collect();
        let known = store::requests::find(tx, &keys)?;
        Ok(Self {
            books,
            stripes,
            env: tx.env().clone(),
            now,
            commit: store::ledger::commit_id(ledger.lease.writer, chain.number + 1),
            requests: known
                .into_iter()
                .map(|(request, answer)| (request.key, (request.fingerprint, answer)))
                .collect(),
            nonces: spent,
            intents,
            last_order: chain.last_order,
            rows: Rows {
                at: now,
                transactions: Vec::new(),
                digests: Vec::new(),
                orders: Vec::new(),
                requests: Vec::new(),
                nonces: Vec::new(),
                holds: Vec::new(),
                ends: Vec::new(),
                batches: Vec::new(),
                limits: Vec::new(),
                payment_count: 0,
                refusal_count: 0,
            },
        })
    }

    fn decide(&mut self, work: &Work) -> Outcome {
        if let Some(request) = &work.request
            && let Some((fingerprint, answer)) = self.requests.get(&request.key)
        {
            return if *fingerprint == request.fingerprint {
                Outcome::Replayed(*answer)
            } else {
                Outcome::Refused(Refusal::KeyReused)
            };
        }
        match self.decide_new(work) {
            Ok((done, answer)) => {
                if let Some(request) = work.request {
                    self.requests.insert(request.key, (request.fingerprint, answer));
                    self.rows.requests.push((request, answer));
                }
                if let Some(nonce) = work.nonce {
                    self.nonces.insert(nonce.nonce);
                    self.rows.nonces.push(nonce);
                }
                Outcome::Done(done)
            }
            Err(refusal) => {
                self.rows.refusal_count += 1;
                Outcome::Refused(refusal)
            }
        }
    }

    fn decide_new(&mut self, work: &Work) -> Result<(Done, [u8; 16]), Refusal> {
        if work.expires_at.is_some_and(|expires_at| expires_at <= self.now) {
            return Err(Refusal::Expired);
        }
        if work.nonce.is_some_and(|nonce| self.nonces.contains(&nonce.nonce)) {
            return Err(Refusal::Signature(SignatureFault::NonceSpent));
        }
        let first_seq = self.books.next_seq();
        let mut refusals = Vec::new();
        let answer = match &work.action {
            Action::Pay(item) => {
                let (swept, applied) =
                    self.apply(&item.legs, |books, _| books.transfer_legs(item.id, &item.legs))?;
                let order = self.order(work);
                self.note_sweep(swept);
                self.note(item, applied, &order);
                item.id.bytes()
            }
            Action::Batch(batch) => {
                refusals = self.pay_all(batch, work);
                batch.id.bytes()
            }
            Action::Sign { intent, wallet, item, hold_until } => {
                match self.intents.get(intent) {
                    Some(IntentStatus::Pending) => {}
                    Some(status) => return Err(Refusal::InvalidState(status.name())),
                    None => return Err(Refusal::IntentNotFound),
                }
                let group = Group { id: item.id, legs: item.legs.clone() };
                let command = Command::Hold(group, *hold_until);
                let (swept, applied) = self.apply(&item.legs, |books, now| books.apply(&command, now))?;
                self.intents.insert(*intent, IntentStatus::Signed);
                let order = self.order(work);
                self.note_sweep(swept);
                self.note(item, applied, &order);
                let hold = HoldRow {
                    transaction: item.id,
                    intent: *intent,
                    held_at: self.now,
                    expires_at: *hold_until,
                    end: None,
                    end_seq: None,
                    end_commit: None,
                };
                self.rows.holds.push((hold, *wallet));
                item.id.bytes()
            }
            Action::End { transaction, intent, end, .. } => {
                let command = match end {
                    HoldEnd::Settled => Command::Settle(*transaction),
                    HoldEnd::Voided => Command::Void(*transaction),
                    HoldEnd::Expired => Command::Expire(*transaction),
                };
                let applied = self.books.apply(&command, self.now)?;
                self.rows.ends.push((*transaction, *intent, *end, applied.first_seq));
                transaction.bytes()
            }
            Action::Sweep(account) => {
                let swept = self.sweep(*account);
                let answer = swept.map_or([0; 16], |(id, _)| id.bytes());
                self.note_sweep(swept);
                answer
            }
            Action::SetLimits(change) => self.set_limits(change)?,
        };
        // The place of the first transfer stands in for its leaf hash, which is known when all are written.
        let settlement = (self.books.next_seq() > first_seq).then(|| placeholder(first_seq));
        let done = Done { at: self.now, commit: self.commit, settlement, refusals: Arc::new(refusals) };
        if let Action::Batch(batch) = &work.action {
            self.rows.batches.push(BatchRow {
                id: batch.id,
                item_count: u32::try_from(batch.items.len()).expect("a batch has few items"),
                refusals: done.refusals.clone(),
                import: batch.import,
            });
        }
        Ok((done, answer))
    }

    fn pay_all(&mut self, batch: &Batch, work: &Work) -> Vec<(u32, Problem)> {
        let mark = self.books.mark();
        let mut applied = Vec::with_capacity(batch.items.len());
        let mut refusals: Vec<(u32, Refusal)> = Vec::new();
        for (index, item) in (0u32..).zip(&batch.items) {
            let outcome = match item {
                Ok(item) => self
                    .apply(&item.legs, |books, _| books.transfer_legs(item.id, &item.legs))
                    .map(|(swept, applied)| (item, swept, applied)),
                Err(refusal) => Err(*refusal),
            };
            match outcome {
                Ok(done) => applied.push(done),
                Err(refusal) => refusals.push((index, refusal)),
            }
        }
        if batch.is_atomic && !refusals.is_empty() {
            self.books.go_back(mark);
            applied.clear();
            let own: HashMap<u32, Refusal> = refusals.into_iter().collect();
            let all = 0..u32::try_from(batch.items.len()).expect("a batch has few items");
            refusals = all.map(|at| (at, own.get(&at).copied().unwrap_or(Refusal::RolledBack))).collect();
        }
        if !applied.is_empty() {
            let order = self.order(work);
            for (item, swept, applied) in applied {
                self.note_sweep(swept);
                self.note(item, applied, &order);
            }
        }
        self.rows.refusal_count += refusals.len();
        refusals.into_iter().map(|(at, refusal)| (at, Problem::from(refusal))).collect()
    }

    /// Applies what takes `legs`. A giver that lacks the money first gets what its stripes received: a balance is never
    /// looked at there.
    fn apply(
        &mut self,
        legs: &[Leg],
        apply: impl Fn(&mut Books, Timestamp) -> Result<Applied, books::Refusal>,
    ) -> Result<(Option<Swept>, Applied), Refusal> {
        let giver = legs.first().map(|leg| leg.debit);
        let named = |refusal: books::Refusal, books: &Books| {
            let account = giver.and_then(|giver| books.account(giver));
            let currency = account.and_then(|account| Currency::by_id(account.currency));
            let refusal = Refusal::from(refusal);
            match (refusal, currency) {
                (Refusal::LimitExceeded { .. }, Some(currency)) => refusal.of(currency),
                _ => refusal,
            }
        };
        match apply(self.books, self.now) {
            Ok(applied) => Ok((None, applied)),
            Err(books::Refusal::InsufficientFunds)
                if giver.is_some_and(|id| self.stripes.contains_key(&id)) =>
            {
                let mark = self.books.mark();
                let swept = giver.and_then(|giver| self.sweep(giver));
                match apply(self.books, self.now) {
                    Ok(applied) => Ok((swept, applied)),
                    Err(refusal) => {
                        self.books.go_back(mark);
                        Err(named(refusal, self.books))
                    }
                }
            }
            Err(refusal) => Err(named(refusal, self.books)),
        }
    }

    /// Moves what the stripes of `account` received into it.
    fn sweep(&mut self, account: AccountId) -> Option<Swept> {
        let stripes = self.stripes.get(&account)?;
        let legs: Vec<Leg> = stripes
            .iter()
            .filter_map(|stripe| {
                let received = self.books.account(*stripe)?.posted();
                (!received.is_negative() && !received.magnitude().is_zero()).then(|| Leg {
                    debit: *stripe,
                    credit: account,
                    amount: received.magnitude(),
                    purpose: Purpose::Sweep,
                })
            })
            .collect();
        let id = TransactionId::new(&self.env);
        let applied = self.books.transfer_legs(id, &legs).ok()?;
        Some((id, applied))
    }

    fn set_limits(&mut self, change: &LimitChange) -> Result<[u8; 16], Refusal> {
        let account = self.books.account(change.account).ok_or(Refusal::WalletNotFound)?;
        let mut limits = account.limits.as_deref().copied().unwrap_or_default();
        let defaults = self.books.defaults_of(account.currency);
        let mut changes = Vec::with_capacity(change.wanted.len());
        for (kind, wanted) in &change.wanted {
            let effective = defaults.effective(Some(&limits), *kind, self.now);
            let is_raise = effective.is_some_and(|effective| *wanted > effective);
            let asked = limits.get(*kind).and_then(|limit| limit.raised).map(|(amount, _)| amount);
            if is_raise && change.is_operator && asked != Some(*wanted) {
                // Two persons raise a limit: the owner asks, the operator confirms.
                return Err(Refusal::InvalidState("not what the owner asked for"));
            }
            let waits = limits.change(*kind, effective, *wanted, self.now, change.is_operator);
            changes.push((*kind, *wanted, waits));
        }
        self.books.set_limits(change.account, limits)?;
        let (account, wallet, by) = (change.account, change.wallet, change.by.clone());
        self.rows.limits.push(LimitsRow { account, wallet, by, limits, changes });
        Ok(change.wallet.bytes())
    }

    /// Gives the order behind a work its number; (0, nothing) where nobody signed.
    fn order(&mut self, work: &Work) -> (i64, Sha256) {
        let Some(order) = &work.order else { return (0, NO_ORDER) };
        self.last_order += 1;
        let order = OrderRow { id: self.last_order, ..order.clone() };
        let digest = order.digest();
        self.rows.orders.push(order);
        (self.last_order, digest)
    }

    fn note_sweep(&mut self, swept: Option<Swept>) {
        let Some((id, applied)) = swept else { return };
        self.rows.digests.push(NO_ORDER);
        self.rows.transactions.push(TransactionRow {
            id,
            kind: TransactionKind::Sweep,
            first_seq: applied.first_seq,
            transfer_count: count(applied.count),
            order: 0,
            intent: None,
            client_ref: None,
            purpose: None,
            commit: self.commit,
        });
    }

    fn note(&mut self, item: &Item, applied: Applied, order: &(i64, Sha256)) {
        self.rows.payment_count += 1;
        self.rows.digests.push(order.1);
        self.rows.transactions.push(TransactionRow {
            id: item.id,
            kind: item.kind,
            first_seq: applied.first_seq,
            transfer_count: count(applied.count),
            order: order.0,
            intent: item.intent,
            client_ref: item.client_ref.clone(),
            purpose: item.purpose.clone(),
            commit: self.commit,
        });
    }
}

fn count(length: usize) -> i64 {
    i64::try_from(length).expect("a commit has few rows")
}

fn placeholder(seq: i64) -> Sha256 {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seq.to_be_bytes());
    bytes
}

/// Puts the leaf hashes where the places of the transfers stood.
fn settle_hashes(outcomes: &mut [Outcome], first_seq: i64, leaves: &[Sha256]) {
    for outcome in outcomes {
        if let Outcome::Done(Done { settlement: Some(settlement), .. }) = outcome {
            let seq = i64::from_be_bytes(*settlement.first_chunk().expect("a digest has 32 bytes"));
            let at = usize::try_from(seq - first_seq).expect("the transfer is of this commit");
            *settlement = leaves[at];
        }
    }
}

/// A sweep that was applied.
type Swept = (TransactionId, Applied);

/// Where the intents are that are to be signed or end, locked against other writers until the commit.
fn lock_intents(tx: &mut Tx<'_>, works: &[Work]) -> Result<HashMap<IntentId, IntentStatus>, DbError> {
    let ids: BTreeSet<IntentId> = works
        .iter()
        .filter_map(|work| match &work.action {
            Action::Sign { intent, .. } | Action::End { intent, .. } => Some(*intent),
            _ => None,
        })
        .collect();
    let mut intents = HashMap::new();
    for id in ids {
        if let Some(status) = store::intents::lock_status(tx, id)? {
            intents.insert(id, status);
        }
    }
    Ok(intents)
}

fn lock_holds(tx: &mut Tx<'_>, books: &mut Books, works: &[Work]) -> Result<(), DbError> {
    let ids: BTreeSet<TransactionId> = works
        .iter()
        .filter_map(|work| match &work.action {
            Action::End { transaction, .. } => Some(*transaction),
            _ => None,
        })
        .collect();
    for id in ids {
        if let Some(hold) = store::ledger::lock_hold(tx, id)? {
            books.load_hold(id, hold);
        }
    }
    Ok(())
}

fn load_accounts(
    tx: &mut Tx<'_>,
    books: &mut Books,
    works: &[Work],
    stripes: &HashMap<AccountId, Vec<AccountId>>,
) -> Result<(), DbError> {
    let mut missing: Vec<AccountId> = Vec::new();
    let mut need = |books: &Books, leg: &Leg| {
        missing.extend([leg.debit, leg.credit].into_iter().filter(|id| books.account(*id).is_none()));
        if let Some(stripes) = stripes.get(&leg.debit) {
            missing.extend(stripes.iter().copied().filter(|id| books.account(*id).is_none()));
        }
    };
    let mut alone: Vec<AccountId> = Vec::new();
    for work in works {
        match &work.action {
            Action::Pay(item) | Action::Sign { item, .. } => {
                item.legs.iter().for_each(|leg| need(books, leg));
            }
            Action::Batch(batch) => {
                let items = batch.items.iter().flatten();
                items.flat_map(|item| &item.legs).for_each(|leg| need(books, leg));
            }
            Action::End { transaction, .. } => {
                let legs = books.hold(*transaction).map(|hold| hold.legs.clone()).unwrap_or_default();
                for (_, leg) in &legs {
                    need(books, leg);
                }
            }
            Action::Sweep(account) => {
                alone.push(*account);
                alone.extend(stripes.get(account).into_iter().flatten());
            }
            Action::SetLimits(change) => alone.push(change.account),
        }
    }
    missing.extend(alone.into_iter().filter(|id| books.account(*id).is_none()));
    missing.sort_unstable();
    missing.dedup();
    for account in store::ledger::lock_accounts(tx, &missing)? {
        books.load_account(account);
    }
    Ok(())
}
