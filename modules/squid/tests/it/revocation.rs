//! Ending sessions: told by event, in force at a module's next request.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use q_auth::{Authenticator, revocations::TOPICS};
use q_bus::Subscription;
use q_core::{Event, Span};
use q_db::{Db, DbError, Migrations};
use q_http::Api;
use q_runtime::{Finding, Module};
use q_testkit::{World, on_each_world};
use squid_api::{
    EndAllSessions, EndSession, GetKeySet, ListSessions, NoFields, RevokeRequest, RevokeToken,
    RotateSigningKey, RotateSigningKeyRequest, SessionRequest,
};

use crate::support::{house, house_with, problem, sealed_module};

on_each_world!(a_session_that_is_ended_dies_at_the_modules_next_look, async |world: World| {
    let house = house(world).await;
    let (alice, mallory) = (house.owner("Alice").await, house.owner("Mallory").await);
    let module = house.module().await;
    let (first, second) =
        (house.token(&alice.keyring).await.unwrap(), house.token(&alice.keyring).await.unwrap());
    let bystander = house.token(&mallory.keyring).await.unwrap();
    let sid = module.check_token(&first).unwrap().sid.unwrap();
    let client = house.client(&alice.keyring.did);
    assert_eq!(client.call::<ListSessions>(&NoFields {}).await.unwrap().items.len(), 2);

    let theft =
        house.client(&mallory.keyring.did).call::<EndSession>(&SessionRequest { id: sid.clone() }).await;
    assert_eq!(problem(theft).code, "SQUID_SESSION_NOT_FOUND", "another's session");
    client.call::<EndSession>(&SessionRequest { id: sid.clone() }).await.unwrap();
    house.tell(&module).await;
    assert!(module.check_token(&first).is_err());
    assert!(module.check_token(&second).is_ok() && module.check_token(&bystander).is_ok());
    assert_eq!(client.call::<ListSessions>(&NoFields {}).await.unwrap().items.len(), 1);
    assert_eq!(problem(client.call::<EndSession>(&SessionRequest { id: sid }).await).status, 404);

    client.call::<EndAllSessions>(&NoFields {}).await.unwrap();
    let third = house.token(&alice.keyring).await.unwrap();
    house.tell(&module).await;
    assert!(module.check_token(&second).is_err() && module.check_token(&bystander).is_ok());
    assert!(module.check_token(&third).is_ok(), "a login right after is not dead at birth");
    assert_eq!(module.revocations().epoch(), 2);
    house.world.close().await;
});

on_each_world!(a_token_given_back_ends_its_session, async |world: World| {
    let house = house(world).await;
    let alice = house.owner("Alice").await;
    let module = house.module().await;
    let token = house.token(&alice.keyring).await.unwrap();
    let client = house.anonymous();
    for other in ["", "x", "a.b.c", &format!("{token}x")] {
        let request = RevokeRequest { token: other.into() };
        assert!(client.call::<RevokeToken>(&request).await.is_ok(), "answered alike");
    }
    house.tell(&module).await;
    assert!(module.check_token(&token).is_ok());
    client.call::<RevokeToken>(&RevokeRequest { token: token.clone() }).await.unwrap();
    house.tell(&module).await;
    assert!(module.check_token(&token).is_err());
    house.world.close().await;
});

on_each_world!(signing_keys_change_hands_in_public_and_die_when_stolen, async |world: World| {
    let house = house(world).await;
    let alice = house.owner("Alice").await;
    let (operator, _) = q_testkit::identity("operator");
    house.world.make_operator(&operator);
    let client = house.client(&operator);
    let published = house.anonymous().call::<GetKeySet>(&NoFields {}).await.unwrap();
    assert_eq!(published.keys.len(), 2, "the active key and the next one");
    let module = house.module().await;
    let token = house.token(&alice.keyring).await.unwrap();
    let rotate = |compromised, key: &str| {
        let client = client.clone().with_key(key);
        async move { client.call::<RotateSigningKey>(&RotateSigningKeyRequest { compromised }).await.unwrap() }
    };
    let after = rotate(false, "rotation-1").await;
    assert_eq!(after.keys.len(), 3, "retired, active, next");
    assert_eq!(rotate(false, "rotation-1").await, after, "a repetition rotates once");
    house.tell(&module).await;
    assert!(module.check_token(&token).is_ok(), "an orderly rotation ends no session");
    let newer = house.token(&alice.keyring).await.unwrap();
    assert!(module.check_token(&newer).is_ok(), "the module knew the next key already");

    let after = rotate(true, "rotation-2").await;
    house.tell(&module).await;
    assert!(module.check_token(&newer).is_err(), "tokens of a stolen key die by event");
    let kid = |value: &serde_json::Value| value["kid"].as_str().unwrap().to_owned();
    assert!(
        !after.keys.iter().map(kid).any(|kid| kid == self::kid_of(&newer)),
        "and it is published no more"
    );
    module.set_keys(&house.squid.key_set());
    assert!(module.check_token(&house.token(&alice.keyring).await.unwrap()).is_ok());
    house.world.close().await;
});

fn kid_of(token: &str) -> String {
    q_jose::jws::Parsed::parse(token, 8_192).unwrap().header.kid.unwrap()
}

on_each_world!(the_fifty_first_session_ends_the_oldest, async |world: World| {
    let house = house(world).await;
    let alice = house.owner("Alice").await;
    let module = house.module().await;
    let mut tokens = Vec::new();
    for _ in 0..51 {
        tokens.push(house.token(&alice.keyring).await.unwrap());
        house.world.clock.advance(Span::seconds(1));
    }
    house.tell(&module).await;
    assert!(module.check_token(&tokens[0]).is_err());
    assert!(tokens[1..].iter().all(|token| module.check_token(token).is_ok()));
    let sessions = house.client(&alice.keyring.did).call::<ListSessions>(&NoFields {}).await.unwrap();
    assert_eq!(sessions.items.len(), 50);
    house.world.close().await;
});

/// A module that checks tokens and hears squid over the bus, as every module does.
struct Listener {
    db: Db,
    auth: Arc<Authenticator>,
}

impl Module for Listener {
    fn name(&self) -> &'static str {
        "listener"
    }

    fn api(&self) -> Api {
        Api::build("listener", "hears", Arc::new(())).done()
    }

    fn db(&self) -> &Db {
        &self.db
    }

    fn subscriptions(&self) -> Vec<Subscription> {
        let auth = self.auth.clone();
        let hear = move |event: Event| {
            let auth = auth.clone();
            async move {
                auth.revocations().hear(&event);
                Ok(())
            }
        };
        vec![Subscription::replayed("squid", TOPICS, hear)]
    }

    fn verify(&self) -> BoxFuture<'_, Result<Vec<Finding>, DbError>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}

on_each_world!(a_revocation_crosses_the_bus, async |mut world: World| {
    let migrations = Migrations::new("listener", &[], &[]);
    let db = world.db("listener", &migrations).await;
    let squid = sealed_module(&world).await;
    let auth = Arc::new(crate::support::checker(&world, &squid));
    world.raise(Arc::new(Listener { db, auth: auth.clone() })).await;
    let house = house_with(world, squid).await;
    let alice = house.owner("Alice").await;
    let token = house.token(&alice.keyring).await.unwrap();
    assert!(auth.check_token(&token).is_ok());
    house.client(&alice.keyring.did).call::<EndAllSessions>(&NoFields {}).await.unwrap();
    house.world.settle().await;
    assert!(auth.check_token(&token).is_err());
    house.world.close().await;
});
