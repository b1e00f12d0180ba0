//! The bytes a payer or approver signs.
//!
//! Each signing input is the canonical JSON (JCS, RFC 8785) of one of these structs; the signature is a
//! compact JWS (RFC 7515) with `alg` EdDSA, `typ` [`PAYMENT_TYP`] or [`ISSUANCE_TYP`] and `kid` a DID URL of
//! the signer. Its payload is the signing input; it may be left out (RFC 7515 appendix F), because the
//! server builds it from the request and compares or completes it.
//!
//! The members stand in canonical order, and `serde_json` escapes strings as JCS does, so plain
//! serialisation is already canonical; a test compares it with a canonicaliser.

use serde::Serialize;

use q_core::Did;

use crate::{approvals::Threshold, types::BatchItem};

/// The JOSE type of a payment's, batch's or payout file's signature.
pub const PAYMENT_TYP: &str = "q-payment+jws";

/// The command of a UCAN invocation that stands in for the signature of a payment. Its arguments are the members of the
/// signing input, its subject is the payer and its audience the instance.
pub const PAYMENT_COMMAND: &str = "/qwallet/wallet/pay";

/// The action on a wallet (`qwallet:wallet:<id>`) that this command is.
pub const PAYMENT_ACTION: &str = "pay";

/// What policies of delegations may bound besides the arguments: amount and greatest fees together, in millionths of the
/// currency, rounded up; an integer.
pub const COST_MICROS: &str = "costMicros";

/// The JOSE type of an approver's signature under an issuance.
pub const ISSUANCE_TYP: &str = "q-issuance+jws";

/// The JOSE type of an approver's signature under a payment of somebody else, over the payment's own signing input.
pub const APPROVAL_TYP: &str = "q-approval+jws";

/// The JOSE type of an approver's signature against it.
pub const REJECTION_TYP: &str = "q-rejection+jws";

/// The JOSE type of an approver's signature under a change of the rule of approvals.
pub const APPROVALS_TYP: &str = "q-approvals+jws";

/// What the payer signs for one payment.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentOrder<'a> {
    /// Decimal text, as in the request.
    pub amount: &'a str,
    /// The DID of the instance that is to execute it: another instance refuses it.
    pub aud: &'a str,
    /// The payer's own reference, in place of `intentId`; beside it the request for money that the intent fulfils.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_ref: Option<&'a str>,
    /// The code of the currency.
    pub currency: &'a str,
    /// RFC 3339, as in the request.
    pub expires_at: &'a str,
    /// The intent this fulfils; in place of `clientRef`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intent_id: Option<&'a str>,
    /// The most the payer will pay in fees on top.
    pub max_fees: &'a str,
    /// Unique per payer: an order is executed once.
    pub nonce: &'a str,
    /// The DID of the payer.
    pub payer: &'a str,
    /// The rail, `internal`.
    pub rail: &'a str,
    /// DID, wallet id or wallet reference, as in the request.
    pub recipient: &'a str,
    /// The version of this form, 1.
    pub v: u8,
    /// The paying wallet: id or reference, as in the request.
    pub wallet: &'a str,
}

/// What the payer signs once for many payments.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchOrder<'a> {
    /// Whether all items live or die together.
    pub atomic: bool,
    /// The DID of the instance.
    pub aud: &'a str,
    /// The payer's own reference.
    pub client_ref: &'a str,
    /// How many items.
    pub count: usize,
    /// The code of the currency of all items.
    pub currency: &'a str,
    /// SHA-256 of the payout file's bytes, lower-case hexadecimal; for imports, in place of `itemsHash`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document_hash: Option<&'a str>,
    /// RFC 3339, as in the request.
    pub expires_at: &'a str,
    /// SHA-256 of the canonical JSON of `items`, lower-case hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub items_hash: Option<&'a str>,
    /// The most the payer will pay in fees for all items together.
    pub max_fees: &'a str,
    /// Unique per payer.
    pub nonce: &'a str,
    /// The DID of the payer.
    pub payer: &'a str,
    /// The rail, `internal`.
    pub rail: &'a str,
    /// The version of this form, 1.
    pub v: u8,
    /// The paying wallet: id or reference, as in the request.
    pub wallet: &'a str,
}

/// What each approver signs before money is issued or withdrawn from circulation.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IssuanceOrder<'a> {
    /// `MINT` or `BURN`.
    pub action: &'a str,
    /// Decimal text, as in the request.
    pub amount: &'a str,
    /// The DID of the instance.
    pub aud: &'a str,
    /// The operators' own reference, such as the number of a resolution.
    pub client_ref: &'a str,
    /// The code of the currency.
    pub currency: &'a str,
    /// RFC 3339, as in the request.
    pub expires_at: &'a str,
    /// Unique per first approver.
    pub nonce: &'a str,
    /// The version of this form, 1.
    pub v: u8,
    /// The wallet that receives or gives: id or reference, as in the request.
    pub wallet: &'a str,
}

/// What approvers sign to weaken at once what they have to approve.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalsOrder<'a> {
    /// Above which amounts.
    pub above: &'a [Threshold],
    /// Who is to approve.
    pub approvers: &'a [Did],
    /// The DID of the instance.
    pub aud: &'a str,
    /// The version it replaces: a signature is good once.
    pub replaces: u32,
    /// How many have to.
    pub required: u8,
    /// The version of this form, 1.
    pub v: u8,
    /// The wallet's reference.
    pub wallet: &'a str,
}

/// The signing input of an order: its canonical JSON.
pub fn signing_input<T: Serialize>(order: &T) -> Vec<u8> {
    serde_json::to_vec(order).expect("an order holds strings and small numbers only")
}

/// The canonical JSON of a batch's items, whose SHA-256 is the order's `itemsHash`.
pub fn items_input(items: &[BatchItem]) -> Vec<u8> {
    serde_json::to_vec(items).expect("items hold strings only")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ODD: &str = "\u{0}\u{8}\u{c}\n\r\t\u{1f}\u{7f}\"\\/é\u{2028}😀";

    fn is_canonical<T: Serialize>(value: &T) {
        let canonical = q_core::hash::canonical_json(value).unwrap();
        assert_eq!(String::from_utf8(signing_input(value)), String::from_utf8(canonical));
    }

    #[test]
    fn plain_serialisation_is_canonical() {
        is_canonical(&PaymentOrder {
            amount: "1.5",
            aud: "did:squid:i",
            client_ref: Some(ODD),
            currency: "QToken",
            expires_at: "2026-11-21T20:00:00Z",
            intent_id: Some("intent_"),
            max_fees: "0.1",
            nonce: ODD,
            payer: "did:squid:p",
            rail: "internal",
            recipient: ODD,
            v: 1,
            wallet: "QQ",
        });
        is_canonical(&BatchOrder {
            atomic: true,
            aud: "a",
            client_ref: ODD,
            count: 8_190,
            currency: "QToken",
            document_hash: Some("00"),
            expires_at: "2026-11-21T20:00:00Z",
            items_hash: Some("00"),
            max_fees: "0",
            nonce: "n",
            payer: "p",
            rail: "internal",
            v: 1,
            wallet: "w",
        });
        is_canonical(&IssuanceOrder {
            action: "MINT",
            amount: "1",
            aud: "a",
            client_ref: "r",
            currency: "QToken",
            expires_at: "x",
            nonce: "n",
            v: 1,
            wallet: "w",
        });
        is_canonical(&ApprovalsOrder {
            above: &[Threshold { amount: "1".into(), currency: "QToken".into() }],
            approvers: &["did:key:zA".parse().unwrap()],
            aud: "a",
            replaces: 3,
            required: 1,
            v: 1,
            wallet: "w",
        });
        let items = vec![BatchItem {
            amount: "1".into(),
            client_ref: Some(ODD.into()),
            purpose: Some(ODD.into()),
            recipient: "r".into(),
        }];
        let canonical = q_core::hash::canonical_json(&items).unwrap();
        assert_eq!(items_input(&items), canonical);
    }
}
