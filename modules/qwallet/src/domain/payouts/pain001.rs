//! Reads payout files: ISO 20022 pain.001.001.09 and .03, customer credit transfer initiation.
//!
//! The reader refuses what could hide something from the one who signs: document types and entities of
//! any kind, other namespaces, unbounded depth, sums that do not add up. A refusal names the place by
//! XPath and line.

use std::collections::HashSet;

use q_core::{Amount, AmountText};
use quick_xml::{
    events::{BytesRef, BytesStart, Event},
    name::ResolveResult,
    reader::NsReader,
};

use super::{Fault, Payout, PayoutFile, Place, Refused, TEXT_BYTES_MAX, WIDE, decimal};

/// The deepest nesting read.
const DEPTH_MAX: usize = 24;

/// The namespaces read, and the names of their formats.
const FORMATS: [(&str, &str); 2] = [
    ("urn:iso:std:iso:20022:tech:xsd:pain.001.001.09", "pain.001.001.09"),
    ("urn:iso:std:iso:20022:tech:xsd:pain.001.001.03", "pain.001.001.03"),
];

/// Reads a document.
pub fn read(document: &str) -> Result<PayoutFile, Refused> {
    let mut walk = Walk::new(document);
    let mut file = Draft::default();
    loop {
        match walk.step()? {
            Step::Opened => file.open(&walk)?,
            Step::Closed(text) => file.close(&walk, text)?,
            Step::Finished => return file.finish(&walk),
        }
        walk.leave();
    }
}

enum Step {
    Opened,
    Closed(String),
    Finished,
}

struct Element {
    name: String,
    position: usize,
    seen: Vec<(String, usize)>,
    text: String,
    line: u32,
    currency: Option<String>,
}

impl Element {
    /// The position of the next child called `name`, from 1.
    fn next_position(&mut self, name: &str) -> usize {
        if let Some((_, count)) = self.seen.iter_mut().find(|(seen, _)| seen == name) {
            *count += 1;
            return *count;
        }
        self.seen.push((name.to_owned(), 1));
        1
    }
}

/// Follows the document with the path of open elements.
struct Walk<'a> {
    reader: NsReader<&'a [u8]>,
    document: &'a str,
    counted: (usize, u32),
    open: Vec<Element>,
    is_closing: bool,
    has_root: bool,
    format: Option<&'static str>,
}

impl<'a> Walk<'a> {
    fn new(document: &'a str) -> Self {
        let mut reader = NsReader::from_str(document);
        reader.config_mut().enable_all_checks(true);
        reader.config_mut().expand_empty_elements = true;
        Self {
            reader,
            document,
            counted: (0, 1),
            open: Vec::new(),
            is_closing: false,
            has_root: false,
            format: None,
        }
    }

    fn line(&mut self) -> u32 {
        let (from, line) = self.counted;
        let to =
            usize::try_from(self.reader.buffer_position()).unwrap_or(usize::MAX).min(self.document.len());
        let newlines = self.document.as_bytes()[from.min(to)..to].split(|byte| *byte == b'\n').count() - 1;
        self.counted = (to, line.saturating_add(u32::try_from(newlines).unwrap_or(u32::MAX)));
        self.counted.1
    }

    fn place(&self) -> Place {
        let xpath = if self.open.is_empty() {
            "/".to_owned()
        } else {
            let step = |element: &Element| match element.name.as_str() {
                "PmtInf" | "CdtTrfTxInf" => format!("/{}[{}]", element.name, element.position),
                name => format!("/{name}"),
            };
            self.open.iter().map(step).collect()
        };
        Place { xpath, line: self.open.last().map_or(self.counted.1, |element| element.line) }
    }

    fn refuse(&self, what: Fault) -> Refused {
        Refused { place: self.place(), what }
    }

    /// The names of the open elements below the root.
    fn path(&self) -> Vec<&str> {
        self.open.iter().skip(2).map(|element| element.name.as_str()).collect()
    }

    fn step(&mut self) -> Result<Step, Refused> {
        loop {
            let event = self.reader.read_resolved_event();
            let (namespace, event) = match event {
                Ok((ResolveResult::Bound(namespace), event)) => {
                    (FORMATS.iter().find(|(uri, _)| *uri == &*namespace.0), event)
                }
                Ok((ResolveResult::Unbound | ResolveResult::Unknown(_), event)) => (None, event),
                Err(error) => {
                    let what = Fault::Xml(error.to_string());
                    self.line();
                    return Err(self.refuse(what));
                }
            };
            let format = namespace.map(|(_, format)| *format);
            let line = self.line();
            match event {
                Event::Start(start) => return self.enter(&start, format, line),
                Event::End(_) => {
                    self.is_closing = true;
                    let text = self.open.last_mut().map(|element| std::mem::take(&mut element.text));
                    return Ok(Step::Closed(text.unwrap_or_default().trim().to_owned()));
                }
                Event::Text(text) => self.take_text(&text.xml10_content())?,
                Event::CData(text) => self.take_text(&text.xml10_content())?,
                Event::GeneralRef(name) => {
                    let text = self.reference(&name)?;
                    self.take_text(&text)?;
                }
                Event::DocType(_) => return Err(self.refuse(Fault::DocumentType)),
                Event::Eof if self.open.is_empty() => return Ok(Step::Finished),
                Event::Eof => return Err(self.refuse(Fault::Xml("the document ends too early".into()))),
                Event::Decl(_) | Event::Comment(_) | Event::PI(_) | Event::Empty(_) => {}
            }
        }
    }

    fn enter(
        &mut self,
        start: &BytesStart<'_>,
        format: Option<&'static str>,
        line: u32,
    ) -> Result<Step, Refused> {
        let name = start.local_name().as_ref().to_owned();
        let position = self.open.last_mut().map_or(1, |parent| parent.next_position(&name));
        let is_second_root = self.open.is_empty() && self.has_root;
        self.open.push(Element {
            name,
            position,
            seen: Vec::new(),
            text: String::new(),
            line,
            currency: None,
        });
        if self.open.len() > DEPTH_MAX {
            return Err(self.refuse(Fault::TooLarge));
        }
        let is_root_right = self.open.len() != 1 || (self.open[0].name == "Document" && !is_second_root);
        if format.is_none() || !is_root_right || self.format.is_some_and(|known| Some(known) != format) {
            return Err(self.refuse(Fault::Namespace));
        }
        self.has_root = true;
        self.format = format;
        if self.open.last().is_some_and(|element| element.name == "InstdAmt") {
            let attribute = start.try_get_attribute("Ccy").ok().flatten();
            let currency = attribute.map(|attribute| attribute.value.to_string());
            if let Some(element) = self.open.last_mut() {
                element.currency = currency;
            }
        }
        Ok(Step::Opened)
    }

    fn take_text(&mut self, text: &str) -> Result<(), Refused> {
        let Some(element) = self.open.last_mut() else {
            return if text.trim().is_empty() {
                Ok(())
            } else {
                Err(self.refuse(Fault::Xml("text outside the document".into())))
            };
        };
        // White space between elements is layout, not content, and may be of any length.
        if element.text.is_empty() && text.trim().is_empty() {
            return Ok(());
        }
        if element.text.len() + text.len() > TEXT_BYTES_MAX {
            return Err(self.refuse(Fault::TooLarge));
        }
        element.text.push_str(text);
        Ok(())
    }

    /// The five entities of XML itself and characters by number; every other could be a bomb or a file.
    fn reference(&self, reference: &BytesRef<'_>) -> Result<String, Refused> {
        let name = reference.xml10_content().into_owned();
        let known = match name.as_str() {
            "amp" => Some('&'),
            "lt" => Some('<'),
            "gt" => Some('>'),
            "quot" => Some('"'),
            "apos" => Some('\''),
            _ => reference.resolve_char_ref().ok().flatten(),
        };
        known.map(String::from).ok_or_else(|| self.refuse(Fault::Entity(name)))
    }

    /// Forgets the element that was closed, after its text was taken.
    fn leave(&mut self) {
        if self.is_closing {
            self.open.pop();
            self.is_closing = false;
        }
    }
}

#[derive(Default)]
struct Draft {
    message_id: Option<(Place, String)>,
    count: Option<(Place, String)>,
    sum: Option<(Place, String)>,
    group_count: Option<(Place, String)>,
    group_sum: Option<(Place, String)>,
    group_first: usize,
    group_id: Option<String>,
    debtor: Option<String>,
    currency: Option<String>,
    payments: Vec<Payout>,
    references: HashSet<String>,
    current: Option<PayoutDraft>,
}

struct PayoutDraft {
    place: Place,
    end_to_end_id: Option<String>,
    creditor: Option<String>,
    amount: Option<String>,
    purpose: Vec<String>,
    name: Option<String>,
}

impl Draft {
    fn open(&mut self, walk: &Walk<'_>) -> Result<(), Refused> {
        match walk.path().as_slice() {
            ["PmtInf"] => {
                self.group_first = self.payments.len();
                self.group_id = None;
                self.group_count = None;
                self.group_sum = None;
            }
            ["PmtInf", "CdtTrfTxInf"] => {
                if self.payments.len() >= qwallet_api::BATCH_ITEMS_MAX {
                    return Err(walk.refuse(Fault::TooManyPayments));
                }
                self.current = Some(PayoutDraft {
                    place: walk.place(),
                    end_to_end_id: None,
                    creditor: None,
                    amount: None,
                    purpose: Vec::new(),
                    name: None,
                });
            }
            _ => {}
        }
        Ok(())
    }

    fn close(&mut self, walk: &Walk<'_>, text: String) -> Result<(), Refused> {
        match walk.path().as_slice() {
            ["GrpHdr", "MsgId"] => self.message_id = Some((walk.place(), text)),
            ["GrpHdr", "NbOfTxs"] => self.count = Some((walk.place(), text)),
            ["GrpHdr", "CtrlSum"] => self.sum = Some((walk.place(), text)),
            ["PmtInf", "PmtInfId"] => self.group_id = Some(text),
            ["PmtInf", "NbOfTxs"] => self.group_count = Some((walk.place(), text)),
            ["PmtInf", "CtrlSum"] => self.group_sum = Some((walk.place(), text)),
            ["PmtInf", "PmtMtd"] if text != "TRF" => return Err(walk.refuse(Fault::Method(text))),
            ["PmtInf", "DbtrAcct", "Id", "IBAN"] | ["PmtInf", "DbtrAcct", "Id", "Othr", "Id"] => {
                same(&mut self.debtor, text, walk, "DbtrAcct")?;
            }
            ["PmtInf", "CdtTrfTxInf"] => self.close_payment(walk)?,
            ["PmtInf", "CdtTrfTxInf", path @ ..] => self.close_in_payment(path, walk, text)?,
            ["PmtInf"] => {
                let payments = &self.payments[self.group_first..];
                check_totals(self.group_count.take(), self.group_sum.take(), payments)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn close_in_payment(&mut self, path: &[&str], walk: &Walk<'_>, text: String) -> Result<(), Refused> {
        let Some(current) = &mut self.current else { return Ok(()) };
        match path {
            ["PmtId", "EndToEndId"] => current.end_to_end_id = Some(text),
            ["Amt", "InstdAmt"] => {
                let currency = walk.open.last().and_then(|element| element.currency.clone());
                let currency = currency.ok_or_else(|| walk.refuse(Fault::Missing("the attribute Ccy")))?;
                same(&mut self.currency, currency, walk, "Ccy")?;
                if decimal(&text).is_none() {
                    return Err(walk.refuse(Fault::Malformed("InstdAmt")));
                }
                current.amount = Some(text);
            }
            ["Amt", "EqvtAmt"] => return Err(walk.refuse(Fault::Malformed("Amt"))),
            ["CdtrAcct", "Id", "IBAN"] | ["CdtrAcct", "Id", "Othr", "Id"] => current.creditor = Some(text),
            ["Cdtr", "Nm"] => current.name = Some(text),
            ["RmtInf", "Ustrd"] => current.purpose.push(text),
            _ => {}
        }
        Ok(())
    }

    fn close_payment(&mut self, walk: &Walk<'_>) -> Result<(), Refused> {
        let Some(current) = self.current.take() else { return Ok(()) };
        let missing = |name| Refused { place: current.place.clone(), what: Fault::Missing(name) };
        let present = |text: Option<String>| text.filter(|text| !text.is_empty());
        let end_to_end_id =
            present(current.end_to_end_id.clone()).ok_or_else(|| missing("PmtId/EndToEndId"))?;
        let creditor = present(current.creditor.clone()).ok_or_else(|| missing("CdtrAcct/Id"))?;
        let amount = present(current.amount.clone()).ok_or_else(|| missing("Amt/InstdAmt"))?;
        // NOTPROVIDED is the standard's word for "no reference" and may repeat.
        let is_reference = end_to_end_id != "NOTPROVIDED";
        if is_reference && !self.references.insert(end_to_end_id.clone()) {
            return Err(walk.refuse(Fault::DuplicateReference(end_to_end_id)));
        }
        let text = if current.purpose.is_empty() { current.name } else { Some(current.purpose.join(" ")) };
        self.payments.push(Payout {
            place: current.place,
            group: present(self.group_id.clone()),
            end_to_end_id,
            creditor,
            amount: AmountText::Text(amount),
            purpose: present(text),
        });
        Ok(())
    }

    fn finish(self, walk: &Walk<'_>) -> Result<PayoutFile, Refused> {
        let missing = |name| walk.refuse(Fault::Missing(name));
        let format = walk.format.ok_or_else(|| walk.refuse(Fault::Namespace))?;
        let message_id = self.message_id.filter(|(_, id)| !id.is_empty());
        let (message_place, message_id) = message_id.ok_or_else(|| missing("GrpHdr/MsgId"))?;
        if message_id.chars().count() > 35 {
            return Err(walk.refuse(Fault::Malformed("GrpHdr/MsgId")));
        }
        if self.count.is_none() {
            return Err(missing("GrpHdr/NbOfTxs"));
        }
        check_totals(self.count, self.sum, &self.payments)?;
        let currency = self.currency.ok_or_else(|| missing("CdtTrfTxInf"))?;
        Ok(PayoutFile {
            format,
            message_id,
            message_place,
            debtor: self.debtor,
            currency,
            payments: self.payments,
        })
    }
}

fn same(
    known: &mut Option<String>,
    text: String,
    walk: &Walk<'_>,
    name: &'static str,
) -> Result<(), Refused> {
    match known {
        Some(known) if *known != text => Err(walk.refuse(Fault::Mixed(name))),
        Some(_) => Ok(()),
        None => {
            *known = Some(text);
            Ok(())
        }
    }
}

fn check_totals(
    count: Option<(Place, String)>,
    sum: Option<(Place, String)>,
    payments: &[Payout],
) -> Result<(), Refused> {
    if let Some((place, said)) = count {
        let found = payments.len();
        if said.parse::<usize>() != Ok(found) {
            return Err(Refused { place, what: Fault::Count { said, found } });
        }
    }
    if let Some((place, said)) = sum {
        let amounts = payments.iter().map(|payment| decimal(payment.amount.as_str()));
        let found = amounts.into_iter().try_fold(Amount::ZERO, |sum, amount| sum.checked_add(amount?));
        let found = found.ok_or_else(|| Refused { place: place.clone(), what: Fault::TooLarge })?;
        if decimal(&said) != Some(found) {
            let found = found.display(WIDE);
            return Err(Refused { place, what: Fault::ControlSum { said, found } });
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "pain001_tests.rs"]
mod tests;
