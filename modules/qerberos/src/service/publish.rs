//! Signed checkpoints: never two for one size, never one smaller than what was published.

use std::{fs, io, io::Write as _, path::Path, sync::Arc, time::Duration};

use q_core::hash::hex;
use q_db::Db;
use q_tlog::{Checkpoint, VerifierKey, root_at};
use qerberos_api::events::CheckpointPublished;

use super::{Trail, first_name};
use crate::{
    error::Error,
    store::{self, checkpoints::StoredCheckpoint, head::Head, tiles::StoredTiles},
};

/// How the store compares with what was published.
pub(crate) struct Compared {
    pub published_size: u64,
    pub is_rolled_back: bool,
}

impl Trail {
    /// Signs the head if it is ahead of the newest checkpoint. Answers the size that is published.
    ///
    /// The signature is made inside the transaction that marks the size as signed, and leaves it only after the
    /// commit: two writers cannot sign two trees of one size.
    pub async fn publish(&self) -> Result<u64, Error> {
        if self.is_rolled_back {
            return Err(Error::RollbackDetected);
        }
        let head = self.db.read(store::head::get).await?;
        if head.size == head.signed_size {
            self.announce(head.size);
            return Ok(head.size);
        }
        let signer = self.signer.clone();
        let signed = self
            .db
            .write(move |tx| -> Result<Option<StoredCheckpoint>, Error> {
                let head = store::head::get(tx)?;
                if head.size == head.signed_size {
                    return Ok(None);
                }
                store::tiles::tree(tx, &head)?; // never signs a root that the tiles do not have
                let Head { origin, size, root, .. } = &head;
                let note = Checkpoint { origin: origin.clone(), size: *size, root: *root }.sign(&signer)?;
                if !store::head::mark_signed(tx, &head)? {
                    return Ok(None); // another replica signs now; the next run looks again
                }
                let signed = StoredCheckpoint {
                    size: *size,
                    root: *root,
                    note: note.to_string(),
                    signed_at: tx.now(),
                };
                store::checkpoints::insert(tx, &signed)?;
                tx.emit(&CheckpointPublished { origin: origin.clone(), size: *size, root: hex(root) })?;
                Ok(Some(signed))
            })
            .await?;
        let Some(signed) = signed else { return Ok(*self.published.borrow()) };
        if let Some(path) = self.checkpoint_file.clone() {
            let note = signed.note.clone();
            let kept = tokio::task::spawn_blocking(move || keep(&path, &note)).await;
            kept.unwrap_or_else(|panic| Err(io::Error::other(panic)))
                .map_err(|error| Error::File(Arc::new(error)))?;
        }
        self.announce(signed.size);
        Ok(signed.size)
    }

    /// Waits until a published checkpoint covers leaf `log_index`, at most `patience`; `false` if none did.
    pub async fn covered(&self, log_index: u64, patience: Duration) -> bool {
        let mut published = self.published.subscribe();
        let covering = published.wait_for(|size| *size > log_index);
        tokio::time::timeout(patience, covering).await.is_ok_and(|covered| covered.is_ok())
    }

    /// The newest checkpoint's note.
    pub async fn checkpoint(&self) -> Result<String, Error> {
        let newest = self.db.read(store::checkpoints::newest).await?;
        newest.map(|newest| newest.note).ok_or(Error::ResourceNotFound)
    }

    fn announce(&self, size: u64) {
        self.published.send_if_modified(|published| {
            let is_newer = size > *published;
            *published = size.max(*published);
            is_newer
        });
    }
}

/// Compares the store with the checkpoint kept beside it. A store that does not contain the published tree comes from
/// an old backup or was tampered with; signing from it would make two logs of one name.
pub(crate) async fn compare(db: &Db, key: &VerifierKey, file: Option<&Path>) -> Result<Compared, Error> {
    // Under another name than that of a log that was put back, nothing of it was published.
    let newest = db.read(store::checkpoints::newest).await?;
    let newest = newest.filter(|newest| newest.note.lines().next() == Some(key.name()));
    let published_size = newest.as_ref().map_or(0, |newest| newest.size);
    let Some(path) = file else { return Ok(Compared { published_size, is_rolled_back: false }) };
    let note = match fs::read_to_string(path) {
        Ok(note) => Some(note),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(Error::File(Arc::new(error))),
    };
    if let Some(note) = note {
        let Ok(beside) = Checkpoint::open(&note, key) else {
            if published_size > 0 {
                return Ok(Compared { published_size, is_rolled_back: true });
            }
            // A log that has signed nothing yet has a key nobody knows: it is a new one, and cannot be taken for the
            // one whose checkpoint lies here. That one's is kept for whoever still holds proofs of it.
            let other = path.with_extension(format!("of-{}", key.key_id()));
            if first_name(key.name()) == key.name() {
                tracing::warn!(
                    kept = %other.display(),
                    "the checkpoint beside the store is of another log than this one, which is new: after a move of the \
                     keys to a new instance that is so; else somebody took the old store away, and `q backup restore` \
                     puts it back"
                );
            } else {
                tracing::info!(
                    kept = %other.display(),
                    "as after every restore, the audit log goes on under a new name; the last checkpoint of the old one is \
                     kept for whoever holds proofs of it, and nothing is to be done"
                );
            }
            fs::rename(path, other).map_err(|error| Error::File(Arc::new(error)))?;
            return Ok(Compared { published_size, is_rolled_back: false });
        };
        if !contains(db, beside).await? {
            return Ok(Compared { published_size, is_rolled_back: true });
        }
    }
    if let Some(newest) = newest {
        // A crash between commit and file leaves the file behind; it catches up here.
        keep(path, &newest.note).map_err(|error| Error::File(Arc::new(error)))?;
    }
    Ok(Compared { published_size, is_rolled_back: false })
}

/// Whether the first leaves of the store are the tree of `checkpoint`.
async fn contains(db: &Db, checkpoint: Checkpoint) -> Result<bool, Error> {
    db.read(move |reader| {
        let head = store::head::get(reader)?;
        if head.size < checkpoint.size {
            return Ok(false);
        }
        Ok(root_at(&mut StoredTiles(reader), checkpoint.size)? == checkpoint.root)
    })
    .await
}

/// Replaces the file as a whole, on disk before it is answered.
fn keep(path: &Path, note: &str) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let mut file = fs::File::create(&fresh)?;
    file.write_all(note.as_bytes())?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => fs::File::open(folder)?.sync_all(),
        _ => Ok(()),
    }
}
