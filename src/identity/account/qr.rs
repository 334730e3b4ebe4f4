//! The URI of a second factor as a QR code for a phone's camera: as SVG for a page, and as block
//! characters for a terminal. Stateless; called where an [`Enrolment`] is shown.
//!
//! [`Enrolment`]: super::Enrolment

use std::fmt::Write as _;

use qrcode::{Color, EcLevel, QrCode};

/// The width of the light border that a camera needs to find the code (ISO/IEC 18004).
const QUIET: usize = 4;

/// The modules of a code, row by row, including the quiet zone.
pub struct Qr {
    side: usize,
    dark: Vec<bool>,
}

impl Qr {
    /// Returns `None` if the text is too long for any code; it must be typed then.
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        let code = QrCode::with_error_correction_level(text, EcLevel::M).ok()?;
        let (width, colors) = (code.width(), code.to_colors());
        let side = width + 2 * QUIET;
        let mut dark = vec![false; side * side];
        for (at, color) in colors.into_iter().enumerate() {
            let (row, column) = (at / width + QUIET, at % width + QUIET);
            dark[row * side + column] = color == Color::Dark;
        }
        Some(Self { side, dark })
    }

    /// Returns the number of modules per row.
    #[must_use]
    pub fn side(&self) -> usize {
        self.side
    }

    /// Returns the dark modules as the `d` of an SVG path, one unit per module.
    #[must_use]
    pub fn path(&self) -> String {
        let mut path = String::new();
        for (at, _) in self.dark.iter().enumerate().filter(|(_, dark)| **dark) {
            // Writing to a String cannot fail.
            let _ = write!(path, "M{} {}h1v1h-1z", at % self.side, at / self.side);
        }
        path
    }

    /// Returns lines of half blocks, black on white whatever the terminal's colours: not every app
    /// reads a light code on a dark background.
    #[must_use]
    pub fn blocks(&self) -> String {
        let mut text = String::new();
        for row in (0..self.side).step_by(2) {
            text.push_str("\x1b[38;5;16;48;5;231m");
            for column in 0..self.side {
                text.push(
                    match (self.is_dark(row, column), self.is_dark(row + 1, column)) {
                        (true, true) => '█',
                        (true, false) => '▀',
                        (false, true) => '▄',
                        (false, false) => ' ',
                    },
                );
            }
            text.push_str("\x1b[0m\n");
        }
        text
    }

    /// Outside the code all is light.
    fn is_dark(&self, row: usize, column: usize) -> bool {
        self.dark
            .get(row * self.side + column)
            .is_some_and(|dark| *dark)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn page_and_terminal_render_the_same_qr_code() {
        let qr = Qr::of("otpauth://totp/tagship:alice?secret=ABC&issuer=tagship").unwrap();
        let drawn = qr.path().matches("h1v1h-1z").count();
        let squares = |c| match c {
            '█' => 2,
            '▀' | '▄' => 1,
            _ => 0,
        };
        assert_eq!(qr.blocks().chars().map(squares).sum::<usize>(), drawn);
        assert!(drawn > 200, "{drawn}");
        let edge = qr.dark.chunks(qr.side()).enumerate().any(|(row, squares)| {
            let outer = row < QUIET || row >= qr.side() - QUIET;
            squares[..QUIET]
                .iter()
                .chain(&squares[qr.side() - QUIET..])
                .any(|dark| *dark)
                || outer && squares.iter().any(|dark| *dark)
        });
        assert!(!edge, "the quiet zone must be light");
        // The corner of a finder pattern: seven dark squares beside a light one.
        assert!((0..7).all(|column| qr.is_dark(QUIET, QUIET + column)));
        assert!(!qr.is_dark(QUIET, QUIET + 7));
    }

    #[test]
    fn overlong_text_has_no_qr_code() {
        assert!(Qr::of(&"x".repeat(10_000)).is_none());
    }
}
