//! The fee schedule: versions that operators set in pairs, each valid from an instant and never edited.

use q_contract::{Access, codes, endpoint, json_types};
use q_core::{Did, Timestamp};
use serde::Serialize;

use crate::{
    errors::{APPROVAL_REQUIRED, CURRENCY_UNSUPPORTED, INTENT_EXPIRED, NOT_AN_APPROVER, SIGNATURE_INVALID},
    wire::wire,
};

/// The JOSE type of an approver's signature under a version of the fee schedule.
pub const FEES_TYP: &str = "q-fees+jws";

wire! {
    /// What payments of one class cost in one currency, in hundredths of a percent of the amount.
    pub struct FeeRate {
        /// `p2p`, `merchant` (to an enterprise) or `module` (own wallets, and what modules settle).
        pub class: String,
        /// The currency's code.
        pub currency: String,
        /// The rail's share, at most 10,000.
        pub network_basis_points: u16,
        /// The house's share, at most 10,000.
        pub platform_basis_points: u16,
    }

    /// Sets a version of the fee schedule.
    pub struct SetFeesRequest {
        /// The approvers' signatures: compact JWS over the canonical order.
        pub approvals: Vec<String>,
        /// The operators' own reference, such as the number of a resolution.
        pub client_ref: String,
        /// Until when the order may be carried out, RFC 3339.
        pub expires_at: String,
        /// Unique: an order is carried out once.
        pub nonce: String,
        /// What payments cost: `p2p` in every currency; `merchant` costs the same where it is left out, `module`
        /// nothing.
        pub rates: Vec<FeeRate>,
        /// From when on, RFC 3339: at least a minute ahead, so that every replica knows it by then.
        pub valid_from: String,
    }

    /// A version of the fee schedule.
    pub struct FeeVersion {
        /// Its number. The first is the one of the instance's settings.
        pub version: u32,
        /// From when on it holds, unless a later version held before.
        pub valid_from: Timestamp,
        /// What payments cost.
        pub rates: Vec<FeeRate>,
        /// The operators' reference.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub client_ref: Option<String>,
        /// Who approved it; nobody of the settings.
        pub approvers: Vec<Did>,
        /// The text they signed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub signing_input: Option<String>,
        /// Their signatures.
        pub signatures: Vec<String>,
    }

    /// Asks for the fee schedule.
    pub struct GetFeesRequest {}

    /// The versions of the fee schedule.
    pub struct FeeVersions {
        /// The number of the one that holds now.
        pub current: u32,
        /// All of them, newest first.
        pub items: Vec<FeeVersion>,
    }
}

json_types!(FeeVersions);

/// What each approver signs before payments cost something else.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FeesOrder<'a> {
    /// The DID of the instance.
    pub aud: &'a str,
    /// The operators' own reference.
    pub client_ref: &'a str,
    /// RFC 3339, as in the request.
    pub expires_at: &'a str,
    /// Unique.
    pub nonce: &'a str,
    /// As in the request.
    pub rates: &'a [FeeRate],
    /// The version of this form, 1.
    pub v: u8,
    /// RFC 3339, as in the request.
    pub valid_from: &'a str,
}

endpoint! {
    /// Shows what payments cost, cost before and will cost.
    pub GetFees = GET "/fees/schedule" (GetFeesRequest) -> FeeVersions;
    access Access::Identity("wallet:read");
}
endpoint! {
    /// Sets a version of the fee schedule under the signatures of two approvers. It is never edited; a later version
    /// takes its place.
    ///
    /// For 300 s after it began, who was quoted the version before and signed no more than that still pays that.
    pub SetFees = PUT "/fees/schedule" (SetFeesRequest) -> FeeVersions;
    access Access::Signed;
    errors [
        codes::INVALID_REQUEST, codes::IDEMPOTENCY_KEY_REUSED, INTENT_EXPIRED, SIGNATURE_INVALID,
        CURRENCY_UNSUPPORTED, NOT_AN_APPROVER, APPROVAL_REQUIRED,
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_serialisation_is_canonical() {
        let order = FeesOrder {
            aud: "a",
            client_ref: "é\n",
            expires_at: "x",
            nonce: "n",
            rates: &[FeeRate {
                class: "p2p".into(),
                currency: "QToken".into(),
                network_basis_points: 0,
                platform_basis_points: 50,
            }],
            v: 1,
            valid_from: "y",
        };
        let canonical = q_core::hash::canonical_json(&order).unwrap();
        assert_eq!(crate::signing::signing_input(&order), canonical);
    }
}
