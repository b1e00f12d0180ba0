//! Values and data keys as JWE texts under a key version.
//!
//! The protected header is the associated data: it names the algorithm and, in `kid`, the wrapping key and
//! its version. `typ` keeps the two kinds apart, so that a wrapped data key cannot be opened as a value.

use q_core::{
    Env,
    hash::{canonical_json, sha256},
};
use q_jose::{
    base64url,
    jwe::{self, JweError, WrappingKey},
};
use qlock_api::{KeyId, SealContext};
use serde::Serialize;
use serde_json::Value;
use zeroize::Zeroizing;

use super::material::{parse_version_name, version_name};

/// The longest sealed text read, in bytes: 1 MiB of plaintext with its header.
pub const SEALED_BYTES_MAX: usize = (2 << 20) - 1024;
/// The length of a data key, in bytes.
pub const DATA_KEY_BYTES: usize = 32;

const DATA_KEY_TYP: &str = "data-key+jwe";
const CONTEXT_MEMBER: &str = "ctx";
const DATA_KEY_ID_MEMBER: &str = "dkid";

/// The sealed text does not open; nobody is told why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the sealed text does not open")]
pub struct DoesNotOpen;

impl From<JweError> for DoesNotOpen {
    fn from(_: JweError) -> Self {
        Self
    }
}

/// A sealed text whose header was read and nothing more.
pub struct Sealed<'a> {
    /// The key that wraps.
    pub key_id: KeyId,
    /// Its version.
    pub version: u32,
    parsed: jwe::Parsed<'a>,
}

/// A data key in the open, with its name.
pub struct OpenDataKey {
    /// 16 bytes that name it.
    pub id: [u8; 16],
    /// The key.
    pub key: Zeroizing<Vec<u8>>,
}

/// Seals a value.
pub fn seal_value(
    plaintext: &[u8],
    context: &SealContext,
    name: (KeyId, u32),
    key: &WrappingKey,
    env: &Env,
) -> String {
    let mut header = header(None, name);
    if !context.is_empty() {
        header.extra.insert(CONTEXT_MEMBER.into(), digest(context).into());
    }
    jwe::encrypt(&header, plaintext, key, env)
}

/// Makes a data key and seals it for `purpose` and `context`.
pub fn seal_data_key(
    purpose: &str,
    context: &SealContext,
    name: (KeyId, u32),
    key: &WrappingKey,
    env: &Env,
) -> (OpenDataKey, String) {
    let id = env.random::<16>();
    let data_key = Zeroizing::new(env.random::<DATA_KEY_BYTES>().to_vec());
    let mut header = header(Some(DATA_KEY_TYP), name);
    header.extra.insert(CONTEXT_MEMBER.into(), digest(&DataKeyContext { purpose, context }).into());
    header.extra.insert(DATA_KEY_ID_MEMBER.into(), q_core::hash::hex(&id).into());
    let wrapped = jwe::encrypt(&header, &data_key, key, env);
    (OpenDataKey { id, key: data_key }, wrapped)
}

impl<'a> Sealed<'a> {
    /// Reads the header of `text`.
    pub fn parse(text: &'a str) -> Result<Self, DoesNotOpen> {
        let parsed = jwe::Parsed::parse(text, SEALED_BYTES_MAX)?;
        let (key_id, version) =
            parsed.header.kid.as_deref().and_then(parse_version_name).ok_or(DoesNotOpen)?;
        Ok(Self { key_id, version, parsed })
    }

    /// Opens a value.
    pub fn open_value(
        self,
        context: &SealContext,
        key: &WrappingKey,
    ) -> Result<Zeroizing<Vec<u8>>, DoesNotOpen> {
        let expected = (!context.is_empty()).then(|| digest(context));
        let is_ours = self.parsed.header.typ.is_none() && self.member(CONTEXT_MEMBER) == expected.as_deref();
        // The text is opened before the answer depends on the context, so that both failures cost the same.
        let plaintext = self.parsed.decrypt(key)?;
        if is_ours { Ok(plaintext) } else { Err(DoesNotOpen) }
    }

    /// Opens a data key.
    pub fn open_data_key(
        self,
        purpose: &str,
        context: &SealContext,
        key: &WrappingKey,
    ) -> Result<OpenDataKey, DoesNotOpen> {
        let expected = digest(&DataKeyContext { purpose, context });
        let is_ours = self.parsed.header.typ.as_deref() == Some(DATA_KEY_TYP)
            && self.member(CONTEXT_MEMBER) == Some(&expected);
        let id = self.member(DATA_KEY_ID_MEMBER).and_then(sixteen_bytes);
        let data_key = self.parsed.decrypt(key)?;
        match id {
            Some(id) if is_ours && data_key.len() == DATA_KEY_BYTES => Ok(OpenDataKey { id, key: data_key }),
            _ => Err(DoesNotOpen),
        }
    }

    fn member(&self, name: &str) -> Option<&str> {
        self.parsed.header.extra.get(name).and_then(Value::as_str)
    }
}

#[derive(Serialize)]
struct DataKeyContext<'a> {
    purpose: &'a str,
    context: &'a SealContext,
}

fn header(typ: Option<&str>, (key_id, version): (KeyId, u32)) -> jwe::Header {
    jwe::Header {
        typ: typ.map(str::to_owned),
        kid: Some(version_name(key_id, version)),
        ..jwe::Header::default()
    }
}

/// The digest of a context: authenticated and comparable, and nothing to read for who finds the text.
fn digest(context: &impl Serialize) -> String {
    base64url::encode(sha256(&canonical_json(context).expect("a context maps texts to texts")))
}

fn sixteen_bytes(hex: &str) -> Option<[u8; 16]> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut bytes = [0; 16];
    if hex.len() != 32 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(value: &str) -> SealContext {
        [("order".to_owned(), value.to_owned())].into()
    }

    fn setting() -> (Env, KeyId, WrappingKey) {
        let env = Env::system();
        let key_id = KeyId::new(&env);
        (env, key_id, WrappingKey::new(&[3; 32]))
    }

    #[test]
    fn a_value_opens_with_its_context_only() {
        let (env, key_id, key) = setting();
        let text = seal_value(b"x", &context("17"), (key_id, 4), &key, &env);
        let open = |context: &SealContext| Sealed::parse(&text).unwrap().open_value(context, &key);
        assert_eq!(open(&context("17")).unwrap().as_slice(), b"x");
        assert_eq!(open(&context("18")), Err(DoesNotOpen));
        assert_eq!(open(&SealContext::new()), Err(DoesNotOpen));
        let sealed = Sealed::parse(&text).unwrap();
        assert_eq!((sealed.key_id, sealed.version), (key_id, 4));
        let bare = seal_value(b"x", &SealContext::new(), (key_id, 4), &key, &env);
        assert_eq!(Sealed::parse(&bare).unwrap().open_value(&context("17"), &key), Err(DoesNotOpen));
    }

    #[test]
    fn a_data_key_is_not_a_value_and_keeps_its_name() {
        let (env, key_id, key) = setting();
        let (made, wrapped) = seal_data_key("fields", &context("1"), (key_id, 1), &key, &env);
        let parse = || Sealed::parse(&wrapped).unwrap();
        let opened = parse().open_data_key("fields", &context("1"), &key).ok().unwrap();
        assert_eq!((opened.id, opened.key), (made.id, made.key));
        assert!(parse().open_data_key("photos", &context("1"), &key).is_err());
        assert!(parse().open_data_key("fields", &context("2"), &key).is_err());
        assert_eq!(parse().open_value(&context("1"), &key), Err(DoesNotOpen));
        let value = seal_value(&[0; 32], &SealContext::new(), (key_id, 1), &key, &env);
        assert!(Sealed::parse(&value).unwrap().open_data_key("fields", &context("1"), &key).is_err());
    }
}
