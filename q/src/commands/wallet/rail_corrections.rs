//! `q wallet rail book`, `assign`, `write-off`: what two operators set right in the books of a rail.

use std::path::Path;

use clap::Args;
use qwallet_api::{
    CorrectRail, CorrectRailRequest, ListRailCorrections, RAIL_CORRECTION_TYP, RailCorrection,
    RailCorrectionOrder, RailPath, TransactionId, signing::signing_input,
};

use super::{ORDER_LIFETIME, sign_as};
use crate::{
    cli::positive,
    output::{self, usage},
    session::Session,
};

/// Who signs a correction, and why.
#[derive(Debug, Args)]
pub struct SignedArgs {
    /// Why, in at most 500 characters; auditors read it.
    #[arg(long)]
    pub reason: String,
    /// Who signs; at least two, and nobody whose wallet it is.
    #[arg(long = "approver", value_name = "NAME", required = true)]
    pub approvers: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// `q wallet rail book`.
#[derive(Debug, Args)]
pub struct BookArgs {
    /// The rail, such as evm.
    pub rail: String,
    /// Whose wallet paid: a keyring name, DID, wallet id or wallet reference.
    pub who: String,
    /// How much the recipient got, such as 12.50.
    #[arg(allow_negative_numbers = true, value_parser = positive)]
    pub amount: String,
    /// The address of the recipient.
    pub recipient: String,
    /// Where it is seen: its transaction on the chain, or the bank's reference in a statement that was taken in.
    #[arg(long)]
    pub reference: String,
    /// Who signs.
    #[command(flatten)]
    pub signed: SignedArgs,
}

/// `q wallet rail assign`.
#[derive(Debug, Args)]
pub struct AssignArgs {
    /// The rail, such as evm.
    pub rail: String,
    /// The deposit, as `q wallet rail suspense` lists it.
    pub deposit: TransactionId,
    /// Whose it is: a keyring name, DID, wallet id or wallet reference.
    pub who: String,
    /// Who signs.
    #[command(flatten)]
    pub signed: SignedArgs,
}

/// `q wallet rail write-off`.
#[derive(Debug, Args)]
#[group(id = "written", required = true, multiple = false, args = ["deposit", "amount"])]
pub struct WriteOffArgs {
    /// The rail, such as evm.
    pub rail: String,
    /// A deposit in suspense, which is the house's then.
    #[arg(long)]
    pub deposit: Option<TransactionId>,
    /// How much the rail holds less than the books, which is the house's loss.
    #[arg(long, allow_negative_numbers = true, value_parser = positive)]
    pub amount: Option<String>,
    /// Who signs.
    #[command(flatten)]
    pub signed: SignedArgs,
}

pub async fn book(data: &Path, args: &BookArgs) -> anyhow::Result<()> {
    let asked = CorrectRailRequest {
        amount: Some(args.amount.as_str().into()),
        wallet: Some(args.who.clone()),
        recipient: Some(args.recipient.clone()),
        reference: Some(args.reference.clone()),
        ..asked(&args.rail, "BOOK_WITHDRAWAL", &args.signed)
    };
    correct(data, asked, &args.signed).await
}

pub async fn assign(data: &Path, args: &AssignArgs) -> anyhow::Result<()> {
    let asked = CorrectRailRequest {
        deposit_id: Some(args.deposit),
        wallet: Some(args.who.clone()),
        ..asked(&args.rail, "ASSIGN", &args.signed)
    };
    correct(data, asked, &args.signed).await
}

pub async fn write_off(data: &Path, args: &WriteOffArgs) -> anyhow::Result<()> {
    let asked = CorrectRailRequest {
        deposit_id: args.deposit,
        amount: args.amount.as_deref().map(Into::into),
        ..asked(&args.rail, "WRITE_OFF", &args.signed)
    };
    correct(data, asked, &args.signed).await
}

pub async fn list(session: &Session, rail: &str, is_json: bool) -> anyhow::Result<()> {
    let path = RailPath { rail: rail.to_owned() };
    let corrections = session.client("qwallet")?.call::<ListRailCorrections>(&path).await?;
    output::show(is_json, &corrections, |corrections| {
        corrections.items.iter().for_each(show);
        if corrections.items.is_empty() {
            output::line("nothing was set right on this rail");
        }
    });
    Ok(())
}

fn asked(rail: &str, action: &str, signed: &SignedArgs) -> CorrectRailRequest {
    CorrectRailRequest {
        rail: rail.to_owned(),
        action: action.to_owned(),
        amount: None,
        deposit_id: None,
        wallet: None,
        recipient: None,
        reference: None,
        reason: signed.reason.clone(),
        expires_at: String::new(),
        nonce: String::new(),
        approvals: Vec::new(),
    }
}

async fn correct(data: &Path, asked: CorrectRailRequest, by: &SignedArgs) -> anyhow::Result<()> {
    if by.approvers.len() < 2 {
        return Err(usage("a correction needs two approvers: --approver operator --approver NAME"));
    }
    let sessions: Vec<Session> =
        by.approvers.iter().map(|name| Session::open(data, name)).collect::<anyhow::Result<_>>()?;
    let first = &sessions[0];
    let asked = CorrectRailRequest {
        wallet: asked.wallet.as_deref().map(|who| first.wallet_of(who)).transpose()?,
        expires_at: (first.env.now() + ORDER_LIFETIME).to_string(),
        nonce: first.fresh_key(),
        ..asked
    };
    let aud = first.layout.read_instance()?.did.to_string();
    let input = signing_input(&RailCorrectionOrder::of(&aud, &asked));
    let approvals = sessions.iter().map(|session| sign_as(session, RAIL_CORRECTION_TYP, &input)).collect();
    let request = CorrectRailRequest { approvals, ..asked };
    let corrected =
        first.client("qwallet")?.with_key(first.fresh_key()).call::<CorrectRail>(&request).await?;
    output::show(by.json, &corrected, show);
    Ok(())
}

fn show(correction: &RailCorrection) {
    output::line(format!(
        "{} {}\n  {} {} on {}, {}",
        correction.correction_id,
        correction.action,
        correction.amount.as_str(),
        correction.currency,
        correction.rail,
        correction.at
    ));
    if let Some(wallet) = &correction.wallet_id {
        output::line(format!("  wallet {wallet}"));
    }
    if let Some(about) = correction.deposit_id.or(correction.withdrawal_id) {
        output::line(format!("  {about}"));
    }
    output::line(format!("  {}", correction.reason));
    for approver in &correction.approvers {
        output::line(format!("  signed by {approver}"));
    }
}
