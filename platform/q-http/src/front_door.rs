//! One origin for everything: `/<module>/…` leads to the module, and a few fixed paths to the one that owns them.

use std::{collections::BTreeMap, fmt::Write as _, sync::Arc};

use axum::{Router, body::Body};
use http::{HeaderMap, HeaderName, Request, Response, StatusCode, Uri, header, uri::PathAndQuery};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use q_contract::{Problem, codes};
use tower::ServiceExt as _;

use crate::{PeerAddress, reply::problem_response};

/// What concerns one connection only (RFC 9110 section 7.6.1), and what is said to proxies.
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Where a module is.
#[derive(Clone)]
pub enum Upstream {
    /// In this process.
    Local(Router),
    /// At this base URL.
    Remote(String),
}

/// The routes of the front door.
pub struct FrontDoor {
    modules: BTreeMap<String, Upstream>,
    fixed: Vec<(&'static str, String)>,
    client: Client<HttpConnector, Body>,
}

impl FrontDoor {
    /// A front door to `modules`; a path that begins with an entry of `fixed` leads to the named module unchanged.
    pub fn new(modules: BTreeMap<String, Upstream>, fixed: Vec<(&'static str, String)>) -> Self {
        Self { modules, fixed, client: Client::builder(TokioExecutor::new()).build_http() }
    }

    /// The router that answers on the front door's port.
    pub fn router(self) -> Router {
        let door = Arc::new(self);
        Router::new().fallback(move |request: Request<Body>| {
            let door = door.clone();
            async move { door.pass(request).await }
        })
    }

    async fn pass(&self, mut request: Request<Body>) -> Response<Body> {
        let path = request.uri().path().to_owned();
        if path == "/" {
            return self.index();
        }
        let Some((upstream, rest)) = self.upstream(&path) else {
            let names: Vec<_> = self.modules.keys().map(String::as_str).collect();
            let problem = Problem::new(&codes::NOT_FOUND)
                .detail(format!("no module answers at {path}"))
                .hint(format!("paths begin with one of: {}", names.join(", ")));
            return problem_response(&problem);
        };
        let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
        let Ok(target) = format!("{rest}{query}").parse::<PathAndQuery>() else {
            return problem_response(&Problem::new(&codes::NOT_FOUND));
        };
        match upstream {
            Upstream::Local(router) => {
                *request.uri_mut() = Uri::from(target);
                match router.clone().oneshot(request).await {
                    Ok(response) => response,
                    Err(never) => match never {},
                }
            }
            // There the request would come from the front door's own address, to which figures are shown.
            Upstream::Remote(_) if target.path() == "/metrics" && !is_local(&request) => problem_response(
                &Problem::new(&codes::FORBIDDEN).detail("figures are shown to this host only"),
            ),
            Upstream::Remote(base) => self.forward(base, &target, request).await,
        }
    }

    fn upstream<'a>(&'a self, path: &'a str) -> Option<(&'a Upstream, &'a str)> {
        for (prefix, module) in &self.fixed {
            if path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
                return Some((self.modules.get(module)?, path));
            }
        }
        // Exactly one slash: what another program might read as the same path would not be the path that was proved.
        let path = path.strip_prefix('/')?;
        let (name, rest) = path.split_at(path.find('/').unwrap_or(path.len()));
        Some((self.modules.get(name)?, if rest.is_empty() { "/" } else { rest }))
    }

    async fn forward(&self, base: &str, target: &PathAndQuery, mut request: Request<Body>) -> Response<Body> {
        let unavailable =
            || problem_response(&Problem::new(&codes::DEPENDENCY_UNAVAILABLE).with("retryAfter", 1));
        let Ok(uri) = format!("{}{target}", base.trim_end_matches('/')).parse::<Uri>() else {
            return unavailable();
        };
        *request.uri_mut() = uri;
        request.headers_mut().remove(header::HOST);
        end_at_this_hop(request.headers_mut());
        match self.client.request(request).await {
            Ok(mut response) => {
                end_at_this_hop(response.headers_mut());
                response.map(Body::new)
            }
            Err(error) => {
                tracing::warn!(%error, base, "a module did not answer the front door");
                unavailable()
            }
        }
    }

    fn index(&self) -> Response<Body> {
        let mut page = String::from("Q\n\n");
        for name in self.modules.keys() {
            let _ = writeln!(page, "/{name}/health   /{name}/openapi.json");
        }
        let mut response = Response::new(Body::from(page));
        *response.status_mut() = StatusCode::OK;
        response
    }
}

/// Whether the request comes from this host, or from within this process.
fn is_local(request: &Request<Body>) -> bool {
    request.extensions().get::<PeerAddress>().is_none_or(|PeerAddress(peer)| peer.ip().is_loopback())
}

/// Removes what concerns the connection a message came by, and what that connection names as such.
fn end_at_this_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|names| names.split(','))
        .filter_map(|name| name.trim().parse().ok())
        // Nobody makes the front door drop what proves who is asking, or how long the body is.
        .filter(|name| {
            !matches!(*name, header::AUTHORIZATION | header::CONTENT_LENGTH | header::CONTENT_TYPE)
        })
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}
