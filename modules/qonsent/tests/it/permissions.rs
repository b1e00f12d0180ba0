//! GET /permissions.

use q_core::{PageLimit, Span};
use q_testkit::{World, identity, on_each_world};
use qonsent_api::{GrantState, ListPermissions, ListPermissionsRequest, RevokeGrant, RevokeRequest};

use crate::support::{code, raise};

on_each_world!(everybody_sees_what_concerns_them, async |world: World| {
    let setting = raise(world).await;
    setting.share("alice", "bob", "qdrive:file:a", &["read"]).await;
    setting.share("alice", "carol", "qdrive:file:b", &["read"]).await;
    setting.share("dave", "bob", "qdrive:file:c", &["read"]).await;
    let list = async |who: &str, request: ListPermissionsRequest| {
        let page = setting.as_(who).call::<ListPermissions>(&request).await.unwrap();
        page.items.into_iter().map(|grant| grant.resource).collect::<Vec<_>>()
    };
    let all = ListPermissionsRequest::default;
    assert_eq!(list("alice", all()).await, ["qdrive:file:b", "qdrive:file:a"]);
    assert_eq!(list("bob", all()).await, ["qdrive:file:c", "qdrive:file:a"]);
    assert!(list("eve", all()).await.is_empty());
    let of = |on: &str| ListPermissionsRequest { resource: Some(on.into()), ..all() };
    assert_eq!(list("alice", of("qdrive:file:a")).await, ["qdrive:file:a"]);
    assert!(list("carol", of("qdrive:file:a")).await.is_empty());
    let to_bob = ListPermissionsRequest { identity: Some(identity("bob").0.to_string()), ..all() };
    assert_eq!(list("alice", to_bob.clone()).await, ["qdrive:file:a"]);
    setting.world.close().await;
});

on_each_world!(pages_lose_nothing, async |world: World| {
    let setting = raise(world).await;
    for at in 0..5 {
        setting.share("alice", "bob", &format!("qdrive:file:{at}"), &["read"]).await;
    }
    let (mut seen, mut cursor) = (Vec::new(), None);
    loop {
        let request =
            ListPermissionsRequest { cursor, limit: PageLimit::try_from(2).unwrap(), ..Default::default() };
        let page = setting.as_("bob").call::<ListPermissions>(&request).await.unwrap();
        seen.extend(page.items.into_iter().map(|grant| grant.epoch));
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, [5, 4, 3, 2, 1]);
    let bad = ListPermissionsRequest { cursor: Some("x".into()), ..Default::default() };
    assert_eq!(code(setting.as_("bob").call::<ListPermissions>(&bad).await), "VALIDATION_ERROR");
    setting.world.close().await;
});

on_each_world!(tells_where_each_grant_stands, async |world: World| {
    let setting = raise(world).await;
    setting.share("alice", "bob", "qdrive:file:a", &["write"]).await;
    let first = async || {
        let page =
            setting.as_("bob").call::<ListPermissions>(&ListPermissionsRequest::default()).await.unwrap();
        page.items.into_iter().next().map(|grant| (grant.state, grant.permissions)).unwrap()
    };
    let both = vec!["read".to_owned(), "write".to_owned()];
    assert_eq!(first().await, (GrantState::Active, both));
    let mut revoke = RevokeRequest {
        resource: Some("qdrive:file:a".into()),
        identity: Some(identity("bob").0.to_string()),
        permissions: vec!["write".into()],
        ..RevokeRequest::default()
    };
    setting.as_("alice").call::<RevokeGrant>(&revoke).await.unwrap();
    assert_eq!(first().await, (GrantState::Active, vec!["read".to_owned()]));
    setting.world.clock.advance(Span::seconds(91 * 86_400));
    assert_eq!(first().await.0, GrantState::Expired);
    setting.world.clock.advance(Span::seconds(-91 * 86_400));
    revoke.permissions.clear();
    setting.as_("alice").call::<RevokeGrant>(&revoke).await.unwrap();
    assert_eq!(first().await, (GrantState::Revoked, vec![]));
    setting.world.close().await;
});
