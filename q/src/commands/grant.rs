//! `q grant`: let somebody read a wallet, and take it back.

use std::process::ExitCode;

use q_core::{PageLimit, Span};
use q_pdp::Resource;
use q_ucan::Issuer;
use qonsent_api::{
    Grant, GrantRequest, IssueGrant, ListPermissions, ListPermissionsRequest, NewDelegation, RevokeGrant,
    RevokeRequest,
};
use qwallet_api::{GetWallet, WalletPath};

use crate::{
    cli::{Cli, GrantVerb},
    output,
    session::Session,
};

/// How long a grant lasts unless it is taken back earlier.
const GRANT_TTL: Span = Span::seconds(90 * 86_400);

pub async fn run(cli: &Cli, verb: &GrantVerb) -> anyhow::Result<ExitCode> {
    match verb {
        GrantVerb::Wallet { identity, acting } => {
            let session = Session::open(&cli.data, &acting.name)?;
            let grant = wallet(&session, identity).await?;
            output::show(acting.json, &grant, show);
        }
        GrantVerb::Revoke { identity, acting } => {
            let session = Session::open(&cli.data, &acting.name)?;
            let request = RevokeRequest {
                resource: Some(own_wallet(&session).await?.as_str().to_owned()),
                identity: Some(session.identity(identity)?.to_string()),
                ..RevokeRequest::default()
            };
            let client = session.client("qonsent")?.with_key(session.fresh_key());
            let revocation = client.call::<RevokeGrant>(&request).await?;
            output::show(acting.json, &revocation, |revocation| {
                output::line(format!("revoked: {}", revocation.revoked_permissions.join(", ")));
                for other in &revocation.ineffective {
                    let still = other.permissions.join(", ");
                    output::line(format!(
                        "still allowed by {} ({}): {still}",
                        other.grant_id, other.granted_by
                    ));
                }
            });
        }
        GrantVerb::List { acting } => {
            let session = Session::open(&cli.data, &acting.name)?;
            let request = ListPermissionsRequest {
                resource: None,
                identity: None,
                cursor: None,
                limit: PageLimit::default(),
            };
            let page = session.client("qonsent")?.call::<ListPermissions>(&request).await?;
            output::show(acting.json, &page, |page| {
                page.items.iter().for_each(show);
                if let Some(cursor) = &page.next_cursor {
                    let path = format!("/permissions?limit=200&cursor={cursor}");
                    output::progress(format!("more grants: q call qonsent GET '{path}' --as NAME"));
                }
            });
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Signs a delegation to read the acting identity's wallet and hands it in.
async fn wallet(session: &Session, identity: &str) -> anyhow::Result<Grant> {
    let resource = own_wallet(session).await?;
    let audience = session.identity(identity)?;
    let delegation = NewDelegation {
        issuer: Issuer::from(session.did().clone()),
        owner: session.did(),
        audience: &audience,
        resource: &resource,
        permissions: &["read"],
        expires_at: session.env.now() + GRANT_TTL,
    };
    let request = GrantRequest {
        resource: resource.as_str().to_owned(),
        identity: audience.to_string(),
        permissions: vec!["read".to_owned()],
        expires_at: None,
        delegation: Some(delegation.sign(&session.env, &session.keyring.current)?),
    };
    let client = session.client("qonsent")?.with_key(session.fresh_key());
    Ok(client.call::<IssueGrant>(&request).await?)
}

async fn own_wallet(session: &Session) -> anyhow::Result<Resource> {
    let own = WalletPath { squid_id: session.did().to_string() };
    let wallet = session.client("qwallet")?.call::<GetWallet>(&own).await?;
    Ok(format!("qwallet:wallet:{}", wallet.wallet_id).parse()?)
}

fn show(grant: &Grant) {
    let may = match grant.permissions.as_slice() {
        [] => "may nothing any more".to_owned(),
        permissions => format!("may {}  until {}", permissions.join(", "), grant.expires_at),
    };
    output::line(format!("{}  {}  {} {may}", grant.grant_id, grant.resource, grant.identity));
}
