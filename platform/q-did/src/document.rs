//! The DID document in a log's state: reading its keys, and its views under the identity's names.

use q_jose::PublicKey;
use serde_json::{Value, json};

use crate::{
    entry::replace,
    name::{WebName, is_scid},
    rule::Rule,
};

/// The most verification methods a document may hold.
pub const METHODS_MAX: usize = 20;
/// The most services a document may hold.
pub const SERVICES_MAX: usize = 20;
/// The relations a key may have (DID Core section 5.3) that carry signatures.
const RELATIONS: [&str; 5] =
    ["authentication", "assertionMethod", "capabilityInvocation", "capabilityDelegation", "keyAgreement"];

/// A view of one state of an identity.
#[derive(Debug, Clone)]
pub struct Document<'a>(&'a Value);

/// One key of an identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerificationMethod {
    /// The canonical id, `did:squid:<SCID>#<multikey>`.
    pub id: String,
    /// The key.
    pub key: PublicKey,
    /// Whether the key may log in as the identity and sign its commands.
    pub is_authentication: bool,
    /// Whether the key may state facts and delegate for the identity.
    pub is_assertion: bool,
}

impl<'a> Document<'a> {
    /// Views the `state` of an entry.
    pub const fn new(state: &'a Value) -> Self {
        Self(state)
    }

    /// The did:webvh name.
    pub fn name(&self) -> Option<WebName> {
        self.0.get("id")?.as_str()?.parse().ok()
    }

    /// The document as it stands in the log.
    pub const fn value(&self) -> &'a Value {
        self.0
    }

    /// The Ed25519 keys whose id is one of the identity's own names with the key as fragment.
    ///
    /// Other methods are skipped: what a fragment does not spell out, a key id cannot name safely.
    pub fn verification_methods(&self) -> Vec<VerificationMethod> {
        let Some(name) = self.name() else { return Vec::new() };
        let read = |method: &Value| {
            let key = own_key(method, &name)?;
            let fragment = key.to_multikey();
            Some(VerificationMethod {
                id: format!("{}#{fragment}", name.squid()),
                is_authentication: self.relates("authentication", &fragment),
                is_assertion: self.relates("assertionMethod", &fragment),
                key,
            })
        };
        self.list("verificationMethod").iter().filter_map(read).collect()
    }

    /// The did:web view (did:webvh 1.0 section "Publishing a Parallel did:web DID"): the same document
    /// under the did:web name, with the did:webvh name among its aliases.
    pub fn as_did_web(&self) -> Option<Value> {
        let name = self.name()?;
        let (webvh, web) = (name.to_string(), name.did_web());
        let mut view = replace(self.0, &webvh, &web);
        let aliases = self.list("alsoKnownAs").iter().filter_map(Value::as_str).filter(|alias| *alias != web);
        let aliases: Vec<&str> = aliases.chain([webvh.as_str()]).collect();
        view["alsoKnownAs"] = json!(aliases);
        Some(view)
    }

    /// The view under the location-free name.
    pub fn as_did_squid(&self) -> Option<Value> {
        let name = self.name()?;
        let (webvh, squid) = (name.to_string(), name.squid().to_string());
        let mut view = replace(self.0, &webvh, &squid);
        let aliases =
            self.list("alsoKnownAs").iter().filter_map(Value::as_str).filter(|alias| *alias != squid);
        let aliases: Vec<&str> = aliases.chain([webvh.as_str()]).collect();
        view["alsoKnownAs"] = json!(aliases);
        Some(view)
    }

    /// What this house asks of a document beyond the method's own rules.
    pub(crate) fn check_house_rules(&self, scid: &str) -> Result<(), Rule> {
        debug_assert!(is_scid(scid), "the caller checked the SCID");
        let members = self.0.as_object().ok_or(Rule::HouseDocument)?;
        let is_known = |name: &String| {
            matches!(
                name.as_str(),
                "@context" | "id" | "alsoKnownAs" | "controller" | "verificationMethod" | "service"
            ) || RELATIONS.contains(&name.as_str())
        };
        if !members.keys().all(is_known) {
            return Err(Rule::HouseDocument);
        }
        let squid = format!("did:squid:{scid}");
        if !self.list("alsoKnownAs").iter().any(|alias| alias == squid.as_str()) {
            return Err(Rule::HouseAlias);
        }
        if self.list("verificationMethod").len() > METHODS_MAX || self.list("service").len() > SERVICES_MAX {
            return Err(Rule::HouseDocument);
        }
        let name = self.name().ok_or(Rule::StateId)?;
        let keys: Option<Vec<PublicKey>> =
            self.list("verificationMethod").iter().map(|method| own_key(method, &name)).collect();
        let keys = keys.ok_or(Rule::HouseVerificationMethod)?;
        let are_distinct = keys.iter().enumerate().all(|(at, key)| !keys[..at].contains(key));
        // A relation names a listed key; an embedded method would escape the check above.
        let names_listed = |reference: &Value| {
            let fragment = reference.as_str().and_then(|text| own_fragment(text, &name));
            fragment.is_some_and(|fragment| keys.iter().any(|key| key.to_multikey() == fragment))
        };
        let are_listed = RELATIONS.iter().all(|relation| self.list(relation).iter().all(names_listed));
        if are_distinct && are_listed { Ok(()) } else { Err(Rule::HouseVerificationMethod) }
    }

    fn list(&self, member: &str) -> &'a [Value] {
        self.0.get(member).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    fn relates(&self, relation: &str, fragment: &str) -> bool {
        let Some(name) = self.name() else { return false };
        self.list(relation)
            .iter()
            .filter_map(Value::as_str)
            .any(|id| own_fragment(id, &name) == Some(fragment))
    }
}

/// The key of a method that belongs to the document and is named by its own Multikey.
fn own_key(method: &Value, name: &WebName) -> Option<PublicKey> {
    let text = |member: &str| method.get(member).and_then(Value::as_str);
    let key = PublicKey::from_multikey(text("publicKeyMultibase")?).ok()?;
    let is_own = text("type") == Some("Multikey")
        && text("controller") == Some(name.to_string().as_str())
        && own_fragment(text("id")?, name) == Some(key.to_multikey().as_str());
    is_own.then_some(key)
}

/// The fragment of an id of this document, relative or absolute.
fn own_fragment<'t>(id: &'t str, name: &WebName) -> Option<&'t str> {
    let (did, fragment) = id.split_once('#')?;
    (did.is_empty() || did == name.to_string()).then_some(fragment)
}
