//! What is held and taken in parts or freed, one by one or many in one command.

use q_contract::Problem;
use q_core::AuditEntry;
use qwallet_api::{IntentId, TransactionId, errors};

use super::{
    HoldBatch, HoldChange, HoldWish,
    rows::count,
    run::{Run, all_refused},
};
use crate::{
    domain::{
        books::{self, Applied, Command, HoldEnd},
        payment::Refusal,
        transfer::{Leg, Phase},
    },
    store::captures::CaptureRow,
};

/// What is held, after it was changed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Changed {
    transaction: TransactionId,
    intent: IntentId,
    pub(super) applied: Applied,
    capture: Option<CaptureRow>,
    /// How it ended, and the first transfer that ended it.
    end: Option<(HoldEnd, i64)>,
}

const HOLD_FREED: Refusal = Refusal::Record {
    code: &errors::HOLD_VOIDED,
    detail: "the hold was freed; the payer signs another intent",
};

const HOLD_LAPSED: Refusal = Refusal::Record {
    code: &errors::HOLD_VOIDED,
    detail: "the time of the hold is over and what was left is the payer's again; the payer signs another intent",
};

impl Run<'_> {
    /// Takes or frees what is held for an intent.
    pub(super) fn change_hold(&mut self, change: &HoldChange) -> Result<Changed, Refusal> {
        let (id, now) = (change.transaction, self.now);
        if matches!(change.wish, HoldWish::Capture(..)) && self.books.frozen_ends(id) != (false, false) {
            return Err(Refusal::WalletFrozen);
        }
        let command = match change.wish {
            HoldWish::Capture(_, capture, _) => Command::Capture(id, capture),
            HoldWish::Void => Command::Void(id),
        };
        let applied = self.books.apply(&command, now).map_err(|refusal| self.unchanged(refusal, id))?;
        let hold = self.books.hold(id).ok_or(Refusal::InvalidState("not held"))?;
        let transfers = self.books.transfers(applied);
        let moved = transfers.iter().filter(|transfer| transfer.phase == Phase::Settled).count();
        let capture = match change.wish {
            HoldWish::Void => None,
            HoldWish::Capture(capture, _, escrow) => Some(CaptureRow {
                id: capture,
                transaction: id,
                captured: hold.captured,
                first_seq: applied.first_seq,
                transfer_count: count(moved),
                commit: self.commit,
                is_final: hold.end.is_some(),
                escrow,
            }),
        };
        // What is freed stands behind what moved.
        let freed = transfers.iter().find(|transfer| transfer.phase == Phase::Voided);
        let end_seq = freed.map_or(applied.first_seq, |transfer| transfer.seq);
        let end = hold.end.map(|end| (end, end_seq));
        Ok(Changed { transaction: id, intent: change.intent, applied, capture, end })
    }

    /// Why what is held is not changed.
    fn unchanged(&self, refusal: books::Refusal, id: TransactionId) -> Refusal {
        match refusal {
            books::Refusal::HoldEnded(HoldEnd::Voided) => HOLD_FREED,
            books::Refusal::HoldEnded(HoldEnd::Expired) | books::Refusal::HoldExpired => HOLD_LAPSED,
            books::Refusal::HoldEnded(HoldEnd::Settled) => Refusal::InvalidState("captured to its end"),
            other => {
                let legs: Vec<Leg> = self
                    .books
                    .hold(id)
                    .map_or_else(Vec::new, |hold| hold.legs.iter().map(|(_, leg)| *leg).collect());
                self.named(other, &legs)
            }
        }
    }

    pub(super) fn note_change(&mut self, changed: Changed) {
        self.rows.payment_count += usize::from(changed.capture.is_some());
        self.rows.captures.extend(changed.capture);
        if let Some((end, seq)) = changed.end {
            self.rows.ends.push((changed.transaction, Some(changed.intent), end, seq));
        }
    }

    pub(super) fn change_all(&mut self, batch: &HoldBatch) -> Vec<(u32, Problem)> {
        let mark = self.books.mark();
        let (mut done, mut refusals) = (Vec::new(), Vec::new());
        for (index, change) in (0u32..).zip(&batch.changes) {
            match change.as_ref().map_err(|refusal| *refusal).and_then(|change| self.change_hold(change)) {
                Ok(changed) => done.push(changed),
                Err(refusal) => refusals.push((index, refusal)),
            }
        }
        if batch.is_atomic && !refusals.is_empty() {
            self.books.go_back(mark);
            done.clear();
            refusals = all_refused(refusals, batch.changes.len());
        }
        let captured = done.iter().filter(|changed| changed.capture.is_some()).count();
        let facts = serde_json::json!({
            "captured": captured, "voided": done.len() - captured, "refused": refusals.len(),
        });
        self.rows.audits.push(AuditEntry::change("hold.batch", Some(&batch.by), batch.id).details(facts));
        for changed in done {
            self.note_change(changed);
        }
        self.rows.refusal_count += refusals.len();
        refusals.into_iter().map(|(at, refusal)| (at, Problem::from(refusal))).collect()
    }
}
