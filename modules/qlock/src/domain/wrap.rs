//! A secret wrapped under its parent key, bound to both.
//!
//! `0x51 0x02 ‖ header length (2, big-endian) ‖ header ‖ nonce (24) ‖ XAES-256-GCM ciphertext ‖ tag`.
//! The header says `{alg, parentId, parentVersion}` and is associated data; so are the facts of the child,
//! which are not stored here: a blob copied to another row, or a row whose facts were changed, does not open.

use q_core::{Env, hash::canonical_json};
use q_seal::xaes;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use q_jose::strict_json;

/// `Q`, then the kind of blob.
const MAGIC: [u8; 2] = [0x51, 0x02];
const LENGTH_BYTES: usize = 2;
const ALGORITHM: &str = "XAES-256-GCM";

/// The key above.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parent {
    /// Its name.
    pub id: String,
    /// Its version; 1 where its kind has no versions.
    pub version: u32,
}

/// Why a blob does not unwrap.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WrapError {
    /// Not a blob of this format.
    #[error("not a wrapped key")]
    Malformed,
    /// Wrapped under another key than the row says.
    #[error("wrapped under {found} and not under {expected}")]
    WrongParent {
        /// What the row says.
        expected: String,
        /// What the blob says.
        found: String,
    },
    /// The blob or the facts it is bound to were changed.
    #[error("the blob, or a fact it is bound to, was changed")]
    DoesNotOpen,
    /// The key above is gone.
    #[error("the row is missing")]
    Missing,
    /// It opened, and what is inside is not a key of its kind.
    #[error("what is inside is not a key of this kind")]
    BadKey,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Header {
    alg: String,
    parent_id: String,
    parent_version: u32,
}

/// Wraps `secret` under `key`, which is `parent`; `child` are the facts it is bound to.
pub fn wrap(key: &xaes::Key, parent: &Parent, child: &impl Serialize, secret: &[u8], env: &Env) -> Vec<u8> {
    let header =
        Header { alg: ALGORITHM.into(), parent_id: parent.id.clone(), parent_version: parent.version };
    let header = canonical(&header);
    let header_bytes = u16::try_from(header.len()).expect("a header holds three short members");
    let nonce = env.random();
    let sealed = key.seal(&nonce, &associated_data(&header, child), secret);
    let mut blob = MAGIC.to_vec();
    blob.extend_from_slice(&header_bytes.to_be_bytes());
    blob.extend_from_slice(&header);
    blob.extend_from_slice(&nonce);
    blob.extend_from_slice(&sealed);
    blob
}

/// Unwraps what [`wrap`] made from the same parent and child.
pub fn unwrap(
    key: &xaes::Key,
    parent: &Parent,
    child: &impl Serialize,
    blob: &[u8],
) -> Result<Zeroizing<Vec<u8>>, WrapError> {
    let rest = blob.strip_prefix(&MAGIC).ok_or(WrapError::Malformed)?;
    let (length, rest) = rest.split_first_chunk::<LENGTH_BYTES>().ok_or(WrapError::Malformed)?;
    let (header, rest) =
        rest.split_at_checked(u16::from_be_bytes(*length).into()).ok_or(WrapError::Malformed)?;
    let (nonce, sealed) = rest.split_first_chunk::<{ xaes::NONCE_BYTES }>().ok_or(WrapError::Malformed)?;
    check_header(header, parent)?;
    key.open(nonce, &associated_data(header, child), sealed).map_err(|_| WrapError::DoesNotOpen)
}

/// Tells a wrong parent apart from damage, for the one who has to repair it.
fn check_header(header: &[u8], parent: &Parent) -> Result<(), WrapError> {
    let said: Header = strict_json::from_slice(header).map_err(|_| WrapError::Malformed)?;
    if said.alg != ALGORITHM {
        return Err(WrapError::Malformed);
    }
    if said.parent_id != parent.id || said.parent_version != parent.version {
        return Err(WrapError::WrongParent {
            expected: format!("{}#{}", parent.id, parent.version),
            found: format!("{}#{}", said.parent_id, said.parent_version),
        });
    }
    Ok(())
}

/// The header behind its length, then the child.
fn associated_data(header: &[u8], child: &impl Serialize) -> Vec<u8> {
    let mut bytes = u64::try_from(header.len()).unwrap_or(u64::MAX).to_be_bytes().to_vec();
    bytes.extend_from_slice(header);
    bytes.extend_from_slice(&canonical(child));
    bytes
}

fn canonical(value: &impl Serialize) -> Vec<u8> {
    canonical_json(value).expect("facts of a key are texts and integers")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parent() -> Parent {
        Parent { id: "root".into(), version: 1 }
    }

    #[test]
    fn opens_for_the_same_parent_and_child_only() {
        let key = xaes::Key::new(&[1; 32]);
        let blob = wrap(&key, &parent(), &"child", b"secret", &Env::system());
        assert_eq!(unwrap(&key, &parent(), &"child", &blob).unwrap().as_slice(), b"secret");
        assert_eq!(unwrap(&key, &parent(), &"other", &blob), Err(WrapError::DoesNotOpen));
        let newer = Parent { version: 2, ..parent() };
        assert!(matches!(unwrap(&key, &newer, &"child", &blob), Err(WrapError::WrongParent { .. })));
        let other_key = xaes::Key::new(&[2; 32]);
        assert_eq!(unwrap(&other_key, &parent(), &"child", &blob), Err(WrapError::DoesNotOpen));
    }

    #[test]
    fn no_changed_byte_opens_and_none_panics() {
        let key = xaes::Key::new(&[1; 32]);
        let blob = wrap(&key, &parent(), &"child", b"secret", &Env::system());
        for at in 0..blob.len() {
            let mut damaged = blob.clone();
            damaged[at] ^= 0x01;
            assert!(unwrap(&key, &parent(), &"child", &damaged).is_err(), "byte {at} does not matter");
            assert!(unwrap(&key, &parent(), &"child", &blob[..at]).is_err());
        }
    }
}
