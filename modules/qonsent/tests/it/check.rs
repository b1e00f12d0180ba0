//! POST /check.

use q_contract::Client;
use q_core::{Caller, caller::Principal};
use q_testkit::{World, identity, on_each_world};
use qonsent_api::{Check, CheckRequest};

use crate::support::{Setting, code, raise};

const FILE: &str = "qdrive:file:a";

fn ask(who: &str, action: &str, on: &str) -> CheckRequest {
    CheckRequest {
        resource: on.to_owned(),
        identity: identity(who).0.to_string(),
        action: action.to_owned(),
        owner: None,
        min_epoch: None,
    }
}

/// qonsent, asked by the module qdrive.
fn as_module(setting: &Setting) -> Client {
    let principal = Principal::new(identity("service-qdrive").0, setting.world.env.now());
    setting.world.client_as("qonsent", Caller::Service(principal, "qdrive".into()))
}

on_each_world!(answers_with_the_reason, async |world: World| {
    let setting = raise(world).await;
    let grant = setting.share("alice", "bob", FILE, &["read"]).await;
    let client = as_module(&setting);
    let owned =
        |who: &str, action: &str| CheckRequest { owner: Some(identity("alice").0), ..ask(who, action, FILE) };

    let allowed = client.call::<Check>(&owned("bob", "read")).await.unwrap();
    assert!(allowed.allowed);
    assert_eq!((allowed.reason.as_str(), allowed.epoch), ("GRANT", grant.epoch));
    assert_eq!(allowed.policy.unwrap().id, grant.grant_id.to_string());
    assert_eq!(allowed.expires_at, Some(grant.expires_at));
    assert_eq!(allowed.audit_trail.timestamp, setting.world.env.now());
    for (who, action, reason) in
        [("alice", "delete", "OWNER"), ("bob", "write", "NO_GRANT"), ("eve", "read", "NO_GRANT")]
    {
        assert_eq!(client.call::<Check>(&owned(who, action)).await.unwrap().reason, reason);
    }
    // Nobody says whose it is, and a caller's own word does not count.
    let bob = setting.as_("bob");
    assert_eq!(bob.call::<Check>(&ask("bob", "read", FILE)).await.unwrap().reason, "OWNER_UNKNOWN");
    let claimed = CheckRequest { owner: Some(identity("bob").0), ..ask("bob", "read", FILE) };
    assert!(!bob.call::<Check>(&claimed).await.unwrap().allowed);
    setting.world.close().await;
});

on_each_world!(denials_are_audited, async |world: World| {
    let setting = raise(world).await;
    setting.as_("bob").call::<Check>(&ask("bob", "read", FILE)).await.unwrap();
    let sql = "SELECT action, target, verdict FROM q_audit";
    let db = q_runtime::Module::db(&*setting.module).clone();
    let rows = db
        .read(move |reader| reader.query(sql, &[]))
        .await
        .unwrap_or_else(|error: q_db::DbError| panic!("{error}"));
    let rows: Vec<(String, String, String)> =
        rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect();
    assert_eq!(rows, [("PERMISSION_CHECK".to_owned(), FILE.to_owned(), "DENY".to_owned())]);
    setting.world.close().await;
});

on_each_world!(who_may_what_is_not_for_everybody, async |world: World| {
    let setting = raise(world).await;
    setting.share("alice", "bob", FILE, &["read"]).await;
    assert_eq!(code(setting.as_("eve").call::<Check>(&ask("bob", "read", FILE)).await), "FORBIDDEN");
    let alice = identity("alice").0;
    let about_alice =
        CheckRequest { resource: format!("squid:identity:{alice}"), ..ask("bob", "read", FILE) };
    let answer = setting.as_("alice").call::<Check>(&about_alice).await.unwrap();
    assert_eq!(answer.reason, "NO_GRANT");
    for (expected, request) in [
        ("INVALID_RESOURCE_FORMAT", ask("bob", "read", "a")),
        ("INVALID_IDENTITY_FORMAT", CheckRequest { identity: "bob".into(), ..ask("bob", "read", FILE) }),
        ("INVALID_ACTION", ask("bob", "READ", FILE)),
    ] {
        assert_eq!(code(setting.as_("bob").call::<Check>(&request).await), expected);
    }
    setting.world.close().await;
});

on_each_world!(waits_for_the_epoch_it_was_asked_to_have_seen, async |world: World| {
    let setting = raise(world).await;
    let seen = CheckRequest { min_epoch: Some(1), ..ask("bob", "read", FILE) };
    let bob = setting.as_("bob");
    let (answer, _) = tokio::join!(bob.call::<Check>(&seen), setting.share("alice", "bob", FILE, &["read"]));
    assert_eq!(answer.unwrap().epoch, 1);
    let never = CheckRequest { min_epoch: Some(7), ..ask("bob", "read", FILE) };
    assert_eq!(code(bob.call::<Check>(&never).await), "QONSENT_STALE");
    setting.world.close().await;
});
