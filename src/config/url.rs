//! Which database a store's URL names, decided by its scheme alone.
//!
//! An unknown scheme is refused and never taken for a file name: a mistyped URL must not create a SQLite file and archive
//! into it unseen. The URL of a server holds a password, so it lies in a [`SecretString`] and is shown without it.

use std::fmt;
use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};
use serde::{Serialize, Serializer};

/// What stands where a secret would stand.
pub(super) const HIDDEN: &str = "(hidden)";

/// The schemes that name a database, for the mistakes' texts.
const SCHEMES: &str = "must begin with one of sqlite:, postgres://, postgresql://, mysql://, mariadb://";

/// The database behind a store.
#[derive(Clone)]
pub enum StoreUrl {
    /// A file on this machine.
    Sqlite(PathBuf),
    /// A PostgreSQL server; the URL as given, its scheme in lower case.
    Postgres(SecretString),
    /// A MySQL or MariaDB server; the URL as given, its scheme always `mysql`.
    Mysql(SecretString),
}

impl StoreUrl {
    /// Reads a URL; the error says what is right and never repeats the URL.
    pub fn parse(text: &str) -> Result<Self, String> {
        let Some((scheme, rest)) = text.split_once(':') else {
            return Err(SCHEMES.to_owned());
        };
        match scheme.to_ascii_lowercase().as_str() {
            "sqlite" => sqlite(rest).map(Self::Sqlite),
            "postgres" | "postgresql" => server("postgres", rest, false).map(Self::Postgres),
            "mysql" | "mariadb" => server("mysql", rest, true).map(Self::Mysql),
            _ => Err(SCHEMES.to_owned()),
        }
    }

    /// The name of the database system.
    pub fn backend(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "sqlite",
            Self::Postgres(_) => "postgres",
            Self::Mysql(_) => "mysql",
        }
    }

    /// True if the URL itself holds a password.
    pub fn holds_password(&self) -> bool {
        match self {
            Self::Sqlite(_) => false,
            Self::Postgres(url) | Self::Mysql(url) => redact(url.expose_secret()) != url.expose_secret(),
        }
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Postgres(url) | Self::Mysql(url) => f.write_str(&redact(url.expose_secret())),
        }
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreUrl({self})")
    }
}

impl Serialize for StoreUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The path in `sqlite:PATH`, `sqlite://PATH` and `sqlite:///PATH`.
fn sqlite(rest: &str) -> Result<PathBuf, String> {
    let path = rest.strip_prefix("//").unwrap_or(rest);
    match path {
        "" => Err("names no file: must be sqlite:PATH".to_owned()),
        ":memory:" => Err("must name a file: an archive in memory is lost at the end".to_owned()),
        // SQLite itself would take these as a URI with options.
        _ if path.starts_with("file:") || path.contains('?') => Err("must be sqlite:PATH, a plain path without options".to_owned()),
        _ if path.contains('\0') => Err("must not hold a NUL character".to_owned()),
        _ => Ok(PathBuf::from(path)),
    }
}

/// The URL of a server under the scheme that its driver knows.
fn server(scheme: &str, rest: &str, needs_database: bool) -> Result<SecretString, String> {
    let shape = || format!("must be {scheme}://USER:PASSWORD@HOST:PORT/DATABASE");
    let rest = rest.strip_prefix("//").ok_or_else(shape)?;
    let (user, after_user) = rest.rsplit_once('@').unwrap_or(("", rest));
    let must_be_escaped = |c: char| "@/?#".contains(c) || c.is_whitespace() || c.is_control();
    if user.contains(must_be_escaped) || after_user.contains(char::is_whitespace) {
        return Err(format!(
            "{}; inside the password and the options write @ as %40, / as %2F, ? as %3F, # as %23, a space as %20",
            shape()
        ));
    }
    let (place, options) = after_user.split_once('?').unwrap_or((after_user, ""));
    let (hosts, database) = place.split_once('/').unwrap_or((place, ""));
    // `postgres:///db?host=/run/postgresql` is the way to a socket.
    let by_option = !needs_database && options.contains("host=");
    let incomplete = hosts.is_empty() || (needs_database && database.is_empty());
    if (incomplete && !by_option) || !hosts.split(',').all(port_is_number) {
        return Err(shape());
    }
    Ok(format!("{scheme}://{rest}").into())
}

/// A password without its host (`postgres://me:secret`) must not pass for a host with a port, and so be shown.
fn port_is_number(host: &str) -> bool {
    let after_address = host.rsplit_once(']').map_or(host, |(_, after)| after);
    match after_address.split_once(':') {
        Some((_, port)) => port.parse::<u16>().is_ok(),
        None => true,
    }
}

/// A checked URL without its password: what follows the user's name, and each option that may be one.
fn redact(url: &str) -> String {
    let (head, options) = match url.split_once('?') {
        Some((head, options)) => (head, Some(options)),
        None => (url, None),
    };
    let mut shown = redact_user(head);
    if let Some(options) = options {
        let options: Vec<String> = options.split('&').map(redact_option).collect();
        shown.push('?');
        shown.push_str(&options.join("&"));
    }
    shown
}

fn redact_user(head: &str) -> String {
    let (scheme, rest) = head.split_once("://").unwrap_or(("", head));
    let Some((user, host)) = rest.rsplit_once('@') else {
        return head.to_owned();
    };
    match user.split_once(':') {
        Some((name, _)) => format!("{scheme}://{name}:{HIDDEN}@{host}"),
        None => head.to_owned(),
    }
}

/// An option named like a password, or with an escaped name that might spell one, loses its value.
fn redact_option(option: &str) -> String {
    match option.split_once('=') {
        Some((name, _)) if name.to_ascii_lowercase().contains("pass") || name.contains('%') => {
            format!("{name}={HIDDEN}")
        }
        _ => option.to_owned(),
    }
}

/// What of a URL that is a mistake can be repeated: a path, or else the scheme.
pub(super) fn repeatable(url: &str) -> String {
    match url.split_once(':') {
        Some((scheme, _)) if scheme.eq_ignore_ascii_case("sqlite") => url.to_owned(),
        Some((scheme, _)) if scheme.chars().all(|c| c.is_ascii_alphanumeric()) => {
            format!("{scheme}:{HIDDEN}")
        }
        _ => HIDDEN.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        StoreUrl::parse(text).map_or_else(|error| error, |url| url.to_string())
    }

    #[test]
    fn each_scheme_names_its_database() {
        for (text, expected) in [
            ("sqlite:archive.sqlite", "sqlite:archive.sqlite"),
            ("sqlite://archive.sqlite", "sqlite:archive.sqlite"),
            ("sqlite:///var/lib/a.sqlite", "sqlite:/var/lib/a.sqlite"),
            ("SQLite:/var/lib/a.sqlite", "sqlite:/var/lib/a.sqlite"),
            ("postgresql://db/archive", "postgres://db/archive"),
            ("Postgres://db:5432", "postgres://db:5432"),
            ("postgres:///a?host=/run/postgresql", "postgres:///a?host=/run/postgresql"),
            ("mariadb://me@db/archive", "mysql://me@db/archive"),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["archive.sqlite", "postgress://db/archive", "sqlite3:a", "oracle://db/a", "", "C:\\a"] {
            assert_eq!(shown(text), SCHEMES, "{text}");
        }
        for text in [
            "sqlite:",
            "sqlite://",
            "sqlite::memory:",
            "sqlite:file:a.db",
            "sqlite:a.db?mode=ro",
            "postgres:db",
            "postgres://",
            "postgres:///a",
            "postgres://u:p w@db/a",
            "postgres://u:p@w@db/a",
            "postgres://u:p/w@db/a",
            "postgres://u:p?w@db/a",
            "postgres://db/a?password=p@w",
            "postgres://u:secret",
            "postgres://[::1]:x/a",
            "mysql://db",
            "mysql:///a",
        ] {
            assert!(StoreUrl::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn no_password_is_shown() {
        for text in [
            "postgres://me:hunter2@db/archive",
            "postgres://me:a:hunter2@db/archive",
            "postgres://me:hunter2@db/a?sslpassword=hunter2",
            "postgres://db/a?user=me&password=hunter2",
            "postgres://db/a?p%61ssword=hunter2",
            "mysql://me:hunter2@db/archive",
        ] {
            let url = StoreUrl::parse(text).unwrap();
            assert!(url.holds_password(), "{text}");
            for shown in [url.to_string(), format!("{url:?}"), format!("{:?}", [&url, &url])] {
                assert!(!shown.contains("hunter2"), "{shown}");
            }
        }
        assert!(!StoreUrl::parse("postgres://me@db/a").unwrap().holds_password());
        assert_eq!(shown("postgres://me:x@db/a?sslmode=require"), "postgres://me:(hidden)@db/a?sslmode=require");
    }
}
