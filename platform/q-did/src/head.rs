//! What the newest entry of a verified log leaves behind, and the rules the next one must keep.

use std::{borrow::Cow, collections::BTreeSet};

use q_core::{Span, Timestamp};
use q_jose::PublicKey;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    document::Document,
    entry::{Canonical, Entry, METHOD, PROOFS_MAX, is_multihash, text_hash},
    name::WebName,
    rule::Rule,
};

/// How far ahead of the verifier's clock an entry may be dated.
pub const FUTURE_MAX: Span = Span::seconds(60);
/// The most entries a log may hold.
pub const ENTRIES_MAX: u32 = 10_000;
/// The most keys, or commitments to keys, one entry may list.
pub const KEYS_MAX: usize = 20;

/// How much is asked of a log beyond did:webvh 1.0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Any log of the method: identities of other houses.
    WebVh,
    /// What an identity registered here keeps to: portable, pre-rotation with two keys, our alias.
    House,
}

/// The state of a log after its newest entry: all that is needed to judge the next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Head {
    /// The self-certifying id.
    pub scid: String,
    /// The number of entries.
    pub version: u32,
    /// `<number>-<hash>` of the newest entry.
    pub version_id: String,
    /// When the newest entry was made.
    pub version_time: Timestamp,
    /// The did:webvh name in the newest document.
    pub id: String,
    /// Multikeys that may sign the next entry while no pre-rotation is active.
    pub update_keys: Vec<String>,
    /// Commitments; when not empty, only keys they name may sign the next entry.
    pub next_key_hashes: Vec<String>,
    /// Whether the identity may move to another host.
    pub portable: bool,
    /// Whether the identity has ended.
    pub deactivated: bool,
}

/// A key with its text, which is what commitments hash.
#[derive(Debug, Clone)]
struct UpdateKey {
    text: String,
    key: PublicKey,
}

/// The parameters of one entry, each checked for its type.
struct Parameters {
    update_keys: Option<Vec<UpdateKey>>,
    next_key_hashes: Option<Vec<String>>,
    portable: Option<bool>,
    deactivated: bool,
}

impl Head {
    /// Judges a first entry.
    pub fn genesis(entry: &Entry, now: Timestamp, policy: Policy) -> Result<Self, Rule> {
        check_version(entry, 1)?;
        let version_time = check_time(entry, None, now)?;
        let parameters = Parameters::read(&entry.parameters)?;
        if entry.parameters.get("method").and_then(Value::as_str) != Some(METHOD) {
            return Err(Rule::Method);
        }
        let scid = entry.parameters.get("scid").and_then(Value::as_str).ok_or(Rule::ScidPlace)?;
        if !is_multihash(scid) || entry.scid_if(scid)? != scid {
            return Err(Rule::ScidMismatch);
        }
        let id = check_id(entry, scid)?;
        let canonical = entry.canonical()?;
        check_hash(entry, &canonical, scid)?;
        let update_keys =
            parameters.update_keys.filter(|keys| !keys.is_empty()).ok_or(Rule::UpdateKeysMissing)?;
        check_proofs(entry, &canonical, &update_keys)?;
        let head = Self {
            scid: scid.to_owned(),
            version: 1,
            version_id: entry.version_id.clone(),
            version_time,
            id: id.to_string(),
            update_keys: update_keys.into_iter().map(|update_key| update_key.text).collect(),
            next_key_hashes: parameters.next_key_hashes.unwrap_or_default(),
            portable: parameters.portable.unwrap_or(false),
            deactivated: parameters.deactivated,
        };
        head.check_policy(entry, policy)?;
        Ok(head)
    }

    /// Judges the entry that would follow this head.
    pub fn next(&self, entry: &Entry, now: Timestamp, policy: Policy) -> Result<Self, Rule> {
        if self.deactivated {
            return Err(Rule::Deactivated);
        }
        if self.version >= ENTRIES_MAX {
            return Err(Rule::Size);
        }
        check_version(entry, self.version + 1)?;
        let version_time = check_time(entry, Some(self.version_time), now)?;
        let parameters = Parameters::read(&entry.parameters)?;
        if entry.parameters.get("method").is_some_and(|method| method != METHOD) {
            return Err(Rule::Method);
        }
        if entry.parameters.contains_key("scid") {
            return Err(Rule::ScidPlace);
        }
        if parameters.portable == Some(true) && !self.portable {
            return Err(Rule::PortableLate);
        }
        let portable = parameters.portable.unwrap_or(self.portable);
        // A name that was checked in the entry before need not be read again.
        let stays = entry.state.get("id").is_some_and(|id| id == self.id.as_str());
        let id = if stays { self.id.clone() } else { check_id(entry, &self.scid)?.to_string() };
        if !stays && !portable {
            return Err(Rule::NotPortable);
        }
        let canonical = entry.canonical()?;
        check_hash(entry, &canonical, &self.version_id)?;
        check_proofs(entry, &canonical, &self.signers(&parameters)?)?;
        let head = Self {
            scid: self.scid.clone(),
            version: self.version + 1,
            version_id: entry.version_id.clone(),
            version_time,
            id,
            update_keys: match parameters.update_keys {
                Some(keys) => keys.into_iter().map(|update_key| update_key.text).collect(),
                None => self.update_keys.clone(),
            },
            next_key_hashes: parameters.next_key_hashes.unwrap_or_else(|| self.next_key_hashes.clone()),
            portable,
            deactivated: parameters.deactivated,
        };
        head.check_policy(entry, policy)?;
        Ok(head)
    }

    /// The keys that may sign an entry with these parameters.
    ///
    /// With pre-rotation the entry reveals its own keys, each of which must have been committed to; a
    /// key that is merely current may sign nothing. Without it, the keys of the entry before sign.
    fn signers<'p>(&self, parameters: &'p Parameters) -> Result<Cow<'p, [UpdateKey]>, Rule> {
        if self.next_key_hashes.is_empty() {
            let read = |text: &String| {
                PublicKey::from_multikey(text).map(|key| UpdateKey { text: text.clone(), key })
            };
            let keys = self.update_keys.iter().map(read);
            return keys.collect::<Result<_, _>>().map(Cow::Owned).map_err(|_| Rule::UpdateKeyMalformed);
        }
        let keys = parameters.update_keys.as_deref().unwrap_or_default();
        if keys.is_empty() {
            return Err(Rule::UpdateKeysMissing);
        }
        let is_committed =
            |update_key: &UpdateKey| self.next_key_hashes.contains(&text_hash(&update_key.text));
        if !keys.iter().all(is_committed) {
            return Err(Rule::KeyNotCommitted);
        }
        if parameters.next_key_hashes.is_none() {
            return Err(Rule::NextKeyHashesMissing);
        }
        Ok(Cow::Borrowed(keys))
    }

    fn check_policy(&self, entry: &Entry, policy: Policy) -> Result<(), Rule> {
        if policy == Policy::WebVh {
            return Ok(());
        }
        if !self.portable {
            return Err(Rule::HousePortable);
        }
        // Two commitments: the device's next key and the one its owner keeps offline.
        if !self.deactivated && self.next_key_hashes.len() < 2 {
            return Err(Rule::HousePreRotation);
        }
        Document::new(&entry.state).check_house_rules(&self.scid)
    }
}

impl Parameters {
    fn read(members: &Map<String, Value>) -> Result<Self, Rule> {
        let mut read = Self { update_keys: None, next_key_hashes: None, portable: None, deactivated: false };
        for (name, value) in members {
            match name.as_str() {
                "method" | "scid" => drop(value.as_str().ok_or(Rule::ParameterValue)?),
                "updateKeys" => read.update_keys = Some(update_keys(value)?),
                "nextKeyHashes" => read.next_key_hashes = Some(next_key_hashes(value)?),
                "portable" => read.portable = Some(value.as_bool().ok_or(Rule::ParameterValue)?),
                "deactivated" => read.deactivated = value.as_bool().ok_or(Rule::ParameterValue)?,
                "witness" => check_witness(value)?,
                "watchers" => drop(texts(value, Rule::ParameterValue)?),
                "ttl" => drop(value.as_u64().ok_or(Rule::ParameterValue)?),
                _ => return Err(Rule::UnknownParameter),
            }
        }
        Ok(read)
    }
}

fn check_version(entry: &Entry, expected: u32) -> Result<(), Rule> {
    if entry.version() == Some(expected) { Ok(()) } else { Err(Rule::VersionNumber) }
}

fn check_time(entry: &Entry, after: Option<Timestamp>, now: Timestamp) -> Result<Timestamp, Rule> {
    let time = entry.time()?;
    if after.is_some_and(|after| time <= after) {
        return Err(Rule::VersionTimeOrder);
    }
    if time > now + FUTURE_MAX { Err(Rule::VersionTimeFuture) } else { Ok(time) }
}

fn check_id(entry: &Entry, scid: &str) -> Result<WebName, Rule> {
    let id = entry.state.get("id").and_then(Value::as_str).ok_or(Rule::StateId)?;
    let name: WebName = id.parse().map_err(|_| Rule::StateId)?;
    if name.scid == scid { Ok(name) } else { Err(Rule::StateIdScid) }
}

fn check_hash(entry: &Entry, canonical: &Canonical, previous: &str) -> Result<(), Rule> {
    let (_, hash) = entry.version_id.split_once('-').ok_or(Rule::VersionNumber)?;
    if canonical.entry_hash(previous)? == hash { Ok(()) } else { Err(Rule::EntryHash) }
}

/// Every proof must hold and be by a key that may sign: a stray proof would mean something to someone.
fn check_proofs(entry: &Entry, canonical: &Canonical, signers: &[UpdateKey]) -> Result<(), Rule> {
    if entry.proof.is_empty() || entry.proof.len() > PROOFS_MAX {
        return Err(Rule::ProofCount);
    }
    for proof in &entry.proof {
        let multikey = proof.multikey()?;
        let Some(signer) = signers.iter().find(|signer| signer.text == multikey) else {
            let is_key = PublicKey::from_multikey(multikey).is_ok();
            return Err(if is_key { Rule::ProofUnauthorised } else { Rule::ProofKey });
        };
        proof.verify(&signer.key, canonical, &entry.version_id)?;
    }
    Ok(())
}

fn texts(value: &Value, rule: Rule) -> Result<Vec<&str>, Rule> {
    let items = value.as_array().filter(|items| items.len() <= KEYS_MAX).ok_or(rule)?;
    items.iter().map(|item| item.as_str().ok_or(rule)).collect()
}

fn update_keys(value: &Value) -> Result<Vec<UpdateKey>, Rule> {
    let mut keys: Vec<UpdateKey> = Vec::new();
    for text in texts(value, Rule::UpdateKeyMalformed)? {
        let key = PublicKey::from_multikey(text).map_err(|_| Rule::UpdateKeyMalformed)?;
        if keys.iter().any(|earlier| earlier.key == key) {
            return Err(Rule::UpdateKeyMalformed);
        }
        keys.push(UpdateKey { text: text.to_owned(), key });
    }
    Ok(keys)
}

fn next_key_hashes(value: &Value) -> Result<Vec<String>, Rule> {
    let hashes = texts(value, Rule::NextKeyHashMalformed)?;
    let are_distinct = hashes.iter().collect::<BTreeSet<_>>().len() == hashes.len();
    if are_distinct && hashes.iter().all(|hash| is_multihash(hash)) {
        Ok(hashes.into_iter().map(str::to_owned).collect())
    } else {
        Err(Rule::NextKeyHashMalformed)
    }
}

/// `{}` says that there are no witnesses; anything else must be well formed, and is then not accepted.
fn check_witness(value: &Value) -> Result<(), Rule> {
    let members = value.as_object().ok_or(Rule::ParameterValue)?;
    if members.is_empty() {
        return Ok(());
    }
    let witnesses = members.get("witnesses").and_then(Value::as_array).ok_or(Rule::ParameterValue)?;
    let mut ids = BTreeSet::new();
    for witness in witnesses {
        let id = witness.get("id").and_then(Value::as_str).ok_or(Rule::WitnessId)?;
        PublicKey::from_did_key(id).map_err(|_| Rule::WitnessId)?;
        if !ids.insert(id) {
            return Err(Rule::WitnessDuplicate);
        }
    }
    let threshold = members.get("threshold").and_then(Value::as_u64).ok_or(Rule::WitnessThreshold)?;
    if threshold == 0 || threshold > witnesses.len() as u64 {
        return Err(Rule::WitnessThreshold);
    }
    Err(Rule::WitnessUnsupported)
}
