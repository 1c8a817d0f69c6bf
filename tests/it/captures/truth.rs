//! The exact comparison of an archive with what the clients of a capture did.

use std::collections::BTreeMap;

use crate::support::capture::{Capture, Said};
use crate::support::ledger::{Ledger, Row};

/// Equal messages: for an archive that sees only the copies they can't be told apart by their content.
type Equals<'a> = Vec<&'a Said>;

/// Everything that is wrong, in words.
pub(crate) fn differences(capture: &Capture, ledger: &Ledger) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut explained = vec![false; ledger.rows.len()];
    for equals in equals(capture) {
        let rows = take_rows(capture, equals[0], ledger, &mut explained);
        wrong.extend(count(capture, &equals, &rows));
        wrong.extend(equals.iter().filter_map(|said| reference(capture, said, &rows, ledger)));
    }
    let extra = ledger.rows.iter().zip(&explained).filter(|(_, explained)| !**explained);
    wrong.extend(extra.map(|(row, _)| format!("nobody said this, or not so: {}", row.brief())));
    let altered = ledger.rows.iter().filter(|row| !capture.lines.contains(&row.stanza));
    wrong.extend(altered.map(|row| format!("kept otherwise than it came: {}", row.stanza)));
    wrong.extend(bounces(capture, ledger));
    wrong.extend(ledger.quarantine.iter().map(|reason| format!("in quarantine: {reason}")));
    wrong
}

/// Each group of equal messages with its rows.
pub(crate) fn attributed<'a>(capture: &'a Capture, ledger: &'a Ledger) -> Vec<(Vec<&'a Said>, Vec<&'a Row>)> {
    let mut explained = vec![false; ledger.rows.len()];
    let groups = equals(capture).into_iter();
    groups.map(|equals| (equals.clone(), take_rows(capture, equals[0], ledger, &mut explained))).collect()
}

/// The messages whose copies a stock mirror does not tell apart (`docs/decisions/identity.md`): several sends, equal in everything, from one session
/// to one address, on a mirror that makes a copy for each receiving session.
pub(crate) fn merged(capture: &Capture) -> Vec<Vec<u64>> {
    let inherent = equals(capture).into_iter().filter(|equals| is_merged(capture, equals));
    inherent.map(|equals| equals.iter().map(|said| said.n).collect()).collect()
}

fn is_merged(capture: &Capture, equals: &Equals<'_>) -> bool {
    capture.is_forked && equals.len() > 1 && equals[0].message_type != 2
}

fn equals(capture: &Capture) -> Vec<Equals<'_>> {
    let mut groups: BTreeMap<_, Equals<'_>> = BTreeMap::new();
    for said in &capture.said {
        let key = (&said.sender, &said.to, said.message_type, &said.id, &said.body, &said.subject, &said.thread);
        groups.entry(key).or_default().push(said);
    }
    let mut groups: Vec<Equals<'_>> = groups.into_values().collect();
    // What was blocked before the mirror saw it is in no archive.
    groups.retain(|equals| equals.iter().any(|said| !said.lines.is_empty()));
    groups.sort_by_key(|equals| equals[0].n);
    groups
}

fn take_rows<'a>(capture: &Capture, said: &Said, ledger: &'a Ledger, explained: &mut [bool]) -> Vec<&'a Row> {
    let mut rows = Vec::new();
    for (row, explained) in ledger.rows.iter().zip(explained) {
        if !*explained && is_of(capture, said, row) {
            *explained = true;
            rows.push(row);
        }
    }
    rows
}

/// Whether a row is of this message, every field being right.
fn is_of(capture: &Capture, said: &Said, row: &Row) -> bool {
    let encrypted =
        ["eu.siacs.conversations.axolotl", "urn:xmpp:omemo:", "jabber:x:encrypted"].iter().any(|scheme| said.xml.contains(scheme));
    let bare = &bare(&said.to).to_lowercase();
    let to_room = bare.ends_with(&format!("@{}", capture.muc));
    let conversation = if to_room { bare.to_owned() } else { pair(self::bare(&said.sender), bare) };
    // Prosody's rooms give an id to a message that has none.
    let id_is_right = row.stanza_id == said.id || (to_room && said.id.is_none() && !capture.is_forked);
    row.sender.as_deref() == Some(&said.sender)
        && row.conversation == conversation
        && is_recipient(said, row, to_room)
        && id_is_right
        && row.message_type == said.message_type
        && row.kind == kind(said)
        && row.origin_id == said.origin_id
        && row.thread == said.thread
        && row.subject == said.subject
        && row.is_encrypted() == encrypted
        && row.body == said.body.clone().filter(|_| !encrypted)
}

/// In a room the room itself; of a private message there the person behind the nick, if anybody is.
fn is_recipient(said: &Said, row: &Row, to_room: bool) -> bool {
    let nick = said.to.split_once('/').map(|(_, nick)| nick).filter(|_| to_room);
    match nick {
        Some(nick) => row.recipient_nick.as_deref() == Some(nick) && row.recipient.as_deref().is_none_or(|jid| !jid.contains(nick)),
        None => row.recipient.as_deref() == Some(&lower(&said.to)),
    }
}

fn kind(said: &Said) -> i16 {
    const TELLING: [(&str, i16); 9] = [
        ("urn:xmpp:message-correct:0", 3),
        ("<retract ", 4),
        ("urn:xmpp:reactions:0", 6),
        ("<decline", 8),
        ("<invite", 7),
        ("jabber:x:conference", 7),
        ("jabber:x:oob", 13),
        ("<reply ", 14),
        ("", 1),
    ];
    let is_subject = said.message_type == 2 && said.body.is_none() && said.subject.is_some();
    let told = TELLING.iter().find(|(text, _)| said.xml.contains(text)).map_or(1, |(_, kind)| *kind);
    if is_subject { 2 } else { told }
}

/// Each once, or merged where that is inherent and owned to; and every copy of them kept.
fn count(capture: &Capture, equals: &Equals<'_>, rows: &[&Row]) -> Option<String> {
    let sends = equals.len();
    let merged = is_merged(capture, equals);
    let expected_rows = if merged { 1 } else { sends };
    let several = if merged { sends as i16 } else { 0 };
    let copies: usize = equals.iter().map(|said| said.lines.len() + unattributed(capture, said)).sum();
    let kept: usize = rows.iter().map(|row| row.copies.len()).sum();
    let is_right = rows.len() == expected_rows && kept == copies && rows.iter().all(|row| row.possibly_several() == several);
    let briefs = || rows.iter().map(|row| row.brief()).collect::<Vec<_>>().join(" and ");
    let said = equals[0];
    (!is_right).then(|| format!("{:?} ({copies} copies) sent {sends} times ({:?}), archived: {}", said.n, said.body, briefs()))
}

/// A room writes the invitation or refusal that it passes on as a stanza of its own, which the truth leaves to nobody.
fn unattributed(capture: &Capture, said: &Said) -> usize {
    let mediated = said.xml.contains("<invite") || said.xml.contains("<decline");
    let is_room = bare(&said.to).ends_with(&format!("@{}", capture.muc));
    usize::from(mediated && is_room && said.lines.len() == 1)
}

/// The id that a correction and the like names is that of a message in the same conversation.
fn reference(capture: &Capture, said: &Said, rows: &[&Row], ledger: &Ledger) -> Option<String> {
    if !matches!(kind(said), 3 | 4 | 6 | 14) {
        let refers = rows.iter().any(|row| row.refers_to.is_some());
        return refers.then(|| format!("{} refers to nothing, but its row does", said.n));
    }
    let named = |other: &&Said| other.id.as_ref().is_some_and(|id| said.n != other.n && names(&said.xml, id));
    let original = capture.said.iter().find(named)?;
    let row = ledger.rows.iter().find(|row| row.stanza_id == original.id && row.body == original.body)?;
    let right = rows.iter().all(|found| found.refers_to == Some(row.id) && found.flags & 128 == 0 && found.refers_to_id == original.id);
    (!right).then(|| format!("{} refers to {}, its row to {:?}", said.n, row.id, rows.iter().map(|row| row.refers_to).collect::<Vec<_>>()))
}

fn names(xml: &str, id: &str) -> bool {
    xml.split_once('>').is_some_and(|(_, payload)| payload.contains(&format!("id='{id}'")))
}

/// Every error is kept, with the message that bounced where its id tells.
fn bounces(capture: &Capture, ledger: &Ledger) -> Vec<String> {
    let mut wrong = Vec::new();
    if capture.errors.len() != ledger.bounces.len() {
        wrong.push(format!("{} errors came, {} are archived", capture.errors.len(), ledger.bounces.len()));
    }
    for (error, bounce) in capture.errors.iter().zip(&ledger.bounces) {
        let is_of = |row: &&Row| {
            row.stanza_id.is_some() && row.stanza_id == error.id && row.sender.as_deref().is_some_and(|jid| bare(jid) == bare(&error.to))
        };
        let message = ledger.rows.iter().find(is_of).map(|row| row.id);
        if bounce.stanza_id != error.id || bounce.message != message {
            wrong.push(format!("{error:?} belongs to {message:?}, the archive has {bounce:?}"));
        }
    }
    wrong
}

fn bare(jid: &str) -> &str {
    jid.split('/').next().unwrap_or_default()
}

/// In lower case but for the resource, as the archive compares JIDs.
fn lower(jid: &str) -> String {
    jid.replacen(bare(jid), &bare(jid).to_lowercase(), 1)
}

fn pair(one: &str, other: &str) -> String {
    if one <= other { format!("{one} {other}") } else { format!("{other} {one}") }
}
