//! One row per answer.

use q_core::{Did, Span};
use q_pdp::{
    Applied, Change, DelegationRegistered, Digest, Freshness, Pdp, Reason, Request, Resource, RevocationHead,
};
use q_ucan::chain::DidKeyOnly;

use crate::support::{NOW, authority, delegate, grant, pdp, person, resource, revoke};

fn registered(epoch: u64) -> Change {
    Change::Registered(DelegationRegistered { cids: vec![], epoch })
}

fn reason(pdp: &Pdp, principal: &Did, action: &str, on: &Resource, owner: &Did) -> Reason {
    let request = Request { principal, action, resource: on.as_str(), owner: Some(owner), now: NOW };
    let decision = pdp.decide(&request);
    assert_eq!(decision.allowed, decision.reason.allows());
    decision.reason
}

#[test]
fn owners_may_and_others_need_a_grant_with_a_proof() {
    let (alice, bob, carol) = (person(1), person(2), person(3));
    let wallet = resource("qwallet:wallet:w1");
    let pdp = pdp();
    assert_eq!(reason(&pdp, &alice.did, "read", &wallet, &alice.did), Reason::Owner);
    assert_eq!(reason(&pdp, &bob.did, "read", &wallet, &alice.did), Reason::NoGrant);

    let link = delegate(&alice, &bob.did, &alice.did, &wallet, "read", 1);
    let issued = grant(1, &alice.did, &bob.did, &wallet, &["read"], std::slice::from_ref(&link));
    assert_eq!(pdp.apply(Change::Issued(issued), &DidKeyOnly), Applied::Next);
    assert_eq!(reason(&pdp, &bob.did, "read", &wallet, &alice.did), Reason::Grant);
    assert_eq!(reason(&pdp, &bob.did, "write", &wallet, &alice.did), Reason::NoGrant);
    assert_eq!(reason(&pdp, &carol.did, "read", &wallet, &alice.did), Reason::NoGrant);
    assert_eq!(reason(&pdp, &bob.did, "read", &resource("qwallet:wallet:w2"), &alice.did), Reason::NoGrant);
    // The wallet changed hands: what its former owner granted is nothing.
    assert_eq!(reason(&pdp, &bob.did, "read", &wallet, &carol.did), Reason::NoGrant);
    // Nobody says whose it is.
    assert_eq!(pdp.check(&bob.did, "read", wallet.as_str(), NOW).reason, Reason::OwnerUnknown);
    pdp.set_owner(&wallet, &alice.did);
    assert_eq!(pdp.check(&bob.did, "read", wallet.as_str(), NOW).reason, Reason::Grant);
    pdp.forget_owner(&wallet);
    assert!(!pdp.check(&bob.did, "read", wallet.as_str(), NOW).allowed);

    pdp.set_active(&bob.did, false);
    assert_eq!(reason(&pdp, &bob.did, "read", &wallet, &alice.did), Reason::IdentityInactive);
    pdp.set_active(&bob.did, true);
    assert_eq!(pdp.apply(revoke(2, &alice.did, &[link.cid()]), &DidKeyOnly), Applied::Next);
    assert_eq!(reason(&pdp, &bob.did, "read", &wallet, &alice.did), Reason::NoGrant);
    assert_eq!(pdp.epoch(), 2);
}

#[test]
fn what_the_suspended_gave_or_passed_on_does_not_count_until_they_may_act_again() {
    let (alice, bob, thief) = (person(1), person(2), person(3));
    let wallet = resource("qwallet:wallet:w1");
    let pdp = pdp();
    // Alice lets Bob read, and Bob passes it on.
    let links = [
        delegate(&alice, &bob.did, &alice.did, &wallet, "read", 1),
        delegate(&bob, &thief.did, &alice.did, &wallet, "read", 2),
    ];
    pdp.apply(Change::Issued(grant(1, &alice.did, &thief.did, &wallet, &["read"], &links)), &DidKeyOnly);
    assert_eq!(reason(&pdp, &thief.did, "read", &wallet, &alice.did), Reason::Grant);
    for giver in [&alice, &bob] {
        pdp.set_active(&giver.did, false);
        assert_eq!(reason(&pdp, &thief.did, "read", &wallet, &alice.did), Reason::IdentityInactive);
        pdp.set_active(&giver.did, true);
        assert_eq!(reason(&pdp, &thief.did, "read", &wallet, &alice.did), Reason::Grant);
    }
}

#[test]
fn a_grant_lasts_from_its_beginning_to_its_end() {
    let (alice, bob) = (person(1), person(2));
    let file = resource("qdrive:file:a");
    let pdp = pdp();
    let link = delegate(&alice, &bob.did, &alice.did, &file, "read", 1);
    let issued = grant(1, &alice.did, &bob.did, &file, &["read"], &[link]);
    let ends = issued.expires_at;
    pdp.apply(Change::Issued(issued), &DidKeyOnly);
    let at = |now| {
        pdp.observe(&RevocationHead { epoch: 1, digest: pdp.digest(), at: now });
        pdp.decide(&Request {
            principal: &bob.did,
            action: "read",
            resource: file.as_str(),
            owner: Some(&alice.did),
            now,
        })
    };
    assert_eq!(at(ends - Span::millis(1)).reason, Reason::Grant);
    assert_eq!(at(ends - Span::millis(1)).expires_at, Some(ends));
    assert_eq!(at(ends).reason, Reason::GrantExpired);
    // A clock that jumps back does not bring it back.
    let earlier = Request {
        principal: &bob.did,
        action: "read",
        resource: file.as_str(),
        owner: Some(&alice.did),
        now: NOW,
    };
    assert_eq!(pdp.decide(&earlier).reason, Reason::GrantExpired);
}

#[test]
fn grants_without_a_proof_are_not_believed() {
    let (alice, bob, mallory) = (person(1), person(2), person(9));
    let (wallet, other) = (resource("qwallet:wallet:w1"), resource("qwallet:wallet:w2"));
    let forged = delegate(&mallory, &bob.did, &alice.did, &wallet, "read", 1);
    let elsewhere = delegate(&alice, &bob.did, &alice.did, &other, "read", 2);
    let narrow = delegate(&alice, &bob.did, &alice.did, &wallet, "read", 3);
    let to_other = delegate(&alice, &mallory.did, &alice.did, &wallet, "read", 4);
    let standing = delegate(&alice, &authority().did, &alice.did, &wallet, "read", 5);
    let by_qonsent = delegate(&authority(), &bob.did, &alice.did, &wallet, "read", 6);
    let pdp = pdp();
    let cases: [(&str, &[&str], Vec<_>); 6] = [
        ("signed by somebody else", &["read"], vec![forged]),
        ("for another resource", &["read"], vec![elsewhere]),
        ("for fewer actions", &["read", "write"], vec![narrow]),
        ("for another holder", &["read"], vec![to_other]),
        ("through a standing link", &["read"], vec![standing, by_qonsent]),
        ("none at all", &["read"], vec![]),
    ];
    for (epoch, (what, actions, links)) in (1..).zip(cases) {
        let issued = grant(epoch, &alice.did, &bob.did, &wallet, actions, &links);
        assert_eq!(pdp.apply(Change::Issued(issued), &DidKeyOnly), Applied::Next, "{what}");
        assert_eq!(reason(&pdp, &bob.did, "read", &wallet, &alice.did), Reason::NoGrant, "{what}");
    }
    let mut garbage = grant(7, &alice.did, &bob.did, &wallet, &["read"], &[]);
    garbage.ucan = "Cnot base64".into();
    pdp.apply(Change::Issued(garbage), &DidKeyOnly);
    assert_eq!(pdp.epoch(), 7);
    assert_eq!(reason(&pdp, &bob.did, "read", &wallet, &alice.did), Reason::NoGrant);
}

#[test]
fn a_standing_link_may_share_files_and_dies_with_its_root() {
    let (alice, bob) = (person(1), person(2));
    let file = resource("qdrive:file:a");
    let standing = delegate(&alice, &authority().did, &alice.did, &file, "read", 1);
    let leaf = delegate(&authority(), &bob.did, &alice.did, &file, "read", 2);
    let pdp = pdp();
    let issued = grant(1, &alice.did, &bob.did, &file, &["read"], &[standing.clone(), leaf]);
    pdp.apply(Change::Issued(issued), &DidKeyOnly);
    assert_eq!(reason(&pdp, &bob.did, "read", &file, &alice.did), Reason::Grant);
    pdp.apply(revoke(2, &alice.did, &[standing.cid()]), &DidKeyOnly);
    assert_eq!(reason(&pdp, &bob.did, "read", &file, &alice.did), Reason::NoGrant);
}

#[test]
fn instances_own_themselves() {
    let (instance, operator) = (person(1), person(2));
    let house = Resource::instance(&instance.did);
    let link = delegate(&instance, &operator.did, &instance.did, &house, "admin", 1);
    let pdp = pdp();
    let issued = grant(1, &instance.did, &operator.did, &house, &["admin"], &[link]);
    pdp.apply(Change::Issued(issued), &DidKeyOnly);
    assert!(pdp.check(&operator.did, "admin", house.as_str(), NOW).allowed);
    assert!(!pdp.check(&person(3).did, "admin", house.as_str(), NOW).allowed);
}

#[test]
fn changes_may_come_twice_and_in_any_order() {
    let (alice, bob) = (person(1), person(2));
    let file = resource("qdrive:file:a");
    let first = delegate(&alice, &bob.did, &alice.did, &file, "read", 1);
    let second = delegate(&alice, &bob.did, &alice.did, &file, "write", 2);
    let one = Change::Issued(grant(1, &alice.did, &bob.did, &file, &["read"], std::slice::from_ref(&first)));
    let two = Change::Issued(grant(2, &alice.did, &bob.did, &file, &["write"], &[second]));
    let three = revoke(3, &alice.did, &[first.cid()]);

    let straight = pdp();
    for change in [&one, &two, &three] {
        assert_eq!(straight.apply(change.clone(), &DidKeyOnly), Applied::Next);
        assert_eq!(straight.apply(change.clone(), &DidKeyOnly), Applied::Duplicate);
    }
    let mixed = pdp();
    // The revocation comes before what it revokes: it counts at once, and is remembered.
    assert_eq!(mixed.apply(three, &DidKeyOnly), Applied::Waiting);
    assert!(mixed.has_gap());
    assert_eq!(mixed.apply(one.clone(), &DidKeyOnly), Applied::Next);
    assert_eq!(reason(&mixed, &bob.did, "read", &file, &alice.did), Reason::NoGrant);
    assert_eq!(mixed.apply(two, &DidKeyOnly), Applied::Next);
    assert_eq!(mixed.apply(one, &DidKeyOnly), Applied::Duplicate);
    assert_eq!(mixed.epoch(), 3);
    assert_eq!(mixed.digest(), straight.digest());
    assert_eq!(reason(&mixed, &bob.did, "write", &file, &alice.did), Reason::Grant);
    mixed.observe(&RevocationHead { epoch: 3, digest: straight.digest(), at: NOW });
    assert!(!mixed.has_gap());
}

#[test]
fn without_proof_of_being_current_it_narrows_then_denies() {
    let (alice, bob) = (person(1), person(2));
    let file = resource("qdrive:file:a");
    let link = delegate(&alice, &bob.did, &alice.did, &file, "read", 1);
    let write = delegate(&alice, &bob.did, &alice.did, &file, "write", 2);
    let pdp = pdp();
    pdp.apply(
        Change::Issued(grant(1, &alice.did, &bob.did, &file, &["read", "write"], &[link, write])),
        &DidKeyOnly,
    );
    let ask = |who: &Did, action: &str, seconds: i64| {
        let now = NOW + Span::seconds(seconds);
        let request =
            Request { principal: who, action, resource: file.as_str(), owner: Some(&alice.did), now };
        pdp.decide(&request).reason
    };
    for (who, action, at_30, at_31, at_301) in [
        (&alice.did, "read", Reason::Owner, Reason::Owner, Reason::Owner),
        (&alice.did, "write", Reason::Owner, Reason::Owner, Reason::Stale),
        (&bob.did, "read", Reason::Grant, Reason::Grant, Reason::Stale),
        (&bob.did, "write", Reason::Grant, Reason::Stale, Reason::Stale),
        (&bob.did, "admin", Reason::NoGrant, Reason::NoGrant, Reason::NoGrant),
    ] {
        assert_eq!(
            (ask(who, action, 30), ask(who, action, 31), ask(who, action, 301)),
            (at_30, at_31, at_301),
            "{who} {action}"
        );
    }
    // Agreement with qonsent's head restores everything; a head that differs, or is ahead, restores nothing.
    let head = |epoch, digest, seconds| RevocationHead { epoch, digest, at: NOW + Span::seconds(seconds) };
    pdp.observe(&head(1, Digest([7; 32]), 300));
    assert_eq!((pdp.has_gap(), ask(&bob.did, "write", 301)), (true, Reason::Stale));
    pdp.observe(&head(2, pdp.digest(), 300));
    assert_eq!(ask(&bob.did, "write", 301), Reason::Stale);
    pdp.observe(&head(1, pdp.digest(), 300));
    assert_eq!(ask(&bob.did, "write", 301), Reason::Grant);
    assert_eq!(pdp.freshness(NOW + Span::seconds(331)), Freshness::Narrowed);
}

#[test]
fn a_head_that_ran_ahead_counts_when_its_changes_arrive() {
    let pdp = pdp();
    let other = crate::support::pdp();
    other.apply(registered(1), &DidKeyOnly);
    other.apply(registered(2), &DidKeyOnly);
    pdp.observe(&RevocationHead { epoch: 2, digest: other.digest(), at: NOW + Span::seconds(100) });
    assert!(pdp.has_gap());
    pdp.apply(registered(2), &DidKeyOnly);
    pdp.apply(registered(1), &DidKeyOnly);
    assert!(!pdp.has_gap());
    assert_eq!(pdp.proved_at(), NOW + Span::seconds(100));
    // A heartbeat of an earlier epoch still proves what was true then.
    let first = Digest::default().after(&registered(1));
    pdp.observe(&RevocationHead { epoch: 1, digest: first, at: NOW + Span::seconds(120) });
    assert_eq!(pdp.proved_at(), NOW + Span::seconds(120));
}
