//! Who made what is in a target: the instance signs it, and its identity log proves the key.
//!
//! Whoever may write to a target may put anything there, sealed for the public key that lies beside it. So every backup
//! has a statement of its own, signed (JWS, EdDSA) over the sums of its manifest and of its list of pieces, which can be
//! judged without opening anything; and every cut and every copy of the secrets begins with one, under the seal. A
//! reader names the identity it expects (`did:squid:…`), which is the hash of the first entry of that identity's log:
//! the log is believed wherever it comes from, and says which key signed when.

use std::{
    fs,
    path::{Path, PathBuf},
};

use q_core::{Did, Span, Timestamp, hash};
use q_did::{Document, Keyring, Log, Policy, scid_of};
use q_jose::{
    PublicKey,
    jws::{self, Header, Parsed},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{Error, Target, chunks::Opening};

const BACKUP_TYP: &str = "q-backup+jws";
const PART_TYP: &str = "q-backup-part+jws";
const STATEMENT_MAX: usize = 8 << 10;
/// A process signs on with a key that is being replaced until it hears of it.
pub(crate) const GRACE: Span = Span::seconds(60);
/// Logs are judged by their keys; a clock that was set back makes none of them wrong.
const WHENEVER: Timestamp = Timestamp::from_seconds(253_402_300_799);
/// How the base64url form of a JSON object begins, and nothing that earlier versions wrote.
const JWS_BEGINS: &[u8] = b"eyJ";

/// Signs with the instance's current key, which is read each time: it may be rotated meanwhile.
#[derive(Debug, Clone)]
pub struct Signer {
    keyring: PathBuf,
    log: PathBuf,
}

/// A key that is the current one of its log.
pub(crate) struct Signing {
    keyring: Keyring,
    /// The log that proves the key.
    pub log: String,
}

impl Signer {
    /// The signer whose keyring, and whose identity log, are in these files.
    pub fn at(keyring: &Path, log: &Path) -> Self {
        Self { keyring: keyring.to_owned(), log: log.to_owned() }
    }

    /// What this machine signs is what it believes: for looking at its own backups.
    pub fn trust(&self) -> Result<Trust, Error> {
        let signing = self.current()?;
        Ok(Trust { signer: Some(signing.keyring.did), log: Some(signing.log), accepts_unsigned: false })
    }

    /// Reads the key.
    pub(crate) fn current(&self) -> Result<Signing, Error> {
        let read = |path: &Path| fs::read_to_string(path).map_err(|error| Error::io("read", path, error));
        let what = |path: &Path, why: &dyn std::fmt::Display| {
            Error::Key(format!("backups cannot be signed with {}: {why}", path.display()))
        };
        let keyring: Keyring =
            serde_json::from_str(&read(&self.keyring)?).map_err(|error| what(&self.keyring, &error))?;
        let log = read(&self.log)?;
        let known =
            Log::verify(&log, WHENEVER, Policy::House).map_err(|refused| what(&self.log, &refused))?;
        let is_current =
            known.document().verification_methods().iter().any(|method| method.id == keyring.key_id());
        if !is_current {
            let why =
                "it does not name the key that is signed with now; `q id rotate instance` writes it anew";
            return Err(what(&self.log, &why));
        }
        Ok(Signing { keyring, log })
    }
}

/// What a statement about a backup says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Statement {
    /// The backup.
    pub id: String,
    /// The instant it is of.
    pub at: Timestamp,
    /// SHA-256 of the sealed manifest.
    pub manifest: String,
    /// SHA-256 of the list of its pieces.
    pub pieces: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PartStatement {
    object: String,
    at: Timestamp,
    sha256: String,
}

/// The sum of an object, as statements name it.
pub(crate) fn sum(bytes: &[u8]) -> String {
    hash::hex(&hash::sha256(bytes))
}

impl Signing {
    /// Whose key it is.
    pub fn did(&self) -> &Did {
        &self.keyring.did
    }

    fn sign<T: Serialize>(&self, typ: &str, claims: &T) -> String {
        let header = Header::typ(typ).kid(self.keyring.key_id());
        jws::sign_json(&header, claims, &self.keyring.current)
    }

    /// Signs for a backup.
    pub fn backup(&self, statement: &Statement) -> String {
        self.sign(BACKUP_TYP, statement)
    }

    /// What stands before `body`, which may lie in several places, and binds it to `object`.
    pub fn before(&self, object: &str, at: Timestamp, body: &[&[u8]]) -> Vec<u8> {
        let statement =
            PartStatement { object: object.to_owned(), at, sha256: hash::hex(&hash::sha256_of(body)) };
        let mut line = self.sign(PART_TYP, &statement).into_bytes();
        line.push(b'\n');
        line
    }
}

/// Whom a reader believes.
#[derive(Debug, Clone)]
pub struct Trust {
    /// The identity that made the backups; without it nothing signed is believed.
    pub signer: Option<Did>,
    /// Its log, where it is known here; else the one in the target is judged.
    pub log: Option<String>,
    /// Whether what nobody signed is taken: backups of versions that did not sign.
    pub accepts_unsigned: bool,
}

impl Trust {
    /// Reads the name of a signer: `did:squid:…`, or the same identity's did:webvh name.
    pub fn read_signer(text: &str) -> Result<Did, Error> {
        let did: Option<Did> = text.trim().parse().ok();
        let scid = did.and_then(|did| scid_of(&did).ok());
        scid.and_then(|scid| Did::squid(&scid).ok()).ok_or_else(|| {
            Error::Text(format!(
                "{text} names no signer; it is a did:squid:… as `q backup schedule` shows it"
            ))
        })
    }
}

/// Where a target keeps the log of the identity that signs: sealed, for whoever restores without that machine.
pub(crate) fn log_object(did: &Did) -> String {
    format!("made-by/{}", did.specific_id())
}

/// A key of the signer, and from when until when it signs.
struct Period {
    id: String,
    key: PublicKey,
    from: Timestamp,
    until: Option<Timestamp>,
}

/// Judges statements.
pub(crate) struct Verifier {
    signer: Option<Did>,
    periods: Vec<Period>,
    accepts_unsigned: bool,
}

impl Verifier {
    /// Believes as `trust` says; `opening` opens the signer's log in `target` when it is not known here.
    pub fn new(trust: &Trust, target: &Target, opening: Option<&Opening>) -> Result<Self, Error> {
        let mut verifier = Self {
            signer: trust.signer.clone(),
            periods: Vec::new(),
            accepts_unsigned: trust.accepts_unsigned,
        };
        let Some(signer) = &trust.signer else { return Ok(verifier) };
        let object = log_object(signer);
        let text = match (&trust.log, opening) {
            (Some(text), _) => text.clone(),
            (None, None) => return Ok(verifier),
            (None, Some(opening)) => match target.get(&object) {
                // Of a version that did not sign.
                Err(Error::Missing(_)) => return Ok(verifier),
                sealed => {
                    let text = opening.open(&object, &sealed?, q_did::log::LOG_BYTES_MAX)?;
                    String::from_utf8(text).map_err(|error| Error::damaged(&object, error))?
                }
            },
        };
        let log = Log::verify(&text, WHENEVER, Policy::House)
            .map_err(|refused| Error::damaged(&object, format!("it is no identity log: {refused}")))?;
        if Did::squid(&log.head().scid).ok().as_ref() != Some(signer) {
            return Err(Error::damaged(&object, format!("it is the log of {}", log.head().scid)));
        }
        // The first key has no other one before it.
        let times = log.entries().iter().skip(1).filter_map(|entry| entry.time().ok());
        let times: Vec<Timestamp> =
            std::iter::once(Timestamp::from_micros(i64::MIN / 2)).chain(times).collect();
        for (number, entry) in log.entries().iter().enumerate() {
            let until = times.get(number + 1).copied();
            let methods = Document::new(&entry.state).verification_methods();
            verifier.periods.extend(
                methods.into_iter().filter(|method| method.is_assertion).map(|method| Period {
                    id: method.id,
                    key: method.key,
                    from: times[number],
                    until,
                }),
            );
        }
        Ok(verifier)
    }

    /// Whether something without a signature is taken.
    pub fn accept_unsigned(&self, object: &str) -> Result<(), Error> {
        if self.accepts_unsigned { Ok(()) } else { Err(Error::Unsigned(object.to_owned())) }
    }

    fn judge<T: DeserializeOwned>(
        &self,
        object: &str,
        text: &str,
        typ: &str,
        at: impl Fn(&T) -> Timestamp,
    ) -> Result<T, Error> {
        let forged =
            |why: &dyn std::fmt::Display| Error::Forged { object: object.to_owned(), why: why.to_string() };
        let parsed = Parsed::parse(text, STATEMENT_MAX).map_err(|error| forged(&error))?;
        if parsed.header.typ.as_deref() != Some(typ) {
            return Err(forged(&"it is signed for something else"));
        }
        let kid = parsed.header.kid.clone().unwrap_or_default();
        let says = kid.split('#').next().unwrap_or_default().parse::<Did>();
        let says = says.map_err(|_| forged(&"it does not say who signed it"))?;
        let Some(signer) = &self.signer else {
            return Err(Error::UnknownSigner { object: object.to_owned(), says: says.to_string() });
        };
        if says != *signer {
            return Err(forged(&format!("it was signed by {says}, and {signer} is expected")));
        }
        if self.periods.is_empty() {
            return Err(forged(&format!(
                "the target lacks {}, which proves the keys of its signer",
                log_object(signer)
            )));
        }
        let known: Vec<_> = self.periods.iter().filter(|period| period.id == kid).collect();
        let Some(first) = known.first() else {
            return Err(forged(&format!("it was signed with a key that {signer} never had")));
        };
        let claims: T = parsed
            .verify(&first.key)
            .and_then(|verified| verified.claims())
            .map_err(|error| forged(&error))?;
        let at = at(&claims);
        let is_within = |period: &&Period| {
            period.from <= at + GRACE && period.until.is_none_or(|until| at <= until + GRACE)
        };
        if !known.iter().any(is_within) {
            return Err(forged(&format!("it was signed with a key that was not that of {signer} at {at}")));
        }
        Ok(claims)
    }

    /// Whether the manifest in `object`, which its signer says is of `instance`, is the signer's own.
    pub fn same_instance(&self, object: &str, is_signed: bool, instance: &str) -> Result<(), Error> {
        match &self.signer {
            Some(signer) if is_signed && signer.as_str() != instance => {
                let why = format!("it is of the instance {instance}, and {signer} signed it");
                Err(Error::Forged { object: object.to_owned(), why })
            }
            _ => Ok(()),
        }
    }

    /// The statement about the backup `id`, whose text lies in `object`.
    pub fn backup(&self, object: &str, text: &[u8], id: &str) -> Result<Statement, Error> {
        let text = std::str::from_utf8(text).map_err(|error| Error::damaged(object, error))?;
        let statement: Statement =
            self.judge(object, text, BACKUP_TYP, |statement: &Statement| statement.at)?;
        // The name tells the instant, which is what "the newest" is judged by: both are signed.
        if statement.id != id
            || crate::name::instant_of(id).is_none_or(|named| named.millis() != statement.at.millis())
        {
            let why = format!("it is the signature of {} of {}", statement.id, statement.at);
            return Err(Error::Forged { object: object.to_owned(), why });
        }
        Ok(statement)
    }

    /// The body of a part that was opened, whose name says that it is of `named`, and which follows something of
    /// `since`; `None` when it is one without a signature, and such are taken.
    pub fn part<'a>(
        &self,
        object: &str,
        named: Timestamp,
        since: Timestamp,
        plain: &'a [u8],
    ) -> Result<Option<&'a [u8]>, Error> {
        if !plain.starts_with(JWS_BEGINS) {
            return self.accept_unsigned(object).map(|()| None);
        }
        let end = plain.iter().take(STATEMENT_MAX).position(|byte| *byte == b'\n');
        let (text, body) = end
            .and_then(|end| Some((std::str::from_utf8(&plain[..end]).ok()?, &plain[end + 1..])))
            .ok_or_else(|| Error::damaged(object, "its signature cannot be read"))?;
        let signed = |statement: &PartStatement| statement.at.max(since);
        let statement = self.judge(object, text, PART_TYP, signed)?;
        if statement.object != object {
            return Err(Error::damaged(
                object,
                format!("it holds another part than its name says: {}", statement.object),
            ));
        }
        // A reader goes by the instant in the name: else a key that was replaced could say that it signed before that.
        if statement.at != named {
            let why = format!("it is the signature of a part of {}, and its name says {named}", statement.at);
            return Err(Error::Forged { object: object.to_owned(), why });
        }
        if statement.sha256 != sum(body) {
            return Err(Error::damaged(object, "it is not what was signed"));
        }
        Ok(Some(body))
    }
}
