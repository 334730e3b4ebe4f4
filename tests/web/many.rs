//! What the list costs whoever may see little of much.

use std::sync::Arc;

use reqwest::StatusCode;
use tagship::account::Role;

use crate::client::{Browser, Program};
use crate::counting::Counting;
use crate::world::{Options, World};

const MORE: &str =
    "[[grants]]\nto = [\"quinn\"]\nrole = \"viewer\"\nproject = \"shop\"\nenvironment = \"qa\"\n";

/// So many tasks wait in a place that the readers may not see.
const TASKS: usize = 2_500;

#[tokio::test]
async fn whoever_sees_little_of_much_gets_each_answer_after_so_much() {
    let kv = Counting::new();
    let world = World::start_with(Options {
        grants: MORE,
        kv: Some(Arc::clone(&kv) as _),
        ..Options::default()
    })
    .await;
    for number in 0..TASKS {
        world.proposed(&format!("release-{number}")).await;
    }
    let quinn = Browser::of(&world, "quinn", Role::None).await;
    let account = world.accounts.get("quinn").await.unwrap();
    let program = Program::with(&world, &world.token(&account).await);
    kv.taken();
    let (status, page) = quinn.get("/").await;
    assert_eq!(status, StatusCode::OK);
    assert!(!page.contains("release-"), "{page}");
    let (reads, rows) = kv.taken();
    assert!(
        reads <= 3_500,
        "{reads} reads of {rows} rows for {TASKS} tasks"
    );
    // From answer to answer it comes to the end, and shows nothing on the way.
    let mut path = "tasks".to_owned();
    for answers in 1.. {
        kv.taken();
        let (_, list) = program.get(&path).await;
        let (reads, _) = kv.taken();
        assert!(reads <= 2_500, "{reads} reads");
        assert_eq!(list["tasks"], serde_json::json!([]));
        match list["next"].as_str() {
            Some(next) => path = format!("tasks?cursor={next}"),
            None => {
                assert!(answers > 1, "all of them were looked at at once");
                break;
            }
        }
    }
    world.end().await;
}
