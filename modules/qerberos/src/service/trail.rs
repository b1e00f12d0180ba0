//! The trail: one log, its keys, and the places where its parts meet.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use parking_lot::Mutex;
use q_core::{Env, Timestamp};
use q_db::{Db, DbError};
use q_seal::Sealer;
use q_tlog::{EMPTY_ROOT, NoteError, NoteSigner, Tree, VerifierKey};
use tokio::sync::watch;

use super::{
    append::Queue,
    keys::{Keys, KeysError},
    publish,
};
use crate::{error::Error, store};

/// The audit trail of an instance.
pub struct Trail {
    pub(super) db: Db,
    pub(super) env: Env,
    pub(super) sealer: Sealer,
    pub(super) keys: Keys,
    pub(super) signer: NoteSigner,
    /// Where the newest published checkpoint is kept outside the store, so that an old backup is recognised.
    pub(super) checkpoint_file: Option<PathBuf>,
    /// The tree as of the last append, valid while it matches the stored head.
    pub(super) tree: Arc<Mutex<Option<Tree>>>,
    pub(super) queue: Mutex<Queue>,
    /// How many leaves the newest published checkpoint covers.
    pub(super) published: watch::Sender<u64>,
    /// Whether the store turned out older than what was published; then nothing is signed.
    pub(super) is_rolled_back: bool,
    /// Producers whose stores turned out older than this one since it was opened, and where they end.
    pub(super) rolled_back: Mutex<BTreeMap<String, u64>>,
}

/// What a trail is opened with.
pub struct TrailOptions {
    /// The host and port of the instance, which name the log.
    pub host: String,
    /// Seals records and keys.
    pub sealer: Sealer,
    /// Where the newest published checkpoint is kept outside the store.
    pub checkpoint_file: Option<PathBuf>,
}

/// Why a trail cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The store failed.
    #[error("the store failed")]
    Db(#[from] DbError),
    /// The keys cannot be had.
    #[error("the log's keys cannot be opened")]
    Keys(#[from] KeysError),
    /// The origin of the instance cannot name a log.
    #[error("the origin of the instance cannot name a log")]
    Origin(#[from] NoteError),
    /// The tree or the checkpoint file cannot be read.
    #[error("the log cannot be continued")]
    Log(#[from] Error),
}

impl Trail {
    /// Opens the trail in `db`, begins it if there is none, and compares it with what was published before.
    pub async fn open(db: Db, env: Env, options: TrailOptions) -> Result<Arc<Self>, OpenError> {
        let TrailOptions { host, sealer, checkpoint_file } = options;
        let (begin_sealer, begin_env) = (sealer.clone(), env.clone());
        let (origin, keys) = db
            .write(move |tx| -> Result<_, KeysError> {
                let keys = Keys::open(tx, &begin_sealer, &begin_env)?;
                if let Some(head) = store::head::find(tx)? {
                    return Ok((head.origin, keys));
                }
                let origin = format!("{host}/qerberos/{}", shard(tx.now()));
                store::head::insert(tx, &origin, &EMPTY_ROOT)?;
                Ok((origin, keys))
            })
            .await?;
        let signer = NoteSigner::new(&origin, keys.log.clone())?;
        let compared = publish::compare(&db, signer.verifier(), checkpoint_file.as_deref()).await?;
        if compared.is_rolled_back {
            tracing::error!(
                origin,
                "the store is older than the last published checkpoint (restored backup?): nothing will be signed"
            );
        }
        Ok(Arc::new(Self {
            db,
            env,
            sealer,
            keys,
            signer,
            checkpoint_file,
            tree: Arc::default(),
            queue: Mutex::default(),
            published: watch::Sender::new(compared.published_size),
            is_rolled_back: compared.is_rolled_back,
            rolled_back: Mutex::default(),
        }))
    }

    /// The store.
    pub fn db(&self) -> &Db {
        &self.db
    }

    /// The key checkpoints are checked with; its name is the origin of the log.
    pub fn verifier(&self) -> &VerifierKey {
        self.signer.verifier()
    }

    /// What opens the records.
    pub fn sealer(&self) -> &Sealer {
        &self.sealer
    }

    /// The log's own keys.
    pub(crate) fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Whether the store is older than what was published: then it is read and appended to, and nothing is signed.
    pub fn is_rolled_back(&self) -> bool {
        self.is_rolled_back
    }
}

/// The year the log began in: a new log can follow without a new key or place.
fn shard(now: Timestamp) -> String {
    now.to_string().chars().take(4).collect()
}
