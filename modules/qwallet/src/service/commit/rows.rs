//! What a commit writes, at its end and in few statements.
//!
//! **Invariant:** nothing is decided here.

use std::sync::Arc;

use q_contract::Problem;
use q_core::{Amount, AuditEntry, Did, Timestamp, hash::Sha256};
use q_db::{DbError, Tx};
use qwallet_api::{BatchId, ImportId, IntentId, TransactionId, WalletId, events};

use super::{Done, Outcome};
use crate::{
    domain::{
        account::{AccountId, Changed},
        books::{Books, HoldEnd},
        calendar::Zone,
        chain::{self, Commit},
        limits::{LimitKind, OwnLimits},
        told,
        transfer::Transfer,
    },
    store::{
        self,
        captures::CaptureRow,
        holds::HoldRow,
        intents::IntentStatus,
        ledger::{ChainEnd, OrderRow, TransactionKind, TransactionRow},
        requests::{Nonce, Request},
    },
};

/// A batch that was carried out.
pub(super) struct BatchRow {
    pub(super) id: BatchId,
    pub(super) item_count: u32,
    pub(super) refusals: Arc<Vec<(u32, Problem)>>,
    pub(super) import: Option<ImportId>,
}

/// Another time zone, and the accounts that have it.
pub(super) type NewZone = (Arc<Zone>, Vec<AccountId>);

/// Limits that were changed.
pub(super) struct LimitsRow {
    pub(super) account: AccountId,
    pub(super) wallet: WalletId,
    pub(super) by: Did,
    pub(super) limits: OwnLimits,
    /// Each change: what, how much, and whether it waits.
    pub(super) changes: Vec<(LimitKind, Amount, bool)>,
    /// Another time zone, and for which accounts.
    pub(super) zone: Option<NewZone>,
    pub(super) approval: Option<serde_json::Value>,
}

/// What is to be written.
pub(super) struct Rows {
    pub(super) at: Timestamp,
    pub(super) transactions: Vec<TransactionRow>,
    pub(super) digests: Vec<Sha256>,
    pub(super) orders: Vec<OrderRow>,
    pub(super) requests: Vec<(Request, [u8; 16])>,
    pub(super) nonces: Vec<Nonce>,
    pub(super) holds: Vec<(HoldRow, Option<WalletId>)>,
    pub(super) ends: Vec<(TransactionId, Option<IntentId>, HoldEnd, i64)>,
    pub(super) captures: Vec<CaptureRow>,
    /// How many of them are written already.
    pub(super) captures_written: usize,
    pub(super) audits: Vec<AuditEntry>,
    pub(super) batches: Vec<BatchRow>,
    pub(super) limits: Vec<LimitsRow>,
    pub(super) guards: Vec<AccountId>,
    pub(super) payment_count: usize,
    pub(super) refusal_count: usize,
}

impl Rows {
    /// What makes repetitions of the commit's commands recognisable.
    pub(super) fn take_requests(&mut self) -> (Vec<(Request, [u8; 16])>, Vec<Nonce>) {
        (std::mem::take(&mut self.requests), std::mem::take(&mut self.nonces))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.transactions.is_empty()
            && self.ends.is_empty()
            && self.captures.is_empty()
            && self.batches.is_empty()
    }

    /// Writes the parts taken so far, before a record looks at what is left.
    pub(super) fn write_captures(&mut self, tx: &mut Tx<'_>) -> Result<(), DbError> {
        for capture in &self.captures[self.captures_written..] {
            store::captures::insert(tx, capture)?;
        }
        self.captures_written = self.captures.len();
        Ok(())
    }

    pub(super) fn write(
        mut self,
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
        self.write_captures(tx)?;
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
        for entry in &self.audits {
            tx.audit(entry.clone())?;
        }
        // One row per commit and not per payment: the payments are in the journal under this head.
        tx.audit(AuditEntry::change("ledger.commit", None, format!("commit {commit_id}")).details(facts))?;
        // Nor an event per payment: they are computed from the journal when somebody follows (`domain::told`).
        if journal.iter().any(told::tells) {
            tx.emit(&events::LedgerCommitted { writer, number })?;
        }
        let end = ChainEnd { number, next_seq: books.next_seq(), last_order, head, at: self.at };
        Ok((end, outcomes))
    }

    pub(super) fn write_limits(&self, tx: &mut Tx<'_>) -> Result<(), DbError> {
        for row in &self.limits {
            if !row.changes.is_empty() {
                store::ledger::set_limits(tx, row.account, &row.limits)?;
            }
            for (zone, account) in
                row.zone.iter().flat_map(|(zone, accounts)| accounts.iter().map(move |id| (zone, id)))
            {
                store::ledger::set_zone(tx, *account, zone)?;
            }
            let changes: Vec<_> = row
                .changes
                .iter()
                .map(|(kind, amount, waits)| {
                    serde_json::json!({"kind": kind.name(), "units": amount.units().to_string(), "waits": waits})
                })
                .collect();
            let facts = serde_json::json!({
                "account": row.account.0, "changes": changes, "approval": row.approval,
                "timezone": row.zone.as_ref().map(|(zone, _)| zone.name()),
            });
            tx.audit(AuditEntry::change("wallet.limits", Some(&row.by), row.wallet).details(facts))?;
        }
        Ok(())
    }

    pub(super) fn write_guards(&self, tx: &mut Tx<'_>) -> Result<(), DbError> {
        self.guards.iter().try_for_each(|account| store::ledger::guard(tx, *account))
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
            store::holds::insert(tx, hold)?;
            let (Some(intent), Some(wallet)) = (hold.intent, wallet) else { continue };
            let (pending, signed) = (IntentStatus::Pending, IntentStatus::Signed);
            store::intents::advance(tx, intent, pending, signed, Some(hold.transaction))?;
            tx.emit(&events::TransactionSigned {
                transaction_id: hold.transaction,
                intent_id: intent,
                wallet_id: *wallet,
                hold_expires_at: hold.expires_at,
            })?;
        }
        for (transaction, intent, end, seq) in &self.ends {
            store::holds::end(tx, *transaction, *end, *seq, commit_id)?;
            let to = match end {
                HoldEnd::Settled => IntentStatus::Settled,
                HoldEnd::Voided => IntentStatus::Cancelled,
                HoldEnd::Expired => IntentStatus::Expired,
            };
            if let Some(intent) = intent {
                store::intents::advance(tx, *intent, IntentStatus::Signed, to, None)?;
            }
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

pub(super) fn count(length: usize) -> i64 {
    i64::try_from(length).expect("a commit has few rows")
}

pub(super) fn placeholder(seq: i64) -> Sha256 {
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
