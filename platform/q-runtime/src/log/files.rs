//! One file for each module, bounded: when it is full it becomes `.1`, `.1` becomes `.2`, and the oldest goes.
//!
//! Several processes on one data folder write to the same files: lines are appended whole, one process at a time
//! rotates, and the others notice within a second that the file at the path is another one.

use std::{
    collections::{BTreeSet, HashMap},
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, Sender, bounded};
use tracing::Level;

use super::line::{Line, PLATFORM};

/// How large a file grows when nobody says otherwise: ten of them are read in a moment.
pub const FILE_BYTES_MAX: u64 = 10 << 20;
/// How many files of a module there are when nobody says otherwise, the present one included.
pub const FILES_MAX: u32 = 5;
/// How many lines may wait for the disk; one more is dropped and counted.
const QUEUE_LINES_MAX: usize = 8_192;
/// How long a stop waits for the last lines.
const FLUSH_MAX: Duration = Duration::from_secs(2);
/// How often to look whether another process has rotated.
const LOOK_EVERY: Duration = Duration::from_secs(1);

static KEPT: OnceLock<Kept> = OnceLock::new();
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Where lines are kept, and how many.
#[derive(Debug, Clone)]
pub struct FilesOptions {
    /// The folder.
    pub folder: PathBuf,
    /// The modules that have a file of their own; other lines go to `q.log`.
    pub modules: BTreeSet<String>,
    /// How large a file grows, in bytes.
    pub file_bytes_max: u64,
    /// How many files of a module there are, the present one included.
    pub files_max: u32,
    /// Up to which level lines are kept: info, warn or error.
    pub level: Level,
    /// Whether lines go to standard error too.
    pub is_on_screen: bool,
}

struct Kept {
    queue: Sender<Job>,
    level: Level,
    is_on_screen: bool,
}

enum Job {
    Write(Box<Line>),
    /// Answered when everything before it is written.
    Flush(Sender<()>),
}

/// Keeps lines in files from now on. `false` when this process does so already.
///
/// # Errors
/// When the folder cannot be made.
pub fn keep(options: FilesOptions) -> io::Result<bool> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&options.folder)?;
    let (queue, jobs) = bounded(QUEUE_LINES_MAX);
    let kept = Kept { queue, level: options.level, is_on_screen: options.is_on_screen };
    if KEPT.set(kept).is_err() {
        return Ok(false);
    }
    let writer = Writer { options, files: HashMap::new(), has_failed: false };
    std::thread::Builder::new().name("q-log".to_owned()).spawn(move || writer.run(&jobs))?;
    Ok(true)
}

/// Waits until the lines so far are on their way to the disk, at most two seconds.
pub fn flush() {
    let Some(kept) = KEPT.get() else { return };
    let (done, is_done) = bounded(1);
    if kept.queue.send_timeout(Job::Flush(done), FLUSH_MAX).is_ok() {
        let _ = is_done.recv_timeout(FLUSH_MAX);
    }
}

/// How many lines were lost because the disk was too slow or full.
pub fn dropped() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

pub(super) fn wants_screen() -> bool {
    KEPT.get().is_none_or(|kept| kept.is_on_screen)
}

pub(super) fn hand_over(level: Level, line: impl FnOnce() -> Line) {
    let Some(kept) = KEPT.get().filter(|kept| level <= kept.level) else { return };
    if kept.queue.try_send(Job::Write(Box::new(line()))).is_err() {
        DROPPED.fetch_add(1, Ordering::Relaxed);
    }
}

/// The file of `module` that is `age` rotations old.
pub(super) fn path(folder: &Path, module: &str, age: u32) -> PathBuf {
    folder.join(if age == 0 { format!("{module}.log") } else { format!("{module}.log.{age}") })
}

struct Writer {
    options: FilesOptions,
    files: HashMap<String, Open>,
    /// Whether the disk refused the last line: told once, on standard error.
    has_failed: bool,
}

struct Open {
    file: File,
    inode: u64,
    bytes: u64,
    looked_at: Instant,
}

impl Writer {
    fn run(mut self, jobs: &Receiver<Job>) {
        for job in jobs {
            match job {
                Job::Write(line) => self.write(&line),
                Job::Flush(done) => {
                    let _ = done.send(());
                }
            }
        }
    }

    fn write(&mut self, line: &Line) {
        // Crates of the platform and of others have no file of their own.
        let module = line.module.strip_prefix("q_").unwrap_or(&line.module);
        let module = if self.options.modules.contains(module) { module } else { PLATFORM }.to_owned();
        let text = if module == line.module {
            line.json()
        } else {
            Line { module: module.clone(), ..line.clone() }.json()
        };
        match self.append(&module, format!("{text}\n").as_bytes()) {
            Ok(()) => self.has_failed = false,
            Err(error) => {
                DROPPED.fetch_add(1, Ordering::Relaxed);
                self.files.remove(&module);
                if !std::mem::replace(&mut self.has_failed, true) {
                    let folder = self.options.folder.display();
                    let _ = writeln!(io::stderr(), "q: log lines cannot be kept in {folder}: {error}");
                }
            }
        }
    }

    fn append(&mut self, module: &str, line: &[u8]) -> io::Result<()> {
        let path = path(&self.options.folder, module, 0);
        let is_current = self.files.get_mut(module).is_some_and(|open| open.is_at(&path));
        if !is_current {
            self.files.insert(module.to_owned(), Open::at(&path)?);
        }
        let open = self.files.get_mut(module).expect("it was just opened");
        if open.bytes > 0 && open.bytes + line.len() as u64 > self.options.file_bytes_max {
            rotate(&self.options, module, open.inode)?;
            *open = Open::at(&path)?;
        }
        open.file.write_all(line)?;
        open.bytes += line.len() as u64;
        Ok(())
    }
}

impl Open {
    fn at(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        let metadata = file.metadata()?;
        Ok(Self { file, inode: metadata.ino(), bytes: metadata.len(), looked_at: Instant::now() })
    }

    /// Whether this is still the file at `path`, looked up once a second.
    fn is_at(&mut self, path: &Path) -> bool {
        if self.looked_at.elapsed() < LOOK_EVERY {
            return true;
        }
        self.looked_at = Instant::now();
        fs::metadata(path).is_ok_and(|metadata| {
            self.bytes = metadata.len();
            metadata.ino() == self.inode
        })
    }
}

/// Moves the files of `module` on, unless another process has done so since the file `inode` was opened.
fn rotate(options: &FilesOptions, module: &str, inode: u64) -> io::Result<()> {
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(options.folder.join(".rotating"))?;
    lock.lock()?;
    let current = path(&options.folder, module, 0);
    if fs::metadata(&current).is_ok_and(|metadata| metadata.ino() != inode) {
        return Ok(());
    }
    let oldest = options.files_max.max(1) - 1;
    if oldest == 0 {
        return fs::remove_file(current);
    }
    for age in (0..oldest).rev() {
        match fs::rename(path(&options.folder, module, age), path(&options.folder, module, age + 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use q_core::Timestamp;

    use super::*;

    fn line(module: &str, number: u32) -> Line {
        Line {
            at: Timestamp::from_seconds(i64::from(number)),
            level: "warn".to_owned(),
            module: module.to_owned(),
            message: format!("line {number}"),
            trace_id: None,
            request_id: None,
            target: "here".to_owned(),
            fields: serde_json::Map::new(),
        }
    }

    fn writer(folder: &Path) -> Writer {
        let options = FilesOptions {
            folder: folder.to_owned(),
            modules: ["qwallet".to_owned(), "ops".to_owned()].into(),
            file_bytes_max: 400,
            files_max: 3,
            level: Level::INFO,
            is_on_screen: false,
        };
        Writer { options, files: HashMap::new(), has_failed: false }
    }

    #[test]
    fn a_module_has_its_files_and_the_oldest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = writer(folder.path());
        for number in 0..60 {
            writer.write(&line("qwallet", number));
        }
        writer.write(&line("q_ops", 60));
        writer.write(&line("../qwallet", 61));
        let mut names: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, [".rotating", "ops.log", "q.log", "qwallet.log", "qwallet.log.1", "qwallet.log.2"]);
        let sizes = (0..3).map(|age| fs::metadata(path(folder.path(), "qwallet", age)).unwrap().len());
        assert!(sizes.clone().all(|size| size > 0 && size <= 400), "{:?}", sizes.collect::<Vec<_>>());
        let current = fs::read_to_string(path(folder.path(), "qwallet", 0)).unwrap();
        assert!(current.contains("line 59") && !current.contains("line 40"), "{current}");
    }

    #[test]
    fn a_rotation_by_another_process_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let (mut one, mut other) = (writer(folder.path()), writer(folder.path()));
        one.write(&line("qwallet", 1));
        other.write(&line("qwallet", 2));
        // The first rotates; the second still has the old file open and must not rotate the new one away.
        for number in 3..6 {
            one.write(&line("qwallet", number));
        }
        other.files.get_mut("qwallet").unwrap().bytes = 400;
        other.write(&line("qwallet", 6));
        let all: String = (0..3)
            .rev()
            .filter_map(|age| fs::read_to_string(path(folder.path(), "qwallet", age)).ok())
            .collect();
        for number in 1..=6 {
            assert_eq!(all.matches(&format!("\"line {number}\"")).count(), 1, "{all}");
        }
    }
}
