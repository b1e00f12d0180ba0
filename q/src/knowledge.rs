//! What every module of a process knows without asking: signing keys, identities' keys, revocations, permissions.
//!
//! Kept in memory, fed by squid's and qonsent's events from the first one at each start, so that a check
//! needs no call.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use q_auth::{Authenticator, Expected, KeyDirectory, Revocations};
use q_bus::{Bus, ReactError, Subscription};
use q_contract::Client;
use q_core::{Did, Env};
use q_pdp::{Pdp, Projector};
use q_runtime::{Directory, House, Instance};
use squid::remote::Remote;

/// How often the signing keys are fetched when no token asked for a new one.
const KEYS_EVERY: Duration = Duration::from_mins(5);
/// The shortest pause between two fetches, so that bad tokens cannot make a storm.
const KEYS_PAUSE: Duration = Duration::from_secs(1);

/// How often a process without qonsent asks it for changes: well before permissions narrow for want of a proof that
/// they are current.
const PERMISSIONS_EVERY: Duration = Duration::from_secs(5);

/// The name under which the process itself listens to the bus.
const PROCESS: &str = "process";
/// How often it is looked whether squid is heard.
const HEARD_EVERY: Duration = Duration::from_secs(1);
/// Without hearing squid for this long nobody's token is believed any more: permissions deny after the same time.
const UNHEARD_MAX: Duration = Duration::from_mins(5);
/// How long a start may be held up by what happened before it and is not known yet.
const CATCH_UP_MAX: Duration = Duration::from_secs(10);

/// The shared knowledge of one process.
pub struct Knowledge {
    /// Checks credentials.
    pub authenticator: Arc<Authenticator>,
    /// Knows the keys of identities.
    pub keys: KeyDirectory,
    /// Decides permissions.
    pub pdp: Pdp,
    squid: Arc<Remote>,
}

impl Knowledge {
    /// Nothing known yet; `qonsent` is the identity of the permissions' authority.
    /// `as_module` calls squid as one of the modules of this process.
    pub fn new(
        env: &Env,
        instance: &Instance,
        directory: &Directory,
        as_module: Client,
        qonsent: &Did,
    ) -> Self {
        let revocations = Arc::new(Revocations::new());
        let expected = Expected { issuer: instance.origin.clone(), audience: instance.origin.clone() };
        let squid = Arc::new(Remote { public: Client::new(directory.transport("squid")), as_module });
        Self {
            authenticator: Arc::new(Authenticator::new(env.clone(), expected, revocations.clone())),
            keys: KeyDirectory::new(env.clone(), squid.clone(), revocations),
            pdp: Pdp::new(qonsent.clone(), env.now()),
            squid,
        }
    }

    /// Fetches the signing keys once, so that the first token is not refused; later fetches follow.
    pub async fn prime(&self) {
        if let Err(error) = self.authenticator.refresh(&*self.squid).await {
            tracing::warn!(%error, "no signing keys yet");
        }
    }

    /// Keeps the knowledge current while `house` runs.
    pub fn follow(&self, house: &mut House) {
        let Some(store) = house.beams().first().map(|beam| beam.module.db().clone()) else { return };
        let projector = Projector::new(self.pdp.clone(), Arc::new(self.keys.clone()));
        let (revocations, keys) = (self.authenticator.revocations().clone(), self.keys.clone());
        let of_squid = {
            let projector = projector.clone();
            Subscription::replayed("squid", &["q.squid."], move |event| {
                revocations.hear(&event);
                keys.hear(&event);
                let projector = projector.clone();
                async move { projector.react(&event).await.map_err(ReactError::retry) }
            })
        };
        let (producer, topics) = Projector::QONSENT;
        let of_qonsent = Subscription::replayed(producer, topics, move |event| {
            let projector = projector.clone();
            async move { projector.react(&event).await.map_err(ReactError::retry) }
        });
        // A replayed subscription keeps no cursor; the store only names where one would be.
        house.bus().subscribe(PROCESS, store.clone(), of_squid);
        house.bus().subscribe(PROCESS, store, of_qonsent);
        let (authenticator, squid) = (self.authenticator.clone(), self.squid.clone());
        house.beside(async move {
            loop {
                let _ = tokio::time::timeout(KEYS_EVERY, authenticator.keys_wanted()).await;
                if let Err(error) = authenticator.refresh(&*squid).await {
                    tracing::warn!(%error, "the signing keys could not be fetched");
                }
                tokio::time::sleep(KEYS_PAUSE).await;
            }
        });
    }

    /// Keeps asking a qonsent in another process whether anything was missed: the heartbeat without which a process
    /// would allow less and less, because silence proves nothing.
    pub fn ask(&self, house: &mut House, qonsent: Client) {
        let projector = Projector::new(self.pdp.clone(), Arc::new(self.keys.clone()));
        house.beside(async move {
            let mut has_failed = false;
            loop {
                let asked = qonsent_api::catch_up(&qonsent, &projector).await;
                if let Err(error) = &asked
                    && !has_failed
                {
                    tracing::warn!(%error, "qonsent cannot be asked whether the permissions here are current");
                }
                has_failed = asked.is_err();
                tokio::time::sleep(PERMISSIONS_EVERY).await;
            }
        });
    }
}

/// Waits until every revocation and grant of the past is known to the running `house`, so that the first request
/// is judged by all of them. When squid or qonsent is away, the house goes on without being ready, and believes nobody's
/// token until they are heard; and so again when squid was not heard for too long.
pub async fn caught_up(house: &mut House, is_waited_for: bool) {
    let informed = house.informed();
    informed.store(false, Ordering::Relaxed);
    let bus = house.bus().clone();
    let hearing = {
        let bus = bus.clone();
        async move { bus.caught_up(PROCESS).await }
    };
    let mut hearing = Box::pin(hearing);
    let has_heard = is_waited_for && tokio::time::timeout(CATCH_UP_MAX, &mut hearing).await.is_ok();
    if has_heard {
        informed.store(true, Ordering::Relaxed);
    } else if is_waited_for {
        tracing::warn!(
            "not all revocations and permissions are known yet: not ready; is squid or qonsent away?"
        );
    }
    house.beside(async move {
        if !has_heard {
            hearing.await;
            informed.store(true, Ordering::Relaxed);
        }
        keep_informed(&bus, &informed).await;
    });
}

/// Watches how long squid has not been heard. Silence of one that is heard means that nothing was revoked; of one that
/// is not, it proves nothing.
async fn keep_informed(bus: &Bus, informed: &AtomicBool) {
    let mut heard_at = Instant::now();
    loop {
        tokio::time::sleep(HEARD_EVERY).await;
        let is_heard = bus.lags_of(PROCESS).iter().all(|way| way.producer != "squid" || way.is_connected);
        if is_heard {
            heard_at = Instant::now();
        }
        let is_fresh = heard_at.elapsed() < UNHEARD_MAX;
        if informed.swap(is_fresh, Ordering::Relaxed) != is_fresh {
            tracing::warn!(is_fresh, "whether it is known here what squid revoked has changed");
        }
    }
}
