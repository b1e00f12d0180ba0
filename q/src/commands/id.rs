//! `q id`: identities whose keys are in this keyring.

use std::process::ExitCode;

use q_did::{Keyring, RecoveryPhrase};
use qonsent_api::{RegisterDelegations, RegisterRequest, operator_delegation};
use serde_json::json;
use squid_api::{CreateIdentity, CreateIdentityRequest, GetIdentity, Identity, IdentityRequest, Profile};

use crate::{
    cli::{Cli, IdVerb, ReadArgs},
    commands::{change, sub},
    layout::{INSTANCE, Layout},
    output,
    running::Running,
    session::{Session, require_running},
};

pub async fn run(cli: &Cli, verb: &IdVerb) -> anyhow::Result<ExitCode> {
    let layout = Layout::of(&cli.data);
    match verb {
        IdVerb::New { name, json } => {
            let running = require_running(&layout)?;
            let (keyring, phrase) = create(&layout, &running, name).await?;
            let made = json!({"name": name, "did": keyring.did, "recoveryPhrase": phrase.words().as_str()});
            output::show(*json, &made, |_| {
                output::line(format!("{name} is {}", keyring.did));
                output::line(format!("keys    {}", layout.keyring(name).display()));
                output::line(
                    "recovery phrase, shown only now; it takes the identity back when the keys are lost:",
                );
                output::line(format!("\n  {}\n", phrase.words().as_str()));
            });
        }
        IdVerb::List(ReadArgs { json }) => list(&layout, *json)?,
        IdVerb::Show { who, acting } => {
            let session = Session::open(&cli.data, &acting.name)?;
            let request = IdentityRequest { did: session.identity(who)? };
            let identity = session.client("squid")?.call::<GetIdentity>(&request).await?;
            output::show(acting.json, &identity, show);
        }
        IdVerb::Sub(verb) => return sub::run(cli, verb).await,
        IdVerb::Appoint { who } => {
            let session = Session::open(&cli.data, INSTANCE)?;
            let operator = session.identity(who)?;
            let instance = &session.keyring;
            let container = operator_delegation(&session.env, &instance.did, &instance.current, &operator)?;
            let client = session.client("qonsent")?.with_key(session.fresh_key());
            client.call::<RegisterDelegations>(&RegisterRequest { container }).await?;
            output::line(format!("{operator} is an operator of this instance"));
        }
        IdVerb::Rotate { name } => change::rotate(&layout, name).await?,
        IdVerb::Recover { name, did, json } => change::recover(&layout, name, did.as_ref(), *json).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes an identity, keeps its keys under `name` and registers it.
pub async fn create(
    layout: &Layout,
    running: &Running,
    name: &str,
) -> anyhow::Result<(Keyring, RecoveryPhrase)> {
    anyhow::ensure!(!layout.keyring(name).exists(), "{name} is already in the keyring; choose another name");
    let env = q_core::Env::system();
    let host = running.origin.split_once("://").map_or(running.origin.as_str(), |(_, host)| host);
    let (keyring, log, phrase) = Keyring::create(host, &env)?;
    // Keys first: an identity that is registered and whose keys are lost would be nobody's.
    layout.write_keyring(name, &keyring)?;
    let profile = Profile { name: name.to_owned(), ..Profile::default() };
    let entry = serde_json::from_str(log.to_text().trim_end())?;
    let request = CreateIdentityRequest { log_entry: entry, profile, privacy_level: None, kind: None };
    let session = Session::with(layout.clone(), running.clone(), keyring.clone())?;
    let registered =
        session.anonymous("squid")?.with_key(session.fresh_key()).call::<CreateIdentity>(&request).await;
    if registered.is_err() {
        let _ = std::fs::remove_file(layout.keyring(name));
    }
    registered?;
    Ok((keyring, phrase))
}

fn list(layout: &Layout, as_json: bool) -> anyhow::Result<()> {
    let mut identities = Vec::new();
    for name in layout.names()? {
        let did = layout.read_keyring(&name)?.did;
        identities.push(json!({"name": name, "did": did}));
    }
    output::show(as_json, &identities, |identities| {
        for identity in identities {
            let text = |key: &str| identity[key].as_str().unwrap_or_default();
            output::line(format!("{:<20} {}", text("name"), text("did")));
        }
    });
    Ok(())
}

fn show(identity: &Identity) {
    output::line(format!("did      {}\nwebvh    {}", identity.did, identity.webvh));
    output::line(format!("status   {}\ntype     {}", identity.status, identity.kind));
    if let Some(profile) = &identity.profile {
        output::line(format!("name     {}", profile.name));
    }
    output::line(format!("log      {}", identity.version_id));
}
