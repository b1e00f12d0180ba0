//! Payout files: read and reported on, then signed once and executed as one batch.

use q_core::{Amount, AmountText, Caller, RequestKey, Span, Timestamp, hash};
use qwallet_api::{
    BatchItem, BatchResult, ExecuteImportRequest, Import, ImportId, ImportLine, ImportRequest,
    signing::{self, BatchOrder},
};
use serde::{Deserialize, Serialize};

use super::{
    Service,
    batch::{BatchTerms, check_no_request, total_fees},
    directory::WalletEntry,
    payments::text,
    request_of,
};
use crate::{
    domain::{
        currency::{self, Currency},
        fees::FeeClass,
        formats::pain002,
        payment::{self, Facts, INTERNAL_RAIL, Plan, Refusal, StepUp},
        payouts::{self, Fault, PayoutFile, Refused},
    },
    error::Error,
    store::{self, imports::ImportRow},
};

/// How long a file that was read may be executed.
const EXECUTABLE_FOR: Span = Span::seconds(86_400);

/// What is needed to execute a file later; sealed in the store.
#[derive(Debug, Serialize, Deserialize)]
struct Prepared {
    currency: String,
    wallet: String,
    max_fees: AmountText,
    nonce: String,
    client_ref: String,
    document_hash: String,
    expires_at: Timestamp,
    items: Vec<BatchItem>,
}

impl Service {
    /// Reads a payout file of the caller and reports on each line.
    pub async fn create_import(
        &self,
        caller: &Caller,
        key: Option<&RequestKey>,
        request: ImportRequest,
    ) -> Result<Import, Error> {
        let did = caller.did().ok_or(Refusal::WalletNotFound)?.clone();
        let document = request.document;
        let document_hash = hash::hex(&hash::sha256(document.as_bytes()));
        // Ten megabytes take a while: not on a task that others wait behind.
        let read = tokio::task::spawn_blocking(move || payouts::read(&document)).await;
        let file = read.map_err(|_| Error::ImportFacts("the file could not be read".into()))??;
        let currency = self.currency_of_file(&file)?;
        let wallet = self.paying_wallet(caller, request.wallet.as_deref(), &file).await?;
        let id = ImportId::new(&self.env);
        let now = self.env.now();
        let (plans, items) = self.plan_file(&wallet, currency, &file).await?;
        let max_fees = self.most_fees(currency, &file).ok_or(Refusal::AmountOutOfRange(Some(currency)))?;
        let prepared = Prepared {
            currency: currency.code.to_owned(),
            wallet: wallet.row.reference.clone(),
            max_fees: currency.text(max_fees),
            nonce: hash::hex(&self.env.random::<16>()),
            client_ref: file.message_id.clone(),
            document_hash,
            expires_at: now + EXECUTABLE_FOR,
            items,
        };
        let report = self.report(id, &file, currency, &plans, &prepared, did.as_str());
        let row = self.import_row(id, &wallet, &report, &prepared, now)?;
        let known =
            Refused { place: file.message_place.clone(), what: Fault::KnownMessage(row.message_id.clone()) };
        let made = self.db.write_once(key, move |tx| {
            // A file sent twice would pay twice: its own id is good once per wallet.
            if store::imports::is_known(tx, row.wallet, &row.message_id, now)? {
                return Err(Error::Import(known.clone()));
            }
            store::imports::insert(tx, &row)?;
            tx.audit(q_core::AuditEntry::change("import.read", Some(&row.payer), id))?;
            Ok::<_, Error>(id)
        });
        let id = made.await?.value;
        self.import(caller, id).await
    }

    /// The report on a file of the caller.
    pub async fn import(&self, caller: &Caller, id: ImportId) -> Result<Import, Error> {
        let row = self.db.read(move |reader| store::imports::find(reader, id)).await?;
        let row = row.ok_or(Error::ImportNotFound)?;
        let wallet = self.directory.find(&row.wallet.to_string()).await?;
        let wallet = wallet.ok_or(Error::Inconsistent("a wallet"))?;
        if !self.may_read(caller, &wallet) {
            return Err(Error::ImportNotFound);
        }
        let report = self.unseal("imports", "report", &id.to_string(), Some(&row.report))?;
        let report = report.and_then(|report| serde_json::from_str::<Import>(&report).ok());
        let report = report.ok_or(Error::Inconsistent("the report of an import"))?;
        let status = if row.batch.is_some() { "EXECUTED" } else { "READ" };
        Ok(Import { status: status.to_owned(), ..report })
    }

    /// What became of a file's payments, as the customer's programs read it.
    pub async fn import_status(&self, caller: &Caller, id: ImportId) -> Result<String, Error> {
        let import = self.import(caller, id).await?;
        let batch = self.db.read(move |reader| store::imports::find(reader, id)).await?;
        let batch = batch.and_then(|row| row.batch);
        let result = match batch {
            Some(batch) => Some(self.batch_result(batch.bytes()).await?),
            None => None,
        };
        let mut lines = Vec::with_capacity(import.lines.len());
        for (at, line) in import.lines.iter().enumerate() {
            let item = result.as_ref().and_then(|result| result.results.get(at));
            // Executed, what was found then counts; before, what was found when the file was read.
            let problem = item.map_or(line.problem.as_ref(), |item| item.problem.as_ref());
            lines.push(pain002::Line {
                group: line.group.as_deref().unwrap_or("NOTPROVIDED"),
                end_to_end_id: &line.end_to_end_id,
                transaction: item.and_then(|item| item.transaction_id).map(|id| id.to_string()),
                refusal: problem
                    .map(|it| (it.code.as_str(), it.detail.as_deref().unwrap_or(it.title.as_str()))),
            });
        }
        let report = pain002::Report {
            id: hash::hex(
                &hash::sha256_of(&[b"q-status/1", &id.bytes(), &[u8::from(batch.is_some())]])[..16],
            ),
            made_at: self.env.now(),
            message_id: &import.message_id,
            format: &import.format,
            is_executed: batch.is_some(),
            lines,
        };
        Ok(pain002::report(&report)?)
    }

    /// Executes a file under one signature.
    pub async fn execute_import(
        &self,
        caller: &Caller,
        key: Option<&RequestKey>,
        request: ExecuteImportRequest,
    ) -> Result<BatchResult, Error> {
        let id = request.import_id;
        let row = self.db.read(move |reader| store::imports::find(reader, id)).await?;
        let row = row.ok_or(Error::ImportNotFound)?;
        let stored = request_of(row.payer.as_str(), key);
        if row.batch.is_some() {
            let answer = self.refusal_or_replay(stored, Refusal::InvalidState("EXECUTED")).await?;
            return self.batch_result(answer).await;
        }
        let items = self.unseal("imports", "items", &id.to_string(), Some(&row.items))?;
        let prepared = items.and_then(|items| serde_json::from_str::<Prepared>(&items).ok());
        let prepared = prepared.ok_or(Error::Inconsistent("the payments of an import"))?;
        let input = self.import_input(&prepared, row.payer.as_str());
        self.carry_out_batch(BatchTerms {
            payer: &row.payer,
            wallet: &prepared.wallet,
            currency: &prepared.currency,
            max_fees: &prepared.max_fees,
            rail: INTERNAL_RAIL,
            nonce: &prepared.nonce,
            expires_at: prepared.expires_at,
            is_atomic: false,
            items: &prepared.items,
            input,
            signature: request.signature,
            request: stored,
            import: Some(id),
            step_up: self.step_up_of(caller, &row.payer),
        })
        .await
    }

    /// The currency a file's three-letter code means here.
    fn currency_of_file(&self, file: &PayoutFile) -> Result<&'static Currency, Error> {
        let is_alias = self.iso_alias.as_deref() == Some(file.currency.as_str());
        let by_code = currency::ALL.iter().find(|currency| currency.code == file.currency);
        let currency = if is_alias { Some(payment::default_currency()) } else { by_code };
        currency.ok_or_else(|| {
            let known = self.iso_alias.as_deref().unwrap_or("none; set qwallet.iso_alias");
            Error::ImportFacts(format!(
                "the currency code {} means nothing here (known: {known})",
                file.currency
            ))
        })
    }

    async fn paying_wallet(
        &self,
        caller: &Caller,
        named: Option<&str>,
        file: &PayoutFile,
    ) -> Result<std::sync::Arc<WalletEntry>, Error> {
        let did = caller.did().ok_or(Refusal::WalletNotFound)?;
        let name = named.unwrap_or_else(|| did.as_str());
        let wallet = self.directory.find(name).await?.filter(|wallet| wallet.row.owner == *did);
        let wallet = wallet.ok_or(Refusal::WalletNotFound)?;
        if let Some(debtor) = &file.debtor {
            let named = self.directory.find(debtor).await?;
            if named.is_none_or(|named| named.row.id != wallet.row.id) {
                return Err(Error::ImportFacts(format!("the file pays from {debtor}, another account")));
            }
        }
        Ok(wallet)
    }

    async fn plan_file(
        &self,
        wallet: &WalletEntry,
        currency: &'static Currency,
        file: &PayoutFile,
    ) -> Result<(Vec<Result<Plan, Refusal>>, Vec<BatchItem>), Error> {
        let recipients =
            self.directory.find_all(file.payments.iter().map(|line| line.creditor.as_str())).await?;
        let facts = Facts { step_up: StepUp::Done, ..self.facts(Some(wallet), None, Ok(())) };
        let plans = file.payments.iter().zip(&recipients).map(|(line, recipient)| {
            let recipient = recipient.as_deref().map(|entry| &entry.accounts);
            check_no_request(&line.end_to_end_id)?;
            let schedule = &facts.schedules.now;
            payment::decide_item(&wallet.accounts, currency, &line.amount, recipient, &facts, schedule)
        });
        let items = file.payments.iter().map(|line| BatchItem {
            amount: line.amount.clone(),
            client_ref: Some(line.end_to_end_id.clone()),
            purpose: line.purpose.as_deref().map(|purpose| purpose.chars().take(500).collect()),
            recipient: line.creditor.clone(),
        });
        Ok((plans.collect(), items.collect()))
    }

    /// The fees of every line whose amount can be read; `None` when they are too large together.
    ///
    /// The bound that is signed: a recipient who is missing now may have a wallet when the file is executed, and
    /// that must not break the bound for all.
    fn most_fees(&self, currency: &Currency, file: &PayoutFile) -> Option<Amount> {
        let readable = file.payments.iter().filter_map(|line| currency.read(&line.amount).ok());
        let schedule = self.schedules.at(self.env.now()).now;
        let mut fees =
            readable.filter_map(|amount| schedule.fees(currency.id, FeeClass::P2p, amount)?.total());
        fees.try_fold(Amount::ZERO, Amount::checked_add)
    }

    fn report(
        &self,
        id: ImportId,
        file: &PayoutFile,
        currency: &Currency,
        plans: &[Result<Plan, Refusal>],
        prepared: &Prepared,
        payer: &str,
    ) -> Import {
        let lines = file.payments.iter().zip(plans).zip(1u32..).map(|((line, plan), number)| ImportLine {
            number,
            xpath: line.place.xpath.clone(),
            line: line.place.line,
            group: line.group.clone(),
            end_to_end_id: line.end_to_end_id.clone(),
            recipient: line.creditor.clone(),
            amount: line.amount.clone(),
            problem: plan.as_ref().err().map(|refusal| (*refusal).into()),
        });
        let total = plans.iter().flatten().try_fold(Amount::ZERO, |sum, plan| sum.checked_add(plan.amount));
        let fees = total_fees(plans.iter().flatten());
        let refused = plans.iter().filter(|plan| plan.is_err()).count();
        Import {
            import_id: id,
            status: "READ".to_owned(),
            format: file.format.to_owned(),
            message_id: file.message_id.clone(),
            document_hash: prepared.document_hash.clone(),
            wallet: prepared.wallet.clone(),
            count: u32::try_from(file.payments.len()).unwrap_or(u32::MAX),
            currency: currency.code.to_owned(),
            total: currency.text(total.unwrap_or(Amount::MAX)),
            fees: currency.text(fees.unwrap_or(Amount::MAX)),
            refused: u32::try_from(refused).unwrap_or(u32::MAX),
            signing_input: text(self.import_input(prepared, payer)),
            expires_at: prepared.expires_at,
            lines: lines.collect(),
        }
    }

    fn import_row(
        &self,
        id: ImportId,
        wallet: &WalletEntry,
        report: &Import,
        prepared: &Prepared,
        now: Timestamp,
    ) -> Result<ImportRow, Error> {
        let json = |_| Error::Inconsistent("a readable import");
        let name = id.to_string();
        Ok(ImportRow {
            id,
            wallet: wallet.row.id,
            payer: wallet.row.owner.clone(),
            message_id: prepared.client_ref.clone(),
            report: self.seal("imports", "report", &name, &serde_json::to_string(report).map_err(json)?),
            items: self.seal("imports", "items", &name, &serde_json::to_string(prepared).map_err(json)?),
            batch: None,
            created_at: now,
            expires_at: prepared.expires_at,
        })
    }

    /// What the payer signs for a file: its hash, and the bounds within which it is executed.
    fn import_input(&self, prepared: &Prepared, payer: &str) -> Vec<u8> {
        signing::signing_input(&BatchOrder {
            atomic: false,
            aud: self.instance.did.as_str(),
            client_ref: &prepared.client_ref,
            count: prepared.items.len(),
            currency: &prepared.currency,
            document_hash: Some(&prepared.document_hash),
            expires_at: &prepared.expires_at.to_string(),
            items_hash: None,
            max_fees: prepared.max_fees.as_str(),
            nonce: &prepared.nonce,
            payer,
            rail: INTERNAL_RAIL,
            v: 1,
            wallet: &prepared.wallet,
        })
    }
}
