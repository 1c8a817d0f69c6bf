//! Who may do what: the roles, the permissions, and the one table that joins them.
//!
//! Whatever asks whether something is allowed asks for a [`Permission`], never for a role; [`Role::may`] is the only place that
//! knows both. An account may have several roles and may then do what any of them may, but who gives out rights never reads what people
//! wrote ([`Roles::check`]).

use std::fmt;

/// What an account is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Keeps the archive running; never sees what people wrote.
    Operator,
    /// Reads messages within the scope of the account.
    Reviewer,
    /// Reads and exports all messages.
    Officer,
    /// Reads the audit trail and verifies the archive; never sees what people wrote.
    Auditor,
    /// Sees to accounts, tokens and groups; never sees what people wrote.
    Administrator,
}

/// What can be allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Permission {
    /// Nodes, lag, spool, alarms, how much is archived.
    ViewHealth,
    /// The intervals in which messages may have been missed.
    ViewGaps,
    /// To say what became of a gap.
    CloseGap,
    /// How many records are in quarantine, since when, and why.
    SeeQuarantineCounts,
    /// The records in quarantine themselves.
    SeeQuarantineContent,
    /// To hand a record in quarantine to the pipeline once more, without seeing it.
    RetryQuarantine,
    /// Messages, and who speaks with whom, within the account's scope.
    ViewContent,
    /// To take messages out of the archive as files.
    Export,
    /// The audit trail.
    ViewAudit,
    /// To have the archive's completeness and integrity checked, and to see what came of it.
    Verify,
    /// Accounts with their roles and scopes, everybody's sessions and tokens, and groups.
    ManageAccounts,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 5] = [Self::Operator, Self::Reviewer, Self::Officer, Self::Auditor, Self::Administrator];

    /// The table of permissions.
    pub fn may(self, permission: Permission) -> bool {
        use Permission as P;
        match self {
            Self::Operator => matches!(permission, P::ViewHealth | P::ViewGaps | P::CloseGap | P::SeeQuarantineCounts | P::RetryQuarantine),
            Self::Reviewer => matches!(permission, P::ViewContent),
            Self::Officer => matches!(
                permission,
                P::ViewHealth | P::ViewGaps | P::CloseGap | P::SeeQuarantineCounts | P::SeeQuarantineContent | P::ViewContent | P::Export
            ),
            Self::Auditor => matches!(permission, P::ViewGaps | P::SeeQuarantineCounts | P::ViewAudit | P::Verify),
            Self::Administrator => matches!(permission, P::ManageAccounts),
        }
    }

    /// The role as it is written on the command line, in the configuration and in the audit trail.
    pub fn word(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Reviewer => "reviewer",
            Self::Officer => "officer",
            Self::Auditor => "auditor",
            Self::Administrator => "administrator",
        }
    }

    /// The role of this word.
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.word() == word)
    }

    /// Its number in sums such as `accounts.roles`.
    fn bit(self) -> i32 {
        match self {
            Self::Operator => 1,
            Self::Reviewer => 2,
            Self::Officer => 4,
            Self::Auditor => 8,
            Self::Administrator => 16,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl Permission {
    /// Every permission.
    pub const ALL: [Self; 11] = [
        Self::ViewHealth,
        Self::ViewGaps,
        Self::CloseGap,
        Self::SeeQuarantineCounts,
        Self::SeeQuarantineContent,
        Self::RetryQuarantine,
        Self::ViewContent,
        Self::Export,
        Self::ViewAudit,
        Self::Verify,
        Self::ManageAccounts,
    ];

    /// The permission in words that complete "may …".
    pub fn word(self) -> &'static str {
        match self {
            Self::ViewHealth => "see how the archive is doing",
            Self::ViewGaps => "see gaps",
            Self::CloseGap => "close gaps",
            Self::SeeQuarantineCounts => "see what is in quarantine",
            Self::SeeQuarantineContent => "read records in quarantine",
            Self::RetryQuarantine => "retry records in quarantine",
            Self::ViewContent => "read messages",
            Self::Export => "export messages",
            Self::ViewAudit => "read the audit trail",
            Self::Verify => "verify the archive",
            Self::ManageAccounts => "manage accounts",
        }
    }
}

/// The roles of an account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Roles(i32);

/// Two roles that no account may have together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "an account can't be {0} and {1}: who gives out rights must not be able to read messages, or one person alone could do both unseen; \
     make two accounts for two people"
)]
pub struct Exclusion(pub Role, pub Role);

impl Roles {
    /// Every role, for whoever runs the program on the machine itself.
    pub const ALL: Self = Self(31);

    /// These roles.
    pub fn of(roles: impl IntoIterator<Item = Role>) -> Self {
        Self(roles.into_iter().fold(0, |sum, role| sum | role.bit()))
    }

    /// As `accounts.roles` holds them; what this version does not know is left out.
    pub fn of_number(number: i32) -> Self {
        Self(number & Self::ALL.0)
    }

    /// As `accounts.roles` holds them.
    pub fn number(self) -> i32 {
        self.0
    }

    /// True if there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether the role is among them.
    pub fn has(self, role: Role) -> bool {
        self.0 & role.bit() != 0
    }

    /// Whether any of them may.
    pub fn may(self, permission: Permission) -> bool {
        self.iter().any(|role| role.may(permission))
    }

    /// Those that are in both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The roles, in the order of [`Role::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Role> {
        Role::ALL.into_iter().filter(move |role| self.has(*role))
    }

    /// Whether an account may have them together: administrators and those who read messages are different people.
    ///
    /// # Errors
    /// The two that exclude each other.
    pub fn check(self) -> Result<(), Exclusion> {
        let manages = self.iter().find(|role| role.may(Permission::ManageAccounts));
        let reads = self.iter().find(|role| READS_CONTENT.iter().any(|permission| role.may(*permission)));
        match (manages, reads) {
            (Some(manages), Some(reads)) => Err(Exclusion(manages, reads)),
            _ => Ok(()),
        }
    }
}

/// The permissions by which people see what others wrote.
const READS_CONTENT: [Permission; 3] = [Permission::ViewContent, Permission::Export, Permission::SeeQuarantineContent];

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<&str> = self.iter().map(Role::word).collect();
        f.write_str(&words.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by hand, so that a change of the table is a change of this test as well.
    #[test]
    fn each_role_may_what_the_matrix_says() {
        use Permission as P;
        // operator, reviewer, officer, auditor, administrator
        let matrix = [
            (P::ViewHealth, [true, false, true, false, false]),
            (P::ViewGaps, [true, false, true, true, false]),
            (P::CloseGap, [true, false, true, false, false]),
            (P::SeeQuarantineCounts, [true, false, true, true, false]),
            (P::SeeQuarantineContent, [false, false, true, false, false]),
            (P::RetryQuarantine, [true, false, false, false, false]),
            (P::ViewContent, [false, true, true, false, false]),
            (P::Export, [false, false, true, false, false]),
            (P::ViewAudit, [false, false, false, true, false]),
            (P::Verify, [false, false, false, true, false]),
            (P::ManageAccounts, [false, false, false, false, true]),
        ];
        assert_eq!(matrix.map(|(permission, _)| permission), Permission::ALL);
        for (permission, expected) in matrix {
            assert_eq!(Role::ALL.map(|role| role.may(permission)), expected, "{permission:?}");
        }
    }

    #[test]
    fn who_gives_out_rights_reads_nothing() {
        for role in [Role::Reviewer, Role::Officer] {
            let told = Roles::of([Role::Administrator, role]).check().unwrap_err();
            assert_eq!(told, Exclusion(Role::Administrator, role));
        }
        for roles in [
            vec![],
            vec![Role::Administrator],
            vec![Role::Administrator, Role::Operator, Role::Auditor],
            vec![Role::Officer, Role::Reviewer, Role::Operator, Role::Auditor],
        ] {
            assert_eq!(Roles::of(roles).check(), Ok(()));
        }
    }

    #[test]
    fn roles_are_kept_as_a_sum() {
        for role in Role::ALL {
            assert_eq!(Role::of_word(role.word()), Some(role));
            assert_eq!(Roles::of_number(role.bit()).iter().collect::<Vec<_>>(), [role]);
        }
        assert_eq!(Roles::of(Role::ALL), Roles::ALL);
        assert_eq!(Roles::of_number(1 | 4 | 1024).to_string(), "operator, officer");
        assert!(Roles::of([Role::Operator, Role::Auditor]).may(Permission::ViewAudit));
        assert!(!Roles::default().may(Permission::ViewHealth));
        assert_eq!(Role::of_word("root"), None);
    }
}
