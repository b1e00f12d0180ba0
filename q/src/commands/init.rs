//! `q init`: the root of trust of a new instance.
//!
//! squid, qonsent, qlock and qerberos need each other; here the circle is opened once, explicitly: keys are
//! made first, then the modules are put together without listening, and the identities are registered from inside.

use std::{collections::BTreeMap, fs, io::ErrorKind, process::ExitCode};

use anyhow::Context as _;
use q_core::{Env, hash};
use q_did::Keyring;
use q_runtime::Config;
use serde_json::json;
use squid_api::{CreateIdentity, CreateIdentityRequest, Profile, errors::SQUID_IDENTITY_EXISTS};

use crate::{
    cli::{Cli, InitArgs},
    compose::{self, Assembled, Options},
    layout::{INSTANCE, InstanceFile, Layout, OPERATOR, RESTORE_KEYS, write_private},
    output::{self, exit, with_code},
    running, settings,
    stores::Known,
};

pub async fn run(cli: &Cli, arguments: &InitArgs) -> anyhow::Result<ExitCode> {
    let layout = Layout::of(&cli.data);
    if is_done(&layout) {
        let data = layout.data.display();
        return Err(with_code(
            exit::CANNOT_START,
            format!("{data} already holds an instance; nothing was changed"),
        ));
    }
    make_quietly(&layout, arguments.demo).await?;
    let instance = layout.read_instance()?;
    let phrases = phrases(&layout)?;
    let made = json!({
        "instance": instance.did,
        "operator": instance.operator,
        "recoveryPhrases": phrases,
    });
    output::show(arguments.json, &made, |_| {
        tell(&layout, &instance, &phrases);
        output::line(format!("`q up --data {}` starts it", layout.data.display()));
    });
    finish(&layout)?;
    Ok(ExitCode::SUCCESS)
}

/// Whether an instance is complete in `layout`.
pub fn is_done(layout: &Layout) -> bool {
    layout.instance().exists() && !layout.unfinished().exists()
}

/// Makes an instance and tells about it.
pub async fn make(layout: &Layout, is_demo: bool) -> anyhow::Result<()> {
    make_quietly(layout, is_demo).await?;
    tell(layout, &layout.read_instance()?, &phrases(layout)?);
    finish(layout)
}

/// Makes an instance; its recovery phrases lie in the key folder until they were shown.
///
/// Can be repeated after a crash: what is there is kept, what is missing is made.
pub async fn make_quietly(layout: &Layout, is_demo: bool) -> anyhow::Result<()> {
    let config = compose::config(layout)?;
    settings::refuse_wrong(&config)?;
    refuse_halves(layout, &config)?;
    layout.create().map_err(|error| with_code(exit::CANNOT_START, format!("{error:#}")))?;
    let env = Env::system();
    write_private(&layout.unfinished(), b"")?;
    if !layout.unseal_key().exists() {
        qlock::KeyFile::create(&layout.unseal_key(), &env)?;
    }
    layout.bus_key()?;
    let names = names();
    for name in &names {
        if !layout.keyring(name).exists() || !layout.genesis(name).exists() {
            make_identity(layout, name, &config, &env)?;
        }
    }
    if !layout.instance_copy().exists() {
        let (did, operator) = (layout.read_keyring(INSTANCE)?.did, layout.read_keyring(OPERATOR)?.did);
        let is_demo = layout.read_instance().map_or(is_demo, |instance| instance.is_demo);
        let instance = InstanceFile { did, operator, is_demo };
        write_private(&layout.instance_copy(), &serde_json::to_vec_pretty(&instance)?)?;
    }
    write_private(&layout.instance(), &fs::read(layout.instance_copy())?)?;
    register(layout, &names, &env).await
}

/// Gives an instance made by an earlier version the identities of the services added since. Asks for nothing when it has
/// them all; needs squid's store to itself otherwise.
pub async fn complete(layout: &Layout) -> anyhow::Result<()> {
    let stores = Known::read(layout, true)?;
    let is_new = |entry: &&compose::ModuleEntry| {
        // A service that has written to a store had keys: those are lost, and not to be replaced.
        let name = compose::service_name(entry.name);
        let is_unknown = !layout.keyring(&name).exists() && !stores.is_listed(entry.name);
        is_unknown || layout.unregistered(&name).exists()
    };
    let new: Vec<String> =
        compose::MODULES.iter().filter(is_new).map(|entry| compose::service_name(entry.name)).collect();
    if new.is_empty() {
        return Ok(());
    }
    if let Some(running) = running::find(layout)? {
        let what = format!(
            "this version adds {}; stop what runs on {} (process {}) once, and start it with this version",
            new.join(", "),
            layout.data.display(),
            running.pids()
        );
        return Err(with_code(exit::CANNOT_START, what));
    }
    let (config, env) = (compose::config(layout)?, Env::system());
    for name in new.iter().filter(|name| !layout.keyring(name).exists()) {
        write_private(&layout.unregistered(name), b"")?;
        make_identity(layout, name, &config, &env)?;
    }
    let options = Options { modules: vec!["qlock", "squid"], is_online: false };
    let assembled = compose::assemble(layout, &options).await?;
    let registered = async {
        for name in &new {
            register_identity(layout, &assembled, name).await?;
            fs::remove_file(layout.unregistered(name))?;
        }
        anyhow::Ok(())
    };
    let registered = registered.await;
    assembled.house.stop().await;
    registered
}

/// The identities every instance begins with.
fn names() -> Vec<String> {
    let mut names = vec![INSTANCE.to_owned(), OPERATOR.to_owned()];
    names.extend(compose::MODULES.iter().map(|entry| compose::service_name(entry.name)));
    names
}

/// Data without its keys, and keys without their data, are halves of an instance that is not to be made anew.
fn refuse_halves(layout: &Layout, config: &Config) -> anyhow::Result<()> {
    let (data, keys) = (layout.data.display(), layout.keys.display());
    // Until all keys are made there are no stores, and the last step writes what instance it is.
    let has_stores = compose::MODULES.iter().any(|entry| layout.store(entry.name).exists());
    if has_stores || layout.instance().exists() {
        let has_keys = |name: &String| layout.keyring(name).exists() && layout.genesis(name).exists();
        if !layout.unseal_key().exists() || !names().iter().all(has_keys) {
            let what =
                format!("{data} holds an instance, and its key folder {keys} is incomplete; {RESTORE_KEYS}");
            return Err(with_code(exit::CANNOT_START, what));
        }
    }
    let is_elsewhere = |entry: &compose::ModuleEntry| {
        ["database_url", "url"].iter().any(|key| config.section(entry.name).optional(key).is_some())
    };
    let is_lost = layout.keyring(INSTANCE).exists() && !layout.has_data();
    if is_lost && !compose::MODULES.iter().any(is_elsewhere) {
        let what = format!(
            "{keys} holds the keys of an instance whose data, {data}, is gone; restore the data from a backup, or, to \
             begin with a new instance, move {keys} away"
        );
        return Err(with_code(exit::CANNOT_START, what));
    }
    Ok(())
}

/// Makes the keys of `name` and the first entry of its log.
fn make_identity(layout: &Layout, name: &str, config: &Config, env: &Env) -> anyhow::Result<()> {
    let origin = config.section("instance").text("origin").trim_end_matches('/').to_owned();
    let host = origin.split_once("://").map_or(origin.as_str(), |(_, host)| host);
    let (keyring, log, phrase) = Keyring::create(host, env).map_err(|error| {
        let what = format!(
            "Q_INSTANCE_ORIGIN (instance.origin) is {origin:?}: {error}; a lower-case DNS name of two labels or more is needed, such as http://qnode.localhost:8080"
        );
        with_code(exit::CANNOT_START, what)
    })?;
    // A run that breaks off before the words were shown leaves them to the next one.
    if name == INSTANCE || name == OPERATOR {
        write_private(&layout.phrase(name), phrase.words().as_bytes())?;
    }
    write_private(&layout.genesis(name), log.to_text().as_bytes())?;
    layout.write_keyring(name, &keyring)
}

/// The recovery phrases that were not shown yet.
fn phrases(layout: &Layout) -> anyhow::Result<BTreeMap<&'static str, Option<String>>> {
    let read = |name| match fs::read_to_string(layout.phrase(name)) {
        Ok(words) => Ok((name, Some(words))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok((name, None)),
        Err(error) => Err(error).with_context(|| format!("the recovery phrase of the {name}")),
    };
    [INSTANCE, OPERATOR].into_iter().map(read).collect()
}

/// The phrases were shown and are kept by their owners only from now on; the instance is complete.
fn finish(layout: &Layout) -> anyhow::Result<()> {
    for name in [INSTANCE, OPERATOR].iter().filter(|name| layout.phrase(name).exists()) {
        fs::remove_file(layout.phrase(name))?;
    }
    Ok(fs::remove_file(layout.unfinished())?)
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
    let genesis = fs::read_to_string(layout.genesis(name))?;
    // Of an identity whose keys were changed the file holds the whole log: the first entry registers.
    let log_entry = serde_json::from_str(genesis.lines().next().unwrap_or_default())?;
    if let Some(module) = name.strip_prefix("service-") {
        let squid = assembled.squid.as_ref().context("squid is not part of this process")?;
        squid.register_service(module, log_entry).await?;
        return Ok(());
    }
    let profile = Profile { name: name.to_owned(), ..Profile::default() };
    let request = CreateIdentityRequest { log_entry, profile, privacy_level: None, kind: None };
    let client = q_contract::Client::new(assembled.directory.transport("squid"));
    let key = format!("init-{name}-{}", hash::hex(&hash::sha256(genesis.as_bytes())[..16]));
    match client.with_key(key).call::<CreateIdentity>(&request).await {
        Ok(_) => Ok(()),
        // A second attempt after a crash finds what the first one left.
        Err(error) if error.problem().is_some_and(|problem| problem.is(&SQUID_IDENTITY_EXISTS)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn tell(layout: &Layout, instance: &InstanceFile, phrases: &BTreeMap<&'static str, Option<String>>) {
    output::line(format!("instance     {}", instance.did));
    output::line(format!("operator     {}", instance.operator));
    output::line(format!("data         {}", layout.data.display()));
    output::line(format!("secrets      {}   (keep a copy apart from the data)", layout.keys.display()));
    output::line("             the key file protects backups and a stolen database, not a rooted host");
    for (name, words) in phrases {
        if let Some(words) = words {
            output::line(format!("\nrecovery phrase of the {name}, shown only now:\n\n  {words}\n"));
        }
    }
}
