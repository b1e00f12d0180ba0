//! Requests for money: made, shown, drawn, taken back, fulfilled by a payment.
//!
//! **Invariant:** a request that is to be paid once is paid once.

use std::sync::Arc;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use q_core::{Amount, AuditEntry, Caller, RequestKey, Timestamp};
use q_db::{DbError, Tx};
use qrcode::{EcLevel, QrCode, render::svg};
use qwallet_api::{
    CreateRequestRequest, IntentId, ListRequestsRequest, MoneyRequest, PublicRequest, RequestId, RequestPage,
    TransactionId, errors,
};

use super::{
    Service,
    commit::Item,
    directory::WalletEntry,
    record::{Decision, Moment, Record, RecordKey, RecordTable, Step},
};
use crate::{
    domain::{
        account::AccountId,
        currency::{Currency, CurrencyId},
        money_request::{self, Status},
        payment::{self, Plan, Refusal},
    },
    error::Error,
    store::{self, intents::IntentRow, money_requests::MoneyRequestRow},
};

const NOT_FOUND: Refusal =
    Refusal::Record { code: &errors::REQUEST_NOT_FOUND, detail: "the request for money does not exist" };

/// How many dots a module of the code is wide, so that a telephone reads it from a screen.
const MODULE_DOTS: u32 = 8;

impl Service {
    /// Asks for money on behalf of the caller's wallet.
    pub async fn request_money(
        &self,
        caller: &Caller,
        key: Option<&RequestKey>,
        asked: CreateRequestRequest,
    ) -> Result<MoneyRequest, Error> {
        let now = self.env.now();
        if !money_request::is_memo(&asked.memo) {
            return Err(Refusal::Malformed("memo").into());
        }
        if asked.expires_at.is_some_and(|expires_at| expires_at <= now) {
            return Err(Refusal::Malformed("expiresAt").into());
        }
        let wallet = self.own_wallet(caller, None).await?;
        let (currency, amount) = match &asked.amount {
            Some(text) => {
                text.check_form().map_err(Refusal::AmountForm)?;
                let (currency, amount) = payment::read_amount(&asked.currency, text)?;
                (currency, Some(amount))
            }
            None => (Currency::find(&asked.currency).ok_or(Refusal::CurrencyUnsupported)?, None),
        };
        let id = RequestId::new(&self.env);
        let memo = (!asked.memo.is_empty())
            .then(|| self.seal("money_requests", "memo", &id.to_string(), &asked.memo));
        let row = MoneyRequestRow {
            id,
            wallet: wallet.row.id,
            currency: currency.id,
            amount,
            memo,
            is_single_use: asked.single_use,
            is_cancelled: false,
            payments: 0,
            transaction: None,
            created_at: now,
            expires_at: asked.expires_at,
        };
        let owner = wallet.row.owner.clone();
        let written = self.db.write_once(key, move |tx| {
            store::money_requests::insert(tx, &row)?;
            tx.audit(AuditEntry::change("request.create", Some(&owner), row.id))?;
            Ok::<_, Error>(row.id)
        });
        let id = written.await?.value;
        self.money_request(caller, id).await
    }

    /// The caller's requests.
    pub async fn money_requests(
        &self,
        caller: &Caller,
        asked: ListRequestsRequest,
    ) -> Result<RequestPage, Error> {
        let wallet = self.own_wallet(caller, None).await?;
        let (of, count) = (wallet.row.id, asked.limit.rows());
        let before = asked.cursor.unwrap_or(RequestId::from_bytes([0xff; 16]));
        let rows = self.db.read(move |reader| store::money_requests::list(reader, of, before, count)).await?;
        let is_full = rows.len() == usize::try_from(count).unwrap_or(usize::MAX);
        let next_cursor = rows.last().filter(|_| is_full).map(|row| row.id);
        let items = rows.iter().map(|row| self.request_answer(row, &wallet)).collect::<Result<_, _>>()?;
        Ok(RequestPage { items, next_cursor })
    }

    /// One request of the caller.
    pub async fn money_request(&self, caller: &Caller, id: RequestId) -> Result<MoneyRequest, Error> {
        let (row, wallet) = self.request_row(id).await?;
        if caller.did() != Some(&wallet.row.owner) {
            return Err(NOT_FOUND.into());
        }
        self.request_answer(&row, &wallet)
    }

    /// Takes a request of the caller back.
    pub async fn cancel_request(
        &self,
        caller: &Caller,
        key: Option<&RequestKey>,
        id: RequestId,
    ) -> Result<MoneyRequest, Error> {
        self.money_request(caller, id).await?;
        let by = caller.did().cloned();
        let cancelled = self.db.write_once(key, move |tx| {
            store::money_requests::lock(tx, id)?;
            let row = store::money_requests::find(tx, id)?.ok_or(NOT_FOUND)?;
            if row.status(tx.now()) == Status::Paid {
                let detail = "it was paid; POST /refunds gives the money back";
                return Err(Error::Refused(Refusal::Record { code: &errors::REQUEST_STATE, detail }));
            }
            store::money_requests::cancel(tx, id)?;
            tx.audit(AuditEntry::change("request.cancel", by.as_ref(), id))?;
            Ok(())
        });
        cancelled.await?;
        self.money_request(caller, id).await
    }

    /// What whoever has the link may see.
    pub async fn public_request(&self, id: RequestId) -> Result<PublicRequest, Error> {
        let (row, wallet) = self.request_row(id).await?;
        let request = self.request_answer(&row, &wallet)?;
        Ok(PublicRequest {
            request_id: id,
            status: request.status,
            wallet_ref: request.wallet_ref,
            amount: request.amount,
            currency: request.currency,
            memo: request.memo,
            payto_uri: request.payto_uri,
            expires_at: request.expires_at,
        })
    }

    /// The code of a request as a drawing.
    pub async fn draw_request(&self, id: RequestId) -> Result<String, Error> {
        draw(&self.public_request(id).await?.payto_uri)
    }

    /// The request that a payment names, if it is one of this payee.
    pub(super) async fn fulfilled(
        &self,
        client_ref: &str,
        payee: &WalletEntry,
    ) -> Result<Option<MoneyRequestRow>, Error> {
        if !client_ref.starts_with(RequestId::PREFIX) {
            return Ok(None);
        }
        let Ok(id) = client_ref.parse::<RequestId>() else { return Ok(None) };
        let row = self.db.read(move |reader| store::money_requests::find(reader, id)).await?;
        Ok(row.filter(|row| row.wallet == payee.row.id))
    }

    /// Whether the request that an intent fulfils may still be paid, before money is set aside for it.
    pub(super) async fn check_request(&self, intent: &IntentRow) -> Result<(), Error> {
        let Some(id) = intent.request else { return Ok(()) };
        let row = self.db.read(move |reader| store::money_requests::find(reader, id)).await?;
        let row = row.ok_or(Error::Inconsistent("a request for money"))?;
        Ok(check_open(&row, self.env.now(), paid_by(intent)?)?)
    }

    async fn request_row(&self, id: RequestId) -> Result<(MoneyRequestRow, Arc<WalletEntry>), Error> {
        let row = self.db.read(move |reader| store::money_requests::find(reader, id)).await?;
        let row = row.ok_or(NOT_FOUND)?;
        let wallet = self.directory.find(&row.wallet.to_string()).await?;
        Ok((row, wallet.ok_or(Error::Inconsistent("a wallet"))?))
    }

    fn request_answer(&self, row: &MoneyRequestRow, wallet: &WalletEntry) -> Result<MoneyRequest, Error> {
        let currency = Currency::by_id(row.currency).ok_or(Error::Inconsistent("a currency"))?;
        let id = row.id.to_string();
        let memo = self.unseal("money_requests", "memo", &id, row.memo.as_deref())?.unwrap_or_default();
        let wallet_ref = wallet.row.reference.clone();
        Ok(MoneyRequest {
            request_id: row.id,
            status: row.status(self.env.now()).name().to_owned(),
            payto_uri: self.payto(row, currency, &wallet_ref, &memo),
            wallet_ref,
            amount: row.amount.map(|amount| currency.text(amount)),
            currency: currency.code.to_owned(),
            memo,
            single_use: row.is_single_use,
            url: format!("{}/qwallet/r/{id}", self.instance.origin),
            payments: row.payments,
            transaction_id: row.transaction,
            created_at: row.created_at,
            expires_at: row.expires_at,
        })
    }

    /// The request as a payto URI (RFC 8905 section 5) of the type `x-q`: host, wallet reference, and what to pay.
    fn payto(&self, row: &MoneyRequestRow, currency: &Currency, wallet_ref: &str, memo: &str) -> String {
        let origin = self.instance.origin.as_str();
        let host = origin.split_once("://").map_or(origin, |(_, host)| host);
        let amount = row.amount.and_then(|amount| money_request::payto_amount(currency, amount));
        let amount = amount.map(|amount| format!("amount={amount}&")).unwrap_or_default();
        let message = if memo.is_empty() {
            String::new()
        } else {
            format!("message={}&", utf8_percent_encode(memo, NON_ALPHANUMERIC))
        };
        format!("payto://x-q/{host}/{wallet_ref}?{amount}{message}instruction={}", row.id)
    }
}

/// A payment that fulfils a request.
#[derive(Debug)]
pub(super) struct Fulfilment {
    id: RequestId,
    pays: (CurrencyId, Amount),
    item: Item,
}

impl Fulfilment {
    pub(super) const fn of(request: &MoneyRequestRow, plan: &Plan, item: Item) -> Self {
        Self { id: request.id, pays: (plan.currency.id, plan.amount), item }
    }
}

impl Record for Fulfilment {
    fn key(&self) -> RecordKey {
        RecordKey(RecordTable::Requests, self.id.bytes())
    }

    fn lock(&self, tx: &mut Tx<'_>) -> Result<(), DbError> {
        store::money_requests::lock(tx, self.id)
    }

    fn accounts(&self) -> Vec<AccountId> {
        self.item.legs.iter().flat_map(|leg| [leg.debit, leg.credit]).collect()
    }

    fn decide(&self, tx: &mut Tx<'_>, moment: Moment) -> Result<Result<Decision<'_>, Refusal>, DbError> {
        let Some(row) = store::money_requests::find(tx, self.id)? else { return Ok(Err(NOT_FOUND)) };
        if let Err(refusal) = check_open(&row, moment.at, self.pays) {
            return Ok(Err(refusal));
        }
        let (id, transaction) = (self.id, self.item.id);
        let write = move |tx: &mut Tx<'_>, _: Moment| store::money_requests::pay(tx, id, transaction);
        let steps = vec![Step::Pay(self.item.clone())];
        Ok(Ok(Decision { steps, answer: transaction.bytes(), write: Box::new(write) }))
    }
}

/// A signed intent that fulfils a request, on its way to be paid: whoever paid the request meanwhile was faster, and what
/// is held is free again when its payer cancels the intent, or when that lapses.
#[derive(Debug)]
pub(super) struct Settling {
    request: RequestId,
    pays: (CurrencyId, Amount),
    intent: IntentId,
    transaction: TransactionId,
    payer: AccountId,
}

impl Settling {
    pub(super) fn of(
        intent: &IntentRow,
        request: RequestId,
        transaction: TransactionId,
        payer: AccountId,
    ) -> Result<Self, Error> {
        Ok(Self { request, pays: paid_by(intent)?, intent: intent.id, transaction, payer })
    }
}

impl Record for Settling {
    fn key(&self) -> RecordKey {
        RecordKey(RecordTable::Requests, self.request.bytes())
    }

    fn lock(&self, tx: &mut Tx<'_>) -> Result<(), DbError> {
        store::money_requests::lock(tx, self.request)
    }

    fn accounts(&self) -> Vec<AccountId> {
        vec![self.payer]
    }

    fn holds(&self) -> Vec<TransactionId> {
        vec![self.transaction]
    }

    fn intents(&self) -> Vec<IntentId> {
        vec![self.intent]
    }

    fn decide(&self, tx: &mut Tx<'_>, moment: Moment) -> Result<Result<Decision<'_>, Refusal>, DbError> {
        let (id, transaction) = (self.request, self.transaction);
        let Some(row) = store::money_requests::find(tx, id)? else { return Ok(Err(NOT_FOUND)) };
        if row.transaction == Some(transaction) {
            return Ok(Err(Refusal::InvalidState("SETTLED")));
        }
        if let Err(refusal) = check_open(&row, moment.at, self.pays) {
            return Ok(Err(refusal));
        }
        let write = move |tx: &mut Tx<'_>, _: Moment| store::money_requests::pay(tx, id, transaction);
        let steps = vec![Step::Settle(transaction, self.intent)];
        Ok(Ok(Decision { steps, answer: transaction.bytes(), write: Box::new(write) }))
    }
}

/// What an intent pays.
fn paid_by(intent: &IntentRow) -> Result<(CurrencyId, Amount), Error> {
    let currency = Currency::by_id(intent.currency).ok_or(Error::Inconsistent("a currency"))?;
    let amount = currency.read(&intent.amount).map_err(|_| Error::Inconsistent("an amount"))?;
    Ok((currency.id, amount))
}

/// Whether a request may be paid at `now`, and so much.
pub(super) fn check_open(
    row: &MoneyRequestRow,
    now: Timestamp,
    (currency, amount): (CurrencyId, Amount),
) -> Result<(), Refusal> {
    let refused = |detail| Err(Refusal::Record { code: &errors::REQUEST_STATE, detail });
    match row.status(now) {
        Status::Open => {}
        Status::Paid => return refused("the request was paid already; pay without naming it to pay again"),
        Status::Cancelled => return refused("the payee took the request back"),
        Status::Expired => return refused("the request has expired; ask the payee for another"),
    }
    if row.currency != currency || row.amount.is_some_and(|asked| asked != amount) {
        return refused("the request asks for another amount; GET /r/{requestId} tells which");
    }
    Ok(())
}

/// The code of a payto URI (ISO/IEC 18004) as a drawing (SVG).
pub fn draw(payto: &str) -> Result<String, Error> {
    let code = QrCode::with_error_correction_level(payto.as_bytes(), EcLevel::M)
        .map_err(|_| Error::Inconsistent("a code for so long a text"))?;
    Ok(code.render::<svg::Color<'_>>().module_dimensions(MODULE_DOTS, MODULE_DOTS).build())
}
