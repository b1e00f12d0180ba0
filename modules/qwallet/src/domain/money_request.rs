//! What a payee asks for, and when a payment fulfils it.

use q_core::{Amount, Timestamp};

use super::currency::Currency;

/// The most characters of what it is for.
pub const MEMO_CHARACTERS_MAX: usize = 140;

/// The decimals that fit a payto URI (RFC 8905 section 5).
const PAYTO_DECIMALS: u32 = 8;
/// The first whole amount that does not fit (RFC 8905 section 5).
const PAYTO_WHOLE_END: u128 = 1 << 53;

/// Where a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It may be paid.
    Open,
    /// It was paid, and once was enough.
    Paid,
    /// Its payee took it back.
    Cancelled,
    /// Its time is over.
    Expired,
}

impl Status {
    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "OPEN",
            Self::Paid => "PAID",
            Self::Cancelled => "CANCELLED",
            Self::Expired => "EXPIRED",
        }
    }

    /// Where a request is at `now`.
    pub fn at(
        now: Timestamp,
        is_cancelled: bool,
        is_single_use: bool,
        payments: i64,
        expires_at: Option<Timestamp>,
    ) -> Self {
        if is_single_use && payments > 0 {
            Self::Paid
        } else if is_cancelled {
            Self::Cancelled
        } else if expires_at.is_some_and(|expires_at| expires_at <= now) {
            Self::Expired
        } else {
            Self::Open
        }
    }
}

/// Whether a text may say what a request is for.
pub fn is_memo(text: &str) -> bool {
    text.chars().count() <= MEMO_CHARACTERS_MAX && !text.chars().any(char::is_control)
}

/// The amount as a payto URI has it; nothing where it does not fit and the payer has to look it up.
pub fn payto_amount(currency: &Currency, amount: Amount) -> Option<String> {
    let whole = currency.scale.units_per_whole();
    let places = u32::from(currency.scale.decimals()).saturating_sub(PAYTO_DECIMALS);
    let is_exact = amount.units().is_multiple_of(10_u128.pow(places));
    let fits = is_exact && amount.units() / whole < PAYTO_WHOLE_END;
    fits.then(|| format!("{}:{}", currency.code, currency.text(amount).as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use q_core::amount;

    #[test]
    fn only_amounts_that_a_payto_uri_can_hold_stand_in_it() {
        let currency = Currency::find("QToken").unwrap();
        let payto = |text: &str| payto_amount(currency, amount::parse(text, currency.scale).unwrap());
        assert_eq!(payto("1.5"), Some("QToken:1.5".into()));
        assert_eq!(payto("0.00000001"), Some("QToken:0.00000001".into()));
        assert_eq!(payto("0.000000001"), None);
        assert_eq!(payto("9007199254740991.99999999"), Some("QToken:9007199254740991.99999999".into()));
        assert_eq!(payto("9007199254740992"), None);
    }

    #[test]
    fn what_was_paid_once_stays_paid() {
        let at = Timestamp::from_seconds;
        assert_eq!(Status::at(at(5), false, true, 0, None), Status::Open);
        assert_eq!(Status::at(at(5), false, false, 7, Some(at(6))), Status::Open);
        assert_eq!(Status::at(at(6), false, false, 7, Some(at(6))), Status::Expired);
        assert_eq!(Status::at(at(6), true, true, 1, Some(at(6))), Status::Paid);
        assert_eq!(Status::at(at(5), true, false, 1, None), Status::Cancelled);
    }
}
