//! Gathering and judging the delegations behind a grant.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use q_core::{Did, Timestamp};
use q_db::{DbError, Reader};
use q_pdp::{Conditions, Proven, Resource, prove, resolve_keys};
use q_ucan::{
    Delegation, Refusal, Revocations, Rules, TokenCid, Verifier, VerifyingKey,
    chain::{DidKeyOnly, check_signature},
    container,
};
use qonsent_api::GrantConditions;

use super::Service;
use crate::{
    Error,
    store::{delegations, revocations},
};

/// The most delegations looked at for one request.
const POOL_MAX: usize = 256;
/// How many delegations on record to one identity are looked at.
const ON_RECORD_MAX: u32 = 64;

/// Delegations with the keys that signed them; signatures were checked.
#[derive(Debug, Clone, Default)]
pub(super) struct Pool {
    /// The delegations, those that were handed in first.
    pub(super) delegations: Vec<Arc<Delegation>>,
    /// The key that signed each.
    pub(super) keys: BTreeMap<TokenCid, VerifyingKey>,
}

impl Pool {
    /// Whose resource it is, going by the delegations to `holder` and those above them.
    pub(super) fn owner(&self, holder: &Did) -> Option<Did> {
        let mut to_holder = self.delegations.iter().filter(|link| link.audience() == holder);
        let named = to_holder.find_map(|link| link.subject());
        named.or_else(|| self.delegations.iter().find_map(|link| link.subject())).cloned()
    }

    /// A chain for each permission, or which permission lacks one.
    pub(super) fn prove(
        &self,
        owner: &Did,
        holder: &Did,
        resource: &Resource,
        permissions: &[String],
    ) -> Result<Vec<Proven>, Error> {
        let mut proven = Vec::with_capacity(permissions.len());
        for permission in permissions {
            let one = prove(&self.delegations, owner, holder, resource, std::slice::from_ref(permission));
            proven.extend(one.map_err(|_| Error::MissingProofs(permission.clone()))?);
        }
        Ok(proven)
    }
}

/// Decodes a container of delegations, and refuses those that ask for what no module would keep.
pub(super) fn unpack(container: &str) -> Result<Vec<Arc<Delegation>>, Error> {
    let tokens = container::decode(container.as_bytes())?;
    if tokens.is_empty() {
        return Err(Refusal::Malformed("the container holds a delegation").into());
    }
    let links: Vec<_> =
        tokens.iter().map(|token| Delegation::decode(token).map(Arc::new)).collect::<Result<_, Refusal>>()?;
    links.iter().try_for_each(|link| Conditions::of(link).map(drop))?;
    Ok(links)
}

/// What these delegations ask for, those that ask for anything.
pub(super) fn conditions_of<'a>(
    links: impl IntoIterator<Item = &'a Delegation>,
) -> Result<Vec<GrantConditions>, Error> {
    let mut asked = BTreeMap::new();
    for link in links {
        let conditions = Conditions::of(link)?;
        if !conditions.is_empty() {
            asked.insert(link.cid(), conditions);
        }
    }
    Ok(asked.into_iter().map(|(cid, conditions)| GrantConditions { cid, conditions }).collect())
}

impl Service {
    /// Adds what is on record above `presented`, and checks every signature of what was presented.
    pub(super) async fn pool(&self, presented: Vec<Arc<Delegation>>) -> Result<Pool, Error> {
        let now = self.env.now();
        let issuers: Vec<_> = presented.iter().map(|link| link.issuer().clone()).collect();
        let keys = resolve_keys(&issuers, &*self.keys, now).await?;
        let mut pool = Pool::default();
        for link in &presented {
            let key = check_signature(link, &keys)?;
            pool.keys.insert(link.cid(), key);
        }
        let (delegations, on_record) = self.db.read(move |reader| climb(reader, presented, now)).await?;
        pool.delegations = delegations;
        pool.keys.extend(on_record);
        Ok(pool)
    }
}

/// A pool with the keys that delegations on record were signed by.
type Climbed = (Vec<Arc<Delegation>>, BTreeMap<TokenCid, VerifyingKey>);

/// Loads the delegations on record to the issuers of `pool`, and to the issuers of those, and so on.
fn climb(
    reader: &mut Reader<'_>,
    mut pool: Vec<Arc<Delegation>>,
    now: Timestamp,
) -> Result<Climbed, DbError> {
    let mut keys = BTreeMap::new();
    let mut known: HashSet<TokenCid> = pool.iter().map(|link| link.cid()).collect();
    let mut asked: HashSet<Did> = HashSet::new();
    let mut at = 0;
    while at < pool.len() && pool.len() < POOL_MAX {
        let issuer = pool[at].issuer().did.clone();
        let owner = pool[at].subject().cloned();
        let is_owner = owner.as_ref() == Some(&issuer);
        at += 1;
        if is_owner || !asked.insert(issuer.clone()) {
            continue;
        }
        for token in delegations::tokens_to(reader, &issuer, owner.as_ref(), now, ON_RECORD_MAX)? {
            let Ok(link) = Delegation::decode(&token) else { continue };
            if known.insert(link.cid()) {
                let stored = delegations::find(reader, &link.cid())?;
                let key = stored.and_then(|stored| VerifyingKey::from_multikey(&stored.signing_key).ok());
                // It was verified when it was put on record; the key of then is checked against the bytes of now.
                if let Some(key) = key.filter(|key| link.is_signed_by(key)) {
                    keys.insert(link.cid(), key);
                    pool.push(Arc::new(link));
                }
            }
        }
    }
    Ok((pool, keys))
}

/// What was taken back, as the transaction sees it.
struct TakenBack(HashSet<TokenCid>);

impl Revocations for TakenBack {
    fn is_revoked(&self, delegation: &Delegation) -> bool {
        self.0.contains(&delegation.cid())
    }
}

/// Judges again, inside the transaction, what may have changed since the signatures were checked.
pub(super) fn recheck(
    reader: &mut Reader<'_>,
    links: &[Arc<Delegation>],
    now: Timestamp,
) -> Result<(), Error> {
    let mut taken_back = HashSet::new();
    for link in links {
        if revocations::find(reader, &link.cid())?.is_some() {
            taken_back.insert(link.cid());
        }
    }
    let taken_back = TakenBack(taken_back);
    let verifier = Verifier { keys: &DidKeyOnly, revocations: &taken_back, rules: Rules::HOUSE, now };
    links.iter().try_for_each(|link| verifier.still_holds(link))?;
    Ok(())
}

/// The different links of all chains.
pub(super) fn links_of(proven: &[Proven]) -> Vec<Arc<Delegation>> {
    let mut links: BTreeMap<TokenCid, Arc<Delegation>> = BTreeMap::new();
    for link in proven.iter().flat_map(|proven| proven.chain.links()) {
        links.entry(link.cid()).or_insert_with(|| link.clone());
    }
    links.into_values().collect()
}
