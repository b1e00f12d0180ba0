//! What qwallet tells other modules. Settled payments are derived from the ledger's own rows.

use q_core::{EventPayload, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{IntentId, TransactionId, WalletId};

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
