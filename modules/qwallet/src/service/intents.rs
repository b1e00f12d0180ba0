//! Payments in steps: decided, signed (which holds the money), then paid, cancelled or lapsed.

use q_core::{Caller, Page, PageLimit, RequestKey, Span, Timestamp, hash};
use q_db::DbError;
use qwallet_api::{
    CreateIntentRequest, Intent, IntentApprovals, IntentId, SignRequest, SignedIntent, Transaction,
    TransactionId, events,
    signing::{self, PAYMENT_TYP, PaymentOrder},
};

use super::{
    Service,
    approvals::in_favour,
    commit::{Action, Item, Outcome, Work},
    directory::WalletEntry,
    payments::{PAYMENT_ORDER, fees, text},
    request_of, unexpected,
};
use crate::{
    domain::{
        approvals::Rule,
        books::HoldEnd,
        currency::Currency,
        payment::{self, Facts, INTERNAL_RAIL, Refusal, StepUp, Terms},
    },
    error::Error,
    store::{
        self,
        intents::{IntentRow, IntentStatus},
        ledger::{OrderRow, TransactionKind},
    },
};

/// How long an intent waits when its maker does not say, in seconds.
const EXPIRES_IN_DEFAULT: u32 = 3_600;

impl Service {
    /// Decides a payment of the caller, to be signed.
    pub async fn create_intent(
        &self,
        caller: &Caller,
        key: Option<&RequestKey>,
        request: CreateIntentRequest,
    ) -> Result<Intent, Error> {
        let payer_did = caller.did().ok_or(Refusal::WalletNotFound)?.clone();
        request.amount.check_form().map_err(Refusal::AmountForm)?;
        let expires_in = request.expires_in.unwrap_or(EXPIRES_IN_DEFAULT);
        if !(60..=86_400).contains(&expires_in) {
            return Err(Refusal::Malformed("expiresIn").into());
        }
        if request.purpose.as_deref().is_some_and(|purpose| !payment::is_purpose(purpose)) {
            return Err(Refusal::Malformed("purpose").into());
        }
        let wallet = request.wallet.clone().unwrap_or_else(|| payer_did.to_string());
        let names = [wallet.as_str(), request.recipient.as_str()];
        let mut found = self.directory.find_all(names.into_iter()).await?;
        let recipient = found.pop().flatten();
        let payer = found.pop().flatten().filter(|entry| entry.row.owner == payer_did);
        let now = self.env.now();
        let expires_at = now + Span::seconds(i64::from(expires_in));
        let terms = Terms {
            amount: &request.amount,
            currency: &request.currency,
            max_fees: None,
            rail: INTERNAL_RAIL,
            expires_at,
        };
        // Whether the signature holds, and whether a second key was proved, is asked when it comes.
        let facts = self.facts(payer.as_deref(), recipient.as_deref(), Ok(()));
        let plan = payment::decide(&terms, &Facts { step_up: StepUp::Done, ..facts })?;
        let (Some(payer), Some(recipient)) = (payer, recipient) else { return Err(unexpected()) };
        self.profile_rules(&payer).await?.check(&recipient, request.purpose.is_some())?;
        let id = IntentId::new(&self.env);
        let purpose = request.purpose.as_deref();
        let row = IntentRow {
            id,
            wallet: payer.row.id,
            payer: payer_did,
            recipient: request.recipient,
            recipient_wallet: recipient.row.id,
            amount: request.amount,
            currency: plan.currency.id,
            fees: plan.fees,
            purpose: purpose.map(|purpose| self.seal("intents", "purpose", &id.to_string(), purpose)),
            nonce: hash::hex(&self.env.random::<16>()),
            status: IntentStatus::Pending,
            transaction: None,
            created_at: now,
            expires_at,
        };
        let made = self.db.write_once(key, move |tx| {
            store::intents::insert(tx, &row)?;
            tx.emit(&events::IntentCreated { intent_id: id, wallet_id: row.wallet, expires_at })?;
            Ok::<_, Error>(id)
        });
        let id = made.await?.value;
        self.intent(caller, id).await
    }

    /// An intent of the caller.
    pub async fn intent(&self, caller: &Caller, id: IntentId) -> Result<Intent, Error> {
        let row = self.db.read(move |reader| store::intents::find(reader, id)).await?;
        let row = row.ok_or(Refusal::IntentNotFound)?;
        let wallet = self.directory.find(&row.wallet.to_string()).await?;
        let wallet = wallet.ok_or(Error::Inconsistent("a wallet"))?;
        let intent = self.intent_answer(caller, &row, &wallet).await?;
        let is_approver =
            |approvals: &IntentApprovals| caller.did().is_some_and(|did| approvals.approvers.contains(did));
        if !self.may_read(caller, &wallet) && !intent.approvals.as_ref().is_some_and(is_approver) {
            return Err(Refusal::IntentNotFound.into());
        }
        Ok(intent)
    }

    /// An intent as it is shown, with how far it is approved.
    pub(super) async fn intent_answer(
        &self,
        caller: &Caller,
        row: &IntentRow,
        wallet: &WalletEntry,
    ) -> Result<Intent, Error> {
        let approvals = self.approvals_of(std::slice::from_ref(row), wallet).await?.remove(&row.id);
        self.intent_of(caller, row, &wallet.row.reference, approvals)
    }

    /// The caller's intents, newest first.
    pub async fn intents(
        &self,
        caller: &Caller,
        status: Option<String>,
        cursor: Option<String>,
        limit: PageLimit,
    ) -> Result<Page<Intent>, Error> {
        let owner = caller.did().ok_or(Refusal::WalletNotFound)?;
        let status = status
            .map(|name| IntentStatus::from_name(&name).ok_or(Refusal::Malformed("status")))
            .transpose()?;
        let before = match cursor {
            Some(cursor) => cursor.parse().map_err(|_| Refusal::Malformed("cursor"))?,
            None => IntentId::from_bytes([0xff; 16]),
        };
        let Some(wallet) = self.directory.find(owner.as_str()).await? else {
            return Ok(Page { items: Vec::new(), next_cursor: None });
        };
        let (id, rows) = (wallet.row.id, limit.rows());
        let list = self.db.read(move |reader| store::intents::list(reader, id, status, before, rows)).await?;
        let is_full = list.len() == usize::try_from(rows).unwrap_or(usize::MAX);
        let next_cursor = list.last().filter(|_| is_full).map(|row| row.id.to_string());
        let mut approvals = self.approvals_of(&list, &wallet).await?;
        let items = list
            .iter()
            .map(|row| self.intent_of(caller, row, &wallet.row.reference, approvals.remove(&row.id)));
        Ok(Page { items: items.collect::<Result<_, _>>()?, next_cursor })
    }

    /// Takes the payer's signature and holds the money.
    pub async fn sign(
        &self,
        caller: &Caller,
        key: Option<&RequestKey>,
        request: SignRequest,
    ) -> Result<SignedIntent, Error> {
        let id = request.intent_id;
        let now = self.env.now();
        let found = self.db.read(move |reader| {
            let Some(row) = store::intents::find(reader, id)? else { return Ok(None) };
            let rules = store::approvals::rules(reader, row.wallet, &row.payer)?;
            let decisions = store::approvals::decisions(reader, id)?;
            // Nobody could sign while the module was paused, so that time is not counted.
            let deadline = row.expires_at + reader.paused_between(row.created_at, now)?;
            Ok::<_, DbError>(Some((row, deadline, rules, decisions)))
        });
        let (row, deadline, rules, decisions) = found.await?.ok_or(Refusal::IntentNotFound)?;
        let stored = request_of(row.payer.as_str(), key);
        let wallets = [row.wallet.to_string(), row.recipient_wallet.to_string()];
        let mut found = self.directory.find_all(wallets.iter().map(String::as_str)).await?;
        let (recipient, payer) = (found.pop().flatten(), found.pop().flatten());
        let payer = payer.ok_or(Error::Inconsistent("a wallet"))?;
        let currency = Currency::by_id(row.currency).ok_or(Error::Inconsistent("a currency"))?;
        let input = self.intent_input(&row, &payer.row.reference, currency);
        let signature = self.check_signature(&request.signature, PAYMENT_TYP, &input, &row.payer).await?;
        let facts = self.facts(Some(&payer), recipient.as_deref(), signature);
        let facts = Facts { step_up: self.step_up_of(caller, &row.payer), ..facts };
        let approved = (rules.at(now), rules.at(now).count(in_favour(&decisions)));
        let plan = match decide_signing(&row, deadline, &facts, currency, approved) {
            Ok(plan) => plan,
            Err(refusal) => {
                let answer = self.refusal_or_replay(stored, refusal).await;
                let answer = answer.map_err(|error| self.unapproved(id, error))?;
                return Ok(signed(&row, deadline, TransactionId::from_bytes(answer), request.signature));
            }
        };
        let transaction = TransactionId::new(&self.env);
        let purpose = self.unseal("intents", "purpose", &id.to_string(), row.purpose.as_deref())?;
        let work = Work {
            request: stored,
            nonce: None,
            expires_at: Some(deadline),
            order: Some(OrderRow {
                id: 0,
                kind: PAYMENT_ORDER,
                signer: row.payer.to_string(),
                input: text(input),
                signatures: request.signature.clone(),
            }),
            action: Action::Sign {
                intent: id,
                wallet: row.wallet,
                item: Item {
                    id: transaction,
                    kind: TransactionKind::Payment,
                    legs: plan,
                    intent: Some(id),
                    client_ref: None,
                    purpose: purpose.map(|purpose| {
                        self.seal("transactions", "purpose", &transaction.to_string(), &purpose)
                    }),
                },
                hold_until: deadline,
            },
        };
        match self.executor.submit(work).await? {
            Outcome::Done(_) => Ok(signed(&row, deadline, transaction, request.signature)),
            Outcome::Replayed(answer) => {
                Ok(signed(&row, deadline, TransactionId::from_bytes(answer), request.signature))
            }
            Outcome::Refused(refusal) => Err(self.unapproved(id, self.refused(refusal, &payer).await)),
        }
    }

    /// The error, with the place where a person reads what is to be approved.
    fn unapproved(&self, id: IntentId, error: Error) -> Error {
        match error {
            Error::Refused(Refusal::ApprovalRequired { given, required }) => {
                Error::Unapproved { given, required, link: self.intent_link(id) }
            }
            error => error,
        }
    }

    /// Settles a signed payment of the caller.
    pub async fn pay(
        &self,
        caller: &Caller,
        key: Option<&RequestKey>,
        transaction: TransactionId,
    ) -> Result<Transaction, Error> {
        let did = caller.did().ok_or(Error::TransactionNotFound)?;
        let stored = self.stored_transaction(transaction).await?.ok_or(Error::TransactionNotFound)?;
        let account = stored.transfers.first().map(|(transfer, _)| transfer.leg.debit);
        let account = account.ok_or(Error::Inconsistent("a transfer"))?;
        let wallets = self.directory.of_accounts(&[account]).await?;
        if wallets.get(&account).is_none_or(|wallet| wallet.row.owner != *did) {
            return Err(Error::TransactionNotFound);
        }
        let request = request_of(did.as_str(), key);
        let Some(intent) = stored.row.intent else {
            self.refusal_or_replay(request, Refusal::InvalidState("SETTLED")).await?;
            return self.replayed_payment(transaction.bytes()).await;
        };
        let action =
            Action::End { transaction, intent: Some(intent), payer: Some(account), end: HoldEnd::Settled };
        let work = Work { request, nonce: None, expires_at: None, order: None, action };
        match self.executor.submit(work).await? {
            Outcome::Done(_) | Outcome::Replayed(_) => self.replayed_payment(transaction.bytes()).await,
            Outcome::Refused(refusal) => Err(refusal.into()),
        }
    }

    /// Cancels an intent of the caller; what it held is free again.
    pub async fn cancel_intent(
        &self,
        caller: &Caller,
        key: Option<&RequestKey>,
        id: IntentId,
    ) -> Result<Intent, Error> {
        let row = self.db.read(move |reader| store::intents::find(reader, id)).await?;
        let did = caller.did().ok_or(Refusal::IntentNotFound)?;
        let row = row.filter(|row| row.payer == *did).ok_or(Refusal::IntentNotFound)?;
        let request = request_of(did.as_str(), key);
        match (row.status, row.transaction) {
            (IntentStatus::Pending, _) => {
                let cancelled = self.db.write_once(key, move |tx| {
                    let (from, to) = (IntentStatus::Pending, IntentStatus::Cancelled);
                    if store::intents::advance(tx, id, from, to, None)? {
                        let reason = "PAYER".to_owned();
                        tx.emit(&events::IntentCancelled { intent_id: id, wallet_id: row.wallet, reason })?;
                        Ok(())
                    } else {
                        Err(Error::NotCancellable("no longer pending"))
                    }
                });
                cancelled.await?;
            }
            (IntentStatus::Signed, Some(transaction)) => {
                let wallet = self.directory.find(&row.wallet.to_string()).await?;
                let payer = wallet.and_then(|wallet| wallet.accounts.account(row.currency));
                let action = Action::End { transaction, intent: Some(id), payer, end: HoldEnd::Voided };
                let work = Work { request, nonce: None, expires_at: None, order: None, action };
                match self.executor.submit(work).await? {
                    Outcome::Done(_) | Outcome::Replayed(_) => {}
                    Outcome::Refused(Refusal::KeyReused) => return Err(Refusal::KeyReused.into()),
                    Outcome::Refused(_) => return Err(Error::NotCancellable("no longer held")),
                }
            }
            (status, _) if self.earlier(request).await?.is_none() => {
                // Carried out under this key before, or refused.
                let refused =
                    self.db.write_once(key, move |_| Err::<(), _>(Error::NotCancellable(status.name())));
                refused.await?;
            }
            _ => {}
        }
        self.intent(caller, id).await
    }

    fn intent_of(
        &self,
        caller: &Caller,
        row: &IntentRow,
        wallet_ref: &str,
        approvals: Option<IntentApprovals>,
    ) -> Result<Intent, Error> {
        let currency = Currency::by_id(row.currency).ok_or(Error::Inconsistent("a currency"))?;
        let amount = currency.read(&row.amount).map_err(|_| Error::Inconsistent("an amount"))?;
        let waiting = approvals.as_ref().filter(|approvals| approvals.given < approvals.required);
        let waiting =
            waiting.map(|waits| format!("approve({} of {})", waits.required, waits.approvers.len()));
        let next_action = match row.status {
            IntentStatus::Pending if waiting.is_some() => waiting.unwrap_or_default(),
            IntentStatus::Pending => match self.step_up_of(caller, &row.payer).check(currency, amount) {
                Ok(()) => "sign".to_owned(),
                Err(_) => "stepUp".to_owned(),
            },
            IntentStatus::Signed => "pay".to_owned(),
            IntentStatus::Settled | IntentStatus::Cancelled | IntentStatus::Expired => "none".to_owned(),
        };
        Ok(Intent {
            intent_id: row.id,
            status: row.status.name().to_owned(),
            amount: row.amount.clone(),
            currency: currency.code.to_owned(),
            recipient: row.recipient.clone(),
            wallet: wallet_ref.to_owned(),
            purpose: self.unseal("intents", "purpose", &row.id.to_string(), row.purpose.as_deref())?,
            fees: fees(currency, row.fees),
            signing_input: text(self.intent_input(row, wallet_ref, currency)),
            next_action,
            approvals,
            transaction_id: row.transaction,
            created_at: row.created_at,
            expires_at: row.expires_at,
        })
    }

    /// What the payer signs: rebuilt from the row, so that nothing else can be signed.
    pub(super) fn intent_input(&self, row: &IntentRow, wallet_ref: &str, currency: &Currency) -> Vec<u8> {
        let max_fees = currency.text(row.fees.total().unwrap_or(q_core::Amount::MAX));
        signing::signing_input(&PaymentOrder {
            amount: row.amount.as_str(),
            aud: self.instance.did.as_str(),
            client_ref: None,
            currency: currency.code,
            expires_at: &row.expires_at.to_string(),
            intent_id: Some(&row.id.to_string()),
            max_fees: max_fees.as_str(),
            nonce: &row.nonce,
            payer: row.payer.as_str(),
            rail: INTERNAL_RAIL,
            recipient: &row.recipient,
            v: 1,
            wallet: wallet_ref,
        })
    }
}

/// The transfers an intent means, if it may be signed now.
fn decide_signing(
    row: &IntentRow,
    deadline: Timestamp,
    facts: &Facts<'_>,
    currency: &'static Currency,
    (rule, given): (&Rule, u8),
) -> Result<Vec<crate::domain::transfer::Leg>, Refusal> {
    match row.status {
        IntentStatus::Pending => {}
        IntentStatus::Expired => return Err(Refusal::Expired),
        IntentStatus::Signed | IntentStatus::Settled | IntentStatus::Cancelled => {
            return Err(Refusal::InvalidState(row.status.name()));
        }
    }
    let payer = payment::decide_order(facts, INTERNAL_RAIL, deadline)?;
    let recipient = facts.recipient.ok_or(Refusal::RecipientUnknown)?;
    let amount = currency.read(&row.amount)?;
    if facts.is_recipient_suspended {
        return Err(Refusal::RecipientSuspended);
    }
    if rule.concerns(currency.id, amount) && given < rule.required() {
        return Err(Refusal::ApprovalRequired { given, required: rule.required() });
    }
    facts.step_up.check(currency, amount)?;
    let house = facts.house.iter().find(|house| house.currency == currency.id);
    let house = house.ok_or(Refusal::CurrencyUnsupported)?;
    let debit = payer.account(currency.id).ok_or(Refusal::CurrencyUnsupported)?;
    let credit = recipient.account(currency.id).ok_or(Refusal::CurrencyUnsupported)?;
    // The fees of the intent and not today's: they are what was shown and signed.
    Ok(payment::legs(debit, credit, house, amount, row.fees))
}

fn signed(
    row: &IntentRow,
    deadline: Timestamp,
    transaction: TransactionId,
    signature: String,
) -> SignedIntent {
    SignedIntent {
        transaction_id: transaction,
        intent_id: row.id,
        signature,
        hold_expires_at: deadline,
        gas_estimate: None,
    }
}
