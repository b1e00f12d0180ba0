//! What has run here before: the program, its settings and the shapes of the stores it knows, kept at each start that
//! came off, so that there is something to go back to.
//!
//! **Invariant:** a release is kept whole or not at all; nothing of it changes afterwards but when it last started.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read as _, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use q_core::{Env, Timestamp, hash};
use serde::{Deserialize, Serialize};

use crate::{
    compose,
    layout::{Layout, write_private},
};

/// How many releases are kept.
const KEPT: usize = 5;
/// The part of the schema that every store has.
pub const PLATFORM: &str = "platform";

/// One program with one set of settings.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Release {
    /// Its number, counted up.
    pub number: u32,
    /// The program's version.
    pub version: String,
    /// The SHA-256 of the program.
    pub program_hash: String,
    /// The SHA-256 of `q.toml`; nothing when there was none.
    pub config_hash: Option<String>,
    /// Where the program was started from.
    pub started_from: PathBuf,
    /// The newest step of each module's schema that the program knows.
    pub schemas: BTreeMap<String, u32>,
    /// When it first started.
    pub first_started: Timestamp,
    /// When it last started.
    pub last_started: Timestamp,
    /// Which file the program is, so that it need not be read at each start.
    file: FileMark,
}

/// What tells one file from another without reading it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct FileMark {
    device: u64,
    inode: u64,
    size: u64,
    modified: i64,
}

impl FileMark {
    fn of(path: &Path) -> io::Result<Self> {
        let about = fs::metadata(path)?;
        // Nanoseconds of a second are enough beside the second's number, which is part of the sum.
        let modified = about.mtime().wrapping_mul(1_000_000_000).wrapping_add(about.mtime_nsec());
        Ok(Self { device: about.dev(), inode: about.ino(), size: about.size(), modified })
    }
}

impl Release {
    /// The program as it was kept.
    pub fn program(&self, layout: &Layout) -> PathBuf {
        self.folder(layout).join("q")
    }

    /// The settings as they were kept; nothing when there were none.
    pub fn config(&self, layout: &Layout) -> anyhow::Result<Option<Vec<u8>>> {
        if self.config_hash.is_none() {
            return Ok(None);
        }
        let path = self.folder(layout).join("q.toml");
        Ok(Some(fs::read(&path).with_context(|| format!("{} cannot be read", path.display()))?))
    }

    /// Whether the kept program is what was started.
    pub fn is_whole(&self, layout: &Layout) -> io::Result<bool> {
        Ok(hash_of(&self.program(layout))? == self.program_hash)
    }

    fn folder(&self, layout: &Layout) -> PathBuf {
        layout.releases().join(format!("{:04}", self.number))
    }
}

/// The releases kept here, oldest first.
pub fn all(layout: &Layout) -> Vec<Release> {
    let entries = fs::read_dir(layout.releases()).into_iter().flatten().filter_map(Result::ok);
    let read =
        |entry: fs::DirEntry| serde_json::from_slice(&fs::read(entry.path().join("release.json")).ok()?).ok();
    let mut releases: Vec<Release> = entries.filter_map(read).collect();
    releases.sort_by_key(|release| release.number);
    releases
}

/// The one that started last.
pub fn current(releases: &[Release]) -> Option<&Release> {
    releases.iter().max_by_key(|release| release.last_started)
}

/// Notes, in the background, that `program` has started and serves; gives the number of the release it is.
pub fn note_start(layout: &Layout, program: &Path) -> tokio::task::JoinHandle<Option<u32>> {
    let (layout, program) = (layout.clone(), program.to_owned());
    tokio::task::spawn_blocking(move || match note(&layout, &program) {
        Ok(release) => {
            q_http::runs_release(release.number, &release.program_hash);
            Some(release.number)
        }
        Err(error) => {
            tracing::warn!("this start is not kept for a rollback: {error:#}");
            None
        }
    })
}

fn note(layout: &Layout, program: &Path) -> anyhow::Result<Release> {
    let folder = layout.releases();
    crate::layout::make_private(&folder)?;
    let lock = File::create(folder.join("lock"))?;
    // Processes of one instance start together.
    lock.lock()?;
    let now = Env::system().now();
    // What runs, whatever lies at its path by now.
    let running = Path::new("/proc/self/exe");
    let (file, config) = (FileMark::of(running)?, read_config(layout)?);
    let config_hash = config.as_ref().map(|text| hash::hex(&hash::sha256(text)));
    let mut releases = all(layout);
    let same = |release: &&mut Release| release.file == file && release.config_hash == config_hash;
    if let Some(release) = releases.iter_mut().find(same) {
        release.last_started = now;
        keep_about(&release.folder(layout), release)?;
        return Ok(release.clone());
    }
    let schemas = compose::MODULES.iter().map(|entry| (entry.name.to_owned(), entry.schema()));
    let release = Release {
        number: releases.last().map_or(1, |last| last.number + 1),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        program_hash: hash_of(running)?,
        config_hash,
        started_from: program.to_owned(),
        schemas: schemas.chain([(PLATFORM.to_owned(), q_db::platform_version())]).collect(),
        first_started: now,
        last_started: now,
        file,
    };
    let draft = folder.join("draft");
    let _ = fs::remove_dir_all(&draft);
    crate::layout::make_private(&draft)?;
    let is_at_its_path = FileMark::of(program).is_ok_and(|there| there == release.file);
    if !is_at_its_path || fs::hard_link(program, draft.join("q")).is_err() {
        // A copy keeps the mode, so that it can be run.
        fs::copy(running, draft.join("q"))?;
    }
    if let Some(config) = config {
        write_private(&draft.join("q.toml"), &config)?;
    }
    keep_about(&draft, &release)?;
    fs::rename(&draft, release.folder(layout))?;
    let surplus = (releases.len() + 1).saturating_sub(KEPT);
    for old in releases.iter().take(surplus) {
        let _ = fs::remove_dir_all(old.folder(layout));
    }
    Ok(release)
}

fn keep_about(folder: &Path, release: &Release) -> anyhow::Result<()> {
    write_private(&folder.join("release.json"), &serde_json::to_vec_pretty(release)?)
}

fn read_config(layout: &Layout) -> anyhow::Result<Option<Vec<u8>>> {
    match fs::read(layout.config()) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("{} cannot be read", layout.config().display())),
    }
}

fn hash_of(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = hash::Hashing::default();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok(hash::hex(&hasher.finish()));
        }
        hasher.update(&buffer[..count]);
    }
}

/// One line of what was done with releases.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// The release before.
    pub from: Option<u32>,
    /// The release gone back to.
    pub to: u32,
    /// Who, by the name the machine knows them by.
    pub by: String,
    /// What came of it.
    pub outcome: String,
}

/// Adds a line to what was done.
pub fn record(layout: &Layout, event: &Event) -> anyhow::Result<()> {
    let mut line = serde_json::to_vec(event)?;
    line.push(b'\n');
    let path = layout.releases().join("history.jsonl");
    let mut file = fs::OpenOptions::new().create(true).append(true).open(&path)?;
    file.write_all(&line).and_then(|()| file.sync_all()).with_context(|| format!("{}", path.display()))
}

/// What was done, oldest first.
pub fn history(layout: &Layout) -> Vec<Event> {
    let text = fs::read_to_string(layout.releases().join("history.jsonl")).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}
