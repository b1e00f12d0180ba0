//! Resolving names to documents: those of this instance, and did:key. Nothing is fetched from elsewhere.

use q_core::{Did, Timestamp};
use q_did::{Document, Log, Policy, WebName, entry::Entry, name::is_scid};
use q_jose::PublicKey;
use serde_json::{Value, json};
use squid_api::Resolution;

use crate::{Squid, error::Error};

/// Which version of a document is asked for; the newest when neither is given.
#[derive(Debug, Clone, Default)]
pub struct Version {
    /// The entry.
    pub id: Option<String>,
    /// The instant.
    pub time: Option<Timestamp>,
}

/// Under which name a document is asked for.
enum Name {
    Squid,
    WebVh(WebName),
    Web(String),
}

impl Squid {
    /// The did:web view of an identity.
    pub async fn did_web_document(&self, scid: &str, version: &Version) -> Result<Value, Error> {
        let log = self.verified_log(scid).await?;
        let entry = entry_at(&log, version).ok_or(Error::NotFound)?;
        let is_newest = entry.version_id == log.head().version_id;
        if is_newest && log.head().deactivated {
            return Err(Error::Gone);
        }
        Document::new(&entry.state).as_did_web().ok_or(Error::NotFound)
    }

    /// Resolves a name.
    pub async fn resolve(&self, text: &str, version: &Version) -> Result<Resolution, Error> {
        let did: Did = text.parse().map_err(|_| Error::InvalidDid)?;
        let (scid, name) = match did.method() {
            "key" => return resolve_did_key(&did),
            "squid" => (did.specific_id().to_owned(), Name::Squid),
            "webvh" => {
                let name: WebName = text.parse().map_err(|_| Error::InvalidDid)?;
                (name.scid.clone(), Name::WebVh(name))
            }
            "web" => (text.rsplit(':').next().unwrap_or_default().to_owned(), Name::Web(text.to_owned())),
            _ => return Err(Error::DidNotFound),
        };
        if !is_scid(&scid) {
            return Err(if matches!(name, Name::Squid) { Error::InvalidDid } else { Error::DidNotFound });
        }
        let log = self.verified_log(&scid).await.map_err(|error| match error {
            Error::NotFound => Error::DidNotFound,
            other => other,
        })?;
        let entry = entry_at(&log, version).ok_or(Error::DidNotFound)?;
        let document = Document::new(&entry.state);
        let here = document.name().ok_or(Error::DidNotFound)?;
        let did_document = match name {
            Name::Squid => document.as_did_squid(),
            Name::WebVh(asked) => (asked == here).then(|| entry.state.clone()),
            Name::Web(asked) => (asked == here.did_web()).then(|| document.as_did_web()).flatten(),
        };
        let did_document = did_document.ok_or(Error::DidNotFound)?;
        Ok(resolution(did_document, metadata(&log, entry)))
    }

    async fn verified_log(&self, scid: &str) -> Result<Log, Error> {
        let text = self.log_text(scid).await?;
        Log::verify(&text, self.env.now(), Policy::House).map_err(Error::Log)
    }
}

fn entry_at<'l>(log: &'l Log, version: &Version) -> Option<&'l Entry> {
    match (&version.id, version.time) {
        (None, None) => log.entries().last(),
        (Some(id), None) => log.at_version(id),
        (None, Some(time)) => log.at_time(time),
        (Some(id), Some(time)) => log.at_time(time).filter(|entry| entry.version_id == *id),
    }
}

fn metadata(log: &Log, entry: &Entry) -> Value {
    let head = log.head();
    let is_newest = entry.version_id == head.version_id;
    json!({
        "created": log.created_at(),
        "updated": entry.version_time,
        "versionId": entry.version_id,
        "deactivated": is_newest && head.deactivated,
        "portable": head.portable,
        "scid": head.scid,
        "canonicalId": format!("did:squid:{}", head.scid),
        "equivalentId": [head.id],
    })
}

fn resolve_did_key(did: &Did) -> Result<Resolution, Error> {
    let key = PublicKey::from_did_key(did.as_str()).map_err(|_| Error::InvalidDid)?;
    let id = q_did::key_id(did, &key);
    let document = json!({
        "@context": ["https://www.w3.org/ns/did/v1", "https://w3id.org/security/multikey/v1"],
        "id": did,
        "verificationMethod": [{
            "id": id, "type": "Multikey", "controller": did, "publicKeyMultibase": key.to_multikey(),
        }],
        "authentication": [id],
        "assertionMethod": [id],
        "capabilityInvocation": [id],
        "capabilityDelegation": [id],
    });
    Ok(resolution(document, json!({})))
}

fn resolution(did_document: Value, did_document_metadata: Value) -> Resolution {
    Resolution {
        context: "https://w3id.org/did-resolution/v1".into(),
        did_document,
        did_resolution_metadata: json!({"contentType": "application/did+json"}),
        did_document_metadata,
    }
}
