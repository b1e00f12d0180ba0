//! What a command showed, against what it should show.

use serde::Serialize;
use serde_json::Value;

use crate::{Expectation, Step};

/// The most characters of an output that a finding repeats.
const FINDING_CHARS_MAX: usize = 4_000;

/// What a command did.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Its exit code; `None` when it was ended by a signal or did not end in time.
    pub code: Option<i32>,
    /// What it wrote on standard output.
    pub said: String,
    /// What it wrote on standard error.
    pub complained: String,
}

/// How a step went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// As expected.
    Well,
    /// Something to act on.
    Attention,
    /// A person answered.
    Answered,
    /// Not done.
    Skipped,
}

/// What was seen, and whether it is well.
pub fn judge(expected: &Expectation, outcome: &Outcome) -> (Verdict, String) {
    match complaint(expected, outcome) {
        None => (Verdict::Well, shown(expected, outcome)),
        Some(complaint) => (Verdict::Attention, complaint),
    }
}

/// Why a step is not begun, if it is not: an earlier one that it needs was skipped, or it would change something and the
/// earlier one did not go well. `taken` are the titles and verdicts of the steps before it; one that is not among them
/// was not for this module or engine.
pub fn hindrance(step: &Step, taken: &[(&str, Verdict)]) -> Option<String> {
    step.needs.iter().find_map(|title| {
        let (_, verdict) = taken.iter().rfind(|(earlier, _)| earlier == title)?;
        match verdict {
            Verdict::Skipped => Some(format!("not done: it needs {title:?}, which was skipped")),
            Verdict::Attention if step.changes => {
                Some(format!("not done: it needs {title:?}, which did not go well"))
            }
            _ => None,
        }
    })
}

fn complaint(expected: &Expectation, outcome: &Outcome) -> Option<String> {
    let output =
        || shortened(if outcome.said.trim().is_empty() { &outcome.complained } else { &outcome.said });
    match outcome.code {
        None => return Some(format!("did not end in time or was ended\n{}", output())),
        Some(code) if !expected.code.contains(&code) => {
            return Some(format!("exit code {code}\n{}\n{}", output(), shortened(&outcome.complained)));
        }
        Some(_) => {}
    }
    if let Some(text) = &expected.contains
        && !outcome.said.contains(text.as_str())
    {
        return Some(format!("does not show {text:?}\n{}", output()));
    }
    let pointer = expected.pointer.as_ref()?;
    let Some(value) = looked_at(pointer, &outcome.said) else {
        return Some(format!("shows nothing at {pointer}\n{}", output()));
    };
    let pointer = named(pointer);
    let text = plain(&value);
    if !expected.one_of.is_empty() && !expected.one_of.contains(&text) {
        return Some(format!("{pointer} is {text}, not {}\n{}", expected.one_of.join(" or "), output()));
    }
    let number = value.as_f64().or_else(|| text.parse().ok());
    let too_much = expected.at_most.filter(|bound| number.is_none_or(|number| number > *bound));
    let too_little = expected.at_least.filter(|bound| number.is_none_or(|number| number < *bound));
    match (too_much, too_little) {
        (Some(bound), _) => Some(format!("{pointer} is {text}, above {bound}")),
        (_, Some(bound)) => Some(format!("{pointer} is {text}, below {bound}")),
        (None, None) => None,
    }
}

/// The finding of a step that went well: the figure looked at, or the output.
fn shown(expected: &Expectation, outcome: &Outcome) -> String {
    let figure = expected.pointer.as_ref().and_then(|pointer| {
        Some(format!("{} is {}", named(pointer), plain(&looked_at(pointer, &outcome.said)?)))
    });
    figure.unwrap_or_else(|| shortened(&outcome.said))
}

/// The place looked at, as people call it; the empty pointer is the whole output.
fn named(pointer: &str) -> &str {
    if pointer.is_empty() { "the output" } else { pointer }
}

fn looked_at(pointer: &str, said: &str) -> Option<Value> {
    serde_json::from_str::<Value>(said).ok()?.pointer(pointer).cloned()
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn shortened(text: &str) -> String {
    let text = text.trim();
    let half = FINDING_CHARS_MAX / 2;
    if text.chars().count() <= FINDING_CHARS_MAX {
        return text.to_owned();
    }
    // What is wrong often stands at the end.
    let begin = text.char_indices().nth(half).map_or(text, |(end, _)| &text[..end]);
    let end = text.char_indices().rev().nth(half - 1).map_or("", |(begin, _)| &text[begin..]);
    format!("{begin}\n…\n{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(code: i32, said: &str) -> Outcome {
        Outcome { code: Some(code), said: said.to_owned(), complained: String::new() }
    }

    #[test]
    fn each_expectation_has_its_complaint() {
        let health = r#"{"status":"degraded","latency":12.5}"#;
        let of = |toml: &str, code, said| judge(&toml::from_str(toml).unwrap(), &outcome(code, said));
        for (expected, code, said, verdict, begins) in [
            ("", 0, "fine", Verdict::Well, "fine"),
            ("", 3, "a finding", Verdict::Attention, "exit code 3"),
            ("code = [0, 3]", 3, "a finding", Verdict::Well, "a finding"),
            ("contains = 'sound'", 0, "all sound", Verdict::Well, "all sound"),
            ("contains = 'sound'", 0, "damage", Verdict::Attention, "does not show \"sound\""),
            (
                "pointer = '/status'\none_of = ['healthy']",
                0,
                health,
                Verdict::Attention,
                "/status is degraded, not healthy",
            ),
            (
                "pointer = '/status'\none_of = ['healthy', 'degraded']",
                0,
                health,
                Verdict::Well,
                "/status is degraded",
            ),
            ("pointer = '/latency'\nat_most = 200.0", 0, health, Verdict::Well, "/latency is 12.5"),
            (
                "pointer = '/latency'\nat_most = 10.0",
                0,
                health,
                Verdict::Attention,
                "/latency is 12.5, above 10",
            ),
            (
                "pointer = '/latency'\nat_least = 20.0",
                0,
                health,
                Verdict::Attention,
                "/latency is 12.5, below 20",
            ),
            (
                "pointer = '/status'\nat_most = 1.0",
                0,
                health,
                Verdict::Attention,
                "/status is degraded, above 1",
            ),
            ("pointer = '/gone'", 0, health, Verdict::Attention, "shows nothing at /gone"),
            ("pointer = '/status'", 0, "no JSON", Verdict::Attention, "shows nothing at /status"),
        ] {
            let (actual, finding) = of(expected, code, said);
            assert_eq!(
                (actual, finding.starts_with(begins)),
                (verdict, true),
                "{expected} {said}: {finding}"
            );
        }
    }

    #[test]
    fn a_command_that_does_not_end_needs_attention() {
        let (verdict, finding) = judge(&Expectation::default(), &Outcome::default());
        assert_eq!(verdict, Verdict::Attention);
        assert!(finding.starts_with("did not end in time"));
    }

    #[test]
    fn a_long_output_is_shortened() {
        let (_, finding) = judge(&Expectation::default(), &outcome(0, &format!("{}end", "ä".repeat(9_000))));
        assert_eq!(finding.chars().count(), FINDING_CHARS_MAX + 3);
        assert!(finding.starts_with("ää") && finding.ends_with("end"));
    }

    #[test]
    fn a_step_is_not_begun_without_what_it_builds_on() {
        let step = |text: &str| toml::from_str::<Step>(&format!("title = 'x'\n{text}")).unwrap();
        let reading = step("run = 'q verify'\nneeds = ['Restore here', 'Restore there']");
        let changing = step("run = 'dropdb'\nneeds = ['Dump']\nchanges = true");
        for (step, taken, expected) in [
            (&reading, ("Restore here", Verdict::Well), None),
            (&reading, ("Restore there", Verdict::Skipped), Some("\"Restore there\", which was skipped")),
            // What went wrong shows best by itself.
            (&reading, ("Restore here", Verdict::Attention), None),
            // Neither way of restoring was for this engine.
            (&reading, ("Look", Verdict::Skipped), None),
            (&changing, ("Dump", Verdict::Well), None),
            (&changing, ("Dump", Verdict::Attention), Some("\"Dump\", which did not go well")),
        ] {
            let found = hindrance(step, &[taken]);
            let is_as_expected = match (&found, expected) {
                (Some(found), Some(expected)) => found.ends_with(expected),
                (found, expected) => found.is_none() && expected.is_none(),
            };
            assert!(is_as_expected, "{taken:?}: {found:?}");
        }
    }
}
