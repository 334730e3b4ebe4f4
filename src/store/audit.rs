//! The audit trail: one entry per user action, written in the same commit as the change itself.
//! Each entry is chained to the one before it by a digest.
//!
//! [`Ledger::next`] returns the entry as a commit for the caller to merge into its own. The web
//! calls it for requests, accounts and hosts; `tagship restore` for itself. It never checks
//! permissions. [`Ledger::verify`] walks the chain: an entry that was changed, removed or inserted
//! breaks it. A user with write access to the store could forge a whole chain; to detect that,
//! record the last digest elsewhere.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::base::secret::sha256_hex;
use crate::base::user::user_or_number;
use crate::store::index::json;
use crate::store::kv::{self, Commit, CommitError, Kv, KvError, Range, Require};

const ENTRIES: &str = "audit/entry/";
/// The number of entries, and the digest of the last one.
const TIP: &str = "audit/tip";

/// The names of all actions.
pub const ACTIONS: [&str; 30] = [
    "approve",
    "approve in an emergency",
    "reject",
    "withdraw",
    "stop",
    "skip",
    "override-freeze",
    "retry",
    "resume",
    "submit",
    "roll back",
    "roll back in an emergency",
    "replay push",
    "disable host",
    "enable host",
    "add user",
    "change user",
    "remove user",
    "set password",
    "make token",
    "revoke token",
    "begin second factor",
    "confirm second factor",
    "reset second factor",
    "delegate",
    "end delegation",
    "log in",
    "log in for CODO's API",
    "take backup",
    "restore",
];

/// An action of a user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditAction {
    /// The account, or `os:NAME`.
    pub by: String,
    /// Where the request came from: an address, or the agent's socket.
    pub from: String,
    /// One of [`ACTIONS`].
    pub what: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<u64>,
    /// The user, host or environment acted on, and further details.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub on: String,
    /// `done`, or `refused: ` and the reason: as text, since the chain covers it as it was written.
    pub result: String,
}

impl AuditAction {
    /// Returns an action of the user who runs this program on a store that no agent holds.
    #[must_use]
    pub fn in_store(what: &str, on: String) -> Self {
        Self {
            by: format!("os:{}", user_or_number(rustix::process::getuid().as_raw())),
            from: "the store itself".to_owned(),
            what: what.to_owned(),
            task: None,
            on,
            result: "done".to_owned(),
        }
    }
}

/// An action as recorded in the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Starts at 1, without gaps.
    pub number: u64,
    pub time: Timestamp,
    #[serde(flatten)]
    pub action: AuditAction,
    /// The digest of the previous entry; empty for the first.
    pub before: String,
    /// SHA-256 of all other fields.
    pub digest: String,
}

impl AuditEntry {
    fn new(number: u64, time: Timestamp, action: AuditAction, before: String) -> Self {
        let mut entry = Self {
            number,
            time,
            action,
            before,
            digest: String::new(),
        };
        entry.digest = entry.computed_digest();
        entry
    }

    /// Returns the digest of the entry's fields. Length prefixes make its input unambiguous.
    fn computed_digest(&self) -> String {
        let AuditAction {
            by,
            from,
            what,
            task,
            on,
            result,
        } = &self.action;
        let number = self.number.to_string();
        let time = self.time.to_string();
        let task = task.map(|task| task.to_string()).unwrap_or_default();
        let mut text = String::new();
        for part in [
            &number,
            &time,
            by,
            from,
            what,
            &task,
            on,
            result,
            &self.before,
        ] {
            text.push_str(&format!("{}:{part}\n", part.len()));
        }
        sha256_hex(text.as_bytes())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct AuditTip {
    number: u64,
    digest: String,
}

/// The result of verifying the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainReport {
    /// How many entries are valid, counted from the first.
    pub entries: u64,
    /// The digest of the last valid entry; worth recording elsewhere.
    pub digest: String,
    /// The first mismatch, and from which entry on.
    pub fault: Option<String>,
}

/// The audit entries of one store; cheap to clone.
#[derive(Clone)]
pub struct Ledger {
    kv: Arc<dyn Kv>,
    /// Serialises the creation of entries, since they are chained.
    one: Arc<Mutex<()>>,
}

/// An entry that is not committed yet. Until it is dropped no other entry can be made.
pub struct PendingEntry {
    number: u64,
    time: Timestamp,
    action: AuditAction,
    /// The digest of the previous entry.
    before: String,
    require: Require,
    _one: OwnedMutexGuard<()>,
}

impl PendingEntry {
    /// Returns the writes of the entry, to merge into the commit of the action.
    #[must_use]
    pub fn also(&self) -> Commit {
        self.written(self.action.clone())
    }

    /// Like [`PendingEntry::also`], for an action that creates this task.
    #[must_use]
    pub fn making(&self, task: u64) -> Commit {
        self.written(AuditAction {
            task: Some(task),
            ..self.action.clone()
        })
    }

    fn written(&self, action: AuditAction) -> Commit {
        let entry = AuditEntry::new(self.number, self.time, action, self.before.clone());
        let tip = AuditTip {
            number: entry.number,
            digest: entry.digest.clone(),
        };
        Commit::new()
            .require(TIP, self.require)
            .put(TIP, json(&tip))
            .put(key(entry.number), json(&entry))
    }
}

impl Ledger {
    #[must_use]
    pub fn new(kv: Arc<dyn Kv>) -> Self {
        Self {
            kv,
            one: Arc::default(),
        }
    }

    /// Prepares the next entry.
    ///
    /// # Errors
    /// [`KvError`] if the store cannot be read.
    pub async fn next(&self, action: AuditAction, now: Timestamp) -> Result<PendingEntry, KvError> {
        let one = self.one.clone().lock_owned().await;
        let stored = self.kv.get(TIP.as_bytes()).await?;
        let tip = match &stored {
            Some(stored) => read::<AuditTip>(TIP, &stored.value)?,
            None => AuditTip::default(),
        };
        let require = stored.map_or(Require::Absent, |stored| Require::Version(stored.version));
        Ok(PendingEntry {
            number: tip.number + 1,
            time: now,
            action,
            before: tip.digest,
            require,
            _one: one,
        })
    }

    /// Commits an entry by itself, for an action that changes nothing else.
    ///
    /// # Errors
    /// [`CommitError`] of the store.
    pub async fn note(&self, action: AuditAction, now: Timestamp) -> Result<(), CommitError> {
        let entry = self.next(action, now).await?;
        self.kv.commit(entry.also()).await.map(|_| ())
    }

    /// Lists the entries before a given one, newest first.
    ///
    /// # Errors
    /// [`KvError`] if the store cannot be read.
    pub async fn list(
        &self,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<AuditEntry>, KvError> {
        let mut range = Range::prefix(ENTRIES).descending().limit(limit);
        if let Some(before) = before {
            range = range.after(key(before));
        }
        let page = self.kv.range(range).await?;
        let entries = page.rows.iter();
        entries
            .map(|row| read("an entry of the audit", &row.value))
            .collect()
    }

    /// Walks the chain from its start and reports the first mismatch.
    ///
    /// # Errors
    /// [`KvError`] if the store cannot be read.
    pub async fn verify(&self) -> Result<ChainReport, KvError> {
        // Read first: entries added during the walk lie beyond it.
        let tip = match self.kv.get(TIP.as_bytes()).await? {
            Some(tip) => read::<AuditTip>(TIP, &tip.value)?,
            None => AuditTip::default(),
        };
        let mut verdict = ChainReport {
            entries: 0,
            digest: String::new(),
            fault: None,
        };
        let mut pages = kv::pages(&*self.kv, Range::prefix(ENTRIES));
        while let Some(page) = pages.next().await? {
            for row in &page.rows {
                let number = verdict.entries + 1;
                let entry = serde_json::from_slice::<AuditEntry>(&row.value).ok();
                let Some(entry) = entry.filter(|entry| fits(entry, row.key.as_slice(), &verdict))
                else {
                    verdict.fault = Some(format!("entry {number} was changed or is missing"));
                    return Ok(verdict);
                };
                verdict.entries = number;
                verdict.digest = entry.digest;
                if number == tip.number && verdict.digest != tip.digest {
                    verdict.fault = Some(format!("entry {number} is not the one that was written"));
                    return Ok(verdict);
                }
            }
        }
        if verdict.entries < tip.number {
            let number = verdict.entries + 1;
            verdict.fault = Some(format!("entry {number} was changed or is missing"));
        }
        Ok(verdict)
    }
}

fn fits(entry: &AuditEntry, stored_key: &[u8], verdict: &ChainReport) -> bool {
    entry.number == verdict.entries + 1
        && key(entry.number).as_bytes() == stored_key
        && entry.before == verdict.digest
        && entry.digest == entry.computed_digest()
}

fn key(number: u64) -> String {
    format!("{ENTRIES}{number:016x}")
}

fn read<'de, T: Deserialize<'de>>(what: &str, bytes: &'de [u8]) -> Result<T, KvError> {
    serde_json::from_slice(bytes).map_err(|error| KvError::Damaged(format!("{what}: {error}")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::store::memory::MemoryKv;

    fn action(what: &str) -> AuditAction {
        AuditAction {
            by: "alice".to_owned(),
            from: "127.0.0.1".to_owned(),
            what: what.to_owned(),
            task: Some(7),
            on: String::new(),
            result: "done".to_owned(),
        }
    }

    async fn ledger() -> (Arc<MemoryKv>, Ledger) {
        let kv = Arc::new(MemoryKv::new());
        let ledger = Ledger::new(kv.clone());
        let now = "2026-11-21T15:00:00Z".parse().unwrap();
        for what in ["approve", "stop", "retry", "go"] {
            ledger.note(action(what), now).await.unwrap();
        }
        (kv, ledger)
    }

    #[tokio::test]
    async fn audit_entries_are_chained() {
        let (_, ledger) = ledger().await;
        let verdict = ledger.verify().await.unwrap();
        assert_eq!((verdict.entries, verdict.fault), (4, None));
        let last = ledger.list(None, 1).await.unwrap();
        assert_eq!(last[0].digest, verdict.digest);
        let before = ledger.list(Some(last[0].number), 2).await.unwrap();
        let whats: Vec<&str> = before.iter().map(|entry| &*entry.action.what).collect();
        assert_eq!(whats, ["retry", "stop"]);
    }

    #[tokio::test]
    async fn the_first_entry_that_was_tampered_with_is_named() {
        for number in 1..=4 {
            let (kv, ledger) = ledger().await;
            let stored = kv.get(key(number).as_bytes()).await.unwrap().unwrap();
            let mut entry: AuditEntry = serde_json::from_slice(&stored.value).unwrap();
            entry.action.by = "bob".to_owned();
            let mut forged = vec![Commit::new().put(key(number), json(&entry))];
            entry.digest = entry.computed_digest();
            forged.push(Commit::new().put(key(number), json(&entry)));
            forged.push(Commit::new().delete(key(number)));
            for forgery in forged {
                kv.commit(forgery).await.unwrap();
                let fault = ledger.verify().await.unwrap().fault.unwrap();
                // A forged digest shows at the entry after it, or at the end.
                let named = [number, number + 1].map(|number| format!("entry {number} "));
                assert!(
                    named.iter().any(|named| fault.starts_with(named)),
                    "{number}: {fault}"
                );
            }
        }
    }

    #[tokio::test]
    async fn concurrent_audit_entries_are_both_kept() {
        let (_, ledger) = ledger().await;
        let now = "2026-11-21T16:00:00Z".parse().unwrap();
        let both = [1, 2].map(|_| ledger.note(action("approve"), now));
        futures::future::try_join_all(both).await.unwrap();
        let verdict = ledger.verify().await.unwrap();
        assert_eq!((verdict.entries, verdict.fault), (6, None));
    }

    #[tokio::test]
    async fn failed_commit_leaves_no_audit_entry() {
        let (kv, ledger) = ledger().await;
        let now = "2026-11-21T16:00:00Z".parse().unwrap();
        let entry = ledger.next(action("approve"), now).await.unwrap();
        let lost = entry
            .also()
            .require("head/1", Require::Version(crate::store::kv::KeyVersion(9)));
        assert!(kv.commit(lost).await.is_err());
        drop(entry);
        assert_eq!(ledger.verify().await.unwrap().entries, 4);
    }
}
