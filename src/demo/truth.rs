//! Holds what an archive found against what the corpus knows to be true.

use std::collections::HashMap;

use super::corpus::{Corpus, Message};
use crate::retrieve::Found;

/// Compares message by message, and says everything that is wrong, a line each.
///
/// # Errors
/// When a message is missing, doubled or merged, or is not what was said, or has not all of its copies and errors.
pub fn compare(corpus: &Corpus, found: &[Found]) -> Result<(), Vec<String>> {
    let mut by_id: HashMap<&str, Vec<&Found>> = HashMap::new();
    for message in found {
        by_id.entry(message.stanza_id.as_deref().unwrap_or_default()).or_default().push(message);
    }
    let mut wrong = Vec::new();
    for message in corpus.messages() {
        match by_id.remove(message.id.as_str()).as_deref() {
            None => wrong.push(format!("missing: {}", shown(message))),
            Some([only]) => wrong.extend(differences(message, only)),
            Some(several) => wrong.push(format!("{} times: {}", several.len(), shown(message))),
        }
    }
    for message in by_id.into_values().flatten() {
        wrong.push(format!("nobody said #{} ({}), archived with {} copies", message.id, message.kind_name(), message.deliveries.len()));
    }
    let bounces: usize = found.iter().map(|message| message.bounces.len()).sum();
    if bounces != corpus.bounces() {
        wrong.push(format!("{bounces} errors are attached to messages in place of {}", corpus.bounces()));
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

fn differences(message: &Message, found: &Found) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut check = |what: &str, is: String, should: String| {
        if is != should {
            wrong.push(format!("{what} is {is} in place of {should}: {}", shown(message)));
        }
    };
    let sender = message.sender.split('/').next().unwrap_or_default();
    check("kind", found.kind_name().to_owned(), message.kind.name().to_owned());
    check("sender", found.sender.clone().unwrap_or_default(), sender.to_owned());
    check("copies", found.deliveries.len().to_string(), message.copies.len().to_string());
    check("encrypted", found.is_encrypted().to_string(), message.encrypted.to_string());
    if message.body.is_some() {
        check("body", format!("{:?}", found.body), format!("{:?}", message.body));
    }
    wrong
}

fn shown(message: &Message) -> String {
    let body: String = message.body.as_deref().unwrap_or_default().chars().take(60).collect();
    format!("{} from {} to {} ({}): {body}", message.kind.name(), message.sender, message.to, message.id)
}
