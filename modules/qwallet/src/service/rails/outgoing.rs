//! What goes out: signed, kept, sent, followed until the chain cannot be rewritten, and put into the books.
//!
//! Bytes are kept before they are sent, so whatever happens the same bytes are sent again; and one number of an address
//! stands for one payment for ever, so it cannot be made twice.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use q_core::{Amount, AuditEntry, Span};
use q_db::{DbError, Tx};
use qwallet_api::{RailReorg, TransactionId};
use qwallet_rails::{Block, ChainAmount, Head, Payment, RailError, Signed, Slot, Status, What};

use super::{Entry, Side, Trouble, withdrawals::told};
use crate::{
    domain::{
        account::AccountId,
        books::HoldEnd,
        payment::{HouseAccounts, Refusal},
        rails::{OutgoingStatus, split_fee},
        transfer::{Leg, Purpose},
    },
    error::Error,
    service::{
        Service,
        commit::{Action, Item, Outcome, Work},
        record::{Decision, Moment, Record, RecordKey, RecordTable, Step},
    },
    store::{
        self,
        ledger::TransactionKind,
        rails::{AddressRow, OutgoingRow, SendingRow},
    },
};

/// A withdrawal that cannot be signed for so long is given up.
const PENDING_MAX: Span = Span::seconds(86_400);

/// How often a higher fee is offered for one payment.
const OFFERS_MAX: usize = 8;

/// From how many times its own cost on the native coin of a deposit address is worth moving.
const WORTH_MOVING: u128 = 10;

impl Service {
    /// Looks after everything that was signed. What comes back are payments whose number the chain has used for what is
    /// unknown here: only this house has the key, so that cannot be, and nobody's money is given back on the strength
    /// of it.
    pub(super) async fn follow(&self, entry: &Entry, head: &Head) -> Result<Vec<OutgoingRow>, Trouble> {
        let rail = entry.name();
        let open = self.db.read(move |reader| store::rails::open_outgoing(reader, rail)).await?;
        let mut displaced = Vec::new();
        for row in open.into_iter().filter(|row| row.nonce.is_some()) {
            displaced.extend(self.follow_one(entry, head, row).await?);
        }
        Ok(displaced)
    }

    async fn follow_one(
        &self,
        entry: &Entry,
        head: &Head,
        row: OutgoingRow,
    ) -> Result<Option<OutgoingRow>, Trouble> {
        let id = row.id;
        let sendings = self.db.read(move |reader| store::rails::sendings(reader, id)).await?;
        let payment = payment_of(&row);
        let (mut mined, mut is_known) = (None, false);
        for sending in &sendings {
            match entry.rail().status(&sending.hash, &payment).await? {
                Status::Mined { block, fee, is_success } => {
                    mined = Some((sending.hash.clone(), block, fee, is_success));
                }
                Status::Pending => is_known = true,
                Status::Unknown => {}
            }
        }
        let final_height = head.last_final.as_ref().map(|block| block.height);
        if let Some((hash, block, fee, is_success)) = mined {
            if final_height.is_some_and(|height| block.height <= height) {
                let end = End { hash: Some(hash), block: Some(block), fee, is_success, reason: None };
                self.end(entry, row, end).await?;
            } else {
                self.confirm(row, hash, &block).await?;
            }
            return Ok(None);
        }
        if row.status == OutgoingStatus::Confirmed {
            self.unconfirm(row).await?;
            return Ok(None);
        }
        if let (Some(nonce), Some(height)) = (row.nonce, final_height)
            && entry.rail().nonce_at(&row.source.address, height).await? > nonce
        {
            return Ok(Some(row));
        }
        match sendings.first() {
            Some(newest) if !is_known => self.broadcast(entry, id, newest).await?,
            Some(newest) if self.is_stuck(entry, newest, sendings.len()) => {
                self.offer_more(entry, row, sendings.len()).await?;
            }
            _ => {}
        }
        Ok(None)
    }

    /// Ends what [`Self::follow`] named, after an operator asked and the chain was found to hold all that the books
    /// say: what took the number took nothing of the payer's.
    pub(super) async fn give_back(&self, entry: &Entry, displaced: Vec<OutgoingRow>) -> Result<(), Trouble> {
        for row in displaced {
            let reason = Some("another transaction took its number".into());
            let end = End { hash: None, block: None, fee: ChainAmount(0), is_success: false, reason };
            self.end(entry, row, end).await?;
        }
        Ok(())
    }

    /// Takes note of numbers that were used, up to a final block, for what is unknown here, so that the addresses can
    /// pay again: asked for by an operator, when the chain was found to hold all that the books say.
    pub(super) async fn accept_numbers(
        &self,
        entry: &Entry,
        height: u64,
        held: &[(AddressRow, ChainAmount)],
    ) -> Result<(), Trouble> {
        for (source, _) in held {
            let used = entry.rail().nonce_at(&source.address, height).await?;
            let Some(nonce) = used.checked_sub(1) else { continue };
            let nothing = Payment { to: source.address.clone(), amount: ChainAmount(0), what: What::Gas };
            let row = OutgoingRow {
                nonce: Some(nonce),
                status: OutgoingStatus::Settled,
                height: Some(height),
                reason: Some("an operator accepted that this number was used".to_owned()),
                ..self.own_move(entry, source, nothing, None)
            };
            let noted = self.db.write_locked(move |tx| {
                tx.lock("qwallet rails")?;
                if store::rails::last_nonce(tx, &row.rail, &row.source.address)?
                    .is_some_and(|last| last >= nonce)
                {
                    return Ok(());
                }
                store::rails::insert_outgoing(tx, &row)?;
                let facts =
                    serde_json::json!({ "rail": row.rail, "address": row.source.address, "nonce": nonce });
                tx.audit(AuditEntry::change("rail.number", None, row.id).details(facts))?;
                Ok::<_, DbError>(())
            });
            noted.await?;
        }
        Ok(())
    }

    fn is_stuck(&self, entry: &Entry, newest: &SendingRow, offers: usize) -> bool {
        offers < OFFERS_MAX && newest.made_at + entry.setup.stuck_after < self.env.now()
    }

    async fn broadcast(&self, entry: &Entry, id: TransactionId, sending: &SendingRow) -> Result<(), Trouble> {
        match entry.rail().submit(&sending.raw).await {
            Ok(()) => self.sent(id).await,
            // It stays signed and is sent again at the next visit.
            Err(RailError::Refused(reason)) => self.note(id, reason).await,
            Err(error) => Err(error.into()),
        }
    }

    /// Signs what waits, oldest first, and sends it.
    pub(super) async fn sign_waiting(&self, entry: &Entry, head: &Head) -> Result<(), Trouble> {
        let rail = entry.name();
        let open = self.db.read(move |reader| store::rails::open_outgoing(reader, rail)).await?;
        let mut leaving: HashMap<String, u128> = HashMap::new();
        for row in open.iter().filter(|row| row.nonce.is_some() && row.what == What::Money) {
            let sum = leaving.entry(row.source.address.clone()).or_default();
            *sum = sum.saturating_add(row.units.0);
        }
        for row in open.into_iter().filter(|row| row.nonce.is_none()) {
            if row.made_at + PENDING_MAX < self.env.now() {
                let reason = Some("it could not be signed for a day".into());
                let end = End { hash: None, block: None, fee: ChainAmount(0), is_success: false, reason };
                self.end(entry, row, end).await?;
                continue;
            }
            let leaving = leaving.entry(row.source.address.clone()).or_default();
            let wanted = leaving.saturating_add(row.units.0);
            let held = entry.rail().balance(&row.source.address, row.what, head.latest.height).await?;
            if held.0 < wanted && row.what == What::Money {
                self.note(row.id, "the rail's address does not hold enough yet".to_owned()).await?;
                continue;
            }
            if self.sign_one(entry, &row).await? && row.what == What::Money {
                *leaving = wanted;
            }
        }
        Ok(())
    }

    /// Signs it under the next number and sends it; `false` when it waits.
    async fn sign_one(&self, entry: &Entry, row: &OutgoingRow) -> Result<bool, Trouble> {
        let nonce = self.next_nonce(entry, &row.source).await?;
        let seed = self.seed_of(entry.name(), row.source.generation).await?;
        let slot = Slot { seed: &seed, index: row.source.place };
        let signed = match entry.rail().prepare(slot, &payment_of(row), nonce, row.fee_max, 0).await {
            Ok(signed) => signed,
            // What pays the fee is lacking, or the fee is too high now: it waits.
            Err(error @ (RailError::Refused(_) | RailError::TooDear(_))) => {
                self.note(row.id, error.to_string()).await?;
                return Ok(false);
            }
            Err(error) => return Err(error.into()),
        };
        drop(seed);
        let is_kept = self.keep(row.id, OutgoingStatus::Pending, &signed).await?;
        if is_kept {
            let sending = SendingRow { hash: signed.hash, raw: signed.raw, made_at: self.env.now() };
            self.broadcast(entry, row.id, &sending).await?;
        }
        Ok(is_kept)
    }

    async fn offer_more(&self, entry: &Entry, row: OutgoingRow, offers: usize) -> Result<(), Trouble> {
        let Some(nonce) = row.nonce else { return Ok(()) };
        let seed = self.seed_of(entry.name(), row.source.generation).await?;
        let slot = Slot { seed: &seed, index: row.source.place };
        let attempt = u32::try_from(offers).unwrap_or(u32::MAX);
        // What it costs above what was held is the house's: the payer signed for the first price.
        let signed = match entry.rail().prepare(slot, &payment_of(&row), nonce, None, attempt).await {
            Ok(signed) => signed,
            Err(error @ (RailError::Refused(_) | RailError::TooDear(_))) => {
                return self.note(row.id, error.to_string()).await;
            }
            Err(error) => return Err(error.into()),
        };
        drop(seed);
        if self.keep(row.id, OutgoingStatus::Broadcasting, &signed).await? {
            let sending = SendingRow { hash: signed.hash, raw: signed.raw, made_at: self.env.now() };
            self.broadcast(entry, row.id, &sending).await?;
        }
        Ok(())
    }

    /// Keeps signed bytes before they are sent; `false` when somebody else was faster.
    async fn keep(
        &self,
        id: TransactionId,
        expected: OutgoingStatus,
        signed: &Signed,
    ) -> Result<bool, Trouble> {
        let signed = signed.clone();
        let kept = self.db.write_locked(move |tx| {
            let row = store::rails::lock_outgoing(tx, id)?;
            let Some(row) = row.filter(|row| row.status == expected) else { return Ok(false) };
            if row.nonce.is_some_and(|nonce| nonce != signed.nonce) {
                return Ok(false);
            }
            let is_first = row.nonce.is_none();
            let status = if is_first { OutgoingStatus::Signed } else { row.status };
            store::rails::insert_sending(tx, &row.rail, id, &signed.hash, &signed.raw)?;
            let hash = Some(signed.hash.clone());
            let row = OutgoingRow { nonce: Some(signed.nonce), status, hash, reason: None, ..row };
            store::rails::update_outgoing(tx, &row)?;
            if let (Some(part), true) = (&row.withdrawal, is_first) {
                told(tx, &row, part, status)?;
            }
            let facts = serde_json::json!({ "rail": row.rail, "hash": signed.hash, "nonce": signed.nonce });
            tx.audit(AuditEntry::change("rail.sign", None, id).details(facts))?;
            Ok::<_, DbError>(true)
        });
        Ok(kept.await?)
    }

    /// The number of the next payment of an address: the one after the last that was signed here. A chain that is
    /// further has seen the key used elsewhere, or the store is older than the chain: nothing is signed then.
    async fn next_nonce(&self, entry: &Entry, source: &AddressRow) -> Result<u64, Trouble> {
        let (rail, address) = (entry.name(), source.address.clone());
        let last = self.db.read(move |reader| store::rails::last_nonce(reader, rail, &address)).await?;
        let on_chain = entry.rail().next_nonce(&source.address).await?;
        let next = last.map_or(0, |last| last.saturating_add(1));
        if on_chain > next {
            return Err(Trouble::Contradiction(format!(
                "{} has made {on_chain} transactions, of which {next} are known here",
                source.address
            )));
        }
        Ok(next)
    }

    async fn confirm(&self, row: OutgoingRow, hash: String, block: &Block) -> Result<(), Trouble> {
        if row.status == OutgoingStatus::Confirmed && row.height == Some(block.height) {
            return Ok(());
        }
        let (id, height) = (row.id, block.height);
        let noted = self.db.write_locked(move |tx| {
            let row = store::rails::lock_outgoing(tx, id)?;
            let Some(row) = row.filter(|row| !row.status.is_over()) else { return Ok(()) };
            let was = row.status;
            let status = OutgoingStatus::Confirmed;
            let row =
                OutgoingRow { status, hash: Some(hash.clone()), height: Some(height), reason: None, ..row };
            store::rails::update_outgoing(tx, &row)?;
            match &row.withdrawal {
                Some(part) if was != status => told(tx, &row, part, status),
                _ => Ok(()),
            }
        });
        Ok(noted.await?)
    }

    /// The block it was in is gone; its bytes are sent again.
    async fn unconfirm(&self, row: OutgoingRow) -> Result<(), Trouble> {
        let id = row.id;
        let noted = self.db.write_locked(move |tx| {
            let row = store::rails::lock_outgoing(tx, id)?;
            let confirmed = |row: &OutgoingRow| row.status == OutgoingStatus::Confirmed;
            let Some(row) = row.filter(confirmed) else { return Ok(()) };
            let block = row.height.unwrap_or_default();
            let row = OutgoingRow { status: OutgoingStatus::Signed, height: None, ..row };
            store::rails::update_outgoing(tx, &row)?;
            tx.emit(&RailReorg { rail: row.rail.clone(), block, transaction_id: id })?;
            row.withdrawal.as_ref().map_or(Ok(()), |part| told(tx, &row, part, row.status))
        });
        Ok(noted.await?)
    }

    async fn sent(&self, id: TransactionId) -> Result<(), Trouble> {
        let noted = self.db.write_locked(move |tx| {
            let row = store::rails::lock_outgoing(tx, id)?;
            let signed = |row: &OutgoingRow| row.status == OutgoingStatus::Signed;
            let Some(row) = row.filter(signed) else { return Ok(()) };
            let row = OutgoingRow { status: OutgoingStatus::Broadcasting, reason: None, ..row };
            store::rails::update_outgoing(tx, &row)?;
            row.withdrawal.as_ref().map_or(Ok(()), |part| told(tx, &row, part, row.status))
        });
        Ok(noted.await?)
    }

    async fn note(&self, id: TransactionId, reason: String) -> Result<(), Trouble> {
        let noted = self.db.write_locked(move |tx| {
            let row = store::rails::lock_outgoing(tx, id)?;
            let news = |row: &OutgoingRow| !row.status.is_over() && row.reason.as_ref() != Some(&reason);
            let Some(row) = row.filter(news) else { return Ok(()) };
            store::rails::update_outgoing(tx, &OutgoingRow { reason: Some(reason.clone()), ..row })
        });
        Ok(noted.await?)
    }

    /// Puts into the books how it ended.
    async fn end(&self, entry: &Entry, row: OutgoingRow, end: End) -> Result<(), Trouble> {
        let cost = entry.cost_in_books(end.fee).map_err(Error::from)?;
        self.end_in_books(entry.side(), row, end, cost).await?;
        Ok(())
    }

    /// Puts into the books how it ended and what that cost.
    pub(super) async fn end_in_books(
        &self,
        side: Side,
        row: OutgoingRow,
        end: End,
        cost: Amount,
    ) -> Result<bool, Trouble> {
        let id = row.id;
        let record = self.end_record(side, row, end, cost).await?;
        let action = Action::Record(Arc::new(record));
        let work = Work { request: None, nonce: None, expires_at: None, order: None, action };
        match self.executor.submit(work).await? {
            Outcome::Done(_) | Outcome::Replayed(_) => Ok(true),
            Outcome::Refused(refusal) => {
                tracing::warn!(rail = side.name, withdrawal = %id, %refusal, "a withdrawal could not be ended");
                Ok(false)
            }
        }
    }

    /// The end of something that went out.
    pub(super) async fn end_record(
        &self,
        side: Side,
        row: OutgoingRow,
        end: End,
        cost: Amount,
    ) -> Result<EndRecord, Error> {
        let account = match &row.withdrawal {
            None => None,
            Some(part) => {
                let wallet = self.directory.find(&part.wallet.to_string()).await?;
                let account = wallet.and_then(|wallet| wallet.accounts.account(side.currency.id));
                Some(account.ok_or(Error::Inconsistent("the wallet of a withdrawal"))?)
            }
        };
        let house = self.directory.house_of(side.currency.id);
        let house = *house.ok_or(Error::Inconsistent("the house's accounts"))?;
        Ok(EndRecord {
            row,
            end,
            cost,
            account,
            house,
            rail: side.accounts.rail,
            costs: side.accounts.costs,
            item: TransactionId::new(&self.env),
        })
    }

    /// Moves what deposit addresses hold to the address that pays out. `held` is what each held at a final block.
    pub(super) async fn sweep(
        &self,
        entry: &Entry,
        height: u64,
        held: &[(AddressRow, ChainAmount)],
    ) -> Result<(), Trouble> {
        let rail = entry.name();
        let Some(house) = self.rail_key(rail).await? else { return Ok(()) };
        let house = AddressRow { address: house.house, generation: house.generation, place: 0, wallet: None };
        let open = self.db.read(move |reader| store::rails::open_outgoing(reader, rail)).await?;
        let Ok(from) = entry.to_chain(entry.setup.sweep_from) else { return Ok(()) };
        for (source, units) in held.iter().filter(|(row, _)| row.address != house.address) {
            let is_busy = open
                .iter()
                .any(|row| row.source.address == source.address || row.recipient == source.address);
            if is_busy || units.0 == 0 || *units < from {
                continue;
            }
            self.sweep_one(entry, height, source, *units, &house).await?;
        }
        Ok(())
    }

    async fn sweep_one(
        &self,
        entry: &Entry,
        height: u64,
        source: &AddressRow,
        units: ChainAmount,
        house: &AddressRow,
    ) -> Result<(), Trouble> {
        let to_house = |amount| Payment { to: house.address.clone(), amount, what: What::Money };
        let has_own_gas = entry.setup.rail.about().has_own_gas;
        // The native coin pays its own fee, so less than all of it can go: a unit stands for the question.
        let asked = if has_own_gas { ChainAmount(1) } else { units };
        let fee = match entry.rail().quote_fee(&source.address, &to_house(asked)).await {
            Ok(fee) => fee,
            Err(RailError::TooDear(_) | RailError::Refused(_)) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let row = if has_own_gas {
            if units.0 / WORTH_MOVING < fee.0 {
                return Ok(());
            }
            self.own_move(entry, source, to_house(ChainAmount(units.0 - fee.0)), Some(fee))
        } else if entry.rail().balance(&source.address, What::Gas, height).await? >= fee {
            self.own_move(entry, source, to_house(units), Some(fee))
        } else {
            // Twice the fee, so that it suffices when the price has risen by then.
            let amount = ChainAmount(fee.0.saturating_mul(2));
            let gas = Payment { to: source.address.clone(), amount, what: What::Gas };
            self.own_move(entry, house, gas, None)
        };
        Ok(self.db.write(move |tx| store::rails::insert_outgoing(tx, &row)).await?)
    }

    fn own_move(
        &self,
        entry: &Entry,
        source: &AddressRow,
        payment: Payment,
        fee_max: Option<ChainAmount>,
    ) -> OutgoingRow {
        let now = self.env.now();
        OutgoingRow {
            id: TransactionId::new(&self.env),
            rail: entry.name().to_owned(),
            source: source.clone(),
            recipient: payment.to,
            what: payment.what,
            units: payment.amount,
            fee_max,
            nonce: None,
            status: OutgoingStatus::Pending,
            hash: None,
            height: None,
            fee: None,
            reason: None,
            withdrawal: None,
            made_at: now,
            changed_at: now,
        }
    }
}

fn payment_of(row: &OutgoingRow) -> Payment {
    Payment { to: row.recipient.clone(), amount: row.units, what: row.what }
}

/// How something that went out ended on the chain.
#[derive(Debug)]
pub(super) struct End {
    pub hash: Option<String>,
    pub block: Option<Block>,
    pub fee: ChainAmount,
    pub is_success: bool,
    pub reason: Option<Cow<'static, str>>,
}

/// The end of something that went out, in the executor.
#[derive(Debug)]
pub(super) struct EndRecord {
    /// As it was when its end was concluded, with its number on the chain.
    pub row: OutgoingRow,
    end: End,
    /// What the chain took, where that is the rail's own money.
    cost: Amount,
    account: Option<AccountId>,
    house: HouseAccounts,
    rail: AccountId,
    costs: AccountId,
    /// The transaction of what the chain took, and of what is given back.
    item: TransactionId,
}

impl EndRecord {
    /// What the chain took comes out of the fee that was held for it; the rest of that is the payer's again. What is
    /// not covered is the house's.
    fn fee_legs(&self) -> Vec<Leg> {
        let cost_leg = |debit, amount| Leg { debit, credit: self.rail, amount, purpose: Purpose::NetworkFee };
        let legs = match (&self.row.withdrawal, self.account, self.row.fee_max) {
            (Some(part), Some(payer), Some(_)) if self.end.is_success => {
                let split = split_fee(part.fees.network, self.cost);
                let fees = self.house.network_fees;
                let back =
                    Leg { debit: fees, credit: payer, amount: split.back, purpose: Purpose::FeeRefund };
                vec![cost_leg(fees, split.spent), back, cost_leg(self.costs, split.on_top)]
            }
            _ => vec![cost_leg(self.costs, self.cost)],
        };
        legs.into_iter().filter(|leg| !leg.amount.is_zero()).collect()
    }
}

impl Record for EndRecord {
    fn key(&self) -> RecordKey {
        RecordKey(RecordTable::Withdrawals, self.row.id.bytes())
    }

    fn lock(&self, tx: &mut Tx<'_>) -> Result<(), DbError> {
        store::rails::lock_outgoing(tx, self.row.id).map(drop)
    }

    fn accounts(&self) -> Vec<AccountId> {
        let HouseAccounts { platform_fees, network_fees, .. } = self.house;
        self.account.into_iter().chain([self.rail, self.costs, platform_fees, network_fees]).collect()
    }

    fn holds(&self) -> Vec<TransactionId> {
        self.row.withdrawal.iter().map(|_| self.row.id).collect()
    }

    fn decide(&self, tx: &mut Tx<'_>, _: Moment) -> Result<Result<Decision<'_>, Refusal>, DbError> {
        let Some(row) = store::rails::lock_outgoing(tx, self.row.id)?.filter(|row| !row.status.is_over())
        else {
            return Ok(Err(Refusal::InvalidState("ended already")));
        };
        // That the money did not go was concluded from the row as it was; another process may have signed it since.
        let is_as_seen =
            (row.status, row.nonce) == (self.row.status, self.row.nonce) && row.hash == self.row.hash;
        if !self.end.is_success && !is_as_seen {
            return Ok(Err(Refusal::InvalidState("as another process left it")));
        }
        let (status, hold_end) = if self.end.is_success {
            (OutgoingStatus::Settled, HoldEnd::Settled)
        } else {
            (OutgoingStatus::Failed, HoldEnd::Voided)
        };
        let mut steps: Vec<Step> = self.holds().into_iter().map(|id| Step::End(id, hold_end)).collect();
        let legs = self.fee_legs();
        if !legs.is_empty() {
            let kind = TransactionKind::Withdrawal;
            let client_ref = row.withdrawal.as_ref().map(|part| part.client_ref.clone());
            steps.push(Step::Pay(Item {
                id: self.item,
                kind,
                legs,
                intent: None,
                client_ref,
                purpose: None,
            }));
        }
        let end = &self.end;
        let unmade = (!end.is_success).then_some("the chain did not carry it out");
        let reason = end.reason.as_deref().or(unmade);
        let row = OutgoingRow {
            status,
            hash: end.hash.clone().or(row.hash.clone()),
            height: end.block.as_ref().map(|block| block.height),
            fee: Some(end.fee),
            reason: reason.map(str::to_owned),
            ..row
        };
        let write = move |tx: &mut Tx<'_>, _: Moment| {
            store::rails::update_outgoing(tx, &row)?;
            if let Some(part) = &row.withdrawal {
                told(tx, &row, part, status)?;
            }
            let facts = serde_json::json!({
                "rail": row.rail, "status": status.name(), "hash": row.hash, "block": row.height,
            });
            tx.audit(AuditEntry::change("rail.end", None, row.id).details(facts))?;
            Ok(())
        };
        Ok(Ok(Decision { steps, answer: self.row.id.bytes(), write: Box::new(write) }))
    }
}
