//! Who is in which room under which nick (XEP-0045), as the mirrored presence tells it.
//!
//! A room shows people by nick; the archive must name them by their real JID. Presence tells both: an occupant's own join
//! (`to` room/nick, `from` the real JID), the room's broadcasts with a `jid` in the item, and status 110 on one's own. Changes come out as
//! [`Event`]s, once each, however many occupants each broadcast was mirrored for.

use std::collections::{HashMap, VecDeque};

use super::address::Address;
use crate::mirror::Occupant;
use crate::node::Node;
use crate::time::Micros;
use crate::xml::Element;

const MUC_NS: &str = "http://jabber.org/protocol/muc";
const MUC_USER_NS: &str = "http://jabber.org/protocol/muc#user";

/// Most occupants held in memory, over all rooms (about 200 bytes each); beyond it new ones are not learned.
pub const MAX_OCCUPANTS: usize = 200_000;

/// One came or went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The room.
    pub room: String,
    /// The nick.
    pub nick: String,
    /// The real JID, where it could be told.
    pub jid: Option<Address>,
    /// Came, else went.
    pub joined: bool,
    /// When.
    pub at: Micros,
}

#[derive(Debug, Default)]
struct Room {
    /// The sessions behind each nick; the JID where known.
    nicks: HashMap<String, Vec<Option<Address>>>,
    /// Asked to enter with this nick, not yet confirmed by the room.
    asked: HashMap<String, Address>,
}

/// The rooms that are known.
#[derive(Debug, Default)]
pub struct Rooms {
    rooms: HashMap<String, Room>,
    occupants: usize,
    /// Who lately sent a message with this id into this room.
    said: VecDeque<(String, String, Address)>,
}

/// How many messages on their way into rooms are remembered, to be met again as the room passes them on.
const MAX_SAID: usize = 256;

impl Rooms {
    /// The real JID behind a nick.
    pub fn real(&self, room: &str, nick: &str) -> Option<&Address> {
        let room = self.rooms.get(room)?;
        let known = room.nicks.get(nick).and_then(|sessions| sessions.iter().flatten().next());
        known.or_else(|| room.asked.get(nick))
    }

    /// The nick of a real JID: of this very session, else of the person.
    pub fn nick(&self, room: &str, jid: &Address) -> Option<&str> {
        let room = self.rooms.get(room)?;
        let session = |wanted: &dyn Fn(&Address) -> bool| {
            let mut behind = room.nicks.iter().filter(|(_, sessions)| sessions.iter().flatten().any(wanted));
            behind.next().map(|(nick, _)| nick.as_str())
        };
        session(&|known| known == jid).or_else(|| session(&|known| known.bare == jid.bare))
    }

    /// Takes over what the database or an envelope knows, without an event.
    pub fn learn(&mut self, room: &str, nick: &str, jid: Option<Address>) {
        let _known_already = self.enter(room, nick, jid);
    }

    /// A mirror without presence still shows both names of whoever speaks: the real JID on the way into the room, the nick on the way out,
    /// with the same id.
    pub fn said(&mut self, room: &str, id: &str, jid: &Address) {
        if self.said.len() >= MAX_SAID {
            self.said.pop_front();
        }
        self.said.push_back((room.to_owned(), id.to_owned(), jid.clone()));
    }

    /// The other half of [`Rooms::said`].
    pub fn heard(&mut self, room: &str, id: &str, nick: &str) {
        if self.real(room, nick).is_some() {
            return;
        }
        let mut same = self.said.iter().filter(|(in_room, with_id, _)| in_room == room && with_id == id);
        // Two people may use one id: then neither is told.
        if let (Some((.., jid)), None) = (same.next(), same.next()) {
            let jid = jid.clone();
            self.learn(room, nick, Some(jid));
        }
    }

    /// Reads a mirrored presence.
    pub fn presence(&mut self, stanza: Element<'_, '_>, node: &Node, at: Micros) -> Vec<Event> {
        let from = Address::parse(stanza.attribute("from").unwrap_or_default());
        let to = Address::parse(stanza.attribute("to").unwrap_or_default());
        let leaving = stanza.attribute("type") == Some("unavailable");
        match (stanza.attribute("type"), stanza.child("x", MUC_USER_NS)) {
            (None, _) if stanza.child("x", MUC_NS).is_some() && !to.is_bare() => {
                self.ask(to, from);
                Vec::new()
            }
            (None | Some("unavailable"), Some(user)) if !from.is_bare() && !node.is_local(&from) => {
                self.broadcast(user, from, to, leaving, at)
            }
            _ => Vec::new(),
        }
    }

    /// Compares with the full list that an envelope carries.
    pub fn occupants(&mut self, room: &str, list: &[Occupant], at: Micros) -> Vec<Event> {
        let present = |nick: &str, jid: &Address| list.iter().any(|occupant| occupant.nick == nick && occupant.jid == *jid);
        let mut gone = Vec::new();
        if let Some(known) = self.rooms.get(room) {
            for (nick, sessions) in &known.nicks {
                gone.extend(sessions.iter().flatten().filter(|jid| !present(nick, jid)).map(|jid| (nick.clone(), jid.clone())));
            }
        }
        let mut events = Vec::new();
        for (nick, jid) in gone {
            events.extend(self.leave(room, &nick, Some(jid), at));
        }
        for occupant in list {
            events.extend(self.join(room, &occupant.nick, Some(occupant.jid.clone()), at));
        }
        events
    }

    fn ask(&mut self, wanted: Address, jid: Address) {
        let Some(nick) = wanted.resource else { return };
        if self.occupants < MAX_OCCUPANTS {
            self.rooms.entry(wanted.bare).or_default().asked.insert(nick, jid);
        }
    }

    fn broadcast(&mut self, user: Element<'_, '_>, from: Address, to: Address, leaving: bool, at: Micros) -> Vec<Event> {
        let Some(nick) = from.resource else { return Vec::new() };
        let room = from.bare;
        let item = user.child("item", MUC_USER_NS);
        let status = |code: &str| user.children().any(|child| child.name() == "status" && child.attribute("code") == Some(code));
        let told = item.and_then(|item| item.attribute("jid")).map(Address::parse);
        let jid = told.or_else(|| status("110").then_some(to));
        if !leaving {
            return self.join(&room, &nick, jid, at).into_iter().collect();
        }
        let mut events: Vec<Event> = self.leave(&room, &nick, jid.clone(), at).into_iter().collect();
        if status("303")
            && let Some(next) = item.and_then(|item| item.attribute("nick"))
            && let Some(jid) = jid.or_else(|| events.first().and_then(|event| event.jid.clone()))
        {
            events.extend(self.join(&room, next, Some(jid), at));
        }
        events
    }

    fn join(&mut self, room: &str, nick: &str, jid: Option<Address>, at: Micros) -> Option<Event> {
        let jid = jid.or_else(|| self.rooms.get(room)?.asked.get(nick).cloned());
        let entered = self.enter(room, nick, jid.clone());
        entered.then(|| Event { room: room.to_owned(), nick: nick.to_owned(), jid, joined: true, at })
    }

    /// Whether that was news.
    fn enter(&mut self, room: &str, nick: &str, jid: Option<Address>) -> bool {
        if self.occupants >= MAX_OCCUPANTS {
            return false;
        }
        let room = self.rooms.entry(room.to_owned()).or_default();
        if jid.is_some() {
            room.asked.remove(nick);
        }
        let sessions = room.nicks.entry(nick.to_owned()).or_default();
        if sessions.contains(&jid) || (jid.is_none() && !sessions.is_empty()) {
            return false;
        }
        if let Some(unknown) = sessions.iter_mut().find(|session| session.is_none()) {
            *unknown = jid;
        } else {
            sessions.push(jid);
            self.occupants += 1;
        }
        true
    }

    fn leave(&mut self, room: &str, nick: &str, jid: Option<Address>, at: Micros) -> Option<Event> {
        let state = self.rooms.get_mut(room)?;
        let sessions = state.nicks.get_mut(nick)?;
        let index = match &jid {
            Some(jid) => sessions.iter().position(|session| session.as_ref() == Some(jid))?,
            // Who of several sessions left is told to that session itself, and to those who see real JIDs.
            None if sessions.len() == 1 => 0,
            None => return None,
        };
        let left = sessions.swap_remove(index);
        if sessions.is_empty() {
            state.nicks.remove(nick);
        }
        if state.nicks.is_empty() && state.asked.is_empty() {
            self.rooms.remove(room);
        }
        self.occupants = self.occupants.saturating_sub(1);
        Some(Event { room: room.to_owned(), nick: nick.to_owned(), jid: left.or(jid), joined: false, at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xml::{COMPONENT_NS, Document};

    fn node() -> Node {
        Node { hosts: ["h".to_owned()].into(), muc: ["m".to_owned()].into(), ..Node::default() }
    }

    fn tell(rooms: &mut Rooms, attributes: &str, item: &str, statuses: &[&str]) -> Vec<(String, Option<String>, bool)> {
        let statuses: String = statuses.iter().map(|code| format!("<status code='{code}'/>")).collect();
        let xml = format!("<presence xmlns='jabber:client' {attributes}><x xmlns='{MUC_USER_NS}'><item {item}/>{statuses}</x></presence>");
        let document = Document::parse(xml.as_bytes(), COMPONENT_NS).unwrap();
        let events = rooms.presence(document.root(), &node(), 1);
        events.into_iter().map(|event| (event.nick, event.jid.map(|jid| jid.to_string()), event.joined)).collect()
    }

    fn event(nick: &str, jid: &str, joined: bool) -> Vec<(String, Option<String>, bool)> {
        vec![(nick.to_owned(), Some(jid.to_owned()), joined)]
    }

    #[test]
    fn a_join_is_told_once_whoever_it_was_mirrored_for() {
        let mut rooms = Rooms::default();
        assert_eq!(tell(&mut rooms, "from='r@m/Bob' to='bob@h/p'", "", &["110"]), event("Bob", "bob@h/p", true));
        assert!(tell(&mut rooms, "from='r@m/Bob' to='alice@h/d'", "jid='bob@h/p'", &[]).is_empty());
        assert!(tell(&mut rooms, "from='r@m/Bob' to='carol@h/d'", "", &[]).is_empty());
        assert_eq!(rooms.real("r@m", "Bob").unwrap().to_string(), "bob@h/p");
        assert_eq!(rooms.nick("r@m", &Address::parse("bob@h/other")), Some("Bob"));
    }

    #[test]
    fn who_asked_to_enter_is_known_before_the_room_confirms() {
        let mut rooms = Rooms::default();
        let join = format!("<presence from='bob@h/p' to='r@m/Bob'><x xmlns='{MUC_NS}'/></presence>");
        rooms.presence(Document::parse(join.as_bytes(), "jabber:client").unwrap().root(), &node(), 1);
        assert_eq!(rooms.real("r@m", "Bob").unwrap().bare, "bob@h");
        assert_eq!(tell(&mut rooms, "from='r@m/Bob' to='carol@h/d'", "", &[]), event("Bob", "bob@h/p", true));
    }

    #[test]
    fn a_leave_is_told_once_and_only_of_the_session_that_left() {
        let mut rooms = Rooms::default();
        rooms.learn("r@m", "Bob", Some(Address::parse("bob@h/p")));
        rooms.learn("r@m", "Bob", Some(Address::parse("bob@h/q")));
        assert!(tell(&mut rooms, "type='unavailable' from='r@m/Bob' to='carol@h/d'", "", &[]).is_empty());
        assert_eq!(tell(&mut rooms, "type='unavailable' from='r@m/Bob' to='bob@h/p'", "", &["110"]), event("Bob", "bob@h/p", false));
        assert_eq!(tell(&mut rooms, "type='unavailable' from='r@m/Bob' to='carol@h/d'", "", &[]), event("Bob", "bob@h/q", false));
        assert!(tell(&mut rooms, "type='unavailable' from='r@m/Bob' to='dave@h/d'", "", &[]).is_empty());
    }

    #[test]
    fn a_change_of_nick_is_a_leave_and_a_join() {
        let mut rooms = Rooms::default();
        rooms.learn("r@m", "Bob", Some(Address::parse("bob@h/p")));
        let events = tell(&mut rooms, "type='unavailable' from='r@m/Bob' to='bob@h/p'", "nick='Rob'", &["303", "110"]);
        assert_eq!(events, [event("Bob", "bob@h/p", false), event("Rob", "bob@h/p", true)].concat());
    }

    #[test]
    fn an_envelopes_list_replaces_what_was_known() {
        let mut rooms = Rooms::default();
        rooms.learn("r@m", "Bob", Some(Address::parse("bob@h/p")));
        let list = [Occupant { nick: "Alice".into(), jid: Address::parse("alice@h/d") }];
        let events = rooms.occupants("r@m", &list, 5);
        assert_eq!(events.iter().map(|event| (event.nick.as_str(), event.joined)).collect::<Vec<_>>(), [("Bob", false), ("Alice", true)]);
        assert!(rooms.occupants("r@m", &list, 6).is_empty());
    }
}
