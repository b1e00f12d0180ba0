//! Money that the house holds for two parties: paid in, given away, given back, disputed, decided.
//!
//! **Invariant:** the house's escrow account is exactly what open escrows and waiting parts amount to.

mod records;

use std::sync::Arc;

use q_core::{Amount, Caller, Did, RequestKey, Timestamp};
use qwallet_api::{
    DisputeEscrowRequest, ESCROW_TYP, Escrow, EscrowId, EscrowOrder, EscrowPage, EscrowPart, EscrowRequest,
    ListEscrowsRequest, ResolveEscrowRequest, SPLITS_MAX, Split, TransactionId, errors, signing,
};

use self::records::{Asked, Claim, Funding, Share};
pub(super) use self::records::{EXISTS, fund};
use super::{
    Service,
    beyond::Spending,
    commit::{Action, Item, Outcome, Work},
    directory::WalletEntry,
    payments::{check_fields, fees, party, text},
    record::Record,
    request_of, unexpected,
};
use crate::{
    domain::{
        account::AccountId,
        currency::{Currency, CurrencyId},
        escrows::{self, Actor, State, Wish},
        fees::FeeClass,
        payment::{self, Facts, INTERNAL_RAIL, Plan, Refusal, Terms},
    },
    error::Error,
    store::{
        self,
        escrows::{EscrowRow, PartRow},
        ledger::{OrderRow, TransactionKind},
        requests::{Nonce, Request},
    },
};

/// The number of an escrow's order in the store.
const ESCROW_ORDER: i64 = 4;

/// How many escrows whose day has come are taken on at once.
const DUE_MAX: u32 = 1_000;

const NOT_FOUND: Refusal = Refusal::Record {
    code: &errors::ESCROW_NOT_FOUND,
    detail: "the escrow does not exist, or is not yours to see",
};

/// What splits have to be.
const SPLITS_ARE_THE_WHOLE: &str = "the parts must be exactly the amount held, each more than nothing";

impl Service {
    /// Pays into escrow under the payer's signature.
    pub async fn create_escrow(
        &self,
        caller: &Caller,
        key: Option<&RequestKey>,
        asked: EscrowRequest,
    ) -> Result<Escrow, Error> {
        let (expires_at, auto_release_at) = self.check_escrow(&asked)?;
        let request = request_of(asked.payer.as_str(), key);
        let names = [asked.wallet.as_str(), asked.recipient.as_str()];
        let mut found = self.directory.find_all(names.into_iter()).await?;
        let payee = found.pop().flatten();
        let payer = found.pop().flatten().filter(|entry| entry.row.owner == asked.payer);
        let input = signing::signing_input(&EscrowOrder {
            amount: asked.amount.as_str(),
            arbiter: asked.arbiter.as_ref().map(Did::as_str),
            aud: self.instance.did.as_str(),
            auto_release_at: asked.auto_release_at.as_deref(),
            currency: &asked.currency,
            expires_at: &asked.expires_at,
            max_fees: asked.max_fees.as_str(),
            nonce: &asked.nonce,
            order_ref: &asked.order_ref,
            payer: asked.payer.as_str(),
            recipient: &asked.recipient,
            splits: &asked.splits,
            v: 1,
            wallet: &asked.wallet,
        });
        let signature = self.check_signature(&asked.signature, ESCROW_TYP, &input, &asked.payer).await?;
        let terms = Terms {
            amount: &asked.amount,
            currency: &asked.currency,
            max_fees: Some(&asked.max_fees),
            rail: INTERNAL_RAIL,
            expires_at,
        };
        let facts = self.facts(payer.as_deref(), payee.as_deref(), signature);
        let parts = self.priced(&asked, payer.as_deref()).await?;
        let step_up = self.step_up_of(caller, &asked.payer);
        let facts = Facts { step_up, parts: parts.as_deref(), ..facts };
        let plan = match payment::decide(&terms, &facts) {
            Ok(plan) => plan,
            Err(refusal) => {
                let refusal =
                    self.approvals_first(refusal, payer.as_deref(), &asked.currency, &asked.amount).await?;
                let parties = (payer.as_deref(), payee.as_deref());
                let limited = self.limits_first(refusal, parties, &asked.currency, &asked.amount).await?;
                return match self.refusal_or_replay(request, limited).await {
                    Ok(answer) => self.replayed_escrow(answer).await,
                    Err(error) => Err(self.told_as(Spending::Escrow, error, payer.as_deref()).await),
                };
            }
        };
        let (Some(payer), Some(payee)) = (payer, payee) else { return Err(unexpected()) };
        if let Err(refusal) = self.check_escrow_rules(&payer, &payee, &asked.splits).await? {
            return self.replayed_escrow(self.refusal_or_replay(request, refusal).await?).await;
        }
        let funding = match self.funding(&asked, &plan, &payer, &payee, auto_release_at).await {
            Ok(funding) => funding,
            Err(Error::Refused(refusal)) => {
                return self.replayed_escrow(self.refusal_or_replay(request, refusal).await?).await;
            }
            Err(error) => return Err(error),
        };
        let work = Work {
            request,
            nonce: Some(Nonce::of(asked.payer.as_str(), &asked.nonce, expires_at)),
            expires_at: Some(expires_at),
            order: Some(OrderRow {
                id: 0,
                kind: ESCROW_ORDER,
                signer: asked.payer.to_string(),
                input: text(input),
                signatures: asked.signature.clone(),
            }),
            action: Action::Record(Arc::new(funding)),
        };
        match self.executor.submit(work).await? {
            Outcome::Done(_) => {
                let (wallet, order_ref) = (payer.row.id, asked.order_ref);
                let found = self.db.read(move |reader| store::escrows::of_order(reader, wallet, &order_ref));
                self.replayed_escrow(found.await?.ok_or_else(unexpected)?.bytes()).await
            }
            Outcome::Replayed(answer) => self.replayed_escrow(answer).await,
            Outcome::Refused(refusal) => Err(self.refused_as(Spending::Escrow, refusal, &payer).await),
        }
    }

    /// The escrows in which the caller takes part.
    pub async fn escrows(&self, caller: &Caller, asked: ListEscrowsRequest) -> Result<EscrowPage, Error> {
        let did = caller.did().ok_or(NOT_FOUND)?.clone();
        let state = match asked.status.as_deref() {
            Some(name) => Some(State::from_name(name).ok_or(Refusal::Malformed("status"))?),
            None => None,
        };
        let wallet = self.directory.find(did.as_str()).await?.map(|entry| entry.row.id);
        let before = asked.cursor.unwrap_or(EscrowId::from_bytes([0xff; 16]));
        let count = asked.limit.rows();
        let rows = self
            .db
            .read(move |reader| store::escrows::list(reader, wallet, &did, state, before, count))
            .await?;
        let is_full = rows.len() == usize::try_from(count).unwrap_or(usize::MAX);
        let next_cursor = rows.last().filter(|_| is_full).map(|row| row.id);
        let mut items = Vec::with_capacity(rows.len());
        for row in rows {
            items.push(self.escrow_answer(row).await?);
        }
        Ok(EscrowPage { items, next_cursor })
    }

    /// One escrow, for its parties and its arbiter.
    pub async fn escrow(&self, caller: &Caller, id: EscrowId) -> Result<Escrow, Error> {
        let (row, ..) = self.escrow_of(caller, id).await?;
        self.escrow_answer(row).await
    }

    /// The payer gives away what is held, as the order says.
    pub async fn release_escrow(
        &self,
        caller: &Caller,
        key: Option<&RequestKey>,
        id: EscrowId,
    ) -> Result<Escrow, Error> {
        self.ask_escrow(caller, key, id, Wish::Release, &[], None).await
    }

    /// The arbiter decides.
    pub async fn resolve_escrow(
        &self,
        caller: &Caller,
        key: Option<&RequestKey>,
        asked: ResolveEscrowRequest,
    ) -> Result<Escrow, Error> {
        if asked.splits.is_empty() {
            return Err(Refusal::Malformed("splits").into());
        }
        self.ask_escrow(caller, key, asked.escrow_id, Wish::Release, &asked.splits, None).await
    }

    /// The payee gives back.
    pub async fn refund_escrow(
        &self,
        caller: &Caller,
        key: Option<&RequestKey>,
        id: EscrowId,
    ) -> Result<Escrow, Error> {
        self.ask_escrow(caller, key, id, Wish::Refund, &[], None).await
    }

    /// A party objects.
    pub async fn dispute_escrow(
        &self,
        caller: &Caller,
        key: Option<&RequestKey>,
        asked: DisputeEscrowRequest,
    ) -> Result<Escrow, Error> {
        if asked.reason.is_empty() || !payment::is_purpose(&asked.reason) {
            return Err(Refusal::Malformed("reason").into());
        }
        let reason = Some(asked.reason.as_str());
        self.ask_escrow(caller, key, asked.escrow_id, Wish::Dispute, &[], reason).await
    }

    /// Releases what nobody objected to in time, and pays parts whose recipients opened wallets. Work that nobody asks
    /// for: not while the module is paused, nor after a jump of the clock.
    pub async fn tend_escrows(&self) -> Result<(), Error> {
        if self.clock_jump().is_some() || !self.db.mode().is_normal() {
            return Ok(());
        }
        let now = self.env.now();
        let (due, parts) = self
            .db
            .read(move |reader| {
                let due = store::escrows::due(reader, now, DUE_MAX)?;
                Ok::<_, q_db::DbError>((due, store::escrows::claimable(reader, DUE_MAX)?))
            })
            .await?;
        // One that cannot be tended keeps none of the others waiting.
        let mut failed = None;
        for row in due {
            let tended = async {
                let asked = self.asked(&row, Actor::Day, Wish::Release, None).await?;
                self.tend_escrow(Arc::new(asked)).await
            };
            failed = tended.await.err().or(failed);
        }
        for part in parts {
            let tended = async {
                match self.claim(part).await? {
                    Some(claim) => self.tend_escrow(Arc::new(claim)).await,
                    None => Ok(()),
                }
            };
            failed = tended.await.err().or(failed);
        }
        failed.map_or(Ok(()), Err)
    }

    async fn tend_escrow(&self, record: Arc<dyn Record>) -> Result<(), Error> {
        let action = Action::Record(record);
        let work = Work { request: None, nonce: None, expires_at: None, order: None, action };
        // Refused: somebody was faster, a wallet is frozen, or a pause moved the day. It is tried again.
        self.executor.submit(work).await.map(drop).map_err(Error::from)
    }

    async fn claim(&self, part: PartRow) -> Result<Option<Claim>, Error> {
        let id = part.escrow;
        let row = self.db.read(move |reader| store::escrows::find(reader, id)).await?;
        let row = row.ok_or(Error::Inconsistent("an escrow"))?;
        let entry = self.directory.find(&part.recipient).await?;
        let Some(account) = entry.and_then(|entry| entry.accounts.account(row.currency)) else {
            return Ok(None);
        };
        let held_in = self.held_in(row.currency)?;
        Ok(Some(Claim { part, transaction: TransactionId::new(&self.env), held_in, account }))
    }

    fn check_escrow(&self, asked: &EscrowRequest) -> Result<(Timestamp, Timestamp), Refusal> {
        asked.amount.check_form().map_err(Refusal::AmountForm)?;
        asked.max_fees.check_form().map_err(Refusal::AmountForm)?;
        check_splits(&asked.splits)?;
        check_fields(&asked.order_ref, &asked.nonce, None).map_err(|refusal| match refusal {
            Refusal::Malformed("clientRef") => Refusal::Malformed("orderRef"),
            other => other,
        })?;
        let now = self.env.now();
        let expires_at = asked.expires_at.parse().map_err(|_| Refusal::Malformed("expiresAt"))?;
        let auto_release_at = match &asked.auto_release_at {
            Some(at) => at.parse().map_err(|_| Refusal::Malformed("autoReleaseAt"))?,
            None => now + escrows::AUTO_RELEASE,
        };
        // A repetition may come after the day, so only the furthest is a matter of form.
        if auto_release_at > now + escrows::AUTO_RELEASE_MAX {
            return Err(Refusal::Malformed("autoReleaseAt"));
        }
        if asked.arbiter.as_ref() == Some(&asked.payer) {
            return Err(Refusal::Malformed("arbiter"));
        }
        Ok((expires_at, auto_release_at))
    }

    async fn funding(
        &self,
        asked: &EscrowRequest,
        plan: &Plan,
        payer: &WalletEntry,
        payee: &WalletEntry,
        auto_release_at: Timestamp,
    ) -> Result<Funding, Error> {
        if asked.arbiter.as_ref() == Some(&payee.row.owner) {
            return Err(Refusal::Malformed("arbiter").into());
        }
        if auto_release_at <= self.env.now() {
            return Err(Refusal::Malformed("autoReleaseAt").into());
        }
        let splits = self.shares(&asked.splits, plan.currency).await?;
        if !splits.is_empty() && !escrows::is_whole(splits.iter().map(|share| share.amount), plan.amount) {
            return Err(Refusal::Record { code: &errors::SPLIT_SUM, detail: SPLITS_ARE_THE_WHOLE }.into());
        }
        let (id, funding) = (EscrowId::new(&self.env), TransactionId::new(&self.env));
        let held_in = self.held_in(plan.currency.id)?;
        let mut legs = plan.legs.clone();
        // The principal comes first; it is the house that receives it for now.
        legs.first_mut().ok_or(Error::Inconsistent("a payment's transfers"))?.credit = held_in;
        let item = Item {
            id: funding,
            kind: TransactionKind::Escrow,
            legs,
            intent: None,
            client_ref: Some(asked.order_ref.clone()),
            purpose: None,
        };
        let row = EscrowRow {
            id,
            payer: payer.row.id,
            payee: payee.row.id,
            arbiter: asked.arbiter.clone(),
            currency: plan.currency.id,
            amount: plan.amount,
            fees: plan.fees,
            order_ref: asked.order_ref.clone(),
            splits: splits.into_iter().map(|share| (share.recipient, share.amount)).collect(),
            funding,
            state: State::Held,
            dispute: None,
            auto_release_at,
            created_at: self.env.now(),
            ended_at: None,
        };
        Ok(Funding { row, item, currency: plan.currency, payer: asked.payer.clone() })
    }

    async fn ask_escrow(
        &self,
        caller: &Caller,
        key: Option<&RequestKey>,
        id: EscrowId,
        wish: Wish,
        splits: &[Split],
        reason: Option<&str>,
    ) -> Result<Escrow, Error> {
        check_splits(splits)?;
        let (row, actor) = self.escrow_of(caller, id).await?;
        // Only the arbiter says who gets what; the parties agreed on it with the order.
        if splits.is_empty() == (actor == Actor::Arbiter) {
            let detail = if splits.is_empty() { "the arbiter resolves" } else { "only the arbiter resolves" };
            return Err(Refusal::Record { code: &errors::ESCROW_STATE, detail }.into());
        }
        let by = caller.did().ok_or(NOT_FOUND)?;
        let request = request_of(by.as_str(), key);
        let asked = self.asked(&row, actor, wish, Some(by)).await?;
        let decided = match self.shares(splits, asked.currency).await {
            Ok(decided) => decided,
            Err(Error::Refused(refusal)) => {
                return self.replayed_escrow(self.refusal_or_replay(request, refusal).await?).await;
            }
            Err(error) => return Err(error),
        };
        let reason = reason.map(|reason| self.seal("escrows", "dispute", &id.to_string(), reason));
        let shares = if decided.is_empty() { asked.shares.clone() } else { decided };
        self.submit_escrow(request, Asked { shares, reason, ..asked }).await
    }

    async fn submit_escrow(&self, request: Option<Request>, asked: Asked) -> Result<Escrow, Error> {
        let id = asked.id;
        let action = Action::Record(Arc::new(asked));
        let work = Work { request, nonce: None, expires_at: None, order: None, action };
        match self.executor.submit(work).await? {
            Outcome::Done(_) | Outcome::Replayed(_) => self.replayed_escrow(id.bytes()).await,
            Outcome::Refused(refusal) => Err(refusal.into()),
        }
    }

    async fn asked(
        &self,
        row: &EscrowRow,
        actor: Actor,
        wish: Wish,
        by: Option<&Did>,
    ) -> Result<Asked, Error> {
        let currency = Currency::by_id(row.currency).ok_or(Error::Inconsistent("a currency"))?;
        let of_party =
            |entry: Arc<WalletEntry>| share(entry.row.owner.as_str(), Some(&entry), row.currency, row.amount);
        let (payer, payee) = self.parties_of(row).await?;
        // Who had no wallet when the order was signed may have one by now.
        let names = row.splits.iter().map(|(recipient, _)| recipient.as_str());
        let found = self.directory.find_all(names).await?;
        let agreed =
            row.splits.iter().zip(found).map(|((recipient, amount), entry)| {
                share(recipient, entry.as_deref(), row.currency, *amount)
            });
        Ok(Asked {
            id: row.id,
            actor,
            wish,
            shares: agreed.collect(),
            reason: None,
            by: by.cloned(),
            transaction: TransactionId::new(&self.env),
            currency,
            held_in: self.held_in(row.currency)?,
            parties: (of_party(payer), of_party(payee)),
        })
    }

    /// What each part is as far as its price goes, where the order names parts: they may be for others than the payee.
    /// Nothing of parts that cannot be read, which are refused.
    async fn priced(
        &self,
        asked: &EscrowRequest,
        payer: Option<&WalletEntry>,
    ) -> Result<Option<Vec<(FeeClass, Amount)>>, Error> {
        let (Some(payer), Some(currency)) = (payer, Currency::find(&asked.currency)) else { return Ok(None) };
        if asked.splits.is_empty() {
            return Ok(None);
        }
        let found =
            self.directory.find_all(asked.splits.iter().map(|split| split.recipient.as_str())).await?;
        let parts = asked.splits.iter().zip(found).map(|(split, entry)| {
            // Who has no wallet yet is a person until another is known.
            let class =
                entry.map_or(FeeClass::P2p, |entry| FeeClass::of(Some(&payer.accounts), &entry.accounts));
            Some((class, currency.read(&split.amount).ok()?))
        });
        Ok(parts.collect())
    }

    /// Whether the payer's profile allows paying the payee and whoever else gets a part.
    async fn check_escrow_rules(
        &self,
        payer: &WalletEntry,
        payee: &WalletEntry,
        splits: &[Split],
    ) -> Result<Result<(), Refusal>, Error> {
        let rules = self.profile_rules(payer).await?;
        let others = self.directory.find_all(splits.iter().map(|split| split.recipient.as_str())).await?;
        let mut others = others.iter().map(|other| match other {
            Some(other) => rules.check(other, false),
            None => rules.check_unknown(),
        });
        Ok(rules.check(payee, false).and_then(|()| others.try_for_each(|checked| checked)))
    }

    async fn shares(&self, splits: &[Split], currency: &'static Currency) -> Result<Vec<Share>, Error> {
        let names = splits.iter().map(|split| split.recipient.as_str());
        let found = self.directory.find_all(names).await?;
        let mut shares = Vec::with_capacity(splits.len());
        for (split, entry) in splits.iter().zip(found) {
            let amount = currency.read(&split.amount).map_err(|fault| Refusal::from(fault).of(currency))?;
            if entry.is_none() && split.recipient.parse::<Did>().is_err() {
                // Who can open a wallet gets the part then; another name can never become one.
                return Err(Refusal::RecipientUnknown.into());
            }
            let part = share(&split.recipient, entry.as_deref(), currency.id, amount);
            shares.push(part);
        }
        Ok(shares)
    }

    /// The escrow and what the caller is in it; an escrow of others does not exist.
    async fn escrow_of(&self, caller: &Caller, id: EscrowId) -> Result<(EscrowRow, Actor), Error> {
        let did = caller.did().ok_or(NOT_FOUND)?;
        let row = self.db.read(move |reader| store::escrows::find(reader, id)).await?.ok_or(NOT_FOUND)?;
        let (payer, payee) = self.parties_of(&row).await?;
        let actor = if payer.row.owner == *did {
            Actor::Payer
        } else if payee.row.owner == *did {
            Actor::Payee
        } else if row.arbiter.as_ref() == Some(did) {
            Actor::Arbiter
        } else {
            return Err(NOT_FOUND.into());
        };
        Ok((row, actor))
    }

    async fn parties_of(&self, row: &EscrowRow) -> Result<(Arc<WalletEntry>, Arc<WalletEntry>), Error> {
        let names = [row.payer.to_string(), row.payee.to_string()];
        let mut found = self.directory.find_all(names.iter().map(String::as_str)).await?;
        let payee = found.pop().flatten().ok_or(Error::Inconsistent("a payee's wallet"))?;
        let payer = found.pop().flatten().ok_or(Error::Inconsistent("a payer's wallet"))?;
        Ok((payer, payee))
    }

    /// The account in which the house holds money for others.
    pub(super) fn held_in(&self, currency: CurrencyId) -> Result<AccountId, Error> {
        let house = self.directory.house_of(currency).ok_or(Error::Inconsistent("the house's accounts"))?;
        Ok(house.escrow)
    }

    async fn replayed_escrow(&self, answer: [u8; 16]) -> Result<Escrow, Error> {
        let id = EscrowId::from_bytes(answer);
        let row = self.db.read(move |reader| store::escrows::find(reader, id)).await?;
        self.escrow_answer(row.ok_or_else(unexpected)?).await
    }

    async fn escrow_answer(&self, row: EscrowRow) -> Result<Escrow, Error> {
        let currency = Currency::by_id(row.currency).ok_or(Error::Inconsistent("a currency"))?;
        let (payer, payee) = self.parties_of(&row).await?;
        let id = row.id;
        let parts = self.db.read(move |reader| store::escrows::parts(reader, id)).await?;
        let splits = row.splits.iter().map(|(recipient, amount)| Split {
            amount: currency.text(*amount),
            recipient: recipient.clone(),
        });
        let parts = parts.into_iter().map(|part| EscrowPart {
            recipient: part.recipient,
            amount: currency.text(part.amount),
            transaction_id: part.transaction,
        });
        Ok(Escrow {
            escrow_id: row.id,
            status: row.state.name().to_owned(),
            amount: currency.text(row.amount),
            currency: currency.code.to_owned(),
            fees: fees(currency, row.fees),
            payer: party(&payer),
            payee: party(&payee),
            arbiter: row.arbiter,
            order_ref: row.order_ref,
            splits: splits.collect(),
            auto_release_at: row.auto_release_at,
            dispute: self.unseal("escrows", "dispute", &row.id.to_string(), row.dispute.as_deref())?,
            transaction_id: row.funding,
            parts: parts.collect(),
            created_at: row.created_at,
            ended_at: row.ended_at,
        })
    }
}

fn check_splits(splits: &[Split]) -> Result<(), Refusal> {
    if splits.len() > SPLITS_MAX {
        return Err(Refusal::Malformed("splits"));
    }
    splits.iter().try_for_each(|split| split.amount.check_form().map_err(Refusal::AmountForm))
}

/// A part for somebody, who is named by the DID and not by the wallet: it waits where there is none.
fn share(recipient: &str, entry: Option<&WalletEntry>, currency: CurrencyId, amount: Amount) -> Share {
    let recipient = entry.map_or_else(|| recipient.to_owned(), |entry| entry.row.owner.to_string());
    Share { recipient, account: entry.and_then(|entry| entry.accounts.account(currency)), amount }
}
