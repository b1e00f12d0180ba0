//! How a store gets its shape: an append-only list of texts per engine, each remembered by its hash.

use q_core::hash::{hex, sha256};

use crate::OpenError;

/// One step: its number, its name, its SQL text.
pub type Migration = (u32, &'static str, &'static str);

/// The steps of one module, and the name its stores are marked with.
#[derive(Debug, Clone, Copy)]
pub struct Migrations {
    pub(crate) module: &'static str,
    pub(crate) sqlite: &'static [Migration],
    pub(crate) postgres: &'static [Migration],
}

/// A step that a store has run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Applied {
    pub version: u32,
    pub hash: String,
    pub writer: String,
}

/// The version of this program, written beside each step it runs.
pub(crate) const PROGRAM: &str = env!("CARGO_PKG_VERSION");

impl Migrations {
    /// The steps of `module`, numbered 1, 2, 3, … alike on both engines.
    pub const fn new(
        module: &'static str,
        sqlite: &'static [Migration],
        postgres: &'static [Migration],
    ) -> Self {
        Self { module, sqlite, postgres }
    }

    /// The module's name.
    pub const fn module(&self) -> &'static str {
        self.module
    }

    /// The newest schema.
    pub fn version(&self) -> u32 {
        self.sqlite.last().map_or(0, |step| step.0)
    }

    pub(crate) fn check(&self) -> Result<(), OpenError> {
        let is_numbered = |steps: &[Migration]| steps.iter().zip(1..).all(|(step, number)| step.0 == number);
        let is_alike = self.sqlite.len() == self.postgres.len();
        if is_alike && is_numbered(self.sqlite) && is_numbered(self.postgres) {
            Ok(())
        } else {
            Err(OpenError::BadMigrations(self.module))
        }
    }
}

/// The steps of `known` that a store which has run `applied` still needs.
pub(crate) fn pending<'a>(
    module: &str,
    known: &'a [Migration],
    applied: &[Applied],
) -> Result<&'a [Migration], OpenError> {
    for (index, past) in applied.iter().enumerate() {
        match known.get(index) {
            None => {
                let last = applied.last().unwrap_or(past);
                return Err(OpenError::Newer {
                    module: module.to_owned(),
                    store: last.version,
                    writer: last.writer.clone(),
                    known: known.last().map_or(0, |step| step.0),
                    program: PROGRAM,
                });
            }
            Some((version, name, text)) if *version != past.version || hash(text) != past.hash => {
                return Err(OpenError::Changed {
                    module: module.to_owned(),
                    version: *version,
                    name: (*name).to_owned(),
                });
            }
            Some(_) => {}
        }
    }
    Ok(&known[applied.len()..])
}

pub(crate) fn hash(text: &str) -> String {
    hex(&sha256(text.as_bytes()))
}

/// What belongs to which list, as recorded in `q_schema.part`.
pub(crate) const PLATFORM: &str = "platform";

/// The tables of q-db itself, which every store has.
pub(crate) const PLATFORM_SQLITE: &[Migration] = &[
    (1, "platform", include_str!("../migrations/sqlite/0001_platform.sql")),
    (2, "modes", include_str!("../migrations/sqlite/0002_modes.sql")),
    (3, "uses", include_str!("../migrations/sqlite/0003_uses.sql")),
];
/// See [`PLATFORM_SQLITE`].
pub(crate) const PLATFORM_POSTGRES: &[Migration] = &[
    (1, "platform", include_str!("../migrations/postgres/0001_platform.sql")),
    (2, "modes", include_str!("../migrations/postgres/0002_modes.sql")),
    (3, "uses", include_str!("../migrations/postgres/0003_uses.sql")),
];

/// Made before anything else; its own shape never changes.
pub(crate) const BOOTSTRAP: &str = "
    CREATE TABLE IF NOT EXISTS q_schema (
        part TEXT NOT NULL, version BIGINT NOT NULL, name TEXT NOT NULL, hash TEXT NOT NULL,
        writer TEXT NOT NULL, applied_at BIGINT NOT NULL, PRIMARY KEY (part, version));
    CREATE TABLE IF NOT EXISTS q_store (name TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL);";

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[Migration] = &[(1, "one", "CREATE a"), (2, "two", "CREATE b")];

    fn ran(version: u32, text: &str) -> Applied {
        Applied { version, hash: hash(text), writer: "9.9.9".into() }
    }

    #[test]
    fn runs_what_is_missing() {
        assert_eq!(pending("m", KNOWN, &[]).unwrap().len(), 2);
        assert_eq!(pending("m", KNOWN, &[ran(1, "CREATE a")]).unwrap(), &KNOWN[1..]);
    }

    #[test]
    fn refuses_a_changed_past_and_a_newer_store() {
        let changed = pending("m", KNOWN, &[ran(1, "CREATE x")]).unwrap_err().to_string();
        assert!(changed.contains("migration 1 (one) of m has changed"), "{changed}");
        let past = [ran(1, "CREATE a"), ran(2, "CREATE b"), ran(3, "CREATE c")];
        let newer = pending("m", KNOWN, &past).unwrap_err().to_string();
        assert!(
            newer.contains("schema 3 (written by version 9.9.9)") && newer.contains("up to 2"),
            "{newer}"
        );
    }
}
