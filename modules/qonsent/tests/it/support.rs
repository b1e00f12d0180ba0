//! A world with qonsent in it, and people who share.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use futures_util::future::BoxFuture;
use q_contract::{CallError, Client};
use q_core::{Did, Span, Timestamp};
use q_jose::ed25519::SecretKey;
use q_pdp::{Conditions, Decision, KeySource, KeysUnavailable, Pdp, Request, Resource};
use q_testkit::{World, identity};
use q_ucan::{Issuer, VerifyingKey};
use qonsent::{MIGRATIONS, Qonsent, SETTINGS};
use qonsent_api::{Grant, GrantRequest, IssueGrant, NewDelegation};

/// Everybody here is a did:key, whose key needs no directory.
#[derive(Debug, Clone, Copy)]
pub struct NoDirectory;

impl KeySource for NoDirectory {
    fn keys<'a>(
        &'a self,
        _: &'a Issuer,
        _: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<VerifyingKey>, KeysUnavailable>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}

pub struct Setting {
    pub world: World,
    pub pdp: Pdp,
    pub module: Arc<Qonsent>,
}

/// The identity of qonsent itself.
pub fn authority() -> (Did, SecretKey) {
    identity("service-qonsent")
}

pub async fn raise(mut world: World) -> Setting {
    let pdp = Pdp::new(authority().0, world.env.now());
    let module = open(&world, &pdp).await;
    world.raise(module.clone()).await;
    Setting { world, pdp, module }
}

/// Opens the module on the world's store, as a restart does.
pub async fn open(world: &World, pdp: &Pdp) -> Arc<Qonsent> {
    let ground = world.ground("qonsent", &MIGRATIONS, SETTINGS).await;
    qonsent::open(ground, pdp.clone(), NoDirectory).await.unwrap()
}

/// A key that was not used before.
pub fn fresh_key() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("key-{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

pub fn resource(text: &str) -> Resource {
    text.parse().unwrap()
}

/// The code of a refusal.
pub fn code<T: std::fmt::Debug>(answer: Result<T, CallError>) -> String {
    match answer {
        Err(CallError::Problem(problem)) => problem.code,
        other => format!("{other:?}"),
    }
}

impl Setting {
    /// qonsent, asked by `name` with a fresh key.
    pub fn as_(&self, name: &str) -> Client {
        self.world.client("qonsent", &identity(name).0).with_key(fresh_key())
    }

    /// Delegations by `from` of `owner`'s resource to `to`.
    pub fn sign(&self, from: &str, owner: &str, to: &str, on: &str, permissions: &[&str]) -> String {
        self.sign_until(from, owner, to, on, permissions, Span::seconds(86_400 * 200))
    }

    pub fn sign_until(
        &self,
        from: &str,
        owner: &str,
        to: &str,
        on: &str,
        permissions: &[&str],
        lasts: Span,
    ) -> String {
        let (issuer, key) = identity(from);
        let new = NewDelegation {
            issuer: issuer.into(),
            owner: &identity(owner).0,
            audience: &identity(to).0,
            resource: &resource(on),
            permissions,
            not_before: None,
            expires_at: self.world.env.now() + lasts,
            conditions: &Conditions::default(),
        };
        new.sign(&self.world.env, &key).unwrap()
    }

    /// A delegation to read, under conditions.
    pub fn sign_under(&self, from: &str, owner: &str, to: &str, on: &str, conditions: &Conditions) -> String {
        let (issuer, key) = identity(from);
        let new = NewDelegation {
            issuer: issuer.into(),
            owner: &identity(owner).0,
            audience: &identity(to).0,
            resource: &resource(on),
            permissions: &["read"],
            not_before: None,
            expires_at: self.world.env.now() + Span::seconds(86_400 * 60),
            conditions,
        };
        new.sign(&self.world.env, &key).unwrap()
    }

    /// Asks for a grant with the delegations in `container`.
    pub fn request(
        &self,
        to: &str,
        on: &str,
        permissions: &[&str],
        container: Option<String>,
    ) -> GrantRequest {
        GrantRequest {
            resource: on.to_owned(),
            identity: identity(to).0.to_string(),
            permissions: permissions.iter().map(ToString::to_string).collect(),
            expires_at: None,
            delegation: container,
        }
    }

    /// `owner` shares with `to`.
    pub async fn share(&self, owner: &str, to: &str, on: &str, permissions: &[&str]) -> Grant {
        let container = self.sign(owner, owner, to, on, permissions);
        let request = self.request(to, on, permissions, Some(container));
        self.as_(owner).call::<IssueGrant>(&request).await.unwrap()
    }

    /// What a module of this process would decide, without a call.
    pub fn decide(&self, who: &str, action: &str, on: &str, owner: &str) -> Decision {
        self.pdp.decide(&Request {
            principal: &identity(who).0,
            action,
            resource: on,
            owner: Some(&identity(owner).0),
            now: self.world.env.now(),
        })
    }

    pub fn may(&self, who: &str, action: &str, on: &str, owner: &str) -> bool {
        self.decide(who, action, on, owner).allowed
    }
}
