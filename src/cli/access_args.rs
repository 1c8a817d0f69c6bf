//! What can be said to `user`, `group`, `token` and `audit`.

use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::args::{MessageFormat, ReportFormat, TimeArgs};
use super::when::When;
use crate::access::{Action, Outcome, Role};

/// `user`.
#[derive(Args, Debug)]
pub struct UserArgs {
    /// What to do with accounts.
    #[command(subcommand)]
    pub action: UserAction,
}

/// Whose messages.
#[derive(Args, Debug, Default)]
pub struct ScopeArgs {
    /// A person (alice@example.com), a domain (example.com), or all domains below one (*.example.com); several: any of them
    #[arg(long, value_name = "JID")]
    pub who: Vec<String>,
    /// The members of a group, whoever they are at the time
    #[arg(long, value_name = "NAME")]
    pub group: Vec<String>,
    /// Everything said in a room
    #[arg(long, value_name = "JID")]
    pub room: Vec<String>,
    /// Only what was sent at this time or later
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub from: Option<When>,
    /// Only what was sent at this time or earlier
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub to: Option<When>,
}

/// Why.
#[derive(Args, Debug)]
pub struct ReasonArgs {
    /// Why, for the audit trail
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

/// `user …`.
#[derive(Debug, Subcommand)]
pub enum UserAction {
    /// Make an account
    ///
    /// The password is read from the terminal without being shown, or from standard input; never from the command line, where others
    /// could read it.
    Add {
        /// The name to sign in with
        #[arg(value_name = "NAME")]
        name: String,
        /// What the account is there for; several: all of them. An administrator can be neither reviewer nor officer
        #[arg(long, value_enum, value_name = "ROLE")]
        role: Vec<RoleArg>,
        /// The name for people
        #[arg(long, value_name = "TEXT")]
        display_name: Option<String>,
        /// Who it is at the provider of [web.oidc]; without --password it is the only way to sign in
        #[arg(long, value_name = "SUBJECT")]
        oidc: Option<String>,
        /// Set a password beside --oidc
        #[arg(long, requires = "oidc")]
        password: bool,
        /// The password must be changed at the first sign-in
        #[arg(long)]
        must_change: bool,
        /// Whose messages a reviewer may read.
        #[command(flatten)]
        scope: ScopeArgs,
        /// Why.
        #[command(flatten)]
        reason: ReasonArgs,
    },
    /// List the accounts
    List {
        /// How they are written
        #[arg(long, value_enum, default_value_t)]
        format: ReportFormat,
    },
    /// Show an account with its sessions and tokens
    Show {
        /// Its name
        #[arg(value_name = "NAME")]
        name: String,
        /// How it is written
        #[arg(long, value_enum, default_value_t)]
        format: ReportFormat,
    },
    /// Give an account these roles in place of those that it has
    SetRole {
        /// Its name
        #[arg(value_name = "NAME")]
        name: String,
        /// The roles; none: it may nothing
        #[arg(value_enum, value_name = "ROLE")]
        role: Vec<RoleArg>,
        /// Why.
        #[command(flatten)]
        reason: ReasonArgs,
    },
    /// Say whose messages a reviewer may read, in place of what was said before
    ///
    /// Without any of --who, --group and --room: nobody's.
    SetScope {
        /// The account's name
        #[arg(value_name = "NAME")]
        name: String,
        /// Whose messages.
        #[command(flatten)]
        scope: ScopeArgs,
        /// Why.
        #[command(flatten)]
        reason: ReasonArgs,
    },
    /// Set a password, read as by `add`; ends all sessions of the account
    SetPassword {
        /// The account's name
        #[arg(value_name = "NAME")]
        name: String,
        /// It must be changed at the next sign-in
        #[arg(long)]
        must_change: bool,
        /// Why.
        #[command(flatten)]
        reason: ReasonArgs,
    },
    /// Say who an account is at the provider of [web.oidc]
    SetSubject {
        /// The account's name
        #[arg(value_name = "NAME")]
        name: String,
        /// The subject there; none: nobody
        #[arg(value_name = "SUBJECT")]
        subject: Option<String>,
        /// Why.
        #[command(flatten)]
        reason: ReasonArgs,
    },
    /// Set the name for people
    Rename {
        /// The account's name
        #[arg(value_name = "NAME")]
        name: String,
        /// The name for people
        #[arg(value_name = "TEXT")]
        display_name: String,
        /// Why.
        #[command(flatten)]
        reason: ReasonArgs,
    },
    /// Give an account a second factor and show it this once, or take it away
    ///
    /// People can do that themselves in the console; this is for the first account, and for whoever lost a phone.
    Totp {
        /// The account's name
        #[arg(value_name = "NAME")]
        name: String,
        /// Take it away; ends all sessions of the account
        #[arg(long)]
        remove: bool,
        /// Why.
        #[command(flatten)]
        reason: ReasonArgs,
    },
    /// Let nobody sign in with an account; its sessions end, its tokens are refused
    ///
    /// Accounts are not removed, since the audit trail names them.
    Disable {
        /// Its name
        #[arg(value_name = "NAME")]
        name: String,
        /// Why.
        #[command(flatten)]
        reason: ReasonArgs,
    },
    /// Undo `disable`
    Enable {
        /// Its name
        #[arg(value_name = "NAME")]
        name: String,
        /// Why.
        #[command(flatten)]
        reason: ReasonArgs,
    },
    /// Forget failed attempts to sign in
    Unlock {
        /// The account's name
        #[arg(value_name = "NAME")]
        name: String,
        /// Why.
        #[command(flatten)]
        reason: ReasonArgs,
    },
    /// End all sessions of an account
    SignOut {
        /// Its name
        #[arg(value_name = "NAME")]
        name: String,
    },
}

/// `group`.
#[derive(Args, Debug)]
pub struct GroupArgs {
    /// What to do with groups.
    #[command(subcommand)]
    pub action: GroupAction,
}

/// `group …`.
#[derive(Debug, Subcommand)]
pub enum GroupAction {
    /// List the groups and who is in them
    List {
        /// How they are written
        #[arg(long, value_enum, default_value_t)]
        format: ReportFormat,
    },
    /// Make a group, or give it these members in place of those that it has
    Set {
        /// Its name
        #[arg(value_name = "NAME")]
        name: String,
        /// People (alice@example.com), domains (example.com), all domains below one (*.example.com)
        #[arg(value_name = "JID", required = true)]
        members: Vec<String>,
        /// Why.
        #[command(flatten)]
        reason: ReasonArgs,
    },
    /// Remove a group; scopes that name it reach nobody by it from then on
    Remove {
        /// Its name
        #[arg(value_name = "NAME")]
        name: String,
        /// Why.
        #[command(flatten)]
        reason: ReasonArgs,
    },
}

/// `token`.
#[derive(Args, Debug)]
pub struct TokenArgs {
    /// What to do with tokens of the API.
    #[command(subcommand)]
    pub action: TokenAction,
}

/// `token …`.
#[derive(Debug, Subcommand)]
#[expect(clippy::large_enum_variant, reason = "there is one for each process")]
pub enum TokenAction {
    /// Make a token for an account and print it this once
    Add {
        /// The account's name
        #[arg(value_name = "NAME")]
        account: String,
        /// What it is for
        #[arg(value_name = "PURPOSE")]
        name: String,
        /// Of the account's roles these; several: all of them; none: all that the account has at the time
        #[arg(long, value_enum, value_name = "ROLE")]
        role: Vec<RoleArg>,
        /// In how many days it ends
        #[arg(long, value_name = "N", default_value = "90", conflicts_with = "forever")]
        days: NonZeroU32,
        /// It does not end by itself
        #[arg(long)]
        forever: bool,
        /// Of what the account may read only this.
        #[command(flatten)]
        scope: ScopeArgs,
    },
    /// List the tokens, without their texts
    List {
        /// Of this account
        #[arg(value_name = "NAME")]
        account: Option<String>,
        /// How they are written
        #[arg(long, value_enum, default_value_t)]
        format: ReportFormat,
    },
    /// Revoke a token for good
    Revoke {
        /// Its number, as `list` names it
        #[arg(value_name = "ID")]
        id: i64,
    },
}

/// `audit`.
#[derive(Args, Debug)]
pub struct AuditArgs {
    /// What to do with the audit trail.
    #[command(subcommand)]
    pub action: AuditAction,
}

/// Which rows.
#[derive(Args, Debug)]
pub struct AuditFilterArgs {
    /// By this account, or by cli:USER
    #[arg(long, value_name = "NAME")]
    pub actor: Option<String>,
    /// What was done; several: any of them
    #[arg(long, value_name = "ACTION", value_parser = action)]
    pub action: Vec<Action>,
    /// What came of it
    #[arg(long, value_enum, value_name = "OUTCOME")]
    pub outcome: Option<OutcomeArg>,
    /// From this address
    #[arg(long, value_name = "ADDRESS")]
    pub address: Option<String>,
    /// With this text in the target or in the reason
    #[arg(long, value_name = "TEXT")]
    pub text: Option<String>,
    /// When.
    #[command(flatten)]
    pub time: TimeArgs,
}

/// How rows of the audit trail are exported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum AuditFormat {
    /// One JSON object a line
    #[default]
    Jsonl,
    /// Comma-separated values with a header line
    Csv,
}

/// `audit …`.
#[derive(Debug, Subcommand)]
pub enum AuditAction {
    /// List rows of the audit trail, the newest first
    ///
    /// That it is read is a row of it as well.
    List {
        /// Which rows.
        #[command(flatten)]
        filter: AuditFilterArgs,
        /// The most rows to print
        #[arg(long, value_name = "N", default_value = "50")]
        limit: NonZeroU32,
        /// Only rows before the one of this number
        #[arg(long, value_name = "ID")]
        before: Option<i64>,
        /// How they are written
        #[arg(long, value_enum, default_value_t)]
        format: MessageFormat,
    },
    /// Write all rows to a file, the oldest first
    Export {
        /// Which rows.
        #[command(flatten)]
        filter: AuditFilterArgs,
        /// How they are written
        #[arg(long, value_enum, default_value_t)]
        format: AuditFormat,
        /// Write to this file in place of standard output; only its owner can read it
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Why.
        #[command(flatten)]
        reason: ReasonArgs,
    },
}

/// A role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RoleArg {
    /// Keeps the archive running; never sees what people wrote
    Operator,
    /// Reads messages within the scope of the account
    Reviewer,
    /// Reads and exports all messages
    Officer,
    /// Reads the audit trail and verifies the archive; never sees what people wrote
    Auditor,
    /// Sees to accounts, tokens and groups; never sees what people wrote
    Administrator,
}

impl RoleArg {
    /// The role.
    pub fn role(self) -> Role {
        match self {
            Self::Operator => Role::Operator,
            Self::Reviewer => Role::Reviewer,
            Self::Officer => Role::Officer,
            Self::Auditor => Role::Auditor,
            Self::Administrator => Role::Administrator,
        }
    }
}

/// What came of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OutcomeArg {
    /// It was done
    Done,
    /// It was not allowed
    Denied,
    /// It went wrong
    Failed,
}

impl OutcomeArg {
    /// The outcome.
    pub fn outcome(self) -> Outcome {
        match self {
            Self::Done => Outcome::Done,
            Self::Denied => Outcome::Denied,
            Self::Failed => Outcome::Failed,
        }
    }
}

fn action(word: &str) -> Result<Action, String> {
    Action::of_word(word).ok_or_else(|| {
        let words: Vec<&str> = Action::ALL.iter().map(|action| action.word()).collect();
        format!("must be one of {}", words.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Arguments;

    #[test]
    fn roles_have_one_name_everywhere() {
        for arg in RoleArg::value_variants() {
            assert_eq!(arg.to_possible_value().unwrap().get_name(), arg.role().word());
        }
        assert_eq!(RoleArg::value_variants().len(), Role::ALL.len());
        for arg in OutcomeArg::value_variants() {
            assert_eq!(arg.to_possible_value().unwrap().get_name(), arg.outcome().word());
        }
    }

    #[test]
    fn actions_are_named_as_in_the_trail() {
        assert_eq!(action("sign-in"), Ok(Action::SignIn));
        assert!(action("look").unwrap_err().contains("view-conversation"));
    }

    #[test]
    fn lines_that_are_right_and_lines_that_are_wrong() {
        let parse = |line: &str| Arguments::try_parse_from(std::iter::once("xmpp-archiver").chain(line.split_whitespace()));
        for line in [
            "user add ann --role officer --role operator --display-name Ann --must-change --reason why",
            "user add ann --oidc 4711 --password --role reviewer --who *.a.example --group b --room r@b --from -7d",
            "user set-role ann",
            "user set-scope ann --who a@b --to 2026-11-22",
            "user totp ann --remove --reason lost",
            "group set sales a@b c.example",
            "token add ann nightly --role reviewer --days 5",
            "token add ann nightly --forever",
            "audit list --actor cli:root --action search --action sign-in --outcome denied --limit 5 --before 7 --from -2h",
            "audit export --format csv --output a --reason audit",
        ] {
            assert!(parse(line).is_ok(), "{line}: {:?}", parse(line).err());
        }
        for line in [
            "user",
            "user add",
            "user add ann --role root",
            "user add ann --password",
            "user set-password ann secret",
            "group set sales",
            "token add ann",
            "token add ann nightly --days 5 --forever",
            "audit list --action look",
        ] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
    }
}
