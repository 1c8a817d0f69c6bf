//! The unit of an export: what was said in one conversation on one day, or a part of it where that is much.
//!
//! A unit is held in memory and handed to the format as a whole; its limits are what makes the memory of an export independent of its size.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::words::sender;
use crate::retrieve::{Found, Stay};
use crate::time::Micros;

/// The most messages of a unit.
pub(crate) const MAX_MESSAGES: usize = 5_000;
/// The most text of a unit, reached with the message that exceeds it.
pub(crate) const MAX_BYTES: usize = 8 << 20;

/// A message with what was done to it later.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) found: Found,
    /// Corrections, retractions and reactions, in the order of time, whether or not the query finds them.
    pub(crate) amendments: Vec<Arc<Found>>,
    /// Whether there are more of them than stand here.
    pub(crate) amendments_cut: bool,
}

impl Item {
    /// About how much text is written of it.
    pub(crate) fn bytes(&self) -> usize {
        text_bytes(&self.found) + self.amendments.iter().map(|amendment| text_bytes(amendment)).sum::<usize>()
    }
}

/// About how much text a message has.
pub(crate) fn text_bytes(found: &Found) -> usize {
    let columns = [&found.body, &found.subject, &found.detail, &found.thread, &found.sender_nick, &found.stanza_id];
    columns.into_iter().flatten().map(String::len).sum::<usize>()
        + found.packed_xml.as_ref().map_or(0, Vec::len)
        + found.deliveries.len() * 100
}

/// What was said in one conversation on one day.
#[derive(Clone, Debug)]
pub(crate) struct Unit {
    /// From 1, in the order of the export.
    pub(crate) number: u64,
    /// Which conversation of the export, from 1.
    pub(crate) conversation_number: u64,
    /// Its name: a room, or two JIDs.
    pub(crate) conversation: String,
    pub(crate) in_room: bool,
    /// The day, as the export's zone counts days.
    pub(crate) day: Date,
    /// Which part of the day, from 1.
    pub(crate) part: u32,
    /// Whether the conversation goes on in another unit.
    pub(crate) goes_on: bool,
    /// Never empty, in the order of time.
    pub(crate) items: Vec<Item>,
    /// Who was in the room meanwhile.
    pub(crate) stays: Vec<Stay>,
}

/// Somebody who takes part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Person {
    /// The bare JID, or in a room the occupant's JID where no other is known.
    pub(crate) jid: String,
    /// The last nick of theirs.
    pub(crate) nick: Option<String>,
    /// Whether they wrote, not only received.
    pub(crate) wrote: bool,
}

impl Unit {
    /// When the first message was sent.
    pub(crate) fn first_at(&self) -> Micros {
        self.items.first().map_or(0, |item| item.found.sent_at)
    }

    /// When the last message was sent.
    pub(crate) fn last_at(&self) -> Micros {
        self.items.last().map_or(0, |item| item.found.sent_at)
    }

    /// What it is about, for people.
    pub(crate) fn title(&self) -> String {
        let what = if self.in_room { "Room " } else { "Conversation of " };
        let name = if self.in_room { self.conversation.clone() } else { self.conversation.replacen(' ', " and ", 1) };
        let part = if self.part > 1 { format!(", part {}", self.part) } else { String::new() };
        super::told::line(&format!("{what}{name} on {}{part}", self.day))
    }

    /// A short name for files.
    pub(crate) fn file_stem(&self) -> String {
        format!("{:06}-{}-{:03}", self.conversation_number, self.day, self.part)
    }

    /// Who wrote a message, as [`Unit::people`] names them.
    pub(crate) fn key_of(&self, found: &Found) -> String {
        match (&found.sender, &found.sender_nick) {
            (Some(jid), _) => jid.clone(),
            (None, Some(nick)) => format!("{}/{nick}", self.conversation),
            (None, None) => sender(found),
        }
    }

    /// Who was in the room, as [`Unit::people`] names them.
    pub(crate) fn occupant(&self, stay: &Stay) -> String {
        stay.jid.clone().unwrap_or_else(|| format!("{}/{}", self.conversation, stay.nick))
    }

    /// Everybody who takes part: who wrote, first of all; who got it by the evidence of its copies; who was in the room; the two of a
    /// conversation of two.
    pub(crate) fn people(&self) -> Vec<Person> {
        let mut people = People::default();
        for item in &self.items {
            let found = &item.found;
            people.add(self.key_of(found), found.sender_nick.as_deref(), true);
            for amendment in &item.amendments {
                people.add(self.key_of(amendment), amendment.sender_nick.as_deref(), false);
            }
        }
        for found in self.items.iter().map(|item| &item.found) {
            let direct = found.recipient.iter().filter(|jid| !self.in_room || **jid != self.conversation);
            let copies = found.deliveries.iter().filter_map(|copy| copy.recipient.as_ref());
            direct.chain(copies).for_each(|jid| people.add(jid.clone(), None, false));
        }
        for stay in &self.stays {
            people.add(self.occupant(stay), Some(&stay.nick), false);
        }
        if !self.in_room {
            self.conversation.split(' ').for_each(|jid| people.add(jid.to_owned(), None, false));
        }
        people.all
    }
}

/// People in the order in which they come up.
#[derive(Default)]
struct People {
    all: Vec<Person>,
    places: HashMap<String, usize>,
}

impl People {
    fn add(&mut self, jid: String, nick: Option<&str>, wrote: bool) {
        let place = *self.places.entry(jid.clone()).or_insert(self.all.len());
        match self.all.get_mut(place) {
            None => self.all.push(Person { jid, nick: nick.map(str::to_owned), wrote }),
            Some(person) => {
                person.wrote |= wrote;
                if nick.is_some() {
                    person.nick = nick.map(str::to_owned);
                }
            }
        }
    }
}

/// The day of an instant in a zone.
pub(crate) fn day(at: Micros, zone: &TimeZone) -> Date {
    jiff::Timestamp::from_microsecond(at).map_or(Date::MIN, |timestamp| timestamp.to_zoned(zone.clone()).date())
}

/// An instant with the offset of a zone: RFC 3339 with microseconds.
pub(crate) fn stamp(at: Micros, zone: &TimeZone) -> String {
    super::words::time(at, zone, "%FT%T%.6f%:z")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::export::told::tests::rich;

    /// A unit of messages of one minute.
    pub(crate) fn unit(bodies: &[&str]) -> Unit {
        let item = |(at, body): (usize, &&str)| {
            let mut item = rich();
            item.found.id += at as i64 * 10;
            item.found.sent_at += at as Micros * 1_000_000;
            item.found.body = Some((*body).to_owned());
            item.amendments.iter_mut().for_each(|amendment| Arc::make_mut(amendment).refers_to = Some(item.found.id));
            item
        };
        Unit {
            number: 1,
            conversation_number: 1,
            conversation: "bob@example.com d\\27artagnan@example.com".to_owned(),
            in_room: false,
            day: Date::constant(2026, 11, 22),
            part: 1,
            goes_on: false,
            items: bodies.iter().enumerate().map(item).collect(),
            stays: Vec::new(),
        }
    }

    #[test]
    fn people_are_named_once_writers_first() {
        let unit = unit(&["a", "b"]);
        let people: Vec<_> = unit.people().into_iter().map(|person| (person.jid, person.wrote)).collect();
        assert_eq!(people, [("d\\27artagnan@example.com".to_owned(), true), ("bob@example.com".to_owned(), false)]);
        assert_eq!(unit.title(), "Conversation of bob@example.com and d\\27artagnan@example.com on 2026-11-22");
        assert_eq!(unit.file_stem(), "000001-2026-11-22-001");
    }

    #[test]
    fn days_are_those_of_the_zone() {
        let berlin = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let late = 1_795_390_200_000_000;
        assert_eq!(day(late, &TimeZone::UTC).to_string(), "2026-11-22");
        assert_eq!(day(late, &berlin).to_string(), "2026-11-23");
        assert_eq!(stamp(late, &berlin), "2026-11-23T00:30:00.000000+01:00");
    }
}
