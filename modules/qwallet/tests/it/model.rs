//! The books against a naive twin: sums recomputed from a list with 256-bit integers, nothing clever.

use std::collections::BTreeMap;

use proptest::prelude::*;
use q_core::{Amount, Timestamp};
use qwallet::domain::{
    account::{Account, AccountId, AccountKind},
    books::{Books, Command, Group, Refusal},
    currency::CurrencyId,
    transfer::{Leg, Purpose},
};
use qwallet_api::TransactionId;
use ruint::aliases::U256;

const ACCOUNTS: u8 = 6;

/// A step as it is drawn: the ids are small, so that steps meet.
#[derive(Debug, Clone)]
enum Step {
    Transfer(Vec<(u8, u8, u128)>),
    Hold(u8, Vec<(u8, u8, u128)>, i64),
    Settle(u8),
    Void(u8),
    Expire(u8),
    Wait(i64),
    /// Undo everything since the last commit.
    Fail,
    Commit,
}

fn amount() -> impl Strategy<Value = u128> {
    prop_oneof![8 => 0u128..50, 1 => Just(u128::MAX), 1 => any::<u128>()]
}

fn legs() -> impl Strategy<Value = Vec<(u8, u8, u128)>> {
    prop::collection::vec((0..ACCOUNTS, 0..ACCOUNTS, amount()), 1..4)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => legs().prop_map(Step::Transfer),
        4 => (any::<u8>(), legs(), -5i64..50).prop_map(|(id, legs, ttl)| Step::Hold(id % 16, legs, ttl)),
        3 => (0u8..16).prop_map(Step::Settle),
        2 => (0u8..16).prop_map(Step::Void),
        2 => (0u8..16).prop_map(Step::Expire),
        2 => (0i64..20).prop_map(Step::Wait),
        1 => Just(Step::Fail),
        2 => Just(Step::Commit),
    ]
}

type Legs = Vec<(u8, u8, u128)>;

#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    Open,
    Moved,
    Freed,
}

/// The twin: what moved, and what is held, as lists.
#[derive(Debug, Clone, Default)]
struct Naive {
    moved: Vec<(u8, u8, u128)>,
    held: BTreeMap<u8, (Legs, i64, End)>,
    touched: BTreeMap<u8, i64>,
}

impl Naive {
    fn sum(&self, pick: impl Fn(&(u8, u8, u128)) -> bool, held: bool) -> U256 {
        let open = self.held.values().filter(|(_, _, end)| *end == End::Open).flat_map(|(legs, _, _)| legs);
        let list: Vec<&(u8, u8, u128)> = if held { open.collect() } else { self.moved.iter().collect() };
        list.into_iter().filter(|leg| pick(leg)).map(|leg| U256::from(leg.2)).fold(U256::ZERO, |a, b| a + b)
    }

    fn sides(&self, of: u8) -> [U256; 4] {
        [
            self.sum(|leg| leg.1 == of, false),
            self.sum(|leg| leg.0 == of, false),
            self.sum(|leg| leg.1 == of, true),
            self.sum(|leg| leg.0 == of, true),
        ]
    }

    /// Account 0 is the issuance; accounts 4 and 5 are of another currency.
    fn may(&self, leg: &(u8, u8, u128)) -> bool {
        let max = U256::from(u128::MAX);
        let (from, to, amount) = (leg.0, leg.1, U256::from(leg.2));
        let [received, given, _, held_out] = self.sides(from);
        let [to_received, _, to_held_in, _] = self.sides(to);
        let fits = given + held_out + amount <= max && to_received + to_held_in + amount <= max;
        fits && (from == 0 || received >= given + held_out + amount)
    }

    fn is_sound(legs: &[(u8, u8, u128)]) -> bool {
        let currency = |account: u8| account >= 4;
        legs.iter().all(|leg| leg.2 != 0 && leg.0 != leg.1 && currency(leg.0) == currency(leg.1))
    }

    fn touch(&mut self, legs: &[(u8, u8, u128)]) {
        for leg in legs {
            *self.touched.entry(leg.0).or_default() += 1;
            *self.touched.entry(leg.1).or_default() += 1;
        }
    }

    fn step(&mut self, step: &Step, now: i64) -> bool {
        let before = self.clone();
        let done = match step {
            Step::Transfer(legs) => {
                Self::is_sound(legs)
                    && legs.iter().all(|leg| {
                        let may = self.may(leg);
                        self.moved.push(*leg);
                        may
                    })
                    && {
                        self.touch(legs);
                        true
                    }
            }
            Step::Hold(id, legs, ttl) => {
                *ttl > 0 && !self.held.contains_key(id) && Self::is_sound(legs) && {
                    self.held.insert(*id, (Vec::new(), now + ttl, End::Open));
                    let all = legs.iter().all(|leg| {
                        let may = self.may(leg);
                        self.held.get_mut(id).unwrap().0.push(*leg);
                        may
                    });
                    self.touch(legs);
                    all
                }
            }
            Step::Settle(id) => self.end(*id, End::Moved, |until| now < until),
            Step::Void(id) => self.end(*id, End::Freed, |_| true),
            Step::Expire(id) => self.end(*id, End::Freed, |until| now >= until),
            Step::Wait(_) | Step::Fail | Step::Commit => true,
        };
        if !done {
            *self = before;
        }
        done
    }

    fn end(&mut self, id: u8, end: End, is_time: impl Fn(i64) -> bool) -> bool {
        let Some((legs, until, state)) = self.held.get_mut(&id) else { return false };
        if *state != End::Open || !is_time(*until) {
            return false;
        }
        *state = end;
        let legs = legs.clone();
        if end == End::Moved {
            self.moved.extend(&legs);
        }
        self.touch(&legs);
        true
    }
}

fn id(number: u8) -> TransactionId {
    TransactionId::from_bytes([number; 16])
}

fn command(step: &Step, fresh: u128, now: i64) -> Option<Command> {
    let leg = |(debit, credit, amount): &(u8, u8, u128)| Leg {
        debit: AccountId(i64::from(*debit)),
        credit: AccountId(i64::from(*credit)),
        amount: Amount::from_units(*amount),
        purpose: Purpose::Principal,
    };
    Some(match step {
        Step::Transfer(legs) => Command::Transfer(Group {
            id: TransactionId::from_bytes(fresh.to_be_bytes()),
            legs: legs.iter().map(leg).collect(),
        }),
        Step::Hold(number, legs, ttl) => {
            let group = Group { id: id(*number), legs: legs.iter().map(leg).collect() };
            Command::Hold(group, Timestamp::from_micros(now + ttl))
        }
        Step::Settle(number) => Command::Settle(id(*number)),
        Step::Void(number) => Command::Void(id(*number)),
        Step::Expire(number) => Command::Expire(id(*number)),
        Step::Wait(_) | Step::Fail | Step::Commit => return None,
    })
}

fn begin() -> Books {
    let mut books = Books::new(1);
    for number in 0..ACCOUNTS {
        let kind = if number == 0 { AccountKind::Issuance } else { AccountKind::Wallet };
        let currency = CurrencyId(if number >= 4 { 2 } else { 1 });
        books.load_account(Account::new(AccountId(i64::from(number)), currency, kind));
    }
    books
}

fn compare(books: &Books, naive: &Naive) {
    for number in 0..ACCOUNTS {
        let account = books.account(AccountId(i64::from(number))).unwrap();
        let sides =
            [account.credits_posted, account.debits_posted, account.credits_pending, account.debits_pending];
        assert_eq!(sides.map(|side| U256::from(side.units())), naive.sides(number), "account {number}");
        assert_eq!(account.version, naive.touched.get(&number).copied().unwrap_or(0), "account {number}");
        assert!(number == 0 || !account.posted().is_negative());
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

proptest! {
    // 800 runs of up to 256 steps: at least 100,000 commands each time.
    #![proptest_config(ProptestConfig { cases: 800, ..ProptestConfig::default() })]

    #[test]
    fn the_books_do_what_the_naive_twin_does(steps in prop::collection::vec(step(), 128..256)) {
        let (mut books, mut naive, mut kept) = (begin(), Naive::default(), Naive::default());
        let (mut now, mut fresh) = (0, 1u128 << 100);
        for step in &steps {
            fresh += 1;
            match step {
                Step::Wait(span) => now += span,
                Step::Fail => {
                    books.go_back_wholly();
                    naive = kept.clone();
                }
                Step::Commit => {
                    let holds: Vec<_> =
                        (0..16).filter_map(|number| Some((id(number), books.hold(id(number))?.clone()))).collect();
                    books.keep();
                    for (id, hold) in holds {
                        books.load_hold(id, hold);
                    }
                    kept = naive.clone();
                }
                _ => {
                    let places = books.next_seq();
                    let outcome = books.apply(&command(step, fresh, now).unwrap(), Timestamp::from_micros(now));
                    let expected = naive.step(step, now);
                    prop_assert_eq!(outcome.is_ok(), expected, "{:?} -> {:?}", step, outcome);
                    if outcome.is_err() {
                        prop_assert_eq!(books.next_seq(), places);
                    }
                    prop_assert_ne!(outcome.map(|_| ()), Err(Refusal::AccountUnknown));
                }
            }
        }
        compare(&books, &naive);
    }
}
