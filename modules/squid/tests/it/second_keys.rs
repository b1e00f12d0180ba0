//! Second keys, and logins with two.

use q_auth::prove::login_assertion;
use q_contract::{CallError, Client};
use q_core::{
    Caller, Did, Principal, Span,
    caller::{ACR_ONE_KEY, ACR_TWO_KEYS},
};
use q_did::{Keyring, RecoveryPhrase};
use q_jose::SecretKey;
use q_testkit::{World, on_each_world};
use squid_api::{
    AddSecondKey, AddSecondKeyRequest, IssueToken, ListSecondKeys, NoFields, RemoveSecondKey,
    ResetSecondKeys, SecondKey, SecondKeyRequest, StatusRequest, TokenRequest, TokenResponse,
};

use crate::support::{House, ORIGIN, house, login, problem};

impl House {
    /// A client of `did` whose login had the strength `acr` and is `age` seconds old.
    fn proved(&self, did: &Did, acr: &str, age: i64) -> Client {
        let at = self.world.env.now() - Span::seconds(age);
        let principal = Principal { acr: Some(acr.into()), ..Principal::new(did.clone(), at) };
        self.world.client_as("squid", Caller::Identity(principal))
    }

    fn assertion(&self, did: &Did, key: &SecretKey) -> String {
        login_assertion(did, key, ORIGIN, &self.world.env)
    }

    async fn enrol(&self, client: &Client, did: &Did, key: &SecretKey) -> Result<SecondKey, CallError> {
        let assertion = self.assertion(did, key);
        client.call::<AddSecondKey>(&AddSecondKeyRequest { assertion }).await
    }

    async fn two_keys(&self, keyring: &Keyring, second: Option<String>) -> Result<TokenResponse, CallError> {
        let request = TokenRequest {
            acr_values: Some(format!("urn:other {ACR_TWO_KEYS}")),
            second_assertion: second,
            ..login(&self.assertion(&keyring.did, &keyring.current))
        };
        self.anonymous().call::<IssueToken>(&request).await
    }
}

fn code<T: std::fmt::Debug>(outcome: Result<T, CallError>) -> String {
    problem(outcome).code
}

on_each_world!(two_keys_make_a_stronger_login, async |world: World| {
    let house = house(world).await;
    let (alice, bob) = (house.owner("Alice").await, house.owner("Bob").await);
    let did = &alice.keyring.did;
    let second = SecretKey::generate(&house.world.env);
    let module = house.module().await;
    assert_eq!(code(house.two_keys(&alice.keyring, None).await), "unmet_authentication_requirements");
    let before = house.assertion(did, &second);
    assert_eq!(code(house.two_keys(&alice.keyring, Some(before)).await), "invalid_grant", "not enrolled");
    house.enrol(&house.proved(did, ACR_ONE_KEY, 0), did, &second).await.unwrap();

    let good = house.assertion(did, &second);
    let token = house.two_keys(&alice.keyring, Some(good.clone())).await.unwrap();
    let claims = module.check_token(&token.access_token).unwrap();
    assert_eq!(claims.acr.as_deref(), Some(ACR_TWO_KEYS));
    assert_eq!(claims.authenticated_at(), claims.issued_at());
    assert!(token.access_token.len() <= 1_000, "{} bytes", token.access_token.len());
    let own = house.token(&alice.keyring).await.unwrap();
    assert_eq!(module.check_token(&own).unwrap().acr.as_deref(), Some(ACR_ONE_KEY));

    let first = house.assertion(did, &alice.keyring.current);
    let other = house.assertion(&bob.keyring.did, &bob.keyring.current);
    let alien = SecretKey::generate(&house.world.env);
    let crossed = login_assertion(&bob.keyring.did, &second, ORIGIN, &house.world.env);
    for (name, bent) in [
        ("used before", good),
        ("the first key once more", first),
        ("somebody else's", other),
        ("a key nobody enrolled", house.assertion(did, &alien)),
        ("in somebody else's name", crossed),
        ("for another server", login_assertion(did, &second, "https://other.example", &house.world.env)),
        ("no assertion", "x".to_owned()),
    ] {
        assert_eq!(code(house.two_keys(&alice.keyring, Some(bent)).await), "invalid_grant", "{name}");
    }
    // One text for both is one proof.
    let assertion = house.assertion(did, &second);
    let only = TokenRequest {
        acr_values: Some(ACR_TWO_KEYS.into()),
        second_assertion: Some(assertion.clone()),
        ..login(&assertion)
    };
    let only = house.anonymous().call::<IssueToken>(&only).await;
    assert_eq!(code(only), "invalid_grant", "a second key logs nobody in");
    house.world.close().await;
});

on_each_world!(a_thief_of_the_first_key_makes_no_second, async |world: World| {
    let house = house(world).await;
    let alice = house.owner("Alice").await;
    let did = &alice.keyring.did;
    let (second, third) = (SecretKey::generate(&house.world.env), SecretKey::generate(&house.world.env));
    let fresh = house.proved(did, ACR_ONE_KEY, 0);
    let stale = house.proved(did, ACR_ONE_KEY, 301);
    assert_eq!(code(house.enrol(&stale, did, &second).await), "MFA_REQUIRED");
    for own in [&alice.keyring.current, &alice.keyring.next, &alice.phrase.key()] {
        assert_eq!(code(house.enrol(&fresh, did, own).await), "SQUID_SECOND_KEY_REFUSED", "one of the first");
    }
    let alien = house.owner("Bob").await.keyring;
    let of_bob = AddSecondKeyRequest { assertion: house.assertion(&alien.did, &second) };
    assert_eq!(code(fresh.call::<AddSecondKey>(&of_bob).await), "SQUID_SECOND_KEY_REFUSED");
    let enrolled = house.enrol(&fresh, did, &second).await.unwrap();
    assert_eq!(enrolled.key, second.public().to_multikey());

    assert_eq!(code(house.enrol(&fresh, did, &third).await), "MFA_REQUIRED", "the first key alone adds none");
    let named = SecondKeyRequest { key: enrolled.key.clone() };
    assert_eq!(code(fresh.call::<RemoveSecondKey>(&named).await), "MFA_REQUIRED", "and takes none away");
    let stale = house.proved(did, ACR_TWO_KEYS, 301);
    assert_eq!(code(stale.call::<RemoveSecondKey>(&named).await), "MFA_REQUIRED");
    let strong = house.proved(did, ACR_TWO_KEYS, 300);
    assert_eq!(house.enrol(&strong, did, &second).await.unwrap().created_at, enrolled.created_at, "again");
    house.enrol(&strong, did, &third).await.unwrap();
    for _ in 0..3 {
        house.enrol(&strong, did, &SecretKey::generate(&house.world.env)).await.unwrap();
    }
    let sixth = house.enrol(&strong, did, &SecretKey::generate(&house.world.env)).await;
    assert_eq!(code(sixth), "SQUID_SECOND_KEY_LIMIT");
    strong.call::<RemoveSecondKey>(&named).await.unwrap();
    assert_eq!(code(strong.call::<RemoveSecondKey>(&named).await), "SQUID_SECOND_KEY_NOT_FOUND");
    let odd = SecondKeyRequest { key: "z6Mk".into() };
    assert_eq!(code(strong.call::<RemoveSecondKey>(&odd).await), "SQUID_SECOND_KEY_NOT_FOUND");
    assert_eq!(fresh.call::<ListSecondKeys>(&NoFields {}).await.unwrap().items.len(), 4);

    // Who lost them asks an operator.
    let (operator, _) = q_testkit::identity("operator");
    house.world.make_operator(&operator);
    let reset = StatusRequest { did: did.clone(), reason: "the stick fell into the sea".into() };
    house.client(&operator).call::<ResetSecondKeys>(&reset).await.unwrap();
    assert!(fresh.call::<ListSecondKeys>(&NoFields {}).await.unwrap().items.is_empty());
    let words = RecoveryPhrase::generate(&house.world.env);
    house.enrol(&fresh, did, &words.key()).await.unwrap();
    assert!(house.audited().await.contains(&"SECOND_KEYS_RESET".to_owned()));
    house.world.close().await;
});
