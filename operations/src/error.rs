//! What can go wrong at the desk, and its one mapping to codes.

use q_contract::{Problem, codes};
use q_db::DbError;
use q_notify::NotUsable;
use q_ops_api::{
    incidents::{INCIDENT_INVALID, INCIDENT_NOT_FOUND, INCIDENT_RESOLVED},
    maintenance::{
        APPROVAL_REFUSED, MAINTENANCE_CONFLICT, MAINTENANCE_INVALID, MAINTENANCE_NOT_FOUND,
        MAINTENANCE_OVERLAPS, ROLLBACK_PLAN_REQUIRED,
    },
    reports::REPORT_NOT_FOUND,
    status::{SUBSCRIBER_EXISTS, SUBSCRIBER_INVALID, SUBSCRIBER_NOT_FOUND},
    watch::{ALERT_NOT_FOUND, ALERT_NOTE_INVALID, ALERT_RESOLVED},
};

use crate::{
    incidents::domain::Refusal,
    maintenance::{Unapproved, domain::Refusal as WindowRefusal},
    watch::NotWatchable,
};

/// The desk cannot start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The store failed.
    #[error("the store failed")]
    Db(#[from] DbError),
    /// The key that seals addresses cannot be read or made.
    #[error("the key ops.seal in the key folder cannot be used")]
    SealKey(#[source] std::io::Error),
    /// A setting of the watch makes no sense.
    #[error(transparent)]
    Watch(#[from] NotWatchable),
    /// People cannot be reached like this.
    #[error(transparent)]
    Notify(#[from] NotUsable),
}

/// Why the desk does not do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The store failed.
    #[error("the store failed")]
    Db(#[from] DbError),
    /// The cursor is of no list.
    #[error("the cursor is not one of this list")]
    Cursor,
    /// No such incident.
    #[error("there is no such incident")]
    IncidentNotFound,
    /// Something about an incident is refused.
    #[error(transparent)]
    Incident(#[from] Refusal),
    /// No such window.
    #[error("there is no such window")]
    MaintenanceNotFound,
    /// Something about a window is refused.
    #[error(transparent)]
    Maintenance(#[from] WindowRefusal),
    /// An emergency is not approved.
    #[error(transparent)]
    Unapproved(#[from] Unapproved),
    /// No such subscriber.
    #[error("there is no such subscriber")]
    SubscriberNotFound,
    /// The address is subscribed.
    #[error("the address is subscribed already")]
    SubscriberExists,
    /// The address cannot be told.
    #[error("{0}")]
    Subscriber(String),
    /// No such alert.
    #[error("there is no such alert")]
    AlertNotFound,
    /// The alert has ended.
    #[error("the alert is resolved")]
    AlertResolved,
    /// The note is too long.
    #[error("the note is too long")]
    AlertNote,
    /// No such report.
    #[error("there is no such report")]
    ReportNotFound,
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Db(error) => q_http::storage_problem(&error),
            Error::Cursor => Self::new(&codes::INVALID_REQUEST).detail("the cursor is not one of this list"),
            Error::IncidentNotFound => Self::new(&INCIDENT_NOT_FOUND).hint("`q incident list` shows them"),
            Error::Incident(Refusal::Resolved) => {
                Self::new(&INCIDENT_RESOLVED).hint("add a note to it, or open a new incident")
            }
            Error::Incident(refusal) => Self::new(&INCIDENT_INVALID).detail(refusal.to_string()),
            Error::MaintenanceNotFound => {
                Self::new(&MAINTENANCE_NOT_FOUND).hint("`q maintenance list` shows them")
            }
            Error::Maintenance(refusal @ WindowRefusal::Plan) => Self::new(&ROLLBACK_PLAN_REQUIRED)
                .detail(refusal.to_string())
                .hint("say how to go back: --rollback-plan TEXT, or @FILE"),
            Error::Maintenance(refusal @ WindowRefusal::Overlaps(..)) => Self::new(&MAINTENANCE_OVERLAPS)
                .detail(refusal.to_string())
                .hint("plan another time, or cancel the other window"),
            Error::Maintenance(refusal @ WindowRefusal::NotNow(..)) => {
                Self::new(&MAINTENANCE_CONFLICT).detail(refusal.to_string())
            }
            Error::Maintenance(refusal) => Self::new(&MAINTENANCE_INVALID).detail(refusal.to_string()),
            Error::Unapproved(refusal) => Self::new(&APPROVAL_REFUSED).detail(refusal.to_string()),
            Error::SubscriberNotFound => Self::new(&SUBSCRIBER_NOT_FOUND),
            Error::SubscriberExists => Self::new(&SUBSCRIBER_EXISTS),
            Error::Subscriber(why) => Self::new(&SUBSCRIBER_INVALID).detail(why),
            Error::AlertNotFound => Self::new(&ALERT_NOT_FOUND).hint("`q alerts list` shows them"),
            Error::AlertResolved => Self::new(&ALERT_RESOLVED).hint("`q alerts list` shows what is open"),
            Error::AlertNote => Self::new(&ALERT_NOTE_INVALID),
            Error::ReportNotFound => Self::new(&REPORT_NOT_FOUND).hint("`q report list` shows them"),
        }
    }
}
