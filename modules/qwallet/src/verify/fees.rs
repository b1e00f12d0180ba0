//! Fees: each payment cost what the version of the schedule says that held when it was decided, and each version is what
//! two operators signed.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use q_core::{Amount, Did, Span, Timestamp};
use q_db::{DbError, Reader};
use q_runtime::Finding;
use qwallet_api::{EscrowId, FeeRate, IntentId, TransactionId, WalletId, fees::FEES_TYP};
use serde::Deserialize;

use super::{KeysAsked, Room, Scope};
use crate::{
    domain::{
        account::AccountId,
        chain::Commit,
        currency::CurrencyId,
        fees::{FeeAmounts, FeeClass, FeeSchedule, InForce, QUOTE_TTL},
        order::{Unverified, canonical},
        receipt,
        transfer::{Phase, Purpose, Transfer},
    },
    service::fees::{APPROVERS_MIN, read_rates, schedule_of},
    store::{
        self,
        escrows::EscrowRow,
        fees::{FeeVersionRow, RanWith},
        ledger::{TransactionKind, TransactionRow},
        wallets::Party,
    },
};

/// How long after it was decided a payment may be committed.
const WAITED_MAX: Span = Span::seconds(60);

/// What payments cost, beside what they should have cost.
#[derive(Default)]
pub(super) struct Fees {
    /// The stored versions, by number.
    versions: Vec<Arc<FeeSchedule>>,
    /// The rates of the settings that the instance ran with.
    ran_with: Vec<RanWith>,
    parties: HashMap<AccountId, Party>,
    /// What the transactions that the present commit begins move.
    current: HashMap<TransactionId, Charged>,
    /// What was paid into escrow: for whom it is, its row says.
    escrowed: HashMap<TransactionId, Charged>,
    found: Vec<Finding>,
    asked: KeysAsked,
}

/// What a transaction moves.
#[derive(Debug, Clone, Copy)]
struct Charged {
    debit: AccountId,
    /// Who gets what it is about, and how much; nothing where the row does not say.
    principal: Option<(AccountId, Amount)>,
    fees: FeeAmounts,
    at: Timestamp,
}

impl Room for Fees {
    fn begin(&mut self, reader: &mut Reader<'_>, found: &mut Vec<Finding>) -> Result<(), DbError> {
        store::fees::for_each(reader, |version, row| {
            match row {
                Ok(row) => {
                    self.versions.push(Arc::new(schedule_of(&row)));
                    self.check_version(&row, found);
                }
                Err(error) => {
                    let place = format!("fee_versions {version}");
                    found.push(Finding::new("fee_version_unreadable", place, error.to_string()));
                }
            }
            Ok(())
        })?;
        self.ran_with = store::fees::ran_with(reader)?;
        store::wallets::for_each_party(reader, |account, party| {
            self.parties.insert(account, party);
        })
    }

    fn commit(&mut self, _: i64, _: &Commit, _: &q_core::hash::Sha256, found: &mut Vec<Finding>) {
        self.current.clear();
        found.append(&mut self.found);
    }

    fn transfer(&mut self, transfer: &Transfer, at: Timestamp) {
        if !matches!(transfer.phase, Phase::Posted | Phase::Held) {
            return;
        }
        let leg = &transfer.leg;
        let none = Charged { debit: leg.debit, principal: None, fees: FeeAmounts::default(), at };
        let charged = self.current.entry(transfer.transaction).or_insert(none);
        let add = |sum: Amount| sum.checked_add(leg.amount).unwrap_or(Amount::MAX);
        match leg.purpose {
            Purpose::Principal | Purpose::Withdrawal => charged.principal = Some((leg.credit, leg.amount)),
            Purpose::PlatformFee => charged.fees.platform = add(charged.fees.platform),
            Purpose::NetworkFee => charged.fees.network = add(charged.fees.network),
            _ => {}
        }
    }

    fn transaction(&mut self, row: &TransactionRow) {
        let Some(charged) = self.current.remove(&row.id) else { return };
        match row.kind {
            TransactionKind::Payment | TransactionKind::Charge => self.check_payment(row, &charged),
            TransactionKind::Withdrawal => self.check_withdrawal(row.id, &charged),
            // What a payee put there of what was held for it was charged when it was held.
            TransactionKind::Escrow if row.intent.is_none() => {
                self.escrowed.insert(row.id, charged);
            }
            _ => {}
        }
    }

    fn finish(
        &mut self,
        reader: &mut Reader<'_>,
        _: &Scope<'_>,
        found: &mut Vec<Finding>,
    ) -> Result<(), DbError> {
        if self.escrowed.is_empty() {
            return Ok(());
        }
        let wallets: HashMap<WalletId, Party> =
            self.parties.values().map(|party| (party.wallet, *party)).collect();
        let mut divided = Vec::new();
        store::escrows::for_each(reader, |id, row| {
            let Ok(row) = row else { return Ok(()) };
            let Some(charged) = self.escrowed.remove(&row.funding) else { return Ok(()) };
            if row.splits.is_empty() {
                let class = self.parties.get(&charged.debit).zip(wallets.get(&row.payee));
                let class = class.map(|(giver, taker)| giver.class_of(taker));
                self.check_escrow(id, &row, &charged, class.map(|class| vec![(class, row.amount)]));
            } else {
                divided.push((id, row, charged));
            }
            Ok(())
        })?;
        // Since settings are noted each part is priced by its own class; before, the whole was priced as one.
        let noted_since = self.ran_with.iter().map(|ran| ran.since).min();
        for (id, row, charged) in divided {
            let is_by_part = noted_since.is_some_and(|since| since <= charged.at);
            let parts = if is_by_part { self.parts(reader, &row, &charged)? } else { None };
            self.check_escrow(id, &row, &charged, parts);
        }
        found.append(&mut self.found);
        Ok(())
    }

    fn keys_asked(&mut self) -> KeysAsked {
        std::mem::take(&mut self.asked)
    }
}

impl Fees {
    /// Checks a version as a stranger would: the rates are those that were signed, by as many as it takes.
    fn check_version(&mut self, row: &FeeVersionRow, found: &mut Vec<Finding>) {
        let place = format!("fee_versions {}", row.version);
        let mut fault = |detail: &str| found.push(Finding::new("fee_version_mismatch", &place, detail));
        let signed: Option<Signed> = serde_json::from_str(&row.input).ok();
        let is_signed = signed.is_some_and(|signed| {
            let rates = read_rates(&signed.rates).unwrap_or_default();
            let of_order = FeeSchedule::of_rates(row.version, signed.valid_from, rates);
            of_order == schedule_of(row) && signed.client_ref == row.client_ref && signed.nonce == row.nonce
        });
        if !is_signed {
            fault("it is not what was signed");
        }
        let mut signers: Vec<Did> = Vec::new();
        for signature in row.signatures.split(' ') {
            match proven(signature, FEES_TYP, row.input.as_bytes()) {
                Some(by) => {
                    self.asked.ask(by.kid, Some(&by.signer), row.set_at, &place);
                    if !signers.contains(&by.signer) {
                        signers.push(by.signer);
                    }
                }
                None => fault("a signature does not hold for it"),
            }
        }
        if signers != row.approvers || signers.len() < APPROVERS_MIN {
            fault("those who signed are not those who approved it");
        }
    }

    fn check_payment(&mut self, row: &TransactionRow, charged: &Charged) {
        let Some((credit, amount)) = charged.principal else { return };
        let (Some(giver), Some(taker)) = (self.parties.get(&charged.debit), self.parties.get(&credit)) else {
            return;
        };
        // An intent keeps what it was decided with, and its id says when.
        let since = row.intent.map_or(charged.at, made_at);
        let allowed = self.allowed(since, giver.currency, &[(giver.class_of(taker), amount)]);
        self.compare(format!("transactions {}", row.id), charged, allowed, |fees| fees);
    }

    /// What the rail took is what it asked for then, and no schedule's.
    fn check_withdrawal(&mut self, id: TransactionId, charged: &Charged) {
        let Some((_, amount)) = charged.principal else { return };
        let Some(giver) = self.parties.get(&charged.debit) else { return };
        let allowed = self.allowed(charged.at, giver.currency, &[(FeeClass::P2p, amount)]);
        let network = charged.fees.network;
        let place = format!("transactions {id}");
        self.compare(place, charged, allowed, |fees| FeeAmounts { network, ..fees });
    }

    fn check_escrow(
        &mut self,
        id: EscrowId,
        row: &EscrowRow,
        charged: &Charged,
        parts: Option<Vec<(FeeClass, Amount)>>,
    ) {
        let place = format!("escrows {id}");
        if charged.fees != row.fees {
            let detail = format!("says {:?}, its transaction says {:?}", row.fees, charged.fees);
            self.found.push(Finding::new("escrow_fees", &place, detail));
        }
        let Some(parts) = parts else { return };
        let allowed = self.allowed(charged.at, row.currency, &parts);
        self.compare(place, charged, allowed, |fees| fees);
    }

    /// The parts of a divided escrow by class, as they were when it was paid in.
    fn parts(
        &self,
        reader: &mut Reader<'_>,
        row: &EscrowRow,
        charged: &Charged,
    ) -> Result<Option<Vec<(FeeClass, Amount)>>, DbError> {
        let Some(giver) = self.parties.get(&charged.debit).copied() else { return Ok(None) };
        let mut parts = Vec::with_capacity(row.splits.len());
        for (recipient, amount) in &row.splits {
            let Ok(recipient) = recipient.parse::<Did>() else { return Ok(None) };
            let wallet = store::wallets::find_by_owner(reader, &recipient)?;
            let class = match wallet.filter(|wallet| wallet.created_at <= charged.at) {
                Some(wallet) => giver.class_of(&Party::of(&wallet, row.currency)),
                None => FeeClass::P2p,
            };
            parts.push((class, *amount));
        }
        Ok(Some(parts))
    }

    /// What a payment of these parts may have cost that was decided at most so long before `at`; nothing where nobody wrote
    /// down what held then.
    fn allowed(
        &self,
        at: Timestamp,
        currency: CurrencyId,
        parts: &[(FeeClass, Amount)],
    ) -> Option<Vec<Option<FeeAmounts>>> {
        let from = at - QUOTE_TTL - WAITED_MAX;
        let began = self.versions.iter().map(|version| version.valid_from);
        let instants: BTreeSet<Timestamp> =
            began.filter(|began| *began > from && *began <= at).chain([from]).collect();
        let mut allowed = Vec::new();
        for instant in instants {
            if let Some(in_force) = InForce::at(&self.versions, instant) {
                allowed.push(in_force.now.fees_of_parts(currency, parts));
                continue;
            }
            let ran_with = self.ran_with.iter().filter(|ran| ran.since <= at);
            let known = ran_with.clone().map(|ran| ran.since).min();
            if known.is_none_or(|known| at < known) {
                return None;
            }
            // A replica runs with what it was started with, whatever others were started with since.
            let of_settings = ran_with.map(|ran| FeeSchedule::of_settings(ran.rates));
            allowed.extend(of_settings.map(|schedule| schedule.fees_of_parts(currency, parts)));
        }
        Some(allowed)
    }

    fn compare(
        &mut self,
        place: String,
        charged: &Charged,
        allowed: Option<Vec<Option<FeeAmounts>>>,
        known: impl Fn(FeeAmounts) -> FeeAmounts,
    ) {
        let Some(allowed) = allowed else { return };
        let mut allowed: Vec<FeeAmounts> = allowed.into_iter().flatten().map(known).collect();
        allowed.dedup();
        if !allowed.contains(&charged.fees) {
            let text = |fees: &FeeAmounts| format!("{} + {}", fees.platform.units(), fees.network.units());
            let allowed: Vec<String> = allowed.iter().map(text).collect();
            let detail =
                format!("cost {} units, the schedule says {}", text(&charged.fees), allowed.join(" or "));
            self.found.push(Finding::new("fee_mismatch", place, detail));
        }
    }
}

/// What a signed version of the schedule says.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Signed {
    client_ref: String,
    nonce: String,
    rates: Vec<FeeRate>,
    valid_from: Timestamp,
}

/// Who signed, and with which key: as the books and the logs of identities name them, whatever name the signature uses.
pub(super) struct Proven {
    pub signer: Did,
    pub kid: String,
}

/// Who signed, where the signature holds for `input` under the key that it names. That the key was the signer's, the log
/// of the signer says.
pub(super) fn proven(signature: &str, typ: &str, input: &[u8]) -> Option<Proven> {
    let read = Unverified::read(signature, typ, input).ok()?;
    let key = receipt::key_named(&read.kid)?;
    read.verify(&key).ok()?;
    let signer = canonical(&read.signer);
    let kid = q_did::key_id(&signer, &key);
    Some(Proven { signer, kid })
}

/// When an intent was made: the first six bytes of its id are milliseconds (RFC 9562 section 5.7).
fn made_at(id: IntentId) -> Timestamp {
    let mut millis = [0; 8];
    millis[2..].copy_from_slice(&id.bytes()[..6]);
    Timestamp::from_micros(i64::from_be_bytes(millis).saturating_mul(1_000))
}
