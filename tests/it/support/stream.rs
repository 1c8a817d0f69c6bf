//! One XMPP stream: a socket, a thread that reads it, and everything that came in, in which a test looks for what it expects.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Instant;

use super::process::PATIENCE;
use super::stanza::{Splitter, Stanza};

#[derive(Debug, Default)]
struct Inbox {
    received: Vec<Stanza>,
    /// Which of them a test has already asked for.
    taken: Vec<bool>,
    header: Option<String>,
    closed: bool,
}

#[derive(Debug, Default)]
struct Shared {
    inbox: Mutex<Inbox>,
    news: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// An open stream.
#[derive(Debug)]
pub(crate) struct Stream {
    name: String,
    socket: TcpStream,
    shared: Arc<Shared>,
}

impl Stream {
    /// Connects to a port of the loopback interface. `name` is what failures call this stream.
    pub(crate) fn connect(name: &str, port: u16, namespace: &'static str) -> Stream {
        let socket = TcpStream::connect(("127.0.0.1", port)).expect("connect to the server");
        socket.set_nodelay(true).expect("nodelay");
        let shared = Arc::new(Shared::default());
        let reader = socket.try_clone().expect("a second handle");
        let inbox = Arc::clone(&shared);
        std::thread::spawn(move || read_all(reader, &inbox, Splitter::new(namespace)));
        Stream { name: name.to_owned(), socket, shared }
    }

    pub(crate) fn send(&self, xml: &str) {
        let sent = (&self.socket).write_all(xml.as_bytes());
        sent.unwrap_or_else(|error| panic!("{} can't send: {error}", self.name));
    }

    /// Opens the stream, or opens it anew, and waits for the server's header.
    pub(crate) fn open(&self, xml: &str) -> String {
        self.shared.lock().header = None;
        self.send(xml);
        self.wait("the stream's header", |inbox| inbox.header.clone())
    }

    /// The first stanza that matches and that nobody has asked for yet, waiting for it if need be.
    pub(crate) fn expect(&self, what: &str, matches: impl Fn(&Stanza) -> bool) -> Stanza {
        self.wait(what, |inbox| {
            let mut candidates = inbox.received.iter().zip(&inbox.taken);
            let index = candidates.position(|(stanza, taken)| !*taken && matches(stanza))?;
            inbox.taken[index] = true;
            Some(inbox.received[index].clone())
        })
    }

    /// Everything that has come in until now.
    pub(crate) fn received(&self) -> Vec<Stanza> {
        self.shared.lock().received.clone()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.shared.lock().closed
    }

    /// Ends the connection without a word, as a phone does that loses its network.
    pub(crate) fn drop_abruptly(&self) {
        let _ = self.socket.shutdown(Shutdown::Both);
    }

    fn wait<T>(&self, what: &str, mut look: impl FnMut(&mut Inbox) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut inbox = self.shared.lock();
        loop {
            if let Some(found) = look(&mut inbox) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || inbox.closed {
                let got: Vec<&str> = inbox.received.iter().map(|s| s.raw.as_str()).collect();
                panic!("{} waited in vain for {what}; it got\n{}", self.name, got.join("\n"));
            }
            let waited = self.shared.news.wait_timeout(inbox, left);
            inbox = waited.unwrap_or_else(|poisoned| poisoned.into_inner()).0;
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.drop_abruptly();
    }
}

fn read_all(mut socket: TcpStream, shared: &Shared, mut splitter: Splitter) {
    let mut buffer = vec![0; 65536];
    while let Ok(length) = socket.read(&mut buffer) {
        if length == 0 {
            break;
        }
        splitter.push(&buffer[..length]);
        let mut stanzas = Vec::new();
        while let Some(stanza) = splitter.next_stanza() {
            stanzas.push(stanza);
        }
        let mut inbox = shared.lock();
        inbox.taken.extend(stanzas.iter().map(|_| false));
        inbox.received.extend(stanzas);
        if let Some(header) = splitter.take_header() {
            inbox.header = Some(header);
        }
        shared.news.notify_all();
    }
    shared.lock().closed = true;
    shared.news.notify_all();
}
