//! The backups of an instance: what belongs to one, where they go, and who opens them.
//!
//! **Invariant:** a machine that can make backups need not be able to open them.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use q_backup::{Archive, Keep, Making, Place, Recipients, Schedule, Secret, Service, Source, Target};
use q_core::Env;
use q_runtime::{Config, House, Setting};

use crate::{
    compose::{self, store_of},
    layout::Layout,
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
    Ok(Place { target: target(layout, config, to)?, recipients, making })
}

fn own_recipients(layout: &Layout) -> anyhow::Result<Recipients> {
    let path = key_file(layout);
    if !path.exists() {
        Secret::generate().write(&path)?;
    }
    Ok(Secret::read(&path)?.recipients())
}

/// Opens what is in the target, with the key in `key` or with that of the instance.
pub fn archive(
    layout: &Layout,
    config: &Config,
    from: Option<&str>,
    key: Option<&Path>,
) -> anyhow::Result<Archive> {
    let own = key_file(layout);
    let secret = Secret::read(key.unwrap_or(&own))?;
    Ok(Archive::open(target(layout, config, from)?, secret)?)
}

/// What is backed up: the stores of `modules`, or of all that are not elsewhere by their settings.
pub fn source(layout: &Layout, config: &Config, modules: Option<&[String]>) -> anyhow::Result<Source> {
    let elsewhere = compose::remote_urls(config);
    let known = crate::stores::Known::read(layout, false)?;
    let mut stores = Vec::new();
    for entry in &compose::MODULES {
        let is_wanted = match modules {
            Some(names) => names.iter().any(|name| name == entry.name),
            None => !elsewhere.contains_key(entry.name) && known.is_listed(entry.name),
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
    let start = async {
        let (source, place) = (source(layout, config, None)?, place(layout, config, None)?);
        anyhow::Ok(Service::start(source, place, schedule, &stores, env).await?)
    };
    let service = start
        .await
        .context("backups cannot be made; set backup.target (Q_BACKUP_TARGET), or switch them off with backup.every_minutes = 0")
        .map_err(|error| with_code(exit::CANNOT_START, format!("{error:#}")))?;
    house.after_close(service.finish());
    Ok(())
}
