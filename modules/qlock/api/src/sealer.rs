//! How a module obtains the sealer of its own database fields: a wrapped data key lies in its store, and
//! qlock unwraps it when the module opens.
//!
//! A module adds [`SEALING_KEYS_SQLITE`] and [`SEALING_KEYS_POSTGRES`] to its migrations, calls [`open`] once
//! and keeps the [`Sealer`]. Nothing of the key is written anywhere in the open.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use q_contract::{CallError, Client};
use q_core::Timestamp;
use q_db::{Db, DbError, params};
use q_seal::{DataKeyId, Sealer};
use zeroize::Zeroizing;

use crate::{
    CreateDataKeys, CreateDataKeysRequest, DataKey, SealContext, UnwrapDataKey, UnwrapDataKeyRequest,
};

/// The migration that makes the table of wrapped data keys, on SQLite.
pub const SEALING_KEYS_SQLITE: &str = include_str!("../migrations/sqlite/sealing_keys.sql");
/// The migration that makes the table of wrapped data keys, on PostgreSQL.
pub const SEALING_KEYS_POSTGRES: &str = include_str!("../migrations/postgres/sealing_keys.sql");

/// What the data keys of modules are for, said to qlock.
const PURPOSE: &str = "fields";
/// How often an unreachable qlock is asked while both start.
const ATTEMPTS_MAX: u32 = 120;
/// The pause between two attempts.
const PAUSE: Duration = Duration::from_millis(250);

/// Why a module has no sealer, and so must not open.
#[derive(Debug, thiserror::Error)]
pub enum SealerError {
    /// qlock refused or did not answer.
    #[error("qlock did not release the data key of this store")]
    Qlock(#[source] Box<CallError>),
    /// qlock answered something that is not a data key, or another one than was asked for.
    #[error("qlock answered with something that is not the data key {0}")]
    NotADataKey(String),
    /// The module's store failed.
    #[error("the store failed")]
    Db(#[from] DbError),
}

/// Opens the sealer of `db`, through `qlock`; makes the first data key of a store that has none.
///
/// Waits up to half a minute for a qlock that is still starting.
pub async fn open(db: &Db, qlock: &Client) -> Result<Sealer, SealerError> {
    let context: SealContext = [("module".to_owned(), db.module().to_owned())].into();
    let mut rows = stored(db).await?;
    if rows.is_empty() {
        add(db, make(qlock, &context).await?).await?;
        rows = stored(db).await?;
    }
    let mut keys = Vec::with_capacity(rows.len());
    for (id, wrapped) in rows {
        let request = UnwrapDataKeyRequest { wrapped, purpose: PURPOSE.into(), context: context.clone() };
        let answer = patiently(|| qlock.call::<UnwrapDataKey>(&request)).await?;
        if answer.data_key_id != id {
            return Err(SealerError::NotADataKey(id));
        }
        keys.push(usable(answer)?);
    }
    let current = keys.pop().ok_or_else(|| SealerError::NotADataKey("of a store without any".into()))?;
    Ok(Sealer::new(current, keys))
}

async fn make(qlock: &Client, context: &SealContext) -> Result<DataKey, SealerError> {
    let request = CreateDataKeysRequest {
        purpose: PURPOSE.into(),
        context: context.clone(),
        key_id: None,
        count: Some(1),
        with_plaintext: Some(false),
    };
    let mut made = patiently(|| qlock.call::<CreateDataKeys>(&request)).await?.data_keys;
    made.pop().ok_or_else(|| SealerError::NotADataKey("that was asked for".into()))
}

/// Oldest first, so that the last one is the one that seals.
async fn stored(db: &Db) -> Result<Vec<(String, String)>, DbError> {
    db.read(|reader| {
        let sql = "SELECT data_key_id, wrapped FROM sealing_keys ORDER BY created_at, data_key_id";
        let rows = reader.query(sql, params![])?;
        rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
    })
    .await
}

/// Adds the first data key, unless another replica was quicker.
async fn add(db: &Db, key: DataKey) -> Result<(), DbError> {
    db.write(move |tx| {
        if tx.query_opt("SELECT data_key_id FROM sealing_keys LIMIT 1", params![])?.is_some() {
            return Ok(());
        }
        let now: Timestamp = tx.now();
        tx.execute(
            "INSERT INTO sealing_keys (data_key_id, wrapped, created_at) VALUES ($1, $2, $3)",
            params![&key.data_key_id, &key.wrapped, now],
        )?;
        Ok(())
    })
    .await
}

fn usable(key: DataKey) -> Result<q_seal::DataKey, SealerError> {
    let name = key.data_key_id.clone();
    let refused = || SealerError::NotADataKey(name.clone());
    let mut id = [0; 16];
    if key.data_key_id.len() != 2 * id.len() {
        return Err(refused());
    }
    data_encoding::HEXLOWER.decode_mut(key.data_key_id.as_bytes(), &mut id).map_err(|_| refused())?;
    let text = Zeroizing::new(key.plaintext.ok_or_else(refused)?);
    let bytes = Zeroizing::new(STANDARD.decode(text.as_bytes()).map_err(|_| refused())?);
    let bytes = bytes.as_slice().try_into().map_err(|_| refused())?;
    Ok(q_seal::DataKey::new(DataKeyId(id), bytes))
}

/// Tries again while qlock gives no answer, or answers that it is not ready.
async fn patiently<T, F>(call: impl Fn() -> F) -> Result<T, SealerError>
where
    F: Future<Output = Result<T, CallError>>,
{
    for attempt in 1.. {
        match call().await {
            Ok(answer) => return Ok(answer),
            Err(error) if attempt < ATTEMPTS_MAX && may_recover(&error) => {
                if attempt == 1 {
                    tracing::info!(%error, "waiting for qlock");
                }
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) => return Err(SealerError::Qlock(Box::new(error))),
        }
    }
    unreachable!("the loop returns at its last attempt")
}

fn may_recover(error: &CallError) -> bool {
    match error {
        CallError::Unreachable(_) => true,
        CallError::Problem(problem) => problem.status == 503,
        CallError::NotReadable(_) => false,
    }
}
