//! A store that was made of a backup: the days after that backup are lost to it, not to the hosts.

use std::sync::atomic::Ordering;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::kv::Commit;
use super::{Store, StoreError, index};

/// Of which backup the store was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    pub at: Timestamp,
    /// When the backup was taken.
    pub backup: Timestamp,
    /// The revision that the backup showed.
    pub revision: u64,
    /// Lower ids may have been given out in the days that are lost.
    pub next_id: u64,
}

impl Store {
    /// Of which backup the store was made; `None` if it was not.
    ///
    /// # Errors
    /// [`StoreError::Kv`].
    pub async fn restored(&self) -> Result<Option<Restored>, StoreError> {
        let entry = self.kv.get(index::RESTORED).await?;
        Ok(entry.and_then(|entry| serde_json::from_slice(&entry.value).ok()))
    }

    /// Marks the store as made of a backup: ids and fences go on above those of the lost days.
    ///
    /// # Errors
    /// [`StoreError::Kv`], [`StoreError::Unknown`].
    pub async fn begin_again(&self, restored: &Restored) -> Result<(), StoreError> {
        self.next_fence(restored.at).await?;
        // Tags of the days that are lost were released, perhaps: none is by itself.
        self.unlooked().await?;
        let commit = Commit::new().put(index::RESTORED, index::json(restored));
        let written = self.kv.commit(commit).await;
        written.map_err(|error| index::error(0, error))?;
        self.next_id.fetch_max(restored.next_id, Ordering::SeqCst);
        Ok(())
    }

    /// The highest id that the store has given out; 0 where there is none.
    #[must_use]
    pub fn last_id(&self) -> u64 {
        self.next_id.load(Ordering::SeqCst).saturating_sub(1)
    }
}
