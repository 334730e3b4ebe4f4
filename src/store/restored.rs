//! A store restored from a backup: later changes are missing in it, but not on the hosts.

use std::sync::atomic::Ordering;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::kv::Commit;
use super::{Store, StoreError, index};

/// The backup that the store was restored from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreOrigin {
    pub at: Timestamp,
    /// When the backup was taken.
    pub backup: Timestamp,
    /// The store revision that the backup showed.
    pub revision: u64,
    /// Lower ids may have been allocated after the backup.
    pub next_id: u64,
}

impl Store {
    /// Returns the backup that the store was restored from; `None` if it was not.
    ///
    /// # Errors
    /// [`StoreError::Kv`].
    pub async fn restored(&self) -> Result<Option<RestoreOrigin>, StoreError> {
        self.value(index::RESTORED).await
    }

    /// Marks the store as restored: ids and fences continue above those used after the backup.
    ///
    /// # Errors
    /// [`StoreError::Kv`], [`StoreError::Unknown`].
    pub async fn reset_after_restore(&self, restored: &RestoreOrigin) -> Result<(), StoreError> {
        self.next_fence(restored.at).await?;
        // Tags of that period may have been released: none is released automatically.
        self.delete_scans().await?;
        let commit = Commit::new().put(index::RESTORED, index::json(restored));
        let written = self.kv.commit(commit).await;
        written.map_err(|error| index::error(0, error))?;
        self.next_id.fetch_max(restored.next_id, Ordering::SeqCst);
        Ok(())
    }

    /// Returns the highest id allocated by the store; 0 without any.
    #[must_use]
    pub fn last_id(&self) -> u64 {
        self.next_id.load(Ordering::SeqCst).saturating_sub(1)
    }
}
