//! Sub-identities: made by a parent, switched to, stopped; and what modules learn of anybody's standing.

use q_contract::{Access, endpoint, json_types};
use q_core::{Did, hash};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    errors::{
        SQUID_IDENTITY_EXISTS, SQUID_IDENTITY_NOT_FOUND, SQUID_LINK_INVALID, SQUID_LOG_INVALID,
        SQUID_PROFILE_INVALID, SQUID_STATUS_CONFLICT, SQUID_SUBIDENTITY_LIMIT, SQUID_TYPE_FORBIDDEN,
    },
    types::{Identity, IdentityRequest, IdentityType, PrivacyLevel, Profile, Status, TokenResponse},
};

/// The JOSE type of a statement of kinship.
pub const LINK_TYP: &str = "q-link+jws";

/// What parent and child each sign to be parent and child, as canonical JSON (RFC 8785) in a compact JWS of type
/// [`LINK_TYP`]. One-sided it means nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LinkStatement<'a> {
    /// The origin of the instance that is to believe it.
    pub aud: &'a str,
    /// The sub-identity.
    pub child: &'a Did,
    /// Its parent, or one of its guardians or owners.
    pub parent: &'a Did,
    /// What kind the child is.
    #[serde(rename = "type")]
    pub kind: IdentityType,
    /// The version of this form, 1.
    pub v: u8,
}

impl LinkStatement<'_> {
    /// The bytes that are signed.
    pub fn bytes(&self) -> Vec<u8> {
        hash::canonical_json(self).expect("a statement holds texts and a number only")
    }
}

/// A parent's and the child's word that they are that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Link {
    /// The parent, guardian or owner.
    pub parent: Did,
    /// Its signature.
    pub by_parent: String,
    /// The child's signature, by a key of the log entry that is handed in.
    pub by_child: String,
}

/// Registers a sub-identity of the caller.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SubIdentityRequest {
    /// The caller.
    pub did: Did,
    /// `ROOT` for a further profile or a program, `CONSENTIDA`, `DAO` or `ENTERPRISE`.
    #[serde(rename = "type")]
    pub kind: IdentityType,
    /// The signed first entry of its log, at most 32 KiB.
    pub log_entry: Value,
    /// What it says about itself.
    pub profile: Profile,
    /// Who may see that; `PRIVATE` when not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub privacy_level: Option<PrivacyLevel>,
    /// The caller's link first, then those of the other guardians or owners; at most 8.
    pub links: Vec<Link>,
}

/// The caller's sub-identities that have not ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SubIdentityList {
    /// Oldest first.
    pub items: Vec<Identity>,
}

/// Stops a sub-identity, or lets it act again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SubIdentityStatusRequest {
    /// The caller.
    pub did: Did,
    /// Its sub-identity.
    pub child: Did,
    /// Why, 1 to 500 characters.
    pub reason: String,
}

/// Asks for a token of a sub-identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SwitchRequest {
    /// The sub-identity.
    pub to: Did,
    /// Scope names separated by spaces, at most those of the caller's token; the same when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
}

/// What kind of identity it is, whose, and whether it may act.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StandingRecord {
    /// The identity.
    pub did: Did,
    /// What kind it is.
    #[serde(rename = "type")]
    pub kind: IdentityType,
    /// Whether it may act.
    pub status: Status,
    /// Whose sub-identity it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Did>,
    /// The top of its tree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<Did>,
    /// Its guardians or owners, the parent first; empty for other kinds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub guardians: Vec<Did>,
}

json_types!(SubIdentityList, StandingRecord);

endpoint! {
    /// Registers a sub-identity: own name, own keys, and a link that both sides have signed.
    ///
    /// `ROOT` and `CONSENTIDA` may act at once; `DAO` and `ENTERPRISE` when an operator reactivates them. Somebody
    /// whom nobody shall be able to tie to another (`AID`) is registered with `POST /identity`, without a login.
    pub CreateSubIdentity = POST "/identity/{did}/subidentity" (SubIdentityRequest) -> Identity;
    status 201;
    access Access::Identity("identity:write");
    errors [
        SQUID_TYPE_FORBIDDEN, SQUID_LOG_INVALID, SQUID_PROFILE_INVALID, SQUID_LINK_INVALID, SQUID_SUBIDENTITY_LIMIT,
        SQUID_IDENTITY_EXISTS,
    ];
    body_max 128 << 10;
    idempotent true;
}

endpoint! {
    /// The caller's own sub-identities that have not ended.
    pub ListSubIdentities = GET "/identity/{did}/subidentities" (IdentityRequest) -> SubIdentityList;
    access Access::Identity("identity:read");
    errors [SQUID_IDENTITY_NOT_FOUND];
}

endpoint! {
    /// Stops a sub-identity of the caller: it may not act, and its tokens die.
    pub SuspendSubIdentity = POST "/identity/{did}/subidentities/{child}/suspend" (SubIdentityStatusRequest) -> Identity;
    access Access::Identity("identity:write");
    errors [SQUID_IDENTITY_NOT_FOUND, SQUID_STATUS_CONFLICT];
    idempotent true;
    when_read_only true;
}

endpoint! {
    /// Lets a sub-identity act again that the caller, or another of its guardians or owners, has stopped.
    pub ReactivateSubIdentity = POST "/identity/{did}/subidentities/{child}/reactivate" (SubIdentityStatusRequest) -> Identity;
    access Access::Identity("identity:write");
    errors [SQUID_IDENTITY_NOT_FOUND, SQUID_STATUS_CONFLICT];
    idempotent true;
}

endpoint! {
    /// A token of a sub-identity for its parent (the exchange of RFC 8693 in the house's own words).
    ///
    /// Bound to the key of the token it is asked with, no wider in scope, and as fresh and as strong as that one's
    /// login. It dies with the parent's sessions. Guardians and owners beside the parent cannot switch.
    pub SwitchIdentity = POST "/auth/switch" (SwitchRequest) -> TokenResponse;
    access Access::Identity("identity:switch");
    errors [crate::errors::INVALID_SCOPE, SQUID_IDENTITY_NOT_FOUND, SQUID_STATUS_CONFLICT];
    idempotent true;
}

endpoint! {
    /// What kind of identity it is, whose, and whether it may act.
    pub GetStanding = GET "/identity/{did}/standing" (IdentityRequest) -> StandingRecord;
    access Access::Service;
    errors [SQUID_IDENTITY_NOT_FOUND];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_canonical() {
        let (child, parent) = ("did:squid:QmC".parse().unwrap(), "did:squid:QmP".parse().unwrap());
        let kind = IdentityType::Root;
        let statement = LinkStatement { aud: "http://q.example", child: &child, parent: &parent, kind, v: 1 };
        let expected = r#"{"aud":"http://q.example","child":"did:squid:QmC","parent":"did:squid:QmP","type":"ROOT","v":1}"#;
        assert_eq!(String::from_utf8(statement.bytes()).unwrap(), expected);
    }
}
