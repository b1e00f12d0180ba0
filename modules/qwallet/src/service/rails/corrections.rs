//! What two operators set right: a withdrawal that a restored store has forgotten, money that came in for nobody, a loss.
//!
//! **Invariant:** nothing is booked on two signatures alone that can be seen outside: a withdrawal is booked when the chain
//! or a statement of the bank shows it, and a loss only as far as a comparison found it.

use std::sync::Arc;

use q_core::{AuditEntry, Did, RequestKey, Timestamp};
use q_db::{DbError, Tx};
use qwallet_api::{
    CorrectRailRequest, DepositList, RAIL_CORRECTION_TYP, RailCorrection, RailCorrectionList,
    RailCorrectionOrder, RailDeposit, RailPath, TransactionId, errors, signing,
};
use qwallet_rails::{Payment, Status, What};

use super::{
    Entry, Side, down,
    withdrawals::{Way, told},
};
use crate::{
    domain::{
        account::AccountId,
        fees::FeeAmounts,
        payment::{self, Refusal},
        rails::{CorrectionKind, DepositStatus, OutgoingStatus},
        transfer::{Leg, Purpose},
    },
    error::Error,
    service::{
        Service,
        commit::{Action, Item, Outcome, Work},
        directory::WalletEntry,
        issuance::APPROVALS_MAX,
        payments::text,
        record::{Decision, Moment, Record, RecordKey, RecordTable, Step},
        request_of, unexpected,
    },
    store::{
        self,
        ledger::{OrderRow, TransactionKind},
        rail_corrections::CorrectionRow,
        rails::{AddressRow, DepositRow, OutgoingRow, WithdrawalPart},
        requests::Nonce,
    },
};

/// The number of a correction's order in the store.
pub(crate) const CORRECTION_ORDER: i64 = 7;

/// The longest reason.
const REASON_CHARACTERS_MAX: usize = 500;

/// What a correction does besides the books.
#[derive(Debug)]
enum Change {
    /// A withdrawal that is not known yet.
    New(Box<OutgoingRow>),
    /// What the bank took, as far as was known without being asked, was this withdrawal.
    Known(TransactionId, String, WithdrawalPart),
    /// The deposit is a wallet's, or the house's.
    Deposit(Box<DepositRow>),
    /// A loss.
    Nothing,
}

/// What is asked for, before the facts.
enum Asked<'a> {
    Book { wallet: &'a str, amount: &'a q_core::AmountText, recipient: &'a str, reference: &'a str },
    Assign { deposit: TransactionId, wallet: &'a str },
    WriteOff { deposit: TransactionId },
    Loss { amount: &'a q_core::AmountText },
}

impl<'a> Asked<'a> {
    fn read(asked: &'a CorrectRailRequest) -> Result<Self, Refusal> {
        let CorrectRailRequest { action, amount, deposit_id, wallet, recipient, reference, .. } = asked;
        let parts = (amount, deposit_id, wallet.as_deref(), recipient.as_deref(), reference.as_deref());
        match (action.as_str(), parts) {
            ("BOOK_WITHDRAWAL", (Some(amount), None, Some(wallet), Some(recipient), Some(reference))) => {
                Ok(Self::Book { wallet, amount, recipient, reference })
            }
            ("ASSIGN", (None, Some(deposit), Some(wallet), None, None)) => {
                Ok(Self::Assign { deposit: *deposit, wallet })
            }
            ("WRITE_OFF", (None, Some(deposit), None, None, None)) => {
                Ok(Self::WriteOff { deposit: *deposit })
            }
            ("WRITE_OFF", (Some(amount), None, None, None, None)) => Ok(Self::Loss { amount }),
            _ => Err(Refusal::Malformed("correction")),
        }
    }

    const fn wallet(&self) -> Option<&'a str> {
        match self {
            Self::Book { wallet, .. } | Self::Assign { wallet, .. } => Some(wallet),
            Self::WriteOff { .. } | Self::Loss { .. } => None,
        }
    }
}

impl Service {
    /// Sets right what the books of a rail say, under two signatures.
    pub async fn correct_rail(
        &self,
        key: Option<&RequestKey>,
        asked: CorrectRailRequest,
    ) -> Result<RailCorrection, Error> {
        let wanted = Asked::read(&asked)?;
        let expires_at = check_form(&asked, self.env.now())?;
        // Whoever signed, the key belongs to the order: it is the same order under the same key.
        let request = request_of("rail-correction", key);
        if let Some(answer) = self.earlier(request).await? {
            return self.stored_correction(TransactionId::from_bytes(answer)).await;
        }
        let way = self.way(&asked.rail)?;
        if expires_at <= self.env.now() {
            return Err(Refusal::Expired.into());
        }
        let input = signing::signing_input(&RailCorrectionOrder::of(self.instance.did.as_str(), &asked));
        let approvers = self.signers_of(&asked.approvals, RAIL_CORRECTION_TYP, &input).await?;
        let wallet = match wanted.wallet() {
            Some(name) => Some(self.directory.find(name).await?.ok_or(Refusal::WalletNotFound)?),
            None => None,
        };
        self.check_approvers(&approvers, wallet.as_deref().map(|wallet| &wallet.row.owner))?;
        let id = TransactionId::new(&self.env);
        let (kind, legs, change) = match (&wanted, wallet.as_deref()) {
            (Asked::Book { amount, recipient, reference, .. }, Some(wallet)) => {
                self.forgotten(id, way, wallet, amount, (recipient, reference)).await?
            }
            (Asked::Assign { deposit, .. }, Some(wallet)) => {
                let account = account_of(wallet, way.side())?;
                let row = self.nobodys(way.side(), *deposit).await?;
                let row = DepositRow { wallet: Some(wallet.row.id), ..row };
                let (legs, change) = from_suspense(way.side(), row, account)?;
                (CorrectionKind::Assign, legs, change)
            }
            (Asked::WriteOff { deposit }, _) => {
                let row = self.nobodys(way.side(), *deposit).await?;
                let row = DepositRow { status: DepositStatus::WrittenOff, ..row };
                let (legs, change) = from_suspense(way.side(), row, way.side().accounts.costs)?;
                (CorrectionKind::WriteOff, legs, change)
            }
            (Asked::Loss { amount }, _) => {
                (CorrectionKind::WriteOffLoss, self.loss(way, amount).await?, Change::Nothing)
            }
            (Asked::Book { .. } | Asked::Assign { .. }, None) => return Err(unexpected()),
        };
        let about = match &change {
            Change::New(row) => Some(row.id),
            Change::Known(id, ..) => Some(*id),
            Change::Deposit(row) => Some(row.id),
            Change::Nothing => None,
        };
        let row = CorrectionRow {
            id,
            rail: asked.rail.clone(),
            kind,
            about,
            wallet: wallet.map(|wallet| wallet.row.id),
            amount: legs.first().map(|leg| leg.amount).ok_or_else(unexpected)?,
            reason: asked.reason.clone(),
            approvers,
            made_at: self.env.now(),
        };
        let signers: Vec<&str> = row.approvers.iter().map(Did::as_str).collect();
        let order = OrderRow {
            id: 0,
            kind: CORRECTION_ORDER,
            signer: signers.join(" "),
            input: text(input),
            signatures: asked.approvals.join(" "),
        };
        let work = Work {
            request,
            nonce: Some(Nonce::of("rail-correction", &asked.nonce, expires_at)),
            expires_at: Some(expires_at),
            order: Some(order),
            action: Action::Record(Arc::new(CorrectionRecord { row, legs, change })),
        };
        match self.executor.submit(work).await? {
            Outcome::Done(_) => self.stored_correction(id).await,
            Outcome::Replayed(answer) => self.stored_correction(TransactionId::from_bytes(answer)).await,
            Outcome::Refused(refusal) => Err(refusal.into()),
        }
    }

    /// What was set right on a rail.
    pub async fn rail_corrections(&self, path: &RailPath) -> Result<RailCorrectionList, Error> {
        let rail = self.way(&path.rail)?.side().name;
        let rows = self.db.read(move |reader| store::rail_corrections::list(reader, rail)).await?;
        let items = rows.into_iter().map(|row| self.correction(row)).collect::<Result<_, _>>()?;
        Ok(RailCorrectionList { items })
    }

    /// What came in over a rail and is nobody's.
    pub async fn suspense(&self, path: &RailPath) -> Result<DepositList, Error> {
        let rail = self.way(&path.rail)?.side().name;
        let rows = self.db.read(move |reader| store::rails::nobodys_deposits(reader, rail)).await?;
        let items = rows.into_iter().map(|row| self.deposit(row)).collect::<Result<_, _>>()?;
        Ok(DepositList { items })
    }

    async fn stored_correction(&self, id: TransactionId) -> Result<RailCorrection, Error> {
        let row = self.db.read(move |reader| store::rail_corrections::find(reader, id)).await?;
        self.correction(row.ok_or_else(unexpected)?)
    }

    fn correction(&self, row: CorrectionRow) -> Result<RailCorrection, Error> {
        let currency = self.way(&row.rail)?.side().currency;
        let (deposit_id, withdrawal_id) = match row.kind {
            CorrectionKind::BookWithdrawal => (None, row.about),
            CorrectionKind::Assign | CorrectionKind::WriteOff => (row.about, None),
            CorrectionKind::WriteOffLoss => (None, None),
        };
        Ok(RailCorrection {
            correction_id: row.id,
            rail: row.rail,
            action: row.kind.name().to_owned(),
            amount: currency.text(row.amount),
            currency: currency.code.to_owned(),
            wallet_id: row.wallet,
            deposit_id,
            withdrawal_id,
            reason: row.reason,
            approvers: row.approvers,
            at: row.made_at,
        })
    }

    /// A withdrawal that left, as the chain or a statement shows it.
    async fn forgotten(
        &self,
        id: TransactionId,
        way: Way<'_>,
        wallet: &WalletEntry,
        amount: &q_core::AmountText,
        (recipient, reference): (&str, &str),
    ) -> Result<(CorrectionKind, Vec<Leg>, Change), Error> {
        let side = way.side();
        let recipient = self.recipient_of(way, recipient).await?;
        let (_, amount) = payment::read_amount(side.currency.code, amount)?;
        let to_chain = Payment { to: recipient.clone(), amount: way.units(amount)?, what: What::Money };
        let part = WithdrawalPart {
            wallet: wallet.row.id,
            amount,
            fees: FeeAmounts::default(),
            client_ref: reference.chars().take(payment::CLIENT_REF_CHARACTERS_MAX).collect(),
        };
        let account = account_of(wallet, side)?;
        let leg = |debit, credit| Leg { debit, credit, amount, purpose: Purpose::Correction };
        let kind = CorrectionKind::BookWithdrawal;
        let entry = match way {
            Way::Chain(entry) => entry,
            Way::Bank(_) => {
                // The statement that showed it has booked it as a cost, for nobody had asked for it here.
                let (rail, hash) = (side.name, reference.to_owned());
                let find =
                    move |reader: &mut q_db::Reader<'_>| store::rails::outgoing_of_hash(reader, rail, &hash);
                let row = self.db.read(find).await?.filter(|row| row.withdrawal.is_none());
                let row = row.filter(|row| row.units == to_chain.amount && row.what == What::Money);
                let row =
                    row.ok_or_else(|| unseen("no statement shows a cost of this reference and amount"))?;
                let change = Change::Known(row.id, recipient, part);
                return Ok((kind, vec![leg(account, side.accounts.costs)], change));
            }
        };
        let row = self.seen_on_chain(id, entry, to_chain, reference).await?;
        let cost = entry.cost_in_books(row.fee.unwrap_or_default())?;
        let (debit, credit) = (side.accounts.costs, side.accounts.rail);
        let mut legs = vec![leg(account, credit)];
        if !cost.is_zero() {
            legs.push(Leg { debit, credit, amount: cost, purpose: Purpose::NetworkFee });
        }
        let row = OutgoingRow { withdrawal: Some(part), ..row };
        Ok((kind, legs, Change::New(Box::new(row))))
    }

    /// The payment as the chain shows it, final, from an address of the rail, and unknown here until now.
    async fn seen_on_chain(
        &self,
        id: TransactionId,
        entry: &Entry,
        to_chain: Payment,
        hash: &str,
    ) -> Result<OutgoingRow, Error> {
        let silent = |_| down("the rail's node does not answer; try again");
        let hash = hash.to_lowercase();
        let status = entry.rail().status(&hash, &to_chain).await.map_err(silent)?;
        let payer = entry.rail().payer(&hash, &to_chain).await.map_err(silent)?;
        let head = entry.rail().head().await.map_err(silent)?;
        let last_final = head.last_final.map_or(0, |block| block.height);
        let (Status::Mined { block, fee, is_success: true }, Some((address, nonce))) = (status, payer) else {
            return Err(unseen("the chain shows no such payment under this hash"));
        };
        if block.height > last_final {
            return Err(unseen("the payment is not final yet"));
        }
        let (rail, name) = (entry.name(), hash.clone());
        let read = self.db.read(move |reader| {
            let is_known = store::rails::is_ours(reader, rail, &name)?
                || store::rails::outgoing_of_hash(reader, rail, &name)?.is_some();
            Ok::<_, DbError>((is_known, store::rails::addresses(reader, rail)?))
        });
        let (is_known, addresses) = read.await?;
        if is_known {
            return Err(unseen("the books know this payment already"));
        }
        let source = addresses.into_iter().find(|row| row.address.eq_ignore_ascii_case(&address));
        let source = source.ok_or_else(|| unseen("the payment left another address than this rail's"))?;
        let now = self.env.now();
        Ok(OutgoingRow {
            id,
            rail: rail.to_owned(),
            source: AddressRow { wallet: None, ..source },
            recipient: to_chain.to,
            what: What::Money,
            units: to_chain.amount,
            fee_max: None,
            nonce: Some(nonce),
            status: OutgoingStatus::Settled,
            hash: Some(hash),
            height: Some(block.height),
            fee: Some(fee),
            reason: Some("two operators booked what the books did not know".to_owned()),
            withdrawal: None,
            made_at: now,
            changed_at: now,
        })
    }

    /// A deposit that is in the books and nobody's.
    async fn nobodys(&self, side: Side, id: TransactionId) -> Result<DepositRow, Error> {
        let row = self.db.read(move |reader| store::rails::find_deposit(reader, id)).await?;
        let row = row.filter(|row| row.rail == side.name).ok_or(Error::TransactionNotFound)?;
        if is_nobodys(&row) { Ok(row) } else { Err(NOT_NOBODYS.into()) }
    }

    /// What the rail was found to hold less than the books.
    async fn loss(&self, way: Way<'_>, amount: &q_core::AmountText) -> Result<Vec<Leg>, Error> {
        let side = way.side();
        let (_, amount) = payment::read_amount(side.currency.code, amount)?;
        let units = way.units(amount)?;
        let checked = self.rail_row(side.name).await?.checked;
        let missing = checked.map_or(0, |checked| checked.books.0.saturating_sub(checked.chain.0));
        if units.0 > missing {
            return Err(unseen("the last comparison misses less than that: reconcile, and see GET /rails"));
        }
        let (debit, credit) = (side.accounts.costs, side.accounts.rail);
        Ok(vec![Leg { debit, credit, amount, purpose: Purpose::Correction }])
    }
}

/// Why money is not taken out of suspense.
const NOT_NOBODYS: Refusal = Refusal::Record {
    code: &errors::INVALID_STATE,
    detail: "only what is in the books and nobody's is assigned or written off: GET /rails/{rail}/suspense lists it",
};

fn is_nobodys(row: &DepositRow) -> bool {
    row.status == DepositStatus::Credited && row.wallet.is_none()
}

/// What cannot be seen outside is not booked.
fn unseen(detail: &'static str) -> Error {
    Refusal::Record { code: &errors::INVALID_STATE, detail }.into()
}

fn account_of(wallet: &WalletEntry, side: Side) -> Result<AccountId, Refusal> {
    wallet.accounts.account(side.currency.id).ok_or(Refusal::CurrencyUnsupported)
}

fn from_suspense(side: Side, row: DepositRow, credit: AccountId) -> Result<(Vec<Leg>, Change), Error> {
    let amount = row.amount.filter(|amount| !amount.is_zero()).ok_or(Error::Inconsistent("an amount"))?;
    let leg = Leg { debit: side.accounts.suspense, credit, amount, purpose: Purpose::Correction };
    Ok((vec![leg], Change::Deposit(Box::new(row))))
}

fn check_form(asked: &CorrectRailRequest, now: Timestamp) -> Result<Timestamp, Refusal> {
    if let Some(amount) = &asked.amount {
        amount.check_form().map_err(Refusal::AmountForm)?;
    }
    let length = asked.reason.chars().count();
    if asked.reason.trim().is_empty() || length > REASON_CHARACTERS_MAX {
        return Err(Refusal::Malformed("reason"));
    }
    if !payment::is_nonce(&asked.nonce) {
        return Err(Refusal::Malformed("nonce"));
    }
    if asked.approvals.len() > APPROVALS_MAX {
        return Err(Refusal::Malformed("approvals"));
    }
    let expires_at = asked.expires_at.parse().map_err(|_| Refusal::Malformed("expiresAt"))?;
    if payment::is_expiry(expires_at, now) { Ok(expires_at) } else { Err(Refusal::Malformed("expiresAt")) }
}

/// A correction in the executor.
#[derive(Debug)]
struct CorrectionRecord {
    row: CorrectionRow,
    legs: Vec<Leg>,
    change: Change,
}

impl Record for CorrectionRecord {
    fn key(&self) -> RecordKey {
        match &self.change {
            Change::Deposit(row) => RecordKey(RecordTable::Deposits, row.id.bytes()),
            Change::Known(id, ..) => RecordKey(RecordTable::Withdrawals, id.bytes()),
            Change::New(_) | Change::Nothing => RecordKey(RecordTable::Withdrawals, self.row.id.bytes()),
        }
    }

    fn lock(&self, tx: &mut Tx<'_>) -> Result<(), DbError> {
        match &self.change {
            Change::Deposit(row) => store::rails::lock_deposit(tx, row.id).map(drop),
            Change::Known(id, ..) => store::rails::lock_outgoing(tx, *id).map(drop),
            // Two operators may book one payment, or write off one loss, at once.
            Change::New(_) | Change::Nothing => tx.lock(&format!("qwallet rail {}", self.row.rail)),
        }
    }

    fn accounts(&self) -> Vec<AccountId> {
        self.legs.iter().flat_map(|leg| [leg.debit, leg.credit]).collect()
    }

    fn decide(&self, tx: &mut Tx<'_>, _: Moment) -> Result<Result<Decision<'_>, Refusal>, DbError> {
        let changed = Refusal::InvalidState("as another process left it");
        let is_as_seen = match &self.change {
            Change::New(row) => match &row.hash {
                Some(hash) => store::rails::outgoing_of_hash(tx, &row.rail, hash)?.is_none(),
                None => false,
            },
            Change::Known(id, ..) => {
                store::rails::lock_outgoing(tx, *id)?.is_some_and(|row| row.withdrawal.is_none())
            }
            Change::Deposit(row) => store::rails::lock_deposit(tx, row.id)?.as_ref().is_some_and(is_nobodys),
            // What was missing is no longer missing to that extent once some of it is written off.
            Change::Nothing => {
                let checked = store::rails::find(tx, &self.row.rail)?.and_then(|row| row.checked);
                let last = store::rail_corrections::list(tx, &self.row.rail)?;
                let last = last.iter().find(|row| row.kind == CorrectionKind::WriteOffLoss);
                checked.is_some_and(|checked| last.is_none_or(|last| last.made_at < checked.at))
            }
        };
        if !is_as_seen {
            return Ok(Err(changed));
        }
        let item = Item {
            id: self.row.id,
            kind: TransactionKind::Correction,
            legs: self.legs.clone(),
            intent: None,
            client_ref: None,
            purpose: None,
        };
        let write = move |tx: &mut Tx<'_>, moment: Moment| {
            match &self.change {
                Change::New(row) => {
                    store::rails::insert_outgoing(tx, row)?;
                    if let Some(part) = &row.withdrawal {
                        told(tx, row, part, row.status)?;
                    }
                }
                Change::Known(id, recipient, part) => store::rails::set_withdrawal(tx, *id, recipient, part)?,
                Change::Deposit(row) => {
                    store::rails::assign_deposit(tx, row.id, row.wallet, row.status)?;
                    tx.emit(&RailDeposit {
                        deposit_id: row.id,
                        wallet_id: row.wallet,
                        rail: row.rail.clone(),
                        status: row.status.name().to_owned(),
                    })?;
                }
                Change::Nothing => {}
            }
            store::rail_corrections::insert(tx, &CorrectionRow { made_at: moment.at, ..self.row.clone() })?;
            let row = &self.row;
            let facts = serde_json::json!({
                "rail": row.rail, "action": row.kind.name(), "about": row.about.map(|id| id.to_string()),
                "units": row.amount.units().to_string(), "reason": row.reason, "approvers": row.approvers,
            });
            tx.audit(AuditEntry::change("rail.correct", row.approvers.first(), row.id).details(facts))?;
            Ok(())
        };
        Ok(Ok(Decision { steps: vec![Step::Pay(item)], answer: self.row.id.bytes(), write: Box::new(write) }))
    }
}
