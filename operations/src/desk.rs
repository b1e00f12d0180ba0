//! What the rooms of the desk share.

use std::{path::PathBuf, sync::Arc};

use q_auth::KeyDirectory;
use q_core::Env;
use q_db::Db;
use q_http::IsOperator;
use q_notify::Notifier;
use q_runtime::{Ground, Instance, Peers, Settings};
use q_seal::Sealer;

use crate::{OpenError, notify, status, watch::Watch};

/// What the desk is handed besides its ground.
pub struct Handles {
    /// Knows the operators of the instance.
    pub is_operator: IsOperator,
    /// Knows the keys of identities: who approved an emergency.
    pub identities: KeyDirectory,
    /// The modules to look after, this desk among them.
    pub watched: Vec<String>,
    /// The data folder of this process: logs, drills, disk figures.
    pub data: PathBuf,
    /// The folder of secrets beside it.
    pub keys: PathBuf,
}

/// What the rooms share.
pub struct Desk {
    /// The desk's own store.
    pub db: Db,
    /// Clock and entropy.
    pub env: Env,
    /// Which instance this is.
    pub instance: Instance,
    /// The modules, called as the desk.
    pub peers: Peers,
    /// The desk's section of the configuration.
    pub settings: Settings,
    /// Knows the operators of the instance.
    pub is_operator: IsOperator,
    /// The modules looked after.
    pub watched: Vec<String>,
    /// The data folder of this process.
    pub data: PathBuf,
    /// The folder of secrets beside it.
    pub keys: PathBuf,
    /// Knows the keys of identities.
    pub identities: KeyDirectory,
    /// Reaches people.
    pub notifier: Arc<Notifier>,
    /// Seals their addresses.
    pub(crate) sealer: Sealer,
    /// What everybody may see, as it was last put together.
    pub(crate) board: status::Board,
    /// What the watch remembers beside its store.
    pub(crate) watch: Arc<Watch>,
}

impl Desk {
    pub(crate) fn new(ground: Ground, handles: Handles) -> Result<Self, OpenError> {
        let Ground { env, db, instance, peers, settings, .. } = ground;
        let Handles { is_operator, identities, watched, data, keys } = handles;
        let sealer = status::subscribers::open_sealer(&keys, &env).map_err(OpenError::SealKey)?;
        let notifier = Arc::new(notify::notifier(&settings, &keys, &env)?);
        let board = status::Board::default();
        let watch = Arc::new(Watch::open(&settings, &notifier, &env)?);
        Ok(Self {
            db,
            env,
            instance,
            peers,
            settings,
            is_operator,
            watched,
            data,
            keys,
            identities,
            notifier,
            sealer,
            board,
            watch,
        })
    }
}
