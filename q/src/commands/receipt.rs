//! `q receipt`: proof of a payment, and its check by whoever is shown it.
//!
//! **Invariant:** `verify` asks no instance: what it believes, it was given.

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use q_core::{Did, Env, Timestamp};
use q_did::{Document, Log, Policy, scid_of};
use q_jose::PublicKey;
use qwallet::domain::receipt::{self, InPlace, Link, Proven};
use qwallet_api::{GetReceipt, RECEIPT_TYP, ReceiptContent, TransactionId, TransactionPath};
use serde::{Deserialize, Serialize};
use squid_api::{GetLog, LogRequest};

use crate::{
    cli::{AsArgs, Cli},
    output::{self, exit, usage, with_code},
    session::Session,
};

/// `q receipt`.
#[derive(Debug, Subcommand)]
pub enum ReceiptVerb {
    /// Fetch the receipt of a transaction, with the log of whoever signed it: a file to hand to a stranger.
    ///
    /// It also tells what both wallets held just after the transaction, because the hashes that prove it commit to that:
    /// hand it only to whom you would tell both balances.
    Get(GetArgs),
    /// Check a receipt with nothing but the file and what you trust: no instance is asked.
    ///
    /// Trust the DID of the instance's wallet service, as you know it from elsewhere; its keys then follow from the log in
    /// the file, or better from a log you fetched yourself (`/id/<scid>/did.jsonl` at the instance or any mirror).
    Verify(VerifyReceiptArgs),
}

/// `q receipt get`.
#[derive(Debug, Args)]
pub struct GetArgs {
    /// The transaction id.
    pub transaction: String,
    /// Write it to this file instead of standard output.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Who asks: one of its parties, or whom a party lets read the wallet.
    #[command(flatten)]
    pub acting: AsArgs,
}

/// `q receipt verify`.
#[derive(Debug, Args)]
pub struct VerifyReceiptArgs {
    /// The file: of `q receipt get`, the answer of the instance, or the bare JWS.
    pub file: PathBuf,
    /// The DID of the wallet service that you trust.
    #[arg(long, value_name = "DID", required_unless_present = "key")]
    pub trust: Option<Did>,
    /// Its log, a did.jsonl that you fetched yourself; the one in the file when not given.
    #[arg(long, value_name = "FILE", requires = "trust")]
    pub signer_log: Option<PathBuf>,
    /// Trust this public key (multikey, `z6Mk…`) instead of a DID.
    #[arg(long, value_name = "KEY", conflicts_with = "trust")]
    pub key: Option<String>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// What `q receipt get` writes.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReceiptFile {
    transaction_id: TransactionId,
    /// The receipt.
    jws: String,
    /// The DID of whoever signed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signer: Option<Did>,
    /// The signer's log, from which the keys follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    log: Option<String>,
}

pub async fn run(cli: &Cli, verb: &ReceiptVerb) -> anyhow::Result<ExitCode> {
    match verb {
        ReceiptVerb::Get(args) => get(cli, args).await,
        ReceiptVerb::Verify(args) => verify(args),
    }
}

async fn get(cli: &Cli, args: &GetArgs) -> anyhow::Result<ExitCode> {
    let transaction_id = args.transaction.parse().map_err(|error| {
        usage(format!(
            "{:?} is not a transaction id: {error}; `q wallet history` lists them",
            args.transaction
        ))
    })?;
    let session = Session::open(&cli.data, &args.acting.name)?;
    let receipt = session.client("qwallet")?.call::<GetReceipt>(&TransactionPath { transaction_id }).await?;
    let signer = signer_of(&receipt.jws).context("the instance's answer is no receipt")?;
    let log = match scid_of(&signer) {
        Ok(scid) => Some(session.anonymous("squid")?.call::<GetLog>(&LogRequest { scid }).await?.0),
        Err(_) => None,
    };
    let file = ReceiptFile { transaction_id, jws: receipt.jws, signer: Some(signer), log };
    let text = serde_json::to_string_pretty(&file)?;
    match &args.out {
        Some(path) => {
            fs::write(path, text + "\n").with_context(|| format!("{} cannot be written", path.display()))?;
            let signer = file.signer.as_ref().map_or("", Did::as_str);
            let path = path.display();
            output::progress(format!(
                "{path} is written; `q receipt verify {path} --trust {signer}` checks it anywhere, where that DID of the \
                 wallet service is known from elsewhere"
            ));
            output::progress(
                "it also tells whoever has it what both wallets held just after the transaction",
            );
        }
        None => output::line(text),
    }
    Ok(ExitCode::SUCCESS)
}

fn verify(args: &VerifyReceiptArgs) -> anyhow::Result<ExitCode> {
    let text =
        fs::read_to_string(&args.file).with_context(|| format!("{} cannot be read", args.file.display()))?;
    let file: Option<ReceiptFile> = serde_json::from_str(&text).ok();
    let jws = file.as_ref().map_or(text.as_str(), |file| file.jws.as_str());
    let signer = signer_of(jws).with_context(|| {
        format!("{} is no receipt; `q receipt get TRANSACTION --out FILE` writes one", args.file.display())
    });
    let signer = signer.map_err(|error| with_code(exit::FINDINGS, format!("{error:#}")))?;
    if let Some(trusted) = args.trust.as_ref().filter(|trusted| !is_same(&signer, trusted)) {
        let told = format!(
            "the receipt says that {signer} signed it; that is not a key of whom you trust, {trusted}"
        );
        return Err(with_code(exit::FINDINGS, told));
    }
    let trusted = match (&args.key, &args.trust) {
        (Some(key), _) => {
            let key = key.strip_prefix("did:key:").unwrap_or(key);
            Trusted::Key(PublicKey::from_multikey(key).map_err(|error| usage(format!("--key: {error}")))?)
        }
        (None, Some(did)) => {
            let log = match &args.signer_log {
                Some(path) => Some(
                    fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?,
                ),
                None => file.as_ref().and_then(|file| file.log.clone()),
            };
            Trusted::of(did.clone(), log.as_deref())?
        }
        (None, None) => return Err(usage("say whom you trust: --trust DID or --key KEY")),
    };
    let proven = receipt::verify(jws, |kid, at| trusted.key(kid, at))
        .map_err(|fault| with_code(exit::FINDINGS, format!("the receipt proves nothing: {fault}")))?;
    let told = serde_json::json!({
        "kid": proven.kid,
        "content": proven.content,
        "heads": proven.heads,
        "orderKeys": proven.order_keys,
        "delegated": proven.delegated,
    });
    if args.json {
        output::line(serde_json::to_string_pretty(&told)?);
    } else {
        show(&proven);
    }
    Ok(ExitCode::SUCCESS)
}

/// Who says to have signed a receipt, if it is one; nothing of it is believed yet.
fn signer_of(jws: &str) -> anyhow::Result<Did> {
    let header = q_jose::jws::Parsed::parse(jws.trim(), receipt::RECEIPT_BYTES_MAX)?.header;
    let typ = header.typ.unwrap_or_default();
    anyhow::ensure!(typ == RECEIPT_TYP, "it is signed as {typ:?}, and not as {RECEIPT_TYP:?}");
    let kid = header.kid.context("it names no signer")?;
    kid.split_once('#').and_then(|(did, _)| did.parse().ok()).context("it names no signer")
}

/// Whether two DIDs are of one identity, which may have moved from one host to another.
fn is_same(one: &Did, other: &Did) -> bool {
    one == other || scid_of(one).is_ok_and(|scid| scid_of(other).is_ok_and(|other| other == scid))
}

/// Whom the reader trusts.
enum Trusted {
    Key(PublicKey),
    /// An identity whose name is its key.
    Named(Did),
    Log(Did, Box<Log>),
}

impl Trusted {
    fn of(did: Did, log: Option<&str>) -> anyhow::Result<Self> {
        let Ok(scid) = scid_of(&did) else { return Ok(Self::Named(did)) };
        let log =
            log.context("the file holds no log; fetch /id/<scid>/did.jsonl and name it with --signer-log")?;
        let log = Log::verify(log, Env::system().now(), Policy::House)
            .map_err(|refused| with_code(exit::FINDINGS, format!("the log is refused: {refused}")))?;
        if log.head().scid != scid {
            return Err(with_code(exit::FINDINGS, format!("the log is not that of {did}")));
        }
        Ok(Self::Log(did, Box::new(log)))
    }

    /// The key that `kid` names, if it was held then by whom the reader trusts.
    fn key(&self, kid: &str, at: Timestamp) -> Option<PublicKey> {
        let (did, _) = kid.split_once('#')?;
        let key = receipt::key_named(kid)?;
        let is_held = match self {
            Self::Key(trusted) => *trusted == key,
            Self::Named(trusted) => {
                did == trusted.as_str() && PublicKey::from_did_key(did).is_ok_and(|named| named == key)
            }
            Self::Log(trusted, log) => {
                let did: Did = did.parse().ok()?;
                let methods = log.at_time(at).map(|entry| Document::new(&entry.state).verification_methods());
                scid_of(&did).ok() == scid_of(trusted).ok()
                    && methods.unwrap_or_default().iter().any(|method| method.key == key)
            }
        };
        is_held.then_some(key)
    }
}

fn show(proven: &Proven) {
    let content = &proven.content;
    output::line(format!("{} {} {}", content.transaction_id, content.r#type, content.status));
    for commit in &content.commits {
        let at = Timestamp::from_micros(commit.at_micros);
        output::line(format!("commit {} of chain {} at {at}", commit.number, commit.writer));
        for transfer in commit.leaves.iter().filter_map(|leaf| leaf.transfer.as_ref()) {
            output::line(format!(
                "  {:>24} {}  {} -> {}  {}",
                decimal(&transfer.units, content.scale),
                content.currency,
                name(content, transfer.debit),
                name(content, transfer.credit),
                ["moved", "held", "moved, as held", "freed"]
                    .get(usize::try_from(transfer.phase).unwrap_or(usize::MAX))
                    .copied()
                    .unwrap_or_default()
            ));
        }
    }
    for head in &proven.heads {
        output::line(format!(
            "under head {} of chain {}, signed {}",
            head.number, head.writer, head.signed_at
        ));
    }
    if proven.heads.is_empty() {
        output::line("not yet under a signed head: fetch it again in a minute for that");
    }
    match &proven.delegated {
        Some(InPlace { by, payer, delegations }) => {
            output::line(format!("ordered with the key {by}\n  in the place of {payer}, whose wallet paid"));
            for Link { cid, key } in delegations {
                output::line(format!("  under the delegation {cid}\n    signed with the key {key}"));
            }
        }
        None => {
            for key in &proven.order_keys {
                output::line(format!("ordered with the key {key}"));
            }
        }
    }
    output::line(format!("proved: signed with {} at {}", proven.kid, content.issued_at));
}

fn name(content: &ReceiptContent, account: i64) -> String {
    let named = content.accounts.iter().find(|named| named.account == account);
    named.map_or_else(|| format!("account {account}"), |named| named.wallet_ref.clone())
}

/// Units as decimal text, for scales that no scale type of ours may know.
fn decimal(units: &str, scale: u8) -> String {
    let scale = usize::from(scale);
    let digits = format!("{units:0>width$}", width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let fraction = fraction.trim_end_matches('0');
    if fraction.is_empty() { whole.to_owned() } else { format!("{whole}.{fraction}") }
}

#[cfg(test)]
mod tests {
    use super::decimal;

    #[test]
    fn units_read_as_decimals() {
        for (units, scale, text) in [
            ("3000000000000000000", 18, "3"),
            ("5", 18, "0.000000000000000005"),
            ("120", 0, "120"),
            ("150", 2, "1.5"),
        ] {
            assert_eq!(decimal(units, scale), text);
        }
    }
}
