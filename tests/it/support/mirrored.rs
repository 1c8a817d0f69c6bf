//! Stanzas as nodes mirror them, written out for tests that need one in particular. The node is `h`, its rooms live at `m.h`.

use xmpp_archiver::node::{Kind, Node};
use xmpp_archiver::time::{Micros, rfc3339};

use super::line::escape;

/// A node with users at `host` and rooms at `m.host`.
pub(crate) fn node(name: &str, host: &str, kind: Kind) -> Node {
    Node {
        name: name.to_owned(),
        domain: format!("archive.{host}"),
        hosts: [host.to_owned()].into(),
        muc: [format!("m.{host}")].into(),
        kind,
        ..Node::default()
    }
}

/// A message, with whatever XML stands after the body.
#[derive(Clone, Debug, Default)]
pub(crate) struct Written {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) message_type: &'static str,
    pub(crate) id: Option<String>,
    pub(crate) body: String,
    pub(crate) payload: String,
}

impl Written {
    pub(crate) fn chat(from: &str, to: &str, body: &str) -> Written {
        Written { from: from.to_owned(), to: to.to_owned(), message_type: "chat", body: body.to_owned(), ..Written::default() }
    }

    pub(crate) fn groupchat(from: &str, to: &str, body: &str) -> Written {
        Written { message_type: "groupchat", ..Written::chat(from, to, body) }
    }

    pub(crate) fn id(self, id: &str) -> Written {
        Written { id: Some(id.to_owned()), ..self }
    }

    pub(crate) fn with(mut self, payload: &str) -> Written {
        self.payload.push_str(payload);
        self
    }

    /// The stamp of a server that delivers late (XEP-0203).
    pub(crate) fn delayed(self, by: &str, at: Micros) -> Written {
        self.with(&delay(by, at))
    }

    /// XEP-0359.
    pub(crate) fn stanza_id(self, by: &str, id: &str) -> Written {
        self.with(&format!("<stanza-id xmlns='urn:xmpp:sid:0' by='{by}' id='{id}'/>"))
    }

    pub(crate) fn to(&self, to: &str) -> Written {
        Written { to: to.to_owned(), ..self.clone() }
    }

    pub(crate) fn from(&self, from: &str) -> Written {
        Written { from: from.to_owned(), ..self.clone() }
    }

    pub(crate) fn xml(&self) -> String {
        let id = self.id.as_ref().map(|id| format!(" id='{}'", escape(id))).unwrap_or_default();
        let body = if self.body.is_empty() { String::new() } else { format!("<body>{}</body>", escape(&self.body)) };
        format!(
            "<message xmlns='jabber:client' from='{}' to='{}' type='{}'{id}>{body}{}</message>",
            escape(&self.from),
            escape(&self.to),
            self.message_type,
            self.payload
        )
    }

    /// As ejabberd's mod_service_log mirrors it.
    pub(crate) fn by_service_log(&self, host: &str) -> String {
        service_log(host, &self.xml())
    }

    /// As Prosody's mod_firewall mirrors it.
    pub(crate) fn by_firewall(&self, host: &str) -> String {
        service_log(host, &self.xml()).replacen(" id='7'", "", 1)
    }
}

fn delay(by: &str, at: Micros) -> String {
    format!("<delay xmlns='urn:xmpp:delay' from='{by}' stamp='{}'/>", rfc3339(at))
}

/// Any stanza as ejabberd's mod_service_log mirrors it.
pub(crate) fn service_log(host: &str, stanza: &str) -> String {
    format!("<message to='archive.{host}' from='{host}' id='7'><forwarded xmlns='urn:xmpp:forward:0'>{stanza}</forwarded></message>")
}

/// What somebody's archive, or a room's, answers to a query (XEP-0313).
pub(crate) fn archive_result(archive: &str, to: &str, id: &str, at: Micros, message: &Written) -> String {
    format!(
        "<message xmlns='jabber:client' from='{archive}' to='{to}'><result xmlns='urn:xmpp:mam:2' queryid='q' id='{id}'>\
         <forwarded xmlns='urn:xmpp:forward:0'>{}{}</forwarded></result></message>",
        delay(archive, at),
        message.xml()
    )
}

/// A carbon (XEP-0280): `sent` or `received`.
pub(crate) fn carbon(kind: &str, from: &str, to: &str, message: &Written) -> String {
    format!(
        "<message xmlns='jabber:client' from='{from}' to='{to}' type='chat'><{kind} xmlns='urn:xmpp:carbons:2'>\
         <forwarded xmlns='urn:xmpp:forward:0'>{}</forwarded></{kind}></message>",
        message.xml()
    )
}

/// Our own mirror's envelope, in a message or in an iq.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wrapped {
    /// `sent` or `received`.
    pub(crate) direction: &'static str,
    pub(crate) host: String,
    pub(crate) epoch: String,
    pub(crate) sequence: u64,
    pub(crate) reference: Option<String>,
    pub(crate) session: Option<String>,
}

impl Wrapped {
    pub(crate) fn message(&self, stanza: &str) -> String {
        format!("<message from='{0}' to='archive.{0}'>{1}</message>", self.host, self.mirror(stanza))
    }

    pub(crate) fn iq(&self, id: &str, stanza: &str) -> String {
        format!("<iq type='set' id='{id}' from='{0}' to='archive.{0}'>{1}</iq>", self.host, self.mirror(stanza))
    }

    fn mirror(&self, stanza: &str) -> String {
        let optional = |name: &str, value: &Option<String>| value.as_ref().map(|value| format!(" {name}='{value}'")).unwrap_or_default();
        format!(
            "<mirror xmlns='urn:xmpp-archiver:mirror:0' direction='{}' host='{}' epoch='{}' seq='{}'{}{}>\
             <forwarded xmlns='urn:xmpp:forward:0'>{stanza}</forwarded></mirror>",
            self.direction,
            self.host,
            self.epoch,
            self.sequence,
            optional("ref", &self.reference),
            optional("session", &self.session)
        )
    }
}
