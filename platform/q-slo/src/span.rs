//! Spans as people write them: `500ms`, `90s`, `5m`, `2h`, `3d`.

use q_core::Span;

/// The text is not a span.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a span such as 500ms, 90s, 5m, 2h or 3d")]
pub struct NotASpan(pub String);

/// Ten years: longer is a slip.
const MILLIS_MAX: i64 = 3_650 * 86_400_000;
const UNITS: [(&str, i64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("ms", 1), ("m", 60_000), ("s", 1_000)];

/// Reads a whole number followed by `ms`, `s`, `m`, `h` or `d`.
pub fn parse_span(text: &str) -> Result<Span, NotASpan> {
    let refused = || NotASpan(text.to_owned());
    let digits = text.find(|character: char| !character.is_ascii_digit()).ok_or_else(refused)?;
    let (number, unit) = text.split_at(digits);
    let (_, size) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(refused)?;
    let number: i64 = number.parse().map_err(|_| refused())?;
    let millis = number.checked_mul(*size).filter(|millis| *millis <= MILLIS_MAX);
    millis.map(Span::millis).ok_or_else(refused)
}

/// The shortest text [`parse_span`] reads as `span`, rounded down to milliseconds. Prometheus reads it too.
pub fn text_of(span: Span) -> String {
    let millis = span.as_micros() / 1_000;
    let largest = UNITS.iter().filter(|(_, size)| millis % size == 0).max_by_key(|(_, size)| *size);
    let (unit, size) = largest.filter(|_| millis != 0).unwrap_or(&("s", 1_000));
    format!("{}{unit}", millis / size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_prints() {
        for text in ["0s", "1ms", "90s", "5m", "2h", "3d", "61m", "1500ms"] {
            assert_eq!(text_of(parse_span(text).unwrap()), text);
        }
        for text in ["", "5", "m", "-5m", "5 m", "5w", "é", "99999999d", "9223372036854775807d"] {
            assert!(parse_span(text).is_err(), "{text}");
        }
    }
}
