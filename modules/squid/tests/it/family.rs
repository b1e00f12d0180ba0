//! Sub-identities: made, listed, stopped, switched to.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::Request;
use q_auth::{KeyDirectory, SignatureRefused, prove};
use q_contract::{CallError, Credential};
use q_core::{Caller, Did, IdentityKind, IdentityStatus, Principal, Span};
use q_did::{Keyring, Log};
use q_jose::jws::{Header, sign};
use q_testkit::{Way, World, on_each_world};
use squid::remote::Remote;
use squid_api::{
    AppendLog, AppendLogRequest, CreateIdentity, CreateIdentityRequest, CreateSubIdentity, GetIdentity,
    GetStanding, Identity, IdentityRequest, IdentityType, LINK_TYP, Link, LinkStatement, ListSessions,
    ListSubIdentities, NoFields, PrivacyLevel, ReactivateIdentity, ReactivateSubIdentity, Status,
    StatusRequest, SubIdentityRequest, SubIdentityStatusRequest, SuspendIdentity, SuspendSubIdentity,
    SwitchIdentity, SwitchRequest, TokenResponse,
};

use crate::support::{HOST, House, ORIGIN, creation, entry, house, problem, profile};

/// One side's signature under the link.
fn word(keyring: &Keyring, statement: &LinkStatement<'_>) -> String {
    sign(&Header::typ(LINK_TYP).kid(keyring.key_id()), &statement.bytes(), &keyring.current)
}

fn link(parent: &Keyring, child: &Keyring, kind: IdentityType) -> Link {
    let statement = LinkStatement { aud: ORIGIN, child: &child.did, parent: &parent.did, kind, v: 1 };
    Link {
        parent: parent.did.clone(),
        by_parent: word(parent, &statement),
        by_child: word(child, &statement),
    }
}

fn request(parents: &[&Keyring], child: &Keyring, log: &Log, kind: IdentityType) -> SubIdentityRequest {
    SubIdentityRequest {
        did: parents[0].did.clone(),
        kind,
        log_entry: entry(&log.entries()[0]),
        profile: profile("Sub"),
        privacy_level: None,
        links: parents.iter().map(|parent| link(parent, child, kind)).collect(),
    }
}

pub(crate) struct Child {
    pub(crate) keyring: Keyring,
    log: Log,
    identity: Identity,
}

impl House {
    fn sub(&self) -> (Keyring, Log) {
        let (keyring, log, _) = Keyring::create(HOST, &self.world.env).unwrap();
        (keyring, log)
    }

    pub(crate) async fn child(&self, parents: &[&Keyring], kind: IdentityType) -> Result<Child, CallError> {
        let (keyring, log, _) = match kind {
            IdentityType::Consentida => Keyring::create_in_care(HOST, &self.world.env).unwrap(),
            _ => Keyring::create(HOST, &self.world.env).unwrap(),
        };
        let request = request(parents, &keyring, &log, kind);
        let identity = self.client(&parents[0].did).call::<CreateSubIdentity>(&request).await?;
        Ok(Child { keyring, log, identity })
    }

    async fn stop(&self, parent: &Did, child: &Did) -> Result<Identity, CallError> {
        self.client(parent).call::<SuspendSubIdentity>(&about(parent, child)).await
    }

    async fn lift(&self, parent: &Did, child: &Did) -> Result<Identity, CallError> {
        self.client(parent).call::<ReactivateSubIdentity>(&about(parent, child)).await
    }

    async fn operate(&self, did: &Did, is_suspending: bool) -> Result<Identity, CallError> {
        let (operator, _) = q_testkit::identity("operator");
        self.world.make_operator(&operator);
        let client = self.client(&operator);
        let request = StatusRequest { did: did.clone(), reason: "looked into".into() };
        if is_suspending {
            client.call::<SuspendIdentity>(&request).await
        } else {
            client.call::<ReactivateIdentity>(&request).await
        }
    }

    async fn status(&self, did: &Did) -> IdentityStatus {
        self.squid.standing(did).await.unwrap().status
    }

    async fn switch(&self, from: &Did, to: &Did) -> Result<TokenResponse, CallError> {
        self.client(from).call::<SwitchIdentity>(&SwitchRequest { to: to.clone(), scope: None }).await
    }
}

fn about(parent: &Did, child: &Did) -> SubIdentityStatusRequest {
    SubIdentityStatusRequest { did: parent.clone(), child: child.clone(), reason: "went astray".into() }
}

fn code<T: std::fmt::Debug>(outcome: Result<T, CallError>) -> String {
    problem(outcome).code
}

on_each_world!(a_program_is_made_stopped_and_let_act_again_by_its_parent, async |world: World| {
    let house = house(world).await;
    let (alice, mallory) = (house.owner("Alice").await, house.owner("Mallory").await);
    let parent = alice.keyring.did.clone();
    let agent = house.child(&[&alice.keyring], IdentityType::Root).await.unwrap();
    let did = agent.keyring.did.clone();
    assert_eq!((agent.identity.kind, agent.identity.status), (IdentityType::Root, Status::Active));
    assert_eq!(
        (agent.identity.parent.as_ref(), agent.identity.privacy_level),
        (Some(&parent), PrivacyLevel::Private)
    );
    let again = request(&[&alice.keyring], &agent.keyring, &agent.log, IdentityType::Root);
    let again = house.client(&parent).call::<CreateSubIdentity>(&again).await.unwrap();
    assert_eq!(again.did, did, "the same one again is answered like the first time");

    let list = IdentityRequest { did: parent.clone() };
    let items = house.client(&parent).call::<ListSubIdentities>(&list).await.unwrap().items;
    assert_eq!(items.iter().map(|item| &item.did).collect::<Vec<_>>(), [&did]);
    assert_eq!(items[0].profile, Some(profile("Sub")), "a parent sees what the child says of itself");
    assert_eq!(
        code(house.client(&mallory.keyring.did).call::<ListSubIdentities>(&list).await),
        "SQUID_INSUFFICIENT_PERMISSIONS"
    );
    let read = IdentityRequest { did: did.clone() };
    let seen = house.client(&mallory.keyring.did).call::<GetIdentity>(&read).await.unwrap();
    assert_eq!((seen.parent, seen.profile), (None, None), "others do not learn whose it is");

    let module = house.module().await;
    let token = house.token(&agent.keyring).await.unwrap();
    let claims = module.check_token(&token).unwrap();
    assert_eq!((claims.sub, claims.q.par.as_ref()), (did.clone(), Some(&parent)));
    assert_eq!(claims.acr.as_deref(), Some("urn:q:acr:one-key"));
    assert!(token.len() <= 1_000, "{} bytes", token.len());

    assert_eq!(code(house.stop(&mallory.keyring.did, &did).await), "SQUID_IDENTITY_NOT_FOUND");
    assert_eq!(house.stop(&parent, &did).await.unwrap().status, Status::Suspended);
    assert_eq!(house.stop(&parent, &did).await.unwrap().status, Status::Suspended, "stopped is stopped");
    house.tell(&module).await;
    assert!(module.check_token(&token).is_err(), "its tokens die");
    let refused = problem(house.token(&agent.keyring).await);
    assert_eq!(
        (refused.code.as_str(), &refused.extra["identityStatus"]),
        ("invalid_grant", &"SUSPENDED".into()),
        "it has its keys, and is told what else is wrong"
    );
    assert_eq!(code(house.switch(&parent, &did).await), "SQUID_STATUS_CONFLICT");
    assert_eq!(house.lift(&parent, &did).await.unwrap().status, Status::Active);
    house.world.clock.advance(Span::seconds(1));
    assert!(house.token(&agent.keyring).await.is_ok());

    // What an operator stopped, a parent does not let act.
    house.operate(&did, true).await.unwrap();
    let refused = problem(house.lift(&parent, &did).await);
    assert_eq!(
        (refused.code.as_str(), &refused.extra["identityStatus"]),
        ("SQUID_STATUS_CONFLICT", &"SUSPENDED".into())
    );
    house.operate(&did, false).await.unwrap();
    house.stop(&parent, &did).await.unwrap();
    house.operate(&did, true).await.unwrap();
    assert_eq!(
        code(house.lift(&parent, &did).await),
        "SQUID_STATUS_CONFLICT",
        "an operator's stop took its place"
    );
    let topics: Vec<_> = house.events().await.into_iter().map(|event| event.topic).collect();
    assert_eq!(topics.iter().filter(|topic| *topic == "q.squid.subidentity.created.v1").count(), 1);
    house.world.close().await;
});

on_each_world!(who_may_be_whose_and_what_both_sides_sign, async |world: World| {
    let house = house(world).await;
    let (alice, bob) = (house.owner("Alice").await, house.owner("Bob").await);
    let (a, b) = (&alice.keyring, &bob.keyring);
    let client = house.client(&a.did);
    let root = IdentityType::Root;
    let (child, log) = house.sub();
    let good = request(&[a], &child, &log, root);
    let statement = LinkStatement { aud: ORIGIN, child: &child.did, parent: &a.did, kind: root, v: 1 };
    let elsewhere = LinkStatement { aud: "https://other.example", ..statement.clone() };
    let as_dao = LinkStatement { kind: IdentityType::Dao, ..statement.clone() };
    let with = |by_parent: String, by_child: String| SubIdentityRequest {
        links: vec![Link { parent: a.did.clone(), by_parent, by_child }],
        ..good.clone()
    };
    let (from_parent, from_child) = (word(a, &statement), word(&child, &statement));
    let typ = sign(&Header::typ("JWT").kid(a.key_id()), &statement.bytes(), &a.current);
    let stranger = sign(&Header::typ(LINK_TYP).kid(b.key_id()), &statement.bytes(), &b.current);
    let named = sign(&Header::typ(LINK_TYP).kid(a.key_id()), &statement.bytes(), &b.current);
    let next = sign(
        &Header::typ(LINK_TYP).kid(q_did::key_id(&a.did, &a.next.public())),
        &statement.bytes(),
        &a.next,
    );
    for (name, bent, expected) in [
        ("no link", SubIdentityRequest { links: vec![], ..good.clone() }, "SQUID_LINK_INVALID"),
        (
            "nine links",
            SubIdentityRequest { links: vec![good.links[0].clone(); 9], ..good.clone() },
            "SQUID_LINK_INVALID",
        ),
        (
            "twice the same",
            SubIdentityRequest { links: vec![good.links[0].clone(); 2], ..good.clone() },
            "SQUID_LINK_INVALID",
        ),
        ("the child's word missing", with(from_parent.clone(), String::new()), "SQUID_LINK_INVALID"),
        ("the parent's word twice", with(from_parent.clone(), from_parent.clone()), "SQUID_LINK_INVALID"),
        ("the child's word twice", with(from_child.clone(), from_child.clone()), "SQUID_LINK_INVALID"),
        ("for another instance", with(word(a, &elsewhere), from_child.clone()), "SQUID_LINK_INVALID"),
        ("as another kind", with(word(a, &as_dao), word(&child, &as_dao)), "SQUID_LINK_INVALID"),
        ("as another type of text", with(typ, from_child.clone()), "SQUID_LINK_INVALID"),
        ("by a stranger", with(stranger, from_child.clone()), "SQUID_LINK_INVALID"),
        ("by a stranger in the parent's name", with(named, from_child.clone()), "SQUID_LINK_INVALID"),
        ("by the parent's next key", with(next, from_child.clone()), "SQUID_LINK_INVALID"),
        ("below somebody else", request(&[b], &child, &log, root), "SQUID_INSUFFICIENT_PERMISSIONS"),
        (
            "below somebody else in one's own name",
            SubIdentityRequest { links: request(&[b], &child, &log, root).links, ..good.clone() },
            "SQUID_LINK_INVALID",
        ),
        ("two parents of a program", request(&[a, b], &child, &log, root), "SQUID_TYPE_FORBIDDEN"),
        (
            "an undertaking of one",
            request(&[a], &child, &log, IdentityType::Enterprise),
            "SQUID_TYPE_FORBIDDEN",
        ),
        ("an AID", request(&[a], &child, &log, IdentityType::Aid), "SQUID_TYPE_FORBIDDEN"),
        ("a module", request(&[a], &child, &log, IdentityType::Service), "SQUID_TYPE_FORBIDDEN"),
        (
            "a ward with own keys",
            request(&[a], &child, &log, IdentityType::Consentida),
            "SQUID_TYPE_FORBIDDEN",
        ),
    ] {
        assert_eq!(code(client.call::<CreateSubIdentity>(&bent).await), expected, "{name}");
    }
    assert!(house.squid.standing(&child.did).await.is_err(), "nothing was kept");
    client.call::<CreateSubIdentity>(&good).await.unwrap();
    // A program has no programs, and what is registered already is nobody else's child.
    let (grandchild, grandlog) = house.sub();
    let below = request(&[&child], &grandchild, &grandlog, root);
    assert_eq!(
        code(house.client(&child.did).call::<CreateSubIdentity>(&below).await),
        "SQUID_TYPE_FORBIDDEN"
    );
    let stolen = request(&[b], a, &alice.log, root);
    assert_eq!(code(house.client(&b.did).call::<CreateSubIdentity>(&stolen).await), "SQUID_IDENTITY_EXISTS");
    // A module that acts for somebody makes nobody.
    let through =
        Principal { actor: Some(b.did.clone()), ..Principal::new(a.did.clone(), house.world.env.now()) };
    if house.world.way == Way::InProcess {
        let through = house.world.client_as("squid", Caller::Identity(through));
        assert_eq!(code(through.call::<CreateSubIdentity>(&good).await), "SQUID_INSUFFICIENT_PERMISSIONS");
    }
    house.world.close().await;
});

on_each_world!(kinds_with_rights_of_their_own_wait_for_an_operator, async |world: World| {
    let house = house(world).await;
    let (alice, bob) = (house.owner("Alice").await, house.owner("Bob").await);
    let (a, b) = (&alice.keyring, &bob.keyring);
    let dao = house.child(&[a], IdentityType::Dao).await.unwrap();
    let firm = house.child(&[a, b], IdentityType::Enterprise).await.unwrap();
    assert_eq!((dao.identity.status, firm.identity.status), (Status::PendingConsent, Status::PendingConsent));
    assert_eq!(code(house.token(&dao.keyring).await), "invalid_grant");
    assert_eq!(
        code(house.lift(&a.did, &dao.keyring.did).await),
        "SQUID_STATUS_CONFLICT",
        "not by themselves"
    );
    // Everybody hears that it may not sign yet.
    let module = house.module().await;
    assert!(module.revocations().is_blocked(&dao.keyring.did));
    house.operate(&dao.keyring.did, false).await.unwrap();
    house.tell(&module).await;
    assert!(!module.revocations().is_blocked(&dao.keyring.did));
    house.world.clock.advance(Span::seconds(1));
    assert!(house.token(&dao.keyring).await.is_ok());
    let below = house.child(&[&dao.keyring], IdentityType::Enterprise).await.unwrap();
    let standing = house.squid.standing(&below.keyring.did).await.unwrap();
    assert_eq!((standing.parent, standing.root), (Some(dao.keyring.did.clone()), Some(a.did.clone())));
    let standing = house.squid.standing(&firm.keyring.did).await.unwrap();
    assert_eq!(standing.guardians, [a.did.clone(), b.did.clone()]);
    // Every owner lists and stops it.
    let list = IdentityRequest { did: b.did.clone() };
    let list = house.client(&b.did).call::<ListSubIdentities>(&list).await.unwrap();
    assert_eq!(list.items[0].did, firm.keyring.did);
    house.world.close().await;
});

on_each_world!(somebody_in_care_holds_one_key_and_no_other, async |world: World| {
    let house = house(world).await;
    let (alice, bob) = (house.owner("Alice").await, house.owner("Bob").await);
    let ward = house.child(&[&alice.keyring, &bob.keyring], IdentityType::Consentida).await.unwrap();
    let did = &ward.keyring.did;
    assert_eq!((ward.identity.status, ward.identity.privacy_level), (Status::Active, PrivacyLevel::Private));
    assert!(house.token(&ward.keyring).await.is_ok());
    assert_eq!(house.squid.standing(did).await.unwrap().guardians.len(), 2);
    house.stop(&bob.keyring.did, did).await.unwrap();
    house.lift(&alice.keyring.did, did).await.unwrap();
    // The second guardian looks after, and does not act in its name.
    assert_eq!(code(house.switch(&bob.keyring.did, did).await), "SQUID_IDENTITY_NOT_FOUND");
    assert!(house.switch(&alice.keyring.did, did).await.is_ok());
    // A guardian cut off takes nobody in care along.
    house.operate(&alice.keyring.did, true).await.unwrap();
    assert_eq!(house.status(did).await, IdentityStatus::Active);
    house.world.close().await;
});

on_each_world!(nobody_can_tell_whose_an_aid_is, async |world: World| {
    let house = house(world).await;
    let alice = house.owner("Alice").await;
    let (aid, log) = house.sub();
    let anonymous = CreateIdentityRequest {
        kind: Some(IdentityType::Aid),
        ..creation(&log, "Nobody", PrivacyLevel::Public)
    };
    let made = house.anonymous().call::<CreateIdentity>(&anonymous).await.unwrap();
    assert_eq!(
        (made.kind, made.privacy_level, made.parent),
        (IdentityType::Aid, PrivacyLevel::Anonymous, None)
    );
    let standing = house.squid.standing(&aid.did).await.unwrap();
    assert_eq!((standing.kind, standing.parent, standing.root), (IdentityKind::Aid, None, None));
    let claims = house.module().await.check_token(&house.token(&aid).await.unwrap()).unwrap();
    assert_eq!((claims.q.typ.as_deref(), claims.q.par), (Some("AID"), None));
    assert_eq!(code(house.switch(&alice.keyring.did, &aid.did).await), "SQUID_IDENTITY_NOT_FOUND");
    let (child, log) = house.sub();
    let below = request(&[&aid], &child, &log, IdentityType::Root);
    assert_eq!(code(house.client(&aid.did).call::<CreateSubIdentity>(&below).await), "SQUID_TYPE_FORBIDDEN");
    house.world.clock.advance(Span::seconds(3_600)); // five registrations an hour from one address
    for kind in [IdentityType::Dao, IdentityType::Enterprise, IdentityType::Consentida, IdentityType::Service]
    {
        let (_, log) = house.sub();
        let bent = CreateIdentityRequest { kind: Some(kind), ..creation(&log, "X", PrivacyLevel::Public) };
        assert_eq!(
            code(house.anonymous().call::<CreateIdentity>(&bent).await),
            "SQUID_TYPE_FORBIDDEN",
            "{kind}"
        );
    }
    house.world.close().await;
});

on_each_world!(a_person_cut_off_does_not_go_on_through_programs, async |world: World| {
    let house = house(world).await;
    let alice = house.owner("Alice").await;
    let (parent, agents) = (alice.keyring.did.clone(), [&alice.keyring]);
    let (one, two) = (
        house.child(&agents, IdentityType::Root).await.unwrap().keyring.did,
        house.child(&agents, IdentityType::Root).await.unwrap().keyring.did,
    );
    house.stop(&parent, &two).await.unwrap();
    house.operate(&parent, true).await.unwrap();
    assert_eq!(
        (house.status(&one).await, house.status(&two).await),
        (IdentityStatus::Suspended, IdentityStatus::Suspended)
    );
    let blocked = house.module().await;
    assert!([&parent, &one, &two].into_iter().all(|did| blocked.revocations().is_blocked(did)));
    house.operate(&parent, false).await.unwrap();
    let both = (house.status(&one).await, house.status(&two).await);
    assert_eq!(both, (IdentityStatus::Active, IdentityStatus::Suspended), "what its parent stopped stays so");
    house.world.close().await;
});

on_each_world!(a_parent_acts_as_its_child_for_as_long_as_it_is_logged_in, async |world: World| {
    let house = house(world).await;
    let alice = house.owner("Alice").await;
    let agent = house.child(&[&alice.keyring], IdentityType::Root).await.unwrap();
    let (parent, did) = (alice.keyring.did.clone(), agent.keyring.did.clone());
    let response = house.switch(&parent, &did).await.unwrap();
    let module = house.module().await;
    let claims = module.check_token(&response.access_token).unwrap();
    assert_eq!((&claims.sub, claims.q.par.as_ref()), (&did, Some(&parent)));
    let sessions = house.client(&did).call::<ListSessions>(&NoFields {}).await.unwrap().items;
    assert_eq!(sessions.len(), 1, "the child sees who is logged in as it");
    // Narrowed tokens make no wider ones.
    if house.world.way == Way::InProcess {
        let narrow = Principal {
            scopes: vec!["identity:switch".into(), "wallet:read".into()],
            ..Principal::new(parent.clone(), house.world.env.now())
        };
        let narrow = house.world.client_as("squid", Caller::Identity(narrow));
        let ask = |scope: &str| SwitchRequest { to: did.clone(), scope: Some(scope.into()) };
        assert_eq!(code(narrow.call::<SwitchIdentity>(&ask("wallet:write")).await), "invalid_scope");
        assert_eq!(code(narrow.call::<SwitchIdentity>(&ask("")).await), "invalid_scope");
        let scope = narrow.call::<SwitchIdentity>(&ask("wallet:read")).await.unwrap().scope;
        assert_eq!(scope.as_deref(), Some("wallet:read"));
        let same = SwitchRequest { to: did.clone(), scope: None };
        let same = narrow.call::<SwitchIdentity>(&same).await.unwrap().scope;
        assert_eq!(same.as_deref(), Some("identity:switch wallet:read"));
    }
    // Nobody switches upwards or sideways.
    assert_eq!(code(house.switch(&did, &parent).await), "SQUID_IDENTITY_NOT_FOUND");
    let mallory = house.owner("Mallory").await.keyring.did;
    assert_eq!(code(house.switch(&mallory, &did).await), "SQUID_IDENTITY_NOT_FOUND");
    // A parent that logs out everywhere logs out here too.
    house.world.clock.advance(Span::seconds(1));
    house.client(&parent).call::<squid_api::EndAllSessions>(&NoFields {}).await.unwrap();
    house.tell(&module).await;
    assert!(module.check_token(&response.access_token).is_err());
    let actions = house.audited().await;
    assert!(
        actions.contains(&"IDENTITY_SWITCHED".to_owned())
            && actions.contains(&"SUBIDENTITY_CREATED".to_owned())
    );
    house.world.close().await;
});

on_each_world!(a_switched_token_needs_the_key_the_first_one_needed, async |world: World| {
    let house = house(world).await;
    if house.world.way != Way::Http {
        return house.world.close().await; // proofs are headers, and there are none in process
    }
    let alice = house.owner("Alice").await;
    let agent = house.child(&[&alice.keyring], IdentityType::Root).await.unwrap();
    // The world believes names; what squid is told of a checked proof is what it binds to.
    let env = &house.world.env;
    let url = format!("{}/auth/switch", house.world.url("squid").unwrap());
    let proof = prove::dpop_proof(&alice.keyring.current, "POST", &url, None, env);
    let name = format!("identity {} {}", alice.keyring.did, env.now());
    let client =
        house.anonymous().with_credential(Arc::new(Headers(vec![("q-test-caller", name), ("dpop", proof)])));
    let ask = SwitchRequest { to: agent.keyring.did.clone(), scope: None };
    let token = client.call::<SwitchIdentity>(&ask).await.unwrap();
    assert_eq!(token.token_type, "DPoP");
    let claims = house.module().await.check_token(&token.access_token).unwrap();
    assert_eq!(claims.cnf.unwrap().jkt, q_jose::thumbprint(&alice.keyring.current.public()));
    house.world.close().await;
});

on_each_world!(ten_at_a_time_and_none_left_behind, async |world: World| {
    let house = house(world).await;
    let alice = house.owner("Alice").await;
    let mut children = Vec::new();
    for _ in 0..10 {
        children.push(house.child(&[&alice.keyring], IdentityType::Root).await.unwrap());
    }
    let refused =
        problem(house.child(&[&alice.keyring], IdentityType::Root).await.map(|child| child.identity));
    assert_eq!((refused.code.as_str(), &refused.extra["limit"]), ("SQUID_SUBIDENTITY_LIMIT", &10.into()));
    let append = |keyring: &Keyring, log: &Log| AppendLogRequest {
        did: keyring.did.clone(),
        entry: entry(&keyring.deactivate(log, &house.world.env).unwrap()),
        compromised: false,
    };
    house.world.clock.advance(Span::seconds(1));
    let client = house.anonymous();
    assert_eq!(
        code(client.call::<AppendLog>(&append(&alice.keyring, &alice.log)).await),
        "SQUID_HAS_CHILDREN"
    );
    for child in &children {
        client.call::<AppendLog>(&append(&child.keyring, &child.log)).await.unwrap();
    }
    let one_more = house.child(&[&alice.keyring], IdentityType::Root).await.map(|child| child.identity);
    assert_eq!(problem(one_more).code, "SQUID_SUBIDENTITY_LIMIT", "not ten after ten all day long");
    house.world.clock.advance(Span::seconds(86_401));
    let last = house.child(&[&alice.keyring], IdentityType::Root).await.unwrap();
    house.world.clock.advance(Span::seconds(1));
    client.call::<AppendLog>(&append(&last.keyring, &last.log)).await.unwrap();
    client.call::<AppendLog>(&append(&alice.keyring, &alice.log)).await.unwrap();
    assert_eq!(house.status(&alice.keyring.did).await, IdentityStatus::Deleted);
    house.world.close().await;
});

on_each_world!(modules_learn_a_standing_and_hear_that_it_changed, async |world: World| {
    let house = house(world).await;
    let alice = house.owner("Alice").await;
    let agent = house.child(&[&alice.keyring], IdentityType::Root).await.unwrap();
    let did = agent.keyring.did.clone();
    let (public, as_module) = (house.anonymous(), house.world.client_as("squid", service(&house)));
    let revocations = house.module().await.revocations().clone();
    let keys = KeyDirectory::new(
        house.world.env.clone(),
        Arc::new(Remote { public, as_module }),
        revocations.clone(),
    );
    let standing = keys.standing(&did).await.unwrap();
    assert_eq!((standing.kind, standing.parent.as_ref()), (IdentityKind::Root, Some(&alice.keyring.did)));
    assert!(standing.may_act());
    let webvh: Did = agent.identity.webvh.parse().unwrap();
    assert_eq!(keys.standing(&webvh).await.unwrap(), standing, "by any of its names");
    house.stop(&alice.keyring.did, &did).await.unwrap();
    assert!(keys.standing(&did).await.unwrap().may_act(), "remembered until it is heard");
    for event in house.events().await {
        keys.hear(&event);
        revocations.hear(&event);
    }
    assert_eq!(keys.standing(&did).await.unwrap().status, IdentityStatus::Suspended);
    let signature = agent.keyring.current.sign(b"pay");
    let refused = keys.verify(&agent.keyring.key_id(), b"pay", &signature).await.unwrap_err();
    assert_eq!(refused, SignatureRefused::Blocked, "nor does its signature count");
    let (nobody, _) = house.sub();
    assert!(keys.standing(&nobody.did).await.is_err());
    assert!(
        keys.standing(&q_testkit::identity("someone").0).await.unwrap().may_act(),
        "a did:key is its own"
    );
    let stranger = house.client(&did).call::<GetStanding>(&IdentityRequest { did }).await;
    assert_eq!(problem(stranger).code, "FORBIDDEN", "for modules only");
    house.world.close().await;
});

/// Says these headers with every request.
struct Headers(Vec<(&'static str, String)>);

impl Credential for Headers {
    fn attach<'a>(&'a self, request: &'a mut Request<Bytes>) -> BoxFuture<'a, Result<(), CallError>> {
        Box::pin(async move {
            for (name, value) in &self.0 {
                request.headers_mut().insert(*name, value.parse().unwrap());
            }
            Ok(())
        })
    }
}

fn service(house: &House) -> Caller {
    let (did, _) = q_testkit::identity("service-qwallet");
    Caller::Service(Principal::new(did, house.world.env.now()), "qwallet".into())
}
