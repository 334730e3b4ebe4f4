//! The cost of the list for a user who may see few of many tasks.

use std::sync::Arc;

use reqwest::StatusCode;
use tagship::identity::account::Role;

use crate::client::{Browser, Program};
use crate::counting::Counting;
use crate::server::{Options, TestServer};

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
        // Unfinished tasks are read one by one, up to the limit of a page.
        reads <= 1_100,
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
