//! What the transfers of one commit tell other modules.
//!
//! Nothing of it is stored: whoever follows has it computed from rows that never change, as often as needed, and gets
//! the same events with the same ids each time.
//!
//! **Invariant:** the events follow from the rows of the commit and from nothing else.

use std::collections::HashMap;

use q_core::{Amount, Event, EventPayload, SignedAmount, Timestamp, event::EventId, hash::Sha256};
use qwallet_api::{
    IntentId, TransactionId, WalletId,
    events::{BalanceUpdated, TransactionFailed, TransactionRefunded, TransactionSettled},
};

use super::{
    account::{AccountId, AccountKind, sum_of},
    books::HoldEnd,
    chain::Commit,
    currency::{Currency, CurrencyId},
    payment::INTERNAL_RAIL,
    transfer::{Phase, Purpose, Transfer},
};

/// The topics of what is told.
pub const TOPICS: &[&str] =
    &[TransactionSettled::TOPIC, TransactionRefunded::TOPIC, TransactionFailed::TOPIC, BalanceUpdated::TOPIC];

/// Who stands behind an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Party {
    /// The account's kind.
    pub kind: AccountKind,
    /// Its money.
    pub currency: CurrencyId,
    /// Whether it only receives, for the account it belongs to.
    pub is_stripe: bool,
    /// The wallet and its reference; none of the house's accounts.
    pub wallet: Option<(WalletId, String)>,
}

impl Party {
    /// The name on the wire.
    fn name(&self) -> String {
        if let Some((_, reference)) = &self.wallet {
            return reference.clone();
        }
        let name = match self.kind {
            AccountKind::Wallet => "account",
            AccountKind::PlatformFees => "fees:platform",
            AccountKind::NetworkFees => "fees:network",
            AccountKind::Issuance => "issuance",
            AccountKind::Escrow => "escrow",
            AccountKind::Rail => "rail",
            AccountKind::RailCosts => "rail:costs",
            AccountKind::Suspense => "suspense",
        };
        name.to_owned()
    }
}

/// What a transaction was for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// The name of its kind.
    pub kind: &'static str,
    /// Whether it gives back what was paid.
    pub is_refund: bool,
    /// The intent it fulfils.
    pub intent: Option<IntentId>,
    /// How its hold ended, if it was held.
    pub end: Option<HoldEnd>,
}

/// The rows of one commit.
#[derive(Debug)]
pub struct Facts<'a> {
    /// The commit.
    pub commit: &'a Commit,
    /// Its head.
    pub head: &'a Sha256,
    /// Its transfers with their leaf hashes, in order.
    pub transfers: &'a [(Transfer, Sha256)],
    /// The accounts they touch.
    pub parties: &'a HashMap<AccountId, Party>,
    /// The transactions they belong to.
    pub reasons: &'a HashMap<TransactionId, Reason>,
    /// The amounts of the held transfers that they end.
    pub held: &'a HashMap<i64, Amount>,
}

/// Whether a transfer is what a transaction is about, and not a fee or the house's own.
const fn is_principal(purpose: Purpose) -> bool {
    match purpose {
        Purpose::Principal
        | Purpose::Mint
        | Purpose::Burn
        | Purpose::Refund
        | Purpose::Release
        | Purpose::Deposit
        | Purpose::Withdrawal
        | Purpose::Escrow
        | Purpose::Correction => true,
        Purpose::PlatformFee | Purpose::NetworkFee | Purpose::FeeRefund | Purpose::Sweep => false,
    }
}

/// Whether a transfer tells anybody anything: held money is told by the order that was signed, and what the house moves
/// between its own accounts by the balance it ends in.
pub fn tells(transfer: &Transfer) -> bool {
    transfer.phase != Phase::Held
}

/// The events that follow from a commit: what was settled or failed, then the balances that changed.
pub fn told(facts: &Facts<'_>) -> Vec<Event> {
    let mut events = Vec::new();
    let mut fees = fees(facts.transfers);
    for (transfer, leaf) in facts.transfers {
        if !is_principal(transfer.leg.purpose) {
            continue;
        }
        if transfer.phase.is_final_movement() {
            // Of a transaction that pays several, the first one tells the fees.
            let fees = fees.remove(&transfer.transaction).unwrap_or_default();
            events.extend(facts.settled(transfer, leaf, &fees));
        } else if transfer.phase == Phase::Voided {
            events.extend(facts.failed(transfer));
        }
    }
    events.extend(facts.balances());
    events
}

/// What each transaction paid besides, or was given back of it.
fn fees(transfers: &[(Transfer, Sha256)]) -> HashMap<TransactionId, Vec<Amount>> {
    let mut fees: HashMap<TransactionId, Vec<Amount>> = HashMap::new();
    for (transfer, _) in transfers {
        let is_fee =
            matches!(transfer.leg.purpose, Purpose::PlatformFee | Purpose::NetworkFee | Purpose::FeeRefund);
        if is_fee && transfer.phase.is_final_movement() {
            fees.entry(transfer.transaction).or_default().push(transfer.leg.amount);
        }
    }
    fees
}

impl Facts<'_> {
    fn settled(&self, transfer: &Transfer, leaf: &Sha256, fees: &[Amount]) -> Option<Event> {
        let (giver, receiver) =
            (self.parties.get(&transfer.leg.debit)?, self.parties.get(&transfer.leg.credit)?);
        let (reason, currency) =
            (self.reasons.get(&transfer.transaction)?, Currency::by_id(receiver.currency)?);
        let (wallet_id, _) = giver.wallet.as_ref().or(receiver.wallet.as_ref())?;
        let fees = sum_of(fees.iter().map(|fee| SignedAmount::plus(*fee)));
        let settled = TransactionSettled {
            transaction_id: transfer.transaction,
            intent_id: reason.intent,
            kind: reason.kind.to_owned(),
            amount: transfer.leg.amount.display(currency.scale),
            currency: currency.code.to_owned(),
            fees: fees.display(currency.scale),
            from: giver.name(),
            to: receiver.name(),
            rail: INTERNAL_RAIL.to_owned(),
            leaf_hash: q_core::hash::hex(leaf),
            wallet_id: *wallet_id,
        };
        let place = transfer.seq.to_be_bytes();
        Some(if reason.is_refund {
            self.event(&TransactionRefunded(settled), &place)
        } else {
            self.event(&settled, &place)
        })
    }

    fn failed(&self, transfer: &Transfer) -> Option<Event> {
        let reason = self.reasons.get(&transfer.transaction)?;
        // Of a payment that was captured in part, what goes back is not a failure.
        let is_whole = self.held.get(&transfer.pending_of?) == Some(&transfer.leg.amount);
        let why = match reason.end {
            Some(HoldEnd::Voided) => "VOIDED",
            Some(HoldEnd::Expired) => "EXPIRED",
            Some(HoldEnd::Settled) | None => return None,
        };
        let (wallet_id, _) = self.parties.get(&transfer.leg.debit)?.wallet.as_ref().filter(|_| is_whole)?;
        let failed = TransactionFailed {
            transaction_id: transfer.transaction,
            intent_id: reason.intent,
            wallet_id: *wallet_id,
            reason: why.to_owned(),
        };
        Some(self.event(&failed, &transfer.seq.to_be_bytes()))
    }

    fn balances(&self) -> Vec<Event> {
        // In the order in which the accounts were met first, so that the events have an order.
        let mut changes: Vec<(AccountId, i64, SignedAmount, SignedAmount)> = Vec::new();
        let mut places: HashMap<AccountId, usize> = HashMap::new();
        for (transfer, _) in self.transfers.iter().filter(|(row, _)| row.phase.is_final_movement()) {
            let leg = &transfer.leg;
            let debited =
                (leg.debit, transfer.debit_version, transfer.debit_balance, SignedAmount::minus(leg.amount));
            let credited = (
                leg.credit,
                transfer.credit_version,
                transfer.credit_balance,
                SignedAmount::plus(leg.amount),
            );
            for (account, version, balance, change) in [debited, credited] {
                let at = *places.entry(account).or_insert_with(|| {
                    changes.push((account, version, balance, SignedAmount::ZERO));
                    changes.len() - 1
                });
                let sum = sum_of([changes[at].3, change].into_iter());
                changes[at] = (account, version, balance, sum);
            }
        }
        let event = |(account, version, balance, change): (AccountId, i64, SignedAmount, SignedAmount)| {
            let party = self.parties.get(&account).filter(|party| !party.is_stripe)?;
            let ((wallet_id, reference), currency) =
                (party.wallet.as_ref()?, Currency::by_id(party.currency)?);
            let updated = BalanceUpdated {
                wallet_id: *wallet_id,
                wallet_ref: reference.clone(),
                currency: currency.code.to_owned(),
                account_version: version,
                balance: balance.display(currency.scale),
                change: change.display(currency.scale),
            };
            let place = [account.0.to_be_bytes(), version.to_be_bytes()].concat();
            Some(self.event(&updated, &place))
        };
        changes.into_iter().filter_map(event).collect()
    }

    fn event<P: EventPayload>(&self, payload: &P, place: &[u8]) -> Event {
        Event {
            id: id(self.head, self.commit.at, P::TOPIC, place),
            source: "qwallet".to_owned(),
            topic: P::TOPIC.to_owned(),
            subject: payload.subject(),
            time: self.commit.at,
            data: serde_json::to_value(payload).expect("an event is plain data"),
        }
    }
}

/// The id of an event at a place of a commit. It covers the commit's head, and so everything before it: where a restored
/// store goes on otherwise than the lost one did, other events have other ids.
fn id(head: &Sha256, at: Timestamp, topic: &str, place: &[u8]) -> EventId {
    let hash = q_core::hash::sha256_of(&[b"q-derived-event/1", head, topic.as_bytes(), b"\0", place]);
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    // Shaped like a UUIDv7 (RFC 9562 section 5.7), so that ids of this kind sort by time as all others do.
    bytes[..6].copy_from_slice(&at.millis().to_be_bytes()[2..]);
    bytes[6] = 0x70 | (bytes[6] & 0x0f);
    bytes[8] = 0x80 | (bytes[8] & 0x3f);
    EventId::from_bytes(bytes)
}
