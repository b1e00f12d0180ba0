//! Reading what is on record.

use std::collections::BTreeSet;

use q_contract::Blob;
use q_core::{Caller, Did, Page, Timestamp};
use q_db::Reader;
use q_pdp::RevocationHead;
use q_ucan::{Delegation, TokenCid, container, dag_json};
use qonsent_api::{
    ChangeRecord, Changes, DelegationRecord, Grant, GrantState, ListChangesRequest, ListDelegationsRequest,
    ListPermissionsRequest,
};

use super::{Service, proofs::conditions_of};
use crate::{
    Error,
    domain::ask,
    store::{changes, delegations, grants, revocations},
};

impl Service {
    pub(crate) async fn list_permissions(
        &self,
        caller: &Caller,
        request: ListPermissionsRequest,
    ) -> Result<Page<Grant>, Error> {
        let sees_all = caller.is_service() || self.is_operator(caller);
        let before = match request.cursor.as_deref().map(str::parse) {
            None => None,
            Some(Ok(epoch)) => Some(epoch),
            Some(Err(_)) => return Err(Error::Validation("the cursor is not one of this list")),
        };
        let filter = grants::Filter {
            seen_by: if sees_all { None } else { caller.did().cloned() },
            resource: request.resource.map(|text| ask::resource(&text)).transpose()?.map(|it| it.to_string()),
            identity: request.identity.map(|text| ask::identity(&text)).transpose()?,
            before,
        };
        let (rows, now) = (request.limit.rows(), self.env.now());
        self.db
            .read(move |reader| {
                let mut found = grants::list(reader, &filter, rows + 1)?;
                let has_more = found.len() > usize::try_from(rows).unwrap_or(usize::MAX);
                found.truncate(usize::try_from(rows).unwrap_or(usize::MAX));
                let next_cursor = found.last().filter(|_| has_more).map(|last| last.epoch.to_string());
                let items =
                    found.into_iter().map(|stored| grant(reader, stored, now)).collect::<Result<_, _>>()?;
                Ok(Page { items, next_cursor })
            })
            .await
    }

    /// What the caller gave or received.
    pub(crate) async fn delegations(
        &self,
        caller: &Did,
        request: ListDelegationsRequest,
    ) -> Result<Page<DelegationRecord>, Error> {
        let place = |text: &str| {
            let (epoch, cid) = text.split_once('-')?;
            Some(delegations::Place { epoch: epoch.parse().ok()?, cid: cid.parse().ok()? })
        };
        let behind = match request.cursor.as_deref().map(place) {
            None => None,
            Some(Some(place)) => Some(place),
            Some(None) => return Err(Error::Validation("the cursor is not one of this list")),
        };
        let (caller, rows, now) = (caller.clone(), request.limit.rows(), self.env.now());
        let read =
            self.db.read(move |reader| delegations::of(reader, &caller, now, behind, rows.saturating_add(1)));
        let mut found = read.await?;
        let most = usize::try_from(rows).unwrap_or(usize::MAX);
        let has_more = found.len() > most;
        found.truncate(most);
        let last = found.last().filter(|_| has_more);
        let next_cursor = last.map(|last| format!("{}-{}", last.registered_epoch, last.cid));
        Ok(Page { items: found.iter().map(record).collect::<Result<_, _>>()?, next_cursor })
    }

    pub(crate) async fn delegation(&self, cid: TokenCid) -> Result<DelegationRecord, Error> {
        record(&self.stored(cid).await?)
    }

    pub(crate) async fn delegation_token(&self, cid: TokenCid) -> Result<Blob, Error> {
        Ok(Blob(self.stored(cid).await?.token))
    }

    pub(crate) async fn changes(&self, request: ListChangesRequest) -> Result<Changes, Error> {
        let at = self.env.now();
        let (stored, head) = self
            .db
            .read(move |reader| {
                let stored = changes::after(reader, request.after, request.limit.rows())?;
                Ok::<_, Error>((stored, changes::head(reader)?))
            })
            .await?;
        let changes = stored
            .into_iter()
            .map(|stored| {
                let payload = serde_json::from_str(&stored.payload).unwrap_or_default();
                ChangeRecord { epoch: stored.epoch, topic: stored.topic, payload }
            })
            .collect();
        Ok(Changes { changes, head: RevocationHead { epoch: head.epoch, digest: head.digest, at } })
    }

    async fn stored(&self, cid: TokenCid) -> Result<delegations::StoredDelegation, Error> {
        self.db
            .read(move |reader| {
                if revocations::find(reader, &cid)?.is_some() {
                    return Err(Error::DelegationRevoked);
                }
                delegations::find(reader, &cid)?.ok_or(Error::DelegationNotFound)
            })
            .await
    }
}

fn record(stored: &delegations::StoredDelegation) -> Result<DelegationRecord, Error> {
    let delegation = Delegation::decode(&stored.token)?;
    Ok(DelegationRecord {
        cid: stored.cid,
        container: container::encode_text([delegation.bytes()]),
        issuer: delegation.issuer().to_string(),
        audience: delegation.audience().clone(),
        subject: delegation.subject().cloned(),
        command: delegation.command().to_string(),
        policy: dag_json::to_json(&delegation.policy().to_ipld()),
        not_before: delegation.not_before(),
        expires_at: delegation.expires_at(),
        registered_at: stored.registered_at,
        registered_epoch: stored.registered_epoch,
    })
}

fn grant(reader: &mut Reader<'_>, stored: grants::StoredGrant, now: Timestamp) -> Result<Grant, Error> {
    let permissions = grants::permissions(reader, &stored.grant_id)?;
    let live = permissions.iter().filter(|one| one.revoked_epoch.is_none());
    let (mut names, mut cids, mut all) = (Vec::new(), Vec::new(), BTreeSet::new());
    for one in live {
        names.push(one.permission.clone());
        cids.extend(one.links.last().copied());
        all.extend(one.links.iter().copied());
    }
    let mut links = Vec::with_capacity(all.len());
    for cid in &all {
        let token = delegations::find(reader, cid)?.ok_or(Error::DelegationNotFound)?.token;
        links.push(Delegation::decode(&token)?);
    }
    cids.sort_unstable();
    cids.dedup();
    let state = match (names.is_empty(), stored.expires_at <= now) {
        (true, _) => GrantState::Revoked,
        (false, true) => GrantState::Expired,
        (false, false) => GrantState::Active,
    };
    Ok(Grant {
        grant_id: stored.grant_id,
        resource: stored.resource,
        owner: stored.owner,
        identity: stored.identity,
        permissions: names,
        granted_by: stored.granted_by,
        created_at: stored.granted_at,
        expires_at: stored.expires_at,
        state,
        conditions: conditions_of(&links)?,
        cids,
        ucan: None,
        epoch: stored.epoch,
    })
}
