//! A signature as a permission: which bytes, of which type, by whom.

use q_core::Did;
use q_jose::{PublicKey, jws};

/// The longest compact JWS accepted with an order, in bytes.
pub const SIGNATURE_BYTES_MAX: usize = 8 * 1024;

/// Why a signature does not authorise an order. None of these tells a forger more than the text shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureFault {
    /// Not a compact JWS with EdDSA, or one that demands an extension.
    #[error("the signature is not a compact EdDSA JWS")]
    Malformed,
    /// Signed as something else.
    #[error("the signature is of another type than this order's")]
    OtherType,
    /// `kid` is not a DID URL with a fragment.
    #[error("the signature's kid is not a DID URL naming a key")]
    KeyNotNamed,
    /// The payload is not exactly the signing input of the request.
    #[error("the signature is for other content than the request's signing input")]
    OtherContent,
    /// Signed by somebody else than the payer.
    #[error("the signer is not the payer")]
    OtherSigner,
    /// The signer's keys do not include it, or the signer is suspended or unknown.
    #[error("the key is not a current key of the signer")]
    KeyUnknown,
    /// The mathematics say no.
    #[error("the signature does not hold")]
    DoesNotHold,
    /// The order was executed before.
    #[error("the nonce was used before")]
    NonceSpent,
    /// The invocation that stands in for a signature does not hold, or its delegations do not.
    #[error("{0}")]
    Ucan(#[from] q_ucan::Refusal),
    /// The delegations do not count now.
    #[error("{}", why(*.0))]
    Delegation(q_pdp::Reason),
}

fn why(reason: q_pdp::Reason) -> &'static str {
    use q_pdp::Reason;
    match reason {
        Reason::IdentityInactive => "whoever invokes, or somebody who delegated, may not act",
        Reason::OutsideTimeWindow => "a delegation counts at other times",
        Reason::Stale => "what is known of revocations is too old to pay on somebody else's behalf",
        _ => "a delegation is not by the owner or their delegates, or asks for what cannot be kept here",
    }
}

/// A signature whose form and content fit, by a key that has yet to be looked up.
#[derive(Debug, Clone)]
pub struct Unverified {
    /// Who is said to have signed.
    pub signer: Did,
    /// The whole DID URL of the key.
    pub kid: String,
    /// The bytes that were signed: header and payload of the JWS.
    pub message: Vec<u8>,
    /// The signature.
    pub signature: Vec<u8>,
}

/// The name under which the books keep an identity: that of this house, whatever host a did:webvh name gives it.
pub fn canonical(did: &Did) -> Did {
    let own = q_did::scid_of(did).ok().and_then(|scid| Did::squid(&scid).ok());
    own.unwrap_or_else(|| did.clone())
}

impl Unverified {
    /// Reads `signature`, which must be of type `typ` and over exactly `input`; its payload may be left out.
    pub fn read(signature: &str, typ: &str, input: &[u8]) -> Result<Self, SignatureFault> {
        if signature.len() > SIGNATURE_BYTES_MAX {
            return Err(SignatureFault::Malformed);
        }
        let malformed = |_| SignatureFault::Malformed;
        let (header, message, bytes) = if let Some((header, rest)) = signature.split_once("..") {
            // RFC 7515 appendix F: the payload is left out and put back by whoever knows it.
            let whole = jws::Attached::read(header, rest, input, jws::JWS_BYTES_MAX).map_err(malformed)?;
            (whole.header, Some(whole.signing_input), whole.signature)
        } else {
            let parsed = jws::Parsed::parse(signature, jws::JWS_BYTES_MAX).map_err(malformed)?;
            let is_this = parsed.unverified_payload() == input;
            let signed = is_this.then(|| parsed.signing_input().as_bytes().to_vec());
            let bytes = parsed.signature().to_vec();
            (parsed.header, signed, bytes)
        };
        if header.typ.as_deref() != Some(typ) {
            return Err(SignatureFault::OtherType);
        }
        let kid = header.kid.ok_or(SignatureFault::KeyNotNamed)?;
        let (did, fragment) = kid.split_once('#').ok_or(SignatureFault::KeyNotNamed)?;
        if fragment.is_empty() {
            return Err(SignatureFault::KeyNotNamed);
        }
        let signer = did.parse().map_err(|_| SignatureFault::KeyNotNamed)?;
        let message = message.ok_or(SignatureFault::OtherContent)?;
        Ok(Self { signer, message, signature: bytes, kid })
    }

    /// Checks the signature with a current key of the signer (strict: RFC 8032 with canonical encodings).
    pub fn verify(&self, key: &PublicKey) -> Result<(), SignatureFault> {
        key.verify(&self.message, &self.signature).map_err(|_| SignatureFault::DoesNotHold)
    }
}

#[cfg(test)]
mod tests {
    use q_jose::SecretKey;

    use super::*;

    const TYP: &str = "q-payment+jws";

    fn key() -> SecretKey {
        SecretKey::from_seed(&[1; 32])
    }

    fn sign(header: &jws::Header, input: &[u8]) -> String {
        jws::sign(header, input, &key())
    }

    #[test]
    fn holds_with_and_without_its_payload() {
        let header = || jws::Header::typ(TYP).kid("did:squid:Qm#k");
        let whole = sign(&header(), b"{}");
        let detached = whole.replace(&format!(".{}.", q_jose::base64url::encode("{}")), "..");
        assert_ne!(whole, detached);
        for text in [whole, detached] {
            let unverified = Unverified::read(&text, TYP, b"{}").unwrap();
            assert_eq!(unverified.signer.as_str(), "did:squid:Qm");
            assert_eq!(unverified.verify(&key().public()), Ok(()));
            let other = SecretKey::from_seed(&[2; 32]).public();
            assert_eq!(unverified.verify(&other), Err(SignatureFault::DoesNotHold));
        }
    }

    #[test]
    fn each_deviation_is_refused() {
        let good = || jws::Header::typ(TYP).kid("did:squid:Qm#k");
        let detached_other = sign(&good(), b"{\"a\":1}").replace(".eyJhIjoxfQ.", "..");
        let table = [
            (String::new(), SignatureFault::Malformed),
            ("longer than ten characters".into(), SignatureFault::Malformed),
            ("..".into(), SignatureFault::Malformed),
            ("x".repeat(9_000), SignatureFault::Malformed),
            (sign(&jws::Header::typ("JWT").kid("did:squid:Qm#k"), b"{}"), SignatureFault::OtherType),
            (sign(&jws::Header::default().kid("did:squid:Qm#k"), b"{}"), SignatureFault::OtherType),
            (sign(&jws::Header::typ(TYP), b"{}"), SignatureFault::KeyNotNamed),
            (sign(&jws::Header::typ(TYP).kid("did:squid:Qm"), b"{}"), SignatureFault::KeyNotNamed),
            (sign(&jws::Header::typ(TYP).kid("did:squid:Qm#"), b"{}"), SignatureFault::KeyNotNamed),
            (sign(&jws::Header::typ(TYP).kid("key#1"), b"{}"), SignatureFault::KeyNotNamed),
            (sign(&good(), b"{ }"), SignatureFault::OtherContent),
        ];
        for (text, fault) in table {
            assert_eq!(Unverified::read(&text, TYP, b"{}").map(|_| ()), Err(fault), "{text}");
        }
        let unverified = Unverified::read(&detached_other, TYP, b"{}").unwrap();
        assert_eq!(unverified.verify(&key().public()), Err(SignatureFault::DoesNotHold));
    }
}
