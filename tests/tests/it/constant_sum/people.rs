//! Who takes part, and how they reach the program that runs now.

use std::{collections::BTreeMap, sync::Arc, time::Duration, time::Instant};

use bytes::Bytes;
use http::{HeaderValue, Request, header};
use q_auth::prove::dpop_proof;
use q_contract::{CallError, Client, Credential, HttpTransport};
use q_core::Env;
use q_did::Keyring;
use q_tests::{Instance, Payer};

/// Everybody with a wallet: the demonstration's two, and four more.
pub const NAMES: [&str; 6] = ["alice", "bob", "carol", "dave", "erin", "frank"];
/// Whose payments above [`APPROVED_ABOVE`] two of [`APPROVERS`] have to approve.
pub const GUARDED: usize = 4;
/// They are the first three.
pub const APPROVERS: usize = 3;
const APPROVED_ABOVE: &str = "0.005";
/// Whose wallet is frozen at times, and let go on by two operators.
pub const FROZEN_AT_TIMES: usize = 5;
/// What the demonstration's faucet gives each.
const MONEY: &str = "40";
/// Who reads the whole books.
pub const OPERATOR: &str = "operator";
/// The second operator.
const WARDEN: &str = "warden";
/// Tokens live ten minutes; they are asked for again long before.
const TOKEN_AGE_MAX: Duration = Duration::from_mins(4);

/// Those who take part, and two operators.
pub struct People(pub Vec<Payer>, pub [Payer; 2]);

impl People {
    /// Makes identities, wallets and money.
    pub fn settle_in(house: &Instance) -> Self {
        let run = |arguments: &[&str]| {
            let outcome = house.q(arguments);
            assert_eq!(outcome.code, Some(0), "{arguments:?}: {}", outcome.complained);
        };
        for name in &NAMES[2..] {
            run(&["id", "new", name]);
            run(&["wallet", "open", "--as", name]);
        }
        for name in NAMES {
            run(&["wallet", "faucet", MONEY, "--as", name]);
        }
        run(&["id", "new", WARDEN]);
        run(&["id", "appoint", WARDEN]);
        for name in [OPERATOR, WARDEN] {
            run(&["wallet", "open", "--as", name]);
        }
        let mut rule = vec!["wallet", "approvals", "set", "--above", APPROVED_ABOVE, "--required", "2"];
        rule.extend(NAMES[..APPROVERS].iter().flat_map(|name| ["--approver", name]));
        run(&[&rule[..], &["--as", NAMES[GUARDED]]].concat());
        let people = NAMES.iter().map(|name| Payer::of(house, name)).collect();
        Self(people, [OPERATOR, WARDEN].map(|name| Payer::of(house, name)))
    }
}

/// One life of the program, from a start to a kill.
#[derive(Clone)]
pub struct Life {
    url: String,
    tokens: Arc<BTreeMap<&'static str, String>>,
    tokens_from: Instant,
    operator: Arc<Keyring>,
}

/// A token, and the key it is bound to where it is.
struct Token {
    token: String,
    bound: Option<(Arc<Keyring>, String)>,
}

impl Credential for Token {
    fn attach<'a>(
        &'a self,
        request: &'a mut Request<Bytes>,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<(), CallError>> + Send + 'a>> {
        let scheme = if self.bound.is_some() { "DPoP" } else { "Bearer" };
        let text = format!("{scheme} {}", self.token);
        let value = HeaderValue::from_str(&text).expect("tokens are ASCII");
        request.headers_mut().insert(header::AUTHORIZATION, value);
        if let Some((keyring, url)) = &self.bound {
            let path = request.uri().path().to_owned();
            let (env, method) = (Env::system(), request.method().clone());
            let proof = dpop_proof(
                &keyring.current,
                method.as_str(),
                &format!("{url}{path}"),
                Some(&self.token),
                &env,
            );
            let value = HeaderValue::from_str(&proof).expect("proofs are ASCII");
            request.headers_mut().insert("dpop", value);
        }
        Box::pin(async { Ok(()) })
    }
}

impl Life {
    /// The present one; tokens outlive a kill.
    pub fn of(house: &Instance, before: Option<&Self>) -> Self {
        let url = house.url("qwallet");
        if let Some(before) = before.filter(|before| before.tokens_from.elapsed() < TOKEN_AGE_MAX) {
            return Self { url, ..before.clone() };
        }
        let keys = house.scratch().join("q-data.keys/keyring").join(format!("{OPERATOR}.json"));
        let operator = serde_json::from_slice(&std::fs::read(keys).expect("a keyring file"));
        let token = |name: &'static str| {
            let token = house.q(&["auth", "token", "--as", name, "--json"]).json();
            (name, token["accessToken"].as_str().expect("a token").to_owned())
        };
        let mut tokens: BTreeMap<_, _> = NAMES.into_iter().map(token).collect();
        // An operator proves with each request that the key is at hand.
        let headers = house.q(&["auth", "headers", "GET", &url, "--as", OPERATOR, "--json"]).json();
        let bound = headers["Authorization"].as_str().and_then(|text| text.strip_prefix("DPoP "));
        tokens.insert(OPERATOR, bound.expect("a bound token").to_owned());
        let operator = Arc::new(operator.expect("a keyring"));
        Self { url, tokens: Arc::new(tokens), tokens_from: Instant::now(), operator }
    }

    /// A client of the wallet, for `name` or for nobody.
    pub fn client(&self, name: Option<&str>) -> Client {
        let client = Client::new(Arc::new(HttpTransport::new(&self.url))).within(Duration::from_secs(20));
        let Some(name) = name else { return client };
        let bound = (name == OPERATOR).then(|| (self.operator.clone(), self.url.clone()));
        client.with_credential(Arc::new(Token { token: self.tokens[name].clone(), bound }))
    }
}
