//! Why the store failed.

use super::kv::{CommitError, KvError};
use crate::domain::task::IllegalTransition;

/// The maximum size of a blob, in bytes: enough for a plan of about ten thousand hosts.
pub const BLOB_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Why a store operation failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error(
        "the store has layout {found}, this program knows layouts up to {known}: start the newer \
         tagship that wrote it, or restore a backup of before the upgrade into another directory"
    )]
    TooNew { found: u32, known: u32 },
    #[error("there is no task {0}")]
    NoTask(u64),
    #[error("the hook log has no entry {0}; see `tagship hooks`")]
    NoHook(u64),
    /// The entry was written concurrently: read it again.
    #[error("the entry of the hook log has changed meanwhile; look at it again")]
    HooksChanged,
    #[error(
        "entry {id} of the hook log cannot be read: {message}; restore the store from a backup"
    )]
    DamagedHook { id: u64, message: String },
    /// Another event was appended first: read the task again and decide based on that.
    #[error("task {0} has changed meanwhile; look at it again")]
    Changed(u64),
    #[error("no fence is left: this machine's clock is centuries ahead, set it right")]
    FencesUsedUp,
    #[error("another task of {0} is running; wait for its end, or stop it")]
    QueueHeld(String),
    #[error("the push of task {0} has another unfinished task; finish or withdraw that one")]
    SamePush(u64),
    /// The change may have been applied: read the task again.
    #[error("the store did not confirm the change of task {id}: {message}")]
    Unknown { id: u64, message: String },
    #[error(transparent)]
    Illegal(#[from] IllegalTransition),
    #[error("task {id}: event {number} cannot be read: {message}; restore the store from a backup")]
    Damaged {
        id: u64,
        number: u64,
        message: String,
    },
    /// Nothing was stored, and retrying cannot succeed.
    #[error("a plan or description of {0} bytes is too long, at most {BLOB_BYTES_MAX} are kept")]
    TooLong(usize),
    #[error("the store holds no {0}; restore it from a backup")]
    NoBlob(String),
    #[error(transparent)]
    Kv(#[from] KvError),
    #[error(transparent)]
    Commit(CommitError),
}
