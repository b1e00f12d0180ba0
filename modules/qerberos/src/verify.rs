//! The integrity check: every hash is computed again from the entries, every record opened against its commitment,
//! every signature and every sequence checked. Collects all findings, and names the row.

use std::collections::{BTreeMap, VecDeque};

use q_db::{DbError, Reader};
use q_runtime::Finding;
use q_seal::Sealer;
use q_tlog::{
    Checkpoint, Hash, NoteSigner, TILE_WIDTH, Tile, TileId, Tree, VerifierKey, merkle_root_of_hashes,
};

use crate::{
    domain::{Arrival, Leaf, ProducerHead, Record, Section, record::Opened},
    service::{Trail, first_name, keys::Keys},
    store::{
        self,
        checkpoints::StoredCheckpoint,
        events::StoredEvent,
        tiles::{self, StoredTiles},
    },
};

/// Rows read at a time: whole tiles.
const CHUNK_ROWS: u32 = 16 * TILE_WIDTH as u32;

/// The most findings that are collected; a store with more is not repaired row by row.
const FINDINGS_MAX: usize = 1_000;

impl Trail {
    /// Checks everything that is kept.
    pub async fn verify(&self) -> Result<Vec<Finding>, DbError> {
        let (sealer, keys, key) = (self.sealer().clone(), self.keys().clone(), self.verifier().clone());
        let mut findings = self
            .db()
            .read(move |reader| {
                let mut check = Check::begin(reader, &sealer, &keys, &key)?;
                check.events(reader)?;
                check.end(reader)?;
                Ok::<_, DbError>(check.findings)
            })
            .await?;
        for (producer, head) in self.rolled_back_producers() {
            let detail = format!("its store ends at event {head}: it is older than this trail");
            let place = format!("producers {producer}");
            findings.push(Finding::new("rolled_back", place, detail).about(producer));
        }
        if self.is_rolled_back() {
            findings.push(Finding::new(
                "rollback_detected",
                "head",
                "the store does not contain the newest published checkpoint: it is older than the log, or another log",
            ));
        }
        Ok(findings)
    }
}

/// A check under way.
struct Check<'a> {
    sealer: &'a Sealer,
    keys: &'a Keys,
    tree: Tree,
    checkpoints: VecDeque<StoredCheckpoint>,
    producers: BTreeMap<String, (ProducerHead, u64)>,
    /// Leaves hashed from their rows and not yet compared with their tile; `None` where the row cannot be read.
    leaves: Vec<Option<Hash>>,
    /// Whether the stored edge of the tree is the one the stored head speaks of.
    is_edge_vouched: bool,
    findings: Vec<Finding>,
}

impl<'a> Check<'a> {
    fn begin(
        reader: &mut Reader<'_>,
        sealer: &'a Sealer,
        keys: &'a Keys,
        key: &VerifierKey,
    ) -> Result<Self, DbError> {
        let head = store::head::get(reader)?;
        let is_edge_vouched =
            Tree::open(head.size, &mut StoredTiles(reader)).is_ok_and(|tree| tree.root() == head.root);
        let mut check = Self {
            sealer,
            keys,
            tree: Tree::new(),
            checkpoints: VecDeque::new(),
            producers: BTreeMap::new(),
            leaves: Vec::new(),
            is_edge_vouched,
            findings: Vec::new(),
        };
        for stored in store::checkpoints::all(reader)? {
            match stored {
                Ok(checkpoint) => {
                    check.signature(&checkpoint, key);
                    check.checkpoints.push_back(checkpoint);
                }
                Err(error) => check.find("checkpoint_unreadable", "checkpoints", &error.to_string()),
            }
        }
        Ok(check)
    }

    fn find(&mut self, code: &str, place: impl Into<String>, detail: &str) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(Finding::new(code, place, detail));
        }
    }

    fn signature(&mut self, stored: &StoredCheckpoint, key: &VerifierKey) {
        let place = format!("checkpoints {}", stored.size);
        // A log that was put back from a backup has had other names.
        let name = stored.note.lines().next().unwrap_or_default();
        let is_former = name != key.name() && first_name(name) == first_name(key.name());
        let former = is_former.then(|| NoteSigner::new(name, self.keys.log.clone()).ok()).flatten();
        match Checkpoint::open(&stored.note, former.as_ref().map_or(key, NoteSigner::verifier)) {
            Err(error) => self.find("checkpoint_signature", place, &error.to_string()),
            Ok(signed) if signed.size != stored.size || signed.root != stored.root => {
                self.find("checkpoint_mismatch", place, "the note speaks of another tree than the row");
            }
            Ok(_) => {}
        }
    }

    /// Walks the journal from the first row to the last.
    fn events(&mut self, reader: &mut Reader<'_>) -> Result<(), DbError> {
        let mut next = 0;
        loop {
            let rows = store::events::chunk(reader, next, CHUNK_ROWS)?;
            let Some((last, _)) = rows.last() else { break };
            let last = *last;
            for (place, row) in rows {
                for missing in next..place {
                    self.find("event_missing", format!("events {missing}"), "the row is gone");
                    self.leaf(reader, None);
                }
                match row {
                    Ok(event) => {
                        let hash = Leaf {
                            commitment: event.commitment,
                            producer: &event.producer,
                            seq: event.seq,
                            happened_at: event.happened_at,
                        }
                        .hash();
                        self.sequence(&event);
                        self.record(&event);
                        self.leaf(reader, Some(hash));
                    }
                    Err(error) => {
                        self.find("event_unreadable", format!("events {place}"), &error.to_string());
                        self.leaf(reader, None);
                    }
                }
                next = place + 1;
            }
            next = last + 1;
        }
        if !self.leaves.is_empty() {
            self.tile(reader);
        }
        Ok(())
    }

    fn sequence(&mut self, event: &StoredEvent) {
        let begin = || (ProducerHead { next_seq: 1, missing: Vec::new() }, 0);
        let (head, seen) = self.producers.entry(event.producer.clone()).or_insert_with(begin);
        *seen += 1;
        if head.arrive(event.seq, event.received_at) == Arrival::Seen {
            let detail = format!("number {} of {} is in the log twice", event.seq, event.producer);
            self.find("sequence_repeated", format!("events {}", event.log_index), &detail);
        }
    }

    /// Whether the record is what the leaf commits to, and the search columns are what the record says.
    fn record(&mut self, event: &StoredEvent) {
        let place = format!("events {}", event.log_index);
        let record = match Record::decode(&event.record) {
            Ok(record) => record,
            Err(error) => return self.find("record_damaged", place, &error.to_string()),
        };
        if record.commitment() != event.commitment {
            return self.find("record_mismatch", place, "the record is not what the leaf commits to");
        }
        match record.open(event.id, self.sealer) {
            Err(error) => self.find("record_damaged", place, &error.to_string()),
            Ok(opened) => {
                if let Some(column) = self.wrong_column(event, &opened) {
                    self.find(
                        "column_mismatch",
                        place,
                        &format!("column {column} is not what the record says"),
                    );
                }
            }
        }
    }

    fn wrong_column(&self, event: &StoredEvent, opened: &[Opened]) -> Option<&'static str> {
        let terms = &event.terms;
        let mut actor_token = None;
        for section in opened.iter().filter_map(Opened::section) {
            match section {
                Section::Core(core) => {
                    let token = core.reference.as_deref().map(|text| self.keys.reference_token(text));
                    let columns = [
                        ("id", core.id == event.id),
                        ("happened_at", core.timestamp == event.happened_at),
                        ("family", core.family == terms.family),
                        ("action", core.action == terms.action),
                        ("layer", core.layer == terms.layer),
                        ("severity", core.severity == terms.severity),
                        ("verdict", core.verdict == terms.verdict),
                        ("reference_token", token == terms.reference_token),
                    ];
                    if let Some((column, _)) = columns.into_iter().find(|(_, is_right)| !is_right) {
                        return Some(column);
                    }
                }
                Section::Actor(actor) => actor_token = Some(self.keys.actor_token(actor.squid_id.as_str())),
                Section::Target(_) | Section::Network(_) => {}
            }
        }
        // An erased actor leaves no term behind either.
        (actor_token != terms.actor_token).then_some("actor_token")
    }

    fn leaf(&mut self, reader: &mut Reader<'_>, hash: Option<Hash>) {
        self.leaves.push(hash);
        if self.leaves.len() == usize::from(TILE_WIDTH) {
            self.tile(reader);
        }
    }

    /// Compares the leaves of one tile with its stored hashes, and goes on with those that are vouched for.
    fn tile(&mut self, reader: &mut Reader<'_>) {
        let index = self.tree.size() / u64::from(TILE_WIDTH);
        let first = index * u64::from(TILE_WIDTH);
        let stored = self.stored(reader, 0, index);
        let computed = std::mem::take(&mut self.leaves);
        let is_vouched = self.is_vouched(reader, index, &stored);
        let mut is_tile_wrong = stored.len() != computed.len();
        for (number, computed) in computed.iter().enumerate() {
            let kept = stored.get(number);
            let is_event_wrong = is_vouched && computed.is_some() && kept != computed.as_ref();
            if is_event_wrong {
                let place = format!("events {}", first + number as u64);
                self.find("leaf_mismatch", place, "the row does not make the leaf that is in the tree");
            }
            is_tile_wrong |= !is_vouched && computed.is_some() && kept != computed.as_ref();
            // Where a row cannot be read, or contradicts a tile that the tree above vouches for, the tile is believed.
            let believed = if is_vouched { kept.or(computed.as_ref()) } else { computed.as_ref().or(kept) };
            self.append(believed.copied().unwrap_or_default());
        }
        if is_tile_wrong {
            let detail = "the stored hashes are not those of the entries";
            self.find("tile_mismatch", format!("tiles 0 {index}"), detail);
        }
        self.higher_tiles(reader);
    }

    /// Whether the tree above a level-0 tile, or the head for the last one, agrees with its stored hashes.
    fn is_vouched(&self, reader: &mut Reader<'_>, index: u64, stored: &[Hash]) -> bool {
        if stored.len() < usize::from(TILE_WIDTH) {
            return self.is_edge_vouched;
        }
        let width = u64::from(TILE_WIDTH);
        let parents = tiles::find(reader, 1, index / width).unwrap_or_default();
        let number = usize::try_from(index % width).expect("below 256");
        parents.get(number) == Some(&merkle_root_of_hashes(stored.iter().copied()))
    }

    fn append(&mut self, hash: Hash) {
        self.tree.append(hash);
        let size = self.tree.size();
        while self.checkpoints.front().is_some_and(|checkpoint| checkpoint.size <= size) {
            let Some(checkpoint) = self.checkpoints.pop_front() else { break };
            if checkpoint.size == size && checkpoint.root != self.tree.root() {
                let place = format!("checkpoints {size}");
                self.find(
                    "checkpoint_mismatch",
                    place,
                    "the entries do not lead to the root that was signed",
                );
            }
        }
    }

    fn higher_tiles(&mut self, reader: &mut Reader<'_>) {
        for Tile { id: TileId { level, index, .. }, hashes } in self.tree.take_grown_tiles() {
            if level == 0 {
                continue; // compared with the entries already
            }
            let stored = self.stored(reader, level, index);
            let is_prefix = stored.starts_with(&hashes);
            if !is_prefix {
                let number = hashes.iter().zip(&stored).take_while(|(ours, kept)| ours == kept).count();
                let detail = format!("hash {number} is not that of the tile below");
                self.find("tile_mismatch", format!("tiles {level} {index}"), &detail);
            }
        }
    }

    fn stored(&mut self, reader: &mut Reader<'_>, level: u8, index: u64) -> Vec<Hash> {
        tiles::find(reader, level, index).unwrap_or_else(|error| {
            self.find("tile_unreadable", format!("tiles {level} {index}"), &error.to_string());
            Vec::new()
        })
    }

    /// What only the whole can tell.
    fn end(&mut self, reader: &mut Reader<'_>) -> Result<(), DbError> {
        let head = store::head::get(reader)?;
        if head.size != self.tree.size() || head.root != self.tree.root() {
            let detail = format!(
                "the head has {} leaves, the journal {}, or their roots differ",
                head.size,
                self.tree.size()
            );
            self.find("head_mismatch", "head", &detail);
        }
        let newest = store::checkpoints::newest(reader)?.map_or(0, |newest| newest.size);
        if head.signed_size != newest {
            let detail = format!(
                "{} leaves are marked as signed, the newest checkpoint has {newest}",
                head.signed_size
            );
            self.find("head_mismatch", "head", &detail);
        }
        if let Some(checkpoint) = self.checkpoints.front() {
            let place = format!("checkpoints {}", checkpoint.size);
            self.find("checkpoint_mismatch", place, "it covers more leaves than the journal has");
        }
        let expected = TileId::all_at(self.tree.size()).count() as u64;
        let count = tiles::count(reader)?;
        if count != expected {
            self.find("tile_count", "tiles", &format!("{count} tiles are stored, the tree has {expected}"));
        }
        self.producers_agree(reader)
    }

    fn producers_agree(&mut self, reader: &mut Reader<'_>) -> Result<(), DbError> {
        let numbers = |head: &ProducerHead| -> Vec<(u64, u64)> {
            head.missing.iter().map(|gap| (gap.from, gap.to)).collect()
        };
        for stored in store::producers::all(reader)? {
            let (head, seen) = self
                .producers
                .remove(&stored.name)
                .unwrap_or((ProducerHead { next_seq: 1, missing: Vec::new() }, 0));
            let is_same = stored.head.next_seq == head.next_seq
                && numbers(&stored.head) == numbers(&head)
                && stored.seen == seen;
            if !is_same {
                let detail = "next number, count or gaps are not those of the journal";
                self.find("producer_mismatch", format!("producers {}", stored.name), detail);
            }
            for gap in &head.missing {
                let detail = format!("numbers {} to {} never came", gap.from, gap.to);
                self.find("sequence_gap", format!("producers {}", stored.name), &detail);
            }
        }
        for name in std::mem::take(&mut self.producers).into_keys() {
            self.find(
                "producer_mismatch",
                format!("producers {name}"),
                "the journal has events of it, the list has not",
            );
        }
        Ok(())
    }
}
