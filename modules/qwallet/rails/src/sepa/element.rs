//! A document of a bank as a tree, read with everything off that could hide or fetch something.

use quick_xml::{
    Reader,
    events::{BytesStart, Event},
};

use super::StatementError;

const DEPTH_MAX: usize = 32;
const ELEMENTS_MAX: usize = 2_000_000;
const TEXT_BYTES_MAX: usize = 4 * 1024;

/// An element.
#[derive(Debug, Default)]
pub(super) struct Element {
    pub name: String,
    pub text: String,
    /// The attribute `Ccy` of amounts, and `xmlns` of the document.
    pub attribute: Option<String>,
    pub children: Vec<Element>,
}

impl Element {
    /// Reads a document.
    pub(super) fn read(document: &str) -> Result<Self, StatementError> {
        let mut reader = Reader::from_str(document.trim_start_matches('\u{feff}'));
        reader.config_mut().enable_all_checks(true);
        reader.config_mut().expand_empty_elements = true;
        let mut open: Vec<Self> = Vec::new();
        let mut count = 0;
        loop {
            let at = reader.buffer_position();
            let malformed = |what: &str| StatementError::Xml(format!("{what} at byte {at}"));
            match reader.read_event().map_err(|error| StatementError::Xml(error.to_string()))? {
                Event::Start(start) => {
                    count += 1;
                    if open.len() >= DEPTH_MAX || count > ELEMENTS_MAX {
                        return Err(malformed("too many elements"));
                    }
                    open.push(Self::open(&start));
                }
                Event::End(_) => {
                    let Some(mut closed) = open.pop() else {
                        return Err(malformed("an end without a start"));
                    };
                    closed.text.truncate(closed.text.trim_end().len());
                    match open.last_mut() {
                        Some(parent) => parent.children.push(closed),
                        None => return Ok(closed),
                    }
                }
                Event::Text(text) => put(&mut open, &text.xml10_content(), &malformed)?,
                Event::CData(text) => put(&mut open, &text.xml10_content(), &malformed)?,
                Event::GeneralRef(name) => {
                    let known = match &*name.xml10_content() {
                        "amp" => Some('&'),
                        "lt" => Some('<'),
                        "gt" => Some('>'),
                        "quot" => Some('"'),
                        "apos" => Some('\''),
                        _ => name.resolve_char_ref().ok().flatten(),
                    };
                    let known = known.ok_or_else(|| malformed("an entity that is not one of XML's own"))?;
                    put(&mut open, known.encode_utf8(&mut [0; 4]), &malformed)?;
                }
                Event::DocType(_) => return Err(malformed("a document type")),
                Event::Eof => return Err(malformed("the document ends too early")),
                Event::Decl(_) | Event::Comment(_) | Event::PI(_) | Event::Empty(_) => {}
            }
        }
    }

    fn open(start: &BytesStart<'_>) -> Self {
        let attribute = |name: &str| start.try_get_attribute(name).ok().flatten();
        let attribute = attribute("Ccy").or_else(|| attribute("xmlns"));
        let attribute = attribute.map(|attribute| attribute.value.to_string());
        Self { name: start.local_name().as_ref().to_owned(), attribute, ..Self::default() }
    }

    /// The element at the end of a path.
    pub(super) fn at(&self, path: &str) -> Option<&Self> {
        path.split('/')
            .try_fold(self, |element, name| element.children.iter().find(|child| child.name == name))
    }

    /// The text at the end of a path, unless there is none.
    pub(super) fn text_at(&self, path: &str) -> Option<&str> {
        self.at(path).map(|element| element.text.as_str()).filter(|text| !text.is_empty())
    }

    /// The children with this name.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Self> {
        self.children.iter().filter(move |child| child.name == name)
    }
}

fn put(
    open: &mut [Element],
    text: &str,
    malformed: &dyn Fn(&str) -> StatementError,
) -> Result<(), StatementError> {
    let Some(element) = open.last_mut() else {
        return if text.trim().is_empty() { Ok(()) } else { Err(malformed("text outside the document")) };
    };
    // White space at the beginning and between elements is layout.
    let text = if element.text.is_empty() { text.trim_start() } else { text };
    if element.text.len() + text.len() > TEXT_BYTES_MAX {
        return Err(malformed("a text that is too long"));
    }
    element.text.push_str(text);
    Ok(())
}
