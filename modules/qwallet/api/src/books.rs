//! The whole books, account by account.

use q_contract::{Access, endpoint, json_types};
use q_core::{AmountText, PageLimit, Timestamp};

use crate::{AsOf, wire::wire};

wire! {
    /// Asks for the accounts of the books, by number.
    #[derive(Default)]
    pub struct ListAccountsRequest {
        /// As they were settled at this past instant; now when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub at: Option<Timestamp>,
        /// Where the last page ended.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub cursor: Option<String>,
        /// How many.
        #[serde(default)]
        pub limit: PageLimit,
    }

    /// An account of the books.
    pub struct LedgerAccount {
        /// Its number.
        pub account: i64,
        /// The name it has in journals.
        pub name: String,
        /// `wallet`, `platformFees`, `networkFees`, `issuance`, `escrow`, `rail` or `suspense`.
        pub kind: String,
        /// The currency.
        pub currency: String,
        /// 0 for the account itself; others only receive and are swept into it.
        pub stripe: i64,
        /// Credits less debits that are settled.
        pub balance: AmountText,
        /// How many transfers touched it.
        pub version: i64,
        /// Everything ever given and settled; of the present only.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub debits: Option<AmountText>,
        /// Everything ever received and settled; of the present only.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub credits: Option<AmountText>,
        /// Held, to be given; of the present only.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub debits_pending: Option<AmountText>,
        /// Held, to be received; of the present only.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub credits_pending: Option<AmountText>,
    }

    /// A page of accounts.
    pub struct LedgerAccountPage {
        /// Them, by number.
        pub items: Vec<LedgerAccount>,
        /// Where the next page begins; absent on the last.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub next_cursor: Option<String>,
        /// From when this is.
        pub as_of: AsOf,
    }
}

json_types!(LedgerAccountPage);

endpoint! {
    /// Lists the accounts of the books, now or at a past instant.
    pub ListAccounts = GET "/ledger/accounts" (ListAccountsRequest) -> LedgerAccountPage;
    access Access::Operator;
}
