//! Answers as HTTP responses.

use axum::body::Body;
use http::{HeaderValue, Response, StatusCode, header};
use q_contract::{PAGE, Problem, codes, problem::INSUFFICIENT_USER_AUTHENTICATION};
use q_db::DbError;

use crate::page;

/// A successful answer, encoded.
pub(crate) struct Encoded {
    pub(crate) status: u16,
    pub(crate) content_type: &'static str,
    pub(crate) body: Vec<u8>,
}

impl Encoded {
    pub(crate) fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap_or(StatusCode::OK);
        if !self.content_type.is_empty() {
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        }
        if self.content_type == PAGE {
            let policy = HeaderValue::from_static(page::POLICY_HEADER);
            response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
            // The address of a page may be what lets somebody read it.
            response.headers_mut().insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        }
        response
    }
}

impl Encoded {
    /// The answer with a tag of its content and the word how long it may be kept; without the content where the caller
    /// has it already (RFC 9110 section 13.1.2, RFC 9111 section 5.2.2).
    pub(crate) fn into_cached_response(self, seconds: u32, known: Option<&HeaderValue>) -> Response<Body> {
        let tag = format!("\"{}\"", q_core::hash::hex(&q_core::hash::sha256(&self.body)[..16]));
        let is_known = known.and_then(|known| known.to_str().ok()).is_some_and(|known| {
            known == "*" || known.split(',').any(|one| one.trim().trim_start_matches("W/") == tag)
        });
        let mut response = self.into_response();
        if is_known {
            *response.body_mut() = Body::empty();
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            response.headers_mut().remove(header::CONTENT_TYPE);
        }
        let kept = format!("public, max-age={seconds}");
        for (name, value) in [(header::ETAG, tag), (header::CACHE_CONTROL, kept)] {
            if let Ok(value) = HeaderValue::from_str(&value) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}

/// The response that carries `problem`.
pub(crate) fn problem_response(problem: &Problem) -> Response<Body> {
    let body = serde_json::to_vec(problem).unwrap_or_default();
    let mut response = Response::new(Body::from(body));
    *response.status_mut() =
        StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    if problem.status == 401 {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("DPoP algs=\"EdDSA\", Bearer"));
    }
    if problem.is(&codes::MFA_REQUIRED)
        && let Ok(challenge) = HeaderValue::from_str(&step_up_challenge(problem))
    {
        headers.insert(header::WWW_AUTHENTICATE, challenge);
    }
    if let Some(seconds) = problem.extra.get("retryAfter").and_then(serde_json::Value::as_u64) {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// The challenge of RFC 9470 section 3. It accompanies a 403 (RFC 9110 section 11.6.1 allows that): the caller is known,
/// and a better proof would change the answer.
fn step_up_challenge(problem: &Problem) -> String {
    let acr = problem.extra.get("acrValues").and_then(serde_json::Value::as_str).unwrap_or_default();
    let age = problem.extra.get("maxAge").and_then(serde_json::Value::as_i64).unwrap_or_default();
    let (error, title) = (INSUFFICIENT_USER_AUTHENTICATION, &problem.title);
    format!(
        "DPoP algs=\"EdDSA\", error=\"{error}\", error_description=\"{title}\", acr_values=\"{acr}\", max_age=\"{age}\""
    )
}

/// What a caller hears when the store fails: never its internals, which go to the log.
pub fn storage_problem(error: &DbError) -> Problem {
    match error {
        DbError::IdempotencyKeyReused => Problem::new(&codes::IDEMPOTENCY_KEY_REUSED)
            .hint("use a new key for a new request, or repeat the first one unchanged"),
        DbError::WriteStopped(_) => crate::mode::write_stopped(None),
        DbError::Full(_) => {
            tracing::error!(error = %error, chain = ?error, "the store has no room left");
            Problem::new(&codes::STORAGE_FULL)
                .hint("reads are answered; try again with the same Idempotency-Key when the operators have made room")
                .with("retryAfter", 30)
        }
        other => {
            tracing::error!(error = %other, chain = ?other, "the store failed a request");
            Problem::new(&codes::STORAGE_UNAVAILABLE)
                .hint("try again with the same Idempotency-Key; nothing is done twice")
                .with("retryAfter", 1)
        }
    }
}
