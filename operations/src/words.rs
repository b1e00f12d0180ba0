//! Words and lists of the wire as the columns keep them.

use q_db::DbError;
use serde::{Serialize, de::DeserializeOwned};

/// The word of a plain enum.
///
/// # Panics
/// When the type is not a plain enum: its word is no text.
pub(crate) fn word<T: Serialize>(value: T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        other => unreachable!("a plain enum is a word, not {other:?}"),
    }
}

/// The plain enum behind a word.
pub(crate) fn of_word<T: DeserializeOwned>(word: String) -> Result<T, DbError> {
    serde_json::from_value(serde_json::Value::String(word)).map_err(DbError::from)
}

/// Anything as JSON text.
///
/// # Panics
/// Never for wire types: their keys are texts and their numbers finite.
pub(crate) fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("a wire type has string keys and finite numbers")
}

/// What a JSON text holds.
pub(crate) fn of_json<T: DeserializeOwned>(text: &str) -> Result<T, DbError> {
    serde_json::from_str(text).map_err(DbError::from)
}
