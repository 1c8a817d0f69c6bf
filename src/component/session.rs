//! One connection: opened, read until it ends, and closed politely when the archiver stops.
//!
//! One task reads, and does nothing that could make it wait but handing stanzas to the intake. Whatever is written goes
//! through a bounded queue to a task of its own; replies that wait for a stanza to become durable wait in tasks of
//! theirs. A node that does not read what it is sent fills the queue, and then the connection is given up: a node that
//! has lost an acknowledgement sends its stanza again, while one that is waited for would stop the archive.
//!
//! Liveness: any byte from the node counts. After `ping_interval` of silence it is pinged (XEP-0199), and after
//! `ping_timeout` more the connection is dead. Time spent waiting in the intake is not held against the node.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use log::{debug, error, info, warn};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::framing::{Frame, Framer, Violation};
use super::iq::{self, Iq, Kind, Sorted};
use super::module::{Inquiry, Presence};
use super::openfire::{Outcome, Subscription};
use super::status::Mirror;
use super::{DurableReply, Intake, MIRROR_NAMESPACE, SessionError, Settings, Status, Taken};
use super::{handshake, stopped, tls};
use crate::time;

/// The most stanzas whose acknowledgement waits for durability; later ones are not acknowledged.
const MAX_PENDING_REPLIES: usize = 10_000;
/// The most replies that wait to be written: all the pending ones at once, and the session's own.
const MAX_OUTGOING: usize = 16 * 1024;
/// The most bytes that wait to be written.
const MAX_OUTGOING_BYTES: usize = 8 * 1024 * 1024;
/// How many replies go into one write.
const REPLIES_A_WRITE: usize = 256;
/// How long a node that is tried out may take to tell whether it has a module.
const PROBE_WAIT: Duration = Duration::from_secs(3);
/// How long the node's last stanzas, and its own closing, are waited for when the archiver stops.
const CLOSE_WAIT: Duration = Duration::from_secs(2);
/// A stanza that was skipped over this many times the limit has no end: the stream is out of step.
const ENDLESS_LIMITS: u64 = 16;

const STREAM_END: &[u8] = b"</stream:stream>";

pub(super) trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Socket for S {}

/// An authenticated connection, with whatever was read of it beyond the handshake.
pub(super) struct Connection {
    pub(super) socket: Box<dyn Socket>,
    pub(super) framer: Framer,
}

impl Connection {
    /// Connects and authenticates within the connect timeout.
    pub(super) async fn open(settings: &Settings) -> Result<Self, SessionError> {
        let seconds = settings.connect_timeout.as_secs_f64();
        let socket = timeout(settings.connect_timeout, dial(settings)).await;
        let late = |_elapsed| SessionError::Unreachable(format!("no connection within {seconds} s"));
        let mut socket = socket.map_err(late)??;
        let mut framer = Framer::new(settings.max_stanza_bytes);
        let opened = timeout(settings.connect_timeout, handshake::authenticate(&mut socket, &mut framer, settings)).await;
        let mute = |_elapsed| SessionError::NotAComponentPort(format!("no answer within {seconds} s"));
        opened.map_err(mute)??;
        Ok(Self { socket, framer })
    }

    /// Sends stanzas and waits until the node has read them, which its answer to a ping tells.
    pub(super) async fn send(&mut self, settings: &Settings, stanzas: &[Vec<u8>]) -> Result<(), SessionError> {
        const PING: &str = "sent";
        let mut bytes = stanzas.concat();
        bytes.extend(iq::ping(PING, &settings.domain, settings.node_domain()));
        let lost = |error: std::io::Error| SessionError::Closed(error.to_string());
        self.socket.write_all(&bytes).await.map_err(lost)?;
        self.socket.flush().await.map_err(lost)?;
        loop {
            while let Some(frame) = self.framer.next_frame() {
                match frame {
                    Frame::Stanza(stanza) => match iq::sort(stanza) {
                        Sorted::Iq(iq) if iq.id == PING => return Ok(()),
                        Sorted::MaybeStreamError => {
                            return Err(handshake::stream_error(stanza).unwrap_or(SessionError::Closed(String::new())));
                        }
                        _ => {}
                    },
                    Frame::StreamClose => return Err(SessionError::Closed("the node closed the stream".to_owned())),
                    _ => {}
                }
            }
            if self.socket.read_buf(self.framer.room()).await.map_err(lost)? == 0 {
                return Err(SessionError::Closed(String::new()));
            }
        }
    }

    /// Asks how the node's module is doing; what else comes meanwhile is left unread, and unacknowledged.
    pub(super) async fn ask_module(&mut self, settings: &Settings) -> Presence {
        let mut inquiry = Inquiry::new(&settings.domain, settings.node_domain(), PROBE_WAIT);
        timeout(PROBE_WAIT, self.answer_to(&mut inquiry)).await.ok().flatten().unwrap_or_default()
    }

    async fn answer_to(&mut self, inquiry: &mut Inquiry) -> Option<Presence> {
        self.socket.write_all(&inquiry.due()?).await.ok()?;
        self.socket.flush().await.ok()?;
        loop {
            while let Some(frame) = self.framer.next_frame() {
                let Frame::Stanza(stanza) = frame else { continue };
                if let Sorted::Iq(iq) = iq::sort(stanza)
                    && let Some(presence) = inquiry.answer(&iq, stanza)
                {
                    return Some(presence);
                }
            }
            if self.socket.read_buf(self.framer.room()).await.ok()? == 0 {
                return None;
            }
        }
    }

    /// Closes the stream without looking at what the node has to say any more.
    pub(super) async fn close(mut self) {
        let farewell = async {
            self.socket.write_all(STREAM_END).await?;
            self.socket.shutdown().await
        };
        let _best_effort = timeout(CLOSE_WAIT, farewell).await;
    }
}

async fn dial(settings: &Settings) -> Result<Box<dyn Socket>, SessionError> {
    let stream = connect(&settings.address).await.map_err(|error| SessionError::Unreachable(error.to_string()))?;
    match &settings.tls {
        None => Ok(Box::new(stream)),
        Some(tls) => Ok(Box::new(tls::wrap(stream, settings, tls).await?)),
    }
}

/// Tries the addresses of the host in turn.
async fn connect(address: &str) -> std::io::Result<TcpStream> {
    let mut last = std::io::Error::other("the host has no address");
    for candidate in lookup_host(address).await? {
        let socket = if candidate.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_keepalive(true)?;
        socket.set_nodelay(true)?;
        match socket.connect(candidate).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Reads an authenticated connection until it ends. Ok when the archiver wanted that.
pub(super) async fn serve<I: Intake>(
    connection: Connection,
    settings: &Settings,
    intake: &I,
    status: &Status,
    shutdown: &mut watch::Receiver<bool>,
) -> Result<(), SessionError> {
    let Connection { socket, mut framer } = connection;
    let (mut reader, writer) = tokio::io::split(socket);
    let (outgoing, mut written) = Outgoing::start(writer);
    status.opened(outgoing.clone());
    let mut session = Session::new(settings, intake, status, outgoing);
    let ended = session.read_on(&mut reader, &mut framer, &mut written, shutdown).await;
    status.closed();
    // With the last sender gone the writer writes what it has, shuts the socket down and ends.
    drop(session);
    if !written.is_finished() {
        let _best_effort = timeout(CLOSE_WAIT, &mut written).await;
        written.abort();
    }
    ended
}

/// The way to the writer.
#[derive(Clone, Debug)]
pub(super) struct Outgoing {
    queue: mpsc::Sender<Vec<u8>>,
    waiting_bytes: Arc<AtomicUsize>,
    overflow: Arc<Notify>,
}

impl Outgoing {
    fn start(socket: WriteHalf<Box<dyn Socket>>) -> (Self, JoinHandle<()>) {
        let (queue, queued) = mpsc::channel(MAX_OUTGOING);
        let waiting_bytes = Arc::new(AtomicUsize::new(0));
        let writer = Writer { socket, queued, waiting_bytes: Arc::clone(&waiting_bytes) };
        let outgoing = Self { queue, waiting_bytes, overflow: Arc::new(Notify::new()) };
        (outgoing, tokio::spawn(writer.write_all()))
    }

    /// Queues bytes without waiting; when there is no room the session ends.
    pub(super) fn send(&self, bytes: Vec<u8>) -> bool {
        let length = bytes.len();
        let waiting_bytes = self.waiting_bytes.fetch_add(length, Ordering::Relaxed);
        let queued = waiting_bytes + length <= MAX_OUTGOING_BYTES && self.queue.try_send(bytes).is_ok();
        if !queued {
            self.waiting_bytes.fetch_sub(length, Ordering::Relaxed);
            self.overflow.notify_one();
        }
        queued
    }
}

/// The half of the connection that writes.
struct Writer {
    socket: WriteHalf<Box<dyn Socket>>,
    queued: mpsc::Receiver<Vec<u8>>,
    waiting_bytes: Arc<AtomicUsize>,
}

impl Writer {
    /// Writes what is queued, until nobody can queue any more or the node is gone.
    async fn write_all(mut self) {
        let (mut replies, mut bytes) = (Vec::new(), Vec::new());
        while self.queued.recv_many(&mut replies, REPLIES_A_WRITE).await > 0 {
            // One sync of the spool answers many stanzas, each in a task of its own. They have their turn first, so that the node, too,
            // reads many answers at once.
            tokio::task::yield_now().await;
            self.take_more(&mut replies);
            bytes.clear();
            replies.drain(..).for_each(|reply| bytes.extend_from_slice(&reply));
            if let Err(error) = self.write(&bytes).await {
                debug!("writing to the node failed: {error}");
                return;
            }
            self.waiting_bytes.fetch_sub(bytes.len(), Ordering::Relaxed);
        }
        let _the_node_may_be_gone = self.socket.shutdown().await;
    }

    fn take_more(&mut self, replies: &mut Vec<Vec<u8>>) {
        while replies.len() < REPLIES_A_WRITE
            && let Ok(reply) = self.queued.try_recv()
        {
            replies.push(reply);
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.socket.write_all(bytes).await?;
        self.socket.flush().await
    }
}

/// The clock that tells a quiet node from a dead one.
struct Liveness {
    interval: Duration,
    timeout: Duration,
    heard_at: Instant,
    pinged_at: Option<Instant>,
    pings: u64,
}

impl Liveness {
    fn heard(&mut self) {
        self.heard_at = Instant::now();
        self.pinged_at = None;
    }

    fn deadline(&self) -> Instant {
        self.pinged_at.map_or(self.heard_at + self.interval, |pinged_at| pinged_at + self.timeout)
    }
}

/// What is known of a session while it lasts.
struct Session<'a, I> {
    settings: &'a Settings,
    intake: &'a I,
    status: &'a Status,
    outgoing: Outgoing,
    pending: JoinSet<()>,
    liveness: Liveness,
    subscription: Option<Subscription>,
    inquiry: Option<Inquiry>,
    began_at: Instant,
    violation_told: bool,
    /// When the waiting for the end of the stream is over, once the archiver is stopping.
    closing: Option<Instant>,
}

impl<'a, I: Intake> Session<'a, I> {
    fn new(settings: &'a Settings, intake: &'a I, status: &'a Status, outgoing: Outgoing) -> Self {
        let now = Instant::now();
        let subscription = settings.kind_openfire.then(|| Subscription::new(&settings.domain, settings.node_domain()));
        let inquiry = settings.module_interval.map(|interval| Inquiry::new(&settings.domain, settings.node_domain(), interval));
        let (interval, timeout) = (settings.ping_interval, settings.ping_timeout);
        let liveness = Liveness { interval, timeout, heard_at: now, pinged_at: None, pings: 0 };
        let pending = JoinSet::new();
        Self {
            settings,
            intake,
            status,
            outgoing,
            pending,
            liveness,
            subscription,
            inquiry,
            began_at: now,
            violation_told: false,
            closing: None,
        }
    }

    async fn read_on(
        &mut self,
        reader: &mut ReadHalf<Box<dyn Socket>>,
        framer: &mut Framer,
        written: &mut JoinHandle<()>,
        shutdown: &mut watch::Receiver<bool>,
    ) -> Result<(), SessionError> {
        loop {
            if self.drain(framer, shutdown).await? {
                return self.over("the node closed the stream");
            }
            let overflow = Arc::clone(&self.outgoing.overflow);
            tokio::select! {
                read = noting_idleness(reader.read_buf(framer.room()), self.intake) => match read {
                    Ok(0) => {
                        self.intake.caught_up(time::now());
                        return self.over("");
                    }
                    Ok(bytes) => self.heard(bytes),
                    Err(error) => return self.over(&error.to_string()),
                },
                () = sleep_until(self.next_deadline()) => {
                    if self.tick()? {
                        return Ok(());
                    }
                }
                () = overflow.notified() => return Err(SessionError::NotReading),
                _ = &mut *written => return self.over("writing to it failed"),
                () = stopped(shutdown), if self.closing.is_none() => {
                    self.begin_closing();
                }
            }
        }
    }

    /// The connection has ended: fine if that was wanted.
    fn over(&self, reason: &str) -> Result<(), SessionError> {
        if self.closing.is_some() { Ok(()) } else { Err(SessionError::Closed(reason.to_owned())) }
    }

    fn heard(&mut self, bytes: usize) {
        self.status.counters().bytes.add(bytes as u64);
        self.liveness.heard();
    }

    /// Says goodbye, once; tells how long the node's last stanzas are waited for.
    fn begin_closing(&mut self) -> Instant {
        if let Some(until) = self.closing {
            return until;
        }
        self.outgoing.send(STREAM_END.to_vec());
        *self.closing.insert(Instant::now() + CLOSE_WAIT)
    }

    fn next_deadline(&self) -> Instant {
        let asking = self.subscription.as_ref().and_then(Subscription::deadline);
        let deadlines = [asking, self.closing, self.inquiry.as_ref().map(Inquiry::deadline)];
        deadlines.into_iter().flatten().fold(self.liveness.deadline(), Instant::min)
    }

    /// Does what is due; true when the time for closing is over.
    fn tick(&mut self) -> Result<bool, SessionError> {
        let now = Instant::now();
        if let Some(closing) = self.closing {
            return Ok(now >= closing);
        }
        if now >= self.liveness.deadline() {
            self.ping_or_give_up(now)?;
        }
        if let Some(question) = self.inquiry.as_mut().and_then(Inquiry::due) {
            self.outgoing.send(question);
        }
        let outcome = self.subscription.as_mut().map_or(Outcome::Nothing, Subscription::overdue);
        self.subscription_came_to(outcome);
        Ok(false)
    }

    fn ping_or_give_up(&mut self, now: Instant) -> Result<(), SessionError> {
        if self.liveness.pinged_at.is_some() {
            return Err(SessionError::Silent);
        }
        self.liveness.pinged_at = Some(now);
        self.liveness.pings += 1;
        self.status.counters().pings_sent.add(1);
        let id = format!("ping-{}", self.liveness.pings);
        self.outgoing.send(iq::ping(&id, &self.settings.domain, self.settings.node_domain()));
        Ok(())
    }

    /// Works through what was read; true when the node closed the stream.
    async fn drain(&mut self, framer: &mut Framer, shutdown: &mut watch::Receiver<bool>) -> Result<bool, SessionError> {
        let mut worked = false;
        while let Some(frame) = framer.next_frame() {
            worked = true;
            match frame {
                Frame::Stanza(stanza) => {
                    self.status.counters().stanzas.add(1);
                    self.stanza(stanza, shutdown).await?;
                }
                Frame::Oversize { head, total_bytes } => self.oversize(&head, total_bytes, shutdown).await,
                Frame::Violation(violation) => self.violation(violation)?,
                Frame::StreamClose => return Ok(true),
                Frame::StreamOpen(_) => {}
            }
            if self.closing.is_some_and(|until| Instant::now() >= until) {
                return Ok(true);
            }
        }
        if worked {
            self.liveness.heard();
        }
        self.check_in_step(framer)?;
        Ok(false)
    }

    /// A stanza that never ends would swallow all that follow.
    fn check_in_step(&self, framer: &Framer) -> Result<(), SessionError> {
        let skipped_bytes = framer.skipped_bytes();
        if skipped_bytes / ENDLESS_LIMITS <= self.settings.max_stanza_bytes as u64 {
            return Ok(());
        }
        self.status.counters().oversize.add(1);
        Err(SessionError::OutOfStep(format!("a stanza did not end after {skipped_bytes} bytes")))
    }

    async fn oversize(&mut self, head: &[u8], total_bytes: u64, shutdown: &mut watch::Receiver<bool>) {
        self.status.counters().oversize.add(1);
        let limit_bytes = self.settings.max_stanza_bytes;
        error!("node {}: a stanza of {total_bytes} bytes is lost: the limit is {limit_bytes}", self.settings.name);
        let intake = self.intake;
        self.settle(intake.oversize(head, total_bytes, time::now()), shutdown).await;
    }

    /// Logged the first time in a session; counted each time.
    fn violation(&mut self, violation: Violation) -> Result<(), SessionError> {
        self.status.counters().violations.add(1);
        if !self.violation_told {
            self.violation_told = true;
            let name = &self.settings.name;
            warn!("node {name}: the stream holds {violation}, which is skipped and counted");
        }
        if violation.is_fatal() {
            return Err(SessionError::OutOfStep(violation.to_string()));
        }
        Ok(())
    }

    async fn stanza(&mut self, stanza: &[u8], shutdown: &mut watch::Receiver<bool>) -> Result<(), SessionError> {
        match iq::sort(stanza) {
            Sorted::Stanza => self.offer(stanza, shutdown).await,
            Sorted::MaybeStreamError => match handshake::stream_error(stanza) {
                Some(error) => return Err(error),
                None => self.offer(stanza, shutdown).await,
            },
            Sorted::Iq(iq) => match iq.kind {
                Kind::Result | Kind::Error => self.answered(&iq, stanza),
                Kind::Get | Kind::Set if memchr::memmem::find(stanza, MIRROR_NAMESPACE.as_bytes()).is_some() => {
                    self.offer(stanza, shutdown).await;
                }
                Kind::Get | Kind::Set => self.request(&iq),
            },
        }
        Ok(())
    }

    fn request(&self, iq: &Iq) {
        let reply = iq.reply(&self.settings.domain, self.began_at);
        if reply.is_some_and(|reply| self.outgoing.send(reply)) {
            self.status.counters().requests_answered.add(1);
        }
    }

    /// Results of our own requests; a ping's has done its work by having come.
    fn answered(&mut self, iq: &Iq, stanza: &[u8]) {
        if let Some(presence) = self.inquiry.as_mut().and_then(|inquiry| inquiry.answer(iq, stanza)) {
            self.status.set_module(self.settings, presence);
            return;
        }
        let outcome = self.subscription.as_mut().map_or(Outcome::Nothing, |one| one.answer(iq, stanza));
        self.subscription_came_to(outcome);
    }

    fn subscription_came_to(&mut self, outcome: Outcome) {
        let name = &self.settings.name;
        match outcome {
            Outcome::Nothing => {}
            Outcome::Send(bytes) => {
                self.outgoing.send(bytes);
            }
            Outcome::Subscribed => {
                self.status.set_mirror(Mirror::Subscribed);
                self.intake.mirrors(time::now());
                info!("node {name}: Openfire mirrors messages to {}", self.settings.domain);
            }
            Outcome::Refused(reason) => {
                let advice = format!(
                    "Openfire at {} does not mirror to {}: {reason}. Nothing is archived from it. Check that the first \
                     of `hosts` of [[node]] {name} is the server's own domain; it is asked again every few seconds",
                    self.settings.address, self.settings.domain
                );
                if self.status.set_mirror(Mirror::Refused(reason)) {
                    error!("node {name}: {advice}");
                }
            }
        }
    }

    /// Hands a stanza to the intake, and waits for it there; but not for ever once the archiver is to stop.
    async fn offer(&mut self, stanza: &[u8], shutdown: &mut watch::Receiver<bool>) {
        let intake = self.intake;
        self.settle(intake.take(stanza, time::now()), shutdown).await;
    }

    /// Waits until a stanza is taken, and sends what is to be said to it.
    async fn settle(&mut self, taking: impl Future<Output = Taken>, shutdown: &mut watch::Receiver<bool>) {
        tokio::pin!(taking);
        let taken = tokio::select! {
            biased;
            taken = &mut taking => Some(taken),
            () = stopped(shutdown) => timeout_at(self.begin_closing(), taking).await.ok(),
        };
        match taken {
            Some(Taken::ReplyWhenDurable(reply)) => self.reply_when_durable(reply),
            Some(Taken::Done) => {}
            None => warn!("node {}: a stanza could not be taken before the archiver stopped", self.settings.name),
        }
    }

    fn reply_when_durable(&mut self, reply: DurableReply) {
        while self.pending.try_join_next().is_some() {}
        if self.pending.len() >= MAX_PENDING_REPLIES {
            self.status.counters().unacknowledged.add(1);
            return;
        }
        self.pending.spawn(send_when_durable(reply, self.outgoing.clone(), self.status.clone()));
    }
}

/// Reads, and tells the intake when there was nothing to read: whatever the node had sent by then is taken. A task that has used up its turn is
/// told the same as one that finds nothing, which must not count.
async fn noting_idleness<R>(read: impl Future<Output = R>, intake: &impl Intake) -> R {
    let mut read = std::pin::pin!(read);
    let mut was_idle = false;
    std::future::poll_fn(|context| {
        let polled = read.as_mut().poll(context);
        if polled.is_pending() && !was_idle && tokio::task::coop::has_budget_remaining() {
            was_idle = true;
            intake.caught_up(time::now());
        }
        polled
    })
    .await
}

async fn send_when_durable(reply: DurableReply, outgoing: Outgoing, status: Status) {
    let sent = reply.await.is_some_and(|bytes| outgoing.send(bytes));
    let counters = status.counters();
    if sent {
        counters.acknowledged.add(1);
    } else {
        counters.unacknowledged.add(1);
    }
}
