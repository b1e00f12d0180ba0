//! Withdrawals that others have to approve: the signed order is kept, and carried out when enough have approved it.
//!
//! **Invariant:** whether enough approved is decided where the money is held, in the executor's commit; what is said here
//! before is for people.

use q_core::{AuditEntry, Caller, Did, RequestKey};
use q_db::{DbError, Tx};
use qwallet_api::{
    DecideWithdrawalRequest, IntentApprovals, RailWithdrawal, TransactionId, Withdrawal, WithdrawalList,
    WithdrawalRequest, errors, signing::PAYMENT_TYP,
};

use super::withdrawals::{Plan, order_input};
use crate::{
    domain::{
        currency::Currency,
        order::SignatureFault,
        payment::{Refusal, StepUp},
        rails::WaitingStatus,
    },
    error::Error,
    service::{
        Service,
        ballots::{Answer, against, in_favour, told},
        commit::Outcome,
        payments::{fees, text},
        unexpected,
    },
    store::{self, waiting_withdrawals::WaitingRow},
};

/// What is held already.
const ON_ITS_WAY: Refusal = Refusal::Record {
    code: &errors::INVALID_STATE,
    detail: "only what waits for approvals is taken back; this is held and on its way, and GET /withdrawals/{withdrawalId} \
             tells where it is",
};

/// What waited until its order lapsed.
const LAPSED: Refusal = Refusal::Record {
    code: &errors::INVALID_STATE,
    detail: "it lapsed with its order and holds nothing; for another one sign a new order, POST /withdrawals",
};

/// What was rejected or taken back before.
const CANCELLED: Refusal = Refusal::Record {
    code: &errors::INVALID_STATE,
    detail: "it was cancelled before and holds nothing; for another one sign a new order, POST /withdrawals",
};

impl Service {
    /// Whether others have to approve it first.
    pub(super) async fn is_to_be_approved(&self, plan: &Plan) -> Result<bool, Error> {
        let currency = plan.currency.id;
        Ok(self.rules_of(&plan.wallet).await?.at(self.env.now()).concerns(currency, plan.amount))
    }

    /// The withdrawal that an order was kept as. One nonce is one order.
    pub(super) async fn kept(&self, asked: &WithdrawalRequest) -> Result<Option<Withdrawal>, Error> {
        let (payer, nonce) = (asked.payer.clone(), asked.nonce.clone());
        let find = move |reader: &mut q_db::Reader<'_>| {
            store::waiting_withdrawals::find_order(reader, &payer, &nonce)
        };
        let Some(row) = self.db.read(find).await? else { return Ok(None) };
        if self.kept_order(&row)? != *asked {
            return Err(Refusal::Signature(SignatureFault::NonceSpent).into());
        }
        // Who asks again may have money by now, or a rail that is up.
        self.carry_out_if_approved(row.id).await?;
        self.waiting_withdrawal(row.id).await.map(Some)
    }

    /// Keeps an order until it is approved.
    pub(super) async fn keep_waiting(
        &self,
        key: Option<&RequestKey>,
        asked: &WithdrawalRequest,
        plan: &Plan,
    ) -> Result<Withdrawal, Error> {
        let id = TransactionId::new(&self.env);
        let document = serde_json::to_string(asked).map_err(DbError::from)?;
        let now = self.env.now();
        let row = WaitingRow {
            id,
            wallet: plan.wallet.row.id,
            payer: asked.payer.clone(),
            nonce: asked.nonce.clone(),
            document: self.seal("waiting_withdrawals", "document", &id.to_string(), &document),
            currency: plan.currency.id,
            amount: plan.amount,
            fees: plan.fees,
            status: WaitingStatus::Waiting,
            reason: None,
            made_at: now,
            expires_at: asked.expires_at.parse().map_err(|_| Refusal::Malformed("expiresAt"))?,
            changed_at: now,
        };
        let rail = asked.rail.clone();
        let kept = self.db.write_once(key, move |tx| {
            store::waiting_withdrawals::insert(tx, &row)?;
            tx.emit(&RailWithdrawal {
                withdrawal_id: id,
                wallet_id: row.wallet,
                rail: rail.clone(),
                status: row.status.name().to_owned(),
            })?;
            let facts = serde_json::json!({ "rail": rail, "units": row.amount.units().to_string() });
            tx.audit(AuditEntry::change("rail.ask", Some(&row.payer), id).details(facts))?;
            Ok::<_, Error>(id)
        });
        let id = kept.await?.value;
        self.waiting_withdrawal(id).await
    }

    /// Takes what an approver decided about a withdrawal. The last approval that it needs carries it out.
    pub async fn decide_withdrawal(
        &self,
        key: Option<&RequestKey>,
        asked: DecideWithdrawalRequest,
    ) -> Result<Withdrawal, Error> {
        let id = asked.withdrawal_id;
        let row = self.waiting_row(id).await?.ok_or(Error::TransactionNotFound)?;
        let order = self.kept_order(&row)?;
        let input = order_input(self.instance.did.as_str(), &order);
        let answer = Answer { decision: &asked.decision, signature: asked.signature };
        let ballot = self.ballot(answer, &input, &row.payer).await?;
        let rail = order.rail;
        let decided = self.db.write_once(key, move |tx| {
            let row = store::waiting_withdrawals::lock(tx, id)?.ok_or(Error::TransactionNotFound)?;
            let now = tx.now();
            if row.status != WaitingStatus::Waiting {
                return Err(Refusal::InvalidState(row.status.name()).into());
            }
            if row.expires_at <= now {
                return Err(Refusal::Expired.into());
            }
            let rules = store::approvals::rules(tx, row.wallet, &row.payer)?;
            let rule = rules.at(now);
            if !rule.approvers().contains(&ballot.by) {
                return Err(Error::NotAnApprover(ballot.by.to_string()));
            }
            let decision = ballot.after(&store::waiting_withdrawals::decisions(tx, id)?, now)?;
            store::waiting_withdrawals::decide(tx, id, &decision)?;
            let decisions = store::waiting_withdrawals::decisions(tx, id)?;
            let given = rule.count(in_favour(&decisions));
            if rule.is_out_of_reach(rule.count(against(&decisions))) {
                let reason = "too many of those who have to approve it rejected it";
                cancel(tx, &row, &rail, reason)?;
            }
            let action = if ballot.is_approved { "withdrawal.approve" } else { "withdrawal.reject" };
            let facts = serde_json::json!({ "given": given, "required": rule.required() });
            tx.audit(AuditEntry::change(action, Some(&ballot.by), id).details(facts))?;
            Ok::<_, Error>(())
        });
        decided.await?;
        self.carry_out_if_approved(id).await?;
        self.waiting_withdrawal(id).await
    }

    /// Takes back a withdrawal of the caller that still waits.
    pub async fn cancel_withdrawal(
        &self,
        caller: &Caller,
        key: Option<&RequestKey>,
        id: TransactionId,
    ) -> Result<Withdrawal, Error> {
        let Some(row) = self.waiting_row(id).await? else {
            // One that nobody had to approve was held at once.
            self.withdrawal(caller, id).await?;
            return Err(ON_ITS_WAY.into());
        };
        if caller.did() != Some(&row.payer) {
            return Err(Error::TransactionNotFound);
        }
        let rail = self.kept_order(&row)?.rail;
        let cancelled = self.db.write_once(key, move |tx| {
            let row = store::waiting_withdrawals::lock(tx, id)?.ok_or(Error::TransactionNotFound)?;
            match row.status {
                WaitingStatus::Waiting if row.expires_at > tx.now() => {}
                WaitingStatus::Waiting => return Err(LAPSED.into()),
                WaitingStatus::CarriedOut => return Err(ON_ITS_WAY.into()),
                WaitingStatus::Cancelled => return Err(CANCELLED.into()),
            }
            cancel(tx, &row, &rail, "its payer took it back")?;
            tx.audit(AuditEntry::change("withdrawal.cancel", Some(&row.payer), id))?;
            Ok::<_, Error>(())
        });
        cancelled.await?;
        self.waiting_withdrawal(id).await
    }

    /// The withdrawals that wait for the caller's approval.
    pub async fn withdrawals_waiting_for(&self, caller: &Caller) -> Result<WithdrawalList, Error> {
        let did = caller.did().ok_or(Refusal::WalletNotFound)?.clone();
        let (approver, now) = (did.clone(), self.env.now());
        let find = move |reader: &mut q_db::Reader<'_>| {
            store::waiting_withdrawals::of_approver(reader, &approver, now)
        };
        let mut items = Vec::new();
        for row in self.db.read(find).await? {
            let withdrawal = self.waiting_withdrawal(row.id).await?;
            let waits = withdrawal.approvals.as_ref().is_some_and(|approvals| {
                approvals.approvers.contains(&did)
                    && approvals.decisions.iter().all(|decision| decision.approver != did)
            });
            if waits {
                items.push(withdrawal);
            }
        }
        Ok(WithdrawalList { items })
    }

    /// Whether somebody may see a withdrawal because others have to approve it: they are among them.
    pub(super) async fn may_approve(&self, caller: &Caller, row: &WaitingRow) -> Result<bool, Error> {
        let Some(did) = caller.did() else { return Ok(false) };
        let (wallet, payer) = (row.wallet, row.payer.clone());
        let rules = self.db.read(move |reader| store::approvals::rules(reader, wallet, &payer)).await?;
        Ok(rules.everybody().contains(did))
    }

    pub(super) async fn waiting_row(&self, id: TransactionId) -> Result<Option<WaitingRow>, DbError> {
        self.db.read(move |reader| store::waiting_withdrawals::find(reader, id)).await
    }

    /// A withdrawal that had to be approved, as it is answered.
    pub(super) async fn waiting_withdrawal(&self, id: TransactionId) -> Result<Withdrawal, Error> {
        let row = self.waiting_row(id).await?.ok_or_else(unexpected)?;
        let order = self.kept_order(&row)?;
        let approvals = Some(self.withdrawal_approvals(&row).await?);
        let signing_input = Some(text(order_input(self.instance.did.as_str(), &order)));
        if row.status == WaitingStatus::CarriedOut {
            let withdrawal = self.stored_withdrawal(id).await?;
            return Ok(Withdrawal { approvals, signing_input, ..withdrawal });
        }
        let currency = Currency::by_id(row.currency).ok_or(Error::Inconsistent("a currency"))?;
        let has_lapsed = row.status == WaitingStatus::Waiting && row.expires_at <= self.env.now();
        let status = if has_lapsed { "EXPIRED" } else { row.status.name() };
        Ok(Withdrawal {
            withdrawal_id: id,
            rail: order.rail,
            status: status.to_owned(),
            amount: order.amount,
            currency: currency.code.to_owned(),
            fees: fees(currency, row.fees),
            recipient: order.recipient,
            client_ref: order.client_ref,
            created_at: row.made_at,
            changed_at: row.changed_at,
            chain_hash: None,
            block: None,
            reason: row.reason,
            approvals,
            signing_input,
        })
    }

    async fn withdrawal_approvals(&self, row: &WaitingRow) -> Result<IntentApprovals, Error> {
        let (id, wallet, payer) = (row.id, row.wallet, row.payer.clone());
        let read = self.db.read(move |reader| {
            let rules = store::approvals::rules(reader, wallet, &payer)?;
            Ok::<_, DbError>((rules, store::waiting_withdrawals::decisions(reader, id)?))
        });
        let (rules, decisions) = read.await?;
        let rule = rules.at(self.env.now());
        let given = rule.count(in_favour(&decisions));
        Ok(IntentApprovals {
            because: "rule".to_owned(),
            given,
            required: rule.required(),
            approvers: rule.approvers().iter().cloned().collect::<Vec<Did>>(),
            decisions: decisions.into_iter().map(told).collect(),
            link: format!("{}/qwallet/withdrawals/{id}", self.instance.origin),
        })
    }

    /// The order as it came.
    fn kept_order(&self, row: &WaitingRow) -> Result<WithdrawalRequest, Error> {
        let id = row.id.to_string();
        let document = self.unseal("waiting_withdrawals", "document", &id, Some(&row.document))?;
        let order = document.and_then(|document| serde_json::from_str(&document).ok());
        order.ok_or(Error::Inconsistent("the order of a withdrawal"))
    }

    /// Holds the money of a withdrawal that enough have approved. What keeps it from being held is noted: it may be tried
    /// again until the order lapses.
    async fn carry_out_if_approved(&self, id: TransactionId) -> Result<(), Error> {
        let row = self.waiting_row(id).await?.ok_or_else(unexpected)?;
        let approvals = self.withdrawal_approvals(&row).await?;
        let waits = row.status != WaitingStatus::Waiting || approvals.given < approvals.required;
        if waits || row.expires_at <= self.env.now() {
            return Ok(());
        }
        let refusal = match self.carry_out(&row).await {
            Ok(()) => return Ok(()),
            Err(Error::Refused(refusal)) => refusal.to_string(),
            Err(error @ Error::RailUnsupported(_)) => error.to_string(),
            Err(error) => return Err(error),
        };
        let noted = self.db.write(move |tx| {
            let row = store::waiting_withdrawals::lock(tx, id)?;
            let is_waiting = row.is_some_and(|row| row.status == WaitingStatus::Waiting);
            if is_waiting {
                store::waiting_withdrawals::set_status(tx, id, WaitingStatus::Waiting, Some(&refusal))?;
            }
            Ok::<_, DbError>(())
        });
        Ok(noted.await?)
    }

    async fn carry_out(&self, row: &WaitingRow) -> Result<(), Error> {
        let order = self.kept_order(row)?;
        let input = order_input(self.instance.did.as_str(), &order);
        // The payer's keys may have changed since.
        let signature = self.check_signature(&order.signature, PAYMENT_TYP, &input, &order.payer).await?;
        let wallet = self.directory.find(&row.wallet.to_string()).await?;
        let wallet = wallet.ok_or(Error::Inconsistent("a wallet"))?;
        // A second key was proved when the order came.
        let plan = self.plan_withdrawal(&order, wallet, signature, StepUp::Done).await?;
        match self.hold(&order, plan, row.id, true, None).await? {
            Outcome::Done(_) | Outcome::Replayed(_) => Ok(()),
            Outcome::Refused(refusal) => Err(refusal.into()),
        }
    }
}

/// Ends a withdrawal that waited, and tells so.
fn cancel(tx: &mut Tx<'_>, row: &WaitingRow, rail: &str, reason: &str) -> Result<(), DbError> {
    let status = WaitingStatus::Cancelled;
    store::waiting_withdrawals::set_status(tx, row.id, status, Some(reason))?;
    tx.emit(&RailWithdrawal {
        withdrawal_id: row.id,
        wallet_id: row.wallet,
        rail: rail.to_owned(),
        status: status.name().to_owned(),
    })?;
    Ok(())
}
