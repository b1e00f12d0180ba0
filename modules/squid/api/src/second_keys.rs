//! Second keys: kept apart from an identity's own, proved beside it where one login is not enough.

use q_contract::{Access, codes::MFA_REQUIRED, endpoint, json_types};
use q_core::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    errors::{
        SQUID_IDENTITY_NOT_FOUND, SQUID_SECOND_KEY_LIMIT, SQUID_SECOND_KEY_NOT_FOUND,
        SQUID_SECOND_KEY_REFUSED, SQUID_TYPE_FORBIDDEN,
    },
    types::{Empty, NoFields, StatusRequest},
};

/// Enrols a second key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AddSecondKeyRequest {
    /// A login assertion of the caller signed by the key, with `<did>#<multikey>` as `kid`: it shows who holds it.
    pub assertion: String,
}

/// Names a second key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecondKeyRequest {
    /// Its multikey, `z6Mk…`.
    pub key: String,
}

/// A second key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecondKey {
    /// Its multikey, `z6Mk…`.
    pub key: String,
    /// When it was enrolled.
    pub created_at: Timestamp,
}

/// The caller's second keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecondKeyList {
    /// Oldest first; at most 5.
    pub items: Vec<SecondKey>,
}

json_types!(SecondKey, SecondKeyList);

endpoint! {
    /// Enrols a second key of the caller.
    ///
    /// The first one needs a login of the last five minutes, bound to the identity's key; each further one a step-up,
    /// so that a thief of the first key cannot make a second. A sub-identity has none: its parent steps up for it.
    pub AddSecondKey = POST "/auth/second-keys" (AddSecondKeyRequest) -> SecondKey;
    status 201;
    access Access::Identity("identity:write");
    errors [SQUID_TYPE_FORBIDDEN, SQUID_SECOND_KEY_REFUSED, MFA_REQUIRED, SQUID_SECOND_KEY_LIMIT];
    body_max 32 << 10;
    idempotent true;
}

endpoint! {
    /// The caller's second keys.
    pub ListSecondKeys = GET "/auth/second-keys" (NoFields) -> SecondKeyList;
    access Access::Identity("identity:read");
}

endpoint! {
    /// Forgets a second key of the caller, who must have stepped up.
    pub RemoveSecondKey = DELETE "/auth/second-keys/{key}" (SecondKeyRequest) -> Empty;
    access Access::Identity("identity:write");
    errors [MFA_REQUIRED, SQUID_SECOND_KEY_NOT_FOUND];
    idempotent true;
    when_read_only true;
}

endpoint! {
    /// Forgets all second keys of somebody who lost them.
    pub ResetSecondKeys = POST "/identity/{did}/second-keys/reset" (StatusRequest) -> Empty;
    access Access::Operator;
    errors [SQUID_IDENTITY_NOT_FOUND];
    idempotent true;
}
