//! Files of our own: private, whole or absent, on disk when the call returns.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::Error;

/// How the name of a file ends that is being written.
pub const DRAFT: &str = ".draft";

/// Whether a file of this name was being written.
pub fn is_draft(name: &str) -> bool {
    name.ends_with(DRAFT)
}

/// Makes a folder, and those above it, for its owner only.
pub fn folder(path: &Path) -> Result<(), Error> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| Error::io("made", path, error))
}

/// A new file for its owner only; refuses one that is there.
pub fn create(path: &Path) -> Result<File, Error> {
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    made.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Error::InTheWay(path.display().to_string()),
        _ => Error::io("made", path, error),
    })
}

/// Writes a file as a whole: after a crash there is the old one or the new one.
pub fn write(path: &Path, content: &[u8]) -> Result<(), Error> {
    put(path, content)?;
    path.parent().map_or(Ok(()), sync_folder)
}

/// Like [`write`], but its name is on disk only after [`sync_folder`].
pub fn put(path: &Path, content: &[u8]) -> Result<(), Error> {
    static DRAFTS: AtomicU64 = AtomicU64::new(0);
    let number = DRAFTS.fetch_add(1, Ordering::Relaxed);
    let draft = path.with_extension(format!("{}-{number}{DRAFT}", std::process::id()));
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&draft, path)
    })();
    written.map_err(|error| {
        // A draft left behind is no backup, but takes room.
        let _ = fs::remove_file(&draft);
        Error::io("written", path, error)
    })
}

/// Writes a file as a whole, without waiting for the disk: for what is only of use while the machine runs.
pub fn note(path: &Path, content: &[u8]) -> Result<(), Error> {
    let draft = path.with_extension(format!("{}{DRAFT}", std::process::id()));
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(content)?;
        fs::rename(&draft, path)
    })();
    written.map_err(|error| Error::io("written", path, error))
}

/// Puts the names in a folder on disk.
pub fn sync_folder(path: &Path) -> Result<(), Error> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    File::open(path).and_then(|folder| folder.sync_all()).map_err(|error| Error::io("written", path, error))
}

/// The files below `folder`, as paths relative to it, sorted; links are not followed.
pub fn below(folder: &Path) -> Result<Vec<String>, Error> {
    let (mut found, mut open) = (Vec::new(), vec![String::new()]);
    while let Some(relative) = open.pop() {
        let path = folder.join(&relative);
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(Error::io("read", &path, error)),
        };
        for entry in entries {
            let entry = entry.map_err(|error| Error::io("read", &path, error))?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let name = if relative.is_empty() { name } else { format!("{relative}/{name}") };
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => open.push(name),
                Ok(kind) if kind.is_file() => found.push(name),
                _ => {}
            }
        }
    }
    found.sort();
    Ok(found)
}
