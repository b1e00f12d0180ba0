//! Withdrawals: asked for, held, shown. What happens on the chain is in `outgoing`.

use std::sync::Arc;

use q_core::{Amount, AuditEntry, Caller, RequestKey};
use q_db::{DbError, Tx};
use qwallet_api::{
    RailWithdrawal, TransactionId, Withdrawal, WithdrawalQuote, WithdrawalQuoteRequest, WithdrawalRequest,
    errors,
    signing::{self, PAYMENT_TYP, PaymentOrder},
};
use qwallet_rails::{ChainAmount, Payment, RailError, What};

use super::{Bank, Entry, Side, down};
use crate::{
    domain::{
        account::AccountId,
        currency::{AmountRefusal, Currency},
        fees::{FeeAmounts, FeeClass},
        order::SignatureFault,
        payment::{self, HouseAccounts, INTERNAL_RAIL, Refusal, StepUp},
        rails::{OutgoingStatus, WaitingStatus},
        transfer::{Leg, Purpose},
    },
    error::Error,
    service::{
        Service,
        commit::{Action, Item, Outcome, Work},
        directory::WalletEntry,
        payments::{PAYMENT_ORDER, check_fields, fees, text},
        profiles,
        record::{Decision, Moment, Record, RecordKey, RecordTable, Step},
        request_of, unexpected,
    },
    store::{
        self,
        ledger::{OrderRow, TransactionKind},
        rails::{AddressRow, OutgoingRow, WithdrawalPart},
        requests::{Nonce, Request},
    },
};

/// Some wallets have no rails.
pub(super) const NO_RAILS: Refusal = Refusal::Record {
    code: &errors::RAIL_UNSUPPORTED,
    detail: "a wallet of this profile has no rails: an AID and somebody in care pay and are paid inside this instance",
};

/// A withdrawal that is right but for the money.
pub(super) struct Plan {
    pub currency: &'static Currency,
    rail: AccountId,
    pub wallet: Arc<WalletEntry>,
    account: AccountId,
    house: HouseAccounts,
    recipient: String,
    pub amount: Amount,
    units: ChainAmount,
    pub fees: FeeAmounts,
    fee_max: Option<ChainAmount>,
    source: AddressRow,
}

/// The way a withdrawal takes.
#[derive(Clone, Copy)]
pub(super) enum Way<'a> {
    Chain(&'a Entry),
    Bank(&'a Bank),
}

impl Way<'_> {
    pub(super) fn side(self) -> Side {
        match self {
            Self::Chain(entry) => entry.side(),
            Self::Bank(bank) => bank.side,
        }
    }

    /// The amount as it is counted outside.
    pub(super) fn units(self, amount: Amount) -> Result<ChainAmount, Refusal> {
        match self {
            Self::Chain(entry) => entry.to_chain(amount),
            Self::Bank(bank) => bank.cents(amount),
        }
    }
}

impl Service {
    /// What a withdrawal costs at most now.
    pub async fn withdrawal_quote(&self, asked: WithdrawalQuoteRequest) -> Result<WithdrawalQuote, Error> {
        asked.amount.check_form().map_err(Refusal::AmountForm)?;
        let way = self.way(&asked.rail)?;
        let recipient = self.recipient_of(way, &asked.recipient).await?;
        let currency = way.side().currency;
        let (_, amount) = payment::read_amount(currency.code, &asked.amount)?;
        let units = way.units(amount)?;
        let source = self.source_of(way).await?;
        let (cost, _) = self
            .fees_of(way, &source, amount, Payment { to: recipient, amount: units, what: What::Money })
            .await?;
        Ok(WithdrawalQuote {
            amount: asked.amount,
            currency: currency.code.to_owned(),
            fees: fees(currency, cost),
        })
    }

    /// Holds money that is to leave over a rail.
    pub async fn withdraw(
        &self,
        caller: &Caller,
        key: Option<&RequestKey>,
        asked: WithdrawalRequest,
    ) -> Result<Withdrawal, Error> {
        asked.amount.check_form().map_err(Refusal::AmountForm)?;
        asked.max_fees.check_form().map_err(Refusal::AmountForm)?;
        check_fields(&asked.client_ref, &asked.nonce, None)?;
        let expires_at = asked.expires_at.parse().map_err(|_| Refusal::Malformed("expiresAt"))?;
        if !payment::is_expiry(expires_at, self.env.now()) {
            return Err(Refusal::Malformed("expiresAt").into());
        }
        let request = request_of(asked.payer.as_str(), key);
        // A repetition gets its first answer, whatever its node says by now.
        if let Some(answer) = self.earlier(request).await? {
            return self.stored_withdrawal(TransactionId::from_bytes(answer)).await;
        }
        // So does one that waits to be approved.
        if let Some(kept) = self.kept(&asked).await? {
            return Ok(kept);
        }
        let input = order_input(self.instance.did.as_str(), &asked);
        let signature = self.check_signature(&asked.signature, PAYMENT_TYP, &input, &asked.payer).await?;
        let wallet = self.directory.find(&asked.wallet).await?;
        let wallet =
            wallet.filter(|wallet| wallet.row.owner == asked.payer).ok_or(Refusal::WalletNotFound)?;
        if expires_at <= self.env.now() {
            return Err(Refusal::Expired.into());
        }
        let step_up = self.step_up_of(caller, &asked.payer);
        let plan = self.plan_withdrawal(&asked, wallet, signature, step_up).await?;
        if self.is_to_be_approved(&plan).await? {
            return self.keep_waiting(key, &asked, &plan).await;
        }
        let (id, wallet) = (TransactionId::new(&self.env), plan.wallet.clone());
        match self.hold(&asked, plan, id, false, request).await? {
            Outcome::Done(_) => self.stored_withdrawal(id).await,
            Outcome::Replayed(answer) => self.stored_withdrawal(TransactionId::from_bytes(answer)).await,
            Outcome::Refused(refusal) => Err(self.refused(refusal, &wallet).await),
        }
    }

    /// Has the money held, and what is to go out noted; what was kept to be approved is over then.
    pub(super) async fn hold(
        &self,
        asked: &WithdrawalRequest,
        plan: Plan,
        id: TransactionId,
        was_kept: bool,
        request: Option<Request>,
    ) -> Result<Outcome, Error> {
        let now = self.env.now();
        let expires_at = asked.expires_at.parse().map_err(|_| Refusal::Malformed("expiresAt"))?;
        let part = WithdrawalPart {
            wallet: plan.wallet.row.id,
            amount: plan.amount,
            fees: plan.fees,
            client_ref: asked.client_ref.clone(),
        };
        let row = OutgoingRow {
            id,
            rail: asked.rail.clone(),
            source: plan.source,
            recipient: plan.recipient,
            what: What::Money,
            units: plan.units,
            fee_max: plan.fee_max,
            nonce: None,
            status: OutgoingStatus::Pending,
            hash: None,
            height: None,
            fee: None,
            reason: None,
            withdrawal: Some(part),
            made_at: now,
            changed_at: now,
        };
        let record = HoldRecord { row, account: plan.account, rail: plan.rail, house: plan.house, was_kept };
        let work = Work {
            request,
            nonce: Some(Nonce::of(asked.payer.as_str(), &asked.nonce, expires_at)),
            expires_at: Some(expires_at),
            order: Some(OrderRow {
                id: 0,
                kind: PAYMENT_ORDER,
                signer: asked.payer.to_string(),
                input: text(order_input(self.instance.did.as_str(), asked)),
                signatures: asked.signature.clone(),
            }),
            action: Action::Record(Arc::new(record)),
        };
        Ok(self.executor.submit(work).await?)
    }

    /// A withdrawal, for those who may read the wallet it leaves.
    pub async fn withdrawal(&self, caller: &Caller, id: TransactionId) -> Result<Withdrawal, Error> {
        if let Some(row) = self.waiting_row(id).await? {
            return match self.readable(caller, &row.wallet.to_string()).await {
                Ok(_) => self.waiting_withdrawal(id).await,
                Err(_) if self.may_approve(caller, &row).await? => self.waiting_withdrawal(id).await,
                Err(Error::Refused(Refusal::WalletNotFound)) => Err(Error::TransactionNotFound),
                Err(error) => Err(error),
            };
        }
        let row = self.db.read(move |reader| store::rails::find_outgoing(reader, id)).await?;
        let part = row.and_then(|row| row.withdrawal).ok_or(Error::TransactionNotFound)?;
        match self.readable(caller, &part.wallet.to_string()).await {
            Ok(_) => self.stored_withdrawal(id).await,
            Err(Error::Refused(Refusal::WalletNotFound)) => Err(Error::TransactionNotFound),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn stored_withdrawal(&self, id: TransactionId) -> Result<Withdrawal, Error> {
        let row = self.db.read(move |reader| store::rails::find_outgoing(reader, id)).await?;
        let row = row.ok_or_else(unexpected)?;
        let part = row.withdrawal.ok_or_else(unexpected)?;
        let rail = row.rail.clone();
        let rail = self.db.read(move |reader| store::rails::find(reader, &rail)).await?;
        let currency = rail.and_then(|rail| Currency::by_id(rail.currency));
        let currency = currency.ok_or(Error::Inconsistent("a rail"))?;
        Ok(Withdrawal {
            withdrawal_id: row.id,
            rail: row.rail,
            status: row.status.name().to_owned(),
            amount: currency.text(part.amount),
            currency: currency.code.to_owned(),
            fees: fees(currency, part.fees),
            recipient: row.recipient,
            client_ref: part.client_ref,
            created_at: row.made_at,
            changed_at: row.changed_at,
            chain_hash: row.hash,
            block: row.height,
            reason: row.reason,
            approvals: None,
            signing_input: None,
        })
    }

    /// What a withdrawal means, if it is right but for the money.
    pub(super) async fn plan_withdrawal(
        &self,
        asked: &WithdrawalRequest,
        wallet: Arc<WalletEntry>,
        signature: Result<(), SignatureFault>,
        step_up: StepUp<'_>,
    ) -> Result<Plan, Error> {
        signature.map_err(Refusal::Signature)?;
        if asked.rail == INTERNAL_RAIL {
            return Err(self.rails.unsupported());
        }
        let way = self.way(&asked.rail)?;
        let recipient = self.recipient_of(way, &asked.recipient).await?;
        let (currency, amount) = payment::read_amount(&asked.currency, &asked.amount)?;
        if currency.id != way.side().currency.id {
            return Err(Refusal::CurrencyUnsupported.into());
        }
        let units = way.units(amount)?;
        if !wallet.accounts.profile.has_rails() {
            return Err(NO_RAILS.into());
        }
        let id = wallet.row.id;
        let row = self.db.read(move |reader| store::wallets::find(reader, id)).await?;
        profiles::check_address(&row.ok_or(Refusal::WalletNotFound)?, &asked.rail, &recipient)?;
        // Whoever has to prove a second key does so when asking: others approve after that.
        step_up.check(currency, amount)?;
        let max_fees = asked.max_fees.parse(currency.scale);
        let max_fees = max_fees.map_err(|fault| Refusal::from(AmountRefusal::Text(fault)).of(currency))?;
        let source = self.source_of(way).await?;
        let to_chain = Payment { to: recipient.clone(), amount: units, what: What::Money };
        let (mut fees, fee_max) = self.fees_of(way, &source, amount, to_chain).await?;
        if let Err(refusal) = payment::check_fees(fees.total(), max_fees) {
            // Who was quoted a moment before the fees rose pays what was quoted.
            let before = self.schedules.at(self.env.now()).before.ok_or(refusal)?;
            let quoted = before.fees(currency.id, FeeClass::P2p, amount).ok_or(refusal)?;
            fees.platform = quoted.platform;
            payment::check_fees(fees.total(), max_fees).map_err(|_| refusal)?;
        }
        let account = wallet.accounts.account(currency.id).ok_or(Refusal::CurrencyUnsupported)?;
        let house = *self.directory.house_of(currency.id).ok_or(Refusal::CurrencyUnsupported)?;
        Ok(Plan {
            currency,
            rail: way.side().accounts.rail,
            wallet,
            account,
            house,
            recipient,
            amount,
            units,
            fees,
            fee_max,
            source,
        })
    }

    /// The rail of this name.
    pub(super) fn way(&self, name: &str) -> Result<Way<'_>, Error> {
        match self.rails.bank(name) {
            Ok(bank) => Ok(Way::Bank(bank)),
            Err(_) => self.rails.find(name).map(Way::Chain),
        }
    }

    /// The recipient in its one form, if it is one and none of this instance.
    pub(super) async fn recipient_of(&self, way: Way<'_>, text: &str) -> Result<String, Error> {
        let refused = |detail| Error::from(Refusal::Record { code: &errors::ADDRESS_INVALID, detail });
        let entry = match way {
            Way::Chain(entry) => entry,
            Way::Bank(bank) => return bank.recipient(text).map_err(refused),
        };
        let recipient = entry.rail().read_address(text);
        let recipient = recipient
            .map_err(|_| refused("the recipient is no address of this rail, or its checksum is wrong"))?;
        let (rail, address) = (entry.name(), recipient.clone());
        let is_own = self.db.read(move |reader| store::rails::is_own_address(reader, rail, &address)).await?;
        if is_own {
            return Err(refused("the address is a wallet's of this instance: pay the wallet"));
        }
        Ok(recipient)
    }

    /// The addresses outside among names, each with its rail as it stands on a list, and the other names.
    pub(in crate::service) async fn addresses_among(
        &self,
        names: &[String],
    ) -> Result<(Vec<String>, Vec<String>), Error> {
        let (mut outside, mut others) = (Vec::new(), Vec::new());
        for name in names {
            let parts =
                name.split_once(':').and_then(|(rail, address)| Some((self.way(rail).ok()?, address)));
            match parts {
                Some((way, address)) => {
                    let address = self.recipient_of(way, address).await?;
                    outside.push(profiles::listed(way.side().name, &address));
                }
                None => others.push(name.clone()),
            }
        }
        outside.sort_unstable();
        outside.dedup();
        Ok((outside, others))
    }

    /// The address that pays out, on a rail that is up.
    async fn source_of(&self, way: Way<'_>) -> Result<AddressRow, Error> {
        let row = self.rail_row(way.side().name).await?;
        if row.paused.is_some() {
            return Err(down("the rail is paused until an operator has reconciled it; see GET /rails"));
        }
        let entry = match way {
            Way::Chain(entry) => entry,
            Way::Bank(bank) => return Ok(bank.source()),
        };
        let key = self.rail_key(entry.name()).await?.ok_or_else(|| down("the rail has no key yet"))?;
        if row.scanned.is_none() {
            return Err(down("the rail has not read its chain yet; see GET /rails"));
        }
        Ok(AddressRow { address: key.house, generation: key.generation, place: 0, wallet: None })
    }

    /// What a withdrawal costs at most, in the books and on the chain.
    async fn fees_of(
        &self,
        way: Way<'_>,
        source: &AddressRow,
        amount: Amount,
        to_chain: Payment,
    ) -> Result<(FeeAmounts, Option<ChainAmount>), Error> {
        let currency = way.side().currency;
        let schedule = self.schedules.at(self.env.now()).now;
        let costs = schedule.fees(currency.id, FeeClass::P2p, amount);
        let costs = costs.ok_or(Refusal::AmountOutOfRange(Some(currency)))?;
        let entry = match way {
            Way::Chain(entry) => entry,
            Way::Bank(bank) => {
                return Ok((FeeAmounts { platform: costs.platform, network: bank.setup.flat_fee }, None));
            }
        };
        if !entry.setup.rail.about().has_own_gas {
            return Ok((FeeAmounts { platform: costs.platform, network: entry.setup.flat_fee }, None));
        }
        let fee = match entry.rail().quote_fee(&source.address, &to_chain).await {
            Ok(fee) => fee,
            Err(error) => {
                tracing::info!(rail = entry.name(), %error, "a withdrawal could not be quoted");
                return Err(match error {
                    RailError::TooDear(_) => down("the chain's fees are above what this rail may spend"),
                    RailError::Refused(_) => down("the chain would not carry this out at present"),
                    _ => down("the rail's node does not answer"),
                });
            }
        };
        let network = entry.cost_in_books(fee)?;
        Ok((FeeAmounts { platform: costs.platform, network }, Some(fee)))
    }
}

/// The bytes that the payer signs, and approvers.
pub(super) fn order_input(aud: &str, asked: &WithdrawalRequest) -> Vec<u8> {
    signing::signing_input(&PaymentOrder {
        amount: asked.amount.as_str(),
        aud,
        client_ref: Some(&asked.client_ref),
        currency: &asked.currency,
        expires_at: &asked.expires_at,
        intent_id: None,
        max_fees: asked.max_fees.as_str(),
        nonce: &asked.nonce,
        payer: asked.payer.as_str(),
        rail: &asked.rail,
        recipient: &asked.recipient,
        v: 1,
        wallet: &asked.wallet,
    })
}

/// A withdrawal in the executor: the money is held, and the row waits to be signed.
#[derive(Debug)]
struct HoldRecord {
    row: OutgoingRow,
    account: AccountId,
    rail: AccountId,
    house: HouseAccounts,
    /// Whether the order was kept until others approved it.
    was_kept: bool,
}

impl Record for HoldRecord {
    fn key(&self) -> RecordKey {
        RecordKey(RecordTable::Withdrawals, self.row.id.bytes())
    }

    fn lock(&self, tx: &mut Tx<'_>) -> Result<(), DbError> {
        // The row of what goes out is made here.
        if self.was_kept { store::waiting_withdrawals::lock(tx, self.row.id).map(drop) } else { Ok(()) }
    }

    fn approved_as(&self) -> Option<TransactionId> {
        self.was_kept.then_some(self.row.id)
    }

    fn accounts(&self) -> Vec<AccountId> {
        vec![self.account, self.rail, self.house.platform_fees, self.house.network_fees]
    }

    fn decide(&self, tx: &mut Tx<'_>, _: Moment) -> Result<Result<Decision<'_>, Refusal>, DbError> {
        if self.was_kept {
            let row = store::waiting_withdrawals::lock(tx, self.row.id)?.ok_or(DbError::Aborted)?;
            if row.status != WaitingStatus::Waiting {
                return Ok(Err(Refusal::InvalidState(row.status.name())));
            }
        }
        let Some(part) = &self.row.withdrawal else { return Err(DbError::Aborted) };
        // The list changes only while the wallet's accounts are locked, as they are now.
        let wallet = store::wallets::find(tx, part.wallet)?.ok_or(DbError::Aborted)?;
        if let Err(refusal) = profiles::check_address(&wallet, &self.row.rail, &self.row.recipient) {
            return Ok(Err(refusal));
        }
        let debit = self.account;
        let legs = [
            Leg { debit, credit: self.rail, amount: part.amount, purpose: Purpose::Withdrawal },
            Leg {
                debit,
                credit: self.house.platform_fees,
                amount: part.fees.platform,
                purpose: Purpose::PlatformFee,
            },
            Leg {
                debit,
                credit: self.house.network_fees,
                amount: part.fees.network,
                purpose: Purpose::NetworkFee,
            },
        ];
        let item = Item {
            id: self.row.id,
            kind: TransactionKind::Withdrawal,
            legs: legs.into_iter().filter(|leg| !leg.amount.is_zero()).collect(),
            intent: None,
            client_ref: Some(part.client_ref.clone()),
            purpose: None,
        };
        let write = move |tx: &mut Tx<'_>, _: Moment| {
            if self.was_kept {
                let status = WaitingStatus::CarriedOut;
                store::waiting_withdrawals::set_status(tx, self.row.id, status, None)?;
            }
            store::rails::insert_outgoing(tx, &self.row)?;
            told(tx, &self.row, part, OutgoingStatus::Pending)?;
            let facts = serde_json::json!({
                "rail": self.row.rail, "to": self.row.recipient, "units": part.amount.units().to_string(),
            });
            tx.audit(AuditEntry::change("rail.withdraw", None, self.row.id).details(facts))?;
            Ok(())
        };
        Ok(Ok(Decision {
            steps: vec![Step::Hold(item, None)],
            answer: self.row.id.bytes(),
            write: Box::new(write),
        }))
    }
}

/// Tells where a withdrawal is.
pub(super) fn told(
    tx: &mut Tx<'_>,
    row: &OutgoingRow,
    part: &WithdrawalPart,
    status: OutgoingStatus,
) -> Result<(), DbError> {
    tx.emit(&RailWithdrawal {
        withdrawal_id: row.id,
        wallet_id: part.wallet,
        rail: row.rail.clone(),
        status: status.name().to_owned(),
    })?;
    Ok(())
}
