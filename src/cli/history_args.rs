//! The arguments of `backfill` and `import`, and of `reconcile` as far as it asks the same sources.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use jid::BareJid;

use super::args::{ReportFormat, bare_jid};
use super::when::{When, Zone};
use crate::config::StoreUrl;

/// Examples of `backfill`.
const BACKFILL_EXAMPLES: &str = "\
Examples:
  xmpp-archiver backfill --node main --source prosody-sql --url sqlite:/var/lib/prosody/prosody.sqlite --from -2h
  xmpp-archiver backfill --node main --source prosody-files --path /var/lib/prosody --from 2026-11-22
  xmpp-archiver backfill --node main --source ejabberd-sql --url-env EJABBERD_DB --from \"2026-11-22 07:28\" --to \"2026-11-22 09:00\"
  xmpp-archiver backfill --node main --source mam --component backfill.example.com --secret-file /etc/xmpp-archiver/backfill.secret --all-rooms
  xmpp-archiver backfill --node main --source xep0227 --path export.xml --dry-run

What the archive holds already is recognised and not stored again, so it does no harm to run this twice, or over more time than \
was missed. It may run beside `xmpp-archiver run`. When it is broken off, the same command goes on where it was.";

/// Examples of `import`.
const IMPORT_EXAMPLES: &str = "\
Examples:
  xmpp-archiver import --node main --source cisco-jm --url-file /etc/xmpp-archiver/cisco.url --source-zone Europe/Berlin
  xmpp-archiver import --node main --source cisco-tc --path tc_msgarchive.csv
  xmpp-archiver import --node main --source openfire --url mysql://reader:…@db/openfire
  xmpp-archiver import --node main --source ejabberd-sql --url postgres://reader@db/ejabberd
  xmpp-archiver import --node main --source prosody-sql --url sqlite:prosody.sqlite --dry-run

A CSV file has the names of the columns in its first line. When it is broken off, the same command goes on where it was.";

/// `backfill`.
#[derive(Args, Debug)]
#[command(after_long_help = BACKFILL_EXAMPLES)]
pub struct BackfillArgs {
    /// Where the messages are
    #[arg(long, value_enum, value_name = "SOURCE")]
    pub source: BackfillSource,
    /// What both commands take.
    #[command(flatten)]
    pub common: HistoryArgs,
    /// How to ask the node itself.
    #[command(flatten)]
    pub mam: MamArgs,
}

/// `import`.
#[derive(Args, Debug)]
#[command(after_long_help = IMPORT_EXAMPLES)]
pub struct ImportArgs {
    /// Where the messages are
    #[arg(long, value_enum, value_name = "SOURCE")]
    pub source: ImportSource,
    /// What both commands take.
    #[command(flatten)]
    pub common: HistoryArgs,
    /// The table, if it does not have its usual name
    #[arg(long, value_name = "NAME")]
    pub table: Option<String>,
    /// The time zone of times that are written without one, such as Europe/Berlin
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    pub source_zone: String,
}

/// What both take.
#[derive(Args, Debug)]
pub struct HistoryArgs {
    /// The configured node that the messages belong to, if there are several
    #[arg(long, value_name = "NAME")]
    pub node: Option<String>,
    /// Where the source is.
    #[command(flatten)]
    pub source: SourceArgs,
    /// Said at this time or later: as with `search`
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub from: Option<When>,
    /// Said at this time or earlier; now, if not given
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub to: Option<When>,
    /// The time zone of --from and --to where they are given without one
    #[arg(long = "time", value_name = "ZONE", default_value = "utc")]
    pub zone: Zone,
    /// Store nothing, say what would be
    #[arg(long)]
    pub dry_run: bool,
    /// Begin anew where an earlier attempt was broken off
    #[arg(long)]
    pub restart: bool,
    /// How the result is written
    #[arg(long, value_enum, default_value_t)]
    pub format: ReportFormat,
}

/// Where a source is.
#[derive(Args, Clone, Debug, Default)]
pub struct SourceArgs {
    /// The database: sqlite:PATH, postgres://…, mysql://…
    #[arg(long, value_name = "URL", group = "place")]
    pub url: Option<String>,
    /// A file that holds the database's URL, for one with a password
    #[arg(long, value_name = "FILE", group = "place")]
    pub url_file: Option<PathBuf>,
    /// The environment variable that holds the database's URL
    #[arg(long, value_name = "VARIABLE", group = "place")]
    pub url_env: Option<String>,
    /// The file or directory, for sources that are none of databases
    #[arg(long, value_name = "PATH", group = "place")]
    pub path: Option<PathBuf>,
    /// PEM certificates to trust in place of the system's, for a database
    #[arg(long, value_name = "FILE")]
    pub tls_ca: Option<PathBuf>,
    /// Whose users the source holds, where it does not say and the node has several hosts
    #[arg(long, value_name = "DOMAIN")]
    pub host: Option<String>,
}

impl SourceArgs {
    /// The same arguments for another command line; a password is hidden.
    pub(super) fn flags(&self) -> Vec<String> {
        let hidden = |url: &String| StoreUrl::parse(url).map_or_else(|_wrong| "(hidden)".to_owned(), |url| url.to_string());
        let path = |path: &PathBuf| path.display().to_string();
        let given = [
            ("--url", self.url.as_ref().map(hidden)),
            ("--url-file", self.url_file.as_ref().map(path)),
            ("--url-env", self.url_env.clone()),
            ("--path", self.path.as_ref().map(path)),
            ("--tls-ca", self.tls_ca.as_ref().map(path)),
            ("--host", self.host.clone()),
        ];
        flags(given.into_iter().filter_map(|(name, value)| Some((name, value?))))
    }
}

fn flags<'f>(given: impl IntoIterator<Item = (&'f str, String)>) -> Vec<String> {
    given.into_iter().flat_map(|(name, value)| [name.to_owned(), quoted(&value)]).collect()
}

/// A word as a shell takes it.
pub(super) fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@,=+".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}

/// How the node's archives are asked for over its component port.
#[derive(Args, Debug, Default)]
pub struct MamArgs {
    /// Attach as this component rather than as the archive, which `run` does
    #[arg(long, value_name = "DOMAIN", requires = "secret_file")]
    pub component: Option<String>,
    /// The file that holds this component's secret
    #[arg(long, value_name = "FILE")]
    pub secret_file: Option<PathBuf>,
    /// A room whose archive is asked for
    #[arg(long, value_name = "JID", value_parser = bare_jid)]
    pub room: Vec<BareJid>,
    /// A user whose archive is asked for: needs our module for Prosody
    #[arg(long, value_name = "JID", value_parser = bare_jid)]
    pub account: Vec<BareJid>,
    /// All rooms that the node tells of, and those in the archive
    #[arg(long)]
    pub all_rooms: bool,
    /// All users with an archive: needs our module for Prosody
    #[arg(long)]
    pub all_accounts: bool,
}

impl MamArgs {
    /// The same arguments for another command line.
    pub(super) fn flags(&self) -> Vec<String> {
        let named =
            [("--component", self.component.clone()), ("--secret-file", self.secret_file.as_ref().map(|file| file.display().to_string()))];
        let mut words = flags(named.into_iter().filter_map(|(name, value)| Some((name, value?))));
        words.extend(flags(self.room.iter().map(|room| ("--room", room.to_string()))));
        words.extend(flags(self.account.iter().map(|account| ("--account", account.to_string()))));
        words.extend(
            [("--all-rooms", self.all_rooms), ("--all-accounts", self.all_accounts)]
                .iter()
                .filter(|(_, is_given)| *is_given)
                .map(|(name, _)| (*name).to_owned()),
        );
        words
    }
}

/// Where a backfill takes messages from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BackfillSource {
    /// Prosody's SQL storage: the table prosodyarchive
    ProsodySql,
    /// Prosody's internal storage: the directory of its data
    ProsodyFiles,
    /// ejabberd's SQL storage: the table archive
    EjabberdSql,
    /// The node itself, over its component port (XEP-0313)
    Mam,
    /// A file in the portable format with archives (XEP-0227)
    Xep0227,
}

impl BackfillSource {
    /// The word on the command line.
    pub(super) fn word(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

/// Where an import takes messages from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ImportSource {
    /// Cisco IM and Presence, Message Archiver: the table jm
    CiscoJm,
    /// Cisco IM and Presence, persistent chat: the table tc_msgarchive
    CiscoTc,
    /// Openfire's Monitoring plugin: the table ofMessageArchive
    Openfire,
    /// ejabberd's SQL storage: the table archive
    EjabberdSql,
    /// Prosody's SQL storage: the table prosodyarchive
    ProsodySql,
    /// Prosody's internal storage: the directory of its data
    ProsodyFiles,
    /// A file in the portable format with archives (XEP-0227)
    Xep0227,
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Arguments;

    fn parse(line: &str) -> bool {
        Arguments::try_parse_from(std::iter::once("xmpp-archiver").chain(line.split_whitespace())).is_ok()
    }

    #[test]
    fn lines_are_taken_or_refused() {
        for line in [
            "backfill --source prosody-sql --url sqlite:a --node n --from -2h --dry-run --format json",
            "backfill --source mam --room r@b --all-accounts --component c.b --secret-file a",
            "import --source cisco-jm --path a.csv --source-zone Europe/Berlin --restart",
        ] {
            assert!(parse(line), "{line}");
        }
        for line in ["backfill", "backfill --source cisco-jm", "backfill --source xep0227 --path a --url b", "import --source mam"] {
            assert!(!parse(line), "{line}");
        }
    }

    #[test]
    fn arguments_are_told_again_without_their_password() {
        let source = SourceArgs { url: Some("postgres://me:hunter2@db/a".to_owned()), host: Some("h".to_owned()), ..SourceArgs::default() };
        assert_eq!(source.flags().join(" "), "--url 'postgres://me:(hidden)@db/a' --host h");
        let mam = MamArgs { component: Some("c.h".to_owned()), secret_file: Some("it's".into()), all_rooms: true, ..MamArgs::default() };
        assert_eq!(mam.flags().join(" "), "--component c.h --secret-file 'it'\\''s' --all-rooms");
    }
}
