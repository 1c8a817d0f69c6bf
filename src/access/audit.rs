//! The audit trail: who did what, when, from where, and why.
//!
//! A row is written before what it tells of is given out ([`Access::reveal`], [`Access::record`]): where it can't be written, nothing is shown. A change of an
//! account and its row are one transaction. Rows are numbered without gaps in the order of their commits, so that a missing one shows, and triggers of
//! the database refuse to change or delete them, whoever asks.

use serde_json::Value;

use super::role::{Permission, Roles};
use super::viewer::{CONSOLE_ACCOUNT, Denied, Viewer};
use super::{Access, AccessError};
use crate::store::access::audit as store;
use crate::store::access::rows::EntryRow;
use crate::time::{Micros, rfc3339};

/// The most rows of one page.
pub const MAX_AUDIT_PAGE: u32 = 1_000;
/// The most bytes of a row's target; longer texts in it are cut.
pub const MAX_TARGET_BYTES: usize = 64 * 1024;
/// The most bytes of a reason.
pub const MAX_REASON_BYTES: usize = 4 * 1024;

/// The most bytes of an actor's name.
const MAX_ACTOR_BYTES: usize = 120;

/// Makes the enumeration and its words, so that none can be forgotten.
macro_rules! actions {
    ($($(#[$doc:meta])* $name:ident = $word:literal;)+) => {
        /// What was done.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Action {
            $($(#[$doc])* $name,)+
        }

        impl Action {
            /// Every action.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The word in the audit trail.
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)+
                }
            }
        }
    };
}

actions! {
    /// The audit trail began: the first row of each.
    Begin = "begin";
    /// Somebody signed in, or tried to.
    SignIn = "sign-in";
    /// Somebody signed out.
    SignOut = "sign-out";
    /// Messages were searched; the target is the query.
    Search = "search";
    /// Messages were counted.
    Count = "count";
    /// A conversation was read.
    ViewConversation = "view-conversation";
    /// One message was read, its versions and its evidence.
    ViewMessage = "view-message";
    /// The original stanza was read.
    ViewXml = "view-xml";
    /// It was looked up who was in a room.
    ViewRoom = "view-room";
    /// The overview with its totals by people was read.
    ViewOverview = "view-overview";
    /// Records in quarantine were read.
    ViewQuarantine = "view-quarantine";
    /// Records in quarantine were retried.
    RetryQuarantine = "retry-quarantine";
    /// The list of gaps was asked for.
    ViewGaps = "view-gaps";
    /// The state of a gap was changed by hand.
    CloseGap = "close-gap";
    /// An export was begun.
    Export = "export";
    /// What came of an export.
    ExportEnd = "export-end";
    /// The list of exports was read, or what one of them was asked for and how far it is.
    ViewExport = "view-export";
    /// The files of an export were fetched.
    ExportFetch = "export-fetch";
    /// An export was removed with its files.
    ExportRemove = "export-remove";
    /// The archive was verified.
    Verify = "verify";
    /// The audit trail was read.
    ViewAudit = "view-audit";
    /// The audit trail was exported.
    ExportAudit = "export-audit";
    /// An account was added.
    AccountAdd = "account-add";
    /// An account's roles were changed.
    AccountRoles = "account-roles";
    /// An account's scope was changed.
    AccountScope = "account-scope";
    /// An account's names were changed, or its subject at the provider.
    AccountChange = "account-change";
    /// A password was set.
    AccountPassword = "account-password";
    /// The second factor was set up or taken away, or new recovery codes were made.
    AccountTotp = "account-totp";
    /// An account was disabled.
    AccountDisable = "account-disable";
    /// An account was enabled.
    AccountEnable = "account-enable";
    /// An account was unlocked.
    AccountUnlock = "account-unlock";
    /// All sessions of an account were ended.
    SessionsEnd = "sessions-end";
    /// A token was made.
    TokenAdd = "token-add";
    /// A token was revoked.
    TokenRevoke = "token-revoke";
    /// A group was made or changed.
    GroupSet = "group-set";
    /// A group was removed.
    GroupRemove = "group-remove";
}

impl Action {
    /// The action of this word.
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|action| action.word() == word)
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Done,
    /// It was not allowed.
    Denied,
    /// It went wrong.
    Failed,
}

impl Outcome {
    /// The number in `audit.outcome`.
    pub fn number(self) -> i16 {
        match self {
            Self::Done => 1,
            Self::Denied => 2,
            Self::Failed => 3,
        }
    }

    /// The outcome of this number.
    pub fn of_number(number: i16) -> Option<Self> {
        [Self::Done, Self::Denied, Self::Failed].into_iter().find(|outcome| outcome.number() == number)
    }

    /// The outcome for people and programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Denied => "denied",
            Self::Failed => "failed",
        }
    }
}

/// What is to be recorded.
#[derive(Clone, Debug)]
pub struct Event {
    /// What was done.
    pub action: Action,
    /// On what: the query, the conversation, the account. Never a secret, never what people wrote.
    pub target: Value,
    /// Why, where somebody was asked.
    pub reason: Option<String>,
    /// What came of it.
    pub outcome: Outcome,
    /// How many messages, rows or files it was about.
    pub count: Option<u64>,
}

impl Event {
    /// Something that was done.
    pub fn new(action: Action, target: Value) -> Self {
        Self { action, target, reason: None, outcome: Outcome::Done, count: None }
    }

    /// With a reason.
    #[must_use]
    pub fn because(mut self, reason: Option<String>) -> Self {
        self.reason = reason.filter(|reason| !reason.trim().is_empty());
        self
    }

    /// With a number of messages, rows or files.
    #[must_use]
    pub fn of(mut self, count: u64) -> Self {
        self.count = Some(count);
        self
    }

    /// With another outcome.
    #[must_use]
    pub fn ended(mut self, outcome: Outcome) -> Self {
        self.outcome = outcome;
        self
    }
}

/// A row of the audit trail.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditRow {
    /// Its number: without gaps, in the order of commits.
    pub id: i64,
    /// When.
    pub at: Micros,
    /// The number of the account; none where nobody was believed, and for the command line.
    pub account: Option<i64>,
    /// The account's name, `cli:USER`, or the name under which somebody tried to sign in.
    pub actor: String,
    /// The roles in force.
    pub roles: Roles,
    /// How the actor came to be believed: `password`, `provider`, `token`, `console`, or nothing.
    pub way: String,
    /// From where.
    pub address: Option<String>,
    /// What was done, as a word ([`Action::word`]).
    pub action: String,
    /// On what.
    pub target: Value,
    /// Why.
    pub reason: Option<String>,
    /// What came of it; none if a newer version wrote a number that is not known here.
    pub outcome: Option<Outcome>,
    /// How many.
    pub count: Option<u64>,
}

/// Which rows; without anything, all.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    /// At this time or later.
    pub from: Option<Micros>,
    /// Before this time.
    pub to: Option<Micros>,
    /// By this account name, or `cli:USER`.
    pub actor: Option<String>,
    /// One of these actions.
    pub actions: Vec<Action>,
    /// With this outcome.
    pub outcome: Option<Outcome>,
    /// From this address.
    pub address: Option<String>,
    /// With this text in the target or in the reason, whatever its case in ASCII.
    pub text: Option<String>,
    /// Beyond this row: older ones, or newer ones where the oldest come first.
    pub after: Option<i64>,
    /// The oldest first; else the newest.
    pub oldest_first: bool,
    /// At most so many, at most [`MAX_AUDIT_PAGE`]; 0 is the same as that.
    pub limit: u32,
}

/// How the audit trail itself is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trail {
    /// How many rows there are.
    pub rows: i64,
    /// The number of the last one. Numbers are given without gaps, so it is the same unless rows were removed.
    pub last: i64,
    /// Whether the database itself refuses to change a row.
    pub is_guarded: bool,
}

/// Who did it, as a row names it.
#[derive(Clone, Debug)]
pub(crate) struct Actor {
    pub(crate) account: Option<i64>,
    pub(crate) name: String,
    pub(crate) roles: Roles,
    pub(crate) way: &'static str,
    pub(crate) address: Option<String>,
}

impl From<&Viewer> for Actor {
    fn from(viewer: &Viewer) -> Self {
        Self {
            account: (viewer.account != CONSOLE_ACCOUNT).then_some(viewer.account),
            name: viewer.name.clone(),
            roles: viewer.roles,
            way: viewer.way.word(),
            address: viewer.address.map(|address| address.to_string()),
        }
    }
}

impl Access {
    /// Writes a row. Returns only when it is committed; what it tells of must not be given out before.
    ///
    /// # Errors
    /// When it can't be written: then nothing may be shown.
    pub async fn record(&self, viewer: &Viewer, event: Event) -> Result<i64, AccessError> {
        let row = entry(&Actor::from(viewer), event, self.now())?;
        self.change(async move |connection| Ok(store::append(connection, row).await?)).await
    }

    /// Gives a value out once its row is written.
    ///
    /// # Errors
    /// As [`Access::record`].
    pub async fn reveal<T>(&self, viewer: &Viewer, event: Event, value: T) -> Result<T, AccessError> {
        self.record(viewer, event).await?;
        Ok(value)
    }

    /// Makes sure that something is allowed, and records that it was asked for where it is not.
    ///
    /// # Errors
    /// [`AccessError::Denied`] when it is not allowed.
    pub async fn require(&self, viewer: &Viewer, permission: Permission, action: Action, target: &Value) -> Result<(), AccessError> {
        let Err(denied) = viewer.require(permission) else { return Ok(()) };
        self.denied(viewer, denied, action, target).await
    }

    /// How the audit trail itself is, for those who verify the archive.
    ///
    /// # Errors
    /// When it is not allowed, or the store fails.
    pub async fn trail(&self, viewer: &Viewer) -> Result<Trail, AccessError> {
        viewer.require(Permission::Verify)?;
        let (rows, last) = self.ask(async |connection| Ok(store::extent(connection).await?)).await?;
        Ok(Trail { rows, last, is_guarded: self.is_audit_guarded().await? })
    }

    async fn denied(&self, viewer: &Viewer, denied: Denied, action: Action, target: &Value) -> Result<(), AccessError> {
        self.record(viewer, Event::new(action, target.clone()).ended(Outcome::Denied)).await?;
        Err(AccessError::Denied(denied))
    }

    /// A page of the audit trail, for those who may read it. That it is read is a row as well, which the page does not hold yet.
    ///
    /// # Errors
    /// When it is not allowed, or the store fails.
    pub async fn audit(&self, viewer: &Viewer, filter: &AuditFilter) -> Result<Vec<AuditRow>, AccessError> {
        let target = target_of(filter);
        self.require(viewer, Permission::ViewAudit, Action::ViewAudit, &target).await?;
        let wanted = wanted(filter);
        // Not in one transaction: looking for a text may take a while, and who writes a row meanwhile is not to wait for it.
        let rows = self.ask(async move |connection| Ok(store::page(connection, &wanted).await?)).await?;
        self.record(viewer, Event::new(Action::ViewAudit, target).of(rows.len() as u64)).await?;
        Ok(rows.into_iter().map(AuditRow::from).collect())
    }
}

/// The filter as the audit trail names it.
fn target_of(filter: &AuditFilter) -> Value {
    let mut target = serde_json::Map::new();
    let mut put = |name: &str, value: Option<Value>| target.extend(value.map(|value| (name.to_owned(), value)));
    put("from", filter.from.map(|at| rfc3339(at).into()));
    put("to", filter.to.map(|at| rfc3339(at).into()));
    put("actor", filter.actor.clone().map(Value::from));
    put("actions", (!filter.actions.is_empty()).then(|| filter.actions.iter().map(|action| action.word()).collect()));
    put("outcome", filter.outcome.map(|outcome| outcome.word().into()));
    put("address", filter.address.clone().map(Value::from));
    put("text", filter.text.clone().map(Value::from));
    put("after", filter.after.map(Value::from));
    Value::Object(target)
}

fn wanted(filter: &AuditFilter) -> store::Wanted {
    let limit = if filter.limit == 0 { MAX_AUDIT_PAGE } else { filter.limit.min(MAX_AUDIT_PAGE) };
    store::Wanted {
        from: filter.from.unwrap_or(Micros::MIN),
        to: filter.to.unwrap_or(Micros::MAX),
        actor: filter.actor.clone(),
        actions: filter.actions.iter().map(|action| action.word().to_owned()).collect(),
        outcome: filter.outcome.map(Outcome::number),
        address: filter.address.clone(),
        text: filter.text.clone(),
        after: filter.after,
        oldest_first: filter.oldest_first,
        limit: i64::from(limit),
    }
}

/// The row of an event; its number is given when it is added.
pub(super) fn entry(actor: &Actor, event: Event, now: Micros) -> Result<EntryRow, AccessError> {
    let mut target = event.target.to_string();
    if target.len() > MAX_TARGET_BYTES {
        target = Value::from(cut(&target, MAX_TARGET_BYTES / 2)).to_string();
    }
    if event.reason.as_ref().is_some_and(|reason| reason.len() > MAX_REASON_BYTES) {
        return Err(AccessError::Invalid(format!("a reason has at most {MAX_REASON_BYTES} bytes")));
    }
    Ok(EntryRow {
        id: 0,
        at: now,
        account_id: actor.account,
        count: event.count.map(|count| i64::try_from(count).unwrap_or(i64::MAX)),
        roles: actor.roles.number(),
        outcome: event.outcome.number(),
        actor: cut(&actor.name, MAX_ACTOR_BYTES).to_owned(),
        action: event.action.word().to_owned(),
        way: actor.way.to_owned(),
        address: actor.address.clone(),
        target,
        reason: event.reason,
    })
}

/// The beginning of a text, at most so many bytes.
fn cut(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.get(..end).unwrap_or_default()
}

impl From<EntryRow> for AuditRow {
    fn from(row: EntryRow) -> Self {
        Self {
            id: row.id,
            at: row.at,
            account: row.account_id,
            actor: row.actor,
            roles: Roles::of_number(row.roles),
            way: row.way,
            address: row.address,
            action: row.action,
            target: serde_json::from_str(&row.target).unwrap_or(Value::String(row.target)),
            reason: row.reason,
            outcome: Outcome::of_number(row.outcome),
            count: row.count.and_then(|count| u64::try_from(count).ok()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_unique_and_found_again() {
        for action in Action::ALL {
            assert_eq!(Action::of_word(action.word()), Some(*action));
            assert!(action.word().len() < 60);
        }
        assert_eq!(Action::of_word("nothing"), None);
        assert_eq!(Outcome::of_number(2), Some(Outcome::Denied));
        assert_eq!(Outcome::of_number(9), None);
    }

    #[test]
    fn a_row_is_never_too_large() {
        let actor = Actor { name: "é".repeat(1_000), ..Actor::from(&Viewer::console("root")) };
        let event = Event::new(Action::Search, Value::from("é".repeat(MAX_TARGET_BYTES)));
        let row = entry(&actor, event, 5).unwrap();
        assert!(row.actor.len() <= MAX_ACTOR_BYTES && row.target.len() <= MAX_TARGET_BYTES);
        assert!(serde_json::from_str::<Value>(&row.target).is_ok());
        let long = Event::new(Action::Export, Value::Null).because(Some("x".repeat(MAX_REASON_BYTES + 1)));
        assert!(entry(&actor, long, 5).is_err());
        assert_eq!(Event::new(Action::Export, Value::Null).because(Some("  ".to_owned())).reason, None);
    }
}
