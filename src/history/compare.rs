//! Whether all that a source holds is in the archive: read to its end, looked up, counted by day, and nothing stored.
//!
//! Memory is bounded: a page of items, what identity remembers, a bit for each message number of that time ([`marks`](super::marks)), and the
//! messages that are missing, up to a limit ([`Finder`]).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::feed::{FeedError, ITEMS_A_READ, Progress, entry, fitting};
use super::marks::{Full, Marks};
use super::{Interval, Item, Source, SourceError};
use crate::node::Node;
use crate::pipeline::read::RecordReader;
use crate::policy::Policy;
use crate::reconcile::{Compared, Missing, OwnDay};
use crate::store::finder::{Fate, Finder};
use crate::tally::{DAY, day_of};
use crate::time::Micros;

/// What is compared.
pub struct Plan {
    /// The node whose archive it is.
    pub node: Arc<Node>,
    /// What is archived.
    pub policy: Policy,
    /// Which part of the time; the source may give more on both sides.
    pub from: Micros,
    /// See `from`; without this moment.
    pub to: Micros,
    /// How many of those that are missing are named.
    pub most_named: usize,
}

/// Reads a source to its end and looks everything up.
///
/// # Errors
/// When the source fails, or the store.
pub async fn compare<S: Source>(source: &mut S, finder: &mut Finder, plan: &Plan, progress: &impl Progress) -> Result<Compared, FeedError> {
    let mut records = RecordReader::new(std::slice::from_ref(&plan.node), plan.policy);
    let mut counting = Counting::new(plan);
    let mut read = 0;
    loop {
        let items = source.next(ITEMS_A_READ).await?;
        if items.is_empty() {
            break;
        }
        let items: Vec<Item> = items.into_iter().map(|(_, item)| fitting(item)).collect();
        let entries: Vec<_> = items.iter().map(|item| entry(&mut records, &plan.node, item, super::Via::Backfill, read)).collect();
        let fates = finder.find(plan.node.itself(), &entries).await?;
        for (item, fate) in items.iter().zip(fates) {
            counting.count(item, fate)?;
        }
        read += items.len() as u64;
        progress.so_far(read, read);
    }
    let mut compared = counting.compared;
    for (day, numbers) in &mut compared.days {
        let begin = i64::from(*day) * DAY;
        let (from, to) = (begin.max(plan.from), (begin + DAY).min(plan.to));
        let here = finder.count(plan.node.itself(), from, to).await?;
        numbers.only_here = here.saturating_sub(counting.seen.get(day).copied().unwrap_or(0));
    }
    compared.is_rough = finder.is_rough();
    compared.not_read = source.troubles();
    Ok(compared)
}

struct Counting<'p> {
    plan: &'p Plan,
    interval: Interval,
    compared: Compared,
    /// Messages of which an item was counted.
    counted: Marks,
    /// Messages here of which any item was seen.
    marks: Marks,
    /// How many those are that were said on a day.
    seen: BTreeMap<i32, u64>,
}

impl<'p> Counting<'p> {
    fn new(plan: &'p Plan) -> Self {
        // Days on which it holds nothing are shown, too.
        let days = (day_of(plan.from)..=day_of(plan.to - 1)).map(|day| (day, OwnDay::default())).collect();
        let compared = Compared { days, ..Compared::default() };
        let interval = Interval { from: Some(plan.from), to: Some(plan.to) };
        Self { plan, interval, compared, counted: Marks::default(), marks: Marks::default(), seen: BTreeMap::new() }
    }

    fn count(&mut self, item: &Item, fate: Fate) -> Result<(), SourceError> {
        let full =
            |_: Full| SourceError::Mistaken("that are more messages than can be compared at once: compare a shorter time".to_owned());
        if let Fate::Here { id, said_at: Some(at) } = fate
            && self.interval.holds(at)
            && self.marks.insert(id).map_err(full)?
        {
            *self.seen.entry(day_of(at)).or_default() += 1;
        }
        // What can't be read may not even tell when it was said.
        let is_undated = item.at <= 0 && matches!(fate, Fate::Unreadable { .. });
        if !self.interval.holds(item.at) && !is_undated {
            return Ok(());
        }
        let at = if is_undated { self.plan.from } else { item.at };
        let is_first = match fate {
            Fate::Here { id, .. } | Fate::Missing { id } => self.counted.insert(id).map_err(full)?,
            _ => false,
        };
        let day = self.compared.days.entry(day_of(at)).or_default();
        day.entries += 1;
        day.messages += u64::from(is_first);
        match fate {
            Fate::Here { .. } => day.here += u64::from(is_first),
            Fate::Missing { .. } if is_first => {
                day.missing += 1;
                let missing =
                    Missing { at, archive: item.archive.clone().unwrap_or_default(), stanza_id: item.id.clone().unwrap_or_default() };
                self.compared.miss(missing, self.plan.most_named);
            }
            Fate::Missing { .. } => {}
            Fate::LeftOut => day.left_out += 1,
            Fate::Unreadable { is_set_aside: true } => day.set_aside += 1,
            Fate::Unreadable { is_set_aside: false } => day.unreadable += 1,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan { node: Arc::default(), policy: Policy::default(), from: DAY, to: 3 * DAY, most_named: 5 }
    }

    fn item(at: Micros, archive: &str) -> Item {
        Item { at, archive: Some(archive.to_owned()), id: Some("17".to_owned()), ..Item::default() }
    }

    #[test]
    fn a_message_counts_once_however_many_archives_hold_it() {
        let plan = plan();
        let mut counting = Counting::new(&plan);
        let here = Fate::Here { id: 4, said_at: Some(DAY + 1) };
        for (archive, fate) in
            [("a@h", here), ("b@h", here), ("a@h", Fate::Missing { id: 1 << 62 }), ("b@h", Fate::Missing { id: 1 << 62 })]
        {
            counting.count(&item(DAY + 5, archive), fate).unwrap();
        }
        let day = OwnDay { entries: 4, messages: 2, here: 1, missing: 1, ..OwnDay::default() };
        assert_eq!(counting.compared.days, [(1, day), (2, OwnDay::default())].into());
        assert_eq!(counting.compared.first_missing.len(), 1);
        assert_eq!(counting.seen, [(1, 1)].into());
    }

    #[test]
    fn what_lies_around_the_interval_is_seen_and_not_counted() {
        let plan = plan();
        let mut counting = Counting::new(&plan);
        // An archive of whole seconds has it a little before.
        counting.count(&item(DAY - 1, "a@h"), Fate::Here { id: 4, said_at: Some(DAY) }).unwrap();
        counting.count(&item(3 * DAY, "a@h"), Fate::Missing { id: 1 << 62 }).unwrap();
        counting.count(&item(0, "a@h"), Fate::Unreadable { is_set_aside: false }).unwrap();
        assert_eq!((counting.compared.missing(), counting.seen), (0, [(1, 1)].into()));
        assert_eq!(counting.compared.days[&1], OwnDay { entries: 1, unreadable: 1, ..OwnDay::default() });
    }
}
