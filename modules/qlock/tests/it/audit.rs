//! What the audit trail and the events say of the use of keys.

use q_contract::codes;
use q_core::EventPayload;
use q_db::{Db, params};
use q_testkit::{Engine, Way, World, on_each_world};
use qlock_api::{
    CreateKey, CreateKeyRequest, Decrypt, DecryptRequest, Encrypt, EncryptRequest, KeyRequest, KeyType,
    RotateKey, SealContext, Sign, SignRequest,
    errors::AUDIT_UNAVAILABLE,
    events::{KeyGenerated, KeyRotated, KeyUsed},
};
use serde_json::Value;

use crate::setting::{Setting, b64, did, refused};

#[derive(Debug, PartialEq)]
struct Entry {
    action: String,
    actor: Option<String>,
    target: String,
    verdict: String,
    details: Value,
}

async fn entries(db: &Db) -> Vec<Entry> {
    db.read(|reader| {
        let sql = "SELECT action, actor, target, verdict, details FROM q_audit ORDER BY position";
        let rows = reader.query(sql, params![])?;
        let entry = |row: &q_db::Row| Entry {
            action: row.get(0),
            actor: row.get(1),
            target: row.get(2),
            verdict: row.get(3),
            details: serde_json::from_str(&row.get::<String>(4)).unwrap(),
        };
        Ok::<_, q_db::DbError>(rows.iter().map(entry).collect())
    })
    .await
    .unwrap()
}

async fn events<P: EventPayload>(db: &Db) -> Vec<P> {
    let data: Vec<String> = db
        .read(|reader| {
            let sql = "SELECT data FROM q_outbox WHERE topic = $1 ORDER BY position";
            let rows = reader.query(sql, params![P::TOPIC])?;
            Ok::<_, q_db::DbError>(rows.iter().map(|row| row.get(0)).collect())
        })
        .await
        .unwrap();
    data.iter().map(|text| serde_json::from_str(text).unwrap()).collect()
}

on_each_world!(uses_are_audited_before_they_are_answered_and_counted_after, async |world: World| {
    let setting = Setting::new(world).await;
    let ada = setting.client("ada");
    let sign = SignRequest { data: b64("x"), ..SignRequest::default() };
    let key_id = ada.call::<Sign>(&sign).await.unwrap().key_id;
    let opened: Vec<_> =
        entries(&setting.db).await.into_iter().filter(|entry| entry.action == "key.use.opened").collect();
    assert_eq!(opened.len(), 1);
    assert_eq!(
        (opened[0].actor.clone(), opened[0].target.clone(), opened[0].verdict.as_str()),
        (Some(did("ada").to_string()), key_id.to_string(), "ALLOW")
    );
    for _ in 0..9 {
        ada.call::<Sign>(&sign).await.unwrap();
    }
    assert!(events::<KeyUsed>(&setting.db).await.is_empty());
    setting.end_minute().await;
    let used: Vec<_> =
        entries(&setting.db).await.into_iter().filter(|entry| entry.action == "key.used").collect();
    assert_eq!(used.len(), 1, "ten signatures make one entry");
    assert_eq!(
        (used[0].details["count"].clone(), used[0].details["operation"].clone()),
        (10.into(), "sign".into())
    );
    let told = events::<KeyUsed>(&setting.db).await;
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].key_id, told[0].counts["sign:done"]), (key_id, 10));
    setting.end_minute().await;
    assert_eq!(events::<KeyUsed>(&setting.db).await.len(), 1);
    setting.world.close().await;
});

on_each_world!(refused_openings_are_audited_as_denials, async |world: World| {
    let setting = Setting::new(world).await;
    let ada = setting.client("ada");
    let value = EncryptRequest { data: b64("x"), ..EncryptRequest::default() };
    let sealed = ada.call::<Encrypt>(&value).await.unwrap();
    let request = |text: &str| DecryptRequest {
        encrypted_data: text.to_owned(),
        context: SealContext::from([("a".to_owned(), "b".to_owned())]),
        key_id: None,
        metadata: None,
        identity_id: None,
    };
    ada.call::<Decrypt>(&request(&sealed.encrypted_data)).await.unwrap_err();
    ada.call::<Decrypt>(&request("nonsense")).await.unwrap_err();
    let denied: Vec<_> =
        entries(&setting.db).await.into_iter().filter(|entry| entry.verdict == "DENY").collect();
    let targets: Vec<_> = denied.iter().map(|entry| entry.target.clone()).collect();
    assert_eq!(targets, [sealed.key_id.unwrap().to_string(), "unknown".to_owned()]);
    setting.world.close().await;
});

on_each_world!(making_and_rotating_are_audited_and_told, async |world: World| {
    let setting = Setting::new(world).await;
    let ada = setting.client("ada").with_key("k");
    let request =
        CreateKeyRequest { key_type: KeyType::Ed25519, label: Some("secret plan".into()), owner: None };
    let key_id = ada.call::<CreateKey>(&request).await.unwrap().key_id;
    ada.call::<RotateKey>(&KeyRequest { key_id }).await.unwrap();
    let actions: Vec<_> = entries(&setting.db).await.into_iter().map(|entry| entry.action).collect();
    assert_eq!(actions, ["root_key.create", "key.create", "key.rotate"]);
    let made = events::<KeyGenerated>(&setting.db).await;
    assert_eq!((made[0].key_id, made[0].identity_id.clone()), (key_id, did("ada")));
    let rotated = events::<KeyRotated>(&setting.db).await;
    assert_eq!((rotated[0].previous_version, rotated[0].version), (1, 2));
    let told = serde_json::to_string(&made).unwrap();
    assert!(!told.contains("secret plan"), "labels stay off the bus");
    setting.world.close().await;
});

#[tokio::test(flavor = "multi_thread")]
async fn no_audit_row_no_signature() {
    let world = World::new(Engine::Sqlite, Way::InProcess).await.unwrap();
    let setting = Setting::new(world).await;
    let ada = setting.client("ada");
    let sign = SignRequest { data: b64("x"), ..SignRequest::default() };
    ada.call::<Sign>(&sign).await.unwrap();
    setting.end_minute().await;
    setting.db.faults().fail_next_commit();
    refused(ada.call::<Sign>(&sign).await, &AUDIT_UNAVAILABLE);
    setting.db.resume_writes(None, "verification").await.unwrap();
    let make = CreateKeyRequest { key_type: KeyType::Ed25519, label: None, owner: None };
    setting.db.faults().fail_next_commit();
    refused(ada.clone().with_key("k").call::<CreateKey>(&make).await, &codes::STORAGE_UNAVAILABLE);
    // Until the store was looked at, no signature either.
    refused(ada.call::<Sign>(&sign).await, &codes::WRITE_STOPPED);
    setting.db.resume_writes(None, "verification").await.unwrap();
    ada.call::<Sign>(&sign).await.unwrap();
    setting.world.close().await;
}

on_each_world!(a_crash_leaves_no_use_unaudited, async |world: World| {
    let setting = Setting::new(world).await;
    let sign = SignRequest { data: b64("x"), ..SignRequest::default() };
    setting.client("ada").call::<Sign>(&sign).await.unwrap();
    // The process dies here: its counts are gone, the row it wrote before answering is not.
    let restarted = setting.restarted().await.unwrap();
    setting.world.clock.advance(q_core::Span::seconds(700));
    for job in q_runtime::Module::jobs(restarted.as_ref()) {
        (job.run)().await.unwrap();
    }
    let used: Vec<_> =
        entries(&setting.db).await.into_iter().filter(|entry| entry.action == "key.used").collect();
    assert_eq!(used.len(), 1);
    assert_eq!(used[0].details["countAtLeast"], 1);
    setting.world.close().await;
});
