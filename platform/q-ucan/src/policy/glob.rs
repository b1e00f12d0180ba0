//! Patterns of `like`: `*` stands for any run of characters, `\*` for itself, everything else for itself.

use std::str::FromStr;

use super::PATTERN_CHARS_MAX;
use crate::Refusal;

/// A checked pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob {
    text: String,
    /// The literal runs between the wildcards: one more than there are wildcards.
    runs: Vec<String>,
}

impl Glob {
    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the whole of `text` matches. Time is linear in `text` per run: each run is searched once, leftmost.
    pub fn matches(&self, text: &str) -> bool {
        let [first, middle @ .., last] = self.runs.as_slice() else {
            return self.runs.first().is_some_and(|only| only == text);
        };
        let Some(mut rest) = text.strip_prefix(first.as_str()) else { return false };
        for run in middle {
            match rest.find(run.as_str()) {
                Some(at) => rest = &rest[at + run.len()..],
                None => return false,
            }
        }
        rest.ends_with(last.as_str())
    }

    /// How many searches a match takes.
    pub(super) fn runs(&self) -> usize {
        self.runs.len()
    }
}

impl FromStr for Glob {
    type Err = Refusal;
    fn from_str(text: &str) -> Result<Self, Refusal> {
        if text.chars().count() > PATTERN_CHARS_MAX {
            return Err(Refusal::TooLarge("a pattern has at most 256 characters"));
        }
        let mut runs = vec![String::new()];
        let mut characters = text.chars().peekable();
        while let Some(character) = characters.next() {
            let starts_run = runs.len() > 1 && runs.last().is_some_and(String::is_empty);
            let run = runs.last_mut().expect("there is always a last run");
            match character {
                // A backslash before anything else stands for itself: the specification knows one escape only.
                '\\' if characters.peek() == Some(&'*') => {
                    characters.next();
                    run.push('*');
                }
                // Neighbouring wildcards are one.
                '*' if starts_run => {}
                '*' => runs.push(String::new()),
                other => run.push(other),
            }
        }
        Ok(Self { text: text.to_owned(), runs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_what_the_specification_lists() {
        let glob: Glob = "Alice\\*, Bob*, Carol.".parse().unwrap();
        for text in [
            "Alice*, Bob, Carol.",
            "Alice*, Bob, Dan, Erin, Carol.",
            "Alice*, Bob  , Carol.",
            "Alice*, Bob*, Carol.",
        ] {
            assert!(glob.matches(text), "{text}");
        }
        for text in
            ["Alice*, Bob, Carol", "Alice*, Bob*, Carol!", "Alice, Bob, Carol.", " Alice*, Bob, Carol. "]
        {
            assert!(!glob.matches(text), "{text}");
        }
    }

    #[test]
    fn ends_do_not_overlap() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("**", "abc", true),
            ("aba*ba", "aba", false),
            ("aba*ba", "ababa", true),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b*", "ba", false),
            ("a\\b", "a\\b", true),
            ("a\\", "a\\", true),
            ("é*é", "éé", true),
            ("é*é", "é", false),
        ] {
            assert_eq!(pattern.parse::<Glob>().unwrap().matches(text), expected, "{pattern:?} on {text:?}");
        }
    }
}
