//! What is counted and measured, for Prometheus (OpenMetrics text).
//!
//! Nothing is counted for its own sake: each number is read when somebody asks, from what `status` shows as well, so that the two
//! can't disagree. Labels are names from the configuration and fixed words, never anything that people send.

mod families;
mod process;

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::registry::Registry;

use self::families::{Families, Labels};
use crate::alarm::Name;
use crate::canary::Report;
use crate::component::module::{Module, Presence};
use crate::component::status::{Counters, State};
use crate::run::lag_seconds;
use crate::run::view::{NodeView, Shown, StoreView, View};
use crate::stats::StoreCounts;
use crate::time::{SECOND, now};

/// Everything as text.
///
/// # Errors
/// When it can't be written, which does not happen.
pub fn render(shown: &Shown) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Snapshot(shown.clone())));
    let mut page = String::new();
    text::encode(&mut page, &registry)?;
    Ok(page)
}

/// Reads the numbers when they are asked for.
struct Snapshot(Shown);

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Snapshot")
    }
}

impl Collector for Snapshot {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut families = Families::new(encoder);
        let view = self.0.view();
        process(&mut families, &self.0)?;
        nodes(&mut families, &view)?;
        losses(&mut families, &view, &self.0)?;
        modules(&mut families, &view)?;
        canaries(&mut families, &view)?;
        stores(&mut families, &view)?;
        spools(&mut families, &view)?;
        alarms(&mut families, &self.0)
    }
}

fn process(families: &mut Families<'_>, shown: &Shown) -> fmt::Result {
    let version = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
    families.gauge("xmpp_archiver_build_info", "The version that runs; always 1.", [(version, 1.0)])?;
    let started = shown.started() as f64 / SECOND as f64;
    families.gauge("process_start_time_seconds", "When the process started, since 1970.", [(Vec::new(), started)])?;
    if let Some(usage) = process::usage() {
        families.gauge("process_resident_memory_bytes", "Memory that the process holds.", [(Vec::new(), usage.resident_bytes)])?;
        families.gauge("process_open_fds", "Files and sockets that the process has open.", [(Vec::new(), usage.open_files)])?;
        families.counter_f64("process_cpu_seconds", "Processor time that the process has used.", [(Vec::new(), usage.cpu_seconds)])?;
    }
    Ok(())
}

fn of_node(node: &NodeView) -> Labels {
    vec![("node", node.name.clone())]
}

fn of_store(store: &StoreView) -> Labels {
    vec![("store", store.name.clone())]
}

/// The labels of a subject with one more.
fn with(mut labels: Labels, name: &'static str, value: &str) -> Labels {
    labels.push((name, value.to_owned()));
    labels
}

fn nodes(families: &mut Families<'_>, view: &View) -> fmt::Result {
    let online = |node: &NodeView| (of_node(node), f64::from(u8::from(matches!(node.status.state(), State::Online { .. }))));
    families.gauge("xmpp_archiver_node_connected", "1 while there is a session with the node.", view.nodes.iter().map(online))?;
    type Count = fn(&Counters) -> u64;
    let counters: [(&str, &str, Count); 7] = [
        ("xmpp_archiver_stanzas_received", "Stanzas read from the node.", |counters| counters.stanzas.get()),
        ("xmpp_archiver_received_bytes", "Bytes read from the node.", |counters| counters.bytes.get()),
        ("xmpp_archiver_stream_violations", "Things on the stream that it may not contain.", |counters| counters.violations.get()),
        ("xmpp_archiver_sessions", "Sessions that were opened with the node.", |counters| counters.sessions.get()),
        ("xmpp_archiver_pings_sent", "Pings to a node that was silent.", |counters| counters.pings_sent.get()),
        ("xmpp_archiver_acknowledged", "Copies acknowledged to the node's module as durable.", |counters| counters.acknowledged.get()),
        ("xmpp_archiver_unacknowledged", "Acknowledgements withheld; those copies come again.", |counters| counters.unacknowledged.get()),
    ];
    for (name, help, count) in counters {
        families.counter(name, help, view.nodes.iter().map(|node| (of_node(node), count(node.status.counters()))))?;
    }
    Ok(())
}

fn losses(families: &mut Families<'_>, view: &View, shown: &Shown) -> fmt::Result {
    use std::sync::atomic::Ordering::Relaxed;
    let nodes = || view.nodes.iter();
    families.counter(
        "xmpp_archiver_spooled",
        "Records put into the spool.",
        nodes().map(|one| (of_node(one), one.stats.spooled.load(Relaxed))),
    )?;
    let help = "Stanzas lost because they were larger than max_stanza.";
    families.counter("xmpp_archiver_oversize", help, nodes().map(|one| (of_node(one), one.stats.oversize.load(Relaxed))))?;
    let help = "Stanzas lost because the spool was full.";
    families.counter("xmpp_archiver_dropped", help, nodes().map(|one| (of_node(one), one.stats.dropped.load(Relaxed))))?;
    let help = "Stanzas that could not be parsed, kept as they came.";
    families.counter("xmpp_archiver_unreadable", help, nodes().map(|one| (of_node(one), one.stats.unreadable.load(Relaxed))))?;
    let reasons =
        nodes().flat_map(|one| one.stats.skipped.get().into_iter().map(|(reason, count)| (with(of_node(one), "reason", reason), count)));
    families.counter("xmpp_archiver_skipped", "Stanzas that are nothing to keep, such as presence.", reasons)?;
    let reasons =
        nodes().flat_map(|one| one.stats.forged.get().into_iter().map(|(reason, count)| (with(of_node(one), "reason", reason), count)));
    families.counter("xmpp_archiver_forged", "Stanzas kept out since they may not be believed.", reasons)?;
    let known = |one: &NodeView| Some((of_node(one), shown.open_gaps(&one.name)? as f64));
    families.gauge(
        "xmpp_archiver_gaps_open",
        "Intervals from which messages may be missing, and that nobody has closed.",
        nodes().filter_map(known),
    )
}

fn modules(families: &mut Families<'_>, view: &View) -> fmt::Result {
    let module = |one: &NodeView| match one.status.module() {
        Presence::Present(module) => Some((of_node(one), module)),
        Presence::Absent | Presence::Unknown => None,
    };
    let modules: Vec<(Labels, Module)> = view.nodes.iter().filter_map(module).collect();
    let about = |(labels, module): &(Labels, Module)| {
        let labels = with(with(labels.clone(), "module", &module.name), "mode", &module.mode);
        (with(labels, "version", &module.version), 1.0)
    };
    families.gauge("xmpp_archiver_module_info", "The module on the node; always 1.", modules.iter().map(about))?;
    type Read = fn(&Module) -> u64;
    let gauges: [(&str, &str, Read); 3] = [
        ("xmpp_archiver_module_queue_records", "Copies in the queue on the node.", |module| module.depth),
        ("xmpp_archiver_module_queue_bytes", "Bytes of the queue on the node.", |module| module.bytes),
        ("xmpp_archiver_module_in_flight", "Copies that the node sent and that are not acknowledged.", |module| module.in_flight),
    ];
    for (name, help, read) in gauges {
        families.gauge(name, help, modules.iter().map(|(labels, module)| (labels.clone(), read(module) as f64)))?;
    }
    let dropped = modules.iter().map(|(labels, module)| (labels.clone(), module.dropped));
    families.counter("xmpp_archiver_module_dropped", "Copies that the module had to drop.", dropped)
}

fn canaries(families: &mut Families<'_>, view: &View) -> fmt::Result {
    let reports: Vec<(Labels, Report)> = view.nodes.iter().filter_map(|node| Some((of_node(node), node.canary()?))).collect();
    let took = |(labels, report): &(Labels, Report)| Some((labels.clone(), report.took?.as_secs_f64()));
    let help = "Time from the writing of the last probe that came back to the commit that holds it.";
    families.gauge("xmpp_archiver_canary_seconds", help, reports.iter().filter_map(took))?;
    let age = |(labels, report): &(Labels, Report)| Some((labels.clone(), (now() - report.returned_at?).max(0) as f64 / SECOND as f64));
    families.gauge("xmpp_archiver_canary_age_seconds", "Time since the last probe came back.", reports.iter().filter_map(age))?;
    let returned = reports.iter().map(|(labels, report)| (labels.clone(), report.returned));
    families.counter("xmpp_archiver_canary_returned", "Probes that came back.", returned)?;
    let missing = reports.iter().map(|(labels, report)| (labels.clone(), report.missing));
    families.counter("xmpp_archiver_canary_missing", "Probes that did not come back in time.", missing)
}

fn stores(families: &mut Families<'_>, view: &View) -> fmt::Result {
    let counts: Vec<(&StoreView, StoreCounts)> = view.stores.iter().map(|store| (store, store.stats.get())).collect();
    type Read = fn(&StoreCounts) -> u64;
    let counters: [(&str, &str, Read); 7] = [
        ("xmpp_archiver_archived", "Messages that were new, and were stored.", |counts| counts.messages),
        ("xmpp_archiver_deliveries", "Copies stored, the first of each message included.", |counts| counts.deliveries),
        ("xmpp_archiver_duplicates", "Further copies of messages.", |counts| counts.deliveries.saturating_sub(counts.messages)),
        ("xmpp_archiver_bounces", "Errors attached to messages.", |counts| counts.bounces),
        ("xmpp_archiver_quarantined", "Records set aside.", |counts| counts.quarantined),
        ("xmpp_archiver_repeated", "Records that had been stored before.", |counts| counts.repeated),
        ("xmpp_archiver_commits", "Transactions committed.", |counts| counts.commits),
    ];
    for (name, help, read) in counters {
        families.counter(name, help, counts.iter().map(|(store, counts)| (of_store(store), read(counts))))?;
    }
    let reasons = counts
        .iter()
        .flat_map(|(store, counts)| counts.skipped.iter().map(|(reason, count)| (with(of_store(store), "reason", reason), *count)));
    families.counter("xmpp_archiver_not_archived", "Records that were read and not archived.", reasons)?;
    let errors = view
        .stores
        .iter()
        .flat_map(|store| store.stats.errors().into_iter().map(|(kind, count)| (with(of_store(store), "kind", kind), count)));
    families.counter("xmpp_archiver_database_errors", "Failures of the database.", errors)?;
    let connected = view.stores.iter().map(|store| (of_store(store), f64::from(u8::from(store.stats.is_connected()))));
    families.gauge(
        "xmpp_archiver_store_connected",
        "1 while the database is reached and its tables are those of this version.",
        connected,
    )?;
    let behind = |store: &StoreView| Some((of_store(store), store.index.progress()?.behind() as f64));
    let help = "Messages that the index for searches has not reached; they are found all the same, but slower.";
    families.gauge("xmpp_archiver_index_behind", help, view.stores.iter().filter_map(behind))?;
    let indexed = |store: &StoreView| (of_store(store), u64::try_from(store.index.indexed()).unwrap_or(0));
    families.counter("xmpp_archiver_indexed", "Messages put into the index for searches.", view.stores.iter().map(indexed))?;
    let sizes = view.stores.iter().map(|store| (of_store(store), &store.stats.batch_records));
    families.histogram("xmpp_archiver_batch_records", "Records of a transaction.", sizes)?;
    let times = view.stores.iter().map(|store| (of_store(store), &store.stats.commit_seconds));
    families.histogram("xmpp_archiver_commit_seconds", "Time that a transaction took.", times)
}

fn spools(families: &mut Families<'_>, view: &View) -> fmt::Result {
    type Read = fn(&StoreView) -> f64;
    let gauges: [(&str, &str, Read); 7] = [
        ("xmpp_archiver_spool_records", "Records that are not stored yet.", |store| store.spool.depth().records as f64),
        ("xmpp_archiver_spool_bytes", "Bytes of the spool on disk.", |store| store.spool.depth().bytes as f64),
        ("xmpp_archiver_spool_limit_bytes", "Bytes that the spool may have.", |store| store.spool.depth().limit_bytes as f64),
        ("xmpp_archiver_spool_paused", "1 while the spool takes no more.", |store| f64::from(u8::from(store.spool.depth().paused))),
        ("xmpp_archiver_spool_oldest_age_seconds", "How long the oldest record has waited to be stored.", |store| {
            store.oldest_age().map_or(0.0, |age| age.as_secs_f64())
        }),
        ("xmpp_archiver_lag_seconds", "How old the newest stored record is while others wait.", lag_seconds),
        ("xmpp_archiver_store_alive", "1 while every thread of the store's pipeline is there.", |store| {
            f64::from(u8::from(store.pulse.is_alive() && store.spool.depth().is_written))
        }),
    ];
    for (name, help, read) in gauges {
        families.gauge(name, help, view.stores.iter().map(|store| (of_store(store), read(store))))?;
    }
    let disks = view.stores.iter().flat_map(|store| store.disks.iter().map(move |disk| (store, disk)));
    let free = disks.filter_map(|(store, disk)| {
        let bytes = crate::run::look::free_bytes(disk)?;
        Some((with(of_store(store), "path", &disk.display().to_string()), bytes as f64))
    });
    families.gauge("xmpp_archiver_disk_free_bytes", "Bytes that are free on the disks that the store fills.", free)
}

fn alarms(families: &mut Families<'_>, shown: &Shown) -> fmt::Result {
    let named = |name: &Name| vec![("name", name.label().to_owned()), ("severity", name.severity().label().to_owned())];
    let (raised, totals) = (shown.alarms().raised(), shown.alarms().totals());
    let now = Name::ALL.iter().map(|name| (named(name), raised.iter().filter(|alarm| alarm.name == *name).count() as f64));
    families.gauge("xmpp_archiver_alarms_raised", "Alarms that are raised now.", now)?;
    let ever = Name::ALL.iter().map(|name| (named(name), totals.get(name).copied().unwrap_or_default()));
    families.counter("xmpp_archiver_alarms", "Alarms that were raised.", ever)?;
    let sent = shown.notifier().sent();
    let outcomes = sent.iter().flat_map(|(way, sent)| {
        [("delivered", sent.delivered), ("failed", sent.failed), ("dropped", sent.dropped), ("refused", sent.refused)]
            .map(|(outcome, count)| (vec![("way", way.label().to_owned()), ("outcome", outcome.to_owned())], count))
    });
    families.counter("xmpp_archiver_alarms_sent", "Alarms on their way to people.", outcomes)?;
    let waiting = sent.iter().map(|(way, sent)| (vec![("way", way.label().to_owned())], sent.waiting as f64));
    families.gauge("xmpp_archiver_alarms_waiting", "Alarms that wait to be sent.", waiting)
}
