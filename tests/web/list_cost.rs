//! The cost of board and list: for a user who may see few of many tasks, and with many hosts.

use std::sync::Arc;

use reqwest::StatusCode;
use tagship::identity::account::Role;

use crate::client::{Browser, Program};
use crate::counting::Counting;
use crate::server::{Options, TestServer};
use tagship::store::kv::{Commit, Kv as _};

const MORE: &str =
    "[[grants]]\nto = [\"quinn\"]\nrole = \"viewer\"\nproject = \"shop\"\nenvironment = \"qa\"\n";

/// The number of waiting tasks that the readers may not see.
const TASKS: usize = 2_500;

#[tokio::test]
async fn restricted_list_costs_only_the_visible_tasks() {
    let kv = Counting::new();
    let server = TestServer::start_with(Options {
        grants: MORE,
        kv: Some(Arc::clone(&kv) as _),
        ..Options::default()
    })
    .await;
    for number in 0..TASKS {
        server.proposed(&format!("release-{number}")).await;
    }
    let quinn = Browser::of(&server, "quinn", Role::None).await;
    let account = server.accounts.get("quinn").await.unwrap();
    let program = Program::with(&server, &server.token(&account).await);
    kv.taken();
    let (status, page) = quinn.get("/").await;
    assert_eq!(status, StatusCode::OK);
    assert!(!page.contains("release-"), "{page}");
    let (reads, rows) = kv.taken();
    assert!(
        reads <= 100,
        "{reads} reads of {rows} rows for {TASKS} tasks"
    );
    let (_, list) = program.get("tasks").await;
    let (reads, rows) = kv.taken();
    assert!(
        reads <= 100,
        "{reads} reads of {rows} rows for {TASKS} tasks"
    );
    assert_eq!(list["tasks"], serde_json::json!([]));
    assert!(list["next"].is_null(), "{list}");
    server.end().await;
}

/// How many tasks wait, and how many have not landed.
const HALF: usize = 250;
const HOSTS: usize = 1_000;

#[tokio::test]
async fn board_of_many_tasks_and_hosts_costs_few_reads() {
    let kv = Counting::new();
    let server = TestServer::start_with(Options {
        kv: Some(Arc::clone(&kv) as _),
        ..Options::default()
    })
    .await;
    let made = server.succeeded("release-0").await;
    let release = made.work.unwrap().release;
    for some in (0..HOSTS).collect::<Vec<_>>().chunks(90) {
        let commit = some.iter().fold(Commit::new(), |commit, host| {
            let live =
                serde_json::json!({ "release": release, "task": made.id, "since": made.updated });
            commit.put(
                format!("live/shop/production/host-{host}"),
                live.to_string(),
            )
        });
        kv.commit(commit).await.unwrap();
    }
    for number in 0..HALF {
        server.waiting(&format!("release-1.{number}")).await;
        server.proposed(&format!("release-2.{number}")).await;
    }
    let alice = Browser::of(&server, "alice", Role::Approver).await;
    let mut reads_of = Vec::new();
    for _ in 0..2 {
        kv.taken();
        let (status, page) = alice.get("/").await;
        assert_eq!(status, StatusCode::OK);
        assert!(page.contains("You can approve 200."), "{page}");
        assert!(page.contains(&format!(">{}</a>", HOSTS + 3)), "{page}");
        reads_of.push(kv.taken().0);
    }
    server.waiting("release-3").await;
    kv.taken();
    alice.get("/").await;
    reads_of.push(kv.taken().0);
    let [first, again, changed] = reads_of[..] else {
        panic!("{reads_of:?}");
    };
    // The first look reads the events and the commit of each task that is examined.
    assert!(first <= 1_200, "{reads_of:?}");
    assert!(again <= 100 && changed <= 130, "{reads_of:?}");
    server.end().await;
}
