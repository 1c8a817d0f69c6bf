//! A table of another program as a source: page after page, in an order that is the same each time.
//!
//! Where integers name the rows, a page begins behind the last row's. A table without such a key is read in the order of its time; where it stands is then
//! a time and how many rows from there on were read. PostgreSQL gives that by a cursor, since nothing says that the column has an index.

use super::{Item, Position, Source, SourceError};
use crate::store::StoreError;
use crate::store::foreign::{Cells, Foreign};

/// Most rows of one query.
const PAGE_ROWS: usize = 2_000;

/// What puts the rows in order; these columns are read before the others.
#[derive(Clone, Debug)]
pub enum Order {
    /// Integer expressions that together name a row.
    Keys(Vec<String>),
    /// A time, and what fixes the order of rows with the same time.
    Time(String, Vec<String>),
}

/// What is asked of a table.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The table, quoted.
    pub table: String,
    /// Expressions.
    pub columns: Vec<String>,
    /// What must hold, none for all rows.
    pub condition: Option<String>,
    /// In which order.
    pub order: Order,
}

/// Makes items of rows.
pub trait ReadRow: Send {
    /// The item in a row; none where the row is not wanted. `cells` are those of [`Asked::columns`].
    fn item(&mut self, cells: &[Option<String>]) -> Option<Item>;

    /// See [`Source::is_partial`].
    fn is_partial(&self) -> bool {
        false
    }

    /// See [`Source::lacks`].
    fn lacks(&self) -> &'static str;
}

/// A table as a source.
pub struct SqlSource<R> {
    db: Foreign,
    asked: Asked,
    reader: R,
    /// Behind the last row that was read.
    position: Option<Stand>,
    cursor_is_open: bool,
    is_over: bool,
}

/// Where the reading stands.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stand {
    Behind(Vec<i64>),
    From(String, u64),
}

impl Stand {
    fn parse(text: &str, order: &Order) -> Option<Self> {
        match order {
            Order::Keys(keys) => {
                let numbers = text.split(':').map(str::parse).collect::<Result<Vec<i64>, _>>().ok()?;
                (numbers.len() == keys.len()).then_some(Self::Behind(numbers))
            }
            Order::Time(..) => {
                let (time, count) = text.rsplit_once('|')?;
                let is_time = time.chars().all(|character| character.is_ascii_alphanumeric() || "-:.+ ".contains(character));
                let _count: u64 = count.parse().ok()?;
                // The rows of that time are read again: which of several equal ones a row is can only be told from the first on.
                Some(Self::From(time.to_owned(), 0)).filter(|_| is_time)
            }
        }
    }

    fn text(&self) -> Position {
        match self {
            Self::Behind(numbers) => numbers.iter().map(i64::to_string).collect::<Vec<_>>().join(":"),
            Self::From(time, count) => format!("{time}|{count}"),
        }
    }

    /// Behind a row whose first columns are these.
    fn after(before: Option<&Self>, order: &Order, cells: &[Option<String>]) -> Result<Self, SourceError> {
        let odd = || SourceError::Mistaken("a column that should be a number or a time is none".to_owned());
        match order {
            Order::Keys(keys) => {
                let numbers = cells.iter().take(keys.len()).map(|cell| cell.as_ref().and_then(|cell| cell.trim().parse().ok()));
                Ok(Self::Behind(numbers.collect::<Option<Vec<i64>>>().ok_or_else(odd)?))
            }
            Order::Time(..) => match (before, cells.first().and_then(Option::as_ref)) {
                (Some(Self::From(time, count)), Some(this)) if this == time => Ok(Self::From(time.clone(), count + 1)),
                // Rows without a time come last, and count with those of the last time.
                (Some(Self::From(time, count)), None) => Ok(Self::From(time.clone(), count + 1)),
                (_, this) => Ok(Self::From(this.cloned().unwrap_or_default(), 1)),
            },
        }
    }

    fn condition(&self, order: &Order) -> String {
        match (self, order) {
            (Self::Behind(numbers), Order::Keys(keys)) => match (numbers.as_slice(), keys.as_slice()) {
                ([one, two], [first, second]) => format!("{first} >= {one} AND ({first} > {one} OR {second} > {two})"),
                ([one, ..], [first, ..]) => format!("{first} > {one}"),
                _ => "1 = 1".to_owned(),
            },
            (Self::From(time, _), Order::Time(column, _)) if !time.is_empty() => format!("({column} >= '{time}' OR {column} IS NULL)"),
            _ => "1 = 1".to_owned(),
        }
    }

    fn offset(&self) -> u64 {
        match self {
            Self::Behind(_) => 0,
            Self::From(_, count) => *count,
        }
    }
}

impl<R: ReadRow> SqlSource<R> {
    /// A source that begins behind `position`, or with the first row.
    ///
    /// # Errors
    /// When the position is none of this table.
    pub fn new(db: Foreign, asked: Asked, reader: R, position: Option<&str>) -> Result<Self, SourceError> {
        let unknown = |text| SourceError::Mistaken(format!("{text:?} is no position in this table: begin anew with --restart"));
        let position = position.map(|text| Stand::parse(text, &asked.order).ok_or_else(|| unknown(text))).transpose()?;
        Ok(Self { db, asked, reader, position, cursor_is_open: false, is_over: false })
    }

    /// Everything from FROM on but for how many rows.
    fn rest(&self) -> String {
        let Asked { table, condition, order, .. } = &self.asked;
        let behind = self.position.as_ref().map(|stand| stand.condition(order));
        let all: Vec<String> = condition.iter().cloned().chain(behind).map(|one| format!("({one})")).collect();
        let filter = if all.is_empty() { String::new() } else { format!(" WHERE {}", all.join(" AND ")) };
        let by = match order {
            Order::Keys(keys) => keys.join(", "),
            Order::Time(column, ties) => [std::slice::from_ref(column), ties].concat().join(", "),
        };
        format!("FROM {table}{filter} ORDER BY {by}")
    }

    fn columns(&self) -> Vec<String> {
        let leading = match &self.asked.order {
            Order::Keys(keys) => keys.clone(),
            Order::Time(column, _) => vec![column.clone()],
        };
        [leading, self.asked.columns.clone()].concat()
    }

    async fn page(&mut self, most: usize) -> Result<Vec<Cells>, SourceError> {
        let offset = self.position.as_ref().map_or(0, Stand::offset);
        if matches!(self.asked.order, Order::Time(..)) && self.db.has_cursors() {
            if !self.cursor_is_open {
                let rest = format!("{} OFFSET {offset}", self.rest());
                self.db.open_cursor(&self.columns(), &rest).await?;
                self.cursor_is_open = true;
            }
            return Ok(self.db.fetch(self.columns().len(), most).await?);
        }
        let rest = format!("{} LIMIT {most} OFFSET {offset}", self.rest());
        Ok(self.db.rows(&self.columns(), &rest).await?)
    }
}

impl<R: ReadRow> Source for SqlSource<R> {
    async fn next(&mut self, most: usize) -> Result<Vec<(Position, Item)>, SourceError> {
        let most = most.clamp(1, PAGE_ROWS);
        let leading = self.columns().len() - self.asked.columns.len();
        while !self.is_over {
            let rows = self.page(most).await?;
            self.is_over = rows.is_empty();
            let mut items = Vec::new();
            for cells in &rows {
                let stand = Stand::after(self.position.as_ref(), &self.asked.order, cells)?;
                if let Some(item) = self.reader.item(cells.get(leading..).unwrap_or_default()) {
                    items.push((stand.text(), item));
                }
                self.position = Some(stand);
            }
            if !items.is_empty() {
                return Ok(items);
            }
        }
        Ok(Vec::new())
    }

    async fn total(&mut self) -> Result<Option<u64>, SourceError> {
        let condition = self.asked.condition.as_ref().map(|condition| format!(" WHERE {condition}")).unwrap_or_default();
        let rows = self.db.rows(&["COUNT(*)".to_owned()], &format!("FROM {}{condition}", self.asked.table)).await?;
        Ok(rows.into_iter().flatten().flatten().next().and_then(|count| count.parse().ok()))
    }

    fn is_partial(&self) -> bool {
        self.reader.is_partial()
    }

    fn lacks(&self) -> &'static str {
        self.reader.lacks()
    }
}

impl From<StoreError> for SourceError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Misconfigured(said) => Self::Mistaken(said),
            other => Self::Unreachable(other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Order {
        Order::Keys(vec!["a".into(), "b".into()])
    }

    fn time() -> Order {
        Order::Time("t".into(), vec!["x".into()])
    }

    fn cells(cells: &[&str]) -> Vec<Option<String>> {
        cells.iter().map(|cell| (!cell.is_empty()).then(|| (*cell).to_owned())).collect()
    }

    #[test]
    fn a_position_goes_on_behind_the_last_row() {
        let stand = Stand::after(None, &keys(), &cells(&["17", "18", "x"])).unwrap();
        assert_eq!((stand.text().as_str(), stand.condition(&keys()).as_str()), ("17:18", "a >= 17 AND (a > 17 OR b > 18)"));
        assert_eq!(Stand::parse("17:18", &keys()), Some(stand));
        assert_eq!(Stand::parse("17", &keys()), None);
        assert_eq!(Stand::parse("17:1; x", &keys()), None);
        assert!(Stand::after(None, &keys(), &cells(&["17", ""])).is_err());
    }

    #[test]
    fn rows_of_one_time_are_counted() {
        let order = time();
        let mut stand = None;
        let mut seen = Vec::new();
        for time in ["2026-11-22 07:28:55", "2026-11-22 07:28:55", "2026-11-22 07:28:56", ""] {
            stand = Some(Stand::after(stand.as_ref(), &order, &cells(&[time])).unwrap());
            seen.push(stand.as_ref().map(Stand::text).unwrap());
        }
        assert_eq!(seen, ["2026-11-22 07:28:55|1", "2026-11-22 07:28:55|2", "2026-11-22 07:28:56|1", "2026-11-22 07:28:56|2"]);
        let stand = Stand::parse("2026-11-22 07:28:55|2", &order).unwrap();
        assert_eq!(stand.offset(), 0);
        assert_eq!(stand.condition(&order), "(t >= '2026-11-22 07:28:55' OR t IS NULL)");
        assert_eq!(Stand::parse("' OR 1 --|2", &order), None);
    }
}
