//! Elements, attributes and text of XML 1.0; nothing that a reader could take for a document type or an entity of ours.

use quick_xml::escape::escape;

use super::text::one_line;

/// A document that is being written.
pub struct Xml {
    out: String,
}

impl Xml {
    /// A document that begins with `prolog`.
    pub fn begin(prolog: &str) -> Self {
        Self { out: prolog.to_owned() }
    }

    /// An element with others in it; `tag` may carry attributes that need no escaping.
    pub fn within(&mut self, tag: &str, content: impl FnOnce(&mut Self)) {
        self.out.push('<');
        self.out.push_str(tag);
        self.out.push('>');
        content(self);
        self.close(tag);
    }

    /// An element with one line of text; left out when there is none.
    pub fn leaf(&mut self, tag: &str, text: &str) {
        let text = one_line(text);
        if text.is_empty() {
            return;
        }
        self.out.push('<');
        self.out.push_str(tag);
        self.out.push('>');
        self.out.push_str(&escape(text.as_str()));
        self.close(tag);
    }

    fn close(&mut self, tag: &str) {
        let name = tag.split(' ').next().unwrap_or(tag);
        self.out.push_str("</");
        self.out.push_str(name);
        self.out.push_str(">\n");
    }

    /// The document.
    pub fn finish(self) -> String {
        self.out
    }
}
