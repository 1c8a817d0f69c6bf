//! Slices of time, for a database that can't walk messages in the order of time.
//!
//! PostgreSQL's BRIN index over `sent_at` finds a range of time quickly, but gives no order: the first page of millions of
//! messages would sort them all, and so would the second. So the range is cut into slices that begin at a second and grow
//! eightfold, each read and sorted on its own, until the page is full. A dense archive is done in the first few, and fifty
//! silent years cost a dozen empty looks.

use super::query::Order;
use crate::time::{Micros, SECOND};

/// The first slice.
const FIRST: Micros = SECOND;
/// How fast slices grow.
const GROWTH: Micros = 8;
/// A slice this long (a hundred years) is the last: it has no other end.
const LAST: Micros = 100 * 365 * 86_400 * SECOND;

/// A range of time: from the first to before the second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Slice {
    pub(crate) from: Option<Micros>,
    pub(crate) before: Option<Micros>,
}

impl Slice {
    /// What lies in both.
    pub(crate) fn and(self, other: Self) -> Self {
        let from = self.from.max(other.from);
        let before = match (self.before, other.before) {
            (Some(one), Some(two)) => Some(one.min(two)),
            (one, two) => one.or(two),
        };
        Self { from, before }
    }

    fn is_empty(self) -> bool {
        matches!((self.from, self.before), (Some(from), Some(before)) if from >= before)
    }
}

/// The slices of a range in the order that is asked for.
#[derive(Debug)]
pub(crate) struct Slices {
    whole: Slice,
    order: Order,
    /// Where the next slice begins; none when there is no other.
    at: Option<Micros>,
    step: Micros,
    /// A slice that comes before all, up to where the growing ones begin.
    head: Option<Slice>,
}

impl Slices {
    /// The whole range at once.
    pub(crate) fn whole(whole: Slice) -> Self {
        Self { whole, order: Order::Ascending, at: None, step: LAST, head: Some(whole) }
    }

    /// Growing slices. `pivot` is near the begin of what there is, in the order asked for; it serves where the range has no begin.
    pub(crate) fn growing(whole: Slice, order: Order, pivot: Micros) -> Self {
        let begin = match order {
            Order::Ascending => whole.from,
            Order::Descending => whole.before,
        };
        let head = match (begin, order) {
            (Some(_), _) => None,
            (None, Order::Ascending) => Some(Slice { from: None, before: Some(pivot) }),
            (None, Order::Descending) => Some(Slice { from: Some(pivot), before: None }),
        };
        Self { whole, order, at: Some(begin.unwrap_or(pivot)), step: FIRST, head }
    }
}

impl Iterator for Slices {
    type Item = Slice;

    fn next(&mut self) -> Option<Slice> {
        if let Some(head) = self.head.take().map(|head| head.and(self.whole)).filter(|head| !head.is_empty()) {
            return Some(head);
        }
        let at = self.at.take()?;
        let far = (self.step < LAST).then(|| match self.order {
            Order::Ascending => at.saturating_add(self.step),
            Order::Descending => at.saturating_sub(self.step),
        });
        let slice = match self.order {
            Order::Ascending => Slice { from: Some(at), before: far },
            Order::Descending => Slice { from: far, before: Some(at) },
        };
        self.at = far;
        self.step = self.step.saturating_mul(GROWTH);
        Some(slice.and(self.whole)).filter(|slice| !slice.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The slices touch, none is missed, and they end.
    fn check(whole: Slice, order: Order, pivot: Micros) {
        let slices: Vec<Slice> = Slices::growing(whole, order, pivot).collect();
        assert!(slices.len() < 20, "{slices:?}");
        let mut inside: Vec<Slice> = slices;
        if order == Order::Descending {
            inside.reverse();
        }
        assert_eq!(inside.first().and_then(|slice| slice.from), whole.from);
        assert_eq!(inside.last().and_then(|slice| slice.before), whole.before);
        for pair in inside.windows(2) {
            assert_eq!(pair[0].before, pair[1].from);
        }
    }

    #[test]
    fn slices_cover_the_range() {
        let pivot = 1_795_332_536_173_794;
        for order in [Order::Ascending, Order::Descending] {
            for from in [None, Some(pivot - 90 * SECOND), Some(0)] {
                for before in [None, Some(pivot + 90 * SECOND), Some(pivot * 2)] {
                    check(Slice { from, before }, order, pivot);
                }
            }
        }
    }

    #[test]
    fn an_empty_range_has_no_slice() {
        let empty = Slice { from: Some(5), before: Some(5) };
        assert_eq!(Slices::growing(empty, Order::Ascending, 0).next(), None);
        assert_eq!(Slices::growing(empty, Order::Descending, 0).next(), None);
        assert_eq!(Slices::whole(empty).next(), None);
    }
}
