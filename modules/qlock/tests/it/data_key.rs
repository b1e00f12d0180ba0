use q_core::Env;
use q_db::{Db, Migrations, params};
use q_seal::Place;
use q_testkit::{World, on_each_world};
use qlock_api::{
    CreateDataKeys, CreateDataKeysRequest, Decrypt, DecryptRequest, SealContext, UnwrapDataKey,
    UnwrapDataKeyRequest,
    errors::{DECRYPT_FAILED, VALIDATION_FAILED},
    sealer::{self, SEALING_KEYS_POSTGRES, SEALING_KEYS_SQLITE, SealerError},
};

use crate::setting::{Setting, did, refused, unb64};

fn ask(count: u32) -> CreateDataKeysRequest {
    CreateDataKeysRequest {
        purpose: "photos".into(),
        context: [("album".to_owned(), "1".to_owned())].into(),
        key_id: None,
        count: Some(count),
        with_plaintext: None,
    }
}

fn unwrap(wrapped: &str) -> UnwrapDataKeyRequest {
    let CreateDataKeysRequest { purpose, context, .. } = ask(1);
    UnwrapDataKeyRequest { wrapped: wrapped.to_owned(), purpose, context }
}

on_each_world!(data_keys_unwrap_for_their_owner_purpose_and_context, async |world: World| {
    let setting = Setting::new(world).await;
    let ada = setting.client("ada");
    let made = ada.call::<CreateDataKeys>(&ask(100)).await.unwrap().data_keys;
    assert_eq!(made.len(), 100);
    for key in made.iter().take(3) {
        assert_eq!(unb64(key.plaintext.as_deref().unwrap()).len(), 32);
        assert_eq!(ada.call::<UnwrapDataKey>(&unwrap(&key.wrapped)).await.unwrap(), *key);
    }
    let ids: std::collections::HashSet<_> = made.iter().map(|key| &key.data_key_id).collect();
    assert_eq!(ids.len(), 100);
    let wrapped = &made[0].wrapped;
    refused(setting.client("bob").call::<UnwrapDataKey>(&unwrap(wrapped)).await, &DECRYPT_FAILED);
    for request in [
        UnwrapDataKeyRequest { purpose: "mails".into(), ..unwrap(wrapped) },
        UnwrapDataKeyRequest { context: SealContext::new(), ..unwrap(wrapped) },
        unwrap(&wrapped[1..]),
        unwrap(""),
    ] {
        refused(ada.call::<UnwrapDataKey>(&request).await, &DECRYPT_FAILED);
    }
    let as_value = DecryptRequest {
        encrypted_data: wrapped.clone(),
        context: SealContext::new(),
        key_id: None,
        metadata: None,
        identity_id: None,
    };
    refused(ada.call::<Decrypt>(&as_value).await, &DECRYPT_FAILED);
    let hidden = CreateDataKeysRequest { with_plaintext: Some(false), ..ask(1) };
    assert_eq!(ada.call::<CreateDataKeys>(&hidden).await.unwrap().data_keys[0].plaintext, None);
    for request in [
        ask(0),
        ask(101),
        CreateDataKeysRequest { purpose: String::new(), ..ask(1) },
        CreateDataKeysRequest { purpose: "x".repeat(65), ..ask(1) },
    ] {
        refused(ada.call::<CreateDataKeys>(&request).await, &VALIDATION_FAILED);
    }
    setting.world.close().await;
});

const NOTES: Migrations = Migrations::new(
    "notes",
    &[(1, "sealing_keys", SEALING_KEYS_SQLITE)],
    &[(1, "sealing_keys", SEALING_KEYS_POSTGRES)],
);
const PLACE: Place<'static> = Place { module: "notes", table: "notes", column: "text", row: "1" };

async fn stored(db: &Db) -> Vec<String> {
    db.read(|reader| {
        let rows = reader.query("SELECT wrapped FROM sealing_keys", params![])?;
        Ok::<_, q_db::DbError>(rows.iter().map(|row| row.get(0)).collect())
    })
    .await
    .unwrap()
}

on_each_world!(a_module_gets_the_same_sealer_at_every_start, async |world: World| {
    let setting = Setting::new(world).await;
    let db = setting.world.db("notes", &NOTES).await;
    let qlock = setting.client("service-notes");
    let sealer = sealer::open(&db, &qlock).await.unwrap();
    let field = sealer.seal(PLACE, b"dear diary", &Env::system());
    let wrapped = stored(&db).await;
    assert_eq!(wrapped.len(), 1);
    let again = sealer::open(&db, &qlock).await.unwrap();
    assert_eq!(again.current(), sealer.current());
    assert_eq!(again.open_text(PLACE, &field).unwrap(), "dear diary");
    assert_eq!(stored(&db).await, wrapped);
    // Another identity, or another store with the same row, gets nothing.
    let stolen = sealer::open(&db, &setting.client("thief")).await.unwrap_err();
    assert!(matches!(stolen, SealerError::Qlock(_)), "{stolen}");
    assert_ne!(did("thief"), did("service-notes"));
    setting.world.close().await;
});
