//! Stanzas as they stand in the columns `xml`: one format byte, then the bytes, compressed where that helps.
//!
//! Format 0 is the stanza itself. Format 1 is a Zstandard frame made with the dictionary [`DICTIONARY`], which was trained on
//! mirrored stanzas and stands in the table `settings` too, so that any Zstandard tool can read an archive without this program.
//! A format is never changed: a better dictionary becomes format 2.

use zstd::bulk::{Compressor, Decompressor};
use zstd::dict::{DecoderDictionary, EncoderDictionary};

/// The dictionary of format 1.
pub const DICTIONARY: &[u8] = include_bytes!("stanza-1.dict");
/// Its name in the table `settings`.
pub const DICTIONARY_SETTING: &str = "stanza_dictionary_1";

const LEVEL: i32 = 3;
const PLAIN: u8 = 0;
const ZSTD_1: u8 = 1;
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

impl Packer {
    /// The stanza as it is stored.
    pub fn pack(&mut self, stanza: &[u8]) -> Vec<u8> {
        let packed = self.compressor.as_mut().and_then(|compressor| compressor.compress(stanza).ok());
        let (format, bytes) = match &packed {
            Some(packed) if packed.len() < stanza.len() => (ZSTD_1, packed.as_slice()),
            _ => (PLAIN, stanza),
        };
        let mut stored = Vec::with_capacity(bytes.len() + 1);
        stored.push(format);
        stored.extend_from_slice(bytes);
        stored
    }
}

/// The stanza in a column `xml`; none if it is damaged or of a format that this version does not know.
pub fn unpack(stored: &[u8]) -> Option<Vec<u8>> {
    let (format, bytes) = stored.split_first()?;
    match *format {
        PLAIN => Some(bytes.to_vec()),
        ZSTD_1 => {
            let mut decompressor = Decompressor::with_prepared_dictionary(decoder()).ok()?;
            let length = Decompressor::upper_bound(bytes).unwrap_or(MAX_UNPACKED_BYTES).min(MAX_UNPACKED_BYTES);
            decompressor.decompress(bytes, length).ok()
        }
        _ => None,
    }
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

    #[test]
    fn every_stanza_comes_back_as_it_was() {
        let mut packer = Packer::default();
        let large = format!("<message><body>{}</body></message>", "é".repeat(200_000));
        for stanza in ["", "<a/>", "<message to='a@b'><body>hello</body></message>", &large] {
            let stored = packer.pack(stanza.as_bytes());
            assert!(stored.len() <= stanza.len() + 1);
            assert_eq!(unpack(&stored).unwrap(), stanza.as_bytes());
        }
    }

    #[test]
    fn damage_is_no_panic() {
        assert_eq!(unpack(&[]), None);
        assert_eq!(unpack(&[9, 1, 2]), None);
        assert_eq!(unpack(&[1, 1, 2]), None);
    }
}
