//! Groups of people, by which scopes name them.

use askama::Template;
use axum::response::Response;

use super::accounts::allowed;
use super::caller::{Caller, Posted};
use super::frame::{Frame, Place, page};
use super::params::{Params, link};
use super::trouble::{Trouble, see_other};

#[derive(Template)]
#[template(path = "group.html")]
struct GroupPage {
    frame: Frame,
    mistake: Option<String>,
    name: String,
    members: String,
    is_new: bool,
}

/// The page of a group.
pub(super) fn path(name: &str, done: &str) -> String {
    link("/accounts/group", &[("name", name), ("done", done)])
}

/// `GET /accounts/group`.
pub(super) async fn show(caller: Caller) -> Response {
    let result = make(&caller).await;
    caller.answer(result)
}

async fn make(caller: &Caller) -> Result<Response, Trouble> {
    allowed(caller).await?;
    let name = caller.params.text("name");
    let groups = caller.app.access.groups(caller.viewer()).await?;
    match groups.get(&name) {
        None if !name.is_empty() => Err(Trouble::Missing("There is no such group.".to_owned())),
        members => {
            let members: Vec<String> = members.into_iter().flatten().cloned().collect();
            shown(caller, &name, members.join("\n"), name.is_empty(), None)
        }
    }
}

fn shown(caller: &Caller, name: &str, members: String, is_new: bool, mistake: Option<String>) -> Result<Response, Trouble> {
    let title = if is_new { "Make a group".to_owned() } else { format!("Group {name}") };
    page(&GroupPage { frame: caller.frame(Place::Accounts, title), mistake, name: name.to_owned(), members, is_new })
}

/// `POST /accounts/group`.
pub(super) async fn change(posted: Posted) -> Response {
    let caller = &posted.caller;
    let (form, name) = (&posted.form, posted.form.text("name"));
    let result = match make_change(caller, form, &name).await {
        Ok(target) => Ok(see_other(&target)),
        Err(Trouble::Wrong(said)) => shown(caller, &name, form.words("members").join("\n"), form.get("is_new").is_some(), Some(said)),
        Err(other) => Err(other),
    };
    caller.answer(result)
}

async fn make_change(caller: &Caller, form: &Params, name: &str) -> Result<String, Trouble> {
    allowed(caller).await?;
    let (access, reason) = (&caller.app.access, form.get("reason").map(str::to_owned));
    if form.get("change") == Some("remove") {
        access.remove_group(caller.viewer(), name, reason).await?;
        return Ok("/accounts?done=group-removed".to_owned());
    }
    access.set_group(caller.viewer(), name, form.words("members").into_iter().collect(), reason).await?;
    Ok(path(&name.to_lowercase(), "group"))
}
