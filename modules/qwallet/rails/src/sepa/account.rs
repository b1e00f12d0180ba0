//! An account at a bank, as people write it: `payto://iban/DE75512108001245126199?receiver-name=Ann` (RFC 8905).

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// `Max140Text` of ISO 20022, of which SEPA carries seventy.
const NAME_CHARS_MAX: usize = 70;
/// The longest IBAN there may be.
const IBAN_CHARS: std::ops::RangeInclusive<usize> = 15..=34;
const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Whose account it is, and which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The IBAN, in capitals without spaces.
    pub iban: String,
    /// The holder's name.
    pub name: String,
}

/// Why a text names no account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAnAccount {
    /// Not of the form `payto://iban/…`.
    #[error("an account is written payto://iban/IBAN?receiver-name=NAME")]
    Form,
    /// Its check digits are wrong, or it is none.
    #[error("the IBAN is wrong")]
    Iban,
    /// No name, or one no bank takes.
    #[error("the holder's name is missing or longer than 70 characters")]
    Name,
}

impl Account {
    /// An account with checked parts.
    pub fn new(iban: &str, name: &str) -> Result<Self, NotAnAccount> {
        let iban: String = iban.chars().filter(|letter| *letter != ' ').collect();
        let iban = iban.to_ascii_uppercase();
        if !is_iban(&iban) {
            return Err(NotAnAccount::Iban);
        }
        let name = name.trim();
        if name.is_empty() || name.chars().count() > NAME_CHARS_MAX || name.chars().any(char::is_control) {
            return Err(NotAnAccount::Name);
        }
        Ok(Self { iban, name: name.to_owned() })
    }

    /// Reads the URI. A BIC before the IBAN is read over: it is not needed any more.
    pub fn read(text: &str) -> Result<Self, NotAnAccount> {
        let rest = text.strip_prefix("payto://iban/").ok_or(NotAnAccount::Form)?;
        let (path, query) = rest.split_once('?').ok_or(NotAnAccount::Name)?;
        let iban = path.rsplit('/').next().unwrap_or(path);
        let name = query.split('&').find_map(|part| part.strip_prefix("receiver-name="));
        let name = percent_decode_str(name.ok_or(NotAnAccount::Name)?).decode_utf8();
        Self::new(iban, &name.map_err(|_| NotAnAccount::Name)?)
    }

    /// The URI, in its one form.
    pub fn text(&self) -> String {
        format!("payto://iban/{}?receiver-name={}", self.iban, utf8_percent_encode(&self.name, KEPT))
    }
}

/// Two letters, two check digits, letters and digits; 1 modulo 97 with the first four at the end (ISO 13616).
fn is_iban(text: &str) -> bool {
    let bytes = text.as_bytes();
    let is_formed = IBAN_CHARS.contains(&bytes.len())
        && bytes.iter().all(u8::is_ascii_alphanumeric)
        && bytes[..2].iter().all(u8::is_ascii_uppercase)
        && bytes[2..4].iter().all(u8::is_ascii_digit);
    let rest = bytes.iter().cycle().skip(4).take(bytes.len()).fold(0u32, |rest, byte| match byte {
        b'0'..=b'9' => (rest * 10 + u32::from(byte - b'0')) % 97,
        _ => (rest * 100 + u32::from(byte.to_ascii_uppercase() - b'A') + 10) % 97,
    });
    is_formed && rest == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_has_one_form() {
        let account = Account::read(
            "payto://iban/SOGEDEFF/de75512108001245126199?amount=EUR:1&receiver-name=Ann%20%C3%96st",
        );
        let account = account.expect("it is one");
        assert_eq!((account.iban.as_str(), account.name.as_str()), ("DE75512108001245126199", "Ann Öst"));
        assert_eq!(account.text(), "payto://iban/DE75512108001245126199?receiver-name=Ann%20%C3%96st");
        assert_eq!(Account::read(&account.text()), Ok(account));
        for (text, why) in [
            ("DE75512108001245126199", NotAnAccount::Form),
            ("payto://iban/DE75512108001245126199", NotAnAccount::Name),
            ("payto://iban/DE75512108001245126199?receiver-name=", NotAnAccount::Name),
            ("payto://iban/DE75512108001245126198?receiver-name=Ann", NotAnAccount::Iban),
            ("payto://iban/DE7?receiver-name=Ann", NotAnAccount::Iban),
        ] {
            assert_eq!(Account::read(text), Err(why), "{text}");
        }
    }
}
