//! Selectors: paths into the arguments (`ucan-wg/delegation`, "Selectors").

use std::{borrow::Cow, str::FromStr};

use ipld_core::ipld::Ipld;

use crate::Refusal;

/// The longest selector, in bytes.
const SELECTOR_BYTES_MAX: usize = 256;

/// A checked path such as `.to[0].email?`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    text: String,
    steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Step {
    kind: StepKind,
    /// Whether failing gives null instead.
    is_optional: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum StepKind {
    Field(String),
    Index(i64),
    Slice(Option<i64>, Option<i64>),
    Values,
}

impl Selector {
    /// The selector of one plain field.
    pub fn field(name: &str) -> Result<Self, Refusal> {
        format!(".{name}").parse()
    }

    /// The selector as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The value at the path; `None` when the path cannot be followed.
    ///
    /// A key missing from a map gives null, as the specification asks; a step into anything that has no such place
    /// fails.
    pub fn resolve<'a>(&self, value: &'a Ipld) -> Option<Cow<'a, Ipld>> {
        let mut at = Cow::Borrowed(value);
        for step in &self.steps {
            let next = match at {
                Cow::Borrowed(value) => step.kind.take(value),
                Cow::Owned(value) => step.kind.take(&value).map(|found| Cow::Owned(found.into_owned())),
            };
            at = match next {
                Some(found) => found,
                None if step.is_optional => Cow::Owned(Ipld::Null),
                None => return None,
            };
        }
        Some(at)
    }
}

impl StepKind {
    fn take<'a>(&self, value: &'a Ipld) -> Option<Cow<'a, Ipld>> {
        match (self, value) {
            (Self::Field(name), Ipld::Map(members)) => {
                Some(members.get(name).map_or(Cow::Owned(Ipld::Null), Cow::Borrowed))
            }
            (Self::Index(index), Ipld::List(items)) => {
                place(*index, items.len()).and_then(|at| items.get(at)).map(Cow::Borrowed)
            }
            (Self::Index(index), Ipld::Bytes(bytes)) => place(*index, bytes.len())
                .and_then(|at| bytes.get(at))
                .map(|byte| Cow::Owned(Ipld::Integer((*byte).into()))),
            (Self::Slice(from, to), Ipld::List(items)) => {
                Some(Cow::Owned(Ipld::List(items[range(*from, *to, items.len())].to_vec())))
            }
            (Self::Slice(from, to), Ipld::Bytes(bytes)) => {
                Some(Cow::Owned(Ipld::Bytes(bytes[range(*from, *to, bytes.len())].to_vec())))
            }
            (Self::Values, Ipld::List(_)) => Some(Cow::Borrowed(value)),
            (Self::Values, Ipld::Map(members)) => {
                Some(Cow::Owned(Ipld::List(members.values().cloned().collect())))
            }
            _ => None,
        }
    }
}

/// The place an index means; negative ones count from the end.
fn place(index: i64, length: usize) -> Option<usize> {
    if index >= 0 {
        usize::try_from(index).ok()
    } else {
        length.checked_sub(usize::try_from(index.unsigned_abs()).ok()?)
    }
}

/// The range a slice means, cut to what there is.
fn range(from: Option<i64>, to: Option<i64>, length: usize) -> std::ops::Range<usize> {
    let cut = |bound: i64| match usize::try_from(bound.unsigned_abs()) {
        Ok(distance) if bound < 0 => length.saturating_sub(distance),
        Ok(distance) => distance.min(length),
        Err(_) if bound < 0 => 0,
        Err(_) => length,
    };
    let from = from.map_or(0, cut);
    let to = to.map_or(length, cut);
    from..to.max(from)
}

impl FromStr for Selector {
    type Err = Refusal;
    fn from_str(text: &str) -> Result<Self, Refusal> {
        let refused = Refusal::Malformed("a selector is a path such as .to[0].email?");
        if text.len() > SELECTOR_BYTES_MAX {
            return Err(Refusal::TooLarge("a selector has at most 256 bytes"));
        }
        let mut steps = Vec::new();
        let mut rest = text.strip_prefix('.').ok_or(refused)?;
        let mut may_name_field = true;
        while !rest.is_empty() {
            let (kind, after) = if rest.starts_with('[') {
                bracket(rest).ok_or(refused)?
            } else if may_name_field {
                let (name, after) = field(rest).ok_or(refused)?;
                (StepKind::Field(name.to_owned()), after)
            } else {
                return Err(refused);
            };
            // Repeated question marks are one.
            let after_marks = after.trim_start_matches('?');
            steps.push(Step { kind, is_optional: after_marks.len() < after.len() });
            rest = after_marks.strip_prefix('.').unwrap_or(after_marks);
            may_name_field = rest.len() < after_marks.len();
            if may_name_field && rest.is_empty() {
                return Err(refused);
            }
        }
        Ok(Self { text: text.to_owned(), steps })
    }
}

/// Reads a plain field name.
fn field(text: &str) -> Option<(&str, &str)> {
    let is_name = |character: char| character.is_ascii_alphanumeric() || character == '_';
    let end = text.find(|character| !is_name(character)).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let starts_well = name.chars().next().is_some_and(|first| !first.is_ascii_digit());
    starts_well.then_some((name, rest))
}

/// Reads `["key"]`, `[0]`, `[1:2]` or `[]`.
fn bracket(text: &str) -> Option<(StepKind, &str)> {
    let inner = text.strip_prefix('[')?;
    if let Some(quoted) = inner.strip_prefix('"') {
        let (key, rest) = unquote(quoted)?;
        return Some((StepKind::Field(key), rest.strip_prefix(']')?));
    }
    let (inside, rest) = inner.split_once(']')?;
    let kind = match inside.split_once(':') {
        None if inside.is_empty() => StepKind::Values,
        None => StepKind::Index(index(inside)?),
        Some(("", "")) => return None,
        Some((from, to)) => StepKind::Slice(bound(from)?, bound(to)?),
    };
    Some((kind, rest))
}

/// Reads up to the closing quote; `\"` and `\\` are the only escapes.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut key = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((key, &text[at + 1..])),
            '\\' => {
                key.push(
                    characters.next().map(|(_, escaped)| escaped).filter(|next| "\"\\".contains(*next))?,
                );
            }
            other => key.push(other),
        }
    }
    None
}

#[expect(clippy::option_option, reason = "outer: is it a bound at all; inner: is it given")]
fn bound(text: &str) -> Option<Option<i64>> {
    if text.is_empty() { Some(None) } else { index(text).map(Some) }
}

fn index(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::args;

    fn mail() -> Ipld {
        let text = |text: &str| Ipld::String(text.to_owned());
        args([
            ("title", text("Meeting")),
            ("to", Ipld::List(vec![text("bob"), text("carol"), text("dan")])),
            ("raw", Ipld::Bytes(vec![0xd6, 0xa9, 0xc1, 0x8c])),
            ("$_*", args([("x", Ipld::Integer(1)), ("y", Ipld::Integer(2))])),
        ])
    }

    #[test]
    fn follows_paths_as_the_specification_lists_them() {
        let text = |text: &str| Some(Ipld::String(text.to_owned()));
        for (path, expected) in [
            (".", Some(mail())),
            (".title", text("Meeting")),
            (".to[1]", text("carol")),
            (".to[-1]", text("dan")),
            (".to[99]?", Some(Ipld::Null)),
            (".to[99]", None),
            (".to[-4]", None),
            (".to[1:]", Some(Ipld::List(vec![text("carol").unwrap(), text("dan").unwrap()]))),
            (".to[-99:99][0]", text("bob")),
            (".to[2:1]", Some(Ipld::List(vec![]))),
            (".raw[3]", Some(Ipld::Integer(140))),
            (".missing", Some(Ipld::Null)),
            (".missing.deeper", None),
            (".missing?.deeper??", Some(Ipld::Null)),
            (".title.deeper", None),
            (".[\"$_*\"].x", Some(Ipld::Integer(1))),
            (".[\"$_*\"][]", Some(Ipld::List(vec![Ipld::Integer(1), Ipld::Integer(2)]))),
        ] {
            let selector: Selector = path.parse().unwrap();
            assert_eq!(selector.resolve(&mail()).map(Cow::into_owned), expected, "{path}");
        }
    }

    #[test]
    fn refuses_what_is_not_a_path() {
        for path in [
            "", "a", "..", ".a..b", ".a.", ".[", ".[\"a]", ".[1", ".[a]", ".[+1]", ".[:]", ".a b", ".1",
            ".a-b", "[0]", "?", ".?x",
        ] {
            assert!(path.parse::<Selector>().is_err(), "{path}");
        }
    }
}
