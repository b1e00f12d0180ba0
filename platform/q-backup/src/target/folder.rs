//! Backups in a folder.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use super::Object;
use crate::{Error, files};

/// A folder of backups.
#[derive(Debug, Clone)]
pub struct Folder(pub(super) PathBuf);

impl Folder {
    pub fn put(&self, name: &str, content: &[u8]) -> Result<(), Error> {
        let path = self.0.join(name);
        match files::put(&path, content) {
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                files::folder(path.parent().unwrap_or(&self.0))?;
                files::put(&path, content)
            }
            put => put,
        }
    }

    /// Syncs the folders of `names`, and those above them.
    pub fn settle(&self, names: &[String]) -> Result<(), Error> {
        let mut folders = BTreeSet::from([self.0.clone()]);
        for name in names {
            let mut path = Path::new(name).parent();
            while let Some(folder) = path {
                folders.insert(self.0.join(folder));
                path = folder.parent();
            }
        }
        folders.iter().rev().try_for_each(|folder| files::sync_folder(folder))
    }

    pub fn get(&self, name: &str) -> Result<Vec<u8>, Error> {
        let path = self.0.join(name);
        fs::read(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::Missing(path.display().to_string()),
            _ => Error::io("read", &path, error),
        })
    }

    pub fn list(&self, prefix: &str) -> Result<Vec<Object>, Error> {
        let (folder, _) = prefix.rsplit_once('/').unwrap_or(("", prefix));
        let mut found = Vec::new();
        for below in files::below(&self.0.join(folder))? {
            let name = if folder.is_empty() { below } else { format!("{folder}/{below}") };
            if !name.starts_with(prefix) || files::is_draft(&name) {
                continue;
            }
            match fs::metadata(self.0.join(&name)) {
                Ok(about) => found.push(Object { bytes: about.len(), name }),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::io("read", &self.0.join(&name), error)),
            }
        }
        Ok(found)
    }

    pub fn delete(&self, name: &str) -> Result<(), Error> {
        let path = self.0.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("removed", &path, error)),
            _ => Ok(()),
        }
    }
}
