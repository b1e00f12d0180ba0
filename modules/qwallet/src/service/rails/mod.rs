//! Rails: what was set up, what each is told and tells, and the one visit in which everything about it goes on.
//!
//! A rail never ends a payment for a reason that cannot be: a number of an address used elsewhere, or more numbers used
//! than are known, pauses it until an operator reconciles. After a restore every rail begins paused. The bank goes on with
//! the first statement that agrees with the books, so take in every statement since the backup before a file is made.
//!
//! **Invariant:** a rail's answers are looked at from several sides before money is credited: block, receipt, balance.

mod bank;
mod corrections;
mod deposits;
mod keys;
mod outgoing;
mod reports;
mod tending;
mod waiting;
mod withdrawals;

use std::sync::Arc;

use parking_lot::Mutex;
use q_core::{Amount, AmountError, Span};
use q_db::{Db, DbError, Tx};
use qwallet_api::{RailList, RailState, Reconciliation, errors};
use qwallet_rails::{ChainAmount, Rail, RailError, sepa::House};

pub(crate) use self::corrections::CORRECTION_ORDER;
use super::{Service, executor::Fault};
use crate::{
    domain::{
        account::{Account, AccountId, AccountKind},
        currency::Currency,
        payment::{INTERNAL_RAIL, Refusal},
    },
    error::Error,
    store::{
        self,
        rails::{Checked, RailAccounts, RailRow},
    },
};

/// A rail as the settings describe it.
#[derive(Debug)]
pub struct Setup {
    /// The way to its chain.
    pub rail: Arc<dyn Rail>,
    /// What it carries.
    pub currency: &'static Currency,
    /// What a withdrawal costs where the chain's fee is paid in other money.
    pub flat_fee: Amount,
    /// How long a transaction may wait before a higher fee is offered.
    pub stuck_after: Span,
    /// From how much on the money of a deposit address is moved to the house's.
    pub sweep_from: Amount,
}

/// A bank account as the settings describe it, whose files people carry.
#[derive(Debug)]
pub struct BankSetup {
    /// The account.
    pub house: House,
    /// What is paid out and credited for its money, one for one.
    pub currency: &'static Currency,
    /// What a withdrawal costs.
    pub flat_fee: Amount,
}

/// The rails of this process.
#[derive(Debug, Default)]
pub struct Rails {
    chains: Vec<Entry>,
    bank: Option<Bank>,
}

/// The bank account that was set up.
#[derive(Debug)]
struct Bank {
    setup: BankSetup,
    side: Side,
    /// One file at a time.
    visit: tokio::sync::Mutex<()>,
}

/// A rail in the books.
#[derive(Debug, Clone, Copy)]
struct Side {
    name: &'static str,
    currency: &'static Currency,
    accounts: RailAccounts,
}

/// A rail that was set up.
#[derive(Debug)]
pub struct Entry {
    setup: Setup,
    accounts: RailAccounts,
    seen: Mutex<Seen>,
    /// One visit at a time.
    visit: tokio::sync::Mutex<()>,
}

/// What the last visits showed; what must outlive the process is in the store.
#[derive(Debug, Default)]
struct Seen {
    latest: Option<u64>,
    trouble: Option<(&'static str, String)>,
    /// Visits in a row in which something contradicted something.
    contradictions: u32,
    /// The surplus that was told already.
    surplus: Option<u128>,
}

/// Why a visit ends.
#[derive(Debug)]
enum Trouble {
    /// The node has no answer.
    Down(String),
    /// The node has not seen what was seen before.
    Behind(String),
    /// Something cannot be true.
    Contradiction(String),
    /// It is ours.
    Ours(Error),
}

impl From<RailError> for Trouble {
    fn from(error: RailError) -> Self {
        match error {
            RailError::Unbelievable(_) => Self::Contradiction(error.to_string()),
            _ => Self::Down(error.to_string()),
        }
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Ours(error)
    }
}

impl From<DbError> for Trouble {
    fn from(error: DbError) -> Self {
        Self::Ours(error.into())
    }
}

impl From<Fault> for Trouble {
    fn from(error: Fault) -> Self {
        Self::Ours(error.into())
    }
}

impl Rails {
    /// Opens the rails; makes the accounts of those that are new.
    pub async fn open(db: &Db, setups: Vec<Setup>, bank: Option<BankSetup>) -> Result<Self, DbError> {
        let mut chains = Vec::with_capacity(setups.len());
        for setup in setups {
            let (name, currency) = (setup.rail.about().name, setup.currency);
            let accounts = db.write(move |tx| accounts_of(tx, name, currency)).await?;
            chains.push(Entry {
                setup,
                accounts,
                seen: Mutex::default(),
                visit: tokio::sync::Mutex::default(),
            });
        }
        let bank = match bank {
            None => None,
            Some(setup) => {
                let (name, currency) = (bank::NAME, setup.currency);
                let accounts = db.write(move |tx| accounts_of(tx, name, currency)).await?;
                let side = Side { name, currency, accounts };
                Some(Bank { setup, side, visit: tokio::sync::Mutex::default() })
            }
        };
        Ok(Self { chains, bank })
    }

    /// Whether there is no chain to visit.
    pub const fn is_empty(&self) -> bool {
        self.chains.is_empty()
    }

    /// Over what money of a currency moves, or any money where none is named: between wallets, and the rails that are set
    /// up.
    pub fn names(&self, currency: Option<&Currency>) -> Vec<String> {
        let chains = self.chains.iter().map(Entry::side);
        let sides = chains.chain(self.bank.iter().map(|bank| bank.side));
        let sides = sides.filter(|side| currency.is_none_or(|currency| *currency == *side.currency));
        let names = sides.map(|side| side.name.to_owned());
        [INTERNAL_RAIL.to_owned()].into_iter().chain(names).collect()
    }

    /// What is wrong with a rail, as the last visit found it.
    pub fn trouble(&self) -> Option<String> {
        self.chains.iter().find_map(|entry| {
            let seen = entry.seen.lock();
            seen.trouble.as_ref().map(|(status, reason)| format!("{} is {status}: {reason}", entry.name()))
        })
    }

    /// The refusal of a rail that there is not, which tells those there are.
    pub fn unsupported(&self) -> Error {
        Error::RailUnsupported(self.names(None))
    }

    fn find(&self, name: &str) -> Result<&Entry, Error> {
        self.chains.iter().find(|entry| entry.name() == name).ok_or_else(|| self.unsupported())
    }

    fn bank(&self, name: &str) -> Result<&Bank, Error> {
        self.bank.as_ref().filter(|bank| bank.side.name == name).ok_or_else(|| self.unsupported())
    }

    fn currency_of(&self, name: &str) -> Result<&'static Currency, Error> {
        match self.bank(name) {
            Ok(bank) => Ok(bank.side.currency),
            Err(_) => self.find(name).map(|entry| entry.setup.currency),
        }
    }
}

impl Entry {
    fn name(&self) -> &'static str {
        self.setup.rail.about().name
    }

    fn side(&self) -> Side {
        Side { name: self.name(), currency: self.setup.currency, accounts: self.accounts }
    }

    fn rail(&self) -> &dyn Rail {
        &*self.setup.rail
    }

    fn to_chain(&self, amount: Amount) -> Result<ChainAmount, Refusal> {
        let about = self.setup.rail.about();
        qwallet_rails::to_chain(amount, self.setup.currency.scale, about.decimals).map_err(
            |fault| match fault {
                AmountError::Precision => Refusal::AmountPrecision,
                _ => Refusal::AmountOutOfRange(Some(self.setup.currency)),
            },
        )
    }

    fn in_books(&self, units: ChainAmount) -> Option<Amount> {
        qwallet_rails::from_chain(units, self.setup.rail.about().decimals, self.setup.currency.scale).ok()
    }

    /// What the settings say a withdrawal costs at most on the chain, in the books: nothing where other money pays.
    fn cost_in_books(&self, fee: ChainAmount) -> Result<Amount, Refusal> {
        if !self.setup.rail.about().has_own_gas {
            return Ok(Amount::ZERO);
        }
        self.in_books(fee).ok_or(Refusal::AmountOutOfRange(Some(self.setup.currency)))
    }
}

/// A rail that cannot be used now.
fn down(detail: &'static str) -> Error {
    Refusal::Record { code: &errors::RAIL_DOWN, detail }.into()
}

impl Service {
    /// The rails and where each is.
    pub async fn rail_states(&self) -> Result<RailList, Error> {
        let mut items = Vec::new();
        for entry in &self.rails.chains {
            items.push(self.rail_state(entry).await?);
        }
        if let Some(bank) = &self.rails.bank {
            items.push(self.bank_state(bank).await?);
        }
        Ok(RailList { items })
    }

    async fn rail_state(&self, entry: &Entry) -> Result<RailState, Error> {
        let name = entry.name();
        let read = self.db.read(move |reader| {
            Ok::<_, DbError>((store::rails::find(reader, name)?, store::rails::keys(reader, name)?.pop()))
        });
        let (row, key) = read.await?;
        let row = row.ok_or(Error::Inconsistent("a rail"))?;
        let about = entry.setup.rail.about();
        let seen = entry.seen.lock();
        let (status, reason) = match (&key, &row.paused, &seen.trouble) {
            (None, ..) => ("NO_KEY", Some("two approvers make its key: PUT /rails/{rail}/key".to_owned())),
            (_, Some(reason), _) => ("PAUSED", Some(reason.clone())),
            (_, _, Some((status, reason))) => (*status, Some(reason.clone())),
            _ if row.scanned.is_none() => ("STARTING", None),
            _ => ("UP", None),
        };
        Ok(RailState {
            rail: name.to_owned(),
            currency: entry.setup.currency.code.to_owned(),
            status: status.to_owned(),
            reason,
            experimental: about.is_experimental,
            confirmations: about.confirmations,
            latest_block: seen.latest,
            scanned_block: row.scanned.as_ref().map(|block| block.height),
            key_generation: key.as_ref().map_or(0, |key| key.generation),
            house_address: key.map(|key| key.house),
            reconciled: row.checked.map(|checked| reconciliation(entry.side(), about.decimals, &checked)),
        })
    }

    async fn rail_row(&self, name: &'static str) -> Result<RailRow, Error> {
        let row = self.db.read(move |reader| store::rails::find(reader, name)).await?;
        row.ok_or(Error::Inconsistent("a rail"))
    }
}

fn reconciliation(side: Side, decimals: u8, checked: &Checked) -> Reconciliation {
    let currency = side.currency;
    // What is no whole number of the currency's units is told as the largest whole number below.
    let text = |units: ChainAmount| {
        let rounded = rounded(units, decimals.saturating_sub(currency.scale.decimals()));
        let read = |units| qwallet_rails::from_chain(units, decimals, currency.scale).ok();
        let amount = read(units).or_else(|| read(rounded));
        currency.text(amount.unwrap_or(Amount::MAX))
    };
    let (sign, difference) = if checked.chain >= checked.books {
        ("", checked.chain.0 - checked.books.0)
    } else {
        ("-", checked.books.0 - checked.chain.0)
    };
    Reconciliation {
        block: checked.height,
        at: checked.at,
        chain: text(checked.chain),
        books: text(checked.books),
        difference: format!("{sign}{}", text(ChainAmount(difference)).as_str()),
    }
}

fn rounded(units: ChainAmount, finer: u8) -> ChainAmount {
    let step = 10u128.checked_pow(u32::from(finer)).unwrap_or(u128::MAX);
    ChainAmount(units.0 - units.0 % step)
}

fn accounts_of(tx: &mut Tx<'_>, name: &str, currency: &Currency) -> Result<RailAccounts, DbError> {
    tx.lock("qwallet rails")?;
    if let Some(row) = store::rails::find(tx, name)? {
        return if row.currency == currency.id {
            Ok(row.accounts)
        } else {
            // Its money is of another currency: that is another rail.
            Err(DbError::BadRow { column: 0, expected: "the currency this rail was set up with" })
        };
    }
    let account = |tx: &mut Tx<'_>, kind| {
        let id = AccountId(store::ledger::last_account(tx)? + 1);
        store::ledger::insert_account(tx, &Account::new(id, currency.id, kind), None)?;
        Ok::<_, DbError>(id)
    };
    let accounts = RailAccounts {
        rail: account(tx, AccountKind::Rail)?,
        suspense: account(tx, AccountKind::Suspense)?,
        costs: account(tx, AccountKind::RailCosts)?,
    };
    store::rails::insert(tx, name, currency.id, &accounts)?;
    Ok(accounts)
}
