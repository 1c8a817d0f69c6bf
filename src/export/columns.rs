//! A message as a line of a table: the columns of CSV and what stands in them.
//!
//! Fields hold exactly what was written, also where a spreadsheet would take it for a formula (`=…`): this is evidence. Import such a
//! file as text.

use crate::message::content::flags;
use crate::retrieve::{Found, names};
use crate::time::rfc3339;

/// The columns' names.
pub(crate) const COLUMNS: [&str; 35] = [
    "id",
    "kind",
    "conversation",
    "sender",
    "sender_resource",
    "sender_nick",
    "recipient",
    "recipient_resource",
    "recipient_nick",
    "room",
    "direction",
    "sent_at",
    "received_at",
    "type",
    "subject",
    "thread",
    "body",
    "lang",
    "stanza_id",
    "origin_id",
    "stanza_ids",
    "refers_to",
    "refers_to_id",
    "possibly_several",
    "encrypted",
    "private",
    "fallback_body",
    "author_mismatch",
    "hints",
    "detail",
    "via",
    "node",
    "deliveries",
    "delivered_to",
    "bounces",
];

/// What stands in the columns, and the original stanza after them where it is wanted.
pub(crate) fn record(found: &Found, with_xml: bool) -> Vec<String> {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let stanza_ids = found.stanza_ids.iter().map(|given| format!("{} by {}", given.id, given.by.as_deref().unwrap_or("unknown")));
    let bounces = found.bounces.iter().map(|bounce| bounce.condition.clone());
    let mut record = vec![
        found.id.to_string(),
        found.kind_name().to_owned(),
        found.conversation.clone(),
        text(&found.sender),
        text(&found.sender_resource),
        text(&found.sender_nick),
        text(&found.recipient),
        text(&found.recipient_resource),
        text(&found.recipient_nick),
        found.room().unwrap_or_default().to_owned(),
        names::direction(found.direction).to_owned(),
        rfc3339(found.sent_at),
        rfc3339(found.received_at),
        names::message_type(found.message_type).to_owned(),
        text(&found.subject),
        text(&found.thread),
        text(&found.body),
        text(&found.lang),
        text(&found.stanza_id),
        found.origin_id().unwrap_or_default().to_owned(),
        joined(stanza_ids),
        found.refers_to.map(|id| id.to_string()).unwrap_or_default(),
        text(&found.refers_to_id),
        found.possibly_several().to_string(),
        found.is_encrypted().to_string(),
        found.has(flags::PRIVATE_IN_ROOM).to_string(),
        found.has(flags::FALLBACK_BODY).to_string(),
        found.has(flags::AUTHOR_MISMATCH).to_string(),
        found.hints().join(";"),
        text(&found.detail),
        names::via(found.via).to_owned(),
        text(&found.node),
        found.deliveries.len().to_string(),
        joined(delivered_to(found).into_iter()),
        joined(bounces),
    ];
    record.extend(with_xml.then(|| found.xml().unwrap_or_default()));
    record
}

/// Each account or session that a copy went to, once.
pub(crate) fn delivered_to(found: &Found) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for copy in &found.deliveries {
        let Some(recipient) = &copy.recipient else { continue };
        let address = copy.resource.as_ref().map_or_else(|| recipient.clone(), |resource| format!("{recipient}/{resource}"));
        if !all.contains(&address) {
            all.push(address);
        }
    }
    all
}

fn joined(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(";")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::retrieve::sample;

    #[test]
    fn a_record_has_a_field_for_each_column() {
        for with_xml in [false, true] {
            assert_eq!(record(&sample(), with_xml).len(), COLUMNS.len() + usize::from(with_xml));
        }
    }
}
