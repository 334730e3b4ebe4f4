//! Reads contents of a mirror in sequence from `git cat-file --batch`.
//!
//! They are streamed through a small buffer and verified against their object ids. (libgit2 would
//! read every blob, and its delta bases, into memory in full.)

use std::io::{self, BufRead, Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use sha1::{Digest, Sha1};

use crate::git::landing::program::{GitCommand, on_mirror};

/// Returns the query for these objects, in the order of reading.
pub(super) fn input<'i>(ids: impl Iterator<Item = &'i str>) -> Vec<u8> {
    let mut input = Vec::new();
    for id in ids {
        input.extend_from_slice(id.as_bytes());
        input.push(b'\n');
    }
    input
}

pub(super) fn command(mirror: &Path, memory_bytes: u64) -> GitCommand {
    let mut git = on_mirror(mirror, memory_bytes);
    // Above this size git itself streams objects that are not deltas.
    git.args(["-c", "core.bigFileThreshold=1m"])
        .args(["cat-file", "--batch", "--buffer"]);
    git
}

/// Why a content was not copied.
pub(super) enum NoBlob {
    /// It does not exist, has another type or size, or is damaged.
    Missing,
    Read(io::Error),
    Write(io::Error),
}

/// Reads the next content and writes it to `out`.
pub(super) fn copy(
    pipe: &mut impl BufRead,
    id: &str,
    size: u64,
    out: &mut impl Write,
) -> Result<(), NoBlob> {
    let early = || NoBlob::Read(io::ErrorKind::UnexpectedEof.into());
    let mut head = String::new();
    // No valid answer is longer.
    let line = pipe.by_ref().take(200).read_line(&mut head);
    if line.map_err(NoBlob::Read)? == 0 {
        return Err(early());
    }
    if head != format!("{id} blob {size}\n") {
        return Err(NoBlob::Missing);
    }
    let (read, sum) = hash(
        &mut pipe.by_ref().take(size),
        size,
        out,
        &AtomicBool::new(false),
    )?;
    if read < size {
        return Err(early());
    }
    if sum != id {
        return Err(NoBlob::Missing);
    }
    pipe.read_exact(&mut [0]).map_err(NoBlob::Read)
}

/// Reads all of `content`, expected to have `size` bytes, and writes it to `out`. Returns its size,
/// and its object id if the size matches. Ends early when `stop` is set.
pub(super) fn hash(
    content: &mut impl Read,
    size: u64,
    out: &mut impl Write,
    stop: &AtomicBool,
) -> Result<(u64, String), NoBlob> {
    let mut sum = Sha1::new();
    sum.update(format!("blob {size}\0"));
    let mut buffer = vec![0; 64 * 1024];
    let mut total: u64 = 0;
    loop {
        if stop.load(Ordering::Relaxed) {
            return Err(NoBlob::Read(io::Error::other("stopped")));
        }
        let count = content.read(&mut buffer).map_err(NoBlob::Read)?;
        if count == 0 {
            let id = sum.finalize();
            return Ok((total, id.iter().map(|byte| format!("{byte:02x}")).collect()));
        }
        sum.update(&buffer[..count]);
        out.write_all(&buffer[..count]).map_err(NoBlob::Write)?;
        total += count as u64;
    }
}
