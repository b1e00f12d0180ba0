//! Comma-separated values (RFC 4180) for spreadsheets.
//!
//! A spreadsheet takes a cell that begins with `=`, `+`, `-` or `@` for a formula. Text that does gets an apostrophe
//! before it, which spreadsheets take for "this is text"; numbers are ours and stay numbers.

use csv::{Terminator, WriterBuilder};

use crate::domain::statement::Statement;

const HEADINGS: [&str; 11] = [
    "statement",
    "date",
    "type",
    "leg",
    "transactionId",
    "counterparty",
    "purpose",
    "reference",
    "amount",
    "currency",
    "balance",
];

/// Writes a statement: the opening balance, every change with the balance after it, the closing balance.
pub fn statement(statement: &Statement) -> String {
    let mut rows = Rows::default();
    let (id, currency) = (statement.id(), statement.currency);
    let balance = |balance: q_core::SignedAmount| balance.display(currency.scale);
    rows.write(&HEADINGS.map(str::to_owned));
    let edge = |name: &str, at: q_core::Timestamp, held| {
        let mut row = [const { String::new() }; HEADINGS.len()];
        row[0].clone_from(&id);
        row[1] = at.to_string();
        name.clone_into(&mut row[2]);
        currency.code.clone_into(&mut row[9]);
        row[10] = balance(held);
        row
    };
    rows.write(&edge("opening", statement.period.from, statement.opening));
    for entry in &statement.entries {
        rows.write(&[
            id.clone(),
            entry.at.to_string(),
            entry.kind.to_owned(),
            entry.leg.name().to_owned(),
            entry.transaction.to_string(),
            cell(&entry.counterparty),
            cell(entry.purpose.as_deref().unwrap_or_default()),
            cell(entry.client_ref.as_deref().unwrap_or_default()),
            balance(entry.change),
            currency.code.to_owned(),
            balance(entry.balance),
        ]);
    }
    rows.write(&edge("closing", statement.period.to, statement.closing));
    rows.finish()
}

/// Text as a cell that no spreadsheet computes. A text that begins like one made safe gets another quote, so that
/// [`text_of`] finds every text again.
pub fn cell(text: &str) -> String {
    if is_formula(text.trim_start_matches('\'')) { format!("'{text}") } else { text.to_owned() }
}

/// The text that a cell was made of.
#[cfg(test)]
pub fn text_of(cell: &str) -> &str {
    cell.strip_prefix('\'').filter(|text| is_formula(text.trim_start_matches('\''))).unwrap_or(cell)
}

/// Whether a spreadsheet would take the text for a formula: by its first character, also in full width, or because
/// white space before one is skipped.
pub fn is_formula(text: &str) -> bool {
    text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'])
}

struct Rows(csv::Writer<Vec<u8>>);

impl Default for Rows {
    fn default() -> Self {
        Self(WriterBuilder::new().terminator(Terminator::CRLF).from_writer(Vec::new()))
    }
}

impl Rows {
    fn write(&mut self, row: &[String; HEADINGS.len()]) {
        self.0.write_record(row).expect("rows of one length go into memory");
    }

    fn finish(self) -> String {
        let bytes = self.0.into_inner().expect("memory takes everything");
        String::from_utf8(bytes).expect("texts between commas are text")
    }
}
