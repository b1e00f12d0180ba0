//! One page for one cause: what belongs together, and what only follows from something else.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Phase, Rule, Signal};

/// An alert that is pending or firing, as grouping sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Active<'a> {
    /// Its rule.
    pub rule: &'a Rule,
    /// The module.
    pub module: &'a str,
    /// Where it stands.
    pub phase: Phase,
    /// What the module says is behind it, such as `store` or `no answer`.
    pub cause: Option<&'a str>,
}

impl Active<'_> {
    /// The group it belongs to. Modules that fail for the same cause, such as a store they share or a process that is
    /// gone, are one group; everything else of a module is one group, urgent and not urgent apart.
    pub fn group(&self) -> String {
        match (self.rule.signal, self.cause) {
            (Signal::HealthFailing, Some(cause)) => format!("health: {cause}"),
            // Modules of one process, and of one host, show the same figure.
            (Signal::ClockJump, _) => "clock".to_owned(),
            (Signal::Memory, _) => "memory".to_owned(),
            (Signal::Disk, _) => "disk".to_owned(),
            _ => format!("{}: {}", self.module, self.rule.severity.name()),
        }
    }

    fn is_down(&self) -> bool {
        self.rule.signal == Signal::HealthFailing && self.phase != Phase::Inactive
    }
}

/// Which module needs which.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dependencies(BTreeMap<String, BTreeSet<String>>);

impl Dependencies {
    /// Notes that `module` needs each of `needed`.
    pub fn set(&mut self, module: &str, needed: impl IntoIterator<Item = String>) {
        self.0.insert(module.to_owned(), needed.into_iter().filter(|other| other != module).collect());
    }

    /// Whether `module` needs `other`, directly or through others.
    pub fn needs(&self, module: &str, other: &str) -> bool {
        let mut seen = BTreeSet::from([module]);
        let mut open = vec![module];
        while let Some(at) = open.pop() {
            for next in self.0.get(at).into_iter().flatten() {
                if next == other {
                    return true;
                }
                if seen.insert(next) {
                    open.push(next);
                }
            }
        }
        false
    }
}

/// The module whose failing explains `alert`, so that `alert` by itself tells nobody, and where that failing stands.
///
/// A module that is down explains everything else about itself. A module that is down, or about to be found so, explains
/// whatever is wrong with those that need it, and its own use of budgets; two that need each other explain nothing, or
/// both would keep silent. Damage, clocks and what is not about serving are explained by nothing.
pub fn explained<'a>(
    alert: &Active<'_>,
    all: &[Active<'a>],
    dependencies: &Dependencies,
) -> Option<(&'a str, Phase)> {
    let signal = alert.rule.signal;
    if matches!(signal, Signal::Findings | Signal::ClockJump | Signal::BackupAge | Signal::KeyAge) {
        return None;
    }
    let explains = |(other, phase): &(&str, Phase)| {
        let is_certain = matches!(phase, Phase::Firing { .. });
        let is_itself = *other == alert.module
            && signal != Signal::HealthFailing
            && (is_certain || matches!(signal, Signal::Burn { .. }));
        is_itself || dependencies.needs(alert.module, other) && !dependencies.needs(other, alert.module)
    };
    all.iter().filter(|other| other.is_down()).map(|other| (other.module, other.phase)).find(explains)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules;
    use q_core::Timestamp;

    const FIRING: Phase = Phase::Firing { since: Timestamp::from_seconds(0), calm: None };
    const PENDING: Phase = Phase::Pending { since: Timestamp::from_seconds(0) };

    fn dependencies() -> Dependencies {
        let mut dependencies = Dependencies::default();
        for (module, needed) in [
            ("shop", vec!["keys", "people"]),
            ("keys", vec!["people"]),
            ("people", vec!["keys"]),
            ("till", vec!["shop"]),
        ] {
            dependencies.set(module, needed.into_iter().map(str::to_owned));
        }
        dependencies
    }

    #[test]
    fn what_follows_from_a_dependency_tells_nobody() {
        let rules = rules();
        let rule = |id: &str| rules.iter().find(|rule| rule.id == id).unwrap();
        let active = |id, module, phase| Active { rule: rule(id), module, phase, cause: None };
        for (alert, down, phase, expected) in [
            ("error_rate", "shop", FIRING, None),         // nobody it needs is down
            ("error_rate", "keys", FIRING, Some("keys")), // directly
            ("health_failing", "keys", FIRING, Some("keys")), // its own health as well
            ("health_failing", "keys", PENDING, Some("keys")), // about to be found down
            ("health_failing", "keys", Phase::Inactive, None), // well again
            ("health_failing", "till", FIRING, None),     // the other way round
            ("verification_failed", "keys", FIRING, None), // damage is never explained
        ] {
            let expected = if alert == "error_rate" && down == "shop" { Some("shop") } else { expected };
            let all = [active("health_failing", down, phase), active(alert, "shop", FIRING)];
            assert_eq!(
                explained(&all[1], &all, &dependencies()).map(|(module, _)| module),
                expected,
                "{alert} while {down} is {phase:?}"
            );
        }
        // Through another, and two that need each other.
        let all = [active("health_failing", "people", FIRING), active("error_rate", "till", FIRING)];
        assert_eq!(explained(&all[1], &all, &dependencies()), Some(("people", FIRING)));
        let all = [active("health_failing", "people", FIRING), active("health_failing", "keys", FIRING)];
        assert_eq!(explained(&all[0], &all, &dependencies()), None);
        assert_eq!(explained(&all[1], &all, &dependencies()), None);
    }

    #[test]
    fn a_module_about_to_be_found_down_explains_its_budget_and_nothing_else_of_itself() {
        let rules = rules();
        let rule = |id: &str| rules.iter().find(|rule| rule.id == id).unwrap();
        let active = |id, phase| Active { rule: rule(id), module: "shop", phase, cause: None };
        for (id, phase, expected) in [
            ("budget_burn_fast", PENDING, true),
            ("budget_burn_fast", FIRING, true),
            ("error_rate", PENDING, false),
            ("error_rate", FIRING, true),
        ] {
            let all = [active("health_failing", phase), active(id, FIRING)];
            assert_eq!(explained(&all[1], &all, &dependencies()).is_some(), expected, "{id} {phase:?}");
        }
    }

    #[test]
    fn one_cause_is_one_group() {
        let rules = rules();
        let rule = |id: &str| rules.iter().find(|rule| rule.id == id).unwrap();
        let group = |id, module, cause| Active { rule: rule(id), module, phase: FIRING, cause }.group();
        assert_eq!(group("health_failing", "a", Some("store")), group("health_failing", "b", Some("store")));
        assert_ne!(
            group("health_failing", "a", Some("store")),
            group("health_failing", "a", Some("no answer"))
        );
        assert_eq!(group("error_rate", "a", None), group("latency_p99", "a", None));
        assert_ne!(group("error_rate", "a", None), group("error_rate", "b", None));
        assert_ne!(group("error_rate", "a", None), group("backup_age", "a", None));
    }
}
