//! Changes to existing accounts, including removal. One account that can manage the others always
//! remains: the last active admin can be neither demoted nor disabled nor removed.

use std::collections::BTreeSet;

use super::{
    ACCOUNTS, ATTEMPTS_MAX, Account, AccountError, AccountRecord, Accounts, Committed, Role,
    Status, check_display, check_groups, decode, encode, key,
};
use crate::base::language::Language;
use crate::store::kv::{Commit, Require, all_rows};

/// The changes to an account; `None` keeps a value.
#[derive(Clone, Debug, Default)]
pub struct AccountChange {
    pub display: Option<String>,
    pub role: Option<Role>,
    pub groups: Option<BTreeSet<String>>,
    pub status: Option<Status>,
    pub language: Option<Language>,
}

impl AccountChange {
    fn check(&self) -> Result<(), AccountError> {
        if let Some(display) = &self.display {
            check_display(display)?;
        }
        self.groups.as_ref().map_or(Ok(()), check_groups)
    }

    fn apply_to(&self, account: &mut Account) {
        if let Some(display) = &self.display {
            account.display.clone_from(display);
        }
        account.role = self.role.unwrap_or(account.role);
        if let Some(groups) = &self.groups {
            account.groups.clone_from(groups);
        }
        account.language = self.language.or(account.language);
        let status = self.status.unwrap_or(account.status);
        if status != account.status {
            account.status = status;
            account.epoch += 1;
        }
    }
}

impl Accounts {
    /// # Errors
    /// [`AccountError`]: there is no such account, the new values are refused, or no active admin
    /// would remain.
    pub async fn update(
        &self,
        name: &str,
        change: AccountChange,
        writes: Commit,
    ) -> Result<Account, AccountError> {
        change.check()?;
        for _ in 0..ATTEMPTS_MAX {
            let (mut record, version) = self.record(name).await?;
            let before = record.account.clone();
            change.apply_to(&mut record.account);
            let mut commit = Commit::new().require(key(name), Require::Version(version));
            if is_active_admin(&before) && !is_active_admin(&record.account) {
                commit = commit.and(self.requires_another_admin(name).await?);
            }
            let commit = commit.put(key(name), encode(name, &record)?);
            match self.commit(name, commit.and(writes.clone())).await? {
                Committed::Done => return Ok(record.account),
                Committed::Conflict => {}
            }
        }
        Err(AccountError::Overtaken)
    }

    /// Removes the account with its tokens; its sessions become invalid.
    ///
    /// # Errors
    /// [`AccountError`]: there is no such account, or no active admin would remain.
    pub async fn remove(&self, name: &str, writes: Commit) -> Result<(), AccountError> {
        for _ in 0..ATTEMPTS_MAX {
            let (record, version) = self.record(name).await?;
            let mut commit = Commit::new().require(key(name), Require::Version(version));
            if is_active_admin(&record.account) {
                commit = commit.and(self.requires_another_admin(name).await?);
            }
            let commit = commit
                .delete(key(name))
                .and(self.token_removals(name).await?);
            match self.commit(name, commit.and(writes.clone())).await? {
                Committed::Done => return Ok(()),
                Committed::Conflict => {}
            }
        }
        Err(AccountError::Overtaken)
    }

    /// Returns the condition that another admin is unchanged: of two admins who demote each other
    /// at the same time, only one succeeds.
    async fn requires_another_admin(&self, name: &str) -> Result<Commit, AccountError> {
        for row in all_rows(&*self.kv, ACCOUNTS.as_bytes()).await? {
            let of = String::from_utf8_lossy(&row.key[ACCOUNTS.len()..]);
            let account = decode::<AccountRecord>(&of, &row.value)?.account;
            if account.name != name && is_active_admin(&account) {
                let still = Require::Version(row.version);
                return Ok(Commit::new().require(key(&account.name), still));
            }
        }
        Err(AccountError::LastAdmin(name.to_owned()))
    }
}

fn is_active_admin(account: &Account) -> bool {
    account.role == Role::Admin && account.status == Status::Active
}

#[cfg(test)]
mod tests;
