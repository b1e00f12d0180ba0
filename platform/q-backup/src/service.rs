//! Backups without anybody asking: a whole one at the start and then regularly, changes every few seconds.

use std::{sync::Arc, time::Duration};

use q_core::Env;
use q_db::Db;
use tokio::{
    sync::{Mutex, Notify, watch},
    task::JoinSet,
};

use crate::{
    Error, Keep,
    chunks::IsWanted,
    create,
    place::{Place, Source},
    retention,
    shipping::{Shipped, Shipper},
};

/// When a backup failed, the next attempt comes after this, or at its time if that is earlier.
const AFTER_FAILURE: Duration = Duration::from_mins(1);

/// How often what is done.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    /// The pause between two whole backups.
    pub every: Duration,
    /// The pause between two cuts.
    pub ship_every: Duration,
    /// Which backups are kept.
    pub keep: Keep,
}

/// The backups of a process, as long as it runs.
pub struct Service {
    shipper: Arc<Mutex<Option<Shipper>>>,
    tasks: JoinSet<()>,
    stop: watch::Sender<bool>,
}

impl Service {
    /// Starts: `source` is the whole instance, `stores` are those that this process has open.
    pub async fn start(
        source: Source,
        place: Place,
        schedule: Schedule,
        stores: &[Db],
        env: &Env,
    ) -> Result<Self, Error> {
        let shipper = Arc::new(Mutex::new(Some(Shipper::begin(&source, &place, stores, env).await?)));
        let (stop, mut tasks) = (watch::Sender::new(false), JoinSet::new());
        let wanted = Arc::new(Notify::new());
        tasks.spawn(ship(shipper.clone(), schedule.ship_every, wanted.clone(), stop.subscribe()));
        tasks.spawn(back_up(source, place, schedule, env.clone(), wanted, stop.subscribe()));
        Ok(Self { shipper, tasks, stop })
    }

    /// Ends: gives a whole backup up that is being made, because clients may wait for the stores, and ships what is
    /// left. Called when the stores are closed, so that nothing is written afterwards.
    pub async fn finish(mut self) {
        self.stop.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
        let Some(shipper) = self.shipper.lock().await.take() else { return };
        if let Err(error) = shipper.finish().await {
            tracing::error!(%error, "the last changes could not be shipped: the newest state is on this machine only");
        }
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>, at_most: Duration) -> bool {
    tokio::time::timeout(at_most, stop.wait_for(|is_stopping| *is_stopping)).await.is_ok()
}

async fn ship(
    shipper: Arc<Mutex<Option<Shipper>>>,
    every: Duration,
    whole_wanted: Arc<Notify>,
    mut stop: watch::Receiver<bool>,
) {
    let Some(wanted) = shipper.lock().await.as_ref().map(Shipper::wanted) else { return };
    let mut wanted = Box::pin(wanted);
    let mut has_failed = false;
    loop {
        tokio::select! {
            is_stopping = stopped(&mut stop, every) => if is_stopping { return },
            () = &mut wanted => {}
        }
        let mut shipper = shipper.lock().await;
        let Some(shipper) = shipper.as_mut() else { return };
        let shipped = shipper.ship().await;
        wanted = Box::pin(shipper.wanted());
        match &shipped {
            Ok(Shipped::Torn) => {
                tracing::warn!("changes were lost before they could be shipped: a whole backup follows");
                whole_wanted.notify_one();
            }
            Err(error) if !has_failed => {
                tracing::error!(%error, "changes cannot be shipped; they are kept and tried again");
            }
            _ => {}
        }
        has_failed = shipped.is_err();
    }
}

async fn back_up(
    source: Source,
    place: Place,
    schedule: Schedule,
    env: Env,
    wanted: Arc<Notify>,
    mut stop: watch::Receiver<bool>,
) {
    // The first one at once: what is shipped needs one to follow.
    let mut pause = Duration::ZERO;
    loop {
        tokio::select! {
            is_stopping = stopped(&mut stop, pause) => if is_stopping { return },
            () = wanted.notified() => {}
        }
        let (source, place, env) = (source.clone(), place.clone(), env.clone());
        let stopping = stop.clone();
        let making = move || once(&|| !*stopping.borrow(), &source, &place, schedule.keep, &env);
        let done = tokio::task::spawn_blocking(making).await;
        pause = match done {
            Ok(Ok(())) => schedule.every,
            // Another process makes one.
            Ok(Err(Error::Busy)) => AFTER_FAILURE.min(schedule.every),
            Ok(Err(Error::GivenUp)) => return,
            Ok(Err(error)) => {
                tracing::error!(%error, "the scheduled backup failed; earlier ones are as they were");
                AFTER_FAILURE.min(schedule.every)
            }
            Err(_) => {
                tracing::error!("the scheduled backup panicked");
                AFTER_FAILURE
            }
        };
    }
}

fn once(is_wanted: IsWanted<'_>, source: &Source, place: &Place, keep: Keep, env: &Env) -> Result<(), Error> {
    let made = create::create_while(is_wanted, source, place, env)?;
    tracing::info!(
        id = made.id,
        bytes = made.bytes,
        written = made.written,
        ms = made.took_ms,
        "a backup was made"
    );
    let trust = place.signer.trust()?;
    match retention::prune(&source.data, &place.target, &trust, keep, env.now(), false) {
        Ok(pruned) => {
            for (id, why) in &pruned.refused {
                tracing::warn!(
                    id,
                    why,
                    "in the target lies a backup that this instance did not make, or not so"
                );
            }
        }
        Err(Error::Busy) => {}
        // The backup is made: another one a minute later would not mend it.
        Err(error) => tracing::error!(%error, "old backups could not be removed; the new one is whole"),
    }
    Ok(())
}
