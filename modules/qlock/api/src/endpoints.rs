//! Every endpoint of qlock.
//!
//! The crypto endpoints are declared idempotent: nothing of them is kept for replay, because an
//! idempotency record must never hold a plaintext or a key.

use q_contract::{Access, endpoint};

use crate::{
    errors::{
        ALGORITHM_UNSUPPORTED, AUDIT_UNAVAILABLE, BAD_ENCODING, DECRYPT_FAILED, IDENTITY_MISMATCH,
        KEY_NOT_FOUND, KEY_USAGE_MISMATCH, PAYLOAD_TOO_LARGE, VALIDATION_FAILED,
    },
    types::{
        Algorithms, AlgorithmsRequest, CreateDataKeysRequest, CreateKeyRequest, DataKey, DataKeys,
        DecryptRequest, Decrypted, EncryptRequest, Encrypted, Jwks, JwksRequest, Key, KeyPage, KeyRequest,
        ListKeysRequest, RandomBytes, RandomRequest, SignRequest, Signed, UnwrapDataKeyRequest, Verification,
        VerifyRequest,
    },
};

/// May list and look at the caller's keys.
pub const SCOPE_READ: &str = "lock:read";
/// May make and rotate keys.
pub const SCOPE_WRITE: &str = "lock:write";
/// May seal, open, sign and verify.
pub const SCOPE_USE: &str = "lock:use";

/// The largest body of a request that carries a value of 1 MiB, in bytes.
const VALUE_BODY_BYTES_MAX: usize = 2 << 20;

endpoint! {
    /// Makes a key for the caller.
    ///
    /// The private half never leaves the service.
    pub CreateKey = POST "/keys" (CreateKeyRequest) -> Key;
    status 201;
    access Access::Identity(SCOPE_WRITE);
    errors [IDENTITY_MISMATCH, VALIDATION_FAILED];
    example { "type": "ed25519", "label": "release signing" };
}

endpoint! {
    /// Lists the caller's keys, oldest first.
    pub ListKeys = GET "/keys" (ListKeysRequest) -> KeyPage;
    access Access::Identity(SCOPE_READ);
    errors [VALIDATION_FAILED];
    tool "qlock.keys";
}

endpoint! {
    /// Shows a key with its versions and public halves.
    pub GetKey = GET "/keys/{keyId}" (KeyRequest) -> Key;
    access Access::Identity(SCOPE_READ);
    errors [KEY_NOT_FOUND];
}

endpoint! {
    /// Makes a new version of a key.
    ///
    /// The new version seals and signs from now on; older ones keep opening and verifying.
    pub RotateKey = POST "/keys/{keyId}/rotate" (KeyRequest) -> Key;
    access Access::Identity(SCOPE_WRITE);
    errors [KEY_NOT_FOUND];
}

endpoint! {
    /// Seals a value as a JWE under a key of the caller, or as an age file for recipients.
    pub Encrypt = POST "/encrypt" (EncryptRequest) -> Encrypted;
    access Access::Identity(SCOPE_USE);
    errors [IDENTITY_MISMATCH, BAD_ENCODING, PAYLOAD_TOO_LARGE, VALIDATION_FAILED, ALGORITHM_UNSUPPORTED,
        KEY_NOT_FOUND, KEY_USAGE_MISMATCH, AUDIT_UNAVAILABLE];
    tool "qlock.encrypt";
    body_max VALUE_BODY_BYTES_MAX;
    idempotent true;
    example { "data": "aGVsbG8=", "context": { "order": "17" } };
}

endpoint! {
    /// Opens a sealed value.
    pub Decrypt = POST "/decrypt" (DecryptRequest) -> Decrypted;
    access Access::Identity(SCOPE_USE);
    errors [IDENTITY_MISMATCH, DECRYPT_FAILED, AUDIT_UNAVAILABLE];
    body_max VALUE_BODY_BYTES_MAX;
    idempotent true;
    when_read_only true;
}

endpoint! {
    /// Makes data keys for a caller that encrypts by itself.
    pub CreateDataKeys = POST "/data-key" (CreateDataKeysRequest) -> DataKeys;
    access Access::Identity(SCOPE_USE);
    errors [VALIDATION_FAILED, KEY_NOT_FOUND, KEY_USAGE_MISMATCH, AUDIT_UNAVAILABLE];
    idempotent true;
    example { "purpose": "photos", "count": 2 };
}

endpoint! {
    /// Opens a wrapped data key.
    pub UnwrapDataKey = POST "/data-key/unwrap" (UnwrapDataKeyRequest) -> DataKey;
    access Access::Identity(SCOPE_USE);
    errors [DECRYPT_FAILED, AUDIT_UNAVAILABLE];
    idempotent true;
    when_read_only true;
}

endpoint! {
    /// Signs data with a key of the caller.
    pub Sign = POST "/sign" (SignRequest) -> Signed;
    access Access::Identity(SCOPE_USE);
    errors [IDENTITY_MISMATCH, BAD_ENCODING, PAYLOAD_TOO_LARGE, ALGORITHM_UNSUPPORTED, KEY_NOT_FOUND,
        KEY_USAGE_MISMATCH, AUDIT_UNAVAILABLE];
    tool "qlock.sign";
    body_max VALUE_BODY_BYTES_MAX;
    idempotent true;
    example { "data": "aGVsbG8=", "format": "jws" };
}

endpoint! {
    /// Tells whether a signature holds, for a key of this instance or one that is given.
    pub Verify = POST "/verify" (VerifyRequest) -> Verification;
    access Access::Identity(SCOPE_USE);
    errors [BAD_ENCODING, PAYLOAD_TOO_LARGE, VALIDATION_FAILED];
    tool "qlock.verify";
    body_max 2 * VALUE_BODY_BYTES_MAX;
    idempotent true;
    when_read_only true;
}

endpoint! {
    /// Answers random bytes from the operating system's generator.
    pub Random = POST "/random" (RandomRequest) -> RandomBytes;
    access Access::Identity(SCOPE_USE);
    errors [VALIDATION_FAILED];
    idempotent true;
    when_read_only true;
    example { "bytes": 32 };
}

endpoint! {
    /// Lists the algorithms that are truly in use here.
    pub GetAlgorithms = GET "/algorithms" (AlgorithmsRequest) -> Algorithms;
    access Access::Identity(SCOPE_READ);
}

endpoint! {
    /// Publishes the public halves of signing keys, so that signatures can be checked offline.
    pub GetJwks = GET "/.well-known/jwks.json" (JwksRequest) -> Jwks;
    access Access::Public("public keys are for everybody who checks a signature");
}
