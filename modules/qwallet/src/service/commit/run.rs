//! Deciding the commands of a commit, one after the other.
//!
//! **Invariant:** a refused command leaves no trace.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use q_contract::Problem;
use q_core::{Amount, Env, Timestamp, hash::Sha256};
use q_db::{DbError, Tx};
use qwallet_api::{IntentId, TransactionId, WalletId};

use super::{
    Action, Authority, Batch, Done, Item, Ledger, LimitChange, Outcome, Striped, Work,
    guards::Guards,
    load,
    rows::{BatchRow, LimitsRow, NewZone, Rows, count, placeholder},
};
use crate::{
    domain::{
        account::{self, AccountId},
        books::{self, Applied, Books, Command, Group, HoldEnd},
        calendar::{UTC, Zone},
        currency::Currency,
        limits::LimitKind,
        order::SignatureFault,
        payment::Refusal,
        transfer::{Leg, Purpose},
    },
    service::record::{Decision, Moment, Record, Step},
    store::{
        self,
        holds::HoldRow,
        intents::IntentStatus,
        ledger::{ChainEnd, NO_ORDER, OrderRow, TransactionKind, TransactionRow},
        requests::Nonce,
    },
};

/// Why somebody cannot raise a limit.
const SUB_RAISES: &str =
    "a wallet below another never raises its own limits: its parent or guardian does, or two operators";
const ZONE_CHOICE: &str =
    "the owner of a wallet chooses its time zone; for a wallet below another its parent or guardian does";
const DAO_RAISES: &str = "what is delegated to a DAO is raised by two operators under one signed order";

/// What is known while deciding.
pub(super) struct Run<'a> {
    pub(super) books: &'a mut Books,
    stripes: &'a Striped,
    env: Env,
    pub(super) now: Timestamp,
    pub(super) commit: i64,
    requests: HashMap<[u8; 16], ([u8; 32], [u8; 16])>,
    nonces: HashSet<[u8; 16]>,
    intents: HashMap<IntentId, IntentStatus>,
    guards: Guards,
    last_order: i64,
    pub(super) rows: Rows,
}

impl<'a> Run<'a> {
    /// Reads everything the commands need, in few questions.
    ///
    /// Rows are locked in one order by everybody (records, uses, intents, holds, accounts; each by its key), so that nobody waits in a
    /// circle. Keys are looked for once the payers' accounts are locked, so that whoever used them first has committed: a
    /// repetition is answered as such, whatever has become of the money. A nonce that is spent meanwhile is refused by
    /// its primary key, and found when the commit is made anew (docs/decisions/0009).
    pub(super) fn begin(
        tx: &mut Tx<'_>,
        ledger: &'a mut Ledger,
        chain: ChainEnd,
        works: &[Work],
        stripes: &'a Striped,
    ) -> Result<Self, DbError> {
        let nonces: Vec<Nonce> = works.iter().filter_map(|work| work.nonce).collect();
        let hours = match &mut ledger.nonce_hours {
            Some(hours) => hours,
            unknown => {
                let sorted = store::requests::nonce_hours(tx)?;
                unknown.insert(&sorted | &ledger.recents.hours())
            }
        };
        let mut spent = ledger.recents.spent(&nonces);
        spent.extend(store::requests::spent(tx, &nonces, hours)?);
        // Remembered although the commit may fail: an hour without nonces costs one look-up, no more.
        hours.extend(nonces.iter().map(|nonce| nonce.hour));
        let forgotten_before = Nonce::hour_of(tx.now().max(chain.at)) - 1;
        hours.retain(|hour| *hour >= forgotten_before);
        let books = &mut ledger.books;
        load::lock_records(tx, works)?;
        load::lock_uses(tx, works)?;
        let intents = load::lock_intents(tx, works)?;
        load::lock_holds(tx, books, works)?;
        let parents = if ledger.is_shared { Some(&mut ledger.parents) } else { None };
        if !load::load_accounts(tx, books, works, stripes, parents)? {
            ledger.has_learnt = true;
            return Err(DbError::Aborted);
        }
        // The time of a writer never goes back, whatever the host's clock does.
        let mut now = tx.now().max(chain.at);
        if ledger.is_shared {
            // Nor does it along an account, whoever wrote to it: what follows another writer's commit is later.
            let writer = ledger.lease.writer;
            let later = books.accounts().map(|account| match account.changed {
                account::Changed { at, by } if by == writer => at,
                account::Changed { at, .. } => Timestamp::from_micros(at.micros() + 1),
            });
            now = later.max().map_or(now, |later| later.max(now));
        }
        books.set_now(now);
        let guards = Guards::load(tx, books, works, now)?;
        let keys: Vec<[u8; 16]> = works.iter().filter_map(|work| Some(work.request?.key)).collect();
        let mut known = ledger.recents.find(&keys);
        known.extend(store::requests::find(tx, &keys)?);
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
            guards,
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
                captures: Vec::new(),
                captures_written: 0,
                audits: Vec::new(),
                batches: Vec::new(),
                limits: Vec::new(),
                guards: Vec::new(),
                payment_count: 0,
                refusal_count: 0,
            },
        })
    }

    pub(super) fn decide(&mut self, tx: &mut Tx<'_>, work: &Work) -> Result<Outcome, DbError> {
        if let Some(request) = &work.request
            && let Some((fingerprint, answer)) = self.requests.get(&request.key)
        {
            return Ok(if *fingerprint == request.fingerprint {
                Outcome::Replayed(*answer)
            } else {
                Outcome::Refused(Refusal::KeyReused)
            });
        }
        let decided = match &work.action {
            Action::Record(record) => self.decide_record(tx, work, &**record)?,
            _ => self.decide_new(work),
        };
        Ok(match decided {
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
        })
    }

    /// Whether the order behind a work may still be executed.
    fn check_order(&self, work: &Work) -> Result<(), Refusal> {
        if work.expires_at.is_some_and(|expires_at| expires_at <= self.now) {
            return Err(Refusal::Expired);
        }
        if work.nonce.is_some_and(|nonce| self.nonces.contains(&nonce.nonce)) {
            return Err(Refusal::Signature(SignatureFault::NonceSpent));
        }
        Ok(())
    }

    fn decide_record(
        &mut self,
        tx: &mut Tx<'_>,
        work: &Work,
        record: &dyn Record,
    ) -> Result<Result<(Done, [u8; 16]), Refusal>, DbError> {
        if let Err(refusal) = self.check_order(work) {
            return Ok(Err(refusal));
        }
        let moment = Moment { at: self.now, commit: self.commit };
        let first_seq = self.books.next_seq();
        self.rows.write_captures(tx)?;
        let Decision { steps, answer, write } = match record.decide(tx, moment)? {
            Ok(decision) => decision,
            Err(refusal) => return Ok(Err(refusal)),
        };
        if let Err(refusal) = self.take_steps(&steps, work) {
            return Ok(Err(refusal));
        }
        write(tx, moment)?;
        Ok(Ok((self.done(first_seq, Vec::new()), answer)))
    }

    /// Takes every step of a record, or none.
    fn take_steps(&mut self, steps: &[Step], work: &Work) -> Result<(), Refusal> {
        let items = steps.iter().filter_map(|step| match step {
            Step::Pay(item) | Step::Hold(item, _) => Some(item),
            Step::End(..) | Step::Settle(..) | Step::Guard(_) | Step::Terms(..) | Step::Change(_) => None,
        });
        let approved_as = match &work.action {
            Action::Record(record) => record.approved_as().map(TransactionId::bytes),
            _ => None,
        };
        self.guards.check(self.books, items.flat_map(|item| &item.legs), approved_as)?;
        let mark = self.books.mark();
        let (mut taken, mut changes) = (Vec::with_capacity(steps.len()), Vec::new());
        for step in steps {
            let applied = match step {
                Step::Pay(item) => {
                    self.apply(&item.legs, |books, _| books.transfer_legs(item.id, &item.legs))
                }
                Step::Hold(item, until) => self.hold(item, until.unwrap_or(Timestamp::MAX)),
                // What left a frozen wallet over a rail has left it; what comes to one waits.
                Step::End(transaction, HoldEnd::Settled) if self.books.frozen_ends(*transaction).1 => {
                    Err(Refusal::WalletFrozen)
                }
                Step::End(transaction, end) => {
                    let applied = self.books.apply(&end_of(*transaction, *end), self.now);
                    applied.map(|applied| (Vec::new(), applied)).map_err(Refusal::from)
                }
                Step::Settle(transaction, _) if self.books.frozen_ends(*transaction) != (false, false) => {
                    Err(Refusal::WalletFrozen)
                }
                Step::Settle(transaction, _) => {
                    let applied = self.books.apply(&Command::Settle(*transaction), self.now);
                    applied.map(|applied| (Vec::new(), applied)).map_err(Refusal::from)
                }
                Step::Guard(account) => match self.books.guard(*account) {
                    Ok(()) => continue,
                    Err(refusal) => Err(refusal.into()),
                },
                Step::Terms(account, terms) => match self.books.set_terms(*account, terms) {
                    Ok(()) => continue,
                    Err(refusal) => Err(refusal.into()),
                },
                Step::Change(change) => self.change_hold(change).map(|changed| {
                    changes.push(changed);
                    (Vec::new(), changed.applied)
                }),
            };
            match applied {
                Ok(applied) => taken.push((step, applied)),
                Err(refusal) => {
                    self.books.go_back(mark);
                    return Err(refusal);
                }
            }
        }
        self.rows.guards.extend(steps.iter().filter_map(|step| match step {
            Step::Guard(account) => Some(*account),
            _ => None,
        }));
        if taken.is_empty() {
            return Ok(());
        }
        let order = self.order(work);
        for changed in changes {
            self.note_change(changed);
        }
        for (step, (swept, applied)) in taken {
            self.note_sweep(swept);
            match step {
                Step::Pay(item) => self.note(item, applied, &order),
                Step::Hold(item, until) => {
                    self.note(item, applied, &order);
                    self.note_hold(item.id, None, None, until.unwrap_or(Timestamp::MAX));
                }
                Step::Guard(_) | Step::Terms(..) | Step::Change(_) => {}
                Step::End(transaction, end) => {
                    self.rows.ends.push((*transaction, None, *end, applied.first_seq));
                }
                Step::Settle(transaction, intent) => {
                    let end = HoldEnd::Settled;
                    self.rows.ends.push((*transaction, Some(*intent), end, applied.first_seq));
                }
            }
        }
        Ok(())
    }

    fn hold(&mut self, item: &Item, until: Timestamp) -> Result<(Vec<Swept>, Applied), Refusal> {
        let group = Group { id: item.id, legs: item.legs.clone() };
        let command = Command::Hold(group, until);
        self.apply(&item.legs, |books, now| books.apply(&command, now))
    }

    fn note_hold(
        &mut self,
        transaction: TransactionId,
        intent: Option<IntentId>,
        wallet: Option<WalletId>,
        expires_at: Timestamp,
    ) {
        let held_at = self.now;
        let row = HoldRow {
            transaction,
            intent,
            held_at,
            expires_at,
            end: None,
            end_seq: None,
            end_commit: None,
            captured: Amount::ZERO,
        };
        self.rows.holds.push((row, wallet));
    }

    fn done(&self, first_seq: i64, refusals: Vec<(u32, Problem)>) -> Done {
        // The place of the first transfer stands in for its leaf hash, which is known when all are written.
        let settlement = (self.books.next_seq() > first_seq).then(|| placeholder(first_seq));
        Done { at: self.now, commit: self.commit, settlement, refusals: Arc::new(refusals) }
    }

    fn decide_new(&mut self, work: &Work) -> Result<(Done, [u8; 16]), Refusal> {
        self.check_order(work)?;
        let first_seq = self.books.next_seq();
        let mut refusals = Vec::new();
        let answer = match &work.action {
            Action::Pay(item) => {
                self.guards.check(self.books, item.legs.iter(), None)?;
                let (swept, applied) =
                    self.apply(&item.legs, |books, _| books.transfer_legs(item.id, &item.legs))?;
                let order = self.order(work);
                self.note_sweep(swept);
                self.note(item, applied, &order);
                item.id.bytes()
            }
            Action::Batch(batch) => {
                // All items together: what others have to approve is not paid in pieces.
                let legs = batch.items.iter().flatten().flat_map(|item| &item.legs);
                self.guards.check(self.books, legs, None)?;
                refusals = self.pay_all(batch, work);
                batch.id.bytes()
            }
            Action::Sign { intent, wallet, item, hold_until, guardians } => {
                self.check_pending(*intent)?;
                self.guards.check(self.books, item.legs.iter(), Some(intent.bytes()))?;
                let is_lifted = self.guards.is_approved_by(*intent, guardians);
                self.books.lift_limits(item.legs.first().filter(|_| is_lifted).map(|leg| leg.debit));
                let held = self.hold(item, *hold_until);
                self.books.lift_limits(None);
                let (swept, applied) = held?;
                self.intents.insert(*intent, IntentStatus::Signed);
                let order = self.order(work);
                self.note_sweep(swept);
                self.note(item, applied, &order);
                self.note_hold(item.id, Some(*intent), Some(*wallet), *hold_until);
                item.id.bytes()
            }
            Action::End { transaction, end: HoldEnd::Settled, .. }
                if self.books.frozen_ends(*transaction) != (false, false) =>
            {
                return Err(Refusal::WalletFrozen);
            }
            Action::End { transaction, intent, end, .. } => {
                let applied = self.books.apply(&end_of(*transaction, *end), self.now)?;
                // Where a part was taken before, the books know better how it ended.
                let end = self.books.hold(*transaction).and_then(|hold| hold.end).unwrap_or(*end);
                self.rows.ends.push((*transaction, *intent, end, applied.first_seq));
                transaction.bytes()
            }
            Action::Holds(batch) => {
                refusals = self.change_all(batch);
                batch.id.bytes()
            }
            Action::Sweep(account) => {
                let swept = self.sweep(*account);
                let answer = swept.map_or([0; 16], |(id, _)| id.bytes());
                self.note_sweep(swept);
                answer
            }
            Action::SetLimits(change) => self.set_limits(change)?,
            Action::Record(_) => unreachable!("records are decided with their rows"),
        };
        let done = self.done(first_seq, refusals);
        let batch = match &work.action {
            Action::Batch(batch) => Some((batch.id, batch.items.len(), batch.import)),
            Action::Holds(batch) => Some((batch.id, batch.changes.len(), None)),
            _ => None,
        };
        if let Some((id, count, import)) = batch {
            let item_count = u32::try_from(count).expect("a batch has few items");
            self.rows.batches.push(BatchRow { id, item_count, refusals: done.refusals.clone(), import });
        }
        Ok((done, answer))
    }

    fn check_pending(&self, intent: IntentId) -> Result<(), Refusal> {
        match self.intents.get(&intent) {
            Some(IntentStatus::Pending) => Ok(()),
            Some(status) => Err(Refusal::InvalidState(status.name())),
            None => Err(Refusal::IntentNotFound),
        }
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
            refusals = all_refused(refusals, batch.items.len());
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
    ) -> Result<(Vec<Swept>, Applied), Refusal> {
        match apply(self.books, self.now) {
            Ok(applied) => Ok((Vec::new(), applied)),
            Err(books::Refusal::InsufficientFunds) if self.has_stripes(legs) => {
                let mark = self.books.mark();
                let givers: BTreeSet<AccountId> = legs.iter().map(|leg| leg.debit).collect();
                let swept = givers.into_iter().filter_map(|giver| self.sweep(giver)).collect();
                match apply(self.books, self.now) {
                    Ok(applied) => Ok((swept, applied)),
                    Err(refusal) => {
                        self.books.go_back(mark);
                        Err(self.named(refusal, legs))
                    }
                }
            }
            Err(refusal) => Err(self.named(refusal, legs)),
        }
    }

    fn has_stripes(&self, legs: &[Leg]) -> bool {
        legs.iter().any(|leg| !self.stripes.of(leg.debit).is_empty())
    }

    /// The refusal, with the currency of the limit where one would be exceeded.
    pub(super) fn named(&self, refusal: books::Refusal, legs: &[Leg]) -> Refusal {
        let account = legs.first().and_then(|leg| self.books.account(leg.debit));
        let currency = account.and_then(|account| Currency::by_id(account.currency));
        let refusal = Refusal::from(refusal);
        match (refusal, currency) {
            (Refusal::LimitExceeded { .. } | Refusal::CaptureExceeds { .. }, Some(currency)) => {
                refusal.of(currency)
            }
            _ => refusal,
        }
    }

    /// Moves what the stripes of `account` received into it.
    fn sweep(&mut self, account: AccountId) -> Option<Swept> {
        let legs: Vec<Leg> = self
            .stripes
            .of(account)
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
            // Where nothing was delegated, to delegate is a raise: it takes the place of the instance's limits.
            let is_raise = effective.map_or(*kind == LimitKind::Dao, |effective| *wanted > effective);
            let asked = limits.get(*kind).and_then(|limit| limit.raised).map(|(amount, _)| amount);
            let is_confirmed = match change.authority {
                // Two persons raise a limit: the owner asks, the operator confirms.
                Authority::Operator if is_raise && asked != Some(*wanted) => {
                    return Err(Refusal::InvalidState("not what the owner asked for"));
                }
                Authority::Parent | Authority::TwoOperators | Authority::Operator => true,
                Authority::Sub if is_raise => return Err(Refusal::Profile(SUB_RAISES)),
                Authority::Owner if is_raise && *kind == LimitKind::Dao => {
                    return Err(Refusal::Profile(DAO_RAISES));
                }
                Authority::Owner | Authority::Sub => false,
            };
            let waits = limits.change(*kind, effective, *wanted, self.now, is_confirmed);
            changes.push((*kind, *wanted, waits));
        }
        let zone = self.set_zone(change)?;
        if !changes.is_empty() {
            self.books.set_limits(change.account, limits)?;
        }
        self.rows.limits.push(LimitsRow {
            account: change.account,
            wallet: change.wallet,
            by: change.by.clone(),
            limits,
            changes,
            zone,
            approval: change.approval.clone(),
        });
        Ok(change.wallet.bytes())
    }

    /// Changes the time zone of a wallet. What was counted goes on to count, so nobody has to agree.
    fn set_zone(&mut self, change: &LimitChange) -> Result<Option<NewZone>, Refusal> {
        let Some((name, accounts)) = &change.zone else { return Ok(None) };
        match change.authority {
            Authority::Owner | Authority::Parent => {}
            Authority::Sub | Authority::Operator | Authority::TwoOperators => {
                return Err(Refusal::Profile(ZONE_CHOICE));
            }
        }
        let zone = Zone::named(name, self.now).ok_or(Refusal::Malformed("timezone"))?;
        let zone = Arc::new(zone);
        // The same zone again is no change: what began in it began in it.
        let is_other = |id: &&AccountId| {
            let known =
                self.books.account(**id).map(|account| account.zone.as_deref().map_or(UTC, Zone::name));
            known.is_some_and(|known| known != zone.name())
        };
        let others: Vec<AccountId> = accounts.iter().filter(is_other).copied().collect();
        for account in &others {
            self.books.set_zone(*account, zone.clone())?;
        }
        Ok((!others.is_empty()).then_some((zone, others)))
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

    fn note_sweep(&mut self, swept: impl IntoIterator<Item = Swept>) {
        for (id, applied) in swept {
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

/// Of an atomic batch everything is refused when one item is.
pub(super) fn all_refused(own: Vec<(u32, Refusal)>, count: usize) -> Vec<(u32, Refusal)> {
    let own: HashMap<u32, Refusal> = own.into_iter().collect();
    let all = 0..u32::try_from(count).expect("a batch has few items");
    all.map(|at| (at, own.get(&at).copied().unwrap_or(Refusal::RolledBack))).collect()
}

/// The command that ends a hold.
const fn end_of(transaction: TransactionId, end: HoldEnd) -> Command {
    match end {
        HoldEnd::Settled => Command::Settle(transaction),
        HoldEnd::Voided => Command::Void(transaction),
        HoldEnd::Expired => Command::Expire(transaction),
    }
}

/// A sweep that was applied.
type Swept = (TransactionId, Applied);
