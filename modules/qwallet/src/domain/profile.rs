//! What a wallet may do: by the kind of its owner's identity, and by its own status.

use q_core::IdentityKind;

/// What the kind of an owner's identity means for the wallet. Written when the wallet is opened: a kind never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Profile {
    /// A person, an organisation or a program: all currencies, its own limits, and its parent's where it has one.
    #[default]
    Root,
    /// A community: pays within the limit that was delegated to it.
    Dao,
    /// An undertaking of several owners: pays whom it allowed, where it keeps a list.
    Enterprise,
    /// Somebody in care: pays within the limits a guardian gave, and over no rail.
    Consentida,
    /// Somebody nobody can tie to another identity: one currency, no texts, no rail.
    Aid,
}

impl Profile {
    /// The profile of wallets whose owners are of this kind.
    pub const fn of(kind: IdentityKind) -> Self {
        match kind {
            IdentityKind::Root | IdentityKind::Service => Self::Root,
            IdentityKind::Dao => Self::Dao,
            IdentityKind::Enterprise => Self::Enterprise,
            IdentityKind::Consentida => Self::Consentida,
            IdentityKind::Aid => Self::Aid,
        }
    }

    /// The number in the store.
    pub const fn code(self) -> i64 {
        match self {
            Self::Root => 0,
            Self::Dao => 1,
            Self::Enterprise => 2,
            Self::Consentida => 3,
            Self::Aid => 4,
        }
    }

    /// The profile with this number.
    pub const fn from_code(code: i64) -> Option<Self> {
        match code {
            0 => Some(Self::Root),
            1 => Some(Self::Dao),
            2 => Some(Self::Enterprise),
            3 => Some(Self::Consentida),
            4 => Some(Self::Aid),
            _ => None,
        }
    }

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Root => "ROOT",
            Self::Dao => "DAO",
            Self::Enterprise => "ENTERPRISE",
            Self::Consentida => "CONSENTIDA",
            Self::Aid => "AID",
        }
    }

    /// Whether it draws on the limits of its parent besides its own. Communities and undertakings have money of their
    /// own, which is not one owner's to spend.
    pub const fn draws_on_parent(self) -> bool {
        matches!(self, Self::Root | Self::Consentida)
    }

    /// Whether money may come and leave over rails.
    pub const fn has_rails(self) -> bool {
        !matches!(self, Self::Consentida | Self::Aid)
    }

    /// Whether purposes and notes may stand beside its payments.
    pub const fn has_texts(self) -> bool {
        !matches!(self, Self::Aid)
    }
}

/// Whether a wallet may pay and be paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Status {
    /// It may.
    #[default]
    Active,
    /// An operator stopped it.
    Suspended,
    /// Its owner, a guardian or an operator stopped it.
    Frozen,
    /// It is empty and ended.
    Closed,
}

impl Status {
    /// The number in the store.
    pub const fn code(self) -> i64 {
        match self {
            Self::Active => 0,
            Self::Suspended => 1,
            Self::Frozen => 2,
            Self::Closed => 3,
        }
    }

    /// The status with this number.
    pub const fn from_code(code: i64) -> Option<Self> {
        match code {
            0 => Some(Self::Active),
            1 => Some(Self::Suspended),
            2 => Some(Self::Frozen),
            3 => Some(Self::Closed),
            _ => None,
        }
    }

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Suspended => "SUSPENDED",
            Self::Frozen => "FROZEN",
            Self::Closed => "CLOSED",
        }
    }

    /// The status with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        (0..).map_while(Self::from_code).find(|status| status.name() == name)
    }

    /// Whether nothing may be paid from it or to it.
    pub const fn is_stopped(self) -> bool {
        !matches!(self, Self::Active)
    }
}
