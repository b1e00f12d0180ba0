//! Which period a report is about, and when it is due.

use jiff::{ToSpan as _, civil, tz::TimeZone};
use q_core::Timestamp;
use q_ops_api::reports::ReportKind;

/// Every regular task.
pub const KINDS: [ReportKind; 4] =
    [ReportKind::Health, ReportKind::Review, ReportKind::Dependencies, ReportKind::Access];

/// The newest whole period before `now`, in UTC: yesterday, the last week from Monday, the last month, the last quarter.
pub fn last_period(kind: ReportKind, now: Timestamp) -> (Timestamp, Timestamp) {
    let today = day_of(now);
    let end = match kind {
        ReportKind::Health => today,
        ReportKind::Review => {
            let since_monday = i64::from(today.weekday().to_monday_zero_offset());
            today.saturating_sub(since_monday.days())
        }
        ReportKind::Dependencies => today.first_of_month(),
        ReportKind::Access => {
            let month = (today.month() - 1) / 3 * 3 + 1;
            civil::Date::new(today.year(), month, 1).unwrap_or(today)
        }
    };
    (instant(back(kind, end)), instant(end))
}

/// The period of this length that ends at `now`.
pub fn period_until(kind: ReportKind, now: Timestamp) -> (Timestamp, Timestamp) {
    let (from, to) = last_period(kind, now);
    (now - to.since(from), now)
}

/// One period before `end`.
fn back(kind: ReportKind, end: civil::Date) -> civil::Date {
    let span = match kind {
        ReportKind::Health => 1.day(),
        ReportKind::Review => 7.days(),
        ReportKind::Dependencies => 1.month(),
        ReportKind::Access => 3.months(),
    };
    end.saturating_sub(span)
}

fn day_of(at: Timestamp) -> civil::Date {
    jiff::Timestamp::from_second(at.seconds()).unwrap_or_default().to_zoned(TimeZone::UTC).date()
}

fn instant(day: civil::Date) -> Timestamp {
    let zoned = day.to_zoned(TimeZone::UTC);
    zoned
        .map_or_else(|_| Timestamp::default(), |zoned| Timestamp::from_seconds(zoned.timestamp().as_second()))
}

/// What people call a task.
pub const fn title(kind: ReportKind) -> &'static str {
    match kind {
        ReportKind::Health => "Daily health",
        ReportKind::Review => "Weekly review of errors and latency",
        ReportKind::Dependencies => "Monthly dependencies",
        ReportKind::Access => "Quarterly access review",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_are_whole_and_end_before_now() {
        // Saturday, 21 November 2026, 09:00 UTC.
        let now = Timestamp::from_seconds(1_795_251_600);
        let said = |kind| {
            let (from, to) = last_period(kind, now);
            (from.to_string(), to.to_string())
        };
        let at = |from: &str, to: &str| (format!("{from}T00:00:00Z"), format!("{to}T00:00:00Z"));
        assert_eq!(said(ReportKind::Health), at("2026-11-20", "2026-11-21"));
        assert_eq!(said(ReportKind::Review), at("2026-11-09", "2026-11-16"));
        assert_eq!(said(ReportKind::Dependencies), at("2026-10-01", "2026-11-01"));
        assert_eq!(said(ReportKind::Access), at("2026-07-01", "2026-10-01"));
    }
}
