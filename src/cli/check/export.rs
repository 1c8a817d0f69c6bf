//! Checks of an export by the clock: its directory, the nodes among its conditions, and the bucket that it is put into.

use super::finding::{About, Findings};
use super::{bucket, disk};
use crate::cli::connect;
use crate::config::{Config, ScheduleConfig, StoreUrl};
use crate::retrieve::Archive;
use crate::store::Endpoint;

pub(super) async fn check(config: &Config, export: &ScheduleConfig, offline: bool, findings: &mut Findings) {
    let mut about = findings.about(format!("export {}", export.name));
    disk::check_directory(&export.path, "directory", &mut about);
    check_nodes(config, export, offline, &mut about).await;
    bucket::check(export, offline, &mut about).await;
}

/// A node that the configuration does not have may be a former one, of which the archive knows. Where the archive can't be asked, nothing is said.
async fn check_nodes(config: &Config, export: &ScheduleConfig, offline: bool, about: &mut About<'_>) {
    let strange = export.strange_nodes(&config.nodes);
    let Some(store) = config.store(Some(&export.store)).ok().filter(|_| !strange.is_empty()) else { return };
    let is_file = matches!(store.url, StoreUrl::Sqlite(_));
    let unknown = match () {
        () if connect::is_absent(store) => strange,
        () if offline && !is_file => return,
        () => {
            let asked = async { Archive::open(&Endpoint::from_config(store), 1).await?.unknown_nodes(&strange).await };
            match asked.await {
                Ok(unknown) => unknown,
                // What is wrong with the store is told where the store is looked at.
                Err(_told) => return,
            }
        }
    };
    for name in unknown {
        about.warn(
            "nodes",
            format!("neither the configuration nor the archive knows a node {name:?}"),
            "mend `query`: nothing is exported for this node. A former node is right once its messages are in the archive",
        );
    }
}
