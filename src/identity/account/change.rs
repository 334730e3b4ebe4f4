//! What becomes different about accounts that are there, up to their end. Somebody who manages the
//! others always stays: the last admin who is let in is neither demoted nor disabled nor removed.

use std::collections::BTreeSet;

use super::{
    ACCOUNTS, ATTEMPTS_MAX, Account, AccountError, AccountRecord, Accounts, Committed, Role,
    Status, check_display, check_groups, decode, encode, key,
};
use crate::store::kv::{Commit, Require, all_rows};

/// What is to become different about an account; `None` stays as it is.
#[derive(Clone, Debug, Default)]
pub struct AccountChange {
    pub display: Option<String>,
    pub role: Option<Role>,
    pub groups: Option<BTreeSet<String>>,
    pub status: Option<Status>,
}

impl AccountChange {
    fn check(&self) -> Result<(), AccountError> {
        if let Some(display) = &self.display {
            check_display(display)?;
        }
        self.groups.as_ref().map_or(Ok(()), check_groups)
    }

    fn make(&self, account: &mut Account) {
        if let Some(display) = &self.display {
            account.display.clone_from(display);
        }
        account.role = self.role.unwrap_or(account.role);
        if let Some(groups) = &self.groups {
            account.groups.clone_from(groups);
        }
        let status = self.status.unwrap_or(account.status);
        if status != account.status {
            account.status = status;
            account.epoch += 1;
        }
    }
}

impl Accounts {
    /// # Errors
    /// [`AccountError`]: there is no such account, the new values are refused, or nobody would be
    /// left to manage the others.
    pub async fn update(
        &self,
        name: &str,
        change: AccountChange,
        also: Commit,
    ) -> Result<Account, AccountError> {
        change.check()?;
        for _ in 0..ATTEMPTS_MAX {
            let (mut record, version) = self.record(name).await?;
            let before = record.account.clone();
            change.make(&mut record.account);
            let mut commit = Commit::new().require(key(name), Require::Version(version));
            if manages(&before) && !manages(&record.account) {
                commit = commit.and(self.while_another_manages(name).await?);
            }
            let commit = commit.put(key(name), encode(name, &record)?);
            match self.commit(name, commit.and(also.clone())).await? {
                Committed::Done => return Ok(record.account),
                Committed::Conflict => {}
            }
        }
        Err(AccountError::Overtaken)
    }

    /// Takes the account away with its tokens; its sessions are good for nothing from then on.
    ///
    /// # Errors
    /// [`AccountError`]: there is no such account, or nobody would be left to manage the others.
    pub async fn remove(&self, name: &str, also: Commit) -> Result<(), AccountError> {
        for _ in 0..ATTEMPTS_MAX {
            let (record, version) = self.record(name).await?;
            let mut commit = Commit::new().require(key(name), Require::Version(version));
            if manages(&record.account) {
                commit = commit.and(self.while_another_manages(name).await?);
            }
            let commit = commit
                .delete(key(name))
                .and(self.without_tokens(name).await?);
            match self.commit(name, commit.and(also.clone())).await? {
                Committed::Done => return Ok(()),
                Committed::Conflict => {}
            }
        }
        Err(AccountError::Overtaken)
    }

    /// What holds as long as another admin than this one is as now: two who take each other's role
    /// at the same time are not both heard.
    async fn while_another_manages(&self, name: &str) -> Result<Commit, AccountError> {
        for row in all_rows(&*self.kv, ACCOUNTS.as_bytes()).await? {
            let of = String::from_utf8_lossy(&row.key[ACCOUNTS.len()..]);
            let account = decode::<AccountRecord>(&of, &row.value)?.account;
            if account.name != name && manages(&account) {
                let still = Require::Version(row.version);
                return Ok(Commit::new().require(key(&account.name), still));
            }
        }
        Err(AccountError::LastAdmin(name.to_owned()))
    }
}

fn manages(account: &Account) -> bool {
    account.role == Role::Admin && account.status == Status::Active
}

#[cfg(test)]
mod tests;
