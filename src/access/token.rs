//! Tokens of the API: `Authorization: Bearer xa_…`.
//!
//! A token belongs to an account and can do no more than it: of its roles those that the token was given, within its scope what the
//! token was given of it. Both are looked up anew with each request.

use std::collections::HashMap;
use std::net::IpAddr;

use secrecy::SecretString;
use serde_json::json;

use super::audit::{Action, Event};
use super::change::{self, By, folded, named, scope_of, words, written};
use super::crypt::{self, sha256};
use super::role::{Permission, Role, Roles};
use super::scope::{Groups, Reach, Scope};
use super::viewer::{Viewer, Way, reach_of};
use super::{Access, AccessError};
use crate::store::access::rows::{AccountRow, TokenRow};
use crate::store::access::{accounts, tokens};
use crate::time::{Micros, SECOND, rfc3339};

/// The most bytes of a text that can be a token.
const MOST_BYTES: usize = 100;
/// The most bytes of a token's name.
pub const MAX_NAME_BYTES: usize = 200;
/// The use of a token is noted so often.
const TOUCH: Micros = 60 * SECOND;

/// What every token begins with, so that one that leaked can be searched for.
pub const PREFIX: &str = "xa_";

/// A token, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Its number.
    pub id: i64,
    /// The name of the account.
    pub account: String,
    /// What it is for.
    pub name: String,
    /// The roles that it was given.
    pub roles: Roles,
    /// The scope that it was given, if it has one of its own.
    pub scope: Option<Scope>,
    /// When it was made.
    pub created_at: Micros,
    /// When it ends.
    pub expires_at: Option<Micros>,
    /// When it was last used, to about a minute.
    pub used_at: Option<Micros>,
    /// When it was revoked.
    pub revoked_at: Option<Micros>,
}

/// A token to be made.
#[derive(Clone, Debug, Default)]
pub struct NewToken {
    /// What it is for.
    pub name: String,
    /// Roles of the account; empty: all that it has at each moment.
    pub roles: Roles,
    /// Within the account's scope; none: all of it.
    pub scope: Option<Scope>,
    /// When it ends.
    pub expires_at: Option<Micros>,
}

impl Access {
    /// Who a token stands for; none if it is unknown, revoked or over, or its account disabled. `token` is what follows `Bearer `.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn bearer(&self, token: &str, address: Option<IpAddr>) -> Result<Option<Viewer>, AccessError> {
        if !token.starts_with(PREFIX) || token.len() > MOST_BYTES {
            return Ok(None);
        }
        let hash = sha256(token.as_bytes());
        let now = self.now();
        self.ask(async move |connection| {
            let Some(row) = tokens::by_hash(connection, &hash).await? else { return Ok(None) };
            let is_over = row.revoked_at.is_some() || row.expires_at.is_some_and(|expires| expires <= now);
            let account = accounts::get(connection, row.account_id).await?;
            let Some(account) = account.filter(|account| account.disabled == 0 && !is_over) else { return Ok(None) };
            if row.used_at.is_none_or(|used| now - used >= TOUCH) {
                tokens::touch(connection, row.id, now).await?;
            }
            let groups = change::groups(connection).await?;
            narrowed(&account, &row, &groups, address).map(Some)
        })
        .await
    }

    /// The tokens of an account, the own one or, for those who manage accounts, any; without a name, all.
    ///
    /// # Errors
    /// When it is not allowed, or the store fails.
    pub async fn tokens(&self, viewer: &Viewer, account: Option<&str>) -> Result<Vec<Token>, AccessError> {
        let name = match account {
            Some(name) => Some(self.own_or_managed(viewer, name)?),
            None => {
                viewer.require(Permission::ManageAccounts)?;
                None
            }
        };
        self.ask(async move |connection| {
            let of = match name {
                Some(name) => Some(named(connection, &name).await?.id),
                None => None,
            };
            let names: HashMap<i64, String> = accounts::all(connection).await?.into_iter().map(|row| (row.id, row.name)).collect();
            tokens::list(connection, of).await?.iter().map(|row| token_of(row, names.get(&row.account_id))).collect()
        })
        .await
    }

    /// Makes a token for the own account (at the command line, for any). Its text is shown this once.
    ///
    /// # Errors
    /// When what is asked for is more than the account has, or the store fails.
    pub async fn add_token(&self, viewer: &Viewer, account: &str, token: NewToken) -> Result<(Token, SecretString), AccessError> {
        let account = folded(account);
        let is_own = account == viewer.name() && matches!(viewer.way(), Way::Password | Way::Provider) && !viewer.must_change_password();
        if !is_own && viewer.way() != Way::Console {
            return Err(AccessError::Invalid("everybody makes the own tokens, after signing in".to_owned()));
        }
        let token = checked(token, self.now())?;
        let text = format!("{PREFIX}{}", crypt::random_text()?);
        let hash = sha256(text.as_bytes()).to_vec();
        let by = By::viewer(viewer, None, self.now());
        let made = self
            .change(async move |connection| {
                let account = named(connection, &account).await?;
                let row = row_of(&account, &token, hash, by.now)?;
                let groups = change::groups(connection).await?;
                refuse_what_reaches_nothing(&account, &row, &groups)?;
                let row = TokenRow { id: tokens::insert(connection, &row).await?, ..row };
                let target = json!({
                    "account": account.name, "token": row.id, "name": row.name, "roles": words(token.roles), "scope": token.scope,
                    "expires_at": row.expires_at.map(rfc3339),
                });
                by.note(connection, Event::new(Action::TokenAdd, target)).await?;
                token_of(&row, Some(&account.name))
            })
            .await?;
        Ok((made, text.into()))
    }

    /// Revokes a token for good: of the own account or, for those who manage accounts, any.
    ///
    /// # Errors
    /// As [`Access::tokens`].
    pub async fn revoke_token(&self, viewer: &Viewer, id: i64) -> Result<(), AccessError> {
        let by = By::viewer(viewer, None, self.now());
        let missing = move || AccessError::Missing(format!("there is no token {id}"));
        let owner = self.ask(async move |connection| Ok(tokens::get(connection, id).await?.ok_or_else(missing)?.account_id)).await?;
        if owner != viewer.account() {
            self.require(viewer, Permission::ManageAccounts, Action::TokenRevoke, &json!({ "token": id })).await?;
        }
        self.change(async move |connection| {
            let row = tokens::get(connection, id).await?.ok_or_else(missing)?;
            if !tokens::revoke(connection, id, by.now).await? {
                return Err(AccessError::Invalid(format!("token {id} was revoked already")));
            }
            let account = accounts::get(connection, row.account_id).await?.map(|account| account.name);
            let target = json!({ "account": account, "token": id, "name": row.name });
            by.note(connection, Event::new(Action::TokenRevoke, target)).await
        })
        .await
    }
}

/// What is left of an account for a token.
fn narrowed(account: &AccountRow, row: &TokenRow, groups: &Groups, address: Option<IpAddr>) -> Result<Viewer, AccessError> {
    let mut viewer = change::viewer_of(account, groups, Way::Token, address)?;
    let given = Roles::of_number(row.roles);
    if !given.is_empty() {
        viewer.roles = viewer.roles.and(given);
        // A token of an officer that was made a reviewer is within the scope of the account.
        let scope = scope_of(account.scope.as_ref())?.unwrap_or_default();
        viewer.reach = reach_of(viewer.roles, || match Roles::of_number(account.roles).has(Role::Officer) {
            true => Reach::Everything,
            false => Reach::within(scope.resolved(groups)),
        });
    }
    if let Some(scope) = scope_of(row.scope.as_ref())? {
        viewer.reach = viewer.reach.narrowed(&scope.resolved(groups));
    }
    viewer.display_name = format!("{} ({})", account.display_name, row.name);
    Ok(viewer)
}

fn checked(mut token: NewToken, now: Micros) -> Result<NewToken, AccessError> {
    token.name = token.name.trim().to_owned();
    let wrong = match () {
        () if token.name.is_empty() || token.name.len() > MAX_NAME_BYTES => format!("a token has a name of up to {MAX_NAME_BYTES} bytes"),
        () if token.name.chars().any(char::is_control) => "a token's name has no control characters".to_owned(),
        () if token.expires_at.is_some_and(|expires| expires <= now) => "the token would be over already".to_owned(),
        () => {
            token.scope = token.scope.map(|scope| scope.checked()).transpose().map_err(AccessError::Invalid)?;
            return Ok(token);
        }
    };
    Err(AccessError::Invalid(wrong))
}

fn row_of(account: &AccountRow, token: &NewToken, hash: Vec<u8>, now: Micros) -> Result<TokenRow, AccessError> {
    let missing = Roles::of(token.roles.iter().filter(|role| !Roles::of_number(account.roles).has(*role)));
    if !missing.is_empty() {
        return Err(AccessError::Invalid(format!("{} is not {missing}, so no token of it can be", account.name)));
    }
    Ok(TokenRow {
        id: 0,
        account_id: account.id,
        created_at: now,
        expires_at: token.expires_at,
        used_at: None,
        revoked_at: None,
        roles: token.roles.number(),
        hash,
        name: token.name.clone(),
        scope: written(token.scope.as_ref())?,
    })
}

/// A scope of its own of which the account has nothing is a mistake that nobody would find otherwise.
fn refuse_what_reaches_nothing(account: &AccountRow, row: &TokenRow, groups: &Groups) -> Result<(), AccessError> {
    let reach = |row: &TokenRow| narrowed(account, row, groups, None).map(|viewer| viewer.reach);
    let whole = TokenRow { scope: None, ..row.clone() };
    match (reach(&whole)?, reach(row)?) {
        (Reach::Nothing, _) => Ok(()),
        (_, Reach::Nothing) => Err(AccessError::Invalid(format!("nothing in the token's scope is within that of {}", account.name))),
        _ => Ok(()),
    }
}

fn token_of(row: &TokenRow, account: Option<&String>) -> Result<Token, AccessError> {
    Ok(Token {
        id: row.id,
        account: account.cloned().unwrap_or_default(),
        name: row.name.clone(),
        roles: Roles::of_number(row.roles),
        scope: scope_of(row.scope.as_ref())?,
        created_at: row.created_at,
        expires_at: row.expires_at,
        used_at: row.used_at,
        revoked_at: row.revoked_at,
    })
}
