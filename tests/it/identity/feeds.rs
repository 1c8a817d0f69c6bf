//! Two archivers that one node feeds, each in full, through component domains of their own: the rows are the same as from one.

use proptest::prelude::*;
use proptest::sample::Index;
use xmpp_archiver::node::Node;

use super::{Case, Cut, EVERY, Mirror, STEP, archived, case, interleaved};
use crate::support::archiver::StoreKind;
use crate::support::ledger::Ledger;
use crate::support::pipe::{Pipe, START};

/// The other entry for the same node.
fn further(node: &Node) -> Node {
    Node { name: "further".to_owned(), domain: "archive2.h".to_owned(), same_as: Some(node.name.clone()), ..node.clone() }
}

/// How two feeds bring the same copies: which takes the next step, and what each never brings because nobody was attached.
struct Schedule<'c> {
    turns: &'c [Index],
    cuts: &'c [Cut],
    /// What the first and what the second feed miss, of all copies.
    missing: [std::ops::Range<usize>; 2],
}

fn archived_by_two(case: &Case, mirror: Mirror, schedule: &Schedule<'_>) -> Ledger {
    let copies = interleaved(case, mirror);
    let mut one = Pipe::new(StoreKind::Sqlite, &[mirror.node()]);
    let mut two = one.beside(&[further(&mirror.node())]);
    for stanza in mirror.prelude() {
        one.take(START, &stanza);
        two.take(START, &stanza);
    }
    let mut next = [0, 0];
    for (turn, cut) in schedule.turns.iter().cycle().zip(schedule.cuts.iter().cycle()) {
        let waiting: Vec<usize> = (0..2).filter(|feed| next[*feed] < copies.len()).collect();
        if waiting.is_empty() {
            break;
        }
        let feed = *turn.get(&waiting);
        let pipe = if feed == 0 { &mut one } else { &mut two };
        let number = next[feed];
        next[feed] += 1;
        if !schedule.missing[feed].contains(&number) {
            pipe.take_of(START + number as i64 * STEP, copies[number].sessions, &copies[number].stanza);
        }
        if *cut != Cut::Nothing {
            pipe.commit();
        }
        if matches!(cut, Cut::Restart | Cut::Replay) {
            pipe.restart();
        }
    }
    one.commit();
    two.ledger()
}

/// Each message has an id of its own, as real clients give it.
fn told_apart(case: &Case) -> Case {
    let mut case = case.clone();
    for (n, sent) in (0..).zip(&mut case.sent) {
        sent.id = Some(n);
    }
    case
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, max_shrink_iters: 200, ..ProptestConfig::default() })]

    /// One may be ahead of the other by any number of copies, and the other way about a moment later.
    #[test]
    fn two_feeds_make_the_rows_of_one(case in case(), mirror in 0..EVERY.len(), turns in prop::collection::vec(any::<Index>(), 128)) {
        let mirror = EVERY[mirror];
        let one = archived(&interleaved(&case, mirror), mirror, &[Cut::Nothing]);
        let two = archived_by_two(&case, mirror, &Schedule { turns: &turns, cuts: &case.cuts, missing: [0..0, 0..0] });
        prop_assert_eq!(two, one);
    }

    /// Each is away for a while, never both at once: what one misses the other has.
    #[test]
    fn either_of_two_feeds_may_be_away(
        case in case(), mirror in 0..EVERY.len(), turns in prop::collection::vec(any::<Index>(), 128),
        away in (any::<Index>(), any::<Index>(), any::<Index>()),
    ) {
        let (mirror, case) = (EVERY[mirror], told_apart(&case));
        let copies = interleaved(&case, mirror);
        let mut at = [away.0, away.1, away.2].map(|index| index.index(copies.len() + 1));
        at.sort_unstable();
        let one = archived(&copies, mirror, &[Cut::Nothing]);
        let missing = [at[0]..at[1], at[1]..at[2]];
        let two = archived_by_two(&case, mirror, &Schedule { turns: &turns, cuts: &case.cuts, missing });
        let bodies = |ledger: &Ledger| ledger.rows.iter().map(|row| (row.stanza_id.clone(), row.body.clone())).collect::<std::collections::BTreeSet<_>>();
        prop_assert_eq!(two.rows.len(), one.rows.len(), "{}", two);
        prop_assert_eq!(bodies(&two), bodies(&one));
    }
}
