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
        let (did, squid) = (name.to_string(), name.squid());
        let read = |method: &Value| {
            let (key, fragment) = own_key(method, &did)?;
            Some(VerificationMethod {
                id: format!("{squid}#{fragment}"),
                is_authentication: self.relates("authentication", &did, fragment),
                is_assertion: self.relates("assertionMethod", &did, fragment),
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
        // The caller read this name as one of the log.
        let did = members.get("id").and_then(Value::as_str).ok_or(Rule::StateId)?;
        let methods = self.list("verificationMethod").iter();
        let fragments: Option<Vec<&str>> =
            methods.map(|method| own_key(method, did).map(|(_, text)| text)).collect();
        let fragments = fragments.ok_or(Rule::HouseVerificationMethod)?;
        let are_distinct =
            fragments.iter().enumerate().all(|(at, fragment)| !fragments[..at].contains(fragment));
        // A relation names a listed key; an embedded method would escape the check above.
        let names_listed = |reference: &Value| {
            let fragment = reference.as_str().and_then(|text| own_fragment(text, did));
            fragment.is_some_and(|fragment| fragments.contains(&fragment))
        };
        let are_listed = RELATIONS.iter().all(|relation| self.list(relation).iter().all(names_listed));
        if are_distinct && are_listed { Ok(()) } else { Err(Rule::HouseVerificationMethod) }
    }

    fn list(&self, member: &str) -> &'a [Value] {
        self.0.get(member).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    fn relates(&self, relation: &str, did: &str, fragment: &str) -> bool {
        self.list(relation).iter().filter_map(Value::as_str).any(|id| own_fragment(id, did) == Some(fragment))
    }
}

/// The key of a method that belongs to the document `did` and is named by its own Multikey, and that text.
fn own_key<'m>(method: &'m Value, did: &str) -> Option<(PublicKey, &'m str)> {
    let text = |member: &str| method.get(member).and_then(Value::as_str);
    let multikey = text("publicKeyMultibase")?;
    let is_own = text("type") == Some("Multikey")
        && text("controller") == Some(did)
        && own_fragment(text("id")?, did) == Some(multikey);
    // Base58 has one spelling per key, so equal texts are equal keys.
    is_own.then(|| PublicKey::from_multikey(multikey).ok()).flatten().map(|key| (key, multikey))
}

/// The fragment of an id of this document, relative or absolute.
fn own_fragment<'t>(id: &'t str, did: &str) -> Option<&'t str> {
    let (name, fragment) = id.split_once('#')?;
    (name.is_empty() || name == did).then_some(fragment)
}
