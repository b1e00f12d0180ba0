//! The log against the recursive definitions of RFC 9162, and against a program that is not ours.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test that cannot go on says so by stopping"
)]

mod notes;
mod oracle;
mod paths;
mod tree;

use std::{collections::HashMap, convert::Infallible};

use q_tlog::{Hash, Tile, TileId, TileReader, Tree, leaf_hash};

/// The tiles of a log, as a store would keep them: the newest content of each.
#[derive(Default, Clone)]
struct Tiles(HashMap<(u8, u64), Vec<Hash>>);

impl Tiles {
    fn keep(&mut self, grown: Vec<Tile>) {
        for tile in grown {
            assert_eq!(tile.hashes.len(), usize::from(tile.id.width));
            let known = self.0.entry((tile.id.level, tile.id.index)).or_default();
            assert!(tile.hashes.starts_with(known), "tiles only grow");
            *known = tile.hashes;
        }
    }
}

impl TileReader for Tiles {
    type Error = Infallible;
    fn tile(&mut self, id: TileId) -> Result<Vec<Hash>, Infallible> {
        Ok(self.0.get(&(id.level, id.index)).cloned().unwrap_or_default())
    }
}

/// Entry number `index` of the sample logs.
fn entry(index: u64) -> Vec<u8> {
    format!("entry {index}").into_bytes()
}

/// A log of `size` sample entries, stored in batches of `batch`.
fn sample_log(size: u64, batch: u64) -> (Tree, Tiles) {
    let (mut tree, mut tiles) = (Tree::new(), Tiles::default());
    for index in 0..size {
        tree.append(leaf_hash(&entry(index)));
        if (index + 1) % batch == 0 {
            tiles.keep(tree.take_grown_tiles());
        }
    }
    tiles.keep(tree.take_grown_tiles());
    (tree, tiles)
}
