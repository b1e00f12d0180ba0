//! Rails: where money on its way in or out is, and what follows from a look at a chain.
//!
//! **Invariant:** nothing is credited that a look at the chain up to a final block did not show.

use std::collections::HashMap;

use q_core::Amount;
use qwallet_api::TransactionId;
use qwallet_rails::{Arrival, ChainAmount};

/// Where money that came in is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DepositStatus {
    /// Seen, and shown as coming.
    Pending,
    /// Final, and the wallet's.
    Credited,
    /// The chain was rewritten without it.
    Removed,
    /// Final, and not a whole number of the currency's units: an operator decides.
    HeldBack,
    /// It was nobody's, and two operators gave it to the house.
    WrittenOff,
}

/// Where a withdrawal is that others have to approve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitingStatus {
    /// Not enough have approved it, or its money could not be held yet.
    Waiting,
    /// Its money was held; where it is from then on is said of the withdrawal.
    CarriedOut,
    /// Too many rejected it, or its payer took it back.
    Cancelled,
}

impl WaitingStatus {
    const ALL: [Self; 3] = [Self::Waiting, Self::CarriedOut, Self::Cancelled];

    /// The number in the store.
    pub const fn code(self) -> i64 {
        match self {
            Self::Waiting => 0,
            Self::CarriedOut => 1,
            Self::Cancelled => 2,
        }
    }

    /// The status with this number.
    pub fn from_code(code: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.code() == code)
    }

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "AWAITING_APPROVAL",
            Self::CarriedOut => "CARRIED_OUT",
            Self::Cancelled => "CANCELLED",
        }
    }
}

/// How two operators set right what the books of a rail say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CorrectionKind {
    /// A withdrawal left that the books do not know.
    BookWithdrawal,
    /// What came in for nobody is a wallet's.
    Assign,
    /// What came in for nobody is the house's.
    WriteOff,
    /// What the rail holds less than the books is the house's loss.
    WriteOffLoss,
}

impl CorrectionKind {
    const ALL: [Self; 4] = [Self::BookWithdrawal, Self::Assign, Self::WriteOff, Self::WriteOffLoss];

    /// The number in the store.
    pub const fn code(self) -> i64 {
        match self {
            Self::BookWithdrawal => 0,
            Self::Assign => 1,
            Self::WriteOff => 2,
            Self::WriteOffLoss => 3,
        }
    }

    /// The kind with this number.
    pub fn from_code(code: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BookWithdrawal => "BOOK_WITHDRAWAL",
            Self::Assign => "ASSIGN",
            Self::WriteOff | Self::WriteOffLoss => "WRITE_OFF",
        }
    }
}

impl DepositStatus {
    const ALL: [Self; 5] = [Self::Pending, Self::Credited, Self::Removed, Self::HeldBack, Self::WrittenOff];

    /// The number in the store.
    pub const fn code(self) -> i64 {
        match self {
            Self::Pending => 0,
            Self::Credited => 1,
            Self::Removed => 2,
            Self::HeldBack => 3,
            Self::WrittenOff => 4,
        }
    }

    /// The status with this number.
    pub fn from_code(code: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.code() == code)
    }

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Credited => "CREDITED",
            Self::Removed => "REMOVED",
            Self::HeldBack => "HELD_BACK",
            Self::WrittenOff => "WRITTEN_OFF",
        }
    }
}

/// Where money that goes out is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum OutgoingStatus {
    /// Held, and waits to be signed.
    Pending,
    /// Signed and stored; perhaps sent.
    Signed,
    /// A node took it.
    Broadcasting,
    /// In a block that may still be rewritten.
    Confirmed,
    /// Final, and in the books.
    Settled,
    /// Final that it will not be; the money is free again.
    Failed,
}

impl OutgoingStatus {
    const ALL: [Self; 6] =
        [Self::Pending, Self::Signed, Self::Broadcasting, Self::Confirmed, Self::Settled, Self::Failed];

    /// The number in the store.
    pub const fn code(self) -> i64 {
        match self {
            Self::Pending => 0,
            Self::Signed => 1,
            Self::Broadcasting => 2,
            Self::Confirmed => 3,
            Self::Settled => 4,
            Self::Failed => 5,
        }
    }

    /// The status with this number.
    pub fn from_code(code: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.code() == code)
    }

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Signed => "SIGNED",
            Self::Broadcasting => "BROADCASTING",
            Self::Confirmed => "CONFIRMED",
            Self::Settled => "SETTLED",
            Self::Failed => "FAILED",
        }
    }

    /// Whether nothing will change any more.
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Settled | Self::Failed)
    }
}

/// A deposit as it is stored, for comparison with the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Its id.
    pub id: TransactionId,
    /// Its transaction on the chain.
    pub hash: String,
    /// Its place in that.
    pub place: u32,
    /// The block it was in.
    pub height: u64,
    /// That block's hash.
    pub block: String,
    /// Where it is.
    pub status: DepositStatus,
}

/// What a look at the chain changes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// Seen for the first time.
    pub new: Vec<Arrival>,
    /// Seen before, now in another block or there again.
    pub moved: Vec<(TransactionId, Arrival)>,
    /// Seen before and no longer there.
    pub gone: Vec<(TransactionId, u64)>,
}

/// Compares what `known` holds with what `seen` shows of the blocks `from..=to`, which hold everything that is not final.
pub fn compare(known: &[Known], seen: Vec<Arrival>, from: u64, to: u64) -> Changes {
    let mut rest: HashMap<(String, u32), &Known> =
        known.iter().map(|known| ((known.hash.clone(), known.place), known)).collect();
    let mut changes = Changes::default();
    for arrival in seen {
        match rest.remove(&(arrival.hash.clone(), arrival.place)) {
            None => changes.new.push(arrival),
            Some(known) => {
                let is_there = known.status == DepositStatus::Pending
                    && (known.height, &known.block) == (arrival.block.height, &arrival.block.hash);
                // What was final is not touched, whatever a node says now.
                let may_move = matches!(known.status, DepositStatus::Pending | DepositStatus::Removed);
                if may_move && !is_there {
                    changes.moved.push((known.id, arrival));
                }
            }
        }
    }
    let is_gone =
        |known: &&&Known| known.status == DepositStatus::Pending && (from..=to).contains(&known.height);
    changes.gone = rest.values().filter(is_gone).map(|known| (known.id, known.height)).collect();
    changes.gone.sort_unstable();
    changes
}

/// What the chain should hold, in its units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Books {
    /// What the rail's account says the house owns there.
    pub account: ChainAmount,
    /// Final on the chain, and not yet in the books.
    pub coming: ChainAmount,
    /// Final on the chain, and held back.
    pub held_back: ChainAmount,
}

impl Books {
    /// The sum; none when no amount can hold it.
    pub fn total(&self) -> Option<ChainAmount> {
        let sum = self.account.0.checked_add(self.coming.0)?.checked_add(self.held_back.0)?;
        Some(ChainAmount(sum))
    }
}

/// What is done with the fee that was held for a withdrawal, once its cost is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeeSplit {
    /// What the chain took, of what was held for it.
    pub spent: Amount,
    /// What the payer gets back.
    pub back: Amount,
    /// What the house pays on top.
    pub on_top: Amount,
}

/// Splits a fee that was held: the chain's cost comes out of it first.
pub fn split_fee(held: Amount, cost: Amount) -> FeeSplit {
    let spent = held.min(cost);
    FeeSplit {
        spent,
        back: held.checked_sub(spent).unwrap_or(Amount::ZERO),
        on_top: cost.checked_sub(spent).unwrap_or(Amount::ZERO),
    }
}

#[cfg(test)]
mod tests {
    use qwallet_rails::Block;

    use super::*;

    fn arrival(hash: &str, height: u64, block: &str) -> Arrival {
        Arrival {
            hash: hash.into(),
            place: 0,
            block: Block { height, hash: block.into() },
            from: "them".into(),
            to: "us".into(),
            amount: Some(ChainAmount(1)),
        }
    }

    fn known(number: u8, hash: &str, height: u64, block: &str, status: DepositStatus) -> Known {
        let id = TransactionId::from_bytes([number; 16]);
        Known { id, hash: hash.into(), place: 0, height, block: block.into(), status }
    }

    #[test]
    fn a_look_finds_what_is_new_what_moved_and_what_is_gone() {
        let all = [
            known(1, "stays", 10, "a", DepositStatus::Pending),
            known(2, "moves", 10, "a", DepositStatus::Pending),
            known(3, "goes", 11, "b", DepositStatus::Pending),
            known(4, "returns", 11, "b", DepositStatus::Removed),
            known(5, "final", 11, "b", DepositStatus::Credited),
            known(6, "beyond", 20, "z", DepositStatus::Pending),
        ];
        let seen = vec![
            arrival("stays", 10, "a"),
            arrival("moves", 12, "c"),
            arrival("returns", 12, "c"),
            arrival("final", 12, "c"),
            arrival("new", 12, "c"),
        ];
        let changes = compare(&all, seen, 10, 12);
        assert_eq!(changes.new.iter().map(|arrival| arrival.hash.as_str()).collect::<Vec<_>>(), ["new"]);
        let moved: Vec<_> = changes.moved.iter().map(|(id, _)| *id).collect();
        assert_eq!(moved, [all[1].id, all[3].id]);
        assert_eq!(changes.gone, [(all[2].id, 11)]);
    }

    #[test]
    fn no_unit_of_a_fee_is_lost() {
        let split = |held, cost| {
            let split = split_fee(Amount::from_units(held), Amount::from_units(cost));
            [split.spent, split.back, split.on_top].map(Amount::units)
        };
        assert_eq!(split(10, 7), [7, 3, 0]);
        assert_eq!(split(10, 10), [10, 0, 0]);
        assert_eq!(split(10, 12), [10, 0, 2]);
    }
}
