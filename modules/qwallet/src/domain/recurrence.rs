//! When something happens again and again: a recurrence rule (RFC 5545 section 3.3.10) by the clocks of a time zone.
//!
//! The rule is counted on the wall clock, as if there were no zones; which instant the clocks then show is asked of the
//! zone. A time that clocks leave out is meant as if they had not been set forward yet, and one that they show twice is
//! the first (RFC 5545 section 3.3.5). The counting library has zones of its own, but what falls into an hour that is
//! left out at midnight, as in Cairo or Santiago, it drops: a rent would not be paid.
//!
//! **Invariant:** a rule has the same occurrences whoever asks, each later than the one before.

use jiff::{civil::DateTime, tz::TimeZone};
use q_core::{Span, Timestamp, time};
use rrule::RRuleSet;

/// The longest rule, in characters.
const RULE_BYTES_MAX: usize = 256;

/// How far ahead a rule is looked at before it is taken: ten years.
const HORIZON: Span = Span::seconds(10 * 365 * 86_400);

/// How often it may occur in that time: every day, and not every hour without an end.
const OCCURRENCES_MAX: usize = 4_000;

/// Where counting stops whatever the rule says; no rule that was taken gets so far in thirty years.
const COUNTED_MAX: usize = 20_000;

/// The parts of a rule.
const PARTS: [&str; 14] = [
    "FREQ",
    "INTERVAL",
    "COUNT",
    "UNTIL",
    "WKST",
    "BYMONTH",
    "BYMONTHDAY",
    "BYYEARDAY",
    "BYWEEKNO",
    "BYDAY",
    "BYHOUR",
    "BYMINUTE",
    "BYSECOND",
    "BYSETPOS",
];

/// Why a rule is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{part}: {detail}")]
pub struct Fault {
    /// The part of the rule, or the field beside it, that is wrong.
    pub part: &'static str,
    /// What is wrong with it.
    pub detail: String,
}

fn fault<T>(part: &'static str, detail: impl Into<String>) -> Result<T, Fault> {
    Err(Fault { part, detail: detail.into() })
}

/// A rule and its bounds as they are written down.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    /// The rule without `RRULE:` and `DTSTART`.
    pub rrule: &'a str,
    /// The IANA name of the zone.
    pub timezone: &'a str,
    /// The first instant it may occur.
    pub start: Timestamp,
    /// The last, where there is one and the rule does not say so itself.
    pub until: Option<Timestamp>,
    /// How often it occurs, likewise.
    pub count: Option<u32>,
}

/// One time at which a rule occurs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Occurrence {
    /// What the clocks of the zone show, in seconds as if they were those of UTC. It stays the same when a country changes
    /// its clocks after the rule was written.
    pub wall: i64,
    /// When that is.
    pub at: Timestamp,
}

/// A rule that occurs, and not too often.
#[derive(Debug, Clone)]
pub struct Rule {
    set: RRuleSet,
    zone: TimeZone,
    start: Timestamp,
    until: Option<Timestamp>,
}

impl Rule {
    /// Reads a rule and makes sure that it occurs in the next ten years, and not too often.
    pub fn read(terms: &Terms<'_>) -> Result<Self, Fault> {
        let rule = Self::trusted(terms)?;
        let horizon = terms.start + HORIZON;
        let count = rule
            .occurrences()
            .take_while(|occurrence| occurrence.at < horizon)
            .take(OCCURRENCES_MAX + 1)
            .count();
        match count {
            0 => fault("RRULE", "it does not occur in the ten years from its start on"),
            count if count > OCCURRENCES_MAX => fault(
                "FREQ",
                format!(
                    "it occurs more than {OCCURRENCES_MAX} times in ten years: give it an end with `until` or `count`"
                ),
            ),
            _ => Ok(rule),
        }
    }

    /// Reads a rule that was taken before.
    pub fn trusted(terms: &Terms<'_>) -> Result<Self, Fault> {
        let parts = Parts::read(terms.rrule)?;
        let Some(zone) = time::zone(terms.timezone) else {
            return fault(
                "timezone",
                format!("{:?} is not the IANA name of a time zone, such as Europe/Berlin", terms.timezone),
            );
        };
        let until = match (parts.until, terms.until) {
            (Some(_), Some(_)) => return fault("UNTIL", "the end is said twice, in the rule and beside it"),
            (inside, beside) => inside.or(beside),
        };
        let count = match (parts.count, terms.count) {
            (Some(_), Some(_)) => return fault("COUNT", "it is said twice, in the rule and beside it"),
            (inside, beside) => inside.or(beside),
        };
        if count.is_some() && until.is_some() {
            return fault("COUNT", "a rule ends at an instant or after a number of times, not both");
        }
        if count == Some(0) {
            return fault("COUNT", "it has to occur at least once");
        }
        if until.is_some_and(|until| until < terms.start) {
            return fault("UNTIL", "the end is before the start");
        }
        let Ok(start) = jiff::Timestamp::from_second(terms.start.seconds()) else {
            return fault("start", "it is too far away");
        };
        let start = zone.to_datetime(start);
        let count = count.map(|count| format!(";COUNT={count}")).unwrap_or_default();
        let text = format!("DTSTART:{}Z\nRRULE:{}{count}", start.strftime("%Y%m%dT%H%M%S"), parts.rest);
        match text.parse::<RRuleSet>() {
            Ok(set) => Ok(Self { set: set.limit(), zone, start: terms.start, until }),
            Err(error) => {
                let text = error.to_string();
                let named =
                    PARTS.into_iter().filter(|part| text.contains(part)).max_by_key(|part| part.len());
                let unnamed = match text.as_str() {
                    text if text.contains("weekday start") => "WKST",
                    text if text.contains("weekday") => "BYDAY",
                    _ => "RRULE",
                };
                fault(named.unwrap_or(unnamed), text)
            }
        }
    }

    /// Its occurrences from the start on.
    pub fn occurrences(&self) -> impl Iterator<Item = Occurrence> + '_ {
        let mut last = None;
        // Who starts in the second of two hours that the clocks show alike did not mean the first.
        let instant = |wall| Some(self.instant(wall)?.max(self.start));
        let all = self.walls().map_while(move |wall| Some(Occurrence { wall, at: instant(wall)? }));
        // What an hour that is left out pushes onto the next is one time, not two.
        let all =
            all.filter(move |occurrence| last.replace(occurrence.at).is_none_or(|last| last < occurrence.at));
        all.take_while(|occurrence| self.until.is_none_or(|until| occurrence.at <= until))
    }

    /// Those after what the clocks showed then.
    pub fn after(&self, wall: i64) -> impl Iterator<Item = Occurrence> + '_ {
        self.occurrences().skip_while(move |occurrence| occurrence.wall <= wall)
    }

    /// What the clocks show when it occurs, in order, whatever instants these are by now and whether or not it has ended.
    pub fn walls(&self) -> impl Iterator<Item = i64> + '_ {
        self.set.into_iter().take(COUNTED_MAX).map(|wall| wall.timestamp())
    }

    /// Until when it occurs, where it has an end by the calendar.
    pub const fn until(&self) -> Option<Timestamp> {
        self.until
    }

    /// When the clocks of the zone show this.
    fn instant(&self, wall: i64) -> Option<Timestamp> {
        let shown = TimeZone::UTC.to_datetime(jiff::Timestamp::from_second(wall).ok()?);
        let zoned = self.zone.to_ambiguous_zoned(shown).compatible().ok()?;
        Some(Timestamp::from_seconds(zoned.timestamp().as_second()))
    }
}

/// A rule in parts, with its end taken out.
struct Parts {
    rest: String,
    until: Option<Timestamp>,
    count: Option<u32>,
}

impl Parts {
    fn read(text: &str) -> Result<Self, Fault> {
        if text.len() > RULE_BYTES_MAX {
            return fault("RRULE", format!("it is longer than {RULE_BYTES_MAX} characters"));
        }
        let mut seen: Vec<(&'static str, &str)> = Vec::new();
        for part in text.split(';') {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let Some(known) = PARTS.into_iter().find(|known| *known == name) else {
                return fault(
                    "RRULE",
                    format!("{name:?} is no part of a rule; one is FREQ=MONTHLY;BYMONTHDAY=1"),
                );
            };
            if seen.iter().any(|(name, _)| *name == known) {
                return fault(known, "it is said twice");
            }
            let is_value =
                |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || b",+-".contains(&byte);
            if value.is_empty() || !value.bytes().all(is_value) {
                return fault(known, format!("{value:?} is no value of it"));
            }
            seen.push((known, value));
        }
        let find = |name| seen.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
        check_frequency(find("FREQ"), &find)?;
        let until = find("UNTIL").map(read_until).transpose()?;
        let count = match find("COUNT").map(str::parse) {
            Some(Err(_)) => return fault("COUNT", "it is not a number of times"),
            Some(Ok(count)) => Some(count),
            None => None,
        };
        let rest = seen.iter().filter(|(name, _)| !["UNTIL", "COUNT"].contains(name));
        let rest: Vec<String> = rest.map(|(name, value)| format!("{name}={value}")).collect();
        Ok(Self { rest: rest.join(";"), until, count })
    }
}

/// What RFC 5545 demands and the counting library lets pass, and what is too often.
fn check_frequency<'a>(
    frequency: Option<&str>,
    find: &impl Fn(&'static str) -> Option<&'a str>,
) -> Result<(), Fault> {
    let Some(frequency) = frequency else { return fault("FREQ", "a rule begins with how often it occurs") };
    match frequency {
        "YEARLY" | "MONTHLY" | "WEEKLY" | "DAILY" | "HOURLY" => {}
        "MINUTELY" | "SECONDLY" => return fault("FREQ", "nothing occurs more than once in an hour"),
        _ => return fault("FREQ", "it is YEARLY, MONTHLY, WEEKLY, DAILY or HOURLY"),
    }
    for part in ["BYMINUTE", "BYSECOND"] {
        if find(part).is_some_and(|value| value.contains(',')) {
            return fault(part, "nothing occurs more than once in an hour");
        }
    }
    if find("INTERVAL").is_some_and(|value| value.parse::<u16>().is_ok_and(|interval| interval == 0)) {
        return fault("INTERVAL", "it is at least 1");
    }
    for part in ["BYMONTHDAY", "BYYEARDAY", "BYWEEKNO", "BYSETPOS", "BYDAY"] {
        // What is counted is counted from 1, or from -1 backwards; the counting library drops a 0.
        let number =
            |value: &str| value.trim_end_matches(|letter: char| letter.is_ascii_uppercase()).parse::<i32>();
        if find(part).is_some_and(|values| values.split(',').any(|value| number(value) == Ok(0))) {
            return fault(part, "there is no 0");
        }
    }
    let has_number = find("BYDAY").is_some_and(|days| days.bytes().any(|byte| byte.is_ascii_digit()));
    if has_number && (!["MONTHLY", "YEARLY"].contains(&frequency) || find("BYWEEKNO").is_some()) {
        return fault("BYDAY", "a number before a day is for months and years, and not beside BYWEEKNO");
    }
    let others = PARTS.into_iter().filter(|part| part.starts_with("BY") && *part != "BYSETPOS");
    if find("BYSETPOS").is_some() && !others.into_iter().any(|part| find(part).is_some()) {
        return fault("BYSETPOS", "it chooses among what another part beginning with BY names");
    }
    Ok(())
}

/// The end as a rule says it: in UTC, because the start has a zone.
fn read_until(value: &str) -> Result<Timestamp, Fault> {
    let read = value.strip_suffix('Z').and_then(|value| DateTime::strptime("%Y%m%dT%H%M%S", value).ok());
    let instant = read.and_then(|read| read.to_zoned(TimeZone::UTC).ok());
    match instant {
        Some(instant) => Ok(Timestamp::from_seconds(instant.timestamp().as_second())),
        None => fault("UNTIL", "it is an instant in UTC such as 20301231T235959Z"),
    }
}

/// How long a plan is paid for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Period {
    /// A day.
    Day,
    /// Seven days.
    Week,
    /// A month.
    Month,
    /// A year.
    Year,
}

impl Period {
    const ALL: [Self; 4] = [Self::Day, Self::Week, Self::Month, Self::Year];

    /// The name on the wire and in the store.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Year => "year",
        }
    }

    /// The period of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|period| period.name() == name)
    }

    /// The rule by which a period that begins at `start` is renewed: on the same day, or where a month does not have that
    /// day on its last.
    pub fn rule(self, start: Timestamp, timezone: &str) -> Result<String, Fault> {
        let Some(zone) = time::zone(timezone) else {
            return fault(
                "timezone",
                format!("{timezone:?} is not the IANA name of a time zone, such as Europe/Berlin"),
            );
        };
        let Ok(start) = jiff::Timestamp::from_second(start.seconds()) else {
            return fault("start", "it is too far away");
        };
        let start = zone.to_datetime(start);
        let last_of = |days: std::ops::RangeInclusive<i8>| {
            let days: Vec<String> = days.map(|day| day.to_string()).collect();
            format!("BYMONTHDAY={};BYSETPOS=-1", days.join(","))
        };
        Ok(match (self, start.month(), start.day()) {
            (Self::Day, ..) => "FREQ=DAILY".to_owned(),
            (Self::Week, ..) => "FREQ=WEEKLY".to_owned(),
            (Self::Month, _, day @ 29..) => format!("FREQ=MONTHLY;{}", last_of(28..=day)),
            (Self::Month, ..) => "FREQ=MONTHLY".to_owned(),
            (Self::Year, 2, 29) => format!("FREQ=YEARLY;BYMONTH=2;{}", last_of(28..=29)),
            (Self::Year, ..) => "FREQ=YEARLY".to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms<'a>(rrule: &'a str, timezone: &'a str, start: &str) -> Terms<'a> {
        Terms { rrule, timezone, start: start.parse().unwrap(), until: None, count: None }
    }

    fn first(terms: &Terms<'_>, count: usize) -> Vec<String> {
        let rule = Rule::read(terms).unwrap();
        rule.occurrences().take(count).map(|occurrence| occurrence.at.to_string()).collect()
    }

    #[test]
    fn clocks_that_change_are_followed() {
        let berlin = terms("FREQ=DAILY", "Europe/Berlin", "2026-03-27T08:00:00Z");
        assert_eq!(
            first(&berlin, 3),
            ["2026-03-27T08:00:00Z", "2026-03-28T08:00:00Z", "2026-03-29T07:00:00Z"],
            "nine o'clock by the clocks of Berlin"
        );
        // Half past two does not exist on the 29th: as if clocks had not been set forward yet.
        let skipped = terms("FREQ=DAILY", "Europe/Berlin", "2026-03-28T01:30:00Z");
        assert_eq!(first(&skipped, 2), ["2026-03-28T01:30:00Z", "2026-03-29T01:30:00Z"]);
        // It exists twice in October: the first counts.
        let twice = terms("FREQ=DAILY", "Europe/Berlin", "2026-10-24T00:30:00Z");
        assert_eq!(first(&twice, 2), ["2026-10-24T00:30:00Z", "2026-10-25T00:30:00Z"]);
        // In Santiago the hour after midnight is left out.
        let midnight = terms("FREQ=DAILY", "America/Santiago", "2026-09-05T04:30:00Z");
        assert_eq!(first(&midnight, 2), ["2026-09-05T04:30:00Z", "2026-09-06T04:30:00Z"]);
        // Every hour: what is left out is not paid twice.
        let hours = Terms { count: Some(4), ..terms("FREQ=HOURLY", "Europe/Berlin", "2026-03-29T00:30:00Z") };
        assert_eq!(
            first(&hours, 9),
            ["2026-03-29T00:30:00Z", "2026-03-29T01:30:00Z", "2026-03-29T02:30:00Z"]
        );
    }

    #[test]
    fn a_fault_names_its_part() {
        let named = |rule: &str| {
            Rule::read(&terms(rule, "UTC", "2026-01-01T00:00:00Z")).err().map(|fault| fault.part)
        };
        for (rule, part) in [
            ("", "RRULE"),
            ("monthly", "RRULE"),
            ("RRULE:FREQ=DAILY", "RRULE"),
            ("INTERVAL=2", "FREQ"),
            ("FREQ=FORTNIGHTLY", "FREQ"),
            ("FREQ=SECONDLY", "FREQ"),
            ("FREQ=MINUTELY;INTERVAL=90", "FREQ"),
            ("FREQ=HOURLY", "FREQ"),
            ("FREQ=DAILY;BYHOUR=0,6,12,18", "FREQ"),
            ("FREQ=DAILY;FREQ=DAILY", "FREQ"),
            ("FREQ=DAILY;BYMINUTE=0,30", "BYMINUTE"),
            ("FREQ=DAILY;BYHOUR=24", "BYHOUR"),
            ("FREQ=DAILY;INTERVAL=0", "INTERVAL"),
            ("FREQ=DAILY;INTERVAL=-1", "INTERVAL"),
            ("FREQ=MONTHLY;BYMONTHDAY=32", "BYMONTHDAY"),
            ("FREQ=MONTHLY;BYMONTH=13", "BYMONTH"),
            ("FREQ=MONTHLY;BYMONTH=0", "BYMONTH"),
            ("FREQ=MONTHLY;BYMONTHDAY=0", "BYMONTHDAY"),
            ("FREQ=MONTHLY;BYMONTHDAY=1,00", "BYMONTHDAY"),
            ("FREQ=YEARLY;BYYEARDAY=0", "BYYEARDAY"),
            ("FREQ=YEARLY;BYYEARDAY=367", "BYYEARDAY"),
            ("FREQ=YEARLY;BYWEEKNO=0", "BYWEEKNO"),
            ("FREQ=YEARLY;BYWEEKNO=54", "BYWEEKNO"),
            ("FREQ=MONTHLY;BYDAY=0MO", "BYDAY"),
            ("FREQ=MONTHLY;BYDAY=6MO", "BYDAY"),
            ("FREQ=MONTHLY;BYDAY=MO;BYSETPOS=0", "BYSETPOS"),
            ("FREQ=DAILY;BYMINUTE=60", "BYMINUTE"),
            ("FREQ=DAILY;BYSECOND=60", "BYSECOND"),
            ("FREQ=DAILY;BYHOUR=-1", "BYHOUR"),
            ("FREQ=DAILY;WKST=XX", "WKST"),
            ("FREQ=YEARLY;INTERVAL=70000", "INTERVAL"),
            ("FREQ=WEEKLY;BYMONTHDAY=1", "BYMONTHDAY"),
            ("FREQ=MONTHLY;BYDAY=XX", "BYDAY"),
            ("FREQ=WEEKLY;BYDAY=1MO", "BYDAY"),
            ("FREQ=MONTHLY;BYSETPOS=1", "BYSETPOS"),
            ("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30", "RRULE"),
            ("FREQ=DAILY;UNTIL=20300101", "UNTIL"),
            ("FREQ=DAILY;UNTIL=20200101T000000Z", "UNTIL"),
            ("FREQ=DAILY;COUNT=0", "COUNT"),
            ("FREQ=DAILY;COUNT=2;UNTIL=20300101T000000Z", "COUNT"),
            ("FREQ=DAILY\nEXDATE:20260101T000000Z", "FREQ"),
        ] {
            assert_eq!(named(rule), Some(part), "{rule}");
        }
        let nowhere = Rule::read(&terms("FREQ=DAILY", "Europe/Atlantis", "2026-01-01T00:00:00Z"));
        assert_eq!(nowhere.err().map(|fault| fault.part), Some("timezone"));
    }

    #[test]
    fn a_period_that_begins_on_the_last_day_is_renewed_on_last_days() {
        let rule =
            |period: Period, start: &str| period.rule(start.parse().unwrap(), "Europe/Berlin").unwrap();
        let start = "2028-01-31T08:00:00Z";
        let month = rule(Period::Month, start);
        assert_eq!(
            first(&terms(&month, "Europe/Berlin", start), 4),
            ["2028-01-31T08:00:00Z", "2028-02-29T08:00:00Z", "2028-03-31T07:00:00Z", "2028-04-30T07:00:00Z"]
        );
        let year = rule(Period::Year, "2028-02-29T08:00:00Z");
        assert_eq!(
            first(&terms(&year, "Europe/Berlin", "2028-02-29T08:00:00Z"), 2),
            ["2028-02-29T08:00:00Z", "2029-02-28T08:00:00Z"]
        );
        // The last evening of a month elsewhere is the first morning here.
        assert_eq!(rule(Period::Month, "2026-01-31T23:30:00Z"), "FREQ=MONTHLY");
    }

    #[test]
    fn nothing_is_paid_before_the_start() {
        // Half past two a second time: the clocks were set back half an hour ago.
        let start = "2026-10-25T01:30:00Z";
        assert_eq!(
            first(&terms("FREQ=DAILY", "Europe/Berlin", start), 2),
            ["2026-10-25T01:30:00Z", "2026-10-26T01:30:00Z"]
        );
    }

    #[test]
    fn what_comes_after_a_time_is_what_follows_it() {
        let rule = Rule::read(&terms("FREQ=WEEKLY", "Europe/Berlin", "2026-03-22T08:00:00Z")).unwrap();
        let second = rule.occurrences().nth(1).unwrap();
        assert_eq!(rule.after(second.wall).next(), rule.occurrences().nth(2));
    }
}
