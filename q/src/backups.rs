//! The backups of an instance: what belongs to one, where they go, and who opens them.
//!
//! **Invariant:** a machine that can make backups need not be able to open them; nothing is believed to be a backup
//! because of where it lies.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use q_backup::{
    Archive, Keep, Making, Place, Recipients, Schedule, Secret, Service, Signer, Source, Target, Trust,
    signer_beside,
};
use q_core::{Did, Env};
use q_db::DbConfig;
use q_runtime::{Config, House, Setting};

use crate::{
    commands::backup::FromArgs,
    compose::{self, store_of},
    layout::{INSTANCE, Layout},
    output::{exit, usage, with_code},
};

/// What can be set about backups.
pub const SETTINGS: &[Setting] = &[
    Setting {
        key: "target",
        default: "",
        about: "Where backups go: a folder, or s3://bucket/prefix?endpoint=https://host&region=name with the keys in \
                AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; empty for DIR.backups beside the data folder.",
    },
    Setting {
        key: "every_minutes",
        default: "60",
        about: "Minutes between two whole backups; one is made at each start too. 0 switches backups off.",
    },
    Setting {
        key: "ship_every_seconds",
        default: "5",
        about: "Seconds between two shipments of what has changed since (SQLite): what a lost machine can lose.",
    },
    Setting {
        key: "keep",
        default: "hourly=48,daily=7,weekly=4,monthly=12",
        about: "How many hours, days, weeks and months keep their newest backup; as many hours back any instant can be \
                restored.",
    },
    Setting {
        key: "recipients",
        default: "",
        about: "Age public keys (age1…) that open the backups; empty for the key in DIR.keys/backup.key, which is made \
                when there is none.",
    },
];

/// Files of the data folder that belong to an instance beside its stores.
const FILES: [&str; 2] = ["instance.json", "q.toml"];

/// The secret that opens the backups, unless the settings name other keys.
pub fn key_file(layout: &Layout) -> PathBuf {
    layout.keys.join("backup.key")
}

/// Whether the file of this name among the secrets stays as it is when a backup is put back beside it: what was
/// published last, and the keys of the backups themselves.
pub fn is_newer_here(name: &str) -> bool {
    matches!(name, "qerberos.checkpoint" | "backup.key" | "backup.json")
}

/// The target that the settings, or `to`, name.
pub fn target(layout: &Layout, config: &Config, to: Option<&str>) -> anyhow::Result<Target> {
    let section = config.section("backup");
    match to.or_else(|| section.optional("target")) {
        Some(text) => Target::parse(text, |name| std::env::var(name).ok()).map_err(usage),
        None => Ok(Target::folder(&beside(&layout.data, ".backups"))),
    }
}

/// `q-data` → `q-data.backups`.
pub fn beside(data: &Path, suffix: &str) -> PathBuf {
    let mut path = data.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// Where new backups go and who will open them; makes the keys for it when there are none.
pub fn place(layout: &Layout, config: &Config, to: Option<&str>) -> anyhow::Result<Place> {
    let recipients = match config.section("backup").optional("recipients") {
        Some(text) => Recipients::parse(text).map_err(|error| with_code(exit::CANNOT_START, error))?,
        None => own_recipients(layout)?,
    };
    let making = Making::at(&layout.keys.join("backup.json"))?;
    Ok(Place { target: target(layout, config, to)?, recipients, making, signer: signer(layout) })
}

/// Who signs the backups made here: the instance.
pub fn signer(layout: &Layout) -> Signer {
    Signer::at(&layout.keyring(INSTANCE), &layout.genesis(INSTANCE))
}

fn own_recipients(layout: &Layout) -> anyhow::Result<Recipients> {
    let path = key_file(layout);
    let did = layout.read_did(INSTANCE)?;
    let secret = if path.exists() { Secret::read(&path)? } else { Secret::generate() };
    // A key of a version that did not sign is told whose signature goes with it.
    if signer_beside(&path).as_ref() != Some(&did) {
        secret.write(&path, Some(&did))?;
    }
    Ok(secret.recipients())
}

/// Opens what is in the target, with the key that `from` names or with that of the instance.
pub fn archive(layout: &Layout, config: &Config, from: &FromArgs) -> anyhow::Result<Archive> {
    let own = key_file(layout);
    let secret = Secret::read(from.key.as_deref().unwrap_or(&own))?;
    let target = target(layout, config, from.from.as_deref())?;
    Ok(Archive::open(target, secret, &trust(layout, from)?)?)
}

/// Whose backups are believed: those of whom the operator names, by --signer or by the key file given; else those of the
/// instance that is here; else those of whom the key file here names.
fn trust(layout: &Layout, from: &FromArgs) -> anyhow::Result<Trust> {
    let here: Option<Did> = layout.read_did(INSTANCE).ok();
    let named = match &from.signer {
        Some(text) => Some(Trust::read_signer(text).map_err(usage)?),
        None => from.key.as_deref().and_then(signer_beside),
    };
    let signer = named.or_else(|| here.clone()).or_else(|| signer_beside(&key_file(layout)));
    let is_here = signer.is_some() && signer == here;
    let log = if is_here { std::fs::read_to_string(layout.genesis(INSTANCE)).ok() } else { None };
    Ok(Trust { signer, log, accepts_unsigned: from.accept_unsigned })
}

/// What is backed up: the stores of `modules`, or of all that are not elsewhere by their settings. The store of a module
/// that runs elsewhere, such as replicas behind a balancer, is backed up here where the settings say which it is.
pub fn source(layout: &Layout, config: &Config, modules: Option<&[String]>) -> anyhow::Result<Source> {
    let elsewhere = compose::remote_urls(config);
    let known = crate::stores::Known::read(layout, false)?;
    let has_store = |module: &str| -> anyhow::Result<bool> {
        let named =
            compose::database(config, module).map_err(|error| with_code(exit::CANNOT_START, error))?;
        Ok(named.is_some())
    };
    let mut stores = Vec::new();
    for entry in &compose::MODULES {
        let is_wanted = match modules {
            Some(names) => names.iter().any(|name| name == entry.name),
            None => {
                known.is_listed(entry.name) && (!elsewhere.contains_key(entry.name) || has_store(entry.name)?)
            }
        };
        if is_wanted {
            stores.push((entry.name.to_owned(), store_of(layout, config, entry.name)?));
        }
    }
    Ok(Source {
        instance: layout.read_instance()?.did.to_string(),
        data: layout.data.clone(),
        keys: layout.keys.clone(),
        stores,
        files: FILES.map(str::to_owned).to_vec(),
    })
}

/// How often what is done; `None` when backups are switched off.
pub fn schedule(config: &Config) -> anyhow::Result<Option<Schedule>> {
    let settings = config.section("backup");
    let read = || -> Result<(u64, u64), q_runtime::ConfigError> {
        Ok((
            settings.parse("every_minutes", "a number of minutes, or 0")?,
            settings.parse("ship_every_seconds", "a number of seconds")?,
        ))
    };
    let (minutes, seconds) = read().map_err(|error| with_code(exit::CANNOT_START, error))?;
    let keep: Keep = settings
        .text("keep")
        .parse()
        .map_err(|error| with_code(exit::CANNOT_START, format!("backup.keep: {error}")))?;
    Ok((minutes > 0).then(|| Schedule {
        every: Duration::from_secs(minutes * 60),
        ship_every: Duration::from_secs(seconds.max(1)),
        keep,
    }))
}

/// Starts the backups of this process: they run beside the modules, and what is left is shipped when the stores are
/// closed.
pub async fn start(house: &mut House, layout: &Layout, config: &Config, env: &Env) -> anyhow::Result<()> {
    let Some(schedule) = schedule(config)? else { return Ok(()) };
    let stores: Vec<_> = house.beams().iter().map(|beam| beam.module.db().clone()).collect();
    let source = source(layout, config, None)?;
    // A replica that has no keys of the instance cannot sign, and keeps nothing by itself: whoever has them backs its
    // server's stores up.
    let is_kept_here = source.stores.iter().any(|(_, store)| matches!(store, DbConfig::Sqlite { .. }));
    if !is_kept_here && !layout.keyring(INSTANCE).exists() {
        tracing::info!("no backups are made here: nothing is kept on this machine, and it cannot sign");
        return Ok(());
    }
    let start = async {
        let place = place(layout, config, None)?;
        anyhow::Ok(Service::start(source, place, schedule, &stores, env).await?)
    };
    let service = start
        .await
        .context("backups cannot be made; set backup.target (Q_BACKUP_TARGET), or switch them off with backup.every_minutes = 0")
        .map_err(|error| with_code(exit::CANNOT_START, format!("{error:#}")))?;
    house.after_close(service.finish());
    Ok(())
}
