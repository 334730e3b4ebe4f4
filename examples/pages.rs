//! Serves the pages over an in-memory store with invented tasks: `cargo run --example pages`, then
//! log in at <http://127.0.0.1:8425> as `alice` with the password `correct horse battery staple`.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "it is shared with tests, which fail by panicking"
)]

use tagship::domain::host::ReleaseId;
use tagship::domain::task::{
    ChangedPath, CommitLine, ComparedRelease, ComparedWith, Comparison, Event, Origin, Outcome,
    Relation, StepResult, Submission, TagInfo, Task,
};
use tagship::engine::executor::effects::StepLogs as _;
use tagship::identity::account::{NewAccount, Role};
use tagship::store::HookOutcome;
use tagship::store::audit::{AuditAction, Ledger};
use tagship::store::kv::Commit;

#[path = "../tests/web/server.rs"]
mod server;

use server::{OLDER, Options, TestServer, at, began, description, ended, person, submission};

const LISTEN: &str = "127.0.0.1:8425";

/// A second project, whose releases are frozen, and a freeze of every weekend.
const MORE: &str = r#"
[[projects]]
name = "a-till-with-a-long-name"
repository = "/srv/git/till.git"
[projects.environments.production]
group = "web"
deploy_to = "/srv/till"
[[projects.rules]]
pattern = "till-*"
environment = "production"
[[freezes]]
name = "the fair"
projects = ["a-till-with-a-long-name"]
from = "2026-01-01 00:00"
until = "2099-01-01 00:00"
[[freezes]]
name = "weekend"
reason = "there is no one to look at it"
environments = ["qa"]
from = "fri 16:00"
until = "mon 08:00"
"#;

#[tokio::main]
async fn main() {
    let server = TestServer::start_with(Options {
        listen: LISTEN,
        grants: MORE,
        project: "web = \"https://gitlab.example.com/group/shop\"",
        ..Options::default()
    })
    .await;
    let new = NewAccount {
        name: "alice".to_owned(),
        display: "Alice Example".to_owned(),
        role: Role::Admin,
        groups: ["pm".to_owned()].into(),
        password: Some("correct horse battery staple".into()),
    };
    let alice = server.accounts.add(new, Commit::new()).await.unwrap();
    server.account("bob", Role::Submitter, &[]).await;
    server.account("carol", Role::Approver, &["ops"]).await;
    tasks(&server).await;
    pushes_and_audit(&server).await;
    let reason = "its disk is broken, a new one comes on Monday";
    server.disable_a_host(reason).await;
    let (cookie, _) = server.session(&alice).await;
    println!("http://{LISTEN}/  {cookie}");
    tokio::signal::ctrl_c().await.unwrap();
    server.end().await;
}

async fn tasks(server: &TestServer) {
    server.succeeded("release-1.2").await;
    let live = server.succeeded("release-1.3").await;
    server.passed_qa().await;
    let rejected = server.waiting("release-1.3.1").await;
    let event = Event::Rejected {
        by: "alice".to_owned(),
        reason: "the changelog is missing".to_owned(),
    };
    server.append(&rejected, vec![event]).await;
    failed(server).await;
    let running = server.running("release-1.4").await;
    let log = server.logs.step(running.id, "web-1", "stage.sync", 1);
    log.line("17 files, 81920 bytes");
    let log = server.logs.step(running.id, "web-2", "stage.sync", 1);
    let mut offset = 0;
    for number in 1..60 {
        let line = format!("sending app/views/page-{number:03}.html\n");
        log.write_at(offset, line.as_bytes());
        offset += line.len() as u64;
    }
    server.approved("release-1.4.1").await;
    waiting(server, &live).await;
    rollback(server).await;
    server.proposed("release-1.6-rc1").await;
}

/// Pushes that released nothing, and a few entries of the audit.
async fn pushes_and_audit(server: &TestServer) {
    let reasons = vec!["rule 1: `release-*` does not match qa-2.0".to_owned()];
    for (object, project, outcome) in [
        ("3", Some("shop"), HookOutcome::NoRule { reasons }),
        ("4", None, HookOutcome::UnknownRepository),
        ("5", Some("shop"), HookOutcome::Deleted),
    ] {
        server.heard(&object.repeat(40), project, outcome).await;
    }
    let ledger = Ledger::new(server.store.kv());
    for (by, what, task, on, result) in [
        ("alice", "log in", None, "", "done"),
        ("alice", "approve", Some(1), "ready when you are", "done"),
        ("bob", "approve", Some(2), "", "refused: you submitted it"),
        ("carol", "disable host", None, "web-3: its disk", "done"),
        ("alice", "make token", None, "alice: ci (read)", "done"),
    ] {
        let action = AuditAction {
            by: by.to_owned(),
            from: "192.0.2.7".to_owned(),
            what: what.to_owned(),
            task,
            on: on.to_owned(),
            result: result.to_owned(),
        };
        ledger.note(action, server.now()).await.unwrap();
    }
}

async fn failed(server: &TestServer) {
    let task = server.running("release-1.3.2").await;
    let log = server.logs.step(task.id, "web-2", "stage.sync", 1);
    log.line("sending app/views/page-017.html");
    log.line("rsync: connection unexpectedly closed (81920 bytes received so far)");
    let message =
        "rsync ended with 12: connection to 127.0.0.2:22 was lost; look at the host, then retry";
    let failed = StepResult::Failed {
        message: message.to_owned(),
        exit_code: Some(12),
        omits_exit: false,
        is_final: false,
    };
    let events = vec![
        ended(at(1, 1, 0), failed.clone()),
        began(at(1, 2, 0)),
        ended(at(1, 2, 0), failed),
        Event::Finished(Outcome::Failed {
            message: format!("web-2, web-3: sync: {message}"),
        }),
    ];
    server.append(&task, events).await;
}

/// A rollback that waits for approval.
async fn rollback(server: &TestServer) {
    let back = Submission {
        origin: Origin::Rollback {
            to: Some(1),
            release: ReleaseId("20261121-160114-3f2a9c1".to_owned()),
        },
        ..submission("release-1.2")
    };
    let task = server.propose(back).await;
    let mut described = description();
    described.comparisons[0].relation = Relation::Back { commits: 2 };
    server.landed(&task, &described).await;
}

async fn waiting(server: &TestServer, live: &Task) {
    let commit = |number: u32, subject: &str| CommitLine {
        commit: format!("{number:x}").repeat(40),
        subject: subject.to_owned(),
        author: "carol".to_owned(),
        at: "2026-11-20T09:30:00Z".parse().unwrap(),
    };
    let path = |status, path: &str| ChangedPath {
        status,
        path: path.to_owned(),
    };
    let mut described = description();
    described.tag = Some(TagInfo {
        name: "release-1.5".to_owned(),
        named_as_ref: true,
        tagger: Some(person("bob")),
        message: "Prices are rounded at the till.\n\nTested on qa since Tuesday. <script>alert(1)</script>"
            .to_owned(),
    });
    described.comparisons = vec![
        Comparison {
            live: Some(OLDER.to_owned()),
            hosts: vec!["web-1".to_owned(), "web-2".to_owned()],
            relation: Relation::Ahead { commits: 3 },
            coming: vec![
                commit(3, "Round prices at the till, not in the basket"),
                commit(4, "Say why a coupon is refused"),
                commit(5, "Keep the basket of people who are not logged in"),
            ],
            going: Vec::new(),
            files_changed: 3,
            insertions: Some(120),
            deletions: Some(14),
            paths: vec![
                path('M', "app/till.py"),
                path('A', "app/rounding.py"),
                path('D', "app/old/basket_rounding_that_nobody_understood.py"),
            ],
        },
        Comparison {
            live: Some("7".repeat(40)),
            hosts: vec!["web-3".to_owned()],
            relation: Relation::Back { commits: 2 },
            coming: Vec::new(),
            going: vec![commit(6, "Try another till"), commit(7, "Try a till")],
            files_changed: 1,
            insertions: Some(2),
            deletions: Some(40),
            paths: vec![path('M', "app/till.py")],
        },
    ];
    let task = server.waiting_with("release-1.5", &described).await;
    let bytes = serde_json::to_vec(&described).unwrap();
    let compared = Event::Compared {
        description: server.store.put_blob(&bytes).await.unwrap(),
        with: ComparedWith {
            live: vec![ComparedRelease {
                release: live.work.as_ref().unwrap().release.clone(),
                task: live.id,
                tag: live.tag().to_owned(),
                commit: Some(OLDER.to_owned()),
                since: Some(live.updated),
                hosts: 3,
            }],
            relations: described.relations(),
        },
    };
    server.append(&task, vec![compared]).await;
}
