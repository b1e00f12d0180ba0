//! The refusals of this module.

use q_contract::ErrorCode;

/// The log, or the entry, breaks a rule; the member `rule` names it.
pub const SQUID_LOG_INVALID: ErrorCode =
    ErrorCode::new("SQUID_LOG_INVALID", 400, "the identity log breaks a rule");
/// The entry does not follow the newest one.
pub const SQUID_LOG_CONFLICT: ErrorCode =
    ErrorCode::new("SQUID_LOG_CONFLICT", 409, "the entry does not follow the newest entry of the log");
/// The identity is registered already.
pub const SQUID_IDENTITY_EXISTS: ErrorCode =
    ErrorCode::new("SQUID_IDENTITY_EXISTS", 409, "the identity is registered already");
/// No such identity, or the caller may not know of it.
pub const SQUID_IDENTITY_NOT_FOUND: ErrorCode =
    ErrorCode::new("SQUID_IDENTITY_NOT_FOUND", 404, "there is no such identity");
/// The identity, or this version of it, has ended.
pub const SQUID_IDENTITY_GONE: ErrorCode =
    ErrorCode::new("SQUID_IDENTITY_GONE", 410, "the identity has ended");
/// The caller is not who may do this.
pub const SQUID_INSUFFICIENT_PERMISSIONS: ErrorCode =
    ErrorCode::new("SQUID_INSUFFICIENT_PERMISSIONS", 403, "only the identity itself may do this");
/// The profile was changed by somebody else meanwhile.
pub const PRECONDITION_FAILED: ErrorCode =
    ErrorCode::new("PRECONDITION_FAILED", 412, "the profile has changed since it was read");
/// The status does not allow the change.
pub const SQUID_STATUS_CONFLICT: ErrorCode =
    ErrorCode::new("SQUID_STATUS_CONFLICT", 409, "the identity's status does not allow this");
/// Operators suspend others only: the last one would be locked out, and nobody could let anybody in again.
pub const SQUID_SELF_SUSPENSION: ErrorCode =
    ErrorCode::new("SQUID_SELF_SUSPENSION", 409, "nobody suspends the identity that acts");
/// The profile is not acceptable.
pub const SQUID_PROFILE_INVALID: ErrorCode =
    ErrorCode::new("SQUID_PROFILE_INVALID", 400, "the profile is not acceptable");
/// This kind of identity is not made this way, or not by the caller.
pub const SQUID_TYPE_FORBIDDEN: ErrorCode =
    ErrorCode::new("SQUID_TYPE_FORBIDDEN", 403, "this kind of identity is not made this way");
/// A link that one side has not signed, or not as it stands.
pub const SQUID_LINK_INVALID: ErrorCode =
    ErrorCode::new("SQUID_LINK_INVALID", 400, "parent and child have not both signed their link");
/// As many sub-identities as one identity may have.
pub const SQUID_SUBIDENTITY_LIMIT: ErrorCode =
    ErrorCode::new("SQUID_SUBIDENTITY_LIMIT", 409, "the identity has as many sub-identities as it may have");
/// Sub-identities are left: they would be nobody's.
pub const SQUID_HAS_CHILDREN: ErrorCode =
    ErrorCode::new("SQUID_HAS_CHILDREN", 409, "the identity has sub-identities that have not ended");
/// The second key cannot be one.
pub const SQUID_SECOND_KEY_REFUSED: ErrorCode =
    ErrorCode::new("SQUID_SECOND_KEY_REFUSED", 400, "this is no second key of the identity");
/// As many second keys as one identity may have.
pub const SQUID_SECOND_KEY_LIMIT: ErrorCode =
    ErrorCode::new("SQUID_SECOND_KEY_LIMIT", 409, "the identity has as many second keys as it may have");
/// No such second key.
pub const SQUID_SECOND_KEY_NOT_FOUND: ErrorCode =
    ErrorCode::new("SQUID_SECOND_KEY_NOT_FOUND", 404, "there is no such second key");
/// The login needs the second key (RFC 9470, OpenID Connect Core Unmet Authentication Requirements 1.0).
pub const UNMET_AUTHENTICATION_REQUIREMENTS: ErrorCode =
    ErrorCode::new("unmet_authentication_requirements", 400, "the login is not as strong as was asked for");
/// No such session, or it is another identity's.
pub const SQUID_SESSION_NOT_FOUND: ErrorCode =
    ErrorCode::new("SQUID_SESSION_NOT_FOUND", 404, "there is no such session");
/// The login does not hold (RFC 6749 section 5.2, `invalid_grant`).
pub const INVALID_GRANT: ErrorCode = ErrorCode::new("invalid_grant", 400, "the login does not hold");
/// The grant type is not offered (RFC 6749 section 5.2).
pub const UNSUPPORTED_GRANT_TYPE: ErrorCode =
    ErrorCode::new("unsupported_grant_type", 400, "this grant type is not offered");
/// The scope is not a list of scope names (RFC 6749 section 5.2).
pub const INVALID_SCOPE: ErrorCode = ErrorCode::new("invalid_scope", 400, "the scope is not acceptable");
/// The proof of possession does not hold (RFC 9449 section 5).
pub const INVALID_DPOP_PROOF: ErrorCode =
    ErrorCode::new("invalid_dpop_proof", 400, "the proof of possession does not hold for this request");
/// The two clocks disagree by more than a minute.
pub const SQUID_CLOCK_SKEW: ErrorCode =
    ErrorCode::new("SQUID_CLOCK_SKEW", 401, "the credential is dated more than 60 s away from this clock");
/// The text is not an identifier that may be looked up (W3C DID Resolution).
pub const INVALID_DID: ErrorCode = ErrorCode::new("invalidDid", 400, "not a decentralised identifier");
/// The identifier is not known here (W3C DID Resolution).
pub const DID_NOT_FOUND: ErrorCode = ErrorCode::new("notFound", 404, "the identifier is not known here");

/// Every code, for the committed list.
pub const ALL: &[ErrorCode] = &[
    SQUID_LOG_INVALID,
    SQUID_LOG_CONFLICT,
    SQUID_IDENTITY_EXISTS,
    SQUID_IDENTITY_NOT_FOUND,
    SQUID_IDENTITY_GONE,
    SQUID_INSUFFICIENT_PERMISSIONS,
    PRECONDITION_FAILED,
    SQUID_STATUS_CONFLICT,
    SQUID_SELF_SUSPENSION,
    SQUID_PROFILE_INVALID,
    SQUID_TYPE_FORBIDDEN,
    SQUID_LINK_INVALID,
    SQUID_SUBIDENTITY_LIMIT,
    SQUID_HAS_CHILDREN,
    SQUID_SECOND_KEY_REFUSED,
    SQUID_SECOND_KEY_LIMIT,
    SQUID_SECOND_KEY_NOT_FOUND,
    UNMET_AUTHENTICATION_REQUIREMENTS,
    SQUID_SESSION_NOT_FOUND,
    INVALID_GRANT,
    UNSUPPORTED_GRANT_TYPE,
    INVALID_SCOPE,
    INVALID_DPOP_PROOF,
    SQUID_CLOCK_SKEW,
    INVALID_DID,
    DID_NOT_FOUND,
];
