//! `show`: shows one conversation, as a transcript or as data.

use std::collections::HashSet;

use super::args::{MessageFormat, ShowArgs, bare_jid};
use super::connect::block_on;
use super::output::{Output, tell};
use super::reading::{described, failure, open, pages, placed, tell_more};
use super::render::renderer;
use super::show_message;
use super::transcript::{self, Transcript};
use super::{Failure, access};
use crate::access::{Action, Event};
use crate::config::Config;
use crate::message::address::Address;
use crate::retrieve::{AMENDMENTS, Archive, Found, Query};

/// The most conversations that are suggested where the one asked for is not there.
const MAX_SUGGESTED: usize = 10;

/// Runs the command.
pub fn execute(config: Config, args: ShowArgs) -> Result<(), Failure> {
    if let Some(id) = args.id {
        return show_message::execute(&config, id, &args);
    }
    let query = placed(Query { all: args.all, with_xml: args.xml, ..Query::default() }, &args.time, &args.page)?;
    let is_table = args.format == MessageFormat::Table;
    if args.occupants && !is_table {
        return Err(Failure::Usage("--occupants needs --format table".to_owned()));
    }
    let mut render = renderer(args.format, args.time.zone, args.xml)?;
    let limit = args.limit.get();
    block_on(async {
        let archive = open(&config, args.store.as_deref()).await?;
        let conversation = conversation(&archive, &args.conversation).await?;
        let query = Query { conversation: Some(conversation.clone()), ..query };
        access::note(&config, Event::new(Action::ViewConversation, described(&query, &[], args.store.as_deref()))).await;
        let mut output = Output::stdout();
        if args.occupants {
            occupants(&archive, &conversation, &query, &args, &mut output).await?;
        }
        let next = if is_table {
            transcript(&archive, query, limit, Transcript::new(args.time.zone), &mut output).await?
        } else {
            render.begin(&mut output)?;
            pages(&archive, query, Some(limit), async |messages| render.messages(messages, &mut output)).await?
        };
        output.flush()?;
        tell_more(next, limit);
        Ok(())
    })
}

/// The name of the conversation that is meant: exactly this, or made of the JIDs.
async fn conversation(archive: &Archive, given: &[String]) -> Result<String, Failure> {
    let exact = given.join(" ");
    if archive.has_conversation(&exact).await.map_err(failure)? {
        return Ok(exact);
    }
    let jids = jids(&exact)?;
    let name = jids.join(" ");
    if archive.has_conversation(&name).await.map_err(failure)? {
        return Ok(name);
    }
    for jid in &jids {
        suggest(jid, &archive.conversations_of(jid).await.map_err(failure)?);
    }
    Err(Failure::Runtime(format!("there is no conversation \"{name}\"")))
}

/// The one or two JIDs as a conversation's name has them: normalised and sorted.
fn jids(text: &str) -> Result<Vec<String>, Failure> {
    let parts: Vec<&str> = text.split_whitespace().collect();
    if !(1..=2).contains(&parts.len()) {
        return Err(Failure::Usage("CONVERSATION must be a room's JID or two JIDs".to_owned()));
    }
    let mut jids = Vec::new();
    for part in parts {
        let jid = bare_jid(part).map_err(|error| Failure::Usage(format!("\"{part}\" is no JID of a room or a person: {error}")))?;
        jids.push(Address::parse(jid.as_str()).bare);
    }
    jids.sort_unstable();
    Ok(jids)
}

fn suggest(jid: &str, names: &[String]) {
    if names.is_empty() {
        return;
    }
    tell(&format!("conversations of {jid}:"));
    names.iter().take(MAX_SUGGESTED).for_each(|name| tell(&format!("  {name}")));
    if let Some(more) = names.len().checked_sub(MAX_SUGGESTED).filter(|more| *more > 0) {
        tell(&format!("  and {more} more"));
    }
}

async fn occupants(archive: &Archive, room: &str, query: &Query, args: &ShowArgs, output: &mut Output) -> Result<(), Failure> {
    if room.contains(' ') {
        return Err(Failure::Usage("--occupants: only a room has occupants".to_owned()));
    }
    let stays = archive.every_stay(room, query.from, query.to).await.map_err(failure)?;
    output.write(transcript::occupants(&stays, args.time.zone).as_bytes())
}

async fn transcript(
    archive: &Archive,
    query: Query,
    limit: u64,
    mut transcript: Transcript,
    output: &mut Output,
) -> Result<Option<crate::retrieve::Cursor>, Failure> {
    let conversation = query.conversation.clone();
    let mut is_empty = true;
    let next = pages(archive, query, Some(limit), async |messages| {
        is_empty &= messages.is_empty();
        let amendments = amendments(archive, conversation.clone(), messages).await?;
        output.write(transcript.page(messages, &amendments).as_bytes())
    })
    .await?;
    if is_empty {
        tell("nothing found");
    }
    Ok(next)
}

/// What was ever done to these messages: corrected, retracted, reacted to.
async fn amendments(archive: &Archive, conversation: Option<String>, messages: &[Found]) -> Result<Vec<Found>, Failure> {
    if messages.is_empty() {
        return Ok(Vec::new());
    }
    let refers_to: Vec<i64> = messages.iter().map(|message| message.id).collect();
    let query = Query { conversation, refers_to, kinds: AMENDMENTS.to_vec(), ..Query::default() };
    let mut all = Vec::new();
    let mut seen: HashSet<i64> = HashSet::new();
    pages(archive, query, None, async |found| {
        all.extend(found.iter().filter(|amendment| seen.insert(amendment.id)).cloned());
        Ok(())
    })
    .await?;
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conversation_is_named_by_its_jids_in_any_order() {
        assert_eq!(jids("Zed@B.example alice@a.example").unwrap(), ["alice@a.example", "zed@b.example"]);
        assert_eq!(jids("room@muc.example").unwrap(), ["room@muc.example"]);
        assert_eq!(jids("a@b a@b").unwrap(), ["a@b", "a@b"]);
        for wrong in ["", "a@b c@d e@f", "a@b/desk", "a@@b"] {
            assert!(matches!(jids(wrong), Err(Failure::Usage(_))), "{wrong}");
        }
    }
}
