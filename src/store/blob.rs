//! Values too large for one key (plans, descriptions), split into pieces and keyed by their digest.

use std::sync::{Arc, Weak};

use sha2::{Digest as _, Sha256};

use super::error::BLOB_BYTES_MAX;
use super::kv::{Commit, Require};
use super::{Store, StoreError, index, kv};
use crate::base::mutex::lock;
use crate::domain::plan::{Plan, PlanDigest};
use crate::domain::task::Task;

/// The size of a piece, in bytes.
const PIECE_BYTES: usize = 96 * 1024;

impl Store {
    /// Stores bytes under their SHA-256 and returns it. Durable on return; pieces of an interrupted
    /// write are completed by the next one.
    ///
    /// # Errors
    /// [`StoreError::TooLong`], [`StoreError::Kv`], [`StoreError::Unknown`].
    pub async fn put_blob(&self, bytes: &[u8]) -> Result<String, StoreError> {
        if bytes.len() > BLOB_BYTES_MAX {
            return Err(StoreError::TooLong(bytes.len()));
        }
        let digest: String = Sha256::digest(bytes)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        // The last piece is written last, together with the mark that the blob is complete.
        if self
            .kv
            .get(&index::blob_whole_key(&digest))
            .await?
            .is_some()
        {
            return Ok(digest);
        }
        for (number, piece) in bytes.chunks(PIECE_BYTES).enumerate() {
            let commit = Commit::new().put(index::blob_key(&digest, number), piece);
            self.kv
                .commit(commit)
                .await
                .map_err(|error| index::error(0, error))?;
        }
        let whole = Commit::new()
            .require(index::blob_whole_key(&digest), Require::Absent)
            .put(index::blob_whole_key(&digest), bytes.len().to_string());
        match self.kv.commit(whole).await {
            Ok(_) | Err(kv::CommitError::Conflict { .. }) => Ok(digest),
            Err(error) => Err(index::error(0, error)),
        }
    }

    /// Returns the bytes of a blob.
    ///
    /// # Errors
    /// [`StoreError::NoBlob`] if it is missing or incomplete.
    pub async fn blob(&self, digest: &str) -> Result<Vec<u8>, StoreError> {
        let missing = || StoreError::NoBlob(format!("blob {digest}"));
        let whole = self
            .kv
            .get(&index::blob_whole_key(digest))
            .await?
            .and_then(|entry| index::number(&entry.value))
            .ok_or_else(missing)?;
        let rows = kv::all_rows(self.kv.as_ref(), &index::blob_prefix(digest)).await?;
        let pieces: Vec<&[u8]> = rows.iter().map(|row| row.value.as_slice()).collect();
        let bytes = pieces.concat();
        if bytes.len() as u64 != whole {
            return Err(missing());
        }
        Ok(bytes)
    }

    /// Deletes a blob that nothing else refers to: its pieces and its mark in one commit.
    ///
    /// # Errors
    /// [`StoreError::Kv`], [`StoreError::Unknown`].
    pub(crate) async fn delete_blob(&self, digest: &str) -> Result<(), StoreError> {
        let rows = kv::all_rows(self.kv.as_ref(), &index::blob_prefix(digest)).await?;
        let whole = Commit::new().delete(index::blob_whole_key(digest));
        let commit = rows
            .into_iter()
            .fold(whole, |commit, row| commit.delete(row.key));
        self.write(commit).await
    }

    /// Stores a plan and returns the digest of its blob.
    ///
    /// # Errors
    /// As [`Store::put_blob`].
    pub async fn put_plan(&self, plan: &Plan) -> Result<PlanDigest, StoreError> {
        Ok(PlanDigest(self.put_blob(&plan.canonical()).await?))
    }

    /// Returns the plan with this digest. Concurrent users share one copy: each switch of a host
    /// needs the plan, and a plan of a thousand hosts is large.
    ///
    /// # Errors
    /// [`StoreError::NoBlob`].
    pub async fn plan(&self, digest: &PlanDigest) -> Result<Arc<Plan>, StoreError> {
        if let Some(plan) = lock(&self.plans).get(digest).and_then(Weak::upgrade) {
            return Ok(plan);
        }
        let bytes = self.blob(&digest.0).await?;
        let plan: Arc<Plan> = serde_json::from_slice(&bytes)
            .map(Arc::new)
            .map_err(|error| StoreError::NoBlob(format!("readable plan {digest} ({error})")))?;
        let mut known = lock(&self.plans);
        known.retain(|_, plan| plan.strong_count() > 0);
        known.insert(digest.clone(), Arc::downgrade(&plan));
        Ok(plan)
    }

    /// Returns the plan of a task, once it has landed.
    ///
    /// # Errors
    /// As [`Store::plan`].
    pub async fn plan_of(&self, task: &Task) -> Result<Option<Arc<Plan>>, StoreError> {
        match &task.landed {
            Some(landed) => Ok(Some(self.plan(&landed.terms.plan).await?)),
            None => Ok(None),
        }
    }
}
