//! Quotes: what a payment was said to cost.
//!
//! **Invariant:** a quote that holds makes a payment cost exactly what it says, or the payment is refused.

use q_core::{Amount, Timestamp};

use super::{
    currency::CurrencyId,
    fees::{FeeAmounts, FeeClass},
};

/// What a payer was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quoted {
    /// The version of the fee schedule.
    pub version: u32,
    /// What the payment is, as far as its price goes.
    pub class: FeeClass,
    /// The currency.
    pub currency: CurrencyId,
    /// What the recipient is to get.
    pub amount: Amount,
    /// What that costs.
    pub fees: FeeAmounts,
    /// Until when it holds.
    pub valid_until: Timestamp,
}

/// Why a quote does not hold for a payment, in the order of checking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QuoteFault {
    /// This instance did not give it to this payer.
    #[error("the quote is none that this instance gave to this payer")]
    NotGiven,
    /// It is about another amount or currency.
    #[error("the quote is about another amount or currency")]
    OtherAmount,
    /// It is about a payment of another class.
    #[error(
        "the quote is about a payment to somebody of another class: ask for one that names the recipient"
    )]
    OtherClass,
    /// The fees it was made from were withdrawn: the settings of the instance changed.
    #[error("the instance withdrew the fees that the quote was made from")]
    Withdrawn,
    /// Its time is over.
    #[error("the quote held until {0}")]
    Expired(Timestamp),
}

/// The first byte of a quote: the form of what follows.
const FORM: u8 = 1;

const BYTES: usize = 63;

impl Quoted {
    /// As it is sealed.
    pub fn to_bytes(&self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        let class = FeeClass::ALL.iter().position(|class| *class == self.class);
        bytes[0] = FORM;
        bytes[1..5].copy_from_slice(&self.version.to_be_bytes());
        bytes[5] = self.currency.0;
        bytes[6] = class.and_then(|place| u8::try_from(place).ok()).unwrap_or(u8::MAX);
        bytes[7..23].copy_from_slice(&self.amount.to_bytes());
        bytes[23..39].copy_from_slice(&self.fees.platform.to_bytes());
        bytes[39..55].copy_from_slice(&self.fees.network.to_bytes());
        bytes[55..].copy_from_slice(&self.valid_until.micros().to_be_bytes());
        bytes
    }

    /// From what was sealed.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; BYTES] = bytes.try_into().ok()?;
        let amount = |at: usize| Some(Amount::from_bytes(*bytes[at..].first_chunk()?));
        (bytes[0] == FORM).then_some(())?;
        Some(Self {
            version: u32::from_be_bytes(*bytes[1..].first_chunk()?),
            currency: CurrencyId(bytes[5]),
            class: *FeeClass::ALL.get(usize::from(bytes[6]))?,
            amount: amount(7)?,
            fees: FeeAmounts { platform: amount(23)?, network: amount(39)? },
            valid_until: Timestamp::from_micros(i64::from_be_bytes(*bytes[55..].first_chunk()?)),
        })
    }

    /// Whether it is about a payment of this amount and class, and still holds at `now`.
    pub fn check(
        &self,
        (currency, amount): (CurrencyId, Amount),
        class: FeeClass,
        now: Timestamp,
    ) -> Result<(), QuoteFault> {
        if (self.currency, self.amount) != (currency, amount) {
            return Err(QuoteFault::OtherAmount);
        }
        if self.class != class {
            return Err(QuoteFault::OtherClass);
        }
        if self.valid_until < now {
            return Err(QuoteFault::Expired(self.valid_until));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quote_comes_back_as_it_was_sealed() {
        for class in FeeClass::ALL {
            let quoted = Quoted {
                version: 70_000,
                class,
                currency: CurrencyId(2),
                amount: Amount::MAX,
                fees: FeeAmounts { platform: Amount::from_units(7), network: Amount::from_units(9) },
                valid_until: Timestamp::from_micros(1_700_000_000_123_456),
            };
            let bytes = quoted.to_bytes();
            assert_eq!(Quoted::from_bytes(&bytes), Some(quoted));
            assert_eq!(Quoted::from_bytes(&bytes[1..]), None);
            assert_eq!(Quoted::from_bytes(&[0; BYTES]), None);
            let (own, now) = ((quoted.currency, quoted.amount), quoted.valid_until);
            let later = Timestamp::from_micros(now.micros() + 1);
            assert_eq!(quoted.check(own, class, now), Ok(()), "the last instant counts");
            assert_eq!(quoted.check(own, class, later), Err(QuoteFault::Expired(now)));
            let other = (CurrencyId(1), Amount::MAX);
            assert_eq!(quoted.check(other, class, later), Err(QuoteFault::OtherAmount));
        }
    }
}
