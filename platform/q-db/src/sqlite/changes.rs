//! What commits have changed, page by page, kept until somebody ships it away.
//!
//! The writer's own thread reads the frames of its write-ahead log before it lets a checkpoint give their room to
//! others, so none is overwritten unread. Only committed frames are read; of a page that changed often, the newest
//! one is kept. The format of log and frames: sqlite.org/fileformat2.html, section 4.
//!
//! **Invariant:** what is handed over is everything committed since the last time, or says that it is not.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};
use tokio::sync::{Notify, oneshot};

use crate::{
    DbError,
    backup::{Changes, Position},
    sqlite::{SqliteConnection, connection::classified},
};

/// As many frames SQLite itself would let gather before it folds them into the file, as `wal_autocheckpoint` says.
const CHECKPOINT_FRAMES: u32 = 4_000;
/// Changes beyond this are asked to be taken now.
const WANTED_BYTES: usize = 64 << 20;
/// Changes beyond this are let go: whoever ships them begins anew with a whole copy.
const KEPT_BYTES_MAX: usize = 256 << 20;
/// How long one writer waits for the others at a cut.
const GATE_WAIT: Duration = Duration::from_millis(250);

const LOG_HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
/// Frames read at a time.
const BLOCK_FRAMES: u32 = 64;

/// What the handle and the writer's thread share about changes.
#[derive(Default)]
pub(crate) struct Slot {
    pub is_on: AtomicBool,
    pub request: Mutex<Option<CutRequest>>,
    /// What was left when the writer ended.
    pub last: Mutex<Option<Changes>>,
    /// Rung when the changes should be taken soon.
    pub is_wanted: Notify,
}

/// Somebody wants what has changed, at one instant with other stores.
pub(crate) struct CutRequest {
    pub gate: Arc<Gate>,
    pub reply: oneshot::Sender<Option<Changes>>,
}

/// Where the writers of several stores wait for each other, so that there is an instant at which none commits.
pub(crate) struct Gate {
    expected: usize,
    state: Mutex<GateState>,
    turned: Condvar,
}

#[derive(Default)]
struct GateState {
    arrived: usize,
    outcome: Option<bool>,
}

impl Gate {
    pub fn new(expected: usize) -> Self {
        Self { expected, state: Mutex::default(), turned: Condvar::new() }
    }

    /// Lets everybody go: one of them will not come.
    pub fn give_up(&self) {
        self.state.lock().outcome.get_or_insert(false);
        self.turned.notify_all();
    }

    /// Waits until all have arrived; `false`, the same for all, when somebody does not come in time.
    fn pass(&self) -> bool {
        let mut state = self.state.lock();
        state.arrived += 1;
        if state.arrived == self.expected {
            state.outcome.get_or_insert(true);
            self.turned.notify_all();
        }
        let until = Instant::now() + GATE_WAIT;
        loop {
            if let Some(outcome) = state.outcome {
                return outcome;
            }
            if self.turned.wait_until(&mut state, until).timed_out() {
                let outcome = *state.outcome.get_or_insert(false);
                self.turned.notify_all();
                return outcome;
            }
        }
    }
}

/// The writer's side: what it has read of its log.
#[derive(Default)]
pub(super) struct Keeper {
    /// Frames in the log after the newest commit, as SQLite told; 0 before the first one on this connection.
    frames: Arc<AtomicU32>,
    is_watching: bool,
    /// Frames read already.
    read: u32,
    salts: Option<[u8; 8]>,
    /// Whether a checkpoint of ours since the last reading lets the log begin anew.
    may_begin_anew: bool,
    page_bytes: u32,
    pages_total: u32,
    pages: BTreeMap<u32, Box<[u8]>>,
    bytes: usize,
    /// Whether something was lost since it was last handed over.
    is_torn: bool,
}

impl Keeper {
    /// Watches the commits of `connection`; SQLite then leaves checkpoints to us.
    pub fn watch(&mut self, connection: &mut SqliteConnection) -> Result<(), DbError> {
        if self.is_watching {
            return Ok(());
        }
        let frames = self.frames.clone();
        connection
            .raw
            .wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, count: i32| {
                frames.store(count.unsigned_abs(), Ordering::Relaxed);
                Ok(())
            }))
            .map_err(classified)?;
        self.is_watching = true;
        Ok(())
    }

    /// The connection is gone, and its log perhaps with it.
    pub fn lost_connection(&mut self) {
        // What the next connection commits before it is watched would be missing too.
        self.is_torn = true;
        self.frames.store(0, Ordering::Relaxed);
        (self.is_watching, self.read, self.salts) = (false, 0, None);
    }

    /// Reads what was committed, and folds a long log into the file.
    pub fn after_commits(&mut self, store: &Path, connection: &mut SqliteConnection, slot: &Slot) {
        if self.frames.load(Ordering::Relaxed) < CHECKPOINT_FRAMES {
            return;
        }
        self.catch_up(store);
        self.may_begin_anew = true;
        if let Err(error) = connection.query("PRAGMA wal_checkpoint(PASSIVE)", &[], &mut |_| true) {
            tracing::warn!(%error, store = %store.display(), "the log could not be folded into the store");
        }
        if self.bytes > KEPT_BYTES_MAX {
            self.is_torn = true;
            self.pages.clear();
            self.bytes = 0;
        }
        if self.bytes > WANTED_BYTES {
            slot.is_wanted.notify_one();
        }
    }

    /// Hands over at one instant with the other stores of the request.
    pub fn cut(&mut self, request: CutRequest, store: &Path, connection: Option<&mut SqliteConnection>) {
        self.catch_up(store);
        let position = connection.map_or(Ok(Position::default()), Position::of_sqlite);
        let CutRequest { gate, reply } = request;
        match position {
            Ok(position) if gate.pass() => {
                if reply.send(Some(self.take(position))).is_err() {
                    self.is_torn = true;
                }
            }
            Ok(_) => drop(reply),
            Err(error) => {
                gate.give_up();
                tracing::warn!(%error, store = %store.display(), "a cut could not be made");
            }
        }
    }

    /// Everything left, when the writer ends.
    pub fn end(&mut self, store: &Path, connection: &mut SqliteConnection, slot: &Slot) {
        self.catch_up(store);
        match Position::of_sqlite(connection) {
            Ok(position) => *slot.last.lock() = Some(self.take(position)),
            Err(error) => tracing::warn!(%error, store = %store.display(), "the last changes are not kept"),
        }
    }

    fn take(&mut self, position: Position) -> Changes {
        self.bytes = 0;
        Changes {
            position,
            page_bytes: self.page_bytes,
            pages_total: self.pages_total,
            pages: std::mem::take(&mut self.pages),
            is_whole: !std::mem::take(&mut self.is_torn),
        }
    }

    fn catch_up(&mut self, store: &Path) {
        if let Err(error) = self.read_log(store) {
            tracing::warn!(%error, store = %store.display(), "the write-ahead log could not be read");
            self.is_torn = true;
            self.read = self.frames.load(Ordering::Relaxed);
        }
    }

    /// Reads the frames committed since the last time.
    fn read_log(&mut self, store: &Path) -> io::Result<()> {
        let frames = self.frames.load(Ordering::Relaxed);
        if frames == 0 {
            return Ok(());
        }
        let mut path = store.as_os_str().to_owned();
        path.push("-wal");
        // Nobody holds a lock on the log file itself, so closing it here takes none away.
        let log = File::open(path)?;
        let mut header = [0; LOG_HEADER];
        log.read_exact_at(&mut header, 0)?;
        let salts: [u8; 8] = header[16..24].try_into().expect("eight bytes");
        if self.salts != Some(salts) {
            let was_known = self.salts.replace(salts).is_some();
            self.is_torn |= was_known && !self.may_begin_anew;
            self.read = 0;
        }
        self.may_begin_anew = false;
        self.page_bytes = be(&header[8..12]);
        let frame_bytes = FRAME_HEADER + self.page_bytes as usize;
        let mut block = vec![0; frame_bytes * BLOCK_FRAMES as usize];
        while self.read < frames {
            let count = (frames - self.read).min(BLOCK_FRAMES);
            let block = &mut block[..count as usize * frame_bytes];
            log.read_exact_at(block, LOG_HEADER as u64 + u64::from(self.read) * frame_bytes as u64)?;
            for frame in block.chunks_exact(frame_bytes) {
                if frame[8..16] != salts {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame is of another log"));
                }
                let (page, total) = (be(&frame[0..4]), be(&frame[4..8]));
                if total > 0 {
                    self.pages_total = total;
                }
                let content = &frame[FRAME_HEADER..];
                match self.pages.entry(page) {
                    std::collections::btree_map::Entry::Occupied(mut known) => {
                        known.get_mut().copy_from_slice(content);
                    }
                    std::collections::btree_map::Entry::Vacant(place) => {
                        self.bytes += place.insert(content.into()).len();
                    }
                }
            }
            self.read += count;
        }
        Ok(())
    }
}

fn be(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes.try_into().expect("four bytes"))
}
