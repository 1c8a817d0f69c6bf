//! Reads what a query finds, conversation by conversation, each in the order of time, cut into units.
//!
//! Conversations come in the order in which the archive first saw them: the index of messages by conversation and time gives exactly
//! this walk. Only messages up to a number that is fixed at the start are seen, so what is captured meanwhile changes nothing.

use std::collections::VecDeque;

use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::ExportError;
use super::amended::{Amended, MAX_AMENDS, Numbered};
use super::checkpoint::Place;
use super::request::Export;
use super::unit::{self, Item, Unit, text_bytes};
use crate::retrieve::{Archive, Cursor, MAX_PAGE, Query, Share, Stay, StayQuery};
use crate::time::{Micros, SECOND};

/// Conversations whose names are read at a time.
const SHARES: usize = 10_000;
/// Messages of the first page; later ones are as large as their texts allow.
const FIRST_PAGE: usize = 100;
/// The text that a page should have.
const PAGE_BYTES: usize = 4 << 20;
/// An amendment that seems to be older than what it amends, since two clocks differ.
const SKEW: Micros = 86_400 * SECOND;

/// A walk in hand.
pub(crate) struct Walk {
    archive: Archive,
    query: Query,
    zone: TimeZone,
    amended_before: Option<Micros>,
    place: Place,
    shares: VecDeque<Share>,
    current: Option<Current>,
}

/// The conversation in hand.
struct Current {
    share: Share,
    /// Messages that were read, without what was done to them.
    waiting: VecDeque<Numbered>,
    /// Those that a unit can take.
    ready: VecDeque<Item>,
    after: Option<Cursor>,
    is_read: bool,
    page: usize,
    amended: Amended,
    /// All who were in the room; none where they are too many to be known at a time.
    stays: Option<Vec<Stay>>,
}

impl Walk {
    pub(crate) fn new(archive: &Archive, export: &Export, place: Place) -> Result<Self, ExportError> {
        let query = Query { after: None, with_xml: export.with_xml, order: crate::retrieve::Order::Ascending, ..export.query.clone() };
        let (zone, amended_before) = (export.rules()?, export.amended_before);
        Ok(Self { archive: archive.clone(), query, zone, amended_before, place, shares: VecDeque::new(), current: None })
    }

    /// The next unit, and where the walk is when that is written.
    pub(crate) async fn next(&mut self) -> Result<Option<(Unit, Place)>, ExportError> {
        loop {
            if self.current.is_none() && !self.enter().await? {
                return Ok(None);
            }
            let Some(mut current) = self.current.take() else { return Ok(None) };
            let unit = self.unit(&mut current).await?;
            let goes_on = !current.ready.is_empty();
            if goes_on {
                self.current = Some(current);
            } else {
                self.place.after = None;
            }
            if let Some(unit) = unit {
                return Ok(Some((unit, self.place.clone())));
            }
        }
    }

    /// Takes up the next conversation; false after the last.
    async fn enter(&mut self) -> Result<bool, ExportError> {
        let resumed = self.place.after.as_deref().map(str::parse::<Cursor>).transpose().map_err(ExportError::format)?;
        if self.shares.is_empty() {
            let after = self.place.conversation_id - i32::from(resumed.is_some());
            self.shares = self.archive.shares(&self.query, after, SHARES).await?.into();
        }
        let Some(share) = self.shares.pop_front() else { return Ok(false) };
        if resumed.is_none() {
            self.place = Place {
                conversation_id: share.conversation_id,
                units: self.place.units,
                conversations: self.place.conversations,
                ..Place::default()
            };
        }
        let newest = self.query.newest.unwrap_or(i64::MAX);
        let since = Some(share.first.saturating_sub(SKEW));
        let pairs = self.archive.amends(share.conversation_id, since, self.amended_before, newest, MAX_AMENDS).await?;
        let stays = self.stays(&share).await?;
        self.current = Some(Current {
            share,
            waiting: VecDeque::new(),
            ready: VecDeque::new(),
            after: resumed,
            is_read: false,
            page: FIRST_PAGE,
            amended: Amended::new(pairs),
            stays,
        });
        Ok(true)
    }

    async fn stays(&self, share: &Share) -> Result<Option<Vec<Stay>>, ExportError> {
        if !share.in_room {
            return Ok(Some(Vec::new()));
        }
        let then = StayQuery { from: Some(share.first), before: share.last.checked_add(1), ..StayQuery::default() };
        let page = self.archive.stays(&share.conversation, &then).await?;
        Ok(page.next.is_none().then_some(page.stays))
    }

    /// Gathers a unit; none where the conversation has nothing more. Afterwards `ready` is empty only if that was the last.
    async fn unit(&mut self, current: &mut Current) -> Result<Option<Unit>, ExportError> {
        let (mut items, mut bytes): (Vec<Item>, usize) = (Vec::new(), 0);
        let mut of_day: Option<Date> = None;
        loop {
            self.fill(current).await?;
            let Some(item) = current.ready.front() else { break };
            let day = unit::day(item.found.sent_at, &self.zone);
            if *of_day.get_or_insert(day) != day || items.len() >= unit::MAX_MESSAGES || bytes >= unit::MAX_BYTES {
                break;
            }
            bytes += item.bytes();
            items.extend(current.ready.pop_front());
        }
        let (Some(day), Some(last)) = (of_day, items.last()) else { return Ok(None) };
        let begins = self.place.day.is_none();
        let same_day = self.place.day.replace(day.to_string()) == Some(day.to_string());
        self.place.part = if same_day { self.place.part + 1 } else { 1 };
        self.place.after = Some(last.found.cursor().to_string());
        self.place.units += 1;
        self.place.conversations += u64::from(begins);
        let mut unit = Unit {
            number: self.place.units,
            conversation_number: self.place.conversations,
            conversation: current.share.conversation.clone(),
            in_room: current.share.in_room,
            day,
            part: self.place.part,
            goes_on: !current.ready.is_empty(),
            items,
            stays: Vec::new(),
        };
        unit.stays = self.present(current, &unit).await?;
        Ok(Some(unit))
    }

    /// Who was in the room while this was said.
    async fn present(&self, current: &Current, unit: &Unit) -> Result<Vec<Stay>, ExportError> {
        let (first, last) = (unit.first_at(), unit.last_at());
        match &current.stays {
            Some(stays) => {
                let present = |stay: &&Stay| stay.joined_at <= last && stay.left_at.is_none_or(|left| left > first);
                Ok(stays.iter().filter(present).cloned().collect())
            }
            None => Ok(self.archive.every_stay(&unit.conversation, Some(first), last.checked_add(1)).await?),
        }
    }

    /// Has something ready, unless the conversation is at its end: about a page of text, what was done to its messages included.
    async fn fill(&self, current: &mut Current) -> Result<(), ExportError> {
        if !current.ready.is_empty() {
            return Ok(());
        }
        while current.waiting.is_empty() && !current.is_read {
            self.read(current).await?;
        }
        let mut bytes = 0;
        while bytes < PAGE_BYTES
            && let Some(item) = current.amended.next(&self.archive, &mut current.waiting).await?
        {
            bytes += item.bytes();
            current.ready.push_back(item);
        }
        Ok(())
    }

    /// Reads a page.
    async fn read(&self, current: &mut Current) -> Result<(), ExportError> {
        let conversation = Some(current.share.conversation.clone());
        let query = Query { conversation, after: current.after, limit: current.page, ..self.query.clone() };
        let page = self.archive.search(&query).await?;
        current.after = page.next;
        current.is_read = page.next.is_none();
        let bytes: usize = page.messages.iter().map(text_bytes).sum();
        current.page = if bytes > PAGE_BYTES { (current.page / 2).max(1) } else { (current.page * 2).min(MAX_PAGE) };
        current.waiting.extend(page.messages.into_iter().map(|found| current.amended.numbered(found)));
        Ok(())
    }
}
