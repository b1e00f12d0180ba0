//! The projection: what qonsent said, arranged for one lookup per question.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    hash::{Hash, Hasher},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
};

use papaya::Equivalent;
use parking_lot::Mutex;
use q_core::{Did, Timestamp};
use q_ucan::{Delegation, Keys, Revocations, TokenCid, chain::check_signature, container};

use crate::{
    Change, Counted, Decision, Digest, Freshness, GrantId, GrantIssued, Proven, Reason, Request,
    RevocationHead,
    conditions::{Limits, Use},
    prove,
    resource::{Resource, self_owner},
};

/// How many changes that came too early are kept until the missing ones arrive.
const WAITING_MAX: usize = 10_000;
/// How many past digests are kept, for heads that speak of an earlier epoch.
const PAST_DIGESTS_MAX: usize = 1_024;

/// The decision point. Cheap to clone; all clones share one projection.
#[derive(Clone)]
pub struct Pdp(Arc<Inner>);

struct Inner {
    /// Links issued by this identity are standing links: they share on an owner's behalf.
    authority: Did,
    allowances: papaya::HashMap<Key, Arc<[Allowance]>>,
    owners: papaya::HashMap<Box<str>, Did>,
    inactive: papaya::HashSet<Did>,
    epoch: AtomicU64,
    /// When the projection was last proved current, in microseconds.
    proved_at: AtomicI64,
    /// Whether something is known to be missing, so that the changes should be asked for.
    has_gap: AtomicBool,
    ledger: Mutex<Ledger>,
}

/// What only writers touch.
#[derive(Default)]
struct Ledger {
    digest: Digest,
    past: VecDeque<(u64, Digest)>,
    /// Changes whose predecessors have not come.
    waiting: BTreeMap<u64, Prepared>,
    /// The newest head that could not be compared yet.
    head: Option<RevocationHead>,
    /// Whether qonsent's digest was once another than ours.
    has_diverged: bool,
    revoked: HashSet<TokenCid>,
    /// Where a delegation is used, so that a revocation finds it.
    uses: HashMap<TokenCid, Vec<Key>>,
}

/// A change with its proofs already judged.
struct Prepared {
    change: Change,
    allowances: Vec<Allowance>,
}

/// One permission of one grant.
#[derive(Debug, Clone)]
struct Allowance {
    grant: GrantId,
    permission: Box<str>,
    owner: Did,
    not_before: Timestamp,
    expires_at: Timestamp,
    cids: Box<[TokenCid]>,
    /// Whose word it rests on: the owner and everybody who passed it on.
    givers: Box<[Did]>,
    /// What its links ask of the moment, where they ask for anything.
    limits: Option<Arc<Limits>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Key {
    principal: Did,
    resource: Box<str>,
}

/// A key that is only borrowed, so that a question allocates nothing.
#[derive(Clone, Copy)]
struct KeyRef<'a> {
    principal: &'a Did,
    resource: &'a str,
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        KeyRef { principal: &self.principal, resource: &self.resource }.hash(state);
    }
}

impl Hash for KeyRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.principal.as_str().hash(state);
        self.resource.hash(state);
    }
}

impl Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        *self.principal == key.principal && *self.resource == *key.resource
    }
}

/// What became of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// It was the next one, and counts.
    Next,
    /// It was there already.
    Duplicate,
    /// Changes before it are missing; a revocation counts at once all the same.
    Waiting,
}

impl Pdp {
    /// An empty projection: everybody owns what they own, and nothing is granted.
    ///
    /// `authority` is qonsent's identity. `now` starts the clock of freshness.
    pub fn new(authority: Did, now: Timestamp) -> Self {
        Self(Arc::new(Inner {
            authority,
            allowances: papaya::HashMap::new(),
            owners: papaya::HashMap::new(),
            inactive: papaya::HashSet::new(),
            epoch: AtomicU64::new(0),
            proved_at: AtomicI64::new(now.micros()),
            has_gap: AtomicBool::new(false),
            ledger: Mutex::default(),
        }))
    }

    /// The identity whose links are standing links: qonsent's own.
    pub fn authority(&self) -> &Did {
        &self.0.authority
    }

    /// May `principal` do `action` to `resource` at `now`? The owner is the one the projection knows.
    pub fn check(&self, principal: &Did, action: &str, resource: &str, now: Timestamp) -> Decision {
        self.decide(&Request { principal, action, resource, owner: None, now })
    }

    /// Decides. Takes no lock and allocates nothing. Denies by grants whose uses are counted.
    pub fn decide(&self, request: &Request<'_>) -> Decision {
        self.judge_request(request, &mut None)
    }

    /// Decides for somebody who counts uses in the transaction of the effect.
    pub fn decide_counting(&self, request: &Request<'_>) -> Counted {
        let mut counted = None;
        let decision = self.judge_request(request, &mut counted);
        if decision.reason != Reason::UsesUncounted {
            return Counted { decision, uses: Vec::new() };
        }
        let Some((grant, expires_at, limits)) = counted else {
            return Counted { decision, uses: Vec::new() };
        };
        let (grant, expires_at, reason) = (Some(grant), Some(expires_at), Reason::Grant);
        let decision = Decision { allowed: true, reason, grant, expires_at, ..decision };
        Counted { decision, uses: limits.uses.clone() }
    }

    /// Decides; the first grant that would allow it if its uses were counted is left in `counted`.
    fn judge_request(
        &self,
        request: &Request<'_>,
        counted: &mut Option<(GrantId, Timestamp, Arc<Limits>)>,
    ) -> Decision {
        let epoch = self.epoch();
        let answer = |reason: Reason, by: Option<&Allowance>| Decision {
            allowed: reason.allows(),
            reason,
            epoch,
            grant: by.map(|allowance| allowance.grant),
            expires_at: by.map(|allowance| allowance.expires_at),
        };
        let inactive = self.0.inactive.pin();
        if inactive.contains(request.principal) {
            return answer(Reason::IdentityInactive, None);
        }
        let owners = self.0.owners.pin();
        let owner = request
            .owner
            .map(Did::as_str)
            .or_else(|| self_owner(request.resource))
            .or_else(|| owners.get(request.resource).map(Did::as_str));
        let is_owner = owner == Some(request.principal.as_str());
        let proved_at = Timestamp::from_micros(self.0.proved_at.load(Ordering::Acquire));
        // A clock that jumped back judges by the last instant it proved.
        let now = request.now.max(proved_at);
        let is_fresh_enough = Freshness::at(now, proved_at).permits(request.action, is_owner);
        if is_owner {
            return answer(if is_fresh_enough { Reason::Owner } else { Reason::Stale }, None);
        }
        let allowances = self.0.allowances.pin();
        let key = KeyRef { principal: request.principal, resource: request.resource };
        let Some(found) = allowances.get(&key) else { return answer(Reason::NoGrant, None) };
        let Some(owner) = owner else { return answer(Reason::OwnerUnknown, None) };
        let mut reason = Reason::NoGrant;
        for allowance in found.iter() {
            if &*allowance.permission != request.action || allowance.owner.as_str() != owner {
                continue;
            }
            if allowance.givers.iter().any(|giver| inactive.contains(giver)) {
                // Whoever stole their key may have shared with himself; what they give counts again when they may act.
                reason = Reason::IdentityInactive;
            } else if now >= allowance.expires_at {
                reason = Reason::GrantExpired;
            } else if now < allowance.not_before {
                reason = Reason::GrantNotYetValid;
            } else if !is_fresh_enough {
                return answer(Reason::Stale, None);
            } else if let Some(limits) = &allowance.limits {
                if !limits.are_open(now) {
                    reason = if counted.is_some() { reason } else { Reason::OutsideTimeWindow };
                } else if limits.uses.is_empty() {
                    return answer(Reason::Grant, Some(allowance));
                } else {
                    // Another one that asks for nothing is better than one that is used up by it.
                    reason = Reason::UsesUncounted;
                    counted.get_or_insert_with(|| (allowance.grant, allowance.expires_at, limits.clone()));
                }
            } else {
                return answer(Reason::Grant, Some(allowance));
            }
        }
        // Whatever else was found on the way: one that counts is what there is.
        answer(if counted.is_some() { Reason::UsesUncounted } else { reason }, None)
    }

    /// Judges a chain that came with a request instead of being granted before: whether it counts at `now` for
    /// `principal` to do `action`, and which uses are to be counted in the transaction of the effect.
    ///
    /// Signatures, times, principals, commands and policies are for [`q_ucan::Verifier`], with this projection as what
    /// was revoked. Only what the owner signed proves anything here: a standing link never does.
    pub fn judge_presented(
        &self,
        principal: &Did,
        chain: &[Arc<Delegation>],
        action: &str,
        now: Timestamp,
    ) -> Result<Vec<Use>, Reason> {
        let inactive = self.0.inactive.pin();
        let mut givers = chain.iter().map(|link| &link.issuer().did);
        if inactive.contains(principal) || givers.any(|giver| inactive.contains(giver)) {
            return Err(Reason::IdentityInactive);
        }
        if chain.iter().any(|link| link.issuer().did == self.0.authority) {
            return Err(Reason::NoGrant);
        }
        let now = now.max(self.proved_at());
        if !self.freshness(now).permits(action, false) {
            return Err(Reason::Stale);
        }
        let limits = Limits::of(chain.iter().map(|link| &**link)).map_err(|_| Reason::NoGrant)?;
        if limits.are_open(now) { Ok(limits.uses) } else { Err(Reason::OutsideTimeWindow) }
    }

    /// The epoch the projection has reached.
    pub fn epoch(&self) -> u64 {
        self.0.epoch.load(Ordering::Acquire)
    }

    /// The digest over all changes so far.
    pub fn digest(&self) -> Digest {
        self.0.ledger.lock().digest
    }

    /// Whether changes are known to be missing, or the digest differs: ask `GET /revocations`.
    pub fn has_gap(&self) -> bool {
        self.0.has_gap.load(Ordering::Acquire)
    }

    /// When the projection was last proved current.
    pub fn proved_at(&self) -> Timestamp {
        Timestamp::from_micros(self.0.proved_at.load(Ordering::Acquire))
    }

    /// Whether the projection is complete and was lately proved current; the error says what is wrong, for health.
    pub fn check_current(&self, now: Timestamp) -> Result<(), String> {
        if self.has_gap() {
            return Err(format!("changes after epoch {} are missing", self.epoch()));
        }
        match self.freshness(now) {
            Freshness::Current => Ok(()),
            Freshness::Narrowed | Freshness::Stale => {
                let age = now.since(self.proved_at()).as_seconds();
                Err(format!("not compared with the authority for {age} s"))
            }
        }
    }

    /// How fresh the projection is.
    pub fn freshness(&self, now: Timestamp) -> Freshness {
        Freshness::at(now, self.proved_at())
    }

    /// Notes whose a resource is. For modules that do not say so with each question.
    pub fn set_owner(&self, resource: &Resource, owner: &Did) {
        self.0.owners.pin().insert(resource.as_str().into(), owner.clone());
    }

    /// Forgets whose a resource is: it was deleted.
    pub fn forget_owner(&self, resource: &Resource) {
        self.0.owners.pin().remove(resource.as_str());
    }

    /// Notes that an identity may act, or may not.
    pub fn set_active(&self, identity: &Did, is_active: bool) {
        if is_active {
            self.0.inactive.pin().remove(identity);
        } else {
            self.0.inactive.pin().insert(identity.clone());
        }
    }

    /// Whether a delegation was revoked.
    pub fn is_revoked(&self, cid: &TokenCid) -> bool {
        self.0.ledger.lock().revoked.contains(cid)
    }

    /// Takes a change into account. Changes may come twice and in any order.
    ///
    /// A grant whose proofs do not hold changes nothing but the epoch; it is logged.
    pub fn apply(&self, change: Change, keys: &dyn Keys) -> Applied {
        let epoch = change.epoch();
        if epoch <= self.epoch() {
            return Applied::Duplicate;
        }
        // Signatures are checked before the lock is taken.
        let allowances = match &change {
            Change::Issued(grant) => self.judge(grant, keys),
            Change::Revoked(_) | Change::Registered(_) => Vec::new(),
        };
        let mut ledger = self.0.ledger.lock();
        if epoch <= self.epoch() {
            return Applied::Duplicate;
        }
        if let Change::Revoked(revoked) = &change {
            self.revoke(&mut ledger, &revoked.cids);
        }
        if ledger.waiting.len() < WAITING_MAX || epoch == self.epoch() + 1 {
            ledger.waiting.insert(epoch, Prepared { change, allowances });
        }
        self.drain(&mut ledger);
        self.note_gap(&ledger);
        if self.epoch() >= epoch { Applied::Next } else { Applied::Waiting }
    }

    /// Compares with qonsent's own head. Agreement proves the projection current as of the head's instant.
    pub fn observe(&self, head: &RevocationHead) {
        let mut ledger = self.0.ledger.lock();
        self.compare(&mut ledger, head.clone());
        self.note_gap(&ledger);
    }

    fn note_gap(&self, ledger: &Ledger) {
        let has_gap = !ledger.waiting.is_empty() || ledger.head.is_some() || ledger.has_diverged;
        self.0.has_gap.store(has_gap, Ordering::Release);
    }

    fn compare(&self, ledger: &mut Ledger, head: RevocationHead) {
        let own = self.epoch();
        let digest = match head.epoch {
            epoch if epoch == own => Some(ledger.digest),
            epoch if epoch < own => {
                ledger.past.iter().find(|(past, _)| *past == epoch).map(|(_, digest)| *digest)
            }
            _ => {
                ledger.head = Some(head);
                return;
            }
        };
        match digest {
            Some(digest) if digest == head.digest => {
                self.0.proved_at.fetch_max(head.at.micros(), Ordering::AcqRel);
                ledger.has_diverged = false;
            }
            Some(_) => {
                tracing::error!(epoch = head.epoch, "the projection of permissions differs from qonsent's");
                ledger.has_diverged = true;
            }
            // Too long ago to compare: neither a proof nor a contradiction.
            None => {}
        }
    }

    /// Takes in every waiting change whose predecessors are all in.
    fn drain(&self, ledger: &mut Ledger) {
        while let Some(first) = ledger.waiting.first_entry() {
            let next = self.epoch() + 1;
            if *first.key() > next {
                break;
            }
            let prepared = first.remove();
            if prepared.change.epoch() < next {
                continue;
            }
            ledger.digest = ledger.digest.after(&prepared.change);
            let past = (next, ledger.digest);
            ledger.past.push_back(past);
            if ledger.past.len() > PAST_DIGESTS_MAX {
                ledger.past.pop_front();
            }
            if let Change::Issued(grant) = &prepared.change {
                self.admit(ledger, grant, prepared.allowances);
            }
            self.0.epoch.store(next, Ordering::Release);
        }
        if let Some(head) = ledger.head.take() {
            if head.epoch <= self.epoch() {
                self.compare(ledger, head);
            } else {
                ledger.head = Some(head);
            }
        }
    }

    fn admit(&self, ledger: &mut Ledger, grant: &GrantIssued, mut allowances: Vec<Allowance>) {
        // A revocation that came first was remembered.
        allowances.retain(|allowance| allowance.cids.iter().all(|cid| !ledger.revoked.contains(cid)));
        if allowances.is_empty() {
            return;
        }
        let key = Key { principal: grant.identity.clone(), resource: grant.resource.as_str().into() };
        for cid in allowances.iter().flat_map(|allowance| allowance.cids.iter()) {
            let uses = ledger.uses.entry(*cid).or_default();
            if !uses.contains(&key) {
                uses.push(key.clone());
            }
        }
        let map = self.0.allowances.pin();
        let old = map.get(&key).map(|old| old.to_vec()).unwrap_or_default();
        // What had ended when this was granted will never count again.
        let kept = old.into_iter().filter(|allowance| allowance.expires_at > grant.granted_at);
        let all: Arc<[Allowance]> = kept.chain(allowances).collect();
        map.insert(key, all);
    }

    fn revoke(&self, ledger: &mut Ledger, cids: &[TokenCid]) {
        ledger.revoked.extend(cids);
        let map = self.0.allowances.pin();
        for cid in cids {
            for key in ledger.uses.remove(cid).unwrap_or_default() {
                let Some(old) = map.get(&key) else { continue };
                let left: Arc<[Allowance]> =
                    old.iter().filter(|allowance| !allowance.cids.contains(cid)).cloned().collect();
                if left.is_empty() {
                    map.remove(&key);
                } else {
                    map.insert(key, left);
                }
            }
        }
    }

    /// What a grant really allows, going by its proofs; nothing if they do not hold.
    fn judge(&self, grant: &GrantIssued, keys: &dyn Keys) -> Vec<Allowance> {
        match self.proofs(grant, keys) {
            Ok(proven) => proven.into_iter().filter_map(|proven| allowance(grant, proven)).collect(),
            Err(refusal) => {
                tracing::warn!(grant.id = %grant.grant_id, refusal, "a grant was not believed");
                Vec::new()
            }
        }
    }

    fn proofs(&self, grant: &GrantIssued, keys: &dyn Keys) -> Result<Vec<Proven>, String> {
        let resource: Resource =
            grant.resource.parse().map_err(|_| "the resource cannot be read".to_owned())?;
        let pool = container::decode(grant.ucan.as_bytes())
            .and_then(|tokens| tokens.iter().map(|token| Delegation::decode(token).map(Arc::new)).collect())
            .map_err(|refusal: q_ucan::Refusal| refusal.to_string())?;
        let pool: Vec<Arc<Delegation>> = pool;
        let proven = prove(&pool, &grant.owner, &grant.identity, &resource, &grant.permissions)
            .map_err(|refusal| refusal.to_string())?;
        for link in proven.iter().flat_map(|proven| proven.chain.links()) {
            if resource.is_owner_signed() && link.issuer().did == self.0.authority {
                return Err("a standing link cannot share this kind of resource".to_owned());
            }
            check_signature(link, keys).map_err(|refusal| refusal.to_string())?;
        }
        Ok(proven)
    }
}

/// What a proved permission allows; nothing where a link asks for what cannot be kept here.
fn allowance(grant: &GrantIssued, proven: Proven) -> Option<Allowance> {
    let limits = Limits::of(proven.chain.links().iter().map(|link| &**link));
    let limits = limits.inspect_err(|error| {
        tracing::warn!(grant.id = %grant.grant_id, %error, "the conditions of a grant cannot be kept; it does not count");
    });
    let limits = limits.ok()?;
    let is_limited = limits != Limits::default();
    let ends = proven.chain.expires_at().map_or(grant.expires_at, |ends| ends.min(grant.expires_at));
    let passed_on = proven.chain.links().iter().map(|link| link.issuer().did.clone());
    let givers = passed_on.filter(|giver| *giver != grant.owner).chain([grant.owner.clone()]);
    Some(Allowance {
        limits: is_limited.then(|| Arc::new(limits)),
        grant: grant.grant_id,
        permission: proven.permission.into(),
        owner: grant.owner.clone(),
        not_before: proven.chain.not_before().unwrap_or_default(),
        expires_at: ends,
        cids: proven.chain.links().iter().map(|link| link.cid()).collect(),
        givers: givers.collect(),
    })
}

impl Revocations for Pdp {
    fn is_revoked(&self, delegation: &Delegation) -> bool {
        Self::is_revoked(self, &delegation.cid())
    }
}

impl std::fmt::Debug for Pdp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pdp(epoch {})", self.epoch())
    }
}
