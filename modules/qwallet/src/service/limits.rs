//! Limits on spending, stripes of much-paid wallets, heads of the chains.

use std::collections::HashSet;

use parking_lot::Mutex;
use q_core::{Amount, Caller, RequestKey, Timestamp, hash};
use q_db::DbError;
use qwallet_api::{
    Chain, ChainList, LimitList, NewLimit, PendingLimit, SetLimitsRequest, SetStripesRequest, SpendingLimit,
    StripeList, WalletId, events,
};

use super::{
    Service,
    commit::{Action, LimitChange, Outcome, Work},
    directory::WalletEntry,
    issuance, request_of,
};
use crate::{
    domain::{
        account::{Account, AccountId, AccountKind},
        currency::{self, AmountRefusal, Currency},
        limits::{self, Defaults, LimitKind, Window},
        payment::{LimitOf, Refusal},
    },
    error::Error,
    store,
};

/// The most stripes an account has: a sweep is one group of transfers.
pub const STRIPES_MAX: u8 = 8;

/// How many limits one request changes at most: each kind once.
const CHANGES_MAX: usize = 3;

/// The most that is remembered of what was told.
const TOLD_MAX: usize = 100_000;

/// Limits whose being exceeded was told already, until their window ends: a payer who tries again tells nothing new.
#[derive(Debug, Default)]
pub struct Told(Mutex<HashSet<(WalletId, LimitKind, Option<Timestamp>)>>);

impl Told {
    fn is_news(&self, wallet: WalletId, kind: LimitKind, resets_at: Option<Timestamp>) -> bool {
        let mut told = self.0.lock();
        if told.len() >= TOLD_MAX {
            told.clear();
        }
        told.insert((wallet, kind, resets_at))
    }
}

impl Service {
    /// How much may be spent from a wallet the caller may read.
    pub async fn limits(&self, caller: &Caller, name: &str) -> Result<LimitList, Error> {
        let entry = self.readable(caller, name).await?;
        self.limits_of(&entry).await
    }

    /// Changes the limits of the caller's wallet, or, as an operator, confirms and lowers those of another's.
    pub async fn set_limits(
        &self,
        caller: &Caller,
        key: Option<&RequestKey>,
        request: SetLimitsRequest,
    ) -> Result<LimitList, Error> {
        let did = caller.did().ok_or(Refusal::WalletNotFound)?;
        let (currency, wanted) = read(&request.limits)?;
        let entry = self.directory.find(&request.squid_id).await?.ok_or(Refusal::WalletNotFound)?;
        let is_owner = entry.row.owner == *did;
        if !is_owner && !self.is_operator(caller) {
            return Err(Refusal::WalletNotFound.into());
        }
        let account = entry.accounts.account(currency.id).ok_or(Refusal::CurrencyUnsupported)?;
        let change = LimitChange {
            account,
            wallet: entry.row.id,
            by: did.clone(),
            // An operator's own wallet is nobody else's word.
            is_operator: !is_owner,
            wanted,
        };
        let work = Work {
            request: request_of(did.as_str(), key),
            nonce: None,
            expires_at: None,
            order: None,
            action: Action::SetLimits(change),
        };
        match self.executor.submit(work).await? {
            Outcome::Done(_) | Outcome::Replayed(_) => self.limits_of(&entry).await,
            Outcome::Refused(refusal) => Err(refusal.into()),
        }
    }

    async fn limits_of(&self, entry: &WalletEntry) -> Result<LimitList, Error> {
        let id = entry.row.id;
        let accounts = self.db.read(move |reader| store::ledger::accounts_of(reader, id)).await?;
        let now = self.env.now();
        let mut items = Vec::new();
        for account in accounts.iter().filter(|account| account.stripe == 0) {
            let Some(currency) = Currency::by_id(account.currency) else { continue };
            let defaults = self.defaults_of(currency);
            for kind in LimitKind::ALL {
                items.extend(limit(&defaults, account, currency, kind, now));
            }
        }
        Ok(LimitList { items })
    }

    fn defaults_of(&self, currency: &Currency) -> Defaults {
        self.limits.iter().find(|(of, _)| *of == currency.id).map(|(_, limits)| *limits).unwrap_or_default()
    }

    /// The refusal of a payment whose fees are too high, unless its limits refuse it before.
    pub(super) async fn limits_first(
        &self,
        refusal: Refusal,
        payer: Option<&WalletEntry>,
        currency: &str,
        amount: &q_core::AmountText,
    ) -> Result<Refusal, Error> {
        let (Refusal::FeesExceedMaximum, Some(payer)) = (refusal, payer) else { return Ok(refusal) };
        let (currency, amount) = crate::domain::payment::read_amount(currency, amount)?;
        let wallet = payer.row.id;
        let accounts = self.db.read(move |reader| store::ledger::accounts_of(reader, wallet)).await?;
        let is_payer = |account: &&Account| account.currency == currency.id && account.stripe == 0;
        let Some(account) = accounts.iter().find(is_payer) else { return Ok(refusal) };
        let (defaults, own, now) = (self.defaults_of(currency), account.limits.as_deref(), self.env.now());
        match limits::check(&defaults, own, &account.spent, amount, Window::of(now), now) {
            Ok(()) => Ok(refusal),
            Err(exceeded) => {
                Ok(Refusal::LimitExceeded { limit: LimitOf { currency: Some(currency), exceeded } })
            }
        }
    }

    /// The refusal, told to whoever watches the wallet if it is because of a limit, once per window.
    pub(super) async fn refused(&self, refusal: Refusal, payer: &WalletEntry) -> Error {
        if let Refusal::LimitExceeded { limit: LimitOf { currency: Some(currency), exceeded } } = refusal
            && self.told.is_news(payer.row.id, exceeded.kind, exceeded.resets_at)
        {
            let text = |amount: Amount| currency.text(amount).as_str().to_owned();
            let event = events::LimitExceeded {
                wallet_id: payer.row.id,
                kind: exceeded.kind.name().to_owned(),
                limit: text(exceeded.limit),
                used: text(exceeded.used),
                attempted: text(exceeded.attempted),
                currency: currency.code.to_owned(),
            };
            let told = self.db.write(move |tx| tx.emit(&event).map(drop)).await;
            if let Err(error) = told {
                let error: DbError = error;
                tracing::warn!(%error, "that a limit was exceeded could not be told");
            }
        }
        refusal.into()
    }

    /// Gives a wallet's account of one currency so many stripes.
    pub async fn set_stripes(
        &self,
        caller: &Caller,
        request: SetStripesRequest,
    ) -> Result<StripeList, Error> {
        let actor = caller.did().ok_or(Error::NotForOthers)?.clone();
        if request.count > STRIPES_MAX {
            return Err(Refusal::Malformed("count").into());
        }
        let currency = issuance::currency(&request.currency)?;
        let entry = self.directory.find(&request.squid_id).await?.ok_or(Refusal::WalletNotFound)?;
        let (wallet, wanted) = (entry.row.id, i64::from(request.count));
        let made = self.db.write(move |tx| {
            let row = store::wallets::find(tx, wallet)?.ok_or(Refusal::WalletNotFound)?;
            let mut accounts = store::ledger::accounts_of(tx, wallet)?;
            let of_currency = accounts.iter().filter(|account| account.currency == currency.id);
            let last_stripe = of_currency.map(|account| account.stripe).max();
            let last_stripe = last_stripe.ok_or(Error::Inconsistent("an account"))?;
            if wanted < last_stripe {
                // What a stripe received stays in its history, so there are never fewer.
                return Err(Refusal::Malformed("count").into());
            }
            let first = store::ledger::last_account(tx)? + 1;
            for (stripe, id) in (last_stripe + 1..=wanted).zip(first..) {
                let account = Account::new(AccountId(id), currency.id, AccountKind::Wallet).of_stripe(stripe);
                store::ledger::insert_account(tx, &account, Some(wallet))?;
                accounts.push(account);
            }
            let terms: Vec<u8> = accounts.iter().flat_map(Account::terms).collect();
            store::wallets::update_checksum(tx, &row, &terms)?;
            let facts = serde_json::json!({ "currency": currency.code, "count": wanted });
            tx.audit(q_core::AuditEntry::change("wallet.stripes", Some(&actor), wallet).details(facts))?;
            Ok::<_, Error>(())
        });
        made.await?;
        self.executor.learn_stripes(&self.db).await?;
        let (wallet_ref, currency) = (entry.row.reference.clone(), currency.code.to_owned());
        Ok(StripeList { wallet_ref, currency, count: request.count })
    }

    /// The chains of the books.
    pub async fn heads(&self) -> Result<ChainList, Error> {
        let read = self.db.read(|reader| {
            let ends = store::ledger::chain_ends(reader)?.into_iter();
            ends.map(|(writer, end)| Ok((writer, end, store::heads::last(reader, writer)?))).collect()
        });
        let ends: Result<Vec<_>, DbError> = read.await;
        let chain =
            |(writer, end, signed): (i64, store::ledger::ChainEnd, Option<store::heads::HeadRow>)| Chain {
                writer,
                commits: end.number,
                last_commit: store::ledger::commit_id(writer, end.number),
                head: hash::hex(&end.head),
                at: end.at,
                signed: signed.map(|head| head.jws),
            };
        Ok(ChainList { items: ends?.into_iter().map(chain).collect() })
    }
}

/// One limit as it is shown, if there is one.
fn limit(
    defaults: &Defaults,
    account: &Account,
    currency: &Currency,
    kind: LimitKind,
    now: Timestamp,
) -> Option<SpendingLimit> {
    let own = account.limits.as_deref();
    let amount = defaults.effective(own, kind, now)?;
    let chosen = own.and_then(|own| own.get(kind));
    let window = Window::of(now);
    let waiting = chosen.and_then(|limit| limit.raised).filter(|(_, from)| *from > now);
    Some(SpendingLimit {
        kind: kind.name().to_owned(),
        currency: currency.code.to_owned(),
        amount: currency.text(amount),
        used: currency.text(account.spent.used(kind, window)),
        resets_at: window.resets_at(kind),
        set_by: if chosen.is_some_and(|limit| limit.at(now) == amount) { "owner" } else { "instance" }
            .to_owned(),
        pending: waiting
            .map(|(amount, effective_at)| PendingLimit { amount: currency.text(amount), effective_at }),
    })
}

/// New limits by kind.
type Wanted = Vec<(LimitKind, Amount)>;

/// The changes that are asked for, of one currency.
fn read(limits: &[NewLimit]) -> Result<(&'static Currency, Wanted), Refusal> {
    let first = limits.first().ok_or(Refusal::Malformed("limits"))?;
    if limits.len() > CHANGES_MAX || limits.iter().any(|limit| limit.currency != first.currency) {
        return Err(Refusal::Malformed("limits"));
    }
    for limit in limits {
        limit.amount.check_form().map_err(Refusal::AmountForm)?;
    }
    let currency = currency::ALL.iter().find(|currency| currency.code == first.currency);
    let currency = currency.ok_or(Refusal::CurrencyUnsupported)?;
    let mut wanted = Vec::with_capacity(limits.len());
    for limit in limits {
        let kind = LimitKind::from_name(&limit.kind).ok_or(Refusal::Malformed("limits[].kind"))?;
        if wanted.iter().any(|(known, _)| *known == kind) {
            return Err(Refusal::Malformed("limits[].kind"));
        }
        let amount = limit.amount.parse(currency.scale);
        let amount = amount.map_err(|fault| Refusal::from(AmountRefusal::Text(fault)).of(currency))?;
        wanted.push((kind, amount));
    }
    Ok((currency, wanted))
}

const _: () = assert!(STRIPES_MAX as usize <= crate::domain::books::GROUP_LEGS_MAX, "a sweep is one group");
