//! Word of a restore: signed by the instance, so that older stores are accepted where an operator put them, and
//! nowhere else.
//!
//! A store that is older than the audit trail has heard is refused at a start: somebody may have put yesterday's copy
//! back to undo something. A restore does the same on purpose. It leaves this word beside the stores; what it names is
//! accepted until the trail has caught up with it. The word is then kept with the secrets, which no copy of the data
//! folder brings back, and is of no further effect.

use std::{collections::BTreeSet, fs, path::PathBuf};

use anyhow::Context as _;
use q_core::Timestamp;
use q_jose::jws::{self, Header, Parsed};
use serde::{Deserialize, Serialize};

use crate::layout::{INSTANCE, Layout, write_private};

const TYP: &str = "q-restored+jws";
const BYTES_MAX: usize = 64 << 10;

/// What was put back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Restored {
    /// The instance it is of.
    pub instance: String,
    /// The backup.
    pub backup: String,
    /// The instant the stores are of.
    pub at: Timestamp,
    /// When it was put back.
    pub put_back_at: Timestamp,
    /// The modules.
    pub modules: BTreeSet<String>,
}

fn path(layout: &Layout) -> PathBuf {
    layout.data.join("restored.jws")
}

impl Restored {
    /// Leaves the word, signed with the instance's key.
    pub fn leave(&self, layout: &Layout) -> anyhow::Result<()> {
        let keyring = layout.read_keyring(INSTANCE)?;
        let header = Header::typ(TYP).kid(keyring.key_id());
        let signed = jws::sign_json(&header, self, &keyring.current);
        write_private(&path(layout), signed.as_bytes())
    }

    /// The word that lies here, if one does. One that the instance has not signed is an error, not a word.
    pub fn read(layout: &Layout) -> anyhow::Result<Option<Self>> {
        let place = path(layout);
        let text = match fs::read_to_string(&place) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("{} cannot be read", place.display())),
        };
        let keyring = layout.read_keyring(INSTANCE)?;
        let judge = || -> anyhow::Result<Self> {
            let parsed = Parsed::parse(&text, BYTES_MAX)?;
            anyhow::ensure!(parsed.header.typ.as_deref() == Some(TYP), "it is signed for something else");
            let restored: Self = parsed.verify(&keyring.current.public())?.claims()?;
            anyhow::ensure!(restored.instance == keyring.did.to_string(), "it is of another instance");
            anyhow::ensure!(!restored.kept(layout).exists(), "it was used up");
            Ok(restored)
        };
        let what = || {
            format!(
                "{} is no word of a restore that this instance has signed; remove it, or restore with `q backup restore`",
                place.display()
            )
        };
        judge().with_context(what).map(Some)
    }

    /// The backup that the store of `module` was put back from, while there is word of it.
    pub fn of(layout: &Layout, module: &str) -> anyhow::Result<Option<String>> {
        Ok(Self::read(layout)?.filter(|word| word.modules.contains(module)).map(|word| word.backup))
    }

    fn kept(&self, layout: &Layout) -> PathBuf {
        layout.keys.join("restores").join(format!("{}-{}.json", self.backup, self.put_back_at.micros()))
    }

    /// Uses it up.
    pub fn use_up(&self, layout: &Layout) -> anyhow::Result<()> {
        let kept = self.kept(layout);
        fs::create_dir_all(kept.parent().context("a path has a parent")?)?;
        write_private(&kept, &serde_json::to_vec_pretty(self)?)?;
        fs::remove_file(path(layout))?;
        Ok(())
    }
}
