//! Delegations: a user lets another user approve on their behalf until a date, optionally for one
//! project only. `approval` decides what such an approval counts for.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Account, AccountError, Accounts, Committed, DELEGATIONS, Status, decode, encode, key};
use crate::base::secret;
use crate::store::kv::{Commit, Require, all_rows};

/// The maximum number of delegations to one account: each of its requests reads them.
const DELEGATIONS_MAX: usize = 40;

/// One delegation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delegation {
    /// Unique among all delegations.
    pub id: String,
    pub from: String,
    pub to: String,
    /// When it expires.
    pub until: Timestamp,
    /// Only for this project; `None`: all projects that `from` may approve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    pub created: Timestamp,
    /// Who created it: `from`, or an admin.
    pub by: String,
    /// The uids of both accounts, in case their names are reused.
    from_uid: String,
    to_uid: String,
}

/// The fields of a new delegation.
#[derive(Clone, Debug)]
pub struct NewDelegation {
    pub from: String,
    pub to: String,
    pub until: Timestamp,
    pub project: Option<String>,
    pub by: String,
}

impl Accounts {
    /// Lets `to` approve on behalf of `from`.
    ///
    /// # Errors
    /// [`AccountError`]: an account does not exist, the end has passed, or there are too many.
    pub async fn delegate(
        &self,
        new: NewDelegation,
        writes: Commit,
    ) -> Result<Delegation, AccountError> {
        let now = self.clock.now();
        if new.from == new.to {
            return Err(AccountError::ToOneself);
        }
        if new.until <= now {
            return Err(AccountError::Past("the end of the delegation"));
        }
        for _ in 0..super::ATTEMPTS_MAX {
            let (from, from_version) = self.record(&new.from).await?;
            let (to, to_version) = self.record(&new.to).await?;
            let present = self.stored_to(&new.to).await?;
            let active = present.iter().filter(|one| now < one.until);
            if active.count() >= DELEGATIONS_MAX {
                return Err(AccountError::TooManyDelegations(new.to));
            }
            let delegation = Delegation {
                id: secret::hex(&secret::random_bytes::<4>()?),
                from: new.from.clone(),
                to: new.to.clone(),
                until: new.until,
                project: new.project.clone(),
                created: now,
                by: new.by.clone(),
                from_uid: from.account.uid,
                to_uid: to.account.uid,
            };
            let stored = stored_key(&delegation.to, &delegation.id);
            // Expired ones are removed to make room.
            let over = present.iter().filter(|one| one.until <= now);
            let commit = over.fold(Commit::new(), |commit, one| {
                commit.delete(stored_key(&one.to, &one.id))
            });
            let commit = commit
                .require(key(&new.from), Require::Version(from_version))
                .require(key(&new.to), Require::Version(to_version))
                .require(stored.clone(), Require::Absent)
                .put(stored, encode(&new.to, &delegation)?);
            match self.commit(&new.to, commit.and(writes.clone())).await? {
                Committed::Done => return Ok(delegation),
                Committed::Conflict => {}
            }
        }
        Err(AccountError::Overtaken)
    }

    /// Returns the delegations that have not expired, sorted by their end.
    ///
    /// # Errors
    /// [`AccountError::Store`] or [`AccountError::Damaged`].
    pub async fn delegations(&self) -> Result<Vec<Delegation>, AccountError> {
        let now = self.clock.now();
        let accounts = self.list().await?;
        let is = |name: &str, uid: &str| {
            let mut accounts = accounts.iter();
            accounts.any(|account| account.name == name && account.uid == uid)
        };
        let mut all = self.stored(DELEGATIONS).await?;
        all.retain(|one| {
            now < one.until && is(&one.from, &one.from_uid) && is(&one.to, &one.to_uid)
        });
        all.sort_by(|left, right| (left.until, &left.id).cmp(&(right.until, &right.id)));
        Ok(all)
    }

    /// Returns for whom an account may approve now, each with the delegation that allows it.
    ///
    /// # Errors
    /// As [`Accounts::delegations`].
    pub async fn delegated_to(
        &self,
        to: &Account,
    ) -> Result<Vec<(Delegation, Account)>, AccountError> {
        let now = self.clock.now();
        let mut found = Vec::new();
        for delegation in self.stored_to(&to.name).await? {
            if delegation.until <= now || delegation.to_uid != to.uid {
                continue;
            }
            match self.get(&delegation.from).await {
                Ok(from) if from.uid == delegation.from_uid && from.status == Status::Active => {
                    found.push((delegation, from));
                }
                Ok(_) | Err(AccountError::NoSuchAccount(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// Ends a delegation of `from` at once.
    ///
    /// # Errors
    /// [`AccountError::NoSuchDelegation`].
    pub async fn end_delegation(
        &self,
        from: &str,
        id: &str,
        writes: Commit,
    ) -> Result<(), AccountError> {
        let missing = || {
            let id = id.escape_debug().take(40).collect();
            AccountError::NoSuchDelegation(id, from.to_owned())
        };
        let all = self.stored(DELEGATIONS).await?;
        let found = all.iter().find(|one| one.id == id && one.from == from);
        let found = found.ok_or_else(missing)?;
        let commit = Commit::new().delete(stored_key(&found.to, &found.id));
        match self.commit(from, commit.and(writes)).await? {
            Committed::Done => Ok(()),
            Committed::Conflict => Err(missing()),
        }
    }

    async fn stored_to(&self, to: &str) -> Result<Vec<Delegation>, AccountError> {
        self.stored(&stored_key(to, "")).await
    }

    async fn stored(&self, prefix: &str) -> Result<Vec<Delegation>, AccountError> {
        let rows = all_rows(&*self.kv, prefix.as_bytes()).await?;
        rows.iter()
            .map(|row| decode("a delegation", &row.value))
            .collect()
    }
}

fn stored_key(to: &str, id: &str) -> String {
    format!("{DELEGATIONS}{to}/{id}")
}

#[cfg(test)]
mod tests;
