//! This process among those that share a store: it beats, and knows whether it leads.

use std::{sync::Arc, time::Duration};

use q_core::{Env, hash::hex};
use q_db::{Db, DbError, Replica, Standing};
use tokio::{sync::watch, task::JoinHandle, time::error::Elapsed};

/// The pause between two beats: a third of the time after which others take this process for gone.
const BEAT_EVERY: Duration = Duration::from_secs(1);
/// How long a beat may take before another one is tried. That it hangs ends no leadership in time; for this
/// [`Replica::leads_until`] is there.
const BEAT_MAX: Duration = Duration::from_millis(1_500);

/// A store that other processes may share.
pub(crate) struct Shared {
    db: Db,
    standing: Arc<watch::Sender<Standing>>,
}

/// The beats of a process.
pub(crate) struct Beating(pub Vec<(watch::Sender<bool>, JoinHandle<()>)>);

impl Shared {
    pub fn new(db: Db) -> Self {
        // Where a store cannot be shared there is nothing to find out.
        let standing = if db.can_be_shared() { Standing::UNKNOWN } else { Standing::ALONE };
        Self { db, standing: Arc::new(watch::Sender::new(standing)) }
    }

    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    /// Beats in a task of its own until told to stop; then leaves.
    pub fn keep_beating(&self) -> Option<(watch::Sender<bool>, JoinHandle<()>)> {
        if !self.db.can_be_shared() {
            return None;
        }
        let (stop, mut stopped) = watch::channel(false);
        let (db, standing) = (self.db.clone(), self.standing.clone());
        let beating = tokio::spawn(async move {
            let mut replica = Replica::new(db.clone(), &hex(&Env::system().random::<8>()));
            loop {
                let now = match beat(&mut replica, &standing).await {
                    Ok(Ok(now)) => now,
                    Ok(Err(error)) => {
                        tracing::debug!(store = db.module(), %error, "no beat");
                        replica.without_store()
                    }
                    Err(_) => {
                        tracing::debug!(store = db.module(), "a beat takes too long");
                        replica.without_store()
                    }
                };
                let was = standing.send_replace(now);
                if was != now {
                    let Standing { is_leader, replicas } = now;
                    tracing::info!(
                        store = db.module(),
                        is_leader,
                        replicas,
                        "the replicas of a store changed"
                    );
                }
                let is_stopping = stopped.wait_for(|is_stopping| *is_stopping);
                if tokio::time::timeout(BEAT_EVERY, is_stopping).await.is_ok() {
                    break;
                }
            }
            standing.send_modify(|standing| standing.is_leader = false);
            // Others notice by themselves when this word does not arrive.
            match tokio::time::timeout(BEAT_MAX, replica.resign()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(store = db.module(), %error, "left without a word"),
                Err(_) => {
                    tracing::debug!(store = db.module(), "left without a word, the store takes too long");
                }
            }
        });
        Some((stop, beating))
    }
}

/// Beats; a process that leads steps down as soon as others may take it for gone, however the beat ends.
async fn beat(
    replica: &mut Replica,
    standing: &watch::Sender<Standing>,
) -> Result<Result<Standing, DbError>, Elapsed> {
    let leads_until = replica.leads_until();
    let beat = tokio::time::timeout(BEAT_MAX, replica.beat());
    tokio::pin!(beat);
    if let Some(end) = leads_until
        && let Ok(outcome) = tokio::time::timeout_at(end, &mut beat).await
    {
        return outcome;
    }
    if leads_until.is_some() {
        standing.send_modify(|standing| standing.is_leader = false);
    }
    beat.await
}

impl Beating {
    /// Leaves the replicas.
    pub async fn stop(self) {
        for (stop, beating) in self.0 {
            stop.send_replace(true);
            let _ = beating.await;
        }
    }
}
