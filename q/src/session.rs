//! One identity of the keyring talking to the running instance.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::Context as _;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderValue, Request, header};
use q_auth::{DpopCredential, TokenSource};
use q_contract::{CallError, Client, Credential, HttpTransport, Replicas};
use q_core::{Did, Env, Span, caller::STEP_UP_FRESH};
use q_did::Keyring;
use q_jose::SecretKey;
use qwallet_api::WalletId;
use squid::remote::Login;
use squid_api::{SwitchIdentity, SwitchRequest, TokenResponse};

use crate::{
    layout::Layout,
    output::{exit, unknown, with_code},
    running::{self, Running},
};

/// How long a command waits for an answer; verifying or exporting a large store takes a while.
const PATIENCE: Duration = Duration::from_mins(10);
/// The characters of a wallet reference.
const WALLET_REF_LENGTH: usize = 26;
/// How long a command waits for a module that has just started and does not know yet whom to believe.
const START: Duration = Duration::from_secs(15);

/// A running instance and an identity that acts there.
pub struct Session {
    /// Clock and entropy.
    pub env: Env,
    /// The folders.
    pub layout: Layout,
    /// The identity's keys.
    pub keyring: Keyring,
    running: Running,
    tokens: Arc<Login>,
}

impl Session {
    /// The identity `name` at the instance that runs on `data`.
    pub fn open(data: &Path, name: &str) -> anyhow::Result<Self> {
        let layout = Layout::of(data);
        let running = require_running(&layout)?;
        Self::with(layout.clone(), running, layout.read_keyring(name)?)
    }

    /// An identity whose keys are at hand, at `running`.
    pub fn with(layout: Layout, running: Running, keyring: Keyring) -> anyhow::Result<Self> {
        let env = Env::system();
        let squid = running.modules.get("squid").context("the instance runs without squid")?;
        let tokens = Login::new(
            Arc::new(HttpTransport::new(squid)),
            &running.origin,
            keyring.did.clone(),
            keyring.current.clone(),
            env.clone(),
        );
        let tokens = match layout.kept_stepped_up(&keyring.did, env.now()) {
            Some((token, ends_at)) => tokens.going_on_with(token, ends_at),
            None => tokens,
        };
        Ok(Self { env, layout, keyring, running, tokens: Arc::new(tokens) })
    }

    /// Who acts.
    pub fn did(&self) -> &Did {
        &self.keyring.did
    }

    /// What whoever acts is called here.
    pub fn name(&self) -> String {
        self.name_of(self.did().as_str())
    }

    /// What `who` is called in the keyring; a DID whose keys are elsewhere, and anything else, stays as it is.
    pub fn name_of(&self, who: &str) -> String {
        let name = who.parse().ok().and_then(|did| self.layout.name_of(&did));
        name.unwrap_or_else(|| who.to_owned())
    }

    /// What `who` is called in the keyring, and who that is; what has no name there stays as it is.
    pub fn named(&self, who: &str) -> String {
        let name = self.name_of(who);
        if name == who { name } else { format!("{name} ({who})") }
    }

    /// How a command that is for `who` to give ends: with its name here, or with who it is.
    pub fn by(&self, who: &str) -> String {
        let name = self.name_of(who);
        if name == who { format!(", by {who}") } else { format!(" --as {name}") }
    }

    /// A client of `module` that proves each request with the identity's key.
    pub fn client(&self, module: &str) -> anyhow::Result<Client> {
        let base = self.base(module)?;
        let replicas = self.running.replicas.get(module).map_or(&[][..], Vec::as_slice);
        // Several replicas know themselves by one name: that behind the front door.
        let behind_the_door = format!("{}/{module}", self.running.origin);
        let proved = if replicas.len() > 1 { behind_the_door.as_str() } else { base };
        let credential =
            DpopCredential::new(self.keyring.current.clone(), proved, self.tokens.clone(), self.env.clone());
        Ok(Client::new(Arc::new(Replicas::new(module, replicas)))
            .with_credential(Arc::new(credential))
            .within(PATIENCE)
            .waiting_for_start(START))
    }

    /// A client of the one replica of `module` at `url`, which need not be the one that would be asked otherwise.
    pub fn client_at(&self, module: &str, url: &str) -> Client {
        let proved = format!("{}/{module}", self.running.origin);
        let (key, tokens) = (self.keyring.current.clone(), self.tokens.clone());
        let credential = DpopCredential::new(key, &proved, tokens, self.env.clone());
        Client::new(Arc::new(HttpTransport::new(url))).with_credential(Arc::new(credential)).within(PATIENCE)
    }

    /// A client of `module` without credentials.
    pub fn anonymous(&self, module: &str) -> anyhow::Result<Client> {
        self.base(module)?;
        let replicas = self.running.replicas.get(module).map_or(&[][..], Vec::as_slice);
        Ok(Client::new(Arc::new(Replicas::new(module, replicas))).within(PATIENCE))
    }

    /// A fresh idempotency key.
    pub fn fresh_key(&self) -> String {
        q_core::hash::hex(&self.env.random::<16>())
    }

    /// A token; bound to the identity's key, or a plain bearer token.
    pub async fn token(&self, is_bound: bool) -> Result<String, CallError> {
        if is_bound { self.tokens.token().await } else { Ok(self.tokens.log_in(false).await?.access_token) }
    }

    /// Logs in with a second key, and lets the commands of the next minutes go on with that login.
    pub async fn step_up(&self, second: &SecretKey) -> anyhow::Result<()> {
        let began_at = self.env.now();
        let response = self.tokens.step_up(second).await?;
        // Somewhat less than it counts for, so that no command sets out with what has run out on arrival.
        let ends_at = began_at + STEP_UP_FRESH - Span::seconds(10);
        self.layout.keep_stepped_up(self.did(), &response.access_token, ends_at)
    }

    /// A token of a sub-identity of whoever acts; bound to the key of whoever acts, or one that any holder can use.
    pub async fn switched(&self, to: &Did, is_bound: bool) -> anyhow::Result<TokenResponse> {
        let client = if is_bound {
            self.client("squid")?
        } else {
            let token = self.token(false).await?;
            self.anonymous("squid")?.with_credential(Arc::new(Bearer(token)))
        };
        Ok(client.call::<SwitchIdentity>(&SwitchRequest { to: to.clone(), scope: None }).await?)
    }

    /// The origin of the instance, for whom statements are made.
    pub fn origin(&self) -> &str {
        self.running.origin.trim_end_matches('/')
    }

    /// The host of the origin, where logs are served.
    pub fn host(&self) -> &str {
        self.origin().split_once("://").map_or(self.origin(), |(_, host)| host)
    }

    /// The DID behind `who`: a keyring name or a DID itself.
    pub fn identity(&self, who: &str) -> anyhow::Result<Did> {
        if let Ok(did) = who.parse() {
            return Ok(did);
        }
        Ok(self.layout.read_keyring(who)?.did)
    }

    /// The wallet of whoever is named, as [`Session::wallet_of`] names it; that of whoever acts where nobody is.
    pub fn own_or(&self, who: Option<&str>) -> anyhow::Result<String> {
        who.map_or_else(|| Ok(self.did().to_string()), |who| self.wallet_of(who))
    }

    /// How the instance names the wallet of `who`: the DID behind a keyring name, or a DID, wallet id or wallet reference
    /// as it is. What can be none of these was mistyped.
    pub fn wallet_of(&self, who: &str) -> anyhow::Result<String> {
        let is_name = who.starts_with("did:")
            || who.parse::<WalletId>().is_ok()
            || who.len() == WALLET_REF_LENGTH && who.starts_with('Q');
        if is_name {
            return Ok(who.to_owned());
        }
        self.identity(who).map(|did| did.to_string())
    }

    fn base(&self, module: &str) -> anyhow::Result<&str> {
        let known = || self.running.modules.keys().cloned().collect::<Vec<_>>();
        let base = self.running.modules.get(module);
        base.map(String::as_str).ok_or_else(|| unknown("module", module, &known(), "`q status`"))
    }
}

/// A token that any holder can use.
struct Bearer(String);

impl Credential for Bearer {
    fn attach<'a>(&'a self, request: &'a mut Request<Bytes>) -> BoxFuture<'a, Result<(), CallError>> {
        let value = HeaderValue::from_str(&format!("Bearer {}", self.0));
        let outcome = value.map_err(|error| CallError::NotReadable(error.to_string()));
        let outcome = outcome.map(|value| drop(request.headers_mut().insert(header::AUTHORIZATION, value)));
        Box::pin(std::future::ready(outcome))
    }
}

/// The instance that runs on this layout, or an error that says how to start it.
pub fn require_running(layout: &Layout) -> anyhow::Result<Running> {
    running::find(layout)?.ok_or_else(|| {
        let data = layout.data.display();
        with_code(exit::UNREACHABLE, format!("no instance runs on {data}; `q up --data {data}` starts it"))
    })
}
