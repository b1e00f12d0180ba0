//! Which processes share a store, and which of them does what one alone should do.
//!
//! Each process beats once in a while: it counts a row of its own up, and looks whose rows moved since it last looked.
//! Nobody's clock is compared with anybody else's: a process is gone when its row stands still for as long as the
//! looker's own clock says.
//!
//! **Invariant:** leading is a convenience, not a lock: what a leader does must be harmless when two do it for a moment.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

use crate::{Db, DbError, params};

/// How long a row may stand still before its process counts as gone.
pub const GONE_AFTER: Duration = Duration::from_secs(3);
/// How long a leader that cannot beat goes on; before another one takes its place.
const LEADS_WITHOUT_BEAT: Duration = Duration::from_millis(2_500);
/// The rows of processes in `q_store`.
const ROWS: &str = "replica/";
const LEADER: &str = "leader";

/// What a process is among those that share its store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Whether this one relays, and reacts durably, for all of them.
    pub is_leader: bool,
    /// How many there are, this one included; 0 while that is not known.
    pub replicas: u32,
}

impl Standing {
    /// Not found out yet.
    pub const UNKNOWN: Self = Self { is_leader: false, replicas: 0 };
    /// The only process of a store.
    pub const ALONE: Self = Self { is_leader: true, replicas: 1 };
}

/// One process of those that share a store.
#[derive(Debug)]
pub struct Replica {
    db: Db,
    id: String,
    beat: i64,
    /// What was read of each process, and since when it has said that.
    seen: BTreeMap<String, (i64, Instant)>,
    leader: Option<String>,
    /// When the last beat that came through began.
    beaten_at: Option<Instant>,
}

struct Heard {
    leader: String,
    beats: Vec<(String, i64)>,
}

impl Db {
    /// Whether other processes may have this store open as well.
    pub fn can_be_shared(&self) -> bool {
        self.is_postgres()
    }
}

impl Replica {
    /// The process called `id`, a name no other has, at `db`.
    pub fn new(db: Db, id: &str) -> Self {
        let (seen, id) = (BTreeMap::new(), id.to_owned());
        Self { db, id, beat: 0, seen, leader: None, beaten_at: None }
    }

    /// What this process is now; [`Standing::ALONE`] where a store cannot be shared.
    ///
    /// # Errors
    /// When the store does not answer; [`Replica::without_store`] says what holds then.
    pub async fn beat(&mut self) -> Result<Standing, DbError> {
        if !self.db.can_be_shared() {
            return Ok(Standing::ALONE);
        }
        let began_at = Instant::now();
        self.beat += 1;
        let gone: Vec<(String, i64)> = self
            .seen
            .iter()
            .filter(|(_, (_, since))| since.elapsed() >= GONE_AFTER)
            .map(|(id, (beat, _))| (id.clone(), *beat))
            .collect();
        let (id, beat) = (self.id.clone(), self.beat);
        let heard: Heard = self
            .db
            .sequence(move |tx| {
                let mine = format!("{ROWS}{id}");
                tx.lock(LEADER)?;
                for (other, beat) in &gone {
                    tx.execute(
                        "DELETE FROM q_store WHERE name = $1 AND value = $2",
                        params![format!("{ROWS}{other}"), beat.to_string()],
                    )?;
                }
                tx.execute(
                    "INSERT INTO q_store (name, value) VALUES ($1, $2) \
                     ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                    params![mine, beat.to_string()],
                )?;
                let rows = tx.query("SELECT name, value FROM q_store ORDER BY name", &[])?;
                let mut beats = Vec::new();
                let mut leader = None;
                for row in &rows {
                    let (name, value): (String, String) = (row.try_get(0)?, row.try_get(1)?);
                    if name == LEADER {
                        leader = Some(value);
                    } else if let Some(other) = name.strip_prefix(ROWS) {
                        beats.push((other.to_owned(), value.parse().unwrap_or_default()));
                    }
                }
                let lives = |leader: &String| beats.iter().any(|(other, _)| other == leader);
                let leader = leader.filter(lives);
                if leader.is_none() {
                    tx.execute(
                        "INSERT INTO q_store (name, value) VALUES ($1, $2) \
                         ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                        params![LEADER, &id],
                    )?;
                }
                let leader = leader.unwrap_or_else(|| id.clone());
                Ok::<_, DbError>(Heard { leader, beats })
            })
            .await?;
        self.take_in(heard, began_at);
        Ok(self.standing())
    }

    fn take_in(&mut self, heard: Heard, began_at: Instant) {
        self.beaten_at = Some(began_at);
        self.leader = Some(heard.leader);
        let mut seen = BTreeMap::new();
        for (id, beat) in heard.beats.into_iter().filter(|(id, _)| *id != self.id) {
            let since = match self.seen.get(&id) {
                Some((known, since)) if *known == beat => *since,
                _ => began_at,
            };
            seen.insert(id, (beat, since));
        }
        self.seen = seen;
    }

    fn standing(&self) -> Standing {
        let others = self.seen.values().filter(|(_, since)| since.elapsed() < GONE_AFTER).count();
        Standing {
            is_leader: self.leader.as_deref() == Some(self.id.as_str()),
            replicas: u32::try_from(others + 1).unwrap_or(u32::MAX),
        }
    }

    /// Until when this process leads if no further beat comes through; nothing where it does not lead. Whoever waits
    /// for a beat waits no longer for it to say that the process leads: a beat that hangs keeps no leader in place whom
    /// others have taken for gone.
    pub fn leads_until(&self) -> Option<Instant> {
        self.beaten_at.filter(|_| self.standing().is_leader).map(|at| at + LEADS_WITHOUT_BEAT)
    }

    /// What this process is while the store does not answer: soon no leader, among as many as there were.
    pub fn without_store(&self) -> Standing {
        let is_leader = self.leads_until().is_some_and(|end| Instant::now() < end);
        let others = u32::try_from(self.seen.len()).unwrap_or(u32::MAX - 1);
        Standing { is_leader, replicas: others + 1 }
    }

    /// Leaves, so that another one takes over at its next beat.
    pub async fn resign(&self) -> Result<(), DbError> {
        if !self.db.can_be_shared() {
            return Ok(());
        }
        let mine = format!("{ROWS}{}", self.id);
        self.db
            .sequence(move |tx| tx.execute("DELETE FROM q_store WHERE name = $1", params![&mine]).map(drop))
            .await
    }
}
