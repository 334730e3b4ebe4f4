//! What was read for the board, so that a reader of an unchanged store costs nothing.

use std::collections::BTreeMap;

use super::board::{CommitFacts, TaskFacts};
use crate::api::BoardEnvironment;
use crate::domain::task::Task;
use crate::store::Head;
use crate::store::kv::Revision;

/// What was read for the board.
#[derive(Default)]
pub(super) struct BoardCache(pub(super) tokio::sync::Mutex<Known>);

/// What one revision of the store shows.
#[derive(Default)]
pub(super) struct Known {
    /// The state of the store that `active` and `places` show.
    pub(super) revision: Option<Revision>,
    /// The heads of unfinished tasks, oldest first.
    pub(super) active: Vec<Head>,
    pub(super) left_out: u64,
    pub(super) environments: Vec<BoardEnvironment>,
    pub(super) unfinished: BTreeMap<u64, UnfinishedTask>,
    pub(super) ended: BTreeMap<u64, TaskFacts>,
}

/// A task that has not ended, by its events so far.
pub(super) struct UnfinishedTask {
    pub(super) task: Task,
    /// The blob that describes its commit.
    pub(super) description: String,
    pub(super) commit: CommitFacts,
    pub(super) facts: TaskFacts,
}
