//! The rules a log can break, by the names the API reports.

use std::fmt;

macro_rules! rules {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// A rule of did:webvh 1.0, or of this house, that an entry breaks.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Rule { $($(#[$doc])* $variant,)* }

        impl Rule {
            /// The stable name, the `rule` member of a refusal.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

rules! {
    /// The line is not I-JSON: duplicate members, numbers beyond 2^53, trailing text.
    Json = "json",
    /// The entry is not an object of exactly the five members with their types.
    EntryShape = "entry-shape",
    /// The entry or the log is longer than this house keeps.
    Size = "size",
    /// The log has no entry.
    EmptyLog = "empty-log",
    /// `versionId` is not `<next number>-<hash>`.
    VersionNumber = "version-number",
    /// The hash in `versionId` is not that of the entry.
    EntryHash = "entry-hash",
    /// `versionTime` is not `YYYY-MM-DDTHH:MM:SSZ`.
    VersionTime = "version-time",
    /// `versionTime` is not later than that of the entry before.
    VersionTimeOrder = "version-time-order",
    /// `versionTime` lies more than 60 s ahead of the verifier's clock.
    VersionTimeFuture = "version-time-future",
    /// A parameter that did:webvh 1.0 does not know.
    UnknownParameter = "unknown-parameter",
    /// A parameter of the wrong type or out of bounds.
    ParameterValue = "parameter-value",
    /// `method` is absent from the first entry or is not `did:webvh:1.0`.
    Method = "method",
    /// `scid` is absent from the first entry or present in a later one.
    ScidPlace = "scid-place",
    /// `scid` is not the hash of the first entry.
    ScidMismatch = "scid-mismatch",
    /// `state.id` is absent or not a did:webvh name.
    StateId = "state-id",
    /// `state.id` carries another SCID than the log.
    StateIdScid = "state-id-scid",
    /// `state.id` is not the name under which the log was asked for or registered.
    StateIdPlace = "state-id-place",
    /// `portable` was turned on after the first entry.
    PortableLate = "portable-late",
    /// The identity moved although `portable` is off.
    NotPortable = "not-portable",
    /// `updateKeys` is absent where it must be given (first entry, or pre-rotation is active).
    UpdateKeysMissing = "update-keys-missing",
    /// An update key is not an Ed25519 Multikey, or is listed twice.
    UpdateKeyMalformed = "update-key-malformed",
    /// An update key was not committed to by the previous `nextKeyHashes`.
    KeyNotCommitted = "key-not-committed",
    /// `nextKeyHashes` is absent while pre-rotation is active.
    NextKeyHashesMissing = "next-key-hashes-missing",
    /// A commitment is not a base58btc sha2-256 multihash, or is listed twice.
    NextKeyHashMalformed = "next-key-hash-malformed",
    /// There is no proof, or more than four.
    ProofCount = "proof-count",
    /// A proof is not a DataIntegrityProof for `assertionMethod`.
    ProofShape = "proof-shape",
    /// The cryptosuite is not eddsa-jcs-2022.
    ProofCryptosuite = "proof-cryptosuite",
    /// `verificationMethod` is not `did:key:K#K` with both parts equal.
    ProofKey = "proof-key",
    /// The proof's key may not sign this entry.
    ProofUnauthorised = "proof-unauthorised",
    /// The signature does not hold.
    ProofSignature = "proof-signature",
    /// `witness` lists a witness twice.
    WitnessDuplicate = "witness-duplicate",
    /// The witness threshold is zero or above the number of witnesses.
    WitnessThreshold = "witness-threshold",
    /// A witness is not a did:key.
    WitnessId = "witness-id",
    /// The log asks for witness proofs, which this verifier does not check yet and so does not accept.
    WitnessUnsupported = "witness-unsupported",
    /// The identity was deactivated; nothing may follow.
    Deactivated = "deactivated",
    /// House: the first entry must say `portable: true`, and no later one may turn it off.
    HousePortable = "house-portable",
    /// House: every entry but a deactivation commits to at least two next keys.
    HousePreRotation = "house-pre-rotation",
    /// House: `alsoKnownAs` must list `did:squid:<SCID>`.
    HouseAlias = "house-alias",
    /// House: the document holds only keys, relations, names and services; no personal data.
    HouseDocument = "house-document",
    /// House: a verification method is an Ed25519 Multikey whose fragment is the key itself.
    HouseVerificationMethod = "house-verification-method",
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A log was refused: which entry breaks which rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("entry {version} breaks the rule {rule}")]
pub struct Refused {
    /// The number of the entry, counting from 1; 0 when the log as a whole is refused.
    pub version: u32,
    /// The rule.
    pub rule: Rule,
}
