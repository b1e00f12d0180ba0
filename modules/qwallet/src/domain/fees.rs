//! Fees: what the payer pays on top, and to whom.
//!
//! **Invariant:** a version of the schedule is never edited, so what a payment cost can be computed again.

use std::sync::Arc;

use q_core::{Amount, Span, Timestamp};
use ruint::aliases::U256;

use super::{
    currency::{self, CurrencyId},
    payment::WalletAccounts,
    profile::Profile,
};

/// Basis points in a whole.
const BASIS: u128 = 10_000;

/// How long a quote holds: as long after a new version began, the one before may still be charged.
pub const QUOTE_TTL: Span = Span::seconds(300);

/// What a payment is, as far as its price goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FeeClass {
    /// From one person to another.
    P2p,
    /// To an enterprise.
    Merchant,
    /// What a module takes or gives for its own service, and between wallets of one owner: modules have fees of their
    /// own, and nothing is charged twice.
    Module,
}

impl FeeClass {
    /// All of them, by their place in a schedule.
    pub const ALL: [Self; 3] = [Self::P2p, Self::Merchant, Self::Module];

    /// The class of a payment from one wallet to another; from nobody's yet, as from a stranger's.
    pub fn of(payer: Option<&WalletAccounts>, recipient: &WalletAccounts) -> Self {
        Self::to(recipient.profile, payer.is_some_and(|payer| payer.is_family_of(recipient)))
    }

    /// The class of a payment to a wallet of this profile, which is of the payer's family or not.
    pub const fn to(recipient: Profile, is_family: bool) -> Self {
        if is_family {
            return Self::Module;
        }
        match recipient {
            Profile::Enterprise => Self::Merchant,
            Profile::Root | Profile::Dao | Profile::Consentida | Profile::Aid => Self::P2p,
        }
    }

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::P2p => "p2p",
            Self::Merchant => "merchant",
            Self::Module => "module",
        }
    }

    /// The class with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.name() == name)
    }

    const fn place(self) -> usize {
        match self {
            Self::P2p => 0,
            Self::Merchant => 1,
            Self::Module => 2,
        }
    }
}

/// Shares of an amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rates {
    /// The house's share, in basis points of the amount.
    pub platform_basis_points: u16,
    /// The rail's share, in basis points of the amount.
    pub network_basis_points: u16,
}

/// A version of the fee schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeeSchedule {
    /// Its number. The first is the one of the settings.
    pub version: u32,
    /// From when on it holds.
    pub valid_from: Timestamp,
    /// The rates of each currency, by class.
    rates: Vec<(CurrencyId, [Rates; 3])>,
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

impl Rates {
    /// The rates of an instance that sets none: half a percent for the house, a tenth of a percent for the rail.
    pub const REFERENCE: Self = Self { platform_basis_points: 50, network_basis_points: 10 };

    /// The fees of paying `amount`; `None` when they are too large.
    pub fn fees(&self, amount: Amount) -> Option<FeeAmounts> {
        Some(FeeAmounts {
            platform: share(amount, self.platform_basis_points)?,
            network: share(amount, self.network_basis_points)?,
        })
    }
}

impl FeeSchedule {
    /// The schedule of the settings: the same in every currency, and nothing for what modules do.
    pub fn of_settings(rates: Rates) -> Self {
        let of_classes = [rates, rates, Rates::default()];
        let rates = currency::ALL.iter().map(|currency| (currency.id, of_classes)).collect();
        Self { version: 1, valid_from: Timestamp::default(), rates }
    }

    /// A version with the rates of each currency and class; what is not named costs nothing.
    pub fn of_rates(
        version: u32,
        valid_from: Timestamp,
        named: impl IntoIterator<Item = (CurrencyId, FeeClass, Rates)>,
    ) -> Self {
        let mut rates: Vec<(CurrencyId, [Rates; 3])> =
            currency::ALL.iter().map(|currency| (currency.id, <[Rates; 3]>::default())).collect();
        for (currency, class, of_class) in named {
            if let Some((_, slots)) = rates.iter_mut().find(|(of, _)| *of == currency) {
                slots[class.place()] = of_class;
            }
        }
        Self { version, valid_from, rates }
    }

    /// The rates of a currency and class; nothing where the currency is unknown.
    pub fn rates(&self, currency: CurrencyId, class: FeeClass) -> Rates {
        let of = self.rates.iter().find(|(of, _)| *of == currency);
        of.map(|(_, rates)| rates[class.place()]).unwrap_or_default()
    }

    /// The fees of paying `amount`; `None` when they are too large.
    pub fn fees(&self, currency: CurrencyId, class: FeeClass, amount: Amount) -> Option<FeeAmounts> {
        self.rates(currency, class).fees(amount)
    }

    /// The fees of paying several at once: parts of one class are one amount, so that dividing it costs nothing.
    pub fn fees_of_parts(&self, currency: CurrencyId, parts: &[(FeeClass, Amount)]) -> Option<FeeAmounts> {
        let mut fees = FeeAmounts::default();
        for class in FeeClass::ALL {
            let mut own = parts.iter().filter(|(of, _)| *of == class).map(|(_, amount)| *amount);
            let sum = own.try_fold(Amount::ZERO, Amount::checked_add)?;
            let of_class = self.fees(currency, class, sum)?;
            fees.platform = fees.platform.checked_add(of_class.platform)?;
            fees.network = fees.network.checked_add(of_class.network)?;
        }
        Some(fees)
    }
}

/// The version that holds at an instant, and the one that was replaced so shortly before that somebody may have been
/// quoted it.
#[derive(Debug, Clone)]
pub struct InForce {
    /// What holds.
    pub now: Arc<FeeSchedule>,
    /// What held when a quote was given that is still good.
    pub before: Option<Arc<FeeSchedule>>,
}

impl InForce {
    /// Which of `versions`, in the order of their numbers, hold at `now`. Of two that begin at one instant the later one
    /// holds.
    pub fn at(versions: &[Arc<FeeSchedule>], now: Timestamp) -> Option<Self> {
        let last = versions.iter().rposition(|version| version.valid_from <= now)?;
        let began = versions[last].valid_from;
        let is_young = now.since(began) <= QUOTE_TTL;
        let before = versions[..last].iter().rfind(|version| version.valid_from < began);
        Some(Self { now: versions[last].clone(), before: before.filter(|_| is_young).cloned() })
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

    #[test]
    fn parts_of_one_class_are_one_amount() {
        use FeeClass::{Merchant, Module, P2p};
        let named = [(P2p, 50), (Merchant, 100), (Module, 0)].map(|(class, platform)| {
            let rates = Rates { platform_basis_points: platform, network_basis_points: 0 };
            (CurrencyId(1), class, rates)
        });
        let schedule = FeeSchedule::of_rates(2, Timestamp::default(), named);
        let platform = |parts: &[(FeeClass, u128)]| {
            let parts: Vec<_> =
                parts.iter().map(|(class, units)| (*class, Amount::from_units(*units))).collect();
            schedule.fees_of_parts(CurrencyId(1), &parts).map(|fees| fees.platform.units())
        };
        assert_eq!(platform(&[(P2p, 1), (P2p, 199)]), Some(1));
        assert_eq!(platform(&[(P2p, 200), (Merchant, 100), (Module, 1_000)]), Some(2));
        assert_eq!(platform(&[(P2p, u128::MAX), (P2p, 1)]), None);
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
