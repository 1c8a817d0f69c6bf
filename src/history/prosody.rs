//! Prosody's SQL archive: the table `prosodyarchive` of mod_storage_sql, with the users' archives (store `archive`) and the rooms' (`muc_log`).

use super::sql::{Asked, Order, ReadRow, SqlSource};
use super::{Interval, Item, SourceError};
use crate::message::address::{Address, fold_domain};
use crate::node::Node;
use crate::store::foreign::Foreign;
use crate::time::{Micros, SECOND};

/// The table's usual name.
pub const TABLE: &str = "prosodyarchive";
/// What Prosody's archive can't hold.
pub const LACKS: &str = "messages with a no-store hint, of users who switched archiving off, of rooms that are not archived, and those that have expired; \
                         the writers of room messages are known by nick";

/// The stores that hold messages: of users, and of rooms.
const STORES: [&str; 3] = ["archive", "muc_log", "archive2"];

/// The archive in a database.
///
/// # Errors
/// When it can't be read, or is none.
pub async fn open(mut db: Foreign, node: &Node, interval: Interval, position: Option<&str>) -> Result<SqlSource<Reader>, SourceError> {
    let table = db.table(TABLE).await?;
    let column = |name: &str| {
        let missing = || SourceError::Mistaken(format!("the table {} has no column {name}: is it Prosody's?", table.name));
        table.column(name).map(|name| db.quoted(name)).ok_or_else(missing)
    };
    let when = column("when")?;
    let mut conditions = Vec::new();
    // The stamps are whole seconds, or have a fraction in later versions.
    conditions.extend(interval.from.map(|from| format!("{when} >= {}", from.div_euclid(SECOND))));
    conditions.extend(interval.to.map(|to| format!("{when} < {}", to.div_euclid(SECOND) + 1)));
    let columns = ["host", "user", "store", "when", "key", "type", "value"];
    let asked = Asked {
        table: db.quoted(&table.name),
        columns: columns.into_iter().map(column).collect::<Result<_, _>>()?,
        condition: (!conditions.is_empty()).then(|| conditions.join(" AND ")),
        order: Order::Keys(vec![column("sort_id")?]),
    };
    SqlSource::new(db, asked, Reader::new(node, interval), position)
}

/// Reads rows.
pub struct Reader {
    domains: Vec<String>,
    interval: Interval,
}

impl Reader {
    fn new(node: &Node, interval: Interval) -> Self {
        Self { domains: node.hosts.iter().chain(&node.muc).cloned().collect(), interval }
    }
}

impl ReadRow for Reader {
    fn item(&mut self, cells: &[Option<String>]) -> Option<Item> {
        let [host, user, store, when, key, kind, value] = cells else { return None };
        let text = |cell: &Option<String>| cell.clone().unwrap_or_default();
        let (host, store) = (fold_domain(&text(host)), text(store));
        if !STORES.contains(&store.as_str()) || !self.domains.contains(&host) {
            return None;
        }
        let at = seconds(&text(when));
        if at.is_some_and(|at| !self.interval.holds(at) && !self.interval.holds(at + SECOND - 1)) {
            return None;
        }
        let archive = Address::parse(&format!("{}@{host}", text(user))).bare;
        let fault = match (kind.as_deref(), value) {
            (Some("xml"), Some(_)) => None,
            (kind, _) => Some(format!("a row of type {:?} where a stanza should be", kind.unwrap_or_default())),
        };
        Some(stored(archive, key.clone(), at.unwrap_or_default(), text(value).into_bytes(), fault))
    }

    fn lacks(&self) -> &'static str {
        LACKS
    }
}

/// A stanza out of any of Prosody's archives.
pub(super) fn stored(archive: String, id: Option<String>, at: Micros, stanza: Vec<u8>, fault: Option<String>) -> Item {
    let from = super::made::sender(&stanza);
    let direction = Item::seen_from(&archive, &from);
    Item { stanza, at, archive: Some(archive), id, direction, fault, ..Item::default() }
}

/// Seconds since the epoch, with or without a fraction.
pub(super) fn seconds(text: &str) -> Option<Micros> {
    let (whole, fraction) = text.trim().split_once('.').unwrap_or((text.trim(), ""));
    let whole: i64 = whole.parse().ok()?;
    let fraction: String = fraction.chars().chain("000000".chars()).take(6).collect();
    whole.checked_mul(SECOND)?.checked_add(fraction.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Direction;

    fn read(cells: [&str; 7], interval: Interval) -> Option<Item> {
        let node = Node { hosts: ["h".to_owned()].into(), muc: ["m.h".to_owned()].into(), ..Node::default() };
        let cells: Vec<_> = cells.iter().map(|cell| Some((*cell).to_owned())).collect();
        Reader::new(&node, interval).item(&cells)
    }

    const STANZA: &str = "<message xmlns='jabber:client' from='Alice@h/d' to='bob@h'><body>hi</body></message>";

    #[test]
    fn a_row_is_an_item_of_its_users_or_rooms_archive() {
        let item = read(["h", "alice", "archive", "1795332535", "k1", "xml", STANZA], Interval::default()).unwrap();
        assert_eq!((item.archive.as_deref(), item.id.as_deref(), item.direction), (Some("alice@h"), Some("k1"), Direction::Sent));
        assert_eq!((item.at, item.fault), (1_795_332_535_000_000, None));
        let item = read(["m.h", "room", "muc_log", "1795332535.25", "k1", "xml", STANZA], Interval::default()).unwrap();
        assert_eq!((item.archive.as_deref(), item.direction, item.at), (Some("room@m.h"), Direction::Received, 1_795_332_535_250_000));
    }

    #[test]
    fn other_hosts_stores_and_times_are_left_out() {
        assert_eq!(read(["other", "alice", "archive", "1", "k", "xml", STANZA], Interval::default()), None);
        assert_eq!(read(["h", "alice", "offline", "1", "k", "xml", STANZA], Interval::default()), None);
        let second = |from, to| Interval { from: Some(from), to: Some(to) };
        assert!(read(["h", "alice", "archive", "10", "k", "xml", STANZA], second(10_500_000, 11_000_000)).is_some());
        assert!(read(["h", "alice", "archive", "10", "k", "xml", STANZA], second(11_000_000, 12_000_000)).is_none());
    }

    #[test]
    fn what_is_no_stanza_is_named() {
        let item = read(["h", "alice", "archive", "10", "k", "json", "{}"], Interval::default()).unwrap();
        assert!(item.fault.unwrap().contains("json"));
        let item = read(["h", "alice", "archive", "never", "k", "xml", STANZA], Interval::default()).unwrap();
        assert_eq!(item.at, 0);
    }
}
