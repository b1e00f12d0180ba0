//! The ledger as an outbox: the events behind the markers of its commits.
//!
//! **Invariant:** reads rows that never change, and writes nothing.

use std::collections::{BTreeSet, HashMap};

use parking_lot::RwLock;
use q_core::{Event, EventPayload as _};
use q_db::{DbError, Derive, Reader};
use qwallet_api::{TransactionId, events::LedgerCommitted};

use crate::{
    domain::{
        account::AccountId,
        told::{self, Facts, Party, Reason},
        transfer::Phase,
    },
    store::{self, ledger::TransactionKind},
};

/// The most accounts remembered; at that point the memory is begun anew.
const PARTIES_MAX: usize = 100_000;

/// Tells what followed from each commit of the ledger.
#[derive(Debug, Default)]
pub struct Telling {
    /// Whose an account is never changes.
    parties: RwLock<HashMap<AccountId, Party>>,
}

impl Derive for Telling {
    fn marker(&self) -> &'static str {
        LedgerCommitted::TOPIC
    }

    fn topics(&self) -> &'static [&'static str] {
        told::TOPICS
    }

    fn derive(&self, reader: &mut Reader<'_>, marker: &Event) -> Result<Vec<Event>, DbError> {
        let Some(LedgerCommitted { writer, number }) = marker.payload() else { return Ok(Vec::new()) };
        let id = store::ledger::commit_id(writer, number);
        let found = store::ledger::commits_after(reader, id - 1, 1)?.pop();
        // A marker is written with its commit: without it the store is damaged, which `verify` says.
        let Some((_, stored)) = found.filter(|(found, _)| *found == id) else { return Ok(Vec::new()) };
        let (commit, head) = stored?;
        let end = commit.first_seq + commit.transfer_count;
        let stored = store::ledger::stored_transfers(reader, commit.first_seq, end)?;
        let transfers = stored
            .into_iter()
            .map(|(_, row)| row.map(|(transfer, _, leaf)| (transfer, leaf)))
            .collect::<Result<Vec<_>, _>>()?;

        let accounts = transfers.iter().flat_map(|(row, _)| [row.leg.debit, row.leg.credit]);
        let parties = self.parties(reader, &accounts.collect())?;
        let ids: BTreeSet<TransactionId> = transfers.iter().map(|(row, _)| row.transaction).collect();
        let reasons = reasons(reader, &ids.into_iter().collect::<Vec<_>>())?;
        let voided = transfers.iter().filter(|(row, _)| row.phase == Phase::Voided);
        let voided: Vec<i64> = voided.filter_map(|(row, _)| row.pending_of).collect();
        let held = store::ledger::transfers_at(reader, &voided)?;
        let held = held.into_iter().map(|(seq, (row, ..))| (seq, row.leg.amount)).collect();
        Ok(told::told(&Facts {
            commit: &commit,
            head: &head,
            transfers: &transfers,
            parties: &parties,
            reasons: &reasons,
            held: &held,
        }))
    }
}

impl Telling {
    fn parties(
        &self,
        reader: &mut Reader<'_>,
        accounts: &BTreeSet<AccountId>,
    ) -> Result<HashMap<AccountId, Party>, DbError> {
        let (mut found, mut missing) = (HashMap::with_capacity(accounts.len()), Vec::new());
        {
            let known = self.parties.read();
            for account in accounts {
                match known.get(account) {
                    Some(party) => drop(found.insert(*account, party.clone())),
                    None => missing.push(*account),
                }
            }
        }
        if !missing.is_empty() {
            let loaded = store::told::parties(reader, &missing)?;
            let mut known = self.parties.write();
            if known.len() + loaded.len() > PARTIES_MAX {
                known.clear();
            }
            known.extend(loaded.iter().map(|(account, party)| (*account, party.clone())));
            found.extend(loaded);
        }
        Ok(found)
    }
}

fn reasons(
    reader: &mut Reader<'_>,
    ids: &[TransactionId],
) -> Result<HashMap<TransactionId, Reason>, DbError> {
    let ends = store::told::hold_ends(reader, ids)?;
    let rows = store::ledger::transactions(reader, ids)?;
    Ok(rows
        .into_iter()
        .map(|(row, _)| {
            let reason = Reason {
                kind: row.kind.name(),
                is_refund: row.kind == TransactionKind::Refund,
                intent: row.intent,
                end: ends.get(&row.id).copied(),
            };
            (row.id, reason)
        })
        .collect())
}
