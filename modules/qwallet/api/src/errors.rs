//! The refusals of qwallet, in the order in which they are checked: syntax, idempotency, not found, state,
//! signature, recipient, currency and amount, wallet status, approvals, step-up, limits, quote, fees, funds.

use q_contract::ErrorCode;

/// An amount came as a JSON number.
pub const AMOUNT_MUST_BE_STRING: ErrorCode =
    ErrorCode::new("AMOUNT_MUST_BE_STRING", 400, "amounts are JSON strings");
/// An amount is not a plain decimal.
pub const AMOUNT_MALFORMED: ErrorCode =
    ErrorCode::new("AMOUNT_MALFORMED", 400, "the amount is not a plain decimal such as 12.50");
/// A batch has no items or too many.
pub const BATCH_TOO_LARGE: ErrorCode = ErrorCode::new("BATCH_TOO_LARGE", 413, "the batch has too many items");
/// A payout file cannot be read as what it says it is.
pub const IMPORT_INVALID: ErrorCode = ErrorCode::new("IMPORT_INVALID", 422, "the payout file is refused");
/// The wallet is not there, or the caller may not know.
pub const WALLET_NOT_FOUND: ErrorCode = ErrorCode::new("WALLET_NOT_FOUND", 404, "the wallet does not exist");
/// The intent is not there, or the caller may not know.
pub const INTENT_NOT_FOUND: ErrorCode = ErrorCode::new("INTENT_NOT_FOUND", 404, "the intent does not exist");
/// The transaction is not there, or the caller may not know.
pub const TRANSACTION_NOT_FOUND: ErrorCode =
    ErrorCode::new("TRANSACTION_NOT_FOUND", 404, "the transaction does not exist");
/// The import is not there, or the caller may not know.
pub const IMPORT_NOT_FOUND: ErrorCode = ErrorCode::new("IMPORT_NOT_FOUND", 404, "the import does not exist");
/// The identity has a wallet already.
pub const WALLET_EXISTS: ErrorCode =
    ErrorCode::new("WALLET_EXISTS", 409, "the identity has a wallet already");
/// The intent or signed order is past its time.
pub const INTENT_EXPIRED: ErrorCode = ErrorCode::new("INTENT_EXPIRED", 410, "the payment order has expired");
/// The intent, transaction or import is not in a state that allows this.
pub const INVALID_STATE: ErrorCode =
    ErrorCode::new("INVALID_STATE", 409, "the payment is not in a state that allows this");
/// What was held for the payee was freed, or its time is over.
pub const HOLD_VOIDED: ErrorCode = ErrorCode::new("HOLD_VOIDED", 409, "nothing is held for this any more");
/// More was to be taken than is held.
pub const CAPTURE_EXCEEDS_HOLD: ErrorCode =
    ErrorCode::new("CAPTURE_EXCEEDS_HOLD", 422, "more than is left of what is held");
/// The intent can no longer be cancelled.
pub const INTENT_NOT_CANCELLABLE: ErrorCode =
    ErrorCode::new("INTENT_NOT_CANCELLABLE", 409, "the intent can no longer be cancelled");
/// The signature does not authorise exactly this.
pub const SIGNATURE_INVALID: ErrorCode =
    ErrorCode::new("SIGNATURE_INVALID", 400, "the signature does not authorise this order");
/// The container of the invocation, or a token in it, breaks a rule.
pub const UCAN_INVALID: ErrorCode = ErrorCode::new("UCAN_INVALID", 400, "the invocation breaks a rule");
/// A delegation has ended.
pub const UCAN_EXPIRED: ErrorCode = ErrorCode::new("UCAN_EXPIRED", 400, "the delegation has expired");
/// A delegation has not begun.
pub const UCAN_TOO_EARLY: ErrorCode =
    ErrorCode::new("UCAN_TOO_EARLY", 400, "the delegation is not valid yet");
/// A delegation was revoked.
pub const UCAN_REVOKED: ErrorCode = ErrorCode::new("UCAN_REVOKED", 409, "the delegation was revoked");
/// What the delegations allow is less than what is paid.
pub const UCAN_POLICY_VIOLATION: ErrorCode =
    ErrorCode::new("UCAN_POLICY_VIOLATION", 403, "the delegation does not allow this payment");
/// The delegation was used as often as it allows.
pub const UCAN_USED_UP: ErrorCode =
    ErrorCode::new("UCAN_USED_UP", 403, "the delegation was used as often as it allows");
/// A delegation that the invocation names did not come with it.
pub const MISSING_PROOFS: ErrorCode =
    ErrorCode::new("MISSING_PROOFS", 422, "a delegation that the invocation names is not there");
/// What is known of revocations is too old to pay on somebody else's behalf.
pub const QONSENT_STALE: ErrorCode =
    ErrorCode::new("QONSENT_STALE", 503, "what is known of revocations is too old");
/// The recipient has no wallet here.
pub const RECIPIENT_UNKNOWN: ErrorCode =
    ErrorCode::new("RECIPIENT_UNKNOWN", 422, "the recipient has no wallet here");
/// Payer and recipient are one wallet.
pub const SELF_PAYMENT: ErrorCode = ErrorCode::new("SELF_PAYMENT", 422, "payer and recipient are one wallet");
/// The rail is not one of this instance's.
pub const RAIL_UNSUPPORTED: ErrorCode =
    ErrorCode::new("RAIL_UNSUPPORTED", 422, "this instance does not offer the rail");
/// The currency is not one of this instance's.
pub const CURRENCY_UNSUPPORTED: ErrorCode =
    ErrorCode::new("CURRENCY_UNSUPPORTED", 422, "this instance does not know the currency");
/// The amount has more decimals than the currency.
pub const AMOUNT_PRECISION: ErrorCode =
    ErrorCode::new("AMOUNT_PRECISION", 422, "the amount has more decimals than the currency");
/// The amount is zero or too large.
pub const AMOUNT_OUT_OF_RANGE: ErrorCode =
    ErrorCode::new("AMOUNT_OUT_OF_RANGE", 422, "the amount is out of range");
/// A wallet may not pay or be paid now.
pub const WALLET_FROZEN: ErrorCode =
    ErrorCode::new("WALLET_FROZEN", 409, "a wallet of this payment neither pays nor is paid now");
/// A wallet that is to be closed holds something, or something is held for it.
pub const WALLET_NOT_EMPTY: ErrorCode = ErrorCode::new("WALLET_NOT_EMPTY", 409, "the wallet is not empty");
/// Too few approvers allowed it.
pub const APPROVAL_REQUIRED: ErrorCode =
    ErrorCode::new("APPROVAL_REQUIRED", 409, "approvers must sign this first");
/// Who pays, or is of the payer's family, cannot approve it.
pub const SELF_APPROVAL: ErrorCode =
    ErrorCode::new("SELF_APPROVAL", 403, "nobody approves a payment of their own");
/// The rule of a wallet's approvals was changed meanwhile.
pub const APPROVALS_CHANGED: ErrorCode =
    ErrorCode::new("APPROVALS_CHANGED", 409, "the rule was changed since it was read");
/// A signer may not approve this.
pub const NOT_AN_APPROVER: ErrorCode =
    ErrorCode::new("NOT_AN_APPROVER", 403, "a signer may not approve this");
/// More in one transaction than the payer's limit or the instance's.
pub const TX_LIMIT_EXCEEDED: ErrorCode =
    ErrorCode::new("TX_LIMIT_EXCEEDED", 403, "the payment is above the limit of one transaction");
/// More in a day than the payer's limit.
pub const DAILY_LIMIT_EXCEEDED: ErrorCode =
    ErrorCode::new("DAILY_LIMIT_EXCEEDED", 403, "the wallet's limit of this day would be exceeded");
/// More in a month than the payer's limit.
pub const MONTHLY_LIMIT_EXCEEDED: ErrorCode =
    ErrorCode::new("MONTHLY_LIMIT_EXCEEDED", 403, "the wallet's limit of this month would be exceeded");
/// More in a month than was delegated to the DAO.
pub const DAO_LIMIT_EXCEEDED: ErrorCode =
    ErrorCode::new("DAO_LIMIT_EXCEEDED", 403, "the limit delegated to the DAO would be exceeded");
/// More payments in an hour than the payer's limit.
pub const COUNT_LIMIT_EXCEEDED: ErrorCode = ErrorCode::new(
    "COUNT_LIMIT_EXCEEDED",
    403,
    "the wallet's number of payments in an hour would be exceeded",
);
/// There is no rate between the two currencies.
pub const NO_RATE: ErrorCode = ErrorCode::new("NO_RATE", 422, "there is no rate between the two currencies");
/// The quote is not one of this payer, or for something else.
pub const QUOTE_INVALID: ErrorCode =
    ErrorCode::new("QUOTE_INVALID", 422, "the quote is not for this payment");
/// The quote held until an instant that is over.
pub const QUOTE_EXPIRED: ErrorCode = ErrorCode::new("QUOTE_EXPIRED", 410, "the quote has expired");
/// The fees are above what the payer signed.
pub const FEES_EXCEED_MAXIMUM: ErrorCode =
    ErrorCode::new("FEES_EXCEED_MAXIMUM", 422, "the fees are above the signed maximum");
/// The wallet does not hold enough.
pub const INSUFFICIENT_FUNDS: ErrorCode =
    ErrorCode::new("INSUFFICIENT_FUNDS", 422, "the wallet does not hold enough");
/// The escrow is not there, or the caller may not know.
pub const ESCROW_NOT_FOUND: ErrorCode = ErrorCode::new("ESCROW_NOT_FOUND", 404, "the escrow does not exist");
/// The payer has an escrow for this order.
pub const ESCROW_EXISTS: ErrorCode =
    ErrorCode::new("ESCROW_EXISTS", 409, "there is an escrow for this order already");
/// The escrow is not in a state that allows this to this party.
pub const ESCROW_STATE: ErrorCode =
    ErrorCode::new("ESCROW_STATE", 409, "the escrow is not in a state that allows this");
/// The parts of an escrow are not exactly what is held.
pub const SPLIT_SUM: ErrorCode =
    ErrorCode::new("SPLIT_SUM", 422, "the parts together must be exactly the amount held");
/// The request for money is not there, or the caller may not know.
pub const REQUEST_NOT_FOUND: ErrorCode =
    ErrorCode::new("REQUEST_NOT_FOUND", 404, "the request for money does not exist");
/// The request for money can no longer be fulfilled, or not by this payment.
pub const REQUEST_STATE: ErrorCode =
    ErrorCode::new("REQUEST_STATE", 409, "the request for money does not allow this");
/// More than is left of a payment was to be given back.
pub const REFUND_EXCEEDS_PAYMENT: ErrorCode =
    ErrorCode::new("REFUND_EXCEEDS_PAYMENT", 422, "the refund is more than what is left of the payment");
/// The payment was settled too long ago.
pub const REFUND_WINDOW_CLOSED: ErrorCode =
    ErrorCode::new("REFUND_WINDOW_CLOSED", 409, "the payment can no longer be refunded");
/// Another item of the same atomic batch was refused.
pub const BATCH_ROLLED_BACK: ErrorCode =
    ErrorCode::new("BATCH_ROLLED_BACK", 409, "another item of the atomic batch was refused");
/// More payments are waiting than the ledger takes on.
pub const QUEUE_FULL: ErrorCode = ErrorCode::new("QUEUE_FULL", 503, "too many payments are waiting");
/// The books cannot be written in the format without loss.
pub const EXPORT_NOT_REPRESENTABLE: ErrorCode =
    ErrorCode::new("EXPORT_NOT_REPRESENTABLE", 422, "the books cannot be written in this format");
/// The rail cannot be used at present.
pub const RAIL_DOWN: ErrorCode = ErrorCode::new("RAIL_DOWN", 503, "the rail cannot be used at present");
/// The text is no address of the rail.
pub const ADDRESS_INVALID: ErrorCode =
    ErrorCode::new("ADDRESS_INVALID", 422, "the recipient is no address of the rail");
/// The rail has another key already.
pub const RAIL_KEY_CHANGED: ErrorCode =
    ErrorCode::new("RAIL_KEY_CHANGED", 409, "the rail has another key already");
/// A webhook may not go there.
pub const WEBHOOK_URL_FORBIDDEN: ErrorCode =
    ErrorCode::new("WEBHOOK_URL_FORBIDDEN", 422, "webhooks may not go to this address");
/// The webhook is not there, or not the caller's.
pub const WEBHOOK_NOT_FOUND: ErrorCode =
    ErrorCode::new("WEBHOOK_NOT_FOUND", 404, "the webhook does not exist");
/// The delivery is not there, or not of a webhook of the caller.
pub const DELIVERY_NOT_FOUND: ErrorCode =
    ErrorCode::new("DELIVERY_NOT_FOUND", 404, "the delivery does not exist");
/// The wallet has as many webhooks as it may have.
pub const WEBHOOKS_MAX: ErrorCode = ErrorCode::new("WEBHOOKS_MAX", 409, "the wallet has too many webhooks");
/// The snapshot is not there, or the caller may not know.
pub const SNAPSHOT_NOT_FOUND: ErrorCode =
    ErrorCode::new("SNAPSHOT_NOT_FOUND", 404, "the snapshot does not exist");
/// The books do not reach back as far.
pub const SNAPSHOT_TOO_OLD: ErrorCode =
    ErrorCode::new("SNAPSHOT_TOO_OLD", 409, "the books do not reach back as far");
/// A recurrence rule is wrong, never occurs or occurs too often.
pub const RRULE_INVALID: ErrorCode = ErrorCode::new("RRULE_INVALID", 400, "the recurrence rule is refused");
/// The schedule is not there, or not the caller's.
pub const SCHEDULE_NOT_FOUND: ErrorCode =
    ErrorCode::new("SCHEDULE_NOT_FOUND", 404, "the schedule does not exist");
/// The schedule is not in a state that allows this.
pub const SCHEDULE_STATE: ErrorCode =
    ErrorCode::new("SCHEDULE_STATE", 409, "the schedule is not in a state that allows this");
/// There is no such plan, or not in this version.
pub const PLAN_UNKNOWN: ErrorCode = ErrorCode::new("PLAN_UNKNOWN", 404, "the plan does not exist");
