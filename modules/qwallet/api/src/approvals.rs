//! Approvals: payments above an amount that others have to agree to before they are held.

use q_contract::{Access, Readable, codes, endpoint, json_types};
use q_core::{AmountText, Did, PageLimit, Timestamp};

use crate::{
    IntentId,
    errors::{
        AMOUNT_MALFORMED, AMOUNT_MUST_BE_STRING, AMOUNT_OUT_OF_RANGE, AMOUNT_PRECISION, APPROVALS_CHANGED,
        CURRENCY_UNSUPPORTED, INTENT_EXPIRED, INTENT_NOT_FOUND, INVALID_STATE, NOT_AN_APPROVER, QUEUE_FULL,
        SELF_APPROVAL, SIGNATURE_INVALID, WALLET_NOT_FOUND,
    },
    types::{Fees, Intent, IntentPage, WalletPath},
    wire::wire,
};

/// The most approvers a wallet names.
pub const APPROVERS_MAX: usize = 16;

wire! {
    /// Above how much of a currency others have to agree.
    pub struct Threshold {
        /// Decimal text.
        pub amount: AmountText,
        /// The currency's code.
        pub currency: String,
    }

    /// What has to be approved, by how many of whom. Without approvers nothing has to be.
    pub struct ApprovalRule {
        /// Above which amounts, a currency each; in other currencies nothing has to be approved.
        #[serde(default)]
        pub above: Vec<Threshold>,
        /// Who may approve; never the wallet's owner.
        #[serde(default)]
        pub approvers: Vec<Did>,
        /// How many of them have to.
        pub required: u8,
    }

    /// Changes what has to be approved.
    pub struct SetApprovalsRequest {
        /// DID, wallet id or wallet reference.
        pub squid_id: String,
        /// The version of the rule that this replaces, as `GET` tells it: 0 where there is none.
        pub replaces: u32,
        /// The new rule.
        pub rule: ApprovalRule,
        /// Signatures of present approvers under the change; with as many as a payment needs it holds at once.
        #[serde(default)]
        pub signatures: Vec<String>,
    }

    /// A weaker rule that waits for its time.
    pub struct PendingRule {
        /// The rule.
        pub rule: ApprovalRule,
        /// When it takes the place of the present one.
        pub effective_at: Timestamp,
    }

    /// What has to be approved before a wallet pays it.
    pub struct WalletApprovals {
        /// The wallet.
        pub wallet_ref: String,
        /// How often the rule was changed.
        pub version: u32,
        /// What holds now.
        pub rule: ApprovalRule,
        /// What will.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub pending: Option<PendingRule>,
    }

    /// Approves or rejects a payment that waits for it.
    pub struct DecideIntentRequest {
        /// The intent.
        pub intent_id: IntentId,
        /// `APPROVE` or `REJECT`.
        pub decision: String,
        /// The approver's signature over the intent's signing input, of the type of the decision.
        pub signature: String,
    }

    /// What one approver decided.
    pub struct ApproverDecision {
        /// Who.
        pub approver: Did,
        /// `APPROVE` or `REJECT`.
        pub decision: String,
        /// When.
        pub at: Timestamp,
    }

    /// How far an intent is approved.
    pub struct IntentApprovals {
        /// Why it has to be: `rule`, for what the wallet's owner has approved; `limits`, for what is beyond the own limits
        /// of a wallet below another, where a parent or guardian approves.
        pub because: String,
        /// How many present approvers approved.
        pub given: u8,
        /// How many have to.
        pub required: u8,
        /// Who may.
        pub approvers: Vec<Did>,
        /// What was decided, in the order of the approvers.
        pub decisions: Vec<ApproverDecision>,
        /// Where a person reads what is to be approved.
        pub link: String,
    }

    /// A payment that others are to approve, by its link.
    pub struct AskedIntentPath {
        /// The intent.
        pub intent_id: IntentId,
        /// What only those know who were given the link.
        pub code: String,
    }

    /// A payment that others are to approve, as whoever has its link sees it.
    pub struct AskedIntent {
        /// The intent.
        pub intent_id: IntentId,
        /// `PENDING`, `SIGNED`, `SETTLED`, `EXPIRED` or `CANCELLED`.
        pub status: String,
        /// Who would pay.
        pub payer: Did,
        /// The reference of the paying wallet.
        pub wallet: String,
        /// What the recipient would get.
        pub amount: AmountText,
        /// The currency's code.
        pub currency: String,
        /// What the payer would pay on top.
        pub fees: Fees,
        /// The recipient, as it was named.
        pub recipient: String,
        /// What it is for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub purpose: Option<String>,
        /// Why it has to be approved: `rule` or `limits`.
        pub because: String,
        /// How many approved.
        pub given: u8,
        /// How many have to.
        pub required: u8,
        /// When it lapses.
        pub expires_at: Timestamp,
    }

    /// Asks for intents that wait for the caller's approval, newest first.
    pub struct ListApprovalsRequest {
        /// Where the last page ended.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub cursor: Option<String>,
        /// How many.
        #[serde(default)]
        pub limit: PageLimit,
    }
}

json_types!(WalletApprovals, AskedIntent);

endpoint! {
    /// Tells which payments of a wallet others have to approve.
    pub GetApprovals = GET "/wallets/{squidId}/approvals" (WalletPath) -> WalletApprovals;
    access Access::Identity("wallet:read");
    errors [WALLET_NOT_FOUND];
}
endpoint! {
    /// Changes which payments of the caller's wallet others have to approve: more at once; less a day later, or at once
    /// with the signatures of as many present approvers as a payment needs.
    ///
    /// More is: as many or more of the same or fewer approvers, above the same or lower amounts. Signatures are compact
    /// JWS of the type `q-approvals+jws` over the change in canonical JSON: `{above, approvers, aud, replaces, required,
    /// v: 1, wallet}`.
    pub SetApprovals = PUT "/wallets/{squidId}/approvals" (SetApprovalsRequest) -> WalletApprovals;
    access Access::Identity("wallet:write");
    errors [
        codes::INVALID_REQUEST, AMOUNT_MUST_BE_STRING, AMOUNT_MALFORMED, codes::IDEMPOTENCY_KEY_REUSED,
        WALLET_NOT_FOUND, APPROVALS_CHANGED, SIGNATURE_INVALID, SELF_APPROVAL, NOT_AN_APPROVER, CURRENCY_UNSUPPORTED,
        AMOUNT_PRECISION, AMOUNT_OUT_OF_RANGE, QUEUE_FULL,
    ];
    example { "replaces": 0, "rule": {
        "above": [{ "amount": "500", "currency": "QToken" }],
        "approvers": ["did:squid:QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG"],
        "required": 1
    } };
}
endpoint! {
    /// Approves or rejects a payment, under a signature over exactly what its payer signs: a compact JWS of the type
    /// `q-approval+jws` to approve, `q-rejection+jws` to reject.
    ///
    /// What is beyond the own limits of a wallet below another (a sub-identity's, or somebody's in care) is approved by its
    /// parent or one of its guardians, once: the payment that was approved may exceed these limits, while the parent's
    /// limits and the most that one payment may be hold all the same.
    ///
    /// Who approved may still reject; a rejection stands. When so many reject that too few are left, the intent is
    /// cancelled.
    pub DecideIntent = POST "/intents/{intentId}/approvals" (DecideIntentRequest) -> Intent;
    access Access::Signed;
    errors [
        codes::INVALID_REQUEST, codes::IDEMPOTENCY_KEY_REUSED, INTENT_NOT_FOUND, INVALID_STATE, INTENT_EXPIRED,
        SIGNATURE_INVALID, SELF_APPROVAL, NOT_AN_APPROVER,
    ];
}
endpoint! {
    /// Lists the payments that wait for the caller's approval, newest first.
    pub ListApprovals = GET "/approvals" (ListApprovalsRequest) -> IntentPage;
    access Access::Identity("wallet:read");
}
endpoint! {
    /// Shows whoever has the link of a payment that others are to approve what would be paid: as JSON, or as a page (HTML
    /// without scripts) to a browser, which names `text/html` in `Accept`. Nothing is decided here.
    pub ReadAsked = GET "/a/{intentId}/{code}" (AskedIntentPath) -> Readable<AskedIntent>;
    access Access::Public("who was given the link is to read what is asked, with whatever is at hand");
    errors [INTENT_NOT_FOUND];
}
