//! The first operator: the instance's own delegation, handed in when the instance is made.

use q_core::{Caller, Span, caller::Principal};
use q_testkit::{World, identity, on_each_world};
use qonsent_api::{
    Check, CheckRequest, ListPermissions, ListPermissionsRequest, RegisterDelegations, RegisterRequest,
    operator_delegation,
};

use crate::support::{code, fresh_key, raise};

on_each_world!(the_instance_names_its_first_operator, async |world: World| {
    let setting = raise(world).await;
    let (instance, key) = identity("instance");
    let house = format!("instance:instance:{instance}");
    let (operator, _) = identity("operator");
    let now = setting.world.env.now();
    assert!(!setting.pdp.check(&operator, "admin", &house, now).is_allowed());
    let container = operator_delegation(&setting.world.env, &instance, &key, &operator).unwrap();
    let init = Principal::new(identity("service-qonsent").0, now);
    let client =
        setting.world.client_as("qonsent", Caller::Service(init, "init".into())).with_key(fresh_key());
    let registered = client.call::<RegisterDelegations>(&RegisterRequest { container }).await.unwrap();
    assert_eq!(registered.grants.len(), 1);
    assert!(setting.pdp.check(&operator, "admin", &house, now).is_allowed());
    assert!(setting.pdp.check(&operator, "read", &house, now).is_allowed());
    let in_nine_years = now + Span::seconds(9 * 365 * 86_400);
    assert!(registered.grants[0].expires_at > in_nine_years);

    // An operator sees every grant and may ask about anybody.
    setting.share("alice", "bob", "qdrive:file:a", &["read"]).await;
    let page =
        setting.as_("operator").call::<ListPermissions>(&ListPermissionsRequest::default()).await.unwrap();
    assert_eq!(page.items.len(), 2);
    let about_bob = CheckRequest {
        resource: "qdrive:file:a".into(),
        identity: identity("bob").0.to_string(),
        action: "read".into(),
        owner: None,
        min_epoch: None,
    };
    assert!(setting.as_("operator").call::<Check>(&about_bob).await.is_ok());
    assert_eq!(code(setting.as_("eve").call::<Check>(&about_bob).await), "FORBIDDEN");
    setting.world.close().await;
});
