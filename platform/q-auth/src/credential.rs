//! How a module or the command line proves itself over HTTP: a bound token and a proof per request.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderValue, Request, header};
use q_contract::{CallError, Credential};
use q_core::Env;
use q_jose::SecretKey;

use crate::{authenticator::SUBJECT_TOKEN_HEADER, prove::dpop_proof};

/// Provides an access token bound to the credential's key, from memory or by logging in.
pub trait TokenSource: Send + Sync + 'static {
    /// A token that lives for a while yet.
    fn token(&self) -> BoxFuture<'_, Result<String, CallError>>;
}

/// Adds token and proof to every request to the server at one base URL.
#[derive(Clone)]
pub struct DpopCredential {
    key: SecretKey,
    base: String,
    tokens: Arc<dyn TokenSource>,
    subject_token: Option<String>,
    env: Env,
}

impl DpopCredential {
    /// A credential for requests to `base`, such as `http://qnode.localhost:8080/qwallet`.
    pub fn new(key: SecretKey, base: &str, tokens: Arc<dyn TokenSource>, env: Env) -> Self {
        Self { key, base: base.trim_end_matches('/').to_owned(), tokens, subject_token: None, env }
    }

    /// The same, acting for the identity whose token this is.
    #[must_use]
    pub fn on_behalf_of(mut self, token: &str) -> Self {
        self.subject_token = Some(token.to_owned());
        self
    }
}

impl Credential for DpopCredential {
    fn attach<'a>(&'a self, request: &'a mut Request<Bytes>) -> BoxFuture<'a, Result<(), CallError>> {
        Box::pin(async move {
            let token = self.tokens.token().await?;
            let url = format!("{}{}", self.base, request.uri().path());
            let proof = dpop_proof(&self.key, request.method().as_str(), &url, Some(&token), &self.env);
            let headers = request.headers_mut();
            headers.insert(header::AUTHORIZATION, value(&format!("DPoP {token}"))?);
            headers.insert("dpop", value(&proof)?);
            if let Some(subject) = &self.subject_token {
                headers.insert(SUBJECT_TOKEN_HEADER, value(subject)?);
            }
            Ok(())
        })
    }
}

fn value(text: &str) -> Result<HeaderValue, CallError> {
    HeaderValue::from_str(text).map_err(|error| CallError::NotReadable(error.to_string()))
}
