//! What can be said to `alarms`.

use clap::{Args, Subcommand};

use super::args::ReportFormat;
use crate::alarm::Name;

/// `alarms`.
#[derive(Args, Debug)]
pub struct AlarmsArgs {
    /// What to do.
    #[command(subcommand)]
    pub action: AlarmsAction,
}

/// `alarms …`.
#[derive(Debug, Subcommand)]
pub enum AlarmsAction {
    /// Send a test by webhook, XMPP and e-mail, as configured, and say what happened
    ///
    /// A running archiver sends it by the settings that it has. Where none runs, this command does, and attaches to the nodes for a moment. Exits
    /// with 3 if a way fails.
    Test {
        /// How the outcome is written
        #[arg(long, value_enum, default_value_t)]
        format: ReportFormat,
    },
    /// Tell the running archiver that alarms were seen
    ///
    /// What has merely happened (a stanza was lost) is cleared; what lasts is marked, and cleared when it is over.
    Acknowledge {
        /// The alarm's name, as `status` shows it; all, if not given
        #[arg(value_name = "NAME", value_parser = alarm_name)]
        name: Option<Name>,
        /// What it is about, as `status` shows it; anything, if not given
        #[arg(value_name = "SUBJECT")]
        subject: Option<String>,
    },
}

fn alarm_name(text: &str) -> Result<Name, String> {
    let known = || Name::ALL.iter().map(|name| name.label()).collect::<Vec<_>>().join(", ");
    Name::from_label(text).ok_or_else(|| format!("must be one of {}", known()))
}
