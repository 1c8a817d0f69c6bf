//! `web`: serves the console and the API until stopped.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::Failure;
use crate::config::Config;
use crate::web::{WebError, serve};

/// Threads that answer requests; statements of SQLite have threads of their own.
const THREADS: usize = 2;

/// Runs the command.
pub fn execute(config: Config) -> Result<(), Failure> {
    super::memory::give_back_at_once();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .thread_name("console")
        .enable_all()
        .build()
        .map_err(|error| Failure::Runtime(format!("the runtime can't be started: {error}")))?;
    let served = runtime.block_on(async {
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(wait_for_signal(stop));
        serve(&config, stopped, |_address| {}).await
    });
    served.map_err(|error| match error {
        WebError::Tls(_) => Failure::Usage(error.to_string()),
        WebError::Access(_) | WebError::Listen(..) => Failure::Runtime(error.to_string()),
    })
}

/// SIGTERM and SIGINT let the requests that have begun end; a second one ends at once.
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
