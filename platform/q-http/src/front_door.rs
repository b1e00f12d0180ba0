//! One origin for everything: `/<module>/…` leads to the module, and a few fixed paths to the one that owns them.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Router, body::Body};
use http::{Request, Response, StatusCode, Uri, header, uri::PathAndQuery};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use q_contract::{Problem, codes};
use tower::ServiceExt as _;

use crate::reply::problem_response;

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
            Upstream::Remote(base) => self.forward(base, &target, request).await,
        }
    }

    fn upstream<'a>(&'a self, path: &'a str) -> Option<(&'a Upstream, &'a str)> {
        for (prefix, module) in &self.fixed {
            if path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
                return Some((self.modules.get(module)?, path));
            }
        }
        let name = path.trim_start_matches('/').split('/').next()?;
        let rest = &path[1 + name.len()..];
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
        match self.client.request(request).await {
            Ok(response) => response.map(Body::new),
            Err(error) => {
                tracing::warn!(%error, base, "a module did not answer the front door");
                unavailable()
            }
        }
    }

    fn index(&self) -> Response<Body> {
        let mut page = String::from("Q\n\n");
        for name in self.modules.keys() {
            page.push_str(&format!("/{name}/health   /{name}/openapi.json\n"));
        }
        let mut response = Response::new(Body::from(page));
        *response.status_mut() = StatusCode::OK;
        response
    }
}
