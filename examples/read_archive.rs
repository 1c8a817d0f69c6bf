//! Reads an archive from a program of your own: prints the newest messages with how many copies of each there are.
//!
//!     cargo run --example read_archive -- archiver.toml oak

use std::error::Error;
use std::path::PathBuf;

use xmpp_archiver::config::Config;
use xmpp_archiver::retrieve::{Archive, Order, Query};
use xmpp_archiver::store::Endpoint;
use xmpp_archiver::time::rfc3339;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().map(PathBuf::from);
    let config = Config::load(file.as_deref())?;
    let archive = Archive::open(&Endpoint::from_config(config.store(None)?), 1).await?;

    let query = Query { text: arguments.collect(), order: Order::Descending, limit: 20, ..Query::default() };
    for message in archive.search(&query).await?.messages {
        let sender = message.sender.as_deref().unwrap_or("somebody");
        let body = message.body.as_deref().unwrap_or_default();
        let copies = message.deliveries.len();
        println!("{} {sender} in {} ({copies} copies): {body}", rfc3339(message.sent_at), message.conversation);
    }
    Ok(())
}
