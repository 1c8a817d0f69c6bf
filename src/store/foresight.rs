//! What a batch will ask the database, asked before it is its turn.
//!
//! Most of what a batch asks follows from its entries alone ([`Questions`]), so it can be asked while the batches before it are decided and
//! written. The answers ([`Foreseen`]) show the database as it was when they were asked for. What this writer has decided since then stands in its
//! memory, which forgets nothing of it as long as the answers are waited for or used ([`Since`]); what another writer has stored since then is
//! noticed by the check at the head of the transaction. So memory is asked first, these answers second, and the database itself only
//! for what nobody foresaw.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use diesel::QueryResult;

use super::dictionary::{Conversation, ConversationKey, conversation_keys};
use super::feeds::Feeds;
use super::lookup::{self, FoundMessage};
use super::queries::LastIds;
use super::reads::Reads;
use super::references::{Sought, name, sought};
use super::rows::ReferenceRow;
use crate::identity::keys::{Key, Keyring};

/// A moment in the life of a writer: what was stored then, as far as it knew.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Since {
    /// The last batch that was stored.
    pub(crate) batch: u64,
    /// What was in use when that one was decided.
    pub(crate) ids: LastIds,
}

/// What is to be asked.
#[derive(Debug, Default)]
pub(crate) struct Questions {
    pub(crate) content: Vec<Key>,
    pub(crate) exact: Vec<Key>,
    /// JIDs without a number in memory.
    pub(crate) jids: Vec<String>,
    /// Numbers from memory that the conversations and rooms below need.
    pub(crate) numbers: HashMap<String, i32>,
    /// Conversations without a number in memory.
    pub(crate) conversations: Vec<Conversation>,
    /// Rooms not known to be in the database.
    pub(crate) rooms: HashSet<String>,
    /// Conversations whose latest subject is asked for, by number where memory has it.
    pub(crate) subjects: Vec<(Conversation, Option<i32>)>,
    pub(crate) references: Vec<Reference>,
    /// What memory says of names that are referred to; it may have forgotten when the batch is decided.
    pub(crate) remembered: HashMap<u64, Option<ReferenceRow>>,
}

/// An id that another message names.
#[derive(Debug)]
pub(crate) struct Reference {
    pub(crate) conversation: Conversation,
    /// Its number, where memory has it.
    pub(crate) number: Option<i32>,
    pub(crate) room: String,
    pub(crate) id: String,
}

/// What was asked, and the answers; none of what is not in a list was asked.
#[derive(Debug, Default)]
pub(crate) struct Foreseen {
    /// Keeps memory from forgetting what was decided since.
    #[expect(dead_code, reason = "that it is there is what counts")]
    pub(crate) since: Option<Arc<Since>>,
    pub(crate) jids: HashMap<String, Option<i32>>,
    pub(crate) conversations: HashMap<ConversationKey, Option<i32>>,
    pub(crate) content: HashSet<Key>,
    pub(crate) exact: HashSet<Key>,
    pub(crate) subjects: HashMap<i32, Option<i64>>,
    pub(crate) messages: Vec<FoundMessage>,
    /// Whether these rooms are in the database.
    pub(crate) rooms: HashMap<i32, bool>,
    pub(crate) references: HashMap<u64, Option<ReferenceRow>>,
}

impl Questions {
    /// Asks all of it, for names and for messages at once.
    pub(crate) async fn ask_at_once<Q: Reads>(
        mut self,
        (one, other): (&mut Q, &mut Q),
        keyring: &Keyring,
        feeds: &Feeds,
    ) -> QueryResult<Foreseen> {
        let mut seen = Foreseen::default();
        let (content, exact) = (std::mem::take(&mut self.content), std::mem::take(&mut self.exact));
        let names = async {
            self.ask_names(one, &mut seen).await?;
            self.ask_rest(one, keyring, feeds, &mut seen).await
        };
        let ((), messages) = tokio::try_join!(names, ask_messages(other, keyring, feeds, content, exact))?;
        seen.take_messages(messages);
        Ok(seen)
    }

    async fn ask_names<Q: Reads>(&mut self, db: &mut Q, seen: &mut Foreseen) -> QueryResult<()> {
        if !self.jids.is_empty() {
            for row in db.jid_ids(&self.jids).await? {
                self.numbers.insert(row.jid.clone(), row.id);
                seen.jids.insert(row.jid, Some(row.id));
            }
        }
        for jid in self.jids.drain(..) {
            seen.jids.entry(jid).or_insert(None);
        }
        let keys: HashSet<_> = self.conversations.iter().filter_map(|conversation| self.key(conversation)).collect();
        seen.conversations = conversation_keys(db, keys).await?;
        Ok(())
    }

    /// Its key, unless somebody in it has no number: then there is no such conversation in the database.
    fn key(&self, conversation: &Conversation) -> Option<ConversationKey> {
        conversation.key(|jid| self.numbers.get(jid).copied())
    }

    fn number(&self, conversation: &Conversation, seen: &Foreseen) -> Option<i32> {
        seen.conversations.get(&self.key(conversation)?).copied().flatten()
    }

    async fn ask_rest<Q: Reads>(&mut self, db: &mut Q, keyring: &Keyring, feeds: &Feeds, seen: &mut Foreseen) -> QueryResult<()> {
        let rooms: Vec<i32> = self.rooms.iter().filter_map(|room| self.numbers.get(room)).copied().collect();
        if !rooms.is_empty() {
            seen.rooms = rooms.iter().map(|room| (*room, false)).collect();
            seen.rooms.extend(db.known_rooms(&rooms).await?.into_iter().map(|(room, _)| (room, true)));
        }
        let subjects: HashSet<i32> =
            self.subjects.iter().filter_map(|(conversation, number)| number.or_else(|| self.number(conversation, seen))).collect();
        if !subjects.is_empty() {
            let found = lookup::ask(db, keyring, feeds, Vec::new(), Vec::new(), subjects).await?;
            seen.subjects = found.subjects;
            seen.messages.extend(found.messages);
        }
        seen.references = std::mem::take(&mut self.remembered);
        let mut names: Vec<u64> = Vec::new();
        let mut wanted: Vec<Sought> = Vec::new();
        for Reference { conversation, number, room, id } in &self.references {
            let Some(number) = number.or_else(|| self.number(conversation, seen)) else { continue };
            names.push(name(keyring, number, id));
            wanted.push(sought(keyring, number, room, id));
        }
        if !wanted.is_empty() {
            seen.references.extend(names.into_iter().zip(db.references(&wanted).await?));
        }
        Ok(())
    }
}

/// The messages with these keys, and which keys they were.
struct Messages {
    content: HashSet<Key>,
    exact: HashSet<Key>,
    found: Vec<FoundMessage>,
}

async fn ask_messages<Q: Reads>(db: &mut Q, keyring: &Keyring, feeds: &Feeds, content: Vec<Key>, exact: Vec<Key>) -> QueryResult<Messages> {
    let asked = (content.iter().copied().collect(), exact.iter().copied().collect());
    let found = lookup::ask(db, keyring, feeds, content, exact, HashSet::new()).await?;
    Ok(Messages { content: asked.0, exact: asked.1, found: found.messages })
}

impl Foreseen {
    fn take_messages(&mut self, messages: Messages) {
        self.content = messages.content;
        self.exact = messages.exact;
        self.messages.extend(messages.found);
    }
}
