//! What the rooms of the desk share.

use std::path::PathBuf;

use q_core::Env;
use q_db::Db;
use q_http::IsOperator;
use q_runtime::{Ground, Instance, Peers, Settings};

/// What the desk is handed besides its ground.
pub struct Handles {
    /// Knows the operators of the instance.
    pub is_operator: IsOperator,
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
}

impl Desk {
    pub(crate) fn new(ground: Ground, handles: Handles) -> Self {
        let Ground { env, db, instance, peers, settings, .. } = ground;
        let Handles { is_operator, watched, data, keys } = handles;
        Self { db, env, instance, peers, settings, is_operator, watched, data, keys }
    }
}
