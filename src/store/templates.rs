//! Every version of a template that a task used: its text and scripts, by digest.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::kv::{Commit, CommitError, Require};
use super::{Store, StoreError, index, kv};
use crate::domain::template::StoredTemplate;

/// A version of a template, as listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsedVersion {
    pub digest: String,
    /// When it was first used in a plan.
    pub first_used: Timestamp,
    blob: String,
}

impl Store {
    /// Stores a version of a template with its scripts, each as a separate blob. Idempotent.
    /// Durable on return.
    ///
    /// # Errors
    /// [`StoreError::Kv`], [`StoreError::Unknown`].
    pub async fn put_template(
        &self,
        version: &StoredTemplate,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let key = index::template_key(&version.name, &version.digest);
        // A plan refers to the blobs of the scripts: they must exist, whatever was written before.
        for text in version.scripts.values() {
            self.put_blob(text.as_bytes()).await?;
        }
        if self.kv.get(&key).await?.is_some() {
            return Ok(());
        }
        let used = UsedVersion {
            digest: version.digest.clone(),
            first_used: now,
            blob: self.put_blob(&index::json(version)).await?,
        };
        let commit = Commit::new()
            .require(key.clone(), Require::Absent)
            .put(key, index::json(&used));
        match self.kv.commit(commit).await {
            Ok(_) | Err(CommitError::Conflict { .. }) => Ok(()),
            Err(error) => Err(index::error(0, error)),
        }
    }

    /// Returns the versions of a template that tasks used, newest first.
    ///
    /// # Errors
    /// [`StoreError::Kv`].
    pub async fn template_versions(&self, name: &str) -> Result<Vec<UsedVersion>, StoreError> {
        let rows = kv::all_rows(self.kv.as_ref(), &index::templates_prefix(name)).await?;
        let mut versions: Vec<UsedVersion> = rows
            .iter()
            .filter_map(|row| serde_json::from_slice(&row.value).ok())
            .collect();
        versions.sort_by_key(|version| std::cmp::Reverse(version.first_used));
        Ok(versions)
    }

    /// Returns one version of a template; `None` if no task used it.
    ///
    /// # Errors
    /// [`StoreError::NoBlob`], [`StoreError::Kv`].
    pub async fn template_version(
        &self,
        name: &str,
        digest: &str,
    ) -> Result<Option<StoredTemplate>, StoreError> {
        let Some(entry) = self.kv.get(&index::template_key(name, digest)).await? else {
            return Ok(None);
        };
        let unreadable = |error: serde_json::Error| {
            StoreError::NoBlob(format!(
                "readable version {digest} of template {name} ({error})"
            ))
        };
        let used: UsedVersion = serde_json::from_slice(&entry.value).map_err(unreadable)?;
        let bytes = self.blob(&used.blob).await?;
        serde_json::from_slice(&bytes).map(Some).map_err(unreadable)
    }
}
