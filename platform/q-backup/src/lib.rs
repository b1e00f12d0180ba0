//! Backups of an instance: whole ones, what changes between them, and the way back.
//!
//! A backup is a manifest that names pieces. Pieces are kept once, however many backups need them, so a further backup
//! writes what is new ([`chunks`]). Everything is compressed and sealed for the operator's backup key before it leaves
//! ([`seal`]). Between two backups the changes of SQLite stores follow every few seconds ([`shipping`]); PostgreSQL
//! stores are dumped by their own programs.
//!
//! In a target lie `backups/<id>` (manifests), `signatures/<id>` (who made them: [`signing`]), `chunks/…` (pieces),
//! `changes/<generation>/…` (cuts), `pieces/<id>` (which pieces a backup needs, for removals by machines that cannot
//! open it), `secrets/…` (the folder of secrets, each time it changed), `made-for.txt` (public keys) and `made-by/…`
//! (the identity log of who signs, sealed).
//!
//! **Invariant:** nothing readable of the instance but its identifier is written to a target; what the instance has not
//! signed is neither put back nor counted; an earlier backup is never changed by a later one.

mod archive;
mod chunks;
mod create;
mod error;
mod files;
mod manifest;
mod name;
mod place;
mod retention;
mod runtime;
mod seal;
mod secrets;
mod service;
mod shipping;
mod signing;
mod status;
mod target;

pub use archive::{Archive, Plan, Verified, Wanted};
pub use chunks::Content;
pub use create::{Lock, create, create_while};
pub use error::Error;
pub use manifest::{Chain, FORMAT, Manifest, ModuleCopy};
pub use name::instant_of;
pub use place::{Place, Source};
pub use retention::{Keep, Pruned, prune};
pub use seal::{Making, Recipients, Secret, signer_beside};
pub use service::{Schedule, Service};
pub use signing::{Signer, Trust};
pub use status::{Status, status};
pub use target::{Object, Target};
