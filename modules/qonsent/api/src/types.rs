//! The shapes on the wire.

use q_contract::json_types;
use q_core::{Did, PageLimit, Timestamp};
use q_pdp::{Conditions, GrantId, RevocationHead};
use q_ucan::TokenCid;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// May an identity do an action to a resource now?
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CheckRequest {
    /// On what: `module:type:id`.
    pub resource: String,
    /// Who: a DID.
    pub identity: String,
    /// What: `read`, `write`, `delete`, `admin`, `share`, `execute`, or an action of the module.
    pub action: String,
    /// Whose the resource is. Heeded when a module of the instance asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Did>,
    /// Answer by no older state than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_epoch: Option<u64>,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CheckResponse {
    /// Whether they may.
    pub allowed: bool,
    /// Why, as a stable code: `OWNER`, `GRANT`, `NO_GRANT`, `GRANT_EXPIRED`, …
    pub reason: String,
    /// What decided it, if one thing did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyRef>,
    /// Until when the answer holds if nothing is revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// How to find the check again.
    pub audit_trail: AuditTrail,
    /// The state it was judged by.
    pub epoch: u64,
}

/// What decided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyRef {
    /// The id of the grant.
    pub id: String,
    /// `grant`.
    #[serde(rename = "type")]
    pub kind: String,
}

/// How to find a check again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditTrail {
    /// Its name.
    pub check_id: CheckId,
    /// When.
    pub timestamp: Timestamp,
    /// Who decided.
    pub source: String,
}

q_core::typed_id!(
    /// One answered check.
    CheckId,
    "check_"
);

/// Hand rights on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GrantRequest {
    /// On what: `module:type:id`.
    pub resource: String,
    /// To whom: a DID.
    pub identity: String,
    /// What they may do. `admin` stands for all common actions, `write` and `share` for `read` too.
    pub permissions: Vec<String>,
    /// Until when; 90 days when not said, at most a year. Never longer than the delegations last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// The signed delegations that prove it, as a UCAN container (`ctn-v1`, base64url).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delegation: Option<String>,
}

/// Where a grant stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum GrantState {
    /// It counts.
    Active,
    /// Its time ended.
    Expired,
    /// All of it was taken back.
    Revoked,
}

/// Rights that were handed on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Grant {
    /// Its name.
    pub grant_id: GrantId,
    /// On what.
    pub resource: String,
    /// Whose it is, by the chain: counts where the resource's module says the same.
    pub owner: Did,
    /// To whom.
    pub identity: Did,
    /// What may be done still, literally.
    pub permissions: Vec<String>,
    /// By whom.
    pub granted_by: Did,
    /// When.
    pub created_at: Timestamp,
    /// Until when.
    pub expires_at: Timestamp,
    /// Where it stands.
    pub state: GrantState,
    /// What the links of its chains ask for, each besides the others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<GrantConditions>,
    /// The delegations made to the identity.
    pub cids: Vec<TokenCid>,
    /// All delegations of the proving chains, as a container; in the answer to the grant only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ucan: Option<String>,
    /// The state that includes it.
    pub epoch: u64,
}

/// What one delegation asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GrantConditions {
    /// The delegation: uses are counted by it.
    pub cid: TokenCid,
    /// At which times and how often it counts.
    #[serde(flatten)]
    pub conditions: Conditions,
}

/// Take rights back: those on a resource from an identity, or whatever goes through one delegation.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RevokeRequest {
    /// On what; together with `identity`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// From whom; together with `resource`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// Which actions, literally; all when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub permissions: Vec<String>,
    /// One delegation, instead of `resource` and `identity`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cid: Option<TokenCid>,
    /// Why, as one lower-case word; it is told to every module.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Rights that were taken back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Revocation {
    /// What may no longer be done by these delegations.
    pub revoked_permissions: Vec<String>,
    /// When.
    pub revoked_at: Timestamp,
    /// The delegations that no longer count.
    pub cids: Vec<TokenCid>,
    /// The state that includes it.
    pub epoch: u64,
    /// Other live grants that still allow what was revoked.
    pub ineffective: Vec<StillAllowed>,
}

/// A grant that still allows what was revoked elsewhere.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StillAllowed {
    /// The grant.
    pub grant_id: GrantId,
    /// By whom.
    pub granted_by: Did,
    /// What it allows of it.
    pub permissions: Vec<String>,
}

/// Which grants to list: those the caller owns, made or holds; operators see all.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListPermissionsRequest {
    /// Only on this resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// Only to this identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// Where to go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// How many.
    #[serde(default)]
    pub limit: PageLimit,
}

/// Put signed delegations on record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RegisterRequest {
    /// The delegations, as a UCAN container (`ctn-v1`, base64url).
    pub container: String,
}

/// Delegations that were put on record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Registered {
    /// All of the container.
    pub cids: Vec<TokenCid>,
    /// The state that includes them.
    pub registered_epoch: u64,
    /// The grants they are: one for each holder and resource that they pin.
    pub grants: Vec<Grant>,
}

/// Which delegations to list.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListDelegationsRequest {
    /// Where to go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// How many.
    #[serde(default)]
    pub limit: PageLimit,
}

/// Which delegation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DelegationPath {
    /// Its content identifier.
    pub cid: TokenCid,
}

/// A delegation on record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DelegationRecord {
    /// Its content identifier.
    pub cid: TokenCid,
    /// The token itself, as a container of one.
    pub container: String,
    /// Who handed on, with the key it names.
    pub issuer: String,
    /// Who received.
    pub audience: Did,
    /// Whose authority; absent when it hands on whatever the issuer receives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Did>,
    /// What may be done.
    pub command: String,
    /// Under which conditions, as DAG-JSON.
    pub policy: serde_json::Value,
    /// From when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// Until when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// When it was put on record.
    pub registered_at: Timestamp,
    /// The state that includes it.
    pub registered_epoch: u64,
}

/// Which changes to read.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListChangesRequest {
    /// Those after this epoch.
    #[serde(default)]
    pub after: u64,
    /// How many.
    #[serde(default)]
    pub limit: PageLimit,
}

/// Changes in their order, and how far it goes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Changes {
    /// The changes.
    pub changes: Vec<ChangeRecord>,
    /// The head of the order, not of this page.
    pub head: RevocationHead,
}

/// One change, as its event told it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChangeRecord {
    /// Its place.
    pub epoch: u64,
    /// The topic of its event.
    pub topic: String,
    /// The payload of its event.
    pub payload: serde_json::Value,
}

json_types!(CheckResponse, Grant, Revocation, Registered, DelegationRecord, Changes);
