//! Names that rows hold as small numbers: JIDs, conversations, nodes.
//!
//! Only the writer adds to them, in the transaction that needs them, while it excludes all other writers. What is remembered
//! here is forgotten when a transaction fails or when another process has written.

use std::collections::{HashMap, HashSet};

use diesel::QueryResult;

use super::foresight::Foreseen;
use super::queries::{LastIds, Queries};
use super::reads::Reads;
use super::rows::{ConversationRow, JidRow, NodeRow};

/// Most JIDs and most conversations remembered (about 100 bytes each).
const MAX_REMEMBERED: usize = 100_000;

/// How a conversation is found: its kind, and the numbers of those in it.
pub(crate) type ConversationKey = (i16, i32, Option<i32>);

/// A conversation by the people in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Conversation {
    /// The room.
    Room(String),
    /// Both bare JIDs, sorted.
    Direct(String, String),
}

impl Conversation {
    pub(crate) fn direct(one: &str, other: &str) -> Self {
        let (first, second) = if one <= other { (one, other) } else { (other, one) };
        Self::Direct(first.to_owned(), second.to_owned())
    }

    /// The name that people see.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Room(room) => room.clone(),
            Self::Direct(first, second) => format!("{first} {second}"),
        }
    }

    fn jids(&self) -> (&str, Option<&str>) {
        match self {
            Self::Room(room) => (room, None),
            Self::Direct(first, second) => (first, Some(second)),
        }
    }

    fn kind(&self) -> i16 {
        if matches!(self, Self::Room(_)) { 2 } else { 1 }
    }

    /// Its key, if everybody in it has a number.
    pub(crate) fn key(&self, number: impl Fn(&str) -> Option<i32>) -> Option<ConversationKey> {
        let (first, second) = self.jids();
        let second = match second {
            Some(second) => Some(number(second)?),
            None => None,
        };
        Some((self.kind(), number(first)?, second))
    }

    /// The people in it, or the room.
    pub(crate) fn members(&self) -> impl Iterator<Item = &str> {
        let (first, second) = self.jids();
        std::iter::once(first).chain(second)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Dictionary {
    jids: HashMap<String, i32>,
    conversations: HashMap<ConversationKey, i32>,
    nodes: HashMap<String, i16>,
}

impl Dictionary {
    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Makes room before a batch; what was numbered after `stored` is not in the database yet, and stays.
    pub(crate) fn make_room(&mut self, stored: &LastIds) {
        if self.jids.len() > MAX_REMEMBERED {
            self.jids.retain(|_, id| *id > stored.jid);
        }
        if self.conversations.len() > MAX_REMEMBERED {
            self.conversations.retain(|_, id| *id > stored.conversation);
        }
    }

    /// The number of a JID that [`Dictionary::need_jids`] was asked for.
    pub(crate) fn jid(&self, jid: &str) -> Option<i32> {
        self.jids.get(jid).copied()
    }

    pub(crate) fn node(&self, name: &str) -> i16 {
        self.nodes.get(name).copied().unwrap_or(0)
    }

    pub(crate) fn conversation(&self, conversation: &Conversation) -> Option<i32> {
        self.conversations.get(&self.key(conversation)?).copied()
    }

    pub(crate) fn key(&self, conversation: &Conversation) -> Option<ConversationKey> {
        conversation.key(|jid| self.jid(jid))
    }

    pub(crate) async fn need_nodes<Q: Queries>(&mut self, db: &mut Q, names: &[String], last: &mut LastIds) -> QueryResult<()> {
        if names.iter().all(|name| self.nodes.contains_key(name)) {
            return Ok(());
        }
        // Those that are not in the database yet are kept.
        self.nodes.extend(db.node_rows().await?.into_iter().map(|row| (row.name, row.id)));
        let mut new = Vec::new();
        for name in names.iter().filter(|name| !self.nodes.contains_key(*name)) {
            last.node += 1;
            new.push(NodeRow { id: last.node, name: name.clone() });
        }
        self.nodes.extend(new.iter().map(|row| (row.name.clone(), row.id)));
        if new.is_empty() { Ok(()) } else { db.insert_nodes(new).await }
    }

    /// Makes sure that each of these JIDs has a number.
    pub(crate) async fn need_jids<Q: Queries>(
        &mut self,
        db: &mut Q,
        wanted: Vec<String>,
        foreseen: &Foreseen,
        last: &mut LastIds,
    ) -> QueryResult<()> {
        let mut missing: Vec<String> = wanted.into_iter().filter(|jid| !self.jids.contains_key(jid)).collect();
        missing.sort_unstable();
        missing.dedup();
        let (seen, unseen): (Vec<_>, Vec<_>) = missing.into_iter().partition(|jid| foreseen.jids.contains_key(jid));
        let mut new: Vec<String> = Vec::new();
        for jid in seen {
            match foreseen.jids.get(&jid).copied().flatten() {
                Some(id) => drop(self.jids.insert(jid, id)),
                None => new.push(jid),
            }
        }
        if !unseen.is_empty() {
            self.jids.extend(db.jid_ids(&unseen).await?.into_iter().map(|row| (row.jid, row.id)));
            new.extend(unseen.into_iter().filter(|jid| !self.jids.contains_key(jid)));
            new.sort_unstable();
        }
        let new = new.into_iter().map(|jid| {
            last.jid += 1;
            JidRow { id: last.jid, jid }
        });
        let new: Vec<JidRow> = new.collect();
        self.jids.extend(new.iter().map(|row| (row.jid.clone(), row.id)));
        if new.is_empty() { Ok(()) } else { db.insert_jids(new).await }
    }

    /// Looks up the numbers of JIDs that may have one.
    pub(crate) async fn know_jids<Q: Queries>(&mut self, db: &mut Q, mut wanted: Vec<String>) -> QueryResult<()> {
        wanted.retain(|jid| !self.jids.contains_key(jid));
        wanted.sort_unstable();
        wanted.dedup();
        if !wanted.is_empty() {
            self.jids.extend(db.jid_ids(&wanted).await?.into_iter().map(|row| (row.jid, row.id)));
        }
        Ok(())
    }

    /// Makes sure that each of these conversations has a number; their JIDs must have one already.
    pub(crate) async fn need_conversations<Q: Queries>(
        &mut self,
        db: &mut Q,
        wanted: &[Conversation],
        known: (&Foreseen, &LastIds),
        last: &mut LastIds,
    ) -> QueryResult<()> {
        self.know_conversations(db, wanted, known).await?;
        let mut unknown: Vec<_> = wanted
            .iter()
            .filter_map(|conversation| Some((self.key(conversation)?, conversation)))
            .filter(|(key, _)| !self.conversations.contains_key(key))
            .collect();
        unknown.sort_unstable_by_key(|(key, _)| *key);
        unknown.dedup_by_key(|(key, _)| *key);
        let mut new = Vec::new();
        for (key, conversation) in unknown {
            last.conversation += 1;
            let (kind, first, second_id) = key;
            new.push(ConversationRow { id: last.conversation, kind, first_id: Some(first), second_id, name: conversation.name() });
            self.conversations.insert(key, last.conversation);
        }
        if new.is_empty() { Ok(()) } else { db.insert_conversations(new).await }
    }

    /// Looks up the numbers of conversations that may exist. Nobody in a conversation that the database has can have got a number after what
    /// was in use in `stored`; and what was in use then and later stands in memory.
    pub(crate) async fn know_conversations<Q: Queries>(
        &mut self,
        db: &mut Q,
        wanted: &[Conversation],
        (foreseen, stored): (&Foreseen, &LastIds),
    ) -> QueryResult<()> {
        let missing = wanted.iter().filter_map(|conversation| self.key(conversation));
        let missing: HashSet<ConversationKey> = missing.filter(|key| !self.conversations.contains_key(key)).collect();
        let (seen, unseen): (Vec<_>, Vec<_>) = missing.into_iter().partition(|key| foreseen.conversations.contains_key(key));
        let found = seen.into_iter().filter_map(|key| Some((key, foreseen.conversations.get(&key).copied().flatten()?)));
        self.conversations.extend(found);
        let may_exist = |(_, first, second): &ConversationKey| *first <= stored.jid && second.is_none_or(|second| second <= stored.jid);
        let found = conversation_keys(db, unseen.into_iter().filter(may_exist).collect()).await?;
        self.conversations.extend(found.into_iter().filter_map(|(key, number)| Some((key, number?))));
        Ok(())
    }
}

/// The numbers of these conversations, as far as the database has them.
pub(crate) async fn conversation_keys<Q: Reads>(
    db: &mut Q,
    keys: HashSet<ConversationKey>,
) -> QueryResult<HashMap<ConversationKey, Option<i32>>> {
    if keys.is_empty() {
        return Ok(HashMap::new());
    }
    let mut first: Vec<i32> = keys.iter().map(|(_, first, _)| *first).collect();
    first.sort_unstable();
    first.dedup();
    // A room has no second JID; the list must not be empty for it all the same.
    let mut second: Vec<i32> = keys.iter().map(|(.., second)| second.unwrap_or_default()).collect();
    second.sort_unstable();
    second.dedup();
    let mut numbers: HashMap<ConversationKey, Option<i32>> = keys.into_iter().map(|key| (key, None)).collect();
    for row in db.conversations_of(&first, &second).await? {
        if let Some(number) = numbers.get_mut(&(row.kind, row.first_id.unwrap_or_default(), row.second_id)) {
            *number = Some(row.id);
        }
    }
    Ok(numbers)
}
