//! The number of revocations.

use q_db::{DbError, Tx};

/// Counts one more.
pub fn next(tx: &mut Tx<'_>) -> Result<u64, DbError> {
    tx.execute("UPDATE revocation_epoch SET epoch = epoch + 1 WHERE id = 1", &[])?;
    let epoch: i64 = tx.query_one("SELECT epoch FROM revocation_epoch WHERE id = 1", &[])?.try_get(0)?;
    Ok(u64::try_from(epoch).unwrap_or_default())
}
