//! `run`: attaches to the nodes and archives until stopped; SIGHUP makes it read its configuration again.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

use super::Failure;
use crate::config::Config;
use crate::run::Reloads;

/// Runs the command.
pub fn execute(config: Config) -> Result<(), Failure> {
    config.require_nodes()?;
    super::memory::give_back_at_once();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("session")
        .enable_all()
        .build()
        .map_err(|error| Failure::Runtime(format!("the runtime can't be started: {error}")))?;
    runtime.block_on(async {
        let (stop, stopped) = watch::channel(false);
        let (hang_up, wanted) = mpsc::channel(1);
        tokio::spawn(wait_for_signal(stop));
        tokio::spawn(wait_for_hangups(hang_up));
        let file = config.file.clone();
        let reloads = Reloads { wanted, load: Box::new(move || Config::load(file.as_deref())) };
        crate::run::run_with(&config, stopped, reloads).await.map_err(|error| Failure::Runtime(error.to_string()))
    })
}

/// Each SIGHUP is passed on; several in a row may become one.
async fn wait_for_hangups(wanted: mpsc::Sender<()>) {
    let Ok(mut hangup) = signal(SignalKind::hangup()) else {
        log::error!("SIGHUP can't be caught: the configuration can't be read again");
        return std::future::pending().await;
    };
    while hangup.recv().await.is_some() {
        let _one_waits_already = wanted.try_send(());
    }
}

/// SIGTERM and SIGINT stop in order; a second one ends at once, which loses nothing that is in the spool.
async fn wait_for_signal(stop: watch::Sender<bool>) {
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        log::error!("signals can't be caught: only kill ends this process");
        return std::future::pending().await;
    };
    for is_first in [true, false] {
        tokio::select! {
            _signal = terminate.recv() => {}
            _signal = interrupt.recv() => {}
        }
        if is_first {
            let _nobody_listens = stop.send(true);
        }
    }
    std::process::exit(1);
}
