//! One payment in one step.

use std::sync::Arc;

use q_core::{Caller, Did, RequestKey, Timestamp};
use qwallet_api::{
    Fees, Party, PaymentRequest, Transaction, TransactionId,
    signing::{self, PaymentOrder},
};

use super::{
    Service,
    beyond::Spending,
    commit::{Action, Done, Item, Outcome, Work},
    delegated,
    directory::WalletEntry,
    guardians::Refused,
    money_requests::{Fulfilment, check_open},
    permissions::Admit,
    request_of, unexpected,
};
use crate::{
    domain::{
        currency::Currency,
        fees::FeeAmounts,
        payment::{self, Facts, INTERNAL_RAIL, Plan, Refusal, StepUp, Terms},
    },
    error::Error,
    store::{
        ledger::{OrderRow, TransactionKind},
        money_requests::MoneyRequestRow,
        requests::Nonce,
    },
};

/// The number of a payment's order in the store.
pub(super) const PAYMENT_ORDER: i64 = 0;

impl Service {
    /// Decides, holds against the books and settles one signed payment.
    pub async fn pay_once(
        &self,
        caller: &Caller,
        key: Option<&RequestKey>,
        payment: PaymentRequest,
    ) -> Result<Transaction, Error> {
        self.pay_through(&|_| Ok(()), caller, key, payment).await
    }

    /// The same for a request that is to be admitted once it has proved whom it is from.
    pub async fn pay_through(
        &self,
        admit: Admit<'_>,
        caller: &Caller,
        key: Option<&RequestKey>,
        payment: PaymentRequest,
    ) -> Result<Transaction, Error> {
        let expires_at = check_form(&payment)?;
        // The order itself, though what permits it may end sooner: its nonce is remembered until then.
        if !payment::is_expiry(expires_at, self.env.now()) {
            return Err(Refusal::Malformed("expiresAt").into());
        }
        let (payer, recipient) = self.parties(&payment).await?;
        let rail = payment.rail.as_deref().unwrap_or(INTERNAL_RAIL);
        let input = self.payment_input(&payment, rail);
        let permission = self.permission(admit, &payment, &input, expires_at).await?;
        // Whoever signs is the caller: an agent's keys and nonces never meet those of its principal.
        let stored = request_of(permission.signer.as_str(), key);
        let terms = Terms {
            amount: &payment.amount,
            currency: &payment.currency,
            max_fees: Some(&payment.max_fees),
            rail,
            expires_at: permission.ends_at,
        };
        let facts = self.facts(payer.as_deref(), recipient.as_deref(), permission.verdict);
        let is_payers_own = permission.signer == payment.payer;
        // Whatever payer or delegate proved besides: that the payer asks is what a delegation cannot say.
        let step_up = is_payers_own.then(|| self.step_up_of(caller, &payment.payer));
        let step_up = step_up.unwrap_or(StepUp::Missing(&self.step_up));
        let quote = payment.quote_id.as_deref().map(|id| self.quoted(id, &permission.signer));
        let facts = Facts { quote, step_up, ..facts };
        let plan = match payment::decide(&terms, &facts) {
            Ok(plan) => plan,
            Err(refusal @ (Refusal::AmountForm(_) | Refusal::Malformed(_))) => return Err(refusal.into()),
            Err(refusal) => {
                let refusal = self
                    .approvals_first(refusal, payer.as_deref(), &payment.currency, &payment.amount)
                    .await?;
                let parties = (payer.as_deref(), recipient.as_deref());
                let limited = self.limits_first(refusal, parties, &payment.currency, &payment.amount).await?;
                let error = match self.refusal_or_replay(stored, limited).await {
                    Ok(answer) => return self.replayed_payment(answer).await,
                    Err(error) => permission.explain(error),
                };
                // An order that was paid may be handed in by whoever read it, with other words beside it: only who pays is
                // given something that others are asked to approve.
                if caller.did() != Some(&payment.payer) {
                    return Err(error);
                }
                let facts = Facts { step_up: StepUp::Done, quote: None, ..facts };
                let plan = payment::decide(&Terms { max_fees: None, ..terms }, &facts);
                return Err(self.refused_early(&payment, parties, plan, error, is_payers_own).await?);
            }
        };
        let (Some(payer), Some(recipient)) = (payer, recipient) else { return Err(unexpected()) };
        if let Err(refusal) = self.profile_rules(&payer).await?.check(&recipient, payment.purpose.is_some()) {
            return self.replayed_payment(self.refusal_or_replay(stored, refusal).await?).await;
        }
        let id = TransactionId::new(&self.env);
        let purpose = payment
            .purpose
            .as_deref()
            .map(|purpose| self.seal("transactions", "purpose", &id.to_string(), purpose));
        let item = Item {
            id,
            kind: TransactionKind::Payment,
            legs: plan.legs.clone(),
            intent: None,
            client_ref: Some(payment.client_ref.clone()),
            purpose,
        };
        let request = self.fulfilled(&payment.client_ref, &recipient).await?;
        let action = match &request {
            Some(request) => Action::Record(Arc::new(Fulfilment::of(request, &plan, item))),
            None => Action::Pay(item),
        };
        let action = delegated::counting(permission.uses, action);
        let work = Work {
            request: stored,
            nonce: Some(Nonce::of(permission.signer.as_str(), &payment.nonce, expires_at)),
            expires_at: Some(permission.lasts_until),
            order: Some(OrderRow {
                id: 0,
                kind: PAYMENT_ORDER,
                signer: permission.signer.to_string(),
                input: text(input),
                signatures: permission.evidence,
            }),
            action,
        };
        match self.executor.submit(work).await? {
            Outcome::Done(done) => Ok(Transaction {
                purpose: payment.purpose,
                client_ref: Some(payment.client_ref),
                ..settled(id, TransactionKind::Payment, &plan, party(&payer), party(&recipient), &done)
            }),
            Outcome::Replayed(answer) => self.replayed_payment(answer).await,
            Outcome::Refused(refusal) => {
                let parties = (&*payer, &*recipient);
                Err(self.not_paid(&payment, parties, &plan, request.as_ref(), refusal, is_payers_own).await?)
            }
        }
    }

    /// The error of a payment that was refused before the books were asked. What lacks an approval too, whatever else is
    /// missing, is told where that is given.
    async fn refused_early(
        &self,
        payment: &PaymentRequest,
        (payer, recipient): (Option<&WalletEntry>, Option<&WalletEntry>),
        plan: Result<Plan, Refusal>,
        error: Error,
        is_payers_own: bool,
    ) -> Result<Error, Error> {
        let (
            Error::Refused(refusal @ (Refusal::ApprovalRequired { .. } | Refusal::LimitExceeded { .. })),
            Ok(plan),
            Some(payer),
            Some(recipient),
        ) = (&error, plan, payer, recipient)
        else {
            return Ok(error);
        };
        self.profile_rules(payer).await?.check(recipient, payment.purpose.is_some())?;
        let request = self.fulfilled(&payment.client_ref, recipient).await?;
        if let Some(request) = &request {
            check_open(request, self.env.now(), (plan.currency.id, plan.amount))?;
        }
        let parties = (payer, recipient);
        self.not_paid(payment, parties, &plan, request.as_ref(), *refusal, is_payers_own).await
    }

    /// The error of a payment that is refused, with what can be done. No intent of the payer's takes the place of what a
    /// delegate may not pay.
    async fn not_paid(
        &self,
        payment: &PaymentRequest,
        (payer, recipient): (&WalletEntry, &WalletEntry),
        plan: &Plan,
        request: Option<&MoneyRequestRow>,
        refusal: Refusal,
        is_payers_own: bool,
    ) -> Result<Error, Error> {
        if !is_payers_own {
            return Ok(self.refused_as(Spending::Delegated, refusal, payer).await);
        }
        let refused = Refused {
            payer,
            recipient,
            name: &payment.recipient,
            plan,
            purpose: payment.purpose.as_deref(),
            request,
        };
        self.ask_instead(refused, refusal).await
    }

    /// The signing input of a payment.
    fn payment_input(&self, payment: &PaymentRequest, rail: &str) -> Vec<u8> {
        signing::signing_input(&PaymentOrder {
            amount: payment.amount.as_str(),
            aud: self.instance.did.as_str(),
            client_ref: Some(&payment.client_ref),
            currency: &payment.currency,
            expires_at: &payment.expires_at,
            intent_id: None,
            max_fees: payment.max_fees.as_str(),
            nonce: &payment.nonce,
            payer: payment.payer.as_str(),
            rail,
            recipient: &payment.recipient,
            v: 1,
            wallet: &payment.wallet,
        })
    }

    /// The first answer of a payment that was carried out before.
    pub(super) async fn replayed_payment(&self, answer: [u8; 16]) -> Result<Transaction, Error> {
        self.transaction(TransactionId::from_bytes(answer), false).await?.ok_or(Error::TransactionNotFound)
    }

    /// What is known about a payment. Nobody is taken to have proved a second key.
    pub(super) fn facts<'a>(
        &'a self,
        payer: Option<&'a WalletEntry>,
        recipient: Option<&'a WalletEntry>,
        signature: Result<(), crate::domain::order::SignatureFault>,
    ) -> Facts<'a> {
        let now = self.env.now();
        Facts {
            now,
            payer: payer.map(|entry| &entry.accounts),
            signature,
            recipient: recipient.map(|entry| &entry.accounts),
            is_recipient_suspended: recipient.is_some_and(|entry| self.keys.is_blocked(&entry.row.owner)),
            house: self.directory.house(),
            schedules: self.schedules.at(now),
            quote: None,
            parts: None,
            step_up: StepUp::Missing(&self.step_up),
        }
    }

    /// Whether `caller` is `payer` who proved a second key just now.
    pub(super) fn step_up_of(&self, caller: &Caller, payer: &Did) -> StepUp<'_> {
        if caller.has_stepped_up(payer, self.env.now()) {
            StepUp::Done
        } else {
            StepUp::Missing(&self.step_up)
        }
    }

    /// The paying wallet, if it is the payer's, and the recipient's.
    async fn parties(
        &self,
        payment: &PaymentRequest,
    ) -> Result<(Option<Arc<WalletEntry>>, Option<Arc<WalletEntry>>), Error> {
        let names = [payment.wallet.as_str(), payment.recipient.as_str()];
        let mut found = self.directory.find_all(names.into_iter()).await?;
        let recipient = found.pop().flatten();
        let payer = found.pop().flatten().filter(|entry| entry.row.owner == payment.payer);
        Ok((payer, recipient))
    }
}

/// Checks the form of what the domain does not look at, and reads the expiry.
fn check_form(payment: &PaymentRequest) -> Result<Timestamp, Refusal> {
    payment.amount.check_form().map_err(Refusal::AmountForm)?;
    payment.max_fees.check_form().map_err(Refusal::AmountForm)?;
    check_fields(&payment.client_ref, &payment.nonce, payment.purpose.as_deref())?;
    payment.expires_at.parse().map_err(|_| Refusal::Malformed("expiresAt"))
}

/// Checks the texts every order has.
pub(super) fn check_fields(client_ref: &str, nonce: &str, purpose: Option<&str>) -> Result<(), Refusal> {
    if !payment::is_client_ref(client_ref) {
        return Err(Refusal::Malformed("clientRef"));
    }
    if !payment::is_nonce(nonce) {
        return Err(Refusal::Malformed("nonce"));
    }
    if purpose.is_some_and(|purpose| !payment::is_purpose(purpose)) {
        return Err(Refusal::Malformed("purpose"));
    }
    Ok(())
}

/// The answer to a payment that was settled just now.
pub(super) fn settled(
    id: TransactionId,
    kind: TransactionKind,
    plan: &Plan,
    from: Party,
    to: Party,
    done: &Done,
) -> Transaction {
    Transaction {
        transaction_id: id,
        r#type: kind.name().to_owned(),
        status: "SETTLED".to_owned(),
        amount: plan.currency.text(plan.amount),
        captured: None,
        currency: plan.currency.code.to_owned(),
        fees: fees(plan.currency, plan.fees),
        from,
        to,
        delegated: None,
        refund_of: None,
        purpose: None,
        client_ref: None,
        intent_id: None,
        created_at: done.at,
        settled_at: Some(done.at),
        settlement_hash: done.settlement.map(|hash| q_core::hash::hex(&hash)),
        commit: done.commit,
        legs: Vec::new(),
        notes: Vec::new(),
    }
}

/// Fees on the wire.
pub(super) fn fees(currency: &Currency, fees: FeeAmounts) -> Fees {
    let total = fees.total().unwrap_or(q_core::Amount::MAX);
    Fees {
        network: currency.text(fees.network),
        platform: currency.text(fees.platform),
        total: currency.text(total),
    }
}

/// A wallet as one end of a transaction.
pub(super) fn party(entry: &WalletEntry) -> Party {
    Party { wallet_ref: entry.row.reference.clone(), owner: Some(entry.row.owner.clone()) }
}

/// A signing input as text.
pub(super) fn text(input: Vec<u8>) -> String {
    String::from_utf8(input).expect("canonical JSON is UTF-8")
}
