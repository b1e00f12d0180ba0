//! Which backups are kept, and the removal of the others.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

use q_core::{Span, Timestamp};

use crate::{
    Error, Manifest, Target, Trust,
    create::Lock,
    files,
    name::instant_of,
    secrets,
    shipping::CutName,
    signing::{Statement, Verifier},
};

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
    fn staying<'a>(&self, ids: &[&'a str]) -> BTreeSet<&'a str> {
        let mut staying: BTreeSet<&str> = ids.last().copied().into_iter().collect();
        let hour = |at: Timestamp| at.seconds().div_euclid(3_600).to_string();
        let day = |at: Timestamp| at.seconds().div_euclid(86_400).to_string();
        // 1970-01-01 was a Thursday; weeks begin on Mondays.
        let week = |at: Timestamp| (at.seconds().div_euclid(86_400) + 3).div_euclid(7).to_string();
        let month = |at: Timestamp| at.to_string().chars().take(7).collect::<String>();
        let periods: [(u32, &dyn Fn(Timestamp) -> String); 4] =
            [(self.hourly, &hour), (self.daily, &day), (self.weekly, &week), (self.monthly, &month)];
        for (number, (count, period)) in periods.into_iter().enumerate() {
            let (mut seen, mut runs) = (BTreeSet::new(), BTreeSet::new());
            for id in ids.iter().copied().rev() {
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
    /// What lies there as a backup and is not one of this instance, or not as it was made, with the reason: never
    /// counted, and left for whoever looks into it.
    pub refused: BTreeMap<String, String>,
    /// Bytes that are free again.
    pub bytes: u64,
    /// Pieces, changes and leftovers of killed backups that were removed.
    pub objects: u64,
}

/// What lies in a target as backups.
#[derive(Default)]
struct Found {
    /// Those that are signed, with what is signed.
    signed: BTreeMap<String, Statement>,
    /// Those that nobody signed: of earlier versions, or anybody's.
    unsigned: BTreeSet<String>,
    /// Those that are not what they should be, and why.
    refused: BTreeMap<String, String>,
    /// Those of them that are signed as they should be, or may have been, and are damaged.
    damaged: BTreeSet<String>,
}

impl Found {
    fn look(target: &Target, trust: &Trust) -> Result<Self, Error> {
        // Those without a signature are told apart here, by where they are put.
        let verifier = Verifier::new(&Trust { accepts_unsigned: true, ..trust.clone() }, target, None)?;
        let mut found = Self::default();
        for id in Manifest::ids(target)? {
            match Manifest::judged(target, &verifier, &id) {
                Ok((Some(statement), _)) => {
                    found.signed.insert(id, statement);
                }
                Ok((None, _)) if instant_of(&id).is_some() => {
                    found.unsigned.insert(id);
                }
                Ok((None, _)) => {
                    found.refused.insert(id, "it is no backup: its name tells no instant".to_owned());
                }
                Err(error @ (Error::Forged { .. } | Error::UnknownSigner { .. })) => {
                    found.refused.insert(id, error.to_string());
                }
                Err(error @ Error::Damaged { .. }) => {
                    found.damaged.insert(id.clone());
                    found.refused.insert(id, error.to_string());
                }
                // Removed meanwhile.
                Err(Error::Unknown(_)) => {}
                // A target that does not answer says nothing about what is in it.
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// Those that stay. What nobody signed is judged among all, so that it goes with the years, and takes the place of
    /// nothing that is signed.
    fn staying(&self, keep: Keep) -> BTreeSet<&str> {
        let signed: Vec<&str> = self.signed.keys().map(String::as_str).collect();
        let mut all: Vec<&str> =
            signed.iter().copied().chain(self.unsigned.iter().map(String::as_str)).collect();
        all.sort_unstable();
        let mut staying = keep.staying(&signed);
        staying.extend(keep.staying(&all));
        staying
    }
}

/// Removes the backups that `keep` does not keep, and what only they needed. With `is_dry` only says what it would.
///
/// # Errors
/// Also when nothing there is what `trust` believes, though something is: then whom it believes is in doubt.
pub fn prune(
    data: &std::path::Path,
    target: &Target,
    trust: &Trust,
    keep: Keep,
    now: Timestamp,
    is_dry: bool,
) -> Result<Pruned, Error> {
    let _lock = Lock::take(data, target)?;
    let found = Found::look(target, trust)?;
    if let (true, Some((_, why))) = (found.signed.is_empty(), found.refused.first_key_value()) {
        return Err(Error::Text(format!(
            "nothing is removed, because no backup here is known as one's own: {why}"
        )));
    }
    let staying = found.staying(keep);
    let ids: BTreeSet<&String> = found.signed.keys().chain(&found.unsigned).collect();
    let (kept, removed) = ids.into_iter().cloned().partition(|id| staying.contains(id.as_str()));
    let mut pruned = Pruned { removed, kept, refused: found.refused.clone(), ..Pruned::default() };
    // Everything in use is known before anything is removed; a list that cannot be read stops it all.
    let mut used = BTreeSet::new();
    for id in pruned.kept.iter().chain(&found.damaged) {
        used.extend(Manifest::pieces_of(target, id, found.signed.get(id))?);
    }
    // It takes no more than a wrong log here for one's own to look forged: what they say they need stays.
    for id in pruned.refused.keys().filter(|id| !found.damaged.contains(*id)) {
        used.extend(Manifest::pieces_of(target, id, None).unwrap_or_default());
    }
    let mut unused: Vec<_> = target
        .list("chunks/")?
        .into_iter()
        .filter(|object| !object.name.rsplit('/').next().is_some_and(|name| used.contains(name)))
        .collect();
    let reach = now - Span::seconds(i64::from(keep.hourly.max(1)) * 3_600);
    let newest = found.signed.keys().next_back().or(pruned.kept.last());
    let newest = newest.and_then(|id| instant_of(id)).unwrap_or(now);
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
    use crate::name::id_of;

    fn texts(ids: &[String]) -> Vec<&str> {
        ids.iter().map(String::as_str).collect()
    }

    #[test]
    fn keeps_the_newest_of_each_period() {
        let start: Timestamp = "2026-01-01T00:30:00Z".parse().unwrap();
        // Twice an hour for 100 days.
        let ids: Vec<String> =
            (0..100 * 48).map(|half| id_of(start + Span::seconds(half * 1_800), "", [0; 3])).collect();
        let keep: Keep = "hourly=3, daily=7,weekly=4,monthly=12".parse().unwrap();
        let staying = keep.staying(&texts(&ids));
        assert!(staying.contains(ids.last().unwrap().as_str()));
        // 3 hours, 7 days of which one is among the hours, 4 weeks, 4 months; the newest is in each.
        assert!((12..=15).contains(&staying.len()), "{staying:?}");
        assert!(staying.contains("20260131T233000000Z-e3b0000000"), "{staying:?}");
        assert_eq!("daily=2".parse::<Keep>().unwrap().staying(&texts(&ids)).len(), 2);
        assert_eq!("".parse::<Keep>().unwrap().staying(&texts(&ids)).len(), 1);
        // Started four times within one hour: each run is reached from a backup of its own.
        let runs: Vec<String> = ["a", "b", "c", "c"]
            .iter()
            .enumerate()
            .map(|(at, run)| id_of(start + Span::seconds(i64::try_from(at).unwrap() * 60), run, [0; 3]))
            .collect();
        assert_eq!("hourly=1".parse::<Keep>().unwrap().staying(&texts(&runs)).len(), 3);
        for bad in ["daily", "daily=x", "yearly=1"] {
            assert!(bad.parse::<Keep>().is_err(), "{bad}");
        }
    }
}
