//! How a page is found.
//!
//! The index names places in the order of time where messages of the scope may be (`sources`), and the messages there are asked
//! whether they are in it: in SQL for all conditions but the words, and here for those. What the index has not reached yet is asked
//! directly, and put in order among the rest. So an index that is behind, or was never made, changes how long a search takes and nothing else.
//!
//! A common word fills a page from whatever is first in the order of time, and a rare one has few messages altogether. Which one it is
//! nobody knows beforehand: so at first a bounded number of messages is read in the order of time, and only if that does not fill the
//! page the database's full text is asked, which has to find all messages with the word before it can put them in order.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use diesel::QueryableByName;

use super::conditions::Scope;
use super::query::{Cursor, Order, Query};
use super::row::{MessageRow, NumberRow, PlaceRow, Placed, TextRow};
use super::slices::Slice;
use super::sources::{self, MAX_WALKED, Source};
use super::sql::{self, Columns};
use super::{Archive, MAX_PAGE, Page, text};
use crate::message::links;
use crate::store::StoreError;
use crate::words::Words;

/// Rows read at a time where only we can tell whether a text holds what is searched for.
const SCAN_ROWS: usize = 500;
/// Messages that are read in the order of time before the database's full text is asked.
pub(super) const WALK_ROWS: usize = 12_000;
/// The most that are read so, however promising.
const MAX_WALK_ROWS: usize = 100_000;
/// What a match of the full text costs, in messages that are read in the order of time: it finds them all over the disk.
const MATCH_COST: usize = 4;
/// Places that are asked of the index at first.
pub(super) const FIRST_CHUNK: usize = 250;
/// The most places asked for at once.
const MAX_CHUNK: usize = 5_000;
/// Places that are asked of a full text at once, as a multiple of those that are asked of other sources.
const WORDS_FACTOR: usize = 80;
/// More messages than this are not kept in mind as changed since they were indexed: then the index is not asked for people.
const MAX_LATE: usize = 10_000;
/// What the index has not reached is read by number as long as it is no more than this.
const MAX_TAIL: i64 = 50_000;
/// The newest messages that fit are put in order of how well they do, up to this many.
pub const RANKED: usize = 2_000;
/// From fewer messages nothing is estimated.
const ENOUGH_FOR_AN_ESTIMATE: usize = 100;

/// How the index can help.
struct Plan {
    /// Where to look first, and how far.
    first: Source,
    budget: Option<usize>,
    /// Where to look then.
    then: Option<Source>,
    tail: Tail,
}

/// What the index does not tell.
struct Tail {
    /// Messages from this number on.
    next_id: i64,
    /// Whether they are few.
    is_short: bool,
    /// Messages that changed since.
    late: Vec<i64>,
}

/// How far a search has come.
struct Walk<'p> {
    source: &'p Source,
    /// Places of which the messages were not looked at yet.
    waiting: VecDeque<Cursor>,
    /// Whether the source has no others.
    is_whole: bool,
    /// How many more places are looked at before the next source is asked.
    budget: Option<usize>,
    /// How many were looked at.
    looked_at: usize,
    after: Option<Cursor>,
}

impl<'p> Walk<'p> {
    fn new(plan: &'p Plan, after: Option<Cursor>) -> Self {
        Self { source: &plan.first, waiting: VecDeque::new(), is_whole: false, budget: plan.budget, looked_at: 0, after }
    }

    /// On behind the edge, where `far` waits again; true if another source is asked from there on. `found` of `wanted` are there.
    fn go_on(&mut self, plan: &'p Plan, read: usize, far: &[Cursor], edge: Option<Cursor>, (found, wanted): (usize, usize)) -> bool {
        far.iter().rev().for_each(|place| self.waiting.push_front(*place));
        self.after = edge;
        self.looked_at += read;
        self.budget = self.budget.map(|budget| budget.saturating_sub(read));
        let (Some(0), Some(then)) = (self.budget, &plan.then) else { return false };
        if let Some(more) = self.more(plan, found, wanted) {
            self.budget = Some(more);
            return false;
        }
        (self.source, self.budget, self.is_whole) = (then, None, false);
        self.waiting.clear();
        true
    }

    /// How much further to walk where that is less work than what the full text would have, going by what was found so far.
    fn more(&self, plan: &Plan, found: usize, wanted: usize) -> Option<usize> {
        let all = usize::try_from(plan.tail.next_id).unwrap_or(usize::MAX);
        let to_walk = wanted.saturating_sub(found).saturating_mul(self.looked_at).checked_div(found)?;
        let matches = all.saturating_mul(found).checked_div(self.looked_at)?;
        (to_walk < matches.saturating_mul(MATCH_COST) && self.looked_at < MAX_WALK_ROWS).then(|| to_walk.clamp(1, MAX_WALK_ROWS))
    }
}

/// A row of any sort from any database.
pub(super) trait Row:
    Placed + QueryableByName<diesel::sqlite::Sqlite> + QueryableByName<diesel::pg::Pg> + QueryableByName<diesel::mysql::Mysql> + Send + 'static
{
    /// What it is made of.
    const COLUMNS: Columns;
    /// Such rows, where texts are all that they have.
    fn of_texts(texts: Vec<TextRow>) -> Result<Vec<Self>, Vec<TextRow>>;
}

impl Row for MessageRow {
    const COLUMNS: Columns = Columns::All;

    fn of_texts(texts: Vec<TextRow>) -> Result<Vec<Self>, Vec<TextRow>> {
        Err(texts)
    }
}

impl Row for TextRow {
    const COLUMNS: Columns = Columns::Texts;

    fn of_texts(texts: Vec<TextRow>) -> Result<Vec<Self>, Vec<TextRow>> {
        Ok(texts)
    }
}

/// How much is read.
#[derive(Clone, Copy)]
pub(super) struct Extent {
    /// One message more than this, if there are more.
    pub limit: usize,
    /// From then on enough messages for an estimate are enough.
    pub until: Option<Instant>,
}

impl Extent {
    /// Whether no more has to be read after so many.
    fn is_reached(&self, rows: usize) -> bool {
        rows > self.limit || (rows >= ENOUGH_FOR_AN_ESTIMATE && self.until.is_some_and(|until| Instant::now() >= until))
    }
}

/// What was read.
pub(super) struct Gathered<R> {
    pub rows: Vec<R>,
    /// The place up to which it was read; none if nothing is left.
    pub edge: Option<Cursor>,
}

impl Archive {
    /// The messages of a scope in the order of time, one more than `limit` if there are more.
    pub(super) async fn collect<R: Row>(&self, query: &Query, scope: &Scope, limit: usize) -> Result<Vec<R>, StoreError> {
        Ok(self.read(query, scope, Extent { limit, until: None }).await?.rows)
    }

    /// The messages of a scope in the order of time, as far as is asked for.
    pub(super) async fn read<R: Row>(&self, query: &Query, scope: &Scope, extent: Extent) -> Result<Gathered<R>, StoreError> {
        match self.plan(scope).await? {
            Some(plan) => self.gather(query, scope, &plan, extent).await,
            None => self.scan(query, scope, extent).await,
        }
    }

    /// What fits best among the newest that do, in the order of that.
    pub(super) async fn best(&self, query: &Query, scope: &Scope, limit: usize) -> Result<Page, StoreError> {
        let Some(wanted) = &scope.text else { return Ok(Page::default()) };
        let as_of = match query.after.and_then(|after| after.rank) {
            Some(rank) => rank.as_of,
            None => self.pool.load::<NumberRow>(sql::last(self.dialect())).await?.first().map_or(0, |row| row.number),
        };
        let newest = Query { after: None, order: Order::Descending, ..query.clone() };
        let scope = Scope { as_of: Some(scope.as_of.map_or(as_of, |newest| newest.min(as_of))), order: Order::Descending, ..scope.clone() };
        let mut rows: Vec<TextRow> = self.collect(&newest, &scope, RANKED).await?;
        let is_cut = rows.len() > RANKED;
        rows.truncate(RANKED);
        let rank = |row: &TextRow| {
            let score = wanted.score(&Words::of(row.texts().iter().map(AsRef::as_ref)));
            Cursor { rank: Some(super::Rank { score, as_of }), ..row.cursor() }
        };
        let key = |place: &Cursor| std::cmp::Reverse((place.rank.map(|rank| rank.score), place.sent_at, place.id));
        let mut places: Vec<Cursor> = rows.iter().map(rank).collect();
        places.sort_unstable_by_key(key);
        places.retain(|place| query.after.is_none_or(|after| key(place) > key(&after)));
        let next = (places.len() > limit).then(|| places.get(limit.saturating_sub(1)).copied()).flatten();
        places.truncate(limit);
        let ids: Vec<i64> = places.iter().map(|place| place.id).collect();
        let found: Vec<MessageRow> = self.pool.load(sql::messages_of(Columns::All, self.dialect(), &scope, &ids)).await?;
        let mut found: BTreeMap<i64, MessageRow> = found.into_iter().map(|row| (row.cursor().id, row)).collect();
        let messages = ids.iter().filter_map(|id| found.remove(id)).map(MessageRow::into_found).collect();
        Ok(Page { messages, next, is_cut })
    }

    /// How the index can help; none where the messages' own indexes do, or where there is none.
    async fn plan(&self, scope: &Scope) -> Result<Option<Plan>, StoreError> {
        let candidates = scope.text.as_ref().and_then(|text| text.candidates());
        let has_people = scope.people.iter().any(is_walked);
        let is_narrow = scope.id.is_some() || !scope.refers_to.is_empty();
        if is_narrow || (candidates.is_none() && (!has_people || !scope.conversations.is_empty())) {
            return Ok(None);
        }
        let Some(tail) = self.tail_of(scope).await? else { return Ok(None) };
        let people = self.fewest(scope).await?;
        let (first, then) = match (people, candidates) {
            (Some(people), candidates) => (Source::People(people), candidates.map(Source::Words)),
            (None, Some(candidates)) if scope.conversations.is_empty() => (Source::Time, Some(Source::Words(candidates))),
            (None, Some(candidates)) => (Source::Conversations, Some(Source::Words(candidates))),
            (None, None) => return Ok(None),
        };
        Ok(Some(match then {
            Some(words) if self.tuning.walk == 0 => Plan { first: words, budget: None, then: None, tail },
            then => Plan { first, budget: then.is_some().then_some(self.tuning.walk), then, tail },
        }))
    }

    /// What the index does not tell; none where it tells nothing.
    async fn tail_of(&self, scope: &Scope) -> Result<Option<Tail>, StoreError> {
        // In this order: what is indexed meanwhile is found twice, and not missed.
        let mut late = Vec::new();
        if !scope.people.is_empty() {
            let rows: Vec<NumberRow> = self.pool.load(sources::late(self.dialect(), MAX_LATE + 1)).await?;
            late.extend(rows.into_iter().map(|row| row.number));
        }
        let place: Vec<NumberRow> = self.pool.load(sources::place(self.dialect())).await?;
        let next_id = place.first().map_or(1, |row| row.number);
        if next_id <= 1 || late.len() > MAX_LATE {
            return Ok(None);
        }
        let last: Vec<NumberRow> = self.pool.load(sql::last(self.dialect())).await?;
        let is_short = last.first().map_or(0, |row| row.number) - next_id < MAX_TAIL;
        late.retain(|id| *id < next_id);
        Ok(Some(Tail { next_id, is_short, late }))
    }

    /// Which people of the scope took part in the fewest messages.
    async fn fewest(&self, scope: &Scope) -> Result<Option<usize>, StoreError> {
        let walked: Vec<usize> = scope.people.iter().enumerate().filter(|(_, people)| is_walked(people)).map(|(index, _)| index).collect();
        if walked.len() < 2 {
            return Ok(walked.first().copied());
        }
        let mut fewest: Option<(i64, usize)> = None;
        for index in walked {
            let Some(people) = scope.people.get(index) else { continue };
            let rows: Vec<NumberRow> = self.pool.load(sources::participations(self.dialect(), &people.set)).await?;
            let number = rows.first().map_or(0, |row| row.number);
            fewest = Some(fewest.map_or((number, index), |other| other.min((number, index))));
        }
        Ok(fewest.map(|(_, index)| index))
    }

    /// Reads places of the index and what lies between them, until the page is full or nothing is left.
    async fn gather<R: Row>(&self, query: &Query, scope: &Scope, plan: &Plan, extent: Extent) -> Result<Gathered<R>, StoreError> {
        let limit = extent.limit;
        let slice = Slice { from: query.from, before: query.to };
        let mut walk = Walk::new(plan, query.after.map(|after| Cursor { rank: None, ..after }));
        let mut rows: Vec<R> = Vec::new();
        let mut chunk = (limit + 1).max(self.tuning.chunk).min(MAX_CHUNK);
        loop {
            self.fill(&mut walk, scope, slice, chunk).await?;
            let places: Vec<Cursor> = walk.waiting.drain(..chunk.min(walk.waiting.len())).collect();
            let mut edge = if walk.is_whole && walk.waiting.is_empty() { None } else { places.last().copied() };
            let mut here: BTreeMap<(i64, i64), R> = BTreeMap::new();
            let tail: Vec<R> = self.tail(scope, &plan.tail, slice, walk.after, chunk, &mut edge).await?;
            for row in tail {
                here.insert((row.cursor().sent_at, row.cursor().id), row);
            }
            // What lies behind the edge comes again.
            let near = places.partition_point(|place| edge.is_none_or(|edge| !place.is_behind(&edge, scope.order)));
            let (near, far) = places.split_at_checked(near).unwrap_or((&places, &[]));
            let found: Vec<R> = self.those_that_fit(scope, near, limit + 1 - rows.len()).await?;
            here.extend(found.into_iter().map(|row| ((row.cursor().sent_at, row.cursor().id), row)));
            let here = here.into_values().filter(|row| row_fits(row, scope));
            match scope.order {
                Order::Ascending => rows.extend(here),
                Order::Descending => rows.extend(here.rev()),
            }
            if edge.is_none() || extent.is_reached(rows.len()) {
                return Ok(Gathered { rows, edge });
            }
            let has_turned = walk.go_on(plan, near.len(), far, edge, (rows.len(), limit + 1));
            chunk = if has_turned { (limit + 1).max(self.tuning.chunk) } else { chunk * 4 }.min(MAX_CHUNK);
        }
    }

    /// Asks for more places where none wait.
    async fn fill(&self, walk: &mut Walk<'_>, scope: &Scope, slice: Slice, chunk: usize) -> Result<(), StoreError> {
        if !walk.waiting.is_empty() || walk.is_whole {
            return Ok(());
        }
        // A full text finds all before it can put the first in order: it is not asked for few at a time.
        let most = if matches!(walk.source, Source::Words(_)) { chunk.max(self.tuning.chunk * WORDS_FACTOR) } else { chunk };
        let rows: Vec<PlaceRow> = self.pool.load(sources::places(self.dialect(), walk.source, scope, slice, walk.after, most)).await?;
        let mut places: Vec<Cursor> = rows.iter().map(PlaceRow::cursor).collect();
        sources::sort(&mut places, scope.order);
        walk.is_whole = places.len() < most;
        walk.waiting = places.into();
        Ok(())
    }

    /// The messages at these places that are in the scope, the first `most` of them in its order. Where many have to be looked at for a few,
    /// only their texts are.
    async fn those_that_fit<R: Row>(&self, scope: &Scope, places: &[Cursor], most: usize) -> Result<Vec<R>, StoreError> {
        let dialect = self.dialect();
        let ids: Vec<i64> = places.iter().map(|place| place.id).collect();
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        if scope.text.is_none() && scope.words.is_empty() {
            return self.pool.load(sql::messages_of(R::COLUMNS, dialect, scope, &ids)).await;
        }
        let mut texts: Vec<TextRow> = self.pool.load(sql::messages_of(TextRow::COLUMNS, dialect, scope, &ids)).await?;
        texts.retain(|row| row_fits(row, scope));
        texts.sort_unstable_by_key(|row| (row.cursor().sent_at, row.cursor().id));
        if scope.order == Order::Descending {
            texts.reverse();
        }
        texts.truncate(most);
        match R::of_texts(texts) {
            Ok(rows) => Ok(rows),
            Err(texts) if texts.is_empty() => Ok(Vec::new()),
            Err(texts) => {
                let ids: Vec<i64> = texts.iter().map(|row| row.cursor().id).collect();
                self.pool.load(sql::messages_of(R::COLUMNS, dialect, scope, &ids)).await
            }
        }
    }

    /// What the index does not tell and lies before `edge`, which is moved where that is too much at once.
    async fn tail<R: Row>(
        &self,
        scope: &Scope,
        tail: &Tail,
        slice: Slice,
        after: Option<Cursor>,
        limit: usize,
        edge: &mut Option<Cursor>,
    ) -> Result<Vec<R>, StoreError> {
        let dialect = self.dialect();
        let until = match (*edge, scope.order) {
            (Some(edge), Order::Ascending) => slice.and(Slice { from: None, before: edge.sent_at.checked_add(1) }),
            (Some(edge), Order::Descending) => slice.and(Slice { from: Some(edge.sent_at), before: None }),
            (None, _) => slice,
        };
        let statement = sql::messages_from(R::COLUMNS, dialect, scope, (tail.next_id, tail.is_short), until, after, limit);
        let mut rows: Vec<R> = self.pool.load(statement).await?;
        rows.sort_unstable_by_key(|row| (row.cursor().sent_at, row.cursor().id));
        if scope.order == Order::Descending {
            rows.reverse();
        }
        if rows.len() >= limit {
            let last = rows.last().map(Placed::cursor);
            *edge = match (*edge, last) {
                (Some(edge), Some(last)) if last.is_behind(&edge, scope.order) => Some(edge),
                (_, last) => last,
            };
        }
        for part in tail.late.chunks(MAX_CHUNK) {
            let late: Vec<R> = self.pool.load(sql::messages_of(R::COLUMNS, dialect, scope, part)).await?;
            rows.extend(late);
        }
        let edge = *edge;
        rows.retain(|row| {
            let place = row.cursor();
            let is_in_time =
                slice.from.is_none_or(|from| place.sent_at >= from) && slice.before.is_none_or(|before| place.sent_at < before);
            let is_behind = after.is_none_or(|after| place.is_behind(&after, scope.order));
            is_in_time && is_behind && edge.is_none_or(|edge| !place.is_behind(&edge, scope.order))
        });
        Ok(rows)
    }

    /// Reads messages in the order of time until the page is full or nothing is left.
    async fn scan<R: Row>(&self, query: &Query, scope: &Scope, extent: Extent) -> Result<Gathered<R>, StoreError> {
        let mut after = query.after.map(|after| Cursor { rank: None, ..after });
        let mut rows: Vec<R> = Vec::new();
        let is_vague = scope.text.is_some() || scope.has_link || scope.words.iter().any(|word| text::is_vague(word));
        for slice in self.slices(query, scope).await? {
            loop {
                let missing = extent.limit + 1 - rows.len();
                let wanted = match extent.until {
                    Some(_) => SCAN_ROWS,
                    None if is_vague => missing.max(SCAN_ROWS),
                    None => missing,
                };
                let chunk: Vec<R> = self.pool.load(sql::messages(R::COLUMNS, self.dialect(), scope, slice, after, wanted)).await?;
                let is_last = chunk.len() < wanted;
                after = chunk.last().map(Placed::cursor).or(after);
                rows.extend(chunk.into_iter().filter(|row| row_fits(row, scope)));
                if rows.len() > extent.limit || (!is_last && extent.is_reached(rows.len())) {
                    return Ok(Gathered { rows, edge: after });
                }
                if is_last {
                    break;
                }
            }
        }
        Ok(Gathered { rows, edge: None })
    }
}

/// Whether the people of a condition can be walked along one by one.
fn is_walked(people: &super::conditions::PeopleSet) -> bool {
    people.set.likes.is_empty() && people.set.ids.len() <= MAX_WALKED.min(MAX_PAGE)
}

/// Whether a row has what only its texts tell: the words that are searched for, and links.
pub(super) fn row_fits(row: &impl Placed, scope: &Scope) -> bool {
    if scope.has_link && !row.written().into_iter().flatten().any(links::holds) {
        return false;
    }
    if scope.words.is_empty() && scope.text.is_none() {
        return true;
    }
    let texts = row.texts();
    let all = || texts.iter().map(AsRef::as_ref);
    scope.words.iter().all(|word| text::holds(word, all())) && scope.text.as_ref().is_none_or(|text| text.holds(&Words::of(all())))
}
