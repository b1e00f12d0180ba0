//! Which stores an instance has, and whether they are its newest: an empty or an older store in the place of the one
//! that was written to would look sound by itself.
//!
//! **Invariant:** a store is made only for a module that has none yet, and only by what starts or makes an instance.

use std::{collections::BTreeSet, fs, time::Duration};

use anyhow::Context as _;
use q_contract::Client;
use q_db::Db;
use q_runtime::Finding;
use qerberos::{RolledBack, Trail};
use qerberos_api::{GapReport, GapsRequest, GetGaps};

use crate::{
    compose,
    layout::{Layout, write_private},
    output::{exit, with_code},
    restored::Restored,
};

/// How long a start may be held up by a trail in another process.
const ASKED_FOR: Duration = Duration::from_secs(5);

/// The modules whose stores are there, or have to be.
pub struct Known {
    /// Whether a store that is not known may be made.
    may_make: bool,
    listed: BTreeSet<String>,
}

impl Known {
    /// What is known of the instance in `layout`. A start makes the store of a module that a later version has added;
    /// a look at an instance makes none.
    pub fn read(layout: &Layout, is_start: bool) -> anyhow::Result<Self> {
        // What an unfinished making left is made again.
        if layout.unfinished().exists() {
            return Ok(Self { may_make: true, listed: BTreeSet::new() });
        }
        Ok(Self { may_make: is_start, listed: listed(layout)? })
    }

    /// Whether the instance has written to a store of `module`.
    pub fn is_listed(&self, module: &str) -> bool {
        self.listed.contains(module)
    }

    /// Whether the store of `module` has to be there.
    pub fn has(&self, module: &str) -> bool {
        !self.may_make || self.is_listed(module)
    }

    /// Notes that `modules` have a store now.
    pub fn add<'a>(&self, layout: &Layout, modules: impl Iterator<Item = &'a str>) -> anyhow::Result<()> {
        if !self.may_make {
            return Ok(());
        }
        // Read again: another process may have added others.
        let mut all = if layout.stores().exists() { listed(layout)? } else { self.listed.clone() };
        let count = all.len();
        all.extend(modules.map(str::to_owned));
        if all.len() > count || !layout.stores().exists() {
            write_private(&layout.stores(), &serde_json::to_vec_pretty(&all)?)?;
        }
        Ok(())
    }
}

/// The modules that have a store; all of them when an instance is older than its list.
fn listed(layout: &Layout) -> anyhow::Result<BTreeSet<String>> {
    let path = layout.stores();
    match fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text).with_context(|| format!("{} is damaged", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Ok(compose::MODULES.iter().map(|entry| entry.name.to_owned()).collect())
        }
        Err(error) => Err(error).with_context(|| format!("{} cannot be read", path.display())),
    }
}

/// The stores that are older than `trail`, of those that ended at these audit rows when they were opened.
pub async fn compare(trail: &Trail, heads: &[(Db, i64)]) -> anyhow::Result<Vec<RolledBack>> {
    let mut older = Vec::new();
    for (store, head) in heads {
        older.extend(trail.rolled_back(store, *head).await?);
    }
    Ok(older)
}

/// What a trail of another process has of every store. One that does not answer compares by itself when it hears of
/// the stores.
pub async fn ask_trail(qerberos: &Client) -> Option<GapReport> {
    match tokio::time::timeout(ASKED_FOR, qerberos.call::<GetGaps>(&GapsRequest {})).await {
        Ok(Ok(report)) => Some(report),
        Ok(Err(error)) => {
            tracing::info!(%error, "the audit trail is not here yet to compare the stores with");
            None
        }
        Err(_) => None,
    }
}

/// Like [`compare`], with what a trail of another process had before the stores were opened.
pub fn compare_with(report: &GapReport, heads: &[(Db, i64)]) -> Vec<RolledBack> {
    let is_older = |(store, head): &(Db, i64)| {
        let head = u64::try_from(*head).unwrap_or_default();
        let known = report.producers.iter().find(|known| known.producer == store.module())?;
        let trail = known.expected_seq.saturating_sub(1);
        (head < trail).then(|| RolledBack { module: store.module().to_owned(), head, trail })
    };
    heads.iter().filter_map(is_older).collect()
}

/// Those of `older` that nobody has put back on purpose. When a restore is over, because the trail has caught up with
/// everything, its word is used up by the next start.
pub fn accept(layout: &Layout, older: Vec<RolledBack>, is_start: bool) -> anyhow::Result<Vec<RolledBack>> {
    let Some(word) = Restored::read(layout)? else { return Ok(older) };
    if older.is_empty() && is_start {
        word.use_up(layout)?;
    }
    Ok(older.into_iter().filter(|older| !word.modules.contains(&older.module)).collect())
}

/// Why an instance with older stores does not start.
pub fn refusal(older: &[RolledBack]) -> anyhow::Error {
    let stores: Vec<_> = older.iter().map(ToString::to_string).collect();
    let what = format!(
        "{}; put the newest copy of it back, or restore every store from the same backup; `q verify` names what differs",
        stores.join("; ")
    );
    with_code(exit::CANNOT_START, what)
}

/// What `q verify` says about an older store.
pub fn finding(older: &RolledBack) -> Finding {
    Finding::new("rolled_back", format!("{} store", older.module), older.to_string())
}
