//! `search`: searches the archive.

use serde_json::json;

use super::args::{MessageFormat, SearchArgs, Sort};
use super::connect::block_on;
use super::output::{Output, print, tell};
use super::reading::{described, failure, know, open, pages, query, tell_more};
use super::render::renderer;
use super::render_json;
use super::transcript::Transcript;
use super::when::Zone;
use super::{Failure, access};
use crate::access::{Action, Event};
use crate::config::Config;
use crate::retrieve::{Archive, Context, Count, EXACT_COUNT, Found};

/// Runs the command.
pub fn execute(config: Config, args: SearchArgs) -> Result<(), Failure> {
    let mut query = query(&args.filter, &args.time, &args.page)?;
    query.with_xml = args.xml;
    query.by_relevance = args.sort == Sort::Relevance;
    query.check().map_err(|mistake| Failure::Usage(format!("the command line {mistake}")))?;
    if args.context.is_some() && args.format == MessageFormat::Csv {
        return Err(Failure::Usage("--context needs --format table or jsonl".to_owned()));
    }
    let mut render = renderer(args.format, args.time.zone, args.xml)?;
    let limit = args.limit.get();
    block_on(async {
        let archive = open(&config, args.store.as_deref()).await?;
        know(&config, &archive, &query).await?;
        access::note(&config, Event::new(Action::Search, described(&query, &args.filter.text, args.store.as_deref()))).await;
        if args.count {
            let count = archive.count(&query, EXACT_COUNT).await.map_err(failure)?;
            return print(&told(count, args.format));
        }
        let mut output = Output::stdout();
        if args.context.is_none() {
            render.begin(&mut output)?;
        }
        let mut count = 0;
        let next = pages(&archive, query, Some(limit), async |messages| {
            count += messages.len();
            match args.context {
                Some(around) => with_context(&archive, messages, around, args.format, args.time.zone, &mut output).await,
                None => render.messages(messages, &mut output),
            }
        })
        .await?;
        output.flush()?;
        if count == 0 && args.format == MessageFormat::Table {
            tell("nothing found");
        }
        tell_more(next, limit);
        Ok(())
    })
}

fn told(count: Count, format: MessageFormat) -> String {
    let Count { messages, is_exact } = count;
    match (format, is_exact) {
        (MessageFormat::Table, true) => format!("{messages}\n"),
        (MessageFormat::Table, false) => format!("about {messages}, more than {EXACT_COUNT}\n"),
        (MessageFormat::Jsonl, _) => format!("{}\n", json!({ "messages": messages, "exact": is_exact })),
        (MessageFormat::Csv, _) => format!("messages,exact\r\n{messages},{is_exact}\r\n"),
    }
}

/// Each message with what was said around it.
async fn with_context(
    archive: &Archive,
    messages: &[Found],
    around: usize,
    format: MessageFormat,
    zone: Zone,
    output: &mut Output,
) -> Result<(), Failure> {
    for message in messages {
        let Some(context) = archive.around(message.id, around).await.map_err(failure)? else { continue };
        match format {
            MessageFormat::Table => output.write(transcript(&context, zone).as_bytes())?,
            MessageFormat::Jsonl | MessageFormat::Csv => output.line(&render_json::context(&context)?)?,
        }
    }
    Ok(())
}

/// The context of a message to read, the message itself named first.
pub(super) fn transcript(context: &Context, zone: Zone) -> String {
    let Context { before, message, after } = context;
    let all: Vec<Found> = before.iter().chain([message]).chain(after).cloned().collect();
    let conversation = super::words::visible(&message.conversation).replace(' ', " and ");
    format!("#{} in {conversation}\n{}\n", message.id, Transcript::new(zone).page(&all, &[]))
}
