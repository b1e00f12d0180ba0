//! What a backup holds.

use std::collections::{BTreeMap, BTreeSet};

use q_core::{Timestamp, hash};
use q_db::backup::Position;
use serde::{Deserialize, Serialize};

use crate::{
    Error, Making, Target,
    chunks::{Content, Opening},
    place::Place,
    signing::{self, Signing, Statement, Verifier},
};

/// The form of manifests this program writes; it reads no newer one.
pub const FORMAT: u32 = 2;
const MANIFEST_MAX: usize = 256 << 20;

/// One backup.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Manifest {
    /// The form of this manifest.
    pub format: u32,
    /// Its name: the instant, and something unique.
    pub id: String,
    /// The identity of the instance.
    pub instance: String,
    /// The version of the program that made it.
    pub program: String,
    /// The instant all stores are of.
    pub at: Timestamp,
    /// How long making it took, in milliseconds.
    pub took_ms: u64,
    /// Bytes of everything in it.
    pub bytes: u64,
    /// Bytes that had to be written for it.
    pub written: u64,
    /// The stores, by module.
    pub modules: BTreeMap<String, ModuleCopy>,
    /// Files of the data folder, by name.
    pub files: BTreeMap<String, Content>,
    /// Files of the folder of secrets, by name.
    pub secrets: BTreeMap<String, Content>,
    /// What names its pieces.
    pub making: Making,
}

/// The store of one module in a backup.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ModuleCopy {
    /// `sqlite`: the file; `postgres`: SQL text as `pg_dump` writes it.
    pub engine: String,
    /// How far it had come.
    pub position: Position,
    /// The file or text.
    pub content: Content,
    /// Where the changes after it are.
    pub chain: Option<Chain>,
}

/// Which changes follow a copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Chain {
    /// One run of a process.
    pub generation: String,
    /// Everything that is not in the copy is in changes of this number or later.
    pub first: u64,
    /// Only with changes of this number or later it is a state the store had: earlier ones are in the copy already.
    pub least: u64,
}

fn object(id: &str) -> String {
    format!("backups/{id}")
}

fn list_object(id: &str) -> String {
    format!("pieces/{id}")
}

fn statement_object(id: &str) -> String {
    format!("signatures/{id}")
}

/// The public keys that a target is written for, readable by anybody.
pub(crate) const MADE_FOR: &str = "made-for.txt";

impl Manifest {
    /// Every piece it needs.
    pub fn pieces(&self) -> BTreeSet<&str> {
        let stores = self.modules.values().map(|copy| &copy.content);
        let contents = stores.chain(self.files.values()).chain(self.secrets.values());
        contents.flat_map(|content| content.pieces.iter().map(String::as_str)).collect()
    }

    /// Writes it: from then on the backup is there.
    pub(crate) fn write(&self, place: &Place, signing: &Signing) -> Result<(), Error> {
        let Place { target, recipients, .. } = place;
        // First what says which pieces are in use, so that none of a backup that is there is ever thought unused.
        let mut list: String = self.pieces().iter().flat_map(|name| [name, "\n"]).collect();
        list.push_str(&hash::hex(&hash::sha256(list.as_bytes())));
        target.put(&list_object(&self.id), list.as_bytes())?;
        target.put(MADE_FOR, recipients.to_string().as_bytes())?;
        let made_by = signing::log_object(signing.did());
        target.put(&made_by, &recipients.seal(signing.log.as_bytes()))?;
        let text = serde_json::to_vec(self).expect("plain data serialises");
        let sealed = recipients.seal(&text);
        let statement = Statement {
            id: self.id.clone(),
            at: self.at,
            manifest: signing::sum(&sealed),
            pieces: signing::sum(list.as_bytes()),
        };
        let signature = statement_object(&self.id);
        target.put(&signature, signing.backup(&statement).as_bytes())?;
        target.settle(&[list_object(&self.id), made_by, signature])?;
        let name = object(&self.id);
        target.put(&name, &sealed)?;
        target.settle(&[name])
    }

    /// What the signer says about the backup `id`, and its sealed manifest, which is what was signed; no statement when
    /// there is none and that is accepted. Opens nothing.
    pub(crate) fn judged(
        target: &Target,
        verifier: &Verifier,
        id: &str,
    ) -> Result<(Option<Statement>, Vec<u8>), Error> {
        let name = object(id);
        let sealed = match target.get(&name) {
            Err(Error::Missing(_)) => return Err(Error::Unknown(id.to_owned())),
            read => read?,
        };
        let place = statement_object(id);
        let statement = match target.get(&place) {
            Err(Error::Missing(_)) => return verifier.accept_unsigned(&name).map(|()| (None, sealed)),
            text => verifier.backup(&place, &text?, id)?,
        };
        if signing::sum(&sealed) != statement.manifest {
            return Err(Error::damaged(&name, "it is not what was signed"));
        }
        Ok((Some(statement), sealed))
    }

    /// Reads one, and says whether it is signed.
    pub(crate) fn read(
        target: &Target,
        opening: &Opening,
        verifier: &Verifier,
        id: &str,
    ) -> Result<(Self, bool), Error> {
        let name = object(id);
        let (statement, sealed) = Self::judged(target, verifier, id)?;
        let text = opening.open(&name, &sealed, MANIFEST_MAX)?;
        let read: serde_json::Value =
            serde_json::from_slice(&text).map_err(|error| Error::damaged(&name, error))?;
        if read["format"].as_u64() > Some(u64::from(FORMAT)) {
            return Err(Error::Text(format!(
                "the backup {id} was made by a newer program; read it with that one"
            )));
        }
        let manifest: Self = serde_json::from_value(read).map_err(|error| Error::damaged(&name, error))?;
        if manifest.id != id {
            return Err(Error::damaged(&name, format!("it is the backup {}", manifest.id)));
        }
        if statement.as_ref().is_some_and(|statement| statement.at != manifest.at) {
            return Err(Error::damaged(
                &name,
                format!("it is of {}, which is not what was signed", manifest.at),
            ));
        }
        verifier.same_instance(&name, statement.is_some(), &manifest.instance)?;
        Ok((manifest, statement.is_some()))
    }

    /// The names of the backups in a target, oldest first.
    pub fn ids(target: &Target) -> Result<Vec<String>, Error> {
        let objects = target.list("backups/")?;
        Ok(objects
            .into_iter()
            .filter_map(|object| Some(object.name.strip_prefix("backups/")?.to_owned()))
            .collect())
    }

    /// Removes one; its pieces may be used by others.
    pub(crate) fn remove(target: &Target, id: &str) -> Result<(), Error> {
        target.delete(&object(id))?;
        target.delete(&statement_object(id))?;
        target.delete(&list_object(id))
    }

    /// The pieces of the backup `id`, without opening it; those that `statement` speaks of, where there is one.
    pub(crate) fn pieces_of(
        target: &Target,
        id: &str,
        statement: Option<&Statement>,
    ) -> Result<Vec<String>, Error> {
        let name = list_object(id);
        let text = String::from_utf8(target.get(&name)?).map_err(|error| Error::damaged(&name, error))?;
        if statement.is_some_and(|statement| statement.pieces != signing::sum(text.as_bytes())) {
            return Err(Error::damaged(&name, "it is not what was signed"));
        }
        let (list, sum) = text.rsplit_once('\n').unwrap_or(("", &text));
        let list = if list.is_empty() { String::new() } else { format!("{list}\n") };
        if hash::hex(&hash::sha256(list.as_bytes())) != sum {
            return Err(Error::damaged(&name, "its sum does not fit"));
        }
        Ok(list.lines().map(str::to_owned).collect())
    }
}
