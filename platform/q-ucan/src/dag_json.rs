//! Tokens as people and other programs read them: DAG-JSON, where bytes and links are marked maps.

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use ipld_core::ipld::Ipld;
use serde_json::{Map, Number, Value, json};

use crate::{Delegation, Invocation, Refusal, container};

/// A value as DAG-JSON (IPLD codec 0x0129).
pub fn to_json(value: &Ipld) -> Value {
    match value {
        Ipld::Null => Value::Null,
        Ipld::Bool(value) => Value::Bool(*value),
        Ipld::Integer(number) => Number::from_i128(*number).map_or(Value::Null, Value::Number),
        Ipld::Float(number) => Number::from_f64(*number).map_or(Value::Null, Value::Number),
        Ipld::String(text) => Value::String(text.clone()),
        Ipld::Bytes(bytes) => json!({"/": {"bytes": STANDARD_NO_PAD.encode(bytes)}}),
        Ipld::List(items) => Value::Array(items.iter().map(to_json).collect()),
        Ipld::Map(members) => Value::Object(
            members.iter().map(|(name, member)| (name.clone(), to_json(member))).collect::<Map<_, _>>(),
        ),
        Ipld::Link(link) => json!({"/": link.to_string()}),
    }
}

/// Reads plain JSON or DAG-JSON.
pub fn from_json(value: &Value) -> Result<Ipld, Refusal> {
    let refused = || Refusal::Malformed("the JSON is DAG-JSON");
    Ok(match value {
        Value::Null => Ipld::Null,
        Value::Bool(value) => Ipld::Bool(*value),
        Value::Number(number) => match (number.as_i128(), number.as_f64()) {
            (Some(integer), _) => Ipld::Integer(integer),
            (None, Some(float)) => Ipld::Float(float),
            (None, None) => return Err(refused()),
        },
        Value::String(text) => Ipld::String(text.clone()),
        Value::Array(items) => Ipld::List(items.iter().map(from_json).collect::<Result<_, _>>()?),
        Value::Object(members) => match (members.len(), members.get("/")) {
            (1, Some(Value::String(link))) => Ipld::Link(link.parse().map_err(|_| refused())?),
            (1, Some(Value::Object(marked))) => match marked.get("bytes") {
                Some(Value::String(text)) => {
                    Ipld::Bytes(STANDARD_NO_PAD.decode(text.trim_end_matches('=')).map_err(|_| refused())?)
                }
                _ => return Err(refused()),
            },
            _ => Ipld::Map(
                members
                    .iter()
                    .map(|(name, member)| Ok((name.clone(), from_json(member)?)))
                    .collect::<Result<_, Refusal>>()?,
            ),
        },
    })
}

/// A delegation in words: what it says, never whether it holds.
pub fn describe_delegation(delegation: &Delegation) -> Value {
    json!({
        "kind": "delegation",
        "cid": delegation.cid().to_string(),
        "version": delegation.version().as_str(),
        "algorithm": delegation.algorithm().name(),
        "iss": delegation.issuer().to_string(),
        "aud": delegation.audience().to_string(),
        "sub": delegation.subject().map(ToString::to_string),
        "cmd": delegation.command().as_str(),
        "pol": to_json(&delegation.policy().to_ipld()),
        "nbf": delegation.not_before(),
        "exp": delegation.expires_at(),
        "meta": to_json(&Ipld::Map(delegation.meta().clone())),
        "bytes": delegation.bytes().len(),
    })
}

/// An invocation in words.
pub fn describe_invocation(invocation: &Invocation) -> Value {
    json!({
        "kind": "invocation",
        "cid": invocation.cid().to_string(),
        "version": invocation.version().as_str(),
        "algorithm": invocation.algorithm().name(),
        "iss": invocation.issuer().to_string(),
        "aud": invocation.executor().to_string(),
        "sub": invocation.subject().to_string(),
        "cmd": invocation.command().as_str(),
        "args": to_json(invocation.args()),
        "prf": invocation.proofs().iter().map(ToString::to_string).collect::<Vec<_>>(),
        "exp": invocation.expires_at(),
        "bytes": invocation.bytes().len(),
    })
}

/// Describes whatever the text or bytes hold: a container, a token in base64, or a bare token.
pub fn inspect(input: &[u8]) -> Result<Vec<Value>, Refusal> {
    let trimmed = input.trim_ascii();
    let tokens = match container::decode(trimmed) {
        Ok(tokens) => tokens,
        Err(not_a_container) => match STANDARD_NO_PAD.decode(trimmed.strip_suffix(b"=").unwrap_or(trimmed)) {
            Ok(token) => vec![token],
            Err(_) if input.first() == Some(&0x82) => vec![input.to_vec()],
            Err(_) => return Err(not_a_container),
        },
    };
    tokens
        .iter()
        .map(|token| match Delegation::decode(token) {
            Ok(delegation) => Ok(describe_delegation(&delegation)),
            Err(refusal) => Invocation::decode(token).map(|it| describe_invocation(&it)).map_err(|_| refusal),
        })
        .collect()
}
