//! The single sequencer: events get their place in the log in batches, one commit for many callers.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use parking_lot::Mutex;
use q_bus::AuditBatch;
use q_core::{Span, Timestamp, audit::AuditId, hash::hex};
use q_db::{DbError, Tx};
use q_tlog::{Hash, Tree};
use qerberos_api::{RecordEventRequest, Severity, events::AuditLogged};
use tokio::sync::oneshot;

use super::Trail;
use crate::{
    domain::{Arrival, Leaf, NewEvent, Record, leaf::SEQ_MAX},
    error::Error,
    store::{
        self,
        events::{Appendable, Known, NewRow, Terms},
        producers::Producer,
    },
};

/// Who counts the events that come over HTTP.
pub const POST_PRODUCER: &str = "qerberos.post";

/// The most events of one commit.
const COMMIT_EVENTS_MAX: usize = 2_048;

/// How far the clocks of producer and log may differ before the event is marked.
pub const CLOCK_SKEW_MAX: Span = Span::seconds(300);

/// Where an event stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recorded {
    /// Its place in the log.
    pub log_index: u64,
    /// The hash of its leaf.
    pub leaf_hash: Hash,
    /// When it came.
    pub received_at: Timestamp,
}

/// What became of one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is in the log.
    Recorded(Recorded),
    /// Its id or number names another event.
    Conflict,
}

/// Events of one producer, to be appended in order.
struct Work {
    producer: String,
    /// With the producer's own number, or to be counted here.
    events: Vec<(Option<u64>, Appendable)>,
    /// How far a delivery has come with this work.
    cursor: Option<(String, i64)>,
}

/// Work, and who waits for it.
struct Submission {
    work: Work,
    reply: oneshot::Sender<Result<Vec<Outcome>, Error>>,
}

/// What waits for the next commit.
#[derive(Default)]
pub(crate) struct Queue {
    waiting: VecDeque<Submission>,
    is_running: bool,
}

impl Trail {
    /// Appends audit rows of a module in their order, and moves the cursor of the delivery in the same commit. Rows
    /// that are in the log already are passed over, so the same rows may come again after a crash.
    pub async fn ingest(self: &Arc<Self>, batch: AuditBatch) -> Result<(), Error> {
        if batch.rows.is_empty() {
            return self.told_of_head(&batch.producer, batch.head).await;
        }
        let cursor = Some((batch.cursor.clone(), batch.last_position()));
        let AuditBatch { producer, rows, .. } = batch;
        let events = rows
            .into_iter()
            .map(|row| {
                let seq = u64::try_from(row.position).unwrap_or_default();
                let sent = serde_json::to_vec(&row.entry).map_err(DbError::from)?;
                let event = NewEvent::from_entry(row.id, &producer, row.at, row.entry);
                Ok((Some(seq), self.prepare(&event, &sent)))
            })
            .collect::<Result<Vec<_>, Error>>()?;
        let outcomes = self.submit(Work { producer: producer.clone(), events, cursor }).await?;
        let conflicts = outcomes.iter().filter(|outcome| **outcome == Outcome::Conflict).count();
        if conflicts > 0 {
            tracing::error!(
                producer,
                conflicts,
                "audit rows reuse numbers that the log has seen with other content"
            );
        }
        Ok(())
    }

    /// Records events that came over HTTP; each has its own answer.
    pub async fn record(
        self: &Arc<Self>,
        requests: Vec<RecordEventRequest>,
    ) -> Result<Vec<Result<Recorded, Error>>, Error> {
        let now = self.env.now();
        let mut results: Vec<Option<Result<Recorded, Error>>> = Vec::with_capacity(requests.len());
        let (mut events, mut places) = (Vec::new(), Vec::new());
        for (place, mut request) in requests.into_iter().enumerate() {
            request.ack = qerberos_api::Ack::default(); // when to answer is no part of the event
            let sent = serde_json::to_vec(&request).map_err(DbError::from)?;
            match NewEvent::from_request(request, now) {
                Err(refusal) => results.push(Some(Err(refusal.into()))),
                Ok(event) => {
                    events.push((None, self.prepare(&event, &sent)));
                    places.push(place);
                    results.push(None);
                }
            }
        }
        let outcomes = if events.is_empty() {
            Vec::new()
        } else {
            self.submit(Work { producer: POST_PRODUCER.into(), events, cursor: None }).await?
        };
        for (place, outcome) in places.into_iter().zip(outcomes) {
            results[place] = Some(match outcome {
                Outcome::Recorded(recorded) => Ok(recorded),
                Outcome::Conflict => Err(Error::DuplicateConflict),
            });
        }
        Ok(results.into_iter().map(|result| result.expect("every event was refused or submitted")).collect())
    }

    /// Salts, seals and hashes: everything slow that needs no place in the log.
    fn prepare(&self, event: &NewEvent, sent: &[u8]) -> Appendable {
        let record = Record::seal(event, &self.sealer, &self.env);
        Appendable {
            id: event.id,
            happened_at: event.happened_at,
            commitment: record.commitment(),
            fingerprint: self.keys.fingerprint(event.id, sent),
            terms: Terms {
                family: event.family.clone(),
                action: event.action.clone(),
                layer: event.layer.clone(),
                severity: event.severity,
                verdict: event.verdict,
                actor_token: event.actor.as_ref().map(|actor| self.keys.actor_token(actor.squid_id.as_str())),
                reference_token: event.reference.as_ref().map(|text| self.keys.reference_token(text)),
            },
            record: record.encode(),
        }
    }

    /// Queues events and waits for their commit.
    async fn submit(self: &Arc<Self>, work: Work) -> Result<Vec<Outcome>, Error> {
        let (reply, answered) = oneshot::channel();
        let must_start = {
            let mut queue = self.queue.lock();
            queue.waiting.push_back(Submission { work, reply });
            !std::mem::replace(&mut queue.is_running, true)
        };
        if must_start {
            // A task of its own, so that a caller who goes away takes nobody's answer along.
            tokio::spawn(self.clone().drain());
        }
        answered.await.unwrap_or(Err(Error::Db(DbError::Closed)))
    }

    /// Commits what waits until nothing does.
    async fn drain(self: Arc<Self>) {
        while let Some(batch) = self.next_batch() {
            let (work, replies): (Vec<_>, Vec<_>) =
                batch.into_iter().map(|one| (one.work, one.reply)).unzip();
            match self.append(work).await {
                Ok(outcomes) => {
                    for (reply, outcome) in replies.into_iter().zip(outcomes) {
                        let _ = reply.send(Ok(outcome)); // the caller may have gone away
                    }
                }
                Err(error) => {
                    for reply in replies {
                        let _ = reply.send(Err(error.clone()));
                    }
                }
            }
        }
    }

    fn next_batch(&self) -> Option<Vec<Submission>> {
        let mut queue = self.queue.lock();
        let mut batch = Vec::new();
        let mut events = 0;
        while let Some(next) = queue.waiting.front() {
            if !batch.is_empty() && events + next.work.events.len() > COMMIT_EVENTS_MAX {
                break;
            }
            events += next.work.events.len();
            batch.extend(queue.waiting.pop_front());
        }
        if batch.is_empty() {
            queue.is_running = false;
            return None;
        }
        Some(batch)
    }

    /// Gives every event its place, in one commit.
    async fn append(&self, work: Vec<Work>) -> Result<Vec<Vec<Outcome>>, Error> {
        let (work, tree) = (Arc::new(work), self.tree.clone());
        self.db.write(move |tx| append_in(tx, &work, &tree)).await
    }
}

/// One commit's worth of appending.
fn append_in(
    tx: &mut Tx<'_>,
    work: &[Work],
    kept_tree: &Mutex<Option<Tree>>,
) -> Result<Vec<Vec<Outcome>>, Error> {
    let head = store::head::get(tx)?;
    // The kept tree is of an earlier commit of ours, of a commit that failed, or older than another replica's: it is
    // used only if it is the tree the store has.
    let kept = kept_tree.lock().take().filter(|tree| tree.size() == head.size && tree.root() == head.root);
    let tree = match kept {
        Some(tree) => tree,
        None => store::tiles::tree(tx, &head)?,
    };
    let mut appending =
        Appending { tree, now: tx.now(), rows: Vec::new(), fresh: HashMap::new(), news: Vec::new() };
    let mut outcomes = Vec::with_capacity(work.len());
    let mut producers: HashMap<&str, (Producer, Producer)> = HashMap::new();
    for Work { producer: name, events, cursor } in work {
        let (_, producer) = match producers.entry(name.as_str()) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(place) => {
                let stored = match store::producers::find(tx, name)? {
                    Some(producer) => producer,
                    None => store::producers::insert(tx, name)?,
                };
                place.insert((stored.clone(), stored))
            }
        };
        let mut placed = Vec::with_capacity(events.len());
        for (seq, event) in events {
            placed.push(appending.place(tx, producer, *seq, event)?);
        }
        outcomes.push(placed);
        if let Some((cursor, position)) = cursor {
            tx.set_cursor(cursor, *position)?;
        }
    }
    for (before, after) in producers.values() {
        store::producers::update(tx, before, after)?;
    }
    let tree = appending.commit(tx, &head)?;
    *kept_tree.lock() = Some(tree);
    Ok(outcomes)
}

/// What one commit adds.
struct Appending<'a> {
    tree: Tree,
    now: Timestamp,
    rows: Vec<NewRow<'a>>,
    /// The ids of `rows`: a batch may hold the same event twice.
    fresh: HashMap<AuditId, ([u8; 16], Recorded)>,
    news: Vec<AuditLogged>,
}

impl<'a> Appending<'a> {
    /// Decides about one event, and adds it if it is new.
    fn place(
        &mut self,
        tx: &mut Tx<'_>,
        producer: &mut Producer,
        seq: Option<u64>,
        event: &'a Appendable,
    ) -> Result<Outcome, Error> {
        if let Some((fingerprint, recorded)) = self.again(tx, event.id)? {
            if fingerprint == event.fingerprint {
                return Ok(Outcome::Recorded(recorded));
            }
            producer.conflicts += 1;
            return Ok(Outcome::Conflict);
        }
        let seq = seq.unwrap_or(producer.head.next_seq);
        if seq > SEQ_MAX || producer.head.arrive(seq, self.now) == Arrival::Seen {
            producer.conflicts += 1;
            return Ok(Outcome::Conflict);
        }
        let leaf = Leaf {
            commitment: event.commitment,
            producer: &producer.name,
            seq,
            happened_at: event.happened_at,
        };
        let leaf_hash = leaf.hash();
        let log_index = self.tree.append(leaf_hash);
        producer.seen += 1;
        producer.last_received_at = self.now;
        let recorded = Recorded { log_index, leaf_hash, received_at: self.now };
        self.fresh.insert(event.id, (event.fingerprint, recorded));
        self.rows.push(NewRow { log_index, producer: producer.number, seq, received_at: self.now, event });
        self.tell(event, log_index);
        Ok(Outcome::Recorded(recorded))
    }

    /// What was sent under `id` before, and where it stands.
    fn again(&self, tx: &mut Tx<'_>, id: AuditId) -> Result<Option<([u8; 16], Recorded)>, Error> {
        if let Some(fresh) = self.fresh.get(&id) {
            return Ok(Some(*fresh));
        }
        let Some(Known { log_index, received_at, fingerprint }) = store::events::known(tx, id)? else {
            return Ok(None);
        };
        let entry = store::events::entries(tx, log_index, 1)?.pop().ok_or(DbError::NotOneRow(0))?;
        let leaf_hash = q_tlog::leaf_hash(entry.as_bytes());
        Ok(Some((fingerprint, Recorded { log_index, leaf_hash, received_at })))
    }

    /// Loud events are told to the other modules; our own never are, or they would answer each other for ever.
    fn tell(&mut self, event: &Appendable, log_index: u64) {
        let Terms { family, layer, severity, verdict, .. } = &event.terms;
        if *severity >= Severity::Error && layer != "qerberos" {
            let (family, layer) = (family.clone(), layer.clone());
            self.news.push(AuditLogged {
                audit_event_id: event.id,
                family,
                layer,
                verdict: *verdict,
                log_index,
            });
        }
    }

    /// Writes rows, tiles, head and events.
    fn commit(mut self, tx: &mut Tx<'_>, head: &store::head::Head) -> Result<Tree, Error> {
        if self.rows.is_empty() {
            return Ok(self.tree);
        }
        store::events::insert_many(tx, &self.rows)?;
        store::tiles::put(tx, &self.tree.take_grown_tiles())?;
        for news in &self.news {
            tx.emit(news)?;
        }
        let root = self.tree.root();
        if store::head::advance(tx, head, self.tree.size(), &root)? {
            return Ok(self.tree);
        }
        tracing::warn!(root = hex(&root), "another writer has moved the head of the log");
        Err(Error::Db(DbError::Aborted))
    }
}
