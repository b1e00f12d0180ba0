//! The requests and answers of qwallet on the wire.

use std::collections::BTreeMap;

use q_contract::{Problem, json_types};
use q_core::{AmountText, Did, PageLimit, Timestamp};

use crate::{BatchId, ImportId, IntentId, Note, RequestId, TransactionId, WalletId, wire::wire};

/// The most items one batch or payout file may have.
pub const BATCH_ITEMS_MAX: usize = 8_190;

wire! {
    /// Opens a wallet.
    #[derive(Default)]
    pub struct CreateWalletRequest {
        /// Whose wallet; the caller when absent, and nobody else but for operators.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub owner: Option<Did>,
        /// A name for people, at most 100 characters.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub label: Option<String>,
        /// The only currency of an AID's wallet; the instance's first when absent. Other wallets hold all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub currency: Option<String>,
    }

    /// Names a wallet: owner's DID, wallet id or wallet reference.
    pub struct WalletPath {
        /// DID, `wallet_…` or wallet reference.
        pub squid_id: String,
    }

    /// The wallets of the caller.
    pub struct ListWalletsRequest {}

    /// What one wallet holds of one currency.
    pub struct Balance {
        /// What can be spent now: posted less held plus credit.
        pub available: AmountText,
        /// What is settled; negative only within a credit limit.
        pub posted: AmountText,
        /// Held for payments signed and not yet settled.
        pub pending_out: AmountText,
        /// Coming in from payments signed and not yet settled.
        pub pending_in: AmountText,
        /// How far below zero it may go.
        pub credit_limit: AmountText,
    }

    /// A wallet.
    pub struct Wallet {
        /// Its id.
        pub wallet_id: WalletId,
        /// Its short reference with check digits, for people, files and codes.
        pub wallet_ref: String,
        /// Whose it is.
        pub owner: Did,
        /// A name for people.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub label: Option<String>,
        /// What its owner is, which decides what it may do: `ROOT`, `DAO`, `ENTERPRISE`, `CONSENTIDA` or `AID`.
        pub profile: String,
        /// The wallet on whose limits it draws besides its own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub parent: Option<WalletId>,
        /// `ACTIVE`, `SUSPENDED`, `FROZEN` or `CLOSED`; all but the first neither pay nor are paid.
        pub status: String,
        /// The only wallets it may pay, where it keeps a list.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub allowed_recipients: Option<Vec<WalletId>>,
        /// The only addresses outside that its money may leave to, where it keeps a list: `RAIL:ADDRESS`.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub allowed_addresses: Vec<String>,
        /// By currency code.
        pub balances: BTreeMap<String, Balance>,
        /// How much may be spent: its own limits, then those of the parent.
        pub limits: Vec<SpendingLimit>,
        /// The rails it can use.
        pub rails: Vec<String>,
        /// When it was opened.
        pub created_at: Timestamp,
    }

    /// Several wallets.
    pub struct WalletList {
        /// Them.
        pub items: Vec<Wallet>,
    }

    /// Asks what a wallet holds.
    pub struct GetBalanceRequest {
        /// DID, `wallet_…` or wallet reference.
        pub squid_id: String,
        /// Only this currency.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub currency: Option<String>,
        /// As it was settled at this past instant; now when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub at: Option<Timestamp>,
    }

    /// The state of the books an answer was read from.
    pub struct AsOf {
        /// The number of the last commit.
        pub commit: i64,
        /// Its time.
        pub time: Timestamp,
    }

    /// What a wallet holds.
    pub struct BalanceReport {
        /// The wallet.
        pub wallet_id: WalletId,
        /// Its reference.
        pub wallet_ref: String,
        /// By currency code.
        pub balances: BTreeMap<String, Balance>,
        /// From when this is.
        pub as_of: AsOf,
    }

    /// Asks for a wallet's history, newest first.
    #[derive(Default)]
    pub struct ListTransactionsRequest {
        /// DID, `wallet_…` or wallet reference.
        pub squid_id: String,
        /// The currency; the instance's first when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub currency: Option<String>,
        /// Not before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub from: Option<Timestamp>,
        /// Before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub to: Option<Timestamp>,
        /// Only of transactions that are `SIGNED`, `SETTLED`, `CANCELLED` or `EXPIRED` by now.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub status: Option<String>,
        /// Only of transactions of this kind, such as `payment`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub r#type: Option<String>,
        /// Only with this other side: DID, wallet id, wallet reference, or the name of a house account.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub counterparty: Option<String>,
        /// Only of this amount or more, received or given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub min_amount: Option<AmountText>,
        /// Only where purpose, reference, transaction id or other side hold this text, in whatever case.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub q: Option<String>,
        /// Where the last page ended.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub cursor: Option<String>,
        /// How many.
        #[serde(default)]
        pub limit: PageLimit,
    }

    /// One change of one account.
    pub struct Entry {
        /// The transaction it belongs to.
        pub transaction_id: TransactionId,
        /// The transaction's kind: `payment`, `issuance`, `faucet`.
        pub r#type: String,
        /// Why: `principal`, `platformFee`, `networkFee`, `mint`, `burn`.
        pub leg: String,
        /// `posted`, `held`, `settled` or `voided`.
        pub phase: String,
        /// What became of the transaction: `SIGNED`, `SETTLED`, `CANCELLED` or `EXPIRED`.
        pub status: String,
        /// Received (positive) or given (negative); a held amount has not moved yet.
        pub amount: AmountText,
        /// The currency.
        pub currency: String,
        /// The settled balance after it.
        pub balance_after: AmountText,
        /// The account's version after it; gap-free.
        pub account_version: i64,
        /// What the wallet pays on top, beside the amount for the recipient.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub fees: Option<Fees>,
        /// The other side: a wallet reference or the name of a house account.
        pub counterparty: String,
        /// The payer's reference.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub client_ref: Option<String>,
        /// The payer's purpose.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub purpose: Option<String>,
        /// When.
        pub at: Timestamp,
        /// What the parties wrote beside it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub notes: Vec<Note>,
    }

    /// A page of history.
    pub struct EntryPage {
        /// The entries, newest first.
        pub items: Vec<Entry>,
        /// Where the next page begins; absent on the last.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub next_cursor: Option<String>,
    }

    /// The fees of one payment, which the payer pays on top.
    pub struct Fees {
        /// For the rail.
        pub network: AmountText,
        /// For the house.
        pub platform: AmountText,
        /// Both.
        pub total: AmountText,
    }

    /// One end of a transaction.
    pub struct Party {
        /// The wallet's reference, or the name of a house account.
        pub wallet_ref: String,
        /// Whose wallet.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub owner: Option<Did>,
    }

    /// One transfer of a transaction.
    pub struct Leg {
        /// Its place in the journal.
        pub seq: i64,
        /// Why: `principal`, `platformFee`, `networkFee`, `mint`, `burn`.
        pub leg: String,
        /// `posted`, `held`, `settled` or `voided`.
        pub phase: String,
        /// The account that gave.
        pub debit: String,
        /// The account that received.
        pub credit: String,
        /// How much.
        pub amount: AmountText,
        /// The hash under the commit's root, lower-case hexadecimal.
        pub leaf_hash: String,
    }

    /// An order by somebody whom the payer let pay.
    pub struct Delegated {
        /// Who signed the order.
        pub by: Did,
        /// The CIDs of the delegations that let them, the payer's own first.
        pub delegations: Vec<String>,
    }

    /// A transaction.
    pub struct Transaction {
        /// Its id.
        pub transaction_id: TransactionId,
        /// `payment`, `issuance`, `faucet`.
        pub r#type: String,
        /// `SIGNED`, `SETTLED`, `CANCELLED` or `EXPIRED`.
        pub status: String,
        /// What the recipient gets: of what was taken in parts, what is held, and once it is over what was taken.
        pub amount: AmountText,
        /// How much the recipient took of what was held, where it took a part.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub captured: Option<AmountText>,
        /// The currency.
        pub currency: String,
        /// What the payer pays on top.
        pub fees: Fees,
        /// Who gives.
        pub from: Party,
        /// Who receives.
        pub to: Party,
        /// Who ordered it in the payer's place, where it is read alone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub delegated: Option<Delegated>,
        /// The payment of which a refund gives back, where it is read alone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub refund_of: Option<TransactionId>,
        /// The payer's purpose; of a refund that is read alone, the payee's reason.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub purpose: Option<String>,
        /// The payer's reference.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub client_ref: Option<String>,
        /// The intent it fulfils.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub intent_id: Option<IntentId>,
        /// When it was accepted.
        pub created_at: Timestamp,
        /// When it was settled.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub settled_at: Option<Timestamp>,
        /// The leaf hash of the settled principal, lower-case hexadecimal.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub settlement_hash: Option<String>,
        /// The commit that settled it, or held it.
        pub commit: i64,
        /// The transfers, where they were asked for.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub legs: Vec<Leg>,
        /// What the parties wrote beside it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub notes: Vec<Note>,
    }

    /// How much may be spent.
    pub struct SpendingLimit {
        /// `perTransaction`, `daily`, `monthly`, `dao` (in a month), or `countPerHour`, whose amounts are numbers of
        /// payments.
        pub kind: String,
        /// The currency.
        pub currency: String,
        /// The most.
        pub amount: AmountText,
        /// What counts against it now.
        pub used: AmountText,
        /// When the count begins anew; absent for a single transaction.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub resets_at: Option<Timestamp>,
        /// The time zone in whose days or months is counted; absent where neither is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub timezone: Option<String>,
        /// Whose choice it is: `owner` (or a parent or guardian for one) or `instance`.
        pub set_by: String,
        /// Whether it is the parent's, on which this wallet draws besides its own.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        pub inherited: bool,
        /// What will hold, where a raise waits.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub pending: Option<PendingLimit>,
    }

    /// A raise that waits.
    pub struct PendingLimit {
        /// The new limit.
        pub amount: AmountText,
        /// From when on it holds, unless an operator confirms it before.
        pub effective_at: Timestamp,
    }

    /// Limits on spending.
    pub struct LimitList {
        /// Those that there are.
        pub items: Vec<SpendingLimit>,
    }

    /// A new limit.
    pub struct NewLimit {
        /// `perTransaction`, `countPerHour`, `daily`, `monthly` or `dao`.
        pub kind: String,
        /// The currency.
        pub currency: String,
        /// The most; `0` lets nothing be spent.
        pub amount: AmountText,
    }

    /// Asks for other limits.
    pub struct SetLimitsRequest {
        /// The wallet: DID of its owner, id or reference.
        pub squid_id: String,
        /// The new ones, of one currency; the others stay. Empty where only the time zone is changed.
        pub limits: Vec<NewLimit>,
        /// The IANA name of the time zone in whose days and months is counted what the wallet spends, such as
        /// `Europe/Berlin`; `UTC` until one is chosen. The day and the month that are counted go on to their end.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub timezone: Option<String>,
    }

    /// Asks for stripes.
    pub struct SetStripesRequest {
        /// The wallet: DID of its owner, id or reference.
        pub squid_id: String,
        /// The currency.
        pub currency: String,
        /// How many, at least as many as there are and at most 8; as many as there are writers are enough.
        pub count: u8,
    }

    /// The stripes of a wallet.
    pub struct StripeList {
        /// The wallet.
        pub wallet_ref: String,
        /// The currency.
        pub currency: String,
        /// How many there are.
        pub count: u8,
    }

    /// Asks for the chains.
    pub struct ListHeadsRequest {}

    /// A chain of the books.
    pub struct Chain {
        /// Whose.
        pub writer: i64,
        /// How many commits it has.
        pub commits: i64,
        /// The number of the last one in the store.
        pub last_commit: i64,
        /// The head after it, lower-case hexadecimal.
        pub head: String,
        /// When.
        pub at: Timestamp,
        /// The newest head statement that was signed of it, a compact JWS of type `q-ledger-head+jws`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub signed: Option<String>,
    }

    /// The chains of the books.
    pub struct ChainList {
        /// Them, by writer.
        pub items: Vec<Chain>,
    }

    /// Names a transaction.
    pub struct TransactionPath {
        /// `tx_…`
        pub transaction_id: TransactionId,
    }

    /// Asks for the currencies.
    pub struct ListCurrenciesRequest {}

    /// A currency.
    pub struct Currency {
        /// Its code.
        pub code: String,
        /// Its decimals.
        pub scale: u8,
        /// The smallest payment.
        pub min: AmountText,
        /// The largest payment.
        pub max: AmountText,
        /// The rails that carry it.
        pub rails: Vec<String>,
        /// The three-letter code under which payout files name it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub iso_alias: Option<String>,
    }

    /// The currencies.
    pub struct CurrencyList {
        /// Them.
        pub items: Vec<Currency>,
    }

    /// Decides a payment from the caller's wallet, to be signed next.
    pub struct CreateIntentRequest {
        /// What the recipient is to get.
        pub amount: AmountText,
        /// The currency.
        pub currency: String,
        /// DID, wallet id or wallet reference.
        pub recipient: String,
        /// What it is for, at most 500 characters.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub purpose: Option<String>,
        /// Seconds until it lapses: 60 to 86,400, 3,600 when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub expires_in: Option<u32>,
        /// The paying wallet, when the caller has several.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub wallet: Option<String>,
        /// A quote of the caller that still holds (`GET /quote`): the fees are what it says.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub quote_id: Option<String>,
        /// Who moves the money once it is signed: `auto`, also when absent: the payer by `POST /pay`; `manual`: the payee
        /// by `POST /intents/{intentId}/capture`, in parts if wanted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub capture: Option<String>,
        /// With `manual`, for how many seconds after the signature the money is held: 60 to 2,592,000 (30 days), 604,800
        /// (7 days) when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub hold_for: Option<u32>,
    }

    /// A payment that was decided.
    pub struct Intent {
        /// Its id.
        pub intent_id: IntentId,
        /// `PENDING`, `SIGNED`, `SETTLED`, `EXPIRED` or `CANCELLED`.
        pub status: String,
        /// What the recipient is to get.
        pub amount: AmountText,
        /// The currency.
        pub currency: String,
        /// As it was named.
        pub recipient: String,
        /// The paying wallet's reference.
        pub wallet: String,
        /// What it is for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub purpose: Option<String>,
        /// What the payer pays on top.
        pub fees: Fees,
        /// The exact text to sign (canonical JSON, to be the payload of a compact JWS).
        pub signing_input: String,
        /// The JOSE type of that signature: `q-payment+jws`, or `q-hold+jws` with `capture: "manual"`.
        pub signing_type: String,
        /// Who moves the money once it is signed: `auto` the payer, `manual` the payee.
        pub capture: String,
        /// With `manual`, for how many seconds after the signature the money is held.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub hold_for: Option<u32>,
        /// With `manual`, how much the payee took.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub captured: Option<AmountText>,
        /// With `manual` and once signed, until when the payee may take the rest.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub hold_expires_at: Option<Timestamp>,
        /// `approve(m of n)` where m of n approvers have to agree first, `stepUp` where its payer has to prove a second
        /// key, `sign`, `pay`, `wait` (for the payee) or `none`.
        pub next_action: String,
        /// How far it is approved, where it has to be.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub approvals: Option<crate::approvals::IntentApprovals>,
        /// The request for money that it fulfils when it is paid.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub request_id: Option<RequestId>,
        /// The transaction, once signed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub transaction_id: Option<TransactionId>,
        /// When it was made.
        pub created_at: Timestamp,
        /// When it lapses.
        pub expires_at: Timestamp,
    }

    /// Names an intent.
    pub struct IntentPath {
        /// `intent_…`
        pub intent_id: IntentId,
    }

    /// Asks for the caller's intents, newest first.
    pub struct ListIntentsRequest {
        /// `payer`, also when absent, or `payee`: those with `capture: "manual"` that were signed for the caller.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub role: Option<String>,
        /// Only those with this status.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub status: Option<String>,
        /// Where the last page ended.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub cursor: Option<String>,
        /// How many.
        #[serde(default)]
        pub limit: PageLimit,
    }

    /// A page of intents.
    pub struct IntentPage {
        /// The intents, newest first.
        pub items: Vec<Intent>,
        /// Where the next page begins; absent on the last.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub next_cursor: Option<String>,
    }

    /// Signs an intent: its amount and fees are held.
    pub struct SignRequest {
        /// The intent.
        pub intent_id: IntentId,
        /// The compact JWS over the intent's `signingInput`.
        pub signature: String,
    }

    /// A signed intent.
    pub struct SignedIntent {
        /// The transaction that was made.
        pub transaction_id: TransactionId,
        /// The intent.
        pub intent_id: IntentId,
        /// The signature, as it was accepted.
        pub signature: String,
        /// When the hold lapses.
        pub hold_expires_at: Timestamp,
        /// Gas on a chain; `null` on the internal rail.
        pub gas_estimate: Option<AmountText>,
    }

    /// Settles a signed payment.
    pub struct PayRequest {
        /// The transaction `sign` made.
        pub transaction_id: TransactionId,
    }

    /// Pays in one step: decided, signed and settled in one commit.
    pub struct PaymentRequest {
        /// What the recipient is to get.
        pub amount: AmountText,
        /// The payer's own reference, at most 35 characters.
        pub client_ref: String,
        /// The currency.
        pub currency: String,
        /// Until when the order may be executed, RFC 3339; at most a day ahead.
        pub expires_at: String,
        /// The most the payer will pay in fees.
        pub max_fees: AmountText,
        /// Unique per signer, 8 to 64 characters: an order is executed once.
        pub nonce: String,
        /// The payer: the owner of the paying wallet.
        pub payer: Did,
        /// What it is for, at most 500 characters; not part of what is signed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub purpose: Option<String>,
        /// A quote of the payer that still holds (`GET /quote`): the fees are what it says. Not part of what is signed:
        /// whatever it says, no more than `maxFees` is paid.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub quote_id: Option<String>,
        /// The rail; `internal` when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub rail: Option<String>,
        /// DID, wallet id or wallet reference.
        pub recipient: String,
        /// The compact JWS over the order (`signing::PaymentOrder`); or in its place a UCAN 1.0 container (`ctn-v1` as
        /// base64 or base64url) of one invocation of `/qwallet/wallet/pay`, whose arguments are the members of the order,
        /// and of the delegations that prove it where the invoker is not the payer.
        pub signature: String,
        /// The paying wallet: id or reference; its id where somebody pays under a delegation.
        pub wallet: String,
    }

    /// One payment of a batch. Its members stand in canonical order.
    pub struct BatchItem {
        /// What the recipient is to get.
        pub amount: AmountText,
        /// The payer's own reference, at most 35 characters.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub client_ref: Option<String>,
        /// What it is for, at most 500 characters.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub purpose: Option<String>,
        /// DID, wallet id or wallet reference.
        pub recipient: String,
    }

    /// Pays many under one signature.
    pub struct BatchRequest {
        /// Whether all items live or die together; `false` when absent.
        #[serde(default)]
        pub atomic: bool,
        /// The payer's own reference, at most 35 characters.
        pub client_ref: String,
        /// The currency of all items.
        pub currency: String,
        /// Until when the order may be executed, RFC 3339; at most a day ahead.
        pub expires_at: String,
        /// One to 8,190 payments.
        pub items: Vec<BatchItem>,
        /// The most the payer will pay in fees for all items together.
        pub max_fees: AmountText,
        /// Unique per payer, 8 to 64 characters.
        pub nonce: String,
        /// The payer.
        pub payer: Did,
        /// The rail; `internal` when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub rail: Option<String>,
        /// The compact JWS over the order (`signing::BatchOrder`).
        pub signature: String,
        /// The paying wallet: id or reference.
        pub wallet: String,
    }

    /// What became of one item: a transaction or a problem.
    pub struct ItemResult {
        /// The settled transaction.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub transaction_id: Option<TransactionId>,
        /// Why it was refused.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(with = "Option<serde_json::Value>")]
        pub problem: Option<Problem>,
    }

    /// What became of a batch.
    pub struct BatchResult {
        /// Its id.
        pub batch_id: BatchId,
        /// How many items settled.
        pub committed: u32,
        /// In the order of the items.
        pub results: Vec<ItemResult>,
        /// When.
        pub settled_at: Timestamp,
    }

    /// Puts money into circulation or takes it out, under two signatures.
    pub struct IssuanceRequest {
        /// `MINT` or `BURN`.
        pub action: String,
        /// How much.
        pub amount: AmountText,
        /// Compact JWS of at least two different approvers over one order (`signing::IssuanceOrder`).
        pub approvals: Vec<String>,
        /// The operators' own reference, at most 35 characters.
        pub client_ref: String,
        /// The currency.
        pub currency: String,
        /// Until when the order may be executed, RFC 3339; at most a day ahead.
        pub expires_at: String,
        /// Unique, 8 to 64 characters.
        pub nonce: String,
        /// The wallet that receives or gives: id or reference.
        pub wallet: String,
    }

    /// Asks the test faucet of a demonstration instance for money.
    pub struct FaucetRequest {
        /// How much; at most 10,000 whole units.
        pub amount: AmountText,
        /// The currency.
        pub currency: String,
        /// The wallet: DID, id or reference; the caller's when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub wallet: Option<String>,
    }

    /// Reads a payout file without executing it.
    pub struct ImportRequest {
        /// The paying wallet, when the file does not name it; otherwise it must be the same.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub wallet: Option<String>,
        /// The pain.001 document (.001.03 or .001.09), or the table.
        pub document: String,
    }

    /// What was read for one line of a payout file.
    pub struct ImportLine {
        /// Its place, from 1.
        pub number: u32,
        /// Where it stands in the document.
        pub xpath: String,
        /// The line of the text it begins on.
        pub line: u32,
        /// The file's name of the group it is in.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub group: Option<String>,
        /// The file's end-to-end reference.
        pub end_to_end_id: String,
        /// The recipient's reference, as in the file.
        pub recipient: String,
        /// What the recipient is to get.
        pub amount: AmountText,
        /// Why it would be refused.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(with = "Option<serde_json::Value>")]
        pub problem: Option<Problem>,
    }

    /// The report on a payout file.
    pub struct Import {
        /// Its id.
        pub import_id: ImportId,
        /// `READ`, `EXECUTED`.
        pub status: String,
        /// The format, such as `pain.001.001.09` or `csv`.
        pub format: String,
        /// The file's own message id.
        pub message_id: String,
        /// SHA-256 of the document, lower-case hexadecimal.
        pub document_hash: String,
        /// The paying wallet's reference.
        pub wallet: String,
        /// How many payments.
        pub count: u32,
        /// The currency of all payments.
        pub currency: String,
        /// The sum the recipients get.
        pub total: AmountText,
        /// The sum of the fees.
        pub fees: AmountText,
        /// How many lines would be refused as things stand.
        pub refused: u32,
        /// The exact text to sign, with nonce, bound on fees and expiry filled in.
        pub signing_input: String,
        /// Until when it may be executed.
        pub expires_at: Timestamp,
        /// The lines.
        pub lines: Vec<ImportLine>,
    }

    /// Names an import.
    pub struct ImportPath {
        /// `import_…`
        pub import_id: ImportId,
    }

    /// Executes a payout file that was read.
    pub struct ExecuteImportRequest {
        /// `import_…`
        pub import_id: ImportId,
        /// The compact JWS over the import's `signingInput`.
        pub signature: String,
    }

    /// Asks for the trial balance.
    #[derive(Default)]
    pub struct TrialBalanceRequest {
        /// As it was at this past instant; now when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub at: Option<Timestamp>,
    }

    /// The two sides of the books in one currency.
    pub struct TrialBalanceRow {
        /// The currency.
        pub currency: String,
        /// The sum of all settled debits.
        pub debits: AmountText,
        /// The sum of all settled credits.
        pub credits: AmountText,
        /// The sum of all held debits.
        pub debits_pending: AmountText,
        /// The sum of all held credits.
        pub credits_pending: AmountText,
        /// Debits less credits; anything but zero is a fault.
        pub difference: AmountText,
        /// How much was issued and not withdrawn.
        pub in_circulation: AmountText,
    }

    /// The two sides of the books.
    pub struct TrialBalance {
        /// By currency.
        pub items: Vec<TrialBalanceRow>,
        /// From when this is.
        pub as_of: AsOf,
    }

    /// Asks for the whole books as a text.
    pub struct ExportRequest {
        /// `hledger`, `ledger`, `beancount` or `ndjson`.
        pub format: String,
    }
}

json_types!(
    ChainList,
    LimitList,
    StripeList,
    Wallet,
    WalletList,
    BalanceReport,
    EntryPage,
    Transaction,
    CurrencyList,
    Intent,
    IntentPage,
    SignedIntent,
    BatchResult,
    Import,
    TrialBalance,
);
