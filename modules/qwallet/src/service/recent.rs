//! What was carried out lately and is not sorted into its tables yet, kept in memory to be found.
//!
//! A file has one writer, which appends the keys and nonces of a commit in one row (`store::recent`) and remembers them
//! here; a job sorts them into `requests` and `nonces`, a range of neighbouring keys at a time, while nobody waits. So
//! a payment changes no page of those tables, which would be another one for each. A server's store has several writers
//! and needs neither.
//!
//! **Invariant:** whatever is in the store's `recent` is in memory or in the sorted tables, and what is asked for is
//! looked for in memory first: what leaves memory is in its table before.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    ops::Bound,
    sync::Arc,
};

use parking_lot::RwLock;
use q_db::{Db, DbError, Reader, Tx};

use crate::store::{
    self,
    recent::Answered,
    requests::{Nonce, Request},
};

/// How many requests are sorted into their table at a time: a few milliseconds of the writer's time.
const SORTED_AT_ONCE: usize = 2_048;

/// From how many on they are sorted although payments wait, so that memory stays bounded (about 60 MB).
pub const BACKLOG_MAX: usize = 262_144;

/// What the lane of a file and its service share. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Recents(Arc<RwLock<Option<Recent>>>);

#[derive(Debug, Default)]
struct Recent {
    requests: BTreeMap<[u8; 16], ([u8; 32], [u8; 16])>,
    nonces: BTreeMap<[u8; 16], i64>,
    /// The last place taken in.
    last: i64,
    /// The round of sorting that is under way.
    round: Option<Round>,
}

/// One walk over all keys, in order, after which nothing up to a place is needed any more.
#[derive(Debug, Clone, Copy)]
struct Round {
    up_to: i64,
    /// The last key that was sorted in.
    after: Option<[u8; 16]>,
}

/// What one commit appends.
#[derive(Debug)]
pub struct Appended {
    place: i64,
    requests: Vec<Answered>,
    nonces: Vec<Nonce>,
}

impl Recents {
    /// Of a store with several writers, where nothing is kept here.
    pub fn none() -> Self {
        Self(Arc::new(RwLock::new(Some(Recent::default()))))
    }

    /// Forgets everything: what is in the store counts, and is read when it is needed.
    pub fn forget(&self) {
        *self.0.write() = None;
    }

    /// Reads what is in the store, unless it is remembered.
    pub fn load(&self, reader: &mut Reader<'_>) -> Result<(), DbError> {
        if self.0.read().is_some() {
            return Ok(());
        }
        let mut recent = Recent::default();
        store::recent::for_each(reader, |place, requests, nonces| {
            recent.take_in(&Appended { place, requests, nonces });
        })?;
        *self.0.write() = Some(recent);
        Ok(())
    }

    /// Remembers what a commit appended, now that it is on disk.
    pub fn keep(&self, appended: &Appended) {
        if let Some(recent) = &mut *self.0.write() {
            recent.take_in(appended);
        }
    }

    /// What came of these requests, as far as they are remembered.
    pub fn find(&self, keys: &[[u8; 16]]) -> Vec<Answered> {
        self.0.read().as_ref().map_or_else(Vec::new, |recent| recent.find(keys))
    }

    /// Which of these nonces were used, as far as they are remembered.
    pub fn spent(&self, nonces: &[Nonce]) -> HashSet<[u8; 16]> {
        let recent = self.0.read();
        let Some(recent) = &*recent else { return HashSet::new() };
        let used = nonces.iter().filter(|nonce| recent.nonces.contains_key(&nonce.nonce));
        used.map(|nonce| nonce.nonce).collect()
    }

    /// The hours under which the nonces will be sorted in.
    pub fn hours(&self) -> BTreeSet<i64> {
        self.0.read().as_ref().map_or_else(BTreeSet::new, |recent| recent.nonces.values().copied().collect())
    }

    /// The place of the next row. Never one that was given before, although its row may be gone: a round that is under
    /// way removes everything up to the place at which it began.
    fn next_place(&self) -> i64 {
        self.0.read().as_ref().map_or(1, |recent| recent.last + 1)
    }

    /// What came of these requests, for readers beside the writer: from memory, or from the store while nothing is
    /// remembered. To be asked before the sorted table.
    pub fn find_in(&self, reader: &mut Reader<'_>, keys: &[[u8; 16]]) -> Result<Vec<Answered>, DbError> {
        if let Some(recent) = &*self.0.read() {
            return Ok(recent.find(keys));
        }
        let mut found = Vec::new();
        store::recent::for_each(reader, |_, requests, _| {
            found.extend(requests.into_iter().filter(|(request, _)| keys.contains(&request.key)));
        })?;
        Ok(found)
    }

    /// How many requests and nonces wait to be sorted.
    pub fn backlog(&self) -> usize {
        self.0.read().as_ref().map_or(0, |recent| recent.requests.len().max(recent.nonces.len()))
    }

    /// Sorts the next range of keys into the tables; answers whether there is more to do.
    pub async fn sort(&self, db: &Db) -> Result<bool, DbError> {
        let Some(part) = self.next_part() else { return Ok(false) };
        let written = part.clone();
        db.write_locked(move |tx| written.write(tx)).await?;
        Ok(self.sorted(&part))
    }

    fn next_part(&self) -> Option<Part> {
        let mut recent = self.0.write();
        let recent = recent.as_mut()?;
        if recent.requests.is_empty() && recent.nonces.is_empty() && recent.round.is_none() {
            return None;
        }
        let round = *recent.round.get_or_insert(Round { up_to: recent.last, after: None });
        let from = round.after.map_or(Bound::Unbounded, Bound::Excluded);
        let requests: Vec<Answered> = recent
            .requests
            .range((from, Bound::Unbounded))
            .take(SORTED_AT_ONCE)
            .map(|(key, (fingerprint, answer))| (Request { key: *key, fingerprint: *fingerprint }, *answer))
            .collect();
        // Where the requests of this part end the nonces of this part end too, so that one walk covers both.
        let to =
            (requests.len() == SORTED_AT_ONCE).then(|| requests.last().map(|(last, _)| last.key)).flatten();
        let end = to.map_or(Bound::Unbounded, Bound::Included);
        let nonces =
            recent.nonces.range((from, end)).map(|(nonce, hour)| Nonce { hour: *hour, nonce: *nonce });
        Some(Part { nonces: nonces.collect(), requests, to, up_to: round.up_to })
    }

    fn sorted(&self, part: &Part) -> bool {
        let mut recent = self.0.write();
        // Forgotten meanwhile: what was sorted in is found in its table, and is sorted in again without harm.
        let Some(recent) = recent.as_mut() else { return false };
        for (request, _) in &part.requests {
            recent.requests.remove(&request.key);
        }
        for nonce in &part.nonces {
            recent.nonces.remove(&nonce.nonce);
        }
        recent.round = part.to.map(|after| Round { up_to: part.up_to, after: Some(after) });
        recent.round.is_some()
    }
}

impl Recent {
    fn find(&self, keys: &[[u8; 16]]) -> Vec<Answered> {
        let found = |key: &[u8; 16]| {
            let (fingerprint, answer) = self.requests.get(key)?;
            Some((Request { key: *key, fingerprint: *fingerprint }, *answer))
        };
        keys.iter().filter_map(found).collect()
    }

    fn take_in(&mut self, appended: &Appended) {
        let requests = appended.requests.iter();
        self.requests.extend(requests.map(|(request, answer)| (request.key, (request.fingerprint, *answer))));
        self.nonces.extend(appended.nonces.iter().map(|nonce| (nonce.nonce, nonce.hour)));
        self.last = self.last.max(appended.place);
    }
}

impl Appended {
    /// Appends to the store what a commit carried out, if it is anything.
    pub fn write(
        tx: &mut Tx<'_>,
        recents: &Recents,
        requests: Vec<Answered>,
        nonces: Vec<Nonce>,
    ) -> Result<Option<Self>, DbError> {
        if requests.is_empty() && nonces.is_empty() {
            return Ok(None);
        }
        let place = recents.next_place();
        store::recent::append(tx, place, &requests, &nonces)?;
        Ok(Some(Self { place, requests, nonces }))
    }
}

/// A range of keys that is sorted in together.
#[derive(Debug, Clone)]
struct Part {
    requests: Vec<Answered>,
    nonces: Vec<Nonce>,
    /// Where it ends; nothing for the last part of a round.
    to: Option<[u8; 16]>,
    /// What the round makes superfluous.
    up_to: i64,
}

impl Part {
    fn write(&self, tx: &mut Tx<'_>) -> Result<(), DbError> {
        // What a process before us had sorted in before it ended is there already.
        let keys: Vec<[u8; 16]> = self.requests.iter().map(|(request, _)| request.key).collect();
        let known: HashSet<[u8; 16]> =
            store::requests::find(tx, &keys)?.iter().map(|(request, _)| request.key).collect();
        let requests: Vec<Answered> =
            self.requests.iter().filter(|(request, _)| !known.contains(&request.key)).copied().collect();
        store::requests::insert(tx, &requests)?;
        let hours = store::requests::nonce_hours(tx)?;
        let spent = store::requests::spent(tx, &self.nonces, &hours)?;
        let forgotten_before = Nonce::hour_of(tx.now()) - 1;
        let is_needed = |nonce: &&Nonce| nonce.hour >= forgotten_before && !spent.contains(&nonce.nonce);
        let nonces: Vec<Nonce> = self.nonces.iter().filter(is_needed).copied().collect();
        store::requests::insert_nonces(tx, &nonces)?;
        if self.to.is_none() {
            store::recent::remove(tx, self.up_to)?;
        }
        Ok(())
    }
}
