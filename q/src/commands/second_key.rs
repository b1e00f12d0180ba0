//! `q auth second-key` and `q auth step-up`: a key kept apart, and what it is for.

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::Subcommand;
use q_auth::prove::login_assertion;
use q_core::caller::STEP_UP_FRESH;
use q_did::RecoveryPhrase;
use serde_json::json;
use squid_api::{
    AddSecondKey, AddSecondKeyRequest, ListSecondKeys, NoFields, RemoveSecondKey, ResetSecondKeys,
    SecondKeyRequest, StatusRequest,
};

use crate::{
    cli::{AsArgs, Cli},
    layout::write_private,
    output,
    session::Session,
};

/// The longest file of words read, in bytes.
const WORDS_BYTES_MAX: u64 = 4 * 1024;

/// `q auth second-key`.
#[derive(Debug, Subcommand)]
pub enum SecondKeyVerb {
    /// Make a second key and enrol it. Its 24 words are printed once, or written to a file, and kept nowhere else.
    Add {
        /// Where the words go instead: a stick, another disk. Not beside the other keys.
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
        /// Whose it is to be.
        #[command(flatten)]
        acting: AsArgs,
    },
    /// List the second keys.
    List {
        /// Whose.
        #[command(flatten)]
        acting: AsArgs,
    },
    /// Forget a second key; needs `q auth step-up` before.
    Remove {
        /// Its name, as `list` shows it.
        key: String,
        /// Whose it is.
        #[command(flatten)]
        acting: AsArgs,
    },
    /// Forget, as an operator, all second keys of somebody who lost them.
    Reset {
        /// A keyring name or a DID.
        who: String,
        /// Why, for whoever asks later.
        #[arg(long)]
        reason: String,
        /// Who acts.
        #[command(flatten)]
        acting: AsArgs,
    },
}

pub async fn run(cli: &Cli, verb: &SecondKeyVerb) -> anyhow::Result<()> {
    match verb {
        SecondKeyVerb::Add { file, acting } => add(cli, file.as_deref(), acting).await,
        SecondKeyVerb::List { acting } => {
            let list = Session::open(&cli.data, &acting.name)?.client("squid")?;
            let list = list.call::<ListSecondKeys>(&NoFields {}).await?;
            output::show(acting.json, &list, |list| {
                for key in &list.items {
                    output::line(format!("{}  {}", key.created_at, key.key));
                }
            });
            Ok(())
        }
        SecondKeyVerb::Remove { key, acting } => {
            let session = Session::open(&cli.data, &acting.name)?;
            let request = SecondKeyRequest { key: key.clone() };
            session.client("squid")?.call::<RemoveSecondKey>(&request).await?;
            output::line(format!("{key} is forgotten"));
            Ok(())
        }
        SecondKeyVerb::Reset { who, reason, acting } => {
            let session = Session::open(&cli.data, &acting.name)?;
            let request = StatusRequest { did: session.identity(who)?, reason: reason.clone() };
            session.client("squid")?.call::<ResetSecondKeys>(&request).await?;
            output::line(format!("{who} has no second key any more"));
            Ok(())
        }
    }
}

/// Logs in with both keys; for five minutes the commands of this identity go on with that login.
pub async fn step_up(cli: &Cli, file: Option<&Path>, acting: &AsArgs) -> anyhow::Result<()> {
    let session = Session::open(&cli.data, &acting.name)?;
    let words = read_words(file)?;
    session.step_up(&words.key()).await?;
    let seconds = STEP_UP_FRESH.as_seconds();
    output::show(acting.json, &json!({"did": session.did(), "seconds": seconds}), |_| {
        output::line(format!("{} has proved both keys; that counts for {seconds} s", acting.name));
    });
    Ok(())
}

async fn add(cli: &Cli, file: Option<&Path>, acting: &AsArgs) -> anyhow::Result<()> {
    let session = Session::open(&cli.data, &acting.name)?;
    let words = RecoveryPhrase::generate(&session.env);
    // Words first: a key that is enrolled and whose words are lost locks its owner out of what needs it.
    if let Some(file) = file {
        anyhow::ensure!(!file.exists(), "{} exists; choose another name", file.display());
        write_private(file, words.words().as_bytes())?;
    }
    let assertion = login_assertion(session.did(), &words.key(), session.origin(), &session.env);
    let enrolled = session.client("squid")?.call::<AddSecondKey>(&AddSecondKeyRequest { assertion }).await;
    if let (Err(_), Some(file)) = (&enrolled, file) {
        let _ = fs::remove_file(file);
    }
    let enrolled = enrolled?;
    let text = words.words();
    let shown = file.is_none().then_some(text.as_str());
    output::show(acting.json, &json!({"key": enrolled.key, "words": shown, "file": file}), |_| {
        output::line(format!("{} has the second key {}", acting.name, enrolled.key));
        match (file, shown) {
            (Some(file), _) => output::line(format!("its words are in {}; keep it apart", file.display())),
            (None, Some(words)) => {
                output::line("its words, shown only now; keep them apart from this machine:");
                output::line(format!("\n  {words}\n"));
            }
            (None, None) => {}
        }
    });
    Ok(())
}

fn read_words(file: Option<&Path>) -> anyhow::Result<RecoveryPhrase> {
    let mut words = String::new();
    if let Some(file) = file {
        let read =
            fs::File::open(file).and_then(|file| file.take(WORDS_BYTES_MAX).read_to_string(&mut words));
        read.with_context(|| format!("{} cannot be read", file.display()))?;
    } else {
        output::progress("the 24 words of the second key, on standard input:");
        std::io::stdin().take(WORDS_BYTES_MAX).read_to_string(&mut words)?;
    }
    let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
    RecoveryPhrase::parse(&words).context("these are not the words of a second key")
}
