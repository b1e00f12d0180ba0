//! The bank account whose files people carry: payouts go out as pain.001, what the bank did comes back as camt.053.
//!
//! A file that was made is kept and made once more as it was, not anew. What a statement says is booked and final; a
//! statement must go on where the last one ended, and the closing balance is compared with the books.

use q_core::{Amount, AmountError, AuditEntry};
use q_db::{DbError, Tx};
use qwallet_api::{
    DepositAddress, PayoutFile, PayoutFilePath, RailPath, RailState, RejectPayoutRequest, StatementReport,
    TakeStatementRequest, TransactionId, Withdrawal, errors,
};
use qwallet_rails::{
    Arrival, Block, ChainAmount, What,
    sepa::{self, Account, Payout},
};

use super::{Bank, Trouble, deposits::Change, outgoing::End, reconciliation, withdrawals::told};
use crate::{
    domain::{
        payment::Refusal,
        rails::{DepositStatus, OutgoingStatus},
        wallet_ref::WalletRef,
    },
    error::Error,
    service::{Service, commit::Outcome, directory::WalletEntry},
    store::{
        self,
        rails::{AddressRow, Checked, DepositRow, OutgoingRow},
    },
};

/// The name of the rail.
pub(super) const NAME: &str = "sepa-file";

/// Its money is counted in cents.
const DECIMALS: u8 = 2;

/// Eleven digits are all a euro payment has.
const CENTS_MAX: u128 = 99_999_999_999;

impl Bank {
    /// The amount in cents; anything finer is refused.
    pub(super) fn cents(&self, amount: Amount) -> Result<ChainAmount, Refusal> {
        let currency = self.side.currency;
        let out_of_range = Refusal::AmountOutOfRange(Some(currency));
        match qwallet_rails::to_chain(amount, currency.scale, DECIMALS) {
            Ok(cents) if cents.0 <= CENTS_MAX => Ok(cents),
            Err(AmountError::Precision) => Err(Refusal::AmountPrecision),
            Ok(_) | Err(_) => Err(out_of_range),
        }
    }

    /// The recipient in its one form.
    pub(super) fn recipient(&self, text: &str) -> Result<String, &'static str> {
        let account = Account::read(text).map_err(
            |_| "the recipient is no account: payto://iban/IBAN?receiver-name=NAME, with a right IBAN",
        )?;
        if account.iban == self.setup.house.account.iban {
            return Err("the account is this instance's own: pay the wallet");
        }
        Ok(account.text())
    }

    pub(super) fn source(&self) -> AddressRow {
        let address = self.setup.house.account.iban.clone();
        AddressRow { address, generation: 0, place: 0, wallet: None }
    }
}

/// A statement, a report or a file that is refused.
pub(super) fn refused(detail: impl Into<String>) -> Error {
    Error::ImportFacts(detail.into())
}

impl Service {
    pub(super) async fn bank_state(&self, bank: &Bank) -> Result<RailState, Error> {
        let row = self.rail_row(NAME).await?;
        Ok(RailState {
            rail: NAME.to_owned(),
            currency: bank.side.currency.code.to_owned(),
            status: if row.paused.is_some() { "PAUSED" } else { "UP" }.to_owned(),
            reason: row.paused,
            experimental: false,
            confirmations: 1,
            latest_block: None,
            scanned_block: row.scanned.map(|last| last.height),
            key_generation: 0,
            house_address: Some(bank.setup.house.account.iban.clone()),
            reconciled: row.checked.map(|checked| reconciliation(bank.side, DECIMALS, &checked)),
        })
    }

    /// The house's account, with the wallet's reference as what stands beside the payment.
    pub(super) fn bank_address(bank: &Bank, wallet: &WalletEntry) -> DepositAddress {
        let reference = &wallet.row.reference;
        DepositAddress {
            wallet_id: wallet.row.id,
            rail: NAME.to_owned(),
            currency: bank.side.currency.code.to_owned(),
            address: format!("{}&message={reference}", bank.setup.house.account.text()),
            confirmations: 1,
        }
    }

    /// Writes the file of everything that waits to be paid out.
    pub async fn make_payouts(&self, path: &RailPath) -> Result<PayoutFile, Error> {
        let bank = self.rails.bank(&path.rail)?;
        let _one = bank.visit.lock().await;
        if self.rail_row(NAME).await?.paused.is_some() {
            return Err(super::down("the rail is paused until a statement agrees with the books"));
        }
        let open = self.db.read(move |reader| store::rails::open_outgoing(reader, NAME)).await?;
        let waiting: Vec<OutgoingRow> =
            open.into_iter().filter(|row| row.status == OutgoingStatus::Pending).collect();
        if waiting.is_empty() {
            return Err(refused("nothing waits to be paid out"));
        }
        let currency = bank.side.currency;
        let payment = |row: &OutgoingRow| {
            let part = row.withdrawal.as_ref()?;
            Some(Payout {
                end_to_end_id: row.id.to_string(),
                to: Account::read(&row.recipient).ok()?,
                amount: part.amount,
                text: part.client_ref.clone(),
            })
        };
        let payments: Option<Vec<Payout>> = waiting.iter().map(payment).collect();
        let payments = payments.ok_or(Error::Inconsistent("what is to be paid out"))?;
        // The name of a transaction is as long as a message may be, and as unique.
        let message_id = TransactionId::new(&self.env).to_string();
        let now = self.env.now();
        let document = sepa::payouts(&message_id, now, &bank.setup.house, currency.scale, &payments);
        let document = document.map_err(|error| refused(error.to_string()))?;
        let sealed = self.seal("rail_files", "document", &message_id, &document);
        let ids: Vec<TransactionId> = waiting.iter().map(|row| row.id).collect();
        let name = message_id.clone();
        let is_made = self.db.write_locked(move |tx| {
            let mut rows = Vec::with_capacity(ids.len());
            for id in &ids {
                let row = store::rails::lock_outgoing(tx, *id)?;
                let Some(row) = row.filter(|row| row.status == OutgoingStatus::Pending) else {
                    return Ok(false);
                };
                rows.push(row);
            }
            store::rails::insert_file(tx, NAME, &name, &sealed)?;
            for row in rows {
                let (status, hash) = (OutgoingStatus::Broadcasting, Some(name.clone()));
                let row = OutgoingRow { status, hash, ..row };
                store::rails::update_outgoing(tx, &row)?;
                if let Some(part) = &row.withdrawal {
                    told(tx, &row, part, status)?;
                }
            }
            let facts = serde_json::json!({ "payments": ids.len() });
            tx.audit(AuditEntry::change("rail.payouts", None, &name).details(facts))?;
            Ok::<_, DbError>(true)
        });
        if !is_made.await? {
            return Err(refused("another process wrote a file meanwhile; ask again"));
        }
        Ok(PayoutFile { message_id, document })
    }

    /// A file that was made, as it was made.
    pub async fn payout_file(&self, path: &PayoutFilePath) -> Result<PayoutFile, Error> {
        self.rails.bank(&path.rail)?;
        let name = path.message_id.clone();
        let found = self.db.read(move |reader| store::rails::find_file(reader, NAME, &name)).await?;
        let sealed = found.ok_or(Error::TransactionNotFound)?;
        let document = self.unseal("rail_files", "document", &path.message_id, Some(&sealed))?;
        let document = document.ok_or(Error::Inconsistent("a file"))?;
        Ok(PayoutFile { message_id: path.message_id.clone(), document })
    }

    /// Notes that the bank did not make a payment; the money is free again.
    pub async fn reject_payout(&self, asked: RejectPayoutRequest) -> Result<Withdrawal, Error> {
        let id = asked.withdrawal_id;
        let row = self.db.read(move |reader| store::rails::find_outgoing(reader, id)).await?;
        let row = row.filter(|row| row.rail == NAME).ok_or(Error::TransactionNotFound)?;
        let bank = self.rails.bank(NAME)?;
        let _one = bank.visit.lock().await;
        let reason = Some("the bank did not make the payment".into());
        let end = End { hash: None, block: None, fee: ChainAmount(0), is_success: false, reason };
        match self.end_in_books(bank.side, row, end, Amount::ZERO).await {
            Ok(true) => self.stored_withdrawal(id).await,
            Ok(false) => Err(Refusal::InvalidState("settled, given back or changed meanwhile").into()),
            Err(trouble) => Err(ours(trouble)),
        }
    }

    /// Books what a statement says.
    pub async fn take_statement(&self, asked: TakeStatementRequest) -> Result<StatementReport, Error> {
        let bank = self.rails.bank(&asked.rail)?;
        let _one = bank.visit.lock().await;
        let currency = bank.side.currency;
        let cents = q_core::Scale::new(DECIMALS).ok_or(Error::Inconsistent("a scale"))?;
        let read =
            sepa::read_statement(&asked.document, cents).map_err(|error| refused(error.to_string()))?;
        if read.iban != bank.setup.house.account.iban || read.currency != bank.setup.house.currency {
            return Err(refused("the statement is of another account or currency"));
        }
        let (opening, closing) = match (read.opening, read.closing) {
            (opening, closing) if !opening.is_debit && !closing.is_debit => (opening.amount, closing.amount),
            _ => return Err(refused("an account that is overdrawn is not one this rail can use")),
        };
        let row = self.rail_row(NAME).await?;
        let number = row.scanned.as_ref().map_or(0, |last| last.height) + 1;
        let is_repeated = row.scanned.as_ref().is_some_and(|last| last.hash == read.id);
        let place = Block { height: if is_repeated { number - 1 } else { number }, hash: read.id.clone() };
        match (&row.checked, is_repeated) {
            (Some(last), false) if last.chain.0 != opening.units() => {
                return Err(refused(
                    "the statement does not begin where the last one ended; take them in order",
                ));
            }
            _ => {}
        }
        let mut report = StatementReport { statement_id: read.id.clone(), ..StatementReport::default() };
        if row.scanned.is_none() && !opening.is_zero() {
            // What was there before is the house's.
            let first = self.arrival(bank, &place, "opening", "the house", None, opening);
            self.take_deposit(bank, first, None, &mut report).await.map_err(ours)?;
        }
        for entry in read.entries {
            let known = entry.end_to_end_id.as_deref().and_then(|id| id.parse::<TransactionId>().ok());
            let withdrawal = match known {
                None => None,
                Some(id) => self.db.read(move |reader| store::rails::find_outgoing(reader, id)).await?,
            };
            let withdrawal = withdrawal.filter(|row| row.rail == NAME);
            let amount = entry.money.amount;
            match (entry.money.is_debit, withdrawal) {
                (true, Some(row))
                    if row.units.0 == amount.units() && row.status != OutgoingStatus::Failed =>
                {
                    if row.status.is_over() {
                        continue;
                    }
                    let (hash, block) = (Some(entry.reference), Some(place.clone()));
                    let end = End { hash, block, fee: ChainAmount(0), is_success: true, reason: None };
                    if self.end_in_books(bank.side, row, end, Amount::ZERO).await.map_err(ours)? {
                        report.settled += 1;
                    }
                }
                (true, _) => {
                    self.take_cost(bank, &place, entry.reference, amount, &mut report).await.map_err(ours)?;
                }
                (false, returned) => {
                    // What comes back belongs to who sent it; everything else to whom it names.
                    let owner = returned.and_then(|row| row.withdrawal).map(|part| part.wallet);
                    let wallet = match owner {
                        Some(wallet) => Some(wallet),
                        None => self.named(&entry.text).await?,
                    };
                    let sender = entry.sender.unwrap_or_default();
                    let row = self.arrival(bank, &place, &entry.reference, &sender, wallet, amount);
                    self.take_deposit(bank, row, wallet, &mut report).await.map_err(ours)?;
                }
            }
        }
        self.close_statement(bank, &place, closing).await?;
        let state = self.bank_state(bank).await?;
        let compared = state.reconciled.ok_or(Error::Inconsistent("a comparison"))?;
        Ok(StatementReport { currency: currency.code.to_owned(), difference: compared.difference, ..report })
    }

    fn arrival(
        &self,
        bank: &Bank,
        place: &Block,
        reference: &str,
        sender: &str,
        wallet: Option<qwallet_api::WalletId>,
        cents: Amount,
    ) -> DepositRow {
        let units = ChainAmount(cents.units());
        DepositRow {
            id: TransactionId::new(&self.env),
            rail: NAME.to_owned(),
            wallet,
            arrival: Arrival {
                hash: reference.to_owned(),
                place: 0,
                block: place.clone(),
                from: sender.to_owned(),
                to: bank.setup.house.account.iban.clone(),
                amount: Some(units),
            },
            amount: qwallet_rails::from_chain(units, DECIMALS, bank.side.currency.scale).ok(),
            status: DepositStatus::Pending,
            held: None,
            seen_at: self.env.now(),
        }
    }

    async fn take_deposit(
        &self,
        bank: &Bank,
        row: DepositRow,
        wallet: Option<qwallet_api::WalletId>,
        report: &mut StatementReport,
    ) -> Result<(), Trouble> {
        let change = |id| Change::Booked(id);
        let outcome = self.submit(bank.side, row.clone(), change(TransactionId::new(&self.env))).await?;
        match (outcome, wallet) {
            (Outcome::Done(_), Some(_)) => report.credited += 1,
            (Outcome::Done(_), None) => report.unassigned += 1,
            (Outcome::Refused(Refusal::WalletFrozen), Some(_)) => {
                // The money is there all the same, and nobody's until somebody has looked.
                let row = DepositRow { wallet: None, ..row };
                self.submit(bank.side, row, change(TransactionId::new(&self.env))).await?;
                report.unassigned += 1;
            }
            // It was booked before.
            (Outcome::Replayed(_) | Outcome::Refused(_), _) => {}
        }
        Ok(())
    }

    /// What the bank took without being asked is the house's cost.
    async fn take_cost(
        &self,
        bank: &Bank,
        place: &Block,
        reference: String,
        cents: Amount,
        report: &mut StatementReport,
    ) -> Result<(), Trouble> {
        let units = ChainAmount(cents.units());
        let cost = qwallet_rails::from_chain(units, DECIMALS, bank.side.currency.scale);
        let cost = cost.map_err(|_| Error::Inconsistent("an amount of cents"))?;
        let now = self.env.now();
        let row = OutgoingRow {
            id: TransactionId::new(&self.env),
            rail: NAME.to_owned(),
            source: bank.source(),
            recipient: String::new(),
            what: What::Money,
            units,
            fee_max: None,
            nonce: None,
            status: OutgoingStatus::Confirmed,
            hash: Some(reference.clone()),
            height: Some(place.height),
            fee: None,
            reason: None,
            withdrawal: None,
            made_at: now,
            changed_at: now,
        };
        let made = row.clone();
        let name = reference.clone();
        let open = self.db.write_locked(move |tx: &mut Tx<'_>| {
            tx.lock("qwallet rails")?;
            if let Some(known) = store::rails::outgoing_of_hash(tx, NAME, &name)? {
                return Ok((!known.status.is_over()).then_some(known));
            }
            store::rails::insert_outgoing(tx, &made)?;
            Ok::<_, DbError>(Some(made.clone()))
        });
        if let Some(row) = open.await? {
            let end = End {
                hash: Some(reference),
                block: Some(place.clone()),
                fee: units,
                is_success: true,
                reason: None,
            };
            if self.end_in_books(bank.side, row, end, cost).await? {
                report.costs += 1;
            }
        }
        Ok(())
    }

    /// The wallet whose reference stands in a text.
    async fn named(&self, text: &str) -> Result<Option<qwallet_api::WalletId>, Error> {
        let words = text.split(|letter: char| !letter.is_ascii_alphanumeric());
        for word in words.filter(|word| WalletRef::parse(word).is_ok()) {
            if let Some(wallet) = self.directory.find(word).await? {
                return Ok(Some(wallet.row.id));
            }
        }
        Ok(None)
    }

    async fn close_statement(&self, bank: &Bank, place: &Block, closing: Amount) -> Result<(), Error> {
        let account = bank.side.accounts.rail;
        let account = self.db.read(move |reader| store::ledger::find_account(reader, account)).await?;
        let account = account.ok_or(Error::Inconsistent("a rail's account"))?;
        let posted = account.posted();
        let books = qwallet_rails::to_chain(posted.magnitude(), bank.side.currency.scale, DECIMALS);
        let books = books.map_err(|_| Error::Inconsistent("cents in the books of a bank"))?;
        // An account that gave more than it got would stand on the other side.
        let books = if posted.is_negative() { books } else { ChainAmount(0) };
        let chain = ChainAmount(closing.units());
        let checked = Checked { height: place.height, at: self.env.now(), chain, books };
        let (before, place) = (place.height - 1, place.clone());
        self.db
            .write(move |tx| {
                let before = (before > 0).then_some(before);
                store::rails::set_scanned(tx, NAME, before, &place)?;
                store::rails::set_checked(tx, NAME, &checked)?;
                let facts = serde_json::json!({ "number": place.height });
                tx.audit(AuditEntry::change("rail.statement", None, NAME).details(facts))?;
                if chain == books {
                    store::rails::set_paused(tx, NAME, None)?;
                }
                Ok::<_, DbError>(())
            })
            .await?;
        self.executor.metrics().set_rail_difference(NAME, chain.0, books.0);
        if chain != books {
            self.pause(NAME, "the closing balance is not what the books say").await?;
        }
        Ok(())
    }
}

pub(super) fn ours(trouble: Trouble) -> Error {
    match trouble {
        Trouble::Ours(error) => error,
        Trouble::Down(_) | Trouble::Behind(_) | Trouble::Contradiction(_) => {
            Refusal::Record { code: &errors::RAIL_DOWN, detail: "the rail cannot be used now" }.into()
        }
    }
}
