//! Limits of a family against a naive twin: a list of what was spent, added up anew for every question.

use proptest::prelude::*;
use q_core::{Amount, Timestamp};
use qwallet::domain::{
    account::{Account, AccountId, AccountKind},
    books::{Books, Command, Group, Refusal, issuance_leg},
    calendar::Window,
    currency::CurrencyId,
    limits::{LimitKind, OwnLimits},
    transfer::{Leg, Purpose},
};
use qwallet_api::TransactionId;

const MINUTE: i64 = 60_000_000;

/// Account 1 is the parent of 2 and 3; 4 and 5 are strangers to it, of which 4 chose limits.
const PARENT: [Option<u8>; 6] = [None, None, Some(1), Some(1), None, None];
const DAILY: [Option<u128>; 6] = [None, Some(60), Some(40), None, Some(50), None];
const MONTHLY: [Option<u128>; 6] = [None, None, None, Some(90), None, None];
const PER_HOUR: [Option<u128>; 6] = [None, Some(9), None, Some(3), None, None];

#[derive(Debug, Clone)]
enum Step {
    Pay(u8, u8, u128),
    Hold(u8, u8, u128),
    Free(usize),
    Settle(usize),
    Wait(i64),
}

fn step() -> impl Strategy<Value = Step> {
    let pair = || (1u8..6, 1u8..6, 1u128..30).prop_filter("two accounts", |(from, to, _)| from != to);
    prop_oneof![
        6 => pair().prop_map(|(from, to, amount)| Step::Pay(from, to, amount)),
        4 => pair().prop_map(|(from, to, amount)| Step::Hold(from, to, amount)),
        3 => any::<usize>().prop_map(Step::Free),
        2 => any::<usize>().prop_map(Step::Settle),
        2 => (1i64..900).prop_map(Step::Wait),
    ]
}

/// Something spent, or held and not freed.
struct Spent {
    at: i64,
    from: u8,
    to: u8,
    amount: u128,
    hold: Option<u8>,
    is_freed: bool,
}

#[derive(Default)]
struct Naive(Vec<Spent>);

impl Naive {
    /// Whether a movement counts against the limits of `account`.
    fn counts(account: u8, from: u8, to: u8) -> bool {
        let family = |of: u8| PARENT[usize::from(of)].unwrap_or(of);
        let parent = PARENT[usize::from(from)];
        if family(from) == family(to) {
            account == from && parent.is_some()
        } else {
            account == from || parent == Some(account)
        }
    }

    fn used(&self, account: u8, same: impl Fn(i64) -> bool, of: impl Fn(&Spent) -> u128) -> u128 {
        let it = self.0.iter().filter(|one| !one.is_freed && same(one.at));
        it.filter(|one| Self::counts(account, one.from, one.to)).map(of).sum()
    }

    fn today(&self, account: u8, now: i64) -> u128 {
        self.used(account, |at| at / (1_440 * MINUTE) == now / (1_440 * MINUTE), |one| one.amount)
    }

    fn may(&self, from: u8, to: u8, amount: u128, now: i64) -> bool {
        let of_month = |at: i64| Window::of(Timestamp::from_micros(at)).month;
        let touched = (1u8..6).filter(|account| Self::counts(*account, from, to));
        touched.into_iter().all(|account| {
            let limit = |limits: [Option<u128>; 6]| limits[usize::from(account)].unwrap_or(u128::MAX);
            let month = self.used(account, |at| of_month(at) == of_month(now), |one| one.amount);
            let hour = self.used(account, |at| at / (60 * MINUTE) == now / (60 * MINUTE), |_| 1);
            self.today(account, now) + amount <= limit(DAILY)
                && month + amount <= limit(MONTHLY)
                && hour < limit(PER_HOUR)
        })
    }
}

fn begin() -> Books {
    let mut books = Books::new(1);
    let at = Timestamp::from_micros(0);
    books.load_account(Account::new(AccountId(0), CurrencyId(1), AccountKind::Issuance));
    for number in 1..6u8 {
        let place = usize::from(number);
        let mut limits = OwnLimits::default();
        let chosen =
            [(LimitKind::Daily, DAILY), (LimitKind::Monthly, MONTHLY), (LimitKind::CountPerHour, PER_HOUR)];
        for (kind, of) in chosen {
            if let Some(limit) = of[place] {
                limits.change(kind, None, Amount::from_units(limit), at, true);
            }
        }
        let account = Account::new(AccountId(i64::from(number)), CurrencyId(1), AccountKind::Wallet);
        let account = account.below(PARENT[place].map(|parent| AccountId(i64::from(parent))));
        books.load_account(Account { limits: Some(Box::new(limits)), ..account });
        let leg =
            issuance_leg(true, AccountId(0), AccountId(i64::from(number)), Amount::from_units(1_000_000));
        books.transfer_legs(TransactionId::from_bytes([200 + number; 16]), &[leg]).unwrap();
    }
    books
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn a_family_spends_what_a_naive_twin_lets_it_spend(steps in prop::collection::vec(step(), 32..128)) {
        let (mut books, mut naive) = (begin(), Naive::default());
        // The 30th of January, so that a month ends on the way.
        let mut now = 1_769_731_200_000_000_i64;
        let mut fresh = 0u8;
        for step in steps {
            let at = Timestamp::from_micros(now);
            let held: Vec<usize> = (0..naive.0.len()).filter(|place| naive.0[*place].hold.is_some()).collect();
            match step {
                Step::Wait(minutes) => now += minutes * MINUTE,
                Step::Pay(from, to, amount) | Step::Hold(from, to, amount) => {
                    fresh += 1;
                    let leg = Leg {
                        debit: AccountId(i64::from(from)),
                        credit: AccountId(i64::from(to)),
                        amount: Amount::from_units(amount),
                        purpose: Purpose::Principal,
                    };
                    let group = Group { id: TransactionId::from_bytes([fresh; 16]), legs: vec![leg] };
                    let is_hold = matches!(step, Step::Hold(..));
                    let command =
                        if is_hold { Command::Hold(group, Timestamp::MAX) } else { Command::Transfer(group) };
                    let outcome = books.apply(&command, at);
                    let expected = naive.may(from, to, amount, now);
                    prop_assert_eq!(outcome.is_ok(), expected, "{:?} -> {:?}", step, outcome);
                    if expected {
                        let hold = is_hold.then_some(fresh);
                        naive.0.push(Spent { at: now, from, to, amount, hold, is_freed: false });
                    } else {
                        prop_assert!(matches!(outcome, Err(Refusal::LimitExceeded(_))));
                    }
                }
                Step::Free(pick) | Step::Settle(pick) if !held.is_empty() => {
                    let one = &mut naive.0[held[pick % held.len()]];
                    let id = TransactionId::from_bytes([one.hold.take().unwrap(); 16]);
                    one.is_freed = matches!(step, Step::Free(_));
                    let command = if one.is_freed { Command::Void(id) } else { Command::Settle(id) };
                    prop_assert!(books.apply(&command, at).is_ok());
                }
                Step::Free(_) | Step::Settle(_) => {}
            }
            let window = Window::of(Timestamp::from_micros(now));
            for number in 1..6u8 {
                let spent = books.account(AccountId(i64::from(number))).unwrap().spent;
                let used = spent.used(LimitKind::Daily, window).units();
                prop_assert_eq!(used, naive.today(number, now), "account {}", number);
            }
        }
    }
}
