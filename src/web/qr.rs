//! A text as a picture that phones read: a QR code as a path for SVG, so that no script and no other address is needed.

use std::fmt::Write;

use qrcodegen::{QrCode, QrCodeEcc};

/// Squares of white around it (ISO/IEC 18004 section 9.1).
const BORDER: i32 = 4;

/// A picture of squares.
pub(super) struct Picture {
    /// Squares from side to side.
    pub(super) size: i32,
    /// The dark ones, as the attribute `d` of a path.
    pub(super) path: String,
}

impl Picture {
    /// The picture of a text; none if it is too long for one.
    pub(super) fn of(text: &str) -> Option<Self> {
        let code = QrCode::encode_text(text, QrCodeEcc::Medium).ok()?;
        let mut path = String::new();
        for y in 0..code.size() {
            for x in (0..code.size()).filter(|x| code.get_module(*x, y)) {
                // Nothing is written anywhere but into memory.
                let _never_fails = write!(path, "M{},{}h1v1h-1z", x + BORDER, y + BORDER);
            }
        }
        Some(Self { size: code.size() + 2 * BORDER, path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_becomes_squares() {
        let picture = Picture::of("otpauth://totp/a:b?secret=GEZDGNBVGY3TQOJQ").unwrap();
        // Version 3 or so: 21 squares and four more for each version.
        assert_eq!((picture.size - 2 * BORDER - 21) % 4, 0);
        // The corner of the finder pattern, seven dark squares in a row.
        assert!((0..7).all(|x| picture.path.contains(&format!("M{},{}h1v1h-1z", x + BORDER, BORDER))));
        assert!(!picture.path.contains(&format!("M{},{}h", 7 + BORDER, BORDER)), "a light one follows");
        assert!(Picture::of(&"x".repeat(5_000)).is_none());
    }
}
