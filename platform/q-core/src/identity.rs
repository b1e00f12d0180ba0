//! What kinds of identities there are, and whether one may act.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The word is not one of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a word of this list")]
pub struct UnknownWord;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
        pub enum $name { $($(#[$variant_doc])* #[serde(rename = $word)] $variant,)+ }

        impl $name {
            /// The word on the wire and in stores.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl FromStr for $name {
            type Err = UnknownWord;
            fn from_str(text: &str) -> Result<Self, UnknownWord> {
                match text { $($word => Ok(Self::$variant),)+ _ => Err(UnknownWord) }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// What kind of identity it is.
    IdentityKind {
        /// A person, an organisation or a program, under its own keys.
        Root = "ROOT",
        /// A community that decides together.
        Dao = "DAO",
        /// An undertaking of several owners.
        Enterprise = "ENTERPRISE",
        /// Somebody in the care of guardians, who hold the keys that change its keys.
        Consentida = "CONSENTIDA",
        /// Somebody nobody can tie to another identity.
        Aid = "AID",
        /// A module of this instance.
        Service = "SERVICE",
    }
}

words! {
    /// Whether an identity may act.
    IdentityStatus {
        /// It may.
        Active = "ACTIVE",
        /// Not before an operator has agreed to it.
        PendingConsent = "PENDING_CONSENT",
        /// Not until further notice.
        Suspended = "SUSPENDED",
        /// It has ended.
        Deleted = "DELETED",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_read_back() {
        for kind in ["ROOT", "DAO", "ENTERPRISE", "CONSENTIDA", "AID", "SERVICE"] {
            assert_eq!(kind.parse::<IdentityKind>().unwrap().as_str(), kind);
        }
        assert_eq!("root".parse::<IdentityKind>(), Err(UnknownWord));
        assert_eq!("PENDING_CONSENT".parse(), Ok(IdentityStatus::PendingConsent));
    }
}
