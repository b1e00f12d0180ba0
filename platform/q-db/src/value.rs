//! What goes into a statement and comes out of a row: integers, texts, bytes, and nothing.

use q_core::{Did, Span, Timestamp};

use crate::DbError;

/// A parameter or a column. Both engines store exactly these: no floats, no booleans, no engine types.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A signed 64-bit integer; instants and spans are microseconds.
    Integer(i64),
    /// A text without NUL characters (PostgreSQL cannot hold them).
    Text(String),
    /// Any bytes.
    Bytes(Vec<u8>),
    /// Nothing.
    Null,
}

macro_rules! integers {
    ($($type:ty),*) => {$(
        impl From<$type> for Value {
            fn from(number: $type) -> Self {
                Self::Integer(i64::from(number))
            }
        }
    )*};
}
integers!(i64, i32, u32, i16, u16, u8, bool);

macro_rules! others {
    ($($type:ty, $binding:ident => $value:expr;)*) => {$(
        impl From<$type> for Value {
            fn from($binding: $type) -> Self {
                $value
            }
        }
    )*};
}
others! {
    String, text => Self::Text(text);
    &String, text => Self::Text(text.clone());
    &str, text => Self::Text(text.to_owned());
    Vec<u8>, bytes => Self::Bytes(bytes);
    &Vec<u8>, bytes => Self::Bytes(bytes.clone());
    &[u8], bytes => Self::Bytes(bytes.to_vec());
    Timestamp, instant => Self::Integer(instant.micros());
    Span, span => Self::Integer(span.as_micros());
    Did, did => Self::Text(did.to_string());
    &Did, did => Self::Text(did.to_string());
    &Value, value => value.clone();
}

impl<const N: usize> From<[u8; N]> for Value {
    fn from(bytes: [u8; N]) -> Self {
        Self::Bytes(bytes.to_vec())
    }
}

impl<const N: usize> From<&[u8; N]> for Value {
    fn from(bytes: &[u8; N]) -> Self {
        Self::Bytes(bytes.to_vec())
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// The parameters of a statement, in the order of `$1`, `$2`, …: `params![id, amount, None::<i64>]`.
#[macro_export]
macro_rules! params {
    ($($value:expr),* $(,)?) => {
        &[$($crate::Value::from($value)),*] as &[$crate::Value]
    };
}

/// One row of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    values: Box<[Value]>,
}

/// A type that a column can be read as.
pub trait FromValue: Sized {
    /// What a message calls the type.
    const EXPECTED: &'static str;

    /// The value as this type, if it is of this kind and in range.
    fn from_value(value: &Value) -> Option<Self>;
}

impl Row {
    pub(crate) fn new(values: Vec<Value>) -> Self {
        Self { values: values.into_boxed_slice() }
    }

    /// The column at `index`, counted from 0.
    ///
    /// A column of another type than the schema promises means a damaged store or a wrong
    /// statement. Inside `read` and `write` such a mismatch unwinds to the caller of that method,
    /// who gets [`DbError::BadRow`]; elsewhere use [`Row::try_get`].
    pub fn get<T: FromValue>(&self, index: usize) -> T {
        match self.try_get(index) {
            Ok(value) => value,
            Err(error) => {
                tracing::error!(error = %error, "a row does not have the expected shape");
                // `resume_unwind` skips the panic hook: this is an answer on its way, not a crash.
                std::panic::resume_unwind(Box::new(error))
            }
        }
    }

    /// The column at `index`, counted from 0, or [`DbError::BadRow`].
    pub fn try_get<T: FromValue>(&self, index: usize) -> Result<T, DbError> {
        self.values
            .get(index)
            .and_then(T::from_value)
            .ok_or(DbError::BadRow { column: index, expected: T::EXPECTED })
    }

    /// The text column at `index` parsed as `T`: typed ids, identities, amounts.
    pub fn parse<T: std::str::FromStr>(&self, index: usize) -> Result<T, DbError> {
        let bad = DbError::BadRow { column: index, expected: std::any::type_name::<T>() };
        match self.values.get(index) {
            Some(Value::Text(text)) => text.parse().map_err(|_| bad),
            _ => Err(bad),
        }
    }

    /// The columns, in order.
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// The columns, in order, without copying.
    pub fn into_values(self) -> Vec<Value> {
        self.values.into_vec()
    }
}

impl FromValue for i64 {
    const EXPECTED: &'static str = "an integer";
    fn from_value(value: &Value) -> Option<Self> {
        if let Value::Integer(number) = value { Some(*number) } else { None }
    }
}

macro_rules! narrower {
    ($($type:ty => $expected:literal;)*) => {$(
        impl FromValue for $type {
            const EXPECTED: &'static str = $expected;
            fn from_value(value: &Value) -> Option<Self> {
                if let Value::Integer(number) = value { <$type>::try_from(*number).ok() } else { None }
            }
        }
    )*};
}
narrower! {
    i32 => "an integer of 32 bits";
    u8 => "an integer from 0 to 255";
    u16 => "an integer from 0 to 65535";
    u32 => "an integer from 0 to 4294967295";
    u64 => "an integer from 0";
    usize => "an integer from 0";
}

impl FromValue for bool {
    const EXPECTED: &'static str = "0 or 1";
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Integer(0) => Some(false),
            Value::Integer(1) => Some(true),
            _ => None,
        }
    }
}

impl FromValue for Timestamp {
    const EXPECTED: &'static str = "microseconds since the epoch";
    fn from_value(value: &Value) -> Option<Self> {
        i64::from_value(value).map(Self::from_micros)
    }
}

impl FromValue for String {
    const EXPECTED: &'static str = "a text";
    fn from_value(value: &Value) -> Option<Self> {
        if let Value::Text(text) = value { Some(text.clone()) } else { None }
    }
}

impl FromValue for Did {
    const EXPECTED: &'static str = "a decentralised identifier";
    fn from_value(value: &Value) -> Option<Self> {
        if let Value::Text(text) = value { text.parse().ok() } else { None }
    }
}

impl FromValue for Vec<u8> {
    const EXPECTED: &'static str = "bytes";
    fn from_value(value: &Value) -> Option<Self> {
        if let Value::Bytes(bytes) = value { Some(bytes.clone()) } else { None }
    }
}

impl<const N: usize> FromValue for [u8; N] {
    const EXPECTED: &'static str = "bytes of a fixed length";
    fn from_value(value: &Value) -> Option<Self> {
        if let Value::Bytes(bytes) = value { bytes.as_slice().try_into().ok() } else { None }
    }
}

impl FromValue for Value {
    const EXPECTED: &'static str = "anything";
    fn from_value(value: &Value) -> Option<Self> {
        Some(value.clone())
    }
}

impl<T: FromValue> FromValue for Option<T> {
    const EXPECTED: &'static str = T::EXPECTED;
    fn from_value(value: &Value) -> Option<Self> {
        if *value == Value::Null { Some(None) } else { T::from_value(value).map(Some) }
    }
}
