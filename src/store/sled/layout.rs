//! The encoding of rows in the engine's one ordered map: bytes in, bytes out.
//!
//! | key | value |
//! |---|---|
//! | `0 "format"` | the layout's number, 4 bytes |
//! | `0 "tip"` | the last revision, the number of rows, the sum of their digests, 8 bytes each |
//! | `1 KEY` | pieces (2 bytes), version (8 bytes), then the value if it has no pieces |
//! | `2 LENGTH-OF-KEY KEY NUMBER` | one piece of a long value (length and number 2 bytes each) |
//!
//! Numbers are big-endian.

use std::ops::Bound;

use sha2::{Digest, Sha256};

use crate::store::kv::{Key, KeyVersion, Revision};

/// The layout version that this code writes. A store with a higher one is refused.
pub(super) const FORMAT: u32 = 1;

pub(super) const FORMAT_KEY: &[u8] = b"\0format";
pub(super) const TIP_KEY: &[u8] = b"\0tip";
const ROW: u8 = 1;
const PIECE: u8 = 2;

/// The longest value stored inline, and the length of a piece of a longer one. A page holds at most
/// about 20 of them, well below the 128 KiB of a blob.
pub(super) const INLINE_BYTES_MAX: usize = 4096;

/// A row without its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StoredRow {
    pub(super) version: KeyVersion,
    /// How many pieces hold its value; 0 if it is inline.
    pub(super) pieces: u16,
}

pub(super) fn row_key(key: &[u8]) -> Vec<u8> {
    [&[ROW], key].concat()
}

/// Returns the caller's key from the key of a row.
pub(super) fn key_of_row(row_key: &[u8]) -> Key {
    row_key[1..].to_vec()
}

/// Returns the row bounds for two keys of the caller.
pub(super) fn row_bounds((lower, upper): (Bound<Key>, Bound<Key>)) -> (Bound<Key>, Bound<Key>) {
    let of = |bound: Bound<Key>, beyond: Bound<Key>| match bound {
        Bound::Included(key) => Bound::Included(row_key(&key)),
        Bound::Excluded(key) => Bound::Excluded(row_key(&key)),
        Bound::Unbounded => beyond,
    };
    (
        of(lower, Bound::Included(vec![ROW])),
        of(upper, Bound::Excluded(vec![PIECE])),
    )
}

pub(super) fn piece_key(key: &[u8], number: u16) -> Vec<u8> {
    // Keys are at most `KEY_BYTES_MAX` long.
    let length = u16::try_from(key.len()).unwrap_or(u16::MAX).to_be_bytes();
    [&[PIECE], &length[..], key, &number.to_be_bytes()].concat()
}

/// Sorts before every piece and after every row.
pub(super) fn pieces_from() -> [u8; 1] {
    [PIECE]
}

pub(super) fn encode_row(stored: StoredRow, inline: &[u8]) -> Vec<u8> {
    let pieces = stored.pieces.to_be_bytes();
    let version = stored.version.0.to_be_bytes();
    [&pieces[..], &version, inline].concat()
}

/// Decodes a row and returns the rest: its value, unless in pieces. `None` if it is not a row.
pub(super) fn decode_row(row: &[u8]) -> Option<(StoredRow, &[u8])> {
    let (pieces, rest) = row.split_first_chunk()?;
    let (version, inline) = rest.split_first_chunk()?;
    let stored = StoredRow {
        pieces: u16::from_be_bytes(*pieces),
        version: KeyVersion(u64::from_be_bytes(*version)),
    };
    Some((stored, inline))
}

/// The store's current position; written with each group of commits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct StoreTip {
    pub(super) revision: Revision,
    pub(super) census: Census,
}

impl StoreTip {
    pub(super) fn encode(self) -> Vec<u8> {
        let numbers = [self.revision.0, self.census.rows, self.census.sum];
        numbers.map(u64::to_be_bytes).concat()
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (numbers, rest) = bytes.as_chunks();
        let [revision, rows, sum] = *numbers else {
            return None;
        };
        rest.is_empty().then(|| Self {
            revision: Revision(u64::from_be_bytes(revision)),
            census: Census {
                rows: u64::from_be_bytes(rows),
                sum: u64::from_be_bytes(sum),
            },
        })
    }
}

/// Two order-independent sums over all keys and versions. They detect pages that were lost by
/// damage; they do not protect against malice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Census {
    pub(super) rows: u64,
    sum: u64,
}

impl Census {
    pub(super) fn add(&mut self, key: &[u8], version: KeyVersion) {
        self.rows = self.rows.wrapping_add(1);
        self.sum = self.sum.wrapping_add(digest(key, version));
    }

    pub(super) fn remove(&mut self, key: &[u8], version: KeyVersion) {
        self.rows = self.rows.wrapping_sub(1);
        self.sum = self.sum.wrapping_sub(digest(key, version));
    }
}

fn digest(key: &[u8], version: KeyVersion) -> u64 {
    let digest = Sha256::new()
        .chain_update(key)
        .chain_update(version.0.to_be_bytes())
        .finalize();
    digest
        .first_chunk()
        .map_or(0, |first| u64::from_be_bytes(*first))
}
