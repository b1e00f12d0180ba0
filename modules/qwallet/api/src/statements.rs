//! Statements of a wallet and figures about it.

use q_contract::{Access, Document, codes, endpoint, json_types};
use q_core::{AmountText, Did, Timestamp};

use crate::{
    TransactionId,
    errors::{AMOUNT_OUT_OF_RANGE, CURRENCY_UNSUPPORTED, EXPORT_NOT_REPRESENTABLE, WALLET_NOT_FOUND},
    wire::wire,
};

wire! {
    /// Asks for a statement.
    pub struct StatementRequest {
        /// DID, `wallet_…` or wallet reference.
        pub wallet_id: String,
        /// The currency; the instance's first when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub currency: Option<String>,
        /// From this instant on; the first of this month (UTC) when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub from: Option<Timestamp>,
        /// Before this instant; now when absent or later.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub to: Option<Timestamp>,
        /// `json`, `csv`, `camt053`, `ofx`, `hledger`, `ledger` or `beancount`; `json` when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub format: Option<String>,
    }

    /// A statement, as `json`.
    pub struct Statement {
        /// Its name, at most 35 characters; the same whenever it is asked for.
        pub statement_id: String,
        /// Its place among the wallet's months, without gaps; absent where it is not one whole month (UTC) that is over.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub statement_number: Option<i64>,
        /// The wallet's reference.
        pub wallet_ref: String,
        /// Whose wallet.
        pub owner: Did,
        /// The currency.
        pub currency: String,
        /// From this instant on.
        pub from: Timestamp,
        /// Before this instant.
        pub to: Timestamp,
        /// When it was made.
        pub made_at: Timestamp,
        /// What was settled before.
        pub opening: AmountText,
        /// What is settled after.
        pub closing: AmountText,
        /// What changed it, oldest first. The opening balance and these amounts are the closing balance.
        pub entries: Vec<StatementEntry>,
    }

    /// One settled change.
    pub struct StatementEntry {
        /// The transaction it belongs to.
        pub transaction_id: TransactionId,
        /// The transaction's kind, such as `payment`.
        pub r#type: String,
        /// Why, such as `principal` or `platformFee`.
        pub leg: String,
        /// Received (positive) or given (negative).
        pub amount: AmountText,
        /// What the wallet holds after it.
        pub balance_after: AmountText,
        /// The other side: a wallet reference or the name of a house account.
        pub counterparty: String,
        /// The payer's purpose.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub purpose: Option<String>,
        /// The payer's reference.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub client_ref: Option<String>,
        /// When.
        pub at: Timestamp,
    }

    /// Asks for figures about a wallet.
    pub struct StatsRequest {
        /// DID, `wallet_…` or wallet reference.
        pub squid_id: String,
        /// `7d`, `30d` or `90d` up to now; `30d` when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub period: Option<String>,
    }

    /// What settled in one currency for transactions of one kind.
    pub struct StatsRow {
        /// The currency.
        pub currency: String,
        /// The transactions' kind, such as `payment`.
        pub r#type: String,
        /// How many transactions.
        pub count: u64,
        /// What the wallet received.
        pub received: AmountText,
        /// What the wallet gave, without fees.
        pub given: AmountText,
        /// What the wallet paid in fees, less what was given back of them.
        pub fees: AmountText,
    }

    /// Figures about a wallet.
    pub struct Stats {
        /// The wallet's reference.
        pub wallet_ref: String,
        /// `7d`, `30d` or `90d`.
        pub period: String,
        /// From this instant on.
        pub from: Timestamp,
        /// Up to this instant.
        pub to: Timestamp,
        /// By currency and kind; what did not happen is left out.
        pub items: Vec<StatsRow>,
    }
}

json_types!(Stats);

endpoint! {
    /// Writes a wallet's statement: the opening balance, every settled change, the closing balance.
    ///
    /// A statement of one calendar month (UTC) that is over has a number: 1 for the month in which the wallet was opened,
    /// and one more for each month since. Others are extracts and have none. A format that cannot hold every digit
    /// refuses; nothing is rounded.
    pub GetStatement = GET "/statements/{walletId}" (StatementRequest) -> Document;
    access Access::Identity("wallet:read");
    errors [codes::INVALID_REQUEST, WALLET_NOT_FOUND, CURRENCY_UNSUPPORTED, EXPORT_NOT_REPRESENTABLE];
}
endpoint! {
    /// Sums what a wallet received, gave and paid in fees in the last 7, 30 or 90 days.
    pub GetStats = GET "/wallets/{squidId}/stats" (StatsRequest) -> Stats;
    access Access::Identity("wallet:read");
    errors [codes::INVALID_REQUEST, WALLET_NOT_FOUND, AMOUNT_OUT_OF_RANGE];
}
