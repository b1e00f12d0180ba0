//! Spans as people write them: `90s`, `5m`, `2h`, `3d`.

use q_core::Span;

/// The text is not a span.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a span such as 90s, 5m, 2h or 3d")]
pub struct NotASpan(pub String);

/// Ten years: longer is a slip.
const SECONDS_MAX: i64 = 3_650 * 86_400;
const UNITS: [(char, i64); 4] = [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];

/// Reads a whole number followed by `s`, `m`, `h` or `d`.
pub fn parse_span(text: &str) -> Result<Span, NotASpan> {
    let refused = || NotASpan(text.to_owned());
    let unit = text.chars().last().ok_or_else(refused)?;
    let (_, seconds) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(refused)?;
    let number: i64 = text[..text.len() - 1].parse().map_err(|_| refused())?;
    let total = number.checked_mul(*seconds).filter(|total| (0..=SECONDS_MAX).contains(total));
    total.map(Span::seconds).ok_or_else(refused)
}

/// The shortest text [`parse_span`] reads as `span`, rounded down to seconds. Prometheus reads it too.
pub fn text_of(span: Span) -> String {
    let seconds = span.as_seconds();
    let (unit, size) = UNITS.iter().find(|(_, size)| seconds % size == 0).unwrap_or(&('s', 1));
    if seconds == 0 { "0s".to_owned() } else { format!("{}{unit}", seconds / size) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_prints() {
        for text in ["0s", "90s", "5m", "2h", "3d", "61m"] {
            assert_eq!(text_of(parse_span(text).unwrap()), text);
        }
        for text in ["", "5", "m", "-5m", "5 m", "5w", "é", "99999999d", "9223372036854775807d"] {
            assert!(parse_span(text).is_err(), "{text}");
        }
    }
}
