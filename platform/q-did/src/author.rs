//! Writing a log: the first entry, rotations, recovery, deactivation.

use q_core::{Span, Timestamp};
use q_jose::{PublicKey, SecretKey};
use serde_json::{Map, Value, json};

use crate::{
    document::Document,
    entry::{Entry, METHOD, PLACEHOLDER, key_hash, multikeys, replace, replace_members},
    head::{Head, Policy},
    log::Log,
    name::{InvalidDid, WebName},
    rule::Rule,
};

/// What a new identity begins with.
#[derive(Debug)]
pub struct Genesis<'a> {
    /// The host that will serve the log, as in a URL (`qnode.localhost:8080`).
    pub host: &'a str,
    /// The current key: signs this entry, and is the identity's authentication key unless that is another.
    pub current: &'a SecretKey,
    /// The authentication key of somebody whose guardians hold the keys that change the keys.
    pub holder: Option<PublicKey>,
    /// The device's next key.
    pub next: PublicKey,
    /// The key its owner keeps offline.
    pub recovery: PublicKey,
    /// Further entries of `service`, with ids relative to the document (`#inbox`).
    pub services: Vec<Value>,
}

/// A change of keys.
#[derive(Debug)]
pub struct Rotation<'a> {
    /// The key being revealed: the committed next key, or the recovery key.
    pub revealed: &'a SecretKey,
    /// The key after it.
    pub next: PublicKey,
    /// The key its owner keeps offline from now on; a new one when the old one is being revealed.
    pub recovery: PublicKey,
    /// The host to move to, where the identity moves.
    pub host: Option<&'a str>,
}

/// Why an entry could not be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthorError {
    /// The host is not a DNS name of at least two labels, with an optional port.
    #[error("not a host name an identity can be served from")]
    Host,
    /// The entry would break a rule, such as a key nobody committed to.
    #[error("the entry would break the rule {0}")]
    Rule(Rule),
}

impl From<Rule> for AuthorError {
    fn from(rule: Rule) -> Self {
        Self::Rule(rule)
    }
}

impl From<InvalidDid> for AuthorError {
    fn from(_: InvalidDid) -> Self {
        Self::Host
    }
}

/// Writes entries and checks each as a stranger would.
#[derive(Debug)]
pub struct Author;

impl Author {
    /// Writes the first entry of a new identity.
    pub fn create(genesis: &Genesis<'_>, now: Timestamp) -> Result<Log, AuthorError> {
        // Any SCID-shaped text shows whether the host is one; the real SCID comes out of the hash.
        let sample = key_hash(&genesis.next);
        let id = WebName::at_host(&sample, genesis.host)?.to_string().replace(&sample, PLACEHOLDER);
        let key = genesis.current.public();
        let mut state = document(&id, &format!("did:squid:{PLACEHOLDER}"), &genesis.holder.unwrap_or(key));
        if !genesis.services.is_empty() {
            state["service"] = Value::Array(genesis.services.clone());
        }
        let mut parameters = Map::new();
        parameters.insert("method".into(), METHOD.into());
        parameters.insert("scid".into(), PLACEHOLDER.into());
        parameters.insert("updateKeys".into(), multikeys(&[key]));
        parameters
            .insert("nextKeyHashes".into(), json!([key_hash(&genesis.next), key_hash(&genesis.recovery)]));
        parameters.insert("portable".into(), true.into());
        let mut entry = Entry {
            version_id: PLACEHOLDER.into(),
            version_time: Timestamp::from_seconds(now.seconds()).to_string(),
            parameters,
            state,
            proof: Vec::new(),
        };
        let scid = entry.canonical()?.entry_hash(PLACEHOLDER)?;
        entry.parameters = replace_members(&entry.parameters, PLACEHOLDER, &scid);
        entry.state = replace(&entry.state, PLACEHOLDER, &scid);
        seal(&mut entry, 1, &scid, genesis.current)?;
        Ok(Log::start(entry, now, Policy::House)?)
    }

    /// Reveals the next (or the recovery) key, which replaces the current one, and commits to the keys
    /// that may follow.
    pub fn rotate(log: &Log, rotation: &Rotation<'_>, now: Timestamp) -> Result<Entry, AuthorError> {
        let head = log.head();
        let old = log.document();
        let old_name = old.name().ok_or(Rule::StateId)?;
        let name = match rotation.host {
            Some(host) => WebName::at_host(&head.scid, host)?,
            None => old_name.clone(),
        };
        let mut state = document(&name.to_string(), name.squid().as_str(), &rotation.revealed.public());
        state["alsoKnownAs"] = aliases(&old, &old_name, &name);
        if let Some(services) = old.value().get("service") {
            state["service"] = replace(services, &old_name.to_string(), &name.to_string());
        }
        let mut parameters = Map::new();
        parameters.insert("updateKeys".into(), multikeys(&[rotation.revealed.public()]));
        parameters
            .insert("nextKeyHashes".into(), json!([key_hash(&rotation.next), key_hash(&rotation.recovery)]));
        next_entry(head, parameters, state, rotation.revealed, now)
    }

    /// Ends the identity: its keys leave the document and nothing may follow.
    pub fn deactivate(log: &Log, revealed: &SecretKey, now: Timestamp) -> Result<Entry, AuthorError> {
        let head = log.head();
        let squid = format!("did:squid:{}", head.scid);
        let state = json!({
            "@context": ["https://www.w3.org/ns/did/v1"],
            "id": head.id,
            "alsoKnownAs": [squid],
        });
        let mut parameters = Map::new();
        parameters.insert("updateKeys".into(), multikeys(&[revealed.public()]));
        parameters.insert("nextKeyHashes".into(), json!([]));
        parameters.insert("deactivated".into(), true.into());
        next_entry(head, parameters, state, revealed, now)
    }
}

/// The aliases so far; after a move, the name moved away from joins them.
fn aliases(old: &Document<'_>, old_name: &WebName, name: &WebName) -> Value {
    let mut aliases = old.value().get("alsoKnownAs").and_then(Value::as_array).cloned().unwrap_or_default();
    let left = Value::from(old_name.to_string());
    if old_name != name && !aliases.contains(&left) {
        aliases.push(left);
    }
    Value::Array(aliases)
}

fn next_entry(
    head: &Head,
    parameters: Map<String, Value>,
    state: Value,
    signer: &SecretKey,
    now: Timestamp,
) -> Result<Entry, AuthorError> {
    // Whole seconds: two entries within one second are dated one second apart.
    let earliest = Timestamp::from_seconds(head.version_time.seconds()) + Span::seconds(1);
    let time = Timestamp::from_seconds(now.seconds()).max(earliest);
    let mut entry = Entry {
        version_id: head.version_id.clone(),
        version_time: time.to_string(),
        parameters,
        state,
        proof: Vec::new(),
    };
    seal(&mut entry, head.version + 1, &head.version_id, signer)?;
    head.next(&entry, now, Policy::House)?;
    Ok(entry)
}

/// Gives the entry its `versionId` and its proof.
fn seal(entry: &mut Entry, version: u32, previous: &str, signer: &SecretKey) -> Result<(), Rule> {
    entry.version_id = format!("{version}-{}", entry.canonical()?.entry_hash(previous)?);
    entry.sign(signer)
}

/// The document of an identity with one key.
fn document(id: &str, squid: &str, key: &PublicKey) -> Value {
    let multikey = key.to_multikey();
    let key_id = format!("{id}#{multikey}");
    json!({
        "@context": ["https://www.w3.org/ns/did/v1", "https://w3id.org/security/multikey/v1"],
        "id": id,
        "alsoKnownAs": [squid],
        "verificationMethod": [{
            "id": key_id,
            "type": "Multikey",
            "controller": id,
            "publicKeyMultibase": multikey,
        }],
        "authentication": [key_id],
        "assertionMethod": [key_id],
        "capabilityInvocation": [key_id],
        "capabilityDelegation": [key_id],
    })
}
