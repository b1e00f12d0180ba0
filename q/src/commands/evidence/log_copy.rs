//! The audit log itself, in the tiles its standard serves (c2sp.org/tlog-tiles), and the proof that what was signed and
//! kept outside the store earlier is a prefix of it.

use std::collections::HashMap;

use anyhow::Context as _;
use bytes::Bytes;
use q_contract::Client;
use q_core::hash::hex;
use q_tlog::{
    Checkpoint, Hash, LogResource, ReadError, SignedNote, TILE_WIDTH, TileId, TileReader, consistency_proof,
    verify_consistency,
};
use serde_json::{Value, json};

use super::collect::Archive;

/// The most tiles and bundles that are fetched one by one; of a larger log the store's copy has to do.
const RESOURCES_MAX: u64 = 5_000;
/// The length of a hash in a tile.
const HASH_BYTES: usize = 32;

/// Tiles at hand.
struct Tiles(HashMap<TileId, Vec<Hash>>);

impl TileReader for Tiles {
    type Error = TileId;
    fn tile(&mut self, id: TileId) -> Result<Vec<Hash>, TileId> {
        let found = self
            .0
            .iter()
            .find(|(known, _)| known.level == id.level && known.index == id.index && known.width >= id.width);
        found.map(|(_, hashes)| hashes.clone()).ok_or(id)
    }
}

/// Adds the log up to the checkpoint `newest`, and what proves that it goes on from `kept`.
pub async fn add(
    client: &Client,
    archive: &mut Archive,
    newest: &str,
    kept: Option<&str>,
) -> anyhow::Result<()> {
    let newest = head(newest)?;
    let bundles = newest.size.div_ceil(u64::from(TILE_WIDTH));
    if bundles * 2 > RESOURCES_MAX {
        archive.remarks.push(format!(
            "tiles of the audit log: it has {} entries, too many to fetch one tile after the other; the copy of qerberos' \
             store holds them",
            newest.size
        ));
        return Ok(());
    }
    let mut tiles = Tiles(HashMap::new());
    for id in TileId::all_at(newest.size) {
        let bytes = fetch(client, &id.to_string()).await?;
        archive.add(&format!("audit/log/{id}"), &bytes)?;
        let hashes = bytes.chunks_exact(HASH_BYTES).filter_map(|hash| hash.try_into().ok()).collect();
        tiles.0.insert(id, hashes);
    }
    for index in 0..bundles {
        let resource = LogResource::Entries { index, width: TileId::width_at(0, index, newest.size) };
        let bytes = fetch(client, &resource.to_string()).await?;
        archive.add(&format!("audit/log/{resource}"), &bytes)?;
    }
    if let Some(kept) = kept {
        let proof = consistency(&mut tiles, &head(kept)?, &newest)?;
        archive.add_json("audit/consistency.json", &proof)?;
    }
    Ok(())
}

/// That the log of `newest` goes on from `kept`, as RFC 9162 section 2.1.4 proves it.
fn consistency(tiles: &mut Tiles, kept: &Checkpoint, newest: &Checkpoint) -> anyhow::Result<Value> {
    let path = consistency_proof(tiles, kept.size, newest.size).map_err(|error| match error {
        ReadError::Store(id) => anyhow::anyhow!("{id} was not served"),
        other => anyhow::anyhow!("the log ends before the checkpoint kept outside its store: {other}"),
    })?;
    let holds = verify_consistency(kept.size, &kept.root, newest.size, &newest.root, &path);
    Ok(json!({
        "from": {"size": kept.size, "root": hex(&kept.root)},
        "to": {"size": newest.size, "root": hex(&newest.root)},
        "hashes": path.iter().map(|hash| hex(hash)).collect::<Vec<_>>(),
        "holds": holds.is_ok(),
    }))
}

fn head(note: &str) -> anyhow::Result<Checkpoint> {
    let note: SignedNote = note.parse().context("a checkpoint is no signed note")?;
    Ok(Checkpoint::from_text(&note.text)?)
}

async fn fetch(client: &Client, path: &str) -> anyhow::Result<Bytes> {
    let answer = client.send("GET", &format!("/log/{path}"), Bytes::new(), "").await?;
    anyhow::ensure!(answer.status().is_success(), "{path} was answered with {}", answer.status());
    Ok(answer.into_body())
}
