//! The folder of secrets, shipped whenever it changes: an identity made since the last whole backup is as good as lost
//! without its keys.

use std::{collections::BTreeMap, fs, path::Path, time::SystemTime};

use q_core::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Error, Target, chunks::Opening, files, place::Place, signing::Verifier};

/// Secrets of a moment, which nobody misses: headers of requests, orders that wait for a repetition.
const LEFT_OUT: [&str; 2] = ["headers/", "orders/"];
/// Follows every checkpoint of the audit log: taken along by whole backups, which read it before the stores.
const RESTLESS: &str = "qerberos.checkpoint";
const BYTES_MAX: usize = 64 << 20;

/// The files of the folder that belong into a backup.
pub(crate) fn names(keys: &Path) -> Result<Vec<String>, Error> {
    let mut names = files::below(keys)?;
    names.retain(|name| !LEFT_OUT.iter().any(|folder| name.starts_with(folder)) && !files::is_draft(name));
    Ok(names)
}

/// What tells that something has changed.
pub(crate) type Look = Vec<(String, u64, Option<SystemTime>)>;

pub(crate) fn look(keys: &Path) -> Result<Look, Error> {
    let names = names(keys)?.into_iter().filter(|name| name != RESTLESS);
    let about = names.filter_map(|name| {
        let about = fs::metadata(keys.join(&name)).ok()?;
        Some((name, about.len(), about.modified().ok()))
    });
    Ok(about.collect())
}

/// All files, by name.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Secrets(pub BTreeMap<String, Vec<u8>>);

impl Secrets {
    /// Ships the folder as it is.
    pub fn ship(keys: &Path, at: Timestamp, place: &Place) -> Result<(), Error> {
        let read = |name: String| Some((name.clone(), fs::read(keys.join(name)).ok()?));
        // Not the last checkpoint: read now, it may be ahead of what of the audit log has been shipped so far.
        let lasting = names(keys)?.into_iter().filter(|name| name != RESTLESS);
        let all = Self(lasting.filter_map(read).collect());
        let object = object(at);
        let body = serde_json::to_vec(&all).expect("plain data serialises");
        let before = place.signer.current()?.before(&object, at, &[&body]);
        place.target.put(&object, &place.recipients.seal_parts(&[&before, &body]))?;
        place.target.settle(&[object])
    }

    /// Reads what was shipped by whom `verifier` believes.
    pub fn open(
        target: &Target,
        opening: &Opening,
        verifier: &Verifier,
        object: &str,
    ) -> Result<Self, Error> {
        let at = instant_of(object).ok_or_else(|| Error::damaged(object, "its name tells no instant"))?;
        let plain = opening.open(object, &target.get(object)?, BYTES_MAX)?;
        let damaged = |error| Error::damaged(object, error);
        if let Some(body) = verifier.part(object, at, at, &plain)? {
            return serde_json::from_slice(body).map_err(damaged);
        }
        // Of a version that did not sign: the name, and the files.
        let (told, all): (String, Self) = serde_json::from_slice(&plain).map_err(damaged)?;
        if told != object {
            return Err(Error::damaged(object, "it holds other secrets than its name says"));
        }
        Ok(all)
    }
}

fn object(at: Timestamp) -> String {
    format!("secrets/{:020}", at.micros())
}

/// The instant in the name of an object.
pub(crate) fn instant_of(object: &str) -> Option<Timestamp> {
    Some(Timestamp::from_micros(object.strip_prefix("secrets/")?.parse().ok()?))
}

/// The newest that was shipped between two instants.
pub(crate) fn newest(
    target: &Target,
    from: Timestamp,
    until: Option<Timestamp>,
) -> Result<Option<String>, Error> {
    let is_within = |at: Timestamp| at >= from && until.is_none_or(|until| at <= until);
    let all = target.list("secrets/")?.into_iter().map(|object| object.name);
    Ok(all.filter(|name| instant_of(name).is_some_and(is_within)).max())
}
