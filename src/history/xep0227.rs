//! The portable format with archives (XEP-0227), as Prosody's migrator writes it: `<server-data/>`, in it `<host jid=''/>`, `<user name=''/>`, `<archive/>`, and for
//! each message a `<result/>` of XEP-0313.
//!
//! The file is read as a stream, one message in memory at a time. The position is a number of results: going on reads over those before.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, Writer};

use super::{Interval, Item, Position, Source, SourceError, made};
use crate::message::address::{Address, fold_domain};
use crate::node::Node;
use crate::time::parse_stamp;

/// What such a file can't hold.
const LACKS: &str = "what the server that wrote it did not archive; the writers of room messages are known by nick";
/// The longest message.
const MAX_STANZA_BYTES: usize = 12 * 1024 * 1024;

/// A file as a source.
pub struct Xep0227 {
    reader: Reader<BufReader<File>>,
    domains: Vec<String>,
    interval: Interval,
    host: String,
    user: String,
    result: Option<Item>,
    count: u64,
    behind: u64,
    is_over: bool,
}

impl Xep0227 {
    /// Opens a file.
    ///
    /// # Errors
    /// When it can't be read, or the position is none in it.
    pub fn open(path: &Path, node: &Node, interval: Interval, position: Option<&str>) -> Result<Self, SourceError> {
        let failed = |error: &dyn std::fmt::Display| SourceError::Unreachable(format!("{}: {error}", path.display()));
        let unknown = |text| SourceError::Mistaken(format!("{text:?} is no position in this file: begin anew with --restart"));
        let behind = position.map(|text| text.parse().map_err(|_no_number| unknown(text))).transpose()?.unwrap_or(0);
        Ok(Self {
            reader: Reader::from_file(path).map_err(|error| failed(&error))?,
            domains: node.hosts.iter().chain(&node.muc).cloned().collect(),
            interval,
            host: String::new(),
            user: String::new(),
            result: None,
            count: 0,
            behind,
            is_over: false,
        })
    }

    fn step(&mut self) -> Result<Option<Item>, SourceError> {
        let mut buffer = Vec::new();
        let event = self.reader.read_event_into(&mut buffer).map_err(|error| broken(&error))?;
        match event {
            Event::Start(tag) if tag.local_name().as_ref() == "message" && self.result.is_some() => {
                let tag = tag.into_owned();
                let (stanza, fault) = self.message(tag)?;
                if let Some(result) = &mut self.result {
                    (result.stanza, result.fault) = (stanza, fault);
                }
            }
            Event::Empty(tag) if tag.local_name().as_ref() == "delay" => {
                let stamp = attribute(&tag, "stamp");
                self.stamp(stamp);
            }
            Event::Start(tag) => {
                let tag = tag.into_owned();
                self.enter(&tag);
            }
            Event::End(tag) if tag.local_name().as_ref() == "result" => return Ok(self.result.take()),
            Event::Eof => self.is_over = true,
            _ => {}
        }
        Ok(None)
    }

    fn enter(&mut self, tag: &BytesStart<'_>) {
        match tag.local_name().as_ref() {
            "host" => self.host = fold_domain(&attribute(tag, "jid").unwrap_or_default()),
            "user" => self.user = attribute(tag, "name").unwrap_or_default(),
            "result" => {
                let archive = Address::parse(&format!("{}@{}", self.user, self.host)).bare;
                self.result = Some(Item { archive: Some(archive), id: attribute(tag, "id"), ..Item::default() });
            }
            "delay" => self.stamp(attribute(tag, "stamp")),
            _ => {}
        }
    }

    fn stamp(&mut self, stamp: Option<String>) {
        if let Some(result) = &mut self.result {
            result.at = stamp.as_deref().and_then(parse_stamp).unwrap_or_default();
        }
    }

    /// The rest of a message, up to its end tag.
    fn message(&mut self, mut tag: BytesStart<'static>) -> Result<(Vec<u8>, Option<String>), SourceError> {
        if attribute(&tag, "xmlns").is_none() && !tag.name().as_ref().contains(':') {
            tag.push_attribute(("xmlns", "jabber:client"));
        }
        let mut writer = Writer::new(Vec::new());
        let mut depth = 1_usize;
        let mut length = 0;
        writer.write_event(Event::Start(tag)).map_err(|error| broken(&error))?;
        let mut buffer = Vec::new();
        while depth > 0 {
            buffer.clear();
            let event = self.reader.read_event_into(&mut buffer).map_err(|error| broken(&error))?;
            match &event {
                Event::Start(_) => depth += 1,
                Event::End(_) => depth -= 1,
                Event::Eof => return Err(SourceError::Unreachable("the file ends inside a message".to_owned())),
                _ => {}
            }
            length = writer.get_ref().len();
            if length < MAX_STANZA_BYTES {
                writer.write_event(event).map_err(|error| broken(&error))?;
            }
        }
        let fault = (length >= MAX_STANZA_BYTES).then(|| "the message is too long to be kept".to_owned());
        Ok((writer.into_inner(), fault))
    }

    /// The item of a result, if it is wanted.
    fn wanted(&self, mut item: Item) -> Option<Item> {
        if !self.domains.contains(&self.host) || (item.at > 0 && !self.interval.holds(item.at)) {
            return None;
        }
        if item.stanza.is_empty() {
            item.fault.get_or_insert_with(|| "a result without a message".to_owned());
        }
        item.direction = Item::seen_from(item.archive.as_deref().unwrap_or_default(), &made::sender(&item.stanza));
        Some(item)
    }
}

fn broken(error: &dyn std::fmt::Display) -> SourceError {
    SourceError::Unreachable(format!("the file can't be read further: {error}"))
}

fn attribute(tag: &BytesStart<'_>, name: &str) -> Option<String> {
    let mut attributes = tag.attributes();
    let found = attributes.with_checks(false).flatten().find(|attribute| attribute.key.as_ref() == name)?;
    Some(quick_xml::escape::unescape(&found.value).map_or_else(|_unknown| found.value.to_string(), |text| text.into_owned()))
}

impl Source for Xep0227 {
    async fn next(&mut self, most: usize) -> Result<Vec<(Position, Item)>, SourceError> {
        let mut items = Vec::new();
        while items.len() < most && !self.is_over {
            let Some(result) = self.step()? else { continue };
            self.count += 1;
            if self.count > self.behind {
                items.extend(self.wanted(result).map(|item| (self.count.to_string(), item)));
            }
        }
        Ok(items)
    }

    fn lacks(&self) -> &'static str {
        LACKS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Direction;

    const FILE: &str = "<?xml version='1.0'?><server-data xmlns='urn:xmpp:pie:0' xmlns:xi='http://www.w3.org/2001/XInclude'>\
        <host jid='H'><user name='alice' password='x'><archive xmlns='urn:xmpp:pie:0#mam'>\
        <result xmlns='urn:xmpp:mam:2' id='1'><forwarded xmlns='urn:xmpp:forward:0'><delay xmlns='urn:xmpp:delay' stamp='2026-11-22T07:28:55Z'/>\
        <message xmlns='jabber:client' from='alice@h/d' to='bob@h' id='m&amp;1'><body>a &lt; b &#x1F44D;</body><message xmlns='x'/></message></forwarded></result>\
        <result xmlns='urn:xmpp:mam:2' id='2'><forwarded xmlns='urn:xmpp:forward:0'><message from='bob@h/p' to='alice@h'><body>two</body></message>\
        <delay xmlns='urn:xmpp:delay' stamp='2026-11-22T07:28:56Z'></delay></forwarded></result>\
        <result xmlns='urn:xmpp:mam:2' id='3'/><result xmlns='urn:xmpp:mam:2' id='4'></result></archive></user></host>\
        <host jid='other'><user name='x'><archive><result id='9'><forwarded><message/></forwarded></result></archive></user></host></server-data>";

    fn read(text: &str, position: Option<&str>) -> Result<Vec<(Position, Item)>, SourceError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.xml");
        std::fs::write(&path, text).unwrap();
        let node = Node { hosts: ["h".to_owned()].into(), ..Node::default() };
        let mut source = Xep0227::open(&path, &node, Interval::default(), position)?;
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut all = Vec::new();
        loop {
            let some = runtime.block_on(source.next(1))?;
            if some.is_empty() {
                return Ok(all);
            }
            all.extend(some);
        }
    }

    #[test]
    fn each_result_is_an_item_of_its_users_archive() {
        let items = read(FILE, None).unwrap();
        assert_eq!(items.len(), 3);
        let first = &items[0].1;
        assert_eq!((first.archive.as_deref(), first.id.as_deref(), first.at), (Some("alice@h"), Some("1"), 1_795_332_535_000_000));
        assert_eq!(first.direction, Direction::Sent);
        let stanza = String::from_utf8(first.stanza.clone()).unwrap();
        let expected = "<message xmlns='jabber:client' from='alice@h/d' to='bob@h' id='m&amp;1'><body>a &lt; b &#x1F44D;</body><message xmlns='x'/></message>";
        assert_eq!(stanza, expected);
        assert_eq!((items[1].1.direction, items[1].1.at), (Direction::Received, 1_795_332_536_000_000));
        assert!(items[2].1.fault.is_some());
    }

    #[test]
    fn going_on_begins_behind_the_position() {
        let items = read(FILE, None).unwrap();
        assert_eq!(read(FILE, Some(&items[0].0)).unwrap(), items[1..]);
        assert!(matches!(read(FILE, Some("x")), Err(SourceError::Mistaken(_))));
    }

    #[test]
    fn a_file_that_is_cut_off_gives_what_is_whole() {
        let cut = FILE.find("<body>two").unwrap();
        assert!(matches!(read(&FILE[..cut], None), Err(SourceError::Unreachable(_))));
    }
}
