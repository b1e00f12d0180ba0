//! Proofs, and the static resources from which strangers make their own.

use q_core::{audit::AuditId, hash::hex};
use q_tlog::{LogProof, LogResource, TileId, bundle, inclusion_proof, leaf_hash};
use qerberos_api::{Proof, SectionOpening};

use super::{Trail, search::leaf};
use crate::{
    domain::{Record, record::Opened},
    error::Error,
    store::{self, checkpoints::StoredCheckpoint, events::StoredEvent, tiles::StoredTiles},
};

/// What a proof consists of.
struct Parts {
    row: StoredEvent,
    checkpoint: StoredCheckpoint,
    path: Vec<q_tlog::Hash>,
}

impl Trail {
    /// Proves the event against the newest checkpoint, or the one of `size` leaves.
    pub async fn prove(&self, id: AuditId, size: Option<u64>) -> Result<Proof, Error> {
        let Parts { row, checkpoint, path } = self.parts(id, size).await?;
        let opened = Record::decode(&row.record)?.open(row.id, &self.sealer)?;
        let entry = leaf(&row).entry();
        Ok(Proof {
            id,
            log_index: row.log_index,
            leaf_hash: hex(&leaf_hash(entry.as_bytes())),
            leaf: entry,
            tree_size: checkpoint.size,
            root_hash: hex(&checkpoint.root),
            hashes: path.iter().map(|hash| hex(hash)).collect(),
            checkpoint: checkpoint.note,
            sections: opened.iter().map(opening).collect(),
        })
    }

    /// The same proof as a file for other programs.
    pub async fn prove_file(&self, id: AuditId, size: Option<u64>) -> Result<String, Error> {
        let Parts { row, checkpoint, path } = self.parts(id, size).await?;
        Ok(LogProof { extra: None, index: row.log_index, path, checkpoint: checkpoint.note }.to_string())
    }

    async fn parts(&self, id: AuditId, size: Option<u64>) -> Result<Parts, Error> {
        self.db
            .read(move |reader| {
                let row = store::events::find(reader, id)?.ok_or(Error::EventNotFound)?;
                let checkpoint = match size {
                    None => store::checkpoints::newest(reader)?,
                    Some(size) => {
                        i64::try_from(size).map_err(|_| Error::NotYetIncluded)?;
                        store::checkpoints::find(reader, size)?
                    }
                };
                let checkpoint = checkpoint
                    .filter(|checkpoint| checkpoint.size > row.log_index)
                    .ok_or(Error::NotYetIncluded)?;
                let path = inclusion_proof(&mut StoredTiles(reader), row.log_index, checkpoint.size)?;
                Ok(Parts { row, checkpoint, path })
            })
            .await
    }

    /// A static resource of the log (c2sp.org/tlog-tiles). What no checkpoint covers is not there yet.
    pub async fn resource(&self, resource: LogResource) -> Result<Vec<u8>, Error> {
        if resource == LogResource::Checkpoint {
            return self.checkpoint().await.map(String::into_bytes);
        }
        self.db
            .read(move |reader| {
                let signed_size = store::head::get(reader)?.signed_size;
                let (level, index, width) = match resource {
                    LogResource::Checkpoint => return Err(Error::ResourceNotFound),
                    LogResource::Tile(TileId { level, index, width }) => (level, index, width),
                    LogResource::Entries { index, width } => (0, index, width),
                };
                if TileId::width_at(level, index, signed_size) < width {
                    return Err(Error::ResourceNotFound);
                }
                if let LogResource::Entries { .. } = resource {
                    let first = index * u64::from(q_tlog::TILE_WIDTH);
                    let entries = store::events::entries(reader, first, width)?;
                    return bundle::encode(entries).map_err(|_| Error::ResourceNotFound);
                }
                let mut hashes = store::tiles::find(reader, level, index)?;
                hashes.truncate(usize::from(width));
                Ok(hashes.concat())
            })
            .await
    }

    /// The policy a verifier needs (c2sp.org/tlog-policy): this log's key, no witnesses yet.
    pub fn policy(&self, url: &str) -> String {
        format!("log {} {url}\nquorum none\n", self.verifier())
    }
}

fn opening(opened: &Opened) -> SectionOpening {
    SectionOpening {
        hash: hex(&opened.hash),
        nonce: opened.salted.as_ref().map(|salted| hex(&salted.nonce)),
        content: opened.salted.as_ref().map(|salted| String::from_utf8_lossy(&salted.content).into_owned()),
    }
}
