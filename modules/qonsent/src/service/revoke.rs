//! Taking rights back.

use std::collections::BTreeSet;

use q_core::{AuditEntry, Did, RequestKey};
use q_db::Tx;
use q_pdp::{Change, GrantRevoked, Resource};
use q_ucan::{Delegation, TokenCid};
use qonsent_api::{Revocation, RevokeRequest, StillAllowed};

use super::{Service, told::Told};
use crate::{
    Error,
    domain::{
        ask,
        withdrawal::{LiveChain, may_revoke},
    },
    store::{changes, delegations, grants, revocations},
};

/// What shall be taken back.
#[derive(Debug, Clone)]
enum Target {
    /// Whatever goes through one delegation.
    Delegation(TokenCid),
    /// Actions on a resource from an identity; all when none is named.
    Grants { resource: Resource, identity: Did, permissions: Vec<String> },
}

impl Service {
    pub(crate) async fn revoke(
        &self,
        caller: &Did,
        request: RevokeRequest,
        key: Option<&RequestKey>,
    ) -> Result<Revocation, Error> {
        let reason = ask::reason(request.reason.as_deref())?;
        let target = target(request)?;
        let told = Told::default();
        let (noting, caller) = (told.clone(), caller.clone());
        let written = self.change(key, move |tx| {
            noting.begin();
            match &target {
                Target::Delegation(cid) => revoke_delegation(tx, &caller, cid, &reason, &noting),
                Target::Grants { resource, identity, permissions } => {
                    revoke_grants(tx, &caller, resource, identity, permissions, &reason, &noting)
                }
            }
        });
        let answer = written.await?;
        self.tell(&told).await;
        Ok(answer.value)
    }
}

fn target(request: RevokeRequest) -> Result<Target, Error> {
    match (request.cid, request.resource, request.identity) {
        (Some(cid), None, None) if request.permissions.is_empty() => Ok(Target::Delegation(cid)),
        (None, Some(resource), Some(identity)) => {
            let resource = ask::resource(&resource)?;
            let identity = ask::identity(&identity)?;
            if !request.permissions.is_empty() {
                ask::permissions(&request.permissions)?;
            }
            Ok(Target::Grants { resource, identity, permissions: request.permissions })
        }
        _ => Err(Error::Validation("name either resource and identity, or cid alone")),
    }
}

fn revoke_delegation(
    tx: &mut Tx<'_>,
    caller: &Did,
    cid: &TokenCid,
    reason: &str,
    told: &Told,
) -> Result<Revocation, Error> {
    let stored = delegations::find(tx, cid)?.ok_or(Error::DelegationNotFound)?;
    let delegation = Delegation::decode(&stored.token)?;
    // A chain on record is the witness that the caller stands above the delegation.
    if !may_revoke(&delegation, caller) && !grants::is_above(tx, caller, cid)? {
        return Err(Error::Forbidden(
            "the owner and whoever signed it or a delegation above it may revoke it",
        ));
    }
    if let Some(earlier) = revocations::find(tx, cid)? {
        return Ok(Revocation {
            revoked_permissions: Vec::new(),
            revoked_at: earlier.revoked_at,
            cids: vec![*cid],
            epoch: earlier.epoch,
            ineffective: Vec::new(),
        });
    }
    let mut affected = grants::through(tx, cid)?;
    let only = if affected.len() == 1 { affected.pop() } else { None };
    let named = only.map(|grant| (grant.resource, grant.identity));
    withdraw(tx, caller, named, BTreeSet::from([*cid]), reason, told)
}

fn revoke_grants(
    tx: &mut Tx<'_>,
    caller: &Did,
    resource: &Resource,
    identity: &Did,
    permissions: &[String],
    reason: &str,
    told: &Told,
) -> Result<Revocation, Error> {
    let mut cids = BTreeSet::new();
    let now = tx.now();
    for grant in grants::unended(tx, resource.as_str(), identity, now)? {
        for permission in grants::permissions(tx, &grant.grant_id)? {
            let is_meant = permissions.is_empty() || permissions.contains(&permission.permission);
            if permission.revoked_epoch.is_some() || !is_meant {
                continue;
            }
            let mut links = Vec::with_capacity(permission.links.len());
            for cid in &permission.links {
                let stored = delegations::find(tx, cid)?.ok_or(Error::DelegationNotFound)?;
                links.push(Delegation::decode(&stored.token)?);
            }
            let chain = LiveChain { permission: permission.permission, links };
            cids.extend(chain.revocable_by(caller));
        }
    }
    if cids.is_empty() {
        return Err(Error::GrantNotFound);
    }
    withdraw(tx, caller, Some((resource.to_string(), identity.clone())), cids, reason, told)
}

/// Revokes `cids` and says what ended by it, and what did not.
fn withdraw(
    tx: &mut Tx<'_>,
    caller: &Did,
    named: Option<(String, Did)>,
    cids: BTreeSet<TokenCid>,
    reason: &str,
    told: &Told,
) -> Result<Revocation, Error> {
    let now = tx.now();
    let head = changes::head(tx)?;
    let epoch = head.epoch + 1;
    let mut ended = BTreeSet::new();
    for cid in &cids {
        for grant in grants::through(tx, cid)? {
            let live = grants::permissions(tx, &grant.grant_id)?.into_iter();
            let live = live.filter(|one| one.revoked_epoch.is_none() && one.links.contains(cid));
            ended.extend(live.map(|one| one.permission));
        }
        revocations::insert(tx, cid, caller, reason, epoch)?;
        grants::revoke_through(tx, cid, epoch)?;
    }
    let mut ineffective = Vec::new();
    if let Some((resource, identity)) = &named {
        for grant in grants::unended(tx, resource, identity, now)? {
            let live = grants::permissions(tx, &grant.grant_id)?.into_iter();
            let live = live.filter(|one| one.revoked_epoch.is_none() && ended.contains(&one.permission));
            let permissions: Vec<_> = live.map(|one| one.permission).collect();
            if !permissions.is_empty() {
                let (grant_id, granted_by) = (grant.grant_id, grant.granted_by);
                ineffective.push(StillAllowed { grant_id, granted_by, permissions });
            }
        }
    }
    let (resource, identity) = named.unzip();
    let revoked = GrantRevoked {
        resource,
        identity,
        revoked_permissions: ended.into_iter().collect(),
        revoked_by: caller.clone(),
        reason: reason.to_owned(),
        cids: cids.into_iter().collect(),
        epoch,
    };
    let place = revoked.resource.clone().unwrap_or_else(|| "delegations".to_owned());
    tx.audit(AuditEntry::change("PERMISSION_REVOKED", Some(caller), place).family("authorization").details(
        serde_json::json!({
            "identity": revoked.identity, "permissions": revoked.revoked_permissions, "cids": revoked.cids,
            "reason": reason, "epoch": epoch,
        }),
    ))?;
    let answer = Revocation {
        revoked_permissions: revoked.revoked_permissions.clone(),
        revoked_at: now,
        cids: revoked.cids.clone(),
        epoch,
        ineffective,
    };
    let change = Change::Revoked(revoked);
    changes::append(tx, head, &change)?;
    told.note(change);
    Ok(answer)
}
