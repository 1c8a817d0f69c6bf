//! Cuts the byte stream of a node into stanzas, and keeps their bytes exactly as they came.
//!
//! This is a scanner of boundaries, not an XML parser, because the archive must survive what a strict parser dies of:
//! nodes do send XML that is not namespace-well-formed, and the stanza is to be kept all the same. It knows tags
//! (with quoted `>`), comments, CDATA sections, processing instructions and declarations, and counts the depth in an
//! integer, so nothing nests and nothing overflows. Names are compared once only: the end tag of the stream itself.
//!
//! Each byte is scanned once, however the input is chunked, and stanzas are borrowed from the read buffer. Memory is
//! bounded by `max_stanza_bytes` plus one read: the bytes of a longer stanza are dropped as they are scanned, and
//! only its head and its size are told when it ends. Inside a stanza everything is content and is kept verbatim;
//! between stanzas RFC 6120 section 11.1 forbids text, processing instructions and declarations: these are told as
//! violations and skipped.

use memchr::{memchr, memchr3};

/// How much of a stanza over the limit is kept: its start tag, and no more than this.
pub const OVERSIZE_HEAD_BYTES: usize = 4 * 1024;

/// How much the read buffer offers to one read of the socket.
pub const READ_BYTES: usize = 256 * 1024;

/// A buffer that grew beyond this for a large stanza is given back when it is empty.
const KEPT_BUFFER_BYTES: usize = 4 * READ_BYTES;

/// The lookback that the end of a comment (`--`) or of a CDATA section (`]]`) needs.
const LOOKBACK_BYTES: usize = 2;

const COMMENT: &[u8] = b"<!--";
const CDATA: &[u8] = b"<![CDATA[";

/// What stands in the stream next.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// The start tag of the stream.
    StreamOpen(&'a [u8]),
    /// One complete top-level element, verbatim.
    Stanza(&'a [u8]),
    /// The end tag of the stream. Nothing follows.
    StreamClose,
    /// A stanza over the limit has ended.
    Oversize {
        /// Its start tag, at most [`OVERSIZE_HEAD_BYTES`].
        head: Vec<u8>,
        /// Its whole length.
        total_bytes: u64,
    },
    /// Something that a stream may not contain. It was skipped.
    Violation(Violation),
}

/// What a stream may not contain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Characters other than white space between stanzas or before the stream.
    #[error("text between stanzas")]
    Text,
    /// `<!DOCTYPE` or another declaration between stanzas or before the stream.
    #[error("a document type declaration")]
    Declaration,
    /// A processing instruction other than the XML declaration at the start.
    #[error("a processing instruction")]
    Instruction,
    /// An end tag that closes nothing. The stream is out of step and can't be followed any further.
    #[error("an end tag that closes nothing")]
    EndTag,
    /// A stream header or end tag longer than a whole stanza may be. The stream can't be followed any further.
    #[error("a tag without end")]
    EndlessTag,
}

impl Violation {
    /// Whether the scanner has lost the thread: no frame will follow.
    pub fn is_fatal(self) -> bool {
        matches!(self, Self::EndTag | Self::EndlessTag)
    }
}

/// Where in the markup the scanner stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Text,
    /// At a `<` whose kind is not known yet.
    Markup,
    StartTag,
    EndTag,
    Declaration,
    Instruction,
    Comment,
    Cdata,
    /// After the end of the stream or a fatal violation.
    Finished,
}

/// What one step of the scanner came to.
enum Step {
    NeedMore,
    Continue,
    Found(Found),
}

enum Found {
    Open { end: usize },
    Stanza { end: usize },
    Close,
    Oversize { head: Vec<u8>, total_bytes: u64 },
    Violation(Violation),
}

/// A stanza over the limit on its way.
#[derive(Debug)]
struct Skipped {
    head: Vec<u8>,
    bytes: u64,
}

/// The scanner and its buffer.
#[derive(Debug)]
pub struct Framer {
    buffer: Vec<u8>,
    /// The first byte that was not handed out yet: where the element in progress starts.
    start: usize,
    /// The first byte that was not scanned yet.
    position: usize,
    /// Where the content of the markup in progress starts, after `<`, `<!--` or `<![CDATA[`.
    content: usize,
    state: State,
    /// The quote that an attribute value was opened with.
    quote: Option<u8>,
    /// Open elements; the stream itself is the first.
    depth: u64,
    /// The length of the start tag of the stanza in progress, once it is complete.
    start_tag_bytes: Option<usize>,
    skipped: Option<Skipped>,
    stream_name: Vec<u8>,
    /// Whether anything but white space was seen, after which an XML declaration is out of place.
    begun: bool,
    /// Whether the stray text in progress was told already.
    stray_told: bool,
    max_stanza_bytes: usize,
}

impl Framer {
    /// A scanner at the very start of a stream. The limit is at least [`OVERSIZE_HEAD_BYTES`].
    pub fn new(max_stanza_bytes: usize) -> Self {
        Self {
            buffer: Vec::new(),
            start: 0,
            position: 0,
            content: 0,
            state: State::Text,
            quote: None,
            depth: 0,
            start_tag_bytes: None,
            skipped: None,
            stream_name: Vec::new(),
            begun: false,
            stray_told: false,
            max_stanza_bytes: max_stanza_bytes.max(OVERSIZE_HEAD_BYTES),
        }
    }

    /// Adds bytes as they came from the socket.
    pub fn push(&mut self, bytes: &[u8]) {
        self.room().extend_from_slice(bytes);
    }

    /// The buffer with room for one read: append to it, never change what is there.
    pub fn room(&mut self) -> &mut Vec<u8> {
        self.compact();
        self.buffer.reserve(READ_BYTES);
        &mut self.buffer
    }

    /// How many bytes of a stanza over the limit were dropped so far; 0 when none is in progress.
    pub fn skipped_bytes(&self) -> u64 {
        self.skipped.as_ref().map_or(0, |skipped| skipped.bytes)
    }

    /// The next frame, or none until more bytes are pushed.
    pub fn next_frame(&mut self) -> Option<Frame<'_>> {
        let found = loop {
            match self.step() {
                Step::Continue => {}
                Step::Found(found) => break found,
                Step::NeedMore => match self.hold() {
                    Some(violation) => break Found::Violation(violation),
                    None => return None,
                },
            }
        };
        Some(self.hand_out(found))
    }

    /// Gives the bytes of what was found to the caller and moves past them.
    fn hand_out(&mut self, found: Found) -> Frame<'_> {
        let start = self.start;
        self.start = self.position;
        match found {
            Found::Open { end } => Frame::StreamOpen(self.buffer.get(start..end).unwrap_or_default()),
            Found::Stanza { end } => Frame::Stanza(self.buffer.get(start..end).unwrap_or_default()),
            Found::Close => Frame::StreamClose,
            Found::Oversize { head, total_bytes } => Frame::Oversize { head, total_bytes },
            Found::Violation(violation) => Frame::Violation(violation),
        }
    }

    /// Drops what was handed out, but for the few bytes that the end of a comment is recognised by.
    fn compact(&mut self) {
        let drop = self.start.min(self.position.saturating_sub(LOOKBACK_BYTES));
        if drop == 0 {
            return;
        }
        self.buffer.drain(..drop);
        self.start -= drop;
        self.position -= drop;
        self.content = self.content.saturating_sub(drop);
        if self.buffer.len() < READ_BYTES && self.buffer.capacity() > KEPT_BUFFER_BYTES {
            self.buffer.shrink_to(READ_BYTES);
        }
    }

    fn rest(&self) -> &[u8] {
        self.buffer.get(self.position..).unwrap_or_default()
    }

    /// The input is used up within something: keep memory bounded, whatever it is.
    fn hold(&mut self) -> Option<Violation> {
        if self.state == State::Finished || (self.depth < 2 && !self.in_kept_tag()) {
            self.start = self.position;
            return None;
        }
        let held_bytes = self.buffer.len().saturating_sub(self.start);
        if self.skipped.is_none() && held_bytes <= self.max_stanza_bytes {
            return None;
        }
        if self.depth == 0 || (self.depth == 1 && self.state == State::EndTag) {
            self.state = State::Finished;
            return Some(Violation::EndlessTag);
        }
        self.skip();
        None
    }

    /// Whether what just ended is over the limit, so that it makes no difference in how many pieces it came.
    fn is_over_limit(&self) -> bool {
        self.position - self.start > self.max_stanza_bytes
    }

    fn given_up(&mut self, violation: Violation) -> Step {
        self.state = State::Finished;
        Step::Found(Found::Violation(violation))
    }

    /// Whether the bytes of the tag in progress between stanzas will be needed when it ends.
    fn in_kept_tag(&self) -> bool {
        match self.state {
            State::StartTag | State::EndTag | State::Markup => true,
            State::Instruction => !self.begun,
            _ => false,
        }
    }

    /// Drops the scanned bytes of a stanza that turned out to be over the limit.
    fn skip(&mut self) {
        let scanned = self.buffer.get(self.start..self.position).unwrap_or_default();
        let scanned_bytes = scanned.len() as u64;
        match &mut self.skipped {
            Some(skipped) => skipped.bytes += scanned_bytes,
            None => {
                let head = head_of(scanned, self.start_tag_bytes);
                self.skipped = Some(Skipped { head, bytes: scanned_bytes });
            }
        }
        self.start = self.position;
    }

    fn step(&mut self) -> Step {
        match self.state {
            State::Text => self.text(),
            State::Markup => self.markup(),
            State::StartTag | State::Declaration => self.quoted_tag(),
            State::EndTag => self.end_tag(),
            State::Instruction => self.until(b"?"),
            State::Comment => self.until(b"--"),
            State::Cdata => self.until(b"]]"),
            State::Finished => {
                self.position = self.buffer.len();
                Step::NeedMore
            }
        }
    }

    /// Character data up to the next `<`.
    fn text(&mut self) -> Step {
        let rest = self.rest();
        let next = memchr(b'<', rest);
        let length = next.unwrap_or(rest.len());
        let stray = self.depth < 2 && !self.stray_told && !is_space(rest.get(..length).unwrap_or_default());
        self.position += length;
        if self.depth < 2 {
            self.start = self.position;
        }
        if stray {
            self.stray_told = true;
            self.begun = true;
            return Step::Found(Found::Violation(Violation::Text));
        }
        if next.is_none() {
            return Step::NeedMore;
        }
        self.stray_told = false;
        self.state = State::Markup;
        Step::Continue
    }

    /// Tells what kind of markup a `<` opens, by at most nine bytes.
    fn markup(&mut self) -> Step {
        let rest = self.rest();
        let (state, length) = match rest.get(1) {
            None => return Step::NeedMore,
            Some(b'/') => (State::EndTag, 2),
            Some(b'?') => (State::Instruction, 2),
            Some(b'!') if rest.starts_with(COMMENT) => (State::Comment, COMMENT.len()),
            Some(b'!') if rest.starts_with(CDATA) => (State::Cdata, CDATA.len()),
            Some(b'!') if COMMENT.starts_with(rest) || CDATA.starts_with(rest) => {
                return Step::NeedMore;
            }
            Some(b'!') => (State::Declaration, 2),
            Some(_) => (State::StartTag, 1),
        };
        self.position += length;
        self.content = self.position;
        self.state = state;
        self.quote = None;
        Step::Continue
    }

    /// A start tag or a declaration: its `>` counts only outside quotes.
    fn quoted_tag(&mut self) -> Step {
        loop {
            let rest = self.rest();
            let hit = match self.quote {
                Some(quote) => memchr(quote, rest),
                None => memchr3(b'>', b'"', b'\'', rest),
            };
            let Some(at) = hit else {
                self.position = self.buffer.len();
                return Step::NeedMore;
            };
            let byte = rest.get(at).copied();
            self.position += at + 1;
            match self.quote {
                Some(_) => self.quote = None,
                None if byte != Some(b'>') => self.quote = byte,
                None => return self.tag_ended(),
            }
        }
    }

    fn tag_ended(&mut self) -> Step {
        if self.state == State::Declaration {
            return self.misplaced(Violation::Declaration);
        }
        self.state = State::Text;
        let closed = self.ends_with(b"/");
        match self.depth {
            0 if self.is_over_limit() => self.given_up(Violation::EndlessTag),
            0 => self.stream_opened(),
            1 if closed => self.stanza_ended(),
            _ if closed => Step::Continue,
            depth => {
                if depth == 1 {
                    self.start_tag_bytes = self.skipped.is_none().then_some(self.position - self.start);
                }
                self.depth = depth + 1;
                Step::Continue
            }
        }
    }

    fn stream_opened(&mut self) -> Step {
        let tag = self.buffer.get(self.content..self.position).unwrap_or_default();
        self.stream_name = tag_name(tag).to_vec();
        self.begun = true;
        self.depth = 1;
        Step::Found(Found::Open { end: self.position })
    }

    fn end_tag(&mut self) -> Step {
        let Some(at) = memchr(b'>', self.rest()) else {
            self.position = self.buffer.len();
            return Step::NeedMore;
        };
        self.position += at + 1;
        self.state = State::Text;
        match self.depth {
            0 | 1 => self.stream_ended(),
            2 => {
                self.depth = 1;
                self.stanza_ended()
            }
            depth => {
                self.depth = depth - 1;
                Step::Continue
            }
        }
    }

    fn stream_ended(&mut self) -> Step {
        let tag = self.buffer.get(self.content..self.position).unwrap_or_default();
        let ours = self.depth == 1 && tag_name(tag) == self.stream_name;
        if self.is_over_limit() {
            return self.given_up(Violation::EndlessTag);
        }
        if !ours {
            return self.given_up(Violation::EndTag);
        }
        self.state = State::Finished;
        Step::Found(Found::Close)
    }

    fn stanza_ended(&mut self) -> Step {
        if self.is_over_limit() {
            self.skip();
        } else if self.skipped.is_none() {
            self.start_tag_bytes = None;
            return Step::Found(Found::Stanza { end: self.position });
        }
        self.skip();
        self.start_tag_bytes = None;
        match self.skipped.take() {
            Some(Skipped { head, bytes }) => Step::Found(Found::Oversize { head, total_bytes: bytes }),
            None => Step::Continue,
        }
    }

    /// A comment, CDATA section or instruction up to its `>`, which `ending` must stand before.
    fn until(&mut self, ending: &[u8]) -> Step {
        loop {
            let Some(at) = memchr(b'>', self.rest()) else {
                self.position = self.buffer.len();
                return Step::NeedMore;
            };
            self.position += at + 1;
            if self.ends_with(ending) {
                return self.aside_ended();
            }
        }
    }

    /// Whether `ending` stands before the `>` just passed, within the markup in progress.
    fn ends_with(&self, ending: &[u8]) -> bool {
        let content = self.buffer.get(self.content..self.position.saturating_sub(1));
        content.unwrap_or_default().ends_with(ending)
    }

    fn aside_ended(&mut self) -> Step {
        match self.state {
            State::Instruction if !self.begun && self.is_over_limit() => self.given_up(Violation::EndlessTag),
            State::Instruction if self.is_xml_declaration() => {
                self.begun = true;
                self.pass_by()
            }
            State::Instruction => self.misplaced(Violation::Instruction),
            State::Cdata => self.misplaced(Violation::Text),
            _ => self.pass_by(),
        }
    }

    /// `<?xml …?>` at the very start. Its bytes are still there: `hold` keeps an instruction that comes first.
    fn is_xml_declaration(&self) -> bool {
        let content = self.buffer.get(self.content..self.position).unwrap_or_default();
        self.depth == 0 && !self.begun && tag_name(content) == b"xml"
    }

    /// Markup that is content within a stanza and forbidden outside.
    fn misplaced(&mut self, violation: Violation) -> Step {
        let outside = self.depth < 2;
        self.begun = true;
        let step = self.pass_by();
        if outside { Step::Found(Found::Violation(violation)) } else { step }
    }

    fn pass_by(&mut self) -> Step {
        self.state = State::Text;
        if self.depth < 2 {
            self.start = self.position;
        }
        Step::Continue
    }
}

/// The start of a stanza as far as it is kept when the rest is dropped.
fn head_of(scanned: &[u8], start_tag_bytes: Option<usize>) -> Vec<u8> {
    let kept = start_tag_bytes.unwrap_or(OVERSIZE_HEAD_BYTES).min(OVERSIZE_HEAD_BYTES);
    scanned.get(..kept).unwrap_or(scanned).to_vec()
}

/// The name that a tag starts with, the `<` or `</` being past.
fn tag_name(tag: &[u8]) -> &[u8] {
    let is_end = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b'/' | b'>');
    let length = tag.iter().position(is_end).unwrap_or(tag.len());
    tag.get(..length).unwrap_or_default()
}

/// XML white space only: a keepalive.
fn is_space(text: &[u8]) -> bool {
    text.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n'))
}

#[cfg(test)]
#[path = "framing_tests.rs"]
mod tests;
