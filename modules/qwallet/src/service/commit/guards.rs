//! Whether payments that others have to approve are approved, and go to whom the payer's list allows.
//!
//! The rules and the list of a wallet change only while its accounts are locked, and what approvers decide about an intent only while
//! the intent is: both are locked by the commit that pays, so what is read here is what holds.

use std::collections::{HashMap, hash_map::Entry};

use q_core::{Amount, Did, Timestamp};
use q_db::{DbError, Tx};
use qwallet_api::{IntentId, WalletId};

use super::{Action, Work};
use crate::{
    domain::{account::AccountId, approvals::Rule, books::Books, payment::Refusal, transfer::Leg},
    service::{
        ballots::{in_favour, made_since},
        profiles::NOT_ALLOWED,
    },
    store,
};

/// The rules of the accounts that pay, and who approved the intents that are signed.
#[derive(Debug, Default)]
pub(super) struct Guards {
    rules: HashMap<AccountId, Rule>,
    /// By the intent or withdrawal.
    approved: HashMap<[u8; 16], Vec<Did>>,
    /// Those who approved since a parent or guardian was asked about what is beyond the limits of the wallet.
    answered: HashMap<[u8; 16], Vec<Did>>,
    /// The only wallets that may be paid from these accounts, and whose the accounts are that are paid.
    allowed: HashMap<AccountId, Vec<WalletId>>,
    payees: HashMap<AccountId, WalletId>,
}

impl Guards {
    /// Reads what the commands need, once their accounts and intents are locked.
    pub(super) fn load(
        tx: &mut Tx<'_>,
        books: &Books,
        works: &[Work],
        now: Timestamp,
    ) -> Result<Self, DbError> {
        let mut guards = Self::default();
        let is_guarded = |id: &AccountId| books.account(*id).is_some_and(|account| account.is_guarded);
        for work in works {
            let givers: Vec<AccountId> = match &work.action {
                Action::Pay(item) | Action::Sign { item, .. } => {
                    debits(&item.legs).filter(is_guarded).collect()
                }
                Action::Batch(batch) => {
                    let legs = batch.items.iter().flatten().flat_map(|item| &item.legs);
                    legs.map(|leg| leg.debit).filter(is_guarded).collect()
                }
                Action::Record(record) => record.accounts().into_iter().filter(is_guarded).collect(),
                _ => continue,
            };
            let is_under_rules = !givers.is_empty();
            let mut has_list = false;
            for giver in givers {
                if let Entry::Vacant(place) = guards.rules.entry(giver) {
                    let (rules, allowed) = store::approvals::of_account(tx, giver)?;
                    place.insert(rules.at(now).clone());
                    if let Some(allowed) = allowed {
                        guards.allowed.insert(giver, allowed);
                    }
                }
                has_list |= guards.allowed.contains_key(&giver);
            }
            if has_list {
                let payees: Vec<AccountId> = match &work.action {
                    Action::Pay(item) | Action::Sign { item, .. } => credits(&item.legs).collect(),
                    Action::Batch(batch) => {
                        batch.items.iter().flatten().flat_map(|item| credits(&item.legs)).collect()
                    }
                    Action::Record(record) => record.accounts(),
                    _ => Vec::new(),
                };
                guards.payees.extend(store::wallets::of_accounts(tx, &payees)?);
            }
            let (id, decisions) = match &work.action {
                Action::Sign { intent, guardians, .. } if is_under_rules || !guardians.is_empty() => {
                    (intent.bytes(), store::approvals::decisions(tx, *intent)?)
                }
                Action::Record(record) if is_under_rules => match record.approved_as() {
                    Some(id) => (id.bytes(), store::waiting_withdrawals::decisions(tx, id)?),
                    None => continue,
                },
                _ => continue,
            };
            if let Action::Sign { intent, guardians, .. } = &work.action
                && !guardians.is_empty()
                && let Some(since) = store::guardians::asked_since(tx, *intent)?
            {
                let answers = in_favour(made_since(&decisions, since)).cloned().collect();
                guards.answered.insert(id, answers);
            }
            let approved = decisions.into_iter().filter(|decision| decision.is_approved);
            guards.approved.insert(id, approved.map(|decision| decision.approver).collect());
        }
        Ok(guards)
    }

    /// Whether one of `guardians` approved that the intent, which is locked, is beyond the limits: what somebody approved who
    /// was asked because of a rule lifts none.
    pub(super) fn is_approved_by(&self, intent: IntentId, guardians: &[Did]) -> bool {
        let approved = self.answered.get(&intent.bytes());
        approved.is_some_and(|approved| guardians.iter().any(|guardian| approved.contains(guardian)))
    }

    /// Whether what `legs` spend goes to whom it may, and is together approved, where it has to be: as this intent or
    /// withdrawal.
    pub(super) fn check<'a>(
        &self,
        books: &Books,
        legs: impl Iterator<Item = &'a Leg>,
        approved_as: Option<[u8; 16]>,
    ) -> Result<(), Refusal> {
        if self.rules.is_empty() {
            return Ok(());
        }
        let legs: Vec<&Leg> = legs.filter(|leg| leg.purpose.is_spending()).collect();
        for leg in &legs {
            // What the house takes for somebody else is asked about where it is known for whom.
            let Some((allowed, payee)) = self.allowed.get(&leg.debit).zip(self.payees.get(&leg.credit))
            else {
                continue;
            };
            if !allowed.contains(payee) {
                return Err(Refusal::Profile(NOT_ALLOWED));
            }
        }
        let mut spent: HashMap<AccountId, Amount> = HashMap::new();
        for leg in legs.into_iter().filter(|leg| self.rules.contains_key(&leg.debit)) {
            let sum = spent.entry(leg.debit).or_default();
            *sum = Amount::from_units(sum.units().saturating_add(leg.amount.units()));
        }
        for (account, amount) in spent {
            let (Some(rule), Some(account)) = (self.rules.get(&account), books.account(account)) else {
                continue;
            };
            if !rule.concerns(account.currency, amount) {
                continue;
            }
            let by = approved_as.and_then(|id| self.approved.get(&id));
            let given = rule.count(by.into_iter().flatten());
            if given < rule.required() && account.is_frozen {
                return Err(Refusal::WalletFrozen);
            }
            if given < rule.required() {
                return Err(Refusal::ApprovalRequired { given, required: rule.required() });
            }
        }
        Ok(())
    }
}

fn credits(legs: &[Leg]) -> impl Iterator<Item = AccountId> {
    legs.iter().map(|leg| leg.credit)
}

fn debits(legs: &[Leg]) -> impl Iterator<Item = AccountId> {
    legs.iter().map(|leg| leg.debit)
}
