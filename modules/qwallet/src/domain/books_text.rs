//! The books as plain-text journals that hledger and ledger read, exact to the last unit.
//!
//! Debits are positive, as those programs have it, so a wallet (what the house owes) shows a negative
//! balance. Only settled movements are written; the last entry asserts every balance, so the program that
//! reads the journal confirms it or stops. Nothing a payer typed is written: a purpose could hold a line
//! break and become a posting.

use std::fmt::Write as _;

use q_core::{SignedAmount, Timestamp};
use qwallet_api::TransactionId;

use super::{
    account::{Account, AccountKind},
    currency::{self, Currency},
    transfer::Transfer,
    wallet_ref::WalletRef,
};

/// Which program's dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// hledger 1.25 and later, for `check --strict`.
    Hledger,
    /// ledger 3.3, for `--pedantic --explicit`.
    Ledger,
}

/// The name of an account in the journal.
pub fn account_name(kind: AccountKind, wallet: Option<WalletRef>, stripe: i64) -> String {
    let name = match (kind, wallet) {
        (AccountKind::Wallet, Some(wallet)) => format!("liabilities:wallet:{wallet}"),
        (AccountKind::Wallet, None) => "liabilities:wallet".to_owned(),
        (AccountKind::PlatformFees, _) => "revenues:fees:platform".to_owned(),
        (AccountKind::NetworkFees, _) => "revenues:fees:network".to_owned(),
        (AccountKind::Issuance, _) => "equity:issuance".to_owned(),
        (AccountKind::Escrow, _) => "liabilities:escrow".to_owned(),
        (AccountKind::Rail, _) => "assets:rail".to_owned(),
        (AccountKind::Suspense, _) => "liabilities:suspense".to_owned(),
    };
    // Below the account it belongs to, so that both programs add them up.
    if stripe == 0 { name } else { format!("{name}:stripe:{stripe}") }
}

/// Declares commodities and accounts.
pub fn write_header<'a>(out: &mut String, dialect: Dialect, names: impl Iterator<Item = &'a str>) {
    for currency in &currency::ALL {
        let sample = SignedAmount::ZERO.display_full(currency.scale);
        let sample = format!("1000{}", &sample[1..]);
        let _ = match dialect {
            Dialect::Hledger => writeln!(out, "commodity {sample} {}", currency.code),
            Dialect::Ledger => {
                writeln!(out, "commodity {}\n    format {sample} {}", currency.code, currency.code)
            }
        };
    }
    for name in names {
        let _ = writeln!(out, "account {name}");
    }
}

/// Writes the settled transfers of one transaction.
pub fn write_transaction<'a>(
    out: &mut String,
    at: Timestamp,
    id: TransactionId,
    kind: &str,
    transfers: impl Iterator<Item = (&'a Transfer, &'static Currency, &'a str, &'a str)>,
) {
    let _ = writeln!(out, "\n{} * ({id}) {kind}", date(at));
    for (transfer, currency, debit, credit) in transfers {
        let amount = transfer.leg.amount.display_full(currency.scale);
        let _ = writeln!(out, "    {debit}  {amount} {}", currency.code);
        let _ = writeln!(out, "    {credit}  -{amount} {}", currency.code);
    }
}

/// Asserts the balance of every account.
pub fn write_assertions<'a>(
    out: &mut String,
    at: Timestamp,
    accounts: impl Iterator<Item = (&'a Account, &'static Currency, &'a str)>,
) {
    let _ = writeln!(out, "\n{} * balances", date(at));
    for (account, currency, name) in accounts {
        let zero = SignedAmount::ZERO.display_full(currency.scale);
        let balance = account.posted().negated().display_full(currency.scale);
        let _ = writeln!(out, "    {name}  {zero} {} = {balance} {}", currency.code, currency.code);
    }
}

/// The day of an instant in UTC, as both programs read it.
fn date(at: Timestamp) -> String {
    at.to_string().chars().take(10).collect()
}
