//! Payments that come back: what a mandate says, where its schedule is, and what is to be paid now.

use q_core::{AmountText, Did, Span, Timestamp, hash};
use qwallet_api::ScheduleId;
use serde::Deserialize;

use super::recurrence::{Fault, Occurrence, Rule, Terms};

/// After how long a payment that was refused is tried again; after the last the schedule gives up.
const RETRIES: [Span; 3] = [Span::seconds(3_600), Span::seconds(6 * 3_600), Span::seconds(24 * 3_600)];

/// What is not so late was not missed.
const LATE: Span = Span::seconds(3_600);

/// How long a plan is granted beyond what is paid for: the retries of its renewal take 31 hours.
pub const GRACE: Span = Span::seconds(48 * 3_600);

/// How far back a schedule may start.
pub const PAST_MAX: Span = Span::seconds(366 * 86_400);

/// How far ahead it may start.
pub const AHEAD_MAX: Span = Span::seconds(10 * 365 * 86_400);

/// The most schedules of one payer that may still pay.
pub const SCHEDULES_MAX: i64 = 1_000;

/// Where a schedule is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It pays when its rule says so.
    Active,
    /// It does not pay until its payer lets it go on.
    Paused,
    /// It pays no more, and what it paid for is not over.
    Ending,
    /// It is over.
    Ended,
}

impl State {
    const ALL: [Self; 4] = [Self::Active, Self::Paused, Self::Ending, Self::Ended];

    /// The number in the store.
    pub const fn code(self) -> i64 {
        match self {
            Self::Active => 0,
            Self::Paused => 1,
            Self::Ending => 2,
            Self::Ended => 3,
        }
    }

    /// The state with this number.
    pub fn from_code(code: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.code() == code)
    }

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Paused => "PAUSED",
            Self::Ending => "ENDING",
            Self::Ended => "ENDED",
        }
    }

    /// The state with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// What happens to what the house missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CatchUp {
    /// It is left out.
    Skip,
    /// One payment makes up for all.
    Once,
    /// Each is made.
    All,
}

impl CatchUp {
    /// What this name means.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "skip" => Some(Self::Skip),
            "once" => Some(Self::Once),
            "all" => Some(Self::All),
            _ => None,
        }
    }
}

/// What the payer signed, read from the signed bytes themselves.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mandate {
    /// What is paid each time.
    pub amount: AmountText,
    /// What happens to what was missed.
    pub catch_up: String,
    /// The payer's reference.
    pub client_ref: Option<String>,
    /// How often.
    pub count: Option<u32>,
    /// The code of the currency.
    pub currency: String,
    /// How far the amount may be raised.
    pub max_amount: Option<AmountText>,
    /// The most in fees on top, each time.
    pub max_fees: AmountText,
    /// Who pays.
    pub payer: Did,
    /// The plan and its version.
    pub plan: Option<String>,
    /// The rule.
    pub rrule: String,
    /// From when on.
    pub start: Timestamp,
    /// By the clocks of which zone.
    pub timezone: String,
    /// Until when.
    pub until: Option<Timestamp>,
}

impl Mandate {
    /// The mandate in these signed bytes.
    pub fn read(input: &str) -> Option<Self> {
        serde_json::from_str(input).ok()
    }

    /// Its rule as it is written down.
    pub fn terms(&self) -> Terms<'_> {
        Terms {
            rrule: &self.rrule,
            timezone: &self.timezone,
            start: self.start,
            until: self.until,
            count: self.count,
        }
    }

    /// Its rule.
    pub fn rule(&self) -> Result<Rule, Fault> {
        Rule::trusted(&self.terms())
    }

    /// The most that is paid each time.
    pub fn most(&self) -> &AmountText {
        self.max_amount.as_ref().unwrap_or(&self.amount)
    }
}

/// How far a schedule got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Where it is.
    pub state: State,
    /// What is paid next; nothing when nothing is.
    pub next: Option<Occurrence>,
    /// When somebody has to look at it.
    pub due_at: Option<Timestamp>,
    /// How many attempts at `next` were refused.
    pub attempts: i64,
    /// The code of the last refusal and when that was; nothing when the last attempt paid.
    pub failure: Option<(String, Timestamp)>,
    /// How many payments it made.
    pub runs: i64,
    /// How many times were left out.
    pub skipped: i64,
    /// Until when a plan is paid for.
    pub paid_until: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

impl Progress {
    /// A schedule that has paid nothing yet.
    pub const fn begin(next: Occurrence) -> Self {
        Self {
            state: State::Active,
            next: Some(next),
            due_at: Some(next.at),
            attempts: 0,
            failure: None,
            runs: 0,
            skipped: 0,
            paid_until: None,
            ended_at: None,
        }
    }

    /// After `skipped` times were left out, going on with `next`.
    #[must_use]
    pub fn moved_on(&self, next: Option<Occurrence>, skipped: i64, now: Timestamp) -> Self {
        let is_over = next.is_none();
        Self {
            state: if is_over { State::Ended } else { State::Active },
            next,
            due_at: next.map(|next| next.at),
            attempts: 0,
            skipped: self.skipped + skipped,
            ended_at: is_over.then_some(now),
            ..self.clone()
        }
    }

    /// After a payment.
    #[must_use]
    pub fn paid(&self, turn: &Turn, is_plan: bool, now: Timestamp) -> Self {
        let next = self.moved_on(turn.next, turn.skipped, now);
        let paid_until = turn.next.map_or(now, |next| next.at);
        Self { runs: self.runs + 1, failure: None, paid_until: is_plan.then_some(paid_until), ..next }
    }

    /// After an attempt at `occurrence` was refused: when it is tried again, or that it is given up.
    #[must_use]
    pub fn refused(&self, turn: &Turn, is_plan: bool, code: &str, now: Timestamp) -> Self {
        let pause = usize::try_from(self.attempts).ok().and_then(|attempt| RETRIES.get(attempt));
        let state = match pause {
            Some(_) => State::Active,
            None if is_plan => State::Ended,
            None => State::Paused,
        };
        Self {
            state,
            next: turn.pay,
            due_at: pause.map(|pause| now + *pause),
            attempts: self.attempts + 1,
            failure: Some((code.to_owned(), now)),
            skipped: self.skipped + turn.skipped,
            ended_at: (state == State::Ended).then_some(now),
            ..self.clone()
        }
    }
}

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// What is to be paid.
    pub pay: Option<Occurrence>,
    /// How many times are left out.
    pub skipped: i64,
    /// What comes after.
    pub next: Option<Occurrence>,
}

/// What is to be done of a schedule whose next time is `next`; nothing while that has not come.
pub fn turn(rule: &Rule, next: Occurrence, attempts: i64, catch_up: CatchUp, now: Timestamp) -> Option<Turn> {
    if next.at > now {
        return None;
    }
    let mut later = rule.after(next.wall);
    if attempts > 0 || catch_up == CatchUp::All {
        return Some(Turn { pay: Some(next), skipped: 0, next: later.next() });
    }
    let (mut last, mut skipped) = (next, 0);
    let after = loop {
        match later.next() {
            Some(due) if due.at <= now => (last, skipped) = (due, skipped + 1),
            after => break after,
        }
    };
    let is_missed = now.since(last.at) > LATE;
    if catch_up == CatchUp::Skip && is_missed {
        return Some(Turn { pay: None, skipped: skipped + 1, next: after });
    }
    Some(Turn { pay: Some(last), skipped, next: after })
}

/// Where a schedule goes on that was paused: behind everything that has been due by now. How many times that leaves out.
pub fn resume(rule: &Rule, next: Option<Occurrence>, now: Timestamp) -> (Option<Occurrence>, i64) {
    let mut skipped = 0;
    let from = next.map_or(i64::MIN, |next| next.wall);
    for occurrence in rule.occurrences().filter(|occurrence| occurrence.wall >= from) {
        if occurrence.at > now {
            return (Some(occurrence), skipped);
        }
        skipped += 1;
    }
    (None, skipped)
}

/// The id of one payment of a schedule: what makes a repetition recognisable.
pub fn occurrence_id(schedule: ScheduleId, occurrence: Occurrence) -> hash::Sha256 {
    hash::sha256_of(&[b"q-occurrence/1", &schedule.bytes(), &occurrence.wall.to_be_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(rrule: &str) -> Rule {
        let terms = Terms {
            rrule,
            timezone: "UTC",
            start: "2026-01-01T00:00:00Z".parse().unwrap(),
            until: None,
            count: None,
        };
        Rule::read(&terms).unwrap()
    }

    fn days(turn: Turn) -> (Option<i64>, i64, Option<i64>) {
        let day = |occurrence: Occurrence| (occurrence.wall - 1_767_225_600) / 86_400 + 1;
        (turn.pay.map(day), turn.skipped, turn.next.map(day))
    }

    #[test]
    fn what_was_missed_is_left_out_made_up_for_or_made() {
        let rule = rule("FREQ=DAILY;COUNT=5");
        let first = rule.occurrences().next().unwrap();
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let look = |catch_up, now| turn(&rule, first, 0, catch_up, at(now)).map(days);
        assert_eq!(look(CatchUp::All, "2025-12-31T23:59:59Z"), None);
        for catch_up in [CatchUp::Skip, CatchUp::Once, CatchUp::All] {
            assert_eq!(look(catch_up, "2026-01-01T00:00:05Z"), Some((Some(1), 0, Some(2))));
        }
        assert_eq!(look(CatchUp::All, "2026-01-03T12:00:00Z"), Some((Some(1), 0, Some(2))));
        assert_eq!(look(CatchUp::Once, "2026-01-03T12:00:00Z"), Some((Some(3), 2, Some(4))));
        assert_eq!(look(CatchUp::Skip, "2026-01-03T12:00:00Z"), Some((None, 3, Some(4))));
        assert_eq!(look(CatchUp::Skip, "2026-01-03T00:30:00Z"), Some((Some(3), 2, Some(4))));
        assert_eq!(look(CatchUp::Once, "2026-02-03T12:00:00Z"), Some((Some(5), 4, None)));
        assert_eq!(look(CatchUp::Skip, "2026-02-03T12:00:00Z"), Some((None, 5, None)));
        // What was tried in time and refused is tried again, however late.
        let again = turn(&rule, first, 1, CatchUp::Skip, at("2026-01-02T07:00:00Z")).map(days);
        assert_eq!(again, Some((Some(1), 0, Some(2))));
    }

    #[test]
    fn three_retries_and_then_nobody_tries() {
        let rule = rule("FREQ=MONTHLY");
        let mut progress = Progress::begin(rule.occurrences().next().unwrap());
        let mut now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let mut waits = Vec::new();
        while let Some(due_at) = progress.due_at {
            waits.push(due_at.since(now).as_seconds() / 3_600);
            now = due_at;
            let turn = turn(&rule, progress.next.unwrap(), progress.attempts, CatchUp::Skip, now).unwrap();
            progress = progress.refused(&turn, false, "INSUFFICIENT_FUNDS", now);
        }
        assert_eq!((waits, progress.state), (vec![0, 1, 6, 24], State::Paused));
        let (next, skipped) = resume(&rule, progress.next, "2026-02-10T00:00:00Z".parse().unwrap());
        assert_eq!((next.unwrap().at.to_string(), skipped), ("2026-03-01T00:00:00Z".to_owned(), 2));
    }
}
