//! Amounts of a chain and of the books: the same money, counted in other units.

use q_core::{Amount, AmountError, Scale};

/// An amount in the smallest units of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ChainAmount(pub u128);

/// An amount of the books in the units of a chain. A chain with fewer decimals takes only amounts whose further digits
/// are zero (PI has 8, its chain 7): nothing is rounded.
pub fn to_chain(amount: Amount, scale: Scale, decimals: u8) -> Result<ChainAmount, AmountError> {
    shift(amount.units(), scale.decimals(), decimals).map(ChainAmount)
}

/// An amount of a chain in the units of the books.
pub fn from_chain(amount: ChainAmount, decimals: u8, scale: Scale) -> Result<Amount, AmountError> {
    shift(amount.0, decimals, scale.decimals()).map(Amount::from_units)
}

fn shift(units: u128, from: u8, to: u8) -> Result<u128, AmountError> {
    let factor = 10u128.checked_pow(u32::from(from.abs_diff(to))).ok_or(AmountError::OutOfRange)?;
    if to >= from {
        return units.checked_mul(factor).ok_or(AmountError::OutOfRange);
    }
    if units.is_multiple_of(factor) { Ok(units / factor) } else { Err(AmountError::Precision) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_of_seven_decimals_takes_pi_whose_eighth_is_zero() {
        let pi = Scale::new(8).expect("8 decimals are allowed");
        assert_eq!(to_chain(Amount::from_units(1_234_567_890), pi, 7), Ok(ChainAmount(123_456_789)));
        assert_eq!(to_chain(Amount::from_units(1_234_567_891), pi, 7), Err(AmountError::Precision));
        assert_eq!(from_chain(ChainAmount(123_456_789), 7, pi), Ok(Amount::from_units(1_234_567_890)));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let six = Scale::new(6).expect("6 decimals are allowed");
        assert_eq!(to_chain(Amount::MAX, six, 18), Err(AmountError::OutOfRange));
        assert_eq!(from_chain(ChainAmount(1), 77, six), Err(AmountError::OutOfRange));
        assert_eq!(from_chain(ChainAmount(999_999_999_999), 18, six), Err(AmountError::Precision));
    }
}
