//! Refunds: a payee gives back all or part of what a payment brought.

use q_contract::{Access, codes, endpoint, json_types};
use q_core::{AmountText, Did, Timestamp};
use serde::Serialize;

use crate::{
    Fees, TransactionId,
    errors::{
        AMOUNT_MALFORMED, AMOUNT_MUST_BE_STRING, AMOUNT_OUT_OF_RANGE, AMOUNT_PRECISION, INSUFFICIENT_FUNDS,
        INTENT_EXPIRED, INVALID_STATE, QUEUE_FULL, REFUND_EXCEEDS_PAYMENT, REFUND_WINDOW_CLOSED,
        SIGNATURE_INVALID, TRANSACTION_NOT_FOUND, WALLET_FROZEN,
    },
    types::TransactionPath,
    wire::wire,
};

/// The JOSE type of the signature under a refund.
pub const REFUND_TYP: &str = "q-refund+jws";

/// What the payee of a payment signs to give back.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RefundOrder<'a> {
    /// Decimal text, as in the request; absent for all that is left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amount: Option<&'a str>,
    /// The DID of the instance.
    pub aud: &'a str,
    /// RFC 3339, as in the request.
    pub expires_at: &'a str,
    /// Unique per payee.
    pub nonce: &'a str,
    /// The DID of the payee who gives back.
    pub payee: &'a str,
    /// Why.
    pub reason: &'a str,
    /// `none` or `proportional`.
    pub refund_fees: &'a str,
    /// The payment.
    pub transaction_id: &'a str,
    /// The version of this form, 1.
    pub v: u8,
}

wire! {
    /// Gives back all or part of a payment.
    pub struct RefundRequest {
        /// The payment.
        pub transaction_id: TransactionId,
        /// How much; all that is left when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub amount: Option<AmountText>,
        /// Why, at most 500 characters.
        #[serde(default)]
        pub reason: String,
        /// `none`, or `proportional`: the house gives back the same share of its fees.
        #[serde(default = "no_fees")]
        pub refund_fees: String,
        /// Who received the payment and signs.
        pub payee: Did,
        /// RFC 3339; at most a day ahead.
        pub expires_at: String,
        /// Unique per payee, 8 to 64 graphic ASCII characters.
        pub nonce: String,
        /// Compact JWS of the payee over the signing input.
        pub signature: String,
    }

    /// Money that was given back.
    pub struct Refund {
        /// The transaction that gave it back.
        pub refund_id: TransactionId,
        /// The payment.
        pub transaction_id: TransactionId,
        /// What the payer of the payment got back, without fees.
        pub amount: AmountText,
        /// The currency's code.
        pub currency: String,
        /// What the house gave back of its fees.
        pub fees: Fees,
        /// Why.
        pub reason: String,
        /// What may still be given back of the payment.
        pub remaining: AmountText,
        /// When.
        pub created_at: Timestamp,
        /// The hash of the first transfer in the books.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub settlement_hash: Option<String>,
    }

    /// What was given back of one payment.
    pub struct RefundList {
        /// Oldest first.
        pub items: Vec<Refund>,
    }
}

json_types!(Refund, RefundList);

fn no_fees() -> String {
    "none".to_owned()
}

endpoint! {
    /// Gives back all or part of a payment, signed by who received it, within 180 days.
    ///
    /// Refunds of one payment never exceed it, however many come at once.
    pub CreateRefund = POST "/refunds" (RefundRequest) -> Refund;
    status 201;
    access Access::Signed;
    errors [
        AMOUNT_MUST_BE_STRING, AMOUNT_MALFORMED, codes::INVALID_REQUEST, codes::IDEMPOTENCY_KEY_REUSED,
        TRANSACTION_NOT_FOUND, INVALID_STATE, INTENT_EXPIRED, SIGNATURE_INVALID, AMOUNT_PRECISION,
        AMOUNT_OUT_OF_RANGE, REFUND_WINDOW_CLOSED, REFUND_EXCEEDS_PAYMENT, WALLET_FROZEN, INSUFFICIENT_FUNDS,
        QUEUE_FULL,
    ];
    tool "wallet.refund";
}
endpoint! {
    /// Lists what was given back of a payment.
    pub ListRefunds = GET "/tx/{transactionId}/refunds" (TransactionPath) -> RefundList;
    access Access::Identity("wallet:read");
    errors [TRANSACTION_NOT_FOUND];
}
