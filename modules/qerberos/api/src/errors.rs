//! The refusals of this module.

use q_contract::ErrorCode;

/// The event breaks a rule of its form.
pub const INVALID_EVENT: ErrorCode = ErrorCode::new("INVALID_EVENT", 422, "the event is not recordable");
/// The id was used for another event.
pub const DUPLICATE_CONFLICT: ErrorCode =
    ErrorCode::new("DUPLICATE_CONFLICT", 409, "the id names another event already");
/// A service recorded an event of another module.
pub const PRODUCER_MISMATCH: ErrorCode =
    ErrorCode::new("PRODUCER_MISMATCH", 403, "a service records events of its own layer only");
/// No such event, or the caller may not know of it.
pub const EVENT_NOT_FOUND: ErrorCode = ErrorCode::new("EVENT_NOT_FOUND", 404, "there is no such event");
/// No signed checkpoint covers the event yet.
pub const NOT_YET_INCLUDED: ErrorCode =
    ErrorCode::new("NOT_YET_INCLUDED", 409, "no signed checkpoint covers the event yet");
/// The log has no such resource, or not yet.
pub const RESOURCE_NOT_FOUND: ErrorCode =
    ErrorCode::new("RESOURCE_NOT_FOUND", 404, "the log has no such resource");

/// Every code, for the committed list.
pub const ALL: &[ErrorCode] = &[
    INVALID_EVENT,
    DUPLICATE_CONFLICT,
    PRODUCER_MISMATCH,
    EVENT_NOT_FOUND,
    NOT_YET_INCLUDED,
    RESOURCE_NOT_FOUND,
];
