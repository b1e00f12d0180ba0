//! Escrows: the house holds money for two parties until one of them, an arbiter or the day decides.

use q_contract::{Access, codes, endpoint, json_types};
use q_core::{AmountText, Did, PageLimit, Timestamp};
use serde::Serialize;

use crate::{
    EscrowId, Fees, Party, TransactionId,
    errors::{
        AMOUNT_MALFORMED, AMOUNT_MUST_BE_STRING, AMOUNT_OUT_OF_RANGE, AMOUNT_PRECISION, APPROVAL_REQUIRED,
        COUNT_LIMIT_EXCEEDED, CURRENCY_UNSUPPORTED, DAILY_LIMIT_EXCEEDED, DAO_LIMIT_EXCEEDED, ESCROW_EXISTS,
        ESCROW_NOT_FOUND, ESCROW_STATE, FEES_EXCEED_MAXIMUM, INSUFFICIENT_FUNDS, INTENT_EXPIRED,
        MONTHLY_LIMIT_EXCEEDED, QUEUE_FULL, RECIPIENT_UNKNOWN, SELF_PAYMENT, SIGNATURE_INVALID, SPLIT_SUM,
        TX_LIMIT_EXCEEDED, WALLET_FROZEN, WALLET_NOT_FOUND,
    },
    wire::wire,
};

/// The JOSE type of the signature under an escrow.
pub const ESCROW_TYP: &str = "q-escrow+jws";

/// The most parts an escrow is released in.
pub const SPLITS_MAX: usize = 32;

/// What the payer signs.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EscrowOrder<'a> {
    /// Decimal text, as in the request.
    pub amount: &'a str,
    /// The DID of who decides a dispute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arbiter: Option<&'a str>,
    /// The DID of the instance.
    pub aud: &'a str,
    /// RFC 3339, as in the request; absent for 14 days.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_release_at: Option<&'a str>,
    /// The code of the currency.
    pub currency: &'a str,
    /// RFC 3339, as in the request.
    pub expires_at: &'a str,
    /// The most the payer will pay in fees on top.
    pub max_fees: &'a str,
    /// Unique per payer.
    pub nonce: &'a str,
    /// What is bought.
    pub order_ref: &'a str,
    /// The DID of the payer.
    pub payer: &'a str,
    /// DID, wallet id or wallet reference of the payee, as in the request.
    pub recipient: &'a str,
    /// Who gets what when it is released, as in the request; absent when all goes to the payee.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub splits: &'a [Split],
    /// The version of this form, 1.
    pub v: u8,
    /// The paying wallet: id or reference, as in the request.
    pub wallet: &'a str,
}

wire! {
    /// Lets the house hold money for a payee.
    pub struct EscrowRequest {
        /// What the payee is to get.
        pub amount: AmountText,
        /// Who decides if the parties do not agree; without one nobody can dispute.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub arbiter: Option<Did>,
        /// When the payee gets it unless somebody objects, RFC 3339, at most a year ahead; in 14 days when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub auto_release_at: Option<String>,
        /// The currency's code.
        pub currency: String,
        /// Until when the order may be executed, RFC 3339; at most a day ahead.
        pub expires_at: String,
        /// The most the payer will pay in fees on top.
        pub max_fees: AmountText,
        /// Unique per payer, 8 to 64 graphic ASCII characters.
        pub nonce: String,
        /// What is bought, at most 35 characters: one escrow per payer and reference.
        pub order_ref: String,
        /// Who pays and signs.
        pub payer: Did,
        /// DID, wallet id or wallet reference of the payee.
        pub recipient: String,
        /// Compact JWS of the payer over the signing input.
        pub signature: String,
        /// Who gets what when it is released, together exactly the amount, such as a payee and a market; all goes to the
        /// payee when empty. Nobody changes it later.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub splits: Vec<Split>,
        /// The paying wallet: id or reference.
        pub wallet: String,
    }

    /// Names an escrow.
    pub struct EscrowPath {
        /// Its id.
        pub escrow_id: EscrowId,
    }

    /// Asks for the caller's escrows, newest first.
    pub struct ListEscrowsRequest {
        /// Only those in this state.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub status: Option<String>,
        /// Where the last page ended.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub cursor: Option<EscrowId>,
        /// How many at once.
        #[serde(default)]
        pub limit: PageLimit,
    }

    /// One part of what is released.
    pub struct Split {
        /// How much.
        pub amount: AmountText,
        /// DID, wallet id or wallet reference; a DID without a wallet gets its part when it opens one.
        pub recipient: String,
    }

    /// Decides a disputed escrow.
    pub struct ResolveEscrowRequest {
        /// The escrow.
        pub escrow_id: EscrowId,
        /// Which of the payer, the payee and whom the order named gets what, together exactly the amount.
        pub splits: Vec<Split>,
    }

    /// Objects to an escrow being released.
    pub struct DisputeEscrowRequest {
        /// The escrow.
        pub escrow_id: EscrowId,
        /// Why, at most 500 characters.
        pub reason: String,
    }

    /// A part of an escrow that was released.
    pub struct EscrowPart {
        /// Who gets it.
        pub recipient: String,
        /// How much.
        pub amount: AmountText,
        /// The transaction that paid it; absent while the recipient has no wallet and the house keeps it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub transaction_id: Option<TransactionId>,
    }

    /// Money that the house holds, or held.
    pub struct Escrow {
        /// Its id.
        pub escrow_id: EscrowId,
        /// `HELD`, `DISPUTED`, `RELEASED` or `REFUNDED`.
        pub status: String,
        /// How much.
        pub amount: AmountText,
        /// The currency's code.
        pub currency: String,
        /// What the payer paid on top.
        pub fees: Fees,
        /// Who paid.
        pub payer: Party,
        /// Who is to get it.
        pub payee: Party,
        /// Who decides a dispute.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub arbiter: Option<Did>,
        /// What is bought.
        pub order_ref: String,
        /// When the payee gets it unless somebody objects.
        pub auto_release_at: Timestamp,
        /// Why somebody objects.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub dispute: Option<String>,
        /// The transaction that paid it in.
        pub transaction_id: TransactionId,
        /// Who gets what when it is released; all to the payee when empty.
        pub splits: Vec<Split>,
        /// Who got what.
        pub parts: Vec<EscrowPart>,
        /// When it was paid in.
        pub created_at: Timestamp,
        /// When it ended.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub ended_at: Option<Timestamp>,
    }

    /// Some escrows.
    pub struct EscrowPage {
        /// Newest first.
        pub items: Vec<Escrow>,
        /// Where the next page begins.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub next_cursor: Option<EscrowId>,
    }
}

json_types!(Escrow, EscrowPage);

endpoint! {
    /// Pays into escrow under the payer's signature: the house holds the amount, and neither party has it.
    pub CreateEscrow = POST "/escrows" (EscrowRequest) -> Escrow;
    status 201;
    access Access::Signed;
    errors [
        APPROVAL_REQUIRED, codes::MFA_REQUIRED,
        AMOUNT_MUST_BE_STRING, AMOUNT_MALFORMED, codes::INVALID_REQUEST, codes::IDEMPOTENCY_KEY_REUSED,
        WALLET_NOT_FOUND, INTENT_EXPIRED, SIGNATURE_INVALID, RECIPIENT_UNKNOWN, SELF_PAYMENT,
        CURRENCY_UNSUPPORTED, AMOUNT_PRECISION, AMOUNT_OUT_OF_RANGE, WALLET_FROZEN, TX_LIMIT_EXCEEDED,
        codes::FORBIDDEN, DAILY_LIMIT_EXCEEDED, MONTHLY_LIMIT_EXCEEDED, COUNT_LIMIT_EXCEEDED, DAO_LIMIT_EXCEEDED,
        APPROVAL_REQUIRED, FEES_EXCEED_MAXIMUM, SPLIT_SUM, ESCROW_EXISTS, INSUFFICIENT_FUNDS,
        QUEUE_FULL,
    ];
}
endpoint! {
    /// Lists the escrows in which the caller pays, is paid or decides, newest first.
    pub ListEscrows = GET "/escrows" (ListEscrowsRequest) -> EscrowPage;
    access Access::Identity("wallet:read");
    errors [codes::INVALID_REQUEST];
}
endpoint! {
    /// Shows an escrow to its parties and its arbiter.
    pub GetEscrow = GET "/escrows/{escrowId}" (EscrowPath) -> Escrow;
    access Access::Identity("wallet:read");
    errors [ESCROW_NOT_FOUND];
}
endpoint! {
    /// Releases what is held, as its order says: the payer gives it to the payee, or to those who were named.
    pub ReleaseEscrow = POST "/escrows/{escrowId}/release" (EscrowPath) -> Escrow;
    access Access::Identity("wallet:write");
    errors [codes::IDEMPOTENCY_KEY_REUSED, ESCROW_NOT_FOUND, ESCROW_STATE, WALLET_FROZEN, QUEUE_FULL];
}
endpoint! {
    /// Gives back what is held: the payee lets the payer have it.
    pub RefundEscrow = POST "/escrows/{escrowId}/refund" (EscrowPath) -> Escrow;
    access Access::Identity("wallet:write");
    errors [codes::IDEMPOTENCY_KEY_REUSED, ESCROW_NOT_FOUND, ESCROW_STATE, WALLET_FROZEN, QUEUE_FULL];
}
endpoint! {
    /// Objects: from now on only the arbiter decides, and nothing is released by itself.
    pub DisputeEscrow = POST "/escrows/{escrowId}/dispute" (DisputeEscrowRequest) -> Escrow;
    access Access::Identity("wallet:write");
    errors [codes::INVALID_REQUEST, codes::IDEMPOTENCY_KEY_REUSED, ESCROW_NOT_FOUND, ESCROW_STATE, QUEUE_FULL];
}
endpoint! {
    /// Decides a dispute: the arbiter says who gets what, together exactly the amount.
    pub ResolveEscrow = POST "/escrows/{escrowId}/resolve" (ResolveEscrowRequest) -> Escrow;
    access Access::Identity("wallet:write");
    errors [
        AMOUNT_MUST_BE_STRING, AMOUNT_MALFORMED, codes::INVALID_REQUEST, codes::IDEMPOTENCY_KEY_REUSED,
        ESCROW_NOT_FOUND, ESCROW_STATE, RECIPIENT_UNKNOWN, AMOUNT_PRECISION, SPLIT_SUM, WALLET_FROZEN, QUEUE_FULL,
    ];
}
