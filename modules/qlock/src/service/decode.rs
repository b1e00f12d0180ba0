//! Fields of requests as bytes, bounded.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use qlock_api::{CONTEXT_BYTES_MAX, PLAINTEXT_BYTES_MAX, SealContext};
use zeroize::Zeroizing;

use crate::Error;

/// The bytes of a base64 field; too many are refused before they are decoded.
pub(super) fn bytes(field: &'static str, text: &str) -> Result<Zeroizing<Vec<u8>>, Error> {
    if text.len() > PLAINTEXT_BYTES_MAX.div_ceil(3) * 4 {
        return Err(Error::PayloadTooLarge);
    }
    let bytes = Zeroizing::new(STANDARD.decode(text).map_err(|_| Error::BadEncoding(field))?);
    if bytes.len() > PLAINTEXT_BYTES_MAX { Err(Error::PayloadTooLarge) } else { Ok(bytes) }
}

/// Base64 with padding.
pub(super) fn text(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Refuses a context that is too large.
pub(super) fn check_context(context: &SealContext) -> Result<(), Error> {
    let bytes: usize = context.iter().map(|(name, value)| name.len() + value.len() + 6).sum();
    if bytes > CONTEXT_BYTES_MAX {
        return Err(Error::ValidationFailed("the context holds at most 8 KiB"));
    }
    Ok(())
}
