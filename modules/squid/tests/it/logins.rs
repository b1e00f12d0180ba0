//! Logging in by assertion, bound to a key or not.

use std::sync::Arc;

use http::{Request, header};
use q_auth::{
    DpopCredential, TokenSource as _,
    claims::Audience,
    issue::AssertionClaims,
    prove::{self, JWT_BEARER_GRANT},
};
use q_contract::{Authenticate as _, Credential as _, HttpTransport, Target};
use q_core::{Did, Span};
use q_jose::jws::{Header, sign_json};
use q_testkit::{Way, World, on_each_world};
use squid::remote::Login;
use squid_api::{GetServerMetadata, IssueToken, NoFields, TokenRequest};

use crate::support::{ORIGIN, house, login, problem};

on_each_world!(an_assertion_logs_in_once, async |world: World| {
    let house = house(world).await;
    let alice = house.owner("Alice").await;
    let client = house.anonymous();
    let offer = client.call::<GetServerMetadata>(&NoFields {}).await.unwrap();
    assert_eq!(offer.issuer, ORIGIN);
    let assertion = |audience: &str| {
        prove::login_assertion(&alice.keyring.did, &alice.keyring.current, audience, &house.world.env)
    };
    let first = login(&assertion(&offer.token_endpoint));
    let response = client.call::<IssueToken>(&first).await.unwrap();
    assert_eq!((response.token_type.as_str(), response.expires_in), ("Bearer", 600));
    let claims = house.module().await.check_token(&response.access_token).unwrap();
    assert_eq!(claims.sub, alice.keyring.did);
    assert_eq!(claims.q.typ.as_deref(), Some("ROOT"));
    assert!(response.access_token.len() <= 1_000, "{} bytes", response.access_token.len());

    let again = problem(client.call::<IssueToken>(&first).await);
    assert_eq!(
        (again.code.as_str(), again.status, &again.extra["error"]),
        ("invalid_grant", 400, &"invalid_grant".into())
    );
    let scoped = TokenRequest { scope: Some("wallet:read".into()), ..login(&assertion(ORIGIN)) };
    let response = client.call::<IssueToken>(&scoped).await.unwrap();
    assert_eq!(response.scope.as_deref(), Some("wallet:read"));
    assert_eq!(house.audited().await, ["IDENTITY_CREATED", "AUTH_SUCCESS", "AUTH_SUCCESS"]);
    house.world.close().await;
});

on_each_world!(bent_logins_are_refused, async |world: World| {
    let house = house(world).await;
    let (alice, mallory) = (house.owner("Alice").await, house.owner("Mallory").await);
    let env = house.world.env.clone();
    let now = env.now().seconds();
    let key = &alice.keyring.current;
    let claims = |did: &Did| AssertionClaims {
        iss: did.clone(),
        sub: did.clone(),
        aud: Audience::One(ORIGIN.into()),
        exp: now + 60,
        iat: now,
        jti: q_core::hash::hex(&env.random::<8>()),
    };
    let header = |kid: &str| Header::typ("JWT").kid(kid);
    let kid = alice.keyring.key_id();
    let did = &alice.keyring.did;
    let alien = AssertionClaims { iss: mallory.keyring.did.clone(), ..claims(did) };
    let rows = [
        ("not a token", "x".to_owned()),
        ("another's signature", sign_json(&header(&kid), &claims(did), &mallory.keyring.current)),
        (
            "another's key",
            sign_json(&header(&mallory.keyring.key_id()), &claims(did), &mallory.keyring.current),
        ),
        (
            "a key it does not hold",
            sign_json(
                &header(&q_did::key_id(did, &mallory.keyring.current.public())),
                &claims(did),
                &mallory.keyring.current,
            ),
        ),
        (
            "the next key",
            sign_json(
                &header(&q_did::key_id(did, &alice.keyring.next.public())),
                &claims(did),
                &alice.keyring.next,
            ),
        ),
        ("issuer is not subject", sign_json(&header(&kid), &alien, key)),
        (
            "for another server",
            sign_json(
                &header(&kid),
                &AssertionClaims { aud: Audience::One("https://evil.example".into()), ..claims(did) },
                key,
            ),
        ),
        (
            "lives an hour",
            sign_json(&header(&kid), &AssertionClaims { exp: now + 3_600, ..claims(did) }, key),
        ),
        (
            "ends before it begins",
            sign_json(&header(&kid), &AssertionClaims { exp: now - 1, ..claims(did) }, key),
        ),
        ("no jti", sign_json(&header(&kid), &AssertionClaims { jti: String::new(), ..claims(did) }, key)),
        ("no kid", sign_json(&Header::typ("JWT"), &claims(did), key)),
        ("an access token", sign_json(&Header::typ("at+jwt").kid(kid.clone()), &claims(did), key)),
        ("a proof", sign_json(&Header::typ("dpop+jwt").kid(kid.clone()), &claims(did), key)),
        ("an unknown identity", prove::login_assertion(&q_testkit::identity("nobody").0, key, ORIGIN, &env)),
    ];
    let client = house.anonymous();
    let mut heard = std::collections::BTreeSet::new();
    for (name, assertion) in rows {
        let mut refused = problem(client.call::<IssueToken>(&login(&assertion)).await);
        assert_eq!(refused.code, "invalid_grant", "{name}");
        refused.trace_id = None;
        heard.insert(serde_json::to_string(&refused).unwrap());
    }
    assert_eq!(heard.len(), 1, "every refusal sounds alike");
    for seconds in [-601, 601] {
        let late = AssertionClaims { iat: now + seconds, exp: now + seconds + 60, ..claims(did) };
        let refused = problem(client.call::<IssueToken>(&login(&sign_json(&header(&kid), &late, key))).await);
        assert_eq!((refused.code.as_str(), refused.status), ("SQUID_CLOCK_SKEW", 401));
        assert_eq!(refused.extra["serverTime"], env.now().to_string());
    }
    let good = || sign_json(&header(&kid), &claims(did), key);
    for (change, code) in [
        (TokenRequest { grant_type: "password".into(), ..login(&good()) }, "unsupported_grant_type"),
        (TokenRequest { scope: Some("a  b".into()), ..login(&good()) }, "invalid_scope"),
        (TokenRequest { scope: Some(String::new()), ..login(&good()) }, "invalid_scope"),
        (TokenRequest { assertion: None, ..login("") }, "invalid_grant"),
    ] {
        assert_eq!(problem(client.call::<IssueToken>(&change).await).code, code);
    }
    assert!(client.call::<IssueToken>(&login(&good())).await.is_ok(), "the unbent one logs in");
    let actions = house.audited().await;
    assert_eq!(
        actions.iter().filter(|action| *action == "AUTH_FAILURE").count(),
        1,
        "of a key that is Alice's"
    );
    house.world.close().await;
});

on_each_world!(a_bound_token_works_with_its_key_only, async |world: World| {
    let house = house(world).await;
    if house.world.way != Way::Http {
        return house.world.close().await; // proofs are headers, and there are none in process
    }
    let alice = house.owner("Alice").await;
    let env = house.world.env.clone();
    let (did, key) = (alice.keyring.did.clone(), alice.keyring.current.clone());
    let squid = Arc::new(HttpTransport::new(house.world.url("squid").unwrap()));
    let login = Login::new(squid, ORIGIN, did, key.clone(), env.clone());
    assert_eq!(login.log_in(false).await.unwrap().token_type, "Bearer");
    let response = login.log_in(true).await.unwrap();
    assert_eq!(response.token_type, "DPoP");
    let login = Arc::new(login);
    let token = login.token().await.unwrap();
    assert_eq!(login.token().await.unwrap(), token, "kept while it is good");
    house.world.clock.advance(Span::seconds(541));
    assert_ne!(login.token().await.unwrap(), token, "and renewed before it ends");

    let module = house.module().await;
    let bases = vec![format!("{ORIGIN}/qwallet")];
    let target = Target { bases: &bases, method: "GET", path: "/wallets", module: "qwallet" };
    let credential = DpopCredential::new(key, &bases[0], login, env);
    let mut request = Request::builder().uri("/wallets").body(bytes::Bytes::new()).unwrap();
    credential.attach(&mut request).await.unwrap();
    let (head, _) = request.into_parts();
    let caller = module.authenticate(&head, target).unwrap();
    assert!(caller.principal().unwrap().is_sender_bound);
    let mut stolen = head.clone();
    stolen.headers.remove("dpop");
    assert_eq!(module.authenticate(&stolen, target).unwrap_err().code, "invalid_dpop_proof");
    let bearer = head.headers[header::AUTHORIZATION].to_str().unwrap().replace("DPoP", "Bearer");
    stolen.headers.insert(header::AUTHORIZATION, bearer.parse().unwrap());
    assert_eq!(module.authenticate(&stolen, target).unwrap_err().code, "invalid_dpop_proof");
    house.world.close().await;
});

on_each_world!(a_form_logs_in_as_the_standard_says, async |world: World| {
    let house = house(world).await;
    let alice = house.owner("Alice").await;
    let assertion =
        prove::login_assertion(&alice.keyring.did, &alice.keyring.current, ORIGIN, &house.world.env);
    let form = format!(
        "grant_type={}&assertion={assertion}&resource=https%3A%2F%2Fq.example",
        JWT_BEARER_GRANT.replace(':', "%3A")
    );
    let answer = house
        .anonymous()
        .send("POST", "/oauth2/token", form.into(), "application/x-www-form-urlencoded")
        .await
        .unwrap();
    assert_eq!(answer.status(), 200, "{:?}", answer.body());
    let body: serde_json::Value = serde_json::from_slice(answer.body()).unwrap();
    assert_eq!(body["token_type"], "Bearer");
    house.world.close().await;
});
