//! Many payments under one signature.

use q_contract::Problem;
use q_core::{Amount, AmountText, Caller, Did, RequestKey, Timestamp, hash};
use qwallet_api::{
    BATCH_ITEMS_MAX, BatchId, BatchItem, BatchRequest, BatchResult, ImportId, ItemResult, RequestId,
    TransactionId, errors,
    signing::{self, BatchOrder, PAYMENT_TYP},
};

use super::{
    Service,
    commit::{Action, Batch, Item, Outcome, Work},
    directory::WalletEntry,
    payments::{check_fields, text},
    request_of,
};
use crate::{
    domain::{
        currency::{AmountRefusal, Currency},
        fees::FeeSchedule,
        payment::{self, Facts, INTERNAL_RAIL, Plan, Refusal, StepUp},
    },
    error::Error,
    store::{
        self,
        ledger::{OrderRow, TransactionKind},
        requests::{Nonce, Request},
    },
};

/// The number of a batch's order in the store.
const BATCH_ORDER: i64 = 1;

/// A batch whose form is checked, from a request or a payout file.
pub(super) struct BatchTerms<'a> {
    pub payer: &'a Did,
    pub wallet: &'a str,
    pub currency: &'a str,
    pub max_fees: &'a AmountText,
    pub rail: &'a str,
    pub nonce: &'a str,
    pub expires_at: Timestamp,
    pub is_atomic: bool,
    pub items: &'a [BatchItem],
    /// The signing input and the signature over it.
    pub input: Vec<u8>,
    pub signature: String,
    pub request: Option<Request>,
    pub import: Option<ImportId>,
    pub step_up: StepUp<'a>,
}

impl Service {
    /// Pays many under one signature.
    pub async fn pay_batch(
        &self,
        caller: &Caller,
        key: Option<&RequestKey>,
        batch: BatchRequest,
    ) -> Result<BatchResult, Error> {
        let expires_at = check_form(&batch)?;
        if !payment::is_expiry(expires_at, self.env.now()) {
            return Err(Refusal::Malformed("expiresAt").into());
        }
        let items_hash = hash::hex(&hash::sha256(&signing::items_input(&batch.items)));
        let rail = batch.rail.as_deref().unwrap_or(INTERNAL_RAIL);
        let input = signing::signing_input(&BatchOrder {
            atomic: batch.atomic,
            aud: self.instance.did.as_str(),
            client_ref: &batch.client_ref,
            count: batch.items.len(),
            currency: &batch.currency,
            document_hash: None,
            expires_at: &batch.expires_at,
            items_hash: Some(&items_hash),
            max_fees: batch.max_fees.as_str(),
            nonce: &batch.nonce,
            payer: batch.payer.as_str(),
            rail,
            v: 1,
            wallet: &batch.wallet,
        });
        self.carry_out_batch(BatchTerms {
            payer: &batch.payer,
            wallet: &batch.wallet,
            currency: &batch.currency,
            max_fees: &batch.max_fees,
            rail,
            nonce: &batch.nonce,
            expires_at,
            is_atomic: batch.atomic,
            items: &batch.items,
            input,
            signature: batch.signature,
            request: request_of(batch.payer.as_str(), key),
            import: None,
            step_up: self.step_up_of(caller, &batch.payer),
        })
        .await
    }

    pub(super) async fn carry_out_batch(&self, terms: BatchTerms<'_>) -> Result<BatchResult, Error> {
        let id = BatchId::new(&self.env);
        let work = match self.decide_batch(id, terms).await? {
            Ok(work) => work,
            Err((request, refusal)) => {
                return self.batch_result(self.refusal_or_replay(request, refusal).await?).await;
            }
        };
        let Action::Batch(Batch { items, .. }) = &work.action else { return Err(super::unexpected()) };
        let item_count = items.len();
        match self.executor.submit(work).await? {
            Outcome::Done(done) => Ok(result(id, item_count, done.refusals.as_ref().clone(), done.at)),
            Outcome::Replayed(answer) => self.batch_result(answer).await,
            Outcome::Refused(refusal) => Err(refusal.into()),
        }
    }

    /// The answer of a batch that was carried out before.
    pub(super) async fn batch_result(&self, answer: [u8; 16]) -> Result<BatchResult, Error> {
        let stored = self.db.read(move |reader| {
            let Some((item_count, refusals, commit)) = store::requests::find_batch(reader, answer)? else {
                return Ok::<_, q_db::DbError>(None);
            };
            let times = store::ledger::commit_times(reader, &[commit])?;
            Ok(Some((item_count, refusals, times.first().map(|(_, at)| *at).unwrap_or_default())))
        });
        let (item_count, refusals, at) = stored.await?.ok_or(Error::Inconsistent("a batch"))?;
        let refusals: Vec<(u32, Problem)> =
            serde_json::from_str(&refusals).map_err(|_| Error::Inconsistent("the refusals of a batch"))?;
        let item_count = usize::try_from(item_count).unwrap_or(BATCH_ITEMS_MAX);
        Ok(result(BatchId::from_bytes(answer), item_count, refusals, at))
    }

    /// Decides everything but the money: the work, or the refusal of the whole.
    async fn decide_batch(
        &self,
        id: BatchId,
        terms: BatchTerms<'_>,
    ) -> Result<Result<Work, (Option<Request>, Refusal)>, Error> {
        let payer = self.directory.find(terms.wallet).await?;
        let payer = payer.filter(|entry| entry.row.owner == *terms.payer);
        let signature =
            self.check_signature(&terms.signature, PAYMENT_TYP, &terms.input, terms.payer).await?;
        let facts = self.facts(payer.as_deref(), None, signature);
        let facts = Facts { step_up: terms.step_up, ..facts };
        let refused = |refusal| Ok(Err((terms.request, refusal)));
        let account = match payment::decide_order(&facts, terms.rail, terms.expires_at) {
            Ok(account) => account,
            Err(refusal) => return refused(refusal),
        };
        let Some(currency) = Currency::find(terms.currency) else {
            return refused(Refusal::CurrencyUnsupported);
        };
        let max_fees = match terms.max_fees.parse(currency.scale) {
            Ok(max_fees) => max_fees,
            Err(fault) => return refused(AmountRefusal::Text(fault).into()),
        };
        let names = terms.items.iter().map(|item| item.recipient.as_str());
        let recipients = self.directory.find_all(names).await?;
        let rules = match &payer {
            Some(payer) => self.profile_rules(payer).await?,
            None => return refused(Refusal::WalletNotFound),
        };
        let plan_by = |schedule: &FeeSchedule| -> Vec<Result<Plan, Refusal>> {
            let mut facts = facts.clone();
            let decided = terms.items.iter().zip(&recipients).map(|(item, recipient)| {
                if let Some(recipient) = recipient {
                    rules.check(recipient, item.purpose.is_some())?;
                }
                let is_blocked = |entry: &WalletEntry| self.keys.is_blocked(&entry.row.owner);
                facts.is_recipient_suspended = recipient.as_deref().is_some_and(is_blocked);
                let recipient = recipient.as_deref().map(|entry: &WalletEntry| &entry.accounts);
                payment::decide_item(account, currency, &item.amount, recipient, &facts, schedule)
            });
            decided.collect()
        };
        let mut plans = plan_by(&facts.schedules.now);
        // All items together: who may not pay much at once may not do so in pieces.
        let total = plans.iter().flatten().try_fold(Amount::ZERO, |sum, plan| sum.checked_add(plan.amount));
        let total = total.unwrap_or(Amount::MAX);
        if let Err(refusal) = facts.step_up.check(currency, total) {
            let total = currency.text(total);
            return refused(self.approvals_first(refusal, payer.as_deref(), currency.code, &total).await?);
        }
        if let Err(refusal) = payment::check_fees(total_fees(plans.iter().flatten()), max_fees) {
            let Some(before) = &facts.schedules.before else { return refused(refusal) };
            // Who was quoted a moment before the fees rose pays what was quoted.
            plans = plan_by(before);
            if payment::check_fees(total_fees(plans.iter().flatten()), max_fees).is_err() {
                return refused(refusal);
            }
        }
        let items = terms.items.iter().zip(plans).zip(0u32..);
        let items = items.map(|((item, plan), at)| Ok(self.item(item, plan?, item_id(id, at)))).collect();
        Ok(Ok(Work {
            request: terms.request,
            nonce: Some(Nonce::of(terms.payer.as_str(), terms.nonce, terms.expires_at)),
            expires_at: Some(terms.expires_at),
            order: Some(OrderRow {
                id: 0,
                kind: BATCH_ORDER,
                signer: terms.payer.to_string(),
                input: text(terms.input),
                signatures: terms.signature,
            }),
            action: Action::Batch(Batch { id, items, is_atomic: terms.is_atomic, import: terms.import }),
        }))
    }

    fn item(&self, item: &BatchItem, plan: Plan, id: TransactionId) -> Item {
        let purpose = item
            .purpose
            .as_deref()
            .map(|purpose| self.seal("transactions", "purpose", &id.to_string(), purpose));
        Item {
            id,
            kind: TransactionKind::Payment,
            legs: plan.legs,
            intent: None,
            client_ref: item.client_ref.clone(),
            purpose,
        }
    }
}

/// A request for money is fulfilled by a payment of its own, which is decided together with it: one of many that named
/// it would leave it open.
pub(super) fn check_no_request(client_ref: &str) -> Result<(), Refusal> {
    if client_ref.parse::<RequestId>().is_err() {
        return Ok(());
    }
    let detail = "the reference is a request for money, which is paid by itself: POST /payments";
    Err(Refusal::Record { code: &errors::REQUEST_STATE, detail })
}

/// The fees of several payments together; `None` when that is too large.
pub(super) fn total_fees<'a>(plans: impl Iterator<Item = &'a Plan>) -> Option<Amount> {
    plans.into_iter().try_fold(Amount::ZERO, |sum, plan| sum.checked_add(plan.fees.total()?))
}

/// The id of one item: the batch's with the item's place in its last four bytes.
///
/// Still a UUIDv7 with 42 random bits, and neither the answer nor a repetition has to store it.
fn item_id(batch: BatchId, at: u32) -> TransactionId {
    let mut bytes = batch.bytes();
    bytes[12..].copy_from_slice(&(at + 1).to_be_bytes());
    TransactionId::from_bytes(bytes)
}

fn result(id: BatchId, item_count: usize, refusals: Vec<(u32, Problem)>, at: Timestamp) -> BatchResult {
    let committed = u32::try_from(item_count - refusals.len()).unwrap_or(u32::MAX);
    let mut refusals = refusals.into_iter().peekable();
    let results = (0u32..).take(item_count).map(|index| {
        let problem = refusals.next_if(|(refused, _)| *refused == index).map(|(_, problem)| problem);
        let transaction_id = problem.is_none().then(|| item_id(id, index));
        ItemResult { transaction_id, problem }
    });
    BatchResult { batch_id: id, committed, results: results.collect(), settled_at: at }
}

fn check_form(batch: &BatchRequest) -> Result<Timestamp, Refusal> {
    if batch.items.is_empty() || batch.items.len() > BATCH_ITEMS_MAX {
        return Err(Refusal::BatchSize);
    }
    batch.max_fees.check_form().map_err(Refusal::AmountForm)?;
    check_fields(&batch.client_ref, &batch.nonce, None)?;
    for item in &batch.items {
        item.amount.check_form().map_err(Refusal::AmountForm)?;
        if item.client_ref.as_deref().is_some_and(|text| !payment::is_client_ref(text)) {
            return Err(Refusal::Malformed("items[].clientRef"));
        }
        check_no_request(item.client_ref.as_deref().unwrap_or_default())?;
        if item.purpose.as_deref().is_some_and(|text| !payment::is_purpose(text)) {
            return Err(Refusal::Malformed("items[].purpose"));
        }
    }
    batch.expires_at.parse().map_err(|_| Refusal::Malformed("expiresAt"))
}
