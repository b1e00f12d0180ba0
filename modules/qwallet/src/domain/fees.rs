//! Fees: what the payer pays on top, and to whom.

use q_core::Amount;
use ruint::aliases::U256;

/// Basis points in a whole.
const BASIS: u128 = 10_000;

/// A version of the fee schedule. Versions are never edited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeeSchedule {
    /// Its number.
    pub version: u32,
    /// The house's share, in basis points of the amount.
    pub platform_basis_points: u16,
    /// The rail's share, in basis points of the amount.
    pub network_basis_points: u16,
}

/// What one payment costs on top of its amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FeeAmounts {
    /// The house's.
    pub platform: Amount,
    /// The rail's.
    pub network: Amount,
}

impl FeeAmounts {
    /// Both together, unless that is too large.
    pub const fn total(self) -> Option<Amount> {
        self.platform.checked_add(self.network)
    }
}

impl FeeSchedule {
    /// The reference schedule: half a percent for the house, a tenth of a percent for the rail.
    pub const REFERENCE: Self = Self { version: 1, platform_basis_points: 50, network_basis_points: 10 };

    /// The fees of paying `amount`; `None` when they are too large.
    pub fn fees(&self, amount: Amount) -> Option<FeeAmounts> {
        Some(FeeAmounts {
            platform: share(amount, self.platform_basis_points)?,
            network: share(amount, self.network_basis_points)?,
        })
    }
}

/// `ceil(amount × basis_points / 10,000)`: never less than the exact share, and less than one unit more.
fn share(amount: Amount, basis_points: u16) -> Option<Amount> {
    let factor = u128::from(basis_points);
    if let Some(product) = amount.units().checked_mul(factor) {
        return Some(Amount::from_units(product.div_ceil(BASIS)));
    }
    // The product of a large amount needs more than 128 bits; the share itself may still fit.
    let product = U256::from(amount.units()) * U256::from(factor);
    u128::try_from(product.div_ceil(U256::from(BASIS))).ok().map(Amount::from_units)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rounds_up_to_the_last_unit() {
        for (amount, fee) in [(0, 0), (1, 1), (199, 1), (200, 1), (201, 2), (10_000, 50), (10_001, 51)] {
            assert_eq!(share(Amount::from_units(amount), 50), Some(Amount::from_units(fee)), "{amount}");
        }
        assert_eq!(share(Amount::from_units(7), 0), Some(Amount::ZERO));
        assert_eq!(share(Amount::MAX, 10_000), Some(Amount::MAX));
        assert_eq!(share(Amount::MAX, 10_001), None);
    }

    proptest! {
        #[test]
        fn agrees_with_wide_arithmetic(units: u128, basis_points: u16) {
            let exact = U256::from(units) * U256::from(basis_points);
            match share(Amount::from_units(units), basis_points) {
                Some(fee) => {
                    let charged = U256::from(fee.units()) * U256::from(BASIS);
                    prop_assert!(charged >= exact && charged < exact + U256::from(BASIS));
                }
                None => prop_assert!(exact > U256::from(u128::MAX) * U256::from(BASIS) - U256::from(BASIS)),
            }
        }
    }
}
