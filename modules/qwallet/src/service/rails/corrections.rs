//! What two operators set right: a withdrawal that a restored store has forgotten, money that came in for nobody, a loss.
//!
//! **Invariant:** nothing is booked on two signatures alone that can be seen outside: a withdrawal is booked when the chain
//! or a statement of the bank shows it, and a loss only as far as a comparison found it.
//! **Invariant:** one payment on the chain is one withdrawal in the books: where they have it as one that is still to be
//! sent, that one ends with it.

use std::sync::Arc;

use q_core::{AuditEntry, Did, RequestKey, Timestamp};
use q_db::{DbError, Tx};
use qwallet_api::{
    CorrectRailRequest, DepositList, RAIL_CORRECTION_TYP, RailCorrection, RailCorrectionList,
    RailCorrectionOrder, RailDeposit, RailPath, TransactionId, WalletId, errors, signing,
};
use qwallet_rails::{Block, ChainAmount, Payment, Status, What};

use super::{
    Entry, Side, Trouble, bank, down,
    outgoing::{End, EndRecord},
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
        rails::{AddressRow, Checked, DepositRow, OutgoingRow, WithdrawalPart},
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
    /// A withdrawal that the books have as still to be sent: what the chain shows, and its end.
    Open(Box<OutgoingRow>, Box<EndRecord>),
    /// What the bank took, as far as was known without being asked, was this withdrawal.
    Known(TransactionId, String, WithdrawalPart),
    /// The deposit is a wallet's, or the house's.
    Deposit(Box<DepositRow>),
    /// A loss, as the chain or the bank counts it.
    Loss(ChainAmount),
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
        let owner = wallet.as_deref().map(|wallet| &wallet.row.owner);
        if let Some(owner) = owner {
            self.check_outsiders(&approvers, owner).await?;
        }
        self.check_approvers(&approvers, owner)?;
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
                let (legs, units) = self.loss(way, amount).await?;
                (CorrectionKind::WriteOffLoss, legs, Change::Loss(units))
            }
            (Asked::Book { .. } | Asked::Assign { .. }, None) => return Err(unexpected()),
        };
        let about = match &change {
            Change::New(row) => Some(row.id),
            Change::Open(_, end) => Some(end.row.id),
            Change::Known(id, ..) => Some(*id),
            Change::Deposit(row) => Some(row.id),
            Change::Loss(_) => None,
        };
        let amount = match &change {
            Change::Open(_, end) => end.row.withdrawal.as_ref().map(|part| part.amount),
            _ => legs.first().map(|leg| leg.amount),
        };
        let row = CorrectionRow {
            id,
            rail: asked.rail.clone(),
            kind,
            about,
            wallet: wallet.map(|wallet| wallet.row.id),
            amount: amount.ok_or_else(unexpected)?,
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
            Outcome::Refused(Refusal::InsufficientFunds) => Err(LACKS.into()),
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
                let row = self.db.read(find).await?;
                let row = row.filter(|row| row.units == to_chain.amount && is_cost(row));
                let row =
                    row.ok_or_else(|| unseen("no statement shows a cost of this reference and amount"))?;
                let change = Change::Known(row.id, recipient, part);
                return Ok((kind, vec![leg(account, side.accounts.costs)], change));
            }
        };
        let row = self.seen_on_chain(id, entry, to_chain, reference).await?;
        let cost = entry.cost_in_books(row.fee.unwrap_or_default())?;
        let seen = row.clone();
        let open = self.db.read(move |reader| store::rails::open_like(reader, &seen)).await?;
        if let Some(open) = its_own(open, row.nonce, part.wallet)? {
            let end = End {
                hash: row.hash.clone(),
                block: row.height.map(|height| Block { height, hash: String::new() }),
                fee: row.fee.unwrap_or_default(),
                is_success: true,
                reason: row.reason.clone().map(Into::into),
            };
            let end = self.end_record(side, open, end, cost).await?;
            return Ok((kind, Vec::new(), Change::Open(Box::new(row), Box::new(end))));
        }
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
    async fn loss(
        &self,
        way: Way<'_>,
        amount: &q_core::AmountText,
    ) -> Result<(Vec<Leg>, ChainAmount), Error> {
        let side = way.side();
        let (_, amount) = payment::read_amount(side.currency.code, amount)?;
        let units = way.units(amount)?;
        let row = self.rail_row(side.name).await?;
        if !misses(row.checked.as_ref(), units) {
            return Err(NOT_MISSED.into());
        }
        if let Way::Chain(entry) = way {
            let height = row.checked.map_or(0, |checked| checked.height);
            match self.left_unbooked(entry, height).await {
                Ok(None) => {}
                Ok(Some(left)) => return Err(Error::LeftUnbooked(left.to_string())),
                Err(Trouble::Ours(error)) => return Err(error),
                Err(_) => return Err(down("the rail's node does not answer; try again")),
            }
        }
        let (debit, credit) = (side.accounts.costs, side.accounts.rail);
        Ok((vec![Leg { debit, credit, amount, purpose: Purpose::Correction }], units))
    }
}

/// Why money is not taken out of suspense.
const NOT_NOBODYS: Refusal = Refusal::Record {
    code: &errors::INVALID_STATE,
    detail: "only what is in the books and nobody's is assigned or written off: GET /rails/{rail}/suspense lists it",
};

/// Why no loss is written off.
const NOT_MISSED: Refusal = Refusal::Record {
    code: &errors::INVALID_STATE,
    detail: "the last comparison misses less than that, or something was booked since: reconcile, and see GET /rails",
};

/// Why what left cannot be booked yet.
const LACKS: Refusal = Refusal::Record {
    code: &errors::INSUFFICIENT_FUNDS,
    detail: "the wallet holds less than what has left for it: two operators give it a creditLimit first \
             (PATCH /wallets/{squidId}), and what it owes stands in its balance",
};

/// Whether a comparison misses as much.
fn misses(checked: Option<&Checked>, units: ChainAmount) -> bool {
    checked.is_some_and(|checked| units.0 <= checked.books.0.saturating_sub(checked.chain.0))
}

/// Whether it is what the bank took, settled, and nobody's withdrawal.
fn is_cost(row: &OutgoingRow) -> bool {
    row.withdrawal.is_none() && row.what == What::Money && row.status == OutgoingStatus::Settled
}

/// Of what waits to be sent and would be one payment of the chain, what is this wallet's. What was signed under the number
/// of the payment is that payment, whoever is named.
fn its_own(
    open: Vec<OutgoingRow>,
    nonce: Option<u64>,
    wallet: WalletId,
) -> Result<Option<OutgoingRow>, Refusal> {
    let is_its = |row: &OutgoingRow| row.withdrawal.as_ref().is_some_and(|part| part.wallet == wallet);
    let is_another = |row: &OutgoingRow| row.nonce.is_some() && row.nonce == nonce && !is_its(row);
    if open.iter().any(is_another) {
        let detail =
            "another wallet's withdrawal was signed under the number of this payment: name that wallet";
        return Err(Refusal::Record { code: &errors::INVALID_STATE, detail });
    }
    Ok(open.into_iter().find(is_its))
}

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
            Change::Open(_, end) => end.key(),
            Change::Known(id, ..) => RecordKey(RecordTable::Withdrawals, id.bytes()),
            Change::New(_) | Change::Loss(_) => RecordKey(RecordTable::Withdrawals, self.row.id.bytes()),
        }
    }

    fn lock(&self, tx: &mut Tx<'_>) -> Result<(), DbError> {
        match &self.change {
            Change::Deposit(row) => store::rails::lock_deposit(tx, row.id).map(drop),
            Change::Known(id, ..) => store::rails::lock_outgoing(tx, *id).map(drop),
            Change::Open(_, end) => {
                end.lock(tx)?;
                self.lock_rail(tx)
            }
            Change::New(_) | Change::Loss(_) => self.lock_rail(tx),
        }
    }

    fn accounts(&self) -> Vec<AccountId> {
        match &self.change {
            Change::Open(_, end) => end.accounts(),
            _ => self.legs.iter().flat_map(|leg| [leg.debit, leg.credit]).collect(),
        }
    }

    fn holds(&self) -> Vec<TransactionId> {
        match &self.change {
            Change::Open(_, end) => end.holds(),
            _ => Vec::new(),
        }
    }

    fn decide(&self, tx: &mut Tx<'_>, moment: Moment) -> Result<Result<Decision<'_>, Refusal>, DbError> {
        let changed = Refusal::InvalidState("as another process left it");
        let is_as_seen = match &self.change {
            Change::New(row) => {
                self.lock_rail(tx)?;
                let open = store::rails::open_like(tx, row)?;
                let wallet = row.withdrawal.as_ref().map(|part| part.wallet);
                let is_open = wallet.is_none_or(|wallet| its_own(open, row.nonce, wallet) != Ok(None));
                !is_open && is_new(tx, row)?
            }
            Change::Open(seen, end) => {
                self.lock_rail(tx)?;
                let as_seen = |row: OutgoingRow| {
                    (row.status, row.nonce, &row.hash) == (end.row.status, end.row.nonce, &end.row.hash)
                };
                store::rails::lock_outgoing(tx, end.row.id)?.is_some_and(as_seen) && is_new(tx, seen)?
            }
            Change::Known(id, ..) => store::rails::lock_outgoing(tx, *id)?.as_ref().is_some_and(is_cost),
            Change::Deposit(row) => store::rails::lock_deposit(tx, row.id)?.as_ref().is_some_and(is_nobodys),
            // What was missing is no longer missing to that extent once some of it is booked or written off.
            Change::Loss(units) => {
                self.lock_rail(tx)?;
                let checked = store::rails::find(tx, &self.row.rail)?.and_then(|row| row.checked);
                let loss = CorrectionKind::WriteOffLoss;
                // At the bank, what is booked as a withdrawal was a cost before, and moves nothing of the rail's.
                let booked = if self.row.rail == bank::NAME { loss } else { CorrectionKind::BookWithdrawal };
                let last = store::rail_corrections::last_of(tx, &self.row.rail, [loss, booked])?;
                let is_after = |checked: &Checked| last.is_none_or(|last| last < checked.at);
                if !(misses(checked.as_ref(), *units) && checked.as_ref().is_some_and(is_after)) {
                    return Ok(Err(NOT_MISSED));
                }
                true
            }
        };
        if !is_as_seen {
            return Ok(Err(changed));
        }
        let (steps, write_end) = match &self.change {
            Change::Open(_, end) => match end.decide(tx, moment)? {
                Ok(Decision { steps, write, .. }) => (steps, Some(write)),
                Err(refusal) => return Ok(Err(refusal)),
            },
            _ => (vec![Step::Pay(self.item())], None),
        };
        let write = move |tx: &mut Tx<'_>, moment: Moment| {
            if let Some(write_end) = write_end {
                write_end(tx, moment)?;
            }
            self.write(tx, moment)
        };
        Ok(Ok(Decision { steps, answer: self.row.id.bytes(), write: Box::new(write) }))
    }
}

/// Whether nothing has gone out under this name.
fn is_new(tx: &mut Tx<'_>, seen: &OutgoingRow) -> Result<bool, DbError> {
    let Some(hash) = &seen.hash else { return Ok(false) };
    Ok(!store::rails::is_ours(tx, &seen.rail, hash)?
        && store::rails::outgoing_of_hash(tx, &seen.rail, hash)?.is_none())
}

impl CorrectionRecord {
    /// Two operators may book one payment, or write off one loss, at once.
    fn lock_rail(&self, tx: &mut Tx<'_>) -> Result<(), DbError> {
        tx.lock(&format!("qwallet rail {}", self.row.rail))
    }

    /// What the books move.
    fn item(&self) -> Item {
        Item {
            id: self.row.id,
            kind: TransactionKind::Correction,
            legs: self.legs.clone(),
            intent: None,
            client_ref: None,
            purpose: None,
        }
    }

    fn write(&self, tx: &mut Tx<'_>, moment: Moment) -> Result<(), DbError> {
        match &self.change {
            Change::New(row) => {
                let nonce = free_number(tx, row)?;
                store::rails::insert_outgoing(tx, &OutgoingRow { nonce, ..(**row).clone() })?;
                if let Some(part) = &row.withdrawal {
                    told(tx, row, part, row.status)?;
                }
            }
            Change::Open(seen, end) => {
                if let Some(nonce) = free_number(tx, seen)? {
                    store::rails::set_number(tx, end.row.id, nonce)?;
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
            Change::Loss(_) => {}
        }
        store::rail_corrections::insert(tx, &CorrectionRow { made_at: moment.at, ..self.row.clone() })?;
        let row = &self.row;
        let facts = serde_json::json!({
            "rail": row.rail, "action": row.kind.name(), "about": row.about.map(|id| id.to_string()),
            "units": row.amount.units().to_string(), "reason": row.reason, "approvers": row.approvers,
        });
        tx.audit(AuditEntry::change("rail.correct", row.approvers.first(), row.id).details(facts))?;
        Ok(())
    }
}

/// The number of the payment, unless something here has it: an operator may have accepted that it was used.
fn free_number(tx: &mut Tx<'_>, seen: &OutgoingRow) -> Result<Option<u64>, DbError> {
    let Some(nonce) = seen.nonce else { return Ok(None) };
    let is_used = store::rails::is_used_nonce(tx, &seen.rail, &seen.source.address, nonce)?;
    Ok((!is_used).then_some(nonce))
}
