//! What payments cost: the versions of the fee schedule, set by two operators, known to every replica before they begin.
//!
//! **Invariant:** a version begins later than every replica reads it, so all charge by the same one.

use std::sync::Arc;

use parking_lot::RwLock;
use q_core::{AuditEntry, Did, RequestKey, Span, Timestamp};
use q_db::DbError;
use qwallet_api::{
    FeeRate, FeeVersion, FeeVersions, SetFeesRequest, events,
    fees::{FEES_TYP, FeesOrder},
    signing,
};

use super::{Service, payments::check_fields, payments::text};
use crate::{
    domain::{
        currency::{self, Currency, CurrencyId},
        fees::{FeeClass, FeeSchedule, InForce, Rates},
        order::SignatureFault,
        payment::{self, Refusal},
    },
    error::Error,
    store::{self, fees::FeeVersionRow},
};

/// How often a replica reads the versions.
pub const LEARN_EVERY: Span = Span::seconds(5);

/// How far ahead a version begins at least: many times as long as a replica takes to learn of it.
const LEAD_MIN: Span = Span::seconds(60);

/// How far ahead it begins at most.
const LEAD_MAX: Span = Span::seconds(400 * 86_400);

/// The largest share.
const BASIS_POINTS_MAX: u16 = 10_000;

/// How many different approvers a version needs.
pub(crate) const APPROVERS_MIN: usize = 2;

/// The most signatures looked at.
const APPROVALS_MAX: usize = 8;

/// The versions of the fee schedule, in the order of their numbers; the first is the one of the settings.
#[derive(Debug)]
pub struct Schedules(RwLock<Vec<Arc<FeeSchedule>>>);

impl Schedules {
    /// The schedule of the settings alone.
    pub fn new(of_settings: FeeSchedule) -> Self {
        Self(RwLock::new(vec![Arc::new(of_settings)]))
    }

    /// What holds at `now`.
    pub fn at(&self, now: Timestamp) -> InForce {
        let versions = self.0.read();
        let first = || InForce { now: versions[0].clone(), before: None };
        InForce::at(&versions, now).unwrap_or_else(first)
    }

    /// The version with this number.
    pub fn version(&self, number: u32) -> Option<Arc<FeeSchedule>> {
        self.0.read().iter().find(|version| version.version == number).cloned()
    }

    /// The schedule of the settings.
    fn of_settings(&self) -> Arc<FeeSchedule> {
        self.0.read()[0].clone()
    }

    /// Takes in what is stored.
    fn learn(&self, stored: impl IntoIterator<Item = FeeSchedule>) {
        let mut versions = self.0.write();
        versions.truncate(1);
        versions.extend(stored.into_iter().map(Arc::new));
    }
}

impl Service {
    /// The versions of the fee schedule.
    pub async fn fee_versions(&self) -> Result<FeeVersions, Error> {
        let rows = self.db.read(store::fees::all).await?;
        let settings = self.schedules.of_settings();
        let mut items: Vec<FeeVersion> = rows.into_iter().map(answer).collect();
        items.reverse();
        items.push(FeeVersion {
            version: settings.version,
            valid_from: settings.valid_from,
            rates: wire_rates(&settings),
            client_ref: None,
            approvers: Vec::new(),
            signing_input: None,
            signatures: Vec::new(),
        });
        Ok(FeeVersions { current: self.schedules.at(self.env.now()).now.version, items })
    }

    /// Sets a version under the signatures of two approvers.
    pub async fn set_fees(
        &self,
        key: Option<&RequestKey>,
        order: SetFeesRequest,
    ) -> Result<FeeVersions, Error> {
        let now = self.env.now();
        check_fields(&order.client_ref, &order.nonce, None)?;
        if order.approvals.len() > APPROVALS_MAX {
            return Err(Refusal::Malformed("approvals").into());
        }
        let expires_at: Timestamp = order.expires_at.parse().map_err(|_| Refusal::Malformed("expiresAt"))?;
        if !payment::is_expiry(expires_at, now) {
            return Err(Refusal::Malformed("expiresAt").into());
        }
        let valid_from: Timestamp = order.valid_from.parse().map_err(|_| Refusal::Malformed("validFrom"))?;
        let named = read_rates(&order.rates)?;
        let input = signing::signing_input(&FeesOrder {
            aud: self.instance.did.as_str(),
            client_ref: &order.client_ref,
            expires_at: &order.expires_at,
            nonce: &order.nonce,
            rates: &order.rates,
            v: 1,
            valid_from: &order.valid_from,
        });
        let approvers = self.fee_approvers(&order.approvals, &input).await?;
        let schedule = FeeSchedule::of_rates(0, valid_from, named);
        let mut row = FeeVersionRow {
            version: 0,
            valid_from,
            rates: wire_rates(&schedule),
            client_ref: order.client_ref,
            nonce: order.nonce,
            approvers,
            input: text(input),
            signatures: order.approvals.join(" "),
            set_at: now,
        };
        let first = self.schedules.of_settings().version;
        let set = self.db.write_once(key, move |tx| {
            let now = tx.now();
            if expires_at <= now {
                return Err(Error::from(Refusal::Expired));
            }
            if valid_from < now + LEAD_MIN || valid_from > now + LEAD_MAX {
                return Err(Refusal::Malformed("validFrom").into());
            }
            if store::fees::is_spent(tx, &row.nonce)? {
                return Err(Refusal::Signature(SignatureFault::NonceSpent).into());
            }
            row.version = store::fees::last(tx)?.unwrap_or(first) + 1;
            store::fees::insert(tx, &row)?;
            let facts = serde_json::json!({
                "validFrom": row.valid_from.to_string(),
                "rates": row.rates,
                "clientRef": row.client_ref,
                "approvers": row.approvers,
            });
            let actor = row.approvers.first();
            let entry = AuditEntry::change("fees.set", actor, format!("version {}", row.version));
            tx.audit(entry.details(facts))?;
            let (version, valid_from, rates) = (row.version, row.valid_from, row.rates.clone());
            tx.emit(&events::FeesChanged { version, valid_from, rates })?;
            Ok(())
        });
        set.await?;
        self.learn_fees().await?;
        self.fee_versions().await
    }

    /// Writes down which rates of the settings this instance runs with: what a payment cost can be computed again.
    pub async fn note_settings(&self, rates: Rates) -> Result<(), DbError> {
        let known = self.db.read(store::fees::ran_with).await?;
        if known.iter().any(|ran| ran.rates == rates) {
            return Ok(());
        }
        self.db.write(move |tx| store::fees::note_settings(tx, rates)).await
    }

    /// Reads the versions, as every replica does every few seconds.
    pub async fn learn_fees(&self) -> Result<(), DbError> {
        let rows = self.db.read(store::fees::all).await?;
        self.schedules.learn(rows.iter().map(schedule_of));
        Ok(())
    }

    async fn fee_approvers(&self, approvals: &[String], input: &[u8]) -> Result<Vec<Did>, Error> {
        let mut approvers: Vec<Did> = Vec::new();
        for approval in approvals {
            let approver = self.signer_of(approval, FEES_TYP, input).await?.map_err(Refusal::Signature)?;
            // A second signature of one person is not a second person.
            if !approvers.contains(&approver) {
                approvers.push(approver);
            }
        }
        if let Some(stranger) = approvers.iter().find(|approver| !self.is_approver(approver)) {
            return Err(Error::NotAnApprover(stranger.to_string()));
        }
        if approvers.len() < APPROVERS_MIN {
            return Err(Error::ApprovalRequired);
        }
        Ok(approvers)
    }
}

/// The schedule that a stored version is.
pub fn schedule_of(row: &FeeVersionRow) -> FeeSchedule {
    let named = row.rates.iter().filter_map(|rate| {
        let currency = Currency::find(&rate.currency)?;
        Some((currency.id, FeeClass::from_name(&rate.class)?, rates_of(rate)))
    });
    FeeSchedule::of_rates(row.version, row.valid_from, named)
}

const fn rates_of(rate: &FeeRate) -> Rates {
    Rates {
        platform_basis_points: rate.platform_basis_points,
        network_basis_points: rate.network_basis_points,
    }
}

/// The rates of every currency and class: merchants pay what persons pay where nothing is said, modules nothing.
pub(crate) fn read_rates(rates: &[FeeRate]) -> Result<Vec<(CurrencyId, FeeClass, Rates)>, Refusal> {
    let mut named: Vec<(CurrencyId, FeeClass, Rates)> = Vec::new();
    for rate in rates {
        let currency = Currency::find(&rate.currency).ok_or(Refusal::CurrencyUnsupported)?;
        let class = FeeClass::from_name(&rate.class).ok_or(Refusal::Malformed("rates[].class"))?;
        if rate.platform_basis_points > BASIS_POINTS_MAX || rate.network_basis_points > BASIS_POINTS_MAX {
            return Err(Refusal::Malformed("rates[].platformBasisPoints"));
        }
        if named.iter().any(|(of, known, _)| (*of, *known) == (currency.id, class)) {
            return Err(Refusal::Malformed("rates[].class"));
        }
        named.push((currency.id, class, rates_of(rate)));
    }
    let of = |currency: CurrencyId, class| {
        let found = named.iter().find(|(of, known, _)| (*of, *known) == (currency, class));
        found.map(|(_, _, rates)| *rates)
    };
    let mut all = Vec::new();
    for currency in &currency::ALL {
        let p2p = of(currency.id, FeeClass::P2p).ok_or(Refusal::Malformed("rates"))?;
        for class in FeeClass::ALL {
            let unnamed = if class == FeeClass::Module { Rates::default() } else { p2p };
            all.push((currency.id, class, of(currency.id, class).unwrap_or(unnamed)));
        }
    }
    Ok(all)
}

fn wire_rates(schedule: &FeeSchedule) -> Vec<FeeRate> {
    let of_currency = |currency: &'static Currency| {
        FeeClass::ALL.into_iter().map(move |class| {
            let rates = schedule.rates(currency.id, class);
            FeeRate {
                class: class.name().to_owned(),
                currency: currency.code.to_owned(),
                network_basis_points: rates.network_basis_points,
                platform_basis_points: rates.platform_basis_points,
            }
        })
    };
    currency::ALL.iter().flat_map(of_currency).collect()
}

fn answer(row: FeeVersionRow) -> FeeVersion {
    FeeVersion {
        version: row.version,
        valid_from: row.valid_from,
        rates: row.rates,
        client_ref: Some(row.client_ref),
        approvers: row.approvers,
        signing_input: Some(row.input),
        signatures: row.signatures.split(' ').map(str::to_owned).collect(),
    }
}
