//! Containers: several tokens in one text or one body (`ucan-wg/container` 0.1, `ctn-v1`).

use std::collections::{BTreeMap, BTreeSet};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use ipld_core::ipld::Ipld;

use crate::{Refusal, envelope::encode as to_dag_cbor};

/// The largest container, in bytes, before and after decoding.
pub const CONTAINER_BYTES_MAX: usize = 256 * 1024;
/// The most tokens in one container.
pub const CONTAINER_TOKENS_MAX: usize = 64;
/// The only key of the map.
const KEY: &str = "ctn-v1";

/// How the bytes are written after the one header byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `@`: as they are.
    Bytes,
    /// `B`: base64 with padding.
    Base64,
    /// `C`: base64url without padding; fits in a header and in a URL.
    Base64Url,
}

/// Packs tokens, sorted and each once, as the specification asks.
pub fn encode<'a>(tokens: impl IntoIterator<Item = &'a [u8]>, form: Form) -> Vec<u8> {
    let sorted: BTreeSet<&[u8]> = tokens.into_iter().collect();
    let list = sorted.into_iter().map(|token| Ipld::Bytes(token.to_vec())).collect();
    let body = to_dag_cbor(&Ipld::Map(BTreeMap::from([(KEY.to_owned(), Ipld::List(list))])));
    let (header, body) = match form {
        Form::Bytes => (b'@', body),
        Form::Base64 => (b'B', STANDARD.encode(body).into_bytes()),
        Form::Base64Url => (b'C', URL_SAFE_NO_PAD.encode(body).into_bytes()),
    };
    let mut packed = vec![header];
    packed.extend(body);
    packed
}

/// Packs tokens as text.
pub fn encode_text<'a>(tokens: impl IntoIterator<Item = &'a [u8]>) -> String {
    String::from_utf8(encode(tokens, Form::Base64Url)).expect("base64url is ASCII")
}

/// Unpacks the tokens, in the order of the container. They are bytes still: decoding and judging comes next.
///
/// Compressed containers are refused by name: a few bytes of them can stand for megabytes.
pub fn decode(packed: &[u8]) -> Result<Vec<Vec<u8>>, Refusal> {
    if packed.len() > CONTAINER_BYTES_MAX {
        return Err(Refusal::TooLarge("a container has at most 256 KiB"));
    }
    let not_base64 = |_| Refusal::Malformed("the container is base64 of the kind its header names");
    let body = match packed.split_first() {
        Some((b'@', body)) => body.to_vec(),
        Some((b'B', body)) => STANDARD.decode(body).map_err(not_base64)?,
        Some((b'C', body)) => URL_SAFE_NO_PAD.decode(body).map_err(not_base64)?,
        Some((b'M' | b'O' | b'P', _)) => {
            return Err(Refusal::Malformed("compressed containers are not accepted here"));
        }
        _ => return Err(Refusal::Malformed("the container begins with a header byte of ctn-v1")),
    };
    let refused = Refusal::Malformed("a container is a map with a list of tokens under `ctn-v1`");
    let Ok(Ipld::Map(mut map)) = serde_ipld_dagcbor::from_slice::<Ipld>(&body) else { return Err(refused) };
    let Some(Ipld::List(items)) = map.remove(KEY) else { return Err(refused) };
    if !map.is_empty() {
        return Err(refused);
    }
    if items.len() > CONTAINER_TOKENS_MAX {
        return Err(Refusal::TooLarge("a container has at most 64 tokens"));
    }
    items
        .into_iter()
        .map(|item| match item {
            Ipld::Bytes(token) => Ok(token),
            _ => Err(refused),
        })
        .collect()
}
