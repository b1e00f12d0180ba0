//! Deciding: which alert fires, which page it belongs to, who is told now. Pure, so that it can run twice.

use std::collections::BTreeMap;

use q_core::{Env, Timestamp};
use q_ops_api::watch::{AlertId, PageId};
use q_slo::{
    Ladder, Phase, Policy, Rule, Signal, Step, Turn, advance,
    group::{Active, Dependencies, explained},
};
use serde::{Deserialize, Serialize};

/// Rule, module, class.
pub type Key = (String, String, String);

/// What a rule read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reading {
    /// The figure; `None` when it is not known.
    pub value: Option<f64>,
    /// What the module says is behind it.
    pub cause: Option<String>,
}

/// Where one rule stands with one module.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Standing {
    /// Pending or firing.
    pub phase: Phase,
    /// The newest figure.
    pub value: f64,
    /// The worst since it is wrong.
    pub peak: f64,
    /// What the module says is behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// The alert, since it fires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alert: Option<AlertId>,
    /// The page it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<PageId>,
    /// Why nobody is told of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet: Option<String>,
    /// Whether what explains it was told itself.
    #[serde(default)]
    pub is_told: bool,
}

/// A page that is not over.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenPage {
    /// Its id.
    pub id: PageId,
    /// The group it is about.
    pub name: String,
    /// How far it has climbed.
    pub ladder: Ladder,
}

/// Everything that is wrong, and who knows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Board {
    /// What is pending or firing.
    pub standings: BTreeMap<Key, Standing>,
    /// The pages that are not over.
    pub pages: Vec<OpenPage>,
}

/// Something that is to be kept and told.
#[derive(Debug, Clone, PartialEq)]
pub enum Happening {
    /// An alert began to fire.
    Fired(Key),
    /// An alert ended; how it stood before.
    Resolved(Key, Standing),
    /// A page was opened for an alert.
    Opened(PageId, Key),
    /// An alert belongs to an open page.
    Joined(PageId, Key),
    /// A page is over.
    Over(PageId),
    /// Somebody is to be told.
    Told(PageId, Step),
}

/// What decides besides the board.
pub struct Situation<'a> {
    /// The rules.
    pub rules: &'a [Rule],
    /// What they read: each rule of everything that is watched.
    pub readings: &'a BTreeMap<Key, Reading>,
    /// Which module needs which.
    pub dependencies: &'a Dependencies,
    /// Whether announced maintenance holds a module.
    pub is_held: &'a dyn Fn(&str) -> bool,
    /// When who is told.
    pub policy: &'a Policy,
    /// For ids.
    pub env: &'a Env,
}

impl Board {
    /// Takes in what was read at `now`.
    pub fn decide(&mut self, situation: &Situation<'_>, now: Timestamp) -> Vec<Happening> {
        let mut happenings = Vec::new();
        self.advance(situation, now, &mut happenings);
        self.page(situation, now, &mut happenings);
        self.climb(situation, now, &mut happenings);
        happenings
    }

    /// Ends an alert by hand.
    pub fn end(&mut self, alert: AlertId) -> Option<Happening> {
        let key = self.standings.iter().find(|(_, standing)| standing.alert == Some(alert))?.0.clone();
        let standing = self.standings.remove(&key)?;
        Some(Happening::Resolved(key, standing))
    }

    /// Every rule takes a step.
    fn advance(&mut self, situation: &Situation<'_>, now: Timestamp, happenings: &mut Vec<Happening>) {
        let gone = |key: &&Key| !situation.readings.contains_key(*key);
        let gone: Vec<Key> = self.standings.keys().filter(gone).cloned().collect();
        for key in gone {
            // The rule was switched off, or the module is not watched any more.
            if let Some(standing) = self.standings.remove(&key)
                && standing.alert.is_some()
            {
                happenings.push(Happening::Resolved(key, standing));
            }
        }
        for (key, reading) in situation.readings {
            let Some(rule) = situation.rules.iter().find(|rule| rule.id == key.0) else { continue };
            let before = self.standings.remove(key).unwrap_or_default();
            let (phase, turn) = advance(rule, before.phase, reading.value, now);
            let value = reading.value.unwrap_or(before.value);
            let mut standing = Standing {
                phase,
                value,
                peak: if before.phase == Phase::Inactive { value } else { before.peak.max(value) },
                cause: reading.cause.clone().or(before.cause.clone()),
                ..before.clone()
            };
            match turn {
                Turn::Resolved => happenings.push(Happening::Resolved(key.clone(), before)),
                Turn::Fired => {
                    standing.alert = Some(AlertId::new(situation.env));
                    happenings.push(Happening::Fired(key.clone()));
                }
                Turn::None => {}
            }
            if phase != Phase::Inactive {
                self.standings.insert(key.clone(), standing);
            }
        }
    }

    /// What fires and is neither explained nor expected belongs to a page.
    fn page(&mut self, situation: &Situation<'_>, now: Timestamp, happenings: &mut Vec<Happening>) {
        let before = self.standings.clone();
        let all: Vec<Active<'_>> =
            before.iter().filter_map(|(key, standing)| active_of(situation.rules, key, standing)).collect();
        for (key, standing) in &mut self.standings {
            let Some(alert) = before.get(key).and_then(|standing| active_of(situation.rules, key, standing))
            else {
                continue;
            };
            if !matches!(standing.phase, Phase::Firing { .. }) {
                continue;
            }
            // A budget that an outage used up still shows it long after: that is no news once the outage was told.
            if matches!(alert.rule.signal, Signal::Burn { .. }) && standing.is_told {
                continue;
            }
            let by = explained(&alert, &all, situation.dependencies);
            let is_held = alert.rule.is_muted_by_maintenance && (situation.is_held)(&key.1);
            standing.is_told = is_held || by.is_some_and(|(_, phase)| matches!(phase, Phase::Firing { .. }));
            standing.quiet = match by {
                _ if is_held => Some("announced maintenance".to_owned()),
                Some((other, _)) if other == key.1 => Some(format!("{other} is down")),
                Some((other, _)) => Some(format!("it needs {other}, which is down")),
                None => None,
            };
            if standing.quiet.is_some() || standing.page.is_some() {
                continue;
            }
            let name = alert.group();
            let page = if let Some(page) = self.pages.iter_mut().find(|page| page.name == name) {
                page.ladder.join(now, alert.rule.severity);
                happenings.push(Happening::Joined(page.id, key.clone()));
                page.id
            } else {
                let id = PageId::new(situation.env);
                self.pages.push(OpenPage { id, name, ladder: Ladder::open(now, alert.rule.severity) });
                happenings.push(Happening::Opened(id, key.clone()));
                id
            };
            standing.page = Some(page);
        }
    }

    /// Every page climbs, or is over.
    fn climb(&mut self, situation: &Situation<'_>, now: Timestamp, happenings: &mut Vec<Happening>) {
        for page in &mut self.pages {
            let mut alerts =
                self.standings.values().filter(|standing| standing.page == Some(page.id)).peekable();
            if alerts.peek().is_none() {
                let steps = page.ladder.resolve(now);
                happenings.push(Happening::Over(page.id));
                happenings.extend(steps.into_iter().map(|step| Happening::Told(page.id, step)));
                continue;
            }
            // All of it turned out to be explained, or expected: it waits where it stands.
            if alerts.all(|standing| standing.quiet.is_some()) {
                continue;
            }
            while let Some(step) = page.ladder.due(situation.policy, now) {
                happenings.push(Happening::Told(page.id, step));
            }
        }
        self.pages.retain(|page| page.ladder.resolved_at.is_none());
    }
}

fn active_of<'a>(rules: &'a [Rule], key: &'a Key, standing: &'a Standing) -> Option<Active<'a>> {
    let rule = rules.iter().find(|rule| rule.id == key.0)?;
    Some(Active { rule, module: &key.1, phase: standing.phase, cause: standing.cause.as_deref() })
}

#[cfg(test)]
mod tests {
    use q_core::Span;
    use q_slo::rules;

    use super::*;

    const START: Timestamp = Timestamp::from_seconds(1_795_251_600);

    /// A board with everything it is decided by.
    struct Scene {
        board: Board,
        rules: Vec<Rule>,
        readings: BTreeMap<Key, Reading>,
        dependencies: Dependencies,
        held: Vec<&'static str>,
        env: Env,
    }

    impl Scene {
        fn new() -> Self {
            let mut dependencies = Dependencies::default();
            dependencies.set("till", ["shop".to_owned()]);
            Self {
                board: Board::default(),
                rules: rules(),
                readings: BTreeMap::new(),
                dependencies,
                held: Vec::new(),
                env: Env::system(),
            }
        }

        fn read(&mut self, rule: &str, module: &str, value: f64) {
            let key = (rule.to_owned(), module.to_owned(), String::new());
            let cause = (rule == "health_failing" && value > 0.0).then(|| "store".to_owned());
            self.readings.insert(key, Reading { value: Some(value), cause });
        }

        /// Decides each ten seconds from `from` to `to`, and lists the pages opened and the steps told.
        fn pass(&mut self, from: i64, to: i64) -> (usize, Vec<String>) {
            let (mut opened, mut told) = (0, Vec::new());
            for second in (from..=to).step_by(10) {
                let is_held = |module: &str| self.held.contains(&module);
                let situation = Situation {
                    rules: &self.rules,
                    readings: &self.readings,
                    dependencies: &self.dependencies,
                    is_held: &is_held,
                    policy: &Policy::default(),
                    env: &self.env,
                };
                for happening in self.board.decide(&situation, START + Span::seconds(second)) {
                    match happening {
                        Happening::Opened(..) => opened += 1,
                        Happening::Told(_, step) => told.push(format!("{second}: {}", step.key())),
                        _ => {}
                    }
                }
            }
            (opened, told)
        }
    }

    #[test]
    fn modules_that_fail_for_one_cause_are_one_page() {
        let mut scene = Scene::new();
        for module in ["shop", "mill", "bank"] {
            scene.read("health_failing", module, 1.0);
        }
        assert_eq!(scene.pass(0, 130), (1, vec!["120: tell-1-0".to_owned()]));
        assert_eq!(scene.board.standings.len(), 3);
        // Something else about a module that is down opens nothing.
        scene.read("error_rate", "shop", 1.0);
        let (opened, told) = scene.pass(140, 600);
        assert_eq!((opened, told), (0, vec!["240: tell-2-0".to_owned()]));
    }

    #[test]
    fn announced_maintenance_is_quiet_but_never_about_damage() {
        let mut scene = Scene::new();
        scene.held = vec!["shop"];
        scene.read("health_failing", "shop", 1.0);
        scene.read("error_rate", "shop", 1.0);
        assert_eq!(scene.pass(0, 3_600), (0, Vec::new()));
        scene.read("verification_failed", "shop", 2.0);
        assert_eq!(scene.pass(3_610, 3_610), (1, vec!["3610: tell-1-0".to_owned()]));
        // The window ends and the module is still down: now it is told.
        scene.held.clear();
        assert_eq!(scene.pass(3_620, 3_620).0, 1);
    }

    #[test]
    fn a_page_that_turns_out_to_follow_from_something_waits() {
        let mut scene = Scene::new();
        scene.read("error_rate", "till", 1.0);
        assert_eq!(scene.pass(0, 310), (1, vec!["300: tell-1-0".to_owned()]));
        scene.read("health_failing", "shop", 1.0);
        let (_, told) = scene.pass(320, 430);
        assert_eq!(told, Vec::<String>::new(), "the shop explains it before it is certain to be down");
        scene.read("health_failing", "shop", 0.0);
        // The shop is well after all, and the till still fails: its ladder goes on.
        assert_eq!(scene.pass(440, 450).1, ["440: tell-2-0"]);
    }

    #[test]
    fn a_budget_that_a_told_outage_used_up_is_no_news() {
        let mut scene = Scene::new();
        scene.read("health_failing", "shop", 1.0);
        scene.read("budget_burn_fast", "shop", 100.0);
        assert_eq!(scene.pass(0, 200).0, 1, "only the outage");
        scene.read("health_failing", "shop", 0.0);
        assert_eq!(scene.pass(210, 900).0, 0, "it is over, and the budget still shows it");
        // Right again, and then wrong without an outage: that is news.
        scene.read("budget_burn_fast", "shop", 0.0);
        scene.pass(910, 1_300);
        scene.read("budget_burn_fast", "shop", 100.0);
        assert_eq!(scene.pass(1_310, 1_310).0, 1);
    }

    #[test]
    fn what_is_no_longer_read_ends() {
        let mut scene = Scene::new();
        scene.read("health_failing", "shop", 1.0);
        scene.pass(0, 130);
        scene.readings.clear();
        assert_eq!(scene.pass(140, 140).1, ["140: resolve-1-0"]);
        assert_eq!(scene.board, Board::default());
    }
}
