//! Making a backup.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions, TryLockError},
    io::Read,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Instant,
};

use q_core::Env;
use q_db::{
    backup::{Copying, Snapshot, SnapshotError, snapshots},
    dump::Checker,
};

use crate::{
    Error, Manifest, ModuleCopy, Target,
    chunks::{Content, IsWanted, Writer},
    files,
    manifest::FORMAT,
    name,
    place::{Place, Source},
    secrets, shipping,
    status::Status,
};

/// Held while a backup is made or old ones are removed: one at a time.
pub struct Lock {
    _files: Vec<File>,
}

impl Lock {
    /// Takes the lock of the instance in `data` and of the target; [`Error::Busy`] when somebody holds one.
    pub fn take(data: &Path, target: &Target) -> Result<Self, Error> {
        let mut places = vec![data.join("backup.lock")];
        if let Some(folder) = target.path() {
            files::folder(folder)?;
            places.push(folder.join("lock"));
        }
        let mut held = Vec::new();
        for place in places {
            let opened = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&place);
            let file = opened.map_err(|error| Error::io("opened", &place, error))?;
            match file.try_lock() {
                Ok(()) => held.push(file),
                Err(TryLockError::WouldBlock) => return Err(Error::Busy),
                Err(TryLockError::Error(error)) => return Err(Error::io("locked", &place, error)),
            }
        }
        Ok(Self { _files: held })
    }
}

/// Makes a backup of everything in `source`. Blocks; for a thread that may wait.
///
/// Until its manifest is written, which is the last thing, there is no such backup; earlier ones are never touched.
pub fn create(source: &Source, place: &Place, env: &Env) -> Result<Manifest, Error> {
    create_while(&|| true, source, place, env)
}

/// The same, [given up](Error::GivenUp) as soon as it is not wanted any more: the next one finds the pieces that are in
/// the target by then.
pub fn create_while(
    is_wanted: &(dyn Fn() -> bool + Sync),
    source: &Source,
    place: &Place,
    env: &Env,
) -> Result<Manifest, Error> {
    let _lock = Lock::take(&source.data, &place.target)?;
    let made = create_locked(is_wanted, source, place, env);
    Status::note(&source.data, |status| match &made {
        Ok(manifest) => status.succeeded(manifest, &place.target.to_string()),
        Err(Error::GivenUp) => {}
        Err(error) => status.failed(env.now(), error),
    });
    made
}

fn create_locked(
    is_wanted: IsWanted<'_>,
    source: &Source,
    place: &Place,
    env: &Env,
) -> Result<Manifest, Error> {
    let began = Instant::now();
    // First of all: without a signature nobody would take it.
    place.signer.current()?;
    let writer = Writer::new(&place.target, &place.recipients, &place.making, is_wanted)?;
    // Before the stores: what lies beside them is never ahead of them.
    let secrets = files_of(&writer, &source.keys, secrets::names(&source.keys)?)?;
    let wanted = source.files.iter().filter(|name| source.data.join(name).is_file()).cloned().collect();
    let about = files_of(&writer, &source.data, wanted)?;
    let before = shipping::states(&source.data);
    let begun = match snapshots(&source.stores, is_wanted) {
        Err(SnapshotError::NeverAtRest(_)) if !is_wanted() => return Err(Error::GivenUp),
        begun => begun?,
    };
    let at = env.now();
    let after = shipping::states(&source.data);
    let scratch = Scratch::new(&source.data.join("backup.scratch"))?;
    let mut modules = BTreeMap::new();
    for snapshot in begun {
        let (engine, content) = copy(&writer, &snapshot, &scratch.0)?;
        let chain = shipping::chain(&before, &after, &snapshot.module);
        let Snapshot { module, position, .. } = snapshot;
        modules.insert(module, ModuleCopy { engine: engine.to_owned(), position, content, chain });
    }
    let written = writer.settle()?;
    let stores = modules.values().map(|copy: &ModuleCopy| &copy.content);
    let bytes = stores.chain(about.values()).chain(secrets.values()).map(|content| content.bytes).sum();
    let chains = modules.values().filter_map(|copy| copy.chain.as_ref());
    let generations: std::collections::BTreeSet<&str> =
        chains.map(|chain| chain.generation.as_str()).collect();
    let generations: String = generations.into_iter().collect();
    let manifest = Manifest {
        format: FORMAT,
        id: name::id_of(at, &generations, env.random()),
        instance: source.instance.clone(),
        program: env!("CARGO_PKG_VERSION").to_owned(),
        at,
        took_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        bytes,
        written,
        modules,
        files: about,
        secrets,
        making: place.making.clone(),
    };
    // The key may have been rotated while the stores were read.
    manifest.write(place, &place.signer.current()?)?;
    Ok(manifest)
}

fn files_of(
    writer: &Writer<'_>,
    folder: &Path,
    names: Vec<String>,
) -> Result<BTreeMap<String, Content>, Error> {
    let mut contents = BTreeMap::new();
    for name in names {
        let path = folder.join(&name);
        match File::open(&path) {
            Ok(file) => contents.insert(name, writer.write(file)?),
            // Files of a moment come and go.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(Error::io("read", &path, error)),
        };
    }
    Ok(contents)
}

fn copy(writer: &Writer<'_>, snapshot: &Snapshot, scratch: &Path) -> Result<(&'static str, Content), Error> {
    match snapshot.copying()? {
        Copying::File(copying) => {
            let path = scratch.join(&snapshot.module);
            if !copying.write(&path, writer.is_wanted).map_err(|error| full_or(error, scratch))? {
                return Err(Error::GivenUp);
            }
            let content = File::open(&path).map_err(|error| Error::io("read", &path, error));
            let content = writer.write(content?)?;
            fs::remove_file(&path).map_err(|error| Error::io("removed", &path, error))?;
            Ok(("sqlite", content))
        }
        Copying::Server(mut command) => {
            let failed = |said: String| Error::Program { program: "pg_dump", said };
            let mut running = command.spawn().map_err(|error| failed(error.to_string()))?;
            let output = running.stdout.take().expect("its output is a pipe");
            let mut complaints = running.stderr.take().expect("its complaints are a pipe");
            // Both pipes are read, so that it never waits for us.
            let listening = std::thread::spawn(move || {
                let mut said = String::new();
                let _ = complaints.read_to_string(&mut said);
                said
            });
            let content = writer.write(Restorable { output, checker: Some(Checker::default()) });
            if content.is_err() {
                let _ = running.kill();
            }
            let ended = running.wait();
            let said = listening.join().unwrap_or_default();
            match ended {
                Ok(status) if status.success() => Ok(("postgres", content?)),
                _ => Err(content.err().unwrap_or_else(|| failed(said.trim().to_owned()))),
            }
        }
    }
}

/// What `pg_dump` writes, read as a restore will: what could not be put back is found out now.
struct Restorable<R> {
    output: R,
    checker: Option<Checker>,
}

impl<R: Read> Read for Restorable<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.output.read(buffer)?;
        let judged = match (&mut self.checker, count) {
            (Some(checker), 1..) => checker.take(&buffer[..count]).map(drop),
            (checker, _) if !buffer.is_empty() => {
                checker.take().map_or(Ok(()), |last| last.finish().map(drop))
            }
            _ => Ok(()),
        };
        judged.map(|()| count).map_err(std::io::Error::other)
    }
}

fn full_or(error: q_db::OpenError, scratch: &Path) -> Error {
    match error {
        q_db::OpenError::Db(q_db::DbError::Full(_)) => Error::Full(scratch.display().to_string()),
        error => error.into(),
    }
}

/// A folder that is empty when it is made, and gone afterwards.
pub(crate) struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new(path: &Path) -> Result<Self, Error> {
        // What a killed backup left.
        let _ = fs::remove_dir_all(path);
        files::folder(path)?;
        Ok(Self(path.to_owned()))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
