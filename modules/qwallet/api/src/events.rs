//! What qwallet tells other modules. Settled payments are derived from the ledger's own rows.

use q_core::{AmountText, Did, EventPayload, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{EscrowId, FeeRate, IntentId, PlanId, ScheduleId, TransactionId, WalletId, plans::Entitlements};

/// A wallet was opened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WalletCreated {
    /// The wallet.
    pub wallet_id: WalletId,
    /// Its reference.
    pub wallet_ref: String,
}

impl EventPayload for WalletCreated {
    const TOPIC: &'static str = "q.qwallet.wallet.created.v1";
    fn subject(&self) -> String {
        self.wallet_id.to_string()
    }
}

/// Whether a wallet may pay and be paid.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WalletStatus {
    /// The wallet.
    pub wallet_id: WalletId,
    /// Its reference.
    pub wallet_ref: String,
    /// `ACTIVE`, `SUSPENDED`, `FROZEN` or `CLOSED`.
    pub status: String,
}

/// A wallet was stopped: frozen or suspended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WalletFrozen(pub WalletStatus);

impl EventPayload for WalletFrozen {
    const TOPIC: &'static str = "q.qwallet.wallet.frozen.v1";
    fn subject(&self) -> String {
        self.0.wallet_id.to_string()
    }
}

/// A wallet may pay and be paid again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WalletUnfrozen(pub WalletStatus);

impl EventPayload for WalletUnfrozen {
    const TOPIC: &'static str = "q.qwallet.wallet.unfrozen.v1";
    fn subject(&self) -> String {
        self.0.wallet_id.to_string()
    }
}

/// A wallet ended, empty.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WalletClosed(pub WalletStatus);

impl EventPayload for WalletClosed {
    const TOPIC: &'static str = "q.qwallet.wallet.closed.v1";
    fn subject(&self) -> String {
        self.0.wallet_id.to_string()
    }
}

/// A payment was decided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IntentCreated {
    /// The intent.
    pub intent_id: IntentId,
    /// The paying wallet.
    pub wallet_id: WalletId,
    /// When it lapses.
    pub expires_at: Timestamp,
}

impl EventPayload for IntentCreated {
    const TOPIC: &'static str = "q.qwallet.intent.created.v1";
    fn subject(&self) -> String {
        self.wallet_id.to_string()
    }
}

/// Somebody approved a payment of somebody else.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IntentApproved {
    /// The intent.
    pub intent_id: IntentId,
    /// The paying wallet.
    pub wallet_id: WalletId,
    /// Who approved.
    pub approver: Did,
    /// How many did by now.
    pub given: u8,
    /// How many have to.
    pub required: u8,
}

impl EventPayload for IntentApproved {
    const TOPIC: &'static str = "q.qwallet.intent.approved.v1";
    fn subject(&self) -> String {
        self.wallet_id.to_string()
    }
}

/// A wallet's owner changed what others have to approve, or asked for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalsChanged {
    /// The wallet.
    pub wallet_id: WalletId,
    /// How often its rule was changed by now.
    pub version: u32,
    /// Who approved before, and who will.
    pub approvers: Vec<Did>,
    /// From when on the new rule holds: a weaker one a day later, unless its approvers signed.
    pub effective_at: Timestamp,
}

impl EventPayload for ApprovalsChanged {
    const TOPIC: &'static str = "q.qwallet.wallet.approvals.v1";
    fn subject(&self) -> String {
        self.wallet_id.to_string()
    }
}

/// A payment that was not yet signed will not be made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IntentCancelled {
    /// The intent.
    pub intent_id: IntentId,
    /// The paying wallet.
    pub wallet_id: WalletId,
    /// `PAYER` where the payer took it back, `REJECTED` where approvers refused it.
    pub reason: String,
}

impl EventPayload for IntentCancelled {
    const TOPIC: &'static str = "q.qwallet.intent.cancelled.v1";
    fn subject(&self) -> String {
        self.wallet_id.to_string()
    }
}

/// A payment was signed and its amount held.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TransactionSigned {
    /// The transaction.
    pub transaction_id: TransactionId,
    /// The intent.
    pub intent_id: IntentId,
    /// The paying wallet.
    pub wallet_id: WalletId,
    /// When the hold lapses.
    pub hold_expires_at: Timestamp,
}

impl EventPayload for TransactionSigned {
    const TOPIC: &'static str = "q.qwallet.tx.signed.v1";
    fn subject(&self) -> String {
        self.wallet_id.to_string()
    }
}

/// A payment was refused because of a limit on spending; told once per wallet, limit and window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LimitExceeded {
    /// The paying wallet.
    pub wallet_id: WalletId,
    /// `perTransaction`, `daily` or `monthly`.
    pub kind: String,
    /// How much it is, as decimal text.
    pub limit: String,
    /// How much of it was used.
    pub used: String,
    /// How much was asked for.
    pub attempted: String,
    /// The currency.
    pub currency: String,
}

impl EventPayload for LimitExceeded {
    const TOPIC: &'static str = "q.qwallet.limit.exceeded.v1";
    fn subject(&self) -> String {
        self.wallet_id.to_string()
    }
}

/// The ledger grew by a commit: the marker behind which stand the events that follow from its transfers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LedgerCommitted {
    /// Whose chain.
    pub writer: i64,
    /// Its number in that chain.
    pub number: i64,
}

impl EventPayload for LedgerCommitted {
    const TOPIC: &'static str = "q.qwallet.ledger.committed.v1";
    fn subject(&self) -> String {
        "ledger".to_owned()
    }
}

/// Money moved for good. For the two parties and auditors; a transaction that pays several is told once for each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TransactionSettled {
    /// The transaction.
    pub transaction_id: TransactionId,
    /// The intent it fulfils.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent_id: Option<IntentId>,
    /// `payment`, `faucet`, `escrow`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// How much the receiver got, as decimal text.
    pub amount: String,
    /// The currency.
    pub currency: String,
    /// What was paid besides, as decimal text; of a refund, what was given back of it.
    pub fees: String,
    /// The giver's reference, or an account of the house such as `issuance`.
    pub from: String,
    /// The receiver's reference, or an account of the house such as `escrow`.
    pub to: String,
    /// Over which rail.
    pub rail: String,
    /// The leaf hash of the transfer, for receipts.
    pub leaf_hash: String,
    /// The wallet this event is kept in order with: the giver's, or the receiver's where the house gives.
    pub wallet_id: WalletId,
}

impl EventPayload for TransactionSettled {
    const TOPIC: &'static str = "q.qwallet.tx.settled.v1";
    fn subject(&self) -> String {
        self.wallet_id.to_string()
    }
}

/// A payee gave money back. For the two parties and auditors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TransactionRefunded(pub TransactionSettled);

impl EventPayload for TransactionRefunded {
    const TOPIC: &'static str = "q.qwallet.tx.refunded.v1";
    fn subject(&self) -> String {
        self.0.subject()
    }
}

/// Held money went back to its owner without anybody being paid.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TransactionFailed {
    /// The transaction.
    pub transaction_id: TransactionId,
    /// The intent it was to fulfil.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent_id: Option<IntentId>,
    /// The wallet whose money was held.
    pub wallet_id: WalletId,
    /// `VOIDED` or `EXPIRED`.
    pub reason: String,
}

impl EventPayload for TransactionFailed {
    const TOPIC: &'static str = "q.qwallet.tx.failed.v1";
    fn subject(&self) -> String {
        self.wallet_id.to_string()
    }
}

/// A settled balance changed: once per commit, however many transfers changed it there. For the owner and auditors.
///
/// What a much-paid wallet receives on its stripes is told when it is moved to its account, within seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BalanceUpdated {
    /// The wallet.
    pub wallet_id: WalletId,
    /// Its reference.
    pub wallet_ref: String,
    /// The currency.
    pub currency: String,
    /// The version of the account after it; greater means later.
    pub account_version: i64,
    /// The settled balance after it, as decimal text.
    pub balance: String,
    /// By how much it changed, with its sign.
    pub change: String,
}

impl EventPayload for BalanceUpdated {
    const TOPIC: &'static str = "q.qwallet.balance.updated.v1";
    fn subject(&self) -> String {
        self.wallet_id.to_string()
    }
}

/// What is told of an escrow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EscrowFacts {
    /// The escrow.
    pub escrow_id: EscrowId,
    /// The wallet that paid.
    pub payer: WalletId,
    /// The wallet that is to be paid.
    pub payee: WalletId,
    /// What is held, or was.
    pub amount: AmountText,
    /// The currency's code.
    pub currency: String,
    /// Where it is now.
    pub status: String,
}

/// Declares the events of an escrow, each about the same facts.
macro_rules! escrow_events {
    ($($(#[$meta:meta])* $name:ident = $topic:literal;)+) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        pub struct $name(pub EscrowFacts);

        impl EventPayload for $name {
            const TOPIC: &'static str = $topic;
            fn subject(&self) -> String {
                self.0.payer.to_string()
            }
        }
    )+};
}

escrow_events! {
    /// A payer paid into escrow.
    EscrowFunded = "q.qwallet.escrow.funded.v1";
    /// The payee got what was held.
    EscrowReleased = "q.qwallet.escrow.released.v1";
    /// Several got a part of what was held.
    EscrowSplit = "q.qwallet.escrow.split.v1";
    /// The payer got back what was held.
    EscrowRefunded = "q.qwallet.escrow.refunded.v1";
    /// A party objects; the arbiter decides.
    EscrowDisputed = "q.qwallet.escrow.disputed.v1";
}

/// A schedule paid.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScheduleRan {
    /// The schedule.
    pub schedule_id: ScheduleId,
    /// The wallet that paid.
    pub payer: WalletId,
    /// The wallet that was paid.
    pub payee: WalletId,
    /// When it was due.
    pub due_at: Timestamp,
    /// How much.
    pub amount: AmountText,
    /// The currency's code.
    pub currency: String,
    /// The transaction.
    pub transaction_id: TransactionId,
}

impl EventPayload for ScheduleRan {
    const TOPIC: &'static str = "q.qwallet.schedule.ran.v1";
    fn subject(&self) -> String {
        self.payer.to_string()
    }
}

/// A payment of a schedule was refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScheduleFailed {
    /// The schedule.
    pub schedule_id: ScheduleId,
    /// The wallet that was to pay.
    pub payer: WalletId,
    /// When it was due.
    pub due_at: Timestamp,
    /// The code with which it was refused.
    pub code: String,
    /// How many attempts failed one after the other.
    pub attempts: i64,
    /// When it is tried again; absent when the schedule gives up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<Timestamp>,
}

impl EventPayload for ScheduleFailed {
    const TOPIC: &'static str = "q.qwallet.schedule.failed.v1";
    fn subject(&self) -> String {
        self.payer.to_string()
    }
}

/// A schedule pays no more until its payer lets it go on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SchedulePaused {
    /// The schedule.
    pub schedule_id: ScheduleId,
    /// The wallet that pays.
    pub payer: WalletId,
    /// The code of the last refusal; absent when the payer paused it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

impl EventPayload for SchedulePaused {
    const TOPIC: &'static str = "q.qwallet.schedule.paused.v1";
    fn subject(&self) -> String {
        self.payer.to_string()
    }
}

/// A schedule goes on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScheduleResumed {
    /// The schedule.
    pub schedule_id: ScheduleId,
    /// The wallet that pays.
    pub payer: WalletId,
    /// When it pays next.
    pub next_at: Timestamp,
}

impl EventPayload for ScheduleResumed {
    const TOPIC: &'static str = "q.qwallet.schedule.resumed.v1";
    fn subject(&self) -> String {
        self.payer.to_string()
    }
}

/// A payer changed what a schedule pays, within its mandate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScheduleChanged {
    /// The schedule.
    pub schedule_id: ScheduleId,
    /// The wallet that pays.
    pub payer: WalletId,
    /// What it pays each time from here on.
    pub amount: AmountText,
    /// The currency's code.
    pub currency: String,
}

impl EventPayload for ScheduleChanged {
    const TOPIC: &'static str = "q.qwallet.schedule.changed.v1";
    fn subject(&self) -> String {
        self.payer.to_string()
    }
}

/// A schedule pays no more: its payer ended it, its rule did, or a subscription could not be paid.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScheduleEnded {
    /// The schedule.
    pub schedule_id: ScheduleId,
    /// The wallet that paid.
    pub payer: WalletId,
    /// `ENDED`, or `ENDING` as long as what a subscription paid for is not over.
    pub status: String,
}

impl EventPayload for ScheduleEnded {
    const TOPIC: &'static str = "q.qwallet.schedule.ended.v1";
    fn subject(&self) -> String {
        self.payer.to_string()
    }
}

/// Two operators set what payments cost from an instant on. For everybody.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FeesChanged {
    /// The number of the version.
    pub version: u32,
    /// From when on it holds.
    pub valid_from: Timestamp,
    /// What payments cost then.
    pub rates: Vec<FeeRate>,
}

impl EventPayload for FeesChanged {
    const TOPIC: &'static str = "q.qwallet.fee.changed.v1";
    fn subject(&self) -> String {
        "fees".to_owned()
    }
}

/// What somebody is entitled to by a plan: at its start, at each renewal, and at its end. For the modules that grant it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanChanged {
    /// Who is entitled.
    pub owner: Did,
    /// The subscription: somebody may have several of one plan.
    pub subscription_id: ScheduleId,
    /// The plan.
    pub plan: PlanId,
    /// Its version.
    pub version: i64,
    /// The wallet that pays for it.
    pub payer: WalletId,
    /// The wallet that is paid for it.
    pub payee: WalletId,
    /// What it grants; nothing at its end.
    pub entitlements: Entitlements,
    /// Until when: the end of what is paid for, and two days in which a payment that was refused is tried again.
    pub valid_until: Timestamp,
}

impl EventPayload for PlanChanged {
    const TOPIC: &'static str = "q.qwallet.plan.changed.v1";
    fn subject(&self) -> String {
        self.owner.to_string()
    }
}
