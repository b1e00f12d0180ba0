//! The endpoints.

use q_contract::{Access, Blob, codes::FORBIDDEN, endpoint};
use q_core::Page;

use crate::{
    errors::{
        DELEGATION_NOT_FOUND, DELEGATION_REVOKED, GRANT_LIMIT, GRANT_NOT_FOUND, INSUFFICIENT_PERMISSIONS,
        INVALID_ACTION, INVALID_IDENTITY_FORMAT, INVALID_PERMISSIONS, INVALID_RESOURCE_FORMAT,
        MISSING_PROOFS, QONSENT_STALE, STANDING_DELEGATION_REQUIRED, UCAN_BAD_SIGNATURE, UCAN_EXPIRED,
        UCAN_INVALID, UCAN_REVOKED, UCAN_TOO_EARLY, UCAN_TOO_LARGE, VALIDATION_ERROR,
    },
    types::{
        Changes, CheckRequest, CheckResponse, DelegationPath, DelegationRecord, Grant, GrantRequest,
        ListChangesRequest, ListDelegationsRequest, ListPermissionsRequest, RegisterRequest, Registered,
        Revocation, RevokeRequest,
    },
};

endpoint! {
    /// Tells whether an identity may do an action to a resource now, and why.
    ///
    /// Anybody may ask about themselves; about others, the owner of the resource, operators and modules may.
    /// Modules of this instance decide in their own process and need no call.
    pub Check = POST "/check" (CheckRequest) -> CheckResponse;
    access Access::Identity("qonsent:read");
    errors [INVALID_RESOURCE_FORMAT, INVALID_IDENTITY_FORMAT, INVALID_ACTION, FORBIDDEN, QONSENT_STALE];
    tool "qonsent.check";
    idempotent true;
    when_read_only true;
    example {
        "resource": "qdrive:file:01JABC", "identity": "did:squid:QmZ1kPYtWQ2D9qUcFqGz1oUtd2ao6MQuHjyKoGVszmxRqq",
        "action": "read"
    };
}

endpoint! {
    /// Hands rights on a resource on to an identity.
    ///
    /// The caller signs one UCAN delegation for each action and hands them in as `delegation`; delegations on record
    /// are found by themselves. Nobody can grant more than the chain from the owner to them shows.
    pub IssueGrant = POST "/grant" (GrantRequest) -> Grant;
    status 201;
    access Access::Identity("qonsent:write");
    errors [
        INVALID_RESOURCE_FORMAT, INVALID_IDENTITY_FORMAT, INVALID_PERMISSIONS, VALIDATION_ERROR,
        STANDING_DELEGATION_REQUIRED, UCAN_TOO_LARGE, UCAN_INVALID, MISSING_PROOFS, INSUFFICIENT_PERMISSIONS,
        UCAN_EXPIRED, UCAN_TOO_EARLY, UCAN_BAD_SIGNATURE, UCAN_REVOKED, GRANT_LIMIT,
    ];
    tool "qonsent.grant";
}

endpoint! {
    /// Takes rights back: those on a resource from an identity, or whatever goes through one delegation.
    ///
    /// The owner and everybody who signed a delegation of the chain may. What still allows the same by another
    /// grant is listed under `ineffective`.
    pub RevokeGrant = POST "/revoke" (RevokeRequest) -> Revocation;
    access Access::Identity("qonsent:write");
    errors [
        INVALID_RESOURCE_FORMAT, INVALID_IDENTITY_FORMAT, INVALID_PERMISSIONS, VALIDATION_ERROR, GRANT_NOT_FOUND,
        DELEGATION_NOT_FOUND, FORBIDDEN,
    ];
    tool "qonsent.revoke";
    when_read_only true;
}

endpoint! {
    /// Lists grants, newest first: those the caller owns, made or holds.
    pub ListPermissions = GET "/permissions" (ListPermissionsRequest) -> Page<Grant>;
    access Access::Identity("qonsent:read");
    errors [INVALID_RESOURCE_FORMAT, INVALID_IDENTITY_FORMAT, VALIDATION_ERROR];
    tool "qonsent.listAccess";
}

endpoint! {
    /// Puts signed delegations on record. Those that pin a resource and name an action become grants.
    ///
    /// Whoever signed or received one of them may hand them in.
    pub RegisterDelegations = POST "/delegations" (RegisterRequest) -> Registered;
    status 201;
    access Access::Identity("qonsent:write");
    errors [
        UCAN_TOO_LARGE, UCAN_INVALID, FORBIDDEN, UCAN_EXPIRED, UCAN_BAD_SIGNATURE, UCAN_REVOKED, GRANT_LIMIT,
    ];
}

endpoint! {
    /// Lists the delegations on record that the caller gave or received, that have not ended and were not taken back;
    /// newest first. Also those that are no grants, because they bound what is done and not on what.
    pub ListDelegations = GET "/delegations" (ListDelegationsRequest) -> Page<DelegationRecord>;
    access Access::Identity("qonsent:read");
    errors [VALIDATION_ERROR];
}

endpoint! {
    /// Shows a delegation on record.
    pub GetDelegation = GET "/delegations/{cid}" (DelegationPath) -> DelegationRecord;
    access Access::Identity("qonsent:read");
    errors [DELEGATION_NOT_FOUND, DELEGATION_REVOKED];
}

endpoint! {
    /// Gives the bytes of a delegation on record.
    pub GetDelegationToken = GET "/delegations/{cid}/token" (DelegationPath) -> Blob;
    access Access::Identity("qonsent:read");
    errors [DELEGATION_NOT_FOUND, DELEGATION_REVOKED];
    produces "application/vnd.ipld.dag-cbor";
}

endpoint! {
    /// Lists the changes after an epoch, for modules that missed some.
    pub ListChanges = GET "/revocations" (ListChangesRequest) -> Changes;
    access Access::Service;
}
