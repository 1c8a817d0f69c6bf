//! Check of the node's own module: whether it is there, and whether its queue is as it should be.

use serde_json::Value;

use super::finding::About;
use crate::component::module::{Module, Presence};

/// With more copies in the node's queue than this, the archiver has been away for long, or does not keep up.
const LARGE_DEPTH: u64 = 10_000;

pub(super) fn check(presence: &Presence, about: &mut About<'_>) {
    match presence {
        Presence::Unknown => {}
        Presence::Absent => about.ok(
            "module",
            "none of ours: the node mirrors by its own means and keeps nothing for an archiver that is away. \
             Modules that do are in node-modules/ (/usr/share/xmpp-archiver/node-modules)",
        ),
        Presence::Present(module) => judge(module, about),
    }
}

fn judge(module: &Module, about: &mut About<'_>) {
    let Module { name, version, mode, depth, bytes, dropped, .. } = module;
    let found = format!("{name} {version}, mode {mode}, {depth} copies in its queue ({bytes} bytes), {dropped} dropped");
    match () {
        () if *dropped > 0 => {
            about.warn(
                "module",
                found,
                "the node's queue was full, or records in it were damaged: look at the node's log, and compare with its archive",
            );
        }
        () if *depth > LARGE_DEPTH => {
            about.warn("module", found, "the queue is long: see that the archiver is attached and its store answers; it drains by itself");
        }
        () => about.ok("module", found),
    }
}

/// What an archiver that runs wrote down of the module of one node.
pub(super) fn read(node: &Value) -> Presence {
    let Some(module) = node.get("module") else { return Presence::Unknown };
    let text = |key: &str| module.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let number = |key: &str| module.get(key).and_then(Value::as_u64).unwrap_or_default();
    match module.get("present").and_then(Value::as_bool) {
        None => Presence::Unknown,
        Some(false) => Presence::Absent,
        Some(true) => Presence::Present(Module {
            name: text("name"),
            version: text("version"),
            mode: text("mode"),
            epoch: text("epoch"),
            next: number("next"),
            depth: number("depth"),
            bytes: number("bytes"),
            in_flight: number("in_flight"),
            dropped: number("dropped"),
            oldest: module.get("oldest").and_then(Value::as_str).map(str::to_owned),
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::finding::{Findings, Outcome};
    use super::*;

    fn found(node: &Value) -> Vec<(Outcome, String)> {
        let mut findings = Findings::default();
        check(&read(node), &mut findings.about("node n"));
        findings.all.into_iter().map(|finding| (finding.outcome, finding.found)).collect()
    }

    #[test]
    fn a_module_is_judged_by_its_queue() {
        let module = |depth: u64, dropped: u64| json!({"module": {"present": true, "name": "prosody", "version": "0.1.0", "mode": "observe", "depth": depth, "dropped": dropped}});
        for (depth, dropped, outcome) in [(3, 0, Outcome::Ok), (3, 1, Outcome::Warn), (LARGE_DEPTH + 1, 0, Outcome::Warn)] {
            let all = found(&module(depth, dropped));
            assert_eq!(all[0].0, outcome);
            assert!(all[0].1.contains("prosody 0.1.0, mode observe"), "{all:?}");
        }
    }

    #[test]
    fn where_there_is_none_it_is_said_where_to_get_one() {
        let all = found(&json!({"module": {"present": false}}));
        assert!(all[0].0 == Outcome::Ok && all[0].1.contains("node-modules"), "{all:?}");
        assert!(found(&json!({"module": null})).is_empty() && found(&json!({})).is_empty());
    }
}
