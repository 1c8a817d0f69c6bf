//! What a request carries: who asks, from where, and what that person may see.
//!
//! Everything that gives out what people wrote takes a `&Viewer` and begins with [`Viewer::reach`], which is the only way to the
//! limits that the search engine wants: an entry that forgets to ask has nothing to search with. A viewer is made by this module
//! alone, from a session, from a token, or for the person at the machine's own command line, and is made anew for each request: whoever loses a role
//! loses it at the next click.

use std::net::IpAddr;

use super::role::{Permission, Role, Roles};
use super::scope::Reach;

/// The account of no row: the command line.
pub const CONSOLE_ACCOUNT: i64 = 0;

/// How somebody came to be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// A session that a password, and a code where one is set up, began.
    Password,
    /// A session that the company's provider began.
    Provider,
    /// A token of the API.
    Token,
    /// The command line on the machine itself.
    Console,
    /// A task of the program's own, which somebody began who may be gone by now.
    Service,
}

impl Way {
    /// The word in the audit trail.
    pub fn word(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::Provider => "provider",
            Self::Token => "token",
            Self::Console => "console",
            Self::Service => "service",
        }
    }
}

/// Who asks.
#[derive(Clone, Debug)]
pub struct Viewer {
    pub(super) account: i64,
    pub(super) name: String,
    pub(super) display_name: String,
    pub(super) roles: Roles,
    pub(super) reach: Reach,
    pub(super) address: Option<IpAddr>,
    pub(super) way: Way,
    pub(super) must_change: bool,
    /// The hash of the session's cookie, so that the own session can be told from others.
    pub(super) session: Option<[u8; 32]>,
}

/// Something is not allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{who} may not {}", permission.word())]
pub struct Denied {
    /// Who asked.
    pub who: String,
    /// For what.
    pub permission: Permission,
}

impl Viewer {
    /// Whoever runs the program on the machine itself: that person can read the database with other tools as well, so nothing is denied.
    /// `user` is the name in the system, and is only believed for the audit trail.
    pub fn console(user: &str) -> Self {
        Self::named(format!("cli:{user}"))
    }

    fn named(name: String) -> Self {
        Self {
            account: CONSOLE_ACCOUNT,
            display_name: name.clone(),
            name,
            roles: Roles::ALL,
            reach: Reach::Everything,
            address: None,
            way: Way::Console,
            must_change: false,
            session: None,
        }
    }

    /// A task of the program's own: it may nothing, and is only named in the audit trail.
    pub fn service(task: &str) -> Self {
        Self { roles: Roles::default(), reach: Reach::Nothing, way: Way::Service, ..Self::named(format!("service:{task}")) }
    }

    /// The account's number, [`CONSOLE_ACCOUNT`] for the command line.
    pub fn account(&self) -> i64 {
        self.account
    }

    /// The account's name, as the audit trail has it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name for people.
    pub fn display_name(&self) -> &str {
        &self.display_name
    }

    /// The roles in force: those of the account, for a token those that it was given of them.
    pub fn roles(&self) -> Roles {
        self.roles
    }

    /// From where.
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// How the viewer came to be believed.
    pub fn way(&self) -> Way {
        self.way
    }

    /// Somebody else chose the password: until it is changed, nothing but that is allowed.
    pub fn must_change_password(&self) -> bool {
        self.must_change
    }

    /// Whether something is allowed, to decide what a page offers.
    pub fn may(&self, permission: Permission) -> bool {
        !self.must_change && self.roles.may(permission)
    }

    /// Makes sure that something is allowed.
    ///
    /// # Errors
    /// When it is not.
    pub fn require(&self, permission: Permission) -> Result<(), Denied> {
        match self.may(permission) {
            true => Ok(()),
            false => Err(Denied { who: self.name.clone(), permission }),
        }
    }

    /// Which messages may be read, for something that needs this permission ([`Permission::ViewContent`], [`Permission::Export`], …).
    ///
    /// # Errors
    /// When it is not allowed at all. [`Reach::Nothing`] is no error: such a viewer may search and finds nothing.
    pub fn reach(&self, permission: Permission) -> Result<&Reach, Denied> {
        self.require(permission)?;
        match permission {
            Permission::ViewContent | Permission::Export | Permission::SeeQuarantineContent => Ok(&self.reach),
            _ => Ok(&Reach::Nothing),
        }
    }
}

/// What the roles of an account reach: officers everything, reviewers what their scope says, all others nothing.
pub(super) fn reach_of(roles: Roles, scope: impl FnOnce() -> Reach) -> Reach {
    match () {
        () if roles.has(Role::Officer) => Reach::Everything,
        () if roles.has(Role::Reviewer) => scope(),
        () => Reach::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::scope::Limits;

    fn viewer(roles: Roles) -> Viewer {
        let limits = Limits { jids: vec!["alice@example.com".to_owned()], ..Limits::default() };
        Viewer { roles, reach: reach_of(roles, || Reach::Within(limits)), way: Way::Password, ..Viewer::console("ann") }
    }

    #[test]
    fn only_those_who_read_reach_anything() {
        for (role, reaches) in [
            (Role::Operator, "nothing"),
            (Role::Reviewer, "some"),
            (Role::Officer, "all"),
            (Role::Auditor, "nothing"),
            (Role::Administrator, "nothing"),
        ] {
            let viewer = viewer(Roles::of([role]));
            let found = match viewer.reach(Permission::ViewContent) {
                Ok(Reach::Everything) => "all",
                Ok(Reach::Within(_)) => "some",
                Ok(Reach::Nothing) | Err(_) => "nothing",
            };
            assert_eq!(found, reaches, "{role}");
            assert_eq!(viewer.reach(Permission::Export).is_ok(), role == Role::Officer);
        }
    }

    #[test]
    fn who_must_change_the_password_may_nothing_else() {
        let viewer = Viewer { must_change: true, ..viewer(Roles::of([Role::Officer])) };
        assert!(Permission::ALL.iter().all(|permission| viewer.require(*permission).is_err()));
        let denied = viewer.reach(Permission::ViewContent).unwrap_err();
        assert_eq!(denied.to_string(), "cli:ann may not read messages");
    }

    #[test]
    fn a_permission_that_reads_nothing_reaches_nothing() {
        assert_eq!(Viewer::console("root").reach(Permission::ViewHealth), Ok(&Reach::Nothing));
        assert_eq!(Viewer::console("root").reach(Permission::ViewContent), Ok(&Reach::Everything));
    }
}
