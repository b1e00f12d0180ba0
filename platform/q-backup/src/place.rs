//! What is backed up, and where to.

use std::path::PathBuf;

use q_db::DbConfig;

use crate::{Making, Recipients, Signer, Target};

/// What is backed up.
#[derive(Clone)]
pub struct Source {
    /// The identity of the instance.
    pub instance: String,
    /// The data folder.
    pub data: PathBuf,
    /// The folder of secrets.
    pub keys: PathBuf,
    /// The stores, by module.
    pub stores: Vec<(String, DbConfig)>,
    /// Files of the data folder that belong to it, where they are there.
    pub files: Vec<String>,
}

/// Where and for whom.
#[derive(Clone)]
pub struct Place {
    /// Where to.
    pub target: Target,
    /// For whom.
    pub recipients: Recipients,
    /// What names pieces.
    pub making: Making,
    /// Who signs.
    pub signer: Signer,
}
