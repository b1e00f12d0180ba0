//! How a response becomes bytes and comes back: JSON for most, text or bytes where a standard says so.

use q_core::Page;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Serialize, de::DeserializeOwned};

/// A response body. Implemented for JSON types by [`json_types!`](crate::json_types).
pub trait Reply: Sized + Send + 'static {
    /// The media type, unless the endpoint declares another with `produces`.
    const CONTENT_TYPE: &'static str;

    /// The bytes on the wire.
    fn encode(self) -> Vec<u8>;

    /// Reads the bytes back.
    fn decode(bytes: &[u8]) -> Result<Self, NotReadable>;

    /// The JSON Schema, for JSON bodies.
    fn schema(generator: &mut SchemaGenerator) -> Option<Schema>;

    /// The media type of this answer, where an endpoint answers in several.
    fn media_type(&self) -> Option<&'static str> {
        None
    }
}

/// The response does not have the declared form: the two sides are of different versions.
#[derive(Debug, thiserror::Error)]
#[error("the response does not have the declared form: {0}")]
pub struct NotReadable(pub String);

/// The media type of a page for people.
pub const PAGE: &str = "text/html; charset=utf-8";

/// A response that is text of another format, such as JSON Lines or a journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text(pub String);

/// A response that is bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob(pub Vec<u8>);

/// A response in the format that was asked for. The media type is for the wire: whoever reads the answer back knows what
/// it asked for, and finds none here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Such as `text/csv; charset=utf-8`.
    pub media_type: &'static str,
    /// The document.
    pub bytes: Vec<u8>,
}

/// A JSON answer that a person may read as a page instead: the endpoint gives the page to whoever would rather have it.
/// Whoever reads the answer back asked for JSON, and finds no page here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readable<T> {
    /// The answer.
    pub answer: T,
    /// The page, HTML.
    pub page: Option<String>,
}

impl<T: Reply> Reply for Readable<T> {
    const CONTENT_TYPE: &'static str = T::CONTENT_TYPE;
    fn encode(self) -> Vec<u8> {
        match self.page {
            Some(page) => page.into_bytes(),
            None => self.answer.encode(),
        }
    }
    fn decode(bytes: &[u8]) -> Result<Self, NotReadable> {
        Ok(Self { answer: T::decode(bytes)?, page: None })
    }
    fn schema(generator: &mut SchemaGenerator) -> Option<Schema> {
        T::schema(generator)
    }
    fn media_type(&self) -> Option<&'static str> {
        self.page.as_ref().map(|_| PAGE)
    }
}

impl Reply for Document {
    const CONTENT_TYPE: &'static str = "*/*";
    fn encode(self) -> Vec<u8> {
        self.bytes
    }
    fn decode(bytes: &[u8]) -> Result<Self, NotReadable> {
        Ok(Self { media_type: "", bytes: bytes.to_vec() })
    }
    fn schema(_: &mut SchemaGenerator) -> Option<Schema> {
        None
    }
    fn media_type(&self) -> Option<&'static str> {
        Some(self.media_type)
    }
}

impl Reply for Text {
    const CONTENT_TYPE: &'static str = "text/plain; charset=utf-8";
    fn encode(self) -> Vec<u8> {
        self.0.into_bytes()
    }
    fn decode(bytes: &[u8]) -> Result<Self, NotReadable> {
        String::from_utf8(bytes.to_vec()).map(Self).map_err(|error| NotReadable(error.to_string()))
    }
    fn schema(_: &mut SchemaGenerator) -> Option<Schema> {
        None
    }
}

impl Reply for Blob {
    const CONTENT_TYPE: &'static str = "application/octet-stream";
    fn encode(self) -> Vec<u8> {
        self.0
    }
    fn decode(bytes: &[u8]) -> Result<Self, NotReadable> {
        Ok(Self(bytes.to_vec()))
    }
    fn schema(_: &mut SchemaGenerator) -> Option<Schema> {
        None
    }
}

/// Nothing but the status (204).
impl Reply for () {
    const CONTENT_TYPE: &'static str = "";
    fn encode(self) -> Vec<u8> {
        Vec::new()
    }
    fn decode(_: &[u8]) -> Result<Self, NotReadable> {
        Ok(())
    }
    fn schema(_: &mut SchemaGenerator) -> Option<Schema> {
        None
    }
}

/// A page of any JSON rows; here and not by macro, because both the trait and the type are foreign to modules.
impl<T: Serialize + DeserializeOwned + JsonSchema + Send + 'static> Reply for Page<T> {
    const CONTENT_TYPE: &'static str = "application/json";
    fn encode(self) -> Vec<u8> {
        serde_json::to_vec(&self).expect("a wire type has string keys and finite numbers")
    }
    fn decode(bytes: &[u8]) -> Result<Self, NotReadable> {
        serde_json::from_slice(bytes).map_err(|error| NotReadable(error.to_string()))
    }
    fn schema(generator: &mut SchemaGenerator) -> Option<Schema> {
        Some(generator.subschema_for::<Self>())
    }
}

/// Marks types as JSON response bodies: `json_types!(Wallet, Receipt);`
///
/// A macro and not a blanket implementation, so that [`Text`], [`Blob`] and [`Document`] can be bodies too.
#[macro_export]
macro_rules! json_types {
    ($($type:ty),+ $(,)?) => {$(
        impl $crate::Reply for $type {
            const CONTENT_TYPE: &'static str = "application/json";
            fn encode(self) -> Vec<u8> {
                $crate::macro_support::serde_json::to_vec(&self).expect("a wire type has string keys and finite numbers")
            }
            fn decode(bytes: &[u8]) -> Result<Self, $crate::body::NotReadable> {
                $crate::macro_support::serde_json::from_slice(bytes)
                    .map_err(|error| $crate::body::NotReadable(error.to_string()))
            }
            fn schema(
                generator: &mut $crate::macro_support::schemars::SchemaGenerator,
            ) -> Option<$crate::macro_support::schemars::Schema> {
                Some(generator.subschema_for::<$type>())
            }
        }
    )+};
}
