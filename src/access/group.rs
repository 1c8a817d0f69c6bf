//! Groups: names for several people, so that a scope need not be written anew when somebody comes or goes.

use std::collections::BTreeSet;

use serde_json::json;

use super::audit::{Action, Event};
use super::change::{self, By, folded};
use super::role::Permission;
use super::scope::{self, Groups, MAX_ENTRIES};
use super::viewer::Viewer;
use super::{Access, AccessError};
use crate::store::access::accounts;

impl Access {
    /// All groups.
    ///
    /// # Errors
    /// As [`Access::accounts`].
    pub async fn groups(&self, viewer: &Viewer) -> Result<Groups, AccessError> {
        viewer.require(Permission::ManageAccounts)?;
        self.ask(async |connection| change::groups(connection).await).await
    }

    /// Makes a group, or gives it other members (as [`Scope::who`](super::Scope::who)).
    ///
    /// # Errors
    /// As [`Access::add_account`].
    pub async fn set_group(
        &self,
        viewer: &Viewer,
        name: &str,
        members: BTreeSet<String>,
        reason: Option<String>,
    ) -> Result<(), AccessError> {
        self.require(viewer, Permission::ManageAccounts, Action::GroupSet, &json!({ "group": name })).await?;
        let name = scope::group_name(name).map_err(AccessError::Invalid)?;
        if members.len() > MAX_ENTRIES {
            return Err(AccessError::Invalid(format!("a group has {MAX_ENTRIES} members at most")));
        }
        let members =
            members.iter().map(|text| scope::person(text)).collect::<Result<BTreeSet<String>, _>>().map_err(AccessError::Invalid)?;
        let text = serde_json::to_string(&members).map_err(|error| AccessError::Broken(error.to_string()))?;
        let by = By::viewer(viewer, reason, self.now());
        self.change(async move |connection| {
            let before = change::groups(connection).await?.remove(&name).unwrap_or_default();
            accounts::set_group(connection, &name, &text, by.now).await?;
            let added: Vec<&String> = members.difference(&before).collect();
            let removed: Vec<&String> = before.difference(&members).collect();
            let target = json!({ "group": name, "added": added, "removed": removed });
            by.note(connection, Event::new(Action::GroupSet, target).of(members.len() as u64)).await
        })
        .await
    }

    /// Removes a group. Scopes that name it reach nobody by it from then on.
    ///
    /// # Errors
    /// As [`Access::account`].
    pub async fn remove_group(&self, viewer: &Viewer, name: &str, reason: Option<String>) -> Result<(), AccessError> {
        self.require(viewer, Permission::ManageAccounts, Action::GroupRemove, &json!({ "group": name })).await?;
        let name = folded(name);
        let by = By::viewer(viewer, reason, self.now());
        self.change(async move |connection| {
            if !accounts::remove_group(connection, &name).await? {
                return Err(AccessError::Missing(format!("there is no group \"{name}\"")));
            }
            by.note(connection, Event::new(Action::GroupRemove, json!({ "group": name }))).await
        })
        .await
    }
}
