//! Which of the amendments of a message change it: corrections, retractions and moderations that count ([`effective`]). The others are told nevertheless.

use std::collections::HashSet;
use std::sync::Arc;

use super::unit::Item;
use crate::message::content::Kind;
use crate::retrieve::{Found, effective};

/// Corrections, retractions and moderations of a message.
pub(crate) struct Changes<'a> {
    amendments: &'a [Arc<Found>],
    /// Numbers of those that count.
    effective: HashSet<i64>,
}

impl<'a> Changes<'a> {
    pub(crate) fn of(item: &'a Item) -> Self {
        let effective = effective(item.found.id, item.amendments.iter().map(AsRef::as_ref));
        Self { amendments: &item.amendments, effective }
    }

    /// Its corrections, in the order of time.
    pub(crate) fn corrections(&self) -> impl Iterator<Item = &'a Found> {
        self.counting().filter(|change| change.kind == Kind::Correction as i16)
    }

    /// Whether it was taken back, by its author or by a moderator.
    pub(crate) fn is_retracted(&self) -> bool {
        self.counting().any(|change| change.kind != Kind::Correction as i16)
    }

    /// Those that change nothing.
    pub(crate) fn without_effect(&self) -> impl Iterator<Item = &'a Found> {
        self.all().filter(|amendment| self.is_without_effect(amendment))
    }

    /// Whether it is one that changes nothing.
    pub(crate) fn is_without_effect(&self, amendment: &Found) -> bool {
        is_change(amendment) && !self.effective.contains(&amendment.id)
    }

    fn counting(&self) -> impl Iterator<Item = &'a Found> {
        self.all().filter(|amendment| self.effective.contains(&amendment.id))
    }

    fn all(&self) -> impl Iterator<Item = &'a Found> {
        self.amendments.iter().map(AsRef::as_ref)
    }
}

fn is_change(amendment: &Found) -> bool {
    amendment.kind != Kind::Reaction as i16
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::message::content::flags;
    use crate::retrieve::sample;

    /// An amendment by somebody else, who may not change the message unless `flags` is 0.
    pub(crate) fn by_mallory(id: i64, kind: Kind, refers_to: i64, flags: i32) -> Found {
        let base = sample();
        Found {
            id,
            kind: kind as i16,
            refers_to: Some(refers_to),
            sender: Some("mallory@example.com".to_owned()),
            sent_at: base.sent_at + id,
            body: Some(format!("forged {id}")),
            flags,
            detail: None,
            deliveries: Vec::new(),
            ..base
        }
    }

    /// A message that nobody changed but somebody who may not: directly, by changing that change, and by taking a reaction back.
    pub(crate) fn attacked() -> Item {
        let amendments = vec![
            by_mallory(31, Kind::Retraction, 17, flags::AUTHOR_MISMATCH),
            by_mallory(32, Kind::Correction, 17, flags::AUTHOR_MISMATCH),
            by_mallory(33, Kind::Retraction, 32, 0),
            by_mallory(34, Kind::Reaction, 17, 0),
            by_mallory(35, Kind::Retraction, 34, 0),
        ];
        Item { found: sample(), amendments: amendments.into_iter().map(Arc::new).collect(), amendments_cut: false }
    }

    #[test]
    fn nobody_changes_what_somebody_else_wrote() {
        let item = attacked();
        let changes = Changes::of(&item);
        assert_eq!((changes.corrections().count(), changes.is_retracted()), (0, false));
        assert_eq!(changes.without_effect().map(|change| change.id).collect::<Vec<_>>(), [31, 32, 33, 35]);
    }

    #[test]
    fn changes_of_changes_count_and_references_in_a_circle_end() {
        let own = |id, kind, refers_to| Arc::new(Found { refers_to: Some(refers_to), ..by_mallory(id, kind, 17, 0) });
        let amendments = vec![own(18, Kind::Correction, 17), own(19, Kind::Correction, 18), own(20, Kind::Moderation, 19)];
        let item = Item { amendments, ..attacked() };
        assert_eq!((Changes::of(&item).corrections().count(), Changes::of(&item).is_retracted()), (2, true));
        let circle = Item { amendments: vec![own(18, Kind::Correction, 19), own(19, Kind::Correction, 18)], ..attacked() };
        assert_eq!(Changes::of(&circle).without_effect().count(), 2);
    }
}
