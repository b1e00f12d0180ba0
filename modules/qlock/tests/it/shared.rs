//! A key used by somebody its owner signed a delegation for.

use std::sync::Arc;

use q_core::{Did, Span};
use q_pdp::{Applied, Change, GrantId, GrantIssued, GrantRevoked, Resource, command};
use q_testkit::{World, identity, on_each_world};
use q_ucan::{Delegation, DelegationDraft, Policy, chain::DidKeyOnly, container};
use qlock_api::{
    CreateKey, CreateKeyRequest, GetKey, KeyId, KeyRequest, KeyType, Sign, SignRequest, errors::KEY_NOT_FOUND,
};

use crate::setting::{Setting, b64, did, refused};

fn delegate(setting: &Setting, on: &Resource, action: &str) -> Arc<Delegation> {
    let (ada, key) = identity("ada");
    let draft = DelegationDraft {
        issuer: ada.clone().into(),
        audience: did("bob"),
        subject: Some(ada),
        command: command(on, action).unwrap(),
        policy: Policy::pins_resource(on.as_str()),
        nonce: vec![7; 12],
        not_before: None,
        expires_at: Some(setting.world.env.now() + Span::seconds(86_400)),
        meta: std::collections::BTreeMap::new(),
    };
    Arc::new(draft.sign(&key).unwrap())
}

fn grant(setting: &Setting, on: &Resource, action: &str, link: &Delegation) -> GrantIssued {
    let now = setting.world.env.now();
    let ada: Did = did("ada");
    GrantIssued {
        grant_id: GrantId::from_bytes([1; 16]),
        resource: on.to_string(),
        owner: ada.clone(),
        identity: did("bob"),
        permissions: vec![action.to_owned()],
        granted_by: ada,
        granted_at: now,
        expires_at: now + Span::seconds(3_600),
        cids: vec![link.cid()],
        ucan: container::encode_text([link.bytes()]),
        epoch: 1,
    }
}

fn message(key_id: KeyId) -> SignRequest {
    SignRequest { data: b64("x"), key_id: Some(key_id), ..SignRequest::default() }
}

on_each_world!(a_signed_delegation_shares_one_action_until_it_is_revoked, async |world: World| {
    let setting = Setting::new(world).await;
    let (ada, bob) = (setting.client("ada"), setting.client("bob"));
    let request = CreateKeyRequest { key_type: KeyType::Ed25519, label: None, owner: None };
    let key_id = ada.clone().with_key("k").call::<CreateKey>(&request).await.unwrap().key_id;
    refused(bob.call::<Sign>(&message(key_id)).await, &KEY_NOT_FOUND);

    let on: Resource = format!("qlock:key:{key_id}").parse().unwrap();
    let link = delegate(&setting, &on, "sign");
    let issued = Change::Issued(grant(&setting, &on, "sign", &link));
    assert_eq!(setting.pdp.apply(issued, &DidKeyOnly), Applied::Next);
    assert_eq!(bob.call::<Sign>(&message(key_id)).await.unwrap().key_id, key_id);
    refused(bob.call::<GetKey>(&KeyRequest { key_id }).await, &KEY_NOT_FOUND);
    refused(setting.client("carol").call::<Sign>(&message(key_id)).await, &KEY_NOT_FOUND);

    let revoked = Change::Revoked(GrantRevoked {
        resource: None,
        identity: None,
        revoked_permissions: vec![],
        revoked_by: did("ada"),
        reason: "owner".into(),
        cids: vec![link.cid()],
        epoch: 2,
    });
    assert_eq!(setting.pdp.apply(revoked, &DidKeyOnly), Applied::Next);
    refused(bob.call::<Sign>(&message(key_id)).await, &KEY_NOT_FOUND);
    setting.world.close().await;
});
