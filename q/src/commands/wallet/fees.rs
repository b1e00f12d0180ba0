//! `q wallet fees`: what payments cost, and who decided it.

use std::path::Path;

use clap::{Args, Subcommand};
use q_core::{Span, Timestamp};
use qwallet_api::{
    FeeRate, FeeVersion, FeeVersions, GetFees, GetFeesRequest, SetFees, SetFeesRequest,
    fees::{FEES_TYP, FeesOrder},
    signing::signing_input,
};

use super::{ORDER_LIFETIME, sign_as};
use crate::{
    cli::AsArgs,
    output::{self, usage},
    session::Session,
};

/// How far ahead a version begins where nothing is said.
const LEAD: Span = Span::seconds(120);

/// `q wallet fees`.
#[derive(Debug, Args)]
pub struct FeesArgs {
    /// What to do.
    #[command(subcommand)]
    pub verb: FeesVerb,
}

/// What to do about fees.
#[derive(Debug, Subcommand)]
pub enum FeesVerb {
    /// Show what payments cost, cost before and will cost.
    Show {
        /// Who asks.
        #[command(flatten)]
        acting: AsArgs,
    },
    /// Set a version of the fee schedule, signed by two approvers of this keyring.
    Set(SetArgs),
}

/// `q wallet fees set`.
#[derive(Debug, Args)]
pub struct SetArgs {
    /// What payments of a class cost, in hundredths of a percent: `QToken.p2p=50`, with the rail's share `=50+10`.
    /// The classes are p2p (in every currency), merchant (as p2p when left out) and module (nothing when left out).
    #[arg(long = "rate", value_name = "CURRENCY.CLASS=PLATFORM[+NETWORK]", required = true)]
    pub rates: Vec<String>,
    /// From when on (RFC 3339), at least a minute ahead; in two minutes when absent.
    #[arg(long, value_name = "INSTANT")]
    pub from: Option<Timestamp>,
    /// The resolution or ticket that decided it.
    #[arg(long)]
    pub reference: String,
    /// Who approves, at least two.
    #[arg(long = "approver", value_name = "NAME", required = true)]
    pub approvers: Vec<String>,
    /// Answer as JSON.
    #[arg(long)]
    pub json: bool,
}

pub async fn run(data: &Path, args: &FeesArgs) -> anyhow::Result<()> {
    match &args.verb {
        FeesVerb::Show { acting } => {
            let client = Session::open(data, &acting.name)?.client("qwallet")?;
            let versions = client.call::<GetFees>(&GetFeesRequest {}).await?;
            output::show(acting.json, &versions, show);
        }
        FeesVerb::Set(args) => {
            let versions = set(data, args).await?;
            output::show(args.json, &versions, show);
        }
    }
    Ok(())
}

async fn set(data: &Path, args: &SetArgs) -> anyhow::Result<FeeVersions> {
    if args.approvers.len() < 2 {
        return Err(usage("a fee schedule needs two approvers: --approver operator --approver NAME"));
    }
    let sessions: Vec<Session> =
        args.approvers.iter().map(|name| Session::open(data, name)).collect::<anyhow::Result<_>>()?;
    let first = &sessions[0];
    let rates: Vec<FeeRate> = args.rates.iter().map(|text| rate(text)).collect::<anyhow::Result<_>>()?;
    let aud = first.layout.read_instance()?.did.to_string();
    let now = first.env.now();
    let (expires_at, valid_from) =
        ((now + ORDER_LIFETIME).to_string(), args.from.unwrap_or(now + LEAD).to_string());
    let nonce = first.fresh_key();
    let input = signing_input(&FeesOrder {
        aud: &aud,
        client_ref: &args.reference,
        expires_at: &expires_at,
        nonce: &nonce,
        rates: &rates,
        v: 1,
        valid_from: &valid_from,
    });
    let request = SetFeesRequest {
        approvals: sessions.iter().map(|session| sign_as(session, FEES_TYP, &input)).collect(),
        client_ref: args.reference.clone(),
        expires_at: expires_at.clone(),
        nonce: nonce.clone(),
        rates,
        valid_from: valid_from.clone(),
    };
    Ok(first.client("qwallet")?.with_key(first.fresh_key()).call::<SetFees>(&request).await?)
}

fn rate(text: &str) -> anyhow::Result<FeeRate> {
    let read = || {
        let (name, shares) = text.split_once('=')?;
        let (currency, class) = name.split_once('.')?;
        let (platform, network) = shares.split_once('+').unwrap_or((shares, "0"));
        Some(FeeRate {
            class: class.to_owned(),
            currency: currency.to_owned(),
            network_basis_points: network.parse().ok()?,
            platform_basis_points: platform.parse().ok()?,
        })
    };
    read().ok_or_else(|| usage(format!("{text:?} is not a rate such as QToken.p2p=50 or PI.merchant=100+10")))
}

fn show(versions: &FeeVersions) {
    for version in &versions.items {
        show_version(version, version.version == versions.current);
    }
}

fn show_version(version: &FeeVersion, is_current: bool) {
    let by = version.client_ref.as_ref().map_or_else(
        || "of the settings".to_owned(),
        |reference| {
            format!("from {}, {reference}, {} approvers", version.valid_from, version.approvers.len())
        },
    );
    let now = if is_current { ", holds now" } else { "" };
    output::line(format!("version {}  {by}{now}", version.version));
    for rate in &version.rates {
        output::line(format!(
            "  {:<8} {:<9} {} basis points to the house, {} to the rail",
            rate.currency, rate.class, rate.platform_basis_points, rate.network_basis_points
        ));
    }
}
