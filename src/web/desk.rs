//! The one way from a page to what people wrote: an archive together with how far its reader may see.
//!
//! A desk can't be had without a [`Viewer`] who may, and gives out nothing that is beyond the viewer's reach, whatever is asked. A page that forgets about
//! scopes shows too little, never too much. That something was read is the page's to record, before it answers.

use std::collections::HashMap;
use std::time::Duration;

use super::app::App;
use super::trouble::Trouble;
use crate::access::{Limits, Permission, Reach, Viewer};
use crate::message::content::Kind;
use crate::retrieve::{
    self, Archive, Busy, Change, Context, Count, EXACT_COUNT, Found, Occupancy, Order, Page, Pattern, Query, Restriction, Room, RoomPage,
    Stay, StayPage, StayQuery,
};
use crate::time::Micros;

/// The most records that refer to the messages of one page and are told.
const MAX_AMENDMENTS: usize = 2_000;
/// How long a page waits for its messages to be counted before their number is estimated.
const COUNT_PATIENCE: Duration = Duration::from_millis(250);

/// Kinds that do something to an earlier message and are shown with it.
pub(super) const AMENDMENTS: [i16; 4] = [Kind::Correction as i16, Kind::Retraction as i16, Kind::Moderation as i16, Kind::Reaction as i16];

/// An archive for one reader.
pub(super) struct Desk {
    archive: Archive,
    reach: Reach,
}

impl Desk {
    /// The desk of somebody who may read.
    pub(super) async fn open(app: &App, viewer: &Viewer, store: &str) -> Result<Self, Trouble> {
        let reach = viewer.reach(Permission::ViewContent)?.clone();
        let archive = app.archive(store).await?.restricted(restriction(&reach));
        Ok(Self { archive, reach })
    }

    /// A page of what may be seen of what a query finds.
    pub(super) async fn search(&self, query: &Query) -> Result<Page, Trouble> {
        match &self.reach {
            Reach::Nothing => Ok(Page::default()),
            Reach::Everything => Ok(self.archive.search(query).await?),
            Reach::Within(limits) => {
                let mut page = self.archive.search(query).await?;
                // The store leaves out what is beyond. Should it ever be wrong, this is the second look.
                page.messages.retain(|found| sees(limits, found));
                Ok(page)
            }
        }
    }

    /// A message that may be seen with so many around it on each side.
    pub(super) async fn around(&self, message: &Found, messages: usize) -> Result<Option<Context>, Trouble> {
        let mut found = match &self.reach {
            Reach::Nothing => None,
            Reach::Everything | Reach::Within(_) => self.archive.around(message.id, messages).await?,
        };
        if let (Reach::Within(limits), Some(context)) = (&self.reach, &mut found) {
            context.before.retain(|found| sees(limits, found));
            context.after.retain(|found| sees(limits, found));
        }
        Ok(found)
    }

    /// What became of messages, of any conversations.
    pub(super) async fn changes(&self, messages: &[Found]) -> Result<Vec<Change>, Trouble> {
        match &self.reach {
            Reach::Nothing => Ok(Vec::new()),
            Reach::Everything | Reach::Within(_) => Ok(self.archive.changes_of(messages).await?),
        }
    }

    /// How many messages that may be seen a query finds on all its pages: counted, or an estimate where there are very many or counting takes
    /// long.
    pub(super) async fn count(&self, query: &Query) -> Result<Count, Trouble> {
        match &self.reach {
            Reach::Nothing => Ok(Count { messages: 0, is_exact: true }),
            Reach::Everything | Reach::Within(_) => Ok(self.archive.count_within(query, EXACT_COUNT, COUNT_PATIENCE).await?),
        }
    }

    /// One message by its number; none if it is not there or may not be seen.
    pub(super) async fn message(&self, id: i64, with_xml: bool) -> Result<Option<Found>, Trouble> {
        let query = Query { id: Some(id.to_string()), all: true, with_xml, ..Query::default() };
        Ok(self.search(&query).await?.messages.into_iter().find(|found| found.id == id))
    }

    /// What was ever done to these messages of a conversation, and what was done to that.
    pub(super) async fn amendments(&self, conversation: &str, messages: &[Found]) -> Result<Vec<Found>, Trouble> {
        let ids: Vec<i64> = messages.iter().map(|message| message.id).collect();
        let mut all = self.referring(conversation, &ids, &AMENDMENTS).await?;
        if all.len() < MAX_AMENDMENTS && all.iter().any(|found| found.kind != Kind::Reaction as i16) {
            let changes = self.archive.changes_below(conversation, &ids, MAX_AMENDMENTS).await?;
            all.extend(self.referring(conversation, &changes, &AMENDMENTS).await?);
        }
        Ok(all)
    }

    /// Receipts and markers for a message.
    pub(super) async fn receipts(&self, message: &Found) -> Result<Vec<Found>, Trouble> {
        self.referring(&message.conversation, &[message.id], &[Kind::Receipt as i16, Kind::Marker as i16]).await
    }

    async fn referring(&self, conversation: &str, refers_to: &[i64], kinds: &[i16]) -> Result<Vec<Found>, Trouble> {
        let mut found = Vec::new();
        // A query that names none asks for what refers to any.
        if refers_to.is_empty() {
            return Ok(found);
        }
        let conversation = Some(conversation.to_owned());
        let mut query = Query { conversation, refers_to: refers_to.to_vec(), kinds: kinds.to_vec(), ..Query::default() };
        loop {
            let page = self.search(&query).await?;
            found.extend(page.messages);
            query.after = page.next;
            if query.after.is_none() || found.len() >= MAX_AMENDMENTS {
                return Ok(found);
            }
        }
    }

    /// Whether there is anything in a conversation that may be seen.
    pub(super) async fn sees_conversation(&self, name: &str) -> Result<bool, Trouble> {
        let query = Query { conversation: Some(name.to_owned()), all: true, limit: 1, order: Order::Descending, ..Query::default() };
        match &self.reach {
            Reach::Nothing => Ok(false),
            Reach::Everything => Ok(self.archive.has_conversation(name).await?),
            Reach::Within(limits) if !limits.rooms.iter().any(|room| room == name) => Ok(!self.search(&query).await?.messages.is_empty()),
            Reach::Within(_) => Ok(self.archive.has_conversation(name).await?),
        }
    }

    /// Rooms of which something may be seen, by name; `part` stands in each of them.
    pub(super) async fn rooms(&self, part: &str, after: &str, limit: usize) -> Result<RoomPage, Trouble> {
        match &self.reach {
            Reach::Nothing => Ok(RoomPage::default()),
            Reach::Everything | Reach::Within(_) => Ok(self.archive.rooms(part, after, limit).await?),
        }
    }

    /// How many are in each of these rooms now, of those who may be seen.
    pub(super) async fn occupancies(&self, rooms: &[Room]) -> Result<HashMap<String, Occupancy>, Trouble> {
        let names: Vec<String> = rooms.iter().map(|room| room.name.clone()).collect();
        match &self.reach {
            Reach::Nothing => Ok(HashMap::new()),
            Reach::Everything | Reach::Within(_) => Ok(self.archive.occupancies(&names).await?),
        }
    }

    /// Whether all who were in a room may be seen, and not some people alone.
    pub(super) fn sees_all_stays(&self, room: &str) -> bool {
        match &self.reach {
            Reach::Everything => true,
            Reach::Nothing => false,
            Reach::Within(limits) => limits.rooms.iter().any(|other| other == room),
        }
    }

    /// A page of who was in a room. Where only somebody in it may be seen, and not the room, the stays of that person.
    pub(super) async fn stays(&self, room: &str, query: &StayQuery) -> Result<StayPage, Trouble> {
        match &self.reach {
            Reach::Nothing => Ok(StayPage::default()),
            Reach::Everything => Ok(self.archive.stays(room, query).await?),
            Reach::Within(limits) => {
                let mut page = self.archive.stays(room, query).await?;
                // The second look, as for messages.
                let is_whole = limits.rooms.iter().any(|other| other == room);
                page.stays.retain(|stay| is_whole || stay.jid.as_deref().is_some_and(|jid| is_one_of(limits, jid)));
                Ok(page)
            }
        }
    }

    /// Who was in the room when a message was said; nobody where that was no room.
    pub(super) async fn occupants(&self, message: &Found) -> Result<Vec<Stay>, Trouble> {
        let Some(room) = message.room() else { return Ok(Vec::new()) };
        let then = StayQuery { from: Some(message.sent_at), before: message.sent_at.checked_add(1), ..StayQuery::default() };
        Ok(self.stays(room, &then).await?.stays)
    }

    /// Where most was said; nothing for whoever does not see everything, since the numbers would tell of what is beyond.
    pub(super) async fn busiest(&self, rooms: bool, since: Micros, limit: usize) -> Result<Vec<Busy>, Trouble> {
        match self.reach {
            Reach::Everything => Ok(self.archive.busiest(rooms, since, limit).await?),
            Reach::Within(_) | Reach::Nothing => Ok(Vec::new()),
        }
    }
}

/// Refuses nodes of which neither the configuration nor the store knows: whoever misspells one would find nothing, and not see why.
pub(super) async fn knows(app: &App, store: &str, query: &Query) -> Result<(), Trouble> {
    let strange: Vec<String> = query.nodes.iter().filter(|name| app.config.nodes.iter().all(|node| node.name != **name)).cloned().collect();
    if strange.is_empty() {
        return Ok(());
    }
    match app.archive(store).await?.unknown_nodes(&strange).await?.first() {
        Some(name) => Err(Trouble::Wrong(format!("There is no node “{}”.", super::text::name(name)))),
        None => Ok(()),
    }
}

/// The reach as the store takes it.
pub(super) fn restriction(reach: &Reach) -> Restriction {
    let only = |people, rooms| retrieve::Reach::Only { people, rooms };
    match reach {
        Reach::Everything => Restriction::default(),
        Reach::Nothing => Restriction { reach: only(Vec::new(), Vec::new()), ..Restriction::default() },
        Reach::Within(limits) => {
            let domain = |domain: &String| match domain.starts_with("*.") {
                // No local part ends with a dot and a domain, so this is every address of a domain below that one.
                true => Pattern::Wildcard(domain.clone()),
                false => Pattern::Domain(domain.clone()),
            };
            let people = limits.jids.iter().cloned().map(Pattern::Jid).chain(limits.domains.iter().map(domain)).collect();
            Restriction { reach: only(people, limits.rooms.clone()), from: limits.from, to: limits.to }
        }
    }
}

/// Whether a message is within the limits, as [`Limits`] says.
fn sees(limits: &Limits, found: &Found) -> bool {
    let in_time = limits.from.is_none_or(|from| found.sent_at >= from) && limits.to.is_none_or(|to| found.sent_at < to);
    let in_room = found.room().is_some_and(|room| limits.rooms.iter().any(|other| other == room));
    let ends = (!found.in_room).then(|| found.conversation.split(' ')).into_iter().flatten();
    let got = found.deliveries.iter().filter_map(|copy| copy.recipient.as_deref());
    let mut people = [found.sender.as_deref(), found.recipient.as_deref()].into_iter().flatten().chain(ends).chain(got);
    in_time && (in_room || people.any(|jid| is_one_of(limits, jid)))
}

fn is_one_of(limits: &Limits, jid: &str) -> bool {
    let domain = jid.rsplit_once('@').map_or(jid, |(_, domain)| domain);
    let covers = |limit: &String| match limit.strip_prefix("*.") {
        None => limit == domain,
        Some(above) => domain.strip_suffix(above).is_some_and(|below| below.len() > 1 && below.ends_with('.')),
    };
    limits.jids.iter().any(|other| other == jid) || limits.domains.iter().any(covers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::retrieve::sample;

    fn limits(change: impl FnOnce(&mut Limits)) -> Limits {
        let mut limits = Limits::default();
        change(&mut limits);
        limits
    }

    #[test]
    fn a_message_is_within_by_who_wrote_or_got_it() {
        let found = sample();
        for (jid, expected) in [("bob@example.com", true), ("d\\27artagnan@example.com", true), ("eve@example.com", false)] {
            assert_eq!(sees(&limits(|limits| limits.jids = vec![jid.to_owned()]), &found), expected, "{jid}");
        }
        for (domain, expected) in [("example.com", true), ("*.com", true), ("*.example.com", false), ("ample.com", false)] {
            assert_eq!(sees(&limits(|limits| limits.domains = vec![domain.to_owned()]), &found), expected, "{domain}");
        }
    }

    #[test]
    fn a_message_is_within_by_its_room_and_its_time() {
        let found = Found { in_room: true, conversation: "tea@rooms.example".to_owned(), deliveries: Vec::new(), ..sample() };
        let of_room = limits(|limits| limits.rooms = vec!["tea@rooms.example".to_owned()]);
        assert!(sees(&of_room, &found));
        assert!(!sees(&of_room, &Found { conversation: "board@rooms.example".to_owned(), ..found.clone() }));
        assert!(!sees(&Limits { from: Some(found.sent_at + 1), ..of_room.clone() }, &found));
        assert!(sees(&Limits { from: Some(found.sent_at), to: Some(found.sent_at + 1), ..of_room.clone() }, &found));
        assert!(!sees(&Limits { to: Some(found.sent_at), ..of_room }, &found));
    }

    #[test]
    fn a_name_with_a_space_is_no_end_of_a_room() {
        let found = Found {
            in_room: true,
            conversation: "bob@example.com eve@example.com".to_owned(),
            sender: None,
            recipient: None,
            deliveries: Vec::new(),
            ..sample()
        };
        assert!(!sees(&limits(|limits| limits.jids = vec!["eve@example.com".to_owned()]), &found));
    }
}
