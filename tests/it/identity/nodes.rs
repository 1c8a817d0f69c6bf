//! What nodes make of a conversation: the copies of each message, by the channel that they come by.

use xmpp_archiver::node::{Kind, Node};

use crate::support::mirrored::{Wrapped, Written, node, service_log};

const SENDERS: [(&str, &str); 3] = [("alice@h/desk", "Alice"), ("alice@h/phone", "Alice 2"), ("carol@h/desk", "Carol")];
/// Recipients with their sessions.
const RECIPIENTS: [(&str, &[&str]); 2] = [("bob@h", &["bob@h/a", "bob@h/b", "bob@h/c"]), ("dave@h", &["dave@h/x"])];
const ROOM: &str = "r@m.h";

/// Something that somebody sent; the numbers choose among a few.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) sender: usize,
    pub(super) recipient: usize,
    pub(super) to_full: bool,
    pub(super) id: Option<u8>,
    pub(super) body: u8,
}

/// How a node mirrors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mirror {
    /// Our own envelope with a `ref`.
    Envelope,
    /// Prosody's mod_firewall.
    Firewall,
    /// ejabberd's mod_service_log.
    ServiceLog { sessions_known: bool },
    /// The same, with everything said in a room.
    Room,
}

/// One copy.
#[derive(Clone, Debug)]
pub(super) struct Mirrored {
    /// Which message it is of.
    pub(super) n: usize,
    /// Copies of one channel come in the order of the messages.
    pub(super) channel: String,
    /// It can't come before this one.
    pub(super) after: Option<(String, usize)>,
    pub(super) sessions: Option<u16>,
    pub(super) stanza: String,
}

impl Mirror {
    pub(super) fn node(self) -> Node {
        let kind = match self {
            Mirror::Envelope => Kind::Auto,
            Mirror::Firewall => Kind::Prosody,
            Mirror::ServiceLog { .. } | Mirror::Room => Kind::Ejabberd,
        };
        node("node", "h", kind)
    }

    /// What is mirrored before anybody says anything: who is in the room.
    pub(super) fn prelude(self) -> Vec<String> {
        let joins = |(jid, nick): (&str, &str)| {
            service_log(
                "h",
                &format!(
                    "<presence xmlns='jabber:client' from='{ROOM}/{nick}' to='{jid}'><x xmlns='http://jabber.org/protocol/muc#user'><item jid='{jid}'/><status code='110'/></x></presence>"
                ),
            )
        };
        if self == Mirror::Room { SENDERS.map(joins).to_vec() } else { Vec::new() }
    }

    /// Recipient, sender, id and body, as the archive shows them.
    pub(super) fn content(self, sent: &Sent) -> (String, String, Option<String>, String) {
        let written = written(self, sent);
        (written.to, written.from, written.id, written.body)
    }
}

fn written(mirror: Mirror, sent: &Sent) -> Written {
    let (sender, _) = SENDERS[sent.sender];
    let (account, sessions) = RECIPIENTS[sent.recipient];
    let body = ["ok", "yes", "no"][usize::from(sent.body)];
    let written = match mirror {
        Mirror::Room => Written::groupchat(sender, ROOM, body),
        _ => Written::chat(sender, if sent.to_full { sessions[0] } else { account }, body),
    };
    match sent.id {
        Some(id) => written.id(&format!("id-{id}")),
        None => written,
    }
}

/// Every copy of the n-th message.
pub(super) fn mirrored(mirror: Mirror, n: usize, sent: &Sent) -> Vec<Mirrored> {
    let message = written(mirror, sent);
    let (_, all) = RECIPIENTS[sent.recipient];
    let receiving = if sent.to_full { &all[..1] } else { all };
    let copy = |channel: &str, stanza: String| Mirrored { n, channel: channel.to_owned(), after: None, sessions: None, stanza };
    match mirror {
        Mirror::Envelope => enveloped(n, &message, receiving),
        Mirror::Firewall => ["sent", "delivered"].map(|channel| copy(channel, message.by_firewall("h"))).to_vec(),
        Mirror::ServiceLog { sessions_known } => {
            let sessions = Some(receiving.len() as u16).filter(|_| sessions_known && !sent.to_full);
            let channels = ["sent"].iter().chain(receiving);
            channels.map(|channel| Mirrored { sessions, ..copy(channel, message.by_service_log("h")) }).collect()
        }
        Mirror::Room => said_in_room(n, sent, &message),
    }
}

/// Deliveries may even come before the send: only the ref tells.
fn enveloped(n: usize, message: &Written, receiving: &[&str]) -> Vec<Mirrored> {
    let envelope = |direction: &'static str, session: &str| {
        // Without a position in a queue, since the order is arbitrary here.
        let wrapped = Wrapped {
            direction,
            host: "h".to_owned(),
            reference: Some(format!("ref-{n}")),
            session: Some(session.to_owned()),
            ..Wrapped::default()
        };
        let stanza = wrapped.message(&message.xml()).replacen(" epoch='' seq='0'", "", 1);
        Mirrored { n, channel: format!("{direction} {session} {n}"), after: None, sessions: None, stanza }
    };
    let received = receiving.iter().map(|session| envelope("received", session));
    std::iter::once(envelope("sent", &message.from)).chain(received).collect()
}

/// The room handles what one person says in order, and gives each occupant all that was said in the same order.
fn said_in_room(n: usize, sent: &Sent, message: &Written) -> Vec<Mirrored> {
    let (_, nick) = SENDERS[sent.sender];
    let into = Mirrored { n, channel: "into the room".to_owned(), after: None, sessions: None, stanza: message.by_service_log("h") };
    let out = SENDERS.iter().map(|(jid, _)| {
        let stanza = message.from(&format!("{ROOM}/{nick}")).to(jid).stanza_id(ROOM, &format!("room-{n}")).by_service_log("h");
        Mirrored { n, channel: format!("to {jid}"), after: Some((into.channel.clone(), n)), sessions: None, stanza }
    });
    let out: Vec<Mirrored> = out.collect();
    std::iter::once(into).chain(out).collect()
}
