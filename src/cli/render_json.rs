//! JSON Lines: one object a message, as `export::record` writes it.

use super::Failure;
use super::output::Output;
use super::render::Render;
use crate::export::record::line;
use crate::retrieve::Found;

/// Writes one JSON object a line.
pub(super) struct JsonLines;

impl Render for JsonLines {
    fn messages(&mut self, messages: &[Found], output: &mut Output) -> Result<(), Failure> {
        for found in messages {
            output.line(&line(found).map_err(|error| Failure::Runtime(format!("message {}: {error}", found.id)))?)?;
        }
        Ok(())
    }
}
