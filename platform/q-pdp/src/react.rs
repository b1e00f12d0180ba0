//! Feeding the projection from events, and finding the keys that proofs are checked with.

use std::{collections::HashMap, sync::Arc};

use futures_util::future::BoxFuture;
use q_auth::{KeyDirectory, directory::DirectoryError};
use q_core::{Did, Event, Timestamp};
use q_ucan::{Delegation, Issuer, Keys, Refusal, TokenCid, VerifyingKey, container};
use serde::Deserialize;

use crate::{Applied, Change, Pdp, RevocationHead};

/// Finds the keys with which an identity may delegate.
pub trait KeySource: Send + Sync + 'static {
    /// The keys that counted at `at`, narrowed to the one the issuer names; none for an unknown identity.
    fn keys<'a>(
        &'a self,
        issuer: &'a Issuer,
        at: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<VerifyingKey>, KeysUnavailable>>;
}

/// The keys cannot be had now, but perhaps later.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the keys of an identity cannot be had now: {0}")]
pub struct KeysUnavailable(pub String);

/// The event could not be taken in yet; deliver it again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct NotYet(#[from] KeysUnavailable);

impl KeySource for KeyDirectory {
    fn keys<'a>(
        &'a self,
        issuer: &'a Issuer,
        at: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<VerifyingKey>, KeysUnavailable>> {
        Box::pin(async move {
            let found = match self.resolve_at(&issuer.did, at).await {
                Ok(found) => found,
                Err(DirectoryError::Unknown | DirectoryError::LogRefused(_)) => return Ok(Vec::new()),
                Err(error @ DirectoryError::Unavailable(_)) => {
                    return Err(KeysUnavailable(error.to_string()));
                }
            };
            let is_named = |id: &str| {
                issuer
                    .key
                    .as_deref()
                    .is_none_or(|key| id.rsplit_once('#').is_some_and(|(_, fragment)| fragment == key))
            };
            let delegating = found.iter().filter(|method| method.is_assertion && is_named(&method.id));
            Ok(delegating.map(|method| VerifyingKey::Ed25519(method.key)).collect())
        })
    }
}

/// Keys that were looked up before a judgement.
#[derive(Debug, Default)]
pub struct ResolvedKeys(HashMap<String, Vec<VerifyingKey>>);

impl Keys for ResolvedKeys {
    fn find(&self, issuer: &Issuer, _: &TokenCid) -> Result<Vec<VerifyingKey>, Refusal> {
        self.0.get(&issuer.to_string()).filter(|keys| !keys.is_empty()).cloned().ok_or(Refusal::UnknownIssuer)
    }
}

/// Looks up the keys of `issuers`, as of `at`.
pub async fn resolve_keys(
    issuers: &[Issuer],
    source: &dyn KeySource,
    at: Timestamp,
) -> Result<ResolvedKeys, KeysUnavailable> {
    let mut resolved = ResolvedKeys::default();
    for issuer in issuers {
        let name = issuer.to_string();
        if issuer.did.method() != "key" && !resolved.0.contains_key(&name) {
            let keys = source.keys(issuer, at).await?;
            resolved.0.insert(name, keys);
        }
    }
    Ok(resolved)
}

/// Takes events into a projection. One per module, behind its replayed subscription.
#[derive(Clone)]
pub struct Projector {
    pdp: Pdp,
    keys: Arc<dyn KeySource>,
}

#[derive(Deserialize)]
struct AboutIdentity {
    did: Did,
}

impl Projector {
    /// Producer and topics of the permissions.
    pub const QONSENT: (&'static str, &'static [&'static str]) = ("qonsent", &["q.qonsent."]);
    /// Producer and topics of who may act at all.
    pub const SQUID: (&'static str, &'static [&'static str]) = ("squid", &["q.squid.identity."]);

    /// Feeds `pdp`, checking signatures with keys of `keys`.
    pub fn new(pdp: Pdp, keys: Arc<dyn KeySource>) -> Self {
        Self { pdp, keys }
    }

    /// The projection that is fed.
    pub fn pdp(&self) -> &Pdp {
        &self.pdp
    }

    /// Takes one event of qonsent or squid into account; others are passed over.
    pub async fn react(&self, event: &Event) -> Result<(), NotYet> {
        if let Some(change) = Change::of(event) {
            self.take_in(change).await?;
        } else if let Some(head) = event.payload::<RevocationHead>() {
            self.pdp.observe(&head);
        } else if let Some(is_active) = activity(&event.topic)
            && let Ok(AboutIdentity { did }) = AboutIdentity::deserialize(&event.data)
        {
            self.pdp.set_active(&did, is_active);
        }
        Ok(())
    }

    /// Takes in one change, from whichever way it came.
    pub async fn take_in(&self, change: Change) -> Result<Applied, NotYet> {
        if change.epoch() <= self.pdp.epoch() {
            return Ok(Applied::Duplicate);
        }
        let keys = match &change {
            Change::Issued(grant) => {
                let tokens = container::decode(grant.ucan.as_bytes()).unwrap_or_default();
                let delegations = tokens.iter().filter_map(|token| Delegation::decode(token).ok());
                let issuers: Vec<_> = delegations.map(|delegation| delegation.issuer().clone()).collect();
                resolve_keys(&issuers, &*self.keys, grant.granted_at).await?
            }
            Change::Revoked(_) | Change::Registered(_) => ResolvedKeys::default(),
        };
        Ok(self.pdp.apply(change, &keys))
    }
}

/// Whether a topic of squid says that an identity may act or may not.
fn activity(topic: &str) -> Option<bool> {
    match topic {
        "q.squid.identity.suspended.v1" | "q.squid.identity.deleted.v1" => Some(false),
        "q.squid.identity.reactivated.v1" => Some(true),
        _ => None,
    }
}
