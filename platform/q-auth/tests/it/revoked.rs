//! Revocation: heard once, in force at the next request.

use q_auth::{Claims, revocations::Revocation};
use q_core::{Event, event::EventId};
use serde_json::{Value, json};

use crate::support::{KID, World, did, world};

fn hear(world: &World, topic: &str, data: Value) {
    world.server.revocations().hear(&Event {
        id: EventId::new(&world.env),
        source: "squid".into(),
        topic: topic.into(),
        subject: "test".into(),
        time: world.env.now(),
        data,
    });
}

#[test]
fn an_event_kills_a_token_that_was_good_a_moment_ago() {
    let by_session = json!({"sid": "sid-1", "epoch": 1});
    let by_token = json!({"jti": "jti-1780272000", "epoch": 2});
    let by_key = json!({"kid": KID, "epoch": 3});
    let by_instant = json!({"sub": did(2), "notBefore": "2026-06-01T00:00:01Z", "epoch": 4});
    let for_all = json!({"notBefore": "2026-06-01T00:00:01Z", "epoch": 5});
    for (data, epoch) in [(by_session, 1), (by_token, 2), (by_key, 3), (by_instant, 4), (for_all, 5)] {
        let world = world();
        let token = world.sign(&world.bearer_claims());
        assert!(world.ask_with(&token).is_ok());
        hear(&world, "q.squid.session.revoked.v1", data.clone());
        assert_eq!(world.ask_with(&token).unwrap_err().code, "SQUID_TOKEN_REVOKED", "{data}");
        assert_eq!(world.server.revocations().epoch(), epoch);
    }
}

#[test]
fn a_revocation_hits_no_bystander() {
    let world = world();
    let (sid, jti) = (Some("sid-2".to_owned()), "other".to_owned());
    let bystander = world.sign(&Claims { sub: did(3), sid, jti, ..world.bearer_claims() });
    for data in [
        json!({"sid": "sid-1", "epoch": 1}),
        json!({"jti": "jti-1780272000", "epoch": 1}),
        json!({"kid": "old", "epoch": 1}),
        json!({"sub": did(2), "notBefore": "2026-06-01T00:00:01Z", "epoch": 1}),
        json!({"sub": did(3), "notBefore": "2026-06-01T00:00:00Z", "epoch": 1}),
        json!({"nonsense": true}),
    ] {
        hear(&world, "q.squid.session.revoked.v1", data.clone());
        assert!(world.ask_with(&bystander).is_ok(), "{data}");
    }
}

#[test]
fn a_suspended_identity_is_out_until_let_in_with_new_tokens() {
    let world = world();
    let before = world.sign(&world.bearer_claims());
    hear(&world, "q.squid.identity.suspended.v1", json!({"did": world.alice, "reason": "x"}));
    assert_eq!(world.ask_with(&before).unwrap_err().code, "SQUID_TOKEN_REVOKED");
    world.advance(5);
    let during = world.sign(&world.bearer_claims());
    assert!(world.ask_with(&during).is_err());
    hear(&world, "q.squid.identity.reactivated.v1", json!({"did": world.alice}));
    assert!(world.ask_with(&before).is_err(), "the old token stays dead");
    assert!(world.ask_with(&world.sign(&world.bearer_claims())).is_ok());
}

#[test]
fn the_set_forgets_sessions_no_token_can_belong_to_any_more() {
    let world = world();
    for session in 0..5_000 {
        let revocation = Revocation { sid: Some(format!("s{session}")), ..Revocation::default() };
        world.server.revocations().revoke(&revocation, world.env.now());
        world.advance(1);
    }
    let shown = format!("{:?}", world.server.revocations());
    assert!(!shown.contains("\"s0\""), "long over");
    assert!(shown.contains("\"s4999\""));
}
