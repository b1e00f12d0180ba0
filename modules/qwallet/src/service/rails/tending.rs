//! A visit to a rail: what its chain shows is taken in, what is signed is followed, books and chain are compared, what is
//! final is credited, what waits is signed. Every process may visit; what each does is decided under locks.

use std::{collections::BTreeSet, fmt};

use q_core::{AuditEntry, Span};
use q_db::DbError;
use qwallet_api::{RailMismatch, RailPath, RailState, TransactionId};
use qwallet_rails::{ChainAmount, Head, What};

use super::{Entry, Trouble, down};
use crate::{
    domain::rails::Books,
    error::Error,
    service::Service,
    store::{
        self,
        rails::{AddressRow, Checked, OutgoingRow, RailRow},
    },
};

/// So many blocks are read in one visit.
const BLOCKS_MAX: u64 = 500;

/// After so many visits in a row in which something contradicted something, the rail is paused.
const CONTRADICTIONS_MAX: u32 = 3;

/// Books and chain are compared when something is to be credited, and after this time.
const COMPARED_EVERY: Span = Span::seconds(600);

/// A withdrawal that is open in the books, and the payment that is probably it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LeftUnbooked {
    /// The withdrawal.
    withdrawal: TransactionId,
    /// The payment's name on the chain.
    hash: String,
}

impl fmt::Display for LeftUnbooked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the chain shows in {} what withdrawal {} is still to send: two operators book it first (q wallet rail book)",
            self.hash, self.withdrawal
        )
    }
}

/// What a comparison found.
struct Compared {
    checked: Checked,
    held: Vec<(AddressRow, ChainAmount)>,
}

impl Service {
    /// Visits every rail.
    pub async fn tend_rails(&self) -> Result<(), String> {
        let mut failures = Vec::new();
        for entry in &self.rails.chains {
            if let Err(error) = self.tend(entry).await {
                failures.push(format!("{}: {error}", entry.name()));
            }
        }
        if failures.is_empty() { Ok(()) } else { Err(failures.join("; ")) }
    }

    /// Compares books and chain at once; a paused rail goes on when they agree. Money whose number was used for something
    /// unknown is given back then: the chain holds it.
    pub async fn reconcile_rail(&self, path: &RailPath) -> Result<RailState, Error> {
        let entry = self.rails.find(&path.rail)?;
        let visit = entry.visit.lock().await;
        match self.reconcile(entry).await {
            Ok(()) => {}
            Err(Trouble::Ours(error)) => return Err(error),
            Err(Trouble::Down(reason) | Trouble::Behind(reason)) => {
                tracing::warn!(rail = entry.name(), reason, "a rail could not be reconciled");
                return Err(down("the rail's node does not answer, or has not seen what was seen before"));
            }
            Err(Trouble::Contradiction(reason)) => self.pause(entry.name(), &reason).await?,
        }
        drop(visit);
        self.rail_state(entry).await
    }

    async fn reconcile(&self, entry: &Entry) -> Result<(), Trouble> {
        let row = self.rail_row(entry.name()).await?;
        let head = self.look(entry, &row).await?;
        let height = head.last_final.as_ref().map(|block| block.height);
        let Some(height) = height.filter(|_| row.scanned.is_some()) else { return Ok(()) };
        if row.scanned.as_ref().is_some_and(|scanned| scanned.height >= height)
            || self.read_on(entry, &row, &head).await?
        {
            let displaced = self.follow(entry, &head).await?;
            let compared = self.compare(entry, height).await;
            if let Some(left) = self.left_unbooked(entry, height).await? {
                return Err(Trouble::Contradiction(left.to_string()));
            }
            let compared = compared?;
            self.give_back(entry, displaced).await?;
            self.accept_numbers(entry, height, &compared.held).await?;
            let rail = entry.name();
            let resumed = self.db.write(move |tx| {
                let resumed = store::rails::set_paused(tx, rail, None)?;
                if resumed {
                    tx.audit(AuditEntry::change("rail.resume", None, rail))?;
                }
                Ok::<_, DbError>(resumed)
            });
            if resumed.await? {
                let mut seen = entry.seen.lock();
                (seen.contradictions, seen.trouble) = (0, None);
            }
        }
        Ok(())
    }

    async fn tend(&self, entry: &Entry) -> Result<(), String> {
        let visit = entry.visit.lock().await;
        let outcome = self.visit(entry).await;
        let paused = {
            let mut seen = entry.seen.lock();
            match &outcome {
                Ok(()) => {
                    (seen.contradictions, seen.trouble) = (0, None);
                    None
                }
                Err(Trouble::Down(reason)) => {
                    seen.trouble = Some(("DOWN", reason.clone()));
                    None
                }
                Err(Trouble::Behind(reason)) => {
                    seen.trouble = Some(("BEHIND", reason.clone()));
                    None
                }
                Err(Trouble::Contradiction(reason)) => {
                    seen.trouble = Some(("DOWN", reason.clone()));
                    seen.contradictions += 1;
                    (seen.contradictions >= CONTRADICTIONS_MAX).then(|| reason.clone())
                }
                Err(Trouble::Ours(_)) => None,
            }
        };
        if let Some(reason) = paused {
            self.pause(entry.name(), &reason).await.map_err(|error| error.to_string())?;
        }
        drop(visit);
        match outcome {
            Ok(()) => Ok(()),
            Err(Trouble::Down(reason) | Trouble::Behind(reason) | Trouble::Contradiction(reason)) => {
                Err(reason)
            }
            Err(Trouble::Ours(error)) => Err(error.to_string()),
        }
    }

    async fn visit(&self, entry: &Entry) -> Result<(), Trouble> {
        let row = self.rail_row(entry.name()).await?;
        if row.paused.is_some() || self.rail_key(entry.name()).await?.is_none() {
            return Ok(());
        }
        let head = self.look(entry, &row).await?;
        let Some(last_final) = &head.last_final else { return Ok(()) };
        if row.scanned.is_none() {
            // Nothing can have come before the first address was given out.
            let (rail, block) = (entry.name(), last_final.clone());
            self.db.write(move |tx| store::rails::set_scanned(tx, rail, None, &block)).await?;
            return Ok(());
        }
        let is_caught_up = self.read_on(entry, &row, &head).await?;
        if let Some(row) = self.follow(entry, &head).await?.first() {
            return Err(Trouble::Contradiction(format!(
                "the number of payment {} was used for another one",
                row.id
            )));
        }
        if is_caught_up && self.is_comparison_due(entry, &row, last_final.height).await? {
            let compared = self.compare(entry, last_final.height).await?;
            self.credit(entry, last_final.height).await?;
            self.sweep(entry, compared.checked.height, &compared.held).await?;
        }
        self.advance(entry, &row, &head).await?;
        self.sign_waiting(entry, &head).await
    }

    /// Asks where the chain is, and whether it still is the chain that was read.
    async fn look(&self, entry: &Entry, row: &RailRow) -> Result<Head, Trouble> {
        let head = entry.rail().head().await?;
        entry.seen.lock().latest = Some(head.latest.height);
        let Some(scanned) = &row.scanned else { return Ok(head) };
        let last_final = head.last_final.as_ref().map_or(0, |block| block.height);
        let known = entry.rail().block(scanned.height).await?;
        match known {
            None => Err(Trouble::Behind(format!("block {} is not there yet", scanned.height))),
            Some(block) if block != *scanned => Err(Trouble::Contradiction(format!(
                "block {} was final and is another one now",
                scanned.height
            ))),
            Some(_) if last_final < scanned.height => {
                Err(Trouble::Behind(format!("block {} is not final yet", scanned.height)))
            }
            Some(_) => Ok(head),
        }
    }

    /// Takes in the blocks after the last final one that was read; whether that was all of them that are final now.
    async fn read_on(&self, entry: &Entry, row: &RailRow, head: &Head) -> Result<bool, Trouble> {
        let (Some(scanned), Some(last_final)) = (&row.scanned, &head.last_final) else { return Ok(false) };
        let (from, to) = (scanned.height + 1, reach(scanned.height, head.latest.height));
        if from <= to {
            let rail = entry.name();
            let addresses = self.db.read(move |reader| store::rails::addresses(reader, rail)).await?;
            self.take_in(entry, from, to, &addresses).await?;
        }
        Ok(to >= last_final.height)
    }

    /// A payment of the chain, up to a final block, that the books do not know and that says what an open withdrawal says.
    /// A store that was put back has such: it would be sent once more, or its money given back to its payer.
    pub(super) async fn left_unbooked(
        &self,
        entry: &Entry,
        height: u64,
    ) -> Result<Option<LeftUnbooked>, Trouble> {
        let rail = entry.name();
        let read = self.db.read(move |reader| {
            let row = store::rails::find(reader, rail)?;
            let open = store::rails::open_withdrawals(reader, rail)?;
            Ok::<_, DbError>((row.and_then(|row| row.scanned), open))
        });
        let (scanned, open) = read.await?;
        let Some(scanned) = scanned.filter(|_| !open.is_empty()) else { return Ok(None) };
        let recipients: BTreeSet<String> = open.iter().map(|row| row.recipient.clone()).collect();
        let recipients: Vec<String> = recipients.into_iter().collect();
        let mut from = scanned.height + 1;
        while from <= height {
            let to = reach(from - 1, height);
            for arrival in entry.rail().scan_deposits(from, to, &recipients).await? {
                let is_it = |row: &&OutgoingRow| {
                    row.recipient == arrival.to
                        && Some(row.units) == arrival.amount
                        && row.source.address == arrival.from
                };
                let Some(row) = open.iter().find(is_it) else { continue };
                let hash = arrival.hash.clone();
                let is_known = self.db.read(move |reader| {
                    Ok::<_, DbError>(
                        store::rails::is_ours(reader, rail, &hash)?
                            || store::rails::outgoing_of_hash(reader, rail, &hash)?.is_some(),
                    )
                });
                if !is_known.await? {
                    return Ok(Some(LeftUnbooked { withdrawal: row.id, hash: arrival.hash }));
                }
            }
            from = to + 1;
        }
        Ok(None)
    }

    async fn is_comparison_due(&self, entry: &Entry, row: &RailRow, height: u64) -> Result<bool, Trouble> {
        let is_old = |checked: &Checked| checked.at + COMPARED_EVERY < self.env.now();
        if row.checked.as_ref().is_none_or(is_old) {
            return Ok(true);
        }
        let rail = entry.name();
        let pending =
            self.db.read(move |reader| store::rails::pending_deposits(reader, rail, height)).await?;
        Ok(!pending.is_empty())
    }

    /// Compares what the chain holds at a final block with what it should hold.
    ///
    /// Less than the books say contradicts them. More does not: anybody can send what no rail sees, such as coin from
    /// inside a contract; it is told, and stays nobody's.
    async fn compare(&self, entry: &Entry, height: u64) -> Result<Compared, Trouble> {
        let (rail, account) = (entry.name(), entry.accounts.rail);
        // What is booked while this looks is not yet compared.
        let at = self.env.now();
        let read = self.db.read(move |reader| {
            let used = store::rails::used_addresses(reader, rail)?;
            let held_back = store::rails::held_back(reader, rail)?;
            let coming = store::rails::pending_deposits(reader, rail, height)?;
            let account = store::ledger::find_account(reader, account)?;
            Ok::<_, DbError>((used, held_back, coming, account))
        });
        let (used, held_back, coming, account) = read.await?;
        let account = account.ok_or(Error::Inconsistent("a rail's account"))?;
        let too_much = || Trouble::Contradiction("the sum is more than an amount can hold".to_owned());
        // The account counts from the other side: what is owned on the chain stands on its debit side.
        let posted = account.posted();
        if !posted.is_negative() && !posted.magnitude().is_zero() {
            return Err(Trouble::Contradiction("the books have given more than ever came in".to_owned()));
        }
        let books = Books {
            account: entry.to_chain(posted.magnitude()).map_err(Error::from)?,
            coming: sum(coming.iter().filter_map(|row| row.arrival.amount)).ok_or_else(too_much)?,
            held_back: sum(held_back.into_iter()).ok_or_else(too_much)?,
        };
        let mut held = Vec::with_capacity(used.len());
        for address in used {
            let units = entry.rail().balance(&address.address, What::Money, height).await?;
            held.push((address, units));
        }
        let chain = sum(held.iter().map(|(_, units)| *units)).ok_or_else(too_much)?;
        let books = books.total().ok_or_else(too_much)?;
        let checked = Checked { height, at, chain, books };
        self.db.write(move |tx| store::rails::set_checked(tx, rail, &checked)).await?;
        self.executor.metrics().set_rail_difference(rail, chain.0, books.0);
        if chain < books {
            let missing = ChainAmount(books.0 - chain.0);
            return Err(Trouble::Contradiction(format!(
                "at block {height} the chain holds {} units less than the books",
                missing.0
            )));
        }
        self.tell_surplus(entry, height, chain.0 - books.0).await?;
        Ok(Compared { checked, held })
    }

    async fn tell_surplus(&self, entry: &Entry, height: u64, surplus: u128) -> Result<(), Trouble> {
        let told = entry.seen.lock().surplus.replace(surplus);
        if surplus == 0 || told == Some(surplus) {
            return Ok(());
        }
        let reason = format!("at block {height} the chain holds {surplus} units more than the books");
        let event = RailMismatch { rail: entry.name().to_owned(), reason };
        Ok(self.db.write(move |tx| tx.emit(&event).map(drop)).await?)
    }

    /// Notes how far everything is final here.
    async fn advance(&self, entry: &Entry, row: &RailRow, head: &Head) -> Result<(), Trouble> {
        let (Some(scanned), Some(last_final)) = (&row.scanned, &head.last_final) else { return Ok(()) };
        let height = last_final.height.min(reach(scanned.height, head.latest.height));
        if height == scanned.height {
            return Ok(());
        }
        let block = if height == last_final.height {
            last_final.clone()
        } else {
            let block = entry.rail().block(height).await?;
            block.ok_or_else(|| Trouble::Behind(format!("block {height} is not there yet")))?
        };
        let (rail, before) = (entry.name(), scanned.height);
        self.db.write(move |tx| store::rails::set_scanned(tx, rail, Some(before), &block)).await?;
        Ok(())
    }

    /// Stops every rail that was ever set up: the store was put back from a backup, and what went out since is unknown.
    pub async fn pause_restored_rails(&self, backup: &str) -> Result<(), Error> {
        let reason =
            format!("the store was put back from backup {backup}; reconcile before anything goes out");
        for rail in self.db.read(store::rails::names).await? {
            self.pause(&rail, &reason).await?;
        }
        Ok(())
    }

    /// Stops the rail until an operator has looked.
    pub(super) async fn pause(&self, rail: &str, reason: &str) -> Result<(), Error> {
        let (rail, reason) = (rail.to_owned(), reason.to_owned());
        self.db
            .write(move |tx| {
                if store::rails::set_paused(tx, &rail, Some(&reason))? {
                    tx.emit(&RailMismatch { rail: rail.clone(), reason: reason.clone() })?;
                    let facts = serde_json::json!({ "reason": reason });
                    tx.audit(AuditEntry::change("rail.pause", None, &rail).details(facts))?;
                }
                Ok::<_, DbError>(())
            })
            .await?;
        Ok(())
    }
}

fn sum(mut units: impl Iterator<Item = ChainAmount>) -> Option<ChainAmount> {
    units.try_fold(ChainAmount(0), |sum, units| sum.0.checked_add(units.0).map(ChainAmount))
}

/// How far one visit reads.
const fn reach(scanned: u64, latest: u64) -> u64 {
    let far = scanned.saturating_add(BLOCKS_MAX);
    if far < latest { far } else { latest }
}
