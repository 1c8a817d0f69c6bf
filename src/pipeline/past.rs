//! An item of history, normalised in the same way as a mirrored copy.
//!
//! The item's archive is believed: it is the operator who named it. So its id is exact, its stamp counts, and what it keeps beside the stanza
//! (who was behind a nick) is taken over. Nothing else is: who is in a room today says nothing of that day.

use serde_json::{Map, Value};

use crate::history::Direction as Side;
use crate::history::record::Past;
use crate::message::address::Address;
use crate::message::rooms::Rooms;
use crate::message::{Direction, ExactId, FromHistory, IdKind, Message, Normalised, normalise, shorten};
use crate::mirror::{Copy, Method, Source};
use crate::node::Node;
use crate::time::Micros;
use crate::xml::Element;

/// Where `messages.detail` holds the columns of the source.
const ROW: &str = "row";

/// What an item turned out to be.
pub(super) enum Read {
    Message(Box<Message>),
    Skipped(&'static str),
}

/// Normalises the stanza of an item.
///
/// # Errors
/// When it is no message, or none that could be found again at the same place.
pub(super) fn read(past: &Past<'_>, stanza: Element<'_, '_>, node: &Node, read_at: Micros) -> Result<Read, String> {
    if stanza.name() != "message" {
        return Ok(Read::Skipped("no message"));
    }
    if past.at <= 0 {
        return Err("when it was said can't be told".to_owned());
    }
    let archive = past.archive.map(Address::parse);
    let archive_id = archive.as_ref().zip(past.id).map(|(archive, id)| (archive.to_string(), shorten(id.to_owned())));
    let copy = Copy {
        method: Method::Routed,
        source: Source::Archive,
        stanza,
        owner: archive.clone(),
        sent_carbon: false,
        archive_id,
        stamp: Some(past.at),
    };
    match normalise(&copy, node, &Rooms::default(), read_at, None) {
        Normalised::Nothing => Ok(Read::Skipped("nothing to read")),
        Normalised::Bounce(_) => Ok(Read::Skipped("an error, which the other archive had kept")),
        Normalised::Message(mut message) => {
            if message.stamp != Some(past.at) {
                return Err("it is from the future".to_owned());
            }
            add(past, archive, &mut message);
            Ok(Read::Message(message))
        }
    }
}

/// Adds what the archive knows beside the stanza.
fn add(past: &Past<'_>, archive: Option<Address>, message: &mut Message) {
    message.history = Some(FromHistory { via: past.via as i16 });
    message.direction = match past.direction {
        _ if message.place.is_into_room() => Direction::Sent,
        _ if message.place.is_from_room() => Direction::Received,
        Side::Sent => Direction::Sent,
        Side::Received => Direction::Received,
        Side::Unknown => message.direction,
    };
    if let (Some(row), Some(archive)) = (past.row, archive) {
        message.exact_ids.push(ExactId { kind: IdKind::Row, by: archive.to_string(), value: shorten(row.to_owned()) });
    }
    if message.room.is_some() {
        if message.sender.is_none() {
            message.sender = past.sender.map(Address::parse);
        }
        if message.sender_nick.is_none() {
            message.sender_nick = past.nick.filter(|nick| !nick.is_empty()).map(|nick| shorten(nick.to_owned()));
        }
    }
    if let Some(original) = past.original {
        message.content.detail = Some(with_row(message.content.detail.take(), original));
    }
}

/// The detail of a message with the row that it was read from.
fn with_row(detail: Option<String>, original: &str) -> String {
    let told = detail.and_then(|detail| serde_json::from_str(&detail).ok());
    let mut told: Map<String, Value> = told.unwrap_or_default();
    let row = serde_json::from_str(original).unwrap_or_else(|_not_json| Value::String(original.to_owned()));
    told.insert(ROW.to_owned(), row);
    Value::Object(told).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::record::{decode, encode};
    use crate::history::{Item, Via};
    use crate::xml::{COMPONENT_NS, Document};

    const AT: Micros = 1_795_332_535_000_000;

    fn read_item(item: &Item) -> Result<Read, String> {
        let bytes = encode(item, Via::Backfill);
        let past = decode(&bytes).unwrap();
        let document = Document::parse(past.stanza, COMPONENT_NS).unwrap();
        let node = Node { hosts: ["h".to_owned()].into(), muc: ["m.h".to_owned()].into(), ..Node::default() };
        read(&past, document.root(), &node, AT + 86_400_000_000)
    }

    fn message(item: &Item) -> Message {
        match read_item(item) {
            Ok(Read::Message(message)) => *message,
            Ok(Read::Skipped(why)) => panic!("skipped: {why}"),
            Err(why) => panic!("{why}"),
        }
    }

    fn item(stanza: &str) -> Item {
        Item {
            stanza: stanza.as_bytes().to_vec(),
            at: AT,
            archive: Some("bob@h".into()),
            id: Some("17".into()),
            direction: Side::Received,
            ..Item::default()
        }
    }

    #[test]
    fn the_archives_id_and_stamp_are_believed_and_its_owner_is_who_got_it() {
        let message = message(&item("<message from='alice@h/d' to='bob@h' type='chat' id='m1'><body>hi</body></message>"));
        assert_eq!(message.exact_ids, [ExactId { kind: IdKind::StanzaId, by: "bob@h".into(), value: "17".into() }]);
        assert_eq!((message.said_at(), message.is_replay(), message.direction), (AT, true, Direction::Received));
        assert_eq!(message.delivered_to.unwrap().to_string(), "bob@h");
        assert_eq!(message.history, Some(FromHistory { via: 4 }));
    }

    #[test]
    fn who_was_behind_a_nick_is_taken_from_the_archive() {
        let said = "<message from='alice@h/d' to='r@m.h' type='groupchat' id='m1'><body>hi</body></message>";
        let told = Item { archive: Some("r@m.h".into()), nick: Some("Al".into()), ..item(said) };
        let message = message(&told);
        assert_eq!((message.sender_nick.as_deref(), message.sender.unwrap().to_string().as_str()), (Some("Al"), "alice@h/d"));
        let passed_on = "<message from='r@m.h/Al' type='groupchat' id='m1'><body>hi</body></message>";
        let told = Item { archive: Some("r@m.h".into()), sender: Some("Alice@H/d".into()), ..item(passed_on) };
        let message = self::message(&told);
        assert_eq!((message.room.as_deref(), message.sender.unwrap().to_string().as_str()), (Some("r@m.h"), "alice@h/d"));
        assert_eq!(message.sender_nick.as_deref(), Some("Al"));
    }

    #[test]
    fn a_row_without_an_id_has_one_of_its_own_kind_and_keeps_its_columns() {
        let said = "<message from='alice@h/d' to='bob@h' type='chat'><x xmlns='jabber:x:oob'><url>u</url></x><body>u</body></message>";
        let row = Item { id: None, row: Some("r1".into()), original: Some("{\"from_jid\":\"ALICE@h\"}".into()), ..item(said) };
        let message = message(&row);
        assert_eq!(message.exact_ids, [ExactId { kind: IdKind::Row, by: "bob@h".into(), value: "r1".into() }]);
        let detail: Value = serde_json::from_str(message.content.detail.as_deref().unwrap()).unwrap();
        assert_eq!((detail["row"]["from_jid"].as_str(), detail["url"].as_str()), (Some("ALICE@h"), Some("u")));
    }

    #[test]
    fn what_is_no_message_of_the_past_is_left_out_or_refused() {
        let error = "<message from='a@h' to='bob@h' type='error' id='1'><body>hi</body><error type='cancel'/></message>";
        assert!(matches!(read_item(&item(error)), Ok(Read::Skipped(_))));
        assert!(matches!(read_item(&item("<presence/>")), Ok(Read::Skipped(_))));
        let said = "<message from='alice@h/d' to='bob@h'><body>hi</body></message>";
        assert!(read_item(&Item { at: 0, ..item(said) }).is_err());
        assert!(read_item(&Item { at: AT * 2, ..item(said) }).is_err());
    }
}
