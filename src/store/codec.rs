//! Stanzas as they stand in the columns `xml`: one format byte, then the bytes, packed where that helps.
//!
//! - Format 0 is the stanza itself.
//! - Format 1 is a Zstandard frame made with the dictionary [`DICTIONARY`], which was trained on mirrored stanzas and stands in the
//!   table `settings` too, so that any Zstandard tool can read an archive without this program.
//! - Format 2 is the same, but before packing every text that stands in another column of the same message was replaced by one byte:
//!   1 body, 2 subject, 3 thread, 4 stanza_id, 5 origin_id, 6 sender_resource, 7 refers_to_id, 8 the sender's bare JID, 11 the
//!   recipient's, 12 the domain of the sender's JID. None of these bytes can occur in
//!   XML (XML 1.0 §2.2), and putting the columns back gives the stanza to the last byte. It saves about half: what a person wrote is stored once.
//!
//! A format is never changed: a better dictionary becomes format 3.

use zstd::bulk::{Compressor, Decompressor};
use zstd::dict::{DecoderDictionary, EncoderDictionary};

/// The dictionary of format 1.
pub const DICTIONARY: &[u8] = include_bytes!("stanza-1.dict");
/// Its name in the table `settings`.
pub const DICTIONARY_SETTING: &str = "stanza_dictionary_1";

const LEVEL: i32 = 3;
const PLAIN: u8 = 0;
const ZSTD_1: u8 = 1;
const ZSTD_1_WITHOUT_COLUMNS: u8 = 2;
/// A shorter text costs more to name than to keep.
const MIN_COLUMN_BYTES: usize = 3;
/// A stanza larger than this was never accepted, so no stored one unpacks to more.
const MAX_UNPACKED_BYTES: usize = 64 * 1024 * 1024;

/// Packs stanzas; keeps its buffers between calls.
pub struct Packer {
    compressor: Option<Compressor<'static>>,
}

impl Default for Packer {
    fn default() -> Self {
        let compressor = Compressor::with_prepared_dictionary(encoder()).ok().map(|mut compressor| {
            // The length and the dictionary's number would cost six bytes a stanza and are known anyway.
            let _kept_if_refused = compressor.set_parameter(zstd::zstd_safe::CParameter::DictIdFlag(false));
            let _kept_if_refused = compressor.set_parameter(zstd::zstd_safe::CParameter::ChecksumFlag(false));
            compressor
        });
        Self { compressor }
    }
}

/// The bytes that stand for columns in format 2, in the order in which [`Columns`] has them.
const MARKS: [u8; 10] = [1, 2, 3, 4, 5, 6, 7, 8, 11, 12];

/// The texts of a message's other columns.
#[derive(Clone, Copy, Debug, Default)]
pub struct Columns<'c> {
    texts: [Option<&'c str>; MARKS.len()],
}

impl<'c> Columns<'c> {
    /// The texts in this order: body, subject, thread, stanza_id, origin_id, sender_resource, refers_to_id; and the bare JIDs.
    pub fn new(texts: [Option<&'c str>; 7], sender: Option<&'c str>, recipient: Option<&'c str>) -> Self {
        let [body, subject, thread, id, origin_id, resource, refers_to_id] = texts;
        // Both may be filled in later where they were not known: then no mark stands for them.
        let domain = sender.map(|jid| jid.rsplit_once('@').map_or(jid, |(_, domain)| domain));
        Self { texts: [body, subject, thread, id, origin_id, resource, refers_to_id, sender, recipient, domain] }
    }

    fn marked(&self) -> impl Iterator<Item = (u8, &'c str)> {
        MARKS.into_iter().zip(self.texts).filter_map(|(mark, text)| Some((mark, text?)))
    }

    fn behind(&self, mark: u8) -> Option<&'c str> {
        self.marked().find(|(known, _)| *known == mark).map(|(_, text)| text)
    }

    /// The stanza without what stands in the columns; none if nothing of them stands in it.
    fn take_out(&self, stanza: &[u8]) -> Option<Vec<u8>> {
        if stanza.iter().any(is_mark) {
            return None;
        }
        let mut rest: Option<Vec<u8>> = None;
        // A text may hold such a byte by way of a character reference, and would then be found across the mark of another one.
        let is_safe = |text: &str| text.len() >= MIN_COLUMN_BYTES && !text.as_bytes().iter().any(is_mark);
        for (mark, text) in self.marked().filter(|(_, text)| is_safe(text)) {
            let current = rest.as_deref().unwrap_or(stanza);
            rest = replace(current, text.as_bytes(), mark).or(rest);
        }
        rest
    }

    fn put_back(&self, taken: &[u8]) -> Option<Vec<u8>> {
        let mut stanza = Vec::with_capacity(taken.len() * 2);
        for byte in taken {
            match is_mark(byte) {
                true => stanza.extend_from_slice(self.behind(*byte)?.as_bytes()),
                false => stanza.push(*byte),
            }
        }
        Some(stanza)
    }
}

/// No byte of XML that may stand in a stanza (XML 1.0 §2.2).
fn is_mark(byte: &u8) -> bool {
    matches!(byte, 1..=8 | 11 | 12)
}

fn replace(bytes: &[u8], text: &[u8], mark: u8) -> Option<Vec<u8>> {
    let finder = memchr::memmem::Finder::new(text);
    let first = finder.find(bytes)?;
    let mut replaced = Vec::with_capacity(bytes.len());
    let (mut from, mut next) = (0, Some(first));
    while let Some(at) = next {
        replaced.extend_from_slice(bytes.get(from..at)?);
        replaced.push(mark);
        from = at + text.len();
        next = finder.find(bytes.get(from..)?).map(|offset| from + offset);
    }
    replaced.extend_from_slice(bytes.get(from..)?);
    Some(replaced)
}

impl Packer {
    /// The stanza as it is stored beside these columns.
    pub fn pack(&mut self, stanza: &[u8], columns: &Columns<'_>) -> Vec<u8> {
        let taken = columns.take_out(stanza);
        let format = if taken.is_some() { ZSTD_1_WITHOUT_COLUMNS } else { ZSTD_1 };
        let input = taken.as_deref().unwrap_or(stanza);
        let packed = self.compressor.as_mut().and_then(|compressor| compressor.compress(input).ok());
        let (format, bytes) = match &packed {
            Some(packed) if packed.len() < stanza.len() => (format, packed.as_slice()),
            _ => (PLAIN, stanza),
        };
        let mut stored = Vec::with_capacity(bytes.len() + 1);
        stored.push(format);
        stored.extend_from_slice(bytes);
        stored
    }
}

/// The stanza in a column `xml`, with the other columns of its message; none if it is damaged or of a format that this version does not know.
pub fn unpack(stored: &[u8], columns: &Columns<'_>) -> Option<Vec<u8>> {
    let (format, bytes) = stored.split_first()?;
    match *format {
        PLAIN => Some(bytes.to_vec()),
        ZSTD_1 => decompress(bytes),
        ZSTD_1_WITHOUT_COLUMNS => columns.put_back(&decompress(bytes)?),
        _ => None,
    }
}

fn decompress(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut decompressor = Decompressor::with_prepared_dictionary(decoder()).ok()?;
    let length = Decompressor::upper_bound(bytes).unwrap_or(MAX_UNPACKED_BYTES).min(MAX_UNPACKED_BYTES);
    decompressor.decompress(bytes, length).ok()
}

fn encoder() -> &'static EncoderDictionary<'static> {
    static ENCODER: std::sync::OnceLock<EncoderDictionary<'static>> = std::sync::OnceLock::new();
    ENCODER.get_or_init(|| EncoderDictionary::copy(DICTIONARY, LEVEL))
}

fn decoder() -> &'static DecoderDictionary<'static> {
    static DECODER: std::sync::OnceLock<DecoderDictionary<'static>> = std::sync::OnceLock::new();
    DECODER.get_or_init(|| DecoderDictionary::copy(DICTIONARY))
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Option<&str>; 7] = [Some("hello world"), None, Some("thread-1"), Some("id-1"), None, Some("phone"), Some("x")];

    #[test]
    fn every_stanza_comes_back_as_it_was() {
        let mut packer = Packer::default();
        let large = format!("<message><body>{}</body></message>", "é".repeat(200_000));
        for stanza in [
            "",
            "<a/>",
            "<message id='id-1' from='a@b/phone'><body>hello world</body><origin-id id='id-1'/><thread>thread-1</thread></message>",
            "<message><body>other</body></message>",
            "<message to='archive.b.example' from='b.example'><message from='a@b.example/phone' to='c@b.example'/></message>",
            "\u{1}<message>hello world</message>",
            &large,
        ] {
            let columns = Columns::new(COLUMNS, Some("a@b.example"), Some("c@b.example"));
            let stored = packer.pack(stanza.as_bytes(), &columns);
            assert!(stored.len() <= stanza.len() + 1);
            assert_eq!(unpack(&stored, &columns).unwrap(), stanza.as_bytes());
        }
    }

    #[test]
    fn a_text_that_stands_in_a_column_is_not_stored_again() {
        let stanza = "<message id='id-1'><body>hello world</body></message>";
        let taken = Columns::new(COLUMNS, None, None).take_out(stanza.as_bytes()).unwrap();
        assert_eq!(taken, b"<message id='\x04'><body>\x01</body></message>");
    }

    #[test]
    fn a_text_that_looks_like_a_mark_alters_nothing() {
        let columns = Columns::new([Some("TTT"), Some("a\u{1}b"), None, None, None, None, None], None, None);
        let stanza = b"<message><subject>a&#1;b</subject><body>aTTTb</body></message>";
        let stored = Packer::default().pack(stanza, &columns);
        assert_eq!(unpack(&stored, &columns).unwrap(), stanza);
    }

    #[test]
    fn people_who_are_named_later_alter_nothing() {
        let stanza = b"<message to='archive.b.example' from='b.example'><message from='r@c.b.example/Al' to='x@b.example/y'/></message>";
        let stored = Packer::default().pack(stanza, &Columns::new([None; 7], None, Some("r@c.b.example")));
        let later = Columns::new([None; 7], Some("al@elsewhere.example"), Some("r@c.b.example"));
        assert_eq!(unpack(&stored, &later).unwrap(), stanza);
    }

    #[test]
    fn damage_is_no_panic() {
        let none = Columns::default();
        assert_eq!(unpack(&[], &none), None);
        assert_eq!(unpack(&[9, 1, 2], &none), None);
        assert_eq!(unpack(&[1, 1, 2], &none), None);
        let stored = Packer::default().pack(b"<message><body>hello world</body></message>", &Columns::new(COLUMNS, None, None));
        assert_eq!(unpack(&stored, &none), None);
    }
}
