//! A node that feeds: listens as an IM server's component port does, waits for the archive, and pushes copies as fast as the
//! socket takes them. `script/bench` starts it; by hand, with the archive configured for the address that it prints:
//!
//! ```text
//! cargo bench --bench feed -- --copies 2000000
//! ```
//!
//! It prints one line of JSON an event: `listening` (with the address), `attached`, `pushing` (the first stanza follows),
//! `sent` (the last byte is in the socket) and `taken` (the component answered a ping sent after the last stanza, so that it has
//! read them all). Times are seconds since the epoch. Then it holds the connection until it is stopped, for a node that goes away would set the archive reconnecting.
//! Without a number of copies it measures itself: how fast it writes when nobody has to read.
//!
//! `--component-of HOST:PORT` turns it round: it attaches to a real server's component port and sends the messages themselves,
//! once each and unwrapped, which is how `script/bench --mam` loads ejabberd's own archive.

use std::error::Error;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::Parser;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use xmpp_archiver::demo::load::{self, Load, Plan};
use xmpp_archiver::demo::node::{DemoNode, Session};
use xmpp_parsers::component::Handshake;

/// Bytes handed to the socket at once.
const WRITE_BYTES: usize = 256 * 1024;

/// How long the archive may take to read what is in flight: at its disk limit it reads no faster than its database writes.
const TAKEN_PATIENCE: Duration = Duration::from_secs(3600);

/// Copies written when it measures itself.
const SELF_TEST_COPIES: u64 = 1_000_000;

#[derive(Debug, Parser)]
struct Arguments {
    /// Copies to send, two for each message. Without it: measure the feeder alone.
    #[arg(long)]
    copies: Option<u64>,
    /// The component's secret.
    #[arg(long, default_value = "bench")]
    secret: String,
    /// Equal seeds give equal streams.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// People on the server.
    #[arg(long, default_value_t = load::USERS)]
    users: usize,
    /// At most this many copies a second; 0 for as many as the socket takes.
    #[arg(long, default_value_t = 0)]
    rate: u64,
    /// Once attached, wait for a line on standard input before the first stanza.
    #[arg(long)]
    on_enter: bool,
    /// Attach to this component port instead, and send plain messages.
    #[arg(long, value_name = "HOST:PORT")]
    component_of: Option<String>,
    /// Print the bare JIDs of the people, one a line, and stop.
    #[arg(long)]
    list_users: bool,
    /// `cargo bench` adds this.
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let load = Load::new(Plan { users: arguments.users, seed: arguments.seed });
    if arguments.list_users {
        load.people().for_each(|jid| println!("{jid}"));
        return Ok(());
    }
    match (arguments.copies, &arguments.component_of) {
        (None, _) => measure_alone(load),
        (Some(copies), None) => serve(copies, load, &arguments).await?,
        (Some(copies), Some(address)) => attach(copies, load, address, &arguments).await?,
    }
    Ok(())
}

/// Writes into memory only.
fn measure_alone(mut load: Load) {
    let mut buffer = Vec::with_capacity(WRITE_BYTES * 2);
    let (started, mut copies, mut bytes) = (Instant::now(), 0, 0);
    while copies < SELF_TEST_COPIES {
        buffer.clear();
        copies += load.fill(&mut buffer, WRITE_BYTES, SELF_TEST_COPIES - copies);
        bytes += buffer.len();
    }
    let rate = copies as f64 / started.elapsed().as_secs_f64();
    println!("the feeder alone writes {rate:.0} copies/s of {} bytes", bytes as u64 / copies.max(1));
}

/// Plays the node.
async fn serve(copies: u64, mut load: Load, arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let node = DemoNode::listen(load::component(), &arguments.secret).await?;
    report("listening", &format!("\"address\":\"{}\",\"host\":\"{}\",\"domain\":\"{}\"", node.address(), load::host(), load::component()));
    let mut session = attached(&node).await;
    report("attached", "");
    if arguments.on_enter {
        tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new())).await??;
    }
    let started = report("pushing", "");
    let (sent, bytes) = push(copies, &mut load, &session, arguments.rate).await?;
    let told = |seconds: f64| {
        let rate = sent as f64 / seconds;
        format!("\"copies\":{sent},\"messages\":{},\"bytes\":{bytes},\"seconds\":{seconds:.3},\"copies_per_s\":{rate:.0}", load.messages())
    };
    report("sent", &told(since_epoch() - started));
    session.ping(TAKEN_PATIENCE).await?;
    report("taken", &told(since_epoch() - started));
    while session.recv().await.is_some() {}
    Ok(())
}

/// Refused connections are none: the archive tries again.
async fn attached(node: &DemoNode) -> Session {
    loop {
        match node.accept().await {
            Ok(session) => return session,
            Err(error) => report("refused", &format!("\"reason\":\"{error}\"")),
        };
    }
}

async fn push(copies: u64, load: &mut Load, session: &Session, rate: u64) -> Result<(u64, u64), Box<dyn Error>> {
    let mut buffer = Vec::with_capacity(WRITE_BYTES * 2);
    let (started, mut sent, mut bytes) = (Instant::now(), 0, 0);
    while sent < copies {
        buffer.clear();
        // The last stretch is written without beginning new messages, so that every message has both of its copies.
        let ahead = copies.saturating_sub(sent + load.owed());
        sent += if ahead > 0 { load.fill(&mut buffer, WRITE_BYTES, ahead.div_ceil(2)) } else { load.finish(&mut buffer) };
        bytes += buffer.len() as u64;
        session.send(&buffer).await?;
        keep_to(rate, sent, started).await;
    }
    Ok((sent, bytes))
}

/// Waits until `sent` copies are due.
async fn keep_to(rate: u64, sent: u64, started: Instant) {
    if let Some(due) = (rate > 0).then(|| Duration::from_secs_f64(sent as f64 / rate as f64)) {
        tokio::time::sleep(due.saturating_sub(started.elapsed())).await;
    }
}

/// Plays a component that speaks for the users of a server: the server has to be set to let it (`check_from: false`).
async fn attach(messages: u64, mut load: Load, address: &str, arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let mut socket = TcpStream::connect(address).await?;
    let domain = load::component();
    let header = format!(
        "<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams' to='{domain}'>"
    );
    socket.write_all(header.as_bytes()).await?;
    let answer = read_until(&mut socket, |text| text.contains("id='") && text.ends_with('>')).await?;
    let id = answer.split("id='").nth(1).and_then(|rest| rest.split('\'').next()).ok_or("the server gave no stream id")?;
    let digest = Handshake::from_stream_id_and_password(id.to_owned(), &arguments.secret).data.ok_or("no digest")?;
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    socket.write_all(format!("<handshake>{hex}</handshake>").as_bytes()).await?;
    read_until(&mut socket, |text| text.contains("handshake")).await?;
    let started = report("pushing", "");
    let (mut read, mut write) = socket.into_split();
    // What the server sends back, errors for instance, has to be read lest it stops reading us.
    tokio::spawn(async move { while matches!(read.read(&mut [0; 4096]).await, Ok(1..)) {} });
    let mut buffer = Vec::with_capacity(WRITE_BYTES * 2);
    let (pushing_since, mut sent) = (Instant::now(), 0);
    while sent < messages {
        buffer.clear();
        sent += load.fill_plain(&mut buffer, WRITE_BYTES, messages - sent);
        write.write_all(&buffer).await?;
        keep_to(arguments.rate, sent, pushing_since).await;
    }
    let seconds = since_epoch() - started;
    report("sent", &format!("\"messages\":{sent},\"seconds\":{seconds:.3}"));
    std::future::pending().await
}

async fn read_until(socket: &mut TcpStream, enough: impl Fn(&str) -> bool) -> Result<String, Box<dyn Error>> {
    let mut text = String::new();
    let mut chunk = [0; 4096];
    while !enough(&text) {
        let read = socket.read(&mut chunk).await?;
        if read == 0 || text.contains("stream:error") {
            return Err(format!("the server closed the stream: {text}").into());
        }
        text.push_str(&String::from_utf8_lossy(chunk.get(..read).unwrap_or_default()));
    }
    Ok(text)
}

/// Prints an event, and returns its time.
fn report(event: &str, fields: &str) -> f64 {
    let at = since_epoch();
    let comma = if fields.is_empty() { "" } else { "," };
    println!("{{\"event\":\"{event}\",\"at\":{at:.3}{comma}{fields}}}");
    at
}

fn since_epoch() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
