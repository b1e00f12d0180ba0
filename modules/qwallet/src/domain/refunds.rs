//! What may be given back of a payment.
//!
//! **Invariant:** what was given back of a payment never exceeds it, nor what was given back of its fees the fees.

use q_core::{Amount, Span};

use super::{books::share, fees::FeeAmounts};

/// How long after its settlement a payment may be refunded.
pub const WINDOW: Span = Span::seconds(180 * 86_400);

/// How much of a payment goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refund {
    /// To the payer, without fees.
    pub amount: Amount,
    /// What the house gives back.
    pub fees: FeeAmounts,
    /// What may still be given back afterwards.
    pub remaining: Amount,
}

/// More was asked for than is left, or nothing is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exceeds;

/// The refund of `asked`, or of all that is left, after `refunded` of `payment` went back before. With `fees`, what they
/// were in the beginning, the same share of them goes back: of several refunds together never more than of one.
pub fn decide(
    payment: Amount,
    refunded: Amount,
    asked: Option<Amount>,
    fees: Option<FeeAmounts>,
) -> Result<Refund, Exceeds> {
    let left = payment.checked_sub(refunded).ok_or(Exceeds)?;
    let amount = asked.unwrap_or(left);
    let remaining = left.checked_sub(amount).filter(|_| !amount.is_zero()).ok_or(Exceeds)?;
    let after = payment.checked_sub(remaining).ok_or(Exceeds)?;
    // Rounded down: the house never gives back more than it took.
    let back = |fee: Amount| {
        let (before, after) = (share(fee, refunded, payment), share(fee, after, payment));
        after.checked_sub(before).unwrap_or_default()
    };
    let fees = fees.map_or_else(FeeAmounts::default, |fees| FeeAmounts {
        platform: back(fees.platform),
        network: back(fees.network),
    });
    Ok(Refund { amount, fees, remaining })
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn units(units: u128) -> Amount {
        Amount::from_units(units)
    }

    #[test]
    fn parts_never_add_up_to_more_than_the_payment_or_its_fees() {
        let fees = FeeAmounts { platform: units(7), network: units(2) };
        for part in 1..=100_u128 {
            let (mut refunded, mut platform, mut network) = (0, 0, 0);
            while let Ok(refund) = decide(units(100), units(refunded), Some(units(part)), Some(fees)) {
                refunded += refund.amount.units();
                platform += refund.fees.platform.units();
                network += refund.fees.network.units();
                assert_eq!(refund.remaining.units(), 100 - refunded);
            }
            assert!(refunded <= 100 && 100 - refunded < part, "{part}");
            assert_eq!((platform, network), (7 * refunded / 100, 2 * refunded / 100), "{part}");
        }
    }

    #[test]
    fn all_that_is_left_is_the_default_and_nothing_is_no_refund() {
        let rest = decide(units(10), units(4), None, None).unwrap();
        assert_eq!((rest.amount, rest.remaining, rest.fees.platform), (units(6), units(0), units(0)));
        assert_eq!(decide(units(10), units(10), None, None), Err(Exceeds));
        assert_eq!(decide(units(10), units(4), Some(units(7)), None), Err(Exceeds));
        assert_eq!(decide(units(10), units(4), Some(units(0)), None), Err(Exceeds));
        let most = units(u128::MAX);
        let fees = FeeAmounts { platform: most, network: most };
        assert_eq!(decide(most, units(0), None, Some(fees)).unwrap().fees.platform, most);
    }
}
