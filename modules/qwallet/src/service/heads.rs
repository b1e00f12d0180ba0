//! Heads of the books, signed once a minute while they grow, and told to the auditor.
//!
//! A signed head is a statement that cannot be taken back: it is in the store, in the audit trail, which is a log that
//! strangers can check, and in every receipt of what it covers. A store that was put back, or whose past was changed, does
//! not have the commits that the auditor was told of.
//!
//! **Invariant:** what is signed is on disk, and covers what the statement before does not.

use std::sync::Arc;

use q_core::{
    AuditEntry, Span, Timestamp,
    hash::{Sha256, hex},
};
use q_db::{Db, DbError, Reader, Tx};
use q_runtime::Peers;
use qerberos_api::{SearchEvents, SearchEventsRequest, types::SearchLimit};
use qwallet_api::{HEAD_TYP, HeadStatement, LedgerAnchored};
use serde::{Deserialize, Serialize};

use super::Service;
use crate::{
    domain::chain,
    error::Error,
    store::{
        self,
        heads::HeadRow,
        ledger::{ChainEnd, commit_id},
    },
};

/// How often the head of a chain that grows is signed.
pub const ANCHOR_EVERY: Span = Span::seconds(60);

/// The most commits under one statement: a receipt reads as many heads.
const COMMITS_MAX: i64 = 65_536;

/// What is anchored in the trail, and the name under which it is found there again.
const ANCHORED: &str = "ledger.anchored";
const ANCHORED_REF: &str = "qwallet:ledger";

/// How many entries are looked at for the newest of this module's own.
const LOOKED_AT: u32 = 100;

/// The last commit of a chain that was told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Anchored {
    /// Whose chain.
    pub writer: i64,
    /// The number of its commit.
    pub number: i64,
    /// The head after it, in hexadecimal.
    pub head: String,
    /// The root over the heads since the statement before, in hexadecimal.
    pub heads_root: String,
    /// When it was signed.
    pub signed_at: Timestamp,
    /// SHA-256 of the signed statement, in hexadecimal.
    pub statement: String,
}

/// A statement that is to be signed.
struct Wanted {
    writer: i64,
    after: i64,
    number: i64,
    head: Sha256,
    heads_root: Sha256,
    at: Timestamp,
}

impl Service {
    /// Signs the heads of the chains that have grown, up to where they are now: while others pay they never stop
    /// growing. Several processes may do this: whoever is second finds it done.
    pub async fn anchor_heads(&self) -> Result<(), Error> {
        if !self.db.mode().is_normal() {
            return Ok(());
        }
        let ends = Arc::new(self.db.read(store::ledger::chain_ends).await?);
        loop {
            let up_to = ends.clone();
            let wanted = self.db.read(move |reader| wanted(reader, &up_to)).await?;
            if wanted.is_empty() {
                return Ok(());
            }
            let (signer, iss) = (self.signer.clone(), self.instance.did.clone());
            let write = self.db.write_locked(move |tx| {
                tx.lock("qwallet.heads")?;
                let signed_at = tx.now();
                let mut is_new = false;
                for wanted in &wanted {
                    let statement = HeadStatement {
                        v: 1,
                        iss: iss.clone(),
                        writer: wanted.writer,
                        after: wanted.after,
                        number: wanted.number,
                        head: hex(&wanted.head),
                        heads_root: hex(&wanted.heads_root),
                        at_micros: wanted.at.micros(),
                        signed_at,
                    };
                    let jws = signer.sign(HEAD_TYP, &serde_json::to_vec(&statement)?);
                    is_new |= keep(tx, wanted, statement, jws)?;
                }
                if is_new {
                    tell(tx)?;
                }
                Ok::<_, DbError>(())
            });
            write.await?;
        }
    }
}

/// The next statements on the way to these ends.
fn wanted(reader: &mut Reader<'_>, ends: &[(i64, ChainEnd)]) -> Result<Vec<Wanted>, DbError> {
    let mut all = Vec::new();
    for &(writer, end) in ends {
        let after = store::heads::last(reader, writer)?.map_or(0, |last| last.number);
        let number = end.number.min(after.saturating_add(COMMITS_MAX));
        if number <= after {
            continue;
        }
        let heads = store::heads::heads_between(reader, writer, after, number)?;
        let leaves: Vec<Sha256> = heads.iter().map(|head| q_tlog::leaf_hash(head)).collect();
        let found = store::ledger::commit_times(reader, &[commit_id(writer, number)])?;
        let (Some(head), [(_, at)]) = (heads.last(), found.as_slice()) else { continue };
        if i64::try_from(heads.len()) != Ok(number - after) {
            // A damaged chain is not signed for; verification names the place.
            tracing::error!(writer, after, number, "commits are missing, so no head is signed");
            continue;
        }
        all.push(Wanted { writer, after, number, head: *head, heads_root: chain::root(&leaves), at: *at });
    }
    Ok(all)
}

/// Keeps a statement and tells of it, unless somebody else has signed for the chain meanwhile.
fn keep(tx: &mut Tx<'_>, wanted: &Wanted, statement: HeadStatement, jws: String) -> Result<bool, DbError> {
    let last = store::heads::last(tx, wanted.writer)?.map_or(0, |last| last.number);
    if last != wanted.after {
        return Ok(false);
    }
    let row = HeadRow {
        writer: wanted.writer,
        number: wanted.number,
        after: wanted.after,
        heads_root: wanted.heads_root,
        signed_at: statement.signed_at,
        jws: jws.clone(),
    };
    store::heads::insert(tx, &row)?;
    let HeadStatement { writer, number, head, heads_root, .. } = statement;
    tx.emit(&LedgerAnchored { writer, number, head, heads_root, jws })?;
    Ok(true)
}

/// Tells the trail where every chain is: one entry names all, so that the newest entry is enough to compare with.
fn tell(tx: &mut Tx<'_>) -> Result<(), DbError> {
    let mut chains = Vec::new();
    for writer in store::ledger::writers(tx)? {
        let Some(last) = store::heads::last(tx, writer)? else { continue };
        let head = store::ledger::head_of(tx, commit_id(writer, last.number))?.unwrap_or_default();
        chains.push(Anchored {
            writer,
            number: last.number,
            head: hex(&head),
            heads_root: hex(&last.heads_root),
            signed_at: last.signed_at,
            statement: hex(&q_core::hash::sha256(last.jws.as_bytes())),
        });
    }
    let facts = serde_json::json!({ "chains": chains });
    tx.audit(AuditEntry::change(ANCHORED, None, ANCHORED_REF).details(facts))?;
    Ok(())
}

/// The entry of the trail that tells of the newest signed heads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchor {
    /// The event in the trail.
    pub event: String,
    /// When it was written.
    pub at: Timestamp,
    /// Where the chains were.
    pub chains: Vec<Anchored>,
}

/// The audit row with which a store goes on that an operator has put back from a backup.
const RESTORED: &str = "store.restored";
/// How many audit rows are read at once, and how many pages at most: as many as a busy minute writes.
const AUDIT_PAGE: u32 = 1_000;
const AUDIT_PAGES_MAX: u32 = 200;

/// What the auditor was told last, if it answers, was told anything, and the store was not put back on purpose since.
pub async fn anchored(db: &Db, peers: &Peers) -> Result<Option<Anchor>, DbError> {
    let Some((seq, anchor)) = told_last(peers).await else { return Ok(None) };
    let mut position = seq;
    for _ in 0..AUDIT_PAGES_MAX {
        let rows = db.audit_after(position, AUDIT_PAGE).await?;
        let Some(last) = rows.last() else { break };
        position = last.position;
        if rows.iter().any(|row| row.entry.action == RESTORED) {
            // The trail hears of that, too: what was anchored before is of books that are no more.
            return Ok(None);
        }
    }
    Ok(Some(anchor))
}

/// The newest entry of the trail, with its number in this store.
async fn told_last(peers: &Peers) -> Option<(i64, Anchor)> {
    #[derive(Deserialize)]
    struct Facts {
        chains: Vec<Anchored>,
    }
    let request = SearchEventsRequest {
        family: None,
        action: Some(ANCHORED.to_owned()),
        actor: None,
        layer: None,
        verdict: None,
        severity: None,
        reference: Some(ANCHORED_REF.to_owned()),
        start_date: None,
        end_date: None,
        limit: SearchLimit::try_from(LOOKED_AT).ok()?,
        cursor: None,
    };
    let page = match peers.client("qerberos").call::<SearchEvents>(&request).await {
        Ok(page) => page,
        Err(error) => {
            tracing::info!(%error, "the auditor is not here to compare the books with what it was told");
            return None;
        }
    };
    // Heard from this module's own store: what operators record by hand is counted under another name.
    let event = page.events.into_iter().find(|event| event.producer == "qwallet")?;
    match serde_json::from_value::<Facts>(event.details.0) {
        Ok(Facts { chains }) => {
            let seq = i64::try_from(event.seq).unwrap_or(i64::MAX);
            Some((seq, Anchor { event: event.id.to_string(), at: event.timestamp, chains }))
        }
        Err(error) => {
            tracing::warn!(%error, "the auditor's entry of signed heads cannot be read");
            None
        }
    }
}
