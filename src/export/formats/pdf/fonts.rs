//! Fonts for PDF: those that were named, then those of the system, each taken up when a character needs it.
//!
//! A character is drawn with the first font, in a fixed order, that has it. So what a page looks like depends on the fonts that are there
//! and on nothing else; the manifest names them with their hashes. What no font has is written as `[U+1F600]`: visible, and not lost.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use krilla::text::Font;
use rustybuzz::ttf_parser::Face;
use sha2::{Digest, Sha256};

use crate::export::ExportError;
use crate::export::manifest::hex;

/// Where systems keep fonts.
const DIRECTORIES: [&str; 2] = ["/usr/share/fonts", "/usr/local/share/fonts"];
/// The most directories and files looked at.
const MAX_ENTRIES: usize = 10_000;
/// The most fonts tried for a character.
const MAX_FONTS: usize = 256;
/// The largest font file.
const MAX_FONT_BYTES: u64 = 64 << 20;
/// Plain fonts that have much, the first ones first.
const PREFERRED: [&str; 5] = ["DejaVuSans.ttf", "NotoSans-Regular.ttf", "LiberationSans-Regular.ttf", "FreeSans.ttf", "Arial.ttf"];
/// Beside which font its bold one lies.
const BOLD: [(&str, &str); 4] =
    [("DejaVuSans.ttf", "DejaVuSans-Bold.ttf"), ("-Regular.", "-Bold."), ("FreeSans.", "FreeSansBold."), ("Arial.", "Arialbd.")];

/// A font that is used.
pub(crate) struct Loaded {
    pub(crate) data: Arc<Vec<u8>>,
    pub(crate) font: Font,
    pub(crate) units_per_em: f32,
    sha256: String,
}

/// How a character is drawn alone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drawn {
    /// Which font.
    pub(crate) font: usize,
    pub(crate) glyph: u32,
    /// How far the next character is, in parts of the size.
    pub(crate) advance: f32,
}

/// All fonts.
pub(crate) struct Fonts {
    candidates: Vec<PathBuf>,
    loaded: BTreeMap<usize, Loaded>,
    /// Which font draws a character; none if no font has it.
    known: HashMap<char, Option<Drawn>>,
}

impl Fonts {
    /// These, and those of the system behind them.
    pub(crate) fn new(named: &[PathBuf]) -> Result<Self, ExportError> {
        let mut candidates = named.to_vec();
        if let Some(missing) = named.iter().find(|path| !path.is_file()) {
            return Err(ExportError::Refused(format!("font {}: there is no such file", missing.display())));
        }
        candidates.extend(of_the_system());
        candidates.truncate(MAX_FONTS);
        let mut fonts = Self { candidates, loaded: BTreeMap::new(), known: HashMap::new() };
        if "A1.".chars().any(|character| fonts.drawn(character).is_none()) {
            let said = "PDF needs a font: install one (on Debian fonts-dejavu-core), or name a TrueType or OpenType file";
            return Err(ExportError::Refused(said.to_owned()));
        }
        Ok(fonts)
    }

    /// The same fonts in bold, the plain ones behind them.
    pub(crate) fn bold(&self) -> Self {
        let plain = &self.candidates;
        let bold = plain.iter().take(1).filter_map(|path| bold_of(path));
        let candidates = bold.chain(plain.iter().cloned()).collect();
        Self { candidates, loaded: BTreeMap::new(), known: HashMap::new() }
    }

    /// A font that a character is drawn with.
    pub(crate) fn font(&self, number: usize) -> Option<&Loaded> {
        self.loaded.get(&number)
    }

    /// How a character is drawn; none if no font has it.
    pub(crate) fn drawn(&mut self, character: char) -> Option<Drawn> {
        if let Some(known) = self.known.get(&character) {
            return *known;
        }
        let found = (0..self.candidates.len()).find_map(|number| self.try_font(number, character));
        self.known.insert(character, found);
        found
    }

    fn try_font(&mut self, number: usize, character: char) -> Option<Drawn> {
        if let Some(loaded) = self.loaded.get(&number) {
            return drawn(number, &loaded.data, character);
        }
        let path = self.candidates.get(number)?;
        if std::fs::metadata(path).ok()?.len() > MAX_FONT_BYTES {
            return None;
        }
        let data = Arc::new(std::fs::read(path).ok()?);
        let found = drawn(number, &data, character)?;
        let font = Font::new(Arc::clone(&data).into(), 0)?;
        let (units_per_em, sha256) = (font.units_per_em(), hex(&Sha256::digest(data.as_slice())));
        self.loaded.insert(number, Loaded { data, font, units_per_em, sha256 });
        Some(found)
    }

    /// The fonts that are used, with their hashes.
    pub(crate) fn used(&self) -> Vec<(String, String)> {
        let named = |(number, loaded): (&usize, &Loaded)| {
            let path = self.candidates.get(*number)?;
            Some((path.display().to_string(), loaded.sha256.clone()))
        };
        self.loaded.iter().filter_map(named).collect()
    }
}

fn drawn(font: usize, data: &[u8], character: char) -> Option<Drawn> {
    let face = Face::parse(data, 0).ok()?;
    let glyph = face.glyph_index(character)?;
    let advance = f32::from(face.glyph_hor_advance(glyph)?) / f32::from(face.units_per_em());
    Some(Drawn { font, glyph: u32::from(glyph.0), advance })
}

fn bold_of(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    let (plain, bold) = BOLD.into_iter().find(|(plain, _)| name.contains(plain))?;
    Some(path.with_file_name(name.replacen(plain, bold, 1))).filter(|path| path.is_file())
}

/// Upright, plain fonts in a fixed order.
fn of_the_system() -> Vec<PathBuf> {
    let mut open: Vec<PathBuf> = DIRECTORIES.map(PathBuf::from).into();
    let (mut files, mut looked) = (Vec::new(), 0);
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
            looked += 1;
            if looked > MAX_ENTRIES {
                break;
            }
            let path = entry.path();
            match path.is_dir() {
                true => open.push(path),
                false if is_plain(&path) => files.push(path),
                false => {}
            }
        }
    }
    files.sort_unstable_by_key(|path| (rank(path), path.clone()));
    files
}

fn is_plain(path: &Path) -> bool {
    const LEFT_OUT: [&str; 8] = ["Bold", "Italic", "Oblique", "Condensed", "ExtraLight", "Color", "Mono", "Serif"];
    let is_font = path.extension().is_some_and(|extension| ["ttf", "otf", "ttc"].iter().any(|known| extension.eq_ignore_ascii_case(known)));
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    is_font && !LEFT_OUT.iter().any(|word| name.contains(word))
}

fn rank(path: &Path) -> usize {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    PREFERRED.iter().position(|preferred| *preferred == name).unwrap_or(if name.contains("Regular") {
        PREFERRED.len()
    } else {
        PREFERRED.len() + 1
    })
}
