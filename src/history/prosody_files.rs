//! Prosody's internal storage: `DATA/HOST/archive/USER.list` and `DATA/ROOMS/muc_log/ROOM.list`, names percent-encoded.
//!
//! The files are read one by one in the order of their names; Prosody bounds each (10,000 messages unless configured otherwise). The position is a file and a number of
//! items in it.

use std::fs;
use std::path::{Path, PathBuf};

use super::lua::{Parser, Table, Value};
use super::prosody::{seconds, stored};
use super::{Interval, Item, Position, Source, SourceError, prosody};
use crate::message::address::Address;
use crate::node::Node;
use crate::time::Micros;

/// The largest file that is read.
const MAX_FILE_BYTES: u64 = 1024 * 1024 * 1024;
/// How RFC 7395 and Prosody's stanzas name `xml:lang` apart from its prefix.
const XML_NS: &str = "http://www.w3.org/XML/1998/namespace";

/// Such a directory as a source.
pub struct ProsodyFiles {
    files: Vec<(String, PathBuf, String)>,
    interval: Interval,
    behind: Option<(String, u64)>,
    waiting: std::vec::IntoIter<(Position, Item)>,
}

impl ProsodyFiles {
    /// Finds the files of a node's users and rooms.
    ///
    /// # Errors
    /// When there are none, or the position is none in them.
    pub fn open(data: &Path, node: &Node, interval: Interval, position: Option<&str>) -> Result<Self, SourceError> {
        let unknown = |text: &str| SourceError::Mistaken(format!("{text:?} is no position here: begin anew with --restart"));
        let behind = match position {
            None => None,
            Some(text) => {
                let (file, count) = text.rsplit_once('|').ok_or_else(|| unknown(text))?;
                Some((file.to_owned(), count.parse().map_err(|_no_number| unknown(text))?))
            }
        };
        let mut files = Vec::new();
        for (domains, stores) in [(&node.hosts, ["archive", "archive2"]), (&node.muc, ["muc_log", "muc%5flog"])] {
            for domain in domains {
                for store in stores {
                    files.extend(lists(data, domain, store)?);
                }
            }
        }
        files.sort();
        if files.is_empty() {
            return Err(SourceError::Mistaken(format!("{}: there is no archive of the node's hosts and rooms in it", data.display())));
        }
        if let Some((file, _)) = &behind {
            files.retain(|(name, ..)| name >= file);
        }
        files.reverse();
        Ok(Self { files, interval, behind, waiting: Vec::new().into_iter() })
    }

    fn read(&self, name: &str, path: &Path, archive: &str) -> Result<Vec<(Position, Item)>, SourceError> {
        let failed = |error: &dyn std::fmt::Display| SourceError::Unreachable(format!("{}: {error}", path.display()));
        if fs::metadata(path).map_err(|error| failed(&error))?.len() > MAX_FILE_BYTES {
            return Err(failed(&"the file is too large"));
        }
        let text = fs::read(path).map_err(|error| failed(&error))?;
        let behind = self.behind.as_ref().filter(|(file, _)| file == name).map_or(0, |(_, count)| *count);
        let mut parser = Parser::new(&text);
        let mut items = Vec::new();
        let mut count = 0;
        while let Some(read) = parser.item() {
            count += 1;
            if count > behind {
                let item = read.map_or_else(|why| unreadable(archive, &why), |table| item(archive, &table));
                let wanted = item.at == 0 || self.interval.holds(item.at);
                items.extend(wanted.then(|| (format!("{name}|{count}"), item)));
            }
        }
        Ok(items)
    }
}

fn unreadable(archive: &str, why: &str) -> Item {
    Item { archive: Some(archive.to_owned()), fault: Some(format!("no item of Prosody's storage: {why}")), ..Item::default() }
}

fn item(archive: &str, table: &Table) -> Item {
    let at: Micros = table.text("when").and_then(|when| seconds(&when)).unwrap_or_default();
    let mut xml = String::new();
    element(table, true, &mut xml);
    stored(archive.to_owned(), table.text("key"), at, xml.into_bytes(), None)
}

/// A stanza as XML.
fn element(table: &Table, is_stanza: bool, xml: &mut String) {
    let name = table.text("name").unwrap_or_else(|| "unnamed".to_owned());
    xml.push_str(&format!("<{name}"));
    let attributes = table.table("attr");
    if is_stanza && attributes.is_none_or(|attributes| attributes.text("xmlns").is_none()) {
        xml.push_str(" xmlns='jabber:client'");
    }
    for (index, (key, value)) in attributes.into_iter().flat_map(|attributes| &attributes.named).enumerate() {
        let (key, Value::Text(value)) = (String::from_utf8_lossy(key), value) else { continue };
        if is_stanza && matches!(key.as_ref(), "stamp" | "stamp_legacy") {
            continue;
        }
        let value = quick_xml::escape::escape(String::from_utf8_lossy(value)).into_owned();
        match key.split_once('\u{1}') {
            Some((XML_NS, local)) => xml.push_str(&format!(" xml:{local}='{value}'")),
            Some((namespace, local)) => {
                let namespace = quick_xml::escape::escape(namespace).into_owned();
                xml.push_str(&format!(" xmlns:ns{index}='{namespace}' ns{index}:{local}='{value}'"));
            }
            None => xml.push_str(&format!(" {key}='{value}'")),
        }
    }
    if table.row.is_empty() {
        xml.push_str("/>");
        return;
    }
    xml.push('>');
    for child in &table.row {
        match child {
            Value::Text(text) => xml.push_str(&quick_xml::escape::escape(String::from_utf8_lossy(text))),
            Value::Table(child) => element(child, false, xml),
            _ => {}
        }
    }
    xml.push_str(&format!("</{name}>"));
}

/// The lists of one store: name, path and archive of each.
fn lists(data: &Path, domain: &str, store: &str) -> Result<Vec<(String, PathBuf, String)>, SourceError> {
    let directory = data.join(encoded(domain)).join(store);
    let entries = match fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(SourceError::Unreachable(format!("{}: {error}", directory.display()))),
    };
    let list = |entry: fs::DirEntry| {
        let file = entry.file_name().into_string().ok()?;
        let user = decoded(file.strip_suffix(".list")?);
        let archive = Address::parse(&format!("{user}@{domain}")).bare;
        Some((format!("{domain}/{store}/{file}"), entry.path(), archive))
    };
    Ok(entries.flatten().filter_map(list).collect())
}

fn encoded(name: &str) -> String {
    name.bytes().map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02x}") }).collect()
}

fn decoded(name: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = name.as_bytes();
    while let [first, after @ ..] = rest {
        let hex = (*first == b'%').then(|| after.get(..2)).flatten().and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Source for ProsodyFiles {
    async fn next(&mut self, most: usize) -> Result<Vec<(Position, Item)>, SourceError> {
        loop {
            let items: Vec<_> = self.waiting.by_ref().take(most).collect();
            if !items.is_empty() {
                return Ok(items);
            }
            let Some((name, path, archive)) = self.files.pop() else { return Ok(Vec::new()) };
            self.waiting = self.read(&name, &path, &archive)?.into_iter();
        }
    }

    fn lacks(&self) -> &'static str {
        prosody::LACKS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = r#"item({
	["key"] = "k1"; ["when"] = 1795332535; ["with"] = "bob@h"; ["name"] = "message";
	["attr"] = { ["from"] = "alice@h/d"; ["to"] = "bob@h"; ["stamp"] = "x"; ["http://www.w3.org/XML/1998/namespace\1lang"] = "en"; ["id"] = "a'b" };
	{ ["name"] = "body"; ["attr"] = {}; "a < b\n\240\159\145\141" };
	{ ["name"] = "x"; ["attr"] = { ["xmlns"] = "urn:x" } };
});
item(nonsense);
item({ ["key"] = "k3"; ["when"] = 1795332540.5; ["name"] = "message"; ["attr"] = { ["from"] = "bob@h/p"; ["to"] = "alice@h" }; { ["name"] = "body"; ["attr"] = {}; "two" } });
"#;

    fn read(position: Option<&str>) -> Vec<(Position, Item)> {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("h%2eexample/archive");
        fs::create_dir_all(&place).unwrap();
        fs::write(place.join("alice%2eb.list"), LIST).unwrap();
        let node = Node { hosts: ["h.example".to_owned()].into(), ..Node::default() };
        let mut source = ProsodyFiles::open(directory.path(), &node, Interval::default(), position).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut all = Vec::new();
        loop {
            let some = runtime.block_on(source.next(1)).unwrap();
            if some.is_empty() {
                return all;
            }
            all.extend(some);
        }
    }

    #[test]
    fn stanzas_are_written_as_they_were() {
        let items = read(None);
        assert_eq!(items.len(), 3);
        let first = &items[0].1;
        assert_eq!(
            (first.archive.as_deref(), first.id.as_deref(), first.at),
            (Some("alice.b@h.example"), Some("k1"), 1_795_332_535_000_000)
        );
        let expected = "<message xmlns='jabber:client' from='alice@h/d' xml:lang='en' id='a&apos;b' to='bob@h'><body>a &lt; b\n\u{1f44d}</body><x xmlns='urn:x'/></message>";
        assert_eq!(String::from_utf8_lossy(&first.stanza), expected);
        assert!(items[1].1.fault.is_some());
        assert_eq!(items[2].1.at, 1_795_332_540_500_000);
    }

    #[test]
    fn going_on_begins_behind_the_position() {
        let items = read(None);
        assert_eq!(read(Some(&items[0].0)), items[1..]);
    }

    #[test]
    fn a_directory_without_archives_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        assert!(matches!(ProsodyFiles::open(directory.path(), &Node::default(), Interval::default(), None), Err(SourceError::Mistaken(_))));
    }
}
