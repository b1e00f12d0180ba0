//! POST /grant.

use q_core::Span;
use q_pdp::Reason;
use q_testkit::{World, identity, on_each_world};
use qonsent_api::{GrantState, IssueGrant, RegisterDelegations, RegisterRequest};

use crate::support::{authority, code, open, raise};

const WALLET: &str = "qwallet:wallet:w1";
const FILE: &str = "qdrive:file:a";

/// What a row changes of a request that would pass.
type Change = Box<dyn Fn(&mut qonsent_api::GrantRequest)>;

on_each_world!(a_grant_counts_before_it_is_answered, async |world: World| {
    let setting = raise(world).await;
    assert_eq!(setting.decide("bob", "read", WALLET, "alice").reason, Reason::NoGrant);
    let grant = setting.share("alice", "bob", WALLET, &["read"]).await;
    let decision = setting.decide("bob", "read", WALLET, "alice");
    assert_eq!(
        (decision.reason, decision.grant, decision.epoch),
        (Reason::Grant, Some(grant.grant_id), grant.epoch)
    );
    assert!(!setting.may("bob", "write", WALLET, "alice"));
    assert!(!setting.may("carol", "read", WALLET, "alice"));

    assert_eq!(grant.owner, identity("alice").0);
    assert_eq!(grant.permissions, ["read"]);
    assert_eq!(grant.state, GrantState::Active);
    assert_eq!(grant.cids.len(), 1);
    assert_eq!(grant.expires_at.since(grant.created_at), Span::seconds(90 * 86_400));
    assert!(grant.ucan.as_deref().is_some_and(|ucan| ucan.starts_with('C')));
    setting.world.close().await;
});

on_each_world!(write_brings_read_and_each_needs_its_own_proof, async |world: World| {
    let setting = raise(world).await;
    let grant = setting.share("alice", "bob", FILE, &["write"]).await;
    assert_eq!(grant.permissions, ["read", "write"]);
    assert!(setting.may("bob", "read", FILE, "alice") && setting.may("bob", "write", FILE, "alice"));

    let only_read = setting.sign("alice", "alice", "carol", FILE, &["read"]);
    let request = setting.request("carol", FILE, &["write"], Some(only_read));
    assert_eq!(code(setting.as_("alice").call::<IssueGrant>(&request).await), "MISSING_PROOFS");
    assert!(!setting.may("carol", "read", FILE, "alice"));
    setting.world.close().await;
});

on_each_world!(a_repeated_grant_is_one_grant, async |world: World| {
    let setting = raise(world).await;
    let container = setting.sign("alice", "alice", "bob", FILE, &["read"]);
    let request = setting.request("bob", FILE, &["read"], Some(container));
    let client = setting.as_("alice");
    let first = client.call::<IssueGrant>(&request).await.unwrap();
    assert_eq!(client.call::<IssueGrant>(&request).await.unwrap(), first);
    assert_eq!(setting.pdp.epoch(), 1);
    let for_carol = setting.sign("alice", "alice", "carol", FILE, &["read"]);
    let other = setting.request("carol", FILE, &["read"], Some(for_carol));
    assert_eq!(code(client.call::<IssueGrant>(&other).await), "IDEMPOTENCY_KEY_REUSED");
    // A year later the delegation has ended, and the first answer is still the answer.
    setting.world.clock.advance(Span::seconds(366 * 86_400));
    assert_eq!(client.call::<IssueGrant>(&request).await.unwrap(), first);
    assert_eq!(code(setting.as_("alice").call::<IssueGrant>(&request).await), "UCAN_EXPIRED");
    setting.world.close().await;
});

on_each_world!(each_refusal_has_its_code, async |world: World| {
    let setting = raise(world).await;
    let good = || setting.sign("alice", "alice", "bob", FILE, &["read"]);
    let valid = setting.request("bob", FILE, &["read"], Some(good()));
    let now = setting.world.env.now();
    let rows: Vec<(&str, Change)> = vec![
        ("INVALID_RESOURCE_FORMAT", Box::new(|request| request.resource = "qdrive:file".into())),
        ("INVALID_IDENTITY_FORMAT", Box::new(|request| request.identity = "*".into())),
        ("INVALID_PERMISSIONS", Box::new(|request| request.permissions = vec![])),
        ("INVALID_PERMISSIONS", Box::new(|request| request.permissions = vec!["Read".into()])),
        ("VALIDATION_ERROR", Box::new(move |request| request.expires_at = Some(now))),
        (
            "VALIDATION_ERROR",
            Box::new(move |request| request.expires_at = Some(now + Span::seconds(367 * 86_400))),
        ),
        ("STANDING_DELEGATION_REQUIRED", Box::new(|request| request.delegation = None)),
        ("UCAN_INVALID", Box::new(|request| request.delegation = Some("Cnot a container".into()))),
        ("UCAN_TOO_LARGE", Box::new(|request| request.delegation = Some("C".repeat(300_000)))),
        ("MISSING_PROOFS", Box::new(|request| request.resource = "qdrive:file:b".into())),
        ("MISSING_PROOFS", Box::new(|request| request.permissions = vec!["execute".into()])),
    ];
    for (expected, change) in rows {
        let mut request = valid.clone();
        change(&mut request);
        assert_eq!(code(setting.as_("alice").call::<IssueGrant>(&request).await), expected, "{request:?}");
    }
    // Not the one who signed.
    assert_eq!(code(setting.as_("carol").call::<IssueGrant>(&valid).await), "INSUFFICIENT_PERMISSIONS");
    assert_eq!(code(setting.as_("bob").call::<IssueGrant>(&valid).await), "INSUFFICIENT_PERMISSIONS");
    // Signed by somebody who does not own it: a chain of their own, which counts for nobody's resource but theirs.
    let theirs = setting.sign("mallory", "mallory", "bob", FILE, &["read"]);
    let request = setting.request("bob", FILE, &["read"], Some(theirs));
    setting.as_("mallory").call::<IssueGrant>(&request).await.unwrap();
    assert!(!setting.may("bob", "read", FILE, "alice"));
    // In the owner's name, without the owner's key.
    let forged = setting.sign("mallory", "alice", "bob", FILE, &["read"]);
    let request = setting.request("bob", FILE, &["read"], Some(forged));
    assert_eq!(code(setting.as_("mallory").call::<IssueGrant>(&request).await), "MISSING_PROOFS");
    // Ended.
    let late = setting.sign_until("alice", "alice", "bob", FILE, &["read"], Span::seconds(-61));
    let request = setting.request("bob", FILE, &["read"], Some(late));
    assert_eq!(code(setting.as_("alice").call::<IssueGrant>(&request).await), "UCAN_EXPIRED");
    assert_eq!(setting.pdp.epoch(), 1);
    setting.world.close().await;
});

on_each_world!(what_is_held_can_be_handed_on_and_no_more, async |world: World| {
    let setting = raise(world).await;
    setting.share("alice", "bob", FILE, &["read"]).await;
    // Bob's own delegation is enough: Alice's is on record.
    let onward = setting.sign("bob", "alice", "carol", FILE, &["read"]);
    let request = setting.request("carol", FILE, &["read"], Some(onward));
    let grant = setting.as_("bob").call::<IssueGrant>(&request).await.unwrap();
    assert_eq!((grant.owner, grant.granted_by), (identity("alice").0, identity("bob").0));
    assert!(setting.may("carol", "read", FILE, "alice"));

    let wider = setting.sign("bob", "alice", "carol", FILE, &["write"]);
    let request = setting.request("carol", FILE, &["write"], Some(wider));
    assert_eq!(code(setting.as_("bob").call::<IssueGrant>(&request).await), "MISSING_PROOFS");
    setting.world.close().await;
});

on_each_world!(strangers_cannot_crowd_out_what_the_owner_signed, async |world: World| {
    let setting = raise(world).await;
    setting.share("alice", "bob", FILE, &["read"]).await;
    for at in 0..70 {
        let noise = setting.sign("mallory", "alice", "bob", &format!("qdrive:file:{at}"), &["read"]);
        setting
            .as_("mallory")
            .call::<RegisterDelegations>(&RegisterRequest { container: noise })
            .await
            .unwrap();
    }
    let onward = setting.sign("bob", "alice", "carol", FILE, &["read"]);
    let request = setting.request("carol", FILE, &["read"], Some(onward));
    setting.as_("bob").call::<IssueGrant>(&request).await.unwrap();
    assert!(setting.may("carol", "read", FILE, "alice"));
    setting.world.close().await;
});

on_each_world!(a_grant_never_outlasts_its_delegation, async |world: World| {
    let setting = raise(world).await;
    let short = setting.sign_until("alice", "alice", "bob", FILE, &["read"], Span::seconds(600));
    let mut request = setting.request("bob", FILE, &["read"], Some(short));
    request.expires_at = Some(setting.world.env.now() + Span::seconds(86_400));
    let grant = setting.as_("alice").call::<IssueGrant>(&request).await.unwrap();
    assert_eq!(grant.expires_at, setting.world.env.now() + Span::seconds(600));
    setting.world.clock.advance(Span::seconds(599));
    setting.share("alice", "carol", FILE, &["read"]).await;
    assert!(setting.may("bob", "read", FILE, "alice"));
    setting.world.clock.advance(Span::seconds(1));
    assert_eq!(setting.decide("bob", "read", FILE, "alice").reason, Reason::GrantExpired);
    setting.world.close().await;
});

on_each_world!(wallets_are_shared_by_their_owner_only, async |world: World| {
    let setting = raise(world).await;
    let request = setting.request("bob", WALLET, &["read"], None);
    let refused = setting.as_("alice").call::<IssueGrant>(&request).await.unwrap_err();
    let problem = refused.problem().unwrap();
    assert_eq!((problem.code.as_str(), problem.status), ("STANDING_DELEGATION_REQUIRED", 409));
    assert!(problem.hint.as_deref().is_some_and(|hint| hint.contains("delegation")));

    // Even a chain through a delegation to qonsent itself is refused for wallets, and fine for files.
    for (on, expected) in [(WALLET, "STANDING_DELEGATION_REQUIRED"), (FILE, "")] {
        let standing = setting.sign("alice", "alice", "service-qonsent", on, &["read"]);
        setting
            .as_("alice")
            .call::<RegisterDelegations>(&RegisterRequest { container: standing })
            .await
            .unwrap();
        let leaf = setting.sign("service-qonsent", "alice", "bob", on, &["read"]);
        let request = setting.request("bob", on, &["read"], Some(leaf));
        let client = setting.world.client("qonsent", &authority().0).with_key(crate::support::fresh_key());
        let answer = client.call::<IssueGrant>(&request).await;
        assert_eq!(setting.may("bob", "read", on, "alice"), expected.is_empty());
        if !expected.is_empty() {
            assert_eq!(code(answer), expected);
        }
    }
    setting.world.close().await;
});

on_each_world!(a_restart_remembers_everything_at_once, async |world: World| {
    let setting = raise(world).await;
    setting.share("alice", "bob", FILE, &["read"]).await;
    let fresh = q_pdp::Pdp::new(authority().0, setting.world.env.now());
    q_runtime::Module::db(&*setting.module).close().await;
    let again = open(&setting.world, &fresh).await;
    assert_eq!((fresh.epoch(), fresh.digest()), (1, setting.pdp.digest()));
    let request = q_pdp::Request {
        principal: &identity("bob").0,
        action: "read",
        resource: FILE,
        owner: Some(&identity("alice").0),
        now: setting.world.env.now(),
    };
    assert!(fresh.decide(&request).allowed);
    assert_eq!(q_runtime::Module::verify(&*again).await.unwrap(), []);
    q_runtime::Module::db(&*again).close().await;
    setting.world.abandon().await;
});
