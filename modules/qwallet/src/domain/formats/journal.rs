//! Plain-text journals that hledger, ledger and Beancount read, exact to the last unit.
//!
//! Debits are positive, as those programs have it, so in the books of the house a wallet (what the house owes) shows a
//! negative balance; in a wallet's own statement it is an asset. Only settled movements are written, and balances are
//! asserted, so the program that reads the journal confirms them or stops. In the books of the house nothing a payer
//! typed is written; in a statement it stands as one line without what would begin a comment or another field.

use std::{collections::BTreeMap, fmt::Write as _};

use q_core::{SignedAmount, Span, Timestamp};

use super::{
    NotRepresentable,
    text::{day, one_line},
};
use crate::domain::{
    account::{Account, AccountKind, sum_of},
    currency::{self, Currency},
    statement::{Entry, Statement},
    wallet_ref::WalletRef,
};

/// Which program's dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// hledger 1.25 and later, for `check --strict`.
    Hledger,
    /// ledger 3.3, for `--pedantic --explicit`.
    Ledger,
    /// Beancount 3, for `bean-check`.
    Beancount,
}

impl Dialect {
    /// The dialect with this name.
    pub fn find(name: &str) -> Option<Self> {
        match name {
            "hledger" => Some(Self::Hledger),
            "ledger" => Some(Self::Ledger),
            "beancount" => Some(Self::Beancount),
            _ => None,
        }
    }
}

/// Beancount computes with 28 significant digits (the context of Python's `decimal`): beyond, it rounds.
const BEANCOUNT_UNITS_END: u128 = 10u128.pow(28);

const INSTEAD: &str = "ask for format=hledger or format=ledger, which are exact at any length";

/// One line of an entry: how much an account gains, and its balance after that where it is to be asserted.
#[derive(Debug, Clone, Copy)]
pub struct Posting<'a> {
    /// The account's name.
    pub account: &'a str,
    /// By how much it changes; a debit is positive.
    pub change: SignedAmount,
    /// What it holds then.
    pub balance: Option<SignedAmount>,
    /// The currency.
    pub currency: &'static Currency,
}

/// A journal that is being written.
pub struct Journal {
    dialect: Dialect,
    out: String,
}

impl Journal {
    /// A journal of these accounts, all there on the day of `since`.
    pub fn begin<'a>(
        dialect: Dialect,
        about: &str,
        since: Timestamp,
        accounts: impl Iterator<Item = &'a str>,
    ) -> Self {
        let mut journal = Self { dialect, out: format!("; {}\n", one_line(about)) };
        let since = day(since);
        for currency in &currency::ALL {
            let sample = SignedAmount::ZERO.display_full(currency.scale);
            let sample = format!("1000{}", &sample[1..]);
            let code = journal.commodity(currency);
            let _ = match dialect {
                Dialect::Hledger => writeln!(journal.out, "commodity {sample} {code}"),
                Dialect::Ledger => writeln!(journal.out, "commodity {code}\n    format {sample} {code}"),
                Dialect::Beancount => writeln!(journal.out, "{since} commodity {code}"),
            };
        }
        for account in accounts {
            let name = journal.name(account);
            let _ = match dialect {
                Dialect::Hledger | Dialect::Ledger => writeln!(journal.out, "account {name}"),
                Dialect::Beancount => writeln!(journal.out, "{since} open {name}"),
            };
        }
        journal
    }

    /// Writes one entry; its postings add up to nothing.
    pub fn entry<'a>(
        &mut self,
        at: Timestamp,
        id: &str,
        narration: &str,
        postings: impl Iterator<Item = Posting<'a>>,
    ) -> Result<(), NotRepresentable> {
        let narration = one_line(narration);
        let _ = match self.dialect {
            // A semicolon begins a comment and a bar divides payee and note.
            Dialect::Hledger | Dialect::Ledger => {
                let narration = narration.replace(';', ",").replace('|', "/");
                let code = if id.is_empty() { String::new() } else { format!("({id}) ") };
                writeln!(self.out, "\n{} * {code}{narration}", day(at))
            }
            Dialect::Beancount => {
                let narration = narration.replace('\\', "\\\\").replace('"', "\\\"");
                let link = if id.is_empty() { String::new() } else { format!(" ^{id}") };
                writeln!(self.out, "\n{} * \"{narration}\"{link}", day(at))
            }
        };
        for posting in postings {
            let name = self.name(posting.account);
            let change = self.amount(posting.change, posting.currency)?;
            let _ = write!(self.out, "    {name}  {change}");
            if let (Some(balance), Dialect::Hledger | Dialect::Ledger) = (posting.balance, self.dialect) {
                let balance = self.amount(balance, posting.currency)?;
                let _ = write!(self.out, " = {balance}");
            }
            self.out.push('\n');
        }
        Ok(())
    }

    /// Asserts balances after everything that was written, at `at` or before.
    pub fn assert_balances<'a>(
        &mut self,
        at: Timestamp,
        balances: impl Iterator<Item = (&'a str, &'static Currency, SignedAmount)>,
    ) -> Result<(), NotRepresentable> {
        if self.dialect == Dialect::Beancount {
            // Beancount looks at balances before the entries of their day, and at an account with those below it.
            let tomorrow = day(at + Span::seconds(86_400));
            for (account, currency, balance) in with_those_below(balances.collect()) {
                self.amount(balance, currency)?;
                let (name, code) = (self.name(account), self.commodity(currency));
                let balance = balance.display_full(currency.scale);
                // Without a tolerance of nothing it would let one unit of difference pass.
                let _ = writeln!(self.out, "{tomorrow} balance {name}  {balance} ~ 0 {code}");
            }
            return Ok(());
        }
        let postings = balances.map(|(account, currency, balance)| Posting {
            account,
            change: SignedAmount::ZERO,
            balance: Some(balance),
            currency,
        });
        self.entry(at, "", "balances", postings)
    }

    /// The journal.
    pub fn finish(self) -> String {
        self.out
    }

    fn amount(&self, amount: SignedAmount, currency: &Currency) -> Result<String, NotRepresentable> {
        let text = amount.display_full(currency.scale);
        if self.dialect == Dialect::Beancount && amount.magnitude().units() >= BEANCOUNT_UNITS_END {
            let what = format!("{text} {}: Beancount rounds beyond 28 significant digits", currency.code);
            return Err(NotRepresentable::new(what, INSTEAD));
        }
        Ok(format!("{text} {}", self.commodity(currency)))
    }

    fn commodity(&self, currency: &Currency) -> String {
        match self.dialect {
            Dialect::Hledger | Dialect::Ledger => currency.code.to_owned(),
            Dialect::Beancount => currency.code.to_ascii_uppercase(),
        }
    }

    /// The account's name: Beancount has five roots and begins every part with a capital or a digit.
    fn name(&self, account: &str) -> String {
        if self.dialect != Dialect::Beancount {
            return account.to_owned();
        }
        let parts = account.split(':').map(|part| {
            let part = if part == "revenues" { "income" } else { part };
            let mut letters = part.chars();
            letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
        });
        parts.collect::<Vec<String>>().join(":")
    }
}

/// Each balance with those of the accounts below it.
fn with_those_below<'a>(
    balances: Vec<(&'a str, &'static Currency, SignedAmount)>,
) -> Vec<(&'a str, &'static Currency, SignedAmount)> {
    let mut below: BTreeMap<(&str, u8), SignedAmount> = BTreeMap::new();
    for (account, currency, balance) in &balances {
        let mut name = *account;
        while let Some((above, _)) = name.rsplit_once(':') {
            let sum = below.entry((above, currency.id.0)).or_default();
            *sum = sum_of([*sum, *balance].into_iter());
            name = above;
        }
    }
    let whole = |(account, currency, balance): (&'a str, &'static Currency, SignedAmount)| {
        let below = below.get(&(account, currency.id.0)).copied().unwrap_or_default();
        (account, currency, sum_of([balance, below].into_iter()))
    };
    balances.into_iter().map(whole).collect()
}

/// The name of an account of the house's books.
pub fn account_name(account: &Account, wallet: Option<WalletRef>) -> String {
    let name = match (account.kind, wallet) {
        (AccountKind::Wallet, Some(wallet)) => format!("liabilities:wallet:{wallet}"),
        (AccountKind::Wallet, None) => "liabilities:wallet".to_owned(),
        (AccountKind::PlatformFees, _) => "revenues:fees:platform".to_owned(),
        (AccountKind::NetworkFees, _) => "revenues:fees:network".to_owned(),
        (AccountKind::Issuance, _) => "equity:issuance".to_owned(),
        // One account an escrow.
        (AccountKind::Escrow, _) => format!("liabilities:escrow:{}", account.id.0),
        (AccountKind::Rail, _) => "assets:rail".to_owned(),
        (AccountKind::Suspense, _) => "liabilities:suspense".to_owned(),
        (AccountKind::RailCosts, _) => "expenses:rail".to_owned(),
    };
    // Below the account it belongs to, so that the programs add them up.
    if account.stripe == 0 { name } else { format!("{name}:stripe:{}", account.stripe) }
}

/// Writes a wallet's statement as a journal of its owner.
pub fn statement(statement: &Statement, dialect: Dialect) -> Result<String, NotRepresentable> {
    let own = format!("assets:q:{}", statement.wallet);
    let others: Vec<String> = statement.entries.iter().map(other_side).collect();
    let mut names: Vec<&str> = others.iter().map(String::as_str).chain([own.as_str(), OPENING]).collect();
    names.sort_unstable();
    names.dedup();
    let about =
        format!("{} of {}: opening balance, changes, closing balance", statement.id(), statement.wallet);
    let mut journal = Journal::begin(dialect, &about, statement.period.from, names.into_iter());
    let posting =
        |account, change, balance| Posting { account, change, balance, currency: statement.currency };
    let opening = [
        posting(own.as_str(), statement.opening, Some(statement.opening)),
        posting(OPENING, statement.opening.negated(), None),
    ];
    journal.entry(statement.period.from, "", "opening balance", opening.into_iter())?;
    let mut rest = statement.entries.iter().zip(&others).peekable();
    while let Some(first) = rest.next() {
        let mut legs = vec![first];
        while let Some(next) =
            rest.next_if(|(entry, _)| entry.transaction == first.0.transaction && entry.at == first.0.at)
        {
            legs.push(next);
        }
        let postings = legs.iter().flat_map(|(entry, other)| {
            [
                posting(own.as_str(), entry.change, Some(entry.balance)),
                posting(other.as_str(), entry.change.negated(), None),
            ]
        });
        journal.entry(first.0.at, &first.0.transaction.to_string(), &narration(first.0), postings)?;
    }
    let closing = [(own.as_str(), statement.currency, statement.closing)];
    journal.assert_balances(statement.period.to, closing.into_iter())?;
    Ok(journal.finish())
}

const OPENING: &str = "equity:opening";

fn narration(entry: &Entry) -> String {
    let words = [Some(entry.kind), entry.client_ref.as_deref(), entry.purpose.as_deref()];
    words.into_iter().flatten().collect::<Vec<&str>>().join(" ")
}

/// The account on the other side of an entry, in the owner's eyes.
fn other_side(entry: &Entry) -> String {
    // Names of the house's accounts are words of ours with colons, references are letters and digits.
    let name: String = entry
        .counterparty
        .chars()
        .map(|letter| if letter.is_ascii_alphanumeric() || letter == ':' { letter } else { '-' })
        .collect();
    match entry.change {
        _ if entry.is_fee() => format!("expenses:{name}"),
        change if change.is_negative() => format!("expenses:paid:{name}"),
        _ => format!("revenues:received:{name}"),
    }
}

/// Balances by the name they have in a journal: several accounts may share one.
pub fn by_name<'a>(
    accounts: impl Iterator<Item = (&'a Account, &'static Currency, &'a str)>,
) -> Vec<(&'a str, &'static Currency, SignedAmount)> {
    let mut sums: BTreeMap<(&str, u8), (&'static Currency, SignedAmount)> = BTreeMap::new();
    for (account, currency, name) in accounts {
        let (_, sum) = sums.entry((name, currency.id.0)).or_insert((currency, SignedAmount::ZERO));
        *sum = sum_of([*sum, account.posted().negated()].into_iter());
    }
    sums.into_iter().map(|((name, _), (currency, sum))| (name, currency, sum)).collect()
}
