//! `q wallet hold`: money that the payer sets aside and the payee takes.

use clap::{Args, Subcommand};
use q_core::{Page, PageLimit};
use qwallet_api::{
    Capture, CaptureIntent, CaptureRequest, CreateIntent, CreateIntentRequest, GetIntent, HOLD_TYP, Intent,
    IntentId, IntentPath, ListIntents, ListIntentsRequest, SignIntent, SignRequest, VoidIntent,
};

use super::{hint_to_open, intents, sign_as};
use crate::{
    cli::{AsArgs, one_of, positive, seconds_within},
    output::{self, usage},
    session::Session,
};

/// `q wallet hold`.
#[derive(Debug, Args)]
pub struct HoldArgs {
    /// What to do.
    #[command(subcommand)]
    pub verb: HoldVerb,
}

/// What to do with held money.
#[derive(Debug, Subcommand)]
pub enum HoldVerb {
    /// Set money aside for a payee, who takes it in parts or as a whole; until then it is nobody else's to spend.
    Open(OpenArgs),
    /// List what is held for the identity, or by it.
    List {
        /// Only what the identity has set aside for others.
        #[arg(long, conflicts_with = "taken")]
        given: bool,
        /// Only what others have set aside for the identity.
        #[arg(long)]
        taken: bool,
        /// Only these.
        #[arg(long, ignore_case = true, value_parser = one_of(["PENDING", "SIGNED", "SETTLED", "CANCELLED", "EXPIRED"]))]
        status: Option<String>,
        /// Who asks.
        #[command(flatten)]
        acting: AsArgs,
    },
    /// Show one.
    Show(OneArgs),
    /// The payee takes a part, or all that is left.
    Capture(CaptureArgs),
    /// The payee gives up what is left: it is the payer's again.
    Void(OneArgs),
}

/// `q wallet hold open`.
#[derive(Debug, Args)]
pub struct OpenArgs {
    /// Who may take it: a keyring name, DID, wallet id or wallet reference.
    pub recipient: String,
    /// The most that may be taken.
    #[arg(allow_negative_numbers = true, value_parser = positive)]
    pub amount: String,
    /// The currency.
    #[arg(long, default_value = "QToken")]
    pub currency: String,
    /// How long it is held: seconds, or a span such as 12h or 7d, from a minute to 30 days; 7 days when absent.
    #[arg(long = "for", value_name = "SPAN", value_parser = seconds_within(60..=30 * 86_400, "from a minute to 30 days"))]
    pub hold_for: Option<u32>,
    /// What it is for.
    #[arg(long)]
    pub purpose: Option<String>,
    /// Who pays.
    #[command(flatten)]
    pub acting: AsArgs,
}

/// `q wallet hold capture`.
#[derive(Debug, Args)]
pub struct CaptureArgs {
    /// The intent.
    pub intent: String,
    /// How much; all that is left when absent.
    #[arg(allow_negative_numbers = true, value_parser = positive)]
    pub amount: Option<String>,
    /// The rest goes back to the payer.
    #[arg(long = "final")]
    pub is_final: bool,
    /// It goes into escrow under this reference of what is bought, and not to the payee.
    #[arg(long, value_name = "ORDER")]
    pub escrow: Option<String>,
    /// Who acts.
    #[command(flatten)]
    pub acting: AsArgs,
}

/// One intent.
#[derive(Debug, Args)]
pub struct OneArgs {
    /// The intent.
    pub intent: String,
    /// Who acts.
    #[command(flatten)]
    pub acting: AsArgs,
}

impl HoldVerb {
    /// Who acts.
    pub const fn acting(&self) -> &AsArgs {
        match self {
            Self::Open(args) => &args.acting,
            Self::List { acting, .. } => acting,
            Self::Capture(args) => &args.acting,
            Self::Show(args) | Self::Void(args) => &args.acting,
        }
    }
}

pub async fn run(session: &Session, args: &HoldArgs) -> anyhow::Result<()> {
    let json = args.verb.acting().json;
    let client = session.client("qwallet")?.with_key(session.fresh_key());
    let intent = match &args.verb {
        HoldVerb::Open(args) => open(session, args).await?,
        HoldVerb::List { given, taken, status, .. } => {
            let roles: &[&str] = match (given, taken) {
                (true, _) => &["payer"],
                (_, true) => &["payee"],
                _ => &["payer", "payee"],
            };
            let held = list(session, roles, status.as_deref()).await?;
            output::show(json, &held, |held| {
                held.items.iter().for_each(|intent| show(session, intent));
                if held.items.is_empty() {
                    output::line("nothing is held; `q wallet hold open` sets money aside");
                }
            });
            return Ok(());
        }
        HoldVerb::Show(args) => client.call::<GetIntent>(&path(&args.intent)?).await?,
        HoldVerb::Void(args) => client.call::<VoidIntent>(&path(&args.intent)?).await?,
        HoldVerb::Capture(args) => {
            let request = CaptureRequest {
                intent_id: id(&args.intent)?,
                amount: args.amount.as_deref().map(Into::into),
                is_final: args.is_final,
                into: args.escrow.as_ref().map(|_| "escrow".to_owned()),
                order_ref: args.escrow.clone(),
            };
            let capture = client.call::<CaptureIntent>(&request).await?;
            output::show(json, &capture, show_capture);
            return Ok(());
        }
    };
    output::show(json, &intent, |intent| show(session, intent));
    Ok(())
}

/// What is held in these roles, newest first.
async fn list(session: &Session, roles: &[&str], status: Option<&str>) -> anyhow::Result<Page<Intent>> {
    let client = session.client("qwallet")?;
    let mut held = Vec::new();
    for role in roles {
        let mut request = ListIntentsRequest {
            role: Some((*role).to_owned()),
            status: status.map(str::to_owned),
            cursor: None,
            limit: PageLimit::default(),
        };
        loop {
            let page = client.call::<ListIntents>(&request).await?;
            held.extend(page.items.into_iter().filter(|intent| intent.capture == "manual"));
            request.cursor = page.next_cursor;
            if request.cursor.is_none() {
                break;
            }
        }
    }
    held.sort_by_key(|intent| std::cmp::Reverse(intent.created_at));
    Ok(Page { items: held, next_cursor: None })
}

async fn open(session: &Session, args: &OpenArgs) -> anyhow::Result<Intent> {
    let client = session.client("qwallet")?.with_key(session.fresh_key());
    let request = CreateIntentRequest {
        amount: args.amount.as_str().into(),
        currency: args.currency.clone(),
        recipient: session.wallet_of(&args.recipient)?,
        purpose: args.purpose.clone(),
        expires_in: None,
        wallet: None,
        capture: Some("manual".to_owned()),
        quote_id: None,
        hold_for: args.hold_for,
    };
    let intent = client.call::<CreateIntent>(&request).await.map_err(|error| hint_to_open(session, error))?;
    if args.hold_for.is_some_and(|asked| intent.hold_for != Some(asked)) {
        anyhow::bail!(
            "nothing was signed: the instance would hold the money for another time than was asked for"
        );
    }
    sign(session, &intent).await
}

/// Signs the intent to hold, which sets the money aside for its payee.
pub(super) async fn sign(session: &Session, intent: &Intent) -> anyhow::Result<Intent> {
    let client = || Ok::<_, anyhow::Error>(session.client("qwallet")?.with_key(session.fresh_key()));
    let intent_id = intent.intent_id;
    let signature = sign_as(session, HOLD_TYP, intents::input(session, intent)?);
    client()?.call::<SignIntent>(&SignRequest { intent_id, signature }).await?;
    Ok(client()?.call::<GetIntent>(&IntentPath { intent_id }).await?)
}

fn path(text: &str) -> anyhow::Result<IntentPath> {
    Ok(IntentPath { intent_id: id(text)? })
}

fn id(text: &str) -> anyhow::Result<IntentId> {
    text.parse().map_err(|error| {
        usage(format!("{text:?} is not the id of an intent: {error}; `q wallet hold list` shows them"))
    })
}

/// Shows a hold, and how its payee takes it.
pub(super) fn show(session: &Session, intent: &Intent) {
    let captured = intent.captured.as_ref().map_or("0", |captured| captured.as_str());
    output::line(format!(
        "{} {}  {} of {} {} taken, from {} to {}  fees {}",
        intent.intent_id,
        intent.status,
        captured,
        intent.amount.as_str(),
        intent.currency,
        intent.wallet,
        session.named(&intent.recipient),
        intent.fees.total.as_str(),
    ));
    if let (Some(until), "SIGNED") = (intent.hold_expires_at, intent.status.as_str()) {
        let (id, by) = (intent.intent_id, session.by(&intent.recipient));
        output::line(format!("  held until {until}; the payee takes it: q wallet hold capture {id}{by}"));
    }
}

fn show_capture(capture: &Capture) {
    output::line(format!(
        "took {} {} with fees of {}; {} taken in all, {} still held",
        capture.amount.as_str(),
        capture.currency,
        capture.fees.total.as_str(),
        capture.captured.as_str(),
        capture.left.as_str(),
    ));
    if let Some(escrow) = &capture.escrow_id {
        output::line(format!("  in escrow: {escrow}"));
    }
}
