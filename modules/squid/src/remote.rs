//! squid as other modules and the command line reach it: logs, keys and logins through a client.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use http::{HeaderValue, Request, header};
use q_auth::{
    KeyLoader, LoadFailed, LogLoader, Standing, TokenSource,
    claims::SKEW_MAX,
    directory::DirectoryError,
    prove::{JWT_BEARER_GRANT, dpop_proof, login_assertion},
};
use q_contract::{CallError, Client, Transport, wire};
use q_core::{Did, Env, Span, Timestamp, caller::ACR_TWO_KEYS};
use q_jose::{JwkSet, SecretKey};
use squid_api::{
    GetKeySet, GetLog, GetStanding, IdentityRequest, IssueToken, LogRequest, NoFields, TokenRequest,
    TokenResponse, errors::SQUID_IDENTITY_NOT_FOUND,
};
use tokio::sync::Mutex;

use crate::service::logins::TOKEN_PATH;

/// Loads logs, standings and keys from squid, wherever it runs.
#[derive(Clone)]
pub struct Remote {
    /// For what everybody may read.
    pub public: Client,
    /// For what modules may read.
    pub as_module: Client,
}

impl LogLoader for Remote {
    fn load<'a>(&'a self, scid: &'a str) -> BoxFuture<'a, Result<Option<String>, DirectoryError>> {
        Box::pin(async move {
            match self.public.call::<GetLog>(&LogRequest { scid: scid.to_owned() }).await {
                Ok(text) => Ok(Some(text.0)),
                Err(CallError::Problem(problem)) if problem.is(&SQUID_IDENTITY_NOT_FOUND) => Ok(None),
                Err(error) => Err(DirectoryError::Unavailable(error.to_string())),
            }
        })
    }

    fn standing<'a>(&'a self, did: &'a Did) -> BoxFuture<'a, Result<Option<Standing>, DirectoryError>> {
        Box::pin(async move {
            match self.as_module.call::<GetStanding>(&IdentityRequest { did: did.clone() }).await {
                Ok(record) => Ok(Some(Standing {
                    did: record.did,
                    kind: record.kind,
                    status: record.status,
                    parent: record.parent,
                    root: record.root,
                    guardians: record.guardians,
                })),
                Err(CallError::Problem(problem)) if problem.is(&SQUID_IDENTITY_NOT_FOUND) => Ok(None),
                Err(error) => Err(DirectoryError::Unavailable(error.to_string())),
            }
        })
    }
}

impl KeyLoader for Remote {
    fn load(&self) -> BoxFuture<'_, Result<JwkSet, LoadFailed>> {
        Box::pin(async move {
            let set = self.public.call::<GetKeySet>(&NoFields {}).await;
            let set = set.map_err(|error| LoadFailed(error.to_string()))?;
            let keys = set.keys.into_iter().map(serde_json::from_value).collect::<Result<_, _>>();
            keys.map(|keys| JwkSet { keys }).map_err(|error| LoadFailed(error.to_string()))
        })
    }
}

/// How long a login may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Logs an identity in by a self-signed assertion (RFC 7523) and keeps the token until it is nearly over.
pub struct Login {
    squid: Arc<dyn Transport>,
    /// The login server's origin, for whom assertions and proofs are made at whatever address it is reached.
    origin: String,
    did: Did,
    key: SecretKey,
    env: Env,
    token: Mutex<Option<(String, Timestamp)>>,
}

impl Login {
    /// A login of `did` with its current key at `squid`, which issues tokens as `origin`.
    ///
    /// Speaks to the transport itself and not through a client, because a client of the same process sends no
    /// headers, and the proof that binds the token is one.
    pub fn new(squid: Arc<dyn Transport>, origin: &str, did: Did, key: SecretKey, env: Env) -> Self {
        Self {
            squid,
            origin: origin.trim_end_matches('/').to_owned(),
            did,
            key,
            env,
            token: Mutex::new(None),
        }
    }

    /// Logs in now, whatever is remembered; the token is bound to the key, or one that anybody can use.
    pub async fn log_in(&self, is_bound: bool) -> Result<TokenResponse, CallError> {
        self.log_in_with(None, is_bound).await
    }

    /// Logs in with the key and a second one, as what needs a step-up asks for.
    pub async fn step_up(&self, second: &SecretKey) -> Result<TokenResponse, CallError> {
        self.log_in_with(Some(second), true).await
    }

    async fn log_in_with(
        &self,
        second: Option<&SecretKey>,
        is_bound: bool,
    ) -> Result<TokenResponse, CallError> {
        let not_readable = |error: &dyn std::fmt::Display| CallError::NotReadable(error.to_string());
        let (uri, body) = wire::encode::<IssueToken>(&TokenRequest {
            grant_type: JWT_BEARER_GRANT.into(),
            assertion: Some(login_assertion(&self.did, &self.key, &self.origin, &self.env)),
            acr_values: second.map(|_| ACR_TWO_KEYS.to_owned()),
            second_assertion: second.map(|key| login_assertion(&self.did, key, &self.origin, &self.env)),
            ..TokenRequest::default()
        })
        .map_err(|error| not_readable(&error))?;
        let mut request = Request::post(uri)
            .header(header::CONTENT_TYPE, "application/json")
            .body(body)
            .map_err(|error| not_readable(&error))?;
        if is_bound {
            let endpoint = format!("{}{TOKEN_PATH}", self.origin);
            let proof = dpop_proof(&self.key, "POST", &endpoint, None, &self.env);
            let value = HeaderValue::from_str(&proof).map_err(|error| not_readable(&error))?;
            request.headers_mut().insert("dpop", value);
        }
        let answer = self.squid.send(request, PATIENCE).await?;
        if answer.status().is_success() {
            return serde_json::from_slice(answer.body()).map_err(|error| not_readable(&error));
        }
        let problem = serde_json::from_slice(answer.body());
        Err(problem.map_or_else(|error| not_readable(&error), CallError::Problem))
    }
}

impl Login {
    /// Goes on with a token that was got elsewhere, until `ends_at`.
    #[must_use]
    pub fn going_on_with(mut self, token: String, ends_at: Timestamp) -> Self {
        *self.token.get_mut() = Some((token, ends_at));
        self
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
            let response = self.log_in(true).await?;
            let lifetime = Span::seconds(i64::try_from(response.expires_in).unwrap_or(0));
            *remembered = Some((response.access_token.clone(), now + lifetime - SKEW_MAX));
            Ok(response.access_token)
        })
    }
}
