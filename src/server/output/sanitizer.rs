//! Converts program output into text that cannot control a terminal or deceive a reader (pure).

/// Converts bytes to text, chunk by chunk: invalid UTF-8 becomes U+FFFD, control and bidirectional
/// characters are escaped (`\x1b`), and `\r\n` becomes `\n`.
#[derive(Default)]
pub(super) struct TerminalSanitizer {
    /// The beginning of an incomplete character.
    cut: Vec<u8>,
    /// The last byte was a `\r`.
    returned: bool,
}

impl TerminalSanitizer {
    pub(super) fn push(&mut self, bytes: &[u8]) -> String {
        let mut joined = std::mem::take(&mut self.cut);
        joined.extend_from_slice(bytes);
        let mut text = String::with_capacity(joined.len());
        let mut chunks = joined.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            for character in chunk.valid().chars() {
                self.put(&mut text, character);
            }
            let invalid = chunk.invalid();
            if invalid.is_empty() {
                continue;
            }
            if chunks.peek().is_none() && is_incomplete(invalid) {
                self.cut = invalid.to_vec();
            } else {
                self.put(&mut text, char::REPLACEMENT_CHARACTER);
            }
        }
        text
    }

    /// Returns what is left at the end of the input.
    pub(super) fn end(&mut self) -> String {
        let mut text = String::new();
        if !std::mem::take(&mut self.cut).is_empty() {
            self.put(&mut text, char::REPLACEMENT_CHARACTER);
        }
        if std::mem::take(&mut self.returned) {
            text.push_str("\\x0d");
        }
        text
    }

    fn put(&mut self, text: &mut String, character: char) {
        if std::mem::take(&mut self.returned) && character != '\n' {
            text.push_str("\\x0d");
        }
        match character {
            '\n' | '\t' => text.push(character),
            '\r' => self.returned = true,
            '\0'..='\x1f' | '\x7f' => text.push_str(&format!("\\x{:02x}", character as u32)),
            '\u{80}'..='\u{9f}'
            | '\u{61c}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{2028}'
            | '\u{2029}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}' => {
                text.push_str(&format!("\\u{{{:x}}}", character as u32));
            }
            _ => text.push(character),
        }
    }
}

/// Whether an incomplete sequence of bytes can still become a character.
fn is_incomplete(bytes: &[u8]) -> bool {
    let expected = match bytes[0] {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => return false,
    };
    bytes.len() < expected
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sanitized(pieces: &[&[u8]]) -> String {
        let mut sanitizer = TerminalSanitizer::default();
        let mut text: String = pieces.iter().map(|piece| sanitizer.push(piece)).collect();
        text.push_str(&sanitizer.end());
        text
    }

    #[test]
    fn terminal_control_sequences_are_escaped() {
        assert_eq!(
            sanitized(&[b"\x1b]0;title\x07 \x1b[31mred"]),
            "\\x1b]0;title\\x07 \\x1b[31mred"
        );
        assert_eq!(
            sanitized(&["\u{9b}2J \u{202e}gnp.exe".as_bytes()]),
            "\\u{9b}2J \\u{202e}gnp.exe"
        );
        assert_eq!(sanitized(&[b"a\tb\nc\x7f"]), "a\tb\nc\\x7f");
    }

    #[test]
    fn crlf_becomes_a_newline_and_lone_cr_is_escaped() {
        assert_eq!(sanitized(&[b"one\r\ntwo\r", b"\nthree"]), "one\ntwo\nthree");
        assert_eq!(sanitized(&[b"10%\r20%\r"]), "10%\\x0d20%\\x0d");
    }

    #[test]
    fn split_character_is_reassembled() {
        assert_eq!(sanitized(&[b"caf\xc3", b"\xa9"]), "caf\u{e9}");
        assert_eq!(sanitized(&[b"\xf0\x9f", b"\x9a", b"\x80"]), "\u{1f680}");
    }

    #[test]
    fn invalid_utf8_is_replaced() {
        assert_eq!(sanitized(&[b"a\xffb"]), "a\u{fffd}b");
        assert_eq!(sanitized(&[b"a\xc3"]), "a\u{fffd}");
        assert_eq!(sanitized(&[b"\xc3", b"("]), "\u{fffd}(");
    }

    proptest! {
        #[test]
        fn sanitizing_is_independent_of_chunk_boundaries(bytes: Vec<u8>, at in 0..64usize) {
            let at = at.min(bytes.len());
            prop_assert_eq!(sanitized(&[&bytes]), sanitized(&[&bytes[..at], &bytes[at..]]));
        }

        #[test]
        fn no_control_character_remains(bytes: Vec<u8>) {
            let text = sanitized(&[&bytes]);
            prop_assert!(text.chars().all(|c| !c.is_control() || c == '\n' || c == '\t'));
        }
    }
}
