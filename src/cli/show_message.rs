//! `show --id`: one message with all that is known of it.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::Failure;
use super::args::{MessageFormat, ShowArgs};
use super::connect::block_on;
use super::output::print;
use super::reading::{failure, open};
use super::render_json::value;
use super::search::transcript;
use super::transcript;
use super::when::Zone;
use super::words::{said, sender, time, visible};
use crate::config::Config;
use crate::retrieve::{Archive, Context, Receipts, Stay, Versions, names};
use crate::time::rfc3339;

/// All that is known of a message.
struct Whole {
    context: Context,
    versions: Option<Versions>,
    receipts: Option<Receipts>,
    occupants: Vec<Stay>,
}

/// Runs the command.
pub(super) fn execute(config: &Config, id: i64, args: &ShowArgs) -> Result<(), Failure> {
    let format = args.format;
    if format == MessageFormat::Csv || args.xml {
        return Err(Failure::Usage("--id needs --format table or jsonl, and no --xml; `search --id` has both".to_owned()));
    }
    block_on(async {
        let archive = open(config, args.store.as_deref()).await?;
        let Some(whole) = whole(&archive, id, args.context).await? else {
            return Err(Failure::Runtime(format!("there is no message {id}")));
        };
        match format {
            MessageFormat::Jsonl => print(&format!("{}\n", object(&whole)?)),
            _ => print(&text(&whole, args.time.zone)),
        }
    })
}

async fn whole(archive: &Archive, id: i64, around: usize) -> Result<Option<Whole>, Failure> {
    let Some(context) = archive.around(id, around).await.map_err(failure)? else { return Ok(None) };
    let versions = archive.versions(id).await.map_err(failure)?;
    let receipts = archive.receipts(id).await.map_err(failure)?;
    let occupants = archive.occupants_at(&context.message).await.map_err(failure)?;
    Ok(Some(Whole { context, versions, receipts, occupants }))
}

fn text(whole: &Whole, zone: Zone) -> String {
    let mut text = transcript(&whole.context, zone);
    if let Some(versions) = whole.versions.as_ref().filter(|versions| !versions.changes.is_empty()) {
        text.push_str("Versions:\n");
        for version in [&versions.original].into_iter().chain(&versions.changes) {
            let at = time(version.sent_at, zone, "%F %T");
            let _ = writeln!(
                text,
                "  {at} #{} {} by {}: {}",
                version.id,
                version.kind_name(),
                sender(version),
                said(version).replace('\n', "␊")
            );
        }
        text.push('\n');
    }
    if let Some(receipts) = &whole.receipts {
        text.push_str("Copies:\n");
        for copy in &receipts.deliveries {
            let who = copy.recipient.as_deref().unwrap_or("not known to whom");
            let session = copy.resource.as_deref().map(|resource| format!("/{resource}")).unwrap_or_default();
            let (way, source) = (names::delivery_direction(copy.direction), names::source(copy.source));
            let who = visible(&format!("{who}{session}"));
            let _ = writeln!(text, "  {} {way} {who} ({source}, {})", time(copy.at, zone, "%F %T"), copy.node.as_deref().unwrap_or("?"));
        }
        for receipt in &receipts.said {
            let _ = writeln!(text, "  {} {} by {}", time(receipt.sent_at, zone, "%F %T"), receipt.kind_name(), sender(receipt));
        }
        text.push('\n');
    }
    if whole.context.message.in_room {
        text.push_str(&transcript::occupants(&whole.occupants, zone));
    }
    text
}

fn object(whole: &Whole) -> Result<Value, Failure> {
    let all = |messages: &[crate::retrieve::Found]| messages.iter().map(value).collect::<Result<Vec<Value>, Failure>>();
    let Context { before, message, after } = &whole.context;
    let versions = match &whole.versions {
        Some(versions) => json!({ "original": value(&versions.original)?, "changes": all(&versions.changes)? }),
        None => Value::Null,
    };
    let receipts = whole.receipts.as_ref().map(|receipts| all(&receipts.said)).transpose()?.unwrap_or_default();
    let occupants: Vec<Value> = whole.occupants.iter().map(stay).collect();
    Ok(json!({
        "message": value(message)?, "before": all(before)?, "after": all(after)?, "versions": versions, "receipts": receipts,
        "occupants": occupants,
    }))
}

fn stay(stay: &Stay) -> Value {
    json!({
        "nick": stay.nick, "jid": stay.jid, "resource": stay.resource, "joined_at": rfc3339(stay.joined_at),
        "left_at": stay.left_at.map(rfc3339),
    })
}
