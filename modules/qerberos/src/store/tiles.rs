//! Hashes of the tree.

use q_db::{DbError, Reader, Tx, params};
use q_tlog::{Hash, Tile, TileId, TileReader, Tree};

use super::{head::Head, integer};
use crate::error::Error;

/// The tiles of a store, for proofs.
pub struct StoredTiles<'a, 'b>(pub &'a mut Reader<'b>);

impl TileReader for StoredTiles<'_, '_> {
    type Error = DbError;
    fn tile(&mut self, id: TileId) -> Result<Vec<Hash>, DbError> {
        find(self.0, id.level, id.index)
    }
}

/// The tree of `head`, from its tiles.
pub fn tree(reader: &mut Reader<'_>, head: &Head) -> Result<Tree, Error> {
    let tree = Tree::open(head.size, &mut StoredTiles(reader))?;
    if tree.root() == head.root { Ok(tree) } else { Err(Error::HeadDamaged) }
}

/// The hashes of a tile; none when there is no such tile.
pub fn find(reader: &mut Reader<'_>, level: u8, index: u64) -> Result<Vec<Hash>, DbError> {
    let sql = "SELECT hashes FROM tiles WHERE level = $1 AND tile_index = $2";
    let row = reader.query_opt(sql, params![level, integer(index)])?;
    let bytes: Vec<u8> = row.map_or(Ok(Vec::new()), |row| row.try_get(0))?;
    let (hashes, rest) = bytes.as_chunks::<32>();
    if rest.is_empty() {
        Ok(hashes.to_vec())
    } else {
        Err(DbError::BadRow { column: 0, expected: "whole hashes" })
    }
}

/// How many tiles there are.
pub fn count(reader: &mut Reader<'_>) -> Result<u64, DbError> {
    reader.query_one("SELECT COUNT(*) FROM tiles", &[])?.try_get(0)
}

/// Keeps tiles that have grown.
pub fn put(tx: &mut Tx<'_>, grown: &[Tile]) -> Result<(), DbError> {
    for tile in grown {
        tx.execute(
            "INSERT INTO tiles (level, tile_index, hashes) VALUES ($1, $2, $3) \
             ON CONFLICT (level, tile_index) DO UPDATE SET hashes = excluded.hashes",
            params![tile.id.level, integer(tile.id.index), tile.hashes.concat()],
        )?;
    }
    Ok(())
}
