//! A network path with a delay: listens on loopback, passes every byte on to a server and back, each direction half of the round trip
//! late, without limiting how much goes at once. `script/bench --delay-ms` puts it between the archive and its database.
//!
//! ```text
//! cargo bench --bench delay -- --to 127.0.0.1:5432 --delay-ms 50
//! ```
//!
//! It prints one line of JSON: `listening`, with the address. A delay of 0 measures the proxy itself.

use std::error::Error;
use std::time::Duration;

use clap::Parser;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

/// Bytes read at once.
const READ_BYTES: usize = 256 * 1024;

/// Reads that may be on their way: with the full size each, a path of 5 GB/s at 50 ms.
const READS_ON_THE_WAY: usize = 512;

#[derive(Debug, Parser)]
struct Arguments {
    /// The server.
    #[arg(long, value_name = "HOST:PORT")]
    to: String,
    /// The round trip that is added, in milliseconds.
    #[arg(long, default_value_t = 50)]
    delay_ms: u64,
    /// The port to listen on; 0 for any that is free.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// `cargo bench` adds this.
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let one_way = Duration::from_millis(arguments.delay_ms) / 2;
    let listener = TcpListener::bind(("127.0.0.1", arguments.port)).await?;
    println!(r#"{{"event":"listening","address":"{}"}}"#, listener.local_addr()?);
    loop {
        let (client, _) = listener.accept().await?;
        let to = arguments.to.clone();
        tokio::spawn(async move {
            if let Err(error) = pass(client, &to, one_way).await {
                eprintln!("a connection to {to} ended: {error}");
            }
        });
    }
}

async fn pass(client: TcpStream, to: &str, one_way: Duration) -> std::io::Result<()> {
    let server = TcpStream::connect(to).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::try_join!(later(from_client, to_server, one_way), later(from_server, to_client, one_way)).map(drop)
}

/// Passes bytes on, each so much later than it came.
async fn later(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, one_way: Duration) -> std::io::Result<()> {
    let (sender, mut on_the_way) = mpsc::channel::<(Instant, Vec<u8>)>(READS_ON_THE_WAY);
    let reading = async move {
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let length = from.read(&mut buffer).await?;
            let bytes = buffer.get(..length).unwrap_or_default().to_vec();
            if length == 0 || sender.send((Instant::now() + one_way, bytes)).await.is_err() {
                return Ok(());
            }
        }
    };
    let writing = async move {
        while let Some((due, bytes)) = on_the_way.recv().await {
            if !one_way.is_zero() {
                sleep_until(due).await;
            }
            to.write_all(&bytes).await?;
        }
        to.shutdown().await
    };
    tokio::try_join!(reading, writing).map(drop)
}
