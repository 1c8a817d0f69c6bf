//! A conversation to read: what was said in order, and under each message what became of it.
//!
//! Nothing is replaced: a corrected or retracted message stands as it was written, and its corrections, retractions and reactions stand
//! below it, whenever they came. One whose message is not on the page stands by itself and names it. Lines that
//! go on a message begin with a bar, so that no message can look like the next one.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use super::when::Zone;
use super::words::{said, sender, time, visible, zone_name};
use crate::message::content::Kind;
use crate::retrieve::{AMENDMENTS, Found, Stay};

/// A correction of a correction leads to the message in at most so many steps.
const MAX_STEPS: usize = 16;

/// Writes a transcript page by page.
pub(super) struct Transcript {
    zone: Zone,
    day: String,
    /// Amendments that stand below their message already.
    told: HashSet<i64>,
}

impl Transcript {
    pub(super) fn new(zone: Zone) -> Self {
        Self { zone, day: String::new(), told: HashSet::new() }
    }

    /// A page; `amendments` are all that refer to its messages.
    pub(super) fn page(&mut self, messages: &[Found], amendments: &[Found]) -> String {
        let here: HashMap<i64, Option<i64>> =
            messages.iter().chain(amendments).map(|found| (found.id, found.refers_to.filter(|_| is_amendment(found)))).collect();
        let mut below: HashMap<i64, Vec<&Found>> = HashMap::new();
        let mut placed = HashSet::new();
        for amendment in messages.iter().chain(amendments).filter(|found| is_amendment(found) && placed.insert(found.id)) {
            if let Some(root) = root(amendment.id, &here) {
                below.entry(root).or_default().push(amendment);
            }
        }
        let mut text = String::new();
        for found in messages {
            if self.told.contains(&found.id) || root(found.id, &here).is_some() {
                continue;
            }
            self.message(found, &mut text);
            let mut amendments = below.remove(&found.id).unwrap_or_default();
            amendments.sort_unstable_by_key(|amendment| (amendment.sent_at, amendment.id));
            for amendment in amendments {
                self.told.insert(amendment.id);
                self.amendment(found, amendment, &mut text);
            }
        }
        text
    }

    fn message(&mut self, found: &Found, text: &mut String) {
        let day = time(found.sent_at, self.zone, "%A, %F");
        if day != self.day {
            let _ = writeln!(text, "{}── {day} ({}) ──", if self.day.is_empty() { "" } else { "\n" }, zone_name(self.zone));
            self.day = day;
        }
        let clock = time(found.sent_at, self.zone, "%T");
        let what = match (is_amendment(found), found.refers_to, [Kind::Reply as i16, Kind::File as i16].contains(&found.kind)) {
            (true, Some(id), _) => format!("{} of #{id}: ", found.kind_name()),
            (true, None, _) => format!("{} of a message that is not here: ", found.kind_name()),
            (false, Some(id), true) => format!("(in reply to #{id}) "),
            _ => String::new(),
        };
        let _ = writeln!(text, "{clock} #{} {}: {what}{}", found.id, sender(found), indented(&said(found)));
        for bounce in &found.bounces {
            let by = bounce.from.as_deref().unwrap_or("the server");
            let because = bounce.text.as_ref().map(|text| format!(" ({text})")).unwrap_or_default();
            let line = visible(&format!("{} from {by}{because}", bounce.condition)).replace('\n', "␊");
            let _ = writeln!(text, "         ! bounced: {line}");
        }
    }

    fn amendment(&self, original: &Found, amendment: &Found, text: &mut String) {
        let format = if time(original.sent_at, self.zone, "%F") == time(amendment.sent_at, self.zone, "%F") { "%T" } else { "%F %T" };
        let at = time(amendment.sent_at, self.zone, format);
        let (sign, what) = match amendment.kind {
            kind if kind == Kind::Correction as i16 => ("✎", "corrected"),
            kind if kind == Kind::Reaction as i16 => ("☺", "reaction"),
            _ => ("✗", "retracted (what was written is kept above)"),
        };
        let by = if amendment.sender == original.sender && amendment.sender_nick == original.sender_nick {
            String::new()
        } else {
            format!(" by {}", sender(amendment))
        };
        let _ = writeln!(text, "         {sign} {at} #{} {what}{by}: {}", amendment.id, indented(&said(amendment)));
    }
}

fn is_amendment(found: &Found) -> bool {
    AMENDMENTS.contains(&found.kind)
}

/// The message that an amendment is about in the end, if it is here.
fn root(id: i64, here: &HashMap<i64, Option<i64>>) -> Option<i64> {
    let mut at = (*here.get(&id)?)?;
    for _ in 0..MAX_STEPS {
        match here.get(&at)? {
            None => return Some(at),
            Some(next) => at = *next,
        }
    }
    None
}

fn indented(text: &str) -> String {
    text.replace('\n', "\n         │ ")
}

/// Who was in the room.
pub(super) fn occupants(stays: &[Stay], zone: Zone) -> String {
    let mut text = format!("In the room ({}):\n", zone_name(zone));
    for stay in stays {
        let who = match (&stay.jid, &stay.resource) {
            (Some(jid), Some(resource)) => format!(" ({jid}/{resource})"),
            (Some(jid), None) => format!(" ({jid})"),
            (None, _) => String::new(),
        };
        let until = stay.left_at.map_or_else(|| "still there".to_owned(), |at| time(at, zone, "%F %T"));
        let who = visible(&format!("{}{who}", stay.nick)).replace('\n', "␊");
        let _ = writeln!(text, "  {} – {until}  {who}", time(stay.joined_at, zone, "%F %T"));
    }
    if stays.is_empty() {
        text.push_str("  nobody that the archive knows of\n");
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::retrieve::sample;
    use crate::time::SECOND;

    fn message(id: i64, kind: Kind, refers_to: Option<i64>, body: &str) -> Found {
        let base = sample();
        let detail = (kind == Kind::Reaction).then(|| format!(r#"{{"reactions":["{body}"]}}"#));
        Found { id, kind: kind as i16, refers_to, body: Some(body.to_owned()), detail, sent_at: base.sent_at + id * SECOND, ..base }
    }

    #[test]
    fn what_became_of_a_message_stands_below_it() {
        let page = [
            message(1, Kind::Message, None, "teh\nend"),
            message(2, Kind::Message, None, "next"),
            message(3, Kind::Correction, Some(1), "the end"),
            message(4, Kind::Correction, Some(99), "elsewhere"),
        ];
        let later = [page[2].clone(), message(5, Kind::Correction, Some(3), "The end"), message(6, Kind::Reaction, Some(2), "👍")];
        let mut transcript = Transcript::new(Zone::Utc);
        let text = transcript.page(&page, &later);
        let expected = "\
── Sunday, 2026-11-22 (UTC) ──
07:28:56 #1 d'artagnan@example.com: teh
         │ end
         ✎ 07:28:58 #3 corrected: the end
         ✎ 07:29:00 #5 corrected: The end
07:28:57 #2 d'artagnan@example.com: next
         ☺ 07:29:01 #6 reaction: 👍
07:28:59 #4 d'artagnan@example.com: correction of #99: elsewhere
";
        assert_eq!(text, expected);
        assert_eq!(transcript.page(&[later[1].clone(), later[2].clone()], &[]), "");
    }

    #[test]
    fn references_in_a_circle_end() {
        let page = [message(1, Kind::Correction, Some(2), "a"), message(2, Kind::Correction, Some(1), "b")];
        let text = Transcript::new(Zone::Utc).page(&page, &[]);
        assert!(text.contains("#1") && text.contains("#2"), "{text}");
    }

    #[test]
    fn occupants_are_told_with_their_times() {
        let stay = Stay { nick: "Bo\n".into(), jid: Some("bob@a".into()), resource: Some("p".into()), joined_at: 0, left_at: None };
        let text = occupants(&[stay], Zone::Utc);
        assert!(text.contains("1970-01-01 00:00:00 – still there  Bo␊ (bob@a/p)"), "{text}");
        assert!(occupants(&[], Zone::Utc).contains("nobody"));
    }
}
