//! When a window is announced, begins, is checked and ends.

use q_core::{Span, Timestamp};
use q_ops_api::{
    incidents::IncidentId,
    maintenance::{CheckResult, WindowStatus},
};
use serde::{Deserialize, Serialize};

/// How long ahead a window is announced when nothing else is said: 48, 24 and 1 hours.
pub const NOTIFY_SECONDS: [i64; 3] = [48 * 3_600, 24 * 3_600, 3_600];
/// The longest window.
pub const WINDOW_MAX: Span = Span::seconds(7 * 86_400);
/// The shortest window.
pub const WINDOW_MIN: Span = Span::seconds(60);
/// The longest emergency window.
pub const EMERGENCY_MAX: Span = Span::seconds(86_400);
/// The longest an approval may wait for its use.
pub const APPROVAL_LIFETIME_MAX: Span = Span::seconds(3_600);
/// The furthest ahead a window is planned.
pub const AHEAD_MAX: Span = Span::seconds(366 * 86_400);
/// The furthest ahead a window is announced.
const NOTIFY_SECONDS_MAX: i64 = 30 * 86_400;
/// The most announcements of one window.
const NOTIFY_MAX: usize = 8;
/// The least and most characters of a rollback plan.
const PLAN_CHARS: std::ops::RangeInclusive<usize> = 10..=10_000;

/// Where a window stands, with what is known only there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "is")]
pub enum State {
    /// It lies ahead.
    Scheduled,
    /// It is on.
    Active {
        /// Since when.
        started_at: Timestamp,
    },
    /// The work is done; the modules answer reads while they are checked.
    Checking {
        /// Since when they were paused.
        started_at: Timestamp,
    },
    /// It is over and every check passed.
    Completed {
        /// Since when they were paused.
        started_at: Timestamp,
        /// When they served again.
        ended_at: Timestamp,
        /// What was found.
        checks: Vec<CheckResult>,
    },
    /// A check failed.
    Failed {
        /// Since when they are paused.
        started_at: Timestamp,
        /// What was found.
        checks: Vec<CheckResult>,
        /// The incident about it.
        incident: IncidentId,
    },
    /// It was called off.
    Cancelled {
        /// When.
        at: Timestamp,
    },
    /// It passed while nobody was here to begin it.
    Missed {
        /// When that was noticed.
        at: Timestamp,
    },
}

impl State {
    /// The word for it.
    pub const fn status(&self) -> WindowStatus {
        match self {
            Self::Scheduled => WindowStatus::Scheduled,
            Self::Active { .. } => WindowStatus::Active,
            Self::Checking { .. } => WindowStatus::Checking,
            Self::Completed { .. } => WindowStatus::Completed,
            Self::Failed { .. } => WindowStatus::Failed,
            Self::Cancelled { .. } => WindowStatus::Cancelled,
            Self::Missed { .. } => WindowStatus::Missed,
        }
    }

    /// Since when its modules were paused.
    pub const fn started_at(&self) -> Option<Timestamp> {
        match self {
            Self::Active { started_at }
            | Self::Checking { started_at }
            | Self::Completed { started_at, .. }
            | Self::Failed { started_at, .. } => Some(*started_at),
            Self::Scheduled | Self::Cancelled { .. } | Self::Missed { .. } => None,
        }
    }

    /// When it was over, in whatever way.
    pub const fn ended_at(&self) -> Option<Timestamp> {
        match self {
            Self::Completed { ended_at, .. } => Some(*ended_at),
            Self::Cancelled { at } | Self::Missed { at } => Some(*at),
            Self::Scheduled | Self::Active { .. } | Self::Checking { .. } | Self::Failed { .. } => None,
        }
    }

    /// What the checks found.
    pub fn checks(&self) -> &[CheckResult] {
        match self {
            Self::Completed { checks, .. } | Self::Failed { checks, .. } => checks,
            _ => &[],
        }
    }

    /// Whether its modules are, or should be, paused.
    pub const fn holds(&self) -> bool {
        matches!(self, Self::Active { .. } | Self::Checking { .. } | Self::Failed { .. })
    }

    /// Begins it.
    pub fn begin(&self, now: Timestamp) -> Result<Self, Refusal> {
        match self {
            Self::Scheduled => Ok(Self::Active { started_at: now }),
            other => Err(Refusal::NotNow(other.status(), "begin")),
        }
    }

    /// Ends the work: what follows are checks, or once more the checks that had failed.
    pub fn finish(&self) -> Result<Self, Refusal> {
        match self {
            Self::Active { started_at } | Self::Checking { started_at } | Self::Failed { started_at, .. } => {
                Ok(Self::Checking { started_at: *started_at })
            }
            other => Err(Refusal::NotNow(other.status(), "complete")),
        }
    }

    /// Calls it off.
    pub fn cancel(&self, now: Timestamp) -> Result<Self, Refusal> {
        match self {
            Self::Scheduled => Ok(Self::Cancelled { at: now }),
            other => Err(Refusal::NotNow(other.status(), "cancel")),
        }
    }
}

/// Why a window is not planned or changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no rollback plan.
    #[error("a rollback plan has {} to {} characters", PLAN_CHARS.start(), PLAN_CHARS.end())]
    Plan,
    /// It would begin in the past, too far ahead, or last too short or too long.
    #[error("{0}")]
    Times(&'static str),
    /// A lead time is not one.
    #[error(
        "{0:?} is no time ahead; write 48h, 24h, 1h, 30m or 2d, at most {NOTIFY_MAX} of them and 30 days"
    )]
    Notify(String),
    /// The window is not in the state for this.
    #[error("the window is {0:?} and cannot {1} now")]
    NotNow(WindowStatus, &'static str),
    /// Another window holds a module then.
    #[error("{0} is held by the window {1} at that time")]
    Overlaps(String, String),
}

/// The plan for the way back.
pub fn rollback_plan(text: &str) -> Result<String, Refusal> {
    let text = text.trim();
    if PLAN_CHARS.contains(&text.chars().count()) { Ok(text.to_owned()) } else { Err(Refusal::Plan) }
}

/// The bounds of a planned window.
pub fn times(from: Timestamp, to: Timestamp, now: Timestamp) -> Result<(), Refusal> {
    if from < now {
        return Err(Refusal::Times("a planned window begins in the future; an emergency begins at once"));
    }
    if from.since(now) > AHEAD_MAX {
        return Err(Refusal::Times("a window is planned at most a year ahead"));
    }
    length(from, to)
}

/// The bounds of a window's length.
pub fn length(from: Timestamp, to: Timestamp) -> Result<(), Refusal> {
    let length = to.since(from);
    if length < WINDOW_MIN || length > WINDOW_MAX {
        return Err(Refusal::Times("a window lasts a minute at least and a week at most"));
    }
    Ok(())
}

/// Lead times such as `48h`, in seconds, longest first.
pub fn notify_seconds(words: Option<&[String]>) -> Result<Vec<i64>, Refusal> {
    let Some(words) = words else { return Ok(NOTIFY_SECONDS.to_vec()) };
    let mut leads = words.iter().map(|word| lead_seconds(word)).collect::<Result<Vec<_>, _>>()?;
    leads.sort_unstable_by(|a, b| b.cmp(a));
    leads.dedup();
    if leads.len() > NOTIFY_MAX {
        return Err(Refusal::Notify(words.join(",")));
    }
    Ok(leads)
}

fn lead_seconds(word: &str) -> Result<i64, Refusal> {
    let refused = || Refusal::Notify(word.to_owned());
    let word = word.trim();
    let units = [('d', 86_400), ('h', 3_600), ('m', 60)];
    let found = units.iter().find_map(|(letter, unit)| Some((word.strip_suffix(*letter)?, unit)));
    let (digits, unit) = found.ok_or_else(refused)?;
    let is_number =
        !digits.is_empty() && digits.len() <= 5 && digits.bytes().all(|byte| byte.is_ascii_digit());
    let count: i64 = digits.parse().ok().filter(|_| is_number).ok_or_else(refused)?;
    let seconds = count * unit;
    if (60..=NOTIFY_SECONDS_MAX).contains(&seconds) { Ok(seconds) } else { Err(refused()) }
}

/// What the desk does next about a window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing yet.
    Wait,
    /// Announces it now, which covers all of these lead times.
    Announce(Vec<i64>),
    /// Pauses the modules.
    Begin,
    /// Keeps the modules paused.
    Hold,
    /// Ends the work, since its time is up.
    Finish,
    /// Checks the modules.
    Check,
    /// Says that it passed unused.
    Miss,
}

/// What is due at `now` for a window of `from` to `to` whose lead times `announced` were announced.
///
/// After a time without a running desk several lead times may be due at once: one announcement covers them.
pub fn due(
    state: &State,
    from: Timestamp,
    to: Timestamp,
    notify: &[i64],
    announced: &[i64],
    now: Timestamp,
) -> Step {
    match state {
        State::Scheduled if now >= to => Step::Miss,
        State::Scheduled if now >= from => Step::Begin,
        State::Scheduled => {
            let is_due = |lead: &&i64| now >= from - Span::seconds(**lead) && !announced.contains(lead);
            let leads: Vec<i64> = notify.iter().filter(is_due).copied().collect();
            if leads.is_empty() { Step::Wait } else { Step::Announce(leads) }
        }
        State::Active { .. } if now >= to => Step::Finish,
        // After a failed check the modules stay paused until an operator has them checked again.
        State::Active { .. } | State::Failed { .. } => Step::Hold,
        State::Checking { .. } => Step::Check,
        State::Completed { .. } | State::Cancelled { .. } | State::Missed { .. } => Step::Wait,
    }
}

/// Whether windows over the modules `a` and `b` touch each other; an empty list is all modules.
pub fn shared_module(a: &[String], b: &[String]) -> Option<String> {
    match (a, b) {
        ([], []) => Some("every module".to_owned()),
        ([], [first, ..]) | ([first, ..], []) => Some(first.clone()),
        (a, b) => a.iter().find(|name| b.contains(name)).cloned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(1_795_251_600 + seconds)
    }

    #[test]
    fn each_lead_time_is_announced_once_and_downtime_brings_one_announcement() {
        let (from, to) = (at(72 * HOUR), at(74 * HOUR));
        let due_at =
            |announced: &[i64], now| due(&State::Scheduled, from, to, &NOTIFY_SECONDS, announced, now);
        assert_eq!(due_at(&[], at(0)), Step::Wait);
        assert_eq!(due_at(&[], at(24 * HOUR)), Step::Announce(vec![48 * HOUR]));
        assert_eq!(due_at(&[48 * HOUR], at(30 * HOUR)), Step::Wait);
        assert_eq!(due_at(&[], at(50 * HOUR)), Step::Announce(vec![48 * HOUR, 24 * HOUR]));
        assert_eq!(due_at(&[48 * HOUR, 24 * HOUR], at(71 * HOUR)), Step::Announce(vec![HOUR]));
        assert_eq!(due_at(&[], at(72 * HOUR)), Step::Begin, "what begins is not announced as ahead");
    }

    #[test]
    fn a_window_begins_late_and_is_missed_when_it_is_over() {
        let (from, to) = (at(0), at(2 * HOUR));
        let due_at = |state: &State, now| due(state, from, to, &[], &[], now);
        assert_eq!(due_at(&State::Scheduled, at(HOUR)), Step::Begin);
        assert_eq!(due_at(&State::Scheduled, at(2 * HOUR)), Step::Miss);
        let active = State::Scheduled.begin(at(HOUR)).unwrap();
        assert_eq!(due_at(&active, at(HOUR)), Step::Hold);
        assert_eq!(due_at(&active, at(2 * HOUR)), Step::Finish);
        let checking = active.finish().unwrap();
        assert_eq!(due_at(&checking, at(2 * HOUR)), Step::Check);
        assert!(checking.cancel(at(0)).is_err());
    }

    #[test]
    fn lead_times_are_read_and_nonsense_is_refused() {
        let words = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(notify_seconds(None).unwrap(), NOTIFY_SECONDS);
        assert_eq!(notify_seconds(Some(&words("1h,2d,30m,1h"))).unwrap(), [172_800, 3_600, 1_800]);
        for wrong in ["", "h", "-1h", "1w", "31d", "0m", "1.5h", "99999999d", "1é"] {
            assert!(notify_seconds(Some(&words(wrong))).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_plan_for_the_way_back_is_needed() {
        assert_eq!(rollback_plan("   "), Err(Refusal::Plan));
        assert_eq!(rollback_plan("back"), Err(Refusal::Plan));
        assert!(rollback_plan("q rollback to the build of yesterday").is_ok());
    }
}
