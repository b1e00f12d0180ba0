//! Chains: one row per refusal, each breaking one thing of a chain that holds.

use std::sync::Arc;

use proptest::prelude::*;
use q_core::{Did, Span};
use q_ucan::{
    Chain, Command, Delegation, Ipld, Issuer, Keys, Policy, Refusal, Revocations, TokenCid, VerifyingKey,
    container, policy::args,
};

use crate::support::{NOW, draft, invoke, link, person, verifier};

fn judge(proofs: &[Arc<Delegation>], command: &str, at: &Ipld) -> Result<(), Refusal> {
    let (alice, carol) = (person(1), person(3));
    let cids: Vec<_> = proofs.iter().map(|proof| proof.cid()).collect();
    let invocation = invoke(&carol, &alice, command, &cids).sign(&carol.key).unwrap();
    verifier().invocation(&invocation, proofs, &alice.did, at).map(|_| ())
}

#[test]
fn a_chain_holds_and_each_fault_has_its_name() {
    let (alice, bob, carol, dave) = (person(1), person(2), person(3), person(4));
    let pinned = |from, to: &Did, resource| {
        let mut draft = draft(from, to, Some(&person(1).did), "/qdrive/file");
        draft.policy = Policy::pins_resource(resource);
        draft
    };
    let first = Arc::new(pinned(&alice, &bob.did, "qdrive:file:a").sign(&alice.key).unwrap());
    let second = link(&bob, &carol, &alice, "/qdrive/file/read");
    let file = |name: &str| args([("resource", Ipld::String(name.to_owned()))]);
    let a = file("qdrive:file:a");
    let chain = [first.clone(), second.clone()];

    assert_eq!(judge(&chain, "/qdrive/file/read", &a), Ok(()));
    assert_eq!(judge(&chain, "/qdrive/file/read", &file("qdrive:file:b")), Err(Refusal::MatchError));
    assert_eq!(judge(&chain, "/qdrive/file/readme", &a), Err(Refusal::InvalidCommand));
    assert_eq!(judge(&chain, "/qdrive/file", &a), Err(Refusal::InvalidCommand));
    let wider = [first.clone(), link(&bob, &carol, &alice, "/qdrive")];
    assert_eq!(judge(&wider, "/qdrive/file/read", &a), Err(Refusal::InvalidCommand));
    let backwards = [second.clone(), first.clone()];
    assert_eq!(judge(&backwards, "/qdrive/file/read", &a), Err(Refusal::InvalidSubject));
    let gap = [first.clone(), link(&dave, &carol, &alice, "/qdrive/file/read")];
    assert_eq!(judge(&gap, "/qdrive/file/read", &a), Err(Refusal::InvalidAudience));
    assert_eq!(judge(std::slice::from_ref(&first), "/qdrive/file/read", &a), Err(Refusal::InvalidAudience));
    let other_subject = [first.clone(), link(&bob, &carol, &dave, "/qdrive/file/read")];
    assert_eq!(judge(&other_subject, "/qdrive/file/read", &a), Err(Refusal::InvalidSubject));

    let mut late = pinned(&alice, &bob.did, "qdrive:file:a");
    late.expires_at = Some(NOW - Span::seconds(61));
    let late = Arc::new(late.sign(&alice.key).unwrap());
    assert_eq!(judge(&[late, second.clone()], "/qdrive/file/read", &a), Err(Refusal::Expired));
    let mut within_skew = pinned(&alice, &bob.did, "qdrive:file:a");
    within_skew.expires_at = Some(NOW - Span::seconds(59));
    let within_skew = Arc::new(within_skew.sign(&alice.key).unwrap());
    assert_eq!(judge(&[within_skew, second.clone()], "/qdrive/file/read", &a), Ok(()));
    let mut early = pinned(&alice, &bob.did, "qdrive:file:a");
    early.not_before = Some(NOW + Span::seconds(61));
    let early = Arc::new(early.sign(&alice.key).unwrap());
    assert_eq!(judge(&[early, second.clone()], "/qdrive/file/read", &a), Err(Refusal::TooEarly));
    let mut endless = pinned(&alice, &bob.did, "qdrive:file:a");
    endless.expires_at = None;
    let endless = Arc::new(endless.sign(&alice.key).unwrap());
    let refused = Refusal::InvalidClaim("a delegation has an end");
    assert_eq!(judge(&[endless, second], "/qdrive/file/read", &a), Err(refused));
}

#[test]
fn a_chain_is_found_among_tokens_in_any_order() {
    let people: Vec<_> = (1..=5).map(person).collect();
    let good = [
        link(&people[0], &people[1], &people[0], "/x"),
        link(&people[1], &people[2], &people[0], "/x/y"),
        link(&people[2], &people[3], &people[0], "/x/y"),
    ];
    let noise =
        [link(&people[4], &people[2], &people[0], "/x"), link(&people[1], &people[3], &people[0], "/z")];
    let find = |pool: &[Arc<Delegation>]| {
        let command = "/x/y".parse().unwrap();
        Chain::find(pool, &people[3].did, &people[0].did, &command, &args([]))
            .map(|chain| chain.links().to_vec())
    };
    let mut pool = [good.as_slice(), noise.as_slice()].concat();
    for _ in 0..pool.len() {
        pool.rotate_left(1);
        assert_eq!(find(&pool), Ok(good.to_vec()));
    }
    assert!(find(&[&good[..1], &noise].concat()).is_err());
    // Everybody delegates to everybody: the search gives up instead of trying every path.
    let crowd: Vec<_> = (10..18).map(person).collect();
    let mesh: Vec<_> = crowd
        .iter()
        .flat_map(|from| crowd.iter().map(move |to| (from, to)))
        .map(|(from, to)| link(from, to, &people[0], "/x"))
        .collect();
    let into = link(&crowd[0], &people[3], &people[0], "/x/y");
    assert!(find(&[mesh, vec![into]].concat()).is_err());
}

#[test]
fn powerlines_hand_on_but_never_begin() {
    let (alice, bob, carol) = (person(1), person(2), person(3));
    let root = link(&alice, &bob, &alice, "/qdrive");
    let line = Arc::new(draft(&bob, &carol.did, None, "/qdrive").sign(&bob.key).unwrap());
    assert_eq!(judge(&[root, line.clone()], "/qdrive/file/read", &args([])), Ok(()));
    let as_root = Chain::assemble(vec![line]);
    assert_eq!(as_root, Err(Refusal::InvalidClaim("the root of a chain names its subject")));
}

#[test]
fn loops_and_long_chains_are_refused() {
    let people: Vec<_> = (1..=11).map(person).collect();
    let chain = |length: usize| -> Vec<_> {
        (0..length).map(|at| link(&people[at], &people[at + 1], &people[0], "/x")).collect()
    };
    assert!(Chain::assemble(chain(8)).is_ok());
    assert_eq!(Chain::assemble(chain(9)), Err(Refusal::TooLarge("a chain has at most 8 links")));
    let looped =
        vec![link(&people[0], &people[1], &people[0], "/x"), link(&people[1], &people[0], &people[0], "/x")];
    assert_eq!(
        Chain::assemble(looped),
        Err(Refusal::InvalidClaim("a chain does not come back to a principal"))
    );
    assert!(Chain::assemble(vec![]).is_err());
}

#[test]
fn invocations_are_short_lived_and_addressed() {
    let (alice, bob) = (person(1), person(2));
    let judge = |change: &dyn Fn(&mut q_ucan::InvocationDraft), executor: &Did| {
        let mut draft = invoke(&alice, &alice, "/x", &[]);
        change(&mut draft);
        let invocation = draft.sign(&alice.key).unwrap();
        let proofs: &[Arc<Delegation>] = &[];
        verifier().invocation(&invocation, proofs, executor, invocation.args()).map(|_| ())
    };
    assert_eq!(judge(&|_| (), &alice.did), Ok(()));
    assert_eq!(judge(&|_| (), &bob.did), Err(Refusal::InvalidAudience));
    assert_eq!(judge(&|draft| draft.audience = Some(bob.did.clone()), &bob.did), Ok(()));
    let endless = judge(&|draft| draft.expires_at = None, &alice.did);
    assert_eq!(endless, Err(Refusal::InvalidClaim("an invocation has an end")));
    let far = judge(&|draft| draft.expires_at = Some(NOW + Span::seconds(661)), &alice.did);
    assert_eq!(far, Err(Refusal::InvalidClaim("an invocation ends within 10 minutes")));
    let late = judge(&|draft| draft.expires_at = Some(NOW - Span::seconds(61)), &alice.did);
    assert_eq!(late, Err(Refusal::Expired));
}

#[test]
fn a_withdrawn_link_ends_the_chain() {
    struct Withdrawn(TokenCid);
    impl Revocations for Withdrawn {
        fn is_revoked(&self, delegation: &Delegation) -> bool {
            delegation.cid() == self.0
        }
    }
    let (alice, bob, carol) = (person(1), person(2), person(3));
    let chain = vec![link(&alice, &bob, &alice, "/x"), link(&bob, &carol, &alice, "/x/y")];
    for withdrawn in [chain[0].cid(), chain[1].cid()] {
        let revocations = Withdrawn(withdrawn);
        let verifier = q_ucan::Verifier { revocations: &revocations, ..verifier() };
        assert_eq!(verifier.chain(chain.clone()), Err(Refusal::Revoked(withdrawn)));
    }
    assert!(verifier().chain(chain).is_ok());
}

#[test]
fn keys_of_other_methods_come_from_the_resolver() {
    struct Directory(Vec<VerifyingKey>);
    impl Keys for Directory {
        fn find(&self, issuer: &Issuer, _: &TokenCid) -> Result<Vec<VerifyingKey>, Refusal> {
            if issuer.key.as_deref() == Some("gone") { Ok(vec![]) } else { Ok(self.0.clone()) }
        }
    }
    let alice = person(1);
    let squid: Did = "did:squid:QmAlice".parse().unwrap();
    let signed = |fragment: Option<&str>| {
        let mut draft = draft(&alice, &person(2).did, Some(&squid), "/x");
        draft.issuer = Issuer { did: squid.clone(), key: fragment.map(Into::into) };
        draft.sign(&alice.key).unwrap()
    };
    let with = |keys: &[u8], token: &Delegation| {
        let directory = Directory(keys.iter().map(|seed| person(*seed).key.public().into()).collect());
        q_ucan::Verifier { keys: &directory, ..verifier() }.delegation(token)
    };
    assert_eq!(verifier().delegation(&signed(None)), Err(Refusal::UnknownIssuer));
    assert_eq!(with(&[5, 1], &signed(None)), Ok(()));
    assert_eq!(with(&[5], &signed(None)), Err(Refusal::InvalidSignature));
    assert_eq!(with(&[1], &signed(Some("gone"))), Err(Refusal::InvalidSignature));
}

fn command_text() -> impl Strategy<Value = String> {
    proptest::collection::vec("[a-c]{1,2}", 0..4).prop_map(|segments| format!("/{}", segments.join("/")))
}

proptest! {
    #[test]
    fn covering_is_the_order_of_segment_lists(upper in command_text(), lower in command_text()) {
        let segments = |text: &str| text.split('/').filter(|it| !it.is_empty()).map(str::to_owned).collect::<Vec<_>>();
        let expected = segments(&lower).starts_with(&segments(&upper));
        let (upper, lower): (Command, Command) = (upper.parse().unwrap(), lower.parse().unwrap());
        prop_assert_eq!(upper.covers(&lower), expected);
    }

    #[test]
    fn what_is_signed_is_read_back(command in command_text(), nonce in proptest::collection::vec(any::<u8>(), 12..40), end in 0_i64..1 << 40, resource in "\\PC{0,40}") {
        let (alice, bob) = (person(1), person(2));
        let mut draft = draft(&alice, &bob.did, Some(&alice.did), &command);
        draft.nonce = nonce;
        draft.expires_at = Some(q_core::Timestamp::from_seconds(end));
        draft.policy = Policy::pins_resource(&resource);
        let token = draft.sign(&alice.key).unwrap();
        prop_assert_eq!(&Delegation::decode(token.bytes()).unwrap(), &token);
        let packed = container::encode_text([token.bytes()]);
        prop_assert_eq!(container::decode(packed.as_bytes()).unwrap(), vec![token.bytes().to_vec()]);
        let spelled: TokenCid = token.cid().to_string().parse().unwrap();
        prop_assert_eq!(spelled, token.cid());
    }
}
