//! ejabberd's SQL archive: the table `archive` of mod_mam, in the old schema (a database for each host) and in the new one (`server_host`).
//!
//! A room's rows keep the stanza as it was sent, with the real JID of its writer, and the nick beside it.

use super::sql::{Asked, Order, ReadRow, SqlSource};
use super::{Interval, Item, SourceError};
use crate::message::address::Address;
use crate::node::Node;
use crate::store::foreign::Foreign;

/// The table's usual name.
pub const TABLE: &str = "archive";
/// What ejabberd's archive can't hold.
pub const LACKS: &str =
    "messages with a no-store hint, of users who switched archiving off, of rooms that are not archived, and those that were deleted";

/// The first byte of a stanza that mod_mam has packed.
const PACKED: u8 = 1;
/// The tables that it is packed with are part of ejabberd and of its licence.
const PACKED_FAULT: &str = "ejabberd has packed this stanza (the option compress_xml of mod_mam), which can't be read here: rooms can be read with \
                            `backfill --source mam`; for users set compress_xml: false, after which new rows are plain";

/// The archive in a database. `host` is whose users it holds, for the old schema of a node with several hosts.
///
/// # Errors
/// When it can't be read, or is none, or the host can't be told.
pub async fn open(
    mut db: Foreign,
    node: &Node,
    host: Option<&str>,
    interval: Interval,
    position: Option<&str>,
) -> Result<SqlSource<Reader>, SourceError> {
    let table = db.table(TABLE).await?;
    let column = |name: &str| {
        let missing = || SourceError::Mistaken(format!("the table {} has no column {name}: is it ejabberd's?", table.name));
        table.column(name).map(|name| db.quoted(name)).ok_or_else(missing)
    };
    let is_new = table.column("server_host").is_some();
    let host = match (is_new, host) {
        (true, _) => String::new(),
        (false, Some(host)) => host.to_owned(),
        (false, None) => only_host(node)?,
    };
    let timestamp = column("timestamp")?;
    let mut conditions = Vec::new();
    conditions.extend(interval.from.map(|from| format!("{timestamp} >= {from}")));
    conditions.extend(interval.to.map(|to| format!("{timestamp} < {to}")));
    let mut columns = ["username", "timestamp", "peer", "xml", "kind", "nick"].into_iter().map(column).collect::<Result<Vec<_>, _>>()?;
    columns.push(if is_new { column("server_host")? } else { "NULL".to_owned() });
    let asked = Asked {
        table: db.quoted(&table.name),
        columns,
        condition: (!conditions.is_empty()).then(|| conditions.join(" AND ")),
        order: Order::Keys(vec![timestamp, column("id")?]),
    };
    let hosts = node.hosts.iter().cloned().collect();
    SqlSource::new(db, asked, Reader { host, hosts }, position)
}

fn only_host(node: &Node) -> Result<String, SourceError> {
    let mut hosts = node.hosts.iter();
    match (hosts.next(), hosts.next()) {
        (Some(only), None) => Ok(only.clone()),
        _ => Err(SourceError::Mistaken("this table does not say whose users it holds: name their host with --host".to_owned())),
    }
}

/// Reads rows.
pub struct Reader {
    /// The host of a table that does not name it.
    host: String,
    hosts: Vec<String>,
}

impl ReadRow for Reader {
    fn item(&mut self, cells: &[Option<String>]) -> Option<Item> {
        let [username, timestamp, peer, xml, kind, nick, server_host] = cells else { return None };
        let text = |cell: &Option<String>| cell.clone().unwrap_or_default();
        let host = server_host.as_deref().unwrap_or(&self.host);
        if !self.hosts.iter().any(|known| known == host) {
            return None;
        }
        let in_room = kind.as_deref() == Some("groupchat");
        let archive = if in_room { text(username) } else { format!("{}@{host}", text(username)) };
        let archive = Address::parse(&archive).bare;
        let stanza = text(xml).into_bytes();
        let direction = Item::seen_from(&archive, &super::made::sender(&stanza));
        let fault = match stanza.first() {
            Some(b'<') | None => None,
            Some(&PACKED) => Some(PACKED_FAULT),
            Some(_) => Some("no stanza"),
        };
        let peer = peer.clone().filter(|peer| in_room && !peer.is_empty());
        Some(Item {
            at: text(timestamp).parse().unwrap_or_default(),
            id: timestamp.clone(),
            fault: fault.map(str::to_owned),
            sender: peer,
            nick: nick.clone().filter(|nick| in_room && !nick.is_empty()),
            archive: Some(archive),
            stanza,
            direction,
            ..Item::default()
        })
    }

    /// The node's other hosts have tables of their own.
    fn is_partial(&self) -> bool {
        !self.host.is_empty() && self.hosts.len() > 1
    }

    fn lacks(&self) -> &'static str {
        LACKS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Direction;

    fn read(cells: [Option<&str>; 7]) -> Option<Item> {
        let cells: Vec<_> = cells.iter().map(|cell| cell.map(str::to_owned)).collect();
        Reader { host: "h".to_owned(), hosts: vec!["h".to_owned()] }.item(&cells)
    }

    #[test]
    fn a_users_row_has_the_timestamp_as_its_id() {
        let xml = "<message from='alice@h/d' to='bob@h'><body>hi</body></message>";
        let item = read([Some("bob"), Some("1795332535173794"), Some("alice@h/d"), Some(xml), Some("chat"), Some(""), None]).unwrap();
        assert_eq!(
            (item.archive.as_deref(), item.id.as_deref(), item.at),
            (Some("bob@h"), Some("1795332535173794"), 1_795_332_535_173_794)
        );
        assert_eq!((item.direction, item.sender, item.nick, item.fault), (Direction::Received, None, None, None));
    }

    #[test]
    fn a_table_of_one_host_is_a_part_of_a_node_with_several() {
        let is_partial = |host: &str, hosts: &[&str]| {
            Reader { host: host.to_owned(), hosts: hosts.iter().map(|host| (*host).to_owned()).collect() }.is_partial()
        };
        assert!(is_partial("a", &["a", "b"]));
        assert!(!is_partial("", &["a", "b"]) && !is_partial("a", &["a"]));
    }

    #[test]
    fn a_rooms_row_tells_who_was_behind_the_nick() {
        let xml = "<message from='alice@h/d' to='r@m.h' type='groupchat'><body>hi</body></message>";
        let item = read([Some("r@m.h"), Some("17"), Some("alice@h/d"), Some(xml), Some("groupchat"), Some("Al"), Some("h")]).unwrap();
        assert_eq!((item.archive.as_deref(), item.sender.as_deref(), item.nick.as_deref()), (Some("r@m.h"), Some("alice@h/d"), Some("Al")));
    }

    #[test]
    fn another_hosts_rows_are_left_out_and_packed_ones_named() {
        assert_eq!(read([Some("bob"), Some("17"), None, Some("<message/>"), Some("chat"), None, Some("other")]), None);
        let fault = |xml: &str| read([Some("bob"), Some("17"), None, Some(xml), Some("chat"), None, None]).unwrap().fault.unwrap();
        assert!(fault("\u{1}x").contains("compress_xml: false") && !fault("x").contains("compress_xml"));
    }
}
