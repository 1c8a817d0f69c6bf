//! Gaps for whoever sees to them: the commands, `status`, a backfill. The writer makes the rows (`account`).

use diesel::prelude::*;

use super::rows::GapRow;
use super::schema::{gaps, nodes};
use super::statement::run;
use super::{Connection, StoreError};
use crate::gap::{Reason, State};
use crate::time::{Micros, now};

/// Most gaps of one page.
pub const PAGE_GAPS: i64 = 1_000;

/// One gap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Its number.
    pub id: i64,
    /// The node's name; none when it is not known which.
    pub node: Option<String>,
    /// Begin.
    pub from: Micros,
    /// End; none while it lasts.
    pub to: Option<Micros>,
    /// Why, as far as this version knows the number.
    pub reason: Option<Reason>,
    /// What has become of it.
    pub state: Option<State>,
    /// How many copies were lost.
    pub lost: Option<i64>,
    /// How many messages a backfill added.
    pub found: i64,
    /// How many messages a backfill found to be there already.
    pub known: i64,
    /// What whoever changed the state had to say.
    pub note: Option<String>,
    /// Who changed the state last.
    pub changed_by: Option<String>,
    /// When the row was last changed.
    pub changed_at: Micros,
    /// What is particular to the reason, as JSON.
    pub detail: Option<String>,
}

impl Gap {
    fn of((row, node): (GapRow, Option<String>)) -> Self {
        Self {
            id: row.id,
            node,
            from: row.from_at,
            to: row.to_at,
            reason: Reason::of(row.reason),
            state: State::of(row.state),
            lost: row.lost,
            found: row.found,
            known: row.known,
            note: row.note,
            changed_by: row.changed_by,
            changed_at: row.changed_at,
            detail: row.detail,
        }
    }
}

/// Which gaps; without anything, all.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of this node.
    pub node: Option<String>,
    /// In one of these states.
    pub states: Vec<State>,
    /// That had not ended by then.
    pub from: Option<Micros>,
    /// That had begun before then.
    pub to: Option<Micros>,
}

/// How a gap is changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What has become of it.
    pub state: State,
    /// How many more messages were added.
    pub found: i64,
    /// How many more were there already.
    pub known: i64,
    /// By whom.
    pub by: String,
    /// Why, or what could not be had.
    pub note: Option<String>,
}

/// The gaps after the one numbered `after` (0: from the first), at most [`PAGE_GAPS`], by their numbers.
///
/// # Errors
/// When the database can't be read.
pub async fn list(connection: &mut Connection, filter: &Filter, after: i64) -> Result<Vec<Gap>, StoreError> {
    let states: Vec<i16> =
        if filter.states.is_empty() { &State::ALL[..] } else { &filter.states }.iter().map(|state| *state as i16).collect();
    let (from, to) = (filter.from.unwrap_or(i64::MIN), filter.to.unwrap_or(i64::MAX));
    let overlaps = gaps::from_at.lt(to).and(gaps::to_at.is_null().or(gaps::to_at.ge(from)));
    let wanted = gaps::id.gt(after).and(gaps::state.eq_any(states)).and(overlaps);
    let rows: QueryResult<Vec<(GapRow, Option<String>)>> = match &filter.node {
        Some(node) => run!(connection, load, with_nodes().filter(wanted.and(nodes::name.eq(node))).order(gaps::id).limit(PAGE_GAPS)),
        None => run!(connection, load, with_nodes().filter(wanted).order(gaps::id).limit(PAGE_GAPS)),
    };
    Ok(rows.map_err(|error| StoreError::of(&error))?.into_iter().map(Gap::of).collect())
}

/// All of them, page after page.
///
/// # Errors
/// When the database can't be read.
pub async fn all(connection: &mut Connection, filter: &Filter) -> Result<Vec<Gap>, StoreError> {
    let mut found: Vec<Gap> = Vec::new();
    loop {
        let page = list(connection, filter, found.last().map_or(0, |gap| gap.id)).await?;
        if page.is_empty() {
            return Ok(found);
        }
        found.extend(page);
    }
}

/// One gap.
///
/// # Errors
/// When the database can't be read.
pub async fn get(connection: &mut Connection, id: i64) -> Result<Option<Gap>, StoreError> {
    let row: QueryResult<(GapRow, Option<String>)> = run!(connection, first, with_nodes().filter(gaps::id.eq(id)));
    Ok(row.optional().map_err(|error| StoreError::of(&error))?.map(Gap::of))
}

/// Changes a gap; false if there is none with this number. The note replaces the one that is there only if there is a new one.
///
/// # Errors
/// When the database can't be written.
pub async fn change(connection: &mut Connection, id: i64, change: &Change) -> Result<bool, StoreError> {
    let values = (
        gaps::state.eq(change.state as i16),
        gaps::found.eq(gaps::found + change.found),
        gaps::known.eq(gaps::known + change.known),
        gaps::changed_by.eq(&change.by),
        gaps::changed_at.eq(now()),
    );
    let changed = run!(connection, execute, diesel::update(gaps::table.filter(gaps::id.eq(id))).set(values));
    let changed = changed.map_err(|error| StoreError::of(&error))? > 0;
    if let Some(note) = &change.note {
        let noted = run!(connection, execute, diesel::update(gaps::table.filter(gaps::id.eq(id))).set(gaps::note.eq(note)));
        noted.map_err(|error| StoreError::of(&error))?;
    }
    Ok(changed)
}

/// A record left the quarantine and is stored: its gap is closed.
///
/// # Errors
/// When the database can't be written.
pub async fn stored_after_all(connection: &mut Connection, quarantined: i64) -> Result<(), StoreError> {
    let of_record = gaps::reason.eq(Reason::Quarantined as i16).and(gaps::detail.eq(super::quarantine::detail(quarantined)));
    let still_open = of_record.and(gaps::state.eq(State::Open as i16));
    let values = (
        gaps::state.eq(State::Backfilled as i16),
        gaps::found.eq(1_i64),
        gaps::changed_by.eq("quarantine retry"),
        gaps::changed_at.eq(now()),
    );
    run!(connection, execute, diesel::update(gaps::table.filter(still_open)).set(values)).map_err(|error| StoreError::of(&error))?;
    Ok(())
}

/// The gaps of a node that somebody still has to do something about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// The node's name; none when it is not known which.
    pub node: Option<String>,
    /// How many.
    pub gaps: u64,
    /// When the oldest began.
    pub oldest: Micros,
    /// Why the newest came.
    pub newest: Option<Reason>,
}

/// What is open, by node.
///
/// # Errors
/// When the database can't be read.
pub async fn open(connection: &mut Connection) -> Result<Vec<Open>, StoreError> {
    let filter = Filter { states: State::ALL.into_iter().filter(|state| state.is_open()).collect(), ..Filter::default() };
    let mut found: Vec<Open> = Vec::new();
    for gap in all(connection, &filter).await? {
        match found.iter_mut().find(|open| open.node == gap.node) {
            Some(open) => {
                open.gaps += 1;
                open.oldest = open.oldest.min(gap.from);
                open.newest = gap.reason;
            }
            None => found.push(Open { node: gap.node, gaps: 1, oldest: gap.from, newest: gap.reason }),
        }
    }
    Ok(found)
}

/// Rows with the names of their nodes, in the order of [`Gap::of`].
#[diesel::dsl::auto_type]
fn with_nodes() -> _ {
    gaps::table.left_join(nodes::table.on(nodes::id.eq(gaps::node_id))).select((
        (
            gaps::id,
            gaps::from_at,
            gaps::to_at,
            gaps::lost,
            gaps::found,
            gaps::known,
            gaps::changed_at,
            gaps::node_id,
            gaps::reason,
            gaps::state,
            gaps::note,
            gaps::changed_by,
            gaps::detail,
        ),
        nodes::name.nullable(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::migrations;

    const INSERT: &str = "INSERT INTO nodes (id, name) VALUES (1, 'a'), (2, 'b');
        INSERT INTO gaps (id, node_id, from_at, to_at, reason, state, lost, found, known, changed_at, detail) VALUES
        (1, 1, 10, 20, 1, 1, NULL, 0, 0, 20, NULL), (2, 1, 30, NULL, 7, 1, NULL, 0, 0, 30, NULL),
        (3, 2, 15, 15, 5, 1, 1, 0, 0, 15, '{\"quarantine\":9}'), (4, 0, 15, 16, 8, 5, 3, 0, 0, 16, NULL);";

    async fn database(directory: &tempfile::TempDir) -> Connection {
        let mut connection = Connection::Sqlite(crate::store::sqlite::open(&directory.path().join("a.sqlite")).unwrap());
        migrations::up(&mut connection, None).await.unwrap();
        connection.batch(INSERT).await.unwrap();
        connection
    }

    #[tokio::test(flavor = "current_thread")]
    async fn gaps_are_found_by_node_state_and_time() {
        let directory = tempfile::tempdir().unwrap();
        let mut connection = database(&directory).await;
        let open = vec![State::Open];
        for (filter, expected) in [
            (Filter::default(), vec![1, 2, 3, 4]),
            (Filter { node: Some("a".to_owned()), ..Filter::default() }, vec![1, 2]),
            (Filter { states: open, ..Filter::default() }, vec![1, 2, 3]),
            (Filter { from: Some(20), to: Some(30), ..Filter::default() }, vec![1]),
            (Filter { from: Some(21), ..Filter::default() }, vec![2]),
            (Filter { to: Some(15), ..Filter::default() }, vec![1]),
        ] {
            let found: Vec<i64> = list(&mut connection, &filter, 0).await.unwrap().iter().map(|gap| gap.id).collect();
            assert_eq!(found, expected, "{filter:?}");
        }
        assert_eq!(list(&mut connection, &Filter::default(), 3).await.unwrap().len(), 1);
        let gap = get(&mut connection, 4).await.unwrap().unwrap();
        assert_eq!((gap.node, gap.reason, gap.state, gap.lost), (None, Some(Reason::SpoolDamaged), Some(State::Closed), Some(3)));
        assert_eq!(get(&mut connection, 5).await.unwrap(), None);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_gap_is_closed_with_who_and_why() {
        let directory = tempfile::tempdir().unwrap();
        let mut connection = database(&directory).await;
        let closed = |state, note: Option<&str>| Change { state, found: 2, known: 5, by: "ann".to_owned(), note: note.map(str::to_owned) };
        assert!(change(&mut connection, 1, &closed(State::Partly, Some("the rest has expired"))).await.unwrap());
        assert!(change(&mut connection, 1, &closed(State::Backfilled, None)).await.unwrap());
        assert!(!change(&mut connection, 99, &closed(State::Closed, None)).await.unwrap());
        let gap = get(&mut connection, 1).await.unwrap().unwrap();
        assert_eq!((gap.state, gap.found, gap.known), (Some(State::Backfilled), 4, 10));
        assert_eq!((gap.note.as_deref(), gap.changed_by.as_deref()), (Some("the rest has expired"), Some("ann")));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn what_is_open_is_told_by_node() {
        let directory = tempfile::tempdir().unwrap();
        let mut connection = database(&directory).await;
        stored_after_all(&mut connection, 9).await.unwrap();
        let a = Open { node: Some("a".to_owned()), gaps: 2, oldest: 10, newest: Some(Reason::NotRunning) };
        assert_eq!(open(&mut connection).await.unwrap(), [a]);
        let gap = get(&mut connection, 3).await.unwrap().unwrap();
        assert_eq!((gap.state, gap.found), (Some(State::Backfilled), 1));
    }
}
