//! The trail: one log, its keys, and the places where its parts meet.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
};

use parking_lot::Mutex;
use q_core::{AuditEntry, Env, Timestamp, Verdict, hash::hex};
use q_db::{Db, DbError, Tx};
use q_seal::Sealer;
use q_tlog::{EMPTY_ROOT, NoteError, NoteSigner, Tree, VerifierKey};
use serde_json::json;
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
    /// Those of them that were told to stop writing.
    pub(super) told: Mutex<BTreeSet<String>>,
}

/// What a trail is opened with.
pub struct TrailOptions {
    /// The host and port of the instance, which name the log.
    pub host: String,
    /// Seals records and keys.
    pub sealer: Sealer,
    /// Where the newest published checkpoint is kept outside the store.
    pub checkpoint_file: Option<PathBuf>,
    /// The backup that an operator has put this store back from.
    ///
    /// Later trees of the log may have been published before that, and are lost. Going on under the same name would
    /// make two logs of one name, so this one goes on under a new name, which says so.
    pub restored: Option<String>,
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
        let TrailOptions { host, sealer, checkpoint_file, restored } = options;
        let published = checkpoint_file.as_deref().and_then(|path| std::fs::read_to_string(path).ok());
        let (begin_sealer, begin_env) = (sealer.clone(), env.clone());
        let (origin, keys) = db
            .write(move |tx| -> Result<_, KeysError> {
                let keys = Keys::open(tx, &begin_sealer, &begin_env)?;
                if let Some(head) = store::head::find(tx)? {
                    let origin = match &restored {
                        Some(backup) => go_on_after(tx, &head, backup, published.as_deref())?,
                        None => head.origin,
                    };
                    return Ok((origin, keys));
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
            told: Mutex::default(),
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

/// What a name goes on with when the log was put back from a backup.
const RESTORED: &str = "/restored-";

/// The name a log had at first.
pub(crate) fn first_name(origin: &str) -> &str {
    origin.split(RESTORED).next().unwrap_or(origin)
}

/// Gives a log that was put back from `backup` its new name, once, and notes what was `published` of the old one.
fn go_on_after(
    tx: &mut Tx<'_>,
    head: &store::head::Head,
    backup: &str,
    published: Option<&str>,
) -> Result<String, DbError> {
    let mark: String = backup.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase();
    let origin = format!("{}{RESTORED}{mark}", first_name(&head.origin));
    if origin == head.origin {
        return Ok(origin);
    }
    store::head::rename(tx, &origin)?;
    tx.audit(AuditEntry {
        family: "platform".into(),
        action: "log.continued".into(),
        actor: None,
        target: origin.clone(),
        verdict: Verdict::Warn,
        details: json!({
            "backup": backup,
            "before": head.origin,
            "size": head.size,
            "root": hex(&head.root),
            // The note as it was published, for whoever holds proofs of it.
            "published": published,
        }),
    })?;
    Ok(origin)
}

/// The year the log began in: a new log can follow without a new key or place.
fn shard(now: Timestamp) -> String {
    now.to_string().chars().take(4).collect()
}
