//! The use cases: open the transaction, ask the domain, tell the store, and tell the decision point of this process
//! right after the commit.
//!
//! **Invariant:** signatures are checked and keys looked up before a transaction begins; what may have changed since is
//! judged again inside it.

mod check;
mod grant;
mod proofs;
mod read;
mod register;
mod revoke;
mod told;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use q_core::{Caller, Env, RequestKey};
use q_db::{Answer, Db, DbError, Tx};
use q_pdp::{Change, KeySource, Pdp, Projector, Resource, RevocationHead};
use q_runtime::Ground;
use serde::{Serialize, de::DeserializeOwned};

use crate::{Error, store::changes};
use told::Told;

/// How many changes are read at a time when the decision point is brought up to date.
const CATCH_UP_ROWS: u32 = 500;

/// What answers the endpoints.
pub(crate) struct Service {
    pub(crate) db: Db,
    env: Env,
    /// The resource whose `admin` makes an operator.
    house: Resource,
    pdp: Pdp,
    projector: Projector,
    keys: Arc<dyn KeySource>,
    /// The last epoch whose head was told as an event.
    told_epoch: AtomicU64,
}

impl Service {
    pub(crate) async fn open(ground: Ground, pdp: Pdp, keys: Arc<dyn KeySource>) -> Result<Self, DbError> {
        let service = Self {
            house: Resource::instance(&ground.instance.did),
            projector: Projector::new(pdp.clone(), keys.clone()),
            db: ground.db,
            env: ground.env,
            pdp,
            keys,
            told_epoch: AtomicU64::new(0),
        };
        // So that a restart denies nobody for a while.
        service.catch_up().await?;
        service.told_epoch.store(service.pdp.epoch(), Ordering::Relaxed);
        service.observe().await?;
        Ok(service)
    }

    /// Brings the decision point up to date from the store.
    async fn catch_up(&self) -> Result<(), DbError> {
        loop {
            let after = self.pdp.epoch();
            let page = self.db.read(move |reader| changes::after(reader, after, CATCH_UP_ROWS)).await?;
            for stored in &page {
                let Some(change) = Change::read(&stored.topic, &stored.payload) else {
                    tracing::error!(epoch = stored.epoch, "a change cannot be read; run q verify qonsent");
                    return Ok(());
                };
                // The keys of an issuer cannot be had yet: the subscription will bring this change again.
                if let Err(error) = self.projector.take_in(change).await {
                    tracing::info!(%error, "permissions will be complete when squid answers");
                    return Ok(());
                }
            }
            if page.is_empty() || self.pdp.epoch() == after {
                return Ok(());
            }
        }
    }

    /// Compares the decision point of this process with the store: its proof of being current.
    async fn observe(&self) -> Result<RevocationHead, DbError> {
        let at = self.env.now();
        let head = self.db.read(changes::head).await?;
        let head = RevocationHead { epoch: head.epoch, digest: head.digest, at };
        self.pdp.observe(&head);
        Ok(head)
    }

    /// The heartbeat. The decision point of this process hears it each time, modules elsewhere when they ask for
    /// changes; an event is written only when there is news, because an outbox keeps what is written to it and a day
    /// has 17,280 heartbeats.
    pub(crate) async fn heartbeat(&self) -> Result<(), DbError> {
        let head = self.observe().await?;
        if self.told_epoch.swap(head.epoch, Ordering::Relaxed) != head.epoch {
            self.db.write(move |tx| tx.emit(&head)).await?;
        }
        Ok(())
    }

    /// Whether the decision point of this process is complete and current.
    pub(crate) fn check_projection(&self) -> Result<(), String> {
        self.pdp.check_current(self.env.now())
    }

    /// Makes a change of the order, once for each key.
    async fn change<T>(
        &self,
        key: Option<&RequestKey>,
        mut body: impl FnMut(&mut Tx<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Result<Answer<T>, Error>
    where
        T: Serialize + DeserializeOwned + Send + 'static,
    {
        let key = key.cloned();
        let write = move |tx: &mut Tx<'_>| {
            changes::lock(tx)?;
            tx.once(key.as_ref(), &mut body)
        };
        self.db.write_locked(write).await
    }

    /// Lets the decision point of this process take in what was just committed.
    async fn tell(&self, told: &Told) {
        let changes = told.take();
        let last = changes.last().map_or(0, Change::epoch);
        for change in changes {
            // Failing is no loss: the event brings the change again.
            if let Err(error) = self.projector.take_in(change).await {
                tracing::warn!(%error, "a change will count when its event is delivered");
            }
        }
        // Somebody who committed just before may not have come this far: what they committed is in the store.
        let caught_up = if self.pdp.epoch() < last { self.catch_up().await } else { Ok(()) };
        let compared = match caught_up {
            Ok(()) => self.observe().await.map(|_| ()),
            Err(error) => Err(error),
        };
        if let Err(error) = compared {
            tracing::warn!(%error, "the decision point could not be compared with the store");
        }
    }

    /// Whether the caller administers the instance.
    fn is_operator(&self, caller: &Caller) -> bool {
        caller
            .did()
            .is_some_and(|did| self.pdp.check(did, "admin", self.house.as_str(), self.env.now()).is_allowed())
    }
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").field("pdp", &self.pdp).finish_non_exhaustive()
    }
}
