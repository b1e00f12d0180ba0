//! squid as other modules and the command line reach it: logs, keys and logins through a client.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderValue, Request};
use q_auth::{
    KeyLoader, LoadFailed, LogLoader, TokenSource,
    claims::SKEW_MAX,
    directory::DirectoryError,
    prove::{JWT_BEARER_GRANT, dpop_proof, login_assertion},
};
use q_contract::{CallError, Client, Credential};
use q_core::{Did, Env, Span, Timestamp};
use q_jose::{JwkSet, SecretKey};
use squid_api::{
    GetKeySet, GetLog, IssueToken, LogRequest, NoFields, TokenRequest, TokenResponse,
    errors::SQUID_IDENTITY_NOT_FOUND,
};
use tokio::sync::Mutex;

use crate::service::logins::TOKEN_PATH;

/// Loads logs and keys from squid, wherever it runs.
#[derive(Clone)]
pub struct Remote(pub Client);

impl LogLoader for Remote {
    fn load<'a>(&'a self, scid: &'a str) -> BoxFuture<'a, Result<Option<String>, DirectoryError>> {
        Box::pin(async move {
            match self.0.call::<GetLog>(&LogRequest { scid: scid.to_owned() }).await {
                Ok(text) => Ok(Some(text.0)),
                Err(CallError::Problem(problem)) if problem.is(&SQUID_IDENTITY_NOT_FOUND) => Ok(None),
                Err(error) => Err(DirectoryError::Unavailable(error.to_string())),
            }
        })
    }
}

impl KeyLoader for Remote {
    fn load(&self) -> BoxFuture<'_, Result<JwkSet, LoadFailed>> {
        Box::pin(async move {
            let set = self.0.call::<GetKeySet>(&NoFields {}).await;
            let set = set.map_err(|error| LoadFailed(error.to_string()))?;
            let keys = set.keys.into_iter().map(serde_json::from_value).collect::<Result<_, _>>();
            keys.map(|keys| JwkSet { keys }).map_err(|error| LoadFailed(error.to_string()))
        })
    }
}

/// Logs an identity in and keeps the token until it is nearly over.
pub struct Login {
    client: Client,
    did: Did,
    key: SecretKey,
    /// The login server's origin, for whom assertions are made.
    origin: String,
    scope: Option<String>,
    env: Env,
    token: Mutex<Option<(String, Timestamp)>>,
}

impl Login {
    /// A login of `did` with its current key, at the squid behind `client`, whose base URL is `base`.
    ///
    /// Over HTTP the token is bound to the key. A client of the same process sends no headers, so its token
    /// is a bearer token.
    pub fn new(client: Client, base: &str, origin: &str, did: Did, key: SecretKey, env: Env) -> Self {
        let url = format!("{}{TOKEN_PATH}", base.trim_end_matches('/'));
        let proof = ProofOnly { key: key.clone(), url, env: env.clone() };
        Self {
            client: client.with_credential(Arc::new(proof)),
            did,
            key,
            origin: origin.to_owned(),
            scope: None,
            env,
            token: Mutex::new(None),
        }
    }

    /// The same with less than every scope.
    #[must_use]
    pub fn with_scope(mut self, scope: &str) -> Self {
        self.scope = Some(scope.to_owned());
        self
    }

    /// Logs in now, whatever is remembered.
    pub async fn log_in(&self) -> Result<TokenResponse, CallError> {
        let request = TokenRequest {
            grant_type: JWT_BEARER_GRANT.into(),
            assertion: Some(login_assertion(&self.did, &self.key, &self.origin, &self.env)),
            scope: self.scope.clone(),
            client_id: None,
        };
        self.client.call::<IssueToken>(&request).await
    }
}

impl TokenSource for Login {
    fn token(&self) -> BoxFuture<'_, Result<String, CallError>> {
        Box::pin(async move {
            let mut remembered = self.token.lock().await;
            let now = self.env.now();
            if let Some((token, renewed_at)) = remembered.as_ref()
                && now < *renewed_at
            {
                return Ok(token.clone());
            }
            let response = self.log_in().await?;
            let lifetime = Span::seconds(i64::try_from(response.expires_in).unwrap_or(0));
            *remembered = Some((response.access_token.clone(), now + lifetime - SKEW_MAX));
            Ok(response.access_token)
        })
    }
}

/// The proof a token request carries: of the key alone, there is no token yet.
struct ProofOnly {
    key: SecretKey,
    url: String,
    env: Env,
}

impl Credential for ProofOnly {
    fn attach<'a>(&'a self, request: &'a mut Request<Bytes>) -> BoxFuture<'a, Result<(), CallError>> {
        Box::pin(async move {
            let proof = dpop_proof(&self.key, request.method().as_str(), &self.url, None, &self.env);
            let value =
                HeaderValue::from_str(&proof).map_err(|error| CallError::NotReadable(error.to_string()))?;
            request.headers_mut().insert("dpop", value);
            Ok(())
        })
    }
}
