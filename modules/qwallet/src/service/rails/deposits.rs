//! Deposits: seen, shown as coming, credited when final, taken away by a rewritten chain.

use std::sync::Arc;

use q_core::{Amount, AuditEntry, Caller};
use q_db::{DbError, Tx};
use qwallet_api::{Deposit, DepositList, RailDeposit, RailReorg, TransactionId};
use qwallet_rails::{Arrival, Block};

use super::{Entry, Side, Trouble};
use crate::{
    domain::{
        account::AccountId,
        books::HoldEnd,
        currency::Currency,
        payment::Refusal,
        rails::{self, DepositStatus},
        transfer::{Leg, Purpose},
    },
    error::Error,
    service::{
        Service,
        commit::{Action, Item, Outcome, Work},
        record::{Decision, Moment, Record, RecordKey, RecordTable, Step},
    },
    store::{
        self,
        ledger::TransactionKind,
        rails::{AddressRow, DepositRow},
    },
};

impl Service {
    /// What came to a wallet from outside.
    pub async fn deposits(&self, caller: &Caller, name: &str) -> Result<DepositList, Error> {
        let wallet = self.readable(caller, name).await?.row.id;
        let rows = self.db.read(move |reader| store::rails::deposits_of(reader, wallet)).await?;
        let items = rows.into_iter().map(|row| self.deposit(row)).collect::<Result<_, _>>()?;
        Ok(DepositList { items })
    }

    pub(super) fn deposit(&self, row: DepositRow) -> Result<Deposit, Error> {
        let currency: &Currency = self.rails.currency_of(&row.rail)?;
        Ok(Deposit {
            deposit_id: row.id,
            status: row.status.name().to_owned(),
            amount: row.amount.map(|amount| currency.text(amount)),
            currency: currency.code.to_owned(),
            chain_hash: row.arrival.hash,
            block: row.arrival.block.height,
            sender: row.arrival.from,
            seen_at: row.seen_at,
            rail: row.rail,
        })
    }

    /// Takes in what the blocks `from..=to` show: new deposits are held, those that are gone are freed.
    pub(super) async fn take_in(
        &self,
        entry: &Entry,
        from: u64,
        to: u64,
        addresses: &[AddressRow],
    ) -> Result<(), Trouble> {
        let texts: Vec<String> = addresses.iter().map(|row| row.address.clone()).collect();
        let seen = entry.rail().scan_deposits(from, to, &texts).await?;
        let rail = entry.name();
        let hashes: Vec<String> = seen.iter().map(|arrival| arrival.hash.clone()).collect();
        let read = self.db.read(move |reader| {
            let mut ours = Vec::with_capacity(hashes.len());
            for hash in &hashes {
                ours.push(store::rails::is_ours(reader, rail, hash)?);
            }
            Ok::<_, DbError>((store::rails::known_deposits(reader, rail, from, &hashes)?, ours))
        });
        let (known, ours) = read.await?;
        // What we moved between our own addresses came from nobody.
        let seen = seen.into_iter().zip(ours).filter(|(_, is_ours)| !is_ours).map(|(arrival, _)| arrival);
        let changes = rails::compare(&known, seen.collect(), from, to);
        for arrival in changes.new {
            self.see(entry, arrival, addresses).await?;
        }
        for (id, arrival) in changes.moved {
            self.change(entry.side(), id, Change::Moved(arrival, TransactionId::new(&self.env))).await?;
        }
        for (id, _) in changes.gone {
            self.change(entry.side(), id, Change::Gone).await?;
        }
        Ok(())
    }

    /// Credits what is final. What a wallet may not take now waits for the next visit.
    pub(super) async fn credit(&self, entry: &Entry, to: u64) -> Result<(), Trouble> {
        let rail = entry.name();
        let pending = self.db.read(move |reader| store::rails::pending_deposits(reader, rail, to)).await?;
        for row in pending {
            self.change(entry.side(), row.id, Change::Final(TransactionId::new(&self.env))).await?;
        }
        Ok(())
    }

    async fn see(&self, entry: &Entry, arrival: Arrival, addresses: &[AddressRow]) -> Result<(), Trouble> {
        let address = addresses.iter().find(|row| row.address == arrival.to);
        let address = address.ok_or_else(|| Trouble::Contradiction("a deposit to nobody".to_owned()))?;
        let row = DepositRow {
            id: TransactionId::new(&self.env),
            rail: entry.name().to_owned(),
            wallet: address.wallet,
            amount: arrival.amount.and_then(|units| entry.in_books(units)),
            arrival,
            status: DepositStatus::Pending,
            held: None,
            seen_at: self.env.now(),
        };
        let is_held = row.amount.is_some();
        let held = is_held.then(|| TransactionId::new(&self.env));
        let outcome = self.submit(entry.side(), row.clone(), Change::New(held)).await?;
        if let (Outcome::Refused(_), true) = (outcome, is_held) {
            // The wallet may take nothing at present: it is noted all the same, and credited when it may.
            self.submit(entry.side(), row, Change::New(None)).await?;
        }
        Ok(())
    }

    async fn change(&self, side: Side, id: TransactionId, change: Change) -> Result<(), Trouble> {
        let find = move |tx: &mut Tx<'_>| store::rails::lock_deposit(tx, id);
        let row = self.db.write(find).await?.ok_or(Error::Inconsistent("a deposit"))?;
        if let Outcome::Refused(refusal) = self.submit(side, row, change).await? {
            tracing::info!(rail = side.name, deposit = %id, %refusal, "a deposit stays as it is");
        }
        Ok(())
    }

    pub(super) async fn submit(
        &self,
        side: Side,
        row: DepositRow,
        change: Change,
    ) -> Result<Outcome, Trouble> {
        let account = match row.wallet {
            None => side.accounts.suspense,
            Some(wallet) => {
                let found = self.directory.find(&wallet.to_string()).await?;
                let account = found.and_then(|wallet| wallet.accounts.account(side.currency.id));
                account.ok_or(Error::Inconsistent("the wallet of a deposit"))?
            }
        };
        let record = DepositRecord { row, account, rail: side.accounts.rail, change };
        let action = Action::Record(Arc::new(record));
        let work = Work { request: None, nonce: None, expires_at: None, order: None, action };
        Ok(self.executor.submit(work).await?)
    }
}

/// What happens to a deposit.
#[derive(Debug)]
pub(super) enum Change {
    /// It is seen for the first time, and held under this transaction.
    New(Option<TransactionId>),
    /// It is in another block now, or there again; then it is held anew under this transaction.
    Moved(Arrival, TransactionId),
    /// It is seen and final at once; it is paid under this transaction.
    Booked(TransactionId),
    /// The chain was rewritten without it.
    Gone,
    /// It is final; what was not held is paid under this transaction.
    Final(TransactionId),
}

/// A deposit in the executor.
#[derive(Debug)]
struct DepositRecord {
    row: DepositRow,
    account: AccountId,
    rail: AccountId,
    change: Change,
}

impl DepositRecord {
    fn item(&self, id: TransactionId, amount: Amount) -> Item {
        let leg = Leg { debit: self.rail, credit: self.account, amount, purpose: Purpose::Deposit };
        let kind = TransactionKind::Deposit;
        Item { id, kind, legs: vec![leg], intent: None, client_ref: None, purpose: None }
    }

    /// The steps, and where the deposit is then.
    fn next(&self, now: &DepositRow) -> Option<Next> {
        let block = &now.arrival.block;
        let (pending, removed) = (DepositStatus::Pending, DepositStatus::Removed);
        match (&self.change, now.status) {
            (Change::New(held), _) => {
                let steps = held.zip(now.amount).map(|(id, amount)| Step::Hold(self.item(id, amount), None));
                Some(Next {
                    steps: steps.into_iter().collect(),
                    block: block.clone(),
                    status: pending,
                    held: *held,
                })
            }
            (Change::Booked(id), _) => now.amount.map(|amount| Next {
                steps: vec![Step::Pay(self.item(*id, amount))],
                block: block.clone(),
                status: DepositStatus::Credited,
                held: Some(*id),
            }),
            (Change::Moved(arrival, _), DepositStatus::Pending) => Some(Next {
                steps: Vec::new(),
                block: arrival.block.clone(),
                status: pending,
                held: now.held,
            }),
            (Change::Moved(arrival, id), DepositStatus::Removed) => {
                let held = now.amount.map(|amount| Step::Hold(self.item(*id, amount), None));
                let (held, id) = (held.into_iter().collect(), now.amount.map(|_| *id));
                Some(Next { steps: held, block: arrival.block.clone(), status: pending, held: id })
            }
            (Change::Gone, DepositStatus::Pending) => {
                let steps = now.held.map(|id| Step::End(id, HoldEnd::Voided)).into_iter().collect();
                Some(Next { steps, block: block.clone(), status: removed, held: now.held })
            }
            (Change::Final(id), DepositStatus::Pending) => {
                let (steps, status, held) = match (now.held, now.amount) {
                    (Some(held), _) => {
                        (vec![Step::End(held, HoldEnd::Settled)], DepositStatus::Credited, Some(held))
                    }
                    (None, Some(amount)) => {
                        (vec![Step::Pay(self.item(*id, amount))], DepositStatus::Credited, Some(*id))
                    }
                    (None, None) => (Vec::new(), DepositStatus::HeldBack, None),
                };
                Some(Next { steps, block: block.clone(), status, held })
            }
            (Change::Moved(..) | Change::Gone | Change::Final(_), _) => None,
        }
    }
}

struct Next {
    steps: Vec<Step>,
    block: Block,
    status: DepositStatus,
    held: Option<TransactionId>,
}

impl Record for DepositRecord {
    fn key(&self) -> RecordKey {
        RecordKey(RecordTable::Deposits, self.row.id.bytes())
    }

    fn lock(&self, tx: &mut Tx<'_>) -> Result<(), DbError> {
        match self.change {
            // Two processes may see it at once; the row is not there yet.
            Change::New(_) | Change::Booked(_) => {
                tx.lock(&format!("qwallet deposit {}", self.row.arrival.hash))
            }
            Change::Moved(..) | Change::Gone | Change::Final(_) => {
                store::rails::lock_deposit(tx, self.row.id).map(drop)
            }
        }
    }

    fn accounts(&self) -> Vec<AccountId> {
        vec![self.account, self.rail]
    }

    fn holds(&self) -> Vec<TransactionId> {
        self.row.held.into_iter().collect()
    }

    fn decide(&self, tx: &mut Tx<'_>, _: Moment) -> Result<Result<Decision<'_>, Refusal>, DbError> {
        let is_new = matches!(self.change, Change::New(_) | Change::Booked(_));
        let arrival = &self.row.arrival;
        let now = if is_new {
            let known = store::rails::is_known_deposit(tx, &self.row.rail, &arrival.hash, arrival.place)?;
            (!known).then(|| self.row.clone())
        } else {
            // Somebody else may have gone on from where it was when it was read.
            store::rails::lock_deposit(tx, self.row.id)?.filter(|row| row.held == self.row.held)
        };
        let Some((next, now)) = now.and_then(|now| Some((self.next(&now)?, now))) else {
            return Ok(Err(Refusal::InvalidState("as another process left it")));
        };
        let Next { steps, block, status, held } = next;
        let write = move |tx: &mut Tx<'_>, _: Moment| {
            if is_new {
                store::rails::insert_deposit(tx, &DepositRow { status, held, ..now.clone() })?;
            } else {
                store::rails::update_deposit(tx, now.id, &block, status, held)?;
            }
            if matches!(self.change, Change::Gone) {
                let height = now.arrival.block.height;
                tx.emit(&RailReorg { rail: now.rail.clone(), block: height, transaction_id: now.id })?;
            }
            if is_new || status != now.status {
                tx.emit(&RailDeposit {
                    deposit_id: now.id,
                    wallet_id: now.wallet,
                    rail: now.rail.clone(),
                    status: status.name().to_owned(),
                })?;
                let facts = serde_json::json!({
                    "rail": now.rail, "status": status.name(), "hash": now.arrival.hash,
                    "block": block.height, "units": now.amount.map(|amount| amount.units().to_string()),
                });
                tx.audit(AuditEntry::change("rail.deposit", None, now.id).details(facts))?;
            }
            Ok(())
        };
        Ok(Ok(Decision { steps, answer: self.row.id.bytes(), write: Box::new(write) }))
    }
}
