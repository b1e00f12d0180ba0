//! What changed an account between two of its versions.

use q_db::{DbError, Reader, params};

use super::{
    history::unmerged,
    ledger::{Journalled, transfers_at},
};
use crate::domain::account::AccountId;

/// How many transfers are read at once.
const PAGE_TRANSFERS: i64 = 2_048;

/// Calls `each` with an account's transfers after version `after` up to `through`, oldest first, in pages.
pub fn for_each_page(
    reader: &mut Reader<'_>,
    account: AccountId,
    after: i64,
    through: i64,
    mut each: impl FnMut(&mut Reader<'_>, &[&Journalled]) -> Result<(), DbError>,
) -> Result<(), DbError> {
    let unmerged = unmerged(reader, account)?;
    let mut after = after;
    while after < through {
        let page = through.min(after.saturating_add(PAGE_TRANSFERS));
        let sql = "SELECT version, seq FROM history WHERE account = $1 AND version > $2 AND version <= $3 ORDER BY version";
        let rows = reader.query(sql, params![account.0, after, page])?;
        let places: Result<Vec<(i64, i64)>, DbError> =
            rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect();
        let mut places = places?;
        places.extend(unmerged.range(after + 1..=page).map(|(version, (seq, ..))| (*version, *seq)));
        places.sort_unstable();
        let seqs: Vec<i64> = places.into_iter().map(|(_, seq)| seq).collect();
        let transfers = transfers_at(reader, &seqs)?;
        let found: Option<Vec<&Journalled>> = seqs.iter().map(|seq| transfers.get(seq)).collect();
        each(reader, &found.ok_or(DbError::BadRow { column: 0, expected: "a transfer" })?)?;
        after = page;
    }
    Ok(())
}
