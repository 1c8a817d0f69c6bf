//! What a database says of itself, for `check`: facts only, what to make of them is the command's.
//!
//! Nothing here changes anything. Rights are tried out with the statements that need them on no rows at all (`WHERE 1 = 0`): the
//! database decides about rights before it looks for rows.

use diesel::QueryResult;

use super::{Backend, Connection, Endpoint};
use crate::time::Micros;

/// The tables, each with what an INSERT of whole rows names (MySQL computes some columns itself).
const TABLES: [(&str, &str); 25] = [
    ("jids", "id, jid"),
    ("nodes", "id, name"),
    ("conversation_names", "id, kind, first_id, second_id, name"),
    ("messages", "*"),
    ("deliveries", "*"),
    ("message_keys", "*"),
    ("bounces", "*"),
    ("rooms", "*"),
    ("occupancy_events", "*"),
    ("quarantine", "*"),
    ("progress", "*"),
    ("settings", "*"),
    ("gaps", "*"),
    ("tallies", "*"),
    ("sightings", "*"),
    ("accounts", "*"),
    ("account_codes", "*"),
    ("people_groups", "*"),
    ("sessions", "*"),
    ("tokens", "*"),
    ("audit", "*"),
    ("search_index", "*"),
    ("participations", "*"),
    ("search_late", "*"),
    ("search_progress", "*"),
];

/// What is done beyond reading and adding, by the writer, the indexer and for the console.
const CHANGES: [(&str, &str); 19] = [
    (
        "UPDATE on messages",
        "UPDATE messages SET sender_id = sender_id, sender_resource = sender_resource, sender_nick = sender_nick, \
         recipient_id = recipient_id, recipient_resource = recipient_resource, recipient_nick = recipient_nick WHERE 1 = 0",
    ),
    ("UPDATE on rooms", "UPDATE rooms SET kind = kind WHERE 1 = 0"),
    ("UPDATE on progress", "UPDATE progress SET next_seq = next_seq WHERE 1 = 0"),
    ("UPDATE on settings", "UPDATE settings SET value = value WHERE 1 = 0"),
    ("UPDATE on gaps", "UPDATE gaps SET state = state WHERE 1 = 0"),
    ("UPDATE on tallies", "UPDATE tallies SET count = count WHERE 1 = 0"),
    ("DELETE on quarantine", "DELETE FROM quarantine WHERE 1 = 0"),
    ("UPDATE on accounts", "UPDATE accounts SET roles = roles WHERE 1 = 0"),
    ("UPDATE on people_groups", "UPDATE people_groups SET members = members WHERE 1 = 0"),
    ("UPDATE on sessions", "UPDATE sessions SET used_at = used_at WHERE 1 = 0"),
    ("UPDATE on tokens", "UPDATE tokens SET used_at = used_at WHERE 1 = 0"),
    ("DELETE on account_codes", "DELETE FROM account_codes WHERE 1 = 0"),
    ("DELETE on people_groups", "DELETE FROM people_groups WHERE 1 = 0"),
    ("DELETE on sessions", "DELETE FROM sessions WHERE 1 = 0"),
    ("UPDATE on participations", "UPDATE participations SET roles = roles WHERE 1 = 0"),
    ("UPDATE on search_progress", "UPDATE search_progress SET next_id = next_id WHERE 1 = 0"),
    ("DELETE on search_late", "DELETE FROM search_late WHERE 1 = 0"),
    ("DELETE on search_index", "DELETE FROM search_index WHERE 1 = 0"),
    ("DELETE on participations", "DELETE FROM participations WHERE 1 = 0"),
];

/// The database's software.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Whose it is: MySQL and MariaDB are told apart.
    pub product: &'static str,
    /// The version as it writes it.
    pub version: String,
    /// The oldest version that the migrations are written for.
    pub oldest: (u32, u32),
}

impl Server {
    /// Whether the version is recent enough; one that can't be read passes.
    pub fn is_supported(&self) -> bool {
        let mut numbers = self.version.split(|c: char| !c.is_ascii_digit()).map(|digits| digits.parse().unwrap_or(0));
        match (numbers.next(), numbers.next()) {
            (Some(0) | None, _) => true,
            (Some(major), minor) => (major, minor.unwrap_or(0)) >= self.oldest,
        }
    }
}

/// A right that is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingRight {
    /// Such as `INSERT on messages`.
    pub right: String,
    /// What the database said.
    pub said: String,
}

/// Which software it is.
///
/// # Errors
/// When the database does not answer.
pub async fn server(connection: &mut Connection) -> QueryResult<Server> {
    let (product, oldest, sql) = match connection {
        Connection::Sqlite(_) => ("SQLite", (3, 37), "SELECT sqlite_version() AS value"),
        Connection::Postgres(_) => ("PostgreSQL", (14, 0), "SELECT current_setting('server_version') AS value"),
        Connection::Mysql(_) => ("MySQL", (8, 0), "SELECT VERSION() AS value"),
    };
    let version = connection.text(sql).await?.unwrap_or_default();
    Ok(match version.contains("MariaDB") {
        true => Server { product: "MariaDB", version, oldest: (10, 6) },
        false => Server { product, version, oldest },
    })
}

/// The encodings in which text is kept, other than those that hold every character; each with where that is.
///
/// # Errors
/// When the database does not answer.
pub async fn lossy_encodings(connection: &mut Connection) -> QueryResult<Vec<String>> {
    let sql = match connection {
        // SQLite knows UTF-8 and UTF-16 only.
        Connection::Sqlite(_) => return Ok(Vec::new()),
        Connection::Postgres(_) => {
            "SELECT 'server_encoding ' || current_setting('server_encoding') AS value WHERE current_setting('server_encoding') <> 'UTF8'"
        }
        // The migrations name the character set of each table, so the server's own default does not matter.
        Connection::Mysql(_) => {
            "SELECT DISTINCT CONCAT('table ', t.table_name, ' ', t.table_collation) AS value FROM information_schema.tables t \
             WHERE t.table_schema = DATABASE() AND t.table_type = 'BASE TABLE' AND t.table_name IN \
             ('jids', 'nodes', 'conversation_names', 'messages', 'deliveries', 'message_keys', 'bounces', 'rooms', 'occupancy_events', \
             'quarantine', 'settings', 'gaps', 'tallies', 'sightings', 'accounts', 'people_groups', 'sessions', 'tokens', 'audit') \
             AND t.table_collation NOT LIKE 'utf8mb4%' \
             UNION ALL SELECT CONCAT('connection ', @@character_set_connection) WHERE @@character_set_connection <> 'utf8mb4'"
        }
    };
    connection.texts(sql).await
}

/// The encoding in use, for people.
///
/// # Errors
/// When the database does not answer.
pub async fn encoding(connection: &mut Connection) -> QueryResult<String> {
    let sql = match connection {
        Connection::Sqlite(_) => "SELECT encoding AS value FROM pragma_encoding",
        Connection::Postgres(_) => "SELECT current_setting('server_encoding') AS value",
        Connection::Mysql(_) => {
            "SELECT CONCAT('utf8mb4 in the tables of the archive, whatever the default (', @@character_set_database, ')') AS value"
        }
    };
    Ok(connection.text(sql).await?.unwrap_or_default())
}

/// The time of the server's clock; none where it is this machine's.
///
/// # Errors
/// When the database does not answer.
pub async fn clock(connection: &mut Connection) -> QueryResult<Option<Micros>> {
    let sql = match connection {
        Connection::Sqlite(_) => return Ok(None),
        Connection::Postgres(_) => "SELECT ((extract(epoch FROM clock_timestamp()) * 1000000)::bigint)::text AS value",
        Connection::Mysql(_) => "SELECT CAST(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) AS CHAR) AS value",
    };
    Ok(connection.text(sql).await?.and_then(|digits| digits.parse().ok()))
}

/// Version and cipher of TLS on this very connection; none if it is in the clear.
///
/// # Errors
/// When the database does not answer.
pub async fn tls(connection: &mut Connection) -> QueryResult<Option<String>> {
    let shown = match connection {
        Connection::Sqlite(_) => None,
        Connection::Postgres(_) => {
            let sql = "SELECT version || ' ' || cipher AS value FROM pg_stat_ssl WHERE ssl AND pid = pg_backend_pid()";
            return connection.text(sql).await;
        }
        Connection::Mysql(_) => connection.shown("SHOW SESSION STATUS LIKE 'Ssl_cipher'").await?,
    };
    Ok(shown.filter(|cipher| !cipher.is_empty()))
}

/// Settings by which a commit that was confirmed may be lost when the server's machine fails: those that are not as they should be.
///
/// # Errors
/// When the database does not answer.
pub async fn weak_durability(connection: &mut Connection) -> QueryResult<Vec<String>> {
    let sql = match connection {
        Connection::Sqlite(_) => {
            "SELECT 'synchronous = ' || synchronous AS value FROM pragma_synchronous WHERE synchronous < 2 \
             UNION ALL SELECT 'journal_mode = ' || journal_mode FROM pragma_journal_mode WHERE journal_mode IN ('off', 'memory')"
        }
        Connection::Postgres(_) => {
            "SELECT name || ' = ' || current_setting(name) AS value \
             FROM (VALUES ('fsync'), ('full_page_writes'), ('synchronous_commit')) AS s (name) WHERE current_setting(name) = 'off'"
        }
        Connection::Mysql(_) => {
            "SELECT CONCAT('innodb_flush_log_at_trx_commit = ', @@innodb_flush_log_at_trx_commit) AS value \
             WHERE @@innodb_flush_log_at_trx_commit <> 1 \
             UNION ALL SELECT CONCAT('sync_binlog = ', @@sync_binlog) WHERE @@log_bin <> 0 AND @@sync_binlog <> 1"
        }
    };
    connection.texts(sql).await
}

/// How the server reads a backslash in a literal, for people; the archive works under either.
///
/// # Errors
/// When the database does not answer.
pub async fn literals(connection: &mut Connection) -> QueryResult<Option<String>> {
    let sql = match connection {
        Connection::Sqlite(_) => return Ok(None),
        Connection::Postgres(_) => "SELECT 'standard_conforming_strings ' || current_setting('standard_conforming_strings') AS value",
        Connection::Mysql(_) => {
            "SELECT CONCAT('NO_BACKSLASH_ESCAPES ', IF(FIND_IN_SET('NO_BACKSLASH_ESCAPES', @@GLOBAL.sql_mode), 'on', 'off')) AS value"
        }
    };
    connection.text(sql).await
}

/// The largest statement that the server takes, where it has such a limit.
///
/// # Errors
/// When the database does not answer.
pub async fn largest_packet(connection: &mut Connection) -> QueryResult<Option<u64>> {
    let Connection::Mysql(_) = connection else { return Ok(None) };
    Ok(connection.text("SELECT CAST(@@max_allowed_packet AS CHAR) AS value").await?.and_then(|digits| digits.parse().ok()))
}

/// The rights that `run` needs on the tables and does not have. The tables must be there.
///
/// # Errors
/// When a statement fails for another reason.
pub async fn missing_rights(connection: &mut Connection) -> QueryResult<Vec<MissingRight>> {
    let mut wanted: Vec<(String, String)> = Vec::new();
    for (table, columns) in TABLES {
        wanted.push((format!("SELECT on {table}"), format!("SELECT {columns} FROM {table} WHERE 1 = 0")));
        let into = if columns == "*" { String::new() } else { format!(" ({columns})") };
        wanted.push((format!("INSERT on {table}"), format!("INSERT INTO {table}{into} SELECT {columns} FROM {table} WHERE 1 = 0")));
    }
    wanted.extend(CHANGES.map(|(right, sql)| (right.to_owned(), sql.to_owned())));
    let mut missing = Vec::new();
    for (right, sql) in wanted {
        // An INSERT that reads its own table says nothing new if reading is what is refused.
        let told = right.strip_prefix("INSERT on ").is_some_and(|table| has_told(&missing, table));
        if !told {
            missing.extend(refusal(connection, right, &sql).await?);
        }
    }
    Ok(missing)
}

fn has_told(missing: &[MissingRight], table: &str) -> bool {
    missing.last().is_some_and(|last| last.right.strip_prefix("SELECT on ") == Some(table))
}

/// Whether tables can be made, which only `migrate` needs; none if so.
///
/// # Errors
/// When the database does not answer.
pub async fn missing_right_to_create(connection: &mut Connection) -> QueryResult<Option<MissingRight>> {
    let right = "CREATE".to_owned();
    match connection {
        // Begins to write, and so finds out whether it may.
        Connection::Sqlite(_) => refusal(connection, right, "BEGIN IMMEDIATE; ROLLBACK").await,
        Connection::Postgres(_) => {
            let sql = "SELECT COALESCE(current_schema(), 'no schema of the search_path exists') AS value \
                       WHERE current_schema() IS NULL OR NOT has_schema_privilege(current_schema(), 'CREATE')";
            Ok(connection.text(sql).await?.map(|schema| MissingRight { right, said: format!("no CREATE on schema {schema}") }))
        }
        // There is no such table to copy, which the server only says to those who may create.
        Connection::Mysql(_) => {
            let sql = "CREATE TABLE xmpp_archiver_check LIKE xmpp_archiver_check_absent";
            let refused = refusal(connection, right, sql).await;
            Ok(refused.unwrap_or(None))
        }
    }
}

/// Runs a statement that changes nothing; the right is missing if the database refuses it.
async fn refusal(connection: &mut Connection, right: String, sql: &str) -> QueryResult<Option<MissingRight>> {
    const REFUSED: [&str; 4] = ["denied", "read-only", "readonly", "read only"];
    let Err(error) = connection.batch(sql).await else { return Ok(None) };
    let said = error.to_string();
    let lower = said.to_lowercase();
    match REFUSED.iter().any(|word| lower.contains(word)) {
        true => Ok(Some(MissingRight { right, said })),
        false => Err(error),
    }
}

/// Whether everything between here and the database stays on this machine, as far as its URL says.
pub fn is_local(endpoint: &Endpoint) -> bool {
    match &endpoint.backend {
        Backend::Sqlite(_) => true,
        Backend::Postgres(url) => url.parse::<tokio_postgres::Config>().is_ok_and(|config| {
            config.get_hosts().iter().all(|host| match host {
                tokio_postgres::config::Host::Tcp(name) => is_loopback(name),
                #[cfg(unix)]
                tokio_postgres::config::Host::Unix(_) => true,
            })
        }),
        Backend::Mysql(url) => mysql_async::Opts::from_url(url).is_ok_and(|options| is_loopback(options.ip_or_hostname())),
    }
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        for (version, oldest, supported) in [
            ("15.18 (Debian 15.18-0+deb12u1)", (14, 0), true),
            ("13.4", (14, 0), false),
            ("18beta1", (14, 0), true),
            ("10.11.19-MariaDB-0+deb12u1", (10, 6), true),
            ("10.5.2-MariaDB", (10, 6), false),
            ("8.0.36", (8, 0), true),
            ("5.7.44-log", (8, 0), false),
            ("3.50.4", (3, 37), true),
            ("unreadable", (8, 0), true),
        ] {
            let server = Server { product: "", version: version.to_owned(), oldest };
            assert_eq!(server.is_supported(), supported, "{version}");
        }
    }

    #[test]
    fn loopback_is_told_from_the_network() {
        let endpoint = |backend| Endpoint {
            name: "main".to_owned(),
            backend,
            tls_ca: None,
            connect_timeout: std::time::Duration::from_secs(1),
            statement_timeout: std::time::Duration::from_secs(1),
        };
        for (url, local) in [
            ("postgres://me:x@localhost/a", true),
            ("postgres://me@127.0.0.1:5433/a", true),
            ("postgres://me@[::1]/a", true),
            ("postgres:///a?host=/run/postgresql", true),
            ("postgres://me@db.example/a", false),
            ("postgres://me@127.0.0.1,db.example/a?sslmode=verify-full", false),
        ] {
            assert_eq!(is_local(&endpoint(Backend::Postgres(url.to_owned()))), local, "{url}");
        }
        for (url, local) in [("mysql://me@127.0.0.1/a", true), ("mysql://me:x@db.example:3306/a", false)] {
            assert_eq!(is_local(&endpoint(Backend::Mysql(url.to_owned()))), local, "{url}");
        }
    }
}
