//! The log's own keys: one signs checkpoints, one makes search terms that a stolen store does not reveal.

use aws_lc_rs::hmac;
use q_core::{Env, audit::AuditId};
use q_db::{DbError, Tx};
use q_jose::SecretKey;
use q_seal::{OpenError, Place, Sealer};

use crate::store;

/// The keys in use.
#[derive(Clone)]
pub struct Keys {
    /// Signs checkpoints.
    pub log: SecretKey,
    terms: hmac::Key,
}

/// Why the keys cannot be had.
#[derive(Debug, Clone, thiserror::Error)]
pub enum KeysError {
    /// The store failed.
    #[error("the store failed")]
    Db(#[from] DbError),
    /// The sealer at hand does not open them.
    #[error("the secret {name} does not open with the data key at hand")]
    Sealed {
        /// Which secret.
        name: &'static str,
        /// Why.
        #[source]
        source: OpenError,
    },
}

const LOG_KEY: &str = "log-signing-key";
const TERMS_KEY: &str = "search-terms-key";

impl Keys {
    /// The stored keys, made on first use.
    pub fn open(tx: &mut Tx<'_>, sealer: &Sealer, env: &Env) -> Result<Self, KeysError> {
        let log = SecretKey::from_seed(&secret(tx, LOG_KEY, sealer, env)?);
        let terms = hmac::Key::new(hmac::HMAC_SHA256, &secret(tx, TERMS_KEY, sealer, env)?);
        Ok(Self { log, terms })
    }

    /// The search term of an actor.
    pub fn actor_token(&self, did: &str) -> i64 {
        self.token("actor", did)
    }

    /// The search term of a reference.
    pub fn reference_token(&self, reference: &str) -> i64 {
        self.token("reference", reference)
    }

    /// What tells a repetition of an event from another event under its id.
    pub fn fingerprint(&self, id: AuditId, sent: &[u8]) -> [u8; 16] {
        let mut context = hmac::Context::with_key(&self.terms);
        context.update(b"fingerprint\0");
        context.update(&id.bytes());
        context.update(sent);
        *context.sign().as_ref().first_chunk().expect("an HMAC-SHA-256 tag has 32 bytes")
    }

    fn token(&self, kind: &str, text: &str) -> i64 {
        let mut context = hmac::Context::with_key(&self.terms);
        context.update(kind.as_bytes());
        context.update(b"\0");
        context.update(text.as_bytes());
        i64::from_be_bytes(*context.sign().as_ref().first_chunk().expect("an HMAC-SHA-256 tag has 32 bytes"))
    }
}

fn secret(tx: &mut Tx<'_>, name: &'static str, sealer: &Sealer, env: &Env) -> Result<[u8; 32], KeysError> {
    let place = Place { module: "qerberos", table: "secrets", column: "sealed", row: name };
    if let Some(sealed) = store::secrets::find(tx, name)? {
        let opened = sealer.open(place, &sealed).map_err(|source| KeysError::Sealed { name, source })?;
        let secret = opened.as_slice().try_into();
        return secret.map_err(|_| KeysError::Sealed { name, source: OpenError::Malformed });
    }
    let fresh = env.random::<32>();
    store::secrets::insert(tx, name, &sealer.seal(place, &fresh, env))?;
    Ok(fresh)
}
