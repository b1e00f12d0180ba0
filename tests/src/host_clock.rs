//! A host's clock that a test sets, for the program and every verb of an instance.

use std::{fs, path::PathBuf};

use q_testkit::oracle;
use tempfile::TempDir;

/// Another authors' library that answers a process that asks for the time, as a file tells it to.
pub struct HostClock {
    library: String,
    folder: TempDir,
}

impl HostClock {
    /// A clock that is right, or `None` after saying that the library is not there.
    ///
    /// # Panics
    /// When no folder can be made.
    pub fn find() -> Option<Self> {
        oracle::program("faketime")?;
        let folders = fs::read_dir("/usr/lib").ok()?.filter_map(|entry| Some(entry.ok()?.path()));
        let mut found = folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1"));
        let Some(library) = found.find(|library| library.is_file()) else {
            oracle::skip("libfaketime");
            return None;
        };
        let folder = tempfile::tempdir().expect("a temporary folder");
        let clock = Self { library: library.display().to_string(), folder };
        clock.set(0);
        Some(clock)
    }

    /// The settings of an instance that goes by it.
    pub fn settings(&self) -> [(String, String); 5] {
        [
            ("LD_PRELOAD", self.library.clone()),
            ("FAKETIME_TIMESTAMP_FILE", self.dial().display().to_string()),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("DONT_FAKE_MONOTONIC", "1".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
    }

    /// Sets it so many seconds ahead of the right time, or behind.
    ///
    /// # Panics
    /// When it cannot be set.
    pub fn set(&self, seconds: i64) {
        fs::write(self.dial(), format!("{seconds:+}")).expect("the clock is set");
    }

    fn dial(&self) -> PathBuf {
        self.folder.path().join("clock")
    }
}
