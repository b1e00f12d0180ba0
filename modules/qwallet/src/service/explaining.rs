//! What a payer who lacks money is told of it.
//!
//! **Invariant:** figures of a wallet go to nobody who may not read the wallet: a signed order may be handed in by
//! whoever it was given to.

use q_contract::Problem;
use q_core::{AmountText, Caller};
use qwallet_api::GetBalanceRequest;

use super::Service;
use crate::{
    domain::{currency::Currency, payment::Refusal},
    error::Error,
};

/// What was to be paid out of which wallet.
#[derive(Debug)]
pub struct Wanted {
    /// Id or reference of the wallet, or the DID of its owner.
    pub wallet: String,
    /// The currency's code.
    pub currency: String,
    /// Whom, where that is one wallet: DID, id or reference.
    pub recipient: Option<String>,
    /// How much, without fees.
    pub amount: AmountText,
}

impl Wanted {
    /// This amount of this currency out of this wallet to that one.
    pub fn of(wallet: &str, recipient: Option<&str>, currency: &str, amount: &AmountText) -> Self {
        Self {
            wallet: wallet.to_owned(),
            recipient: recipient.map(str::to_owned),
            currency: currency.to_owned(),
            amount: amount.clone(),
        }
    }
}

impl Service {
    /// The refusal of `error`, with what the wallet has and what is needed where the caller may know, and without what
    /// was spent already where not.
    pub async fn explained(&self, caller: &Caller, error: Error, wanted: &Wanted) -> Problem {
        let is_lack = matches!(error, Error::Refused(Refusal::InsufficientFunds));
        let is_limit =
            matches!(error, Error::Refused(Refusal::LimitExceeded { .. }) | Error::OverLimit { .. });
        let is_secret = is_limit && !self.may_know(caller, &wanted.wallet).await;
        let error = match error {
            Error::OverLimit { refusal, is_guarded, way_out, .. } if is_secret => {
                Error::OverLimit { refusal, is_guarded, way_out, within: String::new() }
            }
            error => error,
        };
        let mut problem = Problem::from(error);
        if is_secret {
            for figure in ["limit", "used", "attempted"] {
                problem.extra.remove(figure);
            }
        }
        let lack = if is_lack { self.lack(caller, wanted).await } else { None };
        let Some((available, needed)) = lack else { return problem };
        let (has, needs, currency) = (available.as_str(), needed.as_str(), wanted.currency.as_str());
        problem
            .detail(format!("{has} {currency} are available, and {needs} are needed, fees included"))
            .with("currency", currency)
            .with("available", has)
            .with("needed", needs)
    }

    /// What the wallet has, and what is more than that: the amount with its fees.
    async fn lack(&self, caller: &Caller, wanted: &Wanted) -> Option<(AmountText, AmountText)> {
        if !self.may_know(caller, &wanted.wallet).await {
            return None;
        }
        let currency = Currency::find(&wanted.currency)?;
        let read = |text: &AmountText| text.parse(currency.scale).ok();
        let price = (wanted.currency.as_str(), &wanted.amount);
        let fees = self.fees_to(&wanted.wallet, wanted.recipient.as_deref(), price).await.ok()?.total()?;
        let needed = read(&wanted.amount)?.checked_add(fees)?;
        let request = GetBalanceRequest {
            squid_id: wanted.wallet.clone(),
            currency: Some(wanted.currency.clone()),
            at: None,
        };
        let balance = self.balance(caller, request).await.ok()?.balances.remove(&wanted.currency)?;
        // Another payment may have brought enough by now.
        (read(&balance.available)? < needed).then(|| (balance.available, currency.text(needed)))
    }

    /// Whether the caller may read the wallet, without one of the uses that a grant may count.
    async fn may_know(&self, caller: &Caller, wallet: &str) -> bool {
        let entry = self.directory.find(wallet).await.ok().flatten();
        entry.is_some_and(|entry| self.may_read(caller, &entry))
    }
}
