//! Objectives, alerts and who is told: every module is looked at every few seconds, what is wrong is decided by rules,
//! and people hear of it one level after the other until somebody takes it.
//!
//! Everything that is known is in the store: who watches, what was counted, what stands where, what is to be told. A
//! process that starts goes on where the one before it stopped; of several, one watches at a time (`watch_lease`).
//!
//! **Invariant:** alerts are decided by q-slo alone; this room scrapes, keeps and tells. What was decided is told, at
//! least once, under an id that makes a second time recognisable.

mod config;
pub mod domain;
mod figures;
mod message;
mod readings;
mod round;
mod scrape;
mod service;
mod store;
mod tell;
mod verify;

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use q_core::{Env, Span, Timestamp};
use q_http::ApiBuilder;
use q_notify::Notifier;
use q_ops_api::watch::{AcknowledgeAlert, GetAlert, GetSlo, ListAlerts, ResolveAlert};
use q_runtime::{Job, Setting, Settings};

pub use config::{Config, NotWatchable, Way, judge};
use round::Memory;

use crate::Desk;

/// The alerts that fire now and that people would be told of, oldest first: for the timeline of an incident.
pub(crate) fn standing_alerts(
    reader: &mut q_db::Reader<'_>,
) -> Result<Vec<q_ops_api::watch::Alert>, q_db::DbError> {
    let mut alerts = store::list_alerts(reader, false, None)?;
    alerts.retain(|alert| alert.quiet.is_none());
    alerts.reverse();
    Ok(alerts)
}

/// The settings of the watch.
pub const SETTINGS: [Setting; 14] = [
    Setting {
        key: "watch_every",
        default: "5s",
        about: "The pause between two looks at every module, at most 30s.",
    },
    Setting {
        key: "rules",
        default: "",
        about: "Alert rules that differ from the defaults, such as error_rate 2% for 10m; memory off. `q slo --rules` \
                lists them.",
    },
    Setting {
        key: "route_classes",
        default: "payment=POST /payments*; payment=POST /pay; read=GET *; write=* *",
        about: "Which requests share a promise; the first that fits counts.",
    },
    Setting {
        key: "level_1",
        default: "recover",
        about: "What happens at once: recover (tasks, connections, load), and channels: webhook URL; email ADDRESS; \
                command /PATH ARGUMENTS.",
    },
    Setting {
        key: "level_2",
        default: "",
        about: "How the on-call engineer is told: channels as in level_1.",
    },
    Setting { key: "level_2_after", default: "2m", about: "How long after the page was opened." },
    Setting { key: "level_2_repeat", default: "15m", about: "The pause before being told again, or never." },
    Setting { key: "level_3", default: "", about: "How the team lead is told." },
    Setting { key: "level_3_after", default: "15m", about: "How long after the page was opened." },
    Setting { key: "level_3_repeat", default: "15m", about: "The pause before being told again, or never." },
    Setting { key: "level_4", default: "", about: "How management is told." },
    Setting { key: "level_4_after", default: "30m", about: "How long after the page was opened." },
    Setting { key: "level_4_repeat", default: "30m", about: "The pause before being told again, or never." },
    Setting {
        key: "verify_every",
        default: "24h",
        about: "The pause between two verifications of everything a module keeps; the first is soon after a start. Or \
                never.",
    },
];

/// How often somebody looks whether something is to be told.
const TELL_EVERY: Span = Span::seconds(1);
/// How often somebody looks whether a verification is due; each time one module is verified.
const VERIFY_EVERY: Span = Span::seconds(5);

/// What the watch remembers beside its store.
pub(crate) struct Watch {
    config: Config,
    /// Which process this is, for the turn.
    holder: String,
    memory: tokio::sync::Mutex<Memory>,
    is_leaving: AtomicBool,
    started_at: Timestamp,
    began: tokio::time::Instant,
    figures: figures::Figures,
}

impl Watch {
    /// The watch as `settings` say.
    pub(crate) fn open(settings: &Settings, notifier: &Notifier, env: &Env) -> Result<Self, NotWatchable> {
        let config = Config::read(settings, notifier)?;
        Ok(Self {
            config,
            holder: q_core::hash::hex(&env.random::<8>()),
            memory: tokio::sync::Mutex::default(),
            is_leaving: AtomicBool::new(false),
            started_at: env.now(),
            began: tokio::time::Instant::now(),
            figures: figures::Figures::default(),
        })
    }

    /// The time since the watch began, by no clock that anybody sets.
    fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }
}

/// The endpoints of this room.
pub(crate) fn routes(api: ApiBuilder<Desk>) -> ApiBuilder<Desk> {
    api.on::<ListAlerts, _, _, _>(|desk, _, request| async move { desk.list_alerts(request).await })
        .on::<GetAlert, _, _, _>(|desk, _, request| async move { desk.alert(request.id).await })
        .on::<AcknowledgeAlert, _, _, _>(|desk, context, request| async move {
            desk.acknowledge_alert(context, request).await
        })
        .on::<ResolveAlert, _, _, _>(|desk, context, request| async move {
            desk.resolve_alert(context, request).await
        })
        .on::<GetSlo, _, _, _>(|desk, _, request| async move { desk.slo(request).await })
}

/// Puts what the watch knows beside the desk's other metrics.
pub(crate) fn metrics(desk: &Desk, registry: &mut prometheus_client::registry::Registry) {
    desk.watch.figures.register(registry);
}

/// The regular work of this room.
pub(crate) fn jobs(desk: &Arc<Desk>) -> Vec<Job> {
    if !desk.watch.config.tells_somebody() {
        tracing::warn!("nobody is told when something is wrong: set ops.level_2, level_3 and level_4");
    }
    let every = desk.watch.config.every;
    let (look, tell, verify) = (desk.clone(), desk.clone(), desk.clone());
    vec![
        Job::every("watch", every, move || {
            let desk = look.clone();
            async move { desk.watch_once().await.map_err(|error| error.to_string()) }
        }),
        Job::every("tell", TELL_EVERY.min(every), move || {
            let desk = tell.clone();
            async move { desk.tell_all().await.map_err(|error| error.to_string()) }
        }),
        Job::every("verify", VERIFY_EVERY.min(every), move || {
            let desk = verify.clone();
            async move { desk.verify_due().await.map_err(|error| error.to_string()) }
        }),
    ]
}
