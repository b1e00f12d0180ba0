//! The refusals of this module.

use q_contract::ErrorCode;

/// The resource is not `module:type:id`.
pub const INVALID_RESOURCE_FORMAT: ErrorCode =
    ErrorCode::new("INVALID_RESOURCE_FORMAT", 400, "the resource is not module:type:id");
/// The identity is not a DID.
pub const INVALID_IDENTITY_FORMAT: ErrorCode =
    ErrorCode::new("INVALID_IDENTITY_FORMAT", 400, "the identity is not a decentralised identifier");
/// The action is not spelled as one.
pub const INVALID_ACTION: ErrorCode =
    ErrorCode::new("INVALID_ACTION", 400, "the action is not a lower-case word");
/// The permissions are missing, too many, or not spelled as actions.
pub const INVALID_PERMISSIONS: ErrorCode =
    ErrorCode::new("INVALID_PERMISSIONS", 400, "the permissions are not a list of lower-case actions");
/// A field is out of bounds.
pub const VALIDATION_ERROR: ErrorCode = ErrorCode::new("VALIDATION_ERROR", 400, "a field is out of bounds");
/// A token breaks a rule; `rule` names it.
pub const UCAN_INVALID: ErrorCode = ErrorCode::new("UCAN_INVALID", 400, "the delegation breaks a rule");
/// A token or container passes a limit.
pub const UCAN_TOO_LARGE: ErrorCode = ErrorCode::new("UCAN_TOO_LARGE", 400, "the delegation passes a limit");
/// A signature does not hold.
pub const UCAN_BAD_SIGNATURE: ErrorCode =
    ErrorCode::new("UCAN_BAD_SIGNATURE", 400, "the signature of the delegation does not hold");
/// A token has ended.
pub const UCAN_EXPIRED: ErrorCode = ErrorCode::new("UCAN_EXPIRED", 400, "the delegation has expired");
/// A token has not begun.
pub const UCAN_TOO_EARLY: ErrorCode =
    ErrorCode::new("UCAN_TOO_EARLY", 400, "the delegation is not valid yet");
/// A token was revoked.
pub const UCAN_REVOKED: ErrorCode = ErrorCode::new("UCAN_REVOKED", 409, "the delegation was revoked");
/// Delegations between the owner and the granter are missing.
pub const MISSING_PROOFS: ErrorCode =
    ErrorCode::new("MISSING_PROOFS", 422, "no chain of delegations leads from the owner to the identity");
/// The granter does not hold what is granted.
pub const INSUFFICIENT_PERMISSIONS: ErrorCode =
    ErrorCode::new("INSUFFICIENT_PERMISSIONS", 403, "the caller cannot grant this");
/// The owner's signature is missing.
pub const STANDING_DELEGATION_REQUIRED: ErrorCode =
    ErrorCode::new("STANDING_DELEGATION_REQUIRED", 409, "the grant needs a delegation signed by the owner");
/// Too many grants on one resource or to one identity.
pub const GRANT_LIMIT: ErrorCode = ErrorCode::new("GRANT_LIMIT", 409, "too many grants");
/// No such grant that the caller may revoke.
pub const GRANT_NOT_FOUND: ErrorCode = ErrorCode::new("GRANT_NOT_FOUND", 404, "there is no such grant");
/// No such delegation on record.
pub const DELEGATION_NOT_FOUND: ErrorCode =
    ErrorCode::new("DELEGATION_NOT_FOUND", 404, "there is no such delegation");
/// The delegation was revoked.
pub const DELEGATION_REVOKED: ErrorCode =
    ErrorCode::new("DELEGATION_REVOKED", 410, "the delegation was revoked");
/// The state the caller asked for has not been reached.
pub const QONSENT_STALE: ErrorCode =
    ErrorCode::new("QONSENT_STALE", 503, "the permissions have not reached the epoch asked for");

/// Every code, for the committed list.
pub const ALL: &[ErrorCode] = &[
    INVALID_RESOURCE_FORMAT,
    INVALID_IDENTITY_FORMAT,
    INVALID_ACTION,
    INVALID_PERMISSIONS,
    VALIDATION_ERROR,
    UCAN_INVALID,
    UCAN_TOO_LARGE,
    UCAN_BAD_SIGNATURE,
    UCAN_EXPIRED,
    UCAN_TOO_EARLY,
    UCAN_REVOKED,
    MISSING_PROOFS,
    INSUFFICIENT_PERMISSIONS,
    STANDING_DELEGATION_REQUIRED,
    GRANT_LIMIT,
    GRANT_NOT_FOUND,
    DELEGATION_NOT_FOUND,
    DELEGATION_REVOKED,
    QONSENT_STALE,
];
