//! Which wallet a name means, kept in memory: resolving a payee costs a look-up, not a query.

use std::{collections::HashMap, sync::Arc};

use parking_lot::RwLock;
use q_core::Did;
use q_db::{Db, DbError, Reader, Tx};
use qwallet_api::WalletId;

use crate::{
    domain::{
        account::{Account, AccountId, AccountKind},
        currency::{self, CurrencyId},
        payment::{HouseAccounts, WalletAccounts},
        profile::Profile,
        wallet_ref::WalletRef,
    },
    store::{self, wallets::WalletRow},
};

/// The most names kept; at that point the memory is begun anew.
const NAMES_MAX: usize = 400_000;

/// A wallet and its accounts, as they were when it was first asked for: of the row, what never changes may be relied
/// on (owner, profile, parent); status, label and whom it may pay are asked of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalletEntry {
    /// The row.
    pub row: WalletRow,
    /// Its accounts, as payments need them.
    pub accounts: WalletAccounts,
    /// The owner of the wallet on whose limits it draws besides its own.
    pub parent_owner: Option<Did>,
}

impl WalletEntry {
    /// Whether somebody else decides what it may spend: a parent, or the guardians of somebody in care.
    pub fn is_below_another(&self) -> bool {
        self.row.parent.is_some() || self.row.profile == Profile::Consentida
    }
}

/// Resolves wallets by owner, id, reference and account.
#[derive(Debug)]
pub struct Directory {
    db: Db,
    house: Vec<HouseAccounts>,
    names: RwLock<HashMap<Box<str>, Arc<WalletEntry>>>,
    accounts: RwLock<HashMap<AccountId, Arc<WalletEntry>>>,
    /// Stripes of the house's accounts, of whatever writer, as they are met.
    house_stripes: RwLock<HashMap<AccountId, AccountKind>>,
}

/// A name in its canonical form.
enum Name {
    Owner(Did),
    Id(WalletId),
    Reference(WalletRef),
}

impl Name {
    fn read(text: &str) -> Option<Self> {
        if text.starts_with("did:") {
            text.parse().ok().map(Self::Owner)
        } else if text.starts_with(WalletId::PREFIX) {
            text.parse().ok().map(Self::Id)
        } else {
            WalletRef::parse(text).ok().map(Self::Reference)
        }
    }

    fn canonical(&self) -> String {
        match self {
            Self::Owner(did) => did.to_string(),
            Self::Id(id) => id.to_string(),
            Self::Reference(reference) => reference.to_string(),
        }
    }

    fn find(&self, reader: &mut Reader<'_>) -> Result<Option<WalletRow>, DbError> {
        match self {
            Self::Owner(did) => store::wallets::find_by_owner(reader, did),
            Self::Id(id) => store::wallets::find(reader, *id),
            Self::Reference(reference) => store::wallets::find_by_reference(reader, reference.as_str()),
        }
    }
}

impl Directory {
    /// A directory over `db`; makes the house's accounts if they are not there yet.
    pub async fn open(db: &Db) -> Result<Self, DbError> {
        let house = db.write(house_accounts).await?;
        Ok(Self {
            db: db.clone(),
            house,
            names: RwLock::default(),
            accounts: RwLock::default(),
            house_stripes: RwLock::default(),
        })
    }

    /// The house's accounts, by currency.
    pub fn house(&self) -> &[HouseAccounts] {
        &self.house
    }

    /// The house's accounts of one currency.
    pub fn house_of(&self, currency: CurrencyId) -> Option<&HouseAccounts> {
        self.house.iter().find(|house| house.currency == currency)
    }

    /// The wallet with this name, if it is remembered.
    pub fn remembered(&self, name: &str) -> Option<Arc<WalletEntry>> {
        self.names.read().get(name).cloned()
    }

    /// The wallet with this name: DID of its owner, id, or reference.
    pub async fn find(&self, name: &str) -> Result<Option<Arc<WalletEntry>>, DbError> {
        if let Some(entry) = self.remembered(name) {
            return Ok(Some(entry));
        }
        Ok(self.find_all([name].into_iter()).await?.pop().flatten())
    }

    /// The wallet with this name from the store, and what `and` reads of it in the same snapshot: one way there and back for
    /// whoever asks about a wallet that is not remembered.
    pub async fn load_with<T: Send + 'static>(
        &self,
        name: &str,
        and: impl FnOnce(&mut Reader<'_>, WalletId) -> Result<T, DbError> + Send + 'static,
    ) -> Result<Option<(Arc<WalletEntry>, T)>, DbError> {
        let Some(name) = Name::read(name) else { return Ok(None) };
        let read = self.db.read(move |reader| {
            let Some(row) = name.find(reader)? else { return Ok(None) };
            let found = and(reader, row.id)?;
            Ok::<_, DbError>(Some((entry(reader, row)?, found)))
        });
        let Some((entry, found)) = read.await? else { return Ok(None) };
        let entry = Arc::new(entry);
        self.remember(&entry);
        Ok(Some((entry, found)))
    }

    /// The wallets with these names, in order; asks the store once for all that are not remembered.
    pub async fn find_all<'a>(
        &self,
        names: impl ExactSizeIterator<Item = &'a str>,
    ) -> Result<Vec<Option<Arc<WalletEntry>>>, DbError> {
        let mut found = Vec::with_capacity(names.len());
        let mut missing: Vec<(usize, Name)> = Vec::new();
        {
            let remembered = self.names.read();
            for (at, name) in names.enumerate() {
                let entry = remembered.get(name).cloned();
                if entry.is_none()
                    && let Some(name) = Name::read(name)
                {
                    missing.push((at, name));
                }
                found.push(entry);
            }
        }
        if missing.is_empty() {
            return Ok(found);
        }
        let loaded = self
            .db
            .read(move |reader| {
                let mut loaded: HashMap<String, Option<WalletEntry>> = HashMap::new();
                let mut places = Vec::with_capacity(missing.len());
                for (at, name) in missing {
                    let canonical = name.canonical();
                    if !loaded.contains_key(&canonical) {
                        let entry = name.find(reader)?.map(|row| entry(reader, row)).transpose()?;
                        loaded.insert(canonical.clone(), entry);
                    }
                    places.push((at, canonical));
                }
                Ok::<_, DbError>((places, loaded))
            })
            .await?;
        let (places, loaded) = loaded;
        let loaded: HashMap<String, Arc<WalletEntry>> =
            loaded.into_iter().filter_map(|(name, entry)| Some((name, Arc::new(entry?)))).collect();
        for entry in loaded.values() {
            self.remember(entry);
        }
        for (at, canonical) in places {
            found[at] = loaded.get(&canonical).cloned();
        }
        Ok(found)
    }

    /// The wallets that these accounts belong to; the house's accounts are left out.
    pub async fn of_accounts(
        &self,
        accounts: &[AccountId],
    ) -> Result<HashMap<AccountId, Arc<WalletEntry>>, DbError> {
        let mut found = HashMap::new();
        let mut missing = Vec::new();
        {
            let remembered = self.accounts.read();
            for account in accounts {
                match remembered.get(account) {
                    Some(entry) => drop(found.insert(*account, entry.clone())),
                    None => missing.push(*account),
                }
            }
        }
        missing.sort_unstable();
        missing.dedup();
        missing.retain(|account| !self.is_house(*account));
        if missing.is_empty() {
            return Ok(found);
        }
        let loaded = self
            .db
            .read(move |reader| {
                let (mut entries, mut has_unknown) = (Vec::new(), false);
                for account in missing {
                    match store::wallets::find_by_account(reader, account.0)? {
                        Some(row) => entries.push((account, entry(reader, row)?)),
                        None => has_unknown = true,
                    }
                }
                let house = if has_unknown { store::ledger::house_accounts(reader)? } else { Vec::new() };
                Ok::<_, DbError>((entries, house))
            })
            .await?;
        let (loaded, house) = loaded;
        self.house_stripes.write().extend(house.iter().map(|account| (account.id, account.kind)));
        for (asked, entry) in loaded {
            let entry = Arc::new(entry);
            self.remember(&entry);
            found.extend(entry.accounts.accounts.iter().map(|(_, account)| (*account, entry.clone())));
            // A stripe is not among the accounts that payments are made from and to.
            self.accounts.write().insert(asked, entry.clone());
            found.insert(asked, entry);
        }
        Ok(found)
    }

    /// The name under which an account appears to people.
    pub fn account_name(&self, account: AccountId, wallet: Option<&WalletEntry>) -> String {
        if let Some(wallet) = wallet {
            return wallet.row.reference.clone();
        }
        let is = |house: &HouseAccounts| {
            [
                (house.platform_fees, "fees:platform"),
                (house.network_fees, "fees:network"),
                (house.issuance, "issuance"),
                (house.escrow, "escrow"),
            ]
            .into_iter()
            .find(|(id, _)| *id == account)
            .map(|(_, name)| name)
        };
        let of_stripe = || match self.house_stripes.read().get(&account)? {
            AccountKind::PlatformFees => Some("fees:platform"),
            AccountKind::NetworkFees => Some("fees:network"),
            AccountKind::Escrow => Some("escrow"),
            AccountKind::Rail => Some("rail"),
            AccountKind::Suspense => Some("suspense"),
            AccountKind::RailCosts => Some("rail:costs"),
            AccountKind::Wallet | AccountKind::Issuance => None,
        };
        self.house.iter().find_map(is).or_else(of_stripe).unwrap_or("account").to_owned()
    }

    fn is_house(&self, account: AccountId) -> bool {
        self.house.iter().any(|house| {
            [house.platform_fees, house.network_fees, house.issuance, house.escrow].contains(&account)
        }) || self.house_stripes.read().contains_key(&account)
    }

    fn remember(&self, entry: &Arc<WalletEntry>) {
        let mut names = self.names.write();
        if names.len() >= NAMES_MAX {
            names.clear();
            self.accounts.write().clear();
        }
        let row = &entry.row;
        for name in [row.owner.to_string(), row.id.to_string(), row.reference.clone()] {
            names.insert(name.into(), entry.clone());
        }
        drop(names);
        let mut accounts = self.accounts.write();
        accounts.extend(entry.accounts.accounts.iter().map(|(_, account)| (*account, entry.clone())));
    }
}

fn entry(reader: &mut Reader<'_>, row: WalletRow) -> Result<WalletEntry, DbError> {
    let accounts = store::ledger::accounts_of(reader, row.id)?;
    let accounts = WalletAccounts {
        wallet: row.id,
        accounts: accounts
            .iter()
            .filter(|account| account.stripe == 0)
            .map(|account| (account.currency, account.id))
            .collect(),
        profile: row.profile,
        parent: row.parent,
    };
    let parent = row.parent.map(|parent| store::wallets::find(reader, parent)).transpose()?.flatten();
    Ok(WalletEntry { row, accounts, parent_owner: parent.map(|parent| parent.owner) })
}

/// The house's accounts, made where they are missing: after a currency was added, or in a new store.
fn house_accounts(tx: &mut Tx<'_>) -> Result<Vec<HouseAccounts>, DbError> {
    let known = store::ledger::house_accounts(tx)?;
    let mut last = store::ledger::last_account(tx)?;
    let mut house = Vec::new();
    for currency in &currency::ALL {
        let mut account = |tx: &mut Tx<'_>, kind: AccountKind| {
            let is_it = |account: &&Account| {
                account.currency == currency.id && account.kind == kind && account.stripe == 0
            };
            if let Some(account) = known.iter().find(is_it) {
                return Ok(account.id);
            }
            last += 1;
            let account = Account::new(AccountId(last), currency.id, kind);
            store::ledger::insert_account(tx, &account, None)?;
            Ok::<_, DbError>(account.id)
        };
        house.push(HouseAccounts {
            currency: currency.id,
            platform_fees: account(tx, AccountKind::PlatformFees)?,
            network_fees: account(tx, AccountKind::NetworkFees)?,
            issuance: account(tx, AccountKind::Issuance)?,
            escrow: account(tx, AccountKind::Escrow)?,
        });
    }
    Ok(house)
}

/// The house's fee accounts and the stripes of them that are this writer's, made where they are missing. The first writer
/// has the accounts themselves.
pub(super) fn fee_stripes(tx: &mut Tx<'_>, writer: i64) -> Result<Vec<(AccountId, AccountId)>, DbError> {
    let stripe = writer - 1;
    if stripe == 0 {
        return Ok(Vec::new());
    }
    let known = store::ledger::house_accounts(tx)?;
    let mut last = store::ledger::last_account(tx)?;
    let mut stripes = Vec::new();
    let is_fee = |account: &&Account| {
        account.stripe == 0 && matches!(account.kind, AccountKind::PlatformFees | AccountKind::NetworkFees)
    };
    for base in known.iter().filter(is_fee) {
        let is_it = |account: &&Account| {
            (account.currency, account.kind, account.stripe) == (base.currency, base.kind, stripe)
        };
        if let Some(account) = known.iter().find(is_it) {
            stripes.push((base.id, account.id));
            continue;
        }
        last += 1;
        let account = Account::new(AccountId(last), base.currency, base.kind).of_stripe(stripe);
        store::ledger::insert_account(tx, &account, None)?;
        stripes.push((base.id, account.id));
    }
    Ok(stripes)
}
