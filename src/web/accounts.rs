//! Accounts: who there is, making and changing them. For those who manage accounts and never read messages.

use askama::Template;
use axum::response::Response;
use secrecy::SecretString;

use super::account::{Pass, Sitting, pass, sitting};
use super::caller::{Caller, Posted};
use super::clock::Shown;
use super::find;
use super::frame::{Frame, Place, page};
use super::params::{Params, link};
use super::scopes::{self, RoleChoice, ScopeForm};
use super::text;
use super::trouble::{Trouble, see_other};
use crate::access::{Account, AccountChange, Action, NewAccount, Permission, Roles, Scope};

struct Entry {
    name: String,
    display_name: String,
    roles: String,
    state: &'static str,
    signed_in: Option<Shown>,
    has_totp: bool,
    href: String,
}

struct GroupEntry {
    name: String,
    members: usize,
    href: String,
}

#[derive(Template)]
#[template(path = "accounts.html")]
struct AccountsPage {
    frame: Frame,
    accounts: Vec<Entry>,
    groups: Vec<GroupEntry>,
}

#[derive(Template)]
#[template(path = "account-new.html")]
struct NewPage {
    frame: Frame,
    mistake: Option<String>,
    name: String,
    display_name: String,
    oidc_subject: String,
    choices: Vec<RoleChoice>,
    scope: ScopeForm,
    reason: String,
}

#[derive(Template)]
#[template(path = "account-other.html")]
struct OtherPage {
    frame: Frame,
    mistake: Option<String>,
    name: String,
    display_name: String,
    oidc_subject: String,
    has_totp: bool,
    is_disabled: bool,
    is_locked: bool,
    is_own: bool,
    created: Shown,
    changed: Shown,
    signed_in: Option<Shown>,
    choices: Vec<RoleChoice>,
    scope: ScopeForm,
    sessions: Vec<Sitting>,
    tokens: Vec<Pass>,
}

/// The page of an account.
pub(super) fn path(name: &str, done: &str) -> String {
    link("/accounts/one", &[("name", name), ("done", done)])
}

fn state(account: &Account, now: i64) -> &'static str {
    match account {
        account if account.disabled => "disabled",
        account if account.locked_until.is_some_and(|until| until > now) => "locked",
        account if account.must_change => "must change the password",
        _ => "in use",
    }
}

/// `GET /accounts`.
pub(super) async fn list(caller: Caller) -> Response {
    let result = make(&caller).await;
    caller.answer(result)
}

async fn make(caller: &Caller) -> Result<Response, Trouble> {
    allowed(caller).await?;
    let now = caller.app.access.now();
    let entry = |account: Account| Entry {
        state: state(&account, now),
        name: text::name(&account.name),
        display_name: text::name(&account.display_name),
        roles: account.roles.to_string(),
        signed_in: account.signed_in_at.map(|at| caller.clock.full(at)),
        has_totp: account.has_totp,
        href: path(&account.name, ""),
    };
    let accounts = caller.app.access.accounts(caller.viewer()).await?;
    let groups = caller.app.access.groups(caller.viewer()).await?;
    page(&AccountsPage {
        frame: caller.frame(Place::Accounts, "Accounts"),
        accounts: accounts.into_iter().map(entry).collect(),
        groups: groups
            .iter()
            .map(|(name, members)| GroupEntry { name: text::name(name), members: members.len(), href: super::groups::path(name, "") })
            .collect(),
    })
}

/// Looking at accounts is no row of the audit trail; that somebody may not is.
pub(super) async fn allowed(caller: &Caller) -> Result<(), Trouble> {
    caller.require(Permission::ManageAccounts, Action::AccountChange, serde_json::Value::Null).await
}

/// `GET /accounts/new`.
pub(super) async fn new(caller: Caller) -> Response {
    let result = match allowed(&caller).await {
        Ok(()) => new_page(&caller, &Params::default(), None),
        Err(trouble) => Err(trouble),
    };
    caller.answer(result)
}

fn new_page(caller: &Caller, form: &Params, mistake: Option<String>) -> Result<Response, Trouble> {
    page(&NewPage {
        frame: caller.frame(Place::Accounts, "Make an account"),
        mistake,
        name: form.text("name"),
        display_name: form.text("display_name"),
        oidc_subject: form.text("oidc_subject"),
        choices: scopes::choices(scopes::roles(form).unwrap_or_default()),
        scope: ScopeForm::given(form),
        reason: form.text("reason"),
    })
}

/// `POST /accounts/new`.
pub(super) async fn add(posted: Posted) -> Response {
    let caller = &posted.caller;
    let result = match make_new(caller, &posted.form).await {
        Ok(account) => Ok(see_other(&path(&account.name, "added"))),
        Err(Trouble::Wrong(said)) => new_page(caller, &posted.form, Some(said)),
        Err(other) => Err(other),
    };
    caller.answer(result)
}

async fn make_new(caller: &Caller, form: &Params) -> Result<Account, Trouble> {
    allowed(caller).await?;
    let scope = find::scope(form, &caller.clock)?;
    let password = form.exact("password");
    let account = NewAccount {
        name: form.text("name"),
        display_name: form.text("display_name"),
        roles: scopes::roles(form)?,
        scope: (scope != Scope::default()).then_some(scope),
        password: (!password.is_empty()).then(|| SecretString::from(password.to_owned())),
        must_change: true,
        oidc_subject: form.get("oidc_subject").map(str::to_owned),
    };
    Ok(caller.app.access.add_account(caller.viewer(), account, reason(form)).await?)
}

fn reason(form: &Params) -> Option<String> {
    form.get("reason").map(str::to_owned)
}

/// `GET /accounts/one`.
pub(super) async fn show(caller: Caller) -> Response {
    let name = caller.params.text("name");
    let result = match allowed(&caller).await {
        Ok(()) => other_page(&caller, &name, None).await,
        Err(trouble) => Err(trouble),
    };
    caller.answer(result)
}

async fn other_page(caller: &Caller, name: &str, mistake: Option<String>) -> Result<Response, Trouble> {
    let (access, viewer, clock) = (&caller.app.access, caller.viewer(), &caller.clock);
    let account = access.account(viewer, name).await?;
    let sessions = access.sessions_of(viewer, &account.name).await?;
    let tokens = access.tokens(viewer, Some(&account.name)).await?;
    page(&OtherPage {
        frame: caller.frame(Place::Accounts, format!("Account {}", text::name(&account.name))),
        mistake,
        display_name: account.display_name,
        oidc_subject: account.oidc_subject.unwrap_or_default(),
        has_totp: account.has_totp,
        is_disabled: account.disabled,
        is_locked: account.locked_until.is_some_and(|until| until > access.now()),
        is_own: account.name == viewer.name(),
        created: clock.full(account.created_at),
        changed: clock.full(account.changed_at),
        signed_in: account.signed_in_at.map(|at| clock.full(at)),
        choices: scopes::choices(account.roles),
        scope: ScopeForm::of(account.scope.as_ref(), clock),
        sessions: sessions.into_iter().map(|info| sitting(clock, info)).collect(),
        tokens: tokens.into_iter().map(|token| pass(clock, token)).collect(),
        name: account.name,
    })
}

/// `POST /accounts/one`.
pub(super) async fn change(posted: Posted) -> Response {
    let caller = &posted.caller;
    let name = posted.form.text("name");
    let result = match make_change(caller, &posted.form, &name).await {
        Ok(done) => Ok(see_other(&path(&name, done))),
        Err(Trouble::Wrong(said)) => other_page(caller, &name, Some(said)).await,
        Err(other) => Err(other),
    };
    caller.answer(result)
}

async fn make_change(caller: &Caller, form: &Params, name: &str) -> Result<&'static str, Trouble> {
    allowed(caller).await?;
    let access = &caller.app.access;
    let (change, done) = match form.get("change").unwrap_or_default() {
        "roles" => (AccountChange::Roles(roles(form)?), "account"),
        "scope" => (AccountChange::Scope(find::scope(form, &caller.clock)?), "account"),
        "name" => (AccountChange::DisplayName(form.text("display_name")), "account"),
        "subject" => (AccountChange::OidcSubject(form.get("oidc_subject").map(str::to_owned)), "account"),
        "password" => (AccountChange::Password(SecretString::from(form.exact("password").to_owned()), true), "reset"),
        "totp" => (AccountChange::NoTotp, "account"),
        "disable" => (AccountChange::Disable, "disabled"),
        "enable" => (AccountChange::Enable, "enabled"),
        "unlock" => (AccountChange::Unlock, "unlocked"),
        "sessions" => {
            access.end_sessions(caller.viewer(), name).await?;
            return Ok("sessions");
        }
        other => return Err(Trouble::Wrong(format!("There is no change “{other}”."))),
    };
    access.change_account(caller.viewer(), name, change, reason(form)).await?;
    Ok(done)
}

fn roles(form: &Params) -> Result<Roles, Trouble> {
    scopes::roles(form)
}
