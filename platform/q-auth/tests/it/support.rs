//! A server's check with a frozen clock, and the keys of its issuer, of Alice and of a service.

use std::{
    sync::Arc,
    sync::atomic::{AtomicI64, AtomicU64, Ordering},
};

use http::{Request, request::Parts};
use q_auth::{
    Authenticator, Claims, Expected, Revocations,
    claims::{Audience, Confirmation, House},
    issue, prove,
};
use q_contract::{Authenticate, Problem, Target};
use q_core::{Caller, Clock, Did, Entropy, Env, Timestamp, hash::sha256};
use q_jose::{Jwk, JwkSet, SecretKey, thumbprint};

pub(crate) const ORIGIN: &str = "http://qnode.localhost:8080";
pub(crate) const KID: &str = "2026-06";

#[derive(Default)]
pub(crate) struct Bench {
    now: AtomicI64,
    drawn: AtomicU64,
}

impl Clock for Bench {
    fn now(&self) -> Timestamp {
        Timestamp::from_seconds(self.now.load(Ordering::SeqCst))
    }
}

impl Entropy for Bench {
    fn fill(&self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(32) {
            let drawn = self.drawn.fetch_add(1, Ordering::SeqCst);
            chunk.copy_from_slice(&sha256(&drawn.to_be_bytes())[..chunk.len()]);
        }
    }
}

pub(crate) struct World {
    pub(crate) bench: Arc<Bench>,
    pub(crate) env: Env,
    pub(crate) server: Authenticator,
    pub(crate) issuer: SecretKey,
    pub(crate) alice_key: SecretKey,
    pub(crate) alice: Did,
    pub(crate) bases: Vec<String>,
}

pub(crate) fn did(seed: u8) -> Did {
    let key = SecretKey::from_seed(&[seed; 32]).public();
    Did::squid(&q_did::entry::key_hash(&key)).unwrap()
}

/// A server at 2026-06-01T00:00:00Z that believes the issuer's key.
pub(crate) fn world() -> World {
    let bench = Arc::new(Bench::default());
    bench.now.store(1_780_272_000, Ordering::SeqCst);
    let env = Env { clock: bench.clone(), entropy: bench.clone() };
    let issuer = SecretKey::from_seed(&[1; 32]);
    let expected = Expected { issuer: ORIGIN.into(), audience: ORIGIN.into() };
    let server = Authenticator::new(env.clone(), expected, Arc::new(Revocations::new()));
    server.set_keys(&JwkSet { keys: vec![Jwk::from(issuer.public()).published(KID)] });
    World {
        bench,
        env,
        server,
        issuer,
        alice_key: SecretKey::from_seed(&[2; 32]),
        alice: did(2),
        bases: vec![ORIGIN.to_owned() + "/qwallet", "http://127.0.0.1:3000".into()],
    }
}

impl World {
    pub(crate) fn now(&self) -> i64 {
        self.env.now().seconds()
    }

    pub(crate) fn advance(&self, seconds: i64) {
        self.bench.now.fetch_add(seconds, Ordering::SeqCst);
    }

    /// Alice's claims, bound to her key.
    pub(crate) fn claims(&self) -> Claims {
        Claims {
            iss: ORIGIN.into(),
            sub: self.alice.clone(),
            aud: Audience::One(ORIGIN.into()),
            exp: self.now() + 600,
            iat: self.now(),
            nbf: Some(self.now()),
            jti: format!("jti-{}", self.now()),
            client_id: "q".into(),
            scope: Some("wallet:read wallet:write".into()),
            sid: Some("sid-1".into()),
            auth_time: Some(self.now()),
            acr: None,
            amr: vec!["pop".into()],
            cnf: Some(Confirmation { jkt: thumbprint(&self.alice_key.public()) }),
            q: House { typ: Some("ROOT".into()), lvl: Some("UNVERIFIED".into()), ..House::default() },
        }
    }

    pub(crate) fn bearer_claims(&self) -> Claims {
        Claims { cnf: None, ..self.claims() }
    }

    pub(crate) fn sign(&self, claims: &Claims) -> String {
        issue::access_token(claims, KID, &self.issuer)
    }

    pub(crate) fn proof(&self, method: &str, path: &str, token: &str) -> String {
        let url = format!("{}{path}", self.bases[0]);
        prove::dpop_proof(&self.alice_key, method, &url, Some(token), &self.env)
    }

    /// `GET /wallets` with these headers.
    pub(crate) fn ask(&self, headers: &[(&str, &str)]) -> Result<Caller, Problem> {
        let target = Target { bases: &self.bases, method: "GET", path: "/wallets", module: "qwallet" };
        self.server.authenticate(&head(headers), target)
    }

    /// The same with a bearer token.
    pub(crate) fn ask_with(&self, token: &str) -> Result<Caller, Problem> {
        self.ask(&[("authorization", &format!("Bearer {token}"))])
    }
}

pub(crate) fn head(headers: &[(&str, &str)]) -> Parts {
    let mut request = Request::builder().uri("/wallets?limit=1").header("host", "evil.example");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}
