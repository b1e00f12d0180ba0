//! What a module is given to stand on.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use q_contract::{Client, Credential, HttpTransport, InProcess, LocalHandler, Transport};
use q_core::{Caller, Did, Env, Timestamp, caller::Principal};
use q_db::Db;

use crate::Settings;

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
    /// The module's section of the configuration.
    pub settings: Settings,
}

/// Where each module is: a slot of this process, filled when the module is up, or a URL.
#[derive(Clone, Default)]
pub struct Directory {
    slots: Arc<parking::Slots>,
    urls: BTreeMap<String, String>,
}

mod parking {
    use super::{Arc, BTreeMap, LocalHandler, OnceLock};
    use std::sync::Mutex;

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
    /// A directory in which modules of `urls` are remote and all others are expected in this process.
    pub fn new(urls: BTreeMap<String, String>) -> Self {
        Self { slots: Arc::default(), urls }
    }

    /// Says that `module` now answers in this process. A second router for the same module is ignored.
    pub fn fill(&self, module: &str, handler: LocalHandler) {
        let _ = self.slots.slot(module).set(handler);
    }

    /// The URL of `module`, if it is remote.
    pub fn url(&self, module: &str) -> Option<&str> {
        self.urls.get(module).map(String::as_str)
    }

    /// The way to `module`.
    pub fn transport(&self, module: &str) -> Arc<dyn Transport> {
        match self.url(module) {
            Some(url) => Arc::new(HttpTransport::new(url)),
            None => Arc::new(InProcess::new(module, self.slots.slot(module))),
        }
    }
}

/// The other modules, called as this module.
#[derive(Clone)]
pub struct Peers {
    me: Caller,
    directory: Directory,
    credential: Option<Arc<dyn Credential>>,
}

impl Peers {
    /// The peers of the service identity `did` of `module`, which proves itself to remote ones with `credential`.
    pub fn new(
        module: &str,
        did: Did,
        now: Timestamp,
        directory: Directory,
        credential: Option<Arc<dyn Credential>>,
    ) -> Self {
        let principal = Principal {
            did,
            scopes: Vec::new(),
            client: None,
            actor: None,
            is_sender_bound: true,
            authenticated_at: now,
        };
        Self { me: Caller::Service(principal, module.to_owned()), directory, credential }
    }

    /// A client of `module`.
    pub fn client(&self, module: &str) -> Client {
        let client = Client::new(self.directory.transport(module)).as_caller(self.me.clone());
        match &self.credential {
            Some(credential) => client.with_credential(credential.clone()),
            None => client,
        }
    }
}
