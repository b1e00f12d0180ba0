//! JSON with one meaning: duplicate members and numbers that programs read differently are refused.
//!
//! What is hashed and signed must be read alike by every verifier. Two members of one name are read as
//! the first by some parsers and as the last by others; integers beyond 2^53 lose digits in those that
//! keep numbers as doubles (RFC 7493 sections 2.2 and 2.3).

use q_jose::strict_json::{self, NotStrictJson};
use serde_json::{Number, Value};

/// The largest integer every JSON reader agrees on.
const INTEGER_MAX: u64 = (1 << 53) - 1;

/// The text is not JSON that every reader would read alike.
#[derive(Debug, thiserror::Error)]
pub enum NotIJson {
    /// Not JSON, or a member appears twice.
    #[error("not strict JSON")]
    Strict(#[from] NotStrictJson),
    /// An integer that programs with floating-point numbers would round.
    #[error("an integer beyond 2^53")]
    Integer,
}

/// Reads `text` as one I-JSON value with nothing after it.
pub fn parse(text: &[u8]) -> Result<Value, NotIJson> {
    let value = strict_json::value(text)?;
    if has_exact_numbers(&value) { Ok(value) } else { Err(NotIJson::Integer) }
}

fn has_exact_numbers(value: &Value) -> bool {
    match value {
        Value::Number(number) => is_exact(number),
        Value::Array(items) => items.iter().all(has_exact_numbers),
        Value::Object(members) => members.values().all(has_exact_numbers),
        Value::Null | Value::Bool(_) | Value::String(_) => true,
    }
}

fn is_exact(number: &Number) -> bool {
    let magnitude = number.as_u64().or_else(|| number.as_i64().map(i64::unsigned_abs));
    magnitude.is_none_or(|magnitude| magnitude <= INTEGER_MAX)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn reads_what_all_readers_read_alike_and_refuses_the_rest() {
        assert_eq!(parse(br#"{"a":[1,-2,0.5,null,"x"]}"#).unwrap()["a"][1], -2);
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"b":{"a":1,"\u0061":2}}"#,
            "9007199254740992",
            "-9007199254740992",
            "1e999",
            "{} {}",
            "",
            "\"\\ud800\"",
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
        assert!(parse("[".repeat(100_000).as_bytes()).is_err());
    }
}
