//! What the program is built from, as the lock file of its own build says.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use serde::{Deserialize, Serialize};

/// The lock file this program was built with.
const LOCK: &str = include_str!("../../../Cargo.lock");

/// Crates of others, with the versions that are built in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Crates(pub BTreeMap<String, BTreeSet<String>>);

impl Crates {
    /// Those of this build.
    pub fn of_this_build() -> Self {
        Self::read(LOCK)
    }

    /// Those of a lock file. Packages without a source are our own.
    pub fn read(lock: &str) -> Self {
        let mut crates: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for package in lock.split("[[package]]").skip(1) {
            let field = |name: &str| {
                let line = package.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = \""));
                line.map(|value| value.trim_end_matches('"').to_owned())
            };
            if let (Some(name), Some(version), Some(_)) = (field("name"), field("version"), field("source")) {
                crates.entry(name).or_default().insert(version);
            }
        }
        Self(crates)
    }

    fn count(&self) -> usize {
        self.0.values().map(BTreeSet::len).sum()
    }
}

/// The report, and its summary, against what the last one said.
pub fn report(now: &Crates, before: Option<&Crates>) -> (String, String) {
    let several: Vec<_> = now.0.iter().filter(|(_, versions)| versions.len() > 1).collect();
    let mut page = format!(
        "{} packages of others are built into this program, {} of them in more than one version.\n\n\
         Not known here: how old they are (the lock file holds no dates) and which of them have advisories (no database \
         of advisories is part of this program). `cargo audit` or `cargo deny check advisories` on the sources, with a \
         network, says the latter.\n\n## Changes since the last report\n\n",
        now.count(),
        several.len(),
    );
    let changes = before.map(|before| changes(now, before));
    match &changes {
        None => page.push_str("There is no earlier report.\n"),
        Some(changes) if changes.is_empty() => page.push_str("None.\n"),
        Some(changes) => changes.iter().for_each(|line| {
            let _ = writeln!(page, "- {line}");
        }),
    }
    page.push_str("\n## In more than one version\n\n");
    if several.is_empty() {
        page.push_str("None.\n");
    }
    for (name, versions) in several {
        let versions: Vec<&str> = versions.iter().map(String::as_str).collect();
        let _ = writeln!(page, "- {name}: {}", versions.join(", "));
    }
    page.push_str("\n## All\n\n");
    for (name, versions) in &now.0 {
        let versions: Vec<&str> = versions.iter().map(String::as_str).collect();
        let _ = writeln!(page, "- {name} {}", versions.join(", "));
    }
    let summary = match changes {
        Some(changes) => format!("{} packages, {} changed", now.count(), changes.len()),
        None => format!("{} packages", now.count()),
    };
    (summary, page)
}

fn changes(now: &Crates, before: &Crates) -> Vec<String> {
    let names: BTreeSet<&String> = now.0.keys().chain(before.0.keys()).collect();
    let list = |versions: &BTreeSet<String>| versions.iter().cloned().collect::<Vec<_>>().join(", ");
    names
        .into_iter()
        .filter_map(|name| match (before.0.get(name), now.0.get(name)) {
            (None, Some(now)) => Some(format!("{name} {} is new", list(now))),
            (Some(before), None) => Some(format!("{name} {} is gone", list(before))),
            (Some(before), Some(now)) if before != now => {
                Some(format!("{name} {} after {}", list(now), list(before)))
            }
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_file_of_this_build_is_read() {
        let crates = Crates::of_this_build();
        assert!(crates.0.contains_key("serde") && !crates.0.contains_key("q-ops"), "{crates:?}");
        let (summary, page) = report(&crates, None);
        assert!(summary.ends_with("packages") && page.contains("- serde 1."), "{page}");
    }

    #[test]
    fn what_changed_is_told() {
        let package = |name: &str, version: &str| {
            format!("[[package]]\nname = \"{name}\"\nversion = \"{version}\"\nsource = \"registry\"\n")
        };
        let before = Crates::read(&(package("a", "1.0.0") + &package("b", "1.0.0")));
        let now = Crates::read(&(package("a", "1.1.0") + &package("c", "2.0.0")));
        assert_eq!(changes(&now, &before), ["a 1.1.0 after 1.0.0", "b 1.0.0 is gone", "c 2.0.0 is new"]);
    }
}
