//! Figures about a wallet: what it received, gave and paid in fees.

use std::collections::{BTreeMap, HashMap};

use q_core::{Amount, Caller, SignedAmount, Span, Total};
use q_db::{DbError, Reader};
use qwallet_api::{Stats, StatsRequest, StatsRow, TransactionId, WalletId};

use super::{Service, statements::VersionSpan};
use crate::{
    domain::{
        account::AccountId,
        currency::{Currency, CurrencyId},
        payment::Refusal,
        statement::Period,
        transfer::Purpose,
    },
    error::Error,
    store::{self, ledger::TransactionKind},
};

/// The periods, in days.
const PERIODS: [(&str, i64); 3] = [("7d", 7), ("30d", 30), ("90d", 90)];

type ByKind = BTreeMap<(CurrencyId, &'static str), Sums>;

/// What transactions of one kind meant to the wallet.
#[derive(Default)]
struct Sums {
    count: u64,
    received: Amount,
    given: Amount,
    fees: Amount,
    fees_back: Amount,
}

impl Service {
    /// What settled in a wallet the caller may read, by currency and kind.
    pub async fn stats(&self, caller: &Caller, request: StatsRequest) -> Result<Stats, Error> {
        let wallet = self.readable(caller, &request.squid_id).await?;
        let asked = request.period.as_deref().unwrap_or("30d");
        let known = PERIODS.into_iter().find(|(name, _)| *name == asked);
        let (name, days) = known.ok_or(Refusal::Malformed("period"))?;
        let now = self.env.now();
        let period = Period { from: now - Span::seconds(days * 86_400), to: now };
        self.catch_up().await?;
        let id = wallet.row.id;
        let sums = self.db.read(move |reader| sums(reader, id, period));
        let sums = sums.await?.ok_or(Refusal::AmountOutOfRange(None))?;
        let items = sums.into_iter().filter_map(|((currency, kind), sums)| {
            let currency = Currency::by_id(currency)?;
            Some(StatsRow {
                currency: currency.code.to_owned(),
                r#type: kind.to_owned(),
                count: sums.count,
                received: currency.text(sums.received),
                given: currency.text(sums.given),
                fees: sums.fees().display(currency.scale).into(),
            })
        });
        Ok(Stats {
            wallet_ref: wallet.row.reference.clone(),
            period: name.to_owned(),
            from: period.from,
            to: period.to,
            items: items.collect(),
        })
    }
}

/// The sums by currency and kind; `None` when one is too large.
fn sums(reader: &mut Reader<'_>, wallet: WalletId, period: Period) -> Result<Option<ByKind>, DbError> {
    let accounts = store::ledger::accounts_of(reader, wallet)?;
    let own: Vec<AccountId> = accounts.iter().map(|account| account.id).collect();
    let (mut sums, mut fits) = (ByKind::new(), true);
    for account in &accounts {
        let span = VersionSpan::read(reader, account, period)?;
        let mut last = None;
        span.for_each_page(reader, |reader, page| {
            let mut ids: Vec<TransactionId> =
                page.iter().map(|(transfer, ..)| transfer.transaction).collect();
            ids.dedup();
            let rows = store::ledger::transactions(reader, &ids)?;
            let kinds: HashMap<TransactionId, TransactionKind> =
                rows.into_iter().map(|(row, _)| (row.id, row.kind)).collect();
            for (transfer, ..) in page {
                let leg = &transfer.leg;
                let is_own = own.contains(&leg.debit) && own.contains(&leg.credit);
                if !transfer.phase.is_final_movement() || is_own {
                    continue;
                }
                let kind = kinds.get(&transfer.transaction).map_or("transaction", |kind| kind.name());
                let sum = sums.entry((account.currency, kind)).or_default();
                fits &= sum.add(leg.purpose, leg.debit == account.id, leg.amount).is_some();
                // The legs of one transaction follow one another in the account they change.
                if last.replace(transfer.transaction) != Some(transfer.transaction) {
                    sum.count += 1;
                }
            }
            Ok(())
        })?;
    }
    Ok(fits.then_some(sums))
}

impl Sums {
    /// Adds one leg; `None` when the sum is too large.
    fn add(&mut self, purpose: Purpose, is_debit: bool, amount: Amount) -> Option<()> {
        let is_fee = matches!(purpose, Purpose::PlatformFee | Purpose::NetworkFee | Purpose::FeeRefund);
        let sum = match (is_fee, is_debit) {
            (true, true) => &mut self.fees,
            (true, false) => &mut self.fees_back,
            (false, true) => &mut self.given,
            (false, false) => &mut self.received,
        };
        *sum = sum.checked_add(amount)?;
        Some(())
    }

    fn fees(&self) -> SignedAmount {
        let total = |amount: Amount| Total::from_units(amount.units());
        total(self.fees).less(total(self.fees_back))
    }
}
