//! `run`: attaches to the nodes and archives until stopped; SIGHUP makes it read its configuration again.

use std::thread::JoinHandle;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

use super::Failure;
use crate::config::Config;
use crate::run::Reloads;
use crate::web;

/// How long until a console that could not begin is tried again.
const RETRY: Duration = Duration::from_secs(10);

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
        let console = config.web.with_run.then(|| console(config.clone(), stopped.clone()));
        tokio::spawn(wait_for_hangups(hang_up));
        let file = config.file.clone();
        let reloads = Reloads { wanted, load: Box::new(move || Config::load(file.as_deref())) };
        let ended = crate::run::run_with(&config, stopped, reloads).await;
        if let Some(console) = console.flatten().filter(|_| ended.is_ok()) {
            // It was told to stop by the same word, and takes no longer than its last requests.
            let _ended = tokio::task::spawn_blocking(|| console.join()).await;
        }
        ended.map_err(|error| Failure::Runtime(error.to_string()))
    })
}

/// The console beside the sessions: threads of its own, so that no page holds up a node, and tried again where it can't begin.
fn console(config: Config, mut stopped: watch::Receiver<bool>) -> Option<JoinHandle<()>> {
    let serve = async move {
        loop {
            match web::serve(&config, stopped.clone(), |_address| {}).await {
                Ok(()) => return,
                Err(error) => log::error!("the console: {error}; archiving goes on, and it is tried again every {} s", RETRY.as_secs()),
            }
            if tokio::time::timeout(RETRY, stopped.wait_for(|stopped| *stopped)).await.is_ok() {
                return;
            }
        }
    };
    let spawned = std::thread::Builder::new().name("console".to_owned()).spawn(move || {
        match tokio::runtime::Builder::new_multi_thread().worker_threads(2).thread_name("console").enable_all().build() {
            Ok(runtime) => runtime.block_on(serve),
            Err(error) => log::error!("the console can't be started: {error}"),
        }
    });
    spawned.map_err(|error| log::error!("the console can't be started: {error}")).ok()
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
