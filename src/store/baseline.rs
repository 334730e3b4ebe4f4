//! The releases that a task is compared with: what is live, by tag and commit. Called by the
//! executor and by `request`.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{LiveRelease, Store, StoreError};
use crate::domain::task::{ComparedRelease, ComparedWith, RELATIONS_MAX, StateName};

impl Store {
    /// Returns the releases that are live on these hosts, the most common first. If it is unknown
    /// since when one is live, the previously known time is used, or else the current time.
    ///
    /// # Errors
    /// [`StoreError::Kv`], [`StoreError::Damaged`].
    pub async fn compared_releases(
        &self,
        (project, environment): (&str, &str),
        live: impl Iterator<Item = &LiveRelease>,
        known: &ComparedWith,
        now: Timestamp,
    ) -> Result<Vec<ComparedRelease>, StoreError> {
        let mut hosts: BTreeMap<&str, (&LiveRelease, usize)> = BTreeMap::new();
        for live in live {
            hosts.entry(&live.release.0).or_insert((live, 0)).1 += 1;
        }
        let mut hosts: Vec<(&LiveRelease, usize)> = hosts.into_values().collect();
        hosts.sort_by(|(one, its), (other, others)| {
            let order = others.cmp(its);
            order.then_with(|| other.release.cmp(&one.release))
        });
        hosts.truncate(RELATIONS_MAX);
        let mut releases = Vec::new();
        for (live, hosts) in hosts {
            let by = match self.release(project, environment, &live.release).await? {
                Some(made) => Some(self.head(made.task).await?),
                None => None,
            };
            let known = known.live.iter().find(|one| one.release == live.release);
            let succeeded = by
                .as_ref()
                .filter(|head| head.state == StateName::Succeeded);
            let since = known.and_then(|known| known.since);
            let since = live.since.or(since);
            let since = since.or_else(|| Some(succeeded?.updated_at));
            releases.push(ComparedRelease {
                release: live.release.clone(),
                task: live.switched_by,
                tag: by.map_or_else(String::new, |head| head.tag().to_owned()),
                commit: live.commit.clone(),
                since: Some(since.unwrap_or(now)),
                hosts,
            });
        }
        Ok(releases)
    }
}
