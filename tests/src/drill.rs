//! What the fault drills have in common.
//!
//! A drill that passed prints one line that begins with `drill:`; `cargo xtask drill faults` shows these.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, header};
use q_contract::{CallError, Client, Credential, HttpTransport};
use serde_json::Value;

use crate::Instance;

/// Settings of an instance whose clients all come from one address.
pub const UNLIMITED: [(&str, &str); 2] =
    [("Q_LIMITS_PER_ADDRESS_PER_MINUTE", "0"), ("Q_LIMITS_PER_IDENTITY_PER_MINUTE", "0")];
/// How long a drill waits for what must come.
const PATIENCE: Duration = Duration::from_secs(90);

/// Says that a drill passed, and what held.
#[expect(clippy::print_stdout, reason = "the record of a drill is what it prints")]
pub fn passed(drill: &str, held: &str) {
    println!("drill: {drill}: {held}");
}

/// Ends a drill: everything every module keeps is in order.
///
/// # Panics
/// When `q verify` finds something.
pub fn sound(house: &Instance, drill: &str, held: &str) {
    let verified = house.q(&["verify"]);
    assert_eq!(verified.code, Some(0), "{drill}: {}{}", verified.said, verified.complained);
    passed(drill, &format!("{held}; q verify clean"));
}

/// Asks until `is_so`; each question takes a process or a request its time.
///
/// # Panics
/// When it does not come to pass.
pub async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let asking = async {
        while !is_so().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("{what} does not come to pass"));
}

/// An identity that was signed in before the fault, and reads its wallet during it.
pub struct Reader {
    client: Client,
    path: String,
}

struct Bearer(String);

impl Credential for Bearer {
    fn attach<'a>(
        &'a self,
        request: &'a mut Request<Bytes>,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<(), CallError>> + Send + 'a>> {
        let value = HeaderValue::from_str(&format!("Bearer {}", self.0)).expect("a token is ASCII");
        request.headers_mut().insert(header::AUTHORIZATION, value);
        Box::pin(async { Ok(()) })
    }
}

impl Reader {
    /// Signs `name` in.
    ///
    /// # Panics
    /// When it cannot be signed in.
    pub fn of(house: &Instance, name: &str) -> Self {
        let token = house.q(&["auth", "token", "--as", name, "--json"]).json();
        let token = token["accessToken"].as_str().expect("a token").to_owned();
        let did = crate::Payer::of(house, name).did().to_string();
        let url = house.url("qwallet");
        Self::with(&url, token, &did)
    }

    /// The identity `did` with a token at hand, asking the wallet at `url`.
    pub fn with(url: &str, token: String, did: &str) -> Self {
        let client = Client::new(Arc::new(HttpTransport::new(url)))
            .with_credential(Arc::new(Bearer(token)))
            .within(Duration::from_secs(5));
        Self { client, path: format!("/wallets/{did}") }
    }

    /// The status and body of a look at its wallet; `None` when no answer came.
    pub async fn look(&self) -> Option<(u16, Value)> {
        self.get(&self.path).await
    }

    /// The status and body of another question; `None` when no answer came.
    pub async fn get(&self, path: &str) -> Option<(u16, Value)> {
        let answer = self.client.send("GET", path, Bytes::new(), "").await.ok()?;
        Some((answer.status().as_u16(), serde_json::from_slice(answer.body()).unwrap_or_default()))
    }
}

impl Instance {
    /// The status and body of `GET path` at `module`, asked by nobody; `None` when no answer came.
    pub async fn get(&self, module: &str, path: &str) -> Option<(u16, String)> {
        let client =
            Client::new(Arc::new(HttpTransport::new(self.url(module)))).within(Duration::from_secs(5));
        let answer = client.send("GET", path, Bytes::new(), "").await.ok()?;
        Some((answer.status().as_u16(), String::from_utf8_lossy(answer.body()).into_owned()))
    }
}
