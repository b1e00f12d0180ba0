//! How much a wallet may spend: in one transaction, in a day, in a month.
//!
//! What is counted is what recipients get, without fees, when it is paid or held; what a hold frees is given back.
//! Windows are calendar days and months in UTC. Amounts of two currencies are never added.

use q_core::{Amount, Span, Timestamp};

/// How long an owner waits for a raised limit, so that a thief of the token meets the old one.
pub const RAISE_DELAY: Span = Span::seconds(86_400);

const DAY_MICROS: i64 = 86_400_000_000;

/// What a limit is about, in the order of checking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LimitKind {
    /// One transaction.
    Transaction,
    /// A day.
    Daily,
    /// A month.
    Monthly,
}

impl LimitKind {
    /// All of them, in the order of checking.
    pub const ALL: [Self; 3] = [Self::Transaction, Self::Daily, Self::Monthly];

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Transaction => "perTransaction",
            Self::Daily => "daily",
            Self::Monthly => "monthly",
        }
    }

    /// The kind with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    const fn place(self) -> usize {
        match self {
            Self::Transaction => 0,
            Self::Daily => 1,
            Self::Monthly => 2,
        }
    }
}

/// A day and its month, counted from the epoch in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Window {
    day: i64,
    month: i64,
}

impl Window {
    /// The day and month of an instant.
    pub const fn of(at: Timestamp) -> Self {
        let day = at.micros().div_euclid(DAY_MICROS);
        Self { day, month: month_of(day) }
    }

    /// When the count of this kind begins anew; a single transaction is counted against nothing.
    pub fn resets_at(self, kind: LimitKind) -> Option<Timestamp> {
        match kind {
            LimitKind::Transaction => None,
            LimitKind::Daily => Some(Timestamp::from_micros((self.day + 1) * DAY_MICROS)),
            LimitKind::Monthly => Some(Timestamp::from_micros(first_day(self.month + 1) * DAY_MICROS)),
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
pub struct OwnLimits([Option<Limit>; 3]);

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
    pub fn to_bytes(&self) -> [u8; 3 * LIMIT_BYTES] {
        let mut bytes = [0; 3 * LIMIT_BYTES];
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
        if bytes.len() != 3 * LIMIT_BYTES {
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
}

impl Defaults {
    /// What holds for an owner with `own` limits at `now`; `None` when nothing does.
    pub fn effective(&self, own: Option<&OwnLimits>, kind: LimitKind, now: Timestamp) -> Option<Amount> {
        let own = own.and_then(|own| own.get(kind)).map(|limit| limit.at(now));
        match kind {
            LimitKind::Transaction => [own, self.transaction].into_iter().flatten().min(),
            LimitKind::Daily => own.or(self.daily),
            LimitKind::Monthly => own.or(self.monthly),
        }
    }
}

/// What an account spent in its present day and month.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spent {
    /// The instant of the first transfer that was counted: those before limits existed were not.
    pub since: Timestamp,
    window: Window,
    today: Amount,
    this_month: Amount,
}

/// Bytes of stored counters.
const SPENT_BYTES: usize = 56;

impl Spent {
    /// What counts against a limit of this kind in `window`.
    pub fn used(&self, kind: LimitKind, window: Window) -> Amount {
        match kind {
            LimitKind::Daily if self.window.day == window.day => self.today,
            LimitKind::Monthly if self.window.month == window.month => self.this_month,
            LimitKind::Transaction | LimitKind::Daily | LimitKind::Monthly => Amount::ZERO,
        }
    }

    /// Counts what is spent at `now`, which is in `window`.
    pub fn consume(&mut self, amount: Amount, window: Window, now: Timestamp) {
        let add = |used: Amount| Amount::from_units(used.units().saturating_add(amount.units()));
        self.today = add(self.used(LimitKind::Daily, window));
        self.this_month = add(self.used(LimitKind::Monthly, window));
        self.window = window;
        if self.since == Timestamp::default() {
            self.since = now;
        }
    }

    /// Gives back what was counted at `held_at`, as far as its windows are the present ones.
    pub fn give_back(&mut self, amount: Amount, held_at: Timestamp) {
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
    pub fn to_bytes(&self) -> Option<[u8; SPENT_BYTES]> {
        if self.since == Timestamp::default() {
            return None;
        }
        let mut bytes = [0; SPENT_BYTES];
        bytes[..8].copy_from_slice(&self.since.micros().to_be_bytes());
        bytes[8..16].copy_from_slice(&self.window.day.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.window.month.to_be_bytes());
        bytes[24..40].copy_from_slice(&self.today.to_bytes());
        bytes[40..].copy_from_slice(&self.this_month.to_bytes());
        Some(bytes)
    }

    /// From what is stored.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != SPENT_BYTES {
            return None;
        }
        let number = |at: usize| Some(i64::from_be_bytes(*bytes[at..].first_chunk()?));
        Some(Self {
            since: Timestamp::from_micros(number(0)?),
            window: Window { day: number(8)?, month: number(16)? },
            today: Amount::from_bytes(*bytes[24..].first_chunk()?),
            this_month: Amount::from_bytes(*bytes[40..].first_chunk()?),
        })
    }
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
        let is_within = used.units().checked_add(attempted.units()).is_some_and(|sum| sum <= limit.units());
        if !is_within {
            return Err(Exceeded { kind, limit, used, attempted, resets_at: window.resets_at(kind) });
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
        let defaults =
            Defaults { transaction: Some(amount(60)), daily: Some(amount(100)), monthly: Some(amount(150)) };
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
