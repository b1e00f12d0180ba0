//! What operators plan, and how a plan is kept.

use q_core::{AuditEntry, Did, Page, Timestamp};
use q_db::Tx;
use q_http::Context;
use q_ops_api::maintenance::{
    EmergencyRequest, ExtendRequest, ListWindowsRequest, MaintenanceId, ScheduleRequest, Window,
};
use serde_json::json;

use super::{
    approval::Unapproved,
    domain::{self, APPROVAL_LIFETIME_MAX, EMERGENCY_MAX, Refusal, State},
    store::{self, Kept},
};
use crate::{Desk, Error, asked::Asked, incidents, status::notices};

impl Desk {
    /// Plans a window.
    pub(crate) async fn schedule(
        &self,
        context: &Context,
        request: ScheduleRequest,
    ) -> Result<Window, Error> {
        let now = self.env.now();
        domain::times(request.from, request.to, now)?;
        let window = Kept {
            id: MaintenanceId::new(&self.env),
            title: incidents::domain::title(&request.title)?,
            from: request.from,
            to: request.to,
            modules: incidents::domain::modules(&request.modules, &self.pausable())?,
            mode: request.mode,
            notify: domain::notify_seconds(request.notify.as_deref())?,
            announced: Vec::new(),
            rollback_plan: domain::rollback_plan(&request.rollback_plan)?,
            state: State::Scheduled,
            planned_by: context.did().clone(),
            approved_by: None,
            created_at: now,
            updated_at: now,
        };
        let asked = Asked::from(context);
        let add = move |tx: &mut Tx<'_>| -> Result<Window, Error> {
            refuse_overlap(tx, &window, window.from)?;
            store::insert(tx, &window, None)?;
            audit(tx, "maintenance.schedule", &asked.by, window.id)?;
            Ok(window.clone().into())
        };
        let key = context.request_key.clone();
        Ok(self.db.write_once(key.as_ref(), add).await?.value)
    }

    /// Begins a window at once, under a signature.
    pub(crate) async fn emergency(
        &self,
        context: &Context,
        request: EmergencyRequest,
    ) -> Result<Window, Error> {
        let now = self.env.now();
        domain::length(now, request.to)?;
        if request.to.since(now) > EMERGENCY_MAX {
            return Err(Refusal::Times("an emergency lasts a day at most; plan a window for more").into());
        }
        let nonce_is_good = (16..=128).contains(&request.nonce.len())
            && request.nonce.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !nonce_is_good {
            return Err(Refusal::Times("a nonce has 16 to 128 letters and digits").into());
        }
        let modules = incidents::domain::modules(&request.modules, &self.pausable())?;
        let rollback_plan = domain::rollback_plan(&request.rollback_plan)?;
        let title = incidents::domain::title(&request.title)?;
        let is_in_time = request.expires_at > now && request.expires_at.since(now) <= APPROVAL_LIFETIME_MAX;
        let approver = self.approver(&request, context.caller.did()).await?;
        let window = Kept {
            id: MaintenanceId::new(&self.env),
            title,
            from: now,
            to: request.to,
            modules,
            mode: request.mode,
            notify: Vec::new(),
            announced: Vec::new(),
            rollback_plan,
            state: State::Active { started_at: now },
            planned_by: context.did().clone(),
            approved_by: Some(approver),
            created_at: now,
            updated_at: now,
        };
        let asked = Asked::from(context);
        let add = move |tx: &mut Tx<'_>| -> Result<Window, Error> {
            if !is_in_time || !store::use_approval(tx, &request.nonce, request.expires_at)? {
                return Err(Unapproved::Spent.into());
            }
            refuse_overlap(tx, &window, now)?;
            store::insert(tx, &window, Some(&request.approval))?;
            audit(tx, "maintenance.emergency", &asked.by, window.id)?;
            say(tx, &window, "began", "Emergency maintenance has begun")?;
            Ok(window.clone().into())
        };
        let key = context.request_key.clone();
        let window: Window = self.db.write_once(key.as_ref(), add).await?.value;
        // At once, not with the next round; what does not answer now is told then.
        self.keep_windows().await?;
        Ok(window)
    }

    /// A page of windows.
    pub(crate) async fn list_windows(&self, request: ListWindowsRequest) -> Result<Page<Window>, Error> {
        let before = request.cursor.as_deref().map(crate::cursor::read).transpose()?;
        let mut found: Vec<Kept> =
            self.db.read(move |reader| store::list(reader, request.open, before)).await?;
        let has_more = found.len() > store::PAGE_ROWS;
        found.truncate(store::PAGE_ROWS);
        let last = found.last().filter(|_| has_more);
        let next_cursor = last.map(|last| crate::cursor::write(last.from, last.id));
        Ok(Page { items: found.into_iter().map(Window::from).collect(), next_cursor })
    }

    /// A window.
    pub(crate) async fn window(&self, id: MaintenanceId) -> Result<Window, Error> {
        let found = self.db.read(move |reader| store::find(reader, id)).await?;
        found.map(Window::from).ok_or(Error::MaintenanceNotFound)
    }

    /// Calls a window off.
    pub(crate) async fn cancel(&self, context: &Context, id: MaintenanceId) -> Result<Window, Error> {
        self.change(context, id, "maintenance.cancel", |tx, window| {
            window.state = window.state.cancel(tx.now())?;
            if !window.announced.is_empty() {
                say(tx, window, "cancelled", "Maintenance is cancelled")?;
            }
            Ok(())
        })
        .await
    }

    /// Moves the end of a window.
    pub(crate) async fn extend(&self, context: &Context, request: ExtendRequest) -> Result<Window, Error> {
        let to = request.to;
        let window = self
            .change(context, request.id, "maintenance.extend", move |tx, window| {
                if !matches!(window.state, State::Scheduled | State::Active { .. }) {
                    return Err(Refusal::NotNow(window.state.status(), "be extended").into());
                }
                if to <= window.to || to <= tx.now() {
                    return Err(Refusal::Times("the new end is later than the old one").into());
                }
                domain::length(window.from, to)?;
                // Nobody signed for more.
                if window.approved_by.is_some() && to.since(window.from) > EMERGENCY_MAX {
                    let what = "an emergency lasts a day at most; plan a window for more";
                    return Err(Refusal::Times(what).into());
                }
                window.to = to;
                refuse_overlap(tx, window, window.from)?;
                say(tx, window, &format!("extended {}", to.micros()), "Maintenance takes longer")?;
                Ok(())
            })
            .await?;
        self.keep_windows().await?;
        Ok(window)
    }

    /// Begins a planned window now.
    pub(crate) async fn start(&self, context: &Context, id: MaintenanceId) -> Result<Window, Error> {
        let window = self
            .change(context, id, "maintenance.start", |tx, window| {
                refuse_overlap(tx, window, tx.now())?;
                window.state = window.state.begin(tx.now())?;
                say(tx, window, "began", "Maintenance has begun")?;
                Ok(())
            })
            .await?;
        self.keep_windows().await?;
        Ok(window)
    }

    /// Says that the work is done; the next round checks.
    pub(crate) async fn complete(&self, context: &Context, id: MaintenanceId) -> Result<Window, Error> {
        self.change(context, id, "maintenance.complete", |_, window| {
            window.state = window.state.finish()?;
            Ok(())
        })
        .await
    }

    /// The modules a window can pause: all but the desk itself, which has to end the pause and tell people about it.
    pub(crate) fn pausable(&self) -> Vec<String> {
        self.watched.iter().filter(|module| *module != crate::NAME).cloned().collect()
    }

    /// The modules of a window.
    pub(crate) fn modules_of(&self, window: &Kept) -> Vec<String> {
        if window.modules.is_empty() { self.pausable() } else { window.modules.clone() }
    }

    /// Whether alerts of `module` are muted: it is paused on purpose.
    pub async fn muted_modules(&self) -> Result<super::Muted, q_db::DbError> {
        self.db.read(store::held_modules).await.map(super::Muted)
    }

    async fn change(
        &self,
        context: &Context,
        id: MaintenanceId,
        action: &'static str,
        change: impl Fn(&mut Tx<'_>, &mut Kept) -> Result<(), Error> + Send + 'static,
    ) -> Result<Window, Error> {
        let asked = Asked::from(context);
        self.db
            .write(move |tx| {
                let mut window = store::find(tx, id)?.ok_or(Error::MaintenanceNotFound)?;
                change(tx, &mut window)?;
                store::update(tx, &window)?;
                audit(tx, action, &asked.by, id)?;
                Ok(window.into())
            })
            .await
    }
}

/// Two windows never hold one module: the end of the first would end the second.
fn refuse_overlap(tx: &mut Tx<'_>, window: &Kept, from: Timestamp) -> Result<(), Error> {
    for other in store::open(tx)?.iter().filter(|other| other.id != window.id) {
        let is_disjoint =
            !other.state.holds() && other.from >= window.to || (other.to <= from && !other.state.holds());
        if !is_disjoint && let Some(module) = domain::shared_module(&window.modules, &other.modules) {
            return Err(Refusal::Overlaps(module, other.id.to_string()).into());
        }
    }
    Ok(())
}

fn audit(tx: &mut Tx<'_>, action: &str, by: &str, id: MaintenanceId) -> Result<(), Error> {
    let actor: Option<Did> = by.parse().ok();
    tx.audit(AuditEntry::change(action, actor.as_ref(), id).family("operations"))?;
    Ok(())
}

/// Tells the subscribers something about a window, once under `what`.
pub(super) fn say(tx: &mut Tx<'_>, window: &Kept, what: &str, sentence: &str) -> Result<bool, Error> {
    let subject = format!("{sentence}: {}", window.title);
    let about = json!({
        "what": "maintenance",
        "maintenance": window.id,
        "title": window.title,
        "status": window.state.status(),
        "mode": window.mode,
        "modules": window.modules,
        "from": window.from,
        "to": window.to,
        "at": tx.now(),
        "text": sentence,
    });
    Ok(notices::say(tx, &format!("{} {what}", window.id), &subject, &about)?)
}
