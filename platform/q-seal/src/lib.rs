//! Field encryption for modules: what must not be readable in a stolen database is sealed here first.
//!
//! A module holds a [`Sealer`] whose data key qlock made and released to it; the wrapped key lies beside
//! the data, the key that unwraps it does not.
//!
//! **Invariant:** no key is made, stored or derived here, and no plaintext or key appears in a `Debug` text.

pub mod field;
pub mod xaes;

pub use field::{DataKey, DataKeyId, OpenError, Place, Sealer};
