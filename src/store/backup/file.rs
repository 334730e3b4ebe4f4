//! The backup file format: bytes in, bytes out.
//!
//! ```text
//! "tagship backup\n"
//! frames: kind (1 byte), length (4 bytes, big-endian), content
//!   H  the header, JSON                    first
//!   R  a row: length of the key (2 bytes), key, value
//!   L  a log: its path below `logs`, then its content in pieces
//!   P  a piece of the log before
//!   E  the totals, JSON                    last
//! SHA-256 of everything before, 32 bytes
//! ```
//!
//! Readers get only verified data: [`BackupReader`] rejects a file whose digest is missing or
//! wrong, but only at its end. So a file is read twice where that matters.

use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The format version that this program writes. It is raised whenever the frames or the meaning of
/// rows change; this program reads this version and all earlier ones.
pub const FORMAT: u32 = 1;

const MAGIC: &[u8] = b"tagship backup\n";
const DIGEST_BYTES: usize = 32;
/// Larger than the longest row.
const FRAME_BYTES_MAX: usize = 1024 * 1024;
/// Maximum size of a log frame, in bytes.
pub(super) const PIECE_BYTES_MAX: usize = 64 * 1024;
/// Bytes to buffer before they are sent.
const CHUNK_BYTES: usize = 128 * 1024;

/// The first frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    pub format: u32,
    /// The version of tagship that wrote it.
    pub tagship: String,
    pub created_at: Timestamp,
    /// The store revision that the backup shows.
    pub revision: u64,
    /// Whether the output of steps is included.
    pub logs: bool,
}

/// The last frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupCounts {
    pub rows: u64,
    pub logs: u64,
}

/// Why a file is not a valid backup.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("{what}; take another backup")]
    Damaged { what: &'static str },
    #[error(
        "it has format {found}, this program knows formats up to {FORMAT}: restore it with tagship {tagship} or newer"
    )]
    TooNew { found: u32, tagship: String },
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
}

const fn damaged(what: &'static str) -> FileError {
    FileError::Damaged { what }
}

/// Encodes a backup.
#[derive(Default)]
pub(super) struct Encoder {
    hash: Sha256,
    gathered: Vec<u8>,
}

impl Encoder {
    pub(super) fn header(&mut self, header: &Header) -> serde_json::Result<()> {
        let json = serde_json::to_vec(header)?;
        self.add(MAGIC);
        self.frame(b'H', &[&json]);
        Ok(())
    }

    pub(super) fn row(&mut self, key: &[u8], value: &[u8]) {
        // Keys are at most `KEY_BYTES_MAX` long.
        let length = u16::try_from(key.len()).unwrap_or(u16::MAX).to_be_bytes();
        self.frame(b'R', &[&length, key, value]);
    }

    pub(super) fn log(&mut self, name: &Path) {
        self.frame(b'L', &[name.as_os_str().as_bytes()]);
    }

    pub(super) fn piece(&mut self, bytes: &[u8]) {
        self.frame(b'P', &[bytes]);
    }

    pub(super) fn end(&mut self, counts: &BackupCounts) -> serde_json::Result<()> {
        let json = serde_json::to_vec(counts)?;
        self.frame(b'E', &[&json]);
        Ok(())
    }

    /// Returns the buffered bytes once there are enough to send.
    pub(super) fn full(&mut self) -> Option<Vec<u8>> {
        (self.gathered.len() >= CHUNK_BYTES).then(|| std::mem::take(&mut self.gathered))
    }

    /// Returns the last bytes, with the digest.
    pub(super) fn finish(&mut self) -> Vec<u8> {
        let mut rest = std::mem::take(&mut self.gathered);
        rest.extend_from_slice(&std::mem::take(&mut self.hash).finalize());
        rest
    }

    fn frame(&mut self, kind: u8, parts: &[&[u8]]) {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        assert!(length <= FRAME_BYTES_MAX, "frame of {length} bytes");
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        self.add(&[kind]);
        self.add(&length.to_be_bytes());
        for part in parts {
            self.add(part);
        }
    }

    fn add(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.gathered.extend_from_slice(bytes);
    }
}

/// One item of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    Row {
        key: Vec<u8>,
        value: Vec<u8>,
    },
    /// `TASK/HOST/FILE`; its pieces follow.
    Log(PathBuf),
    Piece(Vec<u8>),
}

/// Reads a backup from its beginning to its end.
pub struct BackupReader<R> {
    input: R,
    hash: Sha256,
    header: Header,
    seen: BackupCounts,
    counts: Option<BackupCounts>,
}

impl<R: Read> BackupReader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`FileError`]: it is no backup, or one of a newer program.
    pub fn new(mut input: R) -> Result<Self, FileError> {
        let mut hash = Sha256::new();
        let mut magic = [0; MAGIC.len()];
        take(&mut input, &mut hash, &mut magic)?;
        if magic != MAGIC {
            return Err(damaged("it does not begin as a backup of tagship does"));
        }
        let (kind, content) = frame(&mut input, &mut hash)?;
        if kind != b'H' {
            return Err(damaged("it has no header"));
        }
        /// The fields that every format version has.
        #[derive(Deserialize)]
        struct Form {
            format: u32,
            tagship: String,
        }
        let form: Form = json(&content)?;
        if form.format > FORMAT {
            return Err(FileError::TooNew {
                found: form.format,
                tagship: form.tagship,
            });
        }
        Ok(Self {
            header: json(&content)?,
            input,
            hash,
            seen: BackupCounts::default(),
            counts: None,
        })
    }

    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Returns the next item; `None` at the end, once the digest has verified everything before.
    ///
    /// # Errors
    /// [`FileError`]: it is damaged, or cannot be read.
    pub fn next_item(&mut self) -> Result<Option<Item>, FileError> {
        if self.counts.is_some() {
            return Ok(None);
        }
        let (kind, mut content) = frame(&mut self.input, &mut self.hash)?;
        Ok(Some(match kind {
            b'R' => {
                let length = content
                    .first_chunk()
                    .map(|first| u16::from_be_bytes(*first));
                let start = 2 + usize::from(length.unwrap_or(u16::MAX));
                if content.len() < start {
                    return Err(damaged("a row in it is cut off"));
                }
                self.seen.rows += 1;
                let value = content.split_off(start);
                content.drain(..2);
                Item::Row {
                    key: content,
                    value,
                }
            }
            b'L' => {
                self.seen.logs += 1;
                Item::Log(log_name(&content)?)
            }
            b'P' => Item::Piece(content),
            b'E' => {
                self.end(json(&content)?)?;
                return Ok(None);
            }
            _ => return Err(damaged("it has a frame of unknown kind")),
        }))
    }

    /// Reads the rest and returns the totals.
    ///
    /// # Errors
    /// As [`BackupReader::next_item`].
    pub fn verify(mut self) -> Result<BackupCounts, FileError> {
        while self.next_item()?.is_some() {}
        Ok(self.counts.unwrap_or_default())
    }

    fn end(&mut self, counts: BackupCounts) -> Result<(), FileError> {
        let expected = std::mem::take(&mut self.hash).finalize();
        let mut digest = [0; DIGEST_BYTES];
        read(&mut self.input, &mut digest)?;
        if digest[..] != expected[..] {
            return Err(damaged("its digest does not fit: bytes of it were changed"));
        }
        if counts != self.seen {
            return Err(damaged("its totals do not match its content"));
        }
        if self.input.read(&mut [0])? != 0 {
            return Err(damaged("something follows after its end"));
        }
        self.counts = Some(counts);
        Ok(())
    }
}

fn json<T: DeserializeOwned>(content: &[u8]) -> Result<T, FileError> {
    serde_json::from_slice(content).map_err(|_| damaged("what it says of itself cannot be read"))
}

/// Parses `TASK/HOST/FILE`; rejects paths that leave the log directory.
fn log_name(bytes: &[u8]) -> Result<PathBuf, FileError> {
    let name = PathBuf::from(std::ffi::OsStr::from_bytes(bytes));
    let plain = name
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    if !plain || name.components().count() != 3 {
        return Err(damaged("a log in it has a name that no log has"));
    }
    Ok(name)
}

fn frame(input: &mut impl Read, hash: &mut Sha256) -> Result<(u8, Vec<u8>), FileError> {
    let mut start = [0; 5];
    take(input, hash, &mut start)?;
    let [kind, length @ ..] = start;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > FRAME_BYTES_MAX {
        return Err(damaged("a part of it is longer than any may be"));
    }
    let mut content = vec![0; length];
    take(input, hash, &mut content)?;
    Ok((kind, content))
}

fn take(input: &mut impl Read, hash: &mut Sha256, bytes: &mut [u8]) -> Result<(), FileError> {
    read(input, bytes)?;
    hash.update(bytes);
    Ok(())
}

fn read(input: &mut impl Read, bytes: &mut [u8]) -> Result<(), FileError> {
    input.read_exact(bytes).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => damaged("it ends too early"),
        _ => FileError::Io(error),
    })
}

/// Verifies a backup against its digest as it streams by, for input that cannot be read again.
#[derive(Default)]
pub struct BackupVerifier {
    hash: Sha256,
    /// The bytes that may be the digest.
    last: Vec<u8>,
}

impl BackupVerifier {
    pub fn pass(&mut self, bytes: &[u8]) {
        self.last.extend_from_slice(bytes);
        let before = self.last.len().saturating_sub(DIGEST_BYTES);
        self.hash.update(&self.last[..before]);
        self.last.drain(..before);
    }

    /// # Errors
    /// [`FileError::Damaged`]: the input is incomplete.
    pub fn close(self) -> Result<(), FileError> {
        if self.last == self.hash.finalize()[..] {
            Ok(())
        } else {
            Err(damaged("it ends too early"))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn header() -> Header {
        Header {
            format: FORMAT,
            tagship: "0.1.0".to_owned(),
            created_at: "2026-11-21T15:00:00Z".parse().unwrap(),
            revision: 7,
            logs: true,
        }
    }

    fn backup(header: &Header) -> Vec<u8> {
        let mut encoder = Encoder::default();
        encoder.header(header).unwrap();
        encoder.row(b"head/1", b"{}");
        encoder.row(b"long", &[7; 100_000]);
        encoder.log(Path::new("1/web1/switch.publish.1"));
        encoder.piece(b"published\n");
        let counts = BackupCounts { rows: 2, logs: 1 };
        encoder.end(&counts).unwrap();
        encoder.finish()
    }

    fn verify(bytes: &[u8]) -> Result<BackupCounts, FileError> {
        BackupReader::new(bytes)?.verify()
    }

    #[test]
    fn backup_file_roundtrips() {
        let bytes = backup(&header());
        let mut reader = BackupReader::new(&bytes[..]).unwrap();
        assert_eq!(*reader.header(), header());
        let mut items = Vec::new();
        while let Some(item) = reader.next_item().unwrap() {
            items.push(item);
        }
        let row = |key: &[u8], value: &[u8]| Item::Row {
            key: key.to_vec(),
            value: value.to_vec(),
        };
        let expected = [
            row(b"head/1", b"{}"),
            row(b"long", &[7; 100_000]),
            Item::Log("1/web1/switch.publish.1".into()),
            Item::Piece(b"published\n".to_vec()),
        ];
        assert_eq!(items, expected);
    }

    #[test]
    fn changed_byte_or_missing_end_is_detected() {
        let bytes = backup(&header());
        verify(&bytes).unwrap();
        for at in
            (0..bytes.len()).filter(|at| *at < 400 || at % 997 == 0 || *at + 200 > bytes.len())
        {
            let mut changed = bytes.clone();
            changed[at] ^= 0x20;
            assert!(verify(&changed).is_err(), "byte {at}");
            assert!(verify(&bytes[..at]).is_err(), "cut at {at}");
        }
        assert!(verify(&[&bytes[..], b"x"].concat()).is_err());
    }

    #[test]
    fn newer_backup_format_is_reported() {
        let newer = Header {
            format: FORMAT + 1,
            tagship: "9.0.0".to_owned(),
            ..header()
        };
        let error = verify(&backup(&newer)).unwrap_err();
        assert!(error.to_string().contains("with tagship 9.0.0"), "{error}");
    }

    #[test]
    fn log_name_cannot_escape_its_directory() {
        for name in ["../web1/x", "/etc/web1/x", "1/x", "1/web1/a/b", "1/../x"] {
            assert!(log_name(name.as_bytes()).is_err(), "{name}");
        }
    }

    #[test]
    fn a_seal_fits_only_a_whole_backup() {
        let bytes = backup(&header());
        for size in [1, 31, 33, 4096] {
            let mut seal = BackupVerifier::default();
            bytes.chunks(size).for_each(|piece| seal.pass(piece));
            seal.close().unwrap();
        }
        let mut seal = BackupVerifier::default();
        seal.pass(&bytes[..bytes.len() - 1]);
        assert!(seal.close().is_err());
        assert!(BackupVerifier::default().close().is_err());
    }
}
