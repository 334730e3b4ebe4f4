//! Converts git's progress, which rewrites one line with `\r`, into lines for a log. Pure.
//!
//! Lines that end in `\n` are kept. Rewritten lines are kept if their title is new or their
//! percentage enters another tenth, so a large fetch logs some dozens of lines at any speed. Small
//! counts are kept only when done, so that a small fetch does not flood the log.

/// The maximum length of a line.
const LINE_BYTES_MAX: usize = 1000;

/// Below this a count is too small for progress.
const COUNT_MIN: u64 = 1000;

/// Splits a stream into lines and thins out progress.
#[derive(Default)]
pub(super) struct ProgressLines {
    partial: Vec<u8>,
    /// Title and tenth of the last rewritten line that was kept.
    last: Option<(String, Option<u8>)>,
    received: u64,
}

impl ProgressLines {
    /// Takes the next bytes and calls `line` for each line to log.
    pub(super) fn push(&mut self, bytes: &[u8], line: &mut dyn FnMut(&str)) {
        for byte in bytes {
            match byte {
                b'\n' => self.end(line),
                b'\r' => self.rewrite(line),
                _ if self.partial.len() < LINE_BYTES_MAX => self.partial.push(*byte),
                _ => {}
            }
        }
    }

    /// Returns how many bytes of objects were received so far.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// Ends the last line.
    pub(super) fn end(&mut self, line: &mut dyn FnMut(&str)) {
        let text = self.take();
        if !text.is_empty() {
            line(&text);
        }
    }

    fn rewrite(&mut self, line: &mut dyn FnMut(&str)) {
        let text = self.take();
        let title = text.trim_start_matches("remote: ").split(':').next();
        let key = (title.unwrap_or_default().to_owned(), tenth(&text));
        let few = total(&text).is_some_and(|total| total < COUNT_MIN);
        if !text.is_empty() && !few && self.last.as_ref() != Some(&key) {
            self.last = Some(key);
            line(&text);
        }
    }

    fn take(&mut self) -> String {
        let text = String::from_utf8_lossy(&self.partial).trim().to_owned();
        self.partial.clear();
        self.received = self.received.max(received(&text).unwrap_or_default());
        text
    }
}

/// Returns the tenth of a percentage: 4 for `Receiving objects:  47% (…)`.
fn tenth(text: &str) -> Option<u8> {
    let (before, _) = text.split_once('%')?;
    let digits = before.rsplit(' ').next()?;
    digits.parse::<u8>().ok().map(|percent| percent / 10)
}

/// Returns the total of a count: 100 for `Receiving objects:  47% (47/100)`.
fn total(text: &str) -> Option<u64> {
    let (_, count) = text.split_once('(')?;
    let (_, total) = count.split_once(')')?.0.split_once('/')?;
    total.parse().ok()
}

/// Returns the bytes of `Receiving objects:  47% (47/100), 3.30 MiB | 1.10 MiB/s`; lines of the
/// server begin with `remote: `.
fn received(text: &str) -> Option<u64> {
    let ours = ["Receiving objects:", "Unpacking objects:"];
    ours.iter().find(|title| text.starts_with(**title))?;
    let (number, unit) = text.split_once("), ")?.1.split_once(' ')?;
    let exponent = match unit.get(..3)? {
        "byt" => 0,
        "KiB" => 1,
        "MiB" => 2,
        "GiB" => 3,
        _ => return None,
    };
    let (units, hundredths) = number.split_once('.').unwrap_or((number, "0"));
    let (units, hundredths): (u64, u64) = (units.parse().ok()?, hundredths.parse().ok()?);
    let hundredths = units.checked_mul(100)?.checked_add(hundredths)?;
    Some(hundredths.checked_mul(1 << (10 * exponent))? / 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn received_bytes_are_those_of_our_own_git() {
        for (text, bytes) in [
            (
                "Receiving objects:  42% (12/28), 3.50 MiB | 30.00 MiB/s",
                3_670_016,
            ),
            (
                "Receiving objects: 100% (9/9), 120.00 GiB | 2.00 MiB/s, done.",
                128_849_018_880,
            ),
            (
                "Unpacking objects: 100% (3/3), 2.25 KiB | 1.00 KiB/s, done.",
                2_304,
            ),
            (
                "Unpacking objects: 100% (3/3), 238 bytes | 238.00 KiB/s, done.",
                238,
            ),
            ("Receiving objects:  42% (12/28)", 0),
            (
                "remote: Receiving objects:  42% (12/28), 9.00 GiB | 1.00 MiB/s",
                0,
            ),
            (
                "Receiving objects:  42% (12/28), 99999999999999999999 GiB",
                0,
            ),
        ] {
            let mut lines = ProgressLines::default();
            lines.push(format!("{text}\rResolving").as_bytes(), &mut |_| {});
            assert_eq!(lines.received(), bytes, "{text}");
        }
    }

    fn shown(chunks: &[&str]) -> Vec<String> {
        let mut all = Vec::new();
        let mut lines = ProgressLines::default();
        for chunk in chunks {
            lines.push(chunk.as_bytes(), &mut |line| all.push(line.to_owned()));
        }
        lines.end(&mut |line| all.push(line.to_owned()));
        all
    }

    #[test]
    fn fetch_progress_is_reduced_to_a_few_lines() {
        let mut stream = String::from("remote: Enumerating objects: 5, done.        \n");
        for i in 0..10_000 {
            stream += &format!("Receiving objects: {:3}% ({i}/10000)\r", i / 100);
        }
        stream += "Receiving objects: 100% (10000/10000), done.\nResolving deltas: 0% (0/9)\r";
        stream += "Resolving deltas: 50% (5/9)\rResolving deltas: 100% (9/9), done.\n";
        let all = shown(&[&stream]);
        assert_eq!(all.len(), 13, "{all:?}");
        assert_eq!(all[12], "Resolving deltas: 100% (9/9), done.");
        assert_eq!(all[0], "remote: Enumerating objects: 5, done.");
        assert!(all[11].ends_with("done."));
    }

    #[test]
    fn a_line_may_arrive_in_pieces_and_without_an_end() {
        assert_eq!(
            shown(&["fatal: no su", "ch thing"]),
            ["fatal: no such thing"]
        );
        let long = "x".repeat(5000);
        assert_eq!(shown(&[&long])[0].len(), LINE_BYTES_MAX);
    }
}
