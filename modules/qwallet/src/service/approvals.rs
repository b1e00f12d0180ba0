//! Payments that others have to approve: the rules of a wallet, and what approvers decide about its intents.
//!
//! **Invariant:** whether enough approved is decided where the money is held, in the executor's commit; what is said
//! here before is for people.

use std::{collections::HashMap, sync::Arc};

use q_auth::directory::DirectoryError;
use q_core::{Amount, AmountText, AuditEntry, Caller, Did, Page, RequestKey, Timestamp};
use q_db::{DbError, Tx};
use qwallet_api::{
    ApprovalRule, DecideIntentRequest, Intent, IntentApprovals, IntentId, ListApprovalsRequest, PendingRule,
    SetApprovalsRequest, WalletApprovals, WalletId, events,
    signing::{self, APPROVALS_TYP, ApprovalsOrder},
};

use super::{
    Service,
    ballots::{Answer, Ballot, against, in_favour, made_since, told},
    commit::{Action, Outcome, Work},
    directory::WalletEntry,
    guardians::{LIMITS, REQUIRED, RULE},
    record::{Decision, Moment, Record, RecordKey, RecordTable, Step},
    request_of,
};
use crate::{
    domain::{
        account::AccountId,
        approvals::{Rule, RuleFault, Rules},
        currency::Currency,
        payment::{self, Refusal},
    },
    error::Error,
    store::{
        self,
        approvals::DecisionRow,
        intents::{IntentRow, IntentStatus},
    },
};

/// The most signatures looked at under one change.
const SIGNATURES_MAX: usize = qwallet_api::APPROVERS_MAX;

impl Service {
    /// The rules of a wallet, for its owner, those who may read it, and its approvers.
    pub async fn approvals(&self, caller: &Caller, name: &str) -> Result<WalletApprovals, Error> {
        let wallet = self.directory.find(name).await?.ok_or(Refusal::WalletNotFound)?;
        let rules = self.rules_of(&wallet).await?;
        let is_approver = caller.did().is_some_and(|did| rules.everybody().contains(did));
        if !is_approver && !self.may_read_once(caller, &wallet).await? {
            return Err(Refusal::WalletNotFound.into());
        }
        Ok(self.rules_answer(&wallet, &rules))
    }

    /// Changes the rules of the caller's wallet.
    pub async fn set_approvals(
        &self,
        caller: &Caller,
        key: Option<&RequestKey>,
        asked: SetApprovalsRequest,
    ) -> Result<WalletApprovals, Error> {
        let did = caller.did().ok_or(Refusal::WalletNotFound)?;
        let wallet = self.directory.find(&asked.squid_id).await?;
        let wallet = wallet.filter(|wallet| wallet.row.owner == *did).ok_or(Refusal::WalletNotFound)?;
        let wanted = Rule::read(&asked.rule, did).map_err(|fault| match fault {
            RuleFault::Refused(refusal) => refusal.into(),
            RuleFault::Oneself => Error::SelfApproval(did.to_string()),
        })?;
        if asked.signatures.len() > SIGNATURES_MAX {
            return Err(Refusal::Malformed("signatures").into());
        }
        for approver in wanted.approvers() {
            self.check_approver(approver, did).await?;
        }
        let input = self.rule_input(&wallet, &asked.rule, asked.replaces);
        let mut signers: Vec<Did> = Vec::new();
        for signature in &asked.signatures {
            let signer =
                self.signer_of(signature, APPROVALS_TYP, &input).await?.map_err(Refusal::Signature)?;
            if !signers.contains(&signer) {
                signers.push(signer);
            }
        }
        let accounts = wallet.accounts.accounts.iter().map(|(_, account)| *account).collect();
        let change = RuleChange {
            wallet: wallet.row.id,
            owner: did.clone(),
            accounts,
            replaces: asked.replaces,
            wanted,
            signers,
            signatures: asked.signatures,
        };
        let work = Work {
            request: request_of(did.as_str(), key),
            nonce: None,
            expires_at: None,
            order: None,
            action: Action::Record(Arc::new(change)),
        };
        match self.executor.submit(work).await? {
            Outcome::Done(_) | Outcome::Replayed(_) => {
                let rules = self.rules_of(&wallet).await?;
                Ok(self.rules_answer(&wallet, &rules))
            }
            Outcome::Refused(refusal) => Err(refusal.into()),
        }
    }

    /// Takes what an approver decided about an intent.
    pub async fn decide_intent(
        &self,
        key: Option<&RequestKey>,
        asked: DecideIntentRequest,
    ) -> Result<Intent, Error> {
        let id = asked.intent_id;
        let row = self.db.read(move |reader| store::intents::find(reader, id)).await?;
        let row = row.ok_or(Refusal::IntentNotFound)?;
        let wallet = self.directory.find(&row.wallet.to_string()).await?;
        let wallet = wallet.ok_or(Error::Inconsistent("a wallet"))?;
        let currency = Currency::by_id(row.currency).ok_or(Error::Inconsistent("a currency"))?;
        let input = self.intent_input(&row, &wallet.row.reference, currency);
        let answer = Answer { decision: &asked.decision, signature: asked.signature };
        let ballot = self.ballot(answer, &input, &row.payer).await?;
        let guardians = self.guardians_of(&wallet).await?;
        let decided = self.db.write_once(key, move |tx| decide(tx, &row, &ballot, &guardians));
        decided.await?;
        let row = self.db.read(move |reader| store::intents::find(reader, id)).await?;
        let row = row.ok_or(Refusal::IntentNotFound)?;
        self.intent_answer(&Caller::Anonymous, &row, &wallet).await
    }

    /// The pending intents that wait for the caller's approval.
    pub async fn waiting_for(
        &self,
        caller: &Caller,
        asked: ListApprovalsRequest,
    ) -> Result<Page<Intent>, Error> {
        let did = caller.did().ok_or(Refusal::WalletNotFound)?.clone();
        let before = match asked.cursor {
            Some(cursor) => cursor.parse().map_err(|_| Refusal::Malformed("cursor"))?,
            None => IntentId::from_bytes([0xff; 16]),
        };
        let count = asked.limit.rows();
        let of = did.clone();
        let rows = self.db.read(move |reader| store::approvals::waiting(reader, &of, before, count)).await?;
        let is_full = rows.len() == usize::try_from(count).unwrap_or(usize::MAX);
        let next_cursor = rows.last().filter(|_| is_full).map(|row| row.id.to_string());
        let mut items = Vec::with_capacity(rows.len());
        for row in &rows {
            let wallet = self.directory.find(&row.wallet.to_string()).await?;
            let wallet = wallet.ok_or(Error::Inconsistent("a wallet"))?;
            let intent = self.intent_answer(caller, row, &wallet).await?;
            let waits = intent.approvals.as_ref().is_some_and(|approvals| {
                approvals.given < approvals.required
                    && approvals.approvers.contains(&did)
                    && approvals.decisions.iter().all(|decision| decision.approver != did)
            });
            if waits && row.expires_at > self.env.now() {
                items.push(intent);
            }
        }
        Ok(Page { items, next_cursor })
    }

    /// How far intents of one wallet are approved, for those that have to be.
    pub(super) async fn approvals_of(
        &self,
        rows: &[IntentRow],
        wallet: &WalletEntry,
    ) -> Result<HashMap<IntentId, IntentApprovals>, Error> {
        let (id, owner, is_below) = (wallet.row.id, wallet.row.owner.clone(), wallet.is_below_another());
        let ids: Vec<IntentId> = rows.iter().map(|row| row.id).collect();
        let found = self.db.read(move |reader| {
            let rules = store::approvals::rules(reader, id, &owner)?;
            if rules.version == 0 && !is_below {
                return Ok::<_, DbError>(None);
            }
            let mut asked = HashMap::new();
            for id in ids.iter().filter(|_| is_below) {
                if let Some(since) = store::guardians::asked_since(reader, *id)? {
                    asked.insert(*id, since);
                }
            }
            Ok(Some((rules, store::approvals::decisions_of(reader, &ids)?, asked)))
        });
        let Some((rules, mut decided, asked)) = found.await? else { return Ok(HashMap::new()) };
        let guardians = if asked.is_empty() { Vec::new() } else { self.guardians_of(wallet).await? };
        let rule = rules.at(self.env.now());
        let mut answers = HashMap::new();
        for row in rows {
            let decisions = decided.remove(&row.id).unwrap_or_default();
            let is_concerned = rule.concerns(row.currency, amount_of(row)?);
            // The wallet's own rule first: who is beyond the limits too asks the parent or guardians next.
            let is_ruled = is_concerned && rule.count(in_favour(&decisions)) < rule.required();
            if let Some(since) = asked.get(&row.id).filter(|_| !is_ruled) {
                let given = in_favour(made_since(&decisions, *since));
                let given = given.filter(|did| guardians.contains(did)).count();
                let given = u8::try_from(given).unwrap_or(u8::MAX).min(REQUIRED);
                let how = (LIMITS, given, REQUIRED);
                answers.insert(row.id, self.approvals_answer(row, how, guardians.clone(), decisions));
            } else if is_concerned || !decisions.is_empty() {
                let how = (RULE, rule.count(in_favour(&decisions)), rule.required());
                let approvers = rule.approvers().iter().cloned().collect();
                answers.insert(row.id, self.approvals_answer(row, how, approvers, decisions));
            }
        }
        Ok(answers)
    }

    fn approvals_answer(
        &self,
        row: &IntentRow,
        (because, given, required): (&str, u8, u8),
        approvers: Vec<Did>,
        decisions: Vec<DecisionRow>,
    ) -> IntentApprovals {
        IntentApprovals {
            because: because.to_owned(),
            given,
            required,
            approvers,
            decisions: decisions.into_iter().map(told).collect(),
            link: self.intent_link(row),
        }
    }

    /// Where a person reads what is to be approved.
    pub(super) fn intent_link(&self, row: &IntentRow) -> String {
        format!("{}/qwallet/a/{}/{}", self.instance.origin, row.id, row.nonce)
    }

    /// The refusal of a payment without an intent, unless it has to be approved: that is said before.
    pub(super) async fn approvals_first(
        &self,
        refusal: Refusal,
        payer: Option<&WalletEntry>,
        currency: &str,
        amount: &AmountText,
    ) -> Result<Refusal, Error> {
        let is_later = matches!(
            refusal,
            Refusal::StepUpRequired { .. } | Refusal::Quote(_) | Refusal::FeesExceedMaximum
        );
        let (true, Some(payer)) = (is_later, payer) else { return Ok(refusal) };
        let (currency, amount) = payment::read_amount(currency, amount)?;
        let rules = self.rules_of(payer).await?;
        let rule = rules.at(self.env.now());
        if rule.concerns(currency.id, amount) {
            return Ok(Refusal::ApprovalRequired { given: 0, required: rule.required() });
        }
        Ok(refusal)
    }

    pub(super) async fn rules_of(&self, wallet: &WalletEntry) -> Result<Rules, DbError> {
        let (id, owner) = (wallet.row.id, wallet.row.owner.clone());
        self.db.read(move |reader| store::approvals::rules(reader, id, &owner)).await
    }

    /// Whether an identity may be named as an approver of `owner`: it exists, and the owner neither made it nor
    /// acts for it.
    async fn check_approver(&self, approver: &Did, owner: &Did) -> Result<(), Error> {
        match self.keys.standing(approver).await {
            Ok(standing)
                if [&standing.parent, &standing.root].contains(&&Some(owner.clone()))
                    || standing.guardians.contains(owner) =>
            {
                Err(Error::SelfApproval(approver.to_string()))
            }
            Ok(_) => Ok(()),
            Err(error @ DirectoryError::Unavailable(_)) => Err(error.into()),
            Err(_) => Err(Error::NotAnApprover(approver.to_string())),
        }
    }

    fn rules_answer(&self, wallet: &WalletEntry, rules: &Rules) -> WalletApprovals {
        let now = self.env.now();
        let pending = rules.pending.as_ref().filter(|(_, from)| *from > now);
        WalletApprovals {
            wallet_ref: wallet.row.reference.clone(),
            version: rules.version,
            rule: rules.at(now).to_wire(),
            pending: pending.map(|(rule, from)| PendingRule { rule: rule.to_wire(), effective_at: *from }),
        }
    }

    fn rule_input(&self, wallet: &WalletEntry, rule: &ApprovalRule, replaces: u32) -> Vec<u8> {
        signing::signing_input(&ApprovalsOrder {
            above: &rule.above,
            approvers: &rule.approvers,
            aud: self.instance.did.as_str(),
            replaces,
            required: rule.required,
            v: 1,
            wallet: &wallet.row.reference,
        })
    }
}

fn amount_of(row: &IntentRow) -> Result<Amount, Error> {
    let currency = Currency::by_id(row.currency).ok_or(Error::Inconsistent("a currency"))?;
    currency.read(&row.amount).map_err(|_| Error::Inconsistent("an amount"))
}

/// Keeps an answer about an intent, which is cancelled when it cannot be approved any more.
fn decide(tx: &mut Tx<'_>, row: &IntentRow, ballot: &Ballot, guardians: &[Did]) -> Result<(), Error> {
    let id = row.id;
    match store::intents::lock_status(tx, id)? {
        Some(IntentStatus::Pending) => {}
        Some(IntentStatus::Expired) => return Err(Refusal::Expired.into()),
        Some(status) => return Err(Refusal::InvalidState(status.name()).into()),
        None => return Err(Refusal::IntentNotFound.into()),
    }
    let now = tx.now();
    if row.expires_at + tx.paused_between(row.created_at, now)? <= now {
        return Err(Refusal::Expired.into());
    }
    let rules = store::approvals::rules(tx, row.wallet, &row.payer)?;
    let rule = rules.at(now);
    let (is_approver, is_guardian) = (rule.approvers().contains(&ballot.by), guardians.contains(&ballot.by));
    if !is_guardian && !is_approver {
        return Err(Error::NotAnApprover(ballot.by.to_string()));
    }
    let is_ruled = is_approver && rule.concerns(row.currency, amount_of(row)?);
    let is_asked = is_guardian && store::guardians::asked_since(tx, id)?.is_some();
    if !is_ruled && !is_asked {
        return Err(Refusal::InvalidState("free to be signed without approval").into());
    }
    let decision = ballot.after(&store::approvals::decisions(tx, id)?, now)?;
    store::approvals::decide(tx, id, &decision)?;
    let decisions = store::approvals::decisions(tx, id)?;
    let is_vetoed = is_asked
        && guardians.iter().all(|guardian| against(&decisions).any(|did| did == guardian))
        || is_ruled && rule.is_out_of_reach(rule.count(against(&decisions)));
    let (given, required) = if is_ruled {
        (rule.count(in_favour(&decisions)), rule.required())
    } else {
        (u8::from(ballot.is_approved), REQUIRED)
    };
    let wallet_id = row.wallet;
    if ballot.is_approved {
        let approver = ballot.by.clone();
        tx.emit(&events::IntentApproved { intent_id: id, wallet_id, approver, given, required })?;
    } else if is_vetoed {
        store::intents::advance(tx, id, IntentStatus::Pending, IntentStatus::Cancelled, None)?;
        let reason = "REJECTED".to_owned();
        tx.emit(&events::IntentCancelled { intent_id: id, wallet_id, reason })?;
    }
    let action = if ballot.is_approved { "intent.approve" } else { "intent.reject" };
    let facts = serde_json::json!({ "given": given, "required": required });
    tx.audit(AuditEntry::change(action, Some(&ballot.by), id).details(facts))?;
    Ok(())
}

/// A change of the rules of a wallet. It goes through the executor, which remembers accounts on a file.
#[derive(Debug)]
struct RuleChange {
    wallet: WalletId,
    owner: Did,
    accounts: Vec<AccountId>,
    replaces: u32,
    wanted: Rule,
    signers: Vec<Did>,
    signatures: Vec<String>,
}

impl Record for RuleChange {
    fn key(&self) -> RecordKey {
        RecordKey(RecordTable::Approvals, self.wallet.bytes())
    }

    fn lock(&self, tx: &mut Tx<'_>) -> Result<(), DbError> {
        store::approvals::lock(tx, self.wallet)
    }

    fn accounts(&self) -> Vec<AccountId> {
        self.accounts.clone()
    }

    fn decide(&self, tx: &mut Tx<'_>, moment: Moment) -> Result<Result<Decision<'_>, Refusal>, DbError> {
        let rules = store::approvals::rules(tx, self.wallet, &self.owner)?;
        if rules.version != self.replaces {
            return Ok(Err(Refusal::Record {
                code: &qwallet_api::errors::APPROVALS_CHANGED,
                detail: "another version holds now: read it, and ask again for a change of it",
            }));
        }
        let present = rules.at(moment.at);
        if self.signers.iter().any(|signer| !present.approvers().contains(signer)) {
            return Ok(Err(Refusal::Record {
                code: &qwallet_api::errors::NOT_AN_APPROVER,
                detail: "a signer is none of the present approvers",
            }));
        }
        let changed = rules.changed(self.wanted.clone(), present.count(&self.signers), moment.at);
        let write = move |tx: &mut Tx<'_>, moment: Moment| write_rules(tx, self, &rules, &changed, moment.at);
        let steps = self.accounts.iter().map(|account| Step::Guard(*account)).collect();
        Ok(Ok(Decision { steps, answer: self.wallet.bytes(), write: Box::new(write) }))
    }
}

fn write_rules(
    tx: &mut Tx<'_>,
    change: &RuleChange,
    before: &Rules,
    rules: &Rules,
    at: Timestamp,
) -> Result<(), DbError> {
    store::approvals::set(tx, change.wallet, rules, at)?;
    let facts = serde_json::json!({
        "version": rules.version,
        "rule": change.wanted.to_wire(),
        "effectiveAt": rules.pending.as_ref().map(|(_, from)| from.to_string()),
        "signers": change.signers,
        "signatures": change.signatures,
    });
    tx.audit(AuditEntry::change("wallet.approvals", Some(&change.owner), change.wallet).details(facts))?;
    // Whoever approves today learns that it will take less tomorrow.
    let approvers = before.everybody().union(&rules.everybody()).map(|did| (*did).clone()).collect();
    tx.emit(&events::ApprovalsChanged {
        wallet_id: change.wallet,
        version: rules.version,
        approvers,
        effective_at: rules.pending.as_ref().map_or(at, |(_, from)| *from),
    })?;
    Ok(())
}
