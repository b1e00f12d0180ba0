//! Amounts of money: unsigned integers of a currency's smallest unit, one type per use.
//!
//! 128 bits, because a currency of scale 18 with a large supply needs 39 digits, where the usual decimal
//! types stop at 28. On the wire an amount is a decimal string; in a column it is sixteen big-endian
//! bytes, so that the order of the bytes is the order of the numbers in either engine.
//!
//! **Invariant:** nothing here rounds, wraps or goes through a floating-point number.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The most digits before the point: with 18 decimals that is the 39 digits of `u128::MAX`.
pub const INTEGER_DIGITS_MAX: usize = 21;

/// The most digits after the point that any currency has.
pub const DECIMALS_MAX: u8 = 18;

/// The longest text that is looked at; anything longer is not an amount.
const TEXT_BYTES_MAX: usize = 64;

/// How many decimals a currency has: one unit is `10^-scale`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scale(u8);

impl Scale {
    /// A scale of at most [`DECIMALS_MAX`] decimals.
    pub const fn new(decimals: u8) -> Option<Self> {
        if decimals <= DECIMALS_MAX { Some(Self(decimals)) } else { None }
    }

    /// The number of decimals.
    pub const fn decimals(self) -> u8 {
        self.0
    }

    /// How many units make one whole.
    pub const fn units_per_whole(self) -> u128 {
        10u128.pow(self.0 as u32)
    }
}

/// Why a text or a JSON value is not an amount of a currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// A JSON number: its decimals would already have been through a floating-point reader.
    #[error("the amount must be a JSON string")]
    NotAString,
    /// Not of the form `^(0|[1-9][0-9]*)(\.[0-9]+)?$` in ASCII digits.
    #[error("the amount is not a plain decimal such as 12.50")]
    Malformed,
    /// More decimals than the currency has; nothing is rounded, not even trailing zeros.
    #[error("the amount has more decimals than the currency")]
    Precision,
    /// Larger than the largest amount.
    #[error("the amount is out of range")]
    OutOfRange,
}

/// Declares an unsigned quantity of smallest units.
macro_rules! quantity {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(u128);

        impl $name {
            /// None of it.
            pub const ZERO: Self = Self(0);
            /// The largest representable.
            pub const MAX: Self = Self(u128::MAX);

            /// So many smallest units.
            pub const fn from_units(units: u128) -> Self {
                Self(units)
            }

            /// The number of smallest units.
            pub const fn units(self) -> u128 {
                self.0
            }

            /// Whether it is nothing.
            pub const fn is_zero(self) -> bool {
                self.0 == 0
            }

            /// The sixteen big-endian bytes a column holds.
            pub const fn to_bytes(self) -> [u8; 16] {
                self.0.to_be_bytes()
            }

            /// Reads the column's bytes.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(u128::from_be_bytes(bytes))
            }

            /// The decimal text at `scale`, without trailing zeros.
            pub fn display(self, scale: Scale) -> String {
                print(false, self.0, scale, Zeros::Dropped)
            }

            /// The decimal text at `scale` with every decimal written, for journals and tables.
            pub fn display_full(self, scale: Scale) -> String {
                print(false, self.0, scale, Zeros::Kept)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }
    };
}

quantity!(
    /// How much one transfer moves, or how much one order asks for.
    Amount
);

quantity!(
    /// The running sum of one side (debits or credits) of one account.
    Total
);

impl Amount {
    /// The sum, unless it is too large.
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(units) => Some(Self(units)),
            None => None,
        }
    }

    /// The difference, unless it would be negative.
    pub const fn checked_sub(self, other: Self) -> Option<Self> {
        match self.0.checked_sub(other.0) {
            Some(units) => Some(Self(units)),
            None => None,
        }
    }
}

impl Total {
    /// The sum with a moved amount, unless it is too large.
    pub const fn checked_add(self, amount: Amount) -> Option<Self> {
        match self.0.checked_add(amount.0) {
            Some(units) => Some(Self(units)),
            None => None,
        }
    }

    /// The sum without an amount that was added before, unless it never was.
    pub const fn checked_sub(self, amount: Amount) -> Option<Self> {
        match self.0.checked_sub(amount.0) {
            Some(units) => Some(Self(units)),
            None => None,
        }
    }

    /// This side less the other: what an account holds.
    pub const fn less(self, other: Self) -> SignedAmount {
        if self.0 >= other.0 {
            SignedAmount { is_negative: false, units: self.0 - other.0 }
        } else {
            SignedAmount { is_negative: true, units: other.0 - self.0 }
        }
    }
}

/// A balance or a change of one: an amount with a sign. Zero is never negative.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct SignedAmount {
    is_negative: bool,
    units: u128,
}

impl SignedAmount {
    /// Nothing.
    pub const ZERO: Self = Self { is_negative: false, units: 0 };

    /// An amount received.
    pub const fn plus(amount: Amount) -> Self {
        Self { is_negative: false, units: amount.0 }
    }

    /// An amount given.
    pub const fn minus(amount: Amount) -> Self {
        Self { is_negative: amount.0 != 0, units: amount.0 }
    }

    /// Whether it is below zero.
    pub const fn is_negative(self) -> bool {
        self.is_negative
    }

    /// Its size without the sign.
    pub const fn magnitude(self) -> Amount {
        Amount(self.units)
    }

    /// The same size with the other sign.
    #[must_use]
    pub const fn negated(self) -> Self {
        Self { is_negative: !self.is_negative && self.units != 0, units: self.units }
    }

    /// Seventeen bytes whose order is the order of the numbers: a sign byte, then the size, which is
    /// complemented below zero.
    pub const fn to_bytes(self) -> [u8; 17] {
        let size = if self.is_negative { !self.units } else { self.units };
        let mut bytes = [0; 17];
        bytes[0] = !self.is_negative as u8;
        let digits = size.to_be_bytes();
        let mut at = 0;
        while at < 16 {
            bytes[at + 1] = digits[at];
            at += 1;
        }
        bytes
    }

    /// Reads [`Self::to_bytes`]; `None` for bytes it never writes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (&sign, digits) = bytes.split_first()?;
        let size = u128::from_be_bytes(digits.try_into().ok()?);
        match sign {
            1 => Some(Self { is_negative: false, units: size }),
            0 if size != u128::MAX => Some(Self { is_negative: true, units: !size }),
            _ => None,
        }
    }

    /// The decimal text at `scale`, without trailing zeros.
    pub fn display(self, scale: Scale) -> String {
        print(self.is_negative, self.units, scale, Zeros::Dropped)
    }

    /// The decimal text at `scale` with every decimal written.
    pub fn display_full(self, scale: Scale) -> String {
        print(self.is_negative, self.units, scale, Zeros::Kept)
    }
}

impl fmt::Debug for SignedAmount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.is_negative { "-" } else { "" }, self.units)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Zeros {
    Dropped,
    Kept,
}

fn print(is_negative: bool, units: u128, scale: Scale, zeros: Zeros) -> String {
    let per_whole = scale.units_per_whole();
    let (whole, fraction) = (units / per_whole, units % per_whole);
    let sign = if is_negative { "-" } else { "" };
    let width = usize::from(scale.0);
    if width == 0 || (fraction == 0 && zeros == Zeros::Dropped) {
        return format!("{sign}{whole}");
    }
    let mut text = format!("{sign}{whole}.{fraction:0width$}");
    if zeros == Zeros::Dropped {
        text.truncate(text.trim_end_matches('0').len());
    }
    text
}

/// Reads a decimal text as smallest units of a currency with `scale`.
///
/// The form is checked first, then the decimals, then the range, so that the answer does not depend on
/// how large a malformed amount is.
pub fn parse(text: &str, scale: Scale) -> Result<Amount, AmountError> {
    let bytes = text.as_bytes();
    if bytes.is_empty() || bytes.len() > TEXT_BYTES_MAX {
        return Err(AmountError::Malformed);
    }
    let (whole, fraction) = match bytes.iter().position(|byte| *byte == b'.') {
        Some(at) => (&bytes[..at], Some(&bytes[at + 1..])),
        None => (bytes, None),
    };
    let are_digits = |digits: &[u8]| !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let has_leading_zero = whole.len() > 1 && whole[0] == b'0';
    if !are_digits(whole) || has_leading_zero || fraction.is_some_and(|digits| !are_digits(digits)) {
        return Err(AmountError::Malformed);
    }
    let fraction = fraction.unwrap_or_default();
    if fraction.len() > usize::from(scale.0) {
        return Err(AmountError::Precision);
    }
    if whole.len() > INTEGER_DIGITS_MAX {
        return Err(AmountError::OutOfRange);
    }
    let missing = usize::from(scale.0) - fraction.len();
    let digits = whole.iter().chain(fraction).copied().chain(std::iter::repeat_n(b'0', missing));
    let units = digits
        .into_iter()
        .try_fold(0u128, |units, digit| units.checked_mul(10)?.checked_add(u128::from(digit - b'0')));
    units.map(Amount).ok_or(AmountError::OutOfRange)
}

/// An amount as it came over the wire, before the currency and so the scale is known.
///
/// Any JSON scalar is taken, so that a number is refused with its own code
/// ([`AmountError::NotAString`]) rather than as a general fault of shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AmountText {
    /// A string, in any form.
    Text(String),
    /// A JSON number, boolean or null.
    NotAString,
}

impl AmountText {
    /// The text of `amount` at `scale`.
    pub fn of(amount: Amount, scale: Scale) -> Self {
        Self::Text(amount.display(scale))
    }

    /// The text as it was sent; empty when it was not a string.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::NotAString => "",
        }
    }

    /// Reads the amount at `scale`.
    pub fn parse(&self, scale: Scale) -> Result<Amount, AmountError> {
        match self {
            Self::Text(text) => parse(text, scale),
            Self::NotAString => Err(AmountError::NotAString),
        }
    }

    /// Checks only what does not depend on a currency: that it is a string of the right form.
    pub fn check_form(&self) -> Result<(), AmountError> {
        match self.parse(Scale(DECIMALS_MAX)) {
            Err(fault @ (AmountError::NotAString | AmountError::Malformed)) => Err(fault),
            Ok(_) | Err(AmountError::Precision | AmountError::OutOfRange) => Ok(()),
        }
    }
}

impl From<&str> for AmountText {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for AmountText {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl Serialize for AmountText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::NotAString => serializer.serialize_none(),
        }
    }
}

impl<'de> Deserialize<'de> for AmountText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AmountVisitor)
    }
}

struct AmountVisitor;

impl de::Visitor<'_> for AmountVisitor {
    type Value = AmountText;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an amount as a decimal string")
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<AmountText, E> {
        Ok(AmountText::Text(text.to_owned()))
    }
    fn visit_string<E: de::Error>(self, text: String) -> Result<AmountText, E> {
        Ok(AmountText::Text(text))
    }
    fn visit_u64<E: de::Error>(self, _: u64) -> Result<AmountText, E> {
        Ok(AmountText::NotAString)
    }
    fn visit_i64<E: de::Error>(self, _: i64) -> Result<AmountText, E> {
        Ok(AmountText::NotAString)
    }
    fn visit_f64<E: de::Error>(self, _: f64) -> Result<AmountText, E> {
        Ok(AmountText::NotAString)
    }
    fn visit_bool<E: de::Error>(self, _: bool) -> Result<AmountText, E> {
        Ok(AmountText::NotAString)
    }
    fn visit_unit<E: de::Error>(self) -> Result<AmountText, E> {
        Ok(AmountText::NotAString)
    }
}

impl JsonSchema for AmountText {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Amount".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "decimal string, at most as many decimals as the currency has",
            "pattern": "^(0|[1-9][0-9]{0,20})(\\.[0-9]{1,18})?$"
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EIGHTEEN: Scale = Scale(18);

    #[test]
    fn refuses_the_hostile_table() {
        let forty_digits = "1".repeat(40);
        let table: &[(&str, AmountError)] = &[
            ("", AmountError::Malformed),
            ("1e3", AmountError::Malformed),
            ("-1", AmountError::Malformed),
            ("+1", AmountError::Malformed),
            ("01", AmountError::Malformed),
            ("00", AmountError::Malformed),
            ("1.", AmountError::Malformed),
            (".5", AmountError::Malformed),
            (" 1", AmountError::Malformed),
            ("1 ", AmountError::Malformed),
            ("1,5", AmountError::Malformed),
            ("1.2.3", AmountError::Malformed),
            ("1_000", AmountError::Malformed),
            ("NaN", AmountError::Malformed),
            ("inf", AmountError::Malformed),
            ("0x10", AmountError::Malformed),
            ("١٢٣", AmountError::Malformed),
            ("１", AmountError::Malformed),
            ("1\0", AmountError::Malformed),
            ("0.0000000000000000001", AmountError::Precision),
            (&forty_digits, AmountError::OutOfRange),
            ("340282366920938463463.374607431768211456", AmountError::OutOfRange),
            ("999999999999999999999", AmountError::OutOfRange),
        ];
        for (text, refusal) in table {
            assert_eq!(parse(text, EIGHTEEN), Err(*refusal), "{text:?}");
        }
        let long = format!("1.{}", "0".repeat(100));
        assert_eq!(parse(&long, EIGHTEEN), Err(AmountError::Malformed));
    }

    #[test]
    fn reads_the_extremes() {
        assert_eq!(parse("0", EIGHTEEN), Ok(Amount::ZERO));
        assert_eq!(parse("340282366920938463463.374607431768211455", EIGHTEEN), Ok(Amount::MAX));
        assert_eq!(parse("1.5", Scale(8)), Ok(Amount(150_000_000)));
        assert_eq!(parse("1.50", Scale(1)), Err(AmountError::Precision));
        assert_eq!(parse("7", Scale(0)), Ok(Amount(7)));
    }

    #[test]
    fn a_json_number_is_named_as_such() {
        for json in ["1", "1.5", "-1", "1e3", "null", "true"] {
            let text: AmountText = serde_json::from_str(json).unwrap();
            assert_eq!(text.parse(EIGHTEEN), Err(AmountError::NotAString), "{json}");
            assert_eq!(text.check_form(), Err(AmountError::NotAString));
        }
        let text: AmountText = serde_json::from_str("\"1.5\"").unwrap();
        assert_eq!(text.check_form(), Ok(()));
    }

    #[test]
    fn prints_balances_with_their_sign() {
        let balance = Total(1).less(Total(3));
        assert_eq!(balance.display(Scale(2)), "-0.02");
        assert_eq!(balance.negated().display_full(Scale(2)), "0.02");
        assert_eq!(SignedAmount::minus(Amount::ZERO), SignedAmount::ZERO);
        assert_eq!(SignedAmount::from_bytes(&[0; 17]).map(SignedAmount::magnitude), Some(Amount::MAX));
        assert_eq!(SignedAmount::from_bytes(&[2; 17]), None);
        assert_eq!(SignedAmount::from_bytes(&[1; 16]), None);
    }

    fn signed() -> impl Strategy<Value = SignedAmount> {
        (any::<bool>(), any::<u128>()).prop_map(|(is_negative, units)| {
            let amount = Amount(units);
            if is_negative { SignedAmount::minus(amount) } else { SignedAmount::plus(amount) }
        })
    }

    proptest! {
        #[test]
        fn reads_what_it_prints(units: u128, decimals in 0u8..=18) {
            // Below 18 decimals the largest values need more than 21 digits before the point.
            let bound = 10u128.checked_pow(21 + u32::from(decimals)).unwrap_or(u128::MAX);
            let (amount, scale) = (Amount(units % bound), Scale(decimals));
            prop_assert_eq!(parse(&amount.display(scale), scale), Ok(amount));
            prop_assert_eq!(parse(&amount.display_full(scale), scale), Ok(amount));
        }

        #[test]
        fn never_panics_and_accepts_only_the_grammar(text in "[0-9.eE+ -]{0,45}", decimals in 0u8..=18) {
            if let Ok(amount) = parse(&text, Scale(decimals)) {
                let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
                prop_assert!(whole == "0" || !whole.starts_with('0'));
                prop_assert!(!fraction.is_empty() || !text.contains('.'));
                let digits = format!("{whole}{fraction:0<width$}", width = usize::from(decimals));
                prop_assert_eq!(amount.units(), digits.parse::<u128>().unwrap());
            }
        }

        #[test]
        fn bytes_keep_the_order(a in signed(), b in signed()) {
            let order = |x: SignedAmount| (!x.is_negative, if x.is_negative { u128::MAX - x.units } else { x.units });
            prop_assert_eq!(order(a).cmp(&order(b)), a.to_bytes().cmp(&b.to_bytes()));
            prop_assert_eq!(SignedAmount::from_bytes(&a.to_bytes()), Some(a));
        }
    }
}
