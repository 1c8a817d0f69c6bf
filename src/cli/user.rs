//! `user` and `group`: accounts and groups of people.

use serde_json::{Value, json};

use super::access::{failure, open, password, roles, scope, viewer};
use super::access_args::{GroupAction, GroupArgs, ReasonArgs, UserAction, UserArgs};
use super::args::ReportFormat;
use super::connect::block_on;
use super::{Failure, output, table};
use crate::access::{Access, Account, AccountChange, Groups, NewAccount, Roles, Scope, SessionInfo, Token, Viewer};
use crate::config::Config;
use crate::time::{Micros, rfc3339};

/// Runs `user`.
pub fn execute(config: &Config, args: UserArgs) -> Result<(), Failure> {
    let (access, viewer) = (open(config)?, viewer());
    match args.action {
        UserAction::List { format } => block_on(list(&access, &viewer, format)),
        UserAction::Show { name, format } => block_on(show(&access, &viewer, &name, format)),
        UserAction::Add { name, role, display_name, oidc, password: with_password, must_change, scope: who, reason } => {
            let wants_password = oidc.is_none() || with_password;
            let account = NewAccount {
                display_name: display_name.unwrap_or_default(),
                roles: roles(&role),
                scope: scope(&who)?,
                password: if wants_password { Some(password(&name)?) } else { None },
                must_change,
                oidc_subject: oidc,
                name,
            };
            block_on(add(&access, &viewer, account, reason))
        }
        UserAction::Totp { name, remove: false, .. } => block_on(give_totp(&access, &viewer, &name)),
        UserAction::SignOut { name } => block_on(async {
            let ended = access.end_sessions(&viewer, &name).await.map_err(failure)?;
            output::print(&format!("{name}: {ended} sessions ended\n"))
        }),
        other => {
            let (name, change, reason) = change(other)?;
            block_on(make(&access, &viewer, &name, change, reason))
        }
    }
}

/// What is changed, of whom, and why.
fn change(action: UserAction) -> Result<(String, AccountChange, ReasonArgs), Failure> {
    Ok(match action {
        UserAction::SetRole { name, role, reason } => (name, AccountChange::Roles(roles(&role)), reason),
        UserAction::SetScope { name, scope: who, reason } => (name, AccountChange::Scope(scope(&who)?.unwrap_or_default()), reason),
        UserAction::SetPassword { name, must_change, reason } => {
            let password = password(&name)?;
            (name, AccountChange::Password(password, must_change), reason)
        }
        UserAction::SetSubject { name, subject, reason } => (name, AccountChange::OidcSubject(subject), reason),
        UserAction::Rename { name, display_name, reason } => (name, AccountChange::DisplayName(display_name), reason),
        UserAction::Totp { name, reason, .. } => (name, AccountChange::NoTotp, reason),
        UserAction::Disable { name, reason } => (name, AccountChange::Disable, reason),
        UserAction::Enable { name, reason } => (name, AccountChange::Enable, reason),
        UserAction::Unlock { name, reason } => (name, AccountChange::Unlock, reason),
        UserAction::Add { .. } | UserAction::List { .. } | UserAction::Show { .. } | UserAction::SignOut { .. } => {
            return Err(Failure::Usage("this changes no account".to_owned()));
        }
    })
}

async fn make(access: &Access, viewer: &Viewer, name: &str, change: AccountChange, reason: ReasonArgs) -> Result<(), Failure> {
    access.change_account(viewer, name, change, reason.reason).await.map_err(failure)?;
    let account = access.account(viewer, name).await.map_err(failure)?;
    output::print(&as_table(&[account]))
}

async fn add(access: &Access, viewer: &Viewer, account: NewAccount, reason: ReasonArgs) -> Result<(), Failure> {
    let account = access.add_account(viewer, account, reason.reason).await.map_err(failure)?;
    output::print(&as_table(&[account]))
}

async fn give_totp(access: &Access, viewer: &Viewer, name: &str) -> Result<(), Failure> {
    use secrecy::ExposeSecret;
    let (offer, recovery) = access.set_totp(viewer, name).await.map_err(failure)?;
    let mut text = format!("Type this secret into the app, or make a picture of the address below it:\n{}\n", offer.secret.expose_secret());
    text.push_str(&format!("{}\n\nEach of these is good once in place of a code:\n", offer.url.expose_secret()));
    recovery.0.iter().for_each(|code| text.push_str(&format!("{}\n", code.expose_secret())));
    text.push_str("\nNone of this is shown again.\n");
    output::print(&text)
}

async fn list(access: &Access, viewer: &Viewer, format: ReportFormat) -> Result<(), Failure> {
    let accounts = access.accounts(viewer).await.map_err(failure)?;
    match format {
        ReportFormat::Table => output::print(&as_table(&accounts)),
        ReportFormat::Json => output::print(&format!("{}\n", accounts.iter().map(as_json).collect::<Value>())),
    }
}

async fn show(access: &Access, viewer: &Viewer, name: &str, format: ReportFormat) -> Result<(), Failure> {
    let account = access.account(viewer, name).await.map_err(failure)?;
    let sessions = access.sessions_of(viewer, name).await.map_err(failure)?;
    let tokens = access.tokens(viewer, Some(name)).await.map_err(failure)?;
    match format {
        ReportFormat::Table => output::print(&described(&account, &sessions, &tokens)),
        ReportFormat::Json => {
            let mut object = as_json(&account);
            let sessions = sessions.iter().map(session_json).collect::<Value>();
            let tokens = tokens.iter().map(super::token::as_json).collect::<Value>();
            if let Some(map) = object.as_object_mut() {
                map.insert("sessions".to_owned(), sessions);
                map.insert("tokens".to_owned(), tokens);
            }
            output::print(&format!("{object}\n"))
        }
    }
}

/// Accounts as people read them.
fn as_table(accounts: &[Account]) -> String {
    if accounts.is_empty() {
        return "There is no account yet: `xmpp-archiver user add` makes the first.\n".to_owned();
    }
    let headings = ["NAME", "FOR PEOPLE", "ROLES", "SCOPE", "STATE", "SECOND FACTOR", "LAST SIGNED IN"];
    table::render(headings, accounts.iter().map(row))
}

fn row(account: &Account) -> [String; 7] {
    [
        account.name.clone(),
        account.display_name.clone(),
        named(account.roles),
        account.scope.as_ref().map(in_words).unwrap_or_default(),
        state(account),
        if account.has_totp { "yes" } else { "no" }.to_owned(),
        account.signed_in_at.map(rfc3339).unwrap_or_default(),
    ]
}

fn named(roles: Roles) -> String {
    if roles.is_empty() { "none".to_owned() } else { roles.to_string() }
}

fn state(account: &Account) -> String {
    match account.locked_until {
        _ if account.disabled => "disabled".to_owned(),
        Some(Micros::MAX) => "locked until it is unlocked".to_owned(),
        Some(until) if until > crate::time::now() => format!("locked until {}", rfc3339(until)),
        _ if account.must_change => "must change the password".to_owned(),
        _ => "in force".to_owned(),
    }
}

/// A scope as people read it.
pub(super) fn in_words(scope: &Scope) -> String {
    let groups = scope.groups.iter().map(|group| format!("group {group}"));
    let mut parts: Vec<String> =
        scope.who.iter().cloned().chain(groups).chain(scope.rooms.iter().map(|room| format!("room {room}"))).collect();
    if parts.is_empty() {
        parts.push("nobody".to_owned());
    }
    parts.extend(scope.from.map(|from| format!("from {}", rfc3339(from))));
    parts.extend(scope.to.map(|to| format!("before {}", rfc3339(to))));
    parts.join(", ")
}

fn as_json(account: &Account) -> Value {
    json!({
        "id": account.id,
        "name": account.name,
        "display_name": account.display_name,
        "roles": account.roles.iter().map(|role| role.word()).collect::<Value>(),
        "scope": account.scope.as_ref().map(scope_json),
        "has_password": account.has_password,
        "must_change": account.must_change,
        "has_totp": account.has_totp,
        "oidc_subject": account.oidc_subject,
        "disabled": account.disabled,
        "failures": account.failures,
        "locked_until": account.locked_until.map(rfc3339),
        "created_at": rfc3339(account.created_at),
        "changed_at": rfc3339(account.changed_at),
        "signed_in_at": account.signed_in_at.map(rfc3339),
    })
}

/// A scope with its times as programs read them.
pub(super) fn scope_json(scope: &Scope) -> Value {
    json!({ "who": scope.who, "groups": scope.groups, "rooms": scope.rooms, "from": scope.from.map(rfc3339), "to": scope.to.map(rfc3339) })
}

fn session_json(session: &SessionInfo) -> Value {
    json!({
        "created_at": rfc3339(session.created_at),
        "used_at": rfc3339(session.used_at),
        "expires_at": rfc3339(session.expires_at),
        "address": session.address,
    })
}

fn described(account: &Account, sessions: &[SessionInfo], tokens: &[Token]) -> String {
    let yes = |is_so: bool| if is_so { "yes" } else { "no" }.to_owned();
    let mut rows = vec![
        ["for people".to_owned(), account.display_name.clone()],
        ["roles".to_owned(), named(account.roles)],
        ["scope".to_owned(), account.scope.as_ref().map_or_else(|| "none was set: nobody".to_owned(), in_words)],
        ["state".to_owned(), state(account)],
        ["password".to_owned(), yes(account.has_password)],
        ["second factor".to_owned(), yes(account.has_totp)],
        ["subject at the provider".to_owned(), account.oidc_subject.clone().unwrap_or_default()],
        ["failures in a row".to_owned(), account.failures.to_string()],
        ["made".to_owned(), rfc3339(account.created_at)],
        ["last changed".to_owned(), rfc3339(account.changed_at)],
        ["last signed in".to_owned(), account.signed_in_at.map(rfc3339).unwrap_or_default()],
    ];
    for session in sessions {
        let from = session.address.as_deref().unwrap_or("?");
        rows.push([
            "session".to_owned(),
            format!("from {from}, since {}, last used {}", rfc3339(session.created_at), rfc3339(session.used_at)),
        ]);
    }
    for token in tokens {
        rows.push(["token".to_owned(), format!("{} {} ({})", token.id, token.name, super::token::state(token))]);
    }
    table::render([&format!("Account {}", account.name), ""], rows)
}

/// Runs `group`.
pub fn execute_group(config: &Config, args: GroupArgs) -> Result<(), Failure> {
    let (access, viewer) = (open(config)?, viewer());
    block_on(async {
        match args.action {
            GroupAction::List { format } => list_groups(&access.groups(&viewer).await.map_err(failure)?, format),
            GroupAction::Set { name, members, reason } => {
                let members = members.into_iter().collect();
                access.set_group(&viewer, &name, members, reason.reason).await.map_err(failure)?;
                output::print(&format!("group {name} is set\n"))
            }
            GroupAction::Remove { name, reason } => {
                access.remove_group(&viewer, &name, reason.reason).await.map_err(failure)?;
                output::print(&format!("group {name} is removed\n"))
            }
        }
    })
}

fn list_groups(groups: &Groups, format: ReportFormat) -> Result<(), Failure> {
    match format {
        ReportFormat::Json => output::print(&format!("{}\n", json!(groups))),
        ReportFormat::Table if groups.is_empty() => output::print("There is no group.\n"),
        ReportFormat::Table => {
            let rows = groups.iter().map(|(name, members)| [name.clone(), members.iter().cloned().collect::<Vec<_>>().join(", ")]);
            output::print(&table::render(["GROUP", "MEMBERS"], rows))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_written_for_people_and_programs() {
        let account = Account {
            id: 1,
            name: "ann".to_owned(),
            display_name: "Ann Smith".to_owned(),
            roles: Roles::of([crate::access::Role::Reviewer]),
            scope: Some(Scope { who: ["bob@example.com".to_owned()].into(), from: Some(1_795_332_535_173_794), ..Scope::default() }),
            has_password: true,
            must_change: false,
            has_totp: false,
            oidc_subject: None,
            disabled: false,
            failures: 0,
            locked_until: Some(Micros::MAX),
            created_at: 1_795_332_535_173_794,
            changed_at: 1_795_332_535_173_794,
            signed_in_at: None,
        };
        let text = as_table(std::slice::from_ref(&account));
        assert!(
            text.contains("Ann Smith") && text.contains("reviewer") && text.contains("bob@example.com, from 2026-11-22T07:28:55"),
            "{text}"
        );
        assert!(text.contains("until it is unlocked"), "{text}");
        assert_eq!(as_json(&account)["scope"]["from"], "2026-11-22T07:28:55.173794Z");
        assert!(described(&account, &[], &[]).contains("Account ann"));
        assert_eq!(in_words(&Scope::default()), "nobody");
        assert!(as_table(&[]).contains("user add"));
    }
}
