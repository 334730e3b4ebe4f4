//! Every change leaves one entry in the audit, in the same commit. The test calls each changing
//! route of [`ROUTES`] over a store that records what every commit wrote.

use std::sync::{Arc, Mutex};

use futures::future::BoxFuture;
use reqwest::StatusCode;
use serde_json::json;
use tagship::identity::account::Role;
use tagship::store::audit::{ACTIONS, AuditAction, Ledger};
use tagship::store::kv::{
    Commit, CommitError, Key, Kv, KvError, Range, Revision, RowPage, Snapshot, StoredValue, Watch,
};
use tagship::store::memory::MemoryKv;

use crate::client::{client, form};
use crate::codo::Codo;
use crate::credential_kinds::sources;
use crate::route_access::{self, Prepared};
use crate::routes::{Needs, ROUTES};
use crate::server::{Options, TestServer};

/// A store in memory that records which keys each commit wrote, and refuses commits on request.
#[derive(Default)]
struct Recording {
    kv: MemoryKv,
    commits: Mutex<Vec<Vec<Key>>>,
}

impl Recording {
    /// The commits since the last time.
    fn taken(&self) -> Vec<Vec<Key>> {
        std::mem::take(&mut *self.commits.lock().unwrap())
    }
}

impl Kv for Recording {
    fn get<'a>(&'a self, key: &'a [u8]) -> BoxFuture<'a, Result<Option<StoredValue>, KvError>> {
        self.kv.get(key)
    }

    fn range(&self, range: Range) -> BoxFuture<'_, Result<RowPage, KvError>> {
        self.kv.range(range)
    }

    fn commit(&self, commit: Commit) -> BoxFuture<'_, Result<Revision, CommitError>> {
        let keys = commit.writes().keys().cloned().collect();
        Box::pin(async {
            let revision = self.kv.commit(commit).await?;
            self.commits.lock().unwrap().push(keys);
            Ok(revision)
        })
    }

    fn watch(&self, prefix: &[u8], after: Revision) -> Watch {
        self.kv.watch(prefix, after)
    }

    fn snapshot(&self) -> BoxFuture<'_, Result<Snapshot, KvError>> {
        self.kv.snapshot()
    }
}

/// Keys that may be written without an audit entry: they are named by their content and concern no
/// user. (A plan is stored before the task that follows it.)
const UNTOLD: [&str; 2] = ["blob/", "whole/"];

fn holds(commit: &[Key], prefix: &str) -> bool {
    commit.iter().any(|key| key.starts_with(prefix.as_bytes()))
}

fn shown(commits: &[Vec<Key>]) -> String {
    let shown = |commit: &Vec<Key>| -> Vec<String> {
        let keys = commit.iter();
        keys.map(|key| String::from_utf8_lossy(key).into_owned())
            .collect()
    };
    format!("{:#?}", commits.iter().map(shown).collect::<Vec<_>>())
}

/// Every commit has its entry, and there is at least one.
fn assert_audited(what: &str, commits: &[Vec<Key>]) {
    let unaudited = |commit: &&Vec<Key>| !holds(commit, "audit/entry/");
    let named = |key: &Key| UNTOLD.iter().any(|name| key.starts_with(name.as_bytes()));
    let bare = commits
        .iter()
        .filter(unaudited)
        .find(|commit| !commit.iter().all(named));
    assert!(
        bare.is_none(),
        "{what}: a commit without an entry: {}",
        shown(commits)
    );
    assert!(
        commits.iter().any(|one| holds(one, "audit/entry/")),
        "{what}: {}",
        shown(commits)
    );
}

async fn recorded() -> (TestServer, Arc<Recording>) {
    let kv = Arc::new(Recording::default());
    let options = Options {
        kv: Some(kv.clone()),
        ..route_access::options()
    };
    (TestServer::start_with(options).await, kv)
}

#[tokio::test]
async fn every_change_is_in_the_audit_in_the_same_commit() {
    let (server, kv) = recorded().await;
    let client = client();
    for name in ["alice", "eve"] {
        server.account(name, Role::Approver, &[]).await;
    }
    let root = server.account("root", Role::Admin, &[]).await;
    let token = server.token(&root).await;
    let changes = ROUTES
        .iter()
        .enumerate()
        .filter(|(_, route)| route.changes() && !matches!(route.needs, Needs::OwnProof));
    for (number, route) in changes {
        let asked = Prepared::of(&server, route, number, &token, &client).await;
        kv.taken();
        let status = asked.by_token(&server, &token).await;
        let done = status.is_success() || status.is_redirection();
        assert!(done, "{}: {status}", route.route);
        assert_audited(route.route, &kv.taken());
        let action = latest(&kv).await;
        assert_eq!(
            (&*action.by, &*action.result),
            ("root", "done"),
            "{}",
            route.route
        );
        assert!(
            action.from.contains("token"),
            "{}: {}",
            route.route,
            action.from
        );
        assert!(ACTIONS.contains(&action.what.as_str()), "{}", action.what);
        if let Some(id) = task_of(&asked.path) {
            assert_eq!(action.task, Some(id), "{}", route.route);
        }
    }
    server.end().await;
}

async fn latest(kv: &Arc<Recording>) -> AuditAction {
    let entries = Ledger::new(kv.clone()).list(None, 1).await.unwrap();
    entries[0].action.clone()
}

/// `7` of `/tasks/7/approve`.
fn task_of(path: &str) -> Option<u64> {
    let (_, rest) = path.split_once("/tasks/")?;
    rest.split('/').next()?.parse().ok()
}

/// Logins make sessions and keys; CODO's submission makes a task.
#[tokio::test]
async fn logins_and_tasks_of_codo_are_in_the_audit() {
    let (server, kv) = recorded().await;
    let alice = server.account("alice", Role::Approver, &[]).await;
    server.password(&alice, "correct horse").await;
    let token = server.token(&alice).await;
    let codo = Codo::with(&server, &token);
    let key = codo.key().await;
    kv.taken();
    let task = crate::codo::fields(&json!({})).to_string();
    assert_eq!(
        codo.post(&key, task).send().await.unwrap().status(),
        StatusCode::OK
    );
    assert_audited("CODO's submission", &kv.taken());
    let login = json!({ "username": "alice", "password": "correct horse" });
    let codo = client().post(format!("{}/api/accounts/login/", server.url));
    let fields = [("name", "alice"), ("password", "correct horse")];
    let page = client().post(format!("{}/login", server.url));
    for (what, request) in [
        ("log in for CODO's API", codo.json(&login)),
        ("log in", form(page, &fields)),
    ] {
        request.send().await.unwrap();
        let commits = kv.taken();
        // A new session is stored only together with its audit entry.
        let at = |prefix| commits.iter().position(|one| holds(one, prefix));
        assert!(
            at("audit/entry/").unwrap() < at("session/").unwrap(),
            "{what}: {}",
            shown(&commits)
        );
        let action = latest(&kv).await;
        assert_eq!((&*action.what, &*action.by), (what, "alice"));
    }
    server.end().await;
}

/// Refused requests on tasks and tokens are in the audit, too.
const TOLD_REFUSALS: [&str; 5] = ["/tasks", "/submit", "/rollback", "/replay", "/tokens"];

/// A refused request changes nothing but the audit log.
#[tokio::test]
async fn refused_request_changes_nothing_but_the_audit() {
    let (server, kv) = recorded().await;
    let client = client();
    for name in ["alice", "eve"] {
        server.account(name, Role::Approver, &[]).await;
    }
    let root = server.account("root", Role::Admin, &[]).await;
    let root = server.token(&root).await;
    let vera = server.account("vera", Role::Viewer, &[]).await;
    let vera = server.token(&vera).await;
    let changes = ROUTES
        .iter()
        .enumerate()
        .filter(|(_, route)| route.changes() && !matches!(route.needs, Needs::OwnProof));
    for (number, route) in changes {
        let asked = Prepared::of(&server, route, number, &root, &client).await;
        kv.taken();
        asked.by_token(&server, &vera).await;
        let commits = kv.taken();
        let only_told = |commit: &Vec<Key>| commit.iter().all(|key| key.starts_with(b"audit/"));
        assert!(
            commits.iter().all(only_told),
            "{}: {}",
            route.route,
            shown(&commits)
        );
        let is_told = TOLD_REFUSALS.iter().any(|part| route.route.contains(part));
        assert_eq!(!commits.is_empty(), is_told, "{}", route.route);
        if is_told {
            let AuditAction { by, result, .. } = latest(&kv).await;
            assert!(by == "vera" && result.starts_with("refused"), "{result}");
        }
    }
    server.end().await;
}

/// Requests and commands pass the entry to the commit of their change; a separate commit is listed
/// here with its reason.
#[test]
fn requests_and_commands_make_no_commit_without_an_entry() {
    let mut found = Vec::new();
    for root in ["src/server", "src/cli"] {
        for (file, text) in sources(root) {
            let code = text.split("#[cfg(test)]").next().unwrap().to_owned();
            let lines = code.lines().map(str::trim);
            let lines = lines.filter(|line| {
                let own = line.contains("Commit::")
                    || line.contains("kv.commit(")
                    || line.contains("kv().commit(");
                own && !line.contains("entry.also()")
            });
            found.extend(lines.map(|line| format!("{root}/{file}: {line}")));
        }
    }
    found.sort();
    // The secret of `csrf_key`, made on the first request for one; the language of one's own pages.
    assert_eq!(
        found,
        [
            "src/server/codo/csrf.rs: let commit = Commit::new()",
            "src/server/codo/csrf.rs: match kv.commit(commit).await {",
            "src/server/pages/language.rs: .update(&who.actor.name, change, Commit::new())",
        ]
    );
}
