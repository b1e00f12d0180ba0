//! POST /delegations, GET /delegations/{cid}, GET /delegations/{cid}/token.

use std::collections::BTreeSet;

use q_testkit::{World, identity, on_each_world};
use q_ucan::{Delegation, container};
use qonsent_api::{
    DelegationPath, GetDelegation, GetDelegationToken, IssueGrant, ListDelegations, ListDelegationsRequest,
    RegisterDelegations, RegisterRequest, RevokeGrant, RevokeRequest,
};

use crate::support::{code, raise};

const FILE: &str = "qdrive:file:a";

on_each_world!(a_delegation_that_pins_a_resource_is_a_grant, async |world: World| {
    let setting = raise(world).await;
    let container = setting.sign("alice", "alice", "bob", FILE, &["write"]);
    let request = RegisterRequest { container: container.clone() };
    // The holder may hand it in as well as the owner.
    let registered = setting.as_("bob").call::<RegisterDelegations>(&request).await.unwrap();
    assert_eq!(registered.cids.len(), 2);
    assert_eq!(registered.grants.len(), 1);
    assert_eq!(registered.grants[0].permissions, ["read", "write"]);
    assert_eq!(registered.grants[0].granted_by, identity("alice").0);
    assert!(setting.may("bob", "write", FILE, "alice"));

    // Again: nothing new.
    let again = setting.as_("alice").call::<RegisterDelegations>(&request).await.unwrap();
    assert_eq!((again.cids, again.grants.len()), (registered.cids.clone(), 0));
    assert_eq!(setting.pdp.epoch(), registered.registered_epoch);

    let path = DelegationPath { cid: registered.cids[0] };
    let record = setting.as_("carol").call::<GetDelegation>(&path).await.unwrap();
    assert_eq!((record.issuer, record.subject), (identity("alice").0.to_string(), Some(identity("alice").0)));
    assert_eq!(record.policy, serde_json::json!([["==", ".resource", FILE]]));
    let token = setting.as_("carol").call::<GetDelegationToken>(&path).await.unwrap().0;
    assert_eq!(Delegation::decode(&token).unwrap().cid(), registered.cids[0]);
    assert!(container::decode(container.as_bytes()).unwrap().contains(&token));
    setting.world.close().await;
});

on_each_world!(a_chain_may_be_put_on_record_from_the_bottom_up, async |world: World| {
    let setting = raise(world).await;
    let lower = RegisterRequest { container: setting.sign("bob", "alice", "carol", FILE, &["read"]) };
    let registered = setting.as_("bob").call::<RegisterDelegations>(&lower).await.unwrap();
    assert_eq!(registered.grants.len(), 0);
    assert_eq!((registered.registered_epoch, setting.pdp.epoch()), (1, 1));
    assert!(!setting.may("carol", "read", FILE, "alice"));
    setting.share("alice", "bob", FILE, &["read"]).await;
    let request = setting.request("carol", FILE, &["read"], Some(lower.container));
    setting.as_("bob").call::<IssueGrant>(&request).await.unwrap();
    assert!(setting.may("carol", "read", FILE, "alice"));
    setting.world.close().await;
});

on_each_world!(who_gave_or_received_delegations_finds_them, async |world: World| {
    let setting = raise(world).await;
    let mut given = Vec::new();
    for (holder, actions) in [("bob", &["read"][..]), ("carol", &["read", "write"])] {
        let container = setting.sign("alice", "alice", holder, FILE, actions);
        let registered =
            setting.as_("alice").call::<RegisterDelegations>(&RegisterRequest { container }).await;
        given.push(registered.unwrap().cids);
    }
    let list = async |who: &str, limit: u32| {
        let mut found = Vec::new();
        let mut request = ListDelegationsRequest { limit: limit.try_into().unwrap(), cursor: None };
        loop {
            let page = setting.as_(who).call::<ListDelegations>(&request).await.unwrap();
            assert!(page.items.len() <= usize::try_from(limit).unwrap());
            found.extend(page.items.into_iter().map(|record| record.cid));
            request.cursor = page.next_cursor;
            if request.cursor.is_none() {
                return found;
            }
        }
    };
    let all: BTreeSet<_> = given.concat().into_iter().collect();
    let newest_first = list("alice", 200).await;
    assert_eq!(newest_first.iter().copied().collect::<BTreeSet<_>>(), all);
    assert!(given[1].contains(&newest_first[0]));
    // Two of them are of one state, and none is lost between two pages.
    assert_eq!(list("alice", 1).await, newest_first);
    assert_eq!(list("bob", 200).await, given[0]);
    assert!(list("dave", 200).await.is_empty());
    let revoke = RevokeRequest { cid: Some(given[0][0]), ..RevokeRequest::default() };
    setting.as_("alice").call::<RevokeGrant>(&revoke).await.unwrap();
    assert!(list("bob", 200).await.is_empty());
    let request = ListDelegationsRequest { cursor: Some("7".into()), ..ListDelegationsRequest::default() };
    assert_eq!(code(setting.as_("bob").call::<ListDelegations>(&request).await), "VALIDATION_ERROR");
    setting.world.close().await;
});

on_each_world!(each_refusal_has_its_code, async |world: World| {
    let setting = raise(world).await;
    let good = setting.sign("alice", "alice", "bob", FILE, &["read"]);
    let register = async |who: &str, container: String| {
        code(setting.as_(who).call::<RegisterDelegations>(&RegisterRequest { container }).await)
    };
    assert_eq!(register("mallory", good.clone()).await, "FORBIDDEN");
    assert_eq!(register("alice", String::new()).await, "UCAN_INVALID");
    assert_eq!(register("alice", container::encode_text([])).await, "UCAN_INVALID");
    assert_eq!(register("alice", "P".into()).await, "UCAN_INVALID");
    let forged = setting.sign("mallory", "alice", "bob", FILE, &["read"]);
    let tokens = container::decode(forged.as_bytes()).unwrap();
    let mut broken = tokens[0].clone();
    broken[10] ^= 1;
    assert_eq!(register("mallory", container::encode_text([broken.as_slice()])).await, "UCAN_BAD_SIGNATURE");
    // Nothing that was refused was kept.
    assert_eq!(setting.pdp.epoch(), 0);

    let registered = setting
        .as_("alice")
        .call::<RegisterDelegations>(&RegisterRequest { container: good.clone() })
        .await
        .unwrap();
    let revoke = RevokeRequest { cid: Some(registered.cids[0]), ..RevokeRequest::default() };
    setting.as_("alice").call::<RevokeGrant>(&revoke).await.unwrap();
    assert_eq!(register("alice", good).await, "UCAN_REVOKED");
    let unknown = DelegationPath { cid: q_ucan::TokenCid::of(b"x") };
    assert_eq!(code(setting.as_("alice").call::<GetDelegation>(&unknown).await), "DELEGATION_NOT_FOUND");
    setting.world.close().await;
});
