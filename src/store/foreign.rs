//! Tables of other programs, only ever read: an IM server's archive, or another product's.
//!
//! Every column is asked for as text, so that one row type serves all tables on the three databases. A SQLite file is opened read-only and
//! nothing of how it is written is changed; on a server nothing but SELECT is sent.

use std::path::Path;
use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::sql_types::{Nullable, Text};
use diesel::{Connection as _, SqliteConnection};

use super::statement::run;
use super::{Backend, Connection, Endpoint, StoreError, mysql, postgres};

/// Most columns of one query.
pub const MAX_COLUMNS: usize = 16;
/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// How long one query may take: the first may have to look through a whole table.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(600);
/// How long a statement waits for the program that owns a SQLite file.
const BUSY_TIMEOUT_MS: u32 = 30_000;

/// A row, column by column.
pub type Cells = Vec<Option<String>>;

macro_rules! row {
    ($($column:ident),*) => {
        #[derive(diesel::QueryableByName)]
        struct Row {
            $(#[diesel(sql_type = Nullable<Text>)] $column: Option<String>,)*
        }

        impl Row {
            const COLUMNS: [&'static str; MAX_COLUMNS] = [$(stringify!($column)),*];

            fn cells(self, columns: usize) -> Cells {
                let mut cells = vec![$(self.$column),*];
                cells.truncate(columns);
                cells
            }
        }
    };
}
row!(c0, c1, c2, c3, c4, c5, c6, c7, c8, c9, c10, c11, c12, c13, c14, c15);

/// A table with its columns, as they are really written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// Its columns' names.
    pub columns: Vec<String>,
}

impl Table {
    /// The column with this name, however it is capitalised.
    pub fn column(&self, wanted: &str) -> Option<&str> {
        self.columns.iter().find(|column| column.eq_ignore_ascii_case(wanted)).map(String::as_str)
    }
}

/// A connection to another program's database.
pub struct Foreign {
    connection: Connection,
}

impl Foreign {
    /// Connects.
    ///
    /// # Errors
    /// When the database can't be reached or refuses.
    pub async fn open(backend: &Backend, tls_ca: Option<&Path>) -> Result<Self, StoreError> {
        let endpoint = Endpoint {
            name: "the source".to_owned(),
            backend: backend.clone(),
            tls_ca: tls_ca.map(Path::to_owned),
            connect_timeout: CONNECT_TIMEOUT,
            statement_timeout: STATEMENT_TIMEOUT,
        };
        let connection = match backend {
            Backend::Sqlite(path) => Connection::Sqlite(read_only(path)?),
            Backend::Postgres(url) => Connection::Postgres(Box::new(postgres::open(&endpoint, url).await?)),
            Backend::Mysql(url) => Connection::Mysql(Box::new(mysql::open(&endpoint, url).await?)),
        };
        let mut foreign = Self { connection };
        if matches!(foreign.connection, Connection::Postgres(_)) {
            foreign
                .connection
                .batch("SET default_transaction_read_only = on; SET DateStyle = ISO")
                .await
                .map_err(|error| trouble(&error))?;
        }
        Ok(foreign)
    }

    /// A name as it stands in a statement of this database.
    pub fn quoted(&self, name: &str) -> String {
        match self.connection {
            Connection::Mysql(_) => format!("`{}`", name.replace('`', "``")),
            _ => format!("\"{}\"", name.replace('"', "\"\"")),
        }
    }

    /// The table with this name, however it is capitalised.
    ///
    /// # Errors
    /// When there is none, or the database can't be asked.
    pub async fn table(&mut self, wanted: &str) -> Result<Table, StoreError> {
        if !wanted.chars().all(|character| character.is_ascii_alphanumeric() || character == '_') || wanted.is_empty() {
            return Err(StoreError::Misconfigured(format!("{wanted:?} is no table's name")));
        }
        let lower = wanted.to_ascii_lowercase();
        let schema = match self.connection {
            Connection::Sqlite(_) => None,
            Connection::Postgres(_) => Some("= ANY (current_schemas(false))"),
            Connection::Mysql(_) => Some("= DATABASE()"),
        };
        let sql = match schema {
            None => format!(
                "SELECT m.name || '.' || c.name AS value FROM sqlite_master m, pragma_table_info(m.name) c \
                 WHERE lower(m.name) = '{lower}' AND m.type IN ('table', 'view') ORDER BY c.cid"
            ),
            Some(schema) => format!(
                "SELECT CONCAT(table_name, '.', column_name) AS value FROM information_schema.columns \
                 WHERE lower(table_name) = '{lower}' AND table_schema {schema} ORDER BY ordinal_position"
            ),
        };
        let found = self.connection.texts(&sql).await.map_err(|error| trouble(&error))?;
        let mut table = Table::default();
        for (name, column) in found.iter().filter_map(|found| found.split_once('.')) {
            if table.name.is_empty() {
                table.name = name.to_owned();
            }
            if table.name == name {
                table.columns.push(column.to_owned());
            }
        }
        match table.name.is_empty() {
            true => Err(StoreError::Misconfigured(format!("there is no table {wanted}, or this account may not see it"))),
            false => Ok(table),
        }
    }

    /// The rows of a query: expressions for the columns, and everything from FROM on.
    ///
    /// # Errors
    /// When the database can't be asked, or refuses.
    pub async fn rows(&mut self, columns: &[String], rest: &str) -> Result<Vec<Cells>, StoreError> {
        let sql = self.select(columns, rest);
        self.load(sql, columns.len()).await
    }

    /// Whether a query can stay open while its rows are fetched.
    pub fn has_cursors(&self) -> bool {
        matches!(self.connection, Connection::Postgres(_))
    }

    /// Opens the one cursor for a query as that of [`Foreign::rows`].
    ///
    /// # Errors
    /// When the database can't be asked, or refuses.
    pub async fn open_cursor(&mut self, columns: &[String], rest: &str) -> Result<(), StoreError> {
        let sql = format!("BEGIN READ ONLY; DECLARE source NO SCROLL CURSOR FOR {}", self.select(columns, rest));
        self.connection.batch(&sql).await.map_err(|error| trouble(&error))
    }

    /// The cursor's next rows, none at the end.
    ///
    /// # Errors
    /// When the database can't be asked.
    pub async fn fetch(&mut self, columns: usize, most: usize) -> Result<Vec<Cells>, StoreError> {
        self.load(format!("FETCH FORWARD {most} FROM source"), columns).await
    }

    fn select(&self, columns: &[String], rest: &str) -> String {
        let text = if matches!(self.connection, Connection::Mysql(_)) { "CHAR" } else { "TEXT" };
        let asked = Row::COLUMNS.iter().enumerate().map(|(index, name)| match columns.get(index) {
            Some(expression) => format!("CAST({expression} AS {text}) AS {name}"),
            None => format!("CAST(NULL AS {text}) AS {name}"),
        });
        format!("SELECT {} {rest}", asked.collect::<Vec<_>>().join(", "))
    }

    async fn load(&mut self, sql: String, columns: usize) -> Result<Vec<Cells>, StoreError> {
        let rows: Vec<Row> = run!(&mut self.connection, load, diesel::sql_query(sql)).map_err(|error| trouble(&error))?;
        Ok(rows.into_iter().map(|row| row.cells(columns)).collect())
    }
}

/// What a source's database says is no matter of ours to refuse or to retry: only whether it can be read.
fn trouble(error: &diesel::result::Error) -> StoreError {
    StoreError::Unreachable(error.to_string())
}

fn read_only(path: &Path) -> Result<SqliteConnection, StoreError> {
    let failed = |why: &dyn std::fmt::Display| StoreError::Unreachable(format!("{}: {why}", path.display()));
    if !path.is_file() {
        return Err(failed(&"there is no such file"));
    }
    let name = path.to_str().ok_or_else(|| failed(&"not UTF-8"))?;
    let escaped = name.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    let mut connection = SqliteConnection::establish(&format!("file:{escaped}?mode=ro")).map_err(|error| failed(&error))?;
    connection.batch_execute(&format!("PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}; PRAGMA query_only = 1")).map_err(|error| failed(&error))?;
    Ok(connection)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block_on<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
    }

    fn made(sql: &str) -> (tempfile::TempDir, Backend) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a b#c.sqlite");
        let mut connection = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
        connection.batch_execute(sql).unwrap();
        (directory, Backend::Sqlite(path))
    }

    #[test]
    fn rows_come_as_text_and_names_as_they_are_written() {
        let (_directory, backend) = made("CREATE TABLE Foo(\"when\" INTEGER, Body TEXT); INSERT INTO Foo VALUES(17, NULL), (18, 'x')");
        block_on(async {
            let mut foreign = Foreign::open(&backend, None).await.unwrap();
            let table = foreign.table("foo").await.unwrap();
            assert_eq!((table.name.as_str(), table.column("body"), table.column("when")), ("Foo", Some("Body"), Some("when")));
            let rows = foreign.rows(&["\"when\"".into(), "Body".into()], "FROM Foo ORDER BY 1").await.unwrap();
            assert_eq!(rows, [vec![Some("17".into()), None], vec![Some("18".into()), Some("x".into())]]);
            assert!(matches!(foreign.table("bar").await, Err(StoreError::Misconfigured(_))));
            assert!(matches!(foreign.table("a; b").await, Err(StoreError::Misconfigured(_))));
        });
    }

    #[test]
    fn nothing_is_written() {
        let (directory, backend) = made("CREATE TABLE foo(a)");
        block_on(async {
            let mut foreign = Foreign::open(&backend, None).await.unwrap();
            assert!(foreign.connection.batch("INSERT INTO foo VALUES (1)").await.is_err());
            let Backend::Sqlite(path) = &backend else { unreachable!() };
            assert!(Foreign::open(&Backend::Sqlite(path.with_extension("gone")), None).await.is_err());
        });
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
