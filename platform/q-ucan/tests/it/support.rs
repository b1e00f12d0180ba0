//! Keys, drafts and the folder of published vectors.

use std::{path::PathBuf, sync::Arc};

use q_core::{Did, Span, Timestamp};
use q_jose::ed25519::SecretKey;
use q_ucan::{
    Delegation, DelegationDraft, InvocationDraft, Policy, Rules, TokenCid, Verifier,
    chain::{DidKeyOnly, NoneRevoked},
};

/// 2026-01-01T00:00:00Z, the instant of the official fixtures.
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

pub fn verifier() -> Verifier<'static> {
    Verifier { keys: &DidKeyOnly, revocations: &NoneRevoked, rules: Rules::HOUSE, now: NOW }
}

/// A delegation of `subject`'s authority for an hour, to be changed before it is signed.
pub fn draft(from: &Person, to: &Did, subject: Option<&Did>, command: &str) -> DelegationDraft {
    DelegationDraft {
        issuer: from.did.clone().into(),
        audience: to.clone(),
        subject: subject.cloned(),
        command: command.parse().unwrap(),
        policy: Policy::default(),
        nonce: vec![7; 12],
        not_before: None,
        expires_at: Some(NOW + Span::seconds(3600)),
        meta: std::collections::BTreeMap::new(),
    }
}

pub fn link(from: &Person, to: &Person, subject: &Person, command: &str) -> Arc<Delegation> {
    Arc::new(draft(from, &to.did, Some(&subject.did), command).sign(&from.key).unwrap())
}

pub fn invoke(by: &Person, subject: &Person, command: &str, proofs: &[TokenCid]) -> InvocationDraft {
    InvocationDraft {
        issuer: by.did.clone().into(),
        audience: None,
        subject: subject.did.clone(),
        command: command.parse().unwrap(),
        args: std::collections::BTreeMap::new(),
        proofs: proofs.to_vec(),
        nonce: vec![9; 12],
        issued_at: None,
        expires_at: Some(NOW + Span::seconds(300)),
    }
}

/// The text of a published vector, or nothing where they are absent.
pub fn vector(name: &str) -> Option<String> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors/ucan-1.0.0");
    let text = std::fs::read_to_string(folder.join(name)).ok();
    if text.is_none() {
        eprintln!("skipped: vectors not found");
    }
    text
}
