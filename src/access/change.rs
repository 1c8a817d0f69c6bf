//! What changes have in common: looking accounts up, and writing what was changed beside the change.

use serde_json::Value;

use super::audit::{Actor, Event, entry};
use super::role::Roles;
use super::scope::{Groups, Reach, Scope};
use super::viewer::{Viewer, Way, reach_of};
use super::{AccessError, Account};
use crate::store::Connection;
use crate::store::access::rows::{AccountRow, EntryRow};
use crate::store::access::{accounts, audit};
use crate::time::Micros;

/// Who changes something, and when.
#[derive(Clone)]
pub(super) struct By {
    pub(super) actor: Actor,
    pub(super) reason: Option<String>,
    pub(super) now: Micros,
}

impl By {
    pub(super) fn viewer(viewer: &Viewer, reason: Option<String>, now: Micros) -> Self {
        Self { actor: Actor::from(viewer), reason, now }
    }

    /// Adds the row of a change to the transaction that makes it.
    pub(super) async fn note(&self, connection: &mut Connection, event: Event) -> Result<(), AccessError> {
        let row: EntryRow = entry(&self.actor, event.because(self.reason.clone()), self.now)?;
        audit::append(connection, row).await?;
        Ok(())
    }
}

/// The account of a name, which must be there.
pub(super) async fn named(connection: &mut Connection, name: &str) -> Result<AccountRow, AccessError> {
    let name = folded(name);
    accounts::named(connection, &name).await?.ok_or_else(|| AccessError::Missing(format!("there is no account \"{name}\"")))
}

/// Names differ in more than the case of their letters.
pub(super) fn folded(name: &str) -> String {
    name.trim().to_lowercase()
}

/// All groups with their members.
pub(super) async fn groups(connection: &mut Connection) -> Result<Groups, AccessError> {
    let rows = accounts::groups(connection).await?;
    rows.into_iter().map(|row| Ok((row.name, parsed(&row.members)?))).collect()
}

/// A JSON text of a table.
pub(super) fn parsed<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, AccessError> {
    serde_json::from_str(text).map_err(|error| AccessError::Broken(format!("a scope or a group in the database can't be read: {error}")))
}

/// A scope as it lies in a table.
pub(super) fn written(scope: Option<&Scope>) -> Result<Option<String>, AccessError> {
    let write = |scope| serde_json::to_string(scope).map_err(|error| AccessError::Broken(error.to_string()));
    scope.map(write).transpose()
}

/// A scope of a table.
pub(super) fn scope_of(text: Option<&String>) -> Result<Option<Scope>, AccessError> {
    text.map(|text| parsed(text)).transpose()
}

/// Who an account is in a request.
pub(super) fn viewer_of(row: &AccountRow, groups: &Groups, way: Way, address: Option<std::net::IpAddr>) -> Result<Viewer, AccessError> {
    let roles = Roles::of_number(row.roles);
    let scope = scope_of(row.scope.as_ref())?;
    let reach = reach_of(roles, || Reach::within(scope.unwrap_or_default().resolved(groups)));
    Ok(Viewer {
        account: row.id,
        name: row.name.clone(),
        display_name: row.display_name.clone(),
        roles,
        reach,
        address,
        way,
        // Only who uses that password has to change it.
        must_change: row.must_change != 0 && way == Way::Password,
        session: None,
    })
}

/// An account without its secrets.
pub(super) fn account_of(row: &AccountRow) -> Result<Account, AccessError> {
    Ok(Account {
        id: row.id,
        name: row.name.clone(),
        display_name: row.display_name.clone(),
        roles: Roles::of_number(row.roles),
        scope: scope_of(row.scope.as_ref())?,
        has_password: row.password_hash.is_some(),
        must_change: row.must_change != 0,
        has_totp: row.totp_secret.is_some(),
        oidc_subject: row.oidc_subject.clone(),
        disabled: row.disabled != 0,
        failures: u32::try_from(row.failures).unwrap_or_default(),
        locked_until: row.locked_until,
        created_at: row.created_at,
        changed_at: row.changed_at,
        signed_in_at: row.signed_in_at,
    })
}

/// What the audit trail says an account was made to be.
pub(super) fn words(roles: Roles) -> Value {
    roles.iter().map(|role| role.word()).collect()
}
