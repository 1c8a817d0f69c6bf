//! What no setting can tell alone: names that must be unique, domains whose roles exclude each other, sizes that must fit.

use std::collections::HashSet;

use super::mistake::Mistake;
use super::section::Section;
use super::{ByteSize, NodeConfig, ScheduleConfig, SpoolConfig, StoreConfig};

/// The roles of a domain exclude each other: a host is no MUC, and neither is this component.
pub(super) fn check_domains(section: &mut Section<'_>, domain: &str, hosts: &[String], muc: &[String], trusted: &[String]) {
    for (name, list) in [("hosts", hosts), ("muc", muc), ("trusted", trusted)] {
        if list.iter().any(|entry| entry == domain) {
            let key = section.key(name);
            section.push(Mistake::at(key, "is this component's own domain: leave it out").with_text(domain));
        }
    }
    let users: HashSet<&String> = hosts.iter().collect();
    for room in muc.iter().filter(|room| users.contains(room)) {
        let key = section.key("muc");
        section.push(Mistake::at(key, "stands in hosts too; must be the domain of rooms alone").with_text(room));
    }
}

/// Stores have names and databases of their own.
pub(super) fn check_stores(stores: &[Option<StoreConfig>], mistakes: &mut Vec<Mistake>) {
    let mut names = HashSet::new();
    let mut urls = HashSet::new();
    for (index, store) in stores.iter().enumerate() {
        let Some(store) = store else { continue };
        if !names.insert(&store.name) {
            let mistake = Mistake::at(format!("store.{index}.name"), "is taken: must be unique");
            mistakes.push(mistake.with_text(&store.name));
        }
        if !urls.insert(store.url.to_string()) {
            mistakes.push(Mistake::at(format!("store.{index}.url"), "is the database of another store too: must be unique"));
        }
    }
}

/// Exports have names and directories of their own.
pub(super) fn check_exports(exports: &[Option<ScheduleConfig>], mistakes: &mut Vec<Mistake>) {
    let (mut names, mut paths, mut places) = (HashSet::new(), HashSet::new(), HashSet::new());
    for (index, export) in exports.iter().enumerate() {
        let Some(export) = export else { continue };
        if !names.insert(&export.name) {
            mistakes.push(Mistake::at(format!("export.{index}.name"), "is taken: must be unique").with_text(&export.name));
        }
        if !paths.insert(&export.path) {
            mistakes.push(Mistake::at(format!("export.{index}.path"), "is the directory of another export too: must be unique"));
        }
        if export.s3.as_ref().is_some_and(|s3| !places.insert((&s3.endpoint, &s3.bucket, &s3.prefix))) {
            mistakes.push(Mistake::at(format!("export.{index}.s3.prefix"), "is the place of another export too: must be unique"));
        }
    }
}

/// Nodes have names of their own, and none is attached to twice.
pub(super) fn check_nodes(nodes: &[Option<NodeConfig>], mistakes: &mut Vec<Mistake>) {
    let mut names = HashSet::new();
    let mut places = HashSet::new();
    for (index, node) in nodes.iter().enumerate() {
        let Some(node) = node else { continue };
        // Two connections for one domain: ejabberd splits the copies between them, Prosody refuses the second.
        let new_place = places.insert((&node.address, &node.domain));
        if !new_place {
            let mistake =
                Mistake::at(format!("node.{index}.domain"), "is attached to at this address already: must be unique for each address");
            mistakes.push(mistake.with_text(&node.domain));
        }
        if !names.insert(&node.name) && new_place {
            let mistake = Mistake::at(format!("node.{index}.name"), "is taken: must be unique (without a name, the domain is the name)");
            mistakes.push(mistake.with_text(&node.name));
        }
    }
}

/// Two entries for one node write to one store, and one of them is the first.
pub(super) fn check_feeds(nodes: &[Option<NodeConfig>], mistakes: &mut Vec<Mistake>) {
    for (index, node) in nodes.iter().enumerate() {
        let Some(node) = node else { continue };
        let Some(first) = nodes.iter().flatten().find(|other| Some(&other.name) == node.same_as.as_ref()) else { continue };
        let right = match () {
            () if first.same_as.is_some() => "names an entry that has same_as itself; must be the first entry of the node",
            () if first.store != node.store => "names an entry with another store; must be one that writes to the same store",
            () => continue,
        };
        mistakes.push(Mistake::at(format!("node.{index}.same_as"), right).with_text(&first.name));
    }
}

/// The largest stanza fits into a segment, and two segments into the limit.
pub(super) fn check_spool(spool: &SpoolConfig, nodes: &[Option<NodeConfig>], mistakes: &mut Vec<Mistake>) {
    // A size that could not be read was replaced by its default, which says nothing about the other.
    if mistakes.iter().any(|mistake| mistake.key.starts_with("spool.")) {
        return;
    }
    let largest = nodes.iter().flatten().map(|node| node.max_stanza).max();
    if largest.is_some_and(|largest| largest > spool.segment) {
        mistakes.push(Mistake::at(
            "spool.segment",
            format!("is {}; must be at least the largest max_stanza, {}", spool.segment, largest.unwrap_or(ByteSize(0))),
        ));
    }
    // One segment is written while another is freed.
    if spool.limit.0 < spool.segment.0.saturating_mul(2) {
        mistakes.push(Mistake::at("spool.limit", format!("is {}; must be at least two segments of {}", spool.limit, spool.segment)));
    }
}
