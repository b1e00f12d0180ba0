//! The refusals of the books, in their order: each row mends the fault of the row before.

use q_core::{Amount, Timestamp, Total};
use qwallet::domain::{
    account::{Account, AccountId, AccountKind},
    books::{Books, Command, GROUP_LEGS_MAX, Group, HoldEnd, Refusal},
    currency::CurrencyId,
    transfer::{Leg, Purpose},
};
use qwallet_api::TransactionId;

const NOW: Timestamp = Timestamp::from_seconds(1_000);

fn account(id: i64, currency: u8) -> Account {
    Account::new(AccountId(id), CurrencyId(currency), AccountKind::Wallet)
}

fn id(number: u8) -> TransactionId {
    TransactionId::from_bytes([number; 16])
}

fn leg(debit: i64, credit: i64, amount: u128) -> Leg {
    Leg {
        debit: AccountId(debit),
        credit: AccountId(credit),
        amount: Amount::from_units(amount),
        purpose: Purpose::Principal,
    }
}

type Mend = fn(&mut Vec<Leg>, &mut Books);

#[test]
fn a_transfer_is_refused_in_the_documented_order() {
    let mut books = Books::new(1);
    books.load_account(Account { is_frozen: true, credits_posted: Total::from_units(10), ..account(1, 1) });
    books.load_account(account(2, 2));
    books.load_account(Account { credits_posted: Total::MAX, ..account(3, 1) });
    books.load_account(account(4, 1));
    let mut legs: Vec<Leg> = vec![leg(1, 1, 0); GROUP_LEGS_MAX + 1];
    let rows: Vec<(Refusal, Mend)> = vec![
        (Refusal::GroupMalformed, |legs, _| legs.clear()),
        (Refusal::GroupMalformed, |legs, _| legs.push(leg(1, 1, 0))),
        (Refusal::AmountZero, |legs, _| legs[0] = leg(1, 1, 11)),
        (Refusal::AccountsSame, |legs, _| legs[0] = leg(1, 9, 11)),
        (Refusal::AccountUnknown, |legs, _| legs[0] = leg(1, 2, 11)),
        (Refusal::CurrencyMismatch, |legs, _| legs[0] = leg(1, 3, 11)),
        (Refusal::AccountFrozen, |_, books| {
            books.load_account(Account { credits_posted: Total::from_units(10), ..account(1, 1) });
        }),
        (Refusal::Overflow, |legs, _| legs[0] = leg(1, 4, 11)),
        (Refusal::InsufficientFunds, |legs, _| legs[0] = leg(1, 4, 10)),
    ];
    for (row, (refusal, mend)) in rows.into_iter().enumerate() {
        let command = Command::Transfer(Group { id: id(1), legs: legs.clone() });
        assert_eq!(books.apply(&command, NOW), Err(refusal), "row {row}");
        assert!(books.journal().is_empty() && books.next_seq() == 1);
        mend(&mut legs, &mut books);
    }
    let applied = books.apply(&Command::Transfer(Group { id: id(1), legs }), NOW).unwrap();
    assert_eq!(books.transfers(applied).len(), 1);
}

#[test]
fn a_hold_ends_once() {
    let mut books = Books::new(1);
    books.load_account(Account { credits_posted: Total::from_units(10), ..account(1, 1) });
    books.load_account(account(2, 1));
    let until = Timestamp::from_seconds(2_000);
    let hold = |number, amount| Command::Hold(Group { id: id(number), legs: vec![leg(1, 2, amount)] }, until);
    assert_eq!(books.apply(&Command::Settle(id(1)), NOW), Err(Refusal::HoldUnknown));
    assert_eq!(books.apply(&hold(1, 10), until), Err(Refusal::GroupMalformed));
    books.apply(&hold(1, 10), NOW).unwrap();
    assert_eq!(books.apply(&hold(1, 10), NOW), Err(Refusal::GroupMalformed));
    assert_eq!(books.apply(&hold(2, 1), NOW), Err(Refusal::InsufficientFunds));
    assert_eq!(books.apply(&Command::Expire(id(1)), NOW), Err(Refusal::HoldNotExpired));
    assert_eq!(books.apply(&Command::Settle(id(1)), until), Err(Refusal::HoldExpired));
    books.apply(&Command::Void(id(1)), NOW).unwrap();
    assert_eq!(books.apply(&Command::Settle(id(1)), NOW), Err(Refusal::HoldEnded(HoldEnd::Voided)));
    books.apply(&hold(2, 10), NOW).unwrap();
    books.apply(&Command::Settle(id(2)), NOW).unwrap();
    assert_eq!(books.apply(&Command::Void(id(2)), NOW), Err(Refusal::HoldEnded(HoldEnd::Settled)));
    let (payer, payee) = (books.account(AccountId(1)).unwrap(), books.account(AccountId(2)).unwrap());
    assert_eq!((payer.posted().magnitude().units(), payee.posted().magnitude().units()), (0, 10));
    assert_eq!((payer.version, payee.version, books.next_seq()), (4, 4, 5));
}

#[test]
fn held_money_to_come_cannot_be_spent_and_settling_never_overflows() {
    let mut books = Books::new(1);
    books.load_account(Account { credits_posted: Total::from_units(10), ..account(1, 1) });
    books.load_account(Account { credits_posted: Total::from_units(u128::MAX - 10), ..account(2, 1) });
    let until = Timestamp::from_seconds(2_000);
    let hold = |number, amount| Command::Hold(Group { id: id(number), legs: vec![leg(1, 2, amount)] }, until);
    books.apply(&hold(1, 6), NOW).unwrap();
    assert_eq!(books.apply(&hold(2, 5), NOW), Err(Refusal::Overflow));
    books.apply(&hold(3, 4), NOW).unwrap();
    books.apply(&Command::Settle(id(1)), NOW).unwrap();
    books.apply(&Command::Settle(id(3)), NOW).unwrap();
}
