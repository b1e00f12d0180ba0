//! What changes between two backups, shipped every few seconds (SQLite).
//!
//! A *cut* is everything that commits have changed in the stores of one process since the cut before, at one instant.
//! The cuts of one run of a process are numbered; which of them follow a backup is known from what the process says
//! about the number of its next cut, read just before and just after the instant of the backup: a cut that may be in
//! the backup already does no harm when it is applied again, as long as the later ones are too.
//!
//! **Invariant:** a cut is applied only onto a backup, or a cut, that it follows without a gap.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use q_core::{Env, Timestamp, hash};
use q_db::{
    Db,
    backup::{self, Changes, ChangesOf, Position, apply_pages},
};
use serde::{Deserialize, Serialize};

use crate::{
    Error, Target,
    chunks::Opening,
    files,
    manifest::Chain,
    place::{Place, Source},
    secrets::{self, Secrets},
    signing::Verifier,
    status::Status,
};

/// No cut is larger when it is opened.
const CUT_MAX: usize = 1 << 30;
/// Changes that wait because the target does not take them are let go beyond this, and a whole backup follows.
const WAITING_MAX: usize = 256 << 20;

/// What a process says about the cuts it makes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct State {
    generation: String,
    modules: Vec<String>,
    /// The making of no cut of this number or a later one has begun.
    next: u64,
}

fn folder(data: &Path) -> PathBuf {
    data.join("shipping")
}

/// What the processes of the instance in `data` say.
pub(crate) fn states(data: &Path) -> Vec<State> {
    let entries = fs::read_dir(folder(data)).into_iter().flatten().flatten();
    let read = |entry: fs::DirEntry| serde_json::from_slice(&fs::read(entry.path()).ok()?).ok();
    entries.filter_map(read).collect()
}

/// Which cuts follow a copy of `module` made between two looks at the states.
pub(crate) fn chain(before: &[State], after: &[State], module: &str) -> Option<Chain> {
    let of = |state: &&State| state.modules.iter().any(|name| name == module);
    let after = after.iter().find(of)?;
    let before = before.iter().find(|state| state.generation == after.generation);
    // The cut before the next one may have been under way.
    let first = before.map_or(1, |state| state.next.saturating_sub(1).max(1));
    Some(Chain { generation: after.generation.clone(), first, least: after.next })
}

/// A cut as it lies in the target, by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CutName {
    pub generation: String,
    pub number: u64,
    /// The number of the cut before it; 0 for the first.
    pub previous: u64,
    pub at: Timestamp,
    /// The newest instant of what it follows, where that is known: a key that was replaced by then signs it no more,
    /// whatever instant it tells. No part of the name.
    pub since: Timestamp,
}

impl CutName {
    pub fn object(&self) -> String {
        let Self { generation, number, previous, at, .. } = self;
        format!("changes/{generation}/{number:010}-{previous:010}-{}", at.micros())
    }

    pub fn read(object: &str) -> Option<Self> {
        let mut parts = object.strip_prefix("changes/")?.split('/');
        let (generation, name) = (parts.next()?.to_owned(), parts.next()?);
        let mut numbers = name.split('-');
        let (number, previous) = (numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?);
        let at = Timestamp::from_micros(numbers.next()?.parse().ok()?);
        Some(Self { generation, number, previous, at, since: at })
    }

    /// Those of one generation, by number; all when `generation` is empty.
    pub fn list(target: &Target, generation: &str) -> Result<Vec<Self>, Error> {
        let prefix = if generation.is_empty() { "changes/".into() } else { format!("changes/{generation}/") };
        Ok(target.list(&prefix)?.iter().filter_map(|object| Self::read(&object.name)).collect())
    }
}

/// A cut.
pub(crate) struct Cut {
    pub modules: BTreeMap<String, Part>,
}

/// One store in a cut.
pub(crate) struct Part {
    pub position: Position,
    page_bytes: u32,
    pages_total: u32,
    pages: BTreeMap<u32, Box<[u8]>>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Head {
    module: String,
    position: Position,
    page_bytes: u32,
    pages_total: u32,
    pages: u32,
}

impl Cut {
    fn is_empty(&self) -> bool {
        self.modules.values().all(|part| part.pages.is_empty())
    }

    fn bytes(&self) -> usize {
        self.modules.values().map(|part| part.pages.len() * part.page_bytes as usize).sum()
    }

    /// Takes in what came after.
    fn add(&mut self, later: Self) {
        for (module, part) in later.modules {
            let Some(known) = self.modules.get_mut(&module) else {
                self.modules.insert(module, part);
                continue;
            };
            known.position = part.position;
            if !part.pages.is_empty() {
                (known.page_bytes, known.pages_total) = (part.page_bytes, part.pages_total);
                known.pages.extend(part.pages);
            }
        }
    }

    /// Length of the heads, the heads as JSON, then for each store the numbers of its pages and the pages: in order, and
    /// the pages where they lie.
    fn parts(&self) -> Vec<Cow<'_, [u8]>> {
        let heads: Vec<_> = self
            .modules
            .iter()
            .map(|(module, part)| Head {
                module: module.clone(),
                position: part.position.clone(),
                page_bytes: part.page_bytes,
                pages_total: part.pages_total,
                pages: u32::try_from(part.pages.len()).expect("page numbers are of 32 bits"),
            })
            .collect();
        let heads = serde_json::to_vec(&heads).expect("plain data serialises");
        let length = u32::try_from(heads.len()).expect("a few modules").to_le_bytes();
        let mut parts = vec![Cow::Owned(length.to_vec()), Cow::Owned(heads)];
        for part in self.modules.values() {
            parts.push(Cow::Owned(part.pages.keys().flat_map(|number| number.to_le_bytes()).collect()));
            parts.extend(part.pages.values().map(|page| Cow::Borrowed(&page[..])));
        }
        parts
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let (heads, mut rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        let heads: Vec<Head> = serde_json::from_slice(heads).ok()?;
        let mut modules = BTreeMap::new();
        for Head { module, position, page_bytes, pages_total, pages: count } in heads {
            let (numbers, after) = rest.split_at_checked(count as usize * 4)?;
            let (content, after) = after.split_at_checked(count as usize * page_bytes as usize)?;
            rest = after;
            let numbers =
                numbers.chunks_exact(4).map(|four| u32::from_le_bytes(four.try_into().unwrap_or_default()));
            let pages = if count == 0 {
                BTreeMap::new()
            } else {
                numbers.zip(content.chunks_exact(page_bytes as usize).map(Box::from)).collect()
            };
            modules.insert(module, Part { position, page_bytes, pages_total, pages });
        }
        rest.is_empty().then_some(Self { modules })
    }

    /// Reads one that was made by whom `verifier` believes.
    pub fn open(
        target: &Target,
        opening: &Opening,
        verifier: &Verifier,
        name: &CutName,
    ) -> Result<Self, Error> {
        let object = name.object();
        let plain = opening.open(&object, &target.get(&object)?, CUT_MAX)?;
        // The name is signed with the content: a cut in the place of another one is found out.
        let body = match verifier.part(&object, name.at, name.since, &plain)? {
            Some(body) => body,
            // Of a version that did not sign: the name, and the content.
            None => plain
                .strip_prefix(format!("{object}\n").as_bytes())
                .ok_or_else(|| Error::damaged(&object, "it holds another cut than its name says"))?,
        };
        Self::decode(body).ok_or_else(|| Error::damaged(&object, "its parts do not fit together"))
    }

    fn seal(&self, name: &CutName, place: &Place) -> Result<Vec<u8>, Error> {
        let parts = self.parts();
        let mut parts: Vec<&[u8]> = parts.iter().map(AsRef::as_ref).collect();
        let before = place.signer.current()?.before(&name.object(), name.at, &parts);
        parts.insert(0, &before);
        Ok(place.recipients.seal_parts(&parts))
    }
}

impl Part {
    /// Writes its pages into the store file at `path`.
    pub fn apply(&self, path: &Path) -> Result<(), Error> {
        if self.pages.is_empty() {
            return Ok(());
        }
        let pages = self.pages.iter().map(|(number, page)| (*number, page));
        apply_pages(path, self.page_bytes, self.pages_total, pages)
            .map_err(|error| Error::io("written", path, error))
    }
}

/// Ships the changes of the stores of one process.
pub(crate) struct Shipper {
    data: PathBuf,
    keys: PathBuf,
    place: Place,
    env: Env,
    stores: Vec<Db>,
    kept: Vec<(String, ChangesOf)>,
    generation: String,
    next: u64,
    /// The newest cut in the target.
    previous: u64,
    /// Made, and not in the target yet.
    waiting: Option<Cut>,
    /// The secrets as they were when they were shipped last.
    secrets: secrets::Look,
}

/// What shipping came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shipped {
    /// Everything so far is in the target.
    All,
    /// The stores did not come to rest; the next attempt takes everything.
    Later,
    /// Something was lost on the way: a whole backup is needed, and what is shipped from now on follows it.
    Torn,
}

impl Shipper {
    /// Has the stores keep their changes, those that are not on servers.
    pub async fn begin(source: &Source, place: &Place, all: &[Db], env: &Env) -> Result<Self, Error> {
        let data = &source.data;
        let (mut stores, mut kept) = (Vec::new(), Vec::new());
        for db in all {
            if let Some(changes) = db.keep_changes().await {
                stores.push(db.clone());
                kept.push((db.module().to_owned(), changes));
            }
        }
        files::folder(&folder(data))?;
        let mut shipper = Self {
            data: data.clone(),
            keys: source.keys.clone(),
            place: place.clone(),
            env: env.clone(),
            stores,
            kept,
            generation: String::new(),
            next: 1,
            previous: 0,
            waiting: None,
            // The first whole backup has them.
            secrets: secrets::look(&source.keys)?,
        };
        shipper.begin_anew()?;
        Ok(shipper)
    }

    /// Waits until so much has changed that it should be shipped now.
    pub fn wanted(&self) -> impl Future<Output = ()> + use<> {
        let kept: Vec<_> = self.kept.iter().map(|(_, kept)| kept.clone()).collect();
        async move {
            if kept.is_empty() {
                return std::future::pending().await;
            }
            let mut waiting = tokio::task::JoinSet::new();
            for one in kept {
                waiting.spawn(async move { one.wanted().await });
            }
            waiting.join_next().await;
        }
    }

    fn begin_anew(&mut self) -> Result<(), Error> {
        // A process that was killed left word of its cuts; the stores are ours now.
        for state in states(&self.data) {
            if state.modules.iter().any(|module| self.kept.iter().any(|(name, _)| name == module)) {
                let _ = fs::remove_file(self.state(&state.generation));
            }
        }
        self.generation = format!("{}-{}", self.env.now().seconds(), hash::hex(&self.env.random::<6>()));
        (self.next, self.previous, self.waiting) = (1, 0, None);
        self.tell()
    }

    fn state(&self, generation: &str) -> PathBuf {
        folder(&self.data).join(format!("{generation}.json"))
    }

    fn tell(&self) -> Result<(), Error> {
        let modules = self.kept.iter().map(|(name, _)| name.clone()).collect();
        let state = State { generation: self.generation.clone(), modules, next: self.next };
        files::note(
            &self.state(&self.generation),
            &serde_json::to_vec(&state).expect("plain data serialises"),
        )
    }

    /// Ships what has changed since the last time.
    pub async fn ship(&mut self) -> Result<Shipped, Error> {
        self.ship_secrets().await?;
        if self.stores.is_empty() {
            return Ok(Shipped::All);
        }
        self.next += 1;
        self.tell()?;
        let at = self.env.now();
        let Some(changes) = backup::cut(&self.stores).await else { return Ok(Shipped::Later) };
        self.take(changes, at).await
    }

    /// Ships what was left when the stores were closed, and ends.
    pub async fn finish(mut self) -> Result<(), Error> {
        self.ship_secrets().await?;
        self.next += 1;
        let changes: Option<Vec<_>> = self.kept.iter().map(|(_, kept)| kept.last()).collect();
        let at = self.env.now();
        if let Some(changes) = changes {
            self.take(changes, at).await?;
        } else {
            tracing::warn!("the last changes of a store are not shipped: it was not closed");
        }
        let _ = fs::remove_file(self.state(&self.generation));
        Ok(())
    }

    /// Before the stores: what lies beside them is never ahead of them.
    async fn ship_secrets(&mut self) -> Result<(), Error> {
        let (keys, place, at, before) =
            (self.keys.clone(), self.place.clone(), self.env.now(), self.secrets.clone());
        let shipping = tokio::task::spawn_blocking(move || {
            let now = secrets::look(&keys)?;
            if now != before {
                Secrets::ship(&keys, at, &place)?;
            }
            Ok::<_, Error>(now)
        });
        self.secrets = shipping.await.expect("reading files does not panic")?;
        Ok(())
    }

    async fn take(&mut self, changes: Vec<Changes>, at: Timestamp) -> Result<Shipped, Error> {
        let is_whole = changes.iter().all(|changes| changes.is_whole);
        let parts = self.kept.iter().zip(changes).map(|((module, _), changes)| {
            let Changes { position, page_bytes, pages_total, pages, .. } = changes;
            (module.clone(), Part { position, page_bytes, pages_total, pages })
        });
        let fresh = Cut { modules: parts.collect() };
        match &mut self.waiting {
            Some(waiting) => waiting.add(fresh),
            None => self.waiting = Some(fresh),
        }
        if !is_whole || self.waiting.as_ref().is_some_and(|waiting| waiting.bytes() > WAITING_MAX) {
            self.begin_anew()?;
            return Ok(Shipped::Torn);
        }
        let Some(waiting) = self.waiting.take().filter(|waiting| !waiting.is_empty()) else {
            self.note(Some(at), None);
            return Ok(Shipped::All);
        };
        let number = self.next - 1;
        let generation = self.generation.clone();
        let name = CutName { generation, number, previous: self.previous, at, since: at };
        let place = self.place.clone();
        let shipping = tokio::task::spawn_blocking(move || {
            let object = name.object();
            let put = waiting.seal(&name, &place).and_then(|sealed| place.target.put(&object, &sealed));
            (waiting, put.and_then(|()| place.target.settle(&[object])))
        });
        let (waiting, put) = shipping.await.expect("sealing does not panic");
        if let Err(error) = put {
            self.waiting = Some(waiting);
            self.note(None, Some(error.to_string()));
            return Err(error);
        }
        self.previous = number;
        self.note(Some(at), None);
        Ok(Shipped::All)
    }

    fn note(&self, until: Option<Timestamp>, error: Option<String>) {
        Status::note(&self.data, |status| {
            status.shipped_until = until.or(status.shipped_until);
            status.shipping_error = error;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_is_what_was_encoded() {
        let pages = BTreeMap::from([(1, vec![1; 512].into()), (9, vec![9; 512].into())]);
        let part = Part { position: Position::default(), page_bytes: 512, pages_total: 9, pages };
        let empty =
            Part { position: Position::default(), page_bytes: 0, pages_total: 0, pages: BTreeMap::new() };
        let mut cut = Cut { modules: [("a".to_owned(), part), ("b".to_owned(), empty)].into() };
        let later = BTreeMap::from([(9, vec![7; 512].into())]);
        let later = Part { position: Position::default(), page_bytes: 512, pages_total: 12, pages: later };
        cut.add(Cut { modules: [("a".to_owned(), later)].into() });
        let bytes = cut.parts().concat();
        let again = Cut::decode(&bytes).expect("it was encoded");
        assert_eq!(again.modules["a"].pages[&9][0], 7);
        assert_eq!((again.modules["a"].pages_total, again.modules["a"].pages.len()), (12, 2));
        assert!(again.modules["b"].pages.is_empty());
        for end in [0, 3, 10, bytes.len() - 1] {
            assert!(Cut::decode(&bytes[..end]).is_none(), "{end}");
        }
    }

    #[test]
    fn a_name_is_read_as_it_was_written() {
        let at = Timestamp::from_micros(99);
        let name = CutName { generation: "1-ab".into(), number: 7, previous: 5, at, since: at };
        assert_eq!(CutName::read(&name.object()), Some(name));
        assert_eq!(CutName::read("changes/x"), None);
    }

    #[test]
    fn the_cuts_after_a_backup_begin_with_the_one_under_way() {
        let state = |generation: &str, next| State {
            generation: generation.into(),
            modules: vec!["qwallet".into()],
            next,
        };
        let chain = |before: &[State], after: &[State]| {
            super::chain(before, after, "qwallet").map(|chain| (chain.first, chain.least))
        };
        assert_eq!(chain(&[state("a", 5)], &[state("a", 6)]), Some((4, 6)));
        assert_eq!(chain(&[state("a", 1)], &[state("a", 1)]), Some((1, 1)));
        assert_eq!(chain(&[state("a", 5)], &[state("b", 3)]), Some((1, 3)));
        assert_eq!(chain(&[state("a", 5)], &[]), None);
    }
}
