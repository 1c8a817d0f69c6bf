//! What somebody sends, before the stage puts addresses on it.

use super::Kind;

/// Something that somebody sends: the stanza without its addresses, and what the archive should make of it.
#[derive(Debug, Clone)]
pub struct Draft {
    pub(super) kind: Option<Kind>,
    pub(super) kind_of_stanza: &'static str,
    elements: String,
    pub(super) body: Option<String>,
    pub(super) subject: Option<String>,
    thread: Option<&'static str>,
    pub(super) readable: bool,
    pub(super) private: bool,
}

impl Draft {
    /// A message with a body.
    pub fn text(body: &str) -> Self {
        Self { body: Some(body.to_owned()), ..Self::element(Kind::Message, String::new()) }
    }

    /// A message without a body, whose content is these elements.
    pub fn element(kind: Kind, elements: String) -> Self {
        Self { kind: Some(kind), kind_of_stanza: "chat", elements, body: None, subject: None, thread: None, readable: true, private: false }
    }

    /// Something that no person reads, such as a chat state.
    pub fn noise(elements: &str) -> Self {
        Self { kind: None, ..Self::element(Kind::Message, elements.to_owned()) }
    }

    /// Adds an element.
    #[must_use]
    pub fn with(mut self, element: &str) -> Self {
        self.elements.push_str(element);
        self
    }

    /// Says what it is.
    #[must_use]
    pub fn kind(mut self, kind: Kind) -> Self {
        self.kind = Some(kind);
        self
    }

    /// The stanza's `type`; `normal` writes none.
    #[must_use]
    pub fn typed(mut self, kind_of_stanza: &'static str) -> Self {
        self.kind_of_stanza = kind_of_stanza;
        self
    }

    /// Adds a subject.
    #[must_use]
    pub fn subject(mut self, subject: &str) -> Self {
        self.subject = Some(subject.to_owned());
        self
    }

    /// Adds a thread.
    #[must_use]
    pub fn thread(mut self, thread: &'static str) -> Self {
        self.thread = Some(thread);
        self
    }

    /// Encrypts it: the body is only what clients without the key show.
    #[must_use]
    pub fn unreadable(mut self) -> Self {
        self.readable = false;
        self
    }

    /// Asks for no carbons (XEP-0280 section 9).
    #[must_use]
    pub fn private(mut self) -> Self {
        self.private = true;
        self.with("<private xmlns='urn:xmpp:carbons:2'/><no-copy xmlns='urn:xmpp:hints'/>")
    }

    /// The stanza's content in the order in which ejabberd writes it.
    pub(super) fn payload(&self) -> String {
        let mut payload = self.elements.clone();
        if let Some(body) = &self.body {
            payload += &format!("<body>{}</body>", escaped(body));
        }
        if let Some(subject) = &self.subject {
            payload += &format!("<subject>{}</subject>", escaped(subject));
        }
        if let Some(thread) = self.thread {
            payload += &format!("<thread>{thread}</thread>");
        }
        payload
    }
}

/// Character data as XML writes it.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
