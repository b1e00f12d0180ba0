//! Limits on spending, stripes of much-paid wallets, heads of the chains.

use std::collections::HashSet;

use parking_lot::Mutex;
use q_core::{Amount, Caller, Did, RequestKey, Timestamp, hash};
use q_db::DbError;
use qwallet_api::{
    Chain, ChainList, LimitList, NewLimit, PendingLimit, SetLimitsRequest, SetStripesRequest, SpendingLimit,
    StripeList, WalletId,
};

use super::{
    Service,
    commit::{Action, Authority, LimitChange, Outcome, Work},
    directory::WalletEntry,
    issuance, request_of,
};
use crate::{
    domain::{
        account::{Account, AccountId, AccountKind},
        calendar::{UTC, Zone},
        currency::{self, AmountRefusal, Currency},
        limits::{self, Defaults, LimitKind},
        payment::Refusal,
        profile::Profile,
    },
    error::Error,
    store,
};

/// The most stripes an account has: a sweep is one group of transfers.
pub const STRIPES_MAX: u8 = 8;

/// How many limits one request changes at most: each kind once.
const CHANGES_MAX: usize = LimitKind::ALL.len();

/// The most that is remembered of what was told.
const TOLD_MAX: usize = 100_000;

/// Limits whose being exceeded was told already, until their window ends: a payer who tries again tells nothing new.
#[derive(Debug, Default)]
pub struct Told(Mutex<HashSet<(WalletId, LimitKind, Option<Timestamp>)>>);

impl Told {
    pub(super) fn is_news(&self, wallet: WalletId, kind: LimitKind, resets_at: Option<Timestamp>) -> bool {
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
        let asked = match (&request.timezone, request.limits.is_empty()) {
            (Some(_), true) => None,
            _ => Some(read(&request.limits)?),
        };
        let zone = request.timezone.as_deref().map(|name| {
            let zone = Zone::named(name, self.env.now()).ok_or(Refusal::Malformed("timezone"))?;
            Ok::<_, Refusal>(zone.name().to_owned())
        });
        let zone = zone.transpose()?;
        let entry = self.directory.find(&request.squid_id).await?.ok_or(Refusal::WalletNotFound)?;
        // An operator's own wallet is nobody else's word, so whose it is comes first.
        let authority = match self.relation(did, &entry).await? {
            Some(Relation::Owner) if entry.is_below_another() => Authority::Sub,
            Some(Relation::Owner) => Authority::Owner,
            Some(Relation::Parent) => Authority::Parent,
            None if self.is_operator(caller) => Authority::Operator,
            None => return Err(Refusal::WalletNotFound.into()),
        };
        let accounts = &entry.accounts.accounts;
        let (account, wanted) = match asked {
            Some((currency, wanted)) => (entry.accounts.account(currency.id), wanted),
            None => (accounts.first().map(|(_, account)| *account), Vec::new()),
        };
        let account = account.ok_or(Refusal::CurrencyUnsupported)?;
        let zone = zone.map(|zone| (zone, accounts.iter().map(|(_, account)| *account).collect()));
        let (wallet, by) = (entry.row.id, did.clone());
        let change = LimitChange { account, wallet, by, authority, wanted, zone, approval: None };
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

    /// What somebody is to a wallet; nothing where it is not theirs in any way.
    pub(super) async fn relation(&self, did: &Did, entry: &WalletEntry) -> Result<Option<Relation>, Error> {
        if entry.row.owner == *did {
            return Ok(Some(Relation::Owner));
        }
        if entry.parent_owner.as_ref() == Some(did) {
            return Ok(Some(Relation::Parent));
        }
        if entry.row.profile != Profile::Consentida {
            return Ok(None);
        }
        let standing = self.keys.standing(&entry.row.owner).await?;
        Ok(standing.guardians.contains(did).then_some(Relation::Parent))
    }

    /// The limits that hold for a wallet: its own, then those of the parent it draws on.
    pub(super) async fn limits_of(&self, entry: &WalletEntry) -> Result<LimitList, Error> {
        let (id, parent) = (entry.row.id, entry.row.parent);
        let accounts = self.db.read(move |reader| {
            let own = store::ledger::accounts_of(reader, id)?;
            let inherited = parent.map(|parent| store::ledger::accounts_of(reader, parent)).transpose()?;
            Ok::<_, DbError>((own, inherited.unwrap_or_default()))
        });
        let (own, inherited) = accounts.await?;
        let now = self.env.now();
        let mut items = Vec::new();
        for (accounts, inherited) in [(own, false), (inherited, true)] {
            for account in accounts.iter().filter(|account| account.stripe == 0) {
                let Some(currency) = Currency::by_id(account.currency) else { continue };
                let defaults = self.defaults_of(currency);
                let limits = LimitKind::ALL.into_iter();
                let limits = limits.filter_map(|kind| limit(&defaults, account, currency, kind, now));
                items.extend(limits.map(|limit| SpendingLimit { inherited, ..limit }));
            }
        }
        Ok(LimitList { items })
    }

    pub(super) fn defaults_of(&self, currency: &Currency) -> Defaults {
        self.limits.iter().find(|(of, _)| *of == currency.id).map(|(_, limits)| *limits).unwrap_or_default()
    }

    /// The refusal of a payment whose quote does not hold or whose fees are too high, unless its wallets or limits refuse it before.
    pub(super) async fn limits_first(
        &self,
        refusal: Refusal,
        (payer, recipient): (Option<&WalletEntry>, Option<&WalletEntry>),
        currency: &str,
        amount: &q_core::AmountText,
    ) -> Result<Refusal, Error> {
        let (Refusal::FeesExceedMaximum | Refusal::Quote(_), Some(payer), Some(recipient)) =
            (refusal, payer, recipient)
        else {
            return Ok(refusal);
        };
        let asked = crate::domain::payment::read_amount(currency, amount)?;
        Ok(self.beyond_limits(payer, recipient, asked).await?.unwrap_or(refusal))
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
            store::wallets::lock(tx, wallet)?;
            let row = store::wallets::find(tx, wallet)?.ok_or(Refusal::WalletNotFound)?;
            if row.status.is_stopped() {
                return Err(Refusal::WalletFrozen.into());
            }
            let mut accounts = store::ledger::accounts_of(tx, wallet)?;
            let main = accounts.iter().find(|account| account.currency == currency.id && account.stripe == 0);
            let family = main.map(|account| account.side().family());
            let of_currency = accounts.iter().filter(|account| account.currency == currency.id);
            let last_stripe = of_currency.map(|account| account.stripe).max();
            let last_stripe = last_stripe.ok_or(Error::Inconsistent("an account"))?;
            if wanted < last_stripe {
                // What a stripe received stays in its history, so there are never fewer.
                return Err(Refusal::Malformed("count").into());
            }
            let first = store::ledger::last_account(tx)? + 1;
            for (stripe, id) in (last_stripe + 1..=wanted).zip(first..) {
                let account = Account::new(AccountId(id), currency.id, AccountKind::Wallet);
                let account = account.of_stripe(stripe).below(family);
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
    // All there is is no limit.
    let amount = defaults.effective(own, kind, now).filter(|amount| *amount != Amount::MAX)?;
    let chosen = own.and_then(|own| own.get(kind));
    let calendar = account.window(now);
    let waiting = chosen.and_then(|limit| limit.raised).filter(|(_, from)| *from > now);
    Some(SpendingLimit {
        kind: kind.name().to_owned(),
        currency: currency.code.to_owned(),
        amount: limits::text(kind, amount, currency),
        used: limits::text(kind, account.spent.used(kind, calendar), currency),
        inherited: false,
        resets_at: account.resets_at(kind, now),
        timezone: kind.is_of_calendar().then(|| account.zone.as_deref().map_or(UTC, Zone::name).to_owned()),
        set_by: if chosen.is_some_and(|limit| limit.at(now) == amount) { "owner" } else { "instance" }
            .to_owned(),
        pending: waiting.map(|(amount, effective_at)| PendingLimit {
            amount: limits::text(kind, amount, currency),
            effective_at,
        }),
    })
}

/// What somebody is to a wallet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relation {
    /// It is theirs.
    Owner,
    /// They are the parent on whose limits it draws, or a guardian of its owner.
    Parent,
}

/// New limits by kind.
pub(super) type Wanted = Vec<(LimitKind, Amount)>;

/// The changes that are asked for, of one currency.
pub(super) fn read(limits: &[NewLimit]) -> Result<(&'static Currency, Wanted), Refusal> {
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
        let scale = if kind.is_count() { limits::COUNT_SCALE } else { currency.scale };
        let amount = limit.amount.parse(scale);
        let amount = amount.map_err(|fault| Refusal::from(AmountRefusal::Text(fault)).of(currency))?;
        wanted.push((kind, amount));
    }
    Ok((currency, wanted))
}

const _: () = assert!(STRIPES_MAX as usize <= crate::domain::books::GROUP_LEGS_MAX, "a sweep is one group");
