//! `q wallet escrow`: money that the house holds until a deal is done.

use clap::{Args, Subcommand};
use q_core::{Did, PageLimit};
use qwallet_api::{
    CreateEscrow, DisputeEscrow, DisputeEscrowRequest, ESCROW_TYP, Escrow, EscrowId, EscrowOrder, EscrowPath,
    EscrowRequest, GetEscrow, GetQuote, GetWallet, ListEscrows, ListEscrowsRequest, QuoteRequest,
    RefundEscrow, ReleaseEscrow, ResolveEscrow, ResolveEscrowRequest, Split, WalletPath,
    signing::signing_input,
};

use super::{ORDER_LIFETIME, hint_to_open, hint_to_payee, sign_as};
use crate::{
    cli::{AsArgs, one_of, positive},
    output::{self, usage},
    session::Session,
};

/// `q wallet escrow`.
#[derive(Debug, Args)]
pub struct EscrowArgs {
    /// What to do.
    #[command(subcommand)]
    pub verb: EscrowVerb,
}

/// What to do with an escrow.
#[derive(Debug, Subcommand)]
pub enum EscrowVerb {
    /// Pay into escrow: neither party has the money until it is released.
    Open(OpenArgs),
    /// List those in which the identity pays, is paid or decides.
    List {
        /// Only these.
        #[arg(long, ignore_case = true, value_parser = one_of(["HELD", "DISPUTED", "RELEASED", "REFUNDED"]))]
        status: Option<String>,
        /// Who asks.
        #[command(flatten)]
        acting: AsArgs,
    },
    /// Show one.
    Show(OneArgs),
    /// The payer gives what is held to the payee, or to those whom the order named.
    Release(OneArgs),
    /// The payee gives back.
    Refund(OneArgs),
    /// A party objects; from now on the arbiter decides.
    Dispute {
        /// The escrow.
        escrow: String,
        /// Why.
        reason: String,
        /// Who objects.
        #[command(flatten)]
        acting: AsArgs,
    },
    /// The arbiter decides who gets what: `--to NAME=AMOUNT`.
    Resolve(SplitArgs),
}

/// `q wallet escrow open`.
#[derive(Debug, Args)]
pub struct OpenArgs {
    /// Who is to be paid: a keyring name, DID, wallet id or wallet reference.
    pub recipient: String,
    /// How much.
    #[arg(allow_negative_numbers = true, value_parser = positive)]
    pub amount: String,
    /// What is bought: one escrow per payer and reference.
    pub order_ref: String,
    /// The currency.
    #[arg(long, default_value = "QToken")]
    pub currency: String,
    /// Who decides if the parties do not agree: a keyring name or DID.
    #[arg(long)]
    pub arbiter: Option<String>,
    /// When the payee gets it unless somebody objects (RFC 3339); in 14 days when absent.
    #[arg(long, value_name = "INSTANT")]
    pub release_at: Option<String>,
    /// Who gets how much of it when it is released, together exactly the amount; all to the payee when absent.
    #[arg(long = "to", value_name = "NAME=AMOUNT")]
    pub to: Vec<String>,
    /// Who pays.
    #[command(flatten)]
    pub acting: AsArgs,
}

/// One escrow.
#[derive(Debug, Args)]
pub struct OneArgs {
    /// The escrow.
    pub escrow: String,
    /// Who acts.
    #[command(flatten)]
    pub acting: AsArgs,
}

/// One escrow and who gets what of it.
#[derive(Debug, Args)]
pub struct SplitArgs {
    /// The escrow.
    pub escrow: String,
    /// Which of the parties gets how much, together exactly the amount.
    #[arg(long = "to", value_name = "NAME=AMOUNT", required = true)]
    pub to: Vec<String>,
    /// Who acts.
    #[command(flatten)]
    pub acting: AsArgs,
}

impl EscrowVerb {
    /// Who acts.
    pub const fn acting(&self) -> &AsArgs {
        match self {
            Self::Open(args) => &args.acting,
            Self::List { acting, .. } | Self::Dispute { acting, .. } => acting,
            Self::Show(args) | Self::Refund(args) | Self::Release(args) => &args.acting,
            Self::Resolve(args) => &args.acting,
        }
    }
}

pub async fn run(session: &Session, args: &EscrowArgs) -> anyhow::Result<()> {
    let json = args.verb.acting().json;
    let client = session.client("qwallet")?.with_key(session.fresh_key());
    let escrow = match &args.verb {
        EscrowVerb::Open(args) => open(session, args).await?,
        EscrowVerb::List { status, .. } => {
            let request =
                ListEscrowsRequest { status: status.clone(), cursor: None, limit: PageLimit::default() };
            let page = client.call::<ListEscrows>(&request).await?;
            output::show(json, &page, |page| {
                page.items.iter().for_each(|escrow| show(session, escrow));
                if page.items.is_empty() {
                    output::line("no escrows; `q wallet escrow open` pays into one");
                }
            });
            return Ok(());
        }
        EscrowVerb::Show(args) => client.call::<GetEscrow>(&path(&args.escrow)?).await?,
        EscrowVerb::Refund(args) => client.call::<RefundEscrow>(&path(&args.escrow)?).await?,
        EscrowVerb::Dispute { escrow, reason, .. } => {
            let request = DisputeEscrowRequest { escrow_id: id(escrow)?, reason: reason.clone() };
            client.call::<DisputeEscrow>(&request).await?
        }
        EscrowVerb::Release(args) => client.call::<ReleaseEscrow>(&path(&args.escrow)?).await?,
        EscrowVerb::Resolve(args) => {
            let splits = splits(session, &args.to)?;
            let request = ResolveEscrowRequest { escrow_id: id(&args.escrow)?, splits };
            client.call::<ResolveEscrow>(&request).await?
        }
    };
    output::show(json, &escrow, |escrow| show(session, escrow));
    Ok(())
}

async fn open(session: &Session, args: &OpenArgs) -> anyhow::Result<Escrow> {
    let client = session.client("qwallet")?;
    let own = WalletPath { squid_id: session.did().to_string() };
    let wallet = client.call::<GetWallet>(&own).await.map_err(|error| hint_to_open(session, error))?;
    let quote = QuoteRequest::of(args.amount.as_str(), &args.currency);
    let max_fees = client.call::<GetQuote>(&quote).await?.fees.total;
    let arbiter: Option<Did> = args.arbiter.as_deref().map(|who| session.identity(who)).transpose()?;
    let recipient = session.wallet_of(&args.recipient)?;
    let splits = splits(session, &args.to)?;
    let nonce = session.fresh_key();
    let expires_at = (session.env.now() + ORDER_LIFETIME).to_string();
    let input = signing_input(&EscrowOrder {
        amount: &args.amount,
        arbiter: arbiter.as_ref().map(Did::as_str),
        aud: session.layout.read_instance()?.did.as_str(),
        auto_release_at: args.release_at.as_deref(),
        currency: &args.currency,
        expires_at: &expires_at,
        max_fees: max_fees.as_str(),
        nonce: &nonce,
        order_ref: &args.order_ref,
        payer: session.did().as_str(),
        recipient: &recipient,
        splits: &splits,
        v: 1,
        wallet: &wallet.wallet_ref,
    });
    let request = EscrowRequest {
        signature: sign_as(session, ESCROW_TYP, &input),
        amount: args.amount.as_str().into(),
        arbiter,
        auto_release_at: args.release_at.clone(),
        currency: args.currency.clone(),
        expires_at,
        max_fees,
        nonce: nonce.clone(),
        order_ref: args.order_ref.clone(),
        payer: session.did().clone(),
        recipient,
        splits,
        wallet: wallet.wallet_ref,
    };
    let opened = client.with_key(nonce.as_str()).call::<CreateEscrow>(&request).await;
    opened.map_err(|error| hint_to_payee(session, &args.recipient, error.into()))
}

fn splits(session: &Session, to: &[String]) -> anyhow::Result<Vec<Split>> {
    let split = |text: &String| {
        let (name, amount) = text
            .rsplit_once('=')
            .ok_or_else(|| usage(format!("{text:?} is not NAME=AMOUNT, such as --to bob=12.5")))?;
        let amount = positive(amount).map_err(|fault| usage(format!("{text:?}: {fault}")))?;
        Ok(Split { amount: amount.as_str().into(), recipient: session.wallet_of(name)? })
    };
    to.iter().map(split).collect()
}

fn path(text: &str) -> anyhow::Result<EscrowPath> {
    Ok(EscrowPath { escrow_id: id(text)? })
}

fn id(text: &str) -> anyhow::Result<EscrowId> {
    text.parse().map_err(|error| {
        usage(format!("{text:?} is not the id of an escrow: {error}; `q wallet escrow list` shows them"))
    })
}

/// Prints one.
pub fn show(session: &Session, escrow: &Escrow) {
    output::line(format!(
        "{} {}  {} {} from {} to {}  for {}",
        escrow.escrow_id,
        escrow.status,
        escrow.amount.as_str(),
        escrow.currency,
        escrow.payer.wallet_ref,
        escrow.payee.wallet_ref,
        escrow.order_ref,
    ));
    output::line(format!(
        "  fees {} platform, {} network",
        escrow.fees.platform.as_str(),
        escrow.fees.network.as_str()
    ));
    match &escrow.arbiter {
        Some(arbiter) => {
            let arbiter = session.named(arbiter.as_str());
            output::line(format!("  {arbiter} decides if the parties do not agree"));
        }
        None => output::line("  nobody decides if the parties do not agree: it cannot be disputed"),
    }
    match (&escrow.dispute, escrow.ended_at) {
        (_, Some(at)) => output::line(format!("  ended {at}")),
        (Some(reason), None) => output::line(format!("  disputed: {reason}")),
        (None, None) => output::line(format!("  goes to the payee by itself on {}", escrow.auto_release_at)),
    }
    for part in &escrow.parts {
        let what = part.transaction_id.map_or_else(|| "waits for a wallet".to_owned(), |id| id.to_string());
        let recipient = session.named(&part.recipient);
        output::line(format!("  {} to {recipient}  {what}", part.amount.as_str()));
    }
}
