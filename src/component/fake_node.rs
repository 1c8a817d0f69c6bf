//! What the tests of whole sessions are played with: a node that follows a script, on loopback and a port of the
//! system's choice; an intake that records; and an archiver between the two.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::status::State;
use super::*;

/// Nothing in a test takes this long unless it has failed.
pub(super) const DEADLINE: Duration = Duration::from_secs(20);

/// The stream id and the secret of all scripts, and their digest: the first example of FIPS 180, SHA-1("abc").
pub(super) const STREAM_ID: &str = "a";
pub(super) const SECRET: &str = "bc";
const DIGEST: &str = "a9993e364706816aba3e25717850c26c9cd0d89d";

/// A listening component port.
pub(super) struct FakeNode {
    listener: TcpListener,
}

impl FakeNode {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { listener }
    }

    pub(super) fn address(&self) -> String {
        self.listener.local_addr().unwrap().to_string()
    }

    /// The next connection, nothing said yet.
    pub(super) async fn accept(&self) -> Talk<TcpStream> {
        let (socket, _) = timeout(DEADLINE, self.listener.accept()).await.unwrap().unwrap();
        Talk::over(socket)
    }

    /// The next connection, authenticated.
    pub(super) async fn welcome(&self) -> Talk<TcpStream> {
        let mut talk = self.accept().await;
        talk.welcome().await;
        talk
    }
}

/// One connection, as a conversation.
pub(super) struct Talk<S> {
    socket: S,
    unread: String,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Talk<S> {
    pub(super) fn over(socket: S) -> Self {
        Self { socket, unread: String::new() }
    }

    pub(super) fn into_socket(self) -> S {
        self.socket
    }

    pub(super) async fn say(&mut self, text: &str) {
        self.socket.write_all(text.as_bytes()).await.unwrap();
        self.socket.flush().await.unwrap();
    }

    /// Like [`Self::say`], for a peer that may be gone.
    pub(super) async fn try_say(&mut self, text: &str) -> bool {
        self.socket.write_all(text.as_bytes()).await.is_ok()
    }

    /// Reads up to and including the words given.
    pub(super) async fn hear(&mut self, words: &str) -> String {
        while !self.unread.contains(words) {
            let more = self.read().await;
            assert!(more, "the connection ended before {words:?}; heard {:?}", self.unread);
        }
        let end = self.unread.find(words).unwrap() + words.len();
        self.unread.drain(..end).collect()
    }

    /// Reads up to the end of the connection.
    pub(super) async fn hear_out(mut self) -> String {
        while self.read().await {}
        self.unread
    }

    async fn read(&mut self) -> bool {
        let mut bytes = [0; 4096];
        let reading = timeout(DEADLINE, self.socket.read(&mut bytes)).await;
        let count = reading.expect("nothing was said for too long").unwrap_or(0);
        self.unread.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
        count > 0
    }

    /// Opens the stream from this side, and hears the proof of the secret; tells whether it is right.
    pub(super) async fn open(&mut self) -> bool {
        let header = self.hear("to='archive.example'>").await;
        assert!(header.contains("xmlns='jabber:component:accept'"), "{header}");
        self.say(&format!(
            "<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept' \
             xmlns:stream='http://etherx.jabber.org/streams' from='archive.example' id='{STREAM_ID}'>"
        ))
        .await;
        self.hear("</handshake>").await.contains(&format!(">{DIGEST}<"))
    }

    pub(super) async fn welcome(&mut self) {
        assert!(self.open().await, "a wrong digest");
        self.say("<handshake/>").await;
    }
}

/// An intake that keeps what it is given.
#[derive(Default)]
pub(super) struct Recorder {
    pub(super) stanzas: Mutex<Vec<String>>,
    pub(super) oversize: Mutex<Vec<(String, u64)>>,
    /// The replies to the next stanzas of our own mirror.
    pub(super) replies: Mutex<Vec<oneshot::Receiver<Option<Vec<u8>>>>>,
    pub(super) blocked: AtomicBool,
    pub(super) connected: AtomicUsize,
    pub(super) disconnected: AtomicUsize,
}

impl Intake for Recorder {
    async fn take(&self, stanza: &[u8], _arrived_at: Micros) -> Taken {
        let text = String::from_utf8_lossy(stanza).into_owned();
        let mirrored = text.contains(MIRROR_NAMESPACE);
        self.stanzas.lock().unwrap().push(text);
        if self.blocked.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        match self.replies.lock().unwrap().pop() {
            Some(reply) if mirrored => Taken::ReplyWhenDurable(Box::pin(async { reply.await.ok().flatten() })),
            _ => Taken::Done,
        }
    }

    async fn oversize(&self, head: &[u8], total_bytes: u64, _arrived_at: Micros) -> Taken {
        let head = String::from_utf8_lossy(head).into_owned();
        self.oversize.lock().unwrap().push((head, total_bytes));
        Taken::Done
    }

    fn connected(&self) {
        self.connected.fetch_add(1, Ordering::Relaxed);
    }

    fn disconnected(&self) {
        self.disconnected.fetch_add(1, Ordering::Relaxed);
    }
}

impl Recorder {
    pub(super) async fn taken(&self, count: usize) -> Vec<String> {
        until(|| self.stanzas.lock().unwrap().len() >= count).await;
        self.stanzas.lock().unwrap().clone()
    }
}

pub(super) async fn until(condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(DEADLINE, waiting).await.expect("it did not come to pass");
}

/// An archiver of one node.
pub(super) struct Archiver {
    pub(super) intake: Arc<Recorder>,
    pub(super) status: Status,
    pub(super) settings: Settings,
    pub(super) stop: watch::Sender<bool>,
    pub(super) running: JoinHandle<()>,
}

impl Archiver {
    pub(super) fn start(settings: Settings) -> Self {
        let (intake, status) = (Arc::new(Recorder::default()), Status::new());
        let (stop, stopping) = watch::channel(false);
        let running = tokio::spawn(run(settings.clone(), Arc::clone(&intake), status.clone(), stopping));
        Self { intake, status, settings, stop, running }
    }

    /// Why the session ended; by the time one looks, the next attempt may be under way.
    pub(super) async fn down(&self) -> (SessionError, String) {
        until(|| self.last_error().is_some()).await;
        let error = self.last_error().unwrap();
        let advice = error.advice(&self.settings);
        (error, advice)
    }

    pub(super) fn last_error(&self) -> Option<SessionError> {
        match self.status.state() {
            State::Down { error, .. } => Some(error),
            State::Connecting(last) => last,
            State::Online { .. } | State::Stopped => None,
        }
    }

    pub(super) async fn stop(self) {
        self.stop.send(true).unwrap();
        timeout(DEADLINE, self.running).await.unwrap().unwrap();
        assert_eq!(self.status.state(), State::Stopped);
    }
}

pub(super) fn settings(node: &FakeNode) -> Settings {
    let mut settings = Settings::new("one", &node.address(), "archive.example", SECRET.into());
    settings.hosts = vec!["example".to_owned()];
    settings.connect_timeout = DEADLINE;
    settings
}
