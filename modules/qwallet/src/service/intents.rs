//! Payments in steps: decided, signed (which holds the money), then paid, cancelled or lapsed.

use std::sync::Arc;

use q_core::{Caller, Page, RequestKey, Span, Timestamp, hash};
use q_db::DbError;
use qwallet_api::{
    CreateIntentRequest, HOLD_TYP, HoldOrder, Intent, IntentApprovals, IntentId, ListIntentsRequest,
    SignRequest, SignedIntent, Transaction, TransactionId, events,
    signing::{self, PAYMENT_TYP, PaymentOrder},
};

use super::{
    Service,
    ballots::in_favour,
    commit::{Action, Item, Outcome, Work},
    directory::WalletEntry,
    holds::{self, HOLD_ORDER},
    money_requests::Settling,
    payments::{PAYMENT_ORDER, fees, text},
    request_of, unexpected,
};
use crate::{
    domain::{
        approvals::Rule,
        books::HoldEnd,
        currency::Currency,
        payment::{self, Facts, INTERNAL_RAIL, Plan, Refusal, StepUp, Terms},
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
        let hold_for = holds::hold_for(request.capture.as_deref(), request.hold_for)?;
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
        let quote = request.quote_id.as_deref().map(|id| self.quoted(id, &payer_did));
        let decided = payment::decide(&terms, &Facts { step_up: StepUp::Done, quote, ..facts });
        if let Err(refusal) = decided
            && !matches!(refusal, Refusal::Quote(_))
        {
            return Err(refusal.into());
        }
        let (Some(payer), Some(recipient)) = (payer, recipient) else { return Err(unexpected()) };
        self.profile_rules(&payer).await?.check(&recipient, request.purpose.is_some())?;
        let plan = match decided {
            Ok(plan) => plan,
            // Whoever asks again under a key gets the first answer, though the quote has lapsed since.
            Err(refusal) => {
                let made = self.db.write_once(key, move |_| Err::<IntentId, _>(Error::from(refusal)));
                return self.intent(caller, made.await?.value).await;
            }
        };
        let parties = (&*payer, &*recipient);
        let row = self.new_intent(parties, request.recipient, &plan, request.purpose.as_deref(), expires_in);
        let row = IntentRow { amount: request.amount, hold_for, ..row };
        let guardians = self.to_be_asked(&payer, &recipient, &plan).await?;
        let id = self.made(key, row, guardians).await?;
        self.intent(caller, id).await
    }

    /// A payment that was decided, for the recipient as it was named.
    pub(super) fn new_intent(
        &self,
        (payer, recipient): (&WalletEntry, &WalletEntry),
        name: String,
        plan: &Plan,
        purpose: Option<&str>,
        expires_in: u32,
    ) -> IntentRow {
        let (id, now) = (IntentId::new(&self.env), self.env.now());
        IntentRow {
            id,
            wallet: payer.row.id,
            payer: payer.row.owner.clone(),
            recipient: name,
            recipient_wallet: recipient.row.id,
            amount: plan.currency.text(plan.amount),
            currency: plan.currency.id,
            fees: plan.fees,
            purpose: purpose.map(|purpose| self.seal("intents", "purpose", &id.to_string(), purpose)),
            nonce: hash::hex(&self.env.random::<16>()),
            status: IntentStatus::Pending,
            transaction: None,
            created_at: now,
            expires_at: now + Span::seconds(i64::from(expires_in)),
            hold_for: None,
            request: None,
        }
    }

    /// An intent of the caller.
    pub async fn intent(&self, caller: &Caller, id: IntentId) -> Result<Intent, Error> {
        let row = self.db.read(move |reader| store::intents::find(reader, id)).await?;
        let row = row.ok_or(Refusal::IntentNotFound)?;
        let wallets = [row.wallet.to_string(), row.recipient_wallet.to_string()];
        let mut found = self.directory.find_all(wallets.iter().map(String::as_str)).await?;
        let recipient = found.pop().flatten();
        let wallet = found.pop().flatten().ok_or(Error::Inconsistent("a wallet"))?;
        let intent = self.intent_answer(caller, &row, &wallet).await?;
        // What is held for somebody is theirs to see, once it is held.
        let is_held = row.is_manual() && row.transaction.is_some();
        let is_recipients = recipient.is_some_and(|recipient| is_held && self.may_read(caller, &recipient));
        let is_approver =
            |approvals: &IntentApprovals| caller.did().is_some_and(|did| approvals.approvers.contains(did));
        if !is_recipients
            && !self.may_read(caller, &wallet)
            && !intent.approvals.as_ref().is_some_and(is_approver)
        {
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
        self.intent_of(caller, row, &wallet.row.reference, approvals).await
    }

    /// The caller's intents, newest first.
    pub async fn intents(&self, caller: &Caller, asked: ListIntentsRequest) -> Result<Page<Intent>, Error> {
        let ListIntentsRequest { role, status, cursor, limit } = asked;
        let owner = caller.did().ok_or(Refusal::WalletNotFound)?;
        let list = match role.as_deref() {
            None | Some("payer") => store::intents::list,
            Some("payee") => store::intents::list_held,
            Some(_) => return Err(Refusal::Malformed("role").into()),
        };
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
        let list = self.db.read(move |reader| list(reader, id, status, before, rows)).await?;
        let is_full = list.len() == usize::try_from(rows).unwrap_or(usize::MAX);
        let next_cursor = list.last().filter(|_| is_full).map(|row| row.id.to_string());
        let payers: Vec<String> = list.iter().map(|row| row.wallet.to_string()).collect();
        let payers = self.directory.find_all(payers.iter().map(String::as_str)).await?;
        // What is held for the caller was approved before it was signed.
        let mut approvals = self.approvals_of(&list, &wallet).await?;
        let mut items = Vec::with_capacity(list.len());
        for (row, payer) in list.iter().zip(payers) {
            let payer = payer.ok_or(Error::Inconsistent("a wallet"))?;
            let approvals = approvals.remove(&row.id).filter(|_| row.wallet == id);
            items.push(self.intent_of(caller, row, &payer.row.reference, approvals).await?);
        }
        Ok(Page { items, next_cursor })
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
        let signature = self.check_signature(&request.signature, typ_of(&row), &input, &row.payer).await?;
        let hold_until = row.hold_for.map_or(deadline, |seconds| now + Span::seconds(i64::from(seconds)));
        let facts = self.facts(Some(&payer), recipient.as_deref(), signature);
        let facts = Facts { step_up: self.step_up_of(caller, &row.payer), ..facts };
        let approved = (rules.at(now), rules.at(now).count(in_favour(&decisions)));
        let plan = match decide_signing(&row, deadline, &facts, currency, approved) {
            Ok(plan) => plan,
            Err(refusal) => {
                let answer = self.refusal_or_replay(stored, refusal).await;
                let answer = answer.map_err(|error| self.unapproved(&row, error))?;
                return self.signed_before(&row, deadline, answer, request.signature).await;
            }
        };
        self.check_request(&row).await?;
        let guardians = self.approving_guardians(&payer, in_favour(&decisions)).await?;
        let transaction = TransactionId::new(&self.env);
        let purpose = self.purpose_of(&row)?;
        let work = Work {
            request: stored,
            nonce: None,
            expires_at: Some(deadline),
            order: Some(OrderRow {
                id: 0,
                kind: if row.is_manual() { HOLD_ORDER } else { PAYMENT_ORDER },
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
                    client_ref: row.request.map(|request| request.to_string()),
                    purpose: purpose.map(|purpose| {
                        self.seal("transactions", "purpose", &transaction.to_string(), &purpose)
                    }),
                },
                hold_until,
                guardians,
            },
        };
        match self.executor.submit(work).await? {
            Outcome::Done(_) => Ok(signed(&row, hold_until, transaction, request.signature)),
            Outcome::Replayed(answer) => self.signed_before(&row, deadline, answer, request.signature).await,
            Outcome::Refused(refusal) => {
                Err(self.unapproved(&row, self.unless_approved(&row, &payer, refusal).await?))
            }
        }
    }

    /// The error, with the place where a person reads what is to be approved.
    fn unapproved(&self, row: &IntentRow, error: Error) -> Error {
        match error {
            Error::Refused(Refusal::ApprovalRequired { given, required }) => {
                Error::Unapproved { given, required, intent: row.id, link: self.intent_link(row) }
            }
            error => error,
        }
    }

    /// The first answer of an intent that was signed before.
    async fn signed_before(
        &self,
        row: &IntentRow,
        deadline: Timestamp,
        answer: [u8; 16],
        signature: String,
    ) -> Result<SignedIntent, Error> {
        let id = TransactionId::from_bytes(answer);
        let held_until = if row.is_manual() {
            let hold = self.db.read(move |reader| store::holds::find(reader, id)).await?;
            hold.map_or(deadline, |hold| hold.expires_at)
        } else {
            deadline
        };
        Ok(signed(row, held_until, id, signature))
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
        let held = self.db.read(move |reader| store::intents::find(reader, intent)).await?;
        if held.as_ref().is_some_and(IntentRow::is_manual) {
            let refusal =
                Refusal::InvalidState("held for the payee, who takes it: POST /intents/{intentId}/capture");
            return Err(refusal.into());
        }
        let action = match held.as_ref().and_then(|held| Some((held, held.request?))) {
            Some((held, request)) => {
                Action::Record(Arc::new(Settling::of(held, request, transaction, account)?))
            }
            None => {
                Action::End { transaction, intent: Some(intent), payer: Some(account), end: HoldEnd::Settled }
            }
        };
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
            (IntentStatus::Signed, _) if row.is_manual() => {
                let why = "held for the payee, who takes it or frees it: POST /intents/{intentId}/void";
                return Err(Error::NotCancellable(why));
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

    /// An intent as it is answered.
    async fn intent_of(
        &self,
        caller: &Caller,
        row: &IntentRow,
        wallet_ref: &str,
        approvals: Option<IntentApprovals>,
    ) -> Result<Intent, Error> {
        let currency = Currency::by_id(row.currency).ok_or(Error::Inconsistent("a currency"))?;
        let amount = currency.read(&row.amount).map_err(|_| Error::Inconsistent("an amount"))?;
        let transaction = row.transaction.filter(|_| row.is_manual());
        let hold = match transaction {
            Some(id) => self.db.read(move |reader| store::holds::find(reader, id)).await?,
            None => None,
        };
        let captured = hold.as_ref().map_or(q_core::Amount::ZERO, |hold| hold.captured);
        let waiting = approvals.as_ref().filter(|approvals| approvals.given < approvals.required);
        let waiting =
            waiting.map(|waits| format!("approve({} of {})", waits.required, waits.approvers.len()));
        let next_action = match row.status {
            IntentStatus::Pending if waiting.is_some() => waiting.unwrap_or_default(),
            IntentStatus::Pending => match self.step_up_of(caller, &row.payer).check(currency, amount) {
                Ok(()) => "sign".to_owned(),
                Err(_) => "stepUp".to_owned(),
            },
            IntentStatus::Signed if row.is_manual() => "wait".to_owned(),
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
            purpose: self.purpose_of(row)?,
            fees: fees(currency, row.fees),
            signing_input: text(self.intent_input(row, wallet_ref, currency)),
            signing_type: typ_of(row).to_owned(),
            capture: if row.is_manual() { "manual" } else { "auto" }.to_owned(),
            hold_for: row.hold_for,
            captured: row.is_manual().then(|| currency.text(captured)),
            hold_expires_at: hold.map(|hold| hold.expires_at),
            next_action,
            approvals,
            request_id: row.request,
            transaction_id: row.transaction,
            created_at: row.created_at,
            expires_at: row.expires_at,
        })
    }

    /// What the payer signs: rebuilt from the row, so that nothing else can be signed.
    pub(super) fn intent_input(&self, row: &IntentRow, wallet_ref: &str, currency: &Currency) -> Vec<u8> {
        let max_fees = currency.text(row.fees.total().unwrap_or(q_core::Amount::MAX));
        if let Some(hold_for) = row.hold_for {
            return signing::signing_input(&HoldOrder {
                amount: row.amount.as_str(),
                aud: self.instance.did.as_str(),
                currency: currency.code,
                expires_at: &row.expires_at.to_string(),
                hold_for,
                intent_id: &row.id.to_string(),
                max_fees: max_fees.as_str(),
                nonce: &row.nonce,
                payer: row.payer.as_str(),
                rail: INTERNAL_RAIL,
                recipient: &row.recipient,
                v: 1,
                wallet: wallet_ref,
            });
        }
        let request = row.request.map(|request| request.to_string());
        signing::signing_input(&PaymentOrder {
            amount: row.amount.as_str(),
            aud: self.instance.did.as_str(),
            client_ref: request.as_deref(),
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

/// The JOSE type of the signature under an intent.
const fn typ_of(row: &IntentRow) -> &'static str {
    if row.is_manual() { HOLD_TYP } else { PAYMENT_TYP }
}

fn signed(
    row: &IntentRow,
    hold_until: Timestamp,
    transaction: TransactionId,
    signature: String,
) -> SignedIntent {
    SignedIntent {
        transaction_id: transaction,
        intent_id: row.id,
        signature,
        hold_expires_at: hold_until,
        gas_estimate: None,
    }
}
