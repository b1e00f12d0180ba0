//! Changing a wallet: its name, whether it may pay and be paid, whom it may pay, how far below zero it may go.
//!
//! **Invariant:** whoever may stop a wallet does so alone; that it pays again, or more, needs two operators, none of them
//! its owner.

use std::sync::Arc;

use q_auth::{Standing, directory::DirectoryError};
use q_core::{Amount, AuditEntry, Caller, Did, RequestKey, Timestamp};
use q_db::{DbError, Tx};
use qwallet_api::{UpdateWalletRequest, WALLET_TYP, Wallet, WalletId, WalletOrder, events, signing};

use super::{
    Service,
    commit::{Action, Authority, LimitChange, Outcome, Work},
    directory::WalletEntry,
    issuance,
    limits::{self, Relation},
    payments::text,
    record::{Decision, Moment, Record, RecordKey, RecordTable, Step},
    request_of,
    wallets::LABEL_CHARACTERS_MAX,
};
use crate::{
    domain::{
        account::{Account, AccountId},
        books::NewTerms,
        currency::AmountRefusal,
        payment::{self, Refusal},
        profile::{Profile, Status},
    },
    error::Error,
    store::{self, requests::Nonce, wallets::WalletRow},
};

/// The most recipients a wallet's list holds.
const ALLOWED_MAX: usize = 1_000;

/// What stands in a list instead of names to allow everybody.
const EVERYBODY: &str = "*";

impl Service {
    /// Changes a wallet as far as the caller, or two operators who signed, may.
    pub async fn update_wallet(
        &self,
        caller: &Caller,
        key: Option<&RequestKey>,
        asked: UpdateWalletRequest,
    ) -> Result<Wallet, Error> {
        let status = check_form(&asked)?;
        let did = caller.did().ok_or(Refusal::WalletNotFound)?;
        let entry = self.directory.find(&asked.squid_id).await?.ok_or(Refusal::WalletNotFound)?;
        let relation = self.relation(did, &entry).await?;
        let is_operator = self.is_operator(caller);
        if relation.is_none() && !is_operator {
            return Err(Refusal::WalletNotFound.into());
        }
        check_authority(&asked, status, relation, is_operator, &entry)?;
        let request = request_of(did.as_str(), key);
        let approval = match self.approval(&asked, status, &entry).await {
            Ok(approval) => approval,
            Err(Error::Refused(refusal)) => {
                self.refusal_or_replay(request, refusal).await?;
                return self.wallet_of(&entry).await;
            }
            Err(error) => return Err(error),
        };
        let (nonce, expires_at) = match &approval {
            Some(approval) => {
                let nonce = Nonce::of("wallet", &asked.nonce, approval.expires_at);
                (Some(nonce), Some(approval.expires_at))
            }
            None => (None, None),
        };
        let action = if asked.limits.is_empty() {
            let change = self.wallet_change(&asked, status, did, &entry, approval).await?;
            Action::Record(Arc::new(change))
        } else {
            let (currency, wanted) = limits::read(&asked.limits)?;
            let account = entry.accounts.account(currency.id).ok_or(Refusal::CurrencyUnsupported)?;
            let (by, authority) = (did.clone(), Authority::TwoOperators);
            let approval = approval.map(|approval| approval.facts());
            let wallet = entry.row.id;
            Action::SetLimits(LimitChange { account, wallet, by, authority, wanted, zone: None, approval })
        };
        let work = Work { request, nonce, expires_at, order: None, action };
        match self.executor.submit(work).await? {
            Outcome::Done(_) | Outcome::Replayed(_) => self.wallet_of(&entry).await,
            Outcome::Refused(Refusal::NotEmpty) => Err(self.what_is_left(&entry).await?),
            Outcome::Refused(refusal) => Err(refusal.into()),
        }
    }

    /// The signed order behind a change that one person may not make.
    async fn approval(
        &self,
        asked: &UpdateWalletRequest,
        status: Option<Status>,
        entry: &WalletEntry,
    ) -> Result<Option<Approval>, Error> {
        if status != Some(Status::Active) && asked.credit_limit.is_none() && asked.limits.is_empty() {
            return Ok(None);
        }
        if asked.approvals.is_empty() {
            return Err(Error::ApprovalRequired);
        }
        let now = self.env.now();
        let expires_at: Timestamp = asked.expires_at.parse().map_err(|_| Refusal::Malformed("expiresAt"))?;
        if !payment::is_expiry(expires_at, now) {
            return Err(Refusal::Malformed("expiresAt").into());
        }
        if !payment::is_nonce(&asked.nonce) {
            return Err(Refusal::Malformed("nonce").into());
        }
        if expires_at <= now {
            return Err(Refusal::Expired.into());
        }
        let input = signing::signing_input(&WalletOrder::of(self.instance.did.as_str(), asked));
        let approvers = self.signers_of(&asked.approvals, WALLET_TYP, &input).await?;
        self.check_outsiders(&approvers, &entry.row.owner).await?;
        self.check_approvers(&approvers, Some(&entry.row.owner))?;
        Ok(Some(Approval { approvers, input: text(input), signatures: asked.approvals.clone(), expires_at }))
    }

    /// Checks that nobody who approves is of the owner's family: whom the owner made, who made or acts for the owner, and
    /// whoever one of them made besides.
    pub(super) async fn check_outsiders(&self, approvers: &[Did], owner: &Did) -> Result<(), Error> {
        let of = self.keys.standing(owner).await?;
        for approver in approvers {
            let their = match self.keys.standing(approver).await {
                Ok(standing) => standing,
                Err(error @ DirectoryError::Unavailable(_)) => return Err(error.into()),
                Err(_) => return Err(Error::NotAnApprover(approver.to_string())),
            };
            let is_above = |one: &Standing, other: &Did| {
                [&one.parent, &one.root]
                    .into_iter()
                    .flatten()
                    .chain(&one.guardians)
                    .any(|above| above == other)
            };
            let is_beside = of.root.is_some() && of.root == their.root;
            if is_above(&of, approver) || is_above(&their, owner) || is_beside {
                return Err(Error::NotAnApprover(approver.to_string()));
            }
        }
        Ok(())
    }

    async fn wallet_change(
        &self,
        asked: &UpdateWalletRequest,
        status: Option<Status>,
        by: &Did,
        entry: &WalletEntry,
        approval: Option<Approval>,
    ) -> Result<WalletChange, Error> {
        let id = entry.row.id;
        let label = asked.label.as_ref().map(|label| self.seal("wallets", "label", &id.to_string(), label));
        let allowed = match &asked.allowed_recipients {
            None => Allowed::AsBefore,
            Some(names) if names.iter().any(|name| name == EVERYBODY) => Allowed::Everybody,
            Some(names) => {
                let (outside, names) = self.addresses_among(names).await?;
                let found = self.directory.find_all(names.iter().map(String::as_str)).await?;
                let found: Option<Vec<WalletId>> =
                    found.iter().map(|one| Some(one.as_ref()?.row.id)).collect();
                let mut found = found.ok_or(Refusal::RecipientUnknown)?;
                found.sort_unstable();
                found.dedup();
                Allowed::Only(found, outside)
            }
        };
        let credit = match &asked.credit_limit {
            None => None,
            Some(limit) => {
                let currency = issuance::currency(&limit.currency)?;
                let amount = limit.amount.parse(currency.scale);
                let amount =
                    amount.map_err(|fault| Refusal::from(AmountRefusal::Text(fault)).of(currency))?;
                let account = entry.accounts.account(currency.id).ok_or(Refusal::CurrencyUnsupported)?;
                Some((account, amount))
            }
        };
        let accounts = self.db.read(move |reader| store::ledger::account_numbers_of(reader, id)).await?;
        let accounts = accounts.into_iter().map(|(account, _)| account).collect();
        Ok(WalletChange { wallet: id, accounts, by: by.clone(), label, status, allowed, credit, approval })
    }

    /// Why a wallet cannot be closed.
    async fn what_is_left(&self, entry: &WalletEntry) -> Result<Error, Error> {
        let (balances, _) = self.balances_now(entry).await?;
        let (id, owner) = (entry.row.id, entry.row.owner.clone());
        let escrows = self.db.read(move |reader| store::escrows::open_of(reader, id, &owner)).await?;
        let is_something = |text: &str| text != "0";
        let left = balances.iter().filter(|(_, balance)| {
            [&balance.posted, &balance.pending_in, &balance.pending_out]
                .into_iter()
                .any(|amount| is_something(amount.as_str()))
        });
        let left: serde_json::Map<String, serde_json::Value> = left
            .map(|(code, balance)| {
                let facts = serde_json::json!({
                    "posted": balance.posted.as_str(),
                    "pendingIn": balance.pending_in.as_str(),
                    "pendingOut": balance.pending_out.as_str(),
                });
                (code.clone(), facts)
            })
            .collect();
        Ok(Error::WalletNotEmpty(serde_json::json!({ "balances": left, "escrows": escrows })))
    }
}

/// Checks the form, and reads the status.
fn check_form(asked: &UpdateWalletRequest) -> Result<Option<Status>, Refusal> {
    if asked.label.as_deref().is_some_and(|label| label.chars().count() > LABEL_CHARACTERS_MAX) {
        return Err(Refusal::Malformed("label"));
    }
    if asked.allowed_recipients.as_ref().is_some_and(|names| names.len() > ALLOWED_MAX) {
        return Err(Refusal::Malformed("allowedRecipients"));
    }
    if asked.approvals.len() > issuance::APPROVALS_MAX {
        return Err(Refusal::Malformed("approvals"));
    }
    if let Some(limit) = &asked.credit_limit {
        limit.amount.check_form().map_err(Refusal::AmountForm)?;
    }
    let has_others = asked.label.is_some()
        || asked.status.is_some()
        || asked.allowed_recipients.is_some()
        || asked.credit_limit.is_some();
    if !asked.limits.is_empty() && has_others {
        return Err(Refusal::Malformed("limits"));
    }
    let status =
        asked.status.as_deref().map(|name| Status::from_name(name).ok_or(Refusal::Malformed("status")));
    status.transpose()
}

/// Whether one person may ask for this; what needs two is looked at with their signatures.
fn check_authority(
    asked: &UpdateWalletRequest,
    status: Option<Status>,
    relation: Option<Relation>,
    is_operator: bool,
    entry: &WalletEntry,
) -> Result<(), Error> {
    let is_owner = relation == Some(Relation::Owner);
    if asked.label.is_some() && !is_owner {
        return Err(Error::NotTheirs("a wallet is named by its owner"));
    }
    if asked.allowed_recipients.is_some() {
        if entry.row.profile != Profile::Enterprise {
            return Err(Error::NotTheirs("only the wallet of an ENTERPRISE keeps a list of whom it may pay"));
        }
        if !is_owner {
            return Err(Error::NotTheirs("whom a wallet may pay is its owner's to say"));
        }
    }
    match status {
        Some(Status::Suspended | Status::Closed) if !is_operator => Err(Error::NotTheirs(
            "an operator suspends and closes wallets; its owner, a parent or a guardian freezes it",
        )),
        _ => Ok(()),
    }
}

/// Two operators' signatures under an order.
#[derive(Debug)]
struct Approval {
    approvers: Vec<Did>,
    input: String,
    signatures: Vec<String>,
    expires_at: Timestamp,
}

impl Approval {
    /// The evidence, as the audit row keeps it.
    fn facts(&self) -> serde_json::Value {
        serde_json::json!({
            "approvers": self.approvers, "order": self.input, "signatures": self.signatures,
        })
    }
}

/// Whom a wallet may pay from here on.
#[derive(Debug)]
enum Allowed {
    AsBefore,
    Everybody,
    /// These wallets, and these addresses outside.
    Only(Vec<WalletId>, Vec<String>),
}

/// A change of a wallet in the executor: its accounts are told in the same commit, whoever else writes.
#[derive(Debug)]
struct WalletChange {
    wallet: WalletId,
    accounts: Vec<AccountId>,
    by: Did,
    label: Option<Vec<u8>>,
    status: Option<Status>,
    allowed: Allowed,
    credit: Option<(AccountId, Amount)>,
    approval: Option<Approval>,
}

impl Record for WalletChange {
    fn key(&self) -> RecordKey {
        RecordKey(RecordTable::Wallets, self.wallet.bytes())
    }

    fn lock(&self, tx: &mut Tx<'_>) -> Result<(), DbError> {
        store::wallets::lock(tx, self.wallet)
    }

    fn accounts(&self) -> Vec<AccountId> {
        self.accounts.clone()
    }

    fn decide(&self, tx: &mut Tx<'_>, _: Moment) -> Result<Result<Decision<'_>, Refusal>, DbError> {
        let Some(before) = store::wallets::find(tx, self.wallet)? else {
            return Ok(Err(Refusal::WalletNotFound));
        };
        let status = self.status.unwrap_or(before.status);
        if before.status == Status::Closed && !matches!(status, Status::Closed | Status::Active) {
            return Ok(Err(Refusal::InvalidState(
                "not open: the wallet is closed, and two operators open it again",
            )));
        }
        if before.status == Status::Suspended && status == Status::Frozen {
            return Ok(Err(Refusal::InvalidState(
                "stopped already: an operator suspended the wallet, and it stays SUSPENDED until two operators open it",
            )));
        }
        let accounts = store::ledger::accounts_of(tx, self.wallet)?;
        if accounts.iter().any(|account| !self.accounts.contains(&account.id)) {
            return Ok(Err(Refusal::InvalidState("given stripes at this moment; ask again")));
        }
        if status == Status::Closed && store::escrows::open_of(tx, self.wallet, &before.owner)? > 0 {
            return Ok(Err(Refusal::NotEmpty));
        }
        let step = |account: &Account| {
            let credit_limit = self.credit.filter(|(of, _)| *of == account.id).map(|(_, amount)| amount);
            let (is_frozen, must_be_empty) = (Some(status.is_stopped()), status == Status::Closed);
            Step::Terms(account.id, NewTerms { is_frozen, credit_limit, must_be_empty })
        };
        let mut steps: Vec<Step> = accounts.iter().map(step).collect();
        if matches!(self.allowed, Allowed::Only(..)) {
            // Whoever pays from a marked account has the list read in the same commit.
            let pays = accounts.iter().filter(|account| account.stripe == 0 && !account.is_guarded);
            steps.extend(pays.map(|account| Step::Guard(account.id)));
        }
        let after = WalletRow {
            label: self.label.clone().or_else(|| before.label.clone()),
            status,
            ..before.clone()
        };
        let after = match &self.allowed {
            Allowed::AsBefore => after,
            Allowed::Everybody => WalletRow { allowed: None, allowed_addresses: Vec::new(), ..after },
            Allowed::Only(wallets, addresses) => {
                WalletRow { allowed: Some(wallets.clone()), allowed_addresses: addresses.clone(), ..after }
            }
        };
        let write = move |tx: &mut Tx<'_>, _: Moment| self.write(tx, &before, &after);
        Ok(Ok(Decision { steps, answer: self.wallet.bytes(), write: Box::new(write) }))
    }
}

impl WalletChange {
    fn write(&self, tx: &mut Tx<'_>, before: &WalletRow, after: &WalletRow) -> Result<(), DbError> {
        if let Some((account, limit)) = self.credit {
            store::wallets::set_credit_limit(tx, account, limit)?;
        }
        store::wallets::update(tx, after)?;
        if after.allowed.is_some() {
            store::approvals::begin(tx, after.id)?;
        }
        if before.status != after.status {
            let told = events::WalletStatus {
                wallet_id: after.id,
                wallet_ref: after.reference.clone(),
                status: after.status.name().to_owned(),
            };
            match after.status {
                Status::Active => tx.emit(&events::WalletUnfrozen(told))?,
                Status::Suspended | Status::Frozen => tx.emit(&events::WalletFrozen(told))?,
                Status::Closed => tx.emit(&events::WalletClosed(told))?,
            };
        }
        let credit = self.credit.map(|(account, limit)| {
            serde_json::json!({ "account": account.0, "units": limit.units().to_string() })
        });
        let facts = serde_json::json!({
            "from": before.status.name(),
            "to": after.status.name(),
            "label": self.label.is_some(),
            "allowed": match &self.allowed {
                Allowed::AsBefore => serde_json::Value::Null,
                Allowed::Everybody => EVERYBODY.into(),
                Allowed::Only(wallets, addresses) => (wallets.len() + addresses.len()).into(),
            },
            "creditLimit": credit,
            "approval": self.approval.as_ref().map(Approval::facts),
        });
        tx.audit(AuditEntry::change("wallet.change", Some(&self.by), after.id).details(facts))?;
        Ok(())
    }
}
