//! Writes text to a terminal of some width, or to a file. Nothing here decides what is written.

use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::sync::OnceLock;

use secrecy::{SecretString, zeroize::Zeroize};

use super::arguments::ColorWhen;
use super::error::CommandError;
use super::paint::{self, Paint};

/// The longest password, in bytes; it is one line.
const PASSWORD_BYTES_MAX: u64 = 4096;
/// The longest answer to a question, in bytes.
const ANSWER_BYTES_MAX: u64 = 100;
/// The width if a terminal does not report it.
const WIDTH_DEFAULT: u16 = 80;
/// The height if a terminal does not report it.
const HEIGHT_DEFAULT: u16 = 24;
/// The value of `--color`.
static COLOR: OnceLock<ColorWhen> = OnceLock::new();

/// Says when output is coloured, before anything is printed.
pub(crate) fn set_color(when: ColorWhen) {
    COLOR.get_or_init(|| when);
}

/// Whether output to this stream is coloured.
pub(crate) fn has_color(stream: &impl IsTerminal) -> bool {
    let variable = |name| std::env::var_os(name).unwrap_or_default();
    let when = COLOR.get().copied().unwrap_or_default();
    let (no_color, term) = (variable("NO_COLOR"), variable("TERM"));
    paint::is_wanted(when, stream.is_terminal(), &no_color, &term)
}

/// Returns how states are printed on standard output.
pub(crate) fn paint() -> Paint {
    Paint::new(has_color(&io::stdout()))
}

/// Returns the width of the terminal on standard output; `None` if that is not one.
pub(crate) fn width() -> Option<u16> {
    let stdout = io::stdout();
    if !stdout.is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(stdout).ok();
    let width = size.map(|size| size.ws_col).filter(|width| *width > 0);
    Some(width.unwrap_or(WIDTH_DEFAULT))
}

/// Whether a person may see standard output.
pub(crate) fn is_watched() -> bool {
    io::stdout().is_terminal()
}

/// The size of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) width: u16,
    pub(crate) height: u16,
}

/// Erases the rest of a line.
const ERASE_LINE: &str = "\x1b[K";
/// Erases what is below the cursor.
const ERASE_BELOW: &str = "\x1b[J";

/// Lines at the end of a terminal's text that are redrawn in place. No mode of the terminal is
/// changed and the cursor stays below the lines, so an interrupted program leaves it usable.
#[derive(Debug, Default)]
pub(crate) struct Canvas {
    drawn: Vec<String>,
}

/// Returns a canvas on standard output; `None` if that is no terminal, or a dumb one.
pub(crate) fn canvas() -> Option<Canvas> {
    let is_dumb = paint::is_dumb(&std::env::var_os("TERM").unwrap_or_default());
    (io::stdout().is_terminal() && !is_dumb).then(Canvas::default)
}

impl Canvas {
    /// Returns the terminal's size now: users may change it. A line that fills the last column would
    /// lose a character when the rest of the line is erased, so that column is left free.
    pub(crate) fn size(&self) -> Size {
        let size = rustix::termios::tcgetwinsize(io::stdout()).ok();
        let or = |found: Option<u16>, default| found.filter(|found| *found > 0).unwrap_or(default);
        let width = or(size.map(|size| size.ws_col), WIDTH_DEFAULT);
        Size {
            width: width.saturating_sub(1).max(1),
            height: or(size.map(|size| size.ws_row), HEIGHT_DEFAULT),
        }
    }

    /// Draws lines over the previous ones; nothing is written if they are the same.
    pub(crate) fn draw(&mut self, lines: &[String]) -> Result<(), CommandError> {
        if self.drawn == lines {
            return Ok(());
        }
        // Lines are overwritten, not cleared first, and by a single write: that avoids flicker.
        let mut drawing = self.to_first_line();
        for line in lines {
            drawing.push_str(&format!("{line}{ERASE_LINE}\n"));
        }
        drawing.push_str(ERASE_BELOW);
        self.drawn = lines.to_vec();
        print(&drawing)
    }

    /// Writes permanent text, then draws lines below it.
    pub(crate) fn print_above(&mut self, text: &str, lines: &[String]) -> Result<(), CommandError> {
        if text.is_empty() {
            return self.draw(lines);
        }
        let mut drawing = self.to_first_line() + ERASE_BELOW + text;
        for line in lines {
            drawing.push_str(&format!("{line}\n"));
        }
        self.drawn = lines.to_vec();
        print(&drawing)
    }

    /// Returns what moves the cursor to the first of the drawn lines.
    fn to_first_line(&self) -> String {
        match self.drawn.len() {
            0 => String::new(),
            lines => format!("\x1b[{lines}A\r"),
        }
    }
}

/// Writes text to standard output, completely.
pub(crate) fn print(text: &str) -> Result<(), CommandError> {
    print_bytes(text.as_bytes())
}

pub(crate) fn print_bytes(bytes: &[u8]) -> Result<(), CommandError> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    Ok(stdout.flush()?)
}

/// Writes a value to standard output as JSON.
pub(crate) fn print_json(value: &impl serde::Serialize) -> Result<(), CommandError> {
    let text = serde_json::to_string_pretty(value).map_err(io::Error::other)?;
    print(&format!("{text}\n"))
}

/// Prints a message for people to standard error. It is not an error if it cannot be written.
pub(crate) fn note(text: &str) {
    drop(writeln!(io::stderr().lock(), "{text}"));
}

/// Prints a picture to standard error if that is a terminal; in a file it is useless.
pub(crate) fn draw(picture: impl FnOnce() -> Option<String>) {
    let mut stderr = io::stderr().lock();
    if stderr.is_terminal()
        && let Some(picture) = picture()
    {
        drop(stderr.write_all(picture.as_bytes()));
    }
}

/// Whether a person can be asked: standard input and standard error are terminals.
pub(crate) fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks a question; anything but `yes` means no.
pub(crate) fn ask(question: &str) -> Result<bool, CommandError> {
    let mut stderr = io::stderr().lock();
    drop(write!(stderr, "{question} [yes/no] ").and_then(|()| stderr.flush()));
    let mut answer = String::new();
    io::stdin()
        .lock()
        .take(ANSWER_BYTES_MAX)
        .read_line(&mut answer)
        .map_err(CommandError::Input)?;
    Ok(answer.trim() == "yes")
}

/// Reads a password: the first line of standard input.
pub(crate) fn read_password() -> Result<SecretString, CommandError> {
    let mut line = String::new();
    io::stdin()
        .lock()
        .take(PASSWORD_BYTES_MAX)
        .read_line(&mut line)
        .map_err(CommandError::Input)?;
    let password = line.trim_end_matches(['\r', '\n']);
    let secret = (!password.is_empty()).then(|| SecretString::from(password));
    line.zeroize();
    secret.ok_or(CommandError::NoPassword)
}
