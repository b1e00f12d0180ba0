//! What people typed, as it may stand in a line of another program's file.

use q_core::Timestamp;

/// One line without control characters.
///
/// What reorders text on the screen (U+202A to U+202E, U+2066 to U+2069) is left out: a line that shows other digits than
/// it holds has no place in books. Letters of every script stay.
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' => {}
            // Not characters, and refused by XML 1.0 section 2.2.
            '\u{FFFE}' | '\u{FFFF}' => line.push('\u{FFFD}'),
            _ if character.is_control() || matches!(character, '\u{2028}' | '\u{2029}') => line.push(' '),
            _ => line.push(character),
        }
    }
    // Other spaces may stand where a long text is divided, and are text.
    line.trim_matches(' ').to_owned()
}

/// At most so many characters, the last one an ellipsis where some were left out.
pub fn at_most(text: &str, characters: usize) -> String {
    if text.chars().count() <= characters {
        return text.to_owned();
    }
    let kept: String = text.chars().take(characters.saturating_sub(1)).collect();
    format!("{kept}…")
}

/// The day of an instant in UTC, such as `2026-11-21`.
pub fn day(at: Timestamp) -> String {
    at.to_string().chars().take(10).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_letters_and_drops_what_misleads() {
        assert_eq!(one_line(" a\r\nb\u{0}\u{2028}c "), "a  b  c");
        assert_eq!(one_line("שלום \u{202E}51\u{2069} \u{FFFE}"), "שלום 51 \u{FFFD}");
        assert_eq!(at_most("äöüß", 3), "äö…");
    }
}
