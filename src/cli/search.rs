//! `search`: searches the archive.

use super::args::{MessageFormat, SearchArgs};
use super::connect::block_on;
use super::output::{Output, tell};
use super::reading::{described, open, pages, query, tell_more};
use super::render::renderer;
use super::{Failure, access};
use crate::access::{Action, Event};
use crate::config::Config;

/// Runs the command.
pub fn execute(config: Config, args: SearchArgs) -> Result<(), Failure> {
    let mut query = query(&args.filter, &args.time, &args.page)?;
    query.with_xml = args.xml;
    let mut render = renderer(args.format, args.time.zone, args.xml)?;
    let limit = args.limit.get();
    block_on(async {
        let archive = open(&config, args.store.as_deref()).await?;
        access::note(&config, Event::new(Action::Search, described(&query, args.store.as_deref()))).await;
        let mut output = Output::stdout();
        render.begin(&mut output)?;
        let mut count = 0;
        let next = pages(&archive, query, Some(limit), async |messages| {
            count += messages.len();
            render.messages(messages, &mut output)
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
