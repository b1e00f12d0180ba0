//! The three hashes of RFC 9162 section 2.1.1.

use q_core::hash::{Sha256, sha256, sha256_of};

/// A node of the tree.
pub type Hash = Sha256;

/// The root of the tree without leaves: SHA-256 of nothing.
pub const EMPTY_ROOT: Hash = [
    0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24, 0x27,
    0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
];

/// The prefixes keep a leaf from being presented as a node (second preimage, RFC 9162 section 2.1.1).
const LEAF_PREFIX: u8 = 0;
const NODE_PREFIX: u8 = 1;

/// The hash of an entry.
pub fn leaf_hash(entry: &[u8]) -> Hash {
    sha256_of(&[&[LEAF_PREFIX], entry])
}

/// The hash of an inner node.
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut message = [NODE_PREFIX; 65];
    message[1..33].copy_from_slice(left);
    message[33..].copy_from_slice(right);
    sha256(&message)
}

/// The root of the tree over `entries`.
pub fn merkle_root<E: AsRef<[u8]>>(entries: impl IntoIterator<Item = E>) -> Hash {
    merkle_root_of_hashes(entries.into_iter().map(|entry| leaf_hash(entry.as_ref())))
}

/// The root of the tree whose leaves hash to `hashes`: one pass, no copy of the leaves.
pub fn merkle_root_of_hashes(hashes: impl IntoIterator<Item = Hash>) -> Hash {
    let mut peaks = Vec::with_capacity(32);
    for (size, hash) in hashes.into_iter().enumerate() {
        push_leaf(&mut peaks, size as u64, hash, |_, _| ());
    }
    fold_peaks(&peaks)
}

/// Adds leaf number `size` to the roots of the complete subtrees, largest first, and tells `on_node` the
/// height and hash of every node that became final.
pub(crate) fn push_leaf(peaks: &mut Vec<Hash>, size: u64, leaf: Hash, mut on_node: impl FnMut(u32, &Hash)) {
    let mut node = leaf;
    on_node(0, &node);
    for height in 0..size.trailing_ones() {
        let left = peaks.pop().expect("a complete subtree stands for every set bit of the size");
        node = node_hash(&left, &node);
        on_node(height + 1, &node);
    }
    peaks.push(node);
}

/// The root over the complete subtrees, largest first.
pub(crate) fn fold_peaks(peaks: &[Hash]) -> Hash {
    let mut from_the_right = peaks.iter().rev();
    match from_the_right.next() {
        None => EMPTY_ROOT,
        Some(last) => from_the_right.fold(*last, |right, left| node_hash(left, &right)),
    }
}
