//! The codes every module may answer with, whatever it is for.

use crate::ErrorCode;

/// The request is not what the endpoint declares.
pub const INVALID_REQUEST: ErrorCode =
    ErrorCode::new("INVALID_REQUEST", 400, "the request does not have the declared form");
/// A write came without an idempotency key.
pub const IDEMPOTENCY_KEY_REQUIRED: ErrorCode =
    ErrorCode::new("IDEMPOTENCY_KEY_REQUIRED", 400, "writes need an Idempotency-Key header");
/// The idempotency key was used for another request.
pub const IDEMPOTENCY_KEY_REUSED: ErrorCode =
    ErrorCode::new("IDEMPOTENCY_KEY_REUSED", 422, "the Idempotency-Key was used for another request");
/// No credential, or none that holds.
pub const UNAUTHENTICATED: ErrorCode =
    ErrorCode::new("UNAUTHENTICATED", 401, "the request carries no valid credential");
/// The caller may not do this.
pub const FORBIDDEN: ErrorCode = ErrorCode::new("FORBIDDEN", 403, "the caller may not do this");
/// Nothing is here, or the caller may not know that something is.
pub const NOT_FOUND: ErrorCode = ErrorCode::new("NOT_FOUND", 404, "nothing is here");
/// The path exists, the method does not.
pub const METHOD_NOT_ALLOWED: ErrorCode =
    ErrorCode::new("METHOD_NOT_ALLOWED", 405, "this path does not know this method");
/// The body is larger than the endpoint accepts.
pub const PAYLOAD_TOO_LARGE: ErrorCode = ErrorCode::new("PAYLOAD_TOO_LARGE", 413, "the body is too large");
/// The body's media type is not the declared one.
pub const UNSUPPORTED_MEDIA_TYPE: ErrorCode =
    ErrorCode::new("UNSUPPORTED_MEDIA_TYPE", 415, "the body has another media type than the endpoint reads");
/// Too many requests.
pub const RATE_LIMITED: ErrorCode = ErrorCode::new("RATE_LIMITED", 429, "too many requests");
/// A fault of ours.
pub const INTERNAL: ErrorCode = ErrorCode::new("INTERNAL", 500, "the request failed inside");
/// The store cannot answer now.
pub const STORAGE_UNAVAILABLE: ErrorCode =
    ErrorCode::new("STORAGE_UNAVAILABLE", 503, "the store cannot answer now");
/// The process has just started and does not know yet what was revoked before.
pub const NOT_READY: ErrorCode = ErrorCode::new("NOT_READY", 503, "the service has just started");
/// The store has no room for what was to be written.
pub const STORAGE_FULL: ErrorCode = ErrorCode::new("STORAGE_FULL", 507, "the store has no room left");
/// More requests than can be answered in time; some are refused for a while.
pub const OVERLOADED: ErrorCode =
    ErrorCode::new("OVERLOADED", 503, "the service answers fewer requests for a while");
/// Maintenance: nothing is answered.
pub const MAINTENANCE: ErrorCode = ErrorCode::new("MAINTENANCE", 503, "the service is in maintenance");
/// Reads only, by order.
pub const READ_ONLY: ErrorCode = ErrorCode::new("READ_ONLY", 503, "the service takes no writes now");
/// Reads only, because something was found wrong.
pub const WRITE_STOPPED: ErrorCode =
    ErrorCode::new("WRITE_STOPPED", 503, "writes are stopped until the store is found sound");
/// Operators and services only.
pub const ISOLATED: ErrorCode = ErrorCode::new("ISOLATED", 403, "the service is isolated");
/// A module this one needs did not answer.
pub const DEPENDENCY_UNAVAILABLE: ErrorCode =
    ErrorCode::new("DEPENDENCY_UNAVAILABLE", 503, "a service this one depends on did not answer");
/// The caller's deadline passed first.
pub const DEADLINE_EXCEEDED: ErrorCode =
    ErrorCode::new("DEADLINE_EXCEEDED", 504, "the deadline passed before the answer was ready");

/// The login is not strong or not fresh enough for this (RFC 9470 section 3).
pub const MFA_REQUIRED: ErrorCode =
    ErrorCode::new("MFA_REQUIRED", 403, "this needs a fresh login with two keys");

/// Every common code, for the committed list.
pub const ALL: &[ErrorCode] = &[
    INVALID_REQUEST,
    IDEMPOTENCY_KEY_REQUIRED,
    IDEMPOTENCY_KEY_REUSED,
    UNAUTHENTICATED,
    FORBIDDEN,
    MFA_REQUIRED,
    NOT_FOUND,
    METHOD_NOT_ALLOWED,
    PAYLOAD_TOO_LARGE,
    UNSUPPORTED_MEDIA_TYPE,
    RATE_LIMITED,
    INTERNAL,
    STORAGE_UNAVAILABLE,
    STORAGE_FULL,
    OVERLOADED,
    MAINTENANCE,
    READ_ONLY,
    WRITE_STOPPED,
    ISOLATED,
    NOT_READY,
    DEPENDENCY_UNAVAILABLE,
    DEADLINE_EXCEEDED,
];
