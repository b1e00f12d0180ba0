//! Requests for money: what a payee asks for, as a link, a payto URI (RFC 8905) and a code to scan.

use q_contract::{Access, Readable, Text, codes, endpoint, json_types};
use q_core::{AmountText, PageLimit, Timestamp};

use crate::{
    RequestId, TransactionId,
    errors::{
        AMOUNT_MALFORMED, AMOUNT_MUST_BE_STRING, AMOUNT_OUT_OF_RANGE, AMOUNT_PRECISION, CURRENCY_UNSUPPORTED,
        REQUEST_NOT_FOUND, REQUEST_STATE, WALLET_NOT_FOUND,
    },
    wire::wire,
};

wire! {
    /// Asks for money.
    pub struct CreateRequestRequest {
        /// How much; any amount when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub amount: Option<AmountText>,
        /// The currency's code.
        pub currency: String,
        /// What for, at most 140 characters; whoever has the link reads it.
        #[serde(default)]
        pub memo: String,
        /// Until when it may be paid, RFC 3339; without end when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub expires_at: Option<Timestamp>,
        /// Whether one payment fulfils it; otherwise it may be paid again and again.
        #[serde(default = "once")]
        pub single_use: bool,
    }

    /// Names a request.
    pub struct RequestPath {
        /// Its id.
        pub request_id: RequestId,
    }

    /// Asks for the caller's requests, newest first.
    pub struct ListRequestsRequest {
        /// Where the last page ended.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub cursor: Option<RequestId>,
        /// How many at once.
        #[serde(default)]
        pub limit: PageLimit,
    }

    /// A request for money, as its payee sees it.
    pub struct MoneyRequest {
        /// Its id, which a payment names as its `clientRef`.
        pub request_id: RequestId,
        /// `OPEN`, `PAID`, `EXPIRED` or `CANCELLED`.
        pub status: String,
        /// The wallet that asks.
        pub wallet_ref: String,
        /// How much.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub amount: Option<AmountText>,
        /// The currency's code.
        pub currency: String,
        /// What for.
        pub memo: String,
        /// Whether one payment fulfils it.
        pub single_use: bool,
        /// As a wallet program reads it.
        pub payto_uri: String,
        /// As anybody reads it.
        pub url: String,
        /// How often it was paid.
        pub payments: i64,
        /// The last payment.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub transaction_id: Option<TransactionId>,
        /// When it was made.
        pub created_at: Timestamp,
        /// Until when it may be paid.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub expires_at: Option<Timestamp>,
    }

    /// A request for money, as whoever has its link sees it: what is needed to pay, and no more.
    pub struct PublicRequest {
        /// Its id.
        pub request_id: RequestId,
        /// `OPEN`, `PAID`, `EXPIRED` or `CANCELLED`.
        pub status: String,
        /// The wallet that asks.
        pub wallet_ref: String,
        /// How much.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub amount: Option<AmountText>,
        /// The currency's code.
        pub currency: String,
        /// What for.
        pub memo: String,
        /// As a wallet program reads it.
        pub payto_uri: String,
        /// Until when it may be paid.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub expires_at: Option<Timestamp>,
    }

    /// Some requests.
    pub struct RequestPage {
        /// Newest first.
        pub items: Vec<MoneyRequest>,
        /// Where the next page begins.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub next_cursor: Option<RequestId>,
    }
}

json_types!(MoneyRequest, PublicRequest, RequestPage);

const fn once() -> bool {
    true
}

endpoint! {
    /// Asks for money: the answer has a link, a payto URI and an id that the payment names.
    pub CreateRequest = POST "/requests" (CreateRequestRequest) -> MoneyRequest;
    status 201;
    access Access::Identity("wallet:write");
    errors [
        AMOUNT_MUST_BE_STRING, AMOUNT_MALFORMED, codes::INVALID_REQUEST, WALLET_NOT_FOUND, CURRENCY_UNSUPPORTED,
        AMOUNT_PRECISION, AMOUNT_OUT_OF_RANGE,
    ];
    tool "wallet.request";
    example { "amount": "12.50", "currency": "QToken", "memo": "lunch" };
}
endpoint! {
    /// Lists the caller's requests, newest first.
    pub ListRequests = GET "/requests" (ListRequestsRequest) -> RequestPage;
    access Access::Identity("wallet:read");
}
endpoint! {
    /// Shows a request of the caller.
    pub GetRequest = GET "/requests/{requestId}" (RequestPath) -> MoneyRequest;
    access Access::Identity("wallet:read");
    errors [REQUEST_NOT_FOUND];
}
endpoint! {
    /// Takes a request back.
    pub CancelRequest = DELETE "/requests/{requestId}" (RequestPath) -> MoneyRequest;
    access Access::Identity("wallet:write");
    errors [REQUEST_NOT_FOUND, REQUEST_STATE];
}
endpoint! {
    /// Draws the payto URI of a request as a QR code (ISO/IEC 18004).
    pub DrawRequest = GET "/requests/{requestId}/qr.svg" (RequestPath) -> Text;
    access Access::Public("whoever has the link of a request may scan it");
    errors [REQUEST_NOT_FOUND];
    produces "image/svg+xml";
}
endpoint! {
    /// Shows whoever has the link of a request what to pay to whom: as JSON, or as a page (HTML without scripts) to a
    /// browser, which names `text/html` in `Accept`.
    pub ReadRequest = GET "/r/{requestId}" (RequestPath) -> Readable<PublicRequest>;
    access Access::Public("who is asked for money need not be known here");
    errors [REQUEST_NOT_FOUND];
}
