//! The currencies of the instance.

use q_core::{Amount, AmountError, AmountText, Scale, amount};

/// A currency by its number in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CurrencyId(pub u8);

/// A currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Currency {
    /// Its number; never reused.
    pub id: CurrencyId,
    /// Its code on the wire.
    pub code: &'static str,
    /// Its decimals.
    pub scale: Scale,
}

const fn scale(decimals: u8) -> Scale {
    match Scale::new(decimals) {
        Some(scale) => scale,
        None => panic!("a currency has at most 18 decimals"),
    }
}

/// Every currency, the first being the instance's own.
pub const ALL: [Currency; 2] = [
    Currency { id: CurrencyId(1), code: "QToken", scale: scale(18) },
    Currency { id: CurrencyId(2), code: "PI", scale: scale(8) },
];

/// Why an amount of a currency is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AmountRefusal {
    /// The text.
    #[error(transparent)]
    Text(#[from] AmountError),
    /// A payment of nothing.
    #[error("the amount is zero")]
    Zero,
}

impl Currency {
    /// The currency with this code.
    pub fn find(code: &str) -> Option<&'static Self> {
        ALL.iter().find(|currency| currency.code == code)
    }

    /// The currency with this number.
    pub fn by_id(id: CurrencyId) -> Option<&'static Self> {
        ALL.iter().find(|currency| currency.id == id)
    }

    /// Reads an amount that may be paid: of the right form, exact, and not zero.
    pub fn read(&self, text: &AmountText) -> Result<Amount, AmountRefusal> {
        let amount = text.parse(self.scale)?;
        if amount.is_zero() { Err(AmountRefusal::Zero) } else { Ok(amount) }
    }

    /// The smallest amount that is something.
    pub fn least(&self) -> AmountText {
        self.text(Amount::from_units(1))
    }

    /// The largest amount that can be written: as many digits before the point as the grammar reads, or what 128
    /// bits hold.
    pub fn greatest(&self) -> AmountText {
        let digits = u32::try_from(amount::INTEGER_DIGITS_MAX).unwrap_or(u32::MAX);
        let whole =
            10u128.checked_pow(digits).and_then(|whole| whole.checked_mul(self.scale.units_per_whole()));
        self.text(whole.map_or(Amount::MAX, |above| Amount::from_units(above - 1)))
    }

    /// The wire text of an amount.
    pub fn text(&self, amount: Amount) -> AmountText {
        AmountText::of(amount, self.scale)
    }
}
