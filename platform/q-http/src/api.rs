//! A module's endpoints with their handlers, before they are mounted.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use q_contract::{Declaration, Endpoint, Problem, Reply as _, codes, wire};
use serde::Deserialize as _;

use crate::{Context, Prompt, Resource, reply::Encoded};

/// The parts of a request that a declaration turns into fields.
pub(crate) enum Input {
    /// From HTTP: path parameters, query, body.
    Http { path: Vec<(String, String)>, query: Option<String>, body: Bytes },
    /// From a tool call: the fields as one object.
    Json(serde_json::Value),
}

pub(crate) type Handler =
    Arc<dyn Fn(Context, Input) -> BoxFuture<'static, Result<Encoded, Problem>> + Send + Sync>;

/// One endpoint and what answers it.
#[derive(Clone)]
pub(crate) struct Route {
    pub(crate) declaration: Declaration,
    pub(crate) handler: Handler,
}

/// The endpoints of a module: the table of contents of its `http` room.
#[derive(Clone)]
pub struct Api {
    pub(crate) module: &'static str,
    pub(crate) about: &'static str,
    pub(crate) routes: Vec<Route>,
    pub(crate) resources: Vec<Resource>,
    pub(crate) prompts: Vec<Prompt>,
}

impl Api {
    /// Begins the list of `module`'s endpoints, answered by `service`; `about` heads its OpenAPI document.
    pub fn build<S: Send + Sync + 'static>(
        module: &'static str,
        about: &'static str,
        service: Arc<S>,
    ) -> ApiBuilder<S> {
        let (routes, resources, prompts) = (Vec::new(), Vec::new(), Vec::new());
        ApiBuilder { api: Self { module, about, routes, resources, prompts }, service }
    }

    /// The module's name.
    pub fn module(&self) -> &'static str {
        self.module
    }

    /// The declarations, for lists.
    pub fn declarations(&self) -> Vec<Declaration> {
        self.routes.iter().map(|route| route.declaration).collect()
    }

    /// The OpenAPI 3.1 document.
    pub fn openapi(&self) -> serde_json::Value {
        q_contract::openapi::document(
            self.module,
            env!("CARGO_PKG_VERSION"),
            self.about,
            &self.declarations(),
        )
    }
}

/// An [`Api`] under construction.
pub struct ApiBuilder<S> {
    api: Api,
    service: Arc<S>,
}

impl<S: Send + Sync + 'static> ApiBuilder<S> {
    /// Answers endpoint `E` with `handler`.
    #[must_use]
    pub fn on<E, H, F, R>(mut self, handler: H) -> Self
    where
        E: Endpoint,
        H: Fn(Arc<S>, Context, E::Request) -> F + Send + Sync + 'static,
        F: Future<Output = Result<E::Response, R>> + Send + 'static,
        R: Into<Problem> + Send + 'static,
    {
        let service = self.service.clone();
        let shape = Arc::new(wire::Shape::of::<E>());
        let handler = Arc::new(handler);
        let erased: Handler = Arc::new(move |context, input| {
            let (service, shape, handler) = (service.clone(), shape.clone(), handler.clone());
            Box::pin(async move {
                let request = read::<E>(&shape, input)?;
                let answer = handler(service, context, request).await.map_err(Into::into)?;
                let content_type = answer.media_type().unwrap_or(E::PRODUCES);
                Ok(Encoded { status: E::STATUS, content_type, body: answer.encode() })
            })
        });
        self.api.routes.push(Route { declaration: Declaration::of::<E>(), handler: erased });
        self
    }

    /// Offers models something to read.
    #[must_use]
    pub fn resource(mut self, resource: Resource) -> Self {
        self.api.resources.push(resource);
        self
    }

    /// Offers people a prompt.
    #[must_use]
    pub fn prompt(mut self, prompt: Prompt) -> Self {
        self.api.prompts.push(prompt);
        self
    }

    /// The finished list.
    ///
    /// # Panics
    /// When a resource is of no endpoint that reads.
    pub fn done(self) -> Api {
        for resource in &self.api.resources {
            let is_there = self.api.routes.iter().any(|route| {
                route.declaration.operation == resource.operation && !route.declaration.method.is_write()
            });
            assert!(is_there, "{} is answered by no endpoint that reads", resource.uri);
        }
        self.api
    }
}

fn read<E: Endpoint>(shape: &wire::Shape, input: Input) -> Result<E::Request, Problem> {
    match input {
        Input::Http { path, query, body } => wire::decode::<E>(shape, &path, query.as_deref(), &body),
        Input::Json(fields) => E::Request::deserialize(fields)
            .map_err(|error| Problem::new(&codes::INVALID_REQUEST).detail(error.to_string())),
    }
}
