//! Recurrence rules, counted a second time by a program that is not ours.

use q_core::Timestamp;
use q_testkit::oracle;
use qwallet::domain::recurrence::{Rule, Terms};
use serde_json::json;

/// Zones that change their clocks at night, at midnight, by half an hour, south of the equator, and not at all. Not Dublin,
/// whose winter time the other program takes for two hours less where the zone data call the summer the standard.
const ZONES: [&str; 10] = [
    "Europe/Berlin",
    "America/New_York",
    "America/Santiago",
    "Africa/Cairo",
    "Australia/Lord_Howe",
    "America/Havana",
    "Asia/Beirut",
    "Europe/London",
    "Asia/Kathmandu",
    "UTC",
];

/// How many rules are compared.
const CASES: usize = 250;

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[usize::try_from(self.roll(of.len() as u64)).unwrap()]
    }

    fn number(&mut self, from: i64, to: i64) -> i64 {
        from + i64::try_from(self.roll(u64::try_from(to - from + 1).unwrap())).unwrap()
    }

    fn numbers(&mut self, from: i64, to: i64) -> String {
        let mut numbers: Vec<i64> =
            (0..=self.roll(3)).map(|_| self.number(from, to)).filter(|at| *at != 0).collect();
        numbers.sort_unstable();
        numbers.dedup();
        if numbers.is_empty() {
            numbers.push(to);
        }
        numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
    }

    fn days(&mut self, with_numbers: bool) -> String {
        let days = (0..=self.roll(3)).map(|_| {
            let day = self.one(&["MO", "TU", "WE", "TH", "FR", "SA", "SU"]);
            if with_numbers && self.roll(2) == 0 {
                format!("{}{day}", self.one(&["1", "2", "-1", "-2", "4", "5"]))
            } else {
                day.to_owned()
            }
        });
        let mut days: Vec<String> = days.collect();
        days.sort_unstable();
        days.dedup();
        days.join(",")
    }

    fn rule(&mut self) -> String {
        let frequency = self.one(&["YEARLY", "MONTHLY", "MONTHLY", "WEEKLY", "DAILY", "HOURLY"]);
        let mut parts = vec![format!("FREQ={frequency}")];
        let mut choosable = false;
        let mut add = |part: String, parts: &mut Vec<String>| {
            choosable = true;
            parts.push(part);
        };
        let is_long = ["YEARLY", "MONTHLY"].contains(&frequency);
        if self.roll(2) == 0 {
            parts.push(format!("INTERVAL={}", self.number(1, if frequency == "HOURLY" { 400 } else { 6 })));
        }
        if self.roll(4) == 0 {
            add(format!("BYMONTH={}", self.numbers(1, 12)), &mut parts);
        }
        if frequency != "WEEKLY" && self.roll(3) == 0 {
            add(format!("BYMONTHDAY={}", self.numbers(-31, 31)), &mut parts);
        }
        if frequency == "YEARLY" && self.roll(4) == 0 {
            add(format!("BYYEARDAY={}", self.numbers(-366, 366)), &mut parts);
        }
        let by_week = frequency == "YEARLY" && self.roll(4) == 0;
        if by_week {
            add(format!("BYWEEKNO={}", self.numbers(-53, 53)), &mut parts);
        }
        if self.roll(3) == 0 {
            add(format!("BYDAY={}", self.days(is_long && !by_week)), &mut parts);
        }
        if self.roll(4) == 0 {
            add(format!("BYHOUR={}", self.numbers(0, 23)), &mut parts);
        }
        if self.roll(4) == 0 {
            add(format!("BYMINUTE={}", self.number(0, 59)), &mut parts);
        }
        if self.roll(6) == 0 {
            parts.push(format!("WKST={}", self.one(&["MO", "SU", "SA"])));
        }
        if choosable && is_long && self.roll(4) == 0 {
            parts.push(format!("BYSETPOS={}", self.one(&["1", "-1", "2", "1,-1"])));
        }
        if self.roll(4) == 0 {
            parts.push(format!("COUNT={}", self.number(1, 300)));
        }
        parts.join(";")
    }
}

#[test]
fn occurrences_are_those_of_another_program_for_ten_years() {
    let Some(mut other) = oracle::script("python-dateutil", env!("CARGO_MANIFEST_DIR"), "recurrence.py")
    else {
        return;
    };
    let (mut dice, mut input, mut ours) = (Dice(5_545), String::new(), Vec::new());
    while ours.len() < CASES {
        let (rrule, zone) = (dice.rule(), dice.one(&ZONES));
        let wall = jiff::civil::date(2024, 1, 1).at(0, 0, 0, 0)
            + jiff::Span::new().minutes(dice.number(0, 2 * 365 * 1_440));
        // Days on which clocks change, now and then, in the hours in which they do.
        let wall = match dice.roll(4) {
            0 => wall.with().year(2026).month(3).day(29).hour(2).build().unwrap(),
            1 => wall.with().year(2025).month(11).day(2).hour(1).build().unwrap(),
            2 => wall.with().year(2024).month(9).day(8).hour(0).build().unwrap(),
            _ => wall,
        };
        let start = jiff::tz::TimeZone::get(zone).unwrap().to_ambiguous_zoned(wall).compatible().unwrap();
        if start.datetime() != wall {
            continue;
        }
        let start_at = Timestamp::from_seconds(start.timestamp().as_second());
        let terms = Terms { rrule: &rrule, timezone: zone, start: start_at, until: None, count: None };
        let Ok(rule) = Rule::read(&terms) else { continue };
        let end = wall.with().year(wall.year() + 10).build().unwrap();
        let end = end.to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp().as_second();
        let instants = rule.occurrences().take_while(|occurrence| occurrence.wall < end);
        ours.push(instants.map(|occurrence| occurrence.at.seconds()).collect::<Vec<_>>());
        input += &json!({"rrule": rrule, "zone": zone, "start": wall.to_string()}).to_string();
        input.push('\n');
    }
    let said = String::from_utf8(oracle::ask(&mut other, &input).unwrap()).unwrap();
    let mut count = 0;
    for ((case, ours), theirs) in input.lines().zip(&ours).zip(said.lines()) {
        let theirs: Vec<i64> = serde_json::from_str(theirs).unwrap();
        let differs = ours.iter().zip(&theirs).position(|(ours, theirs)| ours != theirs);
        assert_eq!(ours, &theirs, "{case} differs from {differs:?} on");
        count += theirs.len();
    }
    assert!(said.lines().count() == CASES && count > 10 * CASES, "{count} occurrences compared");
}
