//! Where an instance keeps what: stores in the data folder, secrets beside it.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use q_core::{Did, hash};
use q_did::Keyring;
use serde::{Deserialize, Serialize};

/// The folders of one instance.
#[derive(Debug, Clone)]
pub struct Layout {
    /// The data folder.
    pub data: PathBuf,
    /// The folder of secrets beside it: a copy of the data folder alone opens nothing.
    pub keys: PathBuf,
}

/// What `q init` decided once; public facts only.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InstanceFile {
    /// The instance's own identity.
    pub did: Did,
    /// The first operator.
    pub operator: Did,
    /// Whether this is an instance for a first look.
    pub is_demo: bool,
}

impl Layout {
    /// The layout of the instance in `data`.
    pub fn of(data: &Path) -> Self {
        let mut keys = data.as_os_str().to_owned();
        keys.push(".keys");
        Self { data: data.to_owned(), keys: keys.into() }
    }

    /// The optional configuration file.
    pub fn config(&self) -> PathBuf {
        self.data.join("q.toml")
    }

    /// The embedded store of `module`.
    pub fn store(&self, module: &str) -> PathBuf {
        self.data.join(format!("{module}.sqlite"))
    }

    /// The folder of the running processes' notes.
    pub fn running(&self) -> PathBuf {
        self.data.join("running")
    }

    /// The file that says what instance this is; its presence means `q init` has finished.
    pub fn instance(&self) -> PathBuf {
        self.data.join("instance.json")
    }

    /// Present while `q init` has begun and not finished.
    pub fn unfinished(&self) -> PathBuf {
        self.data.join("init.unfinished")
    }

    /// The first entry of the log of the identity called `name`, kept until and after it is registered.
    pub fn genesis(&self, name: &str) -> PathBuf {
        self.keys.join("keyring").join(format!("{name}.jsonl"))
    }

    /// The order that was signed to be handed in under `key`: a repetition hands in the same one.
    pub fn order(&self, key: &str) -> PathBuf {
        self.keys.join("orders").join(format!("{}.json", hash::hex(&hash::sha256(key.as_bytes())[..16])))
    }

    /// The key file that unseals qlock.
    pub fn unseal_key(&self) -> PathBuf {
        self.keys.join("unseal.key")
    }

    /// The keyring file of the identity called `name`.
    pub fn keyring(&self, name: &str) -> PathBuf {
        self.keys.join("keyring").join(format!("{name}.json"))
    }

    /// Makes the folders, readable by their owner only.
    pub fn create(&self) -> anyhow::Result<()> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.data)
            .with_context(|| format!("the data folder {} cannot be made", self.data.display()))?;
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(self.keys.join("keyring"))
            .and_then(|()| fs::DirBuilder::new().recursive(true).mode(0o700).create(self.keys.join("orders")))
            .with_context(|| format!("the key folder {} cannot be made", self.keys.display()))
    }

    /// What instance this is.
    pub fn read_instance(&self) -> anyhow::Result<InstanceFile> {
        let path = self.instance();
        let text = fs::read(&path).with_context(|| {
            format!("{} holds no instance; `q init` or `q up` makes one", self.data.display())
        })?;
        serde_json::from_slice(&text).with_context(|| format!("{} is damaged", path.display()))
    }

    /// The identity called `name`.
    pub fn read_keyring(&self, name: &str) -> anyhow::Result<Keyring> {
        check_name(name)?;
        let path = self.keyring(name);
        let text = fs::read(&path).with_context(|| {
            format!("no identity called {name} in this keyring; `q id list` shows them, `q id new {name}` makes one")
        })?;
        serde_json::from_slice(&text).with_context(|| format!("{} is damaged", path.display()))
    }

    /// Keeps `keyring` under `name`, replacing what was there.
    pub fn write_keyring(&self, name: &str, keyring: &Keyring) -> anyhow::Result<()> {
        check_name(name)?;
        write_private(&self.keyring(name), &serde_json::to_vec_pretty(keyring)?)
    }

    /// The names in the keyring, sorted.
    pub fn names(&self) -> anyhow::Result<Vec<String>> {
        let folder = self.keys.join("keyring");
        let entries = fs::read_dir(&folder)
            .with_context(|| format!("no keyring at {}; `q init` or `q up` makes one", folder.display()))?;
        let mut names: Vec<String> = entries
            .filter_map(|entry| Some(entry.ok()?.file_name().to_str()?.strip_suffix(".json")?.to_owned()))
            .collect();
        names.sort();
        Ok(names)
    }
}

fn check_name(name: &str) -> anyhow::Result<()> {
    let is_plain = !name.is_empty()
        && name.len() <= 64
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    if !is_plain {
        bail!("{name:?} is not a keyring name; use letters, digits, - and _");
    }
    Ok(())
}

/// Writes `content` so that a crash leaves the old file or the new one, readable by its owner only.
pub fn write_private(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let draft = path.with_extension("draft");
    let write = || -> std::io::Result<()> {
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&draft, path)?;
        path.parent().map_or(Ok(()), |folder| fs::File::open(folder)?.sync_all())
    };
    write().with_context(|| format!("{} cannot be written", path.display()))
}
