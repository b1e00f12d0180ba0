//! The table of contents: each endpoint and the use case behind it.
//!
//! **Invariant:** decodes and hands on; decides nothing.

use std::sync::Arc;

use q_contract::{Problem, Text};
use q_core::{
    Did,
    caller::{ACR_ONE_KEY, ACR_TWO_KEYS},
};
use q_http::{Api, Context};
use squid_api::{
    AddSecondKey, AppendLog, CreateIdentity, CreateSubIdentity, DidDocument, Empty, EndAllSessions,
    EndSession, GetDocument, GetIdentity, GetKeySet, GetLog, GetServerMetadata, GetStanding, IdentityType,
    IssueToken, KeySet, ListSecondKeys, ListSessions, ListSubIdentities, PrivacyLevel, ReactivateIdentity,
    ReactivateSubIdentity, RemoveSecondKey, ResetSecondKeys, ResolveDid, RevokeToken, RotateSigningKey,
    SecondKeyList, ServerMetadata, SessionList, StandingRecord, Status, SubIdentityList, SuspendIdentity,
    SuspendSubIdentity, SwitchIdentity, UpdateIdentity,
};

use crate::{
    Squid,
    error::Error,
    service::{
        identities::{ProfileChange, Registration},
        logins::TOKEN_PATH,
        resolving::Version,
    },
};

const ABOUT: &str = "Identities that their owners hold the keys of, and the login server of this instance.";

/// The endpoints of squid.
pub fn api(squid: Arc<Squid>) -> Api {
    let builder = Api::build("squid", ABOUT, squid)
        .on::<CreateIdentity, _, _, _>(|squid, context, request| async move {
            let new = Registration {
                log_entry: request.log_entry,
                profile: request.profile,
                privacy_level: request.privacy_level.unwrap_or(PrivacyLevel::Public),
            };
            squid.register(new, request.kind.unwrap_or(IdentityType::Root), context.peer).await
        })
        .on::<GetIdentity, _, _, _>(|squid, context, request| async move {
            squid.identity(&context.caller, &request.did).await
        })
        .on::<UpdateIdentity, _, _, _>(|squid, context, request| async move {
            let change = ProfileChange {
                profile: request.profile,
                privacy_level: request.privacy_level,
                revision: request.revision,
            };
            squid.change_profile(&context.caller, &request.did, change).await
        })
        .on::<AppendLog, _, _, _>(|squid, _, request| async move {
            squid.append(&request.did, &request.entry, request.compromised).await
        })
        .on::<SuspendIdentity, _, _, _>(|squid, context, request| async move {
            squid.set_status(context.caller.did(), &request.did, Status::Suspended, &request.reason).await
        })
        .on::<ReactivateIdentity, _, _, _>(|squid, context, request| async move {
            squid.set_status(context.caller.did(), &request.did, Status::Active, &request.reason).await
        })
        .on::<RotateSigningKey, _, _, _>(|squid, context, request| async move {
            let by: Option<Did> = context.caller.did().cloned();
            let set = squid.rotate_signing_key(by.as_ref(), request.compromised, context.request_key).await;
            set.map(|set| key_set(&set))
        });
    public(second_keys(family(sessions(builder)))).done()
}

fn family(builder: q_http::ApiBuilder<Squid>) -> q_http::ApiBuilder<Squid> {
    builder
        .on::<CreateSubIdentity, _, _, _>(|squid, context, request| async move {
            squid.add_sub_identity(&context.caller, request).await
        })
        .on::<ListSubIdentities, _, _, _>(|squid, context, request| async move {
            squid.sub_identities(&context.caller, &request.did).await.map(|items| SubIdentityList { items })
        })
        .on::<SuspendSubIdentity, _, _, _>(|squid, context, request| async move {
            let to = Status::Suspended;
            squid.set_sub_status(&context.caller, &request.did, &request.child, to, &request.reason).await
        })
        .on::<ReactivateSubIdentity, _, _, _>(|squid, context, request| async move {
            let to = Status::Active;
            squid.set_sub_status(&context.caller, &request.did, &request.child, to, &request.reason).await
        })
        .on::<SwitchIdentity, _, _, _>(|squid, context, request| async move {
            // The proof was checked with the token: its key is the one the token is bound to.
            let is_bound = context.caller.principal().is_some_and(|principal| principal.is_sender_bound);
            let proof = dpop_header(&context)?.filter(|_| is_bound);
            let jkt =
                proof.as_deref().map(q_auth::dpop::thumbprint_of).transpose().map_err(|_| Error::Proof)?;
            squid.switch(&context.caller, &request.to, request.scope.as_deref(), jkt).await
        })
        .on::<GetStanding, _, _, _>(|squid, _, request| async move {
            let standing = squid.standing(&request.did).await?;
            Ok::<_, Error>(StandingRecord {
                did: standing.did,
                kind: standing.kind,
                status: standing.status,
                parent: standing.parent,
                root: standing.root,
                guardians: standing.guardians,
            })
        })
}

fn second_keys(builder: q_http::ApiBuilder<Squid>) -> q_http::ApiBuilder<Squid> {
    builder
        .on::<AddSecondKey, _, _, _>(|squid, context, request| async move {
            squid.add_second_key(&context.caller, &request.assertion).await
        })
        .on::<ListSecondKeys, _, _, _>(|squid, context, _| async move {
            squid.second_keys(context.did()).await.map(|items| SecondKeyList { items })
        })
        .on::<RemoveSecondKey, _, _, _>(|squid, context, request| async move {
            squid.remove_second_key(&context.caller, &request.key).await.map(|()| Empty {})
        })
        .on::<ResetSecondKeys, _, _, _>(|squid, context, request| async move {
            let by = context.caller.did();
            squid.reset_second_keys(by, &request.did, &request.reason).await.map(|()| Empty {})
        })
}

fn sessions(builder: q_http::ApiBuilder<Squid>) -> q_http::ApiBuilder<Squid> {
    builder
        .on::<ListSessions, _, _, _>(|squid, context, _| async move {
            squid.sessions(context.did()).await.map(|items| SessionList { items })
        })
        .on::<EndSession, _, _, _>(|squid, context, request| async move {
            squid.end_session(context.did(), &request.id).await.map(|()| Empty {})
        })
        .on::<EndAllSessions, _, _, _>(|squid, context, _| async move {
            squid.end_all_sessions(context.did()).await.map(|()| Empty {})
        })
        .on::<IssueToken, _, _, _>(|squid, context, request| async move {
            let proof = dpop_header(&context)?;
            squid.issue_token(request, proof.as_deref()).await
        })
        .on::<RevokeToken, _, _, _>(|squid, _, request| async move {
            squid.give_back(&request.token).await.map(|()| Empty {})
        })
}

fn public(builder: q_http::ApiBuilder<Squid>) -> q_http::ApiBuilder<Squid> {
    builder
        .on::<GetLog, _, _, _>(
            |squid, _, request| async move { squid.log_text(&request.scid).await.map(Text) },
        )
        .on::<GetDocument, _, _, _>(|squid, _, request| async move {
            let version = Version { id: request.version_id, time: request.version_time };
            squid.did_web_document(&request.scid, &version).await.map(DidDocument)
        })
        .on::<ResolveDid, _, _, _>(|squid, _, request| async move {
            let version = Version { id: request.version_id, time: request.version_time };
            squid.resolve(&request.did, &version).await
        })
        .on::<GetServerMetadata, _, _, _>(|squid, _, _| async move { Ok::<_, Problem>(metadata(&squid)) })
        .on::<GetKeySet, _, _, _>(|squid, _, _| async move { Ok::<_, Problem>(key_set(&squid.key_set())) })
}

fn metadata(squid: &Squid) -> ServerMetadata {
    let at = |path: &str| format!("{}{path}", squid.origin);
    ServerMetadata {
        issuer: squid.origin.clone(),
        token_endpoint: at(TOKEN_PATH),
        jwks_uri: at("/oauth2/jwks"),
        revocation_endpoint: at("/oauth2/revoke"),
        grant_types_supported: vec![q_auth::prove::JWT_BEARER_GRANT.into()],
        response_types_supported: Vec::new(),
        token_endpoint_auth_methods_supported: vec!["none".into()],
        acr_values_supported: vec![ACR_ONE_KEY.into(), ACR_TWO_KEYS.into()],
        dpop_signing_alg_values_supported: vec!["EdDSA".into()],
    }
}

fn key_set(set: &q_jose::JwkSet) -> KeySet {
    let keys = set.keys.iter().filter_map(|key| serde_json::to_value(key).ok());
    KeySet { keys: keys.collect() }
}

/// The one proof; two of them would be read differently by two programs.
fn dpop_header(context: &Context) -> Result<Option<String>, Error> {
    let mut values = context.headers.get_all("dpop").iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(|text| Some(text.to_owned())).map_err(|_| Error::Proof),
        (Some(_), Some(_)) => Err(Error::Proof),
    }
}
