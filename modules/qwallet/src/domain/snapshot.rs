//! The leaves of a snapshot.

use q_core::{Did, hash};
use qwallet_api::SnapshotLeaf;

/// The leaf hash of an entry (RFC 9162 section 2.1.1 over its canonical JSON).
pub fn leaf(holder: &Did, balance: &str) -> hash::Sha256 {
    let leaf = SnapshotLeaf { balance: balance.into(), holder: holder.clone() };
    let entry = hash::canonical_json(&leaf).expect("an entry holds strings only");
    q_tlog::leaf_hash(&entry)
}
