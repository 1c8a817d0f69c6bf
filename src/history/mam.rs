//! The archives that the node itself gives out (XEP-0313), asked for over its component port: rooms' by the protocol as it is, users' on Prosody with our
//! module `prosody-mam`.
//!
//! One archive after another, page after page (XEP-0059). The position is an archive and the id of its last message. An archive that refuses to be read is named
//! at the end, and the others are read.

use std::collections::VecDeque;

use super::{Interval, Item, Position, Source, SourceError, made};
use crate::component::SessionError;
use crate::component::ask::{Asker, Came};
use crate::message::address::Address;
use crate::mirror::{DELAY_NS, FORWARD_NS};
use crate::time::{parse_stamp, rfc3339};
use crate::xml::{COMPONENT_NS, Document, Element};

const MAM_NS: &str = "urn:xmpp:mam:2";
const RSM_NS: &str = "http://jabber.org/protocol/rsm";
const DISCO_ITEMS_NS: &str = "http://jabber.org/protocol/disco#items";
/// The namespace in which our module for Prosody tells whose archives there are.
const LIST_NS: &str = "urn:xmpp-archiver:mam:0";
/// Messages asked for at a time; servers give fewer.
const PAGE: usize = 250;
/// Most pages of one list of rooms or users.
const MAX_PAGES: usize = 10_000;
const LACKS: &str = "messages with a no-store hint, of users who switched archiving off, of rooms that are not archived or may not be asked, and those that \
                     have expired";

/// Archives of a node as a source.
pub struct Mam {
    asker: Asker,
    archives: VecDeque<String>,
    interval: Interval,
    after: Option<String>,
    troubles: Vec<String>,
    is_partial: bool,
}

/// A page of an archive.
#[derive(Default)]
struct Page {
    items: Vec<Item>,
    last: Option<String>,
    is_complete: bool,
    /// How many messages were over the limit, of which nothing is left.
    oversize: u64,
}

impl Mam {
    /// A source of these archives; `is_partial` where they are not all that the node has, and `troubles` where it did not tell all of them.
    ///
    /// # Errors
    /// When the position is none in them.
    pub fn new(
        asker: Asker,
        mut archives: Vec<String>,
        is_partial: bool,
        troubles: Vec<String>,
        interval: Interval,
        position: Option<&str>,
    ) -> Result<Self, SourceError> {
        archives.sort();
        archives.dedup();
        let mut after = None;
        if let Some(text) = position {
            let unknown = || SourceError::Mistaken(format!("{text:?} is no position here: begin anew with --restart"));
            let (archive, id) = text.split_once(' ').ok_or_else(unknown)?;
            archives.retain(|other| other.as_str() >= archive);
            after = archives.first().filter(|first| *first == archive).map(|_| id.to_owned()).filter(|id| !id.is_empty());
        }
        Ok(Self { asker, archives: archives.into(), interval, after, troubles, is_partial })
    }

    /// Once for each archive, however many messages it is of.
    fn note_oversize(&mut self, archive: &str) {
        let trouble = format!("{archive}: messages over max_stanza of the node");
        if self.troubles.last() != Some(&trouble) {
            self.troubles.push(trouble);
        }
    }

    async fn page(&mut self, archive: &str, most: usize) -> Result<Result<Page, String>, SessionError> {
        let query = query(self.interval, self.after.as_deref(), most.clamp(1, PAGE));
        let id = self.asker.ask("set", archive, &query).await?;
        let mut page = Page::default();
        loop {
            let stanza = match self.asker.next().await? {
                Came::Stanza(stanza) => stanza,
                Came::Oversize(head, bytes) if is_message_of(&head, archive) => {
                    page.oversize += 1;
                    log::warn!("{archive}: a message of {bytes} bytes can't be read: it is over max_stanza of the node");
                    self.note_oversize(archive);
                    continue;
                }
                Came::Oversize(..) => continue,
            };
            let document = match Document::parse(&stanza, COMPONENT_NS) {
                Ok(document) => document,
                Err(error) => {
                    let fault = error.to_string();
                    page.items.extend(is_message_of(&stanza, archive).then(|| unreadable(&stanza, archive, fault)));
                    continue;
                }
            };
            let root = document.root();
            if root.attribute("from").map(Address::parse).is_some_and(|from| from.to_string() != archive) {
                continue;
            }
            match (root.name(), root.attribute("id") == Some(&id)) {
                ("message", _) => page.items.extend(result(root, archive)),
                ("iq", true) if root.attribute("type") == Some("error") => return Ok(Err(condition(root))),
                ("iq", true) => {
                    let fin = root.child("fin", MAM_NS);
                    page.is_complete = fin.is_none_or(|fin| matches!(fin.attribute("complete"), Some("true" | "1")));
                    page.last = fin
                        .and_then(|fin| fin.child("set", RSM_NS))
                        .and_then(|set| set.child("last", RSM_NS))
                        .map(|last| last.text().into_owned());
                    return Ok(Ok(page));
                }
                _ => {}
            }
        }
    }
}

/// The rooms that a service tells of (XEP-0045 §6.3).
///
/// # Errors
/// When the connection is lost.
pub async fn rooms(asker: &mut Asker, service: &str) -> Result<Vec<String>, SourceError> {
    let content = format!("<query xmlns='{DISCO_ITEMS_NS}'/>");
    let answer = answer(asker, "get", service, &content).await?;
    let document = Document::parse(&answer, COMPONENT_NS).map_err(|error| SourceError::Unreachable(error.to_string()))?;
    if document.root().attribute("type") == Some("error") {
        return Err(SourceError::Unreachable(format!("{service} does not tell its rooms: {}", condition(document.root()))));
    }
    let items = document.root().child("query", DISCO_ITEMS_NS).into_iter().flat_map(|query| query.children());
    Ok(items.filter_map(|item| item.attribute("jid")).map(|jid| Address::parse(jid).bare).collect())
}

/// The users of a host who have an archive, as our module for Prosody tells them.
///
/// # Errors
/// When the connection is lost, or the module is not there.
pub async fn accounts(asker: &mut Asker, host: &str) -> Result<Vec<String>, SourceError> {
    let mut all: Vec<String> = Vec::new();
    for _ in 0..MAX_PAGES {
        let after = all.last().map(|last| format!(" after='{}'", quick_xml::escape::escape(last))).unwrap_or_default();
        let answer = answer(asker, "get", host, &format!("<archives xmlns='{LIST_NS}'{after}/>")).await?;
        let document = Document::parse(&answer, COMPONENT_NS).map_err(|error| SourceError::Unreachable(error.to_string()))?;
        if document.root().attribute("type") == Some("error") {
            let why = condition(document.root());
            return Err(SourceError::Mistaken(format!(
                "{host} does not tell whose archives it has ({why}): is mod_xmpp_archiver_mam loaded there?"
            )));
        }
        let list = document.root().child("archives", LIST_NS);
        let named = list.into_iter().flat_map(|list| list.children());
        let before = all.len();
        all.extend(named.filter_map(|one| one.attribute("jid")).map(str::to_owned));
        if all.len() == before {
            break;
        }
    }
    Ok(all)
}

async fn answer(asker: &mut Asker, kind: &str, to: &str, content: &str) -> Result<Vec<u8>, SourceError> {
    let id = asker.ask(kind, to, content).await.map_err(lost)?;
    loop {
        let stanza = match asker.next().await.map_err(lost)? {
            Came::Stanza(stanza) => stanza,
            Came::Oversize(head, bytes) if made::attribute(&head, "id").as_deref() == Some(&id) => {
                return Err(SourceError::Unreachable(format!("{to}: its answer has {bytes} bytes, which is over max_stanza of the node")));
            }
            Came::Oversize(..) => continue,
        };
        let is_it = Document::parse(&stanza, COMPONENT_NS).is_ok_and(|document| {
            let root = document.root();
            root.name() == "iq" && root.attribute("id") == Some(&id) && matches!(root.attribute("type"), Some("result" | "error"))
        });
        if is_it {
            return Ok(stanza);
        }
    }
}

fn lost(error: SessionError) -> SourceError {
    SourceError::Unreachable(error.to_string())
}

/// XEP-0313 §4.1, with the page of XEP-0059.
fn query(interval: Interval, after: Option<&str>, most: usize) -> String {
    let field = |name: &str, value: String| format!("<field var='{name}'><value>{value}</value></field>");
    let mut form = format!("<field var='FORM_TYPE' type='hidden'><value>{MAM_NS}</value></field>");
    form.extend(interval.from.map(|from| field("start", rfc3339(from))));
    form.extend(interval.to.map(|to| field("end", rfc3339(to))));
    let after = after.map(|after| format!("<after>{}</after>", quick_xml::escape::escape(after))).unwrap_or_default();
    format!(
        "<query xmlns='{MAM_NS}'><x xmlns='jabber:x:data' type='submit'>{form}</x><set xmlns='{RSM_NS}'><max>{most}</max>{after}</set></query>"
    )
}

fn condition(iq: Element<'_, '_>) -> String {
    let error = iq.children().find(|child| child.name() == "error");
    let condition = error.and_then(|error| error.children().next());
    condition.map_or_else(|| "an error".to_owned(), |condition| condition.name().to_owned())
}

/// Whether it is a message from this archive, by its start tag.
fn is_message_of(stanza: &[u8], archive: &str) -> bool {
    let from = made::attribute(stanza, "from");
    stanza.starts_with(b"<message") && from.is_none_or(|from| Address::parse(&from).to_string() == archive)
}

/// A result that can't be parsed: neither its id nor its time is known.
fn unreadable(stanza: &[u8], archive: &str, fault: String) -> Item {
    Item { stanza: stanza.to_vec(), archive: Some(archive.to_owned()), fault: Some(fault), ..Item::default() }
}

/// The items with their positions. What has no id has the position of the one before it.
fn placed(archive: &str, after: Option<&str>, items: Vec<Item>) -> Vec<(Position, Item)> {
    let mut last = after.unwrap_or_default().to_owned();
    let place = |item: Item| {
        if let Some(id) = &item.id {
            last.clone_from(id);
        }
        (format!("{archive} {last}"), item)
    };
    items.into_iter().map(place).collect()
}

fn result(message: Element<'_, '_>, archive: &str) -> Option<Item> {
    let result = message.child("result", MAM_NS)?;
    let forwarded = result.child("forwarded", FORWARD_NS);
    let inner = forwarded.and_then(|forwarded| forwarded.children().find(|child| child.name() == "message"));
    let stamp = forwarded.and_then(|forwarded| forwarded.child("delay", DELAY_NS)).and_then(|delay| parse_stamp(delay.attribute("stamp")?));
    let from = inner.and_then(|inner| inner.attribute("from")).unwrap_or_default();
    Some(Item {
        at: stamp.unwrap_or_default(),
        archive: Some(archive.to_owned()),
        id: result.attribute("id").map(str::to_owned),
        direction: Item::seen_from(archive, from),
        fault: inner.is_none().then(|| "a result without a message".to_owned()),
        stanza: inner.map(|inner| inner.source().as_bytes().to_vec()).unwrap_or_default(),
        ..Item::default()
    })
}

impl Source for Mam {
    async fn next(&mut self, most: usize) -> Result<Vec<(Position, Item)>, SourceError> {
        while let Some(archive) = self.archives.front().cloned() {
            let mut page = match self.page(&archive, most).await.map_err(lost)? {
                Ok(page) => page,
                Err(why) => {
                    self.troubles.push(format!("{archive}: {why}"));
                    Page { is_complete: true, ..Page::default() }
                }
            };
            let after = self.after.take();
            let last = page.last.take().or_else(|| page.items.iter().rev().find_map(|item| item.id.clone()));
            let is_empty = page.items.is_empty() && page.oversize == 0;
            if page.is_complete || is_empty || last == after {
                self.archives.pop_front();
            } else {
                self.after = last;
            }
            if !page.items.is_empty() {
                return Ok(placed(&archive, after.as_deref(), page.items));
            }
        }
        Ok(Vec::new())
    }

    fn is_partial(&self) -> bool {
        self.is_partial
    }

    fn troubles(&self) -> Vec<String> {
        self.troubles.clone()
    }

    fn lacks(&self) -> &'static str {
        LACKS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Direction;

    #[test]
    fn a_result_is_an_item() {
        let stanza = "<message from='r@m.h' to='archive.h'><result xmlns='urn:xmpp:mam:2' id='17'><forwarded xmlns='urn:xmpp:forward:0'>\
            <delay xmlns='urn:xmpp:delay' stamp='2026-11-22T07:28:55Z'/><message xmlns='jabber:client' from='r@m.h/Al' type='groupchat'><body>hi</body></message>\
            </forwarded></result></message>";
        let document = Document::parse(stanza.as_bytes(), COMPONENT_NS).unwrap();
        let item = result(document.root(), "bob@h").unwrap();
        assert_eq!((item.at, item.id.as_deref(), item.direction), (1_795_332_535_000_000, Some("17"), Direction::Received));
        assert!(item.stanza.starts_with(b"<message xmlns='jabber:client' from='r@m.h/Al'"));
        let other = Document::parse(b"<message><body>hi</body></message>", COMPONENT_NS).unwrap();
        assert!(result(other.root(), "bob@h").is_none());
    }

    #[test]
    fn a_page_is_asked_for_behind_the_last_one() {
        let asked = query(Interval { from: Some(1_795_332_535_000_000), to: None }, Some("a&b"), 50);
        assert!(
            asked.contains("<field var='start'><value>2026-11-22T07:28:55.000000Z</value></field>") && !asked.contains("'end'"),
            "{asked}"
        );
        assert!(asked.contains("<max>50</max><after>a&amp;b</after>"));
    }

    #[test]
    fn why_an_archive_refuses_is_told() {
        let stanza = "<iq type='error'><error type='auth'><forbidden xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>";
        assert_eq!(condition(Document::parse(stanza.as_bytes(), COMPONENT_NS).unwrap().root()), "forbidden");
    }
}
