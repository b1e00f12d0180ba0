//! POST /revoke.

use q_core::Span;
use q_pdp::Reason;
use q_testkit::{World, identity, on_each_world};
use qonsent_api::{DelegationPath, GetDelegation, IssueGrant, RevokeGrant, RevokeRequest};

use crate::support::{Setting, code, raise};

const FILE: &str = "qdrive:file:a";

fn from(who: &str, on: &str) -> RevokeRequest {
    RevokeRequest {
        resource: Some(on.to_owned()),
        identity: Some(identity(who).0.to_string()),
        ..RevokeRequest::default()
    }
}

async fn hand_on(setting: &Setting, by: &str, to: &str) -> qonsent_api::Grant {
    let onward = setting.sign(by, "alice", to, FILE, &["read"]);
    let request = setting.request(to, FILE, &["read"], Some(onward));
    setting.as_(by).call::<IssueGrant>(&request).await.unwrap()
}

on_each_world!(a_revoked_right_is_gone_before_the_answer, async |world: World| {
    let setting = raise(world).await;
    let grant = setting.share("alice", "bob", "qwallet:wallet:w1", &["read"]).await;
    assert!(setting.may("bob", "read", "qwallet:wallet:w1", "alice"));
    let client = setting.as_("alice");
    let revoked = client.call::<RevokeGrant>(&from("bob", "qwallet:wallet:w1")).await.unwrap();
    assert_eq!(setting.decide("bob", "read", "qwallet:wallet:w1", "alice").reason, Reason::NoGrant);
    assert_eq!(revoked.revoked_permissions, ["read"]);
    assert_eq!(revoked.cids, grant.cids);
    assert_eq!(revoked.epoch, grant.epoch + 1);
    assert!(revoked.ineffective.is_empty());
    assert_eq!(client.call::<RevokeGrant>(&from("bob", "qwallet:wallet:w1")).await.unwrap(), revoked);
    let again = setting.as_("alice").call::<RevokeGrant>(&from("bob", "qwallet:wallet:w1")).await;
    assert_eq!(code(again), "GRANT_NOT_FOUND");
    let path = DelegationPath { cid: grant.cids[0] };
    assert_eq!(code(setting.as_("alice").call::<GetDelegation>(&path).await), "DELEGATION_REVOKED");
    setting.world.close().await;
});

on_each_world!(one_action_may_be_taken_back_alone, async |world: World| {
    let setting = raise(world).await;
    setting.share("alice", "bob", FILE, &["write"]).await;
    let mut request = from("bob", FILE);
    request.permissions = vec!["write".into()];
    let revoked = setting.as_("alice").call::<RevokeGrant>(&request).await.unwrap();
    assert_eq!(revoked.revoked_permissions, ["write"]);
    assert!(setting.may("bob", "read", FILE, "alice") && !setting.may("bob", "write", FILE, "alice"));
    setting.world.close().await;
});

on_each_world!(other_paths_that_still_allow_it_are_named, async |world: World| {
    let setting = raise(world).await;
    setting.share("alice", "bob", FILE, &["read"]).await;
    setting.share("alice", "dave", FILE, &["read"]).await;
    setting.share("alice", "carol", FILE, &["read"]).await;
    let by_bob = hand_on(&setting, "bob", "carol").await;
    // Dave may take back what Dave handed on, and that is nothing.
    assert_eq!(code(setting.as_("dave").call::<RevokeGrant>(&from("carol", FILE)).await), "GRANT_NOT_FOUND");
    // Bob takes back his own; Alice's stays, and Bob hears so.
    let revoked = setting.as_("bob").call::<RevokeGrant>(&from("carol", FILE)).await.unwrap();
    assert_eq!(revoked.cids, by_bob.cids);
    assert_eq!(revoked.ineffective.len(), 1);
    assert_eq!(revoked.ineffective[0].granted_by, identity("alice").0);
    assert!(setting.may("carol", "read", FILE, "alice"));
    let revoked = setting.as_("alice").call::<RevokeGrant>(&from("carol", FILE)).await.unwrap();
    assert!(revoked.ineffective.is_empty());
    assert!(!setting.may("carol", "read", FILE, "alice"));
    setting.world.close().await;
});

on_each_world!(a_chain_dies_with_any_of_its_links, async |world: World| {
    let setting = raise(world).await;
    let root = setting.share("alice", "bob", FILE, &["read"]).await;
    hand_on(&setting, "bob", "carol").await;
    hand_on(&setting, "carol", "dave").await;
    assert!(setting.may("dave", "read", FILE, "alice"));
    let by_cid = RevokeRequest { cid: Some(root.cids[0]), ..RevokeRequest::default() };
    for stranger in ["mallory", "dave", "carol"] {
        assert_eq!(code(setting.as_(stranger).call::<RevokeGrant>(&by_cid).await), "FORBIDDEN", "{stranger}");
    }
    setting.as_("alice").call::<RevokeGrant>(&by_cid).await.unwrap();
    for who in ["bob", "carol", "dave"] {
        assert!(!setting.may(who, "read", FILE, "alice"), "{who}");
    }
    // Immutable: the second time changes nothing, and what hangs on it is refused from now on.
    let epoch = setting.pdp.epoch();
    let again = setting.as_("alice").call::<RevokeGrant>(&by_cid).await.unwrap();
    assert_eq!((again.epoch, setting.pdp.epoch()), (epoch, epoch));
    let onward = setting.sign("bob", "alice", "eve", FILE, &["read"]);
    let request = setting.request("eve", FILE, &["read"], Some(onward));
    assert_eq!(code(setting.as_("bob").call::<IssueGrant>(&request).await), "UCAN_REVOKED");
    setting.world.close().await;
});

on_each_world!(whoever_stands_on_the_path_may_revoke_below, async |world: World| {
    let setting = raise(world).await;
    setting.share("alice", "bob", FILE, &["read"]).await;
    hand_on(&setting, "bob", "carol").await;
    let leaf = hand_on(&setting, "carol", "dave").await;
    let by_cid = RevokeRequest { cid: Some(leaf.cids[0]), ..RevokeRequest::default() };
    setting.as_("bob").call::<RevokeGrant>(&by_cid).await.unwrap();
    assert!(!setting.may("dave", "read", FILE, "alice"));
    assert!(setting.may("carol", "read", FILE, "alice"));
    setting.world.close().await;
});

on_each_world!(each_refusal_has_its_code, async |world: World| {
    let setting = raise(world).await;
    let grant = setting.share("alice", "bob", FILE, &["read"]).await;
    let cid = Some(grant.cids[0]);
    for (expected, request) in [
        ("VALIDATION_ERROR", RevokeRequest::default()),
        ("VALIDATION_ERROR", RevokeRequest { cid, ..from("bob", FILE) }),
        ("VALIDATION_ERROR", RevokeRequest { resource: Some(FILE.into()), ..RevokeRequest::default() }),
        ("VALIDATION_ERROR", RevokeRequest { reason: Some("Bob was rude".into()), ..from("bob", FILE) }),
        ("INVALID_RESOURCE_FORMAT", from("bob", "file")),
        ("INVALID_IDENTITY_FORMAT", RevokeRequest { identity: Some("bob".into()), ..from("bob", FILE) }),
        ("INVALID_PERMISSIONS", RevokeRequest { permissions: vec!["R".into()], ..from("bob", FILE) }),
        ("GRANT_NOT_FOUND", RevokeRequest { permissions: vec!["write".into()], ..from("bob", FILE) }),
        ("GRANT_NOT_FOUND", from("carol", FILE)),
        (
            "DELEGATION_NOT_FOUND",
            RevokeRequest { cid: Some(q_ucan::TokenCid::of(b"x")), ..RevokeRequest::default() },
        ),
    ] {
        assert_eq!(code(setting.as_("alice").call::<RevokeGrant>(&request).await), expected, "{request:?}");
    }
    for stranger in ["bob", "mallory"] {
        assert_eq!(
            code(setting.as_(stranger).call::<RevokeGrant>(&from("bob", FILE)).await),
            "GRANT_NOT_FOUND"
        );
    }
    setting.world.clock.advance(Span::seconds(91 * 86_400));
    assert_eq!(code(setting.as_("alice").call::<RevokeGrant>(&from("bob", FILE)).await), "GRANT_NOT_FOUND");
    setting.world.close().await;
});
