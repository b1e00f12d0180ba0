//! Inclusion and consistency proofs: made from tiles, checked with nothing but hashes.

use std::collections::HashMap;

use crate::{
    EMPTY_ROOT, Hash, TILE_WIDTH, TileId,
    hash::{merkle_root_of_hashes, node_hash},
};

/// Where the tiles of a log are kept.
pub trait TileReader {
    /// Why the store did not answer.
    type Error;

    /// At least the first `id.width` hashes of the tile; more is fine, fewer means the store is damaged.
    fn tile(&mut self, id: TileId) -> Result<Vec<Hash>, Self::Error>;
}

/// Why tiles could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError<E> {
    /// The store did not answer.
    #[error("the tile store did not answer")]
    Store(#[source] E),
    /// The store holds fewer hashes than the size of the tree demands.
    #[error("the store lacks hashes of {0}")]
    Missing(TileId),
    /// A leaf outside the tree, or an older tree that is larger than the newer one.
    #[error("the tree of {size} leaves does not reach {asked}")]
    OutOfRange {
        /// The index or size that was asked for.
        asked: u64,
        /// The size of the tree.
        size: u64,
    },
}

/// The proof does not prove what it claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The index or sizes cannot belong to one log.
    #[error("the index or sizes do not fit together")]
    OutOfRange,
    /// Too few or too many hashes.
    #[error("the proof has the wrong number of hashes")]
    WrongLength,
    /// The hashes lead to another root.
    #[error("the proof leads to another root")]
    WrongRoot,
}

/// The audit path of leaf `index` in the tree of `size` leaves, leaf's sibling first (RFC 9162 section 2.1.3.1).
pub fn inclusion_proof<R: TileReader>(
    reader: &mut R,
    index: u64,
    size: u64,
) -> Result<Vec<Hash>, ReadError<R::Error>> {
    if index >= size {
        return Err(ReadError::OutOfRange { asked: index, size });
    }
    let mut nodes = Nodes::new(reader, size);
    let mut path = Vec::new();
    let (mut start, mut end) = (0, size);
    while end - start > 1 {
        let middle = start + largest_power_of_two_below(end - start);
        if index < middle {
            path.push(nodes.range(middle, end)?);
            end = middle;
        } else {
            path.push(nodes.range(start, middle)?);
            start = middle;
        }
    }
    path.reverse(); // found from the root down, written from the leaf up
    Ok(path)
}

/// The proof that the tree of `old` leaves is a prefix of the tree of `new` leaves (RFC 9162 section 2.1.4.1).
///
/// Empty when `old` is 0 or equals `new`: there is nothing to prove.
pub fn consistency_proof<R: TileReader>(
    reader: &mut R,
    old: u64,
    new: u64,
) -> Result<Vec<Hash>, ReadError<R::Error>> {
    if old > new {
        return Err(ReadError::OutOfRange { asked: old, size: new });
    }
    if old == 0 || old == new {
        return Ok(Vec::new());
    }
    let mut nodes = Nodes::new(reader, new);
    let mut path = Vec::new();
    let (mut start, mut end) = (0, new);
    while old != end {
        let middle = start + largest_power_of_two_below(end - start);
        if old <= middle {
            path.push(nodes.range(middle, end)?);
            end = middle;
        } else {
            path.push(nodes.range(start, middle)?);
            start = middle;
        }
    }
    if start > 0 {
        // The old tree is not itself a node of the new one: its last subtree has to be named.
        path.push(nodes.range(start, end)?);
    }
    path.reverse();
    Ok(path)
}

/// The root of the first `size` leaves.
pub fn root_at<R: TileReader>(reader: &mut R, size: u64) -> Result<Hash, ReadError<R::Error>> {
    if size == 0 { Ok(EMPTY_ROOT) } else { Nodes::new(reader, size).range(0, size) }
}

/// Checks an audit path (RFC 9162 section 2.1.3.2).
pub fn verify_inclusion(
    leaf: &Hash,
    index: u64,
    size: u64,
    path: &[Hash],
    root: &Hash,
) -> Result<(), ProofError> {
    if index >= size {
        return Err(ProofError::OutOfRange);
    }
    let (mut from, mut last, mut hash) = (index, size - 1, *leaf);
    for sibling in path {
        if last == 0 {
            return Err(ProofError::WrongLength);
        }
        if from % 2 == 1 || from == last {
            hash = node_hash(sibling, &hash);
            let shift = from.trailing_zeros(); // below 64: `from` is odd, or equals `last`, which is not 0
            (from, last) = (from >> shift, last >> shift);
        } else {
            hash = node_hash(&hash, sibling);
        }
        (from, last) = (from >> 1, last >> 1);
    }
    if last != 0 {
        return Err(ProofError::WrongLength);
    }
    if hash == *root { Ok(()) } else { Err(ProofError::WrongRoot) }
}

/// Checks that the tree of `old_size` leaves with `old_root` is a prefix of the newer one
/// (RFC 9162 section 2.1.4.2).
pub fn verify_consistency(
    old_size: u64,
    old_root: &Hash,
    new_size: u64,
    new_root: &Hash,
    path: &[Hash],
) -> Result<(), ProofError> {
    if old_size > new_size {
        return Err(ProofError::OutOfRange);
    }
    if old_size == 0 || old_size == new_size {
        let is_same = if old_size == 0 { *old_root == EMPTY_ROOT } else { old_root == new_root };
        return match (path.is_empty(), is_same) {
            (false, _) => Err(ProofError::WrongLength),
            (true, false) => Err(ProofError::WrongRoot),
            (true, true) => Ok(()),
        };
    }
    // An old tree that is a complete subtree is its own first step.
    let implied = old_size.is_power_of_two().then_some(old_root);
    let mut steps = implied.into_iter().chain(path);
    let first = steps.next().ok_or(ProofError::WrongLength)?;
    let shift = (old_size - 1).trailing_ones();
    let (mut from, mut last) = ((old_size - 1) >> shift, (new_size - 1) >> shift);
    let (mut old_hash, mut new_hash) = (*first, *first);
    for step in steps {
        if last == 0 {
            return Err(ProofError::WrongLength);
        }
        if from % 2 == 1 || from == last {
            old_hash = node_hash(step, &old_hash);
            new_hash = node_hash(step, &new_hash);
            let shift = from.trailing_zeros();
            (from, last) = (from >> shift, last >> shift);
        } else {
            new_hash = node_hash(&new_hash, step);
        }
        (from, last) = (from >> 1, last >> 1);
    }
    if last != 0 {
        return Err(ProofError::WrongLength);
    }
    if old_hash == *old_root && new_hash == *new_root { Ok(()) } else { Err(ProofError::WrongRoot) }
}

/// Reads a tile and cuts it to the width that was asked for.
pub(crate) fn read_tile<R: TileReader>(reader: &mut R, id: TileId) -> Result<Vec<Hash>, ReadError<R::Error>> {
    let mut hashes = reader.tile(id).map_err(ReadError::Store)?;
    if hashes.len() < usize::from(id.width) {
        return Err(ReadError::Missing(id));
    }
    hashes.truncate(usize::from(id.width));
    Ok(hashes)
}

/// The nodes of one tree, computed from its tiles; each tile is read once.
struct Nodes<'a, R> {
    reader: &'a mut R,
    size: u64,
    tiles: HashMap<(u8, u64), Vec<Hash>>,
}

impl<'a, R: TileReader> Nodes<'a, R> {
    fn new(reader: &'a mut R, size: u64) -> Self {
        Self { reader, size, tiles: HashMap::new() }
    }

    /// The Merkle tree hash of leaves `start..end`, a node of the tree.
    fn range(&mut self, start: u64, end: u64) -> Result<Hash, ReadError<R::Error>> {
        let width = end - start;
        if width.is_power_of_two() {
            return self.complete(start, width.trailing_zeros());
        }
        let middle = start + largest_power_of_two_below(width);
        let left = self.range(start, middle)?;
        let right = self.range(middle, end)?;
        Ok(node_hash(&left, &right))
    }

    /// The root of the complete subtree of `2^height` leaves that begins at `start`.
    fn complete(&mut self, start: u64, height: u32) -> Result<Hash, ReadError<R::Error>> {
        let level = u8::try_from(height / 8).expect("a 64-bit tree has eight levels");
        let first = start >> (8 * u32::from(level));
        let count = 1_usize << (height % 8);
        let index = first / u64::from(TILE_WIDTH);
        let offset = usize::try_from(first % u64::from(TILE_WIDTH)).expect("below 256");
        let tile = match self.tiles.entry((level, index)) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(place) => {
                let width = TileId::width_at(level, index, self.size);
                place.insert(read_tile(self.reader, TileId { level, index, width })?)
            }
        };
        Ok(merkle_root_of_hashes(tile[offset..offset + count].iter().copied()))
    }
}

/// The split point of RFC 9162 section 2.1.1, for `count` of at least 2.
fn largest_power_of_two_below(count: u64) -> u64 {
    1 << (count - 1).ilog2()
}
