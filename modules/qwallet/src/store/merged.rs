//! Rows of several writers, told by time: each writer's in its own order.
//!
//! A commit that touches an account another writer changed is later than that change, so this order is one in which
//! the accounts' versions follow one another, whatever the hosts' clocks say of each other.

use std::collections::VecDeque;

use q_core::Timestamp;
use q_db::{DbError, Reader};

use super::ledger::WRITER_SPAN;

/// A row, when it was written, and its place in its writer's span.
pub struct Placed<T> {
    /// The place.
    pub place: i64,
    /// When; rows that cannot say follow the row before them.
    pub at: Option<Timestamp>,
    /// The row.
    pub row: T,
}

struct Stream<T> {
    /// The last place that was read.
    after: i64,
    at: Timestamp,
    page: VecDeque<Placed<T>>,
    is_over: bool,
}

/// The rows of all writers, in pages.
pub struct Merged<T> {
    streams: Vec<Stream<T>>,
}

impl<T> Merged<T> {
    /// The rows of these writers, from their first on.
    pub fn of(writers: &[i64]) -> Self {
        Self::after(writers.iter().map(|writer| (writer - 1) * WRITER_SPAN))
    }

    /// The rows of writers behind a place of each.
    pub fn after(places: impl Iterator<Item = i64>) -> Self {
        let stream =
            |after| Stream { after, at: Timestamp::default(), page: VecDeque::new(), is_over: false };
        Self { streams: places.map(stream).collect() }
    }

    /// The next row. `fetch` reads one writer's rows after a place, and nothing when there are no more.
    pub fn next(
        &mut self,
        reader: &mut Reader<'_>,
        fetch: impl Fn(&mut Reader<'_>, i64) -> Result<Vec<Placed<T>>, DbError>,
    ) -> Result<Option<Placed<T>>, DbError> {
        for stream in &mut self.streams {
            if stream.page.is_empty() && !stream.is_over {
                stream.page = fetch(reader, stream.after)?.into();
                stream.is_over = stream.page.is_empty();
                stream.after = stream.page.back().map_or(stream.after, |last| last.place);
            }
        }
        let waiting = self.streams.iter_mut().filter_map(|stream| {
            let first = stream.page.front()?;
            // Along one writer's rows time does not go back; where damage says so, the writer's order counts.
            let at = first.at.unwrap_or(stream.at).max(stream.at);
            Some(((at, first.place), stream))
        });
        let Some(((at, _), stream)) = waiting.min_by_key(|(key, _)| *key) else { return Ok(None) };
        stream.at = at;
        Ok(stream.page.pop_front())
    }
}
