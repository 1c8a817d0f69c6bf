//! Exports by the clock: when the next one is due, and one turn of it: what is new is added to the series, and what was not delivered yet is.
//!
//! What is known from one turn to the next lies in the series: its exports (`series`), how far each is delivered (`deliver`), and the day
//! of the last turn that came to its end. So a turn that was broken off is made up for, and none is made twice.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use jiff::Zoned;
use jiff::civil::{Date, Time};

use super::deliver::{self, Delivered};
use super::series::{self, Series};
use super::{Export, ExportError, Produced, Watch, s3};
use crate::config::ScheduleConfig;
use crate::retrieve::Archive;

/// The day of the last turn that came to its end.
const LAST_TURN: &str = ".last-turn";

/// The last export whose end the audit trail was told.
const TOLD: &str = ".told";
/// The most exports that are told at once.
const MAX_UNTOLD: usize = 100;

/// What a turn came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// Exports that were finished, those included that an earlier turn finished and nobody was told of ([`note_told`]).
    pub exports: Vec<Produced>,
    /// What was delivered elsewhere.
    pub delivered: Delivered,
}

impl Turn {
    /// Messages in the exports that were finished.
    pub fn messages(&self) -> u64 {
        self.exports.iter().map(|produced| produced.messages).sum()
    }
}

/// Whether the last turn was noted for a day that it can't have been made for: the clock was ahead then. It can have been tomorrow's, in another zone.
pub fn is_ahead(now: &Zoned, last: Date) -> bool {
    now.date().tomorrow().is_ok_and(|tomorrow| last > tomorrow)
}

/// When the next turn is due: today, unless today's turn is over. A turn that was missed is due at once. One that was made while the clock was
/// ahead does not count: else there would be none until that day.
///
/// # Errors
/// When the calendar ends.
pub fn due(now: &Zoned, at: Time, last: Option<Date>) -> Result<Zoned, jiff::Error> {
    let (today, last) = (now.date(), last.filter(|last| !is_ahead(now, *last)));
    let missed = last.is_some_and(|last| today.yesterday().is_ok_and(|yesterday| last < yesterday));
    let day = match last {
        Some(last) if last >= today => today.tomorrow()?,
        _ => today,
    };
    let due = day.to_datetime(at).to_zoned(now.time_zone().clone())?;
    Ok(if missed && due > *now { now.clone() } else { due })
}

/// The day of the turn that is made now: before today's hour it makes up for yesterday's, and today's is still to come.
///
/// # Errors
/// When the calendar ends.
pub fn day_of(now: &Zoned, at: Time) -> Result<Date, jiff::Error> {
    let is_early = now.date().to_datetime(at).to_zoned(now.time_zone().clone())? > *now;
    if is_early { now.date().yesterday() } else { Ok(now.date()) }
}

/// The day of the last turn of a series.
pub fn last_turn(series: &Path) -> Option<Date> {
    fs::read_to_string(series.join(LAST_TURN)).ok()?.trim().parse().ok()
}

/// What a schedule asks for.
///
/// # Errors
/// When its conditions can't be read.
pub fn export(config: &ScheduleConfig) -> Result<Export, ExportError> {
    let query = crate::web::conditions(&config.query).map_err(ExportError::Refused)?;
    let (zone, reason) = (config.zone.clone(), Some(format!("scheduled as \"{}\"", config.name)));
    let export = Export::new(&config.store, "service:export");
    Ok(Export { query, format: config.format, zone, reason, with_xml: config.xml, ..export })
}

/// One turn, for the day that it is of. `turn` tells what it came to, also where it fails.
///
/// # Errors
/// When another process is at it, the archive can't be read, a file can't be written, an export is withheld, or it can't be delivered. The next
/// turn goes on where this one ended.
pub async fn turn(archive: &Archive, config: &ScheduleConfig, day: Date, watch: Watch<'_>, turn: &mut Turn) -> Result<(), ExportError> {
    let path = config.path.as_path();
    let series = Series::open(path)?;
    let export = export(config)?;
    turn.exports = untold(path)?;
    let added = add(archive, export, &series, watch, turn).await;
    // What is finished is delivered, whatever became of what is new.
    if let Some(mail) = &config.mail {
        turn.delivered = deliver::by_mail(path, mail, watch).await?;
    }
    if let Some(s3) = &config.s3 {
        turn.delivered = s3::by_s3(path, s3, watch).await?;
    }
    added?;
    keep(&path.join(LAST_TURN), &day.to_string())
}

/// Finished exports that the audit trail does not know of, since the process ended or the trail could not be written: the last hundred of them.
pub(super) fn untold(series: &Path) -> Result<Vec<Produced>, ExportError> {
    let told = fs::read_to_string(series.join(TOLD)).unwrap_or_default();
    let is_new = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().as_ref() > told.trim());
    let new: Vec<PathBuf> = series::finished(series)?.into_iter().filter(is_new).collect();
    new.iter().skip(new.len().saturating_sub(MAX_UNTOLD)).map(|path| super::produced(path)).collect()
}

/// Notes that the audit trail knows of these.
///
/// # Errors
/// When it can't be written; then the next turn tells of them once more.
pub fn note_told(series: &Path, exports: &[Produced]) -> Result<(), ExportError> {
    let names = exports.iter().filter_map(|produced| produced.directory.file_name());
    match names.max() {
        Some(last) => keep(&series.join(TOLD), &last.to_string_lossy()),
        None => Ok(()),
    }
}

/// Finishes what was broken off, then adds what is new.
async fn add(archive: &Archive, export: Export, series: &Series, watch: Watch<'_>, turn: &mut Turn) -> Result<(), ExportError> {
    let goes_on = series::is_unfinished(series)?;
    turn.exports.extend(series::add(archive, export.clone(), series, watch).await?);
    if goes_on {
        turn.exports.extend(series::add(archive, export, series, watch).await?);
    }
    Ok(())
}

/// Writes a small file as a whole, durably.
pub(super) fn keep(path: &Path, text: &str) -> Result<(), ExportError> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let new: PathBuf = path.with_file_name(format!("{name}.new"));
    let written = File::create(&new).and_then(|mut file| {
        std::io::Write::write_all(&mut file, text.as_bytes())?;
        file.sync_all()
    });
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let sync = || File::open(directory).and_then(|directory| directory.sync_all());
    written.and_then(|()| fs::rename(&new, path)).and_then(|()| sync()).map_err(ExportError::file(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_due_once_a_day_and_made_up_for() {
        let at = Time::constant(2, 0, 0, 0);
        let now = |text: &str| text.parse::<Zoned>().unwrap();
        let due = |text: &str, last: Option<&str>| due(&now(text), at, last.map(|last| last.parse().unwrap())).unwrap().to_string();
        let berlin = |text: &str| format!("2026-11-{text}+01:00[Europe/Berlin]");
        assert_eq!(due(&berlin("22T01:00:00"), Some("2026-11-21")), berlin("22T02:00:00"));
        assert_eq!(due(&berlin("22T03:00:00"), Some("2026-11-21")), berlin("22T02:00:00"), "it is late");
        assert_eq!(due(&berlin("22T03:00:00"), Some("2026-11-22")), berlin("23T02:00:00"));
        assert_eq!(due(&berlin("22T03:00:00"), None), berlin("22T02:00:00"), "the first one");
        assert_eq!(due(&berlin("22T01:00:00"), Some("2026-11-20")), berlin("22T01:00:00"), "yesterday's was missed");
        assert_eq!(due(&berlin("22T03:00:00"), Some("2026-11-23")), berlin("23T02:00:00"), "it was made in another zone");
        assert_eq!(due(&berlin("23T02:00:00"), Some("2026-11-23")), berlin("24T02:00:00"));
        for ahead in ["2026-11-24", "2036-01-01"] {
            assert_eq!(due(&berlin("22T03:00:00"), Some(ahead)), berlin("22T02:00:00"), "the clock was ahead");
            assert_eq!(due(&berlin("22T01:00:00"), Some(ahead)), berlin("22T02:00:00"), "the clock was ahead");
        }
        let day = |text: &str| day_of(&now(&berlin(text)), at).unwrap().to_string();
        assert_eq!([day("22T01:59:59"), day("22T02:00:00")], ["2026-11-21", "2026-11-22"]);
        // The clocks go from 02:00 to 03:00 on that day.
        let spring = due("2026-03-29T00:30:00+01:00[Europe/Berlin]", Some("2026-03-28"));
        assert_eq!(spring, "2026-03-29T03:00:00+02:00[Europe/Berlin]");
    }
}
