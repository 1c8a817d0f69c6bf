//! What a batch will ask, as far as its entries and this writer's memory tell now.

use std::sync::Arc;

use super::looking::rooms_of;
use super::{Bounce, Entry, Item, Memory, Message, bounced_conversations, conversation_of};
use crate::store::derive::message_jids;
use crate::store::dictionary::Conversation;
use crate::store::foresight::{Foreseen, Questions, Reference, Since};
use crate::store::references::name;

impl Memory {
    /// From now on nothing is forgotten that is not known to be stored, until the one that is returned is dropped.
    pub(in crate::store) fn since(&mut self) -> Arc<Since> {
        let since = Arc::new(self.stored);
        self.asked.push(Arc::downgrade(&since));
        since
    }

    /// Whether nothing was forgotten since then that was not known to be stored.
    pub(in crate::store) fn remembers(&self, since: &Arc<Since>) -> bool {
        self.asked.iter().any(|asked| std::ptr::eq(asked.as_ptr(), Arc::as_ptr(since)))
    }

    /// Uses these answers for the batch that is decided next.
    pub(in crate::store) fn foresee(&mut self, foreseen: Foreseen) {
        self.foreseen = foreseen;
    }

    /// What a batch will ask.
    pub(in crate::store) fn questions(&mut self, entries: &[Entry]) -> Questions {
        let mut questions = Questions::default();
        for entry in entries {
            match &entry.item {
                Item::Message(message) => self.ask_of_message(entry, message, &mut questions),
                Item::Bounce(bounce) => self.ask_of_bounce(bounce, &mut questions),
                Item::Occupancy(events) => {
                    for event in events {
                        self.ask_jid(&event.room, &mut questions);
                        event.jid.iter().for_each(|jid| self.ask_jid(&jid.bare, &mut questions));
                    }
                }
                _ => {}
            }
            rooms_of(&entry.item).into_iter().for_each(|room| self.ask_room(room, &mut questions));
        }
        questions.jids.sort_unstable();
        questions.jids.dedup();
        questions
    }

    fn ask_of_message(&mut self, entry: &Entry, message: &Message, questions: &mut Questions) {
        message_jids(message).iter().for_each(|jid| self.ask_jid(jid, questions));
        message.room.iter().for_each(|room| self.ask_room(room, questions));
        let conversation = conversation_of(message);
        self.ask_conversation(&conversation, questions);
        let keyed = self.key(message, entry);
        self.identity.wanted(message, &keyed, &mut questions.content, &mut questions.exact);
        self.identity.pin(&keyed);
        if let Some(id) = &message.content.refers_to_id {
            self.ask_reference(&conversation, message.room.as_deref().unwrap_or_default(), id, questions);
        }
        if message.is_subject_on_join() {
            let number = self.dictionary.conversation(&conversation);
            questions.subjects.push((conversation, number));
        }
    }

    fn ask_of_bounce(&mut self, bounce: &Bounce, questions: &mut Questions) {
        [&bounce.from.bare, &bounce.to.bare].into_iter().for_each(|jid| self.ask_jid(jid, questions));
        for conversation in bounced_conversations(bounce) {
            self.ask_conversation(&conversation, questions);
            bounce.id.iter().for_each(|id| self.ask_reference(&conversation, "", id, questions));
        }
    }

    fn ask_jid(&self, jid: &str, questions: &mut Questions) {
        if self.dictionary.jid(jid).is_none() {
            questions.jids.push(jid.to_owned());
        }
    }

    /// The number from memory, for what is found by number.
    fn tell_number(&self, jid: &str, questions: &mut Questions) {
        if let Some(number) = self.dictionary.jid(jid) {
            questions.numbers.insert(jid.to_owned(), number);
        }
    }

    fn ask_room(&self, room: &str, questions: &mut Questions) {
        if self.dictionary.jid(room).is_none_or(|id| !self.rooms.contains_key(&id)) && !questions.rooms.contains(room) {
            self.tell_number(room, questions);
            questions.rooms.insert(room.to_owned());
        }
    }

    fn ask_conversation(&self, conversation: &Conversation, questions: &mut Questions) {
        if self.dictionary.conversation(conversation).is_none() {
            conversation.members().for_each(|jid| self.tell_number(jid, questions));
            questions.conversations.push(conversation.clone());
        }
    }

    fn ask_reference(&self, conversation: &Conversation, room: &str, id: &str, questions: &mut Questions) {
        let number = self.dictionary.conversation(conversation);
        if let Some(number) = number {
            let key = name(self.identity.keyring(), number, id);
            if let Some(known) = self.references.remembered(key) {
                questions.remembered.insert(key, Some(known));
                return;
            }
        }
        let reference = Reference { conversation: conversation.clone(), number, room: room.to_owned(), id: id.to_owned() };
        questions.references.push(reference);
    }
}
