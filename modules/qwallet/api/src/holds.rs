//! Money that is held for a payee: taken in parts, freed, many at once.

use q_contract::{Access, codes, endpoint, json_types};
use q_core::{AmountText, Timestamp};
use serde::Serialize;

use crate::{
    BatchId, CaptureId, EscrowId, Fees, Intent, IntentId, IntentPath, ItemResult, TransactionId,
    errors::{
        AMOUNT_MALFORMED, AMOUNT_MUST_BE_STRING, AMOUNT_OUT_OF_RANGE, AMOUNT_PRECISION, BATCH_TOO_LARGE,
        CAPTURE_EXCEEDS_HOLD, ESCROW_EXISTS, HOLD_VOIDED, INTENT_NOT_FOUND, INVALID_STATE, QUEUE_FULL,
        WALLET_FROZEN,
    },
    wire::wire,
};

/// The JOSE type of the signature under money that is held for a payee.
pub const HOLD_TYP: &str = "q-hold+jws";

/// What the payer signs for money that the payee takes later: at most `amount`, with at most `maxFees`, within `holdFor`
/// seconds after the signature.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HoldOrder<'a> {
    /// Decimal text, as in the request: the most that the payee may take.
    pub amount: &'a str,
    /// The DID of the instance.
    pub aud: &'a str,
    /// The code of the currency.
    pub currency: &'a str,
    /// Until when the order may be executed, RFC 3339.
    pub expires_at: &'a str,
    /// For how many seconds the money is held then.
    pub hold_for: u32,
    /// The intent this fulfils.
    pub intent_id: &'a str,
    /// The most the payer will pay in fees on top, for all parts together.
    pub max_fees: &'a str,
    /// Unique per payer.
    pub nonce: &'a str,
    /// The DID of the payer.
    pub payer: &'a str,
    /// The rail, `internal`.
    pub rail: &'a str,
    /// DID, wallet id or wallet reference, as in the request.
    pub recipient: &'a str,
    /// The version of this form, 1.
    pub v: u8,
    /// The paying wallet's reference.
    pub wallet: &'a str,
}

wire! {
    /// Takes a part of what an intent holds.
    pub struct CaptureRequest {
        /// `intent_…`
        pub intent_id: IntentId,
        /// How much; all that is left when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub amount: Option<AmountText>,
        /// Whether the rest goes back to the payer; otherwise it stays held.
        #[serde(default, rename = "final")]
        pub is_final: bool,
        /// Where it goes: to the `payee` when absent, or into `escrow`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub into: Option<String>,
        /// What is bought, for an escrow: one per payer and reference, at most 35 characters.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub order_ref: Option<String>,
    }

    /// A part that was taken.
    pub struct Capture {
        /// Its id.
        pub capture_id: CaptureId,
        /// The intent.
        pub intent_id: IntentId,
        /// What was held.
        pub transaction_id: TransactionId,
        /// What the payee got.
        pub amount: AmountText,
        /// The currency's code.
        pub currency: String,
        /// What the payer paid on top: the same share of the held fees, rounded down over all parts together.
        pub fees: Fees,
        /// What was taken with this part and before it.
        pub captured: AmountText,
        /// What stayed held.
        pub left: AmountText,
        /// Whether the hold ended with it.
        #[serde(rename = "final")]
        pub is_final: bool,
        /// The escrow that holds it now.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub escrow_id: Option<EscrowId>,
        /// The hash of its first transfer in the books.
        pub settlement_hash: String,
        /// When.
        pub captured_at: Timestamp,
    }

    /// One part of many.
    pub struct CaptureItem {
        /// `intent_…`
        pub intent_id: IntentId,
        /// How much; all that is left when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub amount: Option<AmountText>,
        /// Whether the rest goes back to the payer; otherwise it stays held.
        #[serde(default, rename = "final")]
        pub is_final: bool,
    }

    /// Takes and frees what many intents hold for the caller, in one commit.
    pub struct HoldBatchRequest {
        /// Whether all live or die together; `false` when absent.
        #[serde(default)]
        pub atomic: bool,
        /// What is taken, carried out first.
        #[serde(default)]
        pub post: Vec<CaptureItem>,
        /// Whose rest is freed. Together with `post` one to 8,190.
        #[serde(default)]
        pub void: Vec<IntentId>,
    }

    /// What became of many.
    pub struct HoldBatchResult {
        /// Its id.
        pub batch_id: BatchId,
        /// How many were carried out.
        pub committed: u32,
        /// In order, `post` before `void`: the transaction whose hold was changed, or a problem.
        pub results: Vec<ItemResult>,
        /// When.
        pub settled_at: Timestamp,
    }
}

json_types!(Capture, HoldBatchResult);

endpoint! {
    /// Takes a part of what an intent with `capture: "manual"` holds for the caller, as often as something is left.
    ///
    /// By the payee, or by whom the payee allowed `capture` on the wallet. The fees follow in proportion: once `c` of `a`
    /// were taken, of a fee of `f` exactly `f × c / a` was, rounded down. What a last part leaves goes back to the payer,
    /// with its fees, and no longer counts against the payer's limits.
    pub CaptureIntent = POST "/intents/{intentId}/capture" (CaptureRequest) -> Capture;
    status 201;
    access Access::Identity("wallet:write");
    errors [
        codes::INVALID_REQUEST, AMOUNT_MUST_BE_STRING, AMOUNT_MALFORMED, codes::IDEMPOTENCY_KEY_REUSED,
        INTENT_NOT_FOUND, INVALID_STATE, HOLD_VOIDED, AMOUNT_PRECISION, AMOUNT_OUT_OF_RANGE, WALLET_FROZEN,
        ESCROW_EXISTS, CAPTURE_EXCEEDS_HOLD, QUEUE_FULL,
    ];
    example { "amount": "12.50", "final": true };
}
endpoint! {
    /// Frees what an intent still holds for the caller: the payee gives up the rest. The payer cannot once it signed.
    pub VoidIntent = POST "/intents/{intentId}/void" (IntentPath) -> Intent;
    access Access::Identity("wallet:write");
    errors [codes::IDEMPOTENCY_KEY_REUSED, INTENT_NOT_FOUND, INVALID_STATE, HOLD_VOIDED, QUEUE_FULL];
}
endpoint! {
    /// Takes and frees what up to 8,190 intents hold for the caller, in one commit.
    ///
    /// What is refused is answered in place; with `atomic` one refusal undoes all.
    pub ChangeHolds = POST "/holds/batch" (HoldBatchRequest) -> HoldBatchResult;
    access Access::Identity("wallet:write");
    errors [
        codes::INVALID_REQUEST, AMOUNT_MUST_BE_STRING, AMOUNT_MALFORMED, BATCH_TOO_LARGE,
        codes::IDEMPOTENCY_KEY_REUSED, QUEUE_FULL,
    ];
    body_max 8 << 20;
}
