//! The refusals of qlock. Codes are stable; the texts may change.

use q_contract::ErrorCode;

/// No such key, or not one the caller may know of.
pub const KEY_NOT_FOUND: ErrorCode = ErrorCode::new("key_not_found", 404, "no such key");
/// The key is of a type that does not do this.
pub const KEY_USAGE_MISMATCH: ErrorCode =
    ErrorCode::new("key_usage_mismatch", 409, "the key is not for this operation");
/// The named algorithm is not offered here.
pub const ALGORITHM_UNSUPPORTED: ErrorCode =
    ErrorCode::new("algorithm_unsupported", 400, "the algorithm is not offered");
/// A field is not canonical base64, or a text is not of the expected format.
pub const BAD_ENCODING: ErrorCode = ErrorCode::new("bad_encoding", 400, "a field is not encoded as declared");
/// A field has the right form and a value out of bounds.
pub const VALIDATION_FAILED: ErrorCode =
    ErrorCode::new("validation_failed", 422, "a field's value is out of bounds");
/// The plaintext is longer than one request may seal.
pub const PAYLOAD_TOO_LARGE: ErrorCode =
    ErrorCode::new("payload_too_large", 413, "the data is longer than one request may seal");
/// The sealed text does not open. One code for every cause, so that nobody learns which it was.
pub const DECRYPT_FAILED: ErrorCode = ErrorCode::new("decrypt_failed", 422, "the sealed text does not open");
/// The request names an identity that the caller is not.
pub const IDENTITY_MISMATCH: ErrorCode =
    ErrorCode::new("identity_mismatch", 403, "the request names an identity that the caller is not");
/// The use of a key could not be audited, so it did not happen.
pub const AUDIT_UNAVAILABLE: ErrorCode =
    ErrorCode::new("audit_unavailable", 503, "the use of the key could not be audited, so it did not happen");

/// Every code, for the committed list.
pub const ALL: &[ErrorCode] = &[
    KEY_NOT_FOUND,
    KEY_USAGE_MISMATCH,
    ALGORITHM_UNSUPPORTED,
    BAD_ENCODING,
    VALIDATION_FAILED,
    PAYLOAD_TOO_LARGE,
    DECRYPT_FAILED,
    IDENTITY_MISMATCH,
    AUDIT_UNAVAILABLE,
];
