//! Where the next page of a list begins: the instant and the id of the last row.

use std::{fmt::Display, str::FromStr};

use q_core::Timestamp;

use crate::Error;

/// The cursor after the row of `id` at `at`.
pub(crate) fn write(at: Timestamp, id: impl Display) -> String {
    format!("{}.{id}", at.micros())
}

/// The row a cursor stands for.
pub(crate) fn read<I: FromStr>(cursor: &str) -> Result<(Timestamp, I), Error> {
    let parts = cursor
        .split_once('.')
        .and_then(|(micros, id)| Some((Timestamp::from_micros(micros.parse().ok()?), id.parse().ok()?)));
    parts.ok_or(Error::Cursor)
}
