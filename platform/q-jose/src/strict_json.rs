//! JSON in which a member may appear once only.
//!
//! RFC 8259 section 4 leaves the meaning of a repeated name open, and parsers differ: one program checks
//! the first `alg`, the next one obeys the last. Signed and sealed texts are therefore read here.

use std::fmt;

use serde::de::{self, Deserialize, DeserializeOwned, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// The bytes are not JSON, repeat a member, or do not have the expected shape.
#[derive(Debug, thiserror::Error)]
#[error("not strict JSON")]
pub struct NotStrictJson(#[source] serde_json::Error);

/// Reads a value; a repeated member name anywhere in it is an error. Nesting is bounded at 127 levels.
pub fn value(bytes: &[u8]) -> Result<Value, NotStrictJson> {
    serde_json::from_slice::<Strict>(bytes).map(|strict| strict.0).map_err(NotStrictJson)
}

/// Reads a `T`, with the same rule.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, NotStrictJson> {
    serde_json::from_value(value(bytes)?).map_err(NotStrictJson)
}

/// A value read without repeated members, usable as a field of other types.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Self)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without repeated members")
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("not a finite number"))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            if object.contains_key(&name) {
                return Err(de::Error::custom("a member appears twice"));
            }
            let Strict(member) = members.next_value()?;
            object.insert(name, member);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_is_said_once() {
        let text = br#"{"a":[1,-2,1.5,null,true,"x"],"b":{"a":{}}}"#;
        assert_eq!(value(text).unwrap(), serde_json::from_slice::<Value>(text).unwrap());
    }

    #[test]
    fn refuses_repeats_at_any_depth_and_behind_escapes() {
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"[{"b":{"c":1,"c":2}}]"#,
            r#"{"a":1} {"b":2}"#,
            r#"{"a":1,}"#,
            r#"{"a":NaN}"#,
            "",
        ] {
            assert!(value(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn refuses_bottomless_nesting() {
        assert!(value("[".repeat(100_000).as_bytes()).is_err());
    }
}
