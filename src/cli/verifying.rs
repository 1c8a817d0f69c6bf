//! `export --verify`: whether a finished export is still what it was when it was made.
//!
//! The files are compared with the export's own lists, and the hash of these with the audit trail, where it can be reached: who changes files
//! can make new lists, but no new row of the trail.

use std::path::Path;

use super::connect::block_on;
use super::output::{self, tell};
use super::{Failure, access};
use crate::access::{Action, AuditFilter, AuditRow};
use crate::config::Config;
use crate::export::verify::{Verified, verify};
use crate::time::rfc3339;

/// Runs the command.
pub(super) fn execute(config: &Config, directory: &Path) -> Result<(), Failure> {
    let found = verify(directory).map_err(super::production::told)?;
    for problem in &found.problems {
        output::print(&format!("{problem}\n"))?;
    }
    let untold = found.wrong - found.problems.len() as u64;
    if untold > 0 {
        output::print(&format!("{untold} more problems\n"))?;
    }
    let is_known = in_trail(config, &found.sums_sha256)?;
    output::print(&told(&found))?;
    if found.wrong > 0 || !is_known { Err(Failure::ProblemFound) } else { Ok(()) }
}

fn told(found: &Verified) -> String {
    let delivered =
        if found.delivered > 0 { format!(", {} more were delivered elsewhere and are not here", found.delivered) } else { String::new() };
    let files = format!("{} files are as they were made{delivered}; {} messages by the manifest\n", found.files, found.messages);
    format!("{files}SHA-256 of SHA256SUMS: {}\n", found.sums_sha256)
}

/// Whether the audit trail has this hash, or can't be asked, which is told.
fn in_trail(config: &Config, sums_sha256: &str) -> Result<bool, Failure> {
    match block_on(row(config, sums_sha256)) {
        Ok(Some(row)) => {
            let number = row.target.get("export").map(|number| format!(" of export {number}")).unwrap_or_default();
            output::print(&format!("the audit trail has the same hash: row {} of {}{number}\n", row.id, rfc3339(row.at)))?;
            Ok(true)
        }
        Ok(None) => {
            let said =
                "the audit trail tells of no export with this hash: it was changed, or made for another archive or by an older version";
            output::print(&format!("{said}\n"))?;
            Ok(false)
        }
        Err(failure) => {
            tell(&format!("not compared with the audit trail: {failure}"));
            Ok(true)
        }
    }
}

async fn row(config: &Config, sums_sha256: &str) -> Result<Option<AuditRow>, Failure> {
    let filter = AuditFilter { actions: vec![Action::ExportEnd], text: Some(sums_sha256.to_owned()), limit: 1, ..AuditFilter::default() };
    let rows = access::open(config)?.audit(&access::viewer(), &filter).await.map_err(access::failure)?;
    Ok(rows.into_iter().next())
}
