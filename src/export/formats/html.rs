//! Pages to read: `index.html`, and for each conversation `conversations/NNNNNN-PART.html`.
//!
//! They need nothing but themselves: no script, no picture, no address outside, which the policy in their head enforces as well. Every
//! text is escaped, and `dir="auto"` has each paragraph run as its own script does.

use std::fmt::Write as _;

use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::{Writer, each_line};
use crate::export::changes::Changes;
use crate::export::checkpoint::Checkpoint;
use crate::export::folder::Folder;
use crate::export::told::{Told, line};
use crate::export::unit::{Item, Unit};
use crate::export::words::{time, zone_name};
use crate::export::{Export, ExportError};

const INDEX: &str = "index.html";
/// Rows of a cover that may be long.
pub(crate) const ASKED_FOR: &str = "Asked for";
pub(crate) const REASON: &str = "Reason";
/// The most messages of a page, reached with the unit that exceeds it.
const PAGE_MESSAGES: usize = 2_000;
/// What marks a message in a page: texts are escaped, so no text can hold it.
const MESSAGE: &str = "<article id=\"m";

const STYLE: &str = "\
:root{color-scheme:light dark}body{font:16px/1.45 system-ui,sans-serif;margin:0 auto;max-width:60rem;padding:1rem}\
h1{font-size:1.4rem}h2{font-size:1.1rem;border-bottom:1px solid;padding-bottom:.2rem}\
article{margin:.7rem 0;padding-inline-start:.6rem;border-inline-start:3px solid #8888;break-inside:avoid-page}\
article header{font-size:.85rem}article header b{font-size:.95rem}p{margin:.1rem 0;white-space:pre-wrap;overflow-wrap:anywhere}\
ul{margin:.2rem 0;padding-inline-start:1.2rem;font-size:.85rem}li{white-space:pre-wrap;overflow-wrap:anywhere}\
.retraction,.bounce{color:#a11}.retracted>p{border:1px dashed #a11;padding:.2rem}@media(prefers-color-scheme:dark){.retraction,.bounce{color:#f88}}\
table{border-collapse:collapse;width:100%}td,th{text-align:start;padding:.2rem .5rem;border-bottom:1px solid #8884;overflow-wrap:anywhere}\
@media print{body{max-width:none;font-size:10pt}a{color:inherit}}";

/// Writes pages.
pub(crate) struct Html {
    zone: TimeZone,
    cover: String,
    page: Option<Page>,
}

/// The page in hand.
struct Page {
    name: String,
    part: u64,
    messages: usize,
    /// Messages of the conversation on the pages before.
    before: u64,
    day: String,
}

impl Html {
    pub(crate) fn new(checkpoint: &Checkpoint, zone: TimeZone) -> Result<Self, ExportError> {
        let cover = cover(&checkpoint.export, checkpoint.total, &zone)?;
        Ok(Self { zone, cover, page: Page::of(&checkpoint.format) })
    }

    fn open(&mut self, unit: &Unit, folder: &mut Folder) -> Result<Page, ExportError> {
        let (part, before) = self.page.take().map_or((1, 0), |last| (last.part + 1, last.before + last.messages as u64));
        let name = page_name(unit, part);
        let title = escape(&conversation_title(unit));
        let mut text = head(&title);
        let _ = write!(text, "<p><a href=\"../{INDEX}\">All conversations</a>");
        if part > 1 {
            let _ = write!(text, " · <a href=\"../{}\">Earlier</a>", page_name(unit, part - 1));
        }
        let _ = writeln!(text, "</p>\n<h1 dir=\"auto\">{title}</h1>\n<p>Times: {}</p>", escape(&zone_name(&self.zone)));
        folder.append(&name, text.as_bytes())?;
        Ok(Page { name, part, messages: 0, before, day: String::new() })
    }

    fn close(&mut self, page: Page, unit: &Unit, folder: &mut Folder) -> Result<(), ExportError> {
        let mut text = String::new();
        if unit.goes_on {
            let _ = writeln!(text, "<p><a href=\"../{}\">Later</a></p>", page_name(unit, page.part + 1));
        }
        text.push_str("</main></body></html>\n");
        folder.append(&page.name, text.as_bytes())?;
        folder.close(&page.name)?;
        let last = escape(&time(unit.last_at(), &self.zone, "%F %T"));
        let link = format!("<a dir=\"auto\" href=\"{}\">{}</a>", page.name, escape(&conversation_title(unit)));
        let row = format!("<tr><td>{link}</td><td>{}</td><td>{}</td><td>{last}</td></tr>\n", page.part, page.messages);
        folder.append(INDEX, row.as_bytes())?;
        self.page = unit.goes_on.then_some(page);
        Ok(())
    }
}

impl Page {
    fn of(state: &Value) -> Option<Self> {
        let number = |name: &str| state.get(name).and_then(Value::as_u64).unwrap_or_default();
        let text = |name: &str| state.get(name).and_then(Value::as_str).map(str::to_owned);
        let messages = usize::try_from(number("messages")).unwrap_or_default();
        Some(Self { name: text("name")?, part: number("part"), messages, before: number("before"), day: text("day")? })
    }

    fn is_full(&self) -> bool {
        self.messages >= PAGE_MESSAGES
    }
}

impl Writer for Html {
    fn begin(&mut self, folder: &mut Folder) -> Result<(), ExportError> {
        let rows = "<table><thead><tr><th>Conversation</th><th>Page</th><th>Messages</th><th>Last</th></tr></thead><tbody>\n";
        folder.append(INDEX, format!("{}{}{rows}", head("Exported messages"), self.cover).as_bytes())
    }

    fn unit(&mut self, unit: &Unit, folder: &mut Folder) -> Result<(), ExportError> {
        let mut page = match self.page.take() {
            Some(page) if !page.is_full() => page,
            full => {
                self.page = full;
                self.open(unit, folder)?
            }
        };
        let day = unit.day.strftime("%A, %F").to_string();
        let mut text = String::new();
        if page.day != day {
            let _ = writeln!(text, "<h2>{}</h2>", escape(&day));
            page.day = day;
        }
        unit.items.iter().for_each(|item| article(item, &self.zone, &mut text));
        folder.append(&page.name, text.as_bytes())?;
        page.messages += unit.items.len();
        if page.is_full() || !unit.goes_on {
            return self.close(page, unit, folder);
        }
        self.page = Some(page);
        Ok(())
    }

    fn finish(&mut self, folder: &mut Folder) -> Result<(), ExportError> {
        folder.append(INDEX, b"</tbody></table>\n</main></body></html>\n")?;
        folder.close(INDEX)
    }

    fn state(&self) -> Option<Value> {
        let state = |page: &Page| json!({ "name": page.name, "part": page.part, "messages": page.messages, "before": page.before, "day": page.day });
        Some(self.page.as_ref().map_or(Value::Null, state))
    }

    fn read_back(&self, folder: &Folder) -> Result<Option<u64>, ExportError> {
        let mut total = 0;
        folder.each(&mut |name| {
            each_line(folder, name, &mut |line| {
                total += memchr::memmem::find_iter(line, MESSAGE).count() as u64;
                Ok(())
            })
        })?;
        Ok(Some(total))
    }
}

fn page_name(unit: &Unit, part: u64) -> String {
    format!("conversations/{:06}-{part:04}.html", unit.conversation_number)
}

fn conversation_title(unit: &Unit) -> String {
    line(&if unit.in_room { format!("Room {}", unit.conversation) } else { unit.conversation.replacen(' ', " and ", 1) })
}

fn head(title: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><meta name=\"referrer\" content=\"no-referrer\">\n\
         <style>{STYLE}</style></head><body><main>\n"
    )
}

/// What an export is, for its first page.
fn cover(export: &Export, total: u64, zone: &TimeZone) -> Result<String, ExportError> {
    let mut text = "<h1>Exported messages</h1>\n<table>\n".to_owned();
    for (name, value) in cover_rows(export, total, zone)? {
        let _ = writeln!(text, "<tr><th>{name}</th><td dir=\"auto\">{}</td></tr>", escape(&value));
    }
    text.push_str("</table>\n<p>manifest.json tells when this was made, what may be missing, and the SHA-256 of each file.</p>\n");
    Ok(text)
}

/// The same for any format.
pub(crate) fn cover_rows(export: &Export, total: u64, zone: &TimeZone) -> Result<Vec<(&'static str, String)>, ExportError> {
    let query = serde_json::to_value(&export.query).map_err(ExportError::format)?;
    let is_said =
        |value: &Value| !matches!(value, Value::Null | Value::Bool(false)) && value.as_array().is_none_or(|list| !list.is_empty());
    let asked: Vec<String> = query
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(_, value)| is_said(value))
        // They may be thousands; the manifest has them.
        .map(|(name, value)| match value.as_array().filter(|_| name == "late") {
            Some(late) => format!("{name}: {} messages", late.len()),
            None => format!("{name}: {value}"),
        })
        .collect();
    let mut rows = vec![("Archive", line(&export.store)), ("Messages", total.to_string()), (ASKED_FOR, line(&asked.join("; ")))];
    rows.push(("By", line(&export.by)));
    rows.extend(export.reason.as_deref().map(|reason| (REASON, line(reason))));
    rows.push(("Time zone", zone_name(zone)));
    Ok(rows)
}

/// A unit for the HTML part of a mail.
pub(crate) fn mail(unit: &Unit, zone: &TimeZone) -> String {
    let title = escape(&unit.title());
    let mut text = format!("{}<h1 dir=\"auto\">{title}</h1>\n<p>Times: {}</p>\n", head(&title), escape(&zone_name(zone)));
    unit.items.iter().for_each(|item| article(item, zone, &mut text));
    text.push_str("</main></body></html>\n");
    text
}

fn article(item: &Item, zone: &TimeZone, text: &mut String) {
    let told = Told::of(item, zone);
    let class = if Changes::of(item).is_retracted() { " class=\"retracted\"" } else { "" };
    let _ = write!(
        text,
        "{MESSAGE}{}\"{class}><header><time>{}</time> <b dir=\"auto\">{}</b> #{}",
        told.id,
        escape(&told.clock),
        escape(&told.sender),
        told.id
    );
    if !told.what.is_empty() {
        let _ = write!(text, " · <span dir=\"auto\">{}</span>", escape(&told.what));
    }
    let _ = write!(text, "</header>");
    for paragraph in told.body.split('\n').filter(|_| !told.body.is_empty()) {
        let _ = write!(text, "<p dir=\"auto\">{}</p>", escape(paragraph));
    }
    text.push_str("<ul>");
    for note in &told.notes {
        let _ = write!(text, "<li class=\"{}\" dir=\"auto\">{}</li>", note.kind.word(), escape(&note.text));
    }
    text.push_str("</ul></article>\n");
}

/// Text that is nothing but text, in an element and in an attribute.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + text.len() / 8);
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::changes::tests::attacked;
    use crate::export::unit::tests::unit;

    #[test]
    fn no_text_becomes_markup() {
        let hostile = "<script>alert(1)</script><article id=\"m1\"><img src=x onerror='x'>\n\u{202e}&amp;";
        let text = mail(&unit(&[hostile]), &TimeZone::UTC);
        assert_eq!(text.matches(MESSAGE).count(), 1);
        assert!(!text.contains("<script") && !text.contains("<img") && text.contains("&lt;script&gt;alert(1)"), "{text}");
        assert!(text.contains("&lt;U+202E&gt;&amp;amp;"), "{text}");
    }

    #[test]
    fn what_somebody_else_did_retracts_nothing_and_is_shown() {
        let mut unit = unit(&["a"]);
        assert!(mail(&unit, &TimeZone::UTC).contains("class=\"retracted\""));
        unit.items = vec![attacked()];
        let text = mail(&unit, &TimeZone::UTC);
        assert!(!text.contains("class=\"retracted\"") && text.contains("[not by the author"), "{text}");
        assert_eq!(text.matches("[without effect]").count(), 4, "{text}");
    }
}
