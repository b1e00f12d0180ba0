//! What a delegation asks of the moment: when it counts, and how often.
//!
//! Signed with the delegation itself, in its `meta` under [`META`], so that nobody on the way can take them off; every
//! link of a chain adds its own. Executors of this house heed them. A condition that cannot be read, also one this
//! version does not know, makes the delegation count for nothing.

use std::collections::BTreeMap;

use jiff::{
    civil::{Time, Weekday},
    tz::TimeZone,
};
use q_core::{Timestamp, hash, time};
use q_ucan::{Delegation, Ipld, TokenCid, dag_json};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The name of the conditions among a delegation's remarks.
pub const META: &str = "q/conditions";
/// The most uses that can be promised.
pub const USES_MAX: u64 = 1_000_000;
/// The longest name of a zone, in bytes.
const ZONE_BYTES_MAX: usize = 64;

/// The conditions of one delegation, as they are signed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Conditions {
    /// When it counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_window: Option<WindowText>,
    /// How often it counts, all in all, whoever below it uses it; 1 to 1,000,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_uses: Option<u64>,
}

/// A time of day on some days of the week, as it is signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WindowText {
    /// `HH:MM`, from `00:00`.
    pub start: String,
    /// `HH:MM`, not included; up to `24:00`. Before the start: on the next day.
    pub end: String,
    /// The zone by its IANA name, such as `Europe/Madrid`.
    pub tz: String,
    /// On which days it begins: `MON` to `SUN`; every day when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub days: Vec<String>,
}

/// The conditions say something that cannot be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotConditions {
    /// Not a map of what is known here.
    #[error("the conditions are timeWindow and maxUses, and nothing else")]
    Form,
    /// Not two times of a day.
    #[error("a time window has a start and another end, written HH:MM")]
    Time,
    /// Not a zone this program knows.
    #[error("the time zone is none of the IANA database")]
    Zone,
    /// Not different days.
    #[error("the days are different ones of MON, TUE, WED, THU, FRI, SAT, SUN")]
    Days,
    /// None, or too many.
    #[error("maxUses is 1 to 1,000,000")]
    Uses,
    /// Counted in one module, it would count anew in each other one.
    #[error("a delegation that counts its uses names a module")]
    Unbounded,
}

/// A time window that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TimeWindow {
    start: u32,
    end: u32,
    zone: TimeZone,
    /// The days it begins on, bit 0 for Monday.
    days: u8,
}

/// A count that has to be kept: of which delegation, and up to what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Use {
    /// The delegation whose uses are counted.
    pub cid: TokenCid,
    /// How often it counts.
    pub max: u64,
}

impl Use {
    /// The name under which it is counted.
    pub fn name(&self) -> hash::Sha256 {
        *self.cid.digest()
    }
}

/// What all links of a chain ask of the moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) windows: Vec<TimeWindow>,
    pub(crate) uses: Vec<Use>,
}

impl Conditions {
    /// Whether nothing is asked.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Refuses what cannot be kept.
    pub fn check(&self) -> Result<(), NotConditions> {
        if self.max_uses.is_some_and(|max| !(1..=USES_MAX).contains(&max)) {
            return Err(NotConditions::Uses);
        }
        self.time_window.as_ref().map_or(Ok(()), |text| TimeWindow::read(text).map(drop))
    }

    /// The remarks of a delegation under these conditions.
    ///
    /// # Errors
    /// When they cannot be kept.
    pub fn to_meta(&self) -> Result<BTreeMap<String, Ipld>, NotConditions> {
        self.check()?;
        if self.is_empty() {
            return Ok(BTreeMap::new());
        }
        let json = serde_json::to_value(self).map_err(|_| NotConditions::Form)?;
        let ipld = dag_json::from_json(&json).map_err(|_| NotConditions::Form)?;
        Ok(BTreeMap::from([(META.to_owned(), ipld)]))
    }

    /// The conditions of a delegation.
    ///
    /// # Errors
    /// When they cannot be read or kept: then it must not count.
    pub fn of(delegation: &Delegation) -> Result<Self, NotConditions> {
        let Some(ipld) = delegation.meta().get(META) else { return Ok(Self::default()) };
        let conditions: Self =
            serde_json::from_value(dag_json::to_json(ipld)).map_err(|_| NotConditions::Form)?;
        conditions.check()?;
        if conditions.max_uses.is_some() && delegation.command().segments().next().is_none() {
            return Err(NotConditions::Unbounded);
        }
        Ok(conditions)
    }
}

impl Limits {
    /// What the links of a chain ask for together.
    pub(crate) fn of<'a>(links: impl IntoIterator<Item = &'a Delegation>) -> Result<Self, NotConditions> {
        let mut limits = Self::default();
        for link in links {
            let conditions = Conditions::of(link)?;
            if let Some(text) = &conditions.time_window {
                limits.windows.push(TimeWindow::read(text)?);
            }
            limits.uses.extend(conditions.max_uses.map(|max| Use { cid: link.cid(), max }));
        }
        limits.uses.sort_unstable();
        limits.uses.dedup();
        Ok(limits)
    }

    /// Whether every window is open.
    pub(crate) fn are_open(&self, now: Timestamp) -> bool {
        self.windows.iter().all(|window| window.is_open(now))
    }
}

/// The first of `links` whose time window is not open at `now`, and that window.
pub fn closed_window<'a>(
    links: impl IntoIterator<Item = &'a Delegation>,
    now: Timestamp,
) -> Option<(TokenCid, WindowText)> {
    links.into_iter().find_map(|link| {
        let text = Conditions::of(link).ok()?.time_window?;
        let is_open = TimeWindow::read(&text).is_ok_and(|window| window.is_open(now));
        (!is_open).then(|| (link.cid(), text))
    })
}

impl std::fmt::Display for WindowText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { start, end, tz, days } = self;
        let days = if days.is_empty() { "every day".to_owned() } else { days.join(", ") };
        write!(f, "{days} from {start} to {end} in {tz}")
    }
}

impl TimeWindow {
    fn read(text: &WindowText) -> Result<Self, NotConditions> {
        let (start, end) = (minutes(&text.start)?, minutes(&text.end)?);
        // From 24:00 is from 00:00 of another day, and a window that ends where it begins says nothing.
        if start == end || start == DAY {
            return Err(NotConditions::Time);
        }
        let is_name = text.tz.len() <= ZONE_BYTES_MAX && !text.tz.is_empty();
        let zone = if is_name { time::zone(&text.tz) } else { None };
        let mut days = 0;
        for day in &text.days {
            let bit = DAYS.iter().position(|known| known == day).ok_or(NotConditions::Days)?;
            if days & (1 << bit) != 0 {
                return Err(NotConditions::Days);
            }
            days |= 1 << bit;
        }
        let days = if text.days.is_empty() { 0b111_1111 } else { days };
        Ok(Self { start, end, zone: zone.ok_or(NotConditions::Zone)?, days })
    }

    /// Whether it is open at `now`, by the clocks on the walls there. An hour the clocks skip is in no window; one they
    /// show twice is in it twice.
    fn is_open(&self, now: Timestamp) -> bool {
        let Ok(instant) = jiff::Timestamp::from_microsecond(now.micros()) else { return false };
        let there = self.zone.to_datetime(instant);
        let minute = minute_of(there.time());
        let begins_on = |day: Weekday| self.days & (1 << day.to_monday_zero_offset()) != 0;
        let (today, yesterday) = (there.date().weekday(), there.date().weekday().previous());
        if self.start < self.end {
            begins_on(today) && (self.start..self.end).contains(&minute)
        } else {
            (begins_on(today) && minute >= self.start) || (begins_on(yesterday) && minute < self.end)
        }
    }
}

/// The minutes of a day.
const DAY: u32 = 24 * 60;
const DAYS: [&str; 7] = ["MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN"];

fn minute_of(time: Time) -> u32 {
    u32::from(time.hour().unsigned_abs()) * 60 + u32::from(time.minute().unsigned_abs())
}

/// The minute of the day of `HH:MM`, up to `24:00`.
fn minutes(text: &str) -> Result<u32, NotConditions> {
    let bytes = text.as_bytes();
    let is_form =
        bytes.len() == 5 && bytes[2] == b':' && [0, 1, 3, 4].into_iter().all(|at| bytes[at].is_ascii_digit());
    if !is_form {
        return Err(NotConditions::Time);
    }
    let digit = |at: usize| u32::from(bytes[at] - b'0');
    let (hour, minute) = (digit(0) * 10 + digit(1), digit(3) * 10 + digit(4));
    let whole = hour * 60 + minute;
    if minute < 60 && whole <= DAY { Ok(whole) } else { Err(NotConditions::Time) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(start: &str, end: &str, tz: &str, days: &[&str]) -> WindowText {
        WindowText {
            start: start.into(),
            end: end.into(),
            tz: tz.into(),
            days: days.iter().map(|day| (*day).to_owned()).collect(),
        }
    }

    fn is_open(window: &WindowText, at: &str) -> bool {
        TimeWindow::read(window).unwrap().is_open(at.parse().unwrap())
    }

    /// Europe/Madrid in 2027: summer time from 28 March 01:00 UTC to 31 October 01:00 UTC.
    #[test]
    fn windows_follow_the_clocks_on_the_walls() {
        let office = text("09:00", "17:00", "Europe/Madrid", &["MON", "TUE", "WED", "THU", "FRI"]);
        let night = text("22:00", "06:00", "Europe/Madrid", &["FRI"]);
        let skipped = text("02:00", "03:00", "Europe/Madrid", &[]);
        let late = text("00:00", "24:00", "Europe/Madrid", &["SUN"]);
        for (window, at, expected) in [
            (&office, "2027-03-26T07:59:59Z", false), // Friday 08:59:59
            (&office, "2027-03-26T08:00:00Z", true),
            (&office, "2027-03-26T15:59:59Z", true),
            (&office, "2027-03-26T16:00:00Z", false),
            (&office, "2027-03-27T10:00:00Z", false), // Saturday
            (&office, "2027-03-29T07:00:00Z", true),  // Monday 09:00 in summer
            (&office, "2027-03-29T15:00:00Z", false),
            (&night, "2027-03-26T21:00:00Z", true), // Friday 22:00
            (&night, "2027-03-27T04:59:59Z", true), // Saturday 05:59:59
            (&night, "2027-03-27T05:00:00Z", false),
            (&night, "2027-03-27T22:00:00Z", false),   // Saturday 23:00
            (&night, "2027-03-26T04:00:00Z", false),   // Friday 05:00 belongs to Thursday
            (&skipped, "2027-03-28T00:59:59Z", false), // 01:59:59, then it is 03:00
            (&skipped, "2027-03-28T01:00:00Z", false),
            (&skipped, "2027-10-31T00:30:00Z", true), // 02:30 in summer
            (&skipped, "2027-10-31T01:30:00Z", true), // 02:30 in winter
            (&skipped, "2027-10-31T02:00:00Z", false),
            (&late, "2027-03-27T23:00:00Z", true), // Sunday 00:00
            (&late, "2027-03-28T21:59:59Z", true), // Sunday 23:59:59 in summer
            (&late, "2027-03-28T22:00:00Z", false),
        ] {
            assert_eq!(is_open(window, at), expected, "{window:?} at {at}");
        }
        assert!(is_open(&text("00:00", "00:01", "UTC", &[]), "1970-01-01T00:00:59Z"));
        // Half hours, and the other side of the date line.
        assert!(is_open(&text("05:30", "05:31", "Asia/Kolkata", &["THU"]), "1970-01-01T00:00:00Z"));
        assert!(is_open(&text("11:00", "12:00", "Pacific/Apia", &["SUN"]), "2027-06-05T22:30:00Z"));
    }

    #[test]
    fn what_cannot_be_kept_is_refused() {
        for (window, expected) in [
            (text("9:00", "17:00", "UTC", &[]), NotConditions::Time),
            (text("09:00", "09:00", "UTC", &[]), NotConditions::Time),
            (text("24:00", "09:00", "UTC", &[]), NotConditions::Time),
            (text("09:60", "17:00", "UTC", &[]), NotConditions::Time),
            (text("09:00", "24:01", "UTC", &[]), NotConditions::Time),
            (text("09:00", "25:00", "UTC", &[]), NotConditions::Time),
            (text("٠٩:٠٠", "17:00", "UTC", &[]), NotConditions::Time),
            (text("09:00", "17:00", "", &[]), NotConditions::Zone),
            (text("09:00", "17:00", "Mars/Olympus", &[]), NotConditions::Zone),
            (text("09:00", "17:00", "../../etc/passwd", &[]), NotConditions::Zone),
            (text("09:00", "17:00", "/etc/localtime", &[]), NotConditions::Zone),
            (text("09:00", "17:00", &"A".repeat(65), &[]), NotConditions::Zone),
            (text("09:00", "17:00", "UTC", &["mon"]), NotConditions::Days),
            (text("09:00", "17:00", "UTC", &["MON", "MON"]), NotConditions::Days),
        ] {
            let conditions = Conditions { time_window: Some(window.clone()), max_uses: None };
            assert_eq!(conditions.check(), Err(expected), "{window:?}");
        }
        for (max, is_good) in
            [(0, false), (1, true), (USES_MAX, true), (USES_MAX + 1, false), (u64::MAX, false)]
        {
            let conditions = Conditions { time_window: None, max_uses: Some(max) };
            assert_eq!(conditions.check().is_ok(), is_good, "{max}");
            assert_eq!(conditions.to_meta().is_ok(), is_good);
        }
        assert_eq!(Conditions::default().to_meta(), Ok(BTreeMap::new()));
    }
}
