//! A world with squid in it, and identities made the way owners make them.

use std::sync::Arc;

use q_auth::{Authenticator, Expected, Revocations, prove};
use q_contract::{CallError, Client, Problem};
use q_core::{Caller, Did};
use q_did::{Keyring, Log, RecoveryPhrase};
use q_runtime::Module as _;
use q_seal::{DataKey, DataKeyId, Sealer};
use q_testkit::World;
use serde_json::Value;
use squid::{Squid, SquidModule};
use squid_api::{
    CreateIdentity, CreateIdentityRequest, Identity, IssueToken, PrivacyLevel, Profile, TokenRequest,
};

pub(crate) const HOST: &str = "qnode.localhost:8080";
pub(crate) const ORIGIN: &str = "http://qnode.localhost:8080";

pub(crate) struct House {
    pub(crate) world: World,
    pub(crate) squid: Arc<Squid>,
}

/// An identity registered here, and what its owner holds.
pub(crate) struct Owner {
    pub(crate) keyring: Keyring,
    pub(crate) log: Log,
    pub(crate) phrase: RecoveryPhrase,
    pub(crate) identity: Identity,
}

pub(crate) fn sealer() -> Sealer {
    Sealer::new(DataKey::new(DataKeyId([1; 16]), &[7; 32]), vec![])
}

/// squid alone.
pub(crate) async fn house(world: World) -> House {
    let squid = sealed_module(&world).await;
    house_with(world, squid).await
}

/// squid opened on the world's ground.
pub(crate) async fn sealed_module(world: &World) -> Arc<Squid> {
    let ground = world.ground("squid", &squid::MIGRATIONS, squid::SETTINGS).await;
    squid::open(ground, sealer(), vec!["http://squid.test".into()]).await.unwrap()
}

/// The world with squid up and everything started.
pub(crate) async fn house_with(mut world: World, squid: Arc<Squid>) -> House {
    world.raise(Arc::new(SquidModule(squid.clone()))).await;
    world.start();
    House { world, squid }
}

/// What a module checks tokens with: squid's keys, and no revocation heard yet.
pub(crate) fn checker(world: &World, squid: &Squid) -> Authenticator {
    let expected = Expected { issuer: ORIGIN.into(), audience: ORIGIN.into() };
    let module = Authenticator::new(world.env.clone(), expected, Arc::new(Revocations::new()));
    module.set_keys(&squid.key_set());
    module
}

pub(crate) fn profile(name: &str) -> Profile {
    Profile { name: name.into(), description: Some("likes engines".into()), ..Profile::default() }
}

impl House {
    pub(crate) fn anonymous(&self) -> Client {
        self.world.client_as("squid", Caller::Anonymous)
    }

    pub(crate) fn client(&self, did: &Did) -> Client {
        self.world.client("squid", did)
    }

    pub(crate) async fn owner(&self, name: &str) -> Owner {
        self.owner_with(name, PrivacyLevel::Public).await
    }

    pub(crate) async fn owner_with(&self, name: &str, privacy_level: PrivacyLevel) -> Owner {
        let (keyring, log, phrase) = Keyring::create(HOST, &self.world.env).unwrap();
        let request = creation(&log, name, privacy_level);
        let identity = self.anonymous().call::<CreateIdentity>(&request).await.unwrap();
        Owner { keyring, log, phrase, identity }
    }

    /// A bearer token for the owner.
    pub(crate) async fn token(&self, keyring: &Keyring) -> Result<String, CallError> {
        let request = login(&prove::login_assertion(&keyring.did, &keyring.current, ORIGIN, &self.world.env));
        Ok(self.anonymous().call::<IssueToken>(&request).await?.access_token)
    }

    /// A module's check that has heard every revocation so far.
    pub(crate) async fn module(&self) -> Authenticator {
        let module = checker(&self.world, &self.squid);
        self.tell(&module).await;
        module
    }

    /// Lets a module hear every event so far.
    pub(crate) async fn tell(&self, module: &Authenticator) {
        for row in self.events().await {
            module.revocations().hear(&row);
        }
    }

    pub(crate) async fn events(&self) -> Vec<q_core::Event> {
        let rows = SquidModule(self.squid.clone()).db().outbox_after(0, 1_000).await.unwrap();
        rows.into_iter().map(|row| row.event).collect()
    }

    pub(crate) async fn audited(&self) -> Vec<String> {
        let rows = SquidModule(self.squid.clone()).db().audit_after(0, 1_000).await.unwrap();
        rows.into_iter().map(|row| row.entry.action).collect()
    }
}

pub(crate) fn creation(log: &Log, name: &str, privacy_level: PrivacyLevel) -> CreateIdentityRequest {
    let log_entry = serde_json::to_value(&log.entries()[0]).unwrap();
    CreateIdentityRequest {
        log_entry,
        profile: profile(name),
        privacy_level: Some(privacy_level),
        kind: None,
    }
}

pub(crate) fn login(assertion: &str) -> TokenRequest {
    TokenRequest {
        grant_type: prove::JWT_BEARER_GRANT.into(),
        assertion: Some(assertion.into()),
        ..TokenRequest::default()
    }
}

pub(crate) fn entry(entry: &q_did::entry::Entry) -> Value {
    serde_json::to_value(entry).unwrap()
}

/// The problem a refused call was answered with.
pub(crate) fn problem<T: std::fmt::Debug>(outcome: Result<T, CallError>) -> Problem {
    match outcome {
        Err(CallError::Problem(problem)) => problem,
        other => panic!("a refusal was expected, not {other:?}"),
    }
}
