//! Putting signed delegations on record.

use std::sync::Arc;

use q_core::{AuditEntry, Caller, RequestKey};
use q_db::Tx;
use q_pdp::{Change, DelegationRegistered};
use q_ucan::{Delegation, TokenCid};
use qonsent_api::{Grant, RegisterRequest, Registered};

use super::{
    Service,
    grant::{NewGrant, issue},
    proofs::{Pool, recheck, unpack},
    told::Told,
};
use crate::{
    Error,
    domain::pinned::grants_of,
    store::{changes, delegations},
};

/// What is registered, judged before its transaction.
struct Registration {
    presented: Vec<Arc<Delegation>>,
    pool: Pool,
    grants: Vec<NewGrant>,
}

impl Service {
    pub(crate) async fn register(
        &self,
        caller: &Caller,
        request: RegisterRequest,
        key: Option<&RequestKey>,
    ) -> Result<Registered, Error> {
        let registration = self.judge_registration(caller, request).await;
        let told = Told::default();
        let noting = told.clone();
        let actor = caller.did().cloned();
        let written = self.change(key, move |tx| {
            noting.begin();
            let registered = keep(tx, registration.as_ref().map_err(Clone::clone)?, &noting)?;
            let entry = AuditEntry::change("DELEGATION_REGISTERED", actor.as_ref(), "delegations")
                .family("authorization")
                .details(serde_json::json!({"cids": registered.cids, "epoch": registered.registered_epoch}));
            tx.audit(entry)?;
            Ok::<_, Error>(registered)
        });
        let answer = written.await?;
        self.tell(&told).await;
        Ok(answer.value)
    }

    async fn judge_registration(
        &self,
        caller: &Caller,
        request: RegisterRequest,
    ) -> Result<Registration, Error> {
        let presented = unpack(&request.container)?;
        let is_party = |link: &Arc<Delegation>| {
            caller.did().is_some_and(|did| link.issuer().did == *did || link.audience() == did)
        };
        if !caller.is_service() && !presented.iter().any(is_party) {
            return Err(Error::Forbidden("whoever signed or received a delegation hands it in"));
        }
        let pool = self.pool(presented.clone()).await?;
        let grants = self.grants_in(&presented, &pool);
        Ok(Registration { presented, pool, grants })
    }

    /// The grants that the presented delegations are. A delegation without a chain above it is none yet.
    fn grants_in(&self, presented: &[Arc<Delegation>], pool: &Pool) -> Vec<NewGrant> {
        let mut grants = Vec::new();
        for ((identity, resource), permissions) in grants_of(presented.iter().map(|link| &**link)) {
            let Ok(resource) = resource.parse() else { continue };
            let Some(owner) = pool.owner(&identity) else { continue };
            let Ok(proven) = pool.prove(&owner, &identity, &resource, &permissions) else { continue };
            let Some(last) = proven.first().and_then(|proven| proven.chain.links().last()) else { continue };
            let granted_by = last.issuer().did.clone();
            // The delegation says until when; the bound of a grant without a word applies to requests only.
            let end = proven.iter().filter_map(|proven| proven.chain.expires_at()).min();
            let new = NewGrant { resource, owner, identity, granted_by, permissions, proven, end };
            if self.refuse_standing(&new).is_ok() {
                grants.push(new);
            }
        }
        grants
    }
}

fn keep(tx: &mut Tx<'_>, registration: &Registration, told: &Told) -> Result<Registered, Error> {
    let now = tx.now();
    recheck(tx, &registration.presented, now)?;
    let mut new = Vec::new();
    for link in &registration.presented {
        if delegations::find(tx, &link.cid())?.is_none() {
            new.push(link.clone());
        }
    }
    let is_new = |cid: &TokenCid| new.iter().any(|link| link.cid() == *cid);
    let mut grants: Vec<Grant> = Vec::new();
    for grant in &registration.grants {
        // A grant of delegations that were all on record was made when they were put there.
        let last =
            |proven: &q_pdp::Proven| proven.chain.links().last().is_some_and(|link| is_new(&link.cid()));
        if grant.proven.iter().any(last) {
            let mut bounded = grant.clone();
            bounded.end =
                bounded.end.map(|end| end.min(now + crate::domain::ask::ttl_max(&bounded.resource)));
            grants.push(issue(tx, &bounded, &registration.pool, told)?);
        }
    }
    let head = changes::head(tx)?;
    let mut others = Vec::new();
    for link in &new {
        let Some(key) = registration.pool.keys.get(&link.cid()) else { continue };
        if delegations::insert(tx, link, key, head.epoch + 1)? {
            others.push(link.cid());
        }
    }
    let mut epoch = head.epoch;
    if !others.is_empty() {
        let change = Change::Registered(DelegationRegistered { cids: others, epoch: head.epoch + 1 });
        epoch = changes::append(tx, head, &change)?.epoch;
        told.note(change);
    }
    Ok(Registered {
        cids: registration.presented.iter().map(|link| link.cid()).collect(),
        registered_epoch: epoch,
        grants,
    })
}
