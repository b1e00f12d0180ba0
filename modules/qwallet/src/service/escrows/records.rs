//! What the executor does with escrows: money and state in one commit.

use q_core::{Amount, AuditEntry, Did};
use q_db::{DbError, Tx};
use qwallet_api::{EscrowId, TransactionId, errors, events};

use crate::{
    domain::{
        account::AccountId,
        currency::Currency,
        escrows::{self, Actor, State, Wish},
        payment::Refusal,
        transfer::{Leg, Purpose},
    },
    service::{
        commit::Item,
        profiles::NOT_ALLOWED,
        record::{Decision, Moment, Record, RecordKey, RecordTable, Step},
    },
    store::{
        self,
        escrows::{EscrowRow, PartRow},
        ledger::TransactionKind,
    },
};

/// Money on its way into escrow.
#[derive(Debug)]
pub(super) struct Funding {
    pub row: EscrowRow,
    pub item: Item,
    pub currency: &'static Currency,
    pub payer: Did,
}

impl Record for Funding {
    fn key(&self) -> RecordKey {
        RecordKey(RecordTable::Escrows, self.row.id.bytes())
    }

    /// The row is not there yet; of two escrows for one order the unique key lets one pass.
    fn lock(&self, _: &mut Tx<'_>) -> Result<(), DbError> {
        Ok(())
    }

    fn accounts(&self) -> Vec<AccountId> {
        self.item.legs.iter().flat_map(|leg| [leg.debit, leg.credit]).collect()
    }

    fn decide(&self, tx: &mut Tx<'_>, moment: Moment) -> Result<Result<Decision<'_>, Refusal>, DbError> {
        if store::escrows::of_order(tx, self.row.payer, &self.row.order_ref)?.is_some() {
            return Ok(Err(EXISTS));
        }
        if !self.is_allowed(tx)? {
            return Ok(Err(Refusal::Profile(NOT_ALLOWED)));
        }
        let row = EscrowRow { created_at: moment.at, ..self.row.clone() };
        let write = move |tx: &mut Tx<'_>, _: Moment| fund(tx, &row, self.currency, &self.payer);
        let steps = vec![Step::Pay(self.item.clone())];
        Ok(Ok(Decision { steps, answer: self.row.id.bytes(), write: Box::new(write) }))
    }
}

impl Funding {
    /// Whether the payer's list, where there is one, allows whoever is to get something. It changes only while the payer's
    /// accounts are locked.
    fn is_allowed(&self, tx: &mut Tx<'_>) -> Result<bool, DbError> {
        let payer = store::wallets::find(tx, self.row.payer)?;
        let Some(allowed) = payer.and_then(|payer| payer.allowed) else { return Ok(true) };
        for (recipient, _) in &self.row.splits {
            let Ok(did) = recipient.parse::<Did>() else { return Ok(false) };
            let wallet = store::wallets::find_by_owner(tx, &did)?;
            if wallet.is_none_or(|wallet| !allowed.contains(&wallet.id)) {
                return Ok(false);
            }
        }
        Ok(allowed.contains(&self.row.payee))
    }
}

/// One escrow per payer and order.
pub const EXISTS: Refusal = Refusal::Record {
    code: &errors::ESCROW_EXISTS,
    detail: "the payer has an escrow for this order; GET /escrows lists it",
};

/// Writes an escrow that was paid in.
pub fn fund(tx: &mut Tx<'_>, row: &EscrowRow, currency: &Currency, by: &Did) -> Result<(), DbError> {
    store::escrows::insert(tx, row)?;
    tx.emit(&events::EscrowFunded(facts(row, currency, State::Held)))?;
    audit(tx, row, "escrow.fund", Some(by))
}

/// Somebody who gets a part.
#[derive(Debug, Clone)]
pub(super) struct Share {
    /// Whose it is: a DID.
    pub recipient: String,
    /// The account, where there is a wallet.
    pub account: Option<AccountId>,
    pub amount: Amount,
}

/// A wish somebody has of an escrow.
#[derive(Debug)]
pub(super) struct Asked {
    pub id: EscrowId,
    pub actor: Actor,
    pub wish: Wish,
    /// Who gets what when it is released; all to the payee when empty.
    pub shares: Vec<Share>,
    /// Why somebody objects, sealed.
    pub reason: Option<Vec<u8>>,
    pub by: Option<Did>,
    /// The transaction that moves the money.
    pub transaction: TransactionId,
    pub currency: &'static Currency,
    pub held_in: AccountId,
    /// Of the payer, then of the payee.
    pub parties: (Share, Share),
}

impl Asked {
    /// Whom the money goes to.
    fn shares(&self, state: State, amount: Amount) -> Vec<Share> {
        let (payer, payee) = &self.parties;
        match state {
            State::Held | State::Disputed => Vec::new(),
            State::Refunded => vec![Share { amount, ..payer.clone() }],
            State::Released if self.shares.is_empty() => vec![Share { amount, ..payee.clone() }],
            State::Released => self.shares.clone(),
        }
    }
}

impl Record for Asked {
    fn key(&self) -> RecordKey {
        RecordKey(RecordTable::Escrows, self.id.bytes())
    }

    fn lock(&self, tx: &mut Tx<'_>) -> Result<(), DbError> {
        store::escrows::lock(tx, self.id)
    }

    fn accounts(&self) -> Vec<AccountId> {
        let (payer, payee) = &self.parties;
        let shares = self.shares.iter().chain([payer, payee]);
        [self.held_in].into_iter().chain(shares.filter_map(|share| share.account)).collect()
    }

    fn decide(&self, tx: &mut Tx<'_>, moment: Moment) -> Result<Result<Decision<'_>, Refusal>, DbError> {
        let refused = |code, detail| Ok(Err(Refusal::Record { code, detail }));
        let Some(row) = store::escrows::find(tx, self.id)? else {
            return refused(&errors::ESCROW_NOT_FOUND, "the escrow does not exist");
        };
        let state = match escrows::decide(row.state, row.arbiter.is_some(), self.actor, self.wish) {
            Ok(state) => state,
            Err(detail) => return refused(&errors::ESCROW_STATE, detail),
        };
        // While the module was paused nobody could object, so that time is not counted.
        let due_at = row.auto_release_at + tx.paused_between(row.created_at, moment.at)?;
        if self.actor == Actor::Day && due_at > moment.at {
            return refused(&errors::ESCROW_STATE, "its day has not come");
        }
        let mut shares = self.shares(state, row.amount);
        // What is for a wallet that may not be paid now waits until it may.
        let accounts: Vec<AccountId> = shares.iter().filter_map(|share| share.account).collect();
        let frozen = store::wallets::frozen_among(tx, &accounts)?;
        for share in &mut shares {
            share.account = share.account.filter(|account| !frozen.contains(account));
        }
        if !state.is_open() && !escrows::is_whole(shares.iter().map(|share| share.amount), row.amount) {
            return refused(&errors::SPLIT_SUM, super::SPLITS_ARE_THE_WHOLE);
        }
        let (payer, payee) = &self.parties;
        let agreed: Vec<String> = row.splits.iter().map(|(recipient, _)| recipient.clone()).collect();
        let may_get =
            |share: &Share| escrows::may_get(&share.recipient, &payer.recipient, &payee.recipient, &agreed);
        if !shares.iter().all(may_get) {
            let detail = "only the payer, the payee and whom the order named get a part";
            return refused(&errors::SPLIT_SUM, detail);
        }
        let purpose = if state == State::Refunded { Purpose::Refund } else { Purpose::Release };
        let legs = shares.iter().filter_map(|share| {
            let (debit, credit) = (self.held_in, share.account?);
            Some(Leg { debit, credit, amount: share.amount, purpose })
        });
        let legs: Vec<Leg> = legs.collect();
        let steps = if legs.is_empty() { Vec::new() } else { vec![Step::Pay(item(self.transaction, legs))] };
        let write = move |tx: &mut Tx<'_>, moment: Moment| {
            let ended_at = (!state.is_open()).then_some(moment.at);
            store::escrows::set_state(tx, self.id, state, self.reason.as_deref(), ended_at)?;
            for (place, share) in (0..).zip(&shares) {
                let transaction = share.account.map(|_| self.transaction);
                let recipient = share.recipient.clone();
                let part = PartRow { escrow: self.id, place, recipient, amount: share.amount, transaction };
                store::escrows::insert_part(tx, &part)?;
            }
            let facts = facts(&row, self.currency, state);
            match state {
                State::Held | State::Disputed => tx.emit(&events::EscrowDisputed(facts))?,
                State::Refunded => tx.emit(&events::EscrowRefunded(facts))?,
                State::Released if shares.len() > 1 => tx.emit(&events::EscrowSplit(facts))?,
                State::Released => tx.emit(&events::EscrowReleased(facts))?,
            };
            let what = match state {
                State::Held | State::Disputed => "escrow.dispute",
                State::Refunded => "escrow.refund",
                State::Released => "escrow.release",
            };
            audit(tx, &row, what, self.by.as_ref())
        };
        Ok(Ok(Decision { steps, answer: self.id.bytes(), write: Box::new(write) }))
    }
}

/// A part whose recipient has a wallet by now.
#[derive(Debug)]
pub(super) struct Claim {
    pub part: PartRow,
    pub transaction: TransactionId,
    pub held_in: AccountId,
    pub account: AccountId,
}

impl Record for Claim {
    fn key(&self) -> RecordKey {
        RecordKey(RecordTable::Escrows, self.part.escrow.bytes())
    }

    fn lock(&self, tx: &mut Tx<'_>) -> Result<(), DbError> {
        store::escrows::lock(tx, self.part.escrow)
    }

    fn accounts(&self) -> Vec<AccountId> {
        vec![self.held_in, self.account]
    }

    fn decide(&self, tx: &mut Tx<'_>, _: Moment) -> Result<Result<Decision<'_>, Refusal>, DbError> {
        let parts = store::escrows::parts(tx, self.part.escrow)?;
        if !parts.contains(&self.part) {
            // Another replica was faster.
            return Ok(Err(Refusal::InvalidState("paid")));
        }
        let (debit, credit, amount) = (self.held_in, self.account, self.part.amount);
        let legs = vec![Leg { debit, credit, amount, purpose: Purpose::Release }];
        let write = move |tx: &mut Tx<'_>, _: Moment| {
            store::escrows::pay_part(tx, &self.part, self.transaction)?;
            let what = format!("{} {}", self.part.escrow, self.part.place);
            tx.audit(AuditEntry::change("escrow.claim", None, what))?;
            Ok(())
        };
        let steps = vec![Step::Pay(item(self.transaction, legs))];
        Ok(Ok(Decision { steps, answer: self.transaction.bytes(), write: Box::new(write) }))
    }
}

fn item(id: TransactionId, legs: Vec<Leg>) -> Item {
    Item { id, kind: TransactionKind::Release, legs, intent: None, client_ref: None, purpose: None }
}

fn facts(row: &EscrowRow, currency: &Currency, state: State) -> events::EscrowFacts {
    events::EscrowFacts {
        escrow_id: row.id,
        payer: row.payer,
        payee: row.payee,
        amount: currency.text(row.amount),
        currency: currency.code.to_owned(),
        status: state.name().to_owned(),
    }
}

fn audit(tx: &mut Tx<'_>, row: &EscrowRow, what: &'static str, by: Option<&Did>) -> Result<(), DbError> {
    let facts = serde_json::json!({
        "payer": row.payer.to_string(),
        "payee": row.payee.to_string(),
        "units": row.amount.units().to_string(),
    });
    tx.audit(AuditEntry::change(what, by, row.id).details(facts))?;
    Ok(())
}
