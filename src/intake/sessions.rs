//! How many of a user's sessions a message will reach, as far as the mirrored presence tells (RFC 6121 §8.5.2).
//!
//! A stock mirror sends one copy for each receiving session without saying which. Knowing how many sessions there are tells
//! whether five equal copies can be one send, or must be several. What is not known is said to be unknown, never guessed.

use std::collections::HashMap;

use crate::message::address::Address;
use crate::node::Node;
use crate::xml::Element;

/// Most users remembered (about 200 bytes each); beyond it new ones are unknown.
const MAX_USERS: usize = 200_000;
/// Most sessions remembered of one user.
const MAX_SESSIONS: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Sessions {
    /// Resource and priority of each session; a user who is known to have none has an empty list.
    users: HashMap<String, Vec<(String, i8)>>,
}

impl Sessions {
    /// While the stream is down sessions come and go unseen.
    pub(super) fn forget(&mut self) {
        self.users.clear();
    }

    /// Reads the presence that a session sends to its own account, or that its server passes on to its siblings.
    pub(super) fn presence(&mut self, stanza: Element<'_, '_>, node: &Node) {
        let from = Address::parse(stanza.attribute("from").unwrap_or_default());
        let to = stanza.attribute("to").map(Address::parse);
        let own = to.is_none_or(|to| to.bare == from.bare);
        let Some(resource) = from.resource.clone().filter(|_| own && node.is_local(&from)) else { return };
        let is_new_user = !self.users.contains_key(&from.bare);
        if is_new_user && self.users.len() >= MAX_USERS {
            return;
        }
        match stanza.attribute("type") {
            None => {
                let priority = stanza.children().find(|child| child.name() == "priority");
                let priority = priority.and_then(|element| element.text().trim().parse().ok()).unwrap_or(0);
                let sessions = self.users.entry(from.bare).or_default();
                sessions.retain(|(known, _)| *known != resource);
                if sessions.len() < MAX_SESSIONS {
                    sessions.push((resource, priority));
                }
            }
            // Somebody who goes without having been seen to come may have more sessions that were not seen either.
            Some("unavailable") => {
                if let Some(sessions) = self.users.get_mut(&from.bare) {
                    sessions.retain(|(known, _)| *known != resource);
                }
            }
            Some(_) => {}
        }
    }

    /// How many sessions receive a message to this account: those of the highest priority, for a headline all that are not negative.
    pub(super) fn receiving(&self, bare: &str, message_type: Option<&str>) -> Option<u16> {
        let sessions = self.users.get(bare)?;
        let highest = sessions.iter().map(|(_, priority)| *priority).max().unwrap_or(-1).max(0);
        let least = if message_type == Some("headline") { 0 } else { highest };
        u16::try_from(sessions.iter().filter(|(_, priority)| *priority >= least).count()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xml::Document;

    fn tell(sessions: &mut Sessions, xml: &str) {
        let node = Node { hosts: ["h".to_owned()].into(), ..Node::default() };
        sessions.presence(Document::parse(xml.as_bytes(), "jabber:client").unwrap().root(), &node);
    }

    #[test]
    fn sessions_of_the_highest_priority_receive() {
        let mut sessions = Sessions::default();
        assert_eq!(sessions.receiving("bob@h", None), None);
        tell(&mut sessions, "<presence from='bob@h/a' to='bob@h'><priority>5</priority></presence>");
        tell(&mut sessions, "<presence from='bob@h/b' to='bob@h'><priority>5</priority></presence>");
        tell(&mut sessions, "<presence from='bob@h/c' to='bob@h'/>");
        tell(&mut sessions, "<presence from='bob@h/d' to='bob@h'><priority>-1</priority></presence>");
        assert_eq!(sessions.receiving("bob@h", Some("chat")), Some(2));
        assert_eq!(sessions.receiving("bob@h", Some("headline")), Some(3));
    }

    #[test]
    fn a_session_that_ends_no_longer_counts() {
        let mut sessions = Sessions::default();
        tell(&mut sessions, "<presence from='bob@h/a' to='bob@h'/>");
        tell(&mut sessions, "<presence type='unavailable' from='bob@h/a' to='bob@h'/>");
        assert_eq!(sessions.receiving("bob@h", Some("chat")), Some(0));
    }

    #[test]
    fn presence_for_others_and_of_others_does_not_count() {
        let mut sessions = Sessions::default();
        tell(&mut sessions, "<presence from='bob@h/a' to='room@m/Bob'/>");
        tell(&mut sessions, "<presence from='bob@h/a' to='alice@h/d'/>");
        tell(&mut sessions, "<presence from='eve@elsewhere/a' to='eve@elsewhere'/>");
        assert_eq!(sessions.receiving("bob@h", None), None);
        assert_eq!(sessions.receiving("eve@elsewhere", None), None);
    }
}
