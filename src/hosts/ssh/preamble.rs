//! Skips what a login prints before the requested answer (`.bashrc`, `.ssh/rc`, a message of the
//! day), up to a marker on a line of its own. Pure.

/// A login that prints more than this before the marker is rejected.
const PREAMBLE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Searches a marker in a stream that arrives in chunks of any size.
#[derive(Clone, Debug)]
pub(crate) struct Preamble {
    marker: &'static [u8],
    matched: usize,
    passed: u64,
}

/// The login printed too much before the marker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the login prints more than {} MiB before any command runs: make its startup files (.bashrc, .profile, .ssh/rc) silent where the shell is not interactive",
    PREAMBLE_BYTES_MAX / (1024 * 1024)
)]
pub struct EndlessPreamble;

impl Preamble {
    /// `marker` begins and ends with the only line breaks in it.
    pub(crate) fn new(marker: &'static [u8]) -> Self {
        Self {
            marker,
            // As if a line had just ended: the marker may be at the very beginning.
            matched: 1,
            passed: 0,
        }
    }

    /// Takes the next bytes; returns those after the marker, once it was found.
    ///
    /// # Errors
    /// [`EndlessPreamble`] if more than [`PREAMBLE_BYTES_MAX`] arrived without the marker.
    pub(crate) fn pass<'b>(
        &mut self,
        bytes: &'b [u8],
    ) -> Result<Option<&'b [u8]>, EndlessPreamble> {
        for (at, &byte) in bytes.iter().enumerate() {
            // The marker's only line breaks are its first and its last byte.
            self.matched = match (self.matched, byte) {
                (matched, byte) if self.marker[matched] == byte => matched + 1,
                (_, b'\n') => 1,
                _ => 0,
            };
            if self.matched == self.marker.len() {
                return Ok(Some(&bytes[at + 1..]));
            }
        }
        self.passed = self.passed.saturating_add(bytes.len() as u64);
        if self.passed > PREAMBLE_BYTES_MAX {
            return Err(EndlessPreamble);
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const MARKER: &[u8] = b"\n@here\n";

    #[test]
    fn marker_is_found_after_any_prefix_and_split() {
        for noise in [
            "",
            "Welcome\n",
            "no newline",
            "\n\n@her",
            "@here \n",
            "\n@her",
        ] {
            let whole = [noise.as_bytes(), MARKER, b"answer\n@here\n"].concat();
            for cut in 0..=whole.len() {
                let mut preamble = Preamble::new(MARKER);
                let (first, second) = whole.split_at(cut);
                let rest = match preamble.pass(first).unwrap() {
                    Some(rest) => [rest, second].concat(),
                    None => preamble.pass(second).unwrap().unwrap().to_vec(),
                };
                assert_eq!(rest, b"answer\n@here\n", "{noise:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn endless_login_output_is_given_up() {
        let mut preamble = Preamble::new(MARKER);
        let piece = vec![b'y'; 1 << 20];
        let pieces = PREAMBLE_BYTES_MAX / (1 << 20);
        for _ in 0..pieces {
            assert_eq!(preamble.pass(&piece), Ok(None));
        }
        assert_eq!(preamble.pass(&piece), Err(EndlessPreamble));
    }
}
