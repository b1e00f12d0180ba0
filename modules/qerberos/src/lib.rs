//! qerberos: the audit trail of an instance as a transparency log.
//!
//! Events come from the other modules, written in the commit they describe, or over HTTP. Each becomes a leaf that
//! commits to its salted sections ([`domain::commitment`]); the sections are sealed beside it ([`domain::record`]).
//! The head of the tree is signed within a second, and anybody can check with programs that are not ours that an
//! event is in the trail, that nothing before it was changed, and that no producer's event is missing.
//!
//! **Invariant:** leaves and tiles only ever grow; nothing that was signed is signed differently.

pub mod domain;
mod error;
mod http;
mod service;
mod store;
mod verify;

use std::{path::PathBuf, sync::Arc};

use futures_util::future::BoxFuture;
use q_bus::{ReactError, Subscription};
use q_core::Span;
use q_db::{Db, DbError};
use q_http::{Api, Check, IsOperator};
use q_runtime::{Finding, Ground, Job, Module, Peers, Setting};
use q_seal::Sealer;

pub use error::Error;
pub use service::{
    Recorded, RolledBack, Trail,
    trail::{OpenError, TrailOptions},
};
pub use store::MIGRATIONS;

/// The settings of this module.
pub const SETTINGS: &[Setting] = &[Setting {
    key: "checkpoint_file",
    default: "",
    about: "where the newest published checkpoint is kept outside the store, so that an old backup is recognised; \
            beside the instance's secrets when not said",
}];

/// How often it is looked whether leaves wait for a signature: checkpoints follow new leaves within a second.
const PUBLISH_EVERY: Span = Span::millis(500);

/// How often it is looked whether a store turned out older than the trail, and how long that module may take to hear it.
const STOP_EVERY: Span = Span::seconds(2);
const STOP_PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);

/// What the module is handed besides its ground.
pub struct Handles {
    /// Seals records and the log's keys: `qlock_api::sealer::open` on this module's store.
    pub sealer: Sealer,
    /// Knows the operators of the instance.
    pub is_operator: IsOperator,
    /// Where the newest published checkpoint is kept, unless the settings say otherwise. Not inside the data folder:
    /// a backup of that folder must not bring back an old checkpoint.
    pub checkpoint_file: Option<PathBuf>,
    /// The backup that an operator has put this store back from: the log goes on under a new name.
    pub restored: Option<String>,
}

/// The module.
pub struct Qerberos {
    trail: Arc<Trail>,
    desk: Arc<http::Desk>,
    peers: Peers,
}

/// Opens the trail on its ground.
pub async fn open(ground: Ground, handles: Handles) -> Result<Arc<Qerberos>, OpenError> {
    let origin = ground.instance.origin.trim_end_matches('/').to_owned();
    let host = origin.split_once("://").map_or(origin.as_str(), |(_, host)| host).to_owned();
    let configured = ground.settings.optional("checkpoint_file").map(PathBuf::from);
    let options = TrailOptions {
        host,
        sealer: handles.sealer,
        checkpoint_file: configured.or(handles.checkpoint_file),
        restored: handles.restored,
    };
    let peers = ground.peers;
    let trail = Trail::open(ground.db, ground.env, options).await?;
    let log_url = format!("{origin}/qerberos/log");
    let desk = Arc::new(http::Desk { trail: trail.clone(), is_operator: handles.is_operator, log_url });
    Ok(Arc::new(Qerberos { trail, desk, peers }))
}

impl Qerberos {
    /// The trail itself, for code of the same process.
    pub fn trail(&self) -> &Arc<Trail> {
        &self.trail
    }
}

impl Module for Qerberos {
    fn name(&self) -> &'static str {
        "qerberos"
    }

    fn api(&self) -> Api {
        http::api(self.desk.clone())
    }

    fn db(&self) -> &Db {
        self.trail.db()
    }

    fn subscriptions(&self) -> Vec<Subscription> {
        let trail = self.trail.clone();
        vec![Subscription::audit(move |batch| {
            let trail = trail.clone();
            async move {
                match trail.ingest(batch).await {
                    Ok(()) => Ok(()),
                    Err(Error::Db(error)) => Err(ReactError::from(error)),
                    Err(other) => Err(ReactError::retry(other)),
                }
            }
        })]
    }

    fn jobs(&self) -> Vec<Job> {
        let trail = self.trail.clone();
        let publish = Job::every("publish-checkpoint", PUBLISH_EVERY, move || {
            let trail = trail.clone();
            async move {
                match trail.publish().await {
                    // Said once when the store was opened, and shown by health; not twice a second.
                    Ok(_) | Err(Error::RollbackDetected) => Ok(()),
                    Err(error) => Err(error.to_string()),
                }
            }
        });
        let (trail, peers) = (self.trail.clone(), self.peers.clone());
        let stop = Job::every("stop-older-stores", STOP_EVERY, move || {
            let (trail, peers) = (trail.clone(), peers.clone());
            async move { stop_older_stores(&trail, &peers).await }
        });
        vec![publish, stop]
    }

    /// The last rows of a stop are under a signed checkpoint before the store closes.
    fn settle(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async {
            match self.trail.publish().await {
                Ok(_) | Err(Error::RollbackDetected) => Ok(()),
                Err(error) => Err(error.to_string()),
            }
        })
    }

    fn checks(&self) -> Vec<Check> {
        let trail = self.trail.clone();
        let log = Check::optional("log", move || {
            let trail = trail.clone();
            async move {
                if trail.is_rolled_back() {
                    return Err(
                        "rollback_detected: the store is older than the newest published checkpoint".into()
                    );
                }
                match trail.gaps().await {
                    Ok(report) => missing(&report),
                    Err(error) => Err(error.to_string()),
                }
            }
        });
        // Who reads is told by squid's tokens, who may read everything by qonsent; the log itself needs neither.
        vec![log, self.peers.check("squid"), self.peers.check("qonsent")]
    }

    fn verify(&self) -> BoxFuture<'_, Result<Vec<Finding>, DbError>> {
        Box::pin(self.trail.verify())
    }
}

/// Has modules stop writing whose stores turned out older than the trail: what they would write now takes numbers that
/// the trail has given to something else. Each is told once; whoever lets it write again has looked.
async fn stop_older_stores(trail: &Trail, peers: &Peers) -> Result<(), String> {
    for (producer, head) in trail.rolled_back_to_tell() {
        let reason = format!("the store is older than the audit trail: it ends at audit row {head}");
        let order = serde_json::json!({"mode": "write-stopped", "reason": reason}).to_string();
        let client = peers.client(&producer).within(STOP_PATIENCE);
        let answer = client.send("POST", "/mode", order.into(), "application/json").await;
        let answer = answer.map_err(|error| format!("{producer} is not told to stop writing: {error}"))?;
        if !answer.status().is_success() {
            return Err(format!("{producer} does not stop writing: it answered {}", answer.status()));
        }
        trail.told(&producer);
    }
    Ok(())
}

/// What is missing, as one line.
fn missing(report: &qerberos_api::GapReport) -> Result<(), String> {
    let of = |producer: &qerberos_api::ProducerState| {
        if let Some(head) = producer.rolled_back_to {
            return Some(format!("{}: its store was rolled back to event {head}", producer.producer));
        }
        let count: u64 = producer.missing.iter().map(|gap| gap.to - gap.from + 1).sum();
        (count + producer.conflicts > 0)
            .then(|| format!("{}: {count} missing, {} in conflict", producer.producer, producer.conflicts))
    };
    let lines: Vec<String> = report.producers.iter().filter_map(of).collect();
    if lines.is_empty() { Ok(()) } else { Err(lines.join("; ")) }
}
