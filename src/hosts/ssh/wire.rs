//! The protocol between the agent and its `tagship transport` process over the socket of one
//! transfer. Both are the same program, so it has no version.
//!
//! The process first sends its words: their number, then each with its length (all numbers 32 bits,
//! big endian). Then it sends the standard input of the remote command, to the end of that
//! direction. The agent answers in frames: a tag, a length, and that many bytes.

use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;

use tokio::io::{AsyncRead, AsyncReadExt};

/// A frame's tag: bytes of the remote command's standard output.
pub(super) const OUTPUT: u8 = b'o';
/// A frame's tag: the exit code, one byte; the last frame.
pub(super) const EXIT: u8 = b'x';

/// rsync never passes more words, or longer ones.
const WORDS_MAX: u32 = 1000;
const WORD_MAX: u32 = 100_000;

pub(super) fn write_words(
    mut to: impl Write,
    words: &[impl AsRef<std::ffi::OsStr>],
) -> io::Result<()> {
    let mut bytes = Vec::new();
    let number = |n: usize| u32::try_from(n).map_err(io::Error::other);
    bytes.extend(number(words.len())?.to_be_bytes());
    for word in words {
        let word = word.as_ref().as_bytes();
        bytes.extend(number(word.len())?.to_be_bytes());
        bytes.extend(word);
    }
    to.write_all(&bytes)
}

pub(super) async fn read_words(mut from: impl AsyncRead + Unpin) -> io::Result<Vec<Vec<u8>>> {
    let count = from.read_u32().await?;
    if count > WORDS_MAX {
        return Err(io::Error::other("too many words"));
    }
    let mut words = Vec::new();
    for _ in 0..count {
        let length = from.read_u32().await?;
        if length > WORD_MAX {
            return Err(io::Error::other("a word is too long"));
        }
        let mut word = vec![0; length as usize];
        from.read_exact(&mut word).await?;
        words.push(word);
    }
    Ok(words)
}

/// Returns a complete frame.
pub(super) fn frame(tag: u8, bytes: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(5 + bytes.len());
    frame.push(tag);
    frame.extend(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    frame.extend_from_slice(bytes);
    frame
}

/// Copies the output frames from `from` to `to` until the exit frame; returns the exit code.
pub(super) fn copy_frames(mut from: impl Read, mut to: impl Write) -> io::Result<u8> {
    loop {
        let mut head = [0; 5];
        from.read_exact(&mut head)?;
        let [tag, length @ ..] = head;
        let length = u64::from(u32::from_be_bytes(length));
        match tag {
            OUTPUT => {
                let copied = io::copy(&mut from.by_ref().take(length), &mut to)?;
                if copied < length {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            EXIT => {
                let mut code = [0];
                from.read_exact(&mut code)?;
                return Ok(code[0]);
            }
            _ => return Err(io::Error::other("unknown frame")),
        }
    }
}

/// Joins words to one command line for a POSIX shell; quotes those that are not plain.
pub(super) fn shell_line(words: &[Vec<u8>]) -> Result<String, std::string::FromUtf8Error> {
    let mut line = String::new();
    for word in words {
        if !line.is_empty() {
            line.push(' ');
        }
        let word = String::from_utf8(word.clone())?;
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:+@%".contains(c);
        if !word.is_empty() && word.chars().all(plain) {
            line.push_str(&word);
        } else {
            line.push('\'');
            line.push_str(&word.replace('\'', r"'\''"));
            line.push('\'');
        }
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[tokio::test]
    async fn arguments_roundtrip_over_the_wire() {
        let words = ["web1", "", "a b\n'c'", "--server"];
        let mut wire = Vec::new();
        write_words(&mut wire, &words).unwrap();
        wire.extend(b"input");
        let mut wire = wire.as_slice();
        assert_eq!(
            read_words(&mut wire).await.unwrap(),
            words.map(|w| w.as_bytes().to_vec())
        );
        assert_eq!(wire, b"input");
    }

    #[tokio::test]
    async fn oversized_arguments_are_refused_before_allocation() {
        let mut wire = 1u32.to_be_bytes().to_vec();
        wire.extend(u32::MAX.to_be_bytes());
        assert!(read_words(wire.as_slice()).await.is_err());
        assert!(read_words(u32::MAX.to_be_bytes().as_slice()).await.is_err());
    }

    #[test]
    fn frames_carry_output_then_the_exit_code() {
        let mut wire = frame(OUTPUT, b"one ");
        wire.extend(frame(OUTPUT, b"two"));
        wire.extend(frame(EXIT, &[23]));
        let mut output = Vec::new();
        assert_eq!(copy_frames(wire.as_slice(), &mut output).unwrap(), 23);
        assert_eq!(output, b"one two");
    }

    #[test]
    fn a_stream_that_ends_without_an_exit_code_is_an_error() {
        let wire = frame(OUTPUT, b"one");
        for end in 0..=wire.len() {
            assert!(copy_frames(&wire[..end], Vec::new()).is_err());
        }
    }

    proptest::proptest! {
        #[test]
        fn shell_quoting_roundtrips(words in proptest::collection::vec("[^\0]{0,12}", 1..4)) {
            let bytes: Vec<Vec<u8>> = words.iter().map(|word| word.clone().into_bytes()).collect();
            let line = format!("printf '%s\\0' {}", shell_line(&bytes).unwrap());
            let output = std::process::Command::new("/bin/sh").args(["-c", &line]).output().unwrap();
            let mut expected = words.join("\0").into_bytes();
            expected.push(0);
            proptest::prop_assert_eq!(output.stdout, expected);
        }
    }
}
