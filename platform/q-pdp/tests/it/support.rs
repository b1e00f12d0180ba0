//! People with keys, and the changes qonsent would tell of.

use std::{collections::BTreeMap, sync::Arc};

use q_core::{Did, Span, Timestamp};
use q_jose::ed25519::SecretKey;
use q_pdp::{Change, GrantId, GrantIssued, GrantRevoked, Pdp, Resource, command};
use q_ucan::{Delegation, DelegationDraft, Policy, TokenCid, container};

pub const NOW: Timestamp = Timestamp::from_seconds(1_767_225_600);

pub struct Person {
    pub key: SecretKey,
    pub did: Did,
}

pub fn person(seed: u8) -> Person {
    let key = SecretKey::from_seed(&[seed; 32]);
    let did = key.public().to_did_key().parse().unwrap();
    Person { key, did }
}

/// The identity of qonsent.
pub fn authority() -> Person {
    person(200)
}

pub fn pdp() -> Pdp {
    Pdp::new(authority().did, NOW)
}

pub fn resource(text: &str) -> Resource {
    text.parse().unwrap()
}

pub fn delegate(
    from: &Person,
    to: &Did,
    owner: &Did,
    on: &Resource,
    action: &str,
    nonce: u64,
) -> Arc<Delegation> {
    let mut bytes = vec![0; 12];
    bytes[..8].copy_from_slice(&nonce.to_be_bytes());
    let draft = DelegationDraft {
        issuer: from.did.clone().into(),
        audience: to.clone(),
        subject: Some(owner.clone()),
        command: command(on, action).unwrap(),
        policy: Policy::pins_resource(on.as_str()),
        nonce: bytes,
        not_before: None,
        expires_at: Some(NOW + Span::seconds(86_400)),
        meta: BTreeMap::new(),
    };
    Arc::new(draft.sign(&from.key).unwrap())
}

/// A grant as qonsent would tell of it, proved by `links`.
pub fn grant(
    epoch: u64,
    owner: &Did,
    to: &Did,
    on: &Resource,
    actions: &[&str],
    links: &[Arc<Delegation>],
) -> GrantIssued {
    GrantIssued {
        grant_id: GrantId::from_bytes(u128::from(epoch).to_be_bytes()),
        resource: on.to_string(),
        owner: owner.clone(),
        identity: to.clone(),
        permissions: actions.iter().map(ToString::to_string).collect(),
        granted_by: owner.clone(),
        granted_at: NOW,
        expires_at: NOW + Span::seconds(3_600),
        cids: links.iter().filter(|link| link.audience() == to).map(|link| link.cid()).collect(),
        ucan: container::encode_text(links.iter().map(|link| link.bytes())),
        epoch,
    }
}

pub fn revoke(epoch: u64, by: &Did, cids: &[TokenCid]) -> Change {
    Change::Revoked(GrantRevoked {
        resource: None,
        identity: None,
        revoked_permissions: vec![],
        revoked_by: by.clone(),
        reason: "owner".into(),
        cids: cids.to_vec(),
        epoch,
    })
}
