//! Data keys: make them, and open wrapped ones.

use q_core::{Did, hash::hex};
use qlock_api::{CreateDataKeysRequest, DataKey, DataKeys, KeyType, UnwrapDataKeyRequest};

use super::{Service, access::Action, decode, uses::Operation};
use crate::{
    Error,
    domain::envelope::{self, OpenDataKey, Sealed},
};

/// The most data keys of one request.
const DATA_KEYS_MAX: u32 = 100;
/// The longest purpose, in bytes.
const PURPOSE_BYTES_MAX: usize = 64;

impl Service {
    /// Makes data keys under a key of `caller`.
    pub async fn create_data_keys(
        &self,
        caller: &Did,
        request: CreateDataKeysRequest,
    ) -> Result<DataKeys, Error> {
        let count = request.count.unwrap_or(1);
        if !(1..=DATA_KEYS_MAX).contains(&count) {
            return Err(Error::ValidationFailed("between 1 and 100 data keys"));
        }
        if request.purpose.is_empty() || request.purpose.len() > PURPOSE_BYTES_MAX {
            return Err(Error::ValidationFailed("a purpose has 1 to 64 characters"));
        }
        decode::check_context(&request.context)?;
        let usable = self.usable(caller, request.key_id, KeyType::Aes256, Action::Encrypt).await?;
        let key = usable.material.wrapping_key().expect("the type was checked");
        let with_plaintext = request.with_plaintext.unwrap_or(true);
        let data_keys = (0..count)
            .map(|_| {
                let (open, wrapped) = envelope::seal_data_key(
                    &request.purpose,
                    &request.context,
                    usable.name(),
                    &key,
                    &self.env,
                );
                wire(&open, with_plaintext, wrapped)
            })
            .collect();
        self.note(caller, usable.key_id, Operation::DataKey).await?;
        Ok(DataKeys { data_keys })
    }

    /// Opens a wrapped data key of `caller`. One refusal for every cause.
    pub async fn unwrap_data_key(
        &self,
        caller: &Did,
        request: UnwrapDataKeyRequest,
    ) -> Result<DataKey, Error> {
        let mut tried = None;
        if let Ok(sealed) = Sealed::parse(&request.wrapped) {
            let (key_id, version) = (sealed.key_id, sealed.version);
            if let Some(usable) = self.usable_version(caller, key_id, version, KeyType::Aes256).await? {
                let key = usable.material.wrapping_key().expect("the type was checked");
                if let Ok(open) = sealed.open_data_key(&request.purpose, &request.context, &key) {
                    self.note(caller, key_id, Operation::Unwrap).await?;
                    return Ok(wire(&open, true, request.wrapped));
                }
                tried = Some(key_id);
            }
        }
        self.note_refusal(caller, tried, Operation::Unwrap).await?;
        Err(Error::DecryptFailed)
    }
}

fn wire(open: &OpenDataKey, with_plaintext: bool, wrapped: String) -> DataKey {
    DataKey {
        data_key_id: hex(&open.id),
        plaintext: with_plaintext.then(|| decode::text(&open.key)),
        wrapped,
    }
}
