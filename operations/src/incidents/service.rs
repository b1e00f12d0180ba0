//! What operators and the house do about incidents.

use std::collections::BTreeMap;

use q_core::{AuditEntry, Caller, Did, Page, Timestamp};
use q_db::{DbError, Tx};
use q_ops_api::incidents::{
    AddEntryRequest, AddToOpenRequest, ChangeIncidentRequest, EntryKind, Impact, Incident, IncidentId,
    IncidentStatus, IncidentWithTimeline, ListIncidentsRequest, Noted, OpenIncidentRequest, Severity,
    TimelineEntry,
};
use serde_json::{Value, json};

use super::{
    domain::{self, AUTOMATIC, DETAILS_BYTES_MAX, Refusal, State},
    review::{clock, review},
    store::{self, NewEntry},
};
use crate::{
    Desk, Error,
    asked::Asked,
    look::{Look, impact},
    status::notices,
    watch,
};

/// What is opened.
#[derive(Debug, Clone)]
pub(crate) struct Opening {
    pub title: String,
    pub severity: Severity,
    pub modules: Vec<String>,
    pub text: Option<String>,
    pub began_at: Option<Timestamp>,
    /// What opened it by itself; while it is open, the same cause opens no other.
    pub cause: Option<String>,
}

impl Desk {
    /// Opens an incident in the name of `caller`.
    pub(crate) async fn open_incident(
        &self,
        asked: Asked,
        request: OpenIncidentRequest,
    ) -> Result<Incident, Error> {
        let now = self.env.now();
        if request.began_at.is_some_and(|began| began > now) {
            return Err(Refusal::Future.into());
        }
        let opening = Opening {
            title: domain::title(&request.title)?,
            severity: request.severity,
            modules: domain::modules(&request.modules, &self.watched)?,
            text: request.text.as_deref().map(domain::text).transpose()?,
            began_at: request.began_at,
            cause: None,
        };
        let looks = self.look_at_all().await;
        let (id, impact) = (IncidentId::new(&self.env), impact(&looks));
        let key = asked.key.clone();
        let open = move |tx: &mut Tx<'_>| open_in(tx, id, &opening, &asked.by, &impact);
        Ok(self.db.write_once(key.as_ref(), open).await?.value)
    }

    /// Opens an incident by itself, unless its cause has an open one already, which is given instead.
    pub(crate) async fn open_by_itself(
        &self,
        opening: Opening,
        looks: &BTreeMap<String, Look>,
    ) -> Result<Incident, Error> {
        let impact = impact(looks);
        let id = IncidentId::new(&self.env);
        self.db
            .write(move |tx| {
                if let Some(cause) = &opening.cause
                    && let Some(open) = store::find_by_cause(tx, cause)?
                {
                    return Ok(open);
                }
                open_in(tx, id, &opening, AUTOMATIC, &impact)
            })
            .await
    }

    /// A page of incidents.
    pub(crate) async fn list_incidents(
        &self,
        request: ListIncidentsRequest,
    ) -> Result<Page<Incident>, Error> {
        let before = request.cursor.as_deref().map(crate::cursor::read).transpose()?;
        let mut items: Vec<Incident> =
            self.db.read(move |reader| store::list(reader, request.open, before)).await?;
        let has_more = items.len() > store::PAGE_ROWS;
        items.truncate(store::PAGE_ROWS);
        let last = items.last().filter(|_| has_more);
        let next_cursor = last.map(|last| crate::cursor::write(last.opened_at, last.id));
        Ok(Page { items, next_cursor })
    }

    /// An incident with its timeline.
    pub(crate) async fn incident(&self, id: IncidentId) -> Result<IncidentWithTimeline, Error> {
        self.db
            .read(move |reader| {
                let incident = store::find(reader, id)?.ok_or(Error::IncidentNotFound)?;
                Ok(IncidentWithTimeline { incident, timeline: store::timeline(reader, id)? })
            })
            .await
    }

    /// The review of an incident.
    pub(crate) async fn review(&self, id: IncidentId) -> Result<String, Error> {
        let IncidentWithTimeline { incident, timeline } = self.incident(id).await?;
        Ok(review(&incident, &timeline, self.env.now()))
    }

    /// Adds what somebody says to a timeline. A resolved incident takes notes: what is learned later belongs to it.
    pub(crate) async fn add_entry(
        &self,
        asked: &Asked,
        request: AddEntryRequest,
    ) -> Result<TimelineEntry, Error> {
        let mut new = checked(request.kind, &asked.by, &request.text, &request.details)?;
        let id = request.id;
        let add = move |tx: &mut Tx<'_>| -> Result<TimelineEntry, Error> {
            let incident = store::find(tx, id)?.ok_or(Error::IncidentNotFound)?;
            if new.kind == EntryKind::Update {
                // What everybody reads beside it.
                new.details = json!({"status": incident.status});
            }
            let entry = store::append(tx, id, &new)?;
            if new.kind == EntryKind::Update {
                tell(tx, &incident, &entry, "Update")?;
            }
            Ok(entry)
        };
        Ok(self.db.write_once(asked.key.as_ref(), add).await?.value)
    }

    /// Adds what a tool did to every open timeline.
    pub(crate) async fn add_to_open(&self, asked: &Asked, request: AddToOpenRequest) -> Result<Noted, Error> {
        if request.kind == EntryKind::Update {
            return Err(Refusal::Kind.into());
        }
        let new = checked(request.kind, &asked.by, &request.text, &request.details)?;
        let note = move |tx: &mut Tx<'_>| note_open_in(tx, &new).map_err(Error::from);
        Ok(self.db.write_once(asked.key.as_ref(), note).await?.value)
    }

    /// Changes status and severity.
    pub(crate) async fn change_incident(
        &self,
        asked: Asked,
        request: ChangeIncidentRequest,
    ) -> Result<Incident, Error> {
        if request.status.is_none() && request.severity.is_none() && request.text.is_none() {
            return Err(Refusal::Nothing.into());
        }
        let said = request.text.as_deref().map(domain::text).transpose()?;
        let looks = impact(&self.look_at_all().await);
        let key = asked.key.clone();
        let change = move |tx: &mut Tx<'_>| -> Result<Incident, Error> {
            let incident = store::find(tx, request.id)?.ok_or(Error::IncidentNotFound)?;
            change_in(tx, incident, &request, said.as_deref(), &asked.by, &looks)
        };
        Ok(self.db.write_once(key.as_ref(), change).await?.value)
    }
}

/// Notes something on every open incident, in a commit of somebody else's.
pub(crate) fn note_open_in(tx: &mut Tx<'_>, new: &NewEntry) -> Result<Noted, DbError> {
    let open = store::open(tx)?;
    for incident in &open {
        store::append(tx, incident.id, new)?;
    }
    Ok(Noted { incidents: open.iter().map(|incident| incident.id).collect() })
}

fn change_in(
    tx: &mut Tx<'_>,
    mut incident: Incident,
    request: &ChangeIncidentRequest,
    said: Option<&str>,
    by: &str,
    looks: &Impact,
) -> Result<Incident, Error> {
    let before = State::kept(incident.status, incident.resolved_at);
    let state = before.change(request.status.unwrap_or(incident.status), tx.now())?;
    let entry = |kind, text: String, details: Value| NewEntry { kind, by: by.to_owned(), text, details };
    if let Some(severity) = request.severity.filter(|severity| *severity != incident.severity) {
        let text = format!(
            "severity {} after {}",
            domain::severity_word(severity),
            domain::severity_word(incident.severity)
        );
        let details = json!({"from": incident.severity, "to": severity});
        incident.severity = severity;
        store::append(tx, incident.id, &entry(EntryKind::Severity, text, details))?;
    }
    incident.impact = looks.clone();
    store::update(tx, &incident, state)?;
    let mut last = None;
    if before.status() == state.status() {
        let text = "looked at the modules".to_owned();
        store::append(tx, incident.id, &entry(EntryKind::Impact, text, json!({"impact": looks})))?;
    } else {
        let details = json!({"from": before.status(), "to": state.status(), "impact": looks});
        let text = domain::status_word(state.status()).to_owned();
        last = Some(store::append(tx, incident.id, &entry(EntryKind::Status, text, details))?);
    }
    (incident.status, incident.resolved_at, incident.updated_at) =
        (state.status(), state.resolved_at(), tx.now());
    if let Some(said) = said {
        let details = json!({"status": state.status()});
        last = Some(store::append(tx, incident.id, &entry(EntryKind::Update, said.to_owned(), details))?);
    }
    if let Some(last) = last {
        tell(tx, &incident, &last, status_title(state.status()))?;
    }
    Ok(incident)
}

/// Opens an incident in a commit of somebody else's.
pub(crate) fn open_in(
    tx: &mut Tx<'_>,
    id: IncidentId,
    opening: &Opening,
    by: &str,
    impact: &Impact,
) -> Result<Incident, Error> {
    let incident = Incident {
        id,
        title: opening.title.clone(),
        severity: opening.severity,
        status: IncidentStatus::Investigating,
        modules: opening.modules.clone(),
        opened_at: tx.now(),
        updated_at: tx.now(),
        resolved_at: None,
        opened_by: by.to_owned(),
        impact: impact.clone(),
    };
    store::insert(tx, &incident, opening.cause.as_deref())?;
    let actor: Option<Did> = by.parse().ok();
    tx.audit(AuditEntry::change("incident.open", actor.as_ref(), id).family("operations"))?;
    let began = opening.began_at.unwrap_or_else(|| tx.now());
    let mut entry = NewEntry {
        kind: EntryKind::Opened,
        by: by.to_owned(),
        text: format!("{}: {}", domain::severity_word(opening.severity), opening.title),
        details: json!({"severity": opening.severity, "beganAt": began, "impact": impact}),
    };
    let mut last = store::append(tx, id, &entry)?;
    if let Some(text) = &opening.text {
        entry.kind = EntryKind::Update;
        entry.text.clone_from(text);
        entry.details = json!({"status": IncidentStatus::Investigating});
        last = store::append(tx, id, &entry)?;
    }
    tell(tx, &incident, &last, "New incident")?;
    standing_alerts(tx, &incident)?;
    Ok(incident)
}

/// Notes the alerts that stood already when an incident about their modules was opened: from them the review knows when
/// the house had noticed.
fn standing_alerts(tx: &mut Tx<'_>, incident: &Incident) -> Result<(), DbError> {
    for alert in watch::standing_alerts(tx)? {
        if !incident.modules.is_empty() && !incident.modules.contains(&alert.module) {
            continue;
        }
        let details = json!({
            "alert": alert.id, "rule": alert.rule, "module": alert.module, "severity": alert.severity,
            "firedAt": alert.fired_at,
        });
        let text = format!("fires since {}: {}", clock(alert.fired_at), alert.summary);
        store::append(tx, incident.id, &automatic(EntryKind::Alert, &text, details))?;
    }
    Ok(())
}

/// An entry that nobody made.
fn automatic(kind: EntryKind, text: &str, details: Value) -> NewEntry {
    NewEntry { kind, by: AUTOMATIC.to_owned(), text: domain::shortened(text), details }
}

/// Notes on every open incident what the house found or did by itself, in a commit of another room.
pub(crate) fn note_in(tx: &mut Tx<'_>, kind: EntryKind, text: &str, details: Value) -> Result<(), DbError> {
    note_open_in(tx, &automatic(kind, text, details))?;
    Ok(())
}

/// Says to the subscribers what `entry` says. The entry's place makes it be said once.
fn tell(tx: &mut Tx<'_>, incident: &Incident, entry: &TimelineEntry, what: &str) -> Result<(), Error> {
    let key = format!("{} {}", incident.id, entry.seq);
    let subject = format!("{what}: {}", incident.title);
    let about = json!({
        "what": "incident",
        "incident": incident.id,
        "title": incident.title,
        "severity": incident.severity,
        "status": incident.status,
        "modules": incident.modules,
        "at": entry.at,
        "text": if entry.kind == EntryKind::Update { entry.text.as_str() } else { "" },
    });
    notices::say(tx, &key, &subject, &about)?;
    Ok(())
}

const fn status_title(status: IncidentStatus) -> &'static str {
    match status {
        IncidentStatus::Investigating => "Investigating",
        IncidentStatus::Identified => "Cause identified",
        IncidentStatus::Monitoring => "Monitoring",
        IncidentStatus::Resolved => "Resolved",
    }
}

fn checked(kind: EntryKind, by: &str, text: &str, details: &Value) -> Result<NewEntry, Refusal> {
    domain::may_be_added(kind)?;
    if serde_json::to_vec(details).is_ok_and(|bytes| bytes.len() > DETAILS_BYTES_MAX) {
        return Err(Refusal::Details);
    }
    Ok(NewEntry { kind, by: by.to_owned(), text: domain::text(text)?, details: details.clone() })
}

/// Who a caller is for a timeline: the DID of a person; a module acts by itself.
pub(crate) fn name_of(caller: &Caller) -> String {
    match caller {
        Caller::Identity(principal) => principal.did.to_string(),
        Caller::Service(..) | Caller::Anonymous => AUTOMATIC.to_owned(),
    }
}
