//! The nouns of the trail and every rule about them.
//!
//! **Invariant:** pure; no store, no clock, no runtime.

pub mod commitment;
pub mod event;
pub mod leaf;
pub mod record;
pub mod sequence;

pub use commitment::{Commitment, Section};
pub use event::{NewEvent, Refusal};
pub use leaf::Leaf;
pub use record::{Record, RecordError, RecordSection};
pub use sequence::{Arrival, Missing, ProducerHead};
