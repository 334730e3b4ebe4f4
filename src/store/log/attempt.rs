//! The output of one attempt on disk: its beginning in one file, its end in pieces beside it, each
//! named by the offset of its first byte. The oldest pieces are deleted, so that an attempt takes
//! bounded space, and offsets stay those of the whole output.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::domain::host::OUTPUT_KEPT_BYTES;

/// The maximum size of a tail piece; output may exceed [`OUTPUT_KEPT_BYTES`] by this much.
const PIECE_BYTES: u64 = 1024 * 1024;

/// A piece of the tail.
#[derive(Clone, Copy, Debug)]
struct TailPiece {
    start: u64,
    length: u64,
}

impl TailPiece {
    fn end(self) -> u64 {
        self.start + self.length
    }
}

/// The result of reading from an offset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Read {
    /// How many bytes from the offset on are no longer kept; the bytes read follow them.
    pub missing: u64,
    pub bytes: Vec<u8>,
}

fn tail_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".tail");
    PathBuf::from(name)
}

fn piece_file(tail: &Path, start: u64) -> PathBuf {
    tail.join(start.to_string())
}

/// Returns the pieces of the tail, in order.
fn pieces(tail: &Path) -> io::Result<Vec<TailPiece>> {
    let mut pieces = Vec::new();
    let entries = match fs::read_dir(tail) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(pieces),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let start = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        // Otherwise it was deleted meanwhile, or is not ours.
        if let (Some(start), Ok(metadata)) = (start, entry.metadata()) {
            pieces.push(TailPiece {
                start,
                length: metadata.len(),
            });
        }
    }
    pieces.sort_by_key(|piece| piece.start);
    Ok(pieces)
}

/// Returns the length of an output; 0 if it does not exist.
pub(super) fn length(path: &Path) -> io::Result<u64> {
    let head = match fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error),
    };
    // Only a full head has a tail.
    if head < OUTPUT_KEPT_BYTES {
        return Ok(head);
    }
    let pieces = pieces(&tail_of(path))?;
    Ok(pieces.last().map_or(head, |last| last.end()))
}

/// Reads at most `limit` bytes from an offset, or from the next offset that is kept.
pub(super) fn read(path: &Path, offset: u64, limit: u64) -> io::Result<Read> {
    let tail = tail_of(path);
    loop {
        let pieces = pieces(&tail)?;
        let beginning = match pieces.first() {
            Some(_) => OUTPUT_KEPT_BYTES,
            // Includes output written when more of it was kept.
            None => u64::MAX,
        };
        if offset < beginning {
            let bytes = read_file(path, offset, limit.min(beginning - offset))?;
            return Ok(Read {
                missing: 0,
                bytes: bytes.unwrap_or_default(),
            });
        }
        let Some(piece) = pieces.iter().find(|piece| piece.end() > offset) else {
            return Ok(Read::default());
        };
        let from = offset.max(piece.start);
        let file = piece_file(&tail, piece.start);
        // A piece may be deleted at any time; then a later one exists.
        if let Some(bytes) = read_file(&file, from - piece.start, limit.min(piece.end() - from))? {
            let missing = from - offset;
            return Ok(Read { missing, bytes });
        }
    }
}

/// Reads a file; `None` if it does not exist.
fn read_file(path: &Path, offset: u64, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// Writes one output; its files are created with the first byte.
pub(super) struct LogWriter {
    path: PathBuf,
    beginning: Option<File>,
    end: Option<TailWriter>,
}

/// The tail of an output being written.
struct TailWriter {
    directory: PathBuf,
    pieces: Vec<TailPiece>,
    open: Option<(u64, File)>,
}

impl LogWriter {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            beginning: None,
            end: None,
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes bytes of the output at an offset. The same bytes may be written again, also if they
    /// are no longer kept.
    pub(super) fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let in_beginning = OUTPUT_KEPT_BYTES.saturating_sub(offset);
        let (beginning, end) = bytes.split_at(take(in_beginning, bytes));
        if !beginning.is_empty() {
            let file = match &mut self.beginning {
                Some(file) => file,
                none => none.insert(open(&self.path)?),
            };
            file.write_all_at(beginning, offset)?;
        }
        if end.is_empty() {
            return Ok(());
        }
        let tail = match &mut self.end {
            Some(tail) => tail,
            none => none.insert(TailWriter::of(tail_of(&self.path))?),
        };
        tail.write_at(offset + beginning.len() as u64, end)
    }
}

impl TailWriter {
    fn of(directory: PathBuf) -> io::Result<Self> {
        Ok(Self {
            pieces: pieces(&directory)?,
            directory,
            open: None,
        })
    }

    fn write_at(&mut self, mut offset: u64, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let next = self.pieces.iter().position(|piece| piece.end() > offset);
            let count = match next.map(|at| self.pieces[at]) {
                // Already present: written again, or no longer kept.
                Some(piece) if piece.start <= offset => {
                    let count = take(piece.end() - offset, bytes);
                    self.write(piece.start, offset, &bytes[..count])?;
                    count
                }
                Some(piece) => take(piece.start - offset, bytes),
                None => self.append(offset, bytes)?,
            };
            offset += count as u64;
            bytes = &bytes[count..];
        }
        Ok(())
    }

    /// Appends after the last piece; returns how many bytes were written.
    fn append(&mut self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        let continues = |last: &TailPiece| last.end() == offset && last.length < PIECE_BYTES;
        if !self.pieces.last().is_some_and(continues) {
            self.pieces.push(TailPiece {
                start: offset,
                length: 0,
            });
        }
        let Some(last) = self.pieces.last().copied() else {
            return Ok(bytes.len());
        };
        let count = take(PIECE_BYTES - last.length, bytes);
        self.write(last.start, offset, &bytes[..count])?;
        if let Some(last) = self.pieces.last_mut() {
            last.length += count as u64;
        }
        self.forget_oldest()?;
        Ok(count)
    }

    fn write(&mut self, start: u64, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let file = match &mut self.open {
            Some((of, file)) if *of == start => file,
            other => {
                let file = open(&piece_file(&self.directory, start))?;
                &mut other.insert((start, file)).1
            }
        };
        file.write_all_at(bytes, offset - start)
    }

    /// Deletes the oldest pieces as long as enough remains.
    fn forget_oldest(&mut self) -> io::Result<()> {
        loop {
            let rest = self.pieces.iter().skip(1).map(|piece| piece.length);
            if rest.sum::<u64>() < OUTPUT_KEPT_BYTES {
                return Ok(());
            }
            let oldest = self.pieces.remove(0);
            fs::remove_file(piece_file(&self.directory, oldest.start))?;
        }
    }
}

fn take(most: u64, bytes: &[u8]) -> usize {
    usize::try_from(most).map_or(bytes.len(), |most| most.min(bytes.len()))
}

fn open(path: &Path) -> io::Result<File> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const STEP: u64 = 1 << 16;

    /// Each block of an output has its number in it.
    fn block(number: u64) -> Vec<u8> {
        number
            .to_be_bytes()
            .repeat(usize::try_from(STEP / 8).unwrap())
    }

    /// The bytes from an offset to the end, and how many are missing in between.
    fn whole(path: &Path, mut offset: u64) -> (Vec<u8>, u64) {
        let (mut all, mut missing) = (Vec::new(), 0);
        loop {
            let read = read(path, offset, 100_000).unwrap();
            offset += read.missing + read.bytes.len() as u64;
            missing += read.missing;
            if read.bytes.is_empty() {
                assert_eq!(offset, length(path).unwrap());
                return (all, missing);
            }
            all.extend(read.bytes);
        }
    }

    fn on_disk(path: &Path) -> u64 {
        let tail = pieces(&tail_of(path)).unwrap();
        let tail: u64 = tail.iter().map(|piece| piece.length).sum();
        fs::metadata(path).unwrap().len() + tail
    }

    #[test]
    fn head_and_tail_are_kept_and_the_gap_is_counted() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run.1");
        let mut writer = LogWriter::new(path.clone());
        for number in 0..1_000 {
            writer.write_at(number * STEP, &block(number)).unwrap();
            let printed = (number + 1) * STEP;
            assert_eq!(length(&path).unwrap(), printed);
            assert!(on_disk(&path) <= 2 * OUTPUT_KEPT_BYTES + PIECE_BYTES);
        }
        let (bytes, missing) = whole(&path, 0);
        assert_eq!(bytes.len() as u64 + missing, 1_000 * STEP);
        let kept = usize::try_from(OUTPUT_KEPT_BYTES).unwrap();
        let blocks = |numbers: std::ops::Range<u64>| numbers.flat_map(block).collect::<Vec<u8>>();
        let each = OUTPUT_KEPT_BYTES / STEP;
        assert!(bytes[..kept] == blocks(0..each));
        assert!(bytes[bytes.len() - kept..] == blocks(1_000 - each..1_000));
        // From within the cut, from the end, and after it.
        let (bytes, missing) = whole(&path, 500 * STEP);
        assert!(missing > 0 && bytes.len() as u64 + missing == 500 * STEP);
        assert_eq!(read(&path, 1_000 * STEP, 9).unwrap(), Read::default());
    }

    #[test]
    fn rewritten_output_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run.1");
        let mut writer = LogWriter::new(path.clone());
        (0..600).for_each(|number| writer.write_at(number * STEP, &block(number)).unwrap());
        let before = whole(&path, 0);
        // By another agent, after a crash, with a part that the host has not kept.
        let mut writer = LogWriter::new(path.clone());
        for number in (0..130).chain(400..600) {
            writer.write_at(number * STEP, &block(number)).unwrap();
        }
        assert!(whole(&path, 0) == before);
        // A part that is not stored.
        writer.write_at(900 * STEP, &block(900)).unwrap();
        let (bytes, missing) = whole(&path, 0);
        assert_eq!(bytes.len() as u64 + missing, 901 * STEP);
        assert!(bytes.ends_with(&block(900)) && missing > before.1);
        assert!(!bytes.windows(64).any(|window| window == [0; 64]) || bytes.starts_with(&[0; 64]));
    }

    #[test]
    fn output_without_a_cut_is_read_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run.1");
        assert_eq!((length(&path).unwrap(), whole(&path, 0)), (0, (vec![], 0)));
        let mut writer = LogWriter::new(path.clone());
        let long = vec![7; usize::try_from(2 * OUTPUT_KEPT_BYTES).unwrap()];
        writer.write_at(0, &long).unwrap();
        assert!(whole(&path, 0) == (long, 0));
        // A single file, as earlier versions wrote it.
        let old = directory.path().join("old.1");
        fs::write(
            &old,
            vec![9; usize::try_from(2 * OUTPUT_KEPT_BYTES).unwrap()],
        )
        .unwrap();
        assert_eq!(whole(&old, 0).0.len() as u64, 2 * OUTPUT_KEPT_BYTES);
    }
}
