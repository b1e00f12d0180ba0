//! Evaluation with a budget of steps.

use std::cmp::Ordering;

use ipld_core::ipld::Ipld;

use super::{Number, Order, Statement};

/// How many steps (statements, members, 64-byte pieces of text) an evaluation may take.
const STEPS_MAX: u32 = 20_000;

/// The budget ran out; the answer is "no" however deep inside a `not` it happened.
struct Exhausted;

/// Whether all of `statements` hold on `args`.
pub(super) fn holds(statements: &[Statement], args: &Ipld) -> bool {
    let mut budget = Budget(STEPS_MAX);
    every(statements, args, &mut budget).unwrap_or(false)
}

/// The innermost statement that decides that not all of `statements` hold: an `and`, and an `or` of one, are followed into.
/// Where the budget runs out, the one on which it did.
pub(super) fn first_failed<'a>(statements: &'a [Statement], args: &Ipld) -> Option<&'a Statement> {
    let mut budget = Budget(STEPS_MAX);
    let mut fails = |statement: &&Statement| !evaluate(statement, args, &mut budget).unwrap_or(false);
    let mut failed = statements.iter().find(&mut fails)?;
    loop {
        let inner = match failed {
            Statement::And(inner) => inner.iter().find(&mut fails),
            Statement::Or(inner) if inner.len() == 1 => inner.first(),
            _ => None,
        };
        match inner {
            Some(inner) => failed = inner,
            None => return Some(failed),
        }
    }
}

struct Budget(u32);

impl Budget {
    fn spend(&mut self, steps: usize) -> Result<(), Exhausted> {
        let steps = u32::try_from(steps).map_err(|_| Exhausted)?;
        self.0 = self.0.checked_sub(steps).ok_or(Exhausted)?;
        Ok(())
    }
}

fn every(statements: &[Statement], value: &Ipld, budget: &mut Budget) -> Result<bool, Exhausted> {
    for statement in statements {
        if !evaluate(statement, value, budget)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn some(statements: &[Statement], value: &Ipld, budget: &mut Budget) -> Result<bool, Exhausted> {
    for statement in statements {
        if evaluate(statement, value, budget)? {
            return Ok(true);
        }
    }
    // The specification: an empty `or` is true.
    Ok(statements.is_empty())
}

fn evaluate(statement: &Statement, value: &Ipld, budget: &mut Budget) -> Result<bool, Exhausted> {
    budget.spend(1)?;
    match statement {
        Statement::Equal(selector, literal) => {
            let Some(found) = selector.resolve(value) else { return Ok(false) };
            equals(&found, literal, budget)
        }
        // The specification: the same as `not` of `==`.
        Statement::NotEqual(selector, literal) => match selector.resolve(value) {
            Some(found) => equals(&found, literal, budget).map(|is_equal| !is_equal),
            None => Ok(false),
        },
        Statement::Compare(selector, order, number) => {
            let found = selector.resolve(value).and_then(|found| Number::read(&found));
            Ok(found.and_then(|found| compare(found, *number)).is_some_and(|ordering| order.holds(ordering)))
        }
        Statement::Like(selector, glob) => match selector.resolve(value).as_deref() {
            Some(Ipld::String(text)) => {
                budget.spend(glob.runs() + text.len() / 64)?;
                Ok(glob.matches(text))
            }
            _ => Ok(false),
        },
        Statement::Not(inner) => evaluate(inner, value, budget).map(|is_true| !is_true),
        Statement::And(inner) => every(inner, value, budget),
        Statement::Or(inner) => some(inner, value, budget),
        Statement::All(selector, inner) => {
            let Some(found) = selector.resolve(value) else { return Ok(false) };
            let Some(mut members) = members(&found) else { return Ok(false) };
            members.try_fold(true, |so_far, member| Ok(so_far && evaluate(inner, member, budget)?))
        }
        Statement::Any(selector, inner) => {
            let Some(found) = selector.resolve(value) else { return Ok(false) };
            let Some(mut members) = members(&found) else { return Ok(false) };
            let is_empty = members.size_hint().0 == 0;
            members.try_fold(is_empty, |so_far, member| Ok(so_far || evaluate(inner, member, budget)?))
        }
    }
}

/// The members of a collection; `None` for anything that is not one.
fn members(value: &Ipld) -> Option<Box<dyn Iterator<Item = &Ipld> + '_>> {
    match value {
        Ipld::List(items) => Some(Box::new(items.iter())),
        Ipld::Map(members) => Some(Box::new(members.values())),
        _ => None,
    }
}

/// Deep equality, numbers by value: `1 == 1.0`.
fn equals(left: &Ipld, right: &Ipld, budget: &mut Budget) -> Result<bool, Exhausted> {
    budget.spend(1)?;
    match (left, right) {
        (Ipld::List(left), Ipld::List(right)) => {
            if left.len() != right.len() {
                return Ok(false);
            }
            left.iter()
                .zip(right)
                .try_fold(true, |so_far, (left, right)| Ok(so_far && equals(left, right, budget)?))
        }
        (Ipld::Map(left), Ipld::Map(right)) => {
            if left.len() != right.len() {
                return Ok(false);
            }
            left.iter().zip(right).try_fold(true, |so_far, ((left_key, left), (right_key, right))| {
                Ok(so_far && left_key == right_key && equals(left, right, budget)?)
            })
        }
        _ => match (Number::read(left), Number::read(right)) {
            (Some(left), Some(right)) => Ok(compare(left, right) == Some(Ordering::Equal)),
            _ => Ok(left == right),
        },
    }
}

/// Compares by value and exactly; nothing compares with a number that is not one.
fn compare(left: Number, right: Number) -> Option<Ordering> {
    match (left, right) {
        (Number::Integer(left), Number::Integer(right)) => Some(left.cmp(&right)),
        (Number::Float(left), Number::Float(right)) => left.partial_cmp(&right),
        (Number::Integer(left), Number::Float(right)) => compare_mixed(left, right),
        (Number::Float(left), Number::Integer(right)) => compare_mixed(right, left).map(Ordering::reverse),
    }
}

/// An integer against a float, without rounding the integer.
fn compare_mixed(integer: i128, float: f64) -> Option<Ordering> {
    /// 2^126: beyond it every float is greater than every integer a token may hold.
    const FAR: f64 = 8.507_059_173_023_462e37;
    if float.is_nan() {
        return None;
    }
    if float >= FAR {
        return Some(Ordering::Less);
    }
    if float <= -FAR {
        return Some(Ordering::Greater);
    }
    let floor = float.floor();
    #[expect(clippy::cast_possible_truncation, reason = "a whole number within ±2^126 fits exactly")]
    let whole = floor as i128;
    Some(match integer.cmp(&whole) {
        Ordering::Equal if float > floor => Ordering::Less,
        ordering => ordering,
    })
}

impl Order {
    fn holds(self, ordering: Ordering) -> bool {
        match self {
            Self::Less => ordering.is_lt(),
            Self::LessOrEqual => ordering.is_le(),
            Self::Greater => ordering.is_gt(),
            Self::GreaterOrEqual => ordering.is_ge(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_compare_by_value_without_rounding() {
        let big = (1_i128 << 53) + 1;
        for (integer, float, expected) in [
            (1, 1.0, Some(Ordering::Equal)),
            (1, 1.5, Some(Ordering::Less)),
            (-1, -1.5, Some(Ordering::Greater)),
            (big, 9_007_199_254_740_992.0, Some(Ordering::Greater)),
            (0, -0.0, Some(Ordering::Equal)),
            (i128::MAX, f64::MAX, Some(Ordering::Less)),
            (0, f64::NAN, None),
        ] {
            assert_eq!(compare_mixed(integer, float), expected, "{integer} and {float}");
        }
    }
}
