//! Rails: how money of qwallet gets into and out of the world outside.
//!
//! A [`Rail`] knows a chain, not the books: it makes addresses, signs transactions without sending them, sends bytes that
//! were signed before, says what became of them, and reads what arrived. What is credited or given, and when, is decided
//! in qwallet from these answers.
//!
//! **Invariant:** no rail decides about money, and none sends what was not first handed back as bytes to be stored.

mod decimals;
pub mod sepa;

pub use decimals::{ChainAmount, from_chain, to_chain};

use std::{fmt, future::Future, pin::Pin};

use zeroize::Zeroizing;

/// What a rail answers, later.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, RailError>> + Send + 'a>>;

/// The bytes of a rail's seed: 512 bits, as BIP-39 makes them.
pub const SEED_BYTES: usize = 64;

/// The secret all addresses of a rail are derived from. Wiped when dropped, never printed.
#[derive(Clone)]
pub struct Seed(Zeroizing<[u8; SEED_BYTES]>);

impl Seed {
    /// A seed of these bytes.
    pub fn new(bytes: [u8; SEED_BYTES]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8; SEED_BYTES] {
        &self.0
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed")
    }
}

/// One of a rail's own addresses: the `index`th of a seed. Index 0 is the house's, which pays out.
#[derive(Debug, Clone, Copy)]
pub struct Slot<'a> {
    /// The seed.
    pub seed: &'a Seed,
    /// Which of its addresses.
    pub index: u32,
}

/// What a rail is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// Its name in settings and on the wire.
    pub name: &'static str,
    /// The decimals its chain counts in.
    pub decimals: u8,
    /// Blocks above a transaction, itself included, until it is final.
    pub confirmations: u64,
    /// Whether fees are paid in the money the rail carries, or in another that the house provides.
    pub has_own_gas: bool,
    /// Whether it was never tried against a live network.
    pub is_experimental: bool,
}

/// A block: its height and its hash as the chain writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Its place in the chain.
    pub height: u64,
    /// Its name; another one at the same height means that the chain was rewritten.
    pub hash: String,
}

/// Where the chain is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The newest block.
    pub latest: Block,
    /// The newest block that cannot be rewritten any more, by the rail's settings; none on a chain that is too young.
    pub last_final: Option<Block>,
}

/// A payment to be made over the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    /// Who gets it, as [`Rail::read_address`] wrote it.
    pub to: String,
    /// How much.
    pub amount: ChainAmount,
    /// What is moved.
    pub what: What,
}

/// What a payment moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// The money the rail is for.
    Money,
    /// What the chain's fees are paid in, so that another own address can pay its fee.
    Gas,
}

/// A transaction that was signed and not sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// Its name on the chain.
    pub hash: String,
    /// The bytes to send, now and after every crash.
    pub raw: Vec<u8>,
    /// Its number among the transactions of its sender.
    pub nonce: u64,
    /// The most its fee can be.
    pub fee_max: ChainAmount,
}

/// What became of the transaction that was to make this payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// The node does not know it.
    Unknown,
    /// It waits to be taken into a block.
    Pending,
    /// It is in a block, which may still be rewritten.
    Mined {
        /// The block.
        block: Block,
        /// What it cost.
        fee: ChainAmount,
        /// Whether it did what it was for; its fee is gone either way.
        is_success: bool,
    },
}

/// Money that came to one of the rail's addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// The transaction.
    pub hash: String,
    /// Its place among the arrivals of that transaction.
    pub place: u32,
    /// The block it is in.
    pub block: Block,
    /// Who sent it, as the chain says.
    pub from: String,
    /// Which of the rail's addresses got it.
    pub to: String,
    /// How much; none when it is more than an amount can hold.
    pub amount: Option<ChainAmount>,
}

/// Why a rail has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RailError {
    /// Nobody answered.
    #[error("the node cannot be reached: {0}")]
    Unreachable(String),
    /// The node answered with an error of its own.
    #[error("the node refuses: {0}")]
    Refused(String),
    /// What the node says contradicts itself, the settings, or another node.
    #[error("the node is not to be believed: {0}")]
    Unbelievable(String),
    /// The text is no address of this rail.
    #[error("{0} is no address of this rail")]
    NotAnAddress(String),
    /// A fee above what may be spent.
    #[error("the fee of the chain is above what may be spent on it: {0}")]
    TooDear(String),
    /// The seed makes no key at this index; the next one does.
    #[error("no key at index {0}")]
    NoKey(u32),
}

/// A way for money into and out of the world outside.
pub trait Rail: fmt::Debug + Send + Sync {
    /// What it is.
    fn about(&self) -> &About;

    /// Reads an address and writes it in the one form used everywhere else.
    fn read_address(&self, text: &str) -> Result<String, RailError>;

    /// The address of a slot.
    fn address(&self, slot: Slot<'_>) -> Result<String, RailError>;

    /// Where the chain is. Refuses a node of another chain, or one that another node contradicts.
    fn head(&self) -> Answer<'_, Head>;

    /// The block at this height, if the chain has one.
    fn block(&self, height: u64) -> Answer<'_, Option<Block>>;

    /// The most a payment costs on the chain now, in what its fees are paid in.
    fn quote_fee<'a>(&'a self, from: &'a str, payment: &'a Payment) -> Answer<'a, ChainAmount>;

    /// The number of the next transaction of an address: as the chain at its newest block knows it.
    fn next_nonce<'a>(&'a self, address: &'a str) -> Answer<'a, u64>;

    /// How many transactions of an address are in the chain up to this height.
    fn nonce_at<'a>(&'a self, address: &'a str, height: u64) -> Answer<'a, u64>;

    /// Signs a payment, its fee at most `fee_max`, and sends nothing. Each further `attempt` under one number offers a
    /// quarter more, so that a node takes it in place of the one before.
    fn prepare<'a>(
        &'a self,
        slot: Slot<'a>,
        payment: &'a Payment,
        nonce: u64,
        fee_max: Option<ChainAmount>,
        attempt: u32,
    ) -> Answer<'a, Signed>;

    /// Sends a signed transaction. Sending it again is no error.
    fn submit<'a>(&'a self, raw: &'a [u8]) -> Answer<'a, ()>;

    /// What became of the transaction that was to make this payment.
    fn status<'a>(&'a self, hash: &'a str, payment: &'a Payment) -> Answer<'a, Status>;

    /// Who signed the transaction and under which number, if it makes exactly this payment; nothing if it makes another,
    /// or the node does not know it.
    fn payer<'a>(&'a self, hash: &'a str, payment: &'a Payment) -> Answer<'a, Option<(String, u64)>>;

    /// What came to `addresses` in the blocks `from..=to`, in the order of the chain, each confirmed by its receipt.
    fn scan_deposits<'a>(&'a self, from: u64, to: u64, addresses: &'a [String]) -> Answer<'a, Vec<Arrival>>;

    /// What an address held after the block at this height.
    fn balance<'a>(&'a self, address: &'a str, what: What, height: u64) -> Answer<'a, ChainAmount>;
}
