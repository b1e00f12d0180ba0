//! Sub-identities: registered below a parent, stopped with it, switched to.

use q_auth::Standing;
use q_core::{AuditEntry, Caller, Did, Principal, Span};
use q_db::{DbError, Reader, Tx};
use q_did::{Document, entry::Entry, multikey_of};
use q_jose::{PublicKey, jws::Parsed};
use serde_json::json;
use squid_api::{
    Identity, IdentityType, LINK_TYP, Link, LinkStatement, PrivacyLevel, Status, SubIdentityRequest,
    TokenResponse,
    events::{IdentityReactivated, IdentitySuspended, IdentitySwitched, SubIdentityCreated},
};

use crate::{
    Squid,
    domain::{
        family::{self, Parent},
        identity::{Viewer, change_status},
        scope,
    },
    error::Error,
    service::{
        identities::{Registration, check_reason, did_of, end_sessions, here},
        logins::{Admitted, Proof, open_session},
    },
    store::{
        self,
        identities::{Hold, Stored},
    },
};

/// The longest signed statement, in bytes.
const STATEMENT_BYTES_MAX: usize = 4 * 1024;
/// How long a sub-identity that has ended counts still: making and ending them without end fills the store.
const COUNTS_FOR: Span = Span::seconds(86_400);

/// Where a new identity stands.
#[derive(Clone)]
pub(crate) enum Place {
    /// Nobody's sub-identity.
    Alone(IdentityType),
    /// A module of this instance.
    Module(String),
    /// A sub-identity.
    Below(Family),
}

/// A sub-identity's place, its links checked.
#[derive(Clone)]
pub(crate) struct Family {
    kind: IdentityType,
    links: Vec<Link>,
}

impl Place {
    pub(crate) const fn kind(&self) -> IdentityType {
        match self {
            Self::Alone(kind) => *kind,
            Self::Module(_) => IdentityType::Service,
            Self::Below(family) => family.kind,
        }
    }

    /// A community and an undertaking have rights that their makers do not have: an operator agrees first.
    pub(crate) const fn status(&self) -> Status {
        match self.kind() {
            IdentityType::Dao | IdentityType::Enterprise => Status::PendingConsent,
            IdentityType::Root | IdentityType::Consentida | IdentityType::Aid | IdentityType::Service => {
                Status::Active
            }
        }
    }

    pub(crate) fn module(&self) -> Option<&str> {
        match self {
            Self::Module(name) => Some(name),
            Self::Alone(_) | Self::Below(_) => None,
        }
    }
}

impl Family {
    /// Keeps the links of the new identity `child`, if everybody in them may still have it.
    pub(crate) fn keep(&self, tx: &mut Tx<'_>, child: &Did, max: u32) -> Result<(), Error> {
        let (mut parents, mut root) = (Vec::with_capacity(self.links.len()), None);
        for link in &self.links {
            let stored = store::identities::find(tx, &link.parent)?.ok_or(Error::NotFound)?;
            if stored.status != Status::Active {
                return Err(Error::StatusConflict(stored.status));
            }
            let above = store::links::of_child(tx, &link.parent)?.into_iter().next();
            parents.push(Parent { kind: stored.kind, is_sub: above.is_some() });
            let top = above.map_or_else(|| link.parent.clone(), |above| above.root);
            root.get_or_insert(top);
        }
        family::check(self.kind, &parents).map_err(Error::TypeForbidden)?;
        let (Some(parent), Some(root)) = (self.links.first().map(|link| &link.parent), root) else {
            return Err(Error::NotFound);
        };
        let since = tx.now() - COUNTS_FOR;
        if store::links::count_below(tx, &root, since)? >= i64::from(max) {
            return Err(Error::SubIdentityLimit(max));
        }
        store::links::insert(tx, child, &root, &self.links)?;
        let (kind, did) = (self.kind, child.clone());
        let details = json!({"type": kind.as_str(), "root": root});
        tx.emit(&SubIdentityCreated { did, kind, parent_id: parent.clone(), root_id: root })?;
        tx.audit(AuditEntry::change("SUBIDENTITY_CREATED", Some(parent), child).details(details))?;
        Ok(())
    }
}

/// A change of whether an identity may act.
pub(crate) struct StatusChange<'a> {
    pub(crate) to: Status,
    pub(crate) hold: Hold,
    pub(crate) reason: &'a str,
    pub(crate) by: Option<&'a Did>,
}

impl StatusChange<'_> {
    /// Makes the change, and that of the sub-identities that act for nobody else: a person cut off does not go on
    /// through programs.
    pub(crate) fn make(&self, tx: &mut Tx<'_>, stored: &Stored) -> Result<(), Error> {
        let (did, to) = (&stored.did, self.to);
        let hold = if to == Status::Suspended { self.hold.clone() } else { Hold::Operator };
        store::identities::set_status(tx, did, to, &hold)?;
        let entry = AuditEntry::change("IDENTITY_UPDATED", self.by, did)
            .details(json!({"status": to.as_str(), "reason": self.reason}));
        tx.audit(entry)?;
        if stored.status == to {
            return Ok(());
        }
        let (by, reason) = (self.by.cloned(), self.reason.to_owned());
        if to == Status::Suspended {
            end_sessions(tx, did)?;
            tx.emit(&IdentitySuspended { did: did.clone(), reason, by })?;
        } else {
            tx.emit(&IdentityReactivated { did: did.clone(), reason, by })?;
        }
        for child in store::links::children(tx, did, false)? {
            let child = store::identities::find(tx, &child)?.ok_or(Error::NotFound)?;
            let is_the_parents = matches!(child.kind, IdentityType::Root | IdentityType::Dao);
            let goes_along = match to {
                Status::Suspended => is_the_parents && child.status == Status::Active,
                _ => child.status == Status::Suspended && child.held_by == Hold::Tree,
            };
            if goes_along {
                let change = StatusChange { hold: Hold::Tree, ..*self };
                change.make(tx, &child)?;
            }
        }
        Ok(())
    }
}

impl Squid {
    /// Registers a sub-identity of the caller. The same one again is answered like the first time.
    pub async fn add_sub_identity(
        &self,
        caller: &Caller,
        request: SubIdentityRequest,
    ) -> Result<Identity, Error> {
        let parent = acting_as(caller, &request.did)?;
        let kind = request.kind;
        if !matches!(
            kind,
            IdentityType::Root | IdentityType::Dao | IdentityType::Enterprise | IdentityType::Consentida
        ) {
            // The rule says it better than a missing link would.
            let parents = [Parent { kind: IdentityType::Root, is_sub: false }];
            return Err(family::check(kind, &parents).map_or_else(Error::TypeForbidden, |()| Error::NotFound));
        }
        let (entry, head) = self.genesis(&request.log_entry)?;
        let child = did_of(&head);
        if kind == IdentityType::Consentida && holds_own_keys(&entry, &head.update_keys) {
            return Err(Error::TypeForbidden(
                "guardians hold the keys that change the keys; the log gives them away",
            ));
        }
        let links = self.checked_links(&parent, &child, kind, &entry, request.links).await?;
        let privacy_level = match kind {
            IdentityType::Consentida => PrivacyLevel::Private,
            _ => request.privacy_level.unwrap_or(PrivacyLevel::Private),
        };
        let new = Registration { log_entry: request.log_entry, profile: request.profile, privacy_level };
        match self.add(new, Place::Below(Family { kind, links })).await {
            Err(Error::Exists) => {
                let held = self.held(&child).await?;
                let is_same = held.kind == kind && held.parents.first() == Some(&parent);
                if is_same { held.seen_by(Viewer::Parent).ok_or(Error::NotFound) } else { Err(Error::Exists) }
            }
            outcome => outcome,
        }
    }

    /// The links by their canonical names, after both signatures of each were checked.
    async fn checked_links(
        &self,
        parent: &Did,
        child: &Did,
        kind: IdentityType,
        entry: &Entry,
        links: Vec<Link>,
    ) -> Result<Vec<Link>, Error> {
        if links.is_empty() || links.len() > family::PARENTS_MAX {
            return Err(Error::Link("there are 1 to 8 links"));
        }
        let own = Document::new(&entry.state).verification_methods();
        let mut checked: Vec<Link> = Vec::with_capacity(links.len());
        for link in links {
            let named =
                here(&link.parent).map_err(|_| Error::Link("a parent is an identity of this instance"))?;
            if checked.iter().any(|earlier| earlier.parent == named) || named == *child {
                return Err(Error::Link("each parent signs once"));
            }
            let expected = LinkStatement { aud: &self.origin, child, parent: &named, kind, v: 1 }.bytes();
            let keys =
                self.directory.resolve(&named).await.map_err(|_| Error::Link("a parent is not known"))?;
            let is_parents =
                |signer: &Did, key: &PublicKey| keys.did == *signer && keys.authenticates_with(key);
            if !is_signed(&link.by_parent, &expected, is_parents) {
                return Err(Error::Link("the parent's signature does not hold"));
            }
            let is_childs = |signer: &Did, key: &PublicKey| {
                signer == child && own.iter().any(|method| method.is_authentication && method.key == *key)
            };
            if !is_signed(&link.by_child, &expected, is_childs) {
                return Err(Error::Link("the child's signature does not hold"));
            }
            checked.push(Link { parent: named, ..link });
        }
        if checked.first().map(|link| &link.parent) != Some(parent) {
            return Err(Error::Link("the first link is the caller's"));
        }
        Ok(checked)
    }

    /// The caller's sub-identities that have not ended.
    pub async fn sub_identities(&self, caller: &Caller, did: &Did) -> Result<Vec<Identity>, Error> {
        let parent = acting_as(caller, did)?;
        let children = self.db.read(move |reader| store::links::children(reader, &parent, true)).await?;
        let mut items = Vec::with_capacity(children.len());
        for child in children {
            items.extend(self.held(&child).await?.seen_by(Viewer::Parent));
        }
        Ok(items)
    }

    /// Stops a sub-identity of the caller, or lets it act again. An operator's stop is not a parent's to lift.
    pub async fn set_sub_status(
        &self,
        caller: &Caller,
        did: &Did,
        child: &Did,
        to: Status,
        reason: &str,
    ) -> Result<Identity, Error> {
        let (parent, child) = (acting_as(caller, did)?, here(child)?);
        check_reason(reason)?;
        let reason = reason.to_owned();
        let set = move |tx: &mut Tx<'_>| -> Result<Did, Error> {
            let is_parent = store::links::of_child(tx, &child)?.iter().any(|link| link.parent == parent);
            let stored = store::identities::find(tx, &child)?.filter(|_| is_parent).ok_or(Error::NotFound)?;
            // The parent may have been stopped while the request was on its way.
            let acting = store::identities::find(tx, &parent)?.map(|acting| acting.status);
            if acting != Some(Status::Active) {
                return Err(Error::ActorSuspended);
            }
            if stored.status == to {
                return Ok(child.clone());
            }
            let is_theirs = match to {
                Status::Suspended => stored.status == Status::Active,
                _ => matches!(stored.held_by, Hold::Parent(_)),
            };
            change_status(stored.status, to)
                .filter(|_| is_theirs)
                .ok_or(Error::StatusConflict(stored.status))?;
            let hold = Hold::Parent(parent.clone());
            StatusChange { to, hold, reason: &reason, by: Some(&parent) }.make(tx, &stored)?;
            Ok(child.clone())
        };
        let child = self.db.write(set).await?;
        self.directory.forget(&child);
        self.held(&child).await?.seen_by(Viewer::Parent).ok_or(Error::NotFound)
    }

    /// A token of the sub-identity `to` for its parent, bound to the key with the thumbprint `jkt` like the token the
    /// parent asks with.
    pub async fn switch(
        &self,
        caller: &Caller,
        to: &Did,
        wanted: Option<&str>,
        jkt: Option<String>,
    ) -> Result<TokenResponse, Error> {
        let principal = alone(caller)?;
        let (from, to) = (here(&principal.did)?, here(to)?);
        let scope = narrowed(principal, wanted)?;
        let proof = Proof { acr: principal.acr.clone(), at: principal.authenticated_at };
        let client_id = principal.client.clone().unwrap_or_else(|| from.to_string());
        let login = self.new_login(&to, "switch", &client_id, jkt);
        let (attempt, authenticated_at) = (login.clone(), principal.authenticated_at);
        let keep = move |tx: &mut Tx<'_>| -> Result<Admitted, Error> {
            let parent = store::links::of_child(tx, &to)?.into_iter().next();
            let Some(link) = parent.filter(|link| link.parent == from) else { return Err(Error::NotFound) };
            let identity = store::identities::find(tx, &to)?.ok_or(Error::NotFound)?;
            if identity.status != Status::Active {
                return Err(Error::StatusConflict(identity.status));
            }
            // What ended the parent's logins meanwhile ends this one before it begins.
            let above = store::identities::find(tx, &from)?.ok_or(Error::NotFound)?;
            let is_ended = above.not_before.is_some_and(|instant| authenticated_at < instant);
            if above.status != Status::Active || is_ended {
                return Err(Error::ActorSuspended);
            }
            let admitted = open_session(tx, &attempt, identity, Some(&from))?;
            tx.emit(&IdentitySwitched { root: link.root, from: from.clone(), to: to.clone() })?;
            let entry = AuditEntry::change("IDENTITY_SWITCHED", Some(&from), &to).family("authentication");
            tx.audit(entry.details(json!({"session": attempt.session_id()})))?;
            Ok(admitted)
        };
        let admitted = self.db.write(keep).await?;
        Ok(self.token(&login, &admitted, scope, &proof))
    }

    /// What kind of identity it is, whose, and whether it may act.
    pub async fn standing(&self, did: &Did) -> Result<Standing, Error> {
        let did = here(did)?;
        let found = self.db.read(move |reader| standing(reader, &did)).await?;
        found.ok_or(Error::NotFound)
    }
}

/// The standing of an identity as it stands in the store.
pub(crate) fn standing(reader: &mut Reader<'_>, did: &Did) -> Result<Option<Standing>, DbError> {
    let Some(stored) = store::identities::find(reader, did)? else { return Ok(None) };
    let links = store::links::of_child(reader, did)?;
    let has_guardians = matches!(stored.kind, IdentityType::Consentida | IdentityType::Enterprise);
    Ok(Some(Standing {
        did: stored.did,
        kind: stored.kind,
        status: stored.status,
        parent: links.first().map(|link| link.parent.clone()),
        root: links.first().map(|link| link.root.clone()),
        guardians: links.into_iter().filter(|_| has_guardians).map(|link| link.parent).collect(),
    }))
}

/// The identity `did` if it is the caller itself, nobody in between.
fn acting_as(caller: &Caller, did: &Did) -> Result<Did, Error> {
    let (principal, did) = (alone(caller)?, here(did)?);
    if here(&principal.did)? == did { Ok(did) } else { Err(Error::NotItself) }
}

/// An identity that asks for itself: neither a module, nor through one.
pub(crate) fn alone(caller: &Caller) -> Result<&Principal, Error> {
    match caller {
        Caller::Identity(principal) if principal.actor.is_none() => Ok(principal),
        Caller::Identity(_) | Caller::Service(..) | Caller::Anonymous => Err(Error::NotItself),
    }
}

/// The scope of a token made out of another: what is wanted of it, or all of it.
fn narrowed(principal: &Principal, wanted: Option<&str>) -> Result<Option<String>, Error> {
    let Some(wanted) = wanted else {
        return Ok((!principal.scopes.is_empty()).then(|| principal.scopes.join(" ")));
    };
    let names = scope::parse(wanted).ok_or(Error::Scope)?;
    let is_held = |name: &&str| principal.scopes.iter().any(|held| held == name);
    if principal.scopes.is_empty() || names.iter().all(is_held) {
        Ok(Some(wanted.to_owned()))
    } else {
        Err(Error::Scope)
    }
}

/// Whether a key that changes the keys also logs in.
fn holds_own_keys(entry: &Entry, update_keys: &[String]) -> bool {
    let methods = Document::new(&entry.state).verification_methods();
    methods.iter().any(|method| update_keys.contains(&method.key.to_multikey()))
}

/// Whether `text` is a statement over exactly `expected` by a key that `is_theirs`.
pub(crate) fn is_signed(text: &str, expected: &[u8], is_theirs: impl Fn(&Did, &PublicKey) -> bool) -> bool {
    let Ok(parsed) = Parsed::parse(text, STATEMENT_BYTES_MAX) else { return false };
    if parsed.header.typ.as_deref() != Some(LINK_TYP) {
        return false;
    }
    let Some((named, key)) = parsed.header.kid.as_deref().and_then(multikey_of) else { return false };
    let Ok(signer) = here(&named) else { return false };
    is_theirs(&signer, &key) && parsed.verify(&key).is_ok_and(|verified| verified.payload == expected)
}
