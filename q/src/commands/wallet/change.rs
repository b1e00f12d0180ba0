//! `q wallet freeze | unfreeze | close | label | credit | allow`: changing a wallet.

use std::path::Path;

use clap::Args;
use q_jose::jws;
use qwallet_api::{
    CreditLimit, LimitList, NewLimit, UpdateWallet, UpdateWalletRequest, WALLET_TYP, Wallet, WalletOrder,
    signing::signing_input,
};

use super::{ORDER_LIFETIME, hint_to_ask, hint_to_open};
use crate::{
    cli::{AsArgs, positive},
    output::{self, usage},
    session::Session,
};

/// `q wallet freeze`, `q wallet close`.
#[derive(Debug, Args)]
pub struct StopArgs {
    /// A keyring name, DID, wallet id or wallet reference; the identity's own wallet when absent.
    pub who: Option<String>,
    /// Who asks: to freeze the owner, a parent, a guardian or an operator; to close an operator.
    #[command(flatten)]
    pub acting: AsArgs,
}

/// `q wallet unfreeze`.
#[derive(Debug, Args)]
pub struct UnfreezeArgs {
    /// A keyring name, DID, wallet id or wallet reference.
    pub who: String,
    /// Who approves.
    #[command(flatten)]
    pub approval: ApprovalArgs,
}

/// Two operators of this keyring.
#[derive(Debug, Args)]
pub struct ApprovalArgs {
    /// The keyring names of two operators who approve and are not the owner; `q id appoint` makes one.
    #[arg(long = "approver", num_args = 1.., required = true, value_name = "NAME")]
    pub approvers: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// `q wallet label`.
#[derive(Debug, Args)]
pub struct LabelArgs {
    /// The name, at most 100 characters; an empty one takes it away.
    pub label: String,
    /// Whose wallet.
    #[command(flatten)]
    pub acting: AsArgs,
}

/// `q wallet credit`.
#[derive(Debug, Args)]
pub struct CreditArgs {
    /// A keyring name, DID, wallet id or wallet reference.
    pub who: String,
    /// How far below zero it may go; 0 for no credit.
    #[arg(allow_negative_numbers = true, value_parser = positive)]
    pub amount: String,
    /// The currency.
    #[arg(default_value = "QToken")]
    pub currency: String,
    /// Who approves.
    #[command(flatten)]
    pub approval: ApprovalArgs,
}

/// `q wallet allow`.
#[derive(Debug, Args)]
pub struct AllowArgs {
    /// Keyring names, DIDs or wallet references; nobody else is paid from here on.
    #[arg(required_unless_present = "everybody")]
    pub names: Vec<String>,
    /// Keep no list.
    #[arg(long, conflicts_with = "names")]
    pub everybody: bool,
    /// Whose wallet: an ENTERPRISE's.
    #[command(flatten)]
    pub acting: AsArgs,
}

/// Gives a wallet the status that one person may give.
pub async fn stop(session: &Session, args: &StopArgs, status: &str) -> anyhow::Result<()> {
    let who = args.who.as_deref();
    let squid_id = session.own_or(who)?;
    let request =
        UpdateWalletRequest { squid_id, status: Some(status.to_owned()), ..UpdateWalletRequest::default() };
    let client = session.client("qwallet")?.with_key(session.fresh_key());
    let wallet = client.call::<UpdateWallet>(&request).await;
    let wallet = wallet.map_err(|error| hint_to_ask(session, who, error))?;
    output::show(args.acting.json, &wallet, super::show_wallet);
    Ok(())
}

/// Lets a wallet pay and be paid again.
pub async fn unfreeze(data: &Path, args: &UnfreezeArgs) -> anyhow::Result<()> {
    let asked = UpdateWalletRequest { status: Some("ACTIVE".to_owned()), ..UpdateWalletRequest::default() };
    let wallet = approved(data, &args.approval.approvers, &args.who, asked).await?;
    output::show(args.approval.json, &wallet, super::show_wallet);
    Ok(())
}

/// Gives a wallet a name.
pub async fn label(session: &Session, args: &LabelArgs) -> anyhow::Result<()> {
    let request = UpdateWalletRequest {
        squid_id: session.did().to_string(),
        label: Some(args.label.clone()),
        ..UpdateWalletRequest::default()
    };
    update(session, &request, args.acting.json).await
}

/// Says how far below zero a wallet may go.
pub async fn credit(data: &Path, args: &CreditArgs) -> anyhow::Result<()> {
    let limit = CreditLimit { currency: args.currency.clone(), amount: args.amount.as_str().into() };
    let asked = UpdateWalletRequest { credit_limit: Some(limit), ..UpdateWalletRequest::default() };
    let wallet = approved(data, &args.approval.approvers, &args.who, asked).await?;
    output::show(args.approval.json, &wallet, super::show_wallet);
    Ok(())
}

/// Says whom a wallet may pay.
pub async fn allow(session: &Session, args: &AllowArgs) -> anyhow::Result<()> {
    let names = if args.everybody {
        vec!["*".to_owned()]
    } else {
        args.names.iter().map(|name| allowed(session, name)).collect::<anyhow::Result<_>>()?
    };
    let request = UpdateWalletRequest {
        squid_id: session.did().to_string(),
        allowed_recipients: Some(names),
        ..UpdateWalletRequest::default()
    };
    update(session, &request, args.acting.json).await
}

/// How the instance names whom a wallet may pay: an address outside, such as `evm:0x…`, stays as it is.
fn allowed(session: &Session, name: &str) -> anyhow::Result<String> {
    let is_outside = name.contains(':') && !name.starts_with("did:");
    if is_outside { Ok(name.to_owned()) } else { session.wallet_of(name) }
}

/// Sets limits that hold at once; answers those that hold then.
pub async fn limits(
    data: &Path,
    approvers: &[String],
    who: &str,
    limits: Vec<NewLimit>,
) -> anyhow::Result<LimitList> {
    let asked = UpdateWalletRequest { limits, ..UpdateWalletRequest::default() };
    let wallet = approved(data, approvers, who, asked).await?;
    Ok(LimitList { items: wallet.limits })
}

async fn update(session: &Session, request: &UpdateWalletRequest, json: bool) -> anyhow::Result<()> {
    let client = session.client("qwallet")?.with_key(session.fresh_key());
    let wallet = client.call::<UpdateWallet>(request).await.map_err(|error| hint_to_open(session, error))?;
    output::show(json, &wallet, super::show_wallet);
    Ok(())
}

/// Has the approvers, all of this keyring, sign the change, and hands it in as the first of them.
async fn approved(
    data: &Path,
    approvers: &[String],
    who: &str,
    asked: UpdateWalletRequest,
) -> anyhow::Result<Wallet> {
    if approvers.len() < 2 {
        return Err(usage("this needs two approvers: --approver operator --approver NAME"));
    }
    let sessions: Vec<Session> =
        approvers.iter().map(|name| Session::open(data, name)).collect::<anyhow::Result<_>>()?;
    let first = &sessions[0];
    let aud = first.layout.read_instance()?.did.to_string();
    let asked = UpdateWalletRequest {
        squid_id: first.wallet_of(who)?,
        expires_at: (first.env.now() + ORDER_LIFETIME).to_string(),
        nonce: first.fresh_key(),
        ..asked
    };
    let input = signing_input(&WalletOrder::of(&aud, &asked));
    let approve = |session: &Session| {
        let header = jws::Header::typ(WALLET_TYP).kid(session.keyring.key_id());
        jws::sign(&header, &input, &session.keyring.current)
    };
    let request = UpdateWalletRequest { approvals: sessions.iter().map(approve).collect(), ..asked };
    Ok(first.client("qwallet")?.with_key(&request.nonce).call::<UpdateWallet>(&request).await?)
}
