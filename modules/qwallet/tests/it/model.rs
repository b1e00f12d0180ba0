//! The books against a naive twin: a million random commands, and every outcome compared with its reason.
//!
//! The twin keeps sums and lists of 256-bit integers, tries every command on a copy of itself and throws the copy away
//! when something speaks against it. It knows no journal, no undo and no counters of limits: what was spent in a day is
//! added up from the list of everything that was ever spent.

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

use proptest::{
    prelude::*,
    test_runner::{TestError, TestRunner},
};
use q_core::{Amount, Timestamp};
use qwallet::domain::{
    account::{Account, AccountId, AccountKind},
    books::{Books, Capture, Command, Group, HoldEnd, Refusal},
    currency::CurrencyId,
    limits::{Defaults, LimitKind},
    transfer::{Leg, Purpose},
};
use qwallet_api::TransactionId;
use ruint::aliases::U256;

/// At least so many commands reach the books and the twin in one run.
const COMMANDS_MIN: u64 = 1_000_000;
/// Runs of a hundred and more steps, of which about four in five are commands.
const RUNS: u32 = 7_500;
/// Holds have ids of their own, few, so that steps meet.
const HOLDS: u8 = 16;

/// The other side of all money of currency 1.
const ISSUANCE: u8 = 0;
/// May go below zero, by [`CREDIT`].
const ON_CREDIT: u8 = 3;
const CREDIT: u128 = 20;
/// The other side of all money of currency 2, which knows no limits.
const FOREIGN_ISSUANCE: u8 = 4;
/// The one wallet of currency 2.
const FOREIGN: u8 = 5;
/// May neither give nor receive.
const FROZEN: u8 = 6;
/// Holds money for two parties: no wallet, so nothing it gives is spending.
const ESCROW: u8 = 7;
/// Is not there.
const MISSING: u8 = 8;

/// The instance's limits of currency 1: in one transaction, in a day, in a month.
const LIMITS: [(LimitKind, u128); 3] =
    [(LimitKind::Transaction, 45), (LimitKind::Daily, 150), (LimitKind::Monthly, 200)];

/// Shortly before the end of a February with 29 days.
const START: i64 = 1_835_308_800_000_000; // 2028-02-28T00:00:00Z
const HOUR: i64 = 3_600_000_000;

type Drawn = (u8, u8, u128, u8);

/// A step as it is drawn.
#[derive(Debug, Clone)]
enum Step {
    Transfer(Vec<Drawn>),
    Hold(u8, Vec<Drawn>, i64),
    Settle(u8),
    Capture(u8, Part, bool),
    Void(u8),
    Expire(u8),
    Wait(i64),
    /// Undo everything since the last commit.
    Fail,
    Commit,
}

/// How much is taken of what is held.
#[derive(Debug, Clone, Copy)]
enum Part {
    /// All that is left.
    All,
    /// So many units, whether or not they are held.
    Units(u128),
    /// So many eighths of what is left of a hold that is open, where there is one.
    Eighths(u128),
}

fn amount() -> impl Strategy<Value = u128> {
    prop_oneof![98 => 0u128..50, 1 => Just(u128::MAX), 1 => any::<u128>()]
}

/// Who gives and who receives: mostly two who can, now and then any two.
fn pair() -> impl Strategy<Value = (u8, u8)> {
    const AT_HOME: [u8; 5] = [ISSUANCE, 1, 2, ON_CREDIT, ESCROW];
    prop_oneof![
        24 => (0..5usize, 1..5usize).prop_map(|(from, on)| (AT_HOME[from], AT_HOME[(from + on) % 5])),
        6 => prop_oneof![Just((FOREIGN_ISSUANCE, FOREIGN)), Just((FOREIGN, FOREIGN_ISSUANCE))],
        1 => (0..=MISSING, 0..=MISSING),
    ]
}

/// What a leg is for: mostly what somebody gets, else a fee, which no limit counts.
fn purpose(drawn: u8) -> Purpose {
    match drawn {
        0 => Purpose::PlatformFee,
        1 => Purpose::Withdrawal,
        _ => Purpose::Principal,
    }
}

fn legs() -> impl Strategy<Value = Vec<Drawn>> {
    let leg =
        || (pair(), amount(), 0u8..6).prop_map(|((from, to), amount, purpose)| (from, to, amount, purpose));
    prop_oneof![
        24 => prop::collection::vec(leg(), 1),
        16 => prop::collection::vec(leg(), 2..4),
        1 => Just(Vec::new()),
    ]
}

fn part() -> impl Strategy<Value = Part> {
    prop_oneof![
        7 => (1..8u128).prop_map(Part::Eighths),
        1 => Just(Part::All),
        2 => amount().prop_map(Part::Units),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => legs().prop_map(Step::Transfer),
        6 => (0..HOLDS, legs(), -5i64..50).prop_map(|(id, legs, ttl)| Step::Hold(id, legs, ttl)),
        3 => (0..HOLDS).prop_map(Step::Settle),
        6 => (0..HOLDS, part(), prop::bool::weighted(0.2))
            .prop_map(|(id, part, is_final)| Step::Capture(id, part, is_final)),
        1 => (0..HOLDS).prop_map(Step::Void),
        1 => (0..HOLDS).prop_map(Step::Expire),
        3 => (0i64..20).prop_map(Step::Wait),
        1 => (0..18 * HOUR).prop_map(Step::Wait),
        1 => Just(Step::Fail),
        2 => Just(Step::Commit),
    ]
}

fn currency_of(account: u8) -> u8 {
    if matches!(account, FOREIGN_ISSUANCE | FOREIGN) { 2 } else { 1 }
}

const fn is_issuance(account: u8) -> bool {
    matches!(account, ISSUANCE | FOREIGN_ISSUANCE)
}

fn big(units: u128) -> U256 {
    U256::from(units)
}

/// The day of an instant, counted from 1970.
fn day(at: i64) -> i64 {
    at / (24 * HOUR)
}

/// The month of each day since 1970, found by counting days off a calendar.
static MONTH_OF_DAY: LazyLock<Vec<usize>> = LazyLock::new(|| {
    let mut months = Vec::new();
    for year in 1970..2035usize {
        let is_leap = year % 4 == 0;
        let lengths = [31, if is_leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        for (month, length) in lengths.into_iter().enumerate() {
            months.extend(std::iter::repeat_n(year * 12 + month, length));
        }
    }
    months
});

fn month(at: i64) -> usize {
    MONTH_OF_DAY[usize::try_from(day(at)).unwrap()]
}

#[derive(Debug, Clone)]
struct Held {
    /// What is left.
    legs: Vec<Drawn>,
    /// What was held in the beginning.
    whole: Vec<Drawn>,
    /// How much of the first leg was taken in parts.
    taken: u128,
    at: i64,
    until: i64,
    end: Option<HoldEnd>,
}

/// The twin.
#[derive(Debug, Clone, Default)]
struct Naive {
    received: BTreeMap<u8, U256>,
    given: BTreeMap<u8, U256>,
    holds: BTreeMap<u8, Held>,
    /// Who spent how much, and when.
    spent: Vec<(u8, u128, i64)>,
    touched: BTreeMap<u8, i64>,
}

impl Naive {
    /// Received, given, held to be received, held to be given.
    fn sides(&self, of: u8) -> [U256; 4] {
        let sum = |sums: &BTreeMap<u8, U256>| sums.get(&of).copied().unwrap_or_default();
        let mut held = [U256::ZERO; 2];
        for (from, to, amount, _) in
            self.holds.values().filter(|held| held.end.is_none()).flat_map(|h| &h.legs)
        {
            if *to == of {
                held[0] += big(*amount);
            }
            if *from == of {
                held[1] += big(*amount);
            }
        }
        [sum(&self.received), sum(&self.given), held[0], held[1]]
    }

    /// What speaks against a leg whatever the balances are.
    fn flaw(leg: &Drawn) -> Option<Refusal> {
        let (from, to, amount, _) = *leg;
        if amount == 0 {
            return Some(Refusal::AmountZero);
        }
        if from == to {
            return Some(Refusal::AccountsSame);
        }
        if from == MISSING || to == MISSING {
            return Some(Refusal::AccountUnknown);
        }
        if currency_of(from) != currency_of(to) {
            return Some(Refusal::CurrencyMismatch);
        }
        (from == FROZEN || to == FROZEN).then_some(Refusal::AccountFrozen)
    }

    fn is_spending(leg: &Drawn) -> bool {
        !matches!(leg.0, ISSUANCE | FOREIGN_ISSUANCE | ESCROW) && purpose(leg.3) != Purpose::PlatformFee
    }

    /// The first limit the leg would go beyond, with what was used of it.
    fn beyond(&self, leg: &Drawn, now: i64) -> Option<(LimitKind, u128)> {
        if currency_of(leg.0) != 1 || !Self::is_spending(leg) {
            return None;
        }
        let used = |counts: &dyn Fn(i64) -> bool| {
            let own = self.spent.iter().filter(|(account, _, at)| *account == leg.0 && counts(*at));
            own.fold(U256::ZERO, |sum, (_, amount, _)| sum + big(*amount))
        };
        let used = [U256::ZERO, used(&|at| day(at) == day(now)), used(&|at| month(at) == month(now))];
        let mut limits = LIMITS.into_iter().zip(used);
        let ((kind, _), used) = limits.find(|((_, limit), used)| used + big(leg.2) > big(*limit))?;
        Some((kind, used.to::<u128>()))
    }

    fn legs(&mut self, legs: &[Drawn], now: i64, hold: Option<u8>) -> Result<(), Expected> {
        if legs.is_empty() {
            return Err(Refusal::GroupMalformed.into());
        }
        // What is wrong with any leg comes before what the balances say, in the documented order.
        if let Some(flaw) = legs.iter().filter_map(Self::flaw).min() {
            return Err(flaw.into());
        }
        for leg in legs {
            let (from, to, amount, _) = *leg;
            let ([received, given, _, held_out], [to_received, _, to_held_in, _]) =
                (self.sides(from), self.sides(to));
            let max = big(u128::MAX);
            if given + held_out + big(amount) > max || to_received + to_held_in + big(amount) > max {
                return Err(Refusal::Overflow.into());
            }
            if let Some((kind, used)) = self.beyond(leg, now) {
                return Err(Expected::Limit(kind, used));
            }
            let credit = if from == ON_CREDIT { CREDIT } else { 0 };
            if !is_issuance(from) && received + big(credit) < given + held_out + big(amount) {
                return Err(Refusal::InsufficientFunds.into());
            }
            if Self::is_spending(leg) {
                self.spent.push((from, amount, now));
            }
            self.touch(leg);
            if let Some(hold) = hold {
                let held = self.holds.get_mut(&hold).unwrap();
                held.legs.push(*leg);
                held.whole.push(*leg);
            } else {
                self.book(leg);
            }
        }
        Ok(())
    }

    fn book(&mut self, leg: &Drawn) {
        *self.given.entry(leg.0).or_default() += big(leg.2);
        *self.received.entry(leg.1).or_default() += big(leg.2);
    }

    fn touch(&mut self, leg: &Drawn) {
        *self.touched.entry(leg.0).or_default() += 1;
        *self.touched.entry(leg.1).or_default() += 1;
    }

    fn try_step(&mut self, step: &Step, now: i64) -> Result<(), Expected> {
        match step {
            Step::Transfer(legs) => self.legs(legs, now, None),
            Step::Hold(id, legs, ttl) => {
                if *ttl <= 0 || self.holds.contains_key(id) {
                    return Err(Refusal::GroupMalformed.into());
                }
                let (legs_left, whole) = (Vec::new(), Vec::new());
                let held = Held { legs: legs_left, whole, taken: 0, at: now, until: now + ttl, end: None };
                self.holds.insert(*id, held);
                self.legs(legs, now, Some(*id))
            }
            Step::Settle(id) => self.end(*id, HoldEnd::Settled, now),
            Step::Capture(id, part, is_final) => self.capture(*id, part.units(), *is_final, now),
            Step::Void(id) => self.end(*id, HoldEnd::Voided, now),
            Step::Expire(id) => self.end(*id, HoldEnd::Expired, now),
            Step::Wait(_) | Step::Fail | Step::Commit => Ok(()),
        }
    }

    fn end(&mut self, id: u8, end: HoldEnd, now: i64) -> Result<(), Expected> {
        let held = self.holds.get_mut(&id).ok_or(Refusal::HoldUnknown)?;
        if let Some(before) = held.end {
            return Err(Refusal::HoldEnded(before).into());
        }
        match end {
            HoldEnd::Settled if now >= held.until => return Err(Refusal::HoldExpired.into()),
            HoldEnd::Expired if now < held.until => return Err(Refusal::HoldNotExpired.into()),
            _ => held.end = Some(if held.taken > 0 { HoldEnd::Settled } else { end }),
        }
        let held = held.clone();
        if end == HoldEnd::Settled {
            for leg in &held.legs {
                self.touch(leg);
                self.book(leg);
            }
        } else {
            self.free(&held);
        }
        Ok(())
    }

    /// Gives back what is left, to who gave it and to the limits of then.
    fn free(&mut self, held: &Held) {
        for (leg, whole) in held.legs.iter().zip(&held.whole) {
            assert!(leg.2 > 0, "of every leg something is left as long as something is of the first");
            self.touch(leg);
            if Self::is_spending(leg) {
                let counted = (leg.0, whole.2, held.at);
                let place = self.spent.iter().position(|spent| *spent == counted).unwrap();
                self.spent[place].1 -= leg.2;
            }
        }
    }

    fn capture(&mut self, id: u8, amount: Option<u128>, is_final: bool, now: i64) -> Result<(), Expected> {
        let held = self.holds.get_mut(&id).ok_or(Refusal::HoldUnknown)?;
        if let Some(before) = held.end {
            return Err(Refusal::HoldEnded(before).into());
        }
        if now >= held.until {
            return Err(Refusal::HoldExpired.into());
        }
        let asked = amount.unwrap_or(held.legs[0].2);
        if asked == 0 {
            return Err(Refusal::AmountZero.into());
        }
        if asked > held.legs[0].2 {
            return Err(Expected::TooMuch);
        }
        held.taken += asked;
        let mut moved = Vec::new();
        for (leg, whole) in held.legs.iter_mut().zip(&held.whole) {
            // The most units that are no more than the share of it.
            let product = big(whole.2) * big(held.taken);
            let share = product / big(held.whole[0].2);
            assert!(
                share * big(held.whole[0].2) <= product && (share + big(1)) * big(held.whole[0].2) > product
            );
            let left = whole.2 - share.to::<u128>();
            if left < leg.2 {
                moved.push((leg.0, leg.1, leg.2 - left, leg.3));
            }
            leg.2 = left;
        }
        let is_over = held.legs[0].2 == 0;
        if is_over {
            assert!(held.legs.iter().all(|leg| leg.2 == 0), "whoever takes all leaves no fees behind");
        }
        if is_over || is_final {
            held.end = Some(HoldEnd::Settled);
        }
        let held = held.clone();
        for leg in &moved {
            self.touch(leg);
            self.book(leg);
        }
        if is_final && !is_over {
            self.free(&held);
        }
        Ok(())
    }

    /// The step, where it is to fit as one that does: of an open hold, and no more than is left of it.
    fn fitting(&self, step: &Step) -> Step {
        let Step::Capture(drawn, Part::Eighths(eighths), is_final) = step else { return step.clone() };
        let open: Vec<u8> =
            self.holds.iter().filter(|(_, held)| held.end.is_none()).map(|(id, _)| *id).collect();
        let Some(id) = open.get(usize::from(*drawn) % open.len().max(1)).copied() else {
            return Step::Capture(*drawn, Part::Units(*eighths), *is_final);
        };
        let left = self.holds[&id].legs[0].2;
        Step::Capture(id, Part::Units((left / 8 * eighths).max(1)), *is_final)
    }

    fn step(&mut self, step: &Step, now: i64) -> Result<(), Expected> {
        let mut copy = self.clone();
        copy.try_step(step, now)?;
        *self = copy;
        Ok(())
    }
}

impl Part {
    /// How many units, where they are said.
    const fn units(self) -> Option<u128> {
        match self {
            Self::All => None,
            Self::Units(units) | Self::Eighths(units) => Some(units),
        }
    }
}

/// Why the twin would refuse.
#[derive(Debug, PartialEq)]
enum Expected {
    Limit(LimitKind, u128),
    TooMuch,
    Other(Refusal),
}

impl From<Refusal> for Expected {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::LimitExceeded(beyond) => Self::Limit(beyond.kind, beyond.used.units()),
            Refusal::CaptureExceeds(_) => Self::TooMuch,
            other => Self::Other(other),
        }
    }
}

fn id(number: u8) -> TransactionId {
    TransactionId::from_bytes([number; 16])
}

fn command(step: &Step, fresh: u128, now: i64) -> Command {
    let leg = |(debit, credit, amount, drawn): &Drawn| Leg {
        debit: AccountId(i64::from(*debit)),
        credit: AccountId(i64::from(*credit)),
        amount: Amount::from_units(*amount),
        purpose: purpose(*drawn),
    };
    match step {
        Step::Transfer(legs) => Command::Transfer(Group {
            id: TransactionId::from_bytes(fresh.to_be_bytes()),
            legs: legs.iter().map(leg).collect(),
        }),
        Step::Hold(number, legs, ttl) => {
            let group = Group { id: id(*number), legs: legs.iter().map(leg).collect() };
            Command::Hold(group, Timestamp::from_micros(now + ttl))
        }
        Step::Settle(number) => Command::Settle(id(*number)),
        Step::Capture(number, part, is_final) => {
            let amount = part.units().map(Amount::from_units);
            Command::Capture(id(*number), Capture { amount, is_final: *is_final })
        }
        Step::Void(number) => Command::Void(id(*number)),
        Step::Expire(number) => Command::Expire(id(*number)),
        Step::Wait(_) | Step::Fail | Step::Commit => unreachable!("is no command"),
    }
}

fn begin() -> Books {
    let most = |kind| LIMITS.iter().find(|(of, _)| *of == kind).map(|(_, limit)| Amount::from_units(*limit));
    let limits = Defaults {
        transaction: most(LimitKind::Transaction),
        daily: most(LimitKind::Daily),
        monthly: most(LimitKind::Monthly),
        dao: None,
    };
    let mut books = Books::new(1).with_limits(vec![(CurrencyId(1), limits)]);
    for number in 0..MISSING {
        let kind = match number {
            ISSUANCE | FOREIGN_ISSUANCE => AccountKind::Issuance,
            ESCROW => AccountKind::Escrow,
            _ => AccountKind::Wallet,
        };
        let account = Account::new(AccountId(i64::from(number)), CurrencyId(currency_of(number)), kind);
        books.load_account(Account {
            is_frozen: number == FROZEN,
            credit_limit: Amount::from_units(if number == ON_CREDIT { CREDIT } else { 0 }),
            ..account
        });
    }
    books
}

fn compare(books: &Books, naive: &Naive) {
    for number in 0..MISSING {
        let account = books.account(AccountId(i64::from(number))).unwrap();
        let sides =
            [account.credits_posted, account.debits_posted, account.credits_pending, account.debits_pending];
        assert_eq!(sides.map(|side| U256::from(side.units())), naive.sides(number), "account {number}");
        assert_eq!(account.version, naive.touched.get(&number).copied().unwrap_or(0), "account {number}");
        let posted = account.posted();
        let is_allowed = match number {
            ISSUANCE | FOREIGN_ISSUANCE => true,
            ON_CREDIT => !posted.is_negative() || posted.magnitude().units() <= CREDIT,
            _ => !posted.is_negative(),
        };
        assert!(is_allowed, "account {number} owes {posted:?}");
    }
    for currency in [1, 2] {
        let of = books.accounts().filter(|account| account.currency == CurrencyId(currency));
        let sums = of.fold([U256::ZERO; 4], |sums, account| {
            [
                sums[0] + U256::from(account.credits_posted.units()),
                sums[1] + U256::from(account.debits_posted.units()),
                sums[2] + U256::from(account.credits_pending.units()),
                sums[3] + U256::from(account.debits_pending.units()),
            ]
        });
        assert_eq!((sums[0], sums[2]), (sums[1], sums[3]), "currency {currency} balances");
    }
}

/// What a million commands came to, so that a run shows that it tried what it claims to try.
#[derive(Default)]
struct Tally {
    commands: Cell<u64>,
    done: Cell<u64>,
    outcomes: std::cell::RefCell<BTreeSet<String>>,
}

impl Tally {
    fn count(&self, outcome: Result<(), &Expected>) {
        self.commands.set(self.commands.get() + 1);
        let name = match outcome {
            Ok(()) => {
                self.done.set(self.done.get() + 1);
                return;
            }
            Err(Expected::Limit(kind, _)) => format!("LimitExceeded({})", kind.name()),
            Err(Expected::TooMuch) => "CaptureExceeds".to_owned(),
            Err(Expected::Other(refusal)) => format!("{refusal:?}"),
        };
        let mut outcomes = self.outcomes.borrow_mut();
        if !outcomes.contains(&name) {
            outcomes.insert(name);
        }
    }
}

/// Does `steps` to the books and to their twin.
fn follow(steps: &[Step], tally: &Tally) -> Result<(), TestCaseError> {
    let (mut books, mut naive, mut kept) = (begin(), Naive::default(), Naive::default());
    let (mut now, mut fresh) = (START, 1u128 << 100);
    for step in steps {
        fresh += 1;
        match step {
            Step::Wait(span) => now += span,
            Step::Fail => {
                books.go_back_wholly();
                naive.clone_from(&kept);
            }
            Step::Commit => {
                let holds: Vec<_> = (0..HOLDS)
                    .filter_map(|number| Some((id(number), books.hold(id(number))?.clone())))
                    .collect();
                books.keep();
                for (id, hold) in holds {
                    books.load_hold(id, hold);
                }
                kept.clone_from(&naive);
            }
            _ => {
                let places = books.next_seq();
                let step = &naive.fitting(step);
                let outcome = books.apply(&command(step, fresh, now), Timestamp::from_micros(now));
                let outcome = outcome.map(|_| ()).map_err(Expected::from);
                let expected = naive.step(step, now);
                tally.count(outcome.as_ref().copied());
                prop_assert_eq!(&outcome, &expected, "{:?} at {}", step, now);
                if outcome.is_err() {
                    prop_assert_eq!(books.next_seq(), places, "a refused command takes no place");
                }
            }
        }
    }
    compare(&books, &naive);
    Ok(())
}

/// Everything that can be said against a command.
const REFUSALS: [&str; 18] = [
    "AccountFrozen",
    "AccountUnknown",
    "AccountsSame",
    "AmountZero",
    "CaptureExceeds",
    "CurrencyMismatch",
    "GroupMalformed",
    "HoldEnded(Expired)",
    "HoldEnded(Settled)",
    "HoldEnded(Voided)",
    "HoldExpired",
    "HoldNotExpired",
    "HoldUnknown",
    "InsufficientFunds",
    "LimitExceeded(daily)",
    "LimitExceeded(monthly)",
    "LimitExceeded(perTransaction)",
    "Overflow",
];

#[test]
fn a_million_commands_have_the_outcomes_of_the_naive_twin() {
    let tally = Tally::default();
    let config = ProptestConfig { cases: RUNS, source_file: Some(file!()), ..ProptestConfig::default() };
    let drawn = prop::collection::vec(step(), 128..256);
    match TestRunner::new(config).run(&drawn, |steps| follow(&steps, &tally)) {
        Ok(()) => {}
        Err(TestError::Fail(why, steps)) => panic!("{why}\n{steps:#?}"),
        Err(TestError::Abort(why)) => panic!("{why}"),
    }
    let (commands, done) = (tally.commands.get(), tally.done.get());
    println!("{commands} commands, {done} of them done, in {RUNS} runs");
    assert!(commands >= COMMANDS_MIN, "only {commands} commands");
    assert!(done * 5 >= commands, "only {done} of {commands} commands were done");
    let seen = tally.outcomes.into_inner();
    assert!(seen.iter().map(String::as_str).eq(REFUSALS), "{seen:?}");
}
