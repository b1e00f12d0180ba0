//! What is refused because of a limit, and what can be done about it, by whom.
//!
//! **Invariant:** a hint promises nothing that the instance refuses: an approval is named only where there is something
//! that can be approved.

use q_core::{Amount, Timestamp};
use q_db::DbError;
use qwallet_api::events;

use super::{Service, directory::WalletEntry};
use crate::{
    domain::{
        account::Account,
        books,
        calendar::Window,
        currency::Currency,
        limits::{self, Exceeded, LimitKind, Spent},
        payment::{LimitOf, Refusal},
        profile::Profile,
        transfer::Purpose,
    },
    error::Error,
    store,
};

const INHERITED: &str = "the limit is the parent's own, who raises it with PUT /wallets/{squidId}/limits and cannot \
                         approve single payments beyond it";
const OF_A_DAO: &str = "two operators raise what is delegated to a DAO: PUT /wallets/{squidId}/limits";
const OF_THE_OWNER: &str = "whoever owns the wallet raises the limit with PUT /wallets/{squidId}/limits";
const OWN: &str =
    "GET /wallets/{squidId}/limits tells what is left, and PUT /wallets/{squidId}/limits asks for more";

/// What would be spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spending {
    /// A payment by whoever owns the wallet.
    Payment,
    /// A payment under a delegation.
    Delegated,
    /// What goes into escrow.
    Escrow,
    /// What a mandate pays.
    Mandate,
    /// Anything else.
    Other,
}

impl Spending {
    /// What others approve in the place of what cannot be approved by itself.
    const fn instead_of_approval(self) -> &'static str {
        match self {
            Self::Payment | Self::Other => {
                "make an intent of it (POST /intents), have it approved, and sign it then"
            }
            Self::Delegated => {
                "the wallet's owner makes an intent of it (POST /intents), which others approve"
            }
            Self::Escrow => {
                "no escrow is approved by itself, but money that is held for the payee is: make an intent of it (POST \
                 /intents with `capture` manual) and have it approved; the payee then takes it with POST \
                 /intents/{intentId}/capture and `into` escrow"
            }
            Self::Mandate => {
                "no mandate is approved by itself: make an intent of each payment when it is due (POST /intents), or have \
                 the approvers sign a rule that lets the mandate through (PUT /wallets/{squidId}/approvals)"
            }
        }
    }
}

impl Service {
    /// What the wallets or limits have against a payment, by what was spent until now.
    pub(super) async fn beyond_limits(
        &self,
        payer: &WalletEntry,
        recipient: &WalletEntry,
        (currency, amount): (&'static Currency, Amount),
    ) -> Result<Option<Refusal>, Error> {
        let Some(counting) = self.counting(payer, recipient, currency).await? else { return Ok(None) };
        if counting.is_frozen {
            return Ok(Some(Refusal::WalletFrozen));
        }
        let (defaults, now) = (self.defaults_of(currency), self.env.now());
        let exceeded =
            counting.first_exceeded(|account| account.check_limits(&defaults, amount, account.window(now)));
        Ok(exceeded.map(|exceeded| over(currency, exceeded)))
    }

    /// Why a mandate can never pay so much as things are: others have to approve it, and nobody is there to be asked when
    /// it is due, or the limits are below it though nothing else were paid.
    pub(super) async fn never_paid(
        &self,
        payer: &WalletEntry,
        payee: &WalletEntry,
        (currency, amount): (&'static Currency, Amount),
    ) -> Result<Option<Refusal>, Error> {
        let rules = self.rules_of(payer).await?;
        let rule = rules.at(self.env.now());
        if rule.concerns(currency.id, amount) {
            return Ok(Some(Refusal::ApprovalRequired { given: 0, required: rule.required() }));
        }
        self.beyond_limits_ever(payer, payee, (currency, amount)).await
    }

    /// Why a payment can never be made under the limits as they are, though nothing else were paid. What was asked to be
    /// raised counts as raised.
    async fn beyond_limits_ever(
        &self,
        payer: &WalletEntry,
        recipient: &WalletEntry,
        (currency, amount): (&'static Currency, Amount),
    ) -> Result<Option<Refusal>, Error> {
        let Some(counting) = self.counting(payer, recipient, currency).await? else { return Ok(None) };
        let defaults = self.defaults_of(currency);
        let exceeded = counting.first_exceeded(|account| {
            let late = Window { at: Timestamp::MAX, ..Window::default() };
            limits::check(&defaults, account.limits.as_deref(), &Spent::default(), amount, late)
        });
        Ok(exceeded.map(|exceeded| over(currency, exceeded)))
    }

    /// Against whose limits a payment counts; nothing where a wallet does not hold the currency.
    async fn counting(
        &self,
        payer: &WalletEntry,
        recipient: &WalletEntry,
        currency: &'static Currency,
    ) -> Result<Option<Counting>, Error> {
        let account = |entry: &WalletEntry| entry.accounts.account(currency.id);
        let (Some(debit), Some(credit)) = (account(payer), account(recipient)) else { return Ok(None) };
        let found = self.db.read(move |reader| {
            let debit = store::ledger::find_account(reader, debit)?;
            let parent = debit.as_ref().and_then(|debit| debit.parent);
            let parent =
                parent.map(|parent| store::ledger::find_account(reader, parent)).transpose()?.flatten();
            Ok::<_, DbError>((debit, store::ledger::find_account(reader, credit)?, parent))
        });
        let (Some(debit), Some(credit), parent) = found.await? else { return Ok(None) };
        let counted = books::counted(debit.side(), credit.side(), Purpose::Principal);
        Ok(Some(Counting {
            is_frozen: debit.is_frozen || credit.is_frozen,
            own: counted.own.then_some(debit),
            parent: parent.filter(|_| counted.parent.is_some()),
        }))
    }

    /// The refusal, told to whoever watches the wallet if it is because of a limit, once per window.
    pub(super) async fn refused(&self, refusal: Refusal, payer: &WalletEntry) -> Error {
        self.refused_as(Spending::Other, refusal, payer).await
    }

    /// The same of what would be spent in this way.
    pub(super) async fn refused_as(
        &self,
        spending: Spending,
        refusal: Refusal,
        payer: &WalletEntry,
    ) -> Error {
        if let Refusal::ApprovalRequired { given, required } = refusal {
            return Error::NotByItself { given, required, instead: spending.instead_of_approval() };
        }
        let Refusal::LimitExceeded { limit: LimitOf { currency: Some(currency), exceeded } } = refusal else {
            return refusal.into();
        };
        if self.told.is_news(payer.row.id, exceeded.kind, exceeded.resets_at) {
            let text = |amount: Amount| limits::text(exceeded.kind, amount, currency).as_str().to_owned();
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
        Error::OverLimit {
            refusal,
            is_guarded: is_guarded(payer, &refusal),
            way_out: self.way_out(spending, &exceeded, currency, payer),
            within: within(&exceeded, currency),
        }
    }

    /// An error of what was refused before the books were asked, with what can be done where it is a limit.
    pub(super) async fn told_as(
        &self,
        spending: Spending,
        error: Error,
        payer: Option<&WalletEntry>,
    ) -> Error {
        match (error, payer) {
            (
                Error::Refused(refusal @ (Refusal::LimitExceeded { .. } | Refusal::ApprovalRequired { .. })),
                Some(payer),
            ) => self.refused_as(spending, refusal, payer).await,
            (error, _) => error,
        }
    }

    /// What can be done, and by whom.
    fn way_out(
        &self,
        spending: Spending,
        exceeded: &Exceeded,
        currency: &'static Currency,
        payer: &WalletEntry,
    ) -> String {
        if !exceeded.kind.is_count()
            && let Err(cap) = limits::check_cap(&self.defaults_of(currency), exceeded.attempted)
        {
            let most = currency.text(cap.limit);
            return format!(
                "nothing over {} {} is paid at once on this instance, whoever approves it: pay in parts",
                most.as_str(),
                currency.code
            );
        }
        let who = if payer.row.profile == Profile::Consentida { "a guardian" } else { "the parent" };
        let asked = match spending {
            Spending::Payment | Spending::Other => ", or approves it as one payment: POST /intents",
            Spending::Delegated => {
                ", or approves one payment that the wallet's owner asks for: POST /intents"
            }
            Spending::Escrow => {
                ". No escrow is approved by itself; money that is held for the payee is (POST /intents with `capture` \
                 manual), and the payee then takes it: POST /intents/{intentId}/capture with `into` escrow"
            }
            Spending::Mandate => {
                ". No mandate is approved by itself; each payment is, when it is due: POST /intents"
            }
        };
        let way_out = match (payer.is_below_another(), exceeded.is_inherited, exceeded.kind) {
            (true, true, _) => INHERITED,
            (true, false, _) => {
                return format!("{who} raises the limit with PUT /wallets/{{squidId}}/limits{asked}");
            }
            (false, _, LimitKind::Dao) => OF_A_DAO,
            (false, ..) if spending == Spending::Delegated => OF_THE_OWNER,
            (false, ..) => OWN,
        };
        way_out.to_owned()
    }
}

/// The accounts against whose limits a payment counts.
struct Counting {
    is_frozen: bool,
    own: Option<Account>,
    parent: Option<Account>,
}

impl Counting {
    /// The first limit that `check` finds to be exceeded: the wallet's own come first.
    fn first_exceeded(&self, check: impl Fn(&Account) -> Result<(), Exceeded>) -> Option<Exceeded> {
        let own = self.own.iter().map(|account| (account, false));
        let mut both = own.chain(self.parent.iter().map(|account| (account, true)));
        both.find_map(|(account, is_inherited)| {
            check(account).err().map(|exceeded| Exceeded { is_inherited, ..exceeded })
        })
    }
}

const fn over(currency: &'static Currency, exceeded: Exceeded) -> Refusal {
    Refusal::LimitExceeded { limit: LimitOf { currency: Some(currency), exceeded } }
}

/// What may be spent without anybody else.
fn within(exceeded: &Exceeded, currency: &Currency) -> String {
    let left = exceeded.limit.checked_sub(exceeded.used).unwrap_or_default();
    let until = exceeded.resets_at.map(|at| at.to_string());
    let text = currency.text(left);
    match until {
        Some(until) if left.is_zero() || exceeded.kind.is_count() => {
            format!("As it is, nothing more is paid until {until}")
        }
        Some(until) => format!("As it is, at most {} {} until {until}", text.as_str(), currency.code),
        None => format!("As it is, at most {} {} at once", text.as_str(), currency.code),
    }
}

/// Whether it is for a guardian to say: what is beyond the limits of somebody in care is not out of the question.
pub(super) fn is_guarded(payer: &WalletEntry, refusal: &Refusal) -> bool {
    let Refusal::LimitExceeded { limit: LimitOf { exceeded, .. } } = refusal else { return false };
    payer.row.profile == Profile::Consentida && !exceeded.is_inherited
}
