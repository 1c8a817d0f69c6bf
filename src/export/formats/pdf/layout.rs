//! From paragraphs to lines, and from lines to glyphs on a page.
//!
//! A line is broken where words end, or between any two characters of scripts without spaces, or where nothing else helps. Right-to-left
//! text is put in order by the Unicode Bidirectional Algorithm; scripts whose letters join are shaped, all others are set letter by letter.

use std::ops::Range;

use krilla::geom::Point;
use krilla::surface::Surface;
use krilla::text::{GlyphId, KrillaGlyph};
use rustybuzz::{Direction, Face, UnicodeBuffer};
use unicode_bidi::{BidiInfo, Level};

use super::fonts::{Drawn, Fonts};

/// How text looks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Style {
    pub(crate) size: f32,
    pub(crate) is_bold: bool,
    pub(crate) indent: f32,
    /// Whether it is what somebody said, which runs as its script does; what we say about it runs from left to right whatever names are in it.
    pub(crate) is_said: bool,
    /// Room above the first line.
    pub(crate) above: f32,
}

/// A line of a paragraph.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) style: Style,
    pub(crate) text: String,
    /// Parts that run one way, in the order in which they stand on the page.
    runs: Vec<(Range<usize>, bool)>,
    /// Whether the paragraph runs from right to left.
    is_rtl: bool,
    /// Room above it.
    pub(crate) above: f32,
}

impl Line {
    /// How high it is with the room between lines.
    pub(crate) fn height(&self) -> f32 {
        self.style.size * 1.35 + self.above
    }
}

/// Both sorts of fonts.
pub(crate) struct Faces {
    pub(crate) plain: Fonts,
    pub(crate) bold: Fonts,
}

impl Faces {
    fn of(&mut self, style: Style) -> &mut Fonts {
        if style.is_bold { &mut self.bold } else { &mut self.plain }
    }

    /// The lines of a text of one style, not wider than `width`.
    pub(crate) fn lines(&mut self, text: &str, style: Style, width: f32) -> Vec<Line> {
        let mut lines = Vec::new();
        let fonts = self.of(style);
        for paragraph in text.split('\n') {
            let shown = printable(fonts, paragraph);
            let limit = (width - style.indent) / style.size;
            let mut above = if lines.is_empty() { style.above } else { 0.0 };
            let ranges = broken(fonts, &shown, limit);
            let base = (!style.is_said).then(Level::ltr);
            let bidi = (!shown.is_ascii()).then(|| BidiInfo::new(&shown, base));
            for range in ranges {
                lines.push(line(&shown, range, bidi.as_ref(), style, std::mem::take(&mut above)));
            }
        }
        lines
    }

    /// Draws a line whose baseline is at `y`, between the margins `left` and `right`.
    pub(crate) fn draw(&mut self, surface: &mut Surface<'_>, line: &Line, left: f32, right: f32, y: f32) {
        let size = line.style.size;
        let fonts = self.of(line.style);
        let mut pieces = Vec::new();
        for (range, is_rtl) in &line.runs {
            pieces.extend(shaped(fonts, line.text.get(range.clone()).unwrap_or_default(), *is_rtl));
        }
        let width: f32 = pieces.iter().map(|piece| piece.width).sum();
        let mut x = if line.is_rtl { right - width * size } else { left + line.style.indent };
        for piece in &pieces {
            if let Some(loaded) = fonts.font(piece.font) {
                surface.draw_glyphs(Point::from_xy(x, y), &piece.glyphs, loaded.font.clone(), &piece.text, size, false);
            }
            x += piece.width * size;
        }
    }
}

/// The text with what no font has written out.
fn printable(fonts: &mut Fonts, text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if fonts.drawn(character).is_some() {
            shown.push(character);
        } else if !matches!(character, '\u{fe00}'..='\u{fe0f}') {
            shown.push_str(&format!("[U+{:04X}]", u32::from(character)));
        }
    }
    shown
}

/// Where lines begin and end; at least one, `limit` in parts of the size.
fn broken(fonts: &mut Fonts, text: &str, limit: f32) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let (mut begin, mut width) = (0, 0.0);
    // The last place where a line may end, and the width from there on.
    let mut last: Option<(usize, f32)> = None;
    for (at, character) in text.char_indices() {
        let advance = fonts.drawn(character).map_or(0.0, |drawn| drawn.advance);
        if last.is_none_or(|(place, _)| place != at) && is_wide(character) && at > begin {
            last = Some((at, 0.0));
        }
        if width + advance > limit && at > begin && !joins(character) && character != ' ' {
            let (place, rest) = last.filter(|(place, _)| *place > begin).unwrap_or((at, 0.0));
            ranges.push(begin..place);
            (begin, width, last) = (place, rest, None);
        }
        width += advance;
        if let Some((_, rest)) = &mut last {
            *rest += advance;
        }
        if matches!(character, ' ' | '-' | '/' | ',' | ';') || is_wide(character) {
            last = Some((at + character.len_utf8(), 0.0));
        }
    }
    ranges.push(begin..text.len());
    ranges
}

/// Scripts that need no spaces between words.
fn is_wide(character: char) -> bool {
    matches!(character, '\u{2e80}'..='\u{d7ff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

/// What belongs to the character before it.
fn joins(character: char) -> bool {
    matches!(character, '\u{300}'..='\u{36f}' | '\u{591}'..='\u{5c7}' | '\u{610}'..='\u{65f}' | '\u{200d}' | '\u{fe00}'..='\u{fe0f}' | '\u{1f3fb}'..='\u{1f3ff}')
}

fn line(paragraph: &str, range: Range<usize>, bidi: Option<&BidiInfo<'_>>, style: Style, above: f32) -> Line {
    let text = paragraph.get(range.clone()).unwrap_or_default().to_owned();
    let (runs, is_rtl) = match bidi.and_then(|bidi| bidi.paragraphs.first().map(|paragraph| (bidi, paragraph))) {
        Some((bidi, whole)) if !range.is_empty() => {
            let (levels, runs) = bidi.visual_runs(whole, range.clone());
            let is_rtl = |run: &Range<usize>| levels.get(run.start).is_some_and(Level::is_rtl);
            let runs = runs.into_iter().map(|run| (run.start - range.start..run.end - range.start, is_rtl(&run)));
            (runs.collect(), whole.level.is_rtl())
        }
        _ => (vec![(0..text.len(), false)], false),
    };
    Line { style, text, runs, is_rtl, above }
}

/// Glyphs of one font.
struct Piece {
    font: usize,
    text: String,
    glyphs: Vec<KrillaGlyph>,
    /// In parts of the size.
    width: f32,
}

/// A run as pieces of one font each, in the order in which they stand on the page.
fn shaped(fonts: &mut Fonts, run: &str, is_rtl: bool) -> Vec<Piece> {
    let mut parts: Vec<(usize, String, Vec<Drawn>)> = Vec::new();
    for character in run.chars() {
        let Some(drawn) = fonts.drawn(character) else { continue };
        match parts.last_mut() {
            Some((font, text, all)) if *font == drawn.font => {
                text.push(character);
                all.push(drawn);
            }
            _ => parts.push((drawn.font, character.to_string(), vec![drawn])),
        }
    }
    if is_rtl {
        parts.reverse();
    }
    let piece = |(font, text, drawn): (usize, String, Vec<Drawn>)| {
        let glyphs = match is_rtl || text.chars().any(needs_shaping) {
            true => fonts.font(font).map(|loaded| shape(&loaded.data, loaded.units_per_em, &text, is_rtl)).unwrap_or_default(),
            false => letters(&text, &drawn),
        };
        let width = glyphs.iter().map(|glyph| glyph.x_advance).sum();
        Piece { font, text, glyphs, width }
    };
    parts.into_iter().map(piece).collect()
}

/// Scripts that are set letter by letter: Latin, Greek, Cyrillic, signs, CJK.
fn needs_shaping(character: char) -> bool {
    !matches!(character, '\0'..='\u{2ff}' | '\u{370}'..='\u{482}' | '\u{48a}'..='\u{52f}' | '\u{1e00}'..='\u{1fff}'
        | '\u{2010}'..='\u{2027}' | '\u{2030}'..='\u{205e}' | '\u{20a0}'..='\u{20cf}' | '\u{2100}'..='\u{2bff}' | '\u{2e80}'..='\u{a4cf}' | '\u{ac00}'..='\u{d7a3}')
}

fn letters(text: &str, drawn: &[Drawn]) -> Vec<KrillaGlyph> {
    let glyph = |((at, character), drawn): ((usize, char), &Drawn)| {
        KrillaGlyph::new(GlyphId::new(drawn.glyph), drawn.advance, 0.0, 0.0, 0.0, at..at + character.len_utf8(), None)
    };
    text.char_indices().zip(drawn).map(glyph).collect()
}

fn shape(data: &[u8], units_per_em: f32, text: &str, is_rtl: bool) -> Vec<KrillaGlyph> {
    let Some(face) = Face::from_slice(data, 0) else { return Vec::new() };
    let mut buffer = UnicodeBuffer::new();
    buffer.push_str(text);
    buffer.guess_segment_properties();
    buffer.set_direction(if is_rtl { Direction::RightToLeft } else { Direction::LeftToRight });
    let output = rustybuzz::shape(&face, &[], buffer);
    let mut starts: Vec<usize> = output.glyph_infos().iter().map(|info| info.cluster as usize).collect();
    starts.sort_unstable();
    let end = |start: usize| starts.get(starts.partition_point(|other| *other <= start)).copied().unwrap_or(text.len());
    let glyphs = output.glyph_infos().iter().zip(output.glyph_positions());
    let glyph = |(info, place): (&rustybuzz::GlyphInfo, &rustybuzz::GlyphPosition)| {
        let part = |units: i32| units as f32 / units_per_em;
        let start = info.cluster as usize;
        KrillaGlyph::new(
            GlyphId::new(info.glyph_id),
            part(place.x_advance),
            part(place.x_offset),
            part(place.y_offset),
            part(place.y_advance),
            start..end(start),
            None,
        )
    };
    glyphs.map(glyph).collect()
}
