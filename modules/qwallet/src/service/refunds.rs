//! Giving back what a payment brought.

use std::sync::Arc;

use q_core::{Amount, AmountText, AuditEntry, Caller, RequestKey, Timestamp};
use q_db::{DbError, Tx};
use qwallet_api::{
    REFUND_TYP, Refund, RefundList, RefundOrder, RefundRequest, TransactionId, errors, signing,
};

use super::{
    Service,
    answers::Stored,
    commit::{Action, Item, Outcome, Work},
    directory::WalletEntry,
    payments::{check_fields, fees, text},
    record::{Decision, Moment, Record, RecordKey, RecordTable, Step},
    request_of, unexpected,
};
use crate::{
    domain::{
        account::AccountId,
        currency::Currency,
        fees::FeeAmounts,
        payment::{self, HouseAccounts, Refusal},
        refunds,
        transfer::{Leg, Purpose},
    },
    error::Error,
    store::{
        self,
        ledger::{OrderRow, TransactionKind},
        refunds::RefundRow,
        requests::Nonce,
    },
};

/// The number of a refund's order in the store.
const REFUND_ORDER: i64 = 3;

/// Whoever paid asks for the money back by a refund of their own.
const OWN_PAYMENT: Refusal = Refusal::InvalidState("one that you made: whoever received it gives it back");

/// A payment that may be refunded, as it was settled.
struct Payment {
    id: TransactionId,
    payee: Arc<WalletEntry>,
    currency: &'static Currency,
    amount: Amount,
    fees: FeeAmounts,
    settled_at: Timestamp,
    /// The payer's account, and the payee's.
    accounts: (AccountId, AccountId),
}

impl Service {
    /// Gives back all or part of a payment, under the signature of who received it.
    pub async fn refund(&self, key: Option<&RequestKey>, asked: RefundRequest) -> Result<Refund, Error> {
        let (expires_at, with_fees) = check_form(&asked)?;
        let request = request_of(asked.payee.as_str(), key);
        let input = signing::signing_input(&RefundOrder {
            amount: asked.amount.as_ref().map(AmountText::as_str),
            aud: self.instance.did.as_str(),
            expires_at: &asked.expires_at,
            nonce: &asked.nonce,
            payee: asked.payee.as_str(),
            reason: &asked.reason,
            refund_fees: &asked.refund_fees,
            transaction_id: &asked.transaction_id.to_string(),
            v: 1,
        });
        let decided = self.decide_refund(&asked, expires_at, with_fees, &input).await;
        let record = match decided {
            Ok(record) => record,
            Err(Error::Refused(refusal)) => {
                return self.replayed_refund(self.refusal_or_replay(request, refusal).await?).await;
            }
            Err(error) => return Err(error),
        };
        let (id, payee) = (record.id, record.payee.clone());
        let work = Work {
            request,
            nonce: Some(Nonce::of(asked.payee.as_str(), &asked.nonce, expires_at)),
            expires_at: Some(expires_at),
            order: Some(OrderRow {
                id: 0,
                kind: REFUND_ORDER,
                signer: asked.payee.to_string(),
                input: text(input),
                signatures: asked.signature,
            }),
            action: Action::Record(Arc::new(record)),
        };
        match self.executor.submit(work).await? {
            Outcome::Done(_) => self.replayed_refund(id.bytes()).await,
            Outcome::Replayed(answer) => self.replayed_refund(answer).await,
            Outcome::Refused(refusal) => Err(self.refused(refusal, &payee).await),
        }
    }

    /// What was given back of a payment, for those who may see the payment.
    pub async fn refunds(&self, caller: &Caller, payment: TransactionId) -> Result<RefundList, Error> {
        self.transaction_for(caller, payment).await?;
        let rows = self.db.read(move |reader| store::refunds::of_payment(reader, payment)).await?;
        let mut items = Vec::with_capacity(rows.len());
        for row in rows {
            items.push(self.refund_answer(row).await?);
        }
        Ok(RefundList { items })
    }

    async fn decide_refund(
        &self,
        asked: &RefundRequest,
        expires_at: Timestamp,
        with_fees: bool,
        input: &[u8],
    ) -> Result<RefundRecord, Error> {
        let now = self.env.now();
        if !payment::is_expiry(expires_at, now) {
            return Err(Refusal::Malformed("expiresAt").into());
        }
        let payment = match self.refundable(asked).await {
            // Told to whom it concerns, who proves it first.
            Err(Error::Refused(OWN_PAYMENT)) => {
                let signature =
                    self.check_signature(&asked.signature, REFUND_TYP, input, &asked.payee).await?;
                return Err(signature.map_or(Error::TransactionNotFound, |()| OWN_PAYMENT.into()));
            }
            found => found?,
        };
        if expires_at <= now {
            return Err(Refusal::Expired.into());
        }
        let signature = self.check_signature(&asked.signature, REFUND_TYP, input, &asked.payee).await?;
        signature.map_err(Refusal::Signature)?;
        let currency = payment.currency;
        let amount = match &asked.amount {
            Some(amount) => Some(currency.read(amount).map_err(|fault| Refusal::from(fault).of(currency))?),
            None => None,
        };
        if payment.settled_at + refunds::WINDOW < now {
            return Err(Refusal::Record {
                code: &errors::REFUND_WINDOW_CLOSED,
                detail: "a payment is refunded within 180 days; later, pay the payer back",
            }
            .into());
        }
        let house = *self.directory.house_of(currency.id).ok_or(Refusal::CurrencyUnsupported)?;
        let id = TransactionId::new(&self.env);
        let reason = (!asked.reason.is_empty())
            .then(|| self.seal("refunds", "reason", &id.to_string(), &asked.reason));
        Ok(RefundRecord {
            id,
            payment: payment.id,
            payee: payment.payee,
            currency,
            amount: payment.amount,
            fees: with_fees.then_some(payment.fees),
            asked: amount,
            accounts: payment.accounts,
            house,
            reason,
        })
    }

    /// The payment that is to be refunded, if it is the signer's and settled.
    async fn refundable(&self, asked: &RefundRequest) -> Result<Payment, Error> {
        let stored = self.stored_transaction(asked.transaction_id).await?;
        let stored = stored.ok_or(Error::TransactionNotFound)?;
        let (first, _) = stored.transfers.first().ok_or(Error::Inconsistent("a payment's transfers"))?;
        let wallets = self.directory.of_accounts(&[first.leg.credit, first.leg.debit]).await?;
        let payee = wallets.get(&first.leg.credit).filter(|wallet| wallet.row.owner == asked.payee);
        // Whose payment it is not learns nothing of it.
        let (payee, payer) = match (payee, wallets.get(&first.leg.debit)) {
            (Some(payee), Some(payer)) => (payee.clone(), payer),
            (Some(_), None) => return Err(Refusal::InvalidState("not from a wallet").into()),
            (None, Some(payer)) if payer.row.owner == asked.payee => return Err(OWN_PAYMENT.into()),
            (None, _) => return Err(Error::TransactionNotFound),
        };
        if !matches!(stored.row.kind, TransactionKind::Payment | TransactionKind::Charge) {
            return Err(Refusal::InvalidState("not a payment").into());
        }
        let settled_at = stored.settled_at().ok_or(Refusal::InvalidState("not settled"))?;
        let currency = Currency::by_id(stored.currency).ok_or(Error::Inconsistent("a currency"))?;
        let account = |wallet: &WalletEntry| wallet.accounts.account(currency.id);
        let accounts = account(payer).zip(account(&payee)).ok_or(Refusal::CurrencyUnsupported)?;
        Ok(Payment {
            id: asked.transaction_id,
            payee,
            currency,
            amount: stored.settled_amount(),
            fees: stored.settled_fees(),
            settled_at,
            accounts,
        })
    }

    async fn replayed_refund(&self, answer: [u8; 16]) -> Result<Refund, Error> {
        let id = TransactionId::from_bytes(answer);
        let row = self.db.read(move |reader| store::refunds::find(reader, id)).await?;
        self.refund_answer(row.ok_or_else(unexpected)?).await
    }

    async fn refund_answer(&self, row: RefundRow) -> Result<Refund, Error> {
        let transaction = self.transaction(row.id, false).await?.ok_or_else(unexpected)?;
        let currency = Currency::find(&transaction.currency).ok_or(Error::Inconsistent("a currency"))?;
        let reason = self.unseal("refunds", "reason", &row.id.to_string(), row.reason.as_deref())?;
        Ok(Refund {
            refund_id: row.id,
            transaction_id: row.payment,
            amount: currency.text(row.amount),
            currency: transaction.currency,
            fees: fees(currency, row.fees),
            reason: reason.unwrap_or_default(),
            remaining: currency.text(row.remaining),
            created_at: row.created_at,
            settlement_hash: transaction.settlement_hash,
        })
    }
}

impl Stored {
    /// What the recipient got for good.
    fn settled_amount(&self) -> Amount {
        self.settled(Purpose::Principal)
    }

    /// What the house got for good.
    pub(super) fn settled_fees(&self) -> FeeAmounts {
        FeeAmounts {
            platform: self.settled(Purpose::PlatformFee),
            network: self.settled(Purpose::NetworkFee),
        }
    }

    fn settled(&self, purpose: Purpose) -> Amount {
        let is_it = |leg: &Leg| leg.purpose == purpose;
        let moved = self.transfers.iter().filter(|(transfer, _)| transfer.phase.is_final_movement());
        let parts =
            moved.filter(|(transfer, _)| is_it(&transfer.leg)).map(|(transfer, _)| transfer.leg.amount);
        parts.fold(Amount::ZERO, |sum, part| sum.checked_add(part).unwrap_or(Amount::MAX))
    }
}

/// A refund in the executor.
#[derive(Debug)]
struct RefundRecord {
    id: TransactionId,
    payment: TransactionId,
    payee: Arc<WalletEntry>,
    currency: &'static Currency,
    /// What the payment brought.
    amount: Amount,
    /// Its fees, where a share of them goes back.
    fees: Option<FeeAmounts>,
    asked: Option<Amount>,
    /// The payer's account, and the payee's.
    accounts: (AccountId, AccountId),
    house: HouseAccounts,
    reason: Option<Vec<u8>>,
}

impl Record for RefundRecord {
    fn key(&self) -> RecordKey {
        RecordKey(RecordTable::Refunds, self.payment.bytes())
    }

    fn lock(&self, tx: &mut Tx<'_>) -> Result<(), DbError> {
        store::refunds::lock_payment(tx, self.payment)
    }

    fn accounts(&self) -> Vec<AccountId> {
        let (payer, payee) = self.accounts;
        match self.fees {
            None => vec![payee, payer],
            Some(_) => vec![payee, payer, self.house.platform_fees, self.house.network_fees],
        }
    }

    fn decide(&self, tx: &mut Tx<'_>, moment: Moment) -> Result<Result<Decision<'_>, Refusal>, DbError> {
        let earlier = store::refunds::of_payment(tx, self.payment)?;
        let refunded = earlier.iter().try_fold(Amount::ZERO, |sum, row| sum.checked_add(row.amount));
        // A sum that does not fit is above every payment.
        let refunded = refunded.unwrap_or(Amount::MAX);
        let Ok(refund) = refunds::decide(self.amount, refunded, self.asked, self.fees) else {
            return Ok(Err(Refusal::Record {
                code: &errors::REFUND_EXCEEDS_PAYMENT,
                detail: "more than is left of the payment; GET /tx/{transactionId}/refunds lists what went back",
            }));
        };
        let (payer, payee) = self.accounts;
        let back = |debit, amount, purpose| Leg { debit, credit: payer, amount, purpose };
        let legs = [
            back(payee, refund.amount, Purpose::Refund),
            back(self.house.platform_fees, refund.fees.platform, Purpose::FeeRefund),
            back(self.house.network_fees, refund.fees.network, Purpose::FeeRefund),
        ];
        let item = Item {
            id: self.id,
            kind: TransactionKind::Refund,
            legs: legs.into_iter().filter(|leg| !leg.amount.is_zero()).collect(),
            intent: None,
            client_ref: None,
            purpose: None,
        };
        let row = RefundRow {
            id: self.id,
            payment: self.payment,
            amount: refund.amount,
            fees: refund.fees,
            remaining: refund.remaining,
            reason: self.reason.clone(),
            created_at: moment.at,
        };
        let write = move |tx: &mut Tx<'_>, _: Moment| {
            store::refunds::insert(tx, &row)?;
            let facts = serde_json::json!({
                "payment": row.payment.to_string(),
                "units": row.amount.units().to_string(),
                "currency": self.currency.code,
            });
            let entry = AuditEntry::change("payment.refund", Some(&self.payee.row.owner), row.id);
            tx.audit(entry.details(facts))?;
            Ok(())
        };
        Ok(Ok(Decision { steps: vec![Step::Pay(item)], answer: self.id.bytes(), write: Box::new(write) }))
    }
}

/// Checks the form, and reads the expiry and whether fees go back.
fn check_form(asked: &RefundRequest) -> Result<(Timestamp, bool), Refusal> {
    if let Some(amount) = &asked.amount {
        amount.check_form().map_err(Refusal::AmountForm)?;
    }
    // The reason is what the purpose of a payment is; there is no reference to check.
    check_fields("-", &asked.nonce, Some(&asked.reason)).map_err(|refusal| match refusal {
        Refusal::Malformed("purpose") => Refusal::Malformed("reason"),
        other => other,
    })?;
    let with_fees = match asked.refund_fees.as_str() {
        "none" => false,
        "proportional" => true,
        _ => return Err(Refusal::Malformed("refundFees")),
    };
    let expires_at = asked.expires_at.parse().map_err(|_| Refusal::Malformed("expiresAt"))?;
    Ok((expires_at, with_fees))
}
