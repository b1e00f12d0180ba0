//! Changing wallets: their name, whether they may pay and be paid, whom they may pay, how far below zero they may go.

use q_contract::{Access, codes, endpoint};
use q_core::AmountText;
use serde::Serialize;

use crate::{
    errors::{
        ADDRESS_INVALID, AMOUNT_MALFORMED, AMOUNT_MUST_BE_STRING, AMOUNT_OUT_OF_RANGE, AMOUNT_PRECISION,
        APPROVAL_REQUIRED, CURRENCY_UNSUPPORTED, INTENT_EXPIRED, INVALID_STATE, NOT_AN_APPROVER, QUEUE_FULL,
        RAIL_UNSUPPORTED, RECIPIENT_UNKNOWN, SIGNATURE_INVALID, WALLET_NOT_EMPTY, WALLET_NOT_FOUND,
    },
    types::{NewLimit, Wallet},
    wire::wire,
};

/// The JOSE type of an operator's signature under a change of a wallet.
pub const WALLET_TYP: &str = "q-wallet+jws";

/// What each of two operators signs before a wallet may pay again, may go below zero, or may spend more.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WalletOrder<'a> {
    /// The DID of the instance.
    pub aud: &'a str,
    /// How far below zero it may go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credit_limit: Option<OrderedAmount<'a>>,
    /// RFC 3339, as in the request.
    pub expires_at: &'a str,
    /// New limits on spending, in the order of the request.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<OrderedLimit<'a>>,
    /// Used once.
    pub nonce: &'a str,
    /// The new status, `ACTIVE`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<&'a str>,
    /// The version of this form, 1.
    pub v: u8,
    /// The wallet, as in the request.
    pub wallet: &'a str,
}

/// An amount of a currency in a signed order.
#[derive(Debug, Clone, Serialize)]
pub struct OrderedAmount<'a> {
    /// Decimal text, as in the request.
    pub amount: &'a str,
    /// The currency.
    pub currency: &'a str,
}

/// A limit in a signed order.
#[derive(Debug, Clone, Serialize)]
pub struct OrderedLimit<'a> {
    /// Decimal text, as in the request.
    pub amount: &'a str,
    /// The currency.
    pub currency: &'a str,
    /// Of which kind.
    pub kind: &'a str,
}

impl<'a> WalletOrder<'a> {
    /// What is to be signed for a request to the instance `aud`.
    pub fn of(aud: &'a str, request: &'a UpdateWalletRequest) -> Self {
        let limit = |limit: &'a NewLimit| OrderedLimit {
            amount: limit.amount.as_str(),
            currency: &limit.currency,
            kind: &limit.kind,
        };
        Self {
            aud,
            credit_limit: request
                .credit_limit
                .as_ref()
                .map(|limit| OrderedAmount { amount: limit.amount.as_str(), currency: &limit.currency }),
            expires_at: &request.expires_at,
            limits: request.limits.iter().map(limit).collect(),
            nonce: &request.nonce,
            status: request.status.as_deref(),
            v: 1,
            wallet: &request.squid_id,
        }
    }
}

wire! {
    /// How far below zero a wallet may go.
    pub struct CreditLimit {
        /// The currency.
        pub currency: String,
        /// How far; `0` for no credit.
        pub amount: AmountText,
    }

    /// Changes a wallet; what is absent stays.
    #[derive(Default)]
    pub struct UpdateWalletRequest {
        /// The wallet: DID of its owner, id or reference.
        pub squid_id: String,
        /// A name for people, at most 100 characters; the owner's to give.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub label: Option<String>,
        /// `FROZEN` by its owner, a parent, a guardian or an operator; `SUSPENDED` or, when it is empty, `CLOSED` by an
        /// operator; `ACTIVE` again by two.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub status: Option<String>,
        /// The only recipients an ENTERPRISE may pay, at most 1,000: wallets, and addresses outside as `RAIL:ADDRESS`;
        /// `["*"]` for everybody.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub allowed_recipients: Option<Vec<String>>,
        /// How far below zero it may go; by two operators.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub credit_limit: Option<CreditLimit>,
        /// New limits on spending that hold at once, of one currency; by two operators, and by themselves.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub limits: Vec<NewLimit>,
        /// The signatures of two operators who are not the owner over the same order, compact JWS of type `q-wallet+jws`.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub approvals: Vec<String>,
        /// Until when the signed order holds, RFC 3339, at most a day ahead.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        pub expires_at: String,
        /// Unique for a signed order, 8 to 64 characters.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        pub nonce: String,
    }
}

endpoint! {
    /// Changes a wallet: its name, its status, whom it may pay, how far below zero it may go.
    ///
    /// Whoever may freeze it does so alone; a wallet that is to pay again needs the signatures of two operators.
    pub UpdateWallet = PATCH "/wallets/{squidId}" (UpdateWalletRequest) -> Wallet;
    access Access::Identity("wallet:write");
    errors [
        codes::INVALID_REQUEST, AMOUNT_MUST_BE_STRING, AMOUNT_MALFORMED, codes::IDEMPOTENCY_KEY_REUSED,
        WALLET_NOT_FOUND, codes::FORBIDDEN, INVALID_STATE, INTENT_EXPIRED, SIGNATURE_INVALID, RECIPIENT_UNKNOWN,
        CURRENCY_UNSUPPORTED, AMOUNT_PRECISION, AMOUNT_OUT_OF_RANGE, NOT_AN_APPROVER, APPROVAL_REQUIRED,
        ADDRESS_INVALID, RAIL_UNSUPPORTED, WALLET_NOT_EMPTY, QUEUE_FULL,
    ];
    example { "status": "FROZEN" };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signing::signing_input;

    #[test]
    fn what_is_signed_is_canonical() {
        let request = UpdateWalletRequest {
            squid_id: "QQ".into(),
            status: Some("ACTIVE".into()),
            credit_limit: Some(CreditLimit { currency: "QToken".into(), amount: "5".into() }),
            limits: vec![NewLimit { kind: "daily".into(), currency: "QToken".into(), amount: "7".into() }],
            expires_at: "2026-11-21T20:00:00Z".into(),
            nonce: "nonce-1".into(),
            ..UpdateWalletRequest::default()
        };
        let order = WalletOrder::of("did:squid:i", &request);
        assert_eq!(signing_input(&order), q_core::hash::canonical_json(&order).unwrap());
    }
}
