//! The stage: expands what people do into what ejabberd 23.01 mirrors of it.
//!
//! The rules are those that were measured on the real server: a message to a bare JID is forked to every session; carbons go
//! to the sessions that neither sent nor received it; an absent recipient gets a late copy when they return; a room sends each
//! occupant a copy under its own stanza-id; inside the mirror's wrapper the sent copy and the received ones are equal byte for byte.
//! Every stanza takes one step of the clock, and ids come from a counter stirred well, so a play always yields the same bytes.

use std::collections::BTreeMap;

use super::draft::{Draft, escaped};
use super::{COMPONENT, HOST, Kind, Line, Message, Micros, ROOMS, Role, Source};

/// What a later message needs to refer to an earlier one.
#[derive(Debug, Clone)]
pub struct Said {
    index: Option<usize>,
    /// The stanza's id.
    pub id: String,
    /// The id that the room gave it, if it went through one.
    pub room_id: String,
}

#[derive(Debug, Clone)]
struct Online {
    resource: String,
    carbons: bool,
}

#[derive(Debug, Clone)]
struct Waiting {
    said: Said,
    at: Micros,
    from: String,
    to: String,
    kind_of_stanza: &'static str,
    payload: String,
}

#[derive(Debug, Clone)]
struct Occupant {
    nick: String,
    session: String,
    affiliation: &'static str,
    presence_id: String,
}

#[derive(Debug, Default)]
struct Room {
    occupants: Vec<Occupant>,
    history: Vec<Waiting>,
    subject: Option<(String, String, Option<usize>)>,
}

/// Who is where, and what has been mirrored so far.
#[derive(Debug)]
pub struct Stage {
    clock: Micros,
    pace: Micros,
    ids: u64,
    people: BTreeMap<String, Vec<Online>>,
    waiting: BTreeMap<String, Vec<Waiting>>,
    rooms: BTreeMap<String, Room>,
    lines: Vec<Line>,
    messages: Vec<Message>,
}

impl Stage {
    /// An empty stage: the server has just come up and tells the component what it may do (XEP-0356).
    pub fn new(start: Micros, pace: Micros) -> Self {
        let mut stage = Self {
            clock: start,
            pace: pace.max(1),
            ids: 0,
            people: BTreeMap::new(),
            waiting: BTreeMap::new(),
            rooms: BTreeMap::new(),
            lines: Vec::new(),
            messages: Vec::new(),
        };
        let permissions = "<privilege xmlns='urn:xmpp:privilege:1'><perm type='outgoing' access='message'/><perm type='get' access='roster'/>\
             <perm type='none' access='presence'/></privilege>";
        stage.put(format!("<message to='{COMPONENT}' from='{HOST}'>{permissions}</message>"), Role::Noise);
        stage
    }

    /// What was mirrored, and what it was.
    pub fn finish(self) -> (Vec<Line>, Vec<Message>) {
        (self.lines, self.messages)
    }

    /// Somebody comes online. Late copies of what they missed follow.
    pub fn arrives(&mut self, session: &str, carbons: bool) {
        let (user, resource) = split(session);
        let (bare, full) = (bare(user), full(session));
        let id = self.hex_id();
        self.presence(&bare, &full, &format!(" id='{id}'"), "");
        if carbons {
            let enable = self.hex_id();
            self.iq(&bare, &full, "set", &enable, "<enable xmlns='urn:xmpp:carbons:2'/>");
            self.iq(&full, &bare, "result", &enable, "");
        }
        let online = self.people.entry(user.to_owned()).or_default();
        let others: Vec<String> = online.iter().map(|other| format!("{bare}/{}", other.resource)).collect();
        online.push(Online { resource: resource.to_owned(), carbons });
        for late in self.waiting.remove(user).unwrap_or_default() {
            self.deliver_late(&late, &bare);
        }
        for other in others {
            self.presence(&other, &full, &format!(" id='{id}'"), "");
        }
        self.presence(&full, &full, &format!(" id='{id}'"), "");
    }

    /// Somebody goes offline.
    pub fn leaves(&mut self, session: &str) {
        let (user, resource) = split(session);
        let full = full(session);
        let online = self.people.entry(user.to_owned()).or_default();
        online.retain(|other| other.resource != resource);
        let others: Vec<String> = online.iter().map(|other| format!("{}/{}", bare(user), other.resource)).collect();
        for other in others {
            self.presence(&other, &full, " type='unavailable'", "");
        }
    }

    /// Somebody writes to a person: a user's name for the bare JID, `user/resource` for one session.
    pub fn sends(&mut self, from: &str, to: &str, draft: &Draft) -> Said {
        let sender = full(from);
        let recipient = address(to);
        let said = self.note(draft, &sender, &recipient);
        let stanza = message(&recipient, &sender, draft.kind_of_stanza, &said.id, &draft.payload());
        self.mirror(&stanza, self.role(&said, Source::Direct));
        let (user, resource) = split(to);
        let receiving = self.receiving(user, resource);
        if !draft.private {
            self.carbons(&said, "sent", from, &stanza);
        }
        for _ in &receiving {
            self.mirror(&stanza, self.role(&said, Source::Direct));
        }
        if let Some(taker) = receiving.first().filter(|_| !resource.is_empty() && !draft.private) {
            self.carbons(&said, "received", &format!("{user}/{taker}"), &stanza);
        }
        if receiving.is_empty() && draft.body.is_some() {
            self.keep_for_later(user, &said, sender, recipient, draft);
        }
        said
    }

    /// [`Stage::sends`], for plain words.
    pub fn says(&mut self, from: &str, to: &str, body: &str) -> Said {
        self.sends(from, to, &Draft::text(body))
    }

    /// Somebody writes to a user of another server: only the sent copy is mirrored, since the other half is the other server's.
    pub fn writes_abroad(&mut self, from: &str, to_jid: &str, body: &str) -> Said {
        let draft = Draft::text(body);
        let said = self.note(&draft, &full(from), to_jid);
        let stanza = message(to_jid, &full(from), "chat", &said.id, &draft.payload());
        self.mirror(&stanza, self.role(&said, Source::Direct));
        self.carbons(&said, "sent", from, &stanza);
        said
    }

    /// Somebody on another server writes to one of ours: only the received copies are mirrored.
    pub fn hears_from_abroad(&mut self, from_jid: &str, to: &str, body: &str) -> Said {
        let draft = Draft::text(body);
        let said = self.note(&draft, from_jid, &bare(to));
        let stanza = message(&bare(to), from_jid, "chat", &said.id, &draft.payload());
        for _ in self.receiving(to, "") {
            self.mirror(&stanza, self.role(&said, Source::Direct));
        }
        said
    }

    /// Somebody writes to an address that nobody has: the error that comes back repeats id and body.
    pub fn bounces(&mut self, from: &str, to: &str, body: &str) -> Said {
        let draft = Draft::text(body);
        let said = self.note(&draft, &full(from), &bare(to));
        let stanza = message(&bare(to), &full(from), "chat", &said.id, &draft.payload());
        self.mirror(&stanza, self.role(&said, Source::Direct));
        let error = "<error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>";
        let bounce = message(&full(from), &bare(to), "error", &said.id, &format!("{error}{}", draft.payload()));
        if let Some(index) = said.index {
            self.mirror(&bounce, Role::Bounce(index));
        }
        said
    }

    /// Somebody enters a room: they see who is there, the room's history and its subject; the others see them.
    pub fn joins(&mut self, session: &str, room: &str, nick: &str) {
        let (room_jid, full) = (room_jid(room), full(session));
        let presence_id = format!("j{}", self.number() % 10_000_000);
        let ask = format!(" id='{presence_id}'");
        self.presence(&format!("{room_jid}/{nick}"), &full, &ask, "<x xmlns='http://jabber.org/protocol/muc'/>");
        let mut state = self.rooms.remove(room).unwrap_or_default();
        let affiliation = if state.occupants.is_empty() { "owner" } else { "none" };
        let occupant = Occupant { nick: nick.to_owned(), session: full, affiliation, presence_id };
        self.introduce(&room_jid, &state.occupants, &occupant);
        for past in &state.history {
            self.replay(past, &room_jid, &occupant.session);
        }
        self.show_subject(&room_jid, &state, &occupant.session);
        state.occupants.push(occupant);
        self.rooms.insert(room.to_owned(), state);
    }

    /// Somebody leaves a room.
    pub fn parts(&mut self, session: &str, room: &str) {
        let (room_jid, full) = (room_jid(room), full(session));
        let Some(mut state) = self.rooms.remove(room) else { return };
        let everybody = state.occupants.clone();
        state.occupants.retain(|occupant| occupant.session != full);
        self.rooms.insert(room.to_owned(), state);
        let Some(leaver) = everybody.iter().find(|occupant| occupant.session == full) else { return };
        let from = format!("{room_jid}/{}", leaver.nick);
        self.presence(&from, &full, " type='unavailable'", "");
        for other in &everybody {
            let item = item(leaver, other, "none", other.session == full);
            self.presence(&other.session, &from, " type='unavailable'", &item);
        }
    }

    /// Somebody writes into a room: one copy in, and one out to each occupant under the room's stanza-id.
    pub fn sends_to_room(&mut self, from: &str, room: &str, draft: &Draft) -> Said {
        let (room_jid, sender) = (room_jid(room), full(from));
        let mut said = self.note(draft, &sender, &room_jid);
        let inbound = message(&room_jid, &sender, "groupchat", &said.id, &draft.payload());
        let at = self.clock;
        self.mirror(&inbound, self.role(&said, Source::IntoRoom));
        said.room_id = self.clock.to_string();
        let Some(mut state) = self.rooms.remove(room) else { return said };
        let nick = state.nick_of(&sender);
        let payload = format!("{}{}", archived(&room_jid, &said.room_id), draft.payload());
        let from_room = format!("{room_jid}/{nick}");
        for occupant in state.occupants.iter().rev() {
            let outbound = message(&occupant.session, &from_room, "groupchat", &said.id, &payload);
            self.mirror(&outbound, self.role(&said, Source::FromRoom));
        }
        if let (Some(subject), None) = (&draft.subject, &draft.body) {
            state.subject = Some((nick, subject.clone(), said.index));
        }
        // What has neither a body nor a subject, such as a reaction, is not part of ejabberd's room history.
        if draft.body.is_some() || draft.subject.is_some() {
            state.history.push(Waiting { said: said.clone(), at, from: from_room, to: room_jid, kind_of_stanza: "groupchat", payload });
        }
        self.rooms.insert(room.to_owned(), state);
        said
    }

    /// [`Stage::sends_to_room`], for plain words.
    pub fn says_in(&mut self, from: &str, room: &str, body: &str) -> Said {
        self.sends_to_room(from, room, &Draft::text(body))
    }

    /// A room private message (XEP-0045 section 7.5): two copies with different addresses and the same id.
    pub fn whispers(&mut self, from: &str, room: &str, to_nick: &str, body: &str) -> Said {
        let (room_jid, sender) = (room_jid(room), full(from));
        let draft = Draft::text(body).with("<x xmlns='http://jabber.org/protocol/muc#user'/>");
        let to = format!("{room_jid}/{to_nick}");
        let said = self.note(&draft, &sender, &to);
        let inbound = message(&to, &sender, "chat", &said.id, &draft.payload());
        self.mirror(&inbound, self.role(&said, Source::Direct));
        let Some(state) = self.rooms.get(room) else { return said };
        let from_room = format!("{room_jid}/{}", state.nick_of(&sender));
        let listener = state.occupants.iter().find(|occupant| occupant.nick == to_nick).map(|occupant| occupant.session.clone());
        if let Some(session) = listener {
            let outbound = message(&session, &from_room, "chat", &said.id, &draft.payload());
            self.mirror(&outbound, self.role(&said, Source::Direct));
        }
        said
    }

    /// A mediated invitation (XEP-0045 section 7.8.2): the room writes its own stanza to the invited, without the id.
    pub fn invites(&mut self, from: &str, room: &str, to: &str, reason: &str, password: &str) -> Said {
        let (room_jid, sender, guest) = (room_jid(room), full(from), bare(to));
        let invite =
            |who: String| format!("<x xmlns='http://jabber.org/protocol/muc#user'><invite {who}><reason>{reason}</reason></invite>");
        let draft = Draft::element(Kind::Invitation, format!("{}</x>", invite(format!("to='{guest}'")))).typed("normal");
        let said = self.note(&draft, &sender, &room_jid);
        let inbound = message(&room_jid, &sender, "normal", &said.id, &draft.payload());
        self.mirror(&inbound, self.role(&said, Source::IntoRoom));
        let payload = format!(
            "{}<password>{password}</password></x><x reason='{reason}' jid='{room_jid}' xmlns='jabber:x:conference'/>\
             <body xml:lang='en'>{sender} invites you to the room {room_jid} ({reason}) </body>",
            invite(format!("from='{sender}'"))
        );
        let outbound = format!("<message to='{guest}' from='{room_jid}' xmlns='jabber:client'>{payload}</message>");
        for _ in self.receiving(to, "") {
            self.mirror(&outbound, self.role(&said, Source::FromRoom));
        }
        said
    }

    /// Declining such an invitation (XEP-0045 section 7.8.2): the room passes it on, with the id.
    pub fn declines(&mut self, from: &str, room: &str, to: &str, reason: &str) -> Said {
        let (room_jid, sender, host) = (room_jid(room), full(from), bare(to));
        let decline =
            |who: String| format!("<x xmlns='http://jabber.org/protocol/muc#user'><decline {who}><reason>{reason}</reason></decline></x>");
        let draft = Draft::element(Kind::InvitationDeclined, decline(format!("to='{host}'"))).typed("normal");
        let said = self.note(&draft, &sender, &room_jid);
        let inbound = message(&room_jid, &sender, "normal", &said.id, &draft.payload());
        self.mirror(&inbound, self.role(&said, Source::IntoRoom));
        let outbound = message(&host, &room_jid, "normal", &said.id, &decline(format!("from='{sender}'")));
        for _ in self.receiving(to, "") {
            self.mirror(&outbound, self.role(&said, Source::FromRoom));
        }
        said
    }

    /// Writes down what is being sent, unless no person reads it.
    fn note(&mut self, draft: &Draft, sender: &str, to: &str) -> Said {
        let id = self.uuid();
        let index = draft.kind.map(|_| self.messages.len());
        if let Some(kind) = draft.kind {
            self.messages.push(Message {
                kind,
                at: self.clock,
                sender: sender.to_owned(),
                to: to.to_owned(),
                id: id.clone(),
                body: draft.body.clone().filter(|_| draft.readable),
                subject: draft.subject.clone(),
                encrypted: !draft.readable,
                copies: Vec::new(),
            });
        }
        Said { index, id, room_id: String::new() }
    }

    fn role(&self, said: &Said, source: Source) -> Role {
        said.index.map_or(Role::Noise, |index| Role::Copy(index, source))
    }

    /// The sessions that get a message: one named resource if it is there, else all of them (RFC 6121 section 8.5).
    fn receiving(&self, user: &str, resource: &str) -> Vec<String> {
        let online = self.people.get(user).map(Vec::as_slice).unwrap_or_default();
        let all = online.iter().map(|session| session.resource.clone());
        if resource.is_empty() { all.collect() } else { all.filter(|name| name == resource).collect() }
    }

    /// Carbons for the other sessions of the user that sent or received it (XEP-0280 sections 7 and 8).
    fn carbons(&mut self, said: &Said, direction: &str, session: &str, stanza: &str) {
        let (user, resource) = split(session);
        let owner = bare(user);
        let stored = archived(&owner, &(self.clock + 1).to_string());
        let marked = stanza.replacen("xmlns='jabber:client'>", &format!("xmlns='jabber:client'>{stored}"), 1);
        let others: Vec<Online> = self.people.get(user).cloned().unwrap_or_default();
        for other in others.iter().filter(|other| other.carbons && other.resource != resource) {
            let carbon = format!(
                "<message to='{owner}/{}' from='{owner}' type='chat' xmlns='jabber:client'><{direction} xmlns='urn:xmpp:carbons:2'>\
                 <forwarded xmlns='urn:xmpp:forward:0'>{marked}</forwarded></{direction}></message>",
                other.resource
            );
            self.mirror(&carbon, self.role(said, Source::Carbon));
        }
    }

    fn keep_for_later(&mut self, user: &str, said: &Said, from: String, to: String, draft: &Draft) {
        let at = said.index.and_then(|index| self.messages.get(index)).map_or(self.clock, |message| message.at);
        let waiting = Waiting { said: said.clone(), at, from, to, kind_of_stanza: draft.kind_of_stanza, payload: draft.payload() };
        self.waiting.entry(user.to_owned()).or_default().push(waiting);
    }

    /// What mod_offline delivers on return: the server's delay stamp and the recipient's archive id (XEP-0160).
    fn deliver_late(&mut self, late: &Waiting, bare: &str) {
        let delay = format!("<delay from='{HOST}' stamp='{}' xmlns='urn:xmpp:delay'>Offline storage</delay>", stamp(late.at));
        let payload = format!("{}{delay}{}", archived(bare, &(late.at + 137).to_string()), late.payload);
        let stanza = message(&late.to, &late.from, late.kind_of_stanza, &late.said.id, &payload);
        self.mirror(&stanza, self.role(&late.said, Source::Late));
    }

    /// One message of a room's history for somebody who joins.
    fn replay(&mut self, past: &Waiting, room_jid: &str, session: &str) {
        let delay = format!("<delay from='{room_jid}' stamp='{}' xmlns='urn:xmpp:delay'/>", stamp(past.at));
        let payload = past.payload.replacen("xmlns='urn:xmpp:sid:0'/>", &format!("xmlns='urn:xmpp:sid:0'/>{delay}"), 1);
        let stanza = message(session, &past.from, past.kind_of_stanza, &past.said.id, &payload);
        self.mirror(&stanza, self.role(&past.said, Source::History));
    }

    /// The subject as a joiner gets it: last, without id and stamp; an empty one where none was set (XEP-0045 section 7.2.15).
    fn show_subject(&mut self, room_jid: &str, state: &Room, session: &str) {
        let (from, subject, role) = match &state.subject {
            Some((nick, subject, Some(index))) => {
                let element = format!("<subject>{}</subject>", escaped(subject));
                (format!("{room_jid}/{nick}"), element, Role::Copy(*index, Source::History))
            }
            _ => (room_jid.to_owned(), "<subject/>".to_owned(), Role::Noise),
        };
        self.mirror(&format!("<message to='{session}' from='{from}' type='groupchat' xmlns='jabber:client'>{subject}</message>"), role);
    }

    /// The presences of a join, in the order of XEP-0045 section 7.2.2.
    fn introduce(&mut self, room_jid: &str, present: &[Occupant], newcomer: &Occupant) {
        let caps = "<c ver='94Y7MuW5ZbbekK4bo1R7KliKmS4=' node='http://www.process-one.net/en/ejabberd/' hash='sha-1' \
                    xmlns='http://jabber.org/protocol/caps'/>";
        let id = self.number();
        self.mirror_presence(&newcomer.session, room_jid, &format!(" id='{id}'"), caps, "");
        for other in present {
            let from = format!("{room_jid}/{}", other.nick);
            self.presence(&newcomer.session, &from, &format!(" id='{}'", other.presence_id), &item(other, newcomer, "", false));
        }
        let from = format!("{room_jid}/{}", newcomer.nick);
        let id = format!(" id='{}'", newcomer.presence_id);
        self.presence(&newcomer.session, &from, &id, &item(newcomer, newcomer, "", true));
        for other in present {
            self.presence(&other.session, &from, &id, &item(newcomer, other, "", false));
        }
    }

    fn presence(&mut self, to: &str, from: &str, attributes: &str, payload: &str) {
        self.mirror_presence(to, from, attributes, payload, "xml:lang='en' ");
    }

    fn mirror_presence(&mut self, to: &str, from: &str, attributes: &str, payload: &str, lang: &str) {
        let head = format!("<presence {lang}to='{to}' from='{from}'{attributes} xmlns='jabber:client'");
        let stanza = if payload.is_empty() { format!("{head}/>") } else { format!("{head}>{payload}</presence>") };
        self.mirror(&stanza, Role::Noise);
    }

    fn iq(&mut self, to: &str, from: &str, kind_of_iq: &str, id: &str, payload: &str) {
        let head = format!("<iq xml:lang='en' to='{to}' from='{from}' type='{kind_of_iq}' id='{id}' xmlns='jabber:client'");
        let stanza = if payload.is_empty() { format!("{head}/>") } else { format!("{head}>{payload}</iq>") };
        self.mirror(&stanza, Role::Noise);
    }

    /// Wraps a stanza as mod_service_log does: the wrapper's id is another one for each copy.
    fn mirror(&mut self, stanza: &str, role: Role) {
        let id = self.number();
        let wrapped = format!(
            "<message to='{COMPONENT}' from='{HOST}' id='{id}'><forwarded xmlns='urn:xmpp:forward:0'>{stanza}</forwarded></message>"
        );
        self.put(wrapped, role);
    }

    fn put(&mut self, xml: String, role: Role) {
        if let Role::Copy(index, _) = role
            && let Some(message) = self.messages.get_mut(index)
        {
            message.copies.push(self.lines.len());
        }
        self.lines.push(Line { at: self.clock, xml, role });
        self.clock += self.pace;
    }

    /// The next number of a sequence that looks random and never is (the finaliser of SplitMix64).
    fn number(&mut self) -> u64 {
        self.ids += 1;
        let mut mixed = self.ids.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn hex_id(&mut self) -> String {
        format!("{:016x}{:016x}", self.number(), self.number())
    }

    fn uuid(&mut self) -> String {
        let (high, low) = (self.number(), self.number());
        let (a, b, c) = (high >> 32, (high >> 16) & 0xffff, high & 0xfff);
        format!("{a:08x}-{b:04x}-4{c:03x}-{:04x}-{:012x}", 0x8000 | ((low >> 48) & 0x3fff), low & 0xffff_ffff_ffff)
    }
}

impl Room {
    fn nick_of(&self, session: &str) -> String {
        self.occupants.iter().find(|occupant| occupant.session == session).map(|occupant| occupant.nick.clone()).unwrap_or_default()
    }
}

/// What one occupant learns of another. The room is semi-anonymous: only its owner and the person themself see the real JID.
fn item(about: &Occupant, viewer: &Occupant, role: &str, is_self: bool) -> String {
    let usual = if about.affiliation == "owner" { "moderator" } else { "participant" };
    let role = if role.is_empty() { usual } else { role };
    let may_see = is_self || viewer.affiliation == "owner";
    let jid = if may_see { format!("jid='{}' ", about.session) } else { String::new() };
    let status = if is_self { "<status code='110'/>" } else { "" };
    let affiliation = about.affiliation;
    format!("<x xmlns='http://jabber.org/protocol/muc#user'><item {jid}role='{role}' affiliation='{affiliation}'/>{status}</x>")
}

/// One stanza as ejabberd writes it.
fn message(to: &str, from: &str, kind_of_stanza: &str, id: &str, payload: &str) -> String {
    let kind = if kind_of_stanza == "normal" { String::new() } else { format!(" type='{kind_of_stanza}'") };
    format!("<message xml:lang='en' to='{to}' from='{from}'{kind} id='{id}' xmlns='jabber:client'>{payload}</message>")
}

/// The two elements by which ejabberd says under which id it archived a message (XEP-0359).
fn archived(by: &str, id: &str) -> String {
    format!("<archived by='{by}' id='{id}' xmlns='urn:xmpp:mam:tmp'/><stanza-id by='{by}' id='{id}' xmlns='urn:xmpp:sid:0'/>")
}

/// A time as XEP-0082 writes it, in microseconds as ejabberd does.
pub fn stamp(at: Micros) -> String {
    jiff::Timestamp::from_microsecond(at).map(|time| format!("{time:.6}")).unwrap_or_default()
}

fn split(session: &str) -> (&str, &str) {
    session.split_once('/').unwrap_or((session, ""))
}

fn bare(user: &str) -> String {
    format!("{user}@{HOST}")
}

fn full(session: &str) -> String {
    let (user, resource) = split(session);
    format!("{}/{resource}", bare(user))
}

fn address(to: &str) -> String {
    if to.contains('/') { full(to) } else { bare(to) }
}

fn room_jid(room: &str) -> String {
    format!("{room}@{ROOMS}")
}
