//! Values: seal and open.

use q_core::{Did, Env};
use q_db::Reader;
use qlock_api::{
    Algorithm, Algorithms, DecryptRequest, Decrypted, EncryptRequest, Encrypted, KeyId, KeyType, RandomBytes,
    RandomRequest, SealContext, SealFormat,
};
use zeroize::Zeroizing;

use super::{Service, access::Action, check_identity, decode, keys::Usable, uses::Operation};
use crate::{
    Error,
    domain::{
        age_file::{self, RECIPIENTS_MAX},
        envelope::{self, Sealed},
        material::Material,
    },
    store,
};

/// The most versions of age keys tried for one file, because an age file does not say whose it is.
const AGE_VERSIONS_TRIED_MAX: usize = 64;
/// The most random bytes of one request.
const RANDOM_BYTES_MAX: u32 = 1_024;

const VALUE_ALGORITHM: &str = "AES-256-GCM";
const AGE_ALGORITHM: &str = "X25519";

impl Service {
    /// Seals a value.
    pub async fn encrypt(&self, caller: &Did, request: EncryptRequest) -> Result<Encrypted, Error> {
        check_identity(caller, request.identity_id.as_ref())?;
        let plaintext = decode::bytes("data", &request.data)?;
        decode::check_context(&request.context)?;
        let implied = if request.recipients.is_empty() { SealFormat::Jwe } else { SealFormat::Age };
        let format = request.format.unwrap_or(implied);
        check_algorithm(format, request.algorithm.as_deref())?;
        match format {
            SealFormat::Jwe if !request.recipients.is_empty() => {
                Err(Error::ValidationFailed("recipients are for the format age"))
            }
            SealFormat::Age if !request.context.is_empty() => {
                Err(Error::ValidationFailed("a context is for the format jwe"))
            }
            SealFormat::Age if request.recipients.len() > RECIPIENTS_MAX => {
                Err(Error::ValidationFailed("at most 32 recipients"))
            }
            SealFormat::Jwe => self.seal_jwe(caller, &plaintext, &request.context, request.key_id).await,
            SealFormat::Age => self.seal_age(caller, plaintext, request).await,
        }
    }

    async fn seal_jwe(
        &self,
        caller: &Did,
        plaintext: &[u8],
        context: &SealContext,
        named: Option<KeyId>,
    ) -> Result<Encrypted, Error> {
        let usable = self.usable(caller, named, KeyType::Aes256, Action::Encrypt).await?;
        let key = usable.material.wrapping_key().expect("the type was checked");
        let encrypted_data = envelope::seal_value(plaintext, context, usable.name(), &key, &self.env);
        self.note(caller, usable.key_id, Operation::Encrypt).await?;
        Ok(Encrypted {
            encrypted_data,
            key_id: Some(usable.key_id),
            key_version: Some(usable.version),
            algorithm: VALUE_ALGORITHM.into(),
            format: SealFormat::Jwe,
            quantum_resistant: true,
        })
    }

    async fn seal_age(
        &self,
        caller: &Did,
        plaintext: Zeroizing<Vec<u8>>,
        request: EncryptRequest,
    ) -> Result<Encrypted, Error> {
        let mut recipients = self.recipients(request.recipients).await?;
        let own = if recipients.is_empty() || request.key_id.is_some() {
            Some(self.usable(caller, request.key_id, KeyType::X25519, Action::Encrypt).await?)
        } else {
            None
        };
        let identity = own.as_ref().and_then(|usable| usable.material.age_identity());
        recipients.extend(identity.map(age::x25519::Identity::to_public));
        // An age file of 1 MiB costs milliseconds, which the other requests of this thread should not wait.
        let sealing = tokio::task::spawn_blocking(move || age_file::seal(&plaintext, &recipients));
        let encrypted_data =
            sealing.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
        let target = own.as_ref().map_or_else(|| "recipients".to_owned(), |usable| usable.key_id.to_string());
        self.note(caller, target, Operation::Encrypt).await?;
        Ok(Encrypted {
            encrypted_data,
            key_id: own.as_ref().map(|usable| usable.key_id),
            key_version: own.as_ref().map(|usable| usable.version),
            algorithm: AGE_ALGORITHM.into(),
            format: SealFormat::Age,
            quantum_resistant: false,
        })
    }

    /// Texts as recipients: `age1…`, or an identity that holds an age key here.
    async fn recipients(&self, texts: Vec<String>) -> Result<Vec<age::x25519::Recipient>, Error> {
        self.db
            .read(move |reader| {
                texts
                    .into_iter()
                    .map(|text| match text.parse::<Did>() {
                        Ok(did) => recipient_of(reader, &did),
                        Err(_) => age_file::recipient(&text).ok_or_else(|| Error::unsupported(&text)),
                    })
                    .collect()
            })
            .await
    }

    /// Opens a value. One refusal for every cause.
    pub async fn decrypt(&self, caller: &Did, request: DecryptRequest) -> Result<Decrypted, Error> {
        check_identity(caller, request.identity_id.as_ref())?;
        let opened = if age_file::is_age(&request.encrypted_data) {
            self.open_age(caller, request.encrypted_data, request.key_id).await?
        } else {
            self.open_jwe(caller, &request.encrypted_data, &request.context).await?
        };
        match opened {
            Opened::Plaintext(usable, plaintext) => {
                self.note(caller, usable.key_id, Operation::Decrypt).await?;
                Ok(Decrypted {
                    decrypted_data: decode::text(&plaintext),
                    key_id: usable.key_id,
                    key_version: usable.version,
                    verified: true,
                })
            }
            Opened::Nothing(tried) => {
                self.note_refusal(caller, tried, Operation::Decrypt).await?;
                Err(Error::DecryptFailed)
            }
        }
    }

    async fn open_jwe(&self, caller: &Did, text: &str, context: &SealContext) -> Result<Opened, Error> {
        let Ok(sealed) = Sealed::parse(text) else { return Ok(Opened::Nothing(None)) };
        let found = self.usable_version(caller, sealed.key_id, sealed.version, KeyType::Aes256).await?;
        let Some(usable) = found else { return Ok(Opened::Nothing(None)) };
        let key = usable.material.wrapping_key().expect("the type was checked");
        Ok(match sealed.open_value(context, &key) {
            Ok(plaintext) => Opened::Plaintext(usable, plaintext),
            Err(_) => Opened::Nothing(Some(usable.key_id)),
        })
    }

    async fn open_age(&self, caller: &Did, text: String, hint: Option<KeyId>) -> Result<Opened, Error> {
        let candidates = self.age_versions(caller, hint, AGE_VERSIONS_TRIED_MAX).await?;
        let opening = tokio::task::spawn_blocking(move || {
            for usable in candidates {
                let Material::X25519(identity) = usable.material.as_ref() else { continue };
                if let Ok(plaintext) = age_file::open(&text, identity) {
                    return Opened::Plaintext(usable, plaintext);
                }
            }
            Opened::Nothing(hint)
        });
        Ok(opening.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic())))
    }

    /// Random bytes.
    pub fn random(&self, request: &RandomRequest) -> Result<RandomBytes, Error> {
        if !(1..=RANDOM_BYTES_MAX).contains(&request.bytes) {
            return Err(Error::ValidationFailed("between 1 and 1024 bytes"));
        }
        Ok(RandomBytes { random: decode::text(&random(&self.env, request.bytes as usize)) })
    }
}

/// What an attempt to open came to.
enum Opened {
    Plaintext(Usable, Zeroizing<Vec<u8>>),
    /// It did not open with this key of the caller, or no key of the caller was named.
    Nothing(Option<KeyId>),
}

fn random(env: &Env, length: usize) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(vec![0; length]);
    env.entropy.fill(&mut bytes);
    bytes
}

fn recipient_of(reader: &mut Reader<'_>, did: &Did) -> Result<age::x25519::Recipient, Error> {
    let key = store::keys::find_default(reader, did, KeyType::X25519)?.ok_or(Error::KeyNotFound)?;
    let version = store::keys::find_version(reader, key.key_id, key.version)?.ok_or(Error::KeyNotFound)?;
    let text = version.public.and_then(|public| String::from_utf8(public).ok()).unwrap_or_default();
    age_file::recipient(&text).ok_or(Error::KeyNotFound)
}

fn check_algorithm(format: SealFormat, named: Option<&str>) -> Result<(), Error> {
    let offered = match format {
        SealFormat::Jwe => VALUE_ALGORITHM,
        SealFormat::Age => AGE_ALGORITHM,
    };
    match named {
        Some(other) if other != offered => Err(Error::unsupported(other)),
        _ => Ok(()),
    }
}

/// What is truly in use.
pub fn algorithms() -> Algorithms {
    let entry = |name: &str, purpose: &str, status: &str, standard: &str, quantum_resistant| Algorithm {
        name: name.into(),
        purpose: purpose.into(),
        status: status.into(),
        standard: standard.into(),
        key_bits: 256,
        quantum_resistant,
    };
    Algorithms {
        algorithms: vec![
            entry(VALUE_ALGORITHM, "encrypt", "default", "RFC 7516 with RFC 7518 A256KW and A256GCM", true),
            entry(AGE_ALGORITHM, "encrypt", "supported", "age v1 (c2sp.org/age)", false),
            entry("XAES-256-GCM", "field", "default", "c2sp.org/XAES-256-GCM", true),
            entry("Ed25519", "sign", "default", "RFC 8032; JWS by RFC 8037", false),
        ],
    }
}
