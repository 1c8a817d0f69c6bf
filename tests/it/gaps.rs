//! What was missed is on record, exactly: which node, from when to when, why; and the numbers of all that came add up, whatever was killed when.

mod account;
mod answers;
mod damage;
mod link;
mod module;
mod queue;
mod rows;

use serde_json::Value;
use xmpp_archiver::time::{Micros, SECOND, now, parse_stamp};

use crate::support::archiver::Archiver;
use crate::support::process::wait_for;

/// The gaps that an archiver's command lists.
fn listed(archiver: &Archiver) -> Vec<Value> {
    let lines = archiver.must(&["gaps", "list", "--format", "jsonl"]);
    lines.lines().map(|line| serde_json::from_str(line).expect("a JSON object a line")).collect()
}

/// Waits until there are so many gaps, and none of them lasts still.
fn wait_for_gaps(archiver: &Archiver, count: usize) -> Vec<Value> {
    wait_for("the gaps to be on record", || {
        let gaps = listed(archiver);
        assert!(gaps.len() <= count, "{gaps:#?}");
        (gaps.len() == count && gaps.iter().all(|gap| !gap["to"].is_null())).then_some(gaps)
    })
}

fn at(gap: &Value, name: &str) -> Micros {
    parse_stamp(gap[name].as_str().expect("a time")).expect("a time")
}

/// The gap begins no later than `lost`, though not by much, and ends between `back` and now.
fn assert_bounds(gap: &Value, lost: Micros, back: Micros) {
    let (from, to) = (at(gap, "from"), at(gap, "to"));
    assert!(from <= lost && from > lost - 30 * SECOND, "{gap:#} begins {} µs after {lost}", from - lost);
    assert!(to >= back && to <= now(), "{gap:#} ends {} µs after {back}", to - back);
}
