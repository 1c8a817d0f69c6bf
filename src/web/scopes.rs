//! Scopes and roles in forms and tables.

use super::clock::Clock;
use super::params::Params;
use super::trouble::Trouble;
use crate::access::{Role, Roles, Scope};
use crate::time::Micros;

/// A role to tick.
pub(super) struct RoleChoice {
    pub(super) word: &'static str,
    pub(super) about: &'static str,
    pub(super) is_chosen: bool,
}

/// A scope as a form holds it.
#[derive(Clone, Debug, Default)]
pub(super) struct ScopeForm {
    pub(super) who: String,
    pub(super) groups: String,
    pub(super) rooms: String,
    pub(super) from: String,
    pub(super) to: String,
}

/// What a role is there for.
fn about(role: Role) -> &'static str {
    match role {
        Role::Operator => "keeps the archive running; never sees what people wrote",
        Role::Reviewer => "reads messages within the scope below",
        Role::Officer => "reads and exports all messages",
        Role::Auditor => "reads the audit trail and verifies the archive; never sees what people wrote",
        Role::Administrator => "sees to accounts, tokens and groups; never sees what people wrote",
    }
}

/// Every role.
pub(super) fn choices(chosen: Roles) -> Vec<RoleChoice> {
    Role::ALL.into_iter().map(|role| RoleChoice { word: role.word(), about: about(role), is_chosen: chosen.has(role) }).collect()
}

/// The roles that were ticked.
pub(super) fn roles(form: &Params) -> Result<Roles, Trouble> {
    let role = |word: &str| Role::of_word(word).ok_or_else(|| Trouble::Wrong(format!("There is no role “{word}”.")));
    Ok(Roles::of(form.all("role").map(role).collect::<Result<Vec<_>, _>>()?))
}

impl ScopeForm {
    pub(super) fn of(scope: Option<&Scope>, clock: &Clock) -> Self {
        let Some(scope) = scope else { return Self::default() };
        let lines = |entries: &std::collections::BTreeSet<String>| entries.iter().cloned().collect::<Vec<_>>().join("\n");
        let time = |at: Option<Micros>| at.map(|at| clock.exact(at).machine).unwrap_or_default();
        // The end is the first moment that is not within; a form names the last one that is.
        let end = scope.to.map(|to| to.saturating_sub(1));
        Self { who: lines(&scope.who), groups: lines(&scope.groups), rooms: lines(&scope.rooms), from: time(scope.from), to: time(end) }
    }

    pub(super) fn given(form: &Params) -> Self {
        let lines = |name: &str| form.words(name).join("\n");
        Self { who: lines("who"), groups: lines("groups"), rooms: lines("rooms"), from: form.text("from"), to: form.text("to") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::find;

    #[test]
    fn a_scope_comes_back_from_its_form_as_it_was() {
        let scope = Scope {
            who: ["alice@example.com".to_owned(), "*.example.com".to_owned()].into(),
            groups: ["sales".to_owned()].into(),
            rooms: ["tea@rooms.example".to_owned()].into(),
            from: Some(1_795_332_535_173_794),
            to: Some(1_795_332_536_000_000),
        };
        let clock = Clock::of("Asia/Kathmandu").unwrap();
        let shown = ScopeForm::of(Some(&scope), &clock);
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.extend_pairs([
            ("who", &shown.who),
            ("groups", &shown.groups),
            ("rooms", &shown.rooms),
            ("from", &shown.from),
            ("to", &shown.to),
        ]);
        assert_eq!(find::scope(&Params::parse(form.finish().as_bytes()), &clock).unwrap(), scope);
    }
}
