//! Rows of text in columns: fitted to a terminal's width, or plain without one (pure).

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::paint::Paint;

/// The space between two columns.
const GAP: usize = 2;
/// The least width to which a column is reduced.
const COLUMN_MIN: usize = 8;

/// A heading, and rows with the same number of cells.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<String>>,
    /// The column whose cells are states, and how these are printed.
    states: Option<(usize, Paint)>,
}

impl Table {
    pub(crate) fn new(headings: impl Into<Vec<&'static str>>) -> Self {
        Self {
            headings: headings.into(),
            rows: Vec::new(),
            states: None,
        }
    }

    /// Colours the states in the column with this heading.
    pub(crate) fn states(mut self, heading: &str, paint: Paint) -> Self {
        let column = self.headings.iter().position(|own| *own == heading);
        self.states = column.map(|column| (column, paint));
        self
    }

    /// Adds a row; control characters in it become visible.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells: Vec<String> = cells.into_iter().map(|cell| printable(&cell)).collect();
        assert_eq!(cells.len(), self.headings.len(), "a cell for each column");
        self.rows.push(cells);
    }

    /// Returns the lines; with a width, the widest columns are cut until each line fits.
    pub(crate) fn render(&self, width: Option<u16>) -> String {
        let mut widths: Vec<usize> = self.headings.iter().map(|cell| cell.width()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.width());
            }
        }
        if let Some(width) = width {
            shrink(&mut widths, usize::from(width));
        }
        let headings: Vec<String> = self.headings.iter().map(ToString::to_string).collect();
        let mut text = String::new();
        for row in std::iter::once(&headings).chain(&self.rows) {
            text.push_str(&self.line(row, &widths));
            text.push('\n');
        }
        text
    }

    fn line(&self, cells: &[String], widths: &[usize]) -> String {
        let mut line = String::new();
        for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
            let shown = fit(cell, *width);
            let padding = width - shown.width() + GAP;
            match self.states {
                Some((states, paint)) if states == column => {
                    line.push_str(&paint.part(cell, &shown));
                }
                _ => line.push_str(&shown),
            }
            line.extend(std::iter::repeat_n(' ', padding));
        }
        line.truncate(line.trim_end().len());
        line
    }
}

/// Reduces the widest column until all fit, or none can be reduced.
fn shrink(widths: &mut [usize], available: usize) {
    let gaps = GAP * widths.len().saturating_sub(1);
    let mut sum: usize = widths.iter().sum::<usize>() + gaps;
    while sum > available {
        let Some(widest) = widths.iter_mut().max_by_key(|width| **width) else {
            return;
        };
        if *widest <= COLUMN_MIN {
            return;
        }
        *widest -= 1;
        sum -= 1;
    }
}

/// Returns the text in at most this many terminal columns; `…` replaces what is cut.
pub(crate) fn fit(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut fitted = String::new();
    let mut used = 1;
    for character in text.chars() {
        used += character.width().unwrap_or(0);
        if used > width {
            break;
        }
        fitted.push(character);
    }
    fitted.push('…');
    fitted
}

/// Returns the text with control characters made visible: tag names come from pushers.
pub(crate) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() || is_invisible(character) {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// Whether a character changes the direction of text or has no width: such characters could make
/// one name look like another.
fn is_invisible(character: char) -> bool {
    matches!(character, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(["ID", "REF", "STATE"]);
        table.row(["12".into(), "release-2026-11-21".into(), "waiting".into()]);
        table.row(["7".into(), "qa-1".into(), "rolled back".into()]);
        table
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        assert_eq!(
            table().render(None),
            "ID  REF                 STATE\n\
             12  release-2026-11-21  waiting\n\
             7   qa-1                rolled back\n"
        );
    }

    #[test]
    fn a_narrow_terminal_cuts_the_widest_column() {
        let text = table().render(Some(30));
        assert_eq!(
            text,
            "ID  REF            STATE\n\
             12  release-2026…  waiting\n\
             7   qa-1           rolled back\n"
        );
        assert!(text.lines().all(|line| line.width() <= 30));
    }

    #[test]
    fn coloured_states_do_not_move_columns() {
        let mut table = Table::new(["STATE", "REF"]).states("STATE", Paint::new(true));
        table.row(["failed".into(), "qa-1".into()]);
        table.row(["proposed".into(), "failed".into()]);
        assert_eq!(
            table.render(None),
            "STATE     REF\n\u{1b}[1;31mfailed\u{1b}[0m    qa-1\nproposed  failed\n"
        );
    }

    #[test]
    fn wide_characters_take_two_columns() {
        let mut table = Table::new(["REF", "STATE"]);
        table.row(["发布-1".into(), "waiting".into()]);
        table.row(["qa-1".into(), "failed".into()]);
        assert_eq!(
            table.render(None),
            "REF     STATE\n发布-1  waiting\nqa-1    failed\n"
        );
        assert_eq!(fit("发布发布", 5), "发布…");
        assert_eq!(fit("发布发布", 4), "发…");
    }

    #[test]
    fn control_characters_are_escaped_in_tables() {
        assert_eq!(printable("a\u{1b}[2Jb\nc"), "a\\u{1b}[2Jb\\nc");
        assert_eq!(printable("a\u{202e}b"), "a\\u{202e}b");
    }
}
