use q_contract::codes;
use q_testkit::{World, on_each_world};
use qlock_api::{
    CreateKey, CreateKeyRequest, GetKey, KeyId, KeyRequest, KeyState, KeyType, ListKeys, ListKeysRequest,
    RotateKey,
    errors::{IDENTITY_MISMATCH, KEY_NOT_FOUND, VALIDATION_FAILED},
};

use crate::setting::{Setting, did, refused};

fn new_key(key_type: KeyType) -> CreateKeyRequest {
    CreateKeyRequest { key_type, label: Some("work".into()), owner: None }
}

on_each_world!(a_key_is_made_shown_listed_and_rotated, async |world: World| {
    let setting = Setting::new(world).await;
    let ada = setting.client("ada");
    for (at, key_type) in [KeyType::Ed25519, KeyType::X25519, KeyType::Aes256].into_iter().enumerate() {
        let made =
            ada.clone().with_key(format!("make-{at}")).call::<CreateKey>(&new_key(key_type)).await.unwrap();
        assert_eq!((made.owner.clone(), made.current_version, made.is_default), (did("ada"), 1, false));
        let version = &made.versions[0];
        assert_eq!(version.public_key.is_some(), key_type == KeyType::Ed25519);
        assert_eq!(version.recipient.is_some(), key_type == KeyType::X25519);
        let request = KeyRequest { key_id: made.key_id };
        assert_eq!(ada.call::<GetKey>(&request).await.unwrap(), made);
        let rotated = ada.clone().with_key(format!("rotate-{at}")).call::<RotateKey>(&request).await.unwrap();
        assert_eq!(rotated.current_version, 2);
        let states: Vec<_> =
            rotated.versions.iter().map(|version| (version.version, version.state)).collect();
        assert_eq!(states, [(1, KeyState::Deactivated), (2, KeyState::Active)]);
        assert_eq!(ada.call::<GetKey>(&request).await.unwrap(), rotated);
    }
    let all = ada.call::<ListKeys>(&ListKeysRequest::default()).await.unwrap();
    assert_eq!(all.items.len(), 3);
    assert_eq!(all.next_cursor, None);
    setting.world.close().await;
});

on_each_world!(a_repeated_request_makes_one_key, async |world: World| {
    let setting = Setting::new(world).await;
    let ada = setting.client("ada").with_key("once");
    let first = ada.call::<CreateKey>(&new_key(KeyType::Ed25519)).await.unwrap();
    assert_eq!(ada.call::<CreateKey>(&new_key(KeyType::Ed25519)).await.unwrap(), first);
    refused(ada.call::<CreateKey>(&new_key(KeyType::Aes256)).await, &codes::IDEMPOTENCY_KEY_REUSED);
    let rotate = setting.client("ada").with_key("rotate");
    let request = KeyRequest { key_id: first.key_id };
    for _ in 0..2 {
        assert_eq!(rotate.call::<RotateKey>(&request).await.unwrap().current_version, 2);
    }
    let all = ada.call::<ListKeys>(&ListKeysRequest::default()).await.unwrap();
    assert_eq!(all.items.len(), 1);
    setting.world.close().await;
});

on_each_world!(a_key_of_somebody_else_is_not_there, async |world: World| {
    let setting = Setting::new(world).await;
    let made =
        setting.client("ada").with_key("k").call::<CreateKey>(&new_key(KeyType::Ed25519)).await.unwrap();
    let request = KeyRequest { key_id: made.key_id };
    let bob = setting.client("bob");
    refused(bob.call::<GetKey>(&request).await, &KEY_NOT_FOUND);
    refused(bob.clone().with_key("k").call::<RotateKey>(&request).await, &KEY_NOT_FOUND);
    assert!(bob.call::<ListKeys>(&ListKeysRequest::default()).await.unwrap().items.is_empty());
    let nobody = KeyRequest { key_id: KeyId::from_bytes([1; 16]) };
    refused(bob.call::<GetKey>(&nobody).await, &KEY_NOT_FOUND);
    let foreign = CreateKeyRequest { owner: Some(did("ada")), ..new_key(KeyType::Ed25519) };
    refused(bob.clone().with_key("f").call::<CreateKey>(&foreign).await, &IDENTITY_MISMATCH);
    setting.world.close().await;
});

on_each_world!(lists_go_on_where_they_stopped, async |world: World| {
    let setting = Setting::new(world).await;
    let ada = setting.client("ada");
    let mut made = Vec::new();
    for at in 0..5 {
        let client = ada.clone().with_key(format!("{at}"));
        made.push(client.call::<CreateKey>(&new_key(KeyType::Aes256)).await.unwrap().key_id);
    }
    made.sort_unstable();
    let mut listed = Vec::new();
    let mut request = ListKeysRequest { limit: Some(2.try_into().unwrap()), cursor: None };
    loop {
        let page = ada.call::<ListKeys>(&request).await.unwrap();
        assert!(page.items.len() <= 2);
        listed.extend(page.items.iter().map(|key| key.key_id));
        request.cursor = page.next_cursor;
        if request.cursor.is_none() {
            break;
        }
    }
    assert_eq!(listed, made);
    let wrong = ListKeysRequest { limit: None, cursor: Some("elsewhere".into()) };
    refused(ada.call::<ListKeys>(&wrong).await, &VALIDATION_FAILED);
    let long = CreateKeyRequest { label: Some("x".repeat(129)), ..new_key(KeyType::Aes256) };
    refused(ada.clone().with_key("long").call::<CreateKey>(&long).await, &VALIDATION_FAILED);
    setting.world.close().await;
});
