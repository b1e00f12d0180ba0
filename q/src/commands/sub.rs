//! `q id sub`: sub-identities, such as those of programs that act for somebody within limits.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Subcommand, ValueEnum};
use q_did::Keyring;
use q_jose::jws::{Header, sign};
use serde_json::json;
use squid_api::{
    AppendLog, AppendLogRequest, CreateSubIdentity, Identity, IdentityRequest, IdentityType, LINK_TYP, Link,
    LinkStatement, ListSubIdentities, Profile, ReactivateIdentity, ReactivateSubIdentity, StatusRequest,
    SubIdentityRequest, SubIdentityStatusRequest, SuspendSubIdentity,
};

use crate::{
    cli::{AsArgs, Cli},
    commands::change,
    layout::Layout,
    output,
    session::Session,
};

/// `q id sub`.
#[derive(Debug, Subcommand)]
pub enum SubVerb {
    /// Make a sub-identity of the identity that acts, and print its recovery phrase once.
    Create {
        /// Its name in the keyring, and its profile name.
        #[arg(value_name = "NAME")]
        child: String,
        /// What kind it is; a program is a root with a parent.
        #[arg(long = "type", value_enum, default_value_t = Kind::Root)]
        kind: Kind,
        /// Further guardians or owners, by their keyring names.
        #[arg(long = "with", value_name = "NAME")]
        others: Vec<String>,
        /// Whose it is to be.
        #[command(flatten)]
        acting: AsArgs,
    },
    /// List the sub-identities that have not ended.
    List {
        /// Whose.
        #[command(flatten)]
        acting: AsArgs,
    },
    /// Print a ten-minute access token with which any holder acts as the sub-identity; it signs nothing.
    Switch {
        /// A keyring name or a DID.
        who: String,
        /// The parent.
        #[command(flatten)]
        acting: AsArgs,
    },
    /// Stop a sub-identity: it may not act, and its tokens die.
    Suspend(StatusArgs),
    /// Let a sub-identity act again that a parent has stopped.
    Reactivate(StatusArgs),
    /// Agree, as an operator, that a DAO or an ENTERPRISE may act.
    Approve(StatusArgs),
    /// End a sub-identity for ever, with its own keys.
    End {
        /// The keyring name.
        name: String,
    },
}

/// Whom it is about, and why.
#[derive(Debug, Clone, clap::Args)]
pub struct StatusArgs {
    /// A keyring name or a DID.
    who: String,
    /// Why, for whoever asks later.
    #[arg(long)]
    reason: String,
    /// Who acts.
    #[command(flatten)]
    acting: AsArgs,
}

/// What kinds can be made below a parent.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Kind {
    /// A further profile, or a program.
    Root,
    /// Somebody in the care of guardians.
    Consentida,
    /// A community; waits for an operator.
    Dao,
    /// An undertaking of several owners; waits for an operator.
    Enterprise,
}

impl From<Kind> for IdentityType {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Root => Self::Root,
            Kind::Consentida => Self::Consentida,
            Kind::Dao => Self::Dao,
            Kind::Enterprise => Self::Enterprise,
        }
    }
}

pub async fn run(cli: &Cli, verb: &SubVerb) -> anyhow::Result<ExitCode> {
    match verb {
        SubVerb::Create { child, kind, others, acting } => {
            create(cli, child, (*kind).into(), others, acting).await?;
        }
        SubVerb::List { acting } => {
            let session = Session::open(&cli.data, &acting.name)?;
            let request = IdentityRequest { did: session.did().clone() };
            let list = session.client("squid")?.call::<ListSubIdentities>(&request).await?;
            output::show(acting.json, &list, |list| list.items.iter().for_each(line));
        }
        SubVerb::Switch { who, acting } => {
            let session = Session::open(&cli.data, &acting.name)?;
            let response = session.switched(&session.identity(who)?, false).await?;
            let token = &response.access_token;
            output::show(acting.json, &json!({"accessToken": token}), |_| output::line(token));
        }
        SubVerb::Suspend(arguments) | SubVerb::Reactivate(arguments) => {
            let session = Session::open(&cli.data, &arguments.acting.name)?;
            let (did, child) = (session.did().clone(), session.identity(&arguments.who)?);
            let request = SubIdentityStatusRequest { did, child, reason: arguments.reason.clone() };
            let squid = session.client("squid")?;
            let identity = if matches!(verb, SubVerb::Suspend(_)) {
                squid.call::<SuspendSubIdentity>(&request).await?
            } else {
                squid.call::<ReactivateSubIdentity>(&request).await?
            };
            output::show(arguments.acting.json, &identity, line);
        }
        SubVerb::Approve(arguments) => {
            let session = Session::open(&cli.data, &arguments.acting.name)?;
            let request =
                StatusRequest { did: session.identity(&arguments.who)?, reason: arguments.reason.clone() };
            let identity = session.client("squid")?.call::<ReactivateIdentity>(&request).await?;
            output::show(arguments.acting.json, &identity, line);
        }
        SubVerb::End { name } => end(cli, name).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn create(
    cli: &Cli,
    name: &str,
    kind: IdentityType,
    others: &[String],
    acting: &AsArgs,
) -> anyhow::Result<()> {
    let session = Session::open(&cli.data, &acting.name)?;
    let layout = &session.layout;
    anyhow::ensure!(!layout.keyring(name).exists(), "{name} is already in the keyring; choose another name");
    let (keyring, log, phrase) = match kind {
        IdentityType::Consentida => Keyring::create_in_care(session.host(), &session.env)?,
        _ => Keyring::create(session.host(), &session.env)?,
    };
    let statement = |parent: &Keyring| {
        let (child, parent_did) = (&keyring.did, &parent.did);
        let bytes = LinkStatement { aud: session.origin(), child, parent: parent_did, kind, v: 1 }.bytes();
        let by =
            |signer: &Keyring| sign(&Header::typ(LINK_TYP).kid(signer.key_id()), &bytes, &signer.current);
        Link { parent: parent.did.clone(), by_parent: by(parent), by_child: by(&keyring) }
    };
    let mut links = vec![statement(&session.keyring)];
    for other in others {
        links.push(statement(&layout.read_keyring(other)?));
    }
    // Keys first: an identity that is registered and whose keys are lost would be nobody's.
    layout.write_keyring(name, &keyring)?;
    let request = SubIdentityRequest {
        did: session.did().clone(),
        kind,
        log_entry: serde_json::from_str(log.to_text().trim_end())?,
        profile: Profile { name: name.to_owned(), ..Profile::default() },
        privacy_level: None,
        links,
    };
    let registered = session.client("squid")?.call::<CreateSubIdentity>(&request).await;
    if registered.is_err() {
        let _ = std::fs::remove_file(layout.keyring(name));
    }
    let identity = registered?;
    let words = phrase.words();
    let made = json!({
        "name": name, "did": identity.did, "type": identity.kind, "status": identity.status,
        "parent": session.did(), "recoveryPhrase": words.as_str(),
    });
    output::show(acting.json, &made, |_| {
        output::line(format!("{name} is {}, {} of {}", identity.did, identity.kind, acting.name));
        if identity.status == squid_api::Status::PendingConsent {
            output::line(format!("it waits for an operator: q id sub approve {name} --reason …"));
        }
        output::line(format!("keys    {}", layout.keyring(name).display()));
        output::line("recovery phrase, shown only now; whoever is responsible for it keeps it:");
        output::line(format!("\n  {}\n", words.as_str()));
    });
    Ok(())
}

async fn end(cli: &Cli, name: &str) -> anyhow::Result<()> {
    let layout = Layout::of(&cli.data);
    let session = Session::open(&cli.data, name)?;
    let squid = session.anonymous("squid")?;
    let log = change::log(&squid, session.did(), &session.env).await?;
    let entry = layout.read_keyring(name)?.deactivate(&log, &session.env).with_context(|| {
        format!("the keys of {name} here do not end it; `q id rotate {name}` may have been cut off")
    })?;
    let request = AppendLogRequest {
        did: session.did().clone(),
        entry: serde_json::to_value(&entry)?,
        compromised: false,
    };
    squid.call::<AppendLog>(&request).await?;
    output::line(format!("{name} has ended"));
    Ok(())
}

fn line(identity: &Identity) {
    let name = identity.profile.as_ref().map_or("", |profile| profile.name.as_str());
    output::line(format!("{:<20} {:<10} {:<15} {}", name, identity.kind, identity.status, identity.did));
}
