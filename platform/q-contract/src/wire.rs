//! Where the fields of a request travel: path, query or body.
//!
//! A request type is one struct. The names in the endpoint's path go there; of the rest, reads and
//! deletions put theirs in the query, other methods in a JSON body.

use std::{collections::HashMap, fmt::Write as _};

use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use schemars::SchemaGenerator;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{Declaration, Endpoint, ErrorCode, Problem, codes, endpoint::path_parameters};

/// What may stand in a path segment besides letters and digits (RFC 3986 section 3.3).
const SEGMENT: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b':');
/// The same for a parameter that takes the rest of the path.
const SEGMENTS: AsciiSet = SEGMENT.remove(b'/');
/// The most query parameters a request may carry.
const QUERY_PARAMETERS_MAX: usize = 64;

/// How the text of a path or query parameter becomes the JSON value its field expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Number,
    Boolean,
    List,
}

/// What decoding needs to know of an endpoint, worked out once.
#[derive(Debug)]
pub struct Shape {
    kinds: HashMap<String, Kind>,
    has_path_parameters: bool,
}

impl Shape {
    /// The shape of `E`'s request.
    pub fn of<E: Endpoint>() -> Self {
        let mut generator = SchemaGenerator::default();
        let schema = Value::from((Declaration::of::<E>().request_schema)(&mut generator));
        let definitions = Value::Object(generator.take_definitions(true));
        let properties = schema.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
        let kinds = properties
            .iter()
            .map(|(name, schema)| (name.clone(), kind_of(schema, &definitions, 0)))
            .collect();
        Self { kinds, has_path_parameters: E::PATH.contains('{') }
    }

    fn value(&self, name: &str, text: &str) -> Value {
        match self.kinds.get(name) {
            Some(Kind::Number) => serde_json::from_str::<serde_json::Number>(text)
                .map_or_else(|_| Value::String(text.to_owned()), Value::Number),
            Some(Kind::Boolean) if text == "true" || text == "1" => Value::Bool(true),
            Some(Kind::Boolean) if text == "false" || text == "0" => Value::Bool(false),
            Some(Kind::List) => text.split(',').map(|item| Value::String(item.to_owned())).collect(),
            _ => Value::String(text.to_owned()),
        }
    }
}

/// The kind a property's schema asks for, following references and optional wrappers.
fn kind_of(schema: &Value, definitions: &Value, depth: u8) -> Kind {
    const DEPTH_MAX: u8 = 8;
    if depth > DEPTH_MAX {
        return Kind::Text;
    }
    if let Some(name) = schema.get("$ref").and_then(Value::as_str).and_then(|path| path.rsplit('/').next()) {
        return definitions.get(name).map_or(Kind::Text, |schema| kind_of(schema, definitions, depth + 1));
    }
    if let Some(options) = schema.get("anyOf").or_else(|| schema.get("allOf")).and_then(Value::as_array) {
        let kinds = options.iter().map(|option| kind_of(option, definitions, depth + 1));
        return kinds.into_iter().find(|kind| *kind != Kind::Text).unwrap_or(Kind::Text);
    }
    let named = |name: &str| match schema.get("type") {
        Some(Value::String(only)) => only == name,
        Some(Value::Array(several)) => several.iter().any(|one| one == name),
        _ => false,
    };
    if named("integer") || named("number") {
        Kind::Number
    } else if named("boolean") {
        Kind::Boolean
    } else if named("array") {
        Kind::List
    } else {
        Kind::Text
    }
}

/// Puts the parts of a request together and reads them as `E::Request`; `path` is already percent-decoded.
pub fn decode<E: Endpoint>(
    shape: &Shape,
    path: &[(String, String)],
    query: Option<&str>,
    body: &[u8],
) -> Result<E::Request, Problem> {
    if !shape.has_path_parameters && E::METHOD.has_body() && E::CONSUMES.is_none() {
        // The common case of commands: straight from the bytes to the type.
        let body = if body.is_empty() { b"{}".as_slice() } else { body };
        return serde_json::from_slice(body).map_err(|error| unreadable(&error, E::ERRORS));
    }
    let mut fields = Map::new();
    if let Some((_, field)) = E::CONSUMES {
        let text = std::str::from_utf8(body)
            .map_err(|_| Problem::new(&codes::INVALID_REQUEST).detail("the body is not UTF-8 text"))?;
        fields.insert(field.to_owned(), Value::String(text.to_owned()));
    } else if E::METHOD.has_body() && !body.is_empty() {
        fields = serde_json::from_slice(body).map_err(|error| unreadable(&error, E::ERRORS))?;
    }
    for (name, text) in path {
        insert(&mut fields, name, shape.value(name, text))?;
    }
    let pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    for (count, (name, text)) in pairs.enumerate() {
        if count >= QUERY_PARAMETERS_MAX {
            return Err(Problem::new(&codes::INVALID_REQUEST).detail("too many query parameters"));
        }
        insert(&mut fields, &name, shape.value(&name, &text))?;
    }
    E::Request::deserialize(Value::Object(fields)).map_err(|error| unreadable(&error, E::ERRORS))
}

fn insert(fields: &mut Map<String, Value>, name: &str, value: Value) -> Result<(), Problem> {
    if fields.insert(name.to_owned(), value).is_some() {
        return Err(Problem::new(&codes::INVALID_REQUEST).detail(format!("the field {name} is given twice")));
    }
    Ok(())
}

/// A refusal for content that cannot be read.
///
/// A type whose refusal has a code of its own begins its message with `CODE: `; the endpoint's list
/// then gives status and title.
fn unreadable(error: &serde_json::Error, own: &[ErrorCode]) -> Problem {
    let message = error.to_string();
    if let Some((code, detail)) = message.split_once(": ")
        && let Some(code) = own.iter().find(|known| known.code == code)
    {
        return Problem::new(code).detail(detail);
    }
    let hint = "compare the request with this operation in /openapi.json";
    Problem::new(&codes::INVALID_REQUEST).detail(message).hint(hint)
}

/// The fields of an `application/x-www-form-urlencoded` body.
pub fn form_pairs(body: &[u8]) -> impl Iterator<Item = (String, String)> {
    form_urlencoded::parse(body).map(|(name, value)| (name.into_owned(), value.into_owned()))
}

/// Splits `request` into the URI (path and query) and the body that carry it.
pub fn encode<E: Endpoint>(request: &E::Request) -> Result<(String, Bytes), serde_json::Error> {
    let Value::Object(mut fields) = serde_json::to_value(request)? else {
        return Ok((E::PATH.to_owned(), Bytes::new()));
    };
    let mut uri = E::PATH.to_owned();
    for name in path_parameters(E::PATH) {
        let value = fields.remove(name).unwrap_or_default();
        let text = text_of(&value);
        uri = uri.replace(&format!("{{{name}}}"), &utf8_percent_encode(&text, &SEGMENT).to_string());
        uri = uri.replace(&format!("{{*{name}}}"), &utf8_percent_encode(&text, &SEGMENTS).to_string());
    }
    let document = E::CONSUMES.and_then(|(_, field)| fields.remove(field));
    if let Some(document) = document {
        push_query(&mut uri, &fields);
        return Ok((uri, text_of(&document).into()));
    }
    if E::METHOD.has_body() {
        return Ok((uri, serde_json::to_vec(&fields)?.into()));
    }
    push_query(&mut uri, &fields);
    Ok((uri, Bytes::new()))
}

fn push_query(uri: &mut String, fields: &Map<String, Value>) {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
        query.append_pair(name, &text_of(value));
    }
    let query = query.finish();
    if !query.is_empty() {
        let _ = write!(uri, "?{query}");
    }
}

fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        Value::Array(items) => items.iter().map(text_of).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use schemars::JsonSchema;
    use serde::Serialize;

    use super::*;
    use crate::{Access, endpoint, json_types};

    #[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct Search {
        owner_id: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<q_core::PageLimit>,
        #[serde(default)]
        is_open: bool,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
    struct Found(u32);
    json_types!(Found);

    endpoint! {
        /// Searches.
        GetSearch = GET "/owners/{ownerId}/things" (Search) -> Found;
        access Access::Identity("things:read");
    }

    #[test]
    fn what_is_encoded_decodes_to_the_same() {
        let request = Search { owner_id: "a/b ü".into(), limit: Some(7.try_into().unwrap()), is_open: true };
        let (uri, body) = encode::<GetSearch>(&request).unwrap();
        assert_eq!(uri, "/owners/a%2Fb%20%C3%BC/things?isOpen=true&limit=7");
        assert!(body.is_empty());
        let path = [("ownerId".to_owned(), "a/b ü".to_owned())];
        let read =
            decode::<GetSearch>(&Shape::of::<GetSearch>(), &path, Some("isOpen=true&limit=7"), b"").unwrap();
        assert_eq!(read, request);
    }

    #[test]
    fn refuses_unknown_repeated_and_ill_typed_parameters() {
        let shape = Shape::of::<GetSearch>();
        let path = [("ownerId".to_owned(), "a".to_owned())];
        for query in ["colour=red", "limit=1&limit=2", "limit=ten", "limit=0", "ownerId=b"] {
            let refused = decode::<GetSearch>(&shape, &path, Some(query), b"").unwrap_err();
            assert!(refused.is(&codes::INVALID_REQUEST), "{query}: {refused}");
        }
    }
}
