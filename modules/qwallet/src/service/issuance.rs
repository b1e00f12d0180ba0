//! Money comes into circulation by two signatures, or, on a demonstration, from the faucet.

use q_core::{Caller, Did, RequestKey, Timestamp};
use q_pdp::{Request, Resource};
use qwallet_api::{
    FaucetRequest, IssuanceRequest, Party, Transaction, TransactionId,
    signing::{self, ISSUANCE_TYP, IssuanceOrder},
};

use super::{
    Service,
    commit::{Action, Done, Item, Outcome, Work},
    directory::WalletEntry,
    payments::{check_fields, party, settled, text},
    request_of,
};
use crate::{
    domain::{
        books,
        currency::Currency,
        fees::FeeAmounts,
        payment::{self, Plan, Refusal},
    },
    error::Error,
    store::{
        ledger::{OrderRow, TransactionKind},
        requests::Nonce,
    },
};

/// The number of an issuance's order in the store.
const ISSUANCE_ORDER: i64 = 2;

/// How many different approvers an issuance needs.
const APPROVERS_MIN: usize = 2;

/// The most signatures looked at.
pub(super) const APPROVALS_MAX: usize = 8;

/// The most the faucet gives at once, in whole units.
const FAUCET_WHOLE_MAX: u128 = 10_000;

impl Service {
    /// Mints or burns under the signatures of two approvers.
    pub async fn issue(
        &self,
        key: Option<&RequestKey>,
        order: IssuanceRequest,
    ) -> Result<Transaction, Error> {
        let (is_mint, expires_at) = check_form(&order, self.env.now())?;
        let input = signing::signing_input(&IssuanceOrder {
            action: &order.action,
            amount: order.amount.as_str(),
            aud: self.instance.did.as_str(),
            client_ref: &order.client_ref,
            currency: &order.currency,
            expires_at: &order.expires_at,
            nonce: &order.nonce,
            v: 1,
            wallet: &order.wallet,
        });
        // Whoever signed, the key belongs to the order: it is the same order under the same key.
        let request = request_of("issuance", key);
        let wallet = self.directory.find(&order.wallet).await?;
        let decided = self.decide_issuance(&order, expires_at, &input, wallet.as_deref()).await;
        let (plan, approvers) = match decided {
            Ok(decided) => decided,
            Err(Error::Refused(refusal)) => {
                return self.replayed_payment(self.refusal_or_replay(request, refusal).await?).await;
            }
            Err(error) => return Err(error),
        };
        let wallet = wallet.ok_or(Refusal::WalletNotFound)?;
        let plan = self.issuance_plan(is_mint, &wallet, &plan)?;
        let signers: Vec<&str> = approvers.iter().map(Did::as_str).collect();
        let work = Work {
            request,
            nonce: Some(Nonce::of("issuance", &order.nonce, expires_at)),
            expires_at: Some(expires_at),
            order: Some(OrderRow {
                id: 0,
                kind: ISSUANCE_ORDER,
                signer: signers.join(" "),
                input: text(input),
                signatures: order.approvals.join(" "),
            }),
            action: Action::Pay(self.issuance_item(TransactionKind::Issuance, &plan, Some(order.client_ref))),
        };
        self.submit_issuance(work, &plan, &wallet, is_mint).await
    }

    /// Gives test money.
    pub async fn faucet(
        &self,
        caller: &Caller,
        key: Option<&RequestKey>,
        asked: FaucetRequest,
    ) -> Result<Transaction, Error> {
        let did = caller.did().ok_or(Refusal::WalletNotFound)?;
        asked.amount.check_form().map_err(Refusal::AmountForm)?;
        let name = asked.wallet.unwrap_or_else(|| did.to_string());
        let wallet = self.directory.find(&name).await?.ok_or(Refusal::WalletNotFound)?;
        let (currency, amount) = payment::read_amount(&asked.currency, &asked.amount)?;
        if amount.units() > FAUCET_WHOLE_MAX * currency.scale.units_per_whole() {
            return Err(Error::FaucetMaximum(FAUCET_WHOLE_MAX, currency.code));
        }
        let plan = Plan { currency, amount, fees: FeeAmounts::default(), legs: Vec::new() };
        let plan = self.issuance_plan(true, &wallet, &plan)?;
        let work = Work {
            request: request_of(did.as_str(), key),
            nonce: None,
            expires_at: None,
            order: None,
            action: Action::Pay(self.issuance_item(TransactionKind::Faucet, &plan, None)),
        };
        self.submit_issuance(work, &plan, &wallet, true).await
    }

    async fn decide_issuance(
        &self,
        order: &IssuanceRequest,
        expires_at: Timestamp,
        input: &[u8],
        wallet: Option<&WalletEntry>,
    ) -> Result<(Plan, Vec<Did>), Error> {
        wallet.ok_or(Refusal::WalletNotFound)?;
        if expires_at <= self.env.now() {
            return Err(Refusal::Expired.into());
        }
        let approvers = self.signers_of(&order.approvals, ISSUANCE_TYP, input).await?;
        let (currency, amount) = payment::read_amount(&order.currency, &order.amount)?;
        self.check_approvers(&approvers, None)?;
        Ok((Plan { currency, amount, fees: FeeAmounts::default(), legs: Vec::new() }, approvers))
    }

    /// Who signed an order, each once: a second signature of one person is not a second person.
    pub(super) async fn signers_of(
        &self,
        approvals: &[String],
        typ: &str,
        input: &[u8],
    ) -> Result<Vec<Did>, Error> {
        let mut signers: Vec<Did> = Vec::new();
        for approval in approvals {
            let signer = self.signer_of(approval, typ, input).await?.map_err(Refusal::Signature)?;
            if !signers.contains(&signer) {
                signers.push(signer);
            }
        }
        Ok(signers)
    }

    /// Checks that these are two operators, and none of them whom it is about.
    pub(super) fn check_approvers(&self, approvers: &[Did], about: Option<&Did>) -> Result<(), Error> {
        let stranger =
            approvers.iter().find(|approver| Some(*approver) == about || !self.is_approver(approver));
        if let Some(stranger) = stranger {
            return Err(Error::NotAnApprover(stranger.to_string()));
        }
        if approvers.len() < APPROVERS_MIN { Err(Error::ApprovalRequired) } else { Ok(()) }
    }

    /// Whether the identity may approve issuance: it administers the instance.
    pub(super) fn is_approver(&self, did: &Did) -> bool {
        let resource = Resource::instance(&self.instance.did).to_string();
        let request = Request {
            principal: did,
            action: "admin",
            resource: &resource,
            owner: Some(&self.instance.did),
            now: self.env.now(),
        };
        self.pdp.decide(&request).allowed
    }

    fn issuance_plan(&self, is_mint: bool, wallet: &WalletEntry, plan: &Plan) -> Result<Plan, Refusal> {
        let house = self.directory.house_of(plan.currency.id).ok_or(Refusal::CurrencyUnsupported)?;
        let account = wallet.accounts.account(plan.currency.id).ok_or(Refusal::CurrencyUnsupported)?;
        let leg = books::issuance_leg(is_mint, house.issuance, account, plan.amount);
        Ok(Plan { legs: vec![leg], ..plan.clone() })
    }

    fn issuance_item(&self, kind: TransactionKind, plan: &Plan, client_ref: Option<String>) -> Item {
        let id = TransactionId::new(&self.env);
        Item { id, kind, legs: plan.legs.clone(), intent: None, client_ref, purpose: None }
    }

    async fn submit_issuance(
        &self,
        work: Work,
        plan: &Plan,
        wallet: &WalletEntry,
        is_mint: bool,
    ) -> Result<Transaction, Error> {
        let Action::Pay(item) = &work.action else { return Err(super::unexpected()) };
        let (id, kind, client_ref) = (item.id, item.kind, item.client_ref.clone());
        match self.executor.submit(work).await? {
            Outcome::Done(done) => {
                Ok(Transaction { client_ref, ..answer(id, kind, plan, wallet, is_mint, &done) })
            }
            Outcome::Replayed(answer) => self.replayed_payment(answer).await,
            Outcome::Refused(refusal) => Err(refusal.into()),
        }
    }
}

fn answer(
    id: TransactionId,
    kind: TransactionKind,
    plan: &Plan,
    wallet: &WalletEntry,
    is_mint: bool,
    done: &Done,
) -> Transaction {
    let house = Party { wallet_ref: "issuance".to_owned(), owner: None };
    let (from, to) = if is_mint { (house, party(wallet)) } else { (party(wallet), house) };
    settled(id, kind, plan, from, to, done)
}

fn check_form(order: &IssuanceRequest, now: Timestamp) -> Result<(bool, Timestamp), Refusal> {
    order.amount.check_form().map_err(Refusal::AmountForm)?;
    let is_mint = match order.action.as_str() {
        "MINT" => true,
        "BURN" => false,
        _ => return Err(Refusal::Malformed("action")),
    };
    check_fields(&order.client_ref, &order.nonce, None)?;
    if order.approvals.len() > APPROVALS_MAX {
        return Err(Refusal::Malformed("approvals"));
    }
    let expires_at = order.expires_at.parse().map_err(|_| Refusal::Malformed("expiresAt"))?;
    if payment::is_expiry(expires_at, now) {
        Ok((is_mint, expires_at))
    } else {
        Err(Refusal::Malformed("expiresAt"))
    }
}

/// The instance's currencies by code, for those who have only the code.
pub(super) fn currency(code: &str) -> Result<&'static Currency, Refusal> {
    Currency::find(code).ok_or(Refusal::CurrencyUnsupported)
}
