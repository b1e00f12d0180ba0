//! An account: two running sums, what is held on either side, and a version per change.

use std::sync::Arc;

use q_core::{Amount, SignedAmount, Timestamp, Total};

use super::{
    calendar::{Window, Zone},
    currency::CurrencyId,
    limits::{self, Defaults, Exceeded, LimitKind, OwnLimits, Spent},
};

/// An account by its number in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId(pub i64);

/// Whose money an account counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AccountKind {
    /// What the house owes the owner of a wallet.
    Wallet,
    /// What the house earned for its own services.
    PlatformFees,
    /// What the house took for the rail.
    NetworkFees,
    /// The other side of all money in circulation.
    Issuance,
    /// What the house holds for two parties, one account an escrow.
    Escrow,
    /// What the house owns on a rail, counted from the other side: it falls when money comes in.
    Rail,
    /// What came in and belongs to nobody yet.
    Suspense,
    /// What the house paid to the chains of its rails.
    RailCosts,
}

impl AccountKind {
    /// The number in the store.
    pub const fn code(self) -> i64 {
        match self {
            Self::Wallet => 0,
            Self::PlatformFees => 1,
            Self::NetworkFees => 2,
            Self::Issuance => 3,
            Self::Escrow => 4,
            Self::Rail => 5,
            Self::Suspense => 6,
            Self::RailCosts => 7,
        }
    }

    /// The kind with this number.
    pub const fn from_code(code: i64) -> Option<Self> {
        match code {
            0 => Some(Self::Wallet),
            1 => Some(Self::PlatformFees),
            2 => Some(Self::NetworkFees),
            3 => Some(Self::Issuance),
            4 => Some(Self::Escrow),
            5 => Some(Self::Rail),
            6 => Some(Self::Suspense),
            7 => Some(Self::RailCosts),
            _ => None,
        }
    }

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Wallet => "wallet",
            Self::PlatformFees => "platformFees",
            Self::NetworkFees => "networkFees",
            Self::Issuance => "issuance",
            Self::Escrow => "escrow",
            Self::Rail => "rail",
            Self::Suspense => "suspense",
            Self::RailCosts => "railCosts",
        }
    }

    /// Whether it may be debited without limit: the other side of what is outside the books.
    pub const fn is_unlimited(self) -> bool {
        matches!(self, Self::Issuance | Self::Rail | Self::RailCosts)
    }
}

/// An account and its state. Only transfers change it, and each change adds one to `version`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its number.
    pub id: AccountId,
    /// The ledger it belongs to: money of two currencies never meets.
    pub currency: CurrencyId,
    /// Whose money.
    pub kind: AccountKind,
    /// Whether it may neither give nor receive for now.
    pub is_frozen: bool,
    /// Everything ever received and settled.
    pub credits_posted: Total,
    /// Everything ever given and settled.
    pub debits_posted: Total,
    /// Held, to be received.
    pub credits_pending: Total,
    /// Held, to be given.
    pub debits_pending: Total,
    /// How far below zero it may go.
    pub credit_limit: Amount,
    /// How many transfers have touched it.
    pub version: i64,
    /// 0 for the account itself; others only receive, so that writers do not wait for one another, and are swept into it.
    pub stripe: i64,
    /// The account whose limits on spending count besides its own. Never changes.
    pub parent: Option<AccountId>,
    /// The instant of the commit that changed it last, and whose commit that was.
    pub changed: Changed,
    /// Whether others have to approve what is paid from it above an amount.
    pub is_guarded: bool,
    /// The owner's own limits on spending.
    pub limits: Option<Box<OwnLimits>>,
    /// What was spent in the present windows.
    pub spent: Spent,
    /// The time zone in whose days and months it is counted, where one was ever chosen; UTC otherwise.
    pub zone: Option<Arc<Zone>>,
}

/// One end of a movement, as far as limits look at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Side {
    /// The account.
    pub id: AccountId,
    /// Whose money it counts.
    pub kind: AccountKind,
    /// The account whose limits count besides its own.
    pub parent: Option<AccountId>,
}

impl Side {
    /// The account whose limits are common to it and to what moves within one family: the parent's, or its own.
    pub fn family(self) -> AccountId {
        self.parent.unwrap_or(self.id)
    }
}

/// Who changed an account last, and when: two writers' commits that touch one account have different instants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Changed {
    /// The instant of the commit.
    pub at: Timestamp,
    /// The writer.
    pub by: i64,
}

impl Account {
    /// A new account without movements.
    pub fn new(id: AccountId, currency: CurrencyId, kind: AccountKind) -> Self {
        Self {
            id,
            currency,
            kind,
            is_frozen: false,
            credits_posted: Total::ZERO,
            debits_posted: Total::ZERO,
            credits_pending: Total::ZERO,
            debits_pending: Total::ZERO,
            credit_limit: Amount::ZERO,
            version: 0,
            stripe: 0,
            parent: None,
            changed: Changed::default(),
            is_guarded: false,
            limits: None,
            spent: Spent::default(),
            zone: None,
        }
    }

    /// A further account of the same owner and currency that only receives.
    #[must_use]
    pub fn of_stripe(self, stripe: i64) -> Self {
        Self { stripe, ..self }
    }

    /// An account that draws on the limits of `parent` besides its own.
    #[must_use]
    pub fn below(self, parent: Option<AccountId>) -> Self {
        Self { parent, ..self }
    }

    /// What decides against whose limits a movement counts.
    pub const fn side(&self) -> Side {
        Side { id: self.id, kind: self.kind, parent: self.parent }
    }

    /// What no transfer tells of it: whose wallet's checksum covers this cannot be given to another wallet, another
    /// currency or another limit unnoticed.
    pub fn terms(&self) -> Vec<u8> {
        let mut bytes = vec![0; 33];
        bytes[..8].copy_from_slice(&self.id.0.to_be_bytes());
        bytes[8..16].copy_from_slice(&(self.kind.code() | self.stripe << 8).to_be_bytes());
        bytes[16..32].copy_from_slice(&self.credit_limit.to_bytes());
        bytes[32] = self.currency.0 << 1 | u8::from(self.is_frozen);
        bytes.extend(self.parent.map(|parent| parent.0.to_be_bytes()).into_iter().flatten());
        bytes
    }

    /// The hour, day and month around an instant, by its calendar.
    pub fn window(&self, at: Timestamp) -> Window {
        self.zone.as_ref().map_or_else(|| Window::of(at), |zone| zone.window(at))
    }

    /// Whether `attempted` may be spent at the instant of `calendar`, as far as its limits go.
    pub fn check_limits(
        &self,
        defaults: &Defaults,
        attempted: Amount,
        calendar: Window,
    ) -> Result<(), Exceeded> {
        let checked = limits::check(defaults, self.limits.as_deref(), &self.spent, attempted, calendar);
        checked.map_err(|exceeded| Exceeded {
            resets_at: self.resets_at(exceeded.kind, calendar.at),
            ..exceeded
        })
    }

    /// When what counts against its limits of a kind begins anew, as things stand at an instant.
    pub fn resets_at(&self, kind: LimitKind, now: Timestamp) -> Option<Timestamp> {
        self.spent.resets_at(kind, now, |at| self.window(at))
    }

    /// What is settled.
    pub const fn posted(&self) -> SignedAmount {
        self.credits_posted.less(self.debits_posted)
    }

    /// What could be given now: settled, less everything held to be given, plus credit.
    ///
    /// Money held to be received does not count: it may still be voided.
    pub const fn available(&self) -> SignedAmount {
        // Saturating is exact enough here: credits beyond the largest amount cannot be given in one transfer.
        let credits = self.credits_posted.units().saturating_add(self.credit_limit.units());
        // The sum was bounded when each hold was taken, see `books::Books::pend`.
        let debits = self.debits_posted.units().saturating_add(self.debits_pending.units());
        Total::from_units(credits).less(Total::from_units(debits))
    }

    /// Whether `amount` can be given now.
    pub fn can_give(&self, amount: Amount) -> bool {
        let available = self.available();
        self.kind.is_unlimited() || (!available.is_negative() && available.magnitude() >= amount)
    }
}

/// The sum of balances of one owner: what is his in the account and in its stripes.
pub fn sum_of(balances: impl Iterator<Item = SignedAmount>) -> SignedAmount {
    // Positive balances together are at most what was issued, which fits.
    let add = |total: Total, balance: SignedAmount| {
        Total::from_units(total.units().saturating_add(balance.magnitude().units()))
    };
    let (held, owed) = balances.fold((Total::ZERO, Total::ZERO), |(held, owed), balance| {
        if balance.is_negative() { (held, add(owed, balance)) } else { (add(held, balance), owed) }
    });
    held.less(owed)
}
