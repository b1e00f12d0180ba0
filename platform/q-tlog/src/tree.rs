//! A growing tree that remembers only its right edge.

use crate::{
    Hash, TILE_WIDTH, TileId, TileReader,
    hash::{fold_peaks, push_leaf},
    proof::{ReadError, read_tile},
};

/// The levels a 64-bit tree can have.
const LEVELS: usize = 8;

/// Hashes with their place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tile {
    /// Which hashes these are; `width` says how many.
    pub id: TileId,
    /// The hashes, in order.
    pub hashes: Vec<Hash>,
}

/// The tree head of a log that is being written.
///
/// Appending costs one node hash per leaf on average. What must be stored is handed out by
/// [`Tree::take_grown_tiles`]; nothing stored earlier ever changes, tiles only grow to their full width.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    size: u64,
    /// Roots of the complete subtrees, largest first: one for every set bit of `size`.
    peaks: Vec<Hash>,
    /// The rightmost tile of each level, below its full width.
    edge: [Vec<Hash>; LEVELS],
    /// Tiles that became full and were not yet handed out.
    full: Vec<Tile>,
    /// Whether the edge of a level has grown since the last hand-out.
    is_grown: [bool; LEVELS],
}

impl Tree {
    /// The tree without leaves.
    pub fn new() -> Self {
        Self::default()
    }

    /// The tree of `size` leaves whose tiles `reader` holds: reads one tile per level.
    pub fn open<R: TileReader>(size: u64, reader: &mut R) -> Result<Self, ReadError<R::Error>> {
        let mut tree = Self { size, ..Self::default() };
        for level in (0..LEVELS).rev() {
            let level_number = u8::try_from(level).expect("eight levels");
            let hashes_at_level = size >> (8 * level);
            let index = hashes_at_level / u64::from(TILE_WIDTH);
            let width = u16::try_from(hashes_at_level % u64::from(TILE_WIDTH)).expect("below 256");
            if width == 0 {
                continue;
            }
            let hashes = read_tile(reader, TileId { level: level_number, index, width })?;
            tree.peaks.extend(complete_subtrees(&hashes));
            tree.edge[level] = hashes;
        }
        Ok(tree)
    }

    /// How many leaves the tree has.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The Merkle tree hash of all leaves.
    pub fn root(&self) -> Hash {
        fold_peaks(&self.peaks)
    }

    /// Adds the leaf with this hash and answers its index.
    pub fn append(&mut self, leaf: Hash) -> u64 {
        let index = self.size;
        let Self { peaks, edge, full, is_grown, .. } = self;
        push_leaf(peaks, index, leaf, |height, node| {
            if height % 8 != 0 {
                return;
            }
            let level = (height / 8) as usize;
            // A tree of 2^64 leaves would need a ninth level; the size cannot count that far.
            let Some(hashes) = edge.get_mut(level) else { return };
            hashes.push(*node);
            is_grown[level] = true;
            if hashes.len() == usize::from(TILE_WIDTH) {
                let hashes_at_level = (index + 1) >> (8 * level);
                let tile_index = hashes_at_level / u64::from(TILE_WIDTH) - 1;
                let level_number = u8::try_from(level).expect("eight levels");
                let id = TileId { level: level_number, index: tile_index, width: TILE_WIDTH };
                full.push(Tile { id, hashes: std::mem::take(hashes) });
                is_grown[level] = false;
            }
        });
        self.size += 1;
        index
    }

    /// Every tile that has grown since the last call: the ones that became full, then the right edge.
    pub fn take_grown_tiles(&mut self) -> Vec<Tile> {
        let mut tiles = std::mem::take(&mut self.full);
        for level in 0..LEVELS {
            if !std::mem::take(&mut self.is_grown[level]) {
                continue;
            }
            let level_number = u8::try_from(level).expect("eight levels");
            let index = (self.size >> (8 * level)) / u64::from(TILE_WIDTH);
            let hashes = self.edge[level].clone();
            let width = u16::try_from(hashes.len()).expect("at most 256");
            tiles.push(Tile { id: TileId { level: level_number, index, width }, hashes });
        }
        tiles
    }
}

/// The roots of the complete subtrees over the hashes of a partial tile, largest first.
fn complete_subtrees(hashes: &[Hash]) -> Vec<Hash> {
    let mut peaks = Vec::new();
    for (count, hash) in hashes.iter().enumerate() {
        push_leaf(&mut peaks, count as u64, *hash, |_, _| ());
    }
    peaks
}
