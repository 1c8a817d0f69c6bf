//! `audit`: who did what.

use serde_json::{Value, json};

use super::access::{failure, open, viewer};
use super::access_args::{AuditAction, AuditArgs, AuditFilterArgs, AuditFormat};
use super::args::MessageFormat;
use super::connect::block_on;
use super::gaps::span;
use super::output::{Output, tell};
use super::{Failure, table};
use crate::access::audit::MAX_AUDIT_PAGE;
use crate::access::{Access, Action, AuditFilter, AuditRow, Event, Viewer};
use crate::config::Config;
use crate::time::rfc3339;

/// The columns of CSV, and the keys of JSON.
pub(crate) const COLUMNS: [&str; 11] = ["id", "at", "actor", "roles", "way", "address", "action", "outcome", "count", "reason", "target"];

/// Runs the command.
pub fn execute(config: &Config, args: AuditArgs) -> Result<(), Failure> {
    let (access, viewer) = (open(config)?, viewer());
    match args.action {
        AuditAction::List { filter, limit, before, format } => {
            let filter = AuditFilter { after: before, ..self::filter(&filter)? };
            block_on(list(&access, &viewer, filter, limit.get(), format))
        }
        AuditAction::Export { filter, format, output, reason } => {
            let filter = AuditFilter { oldest_first: true, ..self::filter(&filter)? };
            block_on(async {
                let begun = Event::new(Action::ExportAudit, json!({ "to": output })).because(reason.reason);
                access.record(&viewer, begun).await.map_err(failure)?;
                let mut output = Output::file_or_stdout(output.as_deref())?;
                let format = match format {
                    AuditFormat::Jsonl => MessageFormat::Jsonl,
                    AuditFormat::Csv => MessageFormat::Csv,
                };
                let count = write(&access, &viewer, filter, u32::MAX, format, &mut output).await?;
                output.flush()?;
                tell(&format!("{count} rows written"));
                Ok(())
            })
        }
    }
}

fn filter(args: &AuditFilterArgs) -> Result<AuditFilter, Failure> {
    let (from, to) = span(&args.time)?;
    Ok(AuditFilter {
        from,
        to,
        actor: args.actor.clone(),
        actions: args.action.clone(),
        outcome: args.outcome.map(|outcome| outcome.outcome()),
        address: args.address.clone(),
        text: args.text.clone(),
        ..AuditFilter::default()
    })
}

async fn list(access: &Access, viewer: &Viewer, filter: AuditFilter, limit: u32, format: MessageFormat) -> Result<(), Failure> {
    let mut output = Output::stdout();
    let count = write(access, viewer, filter, limit, format, &mut output).await?;
    output.flush()?;
    if count == 0 && format == MessageFormat::Table {
        tell("nothing found");
    }
    Ok(())
}

/// Page after page. What is written while this goes on is not read any more: else reading would never end, since it writes rows itself.
async fn write(
    access: &Access,
    viewer: &Viewer,
    mut filter: AuditFilter,
    limit: u32,
    format: MessageFormat,
    output: &mut Output,
) -> Result<u32, Failure> {
    filter.to = Some(filter.to.unwrap_or(i64::MAX).min(access.now()));
    let mut count = 0;
    if format == MessageFormat::Csv {
        output.line(&COLUMNS.join(","))?;
    }
    loop {
        filter.limit = (limit - count).min(MAX_AUDIT_PAGE);
        let rows = access.audit(viewer, &filter).await.map_err(failure)?;
        let Some(last) = rows.last() else { return Ok(count) };
        filter.after = Some(last.id);
        count = count.saturating_add(u32::try_from(rows.len()).unwrap_or(u32::MAX));
        match format {
            MessageFormat::Table => output.write(as_table(&rows).as_bytes())?,
            MessageFormat::Jsonl => rows.iter().try_for_each(|row| output.line(&as_json(row).to_string()))?,
            MessageFormat::Csv => output.write(&as_csv(&rows)?)?,
        }
        if count >= limit {
            return Ok(count);
        }
    }
}

fn as_table(rows: &[AuditRow]) -> String {
    let row = |row: &AuditRow| {
        [
            row.id.to_string(),
            rfc3339(row.at),
            row.actor.clone(),
            row.address.clone().unwrap_or_default(),
            row.action.clone(),
            row.outcome.map_or("?", |outcome| outcome.word()).to_owned(),
            row.count.map(|count| count.to_string()).unwrap_or_default(),
            row.target.to_string(),
            row.reason.clone().unwrap_or_default(),
        ]
    };
    table::render(["ID", "AT", "WHO", "FROM", "ACTION", "OUTCOME", "COUNT", "TARGET", "REASON"], rows.iter().map(row))
}

fn as_json(row: &AuditRow) -> Value {
    json!({
        "id": row.id,
        "at": rfc3339(row.at),
        "actor": row.actor,
        "roles": row.roles.iter().map(|role| role.word()).collect::<Value>(),
        "way": row.way,
        "address": row.address,
        "action": row.action,
        "outcome": row.outcome.map(|outcome| outcome.word()),
        "count": row.count,
        "reason": row.reason,
        "target": row.target,
    })
}

/// Rows as lines of CSV.
pub(crate) fn as_csv(rows: &[AuditRow]) -> Result<Vec<u8>, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::Runtime(format!("CSV: {error}"));
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in rows {
        let object = as_json(row);
        let field = |name: &str| match object.get(name) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        };
        writer.write_record(COLUMNS.map(field)).map_err(|error| failed(&error))?;
    }
    writer.into_inner().map_err(|error| failed(&error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Outcome, Roles};

    #[test]
    fn a_row_is_written_for_people_and_programs() {
        let row = AuditRow {
            id: 7,
            at: 1_795_332_535_173_794,
            account: None,
            actor: "cli:root".to_owned(),
            roles: Roles::ALL,
            way: "console".to_owned(),
            address: None,
            action: "search".to_owned(),
            target: json!({ "text": ["a, \"b\""] }),
            reason: Some("case 5".to_owned()),
            outcome: Some(Outcome::Done),
            count: Some(3),
        };
        assert!(as_table(std::slice::from_ref(&row)).contains("case 5"));
        let object = as_json(&row);
        assert!(COLUMNS.iter().all(|column| object.get(column).is_some()));
        let csv = String::from_utf8(as_csv(&[row]).unwrap()).unwrap();
        assert_eq!(csv.lines().count(), 1);
        let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(csv.as_bytes());
        let record = reader.records().next().unwrap().unwrap();
        assert_eq!(record.get(10), Some(r#"{"text":["a, \"b\""]}"#));
    }
}
