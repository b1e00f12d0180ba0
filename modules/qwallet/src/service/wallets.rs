//! Opening wallets and showing them.

use std::{collections::BTreeMap, sync::Arc};

use q_auth::directory::DirectoryError;
use q_core::{Amount, Caller, Did, RequestKey, SignedAmount, Timestamp, Total};
use q_db::{DbError, Reader, Tx};
use q_pdp::{Request, Resource};
use qwallet_api::{
    AsOf, Balance, BalanceReport, CreateWalletRequest, Currency as WireCurrency, CurrencyList,
    GetBalanceRequest, Wallet, WalletId, events,
};

use super::{Service, directory::WalletEntry, issuance};
use crate::{
    domain::{
        account::{Account, AccountId, AccountKind, sum_of},
        currency::{self, Currency, CurrencyId},
        limits::{LimitKind, OwnLimits},
        payment::{self, Refusal},
        profile::{Profile, Status},
        wallet_ref::WalletRef,
    },
    error::Error,
    store::{self, wallets::WalletRow},
};

/// The longest label, in characters.
pub(super) const LABEL_CHARACTERS_MAX: usize = 100;

impl Service {
    /// Opens a wallet with an account of each currency.
    pub async fn create_wallet(
        &self,
        caller: &Caller,
        key: Option<&RequestKey>,
        request: CreateWalletRequest,
    ) -> Result<Wallet, Error> {
        let did = caller.did().ok_or(Error::NotForOthers)?;
        let owner = request.owner.unwrap_or_else(|| did.clone());
        if owner != *did && !self.is_operator(caller) {
            return Err(Error::NotForOthers);
        }
        if request.label.as_deref().is_some_and(|label| label.chars().count() > LABEL_CHARACTERS_MAX) {
            return Err(Refusal::Malformed("label").into());
        }
        let (profile, parent) = self.standing_of(&owner).await?;
        let only = match (profile, request.currency.as_deref()) {
            (Profile::Aid, code) => {
                Some(code.map_or(Ok(payment::default_currency()), issuance::currency)?.id)
            }
            (_, Some(_)) => return Err(Refusal::Malformed("currency").into()),
            (_, None) => None,
        };
        let opener = did.clone();
        let id = WalletId::new(&self.env);
        let label = request.label.map(|label| self.seal("wallets", "label", &id.to_string(), &label));
        let row = WalletRow {
            id,
            reference: WalletRef::of(id).to_string(),
            owner,
            label,
            status: Status::Active,
            profile,
            parent: parent.as_ref().map(|parent| parent.row.id),
            allowed: None,
            allowed_addresses: Vec::new(),
            created_at: self.env.now(),
        };
        let accounts = currency::ALL.iter().filter(|currency| only.is_none_or(|only| only == currency.id));
        let accounts: Vec<(CurrencyId, Option<AccountId>, Option<OwnLimits>)> = accounts
            .map(|currency| {
                let parent = parent.as_ref().and_then(|parent| parent.accounts.account(currency.id));
                (currency.id, parent, self.first_limits(profile, currency))
            })
            .collect();
        let made = self.db.write_once(key, move |tx| open(tx, &row, &accounts, &opener)).await?;
        let entry = self.directory.find(&made.value.to_string()).await?;
        let entry = entry.ok_or(Error::Inconsistent("a wallet"))?;
        self.wallet_of(&entry).await
    }

    /// What the kind of an owner means for the wallet, and the wallet on whose limits it draws.
    async fn standing_of(&self, owner: &Did) -> Result<(Profile, Option<Arc<WalletEntry>>), Error> {
        let standing = match self.keys.standing(owner).await {
            Ok(standing) => standing,
            Err(DirectoryError::Unknown) => return Err(Refusal::Malformed("owner").into()),
            Err(error) => return Err(error.into()),
        };
        let profile = Profile::of(standing.kind);
        let parent = standing.parent.as_ref().filter(|_| profile.draws_on_parent());
        let Some(parent) = parent else { return Ok((profile, None)) };
        let wallet = self.directory.find(parent.as_str()).await?.ok_or(Error::ParentWithoutWallet)?;
        Ok((profile, Some(wallet)))
    }

    /// The limits a wallet begins with, where its profile gives it some.
    fn first_limits(&self, profile: Profile, currency: &Currency) -> Option<OwnLimits> {
        let (kind, amount) = match profile {
            Profile::Root | Profile::Enterprise | Profile::Aid => return None,
            // Nothing is delegated in a currency without a limit of the instance.
            Profile::Dao => {
                let known = self.limits.iter().find(|(of, _)| *of == currency.id);
                // Without a limit of delegation those for persons do not hold either: as much as there is was delegated.
                (
                    LimitKind::Dao,
                    known.map_or(Amount::ZERO, |(_, defaults)| defaults.dao.unwrap_or(Amount::MAX)),
                )
            }
            // Nothing is free before a guardian gives a limit.
            Profile::Consentida => (LimitKind::Daily, Amount::ZERO),
        };
        let mut limits = OwnLimits::default();
        limits.change(kind, None, amount, self.env.now(), true);
        Some(limits)
    }

    /// A wallet the caller may read.
    pub async fn wallet(&self, caller: &Caller, name: &str) -> Result<Wallet, Error> {
        let entry = self.readable(caller, name).await?;
        self.wallet_of(&entry).await
    }

    /// The caller's wallets.
    pub async fn wallets(&self, caller: &Caller) -> Result<Vec<Wallet>, Error> {
        let Some(did) = caller.did() else { return Ok(Vec::new()) };
        match self.directory.find(did.as_str()).await? {
            Some(entry) => Ok(vec![self.wallet_of(&entry).await?]),
            None => Ok(Vec::new()),
        }
    }

    /// What a wallet holds, now or as it was settled at a past instant.
    pub async fn balance(&self, caller: &Caller, request: GetBalanceRequest) -> Result<BalanceReport, Error> {
        let only = match request.currency.as_deref().map(issuance::currency).transpose() {
            Ok(only) => only,
            Err(unknown) => {
                // Whether there is such a wallet comes first.
                self.readable(caller, &request.squid_id).await?;
                return Err(unknown.into());
            }
        };
        let (entry, (balances, as_of)) = match request.at {
            None => {
                let entry = self.readable(caller, &request.squid_id).await?;
                let balances = self.balances_now(&entry).await?;
                (entry, balances)
            }
            Some(at) => self.balances_at(caller, &request.squid_id, at, only.map(|only| only.id)).await?,
        };
        let balances = balances
            .into_iter()
            .filter(|(code, _)| only.is_none_or(|currency| currency.code == code))
            .collect();
        let wallet_ref = entry.row.reference.clone();
        Ok(BalanceReport { wallet_id: entry.row.id, wallet_ref, balances, as_of })
    }

    /// The currencies.
    pub fn currencies(&self) -> CurrencyList {
        let items = currency::ALL.iter().zip(0..).map(|(currency, place)| WireCurrency {
            code: currency.code.to_owned(),
            scale: currency.scale.decimals(),
            min: currency.least(),
            // What a payment may be, not what anybody has.
            max: currency.greatest(),
            rails: self.rails.names(Some(currency)),
            iso_alias: self.iso_alias.clone().filter(|_| place == 0),
        });
        CurrencyList { items: items.collect() }
    }

    /// The wallet with this name, if the caller may read it.
    pub(super) async fn readable(&self, caller: &Caller, name: &str) -> Result<Arc<WalletEntry>, Error> {
        if let Some(entry) = self.directory.find(name).await?
            && self.may_read_once(caller, &entry).await?
        {
            return Ok(entry);
        }
        Err(Error::Refused(Refusal::WalletNotFound))
    }

    /// The wallet as it is now: its status, its name and whom it may pay are not remembered.
    pub(super) async fn wallet_of(&self, entry: &WalletEntry) -> Result<Wallet, Error> {
        let (balances, _) = self.balances_now(entry).await?;
        let id = entry.row.id;
        let row = self.db.read(move |reader| store::wallets::find(reader, id)).await?;
        let row = row.ok_or(Error::Inconsistent("a wallet"))?;
        Ok(Wallet {
            wallet_id: row.id,
            wallet_ref: row.reference,
            owner: row.owner,
            label: self.unseal("wallets", "label", &row.id.to_string(), row.label.as_deref())?,
            profile: row.profile.name().to_owned(),
            parent: row.parent,
            status: row.status.name().to_owned(),
            allowed_recipients: row.allowed,
            allowed_addresses: row.allowed_addresses,
            balances,
            limits: self.limits_of(entry).await?.items,
            rails: self.rails.names(None),
            created_at: row.created_at,
        })
    }

    pub(super) async fn balances_now(
        &self,
        entry: &WalletEntry,
    ) -> Result<(BTreeMap<String, Balance>, AsOf), Error> {
        let id = entry.row.id;
        let read = self.db.read(move |reader| {
            let accounts = store::ledger::accounts_of(reader, id)?;
            Ok::<_, DbError>((accounts, store::ledger::last_commit(reader)?))
        });
        let (accounts, (commit, time)) = read.await?;
        let mut balances = BTreeMap::new();
        for currency in &currency::ALL {
            // What stripes received is the wallet's: it is swept whenever it is needed.
            let of_currency: Vec<&Account> =
                accounts.iter().filter(|account| account.currency == currency.id).collect();
            if !of_currency.is_empty() {
                balances.insert(currency.code.to_owned(), balance(&of_currency, currency));
            }
        }
        Ok((balances, AsOf { commit, time }))
    }

    async fn balances_at(
        &self,
        caller: &Caller,
        name: &str,
        at: Timestamp,
        only: Option<CurrencyId>,
    ) -> Result<(Arc<WalletEntry>, (BTreeMap<String, Balance>, AsOf)), Error> {
        let most = store::history::UNMERGED_READ_MAX;
        let (entry, mut read) = if self.directory.remembered(name).is_some() {
            let entry = self.readable(caller, name).await?;
            let id = entry.row.id;
            (entry, self.db.read(move |reader| past_of(reader, id, (at, most), only)).await?)
        } else {
            let past = move |reader: &mut Reader<'_>, id| past_of(reader, id, (at, most), only);
            let loaded = self.directory.load_with(name, past).await?;
            let (entry, read) = loaded.ok_or(Error::Refused(Refusal::WalletNotFound))?;
            if !self.may_read_once(caller, &entry).await? {
                return Err(Error::Refused(Refusal::WalletNotFound));
            }
            (entry, read)
        };
        if read.is_none() {
            // Whatever is settled meanwhile is not of the past.
            self.catch_up().await?;
            let id = entry.row.id;
            read = self.db.read(move |reader| past_of(reader, id, (at, i64::MAX), only)).await?;
        }
        let (past, (commit, time)) = read.ok_or(Error::Inconsistent("a history"))?;
        let balances = past.into_iter().filter_map(|(currency, posted)| {
            let currency = Currency::by_id(currency)?;
            let posted = posted.display(currency.scale);
            let nothing = currency.text(q_core::Amount::ZERO);
            let balance = Balance {
                available: posted.clone().into(),
                posted: posted.into(),
                pending_out: nothing.clone(),
                pending_in: nothing.clone(),
                credit_limit: nothing,
            };
            Some((currency.code.to_owned(), balance))
        });
        Ok((entry, (balances.collect(), AsOf { commit, time })))
    }

    pub(super) fn is_operator(&self, caller: &Caller) -> bool {
        let Some(did) = caller.did() else { return false };
        let resource = Resource::instance(&self.instance.did).to_string();
        let request = Request {
            principal: did,
            action: "admin",
            resource: &resource,
            owner: Some(&self.instance.did),
            now: self.env.now(),
        };
        self.pdp.decide(&request).allowed
    }
}

/// What a wallet held at an instant, by currency, and the newest commit by then; `None` when that would take more than
/// so many transfers that are in no history yet.
#[expect(clippy::type_complexity, reason = "sums and where they stand")]
fn past_of(
    reader: &mut Reader<'_>,
    wallet: WalletId,
    (at, most): (Timestamp, i64),
    only: Option<CurrencyId>,
) -> Result<Option<(BTreeMap<CurrencyId, SignedAmount>, (i64, Timestamp))>, DbError> {
    let Some(books) = store::history::Past::at_within(reader, at, most)? else { return Ok(None) };
    let mut past: BTreeMap<CurrencyId, SignedAmount> = BTreeMap::new();
    for (currency, balance) in books.of_wallet(reader, wallet, only)? {
        let sum = past.entry(currency).or_default();
        *sum = sum_of([*sum, balance].into_iter());
    }
    Ok(Some((past, books.commit())))
}

fn balance(accounts: &[&Account], currency: &Currency) -> Balance {
    let signed = |of: fn(&Account) -> SignedAmount| {
        sum_of(accounts.iter().map(|account| of(account))).display(currency.scale).into()
    };
    let pending = |of: fn(&Account) -> Total| {
        let units = accounts.iter().map(|account| of(account).units());
        currency.text(Amount::from_units(units.fold(0, u128::saturating_add)))
    };
    let limit = accounts.iter().find(|account| account.stripe == 0).map(|account| account.credit_limit);
    Balance {
        available: signed(Account::available),
        posted: signed(Account::posted),
        pending_out: pending(|account| account.debits_pending),
        pending_in: pending(|account| account.credits_pending),
        credit_limit: currency.text(limit.unwrap_or(Amount::ZERO)),
    }
}

/// Adds the wallet and its accounts; `opener` may be an operator who opens it for its owner.
fn open(
    tx: &mut Tx<'_>,
    row: &WalletRow,
    currencies: &[(CurrencyId, Option<AccountId>, Option<OwnLimits>)],
    opener: &Did,
) -> Result<WalletId, Error> {
    if store::wallets::find_by_owner(tx, &row.owner)?.is_some() {
        return Err(Error::WalletExists);
    }
    let last = store::ledger::last_account(tx)?;
    let accounts: Vec<Account> = (last + 1..)
        .zip(currencies)
        .map(|(id, (currency, parent, limits))| {
            let account = Account::new(AccountId(id), *currency, AccountKind::Wallet).below(*parent);
            Account { limits: limits.map(Box::new), ..account }
        })
        .collect();
    let terms: Vec<u8> = accounts.iter().flat_map(Account::terms).collect();
    store::wallets::insert(tx, row, &terms)?;
    for account in &accounts {
        store::ledger::insert_account(tx, account, Some(row.id))?;
    }
    tx.emit(&events::WalletCreated { wallet_id: row.id, wallet_ref: row.reference.clone() })?;
    tx.audit(q_core::AuditEntry::change("wallet.create", Some(opener), row.id))?;
    Ok(row.id)
}
