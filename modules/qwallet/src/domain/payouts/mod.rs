//! Payout files: what they ask for, and why and where one is refused.
//!
//! Two kinds are read: ISO 20022 pain.001 and tables of comma-separated values. Which one it is the first character says,
//! whatever a client calls it.
//!
//! **Invariant:** a file that is refused names the line.

mod pain001;
mod table;

use std::fmt;

use q_core::{Amount, AmountText, Scale};

/// The longest text of one element or cell, in bytes.
const TEXT_BYTES_MAX: usize = 4 * 1024;

/// Reads a payout file.
pub fn read(document: &str) -> Result<PayoutFile, Refused> {
    let text = document.strip_prefix('\u{FEFF}').unwrap_or(document);
    if text.trim_start().starts_with('<') { pain001::read(text) } else { table::read(text) }
}

/// What a payout file asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PayoutFile {
    /// The format, such as `pain.001.001.09`.
    pub format: &'static str,
    /// `GrpHdr/MsgId`: a file is executed once per payer. Of a file that has none it is made from its bytes.
    pub message_id: String,
    /// Where that stands.
    pub message_place: Place,
    /// The account to pay from, where the file names it.
    pub debtor: Option<String>,
    /// The three-letter code of all amounts.
    pub currency: String,
    /// The payments.
    pub payments: Vec<Payout>,
}

/// One payment of a payout file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payout {
    /// Where it stands.
    pub place: Place,
    /// `PmtInf/PmtInfId` of the group it is in.
    pub group: Option<String>,
    /// `PmtId/EndToEndId`, or the reference.
    pub end_to_end_id: String,
    /// The creditor's account: `IBAN` or `Othr/Id`.
    pub creditor: String,
    /// `Amt/InstdAmt`, as written.
    pub amount: AmountText,
    /// `RmtInf/Ustrd`, or the creditor's name where there is none.
    pub purpose: Option<String>,
}

/// A place in the document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The path of elements, with positions where an element repeats; of a table `/row[3]/amount`.
    pub xpath: String,
    /// The line of the text, from 1.
    pub line: u32,
}

/// Why and where a file is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {}, {}: {what}", place.line, place.xpath)]
pub struct Refused {
    /// Where.
    pub place: Place,
    /// Why.
    pub what: Fault,
}

/// Why a file is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Not well-formed XML.
    Xml(String),
    /// A document type declaration.
    DocumentType,
    /// An entity other than the five of XML itself.
    Entity(String),
    /// A root or namespace of another format.
    Namespace,
    /// Nested too deeply, or a text too long.
    TooLarge,
    /// A required element is missing or empty.
    Missing(&'static str),
    /// A text that cannot be read as what it is.
    Malformed(&'static str),
    /// Not a credit transfer.
    Method(String),
    /// A count that is not the number of payments.
    Count {
        /// What it says.
        said: String,
        /// How many there are.
        found: usize,
    },
    /// A control sum that is not the sum of the amounts.
    ControlSum {
        /// What it says.
        said: String,
        /// What they add up to.
        found: String,
    },
    /// Amounts of two currencies, or payers of two accounts.
    Mixed(&'static str),
    /// More payments than are executed at once.
    TooManyPayments,
    /// Two payments with one end-to-end reference.
    DuplicateReference(String),
    /// Not a table as spreadsheets write it.
    Table(String),
    /// A text that a spreadsheet would compute.
    Formula,
    /// A file with this name was read before.
    KnownMessage(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Xml(why) => write!(f, "not well-formed XML: {why}"),
            Self::DocumentType => f.write_str("document type declarations are refused"),
            Self::Entity(name) => write!(f, "the entity {name} is refused"),
            Self::Namespace => f.write_str("not a pain.001.001.09 or pain.001.001.03 document"),
            Self::TooLarge => f.write_str("nested too deeply or too long"),
            Self::Missing(name) => write!(f, "{name} is missing"),
            Self::Malformed(name) => write!(f, "{name} cannot be read"),
            Self::Method(method) => write!(f, "the payment method {method} is not TRF"),
            Self::Count { said, found } => write!(f, "NbOfTxs says {said}, the file has {found}"),
            Self::ControlSum { said, found } => {
                write!(f, "CtrlSum says {said}, the amounts add up to {found}")
            }
            Self::Mixed(name) => write!(f, "two different values of {name} in one file"),
            Self::TooManyPayments => {
                write!(f, "more than {} payments in one file", qwallet_api::BATCH_ITEMS_MAX)
            }
            Self::DuplicateReference(id) => write!(f, "two payments have the EndToEndId {id}"),
            Self::Table(why) => write!(f, "not a table of payments: {why}"),
            Self::Formula => f.write_str("a cell that begins like a formula is refused"),
            Self::KnownMessage(id) => write!(f, "a file with MsgId {id} was read before"),
        }
    }
}

/// The scale in which sums of any currency are compared: a control sum ignores currencies.
const WIDE: Scale = match Scale::new(18) {
    Some(scale) => scale,
    None => panic!("18 decimals are the most"),
};

fn decimal(text: &str) -> Option<Amount> {
    AmountText::from(text).parse(WIDE).ok()
}
