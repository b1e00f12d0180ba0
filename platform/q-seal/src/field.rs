//! Sealed database fields: `0x51 0x01 ‖ data key id (16) ‖ nonce (24) ‖ XAES-256-GCM ciphertext ‖ tag (16)`.
//!
//! The place (module, table, column, row) is authenticated and not stored, so that a value copied to
//! another row or column does not open there.

use std::{fmt, sync::Arc};

use parking_lot::RwLock;
use q_core::Env;
use zeroize::Zeroizing;

use crate::xaes;

/// `Q`, then the version of the format.
const MAGIC: [u8; 2] = [0x51, 0x01];
const ID_BYTES: usize = 16;
const ID_END: usize = MAGIC.len() + ID_BYTES;
const NONCE_END: usize = ID_END + xaes::NONCE_BYTES;

/// How much longer than its plaintext a sealed field is, in bytes.
pub const OVERHEAD_BYTES: usize = NONCE_END + xaes::TAG_BYTES;

/// Names a data key; stored in the clear in front of every field sealed with it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DataKeyId(pub [u8; ID_BYTES]);

impl fmt::Display for DataKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&q_core::hash::hex(&self.0))
    }
}

impl fmt::Debug for DataKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Where a field lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'a> {
    /// The module, such as `squid`.
    pub module: &'a str,
    /// The table.
    pub table: &'a str,
    /// The column.
    pub column: &'a str,
    /// The primary key of the row as text; it must not change while the field lives.
    pub row: &'a str,
}

impl Place<'_> {
    /// Each part behind its length, so that no two places share one spelling.
    fn associated_data(&self) -> Vec<u8> {
        let parts = [self.module, self.table, self.column, self.row];
        let mut bytes = Vec::with_capacity(parts.iter().map(|part| part.len() + 4).sum());
        for part in parts {
            let part_bytes = u32::try_from(part.len()).expect("a name or row id is shorter than 4 GiB");
            bytes.extend_from_slice(&part_bytes.to_be_bytes());
            bytes.extend_from_slice(part.as_bytes());
        }
        bytes
    }
}

/// Why a field does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Not a sealed field of a version known here.
    #[error("not a sealed field")]
    Malformed,
    /// Sealed with a key this sealer does not hold.
    #[error("the field is sealed with the unknown data key {0}")]
    UnknownDataKey(DataKeyId),
    /// Damaged, or moved here from another row or column.
    #[error("the field is damaged or was moved from another place")]
    DoesNotOpen,
}

/// A data key in use.
pub struct DataKey {
    id: DataKeyId,
    key: xaes::Key,
}

impl DataKey {
    /// Takes a key as qlock released it.
    pub fn new(id: DataKeyId, key: &[u8; xaes::KEY_BYTES]) -> Self {
        Self { id, key: xaes::Key::new(key) }
    }

    /// Its name.
    pub const fn id(&self) -> DataKeyId {
        self.id
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DataKey({})", self.id)
    }
}

/// Seals with the current data key, opens with that one and older ones. Cheap to clone; clones share keys.
#[derive(Clone, Debug)]
pub struct Sealer(Arc<RwLock<Ring>>);

#[derive(Debug)]
struct Ring {
    current: Arc<DataKey>,
    older: Vec<Arc<DataKey>>,
}

impl Sealer {
    /// A sealer that seals with `current` and opens with `older` too.
    pub fn new(current: DataKey, older: Vec<DataKey>) -> Self {
        let older = older.into_iter().map(Arc::new).collect();
        Self(Arc::new(RwLock::new(Ring { current: Arc::new(current), older })))
    }

    /// The key that seals now.
    pub fn current(&self) -> DataKeyId {
        self.0.read().current.id
    }

    /// Makes `key` the one that seals; the former one keeps opening.
    pub fn rotate(&self, key: DataKey) {
        let mut ring = self.0.write();
        let former = std::mem::replace(&mut ring.current, Arc::new(key));
        ring.older.push(former);
    }

    /// Seals `plaintext` for `place`.
    pub fn seal(&self, place: Place<'_>, plaintext: &[u8], env: &Env) -> Vec<u8> {
        let data_key = self.0.read().current.clone();
        let nonce = env.random::<{ xaes::NONCE_BYTES }>();
        let mut field = Vec::with_capacity(plaintext.len() + OVERHEAD_BYTES);
        field.extend_from_slice(&MAGIC);
        field.extend_from_slice(&data_key.id.0);
        field.extend_from_slice(&nonce);
        field.extend_from_slice(plaintext);
        data_key.key.seal_from(&nonce, &place.associated_data(), &mut field, NONCE_END);
        field
    }

    /// Opens a field read from `place`. The plaintext is wiped when dropped.
    pub fn open(&self, place: Place<'_>, field: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let id = data_key_id(field)?;
        let data_key = self.find(id).ok_or(OpenError::UnknownDataKey(id))?;
        let nonce = field[ID_END..NONCE_END].try_into().expect("the length was checked");
        data_key
            .key
            .open(&nonce, &place.associated_data(), &field[NONCE_END..])
            .map_err(|_| OpenError::DoesNotOpen)
    }

    /// Opens a field that holds text.
    pub fn open_text(&self, place: Place<'_>, field: &[u8]) -> Result<String, OpenError> {
        let plaintext = self.open(place, field)?;
        String::from_utf8(plaintext.to_vec()).map_err(|_| OpenError::Malformed)
    }

    fn find(&self, id: DataKeyId) -> Option<Arc<DataKey>> {
        let ring = self.0.read();
        std::iter::once(&ring.current).chain(&ring.older).find(|key| key.id == id).cloned()
    }
}

/// The data key a field says it was sealed with.
pub fn data_key_id(field: &[u8]) -> Result<DataKeyId, OpenError> {
    if field.len() < OVERHEAD_BYTES || field[..MAGIC.len()] != MAGIC {
        return Err(OpenError::Malformed);
    }
    Ok(DataKeyId(field[MAGIC.len()..ID_END].try_into().expect("the length was checked")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PLACE: Place<'static> =
        Place { module: "squid", table: "identities", column: "email", row: "idt_1" };

    fn data_key(byte: u8) -> DataKey {
        DataKey::new(DataKeyId([byte; ID_BYTES]), &[byte; xaes::KEY_BYTES])
    }

    #[test]
    fn a_field_opens_at_its_place_only() {
        let sealer = Sealer::new(data_key(1), vec![]);
        let field = sealer.seal(PLACE, b"ada@example.org", &Env::system());
        assert_eq!(field.len(), 15 + OVERHEAD_BYTES);
        assert_eq!(sealer.open_text(PLACE, &field).unwrap(), "ada@example.org");
        for other in [
            Place { module: "qwallet", ..PLACE },
            Place { table: "identitie", column: "semail", ..PLACE },
            Place { column: "phone", ..PLACE },
            Place { row: "idt_2", ..PLACE },
            Place { column: "emailidt_1", row: "", ..PLACE },
        ] {
            assert_eq!(sealer.open(other, &field), Err(OpenError::DoesNotOpen), "{other:?}");
        }
    }

    #[test]
    fn older_keys_keep_opening_and_unknown_ones_are_named() {
        let sealer = Sealer::new(data_key(1), vec![]);
        let field = sealer.seal(PLACE, b"x", &Env::system());
        let shared = sealer.clone();
        sealer.rotate(data_key(2));
        assert_eq!(shared.current(), DataKeyId([2; ID_BYTES]));
        assert_eq!(shared.open(PLACE, &field).unwrap().as_slice(), b"x");
        let newer = shared.seal(PLACE, b"y", &Env::system());
        assert_eq!(data_key_id(&newer), Ok(DataKeyId([2; ID_BYTES])));
        let stranger = Sealer::new(data_key(3), vec![data_key(1)]);
        assert_eq!(stranger.open(PLACE, &newer), Err(OpenError::UnknownDataKey(DataKeyId([2; ID_BYTES]))));
        assert_eq!(stranger.open(PLACE, &field).unwrap().as_slice(), b"x");
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens_and_no_changed_bit_does(
            plaintext in proptest::collection::vec(any::<u8>(), 0..300),
            at in any::<prop::sample::Index>(),
            bit in 0..8_u32,
        ) {
            let sealer = Sealer::new(data_key(1), vec![]);
            let mut field = sealer.seal(PLACE, &plaintext, &Env::system());
            let opened = sealer.open(PLACE, &field).unwrap();
            prop_assert_eq!(opened.as_slice(), plaintext.as_slice());
            let at = at.index(field.len());
            field[at] ^= 1 << bit;
            prop_assert!(sealer.open(PLACE, &field).is_err());
            prop_assert!(sealer.open(PLACE, &field[..at]).is_err());
        }
    }
}
