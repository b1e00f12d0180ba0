//! Hours, days and months in which spending is counted: days and months of the time zone of a wallet, hours of all.
//!
//! A day begins at the first instant of its date: where clocks go back over midnight, at the first midnight; where they leave
//! midnight out, at the instant after. So a day has 23, 24 or 25 hours, a date that a zone left out has none, and each instant
//! is in one day and one month.

use std::collections::HashMap;

use jiff::{
    civil,
    tz::{Offset, TimeZone},
};
use q_core::{Timestamp, time};

const DAY_MICROS: i64 = 86_400_000_000;
const HOUR_MICROS: i64 = 3_600_000_000;

/// From an instant up to and without another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Period {
    /// Its first instant.
    pub from: Timestamp,
    /// The first instant after it.
    pub to: Timestamp,
}

impl Period {
    /// A day or month by the days since the epoch at whose beginning it begins and ends, in UTC.
    pub(super) const fn of_days(from: i64, to: i64) -> Self {
        Self { from: Timestamp::from_micros(from * DAY_MICROS), to: Timestamp::from_micros(to * DAY_MICROS) }
    }

    /// Which day of UTC this is, if it is one.
    pub(super) fn day(self) -> Option<i64> {
        let day = self.from.micros().div_euclid(DAY_MICROS);
        (self == Self::of_days(day, day + 1)).then_some(day)
    }

    /// Which month of UTC this is, if it is one.
    pub(super) fn month(self) -> Option<i64> {
        let month = month_of(self.from.micros().div_euclid(DAY_MICROS));
        (self == Self::of_days(first_day(month), first_day(month + 1))).then_some(month)
    }

    /// Whether the instant is in it.
    pub fn holds(self, at: Timestamp) -> bool {
        self.from <= at && at < self.to
    }

    /// The period in which is counted at an instant, after what was counted in this one, where a calendar has `calendar` then;
    /// and whether it is this one, or goes on from it.
    ///
    /// Where the zone was changed, periods of two calendars overlap. What was counted goes on to count until its own period
    /// has ended and one of the new calendar has begun since, or at most a twelfth of one before: two hours of a day. So no
    /// change lets anything be spent anew before its time, and from one allowance to the next are at least eleven twelfths of
    /// a day or month.
    pub fn next(self, calendar: Self, at: Timestamp) -> (Self, bool) {
        if at < self.to {
            return (self, true);
        }
        if calendar.is_new_after(self.to) {
            return (Self { from: calendar.from.max(self.to), to: calendar.to }, false);
        }
        (Self { from: self.from, to: calendar.to }, true)
    }

    /// When a count of this period is followed by another one, where `then` is the calendar's period around its end: at
    /// its end, or at that of the period on which it goes on.
    pub fn renewed_at(self, then: Self) -> Timestamp {
        if then.is_new_after(self.to) { self.to } else { then.to }
    }

    /// Whether enough of it is left after an instant for a count of its own.
    fn is_new_after(self, end: Timestamp) -> bool {
        let overlap = end.since(self.from).as_micros();
        overlap <= self.to.since(self.from).as_micros() / 12
    }
}

/// The hour, the day and the month around an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Window {
    /// The instant.
    pub at: Timestamp,
    /// The hour, counted from the epoch.
    pub hour: i64,
    /// The day.
    pub day: Period,
    /// The month.
    pub month: Period,
}

impl Window {
    /// Those of UTC.
    pub const fn of(at: Timestamp) -> Self {
        let day = at.micros().div_euclid(DAY_MICROS);
        let month = month_of(day);
        let month = Period::of_days(first_day(month), first_day(month + 1));
        Self { at, hour: hour_of(at), day: Period::of_days(day, day + 1), month }
    }
}

/// The hour of an instant, counted from the epoch.
pub(super) const fn hour_of(at: Timestamp) -> i64 {
    at.micros().div_euclid(HOUR_MICROS)
}

/// The first instant after an hour.
pub(super) const fn end_of_hour(hour: i64) -> Timestamp {
    Timestamp::from_micros((hour + 1) * HOUR_MICROS)
}

/// The month of a day of the proleptic Gregorian calendar, both counted from January 1970.
///
/// Years begin in March here, so that the leap day is the last of its year, and 400 years have 146,097 days.
pub(super) const fn month_of(day: i64) -> i64 {
    let day = day + 719_468;
    let era = day.div_euclid(146_097);
    let of_era = day.rem_euclid(146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    // March of year 0 is two months into the year.
    (era * 400 + year) * 12 + from_march + 2 - 1_970 * 12
}

/// The first day of a month.
pub(super) const fn first_day(month: i64) -> i64 {
    let since_march = month + 1_970 * 12 - 2;
    let year = since_march.div_euclid(12);
    let from_march = since_march.rem_euclid(12);
    let of_year = (153 * from_march + 2) / 5;
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The time zone of a wallet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    name: String,
    clock: TimeZone,
    /// From when on it holds: what was counted before began in another one.
    pub since: Timestamp,
}

/// The zone of a wallet that chose none.
pub const UTC: &str = "UTC";

impl Zone {
    /// The zone with this IANA name.
    pub fn named(name: &str, since: Timestamp) -> Option<Self> {
        let clock = time::zone(name)?;
        let name = clock.iana_name()?.to_owned();
        Some(Self { name, clock, since })
    }

    /// The zone that a wallet chose. Where this program does not know it, because a later one took it, days are those of
    /// UTC meanwhile: what is counted keeps its end, and money stays where its owner reaches it.
    pub fn chosen(name: String, since: Timestamp) -> Self {
        Self::named(&name, since).unwrap_or_else(|| {
            tracing::warn!(name, "a wallet's time zone is not known; its limits are counted in UTC");
            Self { name, clock: TimeZone::UTC, since }
        })
    }

    /// Its IANA name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The hour, day and month around an instant.
    pub fn window(&self, at: Timestamp) -> Window {
        let Some(day) = self.date(at) else { return Window::of(at) };
        let month = month_of(day);
        let period = |from, to| Some(Period { from: self.start(from)?, to: self.start(to)? });
        let day = period(day, day + 1);
        let month = period(first_day(month), first_day(month + 1));
        match (day, month) {
            (Some(day), Some(month)) => Window { at, hour: hour_of(at), day, month },
            // Beyond the years that have a calendar.
            _ => Window::of(at),
        }
    }

    /// The last date that has begun, in days since the epoch.
    fn date(&self, at: Timestamp) -> Option<i64> {
        let instant = jiff::Timestamp::from_microsecond(at.micros()).ok()?;
        let shown = self.clock.to_offset(instant).seconds();
        let mut day = (at.micros() + i64::from(shown) * 1_000_000).div_euclid(DAY_MICROS);
        // After clocks went back over midnight they show the date before once more.
        while self.start(day + 1)? <= at {
            day += 1;
        }
        Some(day)
    }

    /// The first instant of a date.
    fn start(&self, day: i64) -> Option<Timestamp> {
        let midnight = jiff::Timestamp::from_second(day.checked_mul(86_400)?).ok()?;
        let midnight: civil::DateTime = Offset::UTC.to_datetime(midnight);
        let start = self.clock.to_ambiguous_timestamp(midnight).compatible().ok()?;
        Some(Timestamp::from_micros(start.as_microsecond()))
    }
}

/// The windows of zones as they were last asked for: they are reckoned once a day, not once a payment.
#[derive(Debug, Default)]
pub struct Calendars(HashMap<String, Window>);

impl Calendars {
    /// The window of a zone around the instant of `utc`, which is the window where no zone was chosen.
    pub fn window(&mut self, zone: Option<&Zone>, utc: Window) -> Window {
        let Some(zone) = zone else { return utc };
        if let Some(known) = self.0.get(zone.name()).filter(|known| known.day.holds(utc.at)) {
            return Window { at: utc.at, hour: utc.hour, ..*known };
        }
        let window = zone.window(utc.at);
        self.0.insert(zone.name().to_owned(), window);
        window
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use jiff::tz;
    use proptest::prelude::*;
    use q_core::Span;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn zone(name: &str) -> Zone {
        Zone::named(name, Timestamp::default()).unwrap()
    }

    #[test]
    fn days_and_months_are_those_of_the_calendar() {
        for (text, day_ends, month_ends) in [
            ("1970-01-01T00:00:00Z", "1970-01-02T00:00:00Z", "1970-02-01T00:00:00Z"),
            ("2024-02-29T23:59:59Z", "2024-03-01T00:00:00Z", "2024-03-01T00:00:00Z"),
            ("2023-02-28T12:00:00Z", "2023-03-01T00:00:00Z", "2023-03-01T00:00:00Z"),
            ("2026-12-31T23:59:59.999999Z", "2027-01-01T00:00:00Z", "2027-01-01T00:00:00Z"),
            ("2000-02-29T00:00:00Z", "2000-03-01T00:00:00Z", "2000-03-01T00:00:00Z"),
            ("2100-02-28T00:00:00Z", "2100-03-01T00:00:00Z", "2100-03-01T00:00:00Z"),
            ("1969-12-31T23:00:00Z", "1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z"),
        ] {
            let window = Window::of(at(text));
            assert_eq!((window.day.to, window.month.to), (at(day_ends), at(month_ends)), "{text}");
            assert_eq!(zone("UTC").window(at(text)), window);
            assert!(window.day.day().is_some() && window.month.month().is_some());
        }
        // Every day of four centuries has the month that its neighbours say.
        for day in -1_000..146_097 {
            let month = month_of(day);
            assert!(first_day(month) <= day && day < first_day(month + 1), "day {day}");
        }
    }

    #[test]
    fn days_have_the_hours_that_clocks_give_them() {
        for (name, text, from, to) in [
            ("Europe/Berlin", "2026-03-29T10:00:00Z", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"),
            ("Europe/Berlin", "2026-10-25T10:00:00Z", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"),
            // Midnight is left out.
            ("America/Santiago", "2024-09-08T12:00:00Z", "2024-09-08T04:00:00Z", "2024-09-09T03:00:00Z"),
            // Midnight comes twice: at 00:01 it was 23:01 again, and the date stays.
            ("America/St_Johns", "2010-11-07T03:00:00Z", "2010-11-07T02:30:00Z", "2010-11-08T03:30:00Z"),
            // A date is left out.
            ("Pacific/Apia", "2011-12-30T09:59:59Z", "2011-12-29T10:00:00Z", "2011-12-30T10:00:00Z"),
            ("Pacific/Apia", "2011-12-30T10:00:00Z", "2011-12-30T10:00:00Z", "2011-12-31T10:00:00Z"),
            ("Asia/Kathmandu", "2026-06-01T00:00:00Z", "2026-05-31T18:15:00Z", "2026-06-01T18:15:00Z"),
        ] {
            let day = zone(name).window(at(text)).day;
            assert_eq!((day.from, day.to), (at(from), at(to)), "{name} {text}");
        }
        let month = zone("America/New_York").window(at("2026-03-01T04:59:59Z")).month;
        assert_eq!((month.from, month.to), (at("2026-02-01T05:00:00Z"), at("2026-03-01T05:00:00Z")));
        assert_eq!(zone("europe/berlin").name(), "Europe/Berlin");
        assert!(
            ["", "Europe/Nowhere", "Etc/Unknown", "+02:00", "localtime", "posixrules"]
                .iter()
                .all(|name| Zone::named(name, at("2026-01-01T00:00:00Z")).is_none())
        );
    }

    /// A place in the list of zones, and a minute between 1990 and 2060.
    fn place() -> impl Strategy<Value = (usize, i64)> {
        (any::<usize>(), 10_519_200i64..47_336_000)
    }

    fn any_zone(number: usize) -> Zone {
        static ZONES: LazyLock<Vec<Zone>> = LazyLock::new(|| {
            let names = tz::db().available();
            names.filter_map(|name| Zone::named(name.as_str(), Timestamp::default())).collect()
        });
        ZONES[number % ZONES.len()].clone()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

        #[test]
        fn each_instant_is_in_one_day_and_one_month((number, minute) in place()) {
            let (zone, at) = (any_zone(number), Timestamp::from_seconds(minute * 60));
            let window = zone.window(at);
            for period in [window.day, window.month] {
                prop_assert!(period.holds(at), "{} {at} {period:?}", zone.name());
            }
            // The next begins where this one ends, and the last instant is in it.
            let (last, next) = (zone.window(window.day.to - Span::micros(1)), zone.window(window.day.to));
            prop_assert_eq!((last.day, next.day.from), (window.day, window.day.to));
            prop_assert_eq!(zone.window(window.month.to).month.from, window.month.to);
            prop_assert_eq!(zone.window(window.month.to - Span::micros(1)).month, window.month);
            prop_assert_eq!(Calendars::default().window(Some(&zone), Window::of(at)), window);
        }

        #[test]
        fn no_change_of_zones_gives_an_allowance_before_its_time(
            begin in 10_519_200i64..47_336_000,
            steps in prop::collection::vec((any::<usize>(), 1i64..1_800), 1..60),
        ) {
            let mut now = Timestamp::from_seconds(begin * 60);
            let first = Window::of(now);
            let (mut day, mut month) = (first.day, first.month);
            for (number, minutes) in steps {
                // In another zone with every payment.
                now = now + Span::seconds(minutes * 60);
                let calendar = any_zone(number).window(now);
                let (next, goes_on) = day.next(calendar.day, now);
                prop_assert!(next.holds(now));
                prop_assert!(goes_on && next.from == day.from && next.to >= day.to || next.from >= day.to);
                prop_assert!(next.to.since(next.from) >= Span::seconds(18 * 3_600), "{next:?}");
                day = next;
                let (next, goes_on) = month.next(calendar.month, now);
                prop_assert!(next.holds(now));
                prop_assert!(goes_on && next.from == month.from && next.to >= month.to || next.from >= month.to);
                prop_assert!(next.to.since(next.from) >= Span::seconds(25 * 86_400), "{next:?}");
                month = next;
            }
        }
    }
}
