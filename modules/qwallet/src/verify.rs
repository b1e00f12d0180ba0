//! Proves the books from the journal: every hash, every chain, every balance, every hold.
//!
//! Reads commit by commit and keeps only the running state of each account and of each open hold, so a large store
//! needs little memory. Nothing stops it: each finding names the row, the account and the commit, and the next row is
//! read.
//!
//! What a room of the module keeps besides the books is checked by a file of its own in this folder, which implements
//! [`Room`] and stands in [`rooms`]: it is handed every commit, transfer, transaction and account of the same pass, and
//! then reads its own rows.
//!
//! **Invariant:** reads only, and from one snapshot.

mod accounts;
mod approvals;
mod asked;
mod captures;
mod escrows;
mod fees;
mod heads;
mod holds;
mod journal;
mod notes;
mod rail_corrections;
mod rails;
mod schedules;
mod waiting;
mod webhooks;

use std::collections::{BTreeMap, HashMap, HashSet};

use q_auth::directory::DirectoryError;
use q_core::{Did, SignedAmount, Timestamp, Total, hash::Sha256};
use q_db::{DbError, Reader};
use q_runtime::{Finding, Peers};
use q_seal::Sealer;
use qwallet_api::{TransactionId, WalletId};

use self::holds::{HeldGroup, OpenHold};
use crate::{
    domain::{
        account::{Account, AccountId, AccountKind, Side},
        calendar::Period,
        chain::Commit,
        currency::CurrencyId,
        limits::Spent,
        transfer::Transfer,
        wallet_ref::WalletRef,
    },
    service::{self, Service},
    store::{
        self,
        ledger::{ChainEnd, TransactionRow},
    },
};

/// What rooms check besides the books.
fn rooms() -> Vec<Box<dyn Room>> {
    vec![
        Box::<approvals::Approvals>::default(),
        Box::<captures::Captures>::default(),
        Box::<escrows::Escrows>::default(),
        Box::<escrows::Refunds>::default(),
        Box::<fees::Fees>::default(),
        Box::<heads::Heads>::default(),
        Box::<heads::Snapshots>::default(),
        Box::<notes::Notes>::default(),
        Box::<rail_corrections::Corrections>::default(),
        Box::<rails::Rails>::default(),
        Box::<schedules::Schedules>::default(),
        Box::<waiting::Waiting>::default(),
        Box::<webhooks::Webhooks>::default(),
    ]
}

/// What one room of the module keeps, checked against what stands in the books.
///
/// Only what changed is handed over when a verification begins after a commit ([`Scope::since`]); accounts always all.
pub trait Room: Send {
    /// Reads what is needed before the first commit.
    fn begin(&mut self, _: &mut Reader<'_>, _: &mut Vec<Finding>) -> Result<(), DbError> {
        Ok(())
    }

    /// Each commit with its number in the store and its stored head, in the order of its chain.
    fn commit(&mut self, _id: i64, _commit: &Commit, _head: &Sha256, _found: &mut Vec<Finding>) {}

    /// Each transfer, in an order in which every account changes step by step, with the instant of its commit.
    fn transfer(&mut self, _transfer: &Transfer, _at: Timestamp) {}

    /// Each transaction, with the commit that began it, after the transfers it began with.
    fn transaction(&mut self, _row: &TransactionRow) {}

    /// Each account as it is stored.
    fn account(&mut self, _account: &Account, _wallet: Option<WalletId>) {}

    /// Reads the room's own rows and says what is wrong with them. Every row is looked at: a fault is a finding, and an
    /// error only what keeps the store from being read at all.
    fn finish(
        &mut self,
        reader: &mut Reader<'_>,
        scope: &Scope<'_>,
        found: &mut Vec<Finding>,
    ) -> Result<(), DbError>;

    /// The keys that signed what it read, which the directory of identities is asked about when the store is read.
    fn keys_asked(&mut self) -> KeysAsked {
        KeysAsked::default()
    }
}

/// The keys that signed what the store keeps, as the signatures say: each once for each whose it is to have been, which is
/// this module's where it is nobody else's, with the latest instant at which it signed and the first row that it signed.
#[derive(Default)]
pub struct KeysAsked(BTreeMap<(String, Option<Did>), (Timestamp, String)>);

impl KeysAsked {
    /// Notes that the DID URL `kid`, as a key of `whose`, signed the row at `place`.
    fn ask(&mut self, kid: String, whose: Option<&Did>, at: Timestamp, place: &str) {
        let (latest, _) = self.0.entry((kid, whose.cloned())).or_insert_with(|| (at, place.to_owned()));
        *latest = at.max(*latest);
    }

    fn join(&mut self, others: Self) {
        for ((kid, whose), (at, place)) in others.0 {
            self.ask(kid, whose.as_ref(), at, &place);
        }
    }
}

/// What a verification has at hand and looks at.
pub struct Scope<'a> {
    /// Opens what is sealed in the store.
    pub sealer: &'a Sealer,
    /// The instant after which the journal is read; all of it where there is none.
    pub since: Option<Timestamp>,
}

/// Checks the whole store, or what was committed after the commit `since`, and compares it with what the auditor was told.
pub async fn verify(service: &Service, peers: &Peers, since: Option<i64>) -> Result<Vec<Finding>, DbError> {
    // Asked first: what is told meanwhile is not newer than what is then read.
    let anchor = service::heads::anchored(&service.db, peers).await?;
    let sealer = service.sealer.clone();
    let read = service.db.read(move |reader| {
        let mut check = Check { rooms: rooms(), ..Check::default() };
        let mut scope = Scope { sealer: &sealer, since: None };
        if let Some(commit) = since {
            let Some((_, at)) = store::ledger::commit_times(reader, &[commit])?.pop() else {
                check.find(
                    "commit_missing",
                    format!("commits {commit}"),
                    "there is no such commit".to_owned(),
                );
                return Ok((check.findings, KeysAsked::default()));
            };
            scope.since = Some(at);
            check.begin_after(reader, at)?;
        }
        for room in &mut check.rooms {
            room.begin(reader, &mut check.findings)?;
        }
        check.orders(reader)?;
        check.counted(reader)?;
        check.commits(reader)?;
        check.counts(reader)?;
        check.accounts(reader)?;
        check.holds(reader)?;
        check.intents(reader, &sealer)?;
        check.imports(reader, &sealer)?;
        check.wallets(reader)?;
        check.history(reader)?;
        let mut asked = KeysAsked::default();
        for room in &mut check.rooms {
            room.finish(reader, &scope, &mut check.findings)?;
            asked.join(room.keys_asked());
        }
        if let Some(anchor) = &anchor {
            heads::compare(reader, anchor, &mut check.findings)?;
        }
        Ok::<_, DbError>((check.findings, asked))
    });
    let (mut findings, asked) = read.await?;
    for ((kid, whose), (at, place)) in asked.0 {
        if !was_held(service, &kid, whose.as_ref(), at).await {
            let whose = whose.as_ref().map_or("this module", Did::as_str);
            let detail = format!("signed with {kid}, which was no key of {whose} at {at}");
            findings.push(Finding::new("signer_unknown", place, detail));
        }
    }
    Ok(findings)
}

/// Whether the identity held a key when it signed.
async fn was_held(service: &Service, kid: &str, whose: Option<&Did>, at: Timestamp) -> bool {
    if whose.is_none() && kid == service.signer.key_id() {
        return true;
    }
    let signer = whose.unwrap_or(service.signer.did());
    let held = match service.keys.resolve_at(signer, at).await {
        // Of an identity that has ended no keys are told.
        Ok(methods) if methods.is_empty() => Ok(whose.is_some()),
        Ok(methods) if methods.iter().any(|method| method.id == kid) => Ok(true),
        Ok(_) => service.keys.has_held(signer, kid, at).await,
        Err(error) => Err(error),
    };
    match held {
        Ok(held) => held,
        Err(DirectoryError::Unavailable(error)) => {
            tracing::warn!(%error, kid, "nobody can tell now whose key this is");
            true
        }
        Err(DirectoryError::Unknown | DirectoryError::LogRefused(_)) => false,
    }
}

/// An account as its transfers say it is.
#[derive(Debug, Clone, Copy, Default)]
struct Replayed {
    credits_posted: Total,
    debits_posted: Total,
    credits_pending: Total,
    debits_pending: Total,
    version: i64,
    /// The instant of the last commit that changed it.
    changed_at: Timestamp,
    spent: Spent,
}

impl Replayed {
    /// An account of which only its last transfer is known.
    fn after(version: i64, balance: SignedAmount) -> Self {
        let units = Total::from_units(balance.magnitude().units());
        let (credits_posted, debits_posted) =
            if balance.is_negative() { (Total::ZERO, units) } else { (units, Total::ZERO) };
        Self { credits_posted, debits_posted, version, ..Self::default() }
    }
}

/// What the rows of accounts say of limits, which the replay is compared with.
#[derive(Debug, Clone, Copy)]
struct Counted {
    /// From when on payments were counted, and from when on they were numbered.
    since: Timestamp,
    numbered_since: Timestamp,
    /// What decides against whose limits a movement counts.
    side: Side,
    /// The day and month that are counted, where a time zone was chosen: what came before may have been another one's.
    periods: Option<(Period, Period)>,
    /// Whether what it spent cannot be known, because a row is damaged.
    is_lost: bool,
}

#[derive(Default)]
struct Check {
    findings: Vec<Finding>,
    rooms: Vec<Box<dyn Room>>,
    /// The ends of the chains after which the journal is read, by writer; everything is read where this is nothing.
    begins: Option<BTreeMap<i64, ChainEnd>>,
    accounts: HashMap<AccountId, Replayed>,
    counted: HashMap<AccountId, Counted>,
    terms: HashMap<WalletId, Vec<u8>>,
    /// Whether the accounts of a wallet may neither give nor receive.
    stopped: HashMap<WalletId, bool>,
    house: HashSet<(CurrencyId, AccountKind, i64)>,
    /// What is held and not ended yet, by place.
    open: HashMap<i64, OpenHold>,
    /// The transactions of these.
    held: HashMap<TransactionId, HeldGroup>,
    /// How many rows of holds the journal accounts for, of those that ended.
    ended_count: i64,
    unread_intent: bool,
    heads: HashMap<i64, (i64, Sha256, Timestamp, i64)>,
    transfer_count: i64,
    transaction_count: i64,
}

impl Check {
    fn find(&mut self, code: &str, place: String, detail: String) {
        self.findings.push(Finding::new(code, place, detail));
    }

    /// Reads only what was committed after `at`.
    fn begin_after(&mut self, reader: &mut Reader<'_>, at: Timestamp) -> Result<(), DbError> {
        let mut begins = BTreeMap::new();
        for writer in store::ledger::writers(reader)? {
            let end = store::ledger::chain_end_at(reader, writer, at)?;
            self.heads.insert(writer, (end.number, end.head, end.at, end.next_seq));
            begins.insert(writer, end);
        }
        self.begins = Some(begins);
        Ok(())
    }

    /// Whether the journal is read from its beginning.
    const fn is_whole(&self) -> bool {
        self.begins.is_none()
    }

    /// The place before a writer's first transfer, commit or order that is looked at: of `end` in an incremental run.
    fn first_after(&self, writer: i64, of: impl Fn(&ChainEnd) -> i64) -> i64 {
        let begin = self.begins.as_ref().and_then(|begins| begins.get(&writer));
        begin.map_or((writer - 1) * store::ledger::WRITER_SPAN, of)
    }

    /// Nothing stands in the tables that no commit accounts for.
    fn counts(&mut self, reader: &mut Reader<'_>) -> Result<(), DbError> {
        let mut transfers = 0;
        for writer in store::ledger::writers(reader)? {
            let after = self.first_after(writer, |begin| begin.next_seq - 1);
            transfers += store::ledger::transfer_count(reader, after)?;
        }
        if transfers != self.transfer_count {
            let detail = format!("{transfers} rows, the commits account for {}", self.transfer_count);
            self.find("transfers_uncommitted", "transfers".to_owned(), detail);
        }
        if !self.is_whole() {
            // No index leads from a commit to its transactions.
            return Ok(());
        }
        let transactions = store::ledger::transaction_count(reader)?;
        if transactions != self.transaction_count {
            let detail = format!("{transactions} rows, the commits account for {}", self.transaction_count);
            self.find("transactions_uncommitted", "transactions".to_owned(), detail);
        }
        Ok(())
    }

    /// Wallets are as they were stored, and have the reference of their id.
    fn wallets(&mut self, reader: &mut Reader<'_>) -> Result<(), DbError> {
        let (findings, terms, stopped) = (&mut self.findings, &mut self.terms, &mut self.stopped);
        store::wallets::for_each(reader, |id, row| {
            let terms = terms.remove(&id).unwrap_or_default();
            let place = format!("wallets {id}");
            match row {
                Err(error) => findings.push(Finding::new("wallet_unreadable", place, error.to_string())),
                Ok((row, checksum)) => {
                    if row.checksum(&terms) != checksum {
                        let detail = "the wallet or the terms of its accounts are not what was stored";
                        findings.push(Finding::new("wallet_changed", place.clone(), detail));
                    }
                    if stopped.remove(&id).is_some_and(|is_stopped| is_stopped != row.status.is_stopped()) {
                        let detail = format!("is {}, its accounts say otherwise", row.status.name());
                        findings.push(Finding::new("status_mismatch", place.clone(), detail));
                    }
                    if row.reference != WalletRef::of(id).as_str() {
                        findings.push(Finding::new("reference_mismatch", place, row.reference));
                    }
                }
            }
            Ok(())
        })?;
        let ownerless: Vec<WalletId> = self.terms.keys().copied().collect();
        for id in ownerless {
            self.find("wallet_missing", format!("wallets {id}"), "accounts name it".to_owned());
        }
        Ok(())
    }

    /// The merged histories name the transfers they should, each of them, and no others.
    fn history(&mut self, reader: &mut Reader<'_>) -> Result<(), DbError> {
        let mut merged_count = 0;
        for writer in store::ledger::writers(reader)? {
            let after = self.first_after(writer, |begin| begin.next_seq - 1);
            let (count, mismatches) = store::history::mismatches(reader, writer, after)?;
            merged_count += count;
            for (account, version, seq) in mismatches {
                let place = format!("history of account {account}, version {version}");
                self.find("history_mismatch", place, format!("does not name transfer {seq}"));
            }
        }
        if !self.is_whole() {
            return Ok(());
        }
        let entries = store::history::entry_count(reader)?;
        if entries != 2 * merged_count {
            let detail = format!("{entries} entries for {merged_count} transfers, which have two each");
            self.find("history_mismatch", "history".to_owned(), detail);
        }
        Ok(())
    }
}
