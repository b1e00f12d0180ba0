//! Notes: what both parties of a transaction may write beside it, and both may read.
//!
//! **Invariant:** a note is added and never changed; each one's digest covers those before it.

use std::collections::HashMap;

use q_core::{AuditEntry, Caller, RequestKey, hash};
use q_seal::Place;
use qwallet_api::{
    AddNoteRequest, Entry, Note, TransactionId,
    notes::{NOTE_CHARACTERS_MAX, NOTE_DATA_BYTES_MAX, NOTES_MAX},
};
use serde::{Deserialize, Serialize};

use super::Service;
use crate::{
    domain::{payment::Refusal, transfer::Purpose},
    error::Error,
    store::{self, notes::NoteRow},
};

/// What is sealed of a note.
#[derive(Serialize, Deserialize)]
struct Body {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    data: Option<serde_json::Value>,
}

impl Service {
    /// Writes a note beside a transaction of a wallet that the caller may write to.
    pub async fn add_note(
        &self,
        caller: &Caller,
        key: Option<&RequestKey>,
        request: AddNoteRequest,
    ) -> Result<Note, Error> {
        let author = caller.did().ok_or(Error::TransactionNotFound)?.clone();
        let id = request.transaction_id;
        let body = Body { text: request.text, data: request.data };
        let body = body.checked()?;
        let stored = self.stored_transaction(id).await?.ok_or(Error::TransactionNotFound)?;
        let legs = stored.transfers.iter().map(|(transfer, _)| transfer.leg);
        let ends: Vec<_> = legs.flat_map(|leg| [leg.debit, leg.credit]).collect();
        let wallets = self.directory.of_accounts(&ends).await?;
        // Who may only read must not write, and need not be told that there is anything.
        if !wallets.values().any(|wallet| self.may(caller, wallet, "write")) {
            return Err(Error::TransactionNotFound);
        }
        let is_author = |wallet: &&std::sync::Arc<super::directory::WalletEntry>| wallet.row.owner == author;
        if wallets.values().find(is_author).is_some_and(|wallet| !wallet.accounts.profile.has_texts()) {
            return Err(Refusal::Profile("an AID writes no notes, which may tell whose it is").into());
        }
        let (sealer, plain) = (self.sealer.clone(), serde_json::to_vec(&body).map_err(q_db::DbError::from)?);
        let written = self.db.write_once(key, move |tx| {
            let (last, before) = store::notes::last(tx, id)?;
            if last >= NOTES_MAX {
                return Err(Error::Refused(Refusal::InvalidState("beside 100 notes already")));
            }
            let at = tx.now();
            let mut note =
                NoteRow { transaction: id, number: last + 1, author: author.clone(), at, body: Vec::new() };
            note.body = sealer.seal(place(&note.name()), &plain, tx.env());
            let digest = note.digest(&before);
            store::notes::insert(tx, &note, &digest)?;
            let facts = serde_json::json!({ "number": note.number, "digest": hash::hex(&digest) });
            tx.audit(AuditEntry::change("tx.note", Some(&author), id).details(facts))?;
            Ok::<_, Error>(note.number)
        });
        let number = written.await?.value;
        let notes = self.notes_beside(&[id]).await?.remove(&id).unwrap_or_default();
        notes.into_iter().find(|note| note.number == number).ok_or(Error::Inconsistent("a note"))
    }

    /// The notes beside these transactions, opened.
    pub(super) async fn notes_beside(
        &self,
        ids: &[TransactionId],
    ) -> Result<HashMap<TransactionId, Vec<Note>>, Error> {
        let ids = ids.to_vec();
        let rows = self.db.read(move |reader| store::notes::beside(reader, &ids)).await?;
        let mut notes: HashMap<TransactionId, Vec<Note>> = HashMap::new();
        for row in rows {
            notes.entry(row.transaction).or_default().push(self.note_of(row)?);
        }
        Ok(notes)
    }

    /// Puts the notes beside the transactions of a page: to what the recipient gets or gave back, and not once more to
    /// each fee.
    pub(super) async fn add_notes(&self, entries: &mut [Entry]) -> Result<(), Error> {
        let is_fee = |entry: &&mut Entry| {
            [Purpose::PlatformFee, Purpose::NetworkFee].iter().any(|fee| fee.name() == entry.leg)
        };
        let mut ids: Vec<TransactionId> = entries.iter().map(|entry| entry.transaction_id).collect();
        ids.sort_unstable();
        ids.dedup();
        let notes = self.notes_beside(&ids).await?;
        if notes.is_empty() {
            return Ok(());
        }
        for entry in entries.iter_mut().filter(|entry| !is_fee(entry)) {
            entry.notes = notes.get(&entry.transaction_id).cloned().unwrap_or_default();
        }
        Ok(())
    }

    /// A note as it is told.
    pub(super) fn note_of(&self, row: NoteRow) -> Result<Note, Error> {
        let plain = self.sealer.open(place(&row.name()), &row.body)?;
        let body: Body = serde_json::from_slice(&plain).map_err(|_| Error::Inconsistent("a note's body"))?;
        Ok(Note { number: row.number, author: row.author, at: row.at, text: body.text, data: body.data })
    }
}

impl Body {
    fn checked(self) -> Result<Self, Error> {
        let refuse = |what| Err(Error::Refused(Refusal::Malformed(what)));
        if let Some(text) = &self.text
            && (text.trim().is_empty() || text.chars().count() > NOTE_CHARACTERS_MAX || text.contains('\0'))
        {
            return refuse("text");
        }
        if let Some(data) = &self.data
            && hash::canonical_json(data).map_or(usize::MAX, |bytes| bytes.len()) > NOTE_DATA_BYTES_MAX
        {
            return refuse("data");
        }
        if self.text.is_none() && self.data.is_none() {
            return refuse("text");
        }
        Ok(self)
    }
}

/// Where a note is sealed.
pub fn place(row: &str) -> Place<'_> {
    Place { module: "qwallet", table: "notes", column: "body", row }
}
