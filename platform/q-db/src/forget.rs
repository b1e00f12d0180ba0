//! Answers kept for repeated requests, forgotten when nobody repeats them any more.
//!
//! Events, audit rows and the inbox are not pruned: a subscription that listens for more topics, and whatever is kept
//! in memory only, hears a producer from its first event on, and the inbox is what makes hearing twice harmless.

use q_core::Timestamp;

use crate::{Db, DbError, params};

/// Rows looked at, or deleted, at a time: the one writer is held up for no longer than that takes.
const CHUNK_ROWS: u32 = 1_000;

impl Db {
    /// Forgets the answers of requests made before `before`, and says how many.
    ///
    /// Walks the table by its key with readers; the writer only deletes what they found. An index by age would cost
    /// every write more than this walk does.
    pub async fn forget_answers(&self, before: Timestamp) -> Result<u64, DbError> {
        let (mut last, mut forgotten) = ((String::new(), String::new()), 0);
        loop {
            let from = last.clone();
            let page: Vec<(String, String, Timestamp)> = self
                .read(move |reader| {
                    let sql = "SELECT scope, key, at FROM q_idempotency WHERE (scope, key) > ($1, $2) \
                               ORDER BY scope, key LIMIT $3";
                    let rows = reader.query(sql, params![from.0, from.1, CHUNK_ROWS])?;
                    rows.iter()
                        .map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?)))
                        .collect::<Result<_, DbError>>()
                })
                .await?;
            let is_last = page.len() < CHUNK_ROWS as usize;
            if let Some((scope, key, _)) = page.last() {
                last = (scope.clone(), key.clone());
            }
            let old: Vec<_> = page.into_iter().filter(|(_, _, at)| *at < before).collect();
            if !old.is_empty() {
                forgotten += self
                    .write(move |tx| {
                        let sql = "DELETE FROM q_idempotency WHERE scope = $1 AND key = $2 AND at < $3";
                        old.iter().try_fold(0, |sum, (scope, key, _)| {
                            Ok::<u64, DbError>(sum + tx.execute(sql, params![scope, key, before])?)
                        })
                    })
                    .await?;
            }
            if is_last {
                return Ok(forgotten);
            }
        }
    }
}
