//! Which keys an identity holds, from its own log, and what kind of identity it is, kept in memory until it changes.
//!
//! The log is verified here and not where it is stored: whoever steals or bends squid's database cannot
//! give an identity another key.

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use futures_util::future::BoxFuture;
use parking_lot::RwLock;
use q_core::{Did, Env, Event, IdentityKind, IdentityStatus, Span, Timestamp};
use q_did::{Document, Log, Policy, VerificationMethod, multikey_of, scid_of};
use q_jose::PublicKey;
use serde::Deserialize;

use crate::{generations::Generations, revocations::Revocations};

/// How long an answer is used without asking again; changes are heard by event long before.
const FRESH_FOR: Span = Span::seconds(300);
/// How long it is believed while the directory does not answer: long enough for a restart, not for a partition in
/// which a removed key would go on signing.
const BELIEVED_FOR: Span = Span::seconds(900);
/// Identities remembered, per generation.
const CACHE_HALF_MAX: usize = 32 * 1024;

/// Counters of changes; identities share them by hash, which at worst costs a second look.
const CHANGE_COUNTERS: usize = 1024;

/// Fetches the log of an identity.
pub trait LogLoader: Send + Sync + 'static {
    /// The content of `did.jsonl`, or `None` when no such identity is registered.
    fn load<'a>(&'a self, scid: &'a str) -> BoxFuture<'a, Result<Option<String>, DirectoryError>>;

    /// What squid says of an identity besides its keys, or `None` when it does not know it.
    fn standing<'a>(&'a self, did: &'a Did) -> BoxFuture<'a, Result<Option<Standing>, DirectoryError>> {
        let _ = did;
        Box::pin(async { Ok(None) })
    }
}

/// What kind of identity it is, whose, and whether it may act: squid's word, unlike the keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The identity, by its location-free name.
    pub did: Did,
    /// What kind it is; never changes.
    pub kind: IdentityKind,
    /// Whether it may act.
    pub status: IdentityStatus,
    /// Whose sub-identity it is; never changes. None for one that hides it.
    pub parent: Option<Did>,
    /// The top of the tree it belongs to, for a sub-identity.
    pub root: Option<Did>,
    /// The guardians of somebody in their care, or the owners of an undertaking; the parent is the first.
    pub guardians: Vec<Did>,
}

impl Standing {
    /// An identity of nobody else's that may act.
    pub const fn root(did: Did) -> Self {
        Self {
            did,
            kind: IdentityKind::Root,
            status: IdentityStatus::Active,
            parent: None,
            root: None,
            guardians: Vec::new(),
        }
    }

    /// Whether it may act.
    pub fn may_act(&self) -> bool {
        self.status == IdentityStatus::Active
    }
}

/// An identity's keys could not be learned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DirectoryError {
    /// No such identity is known here.
    #[error("no such identity is known here")]
    Unknown,
    /// The log that was served breaks a rule.
    #[error("the identity's log was refused: {0}")]
    LogRefused(q_did::Refused),
    /// The directory did not answer, and nothing is remembered.
    #[error("the identity directory did not answer: {0}")]
    Unavailable(String),
}

/// Why a signature does not count as an identity's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureRefused {
    /// The key id is not `<identity>#<multikey>`.
    #[error("the key id does not name an identity and its key")]
    KeyId,
    /// The identity does not hold the key now, or not for this purpose.
    #[error("the identity does not hold this key")]
    KeyNotHeld,
    /// The identity is suspended or ended.
    #[error("the identity may not act")]
    Blocked,
    /// The signature does not hold.
    #[error("the signature does not hold")]
    Signature,
    /// The identity's keys could not be learned.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
}

/// The keys of one identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityKeys {
    /// The identity, by its location-free name.
    pub did: Did,
    /// Its keys; empty once it has ended.
    pub methods: Vec<VerificationMethod>,
    /// The version of its log.
    pub version_id: String,
    /// Since when it holds these keys.
    pub since: Timestamp,
    loaded_at: Timestamp,
}

impl IdentityKeys {
    /// Whether the identity may log in and sign commands with `key`.
    pub fn authenticates_with(&self, key: &PublicKey) -> bool {
        self.methods.iter().any(|method| method.is_authentication && method.key == *key)
    }
}

/// Standings, with the instants they were loaded at.
type Standings = Generations<Did, (Arc<Standing>, Timestamp)>;

/// Resolves identities to their keys. Cheap to clone; the copies remember together.
#[derive(Clone)]
pub struct KeyDirectory {
    env: Env,
    loader: Arc<dyn LogLoader>,
    revocations: Arc<Revocations>,
    cache: Arc<RwLock<Generations<Did, Arc<IdentityKeys>>>>,
    standings: Arc<RwLock<Standings>>,
    changes: Arc<Changes>,
}

/// How often identities have changed, so that an answer which was on its way meanwhile is not remembered.
struct Changes {
    hasher: RandomState,
    counts: Vec<AtomicU64>,
}

impl Changes {
    fn new() -> Self {
        let counts = (0..CHANGE_COUNTERS).map(|_| AtomicU64::new(0)).collect();
        Self { hasher: RandomState::new(), counts }
    }

    fn count(&self, did: &Did) -> &AtomicU64 {
        let at = self.hasher.hash_one(did) % CHANGE_COUNTERS as u64;
        &self.counts[usize::try_from(at).unwrap_or_default()]
    }
}

#[derive(Deserialize)]
struct About {
    did: Did,
}

impl KeyDirectory {
    /// A directory that remembers nothing yet.
    pub fn new(env: Env, loader: Arc<dyn LogLoader>, revocations: Arc<Revocations>) -> Self {
        let cache = Arc::new(RwLock::new(Generations::new(CACHE_HALF_MAX)));
        let standings = Arc::new(RwLock::new(Generations::new(CACHE_HALF_MAX)));
        Self { env, loader, revocations, cache, standings, changes: Arc::new(Changes::new()) }
    }

    /// Takes an event of squid into account: a changed identity is looked up again when next needed.
    pub fn hear(&self, event: &Event) {
        let is_about_one = ["q.squid.identity.", "q.squid.subidentity."]
            .iter()
            .any(|prefix| event.topic.starts_with(prefix));
        if is_about_one && let Ok(About { did }) = About::deserialize(&event.data) {
            self.forget(&did);
        }
    }

    /// Forgets an identity's keys and standing.
    pub fn forget(&self, did: &Did) {
        let mut cache = self.cache.write();
        let mut standings = self.standings.write();
        self.changes.count(did).fetch_add(1, Ordering::Relaxed);
        cache.remove(did);
        standings.remove(did);
    }

    /// Whether it is known that the identity may not act: suspended, ended, or not yet agreed to. Never waits.
    pub fn is_blocked(&self, did: &Did) -> bool {
        self.revocations.is_blocked(did)
    }

    /// What kind of identity it is, whose, and whether it may act; as fresh as its keys are. Accepts what
    /// [`Self::resolve`] accepts; a `did:key` squid does not know is its own root.
    pub async fn standing(&self, did: &Did) -> Result<Arc<Standing>, DirectoryError> {
        let is_key = did.method() == "key";
        let did = if is_key {
            did.clone()
        } else {
            let scid = scid_of(did).map_err(|_| DirectoryError::Unknown)?;
            Did::squid(&scid).map_err(|_| DirectoryError::Unknown)?
        };
        let now = self.env.now();
        let remembered = self.standings.read().peek(&did).map(|(known, _)| known.clone());
        if let Some((standing, loaded_at)) = &remembered
            && now.since(*loaded_at) < FRESH_FOR
        {
            return Ok(standing.clone());
        }
        let changes = self.changes.count(&did).load(Ordering::Relaxed);
        let standing = match self.loader.standing(&did).await {
            Ok(Some(standing)) => Arc::new(standing),
            Ok(None) if is_key => Arc::new(Standing::root(did.clone())),
            Ok(None) => return Err(DirectoryError::Unknown),
            Err(error) => {
                let still_believed = remembered.filter(|(_, loaded_at)| now.since(*loaded_at) < BELIEVED_FOR);
                return still_believed.map(|(standing, _)| standing).ok_or(error);
            }
        };
        let mut standings = self.standings.write();
        if self.changes.count(&did).load(Ordering::Relaxed) == changes {
            standings.insert(did, (standing.clone(), now));
        }
        Ok(standing)
    }

    /// The identity's keys as last learned, however long ago that was; never waits.
    pub fn remembered(&self, did: &Did) -> Option<Arc<IdentityKeys>> {
        let found = self.cache.read().peek(did).map(|(keys, is_young)| (keys.clone(), is_young));
        let (keys, is_young) = found?;
        if !is_young {
            let mut cache = self.cache.write();
            // Unless it was forgotten between the two locks.
            if cache.peek(did).is_some_and(|(held, _)| Arc::ptr_eq(held, &keys)) {
                cache.insert(did.clone(), keys.clone());
            }
        }
        Some(keys)
    }

    /// The identity's keys. Accepts did:squid, did:webvh of an identity registered here, and did:key.
    pub async fn resolve(&self, did: &Did) -> Result<Arc<IdentityKeys>, DirectoryError> {
        if did.method() == "key" {
            return keys_of_did_key(did, self.env.now()).map(Arc::new);
        }
        let scid = scid_of(did).map_err(|_| DirectoryError::Unknown)?;
        let did = Did::squid(&scid).map_err(|_| DirectoryError::Unknown)?;
        let remembered = self.remembered(&did);
        let now = self.env.now();
        if let Some(keys) = &remembered
            && now.since(keys.loaded_at) < FRESH_FOR
        {
            return Ok(keys.clone());
        }
        let changes = self.changes.count(&did).load(Ordering::Relaxed);
        let text = match self.loader.load(&scid).await {
            Ok(Some(text)) => text,
            Ok(None) => return Err(DirectoryError::Unknown),
            // The directory is down: what was true a while ago is better than a standstill, for a while.
            Err(error) => {
                let still_believed = |keys: &Arc<IdentityKeys>| now.since(keys.loaded_at) < BELIEVED_FOR;
                return remembered.filter(still_believed).ok_or(error);
            }
        };
        let keys = Arc::new(keys_of_log(&did, &text, now)?);
        let mut cache = self.cache.write();
        // Counted under the same lock: what changed since the question was asked is asked for again.
        if self.changes.count(&did).load(Ordering::Relaxed) == changes {
            cache.insert(did, keys.clone());
        }
        Ok(keys)
    }

    /// The keys the identity held at `at`, for signatures that were put on record then: rotating a key out does
    /// not undo what it signed before. None for an identity that has ended.
    pub async fn resolve_at(
        &self,
        did: &Did,
        at: Timestamp,
    ) -> Result<Vec<VerificationMethod>, DirectoryError> {
        let present = self.resolve(did).await?;
        if at >= present.since || present.methods.is_empty() {
            return Ok(present.methods.clone());
        }
        let log = self.log_of(&present).await?;
        Ok(log
            .at_time(at)
            .map(|entry| Document::new(&entry.state).verification_methods())
            .unwrap_or_default())
    }

    /// Whether the identity has held the key `key_id` by `at`, for signatures that were accepted then. The instants of a
    /// log are its author's word, in whole seconds: who replaces a key may date that back, and takes nothing back by it.
    /// Nothing of the log counts that says to be younger.
    pub async fn has_held(&self, did: &Did, key_id: &str, at: Timestamp) -> Result<bool, DirectoryError> {
        let log = self.log_of(&*self.resolve(did).await?).await?;
        let mut by_then = log.entries().iter().filter(|entry| entry.time().is_ok_and(|made| made <= at));
        Ok(by_then.any(|entry| {
            Document::new(&entry.state).verification_methods().iter().any(|method| method.id == key_id)
        }))
    }

    /// The whole log of whose keys these are.
    async fn log_of(&self, present: &IdentityKeys) -> Result<Log, DirectoryError> {
        let text = self.loader.load(present.did.specific_id()).await?.ok_or(DirectoryError::Unknown)?;
        let log = Log::verify(&text, self.env.now(), Policy::House).map_err(DirectoryError::LogRefused)?;
        if present.did.specific_id() != log.head().scid {
            return Err(DirectoryError::Unknown);
        }
        Ok(log)
    }

    /// The keys of whoever signs with `key_id`, and that key, where they are fresh in memory and it is spelled as it is
    /// there: then nothing has to be decoded.
    fn known(&self, key_id: &str) -> Option<(Arc<IdentityKeys>, PublicKey)> {
        let (did, _) = key_id.split_once('#')?;
        let keys = self.remembered(&did.parse().ok()?)?;
        let key = keys.methods.iter().find(|method| method.id == key_id)?.key;
        (self.env.now().since(keys.loaded_at) < FRESH_FOR).then_some((keys, key))
    }

    /// Checks a signature by the key `key_id` (`did:…#z6Mk…`) and returns whose it is.
    pub async fn verify(
        &self,
        key_id: &str,
        message: &[u8],
        signature: &[u8],
    ) -> Result<Did, SignatureRefused> {
        let (keys, key) = if let Some(known) = self.known(key_id) {
            known
        } else {
            let (did, key) = multikey_of(key_id).ok_or(SignatureRefused::KeyId)?;
            (self.resolve(&did).await?, key)
        };
        if self.revocations.is_blocked(&keys.did) {
            return Err(SignatureRefused::Blocked);
        }
        if !keys.authenticates_with(&key) {
            return Err(SignatureRefused::KeyNotHeld);
        }
        key.verify(message, signature).map_err(|_| SignatureRefused::Signature)?;
        Ok(keys.did.clone())
    }
}

fn keys_of_did_key(did: &Did, now: Timestamp) -> Result<IdentityKeys, DirectoryError> {
    let key = PublicKey::from_did_key(did.as_str()).map_err(|_| DirectoryError::Unknown)?;
    let id = q_did::key_id(did, &key);
    let method = VerificationMethod { id, key, is_authentication: true, is_assertion: true };
    Ok(IdentityKeys {
        did: did.clone(),
        methods: vec![method],
        version_id: String::new(),
        since: Timestamp::default(),
        loaded_at: now,
    })
}

fn keys_of_log(did: &Did, text: &str, now: Timestamp) -> Result<IdentityKeys, DirectoryError> {
    let log = Log::verify(text, now, Policy::House).map_err(DirectoryError::LogRefused)?;
    if did.specific_id() != log.head().scid {
        return Err(DirectoryError::Unknown);
    }
    let methods = if log.head().deactivated { Vec::new() } else { log.document().verification_methods() };
    let (version_id, since) = (log.head().version_id.clone(), log.head().version_time);
    Ok(IdentityKeys { did: did.clone(), methods, version_id, since, loaded_at: now })
}
