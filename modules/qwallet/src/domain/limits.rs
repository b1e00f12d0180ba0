//! How much a wallet may spend: in one transaction, in a day, in a month; and how often in an hour.
//!
//! What is counted is what recipients get, without fees, when it is paid or held; what a hold frees is given back.
//! Windows are calendar hours, days and months in UTC. Amounts of two currencies are never added.
//!
//! The account of a community (DAO) has a limit of its own kind instead of the instance's for a day and a month: what
//! was delegated to it, counted by the month.

use q_core::{Amount, AmountText, Scale, Span, Timestamp};

use super::currency::Currency;

/// How long an owner waits for a raised limit, so that a thief of the token meets the old one.
pub const RAISE_DELAY: Span = Span::seconds(86_400);

const DAY_MICROS: i64 = 86_400_000_000;
const HOUR_MICROS: i64 = 3_600_000_000;

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

/// An hour, its day and its month, counted from the epoch in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Window {
    hour: i64,
    day: i64,
    month: i64,
}

impl Window {
    /// The hour, day and month of an instant.
    pub const fn of(at: Timestamp) -> Self {
        let day = at.micros().div_euclid(DAY_MICROS);
        Self { hour: at.micros().div_euclid(HOUR_MICROS), day, month: month_of(day) }
    }

    /// When the count of this kind begins anew; a single transaction is counted against nothing.
    pub fn resets_at(self, kind: LimitKind) -> Option<Timestamp> {
        match kind {
            LimitKind::Transaction => None,
            LimitKind::CountPerHour => Some(Timestamp::from_micros((self.hour + 1) * HOUR_MICROS)),
            LimitKind::Daily => Some(Timestamp::from_micros((self.day + 1) * DAY_MICROS)),
            LimitKind::Monthly | LimitKind::Dao => {
                Some(Timestamp::from_micros(first_day(self.month + 1) * DAY_MICROS))
            }
        }
    }
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

/// What an account spent in its present day and month.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spent {
    /// The instant of the first transfer that was counted: those before limits existed were not.
    pub since: Timestamp,
    /// The instant of the first one whose number was counted too.
    pub counted_since: Timestamp,
    window: Window,
    today: Amount,
    this_month: Amount,
    this_hour: u64,
}

/// Bytes of stored counters before payments were numbered, and since.
const SPENT_BYTES: [usize; 2] = [56, 80];

impl Spent {
    /// What counts against a limit of this kind in `window`.
    pub fn used(&self, kind: LimitKind, window: Window) -> Amount {
        match kind {
            LimitKind::Daily if self.window.day == window.day => self.today,
            LimitKind::Monthly | LimitKind::Dao if self.window.month == window.month => self.this_month,
            LimitKind::CountPerHour if self.window.hour == window.hour => {
                Amount::from_units(u128::from(self.this_hour))
            }
            _ => Amount::ZERO,
        }
    }

    /// Counts what is spent at `now`, which is in `window`.
    pub fn consume(&mut self, amount: Amount, window: Window, now: Timestamp) {
        let before = if self.window.hour == window.hour { self.this_hour } else { 0 };
        self.consume_uncounted(amount, window, now);
        (self.window.hour, self.this_hour) = (window.hour, before.saturating_add(1));
        if self.counted_since == Timestamp::default() {
            self.counted_since = now;
        }
    }

    /// As payments were counted before they were numbered, too.
    pub fn consume_uncounted(&mut self, amount: Amount, window: Window, now: Timestamp) {
        let add = |used: Amount| Amount::from_units(used.units().saturating_add(amount.units()));
        self.today = add(self.used(LimitKind::Daily, window));
        self.this_month = add(self.used(LimitKind::Monthly, window));
        self.window = Window { hour: self.window.hour, ..window };
        if self.since == Timestamp::default() {
            self.since = now;
        }
    }

    /// Gives back what was counted at `held_at`, as far as its windows are the present ones.
    pub fn give_back(&mut self, amount: Amount, held_at: Timestamp) {
        self.give_back_rest(amount, held_at);
        let is_numbered = self.counted_since != Timestamp::default() && held_at >= self.counted_since;
        if is_numbered && Window::of(held_at).hour == self.window.hour {
            self.this_hour = self.this_hour.saturating_sub(1);
        }
    }

    /// Gives back what is left of what was counted at `held_at`. That something was paid still counts.
    pub fn give_back_rest(&mut self, amount: Amount, held_at: Timestamp) {
        if held_at < self.since || self.since == Timestamp::default() {
            return;
        }
        let subtract = |used: Amount| Amount::from_units(used.units().saturating_sub(amount.units()));
        let held = Window::of(held_at);
        if held.day == self.window.day {
            self.today = subtract(self.today);
        }
        if held.month == self.window.month {
            self.this_month = subtract(self.this_month);
        }
    }

    /// As it is stored; `None` before the first payment.
    pub fn to_bytes(&self) -> Option<Vec<u8>> {
        if self.since == Timestamp::default() {
            return None;
        }
        let is_numbered = self.counted_since != Timestamp::default();
        let mut bytes = vec![0; SPENT_BYTES[usize::from(is_numbered)]];
        bytes[..8].copy_from_slice(&self.since.micros().to_be_bytes());
        bytes[8..16].copy_from_slice(&self.window.day.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.window.month.to_be_bytes());
        bytes[24..40].copy_from_slice(&self.today.to_bytes());
        bytes[40..56].copy_from_slice(&self.this_month.to_bytes());
        if is_numbered {
            bytes[56..64].copy_from_slice(&self.counted_since.micros().to_be_bytes());
            bytes[64..72].copy_from_slice(&self.window.hour.to_be_bytes());
            bytes[72..].copy_from_slice(&self.this_hour.to_be_bytes());
        }
        Some(bytes)
    }

    /// From what is stored.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if !SPENT_BYTES.contains(&bytes.len()) {
            return None;
        }
        let is_numbered = bytes.len() == SPENT_BYTES[1];
        let number = |at: usize| Some(i64::from_be_bytes(*bytes[at..].first_chunk()?));
        Some(Self {
            since: Timestamp::from_micros(number(0)?),
            counted_since: Timestamp::from_micros(if is_numbered { number(56)? } else { 0 }),
            window: Window {
                hour: if is_numbered { number(64)? } else { 0 },
                day: number(8)?,
                month: number(16)?,
            },
            today: Amount::from_bytes(*bytes[24..].first_chunk()?),
            this_month: Amount::from_bytes(*bytes[40..].first_chunk()?),
            this_hour: if is_numbered { number(72)?.cast_unsigned() } else { 0 },
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

/// Whether `attempted` may be spent now.
pub fn check(
    defaults: &Defaults,
    own: Option<&OwnLimits>,
    spent: &Spent,
    attempted: Amount,
    window: Window,
    now: Timestamp,
) -> Result<(), Exceeded> {
    for kind in LimitKind::ALL {
        let Some(limit) = defaults.effective(own, kind, now) else { continue };
        let used = spent.used(kind, window);
        let attempted = if kind.is_count() { Amount::from_units(1) } else { attempted };
        let is_within = used.units().checked_add(attempted.units()).is_some_and(|sum| sum <= limit.units());
        if !is_within {
            let resets_at = window.resets_at(kind);
            return Err(Exceeded { kind, limit, used, attempted, resets_at, is_inherited: false });
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
            assert_eq!(window.resets_at(LimitKind::Daily), Some(at(day_ends)), "{text}");
            assert_eq!(window.resets_at(LimitKind::Monthly), Some(at(month_ends)), "{text}");
        }
        // Every day of four centuries has the month that its neighbours say.
        for day in -1_000..146_097 {
            let month = month_of(day);
            assert!(first_day(month) <= day && day < first_day(month + 1), "day {day}");
        }
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
            check(&defaults, None, &spent, amount(units), window, now).map_err(|exceeded| exceeded.kind)?;
            spent.consume(amount(units), window, now);
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
        spent.consume(amount(7), Window::of(evening), evening);
        spent.consume(amount(5), Window::of(midnight), midnight);
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
    fn payments_are_numbered_by_the_hour_and_old_counters_read_back() {
        let mut own = OwnLimits::default();
        let (at_nine, at_ten) = (at("2026-01-30T09:59:59Z"), at("2026-01-30T10:00:00Z"));
        own.change(LimitKind::CountPerHour, None, amount(2), at_nine, true);
        let mut spent = Spent::default();
        let mut pay = |now: Timestamp| {
            let window = Window::of(now);
            let checked = check(&Defaults::default(), Some(&own), &spent, amount(5), window, now);
            checked.map_err(|exceeded| (exceeded.kind, exceeded.used, exceeded.attempted))?;
            spent.consume(amount(5), window, now);
            Ok(())
        };
        assert_eq!((pay(at_nine), pay(at_nine)), (Ok(()), Ok(())));
        assert_eq!(pay(at_nine), Err((LimitKind::CountPerHour, amount(2), amount(1))));
        assert_eq!(pay(at_ten), Ok(()));
        assert_eq!(Spent::from_bytes(&spent.to_bytes().unwrap()), Some(spent));
        assert_eq!(OwnLimits::from_bytes(&own.to_bytes()), Some(own));
        // As it was stored before payments were numbered.
        let mut old = Spent::default();
        old.consume_uncounted(amount(5), Window::of(at_nine), at_nine);
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
