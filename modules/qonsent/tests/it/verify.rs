//! `q verify qonsent`: each kind of damage is found and named.

use q_db::{DbError, Value, params};
use q_runtime::{Finding, Module};
use q_testkit::{World, identity, on_each_world};
use qonsent_api::{RevokeGrant, RevokeRequest};

use crate::support::{Setting, raise};

const FILE: &str = "qdrive:file:a";

/// A change behind the module's back, how to undo it, and what is found meanwhile.
type Row = (&'static str, Vec<Value>, &'static str, Vec<Value>, Vec<&'static str>);

/// A store with a live grant, one handed on, and a revoked one.
async fn lived_in(world: World) -> (Setting, qonsent_api::Grant) {
    let setting = raise(world).await;
    let grant = setting.share("alice", "bob", FILE, &["read"]).await;
    setting.share("alice", "carol", FILE, &["read"]).await;
    let revoke = RevokeRequest {
        resource: Some(FILE.into()),
        identity: Some(identity("carol").0.to_string()),
        ..RevokeRequest::default()
    };
    setting.as_("alice").call::<RevokeGrant>(&revoke).await.unwrap();
    (setting, grant)
}

async fn damage(setting: &Setting, sql: &'static str, values: &[Value]) {
    let values = values.to_vec();
    let done = setting.module.db().write(move |tx| tx.execute(sql, &values)).await;
    assert_eq!(done.unwrap_or_else(|error: DbError| panic!("{error}")), 1, "{sql}");
}

async fn findings(setting: &Setting) -> Vec<Finding> {
    setting.module.verify().await.unwrap()
}

fn codes(findings: &[Finding]) -> Vec<&str> {
    findings.iter().map(|finding| finding.code.as_str()).collect()
}

on_each_world!(a_sound_store_has_no_findings, async |world: World| {
    let (setting, _) = lived_in(world).await;
    assert_eq!(findings(&setting).await, []);
    setting.world.close().await;
});

on_each_world!(a_damaged_byte_of_a_token_is_named, async |world: World| {
    let (setting, grant) = lived_in(world).await;
    let cid = grant.cids[0];
    let token = setting.module.db();
    let token: Vec<u8> = token
        .read(move |reader| {
            reader
                .query_one("SELECT token FROM delegations WHERE cid = $1", params![cid.digest()])?
                .try_get(0)
        })
        .await
        .unwrap_or_else(|error: DbError| panic!("{error}"));
    for at in [0, 1, 40, token.len() / 2, token.len() - 1] {
        let mut broken = token.clone();
        broken[at] ^= 0x10;
        damage(&setting, "UPDATE delegations SET token = $1 WHERE cid = $2", params![broken, cid.digest()])
            .await;
        let found = findings(&setting).await;
        assert_eq!(codes(&found), ["delegation_damaged"], "byte {at}: {found:?}");
        assert_eq!(found[0].place, format!("delegations {cid}"));
    }
    setting.world.abandon().await;
});

on_each_world!(every_other_change_behind_our_back_is_named, async |world: World| {
    let (setting, grant) = lived_in(world).await;
    let (id, cid) = (grant.grant_id.to_string(), grant.cids[0]);
    let mallory = identity("mallory");
    let rows: Vec<Row> = vec![
        (
            "UPDATE grants SET identity = $1 WHERE grant_id = $2",
            params![&mallory.0, &id].to_vec(),
            "UPDATE grants SET identity = $1 WHERE grant_id = $2",
            params![&grant.identity, &id].to_vec(),
            vec!["grant_untold", "grant_unproved"],
        ),
        (
            "UPDATE grants SET expires_at = expires_at + $1 WHERE grant_id = $2",
            params![1_i64, &id].to_vec(),
            "UPDATE grants SET expires_at = expires_at - $1 WHERE grant_id = $2",
            params![1_i64, &id].to_vec(),
            vec!["grant_untold"],
        ),
        (
            "UPDATE grant_permissions SET revoked_epoch = $1 WHERE grant_id = $2",
            params![1_i64, &id].to_vec(),
            "UPDATE grant_permissions SET revoked_epoch = $1 WHERE grant_id = $2",
            params![None::<i64>, &id].to_vec(),
            vec!["grant_state_mismatch"],
        ),
        (
            "UPDATE delegations SET signing_key = $1 WHERE cid = $2",
            params![mallory.1.public().to_multikey(), cid.digest()].to_vec(),
            "UPDATE delegations SET signing_key = $1 WHERE cid = $2",
            params![identity("alice").1.public().to_multikey(), cid.digest()].to_vec(),
            vec!["delegation_unsigned"],
        ),
        (
            "UPDATE changes SET digest = $1 WHERE epoch = $2",
            params![[7_u8; 32], 3_i64].to_vec(),
            "UPDATE changes SET digest = $1 WHERE epoch = $2",
            params![setting.pdp.digest().0, 3_i64].to_vec(),
            vec!["digest_mismatch", "head_mismatch"],
        ),
    ];
    for (sql, values, back, back_values, expected) in rows {
        damage(&setting, sql, &values).await;
        assert_eq!(codes(&findings(&setting).await), expected, "{sql}");
        damage(&setting, back, &back_values).await;
        assert_eq!(findings(&setting).await, [], "{back}");
    }
    // A revocation that vanishes: the right would come back, and does not go unnoticed.
    damage(&setting, "DELETE FROM revocations WHERE epoch = $1", params![3_i64]).await;
    let found = findings(&setting).await;
    assert_eq!(codes(&found), ["revocation_missing", "grant_state_mismatch"]);
    damage(&setting, "DELETE FROM changes WHERE epoch = $1", params![3_i64]).await;
    assert_eq!(codes(&findings(&setting).await), ["head_mismatch", "grant_state_mismatch"]);
    damage(&setting, "DELETE FROM changes WHERE epoch = $1", params![1_i64]).await;
    let found = findings(&setting).await;
    assert!(codes(&found).contains(&"epoch_gap") && codes(&found).contains(&"grant_untold"), "{found:?}");
    setting.world.abandon().await;
});
