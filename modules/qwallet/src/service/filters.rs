//! Which entries of a history somebody asks for.

use std::collections::HashMap;

use q_core::{Amount, Timestamp};
use qwallet_api::{ListTransactionsRequest, WalletId};

use super::Service;
use crate::{
    domain::{
        currency::Currency,
        fees::FeeAmounts,
        payment::Refusal,
        transfer::{Purpose, Transfer},
    },
    error::Error,
    store::ledger::{Journalled, TransactionKind, TransactionRow},
};

/// The longest text looked for, in characters.
const SEARCH_CHARACTERS_MAX: usize = 100;

/// What became of a transaction.
const STATUSES: [&str; 4] = ["SIGNED", "SETTLED", "CANCELLED", "EXPIRED"];

/// What an entry must be like.
pub(super) struct Filter {
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    status: Option<String>,
    kind: Option<TransactionKind>,
    counterparty: Option<Counterparty>,
    min_amount: Option<Amount>,
    /// In lower case.
    search: Option<String>,
}

/// The other side that is asked for.
enum Counterparty {
    Wallet(WalletId),
    House(String),
}

/// An entry before it is written down.
pub(super) struct Candidate<'a> {
    pub transfer: &'a Transfer,
    pub row: &'a TransactionRow,
    pub status: &'static str,
    pub at: Timestamp,
    /// The other side, where it is a wallet.
    pub wallet: Option<WalletId>,
    /// Its name.
    pub counterparty: &'a str,
}

impl Service {
    pub(super) async fn filter(
        &self,
        request: &ListTransactionsRequest,
        currency: &'static Currency,
    ) -> Result<Filter, Error> {
        let is_status = |status: &String| STATUSES.contains(&status.as_str());
        if !request.status.as_ref().is_none_or(is_status) {
            return Err(Refusal::Malformed("status").into());
        }
        let kind =
            request.r#type.as_deref().map(|name| TransactionKind::find(name).ok_or("type")).transpose();
        let min_amount = request.min_amount.as_ref().map(|amount| currency.read(amount)).transpose();
        let min_amount = min_amount.map_err(|fault| Refusal::from(fault).of(currency))?;
        if request.q.as_ref().is_some_and(|text| text.chars().count() > SEARCH_CHARACTERS_MAX) {
            return Err(Refusal::Malformed("q").into());
        }
        let counterparty = match request.counterparty.as_deref() {
            None => None,
            Some(name) => Some(match self.directory.find(name).await? {
                Some(wallet) => Counterparty::Wallet(wallet.row.id),
                // A wallet that is not there has paid nobody, like a house account of another name.
                None => Counterparty::House(name.to_owned()),
            }),
        };
        Ok(Filter {
            from: request.from,
            to: request.to,
            status: request.status.clone(),
            kind: kind.map_err(Refusal::Malformed)?,
            counterparty,
            min_amount,
            search: request.q.as_deref().map(str::to_lowercase),
        })
    }
}

impl Filter {
    /// Whether it lets everything through, so that no more need be read than is shown.
    pub fn is_open(&self) -> bool {
        self.from.is_none()
            && self.to.is_none()
            && self.status.is_none()
            && self.kind.is_none()
            && self.counterparty.is_none()
            && self.min_amount.is_none()
            && self.search.is_none()
    }

    /// Whether the entry is asked for, as far as can be told without its purpose.
    pub fn admits(&self, entry: &Candidate<'_>) -> bool {
        // Between an account and its stripes money only changes pockets.
        entry.transfer.leg.purpose != Purpose::Sweep
            && self.from.is_none_or(|from| entry.at >= from)
            && self.to.is_none_or(|to| entry.at < to)
            && self.status.as_deref().is_none_or(|status| status == entry.status)
            && self.kind.is_none_or(|kind| kind == entry.row.kind)
            && self.min_amount.is_none_or(|least| entry.transfer.leg.amount >= least)
            && self.counterparty.as_ref().is_none_or(|asked| match asked {
                Counterparty::Wallet(id) => entry.wallet == Some(*id),
                Counterparty::House(name) => entry.wallet.is_none() && entry.counterparty == name,
            })
    }

    /// Whether the text asked for is in the entry.
    pub fn finds(&self, entry: &Candidate<'_>, purpose: Option<&str>) -> bool {
        let Some(search) = &self.search else { return true };
        let id = entry.row.id.to_string();
        let texts = [purpose, entry.row.client_ref.as_deref(), Some(entry.counterparty), Some(&id)];
        texts.into_iter().flatten().any(|text| text.to_lowercase().contains(search))
    }
}

/// What the wallet pays on top of the principal at a place: the legs behind it that share its fate.
pub(super) fn fees_behind(legs: &HashMap<i64, Journalled>, seq: i64) -> Option<FeeAmounts> {
    let (principal, ..) = legs.get(&seq)?;
    let mut fees = FeeAmounts::default();
    for (transfer, ..) in (seq + 1..).map_while(|seq| legs.get(&seq)) {
        let is_with_it = transfer.transaction == principal.transaction && transfer.phase == principal.phase;
        match transfer.leg.purpose {
            Purpose::PlatformFee if is_with_it => fees.platform = transfer.leg.amount,
            Purpose::NetworkFee if is_with_it => fees.network = transfer.leg.amount,
            _ => break,
        }
    }
    Some(fees)
}
