//! Checks of one database: it can be reached, is recent enough, keeps every character and every commit, lets us write, and has the
//! tables of this version.

use diesel::QueryResult;

use super::disk;
use super::finding::{About, Findings};
use crate::cli::connect;
use crate::config::{StoreConfig, StoreUrl};
use crate::store::access::audit;
use crate::store::health::{self, MissingRight};
use crate::store::migrations;
use crate::store::{Connection, Endpoint, StoreError};
use crate::time::{self, Micros};

/// How far the database's clock may be from ours. Nothing is stored by its clock, but whoever compares logs is led astray.
const MOST_CLOCK_DIFFERENCE: Micros = 5 * time::SECOND;
/// A stanza of 10 MiB, the default limit of a node, has to fit into one statement with room to spare.
const LEAST_PACKET_BYTES: u64 = 32 << 20;

/// Looks at one store; offline only if it is a file.
pub(super) async fn check(store: &StoreConfig, offline: bool, findings: &mut Findings) {
    let mut about = findings.about(format!("store {}", store.name));
    let endpoint = Endpoint::from_config(store);
    let is_file = matches!(store.url, StoreUrl::Sqlite(_));
    if connect::is_absent(store) {
        about.fail("migrations", format!("there is no {} yet", place(store)), "run `xmpp-archiver migrate`, which makes it");
        return;
    }
    if offline && !is_file {
        return;
    }
    let mut connection = match Connection::open(&endpoint).await {
        Ok(connection) => connection,
        Err(error) => {
            about.fail("connection", error.to_string(), connection_advice(&error));
            return;
        }
    };
    about.ok("connection", place(store));
    if let Err(error) = look(&mut connection, health::is_local(&endpoint), &mut about).await {
        about.fail("connection", error.to_string(), "see the database's own log");
    }
}

/// Where it is, by its whole path if it is a file.
fn place(store: &StoreConfig) -> String {
    match &store.url {
        StoreUrl::Sqlite(path) => format!("sqlite:{}", disk::absolute(path).display()),
        url => url.to_string(),
    }
}

fn connection_advice(error: &StoreError) -> &'static str {
    match error {
        StoreError::Misconfigured(_) => "mend `url` or `tls_ca` of this store",
        _ => "check `url`, that the database runs and listens there, and that this user may log in with this password",
    }
}

/// All that is asked over a connection; an error means that it broke or a question was not understood.
async fn look(connection: &mut Connection, is_local: bool, about: &mut About<'_>) -> QueryResult<()> {
    check_version(connection, about).await?;
    check_encoding(connection, about).await?;
    check_clock(connection, about).await?;
    check_tls(connection, is_local, about).await?;
    check_durability(connection, about).await?;
    check_limits(connection, about).await?;
    check_tables(connection, about).await
}

async fn check_version(connection: &mut Connection, about: &mut About<'_>) -> QueryResult<()> {
    let server = health::server(connection).await?;
    let shown = format!("{} {}", server.product, server.version);
    let (major, minor) = server.oldest;
    match server.is_supported() {
        true => about.ok("version", shown),
        false => about.fail("version", shown, format!("upgrade it: {} {major}.{minor} is the oldest that works", server.product)),
    }
    Ok(())
}

async fn check_encoding(connection: &mut Connection, about: &mut About<'_>) -> QueryResult<()> {
    let lossy = health::lossy_encodings(connection).await?;
    if lossy.is_empty() {
        about.ok("encoding", health::encoding(connection).await?);
        return Ok(());
    }
    let advice = match connection {
        Connection::Postgres(_) => "make a database with ENCODING 'UTF8' TEMPLATE template0 and migrate there",
        _ => "convert them with ALTER TABLE … CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
    };
    about.fail("encoding", format!("not every character can be kept: {}", lossy.join(", ")), advice);
    Ok(())
}

async fn check_clock(connection: &mut Connection, about: &mut About<'_>) -> QueryResult<()> {
    let before = time::now();
    let Some(theirs) = health::clock(connection).await? else { return Ok(()) };
    let ours = before.midpoint(time::now());
    let difference = theirs.saturating_sub(ours);
    let shown = format!("{:+.3} s from this machine's", difference as f64 / time::SECOND as f64);
    match difference.abs() < MOST_CLOCK_DIFFERENCE {
        true => about.ok("clock", shown),
        false => about.warn("clock", shown, "keep both machines' clocks right with NTP: the archive goes by this machine's"),
    }
    Ok(())
}

async fn check_tls(connection: &mut Connection, is_local: bool, about: &mut About<'_>) -> QueryResult<()> {
    if matches!(connection, Connection::Sqlite(_)) {
        return Ok(());
    }
    match health::tls(connection).await? {
        Some(cipher) => about.ok("TLS", cipher),
        None if is_local => about.ok("TLS", "none, the database is on this machine"),
        None => about.warn(
            "TLS",
            "messages and password cross the network in the clear",
            match connection {
                Connection::Mysql(_) => "add `?require_ssl=true` to `url`, or set `tls_ca`",
                _ => "add `?sslmode=verify-full` to `url`, with `tls_ca` if the certificate is of your own authority",
            },
        ),
    }
    Ok(())
}

async fn check_durability(connection: &mut Connection, about: &mut About<'_>) -> QueryResult<()> {
    let weak = health::weak_durability(connection).await?;
    match weak.is_empty() {
        true => about.ok("durability", "commits are on disk when they are confirmed"),
        false => about.warn(
            "durability",
            weak.join(", "),
            "set it back to the server's default: the spool releases what the database confirms, and a power failure would lose it",
        ),
    }
    Ok(())
}

async fn check_limits(connection: &mut Connection, about: &mut About<'_>) -> QueryResult<()> {
    if let Some(literals) = health::literals(connection).await? {
        about.ok("literals", format!("{literals}; either is right"));
    }
    match health::largest_packet(connection).await? {
        Some(bytes) if bytes < LEAST_PACKET_BYTES => about.warn(
            "max_allowed_packet",
            format!("{} MiB", bytes >> 20),
            format!("set it to at least {} MiB, or a large stanza ends in quarantine", LEAST_PACKET_BYTES >> 20),
        ),
        Some(bytes) => about.ok("max_allowed_packet", format!("{} MiB", bytes >> 20)),
        None => {}
    }
    Ok(())
}

/// The tables, and what this user may do with them.
async fn check_tables(connection: &mut Connection, about: &mut About<'_>) -> QueryResult<()> {
    match migrations::require_current(connection).await {
        Ok(()) => {
            about.ok("migrations", "current");
            let missing = health::missing_rights(connection).await?;
            tell_rights(&missing, about);
            match audit::is_guarded(connection).await {
                true => about.ok("audit trail", "the database refuses to change it"),
                false => about.warn("audit trail", "the database lets this user change rows of it", migrations::GUARD_ADVICE),
            }
            Ok(())
        }
        Err(error) => {
            tell_schema(&error, about);
            check_right_to_migrate(connection, about).await
        }
    }
}

fn tell_schema(error: &StoreError, about: &mut About<'_>) {
    let said = error.to_string();
    let (found, advice) = match said.rsplit_once(": ") {
        // What the schema lacks and what to do stand on either side of the colon.
        Some((found, advice)) if matches!(error, StoreError::Schema(_)) => (found, advice),
        _ => (said.as_str(), "give this user SELECT on all tables, __diesel_schema_migrations included"),
    };
    about.fail("migrations", found, advice);
}

/// The advice to migrate is of little use to a user who may not.
async fn check_right_to_migrate(connection: &mut Connection, about: &mut About<'_>) -> QueryResult<()> {
    let is_pending = migrations::status(connection).await.is_ok_and(|states| states.iter().any(|state| !state.applied));
    if !is_pending {
        return Ok(());
    }
    if let Some(MissingRight { said, .. }) = health::missing_right_to_create(connection).await? {
        let advice = "run `xmpp-archiver migrate` as a user who may, or give `xmpp-archiver migrate print` to your DBA";
        about.warn("rights", format!("this user can't create tables: {said}"), advice);
    }
    Ok(())
}

fn tell_rights(missing: &[MissingRight], about: &mut About<'_>) {
    let Some(first) = missing.first() else {
        about.ok("rights", "all that archiving needs");
        return;
    };
    let rights: Vec<&str> = missing.iter().map(|missing| missing.right.as_str()).collect();
    about.fail("rights", format!("missing: {} ({})", rights.join(", "), first.said), "GRANT them to this user");
}
