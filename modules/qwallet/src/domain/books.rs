//! The books: the one function that changes balances.
//!
//! [`Books::apply`] takes a command and the time and either changes every account the command names or
//! none. Nothing in it reads a clock, a store or a random number, so a model can follow it step by step.
//! Changes can be undone until [`Books::keep`]: for one refused item, for a whole atomic batch, and for a
//! commit that failed.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    sync::Arc,
};

use q_core::{Amount, SignedAmount, Timestamp, Total};
use qwallet_api::TransactionId;
use ruint::aliases::U256;

use super::{
    account::{Account, AccountId, AccountKind, Side},
    calendar::{Calendars, Window, Zone},
    currency::CurrencyId,
    limits::{self, Defaults, Exceeded, OwnLimits, Spent},
    transfer::{Leg, Phase, Purpose, Transfer},
};

/// The most legs one group may have.
pub const GROUP_LEGS_MAX: usize = 40;

/// What is asked of the books.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Moves all legs at once.
    Transfer(Group),
    /// Holds all legs until the instant.
    Hold(Group, Timestamp),
    /// Moves everything the group still holds.
    Settle(TransactionId),
    /// Moves a part of what the group still holds.
    Capture(TransactionId, Capture),
    /// Frees everything the group holds.
    Void(TransactionId),
    /// Frees everything the group holds, because its time is over.
    Expire(TransactionId),
}

/// Legs that live or die together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its id; the caller never uses one twice.
    pub id: TransactionId,
    /// Its legs.
    pub legs: Vec<Leg>,
}

/// A part of what a group holds.
///
/// The first leg is what the group is about; the others follow it: once the parts taken of the first leg add up to
/// `c` of `a`, of a leg of `f` exactly `f × c / a` was taken, rounded down. So the legs never give more than they hold,
/// no order of parts costs more than another, and whoever takes all of the first leg takes all of the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capture {
    /// How much of the first leg; all that is left when absent.
    pub amount: Option<Amount>,
    /// Whether the rest is freed.
    pub is_final: bool,
}

/// Why a command changes nothing. The order of the variants is the order in which they are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Refusal {
    /// No group of this id holds anything.
    #[error("nothing is held under this id")]
    HoldUnknown,
    /// The hold was settled, voided or expired before.
    #[error("the hold has ended")]
    HoldEnded(HoldEnd),
    /// Settling came too late.
    #[error("the hold has expired")]
    HoldExpired,
    /// Expiring came too early.
    #[error("the hold has not expired yet")]
    HoldNotExpired,
    /// More was to be taken than is left.
    #[error("the hold does not hold so much any more")]
    CaptureExceeds(Held),
    /// The group has no legs or too many, or its hold would expire at once.
    #[error("the group is malformed")]
    GroupMalformed,
    /// A leg moves nothing.
    #[error("a leg moves nothing")]
    AmountZero,
    /// A leg moves from an account to itself.
    #[error("a leg moves from an account to itself")]
    AccountsSame,
    /// A leg names an account that is not there.
    #[error("an account does not exist")]
    AccountUnknown,
    /// A leg's accounts are of two currencies.
    #[error("the accounts are of two currencies")]
    CurrencyMismatch,
    /// An account may neither give nor receive for now.
    #[error("an account is frozen")]
    AccountFrozen,
    /// A sum would be too large.
    #[error("a sum would be too large")]
    Overflow,
    /// The giver would spend more than its limits allow.
    #[error("a limit on spending would be exceeded")]
    LimitExceeded(Exceeded),
    /// The giver does not have enough.
    #[error("the account does not hold enough")]
    InsufficientFunds,
    /// An account that is to end holds something, or something is held for it.
    #[error("the account is not empty")]
    NotEmpty,
    /// An account owes more than the new credit limit.
    #[error("the account uses more credit")]
    CreditInUse,
}

/// What no transfer changes of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NewTerms {
    /// Whether it may neither give nor receive from here on.
    pub is_frozen: Option<bool>,
    /// How far below zero it may go from here on.
    pub credit_limit: Option<Amount>,
    /// Whether nothing may be left in it, nor on the way.
    pub must_be_empty: bool,
}

/// What of the first leg of a group is held, and what was taken of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Held {
    /// Held in the beginning.
    pub amount: Amount,
    /// Taken before.
    pub captured: Amount,
    /// Asked for.
    pub asked: Amount,
}

/// How a hold ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HoldEnd {
    /// Moved: wholly, or a part of it whose rest was freed.
    Settled,
    /// Freed wholly.
    Voided,
    /// Freed wholly, because its time was over.
    Expired,
}

/// Money that is set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// The legs and their places in the journal, as they were in the beginning.
    pub legs: Vec<(i64, Leg)>,
    /// How much of the first leg was taken in parts.
    pub captured: Amount,
    /// When it was taken: its limits are given back to the windows of that instant.
    pub held_at: Timestamp,
    /// When it lapses.
    pub expires_at: Timestamp,
    /// How it ended, if it did.
    pub end: Option<HoldEnd>,
}

impl Hold {
    /// What the group is about: the amount of its first leg.
    pub fn amount(&self) -> Amount {
        self.legs.first().map_or(Amount::ZERO, |(_, leg)| leg.amount)
    }

    /// What is left of that.
    pub fn left(&self) -> Amount {
        self.amount().checked_sub(self.captured).unwrap_or_default()
    }

    /// What is left of a leg. Never nothing while something is left of the first.
    fn left_of(&self, leg: &Leg) -> Leg {
        let taken = share(leg.amount, self.captured, self.amount());
        Leg { amount: leg.amount.checked_sub(taken).unwrap_or_default(), ..*leg }
    }
}

/// `amount × part / whole`, rounded down: of a leg of `amount`, what goes with `part` of a first leg of `whole`.
pub fn share(amount: Amount, part: Amount, whole: Amount) -> Amount {
    if part.is_zero() {
        return Amount::ZERO;
    }
    let share = U256::from(amount.units()) * U256::from(part.units()) / U256::from(whole.units());
    // A part of the whole is at most the whole, so the share fits where the amount did.
    Amount::from_units(share.saturating_to())
}

/// The places in the journal that a command wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied {
    /// The first.
    pub first_seq: i64,
    /// How many.
    pub count: usize,
}

/// A point to go back to.
#[derive(Debug, Clone, Copy)]
#[must_use]
pub struct Mark {
    undo: usize,
    journal: usize,
}

#[derive(Debug)]
enum Undo {
    Account(Account),
    Hold(TransactionId, Option<Hold>),
}

/// Spreads account numbers, which we give out ourselves, so that nobody can choose colliding ones.
#[derive(Debug, Default)]
struct NumberHasher(u64);

impl Hasher for NumberHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }
    fn write_i64(&mut self, number: i64) {
        self.write_u64(number.cast_unsigned());
    }
    fn write_u64(&mut self, number: u64) {
        // Fibonacci hashing: the odd number next to 2^64 divided by the golden ratio.
        self.0 = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(26);
    }
}

/// Accounts, holds and the transfers of the commit being made.
#[derive(Debug, Default)]
pub struct Books {
    accounts: HashMap<AccountId, Account, BuildHasherDefault<NumberHasher>>,
    holds: HashMap<TransactionId, Hold>,
    journal: Vec<Transfer>,
    undo: Vec<Undo>,
    next_seq: i64,
    /// The instant, and the hour, day and month of UTC around it.
    utc: Window,
    calendars: Calendars,
    defaults: Vec<(CurrencyId, Defaults)>,
    /// The account whose own limits do not hold for the present command.
    lifted: Option<AccountId>,
}

impl Books {
    /// Empty books whose journal continues at `next_seq`.
    pub fn new(next_seq: i64) -> Self {
        Self { next_seq, ..Self::default() }
    }

    /// Empty books with the instance's limits on spending.
    #[must_use]
    pub fn with_limits(self, defaults: Vec<(CurrencyId, Defaults)>) -> Self {
        Self { defaults, ..self }
    }

    /// Forgets every account; the journal continues at `next_seq`.
    pub fn begin_anew(&mut self, next_seq: i64) {
        let calendars = std::mem::take(&mut self.calendars);
        *self = Self { calendars, ..Self::new(next_seq).with_limits(std::mem::take(&mut self.defaults)) };
    }

    /// The instant of what is applied from here on, which decides what counts against whose limits.
    pub const fn set_now(&mut self, now: Timestamp) {
        self.utc = Window::of(now);
    }

    /// The instance's limits on spending one currency.
    pub fn defaults_of(&self, currency: CurrencyId) -> Defaults {
        self.defaults.iter().find(|(of, _)| *of == currency).map(|(_, limits)| *limits).unwrap_or_default()
    }

    /// Replaces the limits of an account.
    pub fn set_limits(&mut self, id: AccountId, limits: OwnLimits) -> Result<(), Refusal> {
        let account = self.accounts.get_mut(&id).ok_or(Refusal::AccountUnknown)?;
        self.undo.push(Undo::Account(account.clone()));
        account.limits = Some(Box::new(limits));
        Ok(())
    }

    /// Counts what is spent from an account in the days and months of this zone from here on.
    pub fn set_zone(&mut self, id: AccountId, zone: Arc<Zone>) -> Result<(), Refusal> {
        let account = self.accounts.get_mut(&id).ok_or(Refusal::AccountUnknown)?;
        self.undo.push(Undo::Account(account.clone()));
        account.zone = Some(zone);
        Ok(())
    }

    /// From here on the own limits of this account do not hold, only what bounds everybody's payments; what is spent is
    /// counted all the same. For the one command that a parent or guardian approved, then for nobody again.
    pub const fn lift_limits(&mut self, id: Option<AccountId>) {
        self.lifted = id;
    }

    /// Marks an account as one from which others have to approve payments.
    pub fn guard(&mut self, id: AccountId) -> Result<(), Refusal> {
        let account = self.accounts.get_mut(&id).ok_or(Refusal::AccountUnknown)?;
        self.undo.push(Undo::Account(account.clone()));
        account.is_guarded = true;
        Ok(())
    }

    /// Changes what no transfer changes of an account.
    pub fn set_terms(&mut self, id: AccountId, terms: &NewTerms) -> Result<(), Refusal> {
        let account = self.accounts.get_mut(&id).ok_or(Refusal::AccountUnknown)?;
        let is_empty = account.posted() == SignedAmount::default()
            && account.credits_pending == Total::ZERO
            && account.debits_pending == Total::ZERO;
        if terms.must_be_empty && !is_empty {
            return Err(Refusal::NotEmpty);
        }
        let changed = Account {
            is_frozen: terms.is_frozen.unwrap_or(account.is_frozen),
            credit_limit: terms.credit_limit.unwrap_or(account.credit_limit),
            ..account.clone()
        };
        if changed.credit_limit < account.credit_limit && changed.available().is_negative() {
            return Err(Refusal::CreditInUse);
        }
        self.undo.push(Undo::Account(std::mem::replace(account, changed)));
        Ok(())
    }

    /// Whether a hold is of, and whether it is for, an account that may neither give nor receive now.
    pub fn frozen_ends(&self, id: TransactionId) -> (bool, bool) {
        let is_frozen = |id: AccountId| self.accounts.get(&id).is_some_and(|account| account.is_frozen);
        let legs = self.holds.get(&id).map_or(&[][..], |hold| &hold.legs);
        let any = |of: fn(&Leg) -> AccountId| legs.iter().any(|(_, leg)| is_frozen(of(leg)));
        (any(|leg| leg.debit), any(|leg| leg.credit))
    }

    /// The place of the next transfer.
    pub const fn next_seq(&self) -> i64 {
        self.next_seq
    }

    /// Takes in an account as it is stored.
    pub fn load_account(&mut self, account: Account) {
        self.accounts.insert(account.id, account);
    }

    /// Takes in a hold as it is stored.
    pub fn load_hold(&mut self, id: TransactionId, hold: Hold) {
        self.holds.insert(id, hold);
    }

    /// The account, if it is loaded.
    pub fn account(&self, id: AccountId) -> Option<&Account> {
        self.accounts.get(&id)
    }

    /// Every loaded account.
    pub fn accounts(&self) -> impl ExactSizeIterator<Item = &Account> {
        self.accounts.values()
    }

    /// The hold, if it is loaded.
    pub fn hold(&self, id: TransactionId) -> Option<&Hold> {
        self.holds.get(&id)
    }

    /// The transfers written since the last [`Self::keep`].
    pub fn journal(&self) -> &[Transfer] {
        &self.journal
    }

    /// The transfers of one applied command.
    pub fn transfers(&self, applied: Applied) -> &[Transfer] {
        let first = self.journal.first().map_or(0, |transfer| transfer.seq);
        let start = usize::try_from(applied.first_seq - first).unwrap_or(usize::MAX);
        self.journal.get(start..start + applied.count).unwrap_or_default()
    }

    /// The accounts changed since the last [`Self::keep`], each once, by number.
    pub fn changed_accounts(&self) -> Vec<&Account> {
        let mut ids: Vec<AccountId> = self
            .undo
            .iter()
            .filter_map(|undo| match undo {
                Undo::Account(account) => Some(account.id),
                Undo::Hold(..) => None,
            })
            .collect();
        ids.sort_unstable();
        ids.dedup();
        ids.iter().map(|id| &self.accounts[id]).collect()
    }

    /// The present point.
    pub fn mark(&self) -> Mark {
        Mark { undo: self.undo.len(), journal: self.journal.len() }
    }

    /// Undoes everything since `mark`.
    pub fn go_back(&mut self, mark: Mark) {
        for undo in self.undo.drain(mark.undo..).rev() {
            match undo {
                Undo::Account(account) => {
                    self.accounts.insert(account.id, account);
                }
                Undo::Hold(id, Some(hold)) => {
                    self.holds.insert(id, hold);
                }
                Undo::Hold(id, None) => {
                    self.holds.remove(&id);
                }
            }
        }
        let undone = self.journal.len() - mark.journal;
        self.journal.truncate(mark.journal);
        self.next_seq -= i64::try_from(undone).expect("a commit has few transfers");
    }

    /// Undoes everything since the last [`Self::keep`].
    pub fn go_back_wholly(&mut self) {
        self.go_back(Mark { undo: 0, journal: 0 });
    }

    /// Makes the changes final, after the commit that stored them. Holds are not kept in memory.
    pub fn keep(&mut self) {
        self.undo.clear();
        self.journal.clear();
        self.holds.clear();
    }

    /// Applies a command wholly or not at all.
    pub fn apply(&mut self, command: &Command, now: Timestamp) -> Result<Applied, Refusal> {
        self.set_now(now);
        let mark = self.mark();
        let first_seq = self.next_seq;
        let outcome = match command {
            Command::Transfer(group) => return self.transfer_legs(group.id, &group.legs),
            Command::Hold(group, expires_at) => self.take_hold(group, *expires_at, now),
            Command::Settle(id) => self.end_hold(*id, HoldEnd::Settled, now),
            Command::Capture(id, capture) => self.capture(*id, *capture, now),
            Command::Void(id) => self.end_hold(*id, HoldEnd::Voided, now),
            Command::Expire(id) => self.end_hold(*id, HoldEnd::Expired, now),
        };
        match outcome {
            Ok(()) => Ok(Applied { first_seq, count: self.journal.len() - mark.journal }),
            Err(refusal) => {
                self.go_back(mark);
                Err(refusal)
            }
        }
    }

    /// [`Command::Transfer`] for legs that are borrowed: the command of the hot path.
    pub fn transfer_legs(&mut self, id: TransactionId, legs: &[Leg]) -> Result<Applied, Refusal> {
        let mark = self.mark();
        let first_seq = self.next_seq;
        let outcome = self
            .check_group(legs)
            .and_then(|()| legs.iter().try_for_each(|leg| self.give(id, leg, Phase::Posted)));
        match outcome {
            Ok(()) => Ok(Applied { first_seq, count: legs.len() }),
            Err(refusal) => {
                self.go_back(mark);
                Err(refusal)
            }
        }
    }

    fn take_hold(&mut self, group: &Group, expires_at: Timestamp, now: Timestamp) -> Result<(), Refusal> {
        if expires_at <= now || self.holds.contains_key(&group.id) {
            return Err(Refusal::GroupMalformed);
        }
        self.check_group(&group.legs)?;
        let first_seq = self.next_seq;
        group.legs.iter().try_for_each(|leg| self.give(group.id, leg, Phase::Held))?;
        self.undo.push(Undo::Hold(group.id, None));
        let legs = (first_seq..).zip(group.legs.iter().copied()).collect();
        self.holds
            .insert(group.id, Hold { legs, captured: Amount::ZERO, held_at: now, expires_at, end: None });
        Ok(())
    }

    /// The hold, if it is open and may be ended so now.
    fn open_hold(&self, id: TransactionId, end: HoldEnd, now: Timestamp) -> Result<Hold, Refusal> {
        let hold = self.holds.get(&id).ok_or(Refusal::HoldUnknown)?;
        if let Some(end) = hold.end {
            return Err(Refusal::HoldEnded(end));
        }
        match end {
            HoldEnd::Settled if now >= hold.expires_at => Err(Refusal::HoldExpired),
            HoldEnd::Expired if now < hold.expires_at => Err(Refusal::HoldNotExpired),
            HoldEnd::Settled | HoldEnd::Voided | HoldEnd::Expired => Ok(hold.clone()),
        }
    }

    fn end_hold(&mut self, id: TransactionId, end: HoldEnd, now: Timestamp) -> Result<(), Refusal> {
        let before = self.open_hold(id, end, now)?;
        let phase = if end == HoldEnd::Settled { Phase::Settled } else { Phase::Voided };
        for (seq, leg) in &before.legs {
            self.finish(id, &before.left_of(leg), *seq, before.held_at, phase)?;
        }
        // Of what was taken in parts, the freed rest is no failure: something was paid.
        let end = if before.captured.is_zero() { end } else { HoldEnd::Settled };
        self.holds.insert(id, Hold { end: Some(end), ..before.clone() });
        self.undo.push(Undo::Hold(id, Some(before)));
        Ok(())
    }

    fn capture(&mut self, id: TransactionId, capture: Capture, now: Timestamp) -> Result<(), Refusal> {
        let before = self.open_hold(id, HoldEnd::Settled, now)?;
        let (whole, left) = (before.amount(), before.left());
        let asked = capture.amount.unwrap_or(left);
        if asked.is_zero() {
            return Err(Refusal::AmountZero);
        }
        if asked > left {
            return Err(Refusal::CaptureExceeds(Held { amount: whole, captured: before.captured, asked }));
        }
        let captured = before.captured.checked_add(asked).ok_or(Refusal::Overflow)?;
        let is_over = captured == whole;
        let end = (is_over || capture.is_final).then_some(HoldEnd::Settled);
        let after = Hold { captured, end, ..before.clone() };
        self.undo.push(Undo::Hold(id, Some(before.clone())));
        self.holds.insert(id, after.clone());
        for (seq, leg) in &before.legs {
            let (left, still) = (before.left_of(leg).amount, after.left_of(leg).amount);
            let amount = left.checked_sub(still).ok_or(Refusal::Overflow)?;
            if !amount.is_zero() {
                self.finish(id, &Leg { amount, ..*leg }, *seq, before.held_at, Phase::Settled)?;
            }
        }
        if capture.is_final && !is_over {
            for (seq, leg) in &before.legs {
                self.finish(id, &after.left_of(leg), *seq, before.held_at, Phase::Voided)?;
            }
        }
        Ok(())
    }

    /// The checks that need no balance, for all legs before any leg moves.
    fn check_group(&self, legs: &[Leg]) -> Result<(), Refusal> {
        if legs.is_empty() || legs.len() > GROUP_LEGS_MAX {
            return Err(Refusal::GroupMalformed);
        }
        let refusals = legs.iter().filter_map(|leg| self.check_leg(leg).err());
        refusals.min().map_or(Ok(()), Err)
    }

    fn check_leg(&self, leg: &Leg) -> Result<(), Refusal> {
        if leg.amount.is_zero() {
            return Err(Refusal::AmountZero);
        }
        if leg.debit == leg.credit {
            return Err(Refusal::AccountsSame);
        }
        let debit = self.accounts.get(&leg.debit).ok_or(Refusal::AccountUnknown)?;
        let credit = self.accounts.get(&leg.credit).ok_or(Refusal::AccountUnknown)?;
        if debit.currency != credit.currency {
            return Err(Refusal::CurrencyMismatch);
        }
        // A burn and a mint touch a frozen wallet only after it was released: the freeze binds the house too. What has left
        // over a rail has left it all the same.
        let has_left = leg.purpose == Purpose::Correction;
        if debit.is_frozen && !has_left || credit.is_frozen {
            return Err(Refusal::AccountFrozen);
        }
        Ok(())
    }

    /// Takes a leg from what the giver has available.
    fn give(&mut self, id: TransactionId, leg: &Leg, phase: Phase) -> Result<(), Refusal> {
        let debit = self.accounts.get(&leg.debit).ok_or(Refusal::AccountUnknown)?;
        let credit = self.accounts.get(&leg.credit).ok_or(Refusal::AccountUnknown)?;
        // Settled and held together must fit, so that settling a hold later can never overflow.
        let debits_fit = fits(debit.debits_posted, debit.debits_pending, leg.amount);
        let credits_fit = fits(credit.credits_posted, credit.credits_pending, leg.amount);
        if !debits_fit || !credits_fit {
            return Err(Refusal::Overflow);
        }
        let counted = counted(debit.side(), credit.side(), leg.purpose);
        let calendar = self.calendars.window(debit.zone.as_deref(), self.utc);
        let mut of_parent = self.utc;
        if counted.own {
            let is_lifted = self.lifted == Some(leg.debit);
            let within = if is_lifted {
                limits::check_cap(&self.defaults_of(debit.currency), leg.amount)
            } else {
                self.check_limits(debit, leg.amount, calendar)
            };
            within.map_err(Refusal::LimitExceeded)?;
        }
        if let Some(parent) = counted.parent {
            let parent = self.accounts.get(&parent).ok_or(Refusal::AccountUnknown)?;
            of_parent = self.calendars.window(parent.zone.as_deref(), self.utc);
            self.check_limits(parent, leg.amount, of_parent)
                .map_err(|exceeded| Refusal::LimitExceeded(Exceeded { is_inherited: true, ..exceeded }))?;
        }
        if !debit.can_give(leg.amount) {
            return Err(Refusal::InsufficientFunds);
        }
        let is_held = phase == Phase::Held;
        if let Some(parent) = counted.parent {
            self.count(parent, |spent| spent.consume(leg.amount, of_parent))?;
        }
        let debited = self.change(leg.debit, |account| {
            if counted.own {
                account.spent.consume(leg.amount, calendar);
            }
            let sum = if is_held { &mut account.debits_pending } else { &mut account.debits_posted };
            sum.checked_add(leg.amount).map(|total| *sum = total)
        })?;
        let credited = self.change(leg.credit, |account| {
            let sum = if is_held { &mut account.credits_pending } else { &mut account.credits_posted };
            sum.checked_add(leg.amount).map(|total| *sum = total)
        })?;
        self.write(id, leg, phase, None, debited, credited);
        Ok(())
    }

    /// Ends the hold of a leg.
    fn finish(
        &mut self,
        id: TransactionId,
        leg: &Leg,
        held: i64,
        held_at: Timestamp,
        phase: Phase,
    ) -> Result<(), Refusal> {
        let is_settled = phase == Phase::Settled;
        let debit = self.accounts.get(&leg.debit).ok_or(Refusal::AccountUnknown)?;
        let credit = self.accounts.get(&leg.credit).ok_or(Refusal::AccountUnknown)?;
        let counted =
            if is_settled { Counted::default() } else { counted(debit.side(), credit.side(), leg.purpose) };
        // Where a part was taken, something was paid, and only the amount that is freed counts no more.
        let is_whole = self.holds.get(&id).is_none_or(|hold| hold.captured.is_zero());
        let give_back = |spent: &mut Spent| {
            if is_whole {
                spent.give_back(leg.amount, held_at);
            } else {
                spent.give_back_rest(leg.amount, held_at);
            }
        };
        if let Some(parent) = counted.parent {
            self.count(parent, give_back)?;
        }
        let debited = self.change(leg.debit, |account| {
            account.debits_pending = account.debits_pending.checked_sub(leg.amount)?;
            if is_settled {
                account.debits_posted = account.debits_posted.checked_add(leg.amount)?;
            } else if counted.own {
                give_back(&mut account.spent);
            }
            Some(())
        })?;
        let credited = self.change(leg.credit, |account| {
            account.credits_pending = account.credits_pending.checked_sub(leg.amount)?;
            if is_settled {
                account.credits_posted = account.credits_posted.checked_add(leg.amount)?;
            }
            Some(())
        })?;
        self.write(id, leg, phase, Some(held), debited, credited);
        Ok(())
    }

    fn check_limits(&self, account: &Account, amount: Amount, calendar: Window) -> Result<(), Exceeded> {
        let defaults = self.defaults_of(account.currency);
        account.check_limits(&defaults, amount, calendar)
    }

    /// Changes what counts against the limits of an account, after noting how it was.
    fn count(&mut self, id: AccountId, change: impl FnOnce(&mut Spent)) -> Result<(), Refusal> {
        let account = self.accounts.get_mut(&id).ok_or(Refusal::AccountUnknown)?;
        self.undo.push(Undo::Account(account.clone()));
        change(&mut account.spent);
        Ok(())
    }

    /// Changes an account after noting how it was; `None` says that a sum would be too large.
    fn change(
        &mut self,
        id: AccountId,
        change: impl FnOnce(&mut Account) -> Option<()>,
    ) -> Result<Change, Refusal> {
        let account = self.accounts.get_mut(&id).ok_or(Refusal::AccountUnknown)?;
        self.undo.push(Undo::Account(account.clone()));
        change(account).ok_or(Refusal::Overflow)?;
        account.version += 1;
        Ok(Change { version: account.version, balance: account.posted() })
    }

    fn write(
        &mut self,
        transaction: TransactionId,
        leg: &Leg,
        phase: Phase,
        pending_of: Option<i64>,
        debited: Change,
        credited: Change,
    ) {
        self.journal.push(Transfer {
            seq: self.next_seq,
            transaction,
            leg: *leg,
            phase,
            pending_of,
            debit_version: debited.version,
            debit_balance: debited.balance,
            credit_version: credited.version,
            credit_balance: credited.balance,
        });
        self.next_seq += 1;
    }
}

/// An account after a change.
#[derive(Clone, Copy)]
struct Change {
    version: i64,
    balance: SignedAmount,
}

/// Against whose limits a movement counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counted {
    /// Whether against the giver's own.
    pub own: bool,
    /// The account of the parent against whose it counts too.
    pub parent: Option<AccountId>,
}

/// Against whose limits a movement counts: what a recipient gets does, fees do not.
///
/// What moves within a family, between a parent and those who draw on it, counts against nothing of the parent's: it
/// is counted when it leaves the family.
pub fn counted(debit: Side, credit: Side, purpose: Purpose) -> Counted {
    if debit.kind != AccountKind::Wallet || !purpose.is_spending() {
        return Counted::default();
    }
    let is_within = credit.kind == AccountKind::Wallet && debit.family() == credit.family();
    if is_within {
        return Counted { own: debit.parent.is_some(), parent: None };
    }
    Counted { own: true, parent: debit.parent }
}

/// Whether one side of an account can grow by `amount` and still be settled later.
fn fits(posted: Total, pending: Total, amount: Amount) -> bool {
    let all = posted.units().checked_add(pending.units());
    all.and_then(|all| all.checked_add(amount.units())).is_some()
}

/// The movement that puts money into circulation or takes it out.
pub fn issuance_leg(is_mint: bool, issuance: AccountId, wallet: AccountId, amount: Amount) -> Leg {
    if is_mint {
        Leg { debit: issuance, credit: wallet, amount, purpose: Purpose::Mint }
    } else {
        Leg { debit: wallet, credit: issuance, amount, purpose: Purpose::Burn }
    }
}
