//! `q init`: the root of trust of a new instance.
//!
//! squid, qonsent, qlock and qerberos need each other; here the circle is opened once, explicitly: keys are
//! made first, then the modules are put together without listening, and the identities are registered from inside.

use std::{fs, process::ExitCode};

use anyhow::Context as _;
use q_core::Env;
use q_did::{Keyring, RecoveryPhrase};
use serde_json::json;
use squid_api::{CreateIdentity, CreateIdentityRequest, Profile, errors::SQUID_IDENTITY_EXISTS};

use crate::{
    cli::{Cli, InitArgs},
    compose::{self, Assembled, Options},
    layout::{InstanceFile, Layout, write_private},
    output::{self, exit, with_code},
};

/// The identity that is the instance.
pub const INSTANCE: &str = "instance";
/// The first operator.
const OPERATOR: &str = "operator";

pub async fn run(cli: &Cli, arguments: &InitArgs) -> anyhow::Result<ExitCode> {
    let layout = Layout::of(&cli.data);
    if is_done(&layout) {
        let data = layout.data.display();
        return Err(with_code(
            exit::CANNOT_START,
            format!("{data} already holds an instance; nothing was changed"),
        ));
    }
    let phrases = make_quietly(&layout, arguments.demo).await?;
    let instance = layout.read_instance()?;
    let words =
        |name: &str| phrases.iter().find(|(known, _)| known == name).map(|(_, phrase)| phrase.words());
    let made = json!({
        "instance": instance.did,
        "operator": instance.operator,
        "recoveryPhrases": {
            INSTANCE: words(INSTANCE).map(|words| words.to_string()),
            OPERATOR: words(OPERATOR).map(|words| words.to_string()),
        },
    });
    output::show(arguments.json, &made, |_| {
        tell(&layout, &instance, &phrases);
        output::line(format!("`q up --data {}` starts it", layout.data.display()));
    });
    Ok(ExitCode::SUCCESS)
}

/// Whether an instance is complete in `layout`.
pub fn is_done(layout: &Layout) -> bool {
    layout.instance().exists() && !layout.unfinished().exists()
}

/// Makes an instance and tells about it.
pub async fn make(layout: &Layout, is_demo: bool) -> anyhow::Result<()> {
    let phrases = make_quietly(layout, is_demo).await?;
    tell(layout, &layout.read_instance()?, &phrases);
    Ok(())
}

/// Makes an instance; gives the recovery phrases of the identities made now.
///
/// Can be repeated after a crash: what is there is kept, what is missing is made.
pub async fn make_quietly(layout: &Layout, is_demo: bool) -> anyhow::Result<Vec<(String, RecoveryPhrase)>> {
    layout.create().map_err(|error| with_code(exit::CANNOT_START, format!("{error:#}")))?;
    let env = Env::system();
    write_private(&layout.unfinished(), b"")?;
    if !layout.unseal_key().exists() {
        qlock::KeyFile::create(&layout.unseal_key(), &env)?;
    }
    let config = compose::config(layout)?;
    let origin = config.section("instance").text("origin").trim_end_matches('/').to_owned();
    let host = origin.split_once("://").map_or(origin.as_str(), |(_, host)| host);
    let mut names = vec![INSTANCE.to_owned(), OPERATOR.to_owned()];
    names.extend(compose::MODULES.iter().map(|entry| compose::service_name(entry.name)));
    let mut phrases = Vec::new();
    for name in &names {
        if layout.keyring(name).exists() && layout.genesis(name).exists() {
            continue;
        }
        let (keyring, log, phrase) = Keyring::create(host, &env).map_err(|error| {
            let what = format!(
                "Q_INSTANCE_ORIGIN (instance.origin) is {origin:?}: {error}; a lower-case DNS name of two labels or more is needed"
            );
            with_code(exit::CANNOT_START, what)
        })?;
        write_private(&layout.genesis(name), log.to_text().as_bytes())?;
        layout.write_keyring(name, &keyring)?;
        phrases.push((name.clone(), phrase));
    }
    let (did, operator) = (layout.read_keyring(INSTANCE)?.did, layout.read_keyring(OPERATOR)?.did);
    let instance = InstanceFile { did, operator, is_demo };
    write_private(&layout.instance(), &serde_json::to_vec_pretty(&instance)?)?;
    register(layout, &names, &env).await?;
    fs::remove_file(layout.unfinished())?;
    Ok(phrases)
}

/// Registers the identities with squid and the first operator's rights with qonsent.
async fn register(layout: &Layout, names: &[String], env: &Env) -> anyhow::Result<()> {
    let assembled = compose::assemble(layout, &Options::offline()).await?;
    let registered = async {
        for name in names {
            let registered = register_identity(layout, &assembled, name).await;
            registered.with_context(|| format!("registering {name}"))?;
        }
        let (instance, operator) = (layout.read_keyring(INSTANCE)?, layout.read_keyring(OPERATOR)?);
        compose::appoint(&assembled, &instance, &operator.did, env).await
    };
    let registered = registered.await;
    assembled.house.stop().await;
    registered
}

async fn register_identity(layout: &Layout, assembled: &Assembled, name: &str) -> anyhow::Result<()> {
    let log_entry = serde_json::from_str(fs::read_to_string(layout.genesis(name))?.trim_end())?;
    if let Some(module) = name.strip_prefix("service-") {
        let squid = assembled.squid.as_ref().context("squid is not part of this process")?;
        squid.register_service(module, log_entry).await?;
        return Ok(());
    }
    let profile = Profile { name: name.to_owned(), ..Profile::default() };
    let request = CreateIdentityRequest { log_entry, profile, privacy_level: None };
    let client = q_contract::Client::new(assembled.directory.transport("squid"));
    match client.with_key(format!("init-{name}")).call::<CreateIdentity>(&request).await {
        Ok(_) => Ok(()),
        // A second attempt after a crash finds what the first one left.
        Err(error) if error.problem().is_some_and(|problem| problem.is(&SQUID_IDENTITY_EXISTS)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn tell(layout: &Layout, instance: &InstanceFile, phrases: &[(String, RecoveryPhrase)]) {
    output::line(format!("instance     {}", instance.did));
    output::line(format!("operator     {}", instance.operator));
    output::line(format!("data         {}", layout.data.display()));
    output::line(format!("secrets      {}   (keep a copy apart from the data)", layout.keys.display()));
    output::line("             the key file protects backups and a stolen database, not a rooted host");
    for (name, phrase) in phrases.iter().filter(|(name, _)| name == INSTANCE || name == OPERATOR) {
        output::line(format!(
            "\nrecovery phrase of the {name}, shown only now:\n\n  {}\n",
            phrase.words().as_str()
        ));
    }
}
