//! What `user`, `group`, `token` and `audit` share, and how other commands write to the audit trail.
//!
//! Whoever runs the program on the machine itself can read the configuration and so the database: nothing is denied here, and all of
//! it is written down as `cli:USER`.

use std::collections::BTreeSet;
use std::io::{self, BufRead, IsTerminal};

use jiff::Zoned;
use jiff::tz::TimeZone;
use secrecy::SecretString;

use super::access_args::{RoleArg, ScopeArgs};
use super::{Failure, connect};
use crate::access::{Access, AccessError, Event, Roles, Scope, Settings, Viewer};
use crate::alarm::Alarms;
use crate::config::Config;
use crate::store::StoreError;

/// Where the names of the system's users are.
const USERS: &str = "/etc/passwd";
/// The most bytes of a password that is read from standard input.
const MOST_PASSWORD_BYTES: u64 = 4 << 10;

/// Makes ready to work with the store of `[web]`, which must be there.
pub(super) fn open(config: &Config) -> Result<Access, Failure> {
    let store = config.store(Some(&config.web.store))?;
    if connect::is_absent(store) {
        return Err(Failure::Runtime(format!("store {}: there is no {} yet: run `xmpp-archiver migrate`", store.name, store.url)));
    }
    Access::open(Settings::from_config(config, Alarms::default())?).map_err(failure)
}

/// What went wrong, by what the caller can do about it.
pub(super) fn failure(error: AccessError) -> Failure {
    match error {
        AccessError::Denied(_) | AccessError::Invalid(_) | AccessError::Missing(_) => Failure::Usage(error.to_string()),
        AccessError::Store(StoreError::Misconfigured(said)) => Failure::Usage(said),
        AccessError::Store(_) | AccessError::Broken(_) => Failure::Runtime(error.to_string()),
    }
}

/// Whoever runs this, as the system calls that person.
pub(super) fn viewer() -> Viewer {
    let number = rustix::process::getuid().as_raw();
    let users = std::fs::read_to_string(USERS).unwrap_or_default();
    let user = name_of(&users, number).unwrap_or_else(|| number.to_string());
    // Who became root by sudo is told beside, which root could forge, and root alone.
    match std::env::var("SUDO_USER") {
        Ok(before) if number == 0 && !before.is_empty() => Viewer::console(&format!("{user}({before})")),
        _ => Viewer::console(&user),
    }
}

fn name_of(users: &str, number: u32) -> Option<String> {
    let mut fields = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let user = fields.find(|fields| fields.get(2).is_some_and(|field| field.parse() == Ok(number)))?;
    user.first().map(|name| (*name).to_owned())
}

/// Writes down what a command is about to show. Where that can't be done (an archive on a read-only disk, a user who may only read) the command goes on and
/// says so: whoever can read the file can read it with other tools as well.
pub(super) async fn note(config: &Config, event: Event) {
    let absent = config.store(Some(&config.web.store)).is_ok_and(connect::is_absent);
    if absent {
        return;
    }
    let noted = match open(config) {
        Ok(access) => access.record(&viewer(), event).await.map_err(failure),
        Err(failure) => Err(failure),
    };
    if let Err(failure) = noted {
        log::warn!("this is not in the audit trail: {failure}");
    }
}

/// The roles that were named.
pub(super) fn roles(args: &[RoleArg]) -> Roles {
    Roles::of(args.iter().map(|arg| arg.role()))
}

/// The scope that was described; none if nothing was said.
pub(super) fn scope(args: &ScopeArgs) -> Result<Option<Scope>, Failure> {
    let now = Zoned::now().with_time_zone(TimeZone::UTC);
    let wrong = |name: &str, error| Failure::Usage(format!("{name} {error}"));
    let from = args.from.as_ref().map(|when| when.begin(&now)).transpose().map_err(|error| wrong("--from", error))?;
    let to = args.to.as_ref().map(|when| when.end(&now)).transpose().map_err(|error| wrong("--to", error))?;
    let set = |entries: &[String]| entries.iter().cloned().collect::<BTreeSet<String>>();
    let scope = Scope { who: set(&args.who), groups: set(&args.group), rooms: set(&args.room), from, to };
    Ok((scope != Scope::default()).then_some(scope))
}

/// Reads a password from the terminal without showing it, twice, or a line of standard input where that is none.
pub(super) fn password(of: &str) -> Result<SecretString, Failure> {
    let unreadable = |error: io::Error| Failure::Usage(format!("no password could be read: {error}"));
    if !io::stdin().is_terminal() {
        let mut line = String::new();
        io::Read::take(io::stdin().lock(), MOST_PASSWORD_BYTES).read_line(&mut line).map_err(unreadable)?;
        return Ok(line.trim_end_matches(['\n', '\r']).to_owned().into());
    }
    let first = rpassword::prompt_password(format!("New password of {of}: ")).map_err(unreadable)?;
    let second = rpassword::prompt_password("The same again: ").map_err(unreadable)?;
    match first == second {
        true => Ok(first.into()),
        false => Err(Failure::Usage("these were two passwords".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_called_as_the_system_calls_them() {
        let users = "root:x:0:0:root:/root:/bin/sh\nbroken\nann:x:1000:1000::/home/ann:/bin/sh\n";
        assert_eq!(name_of(users, 1000).as_deref(), Some("ann"));
        assert_eq!(name_of(users, 7), None);
        assert!(viewer().name().starts_with("cli:"));
    }

    #[test]
    fn nothing_said_is_no_scope() {
        assert_eq!(scope(&ScopeArgs::default()).unwrap(), None);
        let args = ScopeArgs { who: vec!["a@b".to_owned()], from: Some("2026-11-22".parse().unwrap()), ..ScopeArgs::default() };
        let scope = scope(&args).unwrap().unwrap();
        assert_eq!((scope.from, scope.to), (Some(1_795_305_600_000_000), None));
    }
}
