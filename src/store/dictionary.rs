//! Names that rows hold as small numbers: JIDs, conversations, nodes.
//!
//! Only the writer adds to them, in the transaction that needs them, while it excludes all other writers. What is remembered
//! here is forgotten when a transaction fails or when another process has written.

use std::collections::HashMap;

use diesel::QueryResult;

use super::queries::{LastIds, Queries};
use super::rows::{ConversationRow, JidRow, NodeRow};

/// Most JIDs and most conversations remembered (about 100 bytes each).
const MAX_REMEMBERED: usize = 100_000;

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
}

#[derive(Debug, Default)]
pub(crate) struct Dictionary {
    jids: HashMap<String, i32>,
    conversations: HashMap<(i16, i32, Option<i32>), i32>,
    nodes: HashMap<String, i16>,
}

impl Dictionary {
    pub(crate) fn forget(&mut self) {
        *self = Self::default();
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

    fn key(&self, conversation: &Conversation) -> Option<(i16, i32, Option<i32>)> {
        let (first, second) = conversation.jids();
        let second = match second {
            Some(second) => Some(self.jid(second)?),
            None => None,
        };
        Some((conversation.kind(), self.jid(first)?, second))
    }

    pub(crate) async fn need_nodes<Q: Queries>(&mut self, db: &mut Q, names: &[String], last: &mut LastIds) -> QueryResult<()> {
        if names.iter().all(|name| self.nodes.contains_key(name)) {
            return Ok(());
        }
        self.nodes = db.node_rows().await?.into_iter().map(|row| (row.name, row.id)).collect();
        let mut new = Vec::new();
        for name in names.iter().filter(|name| !self.nodes.contains_key(*name)) {
            last.node += 1;
            new.push(NodeRow { id: last.node, name: name.clone() });
        }
        self.nodes.extend(new.iter().map(|row| (row.name.clone(), row.id)));
        if new.is_empty() { Ok(()) } else { db.insert_nodes(&new).await }
    }

    /// Makes sure that each of these JIDs has a number.
    pub(crate) async fn need_jids<Q: Queries>(&mut self, db: &mut Q, wanted: Vec<String>, last: &mut LastIds) -> QueryResult<()> {
        let unknown = self.know_jids(db, wanted).await?;
        let mut new = Vec::new();
        for jid in unknown {
            last.jid += 1;
            new.push(JidRow { id: last.jid, jid });
        }
        self.jids.extend(new.iter().map(|row| (row.jid.clone(), row.id)));
        if new.is_empty() { Ok(()) } else { db.insert_jids(&new).await }
    }

    /// Looks up the numbers of JIDs; hands back those that have none, sorted.
    pub(crate) async fn know_jids<Q: Queries>(&mut self, db: &mut Q, wanted: Vec<String>) -> QueryResult<Vec<String>> {
        if self.jids.len() > MAX_REMEMBERED {
            self.jids.clear();
        }
        let mut missing: Vec<String> = wanted.into_iter().filter(|jid| !self.jids.contains_key(jid)).collect();
        missing.sort_unstable();
        missing.dedup();
        if !missing.is_empty() {
            self.jids.extend(db.jid_ids(&missing).await?.into_iter().map(|row| (row.jid, row.id)));
            missing.retain(|jid| !self.jids.contains_key(jid));
        }
        Ok(missing)
    }

    /// Makes sure that each of these conversations has a number; their JIDs must have one already.
    pub(crate) async fn need_conversations<Q: Queries>(
        &mut self,
        db: &mut Q,
        wanted: &[Conversation],
        last: &mut LastIds,
    ) -> QueryResult<()> {
        self.know_conversations(db, wanted).await?;
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
        if new.is_empty() { Ok(()) } else { db.insert_conversations(&new).await }
    }

    /// Looks up the numbers of conversations that may exist.
    pub(crate) async fn know_conversations<Q: Queries>(&mut self, db: &mut Q, wanted: &[Conversation]) -> QueryResult<()> {
        if self.conversations.len() > MAX_REMEMBERED {
            self.conversations.clear();
        }
        let missing: HashMap<_, &Conversation> = wanted
            .iter()
            .filter_map(|conversation| Some((self.key(conversation)?, conversation)))
            .filter(|(key, _)| !self.conversations.contains_key(key))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let mut first: Vec<i32> = missing.keys().map(|(_, first, _)| *first).collect();
        first.sort_unstable();
        first.dedup();
        // A room has no second JID; the list must not be empty for it all the same.
        let mut second: Vec<i32> = missing.keys().map(|(.., second)| second.unwrap_or_default()).collect();
        second.sort_unstable();
        second.dedup();
        for row in db.conversations_of(&first, &second).await? {
            let key = (row.kind, row.first_id.unwrap_or_default(), row.second_id);
            if missing.contains_key(&key) {
                self.conversations.insert(key, row.id);
            }
        }
        Ok(())
    }
}
