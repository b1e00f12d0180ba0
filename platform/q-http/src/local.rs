//! A router as a function, for callers in the same process.

use std::sync::Arc;

use axum::{Router, body::Body};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use q_contract::LocalHandler;
use tower::ServiceExt as _;

/// The in-process entrance to a mounted module.
pub fn local_handler(router: Router) -> LocalHandler {
    Arc::new(move |request: Request<bytes::Bytes>| {
        let router = router.clone();
        Box::pin(async move {
            let response = match router.oneshot(request.map(Body::from)).await {
                Ok(response) => response,
                Err(never) => match never {},
            };
            let (head, body) = response.into_parts();
            if let Ok(body) = body.collect().await {
                return Response::from_parts(head, body.to_bytes());
            }
            let mut broken = Response::new(bytes::Bytes::new());
            *broken.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            broken
        })
    })
}
