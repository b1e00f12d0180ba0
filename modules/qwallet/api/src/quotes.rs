//! Quotes: what a payment costs, and for how long that holds.

use q_contract::{Access, codes, endpoint, json_types};
use q_core::{AmountText, Timestamp};

use crate::{
    errors::{
        ADDRESS_INVALID, AMOUNT_MALFORMED, AMOUNT_MUST_BE_STRING, AMOUNT_OUT_OF_RANGE, AMOUNT_PRECISION,
        CURRENCY_UNSUPPORTED, NO_RATE, RAIL_DOWN, RAIL_UNSUPPORTED, RECIPIENT_UNKNOWN, SELF_PAYMENT,
        WALLET_NOT_FOUND,
    },
    types::Fees,
    wire::wire,
};

wire! {
    /// Asks what a payment would cost.
    pub struct QuoteRequest {
        /// What the recipient is to get.
        pub amount: AmountText,
        /// The currency.
        pub currency: String,
        /// The currency the recipient is to get; the same when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub to_currency: Option<String>,
        /// `internal`, also when absent, or a rail of `GET /rails`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub network: Option<String>,
        /// `low`, `normal` or `high`. It changes nothing yet: inside the instance everything settles at once, and a rail
        /// has one speed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub priority: Option<String>,
        /// Who is to be paid, which tells the class: DID, wallet id or wallet reference; over a rail the address, which
        /// has to be told.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub recipient: Option<String>,
        /// `p2p`, `merchant` or `module`, where no recipient is told; `p2p` when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub class: Option<String>,
        /// The paying wallet, when the caller has several.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub wallet: Option<String>,
    }

    /// What a payment would cost.
    pub struct Quote {
        /// Names the quote in `POST /intents` and `POST /payments`, which then cost what it says. Absent over a rail,
        /// whose chain makes its own prices: there the payer's signed `maxFees` is the bound.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub quote_id: Option<String>,
        /// What the recipient gets.
        pub amount: AmountText,
        /// The currency.
        pub currency: String,
        /// What the payer pays on top.
        pub fees: Fees,
        /// `p2p`, `merchant` or `module`.
        pub class: String,
        /// `internal` or the rail.
        pub network: String,
        /// How much of `toCurrency` one of `currency` is, where it was asked for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub exchange_rate: Option<AmountText>,
        /// Which version of the fee schedule this is from.
        pub schedule_version: u32,
        /// Seconds until it settles; absent over a rail, where nobody knows.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub estimated_time: Option<u32>,
        /// Until when it holds; absent where it is only what holds at this moment.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub valid_until: Option<Timestamp>,
    }
}

json_types!(Quote);

impl QuoteRequest {
    /// Asks about a payment inside the instance, from person to person.
    pub fn of(amount: impl Into<AmountText>, currency: impl Into<String>) -> Self {
        Self {
            amount: amount.into(),
            currency: currency.into(),
            to_currency: None,
            network: None,
            priority: None,
            recipient: None,
            class: None,
            wallet: None,
        }
    }
}

endpoint! {
    /// Tells what a payment would cost. For 300 s the caller pays just that, whatever the fee schedule becomes, by naming
    /// `quoteId` in `POST /intents` or `POST /payments`.
    ///
    /// A quote is the caller's own, for one amount, currency and class; it may be used more than once while it holds,
    /// because every payment has a signature of its own.
    pub GetQuote = GET "/quote" (QuoteRequest) -> Quote;
    access Access::Identity("wallet:read");
    errors [
        AMOUNT_MUST_BE_STRING, AMOUNT_MALFORMED, codes::INVALID_REQUEST, WALLET_NOT_FOUND, RECIPIENT_UNKNOWN,
        SELF_PAYMENT, RAIL_UNSUPPORTED, ADDRESS_INVALID, CURRENCY_UNSUPPORTED, AMOUNT_PRECISION, AMOUNT_OUT_OF_RANGE,
        RAIL_DOWN, NO_RATE,
    ];
    tool "wallet.quote";
}
