//! A link that a test can make bad: a TCP proxy on the loopback interface that delays, stalls, cuts up and cuts off what goes through it.
//!
//! It works on streams, not on packets: a lost packet shows to the two programs as silence until it is sent again, so loss is modelled as pieces that
//! are held up, with everything behind them, for the time of a retransmission.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How long a packet that was lost is away (the least that Linux waits before it sends again).
const RETRANSMISSION: Duration = Duration::from_millis(200);
/// What one packet holds.
const PACKET_BYTES: usize = 1_460;
const NEVER: u64 = u64::MAX;

/// What is done to the bytes.
#[derive(Debug)]
struct Link {
    delay_ms: AtomicU32,
    loss_percent: AtomicU32,
    /// Most bytes of one write.
    piece_bytes: AtomicUsize,
    /// The link is cut when so many bytes more have gone from the server to the client.
    bytes_left: AtomicU64,
    /// New connections get no answer either.
    is_dead: AtomicBool,
    open: Mutex<Vec<Arc<Pair>>>,
    random: AtomicU64,
}

/// One connection: its two sockets, and whether it still carries anything.
#[derive(Debug)]
struct Pair {
    sockets: [TcpStream; 2],
    is_silent: AtomicBool,
}

impl Pair {
    fn cut(&self) {
        for socket in &self.sockets {
            let _it_may_be_gone = socket.shutdown(Shutdown::Both);
        }
    }
}

/// A proxy in front of one port.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) port: u16,
    link: Arc<Link>,
}

impl Proxy {
    pub(crate) fn to(server: u16) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        let link = Arc::new(Link {
            delay_ms: AtomicU32::new(0),
            loss_percent: AtomicU32::new(0),
            piece_bytes: AtomicUsize::new(usize::MAX),
            bytes_left: AtomicU64::new(NEVER),
            is_dead: AtomicBool::new(false),
            open: Mutex::default(),
            random: AtomicU64::new(0x5eed),
        });
        let shared = Arc::clone(&link);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                // Whoever is behind may be away: then the client is refused, as it would be without us.
                if let Ok(server) = TcpStream::connect(("127.0.0.1", server)) {
                    carry(client, server, &shared);
                }
            }
        });
        Proxy { port, link }
    }

    /// Everything takes this long in each direction.
    pub(crate) fn delay(&self, delay: Duration) {
        self.link.delay_ms.store(u32::try_from(delay.as_millis()).expect("a short time"), Ordering::Relaxed);
    }

    /// So many of a hundred packets are lost, and sent again.
    pub(crate) fn lose(&self, percent: u32) {
        self.link.loss_percent.store(percent, Ordering::Relaxed);
    }

    /// Nothing larger is ever written at once.
    pub(crate) fn cut_up(&self, piece_bytes: usize) {
        self.link.piece_bytes.store(piece_bytes, Ordering::Relaxed);
    }

    /// The connections break when so many more bytes have come from the server: mostly in the midst of something.
    pub(crate) fn cut_after(&self, bytes: u64) {
        self.link.bytes_left.store(bytes, Ordering::Relaxed);
    }

    /// The connections carry nothing any more and nobody is told, as when a cable is pulled or a firewall forgets. New ones work.
    pub(crate) fn fall_silent(&self) {
        for pair in self.link.open.lock().expect("the connections").iter() {
            pair.is_silent.store(true, Ordering::Relaxed);
        }
    }

    /// The same, and new connections are taken and get no answer.
    pub(crate) fn die(&self) {
        self.link.is_dead.store(true, Ordering::Relaxed);
        self.fall_silent();
    }

    /// New connections work again; those that fell silent stay so.
    pub(crate) fn come_back(&self) {
        self.link.is_dead.store(false, Ordering::Relaxed);
    }
}

fn carry(client: TcpStream, server: TcpStream, link: &Arc<Link>) {
    for socket in [&client, &server] {
        socket.set_nodelay(true).expect("nodelay");
    }
    let is_silent = AtomicBool::new(link.is_dead.load(Ordering::Relaxed));
    let pair = Arc::new(Pair { sockets: [client, server], is_silent });
    link.open.lock().expect("the connections").push(Arc::clone(&pair));
    for from in 0..2 {
        let (sender, receiver) = channel();
        let (reading, writing) = (Arc::clone(&pair), Arc::clone(&pair));
        let (link, slow) = (Arc::clone(link), Arc::clone(link));
        std::thread::spawn(move || read(&reading, from, &link, &sender));
        std::thread::spawn(move || write(&writing, 1 - from, &slow, &receiver));
    }
}

/// Bytes and when they arrive; none when the connection ends.
type Packet = (Instant, Vec<u8>);

fn read(pair: &Pair, from: usize, link: &Link, packets: &Sender<Packet>) {
    let mut buffer = [0; PACKET_BYTES];
    let mut due = Instant::now();
    loop {
        let length = (&pair.sockets[from]).read(&mut buffer).unwrap_or(0);
        if length == 0 && pair.is_silent.load(Ordering::Relaxed) {
            return;
        }
        due = due.max(Instant::now() + link.time_on_the_way());
        if packets.send((due, buffer[..length].to_vec())).is_err() || length == 0 {
            return;
        }
    }
}

fn write(pair: &Pair, to: usize, link: &Link, packets: &Receiver<Packet>) {
    for (due, bytes) in packets {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        if pair.is_silent.load(Ordering::Relaxed) {
            continue;
        }
        if bytes.is_empty() {
            let _it_may_be_gone = pair.sockets[to].shutdown(Shutdown::Write);
            return;
        }
        let allowed = if to == 0 { link.spend(bytes.len()) } else { bytes.len() };
        for piece in bytes[..allowed].chunks(link.piece_bytes.load(Ordering::Relaxed)) {
            if (&pair.sockets[to]).write_all(piece).is_err() {
                return pair.cut();
            }
        }
        if allowed < bytes.len() {
            return pair.cut();
        }
    }
}

impl Link {
    fn time_on_the_way(&self) -> Duration {
        let delay = Duration::from_millis(self.delay_ms.load(Ordering::Relaxed).into());
        let is_lost = self.draw(100) < u64::from(self.loss_percent.load(Ordering::Relaxed));
        if is_lost { delay + RETRANSMISSION } else { delay }
    }

    fn draw(&self, below: u64) -> u64 {
        let next = |state: u64| Some(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407));
        let state = self.random.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).unwrap_or_default();
        (state >> 33) % below
    }

    /// How many of these bytes still go through; what is spent counts once.
    fn spend(&self, bytes: usize) -> usize {
        let left = self.bytes_left.load(Ordering::Relaxed);
        if left == NEVER {
            return bytes;
        }
        let allowed = bytes.min(usize::try_from(left).unwrap_or(usize::MAX));
        let rest = left - allowed as u64;
        // Once it is cut the next connection is whole.
        self.bytes_left.store(if allowed < bytes { NEVER } else { rest }, Ordering::Relaxed);
        allowed
    }
}
