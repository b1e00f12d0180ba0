//! What changed an account in a period.

use std::collections::BTreeMap;

use q_core::Timestamp;
use q_db::{DbError, Reader};

use super::{
    history::{Mark, merged_between, unmerged},
    ledger::{Journalled, transfers_at},
};
use crate::domain::account::AccountId;

/// How many transfers are read at once.
const PAGE_TRANSFERS: u32 = 2_048;

/// Calls `each` with an account's transfers from one instant up to and without another, oldest first, in pages.
pub fn for_each_page(
    reader: &mut Reader<'_>,
    account: AccountId,
    (from, to): (Timestamp, Timestamp),
    mut each: impl FnMut(&mut Reader<'_>, &[&Journalled]) -> Result<(), DbError>,
) -> Result<(), DbError> {
    let mut unmerged = unmerged(reader, account)?;
    let (mut after, end) = (Mark::before(from), Mark::before(to));
    unmerged.retain(|mark, _| after < *mark && *mark < end);
    loop {
        let mut places = merged_between(reader, account, (after, end), PAGE_TRANSFERS)?;
        // What is unmerged and beyond a full page comes with a later one.
        let is_last = places.len() < PAGE_TRANSFERS as usize;
        if let Some((last, _)) = places.last().filter(|_| !is_last) {
            after = *last;
        }
        let rest = if is_last { BTreeMap::new() } else { unmerged.split_off(&after) };
        places.extend(std::mem::replace(&mut unmerged, rest).into_iter().map(|(mark, (seq, _))| (mark, seq)));
        places.sort_unstable();
        let seqs: Vec<i64> = places.into_iter().map(|(_, seq)| seq).collect();
        let transfers = transfers_at(reader, &seqs)?;
        let found: Option<Vec<&Journalled>> = seqs.iter().map(|seq| transfers.get(seq)).collect();
        each(reader, &found.ok_or(DbError::BadRow { column: 0, expected: "a transfer" })?)?;
        if is_last {
            return Ok(());
        }
    }
}
