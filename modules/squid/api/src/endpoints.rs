//! The endpoints.

use q_contract::{Access, Text, endpoint};

use crate::{
    errors::{
        DID_NOT_FOUND, INVALID_DID, INVALID_DPOP_PROOF, INVALID_GRANT, INVALID_SCOPE, PRECONDITION_FAILED,
        SQUID_CLOCK_SKEW, SQUID_HAS_CHILDREN, SQUID_IDENTITY_EXISTS, SQUID_IDENTITY_GONE,
        SQUID_IDENTITY_NOT_FOUND, SQUID_INSUFFICIENT_PERMISSIONS, SQUID_LOG_CONFLICT, SQUID_LOG_INVALID,
        SQUID_PROFILE_INVALID, SQUID_SELF_SUSPENSION, SQUID_SESSION_NOT_FOUND, SQUID_STATUS_CONFLICT,
        SQUID_TYPE_FORBIDDEN, UNMET_AUTHENTICATION_REQUIREMENTS, UNSUPPORTED_GRANT_TYPE,
    },
    types::{
        AppendLogRequest, CreateIdentityRequest, DidDocument, DocumentRequest, Empty, Identity,
        IdentityRequest, KeySet, LogHead, LogRequest, NoFields, Resolution, ResolveRequest, RevokeRequest,
        RotateSigningKeyRequest, ServerMetadata, SessionList, SessionRequest, StatusRequest, TokenRequest,
        TokenResponse, UpdateIdentityRequest,
    },
};

endpoint! {
    /// Registers an identity that its owner has made.
    ///
    /// The first entry of its log is signed by the owner's key and is its own proof; no account is needed before.
    pub CreateIdentity = POST "/identity" (CreateIdentityRequest) -> Identity;
    status 201;
    access Access::Public("nobody has an identity before their first one; limited per address");
    errors [SQUID_TYPE_FORBIDDEN, SQUID_LOG_INVALID, SQUID_PROFILE_INVALID, SQUID_IDENTITY_EXISTS];
    body_max 64 << 10;
}

endpoint! {
    /// Reads an identity as the caller may see it.
    pub GetIdentity = GET "/identity/{did}" (IdentityRequest) -> Identity;
    access Access::Identity("identity:read");
    errors [SQUID_IDENTITY_NOT_FOUND];
    tool "squid.identity";
    idempotent true;
}

endpoint! {
    /// Replaces the caller's own profile.
    pub UpdateIdentity = PUT "/identity/{did}" (UpdateIdentityRequest) -> Identity;
    access Access::Identity("identity:write");
    errors [SQUID_IDENTITY_NOT_FOUND, SQUID_INSUFFICIENT_PERMISSIONS, SQUID_PROFILE_INVALID, PRECONDITION_FAILED];
    body_max 64 << 10;
    idempotent true;
}

endpoint! {
    /// Appends a signed entry to an identity's log: a rotation, a recovery, a move, the end.
    ///
    /// The entry's proof is the credential, so that an owner who lost every session can still recover. Sessions
    /// made with a key that the entry removes end with it. The newest entry again is answered like the first time.
    pub AppendLog = POST "/identity/{did}/log" (AppendLogRequest) -> LogHead;
    status 201;
    access Access::Signed;
    errors [SQUID_IDENTITY_NOT_FOUND, SQUID_LOG_CONFLICT, SQUID_LOG_INVALID, SQUID_HAS_CHILDREN];
    body_max 64 << 10;
    idempotent true;
}

endpoint! {
    /// Suspends an identity: it may not act, and its tokens die. Never the identity that acts.
    pub SuspendIdentity = POST "/identity/{did}/suspend" (StatusRequest) -> Identity;
    access Access::Operator;
    errors [SQUID_IDENTITY_NOT_FOUND, SQUID_SELF_SUSPENSION, SQUID_STATUS_CONFLICT];
    idempotent true;
    when_read_only true;
}

endpoint! {
    /// Lets a suspended identity act again, with new logins.
    pub ReactivateIdentity = POST "/identity/{did}/reactivate" (StatusRequest) -> Identity;
    access Access::Operator;
    errors [SQUID_IDENTITY_NOT_FOUND, SQUID_STATUS_CONFLICT];
    idempotent true;
}

endpoint! {
    /// An identity's whole log (did:webvh 1.0), from which anybody verifies its keys.
    pub GetLog = GET "/id/{scid}/did.jsonl" (LogRequest) -> Text;
    access Access::Public("the log is what makes an identity provable to anyone");
    errors [SQUID_IDENTITY_NOT_FOUND];
    produces "text/jsonl";
}

endpoint! {
    /// The parallel did:web document of an identity.
    pub GetDocument = GET "/id/{scid}/did.json" (DocumentRequest) -> DidDocument;
    access Access::Public("the document is public, like the log it comes from");
    errors [SQUID_IDENTITY_NOT_FOUND, SQUID_IDENTITY_GONE];
    produces "application/did+json";
}

endpoint! {
    /// Resolves an identifier (W3C DID Resolution).
    pub ResolveDid = GET "/1.0/identifiers/{did}" (ResolveRequest) -> Resolution;
    access Access::Public("resolving is for everybody; nothing is fetched from elsewhere");
    errors [INVALID_DID, DID_NOT_FOUND];
    tool "squid.resolve";
    produces "application/did-resolution";
}

endpoint! {
    /// What this login server offers (RFC 8414).
    pub GetServerMetadata = GET "/.well-known/oauth-authorization-server" (NoFields) -> ServerMetadata;
    access Access::Public("clients read it before they can log in");
}

endpoint! {
    /// The public keys that sign access tokens (RFC 7517), the next one included.
    pub GetKeySet = GET "/oauth2/jwks" (NoFields) -> KeySet;
    access Access::Public("whoever checks a token needs the keys");
    produces "application/jwk-set+json";
}

endpoint! {
    /// Logs an identity in by its self-signed assertion (RFC 7523).
    ///
    /// With a `DPoP` header the token is bound to the proof's key (RFC 9449), without one it is a bearer token.
    pub IssueToken = POST "/oauth2/token" (TokenRequest) -> TokenResponse;
    access Access::Public("the assertion is the credential");
    errors [
        UNSUPPORTED_GRANT_TYPE, INVALID_SCOPE, INVALID_DPOP_PROOF, SQUID_CLOCK_SKEW, INVALID_GRANT,
        UNMET_AUTHENTICATION_REQUIREMENTS,
    ];
    body_max 32 << 10;
}

endpoint! {
    /// Gives a token back: its session ends (RFC 7009). Answered alike whether the token was good or not.
    pub RevokeToken = POST "/oauth2/revoke" (RevokeRequest) -> Empty;
    access Access::Public("whoever holds a token may end it");
    body_max 32 << 10;
    when_read_only true;
}

endpoint! {
    /// The caller's live sessions.
    pub ListSessions = GET "/auth/sessions" (NoFields) -> SessionList;
    access Access::Identity("session:read");
}

endpoint! {
    /// Ends one of the caller's sessions.
    pub EndSession = DELETE "/auth/sessions/{id}" (SessionRequest) -> Empty;
    access Access::Identity("session:write");
    errors [SQUID_SESSION_NOT_FOUND];
    idempotent true;
    when_read_only true;
}

endpoint! {
    /// Ends all of the caller's sessions, this one included.
    pub EndAllSessions = DELETE "/auth/sessions" (NoFields) -> Empty;
    access Access::Identity("session:write");
    idempotent true;
    when_read_only true;
}

endpoint! {
    /// Replaces the key that signs access tokens by the next one; with `compromised`, all its tokens die.
    pub RotateSigningKey = POST "/signing-keys/rotate" (RotateSigningKeyRequest) -> KeySet;
    access Access::Operator;
}
