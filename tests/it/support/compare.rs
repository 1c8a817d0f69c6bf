//! The comparison that every scenario ends in: what people said against what the archive holds. Each message once; none lost, doubled, merged,
//! invented or altered; and delivered to those who really got it.

use std::collections::BTreeSet;

use serde_json::Value;

use super::client::Client;
use super::line::Said;
use super::node::Node;
use super::stanza::Stanza;

/// Everything that is wrong, in words; nothing when the archive is right.
pub(crate) fn differences(said: &[Said], archived: &[Value], clients: &[&Client], nodes: &[&Node]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut explained = vec![false; archived.len()];
    let mut seen: Vec<&Said> = Vec::new();
    for message in said.iter().filter(|message| message.is_kept) {
        if seen.contains(&message) {
            continue;
        }
        seen.push(message);
        let sends = said.iter().filter(|other| *other == message).count();
        let comparison = Comparison { message, nodes };
        let rows: Vec<&Value> = archived
            .iter()
            .zip(&mut explained)
            .filter(|(row, explained)| !**explained && comparison.is_of(row))
            .map(|(row, explained)| {
                *explained = true;
                row
            })
            .collect();
        wrong.extend(comparison.count(sends, &rows));
        wrong.extend(comparison.deliveries(&rows, clients));
    }
    for (row, explained) in archived.iter().zip(explained) {
        if !explained {
            wrong.push(format!("nobody said this, or not so: {}", brief(row)));
        }
    }
    wrong
}

struct Comparison<'a> {
    message: &'a Said,
    nodes: &'a [&'a Node],
}

impl Comparison<'_> {
    /// Whether an archived row is of this message, every field being right.
    fn is_of(&self, row: &Value) -> bool {
        let message = self.message;
        text(row, "kind").is_some_and(|kind| message.kind.split('|').any(|one| one == kind))
            && text(row, "type") == Some(message.message_type)
            && text(row, "sender") == Some(&message.sender)
            && text(row, "sender_resource") == Some(&message.resource)
            && self.is_addressed_right(row)
            && text(row, "subject") == message.subject.as_deref()
            && self.is_body_right(row)
            && text(row, "thread") == message.thread.as_deref()
            && text(row, "origin_id") == message.origin_id.as_deref()
            && self.is_id_right(row)
    }

    fn is_body_right(&self, row: &Value) -> bool {
        let body = text(row, "body");
        let is_free = self.message.is_body_fallback && (body.is_none() || self.message.body.is_none());
        is_free || body == self.message.body.as_deref()
    }

    fn is_addressed_right(&self, row: &Value) -> bool {
        let to = bare(&self.message.to).to_lowercase();
        if !self.is_to_room() {
            return text(row, "recipient") == Some(&to) && text(row, "room").is_none();
        }
        text(row, "room") == Some(&to)
    }

    /// Prosody's rooms give an id to a message that has none.
    fn is_id_right(&self, row: &Value) -> bool {
        let may_be_given = self.is_to_room() && self.message.id.is_none();
        may_be_given || text(row, "stanza_id") == self.message.id.as_deref()
    }

    fn is_to_room(&self) -> bool {
        let to = bare(&self.message.to);
        self.nodes.iter().any(|node| to.ends_with(&format!("@{}", node.rooms)))
    }

    /// Each once. Where the stock mirrors show two equal sends as what might be one, one row that says so will do: but in rooms they don't.
    fn count(&self, sends: usize, rows: &[&Value]) -> Option<String> {
        let sends_owned_to = |row: &&Value| row.get("possibly_several").and_then(Value::as_u64).unwrap_or(0).max(1);
        let owned: u64 = rows.iter().map(sends_owned_to).sum();
        let exact = sends == 1 || self.message.message_type == "groupchat";
        let is_right = if exact { rows.len() == sends } else { !rows.is_empty() && rows.len() <= sends && owned >= sends as u64 };
        let problem = || format!("sent {sends} times, archived {} times (owning to {owned} sends): {}", rows.len(), self.message.brief());
        (!is_right).then(problem)
    }

    /// Who got it according to the archive are people whom it was meant for, and among them all who really got it.
    fn deliveries(&self, rows: &[&Value], clients: &[&Client]) -> Vec<String> {
        let mut wrong = Vec::new();
        let recorded: BTreeSet<&str> = rows.iter().flat_map(|row| recipients(row)).collect();
        let heard = self.heard_by(clients);
        for account in &heard {
            if !recorded.contains(account.as_str()) {
                wrong.push(format!("{account} got it, the archive does not know (only {recorded:?}): {}", self.message.brief()));
            }
        }
        let to = bare(&self.message.to).to_lowercase();
        for account in recorded {
            let is_meant = account == to || account == self.message.sender || heard.contains(account);
            if !is_meant {
                wrong.push(format!("{account} did not get it, says the archive: {}", self.message.brief()));
            }
        }
        wrong
    }

    /// The accounts whose clients received the message itself: not a carbon, not from an archive.
    fn heard_by(&self, clients: &[&Client]) -> BTreeSet<String> {
        let hears = |client: &&&Client| {
            if self.message.passed_on_to.as_ref() == Some(&client.account) {
                return true;
            }
            let is_addressed = self.is_to_room() || client.account == bare(&self.message.to).to_lowercase();
            is_addressed && client.received().iter().any(|stanza| self.is_heard_as(stanza))
        };
        clients.iter().filter(hears).map(|client| client.account.clone()).collect()
    }

    fn is_heard_as(&self, stanza: &Stanza) -> bool {
        stanza.is_message()
            && stanza.attr("type").unwrap_or("normal") == self.message.message_type
            && stanza.attr("from").is_some_and(|from| self.is_sent_by(bare(from)))
            && stanza.body() == self.message.body
            && stanza.subject() == self.message.subject
            && self.is_heard_by_id(stanza)
            && !stanza.contains("<delay")
    }

    /// Prosody's rooms give an id to a message that has none, and take that of a subject.
    fn is_heard_by_id(&self, stanza: &Stanza) -> bool {
        let may_change = self.is_to_room() && (self.message.id.is_none() || self.message.subject.is_some());
        may_change || stanza.attr("id") == self.message.id.as_deref()
    }

    /// A room passes on what is said in it under its own address.
    fn is_sent_by(&self, account: &str) -> bool {
        account == self.message.sender || (self.is_to_room() && account == bare(&self.message.to))
    }
}

/// To whom the archive says that a message was delivered when it was sent: whoever got it later got it from a room's history, or an archive.
fn recipients(row: &Value) -> Vec<&str> {
    let deliveries = row.get("deliveries").and_then(Value::as_array);
    let deliveries = deliveries.into_iter().flatten();
    let is_live = |delivery: &&Value| delivery.get("replay") != Some(&Value::Bool(true));
    deliveries.filter(is_live).filter_map(|delivery| text(delivery, "recipient")).collect()
}

fn text<'a>(row: &'a Value, name: &str) -> Option<&'a str> {
    row.get(name).and_then(Value::as_str)
}

fn bare(jid: &str) -> &str {
    jid.split('/').next().unwrap_or_default()
}

fn brief(row: &Value) -> String {
    short(&row.to_string())
}

fn short(text: &str) -> String {
    text.chars().take(1200).collect()
}
