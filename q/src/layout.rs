//! Where an instance keeps what: stores in the data folder, secrets beside it.

use std::{
    fs,
    io::{ErrorKind, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use q_core::{Did, Env, Timestamp, hash};
use q_did::{Keyring, Log, Policy};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::output::{exit, unknown, usage, with_code};

/// The identity that is the instance.
pub const INSTANCE: &str = "instance";
/// The first operator.
pub const OPERATOR: &str = "operator";

/// How long a signed order is kept for a repetition.
const ORDERS_KEPT: Duration = Duration::from_hours(30 * 24);
/// How long a file with the headers of one request is kept; the token in it lives no longer.
const HEADERS_KEPT: Duration = Duration::from_mins(10);

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

/// How the file of an unfinished change of keys ends: no name holds a dot, so it is nobody's keyring.
const CHANGE: &str = ".changing";

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

    /// The list of the modules that have a store: kept with the secrets, so that it does not vanish with the stores.
    pub fn stores(&self) -> PathBuf {
        self.keys.join("stores.json")
    }

    /// The folder of the programs that ran here, beside the data: a backup of the data needs none of them.
    pub fn releases(&self) -> PathBuf {
        let mut folder = self.data.as_os_str().to_owned();
        folder.push(".releases");
        folder.into()
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

    /// The log of the identity called `name`, kept from before it is registered on: its first entry, or all of them when
    /// its keys were changed. By it, what the identity signed is judged where squid cannot be asked.
    pub fn genesis(&self, name: &str) -> PathBuf {
        self.keys.join("keyring").join(format!("{name}.jsonl"))
    }

    /// Present while the identity called `name` was made for an instance that exists and squid does not know it yet.
    pub fn unregistered(&self, name: &str) -> PathBuf {
        self.keys.join("keyring").join(format!("{name}.unregistered"))
    }

    /// The copy of the file that says what instance this is, from which that one is made again.
    pub fn instance_copy(&self) -> PathBuf {
        self.keys.join("instance.json")
    }

    /// The recovery phrase of `name`, kept until it was shown.
    pub fn phrase(&self, name: &str) -> PathBuf {
        self.keys.join("keyring").join(format!("{name}.phrase"))
    }

    /// The change of keys of `name` that was begun and that the instance has not confirmed.
    pub fn change(&self, name: &str) -> PathBuf {
        self.keys.join("keyring").join(format!("{name}{CHANGE}"))
    }

    /// The identities with a change of keys that was begun and not finished.
    pub fn changes(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.keys.join("keyring")) else { return Vec::new() };
        let name = |entry: fs::DirEntry| Some(entry.file_name().to_str()?.strip_suffix(CHANGE)?.to_owned());
        entries.filter_map(|entry| name(entry.ok()?)).collect()
    }

    /// Whether the data folder holds more than settings: an instance, or one that was begun.
    pub fn has_data(&self) -> bool {
        let entries = fs::read_dir(&self.data).into_iter().flatten().filter_map(Result::ok);
        let is_store = |entry: fs::DirEntry| entry.path().extension().is_some_and(|kind| kind == "sqlite");
        self.instance().exists() || self.unfinished().exists() || entries.into_iter().any(is_store)
    }

    /// The order that was signed to be handed in under `key`: a repetition hands in the same one.
    pub fn order(&self, key: &str) -> PathBuf {
        self.keys.join("orders").join(format!("{}.json", hash::hex(&hash::sha256(key.as_bytes())[..16])))
    }

    /// Keeps the order signed to be handed in under `key`, and lets go of orders nobody will repeat.
    pub fn keep_order<T: Serialize>(&self, key: &str, order: &T) -> anyhow::Result<()> {
        let path = self.order(key);
        remove_older(&self.keys.join("orders"), ORDERS_KEPT);
        write_private(&path, &serde_json::to_vec(order)?)
    }

    /// The order kept for `key`.
    pub fn kept_order<T: DeserializeOwned>(&self, key: &str) -> anyhow::Result<Option<T>> {
        let path = self.order(key);
        let Ok(text) = fs::read(&path) else { return Ok(None) };
        Ok(Some(serde_json::from_slice(&text).with_context(|| format!("{} is damaged", path.display()))?))
    }

    /// Keeps the `headers` of one request in a file of their own, so that requests made side by side do not take each
    /// other's; gives its path.
    pub fn keep_headers(&self, id: &str, headers: &str) -> anyhow::Result<PathBuf> {
        let folder = self.keys.join("headers");
        make_private(&folder)?;
        remove_older(&folder, HEADERS_KEPT);
        let path = folder.join(id);
        write_private(&path, headers.as_bytes())?;
        Ok(path)
    }

    /// The token that `did` got with its second key a moment ago.
    pub fn stepped_up(&self, did: &Did) -> PathBuf {
        self.keys.join("stepped-up").join(format!("{}.json", did.specific_id()))
    }

    /// Keeps a token that was got with a second key until `ends_at`.
    pub fn keep_stepped_up(&self, did: &Did, token: &str, ends_at: Timestamp) -> anyhow::Result<()> {
        make_private(&self.keys.join("stepped-up"))?;
        write_private(&self.stepped_up(did), &serde_json::to_vec(&(token, ends_at))?)
    }

    /// The token kept for `did`, while it counts.
    pub fn kept_stepped_up(&self, did: &Did, now: Timestamp) -> Option<(String, Timestamp)> {
        let path = self.stepped_up(did);
        let kept: (String, Timestamp) = serde_json::from_slice(&fs::read(&path).ok()?).ok()?;
        if now < kept.1 {
            return Some(kept);
        }
        // What is left of it opens nothing; it need not lie about either.
        let _ = fs::remove_file(path);
        None
    }

    /// The key file that unseals qlock.
    pub fn unseal_key(&self) -> PathBuf {
        self.keys.join("unseal.key")
    }

    /// The key by which the processes of the instance know each other's words on a bus; made where there is none.
    ///
    /// # Errors
    /// A replica that keeps nothing here and was not given it: one it made itself nobody else would know.
    pub fn bus_key(&self) -> anyhow::Result<[u8; 32]> {
        let path = self.keys.join("bus.key");
        if !path.exists() {
            if !self.has_data() {
                let what = format!(
                    "{} is missing: copy it here from the key folder of the instance, whose processes know each other \
                     on the bus by it",
                    path.display()
                );
                return Err(with_code(exit::CANNOT_START, what));
            }
            let draft = path.with_extension(format!("{}.draft", std::process::id()));
            write_private(&draft, hash::hex(&Env::system().random::<32>()).as_bytes())?;
            // Of two processes that start at once, the first one's counts.
            let linked = fs::hard_link(&draft, &path);
            fs::remove_file(&draft)?;
            if let Err(error) = linked
                && error.kind() != ErrorKind::AlreadyExists
            {
                return Err(error).with_context(|| format!("{} cannot be written", path.display()));
            }
        }
        let text = fs::read(&path).with_context(|| format!("{} cannot be read", path.display()))?;
        let key = data_encoding::HEXLOWER.decode(text.trim_ascii()).ok().and_then(|key| key.try_into().ok());
        key.with_context(|| format!("{} is damaged: it holds 64 hexadecimal digits", path.display()))
    }

    /// The keyring file of the identity called `name`.
    pub fn keyring(&self, name: &str) -> PathBuf {
        self.keys.join("keyring").join(format!("{name}.json"))
    }

    /// Makes the folders, readable by their owner only.
    pub fn create(&self) -> anyhow::Result<()> {
        make_private(&self.data)?;
        make_private(&self.keys.join("keyring"))?;
        make_private(&self.keys.join("orders"))
    }

    /// What instance this is.
    pub fn read_instance(&self) -> anyhow::Result<InstanceFile> {
        // A replica on a server's database keeps nothing here; who it is of, it learns from its keys.
        if !self.has_data() && self.instance_copy().exists() {
            return read(&self.instance_copy(), || anyhow::anyhow!("the key folder was removed just now"));
        }
        read(&self.instance(), || {
            let data = self.data.display();
            let what = if self.has_data() {
                format!(
                    "{data} lacks instance.json; `q init --data {data}` makes it again from the key folder"
                )
            } else {
                format!("{data} holds no instance; `q init` or `q up` makes one")
            };
            with_code(exit::CANNOT_START, what)
        })
    }

    /// The identity called `name`.
    pub fn read_keyring(&self, name: &str) -> anyhow::Result<Keyring> {
        if !is_plain(name) {
            return Err(self.unknown(name));
        }
        read(&self.keyring(name), || {
            let keys = self.keys.display();
            if !self.keys.join("keyring").exists() && self.has_data() {
                return with_code(
                    exit::CANNOT_START,
                    format!("the key folder {keys} of this instance is missing; {RESTORE_KEYS}"),
                );
            }
            let is_of_the_house = name == INSTANCE || name == OPERATOR || name.starts_with("service-");
            if is_of_the_house && self.has_data() {
                return with_code(
                    exit::CANNOT_START,
                    format!("the key folder {keys} lacks the keys of {name}; {RESTORE_KEYS}"),
                );
            }
            self.unknown(name)
        })
    }

    /// That the keyring has nobody of this name. What there is for the house's own use is not offered.
    fn unknown(&self, name: &str) -> anyhow::Error {
        let mut names = self.names().unwrap_or_default();
        names.retain(|name| name != INSTANCE && !name.starts_with("service-"));
        let is_number = name.starts_with(|first: char| first.is_ascii_digit());
        let is_reference = name.len() > 16 && name.starts_with('Q');
        let further = match () {
            () if is_number => "; an amount stands after whom it is for".to_owned(),
            () if is_reference => format!("; a wallet reference has 26 characters, and this {}", name.len()),
            () if name.starts_with("wallet_") => "; a wallet id is wallet_ and 32 digits".to_owned(),
            () if is_plain(name) => format!("; `q id new {name}` makes one"),
            () => String::new(),
        };
        unknown("identity", name, &names, &format!("`q id list`{further}"))
    }

    /// Who `name` is. Where its keys are not kept, as on a replica of another module, its public log says so.
    pub fn read_did(&self, name: &str) -> anyhow::Result<Did> {
        let genesis = self.genesis(name);
        if self.keyring(name).exists() || !genesis.exists() {
            return Ok(self.read_keyring(name)?.did);
        }
        let read = || -> anyhow::Result<Did> {
            let log = Log::verify(&fs::read_to_string(&genesis)?, Env::system().now(), Policy::House)?;
            Ok(Did::squid(&log.head().scid)?)
        };
        read().with_context(|| format!("{} is damaged", genesis.display()))
    }

    /// Keeps `keyring` under `name`, replacing what was there.
    pub fn write_keyring(&self, name: &str, keyring: &Keyring) -> anyhow::Result<()> {
        check_name(name)?;
        write_private(&self.keyring(name), &serde_json::to_vec_pretty(keyring)?)
    }

    /// What the identity `did` is called in the keyring, if its keys are here.
    pub fn name_of(&self, did: &Did) -> Option<String> {
        let is_its = |name: &String| self.read_keyring(name).is_ok_and(|keyring| keyring.did == *did);
        self.names().ok()?.into_iter().find(is_its)
    }

    /// `text` with the names in this keyring before the DIDs they stand for.
    pub fn naming(&self, text: &str) -> String {
        if !text.contains("did:") {
            return text.to_owned();
        }
        let mut named = text.to_owned();
        for name in self.names().unwrap_or_default() {
            let Ok(keyring) = self.read_keyring(&name) else { continue };
            let (did, whole) = (keyring.did.as_str(), format!("{name} ({})", keyring.did));
            if !named.contains(&whole) {
                named = named.replace(did, &whole);
            }
        }
        named
    }

    /// The names in the keyring, sorted.
    pub fn names(&self) -> anyhow::Result<Vec<String>> {
        let folder = self.keys.join("keyring");
        let entries = fs::read_dir(&folder).map_err(|_| {
            let keys = self.keys.display();
            let what = if self.has_data() {
                format!("the key folder {keys} of this instance is missing; {RESTORE_KEYS}")
            } else {
                format!("no keyring in {keys}; `q init` or `q up` makes one")
            };
            with_code(exit::CANNOT_START, what)
        })?;
        let mut names: Vec<String> = entries
            .filter_map(|entry| Some(entry.ok()?.file_name().to_str()?.strip_suffix(".json")?.to_owned()))
            .collect();
        names.sort();
        Ok(names)
    }
}

/// What to do without secrets.
pub const RESTORE_KEYS: &str =
    "restore it from the copy kept apart from the data: no new key opens what the old ones closed";

/// The JSON in the file at `path`; what `missing` says when there is none.
fn read<T: DeserializeOwned>(path: &Path, missing: impl FnOnce() -> anyhow::Error) -> anyhow::Result<T> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(missing()),
        Err(error) => return Err(error).with_context(|| format!("{} cannot be read", path.display())),
    };
    serde_json::from_slice(&text).with_context(|| format!("{} is damaged", path.display()))
}

/// Makes a folder that only its owner reads, unless it is there.
pub fn make_private(folder: &Path) -> anyhow::Result<()> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.with_context(|| format!("the folder {} cannot be made", folder.display()))
}

/// Removes the files of `folder` that were written longer ago than `age`. What cannot be removed stays: nothing
/// depends on its being gone.
fn remove_older(folder: &Path, age: Duration) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.filter_map(Result::ok) {
        let written = entry.metadata().and_then(|about| about.modified());
        if written.is_ok_and(|written| written.elapsed().is_ok_and(|passed| passed > age)) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn is_plain(name: &str) -> bool {
    let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    !name.is_empty() && name.len() <= 64 && name.bytes().all(is_of_name)
}

fn check_name(name: &str) -> anyhow::Result<()> {
    if !is_plain(name) {
        return Err(usage(format!("{name:?} is not a keyring name; use letters, digits, - and _")));
    }
    Ok(())
}

/// Writes `content` so that a crash leaves the old file or the new one, readable by its owner only.
pub fn write_private(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    // Of this process alone: two that write the same file do not meet in the draft.
    let draft = path.with_extension(format!("{}.draft", std::process::id()));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_knows_whose_word_counts_and_holds_no_keys_of_others() {
        let folder = tempfile::tempdir().unwrap();
        let (whole, replica) = (Layout::of(&folder.path().join("a")), Layout::of(&folder.path().join("b")));
        whole.create().unwrap();
        replica.create().unwrap();
        let (keyring, log, _) = Keyring::create("qnode.localhost:8080", &Env::system()).unwrap();
        whole.write_keyring("service-qonsent", &keyring).unwrap();
        assert!(replica.read_did("service-qonsent").is_err());
        fs::write(replica.genesis("service-qonsent"), log.to_text()).unwrap();
        assert_eq!(replica.read_did("service-qonsent").unwrap(), keyring.did);
        assert_eq!(whole.read_did("service-qonsent").unwrap(), keyring.did);
    }

    #[test]
    fn the_key_of_the_bus_is_made_once_and_never_by_a_replica() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::of(&folder.path().join("a"));
        layout.create().unwrap();
        assert!(layout.bus_key().unwrap_err().to_string().contains("copy it here"));
        write_private(&layout.unfinished(), b"").unwrap();
        let key = layout.bus_key().unwrap();
        assert_eq!(layout.bus_key().unwrap(), key);
        fs::write(layout.keys.join("bus.key"), "no key").unwrap();
        assert!(layout.bus_key().unwrap_err().to_string().contains("damaged"));
    }
}
