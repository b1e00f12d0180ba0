//! Handing rights on.

use q_core::{AuditEntry, Caller, Did, RequestKey, Timestamp};
use q_db::Tx;
use q_pdp::{Change, GrantId, GrantIssued, Proven, Resource};
use q_ucan::{Refusal, container};
use qonsent_api::{Grant, GrantConditions, GrantRequest, GrantState};

use super::{
    Service,
    proofs::{Pool, conditions_of, links_of, recheck, unpack},
    told::Told,
};
use crate::{
    Error,
    domain::ask::{self, GRANTS_PER_OWNER_MAX, GRANTS_PER_RESOURCE_MAX},
    store::{changes, delegations, grants},
};

/// A grant that was proved and waits for its transaction.
#[derive(Debug, Clone)]
pub(super) struct NewGrant {
    pub(super) resource: Resource,
    pub(super) owner: Did,
    pub(super) identity: Did,
    pub(super) granted_by: Did,
    pub(super) permissions: Vec<String>,
    pub(super) proven: Vec<Proven>,
    /// The end asked for.
    pub(super) end: Option<Timestamp>,
}

impl Service {
    pub(crate) async fn grant(
        &self,
        caller: &Caller,
        request: GrantRequest,
        key: Option<&RequestKey>,
    ) -> Result<Grant, Error> {
        let proved = self.prove_request(caller, request).await;
        let told = Told::default();
        let noting = told.clone();
        let written = self.change(key, move |tx| {
            noting.begin();
            // Here and not before: a repeated request gets its first answer, even if by now it would be refused.
            let (new, pool) = proved.as_ref().map_err(Clone::clone)?;
            issue(tx, new, pool, &noting)
        });
        let answer = written.await?;
        self.tell(&told).await;
        Ok(answer.value)
    }

    /// Everything about a request that needs no transaction: its form, its signatures, its chains.
    async fn prove_request(&self, caller: &Caller, request: GrantRequest) -> Result<(NewGrant, Pool), Error> {
        let resource = ask::resource(&request.resource)?;
        let identity = ask::identity(&request.identity)?;
        let permissions = ask::permissions(&request.permissions)?;
        ask::end(request.expires_at, &resource, self.env.now())?;
        let Some(delegation) = &request.delegation else {
            return Err(Error::DelegationRequired(format!("{}:{}", resource.module(), resource.kind())));
        };
        let pool = self.pool(unpack(delegation)?).await?;
        let owner = pool.owner(&identity).ok_or(Error::Insufficient)?;
        let proven = pool.prove(&owner, &identity, &resource, &permissions)?;
        let granted_by = granter(&proven, caller)?;
        let new =
            NewGrant { resource, owner, identity, granted_by, permissions, proven, end: request.expires_at };
        self.refuse_standing(&new)?;
        Ok((new, pool))
    }

    /// Some resources nobody shares on an owner's behalf, not even with the owner's standing word.
    pub(super) fn refuse_standing(&self, new: &NewGrant) -> Result<(), Error> {
        let is_standing = |proven: &Proven| {
            proven.chain.links().iter().any(|link| link.issuer().did == *self.pdp.authority())
        };
        if new.resource.is_owner_signed() && new.proven.iter().any(is_standing) {
            return Err(Error::DelegationRequired(format!(
                "{}:{}",
                new.resource.module(),
                new.resource.kind()
            )));
        }
        Ok(())
    }
}

/// Who signed the last links: the caller, for all of them. A module acting for the house may hand in others' words.
fn granter(proven: &[Proven], caller: &Caller) -> Result<Did, Error> {
    let signers =
        || proven.iter().filter_map(|proven| proven.chain.links().last()).map(|link| &link.issuer().did);
    let first = signers().next().ok_or(Error::Permissions)?;
    let is_one = signers().all(|signer| signer == first);
    if is_one && (caller.is_service() || caller.did() == Some(first)) {
        Ok(first.clone())
    } else {
        Err(Error::Insufficient)
    }
}

/// Keeps a proved grant, in the transaction that tells of it.
pub(super) fn issue(tx: &mut Tx<'_>, new: &NewGrant, pool: &Pool, told: &Told) -> Result<Grant, Error> {
    let now = tx.now();
    let links = links_of(&new.proven);
    if links.len() > container::CONTAINER_TOKENS_MAX {
        return Err(Refusal::TooLarge("a grant is proved by at most 64 delegations").into());
    }
    recheck(tx, &links, now)?;
    let (on_resource, by_owner) = grants::counts(tx, new.resource.as_str(), &new.owner, now)?;
    if on_resource >= GRANTS_PER_RESOURCE_MAX {
        return Err(Error::GrantLimit("at most 10,000 grants on one resource"));
    }
    if by_owner >= GRANTS_PER_OWNER_MAX {
        return Err(Error::GrantLimit("at most 100,000 grants by one owner"));
    }
    let head = changes::head(tx)?;
    let epoch = head.epoch + 1;
    let latest = new.proven.iter().filter_map(|proven| proven.chain.expires_at()).min();
    let end = ask::end(new.end, &new.resource, now)?;
    let mut cids: Vec<_> =
        new.proven.iter().filter_map(|proven| Some(proven.chain.links().last()?.cid())).collect();
    cids.sort_unstable();
    cids.dedup();
    let issued = GrantIssued {
        grant_id: GrantId::new(tx.env()),
        resource: new.resource.to_string(),
        owner: new.owner.clone(),
        identity: new.identity.clone(),
        permissions: new.permissions.clone(),
        granted_by: new.granted_by.clone(),
        granted_at: now,
        expires_at: latest.map_or(end, |latest| latest.min(end)),
        cids,
        ucan: container::encode_text(links.iter().map(|link| link.bytes())),
        epoch,
    };
    for link in &links {
        if let Some(key) = pool.keys.get(&link.cid()) {
            delegations::insert(tx, link, key, epoch)?;
        }
    }
    grants::insert(tx, &issued, &new.proven)?;
    tx.audit(
        AuditEntry::change("PERMISSION_GRANTED", Some(&new.granted_by), &new.resource)
            .family("authorization")
            .details(serde_json::json!({
                "grantId": issued.grant_id, "identity": issued.identity, "permissions": issued.permissions,
                "cids": issued.cids, "epoch": epoch,
            })),
    )?;
    let change = Change::Issued(issued.clone());
    changes::append(tx, head, &change)?;
    told.note(change);
    Ok(answer(issued, conditions_of(links.iter().map(|link| &**link))?))
}

fn answer(issued: GrantIssued, conditions: Vec<GrantConditions>) -> Grant {
    Grant {
        conditions,
        grant_id: issued.grant_id,
        resource: issued.resource,
        owner: issued.owner,
        identity: issued.identity,
        permissions: issued.permissions,
        granted_by: issued.granted_by,
        created_at: issued.granted_at,
        expires_at: issued.expires_at,
        state: GrantState::Active,
        cids: issued.cids,
        ucan: Some(issued.ucan),
        epoch: issued.epoch,
    }
}
