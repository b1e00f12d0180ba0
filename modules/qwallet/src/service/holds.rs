//! Money that is held for a payee: taken in parts, freed, many at once.
//!
//! **Invariant:** what a payee takes was signed by the payer; nobody but the payee moves it, and not after its time.

use std::sync::Arc;

use q_contract::Problem;
use q_core::{Amount, AmountText, AuditEntry, Caller, Did, RequestKey, hash};
use q_db::{DbError, Tx};
use qwallet_api::{
    BATCH_ITEMS_MAX, BatchId, Capture, CaptureId, CaptureItem, CaptureRequest, EscrowId, HoldBatchRequest,
    HoldBatchResult, Intent, IntentId, ItemResult, TransactionId,
};

use super::{
    Service,
    answers::with_leaves,
    commit::{Action, HoldBatch, HoldChange, HoldWish, Item, Outcome, Work},
    directory::WalletEntry,
    escrows,
    payments::{check_fields, fees},
    record::{Decision, Moment, Record, RecordKey, RecordTable, Step},
    request_of, unexpected,
};
use crate::{
    domain::{
        account::AccountId,
        books::{self, share},
        currency::Currency,
        escrows::{AUTO_RELEASE, State},
        fees::FeeAmounts,
        payment::Refusal,
        transfer::{Leg, Purpose},
    },
    error::Error,
    store::{
        self,
        escrows::EscrowRow,
        intents::{IntentRow, IntentStatus},
        ledger::TransactionKind,
        requests::Request,
    },
};

/// The number of the order under money that is held, in the store.
pub(super) const HOLD_ORDER: i64 = 6;

/// For how many seconds money is held unless the payer chose otherwise, and the longest that may be chosen.
const HOLD_FOR_DEFAULT: u32 = 7 * 86_400;
const HOLD_FOR_MAX: u32 = 30 * 86_400;

/// For how many seconds the money of an intent is held for its payee; nothing where the payer pays it.
pub(super) fn hold_for(capture: Option<&str>, asked: Option<u32>) -> Result<Option<u32>, Refusal> {
    match (capture, asked) {
        (None | Some("auto"), None) => Ok(None),
        (Some("manual"), None) => Ok(Some(HOLD_FOR_DEFAULT)),
        (Some("manual"), Some(60..=HOLD_FOR_MAX)) => Ok(asked),
        (None | Some("auto" | "manual"), Some(_)) => Err(Refusal::Malformed("holdFor")),
        (Some(_), _) => Err(Refusal::Malformed("capture")),
    }
}

impl Service {
    /// Takes a part of what is held for the caller.
    pub async fn capture(
        &self,
        caller: &Caller,
        key: Option<&RequestKey>,
        asked: CaptureRequest,
    ) -> Result<Capture, Error> {
        let order_ref = check_form(&asked)?;
        let (row, payer, payee) = self.held_for(caller, asked.intent_id).await?;
        let by = caller.did().ok_or(Refusal::IntentNotFound)?;
        let request = request_of(by.as_str(), key);
        let id = CaptureId::new(&self.env);
        let escrow = order_ref.is_some().then(|| EscrowId::new(&self.env));
        let change = match change_of(&row, Some((id, asked.amount.as_ref(), asked.is_final, escrow))) {
            Ok(change) => change,
            Err(refusal) => {
                return self.captured(self.refusal_or_replay(request, refusal).await?).await;
            }
        };
        let escrow = match escrow.zip(order_ref) {
            Some((id, order_ref)) => Some(self.escrowing(id, order_ref, &row, &payer, &payee)?),
            None => None,
        };
        let answer =
            self.change_hold(request, by, change, id.bytes(), (&row, &payer, &payee), escrow).await?;
        self.captured(answer).await
    }

    /// Frees what is still held for the caller.
    pub async fn void(
        &self,
        caller: &Caller,
        key: Option<&RequestKey>,
        id: IntentId,
    ) -> Result<Intent, Error> {
        let (row, payer, payee) = self.held_for(caller, id).await?;
        let by = caller.did().ok_or(Refusal::IntentNotFound)?;
        let request = request_of(by.as_str(), key);
        match change_of(&row, None) {
            Ok(change) => {
                self.change_hold(request, by, change, id.bytes(), (&row, &payer, &payee), None).await?;
            }
            Err(refusal) => drop(self.refusal_or_replay(request, refusal).await?),
        }
        self.intent(caller, id).await
    }

    /// Takes and frees what is held for the caller, in one commit.
    pub async fn change_holds(
        &self,
        caller: &Caller,
        key: Option<&RequestKey>,
        asked: HoldBatchRequest,
    ) -> Result<HoldBatchResult, Error> {
        if !(1..=BATCH_ITEMS_MAX).contains(&(asked.post.len() + asked.void.len())) {
            return Err(Refusal::BatchSize.into());
        }
        let mut amounts = asked.post.iter().filter_map(|item| item.amount.as_ref());
        amounts.try_for_each(AmountText::check_form).map_err(Refusal::AmountForm)?;
        let by = caller.did().ok_or(Refusal::IntentNotFound)?.clone();
        let request = request_of(by.as_str(), key);
        let ids: Vec<IntentId> =
            asked.post.iter().map(|item| item.intent_id).chain(asked.void.iter().copied()).collect();
        let rows = self.held_for_all(caller, &ids).await?;
        let (taken, freed) = rows.split_at(asked.post.len());
        let take = |(row, item): (&Option<IntentRow>, &CaptureItem)| {
            let row = row.as_ref().ok_or(Refusal::IntentNotFound)?;
            let capture = (CaptureId::new(&self.env), item.amount.as_ref(), item.is_final, None);
            change_of(row, Some(capture))
        };
        let free = |row: &Option<IntentRow>| change_of(row.as_ref().ok_or(Refusal::IntentNotFound)?, None);
        let changes = taken.iter().zip(&asked.post).map(take).chain(freed.iter().map(free)).collect();
        let id = BatchId::new(&self.env);
        let action = Action::Holds(HoldBatch { id, by, changes, is_atomic: asked.atomic });
        let work = Work { request, nonce: None, expires_at: None, order: None, action };
        let answer = match self.executor.submit(work).await? {
            Outcome::Done(_) => id.bytes(),
            Outcome::Replayed(answer) => answer,
            Outcome::Refused(refusal) => return Err(refusal.into()),
        };
        let transactions = rows.iter().map(|row| row.as_ref().and_then(|row| row.transaction));
        self.holds_changed(answer, transactions.collect()).await
    }

    /// An intent whose money the caller may take, with the payer and the payee. What is not signed is the payer's own
    /// affair, and other people's intents do not exist.
    async fn held_for(
        &self,
        caller: &Caller,
        id: IntentId,
    ) -> Result<(IntentRow, Arc<WalletEntry>, Arc<WalletEntry>), Error> {
        let row = self.db.read(move |reader| store::intents::find(reader, id)).await?;
        let row = row.ok_or(Refusal::IntentNotFound)?;
        let names = [row.wallet.to_string(), row.recipient_wallet.to_string()];
        let mut found = self.directory.find_all(names.iter().map(String::as_str)).await?;
        let payee = found.pop().flatten().ok_or(Error::Inconsistent("a payee's wallet"))?;
        let payer = found.pop().flatten().ok_or(Error::Inconsistent("a payer's wallet"))?;
        if self.may(caller, &payee, "capture") {
            return Ok((row, payer, payee));
        }
        if row.transaction.is_some() && self.may_read(caller, &payer) {
            // Who signed knows that there is a hold, and learns why nothing happens.
            return Err(Refusal::InvalidState("held for its payee, who alone takes or frees it").into());
        }
        Err(Refusal::IntentNotFound.into())
    }

    /// Those of these intents whose money the caller may take, in their order.
    async fn held_for_all(&self, caller: &Caller, ids: &[IntentId]) -> Result<Vec<Option<IntentRow>>, Error> {
        let asked = ids.to_vec();
        let rows = self.db.read(move |reader| store::intents::find_all(reader, &asked)).await?;
        let payees: Vec<String> = rows.iter().map(|row| row.recipient_wallet.to_string()).collect();
        let payees = self.directory.find_all(payees.iter().map(String::as_str)).await?;
        let own = rows
            .into_iter()
            .zip(payees)
            .filter(|(_, payee)| payee.as_ref().is_some_and(|payee| self.may(caller, payee, "capture")));
        let own: std::collections::HashMap<IntentId, IntentRow> = own.map(|(row, _)| (row.id, row)).collect();
        Ok(ids.iter().map(|id| own.get(id).cloned()).collect())
    }

    fn escrowing(
        &self,
        id: EscrowId,
        order_ref: String,
        row: &IntentRow,
        payer: &WalletEntry,
        payee: &WalletEntry,
    ) -> Result<Escrowing, Error> {
        let currency = Currency::by_id(row.currency).ok_or(Error::Inconsistent("a currency"))?;
        let held_in = self.held_in(currency.id)?;
        let account = payee.accounts.account(currency.id).ok_or(Refusal::CurrencyUnsupported)?;
        let now = self.env.now();
        let row = EscrowRow {
            id,
            payer: payer.row.id,
            payee: payee.row.id,
            arbiter: None,
            currency: currency.id,
            // What is taken, which is known when it is.
            amount: currency.read(&row.amount).map_err(|fault| Refusal::from(fault).of(currency))?,
            fees: row.fees,
            order_ref,
            splits: Vec::new(),
            funding: TransactionId::new(&self.env),
            state: State::Held,
            dispute: None,
            auto_release_at: now + AUTO_RELEASE,
            created_at: now,
            ended_at: None,
        };
        Ok(Escrowing { row, currency, held_in, account })
    }

    async fn change_hold(
        &self,
        request: Option<Request>,
        by: &Did,
        change: HoldChange,
        answer: [u8; 16],
        (row, payer, payee): (&IntentRow, &WalletEntry, &WalletEntry),
        escrow: Option<Escrowing>,
    ) -> Result<[u8; 16], Error> {
        // The payer's first: it says which lane carries this out.
        let parties = [payer, payee].into_iter().filter_map(|wallet| wallet.accounts.account(row.currency));
        let accounts = parties.chain(escrow.as_ref().map(|escrow| escrow.held_in)).collect();
        let record = HoldRecord { change, by: by.clone(), answer, accounts, escrow };
        let action = Action::Record(Arc::new(record));
        let work = Work { request, nonce: None, expires_at: None, order: None, action };
        match self.executor.submit(work).await? {
            Outcome::Done(_) => Ok(answer),
            Outcome::Replayed(answer) => Ok(answer),
            Outcome::Refused(refusal) => Err(refusal.into()),
        }
    }

    /// The answer of a part that was taken.
    async fn captured(&self, answer: [u8; 16]) -> Result<Capture, Error> {
        let id = CaptureId::from_bytes(answer);
        let found = self.db.read(move |reader| {
            let Some(row) = store::captures::find(reader, id)? else { return Ok(None) };
            let Some(held) = store::ledger::find_transaction(reader, row.transaction)? else {
                return Ok(None);
            };
            let first = with_leaves(reader, held.first_seq, 1)?;
            let moved = with_leaves(reader, row.first_seq, row.transfer_count)?;
            let times = store::ledger::commit_times(reader, &[row.commit])?;
            let account = moved.first().map(|(transfer, _)| transfer.leg.debit);
            let currency = match account {
                Some(account) => store::ledger::currency_of(reader, account)?,
                None => return Ok(None),
            };
            Ok::<_, DbError>(Some((row, held, first, moved, times, currency)))
        });
        let (row, held, first, moved, times, currency) = found.await?.ok_or_else(unexpected)?;
        let currency = Currency::by_id(currency).ok_or(Error::Inconsistent("a currency"))?;
        let part = |purpose| {
            let moved = moved.iter().find(|(transfer, _)| transfer.leg.purpose == purpose);
            moved.map_or(Amount::ZERO, |(transfer, _)| transfer.leg.amount)
        };
        let whole = first.first().map_or(Amount::ZERO, |(transfer, _)| transfer.leg.amount);
        let left = if row.is_final { None } else { whole.checked_sub(row.captured) };
        let fee_amounts =
            FeeAmounts { platform: part(Purpose::PlatformFee), network: part(Purpose::NetworkFee) };
        Ok(Capture {
            capture_id: row.id,
            intent_id: held.intent.ok_or(Error::Inconsistent("an intent"))?,
            transaction_id: row.transaction,
            amount: currency.text(part(Purpose::Principal)),
            currency: currency.code.to_owned(),
            fees: fees(currency, fee_amounts),
            captured: currency.text(row.captured),
            left: currency.text(left.unwrap_or_default()),
            is_final: row.is_final,
            escrow_id: row.escrow,
            settlement_hash: moved.first().map(|(_, leaf)| hash::hex(leaf)).unwrap_or_default(),
            captured_at: times.first().map(|(_, at)| *at).unwrap_or_default(),
        })
    }

    async fn holds_changed(
        &self,
        answer: [u8; 16],
        transactions: Vec<Option<TransactionId>>,
    ) -> Result<HoldBatchResult, Error> {
        let found = self.db.read(move |reader| {
            let Some((_, refusals, commit)) = store::requests::find_batch(reader, answer)? else {
                return Ok::<_, DbError>(None);
            };
            Ok(Some((refusals, store::ledger::commit_times(reader, &[commit])?)))
        });
        let (refusals, times) = found.await?.ok_or(Error::Inconsistent("a batch"))?;
        let refusals: Vec<(u32, Problem)> =
            serde_json::from_str(&refusals).map_err(|_| Error::Inconsistent("the refusals of a batch"))?;
        let committed = u32::try_from(transactions.len() - refusals.len()).unwrap_or(u32::MAX);
        let mut refusals = refusals.into_iter().peekable();
        let results = (0u32..).zip(transactions).map(|(index, transaction)| {
            let problem = refusals.next_if(|(refused, _)| *refused == index).map(|(_, problem)| problem);
            ItemResult { transaction_id: transaction.filter(|_| problem.is_none()), problem }
        });
        Ok(HoldBatchResult {
            batch_id: BatchId::from_bytes(answer),
            committed,
            results: results.collect(),
            settled_at: times.first().map(|(_, at)| *at).unwrap_or_default(),
        })
    }
}

/// Checks the form; answers the reference of the escrow, where it is to go into one.
fn check_form(asked: &CaptureRequest) -> Result<Option<String>, Refusal> {
    if let Some(amount) = &asked.amount {
        amount.check_form().map_err(Refusal::AmountForm)?;
    }
    match (asked.into.as_deref(), &asked.order_ref) {
        (None | Some("payee"), None) => Ok(None),
        (Some("escrow"), Some(order_ref)) => {
            check_fields(order_ref, "a-fine-nonce", None).map_err(|_| Refusal::Malformed("orderRef"))?;
            Ok(Some(order_ref.clone()))
        }
        (None | Some("payee" | "escrow"), _) => Err(Refusal::Malformed("orderRef")),
        (Some(_), _) => Err(Refusal::Malformed("into")),
    }
}

/// A part to take, as it is asked for: its id, how much, whether it is the last, and the escrow it goes into.
type Wanted<'a> = (CaptureId, Option<&'a AmountText>, bool, Option<EscrowId>);

/// What is to be done with what an intent holds, as far as the intent tells: take a part, or free the rest.
fn change_of(row: &IntentRow, wanted: Option<Wanted<'_>>) -> Result<HoldChange, Refusal> {
    if !row.is_manual() {
        return Err(Refusal::InvalidState(
            "paid by its payer; only `capture: \"manual\"` holds it for the payee",
        ));
    }
    let transaction = match (row.status, row.transaction) {
        (IntentStatus::Pending, _) => return Err(Refusal::InvalidState("not signed yet")),
        (status, None) => return Err(Refusal::InvalidState(status.name())),
        (_, Some(transaction)) => transaction,
    };
    let currency = Currency::by_id(row.currency).ok_or(Refusal::CurrencyUnsupported)?;
    let wish = match wanted {
        None => HoldWish::Void,
        Some((id, amount, is_final, escrow)) => {
            let read = |amount| currency.read(amount).map_err(|fault| Refusal::from(fault).of(currency));
            let amount = amount.map(read).transpose()?;
            HoldWish::Capture(id, books::Capture { amount, is_final }, escrow)
        }
    };
    Ok(HoldChange { transaction, intent: row.id, wish })
}

/// A part that the house holds on.
#[derive(Debug)]
struct Escrowing {
    /// Its amount and fees are those of the intent until it is known what is taken.
    row: EscrowRow,
    currency: &'static Currency,
    held_in: AccountId,
    /// The payee's.
    account: AccountId,
}

/// A change of a hold in the executor.
#[derive(Debug)]
struct HoldRecord {
    change: HoldChange,
    by: Did,
    answer: [u8; 16],
    accounts: Vec<AccountId>,
    escrow: Option<Escrowing>,
}

impl HoldRecord {
    /// The escrow that a part goes into, and what the books do for it.
    fn escrowed(
        &self,
        tx: &mut Tx<'_>,
        escrowing: &Escrowing,
        moment: Moment,
    ) -> Result<Result<(EscrowRow, [Step; 2]), Refusal>, DbError> {
        let HoldWish::Capture(id, capture, escrow) = self.change.wish else {
            return Ok(Err(Refusal::InvalidState("not taken")));
        };
        let row = &escrowing.row;
        if store::escrows::of_order(tx, row.payer, &row.order_ref)?.is_some() {
            return Ok(Err(escrows::EXISTS));
        }
        let hold = store::holds::find(tx, self.change.transaction)?;
        let before = hold.map_or(Amount::ZERO, |hold| hold.captured);
        let left = row.amount.checked_sub(before).unwrap_or_default();
        // More than is left is refused by the books, which take the part before the escrow gets it.
        let amount = capture.amount.unwrap_or(left);
        let after = before.checked_add(amount).unwrap_or(row.amount).min(row.amount);
        let fee = |fee| share(fee, after, row.amount).checked_sub(share(fee, before, row.amount));
        let fees = FeeAmounts {
            platform: fee(row.fees.platform).unwrap_or_default(),
            network: fee(row.fees.network).unwrap_or_default(),
        };
        let leg =
            Leg { debit: escrowing.account, credit: escrowing.held_in, amount, purpose: Purpose::Escrow };
        let item = Item {
            id: row.funding,
            kind: TransactionKind::Escrow,
            legs: vec![leg],
            intent: Some(self.change.intent),
            client_ref: Some(row.order_ref.clone()),
            purpose: None,
        };
        let capture = books::Capture { amount: Some(amount), ..capture };
        let wish = HoldWish::Capture(id, capture, escrow);
        let steps = [Step::Change(HoldChange { wish, ..self.change }), Step::Pay(item)];
        let auto_release_at = moment.at + AUTO_RELEASE;
        Ok(Ok((EscrowRow { amount, fees, auto_release_at, created_at: moment.at, ..row.clone() }, steps)))
    }

    fn audit(&self) -> AuditEntry {
        let (what, amount, is_final) = match self.change.wish {
            HoldWish::Capture(_, capture, _) => ("hold.capture", capture.amount, capture.is_final),
            HoldWish::Void => ("hold.void", None, true),
        };
        let facts = serde_json::json!({
            "intent": self.change.intent.to_string(),
            "units": amount.map_or_else(|| "all that is left".to_owned(), |amount| amount.units().to_string()),
            "final": is_final,
        });
        AuditEntry::change(what, Some(&self.by), self.change.transaction).details(facts)
    }
}

impl Record for HoldRecord {
    fn key(&self) -> RecordKey {
        RecordKey(RecordTable::Holds, self.change.transaction.bytes())
    }

    /// The hold is locked with all other holds.
    fn lock(&self, _: &mut Tx<'_>) -> Result<(), DbError> {
        Ok(())
    }

    fn accounts(&self) -> Vec<AccountId> {
        self.accounts.clone()
    }

    fn holds(&self) -> Vec<TransactionId> {
        vec![self.change.transaction]
    }

    fn intents(&self) -> Vec<IntentId> {
        vec![self.change.intent]
    }

    fn decide(&self, tx: &mut Tx<'_>, moment: Moment) -> Result<Result<Decision<'_>, Refusal>, DbError> {
        let (steps, escrow) = match &self.escrow {
            None => (vec![Step::Change(self.change)], None),
            Some(escrowing) => match self.escrowed(tx, escrowing, moment)? {
                Ok((row, steps)) => (steps.into(), Some((row, escrowing.currency))),
                Err(refusal) => return Ok(Err(refusal)),
            },
        };
        let write = move |tx: &mut Tx<'_>, _: Moment| {
            if let Some((row, currency)) = &escrow {
                escrows::fund(tx, row, currency, &self.by)?;
            }
            tx.audit(self.audit())?;
            Ok(())
        };
        Ok(Ok(Decision { steps, answer: self.answer, write: Box::new(write) }))
    }
}
