//! The integrity check: everything that was signed is read again, everything that was derived is derived again.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use q_db::{DbError, Reader};
use q_pdp::{Change, Digest, GrantIssued, GrantRevoked, Resource, prove};
use q_runtime::Finding;
use q_ucan::{Delegation, TokenCid, VerifyingKey};

use crate::store::{changes, delegations, grants, revocations};

/// Reads the whole store and reports every inconsistency.
pub(crate) fn verify(reader: &mut Reader<'_>) -> Result<Vec<Finding>, DbError> {
    let mut findings = Vec::new();
    let links = check_delegations(reader, &mut findings)?;
    let told = check_changes(reader, &mut findings)?;
    let revoked = check_revocations(reader, &told, &mut findings)?;
    check_grants(reader, &links, &told, &revoked, &mut findings)?;
    Ok(findings)
}

/// What the order of changes says.
#[derive(Default)]
struct ToldChanges {
    issued: BTreeMap<u64, GrantIssued>,
    revoked: HashMap<TokenCid, u64>,
}

/// Every delegation decodes, has its identifier, and is signed by the key that was noted.
fn check_delegations(
    reader: &mut Reader<'_>,
    findings: &mut Vec<Finding>,
) -> Result<HashMap<TokenCid, Arc<Delegation>>, DbError> {
    let mut sound = HashMap::new();
    delegations::for_each(reader, |stored| {
        let stored = match stored {
            Ok(stored) => stored,
            Err(error) => {
                findings.push(Finding::new("row_unreadable", "delegations", error.to_string()));
                return Ok(());
            }
        };
        match check_delegation(&stored) {
            Ok(delegation) => drop(sound.insert(stored.cid, Arc::new(delegation))),
            Err((code, detail)) => {
                findings.push(Finding::new(code, format!("delegations {}", stored.cid), detail));
            }
        }
        Ok(())
    })?;
    Ok(sound)
}

fn check_delegation(stored: &delegations::StoredDelegation) -> Result<Delegation, (&'static str, String)> {
    // The identifier first: a damaged byte shows there whether or not the token still decodes.
    let computed = TokenCid::of(&stored.token);
    if computed != stored.cid {
        return Err(("delegation_damaged", format!("the token's identifier is {computed}")));
    }
    let delegation =
        Delegation::decode(&stored.token).map_err(|refusal| ("delegation_invalid", refusal.to_string()))?;
    let says = (
        delegation.issuer().did.to_string(),
        delegation.audience().to_string(),
        delegation.expires_at().map(q_core::Timestamp::micros),
    );
    if says != (stored.issuer.clone(), stored.audience.clone(), stored.expires_at) {
        return Err((
            "delegation_mismatch",
            "issuer, audience or end differ from the signed token".to_owned(),
        ));
    }
    let is_signed =
        VerifyingKey::from_multikey(&stored.signing_key).is_ok_and(|key| delegation.is_signed_by(&key));
    if !is_signed {
        return Err((
            "delegation_unsigned",
            "the signature does not hold for the key noted at registration".to_owned(),
        ));
    }
    Ok(delegation)
}

/// The order has no gap, every payload reads, and the digest chain is what its payloads make it.
fn check_changes(reader: &mut Reader<'_>, findings: &mut Vec<Finding>) -> Result<ToldChanges, DbError> {
    let mut told = ToldChanges::default();
    let (mut expected, mut digest) = (1, Digest::default());
    changes::for_each(reader, |stored| {
        let stored = match stored {
            Ok(stored) => stored,
            Err(error) => {
                findings.push(Finding::new(
                    "row_unreadable",
                    format!("changes {expected}"),
                    error.to_string(),
                ));
                expected += 1;
                return Ok(());
            }
        };
        let place = format!("changes {}", stored.epoch);
        if stored.epoch != expected {
            findings.push(Finding::new("epoch_gap", &place, format!("epoch {expected} was expected here")));
        }
        digest = digest.after_canonical(&stored.topic, stored.payload.as_bytes());
        if digest != stored.digest {
            findings.push(Finding::new("digest_mismatch", &place, format!("its digest would be {digest}")));
            // One finding for one damaged row: the rest of the chain is judged from what is written.
            digest = stored.digest;
        }
        expected = stored.epoch + 1;
        match Change::read(&stored.topic, &stored.payload) {
            Some(change) if change.epoch() == stored.epoch => told.note(change),
            Some(_) => {
                findings.push(Finding::new("change_mismatch", &place, "its payload names another epoch"));
            }
            None => findings.push(Finding::new("change_unreadable", &place, "its payload cannot be read")),
        }
        Ok(())
    })?;
    let head = changes::head(reader)?;
    if (head.epoch + 1, head.digest) != (expected, digest) {
        let detail = format!("the last change is {} with digest {digest}", expected - 1);
        findings.push(Finding::new("head_mismatch", format!("change_head {}", head.epoch), detail));
    }
    Ok(told)
}

impl ToldChanges {
    fn note(&mut self, change: Change) {
        match change {
            Change::Issued(grant) => drop(self.issued.insert(grant.epoch, grant)),
            Change::Revoked(GrantRevoked { cids, epoch, .. }) => {
                self.revoked.extend(cids.into_iter().map(|cid| (cid, epoch)));
            }
            Change::Registered(_) => {}
        }
    }
}

/// What is kept as revoked is what was told as revoked.
fn check_revocations(
    reader: &mut Reader<'_>,
    told: &ToldChanges,
    findings: &mut Vec<Finding>,
) -> Result<HashSet<TokenCid>, DbError> {
    let kept: HashMap<TokenCid, u64> = revocations::all(reader)?.into_iter().collect();
    for (cid, epoch) in &kept {
        if told.revoked.get(cid) != Some(epoch) {
            let detail = format!("no change {epoch} tells of it");
            findings.push(Finding::new("revocation_untold", format!("revocations {cid}"), detail));
        }
    }
    for (cid, epoch) in &told.revoked {
        if !kept.contains_key(cid) {
            let detail = format!("change {epoch} tells of it and it is not kept");
            findings.push(Finding::new("revocation_missing", format!("revocations {cid}"), detail));
        }
    }
    Ok(kept.into_keys().collect())
}

/// Every grant was told as it is kept, is proved by its chain, and does not live on a revoked link.
fn check_grants(
    reader: &mut Reader<'_>,
    links: &HashMap<TokenCid, Arc<Delegation>>,
    told: &ToldChanges,
    revoked: &HashSet<TokenCid>,
    findings: &mut Vec<Finding>,
) -> Result<(), DbError> {
    let kept = grants::all(reader)?;
    for grant in &kept {
        let permissions = grants::permissions(reader, &grant.grant_id)?;
        let place = format!("grants {}", grant.grant_id);
        let mut complain = |code: &str, detail: String| findings.push(Finding::new(code, &place, detail));
        let names: Vec<_> = permissions.iter().map(|one| one.permission.clone()).collect();
        let is_told = told.issued.get(&grant.epoch).is_some_and(|issued| is_same(issued, grant, &names));
        if !is_told {
            complain("grant_untold", format!("change {} does not tell of this grant", grant.epoch));
        }
        for one in &permissions {
            let is_dead = one.links.iter().any(|cid| revoked.contains(cid));
            if is_dead != one.revoked_epoch.is_some() {
                complain("grant_state_mismatch", format!("{} and the revocations disagree", one.permission));
            }
            // A damaged link was named already; a chain through it cannot be judged.
            let chain: Option<Vec<_>> = one.links.iter().map(|cid| links.get(cid).cloned()).collect();
            if let Some(chain) = chain
                && !proves(&chain, grant, &one.permission)
            {
                complain("grant_unproved", format!("the chain does not prove {}", one.permission));
            }
        }
    }
    let epochs: HashSet<u64> = kept.iter().map(|grant| grant.epoch).collect();
    for epoch in told.issued.keys().filter(|epoch| !epochs.contains(epoch)) {
        findings.push(Finding::new(
            "grant_missing",
            format!("changes {epoch}"),
            "the grant it tells of is not kept",
        ));
    }
    Ok(())
}

fn is_same(issued: &GrantIssued, kept: &grants::StoredGrant, permissions: &[String]) -> bool {
    issued.grant_id == kept.grant_id
        && issued.resource == kept.resource
        && issued.owner == kept.owner
        && issued.identity == kept.identity
        && issued.granted_by == kept.granted_by
        && issued.granted_at == kept.granted_at
        && issued.expires_at == kept.expires_at
        && issued.permissions == permissions
}

fn proves(chain: &[Arc<Delegation>], grant: &grants::StoredGrant, permission: &str) -> bool {
    let Ok(resource) = grant.resource.parse::<Resource>() else { return false };
    let permission = [permission.to_owned()];
    let proven = prove(chain, &grant.owner, &grant.identity, &resource, &permission);
    proven.is_ok_and(|proven| proven.first().is_some_and(|one| one.chain.links() == chain))
}
