//! From the names in a query to the numbers in the database.

use super::conditions::{Fence, Id, JidSet, PeopleSet, Scope};
use super::people::{Pattern, People, Side};
use super::query::Query;
use super::restriction::Reach;
use super::row::{NameRow, NumberRow};
use super::sql::MAX_ALTERNATIVES;
use super::{Archive, sql, text};
use crate::store::StoreError;

/// A list of patterns that mean more people than this stay patterns, if it is the first such list: a statement compares everybody with each of
/// them, and several times. What others mean becomes numbers, however many.
const MAX_NUMBERED: usize = 1_000;

impl Archive {
    /// The query with names resolved; none where a name is unknown, so that nothing can be found.
    pub(super) async fn scope(&self, query: &Query) -> Result<Option<Scope>, StoreError> {
        let mut scope = Scope {
            words: query.text.iter().map(|word| text::fold(word)).collect(),
            text: query.words.clone().filter(|text| !text.is_empty()),
            kinds: query.kinds.clone(),
            directions: query.directions.clone(),
            encrypted: query.encrypted,
            has_file: query.has_file,
            has_link: query.has_link,
            refers_to: query.refers_to.clone(),
            newer_than: query.newer_than,
            late: query.late.clone(),
            as_of: query.newest,
            all: query.all,
            order: query.order,
            with_xml: query.with_xml,
            fence: self.fence().await?,
            ..Scope::default()
        };
        let (Some(conversations), Some(people), Some(nodes)) =
            (self.conversations_meant(query).await?, self.people_meant(query).await?, self.nodes_meant(query).await?)
        else {
            return Ok(None);
        };
        (scope.conversations, scope.people, scope.nodes) = (conversations, people, nodes);
        scope.id = match &query.id {
            None => None,
            Some(id) => match id.parse() {
                Ok(number) => Some(Id::Number(number)),
                Err(_) => Some(self.stanza_id(id).await?),
            },
        };
        Ok(Some(scope))
    }

    /// The restriction with names resolved.
    pub(super) async fn fence(&self) -> Result<Option<Fence>, StoreError> {
        let restriction = &self.restriction;
        if restriction.is_none() {
            return Ok(None);
        }
        let reach = match &restriction.reach {
            Reach::Everybody => None,
            Reach::Only { people, rooms } => Some((self.set(people).await?, self.conversations(rooms).await?)),
        };
        Ok(Some(Fence { reach, from: restriction.from, to: restriction.to }))
    }

    /// The conversations that all of the query's conditions on them leave; empty means all.
    async fn conversations_meant(&self, query: &Query) -> Result<Option<Vec<i32>>, StoreError> {
        let mut meant: Option<Vec<i32>> = None;
        for name in [&query.room, &query.conversation].into_iter().flatten() {
            let Some(conversation) = self.conversation(name).await? else { return Ok(None) };
            if meant.as_ref().is_some_and(|meant| !meant.contains(&conversation)) {
                return Ok(None);
            }
            meant = Some(vec![conversation]);
        }
        if !query.rooms.is_empty() {
            let mut rooms = self.conversations(&query.rooms).await?;
            rooms.retain(|room| meant.as_ref().is_none_or(|meant| meant.contains(room)));
            if rooms.is_empty() {
                return Ok(None);
            }
            meant = Some(rooms);
        }
        Ok(Some(meant.unwrap_or_default()))
    }

    /// Everybody's numbers; none if nobody of those whom a condition names was ever seen.
    async fn people_meant(&self, query: &Query) -> Result<Option<Vec<PeopleSet>>, StoreError> {
        let one = |jid: &str| People { side: Side::Any, any: vec![Pattern::Jid(jid.to_owned())] };
        let mut meant: Vec<People> = query.participants.iter().map(|address| one(&address.bare)).collect();
        meant.extend(query.people.iter().cloned());
        let mut sets = Vec::new();
        for people in meant {
            let set = self.set(&people.any).await?;
            if set.ids.is_empty() && set.likes.is_empty() {
                return Ok(None);
            }
            sets.push(PeopleSet { side: people.side, set });
        }
        Ok(Some(sets))
    }

    /// MySQL compares without spaces at the end, hence the second look.
    pub(super) async fn set(&self, patterns: &[Pattern]) -> Result<JidSet, StoreError> {
        let mut set = JidSet::default();
        let jids: Vec<&str> = patterns.iter().filter_map(Pattern::jid).collect();
        for part in jids.chunks(MAX_ALTERNATIVES) {
            let rows: Vec<NameRow> = self.pool.load(sql::jids(self.dialect(), part)).await?;
            set.ids.extend(rows.into_iter().filter(|row| part.contains(&row.name.as_str())).map(|row| row.id));
        }
        let likes: Vec<String> = patterns.iter().flat_map(Pattern::likes).collect();
        for part in likes.chunks(MAX_ALTERNATIVES) {
            let stays = set.likes.is_empty();
            let limit = if stays { MAX_NUMBERED + 1 } else { usize::MAX };
            let rows: Vec<NameRow> = self.pool.load(sql::jids_like(self.dialect(), part, limit)).await?;
            match stays && rows.len() > MAX_NUMBERED {
                true => set.likes.extend_from_slice(part),
                false => set.ids.extend(rows.into_iter().map(|row| row.id)),
            }
        }
        set.ids.sort_unstable();
        set.ids.dedup();
        Ok(set)
    }

    async fn nodes_meant(&self, query: &Query) -> Result<Option<Vec<i16>>, StoreError> {
        if query.nodes.is_empty() {
            return Ok(Some(Vec::new()));
        }
        let rows: Vec<NameRow> = self.pool.load(sql::nodes(self.dialect())).await?;
        let meant = rows.into_iter().filter(|row| query.nodes.contains(&row.name));
        let numbers: Vec<i16> = meant.filter_map(|row| i16::try_from(row.id).ok()).collect();
        Ok((!numbers.is_empty()).then_some(numbers))
    }

    pub(super) async fn jid(&self, jid: &str) -> Result<Option<i32>, StoreError> {
        let rows: Vec<NameRow> = self.pool.load(sql::jids(self.dialect(), &[jid])).await?;
        Ok(rows.into_iter().find(|row| row.name == jid).map(|row| row.id))
    }

    pub(super) async fn conversation(&self, name: &str) -> Result<Option<i32>, StoreError> {
        let rows: Vec<NameRow> = self.pool.load(sql::conversation(self.dialect(), name)).await?;
        Ok(rows.into_iter().find(|row| row.name == name).map(|row| row.id))
    }

    /// The numbers of those of these conversations that there are; the second look is that of [`Archive::set`].
    async fn conversations(&self, names: &[String]) -> Result<Vec<i32>, StoreError> {
        let mut numbers = Vec::new();
        for part in names.chunks(MAX_ALTERNATIVES) {
            let rows: Vec<NameRow> = self.pool.load(sql::conversations(self.dialect(), part)).await?;
            numbers.extend(rows.into_iter().filter(|row| part.contains(&row.name)).map(|row| row.id));
        }
        Ok(numbers)
    }

    pub(super) async fn stanza_id(&self, id: &str) -> Result<Id, StoreError> {
        let rows: Vec<NumberRow> = self.pool.load(sql::named(self.dialect(), id)).await?;
        Ok(Id::Stanza(id.to_owned(), rows.into_iter().map(|row| row.number).collect()))
    }

    /// Whether any message of a conversation may be seen.
    pub(super) async fn sees_any_of(&self, conversation: i32) -> Result<bool, StoreError> {
        let scope = Scope { conversations: vec![conversation], all: true, fence: self.fence().await?, ..Scope::default() };
        let rows: Vec<NumberRow> = self.pool.load(sql::any(self.dialect(), &scope)).await?;
        Ok(!rows.is_empty())
    }
}
