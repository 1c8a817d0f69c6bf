//! The calls for groups of people, by which scopes name them.

use std::collections::BTreeSet;

use axum::body::Bytes;
use axum::extract::Path;
use axum::response::Response;
use serde_json::{Value, json};

use super::api::answer;
use super::caller::Bearer;
use super::find;
use super::trouble::Trouble;
use crate::access::{Action, Permission};

/// The field that a group's members stand in.
const MEMBERS: &str = "members";

/// `GET /groups`.
pub(super) async fn list(bearer: Bearer) -> Response {
    answer(all(&bearer).await)
}

/// As in the console, looking at groups is no row of the audit trail; that somebody may not is.
async fn all(bearer: &Bearer) -> Result<Value, Trouble> {
    bearer.require(Permission::ManageAccounts, Action::AccountChange, &Value::Null).await?;
    find::only(&bearer.params, &[])?;
    let groups = bearer.app.access.groups(&bearer.viewer).await?;
    Ok(json!({ "groups": groups.iter().map(|(name, members)| value(name, members)).collect::<Vec<_>>() }))
}

/// `GET /groups/{name}`.
pub(super) async fn show(bearer: Bearer, Path(name): Path<String>) -> Response {
    answer(one(&bearer, &name).await)
}

async fn one(bearer: &Bearer, name: &str) -> Result<Value, Trouble> {
    bearer.require(Permission::ManageAccounts, Action::AccountChange, &Value::Null).await?;
    find::only(&bearer.params, &[])?;
    shown(bearer, name).await
}

async fn shown(bearer: &Bearer, name: &str) -> Result<Value, Trouble> {
    let (groups, name) = (bearer.app.access.groups(&bearer.viewer).await?, name.to_lowercase());
    let members = groups.get(&name).ok_or_else(|| Trouble::Missing("There is no such group.".to_owned()))?;
    Ok(json!({ "group": value(&name, members) }))
}

/// `PUT /groups/{name}`: makes a group, or gives it other members.
pub(super) async fn set(bearer: Bearer, Path(name): Path<String>, body: Bytes) -> Response {
    answer(make_set(&bearer, &name, &body).await)
}

async fn make_set(bearer: &Bearer, name: &str, body: &Bytes) -> Result<Value, Trouble> {
    bearer.require(Permission::ManageAccounts, Action::GroupSet, &json!({ "group": name })).await?;
    let fields = bearer.fields(body)?;
    find::only(&fields, &[MEMBERS, "reason"])?;
    if !fields.pairs().any(|(field, _)| field == MEMBERS) {
        // Whoever forgets the field must not empty the group.
        return Err(Trouble::Wrong("Give the “members”: none are an empty field.".to_owned()));
    }
    let members = fields.words(MEMBERS).into_iter().collect();
    bearer.app.access.set_group(&bearer.viewer, name, members, fields.get("reason").map(str::to_owned)).await?;
    shown(bearer, name).await
}

/// `DELETE /groups/{name}`.
pub(super) async fn remove(bearer: Bearer, Path(name): Path<String>) -> Response {
    answer(make_removed(&bearer, &name).await)
}

async fn make_removed(bearer: &Bearer, name: &str) -> Result<Value, Trouble> {
    bearer.require(Permission::ManageAccounts, Action::GroupRemove, &json!({ "group": name })).await?;
    find::only(&bearer.params, &["reason"])?;
    bearer.app.access.remove_group(&bearer.viewer, name, bearer.params.get("reason").map(str::to_owned)).await?;
    Ok(json!({ "removed": name.to_lowercase() }))
}

fn value(name: &str, members: &BTreeSet<String>) -> Value {
    json!({ "name": name, "members": members })
}
