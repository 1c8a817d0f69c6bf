//! Hands records in quarantine to the pipeline once more, for the command line and for the console.

use std::sync::Arc;

use crate::config::Config;
use crate::pipeline::read::RecordReader;
use crate::pipeline::retry::{self, Outcome};
use crate::store::{Connection, StoreError, Writer};
use crate::time::Micros;

/// What a retry needs.
pub struct Retrier {
    writer: Writer,
    reader: RecordReader,
}

impl Retrier {
    /// Makes ready, by the rules of the configuration and with what the store knows of its rooms.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn new(config: &Config, connection: Connection) -> Result<Self, StoreError> {
        let window = config.archive.join_window.as_micros() as Micros;
        let mut writer = Writer::new(connection, window).await?;
        let canaries = super::canaries(config);
        let nodes: Vec<_> = config.nodes.iter().map(|node| Arc::new(super::facts(node, &canaries))).collect();
        let mut reader = RecordReader::new(&nodes, super::policy(config));
        for (room, nick, jid) in writer.occupants().await? {
            reader.rooms().learn(&room, &nick, jid);
        }
        Ok(Self { writer, reader })
    }

    /// Tries one record. What still can't be stored stays where it is.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn retry(&mut self, id: i64) -> Result<Outcome, StoreError> {
        retry::retry(&mut self.writer, &mut self.reader, id).await
    }
}
