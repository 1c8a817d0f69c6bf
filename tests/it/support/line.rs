//! What somebody says: a message to send, and what of it the archive must hold.

use super::client::Client;

/// A message that is about to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) to: String,
    kind: &'static str,
    message_type: &'static str,
    id: Id,
    origin_id: Option<String>,
    thread: Option<String>,
    subject: Option<String>,
    pub(crate) body: Option<String>,
    payload: String,
    is_kept: bool,
    is_body_fallback: bool,
    passed_on_to: Option<String>,
}

#[derive(Clone, Debug)]
enum Id {
    Fresh,
    Given(String),
    None,
}

/// A message that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    /// What the archive calls it: `message`, `correction` and so on.
    pub(crate) kind: &'static str,
    pub(crate) message_type: &'static str,
    pub(crate) sender: String,
    pub(crate) resource: String,
    /// The address as it was written.
    pub(crate) to: String,
    pub(crate) id: Option<String>,
    pub(crate) origin_id: Option<String>,
    pub(crate) thread: Option<String>,
    pub(crate) subject: Option<String>,
    pub(crate) body: Option<String>,
    /// Whether the archive is to hold it.
    pub(crate) is_kept: bool,
    /// Whether the body is for clients that don't understand the rest, so that the archive may leave it out.
    pub(crate) is_body_fallback: bool,
    /// Whom a room passes it on to, alone.
    pub(crate) passed_on_to: Option<String>,
    /// What was sent.
    pub(crate) xml: String,
}

/// A chat message.
pub(crate) fn chat(to: &str, body: &str) -> Line {
    Line::new("chat", to).body(body)
}

/// A message to everybody in a room.
pub(crate) fn groupchat(room: &str, body: &str) -> Line {
    Line::new("groupchat", room).body(body)
}

/// A message of type normal, without the attribute, as RFC 6121 section 5.2.2 wants it.
pub(crate) fn normal(to: &str, body: &str) -> Line {
    Line::new("normal", to).body(body)
}

impl Said {
    /// The beginning of what was sent, for the message of a test that failed.
    pub(crate) fn brief(&self) -> String {
        self.xml.chars().take(300).collect()
    }
}

impl Line {
    pub(crate) fn new(message_type: &'static str, to: &str) -> Line {
        Line {
            to: to.to_owned(),
            kind: "message",
            message_type,
            id: Id::Fresh,
            origin_id: None,
            thread: None,
            subject: None,
            body: None,
            payload: String::new(),
            is_kept: true,
            is_body_fallback: false,
            passed_on_to: None,
        }
    }

    pub(crate) fn body(mut self, body: &str) -> Line {
        self.body = Some(body.to_owned());
        self
    }

    pub(crate) fn subject(mut self, subject: &str) -> Line {
        self.subject = Some(subject.to_owned());
        self
    }

    pub(crate) fn thread(mut self, thread: &str) -> Line {
        self.thread = Some(thread.to_owned());
        self
    }

    pub(crate) fn id(mut self, id: &str) -> Line {
        self.id = Id::Given(id.to_owned());
        self
    }

    pub(crate) fn without_id(mut self) -> Line {
        self.id = Id::None;
        self
    }

    pub(crate) fn origin_id(mut self, id: &str) -> Line {
        self.origin_id = Some(id.to_owned());
        self
    }

    /// Adds XML.
    pub(crate) fn with(mut self, payload: &str) -> Line {
        self.payload.push_str(payload);
        self
    }

    /// What the archive calls it; alternatives are separated by `|`.
    pub(crate) fn kept_as(mut self, kind: &'static str) -> Line {
        self.kind = kind;
        self
    }

    /// A body for clients that don't understand the payload.
    pub(crate) fn fallback_body(mut self, body: &str) -> Line {
        self.is_body_fallback = true;
        self.body(body)
    }

    /// The room passes it on to one account, and may put a body of its own into it.
    pub(crate) fn passed_on_to(mut self, account: &str) -> Line {
        self.is_body_fallback = true;
        self.passed_on_to = Some(account.to_owned());
        self
    }

    /// Nothing that a person could read.
    pub(crate) fn not_kept(mut self) -> Line {
        self.is_kept = false;
        self
    }

    /// Sends it.
    pub(crate) fn send(self, client: &Client) -> Said {
        let id = match &self.id {
            Id::Fresh => Some(client.fresh_id("m")),
            Id::Given(id) => Some(id.clone()),
            Id::None => None,
        };
        let xml = self.xml(id.as_deref());
        client.send(&xml);
        Said {
            kind: self.kind,
            message_type: self.message_type,
            sender: client.account.clone(),
            resource: client.resource.clone(),
            to: self.to,
            id,
            origin_id: self.origin_id,
            thread: self.thread,
            subject: self.subject,
            body: self.body,
            is_kept: self.is_kept,
            is_body_fallback: self.is_body_fallback,
            passed_on_to: self.passed_on_to,
            xml,
        }
    }

    fn xml(&self, id: Option<&str>) -> String {
        let mut xml = format!("<message to='{}'", escape(&self.to));
        if self.message_type != "normal" {
            xml.push_str(&format!(" type='{}'", self.message_type));
        }
        if let Some(id) = id {
            xml.push_str(&format!(" id='{}'", escape(id)));
        }
        xml.push('>');
        let texts = [("subject", &self.subject), ("body", &self.body), ("thread", &self.thread)];
        for (name, text) in texts {
            if let Some(text) = text {
                xml.push_str(&format!("<{name}>{}</{name}>", escape(text)));
            }
        }
        if let Some(id) = &self.origin_id {
            xml.push_str(&format!("<origin-id xmlns='urn:xmpp:sid:0' id='{}'/>", escape(id)));
        }
        xml.push_str(&self.payload);
        xml.push_str("</message>");
        xml
    }
}

/// Text as it goes into XML.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '\'' => escaped.push_str("&apos;"),
            '"' => escaped.push_str("&quot;"),
            other => escaped.push(other),
        }
    }
    escaped
}
