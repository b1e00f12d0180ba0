//! A transparency log as pure functions: the SHA-256 Merkle tree of RFC 9162, the tiles, checkpoints and
//! proofs of C2SP.
//!
//! - [`Tree`] grows a log leaf by leaf and says which tiles have grown with it;
//! - [`TileId`] and [`bundle`] name and encode what a log serves (c2sp.org/tlog-tiles);
//! - [`inclusion_proof`] and [`consistency_proof`] read the tiles they need through a [`TileReader`];
//! - [`Checkpoint`], [`NoteSigner`] and [`VerifierKey`] are the signed tree head (c2sp.org/tlog-checkpoint);
//! - [`LogProof`] is the file a stranger checks offline (c2sp.org/tlog-proof).
//!
//! **Invariant:** no I/O, no clock and no store; the callers keep the bytes, this crate says what they mean.

pub mod bundle;
mod checkpoint;
mod hash;
mod note;
mod proof;
mod text_proof;
mod tile;
mod tree;

pub use checkpoint::{Checkpoint, CheckpointError};
pub use hash::{EMPTY_ROOT, Hash, leaf_hash, merkle_root, merkle_root_of_hashes, node_hash};
pub use note::{NoteError, NoteSignature, NoteSigner, SignedNote, VerifierKey};
pub use proof::{
    ProofError, ReadError, TileReader, consistency_proof, inclusion_proof, root_at, verify_consistency,
    verify_inclusion,
};
pub use text_proof::{LogProof, LogProofError};
pub use tile::{LogResource, TILE_WIDTH, TileId, TilePathError};
pub use tree::{Tile, Tree};
