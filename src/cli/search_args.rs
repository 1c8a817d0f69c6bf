//! What can be said to `search` and `show`, and the conditions that `export` takes as well.

use std::num::NonZeroU64;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};
use jid::BareJid;

use super::args::{MessageFormat, PageArgs, TimeArgs, bare_jid};
use crate::retrieve::Pattern;
use crate::retrieve::vocabulary::{DIRECTIONS, HAS, KINDS, Word, number};

/// The conditions of `search` and `export`.
#[derive(Args, Debug, Default)]
pub struct Filter {
    /// What the body or the subject says; see above for what can be written
    #[arg(value_name = "TEXT")]
    pub text: Vec<String>,
    /// Take TEXT for parts of the text that are found anywhere, also within words; slow in a large archive
    #[arg(long)]
    pub substring: bool,
    /// Who wrote or got it, in a room too: a JID, a domain, or either with *; several: all of them
    #[arg(long, value_name = "WHO", value_parser = Pattern::parse)]
    pub participant: Vec<Pattern>,
    /// The same; several: any of them
    #[arg(long, value_name = "WHO", value_parser = Pattern::parse)]
    pub any_participant: Vec<Pattern>,
    /// Who wrote it; several: any of them
    #[arg(long, value_name = "WHO", value_parser = Pattern::parse)]
    pub sender: Vec<Pattern>,
    /// Who was to get it or got it; several: any of them
    #[arg(long, value_name = "WHO", value_parser = Pattern::parse)]
    pub recipient: Vec<Pattern>,
    /// Who was to get it or got it; several: all of them
    #[arg(long, value_name = "WHO", value_parser = Pattern::parse)]
    pub every_recipient: Vec<Pattern>,
    /// The room in which it was said; several: any of them
    #[arg(long, value_name = "JID", value_parser = bare_jid)]
    pub room: Vec<BareJid>,
    /// The conversation by its whole name, as `search` shows it
    #[arg(long, value_name = "NAME")]
    pub conversation: Option<String>,
    /// The archive's id of the message, or one of its stanza ids
    #[arg(long, value_name = "ID", allow_hyphen_values = true)]
    pub id: Option<String>,
    /// What kind of record it is; several: any of them
    #[arg(long, value_name = "KIND", value_parser = word(&KINDS))]
    pub kind: Vec<i16>,
    /// Which way it went; several: any of them
    #[arg(long, value_name = "WAY", value_parser = word(&DIRECTIONS))]
    pub direction: Vec<i16>,
    /// The node that mirrored it first; several: any of them
    #[arg(long, value_name = "NAME")]
    pub node: Vec<String>,
    /// What it has; several: all of them
    #[arg(long, value_name = "WHAT", value_parser = word(&HAS))]
    pub has: Vec<i16>,
    /// Only what is encrypted end to end; the same as --has encryption
    #[arg(long)]
    pub encrypted: bool,
    /// Include receipts, markers and chat states
    #[arg(long)]
    pub all: bool,
}

/// `search`.
#[derive(Args, Debug)]
pub struct SearchArgs {
    /// Which messages.
    #[command(flatten)]
    pub filter: Filter,
    /// When.
    #[command(flatten)]
    pub time: TimeArgs,
    /// In which order.
    #[command(flatten)]
    pub page: PageArgs,
    /// What comes first: what --order says of the time, or what fits TEXT best (among the newest 2000 that do)
    #[arg(long, value_enum, default_value_t)]
    pub sort: Sort,
    /// Only say how many there are: counted up to 10,000, beyond that estimated
    #[arg(long, conflicts_with_all = ["after", "context", "xml"])]
    pub count: bool,
    /// Show so many messages before and after each that is found; not in csv
    #[arg(long, value_name = "N", conflicts_with = "xml")]
    pub context: Option<usize>,
    /// The most messages to print
    #[arg(long, value_name = "N", default_value = "50")]
    pub limit: NonZeroU64,
    /// How they are written
    #[arg(long, value_enum, default_value_t)]
    pub format: MessageFormat,
    /// Add the original stanza, passwords of rooms redacted; not in a table
    #[arg(long)]
    pub xml: bool,
    /// The store, if several are configured
    #[arg(long, value_name = "NAME")]
    pub store: Option<String>,
}

/// `show`.
#[derive(Args, Debug)]
pub struct ShowArgs {
    /// A room's JID, or the two JIDs of a conversation between two people; or the name of a conversation as `search` shows it
    #[arg(required_unless_present = "id", conflicts_with = "id", num_args = 1..=2, value_name = "CONVERSATION")]
    pub conversation: Vec<String>,
    /// One message instead, by the archive's id: its versions, who got it, who was in the room, and what was said around it
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(i64).range(1..))]
    pub id: Option<i64>,
    /// With --id: how many messages before and after it are shown
    #[arg(long, value_name = "N", default_value_t = 3, requires = "id")]
    pub context: usize,
    /// When.
    #[command(flatten)]
    pub time: TimeArgs,
    /// In which order.
    #[command(flatten)]
    pub page: PageArgs,
    /// The most messages to print
    #[arg(long, value_name = "N", default_value = "50")]
    pub limit: NonZeroU64,
    /// How they are written
    #[arg(long, value_enum, default_value_t)]
    pub format: MessageFormat,
    /// Include receipts, markers and chat states
    #[arg(long)]
    pub all: bool,
    /// Add the original stanza, passwords of rooms redacted; not in a table
    #[arg(long)]
    pub xml: bool,
    /// Tell who was in the room, too
    #[arg(long)]
    pub occupants: bool,
    /// The store, if several are configured
    #[arg(long, value_name = "NAME")]
    pub store: Option<String>,
}

/// What comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Sort {
    /// In the order of time
    #[default]
    Time,
    /// What fits best
    Relevance,
}

/// A word of a list, as the number that it stands for.
fn word(list: &'static [Word]) -> impl TypedValueParser<Value = i16> {
    let values = list.iter().map(|word| PossibleValue::new(word.word).aliases(word.aliases).help(word.about));
    PossibleValuesParser::new(values).try_map(move |text| number(list, &text).ok_or("is no such word"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use crate::cli::args::Arguments;
    use crate::retrieve::vocabulary::CONDITIONS;

    /// What the command line has beside the conditions of the table: a short form of one, and what is about pages, files and the store.
    const OWN: [&str; 11] = ["encrypted", "time", "order", "after", "sort", "count", "context", "limit", "format", "xml", "store"];

    #[test]
    fn every_condition_is_an_option() {
        let command = Arguments::command();
        for name in ["search", "export"] {
            let command = command.find_subcommand(name).unwrap();
            let options: Vec<String> =
                command.get_arguments().map(|option| option.get_long().unwrap_or(option.get_id().as_str()).to_owned()).collect();
            for condition in CONDITIONS {
                assert!(options.iter().any(|option| option == condition.option), "{name} lacks {}", condition.option);
            }
            if name == "search" {
                let is_known = |option: &str| OWN.contains(&option) || CONDITIONS.iter().any(|condition| condition.option == option);
                assert_eq!(options.into_iter().find(|option| !is_known(option)), None, "an option that the others lack");
            }
        }
    }
}
