//! Transfers: the rows of the journal, each moving one amount from one account to another.

use q_core::{Amount, SignedAmount};
use qwallet_api::TransactionId;

use super::account::AccountId;

/// Why a transfer exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// What the recipient gets.
    Principal,
    /// The house's fee.
    PlatformFee,
    /// The rail's fee.
    NetworkFee,
    /// Money put into circulation.
    Mint,
    /// Money taken out of circulation.
    Burn,
    /// What a stripe received, moved to the account it belongs to.
    Sweep,
    /// What a payee gives back.
    Refund,
    /// What the house gives back of its fee.
    FeeRefund,
    /// What the house held for two parties, given to one of them.
    Release,
    /// Money that came over a rail.
    Deposit,
    /// Money that leaves over a rail.
    Withdrawal,
    /// What a payee took and leaves with the house until the deal is done.
    Escrow,
    /// What two operators set right.
    Correction,
}

impl Purpose {
    /// All of them, by their number in the store.
    const ALL: [Self; 13] = [
        Self::Principal,
        Self::PlatformFee,
        Self::NetworkFee,
        Self::Mint,
        Self::Burn,
        Self::Sweep,
        Self::Refund,
        Self::FeeRefund,
        Self::Release,
        Self::Deposit,
        Self::Withdrawal,
        Self::Escrow,
        Self::Correction,
    ];

    /// The number in the store.
    pub const fn code(self) -> i64 {
        match self {
            Self::Principal => 0,
            Self::PlatformFee => 1,
            Self::NetworkFee => 2,
            Self::Mint => 3,
            Self::Burn => 4,
            Self::Sweep => 5,
            Self::Refund => 6,
            Self::FeeRefund => 7,
            Self::Release => 8,
            Self::Deposit => 9,
            Self::Withdrawal => 10,
            Self::Escrow => 11,
            Self::Correction => 12,
        }
    }

    /// The purpose with this number.
    pub fn from_code(code: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|purpose| purpose.code() == code)
    }

    /// Whether it counts against the limits on spending of the wallet that gives: what others get does, fees do not.
    pub const fn is_spending(self) -> bool {
        matches!(self, Self::Principal | Self::Withdrawal)
    }

    /// Whether it is what the house takes on top.
    pub const fn is_fee(self) -> bool {
        matches!(self, Self::PlatformFee | Self::NetworkFee)
    }

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Principal => "principal",
            Self::PlatformFee => "platformFee",
            Self::NetworkFee => "networkFee",
            Self::Mint => "mint",
            Self::Burn => "burn",
            Self::Sweep => "sweep",
            Self::Refund => "refund",
            Self::FeeRefund => "feeRefund",
            Self::Release => "release",
            Self::Deposit => "deposit",
            Self::Withdrawal => "withdrawal",
            Self::Escrow => "escrow",
            Self::Correction => "correction",
        }
    }
}

/// What a transfer does to the sums of its two accounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Moves the amount at once.
    Posted,
    /// Holds the amount on both sides.
    Held,
    /// Moves what an earlier transfer held.
    Settled,
    /// Frees what an earlier transfer held.
    Voided,
}

impl Phase {
    /// The number in the store.
    pub const fn code(self) -> i64 {
        match self {
            Self::Posted => 0,
            Self::Held => 1,
            Self::Settled => 2,
            Self::Voided => 3,
        }
    }

    /// The phase with this number.
    pub const fn from_code(code: i64) -> Option<Self> {
        match code {
            0 => Some(Self::Posted),
            1 => Some(Self::Held),
            2 => Some(Self::Settled),
            3 => Some(Self::Voided),
            _ => None,
        }
    }

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Posted => "posted",
            Self::Held => "held",
            Self::Settled => "settled",
            Self::Voided => "voided",
        }
    }

    /// Whether money moves for good.
    pub const fn is_final_movement(self) -> bool {
        matches!(self, Self::Posted | Self::Settled)
    }
}

/// One leg of a group before it is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leg {
    /// The account that gives.
    pub debit: AccountId,
    /// The account that receives.
    pub credit: AccountId,
    /// How much; never zero.
    pub amount: Amount,
    /// Why.
    pub purpose: Purpose,
}

/// One row of the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transfer {
    /// Its place in the writer's journal; gap-free.
    pub seq: i64,
    /// The group it lives or dies with.
    pub transaction: TransactionId,
    /// What it moves.
    pub leg: Leg,
    /// How.
    pub phase: Phase,
    /// The held transfer it ends.
    pub pending_of: Option<i64>,
    /// The giver's version after it.
    pub debit_version: i64,
    /// The giver's settled balance after it.
    pub debit_balance: SignedAmount,
    /// The receiver's version after it.
    pub credit_version: i64,
    /// The receiver's settled balance after it.
    pub credit_balance: SignedAmount,
}
