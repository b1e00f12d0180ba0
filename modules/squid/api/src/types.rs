//! The bodies on the wire.

use q_contract::json_types;
use q_core::{Did, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
        pub enum $name { $($(#[$variant_doc])* #[serde(rename = $word)] $variant,)+ }

        impl $name {
            /// The word on the wire and in the store.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl std::str::FromStr for $name {
            type Err = UnknownWord;
            fn from_str(text: &str) -> Result<Self, UnknownWord> {
                match text { $($word => Ok(Self::$variant),)+ _ => Err(UnknownWord) }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

/// The word is not one of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownWord;

impl std::fmt::Display for UnknownWord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("not a word of this list")
    }
}

impl std::error::Error for UnknownWord {}

pub use q_core::{IdentityKind as IdentityType, IdentityStatus as Status};

words! {
    /// Who holds its keys.
    Custody {
        /// Its owner.
        Own = "SELF",
    }
}

words! {
    /// How well it is known who it is.
    VerificationLevel {
        /// Nobody has checked.
        Unverified = "UNVERIFIED",
    }
}

words! {
    /// Who sees its profile.
    PrivacyLevel {
        /// Everybody who is logged in.
        Public = "PUBLIC",
        /// Itself only; others see that it exists.
        Private = "PRIVATE",
        /// Itself only; for others it does not exist, except by its public log.
        Anonymous = "ANONYMOUS",
    }
}

/// What an identity says about itself. Kept sealed, never part of the log or of an event.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Profile {
    /// 1 to 100 characters.
    pub name: String,
    /// At most 500 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// An https or data-free URI of a picture, at most 500 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub avatar: Option<String>,
    /// At most 10 of at most 50 characters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Anything else, at most 16 KiB as JSON.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
}

/// Registers an identity made by its owner.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateIdentityRequest {
    /// The signed first entry of its log, at most 32 KiB.
    pub log_entry: Value,
    /// What it says about itself.
    pub profile: Profile,
    /// Who may see that; `PUBLIC` when not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub privacy_level: Option<PrivacyLevel>,
    /// `ROOT` when not said, or `AID`: nobody can tell whose it is, and it sees to it that nobody else says so.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<IdentityType>,
}

/// Names an identity in the path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IdentityRequest {
    /// Its did:squid or did:webvh name.
    pub did: Did,
}

/// Changes a profile.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UpdateIdentityRequest {
    /// The identity.
    pub did: Did,
    /// The whole new profile.
    pub profile: Profile,
    /// Who may see it; unchanged when not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub privacy_level: Option<PrivacyLevel>,
    /// The revision the change was made from; any when not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
}

/// An identity as the caller may see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    /// The location-free name.
    pub did: Did,
    /// The name under which its log is served.
    pub webvh: String,
    /// What kind it is.
    #[serde(rename = "type")]
    pub kind: IdentityType,
    /// Whether it may act.
    pub status: Status,
    /// How well it is known.
    pub verification_level: VerificationLevel,
    /// Who sees the profile.
    pub privacy_level: PrivacyLevel,
    /// Who holds its keys.
    pub custody: Custody,
    /// Whose sub-identity it is, for itself, its parents and modules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Did>,
    /// What it says about itself, where the caller may see it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<Profile>,
    /// The newest entry of its log.
    pub version_id: String,
    /// Counts the changes of its profile.
    pub revision: u64,
    /// When it was registered.
    pub created_at: Timestamp,
    /// When profile or status last changed.
    pub updated_at: Timestamp,
}

/// Appends an entry to an identity's log. The entry's proof is the credential.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AppendLogRequest {
    /// The identity.
    pub did: Did,
    /// The signed entry, at most 32 KiB.
    pub entry: Value,
    /// Whether somebody else has the keys it removes.
    #[serde(default)]
    pub compromised: bool,
}

/// The newest entry of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogHead {
    /// `<number>-<hash>`.
    pub version_id: String,
}

/// Names a log by its SCID.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LogRequest {
    /// The self-certifying id.
    pub scid: String,
}

/// Names a version of a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DocumentRequest {
    /// The self-certifying id.
    pub scid: String,
    /// The entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_id: Option<String>,
    /// The instant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_time: Option<Timestamp>,
}

/// Resolves an identifier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResolveRequest {
    /// did:squid, did:webvh and did:web of this instance, or did:key.
    pub did: String,
    /// The entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_id: Option<String>,
    /// The instant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_time: Option<Timestamp>,
}

/// A DID document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct DidDocument(pub Value);

/// The result of resolving (W3C DID Resolution section 4).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Resolution {
    /// `https://w3id.org/did-resolution/v1`.
    #[serde(rename = "@context")]
    pub context: String,
    /// The document, under the name asked for.
    pub did_document: Value,
    /// About the resolving.
    pub did_resolution_metadata: Value,
    /// About the document.
    pub did_document_metadata: Value,
}

/// A request without fields.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoFields {}

/// A list of keys (RFC 7517 section 5).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct KeySet {
    /// The keys.
    pub keys: Vec<Value>,
}

/// What the login server offers (RFC 8414 section 2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServerMetadata {
    /// The issuer: the origin.
    pub issuer: String,
    /// Where tokens are asked for.
    pub token_endpoint: String,
    /// Where its keys are.
    pub jwks_uri: String,
    /// Where tokens are given back (RFC 7009).
    pub revocation_endpoint: String,
    /// The ways to log in.
    pub grant_types_supported: Vec<String>,
    /// None: there is no authorization endpoint yet.
    pub response_types_supported: Vec<String>,
    /// The assertion is the credential.
    pub token_endpoint_auth_methods_supported: Vec<String>,
    /// How strong logins can be (RFC 9470 section 6.1).
    pub acr_values_supported: Vec<String>,
    /// Algorithms of proofs (RFC 9449 section 5.1).
    pub dpop_signing_alg_values_supported: Vec<String>,
}

/// Asks for a token (RFC 7523 section 2.1). Unknown parameters are ignored, as RFC 6749 section 3.2 demands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenRequest {
    /// `urn:ietf:params:oauth:grant-type:jwt-bearer`.
    pub grant_type: String,
    /// The identity's self-signed assertion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assertion: Option<String>,
    /// Scope names separated by spaces; everything when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// Which program asks; the identity itself when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// How strong the login is to be (RFC 9470 section 4): `urn:q:acr:two-keys` together with `second_assertion`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acr_values: Option<String>,
    /// The same assertion made once more, by a second key of the identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second_assertion: Option<String>,
}

/// A token (RFC 6749 section 5.1).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenResponse {
    /// The token.
    pub access_token: String,
    /// `DPoP` or `Bearer`.
    pub token_type: String,
    /// Seconds until it ends.
    pub expires_in: u64,
    /// What it allows, where that is less than everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
}

impl std::fmt::Debug for TokenResponse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TokenResponse({}, {} s)", self.token_type, self.expires_in)
    }
}

/// Gives a token back (RFC 7009 section 2.1). Unknown parameters are ignored.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RevokeRequest {
    /// The token.
    pub token: String,
}

/// Nothing to say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Empty {}

/// The caller's sessions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionList {
    /// Those that live, newest first; at most 50.
    pub items: Vec<Session>,
}

/// A login.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    /// Its id.
    pub id: String,
    /// Which program logged in.
    pub client_id: String,
    /// The key that logged in.
    pub kid: String,
    /// Whether its tokens are bound to a key of the sender.
    pub is_sender_bound: bool,
    /// When it began.
    pub created_at: Timestamp,
    /// When its newest token ends.
    pub expires_at: Timestamp,
}

/// Names a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SessionRequest {
    /// Its id.
    pub id: String,
}

/// Changes whether an identity may act.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StatusRequest {
    /// The identity.
    pub did: Did,
    /// Why, 1 to 500 characters, for operators.
    pub reason: String,
}

/// Replaces the key that signs tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RotateSigningKeyRequest {
    /// Whether somebody else has the old key: then all its tokens die at once.
    #[serde(default)]
    pub compromised: bool,
}

json_types!(
    Identity,
    LogHead,
    DidDocument,
    Resolution,
    KeySet,
    ServerMetadata,
    TokenResponse,
    Empty,
    SessionList,
);
