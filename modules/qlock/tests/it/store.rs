//! What a stolen or damaged store gives away.

use q_db::params;
use q_runtime::Module as _;
use q_testkit::{Engine, Way, World, on_each_world};
use qlock::{KeyFile, OpenError};
use qlock_api::{
    CreateDataKeys, CreateDataKeysRequest, CreateKey, CreateKeyRequest, Encrypt, EncryptRequest, KeyRequest,
    KeyType, RotateKey, SealContext, SealFormat, Sign, SignRequest,
};

use crate::setting::{Setting, b64, did, unb64};

const CANARY: &[u8] = b"canary-7f3a9c51-in-the-mine";

/// Uses everything once and returns the secrets that came out.
async fn use_everything(setting: &Setting) -> Vec<Vec<u8>> {
    let ada = setting.client("ada");
    let value = EncryptRequest { data: b64(CANARY), ..EncryptRequest::default() };
    let sealed = ada.call::<Encrypt>(&value).await.unwrap();
    let age = EncryptRequest { format: Some(SealFormat::Age), ..value };
    ada.call::<Encrypt>(&age).await.unwrap();
    let signed =
        ada.call::<Sign>(&SignRequest { data: b64(CANARY), ..SignRequest::default() }).await.unwrap();
    let request = CreateKeyRequest { key_type: KeyType::X25519, label: None, owner: None };
    ada.clone().with_key("k").call::<CreateKey>(&request).await.unwrap();
    for (at, key_id) in [sealed.key_id.unwrap(), signed.key_id].into_iter().enumerate() {
        ada.clone().with_key(format!("r{at}")).call::<RotateKey>(&KeyRequest { key_id }).await.unwrap();
    }
    let data_keys = CreateDataKeysRequest {
        purpose: "p".into(),
        context: SealContext::new(),
        key_id: None,
        count: Some(3),
        with_plaintext: None,
    };
    let data_keys = ada.call::<CreateDataKeys>(&data_keys).await.unwrap().data_keys;
    data_keys.iter().map(|key| unb64(key.plaintext.as_deref().unwrap())).collect()
}

/// Whether `bytes` hold `needle`, as it is, in hexadecimal, or in base64 at any alignment.
fn holds(bytes: &[u8], needle: &[u8]) -> bool {
    let hex = q_core::hash::hex(needle);
    let mut spellings = vec![needle.to_vec(), hex.clone().into_bytes(), hex.to_uppercase().into_bytes()];
    for skip in 0..3 {
        let inner = &needle[skip..];
        let inner = &inner[..inner.len() / 3 * 3];
        spellings.push(b64(inner).into_bytes());
        spellings.push(q_jose::base64url::encode(inner).into_bytes());
    }
    spellings.iter().any(|spelling| bytes.windows(spelling.len()).any(|window| window == &spelling[..]))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_database_holds_no_secret() {
    let world = World::new(Engine::Sqlite, Way::InProcess).await.unwrap();
    let setting = Setting::new(world).await;
    let mut secrets = use_everything(&setting).await;
    secrets.push(CANARY.to_vec());
    secrets.push(unseal_key(&setting));
    // The seeded generator gives every key this world drew: root, key-encryption, content, seeds.
    let (env, _) = q_testkit::frozen_env(7);
    let mut drawn = vec![0; 1 << 16];
    env.entropy.fill(&mut drawn);
    let path = store_path(&setting);
    let mut stolen = Vec::new();
    for name in [path.clone(), format!("{path}-wal")] {
        stolen.extend(std::fs::read(name).unwrap_or_default());
    }
    setting.world.close().await;
    assert!(holds(&stolen, did("ada").as_str().as_bytes()), "the search finds nothing that is there either");
    for secret in &secrets {
        assert!(!holds(&stolen, secret), "{} is readable", q_core::hash::hex(secret));
    }
    assert!(!stolen.windows(15).any(|window| window == b"AGE-SECRET-KEY-"));
    // Nonces (24 bytes) are drawn too and must be seen; no run as long as a key may be.
    assert!(has_common_run(&stolen, &drawn, 24), "the generator's bytes are not found where they are");
    assert!(!has_common_run(&stolen, &drawn, 32), "32 consecutive bytes of the generator are readable");
}

fn has_common_run(one: &[u8], other: &[u8], length: usize) -> bool {
    let runs: std::collections::HashSet<&[u8]> = other.windows(length).collect();
    one.windows(length).any(|window| runs.contains(window))
}

fn unseal_key(setting: &Setting) -> Vec<u8> {
    let text = std::fs::read_to_string(setting.keys.path().join("unseal.key")).unwrap();
    let content: serde_json::Value = serde_json::from_str(&text).unwrap();
    q_jose::base64url::decode(content["key"].as_str().unwrap()).unwrap()
}

fn store_path(setting: &Setting) -> String {
    match setting.db.config() {
        q_db::DbConfig::Sqlite { path } => path.display().to_string(),
        q_db::DbConfig::Postgres { .. } => panic!("this world is on SQLite"),
    }
}

/// A statement that damages one row, and the code and place that must be named.
const DAMAGE: [(&str, &str, &str); 12] = [
    ("UPDATE root_keys SET created_at = created_at + 1", "does_not_unwrap", "root_keys 1"),
    ("UPDATE root_keys SET unseal_key_id = 'other'", "wrong_unseal_key", "root_keys 1"),
    ("UPDATE keks SET identity = 'did:squid:QmMallory' WHERE purpose = 'sign'", "does_not_unwrap", "keks "),
    ("UPDATE keks SET created_at = created_at + 1 WHERE purpose = 'sign'", "does_not_unwrap", "keks "),
    (
        "UPDATE keys SET owner = 'did:squid:QmMallory' WHERE type = 'ed25519'",
        "does_not_unwrap",
        "key_versions ",
    ),
    ("UPDATE keys SET owner = 'nobody' WHERE type = 'ed25519'", "unreadable_row", "keys "),
    ("UPDATE keys SET version = version + 1 WHERE type = 'ed25519'", "version_gap", "keys "),
    ("UPDATE key_versions SET state = 'actjve' WHERE version = 2", "unreadable_row", "key_versions "),
    ("UPDATE key_versions SET state = 'active'", "wrong_state", "key_versions "),
    (
        "UPDATE key_versions SET created_at = created_at + 1 WHERE version = 2",
        "does_not_unwrap",
        "key_versions ",
    ),
    ("UPDATE key_versions SET version = 3 WHERE version = 2", "version_gap", "key_versions "),
    ("DELETE FROM key_versions WHERE version = 1", "version_gap", "key_versions "),
];

on_each_world!(a_changed_row_is_found_and_named, async |world: World| {
    let setting = Setting::new(world).await;
    use_everything(&setting).await;
    assert_eq!(setting.module.verify().await.unwrap(), []);
    for (statement, code, place) in DAMAGE {
        let tables = ["root_keys", "keks", "keys", "key_versions"];
        let before = snapshot(&setting, &tables).await;
        let changed = setting.db.write(move |tx| tx.execute(statement, params![])).await.unwrap();
        assert!(changed > 0, "{statement} changes nothing");
        let findings = setting.module.verify().await.unwrap();
        let is_named = findings.iter().any(|found| found.code == code && found.place.starts_with(place));
        assert!(is_named, "{statement}: {findings:?}");
        restore(&setting, before).await;
        assert_eq!(setting.module.verify().await.unwrap(), [], "after {statement}");
    }
    setting.world.close().await;
});

#[tokio::test(flavor = "multi_thread")]
async fn a_byte_that_is_no_text_any_more_is_named_too() {
    let world = World::new(Engine::Sqlite, Way::InProcess).await.unwrap();
    let setting = Setting::new(world).await;
    use_everything(&setting).await;
    for (table, column) in
        [("root_keys", "unseal_key_id"), ("keks", "identity"), ("keys", "owner"), ("key_versions", "state")]
    {
        let before = snapshot(&setting, &["root_keys", "keks", "keys", "key_versions"]).await;
        let spoil = format!(
            "UPDATE {table} SET {column} = CAST(X'FF' || SUBSTR({column}, 2) AS TEXT) \
             WHERE rowid = (SELECT MIN(rowid) FROM {table})"
        );
        setting.db.write(move |tx| tx.execute(&spoil, params![])).await.unwrap();
        let findings = setting.module.verify().await.unwrap();
        assert!(
            findings.iter().any(|found| found.place.starts_with(table)),
            "{table}.{column}: {findings:?}"
        );
        restore(&setting, before).await;
    }
    setting.world.close().await;
}

on_each_world!(every_damaged_byte_of_a_blob_is_found_and_named, async |world: World| {
    let setting = Setting::new(world).await;
    use_everything(&setting).await;
    for (table, key, column) in [
        ("root_keys", "version", "wrapped"),
        ("keks", "kek_id", "wrapped"),
        ("key_versions", "key_id", "wrapped"),
        ("key_versions", "key_id", "public"),
    ] {
        let blob = first_blob(&setting, table, key, column).await;
        for at in 0..blob.len() {
            let mut damaged = blob.clone();
            damaged[at] ^= 0x20;
            replace(&setting, table, column, &blob, &damaged).await;
            let findings = setting.module.verify().await.unwrap();
            let is_named = findings.iter().any(|found| found.place.starts_with(table));
            assert!(is_named, "{table}.{column} byte {at}: {findings:?}");
            replace(&setting, table, column, &damaged, &blob).await;
        }
    }
    assert_eq!(setting.module.verify().await.unwrap(), []);
    setting.world.close().await;
});

on_each_world!(a_store_opens_with_its_own_key_file_only, async |world: World| {
    let setting = Setting::new(world).await;
    let path = setting.keys.path().join("unseal.key");
    let kept = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let missing = setting.restarted().await.err().unwrap();
    assert!(missing.to_string().contains("is missing"), "{missing}");
    KeyFile::create(&path, &setting.world.env).unwrap();
    let other = setting.restarted().await.err().unwrap();
    assert!(matches!(other, OpenError::OtherUnsealKey { .. }), "{other}");
    std::fs::write(&path, kept).unwrap();
    assert!(setting.restarted().await.is_ok());
    setting.db.write(|tx| tx.execute("UPDATE root_keys SET created_at = 1", params![])).await.unwrap();
    let damaged = setting.restarted().await.err().unwrap();
    assert!(matches!(damaged, OpenError::DamagedRoot { version: 1, .. }), "{damaged}");
    setting.world.abandon().await;
});

type Rows = Vec<(&'static str, Vec<Vec<q_db::Value>>)>;

async fn snapshot(setting: &Setting, tables: &[&'static str]) -> Rows {
    let tables = tables.to_vec();
    setting
        .db
        .read(move |reader| {
            let mut rows = Vec::new();
            for table in tables {
                let found = reader.query(&format!("SELECT * FROM {table}"), params![])?;
                rows.push((table, found.into_iter().map(q_db::Row::into_values).collect()));
            }
            Ok::<_, q_db::DbError>(rows)
        })
        .await
        .unwrap()
}

async fn restore(setting: &Setting, rows: Rows) {
    setting
        .db
        .write(move |tx| {
            for (table, _) in rows.iter().rev() {
                tx.execute(&format!("DELETE FROM {table}"), params![])?;
            }
            for (table, rows) in &rows {
                for row in rows {
                    let places: Vec<_> = (1..=row.len()).map(|at| format!("${at}")).collect();
                    tx.execute(&format!("INSERT INTO {table} VALUES ({})", places.join(", ")), row)?;
                }
            }
            Ok::<_, q_db::DbError>(())
        })
        .await
        .unwrap();
}

async fn first_blob(
    setting: &Setting,
    table: &'static str,
    key: &'static str,
    column: &'static str,
) -> Vec<u8> {
    let sql = format!("SELECT {column} FROM {table} WHERE {column} IS NOT NULL ORDER BY {key} LIMIT 1");
    setting
        .db
        .read(move |reader| Ok::<_, q_db::DbError>(reader.query_one(&sql, params![])?.get(0)))
        .await
        .unwrap()
}

async fn replace(setting: &Setting, table: &str, column: &str, from: &[u8], to: &[u8]) {
    let sql = format!("UPDATE {table} SET {column} = $1 WHERE {column} = $2");
    let (from, to) = (from.to_vec(), to.to_vec());
    let changed = setting.db.write(move |tx| tx.execute(&sql, params![&to, &from])).await.unwrap();
    assert_eq!(changed, 1);
}
