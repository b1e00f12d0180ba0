//! Balances as independent accounting programs work them out of an exported journal.
//!
//! **Invariant:** amounts stay the decimal text that the program printed; nothing is rounded or recomputed here.

use crate::machine;
use anyhow::{Context as _, Result, bail};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// What one program makes of the books.
pub struct Books {
    /// Its name.
    pub program: &'static str,
    balances: BTreeMap<String, String>,
}

impl Books {
    /// Read strictly by hledger: every transaction must balance, every account and commodity be declared, every
    /// assertion hold.
    pub fn by_hledger(journal: &Path) -> Result<Self> {
        machine::quietly(hledger(journal).args(["check", "--strict"]))?;
        let said = machine::output(hledger(journal).args(["balance", "--flat", "-N", "-O", "csv"]))?;
        // One account a line, `"account","amount"`; neither our account names nor its amounts contain quotes.
        let balances = said.lines().skip(1).filter_map(|line| {
            let (account, amount) = line.trim_matches('"').split_once("\",\"")?;
            Some((account.to_owned(), amount.to_owned()))
        });
        Ok(Self { program: "hledger", balances: balances.collect() })
    }

    /// Read by ledger, which also refuses what does not balance.
    pub fn by_ledger(journal: &Path) -> Result<Self> {
        let mut ledger = Command::new("ledger");
        ledger.args(["--args-only", "--pedantic", "--explicit", "-f"]).arg(journal).args([
            "balance",
            "--flat",
            "--no-total",
            "--empty",
        ]);
        ledger.args(["--format", "%(account)\t%(display_total)\n"]).env("LC_ALL", "C.UTF-8");
        let said = machine::output(&mut ledger)?;
        let balances = said.lines().filter_map(|line| {
            line.split_once('\t').map(|(account, amount)| (account.to_owned(), amount.to_owned()))
        });
        Ok(Self { program: "ledger", balances: balances.collect() })
    }

    /// The number part of the balance of the one account whose name contains `part`.
    pub fn balance(&self, part: &str) -> Result<String> {
        let mut found = self.balances.iter().filter(|(account, _)| account.contains(part));
        let (account, amount) =
            found.next().with_context(|| format!("{} knows no account of {part}", self.program))?;
        if found.next().is_some() {
            bail!("{} has several accounts of {part}", self.program);
        }
        let number = amount
            .split(' ')
            .find(|word| word.starts_with(|letter: char| letter.is_ascii_digit() || letter == '-'));
        // Liabilities stand on the credit side, which both programs print as negative.
        let number = number.with_context(|| format!("{}: {account} holds {amount}", self.program))?;
        Ok(number.trim_start_matches('-').to_owned())
    }
}

fn hledger(journal: &Path) -> Command {
    let mut command = Command::new("hledger");
    // hledger reads its input in the locale's encoding.
    command.arg("-f").arg(journal).env("LC_ALL", "C.UTF-8");
    command
}
