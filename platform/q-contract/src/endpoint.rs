//! The declaration of an endpoint.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{ErrorCode, Reply};

/// The methods endpoints use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// Reads.
    GET,
    /// Creates or commands.
    POST,
    /// Replaces.
    PUT,
    /// Changes part.
    PATCH,
    /// Ends.
    DELETE,
}

impl Method {
    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::GET => "GET",
            Self::POST => "POST",
            Self::PUT => "PUT",
            Self::PATCH => "PATCH",
            Self::DELETE => "DELETE",
        }
    }

    /// Whether the request's fields travel in a body and not in the query.
    pub const fn has_body(self) -> bool {
        matches!(self, Self::POST | Self::PUT | Self::PATCH)
    }

    /// Whether it may change state.
    pub const fn is_write(self) -> bool {
        !matches!(self, Self::GET)
    }
}

/// Who may call an endpoint, before the module's own decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anybody, for the reason given; listed, and rate-limited by address.
    Public(&'static str),
    /// An authenticated identity whose token has this scope, or a service.
    Identity(&'static str),
    /// Only a module of this instance.
    Service,
    /// The body carries its own signature and is its own credential.
    Signed,
    /// An identity the permissions allow `admin` on the instance; the module asks its PDP.
    Operator,
}

/// One endpoint. Implemented by [`endpoint!`](crate::endpoint!).
pub trait Endpoint: Send + Sync + 'static {
    /// Everything the request carries: path parameters, then query or body fields.
    type Request: Serialize + DeserializeOwned + JsonSchema + Send + 'static;
    /// The body of a successful answer.
    type Response: Reply;

    /// The operation's name, unique in its module.
    const OPERATION: &'static str;
    /// The method.
    const METHOD: Method;
    /// The path, with `{name}` for a parameter and `{*name}` for the rest of the path.
    const PATH: &'static str;
    /// What it does: the first line is the summary.
    const DOC: &'static str;
    /// Who may call it.
    const ACCESS: Access;
    /// The status of success.
    const STATUS: u16 = 200;
    /// The refusals of its own, in the order they are checked.
    const ERRORS: &'static [ErrorCode] = &[];
    /// Its name as an MCP tool, if it is one.
    const TOOL: Option<&'static str> = None;
    /// The media type of the answer.
    const PRODUCES: &'static str = <Self::Response as Reply>::CONTENT_TYPE;
    /// The media type and field of a request body that is not JSON; several types are separated by `, `.
    const CONSUMES: Option<(&'static str, &'static str)> = None;
    /// The largest request body, in bytes.
    const BODY_BYTES_MAX: usize = 1 << 20;
    /// Whether repeating the request is harmless by its nature, so that no key is asked for.
    const IS_IDEMPOTENT: bool = false;
    /// Whether it is answered while the module is read-only although its method writes: it only reads, or it takes
    /// away rights, which must never wait.
    const WHEN_READ_ONLY: bool = false;
    /// For how many seconds everybody may repeat the answer; nobody may when not said. Only for what is the same for
    /// everybody.
    const CACHED_SECONDS: Option<u32> = None;

    /// An example request.
    fn example() -> Option<Value> {
        None
    }
}

/// A declaration without its types, for lists: OpenAPI, MCP, the coverage walk.
#[derive(Clone, Copy)]
pub struct Declaration {
    /// See [`Endpoint::OPERATION`].
    pub operation: &'static str,
    /// See [`Endpoint::METHOD`].
    pub method: Method,
    /// See [`Endpoint::PATH`].
    pub path: &'static str,
    /// See [`Endpoint::DOC`].
    pub doc: &'static str,
    /// See [`Endpoint::ACCESS`].
    pub access: Access,
    /// See [`Endpoint::STATUS`].
    pub status: u16,
    /// See [`Endpoint::ERRORS`].
    pub errors: &'static [ErrorCode],
    /// See [`Endpoint::TOOL`].
    pub tool: Option<&'static str>,
    /// See [`Endpoint::PRODUCES`].
    pub produces: &'static str,
    /// See [`Endpoint::CONSUMES`].
    pub consumes: Option<(&'static str, &'static str)>,
    /// See [`Endpoint::BODY_BYTES_MAX`].
    pub body_bytes_max: usize,
    /// See [`Endpoint::IS_IDEMPOTENT`].
    pub is_idempotent: bool,
    /// See [`Endpoint::WHEN_READ_ONLY`].
    pub when_read_only: bool,
    /// See [`Endpoint::CACHED_SECONDS`].
    pub cached_seconds: Option<u32>,
    /// The schema of the request.
    pub request_schema: fn(&mut SchemaGenerator) -> Schema,
    /// The schema of a JSON answer.
    pub response_schema: fn(&mut SchemaGenerator) -> Option<Schema>,
    /// See [`Endpoint::example`].
    pub example: fn() -> Option<Value>,
}

impl Declaration {
    /// The declaration of `E`.
    pub const fn of<E: Endpoint>() -> Self {
        Self {
            operation: E::OPERATION,
            method: E::METHOD,
            path: E::PATH,
            doc: E::DOC,
            access: E::ACCESS,
            status: E::STATUS,
            errors: E::ERRORS,
            tool: E::TOOL,
            produces: E::PRODUCES,
            consumes: E::CONSUMES,
            body_bytes_max: E::BODY_BYTES_MAX,
            is_idempotent: E::IS_IDEMPOTENT,
            when_read_only: E::WHEN_READ_ONLY,
            cached_seconds: E::CACHED_SECONDS,
            request_schema: |generator| E::Request::json_schema(generator),
            response_schema: |generator| <E::Response as Reply>::schema(generator),
            example: E::example,
        }
    }

    /// Whether the request must carry an `Idempotency-Key`: every write by somebody who can be told apart.
    pub const fn needs_key(&self) -> bool {
        self.method.is_write() && !self.is_idempotent && !matches!(self.access, Access::Public(_))
    }

    /// The media type of the request's body, the first where there are several.
    pub fn media_type(&self) -> &'static str {
        let (media_types, _) = self.consumes.unwrap_or(("application/json", ""));
        media_types.split(", ").next().unwrap_or_default()
    }

    /// The names of the path's parameters, in order.
    pub fn path_parameters(&self) -> impl Iterator<Item = &'static str> {
        path_parameters(self.path)
    }

    /// The first line of the documentation.
    pub fn summary(&self) -> &'static str {
        self.doc.trim().lines().next().unwrap_or_default().trim()
    }
}

/// The names of the parameters of `path`, in order.
pub fn path_parameters(path: &'static str) -> impl Iterator<Item = &'static str> {
    path.split('{').skip(1).filter_map(|rest| rest.split('}').next()).map(|name| name.trim_start_matches('*'))
}

/// Declares an endpoint. The clauses after the first line keep this order; only `access` is required.
///
/// ```text
/// endpoint! {
///     /// Opens a wallet for the caller.
///     pub CreateWallet = POST "/wallets" (CreateWalletRequest) -> Wallet;
///     status 201;
///     access Access::Identity("wallet:write");
///     errors [WALLET_EXISTS];
///     tool "wallet.create";
///     produces "text/plain";                      // answers another media type than the body's own
///     consumes "application/xml" document;        // the raw body becomes the String field `document`
///     body_max 10 << 20;                          // bytes; 1 MiB when not said
///     idempotent true;                            // harmless to repeat: no Idempotency-Key is asked for
///     when_read_only true;                        // answered in read-only mode although it is no GET
///     cached_seconds 15;                          // the same for everybody, who may keep it so long
///     example { "label": "household" };
/// }
/// ```
#[macro_export]
macro_rules! endpoint {
    (
        $(#[doc = $doc:literal])+
        $vis:vis $name:ident = $method:ident $path:literal ($request:ty) -> $response:ty;
        $(status $status:literal;)?
        access $access:expr;
        $(errors [$($error:expr),* $(,)?];)?
        $(tool $tool:literal;)?
        $(produces $produces:literal;)?
        $(consumes $consumes:literal $field:ident;)?
        $(body_max $body_max:expr;)?
        $(idempotent $idempotent:literal;)?
        $(when_read_only $when_read_only:literal;)?
        $(cached_seconds $cached_seconds:literal;)?
        $(example $example:tt;)?
    ) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Copy)]
        $vis struct $name;

        impl $crate::Endpoint for $name {
            type Request = $request;
            type Response = $response;
            const OPERATION: &'static str = stringify!($name);
            const METHOD: $crate::Method = $crate::Method::$method;
            const PATH: &'static str = $path;
            const DOC: &'static str = concat!($($doc, "\n"),+);
            const ACCESS: $crate::Access = $access;
            $(const STATUS: u16 = $status;)?
            $(const ERRORS: &'static [$crate::ErrorCode] = &[$($error),*];)?
            $(const TOOL: Option<&'static str> = Some($tool);)?
            $(const PRODUCES: &'static str = $produces;)?
            $(const CONSUMES: Option<(&'static str, &'static str)> = Some(($consumes, stringify!($field)));)?
            $(const BODY_BYTES_MAX: usize = $body_max;)?
            $(const IS_IDEMPOTENT: bool = $idempotent;)?
            $(const WHEN_READ_ONLY: bool = $when_read_only;)?
            $(const CACHED_SECONDS: Option<u32> = Some($cached_seconds);)?
            $(fn example() -> Option<$crate::macro_support::serde_json::Value> {
                Some($crate::macro_support::serde_json::json!($example))
            })?
        }
    };
}
