//! `run`: attaches to the nodes and archives until stopped.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::Failure;
use crate::config::Config;

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
        tokio::spawn(wait_for_signal(stop));
        crate::run::run(&config, stopped).await.map_err(|error| Failure::Runtime(error.to_string()))
    })
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
