//! The use cases: resolve names, check signatures, decide, hand to the executor, answer.
//!
//! **Invariant:** balances change in the executor and nowhere else.

mod access;
mod answers;
mod approvals;
mod ballots;
mod batch;
mod beyond;
pub mod commit;
mod delegated;
pub mod deliveries;
pub mod directory;
mod escrows;
pub mod executor;
pub mod explaining;
mod exports;
pub mod fees;
mod filters;
pub(crate) mod guardians;
pub mod heads;
mod holds;
mod imports;
mod intents;
mod issuance;
mod item;
pub mod limits;
pub mod metrics;
pub(crate) mod money_requests;
mod notes;
mod payments;
mod permissions;
mod profiles;
mod quotes;
pub mod rails;
mod reading;
mod receipts;
pub mod recent;
pub mod record;
mod refunds;
pub(crate) mod schedules;
mod signatures;
mod snapshots;
mod statements;
mod stats;
mod sweeping;
pub mod telling;
mod wallet_changes;
mod wallets;
mod webhooks;

use std::sync::Arc;

use parking_lot::Mutex;
use q_auth::KeyDirectory;
use q_core::{Amount, Env, RequestKey};
use q_db::{Db, DbError};
use q_pdp::Pdp;
use q_runtime::{Instance, Signer};
use q_seal::{Place, Sealer};

use self::{
    directory::Directory,
    executor::{Executor, Fault},
    limits::Told,
};
use crate::{
    domain::{clock, currency::CurrencyId, limits::Defaults, payment::Refusal},
    error::Error,
    store::{self, requests::Request},
};

/// The wallet service.
pub struct Service {
    /// Clock and entropy.
    pub env: Env,
    /// The store.
    pub db: Db,
    /// Which instance this is: the audience of every order.
    pub instance: Instance,
    /// Which wallet a name means.
    pub directory: Directory,
    /// Changes balances.
    pub executor: Executor,
    /// Whose key is whose.
    pub keys: Arc<KeyDirectory>,
    /// Who may read whose wallet.
    pub pdp: Pdp,
    /// Seals what must not be readable in a stolen store.
    pub sealer: Sealer,
    /// What the module signs with: receipts, heads, snapshots.
    pub signer: Signer,
    /// The ways money comes in and leaves.
    pub rails: rails::Rails,
    /// What payments cost.
    pub schedules: fees::Schedules,
    /// Above how much of a currency a payer must have proved a second key.
    pub step_up: Vec<(CurrencyId, Amount)>,
    /// How much may be spent where an owner chose nothing, by currency.
    pub limits: Vec<(CurrencyId, Defaults)>,
    /// Limits whose being exceeded was told already.
    pub told: Told,
    /// Sends what webhooks are told.
    pub hooks: deliveries::Hooks,
    /// Whether the host's clock can be believed.
    pub clock: Mutex<clock::Guard>,
    /// The three-letter code under which payout files name the first currency.
    pub iso_alias: Option<String>,
}

impl Service {
    /// What became of an earlier request with this key: the id of its answer, nothing, or that it was another.
    async fn earlier(&self, request: Option<Request>) -> Result<Option<[u8; 16]>, Error> {
        let Some(request) = request else { return Ok(None) };
        let recents = self.executor.recents().clone();
        let found = self
            .db
            .read(move |reader| {
                // In this order: what leaves memory is in the table before.
                let recent = recents.find_in(reader, &[request.key])?;
                if recent.is_empty() { store::requests::find(reader, &[request.key]) } else { Ok(recent) }
            })
            .await?;
        match found.first() {
            Some((stored, _)) if stored.fingerprint != request.fingerprint => Err(Refusal::KeyReused.into()),
            Some((_, answer)) => Ok(Some(*answer)),
            None => Ok(None),
        }
    }

    /// The refusal of a request, unless it is the repetition of one that was carried out: idempotency comes
    /// before everything but the form, so an order that has lapsed since still gets its first answer.
    async fn refusal_or_replay(&self, request: Option<Request>, refusal: Refusal) -> Result<[u8; 16], Error> {
        self.earlier(request).await?.ok_or_else(|| match refusal {
            Refusal::RailUnsupported => self.rails.unsupported(),
            refusal => Error::Refused(refusal),
        })
    }

    fn seal(&self, table: &'static str, column: &'static str, row: &str, plain: &str) -> Vec<u8> {
        let place = Place { module: "qwallet", table, column, row };
        self.sealer.seal(place, plain.as_bytes(), &self.env)
    }

    fn unseal(
        &self,
        table: &'static str,
        column: &'static str,
        row: &str,
        sealed: Option<&[u8]>,
    ) -> Result<Option<String>, Error> {
        let place = Place { module: "qwallet", table, column, row };
        Ok(sealed.map(|sealed| self.sealer.open_text(place, sealed)).transpose()?)
    }
}

/// The request of `caller` as it is stored.
fn request_of(caller: &str, key: Option<&RequestKey>) -> Option<Request> {
    key.map(|key| Request::of(caller, key))
}

/// A commit that never ran: the executor answered with something the command cannot have.
const fn unexpected() -> Error {
    Error::Executor(Fault::Storage(DbError::Aborted))
}
