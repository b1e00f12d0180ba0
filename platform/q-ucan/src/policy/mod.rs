//! The policy language: predicates on the arguments of an invocation (`ucan-wg/delegation`, "Policy").
//!
//! **Invariant:** evaluation never recurses deeper than [`DEPTH_MAX`] statements, never backtracks, and stops at a
//! step budget, whatever the policy and the arguments are.

mod evaluate;
mod glob;
mod selector;
mod violation;

use std::collections::BTreeMap;

use ipld_core::ipld::Ipld;

use crate::Refusal;
pub use glob::Glob;
pub use selector::Selector;
pub use violation::Violation;

/// The deepest nesting of statements.
pub const DEPTH_MAX: usize = 16;
/// The most statements in one policy.
pub const NODES_MAX: usize = 256;
/// The longest `like` pattern, in characters.
pub const PATTERN_CHARS_MAX: usize = 256;

/// A list of statements that must all hold.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Policy(Vec<Statement>);

/// One predicate.
#[derive(Debug, Clone, PartialEq)]
pub enum Statement {
    /// `==`: the selected value equals the literal, numbers by value.
    Equal(Selector, Ipld),
    /// `!=`: it does not.
    NotEqual(Selector, Ipld),
    /// `<`, `<=`, `>`, `>=` on numbers.
    Compare(Selector, Order, Number),
    /// `like`: a text matches a pattern with `*`.
    Like(Selector, Glob),
    /// `not`.
    Not(Box<Statement>),
    /// `and`: true when empty.
    And(Vec<Statement>),
    /// `or`: true when empty.
    Or(Vec<Statement>),
    /// `all`: the statement holds for every member of the selected collection.
    All(Selector, Box<Statement>),
    /// `any`: it holds for at least one, or the collection is empty.
    Any(Selector, Box<Statement>),
}

/// The four orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

/// A number of either IPLD kind, compared by value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number {
    /// An integer.
    Integer(i128),
    /// A finite float.
    Float(f64),
}

/// The policy may be signed by others, but not by us; the text says why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the policy is wider than it looks: {0}")]
pub struct Lint(pub &'static str);

impl Policy {
    /// The policy that pins one resource: `[["==", ".resource", resource]]`.
    pub fn pins_resource(resource: &str) -> Self {
        let selector = Selector::field("resource").expect("a plain field name is a selector");
        Self(vec![Statement::Equal(selector, Ipld::String(resource.to_owned()))])
    }

    /// The statements.
    pub fn statements(&self) -> &[Statement] {
        &self.0
    }

    /// Reads the claim `pol`.
    pub fn from_ipld(value: &Ipld) -> Result<Self, Refusal> {
        let Ipld::List(items) = value else {
            return Err(Refusal::Malformed("`pol` is a list of statements"));
        };
        let mut nodes_left = NODES_MAX;
        items.iter().map(|item| Statement::read(item, 1, &mut nodes_left)).collect::<Result<_, _>>().map(Self)
    }

    /// The claim `pol`.
    pub fn to_ipld(&self) -> Ipld {
        Ipld::List(self.0.iter().map(Statement::to_ipld).collect())
    }

    /// Whether every statement holds on `args`.
    pub fn check(&self, args: &Ipld) -> Result<(), Refusal> {
        if evaluate::holds(&self.0, args) { Ok(()) } else { Err(Refusal::MatchError) }
    }

    /// Refuses what is legal but looks narrower than it is: an empty `or`, and `any` or `all` (true when the
    /// collection is empty). For policies that we sign ourselves.
    pub fn lint(&self) -> Result<(), Lint> {
        self.0.iter().try_for_each(Statement::lint)
    }
}

impl Statement {
    fn read(value: &Ipld, depth: usize, nodes_left: &mut usize) -> Result<Self, Refusal> {
        if depth > DEPTH_MAX {
            return Err(Refusal::TooLarge("a policy nests at most 16 deep"));
        }
        *nodes_left =
            nodes_left.checked_sub(1).ok_or(Refusal::TooLarge("a policy has at most 256 statements"))?;
        let Ipld::List(parts) = value else {
            return Err(Refusal::Malformed("a statement is a list"));
        };
        match parts.as_slice() {
            [Ipld::String(operator), argument] => {
                Self::read_connective(operator, argument, depth, nodes_left)
            }
            [Ipld::String(operator), Ipld::String(selector), argument] => {
                let selector = selector.parse()?;
                Self::read_predicate(operator, selector, argument, depth, nodes_left)
            }
            _ => Err(Refusal::Malformed(
                "a statement is [operator, argument] or [operator, selector, argument]",
            )),
        }
    }

    fn read_connective(
        operator: &str,
        argument: &Ipld,
        depth: usize,
        nodes_left: &mut usize,
    ) -> Result<Self, Refusal> {
        if operator == "not" {
            return Ok(Self::Not(Box::new(Self::read(argument, depth + 1, nodes_left)?)));
        }
        let Ipld::List(items) = argument else {
            return Err(Refusal::Malformed("`and` and `or` take a list of statements"));
        };
        let statements =
            items.iter().map(|item| Self::read(item, depth + 1, nodes_left)).collect::<Result<_, _>>()?;
        match operator {
            "and" => Ok(Self::And(statements)),
            "or" => Ok(Self::Or(statements)),
            _ => Err(Refusal::Malformed("the operator is one of the policy language")),
        }
    }

    fn read_predicate(
        operator: &str,
        selector: Selector,
        argument: &Ipld,
        depth: usize,
        nodes_left: &mut usize,
    ) -> Result<Self, Refusal> {
        let order = match operator {
            "==" => return Ok(Self::Equal(selector, argument.clone())),
            "!=" => return Ok(Self::NotEqual(selector, argument.clone())),
            "like" => {
                let Ipld::String(pattern) = argument else {
                    return Err(Refusal::Malformed("`like` takes a pattern"));
                };
                return Ok(Self::Like(selector, pattern.parse()?));
            }
            "all" => return Ok(Self::All(selector, Box::new(Self::read(argument, depth + 1, nodes_left)?))),
            "any" => return Ok(Self::Any(selector, Box::new(Self::read(argument, depth + 1, nodes_left)?))),
            "<" => Order::Less,
            "<=" => Order::LessOrEqual,
            ">" => Order::Greater,
            ">=" => Order::GreaterOrEqual,
            _ => return Err(Refusal::Malformed("the operator is one of the policy language")),
        };
        let number = Number::read(argument).ok_or(Refusal::Malformed("an inequality takes a number"))?;
        Ok(Self::Compare(selector, order, number))
    }

    fn to_ipld(&self) -> Ipld {
        let text = |text: &str| Ipld::String(text.to_owned());
        let many = |statements: &[Self]| Ipld::List(statements.iter().map(Self::to_ipld).collect());
        Ipld::List(match self {
            Self::Equal(selector, value) => vec![text("=="), text(selector.as_str()), value.clone()],
            Self::NotEqual(selector, value) => vec![text("!="), text(selector.as_str()), value.clone()],
            Self::Compare(selector, order, number) => {
                vec![text(order.as_str()), text(selector.as_str()), number.to_ipld()]
            }
            Self::Like(selector, glob) => vec![text("like"), text(selector.as_str()), text(glob.as_str())],
            Self::Not(inner) => vec![text("not"), inner.to_ipld()],
            Self::And(inner) => vec![text("and"), many(inner)],
            Self::Or(inner) => vec![text("or"), many(inner)],
            Self::All(selector, inner) => vec![text("all"), text(selector.as_str()), inner.to_ipld()],
            Self::Any(selector, inner) => vec![text("any"), text(selector.as_str()), inner.to_ipld()],
        })
    }

    /// What it selects.
    const fn selector(&self) -> Option<&Selector> {
        match self {
            Self::Equal(selector, _)
            | Self::NotEqual(selector, _)
            | Self::Compare(selector, ..)
            | Self::Like(selector, _)
            | Self::All(selector, _)
            | Self::Any(selector, _) => Some(selector),
            Self::Not(_) | Self::And(_) | Self::Or(_) => None,
        }
    }

    fn lint(&self) -> Result<(), Lint> {
        match self {
            Self::Or(inner) if inner.is_empty() => Err(Lint("an empty `or` is true")),
            Self::Any(..) => Err(Lint("`any` over an empty collection is true")),
            Self::All(..) => Err(Lint("`all` over an empty collection is true")),
            Self::Not(inner) => inner.lint(),
            Self::And(inner) | Self::Or(inner) => inner.iter().try_for_each(Self::lint),
            Self::Equal(..) | Self::NotEqual(..) | Self::Compare(..) | Self::Like(..) => Ok(()),
        }
    }
}

impl Order {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        }
    }
}

impl Number {
    fn read(value: &Ipld) -> Option<Self> {
        match value {
            Ipld::Integer(number) => Some(Self::Integer(*number)),
            Ipld::Float(number) => Some(Self::Float(*number)),
            _ => None,
        }
    }

    fn to_ipld(self) -> Ipld {
        match self {
            Self::Integer(number) => Ipld::Integer(number),
            Self::Float(number) => Ipld::Float(number),
        }
    }
}

/// A map of arguments from plain pairs, for executors that compute them.
pub fn args<const N: usize>(members: [(&str, Ipld); N]) -> Ipld {
    Ipld::Map(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<BTreeMap<_, _>>())
}
