//! Payments beyond a wallet's own limits: its parent or a guardian approves one of them, once.
//!
//! **Invariant:** what is approved is one intent, by a signature over exactly what its payer signs. The parent's limits
//! and the most that one payment may be hold all the same.

use q_core::{Caller, Did, RequestKey};
use q_db::DbError;
use qwallet_api::{AskedIntent, AskedIntentPath, IntentApprovals, IntentId, events};

use super::{Service, ballots::in_favour, beyond::Spending, directory::WalletEntry, payments::fees};
use crate::{
    domain::{
        currency::Currency,
        limits,
        payment::{LimitOf, Plan, Refusal},
        profile::Profile,
    },
    error::Error,
    store::{self, intents::IntentRow, money_requests::MoneyRequestRow},
};

/// How many parents or guardians have to approve.
pub(super) const REQUIRED: u8 = 1;

/// Why approvals are needed: what the wallet's owner has approved.
pub(crate) const RULE: &str = "rule";

/// Why approvals are needed: the wallet's own limits.
pub(crate) const LIMITS: &str = "limits";

/// How long a payment waits that was asked for without an intent, in seconds: a person has to find the time.
const WAITS: u32 = 86_400;

/// A payment without an intent that the limits of its wallet refuse.
pub(super) struct Refused<'a> {
    pub payer: &'a WalletEntry,
    pub recipient: &'a WalletEntry,
    /// As it was named.
    pub name: &'a str,
    pub plan: &'a Plan,
    pub purpose: Option<&'a str>,
    /// The request for money that it would fulfil.
    pub request: Option<&'a MoneyRequestRow>,
}

impl Service {
    /// Who may approve what is beyond a wallet's own limits: its parent, and the guardians of somebody in care. Nobody of
    /// other wallets.
    pub(super) async fn guardians_of(&self, wallet: &WalletEntry) -> Result<Vec<Did>, Error> {
        let mut guardians: Vec<Did> = wallet.parent_owner.iter().cloned().collect();
        if wallet.row.profile == Profile::Consentida {
            guardians.extend(self.keys.standing(&wallet.row.owner).await?.guardians.iter().cloned());
        }
        guardians.retain(|guardian| *guardian != wallet.row.owner);
        guardians.sort_unstable();
        guardians.dedup();
        Ok(guardians)
    }

    /// Which of those who decided in favour are parent or guardians of the wallet now.
    pub(super) async fn approving_guardians<'a>(
        &self,
        wallet: &WalletEntry,
        mut in_favour: impl Iterator<Item = &'a Did>,
    ) -> Result<Vec<Did>, Error> {
        let Some(first) = in_favour.next().filter(|_| wallet.is_below_another()) else {
            return Ok(Vec::new());
        };
        let mut guardians = self.guardians_of(wallet).await?;
        let in_favour: Vec<&Did> = std::iter::once(first).chain(in_favour).collect();
        guardians.retain(|guardian| in_favour.contains(&guardian));
        Ok(guardians)
    }

    /// Whether a refusal is one that a parent or guardian may approve.
    fn is_theirs_to_approve(&self, payer: &WalletEntry, refusal: &Refusal) -> bool {
        let Refusal::LimitExceeded { limit: LimitOf { currency: Some(currency), exceeded } } = refusal else {
            return false;
        };
        let is_count = exceeded.kind.is_count();
        let may_be_paid =
            is_count || limits::check_cap(&self.defaults_of(currency), exceeded.attempted).is_ok();
        payer.is_below_another() && !exceeded.is_inherited && may_be_paid
    }

    /// Who is to be asked about a payment, by what its wallet spent until now.
    pub(super) async fn to_be_asked(
        &self,
        payer: &WalletEntry,
        recipient: &WalletEntry,
        plan: &Plan,
    ) -> Result<Vec<Did>, Error> {
        if !payer.is_below_another() {
            return Ok(Vec::new());
        }
        match self.beyond_limits(payer, recipient, (plan.currency, plan.amount)).await? {
            Some(refusal) if self.is_theirs_to_approve(payer, &refusal) => self.guardians_of(payer).await,
            _ => Ok(Vec::new()),
        }
    }

    /// The error of an intent that the books refuse. Where a parent or guardian may approve it, they are asked, and the
    /// error has the link that they open.
    pub(super) async fn unless_approved(
        &self,
        row: &IntentRow,
        payer: &WalletEntry,
        refusal: Refusal,
    ) -> Result<Error, Error> {
        let told = self.refused_as(Spending::Payment, refusal, payer).await;
        if !self.is_theirs_to_approve(payer, &refusal) {
            return Ok(told);
        }
        let guardians = self.guardians_of(payer).await?;
        if guardians.is_empty() {
            return Ok(told);
        }
        let id = row.id;
        let asked = self.db.write(move |tx| store::guardians::ask(tx, id, &guardians));
        asked.await?;
        self.waiting(row, payer, refusal).await
    }

    /// The error of a payment without an intent that the books refuse. Where a parent or guardian may approve it, an
    /// intent of it is made, unless one waits already: that is what they are asked about, and what is signed then. So it is
    /// where a rule asks for approvals of what fulfils a request, because no intent that is made by hand would do that.
    pub(super) async fn ask_instead(&self, asked: Refused<'_>, refusal: Refusal) -> Result<Error, Error> {
        let told = self.refused_as(Spending::Payment, refusal, asked.payer).await;
        let Refused { payer, recipient, name, plan, purpose, request } = asked;
        let is_under_rule = request.is_some() && matches!(refusal, Refusal::ApprovalRequired { .. });
        let guardians = if self.is_theirs_to_approve(payer, &refusal) {
            self.guardians_of(payer).await?
        } else {
            Vec::new()
        };
        if guardians.is_empty() && !is_under_rule {
            return Ok(told);
        }
        let (ids, amount) = ((payer.row.id, recipient.row.id), plan.currency.text(plan.amount));
        let (currency, now) = (plan.currency.id, self.env.now());
        let fulfils = request.map(|request| request.id);
        let found = self.db.read(move |reader| {
            let asked = (amount.as_str(), currency);
            let Some(row) = store::guardians::find_same(reader, ids, asked, fulfils, now)? else {
                return Ok::<_, DbError>(None);
            };
            let since = store::guardians::asked_since(reader, row.id)?;
            Ok(Some((row, since.is_some())))
        });
        // The same is also for the same: people approve what they read.
        let same = match found.await? {
            Some((row, is_asked)) if self.purpose_of(&row)?.as_deref() == purpose => Some((row, is_asked)),
            _ => None,
        };
        let row = if let Some((row, is_asked)) = same {
            let id = row.id;
            if !is_asked && !guardians.is_empty() {
                self.db.write(move |tx| store::guardians::ask(tx, id, &guardians)).await?;
            }
            row
        } else {
            let row = self.new_intent((payer, recipient), name.to_owned(), plan, purpose, WAITS);
            let lapses_at = request.and_then(|request| request.expires_at);
            let expires_at = lapses_at.map_or(row.expires_at, |at| at.min(row.expires_at));
            let row = IntentRow { request: fulfils, expires_at, ..row };
            self.made(None, row.clone(), guardians).await?;
            row
        };
        if !is_under_rule {
            return self.waiting(&row, payer, refusal).await;
        }
        let approvals = self.approvals_of(std::slice::from_ref(&row), payer).await?.remove(&row.id);
        Ok(approvals.map_or(told, |IntentApprovals { given, required, link, .. }| Error::Unapproved {
            given,
            required,
            intent: row.id,
            link,
        }))
    }

    /// What an intent is for.
    pub(super) fn purpose_of(&self, row: &IntentRow) -> Result<Option<String>, Error> {
        self.unseal("intents", "purpose", &row.id.to_string(), row.purpose.as_deref())
    }

    /// What is said of an intent that waits for a parent or guardian.
    async fn waiting(&self, row: &IntentRow, payer: &WalletEntry, refusal: Refusal) -> Result<Error, Error> {
        let id = row.id;
        let found = self.db.read(move |reader| {
            let since = store::guardians::asked_since(reader, id)?;
            let mut decisions = store::approvals::decisions(reader, id)?;
            decisions.retain(|decision| since.is_some_and(|since| decision.at >= since));
            Ok::<_, DbError>(decisions)
        });
        let answers = found.await?;
        let given = self.approving_guardians(payer, in_favour(&answers)).await?.len();
        let kind = match refusal {
            Refusal::LimitExceeded { limit } => limit.exceeded.kind.name(),
            _ => "own",
        };
        Ok(Error::BeyondLimits { kind, intent: id, is_approved: given > 0, link: self.intent_link(row) })
    }

    /// Stores an intent; the one that was stored under the same key before where there is one.
    pub(super) async fn made(
        &self,
        key: Option<&RequestKey>,
        row: IntentRow,
        guardians: Vec<Did>,
    ) -> Result<IntentId, Error> {
        let made = self.db.write_once(key, move |tx| {
            store::intents::insert(tx, &row)?;
            store::guardians::ask(tx, row.id, &guardians)?;
            let (intent_id, wallet_id, expires_at) = (row.id, row.wallet, row.expires_at);
            tx.emit(&events::IntentCreated { intent_id, wallet_id, expires_at })?;
            Ok::<_, Error>(intent_id)
        });
        Ok(made.await?.value)
    }

    /// What whoever has the link of a payment sees that others are to approve.
    pub async fn asked_intent(&self, asked: AskedIntentPath) -> Result<AskedIntent, Error> {
        let id = asked.intent_id;
        let row = self.db.read(move |reader| store::intents::find(reader, id)).await?;
        // The nonce is told to nobody but the payer and those who approve: whoever knows the id alone sees nothing.
        let row = row.filter(|row| row.nonce == asked.code).ok_or(Refusal::IntentNotFound)?;
        let wallet = self.directory.find(&row.wallet.to_string()).await?;
        let wallet = wallet.ok_or(Error::Inconsistent("a wallet"))?;
        let intent = self.intent_answer(&Caller::Anonymous, &row, &wallet).await?;
        let approvals = intent.approvals.ok_or(Refusal::IntentNotFound)?;
        let currency = Currency::by_id(row.currency).ok_or(Error::Inconsistent("a currency"))?;
        Ok(AskedIntent {
            intent_id: row.id,
            status: intent.status,
            payer: row.payer,
            wallet: intent.wallet,
            amount: row.amount,
            currency: intent.currency,
            fees: fees(currency, row.fees),
            recipient: row.recipient,
            purpose: intent.purpose,
            because: approvals.because,
            given: approvals.given,
            required: approvals.required,
            expires_at: row.expires_at,
        })
    }
}
