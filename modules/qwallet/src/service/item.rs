//! What a commit moves: transactions to be, and changes of what is held. Both commands and records speak of them.

use qwallet_api::{CaptureId, EscrowId, IntentId, TransactionId};

use crate::{
    domain::{books::Capture, transfer::Leg},
    store::ledger::TransactionKind,
};

/// One transaction to be.
#[derive(Debug, Clone)]
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

/// What a payee does with what is held for an intent.
#[derive(Debug, Clone, Copy)]
pub struct HoldChange {
    /// What is held.
    pub transaction: TransactionId,
    /// The intent.
    pub intent: IntentId,
    /// What to do.
    pub wish: HoldWish,
}

/// What may be done with what is held.
#[derive(Debug, Clone, Copy)]
pub enum HoldWish {
    /// Take a part, under this id, and have it held in escrow if so.
    Capture(CaptureId, Capture, Option<EscrowId>),
    /// Free what is left.
    Void,
}
