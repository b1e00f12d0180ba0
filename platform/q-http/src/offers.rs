//! What a module offers to models besides tools: resources they may read, and prompts people may choose.
//!
//! **Invariant:** a resource is an endpoint under another name: who may not ask the one may not read the other.

use std::collections::BTreeMap;

/// Something to read, answered by an endpoint of the module.
#[derive(Debug, Clone, Copy)]
pub struct Resource {
    /// Where it is: `qwallet://balances`, or with places that the reader fills, `qwallet://balances/{squidId}`. What
    /// stands in a place becomes the endpoint's field of that name.
    pub uri: &'static str,
    /// A short name.
    pub name: &'static str,
    /// What it is, for whoever chooses.
    pub about: &'static str,
    /// The endpoint that answers ([`q_contract::Endpoint::OPERATION`]); one that reads.
    pub operation: &'static str,
    /// The endpoint's field that the reader's own DID is put into, where the URI does not name somebody.
    pub reader_as: Option<&'static str>,
}

impl Resource {
    /// Whether its URI has places to fill.
    pub(crate) fn is_template(&self) -> bool {
        self.uri.contains('{')
    }

    /// The fields that `uri` fills, if it is one of this resource.
    pub(crate) fn fields(&self, uri: &str) -> Option<BTreeMap<&'static str, String>> {
        let (wanted, given) = (self.uri.split('/'), uri.split('/'));
        let mut fields = BTreeMap::new();
        let mut given = given.fuse();
        for part in wanted {
            let filled = given.next()?;
            match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
                Some(_) if filled.is_empty() => return None,
                Some(name) => {
                    // RFC 6570 section 3.2.2: reserved characters come percent-encoded.
                    let text = percent_encoding::percent_decode_str(filled).decode_utf8().ok()?;
                    fields.insert(name, text.into_owned());
                }
                None if part == filled => {}
                None => return None,
            }
        }
        given.next().is_none().then_some(fields)
    }
}

/// A beginning of a conversation that a person chooses.
#[derive(Debug, Clone, Copy)]
pub struct Prompt {
    /// Its name.
    pub name: &'static str,
    /// What it does, for whoever chooses.
    pub about: &'static str,
    /// What it asks for.
    pub arguments: &'static [PromptArgument],
    /// Writes it.
    pub write: fn(&BTreeMap<String, String>) -> Written,
}

/// Something a prompt asks for.
#[derive(Debug, Clone, Copy)]
pub struct PromptArgument {
    /// Its name.
    pub name: &'static str,
    /// What is to be given.
    pub about: &'static str,
    /// Whether it must be given.
    pub is_required: bool,
}

/// What a prompt says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The words.
    pub text: String,
    /// The resource that goes with them, read as whoever chose the prompt.
    pub resource: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_takes_what_fits_it() {
        let at = |uri| Resource { uri, name: "", about: "", operation: "", reader_as: None };
        let own = at("x://things");
        assert!(!own.is_template());
        assert_eq!(own.fields("x://things"), Some(BTreeMap::new()));
        for other in ["x://things/", "x://thing", "y://things", "x://things/a", ""] {
            assert_eq!(own.fields(other), None, "{other}");
        }
        let template = at("x://things/{squidId}");
        assert!(template.is_template());
        for (uri, id) in
            [("x://things/a", "a"), ("x://things/did%3Ax%3Aa", "did:x:a"), ("x://things/did:x:a", "did:x:a")]
        {
            assert_eq!(template.fields(uri).unwrap()["squidId"], id, "{uri}");
        }
        for other in ["x://things", "x://things/", "x://things/a/b", "x://things/%ff"] {
            assert_eq!(template.fields(other), None, "{other}");
        }
    }
}
