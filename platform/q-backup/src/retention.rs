//! Which backups are kept, and the removal of the others.

use std::{collections::BTreeSet, fmt, str::FromStr};

use q_core::{Span, Timestamp};

use crate::{Error, Manifest, Target, create::Lock, files, manifest::instant_of, secrets, shipping::CutName};

/// How many hours, days, weeks and months keep their newest backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// Hours; as long are the changes kept that let a restore reach any instant.
    pub hourly: u32,
    /// Days.
    pub daily: u32,
    /// Weeks.
    pub weekly: u32,
    /// Months.
    pub monthly: u32,
}

impl FromStr for Keep {
    type Err = Error;

    /// Reads `hourly=48,daily=7,weekly=4,monthly=12`; what is not named is not kept.
    fn from_str(text: &str) -> Result<Self, Error> {
        let mut keep = Self { hourly: 0, daily: 0, weekly: 0, monthly: 0 };
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let bad = || {
                Error::Text(format!(
                    "{part:?} is no rule such as daily=7; there are hourly, daily, weekly, monthly"
                ))
            };
            let (name, count) = part.split_once('=').ok_or_else(bad)?;
            let count = count.trim().parse().map_err(|_| bad())?;
            match name.trim() {
                "hourly" => keep.hourly = count,
                "daily" => keep.daily = count,
                "weekly" => keep.weekly = count,
                "monthly" => keep.monthly = count,
                _ => return Err(bad()),
            }
        }
        Ok(keep)
    }
}

impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { hourly, daily, weekly, monthly } = self;
        write!(f, "hourly={hourly},daily={daily},weekly={weekly},monthly={monthly}")
    }
}

impl Keep {
    /// Those of `ids` that stay: the newest of each period, and the newest of all.
    fn staying<'a>(&self, ids: &'a [String]) -> BTreeSet<&'a str> {
        let mut staying: BTreeSet<&str> = ids.last().map(String::as_str).into_iter().collect();
        let hour = |at: Timestamp| at.seconds().div_euclid(3_600).to_string();
        let day = |at: Timestamp| at.seconds().div_euclid(86_400).to_string();
        // 1970-01-01 was a Thursday; weeks begin on Mondays.
        let week = |at: Timestamp| (at.seconds().div_euclid(86_400) + 3).div_euclid(7).to_string();
        let month = |at: Timestamp| at.to_string().chars().take(7).collect::<String>();
        let periods: [(u32, &dyn Fn(Timestamp) -> String); 4] =
            [(self.hourly, &hour), (self.daily, &day), (self.weekly, &week), (self.monthly, &month)];
        for (number, (count, period)) in periods.into_iter().enumerate() {
            let (mut seen, mut runs) = (BTreeSet::new(), BTreeSet::new());
            for id in ids.iter().rev() {
                let Some(at) = instant_of(id) else {
                    staying.insert(id); // not ours to judge
                    continue;
                };
                let period = period(at);
                let is_newest = seen.len() < count as usize && seen.insert(period.clone());
                // Shipments follow a backup of the same run of the processes: each run of an hour keeps one.
                let mark = id.split('-').nth(1).and_then(|end| end.get(..4)).unwrap_or_default();
                let is_of_run = number == 0 && seen.contains(&period) && runs.insert((period, mark));
                if is_newest || is_of_run {
                    staying.insert(id);
                }
            }
        }
        staying
    }
}

/// What a removal came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Pruned {
    /// Backups that were removed.
    pub removed: Vec<String>,
    /// Backups that are there still.
    pub kept: Vec<String>,
    /// Bytes that are free again.
    pub bytes: u64,
    /// Pieces, changes and leftovers of killed backups that were removed.
    pub objects: u64,
}

/// Removes the backups that `keep` does not keep, and what only they needed. With `is_dry` only says what it would.
pub fn prune(
    data: &std::path::Path,
    target: &Target,
    keep: Keep,
    now: Timestamp,
    is_dry: bool,
) -> Result<Pruned, Error> {
    let _lock = Lock::take(data, target)?;
    let mut ids = Manifest::ids(target)?;
    ids.sort();
    let staying = keep.staying(&ids);
    let (kept, removed): (Vec<_>, Vec<_>) = ids.iter().cloned().partition(|id| staying.contains(id.as_str()));
    let mut pruned = Pruned { removed, kept, ..Pruned::default() };
    // Everything in use is known before anything is removed; a list that cannot be read stops it all.
    let mut used = BTreeSet::new();
    for id in &pruned.kept {
        used.extend(Manifest::pieces_of(target, id)?);
    }
    let mut unused: Vec<_> = target
        .list("chunks/")?
        .into_iter()
        .filter(|object| !object.name.rsplit('/').next().is_some_and(|name| used.contains(name)))
        .collect();
    let reach = now - Span::seconds(i64::from(keep.hourly.max(1)) * 3_600);
    let newest = pruned.kept.last().and_then(|id| instant_of(id)).unwrap_or(now);
    let old_from = reach.min(newest - Span::seconds(60));
    let is_old = |name: &str| CutName::read(name).is_some_and(|cut| cut.at < old_from);
    unused.extend(target.list("changes/")?.into_iter().filter(|object| is_old(&object.name)));
    let is_old = |name: &str| secrets::instant_of(name).is_some_and(|at| at < old_from);
    unused.extend(target.list("secrets/")?.into_iter().filter(|object| is_old(&object.name)));
    pruned.bytes = unused.iter().map(|object| object.bytes).sum();
    pruned.objects = unused.len() as u64;
    if is_dry {
        return Ok(pruned);
    }
    for id in &pruned.removed {
        Manifest::remove(target, id)?;
    }
    for object in unused {
        target.delete(&object.name)?;
    }
    if let Some(folder) = target.path() {
        // Nobody writes here now but whoever ships changes, elsewhere.
        for part in ["backups", "pieces", "chunks"] {
            for name in files::below(&folder.join(part))?.iter().filter(|name| files::is_draft(name)) {
                target.delete(&format!("{part}/{name}"))?;
                pruned.objects += 1;
            }
        }
    }
    Ok(pruned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::id_of;

    #[test]
    fn keeps_the_newest_of_each_period() {
        let start: Timestamp = "2026-01-01T00:30:00Z".parse().unwrap();
        // Twice an hour for 100 days.
        let ids: Vec<String> =
            (0..100 * 48).map(|half| id_of(start + Span::seconds(half * 1_800), "", [0; 3])).collect();
        let keep: Keep = "hourly=3, daily=7,weekly=4,monthly=12".parse().unwrap();
        let staying = keep.staying(&ids);
        assert!(staying.contains(ids.last().unwrap().as_str()));
        // 3 hours, 7 days of which one is among the hours, 4 weeks, 4 months; the newest is in each.
        assert!((12..=15).contains(&staying.len()), "{staying:?}");
        assert!(staying.contains("20260131T233000000Z-e3b0000000"), "{staying:?}");
        assert_eq!("daily=2".parse::<Keep>().unwrap().staying(&ids).len(), 2);
        assert_eq!("".parse::<Keep>().unwrap().staying(&ids).len(), 1);
        // Started four times within one hour: each run is reached from a backup of its own.
        let runs: Vec<String> = ["a", "b", "c", "c"]
            .iter()
            .enumerate()
            .map(|(at, run)| id_of(start + Span::seconds(i64::try_from(at).unwrap() * 60), run, [0; 3]))
            .collect();
        assert_eq!("hourly=1".parse::<Keep>().unwrap().staying(&runs).len(), 3);
        for bad in ["daily", "daily=x", "yearly=1"] {
            assert!(bad.parse::<Keep>().is_err(), "{bad}");
        }
    }
}
