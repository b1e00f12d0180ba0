//! Contents as pieces: cut where the content says, named by a keyed hash, kept once.
//!
//! A change somewhere leaves the pieces before and after it as they are, also when it makes the content longer, so a
//! further backup writes little more than what has changed. The cut follows a rolling "gear" hash (Xia et al.,
//! FastCDC, USENIX ATC 2016).

use std::{
    collections::HashSet,
    io::Read,
    num::NonZero,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use aws_lc_rs::digest;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::{Error, Making, Recipients, Secret, Target, seal::DoesNotOpen};

const PIECE_MIN: usize = 64 << 10;
/// Pieces are a quarter of a megabyte on the average: the top 18 bits of the rolling hash are zero.
const PIECE_MASK: u64 = !0 << (64 - 18);
pub(crate) const PIECE_MAX: usize = 1 << 20;

/// One content in a backup: a store, or a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Content {
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of the whole, in hex.
    pub sha256: String,
    /// Names of its pieces, in order.
    pub pieces: Vec<String>,
}

/// Where a piece lies in the target.
pub(crate) fn object(name: &str) -> String {
    format!("chunks/{}/{name}", name.get(..2).unwrap_or_default())
}

/// 256 numbers without a pattern (splitmix64).
const GEAR: [u64; 256] = {
    let mut table = [0; 256];
    let (mut state, mut at) = (0x9e37_79b9_7f4a_7c15_u64, 0);
    while at < 256 {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        table[at] = mixed ^ (mixed >> 31);
        at += 1;
    }
    table
};

/// Where the first piece of `data` ends.
fn cut_at(data: &[u8]) -> usize {
    let end = data.len().min(PIECE_MAX);
    let mut hash = 0_u64;
    for (at, byte) in data.iter().enumerate().take(end).skip(PIECE_MIN) {
        hash = (hash << 1).wrapping_add(GEAR[usize::from(*byte)]);
        if hash & PIECE_MASK == 0 {
            return at + 1;
        }
    }
    end
}

/// How many pieces are worked on at a time.
fn hands() -> usize {
    thread::available_parallelism().map_or(2, NonZero::get).clamp(1, 4)
}

/// Asked between two pieces.
pub(crate) type IsWanted<'a> = &'a (dyn Fn() -> bool + Sync);

/// Writes contents to a target.
pub(crate) struct Writer<'a> {
    pub target: &'a Target,
    pub recipients: &'a Recipients,
    pub making: &'a Making,
    /// Whether to go on.
    pub is_wanted: IsWanted<'a>,
    known: Mutex<HashSet<String>>,
    /// Pieces that were not there before.
    fresh: Mutex<Vec<String>>,
    /// Bytes written to the target.
    written: AtomicU64,
}

impl<'a> Writer<'a> {
    /// Looks which pieces the target has.
    pub fn new(
        target: &'a Target,
        recipients: &'a Recipients,
        making: &'a Making,
        is_wanted: IsWanted<'a>,
    ) -> Result<Self, Error> {
        let known = target.list("chunks/")?;
        let name = |object: crate::Object| object.name.rsplit('/').next().map(str::to_owned);
        Ok(Self {
            target,
            recipients,
            making,
            is_wanted,
            known: Mutex::new(known.into_iter().filter_map(name).collect()),
            fresh: Mutex::default(),
            written: AtomicU64::new(0),
        })
    }

    /// Writes what `source` gives.
    pub fn write(&self, mut source: impl Read) -> Result<Content, Error> {
        let read = |error| Error::Io { what: "what is to be backed up cannot be read".into(), source: error };
        let (give, take) = crossbeam_channel::bounded::<(usize, Vec<u8>)>(hands());
        let names = Mutex::new(Vec::<(usize, String)>::new());
        let failure = Mutex::new(None);
        let mut whole = digest::Context::new(&digest::SHA256);
        let mut bytes = 0;
        let outcome: Result<(), Error> = thread::scope(|scope| {
            for _ in 0..hands() {
                scope.spawn(|| {
                    for (number, piece) in &take {
                        match self.piece(&piece) {
                            Ok(name) => names.lock().push((number, name)),
                            Err(error) => *failure.lock() = Some(error),
                        }
                    }
                });
            }
            let give = give; // gone with this block, which ends the workers
            let (mut buffer, mut is_at_end, mut number) = (Vec::new(), false, 0);
            loop {
                while !is_at_end && buffer.len() < PIECE_MAX {
                    let wanted = (2 * PIECE_MAX - buffer.len()) as u64;
                    let got = source.by_ref().take(wanted).read_to_end(&mut buffer).map_err(read)?;
                    is_at_end = got == 0;
                }
                if buffer.is_empty() || failure.lock().is_some() {
                    return Ok(());
                }
                if !(self.is_wanted)() {
                    return Err(Error::GivenUp);
                }
                let rest = buffer.split_off(cut_at(&buffer));
                whole.update(&buffer);
                bytes += buffer.len() as u64;
                if give.send((number, std::mem::replace(&mut buffer, rest))).is_err() {
                    return Ok(());
                }
                number += 1;
            }
        });
        outcome?;
        if let Some(error) = failure.into_inner() {
            return Err(error);
        }
        let mut names = names.into_inner();
        names.sort_unstable();
        Ok(Content {
            bytes,
            sha256: q_core::hash::hex(whole.finish().as_ref()),
            pieces: names.into_iter().map(|(_, name)| name).collect(),
        })
    }

    fn piece(&self, piece: &[u8]) -> Result<String, Error> {
        let name = self.making.name(piece);
        if !self.known.lock().insert(name.clone()) {
            return Ok(name);
        }
        let sealed = self.recipients.seal(piece);
        self.target.put(&object(&name), &sealed)?;
        self.written.fetch_add(sealed.len() as u64, Ordering::Relaxed);
        self.fresh.lock().push(object(&name));
        Ok(name)
    }

    /// Makes sure that everything written survives a power cut, and says how much that was.
    pub fn settle(&self) -> Result<u64, Error> {
        self.target.settle(&self.fresh.lock())?;
        Ok(self.written.load(Ordering::Relaxed))
    }
}

/// Reads contents from a target.
pub(crate) struct Reader<'a> {
    pub target: &'a Target,
    pub opening: &'a Opening,
    /// Whose pieces; a piece in the place of another is found out by its name.
    pub making: &'a Making,
}

/// A secret, and the public keys that the target says it was written for.
#[derive(Clone)]
pub(crate) struct Opening {
    pub secret: Secret,
    pub made_for: Option<String>,
}

impl Opening {
    /// Opens an object that was read.
    pub fn open(&self, name: &str, sealed: &[u8], bytes_max: usize) -> Result<Vec<u8>, Error> {
        self.secret.open(sealed, bytes_max).map_err(|why| match why {
            DoesNotOpen::Damaged(why) => Error::damaged(name, why),
            DoesNotOpen::NotForThis => {
                let given = self.secret.recipients().to_string();
                match &self.made_for {
                    Some(wanted) if !wanted.contains(&given) => {
                        Error::WrongKey { wanted: wanted.clone(), given }
                    }
                    Some(_) => {
                        Error::damaged(name, "the part that says for whom it was sealed cannot be read")
                    }
                    None => Error::WrongKey { wanted: "another key".into(), given },
                }
            }
        })
    }
}

impl Reader<'_> {
    /// Gives the pieces of `content` in order; checks each, and the whole.
    pub fn read(
        &self,
        content: &Content,
        mut each: impl FnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut whole = digest::Context::new(&digest::SHA256);
        let mut bytes = 0;
        for window in content.pieces.chunks(hands() * 2) {
            let slots: Vec<_> = window.iter().map(|_| Mutex::new(None)).collect();
            let next = std::sync::atomic::AtomicUsize::new(0);
            thread::scope(|scope| {
                for _ in 0..hands() {
                    scope.spawn(|| {
                        loop {
                            let at = next.fetch_add(1, Ordering::Relaxed);
                            let Some(name) = window.get(at) else { break };
                            *slots[at].lock() = Some(self.piece(name));
                        }
                    });
                }
            });
            for slot in slots {
                let piece = slot.into_inner().expect("every piece was worked on")?;
                whole.update(&piece);
                bytes += piece.len() as u64;
                each(&piece)?;
            }
        }
        if bytes != content.bytes || q_core::hash::hex(whole.finish().as_ref()) != content.sha256 {
            return Err(Error::damaged("the content", "its pieces do not make up what was backed up"));
        }
        Ok(())
    }

    /// The whole of a small content.
    pub fn whole(&self, content: &Content) -> Result<Vec<u8>, Error> {
        let mut whole = Vec::new();
        self.read(content, |piece| {
            whole.extend_from_slice(piece);
            Ok(())
        })?;
        Ok(whole)
    }

    fn piece(&self, name: &str) -> Result<Vec<u8>, Error> {
        let object = object(name);
        let plain = self.opening.open(&object, &self.target.get(&object)?, PIECE_MAX)?;
        if self.making.name(&plain) != name {
            return Err(Error::damaged(&object, "it holds another piece than its name says"));
        }
        Ok(plain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(mut data: &[u8]) -> Vec<&[u8]> {
        let mut all = Vec::new();
        while !data.is_empty() {
            let (piece, rest) = data.split_at(cut_at(data));
            all.push(piece);
            data = rest;
        }
        all
    }

    #[test]
    fn an_insertion_changes_few_pieces() {
        let mut state = 7_u64;
        let mut data: Vec<u8> = (0..6_000_000)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                state.to_be_bytes()[0]
            })
            .collect();
        let before: HashSet<Vec<u8>> = pieces(&data).into_iter().map(<[u8]>::to_vec).collect();
        assert!((6..90).contains(&before.len()), "{} pieces", before.len());
        data.splice(3_000_000..3_000_000, *b"something");
        let after = pieces(&data);
        let fresh = after.iter().filter(|piece| !before.contains(**piece)).count();
        assert!(fresh <= 3, "{fresh} of {} pieces are new", after.len());
        assert!(after.iter().all(|piece| piece.len() <= PIECE_MAX));
    }
}
