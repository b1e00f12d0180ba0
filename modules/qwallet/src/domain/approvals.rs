//! Which payments of a wallet others have to approve, and whether enough of them did.
//!
//! **Invariant:** whoever pays never counts as an approver, and a rule never becomes weaker at once unless as many
//! approvers agree as a payment needs.

use std::collections::BTreeSet;

use q_core::{Amount, Did, Timestamp};
use qwallet_api::{APPROVERS_MAX, ApprovalRule, Threshold};

use super::{
    currency::{AmountRefusal, Currency, CurrencyId},
    limits::RAISE_DELAY,
    payment::Refusal,
};

/// What has to be approved, by how many of whom.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rule {
    required: u8,
    approvers: BTreeSet<Did>,
    above: Vec<(CurrencyId, Amount)>,
}

/// What is wrong with a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleFault {
    /// Its form, or an amount.
    Refused(Refusal),
    /// The owner is among the approvers.
    Oneself,
}

impl Rule {
    /// Reads a rule for the wallet of `owner`.
    pub fn read(rule: &ApprovalRule, owner: &Did) -> Result<Self, RuleFault> {
        let malformed = |field| Err(RuleFault::Refused(Refusal::Malformed(field)));
        let approvers: BTreeSet<Did> = rule.approvers.iter().cloned().collect();
        if approvers.len() != rule.approvers.len() || approvers.len() > APPROVERS_MAX {
            return malformed("rule.approvers");
        }
        if approvers.contains(owner) {
            return Err(RuleFault::Oneself);
        }
        // All three say something, or none does.
        let is_none = approvers.is_empty() && rule.above.is_empty() && rule.required == 0;
        let is_whole =
            !rule.above.is_empty() && rule.required > 0 && usize::from(rule.required) <= approvers.len();
        if !is_none && !is_whole {
            return malformed("rule.required");
        }
        let mut above: Vec<(CurrencyId, Amount)> = Vec::new();
        for threshold in &rule.above {
            let (currency, amount) = read_threshold(threshold).map_err(RuleFault::Refused)?;
            if above.iter().any(|(known, _)| *known == currency) {
                return malformed("rule.above");
            }
            above.push((currency, amount));
        }
        above.sort_unstable();
        Ok(Self { required: rule.required, approvers, above })
    }

    /// The rule on the wire, and in the store.
    pub fn to_wire(&self) -> ApprovalRule {
        let above = self.above.iter().filter_map(|(currency, amount)| {
            let currency = Currency::by_id(*currency)?;
            Some(Threshold { amount: currency.text(*amount), currency: currency.code.to_owned() })
        });
        ApprovalRule {
            above: above.collect(),
            approvers: self.approvers.iter().cloned().collect(),
            required: self.required,
        }
    }

    /// Whether paying so much has to be approved.
    pub fn concerns(&self, currency: CurrencyId, amount: Amount) -> bool {
        self.above(currency).is_some_and(|above| amount > above)
    }

    /// How many have to approve.
    pub const fn required(&self) -> u8 {
        self.required
    }

    /// Who may.
    pub const fn approvers(&self) -> &BTreeSet<Did> {
        &self.approvers
    }

    /// How many of `by` are approvers.
    pub fn count<'a>(&self, by: impl IntoIterator<Item = &'a Did>) -> u8 {
        let counted = by.into_iter().filter(|did| self.approvers.contains(*did)).count();
        u8::try_from(counted).unwrap_or(u8::MAX)
    }

    /// Whether so many rejections leave too few who could approve.
    pub fn is_out_of_reach(&self, rejected: u8) -> bool {
        self.approvers.len() < usize::from(self.required) + usize::from(rejected)
    }

    /// Whether nothing that `other` keeps from being paid could be paid under this rule: as many or more of the same or
    /// fewer approvers, above the same or lower amounts.
    pub fn is_no_weaker_than(&self, other: &Self) -> bool {
        let covers = |(currency, theirs): &(CurrencyId, Amount)| {
            self.above(*currency).is_some_and(|ours| ours <= *theirs)
        };
        other.above.is_empty()
            || (self.required >= other.required
                && self.approvers.is_subset(&other.approvers)
                && other.above.iter().all(covers))
    }

    fn above(&self, currency: CurrencyId) -> Option<Amount> {
        self.above.iter().find(|(of, _)| *of == currency).map(|(_, above)| *above)
    }
}

fn read_threshold(threshold: &Threshold) -> Result<(CurrencyId, Amount), Refusal> {
    threshold.amount.check_form().map_err(Refusal::AmountForm)?;
    let currency = Currency::find(&threshold.currency).ok_or(Refusal::CurrencyUnsupported)?;
    let amount = threshold.amount.parse(currency.scale);
    let amount = amount.map_err(|fault| Refusal::from(AmountRefusal::Text(fault)).of(currency))?;
    Ok((currency.id, amount))
}

/// The rule of a wallet and what will replace it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules {
    /// How often it was changed.
    pub version: u32,
    /// What holds until the pending one does.
    pub present: Rule,
    /// A weaker one, and from when on it holds.
    pub pending: Option<(Rule, Timestamp)>,
}

impl Rules {
    /// What holds at `now`.
    pub fn at(&self, now: Timestamp) -> &Rule {
        match &self.pending {
            Some((rule, from)) if *from <= now => rule,
            _ => &self.present,
        }
    }

    /// The rules after the owner asked for `wanted` at `now`, which so many present approvers signed: at once if it is
    /// no weaker or they are enough, otherwise after [`RAISE_DELAY`].
    #[must_use]
    pub fn changed(&self, wanted: Rule, signed: u8, now: Timestamp) -> Self {
        let present = self.at(now).clone();
        let version = self.version + 1;
        let is_agreed = present.required > 0 && signed >= present.required;
        if is_agreed || wanted.is_no_weaker_than(&present) {
            return Self { version, present: wanted, pending: None };
        }
        // Asking for the same again does not begin the wait anew.
        let asked = self.pending.as_ref().filter(|(rule, from)| *rule == wanted && *from > now);
        let from = asked.map_or(now + RAISE_DELAY, |(_, from)| *from);
        Self { version, present, pending: Some((wanted, from)) }
    }

    /// Everybody who approves now or soon.
    pub fn everybody(&self) -> BTreeSet<&Did> {
        let pending = self.pending.iter().flat_map(|(rule, _)| &rule.approvers);
        self.present.approvers.iter().chain(pending).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn did(name: &str) -> Did {
        format!("did:key:z{name}").parse().unwrap()
    }

    fn rule(required: u8, approvers: &[&str], above: &[(&str, &str)]) -> ApprovalRule {
        let threshold = |(amount, currency): &(&str, &str)| Threshold {
            amount: (*amount).into(),
            currency: (*currency).into(),
        };
        ApprovalRule {
            above: above.iter().map(threshold).collect(),
            approvers: approvers.iter().map(|name| did(name)).collect(),
            required,
        }
    }

    fn read(required: u8, approvers: &[&str], above: &[(&str, &str)]) -> Rule {
        Rule::read(&rule(required, approvers, above), &did("Owner")).unwrap()
    }

    #[test]
    fn a_rule_says_all_or_nothing_and_never_names_the_owner() {
        let owner = did("Owner");
        let faults = [
            (rule(0, &["A"], &[("5", "QToken")]), RuleFault::Refused(Refusal::Malformed("rule.required"))),
            (rule(2, &["A"], &[("5", "QToken")]), RuleFault::Refused(Refusal::Malformed("rule.required"))),
            (rule(1, &["A"], &[]), RuleFault::Refused(Refusal::Malformed("rule.required"))),
            (
                rule(1, &["A", "A"], &[("5", "QToken")]),
                RuleFault::Refused(Refusal::Malformed("rule.approvers")),
            ),
            (
                rule(1, &["A"], &[("5", "PI"), ("6", "PI")]),
                RuleFault::Refused(Refusal::Malformed("rule.above")),
            ),
            (rule(1, &["A"], &[("5", "EUR")]), RuleFault::Refused(Refusal::CurrencyUnsupported)),
            (rule(1, &["A", "Owner"], &[("5", "QToken")]), RuleFault::Oneself),
        ];
        for (rule, fault) in faults {
            assert_eq!(Rule::read(&rule, &owner), Err(fault), "{rule:?}");
        }
        let good = rule(1, &["A", "B"], &[("5", "QToken")]);
        assert_eq!(Rule::read(&good, &owner).unwrap().to_wire(), good);
        assert_eq!(Rule::read(&rule(0, &[], &[]), &owner), Ok(Rule::default()));
    }

    #[test]
    fn weaker_is_fewer_or_other_approvers_or_a_higher_amount() {
        let old = read(2, &["A", "B", "C"], &[("100", "QToken")]);
        for (stronger, is) in [
            (read(2, &["A", "B", "C"], &[("100", "QToken")]), true),
            (read(3, &["A", "B", "C"], &[("100", "QToken"), ("1", "PI")]), true),
            (read(2, &["A", "B"], &[("0", "QToken")]), true),
            (read(1, &["A", "B", "C"], &[("100", "QToken")]), false),
            (read(2, &["A", "B", "D"], &[("100", "QToken")]), false),
            (read(2, &["A", "B", "C", "D"], &[("100", "QToken")]), false),
            (read(2, &["A", "B", "C"], &[("100.1", "QToken")]), false),
            (read(2, &["A", "B", "C"], &[("100", "PI")]), false),
            (Rule::default(), false),
        ] {
            assert_eq!(stronger.is_no_weaker_than(&old), is, "{stronger:?}");
        }
        assert!(read(1, &["D"], &[("9", "PI")]).is_no_weaker_than(&Rule::default()));
    }

    #[test]
    fn a_weaker_rule_waits_a_day_or_for_the_approvers() {
        let now = Timestamp::from_seconds(1_000);
        let day = now + RAISE_DELAY;
        let strong = read(2, &["A", "B"], &[("100", "QToken")]);
        let weak = read(1, &["A", "B"], &[("100", "QToken")]);
        let rules = Rules::default().changed(strong.clone(), 0, now);
        assert_eq!((rules.at(now), rules.version), (&strong, 1));
        for signed in [0, 1] {
            let asked = rules.changed(weak.clone(), signed, now);
            let before = Timestamp::from_micros(day.micros() - 1);
            assert_eq!((asked.at(before), asked.at(day)), (&strong, &weak));
            let again = asked.changed(weak.clone(), 0, before);
            assert_eq!(again.at(day), &weak, "asking again does not wait anew");
            let stronger = asked.changed(strong.clone(), 0, before);
            assert_eq!(stronger.at(day), &strong, "what is asked for last holds");
        }
        assert_eq!(rules.changed(weak.clone(), 2, now).at(now), &weak);
        assert_eq!(rules.changed(Rule::default(), 2, now).at(now), &Rule::default());
    }

    #[test]
    fn enough_rejections_end_it() {
        let rule = read(2, &["A", "B", "C"], &[("100", "QToken")]);
        assert_eq!([0, 1, 2].map(|rejected| rule.is_out_of_reach(rejected)), [false, false, true]);
        assert_eq!(rule.count([&did("A"), &did("X"), &did("C")]), 2);
    }
}
