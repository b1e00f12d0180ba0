//! Who is told when: four rungs, each with its time, until somebody takes the page or it is over.
//!
//! Climbing is a function of the ladder's state, the policy and the instant. The state is data: whoever keeps it in the
//! same commit as the steps it led to never decides a step twice, however often the process is started anew.

use q_core::{Span, Timestamp};
use serde::{Deserialize, Serialize};

use crate::Severity;

/// The rungs: automated recovery, on-call engineer, team lead, management.
pub const RUNGS: [&str; 4] = ["automated recovery", "on-call engineer", "team lead", "management"];
/// The highest rung that what is not urgent climbs to.
const TICKET_RUNG: u8 = 2;

/// When a rung is reached, and how often it is told again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    /// How long after the page was opened.
    pub after: Span,
    /// The pause before it is told again; `None` for once.
    pub repeat: Option<Span>,
}

/// The ladder as it is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// The four rungs, each later than the one before.
    pub levels: [Level; 4],
    /// How long what joins a page waits, so that several that join together are told together.
    pub gather: Span,
}

/// Recovery at once, on-call after two minutes, the lead after fifteen, management after thirty; each again every fifteen.
impl Default for Policy {
    fn default() -> Self {
        let minutes = |count: i64| Span::seconds(count * 60);
        let level = |after, repeat| Level { after: minutes(after), repeat: Some(minutes(repeat)) };
        Self { levels: [level(0, 5), level(2, 15), level(15, 15), level(30, 30)], gather: minutes(5) }
    }
}

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// What.
    pub kind: StepKind,
    /// The rung it is for, 1 to 4.
    pub rung: u8,
    /// The how manyth of its kind on this rung of this page, from 0.
    pub number: u32,
}

/// What kind of step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum StepKind {
    /// Tell the rung, the first time or again.
    Tell,
    /// Tell the rung what has joined.
    Update,
    /// Tell the rung that it is over.
    Resolve,
}

impl Step {
    /// What makes the step recognisable: unique within its page.
    pub fn key(&self) -> String {
        let kind = match self.kind {
            StepKind::Tell => "tell",
            StepKind::Update => "update",
            StepKind::Resolve => "resolve",
        };
        format!("{kind}-{}-{}", self.rung, self.number)
    }
}

/// How far one page has climbed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ladder {
    /// When the page was opened.
    pub opened_at: Timestamp,
    /// Whether only level 2 is told, once.
    pub is_ticket: bool,
    /// The rung it stands on; 0 before the first.
    pub rung: u8,
    /// When it came there.
    pub rung_at: Timestamp,
    /// How often the rung was told.
    pub told: u32,
    /// When it was told last.
    pub told_at: Timestamp,
    /// Since when something has joined that nobody was told of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joined_at: Option<Timestamp>,
    /// How many updates were told.
    #[serde(default)]
    pub updates: u32,
    /// When somebody took it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged_at: Option<Timestamp>,
    /// When it was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_at: Option<Timestamp>,
}

impl Ladder {
    /// A page opened at `now`.
    pub fn open(now: Timestamp, severity: Severity) -> Self {
        Self {
            opened_at: now,
            is_ticket: severity == Severity::Ticket,
            rung: 0,
            rung_at: now,
            told: 0,
            told_at: now,
            joined_at: None,
            updates: 0,
            acknowledged_at: None,
            resolved_at: None,
        }
    }

    /// Somebody takes the page: it climbs no further and is told no more, but for its end.
    pub fn acknowledge(&mut self, now: Timestamp) {
        self.acknowledged_at.get_or_insert(now);
    }

    /// Another alert belongs to the page. One that is urgent makes the page urgent.
    pub fn join(&mut self, now: Timestamp, severity: Severity) {
        self.is_ticket &= severity == Severity::Ticket;
        if self.rung > 0 {
            self.joined_at.get_or_insert(now);
        }
    }

    /// It is over: everybody who was told hears so, once. Automated recovery is a rung like the others.
    pub fn resolve(&mut self, now: Timestamp) -> Vec<Step> {
        if self.resolved_at.is_some() {
            return Vec::new();
        }
        self.resolved_at = Some(now);
        let first = if self.is_ticket { TICKET_RUNG } else { 1 };
        (first..=self.rung).map(|rung| Step { kind: StepKind::Resolve, rung, number: 0 }).collect()
    }

    /// The step that is due at `now`, if one is. Ask again until there is none.
    ///
    /// A rung's time is counted from the rung below it: after an hour in which nothing ran, on-call is told first and
    /// the lead after on-call has had its time, not both at once.
    pub fn due(&mut self, policy: &Policy, now: Timestamp) -> Option<Step> {
        if self.acknowledged_at.is_some() || self.resolved_at.is_some() {
            return None;
        }
        let top = if self.is_ticket { TICKET_RUNG } else { 4 };
        if self.rung < top && now.since(self.rung_at) >= self.wait(policy) {
            self.rung += 1;
            if self.is_ticket {
                self.rung = TICKET_RUNG;
            }
            (self.rung_at, self.told, self.told_at, self.joined_at) = (now, 1, now, None);
            return Some(Step { kind: StepKind::Tell, rung: self.rung, number: 0 });
        }
        let level = &policy.levels[usize::from(self.rung.checked_sub(1)?)];
        let repeat = level.repeat.filter(|_| !self.is_ticket);
        if repeat.is_some_and(|repeat| now.since(self.told_at) >= repeat) {
            let number = self.told;
            (self.told, self.told_at, self.joined_at) = (self.told + 1, now, None);
            return Some(Step { kind: StepKind::Tell, rung: self.rung, number });
        }
        if self.joined_at.is_some_and(|joined| now.since(joined) >= policy.gather) {
            let number = self.updates;
            (self.updates, self.told_at, self.joined_at) = (self.updates + 1, now, None);
            return Some(Step { kind: StepKind::Update, rung: self.rung, number });
        }
        None
    }

    /// How long it stays on its rung before it climbs.
    fn wait(&self, policy: &Policy) -> Span {
        let after = |rung: u8| policy.levels[usize::from(rung) - 1].after.as_micros();
        let span = match self.rung {
            // What is not urgent does not wait for a recovery that is not tried.
            0 if self.is_ticket => 0,
            0 => after(1),
            rung => after(rung + 1) - after(rung),
        };
        Span::seconds(0).max(span_of(span))
    }
}

fn span_of(micros: i64) -> Span {
    Timestamp::from_micros(micros).since(Timestamp::from_micros(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const START: Timestamp = Timestamp::from_seconds(1_795_251_600);

    fn at(minute: i64) -> Timestamp {
        START + Span::seconds(minute * 60)
    }

    /// Asks every minute from `from` to `to`, as text `minute: kind-rung-number`.
    fn climb(ladder: &mut Ladder, from: i64, to: i64) -> Vec<String> {
        let mut steps = Vec::new();
        for minute in from..=to {
            // Kept and read again each time, as after a restart.
            let text = serde_json::to_string(ladder).unwrap();
            *ladder = serde_json::from_str(&text).unwrap();
            while let Some(step) = ladder.due(&Policy::default(), at(minute)) {
                steps.push(format!("{minute}: {}", step.key()));
            }
        }
        steps
    }

    #[test]
    fn climbs_tells_again_and_stops_when_somebody_takes_it() {
        let mut ladder = Ladder::open(START, Severity::Page);
        assert_eq!(climb(&mut ladder, 0, 14), ["0: tell-1-0", "2: tell-2-0"]);
        assert_eq!(climb(&mut ladder, 15, 75), ["15: tell-3-0", "30: tell-4-0", "60: tell-4-1",]);
        ladder.acknowledge(at(76));
        assert_eq!(climb(&mut ladder, 76, 600), [] as [String; 0]);
        let resolved: Vec<_> = ladder.resolve(at(601)).iter().map(Step::key).collect();
        assert_eq!(resolved, ["resolve-1-0", "resolve-2-0", "resolve-3-0", "resolve-4-0"]);
        assert_eq!(ladder.resolve(at(602)), []);
    }

    #[test]
    fn whoever_was_not_told_does_not_hear_that_it_is_over() {
        let mut ladder = Ladder::open(START, Severity::Page);
        climb(&mut ladder, 0, 1);
        assert_eq!(ladder.resolve(at(1)), [Step { kind: StepKind::Resolve, rung: 1, number: 0 }]);
        assert_eq!(climb(&mut ladder, 2, 100), [] as [String; 0]);
    }

    #[test]
    fn after_an_hour_in_which_nothing_ran_the_rungs_still_get_their_time() {
        let mut ladder = Ladder::open(START, Severity::Page);
        climb(&mut ladder, 0, 0);
        assert_eq!(climb(&mut ladder, 60, 88), ["60: tell-2-0", "73: tell-3-0", "88: tell-4-0"]);
    }

    #[test]
    fn what_joins_is_gathered_and_told_once() {
        let mut ladder = Ladder::open(START, Severity::Page);
        climb(&mut ladder, 0, 2);
        ladder.join(at(3), Severity::Page);
        ladder.join(at(5), Severity::Ticket);
        assert_eq!(climb(&mut ladder, 3, 14), ["8: update-2-0"]);
        ladder.join(at(14), Severity::Page);
        assert_eq!(climb(&mut ladder, 15, 29), ["15: tell-3-0"], "the climb tells it");
    }

    #[test]
    fn a_ticket_tells_on_call_once_and_becomes_urgent_with_an_urgent_one() {
        let mut ladder = Ladder::open(START, Severity::Ticket);
        assert_eq!(climb(&mut ladder, 0, 300), ["0: tell-2-0"]);
        ladder.join(at(301), Severity::Page);
        assert_eq!(climb(&mut ladder, 301, 302), ["301: tell-3-0"]);
        let mut ladder = Ladder::open(START, Severity::Ticket);
        climb(&mut ladder, 0, 1);
        assert_eq!(ladder.resolve(at(2)), [Step { kind: StepKind::Resolve, rung: 2, number: 0 }]);
    }

    proptest! {
        /// Whatever the pauses between two looks, no step comes twice, and rungs come in order.
        #[test]
        fn no_step_comes_twice(pauses in prop::collection::vec(0_i64..3_000, 1..80), joins in any::<u64>()) {
            let mut ladder = Ladder::open(START, Severity::Page);
            let (mut now, mut seen, mut rung) = (START, std::collections::BTreeSet::new(), 0);
            for (index, pause) in pauses.into_iter().enumerate() {
                now = now + Span::seconds(pause);
                if joins >> (index % 64) & 1 == 1 {
                    ladder.join(now, Severity::Page);
                }
                while let Some(step) = ladder.due(&Policy::default(), now) {
                    prop_assert!(seen.insert(step.key()), "{} came twice", step.key());
                    prop_assert!(step.rung == rung || step.rung == rung + 1);
                    rung = step.rung;
                }
            }
        }
    }
}
