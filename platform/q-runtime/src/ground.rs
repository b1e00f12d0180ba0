//! What a module is given to stand on.

use std::{
    collections::BTreeSet,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use q_contract::{Client, Credential, HttpTransport, InProcess, LocalHandler, Transport};
use q_core::{Caller, Did, Env, Timestamp, caller::Principal};
use q_db::Db;
use q_http::Check;
use q_jose::{SecretKey, jws};

use crate::{
    Settings,
    located::{Locate, Located},
};

/// Which instance this is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// The instance's own identity: audience and issuer of what is signed here.
    pub did: Did,
    /// The origin under which the front door is known, such as `http://qnode.localhost:8080`.
    pub origin: String,
    /// Whether conveniences for a first look are switched on, such as the faucet of test money.
    pub is_demo: bool,
}

/// Everything a module is handed when it opens.
#[derive(Clone)]
pub struct Ground {
    /// Clock and entropy.
    pub env: Env,
    /// The module's own store.
    pub db: Db,
    /// Which instance this is.
    pub instance: Instance,
    /// The other modules.
    pub peers: Peers,
    /// What the module signs with, so that strangers can check what it says.
    pub signer: Signer,
    /// The module's section of the configuration.
    pub settings: Settings,
}

/// The service identity of a module, and its present key.
#[derive(Clone)]
pub struct Signer {
    did: Did,
    key: SecretKey,
}

impl Signer {
    /// The service identity `did`, which holds `key` now.
    pub const fn new(did: Did, key: SecretKey) -> Self {
        Self { did, key }
    }

    /// Who signs.
    pub const fn did(&self) -> &Did {
        &self.did
    }

    /// The DID URL of the present key, as identities' documents name keys: `<did>#<multikey>`.
    pub fn key_id(&self) -> String {
        format!("{}#{}", self.did, self.key.public().to_multikey())
    }

    /// A compact JWS over `payload`. Each kind of statement has a `typ` of its own, so that none passes for another.
    pub fn sign(&self, typ: &str, payload: &[u8]) -> String {
        jws::sign(&jws::Header::typ(typ).kid(self.key_id()), payload, &self.key)
    }
}

/// Where each module is: a slot of this process, filled when the module is up, or another process.
#[derive(Clone, Default)]
pub struct Directory {
    slots: Arc<parking::Slots>,
    elsewhere: Option<(Arc<BTreeSet<String>>, Locate)>,
}

mod parking {
    use super::{Arc, LocalHandler, OnceLock};
    use std::{collections::BTreeMap, sync::Mutex};

    /// The slots of modules in this process, by name.
    #[derive(Default)]
    pub(super) struct Slots(Mutex<BTreeMap<String, Arc<OnceLock<LocalHandler>>>>);

    impl Slots {
        pub(super) fn slot(&self, module: &str) -> Arc<OnceLock<LocalHandler>> {
            let mut slots = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            slots.entry(module.to_owned()).or_default().clone()
        }
    }
}

impl Directory {
    /// A directory in which the modules `elsewhere` run in other processes, where `locate` finds them, and all
    /// others are expected in this one.
    pub fn new(elsewhere: BTreeSet<String>, locate: Locate) -> Self {
        Self { slots: Arc::default(), elsewhere: Some((Arc::new(elsewhere), locate)) }
    }

    /// Says that `module` now answers in this process. A second router for the same module is ignored.
    pub fn fill(&self, module: &str, handler: LocalHandler) {
        let _ = self.slots.slot(module).set(handler);
    }

    /// Whether `module` is expected in this process.
    pub fn is_here(&self, module: &str) -> bool {
        !self.elsewhere.as_ref().is_some_and(|(modules, _)| modules.contains(module))
    }

    /// The base URLs of `module` in other processes as of now; `None` when it is expected in this one.
    pub fn urls(&self, module: &str) -> Option<Vec<String>> {
        match &self.elsewhere {
            Some((modules, locate)) if modules.contains(module) => Some(locate(module)),
            _ => None,
        }
    }

    /// The way to `module`.
    pub fn transport(&self, module: &str) -> Arc<dyn Transport> {
        match &self.elsewhere {
            Some((modules, locate)) if modules.contains(module) => {
                Arc::new(Located::new(module, locate.clone()))
            }
            _ => Arc::new(InProcess::new(module, self.slots.slot(module))),
        }
    }
}

/// Makes the credential for requests to the module of this name in another process.
pub type CredentialFor = Arc<dyn Fn(&str) -> Arc<dyn Credential> + Send + Sync>;

/// The other modules, called as this module.
#[derive(Clone)]
pub struct Peers {
    me: Caller,
    directory: Directory,
    credential_for: Option<CredentialFor>,
}

/// How long a module may take to say that it is alive; in process that is no time at all.
const ALIVE_TIMEOUT: Duration = Duration::from_millis(500);

impl Peers {
    /// The peers of the service identity `did` of `module`, which proves itself to those in other processes with
    /// what `credential_for` makes for them.
    pub fn new(
        module: &str,
        did: Did,
        now: Timestamp,
        directory: Directory,
        credential_for: Option<CredentialFor>,
    ) -> Self {
        let principal = Principal::new(did, now);
        Self { me: Caller::Service(principal, module.to_owned()), directory, credential_for }
    }

    /// A client of `module`.
    pub fn client(&self, module: &str) -> Client {
        let client = Client::new(self.directory.transport(module)).as_caller(self.me.clone());
        match &self.credential_for {
            Some(credential_for) if !self.directory.is_here(module) => {
                client.with_credential(credential_for(module))
            }
            _ => client,
        }
    }

    /// A client of each process that runs `module` now: for whoever watches them one by one. One client when the
    /// module is in this process.
    pub fn clients(&self, module: &str) -> Vec<Client> {
        let Some(urls) = self.directory.urls(module) else { return vec![self.client(module)] };
        let client = |url: &String| {
            let client = Client::new(Arc::new(HttpTransport::new(url))).as_caller(self.me.clone());
            match &self.credential_for {
                Some(credential_for) => client.with_credential(credential_for(module)),
                None => client,
            }
        };
        urls.iter().map(client).collect()
    }

    /// The check, for `/health`, that `module` is alive: without it the asking module still serves, with less.
    ///
    /// Asks `/health/live`, which asks nobody else, so that checks never run in circles.
    pub fn check(&self, module: &'static str) -> Check {
        // Public there: no token is fetched for it.
        let client = Client::new(self.directory.transport(module)).within(ALIVE_TIMEOUT);
        Check::optional(module, move || {
            let client = client.clone();
            async move {
                match client.send("GET", "/health/live", Bytes::new(), "").await {
                    Ok(answer) if answer.status().is_success() => Ok(()),
                    Ok(answer) => Err(format!("answered {}", answer.status())),
                    Err(error) => Err(error.to_string()),
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use axum::{Router, http::StatusCode, routing::get};

    use super::*;

    #[tokio::test]
    async fn a_module_is_alive_when_it_says_so() {
        let directory = Directory::default();
        let did: Did = "did:example:me".parse().unwrap();
        let peers = Peers::new("me", did, Timestamp::default(), directory.clone(), None);
        let router =
            |status: StatusCode| Router::new().route("/health/live", get(move || async move { status }));
        directory.fill("well", q_http::local_handler(router(StatusCode::OK)));
        directory.fill("ill", q_http::local_handler(router(StatusCode::SERVICE_UNAVAILABLE)));
        for (module, is_alive) in [("well", true), ("ill", false), ("nobody", false)] {
            let check = peers.check(module);
            assert!(!check.is_required && check.name == module);
            assert_eq!((check.run)().await.is_ok(), is_alive, "{module}");
        }
    }
}
