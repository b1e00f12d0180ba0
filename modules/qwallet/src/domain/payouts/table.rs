//! Payout files as tables: comma-separated values (RFC 4180) with a line of headings.
//!
//! `recipient` and `amount` are required; `currency`, `reference` and `purpose` are not. Semicolons and tabs divide cells
//! too, as spreadsheets of some countries write them. A column of another name is refused: it could hold what somebody
//! believes to be paid.

use std::collections::HashSet;

use csv::{ReaderBuilder, StringRecord};
use q_core::{AmountText, hash};

use super::{Fault, Payout, PayoutFile, Place, Refused, TEXT_BYTES_MAX, decimal};
use crate::domain::{currency, formats::csv::is_formula, payment};

const COLUMNS: [&str; 5] = ["recipient", "amount", "currency", "reference", "purpose"];
const RECIPIENT: usize = 0;
const AMOUNT: usize = 1;
const CURRENCY: usize = 2;
const REFERENCE: usize = 3;
const PURPOSE: usize = 4;

/// What stands for "no reference" in ISO 20022, and may repeat.
const NO_REFERENCE: &str = "NOTPROVIDED";

/// Reads a table.
pub fn read(document: &str) -> Result<PayoutFile, Refused> {
    let mut reader = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(delimiter(document))
        .from_reader(document.as_bytes());
    let mut rows = reader.records().map(|row| {
        row.map_err(|error| {
            let line = error.position().map_or(1, csv::Position::line);
            refuse(&Row { number: 0, line }, "", Fault::Table(error.to_string()))
        })
    });
    let top = Row { number: 0, line: 1 };
    let headings = rows.next().ok_or_else(|| refuse(&top, "", Fault::Table("it is empty".into())))??;
    let places = places(&headings)?;
    let mut draft = Draft::default();
    let mut lines = Lines { document: document.as_bytes(), to: 0, line: 1 };
    for (cells, number) in rows.zip(1..) {
        let cells = cells?;
        let line = lines.line_of(cells.position().map_or(0, csv::Position::byte));
        draft.add(&cells, &Row { number, line }, &places)?;
    }
    let currency =
        draft.currency.ok_or_else(|| refuse(&top, "", Fault::Table("it has no payments".into())))?;
    Ok(PayoutFile {
        format: "csv",
        // A table has no name of its own, and the same one sent twice would pay twice.
        message_id: format!("csv-{}", &hash::hex(&hash::sha256(document.as_bytes()))[..31]),
        message_place: Place { xpath: "/".to_owned(), line: 1 },
        debtor: None,
        currency,
        payments: draft.payments,
    })
}

/// A row of payments: its number from 1, and the line it begins on.
struct Row {
    number: u64,
    line: u64,
}

fn place(row: &Row, column: &str) -> Place {
    let xpath = if row.number == 0 { "/".to_owned() } else { format!("/row[{}]/{column}", row.number) };
    Place { xpath, line: u32::try_from(row.line).unwrap_or(u32::MAX) }
}

fn refuse(row: &Row, column: &str, what: Fault) -> Refused {
    Refused { place: place(row, column), what }
}

/// Counts lines along the document.
struct Lines<'a> {
    document: &'a [u8],
    to: usize,
    line: u64,
}

impl Lines<'_> {
    /// The line of the row that the reader began to look for at `byte`: it has yet to pass what ends the row before.
    fn line_of(&mut self, byte: u64) -> u64 {
        let mut to = usize::try_from(byte).unwrap_or(usize::MAX).min(self.document.len());
        while self.document.get(to).is_some_and(|byte| matches!(byte, b'\r' | b'\n')) {
            to += 1;
        }
        let breaks = self.document[self.to.min(to)..to].split(|byte| *byte == b'\n').count() - 1;
        self.line += u64::try_from(breaks).unwrap_or(u64::MAX);
        self.to = to;
        self.line
    }
}

/// What divides the headings.
fn delimiter(document: &str) -> u8 {
    let headings = document.lines().next().unwrap_or_default();
    b",;\t".iter().copied().find(|byte| headings.as_bytes().contains(byte)).unwrap_or(b',')
}

/// Where each column stands.
fn places(headings: &StringRecord) -> Result<[Option<usize>; COLUMNS.len()], Refused> {
    let top = Row { number: 0, line: 1 };
    let mut places = [None; COLUMNS.len()];
    for (place, heading) in headings.iter().enumerate() {
        let heading = heading.trim().to_ascii_lowercase();
        let Some(column) = COLUMNS.iter().position(|known| *known == heading) else {
            let why = format!("the column {heading:?} is not one of {}", COLUMNS.join(", "));
            return Err(refuse(&top, "", Fault::Table(why)));
        };
        if places[column].replace(place).is_some() {
            return Err(refuse(&top, "", Fault::Table(format!("the column {heading} stands there twice"))));
        }
    }
    match [RECIPIENT, AMOUNT].into_iter().find(|column| places[*column].is_none()) {
        Some(missing) => {
            let why = format!("the first line has no column {}", COLUMNS[missing]);
            Err(refuse(&top, "", Fault::Table(why)))
        }
        None => Ok(places),
    }
}

#[derive(Default)]
struct Draft {
    currency: Option<String>,
    payments: Vec<Payout>,
    references: HashSet<String>,
}

impl Draft {
    fn add(
        &mut self,
        cells: &StringRecord,
        row: &Row,
        places: &[Option<usize>; COLUMNS.len()],
    ) -> Result<(), Refused> {
        let fault = |column: usize, what| refuse(row, COLUMNS[column], what);
        if cells.len() != places.iter().flatten().count() {
            let why = format!(
                "{} cells, where the first line has {}",
                cells.len(),
                places.iter().flatten().count()
            );
            return Err(fault(RECIPIENT, Fault::Table(why)));
        }
        if self.payments.len() >= qwallet_api::BATCH_ITEMS_MAX {
            return Err(fault(RECIPIENT, Fault::TooManyPayments));
        }
        let cell = |column: usize| {
            let text = places[column].and_then(|place| cells.get(place)).unwrap_or_default();
            if text.len() > TEXT_BYTES_MAX {
                return Err(fault(column, Fault::TooLarge));
            }
            if column != AMOUNT && is_formula(text) {
                return Err(fault(column, Fault::Formula));
            }
            Ok(text.trim())
        };
        let (recipient, amount) = (cell(RECIPIENT)?, cell(AMOUNT)?);
        if recipient.is_empty() {
            return Err(fault(RECIPIENT, Fault::Missing("recipient")));
        }
        if decimal(amount).is_none() {
            return Err(fault(AMOUNT, Fault::Malformed("amount")));
        }
        let code = match cell(CURRENCY)? {
            "" => currency::ALL[0].code,
            code => code,
        };
        if self.currency.get_or_insert_with(|| code.to_owned()) != code {
            return Err(fault(CURRENCY, Fault::Mixed("currency")));
        }
        let reference = match cell(REFERENCE)? {
            "" => NO_REFERENCE,
            reference => reference,
        };
        if !payment::is_client_ref(reference) {
            return Err(fault(REFERENCE, Fault::Malformed("reference")));
        }
        if reference != NO_REFERENCE && !self.references.insert(reference.to_owned()) {
            return Err(fault(REFERENCE, Fault::DuplicateReference(reference.to_owned())));
        }
        let purpose = cell(PURPOSE)?;
        self.payments.push(Payout {
            place: place(row, COLUMNS[RECIPIENT]),
            group: None,
            end_to_end_id: reference.to_owned(),
            creditor: recipient.to_owned(),
            amount: AmountText::from(amount),
            purpose: Some(purpose).filter(|text| !text.is_empty()).map(str::to_owned),
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_spreadsheets_write() {
        let plain = "recipient,amount,currency,reference,purpose\r\n\
                     QQ00ANN,1.25,QToken,R1,\"wages, \"\"May\"\"\nand June\"\r\nQQ00BOB,2.5,QToken,,\r\n";
        let file = read(plain).unwrap();
        assert_eq!((file.format, file.currency.as_str(), file.payments.len()), ("csv", "QToken", 2));
        assert_eq!(file.payments[0].purpose.as_deref(), Some("wages, \"May\"\nand June"));
        assert_eq!(
            (file.payments[1].end_to_end_id.as_str(), file.payments[1].place.line),
            ("NOTPROVIDED", 4)
        );
        assert!(file.message_id.len() == 35 && file.message_id == read(plain).unwrap().message_id);
        let german = "Amount;Recipient\n1.25;QQ00ANN\n";
        assert_eq!(read(german).unwrap().payments[0].creditor, "QQ00ANN");
    }

    #[test]
    fn refuses_with_line_and_cell() {
        let cases = [
            ("", "line 1, /: not a table of payments: it is empty"),
            ("recipient,amount\n", "line 1, /: not a table of payments: it has no payments"),
            ("recipient,sum\nA,1\n", "line 1, /: not a table of payments: the column \"sum\""),
            ("recipient\nA\n", "line 1, /: not a table of payments: the first line has no column amount"),
            ("recipient,amount\nA,1\nB\n", "line 3, /row[2]/recipient: not a table of payments: 1 cells"),
            ("recipient,amount\nA,1,5\n", "line 2, /row[1]/recipient: not a table of payments: 3 cells"),
            ("recipient,amount\n=A,1\n", "line 2, /row[1]/recipient: a cell that begins like a formula"),
            (
                "recipient,amount,purpose\nA,1,＝B\n",
                "line 2, /row[1]/purpose: a cell that begins like a formula",
            ),
            ("recipient,amount\nA,-1\n", "line 2, /row[1]/amount: amount cannot be read"),
            ("recipient;amount\nA;1,5\n", "line 2, /row[1]/amount: amount cannot be read"),
            ("recipient,amount\n ,1\n", "line 2, /row[1]/recipient: recipient is missing"),
            (
                "recipient,amount,currency\nA,1,PI\nB,1,QToken\n",
                "line 3, /row[2]/currency: two different values",
            ),
            ("recipient,amount,reference\nA,1,R\nB,1,R\n", "line 3, /row[2]/reference: two payments have"),
        ];
        for (document, refusal) in cases {
            let refused = read(document).unwrap_err().to_string();
            assert!(refused.starts_with(refusal), "{document:?}: {refused}");
        }
    }
}
