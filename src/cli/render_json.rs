//! JSON Lines: one object a message, as `export::record` writes it.

use serde_json::Value;

use super::Failure;
use super::output::Output;
use super::render::Render;
use crate::export::record;
use crate::retrieve::{Context, Found};

/// Writes one JSON object a line.
pub(super) struct JsonLines;

impl Render for JsonLines {
    fn messages(&mut self, messages: &[Found], output: &mut Output) -> Result<(), Failure> {
        for found in messages {
            output.line(&record::line(found).map_err(|error| failure(found, &error))?)?;
        }
        Ok(())
    }
}

/// A message with what was said around it.
pub(super) fn context(context: &Context) -> Result<String, Failure> {
    let side = |messages: &[Found]| messages.iter().map(value).collect::<Result<Vec<Value>, Failure>>();
    let (before, hit, after) = (side(&context.before)?, value(&context.message)?, side(&context.after)?);
    Ok(serde_json::json!({ "before": before, "message": hit, "after": after }).to_string())
}

/// A message as one object, as every program gets it, be it from the command line or from the API.
pub(crate) fn value(found: &Found) -> Result<Value, Failure> {
    record::value(found).map_err(|error| failure(found, &error))
}

fn failure(found: &Found, error: &serde_json::Error) -> Failure {
    Failure::Runtime(format!("message {}: {error}", found.id))
}
