//! The folders: there, whole, closed to others, with room.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use rustix::{
    fs::statvfs,
    process::{Resource, getrlimit},
};

use super::Line;
use crate::{commands::init, layout::Layout};

/// Below this an instance does not last the day.
const FREE_BYTES_MIN: u64 = 256 << 20;
/// Below this part of the disk somebody should look at it.
const FREE_PERCENT_MIN: u64 = 10;
/// Connections, stores and a little; a listener alone keeps up to ten thousand.
const DESCRIPTORS_WANTED: u64 = 4096;

pub fn data(layout: &Layout) -> Line {
    let place = layout.data.display().to_string();
    match fs::metadata(&layout.data) {
        Err(_) => Line::good("data folder", format!("{place} does not exist yet; `q up` makes it")),
        Ok(folder) if !folder.is_dir() => {
            Line::bad("data folder", format!("{place} is not a folder"), "choose another with --data")
        }
        Ok(folder) if folder.permissions().readonly() => {
            Line::bad("data folder", format!("{place} is read-only"), "make it writable for this user")
        }
        Ok(_) if !init::is_done(layout) && layout.has_data() => Line::bad(
            "data folder",
            format!("{place} holds an instance whose making was cut off"),
            format!("q init --data {place}"),
        ),
        Ok(_) if !layout.instance().exists() => {
            Line::good("data folder", format!("{place} holds no instance yet"))
        }
        Ok(_) => match layout.read_instance() {
            Ok(instance) => Line::good("data folder", format!("{place} holds {}", instance.did)),
            Err(error) => {
                Line::bad("data folder", format!("{error:#}"), "restore instance.json from a backup")
            }
        },
    }
}

pub fn secrets(layout: &Layout) -> Line {
    let path = layout.unseal_key();
    if !path.exists() && !layout.has_data() {
        return Line::good("unseal key", "made together with the instance");
    }
    match qlock::KeyFile::load(&path) {
        Ok(_) => Line::good("unseal key", format!("{} can be read", path.display())),
        Err(error) => {
            let fix = match &error {
                qlock::KeyFileError::TooOpen { .. } => format!("chmod 600 {}", path.display()),
                _ => "put the key file back from where you keep it apart from the data".to_owned(),
            };
            Line::bad("unseal key", error.to_string(), fix)
        }
    }
}

/// Whether anybody else may read what is only this user's.
pub fn permissions(layout: &Layout) -> Option<Line> {
    let keyring = layout.keys.join("keyring");
    let in_keyring =
        fs::read_dir(&keyring).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path());
    let places: Vec<PathBuf> =
        [layout.data.clone(), layout.keys.clone(), keyring].into_iter().chain(in_keyring).collect();
    let is_open =
        |place: &&PathBuf| fs::metadata(place).is_ok_and(|about| about.permissions().mode() & 0o077 != 0);
    if !layout.data.exists() {
        return None;
    }
    let open: Vec<String> = places.iter().filter(is_open).map(|place| place.display().to_string()).collect();
    Some(match open.as_slice() {
        [] => Line::good("permissions", "data and keys are this user's alone"),
        open => Line::bad(
            "permissions",
            format!("others may look into {}", open.join(", ")),
            format!("chmod -R go= {} {}", layout.data.display(), layout.keys.display()),
        ),
    })
}

/// The room left where the instance is, or will be.
pub fn space(layout: &Layout) -> Option<Line> {
    let place = layout.data.ancestors().find(|place| place.exists()).filter(|place| *place != Path::new(""));
    let disk = statvfs(place.unwrap_or(Path::new("."))).ok()?;
    let (free, all) = (disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize);
    let percent = free * 100 / all.max(1);
    let finding = format!("{} MiB free of {} MiB ({percent} %)", free >> 20, all >> 20);
    let fix = "make room, or move the data folder to a larger disk; `q backup prune` removes old backups";
    Some(if free < FREE_BYTES_MIN {
        Line::bad("disk", finding, fix)
    } else if percent < FREE_PERCENT_MIN {
        Line::doubtful("disk", finding, fix)
    } else {
        Line::good("disk", finding)
    })
}

/// How many files and connections a process may have open.
pub fn descriptors() -> Option<Line> {
    let limit = getrlimit(Resource::Nofile).current?;
    let finding = format!("{limit} files and connections may be open in one process");
    Some(if limit < DESCRIPTORS_WANTED {
        let fix = format!(
            "ulimit -n {DESCRIPTORS_WANTED}, or LimitNOFILE={DESCRIPTORS_WANTED} in the service unit"
        );
        Line::doubtful("open files", finding, fix)
    } else {
        Line::good("open files", finding)
    })
}
