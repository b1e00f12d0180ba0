//! A wallet's statement: what it held, what changed it, what it holds.
//!
//! A statement of one whole calendar month (UTC) that is over is numbered by that month, counted from the one in which
//! the wallet was opened. So numbers have no gaps, whoever asks and however often, a restored store gives the same ones,
//! and nothing has to be written to give one. Every other period is an extract and has no number.
//!
//! **Invariant:** opening balance and changes add up to the closing balance.

use q_core::{SignedAmount, Span, Timestamp, hash};
use qwallet_api::TransactionId;

use super::{
    account::sum_of,
    calendar::{first_day, month_of},
    currency::Currency,
    transfer::Purpose,
};

const DAY: Span = Span::seconds(86_400);

/// How long after its end a month gets no more entries: what was decided before the end is on disk by then, and no
/// writer whose clock is further behind than this is let write.
const CLOSED_AFTER: Span = Span::seconds(300);

/// From when to when, the end not included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    /// The first instant.
    pub from: Timestamp,
    /// The first instant that no longer belongs to it.
    pub to: Timestamp,
}

impl Period {
    /// What is asked for at `now`: since the first of this month where no beginning is given, up to now at the latest.
    /// `None` when it ends before it begins.
    pub fn asked(from: Option<Timestamp>, to: Option<Timestamp>, now: Timestamp) -> Option<Self> {
        let to = to.unwrap_or(now).min(now);
        let from = from.unwrap_or_else(|| first_instant(month(now)));
        (from <= to).then_some(Self { from, to })
    }

    /// The number of the statement of this period for a wallet opened at `opened_at`; none for an extract.
    pub fn number(self, opened_at: Timestamp, now: Timestamp) -> Option<i64> {
        let month_asked = month(self.from);
        let is_month = self.from == first_instant(month_asked) && self.to == first_instant(month_asked + 1);
        let number = month_asked - month(opened_at) + 1;
        (is_month && number > 0 && self.to + CLOSED_AFTER <= now).then_some(number)
    }
}

fn month(at: Timestamp) -> i64 {
    month_of(at.micros().div_euclid(DAY.as_micros()))
}

fn first_instant(month: i64) -> Timestamp {
    Timestamp::from_micros(first_day(month) * DAY.as_micros())
}

/// A statement of one wallet in one currency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Its number, where it has one.
    pub number: Option<i64>,
    /// The wallet's reference.
    pub wallet: String,
    /// Whose wallet.
    pub owner: String,
    /// The currency.
    pub currency: &'static Currency,
    /// The three-letter code that stands for the currency where a format has no room for its own.
    pub iso_alias: Option<String>,
    /// The period.
    pub period: Period,
    /// When it was made.
    pub made_at: Timestamp,
    /// What was settled before.
    pub opening: SignedAmount,
    /// What is settled after.
    pub closing: SignedAmount,
    /// What changed it, oldest first.
    pub entries: Vec<Entry>,
}

/// One change of what a wallet holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The transfer's place in the journal.
    pub seq: i64,
    /// When.
    pub at: Timestamp,
    /// The transaction.
    pub transaction: TransactionId,
    /// The transaction's kind.
    pub kind: &'static str,
    /// Why this leg of it.
    pub leg: Purpose,
    /// Received, or given where negative.
    pub change: SignedAmount,
    /// What the wallet holds after it.
    pub balance: SignedAmount,
    /// The other side: a wallet reference or the name of an account of the house.
    pub counterparty: String,
    /// What the payer said it is for.
    pub purpose: Option<String>,
    /// The payer's reference.
    pub client_ref: Option<String>,
}

impl Entry {
    /// Whether it is a fee, or one given back.
    pub const fn is_fee(&self) -> bool {
        matches!(self.leg, Purpose::PlatformFee | Purpose::NetworkFee | Purpose::FeeRefund)
    }

    /// A name no other entry of any wallet has.
    pub fn reference(&self) -> String {
        format!("{}-{}", self.transaction, self.seq)
    }
}

impl Statement {
    /// Its name, at most 35 characters: of the number, or of the period.
    pub fn id(&self) -> String {
        if let Some(number) = self.number {
            return format!("{}-{}-{number}", self.wallet, self.currency.id.0);
        }
        let digest = hash::sha256_of(&[
            b"q-statement/1",
            self.wallet.as_bytes(),
            self.currency.code.as_bytes(),
            &self.period.from.micros().to_be_bytes(),
            &self.period.to.micros().to_be_bytes(),
        ]);
        format!("X-{}", hash::hex(&digest[..16]))
    }

    /// Whether the opening balance and the changes add up to every balance and to the closing one.
    pub fn adds_up(&self) -> bool {
        let mut balance = self.opening;
        for entry in &self.entries {
            balance = sum_of([balance, entry.change].into_iter());
            if balance != entry.balance {
                return false;
            }
        }
        balance == self.closing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn months_that_are_over_are_numbered_without_gaps() {
        let (opened, now) = (at("2025-11-17T10:00:00Z"), at("2026-03-01T00:05:00Z"));
        let months = ["2025-11-01", "2025-12-01", "2026-01-01", "2026-02-01", "2026-03-01"]
            .map(|day| at(&format!("{day}T00:00:00Z")));
        let numbers: Vec<_> =
            months.windows(2).map(|pair| Period { from: pair[0], to: pair[1] }.number(opened, now)).collect();
        assert_eq!(numbers, [Some(1), Some(2), Some(3), Some(4)]);
        let last = Period { from: months[3], to: months[4] };
        assert_eq!(last.number(opened, at("2026-03-01T00:04:59Z")), None, "not yet closed");
        assert_eq!(Period { from: months[0], to: months[2] }.number(opened, now), None, "two months");
        let before = Period { from: at("2025-10-01T00:00:00Z"), to: months[0] };
        assert_eq!(before.number(opened, now), None, "before there was a wallet");
    }

    #[test]
    fn a_period_ends_now_at_the_latest() {
        let now = at("2026-03-05T12:00:00Z");
        let first = at("2026-03-01T00:00:00Z");
        assert_eq!(Period::asked(None, None, now), Some(Period { from: first, to: now }));
        let next = at("2026-04-01T00:00:00Z");
        assert_eq!(Period::asked(Some(first), Some(next), now), Some(Period { from: first, to: now }));
        assert_eq!(Period::asked(Some(next), None, now), None);
    }
}
