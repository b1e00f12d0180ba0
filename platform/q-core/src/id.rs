//! Typed ids: a prefix that names the noun, then a UUIDv7 as 32 lower-case hexadecimal digits.
//!
//! UUIDv7 (RFC 9562 section 5.7) sorts by time, so a primary key of this kind appends to its index.

use crate::Env;

/// Why a text is not an id of the expected kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {prefix}… followed by 32 lower-case hexadecimal digits")]
pub struct NotAnId {
    /// The prefix the id should have had.
    pub prefix: &'static str,
}

/// A fresh UUIDv7 from `env`'s clock and entropy.
pub fn uuid_v7(env: &Env) -> [u8; 16] {
    let millis = u64::try_from(env.now().millis()).unwrap_or_default();
    *uuid::Builder::from_unix_timestamp_millis(millis, &env.random::<10>()).into_uuid().as_bytes()
}

/// Reads the 32 digits after `prefix`.
pub fn parse(prefix: &'static str, text: &str) -> Result<[u8; 16], NotAnId> {
    let refused = NotAnId { prefix };
    let digits = text.strip_prefix(prefix).ok_or_else(|| refused.clone())?;
    let mut bytes = [0; 16];
    if digits.len() != 32 {
        return Err(refused);
    }
    data_encoding::HEXLOWER.decode_mut(digits.as_bytes(), &mut bytes).map_err(|_| refused)?;
    Ok(bytes)
}

/// Declares a typed id: `typed_id!(/// A wallet. WalletId, "wallet_");`
///
/// The type is `Copy`, orders by creation time, and reads and prints as `prefix` + 32 hexadecimal
/// digits in JSON, in URLs and in TEXT columns.
#[macro_export]
macro_rules! typed_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 16]);

        impl $name {
            /// What every id of this kind begins with.
            pub const PREFIX: &'static str = $prefix;

            /// A fresh id from the given clock and entropy.
            pub fn new(env: &$crate::Env) -> Self {
                Self($crate::id::uuid_v7(env))
            }

            /// The id with these 16 bytes.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// The 16 bytes behind the digits.
            pub const fn bytes(self) -> [u8; 16] {
                self.0
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                write!(f, "{}{}", $prefix, $crate::hash::hex(&self.0))
            }
        }

        impl ::std::fmt::Debug for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                ::std::fmt::Display::fmt(self, f)
            }
        }

        impl ::std::str::FromStr for $name {
            type Err = $crate::id::NotAnId;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                $crate::id::parse($prefix, text).map(Self)
            }
        }

        impl ::serde::Serialize for $name {
            fn serialize<S: ::serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> ::serde::Deserialize<'de> for $name {
            fn deserialize<D: ::serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <::std::borrow::Cow<'de, str> as ::serde::Deserialize>::deserialize(deserializer)?;
                text.parse().map_err(::serde::de::Error::custom)
            }
        }

        impl ::schemars::JsonSchema for $name {
            fn schema_name() -> ::std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut ::schemars::SchemaGenerator) -> ::schemars::Schema {
                ::schemars::json_schema!({
                    "type": "string",
                    "pattern": concat!("^", $prefix, "[0-9a-f]{32}$")
                })
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use crate::Env;

    typed_id!(
        /// An id for this test.
        ThingId, "thing_");

    #[test]
    fn prints_what_it_reads_and_refuses_the_rest() {
        let id = ThingId::new(&Env::system());
        assert_eq!(id.to_string().parse::<ThingId>().unwrap(), id);
        assert_eq!(ThingId::from_bytes(id.bytes()), id);
        assert!(id.to_string().starts_with(ThingId::PREFIX));
        let shouted = id.to_string().to_uppercase();
        for wrong in ["thing_", "wallet_0198", shouted.as_str(), &format!("{id}0")] {
            assert!(wrong.parse::<ThingId>().is_err(), "{wrong}");
        }
    }
}
