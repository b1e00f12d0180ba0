//! Rails: money that comes in from outside and leaves again.

use q_contract::{Access, codes, endpoint, json_types};
use q_core::{AmountText, Did, EventPayload, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    Fees, TransactionId, WalletId,
    approvals::IntentApprovals,
    errors::{
        ADDRESS_INVALID, AMOUNT_MALFORMED, AMOUNT_MUST_BE_STRING, AMOUNT_OUT_OF_RANGE, AMOUNT_PRECISION,
        APPROVAL_REQUIRED, COUNT_LIMIT_EXCEEDED, CURRENCY_UNSUPPORTED, DAILY_LIMIT_EXCEEDED,
        DAO_LIMIT_EXCEEDED, FEES_EXCEED_MAXIMUM, IMPORT_INVALID, INSUFFICIENT_FUNDS, INTENT_EXPIRED,
        INVALID_STATE, MONTHLY_LIMIT_EXCEEDED, NOT_AN_APPROVER, QUEUE_FULL, RAIL_DOWN, RAIL_KEY_CHANGED,
        RAIL_UNSUPPORTED, SELF_APPROVAL, SIGNATURE_INVALID, TRANSACTION_NOT_FOUND, TX_LIMIT_EXCEEDED,
        WALLET_FROZEN, WALLET_NOT_FOUND,
    },
    types::WalletPath,
    wire::wire,
};

/// The JOSE type of the signatures under a change of a rail's key.
pub const RAIL_KEY_TYP: &str = "q-rail-key+jws";

/// What two approvers sign to give a rail a new key.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RailKeyOrder<'a> {
    /// The DID of the instance.
    pub aud: &'a str,
    /// RFC 3339, as in the request.
    pub expires_at: &'a str,
    /// The number of the key that is made, 1 for the first: an order makes one key and no other.
    pub generation: u32,
    /// The rail.
    pub rail: &'a str,
    /// The version of this form, 1.
    pub v: u8,
}

/// The JOSE type of the signatures under a correction of a rail's books.
pub const RAIL_CORRECTION_TYP: &str = "q-rail-correction+jws";

/// What two approvers sign to set right what the books of a rail say.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RailCorrectionOrder<'a> {
    /// As in the request.
    pub action: &'a str,
    /// As in the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amount: Option<&'a str>,
    /// The DID of the instance.
    pub aud: &'a str,
    /// As in the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deposit_id: Option<TransactionId>,
    /// RFC 3339, as in the request.
    pub expires_at: &'a str,
    /// As in the request.
    pub nonce: &'a str,
    /// The rail.
    pub rail: &'a str,
    /// As in the request.
    pub reason: &'a str,
    /// As in the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipient: Option<&'a str>,
    /// As in the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<&'a str>,
    /// The version of this form, 1.
    pub v: u8,
    /// As in the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wallet: Option<&'a str>,
}

impl<'a> RailCorrectionOrder<'a> {
    /// What is signed for a request to the instance `aud`.
    pub fn of(aud: &'a str, asked: &'a CorrectRailRequest) -> Self {
        Self {
            action: &asked.action,
            amount: asked.amount.as_ref().map(AmountText::as_str),
            aud,
            deposit_id: asked.deposit_id,
            expires_at: &asked.expires_at,
            nonce: &asked.nonce,
            rail: &asked.rail,
            reason: &asked.reason,
            recipient: asked.recipient.as_deref(),
            reference: asked.reference.as_deref(),
            v: 1,
            wallet: asked.wallet.as_deref(),
        }
    }
}

wire! {
    /// Asks for the rails.
    pub struct ListRailsRequest {}

    /// The rails of this instance.
    pub struct RailList {
        /// By name.
        pub items: Vec<RailState>,
    }

    /// A rail and where it is.
    pub struct RailState {
        /// Its name.
        pub rail: String,
        /// The code of the currency it carries.
        pub currency: String,
        /// `UP`, `STARTING`, `DOWN` (its node does not answer), `BEHIND` (its node has not yet seen what was seen
        /// before), `PAUSED` (something did not agree; an operator reconciles) or `NO_KEY`.
        pub status: String,
        /// Why it is not up.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub reason: Option<String>,
        /// Whether it was never tried against a live network.
        pub experimental: bool,
        /// Blocks above a transaction, its own included, until it is final.
        pub confirmations: u64,
        /// The newest block of its chain.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub latest_block: Option<u64>,
        /// The last block whose deposits are final here.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub scanned_block: Option<u64>,
        /// The number of its key; 0 before the first.
        pub key_generation: u32,
        /// The address that pays out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub house_address: Option<String>,
        /// The last comparison of the books with the chain.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub reconciled: Option<Reconciliation>,
    }

    /// The books compared with the chain, at a final block. Amounts in the currency, as decimal text.
    pub struct Reconciliation {
        /// The block.
        pub block: u64,
        /// When.
        pub at: Timestamp,
        /// What the rail's addresses hold on the chain.
        pub chain: AmountText,
        /// What they should hold: the rail's account, and what is final on the chain and not yet in the books.
        pub books: AmountText,
        /// Chain less books, with a sign where it is negative; anything but 0 is an alarm.
        pub difference: String,
    }

    /// Names a rail.
    pub struct RailPath {
        /// Its name.
        pub rail: String,
    }

    /// Gives a rail a new key.
    pub struct SetRailKeyRequest {
        /// Its name.
        pub rail: String,
        /// The number of the new key: one more than the present one, 1 for the first.
        pub generation: u32,
        /// RFC 3339; at most a day ahead.
        pub expires_at: String,
        /// Compact JWS of two or more approvers over the same signing input.
        pub approvals: Vec<String>,
    }

    /// Asks where a wallet gets money from outside.
    pub struct DepositAddressRequest {
        /// DID of the owner, wallet id or reference.
        pub squid_id: String,
        /// The rail.
        pub rail: String,
    }

    /// Where a wallet gets money from outside.
    pub struct DepositAddress {
        /// The wallet.
        pub wallet_id: WalletId,
        /// The rail.
        pub rail: String,
        /// The code of the currency that is credited; anything else sent there is lost.
        pub currency: String,
        /// The address.
        pub address: String,
        /// Blocks until a deposit is credited.
        pub confirmations: u64,
    }

    /// Asks what a withdrawal would cost.
    pub struct WithdrawalQuoteRequest {
        /// The rail.
        pub rail: String,
        /// How much the recipient is to get.
        pub amount: AmountText,
        /// The address of the recipient.
        pub recipient: String,
    }

    /// What a withdrawal would cost now.
    pub struct WithdrawalQuote {
        /// How much the recipient gets.
        pub amount: AmountText,
        /// The code of the currency.
        pub currency: String,
        /// The most it costs; what the chain does not take of the network fee is given back.
        pub fees: Fees,
    }

    /// Sends money out over a rail. What is signed is the order of a payment whose `rail` is the rail and whose
    /// `recipient` is the address.
    pub struct WithdrawalRequest {
        /// How much the recipient gets.
        pub amount: AmountText,
        /// The payer's reference, at most 35 characters.
        pub client_ref: String,
        /// The code of the currency.
        pub currency: String,
        /// RFC 3339; at most a day ahead.
        pub expires_at: String,
        /// The most the payer pays on top.
        pub max_fees: AmountText,
        /// Unique per payer, 8 to 64 graphic ASCII characters.
        pub nonce: String,
        /// Whose wallet it is, who signs.
        pub payer: Did,
        /// The rail.
        pub rail: String,
        /// The address of the recipient.
        pub recipient: String,
        /// Compact JWS of the payer over the signing input.
        pub signature: String,
        /// The paying wallet: id or reference.
        pub wallet: String,
    }

    /// Money on its way out.
    pub struct Withdrawal {
        /// The transaction that holds it.
        pub withdrawal_id: TransactionId,
        /// The rail.
        pub rail: String,
        /// `AWAITING_APPROVAL` (others have to approve it first; `CANCELLED` when too many reject it or its payer takes it
        /// back, `EXPIRED` when the order lapses before), `PENDING` (held), `SIGNED`, `BROADCASTING`, `CONFIRMED` (in a block that may still be rewritten), `SETTLED`
        /// (final) or `FAILED` (the money is free again).
        pub status: String,
        /// How much the recipient gets.
        pub amount: AmountText,
        /// The code of the currency.
        pub currency: String,
        /// What was held for fees.
        pub fees: Fees,
        /// The address of the recipient.
        pub recipient: String,
        /// The payer's reference.
        pub client_ref: String,
        /// When it was asked for.
        pub created_at: Timestamp,
        /// When its status changed last.
        pub changed_at: Timestamp,
        /// Its transaction on the chain, once signed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub chain_hash: Option<String>,
        /// The block it is in.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub block: Option<u64>,
        /// Why it waits or failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub reason: Option<String>,
        /// How far it is approved, where others had to.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub approvals: Option<IntentApprovals>,
        /// What approvers sign, where others had to.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub signing_input: Option<String>,
    }

    /// Withdrawals, newest first, at most 200.
    pub struct WithdrawalList {
        /// The withdrawals.
        pub items: Vec<Withdrawal>,
    }

    /// Asks for withdrawals that wait for the caller's approval.
    pub struct ListWaitingWithdrawalsRequest {}

    /// Approves or rejects a withdrawal that waits for it.
    pub struct DecideWithdrawalRequest {
        /// The withdrawal.
        pub withdrawal_id: TransactionId,
        /// `APPROVE` or `REJECT`.
        pub decision: String,
        /// The approver's signature over what the payer signed, of the type of the decision.
        pub signature: String,
    }

    /// Names a withdrawal.
    pub struct WithdrawalPath {
        /// The withdrawal.
        pub withdrawal_id: TransactionId,
    }

    /// Money that came in, newest first, at most 200.
    pub struct DepositList {
        /// The deposits.
        pub items: Vec<Deposit>,
    }

    /// Money that came in.
    pub struct Deposit {
        /// Its id here.
        pub deposit_id: TransactionId,
        /// The rail.
        pub rail: String,
        /// `PENDING` (shown as `pendingIn`), `CREDITED`, `REMOVED` (the chain was rewritten without it), `HELD_BACK`
        /// (not a whole number of the currency's units; it stays out of the books) or `WRITTEN_OFF` (nobody's, and the
        /// house's now).
        pub status: String,
        /// How much, where it can be written in the currency.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub amount: Option<AmountText>,
        /// The code of the currency.
        pub currency: String,
        /// Its transaction on the chain.
        pub chain_hash: String,
        /// The block it is in.
        pub block: u64,
        /// Who sent it, as the chain says.
        pub sender: String,
        /// When it was first seen.
        pub seen_at: Timestamp,
    }
}

wire! {
    /// A file for the bank.
    pub struct PayoutFile {
        /// Its name, and the `MsgId` in it.
        pub message_id: String,
        /// pain.001.001.09.
        pub document: String,
    }

    /// Names a file for the bank.
    pub struct PayoutFilePath {
        /// The rail.
        pub rail: String,
        /// The file's name.
        pub message_id: String,
    }

    /// Notes that the bank did not make a payment.
    pub struct RejectPayoutRequest {
        /// The withdrawal.
        pub withdrawal_id: TransactionId,
    }

    /// Hands in a statement of the bank.
    pub struct TakeStatementRequest {
        /// The rail.
        pub rail: String,
        /// camt.053, at most 10 MB.
        pub document: String,
    }
}

wire! {
    /// Hands in what the bank says of a file of payments.
    pub struct TakePayoutReportRequest {
        /// The rail.
        pub rail: String,
        /// pain.002, at most 10 MB.
        pub document: String,
    }

    /// What came of a report.
    pub struct PayoutReportTaken {
        /// The file it is about.
        pub message_id: String,
        /// Withdrawals that the bank does not make: their money is free again.
        pub rejected: u32,
        /// Withdrawals it makes; a statement says when they are paid.
        pub on_their_way: u32,
        /// What is none of this file's withdrawals, or ended already.
        pub unknown: u32,
    }

    /// Sets right what the books of a rail say.
    pub struct CorrectRailRequest {
        /// The rail.
        pub rail: String,
        /// `BOOK_WITHDRAWAL`: a withdrawal that left and that the books do not know, since they were put back from a backup;
        /// with `wallet`, `amount`, `recipient` and `reference`. `ASSIGN`: money that came in for nobody is a wallet's;
        /// with `depositId` and `wallet`. `WRITE_OFF`: money that came in for nobody is the house's (`depositId`), or what
        /// the rail holds less than the books is the house's loss (`amount`).
        pub action: String,
        /// How much.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub amount: Option<AmountText>,
        /// The deposit.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub deposit_id: Option<TransactionId>,
        /// The wallet: id or reference.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub wallet: Option<String>,
        /// Who got the withdrawal.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub recipient: Option<String>,
        /// Where it is seen: its transaction on the chain, or the bank's reference in a statement.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub reference: Option<String>,
        /// Why, in at most 500 characters.
        pub reason: String,
        /// RFC 3339; at most a day ahead.
        pub expires_at: String,
        /// Unique, 8 to 64 graphic ASCII characters.
        pub nonce: String,
        /// Compact JWS of two or more approvers over the same signing input; none of them the wallet's owner.
        pub approvals: Vec<String>,
    }

    /// What was set right.
    pub struct RailCorrection {
        /// The transaction.
        pub correction_id: TransactionId,
        /// The rail.
        pub rail: String,
        /// As in the request.
        pub action: String,
        /// How much.
        pub amount: AmountText,
        /// The code of the currency.
        pub currency: String,
        /// The wallet that paid or got it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub wallet_id: Option<WalletId>,
        /// The deposit.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub deposit_id: Option<TransactionId>,
        /// The withdrawal that was booked.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub withdrawal_id: Option<TransactionId>,
        /// Why.
        pub reason: String,
        /// Who signed.
        pub approvers: Vec<Did>,
        /// When.
        pub at: Timestamp,
    }

    /// What was set right on a rail, newest first, at most 200.
    pub struct RailCorrectionList {
        /// The corrections.
        pub items: Vec<RailCorrection>,
    }
}

/// What came of a statement. Taken in twice, nothing is booked twice.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StatementReport {
    /// The statement.
    pub statement_id: String,
    /// Withdrawals the bank has paid.
    pub settled: u32,
    /// Payments credited to wallets.
    pub credited: u32,
    /// Payments that name no wallet that can take them: an operator decides.
    pub unassigned: u32,
    /// What the bank took without being asked, such as its fees.
    pub costs: u32,
    /// The code of the currency.
    pub currency: String,
    /// The closing balance less the books; anything but 0 pauses the rail.
    pub difference: String,
}

json_types!(PayoutFile, StatementReport, PayoutReportTaken, RailCorrection, RailCorrectionList);

json_types!(RailList, RailState, DepositAddress, WithdrawalQuote, Withdrawal, WithdrawalList, DepositList);

endpoint! {
    /// Lists the rails: how far each has read its chain, and the last comparison with the books.
    pub ListRails = GET "/rails" (ListRailsRequest) -> RailList;
    access Access::Identity("wallet:read");
}
endpoint! {
    /// Compares the books with the chain at once; a paused rail goes on when they agree.
    pub ReconcileRail = POST "/rails/{rail}/reconcile" (RailPath) -> RailState;
    access Access::Operator;
    errors [RAIL_UNSUPPORTED, RAIL_DOWN];
    idempotent true;
}
endpoint! {
    /// Gives a rail a new key under the signatures of two approvers. The secret never leaves the store, where it is
    /// sealed; addresses of older keys go on being watched.
    pub SetRailKey = PUT "/rails/{rail}/key" (SetRailKeyRequest) -> RailState;
    access Access::Signed;
    errors [
        codes::INVALID_REQUEST, RAIL_UNSUPPORTED, INTENT_EXPIRED, SIGNATURE_INVALID, NOT_AN_APPROVER,
        APPROVAL_REQUIRED, RAIL_KEY_CHANGED, RAIL_DOWN,
    ];
}
endpoint! {
    /// Tells where a wallet gets money from outside. The address stays the same until the rail's key changes.
    pub GetDepositAddress = GET "/wallets/{squidId}/deposit-address" (DepositAddressRequest) -> DepositAddress;
    access Access::Identity("wallet:read");
    errors [WALLET_NOT_FOUND, RAIL_UNSUPPORTED, RAIL_DOWN];
}
endpoint! {
    /// Lists what came to a wallet from outside.
    pub ListDeposits = GET "/wallets/{squidId}/deposits" (WalletPath) -> DepositList;
    access Access::Identity("wallet:read");
    errors [WALLET_NOT_FOUND];
}
endpoint! {
    /// Tells the most a withdrawal costs now.
    pub GetWithdrawalQuote = GET "/rails/{rail}/quote" (WithdrawalQuoteRequest) -> WithdrawalQuote;
    access Access::Identity("wallet:read");
    errors [
        RAIL_UNSUPPORTED, ADDRESS_INVALID, AMOUNT_MALFORMED, AMOUNT_PRECISION, AMOUNT_OUT_OF_RANGE, RAIL_DOWN,
    ];
}
endpoint! {
    /// Sends money out over a rail. Above what others have to approve it waits for them, and is carried out with the last
    /// approval it needs; asked for again, it tells where it is. Otherwise it is held at once, given when the chain cannot be rewritten any more, and free
    /// again when the chain refuses it.
    pub CreateWithdrawal = POST "/withdrawals" (WithdrawalRequest) -> Withdrawal;
    status 202;
    access Access::Signed;
    errors [
        APPROVAL_REQUIRED, codes::MFA_REQUIRED, codes::FORBIDDEN,
        AMOUNT_MUST_BE_STRING, AMOUNT_MALFORMED, codes::INVALID_REQUEST, codes::IDEMPOTENCY_KEY_REUSED,
        WALLET_NOT_FOUND, INTENT_EXPIRED, SIGNATURE_INVALID, RAIL_UNSUPPORTED, ADDRESS_INVALID, CURRENCY_UNSUPPORTED,
        AMOUNT_PRECISION, AMOUNT_OUT_OF_RANGE, WALLET_FROZEN, TX_LIMIT_EXCEEDED, DAILY_LIMIT_EXCEEDED,
        MONTHLY_LIMIT_EXCEEDED, COUNT_LIMIT_EXCEEDED, DAO_LIMIT_EXCEEDED, RAIL_DOWN, FEES_EXCEED_MAXIMUM, INSUFFICIENT_FUNDS, QUEUE_FULL,
    ];
}
endpoint! {
    /// Approves or rejects a withdrawal, under a signature over exactly what its payer signed: a compact JWS of the type
    /// `q-approval+jws` to approve, `q-rejection+jws` to reject.
    ///
    /// Who approved may still reject; a rejection stands. The last approval it needs holds the money; what keeps it from
    /// being held is the answer's `reason`, and whoever asks for the withdrawal again tries again.
    pub DecideWithdrawal = POST "/withdrawals/{withdrawalId}/approvals" (DecideWithdrawalRequest) -> Withdrawal;
    access Access::Signed;
    errors [
        codes::INVALID_REQUEST, codes::IDEMPOTENCY_KEY_REUSED, TRANSACTION_NOT_FOUND, INVALID_STATE, INTENT_EXPIRED,
        SIGNATURE_INVALID, SELF_APPROVAL, NOT_AN_APPROVER, QUEUE_FULL,
    ];
}
endpoint! {
    /// Lists the withdrawals that wait for the caller's approval, newest first.
    pub ListWaitingWithdrawals = GET "/approvals/withdrawals" (ListWaitingWithdrawalsRequest) -> WithdrawalList;
    access Access::Identity("wallet:read");
}
endpoint! {
    /// Shows a withdrawal of the caller, or one that the caller has to approve.
    pub GetWithdrawal = GET "/withdrawals/{withdrawalId}" (WithdrawalPath) -> Withdrawal;
    access Access::Identity("wallet:read");
    errors [TRANSACTION_NOT_FOUND];
}
endpoint! {
    /// Takes back a withdrawal of the caller that waits for the approval of others; its order is worth nothing from then
    /// on. What is held already is on its way and stays so.
    pub CancelWithdrawal = DELETE "/withdrawals/{withdrawalId}" (WithdrawalPath) -> Withdrawal;
    access Access::Identity("wallet:write");
    errors [codes::IDEMPOTENCY_KEY_REUSED, TRANSACTION_NOT_FOUND, INVALID_STATE];
}

endpoint! {
    /// Writes the file of all withdrawals that wait to be paid by the bank. Each stands in one file only.
    pub MakePayouts = POST "/rails/{rail}/payouts" (RailPath) -> PayoutFile;
    status 201;
    access Access::Operator;
    errors [RAIL_UNSUPPORTED, RAIL_DOWN, IMPORT_INVALID];
}
endpoint! {
    /// Gives a file for the bank once more, as it was written.
    pub GetPayoutFile = GET "/rails/{rail}/payouts/{messageId}" (PayoutFilePath) -> PayoutFile;
    access Access::Operator;
    errors [RAIL_UNSUPPORTED, TRANSACTION_NOT_FOUND];
}
endpoint! {
    /// Notes that the bank did not make a payment: the money is free again.
    pub RejectPayout = POST "/withdrawals/{withdrawalId}/reject" (RejectPayoutRequest) -> Withdrawal;
    access Access::Operator;
    errors [TRANSACTION_NOT_FOUND, RAIL_UNSUPPORTED, INVALID_STATE];
}
endpoint! {
    /// Books what a statement of the bank says: paid withdrawals, payments that name a wallet, costs.
    pub TakeStatement = POST "/rails/{rail}/statements" (TakeStatementRequest) -> StatementReport;
    access Access::Operator;
    errors [RAIL_UNSUPPORTED, IMPORT_INVALID];
    body_max 16 << 20;
}

endpoint! {
    /// Takes in what the bank says of a file of payments (pain.002): what it does not make is free again. What it pays is
    /// settled by the statement that shows it.
    pub TakePayoutReport = POST "/rails/{rail}/reports" (TakePayoutReportRequest) -> PayoutReportTaken;
    access Access::Operator;
    errors [RAIL_UNSUPPORTED, IMPORT_INVALID];
    body_max 16 << 20;
}
endpoint! {
    /// Lists what came in over a rail and is nobody's, newest first.
    pub ListSuspense = GET "/rails/{rail}/suspense" (RailPath) -> DepositList;
    access Access::Operator;
    errors [RAIL_UNSUPPORTED];
}
endpoint! {
    /// Sets right what the books of a rail say, under the signatures of two approvers. What can be seen outside is looked
    /// at: a withdrawal is booked only when the chain or a statement shows it, a loss only as far as the last comparison
    /// found it.
    pub CorrectRail = POST "/rails/{rail}/corrections" (CorrectRailRequest) -> RailCorrection;
    status 201;
    access Access::Signed;
    errors [
        codes::INVALID_REQUEST, AMOUNT_MUST_BE_STRING, AMOUNT_MALFORMED, codes::IDEMPOTENCY_KEY_REUSED, RAIL_UNSUPPORTED,
        INTENT_EXPIRED, SIGNATURE_INVALID, NOT_AN_APPROVER, APPROVAL_REQUIRED, WALLET_NOT_FOUND, TRANSACTION_NOT_FOUND,
        ADDRESS_INVALID, CURRENCY_UNSUPPORTED, AMOUNT_PRECISION, AMOUNT_OUT_OF_RANGE, INVALID_STATE, RAIL_DOWN,
        WALLET_FROZEN, INSUFFICIENT_FUNDS, QUEUE_FULL,
    ];
}
endpoint! {
    /// Lists what was set right on a rail, newest first.
    pub ListRailCorrections = GET "/rails/{rail}/corrections" (RailPath) -> RailCorrectionList;
    access Access::Operator;
    errors [RAIL_UNSUPPORTED];
}

/// Money came over a rail, or what was seen is gone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RailDeposit {
    /// The deposit.
    pub deposit_id: TransactionId,
    /// Whose it is; none for the house.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wallet_id: Option<WalletId>,
    /// The rail.
    pub rail: String,
    /// As in [`Deposit::status`].
    pub status: String,
}

impl EventPayload for RailDeposit {
    const TOPIC: &'static str = "q.qwallet.rail.deposit.v1";
    fn subject(&self) -> String {
        self.wallet_id.map_or_else(|| self.rail.clone(), |wallet| wallet.to_string())
    }
}

/// A withdrawal went on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RailWithdrawal {
    /// The withdrawal.
    pub withdrawal_id: TransactionId,
    /// The paying wallet.
    pub wallet_id: WalletId,
    /// The rail.
    pub rail: String,
    /// As in [`Withdrawal::status`].
    pub status: String,
}

impl EventPayload for RailWithdrawal {
    const TOPIC: &'static str = "q.qwallet.rail.withdrawal.v1";
    fn subject(&self) -> String {
        self.wallet_id.to_string()
    }
}

/// A chain was rewritten, and something that was seen is no longer there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RailReorg {
    /// The rail.
    pub rail: String,
    /// The block in which it was.
    pub block: u64,
    /// The deposit or withdrawal.
    pub transaction_id: TransactionId,
}

impl EventPayload for RailReorg {
    const TOPIC: &'static str = "q.qwallet.rail.reorg.v1";
    fn subject(&self) -> String {
        self.rail.clone()
    }
}

/// Books and chain, or a chain and itself, do not agree; the rail is paused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RailMismatch {
    /// The rail.
    pub rail: String,
    /// What does not agree.
    pub reason: String,
}

impl EventPayload for RailMismatch {
    const TOPIC: &'static str = "q.qwallet.rail.mismatch.v1";
    fn subject(&self) -> String {
        self.rail.clone()
    }
}
