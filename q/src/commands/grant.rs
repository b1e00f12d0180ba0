//! `q grant`: let somebody read a wallet or pay from it, and take it back.

pub mod pay;

use std::{collections::BTreeMap, process::ExitCode};

use q_contract::CallError;
use q_core::{Did, Page, PageLimit, Span, Timestamp};
use q_pdp::{Conditions, Resource, conditions::WindowText};
use q_ucan::Issuer;
use qonsent_api::{
    DelegationRecord, Grant, GrantConditions, GrantRequest, IssueGrant, ListPermissions,
    ListPermissionsRequest, NewDelegation, Revocation, RevokeGrant, RevokeRequest, errors::GRANT_NOT_FOUND,
};
use qwallet_api::{GetUses, GetWallet, UsesPath, WalletPath};
use serde::Serialize;

use crate::{
    cli::{Cli, GrantVerb},
    commands::wallet::hint_to_open,
    output::{self, usage},
    session::Session,
};

/// How long a grant lasts unless it is taken back earlier.
const GRANT_TTL: Span = Span::seconds(90 * 86_400);

pub async fn run(cli: &Cli, verb: &GrantVerb) -> anyhow::Result<ExitCode> {
    match verb {
        GrantVerb::Wallet { identity, terms, acting } => {
            let session = Session::open(&cli.data, &acting.name)?;
            let grant = wallet(&session, identity, terms).await?;
            output::show(acting.json, &grant, |grant| show(&session, grant, &BTreeMap::new()));
        }
        GrantVerb::Pay(args) => pay::run(&Session::open(&cli.data, &args.acting.name)?, args).await?,
        GrantVerb::Revoke { identity, delegation, acting } => {
            let session = Session::open(&cli.data, &acting.name)?;
            let revocation = match (identity, delegation) {
                (Some(identity), _) => revoke_all(&session, &session.identity(identity)?).await?,
                (None, cid) => {
                    let cid = cid.as_deref().map(str::parse).transpose();
                    let cid = cid.map_err(|error| usage(format!("--delegation: {error}")))?;
                    revoke(&session, &RevokeRequest { cid, ..RevokeRequest::default() }).await?
                }
            };
            output::show(acting.json, &revocation, |revocation| {
                let what = match revocation.revoked_permissions.as_slice() {
                    [] => revocation.cids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
                    permissions => permissions.join(", "),
                };
                output::line(format!("revoked: {what}"));
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
            let mut used = BTreeMap::new();
            for grant in page.items.iter().filter(|grant| grant.resource.starts_with("qwallet:")) {
                for counted in grant.conditions.iter().filter(|of| of.conditions.max_uses.is_some()) {
                    used.extend(uses(&session, counted.cid.to_string()).await);
                }
            }
            let payments = pay::standing(&session).await?;
            for record in payments.iter().filter(|record| pay::conditions(record).max_uses.is_some()) {
                used.extend(uses(&session, record.cid.to_string()).await);
            }
            let shown = Shown { page: &page, used: &used, payments: &payments };
            output::show(acting.json, &shown, |shown| {
                shown.page.items.iter().for_each(|grant| show(&session, grant, shown.used));
                shown.payments.iter().for_each(|record| pay::show(&session, record, shown.used));
                if shown.page.items.is_empty() && shown.payments.is_empty() {
                    output::line("nothing is granted; `q grant wallet` and `q grant pay` grant");
                }
                if let Some(cursor) = &page.next_cursor {
                    let path = format!("/permissions?limit=200&cursor={cursor}");
                    output::progress(format!("more grants: q call qonsent GET '{path}' --as NAME"));
                }
            });
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// When and how often a grant counts.
#[derive(Debug, Clone, clap::Args)]
pub struct TermsArgs {
    /// Not before this instant.
    #[arg(long, value_name = "RFC3339")]
    from: Option<Timestamp>,
    /// Not after this instant; 90 days from now when not said.
    #[arg(long, value_name = "RFC3339")]
    until: Option<Timestamp>,
    /// Only at this time of day; past midnight where the end is before the start.
    #[arg(long, value_name = "HH:MM-HH:MM", requires = "zone")]
    between: Option<String>,
    /// In this time zone, such as Europe/Madrid.
    #[arg(long, value_name = "ZONE", requires = "between")]
    zone: Option<String>,
    /// Only on these days.
    #[arg(long, value_name = "MON,TUE,…", value_delimiter = ',', requires = "between")]
    days: Vec<String>,
    /// Only so many times.
    #[arg(long, value_name = "COUNT")]
    max_uses: Option<u64>,
}

impl TermsArgs {
    fn conditions(&self) -> anyhow::Result<Conditions> {
        let window = |between: &String| -> anyhow::Result<WindowText> {
            let (start, end) = between
                .split_once('-')
                .ok_or_else(|| usage(format!("--between {between} is not HH:MM-HH:MM")))?;
            Ok(WindowText {
                start: start.to_owned(),
                end: end.to_owned(),
                tz: self.zone.clone().unwrap_or_default(),
                days: self.days.iter().map(|day| day.to_uppercase()).collect(),
            })
        };
        let time_window = self.between.as_ref().map(window).transpose()?;
        let conditions = Conditions { time_window, max_uses: self.max_uses };
        conditions.check().map_err(usage)?;
        Ok(conditions)
    }
}

/// Signs a delegation to read the acting identity's wallet and hands it in.
async fn wallet(session: &Session, identity: &str, terms: &TermsArgs) -> anyhow::Result<Grant> {
    let resource = own_wallet(session).await?;
    let audience = audience(session, identity)?;
    let delegation = NewDelegation {
        issuer: Issuer::from(session.did().clone()),
        owner: session.did(),
        audience: &audience,
        resource: &resource,
        permissions: &["read"],
        not_before: terms.from,
        expires_at: terms.until.unwrap_or_else(|| session.env.now() + GRANT_TTL),
        conditions: &terms.conditions()?,
    };
    let request = GrantRequest {
        resource: resource.as_str().to_owned(),
        identity: audience.to_string(),
        permissions: vec!["read".to_owned()],
        expires_at: terms.until,
        delegation: Some(delegation.sign(&session.env, &session.keyring.current)?),
    };
    let client = session.client("qonsent")?.with_key(session.fresh_key());
    Ok(client.call::<IssueGrant>(&request).await?)
}

/// Who is let in: somebody else, since an owner needs no leave.
fn audience(session: &Session, identity: &str) -> anyhow::Result<Did> {
    let audience = session.identity(identity)?;
    if audience == *session.did() {
        let name = session.name();
        return Err(usage(format!(
            "the wallet is {name}'s own, who needs no grant; --as NAME grants as somebody else"
        )));
    }
    Ok(audience)
}

async fn own_wallet(session: &Session) -> anyhow::Result<Resource> {
    let own = WalletPath { squid_id: session.did().to_string() };
    let wallet = session.client("qwallet")?.call::<GetWallet>(&own).await;
    let wallet = wallet.map_err(|error| hint_to_open(session, error))?;
    Ok(format!("qwallet:wallet:{}", wallet.wallet_id).parse()?)
}

async fn revoke(session: &Session, request: &RevokeRequest) -> anyhow::Result<Revocation> {
    let client = session.client("qonsent")?.with_key(session.fresh_key());
    Ok(client.call::<RevokeGrant>(request).await?)
}

/// Takes back what `identity` may do with the wallet of the acting identity: read it, and pay from it.
async fn revoke_all(session: &Session, identity: &Did) -> anyhow::Result<Revocation> {
    let given = pay::standing(session).await?;
    let given = given.iter().filter(|record| pay::is_given(session, record) && record.audience == *identity);
    let mut all: Option<Revocation> = None;
    for record in given {
        let request = RevokeRequest { cid: Some(record.cid), ..RevokeRequest::default() };
        let revoked = revoke(session, &request).await?;
        let sum = all
            .get_or_insert_with(|| Revocation { revoked_permissions: vec!["pay".into()], ..revoked.clone() });
        sum.cids.push(record.cid);
        sum.cids.dedup();
    }
    let request = RevokeRequest {
        resource: Some(own_wallet(session).await?.as_str().to_owned()),
        identity: Some(identity.to_string()),
        ..RevokeRequest::default()
    };
    match (revoke(session, &request).await, all) {
        (Ok(revoked), None) => Ok(revoked),
        (Ok(mut revoked), Some(payments)) => {
            revoked.revoked_permissions.extend(payments.revoked_permissions);
            revoked.cids.extend(payments.cids);
            Ok(revoked)
        }
        (Err(error), Some(payments)) if is_not_found(&error) => Ok(payments),
        (Err(error), _) => Err(error),
    }
}

fn is_not_found(error: &anyhow::Error) -> bool {
    let refused = error.downcast_ref::<CallError>();
    matches!(refused, Some(CallError::Problem(problem)) if problem.code == GRANT_NOT_FOUND.code)
}

/// Grants, and how often those that count were used.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    page: &'a Page<Grant>,
    /// By the CID of the delegation.
    used: &'a BTreeMap<String, i64>,
    /// Who may pay, and within which bounds.
    payments: &'a [DelegationRecord],
}

fn show(session: &Session, grant: &Grant, used: &BTreeMap<String, i64>) {
    let may = match grant.permissions.as_slice() {
        [] => "may nothing any more".to_owned(),
        permissions => format!("may {}  until {}", permissions.join(", "), grant.expires_at),
    };
    let whom = session.named(grant.identity.as_str());
    output::line(format!("{}  {}  {whom} {may}", grant.grant_id, grant.resource));
    for GrantConditions { cid, conditions } in &grant.conditions {
        show_conditions(conditions, used.get(&cid.to_string()).copied());
    }
}

/// When and how often something counts, and how often it is left where that is known.
fn show_conditions(conditions: &Conditions, used: Option<i64>) {
    if let Some(WindowText { start, end, tz, days }) = &conditions.time_window {
        output::line(format!("  only from {start} to {end} ({tz}) {}", days.join(", ")));
    }
    if let Some(max) = conditions.max_uses {
        let left = used.map(|used| max.saturating_sub(used.unsigned_abs()));
        let left = left.map_or_else(String::new, |left| format!(", {left} left"));
        output::line(format!("  only {max} times{left}"));
    }
}

/// How often a delegation was used: qwallet counts, and without it nobody is told.
async fn uses(session: &Session, cid: String) -> Option<(String, i64)> {
    let path = UsesPath { cid };
    let counted = session.client("qwallet").ok()?.call::<GetUses>(&path).await.ok()?;
    Some((path.cid, counted.used))
}
