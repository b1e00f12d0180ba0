//! How much a wallet may spend: in one transaction, in a day, in a month; and how often in an hour.
//!
//! What is counted is what recipients get, without fees, when it is paid or held; what a hold frees is given back.
//! Windows are hours, and the days and months of the calendar in the wallet's time zone. Amounts of two currencies are
//! never added.
//!
//! The account of a community (DAO) has a limit of its own kind instead of the instance's for a day and a month: what
//! was delegated to it, counted by the month.

use q_core::{Amount, AmountText, Scale, Span, Timestamp};

use super::{
    calendar::{Period, Window, Zone, end_of_hour, first_day, hour_of},
    currency::Currency,
};

/// How long an owner waits for a raised limit, so that a thief of the token meets the old one.
pub const RAISE_DELAY: Span = Span::seconds(86_400);

/// The scale of numbers of payments.
pub const COUNT_SCALE: Scale = match Scale::new(0) {
    Some(scale) => scale,
    None => unreachable!(),
};

/// What a limit is about, in the order of checking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LimitKind {
    /// One transaction.
    Transaction,
    /// How many in an hour; its amounts are numbers of payments.
    CountPerHour,
    /// A day.
    Daily,
    /// A month.
    Monthly,
    /// What was delegated to a community, in a month.
    Dao,
}

/// How many kinds there are.
const KINDS: usize = 5;

impl LimitKind {
    /// All of them, in the order of checking.
    pub const ALL: [Self; KINDS] =
        [Self::Transaction, Self::CountPerHour, Self::Daily, Self::Monthly, Self::Dao];

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Transaction => "perTransaction",
            Self::CountPerHour => "countPerHour",
            Self::Daily => "daily",
            Self::Monthly => "monthly",
            Self::Dao => "dao",
        }
    }

    /// Whether its amounts are numbers of payments.
    pub const fn is_count(self) -> bool {
        matches!(self, Self::CountPerHour)
    }

    /// Whether it is counted in days or months, which every time zone has its own of.
    pub const fn is_of_calendar(self) -> bool {
        matches!(self, Self::Daily | Self::Monthly | Self::Dao)
    }

    /// The kind with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Where it is stored: those that came later stand behind.
    const fn place(self) -> usize {
        match self {
            Self::Transaction => 0,
            Self::Daily => 1,
            Self::Monthly => 2,
            Self::CountPerHour => 3,
            Self::Dao => 4,
        }
    }
}

/// One limit of an owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// What holds now.
    pub amount: Amount,
    /// What will hold from an instant on.
    pub raised: Option<(Amount, Timestamp)>,
}

impl Limit {
    /// What holds at `now`.
    pub fn at(&self, now: Timestamp) -> Amount {
        match self.raised {
            Some((amount, from)) if from <= now => amount,
            _ => self.amount,
        }
    }
}

/// What an owner chose; where nothing was chosen, the instance's limits hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OwnLimits([Option<Limit>; KINDS]);

/// How many kinds there were at first; stores hold as many where none that came later is set.
const FIRST_KINDS: usize = 3;

/// Bytes of one stored limit: whether it is there, the amount, the raised amount, and from when.
const LIMIT_BYTES: usize = 41;

impl OwnLimits {
    /// The owner's limit of this kind.
    pub const fn get(&self, kind: LimitKind) -> Option<&Limit> {
        self.0[kind.place()].as_ref()
    }

    /// Changes one limit, of which `effective` holds now: lower at once, higher after [`RAISE_DELAY`], or at once when
    /// `is_confirmed`, which an operator does with what the owner asked for.
    ///
    /// Answers whether the change waits.
    pub fn change(
        &mut self,
        kind: LimitKind,
        effective: Option<Amount>,
        wanted: Amount,
        now: Timestamp,
        is_confirmed: bool,
    ) -> bool {
        let slot = &mut self.0[kind.place()];
        let is_raise = effective.is_some_and(|effective| wanted > effective);
        if is_raise && !is_confirmed {
            let asked_before = slot.and_then(|limit| limit.raised).filter(|(amount, _)| *amount == wanted);
            // Asking for the same again does not begin the wait anew.
            let raised = asked_before.unwrap_or((wanted, now + RAISE_DELAY));
            *slot = Some(Limit { amount: effective.unwrap_or(wanted), raised: Some(raised) });
            return true;
        }
        *slot = Some(Limit { amount: wanted, raised: None });
        false
    }

    /// As it is stored.
    pub fn to_bytes(&self) -> Vec<u8> {
        let has_later = self.0[FIRST_KINDS..].iter().any(Option::is_some);
        let mut bytes = vec![0; if has_later { KINDS } else { FIRST_KINDS } * LIMIT_BYTES];
        for (limit, place) in self.0.iter().zip(bytes.chunks_exact_mut(LIMIT_BYTES)) {
            let Some(limit) = limit else { continue };
            let (raised, from) = limit.raised.unwrap_or_default();
            place[0] = 1 + u8::from(limit.raised.is_some());
            place[1..17].copy_from_slice(&limit.amount.to_bytes());
            place[17..33].copy_from_slice(&raised.to_bytes());
            place[33..].copy_from_slice(&from.micros().to_be_bytes());
        }
        bytes
    }

    /// From what is stored.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut limits = Self::default();
        if ![FIRST_KINDS * LIMIT_BYTES, KINDS * LIMIT_BYTES].contains(&bytes.len()) {
            return None;
        }
        for (slot, place) in limits.0.iter_mut().zip(bytes.chunks_exact(LIMIT_BYTES)) {
            let amount = Amount::from_bytes(*place[1..].first_chunk()?);
            let raised = Amount::from_bytes(*place[17..].first_chunk()?);
            let from = Timestamp::from_micros(i64::from_be_bytes(*place[33..].first_chunk()?));
            *slot = match place[0] {
                0 => None,
                1 => Some(Limit { amount, raised: None }),
                2 => Some(Limit { amount, raised: Some((raised, from)) }),
                _ => return None,
            };
        }
        Some(limits)
    }
}

/// The instance's limits of one currency: the first is the most anybody's transaction may be, the others hold where the
/// owner chose nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Defaults {
    /// The most one transaction may be.
    pub transaction: Option<Amount>,
    /// The most in a day.
    pub daily: Option<Amount>,
    /// The most in a month.
    pub monthly: Option<Amount>,
    /// What is delegated to a community when its wallet is opened.
    pub dao: Option<Amount>,
}

impl Defaults {
    /// What holds for an owner with `own` limits at `now`; `None` when nothing does.
    pub fn effective(&self, own: Option<&OwnLimits>, kind: LimitKind, now: Timestamp) -> Option<Amount> {
        // What was delegated to a community takes the place of what holds for those who chose nothing.
        let is_delegated = own.is_some_and(|own| own.get(LimitKind::Dao).is_some());
        let own = own.and_then(|own| own.get(kind)).map(|limit| limit.at(now));
        match kind {
            LimitKind::Transaction => [own, self.transaction].into_iter().flatten().min(),
            LimitKind::Daily => own.or(self.daily.filter(|_| !is_delegated)),
            LimitKind::Monthly => own.or(self.monthly.filter(|_| !is_delegated)),
            LimitKind::CountPerHour | LimitKind::Dao => own,
        }
    }
}

/// What an account spent in its present hour, day and month.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spent {
    /// The instant of the first transfer that was counted: those before limits existed were not.
    pub since: Timestamp,
    /// The instant of the first one whose number was counted too.
    pub counted_since: Timestamp,
    hour: i64,
    day: Period,
    month: Period,
    today: Amount,
    this_month: Amount,
    this_hour: u64,
}

/// Bytes of stored counters: before payments were numbered, since, and where a day or month is not one of UTC.
const SPENT_BYTES: [usize; 3] = [56, 80, 96];

/// How far the edges of a stored window may be from those of the calendar: zones are told anew now and then.
const EDGE_MAX: i64 = 2 * 3_600_000_000;

impl Spent {
    /// The same in the hour, day and month that are counted at the instant of `calendar`.
    #[must_use]
    pub fn at(&self, calendar: Window) -> Self {
        let mut now = *self;
        let (day, is_same_day) = self.day.next(calendar.day, calendar.at);
        let (month, is_same_month) = self.month.next(calendar.month, calendar.at);
        (now.day, now.month) = (day, month);
        if !is_same_day {
            now.today = Amount::ZERO;
        }
        if !is_same_month {
            now.this_month = Amount::ZERO;
        }
        if self.hour != calendar.hour {
            (now.hour, now.this_hour) = (calendar.hour, 0);
        }
        now
    }

    /// Whether its hour, day and month are counted at the instant of `calendar`: nearly always.
    fn is_present(&self, calendar: Window) -> bool {
        self.hour == calendar.hour && calendar.at < self.day.to && calendar.at < self.month.to
    }

    /// What counts against a limit of this kind at the instant of `calendar`.
    pub fn used(&self, kind: LimitKind, calendar: Window) -> Amount {
        self.at(calendar).counted(kind)
    }

    /// When the count of this kind begins anew, by the windows that `around` says are around an instant, as things stand at
    /// `now`; a single transaction is counted against nothing.
    pub fn resets_at(
        &self,
        kind: LimitKind,
        now: Timestamp,
        around: impl Fn(Timestamp) -> Window,
    ) -> Option<Timestamp> {
        let present = self.at(around(now));
        match kind {
            LimitKind::Transaction => None,
            LimitKind::CountPerHour => Some(end_of_hour(present.hour)),
            LimitKind::Daily => Some(present.day.renewed_at(around(present.day.to).day)),
            LimitKind::Monthly | LimitKind::Dao => {
                Some(present.month.renewed_at(around(present.month.to).month))
            }
        }
    }

    const fn counted(&self, kind: LimitKind) -> Amount {
        match kind {
            LimitKind::Transaction => Amount::ZERO,
            LimitKind::Daily => self.today,
            LimitKind::Monthly | LimitKind::Dao => self.this_month,
            LimitKind::CountPerHour => Amount::from_units(self.this_hour as u128),
        }
    }

    /// Counts what is spent at the instant of `calendar`.
    pub fn consume(&mut self, amount: Amount, calendar: Window) {
        if !self.is_present(calendar) {
            *self = self.at(calendar);
        }
        self.add(amount, calendar.at);
        self.number(calendar.at);
    }

    /// As payments were counted before they were numbered, too.
    pub fn consume_uncounted(&mut self, amount: Amount, calendar: Window) {
        let mut now = Self { hour: self.hour, this_hour: self.this_hour, ..self.at(calendar) };
        now.add(amount, calendar.at);
        *self = now;
    }

    fn add(&mut self, amount: Amount, at: Timestamp) {
        let add = |used: Amount| Amount::from_units(used.units().saturating_add(amount.units()));
        (self.today, self.this_month) = (add(self.today), add(self.this_month));
        if self.since == Timestamp::default() {
            self.since = at;
        }
    }

    fn number(&mut self, at: Timestamp) {
        self.this_hour = self.this_hour.saturating_add(1);
        if self.counted_since == Timestamp::default() {
            self.counted_since = at;
        }
    }

    /// Gives back what was counted at `held_at`, as far as its windows are the present ones.
    pub fn give_back(&mut self, amount: Amount, held_at: Timestamp) {
        self.give_back_rest(amount, held_at);
        let is_numbered = self.counted_since != Timestamp::default() && held_at >= self.counted_since;
        if is_numbered && hour_of(held_at) == self.hour {
            self.this_hour = self.this_hour.saturating_sub(1);
        }
    }

    /// Gives back what is left of what was counted at `held_at`. That something was paid still counts.
    pub fn give_back_rest(&mut self, amount: Amount, held_at: Timestamp) {
        if held_at < self.since || self.since == Timestamp::default() {
            return;
        }
        let subtract = |used: Amount| Amount::from_units(used.units().saturating_sub(amount.units()));
        // Periods follow one another without gaps, so what was counted since the present one began is in it.
        if held_at >= self.day.from {
            self.today = subtract(self.today);
        }
        if held_at >= self.month.from {
            self.this_month = subtract(self.this_month);
        }
    }

    /// The day and the month that are counted.
    pub const fn periods(&self) -> (Period, Period) {
        (self.day, self.month)
    }

    /// Nothing spent yet in this day and month, to count anew what was spent in them.
    pub fn within((day, month): (Period, Period)) -> Self {
        Self { day, month, ..Self::default() }
    }

    /// Counts anew what was spent at an instant, with its number or without. What comes after a period belongs to another
    /// one, which is then the present one.
    pub fn recount(&mut self, amount: Amount, at: Timestamp, is_numbered: bool) {
        let mut now = *self;
        now.add(amount, at);
        for (period, used, before) in [
            (&mut now.day, &mut now.today, self.today),
            (&mut now.month, &mut now.this_month, self.this_month),
        ] {
            if at < period.from {
                *used = before;
            } else if at >= period.to {
                (*period, *used) = (Period { from: at, to: at }, amount);
            }
        }
        if is_numbered {
            let hour = hour_of(at);
            if now.hour != hour {
                (now.hour, now.this_hour) = (hour, 0);
            }
            now.number(at);
        }
        *self = now;
    }

    /// Whether the day and month are such as are counted in this zone: where they began in it its own, otherwise no shorter
    /// than a change of zones makes them.
    pub fn is_of(&self, zone: &Zone) -> bool {
        const DAY: i64 = 86_400_000_000;
        if self.since == Timestamp::default() {
            return true;
        }
        let is_sound = |period: Period, calendar: Period, least: i64| {
            let length = period.to.since(period.from).as_micros();
            let is_near = |one: Timestamp, other: Timestamp| one.since(other).as_micros().abs() <= EDGE_MAX;
            let begins_late = period.from.since(calendar.from).as_micros();
            let is_its = period.from < zone.since
                || is_near(period.to, calendar.to) && begins_late <= length / 10 + EDGE_MAX;
            is_its && length >= least
        };
        is_sound(self.day, zone.window(self.day.from).day, DAY * 3 / 4)
            && is_sound(self.month, zone.window(self.month.from).month, 25 * DAY)
    }

    /// As it is stored; `None` before the first payment.
    pub fn to_bytes(&self) -> Option<Vec<u8>> {
        if self.since == Timestamp::default() {
            return None;
        }
        let is_numbered = self.counted_since != Timestamp::default();
        let of_utc = self.day.day().zip(self.month.month());
        let form = if of_utc.is_none() { 2 } else { usize::from(is_numbered) };
        let (day, month) = of_utc.unwrap_or((self.day.from.micros(), self.month.from.micros()));
        let mut bytes = vec![0; SPENT_BYTES[form]];
        bytes[..8].copy_from_slice(&self.since.micros().to_be_bytes());
        bytes[8..16].copy_from_slice(&day.to_be_bytes());
        bytes[16..24].copy_from_slice(&month.to_be_bytes());
        bytes[24..40].copy_from_slice(&self.today.to_bytes());
        bytes[40..56].copy_from_slice(&self.this_month.to_bytes());
        if form > 0 {
            bytes[56..64].copy_from_slice(&self.counted_since.micros().to_be_bytes());
            bytes[64..72].copy_from_slice(&self.hour.to_be_bytes());
            bytes[72..80].copy_from_slice(&self.this_hour.to_be_bytes());
        }
        if form > 1 {
            bytes[80..88].copy_from_slice(&self.day.to.micros().to_be_bytes());
            bytes[88..].copy_from_slice(&self.month.to.micros().to_be_bytes());
        }
        Some(bytes)
    }

    /// From what is stored.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let form = SPENT_BYTES.iter().position(|length| *length == bytes.len())?;
        let number = |at: usize| Some(i64::from_be_bytes(*bytes[at..].first_chunk()?));
        let instant = |at: usize| number(at).map(Timestamp::from_micros);
        let numbered = |at: usize| if form > 0 { number(at) } else { Some(0) };
        let (day, month) = if form > 1 {
            let period = |from, to| Some(Period { from: instant(from)?, to: instant(to)? });
            (period(8, 80)?, period(16, 88)?)
        } else {
            // Further than any calendar goes there is nothing to multiply.
            let index = |at| number(at).filter(|index| index.unsigned_abs() < 1 << 26);
            let (day, month) = (index(8)?, index(16)?);
            (Period::of_days(day, day + 1), Period::of_days(first_day(month), first_day(month + 1)))
        };
        Some(Self {
            since: instant(0)?,
            counted_since: Timestamp::from_micros(numbered(56)?),
            hour: numbered(64)?,
            day,
            month,
            today: Amount::from_bytes(*bytes[24..].first_chunk()?),
            this_month: Amount::from_bytes(*bytes[40..].first_chunk()?),
            this_hour: numbered(72)?.cast_unsigned(),
        })
    }
}

/// An amount of a limit on the wire: money of its currency, or a number of payments.
pub fn text(kind: LimitKind, amount: Amount, currency: &Currency) -> AmountText {
    if kind.is_count() { amount.units().to_string().into() } else { currency.text(amount) }
}

/// A limit that a payment would have gone beyond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Exceeded {
    /// Which.
    pub kind: LimitKind,
    /// How much it is.
    pub limit: Amount,
    /// How much of it was used.
    pub used: Amount,
    /// How much was asked for.
    pub attempted: Amount,
    /// When the count begins anew.
    pub resets_at: Option<Timestamp>,
    /// Whether it is a limit of the parent, on which the wallet draws besides its own.
    pub is_inherited: bool,
}

/// Whether `attempted` may be paid at once by anybody: what a parent or guardian approves is bounded by this alone.
pub fn check_cap(defaults: &Defaults, attempted: Amount) -> Result<(), Exceeded> {
    match defaults.transaction {
        Some(limit) if attempted > limit => Err(Exceeded {
            kind: LimitKind::Transaction,
            limit,
            used: Amount::ZERO,
            attempted,
            resets_at: None,
            is_inherited: false,
        }),
        Some(_) | None => Ok(()),
    }
}

/// Whether `attempted` may be spent at the instant of `calendar`. When the count begins anew is for the account to say.
pub fn check(
    defaults: &Defaults,
    own: Option<&OwnLimits>,
    spent: &Spent,
    attempted: Amount,
    calendar: Window,
) -> Result<(), Exceeded> {
    let anew;
    let spent = if spent.is_present(calendar) {
        spent
    } else {
        anew = spent.at(calendar);
        &anew
    };
    for kind in LimitKind::ALL {
        let Some(limit) = defaults.effective(own, kind, calendar.at) else { continue };
        let used = spent.counted(kind);
        let attempted = if kind.is_count() { Amount::from_units(1) } else { attempted };
        let is_within = used.units().checked_add(attempted.units()).is_some_and(|sum| sum <= limit.units());
        if !is_within {
            return Err(Exceeded { kind, limit, used, attempted, resets_at: None, is_inherited: false });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn amount(units: u128) -> Amount {
        Amount::from_units(units)
    }

    #[test]
    fn the_last_unit_of_a_limit_may_be_spent_and_no_more() {
        let defaults = Defaults {
            transaction: Some(amount(60)),
            daily: Some(amount(100)),
            monthly: Some(amount(150)),
            dao: None,
        };
        let (morning, next_day, next_month) =
            (at("2026-01-30T08:00:00Z"), at("2026-01-31T00:00:00Z"), at("2026-02-01T00:00:00Z"));
        let mut spent = Spent::default();
        let mut spend = |units: u128, now: Timestamp| {
            let window = Window::of(now);
            check(&defaults, None, &spent, amount(units), window).map_err(|exceeded| exceeded.kind)?;
            spent.consume(amount(units), window);
            Ok(())
        };
        assert_eq!(spend(61, morning), Err(LimitKind::Transaction));
        assert_eq!(spend(60, morning), Ok(()));
        assert_eq!(spend(41, morning), Err(LimitKind::Daily));
        assert_eq!(spend(40, morning), Ok(()));
        assert_eq!(spend(1, morning), Err(LimitKind::Daily));
        assert_eq!(spend(50, next_day), Ok(()));
        assert_eq!(spend(1, next_day), Err(LimitKind::Monthly));
        assert_eq!(spend(60, next_month), Ok(()));
        assert_eq!(Spent::from_bytes(&spent.to_bytes().unwrap()), Some(spent));
    }

    #[test]
    fn what_a_hold_frees_counts_no_more_while_its_windows_last() {
        let (evening, midnight) = (at("2026-01-30T23:00:00Z"), at("2026-01-31T00:00:00Z"));
        let mut spent = Spent::default();
        spent.consume(amount(7), Window::of(evening));
        spent.consume(amount(5), Window::of(midnight));
        spent.give_back(amount(7), evening);
        let window = Window::of(midnight);
        assert_eq!(spent.used(LimitKind::Daily, window), amount(5));
        assert_eq!(spent.used(LimitKind::Monthly, window), amount(5));
        spent.give_back(amount(5), midnight);
        assert_eq!(spent.used(LimitKind::Monthly, window), Amount::ZERO);
        // What was never counted is not given back.
        spent.give_back(amount(9), at("2026-01-30T22:00:00Z"));
        assert_eq!(spent.used(LimitKind::Daily, window), Amount::ZERO);
    }

    #[test]
    fn what_was_spent_counts_on_when_the_zone_is_changed() {
        let zone = |name| Zone::named(name, at("2026-06-10T12:00:00Z")).unwrap();
        let (noon, later) = (at("2026-06-10T12:00:00Z"), at("2026-06-11T00:00:00Z"));
        let mut spent = Spent::default();
        spent.consume(amount(9), Window::of(noon));
        assert_eq!(spent.to_bytes().unwrap().len(), 80, "as ever, while it is a day of UTC");
        let ends = |spent: &Spent, kind, name, now| {
            let zone = zone(name);
            spent.resets_at(kind, now, |at| zone.window(at)).unwrap()
        };
        for (name, day_ends, month_ends) in [
            // A little east: the day ends with UTC's, and so does the month.
            ("Europe/Berlin", "2026-06-11T00:00:00Z", "2026-07-01T00:00:00Z"),
            // At the end of UTC's day it is long since, or still, another date there.
            ("America/New_York", "2026-06-11T04:00:00Z", "2026-07-01T04:00:00Z"),
            ("Pacific/Kiritimati", "2026-06-11T10:00:00Z", "2026-07-01T00:00:00Z"),
        ] {
            assert_eq!(spent.used(LimitKind::Daily, zone(name).window(noon)), amount(9), "{name}");
            assert_eq!(ends(&spent, LimitKind::Daily, name, noon), at(day_ends), "{name}");
            assert_eq!(ends(&spent, LimitKind::Monthly, name, noon), at(month_ends), "{name}");
        }
        for (name, used, day_ends) in [
            ("Europe/Berlin", 0, "2026-06-11T22:00:00Z"),
            // Where the date changes long before or after, the day goes on until the next one.
            ("America/New_York", 9, "2026-06-11T04:00:00Z"),
            ("Pacific/Kiritimati", 9, "2026-06-11T10:00:00Z"),
            ("Asia/Tokyo", 9, "2026-06-11T15:00:00Z"),
        ] {
            assert_eq!(spent.used(LimitKind::Daily, zone(name).window(later)), amount(used), "{name}");
            assert_eq!(ends(&spent, LimitKind::Daily, name, later), at(day_ends), "{name}");
            let mut then = spent;
            then.consume(amount(1), zone(name).window(later));
            assert_eq!(then.to_bytes().unwrap().len(), 96, "{name}");
            assert_eq!(Spent::from_bytes(&then.to_bytes().unwrap()), Some(then), "{name}");
            assert!(then.is_of(&zone(name)), "{name}");
            // What is given back is what was counted in the present day.
            then.give_back(amount(9), noon);
            assert_eq!(then.used(LimitKind::Daily, zone(name).window(later)), amount(1), "{name}");
            assert_eq!(then.used(LimitKind::Monthly, zone(name).window(later)), amount(1), "{name}");
        }
        let july = at("2026-07-01T00:00:00Z");
        assert_eq!(spent.used(LimitKind::Monthly, zone("Europe/Berlin").window(july)), Amount::ZERO);
        assert_eq!(ends(&spent, LimitKind::Monthly, "Europe/Berlin", july), at("2026-07-31T22:00:00Z"));
    }

    #[test]
    fn payments_are_numbered_by_the_hour_and_old_counters_read_back() {
        let mut own = OwnLimits::default();
        let (at_nine, at_ten) = (at("2026-01-30T09:59:59Z"), at("2026-01-30T10:00:00Z"));
        own.change(LimitKind::CountPerHour, None, amount(2), at_nine, true);
        let mut spent = Spent::default();
        let mut pay = |now: Timestamp| {
            let window = Window::of(now);
            let checked = check(&Defaults::default(), Some(&own), &spent, amount(5), window);
            checked.map_err(|exceeded| (exceeded.kind, exceeded.used, exceeded.attempted))?;
            spent.consume(amount(5), window);
            Ok(())
        };
        assert_eq!((pay(at_nine), pay(at_nine)), (Ok(()), Ok(())));
        assert_eq!(pay(at_nine), Err((LimitKind::CountPerHour, amount(2), amount(1))));
        assert_eq!(pay(at_ten), Ok(()));
        assert_eq!(Spent::from_bytes(&spent.to_bytes().unwrap()), Some(spent));
        assert_eq!(OwnLimits::from_bytes(&own.to_bytes()), Some(own));
        // As it was stored before payments were numbered.
        let mut old = Spent::default();
        old.consume_uncounted(amount(5), Window::of(at_nine));
        assert_eq!(old.to_bytes().map(|bytes| bytes.len()), Some(56));
        let mut read = Spent::from_bytes(&old.to_bytes().unwrap()).unwrap();
        assert_eq!(read.used(LimitKind::Daily, Window::of(at_nine)), amount(5));
        read.give_back(amount(5), at_nine);
        assert_eq!(read.used(LimitKind::CountPerHour, Window::of(at_nine)), Amount::ZERO);
    }

    #[test]
    fn what_is_delegated_to_a_community_takes_the_place_of_what_holds_for_everybody() {
        let now = at("2026-01-30T08:00:00Z");
        let defaults = Defaults { daily: Some(amount(10)), monthly: Some(amount(20)), ..Defaults::default() };
        let mut own = OwnLimits::default();
        own.change(LimitKind::Dao, None, amount(500), now, true);
        let effective = |own: &OwnLimits, kind| defaults.effective(Some(own), kind, now);
        assert_eq!((effective(&own, LimitKind::Daily), effective(&own, LimitKind::Monthly)), (None, None));
        assert_eq!(effective(&own, LimitKind::Dao), Some(amount(500)));
        own.change(LimitKind::Daily, None, amount(50), now, true);
        assert_eq!(effective(&own, LimitKind::Daily), Some(amount(50)));
    }

    #[test]
    fn a_limit_falls_at_once_and_rises_after_a_day_or_with_a_second_person() {
        let now = at("2026-01-30T08:00:00Z");
        let defaults = Defaults { daily: Some(amount(100)), ..Defaults::default() };
        let mut own = OwnLimits::default();
        let effective = |own: &OwnLimits, now| defaults.effective(Some(own), LimitKind::Daily, now);
        assert!(!own.change(LimitKind::Daily, effective(&own, now), amount(10), now, false));
        assert_eq!(effective(&own, now), Some(amount(10)));
        assert!(own.change(LimitKind::Daily, effective(&own, now), amount(500), now, false));
        let later = now + Span::seconds(3_600);
        assert!(own.change(LimitKind::Daily, effective(&own, later), amount(500), later, false));
        assert_eq!(effective(&own, now + Span::seconds(86_399)), Some(amount(10)));
        assert_eq!(effective(&own, now + RAISE_DELAY), Some(amount(500)));
        assert!(!own.change(LimitKind::Daily, effective(&own, later), amount(500), later, true));
        assert_eq!(effective(&own, later), Some(amount(500)));
        assert!(own.change(LimitKind::Daily, effective(&own, later), amount(900), later, false));
        assert_eq!(OwnLimits::from_bytes(&own.to_bytes()), Some(own));
    }
}
