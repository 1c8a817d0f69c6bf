//! Messages as a person expects a chat: in order, and with each what became of it.
//!
//! Nothing is replaced: a message that was corrected shows its last version and below it all earlier ones; one that was retracted stays, marked. What has its
//! message on another page stands by itself and leads there.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::clock::{Clock, Shown};
use super::desk::AMENDMENTS;
use super::find::Hits;
pub(super) use super::links::Links;
use super::text::{self, Body};
use crate::message::content::{Kind, flags};
use crate::retrieve::{Change, Found, effective, names};

/// A correction of a correction leads to the message in at most so many steps.
const MAX_STEPS: usize = 100;
/// Characters of a message that a reply quotes.
const QUOTE_CHARS: usize = 120;

/// Who wrote or did something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Who {
    /// The nick in a room, else the JID.
    pub(super) name: String,
    /// The JID, where it is known and is not the name.
    pub(super) jid: String,
}

/// A version of a message, or what was done to it.
#[derive(Clone, Debug)]
pub(super) struct Version {
    pub(super) label: &'static str,
    pub(super) at: Shown,
    /// Where it is not who wrote the message.
    pub(super) by: Option<Who>,
    pub(super) body: Body,
    pub(super) file: Option<FileLink>,
    pub(super) href: String,
    /// Something that a reader must know beside the words.
    pub(super) marks: Vec<Mark>,
}

/// A sign beside a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) label: &'static str,
    /// The same at length.
    pub(super) title: &'static str,
}

/// A reaction with those who have it.
#[derive(Clone, Debug)]
pub(super) struct Reaction {
    pub(super) sign: String,
    pub(super) who: Vec<String>,
}

/// The message that one answers.
#[derive(Clone, Debug)]
pub(super) struct Quote {
    pub(super) href: String,
    pub(super) who: String,
    pub(super) text: String,
}

/// A file that a message leads to.
#[derive(Clone, Debug, Default)]
pub(super) struct FileLink {
    pub(super) name: String,
    pub(super) about: String,
    pub(super) target: String,
}

/// A message of a page.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) id: i64,
    /// The day, where another one begins.
    pub(super) day: Option<Shown>,
    pub(super) at: Shown,
    pub(super) who: Who,
    /// Whom a private message in a room is for.
    pub(super) to: String,
    /// Whether it is on the second side of a conversation between two.
    pub(super) is_right: bool,
    /// Whether the page was opened for this one.
    pub(super) is_sought: bool,
    pub(super) kind: &'static str,
    /// What is done, where nothing is said.
    pub(super) action: String,
    pub(super) subject: String,
    pub(super) body: Body,
    pub(super) marks: Vec<Mark>,
    pub(super) file: Option<FileLink>,
    pub(super) quote: Option<Quote>,
    pub(super) versions: Vec<Version>,
    pub(super) is_edited: bool,
    pub(super) is_retracted: bool,
    pub(super) reactions: Vec<Reaction>,
    pub(super) bounces: Vec<String>,
    pub(super) href: String,
}

/// What lines are made with.
pub(super) struct Loom<'a> {
    pub(super) clock: &'a Clock,
    pub(super) links: &'a Links,
    /// What is marked.
    pub(super) hits: &'a Hits,
    /// The message for which the page was opened.
    pub(super) sought: Option<i64>,
}

impl Loom<'_> {
    /// The lines of a page; `amendments` are all that refer to its messages.
    pub(super) fn lines(&self, messages: &[Found], amendments: &[Found]) -> Vec<Line> {
        let here: HashMap<i64, Option<i64>> =
            messages.iter().chain(amendments).map(|found| (found.id, found.refers_to.filter(|_| is_amendment(found)))).collect();
        let by_id: HashMap<i64, &Found> = messages.iter().map(|found| (found.id, found)).collect();
        let mut below: HashMap<i64, Vec<&Found>> = HashMap::new();
        let mut placed = HashSet::new();
        for amendment in messages.iter().chain(amendments).filter(|found| is_amendment(found) && placed.insert(found.id)) {
            if let Some(root) = root(amendment.id, &here) {
                below.entry(root).or_default().push(amendment);
            }
        }
        let mut day = String::new();
        let mut lines = Vec::new();
        for found in messages.iter().filter(|found| root(found.id, &here).is_none()) {
            let mut amendments = below.remove(&found.id).unwrap_or_default();
            amendments.sort_unstable_by_key(|amendment| (amendment.sent_at, amendment.id));
            let date = self.clock.date(found.sent_at);
            let begins = date != day;
            day = date;
            let mut line = self.line(found, &amendments, &by_id);
            line.day = begins.then(|| self.clock.day(found.sent_at));
            lines.push(line);
        }
        lines
    }

    fn line(&self, found: &Found, amendments: &[&Found], by_id: &HashMap<i64, &Found>) -> Line {
        let changes: Vec<&Found> = amendments.iter().copied().filter(|change| change.kind != Kind::Reaction as i16).collect();
        let effective = effective(found.id, amendments.iter().copied());
        let holds = |change: &&&Found| effective.contains(&change.id);
        let last = changes.iter().filter(holds).rfind(|change| change.kind == Kind::Correction as i16);
        let is_retracted = changes.iter().filter(holds).any(|change| change.kind != Kind::Correction as i16);
        let second = found.conversation.split(' ').nth(1);
        let sought = |id| Some(id) == self.sought;
        Line {
            id: found.id,
            day: None,
            at: self.clock.time(found.sent_at),
            who: who(found),
            to: private_recipient(found),
            is_right: !found.in_room && second.is_some() && found.sender.as_deref() == second,
            is_sought: sought(found.id) || amendments.iter().any(|amendment| sought(amendment.id)),
            kind: found.kind_name(),
            action: action(found),
            subject: if found.kind == Kind::Subject as i16 {
                String::new()
            } else {
                text::name(found.subject.as_deref().unwrap_or_default())
            },
            body: self.body(last.copied().unwrap_or(found), answered(found, by_id)),
            marks: marks_beside(found),
            file: file(last.copied().unwrap_or(found)),
            quote: self.quote(found, by_id),
            versions: self.versions(found, &changes),
            is_edited: last.is_some(),
            is_retracted,
            reactions: reactions(amendments),
            bounces: found.bounces.iter().map(|bounce| self.bounce(bounce)).collect(),
            href: self.links.message(found.id),
        }
    }

    /// What a message says, without the quote of the one that it answers.
    fn body(&self, found: &Found, answered: Option<&Found>) -> Body {
        let quoted = answered.and_then(|answered| answered.body.as_deref());
        match says_something(found) {
            // The body of a file that is shared is often its address alone, which stands below.
            true if file(found).is_some_and(|file| found.body.as_deref().map(str::trim) == Some(file.target.as_str())) => Body::default(),
            true => Body::of(without_quote(found.body.as_deref().unwrap_or_default(), quoted.unwrap_or_default()), self.hits),
            false => Body::default(),
        }
    }

    /// As it was written first, and all that was done to it since; nothing where nothing was done.
    fn versions(&self, found: &Found, changes: &[&Found]) -> Vec<Version> {
        if changes.is_empty() {
            return Vec::new();
        }
        let original = Version {
            label: "Written",
            at: self.clock.full(found.sent_at),
            by: None,
            body: self.body(found, None),
            file: file(found),
            href: self.links.message(found.id),
            marks: Vec::new(),
        };
        let change = |change: &&Found| Version {
            label: match change.kind {
                kind if kind == Kind::Correction as i16 => "Corrected",
                kind if kind == Kind::Moderation as i16 => "Retracted by a moderator",
                _ => "Retracted",
            },
            at: self.clock.full(change.sent_at),
            by: Some(who(change)).filter(|who| change.sender != found.sender || *who != self::who(found)),
            body: match change.kind == Kind::Correction as i16 {
                true => self.body(change, None),
                false => Body::of(&part(&detail(change), "reason"), &Hits::None),
            },
            file: file(change),
            href: self.links.message(change.id),
            marks: marks_beside(change),
        };
        std::iter::once(original).chain(changes.iter().map(change)).collect()
    }

    fn quote(&self, found: &Found, by_id: &HashMap<i64, &Found>) -> Option<Quote> {
        let is_reference = is_answer(found) || is_amendment(found);
        let id = found.refers_to.filter(|_| is_reference)?;
        let known = by_id.get(&id);
        let text = known.and_then(|message| message.body.as_deref()).unwrap_or_default();
        let mut quoted: String = text::name(text).chars().take(QUOTE_CHARS).collect();
        if text.chars().nth(QUOTE_CHARS).is_some() {
            quoted.push('…');
        }
        Some(Quote {
            href: if known.is_some() { format!("#m{id}") } else { self.links.conversation(&found.conversation, Some(id)) },
            who: known.map_or_else(|| format!("message {id}"), |message| who(message).name),
            text: quoted,
        })
    }

    fn bounce(&self, bounce: &crate::retrieve::Bounce) -> String {
        let by = bounce.from.as_deref().map_or_else(|| "the server".to_owned(), text::jid);
        let because = bounce.text.as_deref().map(|said| format!(": {}", text::name(said))).unwrap_or_default();
        format!("{} from {by} at {}{because}", text::name(&bounce.condition), self.clock.full(bounce.at).text)
    }
}

/// Whether it answers a message; a file may, too.
fn is_answer(found: &Found) -> bool {
    found.kind == Kind::Reply as i16 || found.kind == Kind::File as i16
}

/// The message that one answers, if it is on the page.
fn answered<'f>(found: &Found, by_id: &HashMap<i64, &'f Found>) -> Option<&'f Found> {
    found.refers_to.filter(|_| is_answer(found)).and_then(|id| by_id.get(&id).copied())
}

/// A reply without the quote that it begins with for programs that know no replies (XEP-0461 §3), where that is what the other message says, which
/// is shown above it. What the sender declares to be a quote does not count: nobody may hide what they wrote from whoever reads it here.
fn without_quote<'t>(body: &'t str, answered: &str) -> &'t str {
    let mut rest = body;
    let mut quote = Vec::new();
    while let Some(line) = rest.strip_prefix('>') {
        let (line, after) = line.split_once('\n').unwrap_or((line, ""));
        quote.extend(line.split_whitespace());
        rest = after;
    }
    let said = answered.split_whitespace().collect::<Vec<_>>().join(" ");
    let is_said = !quote.is_empty() && said.contains(&quote.join(" "));
    if is_said && !rest.trim().is_empty() { rest.trim_start_matches(['\r', '\n']) } else { body }
}

pub(super) fn is_amendment(found: &Found) -> bool {
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

/// Who wrote it: the nick in a room, and the JID where it is known.
pub(super) fn who(found: &Found) -> Who {
    let jid = found.sender.as_deref().map(text::jid);
    match (found.sender_nick.as_deref(), jid) {
        (Some(nick), jid) => Who { name: text::name(nick), jid: jid.unwrap_or_default() },
        (None, Some(jid)) => Who { name: jid, jid: String::new() },
        (None, None) => Who { name: "unknown".to_owned(), jid: String::new() },
    }
}

pub(super) fn detail(found: &Found) -> Value {
    found.detail.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or(Value::Null)
}

fn part(detail: &Value, key: &str) -> String {
    detail.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn says_something(found: &Found) -> bool {
    const SAYS: [Kind; 5] = [Kind::Message, Kind::Correction, Kind::File, Kind::Reply, Kind::Invitation];
    SAYS.iter().any(|kind| *kind as i16 == found.kind) || found.kind_name() == "unreadable"
}

/// What it does, where it is more than words.
pub(super) fn action(found: &Found) -> String {
    let detail = detail(found);
    let shown = |key: &str| text::name(&part(&detail, key));
    let because = match shown("reason") {
        reason if reason.is_empty() => reason,
        reason => format!(": {reason}"),
    };
    let is = |kind: Kind| kind as i16 == found.kind;
    match () {
        () if is(Kind::Subject) => format!("sets the subject: {}", text::name(found.subject.as_deref().unwrap_or_default())),
        () if is(Kind::Invitation) => {
            let room = Some(part(&detail, "room")).filter(|room| !room.is_empty());
            let room = room.or_else(|| found.room().map(str::to_owned)).map(|room| text::jid(&room));
            format!("invites {}to {}{because}", invited(found), room.as_deref().unwrap_or("a room"))
        }
        () if is(Kind::Declined) => format!("declines the invitation{because}"),
        () if is(Kind::Call) => format!("call: {}", shown("action")),
        () if is(Kind::Retraction) => "retracts a message".to_owned(),
        () if is(Kind::Moderation) => format!("retracts somebody’s message as a moderator{because}"),
        () if is(Kind::Correction) => "corrects a message".to_owned(),
        () if is(Kind::Reaction) => match signs(&detail) {
            signs if signs.is_empty() => "takes reactions back".to_owned(),
            signs => format!("reacts: {}", signs.join(" ")),
        },
        () if is(Kind::Receipt) => "has received a message".to_owned(),
        () if is(Kind::Marker) => format!("marks a message as {}", shown("marker")),
        () if is(Kind::ChatState) => format!("is {}", shown("state")),
        () => String::new(),
    }
}

/// In a conversation between two it is the other one, in a room everybody.
fn private_recipient(found: &Found) -> String {
    let to = found.recipient_nick.as_deref().map(text::name).or_else(|| found.recipient.as_deref().map(text::jid));
    to.filter(|_| found.has(flags::PRIVATE_IN_ROOM)).unwrap_or_default()
}

fn invited(found: &Found) -> String {
    found.recipient.as_deref().filter(|_| found.in_room).map(|jid| format!("{} ", text::jid(jid))).unwrap_or_default()
}

/// Reactions as they are in the end: what somebody reacts with replaces what the same person reacted with before (XEP-0444 §4).
fn reactions(amendments: &[&Found]) -> Vec<Reaction> {
    let mut by: Vec<(Who, Vec<String>)> = Vec::new();
    for found in amendments.iter().filter(|found| found.kind == Kind::Reaction as i16) {
        let who = who(found);
        by.retain(|(other, _)| *other != who);
        by.push((who, signs(&detail(found))));
    }
    let mut all: Vec<Reaction> = Vec::new();
    for (who, signs) in by {
        for sign in signs {
            match all.iter_mut().find(|reaction| reaction.sign == sign) {
                Some(reaction) => reaction.who.push(who.name.clone()),
                None => all.push(Reaction { sign, who: vec![who.name.clone()] }),
            }
        }
    }
    all
}

fn signs(detail: &Value) -> Vec<String> {
    let signs = detail.get("reactions").and_then(Value::as_array).into_iter().flatten();
    signs.filter_map(Value::as_str).map(text::name).collect()
}

fn file(found: &Found) -> Option<FileLink> {
    if !found.has_file() {
        return None;
    }
    let detail = detail(found);
    let shown = |key: &str| text::name(&part(&detail, key));
    let size = match detail.get("size") {
        Some(Value::Number(size)) => size.as_u64(),
        Some(Value::String(size)) => size.parse().ok(),
        _ => None,
    };
    let about = [shown("media_type"), size.map(bytes).unwrap_or_default()];
    let about = about.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ");
    Some(FileLink { name: shown("name"), about, target: shown("url") })
}

/// A size for people.
pub(super) fn bytes(count: u64) -> String {
    match count {
        0..1_024 => format!("{count} bytes"),
        1_024..1_048_576 => format!("{:.1} KiB", count as f64 / 1_024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", count as f64 / 1_048_576.0),
        _ => format!("{:.1} GiB", count as f64 / 1_073_741_824.0),
    }
}

/// That a message, or the one that it changes, was corrected or retracted later.
pub(super) fn changed(found: &Found, changes: &[Change]) -> Vec<Mark> {
    let root = found.refers_to.filter(|_| is_amendment(found));
    let of_it = || changes.iter().filter(|change| change.holds() && change.id != found.id);
    let is_corrected = of_it().any(|change| change.is_correction() && change.refers_to == found.id);
    let is_retracted = of_it().any(|change| !change.is_correction() && (change.refers_to == found.id || Some(change.refers_to) == root));
    let all = [
        (is_corrected, "edited", "It was corrected later. This is the version that was found."),
        (is_retracted, "retracted", "It was retracted later. It stays in the archive."),
    ];
    all.into_iter().filter(|(holds, ..)| *holds).map(|(_, label, title)| Mark { label, title }).collect()
}

/// The marks of a message where a text is shown only if it says something itself.
fn marks_beside(found: &Found) -> Vec<Mark> {
    let mut marks = marks(found);
    marks.retain(|mark| mark.label != FALLBACK || says_something(found));
    marks
}

/// The mark of a text that stands in for something.
const FALLBACK: &str = "fallback text";

/// What a reader must know beside the words.
pub(super) fn marks(found: &Found) -> Vec<Mark> {
    let several = found.possibly_several() > 1;
    let all = [
        (found.is_encrypted(), "encrypted", "Encrypted end to end: what was said can’t be read here. The original stanza is kept."),
        (found.kind_name() == "unreadable", "unreadable", "The stanza can’t be read as a message and is kept as it was received."),
        (found.has(flags::PRIVATE_IN_ROOM), "private", "A private message within a room."),
        (found.has(flags::FALLBACK_BODY), FALLBACK, "The text stands in for something that older programs can’t show."),
        (
            found.has(flags::AUTHOR_MISMATCH),
            "not by the author",
            "Not by the author of the message that it refers to, so it has no effect here.",
        ),
        (several, "possibly several sends", "The copies may stem from more than one send of the same text."),
        (found.has(flags::NO_STORE), "no-store", "The sender’s program asked not to store it (XEP-0334). It is recorded all the same."),
        (!found.bounces.is_empty(), "bounced", "An error came back: it may not have reached its recipient."),
        (names::via(found.via) == "backfill", "backfilled", "Fetched later from the node’s own archive."),
        (names::via(found.via) == "import", "imported", "Taken over from another archive."),
        (names::via(found.via) == "replay", "from a replay", "Known only from a copy that was sent later, such as a room’s history."),
    ];
    all.into_iter().filter(|(holds, ..)| *holds).map(|(_, label, title)| Mark { label, title }).collect()
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

    fn lines(messages: &[Found], amendments: &[Found]) -> Vec<Line> {
        let (clock, links) = (Clock::default(), Links::default());
        Loom { clock: &clock, links: &links, hits: &Hits::None, sought: Some(3) }.lines(messages, amendments)
    }

    fn plain(body: &Body) -> String {
        body.pieces.iter().map(|piece| piece.text.as_str()).collect()
    }

    #[test]
    fn a_message_stands_with_all_that_became_of_it() {
        let page = [
            message(1, Kind::Message, None, "teh end"),
            message(2, Kind::Message, None, "next"),
            message(3, Kind::Correction, Some(1), "the end"),
            message(4, Kind::Retraction, Some(2), ""),
            message(7, Kind::Reply, Some(2), "why?"),
        ];
        let later = [page[2].clone(), message(5, Kind::Correction, Some(3), "The end"), message(6, Kind::Reaction, Some(1), "👍")];
        let lines = lines(&page, &later);
        assert_eq!(lines.iter().map(|line| line.id).collect::<Vec<_>>(), [1, 2, 7]);
        assert_eq!(plain(&lines[0].body), "The end");
        assert_eq!(lines[0].versions.iter().map(|version| plain(&version.body)).collect::<Vec<_>>(), ["teh end", "the end", "The end"]);
        assert!(lines[0].is_edited && lines[0].is_sought && lines[0].day.is_some() && !lines[0].is_retracted);
        assert_eq!((lines[0].reactions[0].sign.as_str(), lines[0].reactions[0].who.len()), ("👍", 1));
        assert!(lines[1].is_retracted && lines[1].day.is_none());
        assert_eq!(plain(&lines[1].body), "next");
        let quote = lines[2].quote.as_ref().unwrap();
        assert_eq!((quote.href.as_str(), quote.text.as_str()), ("#m2", "next"));
    }

    #[test]
    fn a_quote_is_shown_once() {
        let reply =
            |body: &str| lines(&[message(1, Kind::Message, None, "at six\nin the harbour"), message(2, Kind::Reply, Some(1), body)], &[]);
        for (body, shown) in [
            ("> at six\n> in the harbour\nfine", "fine"),
            (">at six\n\nfine", "fine"),
            ("fine", "fine"),
            ("> at seven\nfine", "> at seven\nfine"),
            ("> at six", "> at six"),
        ] {
            let lines = reply(body);
            assert_eq!((plain(&lines[1].body).as_str(), lines[1].quote.is_some()), (shown, true), "{body}");
        }
        let file = Found {
            flags: flags::FILE,
            detail: Some(r#"{"url":"https://x/y"}"#.to_owned()),
            ..message(3, Kind::File, Some(1), "https://x/y")
        };
        let with_file = lines(&[message(1, Kind::Message, None, "where?"), file], &[]);
        assert_eq!(with_file[1].quote.as_ref().map(|quote| quote.text.as_str()), Some("where?"), "a file that answers");
        assert!(with_file[1].file.is_some() && with_file[1].body.is_empty());
    }

    #[test]
    fn a_correction_has_the_file_that_it_brings() {
        let with = |id, kind, refers_to, url: &str| {
            let detail = Some(format!(r#"{{"url":"{url}"}}"#));
            Found { flags: flags::FILE, detail, ..message(id, kind, refers_to, url) }
        };
        let lines = lines(&[with(1, Kind::File, None, "https://x/1"), with(2, Kind::Correction, Some(1), "https://x/2")], &[]);
        assert_eq!(lines[0].file.as_ref().map(|file| file.target.as_str()), Some("https://x/2"));
        let versions: Vec<_> =
            lines[0].versions.iter().filter_map(|version| version.file.as_ref()).map(|file| file.target.as_str()).collect();
        assert_eq!(versions, ["https://x/1", "https://x/2"]);
    }

    #[test]
    fn a_retraction_shows_no_text_and_no_mark_of_one() {
        let retraction = Found { flags: flags::FALLBACK_BODY, ..message(2, Kind::Retraction, Some(9), "tried to retract") };
        assert!(lines(&[retraction], &[])[0].marks.is_empty());
        let changes = [Change { id: 2, refers_to: 1, kind: Kind::Retraction as i16, flags: 0 }];
        let told = |found: &Found, changes: &[Change]| changed(found, changes).iter().map(|mark| mark.label).collect::<Vec<_>>();
        assert_eq!(told(&message(1, Kind::Message, None, "a"), &changes), ["retracted"]);
        assert_eq!(told(&message(3, Kind::Correction, Some(1), "a"), &changes), ["retracted"]);
        assert_eq!(
            told(&message(1, Kind::Message, None, "a"), &[Change { flags: flags::AUTHOR_MISMATCH, ..changes[0] }]),
            Vec::<&str>::new()
        );
        assert_eq!(told(&message(1, Kind::Message, None, "a"), &[Change { kind: Kind::Correction as i16, ..changes[0] }]), ["edited"]);
    }

    #[test]
    fn what_somebody_else_did_has_no_effect_and_is_marked() {
        let forged = Found { flags: flags::AUTHOR_MISMATCH, ..message(2, Kind::Correction, Some(1), "forged") };
        let lines = lines(&[message(1, Kind::Message, None, "true")], &[forged]);
        assert_eq!(plain(&lines[0].body), "true");
        assert_eq!(lines[0].versions[1].marks[0].label, "not by the author");
        assert!(!lines[0].is_edited);
    }

    #[test]
    fn whoever_takes_back_the_own_forgery_or_reaction_takes_back_nothing_else() {
        let amendments = [
            Found { flags: flags::AUTHOR_MISMATCH, ..message(2, Kind::Correction, Some(1), "forged") },
            message(3, Kind::Retraction, Some(2), ""),
            message(4, Kind::Reaction, Some(1), "👎"),
            message(5, Kind::Retraction, Some(4), ""),
        ];
        let lines = lines(&[message(1, Kind::Message, None, "true")], &amendments);
        assert_eq!((plain(&lines[0].body).as_str(), lines[0].is_edited, lines[0].is_retracted), ("true", false, false));
    }

    #[test]
    fn the_last_reaction_of_somebody_counts() {
        let amendments = [message(2, Kind::Reaction, Some(1), "👍"), message(3, Kind::Reaction, Some(1), "❤")];
        let lines = lines(&[message(1, Kind::Message, None, "a")], &amendments);
        assert_eq!(lines[0].reactions.iter().map(|reaction| reaction.sign.as_str()).collect::<Vec<_>>(), ["❤"]);
    }

    #[test]
    fn references_in_a_circle_end() {
        let page = [message(1, Kind::Correction, Some(2), "a"), message(2, Kind::Correction, Some(1), "b")];
        assert_eq!(lines(&page, &[]).len(), 2);
    }
}
