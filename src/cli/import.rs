//! `import`: takes over history from another archive.

use super::Failure;
use super::feeding::Feeding;
use super::history::{Job, interval};
use super::history_args::{ImportArgs, ImportSource};
use crate::config::Config;
use crate::history::Via;
use crate::history::table::Kind;

/// Runs the command.
pub fn execute(config: Config, args: ImportArgs) -> Result<(), Failure> {
    let common = &args.common;
    let errand = Feeding { args: common, via: Via::Import };
    let job = Job::new(&config, common.node.as_deref(), &common.source, interval(common)?, errand)?;
    match args.source {
        ImportSource::ProsodySql => job.prosody_sql(),
        ImportSource::EjabberdSql => job.ejabberd_sql(),
        ImportSource::CiscoJm => job.table(Kind::CiscoJm, &args),
        ImportSource::CiscoTc => job.table(Kind::CiscoTc, &args),
        ImportSource::Openfire => job.table(Kind::Openfire, &args),
        ImportSource::ProsodyFiles => job.prosody_files(),
        ImportSource::Xep0227 => job.xep0227(),
    }
}
