//! Signatures: make and check.

use q_core::Did;
use q_jose::{Jwk, PublicKey, jws};
use qlock_api::{
    KeyId, KeyState, KeyType, PLAINTEXT_BYTES_MAX, SignRequest, SignatureFormat, Signed, Verification,
    VerificationChecks, VerifyRequest,
};

use super::{Service, access::Action, check_identity, decode, uses::Operation};
use crate::{
    Error,
    domain::material::{self, parse_version_name, version_name},
    store::keys,
};

const ALGORITHM: &str = "Ed25519";
/// The longest JWS read, in bytes: 1 MiB of payload with its header and signature.
const JWS_BYTES_MAX: usize = PLAINTEXT_BYTES_MAX.div_ceil(3) * 4 + 4096;

impl Service {
    /// Signs data with a key of `caller`.
    pub async fn sign(&self, caller: &Did, request: SignRequest) -> Result<Signed, Error> {
        check_identity(caller, request.identity_id.as_ref())?;
        let data = decode::bytes("data", &request.data)?;
        if let Some(other) = request.algorithm.filter(|named| named != ALGORITHM) {
            return Err(Error::unsupported(&other));
        }
        let usable = self.usable(caller, request.key_id, KeyType::Ed25519, Action::Sign).await?;
        let key = usable.material.signing_key().expect("the type was checked");
        let signature = match request.format.unwrap_or_default() {
            SignatureFormat::Raw => decode::text(&key.sign(&data)),
            SignatureFormat::Jws => {
                let header = jws::Header::default().kid(version_name(usable.key_id, usable.version));
                jws::sign(&header, &data, key)
            }
        };
        self.note(caller, usable.key_id, Operation::Sign).await?;
        let public = usable.public.as_deref().unwrap_or_default();
        Ok(Signed {
            signature,
            algorithm: ALGORITHM.into(),
            key_id: usable.key_id,
            key_version: usable.version,
            public_key: material::jwk(public, usable.key_id, usable.version).unwrap_or_default(),
        })
    }

    /// Tells whether a signature holds.
    pub async fn verify_signature(&self, request: VerifyRequest) -> Result<Verification, Error> {
        let claim = Claim::read(&request)?;
        let candidates = match (request.key_id, &request.public_key) {
            (Some(key_id), None) => self.candidates(key_id).await?,
            (None, Some(jwk)) => {
                let jwk: Jwk =
                    serde_json::from_value(jwk.clone()).map_err(|_| Error::BadEncoding("publicKey"))?;
                vec![Candidate { public: *jwk.public_key(), of: None }]
            }
            _ => return Err(Error::ValidationFailed("give either keyId or publicKey")),
        };
        if candidates.is_empty() {
            return Ok(invalid(false, "the key is not known"));
        }
        if !claim.is_for_the_data {
            return Ok(invalid(true, "the signed payload is not the data"));
        }
        let holds = |candidate: &&Candidate| {
            claim.version.is_none_or(|version| candidate.of.is_none_or(|(own, _)| own == version))
                && candidate.public.verify(&claim.message, &claim.signature).is_ok()
        };
        Ok(match candidates.iter().find(holds) {
            None => invalid(true, "the signature does not hold"),
            Some(candidate) => Verification {
                valid: true,
                checks: VerificationChecks { signature: true, key: true },
                key_state: candidate.of.map(|(_, state)| state),
                key_version: candidate.of.map(|(version, _)| version),
                reason: None,
            },
        })
    }

    /// The public halves of every version of a signing key, newest first. Public keys are public: anybody
    /// may ask for a check by anybody's key.
    async fn candidates(&self, key_id: KeyId) -> Result<Vec<Candidate>, Error> {
        let versions = self
            .db
            .read(move |reader| match keys::find(reader, key_id)? {
                Some(key) if key.key_type == KeyType::Ed25519 => keys::list_versions(reader, key_id),
                _ => Ok(Vec::new()),
            })
            .await?;
        let candidate = |version: &keys::StoredVersion| {
            let public = PublicKey::from_bytes(version.public.as_deref()?).ok()?;
            Some(Candidate { public, of: Some((version.version, version.state)) })
        };
        Ok(versions.iter().rev().filter_map(candidate).collect())
    }
}

/// A key that may have signed.
struct Candidate {
    public: PublicKey,
    /// Version and state, for a key of this instance.
    of: Option<(u32, KeyState)>,
}

/// What is claimed to be signed.
struct Claim {
    message: Vec<u8>,
    signature: Vec<u8>,
    /// The version the JWS names, if it is one of ours.
    version: Option<u32>,
    is_for_the_data: bool,
}

impl Claim {
    fn read(request: &VerifyRequest) -> Result<Self, Error> {
        let data = request.data.as_deref().map(|text| decode::bytes("data", text)).transpose()?;
        match request.format.unwrap_or_default() {
            SignatureFormat::Raw => {
                let message = data.ok_or(Error::ValidationFailed("a raw signature needs its data"))?;
                let signature = decode::bytes("signature", &request.signature)?;
                if signature.len() != 64 {
                    return Err(Error::BadEncoding("signature"));
                }
                let (message, signature) = (message.to_vec(), signature.to_vec());
                Ok(Self { message, signature, version: None, is_for_the_data: true })
            }
            SignatureFormat::Jws => {
                let parsed = jws::Parsed::parse(&request.signature, JWS_BYTES_MAX)
                    .map_err(|_| Error::BadEncoding("signature"))?;
                let named = parsed.header.kid.as_deref().and_then(parse_version_name);
                let named = named.filter(|(key_id, _)| request.key_id == Some(*key_id));
                Ok(Self {
                    is_for_the_data: data.is_none_or(|data| data.as_slice() == parsed.unverified_payload()),
                    message: parsed.signing_input().as_bytes().to_vec(),
                    signature: parsed.signature().to_vec(),
                    version: named.map(|(_, version)| version),
                })
            }
        }
    }
}

fn invalid(key: bool, reason: &str) -> Verification {
    Verification {
        valid: false,
        checks: VerificationChecks { signature: false, key },
        key_state: None,
        key_version: None,
        reason: Some(reason.into()),
    }
}
