//! Which statement of a policy fails, and on what: for whoever is refused and has the policy anyway.

use std::fmt;

use ipld_core::ipld::Ipld;

use super::{Order, Policy, Statement, evaluate};
use crate::dag_json;

/// The longest that a value, a pattern or a statement is told, in characters.
const TOLD_CHARS_MAX: usize = 120;

/// A statement that does not hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Violation {
    /// The innermost one that decides.
    statement: Statement,
    /// What its selector finds; nothing where it finds nothing, or where the statement has none.
    given: Option<Ipld>,
}

impl Policy {
    /// The first statement that does not hold on `args`, if any: within an `and` the first of it.
    pub fn violation(&self, args: &Ipld) -> Option<Violation> {
        let statement = evaluate::first_failed(self.statements(), args)?.clone();
        let given = statement.selector().and_then(|selector| selector.resolve(args));
        // A member that is missing is found as null.
        let given = given.map(std::borrow::Cow::into_owned).filter(|given| *given != Ipld::Null);
        Some(Violation { statement, given })
    }
}

impl Violation {
    /// What the statement is about: `.amount`.
    pub fn selector(&self) -> Option<&str> {
        self.statement.selector().map(super::Selector::as_str)
    }

    /// Its operator.
    pub const fn operator(&self) -> &'static str {
        match &self.statement {
            Statement::Equal(..) => "==",
            Statement::NotEqual(..) => "!=",
            Statement::Compare(_, order, _) => order.as_str(),
            Statement::Like(..) => "like",
            Statement::Not(_) => "not",
            Statement::And(_) => "and",
            Statement::Or(_) => "or",
            Statement::All(..) => "all",
            Statement::Any(..) => "any",
        }
    }

    /// What it compares with, where that is one value.
    pub fn bound(&self) -> Option<Ipld> {
        match &self.statement {
            Statement::Equal(_, literal) | Statement::NotEqual(_, literal) => Some(literal.clone()),
            Statement::Compare(_, _, number) => Some(number.to_ipld()),
            Statement::Like(_, glob) => Some(Ipld::String(glob.as_str().to_owned())),
            _ => None,
        }
    }

    /// The value that does not satisfy it.
    pub const fn given(&self) -> Option<&Ipld> {
        self.given.as_ref()
    }

    /// How a number that is given stands to the bound of an order: `over` what it may be at most.
    pub const fn relation(&self) -> Option<&'static str> {
        match (&self.statement, &self.given) {
            (Statement::Compare(_, order, _), Some(Ipld::Integer(_) | Ipld::Float(_))) => Some(match order {
                Order::LessOrEqual => "over",
                Order::Less => "not under",
                Order::GreaterOrEqual => "under",
                Order::Greater => "not over",
            }),
            _ => None,
        }
    }

    /// The statement as it reads: `.amount <= 1000`.
    pub fn rule(&self) -> String {
        match (self.selector(), self.bound()) {
            (Some(selector), Some(bound)) => format!("{selector} {} {}", self.operator(), told(&bound)),
            _ => cut(&dag_json::to_json(&self.statement.to_ipld()).to_string()),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let field = match self.selector() {
            Some(".") | None => "what is asked for",
            Some(selector) => selector.trim_start_matches('.'),
        };
        let rule = self.rule();
        let (Some(given), Some(bound)) = (&self.given, self.bound()) else {
            return match self.selector() {
                Some(_) if self.given.is_none() => write!(f, "{field} is not given ({rule})"),
                _ => write!(f, "{field} is not as the delegation says ({rule})"),
            };
        };
        let (given, bound, is_text) = (told(given), told(&bound), matches!(given, Ipld::String(_)));
        match (&self.statement, self.relation()) {
            (_, Some(relation)) => {
                write!(f, "{field} {given} is {relation} the delegation's {bound} ({rule})")
            }
            (Statement::Compare(..), None) if is_text => {
                write!(f, "{field} {given} is a text, which no number bounds ({rule})")
            }
            (Statement::Compare(..), None) => write!(f, "{field} is no number ({rule})"),
            (Statement::NotEqual(..), _) => {
                write!(f, "{field} {given} is what the delegation excludes ({rule})")
            }
            (Statement::Like(..), _) => {
                write!(f, "{field} {given} is not like the delegation's {bound} ({rule})")
            }
            _ => write!(f, "{field} {given} is not the delegation's {bound} ({rule})"),
        }
    }
}

/// A value as it is told.
fn told(value: &Ipld) -> String {
    match value {
        Ipld::String(text) => cut(text),
        // Beyond what JSON numbers hold.
        Ipld::Integer(number) => number.to_string(),
        other => cut(&dag_json::to_json(other).to_string()),
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(TOLD_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
