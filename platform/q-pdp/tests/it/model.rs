//! A naive twin: a list of what happened, searched from the start for each question.

use std::{collections::HashSet, sync::Arc};

use proptest::prelude::*;
use q_core::{Did, Span, Timestamp};
use q_pdp::{Change, GrantIssued, Pdp, Reason, Request, Resource, RevocationHead};
use q_ucan::{Delegation, TokenCid, chain::DidKeyOnly};

use crate::support::{NOW, Person, delegate, grant, person, resource, revoke};

const ACTIONS: [&str; 3] = ["read", "write", "admin"];

#[derive(Debug, Clone)]
enum Step {
    /// `owner` grants `holder` the action, for so many seconds; through a middleman or directly.
    Grant { owner: u8, holder: u8, on: usize, action: usize, lasts: i64, through: Option<u8> },
    /// Somebody's `at`th delegation dies.
    Revoke { at: usize },
    /// An identity is stopped or let go on.
    Activity { who: u8, is_active: bool },
    /// A past change is delivered again.
    Repeat { at: usize },
    /// Time passes.
    Wait { seconds: i64 },
    /// `who` asks.
    Ask { who: u8, on: usize, action: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let who = || 1_u8..5;
    let on = || 0_usize..3;
    let action = || 0_usize..3;
    prop_oneof![
        4 => (who(), who(), on(), action(), 1_i64..200, proptest::option::of(who()))
            .prop_map(|(owner, holder, on, action, lasts, through)| Step::Grant { owner, holder, on, action, lasts, through }),
        2 => (0_usize..20).prop_map(|at| Step::Revoke { at }),
        1 => (who(), any::<bool>()).prop_map(|(who, is_active)| Step::Activity { who, is_active }),
        1 => (0_usize..20).prop_map(|at| Step::Repeat { at }),
        2 => (0_i64..60).prop_map(|seconds| Step::Wait { seconds }),
        8 => (who(), on(), action()).prop_map(|(who, on, action)| Step::Ask { who, on, action }),
    ]
}

/// What the twin knows: everything, unsorted.
#[derive(Default)]
struct Naive {
    grants: Vec<(GrantIssued, Vec<Arc<Delegation>>)>,
    revoked: HashSet<TokenCid>,
    inactive: HashSet<Did>,
}

impl Naive {
    fn decide(&self, who: &Did, action: &str, on: &Resource, owner: &Did, now: Timestamp) -> bool {
        if self.inactive.contains(who) {
            return false;
        }
        who == owner
            || self.grants.iter().any(|(grant, links)| {
                let root = &links[0];
                grant.identity == *who
                    && grant.resource == on.as_str()
                    && grant.permissions.iter().any(|permission| permission == action)
                    && root.issuer().did == *owner
                    && root.subject() == Some(owner)
                    && links.last().unwrap().audience() == who
                    && links.iter().all(|link| !self.revoked.contains(&link.cid()))
                    && links.iter().all(|link| !self.inactive.contains(&link.issuer().did))
                    && now < grant.expires_at
            })
    }
}

/// The owner of each resource: person 1, 2, 3.
fn owner_of(on: usize) -> Person {
    person(u8::try_from(on).unwrap() + 1)
}

fn links(
    owner: u8,
    holder: u8,
    on: &Resource,
    action: &str,
    through: Option<u8>,
    nonce: u64,
) -> Option<Vec<Arc<Delegation>>> {
    let (owner, holder) = (person(owner), person(holder));
    let through = through.map(person).filter(|middle| middle.did != owner.did && middle.did != holder.did);
    if owner.did == holder.did {
        return None;
    }
    Some(match through {
        None => vec![delegate(&owner, &holder.did, &owner.did, on, action, nonce)],
        Some(middle) => vec![
            delegate(&owner, &middle.did, &owner.did, on, action, nonce),
            delegate(&middle, &holder.did, &owner.did, on, action, nonce),
        ],
    })
}

fn run(steps: Vec<Step>, deliveries: &[usize]) {
    let resources = ["qdrive:file:a", "qdrive:file:b", "qwallet:wallet:c"].map(resource);
    let (pdp, mut naive): (Pdp, Naive) = (crate::support::pdp(), Naive::default());
    let (mut now, mut epoch, mut past) = (NOW, 0_u64, Vec::<Change>::new());
    for step in steps {
        match step {
            Step::Grant { owner, holder, on, action, lasts, through } => {
                let (on, action) = (&resources[on], ACTIONS[action]);
                let Some(links) = links(owner, holder, on, action, through, epoch) else { continue };
                epoch += 1;
                let mut issued = grant(epoch, &person(owner).did, &person(holder).did, on, &[action], &links);
                issued.granted_at = now;
                issued.expires_at = now + Span::seconds(lasts);
                past.push(Change::Issued(issued.clone()));
                naive.grants.push((issued, links));
            }
            Step::Revoke { at } => {
                let all: Vec<_> = naive.grants.iter().flat_map(|(_, links)| links).collect();
                let Some(link) = all.get(at) else { continue };
                epoch += 1;
                past.push(revoke(epoch, &link.issuer().did, &[link.cid()]));
                naive.revoked.insert(link.cid());
            }
            Step::Activity { who, is_active } => {
                pdp.set_active(&person(who).did, is_active);
                if is_active {
                    naive.inactive.remove(&person(who).did)
                } else {
                    naive.inactive.insert(person(who).did)
                };
                continue;
            }
            Step::Repeat { at } => {
                if let Some(change) = past.get(at) {
                    pdp.apply(change.clone(), &DidKeyOnly);
                }
                continue;
            }
            Step::Wait { seconds } => now = now + Span::seconds(seconds),
            Step::Ask { who, on, action } => {
                let (who, owner) = (person(who).did, owner_of(on).did);
                let request = Request {
                    principal: &who,
                    action: ACTIONS[action],
                    resource: resources[on].as_str(),
                    owner: Some(&owner),
                    now,
                };
                let expected = naive.decide(&who, ACTIONS[action], &resources[on], &owner, now);
                let decision = pdp.decide(&request);
                assert_eq!(decision.allowed, expected, "{request:?} gave {decision:?}");
                assert_ne!(decision.reason, Reason::Stale);
                assert_eq!(decision.epoch, epoch);
                continue;
            }
        }
        if let Some(change) = past.last() {
            pdp.apply(change.clone(), &DidKeyOnly);
        }
        pdp.observe(&RevocationHead { epoch, digest: pdp.digest(), at: now });
    }
    // The same changes in another order, some of them twice, lead to the same place.
    let shuffled = crate::support::pdp();
    let mut order: Vec<usize> = (0..past.len()).collect();
    for (at, with) in deliveries.iter().enumerate().take(order.len()) {
        let with = with % order.len();
        order.swap(at, with);
    }
    for at in order.iter().chain(deliveries.iter().filter(|at| **at < past.len())) {
        shuffled.apply(past[*at].clone(), &DidKeyOnly);
    }
    assert_eq!((shuffled.epoch(), shuffled.digest()), (pdp.epoch(), pdp.digest()));
    for who in (1..5).map(|who| person(who).did) {
        shuffled.set_active(&who, !naive.inactive.contains(&who));
    }
    for who in 1..5 {
        for (on, resource) in resources.iter().enumerate() {
            for action in ACTIONS {
                let (who, owner) = (person(who).did, owner_of(on).did);
                let expected = naive.decide(&who, action, resource, &owner, now);
                shuffled.observe(&RevocationHead { epoch, digest: pdp.digest(), at: now });
                let request = Request {
                    principal: &who,
                    action,
                    resource: resource.as_str(),
                    owner: Some(&owner),
                    now,
                };
                assert_eq!(shuffled.decide(&request).allowed, expected, "{request:?}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn decides_as_a_naive_twin_does(
        steps in proptest::collection::vec(step(), 1..60),
        deliveries in proptest::collection::vec(0_usize..60, 60),
    ) {
        run(steps, &deliveries);
    }
}
