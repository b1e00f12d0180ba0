//! Where backups lie: a folder, or a bucket of an S3-compatible server.
//!
//! **Invariant:** an object is there as a whole or not at all, and is never written twice with different content.

mod folder;
mod s3;
mod sign;

use std::path::{Path, PathBuf};

use crate::Error;

/// A place for objects.
#[derive(Clone)]
pub enum Target {
    /// A folder of this machine, or of one mounted here.
    Folder(folder::Folder),
    /// A bucket.
    Bucket(Box<s3::Bucket>),
}

/// What is known of an object without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its name, such as `chunks/ab/abcd…`.
    pub name: String,
    /// Its size.
    pub bytes: u64,
}

impl Target {
    /// Reads `s3://bucket/prefix?endpoint=https://host&region=name`, or the path of a folder. The keys of a bucket are
    /// in the environment, under the names that the tools of such servers use.
    pub fn parse(text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        match text.strip_prefix("s3://") {
            Some(rest) => Ok(Self::Bucket(Box::new(s3::Bucket::parse(rest, variable)?))),
            None if text.contains("://") => Err(Error::Text(format!(
                "{text} is no target: give a folder, or s3://bucket/prefix?endpoint=https://host&region=name"
            ))),
            None => Ok(Self::folder(Path::new(text))),
        }
    }

    /// A folder.
    pub fn folder(path: &Path) -> Self {
        Self::Folder(folder::Folder(path.to_owned()))
    }

    /// The folder, if it is one.
    pub fn path(&self) -> Option<&PathBuf> {
        match self {
            Self::Folder(folder) => Some(&folder.0),
            Self::Bucket(_) => None,
        }
    }

    /// Writes an object. Its name is safe after [`Target::settle`].
    pub fn put(&self, name: &str, content: &[u8]) -> Result<(), Error> {
        match self {
            Self::Folder(folder) => folder.put(name, content),
            Self::Bucket(bucket) => bucket.put(name, content),
        }
    }

    /// Makes sure that what was put survives a power cut.
    pub fn settle(&self, names: &[String]) -> Result<(), Error> {
        match self {
            Self::Folder(folder) => folder.settle(names),
            Self::Bucket(_) => Ok(()),
        }
    }

    /// Reads an object.
    pub fn get(&self, name: &str) -> Result<Vec<u8>, Error> {
        match self {
            Self::Folder(folder) => folder.get(name),
            Self::Bucket(bucket) => bucket.get(name),
        }
    }

    /// The objects whose names begin with `prefix`, sorted.
    pub fn list(&self, prefix: &str) -> Result<Vec<Object>, Error> {
        match self {
            Self::Folder(folder) => folder.list(prefix),
            Self::Bucket(bucket) => bucket.list(prefix),
        }
    }

    /// Removes an object; one that is gone already is no failure.
    pub fn delete(&self, name: &str) -> Result<(), Error> {
        match self {
            Self::Folder(folder) => folder.delete(name),
            Self::Bucket(bucket) => bucket.delete(name),
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Folder(folder) => write!(f, "{}", folder.0.display()),
            Self::Bucket(bucket) => write!(f, "{bucket}"),
        }
    }
}
