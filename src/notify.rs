//! Sends alarms to people: by a webhook, as XMPP messages through the component's own session, by e-mail.
//!
//! Whoever raises an alarm only puts it into a short queue, one for each way out, and goes on. A task for each way takes them in
//! order and tries the first until it is out: a way that does not work holds up neither the archive nor the other ways. A queue
//! that is full loses its oldest, and so does one whose oldest is older than a day; both are counted. The log and `status` hold
//! every alarm anyway.

pub(crate) mod email;
mod queue;
mod text;
mod webhook;
pub mod xmpp;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::alarm::{Change, Listener};
use crate::config::AlarmConfig;
use queue::Queue;
use xmpp::Courier;

/// How long one attempt may take.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(20);
/// Waits between attempts, the last one again and again.
const RETRY_WAITS: [u64; 6] = [1, 2, 5, 10, 30, 60];
/// How long the ways out are given at the end for what is still to be sent.
const FAREWELL: Duration = Duration::from_secs(3);

/// A way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// An HTTP POST.
    Webhook,
    /// Messages to operators' JIDs.
    Xmpp,
    /// E-mail.
    Email,
}

impl Way {
    /// Every way.
    pub const ALL: [Way; 3] = [Way::Webhook, Way::Xmpp, Way::Email];

    /// The word for logs and metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Xmpp => "xmpp",
            Self::Email => "email",
        }
    }

    /// Whether the settings send anything this way.
    pub fn is_wanted(self, settings: &AlarmConfig) -> bool {
        match self {
            Self::Webhook => settings.webhook.is_some(),
            Self::Xmpp => !settings.jids.is_empty(),
            Self::Email => settings.email.is_some(),
        }
    }
}

/// What was counted of one way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sent {
    /// Changes that arrived.
    pub delivered: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Messages that came back from a JID which they were sent to.
    pub refused: u64,
    /// Changes that were given up.
    pub dropped: u64,
    /// Changes that wait.
    pub waiting: u64,
}

/// What became of a test.
#[derive(Clone, Debug, Serialize)]
pub struct Tried {
    /// The way.
    pub way: &'static str,
    /// Why it failed, if it did.
    pub error: Option<String>,
    /// Where it was sent to; never a secret.
    pub to: String,
}

#[derive(Debug)]
struct Shared {
    settings: watch::Sender<Arc<AlarmConfig>>,
    queues: [(Way, Queue); 3],
    couriers: Mutex<Vec<Courier>>,
}

/// Sends alarms. Clones send through the same queues.
#[derive(Clone, Debug)]
pub struct Notifier(Arc<Shared>);

impl Notifier {
    /// A notifier with these settings; nothing is sent before [`Notifier::start`].
    pub fn new(settings: AlarmConfig) -> Self {
        let queues = Way::ALL.map(|way| (way, Queue::default()));
        Self(Arc::new(Shared { settings: watch::Sender::new(Arc::new(settings)), queues, couriers: Mutex::default() }))
    }

    /// Other settings from now on; what waits is sent by them.
    pub fn set(&self, settings: AlarmConfig) {
        self.0.settings.send_replace(Arc::new(settings));
    }

    /// The sessions that XMPP messages can be sent through.
    pub fn set_couriers(&self, couriers: Vec<Courier>) {
        *self.0.couriers.lock().unwrap_or_else(PoisonError::into_inner) = couriers;
    }

    /// Begins to send, in tasks that end with the set.
    pub fn start(&self) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        for way in Way::ALL {
            tasks.spawn(self.clone().keep_sending(way));
        }
        tasks
    }

    /// Waits for a moment until everything is sent.
    pub async fn finish(&self) {
        let empty = async {
            for (_, queue) in &self.0.queues {
                queue.emptied().await;
            }
        };
        if timeout(FAREWELL, empty).await.is_err() {
            log::warn!("not every alarm could be sent before the end");
        }
    }

    /// What was counted of each way.
    pub fn sent(&self) -> Vec<(Way, Sent)> {
        self.0.queues.iter().map(|(way, queue)| (*way, queue.sent())).collect()
    }

    /// Sends a test by every way that is wanted, at once and past the queues.
    pub async fn test(&self) -> Vec<Tried> {
        let settings = self.0.settings.borrow().clone();
        let mut tried = Vec::new();
        for way in Way::ALL.into_iter().filter(|way| way.is_wanted(&settings)) {
            let error = self.attempt(way, &settings, &Change::test()).await.err();
            tried.push(Tried { way: way.label(), error, to: target(way, &settings) });
        }
        tried
    }

    async fn keep_sending(self, way: Way) {
        let Some((_, queue)) = self.0.queues.iter().find(|(own, _)| *own == way) else { return };
        let mut news = self.0.settings.subscribe();
        let mut failures = 0;
        loop {
            let (ticket, change) = queue.first().await;
            let settings = news.borrow_and_update().clone();
            if !way.is_wanted(&settings) {
                queue.give_up(ticket);
                continue;
            }
            match self.attempt(way, &settings, &change).await {
                Ok(()) => {
                    failures = 0;
                    queue.delivered(ticket);
                }
                Err(error) => {
                    queue.failed();
                    if failures == 0 {
                        log::warn!("alarms can't be sent by {}: {error}; it is tried again", way.label());
                    }
                    wait(failures, &mut news).await;
                    failures += 1;
                }
            }
        }
    }

    async fn attempt(&self, way: Way, settings: &AlarmConfig, change: &Change) -> Result<(), String> {
        let sending = async {
            match way {
                Way::Webhook => webhook::send(settings, change).await,
                Way::Email => email::send(settings, change).await,
                Way::Xmpp => {
                    let couriers = self.0.couriers.lock().unwrap_or_else(PoisonError::into_inner).clone();
                    xmpp::send(&settings.jids, &couriers, change)
                }
            }
        };
        timeout(ATTEMPT_TIMEOUT, sending).await.unwrap_or_else(|_elapsed| Err(format!("no answer within {ATTEMPT_TIMEOUT:?}")))
    }
}

impl Listener for Notifier {
    fn changed(&self, change: &Change) {
        let settings = self.0.settings.borrow();
        for (way, queue) in &self.0.queues {
            if way.is_wanted(&settings) {
                queue.push(change.clone(), Instant::now());
            }
        }
    }

    /// Anybody can send an error: those count that come from whom alarms are sent to.
    fn refused(&self, jid: &str, why: &str) {
        if !self.0.settings.borrow().jids.iter().any(|known| known == jid) {
            return;
        }
        log::warn!(
            "an alarm did not reach {jid}, and is not sent again: the server says {why}; see that the account exists, or mend alarm.jids"
        );
        self.0.queues.iter().filter(|(way, _)| *way == Way::Xmpp).for_each(|(_, queue)| queue.refused());
    }
}

/// Waits before the next attempt; other settings may make it succeed at once.
async fn wait(failures: usize, news: &mut watch::Receiver<Arc<AlarmConfig>>) {
    let seconds = RETRY_WAITS.get(failures).or(RETRY_WAITS.last()).copied().unwrap_or_default();
    tokio::select! {
        () = tokio::time::sleep(Duration::from_secs(seconds)) => {}
        _changed = news.changed() => {}
    }
}

/// Sends a test by the ways that need no session with a node.
pub async fn test_without_sessions(settings: &AlarmConfig) -> Vec<Tried> {
    let without = AlarmConfig { jids: Vec::new(), ..settings.clone() };
    Notifier::new(without).test().await
}

/// Where a way leads. Of a URL only the host, since its path may hold a token.
fn target(way: Way, settings: &AlarmConfig) -> String {
    match way {
        Way::Webhook => settings.webhook.as_deref().and_then(webhook::host).unwrap_or_default(),
        Way::Xmpp => settings.jids.join(", "),
        Way::Email => {
            settings.email.as_ref().map(|email| format!("{} by {}:{}", email.to.join(", "), email.server, email.port)).unwrap_or_default()
        }
    }
}
