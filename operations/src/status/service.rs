//! Puts together what everybody may see, from what was kept; asks no module while a reader waits.

use std::{collections::BTreeMap, sync::Arc};

use q_core::{Span, Timestamp};
use q_db::{DbError, Reader};
use q_ops_api::{
    incidents::{EntryKind, Incident, IncidentStatus, Severity, TimelineEntry},
    maintenance::WindowStatus,
    status::{
        DayUptime, PublicIncident, PublicModule, PublicState, PublicStatus, PublicUpdate, PublicWindow,
    },
};
use serde_json::Value;

use super::looks::{self, DAYS, Day};
use crate::{Desk, Error, incidents, look::Look, maintenance};

/// How long a page is repeated: a crowd that reloads asks the store once.
const CACHED_FOR: Span = Span::seconds(5);
/// A look older than this says nothing about now.
const LOOK_VALID_FOR: Span = Span::seconds(120);
/// How far back the history goes.
const HISTORY: Span = Span::seconds(DAYS * 86_400);

/// The page as it was last put together, and what the modules say they are for.
#[derive(Default)]
pub(crate) struct Board {
    page: tokio::sync::Mutex<Option<Arc<PublicStatus>>>,
    abouts: parking_lot::Mutex<BTreeMap<String, String>>,
}

impl Desk {
    /// The state of the instance, at most five seconds old.
    pub(crate) async fn public_status(&self) -> Result<Arc<PublicStatus>, Error> {
        // Whoever asks meanwhile waits for this answer.
        let mut page = self.board.page.lock().await;
        let now = self.env.now();
        if let Some(page) = page.as_ref()
            && now >= page.at
            && now.since(page.at) < CACHED_FOR
        {
            return Ok(page.clone());
        }
        let (watched, abouts) = (self.watched.clone(), self.board.abouts.lock().clone());
        let fresh = self.db.read(move |reader| status(reader, &watched, &abouts, now)).await?;
        Ok(page.insert(Arc::new(fresh)).clone())
    }

    /// Asks modules that have not said it yet what they are for.
    pub(crate) async fn learn_abouts(&self, seen: &BTreeMap<String, Look>) {
        for (module, look) in seen {
            if !look.serves() || self.board.abouts.lock().contains_key(module) {
                continue;
            }
            let client = self.peers.client(module);
            let Ok(answer) = client.send("GET", "/openapi.json", bytes::Bytes::new(), "").await else {
                continue;
            };
            let Ok(document) = serde_json::from_slice::<Value>(answer.body()) else { continue };
            let about = document["info"]["description"].as_str().unwrap_or_default();
            let sentence = about.lines().next().unwrap_or_default().trim_end_matches('.').to_owned();
            self.board.abouts.lock().insert(module.clone(), sentence);
        }
    }
}

fn status(
    reader: &mut Reader<'_>,
    watched: &[String],
    abouts: &BTreeMap<String, String>,
    now: Timestamp,
) -> Result<PublicStatus, Error> {
    let held = maintenance::store::held_modules(reader)?;
    let open = incidents::store::open(reader)?;
    let mut modules = Vec::with_capacity(watched.len());
    for name in watched {
        let look = looks::find(reader, name)?;
        let days = days(reader, name, now)?;
        let counted = days.iter().filter_map(|(_, day)| *day);
        modules.push(PublicModule {
            name: name.clone(),
            about: abouts.get(name).cloned().unwrap_or_default(),
            state: state_of(look.as_ref(), held.holds(name), now).max(said_of(name, &open)),
            uptime_basis_points: share(counted),
            days: days
                .iter()
                .map(|(day, counted)| DayUptime {
                    date: date(*day),
                    uptime_basis_points: share(counted.iter().copied()),
                })
                .collect(),
        });
    }
    let since = now - HISTORY;
    let mut status = PublicStatus {
        state: modules.iter().map(|module| module.state).max().unwrap_or(PublicState::Unknown),
        at: now,
        modules,
        incidents: public_incidents(reader, open)?,
        maintenance: maintenance::store::open(reader)?.into_iter().map(public_window).collect(),
        past_incidents: Vec::new(),
        past_maintenance: maintenance::store::over_since(reader, since)?
            .into_iter()
            .map(public_window)
            .collect(),
    };
    status.incidents.reverse();
    let past = incidents::store::resolved_since(reader, since)?;
    status.past_incidents = public_incidents(reader, past)?;
    Ok(status)
}

/// How a module is, from the newest look; planned maintenance explains whatever else it shows.
fn state_of(look: Option<&looks::Kept>, is_held: bool, now: Timestamp) -> PublicState {
    if is_held {
        return PublicState::Maintenance;
    }
    let Some(look) = look.filter(|look| now.since(look.at) < LOOK_VALID_FOR) else {
        return PublicState::Unknown;
    };
    match (look.status.as_str(), look.mode.as_str()) {
        (_, "maintenance") => PublicState::Maintenance,
        (_, "isolated") | ("unhealthy" | "unreachable", _) => PublicState::Outage,
        (_, "read-only" | "write-stopped") | ("degraded", _) => PublicState::Degraded,
        _ => PublicState::Operational,
    }
}

/// What people say of a module by the incidents they opened: a look sees less than whoever is on the telephone. What is
/// mended and being watched, or hardly noticed, is not held against it.
fn said_of(module: &str, open: &[Incident]) -> PublicState {
    let is_about = |incident: &&Incident| {
        let is_acute = matches!(incident.status, IncidentStatus::Investigating | IncidentStatus::Identified);
        is_acute && (incident.modules.is_empty() || incident.modules.iter().any(|name| name == module))
    };
    let state = |incident: &Incident| match incident.severity {
        Severity::Sev1 => PublicState::Outage,
        Severity::Sev2 | Severity::Sev3 => PublicState::Degraded,
        Severity::Sev4 => PublicState::Operational,
    };
    open.iter().filter(is_about).map(state).max().unwrap_or(PublicState::Operational)
}

/// The last 90 days, oldest first, with what was counted on each.
fn days(reader: &mut Reader<'_>, module: &str, now: Timestamp) -> Result<Vec<(i64, Option<Day>)>, DbError> {
    let today = looks::day_of(now);
    let first = today - DAYS + 1;
    let counted: BTreeMap<i64, Day> =
        looks::days(reader, module, first)?.into_iter().map(|day| (day.number, day)).collect();
    Ok((first..=today).map(|day| (day, counted.get(&day).copied())).collect())
}

/// The share of looks that found it serving, in hundredths of a percent; rounded down, so that 100 % means all.
pub(crate) fn share(days: impl Iterator<Item = Day>) -> Option<u32> {
    let (looks, serving) =
        days.fold((0, 0), |(looks, serving), day| (looks + day.looks, serving + day.serving));
    if looks == 0 { None } else { u32::try_from(serving * 10_000 / looks).ok() }
}

fn date(day: i64) -> String {
    looks::start_of(day).to_string().chars().take(10).collect()
}

fn public_incidents(reader: &mut Reader<'_>, found: Vec<Incident>) -> Result<Vec<PublicIncident>, DbError> {
    found
        .into_iter()
        .map(|incident| {
            let timeline = incidents::store::timeline(reader, incident.id)?;
            Ok(public_incident(incident, &timeline))
        })
        .collect()
}

/// What everybody may see of an incident: its title, its states, and what was said as an update. Notes, runbooks,
/// impact and the names of operators stay inside.
fn public_incident(incident: Incident, timeline: &[TimelineEntry]) -> PublicIncident {
    let mut updates: Vec<PublicUpdate> = Vec::new();
    let mut status = IncidentStatus::Investigating;
    for entry in timeline {
        let said = |name: &str| serde_json::from_value::<IncidentStatus>(entry.details[name].clone()).ok();
        let text = match entry.kind {
            EntryKind::Opened => "The incident was opened.".to_owned(),
            EntryKind::Status => {
                status = said("to").unwrap_or(status);
                match status {
                    IncidentStatus::Investigating => "The cause is being looked for.",
                    IncidentStatus::Identified => "The cause is known and being worked on.",
                    IncidentStatus::Monitoring => "It is mended; we are watching.",
                    IncidentStatus::Resolved => "It is over.",
                }
                .to_owned()
            }
            EntryKind::Update => {
                // Words of a person that came with a change of status stand in place of ours.
                if let Some(last) = updates.last()
                    && last.at == entry.at
                {
                    updates.pop();
                }
                entry.text.clone()
            }
            _ => continue,
        };
        updates.push(PublicUpdate { at: entry.at, status, text });
    }
    updates.reverse();
    PublicIncident {
        id: incident.id,
        title: incident.title,
        severity: incident.severity,
        status: incident.status,
        modules: incident.modules,
        opened_at: incident.opened_at,
        resolved_at: incident.resolved_at,
        updated_at: updates.first().map_or(incident.opened_at, |update| update.at),
        updates,
    }
}

fn public_window(window: maintenance::store::Kept) -> PublicWindow {
    let status = window.state.status();
    PublicWindow {
        id: window.id,
        title: window.title,
        from: window.from,
        to: match status {
            WindowStatus::Completed => window.state.ended_at().unwrap_or(window.to).max(window.from),
            _ => window.to,
        },
        modules: window.modules,
        mode: window.mode,
        status,
        updated_at: window.updated_at,
    }
}
